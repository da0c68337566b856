#!/usr/bin/env python3
"""Every figure of the golden ledgers once more, in fractions, without a line of the engine.

usage: outside.py [FILE ...]          compare (default: *.toml beside this script); exit 1 unless all agree
       outside.py --fill FILE ...     write the computed figure wherever a file says `name=?`

It is written from the rules, not from the engine: a lot is a quantity and an exact price per unit, nothing is
ever rounded, and a position is valued by multiplying. Python 3.11 or later, standard library only.
"""
import re
import sys
import tomllib
from fractions import Fraction as F
from pathlib import Path

sys.dont_write_bytecode = True
from outside_ledger import fold, lines, minus, moment, plus, times, value

OWN = {"cost_basis": "cost_basis", "opening_gross": "opening", "market_value": "market_value", "unrealized_pnl": "unrealized",
       "unrealized_pnl_gross": "unrealized_gross"}
SUMS = {"realized_pnl": "realized", "realized_pnl_gross": "realized_gross", "dividends": "income", "fees": "fees",
        "taxes": "taxes", "costs_apart": "apart"}


def of_asset(name, rows):
    plain = name.removesuffix("_base")
    side = "base" if plain != name else "own"
    total = lambda pick: plus(*[pick(r) for r in rows])
    held = lambda key: total(lambda r: (r["held"].base if side == "base" else r["held"].sums)[key])
    q = total(lambda r: -r["held"].q() if r["short"] else r["held"].q())
    if plain == "quantity":
        return q
    if plain in OWN:
        return total(lambda r: r[side][OWN[plain]])
    if plain in SUMS:
        return held(SUMS[plain])
    if plain == "notional":
        return total(lambda r: r[side]["notional"] if r[side]["notional"] is None else abs(r[side]["notional"]))
    if plain == "avg_cost":
        return total(lambda r: r["own"]["cost_basis"]) / q if q else None
    if plain == "avg_entry":
        lots = rows[0]["held"].lots
        at_one = sum(l.q * l.unit for l in lots) / sum(l.q for l in lots)
        many = rows[0]["many"]
        return many / at_one if rows[0]["inverse"] else at_one / many
    if plain in ("total_pnl", "gross_pnl", "net_pnl"):
        gross = plus(held("realized"), total(lambda r: r[side]["unrealized"]))
        return minus(gross, held("fees")) if plain == "net_pnl" else gross
    if plain == "realized_fx_pnl":
        return total(lambda r: r["held"].base["realized_fx"])
    if plain == "unrealized_fx_pnl":
        return total(lambda r: r["base"]["unrealized_fx"])
    if plain == "missing_quantity":
        return held("missing")
    if plain == "cost_removed":
        return total(lambda r: r["held"].entered - r["own"]["cost_basis"] * (-1 if r["short"] else 1))
    if plain in ("realized_pnl_cycle", "fees_cycle"):
        h = rows[0]["held"]
        cycle = h.cycle if h.open_since is None else h.running()
        return (cycle or {}).get("realized" if plain == "realized_pnl_cycle" else "fees", F(0))
    raise KeyError(name)


def totals(ledger, rows, at, account):
    mine = lambda name: account is None or account == name
    rows = [r for r in rows if mine(r["account"])]
    states = [s for n, s in ledger.by_account.items() if mine(n)]
    add = lambda pick, chosen=rows: plus(*[pick(r) for r in chosen])
    state = lambda name: plus(*[s[name] for s in states])
    cash, cash_fx = F(0), state("exchanged")
    for (name, ccy), own in ledger.cash.items():
        if mine(name):
            now = F(0) if own == 0 else times(own, ledger.rate(ccy, ledger.base, at))
            cash, cash_fx = plus(cash, now), plus(cash_fx, minus(now, ledger.moved[(name, ccy)]))
    shorts, longs = [r for r in rows if r["short"]], [r for r in rows if not r["short"]]
    t = {"cash": cash, "cash_fx_pnl": cash_fx}
    t["reserved"] = add(lambda r: times(F(2), r["base"]["opening"]), [r for r in shorts if not r["margined"]])
    t["long_market_value"], t["short_market_value"] = (add(lambda r: r["base"]["market_value"], s) for s in (longs, shorts))
    t["market_value"] = plus(t["long_market_value"], t["short_market_value"])
    t["current_capital"] = minus(cash, t["reserved"])
    t["total_market_value"] = plus(t["market_value"], t["reserved"])
    t["total_value"] = plus(t["current_capital"], t["total_market_value"])
    t["net_exposure"] = add(lambda r: r["base"]["notional"])
    t["gross_exposure"] = add(lambda r: None if r["base"]["notional"] is None else abs(r["base"]["notional"]))
    t["cost_basis"] = add(lambda r: r["base"]["cost_basis"])
    t["total_cost_basis"] = add(lambda r: None if r["base"]["cost_basis"] is None else abs(r["base"]["cost_basis"]))
    t["realized_pnl"] = minus(add(lambda r: r["held"].base["realized"]), state("expensed"))
    t["realized_pnl_gross"] = add(lambda r: r["held"].base["realized_gross"])
    t["realized_fx_pnl"] = add(lambda r: r["held"].base["realized_fx"])
    t["unrealized_pnl"] = add(lambda r: r["base"]["unrealized"])
    t["unrealized_pnl_gross"] = add(lambda r: r["base"]["unrealized_gross"])
    t["unrealized_fx_pnl"] = add(lambda r: r["base"]["unrealized_fx"])
    t["dividends"] = add(lambda r: r["held"].base["income"])
    t["income"] = plus(t["dividends"], state("interest"))
    t["fees"] = plus(add(lambda r: r["held"].base["fees"]), state("fees"))
    t["taxes"] = plus(add(lambda r: r["held"].base["taxes"]), state("taxes"))
    t["costs_apart"] = plus(add(lambda r: r["held"].base["apart"]), state("apart"))
    t["net_contributions"], t["internal_transfers"] = state("contributions"), state("internal")
    t["total_pnl"] = plus(t["realized_pnl"], t["unrealized_pnl"])
    t["total_gain"] = minus(minus(t["total_value"], t["net_contributions"]), t["internal_transfers"])
    parts = minus(plus(t["total_pnl"], t["income"], t["cash_fx_pnl"]), t["costs_apart"])
    if account is None and parts is not None:
        assert t["total_gain"] == parts, f"not conserved: {t['total_gain']} is not {parts}"
    return t


def figure(name, ledger, rows, subject, at):
    """The figure a check asks for: a fraction, None, a text, or lots."""
    account = asset = None
    if subject.startswith("account "):
        account = subject.removeprefix("account ")
    elif subject != "total":
        account, _, asset = subject.rpartition("/")
    mine = [r for r in rows if r["asset"] == asset and (not account or r["account"] == account)]
    mine.sort(key=lambda r: r["account"])
    if name == "error":
        return ledger.refused
    if name == "missing":
        totals(ledger, rows, at, None)
        named = sorted(ledger.missing, key=lambda m: (m[0], m[1], m[2]))
        return ",".join(f"{a}>{b}@{t:%Y-%m-%d}" for a, b, t in named)
    if name.startswith("cash:"):
        return plus(*[own for (n, ccy), own in ledger.cash.items() if ccy == name[5:] and (not account or n == account)])
    if name == "lots":
        sign = lambda r: -1 if r["short"] else 1
        return [(l.q, l.unit + sign(r) * l.cost, l.acquired[0]) for r in mine for l in r["held"].lots]
    if asset:
        return of_asset(name, mine)
    return totals(ledger, rows, at, account)[name]


def written(value):
    """A fraction as a decimal: exactly where it ends, else to 24 decimals."""
    if value is None:
        return "none"
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ",".join(f"{written(q)}@{written(c)}" for q, c, _ in value) or "none"
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    places = 24
    if rest == 1:
        places = next(n for n in range(400) if (value * 10**n).denominator == 1)
    digits = round(abs(value) * 10**places)
    whole, part = divmod(digits, 10**places)
    text = f"{whole}.{part:0{places}d}" if places else str(whole)
    return ("-" if value < 0 and digits else "") + text


def agrees(name, wanted, got, tolerance):
    close = lambda a, b, n: abs(F(a) - b) <= F(tolerance.get(n, tolerance.get("abs", "0")))
    if name in ("error", "missing"):
        return wanted == got
    if wanted == "none":
        return got is None or got == []
    if got is None:
        return False
    if name == "lots":
        lots = [part.split("@", 2) for part in wanted.split(",")]
        return len(lots) == len(got) and all(
            close(w[0], q, "quantity") and close(w[1], c, "unit_cost") and (len(w) < 3 or f"{at:%Y-%m-%d}" == w[2][:10])
            for w, (q, c, at) in zip(lots, got))
    return close(wanted, got, name)


def check(path, fill):
    text = Path(path).read_text()
    wrong = count = 0
    for scenario in tomllib.loads(text)["scenario"]:
        for line, plain, keyed in lines(scenario["expect"]):
            at, _ = moment(plain[0], end=True)
            subject = " ".join(plain[1:]).removesuffix(":")
            new, changed = line, scenario
            if "cost_basis_method" in keyed:
                own = {**scenario.get("conventions", {}), "cost_basis": keyed.pop("cost_basis_method")}
                changed = {**scenario, "conventions": own}
            ledger = fold(changed, at)
            rows = value(changed, ledger, at)
            for name, wanted in keyed.items():
                got = figure(name, ledger, rows, subject, at)
                count += 1
                if wanted == "?" and fill:
                    new = re.sub(rf"(?<!\S){re.escape(name)}=\?", f"{name}={written(got)}", new, count=1)
                elif not agrees(name, wanted, got, scenario.get("tolerance", {})):
                    wrong += 1
                    print(f"{path} {scenario['id']}: {plain[0]} {subject} {name}: {wanted} is expected, {written(got)} comes out")
            if new != line:
                text = text.replace(line, new, 1)
    if fill:
        Path(path).write_text(text)
    return wrong, count


def main():
    arguments = sys.argv[1:]
    fill = "--fill" in arguments
    paths = [a for a in arguments if a != "--fill"] or sorted(Path(__file__).parent.glob("*.toml"))
    results = [check(path, fill) for path in paths]
    wrong, count = sum(w for w, _ in results), sum(c for _, c in results)
    print(f"{count} figures in {len(results)} files, {wrong} of them wrong")
    sys.exit(1 if wrong else 0)


main()
