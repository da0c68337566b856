"""D9: a database that is damaged, cut, emptied or gone, at the start and while the service runs."""

import os
import time

from harness import Broken, Server, artifact, check, scratch

COMMAND = "artifact backup restore"


def overwrite(path, place, length):
    with open(path, "r+b") as file:
        file.seek(place)
        file.write(os.urandom(length))


def header(path):
    overwrite(path, 0, 100)


def page(path):
    # Every page but the first: whatever the tables are, some of theirs are hit.
    for number in range(1, path.stat().st_size // 8192):
        overwrite(path, number * 8192, 64)


def cut(path):
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size // 2 // 8192 * 8192)


def empty(path):
    with open(path, "r+b") as file:
        file.truncate(0)


def gone(path):
    path.unlink()


FAULTS = [header, page, cut, empty, gone]


def sample(data):
    artifact("seed", "gold-bitcoin", data=data)
    artifact("backup", "create", data=data)


def at_start(quick):
    """D9: damage found at the start"""
    slowest = 0
    for fault in FAULTS:
        for wal in (False, True):
            with scratch() as folder:
                data = folder / "data"
                sample(data)
                path, log = data / "artifact.db", data / "artifact.db-wal"
                if wal:
                    with Server(data) as server:
                        check(server.ask("POST", "/markets", {"code": "W", "name": "W", "market_type": "CRYPTO_EXCHANGE", "timezone": "UTC"})[0] == 201, "a market")
                        server.kill()
                    check(log.exists() and log.stat().st_size > 0, "no write-ahead log is left")
                fault(path)
                before = path.read_bytes() if path.exists() else None
                began = time.monotonic()
                server = Server(data)
                code = server.process.wait(30)
                slowest = max(slowest, time.monotonic() - began)
                time.sleep(0.05)
                said = "\n".join(server.errors)
                what = f"{fault.__name__}{' beside a log' if wal else ''}"
                check(code == 1 and COMMAND in said and "panicked" not in said, f"{what}: {code} {said}")
                if fault in (empty, gone):
                    there = path.read_bytes() if path.exists() else None
                    check(there == before, f"{what}: a database was made where one was lost")
                artifact("backup", "restore", "latest", data=data)
                with Server(data) as server:
                    check(server.ask("GET", "/health")[0] == 200, f"{what}: healthy after the restore")
    return f"{2 * len(FAULTS)} kinds refused, after {slowest:.2f} s at most, each restored by the command that was named"


def while_running(quick):
    """D9: damage found while the service runs"""
    slowest = 0
    for fault in (header, cut, empty, gone):
        with scratch() as folder:
            data = folder / "data"
            sample(data)
            # A database without a log behind it: what is in the file counts.
            with Server(data) as server:
                check(server.ask("GET", "/health")[0] == 200, "healthy before")
                fault(data / "artifact.db")
                began = time.monotonic()
                while server.ask("GET", "/health")[0] == 200:
                    if time.monotonic() - began > 5:
                        raise Broken(f"{fault.__name__}: /health says nothing after 5 s")
                    time.sleep(0.1)
                slowest = max(slowest, time.monotonic() - began)
                # The line is written beside the answer, and may come after it.
                while time.monotonic() - began < 5 and not any(COMMAND in line for line in server.errors):
                    time.sleep(0.05)
                check(any(COMMAND in line for line in server.errors), f"{fault.__name__}: {server.errors}")
                status, _, _ = server.ask("POST", "/markets", {"code": "W", "name": "W", "market_type": "CRYPTO_EXCHANGE", "timezone": "UTC"})
                check(status in (503, 507), f"{fault.__name__}: a write answered {status}")
                server.kill()
    return f"4 kinds noticed by /health after {slowest:.2f} s at most, writes refused"
