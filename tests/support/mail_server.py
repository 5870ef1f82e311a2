#!/usr/bin/env python3
"""A mail server that accepts only the commands of RFC 5321, in their order, from authenticated senders.

mail_server.py none|starttls|tls FOLDER    prints its port; writes each message to a file in the folder, named 1,
                                           2, …, and prints its number

With TLS, it uses FOLDER/cert.pem and FOLDER/key.pem, offers AUTH PLAIN and LOGIN once the connection is encrypted, and
accepts mail only from "runlog" with the password "open sesame". It knows the mailbox ops@example.com, and refuses
gone@example.com. It exits when its standard input is closed.
"""

import base64
import os
import socket
import ssl
import sys
import threading
from pathlib import Path

SECURITY, FOLDER = sys.argv[1], Path(sys.argv[2])
SENDER, MAILBOX, LOGIN = b"<runlog@example.com>", b"<ops@example.com>", ("runlog", "open sesame")
GONE = b"<gone@example.com>"


class Conversation:
    def __init__(self, connection: socket.socket) -> None:
        self.use(connection)
        self.is_protected = SECURITY == "tls"
        self.may_send = SECURITY == "none"

    def use(self, connection: socket.socket) -> None:
        self.connection, self.file = connection, connection.makefile("rb")

    def say(self, text: str) -> None:
        self.connection.sendall(text.encode() + b"\r\n")

    def line(self) -> bytes:
        line = self.file.readline()
        assert not line or line.endswith(b"\r\n"), f"a line ends with CR and LF: {line!r}"
        assert len(line) <= 1_000, "a line is too long"
        return line.removesuffix(b"\r\n")

    def answer(self, prompt: str) -> str:
        self.say(f"334 {base64.b64encode(prompt.encode()).decode()}")
        return base64.b64decode(self.line()).decode()

    def log_in(self, kind: str, first: bytes | None) -> None:
        if kind == "PLAIN":
            credentials = base64.b64decode(first).decode() if first else self.answer("")
            _, user, password = credentials.split("\0")
        else:
            user = base64.b64decode(first).decode() if first else self.answer("Username:")
            password = self.answer("Password:")
        self.may_send = (user, password) == LOGIN
        self.say("235 welcome" if self.may_send else "535 5.7.8 authentication failed")

    def message(self) -> None:
        self.say("354 go on")
        lines = []
        while (line := self.line()) != b".":
            lines.append(line.removeprefix(b"."))
        number = len([name for name in os.listdir(FOLDER) if name.isdigit()]) + 1
        (FOLDER / "new").write_bytes(b"\n".join(lines) + b"\n")
        (FOLDER / "new").rename(FOLDER / str(number))
        self.say("250 taken")
        print(number, flush=True)

    def run(self) -> None:
        self.say("220 mail.test ESMTP")
        greeted, sender, mailboxes = False, False, 0
        while line := self.line():
            words = line.split()
            match words[0].split(b":")[0].upper():
                case b"EHLO":
                    greeted = True
                    offers = ["mail.test", "8BITMIME"]
                    if SECURITY == "starttls" and not self.is_protected:
                        offers.append("STARTTLS")
                    if SECURITY != "none" and self.is_protected:
                        offers.append("AUTH PLAIN LOGIN")
                    for offer in offers[:-1]:
                        self.say(f"250-{offer}")
                    self.say(f"250 {offers[-1]}")
                case b"STARTTLS" if greeted and SECURITY == "starttls" and not self.is_protected:
                    self.say("220 go ahead")
                    self.use(tls().wrap_socket(self.connection, server_side=True))
                    # RFC 3207: the state before STARTTLS is discarded.
                    self.is_protected, greeted = True, False
                case b"AUTH" if greeted and self.is_protected:
                    self.log_in(words[1].decode().upper(), words[2] if len(words) > 2 else None)
                case b"MAIL" if greeted and not self.may_send:
                    self.say("530 5.7.0 authentication required")
                case b"MAIL" if greeted and not sender and SENDER in line:
                    sender = True
                    self.say("250 ok")
                case b"RCPT" if sender and GONE in line:
                    self.say("550 5.1.1 no such user")
                case b"RCPT" if sender and MAILBOX in line:
                    mailboxes += 1
                    self.say("250 ok")
                case b"DATA" if mailboxes:
                    self.message()
                    sender, mailboxes = False, 0
                case b"RSET" | b"NOOP":
                    self.say("250 ok")
                case b"QUIT":
                    return self.say("221 until next time")
                case _:
                    self.say("503 bad sequence of commands")


def tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(FOLDER / "cert.pem", FOLDER / "key.pem")
    return context


def converse(connection: socket.socket) -> None:
    try:
        with connection:
            if SECURITY == "tls":
                connection = tls().wrap_socket(connection, server_side=True)
            Conversation(connection).run()
    except (ssl.SSLError, ConnectionError):
        # Clients that do not trust the certificate disconnect.
        pass


def serve(listener: socket.socket) -> None:
    while True:
        threading.Thread(target=converse, args=(listener.accept()[0],), daemon=True).start()


LISTENER = socket.create_server(("127.0.0.1", 0))
print(LISTENER.getsockname()[1], flush=True)
threading.Thread(target=serve, args=(LISTENER,), daemon=True).start()
sys.stdin.read()
