"""D9: a database that is damaged, cut, emptied or gone, at the start and while the service runs."""

import os
import sqlite3
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


def root_of(path, table):
    """Where the first page of a table is in the file."""
    with sqlite3.connect(path) as database:
        (number,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    database.close()
    return (number - 1) * 8192


def noticed(server, began):
    """How long it took until /health was not well any more, with the command in the log."""
    while server.ask("GET", "/health")[0] == 200 or not any(COMMAND in line for line in server.errors):
        if time.monotonic() - began > 60:
            raise Broken(f"not noticed after 60 s: {server.errors}")
        time.sleep(0.05)
    return time.monotonic() - began


def large(quick):
    """D9: damage of a database too large to be looked through before it is used"""
    with scratch() as folder:
        data = folder / "data"
        sample(data)
        path = data / "artifact.db"
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE padding (bytes)")
            for _ in range(18):
                database.execute("INSERT INTO padding VALUES (zeroblob(64 * 1024 * 1024))")
        database.close()
        size = path.stat().st_size
        check(size > 1 << 30, f"{size} bytes are not large")
        overwrite(path, root_of(path, "transactions"), 64)
        began = time.monotonic()
        with Server(data) as server:
            ready = time.monotonic() - began
            took = noticed(server, began)
            server.kill()
    return f"{size / (1 << 30):.2f} GiB: ready after {ready:.2f} s, the damage noticed after {took:.2f} s"


def read(quick):
    """D9: a damaged page that somebody reads while the service runs"""
    with scratch() as folder:
        data = folder / "data"
        sample(data)
        with Server(data) as server:
            check(server.ask("GET", "/health")[0] == 200, "healthy before")
            overwrite(data / "artifact.db", root_of(data / "artifact.db", "transactions"), 64)
            portfolio = server.ask("GET", "/portfolios")[1][0]["id"]
            began = time.monotonic()
            status, _, _ = server.ask("GET", f"/portfolios/{portfolio}/transactions")
            check(status == 503, f"a read of the damaged page answered {status}")
            took = noticed(server, began)
            status, _, _ = server.ask("POST", "/markets", {"code": "W", "name": "W", "market_type": "CRYPTO_EXCHANGE", "timezone": "UTC"})
            check(status == 503, f"a write answered {status}")
            server.kill()
    return f"noticed by /health after {took:.2f} s, writes refused"


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
