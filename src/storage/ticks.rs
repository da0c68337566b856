//! What has changed since, in memory: readers that keep something learn from it what of that is out of date.
//!
//! Every commit counts one tick up, after it is on disk and before it is answered. A reader takes the tick before its
//! snapshot: what it reads is at least as new, and anything that changes later has a later tick.

use crate::domain::ids::AssetKey;
use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

/// What one commit changes, as far as kept readings depend on it.
#[derive(Debug, Default)]
pub struct Touched {
    /// Assets whose price, terms or name it changes.
    pub(super) assets: Vec<AssetKey>,
    /// Whether it changes a rate.
    pub(super) rates: bool,
    /// Whether it changes something that any asset may depend on: a market, a source of prices.
    pub(super) everything: bool,
}

#[derive(Debug, Default)]
struct State {
    now: u64,
    assets: HashMap<AssetKey, u64>,
    rates: u64,
    everything: u64,
}

/// The ticks of one database.
#[derive(Debug, Default)]
pub struct Ticks(RwLock<State>);

impl Ticks {
    /// The tick of the last commit.
    pub fn now(&self) -> u64 {
        self.0.read().unwrap_or_else(PoisonError::into_inner).now
    }

    /// Those of some assets that changed after a tick; `None` when any may have.
    pub fn changed(&self, assets: impl Iterator<Item = AssetKey>, since: u64) -> Option<Vec<AssetKey>> {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let later = |key: &AssetKey| state.assets.get(key).is_some_and(|tick| *tick > since);
        (state.everything <= since).then(|| assets.filter(later).collect())
    }

    /// Whether a rate changed after a tick.
    pub fn rates_changed(&self, since: u64) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).rates > since
    }

    pub(super) fn note(&self, touched: &Touched) {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        state.now += 1;
        let now = state.now;
        for asset in &touched.assets {
            state.assets.insert(*asset, now);
        }
        if touched.rates {
            state.rates = now;
        }
        if touched.everything {
            state.everything = now;
        }
    }
}
