//! Rows of a CSV file (RFC 4180).
//!
//! A newcomer's mistake is to trust the reader's own line numbers and its leniency: it counts blank lines and
//! CRLF to the wrong row, and a quotation mark left open makes it swallow the rest of the file as one cell.

use super::columns::Columns;
use super::row::{Symbols, Wrong};
use super::times::{Times, may_be_unix};
use super::{Code, Field, Format, Options, ParseError, Parsed, Row};
use crate::domain::price::Quote;
use csv::{ReaderBuilder, StringRecord};

/// Reads `text` after its byte order mark.
pub(super) fn parse(text: &str, options: &Options) -> Result<Parsed, ParseError> {
    let mut records = Records::new(text);
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
        let quote = Quote {
            price: columns.price.read(Field::Price, record)?.ok_or_else(|| missing(Field::Price))?,
            open: read(columns.open, Field::Open)?,
            high: read(columns.high, Field::High)?,
            low: read(columns.low, Field::Low)?,
            volume: read(columns.volume, Field::Volume)?,
        };
        Ok((Row { line, observed_at: time.moment, quote }, time.ambiguous))
    }
}

/// Where a record stands in the file.
struct Start {
    line: u64,
    last_line: u64,
    well_quoted: bool,
}

/// The records of a file, with their physical lines.
struct Records<'t> {
    text: &'t [u8],
    reader: csv::Reader<&'t [u8]>,
    delimiter: u8,
    /// How far lines are counted, and the line that is.
    counted: usize,
    line: u64,
}

impl<'t> Records<'t> {
    fn new(text: &'t str) -> Self {
        let delimiter = sniff(text);
        let text = text.as_bytes();
        let reader =
            ReaderBuilder::new().delimiter(delimiter).has_headers(false).flexible(true).from_reader(text);
        Self { text, reader, delimiter, counted: 0, line: 1 }
    }

    fn next(&mut self, record: &mut StringRecord) -> Result<Option<Start>, ParseError> {
        if !self.reader.read_record(record)? {
            return Ok(None);
        }
        let position = |byte: u64| usize::try_from(byte).unwrap_or(usize::MAX);
        let end = position(self.reader.position().byte());
        // The reader lets a record start with what is left of the line break before it and with blank lines.
        self.count_to(record.position().map_or(end, |start| position(start.byte())));
        while self.text.get(self.counted).is_some_and(|byte| is_break(*byte)) {
            self.count_to(self.counted + 1);
        }
        let raw = self.text.get(self.counted..end).unwrap_or_default();
        let raw = raw.trim_ascii_end();
        let line = self.line;
        self.count_to(self.counted + raw.len());
        Ok(Some(Start { line, last_line: self.line, well_quoted: well_quoted(raw, self.delimiter) }))
    }

    fn count_to(&mut self, end: usize) {
        let passed = self.text.get(self.counted..end).unwrap_or_default();
        let after = self.text.get(self.counted + 1..).unwrap_or_default().iter().map(Some).chain([None]);
        // The reader also ends a line at a lone carriage return.
        let breaks = passed
            .iter()
            .zip(after)
            .filter(|(byte, next)| **byte == b'\n' || (**byte == b'\r' && *next != Some(&b'\n')));
        self.line += u64::try_from(breaks.count()).unwrap_or(u64::MAX);
        self.counted = end.max(self.counted);
    }
}

const fn is_break(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

/// The delimiter of which the first line has most; a comma if it has none.
fn sniff(text: &str) -> u8 {
    let header = text.trim_start_matches(['\n', '\r']).split(['\n', '\r']).next().unwrap_or_default();
    // Every second piece between quotation marks is inside them.
    let outside = || header.split('"').step_by(2);
    let count = |delimiter: char| outside().map(|piece| piece.matches(delimiter).count()).sum::<usize>();
    let (commas, semicolons, tabs) = (count(','), count(';'), count('\t'));
    if commas >= semicolons.max(tabs) {
        b','
    } else if semicolons >= tabs {
        b';'
    } else {
        b'\t'
    }
}

/// Whether quotation marks stand only around whole cells, and doubled inside them (RFC 4180, 2.5 to 2.7).
fn well_quoted(record: &[u8], delimiter: u8) -> bool {
    enum At {
        Start,
        Plain,
        Quoted,
        Closed,
    }
    if !record.contains(&b'"') {
        return true;
    }
    let mut at = At::Start;
    for byte in record {
        at = match (at, *byte) {
            (At::Quoted, b'"') => At::Closed,
            (At::Start | At::Closed, b'"') | (At::Quoted, _) => At::Quoted,
            (At::Plain, b'"') => return false,
            (_, byte) if byte == delimiter => At::Start,
            (At::Closed, _) => return false,
            (At::Start | At::Plain, _) => At::Plain,
        };
    }
    !matches!(at, At::Quoted)
}
