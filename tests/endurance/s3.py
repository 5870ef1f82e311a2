"""A bucket on loopback (moto), and a way to it that breaks when asked to."""

import http.client
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from harness import ask, free_port


class Bucket:
    """moto's S3 server with one bucket."""

    def __init__(self, folder: Path):
        self.port = free_port()
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        with open(folder / "moto.log", "wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        until = time.monotonic() + 60
        while ask(self.port, "PUT", "/logs")[0] != 200:
            assert time.monotonic() < until, (folder / "moto.log").read_text()
            time.sleep(0.2)
        self.environment = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1",
                            "AWS_ALLOW_HTTP": "true"}

    @property
    def url(self) -> str:
        return self.url_at(self.port)

    def url_at(self, port: int) -> str:
        return f"s3://logs/archive?endpoint=http://127.0.0.1:{port}&virtual_hosted_style_request=false"

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


class BadWay:
    """Passes requests on to a bucket, as well as `mode` says: good, 500, 503, hang, lost (the request is carried out and
    its answer lost), slow (the answer drips)."""

    def __init__(self, bucket: Bucket):
        self.mode, self.hurt = "good", 0
        way = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                mode = way.mode
                if mode != "good":
                    way.hurt += 1
                if mode in ("500", "503"):
                    self.send_response(int(mode))
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                if mode == "hang":
                    time.sleep(3)
                    self.close_connection = True
                    return
                connection = http.client.HTTPConnection("127.0.0.1", bucket.port, timeout=60)
                connection.request(self.command, self.path, body, dict(self.headers))
                answer = connection.getresponse()
                content = answer.read()
                connection.close()
                if mode == "lost":
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("transfer-encoding", "connection", "content-length", "server", "date"):
                        self.send_header(name, value)
                length = answer.getheader("Content-Length") if self.command == "HEAD" else len(content)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                if self.command != "HEAD":
                    if mode == "slow":
                        for start in range(0, len(content), 512):
                            self.wfile.write(content[start:start + 512])
                            time.sleep(0.02)
                    else:
                        self.wfile.write(content)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

            def log_message(self, *_: object) -> None:
                pass

            def handle(self) -> None:
                try:
                    super().handle()
                except OSError:
                    pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
