#!/usr/bin/env python3
"""Fetches a run's log as the guide says, and no more: ask, poll, download, send the header back, put the pages one
after another. `follow_guide.py RUN_ID END OUTPUT`, with RUNLOG_API_URL and RUNLOG_TOKEN."""

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
