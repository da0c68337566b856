//! From lines of NDJSON to rows.
//!
//! A line as feeds write them by the million is read in one pass over its bytes; every other line, right or wrong, is
//! read as the body of `POST /prices/batch` is, so that there is one set of rules and one set of messages.

use crate::domain::decimal::Decimal;
use crate::domain::interval::Interval;
use crate::domain::moment::Moment;
use crate::domain::price::{Bar, DEFAULT_SOURCE, FUTURE_MAX, Quote};
use crate::http::error::{ApiError, FieldError};
use crate::http::fields::{Fields, Unknown};
use crate::http::prices::Sent;
use crate::workers::intake::{LISTED, Refused, Rows, SeriesName};
use memchr::memchr_iter;
use serde::Serialize;
use std::collections::HashMap;

/// Names kept from group to group.
const NAMES: usize = 10_000;

/// What is wrong with a line.
#[derive(Debug, Clone, Serialize)]
pub(super) struct LineFault {
    /// Its number, from 1.
    pub(super) line: u64,
    /// Its fields at fault.
    pub(super) errors: Vec<FieldError>,
}

/// How the lines of a group spelled their prices.
#[derive(Debug, Default)]
pub(super) struct Spelled {
    first: u64,
    as_close: Vec<bool>,
}

impl Spelled {
    /// A refusal at the field as the line spelled it.
    pub(super) fn fault(&self, refused: &Refused) -> LineFault {
        let place = usize::try_from(refused.line.saturating_sub(self.first + 1)).ok();
        let as_close = place.and_then(|place| self.as_close.get(place)).copied().unwrap_or_default();
        let field = if as_close && refused.field == "price" { "close" } else { refused.field };
        let error = FieldError::at(format!("/{field}"), refused.code, refused.detail.clone());
        LineFault { line: refused.line, errors: vec![error] }
    }
}

/// What lines came to.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    /// Rows of the lines that are prices.
    pub(super) rows: Rows,
    /// What is wrong with lines that are not; not more than are listed.
    pub(super) faults: Vec<LineFault>,
    /// How many such lines there are.
    pub(super) refused: u64,
    pub(super) spelled: Spelled,
}

/// Reads lines, and knows the names it met.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// What the lines since the last [`Lines::take`] came to.
    parsed: Parsed,
    places: HashMap<Box<[u8]>, usize>,
    name: Vec<u8>,
}

impl Lines {
    /// Reads whole lines; `first` lines came before.
    pub(super) fn parse(&mut self, bytes: &[u8], first: u64, now: Moment) {
        let latest = now.plus(FUTURE_MAX);
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let mut begin = 0;
        let lines = memchr_iter(b'\n', bytes).chain([bytes.len()]).map(|end| {
            let line = bytes.get(begin..end).unwrap_or_default();
            begin = end + 1;
            line
        });
        for (number, line) in (first + 1..).zip(lines) {
            let line =
                if number == 1 { line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line) } else { line };
            let common = Common::read(line).and_then(|common| self.take_common(&common, number, latest));
            let read = match common {
                Some(as_close) => Ok(as_close),
                None if line.trim_ascii().is_empty() => Ok(false),
                None => self.take_other(line, number, now),
            };
            let parsed = &mut self.parsed;
            if parsed.spelled.as_close.is_empty() {
                parsed.spelled.first = number - 1;
            }
            parsed.spelled.as_close.push(*read.as_ref().unwrap_or(&false));
            if let Err(errors) = read {
                parsed.refused += 1;
                if parsed.faults.len() < LISTED {
                    parsed.faults.push(LineFault { line: number, errors });
                }
            }
        }
    }

    /// Hands out what the lines read since the last time came to, and keeps the names.
    pub(super) fn take(&mut self) -> Parsed {
        let Parsed { rows, faults, refused, spelled } = &mut self.parsed;
        let parsed = Parsed {
            rows: rows.take(),
            faults: std::mem::take(faults),
            refused: std::mem::take(refused),
            spelled: std::mem::take(spelled),
        };
        if self.places.len() > NAMES {
            *self = Self::default();
        }
        parsed
    }

    /// Adds a common line; whether it spelled its price `close`. `None` when a rule is not kept.
    fn take_common(&mut self, common: &Common<'_>, line: u64, latest: Moment) -> Option<bool> {
        let symbol = one(common.symbol, common.ticker)?;
        let source = common.source.unwrap_or(DEFAULT_SOURCE);
        let is_name = |text: &str, max: usize| {
            (1..=max).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
        };
        if !is_name(symbol, 20) || !is_name(source, 64) {
            return None;
        }
        let decimal = |text: Option<&str>| text.map(Decimal::parse_input).transpose().ok();
        let price = Decimal::parse_input(one(common.price, common.close)?).ok()?;
        let bar = Bar {
            open: decimal(common.open)?,
            high: decimal(common.high)?,
            low: decimal(common.low)?,
            volume: decimal(common.volume)?,
        };
        let quote = Quote::new(price, bar);
        let observed_at = Moment::parse_utc_default(common.timestamp?).ok().filter(|at| *at <= latest)?;
        let interval = common.interval.unwrap_or_default();
        self.name.clear();
        for part in [symbol, "\0", source, "\0", interval] {
            self.name.extend_from_slice(part.as_bytes());
        }
        let place = if let Some(place) = self.places.get(self.name.as_slice()) {
            *place
        } else {
            let interval = if interval.is_empty() { None } else { Some(Interval::from_name(interval)?) };
            let (symbol, source) = (symbol.to_ascii_uppercase(), source.to_owned());
            let place = self.parsed.rows.name(SeriesName { symbol, source, interval });
            self.places.insert(self.name.clone().into_boxed_slice(), place);
            place
        };
        self.parsed.rows.push(place, line, observed_at, quote);
        Some(common.close.is_some())
    }

    /// Adds any other line.
    fn take_other(&mut self, line: &[u8], number: u64, now: Moment) -> Result<bool, Vec<FieldError>> {
        let malformed = |error: ApiError| {
            if error.errors.is_empty() {
                let detail = error.detail.replace("the body", "the line");
                vec![FieldError::at("", "malformed_line", detail)]
            } else {
                error.errors
            }
        };
        let mut fields = Fields::of_body(line).map_err(malformed)?;
        let sent = Sent::read_dated(&mut fields, now);
        let errors = fields.faults(Unknown::Refused);
        let Some(observed_at) = sent.observed_at.filter(|_| errors.is_empty()) else { return Err(errors) };
        let place = self.parsed.rows.name(sent.series());
        self.parsed.rows.push(place, number, observed_at, sent.quote.clone());
        Ok(sent.as_close)
    }
}

fn one<'a>(first: Option<&'a str>, second: Option<&'a str>) -> Option<&'a str> {
    match (first, second) {
        (Some(only), None) | (None, Some(only)) => Some(only),
        (Some(_), Some(_)) | (None, None) => None,
    }
}

/// The values of a line whose strings have no escapes, each field at most once.
#[derive(Default)]
struct Common<'a> {
    symbol: Option<&'a str>,
    ticker: Option<&'a str>,
    price: Option<&'a str>,
    close: Option<&'a str>,
    timestamp: Option<&'a str>,
    source: Option<&'a str>,
    interval: Option<&'a str>,
    open: Option<&'a str>,
    high: Option<&'a str>,
    low: Option<&'a str>,
    volume: Option<&'a str>,
}

impl<'a> Common<'a> {
    /// `None` for a line that is not of this kind, right or wrong.
    fn read(line: &'a [u8]) -> Option<Self> {
        let mut common = Self::default();
        let mut rest = line.trim_ascii().strip_prefix(b"{")?;
        loop {
            let (name, after) = string(rest.trim_ascii_start())?;
            let after = after.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
            let (slot, is_number) = match name {
                "symbol" => (&mut common.symbol, false),
                "ticker" => (&mut common.ticker, false),
                "timestamp" => (&mut common.timestamp, false),
                "source" => (&mut common.source, false),
                "interval" => (&mut common.interval, false),
                "price" => (&mut common.price, true),
                "close" => (&mut common.close, true),
                "open" => (&mut common.open, true),
                "high" => (&mut common.high, true),
                "low" => (&mut common.low, true),
                "volume" => (&mut common.volume, true),
                _ => return None,
            };
            let quoted = after.starts_with(b"\"");
            let (value, after) = match (quoted, is_number) {
                (true, _) => string(after)?,
                (false, true) => number(after)?,
                (false, false) => return None,
            };
            // In quotes an exponent is no plain notation.
            if slot.is_some() || (quoted && is_number && value.contains(['e', 'E'])) {
                return None;
            }
            *slot = Some(value);
            let after = after.trim_ascii_start();
            match after.split_first()? {
                (b',', more) => rest = more,
                (b'}', b"") => return Some(common),
                _ => return None,
            }
        }
    }
}

/// A string without escapes, and what follows it.
fn string(text: &[u8]) -> Option<(&str, &[u8])> {
    let inner = text.strip_prefix(b"\"")?;
    let end =
        inner.iter().position(|byte| *byte == b'"' || *byte == b'\\' || !(0x20..0x7f).contains(byte))?;
    let (value, rest) = inner.split_at_checked(end)?;
    Some((std::str::from_utf8(value).ok()?, rest.strip_prefix(b"\"")?))
}

/// A number without an exponent, and what follows it.
fn number(text: &[u8]) -> Option<(&str, &[u8])> {
    let end = text.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b'.' | b'-'))?;
    let (token, rest) = text.split_at_checked(end)?;
    let digits = token.strip_prefix(b"-").unwrap_or(token);
    // JSON knows no leading zeros; the rest of the grammar is that of decimals.
    if digits.len() > 1 && digits.starts_with(b"0") && !digits.starts_with(b"0.") {
        return None;
    }
    Some((std::str::from_utf8(token).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a line gives, by the general rules alone.
    fn other(line: &[u8], now: Moment) -> Result<Vec<String>, Vec<FieldError>> {
        let mut lines = Lines::default();
        lines.take_other(line, 1, now)?;
        Ok(shown(&lines.parsed.rows))
    }

    fn shown(rows: &Rows) -> Vec<String> {
        rows.iter().map(|row| format!("{row:?}")).collect()
    }

    fn now() -> Moment {
        Moment::parse("2026-01-01T00:00:00Z").unwrap()
    }

    #[test]
    fn the_common_line_is_read_in_one_pass() {
        let line = br#"{"symbol":"gold","price":"2050.10","timestamp":"2025-01-01T00:00:00Z","source":"x"}"#;
        assert!(Common::read(line).is_some());
        let mut lines = Lines::default();
        lines.parse(line, 0, now());
        let Parsed { rows, faults, refused, .. } = lines.take();
        assert!(faults.is_empty() && refused == 0);
        assert_eq!(shown(&rows), other(line, now()).unwrap());
        let (_, name, at, quote) = rows.iter().next().unwrap();
        assert_eq!((name.symbol.as_str(), name.source.as_str(), name.interval), ("GOLD", "x", None));
        assert_eq!(at.to_string(), "2025-01-01T00:00:00.000000Z");
        assert_eq!(quote.price.to_string(), "2050.10");
    }

    #[test]
    fn lines_are_numbered_and_faults_name_the_field_as_it_was_spelled() {
        let body = b"\n{\"symbol\":\"A\",\"close\":1,\"timestamp\":\"2025-01-01T00:00:00Z\"}\r\n{\"symbol\":\"A\"}\nnot json\n";
        let mut lines = Lines::default();
        lines.parse(body, 10, now());
        let Parsed { rows, faults, refused, spelled } = lines.take();
        assert_eq!(rows.iter().map(|(line, ..)| line).collect::<Vec<_>>(), [12]);
        let found: Vec<(u64, Vec<String>)> = faults
            .iter()
            .map(|fault| (fault.line, fault.errors.iter().map(|e| e.pointer.clone().unwrap()).collect()))
            .collect();
        let missing = vec!["/price".to_owned(), "/timestamp".to_owned()];
        assert_eq!((refused, found), (2, vec![(13, missing), (14, vec![String::new()])]));
        let refused = Refused { line: 12, field: "price", code: "negative", detail: String::new() };
        assert_eq!(spelled.fault(&refused).errors[0].pointer.as_deref(), Some("/close"));
    }

    proptest! {
        /// Whatever a line looks like, both ways of reading it agree.
        #[test]
        fn both_ways_of_reading_agree(
            name in "(symbol|ticker|symbolx)",
            symbol in "(GOLD|b t|é|Au-1|\\\\u0041|[ -~]{0,22})",
            price_name in "(price|close)",
            price in "(-?[0-9]{1,20}(\\.[0-9]{1,19})?|\"-?[0-9]{1,4}(\\.[0-9]{1,3})?(e2)?\"|1e3|-|null|true|NaN)",
            time in "(2025-01-0[0-9]T0[0-9]:00:[0-9]{2}(\\.[0-9]{1,7})?(Z|\\+01:00)?|2025-01-02|2026-01-0[1-5]T00:00:01Z)",
            more in "(|,\"source\":\"s\"|,\"interval\":\"1m\"|,\"interval\":\"\"|,\"interval\":\"2m\"|,\"volume\":5|,\"open\":\"1\",\"open\":2|,\"x\":1| |,)",
        ) {
            let line = format!("{{\"{name}\": \"{symbol}\", \"{price_name}\":{price},\"timestamp\":\"{time}\"{more}}}");
            let mut lines = Lines::default();
            let taken = Common::read(line.as_bytes())
                .and_then(|common| lines.take_common(&common, 1, now().plus(FUTURE_MAX)));
            let general = other(line.as_bytes(), now());
            if taken.is_some() {
                prop_assert_eq!(Ok(shown(&lines.parsed.rows)), general.clone(), "{}", line);
            }
        }
    }
}
