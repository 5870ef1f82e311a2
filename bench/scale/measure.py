#!/usr/bin/env python3
"""Measures a service whose catalog has generated rows: measure.py SLICES FOLDER. Reads RUNLOG."""

import hashlib
import http.client
import json
import os
import random
import re
import statistics
import sys
import threading
import time
import uuid
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests/endurance"))
import harness  # noqa: E402

SLICES_OF_RUN = 10
SLICES_OF_SEGMENT = 50
TASKS, WORKSPACES = 10_000, 100
NEWEST_MS = 1_795_000_000_000
YEAR_MS = 365 * 24 * 3_600_000
ROUNDS = 200

# With wal_level=minimal, rows that are inserted in the transaction that truncates their table skip the write-ahead log.
POSTGRES = ("-c wal_level=minimal -c max_wal_senders=0 -c maintenance_work_mem=1GB -c shared_buffers=1GB "
            "-c max_connections=200 -c max_wal_size=4GB -c autovacuum=off -c session_preload_libraries=auto_explain")


def identifier(kind: str, number: int) -> str:
    """The same as `md5(kind || number)` in SQL: as a UUID for a run, otherwise the first 24 digits."""
    digits = hashlib.md5(f"{kind}{number}".encode()).hexdigest()
    return str(uuid.UUID(digits)) if kind == "run" else digits[:24]


def generate(postgres: harness.Postgres, slices: int) -> None:
    runs, segments = slices // SLICES_OF_RUN, slices // SLICES_OF_SEGMENT
    step_ms = max(YEAR_MS // runs, 1)
    statements = f"""
    INSERT INTO environments VALUES (left(md5('environment1'), 24), 'scale', NULL, 0, 0);
    INSERT INTO workspaces (id, environment_id, name, owner, created_at)
    SELECT left(md5('workspace' || i), 24), left(md5('environment1'), 24), 'workspace ' || i, 'admin', 0
    FROM generate_series(0, {WORKSPACES - 1}) i;
    INSERT INTO tasks SELECT left(md5('task' || i), 24), left(md5('workspace' || i % {WORKSPACES}), 24), 'task ' || i, '1.0', NULL, '[]', 0
    FROM generate_series(0, {TASKS - 1}) i;

    BEGIN;
    TRUNCATE runs, segments, slices, batches, page_files CASCADE;
    CREATE TEMPORARY TABLE run_indexes ON COMMIT DROP AS
    SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'runs' AND indexname <> 'runs_pkey';
    SELECT format('DROP INDEX %I', indexname) FROM run_indexes \\gexec
    INSERT INTO runs (id, task_id, workspace_id, task_version, execution_type, execution_status, status, triggered_at,
                      started_at, finished_at, final_since, user_id, user_type, records, severity_info, stored_bytes,
                      last_record_stored_at)
    SELECT md5('run' || i)::uuid::text, left(md5('task' || i % {TASKS}), 24), left(md5('workspace' || i % {WORKSPACES}), 24),
           '1.0', 'SCHEDULED', 'EXECUTION_SUCCESS', 'execution_successful', at, at + 1000, at + 600000, at + 600000,
           md5('user')::uuid::text, 'SERVICE', {SLICES_OF_RUN} * 100, {SLICES_OF_RUN} * 100, 20000, at + 600000
    FROM (SELECT i, {NEWEST_MS} - ({runs}::bigint - i) * {step_ms} AS at FROM generate_series(0, {runs - 1}) i) numbered;
    INSERT INTO segments (id, object_key, bytes, records, created_at, sha256)
    SELECT md5('segment' || i)::uuid::text, 'segments/2026/11/' || md5('segment' || i)::uuid || '.parquet', 100000,
           {SLICES_OF_SEGMENT} * 100, {NEWEST_MS}, md5('a' || i) || md5('b' || i)
    FROM generate_series(0, {segments - 1}) i;
    SELECT indexdef FROM run_indexes \\gexec
    COMMIT;

    BEGIN;
    TRUNCATE slices;
    ALTER TABLE slices DROP CONSTRAINT slices_pkey;
    DROP INDEX slices_newest_first, slices_oldest_first, slices_by_segment;
    INSERT INTO slices (run_id, segment_id, first_row, records, first_arrival, last_arrival, first_time, last_time)
    SELECT run.id, md5('segment' || (run.i::bigint * {SLICES_OF_RUN} + j) / {SLICES_OF_SEGMENT})::uuid::text,
           (run.i::bigint * {SLICES_OF_RUN} + j) % {SLICES_OF_SEGMENT} * 100, 100, j * 100, j * 100 + 99,
           at + j * 60000, at + j * 60000 + 59999
    FROM (SELECT i, md5('run' || i)::uuid::text AS id, {NEWEST_MS} - ({runs}::bigint - i) * {step_ms} AS at
          FROM generate_series(0, {runs - 1}) i OFFSET 0) run
    CROSS JOIN generate_series(0, {SLICES_OF_RUN - 1}) j;
    ALTER TABLE slices ADD PRIMARY KEY (run_id, first_arrival);
    CREATE INDEX slices_newest_first ON slices (run_id, last_time, first_arrival);
    CREATE INDEX slices_oldest_first ON slices (run_id, first_time, first_arrival);
    CREATE INDEX slices_by_segment ON slices (segment_id);
    COMMIT;
    SET statement_timeout = 0;
    VACUUM ANALYZE;"""
    for statement in statements.split("\n\n"):
        begun = time.monotonic()
        # The generated rows are consistent, so foreign keys need not be checked row by row.
        postgres.script("SET session_replication_role = replica;" + statement)
        harness.say(f"generated a part in {time.monotonic() - begun:.0f} s")


def print_sizes(postgres: harness.Postgres) -> None:
    print(f"{'table':>12}{'rows':>14}{'MiB':>10}{'bytes per row':>14}{'of which indexes':>18}")
    for name, rows, total, indexes in postgres.rows(
            "SELECT relname, reltuples::bigint, pg_total_relation_size(oid), pg_indexes_size(oid) FROM pg_class "
            "WHERE relname IN ('runs', 'segments', 'slices') ORDER BY 3 DESC"):
        a_row, of_indexes = int(total) / max(int(rows), 1), int(indexes) / max(int(rows), 1)
        print(f"{name:>12}{int(rows):>14,}{int(total) >> 20:>10,}{a_row:>14.0f}{of_indexes:>18.0f}")
    print(flush=True)


class Client:
    def __init__(self, port: int, token: str):
        self.connection, self.token = http.client.HTTPConnection("127.0.0.1", port, timeout=60), token

    def call(self, method: str, path: str, body: bytes | dict = b"", content_type: str = "application/json") -> bytes:
        if isinstance(body, dict):
            body = json.dumps(body).encode()
        self.connection.request(method, path, body, {"Authorization": f"Bearer {self.token}", "Content-Type": content_type})
        answer = self.connection.getresponse()
        content = answer.read()
        assert answer.status < 300, f"{method} {path}: {answer.status} {content!r}"
        return content

    def new_run(self, task: str) -> str:
        """Pushes a run of 100 records and returns its ID."""
        run = str(uuid.uuid4())
        lines = "".join(f'{{"logTimestamp":{NEWEST_MS + row},"severity":"INFO","logMessage":"row {row}"}}\n' for row in range(100))
        self.call("PUT", f"/runlog/v1/runs/{run}", {"taskId": task})
        self.call("POST", f"/runlog/v1/runs/{run}/records?batch=1", lines.encode(), "application/x-ndjson")
        self.call("POST", f"/runlog/v1/runs/{run}/finish", {"status": "execution_successful"})
        return run


def operations(client: Client, runs: int, chance: random.Random):
    """The measured operations: a name, and a function that performs it once."""
    some_run = lambda: identifier("run", chance.randrange(runs))
    some_task = lambda: identifier("task", chance.randrange(TASKS))
    workspace = lambda: identifier("workspace", chance.randrange(WORKSPACES))
    from_, to = NEWEST_MS - 30 * 24 * 3_600_000, NEWEST_MS
    token = []

    def push_and_request_page():
        token.append((run := client.new_run(identifier("task", 1)), client.call("POST", f"/monitoring/executions/{run}/logs")))

    return {
        "push of a run of 100 records": lambda: client.new_run(some_task()),
        "one run": lambda: client.call("GET", f"/processing/executions/{some_run()}"),
        "request of a page": lambda: client.call("POST", f"/monitoring/executions/{some_run()}/logs"),
        "push of a run and request of a page": push_and_request_page,
        "status of a page": lambda: client.call("POST", f"/monitoring/executions/{token[-1][0]}/logs/status",
                                                    json.dumps(json.loads(token[-1][1])["token"]).encode()),
        "100 runs of a task": lambda: client.call("GET", f"/processing/executables/tasks/{some_task()}/executions?limit=100&from={from_}&to={to}"),
        "100 runs of a workspace": lambda: client.call(
            "GET", f"/processing/executables/tasks/executions?limit=100&workspaceId={workspace()}&from={from_}&to={to}"),
        "100 runs of the environment": lambda: client.call(
            "GET", f"/processing/executables/tasks/executions?limit=100&environmentId={identifier('environment', 1)}&from={from_}&to={to}"),
        "50 executions of the history": lambda: client.call("POST", "/monitoring/observability/executions/search", {
            "environmentId": identifier("environment", 1), "limit": 50, "category": "ETL", "exclude": "PLAN_EXECUTIONS",
            "filters": []}),
    }


def drive(client: Client, runs: int, rounds: int) -> None:
    print(f"{'request':>44}{'median':>12}{'p95':>12}{'slowest':>12}")
    for name, once in operations(client, runs, random.Random(1)).items():
        times = []
        for _ in range(rounds):
            begun = time.monotonic()
            try:
                once()
            except (AssertionError, TimeoutError) as error:
                print(f"{name:>44}  failed: {error}"[:300])
                client.connection.close()
                break
            times.append((time.monotonic() - begun) * 1000)
        else:
            times.sort()
            print(f"{name:>44}{statistics.median(times):>9.1f} ms{times[len(times) * 95 // 100]:>9.1f} ms{times[-1]:>9.1f} ms", flush=True)


def push_concurrently(port: int, token: str, connections: int, seconds: float) -> None:
    """How many runs per second a service stores with this number of connections."""
    done, until = [0] * connections, time.monotonic() + seconds

    def work(number: int) -> None:
        client = Client(port, token)
        while time.monotonic() < until:
            client.new_run(identifier("task", number))
            done[number] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"{connections} connections: {sum(done) / seconds:,.0f} runs of 100 records pushed per second\n", flush=True)


def plans(postgres: harness.Postgres, client: Client, runs: int) -> None:
    """Writes the plan of each statement at its first execution to plans.txt."""
    for setting in ("log_min_duration = 0", "log_analyze = on", "log_buffers = on", "log_timing = off"):
        postgres.sql(f"ALTER SYSTEM SET auto_explain.{setting}")
    postgres.sql("SELECT pg_reload_conf()")
    postgres.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'archive' AND pid <> pg_backend_pid()")
    time.sleep(1)
    start = (postgres.folder / "log").stat().st_size
    # The connection was idle during the last measurement, and may have been closed.
    client.connection.close()
    for once in operations(client, runs, random.Random(2)).values():
        try:
            once()
        except (AssertionError, TimeoutError):
            client.connection.close()
    # The plans of sealing are recorded, too.
    time.sleep(8)
    log = (postgres.folder / "log").read_bytes()[start:].decode(errors="replace")
    seen = {}
    for took, entry in re.findall(r"duration: ([0-9.]+) ms  plan:\n((?:\t.*\n|\n)+)", log):
        text, plan = re.match(r"\tQuery Text: (.*?)\n(\t[A-Z][A-Za-z -]+ (?:on|using|\(cost).*)", entry, re.S).groups()
        text = re.sub(r"\s+", " ", text)
        if not text.startswith("SELECT 1") and text not in seen:
            seen[text] = f"{text}\n{took} ms\n{plan}"
    Path("plans.txt").write_text("\n".join(seen.values()))
    print(f"plans of {len(seen)} statements are in plans.txt")


def main() -> None:
    slices, folder = int(sys.argv[1]), Path(sys.argv[2])
    postgres = harness.Postgres(folder, POSTGRES)
    try:
        service = harness.Service(folder / "data", ["--catalog", postgres.url])
        assert service.wait(), service.log.read_text()
        service.stop()
        generate(postgres, slices)
        print_sizes(postgres)
        service = harness.Service(folder / "data", ["--catalog", postgres.url])
        try:
            assert service.wait(), service.log.read_text()
            token = (folder / "data/admin.token").read_text().strip()
            client, runs = Client(service.port, token), slices // SLICES_OF_RUN
            drive(client, runs, ROUNDS)
            for connections in (1, 8, 32):
                push_concurrently(service.port, token, connections, 10)
            plans(postgres, client, runs)
        finally:
            service.stop()
    finally:
        postgres.stop()


if __name__ == "__main__":
    main()
