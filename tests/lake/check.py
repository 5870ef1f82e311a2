"""Reads an archive as a lakehouse, with PyIceberg and DuckDB: check.py RUNLOG RUNS. See `run`."""

import datetime
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid

import boto3
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
COMPONENTS_PER_RUN = 3
VIEWS = {"runs": ["run_id"], "tasks": ["task_id"], "component_metrics": ["run_id", "position"]}
REGION = "us-east-1"


class Bucket:
    """The bucket `logs` of a server of S3 that verifies signatures, with the only key that it accepts."""

    def __init__(self, folder: pathlib.Path):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url, self.host = f"http://127.0.0.1:{port}", f"127.0.0.1:{port}"
        # So many requests are answered to anybody: those that make the bucket and the key.
        environment = os.environ | {"INITIAL_NO_AUTH_ACTION_COUNT": "4"}
        with (folder / "moto.log").open("wb") as log:
            command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        for _ in range(300):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        else:
            self.stop()
            sys.exit("moto does not answer")
        anybody = {"endpoint_url": self.url, "region_name": REGION, "aws_access_key_id": "a", "aws_secret_access_key": "a"}
        iam = boto3.client("iam", **anybody)
        iam.create_user(UserName="runlog")
        everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
        iam.put_user_policy(UserName="runlog", PolicyName="bucket", PolicyDocument=json.dumps(everything))
        key = iam.create_access_key(UserName="runlog")["AccessKey"]
        self.key_id, self.secret = key["AccessKeyId"], key["SecretAccessKey"]
        boto3.client("s3", **anybody).create_bucket(Bucket="logs")
        self.environment = {
            "AWS_ACCESS_KEY_ID": self.key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_REGION": REGION,
            "AWS_ALLOW_HTTP": "true",
        }
        self.properties = {
            "s3.endpoint": self.url,
            "s3.access-key-id": self.key_id,
            "s3.secret-access-key": self.secret,
            "s3.region": REGION,
        }

    def stop(self):
        self.process.kill()
        self.process.wait()


class Service:
    """A running `runlog serve --iceberg` with its own archive."""

    def __init__(self, runlog: str, folder: pathlib.Path, bucket: Bucket | None):
        self.runlog, self.data = runlog, folder / "data"
        arguments = ["serve", "--iceberg", "--data", str(self.data), "--listen", "127.0.0.1:0", "--settle", "0s"]
        arguments += ["--requests-per-second", "0", *(["--objects", f"s3://logs/archive?endpoint={bucket.url}"] if bucket else [])]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RUNLOG_")}
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([runlog, *arguments], stderr=log, env=kept | (bucket.environment if bucket else {}))
        for _ in range(300):
            found = re.search(r"listens on (http://[0-9.:]+), archive in", self.log.read_text())
            if found:
                break
            time.sleep(0.1)
        else:
            sys.exit(f"the service does not listen: {self.log.read_text()}")
        self.url = found[1]
        self.token = (self.data / "admin.token").read_text().strip()

    def send(self, method: str, path: str, body: bytes | dict | None = None, token: str | None = None):
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        headers = {"Authorization": f"Bearer {token or self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        with urllib.request.urlopen(request) as answer:
            text = answer.read()
        return json.loads(text) if text else {}

    def sql(self, query: str):
        return self.send("POST", "/runlog/v1/sql", {"query": query})

    def run(self, *arguments: str):
        """A command of the program, by the administrator."""
        environment = os.environ | {"RUNLOG_API_URL": self.url, "RUNLOG_TOKEN": self.token}
        subprocess.run([self.runlog, *arguments], env=environment, check=True, stdout=subprocess.DEVNULL)

    def stop(self):
        self.process.terminate()
        self.process.wait(30)
        log = self.log.read_text()
        assert "Signature" not in log and "AWS4-HMAC" not in log, "a signature is in the log"


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
    items = [
        {
            "pid": "p1",
            "connector_id": f"tDBOutput_{component}",
            "connector_type": "tDBOutput",
            "connector_label": name,
            "component_start_time_seconds": BASE_MS // 1000 + component,
            "component_connection_rows_total": component * 100,
        }
        for component in range(COMPONENTS_PER_RUN)
    ]
    process = {"process_id": "j", "job_name": name, "pid": "p1", "father_pid": "p0", "root_pid": "p0"}
    service.send("PUT", f"/runlog/v1/runs/{run}/component-metrics", {"processes": [process], "items": items})
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
    assert sorted(catalog.list_tables("sales")) == sorted(("sales", name) for name in ("records", *VIEWS))
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
    views_with_pyiceberg(service, catalog)
    try:
        catalog.load_table("nowhere.records")
        raise AssertionError("there is a table of a workspace that does not exist")
    except NoSuchTableError:
        pass


def views_with_pyiceberg(service: Service, catalog):
    """The tables of rows of the catalog have the rows, the columns and the values of SQL."""
    for name, key in VIEWS.items():
        # `runs` has the workspace by its name, and the others by its id alone.
        query = f"SELECT * FROM {name} WHERE workspace_id IN (SELECT workspace_id FROM tasks WHERE workspace_name = 'sales')"
        for _ in range(100):
            found = catalog.load_table(f"sales.{name}").scan().to_arrow()
            rows = by_key(found.to_pylist(), key)
            own = by_key([as_python(row, found.schema) for row in service.sql(query)], key)
            if rows == own:
                break
            # It is some seconds old.
            time.sleep(0.2)
        assert rows == own, (name, [(a, b) for a, b in zip(rows, own) if a != b][:1], len(rows), len(own))
        assert rows or name == "component_metrics"
        columns = [row["column_name"] for row in service.sql(f"DESCRIBE {name}")]
        assert found.column_names == columns, (found.column_names, columns)
    runs = catalog.load_table("sales.runs")
    total = runs.scan().to_arrow().num_rows
    assert runs.scan(row_filter=EqualTo("status", "execution_successful")).to_arrow().num_rows == total
    assert len(list(runs.scan(row_filter=EqualTo("task_name", "another")).plan_files())) == 0
    print(f"  PyIceberg: {total} runs, and the other tables, as in SQL")


def by_key(rows: list[dict], key: list[str]) -> list[dict]:
    return sorted(rows, key=lambda row: [row[name] for name in key])


def as_python(row: dict, schema) -> dict:
    """A row of SQL, in JSON, as PyArrow has it."""
    values = {}
    for field in schema:
        value = row.get(field.name)
        is_time = str(field.type).startswith("timestamp") and value is not None
        values[field.name] = datetime.datetime.fromisoformat(value) if is_time else value
    return values


def with_signatures(service: Service, bucket: Bucket, runs: dict[str, list[str]]):
    """PyIceberg without credentials for the bucket, with a service account that may read one of the two workspaces."""
    account = service.send("POST", "/account/service-accounts", {"name": "lakehouse"})
    service.run("admin", "rights", "grant", "--workspace", "sales", "--service-account", "lakehouse", "author", "viewer", "executor")
    assert not any(name.startswith(("AWS_ACCESS", "AWS_SECRET", "AWS_SESSION", "AWS_PROFILE")) for name in os.environ)
    catalog = load_catalog("signed", **{
        "type": "rest",
        "uri": f"{service.url}/iceberg",
        "credential": f"{account['id']}:{account['secret']}",
        "header.X-Iceberg-Access-Delegation": "remote-signing",
        "py-io-impl": "pyiceberg.io.fsspec.FsspecFileIO",
    })
    assert catalog.list_namespaces() == [("sales",)], catalog.list_namespaces()
    records = catalog.load_table("sales.records")
    assert "s3.access-key-id" not in records.io.properties and records.io.properties["s3.signer"] == "S3V4RestSigner"
    found = records.scan().to_arrow()
    assert found.num_rows == len(runs["sales"]) * PER_RUN, found.num_rows
    views_with_pyiceberg(service, catalog)

    form = f"grant_type=client_credentials&client_id={account['id']}&client_secret={account['secret']}".encode()
    asking = urllib.request.Request(f"{service.url}/iceberg/v1/oauth/tokens", data=form, headers={"Content-Type": "application/x-www-form-urlencoded"})
    with urllib.request.urlopen(asking) as answer:
        token = json.loads(answer.read())["access_token"]
    own = [task.file.file_path for task in records.scan().plan_files()]
    admin = load_catalog("admin", type="rest", uri=f"{service.url}/iceberg", token=service.token, **bucket.properties)
    others = [task.file.file_path for task in admin.load_table("payroll.records").scan().plan_files()]
    address = own[0].replace("s3://", f"{bucket.url}/")
    assert status_of(lambda: fetch(address)) != 200, "the bucket answers to anybody"
    signed = service.send("POST", "/iceberg/v1/aws/s3/sign", sign("GET", address), token)
    headers = {name: ", ".join(values) for name, values in signed["headers"].items()}
    assert fetch(signed["uri"], headers)[:4] == b"PAR1"
    refused = [("GET", other.replace("s3://", f"{bucket.url}/")) for other in others]
    refused += [(method, address) for method in ("PUT", "DELETE", "POST")]
    refused += [("GET", f"{address}{query}") for query in ("?acl", "?tagging", "?versionId=1", "?", "/", "x")]
    refused += [("GET", f"{bucket.url}/logs{path}") for path in ("", "/", "?list-type=2", "?list-type=2&prefix=archive/", "/archive/segments/x.parquet")]
    refused += [("GET", address.replace(bucket.host, host)) for host in ("example.com", f"{bucket.host}@example.com", "169.254.169.254")]
    for method, uri in refused:
        status = status_of(lambda: service.send("POST", "/iceberg/v1/aws/s3/sign", sign(method, uri), token))
        assert status == 403, (method, uri, status)

    # Nothing can be written or removed through the client either.
    for act in (
        lambda: records.io.delete(own[0]),
        lambda: records.io.new_output(f"{own[0]}.new").create().close(),
        lambda: records.append(found),
    ):
        try:
            act()
        except Exception as refusal:
            assert "SignError" in repr(refusal) or "403" in str(refusal) or "not allowed" in str(refusal), repr(refusal)
        else:
            raise AssertionError("the bucket was changed")
    assert catalog.load_table("sales.records").scan().to_arrow().num_rows == found.num_rows
    print(f"  PyIceberg with signatures: {found.num_rows} rows without credentials; {len(refused)} other requests are not signed")


def sign(method: str, uri: str) -> dict:
    return {"region": REGION, "method": method, "uri": uri, "headers": {}}


def fetch(url: str, headers: dict | None = None) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers or {})) as answer:
        return answer.read()


def status_of(act) -> int:
    try:
        act()
        return 200
    except urllib.error.HTTPError as error:
        return error.code


def with_duckdb(service: Service, bucket: Bucket | None, runs: dict[str, list[str]]):
    connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    for name in ("avro", "httpfs", "iceberg"):
        connection.load_extension(str(next(EXTENSIONS.rglob(f"{name}.duckdb_extension"))))
    if bucket:
        connection.execute(
            f"CREATE SECRET bucket (TYPE s3, KEY_ID '{bucket.key_id}', SECRET '{bucket.secret}', REGION '{REGION}', "
            f"ENDPOINT '{bucket.host}', URL_STYLE 'path', USE_SSL false)")
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
    # The tables are read together, as they are in SQL.
    query = ("SELECT r.task_name, r.status, count(DISTINCT r.run_id) AS runs, count(*) AS components, sum(m.rows_total) AS rows "
             "FROM {0}runs r JOIN {0}tasks t ON t.task_id = r.task_id JOIN {0}component_metrics m ON m.run_id = r.run_id "
             "WHERE t.workspace_name = 'sales' GROUP BY 1, 2")
    rows = connection.execute(query.format("runlog.sales.")).fetchall()
    own = service.sql(query.format(""))
    assert rows == [tuple(row.values()) for row in own], (rows, own)
    print(f"  DuckDB: {found}, {rows}")


def iso(ms: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(ms // 1000))


def components(service: Service, properties: dict) -> int:
    catalog = load_catalog("runlog", type="rest", uri=f"{service.url}/iceberg", token=service.token, **properties)
    return catalog.load_table("sales.component_metrics").scan().to_arrow().num_rows


def check(service: Service, bucket: Bucket | None, runs_count: int):
    properties = bucket.properties if bucket else {}
    runs = fill(service, runs_count)
    with_pyiceberg(service, properties, runs)
    with_duckdb(service, bucket, runs)
    if bucket:
        with_signatures(service, bucket, runs)

    # Engines no longer see a deleted log immediately after the deletion, and still see the others in its file.
    gone = runs["sales"].pop(3)
    before = components(service, properties)
    service.send("DELETE", f"/monitoring/executions/{gone}/logs")
    assert live_rows(service, "sales") == len(runs["sales"]) * PER_RUN
    assert components(service, properties) == before - COMPONENTS_PER_RUN
    with_pyiceberg(service, properties, runs)
    with_duckdb(service, bucket, runs)
    print("  a deleted log is gone")
    wait_until_sealed(service)
    with_pyiceberg(service, properties, runs)

    # Deleted rows stay deleted when the table gets further files: deletes apply to data that is not newer than they are.
    gone = runs["sales"].pop(2)
    service.send("DELETE", f"/monitoring/executions/{gone}/logs")
    assert live_rows(service, "sales") == len(runs["sales"]) * PER_RUN
    task = service.sql("SELECT task_id FROM runs WHERE workspace_name = 'sales'")[0]["task_id"]
    runs["sales"].append(add_run(service, task, "sales", len(runs["payroll"]) - 1))
    wait_until_sealed(service)
    with_pyiceberg(service, properties, runs)
    with_duckdb(service, bucket, runs)
    print("  and stays so")


def main(runlog: str, runs: int):
    # Clients must find no credentials but those of the test.
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ |= {"AWS_EC2_METADATA_DISABLED": "true", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_CONFIG_FILE": "/dev/null"}
    for kind in ("folder", "bucket"):
        print(kind)
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            bucket = Bucket(folder) if kind == "bucket" else None
            service = None
            try:
                service = Service(runlog, folder, bucket)
                check(service, bucket, runs)
            finally:
                if service:
                    service.stop()
                if bucket:
                    bucket.stop()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
