//! Sources of prices, and what was known of them when.

use super::samples::{add_assets, add_source, d, m, read};
use crate::on_both;
use crate::support::TestDb;
use artifact::domain::ids::AssetKey;
use artifact::domain::moment::Moment;
use artifact::domain::price::Quote;
use artifact::storage::price_sources;
use artifact::storage::prices::{self, PriceRange, Series};

/// Says of a source whether it is adjusted; tells when.
async fn mark(db: &TestDb, name: &'static str, split_adjusted: bool) -> Moment {
    db.write(move |tx| {
        Box::pin(async move {
            price_sources::mark(tx, name, split_adjusted).await?;
            tx.recorded_at()
        })
    })
    .await
}

async fn adjusted(db: &TestDb, name: &str, known_at: Moment) -> Option<(bool, Moment)> {
    let found = price_sources::find(&mut read(db).await, name, known_at).await.unwrap();
    found.map(|source| (source.split_adjusted, source.recorded_at))
}

async fn add(
    db: &TestDb,
    asset: AssetKey,
    source: &'static str,
    (at, interval, price): (&str, &'static str, &str),
) {
    let (at, quote) = (m(at), Quote::tick(d(price)));
    db.write(move |tx| {
        Box::pin(async move {
            let source = prices::source(tx, source).await?;
            let series = Series { asset, source, interval, source_priority: &[] };
            prices::record(tx, series, &[(at, quote)]).await.map(drop)
        })
    })
    .await;
}

fn range(asset: AssetKey, until: &str) -> PriceRange {
    PriceRange {
        asset,
        source: None,
        interval: None,
        from: Moment::MIN,
        until: m(until),
        known_at: Moment::MAX,
        after: None,
        limit: 10,
    }
}

on_both! {
    async fn what_is_said_of_a_source_is_kept_with_when_it_was_said(backend) {
        let db = TestDb::open(backend).await;
        add_source(&db, "plain").await;
        let created = db.db.stamps().latest();
        assert_eq!(adjusted(&db, "plain", Moment::MAX).await.map(|found| found.0), Some(false));
        let on = mark(&db, "plain", true).await;
        let same = mark(&db, "plain", true).await;
        let off = mark(&db, "plain", false).await;
        assert!(on < same && same < off);
        assert_eq!(adjusted(&db, "plain", Moment::MAX).await, Some((false, off)));
        assert_eq!(adjusted(&db, "plain", off.plus(-1)).await, Some((true, on)));
        assert_eq!(adjusted(&db, "plain", on.plus(-1)).await.map(|found| found.0), Some(false));
        assert_eq!(adjusted(&db, "plain", created.plus(-1_000_000)).await, None);
        assert_eq!(adjusted(&db, "unknown", Moment::MAX).await, None);
        // A source that never delivered is added.
        let new = mark(&db, "Élan/2", true).await;
        assert_eq!(adjusted(&db, "Élan/2", Moment::MAX).await, Some((true, new)));
        let listed = price_sources::list(&mut read(&db).await, Moment::MAX).await.unwrap();
        let names: Vec<&str> = listed.iter().map(|source| source.name.as_str()).collect();
        assert_eq!(names, ["plain", "Élan/2"]);
        assert_eq!(price_sources::list(&mut read(&db).await, off).await.unwrap().len(), 1);
    }

    async fn a_price_says_whether_its_source_was_known_to_adjust(backend) {
        let db = TestDb::open(backend).await;
        let asset = add_assets(&db, &["GOLD"]).await[0];
        add(&db, asset, "vendor", ("2026-03-01T12:00:00Z", "", "7")).await;
        let on = mark(&db, "vendor", true).await;
        let tx = &mut read(&db).await;
        assert!(prices::latest(tx, &[asset]).await.unwrap()[&asset].split_adjusted);
        for (known_at, flag) in [(Moment::MAX, true), (on, true), (on.plus(-1), false)] {
            let point = prices::at(tx, asset, &[], Moment::MAX, known_at).await.unwrap().unwrap();
            assert_eq!(point.split_adjusted, flag);
            let history = prices::history(tx, &PriceRange { known_at, ..range(asset, "2027-01-01T00:00:00Z") }).await.unwrap();
            assert_eq!(history[0].1.split_adjusted, flag);
        }
    }

    async fn the_newest_points_come_first_and_candles_apart(backend) {
        let db = TestDb::open(backend).await;
        let asset = add_assets(&db, &["GOLD"]).await[0];
        let noon = "2026-03-02T12:00:00Z";
        for (source, point) in [("a", ("2026-03-01T12:00:00Z", "", "1")), ("a", (noon, "", "2")), ("b", (noon, "1h", "3")),
            ("a", ("2026-03-01T00:00:00Z", "1d", "4")), ("b", ("2026-03-02T00:00:00Z", "1w", "5")), ("a", ("2026-03-03T00:00:00Z", "1M", "6"))] {
            add(&db, asset, source, point).await;
        }
        let newest = async |range: PriceRange, candles: bool, priority: &[&str]| -> Vec<String> {
            let priority: Vec<String> = priority.iter().map(|name| (*name).to_owned()).collect();
            let rows = prices::newest(&mut read(&db).await, &range, candles, &priority).await.unwrap();
            rows.into_iter().map(|point| point.quote.price.to_string()).collect()
        };
        let all = range(asset, "2027-01-01T00:00:00Z");
        assert_eq!(newest(all.clone(), true, &[]).await, ["6", "5", "4"]);
        // Of one moment the later recorded comes first, unless the order of sources says otherwise.
        assert_eq!(newest(all.clone(), false, &[]).await, ["3", "2", "1"]);
        assert_eq!(newest(all.clone(), false, &["a"]).await, ["2", "3", "1"]);
        assert_eq!(newest(PriceRange { limit: 1, ..range(asset, noon) }, false, &[]).await, ["1"]);
        assert_eq!(newest(PriceRange { source: Some("a".to_owned()), ..all.clone() }, true, &[]).await, ["6", "4"]);
        assert_eq!(newest(PriceRange { interval: Some("1w".to_owned()), ..all.clone() }, true, &[]).await, ["5"]);
        assert_eq!(newest(PriceRange { interval: Some("1w".to_owned()), ..all }, false, &[]).await, [""; 0]);
    }
}
