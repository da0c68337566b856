//! Candles made of ticks and of finer candles.
//!
//! Points come in order of time. A point belongs to the candle in which it lies whole: a tick by its moment, a candle
//! from its start to its end. A candle of the source that lies across the border of two (a day of UTC, when days of New
//! York are asked for) belongs to neither, and is counted as not fitting. What several series say about one candle is
//! never added up, for volume would count twice: one of them makes it, the first by priority of its source, then the
//! one with the longest interval, ticks last.

use crate::domain::decimal::Decimal;
use crate::domain::interval::Interval;
use crate::domain::moment::Moment;
use crate::domain::price::{Bar, Quote};
use chrono_tz::Tz;
use std::collections::BTreeMap;

/// How candles are made.
#[derive(Debug, Clone, Copy)]
pub struct Grid {
    /// Their length.
    pub interval: Interval,
    /// Whose days, weeks and clocks count.
    pub zone: Tz,
}

/// Who says what: of two, the lesser makes the candle.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Series {
    /// Place of the source in the order of preference; sources that are not in it come after those that are.
    pub rank: usize,
    /// Name of the source.
    pub source: String,
    /// Length of its candles, the longest first; `None` for ticks.
    pub made_of: std::cmp::Reverse<Option<Interval>>,
}

/// One candle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candle {
    /// Its first moment.
    pub start: Moment,
    /// The first moment after it.
    pub end: Moment,
    /// First price.
    pub open: Decimal,
    /// Highest price.
    pub high: Decimal,
    /// Lowest price.
    pub low: Decimal,
    /// Last price.
    pub close: Decimal,
    /// Units traded; `None` when one of its points does not say.
    pub volume: Option<Decimal>,
    /// Points it is made of.
    pub points: u64,
    /// Who says so.
    pub series: Series,
    /// Empty candles between the one before and this one.
    pub missing_before: u64,
}

#[derive(Debug)]
struct Building {
    open: Decimal,
    high: Decimal,
    low: Decimal,
    close: Decimal,
    volume: Option<Decimal>,
    points: u64,
}

impl Building {
    fn of(quote: Quote) -> Self {
        let (price, Bar { open, high, low, volume }) = quote.into_parts();
        let or_price = |value: Option<Decimal>| value.unwrap_or_else(|| price.clone());
        let open = or_price(open);
        let (high, low) = (or_price(high), or_price(low));
        Self { high: greater(high, &open), low: lesser(low, &open), open, close: price, volume, points: 1 }
    }

    fn add(&mut self, later: Self) {
        if later.high > self.high {
            self.high = later.high;
        }
        if later.low < self.low {
            self.low = later.low;
        }
        self.close = later.close;
        self.volume = self.volume.as_ref().zip(later.volume.as_ref()).map(|(volume, more)| volume + more);
        self.points += later.points;
    }
}

fn greater(a: Decimal, b: &Decimal) -> Decimal {
    if *b > a { b.clone() } else { a }
}

fn lesser(a: Decimal, b: &Decimal) -> Decimal {
    if *b < a { b.clone() } else { a }
}

/// Makes candles of points that come in order of time.
#[derive(Debug)]
pub struct Rollup {
    grid: Grid,
    /// The candle that is being made.
    current: Option<(Moment, Moment)>,
    series: BTreeMap<Series, Building>,
    /// End of the candle given last.
    given_to: Option<Moment>,
    not_fitting: u64,
}

impl Rollup {
    /// Nothing yet.
    pub const fn new(grid: Grid) -> Self {
        Self { grid, current: None, series: BTreeMap::new(), given_to: None, not_fitting: 0 }
    }

    /// Adds a point. Gives the candle that it is the first not to belong to, if there is one.
    pub fn add(&mut self, series: Series, observed_at: Moment, quote: Quote) -> Option<Candle> {
        let Grid { interval, zone } = self.grid;
        let mut done = None;
        if self.current.is_none_or(|(_, end)| observed_at >= end) {
            done = self.finish();
            let start = interval.start_of(observed_at, zone)?;
            self.current = Some((start, interval.next_start(start, zone)?));
        }
        let ends = match series.made_of.0 {
            Some(own) => own.end_of(observed_at, zone),
            None => Some(observed_at),
        };
        if ends.zip(self.current).is_none_or(|(ends, (_, end))| ends > end) {
            self.not_fitting += 1;
            return done;
        }
        let new = Building::of(quote);
        if let Some(building) = self.series.get_mut(&series) {
            building.add(new);
        } else {
            self.series.insert(series, new);
        }
        done
    }

    /// Gives the candle that is being made, if a point belongs to it.
    pub fn finish(&mut self) -> Option<Candle> {
        let (start, end) = self.current.take()?;
        let (series, built) = std::mem::take(&mut self.series).pop_first()?;
        let missing_before = self.given_to.map_or(0, |from| self.between(from, start));
        self.given_to = Some(end);
        let Building { open, high, low, close, volume, points } = built;
        Some(Candle { start, end, open, high, low, close, volume, points, series, missing_before })
    }

    /// Points that lay across the borders of candles, and so are in none.
    pub const fn not_fitting(&self) -> u64 {
        self.not_fitting
    }

    /// Candles from one start to a later one.
    fn between(&self, from: Moment, until: Moment) -> u64 {
        let Grid { interval, zone } = self.grid;
        // What is far away is counted by length: nobody walks through years of seconds.
        let (length, near) = (interval.shortest(), 10_000);
        if !interval.is_daily_or_longer() && until.0.saturating_sub(from.0) / length > near {
            return u64::try_from(until.0.saturating_sub(from.0) / length).unwrap_or(u64::MAX);
        }
        let mut count = 0;
        let mut at = from;
        while at < until
            && let Some(next) = interval.next_start(at, zone)
        {
            at = next;
            count += 1;
        }
        count
    }
}

#[cfg(test)]
mod tests;
