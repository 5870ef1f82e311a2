#!/usr/bin/env python3
"""measure.py ROUNDS FOLDER. Reads RUNLOG_API_URL, RUNLOG_TOKEN, RUNLOG_TASK and RUNLOG_BIN; PARTS and WITHOUT_DLT are
optional."""

import concurrent.futures
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
import urllib.request
import uuid
from pathlib import Path

import slow_service

ROUNDS, WORK, HERE = int(sys.argv[1]), Path(sys.argv[2]), Path(__file__).parent
RUNLOG, TASK = os.environ["RUNLOG_BIN"], os.environ["RUNLOG_TASK"]
SMALL_RUNS, SMALL_RECORDS, BIG_RECORDS, PACED_RUNS = 200, 500, 1_000_000, 900
REST_SECONDS = 6


def call(method: str, path: str, body: bytes, content_type: str = "application/json") -> None:
    request = urllib.request.Request(os.environ["RUNLOG_API_URL"].rstrip("/") + path, body, method=method, headers={
        "Authorization": f"Bearer {os.environ['RUNLOG_TOKEN']}", "Content-Type": content_type})
    urllib.request.urlopen(request).read()


def archive() -> None:
    """Fills the service: 200 runs of 500 records, and one of a million."""
    log = subprocess.run([sys.executable, HERE.parent / "make_log.py", str(SMALL_RECORDS)], check=True, capture_output=True).stdout

    def small(_: int) -> None:
        path = f"/runlog/v1/runs/{uuid.uuid4()}"
        call("PUT", path, json.dumps({"taskId": TASK}).encode())
        call("POST", f"{path}/records?batch=1", log, "application/x-ndjson")
        call("POST", f"{path}/finish", b'{"status":"execution_successful"}')

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(small, range(SMALL_RUNS)))
    big = subprocess.Popen([sys.executable, HERE.parent / "make_log.py", str(BIG_RECORDS)], stdout=subprocess.PIPE)
    push = [RUNLOG, "push", str(uuid.uuid4()), "-", "--task", TASK, "--finish", "execution_successful"]
    subprocess.run(push, check=True, stdin=big.stdout, stdout=subprocess.DEVNULL)


def timed(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Seconds, and the peak memory of the process in MiB."""
    begun = time.monotonic()
    process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, command
    return time.monotonic() - begun, usage.ru_maxrss / 1024


def collect(url: str, token: str, folder: Path, more: str = "") -> tuple[float, float]:
    folder.mkdir(parents=True)
    settings = folder / "runlog.toml"
    settings.write_text(f'[archive]\ndata = "{folder}/data"\n[[upstream]]\nname = "bench"\nurl = "{url}"\n'
                        f'token = {{ env = "UPSTREAM" }}\nsettle = "0s"\n{more}')
    figures = timed([RUNLOG, "collect", "--once", "--settings", str(settings)], {"UPSTREAM": token})
    shown = json.loads(subprocess.run([RUNLOG, "status", "--json", "--settings", str(settings)], check=True,
                                      env={**os.environ, "UPSTREAM": token}, capture_output=True).stdout)["upstreams"][0]["figures"]
    assert shown["known"] == shown["landed"] > 0, shown
    return figures


def script(name: str, folder: Path, *more: str, **environment: str) -> tuple[float, float]:
    folder.mkdir(parents=True)
    return timed([sys.executable, str(HERE / name), TASK, str(folder), *more], environment)


def compare(title: str, contenders: dict) -> None:
    figures = {name: [] for name in contenders}
    for round_ in range(ROUNDS + 1):
        for name, once in contenders.items():
            folder = WORK / "round"
            figure = once(folder)
            shutil.rmtree(folder)
            # For some seconds after many files were deleted, creating files is slow. During the pause, the rate limit of
            # the service also resets.
            os.sync()
            time.sleep(REST_SECONDS)
            # The first round is not counted: it builds the pages that later rounds reuse.
            if round_ > 0:
                figures[name].append(figure)
    print(f"\n{title}\n{'':44}{'median':>10}{'fastest':>10}{'slowest':>10}{'ratio':>8}{'memory':>10}")
    base = None
    for name, runs in figures.items():
        seconds = [second for second, _ in runs]
        median = statistics.median(seconds)
        base = base or median
        print(f"{name:44}{median:>8.2f} s{min(seconds):>8.2f} s{max(seconds):>8.2f} s{median / base:>8.2f}"
              f"{max(mib for _, mib in runs):>6.0f} MiB", flush=True)


def main() -> None:
    parts = {"fast": fast, "slow": slow, "small": small}
    for part in os.environ.get("PARTS", "fast slow small").split():
        parts[part]()


def fast() -> None:
    archive()
    url, token = os.environ["RUNLOG_API_URL"], os.environ["RUNLOG_TOKEN"]
    contenders = {
        "script that saves files": lambda folder: script("save_files.py", folder),
        "runlog collect --once, pace 0": lambda folder: collect(url, token, folder, 'pace = "0"\n'),
        "dlt into Parquet": lambda folder: script("load_with_dlt.py", folder),
    }
    if os.environ.get("WITHOUT_DLT"):
        del contenders["dlt into Parquet"]
    compare("201 runs, 210 pages, 1,100,000 records from runlog serve, without delay", contenders)


def slow() -> None:
    big = slow_service.Service(TASK, [BIG_RECORDS], 1)
    compare("one run of ten pages, each built in 1 to 3 s, 50 ms per response", {
        "script that follows the guide": lambda folder: script("save_files.py", folder, "1", RUNLOG_API_URL=big.url),
        "runlog collect --once": lambda folder: collect(big.url, os.environ["RUNLOG_TOKEN"], folder),
    })


def small() -> None:
    service, rates = slow_service.Service(TASK, [SMALL_RECORDS] * PACED_RUNS, 2), []

    def at_full_pace(folder: Path) -> tuple[float, float]:
        # Component metrics would take a third request of the same limit per run, after the logs.
        figure = collect(service.url, os.environ["RUNLOG_TOKEN"], folder, "component_metrics = false\n")
        rates.append(PACED_RUNS * 60 / figure[0])
        time.sleep(60)  # Until the service has forgotten the requests of this round.
        return figure

    compare(f"{PACED_RUNS} small runs from the same service", {"runlog collect --once": at_full_pace})
    print(f"pages per minute: {statistics.median(rates):.0f} of the 300 that the service allows, "
          f"{statistics.median(rates) / 3:.1f} %; {service.limited} requests were answered with 429")


main()
