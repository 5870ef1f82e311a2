#!/usr/bin/env python3
"""measure.py FOLDER CONNECTIONS SECONDS; RUNLOG is the path of a binary. Prints a table with one row for each kind of
request."""

import asyncio
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import time
import uuid
from pathlib import Path

WORK, CONNECTIONS, SECONDS = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
# One large log and many small ones, so that a search has as many files to read as in an archive of some weeks.
LARGE_RECORDS, SMALL_RUNS, SMALL_RECORDS = 1_000_000, 300, 1_000
ZERO_MS = 1_795_000_000_000


class Service:
    """`runlog serve` on the prepared archive, without a rate limit: only the number of connections is limited."""

    def __init__(self) -> None:
        self.log = WORK / "serve.log"
        command = [os.environ["RUNLOG"], "serve", "--listen", "127.0.0.1:0", "--data", str(WORK / "data"), "--settle", "0s",
                   "--requests-per-second", "0"]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(command, stderr=log)
        while not (found := re.search(rb"listens on http://127\.0\.0\.1:(\d+)", self.log.read_bytes())):
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)
        self.port = int(found.group(1))
        self.token = (WORK / "data" / "admin.token").read_text().strip()

    def memory(self, name: str) -> float:
        """The value of `VmHWM` (peak) or `VmRSS` (current), in MiB."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"{name}:\s+(\d+)", text).group(1)) / 1024

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def head(service: Service, method: str, path: str, length: int | None = None, kind: str = "application/json") -> bytes:
    body = f"Content-Type: {kind}\r\nContent-Length: {length}\r\n" if length is not None else ""
    return (f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {service.token}\r\n{body}"
            "Connection: close\r\n\r\n").encode()


async def ask(service: Service, request: bytes, seconds: float, slowly: bool = False) -> tuple[int, bytes]:
    """Status and body of the response; status 0 if there was none in time."""
    writer = None
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
            writer.write(request)
            await writer.drain()
            if slowly:
                # Reads little at a time.
                answer = b""
                while chunk := await reader.read(4_096):
                    answer = answer or chunk
                    await asyncio.sleep(0.2)
            else:
                answer = await reader.read(1 << 20)
                while await reader.read(1 << 20):
                    pass
            return (int(answer[9:12]) if answer[:5] == b"HTTP/" else 0), answer.partition(b"\r\n\r\n")[2]
    except (OSError, TimeoutError):
        return 0, b""
    finally:
        if writer:
            writer.close()


def call(service: Service, method: str, path: str, body: bytes = b"", kind: str = "application/json") -> bytes:
    status, answer = asyncio.run(ask(service, head(service, method, path, len(body), kind) + body, 120))
    assert 200 <= status < 300, f"{method} {path}: {status} {answer[:300]!r}"
    return answer


def lines(run: int, first: int, count: int) -> bytes:
    """Records with different messages, like those of a job."""
    chance = random.Random(f"{run} {first}")
    texts = ["read {} rows from staging.orders_{}", "connection {} to db-{}.example.com was reset, retrying",
             "wrote batch {} into /srv/out/part-{}.csv", "java.lang.IllegalStateException: order {} has no customer {}"]
    line = lambda row: json.dumps({"logTimestamp": ZERO_MS + run * 3_600_000 + row * 7, "severity": "INFO",
                                   "logMessage": chance.choice(texts).format(chance.getrandbits(40), chance.getrandbits(24))})
    return "".join(line(row) + "\n" for row in range(first, first + count)).encode()


def prepare(service: Service) -> str:
    """Fills the archive and returns the ID of the large run."""
    environment = json.loads(call(service, "POST", "/runlog/v1/environments", b'{"name": "attack"}'))["id"]
    new_workspace = json.dumps({"name": "attack", "environmentId": environment}).encode()
    workspace = json.loads(call(service, "POST", "/runlog/v1/workspaces", new_workspace))["id"]
    task = json.loads(call(service, "POST", "/runlog/v1/tasks", json.dumps({"name": "nightly", "workspaceId": workspace}).encode()))["executable"]
    runs = [(0, LARGE_RECORDS)] + [(number, SMALL_RECORDS) for number in range(1, SMALL_RUNS + 1)]
    large = str(uuid.uuid4())
    for number, records in runs:
        run = large if number == 0 else str(uuid.uuid4())
        call(service, "PUT", f"/runlog/v1/runs/{run}", json.dumps({"taskId": task}).encode())
        for first in range(0, records, 50_000):
            body = lines(number, first, min(50_000, records - first))
            call(service, "POST", f"/runlog/v1/runs/{run}/records?batch={first}", body, "application/x-ndjson")
        call(service, "POST", f"/runlog/v1/runs/{run}/finish", b'{"status": "execution_successful"}')
    # By then, the runs are sealed.
    time.sleep(45)
    return large


def kinds(service: Service, run: str) -> dict[str, tuple]:
    """For each kind of request, a function that creates one, and whether the responses are read slowly."""
    logs, chance = f"/monitoring/executions/{run}/logs", random.Random(1)
    rare = lambda: head(service, "GET", f"/runlog/v1/search?q=nowhere{chance.getrandbits(30)}")
    live = lambda: head(service, "GET", f"{logs}?count=100&startIndex={chance.randrange(LARGE_RECORDS)}")
    page = lambda: head(service, "POST", f"{logs}?endTime={time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(ZERO_MS / 1000 + chance.randrange(6_000)))}", 0)
    whole = lambda: head(service, "GET", f"/runlog/v1/runs/{run}/log")
    histogram = lambda: head(service, "GET", f"/runlog/v1/runs/{run}/histogram?buckets={chance.randrange(20, 200)}")
    question = json.dumps({"query": "SELECT message, count(*) FROM records GROUP BY message ORDER BY 2 DESC LIMIT 5"}).encode()
    sql = lambda: head(service, "POST", "/runlog/v1/sql", len(question)) + question
    unfinished = b'{"logMessage":"' + b"x" * 500_000
    push = lambda: head(service, "POST", f"/runlog/v1/runs/{run}/records", 15 << 20, "application/x-ndjson") + unfinished
    events = lambda: head(service, "POST", "/runlog/v1/events", 15 << 20) + b"[" + unfinished
    return {
        "connections that send nothing": (lambda: b"", False),
        "incomplete request heads": (lambda: live()[:-20], False),
        "live pages": (live, False),
        "pages of a log, each a different one": (page, False),
        "whole logs": (whole, False),
        "whole logs, read slowly": (whole, True),
        "searches without a match": (rare, False),
        "histograms": (histogram, False),
        "SQL queries": (sql, False),
        "incomplete pushes": (push, False),
        "incomplete events": (events, False),
    }


async def attack(service: Service, request, slowly: bool, statuses: dict[int, int], healthy: list[float]) -> None:
    until = time.monotonic() + SECONDS

    async def one() -> None:
        while (left := until - time.monotonic()) > 0:
            status, _ = await ask(service, request(), left, slowly)
            statuses[status] = statuses.get(status, 0) + 1

    async def probe() -> None:
        # Like a load balancer, on separate connections.
        while time.monotonic() < until:
            begun = time.monotonic()
            status, _ = await ask(service, b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", 30)
            healthy.append(time.monotonic() - begun if status == 200 else 30.0)
            await asyncio.sleep(0.2)

    await asyncio.gather(probe(), *(one() for _ in range(CONNECTIONS)))


def main() -> None:
    service = Service()
    run = prepare(service)
    names = [name for name in kinds(service, run) if os.environ.get("KINDS", "") in name]
    service.stop()
    print(f"{CONNECTIONS:,} connections, {SECONDS} s for each kind; {LARGE_RECORDS:,} records in one run, {SMALL_RUNS} runs of {SMALL_RECORDS:,}\n")
    print("| every connection sends | responses by status | peak memory | memory 10 s later | p99 of /healthz |")
    print("|---|---|---|---|---|")
    for name in names:
        service = Service()
        request, slowly = kinds(service, run)[name]
        statuses, healthy = {}, []
        asyncio.run(attack(service, request, slowly, statuses, healthy))
        time.sleep(10)
        most, later = service.memory("VmHWM"), service.memory("VmRSS")
        p99 = statistics.quantiles(healthy, n=100)[-1] if len(healthy) > 1 else healthy[0]
        counts = ", ".join(f"{count:,} × {status or 'none'}" for status, count in sorted(statuses.items()))
        print(f"| {name} | {counts} | {most:,.0f} MiB | {later:,.0f} MiB | {p99:.2f} s |", flush=True)
        service.stop()


main()
