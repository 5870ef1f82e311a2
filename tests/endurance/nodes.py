#!/usr/bin/env python3
"""Three nodes on one PostgreSQL and one bucket, pushing and fetching, one killed or restarted at a time: who sends again
what was not answered sees no loss. `nodes.py ROUNDS`, with RUNLOG, and moto's S3 server in the Python that runs it."""

import random
import sys
import tempfile
import time
from pathlib import Path

import harness
from harness import Postgres, Service, Truth, Writer, say
from s3 import Bucket


def main() -> None:
    rounds = int(sys.argv[1])
    seed = random.SystemRandom().getrandbits(32)
    say(f"three nodes, {rounds} of them killed or restarted, seed {seed}")
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        postgres, bucket = Postgres(folder), Bucket(folder)
        try:
            nodes(folder, postgres, bucket, rounds, chance, seed)
        finally:
            bucket.stop()
            postgres.stop()


def nodes(folder: Path, postgres: Postgres, bucket: Bucket, rounds: int, chance: random.Random, seed: int) -> None:
    places = ["--catalog", postgres.url, "--objects", bucket.url]

    def start(number: int) -> Service:
        (folder / f"node-{number}").mkdir(exist_ok=True)
        service = Service(folder / f"node-{number}", places, bucket.environment)
        assert service.wait(), service.log.read_text()
        return service

    services = [start(number) for number in range(3)]
    token, task = harness.make_task(services[0])
    truth, ports = Truth(), [service.port for service in services]
    writers = [Writer(number, truth, ports, token, task, seed) for number in range(6)]
    for writer in writers:
        writer.start()
    try:
        for round_ in range(rounds):
            time.sleep(chance.uniform(0.3, 1.2))
            gone = chance.randrange(3)
            if round_ % 2:
                services[gone].stop()
            else:
                services[gone].kill()
            with truth.lock:
                runs = chance.sample(sorted(truth.stored), min(3, len(truth.stored)))
            other = (gone + 1) % 3
            harness.check(truth, ports[other], token, runs)
            services[gone] = start(gone)
            ports[gone] = services[gone].port
        time.sleep(1)
        harness.stop(writers, truth)
        total = harness.check(truth, ports[chance.randrange(3)], token)
        retries = sum(writer.retries for writer in writers)
        harness.os.environ.update(bucket.environment)
        harness.verify(folder / "node-0", places)
        say(f"{rounds} nodes lost, {retries} requests sent again: {truth.acknowledged} batches of {len(truth.stored)} "
            f"runs, {total} records, all there once, in order")
    finally:
        for service in services:
            service.kill()


main()
