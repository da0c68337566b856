//! Binance spot. Candles come as open, high, low, close; a candle of the WebSocket says itself whether it is finished.
//!
//! Trades are numbered per symbol without gaps, gathered trades (`aggTrade`) by numbers of their own. Times are whole
//! milliseconds, which many trades share.

use crate::domain::interval::Interval;
use crate::domain::moment::Moment;
use crate::domain::price::{Bar, Quote};
use crate::workers::feeds::definition::{Channel, Definition, Pair};
use crate::workers::feeds::failure::FeedError;
use crate::workers::feeds::session::{Cursor, Session};
use crate::workers::feeds::tape::Trade;
use crate::workers::feeds::tokens::{self, Malformed};
use crate::workers::feeds::wire::{self, Candle, Event};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Rows of a page.
const PAGE: usize = 1_000;

/// Path and query of the connection: what is subscribed to stands in it.
pub(super) fn stream(definition: &Definition) -> String {
    let name = |pair: &Pair| {
        let symbol = pair.venue.to_lowercase();
        match (definition.channel, definition.interval) {
            (Channel::AggTrades, _) => format!("{symbol}@aggTrade"),
            (Channel::Candles, Some(interval)) => format!("{symbol}@kline_{interval}"),
            _ => format!("{symbol}@trade"),
        }
    };
    let names: Vec<String> = definition.symbols.iter().map(name).collect();
    format!("{}/stream?streams={}", definition.place.ws_url, names.join("/"))
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    e: Option<Cow<'a, str>>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    code: Option<i64>,
}

#[derive(Deserialize)]
struct TradeFrame<'a> {
    s: String,
    /// Number of a trade,
    t: Option<u64>,
    /// of gathered trades.
    a: Option<u64>,
    #[serde(borrow)]
    p: &'a RawValue,
    #[serde(borrow)]
    q: &'a RawValue,
    #[serde(rename = "T")]
    at: i64,
}

#[derive(Deserialize)]
struct KlineFrame<'a> {
    s: String,
    #[serde(borrow)]
    k: Kline<'a>,
}

#[derive(Deserialize)]
struct Kline<'a> {
    t: i64,
    i: Cow<'a, str>,
    #[serde(borrow)]
    o: &'a RawValue,
    #[serde(borrow)]
    h: &'a RawValue,
    #[serde(borrow)]
    l: &'a RawValue,
    #[serde(borrow)]
    c: &'a RawValue,
    #[serde(borrow)]
    v: &'a RawValue,
    x: bool,
}

/// What a frame says.
///
/// # Errors
/// [`Malformed`].
pub(super) fn read(text: &str, definition: &Definition) -> Result<Vec<Event>, Malformed> {
    let envelope: Envelope<'_> = serde_json::from_str(text)?;
    if let Some(error) = envelope.error.map(RawValue::get).or(envelope.code.map(|_| text)) {
        return Ok(vec![Event::Refused(error.to_owned())]);
    }
    let (kind, frame) = match envelope.data {
        Some(data) => (serde_json::from_str::<Envelope<'_>>(data.get())?.e, data.get()),
        None => (envelope.e, text),
    };
    let event = match (kind.as_deref(), definition.channel) {
        (Some("trade"), Channel::Trades) => trade(frame, |frame| frame.t)?,
        (Some("aggTrade"), Channel::AggTrades) => trade(frame, |frame| frame.a)?,
        (Some("kline"), Channel::Candles) => kline(frame, definition.interval)?,
        (Some("serverShutdown"), _) => Event::Ending,
        _ => Event::Alive,
    };
    Ok(vec![event])
}

fn trade(frame: &str, number: fn(&TradeFrame<'_>) -> Option<u64>) -> Result<Event, Malformed> {
    let frame: TradeFrame<'_> = serde_json::from_str(frame)?;
    let number = number(&frame).ok_or_else(|| Malformed("a trade without its number".to_owned()))?;
    let (price, size) = (tokens::decimal("p", frame.p)?, tokens::decimal("q", frame.q)?);
    let trade = Trade { number: Some(number), at: tokens::millis("T", frame.at)?, price, size: Some(size) };
    Ok(Event::Trade(frame.s, trade))
}

fn kline(frame: &str, interval: Option<Interval>) -> Result<Event, Malformed> {
    let KlineFrame { s, k } = serde_json::from_str(frame)?;
    if interval.is_none_or(|interval| interval.name() != k.i) {
        return Ok(Event::Alive);
    }
    let start = tokens::millis("t", k.t)?;
    let bar = Bar {
        open: Some(tokens::decimal("o", k.o)?),
        high: Some(tokens::decimal("h", k.h)?),
        low: Some(tokens::decimal("l", k.l)?),
        volume: Some(tokens::decimal("v", k.v)?),
    };
    let quote = Quote::new(tokens::decimal("c", k.c)?, bar);
    Ok(if k.x { Event::Finished(s, Candle { start, quote }) } else { Event::Unfinished })
}

/// The rows of `/api/v3/klines`.
///
/// # Errors
/// [`Malformed`].
pub(super) fn klines(body: &[u8]) -> Result<Vec<Candle>, Malformed> {
    let rows: Vec<Vec<&RawValue>> = serde_json::from_slice(body)?;
    let candle = |row: Vec<&RawValue>| {
        let start =
            tokens::millis("open time", wire::whole("open time", wire::cell(&row, "open time", 0)?)?)?;
        Ok(Candle { start, quote: wire::quote_at(&row, [1, 2, 3, 4, 5])? })
    };
    rows.into_iter().map(candle).collect()
}

#[derive(Deserialize)]
struct RestTrade<'a> {
    #[serde(alias = "a")]
    id: u64,
    #[serde(borrow, alias = "p")]
    price: &'a RawValue,
    #[serde(borrow, alias = "q")]
    qty: &'a RawValue,
    #[serde(alias = "T")]
    time: i64,
    /// Of gathered trades: the number of the first trade in it.
    f: Option<u64>,
}

/// The rows of `/api/v3/historicalTrades` or `/api/v3/aggTrades`, and of the latter the number of the first trade.
///
/// # Errors
/// [`Malformed`].
pub(super) fn trades(body: &[u8]) -> Result<(Vec<Trade>, Option<u64>), Malformed> {
    let rows: Vec<RestTrade<'_>> = serde_json::from_slice(body)?;
    let first = rows.first().and_then(|row| row.f);
    let trade = |row: RestTrade<'_>| {
        let (price, size) = (tokens::decimal("price", row.price)?, tokens::decimal("qty", row.qty)?);
        Ok(Trade { number: Some(row.id), at: tokens::millis("time", row.time)?, price, size: Some(size) })
    };
    Ok((rows.into_iter().map(trade).collect::<Result<_, Malformed>>()?, first))
}

/// Asks for what one symbol did since.
///
/// # Errors
/// [`FeedError`].
pub(super) async fn fetch(session: &mut Session<'_>, pair: &Pair, since: Cursor) -> Result<(), FeedError> {
    if session.definition().channel == Channel::Candles {
        return fetch_candles(session, pair, since.observed_at).await;
    }
    fetch_trades(session, pair, since).await
}

async fn fetch_candles(session: &mut Session<'_>, pair: &Pair, since: Moment) -> Result<(), FeedError> {
    let interval = session.definition().interval.unwrap_or(Interval::Minute);
    let (mut from, limit) = (since.0.div_euclid(1_000), PAGE.to_string());
    loop {
        let start = from.to_string();
        let query = [
            ("symbol", pair.venue.as_str()),
            ("interval", interval.name()),
            ("startTime", start.as_str()),
            ("limit", limit.as_str()),
        ];
        let body = session.get("/api/v3/klines", &query).await?;
        let candles = klines(&body)?;
        let (count, last) = (candles.len(), candles.last().map(|candle| candle.start));
        session.candles(pair, candles);
        session.store().await?;
        let next = last.map_or(from, |last| last.0.div_euclid(1_000) + 1);
        if count < PAGE || next <= from {
            return Ok(());
        }
        from = next;
    }
}

async fn fetch_trades(session: &mut Session<'_>, pair: &Pair, since: Cursor) -> Result<(), FeedError> {
    let gathered = session.definition().channel == Channel::AggTrades;
    let limit = PAGE.to_string();
    // Trades are asked for by number; the number of a moment is told by the gathered ones.
    let mut from = if let Some(number) = since.number {
        number
    } else {
        let start = since.observed_at.0.div_euclid(1_000).to_string();
        let query = [("symbol", pair.venue.as_str()), ("startTime", &start), ("limit", "1")];
        let (rows, first) = trades(&session.get("/api/v3/aggTrades", &query).await?)?;
        let number = rows.first().and_then(|trade| trade.number);
        let Some(number) = (if gathered { number } else { first }) else { return Ok(()) };
        number
    };
    let path = if gathered { "/api/v3/aggTrades" } else { "/api/v3/historicalTrades" };
    loop {
        let start = from.to_string();
        let query = [("symbol", pair.venue.as_str()), ("fromId", &start), ("limit", &limit)];
        let (rows, _) = trades(&session.get(path, &query).await?)?;
        let (count, last) = (rows.len(), rows.last().and_then(|trade| trade.number));
        session.fetched_trades(pair, rows);
        session.store().await?;
        let next = last.map_or(from, |last| last + 1);
        if count < PAGE || next <= from {
            return Ok(());
        }
        from = next;
    }
}

#[cfg(test)]
mod tests;
