#!/usr/bin/env python3
"""What frames of Coinbase Exchange come to, from trades to the profit of a portfolio, without a line of the service.

usage: feeds.py FRAMES... > feeds.json      (feed_frames.txt, ../../../shared/data/frames/cryptofeed_coinbase_ws.txt)

A frame is a line `receive time: {json}`. Trades (`match`, `last_match`) count once by product and number; those of one
moment are one point: the last price by number, the sum of the sizes. The portfolio has 100,000 GBP, buys, sells short and
sells again as PORTFOLIO says, and is valued at the last price of each product. Decimals are Python's, which are exact here.
"""
import hashlib
import json
import sys
from decimal import Decimal as D
from pathlib import Path

CAPITAL = D(100000)
PORTFOLIO = [  # product, side, quantity, price; then what is closed of it: quantity, price, fee
    ("BAND-GBP", "LONG", D("1000"), D("14.5"), (D("400"), D("14.9"), D("1.5"))),
    ("SKL-GBP", "SHORT", D("2500"), D("0.58"), (D("500"), D("0.57"), D("0.25"))),
    ("NU-GBP", "LONG", D("3000.5"), D("0.4501"), None),
]


def trades(path):
    found = {}
    for line in Path(path).read_text().splitlines():
        head, brace, rest = line.partition(": {")
        if not brace or "<-" in head:
            continue
        try:
            frame = json.loads("{" + rest, parse_float=D, parse_int=int)
        except ValueError:
            continue
        if frame.get("type") in ("match", "last_match"):
            found[frame["product_id"], frame["trade_id"]] = (frame["time"], D(frame["price"]), D(frame["size"]))
    return found


def plain(number):
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def main(paths):
    out = {}
    for path in paths:
        points = {}
        for (product, _), (time, price, size) in sorted(trades(path).items(), key=lambda item: item[0]):
            known = points.setdefault((product, time), [price, D(0)])
            known[0], known[1] = price, known[1] + size
        last = {}
        for (product, time), (price, _) in sorted(points.items()):
            last[product] = price
        lines = [f"{product} {time} {plain(price)} {plain(volume)}\n" for (product, time), (price, volume) in sorted(points.items())]
        realized = unrealized = D(0)
        positions = {}
        for product, side, quantity, price, closed in PORTFOLIO:
            sign = 1 if side == "LONG" else -1
            if closed:
                part, at, fee = closed
                realized += sign * part * (at - price) - fee
                quantity -= part
            gain = sign * quantity * (last[product] - price)
            unrealized += gain
            positions[product] = {"quantity": plain(quantity), "current_price": plain(last[product]), "unrealized_pnl": plain(gain)}
        out[Path(path).name] = {
            "trades": len(trades(path)),
            "points": len(points),
            "sha256": hashlib.sha256("".join(lines).encode()).hexdigest(),
            "positions": positions,
            "realized_pnl": plain(realized),
            "unrealized_pnl": plain(unrealized),
            "total_value": plain(CAPITAL + realized + unrealized),
        }
    json.dump(out, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main(sys.argv[1:])
