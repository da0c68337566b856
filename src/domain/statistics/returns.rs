//! Statistics of a series of returns, computed in binary floating point.
//!
//! With simple returns `r`, their number `n`, their mean `m` and `P` periods a year:
//! - `annual_volatility` = s sqrt(P), `s` the standard deviation with n - 1;
//! - `sharpe` = m / s x sqrt(P), the risk-free rate being zero (Sharpe 1994);
//! - `sortino` = m / sqrt(sum of squares of the negative returns / n) x sqrt(P) (Sortino and Price 1994);
//! - `cagr` = (product of 1 + r)^(P / n) - 1;
//! - `period_volatility` = standard deviation with n - 1 of ln(1 + r), x sqrt(n): of the whole period, not a year;
//! - `period_semi_deviation` = sqrt(sum of squares of what ln(1 + r) lies below its mean / (n - 1) x n);
//! - `max_drawdown` = the greatest 1 - wealth / peak before it, where the start capital is the first peak.
//!
//! Of closed trades: `expectancy`, the mean profit of a trade, and `win_rate`, the part of them that gained.
#![expect(clippy::float_arithmetic, reason = "statistics are ratios without a unit")]

use crate::domain::decimal::Decimal;
use crate::domain::statistics::{Ratio, Undefined, count, float, rate, ratio};

/// There is no spread to divide by.
const NO_SPREAD: Undefined = Undefined("the returns do not vary");
/// Logarithms need some capital left.
const ALL_LOST: Undefined = Undefined("a return of -100 % or less has no logarithm");

/// Simple returns of equal periods, in order of time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Returns(Vec<f64>);

/// The deepest fall of wealth below its peak so far. Places count from 0; `None` is the start capital.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drawdown {
    /// As a fraction of the peak, not below zero.
    pub fraction: Decimal,
    /// The period after which wealth was at the peak.
    pub peak: Option<usize>,
    /// The period after which it was lowest; `None` when it never fell.
    pub trough: Option<usize>,
    /// The first period after that which ended at the peak again or above it.
    pub recovered: Option<usize>,
}

impl Returns {
    /// The returns as they are.
    pub fn of(returns: &[Decimal]) -> Self {
        Self(returns.iter().map(float).collect())
    }

    /// From returns since the start, one for each period.
    ///
    /// # Errors
    /// [`Undefined`] when capital was used up before the end, so that nothing can be earned on it.
    pub fn of_cumulative(cumulative: &[Decimal]) -> Result<Self, Undefined> {
        let mut before = 1.0;
        let mut returns = Vec::with_capacity(cumulative.len());
        for wealth in cumulative.iter().map(|since| float(&(since + Decimal::ONE))) {
            if before <= 0.0 {
                return Err(Undefined("the capital was used up before the end"));
            }
            returns.push(wealth / before - 1.0);
            before = wealth;
        }
        Ok(Self(returns))
    }

    /// From growth factors.
    pub fn of_growths(growths: impl IntoIterator<Item = f64>) -> Self {
        Self(growths.into_iter().map(|growth| growth - 1.0).collect())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The returns.
    pub(super) fn values(&self) -> &[f64] {
        &self.0
    }

    /// The product of `1 + r`.
    pub(super) fn growth(&self) -> f64 {
        self.0.iter().map(|r| 1.0 + r).product()
    }

    /// The return over all periods.
    ///
    /// # Errors
    /// [`Undefined`] without returns.
    pub fn total(&self) -> Ratio {
        some(&self.0)?;
        rate(self.growth())
    }

    /// Standard deviation of the simple returns, a year.
    ///
    /// # Errors
    /// [`Undefined`] for fewer than two returns.
    pub fn annual_volatility(&self, periods: &Decimal) -> Ratio {
        ratio(deviation(&self.0)? * float(periods).sqrt())
    }

    /// Mean by standard deviation, a year, over a risk-free rate of zero.
    ///
    /// # Errors
    /// [`Undefined`] for fewer than two returns, or when they do not vary.
    pub fn sharpe(&self, periods: &Decimal) -> Ratio {
        let spread = deviation(&self.0)?;
        if spread < f64::EPSILON {
            return Err(NO_SPREAD);
        }
        ratio(mean(&self.0) / spread * float(periods).sqrt())
    }

    /// Mean by downside deviation, a year; all periods count in it.
    ///
    /// # Errors
    /// [`Undefined`] for fewer than two returns, or when none is negative.
    pub fn sortino(&self, periods: &Decimal) -> Ratio {
        two(&self.0)?;
        let squares: f64 = self.0.iter().filter(|r| **r < 0.0).map(|r| r * r).sum();
        let downside = (squares / count(self.len())).sqrt();
        if downside < f64::EPSILON {
            return Err(Undefined("no return is negative"));
        }
        ratio(mean(&self.0) / downside * float(periods).sqrt())
    }

    /// Compound growth a year.
    ///
    /// # Errors
    /// [`Undefined`] without returns, or when more than everything was lost.
    pub fn cagr(&self, periods: &Decimal) -> Ratio {
        some(&self.0)?;
        let growth = self.growth();
        if growth < 0.0 {
            return Err(Undefined("a loss of more than everything has no annual rate"));
        }
        rate(growth.powf(float(periods) / count(self.len())))
    }

    /// Standard deviation of the logarithmic returns over the whole period.
    ///
    /// # Errors
    /// [`Undefined`] for fewer than two returns, or after a total loss.
    pub fn period_volatility(&self) -> Ratio {
        let logs = self.logarithms()?;
        ratio(deviation(&logs)? * count(logs.len()).sqrt())
    }

    /// Root of the squares of what the logarithmic returns lie below their mean, over the whole period.
    ///
    /// # Errors
    /// [`Undefined`] for fewer than two returns, or after a total loss.
    pub fn period_semi_deviation(&self) -> Ratio {
        let logs = self.logarithms()?;
        two(&logs)?;
        let mean = mean(&logs);
        let squares: f64 = logs.iter().filter(|log| **log < mean).map(|log| (log - mean).powi(2)).sum();
        let n = count(logs.len());
        ratio((squares / (n - 1.0) * n).sqrt())
    }

    /// The deepest fall of wealth; of several equal ones, and of equal peaks, the first.
    ///
    /// # Errors
    /// [`Undefined`] without returns.
    pub fn max_drawdown(&self) -> Result<Drawdown, Undefined> {
        some(&self.0)?;
        let mut wealth = 1.0;
        let (mut peak, mut peak_at) = (1.0, None);
        let (mut deepest, mut of_peak) = (0.0, 1.0);
        let mut found = Drawdown { fraction: Decimal::ZERO, peak: None, trough: None, recovered: None };
        for (place, r) in self.0.iter().enumerate() {
            wealth *= 1.0 + r;
            if wealth >= of_peak && found.trough.is_some() && found.recovered.is_none() {
                found.recovered = Some(place);
            }
            if wealth > peak {
                (peak, peak_at) = (wealth, Some(place));
            }
            let fall = 1.0 - wealth / peak;
            if fall > deepest {
                (deepest, of_peak) = (fall, peak);
                found = Drawdown { peak: peak_at, trough: Some(place), recovered: None, ..found };
            }
        }
        found.fraction = ratio(deepest)?;
        Ok(found)
    }

    /// How far wealth lies below its peak so far after each period, as a fraction of the peak.
    pub fn drawdowns(&self) -> impl Iterator<Item = Ratio> {
        let (mut wealth, mut peak) = (1.0_f64, 1.0_f64);
        self.0.iter().map(move |r| {
            wealth *= 1.0 + r;
            peak = peak.max(wealth);
            ratio(1.0 - wealth / peak)
        })
    }

    fn logarithms(&self) -> Result<Vec<f64>, Undefined> {
        if self.0.iter().any(|r| *r <= -1.0) {
            return Err(ALL_LOST);
        }
        Ok(self.0.iter().map(|r| r.ln_1p()).collect())
    }
}

fn some(values: &[f64]) -> Result<(), Undefined> {
    if values.is_empty() { Err(Undefined("there are no returns")) } else { Ok(()) }
}

pub(super) fn two(values: &[f64]) -> Result<(), Undefined> {
    if values.len() < 2 { Err(Undefined("there are fewer than two returns")) } else { Ok(()) }
}

/// The mean of some values.
pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / count(values.len())
}

/// The standard deviation with n - 1.
pub(super) fn deviation(values: &[f64]) -> Result<f64, Undefined> {
    two(values)?;
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Ok((squares / (count(values.len()) - 1.0)).sqrt())
}

/// The mean profit of closed trades, exact but for its one division.
///
/// # Errors
/// [`Undefined`] without trades.
pub fn expectancy(trade_pnls: &[Decimal]) -> Ratio {
    let sum: Decimal = trade_pnls.iter().cloned().sum();
    sum.divide(&whole(trade_pnls.len())).ok_or(Undefined("there are no closed trades"))
}

/// The part of closed trades with a profit above zero.
///
/// # Errors
/// [`Undefined`] without trades.
pub fn win_rate(trade_pnls: &[Decimal]) -> Ratio {
    let won = whole(trade_pnls.iter().filter(|pnl| pnl.is_positive()).count());
    won.divide(&whole(trade_pnls.len())).ok_or(Undefined("there are no closed trades"))
}

fn whole(n: usize) -> Decimal {
    Decimal::from(i64::try_from(n).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn returns(values: &[&str]) -> Returns {
        Returns::of(&decimals(values))
    }

    fn decimals(values: &[&str]) -> Vec<Decimal> {
        values.iter().map(|value| value.parse().unwrap()).collect()
    }

    fn d(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn a_drawdown_tells_peak_trough_and_recovery() {
        // Wealth 1.1, 0.55, 0.88, 1.1, 0.99.
        let fall = returns(&["0.1", "-0.5", "0.6", "0.25", "-0.1"]).max_drawdown().unwrap();
        assert_eq!(fall, Drawdown { fraction: d("0.5"), peak: Some(0), trough: Some(1), recovered: Some(3) });
        let from_start = returns(&["-0.2", "0.1"]).max_drawdown().unwrap();
        assert_eq!(from_start, Drawdown { fraction: d("0.2"), peak: None, trough: Some(0), recovered: None });
        let level = returns(&["0", "0.25", "0", "-0.5"]).max_drawdown().unwrap();
        assert_eq!(level, Drawdown { fraction: d("0.5"), peak: Some(1), trough: Some(3), recovered: None });
        let never = returns(&["0.1", "0", "0.1"]).max_drawdown().unwrap();
        assert_eq!(never, Drawdown { fraction: Decimal::ZERO, peak: None, trough: None, recovered: None });
        let each: Vec<Ratio> = returns(&["0.25", "-0.5", "0.5"]).drawdowns().collect();
        assert_eq!(each, [Ok(Decimal::ZERO), Ok(d("0.5")), Ok(d("0.25"))]);
    }

    #[test]
    fn ratios_of_hand_sized_series() {
        // Mean 0.01, deviations +-0.02, variance 0.0008 / 1.
        let two = returns(&["0.03", "-0.01"]);
        assert_eq!(two.annual_volatility(&d("50")), Ok(d("0.2")));
        assert_eq!(two.sharpe(&d("8")), Ok(Decimal::ONE));
        // Downside sqrt(0.0001 / 2).
        assert_eq!(two.sortino(&d("2")), Ok(d("2")));
        assert_eq!(returns(&["0.1", "0.1"]).cagr(&d("4")), Ok(d("0.4641")));
        assert_eq!(returns(&["0.1", "0.1"]).total(), Ok(d("0.21")));
        // Nautilus Trader's test of its Sharpe ratio (crates/analysis, sharpe_ratio.rs, test_valid_sharpe_ratio).
        let sharpe = returns(&["0.01", "-0.02", "0.015", "-0.005", "0.025"]).sharpe(&d("252")).unwrap();
        assert!((sharpe - d("4.48998886412873")).abs() < d("0.000000001"));
    }

    #[test]
    fn what_cannot_be_computed_has_a_reason() {
        let none = Returns::default();
        assert!(none.max_drawdown().is_err() && none.cagr(&d("252")).is_err() && none.total().is_err());
        let one = returns(&["0.1"]);
        assert!(one.annual_volatility(&d("252")).is_err() && one.sortino(&d("252")).is_err());
        let same = Returns::of(&vec![d("0.01"); 10]);
        assert_eq!(same.sharpe(&d("252")), Err(NO_SPREAD));
        assert_eq!(same.sortino(&d("252")), Err(Undefined("no return is negative")));
        assert_eq!(returns(&["-1", "0.1"]).period_volatility(), Err(ALL_LOST));
        assert!(returns(&["-1.5", "0.1"]).cagr(&d("252")).is_err());
        assert!(Returns::of_cumulative(&decimals(&["-1", "0"])).is_err());
        assert!(expectancy(&[]).is_err() && win_rate(&[]).is_err());
    }

    #[test]
    fn cumulative_returns_are_undone() {
        let undone = Returns::of_cumulative(&decimals(&["1", "1", "-0.5"])).unwrap();
        assert_eq!(undone, returns(&["1", "0", "-0.75"]));
    }

    #[test]
    fn trades() {
        let pnls = decimals(&["10", "-5", "15", "-10"]);
        assert_eq!((expectancy(&pnls), win_rate(&pnls)), (Ok(d("2.5")), Ok(d("0.5"))));
        assert_eq!(win_rate(&decimals(&["0", "1"])), Ok(d("0.5")));
    }

    #[test]
    fn the_deepest_of_several_falls_is_told_with_its_own_recovery() {
        let fall = |values: &[&str]| {
            let returns = Returns::of(&values.iter().map(|value| value.parse().unwrap()).collect::<Vec<_>>());
            let found = returns.max_drawdown().unwrap();
            (found.fraction.to_string(), found.peak, found.trough, found.recovered)
        };
        // Recovered from, and then a deeper one that is not.
        assert_eq!(fall(&["-0.1", "0.5", "-0.5"]), ("0.5".to_owned(), Some(1), Some(2), None));
        // Of equal ones the first, from the first of equal heights.
        assert_eq!(fall(&["-0.5", "1", "-0.5"]), ("0.5".to_owned(), None, Some(0), Some(1)));
        assert_eq!(fall(&["-0.25", "0.5", "-0.75"]).1, Some(1));
    }

    #[test]
    fn one_return_has_no_spread_and_none_is_empty() {
        let one = Returns::of(&["-0.1".parse().unwrap()]);
        let few = Err(Undefined("there are fewer than two returns"));
        assert_eq!((one.sortino(&Decimal::ONE), one.sharpe(&Decimal::ONE)), (few.clone(), few));
        assert!(!one.is_empty() && Returns::of(&[]).is_empty());
    }
}
