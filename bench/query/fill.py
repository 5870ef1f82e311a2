#!/usr/bin/env python3
"""Creates an archive for the queries: fill.py FOLDER RECORDS RUNS TASK_ID RUNLOG. Reads RUNLOG_API_URL and RUNLOG_TOKEN.

All runs have the same size. They belong to ten tasks and are spread over ten days; one in ten has failed. The records are
realistic ones (bench/logs), with their own pauses. With LOG=samples, the texts are those of the sample runs, each with a
random number, so that no two lines are equal. Two words are rare: one occurs in one
of a million records, and one only in the oldest run. Also writes the records to FOLDER/log.txt as text and to
FOLDER/log.ndjson for ClickHouse, except with SEARCHES_ONLY, because they take 400 bytes per record."""

import datetime
import json
import os
import random
import sqlite3
import subprocess
import sys
import time
import urllib.request
import uuid
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
FIRST_MS = 1_790_000_000_000
SPAN_MS = 10 * 86_400_000


def send(method, path, body):
    headers = {"Authorization": f"Bearer {os.environ['RUNLOG_TOKEN']}", "Content-Type": "application/json"}
    request = urllib.request.Request(os.environ["RUNLOG_API_URL"] + path, json.dumps(body).encode(), headers, method=method)
    with urllib.request.urlopen(request) as answer:
        return json.loads(answer.read() or b"null")


def samples():
    """The records of the sample runs, at most 20,000 of each."""
    texts = []
    for file in sorted((ROOT / "fixtures/runs").glob("*.ndjson.zst")):
        lines = subprocess.run(["zstd", "-dcq", file], check=True, stdout=subprocess.PIPE).stdout.splitlines()
        texts += [json.loads(line) for line in lines[:20_000]]
    return texts


def realistic_runs(folder, records, runs):
    """The records of each run as JSON, with the time and the message."""
    generate = ROOT / "bench/logs/generate.py"
    logs = folder / "logs"
    subprocess.run([sys.executable, generate, "--records", str(records), "--runs", str(runs), "--folder", logs], check=True)
    for path in sorted(logs.glob("*-*.ndjson")):
        with open(path) as lines:
            yield [json.loads(line) for line in lines]
        path.unlink()


def sample_runs(records, runs, chance):
    texts = samples()
    for _ in range(runs):
        at = chance.randrange(len(texts))
        yield [{**texts[(at + index) % len(texts)], "logTimestamp": index * 7,
                "logMessage": f"{texts[(at + index) % len(texts)].get('logMessage', '')} #{chance.getrandbits(24):06x}"}
               for index in range(records)]


def instant(ms):
    return datetime.datetime.fromtimestamp(ms / 1000, datetime.timezone.utc).isoformat(timespec="milliseconds")


def main():
    folder, records, runs, task, runlog = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5]
    workspace = next(row["workspace"]["id"] for row in send_get("/orchestration/executables/tasks")["items"] if row["executable"] == task)
    tasks = [send("POST", "/runlog/v1/tasks", {"name": f"task {number}", "workspaceId": workspace})["executable"] for number in range(10)]
    chance = random.Random(1)
    searches_only = bool(os.environ.get("SEARCHES_ONLY"))
    text_log, json_log = None, None
    if not searches_only:
        text_log, json_log = open(folder / "log.txt", "w"), open(folder / "log.ndjson", "w")
    per_run = records // runs
    is_samples = os.environ.get("LOG") == "samples"
    logs = sample_runs(per_run, runs, chance) if is_samples else realistic_runs(folder, per_run, runs)
    for number, log in enumerate(logs):
        run = str(uuid.UUID(int=chance.getrandbits(128), version=4))
        began = FIRST_MS + SPAN_MS * number // runs
        first, last = (choose(record["logTimestamp"] for record in log) for choose in (min, max))
        task_id = tasks[number % 10]
        send("PUT", f"/runlog/v1/runs/{run}", {"taskId": task_id, "triggerTimestamp": instant(began), "startTimestamp": instant(began)})
        path = folder / "run.ndjson"
        with open(path, "w") as out:
            for index, record in enumerate(log):
                now = began + record["logTimestamp"] - first
                message = record["logMessage"]
                if chance.random() < 1e-6:
                    message += " quokka"
                if number == 0 and index == per_run // 2:
                    message += " wombat"
                fields = {name: value for name, value in record.items() if value is not None}
                line = json.dumps({**fields, "logTimestamp": now, "logMessage": message}, ensure_ascii=False)
                out.write(line + "\n")
                if searches_only:
                    continue
                json_log.write(f'{{"run_id":"{run}","task_id":"{task_id}","time":{now},{line[1:]}\n')
                text_log.write(f"{instant(now)} {record.get('severity', '-')} {message.replace(chr(10), ' ')}\n")
        status = "execution_failed" if number % 10 == 3 else "execution_successful"
        subprocess.run([runlog, "push", run, path], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        send("POST", f"/runlog/v1/runs/{run}/finish", {"status": status, "finishTimestamp": instant(began + last - first)})
    catalog = folder / "data/catalog.sqlite"
    while True:
        with sqlite3.connect(f"file:{catalog}?mode=ro", uri=True) as rows:
            if rows.execute("SELECT count(*) FROM runs WHERE seal_at IS NOT NULL").fetchone()[0] == 0:
                break
        time.sleep(1)
    print(f"{per_run * runs:,} records in {runs} runs, sealed")


def send_get(path):
    headers = {"Authorization": f"Bearer {os.environ['RUNLOG_TOKEN']}"}
    with urllib.request.urlopen(urllib.request.Request(os.environ["RUNLOG_API_URL"] + path, headers=headers)) as answer:
        return json.loads(answer.read())


main()
