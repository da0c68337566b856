//! Coinbase Exchange. Its candles are `[time, low, high, open, close, volume]`, newest first, numbers not texts, without
//! minutes in which nothing was traded, and the first may be running.
//!
//! Trades are numbered per product without gaps. The channel `ticker` tells of some of them only: of several at once,
//! the last.

use crate::domain::interval::Interval;
use crate::domain::moment::Moment;
use crate::workers::feeds::definition::{Channel, Definition, Pair};
use crate::workers::feeds::failure::FeedError;
use crate::workers::feeds::session::{Cursor, Session};
use crate::workers::feeds::tape::Trade;
use crate::workers::feeds::tokens::{self, Malformed};
use crate::workers::feeds::wire::{self, Candle, Event};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Candles of a page.
const CANDLES: i64 = 300;
/// Trades of a page.
const TRADES: usize = 1_000;
/// Pages of trades that are gone back at most.
const PAGES: usize = 100;

/// What is said first: at once, because the venue waits five seconds for it.
pub(super) fn subscribe(definition: &Definition) -> String {
    let channel = if definition.channel == Channel::Ticker { "ticker" } else { "matches" };
    let products: Vec<&str> = definition.symbols.iter().map(|pair| pair.venue.as_str()).collect();
    json!({ "type": "subscribe", "product_ids": products, "channels": [channel, "heartbeat"] }).to_string()
}

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    product_id: Option<String>,
    trade_id: Option<u64>,
    #[serde(borrow)]
    price: Option<&'a RawValue>,
    #[serde(borrow, alias = "last_size")]
    size: Option<&'a RawValue>,
    #[serde(borrow)]
    time: Option<Cow<'a, str>>,
    message: Option<String>,
    reason: Option<String>,
}

/// What a frame says.
///
/// # Errors
/// [`Malformed`].
pub(super) fn read(text: &str, definition: &Definition) -> Result<Vec<Event>, Malformed> {
    let frame: Frame<'_> = serde_json::from_str(text)?;
    let event = match (frame.kind.as_ref(), definition.channel) {
        ("match" | "last_match", Channel::Trades) | ("ticker", Channel::Ticker) => trade(frame)?,
        ("subscriptions", _) => Event::Subscribed,
        ("error", _) => {
            let said = [frame.message, frame.reason].into_iter().flatten().collect::<Vec<_>>();
            Event::Refused(said.join(": "))
        }
        _ => Event::Alive,
    };
    Ok(vec![event])
}

fn trade(frame: Frame<'_>) -> Result<Event, Malformed> {
    let absent = |field: &str| Malformed(format!("a trade without {field}"));
    // The first ticker of a product nobody trades has neither.
    let (Some(number), Some(time)) = (frame.trade_id, frame.time) else { return Ok(Event::Alive) };
    let price = tokens::decimal("price", frame.price.ok_or_else(|| absent("price"))?)?;
    let size = frame.size.map(|size| tokens::decimal("size", size)).transpose()?;
    let trade = Trade { number: Some(number), at: tokens::rfc3339("time", &time)?, price, size };
    Ok(Event::Trade(frame.product_id.ok_or_else(|| absent("product_id"))?, trade))
}

/// The rows of `/products/{id}/candles`, oldest first.
///
/// # Errors
/// [`Malformed`].
pub(super) fn candles(body: &[u8]) -> Result<Vec<Candle>, Malformed> {
    let rows: Vec<Vec<&RawValue>> = serde_json::from_slice(body)?;
    let candle = |row: Vec<&RawValue>| {
        let start = tokens::seconds("time", tokens::bare(wire::cell(&row, "time", 0)?))?;
        Ok(Candle { start, quote: wire::quote_at(&row, [3, 2, 1, 4, 5])? })
    };
    rows.into_iter().rev().map(candle).collect()
}

#[derive(Deserialize)]
struct RestTrade<'a> {
    trade_id: u64,
    #[serde(borrow)]
    price: &'a RawValue,
    #[serde(borrow)]
    size: &'a RawValue,
    #[serde(borrow)]
    time: Cow<'a, str>,
}

/// The rows of `/products/{id}/trades`, newest first as they come.
///
/// # Errors
/// [`Malformed`].
pub(super) fn trades(body: &[u8]) -> Result<Vec<Trade>, Malformed> {
    let rows: Vec<RestTrade<'_>> = serde_json::from_slice(body)?;
    let trade = |row: RestTrade<'_>| {
        let (price, size) = (tokens::decimal("price", row.price)?, tokens::decimal("size", row.size)?);
        let at = tokens::rfc3339("time", &row.time)?;
        Ok(Trade { number: Some(row.trade_id), at, price, size: Some(size) })
    };
    rows.into_iter().map(trade).collect()
}

/// Asks for what one product did since.
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
    let length = session.definition().interval.unwrap_or(Interval::Minute).shortest();
    let granularity = length.div_euclid(1_000_000).to_string();
    let path = format!("/products/{}/candles", pair.venue);
    let (mut from, now) = (Moment(since.0 - since.0.rem_euclid(length)), session.now());
    while from < now {
        // Both ends are included.
        let until = from.plus(length.saturating_mul(CANDLES - 1)).min(now);
        let (start, end) = (from.to_string(), until.to_string());
        let query = [("granularity", granularity.as_str()), ("start", &start), ("end", &end)];
        let body = session.get(&path, &query).await?;
        session.candles(pair, candles(&body)?);
        session.store().await?;
        from = Moment(until.0 - until.0.rem_euclid(length)).plus(length);
    }
    Ok(())
}

/// Goes back page by page to what is known, then takes it all in order.
async fn fetch_trades(session: &mut Session<'_>, pair: &Pair, since: Cursor) -> Result<(), FeedError> {
    let (path, limit) = (format!("/products/{}/trades", pair.venue), TRADES.to_string());
    let known = |trade: &Trade| {
        trade.at < since.observed_at || since.number.is_some_and(|number| trade.number <= Some(number))
    };
    let (mut found, mut before) = (Vec::new(), None::<String>);
    for _ in 0..PAGES {
        let mut query = vec![("limit", limit.as_str())];
        query.extend(before.as_deref().map(|before| ("after", before)));
        let rows = trades(&session.get(&path, &query).await?)?;
        let ended = rows.len() < TRADES || rows.iter().any(known);
        before = rows.iter().filter_map(|trade| trade.number).min().map(|number| number.to_string());
        // Those of the moment that is known in part are wanted too.
        found.extend(rows.into_iter().filter(|trade| trade.at >= since.observed_at));
        if ended {
            found.reverse();
            session.fetched_trades(pair, found);
            return session.store().await;
        }
    }
    let detail =
        format!("{} has more than {} trades since {}", pair.venue, PAGES * TRADES, since.observed_at);
    tracing::warn!(feed.name = session.definition().name, "{detail}; the older ones are left out");
    session.note(&detail);
    found.reverse();
    session.fetched_trades(pair, found);
    session.store().await
}

#[cfg(test)]
mod tests;
