//! What single prices are judged and answered by, in memory: assets by the names they are called, and their open
//! positions.
//!
//! Readings fill it, and a commit that may have changed an asset, its terms or a position empties it. A reading whose
//! snapshot is older than the last emptying is not kept, and a commit that changes such things does not look here.

use crate::domain::asset::{Asset, TermsHistory};
use crate::domain::ids::AssetKey;
use crate::domain::moment::Moment;
use crate::storage::figures::OpenPosition;
use crate::storage::ticks::Touched;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

/// Names and assets that are kept; then all are forgotten.
const KEPT: usize = 100_000;

/// An asset and its terms through time.
#[derive(Debug)]
pub struct Listing {
    /// The asset.
    pub asset: Asset,
    /// Its terms.
    pub terms: TermsHistory,
}

impl Listing {
    /// Sources of its prices in order of preference, from now on.
    pub fn priority(&self) -> &[String] {
        self.terms.at(self.asset.key, Moment::MAX).map_or(&[], |terms| &terms.source_priority)
    }
}

/// Things kept by key since the last time they were all forgotten.
#[derive(Debug)]
struct Kept<K, V> {
    known: HashMap<K, V>,
    /// The tick at which they were forgotten.
    since: u64,
}

impl<K, V> Default for Kept<K, V> {
    fn default() -> Self {
        Self { known: HashMap::new(), since: 0 }
    }
}

impl<K: std::hash::Hash + Eq, V> Kept<K, V> {
    fn keep(&mut self, key: K, value: V, tick: u64) {
        if self.since > tick {
            return;
        }
        if self.known.len() >= KEPT {
            self.known.clear();
        }
        self.known.insert(key, value);
    }

    fn forget(&mut self, now: u64) {
        self.known.clear();
        self.since = now;
    }
}

#[derive(Debug, Default)]
struct State {
    assets: Kept<String, Arc<Listing>>,
    positions: Kept<AssetKey, Arc<[OpenPosition]>>,
}

/// The listings of one database.
#[derive(Debug, Default)]
pub(super) struct Listings(RwLock<State>);

impl Listings {
    fn changing(&self) -> RwLockWriteGuard<'_, State> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The asset of a name, as of the last commit.
    pub(super) fn asset(&self, name: &str) -> Option<Arc<Listing>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).assets.known.get(name).map(Arc::clone)
    }

    /// Keeps the asset of a name as a reading at `tick` has it.
    pub(super) fn keep_asset(&self, name: &str, listing: &Arc<Listing>, tick: u64) {
        self.changing().assets.keep(name.to_owned(), Arc::clone(listing), tick);
    }

    /// The open positions of an asset, as of the last commit.
    pub(super) fn positions(&self, asset: AssetKey) -> Option<Arc<[OpenPosition]>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).positions.known.get(&asset).map(Arc::clone)
    }

    /// Keeps the open positions of an asset as a reading at `tick` has them.
    pub(super) fn keep_positions(&self, asset: AssetKey, open: &Arc<[OpenPosition]>, tick: u64) {
        self.changing().positions.keep(asset, Arc::clone(open), tick);
    }

    /// Forgets what a commit, the one of tick `now`, may have changed.
    pub(super) fn note(&self, touched: &Touched, now: u64) {
        if touched.changes_listings() {
            self.changing().assets.forget(now);
        }
        if touched.changes_positions() {
            self.changing().positions.forget(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::PortfolioId;
    use uuid::Uuid;

    #[test]
    fn a_reading_from_before_a_change_is_not_kept() {
        let listings = Listings::default();
        let none: Arc<[OpenPosition]> = Arc::from([]);
        listings.keep_positions(AssetKey(1), &none, 0);
        assert!(listings.positions(AssetKey(1)).is_some());
        let trade = Touched { portfolios: vec![PortfolioId(Uuid::nil())], ..Touched::default() };
        listings.note(&trade, 1);
        assert!(listings.positions(AssetKey(1)).is_none());
        listings.keep_positions(AssetKey(1), &none, 0);
        assert!(listings.positions(AssetKey(1)).is_none());
        listings.keep_positions(AssetKey(1), &none, 1);
        let price = Touched { assets: vec![AssetKey(1)], ..Touched::default() };
        listings.note(&price, 2);
        assert!(listings.positions(AssetKey(1)).is_some());
    }
}
