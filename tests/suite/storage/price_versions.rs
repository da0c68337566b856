//! Random histories of prices against the plainest model of them: a list of versions.

use super::samples::{Dice, add_assets, add_source, d, read};
use crate::on_both;
use crate::support::TestDb;
use artifact::domain::ids::{AssetKey, SourceKey};
use artifact::domain::moment::{HOUR, Moment};
use artifact::domain::price::{Bar, Outcome, Quote};
use artifact::storage::prices::{self, PriceRange, Series};
use std::collections::BTreeMap;

const SOURCES: [&str; 3] = ["api", "slow", "fast"];
const INTERVALS: [&str; 2] = ["", "1d"];
const MOMENTS: [i64; 6] = [-4_323_283_200_000_000, -1, 0, 1, 1_000, 1_790_000_000_000_000];
const PRICES: [&str; 5] = ["1", "1.0", "2050.10", "0", "9999999999999999999999999999"];

/// One version of one point, in the order they were learned.
#[derive(Debug, Clone)]
pub(super) struct Version {
    pub(super) observed_at: i64,
    pub(super) source: &'static str,
    pub(super) interval: &'static str,
    pub(super) recorded_at: i64,
    pub(super) withdrawn: bool,
    pub(super) quote: Quote,
}

/// Everything ever learned about one asset.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) versions: Vec<Version>,
    pub(super) priority: Vec<String>,
}

impl Model {
    /// The version in force of each point, with its place in the order of learning.
    pub(super) fn current(&self, known_at: i64) -> Vec<(usize, &Version)> {
        let mut points = BTreeMap::new();
        for (order, v) in self.versions.iter().enumerate().filter(|(_, v)| v.recorded_at <= known_at) {
            points.insert((v.observed_at, v.source, v.interval), (order, v));
        }
        let mut points: Vec<_> = points.into_values().filter(|(_, v)| !v.withdrawn).collect();
        points.sort_by_key(|(order, v)| (v.observed_at, *order));
        points
    }

    pub(super) fn at(&self, as_of: i64, known_at: i64) -> Option<&Version> {
        let rank = |source: &str| self.priority.iter().position(|name| name == source).unwrap_or(99);
        let points = self.current(known_at).into_iter().filter(|(_, v)| v.observed_at <= as_of);
        let best = points.max_by_key(|(order, v)| (v.observed_at, 99 - rank(v.source), *order));
        best.map(|(_, v)| v)
    }

    pub(super) fn record(&mut self, version: Version) -> Outcome {
        let known = self.versions.iter().rfind(|v| {
            (v.observed_at, v.source, v.interval) == (version.observed_at, version.source, version.interval)
        });
        let outcome = match known {
            Some(v) if !v.withdrawn && v.quote == version.quote => return Outcome::Duplicate,
            Some(_) => Outcome::Corrected,
            None => Outcome::Stored,
        };
        self.versions.push(version);
        outcome
    }
}

pub(super) fn shown(v: &Version) -> String {
    format!("{} {}/{} {:?} @{}", v.observed_at, v.source, v.interval, v.quote, v.recorded_at)
}

/// The same asset in the database, and the same history of it in the model.
struct Pair<'a> {
    db: &'a TestDb,
    asset: AssetKey,
    sources: [SourceKey; 3],
    model: Model,
    /// Which random history this is, and how far it has come.
    step: (u64, u32),
}

impl Pair<'_> {
    /// A batch of random points of one series, some of a moment twice.
    async fn record(&mut self, dice: &mut Dice) {
        let (i, interval) = (dice.roll(3), *dice.pick(&INTERVALS));
        let points: Vec<(Moment, Quote)> = (0..=dice.roll(3))
            .map(|_| {
                let price = d(PRICES[dice.roll(PRICES.len())]);
                let bar = Bar { volume: [None, Some(d("10"))][dice.roll(2)].clone(), ..Bar::default() };
                (Moment(*dice.pick(&MOMENTS)), Quote::new(price, bar))
            })
            .collect();
        let (asset, source, priority, rows) =
            (self.asset, self.sources[i], self.model.priority.clone(), points.clone());
        let (outcomes, stamp) = self
            .db
            .write(move |tx| {
                Box::pin(async move {
                    let series = Series { asset, source, interval, source_priority: &priority };
                    Ok((prices::record(tx, series, &rows).await?, tx.recorded_at()?))
                })
            })
            .await;
        let expected: Vec<Outcome> = points
            .into_iter()
            .map(|(at, quote)| {
                self.model.record(Version {
                    observed_at: at.0,
                    source: SOURCES[i],
                    interval,
                    recorded_at: stamp.0,
                    withdrawn: false,
                    quote,
                })
            })
            .collect();
        assert_eq!(outcomes, expected, "{:?}", self.step);
    }

    /// Withdraws a random point that is in force.
    async fn withdraw(&mut self, dice: &mut Dice) {
        let current = self.model.current(i64::MAX);
        if current.is_empty() {
            return;
        }
        let (_, v) = *dice.pick(&current);
        let source = self.sources[SOURCES.iter().position(|name| *name == v.source).unwrap()];
        let (asset, interval, at, priority) =
            (self.asset, v.interval, Moment(v.observed_at), self.model.priority.clone());
        let (done, stamp) = self
            .db
            .write(move |tx| {
                Box::pin(async move {
                    let series = Series { asset, source, interval, source_priority: &priority };
                    Ok((prices::withdraw(tx, series, at).await?, tx.recorded_at()?))
                })
            })
            .await;
        assert!(done, "{:?}", self.step);
        let gone = Version { withdrawn: true, recorded_at: stamp.0, ..v.clone() };
        self.model.versions.push(gone);
    }

    async fn prefer(&mut self, dice: &mut Dice) {
        let first = dice.roll(4);
        self.model.priority =
            SOURCES.iter().cycle().skip(first).take(dice.roll(4)).map(|s| (*s).to_owned()).collect();
        self.refresh().await;
    }

    async fn refresh(&self) {
        let (asset, priority) = (self.asset, self.model.priority.clone());
        self.db
            .write(move |tx| {
                Box::pin(async move {
                    prices::refresh_latest(tx, asset, &priority);
                    Ok(())
                })
            })
            .await;
    }

    /// Whatever is asked, the database and the model say the same.
    async fn compare(&self, dice: &mut Dice) {
        let tx = &mut read(self.db).await;
        let stamps: Vec<i64> = self.model.versions.iter().map(|v| v.recorded_at).chain([i64::MAX]).collect();
        let mut asked = vec![(i64::MAX, i64::MAX)];
        for _ in 0..4 {
            let shift = [-1, 0][dice.roll(2)];
            asked.push((dice.pick(&MOMENTS) + shift, dice.pick(&stamps) + [-1, 0][dice.roll(2)]));
        }
        for (as_of, known_at) in asked {
            let point =
                prices::at(tx, self.asset, &self.model.priority, Moment(as_of), Moment(known_at)).await;
            let point = point.unwrap().map(|p| {
                format!("{} {}/{} {:?} @{}", p.observed_at.0, p.source, p.interval, p.quote, p.recorded_at.0)
            });
            assert_eq!(
                point,
                self.model.at(as_of, known_at).map(shown),
                "{:?}: at {as_of}, known at {known_at}",
                self.step
            );
            let range = PriceRange {
                asset: self.asset,
                source: None,
                interval: None,
                from: Moment::MIN,
                until: Moment(as_of),
                known_at: Moment(known_at),
                after: None,
                limit: 1_000,
            };
            let history = prices::history(tx, &range).await.unwrap();
            let history: Vec<String> = history
                .iter()
                .map(|(_, p)| {
                    format!(
                        "{} {}/{} {:?} @{}",
                        p.observed_at.0, p.source, p.interval, p.quote, p.recorded_at.0
                    )
                })
                .collect();
            let expected = self.model.current(known_at).into_iter().filter(|(_, v)| v.observed_at < as_of);
            assert_eq!(history, expected.map(|(_, v)| shown(v)).collect::<Vec<_>>(), "{:?}", self.step);
        }
        let latest = prices::latest(tx, &[self.asset]).await.unwrap();
        let latest = latest.get(&self.asset).map(|mark| {
            format!(
                "{} {}/{} {:?} @{}",
                mark.observed_at.0, mark.source, mark.interval, mark.price, mark.recorded_at.0
            )
        });
        let expected = self.model.at(i64::MAX, i64::MAX).map(|v| {
            format!("{} {}/{} {:?} @{}", v.observed_at, v.source, v.interval, v.quote.price, v.recorded_at)
        });
        assert_eq!(latest, expected, "{:?}: the newest price", self.step);
    }
}

on_both! {
    async fn any_history_of_prices_reads_as_the_list_of_its_versions_does(backend) {
        let db = TestDb::open(backend).await;
        let assets = add_assets(&db, &["A", "B", "C", "D", "E", "F"]).await;
        let [one, two, three] = SOURCES;
        let sources = [add_source(&db, one).await, add_source(&db, two).await, add_source(&db, three).await];
        for (seed, asset) in (0..).zip(assets) {
            let mut pair = Pair { db: &db, asset, sources, model: Model::default(), step: (seed, 0) };
            let mut dice = Dice(seed);
            for step in 0..40 {
                pair.step = (seed, step);
                match dice.roll(10) {
                    0 => pair.withdraw(&mut dice).await,
                    1 => pair.prefer(&mut dice).await,
                    // The clock wanders, also backwards.
                    2 => {
                        let hours = i64::try_from(dice.roll(8)).unwrap() - 3;
                        db.clock.set(db.clock.now().plus(hours * HOUR));
                    }
                    _ => pair.record(&mut dice).await,
                }
                pair.compare(&mut dice).await;
            }
        }
    }
}
