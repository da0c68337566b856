//! What the rows of a block say, column by column.

use super::Decimals;
use crate::domain::price::{Bar, Quote};

/// Moments and what is said of them, a row each.
#[derive(Debug)]
pub struct Columns {
    /// In microseconds.
    pub moments: Vec<i64>,
    /// Prices; every row has one.
    pub price: Decimals,
    /// First prices of candles.
    pub open: Decimals,
    /// Their highest prices.
    pub high: Decimals,
    /// Their lowest prices.
    pub low: Decimals,
    /// Units traded.
    pub volume: Decimals,
}

impl Columns {
    /// What a row says.
    pub fn quote(&self, row: usize) -> Option<Quote> {
        let price = self.price.get(row)?;
        if [&self.open, &self.high, &self.low, &self.volume].into_iter().all(Decimals::are_absent) {
            return Some(Quote::tick(price));
        }
        let [open, high, low, volume] =
            [&self.open, &self.high, &self.low, &self.volume].map(|column| column.get(row));
        Some(Quote::new(price, Bar { open, high, low, volume }))
    }
}
