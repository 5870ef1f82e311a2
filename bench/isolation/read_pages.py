#!/usr/bin/env python3
"""Reads live pages of some runs in turns until its standard input ends: read_pages.py PORT RUN..., with RUNLOG_TOKEN.

A process of its own: in that of the measurement, it would wait for what else that does. Prints a line for each page: the
status, and the time from request to the last byte in seconds."""

import http.client
import os
import sys
import threading
import time

EVERY_SECONDS = 0.1


def main() -> None:
    port, runs = int(sys.argv[1]), sys.argv[2:]
    is_over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), is_over.set()), daemon=True).start()
    headers = {"Authorization": f"Bearer {os.environ['RUNLOG_TOKEN']}"}
    while not is_over.is_set():
        for run in runs:
            begun = time.monotonic()
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
            connection.request("GET", f"/monitoring/executions/{run}/logs?count=200", headers=headers)
            answer = connection.getresponse()
            answer.read()
            connection.close()
            print(answer.status, f"{time.monotonic() - begun:.6f}", flush=True)
            time.sleep(EVERY_SECONDS)


main()
