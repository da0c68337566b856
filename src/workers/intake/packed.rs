//! Rows as bytes, to be kept until they are judged and recorded: columns of text in one compressed frame with a check
//! sum, so that damage is noticed and numbers keep the digits they came with.

use super::{Rows, SeriesName};
use crate::domain::decimal::Decimal;
use crate::domain::interval::Interval;
use crate::domain::moment::Moment;
use crate::domain::price::{Bar, Quote};
use serde::{Deserialize, Serialize};
use std::io::{self, Read as _, Write as _};
use std::sync::Arc;

/// How hard is compressed: a feed must not wait for it.
const LEVEL: i32 = 1;
/// Longest text that is unpacked. A batch of the largest size is far below it, so it only bounds what damage can do.
const TEXT_MAX: u64 = 128 << 20;

/// Rows on their way through the queue.
#[derive(Debug, Clone, Default)]
pub struct Packed {
    /// The rows.
    pub rows: Rows,
    /// Lines that spelled their price `close`, in order.
    pub closes: Vec<u64>,
}

/// The same by column; a column that no row has is left out.
#[derive(Serialize, Deserialize)]
struct Columns {
    names: Vec<(String, String, Option<Interval>)>,
    name: Vec<usize>,
    line: Vec<u64>,
    at: Vec<Moment>,
    price: Vec<Decimal>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    open: Vec<Option<Decimal>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    high: Vec<Option<Decimal>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    low: Vec<Option<Decimal>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    volume: Vec<Option<Decimal>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    closes: Vec<u64>,
}

impl Packed {
    /// The bytes.
    ///
    /// # Errors
    /// When memory cannot be written to, that is, never.
    pub fn pack(self) -> io::Result<Vec<u8>> {
        let Self { rows, closes } = self;
        let text = serde_json::to_vec(&Columns::of(rows, closes))?;
        let mut frame = zstd::stream::write::Encoder::new(Vec::with_capacity(text.len() / 8), LEVEL)?;
        frame.include_checksum(true)?;
        frame.write_all(&text)?;
        frame.finish()
    }

    /// The rows of packed bytes.
    ///
    /// # Errors
    /// When they are damaged.
    pub fn unpack(bytes: &[u8]) -> io::Result<Self> {
        let mut text = Vec::with_capacity(bytes.len() * 8);
        zstd::stream::read::Decoder::with_buffer(bytes)?.take(TEXT_MAX).read_to_end(&mut text)?;
        serde_json::from_slice::<Columns>(&text)?.rows()
    }
}

impl Columns {
    fn of(rows: Rows, closes: Vec<u64>) -> Self {
        let Rows { names, runs, count, .. } = rows;
        let text = |name: &Arc<SeriesName>| (name.symbol.clone(), name.source.clone(), name.interval);
        let mut columns = Self {
            names: names.iter().map(text).collect(),
            name: Vec::with_capacity(count),
            line: Vec::with_capacity(count),
            at: Vec::with_capacity(count),
            price: Vec::with_capacity(count),
            open: Vec::new(),
            high: Vec::new(),
            low: Vec::new(),
            volume: Vec::new(),
            closes,
        };
        let rows = runs.into_iter().enumerate();
        let rows =
            rows.flat_map(|(name, rows)| rows.into_iter().map(move |(line, point)| (name, line, point)));
        for (place, (name, line, (observed_at, quote))) in rows.enumerate() {
            columns.name.push(name);
            columns.line.push(line);
            columns.at.push(observed_at);
            let (price, Bar { open, high, low, volume }) = quote.into_parts();
            columns.price.push(price);
            let others = [
                (&mut columns.open, open),
                (&mut columns.high, high),
                (&mut columns.low, low),
                (&mut columns.volume, volume),
            ];
            for (column, value) in others {
                if value.is_some() || !column.is_empty() {
                    column.resize(place, None);
                    column.push(value);
                }
            }
        }
        columns
    }

    fn rows(self) -> io::Result<Packed> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "its columns do not fit together");
        let length = self.price.len();
        let fits = [self.name.len(), self.line.len(), self.at.len()].iter().all(|other| *other == length);
        if !fits {
            return Err(damaged());
        }
        let mut rows = Rows::default();
        let mut places = Vec::with_capacity(self.names.len());
        for (symbol, source, interval) in self.names {
            places.push(rows.name(SeriesName { symbol, source, interval }));
        }
        let [mut open, mut high, mut low, mut volume] =
            [self.open, self.high, self.low, self.volume].map(Vec::into_iter);
        let told = self.line.into_iter().zip(self.at).zip(self.price);
        for (name, ((line, at), price)) in self.name.into_iter().zip(told) {
            let [open, high, low, volume] =
                [&mut open, &mut high, &mut low, &mut volume].map(|column| column.next().flatten());
            let place = *places.get(name).ok_or_else(damaged)?;
            rows.push(place, line, at, Quote::new(price, Bar { open, high, low, volume }));
        }
        Ok(Packed { rows, closes: self.closes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number() -> impl Strategy<Value = Decimal> {
        let text = prop_oneof!["-?[0-9]{1,10}(\\.[0-9]{1,18})?", "[1-9][0-9]{27}", "0\\.[0-9]{18}"];
        text.prop_map(|text| Decimal::parse_input(&text).unwrap())
    }

    fn quote() -> impl Strategy<Value = Quote> {
        let some = || proptest::option::of(number());
        (number(), some(), some(), some(), some())
            .prop_map(|(price, open, high, low, volume)| Quote::new(price, Bar { open, high, low, volume }))
    }

    proptest! {
        /// What comes out is what went in, to the last digit; and a byte that changed never gives other rows.
        #[test]
        fn rows_come_out_as_they_went_in(
            lines in proptest::collection::vec((0_usize..4, 0_i64..i64::MAX, quote(), any::<bool>()), 0..60),
            damage in any::<proptest::sample::Index>(),
        ) {
            let mut packed = Packed::default();
            for (line, (name, at, quote, as_close)) in (1..).zip(lines) {
                let interval = [None, Some(Interval::Minute), Some(Interval::Month), None][name];
                let place = packed.rows.name(SeriesName { symbol: format!("S{name}"), source: "é\"".to_owned(), interval });
                packed.rows.push(place, line, Moment(at), quote);
                packed.closes.extend(as_close.then_some(line));
            }
            let shown = |packed: &Packed| {
                let rows: Vec<String> = packed.rows.iter()
                    .map(|(line, name, at, quote)| format!("{line} {name:?} {at:?} {quote:?}")).collect();
                (rows, packed.closes.clone())
            };
            let (before, mut bytes) = (shown(&packed), packed.pack().unwrap());
            let whole = bytes.clone();
            prop_assert_eq!(shown(&Packed::unpack(&bytes).unwrap()), before);
            let place = damage.index(bytes.len());
            bytes[place] ^= 0x10;
            // A bit of the frame's head that means nothing changes nothing.
            if let Ok(unpacked) = Packed::unpack(&bytes) {
                prop_assert_eq!(shown(&unpacked), shown(&Packed::unpack(&whole).unwrap()));
            }
            bytes.truncate(place);
            prop_assert!(Packed::unpack(&bytes).is_err());
        }
    }
}
