//! Reads a price file: bytes in, price rows and line-numbered refusals out. No clock, no I/O.
//!
//! CSV (RFC 4180, header first, `,` `;` or tab) and NDJSON. A bad row is refused and the others are taken;
//! a file whose columns are in doubt is refused whole. Nothing is rounded, guessed or filled in: an empty
//! price is a refusal, never zero. A newcomer's mistake is to take a [`Refusal`] for an error of the file:
//! [`parse`] answers `Ok` with nothing but refusals, and the caller decides how many are too many.
//!
//! Times: RFC 3339 with a zone is a moment. A time without one is read on the clocks of
//! [`Options::time_zone`] and refused without it; the hour that those clocks skip in spring is refused, the
//! hour they show twice in autumn is its first passing, and [`Parsed::ambiguous_times`] counts those rows. A
//! bare date is the first moment of that day in the zone, UTC without one. Whole numbers are Unix times,
//! whose unit (s, ms, us, ns) follows from their size: below 10^10, 10^13 and 10^16 either way from zero.

mod columns;
mod csv_rows;
mod ndjson_rows;
pub mod rate_table;
mod row;
#[cfg(test)]
mod tests;
mod times;

use crate::domain::interval::Interval;
use crate::domain::moment::Moment;
use crate::domain::price::Quote;
use crate::named_enum;
use crate::workers::file_place::Place;
use chrono_tz::Tz;
use std::collections::BTreeMap;
use std::fmt;

named_enum! {
    /// How a file is written.
    Format {
        /// Comma-, semicolon- or tab-separated, header first.
        Csv = "csv",
        /// One JSON object a line.
        Ndjson = "ndjson",
    }
}

named_enum! {
    /// What a column holds: the left side of `map=FIELD=COLUMN`.
    Field {
        /// The stamp.
        Time = "time",
        /// The price; of a candle, its close.
        Price = "price",
        /// First price of the candle.
        Open = "open",
        /// Highest price of the candle.
        High = "high",
        /// Lowest price of the candle.
        Low = "low",
        /// Units traded.
        Volume = "volume",
        /// Whose price it is.
        Symbol = "symbol",
    }
}

named_enum! {
    /// Which price to take from a file that has a bid and an ask.
    BidAsk {
        /// Exactly halfway between them.
        Mid = "mid",
        /// What buyers offer.
        Bid = "bid",
        /// What sellers ask.
        Ask = "ask",
    }
}

named_enum! {
    /// Which end of a candle its row is observed at.
    Stamp {
        /// The stamp of the file, as it is.
        Start = "start",
        /// The stamp of the file, moved on by one interval: the close is not known before the candle ended.
        End = "end",
    }
}

named_enum! {
    /// Why a row is refused; stable, for programs.
    Code {
        /// More or fewer cells than the header.
        WrongCellCount = "wrong_cell_count",
        /// Quotation marks that RFC 4180 does not allow, or one left open.
        MalformedQuotes = "malformed_quotes",
        /// A line above the limit.
        LineTooLong = "line_too_long",
        /// Not one JSON object.
        InvalidJson = "invalid_json",
        /// A JSON value of the wrong type.
        WrongType = "wrong_type",
        /// Two keys of one object for the same field.
        AmbiguousField = "ambiguous_field",
        /// A required field that is absent, empty or null.
        Missing = "missing",
        /// Not a plain decimal number.
        NotADecimal = "not_a_decimal",
        /// Zero or less where that cannot be.
        NotPositive = "not_positive",
        /// More digits than are kept exactly.
        TooManyDigits = "too_many_digits",
        /// Not a time, or a day that does not exist.
        NotATime = "not_a_time",
        /// More than microseconds.
        TimeTooPrecise = "time_too_precise",
        /// No zone in the row and none in the options.
        TimeWithoutZone = "time_without_zone",
        /// A local time that the clocks of the zone skip.
        NonexistentLocalTime = "nonexistent_local_time",
        /// A whole number that may be a date or a Unix time, or is in another unit than those above it.
        AmbiguousUnixTime = "ambiguous_unix_time",
    }
}

/// What is known about the file, and what is wanted from it. The default leaves everything to the file.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// How it is written; `None` looks at its first byte.
    pub format: Option<Format>,
    /// Columns by name, for fields that are not to be guessed.
    pub map: BTreeMap<Field, String>,
    /// Read the columns `bid_*` and `ask_*` instead of a price. CSV only.
    pub bid_ask: Option<BidAsk>,
    /// The zone of times without one and of bare dates, and the calendar of days, weeks and months.
    pub time_zone: Option<Tz>,
    /// Which end of a candle its row is observed at; `None` is [`Stamp::Start`].
    pub stamp: Option<Stamp>,
    /// The length of the candles, needed for [`Stamp::End`].
    pub interval: Option<Interval>,
    /// Take only the rows of this symbol, whatever its case. Rows without a symbol are taken.
    pub symbol: Option<String>,
}

/// One price of the file, in the file's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its line, the first being 1.
    pub line: u64,
    /// When it was observed.
    pub observed_at: Moment,
    /// What it says.
    pub quote: Quote,
}

/// One row that was not taken, with the first thing wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The line it starts on, the first being 1.
    pub line: u64,
    /// The field at fault; `None` is the row as a whole.
    pub field: Option<Field>,
    /// Why, for programs.
    pub code: Code,
    /// Why, for people.
    pub detail: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.detail)
    }
}

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// How it was written.
    pub format: Format,
    /// Its prices, in order of line; several may have the same time.
    pub rows: Vec<Row>,
    /// Its other rows, in order of line.
    pub refused: Vec<Refusal>,
    /// Rows of symbols that were not asked for.
    pub other_symbols: u64,
    /// Rows taken whose local time happened twice; the first passing was taken.
    pub ambiguous_times: u64,
    /// Which column was read as which field; two for a price between bid and ask.
    pub columns: Vec<(Field, String)>,
}

/// Why a whole file is unusable.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// Nothing in it.
    #[error("the file is empty: a header line or a JSON object is expected")]
    Empty,
    /// Bytes that are no UTF-8.
    #[error("line {line} is not UTF-8 text")]
    NotUtf8 {
        /// Line of the first such byte.
        line: u64,
    },
    /// The header breaks the rules of quotation.
    #[error("line {line}: the header has misplaced or unclosed quotation marks")]
    MalformedHeader {
        /// Its line.
        line: u64,
    },
    /// A required column is not there.
    #[error("no {field} column among {columns}; name it with the parameter `map={field}=COLUMN`")]
    NoColumn {
        /// What it would hold.
        field: Field,
        /// Those that are there.
        columns: String,
    },
    /// More than one column would do.
    #[error("columns {columns} could each be the {field}; choose with the parameter `map={field}=COLUMN`")]
    AmbiguousColumns {
        /// What they could hold.
        field: Field,
        /// Their names.
        columns: String,
    },
    /// A mapped column is not there.
    #[error("the parameter `map={field}={wanted}`: the file has no such column, only {columns}")]
    UnknownColumn {
        /// What it would hold.
        field: Field,
        /// Its name.
        wanted: String,
        /// Those that are there.
        columns: String,
    },
    /// A bid and an ask, and no word which to take.
    #[error(
        "the file has no price column but bid and ask columns; choose mid, bid or ask with the parameter `bid_ask`"
    )]
    BidAskRequired,
    /// The side that is wanted has no price column.
    #[error(
        "the parameter `bid_ask`: no {side} price column (`{side}_close`, `{side}_price` or `{side}`) among {columns}"
    )]
    NoSide {
        /// `bid` or `ask`.
        side: &'static str,
        /// The columns that are there.
        columns: String,
    },
    /// More than one column would do for a side.
    #[error("columns {columns} could each be the {side} {field}; remove or rename all but one")]
    AmbiguousSide {
        /// `bid` or `ask`.
        side: &'static str,
        /// What they could hold.
        field: Field,
        /// Their names.
        columns: String,
    },
    /// Options that exclude each other.
    #[error(
        "the parameter `bid_ask` chooses the columns of prices, so the parameter `map={field}=COLUMN` cannot"
    )]
    MapWithBidAsk {
        /// The field that is mapped.
        field: Field,
    },
    /// NDJSON has one price an object.
    #[error("the parameter `bid_ask` is for CSV files; map one key with the parameter `map=price=KEY`")]
    BidAskInNdjson,
    /// The end of a candle of unknown length.
    #[error("the parameter `stamp=end` needs the length of the candles: add the parameter `interval`")]
    IntervalRequired,
    /// No row of the symbol that is wanted.
    #[error("no row is of symbol `{wanted}`; the file has {found}")]
    SymbolNotFound {
        /// The symbol.
        wanted: String,
        /// Some that are there.
        found: String,
    },
    /// Several assets in one file, and no word which to take.
    #[error("the file has rows of several symbols ({found}); choose one")]
    SeveralSymbols {
        /// The first two.
        found: String,
    },
    /// A table of rates without a currency.
    #[error(
        "no currency column among {columns}; a table of rates has one column per currency, named by its code"
    )]
    NoCurrency {
        /// Those that are there.
        columns: String,
    },
    /// Two columns of one currency.
    #[error("the currency {currency} has more than one column")]
    RepeatedCurrency {
        /// Its code.
        currency: String,
    },
    /// A column of the currency that the rates are of.
    #[error("the file has a column of {currency}, which is the base of its rates")]
    BaseAmongCurrencies {
        /// Its code.
        currency: String,
    },
    /// More prices than one file may have.
    #[error("the file has more than {ROWS_MAX} prices; cut it into parts")]
    TooManyRows,
    /// Nearly nothing in it can be read.
    #[error("more than {REFUSED_MAX} rows of the file are refused: it is not what it is taken for")]
    TooManyRefused,
    /// The CSV reader gave up.
    #[error("the file cannot be read as CSV")]
    Csv(#[from] csv::Error),
}

impl ParseError {
    /// What is at fault, and the code of the rule, for programs.
    pub fn place(&self) -> (Place, &'static str) {
        match self {
            Self::Empty => (Place::File, "empty"),
            Self::NotUtf8 { line } => (Place::Line(*line), "not_utf8"),
            Self::MalformedHeader { line } => (Place::Line(*line), "malformed_quotes"),
            Self::NoColumn { .. } => (Place::Parameter("map"), "missing_column"),
            Self::AmbiguousColumns { .. } => (Place::Parameter("map"), "ambiguous_column"),
            Self::UnknownColumn { .. } => (Place::Parameter("map"), "unknown_column"),
            Self::BidAskRequired => (Place::Parameter("bid_ask"), "required"),
            Self::NoSide { .. } => (Place::Parameter("bid_ask"), "missing_column"),
            Self::AmbiguousSide { .. } => (Place::Parameter("bid_ask"), "ambiguous_column"),
            Self::MapWithBidAsk { .. } => (Place::Parameter("map"), "not_used"),
            Self::BidAskInNdjson => (Place::Parameter("bid_ask"), "not_used"),
            Self::IntervalRequired => (Place::Parameter("interval"), "required"),
            Self::SymbolNotFound { .. } => (Place::Parameter("symbol"), "not_found"),
            Self::SeveralSymbols { .. } => (Place::Parameter("symbol"), "required"),
            Self::NoCurrency { .. } => (Place::File, "missing_column"),
            Self::RepeatedCurrency { currency } => (Place::Column(currency.clone()), "repeated_column"),
            Self::BaseAmongCurrencies { .. } => (Place::Parameter("base"), "base_is_a_column"),
            Self::TooManyRows => (Place::File, "too_many_rows"),
            Self::TooManyRefused => (Place::File, "too_many_refused"),
            Self::Csv(_) => (Place::File, "malformed"),
        }
    }
}

/// Most prices of a file.
pub const ROWS_MAX: usize = 1_000_000;
/// Refused rows, or cells, after which a file is taken for another kind of file.
pub const REFUSED_MAX: usize = 50_000;

/// Checks that no more was read than is kept in memory.
fn check_size(taken: usize, refused: usize) -> Result<(), ParseError> {
    if taken > ROWS_MAX {
        return Err(ParseError::TooManyRows);
    }
    if refused > REFUSED_MAX {
        return Err(ParseError::TooManyRefused);
    }
    Ok(())
}

impl Parsed {
    fn check_size(&self) -> Result<(), ParseError> {
        check_size(self.rows.len(), self.refused.len())
    }
}

/// Reads a whole price file.
///
/// # Errors
/// [`ParseError`] when it is in doubt what the file means as a whole. A row that cannot be taken is no
/// error; it is in [`Parsed::refused`].
pub fn parse(input: &[u8], options: &Options) -> Result<Parsed, ParseError> {
    if options.stamp == Some(Stamp::End) && options.interval.is_none() {
        return Err(ParseError::IntervalRequired);
    }
    let text = text_of(input)?;
    let first = text.trim_start().chars().next().ok_or(ParseError::Empty)?;
    let guessed = if first == '{' { Format::Ndjson } else { Format::Csv };
    match options.format.unwrap_or(guessed) {
        Format::Csv => csv_rows::parse(text, options),
        Format::Ndjson => ndjson_rows::parse(text, options),
    }
}

/// The text of a file after its byte order mark.
fn text_of(input: &[u8]) -> Result<&str, ParseError> {
    let input = input.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(input);
    std::str::from_utf8(input).map_err(|error| {
        let before = input.get(..error.valid_up_to()).unwrap_or_default();
        let lines = before.split(|byte| *byte == b'\n').count();
        ParseError::NotUtf8 { line: u64::try_from(lines).unwrap_or(u64::MAX) }
    })
}

/// A text of the file as a message may show it: short, and without control characters.
fn excerpt(text: &str) -> String {
    const SHOWN: usize = 40;
    let mut shown: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push_str("...");
    }
    shown
}

/// Names of the file as a message may list them.
fn list<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    const LISTED: usize = 20;
    let mut names = names.into_iter();
    let mut listed: Vec<String> =
        names.by_ref().take(LISTED).map(|name| format!("`{}`", excerpt(name))).collect();
    let left = names.count();
    if left > 0 {
        listed.push(format!("{left} more"));
    }
    listed.join(", ")
}
