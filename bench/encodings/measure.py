#!/usr/bin/env python3
"""Rewrites the sealed files of an archive with other encodings: measure.py DATA_FOLDER WORK_FOLDER"""

import statistics
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

PAGE_RECORDS = 100_000
NAMES = ["run_id", "severity", "log_type", "bundle_name", "bundle_version", "pod_name"]
OURS = {
    "compression": "zstd", "compression_level": 6, "row_group_size": 98_304, "use_dictionary": NAMES,
    "column_encoding": {"time": "DELTA_BINARY_PACKED", "arrival": "DELTA_BINARY_PACKED",
                        "message": "PLAIN", "extra": "PLAIN"},
}


def with_encodings(**changes: str) -> dict:
    return {**OURS, "column_encoding": {**OURS["column_encoding"], **changes}}


VARIANTS = {
    "as Runlog writes": OURS,
    "zstd 1": {**OURS, "compression_level": 1},
    "zstd 3": {**OURS, "compression_level": 3},
    "zstd 9": {**OURS, "compression_level": 9},
    "lz4": {**OURS, "compression": "lz4", "compression_level": None},
    "row groups of 16,384": {**OURS, "row_group_size": 16_384},
    "row groups of 1,048,576": {**OURS, "row_group_size": 1_048_576},
    "messages by length": with_encodings(message="DELTA_LENGTH_BYTE_ARRAY", extra="DELTA_LENGTH_BYTE_ARRAY"),
    "messages delta (prefixes)": with_encodings(message="DELTA_BYTE_ARRAY", extra="DELTA_BYTE_ARRAY"),
    "messages in a dictionary": {**OURS, "use_dictionary": [*NAMES, "message", "extra"],
                                 "column_encoding": {"time": "DELTA_BINARY_PACKED", "arrival": "DELTA_BINARY_PACKED"}},
    "the same, zstd 3": {**OURS, "compression_level": 3, "use_dictionary": [*NAMES, "message", "extra"],
                         "column_encoding": {"time": "DELTA_BINARY_PACKED", "arrival": "DELTA_BINARY_PACKED"}},
    "times plain": with_encodings(time="PLAIN", arrival="PLAIN"),
    "names without a dictionary": {**OURS, "use_dictionary": False},
}


def main() -> None:
    data, work = Path(sys.argv[1]), Path(sys.argv[2])
    # The files of a run that is sealed in several files are read in their order.
    files = sorted((data / "objects/sealed").rglob("*.parquet"))
    whole = pa.concat_tables([pq.ParquetFile(file).read() for file in files])
    is_large = pc.equal(whole.column("run_id"), (work / "run").read_text().strip())
    for kind, table in {"a long run": whole.filter(is_large), "ten runs": whole.filter(pc.invert(is_large))}.items():
        plain = sum(len(text or "") for text in table.column("message").to_pylist())
        print(f"\n{kind}: {table.num_rows:,} records, {plain / 1e6:.1f} MB of messages")
        print(f"{'':>30}{'MB':>8}{'ratio':>8}{'written in':>12}{'page read in':>14}")
        base = None
        for name, options in VARIANTS.items():
            file = work / "variant.parquet"
            writes, reads = [], []
            for _ in range(3):
                begun = time.monotonic()
                pq.write_table(table, file, **options)
                writes.append(time.monotonic() - begun)
                begun = time.monotonic()
                last_page(file)
                reads.append(time.monotonic() - begun)
            size = file.stat().st_size
            base = base or size
            print(f"{name:>30}{size / 1e6:>8.2f}{size / base:>8.2f}{statistics.median(writes):>10.2f} s"
                  f"{statistics.median(reads) * 1000:>11.0f} ms", flush=True)


def last_page(file: Path) -> None:
    """Reads the row groups that contain the newest page."""
    parquet = pq.ParquetFile(file)
    wanted, groups = min(PAGE_RECORDS, parquet.metadata.num_rows), []
    for group in reversed(range(parquet.metadata.num_row_groups)):
        if wanted <= 0:
            break
        groups.append(group)
        wanted -= parquet.metadata.row_group(group).num_rows
    parquet.read_row_groups(groups, use_threads=False)


main()
