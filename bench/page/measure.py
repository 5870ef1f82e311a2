#!/usr/bin/env python3
"""Times one page's POST-to-READY: `measure.py ROUNDS RECORDS=RUN_ID…`, runs made by make_log.py, with RUNLOG_API_URL
and RUNLOG_TOKEN. The runs take turns; the first is what the others are held against."""

import datetime
import json
import os
import statistics
import sys
import time
import urllib.parse
import urllib.request

FIRST_MS = 1_790_000_000_010
STEP_MS = 10


def post(path: str, body: bytes = b"") -> dict:
    request = urllib.request.Request(os.environ["RUNLOG_API_URL"] + path, data=body, method="POST")
    request.add_header("Authorization", f"Bearer {os.environ['RUNLOG_TOKEN']}")
    with urllib.request.urlopen(request) as response:
        return json.load(response)


def page_seconds(run: str, records: int, round_: int) -> float:
    """Asks for the newest page that ends so many seconds before the end of the log."""
    end_ms = FIRST_MS + (records - 1) * STEP_MS - round_ * 1000
    end = datetime.datetime.fromtimestamp(end_ms / 1000, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    path = f"/monitoring/executions/{run}/logs"
    begun = time.monotonic()
    page = post(f"{path}?endTime={urllib.parse.quote(end)}")
    while post(f"{path}/status", page["token"].encode())["status"] != "READY":
        time.sleep(0.01)
    return time.monotonic() - begun


def main() -> None:
    rounds = int(sys.argv[1])
    runs = [(int(records), run) for records, run in (argument.split("=") for argument in sys.argv[2:])]
    figures: dict[int, list[float]] = {records: [] for records, _ in runs}
    for round_ in range(1, rounds + 1):
        for records, run in runs:
            figures[records].append(page_seconds(run, records, round_))
    base = statistics.median(next(iter(figures.values())))
    print(f"{'records of the run':>20}{'median':>12}{'fastest':>12}{'slowest':>12}{'ratio':>8}")
    for records, times in figures.items():
        median = statistics.median(times)
        print(f"{records:>20,}{median:>10.3f} s{min(times):>10.3f} s{max(times):>10.3f} s{median / base:>8.2f}")


main()
