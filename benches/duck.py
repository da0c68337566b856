"""Ticks in DuckDB, in this process: the peer of candles.

Answers each line on standard input: `load ROWS` (ticks of one asset, one a second) with 0, `candles MINUTES` with the
nanoseconds it took to make so many candles of a minute of them.
"""

import sys
import time

import duckdb

db = duckdb.connect()
for line in sys.stdin:
    word, number = line.split()
    number = int(number)
    if word == "load":
        db.execute("CREATE TABLE ticks AS SELECT 1735689600000000 + n * 1000000 AS ts, "
                   f"CAST(4000000 + n * n % 977 AS BIGINT) AS price FROM range({number}) AS r(n)")
        print(0, flush=True)
    else:
        began = time.perf_counter_ns()
        candles = db.execute(
            "SELECT ts // 60000000 AS minute, arg_min(price, ts), max(price), min(price), arg_max(price, ts), count(*) "
            "FROM ticks GROUP BY minute ORDER BY minute").fetchall()
        took = time.perf_counter_ns() - began
        assert len(candles) == number, len(candles)
        print(took, flush=True)
