#!/usr/bin/env python3
"""measure.py FOLDER RECORDS SECONDS. RUNLOG is the path of a binary; bench/collect must be in PYTHONPATH."""

import http.client
import http.server
import json
import os
import re
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from pathlib import Path

import slow_service

WORK, RECORDS, SECONDS = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
SMALL_RECORDS, SMALL_EVERY_SECONDS = 500, 2
# Maximum time for the large run to be landed, sealed and delivered.
LARGE_SECONDS_MAX = 3_600
TASK = "c" * 24
RUN_ID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


class Sink:
    """Receives OTLP, and records when the first and the last records of each run arrived."""

    def __init__(self) -> None:
        self.first: dict[str, float] = {}
        self.last: dict[str, float] = {}
        sink = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                now = time.monotonic()
                for found in {match.decode() for match in RUN_ID.findall(body)}:
                    sink.first.setdefault(found, now)
                    sink.last[found] = now
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Archive:
    """`runlog serve` that collects from an upstream and delivers to a sink."""

    def __init__(self, upstream: str, sink: str):
        settings = WORK / "runlog.toml"
        settings.write_text(f'''
[[upstream]]
name = "bench"
url = "{upstream}"
token = {{ env = "UPSTREAM" }}
settle = "0s"
every = "2s"

[[sink]]
name = "bench"
kind = "otlp"
url = "{sink}"
gzip = false
''')
        self.log = open(WORK / "serve.log", "wb")
        command = [os.environ["RUNLOG"], "serve", "--listen", "127.0.0.1:0", "--data", str(WORK / "data"), "--settings",
                   str(settings), "--settle", "0s", "--requests-per-second", "0"]
        self.process = subprocess.Popen(command, stderr=self.log, env={**os.environ, "UPSTREAM": "token"})
        while not (found := re.search(r"listens on http://127\.0\.0\.1:(\d+)", (WORK / "serve.log").read_text())):
            assert self.process.poll() is None, (WORK / "serve.log").read_text()
            time.sleep(0.1)
        self.port = int(found[1])
        self.token = (WORK / "data/admin.token").read_text().strip()

    def get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.request("GET", path, headers={"Authorization": f"Bearer {self.token}"})
        answer = connection.getresponse()
        try:
            return answer.status, answer.read()
        finally:
            connection.close()

    def has_landed(self, run: str) -> bool:
        status, body = self.get(f"/processing/executions/{run}")
        return status == 200 and json.loads(body)["status"] == "execution_successful"

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


class Phase:
    """Measures other work for a while: how long small runs take to be landed and delivered, and how long pages take."""

    def __init__(self, upstream: slow_service.Service, sink: Sink, archive: Archive):
        self.upstream, self.sink, self.archive = upstream, sink, archive
        self.landing: list[float] = []
        self.delivery: list[float] = []
        self.pages: list[float] = []
        self.nothing: list[float] = []
        self.failures = 0
        self.is_over = threading.Event()

    def run(self, until) -> "Phase":
        threads = [threading.Thread(target=work, daemon=True) for work in (self.watch_runs, self.read_pages)]
        for thread in threads:
            thread.start()
        until()
        self.is_over.set()
        for thread in threads:
            thread.join()
        return self

    def watch_runs(self) -> None:
        waiting: dict[str, float] = {}
        landed: dict[str, float] = {}
        next_at = time.monotonic()
        while not self.is_over.is_set() or waiting or landed:
            now = time.monotonic()
            if now >= next_at and not self.is_over.is_set():
                run = add_run(self.upstream, SMALL_RECORDS)
                waiting[run] = now
                next_at = now + SMALL_EVERY_SECONDS
            for run, shown in list(waiting.items()):
                if self.archive.has_landed(run):
                    landed[run] = time.monotonic()
                    self.landing.append(landed[run] - shown)
                    del waiting[run]
            for run, at in list(landed.items()):
                if run in self.sink.last:
                    self.delivery.append(max(0.0, self.sink.last[run] - at))
                    del landed[run]
            time.sleep(0.05)

    def read_pages(self) -> None:
        runs = [run for run in self.upstream.runs if self.upstream.runs[run][0] == SMALL_RECORDS]
        command = [sys.executable, Path(__file__).parent / "read_pages.py", str(self.archive.port), *runs[-10:]]
        reading = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                   env={**os.environ, "RUNLOG_TOKEN": self.archive.token})
        self.is_over.wait()
        for line in reading.communicate()[0].splitlines():
            status, page, nothing = line.split()
            self.pages.append(float(page))
            self.nothing.append(float(nothing))
            self.failures += status != "200"
        assert reading.returncode == 0, "read_pages.py failed"


def add_run(upstream: slow_service.Service, records: int) -> str:
    """Adds a run to the upstream."""
    run = str(uuid.uuid4())
    with upstream.lock:
        upstream.runs = {run: (records, int(time.time() * 1000)), **upstream.runs}
    return run


def p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[98] if len(values) > 1 else values[0]


def on_other_machines(make):
    """Runs what stands for other machines in threads that get only the time that Runlog leaves: there it would take none."""
    made = []
    thread = threading.Thread(target=lambda: (os.nice(19), made.append(make())))
    # The threads that it starts have the same priority.
    thread.start()
    thread.join()
    return made[0]


def main() -> None:
    upstream = on_other_machines(lambda: slow_service.Service(TASK, [SMALL_RECORDS] * 20, 1))
    sink = on_other_machines(Sink)
    archive = Archive(upstream.url, sink.url)
    try:
        while not all(run in sink.last for run in upstream.runs):
            time.sleep(0.2)
        alone = Phase(upstream, sink, archive).run(lambda: time.sleep(SECONDS))
        large = add_run(upstream, RECORDS)
        searches = threading.Event()
        threading.Thread(target=search, args=(archive, searches), daemon=True).start()

        def until_delivered() -> None:
            begun, records = time.monotonic(), 0
            while time.monotonic() - begun < LARGE_SECONDS_MAX:
                time.sleep(1)
                if large in sink.last and time.monotonic() - sink.last[large] > 10:
                    break
            searches.set()
            print(f"the large run: {RECORDS:,} records, delivered {sink.last.get(large, 0) - begun:.0f} s after it was added"
                  if large in sink.last else "the large run was NOT delivered in time")

        together = Phase(upstream, sink, archive).run(until_delivered)
        print(f"{'99th percentile':34}{'without it':>12}{'with it':>12}{'ratio':>8}{'samples':>16}")
        for name, one, other in (("a request that does nothing", alone.nothing, together.nothing),
                                 ("a page of a log", alone.pages, together.pages), ("landing of a small run", alone.landing, together.landing),
                                 ("delivery of a small run", alone.delivery, together.delivery)):
            print(f"{name:34}{p99(one):>10.3f} s{p99(other):>10.3f} s{p99(other) / max(p99(one), 1e-3):>8.2f}"
                  f"{len(one):>8} / {len(other)}")
        print(f"requests that failed: {alone.failures + together.failures}")
    finally:
        archive.stop()


def search(archive: Archive, is_over: threading.Event) -> None:
    """Searches repeatedly for a word that does not occur."""
    while not is_over.is_set():
        archive.get("/runlog/v1/search?q=nowhere-to-be-found")
        time.sleep(0.5)


main()
