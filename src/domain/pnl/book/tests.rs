//! Rules of the fold that are easy to get almost right.

use super::*;
use crate::domain::asset::Terms;
use crate::domain::portfolio::{CostBasis, FeeMode, LotScope, ShortMode};
use crate::domain::transaction::{LotPick, TransactionType as T};
use uuid::Uuid;

const ACME: AssetKey = AssetKey(1);

struct World {
    conventions: Conventions,
    terms: TermsHistory,
    rates: Rates,
    next: i64,
    book: Book,
}

fn d(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn c(code: &str) -> Currency {
    Currency::from_code(code).unwrap()
}

fn amounts(text: &str) -> Amounts {
    Amounts { own: d(text), base: Some(d(text)) }
}

impl World {
    fn new(conventions: Conventions, terms: Terms) -> Self {
        let mut history = TermsHistory::default();
        history.add(ACME, Moment::MIN, terms);
        Self { conventions, terms: history, rates: Rates::default(), next: 1, book: Book::default() }
    }

    fn trade(&mut self, kind: T, quantity: &str, price: &str, fee: &str) -> Result<(), LedgerError> {
        let mut t = Transaction::bare(TransactionId(Uuid::nil()), kind, Moment(self.next));
        (t.asset, t.quantity, t.price, t.fee) = (Some(ACME), Some(d(quantity)), Some(d(price)), d(fee));
        self.apply(t)
    }

    fn split(&mut self, numerator: &str, denominator: &str) {
        let mut t = Transaction::bare(TransactionId(Uuid::nil()), T::Split, Moment(self.next));
        (t.asset, t.ratio_num, t.ratio_den) = (Some(ACME), Some(d(numerator)), Some(d(denominator)));
        self.apply(t).unwrap();
    }

    fn apply(&mut self, mut t: Transaction) -> Result<(), LedgerError> {
        t.id = TransactionId(Uuid::from_u128(u128::try_from(self.next).unwrap()));
        t.place = self.next;
        self.next += 1;
        let conventions = &self.conventions;
        self.book.apply(&t, Context { base: c("USD"), conventions, terms: &self.terms, rates: &self.rates })
    }

    fn holding(&self) -> &Holding {
        self.book.holdings.values().next().unwrap()
    }

    fn cash(&self) -> Decimal {
        self.book
            .accounts
            .values()
            .flat_map(|state| state.cash.values())
            .map(|cash| cash.balance.clone())
            .sum()
    }
}

fn short_allowed() -> Conventions {
    Conventions { short: ShortMode::Allowed, ..Conventions::default() }
}

fn margined(inverse: bool) -> Terms {
    Terms { margined: true, inverse, ..Terms::plain(c("USD")) }
}

#[test]
fn a_fee_across_zero_belongs_to_both_positions_pro_rata() {
    let mut world = World::new(short_allowed(), Terms::plain(c("USD")));
    world.trade(T::Buy, "10", "10", "1").unwrap();
    world.trade(T::Sell, "15", "12", "3").unwrap();
    // 10 of 15 close with 2 of the fee, the other 5 open with 1.
    let (_, closed) = &world.book.closed[0];
    assert_eq!((&closed.totals.realized, &closed.totals.fees), (&amounts("17"), &amounts("3")));
    let holding = world.holding();
    assert_eq!(
        (holding.quantity(), holding.gross(), holding.costs()),
        (d("-5"), amounts("60"), amounts("1"))
    );
    assert_eq!(holding.cost_basis(), amounts("-59"));
    let open = holding.totals.since(&holding.cycle.as_ref().unwrap().totals);
    assert_eq!((open.fees, open.realized), (amounts("1"), amounts("0")));
    assert_eq!(world.cash(), d("76"));
}

#[test]
fn an_expensed_fee_counts_in_the_position_it_opens() {
    let mut world =
        World::new(Conventions { fees: FeeMode::Expensed, ..short_allowed() }, Terms::plain(c("USD")));
    world.trade(T::Buy, "10", "10", "1").unwrap();
    let opening = world.holding().cycle.clone().unwrap();
    assert_eq!(world.holding().totals.since(&opening.totals).realized, amounts("-1"));
    world.trade(T::Sell, "10", "12", "3").unwrap();
    assert_eq!(world.book.closed[0].1.totals.realized, amounts("16"));
}

#[test]
fn a_third_of_a_fee_leaves_two_thirds() {
    let mut world = World::new(short_allowed(), Terms::plain(c("USD")));
    world.trade(T::Buy, "1", "10", "0").unwrap();
    world.trade(T::Sell, "3", "10", "1").unwrap();
    let (holding, closed) = (world.holding(), &world.book.closed[0].1);
    assert_eq!(&closed.totals.fees + &holding.costs(), amounts("1"));
    assert_eq!(closed.totals.realized.own, -closed.totals.fees.own.clone());
}

#[test]
fn the_whole_proceeds_are_booked_where_part_of_a_sale_has_no_basis() {
    let conventions = Conventions { short: ShortMode::MissingBasisIsZeroCost, ..Conventions::default() };
    let mut world = World::new(conventions, Terms::plain(c("USD")));
    world.trade(T::Buy, "1", "0", "0").unwrap();
    let mut t = Transaction::bare(TransactionId(Uuid::nil()), T::Sell, Moment(2));
    (t.asset, t.quantity, t.gross_total, t.fee) = (Some(ACME), Some(d("3")), Some(d("100")), d("1"));
    world.apply(t).unwrap();
    let totals = &world.holding().totals;
    assert_eq!((&totals.realized_gross, &totals.realized), (&amounts("100"), &amounts("99")));
    assert_eq!((&totals.missing_quantity, world.cash()), (&d("2"), d("99")));
}

#[test]
fn a_margined_contract_moves_fees_until_it_closes() {
    let mut world = World::new(short_allowed(), margined(false));
    world.trade(T::Sell, "2", "100", "1").unwrap();
    assert_eq!(world.cash(), d("-1"));
    world.trade(T::Buy, "3", "90", "3").unwrap();
    // Two cover with 2 of the fee: 20 to cash, 20 - 1 - 2 realised. One opens, and only its fee is paid.
    assert_eq!(world.cash(), d("16"));
    assert_eq!(world.holding().totals.realized, amounts("17"));
    assert_eq!((world.holding().quantity(), world.holding().costs()), (d("1"), amounts("1")));
}

#[test]
fn an_inverse_contract_pays_the_difference_of_the_inverse_prices() {
    let mut world = World::new(short_allowed(), margined(true));
    world.trade(T::Buy, "1000", "1000", "0").unwrap();
    world.trade(T::Sell, "1500", "1250", "0").unwrap();
    // 1000 x (1/1000 - 1/1250), and 500 short at 1250.
    assert_eq!((world.holding().totals.realized.own.clone(), world.cash()), (d("0.2"), d("0.2")));
    assert_eq!((world.holding().quantity(), world.holding().gross()), (d("-500"), amounts("0.4")));
    world.trade(T::Buy, "500", "1000", "0").unwrap();
    // A short one gains when the price falls: 500 x (1/1000 - 1/1250).
    assert_eq!(world.cash(), d("0.3"));
    assert_eq!(world.trade(T::Buy, "1", "0", "0"), Err(LedgerError::InverseAtZero));
}

#[test]
fn hifo_takes_the_dearest_price_of_an_inverse_contract() {
    let conventions = Conventions { cost_basis: CostBasis::Hifo, ..short_allowed() };
    for (open, close, cheapest_left) in [(T::Buy, T::Sell, true), (T::Sell, T::Buy, false)] {
        let mut world = World::new(conventions.clone(), margined(true));
        world.trade(open, "100", "200", "0").unwrap();
        world.trade(open, "100", "100", "0").unwrap();
        world.trade(close, "100", "400", "0").unwrap();
        // 100 / 100 is one unit of the settlement currency, 100 / 200 a half.
        let left = if cheapest_left { "1" } else { "0.5" };
        assert_eq!(world.holding().gross(), amounts(left));
    }
}

#[test]
fn only_what_was_paid_for_dust_is_lost() {
    let dusty = Conventions { dust: d("0.01"), ..Conventions::default() };
    for (terms, realized) in [(Terms::plain(c("USD")), "5.9"), (margined(false), "6.9")] {
        let mut world = World::new(dusty.clone(), terms);
        world.trade(T::Buy, "1", "100", "3").unwrap();
        world.trade(T::Sell, "0.99", "110", "0").unwrap();
        assert_eq!((world.holding().quantity(), world.holding().side()), (d("0"), None));
        assert_eq!(world.holding().totals.realized, amounts(realized));
        assert_eq!(world.cash(), d(realized));
    }
}

/// An asset in euros, in a book in dollars: 1.10 at first, 1.20 from moment 2 on.
fn in_euros(conventions: Conventions) -> World {
    let mut world = World::new(conventions, Terms::plain(c("EUR")));
    world.rates.add(c("EUR"), c("USD"), Moment(0), d("1.1"));
    world.rates.add(c("EUR"), c("USD"), Moment(2), d("1.2"));
    world
}

#[test]
fn dust_has_a_currency_part_as_every_closed_piece_has() {
    let dusty = Conventions { dust: d("0.5"), ..Conventions::default() };
    // 9.75 of 10 at 100 are sold at 120: 195 EUR, and 1404 - 1072.5 = 331.5 USD. The 0.25 left cost 25 EUR, 27.5 USD.
    // Rates moved by 0.1: of 975 EUR 97.5 USD, of 25 EUR 2.5 USD.
    let mut world = in_euros(dusty.clone());
    world.trade(T::Buy, "10", "100", "0").unwrap();
    world.trade(T::Sell, "9.75", "120", "0").unwrap();
    let totals = &world.holding().totals;
    assert_eq!(totals.realized, Amounts { own: d("170"), base: Some(d("304")) });
    assert_eq!(totals.realized_fx.base, Some(d("100")));
    // All of it becomes dust: 1100 USD are lost, 1200 by the price, less 100 that the currency gained.
    let mut world = in_euros(dusty);
    world.trade(T::Buy, "10", "100", "0").unwrap();
    world.split("1", "100");
    let totals = &world.holding().totals;
    assert_eq!(totals.realized, Amounts { own: d("-1000"), base: Some(d("-1100")) });
    assert_eq!(totals.realized_fx.base, Some(d("100")));
}

#[test]
fn what_entered_a_position_before_a_split_is_counted_in_units_of_after_it() {
    let mut world = World::new(Conventions::default(), Terms::plain(c("USD")));
    world.trade(T::Buy, "10", "100", "0").unwrap();
    world.trade(T::Sell, "5", "110", "0").unwrap();
    world.split("2", "1");
    world.trade(T::Buy, "20", "50", "0").unwrap();
    world.trade(T::Sell, "30", "60", "0").unwrap();
    let (_, cycle) = &world.book.closed[0];
    // 20 new units at 1000 and 20 at 1000: 50 each. Out went 10 new units for 550 and 30 for 1800.
    assert_eq!((&cycle.entered_quantity, &cycle.entered_cost), (&d("40"), &d("2000")));
    assert_eq!((&cycle.exited_quantity, &cycle.exited_gross), (&d("40"), &d("2350")));
}

#[test]
fn a_rate_agreed_for_one_currency_is_not_one_of_another() {
    let mut world = World::new(short_allowed(), Terms { settlement: c("BTC"), ..margined(true) });
    world.rates.add(c("BTC"), c("USD"), Moment(0), d("100"));
    world.rates.add(c("EUR"), c("USD"), Moment(0), d("1.25"));
    for (kind, price, fee) in [(T::Buy, "50", "10"), (T::Sell, "40", "0")] {
        let mut t = Transaction::bare(TransactionId(Uuid::nil()), kind, Moment(1));
        (t.asset, t.quantity, t.price, t.fee) = (Some(ACME), Some(d("100")), Some(d(price)), d(fee));
        (t.currency, t.fx_rate) = (Some(c("EUR")), Some(d("1.2")));
        world.apply(t).unwrap();
        if kind == T::Buy {
            // 100 / 50 = 2 BTC are 200 USD: the 1.2 is dollars for the euros of the fee.
            assert_eq!(world.holding().gross(), Amounts { own: d("2"), base: Some(d("200")) });
            assert_eq!(world.holding().costs(), Amounts { own: d("0.125"), base: Some(d("12")) });
        }
    }
    // 2 - 100 / 40 = -0.5 BTC are 50 USD at the rate of the bitcoin. The fee was 12.
    assert_eq!(world.holding().totals.realized, Amounts { own: d("-0.625"), base: Some(d("-62")) });
    assert_eq!(world.book.accounts["main"].cash[&c("USD")].balance, d("-62"));
}

#[test]
fn accounts_that_share_their_lots_pass_units_on_without_naming_any() {
    let shared = Conventions {
        cost_basis: CostBasis::Specific,
        lot_scope: LotScope::Global,
        ..Conventions::default()
    };
    let mut world = World::new(shared, Terms::plain(c("USD")));
    world.trade(T::Buy, "10", "100", "0").unwrap();
    let mut t = Transaction::bare(TransactionId(Uuid::nil()), T::Transfer, Moment(2));
    (t.asset, t.quantity, t.to_account) = (Some(ACME), Some(d("4")), Some("other".to_owned()));
    world.apply(t).unwrap();
    assert_eq!(world.holding().quantity(), d("10"));
}

#[test]
fn the_last_price_is_one_of_the_units_after_a_split() {
    let mut world = World::new(short_allowed(), Terms::plain(c("USD")));
    world.trade(T::Buy, "10", "90", "0").unwrap();
    world.split("3", "1");
    assert_eq!(world.holding().last_price, Some((Moment(1), d("30"))));
    world.split("1", "10");
    assert_eq!(world.holding().last_price, Some((Moment(1), d("300"))));
    world.trade(T::Buy, "1", "310", "0").unwrap();
    assert_eq!(world.holding().last_price, Some((Moment(4), d("310"))));
}

#[test]
fn money_of_another_currency_is_converted_before_it_becomes_cost() {
    let mut world = World::new(Conventions::default(), Terms::plain(c("GBP")));
    let mut t = Transaction::bare(TransactionId(Uuid::nil()), T::Buy, Moment(1));
    (t.asset, t.quantity, t.price, t.currency) = (Some(ACME), Some(d("2")), Some(d("150")), Some(c("CAD")));
    let missing = MissingRate { from: c("CAD"), to: c("GBP"), at: Moment(1) };
    assert_eq!(world.apply(t.clone()), Err(LedgerError::NoRate(missing)));
    world.book = Book::default();
    world.rates.add(c("CAD"), c("USD"), Moment(0), d("0.75"));
    world.rates.add(c("GBP"), c("USD"), Moment(0), d("1.25"));
    world.apply(t).unwrap();
    assert_eq!(world.holding().gross(), Amounts { own: d("180"), base: Some(d("225")) });
    assert_eq!(world.book.accounts["main"].cash[&c("CAD")].balance, d("-300"));
    assert_eq!(world.holding().last_price, Some((Moment(1), d("90"))));
}

#[test]
fn a_charge_that_names_an_asset_is_of_its_holding() {
    let mut world = World::new(Conventions::default(), Terms::plain(c("USD")));
    world.trade(T::Buy, "1", "10", "0").unwrap();
    for (kind, amount) in [(T::Fee, "4"), (T::Tax, "3")] {
        let mut t = Transaction::bare(TransactionId(Uuid::nil()), kind, Moment(9));
        (t.asset, t.amount) = (Some(ACME), Some(d(amount)));
        world.apply(t).unwrap();
    }
    let totals = &world.holding().totals;
    assert_eq!(
        (&totals.fees, &totals.taxes, &totals.costs_apart),
        (&amounts("4"), &amounts("3"), &amounts("7"))
    );
    assert_eq!(world.book.accounts["main"].fees, Some(d("0")));
    assert_eq!(world.cash(), d("-17"));
}

#[test]
fn lots_that_a_delivery_names_must_be_there_and_where_they_are_not_nothing_is_changed() {
    let specific =
        |lot_scope| Conventions { cost_basis: CostBasis::Specific, lot_scope, ..Conventions::default() };
    let deliver = |world: &mut World, kind, to: Option<&str>| {
        let mut t = Transaction::bare(TransactionId(Uuid::nil()), kind, Moment(world.next));
        (t.asset, t.quantity, t.fee) = (Some(ACME), Some(d("2")), d("1"));
        t.to_account = to.map(str::to_owned);
        // The first entry opened a lot, the ninth none.
        t.lots = vec![LotPick { transaction: TransactionId(Uuid::from_u128(9)), quantity: d("2") }];
        world.apply(t)
    };
    for (scope, kind, to, refused) in [
        (LotScope::Account, T::TransferOut, None, true),
        (LotScope::Global, T::TransferOut, None, true),
        (LotScope::Account, T::Transfer, Some("second"), true),
        // Nothing leaves a lot that belongs to both accounts.
        (LotScope::Global, T::Transfer, Some("second"), false),
    ] {
        let mut world = World::new(specific(scope), Terms::plain(c("USD")));
        world.trade(T::Buy, "10", "10", "0").unwrap();
        let before = world.book.clone();
        let answer = deliver(&mut world, kind, to);
        assert_eq!(matches!(answer, Err(LedgerError::Lots(_))), refused, "{scope:?} {kind:?} {answer:?}");
        assert_eq!(world.book == before, refused, "{scope:?} {kind:?}");
    }
}

#[test]
fn books_that_differ_in_whose_entries_are_whose_differ() {
    let fold = |quantity| {
        let mut world = World::new(Conventions::default(), Terms::plain(c("USD")));
        world.trade(T::Buy, quantity, "10", "0").unwrap();
        world.book
    };
    let (one, mut other) = (fold("1"), fold("1"));
    assert_eq!(one, other);
    assert_eq!((one.memberships.len(), one.memberships.is_empty()), (1, false));
    other.memberships.clear();
    assert_ne!(one, other);
    assert_eq!((other.memberships.len(), other.memberships.is_empty()), (0, true));
}

#[test]
fn the_price_of_an_inverse_contract_is_what_was_paid_in_whatever_currency() {
    let mut world = World::new(short_allowed(), margined(true));
    let mut t = Transaction::bare(TransactionId(Uuid::nil()), T::Buy, Moment(1));
    (t.asset, t.quantity, t.price, t.currency) = (Some(ACME), Some(d("1")), Some(d("7")), Some(c("EUR")));
    world.apply(t).unwrap();
    // One contract at 7 is a seventh, and one by a seventh of 34 digits is not 7.
    assert_eq!(world.holding().last_price, Some((Moment(1), d("7"))));
}

#[test]
fn sums_are_not_told_from_sums_where_a_currency_is_gone() {
    let cash = |codes: &[&str]| {
        let of = |code: &&str| (c(code), Cash { balance: d("5"), moved_base: Some(d("5")) });
        AccountState { cash: codes.iter().map(of).collect(), ..AccountState::default() }
    };
    let whole = cash(&["USD", "EUR"]);
    assert_eq!(whole.changed(&cash(&["EUR"]), &cash(&["USD"])), None);
    let more = whole.changed(&cash(&["EUR"]), &cash(&["EUR", "JPY"])).unwrap();
    assert_eq!(more, cash(&["USD", "EUR", "JPY"]));
}
