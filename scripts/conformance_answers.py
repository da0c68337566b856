"""Fails when an operation of the document was answered nothing but 401 and 403: then it was not asked at all.

conformance_answers.py ANSWERS DOCUMENT
"""

import collections
import json
import sys

# Operations for which nothing else is to be had, and why.
EXCEPTIONS = {}

answers = collections.defaultdict(collections.Counter)
with open(sys.argv[1], encoding="utf-8") as file:
    for line in file:
        method, path, status = line.split()
        answers[f"{method} {path}"][int(status)] += 1
with open(sys.argv[2], encoding="utf-8") as file:
    paths = json.load(file)["paths"]
operations = [f"{method.upper()} {path}" for path, methods in paths.items() for method in methods]
kept_out = [one for one in operations if not set(answers[one]) - {401, 403}]
done = [one for one in operations if any(200 <= status < 300 for status in answers[one])]
refused = sum(count for of in answers.values() for status, count in of.items() if status in (401, 403))
total = sum(sum(of.values()) for of in answers.values())
print(f"{total} answers of {len(operations)} operations, {refused} of them 401 or 403; {len(done)} operations were done at least once")
print("never done: " + ", ".join(one for one in operations if one not in done))
wrong = [one for one in kept_out if one not in EXCEPTIONS] + [one for one in EXCEPTIONS if one not in kept_out]
for one in wrong:
    found = f"was answered nothing but {dict(answers[one])}" if one in kept_out else "is an exception for no reason"
    print(f"conformance: {one} {found}", file=sys.stderr)
sys.exit(bool(wrong))
