//! The newest point of every series, in memory: what feeds and valuations ask for without touching the disk.
//!
//! It changes only after a commit, and each asset tells when it did. A reader whose snapshot is older, or newer, than
//! what is here reads the blocks instead ([`crate::storage::prices::latest`]), so that a snapshot stays one.

use crate::domain::ids::{AssetKey, SourceKey};
use crate::domain::moment::Moment;
use crate::domain::price::Mark;
use crate::domain::price_version::{SeriesKey, Version};
use crate::storage::pending::Pending;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Where a series ends.
#[derive(Debug, Clone)]
pub(super) struct SeriesEnd {
    /// The latest moment it has a version of, withdrawn or not.
    pub(super) last_at: Moment,
    /// Its newest point in force.
    pub(super) newest: Option<Version>,
}

impl SeriesEnd {
    /// Takes up a version learned after everything that is in it. Not for a withdrawal of the newest point.
    pub(super) fn add(end: &mut Option<Self>, version: &Version) {
        let end = end.get_or_insert(Self { last_at: version.observed_at, newest: None });
        end.last_at = end.last_at.max(version.observed_at);
        let newer = end.newest.as_ref().is_none_or(|newest| newest.observed_at <= version.observed_at);
        if newer && !version.withdrawn {
            end.newest = Some(version.clone());
        }
    }
}

/// What a source is called, and whether it takes splits out itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) name: Arc<str>,
    pub(super) split_adjusted: bool,
}

/// What is kept of one asset.
#[derive(Debug, Clone, Default)]
pub(super) struct AssetEnds {
    pub(super) series: HashMap<(SourceKey, &'static str), SeriesEnd>,
    /// Sources in order of preference.
    pub(super) priority: Arc<[String]>,
    /// When any of this was last changed.
    pub(super) changed_at: Option<Moment>,
}

/// What is kept of all assets.
#[derive(Debug)]
pub(super) struct State {
    pub(super) assets: HashMap<AssetKey, AssetEnds>,
    pub(super) sources: HashMap<SourceKey, Source>,
    /// Their keys by name.
    pub(super) keys: HashMap<Arc<str>, SourceKey>,
    /// Stamp of the last commit that is in here.
    pub(super) published: Moment,
    /// When a source was last changed.
    pub(super) sources_changed_at: Moment,
}

impl Default for State {
    fn default() -> Self {
        Self {
            assets: HashMap::new(),
            sources: HashMap::new(),
            keys: HashMap::new(),
            published: Moment::MIN,
            sources_changed_at: Moment::MIN,
        }
    }
}

impl State {
    /// The end of a series.
    pub(super) fn end(&self, series: SeriesKey) -> Option<&SeriesEnd> {
        self.assets.get(&series.asset)?.series.get(&(series.source, series.candle))
    }
}

/// Of the newest points of an asset's series the one that values it: the greatest moment, the order of sources, the
/// later recorded.
pub(super) fn best<'a>(
    points: impl Iterator<Item = (SeriesKey, &'a Version)>,
    name: impl Fn(SourceKey) -> Option<Arc<str>>,
    priority: &[String],
) -> Option<(SeriesKey, &'a Version)> {
    points.min_by_key(|(series, version)| {
        let rank = name(series.source).and_then(|name| priority.iter().position(|listed| **listed == *name));
        (Reverse(version.observed_at), rank.unwrap_or(usize::MAX), Reverse(version.seq))
    })
}

/// A version as the price that values its asset.
pub(super) fn mark(series: SeriesKey, version: &Version, source: &Source) -> Mark {
    Mark {
        price: version.quote.price.clone(),
        observed_at: version.observed_at,
        recorded_at: version.recorded_at,
        source: source.name.as_ref().to_owned(),
        interval: series.candle.to_owned(),
        split_adjusted: source.split_adjusted,
    }
}

/// The newest points of one database.
#[derive(Debug, Default)]
pub struct Newest {
    state: RwLock<State>,
    stale: AtomicBool,
}

impl Newest {
    pub(super) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn changing(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts in place what was read from the database.
    pub(super) fn replace(&self, state: State) {
        *self.changing() = state;
        self.stale.store(false, Ordering::SeqCst);
    }

    /// A commit failed, and may have been made all the same: the writer reads everything anew before it goes on.
    pub(super) fn doubt(&self) {
        self.stale.store(true, Ordering::SeqCst);
    }

    /// Whether it must be read anew.
    pub(super) fn is_stale(&self) -> bool {
        self.stale.load(Ordering::SeqCst)
    }

    /// Takes up what a commit changed.
    pub(super) fn publish(&self, pending: Pending, recorded_at: Moment) {
        let (ends, priorities, sources) = pending.into_changes();
        let mut state = self.changing();
        for (series, end) in ends {
            let asset = state.assets.entry(series.asset).or_default();
            asset.series.insert((series.source, series.candle), end);
            asset.changed_at = Some(recorded_at);
        }
        for (asset, priority) in priorities {
            let asset = state.assets.entry(asset).or_default();
            asset.priority = priority;
            asset.changed_at = Some(recorded_at);
        }
        for (key, source) in sources {
            state.keys.insert(Arc::clone(&source.name), key);
            if state.sources.insert(key, source).is_some() {
                state.sources_changed_at = recorded_at;
            }
        }
        state.published = recorded_at;
    }

    /// The prices that value assets when nothing bounds the reading, after one commit: the last.
    pub fn marks(&self, assets: &[AssetKey]) -> Vec<Option<Mark>> {
        let state = self.state();
        assets.iter().map(|asset| state.mark(*asset)).collect()
    }

    /// When the newest point of an asset was observed, after the last commit.
    pub fn observed_at(&self, asset: AssetKey) -> Option<Moment> {
        let state = self.state();
        let points = state.assets.get(&asset)?.series.values().filter_map(|end| end.newest.as_ref());
        points.map(|newest| newest.observed_at).max()
    }
}

impl State {
    /// The price that values an asset.
    pub(super) fn mark(&self, asset: AssetKey) -> Option<Mark> {
        let ends = self.assets.get(&asset)?;
        let points = ends.series.iter().filter_map(|((source, candle), end)| {
            Some((SeriesKey { asset, source: *source, candle }, end.newest.as_ref()?))
        });
        let name = |source: SourceKey| self.sources.get(&source).map(|source| Arc::clone(&source.name));
        let (series, version) = best(points, name, &ends.priority)?;
        Some(mark(series, version, self.sources.get(&series.source)?))
    }
}
