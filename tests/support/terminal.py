#!/usr/bin/env python3
"""Types at a terminal: terminal.py PROGRAM ARGUMENT… with steps on standard input, [[WAIT_FOR, TYPE], …] as JSON.

Each text is typed when what is waited for has been shown since the step before. Prints all that was shown. With --any-end
before the program it does not matter how that ends."""

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
    """Bytes that are no text in the notation of Python, for nothing of them is to be overlooked."""
    return shown.decode(errors="backslashreplace")


def read(until: float) -> bool:
    """Some more of what is shown; false at the end."""
    global shown
    if not select.select([terminal], [], [], max(until - time.monotonic(), 0))[0]:
        sys.exit(f"this was not shown in time: {wait_for!r}\n{text_shown()}")
    try:
        more = os.read(terminal, 65536)
    except OSError:
        # What Linux says when the program has ended.
        more = b""
    shown += more
    return bool(more)


for wait_for, text in steps:
    while (at := shown.find(wait_for.encode(), seen)) < 0:
        if not read(time.monotonic() + 60):
            sys.exit(f"it ended before this was shown: {wait_for!r}\n{text_shown()}")
    seen = at + len(wait_for.encode())
    os.write(terminal, text.encode())
wait_for = "the end"
while read(time.monotonic() + 60):
    pass
sys.stdout.buffer.write(text_shown().encode() + b"\n")
end = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
sys.exit(0 if any_end else end)
