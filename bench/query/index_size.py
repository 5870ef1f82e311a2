#!/usr/bin/env python3
"""Compares the size of an index of words or of trigrams with that of sealed files: index_size.py [RECORDS].

For each 16,384 records of a synthetic log like that of fill.py, counts the distinct words and trigrams (in lower case),
and calculates the size of a Bloom filter with ten bits for each (1% false positives). For comparison, writes the same
records as Parquet with the settings of sealed files (zstd 6)."""

import json
import random
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).parent.parent.parent
SLICE = 16_384


def messages(count):
    """Messages without and with a random number in each."""
    texts = []
    for file in sorted((ROOT / "fixtures/runs").glob("*.ndjson.zst")):
        lines = subprocess.run(["zstd", "-dcq", file], check=True, stdout=subprocess.PIPE).stdout.splitlines()
        texts += [json.loads(line).get("logMessage", "") for line in lines[:20_000]]
    chance = random.Random(1)
    plain = [texts[at % len(texts)] for at in range(count)]
    return {"sample texts": plain, "with a random number in each": [f"{text} #{chance.getrandbits(24):06x}" for text in plain]}


def trigrams(text):
    return {text[at : at + 3] for at in range(len(text) - 2)}


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 4 * SLICE
    for name, texts in messages(count).items():
        words = grams = plain = sealed = 0
        for start in range(0, count, SLICE):
            some = texts[start : start + SLICE]
            words += len({word for text in some for word in re.findall(r"\w+", text.lower())})
            grams += len(set().union(*(trigrams(text.lower()) for text in some)))
            plain += sum(len(text.encode()) for text in some)
            out = pa.BufferOutputStream()
            pq.write_table(pa.table({"message": some}), out, compression="zstd", compression_level=6, use_dictionary=False)
            sealed += out.tell()
        slices = -(-count // SLICE)
        print(f"{name}: per slice of {SLICE:,} records {plain // slices:,} bytes of messages, {sealed // slices:,} sealed; "
              f"{words // slices:,} words = {words * 10 // 8 // slices:,} bytes ({words * 10 / 8 / sealed:.0%}), "
              f"{grams // slices:,} trigrams = {grams * 10 // 8 // slices:,} bytes ({grams * 10 / 8 / sealed:.0%})")


main()
