"""Compares the groups of messages with labelled ones; see `accuracy`."""

import argparse
import collections
import csv
import json
import os
import subprocess
from pathlib import Path


def ours(messages):
    """The group of each message, and the template of each group."""
    lines = "".join(json.dumps(message) + "\n" for message in messages)
    made = subprocess.run([os.environ["MESSAGE_GROUPS"], "groups"], input=lines.encode(), capture_output=True, check=True)
    pairs = [json.loads(line) for line in made.stdout.splitlines()]
    return [id for id, _ in pairs], dict(pairs)


def halves(messages):
    """What a comparison of halves of the log tells: groups in one half only, those told falsely, those not told."""
    lines = "".join(json.dumps(message) + "\n" for message in messages)
    made = subprocess.run([os.environ["MESSAGE_GROUPS"], "halves"], input=lines.encode(), capture_output=True, check=True)
    counts = json.loads(made.stdout)
    return f"{counts['news']:>6} {counts['false']:>6} {counts['hidden']:>6}"


def drain(messages):
    from drain3 import TemplateMiner
    from drain3.template_miner_config import TemplateMinerConfig

    miner = TemplateMiner(config=TemplateMinerConfig())
    return [miner.add_log_message(message)["cluster_id"] for message in messages]


def members(groups):
    found = collections.defaultdict(set)
    for place, group in enumerate(groups):
        found[group].add(place)
    return found


def score(labels, groups):
    """GA, FGA, and the labelled groups that were found exactly."""
    labelled, found = members(labels), members(groups)
    exact = {frozenset(places) for places in labelled.values()} & {frozenset(places) for places in found.values()}
    return sum(map(len, exact)) / len(labels), 2 * len(exact) / (len(labelled) + len(found)), exact


def show(labels, groups, templates, messages, exact):
    labelled, found = members(labels), members(groups)
    for label, places in sorted(labelled.items(), key=lambda item: -len(item[1])):
        if frozenset(places) in exact:
            continue
        print(f"  group {label}, {len(places)} messages, for example: {messages[min(places)][:200]}")
        for group, count in collections.Counter(groups[place] for place in places).most_common(8):
            others = collections.Counter(labels[place] for place in found[group] - places).most_common(4)
            mixed = ", mixed with " + ", ".join(f"{other} ({number})" for other, number in others) if others else ""
            print(f"    {count:6} {templates[group][:200]}{mixed}")


parser = argparse.ArgumentParser()
parser.add_argument("folder", type=Path)
parser.add_argument("--show", metavar="LOG")
arguments = parser.parse_args()
totals = collections.Counter()
print(f"{'log':<14} {'groups':>6} {'found':>6} {'GA':>6} {'FGA':>6}   drain3 {'GA':>5} {'FGA':>6} {'news':>8} {'false':>6} {'hidden':>6}")
for file in sorted(arguments.folder.glob("*.csv")):
    if arguments.show and file.stem != arguments.show:
        continue
    with open(file, newline="") as rows:
        labels, messages = zip(*((row["group"], row["message"]) for row in csv.DictReader(rows)))
    groups, templates = ours(messages)
    accuracy, f1, exact = score(labels, groups)
    drain_accuracy, drain_f1, _ = score(labels, drain(messages))
    counts = f"{len(set(labels)):>6} {len(set(groups)):>6}"
    print(f"{file.stem:<14} {counts} {accuracy:>6.3f} {f1:>6.3f}   {drain_accuracy:>12.3f} {drain_f1:>6.3f}   {halves(messages)}")
    totals.update({"logs": 1, "GA": accuracy, "FGA": f1, "drain GA": drain_accuracy, "drain FGA": drain_f1})
    if arguments.show:
        show(labels, groups, templates, messages, exact)
if totals["logs"] > 1:
    mean = {name: value / totals["logs"] for name, value in totals.items()}
    print(f"{'mean':<28} {mean['GA']:>6.3f} {mean['FGA']:>6.3f}   {mean['drain GA']:>12.3f} {mean['drain FGA']:>6.3f}")
