#!/usr/bin/env python3
"""Compares the sealed files of an archive with other encodings: measure.py FOLDER. Reads FOLDER/data and FOLDER/log.ndjson."""

import statistics
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

FOLDER = Path(sys.argv[1])
PAGE_RECORDS = 100_000
NAMES = ["run_id", "severity", "log_type", "bundle_name", "bundle_version", "pod_name"]
# As Runlog writes it, but with messages in order of time.
IN_ORDER_OF_TIME = {
    "compression": "zstd", "compression_level": 6, "row_group_size": 32_768, "use_dictionary": NAMES,
    "column_encoding": {"time": "DELTA_BINARY_PACKED", "arrival": "DELTA_BINARY_PACKED",
                        "message": "PLAIN", "extra": "PLAIN"},
}


def with_encodings(**changes: str) -> dict:
    return {**IN_ORDER_OF_TIME, "column_encoding": {**IN_ORDER_OF_TIME["column_encoding"], **changes}}


VARIANTS = {
    "messages in order of time": IN_ORDER_OF_TIME,
    "… zstd 1": {**IN_ORDER_OF_TIME, "compression_level": 1},
    "… zstd 3": {**IN_ORDER_OF_TIME, "compression_level": 3},
    "… zstd 9": {**IN_ORDER_OF_TIME, "compression_level": 9},
    "… zstd 12": {**IN_ORDER_OF_TIME, "compression_level": 12},
    "… zstd 19": {**IN_ORDER_OF_TIME, "compression_level": 19},
    "… lz4": {**IN_ORDER_OF_TIME, "compression": "lz4", "compression_level": None},
    "… brotli 9": {**IN_ORDER_OF_TIME, "compression": "brotli", "compression_level": 9},
    "… row groups of 98,304": {**IN_ORDER_OF_TIME, "row_group_size": 98_304},
    "… row groups of 1,048,576": {**IN_ORDER_OF_TIME, "row_group_size": 1_048_576},
    "… by length": with_encodings(message="DELTA_LENGTH_BYTE_ARRAY", extra="DELTA_LENGTH_BYTE_ARRAY"),
    "… by prefix": with_encodings(message="DELTA_BYTE_ARRAY", extra="DELTA_BYTE_ARRAY"),
    "messages in a dictionary in order of appearance": {
        **IN_ORDER_OF_TIME, "use_dictionary": [*NAMES, "message"], "dictionary_pagesize_limit": 1 << 28,
        "column_encoding": {"time": "DELTA_BINARY_PACKED", "arrival": "DELTA_BINARY_PACKED"}},
    "times plain": with_encodings(time="PLAIN", arrival="PLAIN"),
    "names without a dictionary": {**IN_ORDER_OF_TIME, "use_dictionary": False},
}


def main() -> None:
    sealed = sorted((FOLDER / "data/objects/sealed").rglob("*.parquet"))
    # The files of a run that is sealed in several files are read in their order.
    table = pa.concat_tables([pq.ParquetFile(file).read() for file in sealed])
    plain = sum(len((text or "").encode()) for text in table.column("message").to_pylist())
    log = FOLDER / "log.ndjson"
    print(f"{table.num_rows:,} records, {log.stat().st_size / 1e6:.1f} MB of JSON lines, {plain / 1e6:.1f} MB of messages\n")
    base = sum(file.stat().st_size for file in sealed)
    print(f"{'':>50}{'MB':>8}{'ratio':>8}{'written in':>12}{'page read in':>14}")
    print(f"{'Runlog':>50}{base / 1e6:>8.2f}{1:>8.2f}{'':>12}{timed(lambda: last_page(sealed)):>11.0f} ms", flush=True)
    file = FOLDER / "variant.parquet"
    for name, options in VARIANTS.items():
        seconds = timed(lambda: pq.write_table(table, file, **options), 1) / 1000
        show(name, base, file.stat().st_size, seconds, timed(lambda: last_page([file])))
    duck = duckdb.connect()
    duck.register("records", table.drop(["arrival"]))
    copy = f"COPY (SELECT * FROM records) TO '{file}' (FORMAT parquet, COMPRESSION zstd)"
    seconds = timed(lambda: duck.sql(copy), 1) / 1000
    show("DuckDB, without the order of arrival", base, file.stat().st_size, seconds, timed(lambda: last_page([file])))
    for level in (3, 19):
        packed = FOLDER / "log.zst"
        command = ["zstd", f"-{level}", "-T2", "-q", "-f", log, "-o", packed]
        seconds = timed(lambda: subprocess.run(command, check=True), 1) / 1000
        show(f"zstd -{level} of the JSON lines", base, packed.stat().st_size, seconds)


def show(name: str, base: int, size: int, seconds: float, page_ms: float | None = None) -> None:
    page = "" if page_ms is None else f"{page_ms:>11.0f} ms"
    print(f"{name:>50}{size / 1e6:>8.2f}{size / base:>8.2f}{seconds:>10.2f} s{page}", flush=True)


def timed(work, rounds: int = 3) -> float:
    """The median. Unit: milliseconds."""
    times = []
    for _ in range(rounds):
        begun = time.monotonic()
        work()
        times.append((time.monotonic() - begun) * 1000)
    return statistics.median(times)


def last_page(files: list[Path]) -> None:
    """Reads the row groups that contain the newest page."""
    wanted = PAGE_RECORDS
    for file in reversed(files):
        parquet, groups = pq.ParquetFile(file), []
        for group in reversed(range(parquet.metadata.num_row_groups)):
            if wanted <= 0:
                break
            groups.append(group)
            wanted -= parquet.metadata.row_group(group).num_rows
        parquet.read_row_groups(groups, use_threads=False)


main()
