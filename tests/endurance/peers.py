#!/usr/bin/env python3
"""Destinations of every kind that are slow and odd, and clients that send slowly: `peers.py SECONDS`, with RUNLOG.

Elasticsearch, Loki, Splunk, an OTLP collector and a webhook, which answer late or not at all, close the connection before
or after they took what was sent, refuse for a while in all the words that there are, take a part, find bodies too large, and
refuse some records for good. Afterwards every record of every finished run has to be at each of them, where ids are kept
once, and those that were refused are counted. Prints its counts; all but the first are to be 0."""

import collections
import gzip
import http.server
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import harness
from harness import Service, Truth, Writer, say

# A record in a body of whatever form.
MARK = re.compile(rb"\[(\d+-\d+-\d+)( refused)?\]")
BODY_BYTES_MAX = 100_000


class OddWriter(Writer):
    """Pushes some records that no destination takes, and sends some of its bodies a few bytes at a time."""

    def text(self, name: str, row: int) -> str:
        return f"[{name}-{row} refused]" if self.random.random() < 0.002 else f"[{name}-{row}]"

    def send(self, method: str, path: str, body: object) -> bool:
        if isinstance(body, str) and self.random.random() < 0.02:
            self.dribble(method, path, body.encode())
        return super().send(method, path, body)

    def dribble(self, method: str, path: str, body: bytes) -> None:
        """Sends slowly, and hangs up before the end; the batch is sent again."""
        head = (f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {self.token}\r\n"
                f"Content-Type: application/x-ndjson\r\nContent-Length: {len(body)}\r\n\r\n")
        try:
            with socket.create_connection(("127.0.0.1", self.random.choice(self.ports)), timeout=10) as connection:
                connection.sendall(head.encode())
                for start in range(0, len(body) // 2, max(1, len(body) // 20)):
                    connection.sendall(body[start:start + max(1, len(body) // 20)])
                    time.sleep(0.1)
        except OSError:
            pass


class Destination:
    """A server on loopback that takes what is sent to it, when it is in the mood."""

    kind, path, settings, keeps_ids = "", "", "", False

    def __init__(self, seed: int):
        self.chance = random.Random(f"{seed} {self.kind}")
        self.lock, self.is_odd = threading.Lock(), True
        self.taken: collections.Counter[str] = collections.Counter()
        self.oddities: collections.Counter[str] = collections.Counter()
        destination = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                destination.handle(self, gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)

            def log_message(self, *_) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, *_) -> None:
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def table(self) -> str:
        return f'''
[[sink]]
name = "{self.kind}"
kind = "{self.kind}"
url = "{self.url}{self.path}"
timeout = "3s"
{self.settings}
'''

    def odd(self, name: str) -> None:
        with self.lock:
            self.oddities[name] += 1

    def handle(self, request, body: bytes) -> None:
        with self.lock:
            mood = self.chance.random() if self.is_odd else 1
        if mood < 0.02:
            self.odd("no answer")
            time.sleep(5)
            return self.close(request)
        if mood < 0.05:
            self.odd("closed before it was taken")
            return self.close(request)
        if mood < 0.08:
            self.odd("closed after it was taken")
            self.take(body)
            return self.close(request)
        if mood < 0.14:
            status = self.chance.choice([408, 429, 500, 502, 503, 504] if self.kind != "otlp" else [429, 502, 503, 504])
            self.odd("refused for a while")
            headers = {"Retry-After": self.chance.choice(["0", "1", "soon"])} if self.chance.random() < 0.5 else {}
            return self.answer(request, status, self.chance.choice([b"", b"{}", b"<html>bad gateway</html>", b"\xff" * 50]), headers)
        if mood < 0.17:
            self.odd("late")
            time.sleep(1)
        if len(body) > BODY_BYTES_MAX:
            self.odd("too large")
            return self.answer(request, 413, self.chance.choice([b"", b"request body too large"]))
        self.respond(request, body)

    def respond(self, request, body: bytes) -> None:
        self.take(body)
        self.answer(request, 200, b"{}")

    def take(self, body: bytes) -> None:
        """Takes every record of a body that it does not refuse for good."""
        with self.lock:
            self.taken.update(match.group(1).decode() for match in MARK.finditer(body) if not match.group(2))

    def answer(self, request, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)

    def close(self, request) -> None:
        request.close_connection = True
        request.connection.shutdown(socket.SHUT_RDWR)


class Elasticsearch(Destination):
    kind, settings, keeps_ids = "elasticsearch", 'index = "logs"', True

    def __init__(self, seed: int):
        super().__init__(seed)
        self.ids: set[str] = set()

    def items(self, body: bytes, is_odd: bool) -> list[dict]:
        """Returns the outcome of each document."""
        items, lines = [], body.splitlines()
        for action, document in zip(lines[::2], lines[1::2]):
            id_ = json.loads(action)["create"]["_id"]
            with self.lock:
                if b" refused]" in document:
                    status = 400
                elif is_odd and self.chance.random() < 0.01:
                    status = self.chance.choice([429, 503])
                elif id_ in self.ids:
                    status = 409
                else:
                    status = 201
                    self.ids.add(id_)
                    self.taken.update(match.group(1).decode() for match in MARK.finditer(document))
            error = {"error": {"type": "odd", "reason": "as it happens"}} if status > 201 else {}
            items.append({"create": {"status": status, **error}})
        return items

    def take(self, body: bytes) -> None:
        self.items(body, False)

    def respond(self, request, body: bytes) -> None:
        items = self.items(body, self.is_odd)
        self.answer(request, 200, json.dumps({"errors": True, "items": items}).encode())


class Splunk(Destination):
    kind, settings = "splunk", 'token = { env = "SINK_TOKEN" }'

    def respond(self, request, body: bytes) -> None:
        events = body.splitlines(keepends=True)
        for number, event in enumerate(events):
            is_busy = self.is_odd and self.chance.random() < 0.0005
            if is_busy or b" refused]" in event:
                # The events before it are accepted.
                self.take(b"".join(events[:number]))
                self.odd("stopped at an event")
                status, code, text = (503, 9, "Server is busy") if is_busy else (400, 6, "Invalid data format")
                said = {"text": text, "code": code, "invalid-event-number": number}
                return self.answer(request, status, json.dumps(said).encode())
        self.take(body)
        self.answer(request, 200, b'{"text":"Success","code":0}')


class Loki(Destination):
    kind, settings = "loki", 'max_age = "0s"'

    def respond(self, request, body: bytes) -> None:
        self.take(body)
        if b" refused]" not in body:
            return self.answer(request, 204, b"")
        # It takes all but some lines, and says how many.
        self.odd("took a part")
        lines = len(re.findall(rb" refused\]", body))
        self.answer(request, 400, f"entry with timestamp 1970-01-01 ignored, reason: 'entry too far behind',\ntotal ignored: {lines} out of {lines}".encode())


class Otlp(Destination):
    kind = "otlp"

    def respond(self, request, body: bytes) -> None:
        self.take(body)
        rejected = len(re.findall(rb" refused\]", body))
        # `partial_success { rejected_log_records, error_message }`
        inside = b"\x08" + bytes([min(rejected, 127)]) + b"\x12\x03odd"
        self.answer(request, 200, b"\x0a" + bytes([len(inside)]) + inside if rejected else b"")


class Webhook(Destination):
    kind = "webhook"

    def take(self, body: bytes) -> None:
        said = json.loads(body)
        if "run" in said or "runId" in said:
            with self.lock:
                self.taken[said.get("runId") or said["run"]["id"]] += 1

def main() -> None:
    seconds, seed = int(sys.argv[1]), random.SystemRandom().getrandbits(32)
    say(f"destinations that are odd for {seconds} s, seed {seed}")
    with tempfile.TemporaryDirectory() as folder:
        odd_peers(Path(folder), seconds, seed)


def odd_peers(folder: Path, seconds: int, seed: int) -> None:
    (folder / "data").mkdir()
    service = Service(folder / "data", [])
    assert service.wait(), service.log.read_text()
    token, task = harness.make_task(service)
    destinations = [kind(seed) for kind in (Elasticsearch, Splunk, Loki, Otlp, Webhook)]
    settings = folder / "runlog.toml"
    settings.write_text(f'[archive]\ndata = "{folder}/data"\n' + "".join(it.table() for it in destinations))
    environment = {**os.environ, "SINK_TOKEN": "hidden-token", "RUST_BACKTRACE": "0"}
    command = [os.environ["RUNLOG"], "deliver", "--settings", str(settings)]
    log = open(folder / "deliver.log", "wb")
    deliverer = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    truth = Truth()
    writers = [OddWriter(number, truth, [service.port], token, task, seed) for number in range(3)]
    try:
        for writer in writers:
            writer.start()
        time.sleep(seconds)
        harness.stop(writers, truth)
        # A run is delivered half a minute after its end.
        time.sleep(35)
        for destination in destinations:
            destination.is_odd = False
            assert sum(destination.oddities.values()) > 2, f"{destination.kind} was not odd"
        figures = wait_until_done(settings, environment, deliverer, len(truth.finished))
        total = compare(truth, destinations, figures)
        assert b"hidden-token" not in (folder / "deliver.log").read_bytes(), "a secret stands in a log"
        harness.check(truth, service.port, token)
        odd = {it.kind: sum(it.oddities.values()) for it in destinations}
        say(f"acknowledged {truth.acknowledged} batches; {len(truth.finished)} runs with {total} records delivered to five "
            f"destinations, lost 0, doubled where ids are kept 0; oddities met: {odd}; "
            f"refused for good {({name: it['refused'] for name, it in figures.items()})}")
    except BaseException:
        say((folder / "deliver.log").read_text(errors="replace")[-3000:])
        raise
    finally:
        deliverer.send_signal(signal.SIGTERM)
        ended = deliverer.wait(60)
        service.kill()
    assert ended == 0, f"the deliverer ended with {ended}"


def wait_until_done(settings: Path, environment: dict[str, str], deliverer: subprocess.Popen, runs: int) -> dict[str, dict]:
    """The figures of each sink, once it has all finished runs."""
    until, figures = time.monotonic() + 240, {}
    while time.monotonic() < until:
        assert deliverer.poll() is None, "the deliverer ended by itself"
        command = [os.environ["RUNLOG"], "status", "--settings", str(settings), "--json"]
        said = json.loads(subprocess.run(command, check=True, capture_output=True, env=environment).stdout)
        figures = {sink["figures"]["name"]: sink["figures"] for sink in said["sinks"]}
        if all(sink["due"] == 0 and sink["done"] + sink["dead"] >= runs for sink in figures.values()):
            return figures
        time.sleep(1)
    raise SystemExit(f"not everything is delivered: {json.dumps(figures)[:4000]}")


def compare(truth: Truth, destinations: list[Destination], figures: dict[str, dict]) -> int:
    wanted, refused = set(), set()
    for run in truth.finished:
        for records in truth.stored[run].values():
            for _, text in records:
                match = MARK.fullmatch(text.encode())
                (refused if match.group(2) else wanted).add(match.group(1).decode())
    for destination in destinations:
        kind, taken = destination.kind, destination.taken
        if kind == "webhook":
            missing = truth.finished - set(taken)
            assert not missing, f"{kind}: {len(missing)} runs are missing, such as {sorted(missing)[:3]}"
            continue
        missing = wanted - set(taken)
        assert not missing, f"{kind}: {len(missing)} of {len(wanted)} records are missing, such as {sorted(missing)[:3]}"
        if destination.keeps_ids:
            twice = [text for text, times in taken.items() if times > 1]
            assert not twice, f"{kind}: {len(twice)} records are there twice, such as {twice[:3]}"
        assert figures[kind]["dead"] == 0, f"{kind}: {figures[kind]}"
        if kind in ("elasticsearch", "splunk"):
            assert figures[kind]["refused"] == len(refused), f"{kind}: {len(refused)} were refused: {figures[kind]}"
    return len(wanted) + len(refused)


main()
