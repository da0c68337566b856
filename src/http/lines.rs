//! Lines of answers that have them by the hundred thousand: JSON written by hand, byte for byte as serde writes it, and
//! rows of a table.

use crate::domain::decimal::{Decimal, Plain};
use crate::domain::moment::Moment;
use crate::http::export_records::csv_line;
use axum::body::Bytes;
use serde::Serialize;
use std::sync::Arc;

/// Bytes of a piece of an answer, about.
pub const PIECE: usize = 128 << 10;
/// Room for the line that a piece ends with.
const LINE: usize = 1 << 10;

/// Lines that are being written.
#[derive(Debug, Default)]
pub struct Lines {
    out: Vec<u8>,
    /// The name written last, and how it is written.
    name: Option<(Arc<str>, String)>,
    /// The stamp written last, and how it is written.
    stamp: Option<(Moment, [u8; 27])>,
}

/// A text as JSON.
pub fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

impl Lines {
    /// Whether there is enough of them for a piece.
    pub const fn are_many(&self) -> bool {
        self.out.len() >= PIECE
    }

    /// Takes out what is written; `None` of nothing.
    pub fn take(&mut self) -> Option<Bytes> {
        let out = std::mem::take(&mut self.out);
        (!out.is_empty()).then(|| out.into())
    }

    /// Writes a row of a table.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let mut line = String::new();
        csv_line(&mut line, cells);
        self.put(&line);
    }

    /// Writes a line of JSON by serde.
    pub fn record(&mut self, record: &impl Serialize) {
        self.put(&serde_json::to_string(record).unwrap_or_default()).put("\n");
    }

    /// Writes a part of a line of JSON as it is.
    pub fn put(&mut self, text: &str) -> &mut Self {
        if self.out.capacity() == 0 {
            self.out.reserve(PIECE + LINE);
        }
        self.out.extend_from_slice(text.as_bytes());
        self
    }

    /// Writes a moment.
    pub fn moment(&mut self, moment: Moment) -> &mut Self {
        match moment.text() {
            Some(text) => self.text(&text),
            None => self.text(moment.to_string().as_bytes()),
        }
    }

    /// Writes a moment of which most lines have the same.
    pub fn stamp(&mut self, moment: Moment) -> &mut Self {
        let known = self.stamp.filter(|(known, _)| *known == moment);
        self.stamp = known.or_else(|| Some((moment, moment.text()?)));
        match self.stamp {
            Some((_, text)) => self.text(&text),
            None => self.moment(moment),
        }
    }

    /// Writes a number with the digits it was given with; `null` for none.
    pub fn number(&mut self, number: Option<&Decimal>) -> &mut Self {
        let Some(number) = number else { return self.put("null") };
        match number.small().and_then(|(mantissa, scale)| Plain::of(mantissa, scale)) {
            Some(plain) => self.text(plain.bytes()),
            None => self.text(number.to_string().as_bytes()),
        }
    }

    /// Writes a number without trailing zeros; `null` for none.
    pub fn figure(&mut self, number: Option<&Decimal>) -> &mut Self {
        let Some(number) = number else { return self.put("null") };
        match number.small().and_then(|(mantissa, scale)| Plain::trimmed(mantissa, scale)) {
            Some(plain) => self.text(plain.bytes()),
            None => self.text(number.normalized().to_string().as_bytes()),
        }
    }

    /// Writes a text that has nothing to escape.
    fn text(&mut self, text: &[u8]) -> &mut Self {
        self.out.push(b'"');
        self.out.extend_from_slice(text);
        self.out.push(b'"');
        self
    }

    /// Writes a whole number.
    pub fn count(&mut self, count: u64) -> &mut Self {
        match i64::try_from(count).ok().and_then(|count| Plain::of(count, 0)) {
            Some(plain) => self.out.extend_from_slice(plain.bytes()),
            None => self.out.extend_from_slice(count.to_string().as_bytes()),
        }
        self
    }

    /// Writes a name, of which most lines have the same.
    pub fn name(&mut self, name: &Arc<str>) -> &mut Self {
        let (_, written) = match self.name.take() {
            Some(known) if known.0 == *name => self.name.insert(known),
            _ => self.name.insert((Arc::clone(name), quoted(name))),
        };
        self.out.extend_from_slice(written.as_bytes());
        self
    }
}
