//! Version 1 of Kraken's WebSocket: data are arrays, events are objects, numbers are texts, trades have no number, and a
//! ticker no time.

use crate::workers::feeds::definition::{Channel, Definition};
use crate::workers::feeds::tape::Trade;
use crate::workers::feeds::tokens::{self, Malformed};
use crate::workers::feeds::wire::{self, Event};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// What keeps the connection alive.
pub(super) const PING: &str = "{\"event\":\"ping\"}";

/// What is said first.
pub(super) fn subscribe(definition: &Definition) -> String {
    let name = if definition.channel == Channel::Ticker { "ticker" } else { "trade" };
    let pairs: Vec<&str> = definition.symbols.iter().map(|pair| pair.venue.as_str()).collect();
    json!({ "event": "subscribe", "pair": pairs, "subscription": { "name": name } }).to_string()
}

#[derive(Deserialize)]
struct Happened<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow)]
    status: Option<Cow<'a, str>>,
    #[serde(rename = "errorMessage")]
    error: Option<String>,
}

#[derive(Deserialize)]
struct Ticker<'a> {
    /// Price and lot of the last trade.
    #[serde(borrow)]
    c: Vec<&'a RawValue>,
}

/// What a frame says.
///
/// # Errors
/// [`Malformed`].
pub(super) fn read(text: &str, definition: &Definition) -> Result<Vec<Event>, Malformed> {
    if !text.trim_start().starts_with('[') {
        let happened: Happened<'_> = serde_json::from_str(text)?;
        return Ok(vec![match (happened.event.as_ref(), happened.status.as_deref()) {
            ("subscriptionStatus", Some("error")) | ("error", _) => {
                Event::Refused(happened.error.unwrap_or_default())
            }
            ("subscriptionStatus", _) => Event::Subscribed,
            _ => Event::Alive,
        }]);
    }
    // `[channel, data.., name, pair]`
    let parts: Vec<&RawValue> = serde_json::from_str(text)?;
    let [_, data, name, pair] = parts.as_slice() else { return Ok(vec![Event::Alive]) };
    let pair = tokens::bare(pair).replace("\\/", "/");
    match (tokens::bare(name), definition.channel) {
        ("trade", Channel::Trades) => trades(data, &pair),
        ("ticker", Channel::Ticker) => {
            let ticker: Ticker<'_> = serde_json::from_str(data.get())?;
            let price = tokens::decimal("price", wire::cell(&ticker.c, "price", 0)?)?;
            let size = tokens::decimal("lot", wire::cell(&ticker.c, "lot", 1)?)?;
            Ok(vec![Event::Last(pair, price, size)])
        }
        _ => Ok(vec![Event::Alive]),
    }
}

fn trades(data: &RawValue, pair: &str) -> Result<Vec<Event>, Malformed> {
    let rows: Vec<Vec<&RawValue>> = serde_json::from_str(data.get())?;
    let event = |row: Vec<&RawValue>| {
        let price = tokens::decimal("price", wire::cell(&row, "price", 0)?)?;
        let size = tokens::decimal("volume", wire::cell(&row, "volume", 1)?)?;
        let at = tokens::seconds("time", tokens::bare(wire::cell(&row, "time", 2)?))?;
        Ok(Event::Trade(pair.to_owned(), Trade { number: None, at, price, size: Some(size) }))
    };
    rows.into_iter().map(event).collect()
}

#[cfg(test)]
mod tests;
