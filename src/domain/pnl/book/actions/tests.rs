//! Who is paid, whose units are whose, and how far a row at odds with a rule is folded.

use super::*;
use crate::domain::asset::{Terms, TermsHistory};
use crate::domain::currency::Currency;
use crate::domain::fx::Rates;
use crate::domain::moment::Moment;
use crate::domain::pnl::lots::PickError;
use crate::domain::transaction::LotPick;
use crate::domain::transaction::TransactionType as T;
use uuid::Uuid;

const ACME: AssetKey = AssetKey(1);

fn d(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn usd() -> Currency {
    Currency::from_code("USD").unwrap()
}

fn id(number: i64) -> TransactionId {
    TransactionId(Uuid::from_u128(u128::try_from(number).unwrap()))
}

struct World {
    conventions: Conventions,
    terms: TermsHistory,
    rates: Rates,
    tolerated: BTreeSet<AssetKey>,
    book: Book,
    next: i64,
}

impl World {
    fn new(conventions: Conventions) -> Self {
        let mut terms = TermsHistory::default();
        terms.add(ACME, Moment::MIN, Terms::plain(usd()));
        let (rates, book) = (Rates::default(), Book::default());
        Self { conventions, terms, rates, tolerated: BTreeSet::from([ACME]), book, next: 1 }
    }

    /// Folds an entry of ACME at 10 a unit; its id is its number.
    fn row(&mut self, kind: T, account: &str, quantity: &str, more: impl FnOnce(&mut Transaction)) {
        let mut t = Transaction::bare(id(self.next), kind, Moment(self.next));
        (t.place, t.asset) = (self.next, Some(ACME));
        account.clone_into(&mut t.account);
        if !quantity.is_empty() {
            t.quantity = Some(d(quantity));
        }
        t.price = Some(d("10")).filter(|_| matches!(kind, T::Buy | T::Sell | T::TransferIn));
        more(&mut t);
        self.next += 1;
        let (conventions, terms, rates) = (&self.conventions, &self.terms, &self.rates);
        let ctx = Context { base: usd(), conventions, terms, rates };
        self.book.admit(&t, ctx, &self.tolerated).unwrap();
    }

    fn trade(&mut self, kind: T, account: &str, quantity: &str) {
        self.row(kind, account, quantity, |_| {});
    }

    fn split(&mut self, numerator: &str, denominator: &str) {
        self.row(T::Split, "main", "", |t| {
            t.asset_level = true;
            (t.ratio_num, t.ratio_den) = (Some(d(numerator)), Some(d(denominator)));
        });
    }

    /// A dividend of the asset, for each unit.
    fn dividend(&mut self, amount: &str, tax: &str) {
        self.row(T::Dividend, "main", "", |t| {
            t.asset_level = true;
            (t.amount, t.tax, t.currency) = (Some(d(amount)), d(tax), Some(usd()));
        });
    }

    fn cash(&self, account: &str) -> Decimal {
        self.book.accounts[account].cash[&usd()].balance.clone()
    }

    fn holding(&self, account: &str) -> &Holding {
        &self.book.holdings[&HoldingKey { account: account.to_owned(), asset: ACME }]
    }

    fn units(&self) -> Vec<(&str, String)> {
        let units = &self.holding(EVERY_ACCOUNT).units;
        units.iter().map(|(name, units)| (name.as_str(), units.normalized().to_string())).collect()
    }
}

fn conventions(lot_scope: LotScope, short: ShortMode) -> Conventions {
    Conventions { lot_scope, short, ..Conventions::default() }
}

#[test]
fn each_account_is_paid_for_its_units_and_a_short_position_pays() {
    let mut world = World::new(conventions(LotScope::Account, ShortMode::Allowed));
    world.trade(T::Buy, "main", "10");
    world.trade(T::Sell, "second", "4");
    world.trade(T::Buy, "third", "1");
    world.trade(T::Sell, "third", "1");
    world.dividend("0.5", "0.1");
    // main: -100 + 5 - 1; second: 40 - 2, and no tax is kept back of what is paid away.
    assert_eq!((world.cash("main"), world.cash("second"), world.cash("third")), (d("-96"), d("38"), d("0")));
    assert_eq!(world.holding("main").totals.income.own, d("5"));
    assert_eq!(world.holding("main").totals.taxes.own, d("1"));
    assert_eq!(world.holding("main").totals.costs_apart.own, d("1"));
    assert_eq!(world.holding("second").totals.income.own, d("-2"));
    assert_eq!(world.holding("second").totals.taxes.own, d("0"));
    assert!(world.book.memberships.clone().into_iter().all(|member| member.transaction != id(5)));
}

#[test]
fn under_global_scope_the_units_of_each_account_are_known() {
    let mut world = World::new(conventions(LotScope::Global, ShortMode::Rejected));
    world.trade(T::Buy, "main", "10");
    world.trade(T::Buy, "second", "4");
    world.row(T::Transfer, "main", "3", |t| t.to_account = Some("second".to_owned()));
    world.trade(T::Sell, "second", "2");
    assert_eq!(world.units(), [("main", "7".to_owned()), ("second", "5".to_owned())]);
    world.dividend("0.5", "0");
    assert_eq!((world.cash("main"), world.cash("second")), (d("-96.5"), d("-17.5")));
    assert_eq!(world.holding(EVERY_ACCOUNT).totals.income.own, d("6"));
    // An account that sells what another one bought owes it.
    world.trade(T::Sell, "second", "6");
    assert_eq!(world.units(), [("main", "7".to_owned()), ("second", "-1".to_owned())]);
    world.row(T::TransferOut, "main", "6", |_| {});
    assert_eq!(world.units(), [("main", "1".to_owned()), ("second", "-1".to_owned())]);
    assert_eq!(world.holding(EVERY_ACCOUNT).quantity(), d("0"));
}

#[test]
fn the_units_of_accounts_add_up_to_the_holding_also_where_a_split_has_no_end() {
    let mut world = World::new(conventions(LotScope::Global, ShortMode::Rejected));
    for (account, quantity) in [("a", "1"), ("b", "1"), ("c", "5")] {
        world.trade(T::Buy, account, quantity);
    }
    world.split("1", "3");
    let sum = |world: &World| world.holding(EVERY_ACCOUNT).units.values().cloned().sum::<Decimal>();
    assert_eq!(sum(&world), world.holding(EVERY_ACCOUNT).quantity());
    world.split("3", "7");
    assert_eq!(sum(&world), world.holding(EVERY_ACCOUNT).quantity());
}

#[test]
fn a_sale_of_more_than_is_held_is_flagged_and_opens_a_short_position() {
    let mut world = World::new(Conventions::default());
    world.trade(T::Buy, "main", "100");
    world.trade(T::Sell, "main", "150");
    assert_eq!(world.holding("main").quantity(), d("-50"));
    let error = LedgerError::InsufficientQuantity { held: d("100"), asked: d("150") };
    let flag = Flag { transaction: id(2), asset_level: false, asset: Some(ACME), error, left_out: false };
    assert_eq!(world.book.flags, [flag]);
    // What follows is folded as always.
    world.trade(T::Buy, "main", "60");
    assert_eq!((world.holding("main").quantity(), world.book.flags.len()), (d("10"), 1));
}

#[test]
fn without_an_action_of_its_asset_a_row_is_refused_as_ever() {
    let mut world = World::new(Conventions::default());
    world.tolerated.clear();
    let mut t = Transaction::bare(id(1), T::Sell, Moment(1));
    (t.asset, t.quantity, t.price) = (Some(ACME), Some(d("1")), Some(d("1")));
    let conventions = &world.conventions;
    let ctx = Context { base: usd(), conventions, terms: &world.terms, rates: &world.rates };
    let refused = LedgerError::InsufficientQuantity { held: d("0"), asked: d("1") };
    assert_eq!(world.book.admit(&t, ctx, &world.tolerated), Err(refused));
    assert_eq!(world.book, Book::default());
}

#[test]
fn named_lots_that_are_not_there_are_replaced_by_the_oldest() {
    let specific = Conventions { cost_basis: CostBasis::Specific, ..Conventions::default() };
    let mut world = World::new(specific);
    world.trade(T::Buy, "main", "5");
    world.trade(T::Buy, "main", "5");
    let pick = |lot, quantity| LotPick { transaction: id(lot), quantity: d(quantity) };
    world.row(T::Sell, "main", "7", |t| t.lots = vec![pick(2, "7")]);
    assert_eq!(world.holding("main").quantity(), d("3"));
    let left = &world.holding("main").lots.0;
    assert_eq!((left.len(), left[0].transaction), (1, id(2)));
    let error = LedgerError::Lots(PickError::TooLarge { lot: id(2), held: d("5"), asked: d("7") });
    assert_eq!((&world.book.flags[0].error, world.book.flags[0].left_out), (&error, false));
}

#[test]
fn a_delivery_takes_what_is_held_and_is_left_out_when_nothing_is() {
    let mut world = World::new(Conventions::default());
    world.trade(T::Buy, "main", "10");
    world.row(T::Transfer, "main", "15", |t| t.to_account = Some("second".to_owned()));
    assert_eq!((world.holding("main").quantity(), world.holding("second").quantity()), (d("0"), d("10")));
    world.row(T::TransferOut, "main", "1", |_| {});
    let out: Vec<bool> = world.book.flags.iter().map(|flag| flag.left_out).collect();
    assert_eq!(out, [false, true]);
    // Into a short position nothing is delivered.
    world.trade(T::Sell, "main", "1");
    world.trade(T::TransferIn, "main", "1");
    assert_eq!(world.book.flags[3].error, LedgerError::DeliveryIntoShort);
    assert!(world.book.flags[3].left_out);
    assert_eq!(world.holding("main").quantity(), d("-1"));
}

#[test]
fn a_dividend_in_another_currency_is_paid_in_it() {
    let mut world = World::new(Conventions::default());
    world.trade(T::Buy, "main", "10");
    let euros = |t: &mut Transaction| {
        t.asset_level = true;
        (t.amount, t.currency) = (Some(d("2")), Currency::from_code("EUR"));
    };
    world.row(T::Dividend, "main", "", euros);
    assert!(world.book.flags[0].left_out && world.book.flags[0].asset_level);
    assert_eq!(world.cash("main"), d("-100"));
    world.rates.add(Currency::from_code("EUR").unwrap(), usd(), Moment(0), d("1.1"));
    world.row(T::Dividend, "main", "", euros);
    assert_eq!(world.book.accounts["main"].cash[&Currency::from_code("EUR").unwrap()].balance, d("20"));
    assert_eq!(world.holding("main").totals.income.own, d("22"));
}

#[test]
fn a_split_changes_the_units_of_each_account_alike_and_the_next_dividend_follows_them() {
    let mut world = World::new(conventions(LotScope::Global, ShortMode::Rejected));
    world.trade(T::Buy, "main", "10");
    world.trade(T::Buy, "second", "5");
    world.row(T::Transfer, "main", "4", |t| t.to_account = Some("third".to_owned()));
    world.split("3", "2");
    let units = [("main", "9"), ("second", "7.5"), ("third", "6")];
    assert_eq!(world.units(), units.map(|(name, units)| (name, units.to_owned())));
    world.dividend("2", "0");
    assert_eq!(
        (world.cash("main"), world.cash("second"), world.cash("third")),
        (d("-82"), d("-35"), d("12"))
    );
}
