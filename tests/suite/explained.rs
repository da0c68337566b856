//! Adds up what an explanation lists, with an arithmetic of its own, and holds it against the figures.
//!
//! Nothing of the engine is used: numbers are whole numbers with a scale, a quotient is rounded half-even to 34
//! significant digits as the explanation says.

#![cfg(test)]

use num_bigint::BigInt;
use num_traits::{Signed as _, Zero as _};
use serde_json::Value;
use std::collections::BTreeMap;

/// `digits / 10^scale`.
#[derive(Debug, Clone)]
struct Number {
    digits: BigInt,
    scale: u32,
}

impl Number {
    fn parse(text: &str) -> Self {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let digits = format!("{whole}{part}").parse().unwrap_or_else(|_| panic!("{text} is no number"));
        Self { digits, scale: u32::try_from(part.len()).unwrap() }
    }

    fn zero() -> Self {
        Self { digits: BigInt::zero(), scale: 0 }
    }

    fn at(&self, scale: u32) -> BigInt {
        &self.digits * BigInt::from(10).pow(scale - self.scale)
    }

    fn plus(&self, other: &Self) -> Self {
        let scale = self.scale.max(other.scale);
        Self { digits: self.at(scale) + other.at(scale), scale }
    }

    fn minus(&self, other: &Self) -> Self {
        self.plus(&Self { digits: -&other.digits, scale: other.scale })
    }

    fn times(&self, other: &Self) -> Self {
        Self { digits: &self.digits * &other.digits, scale: self.scale + other.scale }
    }

    /// The quotient, half-even at 34 significant digits.
    fn over(&self, other: &Self) -> Self {
        let scale = self.scale.max(other.scale);
        let (mut above, below) = (self.at(scale), other.at(scale));
        let mut places = 0_u32;
        // Enough digits that rounding at the thirty-fourth sees whether anything follows.
        while (above.abs() / below.abs()).to_string().len() < 40 {
            above *= 10;
            places += 1;
        }
        let negative = above.is_negative() != below.is_negative();
        let (quotient, rest) = (above.abs() / below.abs(), above.abs() % below.abs());
        let surplus = u32::try_from(quotient.to_string().len()).unwrap() - 34;
        let unit = BigInt::from(10).pow(surplus);
        let (kept, tail, half) = (&quotient / &unit, &quotient % &unit, &unit / 2);
        let odd = (&kept % 2_u32) == BigInt::from(1);
        let up = tail > half || (tail == half && (odd || !rest.is_zero()));
        let quotient = if up { kept + 1 } else { kept };
        let signed = if negative { -quotient } else { quotient };
        if places >= surplus {
            Self { digits: signed, scale: places - surplus }
        } else {
            Self { digits: signed * BigInt::from(10).pow(surplus - places), scale: 0 }
        }
    }

    fn is(&self, other: &Self) -> bool {
        self.minus(other).digits.is_zero()
    }
}

fn number(value: &Value, name: &str) -> Number {
    Number::parse(value[name].as_str().unwrap_or_else(|| panic!("{name} of {value}")))
}

/// An amount in base currency by the rate its term names.
fn in_base(own: &Number, term: &Value) -> Number {
    let rate = &term["rate"];
    if rate.is_null() {
        return own.clone();
    }
    let product = own.times(&number(rate, "numerator"));
    let below = number(rate, "denominator");
    if below.is(&Number::parse("1")) { product } else { product.over(&below) }
}

/// What a term adds to a figure, computed from its details.
fn computed(figure: &str, term: &Value, values: &BTreeMap<String, Number>) -> Option<Number> {
    let get = |name: &str| number(term, name);
    let lots = |name: &str| {
        let lots = term["lots"].as_array().unwrap();
        lots.iter().fold(Number::zero(), |sum, lot| sum.plus(&number(lot, name)))
    };
    let profit = |exit: &str, entry: &str| {
        let (exit, entry) = (get(exit), get(entry));
        // An inverse contract gains as its value falls; the assets of the tests say by their name that they are one.
        let swapped = (term["side"] == "SHORT") != (term["symbol"] == "PERP");
        if swapped { entry.minus(&exit) } else { exit.minus(&entry) }
    };
    Some(match (figure, term["kind"].as_str().unwrap()) {
        (_, "figure") => {
            let of = values[term["figure"].as_str().unwrap()].clone();
            let less = ["net_contributions", "reserved"].contains(&term["figure"].as_str().unwrap())
                && figure != "total_market_value";
            if less { Number::zero().minus(&of) } else { of }
        }
        ("realized_pnl", "expense") => Number::zero().minus(&get("base")),
        ("realized_pnl", "dust") => get("realized_base"),
        ("realized_pnl" | "realized_pnl_gross" | "realized_fx_pnl", "delivery") => Number::zero(),
        ("realized_pnl", _) => {
            let own = profit("exit", "entry").minus(&get("exit_costs")).minus(&get("entry_costs"));
            assert!(own.is(&get("realized")), "{term}");
            if term["symbol"] == "PERP" {
                return None;
            }
            profit("exit_base", "entry_base").minus(&get("exit_costs_base")).minus(&get("entry_costs_base"))
        }
        ("realized_pnl_gross", "sale" | "cover") if term["symbol"] != "PERP" => {
            profit("exit_base", "entry_base")
        }
        ("market_value" | "unrealized_pnl" | "unrealized_pnl_gross", "holding") => {
            assert!(lots("cost_base").is(&get("cost_basis_base")), "{term}");
            assert!(lots("quantity").is(&get("quantity")), "{term}");
            if term["symbol"] == "PERP" {
                return None;
            }
            let value = get("quantity").times(&get("multiplier")).times(&number(&term["price"], "price"));
            assert!(value.is(&get("market_value")), "{term}");
            let value = in_base(&value, term);
            let opening = get("opening_base");
            let short = get("quantity").digits.is_negative();
            let opening = if short { Number::zero().minus(&opening) } else { opening };
            match figure {
                "market_value" => value,
                "unrealized_pnl" => value.minus(&get("cost_basis_base")),
                _ => value.minus(&opening),
            }
        }
        ("cost_basis", "holding") => lots("cost_base"),
        ("unrealized_fx_pnl", "holding") if term["symbol"] != "PERP" => {
            in_base(&get("cost_basis"), term).minus(&get("cost_basis_base"))
        }
        ("reserved", "holding") => get("opening_base").times(&Number::parse("2")),
        ("cash", "cash") => in_base(&get("balance"), term),
        ("cash_fx_pnl", "cash") => in_base(&get("balance"), term).minus(&get("moved_base")),
        (name, _) if name.starts_with("cash:") => get("own"),
        ("income" | "dividends" | "net_contributions" | "fees" | "taxes" | "costs_apart", _) => get("base"),
        _ => return None,
    })
}

/// Holds every explained figure of a `/pnl?explain=true` answer against its terms and against the answer. Returns how
/// many terms it computed anew.
#[track_caller]
pub(crate) fn check(pnl: &Value) -> usize {
    let figures = pnl["explain"]["figures"].as_array().unwrap();
    let known = figures.iter().filter(|figure| figure["value"].is_string());
    let values: BTreeMap<String, Number> = known
        .map(|figure| (figure["figure"].as_str().unwrap().to_owned(), number(figure, "value")))
        .collect();
    assert!(values.len() >= 20, "{} figures are explained", values.len());
    let mut computed_anew = 0;
    for figure in figures {
        let name = figure["figure"].as_str().unwrap();
        let shown = match name.strip_prefix("cash:") {
            Some(code) => &pnl["cash_by_currency"][code],
            None => &pnl[name],
        };
        if !shown.is_null() || !["reserved", "current_capital", "total_market_value"].contains(&name) {
            assert_eq!(&figure["value"], shown, "{name}");
        }
        let Some(value) = values.get(name) else { continue };
        let mut sum = Number::zero();
        for term in figure["terms"].as_array().unwrap() {
            let amount = number(term, "amount");
            if let Some(anew) = computed(name, term, &values) {
                assert!(anew.is(&amount), "{name}: {anew:?} of {term}");
                computed_anew += 1;
            }
            sum = sum.plus(&amount);
        }
        assert!(sum.is(value), "the terms of {name} add up to {sum:?}, not to {}", figure["value"]);
    }
    computed_anew
}

#[test]
fn the_arithmetic_of_the_check_rounds_as_it_says() {
    let over = |a: &str, b: &str| Number::parse(a).over(&Number::parse(b));
    assert!(over("1", "3").is(&Number::parse(&format!("0.{}", "3".repeat(34)))));
    assert!(over("2", "3").is(&Number::parse(&format!("0.{}7", "6".repeat(33)))));
    assert!(over("-100", "8").is(&Number::parse("-12.5")));
    assert!(over("1", "8").is(&Number::parse("0.125")));
}
