"""A stand-in for Talend Cloud, with the habits that were observed of it and with faults: an HTTP server on loopback.

Limits to ten requests a second and answers 429 without `Retry-After` beyond; its lists are by trigger time, newest first,
and grow while they are read; runs show up late and end while they are watched; some have no log (404); pages are built
for a while (`IN_PROGRESS`); the header of a partial page is cut down to seconds; connections break, answers fail.
"""

import collections
import hashlib
import http.server
import json
import random
import socket
import threading
import time
import urllib.parse
import uuid
from pathlib import Path

PAGE = 100_000
LIMIT_PER_SECOND = 10
TOKEN = "a-token-of-the-upstream"
ENVIRONMENT, WORKSPACE = {"id": "a" * 24, "name": "production", "default": True}, {"id": "b" * 24, "name": "sales"}


def iso(ms: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms / 1000)) + f".{ms % 1000:03d}Z"


def millis(text: str) -> int:
    import datetime

    return round(datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


class Run:
    """What a run is, all of it made from its number and the seed."""

    def __init__(self, seed: int, number: int, runs: int, now_ms: int):
        chance = random.Random(f"{seed} {number}")
        self.id = str(uuid.UUID(bytes=hashlib.md5(f"{seed} {number}".encode()).digest(), version=4))
        self.task = f"{number % 20:024x}"
        self.triggered = now_ms - chance.randrange(5_400_000, 20 * 3_600_000)
        self.ended = self.triggered + 600_000
        self.seed = chance.random()
        kind = chance.random()
        # The largest are few, and always there.
        if number == 0:
            self.records = 350_000
        elif number == 1:
            self.records = 0
        elif number == 2 or kind < 0.004:
            self.records = chance.randrange(100_000, 250_000)
        else:
            self.records = chance.choice([0, 1, 3, 40, 200, 1_000, 5_000]) + chance.randrange(3)
        self.has_log = number < 3 or chance.random() > 0.03
        if not self.has_log:
            self.records = 0
        # Seconds after the beginning.
        self.shows_up = chance.random() * 10 if chance.random() < 0.2 else 0
        self.ends = self.shows_up + chance.random() * 10 if chance.random() < 0.2 else 0
        self.status = chance.choice(["execution_successful", "execution_failed"])
        self.is_never_begun = chance.random() < 0.02

    def log(self) -> list[tuple[int, str]]:
        """Its records, oldest first; many share an instant, some are equal."""
        chance = random.Random(self.seed)
        time_, records = self.triggered, []
        for row in range(self.records):
            time_ += chance.choice([0, 0, 1, 3, 7])
            records.append((time_, f"row {row if chance.random() < 0.95 else 'again'} of {self.id}"))
        return records


    def components(self) -> list[dict]:
        """Its component metrics, in the form of the vendor; some runs have several pages of them, and some none. They are
        of a run that ended more than an hour ago, so that none is an answer."""
        chance = random.Random(self.seed + 1)
        metrics = chance.choice([0, 1, 12, 12, 12, 199, 200, 201, 650])
        return [{"pid": "p", "connector_type": "tMap", "connector_label": f"tMap_{number}", "connector_id": f"tMap_{number}",
                 "target_connector_type": "tLogRow", "target_label": "all rows", "target_id": "tLogRow_1",
                 "component_start_time_seconds": self.triggered // 1000 + chance.randrange(3),
                 "component_connection_rows_total": chance.randrange(10**6),
                 "component_execution_duration_milliseconds": chance.choice([7, 1.5])} for number in range(metrics)]


class Upstream:
    name, token, secrets = "cloud", TOKEN, [TOKEN, "hidden"]
    # It is never killed: it has its faults by itself.
    losses_max, is_away = 0, False

    def __init__(self, _: Path, seed: int, runs: int):
        # Lists of many runs take many requests, of which there are few, and most are needed for logs.
        self.list_every = max(3, runs // 20)
        now_ms = int(time.time() * 1000)
        self.runs = {run.id: run for run in (Run(seed, number, runs, now_ms) for number in range(runs))}
        self.lock = threading.Lock()
        self.recent: collections.deque[float] = collections.deque()
        self.counts: collections.Counter[str] = collections.Counter()
        self.pages: dict[str, list] = {}
        self.chance = random.Random(seed)
        self.cache: collections.OrderedDict[str, list] = collections.OrderedDict()
        self.faults = True
        upstream = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                upstream.handle(self, b"")

            def do_POST(self) -> None:
                upstream.handle(self, self.rfile.read(int(self.headers.get("Content-Length") or 0)))

            def log_message(self, *_) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_) -> None:
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def begin(self) -> None:
        """From now on runs show up and end."""
        self.begun = time.monotonic()

    def check(self) -> None:
        """Fails when it could not do its part; this one always can."""

    def lose(self) -> None:
        raise NotImplementedError

    def report(self, kills: int) -> str:
        counts = self.counts
        # A collector that was killed does not remember what it had sent in the second before.
        assert counts["429"] <= 10 * kills + 10, counts
        return (f"{counts['requests']:,} requests, of which {counts['429']} limited, {counts['500']} failed, {counts['broken']} broken; "
                f"{counts['cut']} downloads cut; {counts['metrics']} requests for component metrics, {counts['odd metrics']} of them with a fault")

    def end(self) -> None:
        self.server.shutdown()

    def elapsed(self) -> float:
        return time.monotonic() - self.begun

    def log(self, run: Run) -> list:
        with self.lock:
            if run.id not in self.cache:
                self.cache[run.id] = run.log()
                while len(self.cache) > 20:
                    self.cache.popitem(last=False)
            return self.cache[run.id]

    def handle(self, request, body: bytes) -> None:
        url = urllib.parse.urlsplit(request.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        parts = url.path.strip("/").split("/")
        if parts[0] == "files":
            return self.file(request, parts[1])
        with self.lock:
            self.counts["requests"] += 1
            now = time.monotonic()
            while self.recent and self.recent[0] < now - 1:
                self.recent.popleft()
            if len(self.recent) >= LIMIT_PER_SECOND:
                self.counts["429"] += 1
                return answer(request, 429, {"status": 429, "message": "Too many requests"})
            self.recent.append(now)
            fault = self.chance.random() if self.faults else 1
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return answer(request, 401, {"status": 401})
        if fault < 0.02:
            self.counts["500"] += 1
            return answer(request, 500, {"status": 500, "message": "Internal error"})
        if fault < 0.03:
            self.counts["broken"] += 1
            request.close_connection = True
            return request.connection.shutdown(socket.SHUT_RDWR)
        match request.command, parts:
            case "GET", ["orchestration", "environments"]:
                answer(request, 200, [ENVIRONMENT])
            case "GET", ["orchestration", "workspaces"]:
                answer(request, 200, [{**WORKSPACE, "owner": "admin", "type": "shared", "environment": ENVIRONMENT}])
            case "GET", ["orchestration", "executables", "tasks"]:
                items = [{"executable": f"{number:024x}", "name": f"task {number}",
                          "workspace": {**WORKSPACE, "owner": "admin", "type": "shared", "environment": ENVIRONMENT}}
                         for number in range(19)]
                answer(request, 200, {"items": items, "limit": 100, "offset": 0, "total": len(items)})
            case "GET", ["processing", "executables", "tasks", "executions"]:
                self.list(request, query)
            case "GET", ["processing", "executions", id_]:
                run = self.runs.get(id_)
                answer(request, *((200, self.said(run)) if run else (404, {"status": 404})))
            case "POST", ["monitoring", "executions", id_, "logs"]:
                self.generate(request, self.runs[id_], query)
            case "POST", ["monitoring", "executions", id_, "logs", "status"]:
                self.status(request, body.decode().strip().strip('"'))
            case "GET", ["monitoring", "executions", id_, "logs"]:
                self.live(request, self.runs[id_], query)
            case "GET", ["monitoring", "observability", "executions", id_, "component"]:
                self.components(request, self.runs[id_], query)
            case _:
                answer(request, 404, {"status": 404, "message": f"no {request.command} {url.path}"})

    def said(self, run: Run) -> dict:
        said = {"executionId": run.id, "taskId": run.task, "taskVersion": "0.1", "executionType": "SCHEDULED", "userId": "u",
                "userType": "HUMAN", "triggerTimestamp": iso(run.triggered), "runtime": {"type": "CLOUD"}}
        if self.elapsed() < run.ends:
            return {**said, "status": "executing", "executionStatus": "STARTING_FLOW_EXECUTION", "startTimestamp": iso(run.triggered)}
        if run.is_never_begun:
            return {**said, "status": "deploy_failed", "executionStatus": "DEPLOY_FAILED"}
        detailed = {"execution_successful": "EXECUTION_SUCCESS", "execution_failed": "EXECUTION_FAILED"}[run.status]
        return {**said, "status": run.status, "executionStatus": detailed, "startTimestamp": iso(run.triggered),
                "finishTimestamp": iso(run.ended)}

    def list(self, request, query: dict) -> None:
        limit, offset = int(query.get("limit", 100)), int(query.get("offset", 0))
        if limit > 100 or offset > 1000:
            return answer(request, 400, {"status": 400, "message": "limit or offset out of bounds"})
        from_, to = int(query.get("from", 0)), int(query.get("to", 1 << 60))
        if to - from_ > 10 * 86_400_000:
            return answer(request, 400, {"status": 400, "message": "more than ten days"})
        shown = [run for run in self.runs.values() if from_ <= run.triggered <= to and self.elapsed() >= run.shows_up]
        shown.sort(key=lambda run: (-run.triggered, run.id))
        answer(request, 200, {"items": [self.said(run) for run in shown[offset:offset + limit]], "limit": limit,
                              "offset": offset, "total": len(shown)})

    def inside(self, run: Run, query: dict) -> list:
        start = millis(query["startTime"]) if "startTime" in query else 0
        end = millis(query["endTime"]) if "endTime" in query else 1 << 60
        return [record for record in self.log(run) if start <= record[0] <= end]

    def generate(self, request, run: Run, query: dict) -> None:
        if not run.has_log:
            return answer(request, 404, {"status": 404, "message": "no logs"})
        records = self.inside(run, query)
        page, token = records[-PAGE:], str(uuid.uuid4())
        with self.lock:
            # Ready after some requests for the status.
            self.pages[token] = [self.chance.randrange(3), page]
        headers = {}
        if len(records) > PAGE:
            # Its second, and what is lost with the rest of the time.
            headers["X-Log-Next-Request-End-Time"] = iso(page[0][0])[:19] + "Z"
        answer(request, 206 if headers else 200, {"token": token, "size": len(page)}, headers)

    def status(self, request, token: str) -> None:
        with self.lock:
            page = self.pages.get(token)
            if page is None:
                return answer(request, 404, {"status": 404})
            page[0] -= 1
            is_ready = page[0] < 0
        said = {"status": "READY", "presignedURL": f"{self.url}/files/{token}?X-Signature=hidden"} if is_ready else {"status": "IN_PROGRESS"}
        answer(request, 200, said)

    def file(self, request, token: str) -> None:
        _, page = self.pages[token]
        body = json.dumps([{"logTimestamp": ms, "severity": "INFO", "logMessage": text} for ms, text in reversed(page)]).encode()
        request.send_response(200)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        with self.lock:
            is_cut = self.faults and self.chance.random() < 0.03
        if is_cut:
            self.counts["cut"] += 1
            body = body[:len(body) // 2]
            request.close_connection = True
        request.wfile.write(body)

    def components(self, request, run: Run, query: dict) -> None:
        items, limit, offset = run.components(), int(query.get("limit", 50)), int(query.get("offset", 0))
        if not 1 <= limit <= 200:
            return answer(request, 400, {"status": 400, "message": "limit out of bounds", "requestId": "r"})
        total, page = len(items), items[offset:offset + limit]
        with self.lock:
            fault = self.chance.random() if self.faults and total else 1
            self.counts["metrics"] += 1
            if fault < 0.1:
                self.counts["odd metrics"] += 1
        if fault < 0.04:
            # They change while they are read: one more, or the last of a page lost.
            total += 1
        elif fault < 0.1:
            page = page[:-1]
        if not items:
            message = f"Task execution with ID '{run.id}' not found."
            return answer(request, 404, {"status": 404, "message": message, "requestId": "r"})
        answer(request, 200, {
            "engine_id": "e", "workspace_id": WORKSPACE["id"], "task_id": run.task, "task_execution_id": run.id, "artifact_id": "a",
            "artifact_version": "0.1", "start_time": iso(run.triggered), "operator": "u", "operator_type": "HUMAN",
            "processes": [{"process_id": "j", "job_name": "Main", "pid": "p", "father_pid": "p", "root_pid": "p"}],
            "metrics": {"items": page, "limit": limit, "offset": offset, "total": total}})

    def live(self, request, run: Run, query: dict) -> None:
        if not run.has_log:
            return answer(request, 404, {"status": 404, "message": "no logs"})
        records, total = self.inside(run, query), run.records
        data = [{"logTimestamp": ms, "severity": "INFO", "logMessage": text} for ms, text in records[:int(float(query.get("count", 50)))]]
        answer(request, 200, {"data": data, "totalSize": total, "totalSizeFiltered": len(records), "count": len(data), "startIndex": 0})


def answer(request, status: int, body, headers: dict | None = None) -> None:
    content = json.dumps(body).encode()
    request.send_response(status)
    request.send_header("Content-Type", "application/json")
    request.send_header("Content-Length", str(len(content)))
    for name, value in (headers or {}).items():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(content)
