//! Plain trades, folded in whole numbers: the same book as by [`Book::apply`], many times as fast.
//!
//! Most entries of most ledgers buy or sell some of a long position at a stated price, in base currency and without
//! costs that belong to lots. Of such a holding the fold needs no more than units and prices as whole numbers of their
//! last decimals, and sums of 128 bits; no name, currency, rate or convention has to be looked up. So the holding is
//! taken out of the book while such trades follow each other, and put back before anything else happens to its asset,
//! and at the end. What is not plain goes through [`Book::apply`]; what opens or ends a position does so, too.

use super::{Book, Context, HoldingKey};
use crate::domain::asset::Terms;
use crate::domain::currency::Currency;
use crate::domain::decimal::Decimal;
use crate::domain::ids::{AssetKey, TransactionId};
use crate::domain::moment::Moment;
use crate::domain::pnl::amounts::Amounts;
use crate::domain::pnl::holding::{Holding, Side};
use crate::domain::pnl::lots::Lot;
use crate::domain::portfolio::{CostBasis, LotScope};
use crate::domain::transaction::{Transaction, TransactionType};
use std::collections::{BTreeMap, VecDeque};

/// Largest count taken: so a product has 104 bits, and the sum of [`MOST`] of them fits 128.
const LARGEST: i64 = 1 << 52;
/// Most trades before sums are put back.
const MOST: usize = 1 << 20;
/// Decimals a holding is taken out with, where its numbers leave room: trades seldom have more.
const DECIMALS: u32 = 8;
/// Lots that are taken out at once. A holding with more is taken out after a trade for each so many of them, for that
/// costs time with each lot.
const FEW_LOTS: usize = 8;

/// A number as whole multiples of `10^-scale`.
#[derive(Clone, Copy)]
struct Whole {
    count: i64,
    scale: u32,
}

impl Whole {
    fn of(number: &Decimal) -> Option<Self> {
        let (count, scale) = number.small()?;
        (-LARGEST..=LARGEST).contains(&count).then_some(Self { count, scale })
    }

    /// The same with at least as many decimals.
    fn at(self, scale: u32) -> Option<i64> {
        if self.scale == scale {
            return Some(self.count);
        }
        let more = 10_i64.checked_pow(scale.checked_sub(self.scale)?)?;
        self.count.checked_mul(more).filter(|count| (-LARGEST..=LARGEST).contains(count))
    }
}

/// What a plain trade says.
struct Trade<'t> {
    entry: &'t Transaction,
    units: Whole,
    price: Whole,
}

impl<'t> Trade<'t> {
    /// The numbers of an entry, if it is a trade that says nothing else.
    fn of(t: &'t Transaction, base: Currency) -> Option<Self> {
        let bought_or_sold = matches!(t.kind, TransactionType::Buy | TransactionType::Sell);
        let priced = t.gross_total.is_none() && t.fx_rate.is_none() && t.fee_asset_quantity.is_zero();
        let free = t.fee.is_zero() && t.tax.is_zero();
        if !bought_or_sold || !priced || !free || t.currency.is_some_and(|currency| currency != base) {
            return None;
        }
        let units = Whole::of(t.quantity.as_ref()?).filter(|units| units.count > 0)?;
        Some(Self { entry: t, units, price: Whole::of(t.price.as_ref()?)? })
    }
}

/// Where a lot comes from.
enum Origin<'t> {
    /// It was open when the holding was taken out.
    Before(Box<Lot>),
    /// A trade since then opened it, as so manieth of its holding.
    Trade(&'t Transaction, u64),
}

struct PlainLot<'t> {
    units: i64,
    /// Value of one.
    unit: i64,
    origin: Origin<'t>,
}

/// How many decimals the counts of a holding have.
#[derive(Clone, Copy)]
struct Scales {
    units: u32,
    unit: u32,
}

impl Scales {
    /// Decimals of units times value of one.
    const fn money(self) -> u32 {
        self.units + self.unit
    }
}

/// Terms that ask for nothing but a price in base currency, and the moments within which they hold.
struct PlainTerms {
    from: Moment,
    until: Moment,
    multiplier: Whole,
}

impl PlainTerms {
    fn of(ctx: Context<'_>, asset: AssetKey, at: Moment) -> Option<Self> {
        let (terms, from, until) = ctx.terms.lasting(asset, at)?;
        let Terms { margined, inverse, settlement, multiplier, .. } = terms;
        let plain = !margined && !inverse && *settlement == ctx.base;
        let multiplier = Whole::of(multiplier).filter(|_| plain)?;
        Some(Self { from, until, multiplier })
    }

    /// The value of one unit at a price.
    fn unit(&self, price: Whole, scale: u32) -> Option<i64> {
        if self.multiplier.count == 1 && self.multiplier.scale == 0 {
            return price.at(scale);
        }
        let count = price.count.checked_mul(self.multiplier.count)?;
        Whole { count, scale: price.scale + self.multiplier.scale }.at(scale)
    }
}

/// A long holding taken out of the book: its counts, and what has been added to its sums since.
struct PlainHolding<'t> {
    key: HoldingKey,
    cycle: u64,
    next_lot: u64,
    terms: PlainTerms,
    scales: Scales,
    /// Within this many units the position ends.
    dust: i64,
    newest_first: bool,
    held: i64,
    lots: VecDeque<PlainLot<'t>>,
    /// Date and place behind which a new lot comes last.
    newest: (Moment, i64),
    cash: i128,
    realized: i128,
    entered: i128,
    entered_cost: i128,
    exited: i128,
    exited_gross: i128,
    members: Vec<TransactionId>,
    last: Option<&'t Transaction>,
}

fn alike(amount: Decimal) -> Amounts {
    Amounts { base: Some(amount.clone()), own: amount }
}

/// Units and value of one of a lot whose value they give exactly, in base currency, and which bears no costs.
fn plain_lot(lot: &Lot) -> Option<(Whole, Whole)> {
    let unit = lot.unit.as_ref()?;
    let exact = unit * &lot.quantity == lot.gross.own && lot.gross.base.as_ref() == Some(&lot.gross.own);
    let free = lot.costs.is_zero() && lot.costs.base.as_ref().is_some_and(Decimal::is_zero);
    Some((Whole::of(&lot.quantity)?, Whole::of(unit)?)).filter(|_| exact && free)
}

impl<'t> PlainHolding<'t> {
    /// Takes the numbers out of a holding, if they are plain and fit with these decimals, or with more if they have
    /// more.
    fn of(
        key: &HoldingKey,
        holding: &Holding,
        terms: PlainTerms,
        ctx: Context<'_>,
        decimals: u32,
    ) -> Option<Self> {
        let cycle = holding.cycle.as_ref().filter(|cycle| cycle.side == Side::Long)?;
        let lots = holding.lots.0.iter().map(plain_lot).collect::<Option<Vec<_>>>()?;
        let scales = lots.iter().fold(Scales { units: decimals, unit: decimals }, |most, (units, unit)| {
            Scales { units: most.units.max(units.scale), unit: most.unit.max(unit.scale) }
        });
        let mut taken = Self {
            key: key.clone(),
            cycle: cycle.ordinal,
            next_lot: holding.next_lot,
            terms,
            scales,
            dust: whole_units(&ctx.conventions.dust, scales.units)?,
            newest_first: ctx.conventions.cost_basis == CostBasis::Lifo,
            held: 0,
            lots: VecDeque::with_capacity(lots.len()),
            newest: holding.lots.0.back().map(|lot| (lot.acquired_at, lot.place))?,
            cash: 0,
            realized: 0,
            entered: 0,
            entered_cost: 0,
            exited: 0,
            exited_gross: 0,
            members: Vec::new(),
            last: None,
        };
        for (lot, (units, unit)) in holding.lots.0.iter().zip(lots) {
            let (units, unit) = (units.at(scales.units)?, unit.at(scales.unit)?);
            taken.held = taken.held.checked_add(units)?;
            taken.lots.push_back(PlainLot { units, unit, origin: Origin::Before(Box::new(lot.clone())) });
        }
        Some(taken)
    }

    /// Folds a trade; `false` when it is not for this holding as it stands.
    fn take(&mut self, trade: &Trade<'t>) -> bool {
        let t = trade.entry;
        let (Some(units), Some(unit)) =
            (trade.units.at(self.scales.units), self.terms.unit(trade.price, self.scales.unit))
        else {
            return false;
        };
        let within = self.terms.from <= t.executed_at && t.executed_at < self.terms.until;
        if !within || self.members.len() >= MOST {
            return false;
        }
        let money = i128::from(units) * i128::from(unit);
        if t.kind == TransactionType::Buy {
            let Some(held) = self.held.checked_add(units) else { return false };
            if (t.executed_at, t.place) < self.newest {
                return false;
            }
            self.held = held;
            self.newest = (t.executed_at, t.place);
            self.cash -= money;
            self.entered += i128::from(units);
            self.entered_cost += money;
            self.lots.push_back(PlainLot { units, unit, origin: Origin::Trade(t, self.next_lot) });
            self.next_lot += 1;
        } else {
            let left = self.held - units;
            if left <= self.dust {
                return false;
            }
            self.held = left;
            self.cash += money;
            self.exited += i128::from(units);
            self.exited_gross += money;
            self.realized += money - self.consume(units);
        }
        self.members.push(t.id);
        self.last = Some(t);
        true
    }

    /// Takes units, of which there are more, out of the lots whose turn it is, and gives what they were opened at.
    fn consume(&mut self, mut units: i64) -> i128 {
        let mut gross = 0;
        while units > 0
            && let Some(lot) = if self.newest_first { self.lots.back_mut() } else { self.lots.front_mut() }
        {
            let taken = units.min(lot.units);
            gross += i128::from(taken) * i128::from(lot.unit);
            units -= taken;
            lot.units -= taken;
            if lot.units == 0 {
                drop(if self.newest_first { self.lots.pop_back() } else { self.lots.pop_front() });
            }
        }
        gross
    }

    /// Puts everything back.
    fn put_back(self, book: &mut Book, base: Currency) {
        let (Some(last), Some(holding)) = (self.last, book.holdings.get_mut(&self.key)) else { return };
        let Scales { units, unit } = self.scales;
        let sum = |count: i128| Decimal::new(count, self.scales.money()).normalized();
        let counted = |count: i128| Decimal::new(count, units).normalized();
        let lots = self.lots.into_iter().map(|lot| {
            let quantity = counted(lot.units.into());
            let gross = alike(sum(i128::from(lot.units) * i128::from(lot.unit)));
            match lot.origin {
                Origin::Before(before) => Lot { quantity, gross, ..*before },
                Origin::Trade(t, number) => Lot {
                    number,
                    transaction: t.id,
                    acquired_at: t.executed_at,
                    place: t.place,
                    quantity,
                    unit: Some(Decimal::new(lot.unit.into(), unit).normalized()),
                    gross,
                    costs: Amounts::ZERO,
                },
            }
        });
        holding.lots = lots.collect();
        holding.next_lot = self.next_lot;
        let realized = alike(sum(self.realized));
        holding.totals.realized_gross += &realized;
        holding.totals.realized += &realized;
        if let Some(cycle) = &mut holding.cycle {
            cycle.entered_quantity += &counted(self.entered);
            cycle.entered_cost += &sum(self.entered_cost);
            cycle.exited_quantity += &counted(self.exited);
            cycle.exited_gross += &sum(self.exited_gross);
        }
        holding.last_price = last.price.clone().map(|price| (last.executed_at, price));
        let cash = alike(sum(self.cash));
        book.memberships.note(&self.key, self.cycle, self.members);
        book.add_cash(&self.key.account, base, &cash);
    }
}

/// So many whole multiples of the last decimal fit into an amount of units.
fn whole_units(units: &Decimal, scale: u32) -> Option<i64> {
    let (count, own) = units.small()?;
    if own <= scale {
        return Whole { count, scale: own }.at(scale);
    }
    Some(count / 10_i64.checked_pow(own - scale)?)
}

/// The holdings that are taken out of a book.
pub(super) struct PlainTrades<'t> {
    ctx: Context<'t>,
    /// Whether there can be any under these conventions.
    possible: bool,
    out: BTreeMap<AssetKey, Vec<PlainHolding<'t>>>,
    /// Plain trades in a row that a holding with many lots has seen.
    waiting: BTreeMap<HoldingKey, usize>,
}

impl<'t> PlainTrades<'t> {
    pub(super) fn new(book: &Book, ctx: Context<'t>) -> Self {
        let conventions = ctx.conventions;
        let possible = matches!(conventions.cost_basis, CostBasis::Fifo | CostBasis::Lifo)
            && conventions.lot_scope == LotScope::Account
            && book.trace.is_none();
        Self { ctx, possible, out: BTreeMap::new(), waiting: BTreeMap::new() }
    }

    /// Folds an entry if it is a plain trade of a holding that is. Else what it may touch is put back into the book.
    pub(super) fn take(&mut self, book: &mut Book, t: &'t Transaction) -> bool {
        let Some(asset) = t.asset.filter(|_| self.possible) else { return false };
        if let Some(trade) = Trade::of(t, self.ctx.base) {
            let mut out = self.out_of(asset, &t.account);
            if out.is_none() {
                self.take_out(book, asset, t);
                out = self.out_of(asset, &t.account);
            }
            if out.is_some_and(|holding| holding.take(&trade)) {
                return true;
            }
        }
        self.put_back(book, asset);
        false
    }

    fn out_of(&mut self, asset: AssetKey, account: &str) -> Option<&mut PlainHolding<'t>> {
        self.out.get_mut(&asset)?.iter_mut().find(|holding| holding.key.account == account)
    }

    fn take_out(&mut self, book: &Book, asset: AssetKey, t: &'t Transaction) {
        let key = HoldingKey { account: t.account.clone(), asset };
        let Some(holding) = book.holdings.get(&key) else { return };
        let lots = holding.lots.0.len();
        if lots > FEW_LOTS {
            let seen = self.waiting.entry(key.clone()).or_default();
            *seen += 1;
            if *seen * FEW_LOTS < lots {
                return;
            }
            self.waiting.remove(&key);
        }
        let with = |decimals| {
            let terms = PlainTerms::of(self.ctx, asset, t.executed_at)?;
            PlainHolding::of(&key, holding, terms, self.ctx, decimals)
        };
        if let Some(taken) = with(DECIMALS).or_else(|| with(0)) {
            self.out.entry(asset).or_default().push(taken);
        }
    }

    /// Puts the holdings of an asset back.
    fn put_back(&mut self, book: &mut Book, asset: AssetKey) {
        for holding in self.out.remove(&asset).unwrap_or_default() {
            holding.put_back(book, self.ctx.base);
        }
    }

    /// Puts all of them back.
    pub(super) fn end(self, book: &mut Book) {
        for holding in self.out.into_values().flatten() {
            holding.put_back(book, self.ctx.base);
        }
    }
}

#[cfg(test)]
mod tests;
