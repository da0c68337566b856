//! Reads a ledger file: bytes in, rows with our fields out, each as the JSON object that
//! `POST /portfolios/{id}/transactions` would take. No clock, no I/O.
//!
//! Three kinds of file: CSV with a [`Mapping`] of its columns, NDJSON as the service exports it, and Ghostfolio's JSON
//! export. A row that cannot be read is refused with the column at fault, and the others are read; a file whose columns
//! are in doubt is refused whole. What a row means is not judged here: that is for the rules every entry goes through.

mod cells;
mod csv_ledger;
mod ghostfolio;
pub mod mapping;
mod ndjson_ledger;
#[cfg(test)]
mod tests;

pub use csv_ledger::GUARDED;

use crate::named_enum;
use crate::workers::file_place::Place;
use mapping::{LedgerField, Mapping};
use std::collections::BTreeMap;

/// Most rows of one file.
pub const ROWS_MAX: usize = 250_000;

named_enum! {
    /// How a ledger file is written.
    LedgerFormat {
        /// Comma-, semicolon- or tab-separated, header first.
        Csv = "csv",
        /// One JSON object a line, as the service exports it.
        Ndjson = "ndjson",
        /// Ghostfolio's JSON export.
        Ghostfolio = "ghostfolio",
    }
}

/// What is wrong with a row before it is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowFault {
    /// Our field, or the key of the source where none of ours stands for it; `None` is the row as a whole.
    pub field: Option<String>,
    /// Stable code of the rule.
    pub code: &'static str,
    /// The rule, for people.
    pub detail: String,
}

impl RowFault {
    fn row(code: &'static str, detail: impl Into<String>) -> Self {
        Self { field: None, code, detail: detail.into() }
    }

    fn at(field: impl Into<String>, code: &'static str, detail: impl Into<String>) -> Self {
        Self { field: Some(field.into()), code, detail: detail.into() }
    }
}

/// One row of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerRow {
    /// Its line; in a Ghostfolio file its number among the activities. The first is 1.
    pub row: u64,
    /// The id it had where it comes from.
    pub id: Option<String>,
    /// Its fields as a JSON object, or what is wrong with it.
    pub fields: Result<String, Vec<RowFault>>,
}

/// What a file says of an asset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AssetProfile {
    /// Its symbol as rows use it.
    pub symbol: String,
    /// Its name for people.
    pub name: Option<String>,
    /// Its type, one of ours.
    pub asset_type: Option<String>,
    /// What it is priced in.
    pub currency: Option<String>,
    /// The whole asset as the service exports it: a JSON object.
    pub exported: Option<String>,
}

/// What is in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedLedger {
    /// How it is written.
    pub format: LedgerFormat,
    /// Its rows, in order.
    pub rows: Vec<LedgerRow>,
    /// Of a CSV file: which columns each field was read from.
    pub columns: BTreeMap<LedgerField, Vec<String>>,
    /// Of a CSV file: columns that no field is read from.
    pub unused_columns: Vec<String>,
    /// Records that are no entries: of another kind, or of a type the mapping passes over.
    pub passed_over: u64,
    /// What it says of assets.
    pub profiles: Vec<AssetProfile>,
}

impl ParsedLedger {
    fn empty(format: LedgerFormat) -> Self {
        Self {
            format,
            rows: Vec::new(),
            columns: BTreeMap::new(),
            unused_columns: Vec::new(),
            passed_over: 0,
            profiles: Vec::new(),
        }
    }
}

/// Why a whole file is unusable.
#[derive(Debug, thiserror::Error)]
pub enum LedgerFileError {
    /// Nothing in it.
    #[error("the file is empty")]
    Empty,
    /// Bytes that are no UTF-8.
    #[error("line {line} is not UTF-8 text")]
    NotUtf8 {
        /// Line of the first such byte.
        line: usize,
    },
    /// The header breaks the rules of quotation.
    #[error("line {line}: the header has misplaced or unclosed quotation marks")]
    MalformedHeader {
        /// Its line.
        line: u64,
    },
    /// A mapped column is not there.
    #[error("the mapping names the column `{wanted}` for {field}; the file has {columns}")]
    UnknownColumn {
        /// Our field.
        field: LedgerField,
        /// The column.
        wanted: String,
        /// Those that are there.
        columns: String,
    },
    /// More than one column would do.
    #[error("the columns {columns} could each be {field}; choose one in the mapping")]
    AmbiguousColumns {
        /// Our field.
        field: LedgerField,
        /// Their names.
        columns: String,
    },
    /// No column for a field that every row needs.
    #[error("no column for {field} among {columns}; name one in the mapping")]
    NoColumn {
        /// Our field.
        field: LedgerField,
        /// Those that are there.
        columns: String,
    },
    /// Columns cannot be mapped in a file without columns.
    #[error(
        "a mapping of columns is for CSV files; of other files only `values` and `newest_first` are taken"
    )]
    NotForThisFormat,
    /// Not a Ghostfolio export.
    #[error("the file is no Ghostfolio export: {0}")]
    NotGhostfolio(String),
    /// More rows than are taken.
    #[error("the file has more than {ROWS_MAX} rows")]
    TooManyRows,
    /// The CSV reader gave up.
    #[error("the file cannot be read as CSV")]
    Csv(#[from] csv::Error),
}

impl LedgerFileError {
    /// What is at fault, and the code of the rule, for programs.
    pub fn place(&self) -> (Place, &'static str) {
        match self {
            Self::Empty => (Place::File, "empty"),
            Self::NotUtf8 { line } => (Place::Line(u64::try_from(*line).unwrap_or(u64::MAX)), "not_utf8"),
            Self::MalformedHeader { line } => (Place::Line(*line), "malformed_quotes"),
            Self::UnknownColumn { .. } => (Place::Parameter("mapping"), "unknown_column"),
            Self::AmbiguousColumns { .. } => (Place::Parameter("mapping"), "ambiguous_column"),
            Self::NoColumn { .. } => (Place::Parameter("mapping"), "missing_column"),
            Self::NotForThisFormat => (Place::Parameter("mapping"), "not_used"),
            Self::NotGhostfolio(_) | Self::Csv(_) => (Place::File, "malformed"),
            Self::TooManyRows => (Place::File, "too_many_rows"),
        }
    }
}

/// Reads a whole ledger file. Without a format it is told from the content: JSON with `activities` is Ghostfolio's,
/// other JSON is NDJSON, and the rest is CSV.
///
/// # Errors
/// [`LedgerFileError`] when it is in doubt what the file means as a whole. A row that cannot be read is no error; it is
/// in [`ParsedLedger::rows`].
pub fn parse(
    input: &[u8],
    format: Option<LedgerFormat>,
    mapping: &Mapping,
) -> Result<ParsedLedger, LedgerFileError> {
    let input = input.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(input);
    let text = std::str::from_utf8(input).map_err(|error| {
        let before = input.get(..error.valid_up_to()).unwrap_or_default();
        LedgerFileError::NotUtf8 { line: before.split(|byte| *byte == b'\n').count() }
    })?;
    let first = text.trim_start().chars().next().ok_or(LedgerFileError::Empty)?;
    let told = || match first {
        '{' | '[' if ghostfolio::is_one(text) => LedgerFormat::Ghostfolio,
        '{' => LedgerFormat::Ndjson,
        _ => LedgerFormat::Csv,
    };
    let parsed = match format.unwrap_or_else(told) {
        LedgerFormat::Csv => csv_ledger::parse(text, mapping)?,
        LedgerFormat::Ndjson | LedgerFormat::Ghostfolio if mapping.is_about_columns() => {
            return Err(LedgerFileError::NotForThisFormat);
        }
        LedgerFormat::Ndjson => ndjson_ledger::parse(text, mapping)?,
        LedgerFormat::Ghostfolio => ghostfolio::parse(text, mapping)?,
    };
    parsed.check_size()?;
    Ok(parsed)
}

impl ParsedLedger {
    /// Checks that there are no more rows than are kept in memory.
    fn check_size(&self) -> Result<(), LedgerFileError> {
        if self.rows.len() > ROWS_MAX { Err(LedgerFileError::TooManyRows) } else { Ok(()) }
    }
}
