//! One column of decimals as bytes: 64-bit mantissas at one scale, how many decimals each was written with, and the
//! few numbers that fit no such mantissa as they are written.

use super::BlockError;
use super::numbers::{self, Reader, Shape, push_count, push_section};
use crate::domain::decimal::Decimal;
use std::ops::Range;

/// Most decimals of a mantissa.
const SCALES: usize = 19;
/// No row has the field.
const ABSENT: u8 = 0;
/// Every row has it.
const PRESENT: u8 = 1;
/// Some have it; which is told by one bit a row.
const MIXED: u8 = 2;

fn power(exponent: u32) -> Option<i64> {
    10_i64.checked_pow(exponent)
}

/// The scale at which most of the numbers fit 64 bits; of several, the greatest.
fn best_scale<'a>(values: impl Iterator<Item = &'a Decimal>) -> u32 {
    let mut classes = [(0_u64, 0_u64); SCALES];
    for value in values {
        let Some((mantissa, scale)) = value.small() else { continue };
        let Some((count, greatest)) = usize::try_from(scale).ok().and_then(|scale| classes.get_mut(scale))
        else {
            continue;
        };
        *count += 1;
        *greatest = (*greatest).max(mantissa.unsigned_abs());
    }
    let mut best = (0, 0);
    for (scale, _) in (0_u32..).zip(classes).filter(|(_, (count, _))| *count > 0) {
        let fitting = (0_u32..=scale).zip(classes).filter(|(own, (_, greatest))| {
            power(scale - own).and_then(|by| i64::try_from(*greatest).ok()?.checked_mul(by)).is_some()
        });
        let count: u64 = fitting.map(|(_, (count, _))| count).sum();
        if count >= best.0 {
            best = (count, scale);
        }
    }
    best.1
}

/// The mantissa of a number at a scale, and how many decimals fewer it was written with.
fn at_scale(value: &Decimal, scale: u32) -> Option<(i64, i64)> {
    let (mantissa, own) = value.small()?;
    let fewer = scale.checked_sub(own)?;
    Some((mantissa.checked_mul(power(fewer)?)?, i64::from(fewer)))
}

/// Their mantissas, when all have the same scale and fit 64 bits, as nearly all columns do.
fn of_one_scale(values: &[Option<&Decimal>]) -> Option<(u32, Vec<i64>)> {
    let (_, scale) = values.iter().flatten().next()?.small()?;
    let mut mantissas = Vec::with_capacity(values.len());
    for value in values.iter().flatten() {
        let (mantissa, own) = value.small()?;
        if own != scale {
            return None;
        }
        mantissas.push(mantissa);
    }
    power(scale).map(|_| (scale, mantissas))
}

/// A column as it is packed: at which scale, the mantissa of each number, how many decimals fewer it was written with,
/// and those that fit no mantissa, with their places.
struct Split {
    scale: u32,
    mantissas: Vec<i64>,
    fewer: Vec<i64>,
    wide: Vec<(usize, String)>,
}

impl Split {
    fn of(values: &[Option<&Decimal>]) -> Self {
        if let Some((scale, mantissas)) = of_one_scale(values) {
            let fewer = vec![0; mantissas.len()];
            return Self { scale, mantissas, fewer, wide: Vec::new() };
        }
        let values = || values.iter().copied().flatten();
        let scale = best_scale(values());
        let mut split = Self { scale, mantissas: Vec::new(), fewer: Vec::new(), wide: Vec::new() };
        let mut before = 0;
        for (place, value) in values().enumerate() {
            let (mantissa, drop) = at_scale(value, scale).unwrap_or_else(|| {
                split.wide.push((place, value.to_string()));
                // The one before costs the least.
                (before, 0)
            });
            before = mantissa;
            split.mantissas.push(mantissa);
            split.fewer.push(drop);
        }
        split
    }
}

/// One column as bytes.
pub(super) fn encode(values: &[Option<&Decimal>]) -> Result<Vec<u8>, BlockError> {
    let (count, present) = (values.len(), values.iter().flatten().count());
    if present == 0 {
        return Ok(vec![ABSENT]);
    }
    let mut out = vec![if present == count { PRESENT } else { MIXED }];
    if present < count {
        let mut bits = vec![0_u8; count.div_ceil(8)];
        for (row, value) in values.iter().enumerate() {
            if let Some(byte) = bits.get_mut(row / 8) {
                *byte |= u8::from(value.is_some()) << (row % 8);
            }
        }
        out.extend(bits);
    }
    let Split { scale, mantissas, fewer, wide } = Split::of(values);
    push_count(u64::from(scale), &mut out);
    push_section(&numbers::encode(&mantissas, Shape::Near)?, &mut out);
    push_section(&numbers::encode(&fewer, Shape::Any)?, &mut out);
    push_count(u64::try_from(wide.len()).unwrap_or(u64::MAX), &mut out);
    for (place, text) in wide {
        push_count(u64::try_from(place).unwrap_or(u64::MAX), &mut out);
        push_section(text.as_bytes(), &mut out);
    }
    Ok(out)
}

/// A decoded column: numbers are made only of the rows asked for.
#[derive(Debug, Default)]
pub struct Decimals {
    scale: u32,
    mantissas: Vec<i64>,
    /// Decimals fewer than `scale`; empty when no number has fewer.
    fewer: Vec<u32>,
    /// Of rows and mantissas that are not the same: the mantissa of each row. Where no row has the field there are none.
    places: Option<Vec<Option<u32>>>,
    wide: Vec<(usize, Decimal)>,
}

impl Decimals {
    pub(super) fn decode(bytes: &[u8], rows: usize) -> Result<Self, BlockError> {
        let mut reader = Reader(bytes);
        let (places, count) = match reader.byte()? {
            ABSENT => return Ok(Self::default()),
            PRESENT => (None, rows),
            MIXED => {
                let bits = reader.take(rows.div_ceil(8))?;
                let mut next = 0_u32;
                let has = |row: usize| bits.get(row / 8).is_some_and(|byte| byte >> (row % 8) & 1 == 1);
                let places: Vec<Option<u32>> = (0..rows)
                    .map(|row| {
                        has(row).then(|| {
                            next += 1;
                            next - 1
                        })
                    })
                    .collect();
                (Some(places), usize::try_from(next).unwrap_or(usize::MAX))
            }
            _ => return Err(BlockError::Malformed("has decimals of an unknown kind")),
        };
        let scale = u32::try_from(reader.count()?).ok().filter(|scale| power(*scale).is_some());
        let scale = scale.ok_or(BlockError::Malformed("has a scale beyond 64 bits"))?;
        let mantissas = numbers::decode(reader.section()?, count)?;
        let drops = reader.section()?;
        let fewer = if numbers::are_zeros(drops) {
            Vec::new()
        } else {
            let drops = numbers::decode(drops, count)?;
            let fewer = drops.iter().map(|drop| u32::try_from(*drop).ok().filter(|drop| *drop <= scale));
            fewer.collect::<Option<_>>().ok_or(BlockError::Malformed("has fewer decimals than none"))?
        };
        let mut wide = Vec::new();
        for _ in 0..reader.count()? {
            let place = reader.size()?;
            let text = std::str::from_utf8(reader.section()?).ok().and_then(|text| text.parse().ok());
            let value = text.ok_or(BlockError::Malformed("has a number that is none"))?;
            if place >= count || wide.last().is_some_and(|(before, _)| *before >= place) {
                return Err(BlockError::Malformed("has a number in no row"));
            }
            wide.push((place, value));
        }
        Ok(Self { scale, mantissas, fewer, places, wide })
    }

    /// Whether no row has the field.
    pub const fn are_absent(&self) -> bool {
        self.mantissas.is_empty()
    }

    /// Whether every row has it.
    pub const fn are_present(&self) -> bool {
        self.places.is_none() && !self.are_absent()
    }

    /// The mantissas of some rows, when each of these has the field and fits 64 bits.
    pub fn mantissas(&self, rows: &Range<usize>) -> Option<Mantissas<'_>> {
        let wide = self.wide.partition_point(|(place, _)| *place < rows.start);
        if self.places.is_some() || self.wide.get(wide).is_some_and(|(place, _)| *place < rows.end) {
            return None;
        }
        Some(Mantissas { values: self.mantissas.get(rows.clone())?, scale: self.scale })
    }

    /// The number of a row, with the digits it was written with.
    pub fn get(&self, row: usize) -> Option<Decimal> {
        let place = match &self.places {
            None => row,
            Some(places) => usize::try_from((*places.get(row)?)?).ok()?,
        };
        if let Ok(wide) = self.wide.binary_search_by_key(&place, |(place, _)| *place) {
            return self.wide.get(wide).map(|(_, value)| value.clone());
        }
        let mantissa = *self.mantissas.get(place)?;
        let fewer = self.fewer.get(place).copied().unwrap_or_default();
        if fewer == 0 {
            return Some(Decimal::new(i128::from(mantissa), self.scale));
        }
        Some(Decimal::new(i128::from(mantissa / power(fewer)?), self.scale.checked_sub(fewer)?))
    }
}

/// Numbers of some rows of a column, all at its scale: equal to those of [`Decimals::get`], not always digit by digit.
#[derive(Debug, Clone, Copy)]
pub struct Mantissas<'a> {
    values: &'a [i64],
    scale: u32,
}

impl Mantissas<'_> {
    fn number(self, mantissa: Option<&i64>) -> Option<Decimal> {
        mantissa.map(|mantissa| Decimal::new(i128::from(*mantissa), self.scale))
    }

    /// That of the first row.
    pub fn first(self) -> Option<Decimal> {
        self.number(self.values.first())
    }

    /// That of the last row.
    pub fn last(self) -> Option<Decimal> {
        self.number(self.values.last())
    }

    /// The greatest.
    pub fn greatest(self) -> Option<Decimal> {
        self.number(self.values.iter().max())
    }

    /// The least.
    pub fn least(self) -> Option<Decimal> {
        self.number(self.values.iter().min())
    }

    /// All of them added up. A block has too few rows for 64 bits each to leave 128.
    pub fn sum(self) -> Decimal {
        Decimal::new(self.values.iter().map(|value| i128::from(*value)).sum(), self.scale)
    }
}
