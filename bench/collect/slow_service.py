"""A service that is as slow as Talend Cloud: it takes 50 ms to respond and 1 to 3 s to build a page, and limits the
requests of each group of its API: 600 per minute and 10 per second for monitoring, 1,800 and 30 for the others.

Serves the runs of one task with logs of the given sizes, on the loopback interface."""

import collections
import http.server
import json
import random
import threading
import time
import urllib.parse
import uuid

PAGE, ANSWER_SECONDS = 100_000, 0.05
# Requests in any second, and in any minute.
LIMITS, LIMITS_OF_OTHERS = {"monitoring": {1: 10, 60: 600}}, {1: 30, 60: 1_800}
FIRST_MS, STEP_MS = 1_790_000_000_010, 10
ENVIRONMENT = {"id": "a" * 24, "name": "bench", "default": True}
WORKSPACE = {"id": "b" * 24, "name": "bench", "owner": "o", "type": "shared", "environment": ENVIRONMENT}


def iso(ms: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms / 1000)) + f".{ms % 1000:03d}Z"


class Service:
    def __init__(self, task: str, logs: list[int], seed: int):
        self.task, self.chance, self.lock = task, random.Random(seed), threading.Lock()
        now = int(time.time() * 1000)
        self.runs = {str(uuid.UUID(int=self.chance.getrandbits(128), version=4)): (records, now - 3_600_000 - number)
                     for number, records in enumerate(logs)}
        self.pages: dict[str, tuple[float, int, int]] = {}
        self.recent: dict[str, collections.deque[float]] = collections.defaultdict(collections.deque)
        self.bodies: dict[tuple[int, int], bytes] = {}
        self.requests = self.limited = 0
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Sends head and body together. Otherwise, the body would wait until the head is acknowledged.
            wbufsize = 1 << 16

            def do_GET(self) -> None:
                service.handle(self, b"")

            def do_POST(self) -> None:
                service.handle(self, self.rfile.read(int(self.headers.get("Content-Length") or 0)))

            def log_message(self, *_) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def body(self, first: int, last: int) -> bytes:
        """Records first to last, newest first."""
        if (first, last) not in self.bodies:
            lines = (f'{{"logTimestamp":{FIRST_MS + row * STEP_MS},"severity":"INFO","logType":"JOB","logMessage":'
                     f'"row {row} was read, looked up, and written to where it belongs, as were those before it"}}'
                     for row in range(last - 1, first - 1, -1))
            self.bodies[first, last] = ("[" + ",\n".join(lines) + "]").encode()
        return self.bodies[first, last]

    def handle(self, request, body: bytes) -> None:
        url = urllib.parse.urlsplit(request.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        parts = url.path.strip("/").split("/")
        if parts[0] == "files":
            _, first, last = self.pages[parts[1]]
            return self.answer(request, 200, self.body(first, last))
        with self.lock:
            now = time.monotonic()
            self.requests += 1
            recent = self.recent[parts[0]]
            while recent and recent[0] < now - 60:
                recent.popleft()
            limits = LIMITS.get(parts[0], LIMITS_OF_OTHERS)
            is_limited = any(len(recent) >= most and recent[-most] > now - seconds for seconds, most in limits.items())
            if is_limited:
                self.limited += 1
            else:
                recent.append(now)
        if is_limited:
            return self.answer(request, 429, {"status": 429})
        time.sleep(ANSWER_SECONDS)
        match request.command, parts:
            case "GET", ["orchestration", "executables", "tasks"]:
                item = {"executable": self.task, "name": "bench", "workspace": WORKSPACE}
                self.answer(request, 200, {"items": [item], "limit": 100, "offset": 0, "total": 1})
            case "GET", ["processing", "executables", "tasks", *_, "executions"]:
                offset, limit = int(query.get("offset", 0)), int(query.get("limit", 100))
                items = [self.execution(run) for run in list(self.runs)[offset:offset + limit]]
                self.answer(request, 200, {"items": items, "limit": limit, "offset": offset, "total": len(self.runs)})
            case "GET", ["processing", "executions", run]:
                self.answer(request, 200, self.execution(run))
            case "POST", ["monitoring", "executions", run, "logs"]:
                first, last = self.row_range(run, query)
                start, token = max(first, last - PAGE), str(uuid.uuid4())
                with self.lock:
                    self.pages[token] = (time.monotonic() + self.chance.uniform(1, 3), start, last)
                headers = {"X-Log-Next-Request-End-Time": iso(FIRST_MS + (start - 1) * STEP_MS)} if start > first else {}
                self.answer(request, 206 if headers else 200, {"token": token, "size": last - start}, headers)
            case "POST", ["monitoring", "executions", _, "logs", "status"]:
                token = body.decode().strip('"')
                is_ready = time.monotonic() >= self.pages[token][0]
                ready = {"status": "READY", "presignedURL": f"{self.url}/files/{token}"}
                self.answer(request, 200, ready if is_ready else {"status": "IN_PROGRESS"})
            case "GET", ["monitoring", "executions", run, "logs"]:
                first, last = self.row_range(run, query)
                row = last - 1 - int(float(query.get("startIndex", 0)))
                data = [{"logTimestamp": FIRST_MS + row * STEP_MS, "logMessage": ""}] if row >= first else []
                self.answer(request, 200, {"data": data, "totalSize": self.runs[run][0], "totalSizeFiltered": last - first,
                                           "count": len(data), "startIndex": 0})
            case _:
                self.answer(request, 404, {"status": 404})

    def row_range(self, run: str, query: dict) -> tuple[int, int]:
        import datetime

        def millis(name: str) -> int:
            return round(datetime.datetime.fromisoformat(query[name].replace("Z", "+00:00")).timestamp() * 1000)

        records = self.runs[run][0]
        first = max(0, -((FIRST_MS - millis("startTime")) // STEP_MS)) if "startTime" in query else 0
        last = min(records, (millis("endTime") - FIRST_MS) // STEP_MS + 1) if "endTime" in query else records
        return first, max(last, first)

    def execution(self, run: str) -> dict:
        ended = self.runs[run][1]
        return {"executionId": run, "taskId": self.task, "taskVersion": "1.0", "executionType": "MANUAL", "userId": "u",
                "userType": "HUMAN", "status": "execution_successful", "executionStatus": "EXECUTION_SUCCESS",
                "triggerTimestamp": iso(ended - 2000), "startTimestamp": iso(ended - 2000), "finishTimestamp": iso(ended)}

    def answer(self, request, status: int, body, headers: dict | None = None) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(content)))
        for name, value in (headers or {}).items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(content)
