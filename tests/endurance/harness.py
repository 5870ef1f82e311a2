"""The real binary under writers that never give up, and what they know to be stored."""

import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


def lasting_port() -> int:
    """A free port for a service that is away for a while: below those that connections are given as their own."""
    for port in random.sample(range(20_000, 30_000), 100):
        with socket.socket() as it:
            try:
                it.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass
    raise OSError("no port is free")


class Postgres:
    """A PostgreSQL of this test's own; it ends with the test. `stop` and `start` keep its data."""

    def __init__(self, folder: Path, options: str = ""):
        self.port, self.options = free_port(), options
        self.folder = folder / "pg"
        self.folder.mkdir()
        self.bin = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
        self.user = []
        if os.getuid() == 0:
            folder.chmod(0o755)
            shutil.chown(self.folder, "postgres", "postgres")
            self.user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        self.run("initdb", "-A", "trust", "-U", "postgres", "--no-sync")
        self.start()
        self.sql("CREATE DATABASE archive", "postgres")

    def run(self, program: str, *arguments: str) -> None:
        command = [*self.user, str(self.bin / program), "-D", str(self.folder / "data"), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/")

    def start(self) -> None:
        options = f"-h 127.0.0.1 -p {self.port} -k {self.folder} -c synchronous_commit=on {self.options}"
        self.run("pg_ctl", "-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        self.run("pg_ctl", "-m", "immediate", "-w", "stop")

    def sql(self, statement: str, database: str = "archive") -> None:
        command = ["psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-qc", statement, database]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def script(self, statements: str) -> None:
        """Runs statements, one after another, each on its own or in the transaction that they name."""
        command = ["psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-q", "-v", "ON_ERROR_STOP=1", "archive"]
        subprocess.run(command, check=True, input=statements.encode(), stdout=subprocess.DEVNULL)

    def rows(self, query: str) -> list[list[str]]:
        command = ["psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-qAtc", query, "archive"]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        return [line.split("|") for line in lines]

    @property
    def url(self) -> str:
        return f"postgres://postgres@127.0.0.1:{self.port}/archive"


class Service:
    """One `runlog serve`, on a port of its own or on that of one before, whose log goes on."""

    def __init__(self, data: Path, arguments: list[str], environment: dict[str, str] | None = None, port: int | None = None):
        self.port = port or free_port()
        self.data = data
        self.log = data.parent / f"serve-{self.port}.log"
        command = [os.environ["RUNLOG"], "serve", "--listen", f"127.0.0.1:{self.port}", "--data", str(data), "--settle",
                   "0s", "--requests-per-second", "0", *arguments]
        with open(self.log, "ab" if port else "wb") as log:
            self.log_begins = log.tell()
            self.process = subprocess.Popen(command, stderr=log, env={**os.environ, **(environment or {})})

    def wait(self, seconds: float = 30) -> bool:
        """True once it listens; false when it has ended."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and self.process.poll() is None:
            if b"listens on" in self.log.read_bytes()[self.log_begins:]:
                return True
            time.sleep(0.01)
        return False

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


class Truth:
    """What was acknowledged, and what has to be sent again: runs of batches of records."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.stored: dict[str, dict[str, list[tuple[int, str]]]] = {}
        self.finished: set[str] = set()
        self.acknowledged = 0
        self.errors: list[str] = []


class Writer(threading.Thread):
    """Pushes batches, each for as long as it takes to be acknowledged, to whichever of the services answers."""

    def __init__(self, number: int, truth: Truth, ports: list[int], token: str, task: str, seed: int):
        super().__init__(daemon=True)
        self.truth, self.ports, self.token, self.task = truth, ports, token, task
        self.random = random.Random(seed * 1000 + number)
        self.number, self.batches = number, 0
        self.is_stopped = threading.Event()
        self.run_id = ""
        self.retries = 0

    def run(self) -> None:
        try:
            while not self.is_stopped.is_set():
                self.one_run()
        except Exception as error:
            self.truth.errors.append(f"writer {self.number}: {error!r}")

    def one_run(self) -> None:
        run = str(uuid.UUID(int=self.random.getrandbits(128), version=4))
        if not self.send("PUT", f"/runlog/v1/runs/{run}", {"taskId": self.task}):
            return
        with self.truth.lock:
            self.truth.stored[run] = {}
        for _ in range(self.random.randint(1, 12)):
            name = f"{self.number}-{self.batches}"
            self.batches += 1
            base = self.random.randint(0, 3) * 1000
            records = [(base + self.random.randint(0, 1500), self.text(name, row)) for row in range(self.random.randint(1, 120))]
            lines = "".join(json.dumps({"logTimestamp": ms, "logMessage": text}) + "\n" for ms, text in records)
            if not self.send("POST", f"/runlog/v1/runs/{run}/records?batch={name}", lines):
                # Stopped before anybody said so: it may be there or not.
                with self.truth.lock:
                    del self.truth.stored[run]
                return
            with self.truth.lock:
                self.truth.stored[run][name] = records
                self.truth.acknowledged += 1
        if self.random.random() < 0.7 and self.send("POST", f"/runlog/v1/runs/{run}/finish", {"status": "execution_successful"}):
            with self.truth.lock:
                self.truth.finished.add(run)

    def text(self, name: str, row: int) -> str:
        """The message of a record; no two records have the same."""
        return f"{name}-{row}"

    def send(self, method: str, path: str, body: object) -> bool:
        """Sends until it is done; false when the writer is stopped before."""
        text = body if isinstance(body, str) else json.dumps(body)
        kind = "application/x-ndjson" if isinstance(body, str) else "application/json"
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": kind}
        while True:
            status, answer = ask(self.random.choice(self.ports), method, path, text, headers)
            if status in (200, 201, 204):
                return True
            if status not in (0, 429, 500, 502, 503):
                raise AssertionError(f"{method} {path} was answered with {status}: {answer[:300]!r}")
            if status == 500:
                self.truth.errors.append(f"{method} {path} was answered with 500: {answer[:300]!r}")
            self.retries += 1
            if self.is_stopped.wait(0.05):
                return False


def ask(port: int, method: str, path: str, body: str | None = None, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    """The status and body of an answer; 0 when there was none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def admin_token(service: Service) -> str:
    return (service.data / "admin.token").read_text().strip()


def admin(service: Service, *arguments: str) -> dict:
    """What `runlog admin` made."""
    environment = {**os.environ, "RUNLOG_API_URL": f"http://127.0.0.1:{service.port}", "RUNLOG_TOKEN": admin_token(service)}
    command = [os.environ["RUNLOG"], "admin", *arguments, "--json"]
    return json.loads(subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE).stdout)


def make_task(service: Service) -> tuple[str, str]:
    """The administrator's token, and a task."""
    environment = admin(service, "environments", "create", "endurance")["id"]
    workspace = admin(service, "workspaces", "create", "endurance", "--environment", environment)["id"]
    return admin_token(service), admin(service, "tasks", "create", "endurance", "--workspace", workspace)["executable"]


def fetch(port: int, token: str, run: str) -> list[tuple[int, str]] | None:
    """The records of a run through the API, oldest first; read again when the run grew meanwhile."""
    while True:
        records: list[tuple[int, str]] = []
        sizes = set()
        while True:
            path = f"/monitoring/executions/{run}/logs?order=ASC&count=200&startIndex={len(records)}"
            status, answer = ask(port, "GET", path, headers={"Authorization": f"Bearer {token}"})
            if status != 200:
                return None
            page = json.loads(answer)
            sizes.add(page["totalSize"])
            records += [(record["logTimestamp"], record["logMessage"]) for record in page["data"]]
            if len(page["data"]) < 200:
                break
        if len(sizes) == 1:
            assert sizes == {len(records)}, f"run {run} has {len(records)} records where the service counts {sizes}"
            return records


def check(truth: Truth, port: int, token: str, runs: list[str] | None = None) -> int:
    """Every acknowledged record is there once, in order; tells how many there are."""
    total = 0
    for run in sorted(truth.stored) if runs is None else runs:
        with truth.lock:
            batches = dict(truth.stored.get(run, {}))
        seen = fetch(port, token, run)
        assert seen is not None, f"run {run} could not be read"
        times = [ms for ms, _ in seen]
        assert times == sorted(times), f"run {run} is not in order"
        texts = [text for _, text in seen]
        assert len(texts) == len(set(texts)), f"run {run} has records twice"
        there = dict((text, ms) for ms, text in seen)
        for name, records in batches.items():
            for ms, text in records:
                assert there.get(text) == ms, f"run {run}: record {text} of batch {name} was acknowledged and is gone"
            ties = {}
            for ms, text in records:
                ties.setdefault(ms, []).append(text)
            for ms, tied in ties.items():
                places = [texts.index(text) for text in tied]
                assert places == sorted(places), f"run {run}: records of one instant are not in order of arrival"
        total += sum(map(len, batches.values()))
    return total


def requires(what: str, command: list[str]) -> bool:
    """Runs a command as root that a check needs. If it fails, says that the check is not run; fails where CI is set."""
    if os.getuid() != 0:
        command = ["sudo", "-n", *command]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
        why = done.stderr.strip()
    except OSError as error:
        why = str(error)
    else:
        if done.returncode == 0:
            return True
    if os.environ.get("CI"):
        sys.exit(f"{what} needs `{' '.join(command)}`, which fails: {why}")
    print(f"NOT RUN: {what}, which needs `{' '.join(command)}`: {why}", flush=True)
    return False


def verify(data: Path, arguments: list[str]) -> None:
    """`runlog archive verify` finds nothing."""
    subprocess.run([os.environ["RUNLOG"], "archive", "verify", "--data", str(data), *arguments], check=True)


def say(text: str) -> None:
    print(text, flush=True)


def stop(writers: list[Writer], truth: Truth) -> None:
    for writer in writers:
        writer.is_stopped.set()
    for writer in writers:
        writer.join(120)
        assert not writer.is_alive(), "a writer does not end"
    if truth.errors:
        sys.exit("\n".join(truth.errors[:20]))
