"""Reads an archive as a lakehouse, with PyIceberg and DuckDB: check.py RUNLOG RUNS. See `run`."""

import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid

import duckdb
import duckdb_ext
from pyiceberg.catalog import load_catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.expressions import And, EqualTo, GreaterThanOrEqual, LessThan

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXTENSIONS = pathlib.Path(next(iter(duckdb_ext.__path__)))
HOUR_MS = 3_600_000
BASE_MS = 1_795_392_000_000
PER_RUN = 50
OF_SALES = "records WHERE run_id IN (SELECT run_id FROM runs WHERE workspace_name = 'sales')"
BUCKET_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "engine",
    "AWS_SECRET_ACCESS_KEY": "engine-secret",
    "AWS_REGION": "us-east-1",
    "AWS_ALLOW_HTTP": "true",
}


class Service:
    """A running `runlog serve --iceberg` with its own archive."""

    def __init__(self, runlog: str, folder: pathlib.Path, objects: str | None):
        self.runlog, self.data = runlog, folder / "data"
        arguments = ["serve", "--iceberg", "--data", str(self.data), "--listen", "127.0.0.1:0", "--settle", "0s"]
        arguments += ["--requests-per-second", "0", *(["--objects", objects] if objects else [])]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RUNLOG_")}
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([runlog, *arguments], stderr=log, env=kept | BUCKET_ENVIRONMENT)
        for _ in range(300):
            found = re.search(r"listens on (http://[0-9.:]+), archive in", self.log.read_text())
            if found:
                break
            time.sleep(0.1)
        else:
            sys.exit(f"the service does not listen: {self.log.read_text()}")
        self.url = found[1]
        self.token = (self.data / "admin.token").read_text().strip()

    def send(self, method: str, path: str, body: bytes | dict | None = None):
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        with urllib.request.urlopen(request) as answer:
            text = answer.read()
        return json.loads(text) if text else {}

    def sql(self, query: str):
        return self.send("POST", "/runlog/v1/sql", {"query": query})

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


def add_run(service: Service, task: str, name: str, number: int) -> str:
    """A run of a task, as many hours after the first one as `number`; returns its id."""
    run = str(uuid.uuid4())
    service.send("PUT", f"/runlog/v1/runs/{run}", {"taskId": task})
    lines = [
        {
            "logTimestamp": BASE_MS + number * HOUR_MS + line,
            "severity": "ERROR" if line % 10 == 0 else "INFO",
            "logMessage": f"{name} run {number} wrote row {line}",
        }
        for line in range(PER_RUN)
    ]
    body = "".join(json.dumps(line) + "\n" for line in lines)
    service.send("POST", f"/runlog/v1/runs/{run}/records", body.encode())
    service.send("POST", f"/runlog/v1/runs/{run}/finish", {"status": "execution_successful"})
    return run


def fill(service: Service, runs: int) -> dict[str, list[str]]:
    """Runs of two workspaces, an hour apart; returns the ids of the runs by workspace."""
    made = {}
    for name in ("sales", "payroll"):
        workspace = service.send("POST", "/runlog/v1/workspaces", {"name": name})["id"]
        task = service.send("POST", "/runlog/v1/tasks", {"name": f"nightly-{name}", "workspaceId": workspace})["executable"]
        made[name] = []
        for number in range(runs):
            made[name].append(add_run(service, task, name, number))
            # Several files, so that there is something to skip.
            if number % 5 == 4:
                wait_until_sealed(service)
    wait_until_sealed(service)
    return made


def wait_until_sealed(service: Service):
    """Everything that has ended is sealed: each record of the archive is in a table."""
    names = [row["name"] for row in service.send("GET", "/runlog/v1/workspaces")]
    for _ in range(300):
        expected = {name: 0 for name in names}
        for row in service.sql("SELECT workspace_name AS name, sum(records) AS records FROM runs GROUP BY 1"):
            expected[row["name"]] = row["records"]
        if all(live_rows(service, name) == expected[name] for name in names):
            return
        time.sleep(0.1)
    sys.exit(f"the logs are not sealed: {expected}")


def table(service: Service, name: str) -> dict:
    prefix = service.send("GET", "/iceberg/v1/config")["overrides"]["prefix"]
    return service.send("GET", f"/iceberg/v1/{prefix}/namespaces/{name}/tables/records")


def live_rows(service: Service, name: str) -> int:
    summary = table(service, name)["metadata"]["snapshots"][0]["summary"]
    return int(summary["total-records"]) - int(summary["total-position-deletes"])


def with_pyiceberg(service: Service, properties: dict, runs: dict[str, list[str]]):
    catalog = load_catalog("runlog", type="rest", uri=f"{service.url}/iceberg", token=service.token, **properties)
    assert sorted(catalog.list_namespaces()) == [("payroll",), ("sales",)], catalog.list_namespaces()
    assert catalog.list_tables("sales") == [("sales", "records")]
    assert catalog.table_exists("sales.records") and not catalog.table_exists("sales.others")
    records = catalog.load_table("sales.records")
    found = records.scan().to_arrow()
    assert found.num_rows == len(runs["sales"]) * PER_RUN, found.num_rows
    assert set(found["run_id"].to_pylist()) == set(runs["sales"])
    assert set(found["task_name"].to_pylist()) == {"nightly-sales"}
    assert set(found["run_status"].to_pylist()) == {"execution_successful"}
    times = [int(time.timestamp() * 1000 + 0.5) for time in found["time"].to_pylist()]
    assert min(times) == BASE_MS and max(times) == BASE_MS + (len(runs["payroll"]) - 1) * HOUR_MS + PER_RUN - 1
    messages = {row["message"] for row in service.sql(f"SELECT message FROM {OF_SALES}")}
    assert set(found["message"].to_pylist()) == messages

    # Engines skip files by the bounds of their columns.
    all_files = len(list(records.scan().plan_files()))
    hour = f"{iso(BASE_MS + HOUR_MS)}", f"{iso(BASE_MS + 2 * HOUR_MS)}"
    one_hour = And(GreaterThanOrEqual("time", hour[0]), LessThan("time", hour[1]))
    some_files = len(list(records.scan(row_filter=one_hour).plan_files()))
    assert 0 < some_files < all_files, (some_files, all_files)
    assert records.scan(row_filter=one_hour).to_arrow().num_rows == PER_RUN
    assert len(list(records.scan(row_filter=EqualTo("task_name", "another")).plan_files())) == 0
    assert records.scan(row_filter=EqualTo("severity", "ERROR")).to_arrow().num_rows == len(runs["sales"]) * PER_RUN // 10
    print(f"  PyIceberg: {found.num_rows} rows of {all_files} files; of one hour, {some_files} files are read")
    try:
        catalog.load_table("nowhere.records")
        raise AssertionError("there is a table of a workspace that does not exist")
    except NoSuchTableError:
        pass


def with_duckdb(service: Service, bucket: str | None, runs: dict[str, list[str]]):
    connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    for name in ("avro", "httpfs", "iceberg"):
        connection.load_extension(str(next(EXTENSIONS.rglob(f"{name}.duckdb_extension"))))
    if bucket:
        host = bucket.removeprefix("http://")
        connection.execute(
            "CREATE SECRET bucket (TYPE s3, KEY_ID 'engine', SECRET 'engine-secret', REGION 'us-east-1', "
            f"ENDPOINT '{host}', URL_STYLE 'path', USE_SSL false)")
    connection.execute(f"CREATE SECRET runlog (TYPE iceberg, TOKEN '{service.token}')")
    environment = service.send("GET", "/orchestration/environments")[0]["name"]
    connection.execute(
        f"ATTACH '{environment}' AS runlog (TYPE iceberg, ENDPOINT '{service.url}/iceberg', SECRET runlog, "
        "SUPPORT_NESTED_NAMESPACES false, ACCESS_DELEGATION_MODE 'none')")
    query = ("SELECT severity, count(*) AS records, count(DISTINCT run_id) AS runs FROM {} GROUP BY severity ORDER BY severity")
    found = connection.execute(query.format("runlog.sales.records")).fetchall()
    # The same question to Runlog.
    own = service.sql(query.format(OF_SALES))
    assert found == [(row["severity"], row["records"], row["runs"]) for row in own], (found, own)
    hour = connection.execute(
        f"SELECT count(*) FROM runlog.sales.records WHERE time >= '{iso(BASE_MS)}' AND time < '{iso(BASE_MS + HOUR_MS)}'"
    ).fetchone()[0]
    assert hour == PER_RUN, hour
    print(f"  DuckDB: {found}")


def iso(ms: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(ms // 1000))


def check(service: Service, bucket: str | None, runs_count: int):
    properties = {}
    if bucket:
        properties = {
            "s3.endpoint": bucket,
            "s3.access-key-id": "engine",
            "s3.secret-access-key": "engine-secret",
            "s3.region": "us-east-1",
        }
    runs = fill(service, runs_count)
    with_pyiceberg(service, properties, runs)
    with_duckdb(service, bucket, runs)

    # A deleted log is gone for engines at once, and the others in its file stay.
    gone = runs["sales"].pop(3)
    service.send("DELETE", f"/monitoring/executions/{gone}/logs")
    assert live_rows(service, "sales") == len(runs["sales"]) * PER_RUN
    with_pyiceberg(service, properties, runs)
    with_duckdb(service, bucket, runs)
    print("  a deleted log is gone")
    wait_until_sealed(service)
    with_pyiceberg(service, properties, runs)

    # What was deleted stays so when the table gets further files: deletes apply to data that is not newer than they are.
    gone = runs["sales"].pop(2)
    service.send("DELETE", f"/monitoring/executions/{gone}/logs")
    assert live_rows(service, "sales") == len(runs["sales"]) * PER_RUN
    task = service.sql("SELECT task_id FROM runs WHERE workspace_name = 'sales'")[0]["task_id"]
    runs["sales"].append(add_run(service, task, "sales", len(runs["payroll"]) - 1))
    wait_until_sealed(service)
    with_pyiceberg(service, properties, runs)
    with_duckdb(service, bucket, runs)
    print("  and stays so")


def start_bucket(folder: pathlib.Path) -> tuple[subprocess.Popen, str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (folder / "moto.log").open("wb") as log:
        moto = subprocess.Popen([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    for _ in range(300):
        try:
            urllib.request.urlopen(urllib.request.Request(f"{url}/logs", method="PUT")).close()
            return moto, url
        except OSError:
            time.sleep(0.1)
    moto.kill()
    sys.exit("moto does not answer")


def main(runlog: str, runs: int):
    for kind in ("folder", "bucket"):
        print(kind)
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            moto, bucket = start_bucket(folder) if kind == "bucket" else (None, None)
            objects = f"s3://logs/archive?endpoint={bucket}" if bucket else None
            service = None
            try:
                service = Service(runlog, folder, objects)
                check(service, bucket, runs)
            finally:
                if service:
                    service.stop()
                if moto:
                    moto.kill()
                    moto.wait()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
