#!/usr/bin/env python3
"""Two collectors on one archive, killed at random, against an upstream: collect.py RUNS [cloud|runlog]

The upstream is a stand-in with the habits of Talend Cloud, or another Runlog, which is killed at random, too. Afterwards
the archive is held against the truth, record by record."""

import contextlib
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
import upstream_runlog

SEED = int(os.environ.get("SEED", "1"))
# All pages on disk, the run begun, a stretch of its log stored, the run ended but its pages not yet forgotten; its
# component metrics fetched, and about to be stored.
STEPS = ["collect-fetched", "collect-begun", "collect-stored", "collect-landed", "components-fetched", "components-before-rows"]
Upstream = stand_in.Upstream | upstream_runlog.Upstream


class Replica:
    """One `runlog collect` that is started again whenever it is killed."""

    def __init__(self, folder: Path, number: int, upstream: Upstream, catalog: str):
        self.token, self.log = upstream.token, folder / f"collect-{number}.log"
        self.settings = folder / f"runlog-{number}.toml"
        self.settings.write_text(f"""
[archive]
data = "{folder}/shared"
catalog = "{catalog}"
work = "{folder}/work-{number}"
[[upstream]]
name = "{upstream.name}"
url = "{upstream.url}"
token = {{ env = "UPSTREAM_TOKEN" }}
every = "{upstream.list_every}s"
settle = "0s"
""")
        self.start()

    def command(self, *arguments: str) -> list[str]:
        return [os.environ["RUNLOG"], *arguments, "--settings", str(self.settings)]

    def environment(self, step: str = "") -> dict[str, str]:
        failpoints = {"FAILPOINTS": f"{step}=abort:0"} if step else {}
        return {**os.environ, "UPSTREAM_TOKEN": self.token, "RUST_BACKTRACE": "0", **failpoints}

    def start(self, step: str = "") -> None:
        """With a step, the collector ends by itself, as if the power went, when it reaches that one."""
        self.is_to_end = bool(step)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command("collect"), stderr=log, stdout=log, env=self.environment(step))

    def has_ended(self) -> bool:
        """True when it has come to its step."""
        return self.is_to_end and self.process.poll() is not None

    def kill(self) -> None:
        assert self.is_to_end or self.process.poll() is None, f"a collector ended by itself: {self.log.read_text()[-2000:]}"
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        assert self.is_to_end or self.process.poll() is None, f"a collector ended by itself: {self.log.read_text()[-2000:]}"
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            assert self.process.wait(30) == 0, self.log.read_text()[-2000:]

    def end(self) -> None:
        """Kills the process, whatever the outcome of the test."""
        if self.process.poll() is None:
            self.process.kill()

    def figures(self) -> dict:
        output = subprocess.run(self.command("status", "--json"), check=True, capture_output=True, env=self.environment()).stdout
        return json.loads(output)["upstreams"][0]


class Kills:
    """Moments that have to do with how far it is, so that a slow machine gets on as well as a quick one."""

    def __init__(self, chance: random.Random, most: int, runs_apart: int, patience: int):
        self.chance, self.most, self.runs_apart, self.patience = chance, most, runs_apart, patience
        self.count, self.next, self.last = 0, 0, time.monotonic()

    def is_time(self, done: int) -> bool:
        """True when it is time for one, which counts."""
        now = time.monotonic()
        if self.count >= self.most or done < self.next and now < self.last + self.patience:
            return False
        self.count, self.last = self.count + 1, now
        self.next = done + self.chance.randrange(1, max(2 * self.runs_apart, 3))
        return True


def main() -> None:
    runs, kind = int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "cloud"
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as ends:
        postgres = harness.Postgres(Path(folder))
        ends.callback(postgres.stop)
        upstream = {"cloud": stand_in.Upstream, "runlog": upstream_runlog.Upstream}[kind](Path(folder), SEED, runs)
        ends.callback(upstream.end)
        upstream.begin()
        collect(Path(folder), postgres, upstream, ends)


def collect(folder: Path, postgres: harness.Postgres, upstream: Upstream, ends: contextlib.ExitStack) -> None:
    runs, chance = len(upstream.runs), random.Random(SEED)
    # One after the other, so that the first makes the tables.
    replicas = [Replica(folder, 0, upstream, postgres.url)]
    ends.callback(replicas[0].end)
    while not (postgres.rows("SELECT 1 FROM pg_tables WHERE tablename = 'collectors'")
               and postgres.rows("SELECT 1 FROM collectors")):
        assert replicas[0].process.poll() is None, replicas[0].log.read_text()[-2000:]
        time.sleep(0.2)
    replicas.append(Replica(folder, 1, upstream, postgres.url))
    ends.callback(replicas[1].end)
    begun = time.monotonic()
    until = begun + 600 + 3 * runs
    # A collector that has begun lists first, and is to land some before it is killed again.
    patience = 20 + upstream.list_every
    kills, at_steps = Kills(chance, max(runs // 5, 10), runs // 24, patience), 0
    losses = Kills(chance, upstream.losses_max, runs // max(upstream.losses_max, 1), patience)
    while True:
        time.sleep(0.2)
        upstream.check()
        states = dict(postgres.rows("SELECT state, COUNT(*) FROM collected_runs GROUP BY state"))
        done = int(states.get("landed", 0)) + int(states.get("no_log", 0))
        if done == runs and not postgres.rows("SELECT 1 FROM collected_runs WHERE metrics_due_at IS NOT NULL LIMIT 1"):
            break
        if time.monotonic() > until:
            shown = replicas[0].figures()
            raise SystemExit(f"not everything has landed after {kills.count} kills: {shown['figures']} {shown['failing'][:5]}\n{replicas[0].log.read_text()[-3000:]}")
        if kills.is_time(done):
            replica = chance.choice(replicas)
            replica.kill()
            replica.start(chance.choice(STEPS) if chance.random() < 0.4 else "")
        for replica in filter(Replica.has_ended, replicas):
            at_steps += 1
            replica.start()
        if not upstream.is_away and losses.is_time(done):
            upstream.lose()
    seconds = time.monotonic() - begun
    for replica in replicas:
        replica.stop()
        log = replica.log.read_text()
        assert not any(secret in log for secret in upstream.secrets), "a secret stands in a log"
    upstream.end()
    compare(folder, postgres, upstream)
    assert at_steps or runs < 100, "no collector ended at a step: was it built with --features failpoints?"
    records, killed = sum(run.records for run in upstream.runs.values()), kills.count + at_steps
    harness.say(f"collect from {upstream.name}: {runs} runs with {records:,} records landed in {seconds:.0f} s by two collectors "
                f"that were killed {killed} times, {at_steps} of them at a step of their own choice; {upstream.report(killed)}; "
                "the archive equals the truth")


def compare(folder: Path, postgres: harness.Postgres, upstream: Upstream) -> None:
    service = harness.Service(folder / "shared", ["--catalog", postgres.url])
    assert service.wait(), service.log.read_text()
    token = harness.admin_token(service)

    def call(method: str, path: str, body: bytes | None = None):
        request = urllib.request.Request(f"http://127.0.0.1:{service.port}{path}", body, {"Authorization": f"Bearer {token}"}, method=method)
        with urllib.request.urlopen(request) as answer:
            return json.load(answer), answer.headers

    try:
        for run in upstream.runs.values():
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
            metrics, truth = [], run.components()
            while True:
                path = f"/monitoring/observability/executions/{run.id}/component?limit=200&offset={len(metrics)}"
                page = call("GET", path)[0]["metrics"]
                metrics += page["items"]
                assert page["total"] == len(truth), f"run {run.id} has {page['total']} component metrics instead of {len(truth)}"
                if not page["items"] or len(metrics) >= len(truth):
                    break
            in_order = sorted(truth, key=lambda metric: metric["component_start_time_seconds"])
            assert metrics == in_order, f"the component metrics of run {run.id} differ from the truth"
            said, _ = call("GET", f"/processing/executions/{run.id}")
            assert said["status"] == ("deploy_failed" if run.is_never_begun else run.status), said
    finally:
        service.stop()


main()
