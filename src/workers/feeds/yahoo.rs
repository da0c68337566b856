//! Yahoo's chart: unofficial, off unless somebody switches it on. Prices are floats of 32 bits written as floats of 64,
//! so they are rounded half-even to the decimals that the answer itself names (`priceHint`); rows without a close are
//! left out. They come adjusted for splits, and the source is marked so.

use crate::domain::decimal::Decimal;
use crate::domain::price::{Bar, Quote};
use crate::storage::feeds::Cursor;
use crate::workers::feeds::definition::Pair;
use crate::workers::feeds::failure::FeedError;
use crate::workers::feeds::session::Session;
use crate::workers::feeds::tokens::{self, Malformed};
use crate::workers::feeds::wire::Candle;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Decimals of prices where the answer names none.
const HINT: usize = 2;
/// Most decimals that are believed.
const HINT_MAX: usize = 10;

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    chart: Chart<'a>,
}

#[derive(Deserialize)]
struct Chart<'a> {
    #[serde(borrow)]
    result: Option<Vec<Found<'a>>>,
    error: Option<Said>,
}

#[derive(Deserialize)]
struct Said {
    code: String,
    description: Option<String>,
}

#[derive(Deserialize)]
struct Found<'a> {
    meta: Meta,
    timestamp: Option<Vec<i64>>,
    #[serde(borrow)]
    indicators: Indicators<'a>,
}

#[derive(Deserialize)]
struct Meta {
    #[serde(rename = "priceHint")]
    price_hint: Option<usize>,
}

#[derive(Deserialize)]
struct Indicators<'a> {
    #[serde(borrow)]
    quote: Vec<Columns<'a>>,
}

/// One value a moment, `null` where there is none.
type Column<'a> = Vec<Option<&'a RawValue>>;

#[derive(Deserialize, Default)]
#[serde(default)]
struct Columns<'a> {
    #[serde(borrow)]
    open: Column<'a>,
    #[serde(borrow)]
    high: Column<'a>,
    #[serde(borrow)]
    low: Column<'a>,
    #[serde(borrow)]
    close: Column<'a>,
    #[serde(borrow)]
    volume: Column<'a>,
}

/// The candles of a chart, and how many of its rows have no close.
///
/// # Errors
/// [`FeedError`], also for an error that came with status 200.
pub(super) fn chart(body: &[u8]) -> Result<(Vec<Candle>, usize), FeedError> {
    let Answer { chart } = serde_json::from_slice(body).map_err(Malformed::from)?;
    if let Some(Said { code, description }) = chart.error {
        return Err(FeedError::refused(format!("{code}: {}", description.unwrap_or_default())));
    }
    let Some(found) = chart.result.into_iter().flatten().next() else {
        return Err(Malformed("a chart without a result".to_owned()).into());
    };
    let places = found.meta.price_hint.unwrap_or(HINT).min(HINT_MAX);
    let times = found.timestamp.unwrap_or_default();
    let columns = found.indicators.quote.into_iter().next().unwrap_or_default();
    let price = |field: &str, column: &Column<'_>, row: usize| -> Result<Option<Decimal>, Malformed> {
        let token = column.get(row).copied().flatten();
        token.map(|token| tokens::rounded(field, tokens::bare(token), places)).transpose()
    };
    let mut candles = Vec::with_capacity(times.len());
    for (row, seconds) in times.iter().enumerate() {
        let Some(close) = price("close", &columns.close, row)? else { continue };
        let volume = columns.volume.get(row).copied().flatten();
        let bar = Bar {
            open: price("open", &columns.open, row)?,
            high: price("high", &columns.high, row)?,
            low: price("low", &columns.low, row)?,
            volume: volume.map(|token| tokens::decimal("volume", token)).transpose()?,
        };
        candles.push(Candle {
            start: tokens::seconds("timestamp", &seconds.to_string())?,
            quote: Quote::new(close, bar),
        });
    }
    let without = times.len() - candles.len();
    Ok((candles, without))
}

/// Asks for what one symbol did since.
///
/// # Errors
/// [`FeedError`].
pub(super) async fn fetch(session: &mut Session<'_>, pair: &Pair, since: Cursor) -> Result<(), FeedError> {
    let interval = session.definition().interval.map_or("1d", interval_name);
    let seconds = |micros: i64| micros.div_euclid(1_000_000).max(0).to_string();
    let (from, until) = (seconds(since.observed_at.0), seconds(session.now().0));
    let query = [
        ("period1", from.as_str()),
        ("period2", until.as_str()),
        ("interval", interval),
        ("includePrePost", "false"),
    ];
    let body = session.get(&format!("/v8/finance/chart/{}", pair.venue), &query).await?;
    let (candles, without) = chart(&body)?;
    session.missing(u64::try_from(without).unwrap_or_default());
    session.candles(pair, candles);
    session.store().await
}

/// What Yahoo calls an interval.
fn interval_name(interval: crate::domain::interval::Interval) -> &'static str {
    match interval.name() {
        "1w" => "1wk",
        "1M" => "1mo",
        name => name,
    }
}

#[cfg(test)]
mod tests;
