#!/usr/bin/env python3
"""Reads live pages of some runs in turns until its standard input ends: read_pages.py PORT RUN..., with RUNLOG_TOKEN. Before
each page it sends a request that needs neither catalog nor objects, which shows what the machine alone takes.

A process of its own: in that of the measurement, it would wait for what else that does. Prints a line for each pair: the
status of the page, and the times of the page and of the other request, from request to the last byte, in seconds."""

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
            _, nothing = timed(port, "/healthz", headers)
            status, page = timed(port, f"/monitoring/executions/{run}/logs?count=200", headers)
            print(status, f"{page:.6f} {nothing:.6f}", flush=True)
            time.sleep(EVERY_SECONDS)


def timed(port: int, path: str, headers: dict) -> tuple[int, float]:
    begun = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, time.monotonic() - begun


main()
