#!/usr/bin/env python3
"""Writes a synthetic log with the given number of records to standard output, as NDJSON. The texts of the sample run are
repeated, one record every 10 ms, so that each page of 100,000 records ends at a whole second."""

import subprocess
import sys
from pathlib import Path

SAMPLE = Path(__file__).parent.parent / "fixtures/runs/etl-run-debug.ndjson.zst"
# With this start, the last record and the end of every page fall on a whole second.
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
