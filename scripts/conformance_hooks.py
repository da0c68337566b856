"""What schemathesis cannot know by itself: bodies of lines of JSON, what there is to be asked for, and what each operation
was answered."""

import json
import os
import threading
import zlib

import schemathesis

NOTED = threading.Lock()
with open(os.environ["CONFORMANCE_THERE"], encoding="utf-8") as file:
    THERE = json.load(file)


@schemathesis.serializer("application/x-ndjson")
def lines(_context, value):
    rows = value if isinstance(value, list) else [value]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    """In half of the requests the names of the path are of what is there: of nothing but 404 little is learnt."""
    path = context.operation.path
    if not path_parameters or zlib.crc32(repr(path_parameters).encode()) % 2:
        return path_parameters
    # `{action}` is a corporate action, or a verb; the document says which verbs there are.
    verb = "action" if "/actions/{action}" not in path else None
    return {name: value if name == verb else THERE.get(name, value) for name, value in path_parameters.items()}


@schemathesis.hook
def after_call(_context, case, response):
    """Notes what each operation was answered, for conformance_answers.py; other methods of its path are not it."""
    if case.method.upper() == case.operation.method.upper():
        with NOTED, open(os.environ["CONFORMANCE_ANSWERS"], "a", encoding="utf-8") as file:
            file.write(f"{case.operation.label} {response.status_code}\n")
