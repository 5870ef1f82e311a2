#!/usr/bin/env python3
"""The places of an archive fail, one after another, under writers: nothing acknowledged is lost, nothing is stored
twice, the service recovers by itself and says what was wrong. `faults.py`, with RUNLOG, and moto in the Python that runs
it. A full disk needs the right to mount a tmpfs."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import harness
from harness import Postgres, Service, Truth, Writer, say
from s3 import BadWay, Bucket

TOKEN_HEADER = "Authorization"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        postgres, bucket = Postgres(folder), Bucket(folder)
        try:
            places_fail(folder, postgres, bucket)
        finally:
            bucket.stop()
            postgres.stop()
        disk_is_full(folder / "full")


class Stage:
    """A service with writers, and what they know."""

    def __init__(self, data: Path, arguments: list[str], environment: dict[str, str], writers: int = 4):
        data.mkdir()
        self.service = Service(data, arguments, environment)
        assert self.service.wait(), self.service.log.read_text()
        self.token, self.task = harness.make_task(self.service)
        self.truth = Truth()
        self.writers = [Writer(number, self.truth, [self.service.port], self.token, self.task, 7) for number in range(writers)]
        for writer in self.writers:
            writer.start()

    def wait_for_more(self, seconds: float = 90) -> float:
        """Until further batches are acknowledged; tells how long that took."""
        before, begun = self.truth.acknowledged, time.monotonic()
        while self.truth.acknowledged < before + 10:
            assert time.monotonic() - begun < seconds, "the service did not recover by itself:\n" + self.log()[-3000:]
            assert self.service.process.poll() is None, "the service has ended:\n" + self.log()[-3000:]
            time.sleep(0.05)
        return time.monotonic() - begun

    def log(self) -> str:
        return self.service.log.read_text()

    def end(self) -> int:
        harness.stop(self.writers, self.truth)
        return harness.check(self.truth, self.service.port, self.token)


def places_fail(folder: Path, postgres: Postgres, bucket: Bucket) -> None:
    way = BadWay(bucket)
    places = ["--catalog", postgres.url, "--objects", bucket.url_at(way.port)]
    stage = Stage(folder / "data", places, bucket.environment)
    os.environ.update(bucket.environment)
    try:
        stage.wait_for_more()
        for mode in ("500", "503", "hang", "lost", "slow"):
            hurt, said = way.hurt, len(stage.log())
            way.mode = mode
            time.sleep(4)
            way.mode = "good"
            took = stage.wait_for_more()
            assert way.hurt > hurt, f"no request met {mode}"
            say(f"objects, {mode:5} for 4 s: {way.hurt - hurt} requests hurt, stored again after {took:.1f} s, "
                f"{len(stage.log()) - said} bytes of log")
        catalog_fails(stage, postgres)
        total = stage.end()
        harness.verify(folder / "data", places)
        say(f"{stage.truth.acknowledged} batches, {total} records, all there once, in order")
    finally:
        stage.service.kill()
        way.stop()


def catalog_fails(stage: Stage, postgres: Postgres) -> None:
    for name, seconds in (("restarted", 0), ("gone for 20 s", 20)):
        said = len(stage.log())
        postgres.stop()
        time.sleep(seconds)
        if seconds:
            begun = time.monotonic()
            status, answer = harness.ask(stage.service.port, "GET", "/readyz")
            assert status == 503, f"/readyz answers {status} without a catalog: {answer!r}"
            assert time.monotonic() - begun < 15
        # Requests that find no connection wait for one: the catalog stays away until one has met that it is.
        until = time.monotonic() + 15
        while "catalog" not in stage.log()[said:] and time.monotonic() < until:
            time.sleep(0.1)
        postgres.start()
        took = stage.wait_for_more()
        told = stage.log()[said:]
        assert "catalog" in told, told[-2000:]
        say(f"PostgreSQL {name}: stored again after {took:.1f} s; the log says so")
    postgres.sql("ALTER DATABASE archive SET default_transaction_read_only = on")
    postgres.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'archive' AND pid <> pg_backend_pid()", "postgres")
    time.sleep(4)
    told = stage.log()[-20_000:]
    assert "read-only" in told, told[-2000:]
    postgres.sql("ALTER DATABASE archive SET default_transaction_read_only = off", "postgres")
    postgres.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'archive' AND pid <> pg_backend_pid()", "postgres")
    took = stage.wait_for_more()
    say(f"PostgreSQL read-only for 4 s: stored again after {took:.1f} s; the log says so")


def disk_is_full(folder: Path) -> None:
    folder.mkdir()
    options = f"size=24m,mode=700,uid={os.getuid()}"
    if not harness.requires("a full disk", ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]):
        return
    try:
        stage = Stage(folder / "data", [], {})
        try:
            stage.wait_for_more()
            ballast = folder / "ballast"
            with open(ballast, "wb") as file:
                try:
                    while True:
                        file.write(bytes(1 << 16))
                        file.flush()
                except OSError:
                    pass
            time.sleep(3)
            # The log of the service is on the same disk, which once made it break off every answer.
            status, answer = harness.ask(stage.service.port, "GET", "/readyz")
            assert status == 503 and b"disk" in answer, f"/readyz answers {status} with a full disk: {answer!r}"
            ballast.unlink()
            took = stage.wait_for_more()
            total = stage.end()
            stage.service.stop()
            harness.verify(folder / "data", [])
            say(f"disk full for 3 s: stored again {took:.1f} s after there was room; {total} records, "
                "all there once, in order")
        finally:
            stage.service.kill()
    finally:
        time.sleep(0.5)
        harness.requires("the end of a full disk", ["umount", str(folder)])


main()
