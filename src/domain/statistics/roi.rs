//! Return on investment by period, as hledger's `roi` reports it; its rates are computed in binary floating point.
//!
//! Of an investment only its flows and now and then a valuation are known. The value of a day is the newest
//! valuation plus the flows after its day; before the first valuation, the sum of flows. A year is 365.25 days.
//! - `irr`: the rate that brings the opening value, the flows at their days and the closing value on the day
//!   after the period to zero.
//! - `twr`: the period is cut at its start, at each valuation and at its end. Flows on the day of a cut are in its
//!   value. A part with flows inside grows by its own money-weighted return; the growths are chained.
//! - `twr_annual`: `(1 + twr)^(365.25 / days) - 1`, with the first and the last day counted.
#![expect(clippy::float_arithmetic, reason = "rates are ratios without a unit")]

use crate::domain::decimal::Decimal;
use crate::domain::statistics::day_count::DayCount;
use crate::domain::statistics::irr::{Flow, Irr, growth, xirr};
use crate::domain::statistics::{Ratio, Undefined, float, rate};
use chrono::{Days, NaiveDate};

/// Days of a year.
const YEAR: f64 = 365.25;

/// What an investment was worth at the end of a day, flows of that day included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueAt {
    /// The day.
    pub day: NaiveDate,
    /// The value.
    pub value: Decimal,
}

/// An investment: what was paid in (positive) or out (negative), and what it was worth.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Investment {
    flows: Vec<Flow>,
    valuations: Vec<ValueAt>,
}

/// One row of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roi {
    /// Value at the end of the day before the period.
    pub value_begin: Decimal,
    /// Sum of the flows in the period.
    pub cashflow: Decimal,
    /// Value at the end of its last day.
    pub value_end: Decimal,
    /// `value_end - value_begin - cashflow`.
    pub pnl: Decimal,
    /// Internal rate a year, as a fraction, with all its roots.
    pub irr: Irr,
    /// Time-weighted return of the period.
    pub twr: Ratio,
    /// The same a year.
    pub twr_annual: Ratio,
}

impl Roi {
    /// A ratio in percent.
    ///
    /// # Errors
    /// The ratio's own reason.
    pub fn percent(ratio: &Ratio) -> Ratio {
        ratio.as_ref().map(|ratio| (ratio * Decimal::from(100)).normalized()).map_err(|reason| *reason)
    }
}

impl Investment {
    /// Flows and valuations in any order; of two valuations of a day the later one given counts.
    pub fn new(mut flows: Vec<Flow>, mut valuations: Vec<ValueAt>) -> Self {
        flows.sort_by_key(|flow| flow.day);
        valuations.sort_by_key(|valuation| valuation.day);
        Self { flows, valuations }
    }

    /// Flows after one day, until another.
    fn flows(&self, after: Option<NaiveDate>, until: NaiveDate) -> impl Iterator<Item = &Flow> {
        self.flows.iter().filter(move |flow| after.is_none_or(|day| flow.day > day) && flow.day <= until)
    }

    fn net(&self, after: Option<NaiveDate>, until: NaiveDate) -> Decimal {
        self.flows(after, until).map(|flow| flow.amount.clone()).sum()
    }

    /// Value at the end of a day.
    pub fn value(&self, day: NaiveDate) -> Decimal {
        let known = self.valuations.iter().rfind(|valuation| valuation.day <= day);
        known.map_or(Decimal::ZERO, |known| known.value.clone()) + self.net(known.map(|known| known.day), day)
    }

    /// The row of a period, both days included.
    pub fn roi(&self, start: NaiveDate, end: NaiveDate) -> Roi {
        let eve = start.checked_sub_days(Days::new(1)).unwrap_or(start);
        let (value_begin, value_end) = (self.value(eve), self.value(end));
        let cashflow = self.net(Some(eve), end);
        let after = end.checked_add_days(Days::new(1)).unwrap_or(end);
        let mut flows = vec![Flow { day: start, amount: -&value_begin }];
        flows.extend(self.flows(Some(eve), end).map(|flow| Flow { day: flow.day, amount: -&flow.amount }));
        flows.push(Flow { day: after, amount: value_end.clone() });
        let growth = self.time_weighted(start, &value_begin, end);
        let days = float(&Decimal::from(after.signed_duration_since(start).num_days()));
        Roi {
            irr: xirr(&flows, DayCount::Actual36525),
            twr: growth.and_then(rate),
            twr_annual: growth.and_then(|growth| rate(growth.powf(YEAR / days))),
            pnl: &value_end - &value_begin - &cashflow,
            value_begin,
            cashflow,
            value_end,
        }
    }

    /// The growth factor of a period.
    fn time_weighted(&self, start: NaiveDate, begin: &Decimal, end: NaiveDate) -> Result<f64, Undefined> {
        let eve = start.checked_sub_days(Days::new(1)).unwrap_or(start);
        let mut opening = (start, begin + self.net(Some(eve), start));
        let within =
            self.valuations.iter().filter(|valuation| start <= valuation.day && valuation.day <= end);
        let mut cuts: Vec<(NaiveDate, Decimal)> =
            within.map(|valuation| (valuation.day, valuation.value.clone())).collect();
        if cuts.last().is_none_or(|(day, _)| *day != end) {
            cuts.push((end, self.value(end)));
        }
        let mut whole = None;
        for closing in cuts {
            if let Some(part) = self.part(&opening, &closing)? {
                whole = Some(whole.unwrap_or(1.0) * part);
            }
            opening = closing;
        }
        whole.ok_or(Undefined("nothing was invested in the period"))
    }

    /// Growth between two cuts; `None` while nothing is invested.
    fn part(
        &self,
        opening: &(NaiveDate, Decimal),
        closing: &(NaiveDate, Decimal),
    ) -> Result<Option<f64>, Undefined> {
        let inside: Vec<&Flow> =
            self.flows(Some(opening.0), closing.0).filter(|f| !f.amount.is_zero()).collect();
        if opening.1.is_zero() && inside.is_empty() {
            let nothing = closing.1.is_zero();
            return if nothing { Ok(None) } else { Err(Undefined("a gain on an opening value of zero")) };
        }
        // Flows of the closing day are in the closing value and had no time to grow.
        if inside.iter().all(|flow| flow.day == closing.0) && !opening.1.is_zero() {
            let late: Decimal = inside.iter().map(|flow| flow.amount.clone()).sum();
            return Ok(Some(float(&(&closing.1 - late)) / float(&opening.1)));
        }
        // Money is at work from the first flow on when there was none before.
        let from =
            if opening.1.is_zero() { inside.first().map_or(opening.0, |flow| flow.day) } else { opening.0 };
        let length = closing.0.signed_duration_since(from).num_days();
        if length == 0 {
            let paid: Decimal = inside.iter().map(|flow| flow.amount.clone()).sum();
            return if paid.is_zero() {
                Err(Undefined("a gain on an opening value of zero"))
            } else {
                Ok(Some(float(&closing.1) / float(&paid)))
            };
        }
        let length = float(&Decimal::from(length));
        let time =
            |day: NaiveDate| float(&Decimal::from(day.signed_duration_since(from).num_days())) / length;
        let mut dated = vec![(0.0, -&opening.1)];
        dated.extend(inside.iter().map(|flow| (time(flow.day), -&flow.amount)));
        dated.push((1.0, closing.1.clone()));
        growth(&dated).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn d(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    /// A day of January 2021.
    fn day(day: u32) -> NaiveDate {
        NaiveDate::from_ymd_opt(2021, 1, day).unwrap()
    }

    /// The return from the first of January to the twentieth, of flows and valuations by their days.
    fn twr(flows: &[(u32, &str)], valuations: &[(u32, &str)]) -> Ratio {
        let flows = flows.iter().map(|(on, amount)| Flow { day: day(*on), amount: d(amount) });
        let valuations = valuations.iter().map(|(on, value)| ValueAt { day: day(*on), value: d(value) });
        Investment::new(flows.collect(), valuations.collect()).roi(day(1), day(20)).twr
    }

    #[test]
    fn what_comes_after_the_last_valuation_is_invested_too() {
        // Nothing was there on the fifth; a hundred came on the tenth, and are a hundred at the end.
        assert_eq!(twr(&[(10, "100")], &[(5, "0")]), Ok(Decimal::ZERO));
        assert_eq!(twr(&[], &[(5, "0")]), Err(Undefined("nothing was invested in the period")));
    }

    #[test]
    fn what_comes_on_the_day_of_a_valuation_is_in_it_and_had_no_time_to_grow() {
        // 100 became 110, and 50 came beside them.
        assert_eq!(twr(&[(1, "100"), (20, "50")], &[(20, "160")]), Ok(d("0.1")));
        // A hundred that came on that day are 120 at its end.
        assert_eq!(twr(&[(20, "100")], &[(20, "120")]), Ok(d("0.2")));
        let nothing = Undefined("a gain on an opening value of zero");
        assert_eq!(twr(&[(20, "100"), (20, "-100")], &[(20, "20")]), Err(nothing));
        assert_eq!(twr(&[], &[(20, "20")]), Err(nothing));
    }

    #[test]
    fn a_part_with_flows_inside_grows_by_its_own_money() {
        // In the first ten days 100 become 110; then 100 more come, and by the same growth 210 become 231.
        let half = twr(&[(1, "100"), (10, "100"), (19, "-231")], &[(19, "0")]).unwrap();
        assert!((half - d("0.21")).abs() < d("0.000000000001"));
    }
}
