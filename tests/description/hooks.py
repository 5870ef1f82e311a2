"""Extends schemathesis with a content type that it does not support."""

import json

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def record_as_line(ctx, value):
    """Serializes a record as one line."""
    return value if isinstance(value, bytes) else (json.dumps(value) + "\n").encode()
