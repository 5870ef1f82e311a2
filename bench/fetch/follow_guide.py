#!/usr/bin/env python3
"""Fetches the log of a run exactly as the guide describes: requests, polls and downloads each page, sends its header back
for the next, and concatenates the pages. `follow_guide.py RUN_ID END OUTPUT`. Reads RUNLOG_API_URL and RUNLOG_TOKEN."""

import os
import sys
import time

import requests

run, end, output = sys.argv[1:]
logs = f"{os.environ['RUNLOG_API_URL']}/monitoring/executions/{run}/logs"
headers = {"Authorization": f"Bearer {os.environ['RUNLOG_TOKEN']}"}
params = {"startTime": "2020-01-01T00:00:00Z", "endTime": end}
with open(output, "wb") as out:
    while True:
        page = requests.post(logs, params=params, headers=headers)
        page.raise_for_status()
        while True:
            status = requests.post(f"{logs}/status", data=page.json()["token"], headers=headers).json()
            if status["status"] == "READY":
                break
            time.sleep(0.05)
        out.write(requests.get(status["presignedURL"]).content)
        if page.status_code == 200:
            break
        params["endTime"] = page.headers["X-Log-Next-Request-End-Time"]
