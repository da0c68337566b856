//! Money-weighted return: the internal rate of dated flows (XIRR), computed in binary floating point.
//!
//! The rate `r` solves `sum(amount x (1 + r)^-years) = 0`, with `years` from the first flow by the day count,
//! act/365 fixed unless said otherwise (Excel's XIRR). Flows may be unordered; those of one day are added
//! up exactly. Every real rate above -100 % is found (see the module `roots`); of several the one
//! nearest zero is the answer and all are told. A rate within a billionth of -100 % is the answer only when it
//! is the only one.
#![expect(clippy::float_arithmetic, reason = "a rate is a ratio without a unit")]

use crate::domain::decimal::Decimal;
use crate::domain::statistics::day_count::DayCount;
use crate::domain::statistics::roots::{Term, roots};
use crate::domain::statistics::{DIGITS, Ratio, Undefined, float, rate, scaled};
use chrono::NaiveDate;

/// Money that moved on a day. Which sign is paid in does not matter, only that the other one is paid out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// The day.
    pub day: NaiveDate,
    /// How much.
    pub amount: Decimal,
}

/// The internal rate of flows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Irr {
    /// The rate nearest zero, as a fraction, or why there is none.
    pub rate: Ratio,
    /// All rates, ascending.
    pub roots: Vec<Decimal>,
}

impl Irr {
    fn none(reason: &'static str) -> Self {
        Self { rate: Err(Undefined(reason)), roots: Vec::new() }
    }

    /// Whether several rates solve the flows.
    pub fn ambiguous(&self) -> bool {
        self.roots.len() > 1
    }
}

/// The internal rate of flows in any order.
pub fn xirr(flows: &[Flow], day_count: DayCount) -> Irr {
    let found = match exponents(flows, day_count) {
        Ok(found) => found,
        Err(Undefined(reason)) => return Irr::none(reason),
    };
    // Exponents ascend where rates descend.
    let rates: Vec<Decimal> = found.into_iter().rev().filter_map(|x| rate_of(x).ok()).collect();
    match rates.iter().min_by_key(|rate| (total_loss(rate), rate.abs())) {
        Some(nearest) => Irr { rate: Ok(nearest.clone()), roots: rates },
        None => Irr::none("no rate above -100 % brings the cash flows to a present value of zero"),
    }
}

/// Whether a rate leaves less than a billionth of the capital in a year. Amounts of mixed signs often have such a
/// root, which answers no question: it is told, but taken only when there is no other.
fn total_loss(rate: &Decimal) -> bool {
    rate + Decimal::ONE < Decimal::new(1, 9)
}

/// The growth over one unit of time that brings dated flows to zero: of several the one nearest one.
pub(super) fn growth(flows: &[(f64, Decimal)]) -> Result<f64, Undefined> {
    let mut dated: Vec<(f64, &Decimal)> = flows.iter().map(|(time, amount)| (*time, amount)).collect();
    dated.sort_by(|a, b| a.0.total_cmp(&b.0));
    let nearest = solved(&dated)?.into_iter().min_by(|a, b| a.exp_m1().abs().total_cmp(&b.exp_m1().abs()));
    nearest.map(|x| (-x).exp()).ok_or(Undefined("no growth brings the opening value to the closing one"))
}

/// The roots `-ln(1 + rate)`, ascending.
fn exponents(flows: &[Flow], day_count: DayCount) -> Result<Vec<f64>, Undefined> {
    let first = flows.iter().map(|flow| flow.day).min().ok_or(Undefined("there are no cash flows"))?;
    let mut dated: Vec<(NaiveDate, &Decimal)> = flows.iter().map(|flow| (flow.day, &flow.amount)).collect();
    if !dated.is_sorted_by_key(|(day, _)| *day) {
        dated.sort_by_key(|(day, _)| *day);
    }
    let timed: Vec<(f64, &Decimal)> =
        dated.into_iter().map(|(day, amount)| (day_count.years(first, day), amount)).collect();
    solved(&timed)
}

/// The roots of amounts in order of time.
fn solved(timed: &[(f64, &Decimal)]) -> Result<Vec<f64>, Undefined> {
    let mut terms = Vec::with_capacity(timed.len());
    for same in timed.chunk_by(|a, b| a.0 >= b.0) {
        let Some((time, amount)) = same.first() else { continue };
        let amount = match same {
            [_] => float(amount),
            _ => float(&same.iter().map(|(_, amount)| (*amount).clone()).sum()),
        };
        if amount != 0.0 {
            terms.push(Term { time: *time, amount });
        }
    }
    if terms.is_empty() {
        let nothing = timed.iter().all(|(_, amount)| amount.is_zero());
        let reason = if nothing {
            "there are no cash flows"
        } else {
            "the cash flows of each day cancel out: any rate solves them"
        };
        return Err(Undefined(reason));
    }
    if terms.iter().all(|term| term.amount > 0.0) || terms.iter().all(|term| term.amount < 0.0) {
        return Err(Undefined("all cash flows have one sign"));
    }
    Ok(roots(&terms))
}

/// The rate of an exponent: `e^-x - 1`, also where the growth is no longer a float.
fn rate_of(x: f64) -> Ratio {
    if x.abs() < 600.0 {
        return rate((-x).exp());
    }
    let tens = -x / std::f64::consts::LN_10;
    let (exponent, digits) = (tens.floor(), 10_f64.powf(tens - tens.floor()));
    let text = format!("{digits:.*}", DIGITS - 1).replace('.', "");
    let parts = text.parse::<i128>().ok().zip(format!("{exponent:.0}").parse::<i32>().ok());
    let (mantissa, exponent) = parts.ok_or(super::OUT_OF_RANGE)?;
    Ok(scaled(mantissa, exponent - i32::try_from(DIGITS - 1).unwrap_or(0)) - Decimal::ONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flows(pairs: &[(&str, &str)]) -> Vec<Flow> {
        pairs
            .iter()
            .map(|(day, amount)| Flow { day: day.parse().unwrap(), amount: amount.parse().unwrap() })
            .collect()
    }

    fn d(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn a_year_of_365_days_at_ten_percent() {
        let irr = xirr(&flows(&[("2021-01-01", "-100"), ("2022-01-01", "110")]), DayCount::Actual365);
        assert_eq!(irr, Irr { rate: Ok(d("0.1")), roots: vec![d("0.1")] });
        // The same with the signs and the order turned round, and split into parts of one day.
        let turned =
            [("2022-01-01", "-60"), ("2021-01-01", "100"), ("2022-01-01", "-50"), ("2021-06-01", "0")];
        assert_eq!(xirr(&flows(&turned), DayCount::Actual365), irr);
        let nothing_gained = [("2021-01-01", "-100.1"), ("2021-03-01", "0.3"), ("2021-07-01", "99.8")];
        assert_eq!(xirr(&flows(&nothing_gained), DayCount::Actual365).rate, Ok(Decimal::ZERO));
    }

    #[test]
    fn a_double_root_is_one_rate() {
        // 100 v^2 - 220 v + 121 = (10 v - 11)^2 of the growth v, over two years of 365 days.
        let twice = [("2021-01-01", "100"), ("2022-01-01", "-220"), ("2023-01-01", "121")];
        let irr = xirr(&flows(&twice), DayCount::Actual365);
        assert_eq!((irr.roots.len(), irr.ambiguous()), (1, false));
        assert!((irr.rate.unwrap() - d("0.1")).abs() < d("0.0000001"));
    }

    #[test]
    fn several_roots_are_told_and_the_one_nearest_zero_is_taken() {
        // Growth 1.1 and 1.5: (v - 1.1)(v - 1.5) = v^2 - 2.6 v + 1.65.
        let two = [("2021-01-01", "-100"), ("2022-01-01", "260"), ("2023-01-01", "-165")];
        let irr = xirr(&flows(&two), DayCount::Actual365);
        assert_eq!(irr.rate, Ok(d("0.1")));
        assert_eq!(irr.roots, [d("0.1"), d("0.5")]);
        assert!(irr.ambiguous());
    }

    #[test]
    fn a_rate_of_total_loss_gives_way_to_another() {
        // Growth 3 and 1e-10: (v - 3)(v - 1e-10) = v^2 - 3.0000000001 v + 3e-10.
        let mixed = [("2021-01-01", "-1"), ("2022-01-01", "3.0000000001"), ("2023-01-01", "-0.0000000003")];
        let irr = xirr(&flows(&mixed), DayCount::Actual365);
        assert_eq!((irr.rate, irr.roots.len()), (Ok(d("2")), 2));
        assert!((&irr.roots[0] + Decimal::ONE - d("0.0000000001")).abs() < d("0.00000000000000000001"));
        let lost = [("2021-01-01", "-1"), ("2022-01-01", "0.0000000001")];
        let only = xirr(&flows(&lost), DayCount::Actual365).rate.unwrap();
        assert!((only - d("-0.9999999999")).abs() < d("0.00000000000000000000001"));
    }

    #[test]
    fn without_a_rate_there_is_a_reason_and_no_zero() {
        let reason = |pairs: &[(&str, &str)]| xirr(&flows(pairs), DayCount::Actual365).rate.unwrap_err().0;
        assert_eq!(reason(&[]), "there are no cash flows");
        assert_eq!(reason(&[("2021-01-01", "0")]), "there are no cash flows");
        assert_eq!(reason(&[("2021-01-01", "5"), ("2022-01-01", "5")]), "all cash flows have one sign");
        let same_day = [("2021-01-01", "0.3"), ("2021-01-01", "-0.1"), ("2021-01-01", "-0.2")];
        assert!(reason(&same_day).contains("cancel out"));
        // v^2 - v + 1 has no real root.
        let complex = [("2021-01-01", "1"), ("2022-01-01", "-1"), ("2023-01-01", "1")];
        assert!(reason(&complex).starts_with("no rate above -100 %"));
    }

    #[test]
    fn rates_beyond_the_range_of_floats_are_rates_too() {
        // 1000 become 5 in a day: (1/200)^365 = 10^-839.876 is left of 1 in a year.
        let lost = xirr(&flows(&[("2021-01-01", "-1000"), ("2021-01-02", "5")]), DayCount::Actual365);
        let left = lost.rate.unwrap() + Decimal::ONE;
        assert!(left.is_positive());
        assert!(left.to_string().starts_with(&format!("0.{}1330", "0".repeat(839))), "{left}");
        let won = xirr(&flows(&[("2021-01-01", "-5"), ("2021-01-02", "1000")]), DayCount::Actual365);
        assert_eq!(won.rate.unwrap().to_string().len(), 840);
    }

    #[test]
    fn the_day_count_is_the_callers() {
        // Microsoft's example of XIRR, and pyxirr's value for it.
        let example = [
            ("2008-01-01", "-10000"),
            ("2008-03-01", "2750"),
            ("2008-10-30", "4250"),
            ("2009-02-15", "3250"),
            ("2009-04-01", "2750"),
        ];
        let rate = xirr(&flows(&example), DayCount::Actual365).rate.unwrap();
        assert!((&rate - d("0.373362535")).abs() < d("0.00000001"), "{rate}");
        let year = [("2021-01-01", "-100"), ("2021-12-27", "110")];
        assert_eq!(xirr(&flows(&year), DayCount::Actual360).rate, Ok(d("0.1")));
    }

    #[test]
    fn money_that_only_goes_one_way_has_no_rate_and_says_so() {
        for amounts in [["-5", "-7"], ["5", "7"]] {
            let pairs = [("2021-01-01", amounts[0]), ("2022-01-01", amounts[1])];
            let found = xirr(&flows(&pairs), DayCount::Actual365);
            assert_eq!(
                (found.rate, found.roots),
                (Err(Undefined("all cash flows have one sign")), Vec::new())
            );
        }
    }
}
