//! Blocks of price versions: columns of numbers in one run of bytes, about four bytes a point.
//!
//! A block holds versions of one or several series, sorted by series and time. Its first byte says which layout it has,
//! the next eight are a check sum of the rest, so that a torn or foreign block is an error. Columns are read one by one:
//! who needs moments and prices pays for nothing else. What is read back is equal to the last digit, trailing zeros
//! included.

mod columns;
mod decimals;
mod numbers;
#[cfg(test)]
mod tests;

pub use columns::Columns;
pub use decimals::{Decimals, Mantissas};

use crate::domain::decimal::Decimal;
use crate::domain::ids::{AssetKey, SourceKey};
use crate::domain::moment::Moment;
use crate::domain::price::Bar;
use crate::domain::price_version::{SeriesKey, Version};
use numbers::{Reader, Shape, push_count, push_number, push_section};
use std::ops::Range;

/// Most versions of one block.
pub const BLOCK_POINTS: usize = 8_192;
/// Versions a block may be found to hold: more is no block of ours.
const POINTS_MAX: usize = 1 << 20;
/// The layout written.
const LAYOUT: u8 = 1;
/// Bytes before the checked ones.
const HEADER: usize = 9;
/// Columns of a block.
const COLUMNS: usize = 10;

/// Why bytes are not a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// They end too early.
    #[error("a block of prices is cut off")]
    Short,
    /// Written by another program, or a newer version of this one.
    #[error("a block of prices has the unknown layout {0}")]
    Layout(u8),
    /// Changed since they were written.
    #[error("a block of prices does not have its check sum")]
    CheckSum,
    /// They contradict themselves.
    #[error("a block of prices {0}")]
    Malformed(&'static str),
}

/// Mixes the bytes eight at a time. Each step can be undone, so a single changed word always changes the sum.
fn check_sum(bytes: &[u8]) -> u64 {
    const PRIME: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut sum = PRIME ^ u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    for word in words.iter().chain([&last]) {
        sum = (sum ^ u64::from_le_bytes(*word)).wrapping_mul(PRIME);
        sum ^= sum >> 29;
    }
    sum
}

/// The numbers of one column, taken out of the versions run by run.
fn column<T>(runs: &[(SeriesKey, &[Version])], into: &mut Vec<T>, of: impl Fn(&Version) -> T) {
    into.clear();
    for (_, versions) in runs {
        into.extend(versions.iter().map(&of));
    }
}

/// One block of versions. The runs must be sorted by series, each by moment and sequence.
///
/// # Errors
/// [`BlockError`] when the packer refuses a column.
pub fn encode(runs: &[(SeriesKey, &[Version])]) -> Result<Vec<u8>, BlockError> {
    let count = runs.iter().map(|(_, versions)| versions.len()).sum();
    let mut out = Vec::with_capacity(64 + count * 6);
    out.push(LAYOUT);
    out.extend([0; 8]);
    push_count(u64::try_from(runs.len()).unwrap_or(u64::MAX), &mut out);
    for (series, versions) in runs {
        push_number(series.asset.0, &mut out);
        push_number(series.source.0, &mut out);
        push_section(series.candle.as_bytes(), &mut out);
        push_count(u64::try_from(versions.len()).unwrap_or(u64::MAX), &mut out);
    }
    let mut values: Vec<i64> = Vec::with_capacity(count);
    column(runs, &mut values, |version| version.observed_at.0);
    push_section(&numbers::encode(&values, Shape::Moments)?, &mut out);
    column(runs, &mut values, |version| version.seq);
    push_section(&numbers::encode(&values, Shape::Near)?, &mut out);
    column(runs, &mut values, |version| version.recorded_at.0);
    push_section(&numbers::encode(&values, Shape::Near)?, &mut out);
    column(runs, &mut values, |version| version.ended_at.0);
    push_section(&numbers::encode(&values, Shape::Near)?, &mut out);
    column(runs, &mut values, |version| i64::from(version.withdrawn));
    push_section(&numbers::encode(&values, Shape::Any)?, &mut out);
    let mut decimals: Vec<Option<&Decimal>> = Vec::with_capacity(count);
    for (_, versions) in runs {
        decimals.extend(versions.iter().map(|version| Some(&version.quote.price)));
    }
    push_section(&decimals::encode(&decimals)?, &mut out);
    let fields: [fn(&Bar) -> Option<&Decimal>; 4] =
        [|bar| bar.open.as_ref(), |bar| bar.high.as_ref(), |bar| bar.low.as_ref(), |bar| bar.volume.as_ref()];
    let ticks = runs.iter().all(|(_, versions)| versions.iter().all(|version| version.quote.is_tick()));
    for field in fields {
        decimals.clear();
        if !ticks {
            for (_, versions) in runs {
                decimals.extend(versions.iter().map(|version| field(version.quote.bar())));
            }
        }
        push_section(&decimals::encode(&decimals)?, &mut out);
    }
    let sum = check_sum(out.get(HEADER..).unwrap_or_default());
    for (to, from) in out.iter_mut().skip(1).zip(sum.to_le_bytes()) {
        *to = from;
    }
    Ok(out)
}

/// A block whose columns are read when they are asked for.
#[derive(Debug)]
pub struct Block<'a> {
    series: Vec<(SeriesKey, Range<usize>)>,
    rows: usize,
    columns: [&'a [u8]; COLUMNS],
}

impl<'a> Block<'a> {
    /// Checks the bytes and finds the columns.
    ///
    /// # Errors
    /// [`BlockError`]
    pub fn open(bytes: &'a [u8]) -> Result<Self, BlockError> {
        let mut reader = Reader(bytes);
        let layout = reader.byte()?;
        if layout != LAYOUT {
            return Err(BlockError::Layout(layout));
        }
        let sum = reader.take(8)?;
        if sum != check_sum(reader.0).to_le_bytes() {
            return Err(BlockError::CheckSum);
        }
        Self::parse(reader)
    }

    /// The same without the check.
    fn parse(mut reader: Reader<'a>) -> Result<Self, BlockError> {
        let (mut series, mut rows) = (Vec::new(), 0_usize);
        for _ in 0..reader.count()? {
            let (asset, source) = (AssetKey(reader.number()?), SourceKey(reader.number()?));
            let candle = std::str::from_utf8(reader.section()?).unwrap_or("?");
            let key = SeriesKey::named(asset, source, candle);
            let key = key.ok_or(BlockError::Malformed("has candles of an unknown length"))?;
            let from = rows;
            rows = rows.saturating_add(reader.size()?);
            if rows > POINTS_MAX {
                return Err(BlockError::Malformed("has too many points"));
            }
            series.push((key, from..rows));
        }
        let mut columns: [&[u8]; COLUMNS] = [&[]; COLUMNS];
        for column in &mut columns {
            *column = reader.section()?;
        }
        Ok(Self { series, rows, columns })
    }

    /// The series in it, each with its rows.
    pub fn series(&self) -> &[(SeriesKey, Range<usize>)] {
        &self.series
    }

    /// Rows it has.
    pub const fn rows(&self) -> usize {
        self.rows
    }

    fn numbers(&self, column: usize) -> Result<Vec<i64>, BlockError> {
        numbers::decode(self.columns.get(column).ok_or(BlockError::Short)?, self.rows)
    }

    fn decimals(&self, column: usize) -> Result<Decimals, BlockError> {
        Decimals::decode(self.columns.get(column).ok_or(BlockError::Short)?, self.rows)
    }

    /// The moment of each row, in microseconds.
    ///
    /// # Errors
    /// [`BlockError`]
    pub fn moments(&self) -> Result<Vec<i64>, BlockError> {
        self.numbers(0)
    }

    /// The place of each row in the order of learning.
    ///
    /// # Errors
    /// [`BlockError`]
    pub fn seqs(&self) -> Result<Vec<i64>, BlockError> {
        self.numbers(1)
    }

    /// The price of each row.
    ///
    /// # Errors
    /// [`BlockError`]
    pub fn prices(&self) -> Result<Decimals, BlockError> {
        self.decimals(5)
    }

    /// Whether a row hides its point instead of giving it.
    ///
    /// # Errors
    /// [`BlockError`]
    pub fn withdraws(&self) -> Result<bool, BlockError> {
        const WITHDRAWN: usize = 4;
        let zeros = numbers::are_zeros(self.columns.get(WITHDRAWN).ok_or(BlockError::Short)?);
        Ok(!zeros && self.numbers(WITHDRAWN)?.iter().any(|withdrawn| *withdrawn != 0))
    }

    /// What the rows say, and of which moments, without when it was learned.
    ///
    /// # Errors
    /// [`BlockError`]
    pub fn quotes(&self) -> Result<Columns, BlockError> {
        let price = self.prices()?;
        if self.rows > 0 && !price.are_present() {
            return Err(BlockError::Malformed("lacks a price"));
        }
        Ok(Columns {
            moments: self.moments()?,
            price,
            open: self.decimals(6)?,
            high: self.decimals(7)?,
            low: self.decimals(8)?,
            volume: self.decimals(9)?,
        })
    }

    /// The versions of some rows.
    ///
    /// # Errors
    /// [`BlockError`]
    pub fn versions(&self, rows: Range<usize>) -> Result<Vec<Version>, BlockError> {
        let quotes = self.quotes()?;
        let [seq, recorded_at, ended_at, withdrawn] =
            [self.numbers(1)?, self.numbers(2)?, self.numbers(3)?, self.numbers(4)?];
        let number =
            |column: &[i64], row: usize| column.get(row).copied().ok_or(BlockError::Malformed("lacks a row"));
        rows.map(|row| {
            Ok(Version {
                observed_at: Moment(number(&quotes.moments, row)?),
                seq: number(&seq, row)?,
                recorded_at: Moment(number(&recorded_at, row)?),
                ended_at: Moment(number(&ended_at, row)?),
                withdrawn: number(&withdrawn, row)? != 0,
                quote: quotes.quote(row).ok_or(BlockError::Malformed("lacks a price"))?,
            })
        })
        .collect()
    }
}
