//! Price points: what is a duplicate and what a correction, who wins a tie, and what was known when.

use super::samples::{add_assets, add_source, d, m, read};
use crate::on_both;
use crate::support::TestDb;
use artifact::domain::ids::{AssetKey, SourceKey};
use artifact::domain::moment::Moment;
use artifact::domain::price::Outcome::{self, Corrected, Duplicate, Stored};
use artifact::domain::price::{Bar, Quote};
use artifact::storage::error::StorageError;
use artifact::storage::learned::{self, Fact, Learned, Window};
use artifact::storage::prices::{self, PriceRange, Series};

/// One series of one asset.
#[derive(Clone)]
struct Feed<'a> {
    db: &'a TestDb,
    asset: AssetKey,
    source: SourceKey,
    interval: &'static str,
    priority: Vec<String>,
}

async fn feed(db: &TestDb) -> Feed<'_> {
    let (asset, source) = (add_assets(db, &["GOLD"]).await[0], add_source(db, "api").await);
    Feed { db, asset, source, interval: "", priority: Vec::new() }
}

impl Feed<'_> {
    async fn from(&self, name: &'static str) -> Self {
        Self { source: add_source(self.db, name).await, ..self.clone() }
    }

    /// Records points as one batch; tells what became of each, and when.
    async fn record(&self, points: Vec<(Moment, Quote)>) -> (Vec<Outcome>, Moment) {
        let (asset, source, interval, priority) =
            (self.asset, self.source, self.interval, self.priority.clone());
        self.db
            .write(move |tx| {
                Box::pin(async move {
                    let series = Series { asset, source, interval, source_priority: &priority };
                    Ok((prices::record(tx, series, &points).await?, tx.recorded_at()?))
                })
            })
            .await
    }

    /// Withdraws a point; whether there was one.
    async fn withdraw(&self, at: i64) -> bool {
        let (asset, source, interval, priority) =
            (self.asset, self.source, self.interval, self.priority.clone());
        self.db
            .write(move |tx| {
                Box::pin(async move {
                    let series = Series { asset, source, interval, source_priority: &priority };
                    prices::withdraw(tx, series, Moment(at)).await
                })
            })
            .await
    }

    /// Records one price; tells when.
    async fn tick(&self, at: i64, price: &str) -> Moment {
        self.record(vec![(Moment(at), Quote::tick(d(price)))]).await.1
    }

    /// The price at a moment as known then, with its digits and source.
    async fn at(&self, as_of: Moment, known_at: Moment) -> Option<String> {
        let tx = &mut read(self.db).await;
        let point = prices::at(tx, self.asset, &self.priority, as_of, known_at).await.unwrap()?;
        assert_eq!(point.asset, self.asset);
        Some(format!("{} {}{}", point.quote.price, point.source, point.interval))
    }

    async fn now(&self) -> Option<String> {
        self.at(Moment::MAX, Moment::MAX).await
    }

    /// What is kept as the newest price.
    async fn latest(&self) -> Option<String> {
        let marks = prices::latest(&mut read(self.db).await, &[self.asset]).await.unwrap();
        marks.get(&self.asset).map(|mark| format!("{} {}{}", mark.price, mark.source, mark.interval))
    }

    fn range(&self) -> PriceRange {
        PriceRange {
            asset: self.asset,
            source: None,
            interval: None,
            from: Moment::MIN,
            until: Moment::MAX,
            known_at: Moment::MAX,
            after: None,
            limit: 100,
        }
    }

    async fn history(&self, range: &PriceRange) -> Vec<String> {
        let points = prices::history(&mut read(self.db).await, range).await.unwrap();
        let shown = points.iter().map(|(_, point)| {
            format!("{} {} {}{}", point.observed_at.0, point.quote.price, point.source, point.interval)
        });
        shown.collect()
    }
}

fn candle(fields: [&str; 5]) -> Quote {
    let [price, open, high, low, volume] = fields.map(|text| (text != "-").then(|| d(text)));
    Quote::new(price.unwrap(), Bar { open, high, low, volume })
}

on_both! {
    async fn a_point_is_a_duplicate_only_when_it_is_equal_in_every_given_field(backend) {
        let db = TestDb::open(backend).await;
        let feed = feed(&db).await;
        for (fields, outcome) in [
            (["1.0", "1", "2", "0.5", "10"], Stored),
            (["1.00", "1.000", "2.0", "0.50", "10.0"], Duplicate),
            (["1.0", "1", "2", "0.5", "-"], Corrected),
            (["1.0", "1", "2", "0.5", "0"], Corrected),
            (["1.0", "1", "2", "0.25", "0"], Corrected),
            (["1.0", "1", "3", "0.25", "0"], Corrected),
            (["1.0", "1.5", "3", "0.25", "0"], Corrected),
            (["1.5", "1.5", "3", "0.25", "0"], Corrected),
            (["1.5", "1.5", "3.0", "0.25", "0.00"], Duplicate),
            // A correction replaces the whole point: what it does not give is gone.
            (["1.5", "-", "-", "-", "-"], Corrected),
            (["1.50", "-", "-", "-", "-"], Duplicate),
        ] {
            let (outcomes, _) = feed.record(vec![(Moment(0), candle(fields))]).await;
            assert_eq!(outcomes, [outcome], "{fields:?}");
        }
        let point = prices::at(&mut read(&db).await, feed.asset, &[], Moment(0), Moment::MAX).await.unwrap();
        assert_eq!(format!("{:?}", point.unwrap().quote), format!("{:?}", candle(["1.5", "-", "-", "-", "-"])));
    }

    async fn another_source_interval_moment_or_asset_is_another_point(backend) {
        let db = TestDb::open(backend).await;
        let assets = add_assets(&db, &["GOLD", "BTC"]).await;
        let feed =
            Feed { db: &db, asset: assets[0], source: add_source(&db, "api").await, interval: "", priority: vec![] };
        let point = || vec![(Moment(0), Quote::tick(d("1")))];
        for other in [
            feed.clone(),
            feed.from("API").await,
            Feed { interval: "1d", ..feed.clone() },
            Feed { asset: assets[1], ..feed.clone() },
        ] {
            assert_eq!(other.record(point()).await.0, [Stored]);
            assert_eq!(other.record(point()).await.0, [Duplicate]);
        }
        assert_eq!(feed.record(vec![(Moment(1), Quote::tick(d("1")))]).await.0, [Stored]);
    }

    async fn there_and_back_again_is_two_corrections_that_all_stay_readable(backend) {
        let db = TestDb::open(backend).await;
        let feed = feed(&db).await;
        let mut stamps = Vec::new();
        for (price, outcome) in [("5.0", Stored), ("6", Corrected), ("5.00", Corrected), ("5", Duplicate)] {
            let (outcomes, stamp) = feed.record(vec![(Moment(0), Quote::tick(d(price)))]).await;
            assert_eq!(outcomes, [outcome], "{price}");
            stamps.push(stamp);
        }
        let known = async |known_at| feed.at(Moment(0), known_at).await;
        assert_eq!(known(stamps[0].plus(-1)).await, None);
        assert_eq!(known(stamps[0]).await.unwrap(), "5.0 api");
        assert_eq!(known(stamps[1].plus(-1)).await.unwrap(), "5.0 api");
        assert_eq!(known(stamps[1]).await.unwrap(), "6 api");
        assert_eq!(known(stamps[2]).await.unwrap(), "5.00 api");
        assert_eq!(feed.now().await.unwrap(), "5.00 api");
        let range = PriceRange { known_at: stamps[1], ..feed.range() };
        assert_eq!(feed.history(&range).await, ["0 6 api"]);
        assert_eq!(feed.history(&feed.range()).await, ["0 5.00 api"]);
    }

    async fn the_later_row_of_a_batch_wins_and_both_are_kept(backend) {
        let db = TestDb::open(backend).await;
        let feed = feed(&db).await;
        let rows = [(7, "1"), (7, "2"), (8, "3"), (7, "2.0"), (7, "1"), (8, "3")];
        let rows = rows.map(|(at, price)| (Moment(at), Quote::tick(d(price)))).to_vec();
        let (outcomes, _) = feed.record(rows).await;
        assert_eq!(outcomes, [Stored, Corrected, Stored, Duplicate, Corrected, Duplicate]);
        assert_eq!(feed.history(&feed.range()).await, ["7 1 api", "8 3 api"]);
        let window = Window { as_of: Moment(7), after: Moment::MIN, until: Moment::MAX, limit: 100 };
        let versions = learned::prices(&mut read(&db).await, feed.asset, Moment(7), window).await.unwrap();
        let priced = |one: &Learned| {
            let Fact::Price { price, .. } = &one.fact else { panic!("{:?}", one.fact) };
            price.as_ref().unwrap().to_string()
        };
        assert_eq!(versions.iter().map(priced).collect::<Vec<_>>(), ["1", "2", "1"]);
        assert!(versions.iter().all(|one| one.recorded_at == versions[0].recorded_at));
        assert_eq!(feed.record(vec![]).await.0, []);
    }

    async fn a_tie_goes_to_the_preferred_source_and_then_to_the_later_record(backend) {
        let db = TestDb::open(backend).await;
        let api = feed(&db).await;
        let (slow, fast) = (api.from("slow").await, api.from("fast").await);
        api.tick(10, "1").await;
        slow.tick(10, "2").await;
        assert_eq!(api.now().await.unwrap(), "2 slow");
        fast.tick(10, "3").await;
        api.tick(9, "99").await;
        assert_eq!(api.now().await.unwrap(), "3 fast");
        // Corrected last, recorded last.
        api.tick(10, "1.5").await;
        assert_eq!(api.now().await.unwrap(), "1.5 api");
        let prefer = |names: &[&str]| Feed {
            priority: names.iter().map(|name| (*name).to_owned()).collect(),
            ..api.clone()
        };
        assert_eq!(prefer(&["slow", "fast"]).now().await.unwrap(), "2 slow");
        assert_eq!(prefer(&["nobody", "fast"]).now().await.unwrap(), "3 fast");
        assert_eq!(prefer(&["nobody"]).now().await.unwrap(), "1.5 api");
        // Two intervals of one source at one moment: the later record.
        Feed { interval: "1d", ..slow.clone() }.tick(10, "4").await;
        assert_eq!(prefer(&["slow"]).now().await.unwrap(), "4 slow1d");
        // Preference chooses among points of one moment, never an older one.
        fast.tick(11, "5").await;
        assert_eq!(prefer(&["slow"]).now().await.unwrap(), "5 fast");
    }

    async fn the_newest_price_follows_the_order_of_sources(backend) {
        let db = TestDb::open(backend).await;
        let one = feed(&db).await;
        let two = Feed { priority: vec!["two".to_owned()], ..one.from("two").await };
        assert_eq!(one.latest().await, None);
        two.tick(10, "2").await;
        one.tick(10, "1").await;
        assert_eq!(one.latest().await.unwrap(), "1 api");
        let (asset, priority) = (two.asset, two.priority.clone());
        db.write(move |tx| Box::pin(async move {
 prices::refresh_latest(tx, asset, &priority);
 Ok(())
 })).await;
        assert_eq!(one.latest().await.unwrap(), "2 two");
        // An old point leaves it alone, and so does a duplicate; a correction does not.
        two.tick(9, "9").await;
        two.tick(10, "2.00").await;
        assert_eq!(one.latest().await.unwrap(), "2 two");
        let stamp = two.tick(10, "2.5").await;
        let marks = prices::latest(&mut read(&db).await, &[asset, AssetKey(-1)]).await.unwrap();
        let mark = &marks[&asset];
        assert_eq!((marks.len(), mark.observed_at, mark.recorded_at), (1, Moment(10), stamp));
        assert_eq!(one.latest().await.unwrap(), "2.5 two");
    }

    async fn a_withdrawn_point_gives_way_to_the_one_before_it(backend) {
        let db = TestDb::open(backend).await;
        let feed = feed(&db).await;
        feed.tick(10, "1").await;
        let stamp = feed.tick(20, "2").await;
        assert!(feed.withdraw(20).await && !feed.withdraw(20).await && !feed.withdraw(21).await);
        assert_eq!(feed.now().await.unwrap(), "1 api");
        assert_eq!(feed.latest().await.unwrap(), "1 api");
        assert_eq!(feed.at(Moment::MAX, stamp).await.unwrap(), "2 api");
        assert_eq!(feed.history(&feed.range()).await, ["10 1 api"]);
        // The same price again is a correction of the withdrawal, not a duplicate of what was withdrawn.
        assert_eq!(feed.record(vec![(Moment(20), Quote::tick(d("2")))]).await.0, [Corrected]);
        assert_eq!(feed.latest().await.unwrap(), "2 api");
    }

    async fn a_price_from_1833_is_in_its_place(backend) {
        let db = TestDb::open(backend).await;
        let feed = feed(&db).await;
        let (old, older) = (m("1833-01-01T00:00:00Z"), m("1832-12-31T23:59:59.999999Z"));
        feed.tick(0, "2050.10").await;
        feed.tick(old.0, "18.93").await;
        assert_eq!(feed.at(old, Moment::MAX).await.unwrap(), "18.93 api");
        assert_eq!(feed.at(older, Moment::MAX).await, None);
        assert_eq!(feed.at(Moment(-1), Moment::MAX).await.unwrap(), "18.93 api");
        feed.tick(older.0, "18.90").await;
        let all = [format!("{} 18.90 api", older.0), format!("{} 18.93 api", old.0), "0 2050.10 api".to_owned()];
        assert_eq!(feed.history(&feed.range()).await, all);
        assert_eq!(feed.latest().await.unwrap(), "2050.10 api");
    }

    async fn a_price_keeps_every_digit_it_came_with(backend) {
        let db = TestDb::open(backend).await;
        let feed = feed(&db).await;
        for (i, price) in [
            "2050.10",
            "0",
            "0.00",
            "-37.630",
            "0.000000000000000001",
            "9999999999999999999999999999",
            "1234567890.123456789012345678",
            "-9999999999.999999999999999999",
        ]
        .into_iter()
        .enumerate()
        {
            let quote = candle([price; 5]);
            feed.record(vec![(Moment(i64::try_from(i).unwrap()), quote.clone())]).await;
            assert_eq!(feed.now().await.unwrap(), format!("{price} api"));
            assert_eq!(feed.latest().await.unwrap(), format!("{price} api"));
            let rows = prices::history(&mut read(&db).await, &feed.range()).await.unwrap();
            assert_eq!(format!("{:?}", rows[i].1.quote), format!("{quote:?}"));
        }
        // 28 digits are told apart to the last one.
        feed.tick(0, "1234567890.123456789012345678").await;
        let other = vec![(Moment(0), Quote::tick(d("1234567890.123456789012345679")))];
        assert_eq!(feed.record(other).await.0, [Corrected]);
    }

    async fn a_history_is_narrowed_by_all_its_bounds(backend) {
        let db = TestDb::open(backend).await;
        let api = feed(&db).await;
        let daily = Feed { interval: "1d", ..api.from("feed").await };
        for at in [30, 10, 20, 40] {
            api.tick(at, "1").await;
            daily.tick(at, "2").await;
        }
        let seen = api.history(&PriceRange { from: Moment(20), until: Moment(40), ..api.range() }).await;
        assert_eq!(seen, ["20 1 api", "20 2 feed1d", "30 1 api", "30 2 feed1d"]);
        let named = PriceRange { source: Some("feed".to_owned()), from: Moment(21), ..api.range() };
        assert_eq!(api.history(&named).await, ["30 2 feed1d", "40 2 feed1d"]);
        let ticks = PriceRange { interval: Some(String::new()), limit: 2, ..api.range() };
        assert_eq!(api.history(&ticks).await, ["10 1 api", "20 1 api"]);
        assert_eq!(api.history(&PriceRange { source: Some("api".to_owned()), ..named }).await.len(), 2);
        let neither = PriceRange { source: Some("api".to_owned()), interval: Some("1d".to_owned()), ..api.range() };
        assert_eq!(api.history(&neither).await, [""; 0]);
        assert_eq!(api.history(&PriceRange { asset: AssetKey(-1), ..api.range() }).await, [""; 0]);
        let whole = api.history(&api.range()).await;
        assert_eq!(whole.len(), 8);
        for limit in [1, 3, 8, 9] {
            let (mut range, mut rows) = (PriceRange { limit, ..api.range() }, Vec::new());
            loop {
                let page = prices::history(&mut read(&db).await, &range).await.unwrap();
                let Some((seq, last)) = page.last() else { break };
                assert!(page.len() <= usize::try_from(limit).unwrap());
                range.after = Some((last.observed_at, *seq));
                rows.extend(page.iter().map(|(seq, point)| (point.observed_at.0, *seq)));
            }
            assert!(rows.is_sorted() && rows.len() == 8, "{limit} rows a page: {rows:?}");
            rows.dedup();
            assert_eq!(rows.len(), 8);
        }
    }

    async fn a_large_batch_and_many_assets_go_in_at_once(backend) {
        let db = TestDb::open(backend).await;
        let names: Vec<String> = (0..501).map(|i| format!("S{i}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let assets = add_assets(&db, &names).await;
        let source = add_source(&db, "api").await;
        let feed = Feed { db: &db, asset: assets[500], source, interval: "", priority: vec![] };
        let rows: Vec<(Moment, Quote)> =
            (0..1001).rev().map(|i| (Moment(i), Quote::tick((i + 1).into()))).collect();
        let (outcomes, _) = feed.record(rows.clone()).await;
        assert!(outcomes.len() == 1001 && outcomes.iter().all(|outcome| *outcome == Stored));
        assert!(feed.record(rows).await.0.iter().all(|outcome| *outcome == Duplicate));
        assert_eq!(feed.latest().await.unwrap(), "1001 api");
        let range = PriceRange { limit: 2000, ..feed.range() };
        assert_eq!(feed.history(&range).await.len(), 1001);
        let all = assets.clone();
        db.write(move |tx| {
            Box::pin(async move {
                for asset in all {
                    let series = Series { asset, source, interval: "", source_priority: &[] };
                    prices::record(tx, series, &[(Moment(5000), Quote::tick(d("7")))]).await?;
                }
                Ok(())
            })
        })
        .await;
        let marks = prices::latest(&mut read(&db).await, &assets).await.unwrap();
        assert!(marks.len() == 501 && marks.values().all(|mark| mark.price == d("7")));
        assert!(prices::latest(&mut read(&db).await, &[]).await.unwrap().is_empty());
    }

    async fn a_series_has_a_point_or_has_none(backend) {
        let db = TestDb::open(backend).await;
        let feed = feed(&db).await;
        feed.tick(5, "1").await;
        let other = feed.from("other").await;
        let exists = async |feed: &Feed<'_>, at| {
            let series =
                Series { asset: feed.asset, source: feed.source, interval: feed.interval, source_priority: &[] };
            prices::exists(&mut read(&db).await, series, Moment(at)).await.unwrap()
        };
        assert!(exists(&feed, 5).await);
        assert!(!exists(&feed, 4).await && !exists(&feed, 6).await && !exists(&other, 5).await);
        assert!(!exists(&Feed { interval: "1d", ..feed.clone() }, 5).await);
    }

    async fn a_source_has_one_key_for_ever(backend) {
        let db = TestDb::open(backend).await;
        let (one, other) = (add_source(&db, "api").await, add_source(&db, "Api").await);
        assert_ne!(one, other);
        assert_eq!(add_source(&db, "api").await, one);
        let tx = &mut read(&db).await;
        assert_eq!(prices::source(tx, "Api").await.unwrap(), other);
        assert!(matches!(prices::source(tx, "new").await, Err(StorageError::NotCommitted(_))));
    }

    async fn a_price_needs_its_asset(backend) {
        let db = TestDb::open(backend).await;
        let source = add_source(&db, "api").await;
        let refused: Result<Vec<Outcome>, StorageError> = db
            .db
            .writer()
            .housekeep(move |tx| {
                Box::pin(async move {
                    let series = Series { asset: AssetKey(-1), source, interval: "", source_priority: &[] };
                    prices::record(tx, series, &[(Moment(0), Quote::tick(d("1")))]).await
                })
            })
            .await;
        assert!(matches!(refused, Err(StorageError::MissingReference(_))), "{refused:?}");
    }
}
