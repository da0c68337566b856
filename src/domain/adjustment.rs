//! Prices in the units of a later day, and less the dividends paid since.
//!
//! A recorded price never changes; an adjusted one is computed when somebody asks. A split divides the prices before
//! it by its ratio. A dividend of `d` lowers the prices before it by the factor `1 - d / c`, where `c` is the last
//! close before it (the method of the CRSP total return series). Factors are multiplied as fractions and divided
//! once, last.

use crate::domain::decimal::Decimal;
use crate::domain::interval::Interval;
use crate::domain::moment::{DAY, Moment};
use crate::domain::pnl::book::SplitEvent;
use crate::named_enum;
use chrono_tz::Tz;

named_enum! {
    /// What a price series is adjusted for.
    Adjusted {
        /// Nothing: prices as they were recorded.
        None = "none",
        /// Splits.
        Splits = "splits",
        /// Splits and dividends.
        All = "all",
    }
}

/// When a price was observed: its moment and the length of its candle, empty for a tick.
#[derive(Debug, Clone, Copy)]
pub struct Observed<'a> {
    /// The source's own stamp.
    pub at: Moment,
    /// Candle length.
    pub interval: &'a str,
}

impl Observed<'_> {
    /// Whether it came before something that took effect at `at`, given as a day or as a moment. A point of a day or
    /// longer is compared by date: its UTC date if it is stamped 00:00Z, else its date in the market's zone.
    pub fn precedes(self, at: Moment, whole_day: bool, market: Tz) -> bool {
        if !Interval::from_name(self.interval).is_some_and(Interval::is_daily_or_longer) {
            return self.at < at;
        }
        let zone = if self.at.0.rem_euclid(DAY) == 0 { Tz::UTC } else { market };
        let day = if whole_day { at.day_begun_in(market) } else { at.day_in(market) };
        match (self.at.day_in(zone), day) {
            (Some(own), Some(day)) => own < day,
            _ => self.at < at,
        }
    }
}

/// What a price is multiplied by, as a fraction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Factor {
    /// Multiplied first.
    pub numerator: Decimal,
    /// Divided by, last.
    pub denominator: Decimal,
}

impl Factor {
    /// The factor that changes nothing.
    pub const fn one() -> Self {
        Self { numerator: Decimal::ONE, denominator: Decimal::ONE }
    }

    /// This factor and another.
    #[must_use]
    pub fn times(&self, numerator: &Decimal, denominator: &Decimal) -> Self {
        Self { numerator: &self.numerator * numerator, denominator: &self.denominator * denominator }
    }

    /// `price` times the factor; the division is the only rounding.
    pub fn of(&self, price: &Decimal) -> Decimal {
        price.share(&self.numerator, &self.denominator)
    }

    /// `volume` divided by the factor.
    pub fn inverse_of(&self, volume: &Decimal) -> Decimal {
        volume.share(&self.denominator, &self.numerator)
    }
}

/// Old units for new over every split that a price came before.
pub fn split_factor(seen: Observed<'_>, splits: &[SplitEvent], market: Tz) -> Factor {
    let later = splits.iter().filter(|split| seen.precedes(split.at, split.whole_day, market));
    later.fold(Factor::one(), |factor, split| factor.times(&split.denominator, &split.numerator))
}

/// A dividend, with the last close before it.
#[derive(Debug, Clone)]
pub struct DividendEvent {
    /// The moment before which the units must be held.
    pub at: Moment,
    /// Whether it was given as a day.
    pub whole_day: bool,
    /// What prices before it are multiplied by.
    pub factor: Factor,
}

/// Everything a series of prices is adjusted for.
#[derive(Debug, Clone, Default)]
pub struct Events {
    /// Splits, in order.
    pub splits: Vec<SplitEvent>,
    /// Dividends.
    pub dividends: Vec<DividendEvent>,
}

impl Events {
    /// The factor of prices observed then: for all that came after, and for its splits alone. `split_adjusted` says that
    /// the source has taken the splits out itself.
    pub fn factors(&self, seen: Observed<'_>, split_adjusted: bool, market: Tz) -> (Factor, Factor) {
        let splits = if split_adjusted { Factor::one() } else { split_factor(seen, &self.splits, market) };
        let later = self.dividends.iter().filter(|paid| seen.precedes(paid.at, paid.whole_day, market));
        let all = later.fold(splits.clone(), |factor, paid| {
            factor.times(&paid.factor.numerator, &paid.factor.denominator)
        });
        (all, splits)
    }
}

/// A dividend for one unit, and the close it is held against.
#[derive(Debug, Clone, Copy)]
pub struct ExDividend<'a> {
    /// The moment before which the units must be held.
    pub at: Moment,
    /// Its amount in the currency of the price, as a fraction.
    pub paid: (&'a Decimal, &'a Decimal),
    /// The last close before it.
    pub close: &'a Decimal,
    /// When that was observed.
    pub seen: Observed<'a>,
    /// Whether its source takes splits out itself.
    pub split_adjusted: bool,
}

/// The factor `1 - d / c` of a dividend, `c` brought to the units of the dividend. `None` when that is not above zero:
/// the dividend is as large as the close, and no earlier price can be less it.
pub fn dividend_factor(of: ExDividend<'_>, splits: &[SplitEvent], market: Tz) -> Option<Factor> {
    let mut units = Factor::one();
    for split in splits {
        let before = split.at < of.at;
        if of.split_adjusted && !before {
            // The source has divided the close by a split that comes after the dividend.
            units = units.times(&split.numerator, &split.denominator);
        } else if !of.split_adjusted && before && of.seen.precedes(split.at, split.whole_day, market) {
            units = units.times(&split.denominator, &split.numerator);
        }
    }
    let (paid, per) = of.paid;
    let denominator = of.close * &units.numerator * per;
    let numerator = &denominator - &(paid * &units.denominator);
    (numerator.is_positive() && denominator.is_positive()).then_some(Factor { numerator, denominator })
}

#[cfg(test)]
mod tests;
