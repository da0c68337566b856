//! Every return of one span side by side, from its daily values and flows; ratios are computed in binary floating
//! point.
//!
//! - `simple_return` = gain / start value, `gain = end - start - net flows`;
//! - `time_weighted_return`: the growths of the days chained, flows in at the start of a day, out at its end;
//! - `money_weighted_return`: the internal rate (XIRR, act/365) of start value, flows and end value, brought to the
//!   length of the span: `(1 + rate)^(days / 365) - 1`, days from the first money at work;
//! - the annual form of each, `(1 + return)^(365 / days) - 1`;
//! - `volatility`, `sharpe`, `sortino` of the daily returns, every calendar day counted, and so 365 to the year;
//! - `max_drawdown` of wealth that grows by them.
//!
//! Days on which nothing is invested are left out of the daily returns.
#![expect(clippy::float_arithmetic, reason = "returns are ratios without a unit")]

use crate::domain::decimal::Decimal;
use crate::domain::statistics::benchmark::Comparison;
use crate::domain::statistics::day_count::DayCount;
use crate::domain::statistics::irr::{Flow, Irr, xirr};
use crate::domain::statistics::returns::{Drawdown, Returns};
use crate::domain::statistics::twr::{Chain, DayFlow, annualized, value_flow};
use crate::domain::statistics::{Ratio, Undefined, float, rate};
use chrono::NaiveDate;
use std::collections::BTreeMap;

/// Days of a year, and daily returns in one.
pub const DAYS_A_YEAR: i64 = 365;
/// Some value or flow is not known.
pub const UNKNOWN: Undefined = Undefined("a price or rate is missing");
/// The span is too short for an annual form.
const SHORT: Undefined = Undefined("the span is not longer than a year: ask with annualize=true");

/// What a day ended with, and what moved on it. `None` is unknown.
#[derive(Debug, Clone, Default)]
pub struct Moved {
    /// Value at its end.
    pub value: Option<Decimal>,
    /// What came in, not below zero.
    pub inflow: Option<Decimal>,
    /// What went out, not below zero.
    pub outflow: Option<Decimal>,
}

/// Takes in a span day by day.
#[derive(Debug, Clone)]
pub struct Gauge {
    first: NaiveDate,
    last: NaiveDate,
    start: Option<Decimal>,
    end: Option<Decimal>,
    net_flow: Option<Decimal>,
    flows: Vec<Flow>,
    chain: Chain,
    growths: Vec<(NaiveDate, f64)>,
    wealth: f64,
    peak: f64,
}

/// A fall of wealth with its days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fall {
    /// As a fraction of the peak.
    pub fraction: Decimal,
    /// The day of the peak.
    pub peak: NaiveDate,
    /// The day wealth was lowest; `None` when it never fell.
    pub trough: Option<NaiveDate>,
    /// The first day after that on which it was at the peak again.
    pub recovered: Option<NaiveDate>,
}

/// The returns of a span.
#[derive(Debug, Clone)]
pub struct Performance {
    /// The day at whose end the span begins.
    pub first: NaiveDate,
    /// The day at whose end it ends.
    pub last: NaiveDate,
    /// Days between them.
    pub days: i64,
    /// Value at the start.
    pub start_value: Option<Decimal>,
    /// Value at the end.
    pub end_value: Option<Decimal>,
    /// What came in less what went out.
    pub net_flow: Option<Decimal>,
    /// `end_value - start_value - net_flow`.
    pub gain: Option<Decimal>,
    /// Gain by start value.
    pub simple_return: Ratio,
    /// The same a year.
    pub simple_return_annual: Ratio,
    /// Chained growth of the days.
    pub time_weighted_return: Ratio,
    /// The same a year.
    pub time_weighted_return_annual: Ratio,
    /// Internal rate over the span.
    pub money_weighted_return: Ratio,
    /// Internal rate a year.
    pub money_weighted_return_annual: Ratio,
    /// Every internal rate a year.
    pub irr: Irr,
    /// Standard deviation of the daily returns, a year.
    pub volatility: Ratio,
    /// Mean daily return by standard deviation, a year.
    pub sharpe: Ratio,
    /// Mean daily return by downside deviation, a year.
    pub sortino: Ratio,
    /// Deepest fall below a peak.
    pub max_drawdown: Result<Fall, Undefined>,
    /// The daily growth factors, of days on which something was invested.
    pub growths: Vec<(NaiveDate, f64)>,
}

/// A benchmark beside a portfolio.
#[derive(Debug, Clone)]
pub struct Beside {
    /// Its return over the same days.
    pub total: Ratio,
    /// Return of the portfolio less its return.
    pub excess_return: Ratio,
    /// Annual return of the portfolio less its annual return.
    pub tracking_difference: Ratio,
    /// Standard deviation of the daily differences, a year.
    pub tracking_error: Ratio,
    /// Covariance of the daily returns by the benchmark's variance.
    pub beta: Ratio,
    /// Correlation of the daily returns.
    pub correlation: Ratio,
}

impl Gauge {
    /// A span that begins at the end of `first`, with this value.
    pub fn begin(first: NaiveDate, value: Option<Decimal>) -> Self {
        Self {
            first,
            last: first,
            end: value.clone(),
            start: value,
            net_flow: Some(Decimal::ZERO),
            flows: Vec::new(),
            chain: Chain::default(),
            growths: Vec::new(),
            wealth: 1.0,
            peak: 1.0,
        }
    }

    /// Takes in the next day, or the next day on which something moved.
    pub fn add(&mut self, day: NaiveDate, moved: Moved) {
        let before = std::mem::replace(&mut self.end, moved.value.clone());
        self.last = day;
        let net = moved.inflow.as_ref().zip(moved.outflow.as_ref()).map(|(inflow, outflow)| inflow - outflow);
        self.net_flow = self.net_flow.take().zip(net.as_ref()).map(|(sum, net)| sum + net);
        self.flows.extend(net.filter(|net| !net.is_zero()).map(|net| Flow { day, amount: -net }));
        let growth = match (before, moved.inflow, moved.outflow, moved.value) {
            (Some(before), Some(inflow), Some(outflow), Some(after)) => {
                DayFlow { before, inflow, outflow, after }.growth()
            }
            _ => Err(UNKNOWN),
        };
        if let Ok(Some(growth)) = growth {
            self.growths.push((day, growth));
            self.wealth *= growth;
            self.peak = self.peak.max(self.wealth);
        }
        self.chain.add_growth(growth);
    }

    /// The time-weighted return so far.
    ///
    /// # Errors
    /// [`Undefined`] when a day had none.
    pub fn time_weighted(&self) -> Ratio {
        rate(self.chain.growth()?)
    }

    /// How far wealth lies below its peak so far, as a fraction of the peak.
    ///
    /// # Errors
    /// [`Undefined`] when a day had no return.
    pub fn drawdown(&self) -> Ratio {
        self.chain.growth()?;
        super::ratio(1.0 - self.wealth / self.peak)
    }

    fn returns(&self) -> Result<Returns, Undefined> {
        self.chain.growth()?;
        Ok(Returns::of_growths(self.growths.iter().map(|(_, growth)| *growth)))
    }

    fn fall(&self, returns: &Returns) -> Result<Fall, Undefined> {
        let Drawdown { fraction, peak, trough, recovered } = returns.max_drawdown()?;
        let day = |place: usize| self.growths.get(place).map(|(day, _)| *day);
        // Start capital is the peak of the eve of the first day with a return.
        let eve = day(0).and_then(|first| first.pred_opt()).unwrap_or(self.first);
        Ok(Fall {
            fraction,
            peak: peak.and_then(day).unwrap_or(eve),
            trough: trough.and_then(day),
            recovered: recovered.and_then(day),
        })
    }

    /// Start value, flows and end value, as somebody who paid in sees them.
    fn money(&self) -> Result<Vec<Flow>, Undefined> {
        let (Some(start), Some(end), Some(_)) = (&self.start, &self.end, &self.net_flow) else {
            return Err(UNKNOWN);
        };
        let mut flows = vec![Flow { day: self.first, amount: -start }];
        flows.extend(self.flows.iter().cloned());
        flows.push(Flow { day: self.last, amount: end.clone() });
        flows.retain(|flow| !flow.amount.is_zero());
        Ok(flows)
    }

    /// The internal rate a year, and over the time money was at work.
    fn money_weighted(&self) -> (Irr, Ratio) {
        let flows = match self.money() {
            Ok(flows) => flows,
            Err(reason) => return (Irr { rate: Err(reason), roots: Vec::new() }, Err(reason)),
        };
        let irr = xirr(&flows, DayCount::Actual365);
        let first = flows.first().map_or(self.first, |flow| flow.day);
        let years = DayCount::Actual365.years(first, self.last);
        let whole = irr.rate.clone().and_then(|annual| rate(float(&(annual + Decimal::ONE)).powf(years)));
        (irr, whole)
    }

    /// The returns of the span. Annual forms are given for spans longer than a year, or when `annualize` asks for them.
    pub fn finish(&self, annualize: bool) -> Performance {
        let days = self.last.signed_duration_since(self.first).num_days();
        let periods = Decimal::from(DAYS_A_YEAR);
        let annual = |of: &Ratio| -> Ratio {
            let over_a_year = of.clone()?;
            if days <= DAYS_A_YEAR && !annualize {
                return Err(SHORT);
            }
            annualized(&over_a_year, &Decimal::from(days), &periods)
        };
        let flow = match (&self.start, &self.end, &self.net_flow) {
            (Some(start), Some(end), Some(net)) => Some(value_flow(start, end, net)),
            _ => None,
        };
        let simple_return = flow.as_ref().map_or(Err(UNKNOWN), |flow| flow.simple_return.clone());
        let time_weighted_return = self.chain.cumulative();
        let (irr, money_weighted_return) = self.money_weighted();
        let returns = self.returns();
        let of_returns = |statistic: fn(&Returns, &Decimal) -> Ratio| {
            returns.as_ref().map_err(|reason| *reason).and_then(|returns| statistic(returns, &periods))
        };
        Performance {
            first: self.first,
            last: self.last,
            days,
            start_value: self.start.clone(),
            end_value: self.end.clone(),
            net_flow: self.net_flow.clone(),
            gain: flow.map(|flow| flow.gain),
            simple_return_annual: annual(&simple_return),
            simple_return,
            time_weighted_return_annual: annual(&time_weighted_return),
            time_weighted_return,
            money_weighted_return,
            money_weighted_return_annual: match &irr.rate {
                Ok(_) if days <= DAYS_A_YEAR && !annualize => Err(SHORT),
                annual => annual.clone(),
            },
            irr,
            volatility: of_returns(Returns::annual_volatility),
            sharpe: of_returns(Returns::sharpe),
            sortino: of_returns(Returns::sortino),
            max_drawdown: returns.as_ref().map_err(|reason| *reason).and_then(|returns| self.fall(returns)),
            growths: self.growths.clone(),
        }
    }
}

impl Performance {
    /// Holds it against a benchmark, by what a unit of it was worth at the end of each day, on the days on which
    /// something was invested.
    pub fn beside(&self, worth: &BTreeMap<NaiveDate, Decimal>, annualize: bool) -> Beside {
        let of = |reason: Undefined| Beside {
            total: Err(reason),
            excess_return: Err(reason),
            tracking_difference: Err(reason),
            tracking_error: Err(reason),
            beta: Err(reason),
            correlation: Err(reason),
        };
        if let Err(reason) = &self.time_weighted_return {
            return of(*reason);
        }
        let own = Returns::of_growths(self.growths.iter().map(|(_, growth)| *growth));
        let growth = |day: NaiveDate| {
            let (before, after) = (worth.get(&day.pred_opt()?)?, worth.get(&day)?);
            before.is_positive().then(|| float(after) / float(before))
        };
        let theirs: Option<Vec<f64>> = self.growths.iter().map(|(day, _)| growth(*day)).collect();
        let Some(theirs) = theirs else {
            return of(Undefined("the benchmark has no price or rate on some day"));
        };
        let theirs = Returns::of_growths(theirs);
        let both = match Comparison::new(&own, &theirs) {
            Ok(both) => both,
            Err(reason) => return of(reason),
        };
        let periods = Decimal::from(DAYS_A_YEAR);
        let short = self.days <= DAYS_A_YEAR && !annualize;
        let difference = both.tracking_difference(&Decimal::from(self.days));
        Beside {
            total: theirs.total(),
            excess_return: both.excess_return(),
            tracking_difference: if short { Err(SHORT) } else { difference },
            tracking_error: both.tracking_error(&periods),
            beta: both.beta(),
            correlation: both.correlation(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn d(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn moved(value: &str, inflow: &str, outflow: &str) -> Moved {
        Moved { value: Some(d(value)), inflow: Some(d(inflow)), outflow: Some(d(outflow)) }
    }

    #[test]
    fn a_span_of_two_years_side_by_side() {
        // 100 become 121 over two years of 365 days, by way of 110, 88 and 121.
        let mut gauge = Gauge::begin(day("2021-01-01"), Some(d("100")));
        gauge.add(day("2021-06-01"), moved("110", "0", "0"));
        gauge.add(day("2022-01-01"), moved("88", "0", "0"));
        assert_eq!(gauge.drawdown(), Ok(d("0.2")));
        gauge.add(day("2023-01-01"), moved("121", "0", "0"));
        let p = gauge.finish(false);
        assert_eq!((p.days, p.gain), (730, Some(d("21"))));
        assert_eq!((p.simple_return, p.simple_return_annual), (Ok(d("0.21")), Ok(d("0.1"))));
        assert_eq!((p.time_weighted_return, p.time_weighted_return_annual), (Ok(d("0.21")), Ok(d("0.1"))));
        assert_eq!((p.money_weighted_return, p.money_weighted_return_annual), (Ok(d("0.21")), Ok(d("0.1"))));
        let fall = p.max_drawdown.unwrap();
        assert_eq!((fall.fraction, fall.peak), (d("0.2"), day("2021-06-01")));
        assert_eq!((fall.trough, fall.recovered), (Some(day("2022-01-01")), Some(day("2023-01-01"))));
    }

    #[test]
    fn money_and_time_weigh_differently() {
        // 100 double in the first year; then 300 more come in and everything halves: 100 g^2 + 300 g = 250.
        let mut gauge = Gauge::begin(day("2021-01-01"), Some(d("100")));
        gauge.add(day("2022-01-01"), moved("200", "0", "0"));
        gauge.add(day("2022-01-02"), moved("500", "300", "0"));
        gauge.add(day("2023-01-01"), moved("250", "0", "0"));
        let p = gauge.finish(true);
        assert_eq!(p.time_weighted_return, Ok(Decimal::ZERO));
        assert_eq!((p.gain, p.simple_return), (Some(d("-150")), Ok(d("-1.5"))));
        let annual = p.money_weighted_return_annual.unwrap();
        assert!((annual - d("-0.3205")).abs() < d("0.001"));
    }

    #[test]
    fn short_spans_are_not_brought_to_a_year_unless_asked() {
        let mut gauge = Gauge::begin(day("2021-01-01"), Some(Decimal::ZERO));
        gauge.add(day("2021-01-02"), moved("100", "100", "0"));
        gauge.add(day("2021-02-07"), moved("110", "0", "0"));
        let p = gauge.finish(false);
        assert_eq!(p.simple_return, Err(Undefined("the start value is zero")));
        assert_eq!(p.time_weighted_return, Ok(d("0.1")));
        assert_eq!(p.time_weighted_return_annual, Err(SHORT));
        assert_eq!(p.money_weighted_return, Ok(d("0.1")));
        assert_eq!(p.money_weighted_return_annual, Err(SHORT));
        // 36 days: 1.1^(365 / 36) - 1.
        let annual = gauge.finish(true).money_weighted_return_annual.unwrap();
        assert!((annual - d("1.62830545")).abs() < d("0.000000001"));
    }

    #[test]
    fn what_is_not_known_is_not_zero() {
        let mut gauge = Gauge::begin(day("2021-01-01"), Some(d("100")));
        gauge.add(day("2021-01-02"), Moved { value: None, ..moved("0", "0", "0") });
        gauge.add(day("2021-01-03"), moved("120", "0", "0"));
        let p = gauge.finish(true);
        assert_eq!((p.gain, p.simple_return), (Some(d("20")), Ok(d("0.2"))));
        assert_eq!((p.time_weighted_return, p.volatility), (Err(UNKNOWN), Err(UNKNOWN)));
        assert_eq!(p.money_weighted_return, Ok(d("0.2")));
        assert_eq!(p.max_drawdown, Err(UNKNOWN));
        gauge.add(day("2021-01-04"), Moved::default());
        assert_eq!(gauge.finish(true).money_weighted_return, Err(UNKNOWN));
    }

    #[test]
    fn a_benchmark_is_held_against_the_same_days() {
        let mut gauge = Gauge::begin(day("2021-01-01"), Some(d("100")));
        gauge.add(day("2021-01-02"), moved("102", "0", "0"));
        gauge.add(day("2021-01-03"), moved("96.9", "0", "0"));
        let p = gauge.finish(false);
        let worth = [("2021-01-01", "1000"), ("2021-01-02", "1010"), ("2021-01-03", "984.75")];
        let worth: BTreeMap<NaiveDate, Decimal> =
            worth.iter().map(|(on, worth)| (day(on), d(worth))).collect();
        let beside = p.beside(&worth, true);
        let near = |got: Ratio, want: &str| assert!((got.unwrap() - d(want)).abs() < d("0.000000000001"));
        near(beside.beta, "2");
        near(beside.correlation, "1");
        // 0.969 - 1.01 x 0.975.
        near(beside.excess_return, "-0.01575");
        // Two days, and 182.5 times as many in a year: 0.969^182.5 - 0.98475^182.5.
        near(beside.tracking_difference, "-0.05734092872782");
        assert_eq!(p.beside(&worth, false).tracking_difference, Err(SHORT));
        assert!(p.beside(&BTreeMap::new(), false).beta.is_err());
    }

    #[test]
    fn what_moved_on_a_day_without_a_value_moved_all_the_same() {
        // 100 x 1.1^2 + 100 x 1.1 = 231: 110 come in and 10 go out when nobody knows what they are worth.
        let mut gauge = Gauge::begin(day("2021-01-01"), Some(d("100")));
        gauge.add(day("2022-01-01"), Moved { value: None, ..moved("0", "110", "10") });
        gauge.add(day("2023-01-01"), moved("231", "0", "0"));
        let p = gauge.finish(false);
        assert_eq!((p.net_flow, p.gain), (Some(d("100")), Some(d("31"))));
        assert!((p.money_weighted_return_annual.unwrap() - d("0.1")).abs() < d("0.000000000001"));
        assert_eq!(p.time_weighted_return, Err(UNKNOWN));
    }
}
