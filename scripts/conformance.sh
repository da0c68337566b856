#!/bin/bash
# Row I4: requests made from the document of the API, good and bad, against a running service. No answer may be a
# server error, have a status or a content type the document does not name, or a body it does not describe. Each
# operation must have been asked: answers of 401 and 403 alone say nothing of it.
#
# conformance.sh PROGRAM [EXAMPLES]: PROGRAM is the built service, EXAMPLES how many requests of each kind an operation
# gets (default 50).
set -euo pipefail
cd "$(dirname "$0")/.."
program=$1
examples=${2:-50}
version=4.32.5

tools=target/tools/schemathesis-$version
if [ ! -x "$tools/bin/schemathesis" ]; then
    python3 -m venv "$tools"
    "$tools/bin/pip" install --quiet "schemathesis==$version"
fi

folder=$(mktemp -d)
trap 'kill "$service" 2>/dev/null || true; wait "$service" 2>/dev/null || true; rm -rf "$folder"' EXIT
# The log of some thousand requests is long and not wanted unless something fails.
# As many requests as it can make: nothing is to be learnt from being told to wait.
for rate in KEY ADDRESS HEAVY ANONYMOUS REFUSED; do export "ARTIFACT_LIMITS__${rate}_PER_MINUTE=0"; done
mkdir "$folder/data"
# A feed that reaches nobody, and runs when it is asked to.
cat >"$folder/data/artifact.toml" <<'FEED'
[[feeds]]
name = "desk"
kind = "http_json"
enabled = false
allow_private = true
url = "http://127.0.0.1:9/{symbol}"
symbols = ["GOLD"]
timeout = "1s"
retry_min = "10ms"
retry_max = "10ms"
failures_max = 1
per_minute = 60000
burst = 1000
[feeds.rows]
at = "/data"
[feeds.map]
ts = { at = "/t", unit = "s" }
close = "/c"
FEED
ARTIFACT_LOG=error "$program" serve --listen 127.0.0.1:0 --data "$folder/data" >"$folder/out" 2>"$folder/log" &
service=$!
for _ in $(seq 200); do
    url=$(sed -n 's/.*listening on \(http:[^ ]*\).*/\1/p' "$folder/out")
    [ -z "$url" ] || break
    sleep 0.1
done
[ -n "$url" ] || { cat "$folder/log" >&2; echo "conformance: the service did not start" >&2; exit 1; }

"$program" seed gold-bitcoin --data "$folder/data" >/dev/null
key=$(grep -o 'art_[0-9a-f_]*' "$folder/out" | head -1)
python3 scripts/conformance_world.py "$url" "$key" >"$folder/there"
export CONFORMANCE_THERE=$folder/there CONFORMANCE_ANSWERS=$folder/answers
# What it remembers of a run is not for the next: it leaves that where it stands.
root=$PWD
cd "$folder"
# Left to itself it makes credentials up beside the one it is given, and nearly every answer is 401.
SCHEMATHESIS_HOOKS=conformance_hooks PYTHONPATH=$root/scripts "$root/$tools/bin/schemathesis" run "$url/openapi.json" --header "x-api-key: $key" \
    --generation-with-security-parameters false \
    --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance \
    --max-examples "$examples" --seed 1 --request-timeout 20 --workers 2 --no-color || {
    echo "--- the log of the service:" >&2
    tail -n 50 "$folder/log" >&2
    exit 1
}
python3 "$root/scripts/conformance_answers.py" "$CONFORMANCE_ANSWERS" "$root/docs/openapi.json"
