//! Documents of a ledger, evaluated as the service does: every value by its name, worked out by hand.

#![cfg(test)]

use artifact::http::statement::evaluate;
use serde_json::{Value, json};

fn answered(document: &Value) -> Value {
    let view = evaluate(document.to_string().as_bytes()).unwrap_or_else(|error| panic!("{error:?}"));
    serde_json::to_value(view).unwrap()
}

/// Asks for values, given as `name value` line by line, and compares each; `-` stands for none.
fn check(document: &Value, checkpoint: &Value, wanted: &str) {
    let pairs: Vec<(&str, &str)> =
        wanted.lines().filter_map(|line| line.trim().split_once(' ')).map(|(a, b)| (a, b.trim())).collect();
    let mut document = document.clone();
    let mut checkpoint = checkpoint.clone();
    checkpoint["want"] = pairs.iter().map(|(name, _)| *name).collect();
    document["expect"] = json!([checkpoint]);
    let row = &answered(&document)["results"][0];
    let mut wrong = Vec::new();
    for (name, value) in pairs {
        let got = row[name].as_str().unwrap_or("-");
        if got != value {
            wrong.push(format!("{name} is {got} and not {value}"));
        }
    }
    assert!(wrong.is_empty(), "{checkpoint}: {wrong:#?}");
}

/// Shares of S in euros in the account main, of U in dollars in the account second. A dollar is 0.90, then 0.80, and
/// at the end 0.50 euros.
fn two_assets() -> Value {
    json!({
        "base_currency": "EUR",
        "assets": [{"asset": "S", "settlement": "EUR"}, {"asset": "U", "settlement": "USD"}],
        "events": [
            {"type": "deposit", "ts": "2024-01-01", "amount": "10000"},
            {"type": "deposit", "ts": "2024-01-01", "currency": "USD", "amount": "1000", "account": "second"},
            {"type": "buy", "ts": "2024-01-02", "asset": "U", "quantity": "10", "price": "50", "account": "second"},
            {"type": "buy", "ts": "2024-01-10", "asset": "S", "quantity": "10", "price": "100", "fee": "10"},
            {"type": "sell", "ts": "2024-04-01", "asset": "U", "quantity": "4", "price": "70", "fee": "2", "account": "second"},
            {"type": "dividend", "ts": "2024-04-02", "asset": "U", "amount": "10", "account": "second"},
            {"type": "buy", "ts": "2024-06-10", "asset": "S", "quantity": "10", "price": "120", "fee": "10"},
            {"type": "sell", "ts": "2025-02-10", "asset": "S", "quantity": "12", "price": "150", "fee": "12", "tax": "6"},
            {"type": "dividend", "ts": "2025-02-12", "asset": "S", "amount": "20", "tax": "5"},
            {"type": "transfer_out", "ts": "2025-02-20", "asset": "S", "quantity": "1", "fee": "3"},
            {"type": "dividend", "ts": "2025-02-21", "amount": "7"},
            {"type": "fee", "ts": "2025-02-22", "amount": "4"}],
        "prices": [
            {"asset": "S", "ts": "2025-03-01", "price": "160"}, {"asset": "U", "ts": "2025-02-28", "price": "75"}],
        "fx": [
            {"base": "USD", "quote": "EUR", "ts": "2024-01-01", "rate": "0.9"},
            {"base": "USD", "quote": "EUR", "ts": "2024-03-01", "rate": "0.8"},
            {"base": "USD", "quote": "EUR", "ts": "2025-02-28", "rate": "0.5"}],
    })
}

/// The lots cost 1,010 and 1,210. The sale of twelve takes 1,010 + 2 x 121 = 1,252 and brings 1,800 - 12; the delivery
/// takes 121; seven stay at 121 each. Ten of the twelve were held for 397 days, two for 245.
#[test]
fn values_of_an_asset_are_those_worked_out_by_hand() {
    let of_s = json!({"as_of": "2025-03-01", "asset": "S"});
    check(
        &two_assets(),
        &of_s,
        "quantity 7
        cost_basis 847
        avg_cost 121
        market_value 1120
        notional 1120
        realized_pnl 536
        realized_pnl_cycle 536
        realized_pnl_cycle_base 536
        realized_pnl_gross 560
        unrealized_pnl 273
        unrealized_pnl_gross 280
        total_pnl 809
        gross_pnl 809
        net_realized_pnl 533
        net_pnl 806
        fees 35
        taxes 11
        dividends 20
        cost_removed 1373
        cost_removed_base 1373
        missing_quantity 0
        taxable_quantity 2
        taxfree_quantity 10
        taxable_cost 242
        taxable_cost_base 242
        taxfree_cost 1010
        taxable_gain 56
        taxfree_gain 480
        taxfree_gain_base 480",
    );
    let mut document = two_assets();
    document["expect"] = json!([{"as_of": "2025-03-01", "asset": "S", "want": ["lots"]}]);
    let lots = json!([{"quantity": "7", "unit_cost": "121", "acquired": "2024-06-10T00:00:00.000000Z"}]);
    assert_eq!(answered(&document)["results"][0]["lots"], lots);
    // The last units in are the first out: 1,210 + 2 x 101, then 101.
    check(
        &two_assets(),
        &json!({"as_of": "2025-03-01", "asset": "S", "cost_basis": "lifo"}),
        "realized_pnl 376
        cost_removed 1513
        cost_basis 707
        taxable_quantity 10
        taxfree_quantity 2",
    );
}

/// Four of ten units of 50 dollars at 0.90 are sold for 278 dollars at 0.80: 222.40 - 180 euros, of which the dollar
/// took 200 x 0.10. Six are worth 450 dollars at 0.50.
#[test]
fn values_of_an_asset_abroad_are_in_its_currency_and_in_base() {
    check(
        &two_assets(),
        &json!({"as_of": "2025-03-01", "asset": "U"}),
        "quantity 6
        cost_basis 300
        cost_basis_base 270
        market_value 450
        market_value_base 225
        notional 450
        realized_pnl 78
        realized_pnl_base 42.4
        realized_pnl_gross 80
        realized_pnl_gross_base 44
        realized_fx_pnl_base -20
        unrealized_pnl 150
        unrealized_pnl_base -45
        unrealized_fx_pnl_base -120
        total_pnl_base -2.6
        fees 2
        fees_base 1.6
        dividends_base 8
        cost_removed_base 180
        net_pnl 228",
    );
}

/// Euros: 10,000 - 1,010 - 1,210 + 1,782 + 15 - 3 + 7 - 4 = 9,577. Dollars: 1,000 - 500 + 278 + 10 = 788, which came at
/// 500 x 0.90 + 288 x 0.80 = 680.40 euros and are worth 394. Paid in: 10,000 + 900 - 121 = 10,779. What there is, 11,316,
/// is that and 806.40 + 35 of income - 11 of taxes - 7 of fees apart - 286.40.
#[test]
fn values_of_everything_add_up_to_what_there_is() {
    check(
        &two_assets(),
        &json!({"as_of": "2025-03-01"}),
        "cost_basis 1117
        market_value 1345
        realized_pnl 578.4
        realized_pnl_gross 604
        unrealized_pnl 228
        unrealized_pnl_gross 235
        total_pnl 806.4
        net_realized_pnl 571.4
        net_pnl 799.4
        fees 40.6
        fees_total 40.6
        taxes 11
        dividends 35
        realized_fx_pnl_base -20
        unrealized_fx_pnl_base -120
        unrealized_pnl_spot_total 348
        cash:EUR 9577
        cash:USD 788
        cash_base 9971
        total_value 11316
        net_contribution_base 10779
        income_base 35
        cash_fx_pnl_base -286.4
        quantity -
        trade_return -",
    );
    let second = json!({"as_of": "2025-03-01", "account": "second"});
    check(
        &two_assets(),
        &second,
        "cash:USD 788
        cash:EUR 0
        cash_base 394
        market_value 225
        cost_basis 270
        realized_pnl 42.4
        net_pnl -2.6
        fees 1.6
        dividends 8
        total_value 619
        net_contribution_base 900
        unrealized_pnl_spot_total 75",
    );
    check(
        &two_assets(),
        &json!({"as_of": "2025-03-01", "account": "main"}),
        "cash:USD 0
        dividends 27
        net_realized_pnl 529
        net_pnl 802
        unrealized_pnl_spot_total 273",
    );
    check(
        &two_assets(),
        &json!({"as_of": "2025-03-01", "account": "second", "asset": "S"}),
        "quantity 0
        avg_cost -
        realized_pnl 0
        realized_pnl_cycle 0
        cost_removed 0
        taxfree_quantity 0
        net_pnl 0
        avg_investment -
        trade_return -
        trade_irr -",
    );
}

/// At the start of the window eight shares stood at their last trade, 150, and the dollar at 0.80.
#[test]
fn a_window_shows_what_came_after_its_start_and_what_stands_at_its_end() {
    check(
        &two_assets(),
        &json!({"as_of": "2025-03-01", "asset": "S", "from": "2025-02-11"}),
        "quantity 7
        cost_basis 847
        market_value 1120
        notional 1120
        realized_pnl 0
        realized_pnl_cycle 0
        unrealized_pnl 41
        total_pnl 41
        fees 3
        taxes 5
        dividends 20
        cost_removed 121
        taxable_quantity 0
        taxfree_quantity 0
        taxfree_gain 0",
    );
    check(
        &two_assets(),
        &json!({"as_of": "2025-03-01", "from": "2025-02-11"}),
        "cash_base 9971
        total_value 11316
        fees_total 7
        net_contribution_base -121
        income_base 27
        realized_fx_pnl_base 0
        unrealized_fx_pnl_base -90
        cash_fx_pnl_base -236.4
        unrealized_pnl_spot_total 20",
    );
}

/// Twelve sold at 150 of ten at 100 and ten at 120: 560, and the seven that stay gain 280; fees are 35.
#[test]
fn a_net_profit_counts_each_fee_once_and_none_where_fees_count_nowhere() {
    for (fees, net_pnl, realized) in
        [("separate", "805", "560"), ("none", "840", "560"), ("in_cost", "806", "536")]
    {
        let mut document = two_assets();
        document["conventions"] = json!({"fees": fees});
        let wanted = format!("net_pnl {net_pnl}\nrealized_pnl {realized}");
        check(&document, &json!({"as_of": "2025-03-01", "asset": "S"}), &wanted);
    }
}

#[test]
fn an_open_position_without_a_price_leaves_its_value_out() {
    let document = json!({"base_currency": "EUR", "events": [
        {"type": "transfer_in", "ts": "2024-01-02", "asset": "A", "quantity": "5", "gross_total": "100"},
        {"type": "split", "ts": "2024-01-03", "asset": "A", "ratio": "2"}],
        "prices": [{"asset": "A", "ts": "2024-02-01", "price": "12"}]});
    let at = |day: &str| json!({"as_of": day, "asset": "A"});
    check(&document, &at("2024-02-01"), "market_value 120\ntotal_value 120\nquantity 10\nunrealized_pnl 20");
    check(&document, &at("2024-01-31"), "cost_basis 100\nquantity 10\nrealized_pnl 0");
    let mut known = document;
    known["conventions"] = json!({"lookup": "first_known"});
    check(&known, &at("2024-01-31"), "market_value 120\nunrealized_pnl 20");
}

/// A is quoted, C is sold, and nobody has said what the inverse contracts B are worth, which were got for nothing: of B
/// alone no value is known, and so not of everything.
#[test]
fn what_has_no_price_takes_the_value_of_everything_with_it_and_of_nothing_else() {
    let mut document = json!({"base_currency": "EUR",
        "assets": [{"asset": "A"}, {"asset": "B", "inverse": true}, {"asset": "C"}],
        "events": [
        {"type": "buy", "ts": "2024-01-02", "asset": "B", "quantity": "5", "gross_total": "0"},
        {"type": "buy", "ts": "2024-01-02", "asset": "A", "quantity": "2", "price": "10"},
        {"type": "buy", "ts": "2024-01-02", "asset": "C", "quantity": "1", "price": "10"},
        {"type": "sell", "ts": "2024-01-03", "asset": "C", "quantity": "1", "price": "10"}],
        "prices": [{"asset": "A", "ts": "2024-02-01", "price": "12"}]});
    let of = |asset: &str| json!({"as_of": "2024-02-01", "asset": asset});
    check(
        &document,
        &of("A"),
        "market_value 24\nunrealized_pnl 4\ntotal_pnl 4\nnotional 24\nnotional_base 24",
    );
    check(
        &document,
        &of("B"),
        "market_value -\nunrealized_pnl -\ntotal_pnl -\nnotional -\nnotional_base -\nquantity 5",
    );
    check(
        &document,
        &json!({"as_of": "2024-02-01"}),
        "market_value -\ngross_pnl -\nnet_pnl -\ntotal_value -\ncost_basis 20",
    );
    document["expect"] = json!([{"as_of": "2024-02-01", "want": ["market_value"]}]);
    let row = answered(&document)["results"][0].clone();
    assert_eq!(row["reasons"]["market_value"], "missing_price");
    assert_eq!(row["missing"], json!([{"price": "B"}]));
}

/// Three are owed at 80, of an asset priced in dollars at 0.50: 240 dollars are 120 euros, owed or held.
#[test]
fn a_notional_is_of_an_asset_in_base_currency_too() {
    let document = json!({"base_currency": "EUR", "conventions": {"short": "allowed"},
        "assets": [{"asset": "U", "settlement": "USD"}, {"asset": "S"}],
        "events": [
            {"type": "sell", "ts": "2024-01-02", "asset": "U", "quantity": "3", "price": "80"},
            {"type": "buy", "ts": "2024-01-02", "asset": "S", "quantity": "1", "price": "80"}],
        "fx": [{"base": "USD", "quote": "EUR", "ts": "2024-01-01", "rate": "0.5"}]});
    check(
        &document,
        &json!({"as_of": "2024-01-03", "asset": "U"}),
        "notional 240
        notional_base 120
        market_value_base -120",
    );
    // Of everything there is none, as there is no quantity.
    check(&document, &json!({"as_of": "2024-01-03"}), "notional -\nnotional_base -\nquantity -");
}

/// Half of ten units of 50 dollars at 0.90 is sold for 70 at 0.80: 100 dollars, and 280 - 225 euros.
#[test]
fn what_is_taxable_abroad_is_told_in_both_currencies() {
    let document = json!({"base_currency": "EUR", "assets": [{"asset": "U", "settlement": "USD"}],
        "events": [
            {"type": "buy", "ts": "2024-01-02", "asset": "U", "quantity": "10", "price": "50"},
            {"type": "sell", "ts": "2024-04-01", "asset": "U", "quantity": "5", "price": "70"}],
        "fx": [
            {"base": "USD", "quote": "EUR", "ts": "2024-01-01", "rate": "0.9"},
            {"base": "USD", "quote": "EUR", "ts": "2024-03-01", "rate": "0.8"}]});
    check(
        &document,
        &json!({"as_of": "2024-05-01", "asset": "U"}),
        "taxable_gain 100
        taxable_gain_base 55
        taxable_cost 250
        taxable_cost_base 225",
    );
}

/// What is transferred in brings its value; the costs of that count as paid in where they are part of its cost.
#[test]
fn a_transfer_in_is_paid_in_with_the_costs_that_enter_its_cost() {
    for (conventions, paid_in) in [
        (json!({"fees": "in_cost", "taxes": "separate"}), "102"),
        (json!({"fees": "in_cost", "taxes": "in_cost"}), "103"),
        (json!({"fees": "separate", "taxes": "in_cost"}), "101"),
        (json!({"fees": "separate", "taxes": "separate"}), "100"),
    ] {
        let document = json!({"base_currency": "EUR", "conventions": conventions, "events": [
            {"type": "transfer_in", "ts": "2024-01-02", "asset": "A", "quantity": "5", "price": "20", "fee": "2", "tax": "1"},
            {"type": "buy", "ts": "2024-01-03", "asset": "A", "quantity": "1", "price": "20", "fee": "2", "tax": "1"}]});
        check(&document, &json!({"as_of": "2024-01-04"}), &format!("net_contribution_base {paid_in}"));
    }
}

/// 100 for ten days, 400 for ten more, then nothing: 250 in the mean. The profit is 600, less a fee of 50.
#[test]
fn an_average_investment_weighs_the_days_on_which_something_was_open() {
    let document = json!({"base_currency": "EUR", "conventions": {"fees": "separate"}, "events": [
        {"type": "buy", "ts": "2024-01-01", "asset": "A", "quantity": "10", "price": "10"},
        {"type": "buy", "ts": "2024-01-11", "asset": "A", "quantity": "10", "price": "30"},
        {"type": "sell", "ts": "2024-01-21", "asset": "A", "quantity": "20", "price": "50", "fee": "50"}]});
    let at = |day: &str| json!({"as_of": day, "asset": "A"});
    check(
        &document,
        &at("2024-01-31"),
        "avg_investment 250\nroai_gross 2.4\nroai_net 2.2\nrealized_pnl_cycle 600",
    );
    check(&document, &at("2024-01-16"), "avg_investment 200");
    check(&document, &at("2024-01-01"), "avg_investment 100");
    check(&document, &at("2023-12-31"), "avg_investment -\nroai_gross -");
}

/// Ten are sold for 1,010 less 10 and bought back a year later for 900 and 5: 95 of 1,000. They were never held.
#[test]
fn a_short_position_counts_what_it_took_in() {
    let document = json!({"base_currency": "EUR", "conventions": {"short": "allowed"}, "events": [
        {"type": "sell", "ts": "2021-01-01", "asset": "A", "quantity": "10", "price": "101", "fee": "10"},
        {"type": "buy", "ts": "2022-01-01", "asset": "A", "quantity": "10", "price": "90", "fee": "5"},
        {"type": "sell", "ts": "2023-06-01", "asset": "A", "quantity": "3", "price": "80"}]});
    check(
        &document,
        &json!({"as_of": "2022-12-31"}),
        "realized_pnl 95
        trade_return 0.095
        trade_irr -0.095
        cost_removed 1000
        taxable_quantity 10
        taxfree_quantity 0
        taxable_cost 905
        taxable_gain 95",
    );
    // A position of its own began since: three owed, worth 240.
    check(
        &document,
        &json!({"as_of": "2023-06-01"}),
        "quantity -3
        notional 240
        cost_basis -240
        avg_cost 80
        realized_pnl 95
        realized_pnl_cycle 0",
    );
}

#[test]
fn what_is_missing_and_what_is_refused_is_told_by_name() {
    let document = json!({"base_currency": "EUR", "conventions": {"short": "missing_basis_is_zero_cost"}, "events": [
        {"type": "buy", "ts": "2024-01-01", "asset": "A", "quantity": "2", "price": "10"},
        {"type": "sell", "ts": "2024-01-02", "asset": "A", "quantity": "3", "price": "11"}]});
    check(
        &document,
        &json!({"as_of": "2024-01-03"}),
        "missing_quantity 1
        realized_pnl 13
        cost_removed 20
        error -",
    );
    let mut rejected = document;
    rejected["conventions"] = json!({});
    check(&rejected, &json!({"as_of": "2024-01-03"}), "error insufficient_quantity\nquantity 2");
    check(&rejected, &json!({"as_of": "2024-01-01"}), "error -");
    rejected["expect"] = json!([{"as_of": "2024-01-03", "want": ["error", "error"]}]);
    assert_eq!(answered(&rejected)["refused"][0]["error"], "insufficient_quantity");
    // The last event that counts may be named.
    check(&rejected, &json!({"as_of": "2024-01-03", "after_event": 0}), "error -\nquantity 2");
}

/// Average cost may be one of everything where lots else belong to accounts: 2 at 10 and 2 at 20 are 15 each.
#[test]
fn an_average_may_have_a_scope_of_its_own() {
    let document = json!({"base_currency": "EUR", "conventions": {"lot_scope_average": "global"}, "events": [
        {"type": "buy", "ts": "2024-01-01", "asset": "A", "quantity": "2", "price": "10"},
        {"type": "buy", "ts": "2024-01-02", "asset": "A", "quantity": "2", "price": "20", "account": "second"},
        {"type": "sell", "ts": "2024-01-03", "asset": "A", "quantity": "2", "price": "30", "account": "second"}]});
    let under = |method: &str| json!({"as_of": "2024-01-04", "asset": "A", "cost_basis": method});
    check(&document, &under("average"), "realized_pnl 30\ncost_basis 30");
    check(&document, &under("fifo"), "realized_pnl 20\ncost_basis 20");
    let mut both = document.clone();
    let [first, second] = ["average", "fifo"].map(|method| {
        let mut checkpoint = under(method);
        checkpoint["want"] = json!(["realized_pnl"]);
        checkpoint
    });
    both["expect"] = json!([first, second, first]);
    let rows = answered(&both)["results"].clone();
    let realized = ["30", "20", "30"].map(|value| json!(value));
    assert_eq!(
        rows.as_array().unwrap().iter().map(|row| row["realized_pnl"].clone()).collect::<Vec<_>>(),
        realized
    );
    assert_eq!(rows[0]["conventions"]["lot_scope"], "global");
    assert_eq!(rows[1]["conventions"], Value::Null);
}

#[test]
fn a_value_without_a_meaning_is_refused() {
    for name in ["nonsense", "cash:", "cash:a b", "quantity_base", "cost_basis_base_base", ""] {
        let document = json!({"base_currency": "EUR", "events": [], "expect": [{"want": [name]}]});
        let Err(error) = evaluate(document.to_string().as_bytes()) else { panic!("{name} is taken") };
        let told = error.errors.iter().any(|fault| fault.pointer.as_deref() == Some("/expect/0/want"));
        assert!(told, "{name}: {:?}", error.errors);
    }
}
