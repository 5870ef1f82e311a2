#!/usr/bin/env python3
"""Compares the run time of commands: `compare.py ROUNDS LAST NAME=COMMAND…`. The first command is the baseline.

Each round runs every command once, so that other load on the machine affects all of them alike. `{end}` in a command is
replaced by a time that is one second earlier in each run, counted back from LAST (seconds since 1970), so that a service
must build new pages for each run. Prints the median wall time and the median peak resident memory of each command, and
both as a ratio to the first command."""

import itertools
import os
import statistics
import sys
import time


def run(command: str) -> tuple[float, float]:
    """Seconds and MiB of one run. Exits if the command fails."""
    begun = time.monotonic()
    # `exec` replaces the shell with the command, so that the memory is that of the command.
    pid = os.spawnlp(os.P_NOWAIT, "sh", "sh", "-c", f"exec {command}")
    _, status, usage = os.wait4(pid, 0)
    if status != 0:
        sys.exit(f"failed: {command}")
    return time.monotonic() - begun, usage.ru_maxrss / 1024


def main() -> None:
    rounds = int(sys.argv[1])
    last = int(sys.argv[2])
    commands = dict(argument.split("=", 1) for argument in sys.argv[3:])
    figures = {name: [] for name in commands}
    ends = (time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(last - back)) for back in itertools.count())
    for _ in range(rounds):
        for name, command in commands.items():
            figures[name].append(run(command.replace("{end}", next(ends))))
    medians = {name: [statistics.median(column) for column in zip(*runs)] for name, runs in figures.items()}
    base = next(iter(medians.values()))
    print(f"{'':34}{'median':>10}{'fastest':>10}{'slowest':>10}{'ratio':>8}{'memory':>10}{'ratio':>8}")
    for name, (seconds, mib) in medians.items():
        times = [seconds for seconds, _ in figures[name]]
        print(
            f"{name:34}{seconds:>8.2f} s{min(times):>8.2f} s{max(times):>8.2f} s{seconds / base[0]:>8.2f}"
            f"{mib:>6.0f} MiB{mib / base[1]:>8.2f}"
        )


main()
