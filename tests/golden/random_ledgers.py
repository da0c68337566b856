#!/usr/bin/env python3
"""Writes golden ledgers made by chance: every convention, asset and currency mixed. Fill them with outside.py.

usage: random_ledgers.py FIRST_SEED COUNT > FILE && outside.py --fill FILE
"""
import random
import sys

ASSET = ("quantity cost_basis market_value realized_pnl realized_pnl_gross unrealized_pnl dividends fees taxes costs_apart "
         "missing_quantity cost_basis_base realized_pnl_base realized_fx_pnl_base unrealized_pnl_base unrealized_fx_pnl_base lots")
TOTAL = ("cash reserved current_capital long_market_value short_market_value total_value net_exposure gross_exposure "
         "realized_pnl unrealized_pnl income fees taxes costs_apart cash_fx_pnl net_contributions total_gain missing error")
CURRENCIES = ["EUR", "USD", "GBP", "JPY"]


def scenario(seed):
    r = random.Random(seed)
    pick, num = r.choice, lambda most, digits=2: f"{r.randint(1, most * 10**digits) / 10**digits:.{digits}f}"
    method = pick(["fifo", "lifo", "hifo", "average", "specific"])
    scope = pick(["account", "account", "global"])
    conventions = {"cost_basis": method, "lot_scope": scope, "fees": pick(["in_cost", "separate", "expensed", "none"]),
                   "taxes": pick(["separate", "in_cost"]), "short": pick(["rejected", "allowed", "missing_basis_is_zero_cost"])}
    if r.random() < 0.3:
        conventions["dust"] = pick(["0.5", "0.01"])
    assets = {"HOME": "", "ABROAD": f'settlement = "{pick(CURRENCIES[1:])}"',
              "FUT": f'margined = true, multiplier = "{pick(["1", "50", "0.1"])}", settlement = "{pick(CURRENCIES)}"',
              "INV": f'inverse = true, multiplier = "{pick(["1", "10"])}", settlement = "{pick(CURRENCIES)}"',
              "OPT": 'multiplier = "100"'}
    names, accounts, ledger, opened = list(assets), ["main", "b"], [], {}
    days = sorted(f"2024-{r.randint(1, 6):02d}-{r.randint(1, 28):02d}" for _ in range(r.randint(6, 22)))
    for n, day in enumerate(days):
        asset, account = pick(names), pick(accounts)
        costs = (f" fee={num(9)}" if r.random() < 0.5 else "") + (f" tax={num(9)}" if r.random() < 0.3 else "")
        if r.random() < 0.1:
            costs += f" fx_rate={num(3, 3)}"
        if r.random() < 0.1 and asset in ("HOME", "ABROAD", "OPT"):
            costs += f" currency={pick(CURRENCIES)}"
        kind = pick(["buy"] * 5 + ["sell"] * 5 + ["short", "transfer_in", "transfer_out", "transfer", "deposit", "withdrawal",
                     "interest", "dividend", "fee", "tax", "split", "fx", "move"])
        if asset in ("FUT", "INV") and kind.startswith("transfer") and r.random() < 0.8:
            asset = "HOME"
        price = f"for {num(500)}" if r.random() < 0.2 else f"@ {num(50)}"
        lots = ""
        if method == "specific" and opened.get(asset) and kind in ("buy", "sell", "transfer_out", "transfer"):
            label, size = pick(opened[asset])
            lots = f" lots={label}:{size}" if kind != "buy" or r.random() < 0.5 else ""
        q = lots.rsplit(":", 1)[1] if lots else num(30, pick([0, 0, 1, 4]))
        if kind in ("buy", "sell", "short", "transfer_in"):
            line = f"{kind} {q} {asset} {price}{costs}"
            if kind == "buy" and float(q) > 1 and r.random() < 0.1:
                line += " fee_asset=0.25"
            if not (kind == "transfer_in" or kind == "short"):
                line += lots
            opened.setdefault(asset, []).append((f"t{n}", q))
            line += f" id=t{n}"
        elif kind in ("transfer_out", "transfer"):
            costs = costs if kind == "transfer_out" else costs.split(" fx")[0].split(" tax")[0].split(" curr")[0]
            line = f"{kind} {q} {asset}{costs}{lots}" + (f" to={'b' if account == 'main' else 'main'}" if kind == "transfer" else "")
        elif kind == "dividend":
            line = f"dividend {pick(['', '-'])}{num(20)} {asset}{costs}"
        elif kind == "split":
            line = f"split {pick(['HOME', 'ABROAD', 'OPT'])} {pick(['2:1', '1:10', '3:1', '1:3', '3:2'])}"
        elif kind == "fx":
            one, other = r.sample(CURRENCIES, 2)
            line = f"fx {num(300)} {one} to {num(300)} {other}" + (f" fee={num(3)}" if r.random() < 0.5 else "")
        elif kind == "move":
            line = f"move {num(300)} {pick(CURRENCIES)} to={'b' if account == 'main' else 'main'} fee={num(2)}"
        else:
            fee = f" fee={num(5)}" if kind in ("deposit", "withdrawal", "interest") and r.random() < 0.4 else ""
            about = f" asset={asset}" if kind in ("fee", "tax") and r.random() < 0.5 else ""
            line = f"{kind} {num(900)} {pick(CURRENCIES)}{fee}{about}"
        ledger.append(f"{day} {line}" + (f" account={account}" if account != "main" else ""))
    prices = [f"2024-{m:02d}-{r.randint(1, 28):02d} {a} {num(60)}" for a in names for m in (1, 3, 5) if r.random() < 0.7]
    pairs = ["USD/EUR", "EUR/GBP", pick(["EUR/JPY", "USD/JPY"])]
    rates = [f"2024-{m:02d}-{1 if m == 1 else r.randint(1, 28):02d} {p} {num(3, 3)}" for p in pairs for m in (1, 2, 4)
             if m == 1 and r.random() < 0.93 or m > 1 and r.random() < 0.8]
    blank = lambda names: " ".join(f"{n}=?" for n in names.split())
    expect = []
    for day in ("2024-02-15", "2024-04-30", "2024-07-31"):
        expect += [f"{day} {a}: {blank(ASSET)}" for a in names if any(f" {a} " in f"{l} " and l[:10] <= day for l in ledger)]
        expect.append(f"{day} total: {blank(TOTAL)}")
    text = ["[[scenario]]", f'id = "random-{seed}"', f'source = "outside.py (fractions) of random_ledgers.py, seed {seed}"',
            'base = "EUR"', 'tolerance = { abs = "1e-18" }',
            "conventions = { " + ", ".join(f'{k} = "{v}"' for k, v in conventions.items()) + " }"]
    text += [f"assets.{name} = {{ {body} }}" for name, body in assets.items() if body]
    for name, rows in (("ledger", ledger), ("prices", prices), ("rates", rates), ("expect", expect)):
        text += [f'{name} = """', *rows, '"""']
    return "\n".join(text) + "\n"


first, count = int(sys.argv[1]), int(sys.argv[2])
print("# Ledgers made by chance, see random_ledgers.py.\n")
print("\n".join(scenario(seed) for seed in range(first, first + count)))
