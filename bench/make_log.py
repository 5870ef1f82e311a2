#!/usr/bin/env python3
"""Writes a made-up log of so many records to standard output, as NDJSON: the texts of the sample run, over and over,
one record every 10 ms, so that a page of 100,000 records ends exactly at a second."""

import subprocess
import sys
from pathlib import Path

SAMPLE = Path(__file__).parent.parent / "fixtures/runs/etl-run-debug.ndjson.zst"
# The last record falls on a whole second, and so does every page's end.
FIRST_MS = 1_790_000_000_010
STEP_MS = 10


def main() -> None:
    records = int(sys.argv[1])
    sample = subprocess.run(["zstd", "-dcq", SAMPLE], check=True, stdout=subprocess.PIPE).stdout
    texts = [line.split(b", ", 1)[1] for line in sample.splitlines()]
    out = sys.stdout.buffer
    for start in range(0, records, len(texts)):
        count = min(len(texts), records - start)
        first = FIRST_MS + start * STEP_MS
        out.writelines(b'{"logTimestamp": %d, %s\n' % (first + i * STEP_MS, texts[i]) for i in range(count))


main()
