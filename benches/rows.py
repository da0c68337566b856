"""A row per price in SQLite, through its C interface as Python's sqlite3 has it: the peer of the blocks.

Opens the database named on the command line. Answers each line on standard input with nanoseconds (`size`: bytes):
`insert START` 100,000 ticks of 1,000 assets in one transaction, `history START` as many of one asset, `scan ROWS` of
that asset, `fold` all of them to the last price of each minute.
"""

import sqlite3
import sys
import time

db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA page_size = 8192")
db.execute("PRAGMA journal_mode = WAL")
db.execute("PRAGMA synchronous = FULL")
db.execute("PRAGMA wal_autocheckpoint = 8192")
db.execute("CREATE TABLE ticks (asset INTEGER, ts INTEGER, source INTEGER, price INTEGER, "
           "PRIMARY KEY (asset, ts, source)) WITHOUT ROWID")
INSERT = "INSERT INTO ticks VALUES (?, ?, ?, ?)"


def store(rows):
    began = time.perf_counter_ns()
    db.execute("BEGIN IMMEDIATE")
    db.executemany(INSERT, rows)
    db.execute("COMMIT")
    return time.perf_counter_ns() - began


def timed(work):
    began = time.perf_counter_ns()
    work()
    return time.perf_counter_ns() - began


def fold():
    last = {}
    for ts, price in db.execute("SELECT ts, price FROM ticks WHERE asset = -1 ORDER BY ts"):
        last[ts // 60_000_000] = price


for line in sys.stdin:
    word, *numbers = line.split()
    first = int(numbers[0]) if numbers else 0
    if word == "insert":
        # By asset, as the blocks are sorted: the order that costs SQLite least.
        rows = [(n // 100, 1_700_000_000_000_000 + (first + n % 100) * 1_000_000, 1, 4_000_000 + n * n % 977)
                for n in range(100_000)]
        answer = store(rows)
    elif word == "history":
        rows = [(-1, 1_700_000_000_000_000 + n * 1_000_000, 1, 4_000_000 + n * n % 977)
                for n in range(first, first + 100_000)]
        answer = store(rows)
    elif word == "scan":
        answer = timed(lambda: db.execute(
            "SELECT ts, price FROM ticks WHERE asset = -1 ORDER BY ts LIMIT ?", (first,)).fetchall())
    elif word == "fold":
        answer = timed(fold)
    else:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        answer = db.execute("PRAGMA page_count").fetchone()[0] * 8192
    print(answer, flush=True)
