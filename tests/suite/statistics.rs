//! Returns and statistics against figures from outside: the tests of other systems, each with its source.
//!
//! `tests/golden/statistics.json` holds the facts; a second test takes every such case of the folder beside the
//! project.

#![cfg(test)]

use artifact::domain::decimal::Decimal;
use artifact::domain::statistics::day_count::DayCount;
use artifact::domain::statistics::irr::{Flow, xirr};
use artifact::domain::statistics::returns::{Returns, expectancy, win_rate};
use artifact::domain::statistics::roi::{Investment, Roi, ValueAt};
use artifact::domain::statistics::twr::{annualized, value_flow};
use artifact::domain::statistics::{Ratio, Undefined};
use chrono::NaiveDate;
use serde_json::Value;
use std::fs;

const HOME: &str = env!("CARGO_MANIFEST_DIR");

fn decimal(value: &Value) -> Decimal {
    let text = value.as_str().unwrap_or_else(|| panic!("{value} is no text"));
    Decimal::parse_input(text).or_else(|_| text.parse()).unwrap_or_else(|error| panic!("{text} {error}"))
}

fn day(value: &Value) -> NaiveDate {
    value.as_str().and_then(|text| text.get(..10)).and_then(|text| text.parse().ok()).unwrap()
}

/// `[day, amount]`, or `{ts, amount}` as the shared cases write it.
fn dated(value: &Value, amount: &str) -> Vec<(NaiveDate, Decimal)> {
    let rows = value.as_array().into_iter().flatten();
    rows.map(|row| match row.as_array() {
        Some(pair) => (day(&pair[0]), decimal(&pair[1])),
        None => (day(&row["ts"]), decimal(&row[amount])),
    })
    .collect()
}

fn decimals(value: &Value) -> Vec<Decimal> {
    value.as_array().into_iter().flatten().map(decimal).collect()
}

fn flows(case: &Value) -> Vec<Flow> {
    dated(&case["flows"], "amount").into_iter().map(|(day, amount)| Flow { day, amount }).collect()
}

/// What the service says to one value of one checkpoint.
fn figure(case: &Value, checkpoint: &Value, name: &str) -> Ratio {
    let periods = Decimal::from(252);
    match case["kind"].as_str().unwrap() {
        "irr" => {
            let text = case["day_count"].as_str().or(case["conventions"]["day_count"].as_str());
            let day_count = text.map_or(DayCount::Actual365, |text| DayCount::from_text(text).unwrap());
            let irr = xirr(&flows(case), day_count);
            // The search goes further than the other system's: it finds more roots, never fewer.
            assert!(irr.ambiguous() || case["ambiguous"] != true, "{}: {:?}", case["id"], irr.roots);
            irr.rate
        }
        "roi" => {
            let values = dated(&case["valuations"], "value");
            let values = values.into_iter().map(|(day, value)| ValueAt { day, value }).collect();
            let period = &checkpoint["period"];
            let roi = Investment::new(flows(case), values).roi(day(&period["start"]), day(&period["end"]));
            match name {
                "value_begin" => Ok(roi.value_begin),
                "cashflow" => Ok(roi.cashflow),
                "value_end" => Ok(roi.value_end),
                "pnl" => Ok(roi.pnl),
                "irr_pct" => Roi::percent(&roi.irr.rate),
                "twr_pct" => Roi::percent(&roi.twr),
                "twr_annual_pct" => Roi::percent(&roi.twr_annual),
                name => panic!("{name} is no value of roi"),
            }
        }
        "returns" => {
            let cumulative = &case["cumulative"];
            let returns = if cumulative.is_null() {
                Returns::of(&decimals(&case["returns"]))
            } else {
                Returns::of_cumulative(&decimals(cumulative)).unwrap()
            };
            match name {
                "annual_volatility" => returns.annual_volatility(&periods),
                "period_volatility" => returns.period_volatility(),
                "period_semi_deviation" => returns.period_semi_deviation(),
                "max_drawdown" => returns.max_drawdown().map(|fall| fall.fraction),
                "sharpe" => returns.sharpe(&periods),
                "sortino" => returns.sortino(&periods),
                "cagr" => returns.cagr(&periods),
                "expectancy" => expectancy(&decimals(&case["trade_pnls"])),
                "win_rate" => win_rate(&decimals(&case["trade_pnls"])),
                name => panic!("{name} is no statistic"),
            }
        }
        "annualize" => {
            let days = Decimal::from(case["days"].as_i64().unwrap());
            annualized(&decimal(&case["period_return"]), &days, &Decimal::from(365))
        }
        "value_flow" => {
            let of = |name: &str| decimal(&case["values_in"][name]);
            let flow = value_flow(&of("start"), &of("end"), &of("net_flow"));
            if name == "gain" { Ok(flow.gain) } else { flow.simple_return }
        }
        _ => Err(Undefined("another kind")),
    }
}

fn complaints(case: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    for checkpoint in case["expect"].as_array().unwrap() {
        for (name, want) in checkpoint["values"].as_object().unwrap() {
            let percent = name.ends_with("_pct").then(|| &case["tolerance"]["percent"]);
            let tolerance = percent.filter(|value| !value.is_null()).unwrap_or(&case["tolerance"]["abs"]);
            let got = figure(case, checkpoint, name);
            let right = match (&got, want) {
                (Ok(got), Value::String(_)) => (got - decimal(want)).abs() <= decimal(tolerance),
                (Err(_), Value::Null) => true,
                _ => false,
            };
            if !right {
                wrong.push(format!("{} {name}: {got:?} for {want}", case["id"]));
            }
        }
    }
    wrong
}

#[test]
fn figures_are_those_of_other_systems() {
    let text = fs::read_to_string(format!("{HOME}/tests/golden/statistics.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert!(cases.iter().all(|case| case["source"].is_string()));
    let wrong: Vec<String> = cases.iter().flat_map(complaints).collect();
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
#[ignore = "needs ../shared"]
fn every_shared_case_of_these_kinds_holds() {
    let folder = format!("{HOME}/../shared/cases/open");
    let mut seen = 0;
    let mut wrong = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let case: Value = serde_json::from_str(&fs::read_to_string(entry.unwrap().path()).unwrap()).unwrap();
        if ["irr", "roi", "returns", "annualize", "value_flow"].contains(&case["kind"].as_str().unwrap()) {
            seen += 1;
            wrong.extend(complaints(&case));
        }
    }
    assert!(seen > 0 && wrong.is_empty(), "{seen} cases\n{}\n", wrong.join("\n"));
}
