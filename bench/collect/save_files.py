#!/usr/bin/env python3
"""Saves the log of every run of a task exactly as the guide describes: lists the runs, then requests, polls and downloads
each page, and sends its header back for the next. `save_files.py TASK FOLDER [PAUSE]`. Reads RUNLOG_API_URL and
RUNLOG_TOKEN. PAUSE is the time between two status requests, in seconds."""

import os
import sys
import time
from pathlib import Path

import requests

task, folder = sys.argv[1], Path(sys.argv[2])
pause = float(sys.argv[3]) if len(sys.argv) > 3 else 0.05
api = os.environ["RUNLOG_API_URL"].rstrip("/")
http = requests.Session()
headers = {"Authorization": f"Bearer {os.environ['RUNLOG_TOKEN']}"}


def runs():
    offset = 0
    while True:
        page = http.get(f"{api}/processing/executables/tasks/{task}/executions", headers=headers,
                        params={"limit": 100, "offset": offset, "lastDays": 60}).json()
        yield from (run["executionId"] for run in page["items"])
        offset += len(page["items"])
        if not page["items"] or offset >= page["total"]:
            return


def pages(run: str):
    logs, params = f"{api}/monitoring/executions/{run}/logs", {}
    while True:
        page = http.post(logs, params=params, headers=headers)
        page.raise_for_status()
        while True:
            status = http.post(f"{logs}/status", data=page.json()["token"], headers=headers).json()
            if status["status"] == "READY":
                break
            time.sleep(pause)
        yield http.get(status["presignedURL"]).content
        if page.status_code == 200:
            return
        params["endTime"] = page.headers["X-Log-Next-Request-End-Time"]


if __name__ == "__main__":
    folder.mkdir(parents=True, exist_ok=True)
    for run in list(runs()):
        with open(folder / f"{run}.json", "wb") as out:
            for page in pages(run):
                out.write(page)
