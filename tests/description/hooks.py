"""What schemathesis is told of this service beside its description: a form of body it does not know."""

import json

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def one_record_a_line(ctx, value):
    """A record as one line."""
    return value if isinstance(value, bytes) else (json.dumps(value) + "\n").encode()
