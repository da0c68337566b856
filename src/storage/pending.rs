//! Price versions of a commit under way: they become a block when the commit ends, and vanish with the job that
//! recorded them when it is undone.

use crate::domain::ids::{AssetKey, SourceKey};
use crate::domain::moment::Moment;
use crate::domain::price_version::{SeriesKey, Version};
use crate::storage::newest::{SeriesEnd, Source};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Versions one job may hold before they are written.
pub(super) const HELD: usize = 1 << 17;

/// Versions of one series, in the order they were recorded.
#[derive(Debug, Default)]
pub(super) struct Run {
    versions: Vec<Version>,
    /// Whether each is later than the one before: then it is searched as it is.
    descends: bool,
    /// Otherwise, the last version of each moment.
    places: HashMap<Moment, usize>,
}

impl Run {
    pub(super) fn push(&mut self, version: Version) {
        let ascends = self.versions.last().is_none_or(|last| last.observed_at < version.observed_at);
        if !ascends && !self.descends {
            self.descends = true;
            self.places = self.versions.iter().enumerate().map(|(place, v)| (v.observed_at, place)).collect();
        }
        if self.descends {
            self.places.insert(version.observed_at, self.versions.len());
        }
        self.versions.push(version);
    }

    /// Adds versions in order of time that are later than all that are here.
    fn extend(&mut self, versions: Vec<Version>) {
        if self.descends {
            for version in versions {
                self.push(version);
            }
        } else if self.versions.is_empty() {
            self.versions = versions;
        } else {
            self.versions.extend(versions);
        }
    }

    pub(super) fn last_of(&self, at: Moment) -> Option<&Version> {
        let place = if self.descends {
            *self.places.get(&at)?
        } else {
            self.versions.binary_search_by_key(&at, |version| version.observed_at).ok()?
        };
        self.versions.get(place)
    }

    /// Keeps the first `length`, and gives the others.
    fn split_off(&mut self, length: usize) -> Vec<Version> {
        let rest = self.versions.split_off(length.min(self.versions.len()));
        if self.descends {
            self.places = self.versions.iter().enumerate().map(|(place, v)| (v.observed_at, place)).collect();
        }
        rest
    }
}

/// How something was before a job changed it.
#[derive(Debug)]
enum Before {
    Run(SeriesKey, usize),
    End(SeriesKey, Option<SeriesEnd>),
    Priority(AssetKey, Option<Arc<[String]>>),
    Source(SourceKey, Option<Source>),
}

/// What a commit under way has recorded about prices.
#[derive(Debug, Default)]
pub(super) struct Pending {
    runs: BTreeMap<SeriesKey, Run>,
    ends: HashMap<SeriesKey, SeriesEnd>,
    priorities: HashMap<AssetKey, Arc<[String]>>,
    sources: HashMap<SourceKey, Source>,
    /// What the job under way has changed.
    log: Vec<Before>,
    /// Versions the job under way holds.
    held: usize,
    /// Up to which moment versions of a series were written, or had been before their job was undone.
    written: HashMap<SeriesKey, Moment>,
}

/// Series, orders of sources and sources that a commit changed.
pub(super) type Changes =
    (HashMap<SeriesKey, SeriesEnd>, HashMap<AssetKey, Arc<[String]>>, HashMap<SourceKey, Source>);

impl Pending {
    /// A job begins: what was done before stands.
    pub(super) fn begin_job(&mut self) {
        self.log.clear();
        self.held = 0;
    }

    /// The job is undone.
    pub(super) fn undo_job(&mut self) {
        fn put<K: std::hash::Hash + Eq, V>(map: &mut HashMap<K, V>, key: K, was: Option<V>) {
            match was {
                Some(was) => drop(map.insert(key, was)),
                None => drop(map.remove(&key)),
            }
        }
        while let Some(before) = self.log.pop() {
            match before {
                Before::Run(series, length) => {
                    self.runs.entry(series).and_modify(|run| drop(run.split_off(length)));
                }
                Before::End(series, was) => put(&mut self.ends, series, was),
                Before::Priority(asset, was) => put(&mut self.priorities, asset, was),
                Before::Source(source, was) => put(&mut self.sources, source, was),
            }
        }
        self.held = 0;
    }

    /// Hands out the run of a series, to be put back with more versions.
    pub(super) fn take_run(&mut self, series: SeriesKey) -> Run {
        let run = self.runs.remove(&series).unwrap_or_default();
        self.log.push(Before::Run(series, run.versions.len()));
        run
    }

    /// Puts a run back with `more` versions than it had.
    pub(super) fn put_run(&mut self, series: SeriesKey, run: Run, more: usize) {
        self.held += more;
        self.runs.insert(series, run);
    }

    /// Adds versions to the run of a series, in order of time and later than all that it has.
    pub(super) fn extend_run(&mut self, series: SeriesKey, versions: Vec<Version>) {
        self.held += versions.len();
        let run = self.runs.entry(series).or_default();
        self.log.push(Before::Run(series, run.versions.len()));
        run.extend(versions);
    }

    /// The last version of a point that is recorded here.
    pub(super) fn last_of(&self, series: SeriesKey, at: Moment) -> Option<&Version> {
        self.runs.get(&series)?.last_of(at)
    }

    /// Every version of the points of a range of assets.
    pub(super) fn between(
        &self,
        first: AssetKey,
        last: AssetKey,
    ) -> impl Iterator<Item = (SeriesKey, &[Version])> {
        let from = SeriesKey { asset: first, source: SourceKey(i64::MIN), candle: "" };
        let between = self.runs.range(from..).take_while(move |(series, _)| series.asset <= last);
        between.map(|(series, run)| (*series, run.versions.as_slice()))
    }

    pub(super) fn end(&self, series: SeriesKey) -> Option<&SeriesEnd> {
        self.ends.get(&series)
    }

    /// The series of an asset that were changed.
    pub(super) fn ends_of(&self, asset: AssetKey) -> impl Iterator<Item = (SeriesKey, &SeriesEnd)> {
        self.ends.iter().filter(move |(series, _)| series.asset == asset).map(|(series, end)| (*series, end))
    }

    pub(super) fn set_end(&mut self, series: SeriesKey, end: SeriesEnd) {
        let was = self.ends.insert(series, end);
        self.log.push(Before::End(series, was));
    }

    pub(super) fn priority(&self, asset: AssetKey) -> Option<&Arc<[String]>> {
        self.priorities.get(&asset)
    }

    pub(super) fn set_priority(&mut self, asset: AssetKey, priority: Arc<[String]>) {
        let was = self.priorities.insert(asset, priority);
        self.log.push(Before::Priority(asset, was));
    }

    pub(super) fn source(&self, key: SourceKey) -> Option<&Source> {
        self.sources.get(&key)
    }

    pub(super) fn set_source(&mut self, key: SourceKey, source: Source) {
        let was = self.sources.insert(key, source);
        self.log.push(Before::Source(key, was));
    }

    /// Whether the job under way holds so much that it is better written.
    pub(super) const fn is_heavy(&self) -> bool {
        self.held >= HELD
    }

    /// Takes out what the job under way has recorded, to be written: when it is undone, so is the writing.
    pub(super) fn take_job(&mut self) -> Vec<(SeriesKey, Vec<Version>)> {
        let mut lengths: BTreeMap<SeriesKey, usize> = BTreeMap::new();
        for before in &self.log {
            if let Before::Run(series, length) = before {
                lengths.entry(*series).or_insert(*length);
            }
        }
        self.held = 0;
        let runs = &mut self.runs;
        let mut taken = Vec::with_capacity(lengths.len());
        for (series, length) in lengths {
            if let Some(run) = runs.get_mut(&series) {
                taken.push((series, run.split_off(length)));
            }
        }
        taken.retain(|(_, versions)| !versions.is_empty());
        taken
    }

    /// Up to which moment versions of a series may have been written in this commit.
    pub(super) fn written_to(&self, series: SeriesKey) -> Option<Moment> {
        self.written.get(&series).copied()
    }

    /// Notes that versions of a series are written.
    pub(super) fn note_written(&mut self, series: SeriesKey, last: Moment) {
        let written = self.written.entry(series).or_insert(last);
        *written = last.max(*written);
    }

    /// Takes out everything, to be written at the end of the commit.
    pub(super) fn take_all(&mut self) -> Vec<(SeriesKey, Vec<Version>)> {
        self.log.clear();
        let runs = std::mem::take(&mut self.runs).into_iter().map(|(series, run)| (series, run.versions));
        runs.filter(|(_, versions)| !versions.is_empty()).collect()
    }

    /// What is to be known after the commit.
    pub(super) fn into_changes(self) -> Changes {
        (self.ends, self.priorities, self.sources)
    }
}
