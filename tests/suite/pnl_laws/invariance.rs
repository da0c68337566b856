//! What may change in how a ledger is written, cut up or stored without changing what it amounts to.

use super::world::{Plan, World, plan};
use super::{amounts, figures};
use artifact::domain::decimal::Decimal;
use artifact::domain::ids::{AssetKey, TransactionId};
use artifact::domain::moment::Moment;
use artifact::domain::pnl::amounts::Amounts;
use artifact::domain::pnl::book::{AccountState, Book, EVERY_ACCOUNT, HoldingKey, fold};
use artifact::domain::pnl::holding::{Holding, Totals};
use artifact::domain::pnl::lots::{Lot, Lots};
use artifact::domain::pnl::report::Report;
use artifact::domain::portfolio::{Conventions, CostBasis, FeeMode, TaxMode};
use artifact::domain::transaction::{LotPick, Transaction, TransactionType as T};
use proptest::prelude::*;
use std::collections::BTreeMap;
use uuid::Uuid;

/// How far two figures may lie apart: not at all, or by what rounding at the 34th digit leaves.
#[derive(Clone, Copy, PartialEq)]
enum Apart {
    Nothing,
    Rounding,
}

fn alike(a: &Decimal, b: &Decimal, apart: Apart) -> bool {
    apart == Apart::Nothing && a == b || apart == Apart::Rounding && (a - b).abs() < Decimal::new(1, 15)
}

fn known_alike(a: Option<&Decimal>, b: Option<&Decimal>, apart: Apart) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => alike(a, b, apart),
        (a, b) => a.is_none() && b.is_none(),
    }
}

fn amounts_alike(a: &Amounts, b: &Amounts, apart: Apart) -> bool {
    alike(&a.own, &b.own, apart) && known_alike(a.base.as_ref(), b.base.as_ref(), apart)
}

fn sums_of(totals: &Totals) -> [Amounts; 8] {
    let t = totals.clone();
    let missing = Amounts { own: t.missing_quantity, base: Some(Decimal::ZERO) };
    [t.realized_gross, t.realized, t.realized_fx, t.income, t.fees, t.taxes, t.costs_apart, missing]
}

/// Compares every figure of two reports but the lots themselves.
fn same_report(a: &Report, b: &Report, apart: Apart) -> Result<(), TestCaseError> {
    for ((name, a), (_, b)) in figures(&a.sums).iter().zip(figures(&b.sums).iter()) {
        prop_assert!(known_alike(a.as_ref(), b.as_ref(), apart), "{}: {:?} and {:?}", name, a, b);
    }
    prop_assert!(a.cash.keys().eq(b.cash.keys()));
    prop_assert!(
        a.cash.values().zip(b.cash.values()).all(|(a, b)| alike(a, b, apart)),
        "{:?}",
        (&a.cash, &b.cash)
    );
    prop_assert_eq!(&a.missing, &b.missing);
    prop_assert_eq!(a.items.len(), b.items.len());
    for (a, b) in a.items.iter().zip(&b.items) {
        let which = format!("{:?} of {}", a.asset, a.account);
        prop_assert_eq!(
            (&a.account, a.asset, a.side, a.cycles_closed),
            (&b.account, b.asset, b.side, b.cycles_closed)
        );
        for ((name, a), (_, b)) in amounts(&a.worth).iter().zip(amounts(&b.worth).iter()) {
            prop_assert!(amounts_alike(a, b, apart), "{} {}: {:?} and {:?}", which, name, a, b);
        }
        for (a, b) in sums_of(&a.totals).iter().zip(sums_of(&b.totals).iter()) {
            prop_assert!(amounts_alike(a, b, apart), "{}: {:?} and {:?}", which, a, b);
        }
        let prices = [a, b].map(|item| item.price.as_ref().map(|used| &used.price));
        prop_assert!(known_alike(prices[0], prices[1], apart), "{}: {:?}", which, prices);
    }
    Ok(())
}

/// One trade as two of the same moment: `quarters` of everything in the first, the rest in the second.
fn cut(t: &Transaction, quarters: i64) -> (Transaction, Transaction) {
    let part = Decimal::from(quarters) * Decimal::new(25, 2);
    let (mut first, mut second) = (t.clone(), t.clone());
    let share = |whole: &Decimal| {
        let share = whole * &part;
        let rest = whole - &share;
        (share, rest)
    };
    let shares = |whole: &Option<Decimal>| whole.as_ref().map(share).unzip();
    (first.fee, second.fee) = share(&t.fee);
    (first.tax, second.tax) = share(&t.tax);
    (first.fee_asset_quantity, second.fee_asset_quantity) = share(&t.fee_asset_quantity);
    (first.quantity, second.quantity) = shares(&t.quantity);
    (first.gross_total, second.gross_total) = shares(&t.gross_total);
    second.id = TransactionId(Uuid::from_u128(1_000_000 + first.id.0.as_u128()));
    second.place += 1;
    (first, second)
}

/// Each trade of the ledger, cut in two, must leave everything as it is.
fn cutting_changes_nothing(world: &World, quarters: i64, apart: Apart) -> Result<(), TestCaseError> {
    let all = &world.transactions;
    let whole = world.value(&world.fold(all), all.len());
    for (index, t) in
        all.iter().enumerate().filter(|(_, t)| matches!(t.kind, T::Buy | T::Sell | T::TransferIn))
    {
        let (first, second) = cut(t, quarters);
        let mut parts = all.clone();
        parts.splice(index..=index, [first, second]);
        same_report(&whole, &world.value(&world.fold(&parts), all.len()), apart)?;
    }
    Ok(())
}

/// Takes everything out of a world that makes the engine divide: rates quoted the other way, totals without a
/// price, inverse contracts, thirds, and costs that are shared out over lots.
fn without_divisions(mut plan: Plan) -> World {
    plan.straight = true;
    plan.conventions.dust = Decimal::ZERO;
    if matches!(plan.conventions.cost_basis, CostBasis::Average | CostBasis::Specific) {
        plan.conventions.cost_basis = CostBasis::Hifo;
    }
    plan.split_nothing();
    let mut world = plan.happen();
    let shares = world.conventions.fees == FeeMode::InCost || world.conventions.taxes == TaxMode::InCost;
    world.transactions.retain(|t| t.asset != Some(AssetKey(6)));
    for t in world.transactions.iter_mut().filter(|t| t.quantity.is_some()) {
        if let Some(total) = t.gross_total.take() {
            t.price = Some(total);
        }
        t.currency = None;
        t.fee_asset_quantity = Decimal::ZERO;
        if shares {
            (t.fee, t.tax) = (Decimal::ZERO, Decimal::ZERO);
        }
    }
    keep_what_is_valid(&mut world);
    world
}

/// Drops the entries that are refused now that others have changed.
fn keep_what_is_valid(world: &mut World) {
    let mut kept = Vec::new();
    let mut book = Book::default();
    for t in std::mem::take(&mut world.transactions) {
        let mut after = book.clone();
        if after.apply(&t, world.context()).is_ok() {
            book = after;
            kept.push(t);
        }
    }
    world.transactions = kept;
}

/// What a repository keeps of a book, as text.
#[derive(Default)]
struct Stored {
    holdings: BTreeMap<HoldingKey, (String, Vec<String>)>,
    accounts: BTreeMap<String, String>,
}

impl Stored {
    fn save(&mut self, book: &Book) {
        let json = |value: &Lot| serde_json::to_string(value).unwrap();
        for (key, holding) in &book.holdings {
            let lots = holding.lots.0.iter().map(json).collect();
            self.holdings.insert(key.clone(), (serde_json::to_string(holding).unwrap(), lots));
        }
        for (name, state) in &book.accounts {
            self.accounts.insert(name.clone(), serde_json::to_string(state).unwrap());
        }
    }

    /// The book again, with the holdings that are asked for.
    fn load(&self, wanted: impl Fn(&HoldingKey) -> bool) -> Book {
        let mut book = Book::default();
        for (key, (holding, lots)) in self.holdings.iter().filter(|(key, _)| wanted(key)) {
            let mut holding: Holding = serde_json::from_str(holding).unwrap();
            holding.lots = lots.iter().map(|lot| serde_json::from_str(lot).unwrap()).collect::<Lots>();
            book.holdings.insert(key.clone(), holding);
        }
        let accounts = self.accounts.iter();
        let accounts =
            accounts.map(|(name, text)| (name.clone(), serde_json::from_str::<AccountState>(text).unwrap()));
        book.accounts = accounts.collect();
        book
    }
}

/// Whether an entry may look at or change a holding.
fn touches(t: &Transaction, key: &HoldingKey) -> bool {
    let account = key.account == t.account
        || Some(&key.account) == t.to_account.as_ref()
        || key.account == EVERY_ACCOUNT;
    t.asset == Some(key.asset) && (account || t.kind == T::Split)
}

fn lots() -> impl Strategy<Value = Vec<(Decimal, Amounts, Amounts)>> {
    let number =
        |most: i128| (1..=most, 0..=5_u32).prop_map(|(mantissa, scale)| Decimal::new(mantissa, scale));
    let amounts =
        |most: i128| (number(most), number(most)).prop_map(|(own, base)| Amounts { own, base: Some(base) });
    prop::collection::vec((number(900_000), amounts(90_000_000), amounts(9_999)), 1..9)
}

fn opened(lots: &[(Decimal, Amounts, Amounts)], method: CostBasis) -> Lots {
    let mut open = Lots::default();
    for (index, (quantity, gross, costs)) in lots.iter().enumerate() {
        let lot = Lot {
            number: u64::try_from(index).unwrap() + 1,
            transaction: TransactionId(Uuid::from_u128(u128::try_from(index).unwrap())),
            acquired_at: Moment(i64::try_from(index * 7 % 5).unwrap()),
            place: i64::try_from(index).unwrap(),
            quantity: quantity.clone(),
            unit: None,
            gross: gross.clone(),
            costs: costs.clone(),
        };
        open.insert(lot, method);
    }
    open
}

/// Units, value and costs of lots together.
fn together<'a>(
    parts: impl Iterator<Item = (&'a Decimal, &'a Amounts, &'a Amounts)>,
) -> (Decimal, Amounts, Amounts) {
    parts.fold((Decimal::ZERO, Amounts::ZERO, Amounts::ZERO), |(quantity, gross, costs), part| {
        (&quantity + part.0, &gross + part.1, &costs + part.2)
    })
}

fn left(open: &Lots) -> (Decimal, Amounts, Amounts) {
    together(open.0.iter().map(|lot| (&lot.quantity, &lot.gross, &lot.costs)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Where nothing is divided, cutting a trade in two changes no figure at all: fifo, lifo and hifo, prices
    /// that are stated, rates that multiply, costs that are in no lot. (The number of lots is no figure.)
    #[test]
    fn two_halves_of_a_trade_are_the_trade(plan in plan(16), quarters in 1..=3_i64) {
        cutting_changes_nothing(&without_divisions(plan), quarters, Apart::Nothing)?;
    }

    /// Where something is divided, they are so but for the rounding of the last digits: every method that
    /// chooses lots by itself, fees in cost, totals, inverse contracts, rates that divide, splits into thirds.
    #[test]
    fn two_halves_of_a_trade_are_the_trade_but_for_rounding(mut plan in plan(16), quarters in 1..=3_i64) {
        plan.conventions.dust = Decimal::ZERO;
        if plan.conventions.cost_basis == CostBasis::Specific {
            plan.conventions.cost_basis = CostBasis::Average;
        }
        cutting_changes_nothing(&plan.happen(), quarters, Apart::Rounding)?;
    }

    /// A split and its opposite leave no trace where the new quantities end.
    #[test]
    fn a_split_undone_is_no_split(mut plan in plan(24), new in 1..=30_i64, old in prop::sample::select(vec![1_i64, 2, 4, 5, 8, 10])) {
        plan.conventions.dust = Decimal::ZERO;
        plan.price_everything();
        plan.split_nothing();
        let world = plan.happen();
        let count = world.transactions.len();
        let before = world.fold(&world.transactions);
        let mut after = before.clone();
        let last = world.transactions.last().map_or(Moment(0), |t| t.executed_at);
        for asset in 1..=6 {
            for (new, old) in [(new, old), (old, new)] {
                let mut t = Transaction::bare(TransactionId(Uuid::nil()), T::Split, last);
                (t.asset, t.place) = (Some(AssetKey(asset)), i64::MAX);
                (t.ratio_num, t.ratio_den) = (Some(Decimal::from(new)), Some(Decimal::from(old)));
                after.apply(&t, world.context()).unwrap();
            }
        }
        same_report(&world.value(&before, count), &world.value(&after, count), Apart::Nothing)?;
        for (key, holding) in &before.holdings {
            let bare = |holding: &Holding| {
                let lots = holding.lots.0.iter().map(|lot| Lot { unit: None, ..lot.clone() });
                lots.collect::<Vec<_>>()
            };
            prop_assert_eq!(bare(holding), bare(&after.holdings[key]));
        }
    }

    /// What the lots of a disposal cost and what is left is what was there, to the last digit, however the lots
    /// are chosen, and splits between do not touch it.
    #[test]
    fn no_cost_appears_or_vanishes(
        entered in lots(),
        method in prop::sample::select(vec![CostBasis::Fifo, CostBasis::Lifo, CostBasis::Hifo, CostBasis::Average, CostBasis::Specific]),
        cheapest_first in any::<bool>(),
        takes in prop::collection::vec((1..=100_i64, 1..=7_i64, 1..=7_i64), 1..12),
    ) {
        let mut open = opened(&entered, method);
        prop_assert_eq!(left(&open), together(entered.iter().map(|(q, gross, costs)| (q, gross, costs))));
        for (percent, new, old) in takes {
            let (held, gross, costs) = left(&open);
            if held.is_zero() {
                break;
            }
            let quantity = &held * &Decimal::new(i128::from(percent), 2);
            let mut needed = quantity.clone();
            let mut picks = Vec::new();
            for lot in &open.0 {
                let quantity = lot.quantity.smaller(&needed);
                needed -= &quantity;
                picks.push(LotPick { transaction: lot.transaction, quantity });
            }
            let pieces = open.take(&quantity, method, cheapest_first, &picks).unwrap();
            let taken = together(pieces.iter().map(|piece| (&piece.quantity, &piece.gross, &piece.costs)));
            prop_assert_eq!(&taken.0, &quantity);
            let rest = left(&open);
            prop_assert_eq!((&taken.0 + &rest.0, &taken.1 + &rest.1, &taken.2 + &rest.2), (held, gross, costs));
            let (before, new, old) = (left(&open), Decimal::from(new), Decimal::from(old));
            open.split(&new, &old);
            let after = left(&open);
            prop_assert_eq!((&after.1, &after.2), (&before.1, &before.2));
            prop_assert_eq!(after.0, before.0.share(&new, &old));
            prop_assert!(open.0.iter().all(|lot| lot.quantity.is_positive()));
        }
    }

    /// A book that is stored after each entry, and loaded again with no more than the entry touches, ends as the
    /// book that is folded at once.
    #[test]
    fn a_stored_book_goes_on_where_it_was(plan in plan(24)) {
        let world = plan.happen();
        let at_once = world.fold(&world.transactions);
        let mut stored = Stored::default();
        let mut whole = Book::default();
        for t in &world.transactions {
            let mut book = stored.load(|key| touches(t, key));
            book.apply(t, world.context()).unwrap();
            stored.save(&book);
            whole.closed.append(&mut book.closed);
            whole.memberships.append(&mut book.memberships);
            whole.missing.append(&mut book.missing);
            for (asset, mut splits) in book.splits {
                whole.splits.entry(asset).or_default().append(&mut splits);
            }
        }
        let last = stored.load(|_| true);
        (whole.accounts, whole.holdings) = (last.accounts, last.holdings);
        prop_assert_eq!(whole, at_once);
    }

    /// Facts come in any order; folded in order of time they are one book.
    #[test]
    fn the_order_of_entry_does_not_matter(plan in plan(24), seed in any::<u64>()) {
        let world = plan.happen();
        let mut entered = world.transactions.clone();
        entered.sort_by_key(|t| (seed ^ 0x9E37_79B9_7F4A_7C15).wrapping_mul(t.id.0.as_u64_pair().1 | 1));
        entered.sort_by_key(|t| (t.executed_at, t.place));
        prop_assert_eq!(world.fold(&entered), world.fold(&world.transactions));
    }

    /// A convention moves profit from one figure to another and makes none: cash and market value are the same
    /// under all of them, to the last digit where no contract turns profit into cash at the close. (Where one
    /// does so at a rate of its own, it matters whose profit that is.)
    #[test]
    fn no_convention_makes_money(mut plan in plan(24), other in super::world::conventions()) {
        plan.conventions.dust = Decimal::ZERO;
        let mut world = plan.happen();
        let contract = |t: &Transaction| matches!(t.asset, Some(AssetKey(5 | 6)));
        world.transactions.iter_mut().filter(|t| contract(t)).for_each(|t| t.fx_rate = None);
        keep_what_is_valid(&mut world);
        let method = if other.cost_basis == CostBasis::Specific { world.conventions.cost_basis } else { other.cost_basis };
        let changed = Conventions { cost_basis: method, fees: other.fees, taxes: other.taxes, ..world.conventions.clone() };
        let mut ctx = world.context();
        ctx.conventions = &changed;
        let count = world.transactions.len();
        let one = world.value(&world.fold(&world.transactions), count);
        let two = world.value(&fold(&world.transactions, ctx).unwrap(), count);
        let apart = if world.transactions.iter().any(contract) { Apart::Rounding } else { Apart::Nothing };
        let (one_value, two_value) = (one.sums.total_value(), two.sums.total_value());
        prop_assert!(known_alike(one_value.as_ref(), two_value.as_ref(), apart));
        for (a, b) in one.items.iter().zip(&two.items) {
            prop_assert_eq!(&a.worth.quantity, &b.worth.quantity);
            prop_assert_eq!(a.totals.fees.clone(), b.totals.fees.clone());
        }
        prop_assert_eq!(one.sums.fees, two.sums.fees);
        prop_assert_eq!(one.sums.taxes, two.sums.taxes);
    }

    /// A rate that is not there makes figures unknown and is named; no figure becomes another number.
    #[test]
    fn a_missing_rate_makes_no_other_number(plan in plan(20), gone in 0..4_usize) {
        let world = plan.happen();
        let poor = plan.without_rates_of(gone);
        let mut ctx = world.context();
        ctx.rates = &poor;
        let Ok(book) = fold(&world.transactions, ctx) else { return Ok(()) };
        let count = world.transactions.len();
        let all = world.value(&world.fold(&world.transactions), count);
        let some = world.value_with(&book, count, &poor);
        for ((name, all), (_, some)) in figures(&all.sums).into_iter().zip(figures(&some.sums)) {
            prop_assert!(some.is_none() || some == all, "{}: {:?} and {:?}", name, some, all);
        }
        let unknown = figures(&some.sums).iter().any(|(_, figure)| figure.is_none());
        prop_assert!(!unknown || !some.missing.is_empty(), "unknown, but nothing is missing");
    }
}
