//! Two series of returns side by side, computed in binary floating point.
//!
//! With returns `p` of a portfolio and `b` of its benchmark over the same periods, `P` of them a year:
//! - `excess_return` = return of the portfolio over the span less that of the benchmark;
//! - `tracking_difference` = the same of the annual rates `(1 + return)^(365 / days) - 1` (ESMA/2012/832);
//! - `tracking_error` = standard deviation with n - 1 of `p - b`, x sqrt(P);
//! - `beta` = covariance(p, b) / variance(b);
//! - `correlation` = covariance(p, b) / (deviation(p) deviation(b)).
#![expect(clippy::float_arithmetic, reason = "statistics are ratios without a unit")]

use crate::domain::decimal::Decimal;
use crate::domain::statistics::returns::{Returns, deviation, mean, two};
use crate::domain::statistics::{Ratio, Undefined, float, ratio};

/// A portfolio beside its benchmark, over the same periods.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison<'a> {
    portfolio: &'a Returns,
    benchmark: &'a Returns,
}

impl<'a> Comparison<'a> {
    /// Two series of the same periods.
    ///
    /// # Errors
    /// [`Undefined`] when one is longer than the other.
    pub fn new(portfolio: &'a Returns, benchmark: &'a Returns) -> Result<Self, Undefined> {
        if portfolio.len() != benchmark.len() {
            return Err(Undefined("the benchmark has not the same periods"));
        }
        Ok(Self { portfolio, benchmark })
    }

    /// Return of the portfolio less return of the benchmark, over the span.
    ///
    /// # Errors
    /// [`Undefined`] without returns.
    pub fn excess_return(&self) -> Ratio {
        Ok(self.portfolio.total()? - self.benchmark.total()?)
    }

    /// Annual rate of the portfolio less that of the benchmark, over a span of `days`.
    ///
    /// # Errors
    /// [`Undefined`] for no days, or when one of them lost more than everything.
    pub fn tracking_difference(&self, days: &Decimal) -> Ratio {
        let annual = |returns: &Returns| {
            crate::domain::statistics::twr::annualized(&returns.total()?, days, &Decimal::from(365))
        };
        Ok(annual(self.portfolio)? - annual(self.benchmark)?)
    }

    /// Standard deviation of the differences, a year.
    ///
    /// # Errors
    /// [`Undefined`] for fewer than two periods.
    pub fn tracking_error(&self, periods: &Decimal) -> Ratio {
        let pairs = self.portfolio.values().iter().zip(self.benchmark.values());
        let differences: Vec<f64> = pairs.map(|(p, b)| p - b).collect();
        ratio(deviation(&differences)? * float(periods).sqrt())
    }

    /// How much the portfolio moves with a move of the benchmark.
    ///
    /// # Errors
    /// [`Undefined`] for fewer than two periods, or when the benchmark does not move.
    pub fn beta(&self) -> Ratio {
        let spread = deviation(self.benchmark.values())?;
        if spread < f64::EPSILON {
            return Err(Undefined("the returns of the benchmark do not vary"));
        }
        ratio(self.covariance()? / (spread * spread))
    }

    /// How closely they move together, from -1 to 1.
    ///
    /// # Errors
    /// [`Undefined`] for fewer than two periods, or when one of them does not move.
    pub fn correlation(&self) -> Ratio {
        let (p, b) = (deviation(self.portfolio.values())?, deviation(self.benchmark.values())?);
        if p < f64::EPSILON || b < f64::EPSILON {
            return Err(Undefined("the returns of one of them do not vary"));
        }
        ratio((self.covariance()? / (p * b)).clamp(-1.0, 1.0))
    }

    fn covariance(&self) -> Result<f64, Undefined> {
        let (p, b) = (self.portfolio.values(), self.benchmark.values());
        two(p)?;
        let (mean_p, mean_b) = (mean(p), mean(b));
        let products: f64 = p.iter().zip(b).map(|(p, b)| (p - mean_p) * (b - mean_b)).sum();
        Ok(products / (super::count(p.len()) - 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn returns(values: &[&str]) -> Returns {
        Returns::of(&values.iter().map(|value| value.parse().unwrap()).collect::<Vec<_>>())
    }

    fn d(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    fn near(got: Ratio, want: &str) {
        let got = got.unwrap();
        assert!((&got - d(want)).abs() < d("0.0000000000001"), "{got} for {want}");
    }

    #[test]
    fn twice_the_benchmark_has_beta_two() {
        let (twice, once) = (returns(&["0.02", "-0.04", "0.06"]), returns(&["0.01", "-0.02", "0.03"]));
        let both = Comparison::new(&twice, &once).unwrap();
        near(both.beta(), "2");
        near(both.correlation(), "1");
        // 1.02 x 0.96 x 1.06 - 1.01 x 0.98 x 1.03.
        near(both.excess_return(), "0.018458");
        // Differences 0.01, -0.02, 0.03: mean 0.02 / 3, variance 0.0019 / 3.
        near(both.tracking_error(&d("3")), "0.0435889894354067");
        near(both.tracking_difference(&d("365")), "0.018458");
        let inverse = returns(&["-0.01", "0.02", "-0.03"]);
        near(Comparison::new(&inverse, &once).unwrap().correlation(), "-1");
    }

    #[test]
    fn what_does_not_move_has_no_beta() {
        let (moving, still) = (returns(&["0.02", "0.01"]), returns(&["0.01", "0.01"]));
        let (beta, correlation) = (
            Undefined("the returns of the benchmark do not vary"),
            Undefined("the returns of one of them do not vary"),
        );
        assert_eq!(Comparison::new(&moving, &still).unwrap().beta(), Err(beta));
        assert_eq!(Comparison::new(&still, &moving).unwrap().beta(), Ok(Decimal::ZERO));
        for (one, other) in [(&still, &moving), (&moving, &still), (&still, &still)] {
            assert_eq!(Comparison::new(one, other).unwrap().correlation(), Err(correlation));
        }
        assert!(Comparison::new(&returns(&["0.1"]), &moving).is_err());
    }
}
