"""Receives OpenLineage events, and reads them with the classes that are generated from the specification."""

import http.server
import json
import re
import sys
import urllib.parse
import uuid
from datetime import datetime

import attr
from openlineage.client import facet_v2
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent


def receive(path):
    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            is_event = self.path == "/api/v1/lineage" and b"eventType" in body
            if is_event:
                with open(path, "ab") as events:
                    events.write(body + b"\n")
            self.send_response(201 if is_event else 422)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Receiver)
    print(server.server_address[1], flush=True)
    server.serve_forever()


# Every facet of the specification, by its schema without the version.
def without_version(schema):
    return re.sub(r"/\d+-\d+-\d+/", "/", schema)


FACETS = {}
for module in vars(facet_v2).values():
    for value in vars(module).values() if hasattr(module, "__name__") else ():
        if isinstance(value, type) and attr.has(value) and hasattr(value, "_get_schema"):
            FACETS[without_version(value._get_schema())] = value

OWN = {"runlog"}


def check_uri(text):
    assert urllib.parse.urlparse(text).scheme in ("http", "https"), text


def check_time(text):
    assert datetime.fromisoformat(text.replace("Z", "+00:00")).tzinfo, text


def of_class(kind, value):
    """Reads an object: unknown and missing fields are errors of the class."""
    fields = {field.name: field for field in attr.fields(kind)}
    content = {name: part for name, part in value.items() if name not in ("_producer", "_schemaURL")}
    unknown = set(content) - set(fields)
    assert not unknown, f"{kind.__name__} has no {unknown}"
    needed = {name for name, field in fields.items() if field.init and field.default is attr.NOTHING}
    assert needed <= set(content), f"{kind.__name__} needs {needed - set(content)}"
    return kind(**content)


def check_facets(facets, read):
    for name, facet in facets.items():
        check_uri(facet["_producer"])
        check_uri(facet["_schemaURL"])
        if name in OWN:
            continue
        kind = FACETS.get(without_version(facet["_schemaURL"]))
        assert kind is not None, f"{name}: no facet of the specification has the schema {facet['_schemaURL']}"
        assert facet["_schemaURL"] == kind._get_schema(), f"{name}: {facet['_schemaURL']} is not {kind._get_schema()}"
        of_class(kind, facet)
        read.add(name)


def read(path):
    events = [json.loads(line) for line in open(path)]
    ends, names = {}, set()
    for event in events:
        assert set(event) == {"eventType", "eventTime", "producer", "schemaURL", "run", "job", "inputs", "outputs"}
        check_uri(event["producer"])
        check_time(event["eventTime"])
        assert event["schemaURL"] == RunEvent._get_schema(), event["schemaURL"]
        uuid.UUID(event["run"]["runId"])
        check_facets(event["run"]["facets"], names)
        check_facets(event["job"]["facets"], names)
        for dataset in event["inputs"] + event["outputs"]:
            for facets in ("facets", "inputFacets", "outputFacets"):
                check_facets(dataset.get(facets, {}), names)
        RunEvent(
            eventType=event["eventType"],
            eventTime=event["eventTime"],
            producer=event["producer"],
            run=of_class(Run, event["run"]),
            job=of_class(Job, event["job"]),
            inputs=[of_class(InputDataset, dataset) for dataset in event["inputs"]],
            outputs=[of_class(OutputDataset, dataset) for dataset in event["outputs"]],
        )
        ends.setdefault(event["run"]["runId"][-1], []).append(event["eventType"])
    assert ends == {
        "1": ["START", "COMPLETE"],
        "2": ["START", "FAIL"],
        "3": ["START", "ABORT"],
        "4": ["START", "COMPLETE"],
    }, ends
    expected = {"nominalTime", "processing_engine", "errorMessage", "jobType", "documentation", "inputStatistics",
                "outputStatistics"}
    assert expected <= names, expected - names
    print(f"{len(events)} events are as the OpenLineage specification has them, with the facets {', '.join(sorted(names))}")


{"receive": receive, "read": read}[sys.argv[1]](sys.argv[2])
