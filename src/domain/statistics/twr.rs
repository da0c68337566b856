//! Time-weighted return, computed in binary floating point from exact values and flows.
//!
//! The growth of a day is `(value at its end + outflows) / (value at the end of the day before + inflows)`:
//! flows come in at the start of a day and go out at its end (Portfolio Performance's TTWROR). Growths are
//! chained. A day on which nothing is invested is left out. The simple return is the gain by the start value,
//! `gain = end - start - net flows`, which says little where the flows are large beside the start value.
#![expect(clippy::float_arithmetic, reason = "returns are ratios without a unit")]

use crate::domain::decimal::Decimal;
use crate::domain::statistics::{Ratio, Undefined, float, rate};

/// What a day began with, got, gave and ended with. Exact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayFlow {
    /// Value at the end of the day before.
    pub before: Decimal,
    /// What came in from outside, not below zero.
    pub inflow: Decimal,
    /// What went out, not below zero.
    pub outflow: Decimal,
    /// Value at the end of the day.
    pub after: Decimal,
}

impl DayFlow {
    /// The growth factor of the day; `None` when nothing was invested on it.
    ///
    /// # Errors
    /// [`Undefined`] when there is a gain or loss without anything invested, or on less than nothing.
    pub fn growth(&self) -> Result<Option<f64>, Undefined> {
        let invested = &self.before + &self.inflow;
        let became = &self.after + &self.outflow;
        if invested.is_zero() {
            let nothing = became.is_zero();
            return if nothing { Ok(None) } else { Err(Undefined("a gain on an investment of zero")) };
        }
        if invested.is_negative() {
            return Err(Undefined("the value invested is below zero"));
        }
        Ok(Some(float(&became) / float(&invested)))
    }
}

/// The chained growth of days, one after another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Chain {
    growth: Result<f64, Undefined>,
    days: u32,
}

impl Default for Chain {
    fn default() -> Self {
        Self { growth: Ok(1.0), days: 0 }
    }
}

impl Chain {
    /// Adds a day. Once a day has no growth the chain has none.
    pub fn add(&mut self, day: &DayFlow) {
        self.add_growth(day.growth());
    }

    /// Adds the growth of a day.
    pub fn add_growth(&mut self, growth: Result<Option<f64>, Undefined>) {
        match growth {
            Ok(Some(growth)) => {
                self.growth = self.growth.map(|whole| whole * growth);
                self.days += 1;
            }
            Ok(None) => {}
            Err(reason) => self.growth = self.growth.and(Err(reason)),
        }
    }

    /// The chained return so far.
    ///
    /// # Errors
    /// [`Undefined`] when a day had none, or on no day anything was invested.
    pub fn cumulative(&self) -> Ratio {
        if self.days == 0 && self.growth.is_ok() {
            return Err(Undefined("nothing was invested"));
        }
        rate(self.growth?)
    }

    /// The chained growth so far, one before the first day.
    ///
    /// # Errors
    /// [`Undefined`] when a day had none.
    pub fn growth(&self) -> Result<f64, Undefined> {
        self.growth
    }
}

/// The gain of a period and its simple return.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueFlow {
    /// `end - start - net_flow`, exact.
    pub gain: Decimal,
    /// `gain / start`, rounded once.
    pub simple_return: Ratio,
}

/// The gain of a period with net flows, and its simple return.
pub fn value_flow(start: &Decimal, end: &Decimal, net_flow: &Decimal) -> ValueFlow {
    let gain = end - start - net_flow;
    let simple_return = gain.divide(start).ok_or(Undefined("the start value is zero"));
    ValueFlow { gain, simple_return }
}

/// `(1 + return)^(year / days) - 1`: what a return over days is a year. `year` is 365 days, of hledger 365.25.
///
/// # Errors
/// [`Undefined`] when more than everything was lost, or for no days.
pub fn annualized(period_return: &Decimal, days: &Decimal, year: &Decimal) -> Ratio {
    if !days.is_positive() {
        return Err(Undefined("a period of no days has no annual rate"));
    }
    let growth = period_return + Decimal::ONE;
    if growth.is_negative() {
        return Err(Undefined("a loss of more than everything has no annual rate"));
    }
    rate(float(&growth).powf(float(year) / float(days)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn d(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    fn day(before: &str, inflow: &str, outflow: &str, after: &str) -> DayFlow {
        DayFlow { before: d(before), inflow: d(inflow), outflow: d(outflow), after: d(after) }
    }

    #[test]
    fn flows_come_in_before_and_go_out_after_the_day() {
        let mut chain = Chain::default();
        assert_eq!(chain.cumulative(), Err(Undefined("nothing was invested")));
        chain.add(&day("0", "0", "0", "0"));
        // 100 come in and become 110; of 110 that become 121, 21 go out; 100 stay.
        chain.add(&day("0", "100", "0", "110"));
        chain.add(&day("110", "0", "21", "100"));
        assert_eq!(chain.cumulative(), Ok(d("0.21")));
        chain.add(&day("100", "0", "100", "0"));
        chain.add(&day("0", "0", "0", "0"));
        assert_eq!(chain.cumulative(), Ok(d("0.21")));
    }

    #[test]
    fn a_gain_on_nothing_or_on_a_debt_has_no_return() {
        let mut chain = Chain::default();
        chain.add(&day("0", "0", "0", "5"));
        chain.add(&day("5", "0", "0", "6"));
        assert_eq!(chain.cumulative(), Err(Undefined("a gain on an investment of zero")));
        assert!(day("-5", "0", "0", "6").growth().is_err());
        assert_eq!(day("10", "0", "0", "-5").growth(), Ok(Some(-0.5)));
    }

    #[test]
    fn annual_rates() {
        let year = d("365");
        assert_eq!(annualized(&d("0.21"), &d("730"), &year), Ok(d("0.1")));
        assert_eq!(annualized(&d("-1"), &d("30"), &year), Ok(d("-1")));
        assert!(annualized(&d("-1.01"), &d("30"), &year).is_err());
        assert!(annualized(&d("0.1"), &Decimal::ZERO, &year).is_err());
    }

    #[test]
    fn the_gain_is_exact_and_a_start_of_zero_has_no_simple_return() {
        let of = value_flow(&d("100"), &d("2089.16"), &d("2000"));
        assert_eq!((of.gain, of.simple_return), (d("-10.84"), Ok(d("-0.1084"))));
        assert_eq!(value_flow(&Decimal::ZERO, &d("1"), &d("1")).gain, Decimal::ZERO);
        assert!(value_flow(&Decimal::ZERO, &d("1"), &d("1")).simple_return.is_err());
    }
}
