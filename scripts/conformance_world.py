"""Makes something of everything in a running service that has the sample data, and prints by the name of its path
parameter what there is to be asked for.

conformance_world.py URL KEY
"""

import json
import sys
import urllib.error
import urllib.request

URL, KEY = sys.argv[1:]
JSON, CSV = "application/json", "text/csv"


def ask(method, path, body=None, kind=JSON):
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"x-api-key": KEY, "content-type": kind}
    try:
        with urllib.request.urlopen(urllib.request.Request(URL + path, data, headers, method=method)) as reply:
            return json.load(reply)
    except urllib.error.HTTPError as error:
        sys.exit(f"conformance: {method} {path}: {error.code} {error.read().decode()}")


portfolio = ask("GET", "/portfolios")[0]["id"]
deposit = {"type": "deposit", "amount": "1000", "external_id": "conformance"}
rights = {"owner_id": "conformance", "scopes": ["portfolios:read"]}
prices = b"time,price\n2026-01-05,2010.10\n2026-01-06,2011.50\n"
there = {
    "asset": "GOLD",
    "market": "COMEX",
    "portfolio": portfolio,
    "position": ask("GET", f"/portfolios/{portfolio}/positions")[0]["id"],
    "transaction": ask("POST", f"/portfolios/{portfolio}/transactions", deposit)["id"],
    "action": ask("POST", "/assets/GOLD/actions", {"type": "split", "ratio": "2", "executed_at": "2000-01-03"})["id"],
    "key": ask("POST", "/keys", {"name": "conformance", **rights})["id"],
    "user": ask("POST", "/users", {"name": "conformance", "password": "correct horse battery staple", **rights})["name"],
    "backup": ask("POST", "/backups")["id"],
    "source": "desk",
    "batch": ask("POST", "/ingest/queue", [{"symbol": "GOLD", "price": "1", "timestamp": "2020-01-05"}])["id"],
    # The feed of the configuration.
    "name": "desk",
}
ask("POST", "/prices/import?symbol=GOLD&source=desk&save_records=true", prices, CSV)
print(json.dumps(there))
