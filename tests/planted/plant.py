"""Plants the bugs of bugs.tsv, one at a time, and runs the nets of each until they catch it."""

import csv
import functools
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
SOURCES = [ROOT / "crates" / crate / "src" for crate in ["store", "client", "collector", "server"]]
# Orders of the tasks for each sequence.
ORDERS = 5
# Far more than a net takes; a test that hangs is ended.
SECONDS_MAX = 600
# With the failpoints of other tests, so that no library is built twice.
FEATURES = "runlog-cli/failpoints,runlog-store/planted-bugs"


def build(command, names):
    """Builds something with planted bugs; returns the paths of the programs of these names."""
    command = ["cargo", *command, "--locked", "--workspace", "--features", FEATURES]
    built = subprocess.run(
        [*command, "--message-format=json-render-diagnostics"], cwd=ROOT, check=True, stdout=subprocess.PIPE
    )
    messages = [json.loads(line) for line in built.stdout.splitlines()]
    programs = {message["target"]["name"]: message["executable"] for message in messages if message.get("executable")}
    if missing := set(names) - set(programs):
        raise SystemExit(f"cargo has built no {missing}")
    return [programs[name] for name in names]


@functools.cache
def test_programs():
    """The programs of the tests, by name; built together."""
    names = ["state_machine", "archive", "interleavings"]
    arguments = [argument for name in names for argument in ["--test", name]]
    return dict(zip(names, build(["test", *arguments, "--no-run"], names)))


def run(command, bug, sequences):
    """Runs a test with a bug planted, or with none; returns whether it passed, and what it printed."""
    environment = {
        **os.environ,
        "RUST_BACKTRACE": "0",
        "RUNLOG_PLANTED_BUG": bug,
        "RUNLOG_SEQUENCES": str(sequences),
        "PROPTEST_RNG_SEED": os.environ.get("SEED", "1"),
        "PROPTEST_MAX_SHRINK_ITERS": "0",
        "PROPTEST_DISABLE_FAILURE_PERSISTENCE": "true",
        "RUNLOG_INTERLEAVINGS": f"{sequences * ORDERS},{os.environ.get('SEED', '1')}",
    }
    with subprocess.Popen(
        command, env=environment, cwd=ROOT / "tests/store", text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            printed, _ = process.communicate(timeout=SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            printed, _ = process.communicate()
            return False, printed + f"\npanicked at:\nit did not end within {SECONDS_MAX} s\n"
    return process.returncode == 0, printed


def message_of(printed):
    """The first line with which a test failed."""
    found = re.search(r"panicked at [^\n]*:\n([^\n]*)", printed)
    return found.group(1) if found else "(no message)"


def sequences_of(backends, sequences_max):
    """The net of random sequences on a pair of backends, with so many sequences at most."""

    def net(bug, sequences):
        passed, printed = run([test_programs()["state_machine"], backends], bug, min(sequences, sequences_max))
        successes = re.search(r"successes: (\d+)", printed)
        count = int(successes.group(1)) + 1 if successes else None
        return (None, printed[-3000:]) if passed else (count, message_of(printed))

    return net


def lost_commits(bug, sequences):
    """The net of catalogs whose write-ahead log has lost its last frames."""
    passed, printed = run([test_programs()["archive"], "lost_commits"], bug, sequences)
    return (None, printed[-3000:]) if passed else (1, message_of(printed))


def interleavings(bug, sequences):
    """The net of orders in which tasks run: some for each sequence. Counts those of the test that has needed the fewest."""
    passed, printed = run([test_programs()["interleavings"], "--test-threads", "1"], bug, sequences)
    orders = [int(count) for count in re.findall(r"failed under order (\d+)", printed)]
    return (None, printed[-3000:]) if passed else (min(orders, default=None), message_of(printed))


def simulation(bug, sequences):
    """The net of simulated deployments, one for each seed: ten times as many as sequences, and fewer without a bug. A
    change of the store gives each seed another deployment, so that a bug that takes many seeds takes more or fewer then."""
    sequences *= 10 if bug else 3
    first = int(os.environ.get("SEED", "0")) * 1_000_000
    program = simulation_program()
    passed, printed = run([program, "--first", str(first), "--seeds", str(sequences), "--stop"], bug, sequences)
    if passed:
        return None, "test result: ok"
    found = re.search(r"^seed (\d+): ([^\n]*)", printed, re.MULTILINE)
    return (int(found.group(1)) - first + 1, found.group(2)) if found else (None, printed[-3000:])


@functools.cache
def simulation_program():
    [program] = build(["build", "--bin", "simulation"], ["simulation"])
    # Another build would replace it by one without bugs.
    copy = pathlib.Path(program).with_name("simulation-with-bugs")
    shutil.copy2(program, copy)
    return str(copy)


def calls(lines):
    """The system calls of a trace with their threads, in the order in which they ended."""
    begun = {}
    for line in lines:
        thread, call = line.rstrip("\n").split(None, 1)
        if call.endswith(" <unfinished ...>"):
            begun[thread] = call.removesuffix(" <unfinished ...>")
        elif found := re.match(r"<\.\.\. \w+ resumed>(.*)", call):
            yield thread, begun.pop(thread) + found.group(1)
        else:
            yield thread, call


def unsynced(lines):
    """What of records may be lost when the machine goes down, by what a test asked of the disk. An object is written by one
    thread, which does nothing else meanwhile."""
    synced, renamed, objects, commits, lost = set(), {}, 0, 0, []
    for thread, call in calls(lines):
        if found := re.match(r"f(?:data)?sync\(\d+<(.*)>\)", call):
            path = found.group(1)
            synced.add(path)
            commits += path.endswith("-wal")
            target = renamed.pop(thread, None)
            if target and path != str(pathlib.Path(target).parent):
                lost.append(f"{target}: its folder is not synced after its name")
        elif found := re.match(r"rename\w*\(.*?\"(.*?)\", .*?\"(.*?)\"", call):
            source, target = found.groups()
            if not re.search(r"/(segments|sealed)/", target):
                continue
            objects += 1
            if source not in synced:
                lost.append(f"{target}: its bytes are not synced before its name")
            renamed[thread] = target
    lost += [f"{target}: its folder is not synced after its name" for target in renamed.values()]
    if commits < objects:
        lost.append(f"{commits} commits are synced, and {objects} objects are written")
    return lost if objects else ["the sequence has stored no object"]


def disk(bug, sequences):
    """The net of what is asked of the disk: the bytes of an object, then its folder, and then the commit of its row."""
    del sequences
    if shutil.which("strace") is None:
        raise SystemExit("the net `disk` needs strace")
    with tempfile.NamedTemporaryFile(mode="r") as traced:
        calls = "fsync,fdatasync,rename,renameat,renameat2"
        command = ["strace", "-f", "-y", "-qq", "-s", "4096", "-e", f"trace={calls}", "-o", traced.name]
        passed, printed = run([*command, test_programs()["state_machine"], "sqlite_and_folder"], bug, 1)
        lines = traced.readlines()
    if not passed:
        return 1, message_of(printed)
    lost = unsynced(lines)
    return (1, lost[0]) if lost else (None, printed[-3000:])


NETS = {
    "sequences": sequences_of("sqlite_and_folder", sys.maxsize),
    # A database takes a second to make.
    "sequences-postgres": sequences_of("postgres_and_folder", 20),
    "disk": disk,
    "lost-commits": lost_commits,
    "interleavings": interleavings,
    "simulation": simulation,
}


def planted_in_source():
    names = set()
    for source in SOURCES:
        for file in source.rglob("*.rs"):
            names |= set(re.findall(r"planted::is\(\"([^\"]*)\"\)", file.read_text()))
    return names


def main():
    arguments = sys.argv[1:]
    sequences = int(arguments.pop(0)) if arguments and arguments[0].isdigit() else 100
    with open(HERE / "bugs.tsv", newline="") as table:
        bugs = list(csv.DictReader(table, delimiter="\t"))
    listed = {bug["bug"] for bug in bugs}
    if listed != planted_in_source():
        raise SystemExit(f"bugs.tsv and the code name other bugs: {sorted(listed ^ planted_in_source())}")
    if arguments == ["quick"]:
        # Most in all their nets, some only in the one that is named there.
        bugs = [{**bug, "nets": bug["nets" if bug["quick"] == "quick" else "quick"]} for bug in bugs if bug["quick"]]
    elif arguments:
        unknown = set(arguments) - listed
        if unknown:
            raise SystemExit(f"no such bug: {', '.join(sorted(unknown))}")
        bugs = [bug for bug in bugs if bug["bug"] in arguments]
    failures = 0
    bugs = [{**bug, "net": net} for bug in bugs for net in bug["nets"].split()]
    print(f"{'bug':32}{'net':20}{'caught by number':>19}{'seconds':>9}  how", flush=True)
    for net in dict.fromkeys(bug["net"] for bug in bugs):
        begun = time.monotonic()
        count, how = NETS[net]("", sequences)
        passed = count is None and "test result: ok" in how
        failures += not passed
        result = "passes" if passed else "FAILS"
        print(f"{'(none)':32}{net:20}{result:>19}{time.monotonic() - begun:9.1f}  {'' if passed else how}", flush=True)
    for bug in bugs:
        begun = time.monotonic()
        count, how = NETS[bug["net"]](bug["bug"], sequences)
        if count is None:
            failures += 1
            how = "" if "test result: ok" in how else how
        result = "NOT CAUGHT" if count is None else str(count)
        print(f"{bug['bug']:32}{bug['net']:20}{result:>19}{time.monotonic() - begun:9.1f}  {how[:120]}", flush=True)
    if failures:
        raise SystemExit(f"{failures} lines are not as they must be")
    print(f"each of {len({bug['bug'] for bug in bugs})} bugs is caught")


if __name__ == "__main__":
    main()
