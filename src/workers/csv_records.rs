//! Records of a CSV file (RFC 4180) with the lines they stand on.
//!
//! A newcomer's mistake is to trust the reader's own line numbers and its leniency: it counts blank lines and
//! CRLF to the wrong row, and a quotation mark left open makes it swallow the rest of the file as one cell.

use csv::{ReaderBuilder, StringRecord};

/// Where a record stands in the file.
#[derive(Debug, Clone, Copy)]
pub struct Start {
    /// Its first line, the first of the file being 1.
    pub line: u64,
    /// Its last line.
    pub last_line: u64,
    /// Whether its quotation marks stand as RFC 4180 wants them.
    pub well_quoted: bool,
}

/// The records of a file, with their physical lines.
pub struct Records<'t> {
    text: &'t [u8],
    reader: csv::Reader<&'t [u8]>,
    delimiter: u8,
    /// How far lines are counted, and the line that is.
    counted: usize,
    line: u64,
}

impl<'t> Records<'t> {
    /// The records of `text` after its byte order mark; without a delimiter, the one its first line has most of.
    pub fn new(text: &'t str, delimiter: Option<u8>) -> Self {
        let delimiter = delimiter.unwrap_or_else(|| sniff(text));
        let text = text.as_bytes();
        let reader =
            ReaderBuilder::new().delimiter(delimiter).has_headers(false).flexible(true).from_reader(text);
        Self { text, reader, delimiter, counted: 0, line: 1 }
    }

    /// Reads the next record.
    ///
    /// # Errors
    /// The reader's.
    pub fn next(&mut self, record: &mut StringRecord) -> Result<Option<Start>, csv::Error> {
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
