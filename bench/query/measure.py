#!/usr/bin/env python3
"""Runs the same queries and searches in Runlog, DuckDB and ClickHouse: measure.py FOLDER ROUNDS.

Each query runs once in each engine without being measured, then the engines alternate. Fails if the results differ."""

import http.client
import json
import math
import os
import re
import sqlite3
import statistics
import subprocess
import sys
import time
import urllib.parse
from pathlib import Path

import chdb.session
import duckdb

# In SQL that all three support; {…} stands for what they express differently.
QUESTIONS = {
    "records by severity": "SELECT severity, count(*) AS n FROM records GROUP BY severity ORDER BY severity",
    "errors per hour": "SELECT {hour} AS hour, count(*) AS n FROM records WHERE severity = 'ERROR' GROUP BY hour ORDER BY hour",
    "first error of each failed run": "SELECT e.run_id AS run_id, min(e.time) AS at FROM records e JOIN runs r ON r.run_id = e.run_id WHERE r.status = 'execution_failed' AND e.severity = 'ERROR' GROUP BY e.run_id ORDER BY run_id",
    "most frequent components of errors": "SELECT bundle_name, count(*) AS n FROM records WHERE severity IN ('ERROR', 'WARN') GROUP BY bundle_name ORDER BY n DESC, bundle_name LIMIT 10",
    "log of one run in one minute": "SELECT time, severity, message FROM records WHERE run_id = '{run}' AND time >= {from} AND time < {to} ORDER BY time, arrival",
    "one hour of all runs by severity": "SELECT severity, count(*) AS n FROM records WHERE time >= {from} AND time < {hour_later} GROUP BY severity ORDER BY severity",
    "records that contain a text": "SELECT count(*) AS n FROM records WHERE message LIKE '%tFileOutput%'",
    "volume by task and day": "SELECT task_id, {day} AS day, count(*) AS n FROM records GROUP BY task_id, day ORDER BY task_id, day",
    "longest messages": "SELECT length(message) AS n, run_id, arrival FROM records ORDER BY n DESC, run_id, arrival LIMIT 10",
    "runs by status with their errors": "SELECT r.status AS status, count(DISTINCT r.run_id) AS runs, count(*) AS n FROM runs r JOIN records e ON e.run_id = r.run_id WHERE e.severity = 'ERROR' GROUP BY r.status ORDER BY status",
}

# Nearly every message is different: groups, sorts and joins hold them all.
QUESTIONS_OF_MESSAGES = {
    "number of different messages": "SELECT count(DISTINCT message) AS n FROM records",
    "most frequent messages": "SELECT message, count(*) AS n FROM records GROUP BY message ORDER BY n DESC, message LIMIT 10",
    "messages that failed runs repeat": "SELECT e.message AS message, count(DISTINCT e.run_id) AS runs FROM records e JOIN runs r ON r.run_id = e.run_id WHERE r.status = 'execution_failed' GROUP BY e.message ORDER BY runs DESC, message LIMIT 10",
    "newest messages of failed runs": "SELECT e.time AS time, e.message AS message FROM records e JOIN runs r ON r.run_id = e.run_id WHERE r.status = 'execution_failed' ORDER BY e.time DESC, e.arrival DESC, e.run_id LIMIT 100",
    "messages shared by two runs": "SELECT a.message AS message, count(*) AS n FROM records a JOIN records b ON a.message = b.message WHERE a.run_id = '{run}' AND b.run_id <> '{run}' GROUP BY a.message ORDER BY n DESC, message LIMIT 10",
}

SEARCHES = {"frequent": "connection", "one in a million": "quokka", "in the oldest run": "wombat", "nowhere": "thylacine"}


class Runlog:
    name = "Runlog"
    words = {"hour": "date_trunc('hour', time)", "day": "date_trunc('day', time)"}

    def __init__(self):
        self.connection = http.client.HTTPConnection(urllib.parse.urlsplit(os.environ["RUNLOG_API_URL"]).netloc)
        self.headers = {"Authorization": f"Bearer {os.environ['RUNLOG_TOKEN']}"}

    def ask(self, query):
        answer = self.send("POST", "/runlog/v1/sql", json.dumps({"query": query, "format": "ndjson"}))
        return [list(json.loads(line).values()) for line in answer.splitlines()]

    def find(self, text):
        """The newest fifty, which may take several requests."""
        found, cursor = [], ""
        while True:
            page = json.loads(self.send("GET", f"/runlog/v1/search?limit=50&q={urllib.parse.quote(text)}{cursor}"))
            found += page["items"]
            if "cursor" not in page or len(found) >= 50:
                return [item["logTimestamp"] for item in found[:50]]
            cursor = f"&cursor={page['cursor']}"

    def send(self, method, path, body=None):
        self.connection.request(method, path, body, self.headers)
        answer = self.connection.getresponse()
        content = answer.read()
        assert answer.status == 200, content
        return content


class Duck:
    name = "DuckDB"
    words = Runlog.words

    def __init__(self, folder):
        self.base = duckdb.connect()
        self.base.execute("SET TimeZone = 'UTC'")
        catalog = sqlite3.connect(f"file:{folder / 'data/catalog.sqlite'}?mode=ro", uri=True)
        self.base.execute("CREATE TABLE runs (run_id VARCHAR, task_id VARCHAR, status VARCHAR)")
        self.base.executemany("INSERT INTO runs VALUES (?, ?, ?)", catalog.execute("SELECT id, task_id, status FROM runs").fetchall())
        sealed = folder / "data/objects/sealed/**/*.parquet"
        self.base.execute(f"CREATE VIEW records AS SELECT f.*, r.task_id FROM read_parquet('{sealed}') f JOIN runs r USING (run_id)")

    def ask(self, query):
        return [list(row) for row in self.base.execute(query).fetchall()]

    def find(self, text):
        query = f"SELECT epoch_ms(time) FROM records WHERE contains(lower(message), '{text}') ORDER BY time DESC LIMIT 50"
        return [row[0] for row in self.base.execute(query).fetchall()]


class ClickHouse:
    name = "ClickHouse"
    words = {"hour": "toStartOfHour(time)", "day": "toStartOfDay(time)"}

    def __init__(self, folder):
        self.session = chdb.session.Session(str(folder / "clickhouse"))
        # Otherwise, repeated queries would be answered from this cache.
        self.session.query("SET use_query_condition_cache = 0")
        self.session.query("""CREATE TABLE records (run_id LowCardinality(String), task_id LowCardinality(String), time DateTime64(3, 'UTC'),
            arrival UInt32, severity LowCardinality(Nullable(String)), bundle_name LowCardinality(Nullable(String)), message String)
            ENGINE = MergeTree ORDER BY (run_id, time)""")
        columns = "run_id String, task_id String, time Int64, severity Nullable(String), bundleName Nullable(String), logMessage String"
        self.session.query(f"""INSERT INTO records SELECT run_id, task_id, fromUnixTimestamp64Milli(time, 'UTC'),
            row_number() OVER (PARTITION BY run_id ORDER BY time) - 1, severity, bundleName, logMessage
            FROM file('{folder}/log.ndjson', JSONEachRow, '{columns}')""")
        self.session.query("OPTIMIZE TABLE records FINAL")
        catalog = sqlite3.connect(f"file:{folder / 'data/catalog.sqlite'}?mode=ro", uri=True)
        self.session.query("CREATE TABLE runs (run_id String, task_id String, status String) ENGINE = MergeTree ORDER BY run_id")
        rows = ", ".join(f"('{run}', '{task}', '{status}')" for run, task, status in catalog.execute("SELECT id, task_id, status FROM runs"))
        self.session.query(f"INSERT INTO runs VALUES {rows}")

    def ask(self, query):
        query = query.replace("TIMESTAMP '", "toDateTime64('").replace("00'", "00', 3, 'UTC')").replace("length(", "lengthUTF8(")
        answer = self.session.query(query, "JSONCompactEachRow").bytes()
        return [json.loads(line) for line in answer.splitlines()]

    def find(self, text):
        query = f"SELECT toUnixTimestamp64Milli(time) FROM records WHERE positionCaseInsensitive(message, '{text}') > 0 ORDER BY time DESC LIMIT 50"
        return [int(line) for line in self.session.query(query, "TSV").bytes().split()]


class Ripgrep:
    name = "ripgrep"

    def __init__(self, folder):
        self.file = folder / "log.txt"

    def find(self, text):
        """Counts all matching lines: ripgrep cannot start at the end."""
        return subprocess.run(["rg", "-i", "-c", "-F", text, self.file], stdout=subprocess.PIPE).stdout


def plain(rows):
    """Rows in a form that is the same for all three."""
    def value(cell):
        if hasattr(cell, "timestamp"):
            return round(cell.timestamp() * 1000)
        if isinstance(cell, str) and re.match(r"\d{4}-\d\d-\d\d", cell):
            text = cell.replace(" ", "T").rstrip("Z")
            return round(__import__("datetime").datetime.fromisoformat(text + "+00:00").timestamp() * 1000)
        if isinstance(cell, str) and re.fullmatch(r"\d+", cell):
            return int(cell)
        return cell
    return [[value(cell) for cell in row] for row in rows]


def timed(work, *arguments):
    begun = time.monotonic()
    answer = work(*arguments)
    return time.monotonic() - begun, answer


def show(head, engines, figures, base):
    print(f"\n{head:38}" + "".join(f"{engine.name:>14}" for engine in engines) + f"{'Runlog : ' + base:>20}")
    ratios = []
    for name, times in figures.items():
        medians = {engine.name: statistics.median(times[engine.name]) for engine in engines}
        ratios.append(medians["Runlog"] / medians[base])
        print(f"{name:38}" + "".join(f"{medians[engine.name] * 1000:>11.1f} ms" for engine in engines) + f"{ratios[-1]:>20.2f}", flush=True)
    print(f"{'median of the ratios':38}{statistics.median(ratios):>{14 * len(engines) + 20}.2f}")
    print(f"{'geometric mean':38}{math.exp(statistics.fmean(map(math.log, ratios))):>{14 * len(engines) + 20}.2f}", flush=True)


def main():
    folder, rounds = Path(sys.argv[1]), int(sys.argv[2])
    engines = [Runlog(), Duck(folder)]
    if not os.environ.get("SEARCHES_ONLY"):
        engines.append(ClickHouse(folder))
        ask("questions", QUESTIONS, engines, rounds)
        # Runlog keeps to its 256 MiB; the others take what they want: DuckDB fails with as little.
        ask("questions that hold all messages", QUESTIONS_OF_MESSAGES, engines, rounds)
        engines.append(Ripgrep(folder))
    find(engines, rounds)
    status = Path(f"/proc/{os.environ['RUNLOG_PID']}/status").read_text()
    peak = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024
    print(f"\npeak of memory of the service: {peak:.0f} MiB")


def ask(head, questions, engines, rounds):
    runlog, duck, clickhouse = engines
    run, began = duck.ask("SELECT run_id, min(time) FROM records WHERE run_id = (SELECT run_id FROM records LIMIT 1 OFFSET 1000) GROUP BY 1")[0]
    at = lambda minutes: f"TIMESTAMP '{(began + __import__('datetime').timedelta(minutes=minutes)).strftime('%Y-%m-%d %H:%M:00')}'"
    places = {"run": run, "from": at(1), "to": at(2), "hour_later": at(61)}
    figures = {name: {engine.name: [] for engine in engines} for name in questions}
    for name, question in questions.items():
        queries = {engine.name: question.format(**engine.words, **places) for engine in engines}
        answers = {engine.name: plain(engine.ask(queries[engine.name])) for engine in engines}
        for other in (duck, clickhouse):
            if answers["Runlog"] != answers[other.name]:
                print(f"DIFFERENT from {other.name}: {name}\n  {answers['Runlog'][:3]}\n  {answers[other.name][:3]}", file=sys.stderr)
        for _ in range(rounds):
            for engine in engines:
                figures[name][engine.name].append(timed(engine.ask, queries[engine.name])[0])
    show(head, engines, figures, "DuckDB")


def find(engines, rounds):
    figures = {f"search: {name}": {engine.name: [] for engine in engines} for name in SEARCHES}
    for name, text in SEARCHES.items():
        found = [engine.find(text) for engine in engines if engine.name != "ripgrep"]
        assert all(some == found[0] for some in found), (text, [some[:3] for some in found])
        for _ in range(rounds):
            for engine in engines:
                figures[f"search: {name}"][engine.name].append(timed(engine.find, text)[0])
    show("newest 50 records that contain a text", engines, figures, "DuckDB")


main()
