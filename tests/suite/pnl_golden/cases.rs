//! The truth cases of other systems: every open case of kind `ledger`, as far as the engine goes today.

use super::ledger::{Assets, Check, Expected, ExpectedLot, Scenario, currency, id_of, moment, number};
use artifact::domain::asset::Terms;
use artifact::domain::currency::Currency;
use artifact::domain::decimal::Decimal;
use artifact::domain::fx::Rates;
use artifact::domain::moment::Moment;
use artifact::domain::portfolio::{Conventions, CostBasis, FeeMode, LotScope, ShortMode, TaxMode};
use artifact::domain::price::Mark;
use artifact::domain::transaction::{Transaction, TransactionType};
use chrono_tz::Tz;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

/// Figures the fold and its valuation do not give, and why.
fn unsupported(name: &str) -> Option<&'static str> {
    match name {
        "avg_investment" | "roai_gross" | "roai_net" | "trade_return" => {
            Some("a statistic over time, computed above the engine")
        }
        "taxable_quantity" | "taxable_cost" | "taxfree_cost" => {
            Some("needs the dates of the lots a disposal consumed, which the book does not keep")
        }
        _ => None,
    }
}

fn folder() -> PathBuf {
    let beside = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared"));
    std::env::var_os("ARTIFACT_SHARED").map_or_else(beside, PathBuf::from).join("cases/open")
}

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Value::as_str)
}

fn decimal(value: &Value, name: &str) -> Option<Decimal> {
    text(value, name).map(number)
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn option<T>(case: &Value, name: &str, from_name: impl Fn(&str) -> Option<T>) -> Option<T> {
    case.get("conventions").and_then(|conventions| text(conventions, name)).and_then(from_name)
}

fn conventions(case: &Value) -> Conventions {
    let usual = Conventions::default();
    Conventions {
        cost_basis: text(case, "cost_basis").and_then(CostBasis::from_name).unwrap_or(usual.cost_basis),
        lot_scope: option(case, "lot_scope", LotScope::from_name).unwrap_or(usual.lot_scope),
        fees: option(case, "fees", FeeMode::from_name).unwrap_or(usual.fees),
        taxes: option(case, "taxes", TaxMode::from_name).unwrap_or(usual.taxes),
        short: option(case, "short", ShortMode::from_name).unwrap_or(usual.short),
        dust: option(case, "dust", |text| Some(number(text))).unwrap_or(usual.dust),
        ..Conventions::default()
    }
}

/// The currency an asset settles in: as stated, else that of its first entry or price, else the base.
fn settlement(case: &Value, asset: &str, base: Currency) -> Currency {
    let of_asset = |entry: &&Value| text(entry, "asset") == Some(asset);
    let stated = list(case, "assets").iter().find(of_asset);
    let stated = stated.and_then(|a| text(a, "settlement").or_else(|| text(a, "currency")));
    let mut entries = list(case, "events").iter().chain(list(case, "prices")).filter(of_asset);
    stated.or_else(|| entries.find_map(|entry| text(entry, "currency"))).map_or(base, currency)
}

fn scenario(case: &Value) -> Scenario {
    let base = currency(text(case, "base_currency").unwrap());
    let mut assets = Assets::default();
    let named = ["assets", "events", "prices"].into_iter().flat_map(|part| list(case, part));
    for name in named.filter_map(|entry| text(entry, "asset")).collect::<BTreeSet<_>>() {
        let mut terms = Terms::plain(settlement(case, name, base));
        if let Some(stated) = list(case, "assets").iter().find(|a| text(a, "asset") == Some(name)) {
            terms.multiplier = decimal(stated, "multiplier").unwrap_or(Decimal::ONE);
            terms.inverse = stated.get("inverse").and_then(Value::as_bool).unwrap_or(false);
            terms.margined =
                terms.inverse || stated.get("margined").and_then(Value::as_bool).unwrap_or(false);
        }
        assets.describe(name, terms);
    }
    let mut rates = Rates::default();
    for fx in list(case, "fx") {
        let (at, _) = moment(text(fx, "ts").unwrap(), Tz::UTC);
        let pair = |name| currency(text(fx, name).unwrap());
        rates.add(pair("base"), pair("quote"), at, decimal(fx, "rate").unwrap());
    }
    let events = list(case, "events").iter().enumerate();
    let transactions = events.map(|(place, event)| entry(event, place, &assets)).collect();
    let marks = list(case, "prices").iter().map(|price| mark(price, &assets)).collect();
    let checks = list(case, "expect").iter().map(|expect| check(expect, &assets)).collect();
    let tolerance = case["tolerance"].as_object().unwrap().iter();
    let tolerance = tolerance.filter_map(|(name, text)| Some((name.clone(), fine(text.as_str()?)?)));
    let mut scenario = Scenario {
        base,
        conventions: conventions(case),
        average_scope: option(case, "lot_scope_average", LotScope::from_name),
        first_known: option(case, "lookup", |name| (name == "first_known").then_some(())).is_some(),
        zone: Tz::UTC,
        assets,
        transactions,
        marks,
        rates,
        checks,
        tolerance: tolerance.collect::<BTreeMap<_, _>>(),
    };
    scenario.sort();
    scenario
}

/// A tolerance, which may be finer than any number that can be entered; a remark is none.
fn fine(text: &str) -> Option<Decimal> {
    match text.split_once("e-") {
        Some((mantissa, exponent)) => Some(Decimal::new(mantissa.parse().ok()?, exponent.parse().ok()?)),
        None => Decimal::parse_input(text).ok(),
    }
}

fn entry(event: &Value, place: usize, assets: &Assets) -> Transaction {
    let kind = TransactionType::from_name(text(event, "type").unwrap()).unwrap();
    // A dividend without an asset is income of the account.
    let of_account = kind == TransactionType::Dividend && event.get("asset").is_none();
    let kind = if of_account { TransactionType::Interest } else { kind };
    let (at, whole_day) = moment(text(event, "ts").unwrap(), Tz::UTC);
    let mut t = Transaction::bare(id_of(place), kind, at);
    t.place = i64::try_from(place).unwrap();
    t.whole_day = whole_day;
    text(event, "account").unwrap_or("main").clone_into(&mut t.account);
    t.to_account = text(event, "to_account").map(str::to_owned);
    t.asset = text(event, "asset").map(|name| assets.known(name));
    // Some cases repeat the units a dividend was paid on.
    if !matches!(kind, TransactionType::Dividend | TransactionType::Interest) {
        t.quantity = decimal(event, "quantity");
        t.price = decimal(event, "price");
    }
    t.gross_total = decimal(event, "gross_total");
    t.fee = decimal(event, "fee").unwrap_or_default();
    t.tax = decimal(event, "tax").unwrap_or_default();
    t.fee_asset_quantity = decimal(event, "fee_asset_quantity").unwrap_or_default();
    t.currency = text(event, "currency").map(currency);
    t.fx_rate = decimal(event, "fx_rate");
    t.amount = decimal(event, "amount");
    t.ratio_num = decimal(event, "ratio_num").or_else(|| decimal(event, "ratio"));
    t.ratio_den = decimal(event, "ratio_den").or_else(|| t.ratio_num.is_some().then_some(Decimal::ONE));
    assert_eq!(t.check(false), Vec::new(), "{event}");
    t
}

fn mark(price: &Value, assets: &Assets) -> (artifact::domain::ids::AssetKey, Mark) {
    let (observed_at, whole_day) = moment(text(price, "ts").unwrap(), Tz::UTC);
    let mark = Mark {
        price: decimal(price, "price").unwrap(),
        observed_at,
        recorded_at: Moment::MAX,
        source: "case".to_owned(),
        interval: if whole_day { "1d".to_owned() } else { String::new() },
        split_adjusted: false,
    };
    (assets.known(text(price, "asset").unwrap()), mark)
}

fn check(expect: &Value, assets: &Assets) -> Check {
    let values = expect["values"].as_object().unwrap().iter();
    Check {
        as_of: text(expect, "as_of").unwrap().to_owned(),
        zone: text(expect, "timezone").map(|name| name.parse().unwrap()),
        after: expect.get("after_event").and_then(Value::as_u64).map(|index| usize::try_from(index).unwrap()),
        asset: text(expect, "asset").map(|name| assets.known(name)),
        account: text(expect, "account").map(str::to_owned),
        cost_basis: text(expect, "cost_basis").and_then(CostBasis::from_name),
        values: values.map(|(name, value)| (name.clone(), expected(name, value))).collect(),
    }
}

fn expected(name: &str, value: &Value) -> Expected {
    match (name, value) {
        (_, Value::Null) => Expected::Nothing,
        ("error", _) => Expected::Text(value.as_str().unwrap().to_owned()),
        (_, Value::Array(lots)) => Expected::Lots(
            lots.iter()
                .map(|lot| ExpectedLot {
                    quantity: decimal(lot, "quantity").unwrap(),
                    unit_cost: decimal(lot, "unit_cost").unwrap(),
                    acquired: text(lot, "acquired").map(str::to_owned),
                })
                .collect(),
        ),
        _ => Expected::Number(value.as_str().unwrap().parse().unwrap()),
    }
}

#[test]
#[ignore = "needs ../shared"]
fn every_open_ledger_case_comes_out_as_its_own_system_has_it() {
    let mut paths: Vec<_> = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let (mut wrong, mut ran, mut looked_at, mut skipped) = (Vec::new(), 0, 0, 0);
    for path in paths.iter().filter(|path| path.extension().is_some_and(|ending| ending == "json")) {
        let case: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        if text(&case, "kind") != Some("ledger") {
            continue;
        }
        let scenario = scenario(&case);
        let names: Vec<&String> =
            scenario.checks.iter().flat_map(|c| &c.values).map(|(name, _)| name).collect();
        let supported = names.iter().filter(|name| unsupported(name).is_none()).count();
        (ran, looked_at, skipped) = (ran + 1, looked_at + supported, skipped + names.len() - supported);
        let id = text(&case, "id").unwrap();
        wrong.extend(
            scenario.complaints(&unsupported).into_iter().map(|complaint| format!("{id} {complaint}")),
        );
    }
    println!("{ran} cases, {looked_at} values looked at, {skipped} not supported");
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    assert!(ran > 0 && looked_at > 10 * skipped, "{ran} cases, {looked_at} values, {skipped} skipped");
}
