"""Another Runlog as upstream: a service that engines push to, killed and started again on its port at random moments.

The runs are those of the stand-in for Talend Cloud: some show up late and end while they are watched. One that has no log
there has an empty one here, because to Runlog a run that never logged anything is a run without records.
"""

import concurrent.futures
import json
import random
import threading
import time
from pathlib import Path

import harness
from upstream import ENVIRONMENT, WORKSPACE, Run, iso

BATCH = 20_000


class Upstream:
    name, list_every = "runlog", 3

    def __init__(self, folder: Path, seed: int, runs: int):
        now_ms = int(time.time() * 1000)
        self.runs = {run.id: run for run in (Run(seed, number, runs, now_ms) for number in range(runs))}
        self.chance, self.losses_max, self.is_away = random.Random(seed), max(runs // 20, 10), False
        self.losses = self.pushes = self.repeated = 0
        self.data, self.port = folder / "upstream", harness.lasting_port()
        self.data.mkdir()
        self.url = f"http://127.0.0.1:{self.port}"
        self.threads, self.work, self.is_over = concurrent.futures.ThreadPoolExecutor(2), [], threading.Event()

    def begin(self) -> None:
        """What is there from the beginning is pushed; from now on runs show up and end."""
        self.start()
        self.token = self.make_places()
        self.secrets = [self.token, "signature="]
        # Pushed by several, because each waits for the disk.
        with concurrent.futures.ThreadPoolExecutor(8) as engines:
            list(engines.map(self.push_early, self.runs.values()))
        self.begun = time.monotonic()
        self.work = [self.threads.submit(self.push_late)]

    def start(self) -> None:
        self.service = harness.Service(self.data, [], port=self.port)
        assert self.service.wait(), self.service.log.read_text()[-2000:]

    def make_places(self) -> str:
        """The administrator's token."""
        def make(what: str, name: str, id_: str, *place: str) -> None:
            harness.admin(self.service, what, "create", name, "--id", id_, *place)

        make("environments", ENVIRONMENT["name"], ENVIRONMENT["id"])
        make("workspaces", WORKSPACE["name"], WORKSPACE["id"], "--environment", ENVIRONMENT["id"])
        for number in range(20):
            make("tasks", f"task {number}", f"{number:024x}", "--workspace", WORKSPACE["id"])
        return harness.admin_token(self.service)

    def push_early(self, run: Run) -> None:
        if not run.shows_up:
            self.push_begin(run)
            if not run.ends:
                self.push_end(run)

    def push_late(self) -> None:
        steps = [(run.shows_up, self.push_begin, run) for run in self.runs.values() if run.shows_up]
        steps += [(run.ends or run.shows_up, self.push_end, run) for run in self.runs.values() if run.shows_up or run.ends]
        for seconds, step, run in sorted(steps, key=lambda step: step[0]):
            if self.is_over.wait(max(0, self.begun + seconds - time.monotonic())):
                return
            step(run)

    def push_begin(self, run: Run) -> None:
        """The run, and half of its log."""
        start = {"taskId": run.task, "taskVersion": "0.1", "executionType": "SCHEDULED", "triggerTimestamp": iso(run.triggered)}
        start |= {"status": "dispatching"} if run.is_never_begun else {"startTimestamp": iso(run.triggered)}
        self.send("PUT", run.id, json.dumps(start))
        self.push_records(run, 0, run.records // 2)

    def push_end(self, run: Run) -> None:
        self.push_records(run, run.records // 2, run.records)
        process = {"process_id": "j", "job_name": "Main", "pid": "p", "father_pid": "p", "root_pid": "p"}
        self.send("PUT", f"{run.id}/component-metrics", json.dumps({"processes": [process], "items": run.components()}))
        finish = {"status": "deploy_failed"} if run.is_never_begun else {"status": run.status, "finishTimestamp": iso(run.ended)}
        self.send("POST", f"{run.id}/finish", json.dumps(finish))

    def push_records(self, run: Run, first: int, end: int) -> None:
        records = run.log()
        for at in range(first, end, BATCH):
            lines = "\n".join(json.dumps({"logTimestamp": ms, "severity": "INFO", "logMessage": text})
                              for ms, text in records[at:min(at + BATCH, end)])
            self.send("POST", f"{run.id}/records?batch={at}", lines, "application/x-ndjson")

    def send(self, method: str, path: str, body: str, kind: str = "application/json") -> None:
        """As an engine does: until it is answered, however often the service is away."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": kind}
        while True:
            status, answer = harness.ask(self.port, method, f"/runlog/v1/runs/{path}", body, headers)
            if status in (200, 201):
                self.pushes += 1
                return
            assert status in (0, 503), f"{method} {path} was answered with {status}: {answer[:300]!r}"
            self.repeated += 1
            if self.is_over.wait(0.1):
                return

    def lose(self) -> None:
        """It is killed, and comes back some seconds later."""
        self.service.kill()
        self.losses, self.is_away = self.losses + 1, True
        self.work.append(self.threads.submit(self.come_back, self.chance.uniform(0, 3)))

    def come_back(self, seconds: float) -> None:
        time.sleep(seconds)
        self.start()
        self.is_away = False

    def check(self) -> None:
        """Fails when it could not do its part."""
        for part in self.work:
            if part.done():
                part.result()
        is_up = self.is_away or self.service.process.poll() is None
        assert is_up, f"the upstream ended by itself: {self.service.log.read_text()[-2000:]}"

    def report(self, _: int) -> str:
        log = self.service.log.read_text()
        assert not any(secret in log for secret in self.secrets), "a secret stands in the log of the upstream"
        return f"their upstream, a Runlog, was killed {self.losses} times; {self.pushes:,} pushes, {self.repeated:,} sent again"

    def end(self) -> None:
        self.is_over.set()
        self.threads.shutdown()
        self.service.kill()
