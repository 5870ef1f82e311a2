#!/usr/bin/env python3
"""Kills the service at random moments, and at every step between an object and its row, and looks each time whether
every acknowledged record is there once, in order: `crash.py KILLS sqlite|postgres`, with RUNLOG."""

import random
import sys
import tempfile
import time
from pathlib import Path

import harness
from harness import Postgres, Service, Truth, Writer, say

# Where the process ends by itself, as in a power cut.
STEPS = ["commit-before-object", "commit-after-object", "commit-before-rows", "commit-after-rows", "seal-after-objects",
         "seal-before-rows"]


def main() -> None:
    kills, catalog = int(sys.argv[1]), sys.argv[2]
    seed = random.SystemRandom().getrandbits(32) if len(sys.argv) < 4 else int(sys.argv[3])
    say(f"{kills} kills on {catalog}, seed {seed}")
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        postgres = Postgres(folder) if catalog == "postgres" else None
        places = ["--catalog", postgres.url] if postgres else []
        try:
            crash(folder / "data", places, kills, chance, seed)
        finally:
            if postgres:
                postgres.stop()


def crash(data: Path, places: list[str], kills: int, chance: random.Random, seed: int) -> None:
    data.mkdir()
    service = Service(data, places)
    assert service.wait(), service.log.read_text()
    token, task = harness.make_task(service)
    truth, ports = Truth(), [service.port]
    writers = [Writer(number, truth, ports, token, task, seed) for number in range(6)]
    for writer in writers:
        writer.start()
    at_steps = 0
    try:
        for kill in range(kills):
            time.sleep(chance.uniform(0.05, 0.8))
            service.kill()
            environment = {}
            if kill % 2:
                step = STEPS[kill // 2 % len(STEPS)]
                environment["FAILPOINTS"] = f"{step}=abort:{chance.randint(0, 4)}"
            service = Service(data, places, environment)
            ports[0] = service.port
            is_up = service.wait()
            if environment:
                try:
                    service.process.wait(8)
                    at_steps += 1
                except harness.subprocess.TimeoutExpired:
                    pass
                service.kill()
                service = Service(data, places)
                ports[0] = service.port
                is_up = service.wait()
            assert is_up, service.log.read_text()
            with truth.lock:
                runs = chance.sample(sorted(truth.stored), min(3, len(truth.stored)))
            harness.check(truth, service.port, token, runs)
        time.sleep(1)
        harness.stop(writers, truth)
        total = harness.check(truth, service.port, token)
        service.stop()
        harness.verify(data, places)
        assert at_steps > 0 or kills < 4, "the process never ended at a step: was it built with --features failpoints?"
        say(f"{kills} kills, {at_steps} of them at a step of their own choice: {truth.acknowledged} batches of "
            f"{len(truth.stored)} runs, {total} records, all there once, in order")
    finally:
        service.kill()


main()
