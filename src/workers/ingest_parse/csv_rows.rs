//! Price rows of a CSV file (RFC 4180).

use super::columns::Columns;
use super::row::{Symbols, Wrong};
use super::times::{Times, may_be_unix};
use super::{Code, Field, Format, Options, ParseError, Parsed, Row};
use crate::domain::price::{Bar, Quote};
use crate::workers::csv_records::{Records, Start};
use csv::StringRecord;

/// Reads `text` after its byte order mark.
pub(super) fn parse(text: &str, options: &Options) -> Result<Parsed, ParseError> {
    let mut records = Records::new(text, None);
    let mut record = StringRecord::new();
    let Some(start) = records.next(&mut record)? else { return Err(ParseError::Empty) };
    if !start.well_quoted {
        return Err(ParseError::MalformedHeader { line: start.line });
    }
    let header: Vec<String> = record.iter().map(|name| name.trim().to_owned()).collect();
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let columns = Columns::choose(&header, options)?;
    let mut rows = Rows {
        unix: header.get(columns.time).is_some_and(|name| may_be_unix(name)),
        cells: header.len(),
        times: Times::new(options),
        symbols: Symbols::new(options),
        parsed: Parsed {
            format: Format::Csv,
            rows: Vec::new(),
            refused: Vec::new(),
            other_symbols: 0,
            ambiguous_times: 0,
            columns: columns.named(&header),
        },
        columns,
    };
    while let Some(start) = records.next(&mut record)? {
        rows.take(&record, &start)?;
        rows.parsed.check_size()?;
    }
    rows.parsed.other_symbols = rows.symbols.others()?;
    Ok(rows.parsed)
}

/// What is being made of the rows.
struct Rows<'o> {
    columns: Columns,
    unix: bool,
    cells: usize,
    times: Times,
    symbols: Symbols<'o>,
    parsed: Parsed,
}

impl Rows<'_> {
    fn take(&mut self, record: &StringRecord, start: &Start) -> Result<(), ParseError> {
        let line = start.line;
        if let Err(wrong) = self.check_shape(record, start) {
            self.parsed.refused.push(wrong.on(line));
            return Ok(());
        }
        if let Some(at) = self.columns.symbol {
            let symbol = record.get(at).unwrap_or_default().trim();
            if symbol.is_empty() {
                self.parsed.refused.push(Wrong::field(Field::Symbol, Code::Missing, "is empty").on(line));
                return Ok(());
            }
            if !self.symbols.takes(symbol)? {
                return Ok(());
            }
        }
        match self.row(record, line) {
            Ok((row, ambiguous)) => {
                self.parsed.ambiguous_times += u64::from(ambiguous);
                self.parsed.rows.push(row);
            }
            Err(wrong) => self.parsed.refused.push(wrong.on(line)),
        }
        Ok(())
    }

    fn check_shape(&self, record: &StringRecord, start: &Start) -> Result<(), Wrong> {
        if !start.well_quoted {
            let rows =
                format!("quotation marks are misplaced or unclosed from here to line {}", start.last_line);
            return Err(Wrong::row(Code::MalformedQuotes, rows));
        }
        if record.len() != self.cells {
            let counts = format!("the row has {} cells, the header {}", record.len(), self.cells);
            return Err(Wrong::row(Code::WrongCellCount, counts));
        }
        Ok(())
    }

    /// The row, and whether its local time happened twice.
    fn row(&mut self, record: &StringRecord, line: u64) -> Result<(Row, bool), Wrong> {
        let missing = |field| Wrong::field(field, Code::Missing, "is empty");
        let time = match record.get(self.columns.time).unwrap_or_default().trim() {
            "" => return Err(missing(Field::Time)),
            text => self.times.read(text, self.unix)?,
        };
        let columns = &self.columns;
        let read = |source: Option<super::columns::Source>, field| match source {
            Some(source) => source.read(field, record),
            None => Ok(None),
        };
        let price = columns.price.read(Field::Price, record)?.ok_or_else(|| missing(Field::Price))?;
        let bar = Bar {
            open: read(columns.open, Field::Open)?,
            high: read(columns.high, Field::High)?,
            low: read(columns.low, Field::Low)?,
            volume: read(columns.volume, Field::Volume)?,
        };
        Ok((Row { line, observed_at: time.moment, quote: Quote::new(price, bar) }, time.ambiguous))
    }
}
