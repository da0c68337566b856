//! CSV bodies: the fields of a row are columns by the names in the header.

use super::{BodyFault, Cells, Field, Mapping, Token, unlike};
use crate::workers::csv_records::Records;
use csv::StringRecord;
use std::borrow::Cow;

/// A line of a table.
struct Line<'t> {
    header: &'t [String],
    record: &'t StringRecord,
    number: u64,
}

impl<'a> Cells<'a> for Line<'_> {
    fn token(&self, field: &Field) -> Result<Token<'a>, BodyFault> {
        let pointer = format!("line {}, column {}", self.number, field.at);
        let place = self.header.iter().position(|name| *name == field.at);
        let cell = place.and_then(|place| self.record.get(place)).map(str::trim);
        Ok(Token {
            pointer,
            text: cell.filter(|cell| !cell.is_empty()).map(|cell| Cow::Owned(cell.to_owned())),
        })
    }

    fn key(&self) -> Option<Token<'a>> {
        None
    }
}

/// Calls `take` with each line of a table, in order.
pub(super) fn each_row<'a>(
    text: &str,
    delimiter: u8,
    mapping: &Mapping,
    mut take: impl FnMut(Result<&dyn Cells<'a>, BodyFault>) -> Result<(), BodyFault>,
) -> Result<(), BodyFault> {
    let mut records = Records::new(text, Some(delimiter));
    let mut record = StringRecord::new();
    let broken = |error: csv::Error| unlike("", format!("is not CSV: {error}"));
    if records.next(&mut record).map_err(broken)?.is_none() {
        return Err(unlike("", "is empty: a header line is expected"));
    }
    let header: Vec<String> = record.iter().map(|name| name.trim().to_owned()).collect();
    let fields = [
        mapping.time.as_ref(),
        Some(&mapping.close),
        mapping.open.as_ref(),
        mapping.high.as_ref(),
        mapping.low.as_ref(),
        mapping.volume.as_ref(),
        mapping.symbol.as_ref(),
    ];
    for field in fields.into_iter().flatten().filter(|field| !field.optional) {
        if !header.contains(&field.at) {
            let rule = format!("is not in the header `{}`", header.join(","));
            return Err(unlike(format!("column {}", field.at), rule));
        }
    }
    while let Some(start) = records.next(&mut record).map_err(broken)? {
        if record.len() != header.len()
            && !(record.len() == header.len() + 1 && record.iter().next_back() == Some(""))
        {
            let rule = format!("has {} cells, and the header {}", record.len(), header.len());
            take(Err(unlike(format!("line {}", start.line), rule)))?;
            continue;
        }
        take(Ok(&Line { header: &header, record: &record, number: start.line }))?;
    }
    Ok(())
}
