#!/usr/bin/env python3
"""Clients that hang up at random moments, while others push and delete, on two nodes with one PostgreSQL and one bucket, of
which one is suspended for a while. Whatever was acknowledged is there once, whatever took effect has its audit entry,
nobody finds a page that an earlier client left unfinished, and no request is answered with a 5xx.

`hangups.py SECONDS`, with RUNLOG, and moto's S3 server in the Python that runs it. Prints its counts; all but the
acknowledged ones are to be 0."""

import collections
import json
import random
import signal
import socket
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

import harness
from harness import Postgres, Service, Truth, Writer, ask, say
from s3 import Bucket

# How long a suspended node stands still: longer than its leases.
SUSPENDED_SECONDS = 25


class Counts:
    """What is counted while it runs; errors in the 500s with the request that met them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.done: collections.Counter[str] = collections.Counter()
        self.server_errors: list[str] = []

    def note(self, what: str, status: int, answer: bytes) -> None:
        with self.lock:
            self.done[what] += 1
            if status >= 500:
                self.server_errors.append(f"{what}: {status} {answer.decode(errors='replace')}")


def hang_up(port: int, method: str, path: str, body: str, token: str, seconds: float, kind: str = "application/json") -> None:
    """Sends a request, and closes the connection after so long, whatever has come back."""
    data = body.encode()
    head = (f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(data)}\r\n\r\n")
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(head.encode() + data)
            time.sleep(seconds)
    except OSError:
        pass


class HastyWriter(Writer):
    """Hangs up on some requests, and sends them again until they are acknowledged."""

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self.hung_up = 0

    def send(self, method: str, path: str, body: object) -> bool:
        text = body if isinstance(body, str) else json.dumps(body)
        kind = "application/x-ndjson" if isinstance(body, str) else "application/json"
        while self.random.random() < 0.4 and not self.is_stopped.is_set():
            self.hung_up += 1
            hang_up(self.random.choice(self.ports), method, path, text, self.token, self.random.uniform(0, 0.03), kind)
        return super().send(method, path, body)


class Worker(threading.Thread):
    """Does one thing after another until it is stopped."""

    def __init__(self, stage: "Stage", number: int):
        super().__init__(daemon=True)
        self.stage, self.chance = stage, random.Random(stage.seed * 100 + number)

    def run(self) -> None:
        try:
            while not self.stage.is_stopped.is_set():
                self.one()
        except Exception as error:
            self.stage.truth.errors.append(f"{type(self).__name__}: {error!r}")

    def one(self) -> None:
        raise NotImplementedError

    def ask(self, what: str, method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
        """Asked of any node until it is answered: a node that stands still answers nothing."""
        while True:
            status, answer = ask(self.stage.port(self.chance), method, path, body,
                                 {"Authorization": f"Bearer {self.stage.token}", "Content-Type": "application/json"})
            if status != 0 or self.stage.is_stopped.is_set():
                self.stage.counts.note(what, status, answer)
                return status, answer

    def hang_up(self, method: str, path: str, body: str = "") -> None:
        hang_up(self.stage.port(self.chance), method, path, body, self.stage.token, self.chance.uniform(0, 0.04))


class Granter(Worker):
    """Changes rights of new accounts, and hangs up."""

    def one(self) -> None:
        status, answer = self.ask("create user", "POST", "/runlog/v1/users", json.dumps({"name": str(uuid.uuid4())}))
        if status != 201:
            return
        user = json.loads(answer)["id"]
        self.hang_up("PUT", f"/security/workspaces/{self.stage.workspace}/users/{user}/permissions", '["VIEW", "AUTHOR"]')
        with self.stage.truth.lock:
            self.stage.users.append(user)


class Deleter(Worker):
    """Pushes short runs, waits until they are sealed with others, deletes their logs, and hangs up on some."""

    def one(self) -> None:
        runs = [str(uuid.uuid4()) for _ in range(8)]
        for run in runs:
            self.ask("begin run", "PUT", f"/runlog/v1/runs/{run}", json.dumps({"taskId": self.stage.task}))
            lines = "".join(json.dumps({"logTimestamp": 1_000 + row, "logMessage": f"{run} {row}"}) + "\n" for row in range(20))
            self.ask("push", "POST", f"/runlog/v1/runs/{run}/records?batch={run}", lines)
            self.ask("finish", "POST", f"/runlog/v1/runs/{run}/finish", '{"status": "execution_successful"}')
        if self.stage.is_stopped.wait(self.chance.uniform(0, 6)):
            return
        self.chance.shuffle(runs)
        for run in runs:
            path = f"/monitoring/executions/{run}/logs"
            if self.chance.random() < 0.5:
                self.hang_up("DELETE", path)
            else:
                self.ask("delete log", "DELETE", path)
        with self.stage.truth.lock:
            self.stage.deleted += runs


class Reader(Worker):
    """Asks for a page and hangs up; then asks for the same page and waits for it."""

    def one(self) -> None:
        with self.stage.truth.lock:
            finished = sorted(self.stage.truth.finished)
        if not finished:
            time.sleep(0.1)
            return
        run = self.chance.choice(finished)
        path = f"/monitoring/executions/{run}/logs?endTime=2026-01-01T00:00:{self.chance.randrange(60):02d}Z"
        self.hang_up("POST", path)
        begun = time.monotonic()
        status, answer = self.ask("request page", "POST", path)
        if status not in (200, 206):
            return
        token = json.loads(answer)["token"]
        while not self.stage.is_stopped.is_set():
            status, answer = self.ask("page status", "POST", f"/monitoring/executions/{run}/logs/status", json.dumps(token))
            if status == 200 and json.loads(answer)["status"] == "READY":
                break
            # A node that stands still keeps the pages that it was building until its lease ends.
            if time.monotonic() - begun > 15 + (SUSPENDED_SECONDS if self.stage.is_suspended else 0):
                with self.stage.counts.lock:
                    self.stage.counts.done["stuck pages"] += 1
                return
            time.sleep(0.05)


class Stage:
    def __init__(self, services: list[Service], truth: Truth, seed: int):
        self.services, self.truth, self.seed = services, truth, seed
        self.token = harness.admin_token(services[0])
        environment = harness.admin(services[0], "environments", "create", "endurance")["id"]
        self.workspace = harness.admin(services[0], "workspaces", "create", "endurance", "--environment", environment)["id"]
        self.task = harness.admin(services[0], "tasks", "create", "endurance", "--workspace", self.workspace)["executable"]
        self.counts, self.is_stopped, self.is_suspended = Counts(), threading.Event(), False
        self.users: list[str] = []
        self.deleted: list[str] = []

    def port(self, chance: random.Random) -> int:
        return chance.choice(self.services[:1] if self.is_suspended else self.services).port

    def get(self, path: str) -> dict:
        status, answer = ask(self.services[0].port, "GET", path, headers={"Authorization": f"Bearer {self.token}"})
        assert status == 200, f"GET {path} was answered with {status}: {answer!r}"
        return json.loads(answer)

    def entries(self, action: str) -> list[str]:
        """Returns the subjects of an action in the audit log."""
        subjects, offset = [], 0
        while True:
            page = self.get(f"/runlog/v1/audit?limit=100&offset={offset}")
            subjects += [entry["subject"] for entry in page["items"] if entry["action"] == action and entry["status"] < 300]
            offset += 100
            if offset >= page["total"]:
                return subjects

    def unaudited(self) -> list[str]:
        """Returns the changes that took effect without an entry in the audit log."""
        missing = []
        granted = " ".join(self.entries("grant rights"))
        for user in self.users:
            rights = self.get(f"/security/workspaces/{self.workspace}/users/{user}/permissions")
            if rights["permissions"] and user not in granted:
                missing.append(f"rights of {user}")
        deleted = " ".join(self.entries("delete log"))
        for run in self.deleted:
            size = self.get(f"/monitoring/executions/{run}/logs")["totalSize"]
            if size == 0 and run not in deleted:
                missing.append(f"log of {run}")
        created = " ".join(self.entries("create user"))
        for user in self.users:
            if user not in created:
                missing.append(f"creation of {user}")
        return missing


def causes(services: list[Service], answers: list[str]) -> list[str]:
    """The lines of the logs about requests that were answered with a 5xx: the answers themselves do not tell why."""
    requests = {json.loads(answer[answer.index("{"):])["requestId"] for answer in answers if "{" in answer}
    lines = [line for service in services for line in service.log.read_text(errors="replace").splitlines()]
    return [line for line in lines if any(request in line for request in requests)]


def main() -> None:
    seconds, seed = int(sys.argv[1]), random.SystemRandom().getrandbits(32)
    say(f"clients that hang up for {seconds} s, seed {seed}")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        postgres, bucket = Postgres(folder), Bucket(folder)
        try:
            hang_ups(folder, postgres, bucket, seconds, seed)
        finally:
            bucket.stop()
            postgres.stop()


def hang_ups(folder: Path, postgres: Postgres, bucket: Bucket, seconds: int, seed: int) -> None:
    places, services = ["--catalog", postgres.url, "--objects", bucket.url], []
    for number in range(2):
        (folder / f"node-{number}").mkdir()
        services.append(Service(folder / f"node-{number}", places, bucket.environment))
        assert services[-1].wait(), services[-1].log.read_text()
    truth = Truth()
    stage = Stage(services, truth, seed)
    writers = [HastyWriter(number, truth, [services[0].port], stage.token, stage.task, seed) for number in range(3)]
    workers = [Granter(stage, 0), Granter(stage, 1), Deleter(stage, 2), Deleter(stage, 3), Reader(stage, 4), Reader(stage, 5)]
    try:
        for thread in (*writers, *workers):
            thread.start()
        time.sleep(max(5, seconds - SUSPENDED_SECONDS - 5))
        # It stops in the middle of what it does, and goes on as if no time had passed.
        stage.is_suspended = True
        services[1].process.send_signal(signal.SIGSTOP)
        time.sleep(SUSPENDED_SECONDS)
        services[1].process.send_signal(signal.SIGCONT)
        time.sleep(5)
        stage.is_suspended = False
        stage.is_stopped.set()
        for worker in workers:
            worker.join(60)
            assert not worker.is_alive(), f"{type(worker).__name__} does not end"
        harness.stop(writers, truth)
        # The requests of the last clients are completed.
        time.sleep(3)
        total = harness.check(truth, services[0].port, stage.token)
        unaudited, counts = stage.unaudited(), stage.counts
        hung_up = sum(writer.hung_up for writer in writers) + sum(len(them) for them in (stage.users, stage.deleted))
        say(f"acknowledged {truth.acknowledged} batches with {total} records, lost 0, doubled 0; about {hung_up} requests "
            f"hung up; {len(stage.users)} grants and {len(stage.deleted)} deletions, unaudited {len(unaudited)}; "
            f"stuck pages {counts.done['stuck pages']}; answers in the 500s {len(counts.server_errors)}")
        wrong = unaudited + counts.server_errors + ["a page was stuck"] * counts.done["stuck pages"]
        if wrong:
            sys.exit("\n".join([*wrong[:20], *causes(services, counts.server_errors[:20])]))
        harness.os.environ.update(bucket.environment)
        harness.verify(folder / "node-0", places)
    finally:
        for service in services:
            service.process.send_signal(signal.SIGCONT) if service.process.poll() is None else None
            service.kill()


main()
