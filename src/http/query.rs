//! Query parameters: every one is known or refused, and lists are paged by an opaque cursor.

use crate::domain::decimal::Decimal;
use crate::domain::hexadecimal::hex;
use crate::domain::moment::{Moment, MomentError, Written, end_of_day, parse_written, start_of_day};
use crate::http::error::{ApiError, FieldError};
use crate::storage::page::{After, Page};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use chrono::NaiveDate;
use chrono_tz::Tz;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Rows a list answers when none are asked for, and the most it answers.
pub const ROWS: i64 = 1_000;
/// The one parameter that is a JSON document.
pub const MAPPING: &str = "mapping";
/// Most rows a history answers.
pub const HISTORY_ROWS: i64 = 10_000;

/// The query parameters of one request.
#[derive(Debug, Clone)]
pub struct Query {
    uri: Uri,
    pairs: Vec<(String, String)>,
    read: BTreeSet<&'static str>,
    errors: Vec<FieldError>,
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Ok(Self::of_uri(&parts.uri))
    }
}

impl Query {
    /// The parameters of an address.
    pub fn of_uri(uri: &Uri) -> Self {
        let text = uri.query().unwrap_or_default();
        let mut pairs: Vec<(String, String)> = Vec::new();
        let mut errors = Vec::new();
        for part in text.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            // Clients that encode forms write a blank of the document as a plus.
            let value = if name == MAPPING { value.replace('+', " ") } else { value.to_owned() };
            match (decoded(name), decoded(&value)) {
                (Some(name), Some(value))
                    if value.contains(|c: char| c.is_control() && !breaks(&name, c)) =>
                {
                    errors.push(FieldError::parameter(
                        name.clone(),
                        "control_character",
                        "contains a control character",
                    ));
                    pairs.push((name, String::new()));
                }
                (Some(name), Some(value)) => {
                    if pairs.iter().any(|(known, _)| *known == name) {
                        errors.push(FieldError::parameter(
                            name.clone(),
                            "repeated",
                            "is given more than once",
                        ));
                    }
                    pairs.push((name, value));
                }
                _ => errors.push(FieldError::parameter(name, "not_text", "is not UTF-8 text")),
            }
        }
        Self { uri: uri.clone(), pairs, read: BTreeSet::new(), errors }
    }
}

/// Whether a parameter is JSON, which people write over several lines, and this is such a break.
fn breaks(name: &str, c: char) -> bool {
    name == MAPPING && matches!(c, '\n' | '\r' | '\t')
}

/// Percent-decoding; a `+` stays a plus, because times carry one.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

impl Query {
    /// A parameter; `None` when absent or empty.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        self.read.insert(name);
        let (_, value) = self.pairs.iter().find(|(known, _)| known == name)?;
        (!value.is_empty()).then(|| value.clone())
    }

    /// Notes a fault of a parameter.
    pub fn fault(&mut self, name: &'static str, code: &'static str, detail: impl Into<String>) {
        // One fault for a parameter: what follows from the first is no news.
        if self.errors.iter().all(|error| error.parameter.as_deref() != Some(name)) {
            self.errors.push(FieldError::parameter(name, code, detail));
        }
    }

    /// A required parameter.
    pub fn required(&mut self, name: &'static str) -> String {
        let value = self.text(name);
        if value.is_none() {
            self.fault(name, "required", "is required");
        }
        value.unwrap_or_default()
    }

    /// A name of an enumeration.
    pub fn one_of<T>(
        &mut self,
        name: &'static str,
        names: &[&str],
        read: fn(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(name)?;
        let value = read(&text);
        if value.is_none() {
            self.fault(name, "unknown_value", format!("must be one of {}", names.join(", ")));
        }
        value
    }

    /// True or false.
    pub fn flag(&mut self, name: &'static str) -> bool {
        match self.text(name).as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => {
                self.fault(name, "wrong_type", "must be true or false");
                false
            }
        }
    }

    /// An exact decimal, not below zero.
    pub fn decimal(&mut self, name: &'static str) -> Option<Decimal> {
        let text = self.text(name)?;
        match Decimal::parse_input(&text) {
            Ok(value) if value.is_negative() => {
                self.fault(name, "negative", "must not be below zero");
                None
            }
            Ok(value) => Some(value),
            Err(error) => {
                self.fault(name, "not_a_number", error.to_string());
                None
            }
        }
    }

    /// A whole number up to `max`.
    pub fn whole(&mut self, name: &'static str, max: u32) -> Option<u32> {
        let value = self.text(name)?.parse().ok().filter(|value| *value <= max);
        if value.is_none() {
            self.fault(name, "out_of_range", format!("must be a whole number up to {max}"));
        }
        value
    }

    fn time(
        &mut self,
        name: &'static str,
        whole_day: fn(NaiveDate, Tz) -> Moment,
        zone: Tz,
    ) -> Option<Moment> {
        let text = self.text(name)?;
        // An unescaped `+` of an offset arrives as a blank from clients that encode forms.
        let parsed = parse_written(&text.replace(' ', "+"));
        match parsed {
            Ok(Written::Moment(moment)) => Some(moment),
            Ok(Written::Day(day)) => Some(whole_day(day, zone)),
            Err(error) => {
                let code = if error == MomentError::NoZone { "time_without_zone" } else { "not_a_time" };
                self.fault(name, code, error.to_string());
                None
            }
        }
    }

    /// A day.
    pub fn day(&mut self, name: &'static str) -> Option<NaiveDate> {
        let text = self.text(name)?;
        if let Ok(Written::Day(day)) = parse_written(&text) {
            return Some(day);
        }
        self.fault(name, "not_a_day", "must be a day that exists, written YYYY-MM-DD");
        None
    }

    /// The values of a parameter that may be given several times, each a list separated by commas.
    pub fn list(&mut self, name: &'static str) -> Vec<String> {
        self.read.insert(name);
        self.errors.retain(|error| error.parameter.as_deref() != Some(name) || error.code != "repeated");
        let given = self.pairs.iter().filter(|(known, _)| known == name);
        let values = given.flat_map(|(_, value)| value.split(',')).map(str::trim);
        values.filter(|value| !value.is_empty()).map(str::to_owned).collect()
    }

    /// A moment; a bare day means its end in `zone`.
    pub fn until(&mut self, name: &'static str, zone: Tz) -> Option<Moment> {
        self.time(name, end_of_day, zone)
    }

    /// A moment; a bare day means its start in `zone`.
    pub fn from(&mut self, name: &'static str, zone: Tz) -> Option<Moment> {
        self.time(name, start_of_day, zone)
    }

    /// The end of a half-open span: a moment that is not included, or a bare day that is.
    pub fn before(&mut self, name: &'static str, zone: Tz) -> Option<Moment> {
        self.time(name, |day, zone| end_of_day(day, zone).plus(1), zone)
    }

    /// `limit`, up to `max`.
    pub fn limit(&mut self, max: i64) -> i64 {
        let Some(text) = self.text("limit") else { return ROWS.min(max) };
        match text.parse::<i64>() {
            Ok(limit) if (1..=max).contains(&limit) => limit,
            _ => {
                self.fault("limit", "out_of_range", format!("must be a number from 1 to {max}"));
                1
            }
        }
    }

    /// Refuses what pages are asked for with, where all of a list is written.
    pub fn no_pages(&mut self) {
        for name in ["limit", "cursor"] {
            if self.text(name).is_some() {
                self.fault(name, "not_used", "is for pages of JSON; with `format` all of it is written");
            }
        }
    }

    /// `cursor`, as given out by a page that was sorted in the same way.
    pub fn cursor(&mut self, sort: &str) -> Option<After> {
        let text = self.text("cursor")?;
        let after = unpack(&text).and_then(|plain| {
            let (given, rest) = plain.split_once('\n')?;
            let (key, value) = rest.split_once('\n')?;
            (given == sort && !value.contains('\0')).then_some(())?;
            Some(After { key: key.parse().ok()?, value: value.to_owned() })
        });
        if after.is_none() {
            self.fault("cursor", "invalid_cursor", "is not a cursor of this list in this order");
        }
        after
    }

    /// `sort`, `limit` and `cursor` of a list; `-` before a name sorts from the greatest.
    pub fn page<S: Copy>(&mut self, default: S, names: &[&str], read: fn(&str) -> Option<S>) -> Page<S> {
        let text = self.text("sort").unwrap_or_default();
        let (descending, name) = text.strip_prefix('-').map_or((false, text.as_str()), |name| (true, name));
        let sort = if name.is_empty() { Some(default) } else { read(name) };
        if sort.is_none() {
            self.fault(
                "sort",
                "unknown_value",
                format!("must be one of {}, with - for descending", names.join(", ")),
            );
        }
        let after = self.cursor(&text);
        Page { sort: sort.unwrap_or(default), descending, limit: self.limit(ROWS), after }
    }

    /// The order a list was asked for, to be bound into its cursor.
    pub fn sort_text(&mut self) -> String {
        self.text("sort").unwrap_or_default()
    }

    /// The path and query of the next page, for the `Link` header.
    pub fn next_link(&self, sort: &str, after: &After) -> HeaderMap {
        let mut pairs: Vec<String> = self
            .pairs
            .iter()
            .filter(|(name, _)| name != "cursor")
            .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
            .collect();
        pairs.push(format!("cursor={}", pack(&format!("{sort}\n{}\n{}", after.key, after.value))));
        let link = format!("<{}?{}>; rel=\"next\"", self.uri.path(), pairs.join("&"));
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_str(&link) {
            headers.insert(header::LINK, value);
        }
        headers
    }

    /// Takes over the faults of a JSON document in a parameter, with their places in it.
    pub fn adopt(&mut self, name: &'static str, faults: Vec<FieldError>) {
        let of_it = |fault| FieldError { parameter: Some(name.to_owned()), ..fault };
        self.errors.extend(faults.into_iter().map(of_it));
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// Every faulty parameter, unknown ones among them.
    pub fn finish(&mut self) -> Result<(), ApiError> {
        let mut errors = std::mem::take(&mut self.errors);
        for (name, _) in self.pairs.iter().filter(|(name, _)| !self.read.contains(name.as_str())) {
            errors.push(FieldError::parameter(
                name.clone(),
                "unknown_parameter",
                "is not a parameter of this route",
            ));
        }
        if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid(errors)) }
    }
}

/// Percent-encodes everything but letters, digits and `-._~`.
pub fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            write!(out, "%{byte:02X}").unwrap_or_default();
        }
        out
    })
}

/// Cursors are opaque, not secret: hex keeps people from building on their content.
fn pack(text: &str) -> String {
    hex(text.as_bytes())
}

fn unpack(text: &str) -> Option<String> {
    let digits: Option<Vec<u8>> = text
        .as_bytes()
        .chunks(2)
        .map(|pair| {
            std::str::from_utf8(pair)
                .ok()
                .filter(|pair| pair.len() == 2)
                .and_then(|pair| u8::from_str_radix(pair, 16).ok())
        })
        .collect();
    String::from_utf8(digits?).ok()
}
