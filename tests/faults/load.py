"""D10, D11: backups while clients write."""

import json
import shutil
import time

from harness import Server, Writers, artifact, check, p99, scratch

BACKUPS = 5


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
            writers.start(server)
            time.sleep(3 if quick else 10)
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
        for made, before in taken:
            check(made["id"] in kept, "a backup of today is gone")
            artifact("backup", "verify", made["id"], data=data)
            artifact("backup", "restore", made["id"], data=data)
            with Server(data) as server:
                lost = writers.lost(server, before)
                check(not lost, f"{len(lost)} writes acknowledged before the backup are not in it")
                again = [ask(server, path, known_at[made["id"]]) for path in paths]
                check(json.dumps(again) == json.dumps(live[made["id"]]), "figures differ")
                server.stop()
        ratio = p99(busy) / p99(idle)
        return (
            f"{len(taken)} backups of {size / 1e6:.0f} MB, slowest {slowest:.2f} s, every write acknowledged before is in; "
            f"write p99 {p99(idle) * 1000:.1f} ms, meanwhile {p99(busy) * 1000:.1f} ms ({ratio:.1f} times)"
        )
