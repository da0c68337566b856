#!/usr/bin/env python3
"""Rates between any two currencies from the ECB's daily file, in fractions and without a line of the service.

usage: ecb_rates.py ../shared/data/ecb_eurofxref_1d.csv > ecb_rates.json

One EUR is `cell` of a currency; the newest cell at or before the end of the day counts; a pair goes through EUR, and
the older of the two days is the one observed. `rate` is the exact fraction rounded half-even to 34 digits.
"""
import csv
import json
import random
import sys
from bisect import bisect_right
from datetime import datetime, timedelta, timezone
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction as F

MINOR = {"GBp": ("GBP", 100), "GBX": ("GBP", 100), "ZAc": ("ZAR", 100)}
CHOSEN = [  # Friday, Saturday and Sunday; before and after the last day of two currencies; minor units; the first day
    ("USD", "CHF", "2026-10-30"), ("USD", "CHF", "2026-10-31"), ("USD", "CHF", "2026-11-01"), ("CHF", "USD", "2026-10-31"),
    ("EUR", "USD", "2026-10-31"), ("USD", "EUR", "2026-10-31"), ("HRK", "USD", "2022-12-31"), ("HRK", "USD", "2026-10-30"),
    ("RUB", "JPY", "2022-03-01"), ("RUB", "JPY", "2022-03-02"), ("GBp", "USD", "2020-02-29"), ("USD", "GBX", "2020-02-29"),
    ("GBp", "ZAc", "2015-05-25"), ("EUR", "ZAc", "2015-05-25"), ("USD", "CHF", "1999-01-04"), ("USD", "CHF", "1999-01-03"),
    ("CNY", "USD", "2005-03-31"), ("CNY", "USD", "2005-04-01"), ("GBp", "GBP", "1990-01-01"), ("SEK", "SEK", "1990-01-01"),
]


def main(path):
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    codes = [name for name in rows[0] if name != "date"]
    known = {code: [(row["date"], F(row[code])) for row in rows if row[code] != "N/A"] for code in codes}
    cells = sum(len(points) for points in known.values())
    draw = random.Random(20260101)
    asks, units = list(CHOSEN), codes + ["EUR", "GBp", "GBX", "ZAc"]
    while len(asks) < 120:
        day = datetime(1999, 1, 1) + timedelta(days=draw.randrange(10164))
        base, quote = draw.sample(units, 2)
        asks.append((base, quote, day.date().isoformat()))
    out = [answer(known, *ask) for ask in asks]
    json.dump({"cells": cells, "absent": len(rows) * len(codes) - cells, "asks": out}, sys.stdout, indent=1)
    print()


def answer(known, base, quote, day):
    (base_major, base_per), (quote_major, quote_per) = MINOR.get(base, (base, 1)), MINOR.get(quote, (quote, 1))
    said = {"base": base, "quote": quote, "as_of": day, "rate": None, "observed_at": None, "age": None, "via": None}
    rate = F(quote_per, base_per)
    if base_major != quote_major:
        legs = {}
        for code in {base_major, quote_major} - {"EUR"}:
            at = bisect_right([when for when, _ in known[code]], day)
            if at == 0:
                return said
            legs[code] = known[code][at - 1]
        rate = rate * legs.get(quote_major, (None, F(1)))[1] / legs.get(base_major, (None, F(1)))[1]
        seen = min(when for when, _ in legs.values())
        end = datetime.fromisoformat(day) + timedelta(days=1, microseconds=-1)
        said["observed_at"] = seen + "T00:00:00.000000Z"
        said["age"] = (end - datetime.fromisoformat(seen)) // timedelta(seconds=1)
        said["via"] = "EUR" if len(legs) == 2 else None
    context = Context(prec=34, rounding=ROUND_HALF_EVEN)
    quotient = context.divide(Decimal(rate.numerator), Decimal(rate.denominator))
    said["rate"] = format(quotient.normalize(context), "f")
    said["fraction"] = f"{rate.numerator}/{rate.denominator}"
    return said


main(sys.argv[1])
