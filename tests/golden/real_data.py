#!/usr/bin/env python3
"""Profit and loss of a made-up ledger on real price history, in fractions and without a line of the service.

usage: real_data.py ../shared/data > real_data.json

The ledger, the corrected price and the voided trade are written here; the test records them and compares what the
service answers with what stands in the output. Figures are exact fractions `numerator/denominator`.
"""
import csv
import json
import sys
from datetime import datetime, timedelta, timezone
from fractions import Fraction as F
from zoneinfo import ZoneInfo

OPENED, CAPITAL = "2015-01-01", "100000"
# type, executed_at, symbol or None, quantity or amount, price, fee
LEDGER = [
    ("buy", "2015-01-05", "GOLD", "12", "1205.25", "9.95"),
    ("deposit", "2015-02-01", None, "2500.5", None, "0"),
    ("buy", "2015-03-10T15:30:00Z", "BTC-USD", "30", "290.5", "12.34"),
    ("buy", "2015-08-24", "GOLD", "7.5", "1155.125", "4.5"),
    ("sell", "2016-02-11T14:31:07.000001Z", "GOLD", "5", "1246.3", "6.25"),
    ("buy", "2016-06-24", "BTC-USD", "7", "664.01", "1.77"),
    ("withdrawal", "2016-12-01", None, "5000", None, "0"),
    ("fee", "2017-01-02", None, "45.6", None, "0"),
    ("sell", "2017-03-03", "BTC-USD", "11", "1285.33", "20.01"),
    ("sell", "2017-12-17T18:00:00Z", "BTC-USD", "13", "19345.67", "250.5"),
    ("buy", "2018-02-06", "BTC-USD", "3.3", "7001.01", "33.3"),
    ("sell", "2018-08-01", "GOLD", "10", "1216.4", "8.8"),
    ("sell", "2018-08-10", "BTC-USD", "12", "6139.99", "99.01"),
]
VOIDED = 4  # the sale of 5 GOLD
CORRECTED = {"symbol": "BTC-USD", "source": "coinbase", "interval": "1d", "timestamp": "2016-12-31T00:00:00Z",
             "price": "971.125"}
ASKS = ["2014-12-31", "2015-06-30", "2015-12-31T23:59:59.999999Z", "2016-12-31", "2017-03-02", "2017-03-03",
        "2017-12-17T12:00:00Z", "2017-12-17", "2018-08-13", "2019-02-25", "2019-03-01", "2020-02-29", None]
METHODS = ["fifo", "lifo", "hifo", "average"]
LAST = datetime.max.replace(tzinfo=timezone.utc)


def moment(text, end=False):
    if text is None:
        return LAST
    if len(text) == 10:
        day = datetime.fromisoformat(text).replace(tzinfo=timezone.utc)
        return day + timedelta(days=1, microseconds=-1) if end else day
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def prices(folder):
    """(symbol, moment, source, interval) -> price."""
    points, york = {}, ZoneInfo("America/New_York")
    with open(f"{folder}/btcusd_coinbase_1d.csv", newline="") as file:
        for row in csv.DictReader(file):
            points["BTC-USD", moment(row["ts"]), "coinbase", "1d"] = F(row["close"])
    with open(f"{folder}/gold_usd_monthly_worldbank.csv", newline="") as file:
        for row in csv.DictReader(file):
            points["GOLD", moment(row["date"]), "worldbank", "1M"] = F(row["price_usd_per_troy_oz"])
    with open(f"{folder}/xauusd_oanda_1d_bidask.csv", newline="") as file:
        for row in csv.DictReader(file):
            at = datetime.fromisoformat(row["ts"]).replace(tzinfo=york).astimezone(timezone.utc)
            points["GOLD", at, "oanda", "1d"] = (F(row["bid_close"]) + F(row["ask_close"])) / 2
    return points


def price_at(points, symbol, until):
    return max(((at, source, price) for (s, at, source, _), price in points.items() if s == symbol and at <= until),
               default=None)


def take(lots, quantity, method):
    """Takes `quantity` off the lots and returns its cost. A lot is [quantity, cost]."""
    if method == "average":
        held, cost = sum(lot[0] for lot in lots), sum(lot[1] for lot in lots)
        taken = cost * quantity / held
        lots[:] = [[held - quantity, cost - taken]] if held != quantity else []
        return taken
    order = {"fifo": lambda i: i, "lifo": lambda i: -i, "hifo": lambda i: (-lots[i][1] / lots[i][0], i)}[method]
    taken = F(0)
    for i in sorted(range(len(lots)), key=order):
        part = min(lots[i][0], quantity)
        if part == 0:
            continue
        share = lots[i][1] * part / lots[i][0]
        lots[i][0] -= part
        lots[i][1] -= share
        quantity -= part
        taken += share
    assert quantity == 0
    lots[:] = [lot for lot in lots if lot[0]]
    return taken


def report(ledger, points, as_of, method):
    until = moment(as_of, end=True)
    cash = contributed = F(CAPITAL) if moment(OPENED) <= until else F(0)
    fees = apart = F(0)
    lots, realized = {"BTC-USD": [], "GOLD": []}, {"BTC-USD": F(0), "GOLD": F(0)}
    traded = {}
    for kind, at, symbol, amount, price, fee in sorted(ledger, key=lambda row: moment(row[1])):
        if moment(at) > until:
            continue
        amount, price, fee = F(amount), F(price or 0), F(fee)
        fees += fee
        if kind == "buy":
            lots[symbol].append([amount, amount * price + fee])
            cash -= amount * price + fee
        elif kind == "sell":
            proceeds = amount * price - fee
            realized[symbol] += proceeds - take(lots[symbol], amount, method)
            cash += proceeds
        elif kind == "fee":
            cash, fees, apart = cash - amount, fees + amount, apart + amount
        else:
            flow = amount if kind == "deposit" else -amount
            cash, contributed = cash + flow, contributed + flow
        if symbol:
            traded[symbol] = price
    items, value, cost = {}, F(0), F(0)
    for symbol in sorted(traded):
        held, basis = sum(lot[0] for lot in lots[symbol]), sum(lot[1] for lot in lots[symbol])
        item = {"quantity": held, "cost_basis": basis, "realized_pnl": realized[symbol]}
        item["market_value"] = F(0)
        if held:
            at, source, price = price_at(points, symbol, until)
            item["market_value"] = held * price
            item["avg_cost"] = F(basis) / held
            item["price"] = {"price": price, "source": source, "observed_at": at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")}
        item["unrealized_pnl"] = item["market_value"] - basis
        items[symbol] = item
        value, cost = value + item["market_value"], cost + basis
    gain = cash + value - contributed
    done, open_ = sum(realized.values()), value - cost
    assert done + open_ - apart == gain
    return {"as_of": as_of, "cost_basis": method, "items": items, "pnl": {
        "realized_pnl": done, "unrealized_pnl": open_, "total_pnl": done + open_, "total_gain": gain, "fees": fees,
        "costs_apart": apart, "cash": cash, "cost_basis": cost, "market_value": value,
        "net_contributions": contributed, "total_value": cash + value},
        "open_positions": sum(1 for item in items.values() if item["quantity"])}


def plain(value):
    if isinstance(value, F):
        return f"{value.numerator}/{value.denominator}"
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return value


def main():
    points = prices(sys.argv[1])
    key = (CORRECTED["symbol"], moment(CORRECTED["timestamp"]), CORRECTED["source"], CORRECTED["interval"])
    assert key in points
    corrected = {**points, key: F(CORRECTED["price"])}
    kept = [row for n, row in enumerate(LEDGER) if n != VOIDED]
    fields = lambda row: {
        "type": row[0], "executed_at": row[1], "external_id": f"real-{row[1]}-{row[0]}",
        **({"symbol": row[2], "quantity": row[3], "price": row[4], "fee": row[5]} if row[2] else {"amount": row[3]})}
    questions = [(ask, "fifo") for ask in ASKS] + [(ask, method) for ask in ("2018-08-13", None) for method in METHODS[1:]]
    out = {
        "opened_at": OPENED, "initial_capital": CAPITAL, "ledger": [fields(row) for row in LEDGER], "voided": VOIDED,
        "corrected": CORRECTED, "rows": {"coinbase": sum(k[2] == "coinbase" for k in points),
                                         "worldbank": sum(k[2] == "worldbank" for k in points),
                                         "oanda": sum(k[2] == "oanda" for k in points)},
        "before": [report(LEDGER, points, *question) for question in questions],
        "after": [report(kept, corrected, *question) for question in questions]}
    json.dump(plain(out), sys.stdout, indent=1)
    print()


main()
