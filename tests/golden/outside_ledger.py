"""A ledger in fractions: the other half of outside.py, which says what this is for."""
import copy
from datetime import datetime, timedelta, timezone
from fractions import Fraction as F

MINOR = {"GBp": ("GBP", 100), "GBX": ("GBP", 100), "ILA": ("ILS", 100), "ZAc": ("ZAR", 100)}
USUAL = {"cost_basis": "fifo", "lot_scope": "account", "fees": "in_cost", "taxes": "separate", "short": "rejected", "dust": "0"}


class Refused(Exception):
    pass


def moment(text, end=False):
    """(moment, was it a day)"""
    if len(text) == 10:
        day = datetime.fromisoformat(text).replace(tzinfo=timezone.utc)
        return (day + timedelta(days=1, microseconds=-1) if end else day), True
    return datetime.fromisoformat(text.replace("Z", "+00:00")), False


def lines(text):
    for line in text.splitlines():
        line = line.strip()
        if line and not line.startswith("#"):
            words = line.split()
            plain = [w for w in words if "=" not in w]
            keyed = dict(w.split("=", 1) for w in words if "=" in w)
            yield line, plain, keyed


def plus(*values):
    return None if any(v is None for v in values) else sum(values, F(0))


def minus(a, b):
    return None if a is None or b is None else a - b


def times(a, b):
    return None if a is None or b is None else a * b


class Rates:
    def __init__(self, text):
        self.points = {}
        for _, plain, _ in lines(text):
            self.points.setdefault(tuple(plain[1].split("/")), []).append((moment(plain[0])[0], F(plain[2])))

    def quoted(self, a, b, at):
        known = [p for p in self.points.get((a, b), []) if p[0] <= at]
        return max(known, key=lambda p: p[0]) if known else None

    def direct(self, a, b, at):
        straight, back = self.quoted(a, b, at), self.quoted(b, a, at)
        if back and (not straight or back[0] > straight[0]):
            return 1 / back[1]
        return straight[1] if straight else None

    def rate(self, a, b, at):
        if a == b:
            return F(1)
        (am, an), (bm, bn) = MINOR.get(a, (a, 1)), MINOR.get(b, (b, 1))
        if am == bm:
            return F(bn, an)
        found = self.direct(am, bm, at)
        for via in ["EUR", "USD"] + sorted({c for pair in self.points for c in pair}):
            if found is None and via not in (am, bm):
                found = times(self.direct(am, via, at), self.direct(via, bm, at))
        return times(found, F(bn, an))


class Lot:
    """Units with, per unit: value, costs, and both in base currency."""

    def __init__(self, q, unit, cost, unit_b, cost_b, acquired, entry):
        self.q, self.unit, self.cost, self.unit_b, self.cost_b = q, unit, cost, unit_b, cost_b
        self.acquired, self.entry = acquired, entry


class Holding:
    def __init__(self, ccy):
        self.ccy, self.short, self.lots, self.last = ccy, False, [], None
        self.sums = {n: F(0) for n in ("realized", "realized_gross", "income", "fees", "taxes", "apart", "missing")}
        self.base = {n: F(0) for n in ("realized", "realized_gross", "realized_fx", "income", "fees", "taxes", "apart")}
        self.open_since, self.cycle = None, None
        self.entered = F(0)

    def q(self):
        return sum((lot.q for lot in self.lots), F(0))

    def add(self, name, own, base):
        self.sums[name] += own
        self.base[name] = plus(self.base[name], base)

    def begin(self, short):
        if self.open_since is None:
            self.short, self.open_since = short, dict(self.sums)

    def running(self):
        return {n: self.sums[n] - self.open_since[n] for n in self.sums}


class Ledger:
    def __init__(self, scenario):
        self.base = scenario["base"]
        self.c = {**USUAL, **scenario.get("conventions", {})}
        self.terms = scenario.get("assets", {})
        self.rates = Rates(scenario.get("rates", ""))
        self.holdings, self.cash, self.moved = {}, {}, {}
        self.by_account = {}
        self.splits, self.missing, self.refused, self.labels = [], set(), "", {}

    # ---- what is known of assets and currencies
    def settlement(self, asset):
        return self.terms.get(asset, {}).get("settlement", self.base)

    def inverse(self, asset):
        return self.terms.get(asset, {}).get("inverse", False)

    def margined(self, asset):
        return self.inverse(asset) or self.terms.get(asset, {}).get("margined", False)

    def value_of_one(self, asset, price):
        many = F(self.terms.get(asset, {}).get("multiplier", "1"))
        return many / price if self.inverse(asset) else many * price

    def rate(self, a, b, at, needed=True):
        found = self.rates.rate(a, b, at)
        if found is None and needed:
            self.missing.add((a, b, at))
        return found

    def account(self, name):
        names = "contributions internal interest fees taxes apart expensed exchanged".split()
        return self.by_account.setdefault(name, {n: F(0) for n in names})

    def note(self, account, name, base):
        state = self.account(account)
        state[name] = plus(state[name], base)

    def pay(self, e, account, ccy, own, base):
        """Cash moves in base currency when the entry brings its own rate."""
        if own == 0 and base == 0:
            return
        self.account(account)
        where, amount = ((account, self.base), base) if "fx_rate" in e else ((account, ccy), own)
        self.cash[where] = self.cash.get(where, F(0)) + amount
        self.moved[where] = plus(self.moved.get(where, F(0)), base)

    def in_base(self, e, ccy, own):
        if own == 0:
            return F(0)
        return own * F(e["fx_rate"]) if "fx_rate" in e else times(own, self.rate(ccy, self.base, e["at"]))

    def in_own(self, e, ccy, settlement, own):
        if ccy == settlement or own == 0:
            return own
        if settlement == self.base:
            found = self.in_base(e, ccy, own)
        else:
            found = times(own, self.rate(ccy, settlement, e["at"], needed=False))
        if found is None:
            raise Refused("no_rate")
        return found

    def holding(self, account, asset):
        key = ("*" if self.c["lot_scope"] == "global" else account, asset)
        return self.holdings.setdefault(key, Holding(self.settlement(asset)))

    # ---- entries
    def apply(self, e):
        kind = e["kind"]
        if kind in ("buy", "sell", "short"):
            self.trade(e)
        elif kind in ("transfer_in", "transfer_out", "transfer"):
            getattr(self, kind)(e)
        elif kind in ("deposit", "withdrawal", "interest"):
            own = -e["amount"] if kind == "withdrawal" else e["amount"]
            base = self.in_base(e, e["ccy"], own)
            self.pay(e, e["account"], e["ccy"], own, base)
            self.note(e["account"], "interest" if kind == "interest" else "contributions", base)
            self.charge(e, e["fee"], e["tax"])
        elif kind in ("fee", "tax"):
            amounts = (e["amount"], F(0)) if kind == "fee" else (F(0), e["amount"])
            if "asset" in e:
                e["fee"], e["tax"] = amounts
                self.apart(e, self.holding(e["account"], e["asset"]))
            else:
                self.charge(e, *amounts)
        elif kind == "dividend":
            held = self.holding(e["account"], e["asset"])
            ccy = e.get("ccy", held.ccy)
            base = self.in_base(e, ccy, e["amount"])
            held.add("income", self.in_own(e, ccy, held.ccy, e["amount"]), base)
            self.pay(e, e["account"], ccy, e["amount"], base)
            self.apart(e, held)
        elif kind == "move":
            base = self.in_base(e, e["ccy"], e["amount"])
            self.pay(e, e["account"], e["ccy"], -e["amount"], None if base is None else -base)
            self.pay(e, e["to"], e["ccy"], e["amount"], base)
            self.note(e["account"], "internal", None if base is None else -base)
            self.note(e["to"], "internal", base)
            self.charge(e, e["fee"], e["tax"])
        elif kind == "fx":
            out, into = self.in_base(e, e["ccy"], e["amount"]), self.in_base(e, e["to_ccy"], e["to_amount"])
            self.pay(e, e["account"], e["ccy"], -e["amount"], None if out is None else -out)
            self.pay(e, e["account"], e["to_ccy"], e["to_amount"], into)
            self.note(e["account"], "exchanged", minus(into, out))
            self.charge(e, e["fee"], e["tax"])
        elif kind == "split":
            self.splits.append((e["asset"], e["at"], e["day"], e["ratio"]))
            for (_, asset), held in self.holdings.items():
                if asset == e["asset"]:
                    for lot in held.lots:
                        lot.q *= e["ratio"]
                        for name in ("unit", "cost", "unit_b", "cost_b"):
                            setattr(lot, name, times(getattr(lot, name), 1 / e["ratio"]))
                    if held.last:
                        held.last = held.last / e["ratio"]
                    self.sweep(held, asset)
        else:
            raise ValueError(kind)

    def charge(self, e, fee, tax):
        """A fee and a tax of no asset."""
        fee_b, tax_b = self.in_base(e, e["ccy"], fee), self.in_base(e, e["ccy"], tax)
        self.pay(e, e["account"], e["ccy"], -fee - tax, times(F(-1), plus(fee_b, tax_b)))
        self.note(e["account"], "fees", fee_b)
        self.note(e["account"], "taxes", tax_b)
        self.note(e["account"], "apart", tax_b)
        self.note(e["account"], "expensed" if self.c["fees"] == "expensed" else "apart", fee_b)

    def costs(self, e, held):
        """Pays fee and tax; their amounts in the currency of the holding, and in base."""
        ccy = e.get("ccy", held.ccy)
        found = []
        for amount in (e["fee"], e["tax"]):
            found.append((self.in_own(e, ccy, held.ccy, amount), self.in_base(e, ccy, amount)))
        base = plus(found[0][1], found[1][1])
        self.pay(e, e["account"], ccy, -e["fee"] - e["tax"], times(F(-1), base))
        return found

    def book_costs(self, held, fee, tax, share, in_cost):
        """Books a share of fee and tax; returns what goes into cost of it."""
        into = [F(0), F(0)]
        for name, (own, base), mode in (("fees", fee, self.c["fees"]), ("taxes", tax, self.c["taxes"])):
            own, base = own * share, times(base, share)
            held.add(name, own, base)
            if in_cost and mode == "in_cost":
                into = [into[0] + own, plus(into[1], base)]
            elif name == "fees" and mode == "expensed":
                held.add("realized", -own, times(F(-1), base))
            else:
                held.add("apart", own, base)
        return into

    def apart(self, e, held):
        fee, tax = self.costs(e, held)
        self.book_costs(held, fee, tax, F(1), False)

    def sweep(self, held, asset):
        """Within dust of zero there is nothing, and what it cost is lost."""
        if held.open_since is None or held.q() > F(self.c["dust"]):
            return
        for lot in held.lots:
            sign = -1 if held.short else 1
            worth = 0 if self.margined(asset) else sign
            held.add("realized", -lot.q * (worth * lot.unit + lot.cost),
                     plus(times(-lot.q * worth, lot.unit_b) if worth else F(0), times(-lot.q, lot.cost_b)))
            held.add("realized_gross", -lot.q * worth * lot.unit, times(-lot.q * worth, lot.unit_b) if worth else F(0))
        held.lots, held.cycle, held.open_since = [], held.running(), None

    def order(self, held, e, asset):
        method = self.c["cost_basis"]
        if method == "lifo":
            return held.lots[::-1]
        if method == "hifo":
            # The smallest gain first: what was paid most for, or what was sold for least.
            sign = 1 if held.short == self.inverse(asset) else -1
            fees = 1 if sign > 0 else -1
            return sorted(held.lots, key=lambda lot: -sign * (lot.unit + fees * lot.cost))
        return list(held.lots)

    def take(self, held, e, asset, q):
        taken = []
        if self.c["cost_basis"] == "specific":
            if not e["lots"] or sum(n for _, n in e["lots"]) != q:
                raise Refused("lots")
            for label, wanted in e["lots"]:
                lots = [lot for lot in held.lots if lot.entry == self.labels[label]]
                if sum((lot.q for lot in lots), F(0)) < wanted:
                    raise Refused("lots")
                taken += self.draw(lots, wanted)
        else:
            taken = self.draw(self.order(held, e, asset), q)
        held.lots = [lot for lot in held.lots if lot.q > 0]
        return taken

    @staticmethod
    def draw(lots, q):
        taken = []
        for lot in lots:
            n = min(q, lot.q)
            if n > 0:
                taken.append(Lot(n, lot.unit, lot.cost, lot.unit_b, lot.cost_b, lot.acquired, lot.entry))
                lot.q -= n
                q -= n
        return taken

    def put(self, held, lot):
        held.entered += lot.q * (lot.unit - lot.cost if held.short else lot.unit + lot.cost)
        held.lots.append(lot)
        held.lots.sort(key=lambda l: l.acquired)
        if self.c["cost_basis"] == "average" and len(held.lots) > 1:
            q = held.q()
            mean = lambda name: times(plus(*[times(l.q, getattr(l, name)) for l in held.lots]), 1 / q)
            held.lots = [Lot(q, mean("unit"), mean("cost"), mean("unit_b"), mean("cost_b"), held.lots[0].acquired, held.lots[0].entry)]

    def trade(self, e):
        asset, buying = e["asset"], e["kind"] == "buy"
        held = self.holding(e["account"], asset)
        ccy = e.get("ccy", held.ccy)
        cash = e["gross"] if e["gross"] is not None else e["q"] * self.value_of_one(asset, e["price"])
        stated_in = held.ccy if e["gross"] is None and self.inverse(asset) else ccy
        gross, gross_b = self.in_own(e, stated_in, held.ccy, cash), self.in_base(e, stated_in, cash)
        moved = e["q"] - e["fee_asset"] if buying else e["q"] + e["fee_asset"]
        against = held.open_since is not None and held.short == buying
        closing = min(held.q(), moved) if against else F(0)
        beyond = moved - closing
        free = False
        if not buying and beyond > 0 and e["kind"] != "short":
            if self.c["short"] == "rejected":
                raise Refused("insufficient_quantity")
            free = self.c["short"] == "missing_basis_is_zero_cost" and not self.margined(asset)
        sign = -1 if buying else 1
        if not self.margined(asset):
            self.pay(e, e["account"], ccy, sign * cash, times(F(sign), gross_b))
        fee, tax = self.costs(e, held)
        unit, unit_b = gross / moved, times(gross_b, 1 / moved)
        if free:
            cost, cost_b = self.book_costs(held, fee, tax, beyond / moved, True)
            held.add("realized_gross", beyond * unit, times(beyond, unit_b))
            held.add("realized", beyond * unit - cost, minus(times(beyond, unit_b), cost_b))
            held.sums["missing"] += beyond
        if closing > 0:
            cost, cost_b = self.book_costs(held, fee, tax, closing / moved, True)
            self.close(e, held, asset, closing, (unit, unit_b, cost / closing, times(cost_b, 1 / closing)))
        if beyond > 0 and not free:
            held.begin(not buying)
            cost, cost_b = self.book_costs(held, fee, tax, beyond / moved, True)
            self.put(held, Lot(beyond, unit, cost / beyond, unit_b, times(cost_b, 1 / beyond), (e["at"], e["place"]), e["place"]))
            self.sweep(held, asset)
        self.note_price(held, asset, e, ccy, gross)

    def note_price(self, held, asset, e, ccy, gross):
        many = e["q"] * F(self.terms.get(asset, {}).get("multiplier", "1"))
        if e["price"] is not None and (ccy == held.ccy or self.inverse(asset)):
            held.last = e["price"]
        elif self.inverse(asset):
            held.last = many / gross if gross else held.last
        else:
            held.last = gross / many

    def close(self, e, held, asset, q, exit):
        unit, unit_b, cost, cost_b = exit
        long = -1 if held.short else 1
        way = -long if self.inverse(asset) else long
        now = F(e["fx_rate"]) if "fx_rate" in e and e.get("ccy", held.ccy) == held.ccy else None
        profit = F(0)
        for lot in self.take(held, e, asset, q):
            gross = lot.q * way * (unit - lot.unit)
            costs, costs_b = lot.q * (cost + lot.cost), times(lot.q, plus(cost_b, lot.cost_b))
            if now is None:
                now = self.rate(held.ccy, self.base, e["at"])
            if self.margined(asset):
                gross_b = times(gross, now)
            else:
                gross_b = times(lot.q * way, minus(unit_b, lot.unit_b))
                paid, paid_b = lot.q * (long * lot.unit + lot.cost), times(lot.q, plus(times(F(long), lot.unit_b), lot.cost_b))
                held.base["realized_fx"] = plus(held.base["realized_fx"], minus(times(paid, now), paid_b))
            held.add("realized_gross", gross, gross_b)
            held.add("realized", gross - costs, minus(gross_b, costs_b))
            profit += gross
        if self.margined(asset):
            self.pay(e, e["account"], held.ccy, profit, times(profit, now))
        self.sweep(held, asset)

    def transfer_in(self, e):
        asset, held = e["asset"], self.holding(e["account"], e["asset"])
        if self.margined(asset):
            raise Refused("margined_delivery")
        if held.open_since is not None and held.short:
            raise Refused("delivery_into_short")
        ccy = e.get("ccy", held.ccy)
        cash = e["gross"] if e["gross"] is not None else e["q"] * self.value_of_one(asset, e["price"])
        gross, gross_b = self.in_own(e, ccy, held.ccy, cash), self.in_base(e, ccy, cash)
        self.note(e["account"], "contributions", gross_b)
        fee, tax = self.costs(e, held)
        held.begin(False)
        cost, cost_b = self.book_costs(held, fee, tax, F(1), True)
        q = e["q"]
        self.put(held, Lot(q, gross / q, cost / q, times(gross_b, 1 / q), times(cost_b, 1 / q), (e["at"], e["place"]), e["place"]))
        self.note_price(held, asset, e, ccy, gross)
        self.sweep(held, asset)

    def leave(self, e):
        asset, held = e["asset"], self.holding(e["account"], e["asset"])
        if self.margined(asset):
            raise Refused("margined_delivery")
        self.apart(e, held)
        if held.short or e["q"] > held.q():
            raise Refused("insufficient_quantity")
        return held

    def transfer_out(self, e):
        held = self.leave(e)
        taken = self.take(held, e, e["asset"], e["q"])
        cost_b = plus(*[times(l.q, plus(l.unit_b, l.cost_b)) for l in taken])
        self.note(e["account"], "contributions", times(F(-1), cost_b))
        self.sweep(held, e["asset"])

    def transfer(self, e):
        held = self.leave(e)
        if self.c["lot_scope"] == "global":
            return
        taken, last = self.take(held, e, e["asset"], e["q"]), held.last
        self.sweep(held, e["asset"])
        cost_b = plus(*[times(l.q, plus(l.unit_b, l.cost_b)) for l in taken])
        self.note(e["account"], "internal", times(F(-1), cost_b))
        self.note(e["to"], "internal", cost_b)
        to = self.holding(e["to"], e["asset"])
        if to.open_since is not None and to.short:
            raise Refused("delivery_into_short")
        to.begin(False)
        for lot in taken:
            self.put(to, lot)
        to.last = last if to.last is None else to.last
        self.sweep(to, e["asset"])


def entry(line, plain, keyed, place, labels):
    kind = plain[1]
    at, day = moment(plain[0])
    number = lambda name: F(keyed.get(name, "0"))
    e = {"kind": kind, "at": at, "day": day, "place": place, "account": keyed.get("account", "main"), "fee": number("fee"),
         "tax": number("tax"), "fee_asset": number("fee_asset"), "price": None, "gross": None, "lots": []}
    for name, to in (("fx_rate", "fx_rate"), ("currency", "ccy"), ("asset", "asset"), ("to", "to")):
        if name in keyed:
            e[to] = keyed[name]
    if kind in ("buy", "sell", "short", "transfer_in"):
        e["q"], e["asset"] = F(plain[2]), plain[3]
        e["price" if plain[4] == "@" else "gross"] = F(plain[5])
    elif kind in ("transfer_out", "transfer"):
        e["q"], e["asset"] = F(plain[2]), plain[3]
    elif kind == "dividend":
        e["amount"], e["asset"] = F(plain[2]), plain[3]
    elif kind == "split":
        new, old = plain[3].split(":")
        e["asset"], e["ratio"] = plain[2], F(new) / F(old)
    else:
        e["amount"], e["ccy"] = F(plain[2]), plain[3]
        if kind == "fx":
            e["to_amount"], e["to_ccy"] = F(plain[5]), plain[6]
    if "id" in keyed:
        labels[keyed["id"]] = place
    if "lots" in keyed:
        e["lots"] = [(label, F(n)) for label, n in (pick.split(":") for pick in keyed["lots"].split(","))]
    return e


def price_at(scenario, ledger, asset, at, held):
    """The newest price at or before the moment, divided by the splits since; else that of the last trade."""
    best = None
    for _, plain, _ in lines(scenario.get("prices", "")):
        seen, day = moment(plain[0])
        if plain[1] == asset and seen <= at and (best is None or seen >= best[0]):
            best = (seen, day, F(plain[2]))
    if best is None:
        return held.last
    seen, day, price = best
    for name, when, _, ratio in ledger.splits:
        earlier = seen.date() < when.date() if day else seen < when
        if name == asset and earlier:
            price = price / ratio
    return price


def value(scenario, ledger, at):
    """Every holding with its figures, own and base."""
    rows = []
    for (account, asset), held in ledger.holdings.items():
        row = {"account": account, "asset": asset, "held": held, "short": held.short and bool(held.lots), "own": {}, "base": {}}
        price = price_at(scenario, ledger, asset, at, held) if held.lots else None
        one = F(0) if price is None else ledger.value_of_one(asset, price)
        q = held.q()
        sign = -1 if row["short"] else 1
        now = ledger.rates.rate(held.ccy, ledger.base, at)
        if now is None and held.lots:
            ledger.missing.add((held.ccy, ledger.base, at))
        conv = lambda own: F(0) if own == 0 else times(own, now)
        opening = plus(*[l.q * l.unit for l in held.lots])
        opening_b = plus(*[times(l.q, l.unit_b) for l in held.lots])
        costs = plus(*[l.q * l.cost for l in held.lots])
        costs_b = plus(*[times(l.q, l.cost_b) for l in held.lots])
        own, base = row["own"], row["base"]
        own["opening"], base["opening"] = opening, opening_b
        own["cost_basis"], base["cost_basis"] = sign * opening + costs, plus(times(F(sign), opening_b), costs_b)
        own["notional"] = sign * q * one
        base["notional"] = conv(own["notional"])
        if ledger.margined(asset):
            way = -sign if ledger.inverse(asset) else sign
            own["market_value"] = way * (q * one - opening)
            base["market_value"] = conv(own["market_value"])
            own["unrealized_gross"], base["unrealized_gross"] = own["market_value"], base["market_value"]
            base["unrealized_fx"] = F(0)
        else:
            own["market_value"], base["market_value"] = own["notional"], base["notional"]
            own["unrealized_gross"] = own["market_value"] - sign * opening
            base["unrealized_gross"] = minus(base["market_value"], times(F(sign), opening_b))
            base["unrealized_fx"] = minus(conv(own["cost_basis"]), base["cost_basis"])
        own["unrealized"] = own["unrealized_gross"] - costs
        base["unrealized"] = minus(base["unrealized_gross"], costs_b)
        row["margined"], row["inverse"] = ledger.margined(asset), ledger.inverse(asset)
        row["many"] = F(ledger.terms.get(asset, {}).get("multiplier", "1"))
        rows.append(row)
    return rows


def fold(scenario, at):
    entries, labels = [], {}
    for place, (line, plain, keyed) in enumerate(lines(scenario["ledger"])):
        entries.append((line, plain, keyed, place))
    entries = [entry(*e, labels) for e in entries]
    ledger = Ledger(scenario)
    ledger.labels = labels
    for e in sorted(entries, key=lambda e: (e["at"], e["place"])):
        if e["at"] <= at:
            before = copy.deepcopy(ledger)
            try:
                ledger.apply(dict(e))
            except Refused as why:
                ledger = before
                ledger.refused = str(why)
    return ledger
