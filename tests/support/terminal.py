#!/usr/bin/env python3
"""Types at a terminal: terminal.py PROGRAM ARGUMENT… with steps on standard input, [[WAIT_FOR, TYPE], …] as JSON.

Each text is typed when what is waited for has been shown since the step before. Prints all that was shown."""

import json
import os
import pty
import select
import sys
import time

steps, shown, seen = json.load(sys.stdin), "", 0
child, terminal = pty.fork()
if child == 0:
    os.execvp(sys.argv[1], sys.argv[1:])


def read(until: float) -> bool:
    """Some more of what is shown; false at the end."""
    global shown
    if not select.select([terminal], [], [], max(until - time.monotonic(), 0))[0]:
        sys.exit(f"this was not shown in time: {wait_for!r}\n{shown}")
    try:
        more = os.read(terminal, 65536)
    except OSError:
        # What Linux says when the program has ended.
        more = b""
    shown += more.decode(errors="replace")
    return bool(more)


for wait_for, text in steps:
    while (at := shown.find(wait_for, seen)) < 0:
        if not read(time.monotonic() + 60):
            sys.exit(f"it ended before this was shown: {wait_for!r}\n{shown}")
    seen = at + len(wait_for)
    os.write(terminal, text.encode())
wait_for = "the end"
while read(time.monotonic() + 60):
    pass
print(shown)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
