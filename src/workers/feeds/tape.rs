//! Trades on their way to ticks: each once, in the order of the venue's numbers, and those of one moment together.
//!
//! A tick is named by its moment, and several trades may share one: venues that stamp milliseconds do it all the time.
//! They make one point, which loses nothing that a candle needs: its price is that of the last of them by the venue's
//! number, `open` that of the first, `high` and `low` the extremes, `volume` the sum. A trade that comes later with the
//! moment of an earlier one makes the point say more, and never replaces the one by the other.

use crate::domain::decimal::Decimal;
use crate::domain::moment::Moment;
use crate::domain::price::{Bar, Quote};
use std::collections::{BTreeMap, BTreeSet};

/// Numbers of trades that are remembered of each asset, to know repeated ones.
const SEEN: usize = 20_000;
/// Moments of each asset whose trades are remembered one by one.
const MOMENTS: usize = 1_024;

/// A trade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trade {
    /// The venue's number, counted per symbol; none where it gives none.
    pub(super) number: Option<u64>,
    /// When it happened.
    pub(super) at: Moment,
    /// Price of a unit.
    pub(super) price: Decimal,
    /// Units.
    pub(super) size: Option<Decimal>,
}

/// Trades of one moment, by number; those without one by their place.
type Fold = BTreeMap<u64, (Decimal, Option<Decimal>)>;

/// Trades of one asset.
#[derive(Debug, Default)]
pub(super) struct Tape {
    seen: BTreeSet<u64>,
    highest: Option<u64>,
    folds: BTreeMap<Moment, Fold>,
}

/// What a trade changes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Nothing: it was seen before.
    Repeated,
    /// The point of its moment is now this. `missed`: numbers between it and those before were not seen.
    Point {
        /// What is known of the moment.
        quote: Quote,
        /// Whether trades before it are missing.
        missed: bool,
    },
}

impl Tape {
    /// A tape that goes on after the trade of this number.
    pub(super) fn after(number: Option<u64>) -> Self {
        Self { highest: number, ..Self::default() }
    }

    /// The lowest number of the trades of a moment.
    pub(super) fn first_of(&self, at: Moment) -> Option<u64> {
        self.highest?;
        self.folds.get(&at)?.first_key_value().map(|(number, _)| *number)
    }

    /// Takes a trade up.
    pub(super) fn take(&mut self, trade: Trade) -> Taken {
        let Trade { number, at, price, size } = trade;
        let mut missed = false;
        if let Some(number) = number {
            if !self.seen.insert(number) {
                return Taken::Repeated;
            }
            missed = self.highest.is_some_and(|highest| number > highest.saturating_add(1));
            self.highest = self.highest.max(Some(number));
            if self.seen.len() > SEEN {
                self.seen.pop_first();
            }
        }
        let fold = self.folds.entry(at).or_default();
        let place = match number {
            Some(number) => number,
            // Without numbers, alike trades of one moment are one trade told twice.
            None if fold.values().any(|known| *known == (price.clone(), size.clone())) => {
                return Taken::Repeated;
            }
            None => u64::try_from(fold.len()).unwrap_or(u64::MAX),
        };
        fold.insert(place, (price, size));
        let quote = quote_of(fold);
        while self.folds.len() > MOMENTS {
            self.folds.pop_first();
        }
        quote.map_or(Taken::Repeated, |quote| Taken::Point { quote, missed })
    }
}

/// What trades of one moment come to.
fn quote_of(fold: &Fold) -> Option<Quote> {
    let volume = fold
        .values()
        .map(|(_, size)| size.clone())
        .reduce(|sum, size| sum.zip(size).map(|(sum, size)| sum + size))
        .flatten();
    let prices = || fold.values().map(|(price, _)| price);
    let price = prices().next_back()?.clone();
    if fold.len() == 1 {
        return Some(Quote::new(price, Bar { volume, ..Bar::default() }));
    }
    let bar = Bar {
        open: prices().next().cloned(),
        high: prices().max().cloned(),
        low: prices().min().cloned(),
        volume,
    };
    Some(Quote::new(price, bar))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trade(number: u64, at: i64, price: &str, size: &str) -> Trade {
        let read = |text: &str| Decimal::parse_input(text).unwrap();
        Trade { number: Some(number), at: Moment(at), price: read(price), size: Some(read(size)) }
    }

    fn point(taken: Taken) -> (Vec<String>, bool) {
        let Taken::Point { quote, missed } = taken else { panic!("repeated") };
        let (price, Bar { open, high, low, volume }) = quote.into_parts();
        let parts = [Some(price), open, high, low, volume];
        (parts.map(|part| part.map(|part| part.to_string()).unwrap_or_default()).to_vec(), missed)
    }

    #[test]
    fn trades_of_one_moment_are_one_point_that_keeps_their_extremes_and_volume() {
        let mut tape = Tape::default();
        assert_eq!(point(tape.take(trade(7, 5, "10", "1"))).0, ["10", "", "", "", "1"]);
        assert_eq!(point(tape.take(trade(8, 5, "12", "2"))).0, ["12", "10", "12", "10", "3"]);
        assert_eq!(point(tape.take(trade(9, 5, "9", "0.5"))).0, ["9", "10", "12", "9", "3.5"]);
        assert_eq!(tape.take(trade(8, 5, "12", "2")), Taken::Repeated);
        assert_eq!(point(tape.take(trade(10, 6, "11", "1"))).0, ["11", "", "", "", "1"]);
        assert_eq!([5, 6, 7].map(|at| tape.first_of(Moment(at))), [Some(7), Some(10), None]);
    }

    #[test]
    fn the_order_in_which_trades_come_does_not_matter() {
        let mut tape = Tape::default();
        tape.take(trade(9, 5, "9", "0.5"));
        tape.take(trade(7, 5, "10", "1"));
        assert_eq!(point(tape.take(trade(8, 5, "12", "2"))).0, ["9", "10", "12", "9", "3.5"]);
    }

    #[test]
    fn a_jump_of_numbers_is_noticed_once_and_a_late_trade_is_no_jump() {
        let mut tape = Tape::after(Some(6));
        assert!(!point(tape.take(trade(7, 1, "1", "1"))).1);
        assert!(point(tape.take(trade(9, 2, "1", "1"))).1);
        assert!(!point(tape.take(trade(8, 2, "1", "1"))).1);
        assert!(!point(tape.take(trade(10, 3, "1", "1"))).1);
        assert_eq!(tape.highest, Some(10));
    }

    #[test]
    fn without_numbers_alike_trades_of_one_moment_count_once() {
        let mut tape = Tape::default();
        let bare = |price: &str| Trade { number: None, ..trade(0, 5, price, "1") };
        assert_eq!(point(tape.take(bare("10"))).0, ["10", "", "", "", "1"]);
        assert_eq!(tape.take(bare("10")), Taken::Repeated);
        assert_eq!(point(tape.take(bare("11"))).0, ["11", "10", "11", "10", "2"]);
    }
}
