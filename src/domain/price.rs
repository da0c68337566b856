//! Price points and their versions: nothing is overwritten, a correction is a newer version of a point.

use crate::domain::decimal::Decimal;
use crate::domain::ids::AssetKey;
use crate::domain::moment::{DAY, Moment};
use crate::named_enum;

/// How far ahead of the clock a fact may be dated.
pub const FUTURE_MAX: i64 = DAY;
/// Source of a price that names none.
pub const DEFAULT_SOURCE: &str = "api";

named_enum! {
    /// What became of a point that was sent in.
    Outcome {
        /// A point not seen before.
        Stored = "stored",
        /// Equal in every field to the current version: nothing changed.
        Duplicate = "duplicate",
        /// A newer version of a point.
        Corrected = "corrected",
    }
}

/// What a source says about one moment: a price, and of a candle, or a trade, what else it tells.
///
/// Most are ticks and by the million, so what only candles have is kept apart and costs them one word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    /// The price; of a candle, its close.
    pub price: Decimal,
    /// Never there with nothing in it, so that equal quotes are alike.
    bar: Option<Box<Bar>>,
}

/// What a candle tells beside its close.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bar {
    /// First price of the candle.
    pub open: Option<Decimal>,
    /// Highest price of the candle.
    pub high: Option<Decimal>,
    /// Lowest price of the candle.
    pub low: Option<Decimal>,
    /// Units traded.
    pub volume: Option<Decimal>,
}

impl Bar {
    /// Nothing.
    const EMPTY: Self = Self { open: None, high: None, low: None, volume: None };

    const fn is_empty(&self) -> bool {
        matches!(self, Self { open: None, high: None, low: None, volume: None })
    }
}

/// Why a quote is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidQuote {
    /// Below zero for an asset that does not allow it.
    #[error("is below zero, which this asset does not allow")]
    Negative {
        /// Which of the fields.
        field: &'static str,
    },
    /// High below low, or open or close outside them.
    #[error("is not between low and high")]
    OutsideRange {
        /// Which of the fields.
        field: &'static str,
    },
}

impl Quote {
    /// A price with what else is told.
    pub fn new(price: Decimal, bar: Bar) -> Self {
        Self { price, bar: (!bar.is_empty()).then(|| Box::new(bar)) }
    }

    /// A single price without a candle around it.
    pub const fn tick(price: Decimal) -> Self {
        Self { price, bar: None }
    }

    /// What is told beside the price; of a tick, nothing.
    pub fn bar(&self) -> &Bar {
        self.bar.as_deref().unwrap_or(const { &Bar::EMPTY })
    }

    /// The price and what else is told.
    pub fn into_parts(self) -> (Decimal, Bar) {
        (self.price, self.bar.map(|bar| *bar).unwrap_or_default())
    }

    /// Whether there is nothing beside the price.
    pub const fn is_tick(&self) -> bool {
        self.bar.is_none()
    }

    /// Whether it breaks no rule, whatever its asset allows: nearly all are a price that is not below zero and no more.
    pub fn is_always_valid(&self) -> bool {
        self.is_tick() && !self.price.is_negative()
    }

    /// Checks signs, and that open and close lie between low and high.
    ///
    /// # Errors
    /// [`InvalidQuote`] names the field and the rule it breaks.
    pub fn check(&self, allows_negative: bool) -> Result<(), InvalidQuote> {
        let Bar { open, high, low, volume } = self.bar();
        let prices = [
            ("price", Some(&self.price)),
            ("open", open.as_ref()),
            ("high", high.as_ref()),
            ("low", low.as_ref()),
        ];
        for (field, value) in prices {
            if !allows_negative && value.is_some_and(Decimal::is_negative) {
                return Err(InvalidQuote::Negative { field });
            }
            if value.is_some_and(|v| high.as_ref().is_some_and(|high| v > high))
                || value.is_some_and(|v| low.as_ref().is_some_and(|low| v < low))
            {
                return Err(InvalidQuote::OutsideRange { field });
            }
        }
        if volume.as_ref().is_some_and(Decimal::is_negative) {
            return Err(InvalidQuote::Negative { field: "volume" });
        }
        Ok(())
    }
}

/// One version of one price point, as it is stored.
#[derive(Debug, Clone)]
pub struct PricePoint {
    /// Asset it prices.
    pub asset: AssetKey,
    /// Name of the source.
    pub source: String,
    /// Candle length; empty for a tick.
    pub interval: String,
    /// The source's own stamp.
    pub observed_at: Moment,
    /// When this version was learned.
    pub recorded_at: Moment,
    /// Whether its source adjusts prices for splits itself.
    pub split_adjusted: bool,
    /// What it says.
    pub quote: Quote,
}

/// The price that values an asset, with where it comes from.
#[derive(Debug, Clone)]
pub struct Mark {
    /// Price per unit, as quoted.
    pub price: Decimal,
    /// When it was observed.
    pub observed_at: Moment,
    /// When it was learned.
    pub recorded_at: Moment,
    /// Who said so.
    pub source: String,
    /// Candle length; empty for a tick.
    pub interval: String,
    /// Whether its source adjusts prices for splits itself: then it is of today's units already.
    pub split_adjusted: bool,
}

impl From<PricePoint> for Mark {
    fn from(point: PricePoint) -> Self {
        Self {
            price: point.quote.price,
            observed_at: point.observed_at,
            recorded_at: point.recorded_at,
            source: point.source,
            interval: point.interval,
            split_adjusted: point.split_adjusted,
        }
    }
}

/// The price that values an asset from one of several moments on, until the next one it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// Which of the moments: the first at which it is the newest price.
    pub slot: usize,
    /// When it was observed.
    pub observed_at: Moment,
    /// Price per unit, as quoted.
    pub price: Decimal,
    /// Whether it stands for a whole day or longer.
    pub daily: bool,
    /// Whether its source takes splits out itself.
    pub split_adjusted: bool,
}

impl From<&Close> for Mark {
    /// The same price; where it comes from and when it was learned is not kept.
    fn from(close: &Close) -> Self {
        Self {
            price: close.price.clone(),
            observed_at: close.observed_at,
            recorded_at: close.observed_at,
            source: String::new(),
            interval: if close.daily { "1d".to_owned() } else { String::new() },
            split_adjusted: close.split_adjusted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn d(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    /// Price, open, high, low and volume; empty where not told.
    fn quote(numbers: [&str; 5]) -> Quote {
        let [price, open, high, low, volume] = numbers.map(|text| (!text.is_empty()).then(|| d(text)));
        Quote::new(price.unwrap(), Bar { open, high, low, volume })
    }

    #[test]
    fn a_quote_of_nothing_but_a_price_is_a_tick() {
        assert!(quote(["5", "", "", "", ""]).is_tick());
        assert_eq!(quote(["5", "", "", "", ""]), Quote::tick(d("5")));
        for place in 1..5 {
            let mut numbers = ["5", "", "", "", ""];
            numbers[place] = "5";
            let told = quote(numbers);
            assert!(!told.is_tick() && !told.is_always_valid(), "{numbers:?}");
        }
        assert!(Quote::tick(d("0")).is_always_valid() && !Quote::tick(d("-0.1")).is_always_valid());
    }

    #[test]
    fn prices_lie_between_low_and_high_their_ends_included() {
        for numbers in [
            ["5", "6", "6", "5", "0"],
            ["5", "5", "5", "5", ""],
            ["5", "", "5", "", ""],
            ["5", "", "", "5", ""],
        ] {
            assert_eq!(quote(numbers).check(false), Ok(()), "{numbers:?}");
        }
        for (numbers, field) in [
            (["7", "", "6", "", ""], "price"),
            (["4", "", "", "5", ""], "price"),
            (["5", "7", "6", "5", ""], "open"),
            (["5", "4", "6", "5", ""], "open"),
            (["5", "5", "4", "", ""], "price"),
        ] {
            assert_eq!(quote(numbers).check(true), Err(InvalidQuote::OutsideRange { field }), "{numbers:?}");
        }
    }

    #[test]
    fn prices_are_below_zero_only_where_the_asset_allows_it_and_volumes_never() {
        let low = quote(["-2", "-1", "-1", "-3", "4"]);
        assert_eq!(low.check(true), Ok(()));
        assert_eq!(low.check(false), Err(InvalidQuote::Negative { field: "price" }));
        assert_eq!(
            quote(["2", "2", "2", "-3", ""]).check(false),
            Err(InvalidQuote::Negative { field: "low" })
        );
        for allows_negative in [true, false] {
            let refused = quote(["2", "", "", "", "-1"]).check(allows_negative);
            assert_eq!(refused, Err(InvalidQuote::Negative { field: "volume" }));
        }
    }
}
