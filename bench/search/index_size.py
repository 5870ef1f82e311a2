#!/usr/bin/env python3
"""Compares the sizes of what could tell a search which row groups to read: index_size.py [RECORDS [CODES_MAX...]].

For each row group of 32,768 records of a realistic log (bench/logs), counts the distinct words (of letters and digits),
trigrams, and runs of ASCII letters, all in lower case. Calculates the size of a Bloom filter with ten bits for each (1% false
positives), and of the list of the runs of letters itself with zstd. For comparison, writes the same messages as Parquet with
zstd 6. Needs pyarrow and zstd.

Then, for all records together, the list of codes: words with the first digits of the number behind them, but without the
numbers of words that have more different ones than CODES_MAX, by default 16, 32, 64 and 256."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROW_GROUP = 32_768


# As crates/store/src/segment/code_index.rs reads them.
CODE = re.compile(r"([a-z]{3,})([-_ =:./#(]{0,2})([0-9]+)")
DIGITS_MAX = 6


def codes(texts, most):
    """The list of codes, and how many words have a number, and more than `most` of them."""
    numbers = {}
    for text in texts:
        for word, signs, digits in CODE.findall(text):
            of_word = numbers.setdefault(word[-16:] + signs, set())
            if len(of_word) <= most:
                of_word.add(digits[:DIGITS_MAX])
    many = sum(len(of_word) > most for of_word in numbers.values())
    terms = (word + number for word, of_word in numbers.items() for number in (of_word if len(of_word) <= most else "*"))
    return "\n".join(sorted(terms)), len(numbers), many


def zstd_bytes(text):
    return len(subprocess.run(["zstd", "-6", "-c"], input=text.encode(), stdout=subprocess.PIPE).stdout)


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
        listed = zstd_bytes("\n".join(runs))
        share = lambda size: f"{size:,.0f} bytes ({size / out.tell():.1%})"
        print(f"{len(some):,} records, {out.tell():,} bytes sealed: filters of {words:,} words {share(words * 10 / 8)}, of {grams:,} "
              f"trigrams {share(grams * 10 / 8)}, of {len(runs):,} runs of letters {share(len(runs) * 10 / 8)}; list of those {share(listed)}")
    for most in [int(most) for most in sys.argv[2:]] or [16, 32, 64, 256]:
        text, words, many = codes(texts, most)
        print(f"{count:,} records: {words:,} words with a number, {many:,} with more than {most} of them; list of codes {zstd_bytes(text):,} bytes")


main()
