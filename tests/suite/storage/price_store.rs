//! Blocks of prices against the plainest model of them: random commits, refusals, withdrawals, sealing that is cut off
//! at any step, and restarts, must never change what is read.

use super::price_versions::{Model, Version, shown};
use super::raw::Raw;
use super::samples::{Dice, add_assets, add_source, d, read};
use crate::on_both;
use crate::support::{Backend, TestDb};
use artifact::domain::asset::{Terms, TermsHistory};
use artifact::domain::candle::{self, Grid, Rollup};
use artifact::domain::currency::Currency;
use artifact::domain::decimal::Decimal;
use artifact::domain::ids::{AssetKey, SourceKey};
use artifact::domain::interval::Interval;
use artifact::domain::moment::{HOUR, Moment};
use artifact::domain::price::{Bar, Outcome, PricePoint, Quote};
use artifact::storage::database::Tx;
use artifact::storage::error::StorageError;
use artifact::storage::learned::{Fact, Window};
use artifact::storage::price_windows::{Bars, Points, Teller};
use artifact::storage::prices::{self, PriceRange, Recorded, Series};
use artifact::storage::sealing::{self, Effort, Sizes};
use artifact::storage::{closes, learned};
use chrono_tz::Tz;
use std::cmp::Reverse;

const SOURCES: [&str; 2] = ["api", "slow"];
const INTERVALS: [&str; 3] = ["", "1d", "1M"];
/// Trailing zeros, negative, at the limits of entry, beyond 64 and beyond 128 bits.
const PRICES: [&str; 10] = [
    "1",
    "1.0",
    "2050.10",
    "2050.1",
    "-0.000",
    "9999999999999999999999999999",
    "0.000000000000000001",
    "1234567890.123456789012345678",
    "9223372036854775807",
    "-170141183460469231731687303715884105728000.50",
];
/// A late moment.
const LATEST: i64 = 1_790_000_000_000_000;
/// Blocks and steps of a few points, so that few points make many.
const SMALL: Sizes = Sizes { block: 4, round: 12, step: 3, gathered: 2 };

/// One thing recorded by a job.
#[derive(Debug, Clone)]
enum Deed {
    Record(usize, usize, &'static str, Vec<(Moment, Quote)>),
    Withdraw(usize, usize, &'static str, Moment),
}

struct World {
    db: TestDb,
    assets: Vec<AssetKey>,
    sources: Vec<SourceKey>,
    models: Vec<Model>,
    dice: Dice,
    step: (u64, u32),
}

fn moment(dice: &mut Dice) -> Moment {
    match dice.roll(12) {
        0 => Moment(-4_323_283_200_000_000),
        1 => Moment(LATEST),
        _ => Moment(i64::try_from(dice.roll(40)).unwrap() * 1_000),
    }
}

fn quote(dice: &mut Dice) -> Quote {
    let mut price = || d(PRICES[dice.roll(PRICES.len())]);
    let (close, open, volume) = (price(), price(), price());
    let bar = match dice.roll(4) {
        0 => Bar { open: Some(open), ..Bar::default() },
        1 => {
            Bar { open: Some(open.clone()), high: Some(open.clone()), low: Some(open), volume: Some(volume) }
        }
        _ => Bar::default(),
    };
    Quote::new(close, bar)
}

/// Records points in one of the two ways there are, as their number says: both must come to the same.
async fn record(
    tx: &mut Tx,
    series: Series<'_>,
    points: &[(Moment, Quote)],
) -> Result<Vec<Outcome>, StorageError> {
    if points.len().is_multiple_of(4) {
        return prices::record(tx, series, points).await;
    }
    Ok(match prices::record_run(tx, series, points.to_vec()).await? {
        Recorded::New => vec![Outcome::Stored; points.len()],
        Recorded::Each(outcomes) => outcomes,
    })
}

/// What a job recorded: outcomes of each deed, and the stamp.
type Done = (Vec<Vec<Outcome>>, Vec<bool>, Moment);

impl World {
    async fn new(backend: Backend, seed: u64) -> Self {
        let db = TestDb::open(backend).await;
        let assets = add_assets(&db, &["A", "B", "C"]).await;
        let mut sources = Vec::new();
        for name in SOURCES {
            sources.push(add_source(&db, name).await);
        }
        let models = assets.iter().map(|_| Model::default()).collect();
        Self { db, assets, sources, models, dice: Dice(seed), step: (seed, 0) }
    }

    fn deed(&mut self) -> Deed {
        let dice = &mut self.dice;
        let (asset, source, interval) = (dice.roll(3), dice.roll(2), *dice.pick(&INTERVALS));
        if dice.roll(4) == 0 {
            let current = self.models[asset].current(i64::MAX);
            if !current.is_empty() {
                let (_, v) = *dice.pick(&current);
                let source = SOURCES.iter().position(|name| *name == v.source).unwrap();
                return Deed::Withdraw(asset, source, v.interval, Moment(v.observed_at));
            }
        }
        let mut points: Vec<(Moment, Quote)> =
            (0..=dice.roll(12)).map(|_| (moment(dice), quote(dice))).collect();
        match dice.roll(4) {
            0 | 1 => points.sort_by_key(|(at, _)| *at),
            2 => {
                // From the end of what the asset has, or just after it.
                let last = self.models[asset].current(i64::MAX).iter().map(|(_, v)| v.observed_at).max();
                let begin = last.unwrap_or(LATEST) + i64::try_from(dice.roll(3)).unwrap();
                for (late, (at, _)) in (begin..).zip(&mut points) {
                    *at = Moment(late);
                }
            }
            _ => {}
        }
        Deed::Record(asset, source, interval, points)
    }

    /// Some jobs that may share a commit, each of some deeds; one of them is refused after it has done them.
    async fn commit(&mut self) {
        let jobs: Vec<(Vec<Deed>, bool)> = (0..=self.dice.roll(3))
            .map(|_| {
                let deeds = (0..=self.dice.roll(2)).map(|_| self.deed()).collect();
                (deeds, self.dice.roll(4) == 0)
            })
            .collect();
        let writes = jobs.clone().into_iter().map(|(deeds, refused)| {
            let (assets, sources) = (self.assets.clone(), self.sources.clone());
            self.db.db.writer().housekeep(move |tx| {
                Box::pin(async move {
                    let (mut outcomes, mut gone) = (Vec::new(), Vec::new());
                    for deed in deeds {
                        let (Deed::Record(asset, source, interval, _)
                        | Deed::Withdraw(asset, source, interval, _)) = &deed;
                        let series = Series {
                            asset: assets[*asset],
                            source: sources[*source],
                            interval,
                            source_priority: &[],
                        };
                        match &deed {
                            Deed::Record(.., points) => {
                                outcomes.push(record(tx, series, points).await?);
                            }
                            Deed::Withdraw(.., at) => gone.push(prices::withdraw(tx, series, *at).await?),
                        }
                    }
                    let done: Done = (outcomes, gone, tx.recorded_at()?);
                    if refused { Err(StorageError::Locked("refused".to_owned())) } else { Ok(done) }
                })
            })
        });
        let done = futures_util::future::join_all(writes).await;
        for ((deeds, refused), done) in jobs.into_iter().zip(done) {
            if refused {
                assert!(matches!(done, Err(StorageError::Locked(_))));
            } else {
                self.model(deeds, &done.unwrap());
            }
        }
    }

    fn model(&mut self, deeds: Vec<Deed>, (outcomes, gone, stamp): &Done) {
        let (mut expected, mut withdrawn) = (Vec::new(), Vec::new());
        for deed in deeds {
            match deed {
                Deed::Record(asset, source, interval, points) => {
                    let model = &mut self.models[asset];
                    let each = points.into_iter().map(|(at, quote)| {
                        model.record(Version {
                            observed_at: at.0,
                            source: SOURCES[source],
                            interval,
                            recorded_at: stamp.0,
                            withdrawn: false,
                            quote,
                        })
                    });
                    expected.push(each.collect::<Vec<_>>());
                }
                Deed::Withdraw(asset, source, interval, at) => {
                    let model = &mut self.models[asset];
                    let current = model.current(i64::MAX);
                    let known = current.iter().find(|(_, v)| {
                        (v.observed_at, v.source, v.interval) == (at.0, SOURCES[source], interval)
                    });
                    withdrawn.push(known.is_some());
                    let gone =
                        known.map(|(_, v)| Version { withdrawn: true, recorded_at: stamp.0, ..(*v).clone() });
                    model.versions.extend(gone);
                }
            }
        }
        assert_eq!((outcomes, gone), (&expected, &withdrawn), "{:?}", self.step);
    }

    async fn plan(&self, effort: Effort) -> Option<sealing::Plan> {
        sealing::plan(&mut read(&self.db).await, effort, SMALL).await.unwrap()
    }

    /// One step of sealing: whole, cut off after it was written, or planned too early.
    async fn seal(&mut self) {
        let effort = *self.dice.pick(&[Effort::Routine, Effort::Tidy, Effort::Everything]);
        let Some(plan) = self.plan(effort).await else { return };
        match self.dice.roll(4) {
            0 => {
                let cut: Result<(), StorageError> = self
                    .db
                    .db
                    .writer()
                    .housekeep(|tx| {
                        Box::pin(async move {
                            assert!(sealing::apply(tx, plan).await?);
                            Err(StorageError::Locked("cut off".to_owned()))
                        })
                    })
                    .await;
                assert!(cut.is_err());
            }
            1 if effort == Effort::Everything => {
                let again = self.plan(effort).await.unwrap();
                assert!(self.db.write(|tx| Box::pin(sealing::apply(tx, plan))).await);
                assert!(!self.db.write(|tx| Box::pin(sealing::apply(tx, again))).await);
            }
            _ => assert!(self.db.write(|tx| Box::pin(sealing::apply(tx, plan))).await),
        }
    }

    async fn restart(&mut self) {
        self.db.db.close().await;
        self.db.reopen().await;
    }

    async fn compare(&mut self) {
        let asset = self.dice.roll(3);
        let (key, model) = (self.assets[asset], &self.models[asset]);
        let stamps: Vec<i64> = model.versions.iter().map(|v| v.recorded_at).chain([i64::MAX]).collect();
        let dice = &mut self.dice;
        let tx = &mut read(&self.db).await;
        for known_at in [i64::MAX, dice.pick(&stamps) - i64::try_from(dice.roll(2)).unwrap()] {
            let as_of = if dice.roll(3) == 0 { i64::MAX } else { moment(dice).0 };
            let context = format!("{:?}: at {as_of}, known at {known_at}", self.step);
            let point = prices::at(tx, key, &[], Moment(as_of), Moment(known_at)).await.unwrap();
            assert_eq!(point.map(|p| told(&p)), model.at(as_of, known_at).map(shown), "{context}");
            let mut range = PriceRange {
                asset: key,
                source: None,
                interval: None,
                from: Moment::MIN,
                until: Moment(as_of),
                known_at: Moment(known_at),
                after: None,
                limit: 7,
            };
            let mut all: Vec<String> = Vec::new();
            loop {
                let page = prices::history(tx, &range).await.unwrap();
                let Some((seq, last)) = page.last() else { break };
                range.after = Some((last.observed_at, *seq));
                all.extend(page.iter().map(|(_, point)| told(point)));
            }
            let current = model.current(known_at);
            let expected = current.iter().filter(|(_, v)| v.observed_at < as_of).map(|(_, v)| shown(v));
            assert_eq!(all, expected.collect::<Vec<_>>(), "{context}");
            let range = PriceRange { after: None, limit: 3, ..range };
            let newest = prices::newest(tx, &range, true, &[]).await.unwrap();
            let expected =
                current.iter().rev().filter(|(_, v)| v.observed_at < as_of && !v.interval.is_empty());
            assert_eq!(
                newest.iter().map(told).collect::<Vec<_>>(),
                expected.take(3).map(|(_, v)| shown(v)).collect::<Vec<_>>(),
                "{context}"
            );
            let mut ends: Vec<Moment> = (0..12).map(|_| moment(dice)).collect();
            ends.sort_unstable();
            ends.dedup();
            let mut terms = TermsHistory::default();
            terms.add(key, Moment::MIN, Terms::plain(Currency::from_code("USD").unwrap()));
            let found = closes::closes(tx, &[key], &terms, &ends, Moment(known_at)).await.unwrap();
            for (slot, end) in ends.iter().enumerate() {
                let close = found.get(&key).and_then(|all| all.iter().rfind(|close| close.slot <= slot));
                let close = close.map(|close| (close.observed_at.0, close.price.to_string()));
                let single = model.at(end.0, known_at).map(|v| (v.observed_at, v.quote.price.to_string()));
                assert_eq!(close, single, "{context}: closes at {end}");
            }
        }
        self.compare_versions(asset).await;
    }

    /// The points of an asset, window by window, and the candles of them, each window in a transaction of its own with
    /// steps of sealing in between.
    async fn read_by_windows(&mut self) {
        let asset = self.dice.roll(3);
        let (key, context) = (self.assets[asset], format!("{:?}: windows of {asset}", self.step));
        let range = PriceRange {
            asset: key,
            source: None,
            interval: None,
            from: Moment::MIN,
            until: Moment::MAX,
            known_at: Moment::MAX,
            after: None,
            limit: 0,
        };
        let (mut points, mut all) = (Points::new(range.clone()), Vec::new());
        while !points.are_read() {
            points.read(&mut read(&self.db).await).await.unwrap();
            while let Some((teller, version)) = points.take().unwrap() {
                all.push(told(&teller.point(key, version)));
            }
            self.seal().await;
        }
        let current = self.models[asset].current(i64::MAX);
        assert_eq!(all, current.iter().map(|(_, v)| shown(v)).collect::<Vec<_>>(), "{context}");
        let current: Vec<Version> = current.into_iter().map(|(_, v)| v.clone()).collect();
        let source = self.dice.roll(2);
        let range =
            PriceRange { source: Some(SOURCES[source].to_owned()), interval: Some(String::new()), ..range };
        let grid = Grid { interval: Interval::Month, zone: Tz::UTC };
        let (mut bars, mut rollup, mut candles) = (Bars::new(range), Rollup::new(grid), Vec::new());
        while !bars.are_read() {
            let runs = bars.read(&mut read(&self.db).await).await.unwrap();
            let series =
                |teller: Teller| candle::Series { rank: 0, source: teller.source, made_of: Reverse(None) };
            let mut runs: Vec<_> = runs.into_iter().map(|(teller, run)| (series(teller), run)).collect();
            candles.extend(std::iter::from_fn(|| rollup.next(&mut runs)));
            self.seal().await;
        }
        candles.extend(rollup.finish());
        let own: Vec<&Version> =
            current.iter().filter(|v| v.source == SOURCES[source] && v.interval.is_empty()).collect();
        let month = |v: &Version| grid.interval.start_of(Moment(v.observed_at), Tz::UTC);
        let months = own.chunk_by(|a, b| month(a) == month(b)).map(|own| {
            let bar = |v: &&Version, of: fn(&Bar) -> &Option<_>| {
                of(v.quote.bar()).clone().unwrap_or(v.quote.price.clone())
            };
            let opens = own.iter().map(|v| bar(v, |bar| &bar.open));
            let high = own.iter().map(|v| bar(v, |bar| &bar.high)).chain(opens.clone()).max();
            let low = own.iter().map(|v| bar(v, |bar| &bar.low)).chain(opens.clone()).min();
            let volume: Option<Decimal> = own.iter().map(|v| v.quote.bar().volume.clone()).sum();
            let close = own.last().map(|v| v.quote.price.clone());
            (u64::try_from(own.len()).unwrap(), opens.clone().next(), high, low, close, volume)
        });
        let made = candles
            .into_iter()
            .map(|c| (c.points, Some(c.open), Some(c.high), Some(c.low), Some(c.close), c.volume));
        assert_eq!(made.collect::<Vec<_>>(), months.collect::<Vec<_>>(), "{context}");
    }

    /// Every version, in the order it was learned; the newest points of all assets; what exists.
    async fn compare_versions(&mut self, asset: usize) {
        let (key, model) = (self.assets[asset], &self.models[asset]);
        let tx = &mut read(&self.db).await;
        let stamps: Vec<i64> = model.versions.iter().map(|v| v.recorded_at).chain([i64::MIN]).collect();
        let after = *self.dice.pick(&stamps);
        let window = Window { as_of: Moment::MAX, after: Moment(after), until: Moment::MAX, limit: 9 };
        let learned = learned::prices(tx, key, Moment(0), window).await.unwrap();
        let learned = learned.into_iter().map(|one| {
            let Fact::Price { observed_at, source, interval, price, .. } = one.fact else {
                panic!("{:?}", one.fact)
            };
            format!("{} {source}{interval} {price:?} @{}", observed_at.0, one.recorded_at.0)
        });
        let versions = model.versions.iter().filter(|v| v.recorded_at > after && v.observed_at >= 0);
        let versions = versions.map(|v| {
            let price = (!v.withdrawn).then_some(&v.quote.price);
            format!("{} {}{} {price:?} @{}", v.observed_at, v.source, v.interval, v.recorded_at)
        });
        assert_eq!(learned.collect::<Vec<_>>(), versions.take(9).collect::<Vec<_>>(), "{:?}", self.step);
        let wanted: Vec<(AssetKey, Vec<String>)> = self.assets.iter().map(|key| (*key, Vec::new())).collect();
        let latest = prices::latest(tx, &self.assets).await.unwrap();
        let many = prices::at_many(tx, &wanted, Moment::MAX, Moment::MAX).await.unwrap();
        for (key, model) in self.assets.iter().zip(&self.models) {
            let expected = model.at(i64::MAX, i64::MAX);
            assert_eq!(many.get(key).map(told), expected.map(shown), "{:?}", self.step);
            let mark = latest.get(key).map(|mark| {
                (mark.observed_at.0, mark.source.as_str(), mark.price.to_string(), mark.recorded_at.0)
            });
            let expected =
                expected.map(|v| (v.observed_at, v.source, v.quote.price.to_string(), v.recorded_at));
            assert_eq!(mark, expected, "{:?}: the newest price", self.step);
        }
        let (at, interval) = (moment(&mut self.dice), *self.dice.pick(&INTERVALS));
        let series = Series { asset: key, source: self.sources[1], interval, source_priority: &[] };
        let known = model.versions.iter();
        let known = known.filter(|v| (v.observed_at, v.source, v.interval) == (at.0, SOURCES[1], interval));
        assert_eq!(prices::exists(tx, series, at).await.unwrap(), known.count() > 0, "{:?}", self.step);
    }
}

fn told(p: &PricePoint) -> String {
    format!("{} {}/{} {:?} @{}", p.observed_at.0, p.source, p.interval, p.quote, p.recorded_at.0)
}

async fn story(backend: Backend, seed: u64, steps: u32) {
    let mut world = World::new(backend, seed).await;
    for step in 0..steps {
        world.step = (seed, step);
        match world.dice.roll(20) {
            0 => world.restart().await,
            1 => {
                let hours = i64::try_from(world.dice.roll(8)).unwrap() - 3;
                world.db.clock.set(world.db.clock.now().plus(hours * HOUR));
            }
            2..9 => world.seal().await,
            _ => world.commit().await,
        }
        world.compare().await;
        if step % 4 == 3 {
            world.read_by_windows().await;
        }
    }
    // Everything sealed, step by step, and once more from the start.
    while let Some(plan) = world.plan(Effort::Everything).await {
        assert!(world.db.write(|tx| Box::pin(sealing::apply(tx, plan))).await);
        world.compare().await;
    }
    world.restart().await;
    for _ in 0..5 {
        world.compare().await;
        world.read_by_windows().await;
    }
}

on_both! {
    async fn no_history_of_commits_and_sealings_reads_otherwise_than_its_versions(backend) {
        let seeds = if backend == Backend::Sqlite { 6 } else { 2 };
        for seed in 0..seeds {
            story(backend, seed, 60).await;
        }
    }

    async fn a_refused_job_leaves_nothing_in_memory(backend) {
        let mut db = TestDb::open(backend).await;
        let (asset, source) = (add_assets(&db, &["GOLD"]).await[0], add_source(&db, "api").await);
        let point = |at: i64, price: &str| (Moment(at), Quote::tick(d(price)));
        let series = move |interval| Series { asset, source, interval, source_priority: &[] };
        let first = vec![point(1, "1")];
        db.write(move |tx| Box::pin(async move { prices::record(tx, series(""), &first).await })).await;
        let refused: Result<(), StorageError> = db.db.writer().housekeep(move |tx| Box::pin(async move {
            let new = prices::source(tx, "new").await?;
            let of_new = Series { source: new, ..series("") };
            prices::record(tx, series(""), &[point(2, "2"), point(1, "3")]).await?;
            prices::record(tx, of_new, &[point(9, "9")]).await?;
            assert!(prices::withdraw(tx, series(""), Moment(2)).await?);
            // Its own writes are seen by the job.
            let latest = prices::latest(tx, &[asset]).await?;
            assert_eq!(latest[&asset].price.to_string(), "9");
            let at = prices::at(tx, asset, &[], Moment(8), Moment::MAX).await?;
            assert_eq!(at.unwrap().quote.price.to_string(), "3");
            Err(StorageError::Locked("refused".to_owned()))
        })).await;
        assert!(refused.is_err());
        for _ in 0..2 {
            let latest = prices::latest(&mut read(&db).await, &[asset]).await.unwrap();
            assert_eq!(latest[&asset].price.to_string(), "1");
            let same = vec![point(1, "1.0")];
            let again = db.write(move |tx| Box::pin(async move { prices::record(tx, series(""), &same).await })).await;
            assert_eq!(again, [Outcome::Duplicate]);
            db.db.close().await;
            db.reopen().await;
        }
    }

    async fn a_commit_that_fails_leaves_nothing_in_memory(backend) {
        let db = TestDb::open(backend).await;
        let (asset, source) = (add_assets(&db, &["GOLD"]).await[0], add_source(&db, "api").await);
        let record = async |at: i64, price: &'static str| -> Result<Vec<Outcome>, StorageError> {
            let work = db.db.writer().housekeep(move |tx| Box::pin(async move {
                let series = Series { asset, source, interval: "", source_priority: &[] };
                prices::record(tx, series, &[(Moment(at), Quote::tick(d(price)))]).await
            }));
            work.await
        };
        let latest = async || prices::latest(&mut read(&db).await, &[asset]).await.unwrap()[&asset].price.to_string();
        assert_eq!(record(1, "1").await.unwrap(), [Outcome::Stored]);
        let mut raw = Raw::open(&db.location).await;
        // The block cannot be written; on SQLite also COMMIT itself fails, by a reference that is checked there.
        let breaks: &[(&str, &str)] = match backend {
            Backend::Postgres => &[("ALTER TABLE fresh_prices RENAME TO broken", "ALTER TABLE broken RENAME TO fresh_prices")],
            Backend::Sqlite => &[
                ("ALTER TABLE fresh_prices RENAME TO broken", "ALTER TABLE broken RENAME TO fresh_prices"),
                ("CREATE TABLE late (asset INTEGER REFERENCES assets (asset_key) DEFERRABLE INITIALLY DEFERRED); \
                  CREATE TRIGGER too_late AFTER INSERT ON fresh_prices BEGIN INSERT INTO late VALUES (-1); END",
                 "DROP TRIGGER too_late; DROP TABLE late"),
            ],
        };
        for (number, (break_it, mend_it)) in (2..).zip(breaks) {
            raw.run(break_it).await;
            let refused = record(number, "7").await;
            assert!(matches!(refused, Err(StorageError::NotCommitted(_))), "{refused:?}");
            raw.run(mend_it).await;
            assert_eq!(latest().await, (number - 1).to_string());
            let price = ["", "", "2", "3"][usize::try_from(number).unwrap()];
            assert_eq!(record(number, price).await.unwrap(), [Outcome::Stored]);
            assert_eq!(record(number, price).await.unwrap(), [Outcome::Duplicate]);
            assert_eq!(latest().await, number.to_string());
        }
        raw.close().await;
    }

    async fn a_job_too_large_to_hold_is_refused_as_a_whole(backend) {
        let mut db = TestDb::open(backend).await;
        let (asset, source) = (add_assets(&db, &["GOLD"]).await[0], add_source(&db, "api").await);
        let count = 150_000;
        let points = move || (0..count).map(|n| (Moment(n), Quote::tick(n.into()))).collect::<Vec<_>>();
        let series = move || Series { asset, source, interval: "", source_priority: &[] };
        let small = vec![(Moment(-1), Quote::tick(d("5")))];
        // Two jobs of one commit: the small one stays when the large one, partly written, is undone.
        let kept = db.db.writer().housekeep(move |tx| Box::pin(async move { prices::record(tx, series(), &small).await }));
        let undone = db.db.writer().housekeep(move |tx| Box::pin(async move {
            prices::record(tx, series(), &points()).await?;
            Err::<(), _>(StorageError::Locked("refused".to_owned()))
        }));
        let (kept, undone): (Result<_, StorageError>, Result<(), StorageError>) = tokio::join!(kept, undone);
        assert!(kept.is_ok() && undone.is_err());
        let newest = async |db: &TestDb| {
            let point = prices::at(&mut read(db).await, asset, &[], Moment::MAX, Moment::MAX).await.unwrap();
            point.unwrap().quote.price.to_string()
        };
        assert_eq!(newest(&db).await, "5");
        let done = db.write(move |tx| Box::pin(async move {
            let first = prices::record(tx, series(), &points()).await?;
            // What was written of it already is found again.
            let again = prices::record(tx, series(), &points()[..10]).await?;
            Ok((first, again))
        })).await;
        assert!(done.0.iter().all(|one| *one == Outcome::Stored) && done.1.iter().all(|one| *one == Outcome::Duplicate));
        while let Some(plan) = sealing::plan(&mut read(&db).await, Effort::Routine, Sizes { round: 100_000, ..Sizes::USUAL }).await.unwrap() {
            assert!(db.write(|tx| Box::pin(sealing::apply(tx, plan))).await);
        }
        for _ in 0..2 {
            assert_eq!(newest(&db).await, (count - 1).to_string());
            let range = PriceRange {
                asset, source: None, interval: None, from: Moment(100_000), until: Moment(100_003),
                known_at: Moment::MAX, after: None, limit: 9,
            };
            let found = prices::history(&mut read(&db).await, &range).await.unwrap();
            assert_eq!(found.iter().map(|(_, point)| point.quote.price.to_string()).collect::<Vec<_>>(), ["100000", "100001", "100002"]);
            db.db.close().await;
            db.reopen().await;
        }
    }
}
