#!/usr/bin/env python3
"""Measures the time from POST to READY of a page. A run is given as RECORDS=ID=LAST, with the second in which its log ends.
Reads RUNLOG_API_URL, RUNLOG_TOKEN and RUNLOG_PID.

measure.py pages FIRST_ROUND ROUNDS RUN…    one page of each run per round; each round requests a different
    page; the first run is the baseline
measure.py turns FOLDER ROUNDS RUN…    the same, alternating with ClickHouse, which writes the same rows of
    FOLDER/RECORDS.ndjson to a file as JSON lines
measure.py other-runs COUNT TASK_ID    pushes this number of runs with ten records each
measure.py settled DATA_FOLDER    waits until the pushed runs are sealed and summarised
"""

import datetime
import http.client
import json
import os
import statistics
import sys
import threading
import time
import uuid
import urllib.parse
from pathlib import Path
from typing import NamedTuple

FIRST_MS = 1_790_000_000_000


class Run(NamedTuple):
    records: int
    id: str
    # Since 1970. Unit: seconds.
    last: int


def post(path: str, body: bytes = b"") -> dict:
    return json.loads(send("POST", path, body, "text/plain"))


def page_seconds(run: Run, round_: int) -> float:
    """Requests the newest page that ends `round_` seconds before the end of the log."""
    end = datetime.datetime.fromtimestamp(run.last - round_, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    path = f"/monitoring/executions/{run.id}/logs"
    begun = time.monotonic()
    page = post(f"{path}?endTime={urllib.parse.quote(end)}")
    while post(f"{path}/status", page["token"].encode())["status"] != "READY":
        time.sleep(0.002)
    return time.monotonic() - begun


def pages(first_round: int, rounds: int, runs: list[Run]) -> None:
    figures: dict[int, list[float]] = {run.records: [] for run in runs}
    for round_ in range(first_round, first_round + rounds):
        for run in runs:
            figures[run.records].append(page_seconds(run, round_))
    print_table("records of the run", {f"{records:,}": times for records, times in figures.items()})
    print_peak()


def print_table(head: str, figures: dict[str, list[float]]) -> None:
    base = statistics.median(next(iter(figures.values())))
    print(f"{head:>30}{'median':>12}{'fastest':>12}{'slowest':>12}{'ratio':>8}")
    for name, times in figures.items():
        median = statistics.median(times)
        print(f"{name:>30}{median:>10.3f} s{min(times):>10.3f} s{max(times):>10.3f} s{median / base:>8.2f}", flush=True)


def turns(folder: Path, rounds: int, runs: list[Run]) -> None:
    import chdb.session

    columns = ("logTimestamp Int64, severity LowCardinality(String), logType LowCardinality(String), logMessage String, "
               "bundleName LowCardinality(String), bundleVersion LowCardinality(String), podName LowCardinality(String)")
    session = chdb.session.Session(str(folder / "clickhouse"))
    session.query(f"CREATE TABLE logs (run_id UInt64, {columns}) ENGINE = MergeTree ORDER BY (run_id, logTimestamp)")
    for size, *_ in runs:
        session.query(f"INSERT INTO logs SELECT {size}, * FROM file('{folder}/{size}.ndjson', JSONEachRow, '{columns}')")
    session.query("OPTIMIZE TABLE logs FINAL")
    figures: dict[str, list[float]] = {}
    for round_ in range(1, rounds + 1):
        for run in runs:
            size, end_ms = run.records, (run.last - round_) * 1000 + 999
            out = folder / "page.json"
            out.unlink(missing_ok=True)
            begun = time.monotonic()
            session.query(f"SELECT * EXCEPT run_id FROM logs WHERE run_id = {size} AND logTimestamp <= {end_ms} "
                          f"ORDER BY logTimestamp DESC LIMIT 100000 INTO OUTFILE '{out}' FORMAT JSONEachRow")
            figures.setdefault(f"ClickHouse, {size:,}", []).append(time.monotonic() - begun)
            assert sum(1 for _ in open(out, "rb")) == 100_000
            figures.setdefault(f"Runlog, {size:,}", []).append(page_seconds(run, round_))
    session.close()
    for size, *_ in runs:
        print_table("records of the run", {name: figures[name] for name in (f"ClickHouse, {size:,}", f"Runlog, {size:,}")})
    print_peak()


def other_runs(count: int, task: str) -> None:
    def some(numbers: range) -> None:
        for _ in numbers:
            run = str(uuid.uuid4())
            lines = "".join(f'{{"logTimestamp":{FIRST_MS + i},"severity":"INFO","logMessage":"record {i}"}}\n' for i in range(10))
            send("PUT", f"/runlog/v1/runs/{run}", json.dumps({"taskId": task}).encode(), "application/json")
            send("POST", f"/runlog/v1/runs/{run}/records", lines.encode(), "application/x-ndjson")
            send("POST", f"/runlog/v1/runs/{run}/finish", b'{"status":"execution_successful"}', "application/json")

    begun = time.monotonic()
    threads = [threading.Thread(target=some, args=(range(start, count, 16),)) for start in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - begun
    print(f"{count:,} runs of ten records pushed in {seconds:.0f} s ({count / seconds:,.0f}/s)\n", flush=True)


CONNECTIONS = threading.local()


def send(method: str, path: str, body: bytes, content_type: str) -> bytes:
    if not hasattr(CONNECTIONS, "it"):
        CONNECTIONS.it = http.client.HTTPConnection(urllib.parse.urlsplit(os.environ["RUNLOG_API_URL"]).netloc)
    headers = {"Authorization": f"Bearer {os.environ['RUNLOG_TOKEN']}", "Content-Type": content_type}
    CONNECTIONS.it.request(method, path, body, headers)
    answer = CONNECTIONS.it.getresponse()
    content = answer.read()
    assert answer.status < 300, answer.status
    return content


def settled(data: Path) -> None:
    before = None
    while True:
        size = sum(file.stat().st_size for file in (data / "objects/sealed").rglob("*") if file.is_file())
        cpu_ticks = sum(map(int, Path(f"/proc/{os.environ['RUNLOG_PID']}/stat").read_text().rsplit(")", 1)[1].split()[11:13]))
        # An idle service uses some hundredths of a second of CPU time.
        if before and size > 0 and size == before[0] and cpu_ticks - before[1] < 0.1 * os.sysconf("SC_CLK_TCK"):
            break
        before = size, cpu_ticks
        time.sleep(6)
    print_peak()


def print_peak() -> None:
    status = Path(f"/proc/{os.environ['RUNLOG_PID']}/status").read_text()
    peak = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024
    print(f"peak memory of the service: {peak:.0f} MiB\n", flush=True)


def named(runs: list[str]) -> list[Run]:
    return [Run(int(records), id, int(last)) for records, id, last in (run.split("=") for run in runs)]


def main() -> None:
    match sys.argv[1:]:
        case ["pages", first_round, rounds, *runs]:
            pages(int(first_round), int(rounds), named(runs))
        case ["turns", folder, rounds, *runs]:
            turns(Path(folder), int(rounds), named(runs))
        case ["other-runs", count, task]:
            other_runs(int(count), task)
        case ["settled", folder]:
            settled(Path(folder))


main()
