#!/usr/bin/env python3
"""Loads the same runs into Parquet files with dlt: `load_with_dlt.py TASK FOLDER`. Reads RUNLOG_API_URL and RUNLOG_TOKEN."""

import json
import os
import sys

folder = os.path.abspath(sys.argv[2])
os.environ.update({"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR", "DLT_DATA_DIR": f"{folder}/dlt"})
import dlt  # noqa: E402
import save_files  # noqa: E402


@dlt.resource(name="records", write_disposition="append", max_table_nesting=0)
def records():
    for run in list(save_files.runs()):
        for page in save_files.pages(run):
            yield [{"run_id": run, **record} for record in json.loads(page)]


pipeline = dlt.pipeline("bench", destination=dlt.destinations.filesystem(f"file://{folder}/parquet"), dataset_name="bench",
                        pipelines_dir=f"{folder}/pipelines")
pipeline.run(records(), loader_file_format="parquet")
