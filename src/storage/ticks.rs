//! What has changed since, in memory: readers that keep something learn from it what of that is out of date.
//!
//! Every commit counts one tick up, after it is on disk and before it is answered. A reader takes the tick before its
//! snapshot: what it reads is at least as new, and anything that changes later has a later tick.

use crate::domain::ids::{AssetKey, PortfolioId};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{PoisonError, RwLock};

/// Changes of one kept book that are remembered: versions, and holdings in them.
const CHANGES: usize = 64;

/// What one commit changes, as far as kept readings depend on it.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent kinds of change, each noted where it is made")]
pub struct Touched {
    /// Assets whose price, terms or name it changes.
    pub(super) assets: Vec<AssetKey>,
    /// Whether it changes an asset itself, its terms or its symbol.
    pub(super) listings: bool,
    /// Whether it changes a rate.
    pub(super) rates: bool,
    /// Whether it changes something that any asset may depend on: a market, a source of prices.
    pub(super) everything: bool,
    /// Portfolios whose row, conventions or kept book it changes.
    pub(super) portfolios: Vec<PortfolioId>,
    /// Versions of kept books it writes, each with the assets whose holdings it changes.
    pub(super) books: Vec<(PortfolioId, i64, Vec<AssetKey>)>,
    /// Whether it changes something that the kept book of any portfolio may depend on: a rate of the past.
    pub(super) every_portfolio: bool,
}

impl Touched {
    /// Whether what is known of assets by their names may be another.
    pub(super) const fn changes_listings(&self) -> bool {
        self.listings || self.everything
    }

    /// Whether open positions, or whose they are, may be others.
    pub(super) fn changes_positions(&self) -> bool {
        self.every_portfolio || self.everything || !self.portfolios.is_empty()
    }
}

#[derive(Debug, Default)]
struct State {
    now: u64,
    assets: HashMap<AssetKey, u64>,
    rates: u64,
    everything: u64,
    portfolios: HashMap<PortfolioId, u64>,
    every_portfolio: u64,
    books: HashMap<PortfolioId, Versions>,
}

/// The newest versions of a kept book, in order, each with the assets whose holdings it changed.
#[derive(Debug, Default)]
struct Versions {
    known: VecDeque<(i64, Vec<AssetKey>)>,
    /// The newest version that is no longer among them.
    forgotten: i64,
}

/// What a kept reading of a portfolio depends on.
#[derive(Debug)]
pub struct Depends<A> {
    /// The portfolio: its row, conventions and kept book.
    pub portfolio: PortfolioId,
    /// The assets that were valued.
    pub assets: A,
    /// Whether a rate was needed.
    pub rates: bool,
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

    /// The tick at which an asset last changed, or may have.
    pub fn changed_at(&self, asset: AssetKey) -> u64 {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        state.assets.get(&asset).copied().unwrap_or_default().max(state.everything)
    }

    /// The tick up to which nothing changed that a reading at an earlier tick depends on; `None` when something has.
    pub fn unchanged(&self, since: u64, on: Depends<impl Iterator<Item = AssetKey>>) -> Option<u64> {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if state.now == since {
            return Some(since);
        }
        let later = |tick: Option<&u64>| tick.is_some_and(|tick| *tick > since);
        let Depends { portfolio, mut assets, rates } = on;
        let changed = state.everything > since
            || state.every_portfolio > since
            || (rates && state.rates > since)
            || later(state.portfolios.get(&portfolio))
            || assets.any(|key| later(state.assets.get(&key)));
        (!changed).then_some(state.now)
    }

    /// The assets whose holdings changed between two versions of a kept book; `None` when that is not known any more,
    /// or not yet.
    pub fn changed_in_book(&self, portfolio: PortfolioId, from: i64, to: i64) -> Option<BTreeSet<AssetKey>> {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let versions = state.books.get(&portfolio)?;
        let complete = from < to
            && versions.forgotten <= from
            && versions.known.iter().any(|(version, _)| *version == to);
        let between = versions.known.iter().filter(|(version, _)| from < *version && *version <= to);
        complete.then(|| between.flat_map(|(_, assets)| assets).copied().collect())
    }

    /// Whether a rate changed after a tick.
    pub fn rates_changed(&self, since: u64) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).rates > since
    }

    /// Notes what a commit changed; the tick of that commit.
    pub(super) fn note(&self, touched: &Touched) -> u64 {
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
        for portfolio in &touched.portfolios {
            state.portfolios.insert(*portfolio, now);
        }
        if touched.every_portfolio {
            state.every_portfolio = now;
        }
        for (portfolio, version, assets) in &touched.books {
            let versions = state.books.entry(*portfolio).or_default();
            versions.known.push_back((*version, assets.clone()));
            let mut held: usize = versions.known.iter().map(|(_, assets)| assets.len() + 1).sum();
            while held > CHANGES
                && let Some((version, assets)) = versions.known.pop_front()
            {
                versions.forgotten = version;
                held -= assets.len() + 1;
            }
        }
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn id(number: u128) -> PortfolioId {
        PortfolioId(Uuid::from_u128(number))
    }

    fn unchanged(ticks: &Ticks, since: u64, rates: bool) -> Option<u64> {
        ticks.unchanged(
            since,
            Depends { portfolio: id(1), assets: [AssetKey(1), AssetKey(2)].into_iter(), rates },
        )
    }

    #[test]
    fn a_reading_stands_until_something_it_depends_on_changes() {
        let ticks = Ticks::default();
        let other =
            Touched { assets: vec![AssetKey(3)], portfolios: vec![id(2)], rates: true, ..Touched::default() };
        ticks.note(&other);
        assert_eq!((unchanged(&ticks, 0, false), unchanged(&ticks, 0, true)), (Some(1), None));
        for touched in [
            Touched { assets: vec![AssetKey(2)], ..Touched::default() },
            Touched { portfolios: vec![id(1)], ..Touched::default() },
            Touched { everything: true, ..Touched::default() },
            Touched { every_portfolio: true, ..Touched::default() },
        ] {
            let since = ticks.now();
            assert_eq!(unchanged(&ticks, since, true), Some(since));
            ticks.note(&touched);
            assert_eq!(unchanged(&ticks, since, false), None, "{touched:?}");
            assert_eq!(unchanged(&ticks, since + 1, false), Some(since + 1));
        }
    }

    #[test]
    fn changes_between_versions_are_told_when_all_of_them_are_known() {
        let ticks = Ticks::default();
        let note = |version, assets: &[i64]| {
            let assets = assets.iter().map(|key| AssetKey(*key)).collect();
            ticks.note(&Touched { books: vec![(id(1), version, assets)], ..Touched::default() });
        };
        let told = |from, to| {
            let found = ticks.changed_in_book(id(1), from, to)?;
            Some(found.into_iter().map(|key| key.0).collect::<Vec<_>>())
        };
        assert_eq!(told(1, 5), None);
        note(5, &[1, 2]);
        note(7, &[2, 3]);
        note(9, &[]);
        assert_eq!(
            (told(3, 7), told(5, 9), told(7, 9)),
            (Some(vec![1, 2, 3]), Some(vec![2, 3]), Some(vec![]))
        );
        // A version that was not noted yet, and a reading that is newer than what it is asked about.
        assert_eq!((told(5, 11), told(9, 7), told(9, 9)), (None, None, None));
        let many: Vec<i64> = (0..60).collect();
        note(11, &many);
        assert_eq!((told(3, 11), told(9, 11).map(|keys| keys.len())), (None, Some(60)));
        // More than is remembered: nothing before it, nor itself.
        let more: Vec<i64> = (0..100).collect();
        note(13, &more);
        assert_eq!((told(11, 13), told(9, 11)), (None, None));
        note(15, &[4]);
        assert_eq!((told(13, 15), told(11, 15)), (Some(vec![4]), None));
    }
}
