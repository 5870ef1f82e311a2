#!/usr/bin/env python3
"""Compares the sizes of what could tell a search which row groups to read: index_size.py [RECORDS].

For each row group of 32,768 records of a realistic log (bench/logs), counts the distinct words (of letters and digits),
trigrams, and runs of ASCII letters, all in lower case. Calculates the size of a Bloom filter with ten bits for each (1% false
positives), and of the list of the runs of letters itself with zstd. For comparison, writes the same messages as Parquet with
zstd 6. Needs pyarrow and zstd."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROW_GROUP = 32_768


def trigrams(text):
    return {text[at : at + 3] for at in range(len(text) - 2)}


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2 * ROW_GROUP
    generator = Path(__file__).parent.parent / "logs/generate.py"
    log = subprocess.run([sys.executable, generator, "--records", str(count)], check=True, stdout=subprocess.PIPE).stdout
    texts = [json.loads(line)["logMessage"].lower() for line in log.splitlines()]
    for start in range(0, count, ROW_GROUP):
        some = texts[start : start + ROW_GROUP]
        out = pa.BufferOutputStream()
        pq.write_table(pa.table({"message": some}), out, compression="zstd", compression_level=6, use_dictionary=False)
        words = len({word for text in some for word in re.findall(r"\w+", text)})
        grams = len(set().union(*map(trigrams, some)))
        runs = sorted({run for text in some for run in re.findall("[a-z]{3,}", text)})
        listed = len(subprocess.run(["zstd", "-6", "-c"], input="\n".join(runs).encode(), stdout=subprocess.PIPE).stdout)
        share = lambda size: f"{size:,.0f} bytes ({size / out.tell():.1%})"
        print(f"{len(some):,} records, {out.tell():,} bytes sealed: filters of {words:,} words {share(words * 10 / 8)}, of {grams:,} "
              f"trigrams {share(grams * 10 / 8)}, of {len(runs):,} runs of letters {share(len(runs) * 10 / 8)}; list of those {share(listed)}")


main()
