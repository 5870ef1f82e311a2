#!/usr/bin/env python3
"""Writes run logs as data-integration engines write them, as NDJSON that `runlog push` takes.

    generate.py --records N [--seed S]                        one run, to standard output
    generate.py --records N --runs K --folder F [--seed S]    K runs of several tasks: F/RUN.ndjson, and F/truth.ndjson
    generate.py --records N --calibrate [--seed S]            how like real logs they are

The same options give the same logs. What is in them:

- Components of Talend jobs, Spark, JDBC drivers, REST calls and file transfers; some hundred statements, of which few
  are frequent (a Zipf law). The runs of one task have the same statements and tables.
- Parameters: ids, UUIDs, hex, addresses, paths with dates, amounts, durations, SQL, JSON.
- Bursts and pauses, records with equal times, one in a thousand late (its time lies before its neighbours').
- One in 200 records carries a stack trace of 5 to 40 frames with causes.
- With --runs, every third run fails: its log ends with errors that wrap the cause. truth.ndjson names for each run its
  task, its status and the cause.
"""

import argparse
import itertools
import json
import random
import subprocess
import sys
import uuid
from pathlib import Path

FIRST_MS = 1_790_000_000_000
LATE_SHARE = 0.001
TRACE_SHARE = 0.005
STATEMENTS = 320

COMPONENTS = ["tDBInput", "tDBOutput", "tMap", "tFileInputDelimited", "tFileOutputParquet", "tRESTClient", "tSFTPPut",
              "tLogRow", "tAggregateRow", "tSalesforceInput", "tS3Put", "tJDBCRow", "tSortRow", "tUniqRow"]
NOUNS = ["orders", "customers", "invoices", "items", "payments", "stock", "prices", "shipments", "contracts", "regions",
         "accounts", "returns", "suppliers", "vouchers", "ledger", "employees", "products", "budgets", "leads", "claims"]
VERBS = ["read", "wrote", "rejected", "merged", "sorted", "looked up", "flushed", "skipped", "validated", "converted",
         "exported", "staged", "compared", "requested", "acknowledged", "buffered", "committed", "deduplicated"]
SPARK = ["DAGScheduler", "TaskSetManager", "MemoryStore", "BlockManagerInfo", "ShuffleBlockFetcherIterator", "Executor"]
NAMES = ["Anna", "Jean", "Maria", "Li", "Omar", "Sven", "Ines", "Paul", "Aiko", "Noor", "Elena", "Tom", "Ravi", "Zoe"]
SURNAMES = ["Martin", "Keller", "da Silva", "Wang", "Haddad", "Berg", "Rossi", "O'Neill", "Tanaka", "Singh", "Novak"]

# Exception, message and package of what fails at the root.
CAUSES = [
    ("java.sql.SQLSyntaxErrorException", "ORA-00942: table or view does not exist", "oracle.jdbc.driver.T4CTTIoer11"),
    ("org.postgresql.util.PSQLException", 'ERROR: duplicate key value violates unique constraint "{noun}_pkey"',
     "org.postgresql.core.v3.QueryExecutorImpl"),
    ("java.net.SocketTimeoutException", "Read timed out", "java.net.SocketInputStream"),
    ("java.net.UnknownHostException", "db-{noun}.example.com", "java.net.InetAddress"),
    ("java.io.IOException", "No space left on device", "java.io.FileOutputStream"),
    ("java.lang.OutOfMemoryError", "Java heap space", "java.util.Arrays"),
    ("javax.net.ssl.SSLHandshakeException", "PKIX path building failed: unable to find valid certification path",
     "sun.security.ssl.Alert"),
    ("com.microsoft.sqlserver.jdbc.SQLServerException", "Transaction (Process ID {n2}) was deadlocked on lock resources",
     "com.microsoft.sqlserver.jdbc.SQLServerStatement"),
    ("net.snowflake.client.jdbc.SnowflakeSQLException", "JWT token is invalid. [{uuid}]", "net.snowflake.client.core"),
    ("java.io.FileNotFoundException", "/data/in/{noun}_{date}.csv (No such file or directory)", "java.io.FileInputStream"),
]

# Shapes of statements: `{…}` in braces is drawn for each record, `«…»` once for each statement.
FORMS = [
    "«component»_«digit» - «verb» {n6} rows of «noun» in {ms} ms",
    "«component»_«digit» - «verb» «noun» batch {n5}, key {id}, amount {amount} EUR",
    "«component»_«digit» - connection to jdbc:postgresql://{host}:5432/«noun» took {ms} ms (pool {n2}/32, session {hex16})",
    "«component»_«digit» - executing: SELECT id, total FROM «noun»_eu WHERE id > {n9} AND day = '{date}' AND region = '{word}' LIMIT {n4}",
    "«component»_«digit» - INSERT INTO «noun» (id, customer, total) VALUES ({n9}, '{person}', {amount})",
    "«component»_«digit» - POST https://{host}/api/v2/«noun»/{n8}?trace={hex32} answered {status} in {ms} ms",
    "«component»_«digit» - file /data/«noun»/{date}/part-{n5}-{uuid}.csv «verb», {bytes} bytes, sha256 {hex32}",
    "«component»_«digit» - payload {{\"id\":{n9},\"customer\":\"{person}\",\"total\":{amount},\"ref\":\"{uuid}\"}}",
    "«spark»: Finished task {n4}.0 in stage {n3}.0 (TID {n7}) in {ms} ms on {ip} (executor {n2}) «verb» «noun»",
    "«spark»: Block broadcast_{n5}_piece{n1} stored as bytes in memory (estimated size {amount} KiB, free {amount} MiB) for «noun»",
    "«spark»: Removed rdd_{n4}_{n4} on {ip}:{port} from «noun» cache, {bytes} bytes, {hex8}",
    "«verb» «noun» of customer {person} with id {id} from {ip}:{port} at {date} {clock}",
    "Transfer of «noun»_{date}_{n6}.csv.gz to sftp://{host}/in/{uuid} «verb» {bytes} bytes at {amount} MB/s",
    "lookup of «noun» {id} in cache {hex8}: hit={bool}, age={n6}, size={n5}, node={host}",
    "request {uuid} for «noun» by user {user} «verb»: status={status}, duration={ms}ms, bytes={bytes}",
    "{n8}|{person}|{word}|{amount}|«noun»",
    "«component»_«digit» - «verb» {n5} rows of «noun»",
    "«component»_«digit» - «noun» batch {n6} «verb» in {ms} ms",
    "«spark»: Submitting {n2} missing tasks from ResultStage {n5} («noun»)",
    "«component»_«digit» - checkpoint of «noun» at offset {n8}",
]

# Statements without parameters, or with few different ones: their texts are repeated.
FIXED_FORMS = [
    "«component»_«digit» - all rows of «noun» were «verb», the connection to the database is returned to the pool",
    "«component»_«digit» - the schema of «noun» is unchanged since the last run, metadata of the catalog is reused",
    "«spark»: Registering «noun» as a temporary view, statistics are «verb» from the metastore",
    "«component»_«digit» - «noun» «verb»: {status}, retries are {bool}",
]
# One in so many statements is made from them.
FIXED_EVERY = 3


class Values:
    """Draws parameters of records."""

    def __init__(self, chance):
        self.chance = chance
        self.hosts = [f"{word}-{number}.{zone}.example.com" for word in ("db", "api", "edge", "node")
                      for number in range(12) for zone in ("eu", "us")]
        self.words = ["".join(chance.choices("abcdefghiklmnoprstuvz", k=chance.randint(4, 9))) for _ in range(400)]

    def draw(self, name):
        chance = self.chance
        if name[0] == "n" and name[1:].isdigit():
            return str(chance.randrange(10 ** int(name[1:])))
        if name.startswith("hex"):
            digits = int(name[3:])
            return f"{chance.getrandbits(4 * digits):0{digits}x}"
        return getattr(self, name)()

    def ms(self):
        return str(int(chance_log(self.chance, 1, 100_000)))

    def bytes(self):
        return str(int(chance_log(self.chance, 100, 10**9)))

    def amount(self):
        return f"{chance_log(self.chance, 1, 100_000):.2f}"

    def id(self):
        return "".join(self.chance.choices("ABCDEFGHJKLMNPQRSTUVWXYZ0123456789", k=10))

    def uuid(self):
        return str(uuid.UUID(int=self.chance.getrandbits(128), version=4))

    def ip(self):
        return f"10.{self.chance.randrange(4)}.{self.chance.randrange(256)}.{self.chance.randrange(256)}"

    def port(self):
        return str(self.chance.randrange(30_000, 61_000))

    def host(self):
        return self.chance.choice(self.hosts)

    def word(self):
        return self.chance.choice(self.words)

    def person(self):
        return f"{self.chance.choice(NAMES)} {self.chance.choice(SURNAMES)}"

    def user(self):
        return self.chance.choice(["etl", "talend", "svc_load", "batch"])

    def bool(self):
        return self.chance.choice(["true", "false"])

    def noun(self):
        return self.chance.choice(NOUNS)

    def status(self):
        return self.chance.choices(["200", "201", "204", "404", "429", "503"], [80, 8, 6, 3, 2, 1])[0]

    def date(self):
        return f"2026-{self.chance.randint(1, 12):02}-{self.chance.randint(1, 28):02}"

    def clock(self):
        return f"{self.chance.randrange(24):02}:{self.chance.randrange(60):02}:{self.chance.randrange(60):02}"


def chance_log(chance, low, high):
    """A number whose logarithm is evenly distributed."""
    return low * (high / low) ** chance.random()


def filled(text, values):
    """The text with each `{name}` drawn; doubled braces are braces."""
    pieces = []
    for piece in text.replace("{{", "\0").replace("}}", "\1").split("{"):
        name, closed, rest = piece.partition("}")
        pieces.append(values.draw(name) + rest if closed else piece)
    return "".join(pieces).replace("\0", "{").replace("\1", "}")


class Task:
    """A job: its statements with their weights and severities, the same in each of its runs."""

    def __init__(self, name, seed):
        self.name = name
        chance = random.Random(f"{seed} {name}")
        self.statements = []
        for rank in range(STATEMENTS):
            text = chance.choice(FIXED_FORMS if rank % FIXED_EVERY == 1 else FORMS)
            once = {"component": COMPONENTS, "noun": NOUNS, "verb": VERBS, "spark": SPARK, "digit": "123456789"}
            for key, options in once.items():
                text = text.replace(f"«{key}»", chance.choice(options))
            severity = chance.choices(["INFO", "DEBUG", "WARN"], [70, 25, 5])[0]
            self.statements.append((text, severity, text.split(" ", 1)[0].split("_")[0].strip(":{|")))
        self.weights = list(itertools.accumulate((rank + 2) ** -1.1 for rank in range(STATEMENTS)))


def trace(chance, values, cause):
    """A stack trace with its causes, the root last."""
    kind, message, package = cause
    job = f"demo.{values.noun()}_0_{chance.randrange(9)}"
    frames = lambda where, count: [
        f"\tat {where}.{chance.choice(['run', 'execute', 'process', 'call', 'read', 'invoke'])}"
        f"({where.rsplit('.', 1)[1]}.java:{chance.randrange(20, 4_000)})" for _ in range(count)]
    depth = chance.randint(5, 40)
    lines = [f"java.lang.RuntimeException: {values.noun()} could not be loaded", *frames(f"{job}.Job", depth // 3 + 1)]
    lines += [f"Caused by: {kind}: {filled(message, values)}", *frames(package, depth - depth // 3)]
    return "\n".join([*lines, f"\t... {depth // 3} more"])


def run_of(task, seed, number, records, cause=None):
    """The records of a run, in the order of arrival; with a cause it fails."""
    chance = random.Random(f"{seed} {task.name} {number}")
    values = Values(chance)
    now = FIRST_MS + number * 86_400_000
    ending = 4 if cause else 0
    burst = 0
    for statement in chance.choices(task.statements, cum_weights=task.weights, k=max(0, records - ending)):
        burst = burst - 1 if burst else (chance.randrange(200) if chance.random() < 0.01 else 0)
        now += chance.randrange(2) if burst else int(chance_log(chance, 1, 200))
        text, severity, logger = statement
        late = chance.randrange(1, 5_000) if chance.random() < LATE_SHARE else 0
        message = filled(text, values)
        if chance.random() < TRACE_SHARE:
            # Errors that good runs have as well.
            severity, message = "WARN", f"retry {chance.randint(1, 5)} after {message}\n{trace(chance, values, chance.choice(CAUSES))}"
        yield record(now - late, severity, logger, message)
    if cause:
        whole = trace(chance, values, cause)
        component = f"{chance.choice(COMPONENTS)}_1"
        yield record(now + 5, "ERROR", component, f"Exception in component {component} ({task.name})\n{whole}")
        yield record(now + 6, "ERROR", "tDie", "tDie_1 - the job ends with code 4")
        yield record(now + 6, "INFO", "Job", f"job {task.name} ended, return code 1")
        yield record(now + 7, "ERROR", "Engine", "Process exited with code 1")


def record(moment, severity, logger, message):
    return {"logTimestamp": moment, "severity": severity, "logType": "JOB", "logMessage": message, "bundleName": logger,
            "bundleVersion": "8.0.1", "podName": "remote-engine-0"}


def calibrate(records):
    """Prints what is compared with public logs."""
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    text = "\n".join(lines).encode()
    packed = subprocess.run(["zstd", "-3", "-c", "-q"], input=text, capture_output=True, check=True).stdout
    messages = [json.loads(line)["logMessage"] for line in lines]
    print(f"{len(lines):,} records, {len(text) / len(lines):.0f} bytes each")
    print(f"zstd -3 makes them {len(text) / len(packed):.1f} times smaller")
    print(f"{len(set(messages)) / len(messages):.0%} of the texts are different")
    print(f"{sum(chr(10) in message for message in messages) / len(messages):.2%} have a stack trace")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--calibrate", action="store_true")
    options = parser.parse_args()
    write = lambda out, records: out.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    if options.folder is None:
        records = run_of(Task("nightly-orders", options.seed), options.seed, 0, options.records)
        return calibrate(records) if options.calibrate else write(sys.stdout, records)
    options.folder.mkdir(parents=True, exist_ok=True)
    tasks = [Task(f"nightly-{noun}", options.seed) for noun in NOUNS[:5]]
    chance = random.Random(options.seed)
    with open(options.folder / "truth.ndjson", "w") as truth:
        for number in range(options.runs):
            task, run = tasks[number % len(tasks)], str(uuid.UUID(int=chance.getrandbits(128), version=4))
            cause = CAUSES[number // 3 % len(CAUSES)] if number % 3 == 2 else None
            with open(options.folder / f"{run}.ndjson", "w") as out:
                write(out, run_of(task, options.seed, number, options.records, cause))
            fields = {"run": run, "task": task.name, "status": "execution_failed" if cause else "execution_successful"}
            if cause:
                fields |= {"class": cause[0], "message": cause[1]}
            truth.write(json.dumps(fields) + "\n")


main()
