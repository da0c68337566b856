//! Rows of prices as they are sent many at a time: an array, a table or lines.

use crate::domain::moment::Moment;
use crate::http::error::{ApiError, Code, FieldError};
use crate::http::fields::{Fields, Unknown, elements};
use crate::http::posted::{is_csv, is_ndjson};
use crate::http::prices::Sent;
use crate::workers::csv_records::Records;
use crate::workers::intake::Refused;
use axum::http::HeaderMap;
use csv::StringRecord;
use serde_json::value::{RawValue, to_raw_value};
use std::collections::BTreeMap;

/// Largest body, decompressed.
pub const BODY_MAX: usize = 8 << 20;
/// Most rows.
pub const ROWS_MAX: usize = 10_000;
/// Columns a CSV body may have: the fields of a row in JSON.
const COLUMNS: [&str; 11] = [
    "symbol",
    "ticker",
    "price",
    "close",
    "timestamp",
    "source",
    "interval",
    "open",
    "high",
    "low",
    "volume",
];

/// A row, as far as it can be told without the database.
#[derive(Debug)]
pub struct Row {
    /// Its line in a body of lines, its place in an array; from 1.
    pub line: u64,
    /// Where it stands in the body.
    pub pointer: String,
    /// What it says, or what is wrong with it.
    pub read: Result<Sent, Vec<FieldError>>,
}

/// How the rows of a body are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A JSON array.
    Array,
    /// A table with a header.
    Csv,
    /// One JSON object a line.
    Ndjson,
}

impl Shape {
    /// As the type of the body says.
    pub fn of(headers: &HeaderMap) -> Self {
        if is_csv(headers) {
            Self::Csv
        } else if is_ndjson(headers) {
            Self::Ndjson
        } else {
            Self::Array
        }
    }
}

/// The rows of a body.
///
/// # Errors
/// What is wrong with it as a whole; what is wrong with a row is told with the row.
pub fn read(body: &[u8], shape: Shape, now: Moment) -> Result<Vec<Row>, ApiError> {
    match shape {
        Shape::Array => json_rows(body, now),
        Shape::Csv => csv_rows(body, now),
        Shape::Ndjson => ndjson_rows(body, now),
    }
}

/// The rows of a JSON body.
fn json_rows(body: &[u8], now: Moment) -> Result<Vec<Row>, ApiError> {
    let (list, _) = elements(body)?;
    refuse_more(list.len())?;
    Ok((1..).zip(list).map(|(line, raw)| row(line, format!("/{}", line - 1), raw, now)).collect())
}

fn refuse_more(rows: usize) -> Result<(), ApiError> {
    if rows <= ROWS_MAX {
        return Ok(());
    }
    let fault = FieldError::at("", "too_many", format!("has {rows} rows; at most {ROWS_MAX} are taken"));
    Err(ApiError::invalid(vec![fault]))
}

fn row(line: u64, pointer: String, raw: &RawValue, now: Moment) -> Row {
    let read = Fields::of(raw, pointer.clone()).map_err(|fault| vec![fault]).and_then(|mut fields| {
        let sent = Sent::read_dated(&mut fields, now);
        let faults = fields.faults(Unknown::Refused);
        if faults.is_empty() { Ok(sent) } else { Err(faults) }
    });
    Row { line, pointer, read }
}

/// The rows of a body of lines; empty ones are passed over.
fn ndjson_rows(body: &[u8], now: Moment) -> Result<Vec<Row>, ApiError> {
    let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
    let mut rows = Vec::new();
    for (line, text) in (1..).zip(body.split(|byte| *byte == b'\n')) {
        if text.trim_ascii().is_empty() {
            continue;
        }
        refuse_more(rows.len() + 1)?;
        let pointer = format!("/lines/{line}");
        let raw = serde_json::from_slice::<&RawValue>(text);
        rows.push(raw.map_or_else(
            |_| {
                let fault = FieldError::at(pointer.clone(), "malformed_line", "is not a line of JSON");
                Row { line, pointer: pointer.clone(), read: Err(vec![fault]) }
            },
            |raw| row(line, pointer.clone(), raw, now),
        ));
    }
    Ok(rows)
}

/// The rows of a CSV body: each becomes the object its cells make, an empty cell being an absent field.
fn csv_rows(body: &[u8], now: Moment) -> Result<Vec<Row>, ApiError> {
    let malformed = |detail: String| ApiError::new(Code::InvalidRequest, detail);
    let text = std::str::from_utf8(body).map_err(|_| malformed("the body is not UTF-8 text".to_owned()))?;
    let mut records = Records::new(text.strip_prefix('\u{feff}').unwrap_or(text), None);
    let mut record = StringRecord::new();
    let mut next = |record: &mut StringRecord| {
        records.next(record).map_err(|error| malformed(format!("the body is not CSV: {error}")))
    };
    if next(&mut record)?.is_none() {
        return Err(malformed("the body is empty: a header line is expected".to_owned()));
    }
    let header: Vec<String> = record.iter().map(|name| name.trim().to_ascii_lowercase()).collect();
    for (place, name) in header.iter().enumerate() {
        let known = COLUMNS.contains(&name.as_str()) && !header.iter().take(place).any(|other| other == name);
        if !known {
            let detail = format!("column `{name}` is not one of {}, each once", COLUMNS.join(", "));
            return Err(ApiError::invalid(vec![FieldError::at("/lines/1", "unknown_column", detail)]));
        }
    }
    let mut rows = Vec::new();
    while let Some(start) = next(&mut record)? {
        refuse_more(rows.len() + 1)?;
        let pointer = format!("/lines/{}", start.line);
        if record.len() != header.len() || !start.well_quoted {
            let detail = format!("must have {} cells, quoted as RFC 4180 has it", header.len());
            let read = Err(vec![FieldError::at(pointer.clone(), "malformed_line", detail)]);
            rows.push(Row { line: start.line, pointer, read });
            continue;
        }
        let cells = header.iter().zip(record.iter().map(str::trim)).filter(|(_, cell)| !cell.is_empty());
        let cells: BTreeMap<&str, &str> = cells.map(|(name, cell)| (name.as_str(), cell)).collect();
        let raw = to_raw_value(&cells).map_err(|error| malformed(error.to_string()))?;
        rows.push(row(start.line, pointer, &raw, now));
    }
    Ok(rows)
}

impl Row {
    /// A refusal at the field as it was spelled.
    pub fn fault(&self, refused: Refused) -> FieldError {
        let fault = FieldError::at(format!("/{}", refused.field), refused.code, refused.detail);
        let fault = self.read.as_ref().map_or(fault.clone(), |sent| sent.spelled(fault));
        let pointer = format!("{}{}", self.pointer, fault.pointer.as_deref().unwrap_or_default());
        FieldError { pointer: Some(pointer), ..fault }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_read_or_refused_however_odd_it_is() {
        let bodies = [
            r#"[{"symbol":"GOLD","price":"2050.10","timestamp":"2025-01-01T00:00:00Z","source":"x"},{"symbol":"b","close":1e3}]"#,
            "symbol,timestamp,price,source\nGOLD,2025-01-01,2050.10,\n\"B,T\",2025-01-01T00:00:00+01:00,1,x\n",
            "{\"symbol\":\"GOLD\",\"price\":1}\n\n{\"ticker\":\"GOLD\",\"price\":\"1\",\"interval\":\"1d\"}\n",
        ];
        let now = Moment::parse("2026-01-01T00:00:00Z").unwrap();
        crate::domain::hammer::hammer(&bodies, |body| {
            for shape in [Shape::Array, Shape::Csv, Shape::Ndjson] {
                let Ok(rows) = read(body, shape, now) else { continue };
                assert!(rows.is_sorted_by(|one, next| one.line < next.line), "a line of its own for each");
                let faults = rows.iter().filter_map(|row| row.read.as_ref().err());
                assert!(faults.into_iter().all(|faults| !faults.is_empty()));
            }
        });
    }
}
