//! The names of series as lines have them, and where they stand among those of the rows.

use super::pattern::{Piece, word_at};
use crate::domain::interval::Interval;
use crate::workers::intake::{Rows, SeriesName};
use std::collections::HashMap;

/// Names kept from group to group.
const MANY: usize = 10_000;
/// Places for names met lately: the fewest, and the most.
const SLOTS: (usize, usize) = (1 << 6, 1 << 12);
/// Longest symbol.
const SYMBOL: usize = 20;

/// A name met lately.
#[derive(Debug, Clone, Copy, Default)]
struct Met {
    /// Its symbol with zeros behind it, as lines have it.
    symbol: [u64; 3],
    /// Source and candle length, by number; 0 while there is no name here.
    origin: u64,
    place: usize,
}

/// Names by what lines call them.
#[derive(Debug, Default)]
pub(super) struct Names {
    places: HashMap<Box<[u8]>, usize>,
    /// Names met lately, each where its bytes say: there most are found, and any may be forgotten for another.
    met: Vec<Met>,
    /// Numbers of sources with candle lengths, from 1.
    origins: HashMap<Box<[u8]>, u64>,
    /// The last of these, as lines have it.
    origin: Option<(Piece, Piece, u64)>,
    whole: Vec<u8>,
}

impl Names {
    /// Whether there are so many that it is better to begin anew.
    pub(super) fn are_many(&self) -> bool {
        self.places.len() + self.origins.len() > MANY
    }

    /// Where the name of a line stands among those of `rows`; `None` when a rule is not kept.
    pub(super) fn place(
        &mut self,
        (symbol, source, interval): (&[u8], &[u8], &[u8]),
        rows: &mut Rows,
    ) -> Option<usize> {
        // Three words hold one that is a byte too long, which is none that is kept.
        let key = [word_at(symbol, 0), word_at(symbol, 8), word_at(symbol, 16)];
        let origin = self.origin(source, interval);
        let mixed = mix(&key, origin);
        let met = self.met.get(mixed & self.met.len().wrapping_sub(1));
        if let Some(met) = met.filter(|met| met.origin == origin && met.symbol == key) {
            return Some(met.place);
        }
        let place = self.look_up((symbol, source, interval), rows)?;
        if self.met.len() < SLOTS.1 && self.met.len() < self.places.len() * 4 {
            let slots = (self.met.len() * 2).max(SLOTS.0);
            self.met = vec![Met::default(); slots];
        }
        let slot = mixed & (self.met.len() - 1);
        if let Some(met) = self.met.get_mut(slot) {
            *met = Met { symbol: key, origin, place };
        }
        Some(place)
    }

    fn origin(&mut self, source: &[u8], interval: &[u8]) -> u64 {
        let known = self.origin.as_ref();
        if let Some((.., number)) = known.filter(|(one, other, _)| one.is(source) && other.is(interval)) {
            return *number;
        }
        let next = u64::try_from(self.origins.len()).unwrap_or(u64::MAX) + 1;
        let whole = [source, b"\0", interval].concat().into_boxed_slice();
        let number = *self.origins.entry(whole).or_insert(next);
        let pieces = Piece::new(source).zip(Piece::new(interval));
        self.origin = pieces.map(|(source, interval)| (source, interval, number));
        number
    }

    fn look_up(
        &mut self,
        (symbol, source, interval): (&[u8], &[u8], &[u8]),
        rows: &mut Rows,
    ) -> Option<usize> {
        let is_name = |text: &[u8], max: usize| {
            (1..=max).contains(&text.len()) && text.iter().all(u8::is_ascii_graphic)
        };
        if !is_name(symbol, SYMBOL) || !is_name(source, 64) {
            return None;
        }
        self.whole.clear();
        for part in [symbol, b"\0", source, b"\0", interval] {
            self.whole.extend_from_slice(part);
        }
        if let Some(place) = self.places.get(self.whole.as_slice()) {
            return Some(*place);
        }
        let text = |bytes: &[u8]| str::from_utf8(bytes).ok().map(str::to_owned);
        let interval = text(interval)?;
        let interval = if interval.is_empty() { None } else { Some(Interval::from_name(&interval)?) };
        let (symbol, source) = (text(symbol)?.to_ascii_uppercase(), text(source)?);
        let place = rows.name(SeriesName { symbol, source, interval });
        self.places.insert(self.whole.clone().into_boxed_slice(), place);
        Some(place)
    }
}

/// A number that the bytes of a name make, whose low bits tell which place it has among those met lately.
fn mix(symbol: &[u64; 3], origin: u64) -> usize {
    const PRIME: u64 = 0x9e37_79b9_7f4a_7c15;
    let mixed = symbol.iter().fold(origin, |sum, word| (sum ^ word).wrapping_mul(PRIME).rotate_left(29));
    usize::try_from(mixed.wrapping_mul(PRIME) >> 40).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// However often a name is met, and whatever was met between, it stands where it stands.
        #[test]
        fn a_name_is_found_where_it_stands(
            met in proptest::collection::vec(("[a-cA-C]{0,3}|[A-B]{7,9}|[A]{19,22}|é", "s|t|", "|1m|1d|2m"), 1..400)
        ) {
            let (mut names, mut rows) = (Names::default(), Rows::default());
            for (symbol, source, interval) in &met {
                let found = names.place((symbol.as_bytes(), source.as_bytes(), interval.as_bytes()), &mut rows);
                let good = symbol.is_ascii() && (1..=20).contains(&symbol.len()) && !source.is_empty() && interval != "2m";
                let expected = good.then(|| {
                    let (symbol, source) = (symbol.to_uppercase(), source.clone());
                    rows.name(SeriesName { symbol, source, interval: Interval::from_name(interval) })
                });
                prop_assert_eq!(found, expected, "{} {} {}", symbol, source, interval);
            }
        }
    }
}
