"""D10, D11: backups while clients write."""

import base64
import json
import os
import time

from harness import Server, Writers, artifact, check, p99, scratch

BACKUPS = 5
# Size of the database at length, in bytes, and what a backup of it may cost; seconds from the command that restores to a
# service that answers, for a gigabyte.
SIZE, SECONDS_MAX, RATIO_MAX, BACK_MAX = 100_000_000, 5, 2, 60


def grow(server, size):
    """Adds assets with as much about them as there may be, until the database has so many bytes."""
    number, path = 0, server.data / "artifact.db"
    while path.stat().st_size < size:
        # Text of chance, so that it does not shrink when it is packed.
        text = base64.b64encode(os.urandom(44_000)).decode()
        asset = {"symbol": f"X{number}", "name": "x", "asset_type": "CRYPTOCURRENCY", "market_code": "LAB", "metadata": {"text": text}}
        check(server.ask("POST", "/assets", asset)[0] == 201, "an asset")
        number += 1


def backups(quick):
    """D10: backups under load"""
    with scratch() as folder:
        data, writers = folder / "data", Writers(4)
        artifact("seed", "gold-bitcoin", data=data)
        with Server(data) as server:
            writers.prepare(server)
            # Some size: batches of prices, sealed into blocks as they come.
            for part in range(4 if quick else 40):
                rows = [
                    {"symbol": "LAB", "price": f"{(part * 7919 + row * 31) % 99991}.{row % 100:02}", "source": "bulk",
                     "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(1_000_000_000 + part * 10_000 + row))}
                    for row in range(10_000)
                ]
                check(server.ask("POST", "/prices/batch", rows, timeout=120)[0] == 200, "a batch")
            grow(server, 0 if quick else SIZE)
            writers.start(server)
            time.sleep(3 if quick else 15)
            with writers.lock:
                idle, writers.times = writers.times, []
            taken, slowest = [], 0
            while len(taken) < BACKUPS:
                with writers.lock:
                    before = dict(writers.acked)
                began = time.monotonic()
                status, made, _ = server.ask("POST", "/backups", timeout=300)
                slowest = max(slowest, time.monotonic() - began)
                check(status == 201, f"a backup answered {status} {made}")
                taken.append((made, before))
            with writers.lock:
                busy = list(writers.times)
            writers.end()
            check(not writers.odd and not writers.refused, f"{writers.odd[:2]} {len(writers.refused)}")
            portfolio = server.ask("GET", "/portfolios")[1][0]["id"]
            known_at = {made["id"]: made["last_commit"] for made, _ in taken}
            paths = [f"/portfolios/{portfolio}/pnl?by=lot", f"/portfolios/{portfolio}/positions?limit=100", f"/portfolios/{portfolio}/transactions?limit=100"]
            ask = lambda server, path, at: server.ask("GET", path + ("&" if "?" in path else "?") + f"known_at={at}")[1]
            live = {made["id"]: [ask(server, path, made["last_commit"]) for path in paths] for made, _ in taken}
            size = (data / "artifact.db").stat().st_size
            server.stop()
        kept = {row["id"] for row in json.loads(artifact("backup", "list", "--json", data=data).stdout)}
        longest = 0
        for made, before in taken:
            check(made["id"] in kept, "a backup of today is gone")
            artifact("backup", "verify", made["id"], data=data)
            began = time.monotonic()
            artifact("backup", "restore", made["id"], data=data)
            with Server(data) as server:
                longest = max(longest, time.monotonic() - began)
                lost = writers.lost(server, before)
                check(not lost, f"{len(lost)} writes acknowledged before the backup are not in it")
                again = [ask(server, path, known_at[made["id"]]) for path in paths]
                check(json.dumps(again) == json.dumps(live[made["id"]]), "figures differ")
                server.stop()
        ratio = p99(busy) / p99(idle)
        if not quick:
            check(size >= SIZE, f"only {size} bytes")
            check(slowest <= SECONDS_MAX * size / SIZE, f"a backup of {size / 1e6:.0f} MB took {slowest:.2f} s")
            check(longest <= BACK_MAX * size / 1e9, f"back after {longest:.1f} s with {size / 1e6:.0f} MB")
            check(ratio <= RATIO_MAX, f"write p99 {p99(idle) * 1000:.1f} ms, during backups {p99(busy) * 1000:.1f} ms")
        return (
            f"{len(taken)} backups of {size / 1e6:.0f} MB, slowest {slowest:.2f} s, every write acknowledged before is in; "
            f"restored and up again within {longest:.2f} s; "
            f"write p99 {p99(idle) * 1000:.1f} ms of {len(idle)}, meanwhile {p99(busy) * 1000:.1f} ms of {len(busy)} ({ratio:.1f} times)"
        )
