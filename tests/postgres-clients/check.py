"""Reads an archive with clients of PostgreSQL: check.py RUNLOG NODE_FOLDER. See `run`."""

import asyncio
import datetime
import glob
import json
import os
import pathlib
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

import adbc_driver_postgresql.dbapi
import asyncpg
import pg8000.dbapi
import pg8000.native
import psycopg
import sqlalchemy

HERE = pathlib.Path(__file__).resolve().parent
RUN = "00000000-0000-4000-8000-000000000001"
RECORDS = 3_000
TABLES = ["component_metrics", "deliveries", "plan_executions", "plan_steps", "problems", "records", "runs", "tasks", "tenant_audit_logs"]
SLOW = "SELECT max(a + b) FROM generate_series(1, 1000000) AS a, generate_series(1, 1000000) AS b"


def expect(found, expected, what):
    if found != expected:
        sys.exit(f"{what}: {found!r}, and not {expected!r}")


class Service:
    """A running `runlog serve` with its own archive, in which there is one run."""

    def __init__(self, runlog: str, folder: pathlib.Path):
        self.runlog, self.folder = runlog, folder
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("RUNLOG_")}
        data = folder / "data"
        arguments = ["serve", "--data", data, "--listen", "127.0.0.1:0", "--sql-listen", "127.0.0.1:0", "--settle", "0s"]
        self.log = (folder / "log").open("wb")
        self.process = subprocess.Popen([runlog, *arguments], stderr=self.log, env=self.environment)
        for _ in range(300):
            said = (folder / "log").read_text()
            found = re.search(r"listens on (http://[0-9.:]+), archive in", said)
            if found:
                break
            time.sleep(0.1)
        else:
            sys.exit(f"the service does not listen: {said}")
        self.port = int(re.search(r"clients of PostgreSQL connect to [0-9.]+:(\d+)", said)[1])
        self.token = (data / "admin.token").read_text().strip()
        self.environment |= {"RUNLOG_API_URL": found[1], "RUNLOG_TOKEN": self.token}
        self.fill()

    def ask(self, *arguments: str) -> dict:
        output = subprocess.run([self.runlog, *arguments], env=self.environment, check=True, capture_output=True).stdout
        return json.loads(output)

    def fill(self):
        self.ask("admin", "environments", "create", "test", "--json")
        workspace = self.ask("admin", "workspaces", "create", "test", "--environment", "test", "--json")["id"]
        task = self.ask("admin", "tasks", "create", "test", "--workspace", workspace, "--json")["executable"]
        log = self.folder / "log.ndjson"
        line = lambda at: {"logTimestamp": 1_000 * at, "severity": "ERROR" if at % 10 == 0 else "INFO", "logMessage": f"line {at}"}
        log.write_text("".join(json.dumps(line(at)) + "\n" for at in range(RECORDS)))
        push = [self.runlog, "push", RUN, log, "--task", task, "--finish", "execution_failed"]
        subprocess.run(push, env=self.environment, check=True, capture_output=True)

    def url(self, scheme: str = "postgresql") -> str:
        return f"{scheme}://reader:{self.token}@127.0.0.1:{self.port}/runlog"


def check_psycopg(service: Service):
    connection = psycopg.connect(service.url(), autocommit=True)
    count = "SELECT count(*) FROM records WHERE severity = %s AND arrival < %s"
    expect(connection.execute(count, ("ERROR", 500)).fetchone(), (50,), "parameters")
    second = datetime.datetime(1970, 1, 1, 0, 0, 7, tzinfo=datetime.timezone.utc)
    values = "SELECT time, arrival, 1.5::float8, 'a', ARRAY['x', 'y z'], now() - now(), true, NULL, DATE '2026-01-02' FROM records WHERE arrival = %b"
    expected = (second, 7, 1.5, "a", ["x", "y z"], datetime.timedelta(0), True, None, datetime.date(2026, 1, 2))
    for is_binary in [False, True]:
        expect(connection.cursor(binary=is_binary).execute(values, (7,)).fetchone(), expected, "values")
    expect(connection.execute("SELECT status FROM runs WHERE run_id = ANY(%s)", ([RUN],)).fetchall(), [("execution_failed",)], "arrays")
    expect(connection.execute("SELECT count(*) FROM records WHERE time >= %s", (second,)).fetchone(), (RECORDS - 7,), "times")
    connection.autocommit = False
    with connection.cursor(name="parts") as cursor:
        cursor.itersize = 100
        cursor.execute("SELECT arrival FROM records ORDER BY arrival")
        expect([row[0] for row in cursor], list(range(RECORDS)), "a cursor")
    connection.rollback()
    with connection.transaction(), connection.transaction():
        expect(connection.execute("SELECT 1").fetchone(), (1,), "a savepoint")
    for statement, error in [("SELECT nope", psycopg.errors.UndefinedColumn), ("SELECT 1", psycopg.errors.InFailedSqlTransaction)]:
        try:
            connection.execute(statement)
            sys.exit(f"{statement} succeeded")
        except error:
            pass
    connection.rollback()
    with connection.cursor().copy("COPY (SELECT severity, arrival FROM records ORDER BY arrival LIMIT 2) TO STDOUT (FORMAT BINARY)") as copy:
        copy.set_types(["text", "int8"])
        expect(list(copy.rows()), [("ERROR", 0), ("INFO", 1)], "COPY")
    connection.rollback()
    with connection.pipeline():
        cursors = [connection.execute("SELECT %s::int8 + 1", (number,)) for number in range(5)]
        expect([cursor.fetchone()[0] for cursor in cursors], [1, 2, 3, 4, 5], "a pipeline")
    try:
        connection.execute("DELETE FROM runs")
        sys.exit("runs were deleted")
    except psycopg.errors.ReadOnlySqlTransaction:
        pass
    connection.close()


def check_sqlalchemy(service: Service):
    engine = sqlalchemy.create_engine(service.url("postgresql+psycopg"))
    found = sqlalchemy.inspect(engine)
    expect(sorted(found.get_table_names()), TABLES, "table names")
    columns = {column["name"]: (str(column["type"]), column["nullable"]) for column in found.get_columns("runs")}
    expect(columns["run_id"], ("TEXT", False), "the type of run_id")
    expect(columns["duration_ms"], ("BIGINT", True), "the type of duration_ms")
    expect(columns["triggered_at"][0], "TIMESTAMP", "the type of triggered_at")
    expect(found.get_pk_constraint("runs")["constrained_columns"], [], "primary keys")
    expect([found.get_foreign_keys("runs"), found.get_indexes("runs"), found.get_view_names()], [[], [], []], "nothing else")
    records = sqlalchemy.Table("records", sqlalchemy.MetaData(), autoload_with=engine)
    by_severity = sqlalchemy.select(records.c.severity, sqlalchemy.func.count()).group_by(records.c.severity)
    with engine.connect() as connection:
        rows = connection.execute(by_severity.where(records.c.arrival < 100).order_by(records.c.severity)).fetchall()
        expect([tuple(row) for row in rows], [("ERROR", 10), ("INFO", 90)], "a query of SQLAlchemy")
    engine.dispose()


async def check_asyncpg(service: Service):
    connection = await asyncpg.connect(service.url())
    rows = await connection.fetch("SELECT severity, count(*) FROM records WHERE arrival < $1 GROUP BY 1 ORDER BY 1", 100)
    expect([tuple(row) for row in rows], [("ERROR", 10), ("INFO", 90)], "a query of asyncpg")
    expect(await connection.fetchval("SELECT $1::int + 1", 41), 42, "a cast parameter")
    expect(await connection.fetchval("SELECT count(*) FROM runs WHERE run_id = ANY($1)", [RUN, "x"]), 1, "an array")
    async with connection.transaction(readonly=True):
        numbers = [row["arrival"] async for row in connection.cursor("SELECT arrival FROM records ORDER BY 1", prefetch=70)]
        expect(numbers, list(range(RECORDS)), "a cursor of asyncpg")
    try:
        await asyncio.wait_for(connection.fetchval(SLOW), 1)
        sys.exit("a slow query was not cancelled")
    except asyncio.TimeoutError:
        pass
    expect(await connection.fetchval("SELECT 1"), 1, "a query after one that was cancelled")
    try:
        await asyncio.wait_for(connection.fetch("SELECT nope"), 20)
        sys.exit("a column that is not there was found")
    except asyncpg.UndefinedColumnError:
        pass
    await connection.close()
    # Connections of a pool are reset when they are given back.
    async with asyncpg.create_pool(service.url(), min_size=1, max_size=1) as pool:
        for _ in range(2):
            async with pool.acquire() as connection:
                expect(await connection.fetchval("SELECT count(*) FROM runs"), 1, "a pool")


def check_adbc(service: Service):
    with adbc_driver_postgresql.dbapi.connect(service.url(), autocommit=True) as connection, connection.cursor() as cursor:
        # By COPY, in binary.
        cursor.execute("SELECT severity, arrival, time FROM records ORDER BY arrival LIMIT 1")
        table = cursor.fetch_arrow_table().to_pylist()
        first = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
        expect([(row["severity"], row["arrival"], row["time"].timestamp()) for row in table], [("ERROR", 0, first.timestamp())], "Arrow")
        cursor.execute("SELECT count(*) FROM records")
        expect(cursor.fetchall(), [(RECORDS,)], "a query of ADBC")


def check_pg8000(service: Service):
    account = {"host": "127.0.0.1", "port": service.port, "database": "runlog", "password": service.token}
    connection = pg8000.native.Connection("reader", **account)
    count = "SELECT count(*) FROM records WHERE severity = :severity AND arrival < :below"
    expect(connection.run(count, severity="ERROR", below=500), [[50]], "parameters of pg8000")
    values = "SELECT 1.5::float8, ARRAY['x', 'y z'], NULL, DATE '2026-01-02', INTERVAL '1 day 2 hours', '\\x6869'::bytea, ARRAY[1, 2]"
    expected = [1.5, ["x", "y z"], None, datetime.date(2026, 1, 2), datetime.timedelta(days=1, hours=2), b"hi", [1, 2]]
    expect(connection.run(values), [expected], "values of pg8000")
    expect(connection.run("SELECT status FROM runs WHERE run_id = ANY(:ids)", ids=[RUN, "x"]), [["execution_failed"]], "an array of pg8000")
    prepared = connection.prepare("SELECT :number::bigint * 2")
    expect([prepared.run(number=4), prepared.run(number=5)], [[[8]], [[10]]], "a prepared statement of pg8000")
    prepared.close()

    def code(statement: str) -> str:
        try:
            connection.run(statement)
        except pg8000.native.DatabaseError as error:
            return error.args[0]["C"]
        return "00000"

    statements = ["START TRANSACTION", "SELECT nope", "SELECT 1", "ROLLBACK", "SELECT 1", "DELETE FROM runs"]
    expect([code(statement) for statement in statements], ["00000", "42703", "25P02", "00000", "00000", "25006"], "errors of pg8000")
    # The driver has no call that cancels: the request has its own connection, and the key of the session.
    cancel = struct.pack("!II", 16, 80877102) + connection._backend_key_data
    later = threading.Timer(1, lambda: socket.create_connection(("127.0.0.1", service.port)).sendall(cancel))
    later.start()
    expect([code(SLOW), code("SELECT 1")], ["57014", "00000"], "a query of pg8000 that is cancelled")
    later.join()
    connection.close()
    with pg8000.dbapi.connect("reader", **account) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT arrival FROM records WHERE arrival < %s ORDER BY arrival", (5,))
        expect([cursor.fetchmany(2), cursor.fetchone(), cursor.rowcount], [([0], [1]), [2], 5], "a cursor of pg8000")


def check_node(service: Service, folder: str):
    environment = service.environment | {"NODE_PATH": f"{folder}/node_modules", "URL": service.url()}
    script = HERE / "check.cjs"
    subprocess.run(["node", script], env=environment, check=True)


def check_jdbc(service: Service):
    drivers = glob.glob("/usr/share/java/postgresql.jar") or glob.glob("/usr/share/java/postgresql-jdbc*.jar")
    if not drivers or not shutil.which("javac"):
        if os.environ.get("CI"):
            sys.exit("pgjdbc or Java is not installed: run .ci/setup clients")
        print("NOT RUN: pgjdbc, which is not installed, or Java is not")
        return
    output = service.folder / "java"
    subprocess.run(["javac", "-d", output, HERE / "Check.java"], check=True)
    environment = service.environment | {"URL": f"jdbc:postgresql://127.0.0.1:{service.port}/runlog"}
    subprocess.run(["java", "-cp", f"{output}:{drivers[0]}", "Check"], env=environment, check=True)


def check_queries(service: Service):
    """What tools without a driver of their own ask for: Grafana, Npgsql (Power BI), Metabase."""
    connection = psycopg.connect(service.url(), autocommit=True)
    for number, query in enumerate((HERE / "queries.sql").read_text().split(";\n")):
        lines = [line for line in query.splitlines() if line and not line.startswith("--")]
        if lines:
            try:
                rows = connection.execute("\n".join(lines).replace("%", "%%"), ()).fetchall()
            except psycopg.Error as error:
                sys.exit(f"query {number + 1}: {error}")
            wanted = re.search(r"-- rows: (\d+)", query)
            if wanted:
                expect(len(rows), int(wanted[1]), f"the rows of query {number + 1}")
    connection.close()


def main():
    runlog, node = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        service = Service(str(pathlib.Path(runlog).resolve()), pathlib.Path(folder))
        try:
            check_psycopg(service)
            check_sqlalchemy(service)
            asyncio.run(check_asyncpg(service))
            check_adbc(service)
            check_pg8000(service)
            check_node(service, str(pathlib.Path(node).resolve()))
            check_jdbc(service)
            check_queries(service)
        finally:
            service.process.terminate()
            service.process.wait()
    print("psycopg, SQLAlchemy, asyncpg, ADBC, pg8000, pg for Node and the queries of tools work")


main()
