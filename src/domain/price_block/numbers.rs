//! One column of 64-bit numbers as bytes: constant, evenly stepped, short, or packed by `pco`.

use super::BlockError;
use pco::standalone::{simple_compress, simple_decompress_into};
use pco::{ChunkConfig, DeltaSpec, ModeSpec};

/// Every number is the first.
const CONSTANT: u8 = 0;
/// Each number is the one before and a fixed step.
const STEPS: u8 = 1;
/// The differences one after another.
const SHORT: u8 = 2;
/// Packed.
const PACKED: u8 = 3;
/// Fewer numbers than this are not worth the tables of a packed column.
const PACKED_FROM: usize = 48;
/// How hard the packer tries: beyond this it takes twice the time for a few percent.
const LEVEL: usize = 4;

/// Appends a number in groups of seven bits, the lowest first.
pub(super) fn push_count(value: u64, out: &mut Vec<u8>) {
    let [a, b, c, ..] = value.to_le_bytes();
    // Most are short.
    if value < 1 << 7 {
        out.push(a);
    } else if value < 1 << 14 {
        out.extend_from_slice(&[a | 0x80, b << 1 | a >> 7]);
    } else if value < 1 << 21 {
        out.extend_from_slice(&[a | 0x80, b << 1 | a >> 7 | 0x80, c << 2 | b >> 6]);
    } else {
        push_long(value, out);
    }
}

fn push_long(mut value: u64, out: &mut Vec<u8>) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Appends a signed number, short when it is near zero.
pub(super) fn push_number(value: i64, out: &mut Vec<u8>) {
    push_count(((value << 1) ^ (value >> 63)).cast_unsigned(), out);
}

/// Reads bytes one after another, and says when there are too few.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn byte(&mut self) -> Result<u8, BlockError> {
        let (first, rest) = self.0.split_first().ok_or(BlockError::Short)?;
        self.0 = rest;
        Ok(*first)
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], BlockError> {
        let (these, rest) = self.0.split_at_checked(length).ok_or(BlockError::Short)?;
        self.0 = rest;
        Ok(these)
    }

    pub(super) fn count(&mut self) -> Result<u64, BlockError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(BlockError::Malformed("a number has too many bytes"))
    }

    pub(super) fn size(&mut self) -> Result<usize, BlockError> {
        usize::try_from(self.count()?).map_err(|_| BlockError::Short)
    }

    pub(super) fn number(&mut self) -> Result<i64, BlockError> {
        let value = self.count()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// A run of bytes with its length before it.
    pub(super) fn section(&mut self) -> Result<&'a [u8], BlockError> {
        let length = self.size()?;
        self.take(length)
    }
}

/// Appends bytes with their length before them.
pub(super) fn push_section(bytes: &[u8], out: &mut Vec<u8>) {
    push_count(u64::try_from(bytes.len()).unwrap_or(u64::MAX), out);
    out.extend_from_slice(bytes);
}

/// How neighbours in a column are related.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    /// Moments: they step by multiples of something.
    Moments,
    /// Near the one before.
    Near,
    /// Any.
    Any,
}

/// One column as bytes.
pub(super) fn encode(values: &[i64], shape: Shape) -> Result<Vec<u8>, BlockError> {
    let mut out = Vec::new();
    let (Some(first), second) = (values.first(), values.get(1)) else { return Ok(vec![CONSTANT, 0]) };
    let step = second.map_or(0, |second| second.wrapping_sub(*first));
    let even = values.is_sorted_by(|a, b| b.wrapping_sub(*a) == step);
    if even {
        out.push(if step == 0 { CONSTANT } else { STEPS });
        push_number(*first, &mut out);
        if step != 0 {
            push_number(step, &mut out);
        }
    } else if values.len() < PACKED_FROM {
        out.push(SHORT);
        let mut before = 0_i64;
        for value in values {
            push_number(value.wrapping_sub(before), &mut out);
            before = *value;
        }
    } else {
        let (mode, delta) = match shape {
            Shape::Moments => (ModeSpec::Auto, DeltaSpec::TryConsecutive(1)),
            Shape::Near => (ModeSpec::Classic, DeltaSpec::TryConsecutive(1)),
            Shape::Any => (ModeSpec::Classic, DeltaSpec::NoOp),
        };
        let config =
            ChunkConfig::default().with_compression_level(LEVEL).with_mode_spec(mode).with_delta_spec(delta);
        out.push(PACKED);
        out.extend(simple_compress(values, &config).map_err(|_| BlockError::Malformed("cannot be packed"))?);
    }
    Ok(out)
}

/// Whether these are the bytes of zeros only: so a reader passes over a column that says nothing.
pub(super) fn are_zeros(bytes: &[u8]) -> bool {
    bytes == [CONSTANT, 0]
}

/// A column of `count` numbers from its bytes.
pub(super) fn decode(bytes: &[u8], count: usize) -> Result<Vec<i64>, BlockError> {
    let mut reader = Reader(bytes);
    match reader.byte()? {
        CONSTANT => Ok(vec![reader.number()?; count]),
        STEPS => {
            let (mut next, step) = (reader.number()?, reader.number()?);
            let mut values = Vec::with_capacity(count);
            for _ in 0..count {
                values.push(next);
                next = next.wrapping_add(step);
            }
            Ok(values)
        }
        SHORT => {
            let mut before = 0_i64;
            let mut values = Vec::with_capacity(count.min(PACKED_FROM));
            for _ in 0..count {
                before = before.wrapping_add(reader.number()?);
                values.push(before);
            }
            Ok(values)
        }
        PACKED => {
            let mut values = vec![0; count];
            let progress = simple_decompress_into(reader.0, &mut values)
                .map_err(|_| BlockError::Malformed("cannot be unpacked"))?;
            if !progress.finished || progress.n_processed != count {
                return Err(BlockError::Malformed("has another count of numbers"));
            }
            Ok(values)
        }
        _ => Err(BlockError::Malformed("has a column of an unknown kind")),
    }
}
