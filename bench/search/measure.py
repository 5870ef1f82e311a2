#!/usr/bin/env python3
"""Archives the logs in FOLDER/logs and searches them: measure.py FOLDER ROUNDS TASK_ID RUNLOG.

One record in a million also holds the word "quokka", and one in the oldest run the word "wombat"."""

import datetime
import http.client
import json
import os
import random
import sqlite3
import statistics
import subprocess
import sys
import time
import urllib.parse
from pathlib import Path

import duckdb
import pyarrow.parquet

FOLDER, ROUNDS, TASK, RUNLOG = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
SEARCHES = {"frequent": "orders", "one in a million": "quokka", "in the oldest run": "wombat", "part of a rare word": "uokk",
            "nowhere": "thylacine", "nowhere, with digits": "ora-09999", "an order nowhere": "orders thylacine"}


class Runlog:
    def __init__(self):
        self.connection = http.client.HTTPConnection(urllib.parse.urlsplit(os.environ["RUNLOG_API_URL"]).netloc)
        self.headers = {"Authorization": f"Bearer {os.environ['RUNLOG_TOKEN']}", "Content-Type": "application/json"}

    def send(self, method, path, body=None):
        self.connection.request(method, path, json.dumps(body) if body else None, self.headers)
        answer = self.connection.getresponse()
        content = answer.read()
        assert answer.status // 100 == 2, content
        return json.loads(content or b"null")

    def find(self, text):
        """The newest fifty, which may take several requests."""
        found, cursor = [], ""
        while True:
            page = self.send("GET", f"/runlog/v1/search?limit=50&q={urllib.parse.quote(text)}{cursor}")
            found += page["items"]
            if "cursor" not in page or len(found) >= 50:
                return [item["logTimestamp"] for item in found[:50]]
            cursor = f"&cursor={page['cursor']}"


class Duck:
    def __init__(self):
        self.base = duckdb.connect()
        self.base.execute(f"CREATE VIEW records AS SELECT * FROM read_parquet('{FOLDER}/data/objects/sealed/**/*.parquet')")

    def find(self, text):
        wanted = " AND ".join(f"contains(lower(message), '{part}')" for part in text.split())
        rows = self.base.execute(f"SELECT epoch_ms(time) FROM records WHERE {wanted} ORDER BY time DESC LIMIT 50").fetchall()
        return [row[0] for row in rows]


class Ripgrep:
    def find(self, text):
        """Counts all lines with the first part: ripgrep cannot start at the end."""
        return subprocess.run(["rg", "-i", "-c", "-F", text.split()[-1], FOLDER / "log.txt"], stdout=subprocess.PIPE).stdout


def instant(ms):
    return datetime.datetime.fromtimestamp(ms / 1000, datetime.timezone.utc).isoformat(timespec="milliseconds")


def archive(runlog):
    """Archives the logs, and writes their messages to FOLDER/log.txt."""
    chance, total = random.Random(1), 0
    with open(FOLDER / "log.txt", "w") as text:
        for number, path in enumerate(sorted((FOLDER / "logs").glob("*-*.ndjson"))):
            records = [json.loads(line) for line in open(path)]
            for index, record in enumerate(records):
                if chance.random() < 1e-6:
                    record["logMessage"] += " quokka"
                if (number, index) == (0, len(records) // 2):
                    record["logMessage"] += " wombat"
                text.write(f"{instant(record['logTimestamp'])} {record.get('severity')} {record['logMessage'].replace(chr(10), ' ')}\n")
            path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
            times = [record["logTimestamp"] for record in records]
            runlog.send("PUT", f"/runlog/v1/runs/{path.stem}", {"taskId": TASK, "triggerTimestamp": instant(min(times)), "startTimestamp": instant(min(times))})
            subprocess.run([RUNLOG, "push", path.stem, path], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            runlog.send("POST", f"/runlog/v1/runs/{path.stem}/finish", {"status": "execution_successful", "finishTimestamp": instant(max(times))})
            total += len(records)
            path.unlink()
    while True:
        with sqlite3.connect(f"file:{FOLDER}/data/catalog.sqlite?mode=ro", uri=True) as rows:
            if rows.execute("SELECT count(*) FROM runs WHERE seal_at IS NOT NULL").fetchone()[0] == 0:
                break
        time.sleep(1)
    files = list((FOLDER / "data/objects/sealed").rglob("*.parquet"))
    sizes = sum(file.stat().st_size for file in files)
    places = [(pyarrow.parquet.read_metadata(file).metadata or {}).get(b"runlog.words") for file in files]
    index = sum(int(place.split(b",")[1]) for place in places if place)
    print(f"{total:,} records; as text {(FOLDER / 'log.txt').stat().st_size / 1e6:.1f} MB; sealed {sizes / 1e6:.1f} MB in {len(files)} files, "
          f"of which the index of words {index / 1e6:.2f} MB ({100 * index / sizes:.1f} %)", flush=True)


def main():
    runlog = Runlog()
    archive(runlog)
    engines = {"Runlog": runlog, "ripgrep": Ripgrep(), "DuckDB": Duck()}
    print(f"{'newest 50 records that contain a text':40}" + "".join(f"{name:>14}" for name in engines) + f"{'Runlog : ripgrep':>20}")
    for name, text in SEARCHES.items():
        assert runlog.find(text) == engines["DuckDB"].find(text), text
        times = {engine: [] for engine in engines}
        engines["ripgrep"].find(text)
        for _ in range(ROUNDS):
            for engine, searched in engines.items():
                begun = time.monotonic()
                searched.find(text)
                times[engine].append(time.monotonic() - begun)
        medians = {engine: statistics.median(some) for engine, some in times.items()}
        print(f"{name + ': ' + text:40}" + "".join(f"{seconds * 1000:>11.1f} ms" for seconds in medians.values())
              + f"{medians['Runlog'] / medians['ripgrep']:>20.2f}", flush=True)


main()
