"""Measures a summary of a run against ten of its pages, and against drain3; see `run`."""

import json, os, resource, shutil, sqlite3, statistics, subprocess, sys, tempfile, time, urllib.request

rounds, log = int(sys.argv[1]), sys.argv[2]
runlog, run, data = os.environ["RUNLOG"], os.environ["RUN"], os.environ["DATA"]
url, token, service = os.environ["RUNLOG_API_URL"], os.environ["RUNLOG_TOKEN"], int(os.environ["RUNLOG_PID"])
DRAIN_RECORDS = 100_000


def service_cpu():
    fields = open(f"/proc/{service}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def post(path, body=b""):
    request = urllib.request.Request(url + path, body, {"Authorization": f"Bearer {token}"}, method="POST")
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def ten_pages(number):
    """Ten pages, each of a range that was not asked for before, so that it is built anew."""
    before = service_cpu()
    last = max(json.loads(line)["logTimestamp"] for line in tail(log))
    for page in range(10):
        end = last - number * 10 - page
        path = f"/monitoring/executions/{run}/logs"
        made = post(f"{path}?endTime={time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(end / 1000))}.{end % 1000:03}Z")
        while post(f"{path}/status", made["token"].encode())["status"] != "READY":
            time.sleep(0.01)
    return service_cpu() - before


def tail(path):
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - 65536))
        return file.read().splitlines()[1:]


def summary():
    """The command on a copy of the archive whose summaries count as outdated; reading included."""
    with tempfile.TemporaryDirectory() as folder:
        copy = os.path.join(folder, "data")
        shutil.copytree(data, copy)
        catalog = sqlite3.connect(os.path.join(copy, "catalog.sqlite"))
        catalog.execute("UPDATE summaries SET version = 0")
        catalog.commit()
        catalog.close()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        made = subprocess.run([runlog, "archive", "summarize", "--json", "--data", copy], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert json.loads(made.stdout)["summaries"] == 1, made.stdout
        return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def drain():
    """drain3 on the first records, scaled to all of them: it is linear, and slow."""
    from drain3 import TemplateMiner
    from drain3.template_miner_config import TemplateMinerConfig

    miner = TemplateMiner(config=TemplateMinerConfig())
    with open(log) as file:
        messages = [json.loads(line)["logMessage"] for _, line in zip(range(DRAIN_RECORDS), file)]
    before = time.process_time()
    for message in messages:
        miner.add_log_message(message.split("\n", 1)[0])
    return (time.process_time() - before) * records / len(messages)


records = sum(1 for _ in open(log))
figures = {"ten pages": [], "summary": [], "drain3": []}
for number in range(rounds):
    figures["ten pages"].append(ten_pages(number))
    figures["summary"].append(summary())
    figures["drain3"].append(drain())
medians = {name: statistics.median(values) for name, values in figures.items()}
for name, seconds in medians.items():
    print(f"{name:10} {seconds:7.2f} s of processor time  {seconds / medians['summary']:6.2f} of a summary")
