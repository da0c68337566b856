//! Feeds whose format is told by a mapping: what is asked for is a template, what is answered goes through
//! [`crate::workers::mapping`].

use crate::domain::interval::Interval;
use crate::domain::moment::Moment;
use crate::workers::feeds::definition::{Channel, Definition, Pair, Secret};
use crate::workers::feeds::failure::FeedError;
use crate::workers::feeds::session::{Cursor, Session};
use crate::workers::feeds::tokens::Malformed;
use crate::workers::feeds::wire::{Candle, Event};
use crate::workers::mapping::{BodyFault, MappedRow, Mapping, Select};
use crate::workers::outbound::target::Target;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use std::fmt::Write as _;
use std::path::PathBuf;

/// What a feed with a mapping is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generic {
    /// What its bodies say.
    pub mapping: Mapping,
    /// Where it asks or listens: a URL with [`PLACES`] to be filled in.
    pub url: Secret,
    /// Headers of its requests.
    pub headers: Vec<(HeaderName, Secret)>,
    /// What it says when a connection stands.
    pub subscribe: Option<Secret>,
    /// What it says to keep a connection alive.
    pub ping: Option<String>,
    /// Which frames have rows.
    pub select: Option<Select>,
    /// The folder it watches.
    pub folder: Option<Folder>,
    /// Whether its URL or its headers have secrets in them.
    pub secret: bool,
}

/// A folder that is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// Where it is.
    pub path: PathBuf,
    /// Names of its files: `*` is any text, `{symbol}` a symbol of the feed.
    pub pattern: String,
    /// How they are written.
    pub format: FileFormat,
}

crate::named_enum! {
    /// How the files of a folder are written.
    FileFormat {
        /// A table with a header, read on as it grows.
        Csv = "csv",
        /// A JSON object a line, read on as it grows.
        Ndjson = "ndjson",
        /// One JSON body, read whole.
        Json = "json",
    }
}

/// What may stand in braces in a template.
pub const PLACES: [&str; 12] = [
    "symbol",
    "symbols",
    "interval",
    "since:unix",
    "since:unix_ms",
    "since:date",
    "since:compact",
    "since:rfc3339",
    "now:unix",
    "now:unix_ms",
    "now:date",
    "now:rfc3339",
];

/// The first text in braces of a template that stands for nothing.
pub fn unknown_place(template: &str) -> Option<&str> {
    let mut rest = template;
    while let Some((_, after)) = rest.split_once('{') {
        let (name, beyond) = after.split_once('}')?;
        // A brace of JSON: what is subscribed to is often an object.
        if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'_'))
            && !name.is_empty()
            && !PLACES.contains(&name)
        {
            return Some(name);
        }
        rest = if PLACES.contains(&name) { beyond } else { after };
    }
    None
}

/// What a template is filled in with.
struct Filling<'a> {
    symbol: &'a str,
    symbols: String,
    interval: Option<Interval>,
    since: Moment,
    now: Moment,
}

impl Filling<'_> {
    fn of(&self, place: &str) -> Option<String> {
        let moment = |at: Moment, form: &str| {
            let utc = at.utc()?;
            Some(match form {
                "unix" => at.0.div_euclid(1_000_000).to_string(),
                "unix_ms" => at.0.div_euclid(1_000).to_string(),
                "date" => utc.format("%Y-%m-%d").to_string(),
                "compact" => utc.format("%Y%m%d").to_string(),
                "rfc3339" => at.to_string(),
                _ => return None,
            })
        };
        match place.split_once(':') {
            Some(("since", form)) => moment(self.since, form),
            Some(("now", form)) => moment(self.now, form),
            Some(_) => None,
            None => match place {
                "symbol" => Some(self.symbol.to_owned()),
                "symbols" => Some(self.symbols.clone()),
                "interval" => Some(self.interval.map_or("", Interval::name).to_owned()),
                _ => None,
            },
        }
    }

    /// The template with its places filled in, each by way of `write`.
    fn fill(&self, template: &str, write: impl Fn(&str) -> String) -> String {
        let (mut out, mut rest) = (String::with_capacity(template.len()), template);
        while let Some((before, after)) = rest.split_once('{') {
            out.push_str(before);
            let filled = after.split_once('}').and_then(|(name, beyond)| Some((self.of(name)?, beyond)));
            if let Some((text, beyond)) = filled {
                out.push_str(&write(&text));
                rest = beyond;
            } else {
                out.push('{');
                rest = after;
            }
        }
        out.push_str(rest);
        out
    }
}

fn filling<'a>(definition: &Definition, symbol: &'a str, since: Moment, now: Moment) -> Filling<'a> {
    let venues: Vec<&str> = definition.symbols.iter().map(|pair| pair.venue.as_str()).collect();
    Filling { symbol, symbols: venues.join(","), interval: definition.interval, since, now }
}

/// A text as it stands in a path or a query.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").unwrap_or_default();
        }
        out
    })
}

impl Generic {
    /// Whether what it sends has secrets in it.
    pub(super) const fn has_secrets(&self) -> bool {
        self.secret
    }

    fn target(&self, filling: &Filling<'_>) -> Result<Target, FeedError> {
        let url = filling.fill(self.url.expose(), encoded);
        Target::parse(&url).map_err(|error| FeedError::Malformed(format!("url {error}")))
    }

    /// Its headers.
    ///
    /// # Errors
    /// When a secret has characters no header may have.
    pub(super) fn header_map(&self) -> Result<HeaderMap, FeedError> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let mut value = HeaderValue::from_str(value.expose()).map_err(|_| {
                FeedError::Malformed(format!("headers.{name} has characters no header may have"))
            })?;
            value.set_sensitive(true);
            headers.insert(name.clone(), value);
        }
        Ok(headers)
    }
}

/// Asks for what one symbol did since it was last heard of, page by page.
///
/// # Errors
/// [`FeedError`].
pub(super) async fn fetch(session: &mut Session<'_>, pair: &Pair, since: Cursor) -> Result<(), FeedError> {
    let definition = session.definition();
    let Some(generic) = definition.generic.as_deref() else { return Ok(()) };
    let filling = filling(definition, &pair.venue, since.observed_at, session.now());
    let (first, headers) = (generic.target(&filling)?, generic.header_map()?);
    let (mut target, mut page) = (first.clone(), 1);
    loop {
        let body = session.ask(&target, headers.clone()).await?;
        let reading = generic.mapping.rows(&body).map_err(fault)?;
        session.missing(reading.missing);
        take(session, pair, reading.rows);
        session.store().await?;
        let paging = generic.mapping.paging.as_ref();
        let (Some(paging), Some(next)) = (paging.filter(|paging| page < paging.max), reading.next) else {
            return Ok(());
        };
        page += 1;
        target = first.with_parameter(&paging.param, &next);
    }
}

fn fault(fault: BodyFault) -> FeedError {
    match fault {
        BodyFault::Refused { said, passes, .. } => FeedError::said(said, passes),
        unlike @ BodyFault::Unlike { .. } => FeedError::Malformed(unlike.to_string()),
    }
}

/// Takes up rows; those that say they are of another symbol are passed over.
pub(super) fn take(session: &mut Session<'_>, pair: &Pair, rows: Vec<MappedRow>) {
    let own = |row: &MappedRow| row.symbol.as_ref().is_none_or(|symbol| *symbol == pair.venue);
    let rows = rows.into_iter().filter(own);
    if session.definition().channel == Channel::Candles {
        let candles = rows.map(|row| Candle { start: row.observed_at, quote: row.quote }).collect();
        session.candles(pair, candles);
        return;
    }
    for row in rows {
        session.point(&pair.symbol, None, row.observed_at, row.quote);
    }
}

/// Where it listens.
pub(super) fn stream(definition: &Definition) -> String {
    let Some(generic) = definition.generic.as_deref() else { return String::new() };
    filling(definition, "", Moment(0), Moment(0)).fill(generic.url.expose(), encoded)
}

/// What it says when the connection stands.
pub(super) fn subscribe(definition: &Definition) -> Option<String> {
    let text = definition.generic.as_deref()?.subscribe.as_ref()?.expose();
    // Within a string of JSON.
    let escaped = |text: &str| {
        text.chars().fold(String::new(), |mut out, c| {
            match c {
                '"' | '\\' => write!(out, "\\{c}").unwrap_or_default(),
                _ => out.push(c),
            }
            out
        })
    };
    Some(filling(definition, "", Moment(0), Moment(0)).fill(text, escaped))
}

/// What a frame says.
///
/// # Errors
/// [`Malformed`].
pub(super) fn read(text: &str, definition: &Definition) -> Result<Vec<Event>, Malformed> {
    let Some(generic) = definition.generic.as_deref() else { return Ok(vec![Event::Alive]) };
    if let Some(select) = &generic.select
        && !select.takes(text).map_err(|fault| Malformed(fault.to_string()))?
    {
        return Ok(vec![Event::Alive]);
    }
    let reading = match generic.mapping.rows(text.as_bytes()) {
        Ok(reading) => reading,
        Err(BodyFault::Refused { said, .. }) => return Ok(vec![Event::Refused(said)]),
        Err(unlike @ BodyFault::Unlike { .. }) => return Err(Malformed(unlike.to_string())),
    };
    let only = match definition.symbols.as_slice() {
        [pair] => Some(pair.venue.clone()),
        _ => None,
    };
    let event = |row: MappedRow| {
        let venue = row.symbol.or_else(|| only.clone())?;
        let candle = Candle { start: row.observed_at, quote: row.quote };
        let candles = definition.channel == Channel::Candles;
        Some(if candles { Event::Running(venue, candle) } else { Event::Point(venue, candle) })
    };
    Ok(reading.rows.into_iter().filter_map(event).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filling() -> Filling<'static> {
        Filling {
            symbol: "BTC/USD",
            symbols: "A,B".to_owned(),
            interval: Interval::from_name("1d"),
            since: Moment::parse("2024-01-02T03:04:05Z").unwrap(),
            now: Moment::parse("2024-02-01T00:00:00Z").unwrap(),
        }
    }

    #[test]
    fn a_template_is_filled_in_and_what_is_filled_in_is_encoded() {
        let filled = filling().fill(
            "https://h/v1?s={symbol}&i={interval}&a={since:unix}&b={since:unix_ms}&c={since:date}&d={since:compact}&e={now:unix}",
            encoded,
        );
        assert_eq!(
            filled,
            "https://h/v1?s=BTC%2FUSD&i=1d&a=1704164645&b=1704164645000&c=2024-01-02&d=20240102&e=1706745600"
        );
        assert_eq!(
            filling().fill(r#"{"op":"sub","args":{"s":"{symbols}"}}"#, str::to_owned),
            r#"{"op":"sub","args":{"s":"A,B"}}"#
        );
        assert_eq!(filling().fill("{", str::to_owned), "{");
    }

    #[test]
    fn a_place_that_stands_for_nothing_is_found() {
        assert_eq!(unknown_place("https://h/?a={symbol}&b={sinc:unix}"), Some("sinc:unix"));
        assert_eq!(unknown_place("https://h/?b={since}"), Some("since"));
        for fine in ["https://h/?a={symbol}&b={since:date}", r#"{"a":{"b":"{symbols}"}}"#, "", "{"] {
            assert_eq!(unknown_place(fine), None, "{fine}");
        }
    }
}
