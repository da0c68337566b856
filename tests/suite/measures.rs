//! Documents over time and documents of rates and statistics, evaluated as the service does: hand-computed figures,
//! and what is refused with its pointer.

#![cfg(test)]

use artifact::http::statement::evaluate;
use serde_json::{Value, json};

fn results(document: &Value) -> Vec<Value> {
    let view = evaluate(document.to_string().as_bytes()).unwrap_or_else(|error| panic!("{error:?}"));
    serde_json::to_value(view).unwrap()["results"].as_array().unwrap().clone()
}

/// The pointer and code of each fault.
fn faults(document: &Value) -> Vec<(String, &'static str)> {
    let Err(error) = evaluate(document.to_string().as_bytes()) else { panic!("{document} is taken") };
    error.errors.into_iter().map(|error| (error.pointer.unwrap_or_default(), error.code)).collect()
}

/// 1,000 USD bought at 0.90, ten shares of 50 USD held from before, a futures contract in profit.
fn abroad() -> Value {
    json!({
        "kind": "period", "base_currency": "EUR",
        "assets": [{"asset": "F", "margined": true, "multiplier": "10", "settlement": "USD"}, {"asset": "S", "settlement": "USD"}],
        "events": [
            {"type": "deposit", "ts": "2024-01-01", "currency": "USD", "amount": "2000"},
            {"type": "buy", "ts": "2024-01-02", "asset": "S", "quantity": "10", "price": "50", "fee": "10", "currency": "USD"},
            {"type": "buy", "ts": "2024-01-02", "asset": "F", "quantity": "1", "price": "100", "currency": "USD"},
            {"type": "sell", "ts": "2024-02-10", "asset": "S", "quantity": "4", "price": "70", "fee": "2", "currency": "USD"},
            {"type": "dividend", "ts": "2024-02-12", "asset": "S", "amount": "12", "tax": "3", "currency": "USD"},
            {"type": "sell", "ts": "2024-02-15", "asset": "F", "quantity": "1", "price": "108", "currency": "USD"},
            {"type": "withdrawal", "ts": "2024-02-20", "currency": "USD", "amount": "100"}],
        "prices": [
            {"asset": "S", "ts": "2024-01-31", "price": "60"}, {"asset": "F", "ts": "2024-01-31", "price": "105"},
            {"asset": "S", "ts": "2024-02-29", "price": "75"}],
        "fx": [
            {"base": "USD", "quote": "EUR", "ts": "2024-01-01", "rate": "0.9"},
            {"base": "USD", "quote": "EUR", "ts": "2024-01-31", "rate": "0.8"},
            {"base": "USD", "quote": "EUR", "ts": "2024-02-29", "rate": "0.5"}],
        "period": {"start": "2024-01-31", "end": "2024-02-29"},
    })
}

/// Cash after January is 2,000 - 510 = 1,490 USD, the shares 600, the contract 50 in profit: 2,140 USD at 0.8.
/// February, at 0.8 until its last day: the four shares gain 4 x (70 - 60) = 40 USD, the contract 30 more, 12 of
/// dividend, 5 of fees and taxes, 100 go out. At the end, at 0.5: cash is 1,490 + 280 - 2 + 9 + 80 - 100 = 1,757 USD,
/// six shares 450. They came from 360 USD at 0.8: 225 - 288 = -63. Cash had moved 1,490 + 278 + 9 + 80 - 100 = 1,757
/// USD at 0.8, of which the 80 of the contract count once at 0.8: 878.5 - 1,405.6 = -527.1.
#[test]
fn a_period_restarts_what_is_held_at_its_market_value() {
    let row = &results(&abroad())[0];
    let want = [
        ("initial_value", "1712"),
        ("final_value", "1103.5"),
        ("capital_gains", "-63"),
        ("realized_gains", "56"),
        ("earnings", "9.6"),
        ("fees", "1.6"),
        ("taxes", "2.4"),
        ("transfers", "-80"),
        ("currency_gains", "-527.1"),
    ];
    for (name, value) in want {
        assert_eq!(row[name], value, "{name} of {row}");
    }
    // 1,712 - 63 + 56 + 9.6 - 1.6 - 2.4 - 80 - 527.1 = 1,103.5.
}

#[test]
fn a_period_without_a_rate_names_it_and_gives_the_rest() {
    let mut document = abroad();
    document["fx"] = json!([]);
    let row = &results(&document)[0];
    assert_eq!((&row["initial_value"], &row["final_value"]), (&Value::Null, &Value::Null));
    assert!(
        row["missing"].as_array().unwrap().iter().any(|rate| rate["from"] == "USD" && rate["to"] == "EUR")
    );
    assert!(row["reasons"]["initial_value"].is_string());
}

#[test]
fn growth_is_chained_from_the_first_day() {
    let mut document = json!({
        "kind": "twr_daily", "base_currency": "EUR",
        "events": [
            {"type": "deposit", "ts": "2024-01-01", "amount": "100"},
            {"type": "buy", "ts": "2024-01-01", "asset": "S", "quantity": "10", "price": "10"},
            {"type": "deposit", "ts": "2024-01-03", "amount": "80"}],
        "prices": [{"asset": "S", "ts": "2024-01-02", "price": "12"}, {"asset": "S", "ts": "2024-01-03", "price": "11"}],
        "expect": [
            {"as_of": "2024-01-01", "want": ["twr_cumulative"]}, {"as_of": "2024-01-02", "want": ["twr_cumulative"]},
            {"as_of": "2024-01-03", "want": ["twr_cumulative"]}, {"as_of": "2023-12-01", "want": ["twr_cumulative"]}],
    });
    let rows = results(&document);
    let returns: Vec<&Value> = rows.iter().map(|row| &row["twr_cumulative"]).collect();
    // 100 -> 120; then 120 + 80 become 110 + 80: 1.2 x 190 / 200 = 1.14.
    assert_eq!(returns, [&json!("0"), &json!("0.2"), &json!("0.14"), &Value::Null]);
    document["events"][1]["type"] = json!("transfer_in");
    document["events"][1].as_object_mut().unwrap().remove("price");
    document["events"][1]["gross_total"] = json!("100");
    // 200 -> 220; then 220 + 80 become 180 + 110: 1.1 x 290 / 300.
    assert_eq!(results(&document)[2]["twr_cumulative"], "0.06333333333333");
    // What goes out goes out at the end of the day: 200 -> 220, and 220 became 140 and the 70 that left.
    let last = &mut document["events"][2];
    (last["type"], last["amount"]) = (json!("withdrawal"), json!("70"));
    assert_eq!(results(&document)[2]["twr_cumulative"], "0.05");
}

#[test]
fn an_ambiguous_rate_says_so_and_lists_every_root() {
    let document = json!({"kind": "irr", "flows": [
        {"ts": "2021-01-01", "amount": "-100"}, {"ts": "2022-01-01", "amount": "260"},
        {"ts": "2023-01-01", "amount": "-165"}]});
    let row = &results(&document)[0];
    assert_eq!(row["irr"], "0.1");
    assert_eq!(row["roots"], json!(["0.1", "0.5"]));
    assert_eq!(row["ambiguous"], true);
    let none = &results(
        &json!({"kind": "irr", "flows": [{"ts": "2021-01-01", "amount": "5"}], "expect": [{"want": ["irr"]}]}),
    )[0];
    assert_eq!(none["irr"], Value::Null);
    assert_eq!(none["reasons"]["irr"], "all cash flows have one sign");
    let by_360 = json!({"kind": "irr", "conventions": {"day_count": "act/360"}, "flows": [
        {"ts": "2021-01-01", "amount": "-100"}, {"ts": "2021-12-27", "amount": "110"}]});
    assert_eq!(results(&by_360)[0]["irr"], "0.1");
}

#[test]
fn the_rate_of_closed_trades_counts_what_each_lot_cost_on_its_day() {
    let document = json!({"base_currency": "EUR", "conventions": {"short": "allowed"}, "events": [
        {"type": "buy", "ts": "2021-01-01", "asset": "S", "quantity": "2", "price": "99", "fee": "2"},
        {"type": "sell", "ts": "2022-01-01", "asset": "S", "quantity": "1", "price": "112", "fee": "2"}],
        "expect": [{"as_of": "2022-01-01", "want": ["trade_irr", "trade_return"]}, {"as_of": "2021-06-01", "want": ["trade_irr"]}]});
    // One unit cost 100 and brought 110 a year later.
    let rows = results(&document);
    assert_eq!((&rows[0]["trade_irr"], &rows[0]["trade_return"]), (&json!("0.1"), &json!("0.1")));
    assert_eq!(rows[1]["trade_irr"], Value::Null);
}

#[test]
fn statistics_of_a_series_and_what_is_none() {
    let document = json!({"kind": "returns", "returns": ["0.03", -0.01], "trade_pnls": [],
        "conventions": {"periods_per_year": "8"}, "expect": [{"want": ["sharpe", "max_drawdown", "win_rate"]}]});
    let row = &results(&document)[0];
    assert_eq!((&row["sharpe"], &row["max_drawdown"]), (&json!("1"), &json!("0.01")));
    assert_eq!(row["reasons"]["win_rate"], "there are no closed trades");
    let year = json!({"kind": "annualize", "days": 730, "period_return": "0.21"});
    assert_eq!(results(&year)[0]["annualized"], "0.1");
    let flow = json!({"kind": "value_flow", "values_in": {"start": "0", "end": "5", "net_flow": "5"}});
    assert_eq!(results(&flow)[0]["gain"], "0");
    assert_eq!(results(&flow)[0]["reasons"]["simple_return"], "the start value is zero");
}

#[test]
fn a_document_is_refused_with_the_pointer_of_each_fault() {
    let cases = [
        (json!({"kind": "irr", "flows": [{"ts": "2021-02-30", "amount": "1"}]}), "/flows/0/ts", "not_a_time"),
        (json!({"kind": "irr", "flows": [{"ts": "2021-02-03"}]}), "/flows/0/amount", "required"),
        (json!({"kind": "irr", "flow": []}), "/flow", "unknown_field"),
        (
            json!({"kind": "irr", "flows": [], "expect": [{"want": ["roi"]}]}),
            "/expect/0/want",
            "unknown_value",
        ),
        (json!({"kind": "roi", "flows": [], "expect": [{"want": ["pnl"]}]}), "/expect", "required"),
        (
            json!({"kind": "roi", "expect": [{"period": {"start": "2021-02-03", "end": "2021-02-01"}, "want": ["pnl"]}]}),
            "/expect/0/period",
            "ends_before_start",
        ),
        (json!({"kind": "returns", "returns": ["0.1", "x"]}), "/returns", "not_a_number"),
        (json!({"kind": "returns", "returns": [], "cumulative": []}), "/cumulative", "contradicts"),
        (json!({"kind": "annualize", "period_return": "0.1"}), "/days", "required"),
        (json!({"kind": "value_flow"}), "/values_in", "required"),
        (
            json!({"kind": "value_flow", "values_in": {"start": "1", "end": "2"}}),
            "/values_in/net_flow",
            "required",
        ),
        (json!({"kind": "period", "base_currency": "EUR", "events": []}), "/period", "required"),
        (
            json!({"kind": "period", "period": {"start": "2021-01-01", "end": "2021-02-01"}}),
            "/base_currency",
            "required",
        ),
        (
            json!({"kind": "twr_daily", "base_currency": "EUR", "period": {"start": "0001-01-01", "end": "9999-12-31"}}),
            "/period",
            "too_long",
        ),
        (json!({"kind": "sharpe"}), "/kind", "unknown_value"),
    ];
    for (document, pointer, code) in cases {
        assert!(
            faults(&document).contains(&(pointer.to_owned(), code)),
            "{document}: {:?}",
            faults(&document)
        );
    }
}
