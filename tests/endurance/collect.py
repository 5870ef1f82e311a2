#!/usr/bin/env python3
"""Two collectors on one archive, killed at random, against an upstream with the habits of Talend Cloud: collect.py RUNS

Afterwards the archive is held against the truth, record by record."""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import harness
import upstream as stand_in

SEED = int(os.environ.get("SEED", "1"))
# All pages on disk, the run begun, a stretch of its log stored, the run ended but its pages not yet forgotten.
STEPS = ["collect-fetched", "collect-begun", "collect-stored", "collect-landed"]


class Replica:
    """One `runlog collect` that is started again whenever it is killed."""

    def __init__(self, folder: Path, number: int, url: str, catalog: str):
        self.folder, self.log = folder, folder / f"collect-{number}.log"
        self.settings = folder / f"runlog-{number}.toml"
        self.settings.write_text(f"""
[archive]
data = "{folder}/shared"
catalog = "{catalog}"
work = "{folder}/work-{number}"
[[upstream]]
name = "cloud"
url = "{url}"
token = {{ env = "UPSTREAM_TOKEN" }}
every = "3s"
settle = "0s"
""")
        self.start()

    def command(self, *arguments: str) -> list[str]:
        return [os.environ["RUNLOG"], *arguments, "--settings", str(self.settings)]

    def start(self, step: str = "") -> None:
        """With a step, the collector ends by itself, as if the power went, when it reaches that one."""
        self.is_to_end = bool(step)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command("collect"), stderr=log, stdout=log, env=environment(step))

    def kill(self) -> None:
        assert self.is_to_end or self.process.poll() is None, f"a collector ended by itself: {self.log.read_text()[-2000:]}"
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def figures(self) -> dict:
        output = subprocess.run(self.command("status", "--json"), check=True, capture_output=True, env=environment()).stdout
        return json.loads(output)["upstreams"][0]


def environment(step: str = "") -> dict[str, str]:
    failpoints = {"FAILPOINTS": f"{step}=return"} if step else {}
    return {**os.environ, "UPSTREAM_TOKEN": stand_in.TOKEN, "RUST_BACKTRACE": "0", **failpoints}


def main() -> None:
    runs = int(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        postgres = harness.Postgres(Path(folder))
        try:
            collect(Path(folder), postgres, runs)
        finally:
            postgres.stop()


def collect(folder: Path, postgres: harness.Postgres, runs: int) -> None:
    cloud = stand_in.Upstream(SEED, runs)
    chance = random.Random(SEED)
    # One after the other, so that the first makes the tables.
    replicas = [Replica(folder, 0, cloud.url, postgres.url)]
    while not (postgres.rows("SELECT 1 FROM pg_tables WHERE tablename = 'collectors'")
               and postgres.rows("SELECT 1 FROM collectors")):
        assert replicas[0].process.poll() is None, replicas[0].log.read_text()[-2000:]
        time.sleep(0.2)
    replicas.append(Replica(folder, 1, cloud.url, postgres.url))
    begun, kills = time.monotonic(), 0
    until = begun + 600 + 3 * runs
    next_kill, patience = 0, begun + 20
    while True:
        time.sleep(0.5)
        states = dict(postgres.rows("SELECT state, COUNT(*) FROM collected_runs GROUP BY state"))
        done = int(states.get("landed", 0)) + int(states.get("no_log", 0))
        if done == runs:
            break
        if time.monotonic() > until:
            shown = replicas[0].figures()
            raise SystemExit(f"not everything has landed after {kills} kills: {shown['figures']} {shown['failing'][:5]}\n{replicas[0].log.read_text()[-3000:]}")
        if kills >= max(runs // 5, 10):
            continue
        # Killed at moments that have to do with how far it is, so that a slow machine gets on as well as a quick one.
        if done < next_kill and time.monotonic() < patience:
            continue
        next_kill, patience = done + chance.randrange(1, max(runs // 12, 3)), time.monotonic() + 20
        replica = chance.choice(replicas)
        replica.kill()
        kills += 1
        replica.start(chance.choice(STEPS) if chance.random() < 0.4 else "")
    for replica in replicas:
        if replica.process.poll() is not None:
            continue
        replica.process.send_signal(signal.SIGTERM)
        assert replica.process.wait(30) == 0, replica.log.read_text()[-2000:]
        log = replica.log.read_text()
        assert stand_in.TOKEN not in log and "hidden" not in log, "a secret stands in a log"
    seconds = time.monotonic() - begun
    compare(folder, postgres, cloud)
    counts = cloud.counts
    # A collector that was killed does not remember what it had sent in the second before.
    assert counts["429"] <= 10 * kills + 10, counts
    harness.say(f"collect: {runs} runs with {sum(run.records for run in cloud.runs.values() if run.has_log):,} records landed in "
                f"{seconds:.0f} s by two collectors that were killed {kills} times; {counts['requests']:,} requests, of which "
                f"{counts['429']} limited, {counts['500']} failed, {counts['broken']} broken; {counts['cut']} downloads cut; "
                "the archive equals the truth")


def compare(folder: Path, postgres: harness.Postgres, cloud: stand_in.Upstream) -> None:
    service = harness.Service(folder / "shared", ["--catalog", postgres.url])
    assert service.wait(), service.log.read_text()
    token = (folder / "shared/admin.token").read_text().strip()

    def call(method: str, path: str, body: bytes | None = None):
        request = urllib.request.Request(f"http://127.0.0.1:{service.port}{path}", body, {"Authorization": f"Bearer {token}"}, method=method)
        with urllib.request.urlopen(request) as answer:
            return json.load(answer), answer.headers

    try:
        for run in cloud.runs.values():
            if not run.has_log:
                continue
            records, end = [], ""
            while end is not None:
                path = f"/monitoring/executions/{run.id}/logs"
                page, headers = call("POST", path + (f"?endTime={end}" if end else ""))
                while True:
                    status, _ = call("POST", f"{path}/status", page["token"].encode())
                    if status["status"] == "READY":
                        break
                with urllib.request.urlopen(status["presignedURL"]) as answer:
                    records += json.load(answer)
                end = headers.get("X-Log-Next-Request-End-Time")
            found = [(record["logTimestamp"], record["logMessage"]) for record in reversed(records)]
            assert [time_ for time_, _ in found] == sorted(time_ for time_, _ in found), run.id
            assert sorted(found) == sorted(run.log()), f"run {run.id} differs from the truth"
            said, _ = call("GET", f"/processing/executions/{run.id}")
            assert said["status"] == ("deploy_failed" if run.is_never_begun else run.status), said
    finally:
        service.stop()


main()
