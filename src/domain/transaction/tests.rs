//! What each type of entry needs, takes and refuses, by the table of docs/API.md and the rules beside it.

use super::TransactionType as T;
use super::*;
use uuid::Uuid;

fn d(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn bare(kind: T) -> Transaction {
    Transaction::bare(TransactionId(Uuid::nil()), kind, Moment(0))
}

/// The same with a field given, by its name, as something that breaks no rule by itself.
fn give(t: &mut Transaction, field: &str) {
    let (one, two) = (Some(d("1")), d("2"));
    match field {
        "asset" => t.asset = Some(AssetKey(1)),
        "quantity" => t.quantity = Some(two),
        "price" => t.price = one,
        "gross_total" => t.gross_total = one,
        "fee" => t.fee = two,
        "tax" => t.tax = two,
        "fee_asset_quantity" => t.fee_asset_quantity = d("1"),
        "currency" => t.currency = Currency::from_code("EUR"),
        "fx_rate" => t.fx_rate = one,
        "amount" => t.amount = one,
        "to_amount" => t.to_amount = one,
        "to_currency" => t.to_currency = Currency::from_code("USD"),
        "ratio_num" => t.ratio_num = one,
        "ratio_den" => t.ratio_den = one,
        "to_account" => t.to_account = Some("other".to_owned()),
        "lots" => t.lots = vec![LotPick { transaction: TransactionId(Uuid::nil()), quantity: two }],
        _ => panic!("no field {field}"),
    }
}

fn with(kind: T, fields: &str) -> Transaction {
    let mut t = bare(kind);
    for field in fields.split_whitespace() {
        give(&mut t, field);
    }
    t
}

/// Puts a number into a field.
type Put = fn(&mut Transaction, Decimal);

fn broken(t: &Transaction) -> Vec<(&'static str, &'static str)> {
    t.check(false).into_iter().map(|broken| (broken.field, broken.code)).collect()
}

const FIELDS: [&str; 16] = [
    "asset",
    "quantity",
    "price",
    "gross_total",
    "fee",
    "tax",
    "fee_asset_quantity",
    "currency",
    "fx_rate",
    "amount",
    "to_amount",
    "to_currency",
    "ratio_num",
    "ratio_den",
    "to_account",
    "lots",
];

#[test]
fn each_type_needs_and_takes_its_own_fields_and_no_others() {
    let trade = ("asset quantity", "price gross_total fee tax fee_asset_quantity currency fx_rate lots");
    let rules = [
        (T::Buy, trade),
        (T::Sell, trade),
        (T::Deposit, ("amount", "currency fee fx_rate")),
        (T::Withdrawal, ("amount", "currency fee fx_rate")),
        (T::Dividend, ("asset amount", "currency fee tax fx_rate")),
        (T::Interest, ("amount", "currency fee tax fx_rate")),
        (T::Fee, ("amount", "asset currency fx_rate")),
        (T::Tax, ("amount", "asset currency fx_rate")),
        (T::Split, ("asset ratio_num ratio_den", "")),
        (T::TransferIn, ("asset quantity", "price gross_total fee tax currency fx_rate")),
        (T::TransferOut, ("asset quantity", "fee tax currency fx_rate lots")),
        (T::Transfer, ("to_account", "asset quantity amount currency fee lots")),
        (T::Fx, ("amount currency to_amount to_currency", "fee")),
    ];
    assert_eq!(rules.len(), T::NAMES.len());
    for (kind, (required, optional)) in rules {
        let is_in = |fields: &str, field| fields.split_whitespace().any(|one| one == field);
        let nothing = broken(&bare(kind));
        for field in FIELDS {
            let (needed, taken) = (is_in(required, field), is_in(optional, field));
            assert_eq!(kind.takes(field), needed || taken, "{kind:?} {field}");
            // A price or a total, and of a transfer one of two things.
            let one_of = (field == "price" && matches!(kind, T::Buy | T::Sell | T::TransferIn))
                || (field == "asset" && kind == T::Transfer);
            assert_eq!(nothing.contains(&(field, "required")), needed || one_of, "{kind:?} {field}");
            let alone = broken(&with(kind, field));
            assert_eq!(alone.contains(&(field, "not_used")), !needed && !taken, "{kind:?} {field}");
        }
        assert!(!kind.takes("") && !kind.takes("xyzzy"));
    }
}

#[test]
fn a_price_or_a_total_is_given_and_not_both() {
    for kind in [T::Buy, T::Sell, T::TransferIn] {
        assert_eq!(broken(&with(kind, "asset quantity")), [("price", "required")]);
        assert_eq!(broken(&with(kind, "asset quantity price")), []);
        assert_eq!(broken(&with(kind, "asset quantity gross_total")), []);
        assert_eq!(broken(&with(kind, "asset quantity price gross_total")), [("gross_total", "not_used")]);
    }
}

#[test]
fn numbers_are_above_zero_or_not_below_it_each_by_its_own_rule() {
    let of = |kind, fields: &str, change: Put, number: &str| {
        let mut t = with(kind, fields);
        change(&mut t, d(number));
        broken(&t)
    };
    let trade = "asset quantity price";
    let above: [(T, &str, Put, &str); 6] = [
        (T::Buy, trade, |t, number| t.quantity = Some(number), "quantity"),
        (T::Buy, trade, |t, number| t.fx_rate = Some(number), "fx_rate"),
        (T::Split, "asset ratio_num ratio_den", |t, number| t.ratio_num = Some(number), "ratio_num"),
        (T::Split, "asset ratio_num ratio_den", |t, number| t.ratio_den = Some(number), "ratio_den"),
        (T::Deposit, "amount", |t, number| t.amount = Some(number), "amount"),
        (T::Sell, "asset quantity price lots", |t, number| t.lots[0].quantity = number, "lots"),
    ];
    for (kind, fields, change, field) in above {
        assert!(of(kind, fields, change, "0").contains(&(field, "not_positive")), "{field}");
        assert!(of(kind, fields, change, "-1").contains(&(field, "not_positive")), "{field}");
        assert_eq!(of(kind, fields, change, "0.1"), [], "{field}");
    }
    let not_below: [(Put, &str); 4] = [
        (|t, number| t.fee = number, "fee"),
        (|t, number| t.tax = number, "tax"),
        (|t, number| t.fee_asset_quantity = number, "fee_asset_quantity"),
        (|t, number| t.price = Some(number), "price"),
    ];
    for (change, field) in not_below {
        assert_eq!(of(T::Sell, trade, change, "-0.1"), [(field, "negative")]);
        assert_eq!(of(T::Sell, trade, change, "0"), []);
    }
    // Income may be charged, but is never nothing.
    for (kind, fields) in [(T::Dividend, "asset amount"), (T::Interest, "amount")] {
        let amount: Put = |t, number| t.amount = Some(number);
        assert_eq!(of(kind, fields, amount, "-1"), []);
        assert_eq!(of(kind, fields, amount, "0"), [("amount", "not_positive")]);
    }
    let mut below = with(T::Buy, trade);
    below.price = Some(d("-1"));
    assert_eq!(below.check(true), []);
}

#[test]
fn a_commission_in_units_is_less_than_what_is_bought() {
    let of = |kind, commission| {
        let mut t = with(kind, "asset quantity price");
        t.fee_asset_quantity = d(commission);
        broken(&t)
    };
    assert_eq!(of(T::Buy, "1.9"), []);
    assert_eq!(of(T::Buy, "2"), [("fee_asset_quantity", "too_large")]);
    assert_eq!(of(T::Sell, "2"), []);
}

#[test]
fn a_transfer_moves_units_or_cash_to_another_account() {
    let of = |fields: &str| broken(&with(T::Transfer, fields));
    assert_eq!(of("to_account asset quantity"), []);
    assert_eq!(of("to_account amount"), []);
    for neither in ["", "asset", "quantity", "asset amount", "quantity amount", "asset quantity amount"] {
        assert_eq!(of(&format!("to_account {neither}")), [("asset", "required")], "{neither}");
    }
    let mut same = with(T::Transfer, "to_account amount");
    same.to_account = Some(same.account.clone());
    assert_eq!(broken(&same), [("to_account", "same_account")]);
    let mut fx = with(T::Fx, "amount currency to_amount to_currency");
    assert_eq!(broken(&fx), []);
    fx.to_currency = fx.currency;
    assert_eq!(broken(&fx), [("to_currency", "same_currency")]);
}

#[test]
fn a_split_of_a_day_stands_before_what_else_begins_with_that_day() {
    let of = |kind, whole_day, place| Transaction { place, whole_day, ..bare(kind) }.order();
    assert!(of(T::Split, true, 9) < of(T::Buy, true, 1));
    assert!(of(T::Split, true, 9) < of(T::Split, false, 1));
    assert!(of(T::Split, false, 9) > of(T::Buy, true, 1));
    assert!(of(T::Buy, true, 1) < of(T::Buy, false, 2));
    let later = Transaction { executed_at: Moment(1), whole_day: true, ..bare(T::Split) };
    assert!(later.order() > of(T::Buy, false, 9));
}
