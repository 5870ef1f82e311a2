#!/usr/bin/env python3
"""Creates an archive for the queries: fill.py FOLDER RECORDS RUNS TASK_ID RUNLOG. Reads RUNLOG_API_URL and RUNLOG_TOKEN.

All runs have the same size. They belong to ten tasks and are spread over ten days; one in ten has failed. The texts are
those of the sample runs, each with a random number, so that no two lines are equal. Two words are rare: one occurs in one
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


def parts(text):
    """The JSON of a record in three parts: up to its time, up to the end of its message, and the rest."""
    own = {"logTimestamp": 770077007700, "logMessage": f"{text.get('logMessage', '')} #\0"}
    record = {"logTimestamp": 0, **{name: value for name, value in text.items() if value is not None}, **own}
    before, rest = json.dumps(record, ensure_ascii=False).split("770077007700")
    return before, *rest.split("\\u0000")


def instant(ms):
    return datetime.datetime.fromtimestamp(ms / 1000, datetime.timezone.utc).isoformat(timespec="milliseconds")


def main():
    folder, records, runs, task, runlog = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5]
    workspace = next(row["workspace"]["id"] for row in send_get("/orchestration/executables/tasks")["items"] if row["executable"] == task)
    tasks = [send("POST", "/runlog/v1/tasks", {"name": f"task {number}", "workspaceId": workspace})["executable"] for number in range(10)]
    chance, texts = random.Random(1), samples()
    pieces = [parts(text) for text in texts]
    searches_only = bool(os.environ.get("SEARCHES_ONLY"))
    text_log, json_log = None, None
    if not searches_only:
        text_log, json_log = open(folder / "log.txt", "w"), open(folder / "log.ndjson", "w")
    per_run = records // runs
    for number in range(runs):
        run = str(uuid.UUID(int=chance.getrandbits(128), version=4))
        began = FIRST_MS + SPAN_MS * number // runs
        task_id = tasks[number % 10]
        send("PUT", f"/runlog/v1/runs/{run}", {"taskId": task_id, "triggerTimestamp": instant(began), "startTimestamp": instant(began)})
        path, at = folder / "run.ndjson", chance.randrange(len(texts))
        with open(path, "w") as out:
            for index in range(per_run):
                place, now = (at + index) % len(texts), began + index * 7
                own = f"{chance.getrandbits(24):06x}"
                if chance.random() < 1e-6:
                    own += " quokka"
                if number == 0 and index == per_run // 2:
                    own += " wombat"
                before, between, after = pieces[place]
                line = f"{before}{now}{between}{own}{after}"
                out.write(line + "\n")
                if searches_only:
                    continue
                text = texts[place]
                message = f"{text.get('logMessage', '')} #{own}"
                json_log.write(f'{{"run_id":"{run}","task_id":"{task_id}","time":{now},{line[1:]}\n')
                text_log.write(f"{instant(now)} {text.get('severity', '-')} {message.replace(chr(10), ' ')}\n")
        status = "execution_failed" if number % 10 == 3 else "execution_successful"
        subprocess.run([runlog, "push", run, path], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        send("POST", f"/runlog/v1/runs/{run}/finish", {"status": status, "finishTimestamp": instant(began + per_run * 7)})
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
