"""Runs the same queries in Runlog and DuckDB, and compares the results row by row."""

import argparse
import csv
import datetime
import io
import json
import math
import os
import pathlib
import random
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid

import duckdb

# The time that replaces now() in the queries.
NOW = datetime.datetime(2026, 11, 24, 8, 0, tzinfo=datetime.timezone.utc)
NOW_MS = int(NOW.timestamp() * 1000)
DAY_MS = 86_400_000

WORDS = "order customer invoice batch row file table region store index cache queue".split()


class Service:
    """A running `runlog serve` with its own archive."""

    def __init__(self, runlog, folder):
        self.data = folder / "data"
        self.log = open(folder / "log", "w+b")
        arguments = ["serve", "--data", str(self.data), "--listen", "127.0.0.1:0", "--settle", "0s"]
        limits = ["--requests-per-second", "0", "--sql-max-queries", "8"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RUNLOG_")}
        self.process = subprocess.Popen([runlog, *arguments, *limits], stderr=self.log, env=environment)
        for _ in range(200):
            log = (folder / "log").read_text()
            if match := re.search(r"listens on (http://[0-9.:]+), archive in", log):
                self.url = match.group(1)
                break
            if self.process.poll() is not None:
                sys.exit(f"the service exited: {log}")
            time.sleep(0.05)
        else:
            sys.exit(f"the service does not listen: {log}")
        self.token = (self.data / "admin.token").read_text().strip()

    def send(self, method, path, body=b"", token=None):
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {token or self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data=body if method != "GET" else None, headers=headers, method=method)
        with urllib.request.urlopen(request) as answer:
            return answer.read()

    def post(self, path, body):
        return json.loads(self.send("POST", path, body) or b"null")

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait()


def instant(ms):
    moment = datetime.datetime.fromtimestamp(ms / 1000, datetime.timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03d}Z"


def fill(service, chance):
    """Creates two workspaces, six tasks, and eighty runs of the last ten days, some of them failed or empty, and one that is
    still running."""
    tasks = []
    for workspace in ["sales", "stock"]:
        made = service.post("/runlog/v1/workspaces", {"name": workspace})
        for name in ["orders", "returns", "nightly"]:
            new = {"name": f"{workspace} {name}", "workspaceId": made["id"]}
            tasks.append((made["id"], service.post("/runlog/v1/tasks", new)["executable"]))
    # One task has no runs, and another has had none for some days.
    for number in range(80):
        index = chance.randrange(5)
        workspace, task = tasks[index]
        began = NOW_MS - chance.randrange(10 * DAY_MS) - (3 * DAY_MS if index == 4 else 0)
        run(service, chance, task, number, began)
    run(service, chance, tasks[0][1], None, NOW_MS - 3_600_000)
    return tasks


def run(service, chance, task, number, began):
    run_id = str(uuid.UUID(int=chance.getrandbits(128), version=4))
    times = {"triggerTimestamp": instant(began - 2_000), "startTimestamp": instant(began)}
    service.send("PUT", f"/runlog/v1/runs/{run_id}", {"taskId": task, **times})
    records = [] if number is not None and number % 13 == 0 else log(chance, began)
    for part in range(0, len(records), 700):
        lines = "\n".join(json.dumps(record) for record in records[part : part + 700])
        service.send("POST", f"/runlog/v1/runs/{run_id}/records", lines.encode())
    if number is None:
        return
    failed = chance.random() < 0.3
    ended = max([began] + [record["logTimestamp"] for record in records]) + chance.randrange(5_000)
    finish = {"status": "execution_failed" if failed else "execution_successful", "finishTimestamp": instant(ended)}
    if failed:
        finish["errorMessage"] = "it broke"
    if chance.random() < 0.5:
        finish["numberOfProcessedRows"] = chance.randrange(10_000)
    service.send("POST", f"/runlog/v1/runs/{run_id}/finish", finish)


def log(chance, began):
    now, records = began, []
    for _ in range(chance.choice([1, 20, 300, 2_000])):
        # Several records with the same time, and pauses, a few of them long.
        now += chance.choice([0, 0, 1, 40, 900]) if chance.random() > 0.002 else 400_000
        severity = chance.choices(["DEBUG", "INFO", "WARN", "ERROR", "FATAL", None], [20, 60, 10, 5, 1, 2])[0]
        words = " ".join(chance.choice(WORDS) for _ in range(3))
        message = chance.choice([words, f"{words} took {chance.randrange(99)} ms", f"{words}:\n  at line 7, \"x\"", "größer als 100 %", ""])
        record = {"logTimestamp": now - (5_000 if chance.random() < 0.01 else 0), "logMessage": message}
        if severity:
            record["severity"] = severity
        if chance.random() < 0.8:
            record["bundleName"] = chance.choice(["tDBInput_1", "tMap_2", "tFileOutput_3"])
        records.append(record)
    return records


def wait_until_sealed(catalog):
    for _ in range(600):
        with sqlite3.connect(f"file:{catalog}?mode=ro", uri=True) as rows:
            left = rows.execute("SELECT count(*) FROM runs WHERE seal_at IS NOT NULL AND final_since IS NOT NULL").fetchone()[0]
        if left == 0:
            return
        time.sleep(0.1)
    sys.exit("the runs are not sealed after a minute")


def duck(service):
    """DuckDB on the objects of the archive, with the rows of the catalog copied to its own tables."""
    base = duckdb.connect()
    base.execute("SET TimeZone = 'UTC'")
    catalog = sqlite3.connect(f"file:{service.data / 'catalog.sqlite'}?mode=ro", uri=True)
    tables = {
        "slices": ["run_id", "first_arrival", "first_row", "records", "object_key", "merged"],
        "run_rows": ["run_id", "task_id", "task_name", "workspace_id", "workspace_name", "status", "triggered_ms", "started_ms",
                     "finished_ms", "final_since", "records", "stored_bytes", "processed_rows", "error_records", "warn_records"],
        "task_rows": ["task_id", "task_name", "workspace_id", "workspace_name"],
    }
    queries = {
        "slices": """SELECT s.run_id, s.first_arrival, s.first_row, s.records, g.object_key, g.merged
                     FROM slices s JOIN segments g ON g.id = s.segment_id""",
        "run_rows": """SELECT r.id, r.task_id, t.name, r.workspace_id, w.name, r.status, r.triggered_at, r.started_at,
                       r.finished_at, r.final_since, r.records, r.stored_bytes, r.processed_rows, r.severity_error, r.severity_warn
                       FROM runs r JOIN tasks t ON t.id = r.task_id JOIN workspaces w ON w.id = r.workspace_id""",
        "task_rows": "SELECT t.id, t.name, t.workspace_id, w.name FROM tasks t JOIN workspaces w ON w.id = t.workspace_id",
    }
    for name, columns in tables.items():
        rows = catalog.execute(queries[name]).fetchall()
        kinds = {type(value) for row in rows for value in row}
        assert kinds <= {str, int, type(None)}, kinds
        texts = lambda column: any(isinstance(row[column], str) for row in rows)
        declared = ", ".join(f"{column} {'VARCHAR' if texts(at) else 'BIGINT'}" for at, column in enumerate(columns))
        base.execute(f"CREATE TABLE {name} ({declared})")
        if rows:
            base.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' * len(columns))})", rows)
    base.execute("""CREATE TABLE runs AS SELECT run_id, task_id, task_name, workspace_id, workspace_name, status,
        make_timestamptz(triggered_ms * 1000) AS triggered_at, make_timestamptz(started_ms * 1000) AS started_at,
        make_timestamptz(finished_ms * 1000) AS finished_at, finished_ms - started_ms AS duration_ms,
        final_since IS NOT NULL AS is_final, records, stored_bytes, processed_rows, error_records, warn_records FROM run_rows""")
    base.execute("CREATE TABLE tasks AS SELECT * FROM task_rows")
    base.execute("""CREATE TABLE deliveries (sink VARCHAR, run_id VARCHAR, state VARCHAR, of_records BIGINT,
        delivered BIGINT, attempts BIGINT)""")
    objects = service.data / "objects"
    # The active run is still in segments, where arrival numbers start at 0 in each slice.
    base.execute(f"""CREATE TABLE records AS
        SELECT f.run_id, r.task_id, r.workspace_id, f.time,
               CAST(CASE WHEN s.merged = 1 THEN 0 ELSE s.first_arrival END + f.arrival AS BIGINT) AS arrival,
               f.severity, f.message, f.log_type, f.bundle_name
        FROM read_parquet('{objects}/**/*.parquet', filename = true, file_row_number = true) f
        JOIN slices s ON s.run_id = f.run_id AND f.filename = '{objects}/' || s.object_key
             AND f.file_row_number >= s.first_row AND f.file_row_number < s.first_row + s.records
        JOIN run_rows r ON r.run_id = f.run_id""")
    return base


def value_of(value):
    """A value in a form that is the same for both: times in milliseconds, numbers as floats."""
    if value is None or value == "":
        return None
    if isinstance(value, datetime.datetime):
        return ("ms", round(value.timestamp() * 1000))
    if isinstance(value, str):
        if re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", value):
            return ("ms", round(datetime.datetime.fromisoformat(value.replace("Z", "+00:00")).timestamp() * 1000))
        try:
            return float(value)
        except ValueError:
            return {"true": True, "false": False}.get(value, value)
    if isinstance(value, bool):
        return value
    try:
        return float(value)
    except (TypeError, ValueError):
        return value


def is_same(mine, yours):
    """True if two rows are equal, except for rounding errors of floats."""
    are_numbers = lambda pair: all(isinstance(value, float) for value in pair)
    return len(mine) == len(yours) and all(
        math.isclose(*pair, rel_tol=1e-5) if are_numbers(pair) else pair[0] == pair[1] for pair in zip(mine, yours)
    )


def ours(query):
    return query.replace("now()", f"arrow_cast('{NOW.isoformat()}', 'Timestamp(Nanosecond, Some(\"+00:00\"))')")


def theirs(query):
    return query.replace("now()", f"TIMESTAMPTZ '{NOW.isoformat()}'")


def parsed(text):
    return [[value_of(cell) for cell in row] for row in csv.reader(io.StringIO(text))][1:]


def compare(name, query, mine, yours, in_order=True):
    yours = [[value_of(cell) for cell in row] for row in yours]
    if not in_order:
        mine, yours = sorted(mine, key=repr), sorted(yours, key=repr)
    if len(mine) == len(yours) and all(map(is_same, mine, yours)):
        return True
    print(f"DIFFERENT: {name}\n{query}", file=sys.stderr)
    print(f"  runlog {len(mine)} rows, duckdb {len(yours)} rows", file=sys.stderr)
    for at in range(max(len(mine), len(yours))):
        pair = (mine[at] if at < len(mine) else None, yours[at] if at < len(yours) else None)
        if None in pair or not is_same(*pair):
            print(f"  row {at}: runlog {pair[0]}\n          duckdb {pair[1]}", file=sys.stderr)
            break
    return False


def queries_of(document):
    text = document.read_text()
    found = re.findall(r"^### \d+\. (.*?)\n+```sql\n(.*?)```", text, re.M | re.S)
    assert len(found) == 20, f"docs/sql.md has {len(found)} queries"
    return found


def random_query(chance, base):
    """A random query that both support, and whether its result has a total order."""
    runs = [row[0] for row in base.execute("SELECT run_id FROM runs ORDER BY 1").fetchall()]
    tasks = [row[0] for row in base.execute("SELECT task_id FROM tasks ORDER BY 1").fetchall()]
    workspaces = [row[0] for row in base.execute("SELECT DISTINCT workspace_id FROM tasks ORDER BY 1").fetchall()]
    moment = lambda: f"now() - INTERVAL '{chance.randrange(14 * 24 * 60)} minutes'"
    words = lambda: " ".join(chance.sample(WORDS, chance.choice([1, 1, 2])))
    of_records = [
        lambda: f"run_id = '{chance.choice(runs)}'",
        lambda: f"run_id IN ({', '.join(repr(run) for run in chance.sample(runs, chance.randrange(1, 9)))})",
        lambda: f"task_id = '{chance.choice(tasks)}'",
        lambda: f"workspace_id {chance.choice(['=', '<>'])} '{chance.choice(workspaces)}'",
        lambda: f"time {chance.choice(['<', '<=', '>', '>='])} {moment()}",
        lambda: f"time BETWEEN {moment()} AND {moment()}",
        lambda: f"severity {chance.choice(['=', '<>'])} '{chance.choice(['INFO', 'ERROR', 'FATAL', 'NONE'])}'",
        lambda: f"severity IN ('ERROR', 'FATAL'{chance.choice([', ' + repr('WARN'), ''])})",
        lambda: chance.choice(["severity IS NULL", "severity IS NOT NULL", "bundle_name IS NULL"]),
        lambda: f"message LIKE '%{words()}%'",
        lambda: f"message NOT LIKE '%{words()}%'",
        lambda: f"message ILIKE '%{words().upper()}%'",
        lambda: f"contains(message, '{words()}')",
        lambda: f"arrival {chance.choice(['<', '>='])} {chance.randrange(300)}",
        lambda: "run_id IN (SELECT run_id FROM runs WHERE status = 'execution_failed')",
    ]

    def condition(depth=0):
        kind = chance.random()
        if depth < 2 and kind < 0.25:
            return f"({condition(depth + 1)} OR {condition(depth + 1)})"
        if depth < 2 and kind < 0.55:
            return f"({condition(depth + 1)} AND {condition(depth + 1)})"
        if kind < 0.62:
            return f"NOT ({chance.choice(of_records)()})"
        return chance.choice(of_records)()

    measures = ["count(*)", "count(severity)", "count(DISTINCT run_id)", "min(time)", "max(arrival)", "sum(length(message))",
                "count(*) FILTER (WHERE severity = 'ERROR')", "max(message)", "avg(arrival)", "min(severity)"]
    keys = ["severity", "task_id", "workspace_id", "bundle_name", "date_trunc('day', time)", "date_trunc('hour', time)", "run_id"]
    kind = chance.random()
    if kind < 0.4:
        chosen = chance.sample(keys, chance.choice([1, 2]))
        measured = ", ".join(chance.sample(measures, chance.choice([1, 2, 3])))
        having = chance.choice(["", "", f" HAVING count(*) > {chance.randrange(40)}"])
        return f"SELECT {', '.join(chosen)}, {measured} FROM records WHERE {condition()} GROUP BY {', '.join(chosen)}{having}", False
    if kind < 0.6:
        return f"SELECT {', '.join(chance.sample(measures, 4))} FROM records WHERE {condition()}", False
    if kind < 0.8:
        order = chance.choice(["time DESC, run_id, arrival", "time, run_id, arrival DESC", "run_id, arrival"])
        columns = "run_id, time, arrival, severity, message"
        return f"SELECT {columns} FROM records WHERE {condition()} ORDER BY {order} LIMIT {chance.randrange(1, 60)}", True
    if kind < 0.9:
        joined = "records e JOIN runs r ON r.run_id = e.run_id JOIN tasks t ON t.task_id = r.task_id"
        renamed = re.sub(r"\b(run_id|task_id|workspace_id|time|severity|message|arrival|bundle_name)\b(?! FROM)", r"e.\1", condition(2))
        renamed = renamed.replace("SELECT e.run_id", "SELECT run_id")
        return f"SELECT t.task_name, r.status, count(*), max(r.records) FROM {joined} WHERE {renamed} GROUP BY 1, 2", False
    column = chance.choice(["records", "error_records", "duration_ms", "stored_bytes"])
    where = chance.choice([f"{column} > {chance.randrange(2_000)}", f"finished_at >= {moment()}", "is_final", "processed_rows IS NULL",
                           f"status = 'execution_failed' AND started_at < {moment()}", f"task_id = '{chance.choice(tasks)}'"])
    return f"SELECT run_id, task_name, status, {column}, finished_at FROM runs WHERE {where}", False


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--runlog", required=True)
    arguments.add_argument("--queries", type=int, default=150)
    arguments.add_argument("--seed", type=int, default=1)
    arguments = arguments.parse_args()
    chance = random.Random(arguments.seed)
    runlog = str(pathlib.Path(arguments.runlog).resolve())
    with tempfile.TemporaryDirectory() as folder:
        service = Service(runlog, pathlib.Path(folder))
        try:
            fill(service, chance)
            wait_until_sealed(service.data / "catalog.sqlite")
            base = duck(service)
            (count,) = base.execute("SELECT count(*) FROM records").fetchone()
            print(f"{count} records in {base.execute('SELECT count(*) FROM runs').fetchone()[0]} runs")
            wrong = 0
            for title, query in queries_of(pathlib.Path("docs/sql.md")):
                command = [runlog, "sql", "--data", str(service.data), "--format", "csv", ours(query)]
                answer = subprocess.run(command, capture_output=True, text=True)
                if answer.returncode != 0:
                    print(f"REFUSED: {title}\n{answer.stderr}", file=sys.stderr)
                    wrong += 1
                    continue
                mine = parsed(answer.stdout)
                wrong += not compare(title, query, mine, base.execute(theirs(query)).fetchall())
                print(f"  {len(mine):5} rows  {title}")
            rows = 0
            for number in range(arguments.queries):
                query, in_order = random_query(chance, base)
                try:
                    text = service.send("POST", "/runlog/v1/sql", {"query": ours(query), "format": "csv"}).decode()
                except urllib.error.HTTPError as error:
                    print(f"REFUSED: random query {number}\n{query}\n{error.read().decode()}", file=sys.stderr)
                    wrong += 1
                    continue
                mine = parsed(text)
                rows += len(mine)
                wrong += not compare(f"random query {number}", query, mine, base.execute(theirs(query)).fetchall(), in_order)
            print(f"{arguments.queries} random queries with seed {arguments.seed}: {rows} rows")
        finally:
            service.stop()
    if wrong:
        sys.exit(f"{wrong} results differ")
    print("all results are equal")


if __name__ == "__main__":
    main()
