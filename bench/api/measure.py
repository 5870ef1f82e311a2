"""Runs wrk against a running service and prints medians: requests per second, p50, p99, peak memory."""

import json
import os
import statistics
import subprocess
import sys
import time
import urllib.request

rounds, run = int(sys.argv[1]), sys.argv[2]
url, token = os.environ["RUNLOG_API_URL"], os.environ["RUNLOG_TOKEN"]
logs = f"/monitoring/executions/{run}/logs"


def post(path, body=b""):
    request = urllib.request.Request(url + path, data=body, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


page = post(logs)["token"]
while post(logs + "/status", page.encode())["status"] != "READY":
    time.sleep(0.05)

kinds = {
    "live page of 200 records": {"BENCH_METHOD": "GET", "BENCH_PATH": logs + "?count=200"},
    "status of a page": {"BENCH_METHOD": "POST", "BENCH_PATH": logs + "/status", "BENCH_BODY": page},
    "the same page requested again": {"BENCH_METHOD": "POST", "BENCH_PATH": logs + "?startTime=2000-01-01T00:00:00Z"},
    "one run": {"BENCH_METHOD": "GET", "BENCH_PATH": f"/processing/executions/{run}"},
    "a new page each time, built in the background": {"BENCH_METHOD": "POST", "BENCH_PATH": logs, "BENCH_FRESH": "1"},
}
print("| request | requests/s | p50 | p99 | peak memory |\n|---|---|---|---|---|")
for name, settings in kinds.items():
    seen = []
    for _ in range(rounds):
        command = ["wrk", "-t2", "-c32", "-d5s", "--latency", "-s", os.path.dirname(__file__) + "/request.lua", url]
        out = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True, check=True).stdout
        result = next(line for line in out.splitlines() if line.startswith("RESULT"))
        rate, p50, p99, errors = (float(word) for word in result.split()[1:])
        if errors:
            sys.exit(f"{name}: {errors:.0f} requests failed\n{out}")
        seen.append((rate, p50, p99))
    rate, p50, p99 = (statistics.median(column) for column in zip(*seen))
    with open(f"/proc/{os.environ['RUNLOG_PID']}/status") as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) // 1024
    print(f"| {name} | {rate:,.0f} | {p50:.1f} ms | {p99:.1f} ms | {peak} MiB |", flush=True)
