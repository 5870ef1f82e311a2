#!/usr/bin/env python3
"""Measures how long several stores take to load the records of FOLDER/log.ndjson, and their size on disk: `measure.py
ROUNDS FOLDER`. Reads RUNLOG, TASK, RUNLOG_API_URL, RUNLOG_TOKEN, RUNLOG_PID and PGPORT."""

import os
import shutil
import statistics
import subprocess
import sys
import time
import uuid
from pathlib import Path

import chdb.session
import duckdb

ROUNDS, FOLDER = int(sys.argv[1]), Path(sys.argv[2])
LOG = FOLDER / "log.ndjson"
COLUMNS = "logTimestamp Int64, severity LowCardinality(String), logType LowCardinality(String), logMessage String, " \
    "bundleName LowCardinality(String), bundleVersion LowCardinality(String), podName LowCardinality(String)"
NAMES = "logTimestamp, severity, logType, logMessage, bundleName, bundleVersion, podName"


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


SEALED = FOLDER / "data/objects/sealed"


def wait_until_sealed(runs: int) -> None:
    """Work after the response must not slow down the next measurement."""
    before = -1
    while True:
        size = folder_bytes(SEALED) if SEALED.exists() else 0
        files = len(list(SEALED.rglob("*.parquet"))) if SEALED.exists() else 0
        if files >= runs and size == before:
            return
        before = size
        time.sleep(3)


def runlog(settings: list[str]) -> None:
    run(os.environ["RUNLOG"], "push", str(uuid.uuid4()), str(LOG), "--task", os.environ["TASK"], "--finish",
        "execution_successful", *settings)


def clickhouse(_: list[str]) -> None:
    """With the same durability: an insert returns after `fsync`."""
    folder = FOLDER / "clickhouse"
    shutil.rmtree(folder, ignore_errors=True)
    session = chdb.session.Session(str(folder))
    session.query(f"CREATE TABLE logs (run_id UUID, {COLUMNS}) ENGINE = MergeTree ORDER BY (run_id, logTimestamp) "
                  "SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_for_wide_part = 0, min_bytes_for_wide_part = 0")
    CLICKHOUSE["begun"] = time.monotonic()
    session.query(f"INSERT INTO logs SELECT toUUID('{uuid.uuid4()}'), {NAMES} FROM file('{LOG}', JSONEachRow, '{COLUMNS}')")
    CLICKHOUSE["ended"] = time.monotonic()
    session.query("OPTIMIZE TABLE logs FINAL")
    size = session.query("SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND table = 'logs'", "TSV")
    CLICKHOUSE["bytes"] = int(str(size))
    session.close()


CLICKHOUSE: dict[str, float] = {}


def psql(statement: str) -> str:
    return run("psql", "-h", "127.0.0.1", "-U", "postgres", "-qAtc", statement)


def postgres(_: list[str]) -> None:
    psql("DROP TABLE IF EXISTS logs")
    psql("CREATE TABLE logs (logTimestamp bigint, severity text, logType text, logMessage text, bundleName text, "
         "bundleVersion text, podName text)")
    begun = time.monotonic()
    with open(FOLDER / "log.csv", "rb") as log:
        subprocess.run(["psql", "-h", "127.0.0.1", "-U", "postgres", "-qc", "COPY logs FROM STDIN (FORMAT csv)"],
                       stdin=log, check=True)
    POSTGRES["seconds"] = time.monotonic() - begun


POSTGRES: dict[str, float] = {}


def zstd(_: list[str]) -> None:
    with open(FOLDER / "log.zst", "wb") as out:
        subprocess.run(["zstd", "-q", "-3", "-c", str(LOG)], stdout=out, check=True)
        os.fsync(out.fileno())


def parquet_bytes() -> int:
    path = FOLDER / "log.parquet"
    duckdb.sql(f"COPY (SELECT 'run' AS run_id, * FROM read_json('{LOG}', format = 'newline_delimited') "
               f"ORDER BY logTimestamp) TO '{path}' (FORMAT parquet, COMPRESSION zstd)")
    return path.stat().st_size


def folder_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def peak_mib() -> float:
    status = Path(f"/proc/{os.environ['RUNLOG_PID']}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def main() -> None:
    records = sum(1 for _ in open(LOG, "rb"))
    duckdb.sql(f"COPY (SELECT {NAMES} FROM read_json('{LOG}', format = 'newline_delimited')) "
               f"TO '{FOLDER / 'log.csv'}' (HEADER false)")
    tools = [("ClickHouse, INSERT from the file", clickhouse, []), ("runlog push", runlog, []),
             ("PostgreSQL, COPY", postgres, []), ("zstd -3 into a file", zstd, [])]
    times: dict[str, list[float]] = {name: [] for name, _, _ in tools}
    for round_ in range(ROUNDS):
        for name, tool, settings in tools:
            begun = time.monotonic()
            tool(settings)
            seconds = time.monotonic() - begun
            if tool is clickhouse:
                seconds = CLICKHOUSE["ended"] - CLICKHOUSE["begun"]
            if tool is postgres:
                seconds = POSTGRES["seconds"]
            times[name].append(seconds)
            if tool is runlog:
                wait_until_sealed(round_ + 1)
    base = statistics.median(times[tools[0][0]])
    print(f"{'':36}{'median':>10}{'fastest':>10}{'slowest':>10}{'records/s':>12}{'ratio':>8}")
    for name, seconds in times.items():
        median = statistics.median(seconds)
        print(f"{name:36}{median:>8.2f} s{min(seconds):>8.2f} s{max(seconds):>8.2f} s{records / median:>12,.0f}{median / base:>8.2f}")
    print(f"peak memory of the service: {peak_mib():.0f} MiB")

    duck = parquet_bytes()
    sizes = [("DuckDB's Parquet with zstd", duck), ("Runlog, sealed", folder_bytes(SEALED) // ROUNDS),
             ("ClickHouse, merged", int(CLICKHOUSE["bytes"])),
             ("PostgreSQL", int(psql("SELECT pg_total_relation_size('logs')"))),
             ("zstd -3", (FOLDER / "log.zst").stat().st_size), ("the log, uncompressed", LOG.stat().st_size)]
    print(f"\n{'':36}{'bytes':>14}{'ratio':>8}")
    for name, size in sizes:
        print(f"{name:36}{size:>14,}{size / duck:>8.2f}")


main()
