"""D13: kill -9 in the middle of a migration leaves the old or the new, never something between."""

import hashlib
import random
import signal
import sqlite3
import subprocess
import time

from harness import BINARY, ROOT, Server, artifact, check, scratch

OLD = 8
POINTS = 150_000


def old_database(data):
    """A database as schema 8 wrote it, with a row per price."""
    data.mkdir(mode=0o700)
    base = sqlite3.connect(data / "artifact.db")
    base.executescript("PRAGMA page_size = 8192; PRAGMA journal_mode = WAL;")
    base.execute(
        "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL, installed_on TIMESTAMP NOT NULL "
        "DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL, checksum BLOB NOT NULL, execution_time BIGINT NOT NULL)"
    )
    for path in sorted((ROOT / "migrations/sqlite").glob("*.sql"))[:OLD]:
        base.executescript(path.read_text())
        number, name = path.stem.split("_", 1)
        sum_ = hashlib.sha384(path.read_bytes()).digest()
        base.execute(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (?, ?, 1, ?, 0)",
            (int(number), name.replace("_", " "), sum_),
        )
    base.execute(
        "INSERT INTO markets (market_key, id, code, name, market_type, status, time_zone, currency, trading_days, metadata, version, "
        "created_at, updated_at) VALUES (1, randomblob(16), 'LAB', 'Lab', 'CRYPTO_EXCHANGE', 'OPEN', 'UTC', 'USD', '[]', '{}', 1, 0, 0)"
    )
    base.execute(
        "INSERT INTO assets (asset_key, id, symbol, name, asset_type, status, market_key, currency, metadata, version, created_at, "
        "updated_at) VALUES (2, randomblob(16), 'LAB', 'Lab', 'CRYPTOCURRENCY', 'ACTIVE', 1, 'USD', '{}', 1, 0, 0)"
    )
    base.execute("INSERT INTO price_sources (source_key, name, split_adjusted, recorded_at) VALUES (3, 'lab', 0, 0)")
    base.executemany(
        "INSERT INTO prices (asset_key, observed_at, source_key, candle, seq, recorded_at, withdrawn, price) VALUES (2, ?, 3, '', ?, 5, 0, ?)",
        ((number * 1_000_000, 10 + number, f"{number % 977}.{number % 100:02}") for number in range(POINTS)),
    )
    base.execute("UPDATE commit_stamp SET last = 9, seq = ?", (POINTS + 20,))
    base.commit()
    base.close()


def schema(data):
    base = sqlite3.connect(data / "artifact.db")
    found = base.execute("SELECT MAX(version), MIN(success) FROM _sqlx_migrations").fetchone()
    tables = {name for (name,) in base.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    sound = base.execute("PRAGMA integrity_check").fetchone()
    base.close()
    check(sound == ("ok",) and found[1] == 1, f"{sound} {found}")
    check(("prices" in tables) == (found[0] < 10), f"schema {found[0]} with tables {sorted(tables)}")
    return found[0]


def upgrade(quick):
    """D13: kill -9 in mid-migration"""
    with scratch() as folder:
        data = folder / "data"
        old_database(data)
        seen, kills = [], 6 if quick else 20
        took = None
        for number in range(kills):
            command = [str(BINARY), "migrate", "--data", str(data)]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={"ARTIFACT_BACKUP__BEFORE_MIGRATION": "false"})
            time.sleep(0.02 + random.random() * 0.15 * (1 + number))
            process.send_signal(signal.SIGKILL)
            process.wait()
            seen.append(schema(data))
            if seen[-1] > 9 and took is None:
                took = number
                # Done: the next kills hit a start of the new schema. Begin anew once, to be hit in the middle more often.
                for path in data.iterdir():
                    path.unlink()
                data.rmdir()
                old_database(data)
        artifact("migrate", data=data)
        check(schema(data) >= 10, "the schema is not up to date")
        with Server(data) as server:
            status, rows, _ = server.ask("GET", "/prices?symbol=LAB&limit=3")
            check(status == 200 and len(rows) == 3, f"{status} {rows}")
            status, candles, _ = server.ask("GET", "/candles?symbol=LAB&interval=1d&limit=10")
            newest = server.ask("GET", "/prices/latest?symbols=LAB")[1]
            last = POINTS - 1
            text = str(newest)
            check(f"{last % 977}.{last % 100:02}" in text, f"{text}")
        base = sqlite3.connect(data / "artifact.db")
        points = base.execute("SELECT (SELECT COALESCE(SUM(points), 0) FROM sealed_prices) + (SELECT COALESCE(SUM(points), 0) FROM fresh_prices)").fetchone()[0]
        check(points == POINTS, f"{points} points instead of {POINTS}")
        return f"{kills} kills, schemas seen {sorted(set(seen))}, all {POINTS} prices there afterwards"
