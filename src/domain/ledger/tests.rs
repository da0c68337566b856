//! Where rows stand: days of two zones, several facts of one moment, and entries that stand for an action.

use super::*;
use crate::domain::corporate_action::ActionType;
use crate::domain::ids::{ActionId, TransactionId};
use crate::domain::moment::start_of_day;
use uuid::Uuid;

const ACME: AssetKey = AssetKey(1);

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn day(text: &str, zone: Tz) -> Moment {
    start_of_day(text.parse().unwrap(), zone)
}

fn at(text: &str) -> Moment {
    Moment::parse(text).unwrap()
}

/// An entry of ACME; its place is its number.
fn entry(number: u32, kind: TransactionType, (executed_at, whole_day): (Moment, bool)) -> Transaction {
    let mut t = Transaction::bare(TransactionId(id(number.into())), kind, executed_at);
    (t.place, t.whole_day, t.asset) = (number.into(), whole_day, Some(ACME));
    t
}

fn buy(number: u32, moment: (Moment, bool)) -> Transaction {
    entry(number, TransactionType::Buy, moment)
}

fn action(number: u32, kind: ActionType, (executed_at, whole_day): (Moment, bool)) -> CorporateAction {
    let two = Some("2".parse().unwrap());
    CorporateAction {
        id: ActionId(id(number.into())),
        asset: ACME,
        place: number.into(),
        kind,
        executed_at,
        whole_day,
        ratio_num: two.clone(),
        ratio_den: Some("1".parse().unwrap()),
        amount: two,
        tax: "0".parse().unwrap(),
        currency: None,
        new_symbol: None,
    }
}

/// The numbers of the rows, in the order they are folded.
fn order(entries: &[Transaction], actions: &[CorporateAction], portfolio: Tz, market: Tz) -> Vec<u128> {
    let markets = BTreeMap::from([(ACME, market)]);
    let rows = merge(entries.to_vec(), actions, Zones { portfolio, markets: &markets });
    rows.iter().map(|t| t.id.0.as_u128()).collect()
}

#[test]
fn an_entry_of_the_day_of_a_split_comes_after_it_also_where_that_day_begins_earlier() {
    let (tokyo, new_york) = (Tz::Asia__Tokyo, Tz::America__New_York);
    let split = action(9, ActionType::Split, (day("2026-03-10", new_york), true));
    let entries = [
        buy(1, (day("2026-03-09", tokyo), true)),
        // 00:00 in Tokyo is 11:00 of the day before in New York, and still means the day of the split.
        buy(2, (day("2026-03-10", tokyo), true)),
        // 14:00 in New York, the day before the split.
        buy(3, (at("2026-03-09T18:00:00Z"), false)),
        buy(4, (at("2026-03-10T15:00:00Z"), false)),
    ];
    assert_eq!(order(&entries, &[split], tokyo, new_york), [1, 3, 9, 2, 4]);
    // The other way round the day of the market begins first.
    let split = action(9, ActionType::Split, (day("2026-03-10", tokyo), true));
    let entries = [
        buy(1, (day("2026-03-09", new_york), true)),
        buy(2, (at("2026-03-09T14:59:59Z"), false)),
        buy(3, (at("2026-03-09T15:00:00Z"), false)),
        buy(4, (day("2026-03-10", new_york), true)),
    ];
    assert_eq!(order(&entries, &[split], new_york, tokyo), [1, 2, 9, 3, 4]);
}

#[test]
fn a_split_of_the_ledger_is_of_the_day_of_its_market_too() {
    let (tokyo, new_york) = (Tz::Asia__Tokyo, Tz::America__New_York);
    let split = entry(9, TransactionType::Split, (day("2026-03-10", new_york), true));
    let bought = buy(2, (day("2026-03-10", tokyo), true));
    assert_eq!(order(&[bought, split], &[], tokyo, new_york), [9, 2]);
}

#[test]
fn entries_of_other_assets_and_of_exact_moments_go_by_their_moment() {
    let (tokyo, new_york) = (Tz::Asia__Tokyo, Tz::America__New_York);
    let split = action(9, ActionType::Split, (day("2026-03-10", new_york), true));
    let mut other = buy(1, (day("2026-03-10", tokyo), true));
    other.asset = Some(AssetKey(2));
    let mut deposit = entry(2, TransactionType::Deposit, (day("2026-03-10", tokyo), true));
    deposit.asset = None;
    assert_eq!(order(&[other, deposit], &[split], tokyo, new_york), [1, 2, 9]);
    // A split of a moment is compared by moment with days as well.
    let split = action(9, ActionType::Split, (at("2026-03-10T14:00:00Z"), false));
    assert_eq!(order(&[buy(1, (day("2026-03-10", tokyo), true))], &[split], tokyo, new_york), [1, 9]);
}

#[test]
fn at_one_moment_a_dividend_is_paid_before_the_split_and_both_come_before_the_entries() {
    let moment = (at("2026-03-10T14:00:00Z"), false);
    let entries = [buy(1, moment), entry(2, TransactionType::Split, moment)];
    let actions = [action(8, ActionType::Split, moment), action(9, ActionType::Dividend, moment)];
    // The ledger has a split of its own of that day, so the asset's is left out.
    assert_eq!(order(&entries, &actions, Tz::UTC, Tz::UTC), [9, 1, 2]);
    assert_eq!(order(&entries[..1], &actions, Tz::UTC, Tz::UTC), [9, 8, 1]);
}

#[test]
fn a_ledger_keeps_its_own_entry_of_the_type_and_day_of_an_action() {
    let (utc, new_york) = (Tz::UTC, Tz::America__New_York);
    let of = |kind, text| action(9, kind, (day(text, new_york), true));
    let kept = |own: &Transaction, action: CorporateAction| {
        order(std::slice::from_ref(own), &[action], utc, new_york) == [1]
    };
    // 02:00Z on the tenth is still the ninth in New York.
    let own = entry(1, TransactionType::Dividend, (at("2026-03-10T02:00:00Z"), false));
    assert!(kept(&own, of(ActionType::Dividend, "2026-03-09")));
    assert!(!kept(&own, of(ActionType::Dividend, "2026-03-10")));
    assert!(!kept(&own, of(ActionType::Split, "2026-03-09")));
    // Given as a day, it is that day in the portfolio's zone.
    let own = entry(1, TransactionType::Dividend, (day("2026-03-10", utc), true));
    assert!(kept(&own, of(ActionType::Dividend, "2026-03-10")));
    assert!(!kept(&own, of(ActionType::Dividend, "2026-03-09")));
    let own = entry(1, TransactionType::Split, (day("2026-03-10", new_york), true));
    assert!(kept(&own, of(ActionType::Split, "2026-03-10")));
}

#[test]
fn a_change_of_symbol_is_no_row_of_a_ledger() {
    let change = action(9, ActionType::SymbolChange, (at("2026-03-10T00:00:00Z"), false));
    assert_eq!(order(&[buy(1, (at("2026-03-11T00:00:00Z"), false))], &[change], Tz::UTC, Tz::UTC), [1]);
}

#[test]
fn only_splits_and_dividends_stand_for_actions_and_reach_back_to_where_their_day_may_begin() {
    use TransactionType as T;
    let noon = at("2026-03-10T12:00:00Z");
    // Zones are at most 26 hours apart: a day and a bit covers what is given as a day anywhere.
    let before = at("2026-03-09T09:00:00Z");
    let of = |kind, whole_day| {
        let t = entry(1, kind, (noon, whole_day));
        (stands_for_action(kind), not_before(&t), changes_from(&t))
    };
    assert_eq!(of(T::Split, true), (true, before, before));
    assert_eq!(of(T::Split, false), (true, noon, before));
    assert_eq!(of(T::Dividend, true), (true, noon, before));
    assert_eq!(of(T::Dividend, false), (true, noon, before));
    for kind in [T::Buy, T::Sell, T::Deposit, T::Fee, T::Transfer, T::TransferIn] {
        for whole_day in [true, false] {
            assert_eq!(of(kind, whole_day), (false, noon, noon), "{kind:?}");
        }
    }
}

#[test]
fn a_row_is_of_the_day_that_was_meant_in_the_zone_that_counts_it() {
    let markets = BTreeMap::from([(ACME, Tz::America__New_York)]);
    let zones = Zones { portfolio: Tz::Asia__Tokyo, markets: &markets };
    let of = |t: &Transaction| zones.day_of(t).unwrap().to_string();
    // 20:00Z is 16:00 in New York and the next day in Tokyo.
    let moment = at("2026-03-10T20:00:00Z");
    assert_eq!(of(&buy(1, (moment, false))), "2026-03-10");
    // The eleventh begins in Tokyo at 15:00Z of the tenth.
    assert_eq!(of(&buy(1, (day("2026-03-11", Tz::Asia__Tokyo), true))), "2026-03-11");
    let of_market = (day("2026-03-11", Tz::America__New_York), true);
    assert_eq!(of(&entry(1, TransactionType::Split, of_market)), "2026-03-11");
    let mut paid = entry(1, TransactionType::Dividend, of_market);
    paid.asset_level = true;
    assert_eq!(of(&paid), "2026-03-11");
    // An entry of the ledger itself is of the portfolio's day: 04:00Z is 13:00 in Tokyo.
    paid.asset_level = false;
    assert_eq!(of(&paid), "2026-03-11");
    paid.executed_at = day("2026-03-12", Tz::Asia__Tokyo);
    assert_eq!(of(&paid), "2026-03-12");
}
