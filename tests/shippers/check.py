"""Sends logs with programs that others wrote, and compares what is stored: check.py RUNLOG WORK [PART...]. See `run`."""

import json
import logging
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid

TIMEOUT_S = 60


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait(what: str, attempt, timeout_s: float = TIMEOUT_S):
    end = time.time() + timeout_s
    while time.time() < end:
        found = attempt()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{what} has not come within {timeout_s} s")


class Service:
    """A running `runlog serve` that receives syslog; it can be killed and started again."""

    def __init__(self, runlog: str, folder: pathlib.Path):
        self.runlog, self.folder, self.data = runlog, folder, folder / "data"
        self.port, self.tcp, self.tls, self.udp = (free_port() for _ in range(4))
        self.url = f"http://127.0.0.1:{self.port}"
        (folder / "runlog.toml").write_text(
            f'[syslog]\ntcp = "127.0.0.1:{self.tcp}"\ntls = "127.0.0.1:{self.tls}"\nudp = "127.0.0.1:{self.udp}"\n'
            f'token = {{ file = "{self.data}/admin.token" }}\ncertificate = "{folder}/server.pem"\n'
            f'key = "{folder}/server.key"\nclient_authorities = "{folder}/ca.pem"\n'
        )
        make_certificates(folder)
        self.start()
        workspace = self.send("POST", "/runlog/v1/workspaces", {"name": "sales"})["id"]
        self.task = self.send("POST", "/runlog/v1/tasks", {"name": "nightly", "workspaceId": workspace})["executable"]

    def start(self) -> None:
        arguments = ["serve", "--data", str(self.data), "--listen", f"127.0.0.1:{self.port}", "--requests-per-second", "0"]
        arguments += ["--settings", str(self.folder / "runlog.toml"), "--settle", "0s"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RUNLOG_")}
        self.log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen([self.runlog, *arguments], stderr=self.log, env=environment)
        wait("the service", self.is_ready)
        self.token = (self.data / "admin.token").read_text().strip()

    def is_ready(self) -> bool:
        if self.process.poll() is not None:
            sys.exit(f"the service has ended: {(self.folder / 'log').read_text()}")
        try:
            return urllib.request.urlopen(f"{self.url}/readyz", timeout=5).status == 200
        except OSError:
            return False

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def send(self, method: str, path: str, body: dict | None = None):
        data = json.dumps(body).encode() if body is not None else None
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"{}")

    def messages(self, run: str) -> list[str]:
        environment = {**os.environ, "RUNLOG_API_URL": self.url, "RUNLOG_TOKEN": self.token}
        fetched = subprocess.run([self.runlog, "fetch", run, "--no-wait", "-o", "-"], env=environment, capture_output=True)
        return [json.loads(line).get("logMessage", "") for line in fetched.stdout.splitlines()]

    def metric(self, name: str) -> int:
        request = urllib.request.Request(f"{self.url}/metrics", headers={"Authorization": f"Bearer {self.token}"})
        text = urllib.request.urlopen(request, timeout=30).read().decode()
        return sum(int(float(line.rsplit(" ", 1)[1])) for line in text.splitlines() if line.startswith(name))


def make_certificates(folder: pathlib.Path) -> None:
    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test CA")
    for name in ["server", "client"]:
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", f"{name}.pem", "-extfile", "names")


class Rsyslog:
    """rsyslogd, which reads datagrams from a socket of its own and forwards them with an action."""

    def __init__(self, work: pathlib.Path, folder: pathlib.Path, action: str):
        self.folder, self.port = folder, free_port()
        folder.mkdir()
        root = work / "rsyslog"
        modules = root / "usr/lib/x86_64-linux-gnu/rsyslog"
        modules = next((path for path in (root / "usr/lib").glob("*/rsyslog") if path.is_dir()), modules)
        (folder / "rsyslog.conf").write_text(
            f'global(workDirectory="{folder}" maxMessageSize="64k" parser.escapeControlCharactersOnReceive="off")\n'
            f'module(load="imptcp")\ninput(type="imptcp" address="127.0.0.1" port="{self.port}")\n{action}\n'
        )
        libraries = ":".join(str(path) for path in root.glob("**/*-linux-gnu") if path.is_dir())
        self.command = [str(root / "usr/sbin/rsyslogd"), "-n", "-f", str(folder / "rsyslog.conf"), "-i", str(folder / "pid"), "-M", str(modules)]
        self.environment = {**os.environ, "LD_LIBRARY_PATH": libraries}
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, env=self.environment, stderr=(self.folder / "log").open("ab"))
        def is_open() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0
        wait("rsyslog", is_open)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(TIMEOUT_S)


class SyslogNg:
    def __init__(self, work: pathlib.Path, folder: pathlib.Path, destination: str):
        self.port = free_port()
        folder.mkdir()
        root = work / "syslog-ng"
        (folder / "syslog-ng.conf").write_text(
            f'@version: 3.38\nsource s {{ syslog(ip("127.0.0.1") port({self.port}) transport("tcp")); }};\n'
            f"destination d {{ {destination} }};\nlog {{ source(s); destination(d); flags(flow-control); }};\n"
        )
        libraries = [str(path) for path in root.glob("**/*-linux-gnu") if path.is_dir()]
        environment = {**os.environ, "LD_LIBRARY_PATH": ":".join([str(root / "usr/lib/syslog-ng"), *libraries])}
        modules = str(root / "usr/lib/syslog-ng/3.38")
        command = [str(root / "usr/sbin/syslog-ng"), "-F", "-f", str(folder / "syslog-ng.conf"), "--module-path", modules]
        command += ["--no-caps", "-p", str(folder / "pid"), "-c", str(folder / "ctl"), "-R", str(folder / "persist")]
        self.process = subprocess.Popen(command, env=environment, stderr=(folder / "log").open("ab"))
        self.folder = folder
        def is_open() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0
        wait("syslog-ng", is_open)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(TIMEOUT_S)


def message(service: Service, run: str, number: int) -> str:
    data = f'[runlog@32473 runId="{run}" taskId="{service.task}"]'
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{number % 1000:03}Z"
    return f"<14>1 {stamp} host app 7 - {data} message {number}"


def write(port: int, messages: list[str]) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall("".join(f"{len(text)} {text}" for text in messages).encode())
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass


def compare(service: Service, run: str, count: int, name: str) -> None:
    expected = {f"message {number}" for number in range(count)}
    found = wait(name, lambda: (lambda messages: messages if len(messages) >= count else None)(service.messages(run)))
    assert len(found) == count and set(found) == expected, (name, len(found), len(expected - set(found)), found[:2])
    print(f"{name}: {count} messages stored, each once", flush=True)


RFC5424 = 'template="RSYSLOG_SyslogProtocol23Format"'


def check_syslog(service: Service, work: pathlib.Path, folder: pathlib.Path) -> None:
    count = 5_000
    tls = (
        f'global(DefaultNetstreamDriverCAFile="{service.folder}/ca.pem" '
        f'DefaultNetstreamDriverCertFile="{service.folder}/client.pem" DefaultNetstreamDriverKeyFile="{service.folder}/client.key")\n'
    )
    rsyslogs = {
        "rsyslog over TCP, octet counting": f'*.* action(type="omfwd" target="127.0.0.1" port="{service.tcp}" protocol="tcp" {RFC5424} TCP_Framing="octet-counted")',
        "rsyslog over TCP, line breaks": f'*.* action(type="omfwd" target="127.0.0.1" port="{service.tcp}" protocol="tcp" {RFC5424})',
        "rsyslog over TLS with a client certificate": tls
        + f'*.* action(type="omfwd" target="127.0.0.1" port="{service.tls}" protocol="tcp" {RFC5424} TCP_Framing="octet-counted" '
        'StreamDriver="gtls" StreamDriverMode="1" StreamDriverAuthMode="x509/name" StreamDriverPermittedPeers="localhost")',
        "rsyslog over UDP": f'*.* action(type="omfwd" target="127.0.0.1" port="{service.udp}" protocol="udp" {RFC5424})',
    }
    for number, (name, action) in enumerate(rsyslogs.items()):
        run, daemon = str(uuid.uuid4()), Rsyslog(work, folder / f"rsyslog-{number}", action)
        try:
            # Datagrams are not slowed down by the receiver.
            of_name = 1_000 if "UDP" in name else count
            write(daemon.port, [message(service, run, index) for index in range(of_name)])
            compare(service, run, of_name, name)
        finally:
            daemon.stop()
    # Without a certificate, nothing is accepted.
    run = str(uuid.uuid4())
    action = f'global(DefaultNetstreamDriverCAFile="{service.folder}/ca.pem")\n*.* action(type="omfwd" target="127.0.0.1" port="{service.tls}" protocol="tcp" {RFC5424} StreamDriver="gtls" StreamDriverMode="1" StreamDriverAuthMode="anon")'
    daemon = Rsyslog(work, folder / "rsyslog-anonymous", action)
    try:
        write(daemon.port, [message(service, run, 0)])
        wait("a handshake that fails", lambda: service.metric('runlog_syslog_rejected_total{reason="handshake"') > 0)
        time.sleep(1)
        assert service.messages(run) == []
        print("rsyslog over TLS without a certificate: not accepted", flush=True)
    finally:
        daemon.stop()
    for number, (name, destination) in enumerate({
        "syslog-ng over TCP": f'syslog("127.0.0.1" port({service.tcp}) transport("tcp"));',
        "syslog-ng over TLS with a client certificate": f'syslog("localhost" port({service.tls}) transport("tls") tls(ca-file("{service.folder}/ca.pem") cert-file("{service.folder}/client.pem") key-file("{service.folder}/client.key")));',
        "syslog-ng over UDP": f'syslog("127.0.0.1" port({service.udp}) transport("udp"));',
    }.items()):
        run, daemon = str(uuid.uuid4()), SyslogNg(work, folder / f"syslog-ng-{number}", destination)
        try:
            of_name = 1_000 if "UDP" in name else count
            write(daemon.port, [message(service, run, index) for index in range(of_name)])
            compare(service, run, of_name, name)
        finally:
            daemon.stop()
    run = str(uuid.uuid4())
    for number, options in enumerate([["--tcp", "--octet-count", "--port", service.tcp], ["--tcp", "--port", service.tcp], ["--udp", "--port", service.udp]]):
        command = ["logger", "--server", "127.0.0.1", "--rfc5424", "--sd-id", "runlog@32473", "--sd-param", f'runId="{run}"']
        command += ["--sd-param", f'taskId="{service.task}"', *map(str, options), f"message {number}"]
        subprocess.run(command, check=True)
    compare(service, run, 3, "logger over TCP and UDP")


def check_kill(service: Service, work: pathlib.Path, folder: pathlib.Path) -> None:
    """Kills the service while rsyslog forwards with a queue on disk. What it had read and not stored may be lost."""
    count, run = 20_000, str(uuid.uuid4())
    action = (
        f'*.* action(type="omfwd" target="127.0.0.1" port="{service.tcp}" protocol="tcp" {RFC5424} TCP_Framing="octet-counted" '
        'queue.type="LinkedList" queue.filename="runlog" queue.maxDiskSpace="1g" queue.saveOnShutdown="on" queue.size="200000" '
        'action.resumeRetryCount="-1" action.resumeInterval="1")'
    )
    daemon = Rsyslog(work, folder / "rsyslog-kill", action)
    stored: set[str] = set()
    kills = 0
    try:
        for part in range(4):
            write(daemon.port, [message(service, run, number) for number in range(part * count // 4, (part + 1) * count // 4)])
            if part < 3:
                time.sleep(random.uniform(0.3, 1))
                stored |= set(service.messages(run))
                service.kill()
                kills += 1
                time.sleep(1)
                service.start()

        def settled() -> list[str] | None:
            before = service.messages(run)
            time.sleep(3)
            after = service.messages(run)
            return after if before and len(before) == len(after) else None

        found = wait("the last message", settled, 180)
    finally:
        daemon.stop()
    lost, repeated = count - len(set(found)), len(found) - len(set(found))
    print(f"killed {kills} times while rsyslog sent {count} messages: {lost} lost from buffers, {repeated} repeated", flush=True)
    assert stored and stored <= set(found), "what was stored is gone"
    last = {f"message {number}" for number in range(3 * count // 4, count)}
    assert last <= set(found), f"{len(last - set(found))} messages that were sent after the last restart are lost"
    # Stopped and started again, nothing is lost or repeated.
    run = str(uuid.uuid4())
    action = action.replace('filename="runlog"', 'filename="stop"')
    daemon = Rsyslog(work, folder / "rsyslog-stop", action)
    try:
        write(daemon.port, [message(service, run, number) for number in range(5_000)])
        wait("the first messages", lambda: service.messages(run))
        service.process.send_signal(signal.SIGTERM)
        service.process.wait(TIMEOUT_S)
        service.start()
        compare(service, run, 5_000, "rsyslog with a queue while the service is stopped and started")
    finally:
        daemon.stop()


def check_grpc(service: Service, work: pathlib.Path, _: pathlib.Path) -> None:
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
    from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
    from opentelemetry.sdk.resources import Resource
    import grpc

    count = 2_000
    for compression in [grpc.Compression.NoCompression, grpc.Compression.Gzip]:
        run = str(uuid.uuid4())
        provider = LoggerProvider(Resource({"runlog.run.id": run, "runlog.task.id": service.task}))
        exporter = OTLPLogExporter(endpoint=service.url, insecure=True, headers={"authorization": f"Bearer {service.token}"}, compression=compression)
        provider.add_log_record_processor(BatchLogRecordProcessor(exporter, max_queue_size=10_000))
        logger = logging.getLogger(run)
        logger.setLevel(logging.INFO)
        logger.propagate = False
        logger.addHandler(LoggingHandler(logger_provider=provider))
        for number in range(count):
            logger.info("message %d", number)
        provider.shutdown()
        compare(service, run, count, f"OpenTelemetry for Python over gRPC, {compression.name}")
    run = str(uuid.uuid4())
    command = ["node", "tests/shippers/export.mjs", str(work / "node"), service.url, service.token, run, service.task, str(count)]
    subprocess.run(command, check=True, timeout=TIMEOUT_S)
    compare(service, run, count, "OpenTelemetry for Node over gRPC, gzip")

    # Errors, as a client of gRPC sees them.
    from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
    from google.rpc import error_details_pb2, status_pb2

    channel = grpc.insecure_channel(f"127.0.0.1:{service.port}")
    stub = logs_service_pb2_grpc.LogsServiceStub(channel)

    def export(request, token: str):
        try:
            return stub.Export(request, metadata=[("authorization", f"Bearer {token}")], timeout=30)
        except grpc.RpcError as error:
            return error

    empty = logs_service_pb2.ExportLogsServiceRequest()
    assert not export(empty, service.token).HasField("partial_success")
    refused = export(empty, "wrong")
    assert refused.code() == grpc.StatusCode.UNAUTHENTICATED, refused
    assert "token" in refused.details(), refused.details()
    record = logs_service_pb2.ExportLogsServiceRequest()
    record.resource_logs.add().scope_logs.add().log_records.add().body.string_value = "no run"
    partial = export(record, service.token).partial_success
    assert partial.rejected_log_records == 1 and "runlog.run.id" in partial.error_message, partial
    objects = service.data / "objects"
    objects.rename(service.data / "away")
    objects.write_text("")
    try:
        one = logs_service_pb2.ExportLogsServiceRequest()
        logs = one.resource_logs.add()
        for key, value in {"runlog.run.id": str(uuid.uuid4()), "runlog.task.id": service.task}.items():
            logs.resource.attributes.add(key=key).value.string_value = value
        logs.scope_logs.add().log_records.add().body.string_value = "away"
        away = export(one, service.token)
        assert away.code() == grpc.StatusCode.UNAVAILABLE, away
        details = dict(away.trailing_metadata())["grpc-status-details-bin"]
        retry = error_details_pb2.RetryInfo()
        assert status_pb2.Status.FromString(details).details[0].Unpack(retry) and retry.retry_delay.seconds > 0
    finally:
        objects.unlink()
        (service.data / "away").rename(objects)
    print("errors over gRPC have their status, and RetryInfo if the call may be repeated", flush=True)


PARTS = {"syslog": check_syslog, "kill": check_kill, "grpc": check_grpc}


def main(runlog: str, work: str, *parts: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        service = Service(runlog, pathlib.Path(folder))
        try:
            for part in parts or PARTS:
                PARTS[part](service, pathlib.Path(work), pathlib.Path(folder))
        except BaseException:
            print((pathlib.Path(folder) / "log").read_text()[-3000:], file=sys.stderr)
            raise
        finally:
            service.kill()
    print("what shippers of others send is stored")


main(*sys.argv[1:])
