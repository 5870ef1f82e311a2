#!/usr/bin/env python3
"""Runs a program in a terminal and types text: terminal.py PROGRAM ARGUMENT… with the steps on standard input, as JSON:
[[WAIT_FOR, TEXT], …].

Types each TEXT once WAIT_FOR has appeared since the previous step. Prints the whole output. With --any-end before the
program, its exit code is ignored."""

import json
import os
import pty
import select
import sys
import time

steps, shown, seen = json.load(sys.stdin), b"", 0
any_end = sys.argv[1] == "--any-end"
program = sys.argv[2:] if any_end else sys.argv[1:]
child, terminal = pty.fork()
if child == 0:
    os.execvp(program[0], program)


def text_shown() -> str:
    """The output as text; bytes that are not UTF-8 are escaped, so that no output is lost."""
    return shown.decode(errors="backslashreplace")


def read(until: float) -> bool:
    """Reads more output; false at the end."""
    global shown
    if not select.select([terminal], [], [], max(until - time.monotonic(), 0))[0]:
        sys.exit(f"this did not appear in time: {wait_for!r}\n{text_shown()}")
    try:
        more = os.read(terminal, 65536)
    except OSError:
        # Linux reports an error once the program has exited.
        more = b""
    shown += more
    return bool(more)


for wait_for, text in steps:
    while (at := shown.find(wait_for.encode(), seen)) < 0:
        if not read(time.monotonic() + 60):
            sys.exit(f"the program exited before this appeared: {wait_for!r}\n{text_shown()}")
    seen = at + len(wait_for.encode())
    os.write(terminal, text.encode())
wait_for = "the end"
while read(time.monotonic() + 60):
    pass
sys.stdout.buffer.write(text_shown().encode() + b"\n")
end = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
sys.exit(0 if any_end else end)
