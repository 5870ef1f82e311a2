"""Reads an archive with a client of Loki: check.py RUNLOG RECORDS. See `run`."""

import json
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
import uuid

import requests
from loki_reader_core import LokiClient, LokiQueryError

ROOT = pathlib.Path(__file__).resolve().parents[2]
HOUR_MS = 3_600_000


class Service:
    """A running `runlog serve` with its own archive."""

    def __init__(self, runlog: str, folder: pathlib.Path):
        data = folder / "data"
        arguments = ["serve", "--data", str(data), "--listen", "127.0.0.1:0", "--requests-per-second", "0"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RUNLOG_")}
        self.log = (folder / "log").open("wb")
        self.process = subprocess.Popen([runlog, *arguments], stderr=self.log, env=environment)
        for _ in range(300):
            found = re.search(r"listens on (http://[0-9.:]+), archive in", (folder / "log").read_text())
            if found:
                break
            time.sleep(0.1)
        else:
            sys.exit(f"the service does not listen: {(folder / 'log').read_text()}")
        self.url = found[1]
        self.token = (data / "admin.token").read_text().strip()

    def send(self, method: str, path: str, body: bytes | dict | None = None) -> dict:
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        with urllib.request.urlopen(request) as answer:
            text = answer.read()
        return json.loads(text) if text else {}


def records(count: int, now_ms: int) -> list[dict]:
    random.seed(1)
    return [
        {
            "logTimestamp": now_ms - random.randrange(HOUR_MS),
            "severity": random.choice(["INFO", "INFO", "INFO", "WARN", "ERROR"]),
            "logMessage": random.choice([f"rows={number} took={number % 90}ms", f"Connection {number} timed out", f"plain {number}"]),
            "bundleName": random.choice(["tMap_1", "tDBInput_2"]),
        }
        for number in range(count)
    ]


def main(runlog: str, count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        service = Service(runlog, pathlib.Path(folder))
        try:
            check(service, count)
        finally:
            service.process.terminate()
            service.process.wait(30)


def check(service: Service, count: int) -> None:
    now_ms = int(time.time() * 1000)
    logged = records(count, now_ms)
    workspace = service.send("POST", "/runlog/v1/workspaces", {"name": "sales"})["id"]
    task = service.send("POST", "/runlog/v1/tasks", {"name": "nightly", "workspaceId": workspace})["executable"]
    for first in range(0, count, 5_000):
        run = str(uuid.uuid4())
        service.send("PUT", f"/runlog/v1/runs/{run}", {"taskId": task})
        lines = "".join(json.dumps(record) + "\n" for record in logged[first:first + 5_000])
        service.send("POST", f"/runlog/v1/runs/{run}/records", lines.encode())

    client = LokiClient(service.url)
    # The client only knows passwords.
    client._session = requests.Session()
    client._session.headers["Authorization"] = f"Bearer {service.token}"
    start, end = (now_ms - HOUR_MS) * 1_000_000, (now_ms + 1_000) * 1_000_000
    assert client.get_labels(start, end) == ["environment", "service_name", "severity", "status", "task", "workspace"]
    assert client.get_label_values("severity", start, end) == ["ERROR", "INFO", "WARN"]
    assert len(client.get_series(['{task="nightly"}'], start, end)) == 3

    def expected(fits, limit: int, newest: bool) -> list[tuple[int, str]]:
        found = sorted((record["logTimestamp"] * 1_000_000, record["logMessage"]) for record in logged if fits(record))
        return found[-limit:] if newest else found[:limit]

    queries = [
        ('{task="nightly"}', lambda record: True),
        ('{severity="ERROR"} |= "timed out"', lambda record: record["severity"] == "ERROR" and "timed out" in record["logMessage"]),
        ('{task="nightly"} | component = "tMap_1" | logfmt | took > 80ms',
         lambda record: record["bundleName"] == "tMap_1" and int((re.findall(r"took=(\d+)ms", record["logMessage"]) or [0])[0]) > 80),
    ]
    for query, fits in queries:
        for direction in ("backward", "forward"):
            begun = time.time()
            result = client.query_range(query, start, end, limit=1_000, direction=direction)
            took_ms = (time.time() - begun) * 1000
            found = sorted((entry.timestamp, entry.message) for stream in result.streams for entry in stream.entries)
            times = expected(fits, 1_000, direction == "backward")
            # Which of the records of one instant are within the limit is not determined.
            assert [one[0] for one in found] == [one[0] for one in times], (query, direction, len(found), len(times))
            assert set(found) <= set(expected(fits, count, True)), (query, direction)
            print(f"{took_ms:8.0f} ms  {len(found):5} records  {query} ({direction})")
    try:
        client.query_range('{task="nightly"} | nope', start, end)
        raise AssertionError("a query with an unknown stage is accepted")
    except LokiQueryError as error:
        assert "nope is not a stage" in str(error), error

    def ask(route: str, **parameters: object) -> dict:
        return service.send("GET", f"/loki/api/v1/{route}?{urllib.parse.urlencode(parameters)}")["data"]

    # What Grafana sends for the panels of the dashboard, with its variables filled in.
    filled = {"$workspace": ".+", "$task": ".+", "$text": "", "$__auto": "30s", "$__range": "1h"}
    dashboard = json.loads((ROOT / "deploy/grafana/logs.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            query = target["expr"]
            for name, value in filled.items():
                query = query.replace(name, value)
            begun = time.time()
            if target["queryType"] == "instant":
                data = ask("query", query=query, time=end)
            else:
                data = ask("query_range", query=query, start=start, end=end, step="30s", limit=1_000)
            took_ms = (time.time() - begun) * 1000
            print(f"{took_ms:8.0f} ms  {len(data['result']):5} series   {panel['title']}: {query}")
            if panel["title"] != "Errors of failed runs":
                assert data["result"], panel["title"]
            if panel["title"] == "Records by level":
                counted = sum(int(value) for series in data["result"] for _, value in series["values"])
                assert counted == count, (counted, count)
    # As much in SQL, for comparison.
    begun = time.time()
    service.send("POST", "/runlog/v1/sql", {"query": f"SELECT severity, count(*) FROM records WHERE task_id = '{task}' GROUP BY 1"})
    print(f"{(time.time() - begun) * 1000:8.0f} ms  records by severity in SQL")
    print("the client of Loki reads what was logged")


main(sys.argv[1], int(sys.argv[2]))
