//! What venues say, in one form: candles, trades and the rest of a conversation.

use crate::domain::decimal::Decimal;
use crate::domain::moment::Moment;
use crate::domain::price::{Bar, Quote};
use crate::workers::feeds::tape::Trade;
use crate::workers::feeds::tokens::{self, Malformed};
use serde_json::value::RawValue;

/// A candle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candle {
    /// Its start, as the venue stamps it.
    pub(super) start: Moment,
    /// What it says.
    pub(super) quote: Quote,
}

/// What a frame says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// A trade of the symbol.
    Trade(String, Trade),
    /// The last price and size of the symbol, of a venue that does not say when.
    Last(String, Decimal, Decimal),
    /// A candle of the symbol that will not change.
    Finished(String, Candle),
    /// A candle of the symbol that goes on, of a venue that says so.
    Unfinished,
    /// A candle of the symbol as it stands, of a venue that does not say when it is finished: it is, when a later one
    /// begins.
    Running(String, Candle),
    /// A price of the symbol with its time.
    Point(String, Candle),
    /// A subscription is confirmed.
    Subscribed,
    /// The venue refuses something.
    Refused(String),
    /// The venue is about to close the connection.
    Ending,
    /// Nothing of interest, but a sign of life.
    Alive,
}

/// Open, high, low, close and volume of a row, at these places.
pub(super) fn quote_at(row: &[&RawValue], places: [usize; 5]) -> Result<Quote, Malformed> {
    let [open, high, low, close, volume] = places;
    let part = |field: &str, place: usize| tokens::decimal(field, cell(row, field, place)?);
    let bar = Bar {
        open: Some(part("open", open)?),
        high: Some(part("high", high)?),
        low: Some(part("low", low)?),
        volume: Some(part("volume", volume)?),
    };
    Ok(Quote::new(part("close", close)?, bar))
}

/// The cell of a row.
pub(super) fn cell<'a>(row: &[&'a RawValue], field: &str, place: usize) -> Result<&'a RawValue, Malformed> {
    row.get(place)
        .copied()
        .ok_or_else(|| Malformed(format!("a row of {} cells has no {field} at {place}", row.len())))
}

/// A whole number in a cell.
pub(super) fn whole(field: &str, raw: &RawValue) -> Result<i64, Malformed> {
    let text = tokens::bare(raw);
    text.parse().map_err(|_| Malformed(format!("{field} `{text}` is no whole number")))
}
