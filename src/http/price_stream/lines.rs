//! From lines of NDJSON to rows.
//!
//! A line as feeds write them by the million is read in one pass over its bytes; every other line, right or wrong, is
//! read as the body of `POST /prices/batch` is, so that there is one set of rules and one set of messages.

use super::names::Names;
use super::pattern::{Common, Patterns, Piece};
use crate::domain::decimal::Decimal;
use crate::domain::moment::Moment;
use crate::domain::price::{Bar, DEFAULT_SOURCE, FUTURE_MAX, Quote};
use crate::http::error::{ApiError, FieldError};
use crate::http::fields::{Fields, Unknown};
use crate::http::prices::Sent;
use crate::workers::intake::{LISTED, Refused, Rows};
use memchr::memchr_iter;
use serde::Serialize;

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

/// Reads lines, and knows how those before were written, the names it met and the last moment.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// What the lines since the last [`Lines::take`] came to.
    parsed: Parsed,
    patterns: Patterns,
    names: Names,
    time: Time,
}

/// The moment read last, with its text: lines next to each other often have the same.
#[derive(Debug, Default)]
struct Time(Option<(Piece, Moment)>);

impl Time {
    fn read(&mut self, text: &[u8]) -> Option<Moment> {
        if let Some((_, at)) = self.0.filter(|(known, _)| known.is(text)) {
            return Some(at);
        }
        let at = Moment::parse_utc_default(str::from_utf8(text).ok()?).ok()?;
        self.0 = Piece::new(text).map(|text| (text, at));
        Some(at)
    }
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
        let mut common = Common::default();
        for (number, line) in (first + 1..).zip(lines) {
            let line =
                if number == 1 { line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line) } else { line };
            let is_common = self.patterns.read(line, &mut common);
            let taken = is_common.then(|| self.take_common(&common, number, latest)).flatten();
            let read = match taken {
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
        if self.names.are_many() {
            *self = Self::default();
        }
        parsed
    }

    /// Adds a common line; whether it spelled its price `close`. `None` when a rule is not kept.
    fn take_common(&mut self, common: &Common<'_>, line: u64, latest: Moment) -> Option<bool> {
        let name = (
            one(common.symbol, common.ticker)?,
            common.source.unwrap_or(DEFAULT_SOURCE.as_bytes()),
            common.interval.unwrap_or_default(),
        );
        let price = decimal(one(common.price, common.close)?)?;
        let quote = if common.is_tick() {
            Quote::tick(price)
        } else {
            let optional = |text: Option<&[u8]>| text.map_or(Some(None), |text| decimal(text).map(Some));
            let bar = Bar {
                open: optional(common.open)?,
                high: optional(common.high)?,
                low: optional(common.low)?,
                volume: optional(common.volume)?,
            };
            Quote::new(price, bar)
        };
        let observed_at = self.time.read(common.timestamp?).filter(|at| *at <= latest)?;
        let place = self.names.place(name, &mut self.parsed.rows)?;
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

fn one<T>(first: Option<T>, second: Option<T>) -> Option<T> {
    match (first, second) {
        (Some(only), None) | (None, Some(only)) => Some(only),
        (Some(_), Some(_)) | (None, None) => None,
    }
}

/// A number in plain notation: one with an exponent is for the general rules.
fn decimal(text: &[u8]) -> Option<Decimal> {
    Decimal::parse_short(text).or_else(|| {
        let plain = !text.iter().any(|byte| matches!(byte, b'e' | b'E'));
        Decimal::parse_input(str::from_utf8(text).ok().filter(|_| plain)?).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a line gives, by the general rules alone.
    fn other(line: &[u8], number: u64, now: Moment) -> Result<Vec<String>, Vec<FieldError>> {
        let mut lines = Lines::default();
        lines.take_other(line, number, now)?;
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
        assert!(Patterns::default().read(line, &mut Common::default()));
        let mut lines = Lines::default();
        lines.parse(line, 0, now());
        let Parsed { rows, faults, refused, .. } = lines.take();
        assert!(faults.is_empty() && refused == 0);
        assert_eq!(shown(&rows), other(line, 1, now()).unwrap());
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
            before in "(1.5|\"1.5\")",
            more in "(|,\"source\":\"s\"|,\"interval\":\"1m\"|,\"interval\":\"\"|,\"interval\":\"2m\"|,\"volume\":5|,\"open\":\"1\",\"open\":2|,\"x\":1| |,)",
        ) {
            let line = format!("{{\"{name}\": \"{symbol}\", \"{price_name}\":{price},\"timestamp\":\"{time}\"{more}}}");
            let mut lines = Lines::default();
            let latest = now().plus(FUTURE_MAX);
            // Before, one that is written alike, or nearly so.
            let before = format!("{{\"{name}\": \"Z\", \"{price_name}\":{before},\"timestamp\":\"{time}\"{more}}}");
            let mut common = Common::default();
            if lines.patterns.read(before.as_bytes(), &mut common) {
                lines.take_common(&common, 1, latest);
                (lines.parsed, lines.names) = (Parsed::default(), Names::default());
            }
            let taken = lines.patterns.read(line.as_bytes(), &mut common)
                && lines.take_common(&common, 1, latest).is_some();
            let general = other(line.as_bytes(), 1, now());
            if taken {
                prop_assert_eq!(Ok(shown(&lines.parsed.rows)), general.clone(), "{}", line);
            }
        }
    }

    #[test]
    fn however_odd_a_line_is_both_ways_of_reading_agree() {
        let lines = [
            r#"{"symbol":"GOLD","price":"2050.10","timestamp":"2025-01-01T00:00:00Z","source":"x"}"#,
            r#"{"symbol": "b t", "close": 1.5, "timestamp": "2025-01-02", "interval": "1m", "volume": 5, "open": "1"}"#,
        ];
        crate::domain::hammer::hammer(&lines, |line| {
            if line.contains(&b'\n') {
                return;
            }
            // The mark of the order of bytes is taken off where a body begins, and nowhere else.
            let unmarked = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line);
            for (lines_before, meant) in [(0, unmarked), (2, line)] {
                if meant.trim_ascii().is_empty() {
                    continue;
                }
                let mut read = Lines::default();
                // Patterns of a line like it are known.
                for known in lines {
                    read.parse(known.as_bytes(), 0, now());
                }
                let known = read.take().rows.iter().count();
                assert_eq!(known, lines.len());
                read.parse(line, lines_before, now());
                let Parsed { rows, refused, .. } = read.take();
                match other(meant, lines_before + 1, now()) {
                    Ok(general) => assert_eq!((shown(&rows), refused), (general, 0)),
                    Err(_) => assert_eq!((rows.iter().count(), refused), (0, 1)),
                }
            }
        });
    }
}
