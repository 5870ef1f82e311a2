"""Public logs of real systems, pushed as runs: their patterns are the golden ones, whatever the order and the batches.

For each log there are two files in golden/. NAME.groups is written by hand: the messages that a reader of the log would
call the same, `<*>` in the place of what varies; of several that fit a message, the one with the most text is meant.
NAME.patterns is what Runlog makes of it: the records of each pattern, whether it is a `whole` group, `part` of one, or
`mixed` from several, its worst severity, id and template.
"""

import dataclasses
import datetime
import json
import os
import random
import re
import sys
import tarfile
import tempfile
import time
import uuid
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "endurance"))
from harness import Service, ask, make_task  # noqa: E402

# In the order in which patterns count them; the first stands for none.
SEVERITIES = [None, "TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"]

# Names of severities in logs, and Runlog's names of them.
SEVERITY_OF = {"notice": "INFO", "LOG": "INFO", "HINT": "INFO", "STATEMENT": "INFO", "WARNING": "WARN"}

# Digits of a label, in base 7: enough for 343 groups.
LABEL_DIGITS = 3

# The share of records whose pattern is the same in half of a log. A word may vary often enough in the whole only.
HALVES_FLOOR = 0.95


@dataclasses.dataclass
class Log:
    """A log in a source package, and how its records begin; lines that begin otherwise belong to the record before."""

    name: str
    archive: str
    files: list
    record: str
    time: str
    # The share of records whose pattern is a whole group that is asked for, below what there is.
    floor: float


LOGS = [
    Log("apache", "gool-1.3.7", ["tests/data/log/Apache_2k.log"],
        r"\[(?P<time>[^]]+)\] \[(?P<severity>\w+)\] (?P<message>.*)", "%a %b %d %H:%M:%S %Y", 0.95),
    Log("zookeeper", "gool-1.3.7", ["tests/data/log/Zookeeper_2k.log"],
        r"(?P<time>\S+ \S+) - (?P<severity>\w+)\s+\[.*?@\d+\] - (?P<message>.*)", "%Y-%m-%d %H:%M:%S,%f", 0.95),
    Log("postgresql", "pgtoolkit-0.33.0", ["tests/data/postgresql.log"],
        r"(?P<time>\S+ \S+) UTC \[\d+\]: \[\d+-\d+\] .*?(?P<severity>[A-Z]+):  (?P<message>.*)", "%Y-%m-%d %H:%M:%S.%f", 0.9),
    # Its settings, three patterns by value, are one group to the eye.
    Log("dagman", "pycondor-0.6.1",
        ["pycondor/tests/exampledagman.submit.dagman.out", "pycondor/tests/test_dagman.submit.dagman.out"],
        r"(?P<time>\d\d/\d\d/\d\d \d\d:\d\d:\d\d) (?P<message>.*)", "%m/%d/%y %H:%M:%S", 0.7),
]


def records_of(log, folder):
    """The records of a log, as they are pushed."""
    begins, records = re.compile(log.record), []
    with tarfile.open(folder / f"{log.archive}.tar.gz") as archive:
        files = [archive.extractfile(f"{log.archive}/{file}").read().decode() for file in log.files]
    for line in (line.rstrip("\r") for file in files for line in file.removesuffix("\n").split("\n")):
        if found := begins.fullmatch(line):
            moment = datetime.datetime.strptime(found["time"], log.time).replace(tzinfo=datetime.timezone.utc)
            record = {"logTimestamp": round(moment.timestamp() * 1000), "logMessage": found["message"]}
            if severity := found.groupdict().get("severity"):
                record["severity"] = SEVERITY_OF.get(severity, severity)
            records.append(record)
        else:
            records[-1]["logMessage"] += "\n" + line
    return records


class Archive:
    """A service with one task."""

    def __init__(self, service):
        self.port = service.port
        self.token, self.task = make_task(service)
        self.chance = random.Random(1)

    def send(self, method, path, body=None):
        kind = "application/x-ndjson" if isinstance(body, str) else "application/json"
        text = body if body is None or isinstance(body, str) else json.dumps(body)
        status, answer = ask(self.port, method, path, text, {"Authorization": f"Bearer {self.token}", "Content-Type": kind})
        if status not in (200, 201, 204):
            sys.exit(f"{method} {path} was answered with {status}: {answer[:300]!r}")
        return answer

    def push(self, records, batch=1_000_000):
        """A run with these records, in batches of so many; tells its id."""
        run = str(uuid.UUID(int=self.chance.getrandbits(128), version=4))
        self.send("PUT", f"/runlog/v1/runs/{run}", {"taskId": self.task})
        for at in range(0, len(records), batch):
            lines = "".join(json.dumps(record) + "\n" for record in records[at : at + batch])
            self.send("POST", f"/runlog/v1/runs/{run}/records", lines)
        self.send("POST", f"/runlog/v1/runs/{run}/finish", {"status": "execution_successful"})
        return run

    def patterns(self, run):
        """The patterns of a run, once its summary is made and kept."""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            answer = json.loads(self.send("GET", f"/runlog/v1/runs/{run}/patterns"))
            if answer["log"]["state"] == "whole":
                return answer["patterns"]
            time.sleep(0.1)
        sys.exit(f"run {run} has no summary after a minute: {answer['log']}")


def counts(patterns):
    """What does not depend on when something was logged: the severities of each pattern."""
    return {pattern["id"]: (pattern["template"], pattern["severities"]) for pattern in patterns["patterns"]}


def label(message, groups):
    """The number of the group that a message is in, by the first line that is not blank."""
    line = next((" ".join(line.split()) for line in message.splitlines() if line.strip()), "")
    fitting = [group for group in groups if fits(line, group.split("<*>"))]
    if not fitting:
        sys.exit(f"no group fits this message: {line}")
    return groups.index(max(fitting, key=lambda group: len(group.replace("<*>", ""))))


def fits(line, pieces):
    """Whether a line has these pieces one after another, the first at its beginning and the last at its end."""
    if len(pieces) == 1:
        return line == pieces[0]
    if not line.startswith(pieces[0]):
        return False
    at = len(pieces[0])
    for piece in pieces[1:-1]:
        if (found := line.find(piece, at)) < 0:
            return False
        at = found + len(piece)
    return line.endswith(pieces[-1]) and len(line) - len(pieces[-1]) >= at


def variants(records):
    """The log pushed again, in other batches and other orders: records, and how many go into a batch."""
    times = sorted(record["logTimestamp"] for record in records)
    shuffled = random.Random(7).sample(records, len(records))
    dealt = lambda ordered: [{**record, "logTimestamp": moment} for record, moment in zip(ordered, times)]
    return {
        "pushed again": (records, len(records)),
        "pushed in batches of 97": (records, 97),
        "arriving shuffled": (shuffled, 500),
        "logged in reverse": (dealt(records[::-1]), len(records)),
        "logged shuffled": (dealt(shuffled), len(records)),
    }


def unstable(name, patterns, first):
    """Whether a variant of a log has other patterns than it should."""
    if name.startswith("logged"):
        # Records at other times: what is said of times, and the sample, which is the earliest, may differ.
        return counts(patterns) != counts(first)
    return patterns != first


def marked(records, labels, place):
    """The records with one digit of their labels for a severity."""
    severity = lambda label: SEVERITIES[label // 7**place % 7]
    changed = ({**record, "severity": severity(label)} for record, label in zip(records, labels))
    return [{name: value for name, value in record.items() if value is not None} for record in changed]


def label_of_each(digits):
    """For each pattern the label of its records, none when they have several.

    Severities play no part in what a pattern is, and are counted for each. So the log is pushed once for each digit of the
    labels, with digits for severities: a pattern whose records have one digit each time has one label.
    """
    found = {}
    for place, patterns in enumerate(digits):
        for pattern in patterns["patterns"]:
            seen = [digit for digit, count in enumerate(pattern["severities"]) if count]
            label = found.get(pattern["id"], 0)
            found[pattern["id"]] = None if label is None or len(seen) > 1 else label + seen[0] * 7**place
    return found


def check(log, folder, archive):
    """Compares one log; tells what is wrong."""
    records = records_of(log, folder)
    groups = (HERE / "golden" / f"{log.name}.groups").read_text().splitlines()
    assert len(groups) <= 7**LABEL_DIGITS, "there are more groups than labels"
    labels = [label(record["logMessage"], groups) for record in records]
    wrong = [f"no message is in the group {group!r}" for at, group in enumerate(groups) if at not in labels]

    # All are pushed before the first is waited for.
    first = archive.push(records)
    others = {name: archive.push(*variant) for name, variant in variants(records).items()}
    digits = [archive.push(marked(records, labels, place)) for place in range(LABEL_DIGITS)]
    halves = [archive.push(half) for half in (records[: len(records) // 2], records[len(records) // 2 :])]
    patterns = archive.patterns(first)
    wrong += [f"{name}, it has other patterns" for name, run in others.items() if unstable(name, archive.patterns(run), patterns)]
    label_of = label_of_each(map(archive.patterns, digits))
    if label_of.keys() != counts(patterns).keys():
        return [*wrong, "with other severities, it has other patterns"]

    text, accuracy = told(patterns, label_of, labels)
    golden = HERE / "golden" / f"{log.name}.patterns"
    if os.environ.get("UPDATE") == "1":
        golden.write_text(text)
    elif not golden.exists() or golden.read_text() != text:
        wrong.append(difference(golden, text))
    if accuracy < log.floor:
        wrong.append(f"{accuracy:.3f} of the records are in whole groups, less than {log.floor}")
    known = sum(records_known(archive.patterns(half), patterns) for half in halves) / len(records)
    if known < HALVES_FLOOR:
        wrong.append(f"{known:.3f} of the records have the same pattern in half of the log, less than {HALVES_FLOOR}")
    sizes = f"{len(records):5} records {len(groups):3} groups {len(label_of):3} patterns"
    shares = f"{accuracy:.3f} grouped as by hand, {known:.3f} alike in halves"
    print(f"{log.name:<10} {sizes}: {shares}, {'WRONG' if wrong else 'the same in every order'}", flush=True)
    return wrong


def records_known(patterns, others):
    """How many records have patterns that are among the others, too."""
    return sum(sum(severities) for pattern, (_, severities) in counts(patterns).items() if pattern in counts(others))


def told(patterns, label_of, labels):
    """The patterns as golden text, and the share of records whose pattern is a whole group."""
    whole, lines = 0, []
    for pattern in patterns["patterns"]:
        count, group = sum(pattern["severities"]), label_of[pattern["id"]]
        kind = "mixed" if group is None else "whole" if labels.count(group) == count else "part"
        whole += count if kind == "whole" else 0
        worst = max(severity for severity, number in enumerate(pattern["severities"]) if number)
        lines.append(f"{count:6} {kind:<5} {SEVERITIES[worst] or 'OTHER':<5} {pattern['id']} {pattern['template']}\n")
    rest = sum(patterns["rest"]["severities"])
    head = f"{len(labels)} records, {rest} in no pattern; {whole} in patterns that are whole groups\n"
    return head + "".join(lines), whole / len(labels)


def difference(golden, text):
    was = golden.read_text().splitlines() if golden.exists() else []
    now = text.splitlines()
    lines = [f"- {line}" for line in was if line not in now] + [f"+ {line}" for line in now if line not in was]
    return f"{golden.name} differs; UPDATE=1 writes it anew:\n" + "\n".join(lines[:40])


def main():
    folder, names = Path(sys.argv[1]), sys.argv[2:]
    if unknown := set(names) - {log.name for log in LOGS}:
        sys.exit(f"there is no log {', '.join(sorted(unknown))}")
    wrong = []
    with tempfile.TemporaryDirectory() as place:
        service = Service(Path(place) / "data", [])
        try:
            if not service.wait():
                sys.exit(f"the service does not listen: {service.log.read_text()}")
            archive = Archive(service)
            for log in LOGS:
                if not names or log.name in names:
                    wrong += [f"{log.name}: {what}" for what in check(log, folder, archive)]
        finally:
            service.kill()
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
