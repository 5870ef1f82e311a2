#!/usr/bin/env python3
"""Times commands against each other: `compare.py ROUNDS LAST NAME=COMMAND…`, the first is what the others are held
against.

Each round runs every command once, in turns, so that a noisy machine is noisy for all of them. `{end}` in a command is
a time that is a second earlier in each run, going back from LAST (seconds since 1970), so that a service has to build
its pages anew for each. Prints the median wall
time and the median of the largest resident memory of the command's process, and both as a ratio to the first."""

import itertools
import os
import statistics
import sys
import time


def run(command: str) -> tuple[float, float]:
    """Seconds and MiB of one run; ends the comparison when the command fails."""
    begun = time.monotonic()
    # `exec` makes the shell become the command, so that the memory is the command's own.
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
