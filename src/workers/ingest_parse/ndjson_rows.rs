//! Rows of an NDJSON file: one JSON object a line, its keys named as the columns of a CSV file.
//!
//! A newcomer's mistake is to let JSON numbers become binary floats: they are kept as the digits they are
//! written with ([`RawValue`]) until [`decimal`] reads those. Keys that are no field are ignored.

use super::columns::positions;
use super::row::{Symbols, Wrong, decimal};
use super::times::{Time, Times, may_be_unix};
use super::{Code, Field, Format, Options, ParseError, Parsed, Row, list};
use crate::domain::decimal::Decimal;
use crate::domain::price::{Bar, Quote};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// The longest line that is read.
const LINE_BYTES: usize = 64 * 1024;

/// Reads `text` after its byte order mark.
pub(super) fn parse(text: &str, options: &Options) -> Result<Parsed, ParseError> {
    if options.bid_ask.is_some() {
        return Err(ParseError::BidAskInNdjson);
    }
    let mut rows = Rows {
        options,
        times: Times::new(options),
        symbols: Symbols::new(options),
        parsed: Parsed {
            format: Format::Ndjson,
            rows: Vec::new(),
            refused: Vec::new(),
            other_symbols: 0,
            ambiguous_times: 0,
            columns: Vec::new(),
        },
    };
    for (line, text) in (1..).zip(text.split('\n')) {
        if text.trim_ascii().is_empty() {
            continue;
        }
        match object(text) {
            Ok(object) => rows.take(&object, line)?,
            Err(wrong) => rows.parsed.refused.push(wrong.on(line)),
        }
        rows.parsed.check_size()?;
    }
    rows.parsed.columns.sort();
    rows.parsed.other_symbols = rows.symbols.others()?;
    Ok(rows.parsed)
}

/// The members of an object as they are written: repeated keys are kept, so that they can be refused.
struct Object<'t>(Vec<(String, &'t RawValue)>);

fn object(line: &str) -> Result<Object<'_>, Wrong> {
    if line.len() > LINE_BYTES {
        let why = format!("the line has {} bytes, more than {LINE_BYTES}", line.len());
        return Err(Wrong::row(Code::LineTooLong, why));
    }
    serde_json::from_str(line).map_err(|error| {
        let why = format!("the line is not one JSON object (column {})", error.column());
        Wrong::row(Code::InvalidJson, why)
    })
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Object(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// What is being made of the objects.
struct Rows<'o> {
    options: &'o Options,
    times: Times,
    symbols: Symbols<'o>,
    parsed: Parsed,
}

impl Rows<'_> {
    fn take(&mut self, object: &Object<'_>, line: u64) -> Result<(), ParseError> {
        let wanted = match self.symbol(object) {
            Ok(Some(symbol)) => self.symbols.takes(&symbol)?,
            Ok(None) => true,
            Err(wrong) => {
                self.parsed.refused.push(wrong.on(line));
                return Ok(());
            }
        };
        if !wanted {
            return Ok(());
        }
        match self.row(object, line) {
            Ok((row, ambiguous)) => {
                self.parsed.ambiguous_times += u64::from(ambiguous);
                self.parsed.rows.push(row);
            }
            Err(wrong) => self.parsed.refused.push(wrong.on(line)),
        }
        Ok(())
    }

    /// The row, and whether its local time happened twice.
    fn row(&mut self, object: &Object<'_>, line: u64) -> Result<(Row, bool), Wrong> {
        let time = self.time(object)?;
        let price = self.number(object, Field::Price)?.ok_or_else(|| missing(Field::Price))?;
        let bar = Bar {
            open: self.number(object, Field::Open)?,
            high: self.number(object, Field::High)?,
            low: self.number(object, Field::Low)?,
            volume: self.number(object, Field::Volume)?,
        };
        Ok((Row { line, observed_at: time.moment, quote: Quote::new(price, bar) }, time.ambiguous))
    }

    /// The key and the value of `field`; `None` where it is absent or null.
    fn member<'a>(
        &mut self,
        object: &'a Object<'_>,
        field: Field,
    ) -> Result<Option<(&'a str, &'a str)>, Wrong> {
        let names = object.0.iter().map(|(key, _)| key.as_str());
        let found = positions(&names, field, self.options);
        let [at] = found.as_slice() else {
            if found.is_empty() {
                return Ok(None);
            }
            let keys = list(names.enumerate().filter(|(at, _)| found.contains(at)).map(|(_, key)| key));
            return Err(Wrong::field(
                field,
                Code::AmbiguousField,
                &format!("is given more than once: {keys}"),
            ));
        };
        let Some((key, value)) = object.0.get(*at) else { return Ok(None) };
        if !self.parsed.columns.iter().any(|(known, name)| *known == field && name == key) {
            self.parsed.columns.push((field, key.clone()));
        }
        Ok(Some((key.as_str(), value.get())).filter(|(_, value)| *value != "null"))
    }

    fn number(&mut self, object: &Object<'_>, field: Field) -> Result<Option<Decimal>, Wrong> {
        let Some((_, value)) = self.member(object, field)? else { return Ok(None) };
        let digits = text_or_number(field, value)?;
        decimal(field, &digits).map(Some)
    }

    fn time(&mut self, object: &Object<'_>) -> Result<Time, Wrong> {
        let (key, value) = self.member(object, Field::Time)?.ok_or_else(|| missing(Field::Time))?;
        let text = text_or_number(Field::Time, value)?;
        self.times.read(&text, may_be_unix(key))
    }

    fn symbol(&mut self, object: &Object<'_>) -> Result<Option<String>, Wrong> {
        let Some((_, value)) = self.member(object, Field::Symbol)? else { return Ok(None) };
        let symbol: String = serde_json::from_str(value)
            .map_err(|_| Wrong::value(Field::Symbol, Code::WrongType, value, "is not a JSON string"))?;
        Ok(Some(symbol.trim().to_owned()))
    }
}

fn missing(field: Field) -> Wrong {
    Wrong::field(field, Code::Missing, "is missing")
}

/// The text of a JSON string, or the digits of a number as they are written.
fn text_or_number(field: Field, value: &str) -> Result<String, Wrong> {
    if value.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return Ok(value.to_owned());
    }
    serde_json::from_str(value)
        .map_err(|_| Wrong::value(field, Code::WrongType, value, "is not a JSON string or number"))
}
