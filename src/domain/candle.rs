//! Candles made of ticks and of finer candles.
//!
//! Points come in order of time. A point belongs to the candle in which it lies whole: a tick by its moment, a candle
//! from its start to its end. A candle of the source that lies across the border of two (a day of UTC, when days of New
//! York are asked for) belongs to neither, and is counted as not fitting. What several series say about one candle is
//! never added up, for volume would count twice: one of them makes it, the first by priority of its source, then the
//! one with the longest interval, ticks last.

mod run;

pub use run::Run;

use crate::domain::decimal::Decimal;
use crate::domain::interval::Interval;
use crate::domain::moment::Moment;
use crate::domain::price::{Bar, Quote};
use crate::domain::price_block::{Columns, Decimals, Mantissas};
use chrono_tz::Tz;
use run::Taken;
use std::cmp::Reverse;
use std::ops::Range;
use std::sync::Arc;

/// How candles are made.
#[derive(Debug, Clone, Copy)]
pub struct Grid {
    /// Their length.
    pub interval: Interval,
    /// Whose days, weeks and clocks count.
    pub zone: Tz,
}

impl Grid {
    /// The candle a moment lies in: its first moment and the first one after it. `None` past the end of the calendar.
    fn candle_of(self, at: Moment) -> Option<(Moment, Moment)> {
        let start = self.interval.start_of(at, self.zone)?;
        Some((start, self.interval.next_start(start, self.zone)?))
    }
}

/// Who says what: of two, the lesser makes the candle.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Series {
    /// Place of the source in the order of preference; sources that are not in it come after those that are.
    pub rank: usize,
    /// Length of its candles, the longest first; `None` for ticks.
    pub made_of: Reverse<Option<Interval>>,
    /// Name of the source.
    pub source: Arc<str>,
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

    /// What some rows say together; `None` of no row.
    fn of_rows(columns: &Columns, rows: Range<usize>) -> Option<Self> {
        Self::of_mantissas(columns, &rows).or_else(|| {
            let mut each = rows.filter_map(|row| columns.quote(row)).map(Self::of);
            let first = each.next()?;
            Some(each.fold(first, |mut all, later| {
                all.add(later);
                all
            }))
        })
    }

    /// The same column by column, where each has one scale: then numbers of 64 bits tell it all.
    fn of_mantissas(columns: &Columns, rows: &Range<usize>) -> Option<Self> {
        let Columns { price, open, high, low, volume, .. } = columns;
        let price = price.mantissas(rows)?;
        let first = or_price(open, price, rows)?;
        let mut highest = or_price(high, price, rows)?.greatest()?;
        let mut lowest = or_price(low, price, rows)?.least()?;
        // Where neither is told, both are the price.
        if !(open.are_absent() && high.are_absent()) {
            highest = greater(highest, &first.greatest()?);
        }
        if !(open.are_absent() && low.are_absent()) {
            lowest = lesser(lowest, &first.least()?);
        }
        Some(Self {
            open: first.first()?,
            high: highest,
            low: lowest,
            close: price.last()?,
            volume: if volume.are_absent() { None } else { Some(volume.mantissas(rows)?.sum()) },
            points: u64::try_from(rows.len()).unwrap_or(u64::MAX),
        })
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

/// The numbers of some rows of a column; where no row has one, prices.
fn or_price<'a>(column: &'a Decimals, price: Mantissas<'a>, rows: &Range<usize>) -> Option<Mantissas<'a>> {
    if column.are_absent() { Some(price) } else { column.mantissas(rows) }
}

fn greater(a: Decimal, b: &Decimal) -> Decimal {
    if *b > a { b.clone() } else { a }
}

fn lesser(a: Decimal, b: &Decimal) -> Decimal {
    if *b < a { b.clone() } else { a }
}

/// Makes candles of points that come stretch by stretch, in order of time.
#[derive(Debug)]
pub struct Rollup {
    grid: Grid,
    /// The candle that is being made.
    current: Option<(Moment, Moment)>,
    /// What each series says of it.
    series: Vec<(Series, Building)>,
    /// End of the candle given last.
    given_to: Option<Moment>,
    not_fitting: u64,
}

impl Rollup {
    /// Nothing yet.
    pub const fn new(grid: Grid) -> Self {
        Self { grid, current: None, series: Vec::new(), given_to: None, not_fitting: 0 }
    }

    /// The same, after a candle that ended at `end`.
    pub const fn after(grid: Grid, end: Moment) -> Self {
        Self { grid, current: None, series: Vec::new(), given_to: Some(end), not_fitting: 0 }
    }

    /// Takes up points, until one does not belong to the candle that is being made: then that candle is done. `None`
    /// when all are taken up. The runs hold everything of a stretch of time that comes after what was taken up before.
    pub fn next(&mut self, runs: &mut [(Series, Run)]) -> Option<Candle> {
        loop {
            let first = runs.iter().filter_map(|(_, run)| run.first()).min()?;
            if self.current.is_none_or(|(_, end)| first >= end) {
                let done = self.finish();
                self.current = self.grid.candle_of(first);
                if done.is_some() {
                    return done;
                }
            }
            // What lies past the end of the calendar is in no candle, each moment for itself.
            let last = self.current.map_or(first, |(_, end)| end.plus(-1));
            for (series, run) in &mut *runs {
                while let Some(taken) = run.take(last) {
                    self.add(series, taken);
                }
            }
        }
    }

    /// Adds points that begin in the candle that is being made.
    fn add(&mut self, series: &Series, taken: Taken<'_>) {
        match taken {
            Taken::Point(point) if self.fits(series, point.observed_at) => {
                self.put(series, Some(Building::of(point.quote)));
            }
            Taken::Point(_) => self.not_fitting += 1,
            Taken::Rows(columns, rows) => {
                let mut from = rows.start;
                if self.current.is_none() || series.made_of.0.is_some() {
                    for (row, at) in rows.clone().zip(columns.moments.get(rows.clone()).unwrap_or_default()) {
                        if !self.fits(series, Moment(*at)) {
                            self.not_fitting += 1;
                            self.put(series, Building::of_rows(columns, from..row));
                            from = row + 1;
                        }
                    }
                }
                self.put(series, Building::of_rows(columns, from..rows.end));
            }
        }
    }

    /// Whether a point that begins in the candle that is being made also ends in it.
    fn fits(&self, series: &Series, at: Moment) -> bool {
        let Some((_, end)) = self.current else { return false };
        series.made_of.0.is_none_or(|own| own.end_of(at, self.grid.zone).is_some_and(|ends| ends <= end))
    }

    fn put(&mut self, series: &Series, new: Option<Building>) {
        let Some(new) = new else { return };
        match self.series.iter_mut().find(|(known, _)| known == series) {
            Some((_, building)) => building.add(new),
            None => self.series.push((series.clone(), new)),
        }
    }

    /// Gives the candle that is being made, if a point belongs to it.
    pub fn finish(&mut self) -> Option<Candle> {
        let (start, end) = self.current.take()?;
        let (series, built) = self.series.drain(..).min_by(|(a, _), (b, _)| a.cmp(b))?;
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
