//! Kraken spot: REST and version 2 of the WebSocket. Numbers of version 2 are JSON numbers, not texts; answers with
//! status 200 may be errors; the pair of an answer has another name than the one that was asked for.
//!
//! A candle of the WebSocket is told again with every trade and never called finished: it is when a later one begins. The
//! last row of REST is the running one.

use crate::domain::moment::Moment;
use crate::domain::price::{Bar, Quote};
use crate::workers::feeds::definition::{Channel, Definition, Kind, Pair};
use crate::workers::feeds::failure::FeedError;
use crate::workers::feeds::session::{Cursor, Session};
use crate::workers::feeds::tape::Trade;
use crate::workers::feeds::tokens::{self, Malformed};
use crate::workers::feeds::wire::{self, Candle, Event};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Trades of a page.
const PAGE: usize = 1_000;
/// What keeps the connection alive.
pub(super) const PING: &str = "{\"method\":\"ping\"}";

/// What is said first.
pub(super) fn subscribe(definition: &Definition) -> String {
    let symbols: Vec<&str> = definition.symbols.iter().map(|pair| pair.venue.as_str()).collect();
    let params = if definition.channel == Channel::Candles {
        json!({ "channel": "ohlc", "symbol": symbols, "interval": minutes(definition), "snapshot": true })
    } else {
        json!({ "channel": "trade", "symbol": symbols, "snapshot": false })
    };
    json!({ "method": "subscribe", "params": params, "req_id": 1 }).to_string()
}

fn minutes(definition: &Definition) -> i64 {
    definition.interval.map_or(1, |interval| interval.shortest().div_euclid(60_000_000))
}

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow)]
    channel: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    success: Option<bool>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct TradeRow<'a> {
    symbol: String,
    trade_id: u64,
    #[serde(borrow)]
    price: &'a RawValue,
    #[serde(borrow)]
    qty: &'a RawValue,
    timestamp: Cow<'a, str>,
}

#[derive(Deserialize)]
struct CandleRow<'a> {
    symbol: String,
    interval: i64,
    interval_begin: Cow<'a, str>,
    #[serde(borrow)]
    open: &'a RawValue,
    #[serde(borrow)]
    high: &'a RawValue,
    #[serde(borrow)]
    low: &'a RawValue,
    #[serde(borrow)]
    close: &'a RawValue,
    #[serde(borrow)]
    volume: &'a RawValue,
}

/// What a frame says.
///
/// # Errors
/// [`Malformed`].
pub(super) fn read(text: &str, definition: &Definition) -> Result<Vec<Event>, Malformed> {
    let frame: Frame<'_> = serde_json::from_str(text)?;
    if frame.success == Some(false) || (frame.error.is_some() && frame.success.is_none()) {
        return Ok(vec![Event::Refused(frame.error.unwrap_or_default())]);
    }
    if frame.method.as_deref() == Some("subscribe") {
        return Ok(vec![Event::Subscribed]);
    }
    match (frame.channel.as_deref(), frame.data, definition.channel) {
        (Some("trade"), Some(data), Channel::Trades) => trade_rows(data),
        (Some("ohlc"), Some(data), Channel::Candles) => candle_rows(data, minutes(definition)),
        _ => Ok(vec![Event::Alive]),
    }
}

fn trade_rows(data: &RawValue) -> Result<Vec<Event>, Malformed> {
    let rows: Vec<TradeRow<'_>> = serde_json::from_str(data.get())?;
    let event = |row: TradeRow<'_>| {
        let (price, size) = (tokens::decimal("price", row.price)?, tokens::decimal("qty", row.qty)?);
        let at = tokens::rfc3339("timestamp", &row.timestamp)?;
        Ok(Event::Trade(row.symbol, Trade { number: Some(row.trade_id), at, price, size: Some(size) }))
    };
    rows.into_iter().map(event).collect()
}

fn candle_rows(data: &RawValue, minutes: i64) -> Result<Vec<Event>, Malformed> {
    let rows: Vec<CandleRow<'_>> = serde_json::from_str(data.get())?;
    let event = |row: CandleRow<'_>| {
        let bar = Bar {
            open: Some(tokens::decimal("open", row.open)?),
            high: Some(tokens::decimal("high", row.high)?),
            low: Some(tokens::decimal("low", row.low)?),
            volume: Some(tokens::decimal("volume", row.volume)?),
        };
        let quote = Quote::new(tokens::decimal("close", row.close)?, bar);
        let start = tokens::rfc3339("interval_begin", &row.interval_begin)?;
        Ok(Event::Running(row.symbol, Candle { start, quote }))
    };
    rows.into_iter().filter(|row| row.interval == minutes).map(event).collect()
}

#[derive(Deserialize)]
struct Answer<'a> {
    error: Vec<String>,
    #[serde(borrow)]
    result: Option<BTreeMap<Cow<'a, str>, &'a RawValue>>,
}

/// The rows of an answer, whatever its pair is called, and where the next page begins.
fn rows(body: &[u8]) -> Result<(Vec<Vec<&RawValue>>, String), FeedError> {
    let answer: Answer<'_> = serde_json::from_slice(body).map_err(Malformed::from)?;
    if !answer.error.is_empty() {
        return Err(FeedError::refused(answer.error.join(", ")));
    }
    let result = answer.result.unwrap_or_default();
    let last = result.get("last").map(|last| tokens::bare(last).to_owned()).unwrap_or_default();
    let mut pairs = result.into_iter().filter(|(name, _)| name != "last");
    let (Some((_, rows)), None) = (pairs.next(), pairs.next()) else {
        return Err(Malformed("an answer without exactly one pair".to_owned()).into());
    };
    Ok((serde_json::from_str(rows.get()).map_err(Malformed::from)?, last))
}

/// The finished rows of `/0/public/OHLC`: all but the last.
///
/// # Errors
/// [`FeedError`], also for an error that came with status 200.
pub(super) fn candles(body: &[u8]) -> Result<Vec<Candle>, FeedError> {
    let (mut rows, _) = rows(body)?;
    rows.pop();
    let candle = |row: Vec<&RawValue>| {
        let start = tokens::seconds("time", tokens::bare(wire::cell(&row, "time", 0)?))?;
        Ok(Candle { start, quote: wire::quote_at(&row, [1, 2, 3, 4, 6])? })
    };
    rows.into_iter().map(candle).collect::<Result<_, Malformed>>().map_err(FeedError::from)
}

/// The rows of `/0/public/Trades`, and where the next page begins.
///
/// # Errors
/// [`FeedError`], also for an error that came with status 200.
pub(super) fn trades(body: &[u8]) -> Result<(Vec<Trade>, String), FeedError> {
    let (rows, last) = rows(body)?;
    let trade = |row: Vec<&RawValue>| {
        let price = tokens::decimal("price", wire::cell(&row, "price", 0)?)?;
        let size = tokens::decimal("volume", wire::cell(&row, "volume", 1)?)?;
        let at = tokens::seconds("time", tokens::bare(wire::cell(&row, "time", 2)?))?;
        let number = wire::whole("trade_id", wire::cell(&row, "trade_id", 6)?)?;
        let number = u64::try_from(number).map_err(|_| Malformed("trade_id is negative".to_owned()))?;
        Ok(Trade { number: Some(number), at, price, size: Some(size) })
    };
    Ok((rows.into_iter().map(trade).collect::<Result<_, Malformed>>()?, last))
}

/// The pair as REST takes it: `BTC/USD` and `XBT/USD` are `XBTUSD`.
fn rest_pair(venue: &str) -> String {
    let Some((base, quote)) = venue.split_once('/') else { return venue.to_owned() };
    let old = |code: &str| match code {
        "BTC" => "XBT".to_owned(),
        "DOGE" => "XDG".to_owned(),
        _ => code.to_owned(),
    };
    old(base) + &old(quote)
}

/// Asks for what one pair did since. REST has 720 candles and no more; older history is not to be had there.
///
/// # Errors
/// [`FeedError`].
pub(super) async fn fetch(session: &mut Session<'_>, pair: &Pair, since: Cursor) -> Result<(), FeedError> {
    let name = rest_pair(&pair.venue);
    if session.definition().channel == Channel::Candles {
        let length = minutes(session.definition()).to_string();
        // Rows after `since` are given: the candle before is asked for, so that its own is among them.
        let from = (since.observed_at.0.div_euclid(1_000_000) - 1).to_string();
        let query = [("pair", name.as_str()), ("interval", &length), ("since", &from)];
        let body = session.get("/0/public/OHLC", &query).await?;
        let candles = candles(&body)?;
        session.candles(pair, candles);
        return session.store().await;
    }
    let mut from = nanoseconds(since.observed_at.plus(-1));
    loop {
        let query = [("pair", name.as_str()), ("since", from.as_str())];
        let (mut rows, last) = trades(&session.get("/0/public/Trades", &query).await?)?;
        let count = rows.len();
        if session.definition().kind == Kind::KrakenV1 {
            // What is listened to has no numbers, and must be known again.
            for trade in &mut rows {
                trade.number = None;
            }
        }
        session.fetched_trades(pair, rows);
        session.store().await?;
        if count < PAGE || last == from || last.is_empty() {
            return Ok(());
        }
        from = last;
    }
}

fn nanoseconds(at: Moment) -> String {
    format!("{}000", at.0.max(0))
}

#[cfg(test)]
mod tests;
