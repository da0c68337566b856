//! The prices of many moments at once are those of single reads, whatever the series is made of.

use super::samples::{add_assets, add_source, d, read};
use crate::on_both;
use crate::support::TestDb;
use artifact::domain::asset::{Terms, TermsHistory};
use artifact::domain::currency::Currency;
use artifact::domain::ids::{AssetKey, SourceKey};
use artifact::domain::moment::{DAY, HOUR, Moment};
use artifact::domain::price::{Close, Quote};
use artifact::storage::closes;
use artifact::storage::prices::{self, Series};

async fn record(
    db: &TestDb,
    asset: AssetKey,
    source: SourceKey,
    interval: &'static str,
    points: Vec<(i64, String)>,
) {
    db.write(move |tx| {
        Box::pin(async move {
            let series = Series { asset, source, interval, source_priority: &[] };
            let points: Vec<_> =
                points.iter().map(|(at, price)| (Moment(*at), Quote::tick(d(price)))).collect();
            prices::record(tx, series, &points).await
        })
    })
    .await;
}

fn terms(asset: AssetKey, priority: &[&str]) -> TermsHistory {
    let mut terms = Terms::plain(Currency::from_code("USD").unwrap());
    terms.source_priority = priority.iter().map(|name| (*name).to_owned()).collect();
    let mut history = TermsHistory::default();
    history.add(asset, Moment::MIN, terms);
    history
}

/// Ends of twenty days, the first one some days after the epoch.
fn ends() -> Vec<Moment> {
    (5..25).map(|day| Moment(day * DAY - 1)).collect()
}

/// Holds the closes against a single read at each moment, and returns them.
async fn agree(db: &TestDb, asset: AssetKey, priority: &[&str], known_at: Moment) -> Vec<Close> {
    let (history, ends) = (terms(asset, priority), ends());
    let tx = &mut read(db).await;
    let mut found = closes::closes(tx, &[asset], &history, &ends, known_at).await.unwrap();
    let found = found.remove(&asset).unwrap_or_default();
    let order: Vec<String> = priority.iter().map(|name| (*name).to_owned()).collect();
    for (slot, end) in ends.iter().enumerate() {
        let single = prices::at(tx, asset, &order, *end, known_at).await.unwrap();
        let single =
            single.map(|point| (point.observed_at, point.quote.price.to_string(), point.interval == "1d"));
        let close = found.iter().rfind(|close| close.slot <= slot);
        let close = close.map(|close| (close.observed_at, close.price.to_string(), close.daily));
        assert_eq!(close, single, "at {slot}");
    }
    assert!(found.windows(2).all(|two| two[0].slot < two[1].slot));
    found
}

on_both! {
    async fn a_plain_daily_series_is_told_where_it_changes(backend) {
        let db = TestDb::open(backend).await;
        let (asset, source) = (add_assets(&db, &["GOLD"]).await[0], add_source(&db, "api").await);
        // Two points before the first moment, then one on most days, one of them with more digits than a word holds.
        let days = [1, 3, 6, 7, 8, 12, 13, 20, 24, 30];
        let mut points: Vec<(i64, String)> = days.iter().map(|day| (day * DAY, format!("{day}.50"))).collect();
        points[5].1 = "12345678901234.123456789012345".to_owned();
        record(&db, asset, source, "1d", points).await;
        let found = agree(&db, asset, &[], Moment::MAX).await;
        assert_eq!(found.iter().map(|close| close.slot).collect::<Vec<_>>(), [0, 2, 3, 4, 8, 9, 16]);
        assert!(agree(&db, asset, &[], Moment(0)).await.is_empty());
        let nothing = closes::closes(&mut read(&db).await, &[asset], &terms(asset, &[]), &[], Moment::MAX).await;
        assert!(nothing.unwrap().is_empty());
    }

    async fn corrections_withdrawals_and_ties_are_those_of_a_single_read(backend) {
        let db = TestDb::open(backend).await;
        let asset = add_assets(&db, &["GOLD"]).await[0];
        let (api, desk) = (add_source(&db, "api").await, add_source(&db, "desk").await);
        let daily: Vec<(i64, String)> = (0..25).map(|day| (day * DAY, format!("{day}"))).collect();
        record(&db, asset, api, "1d", daily).await;
        let before: Moment = db.write(|tx| Box::pin(async { tx.recorded_at() })).await;
        record(&db, asset, api, "1d", vec![(10 * DAY, "10.7".to_owned()), (11 * DAY, "11.7".to_owned())]).await;
        record(&db, asset, desk, "1d", vec![(12 * DAY, "12.9".to_owned()), (13 * DAY, "13.9".to_owned())]).await;
        record(&db, asset, desk, "", vec![(13 * DAY, "13.8".to_owned()), (15 * DAY + HOUR, "15.8".to_owned())]).await;
        let gone = db.write(move |tx| {
            Box::pin(async move {
                let series = Series { asset, source: api, interval: "1d", source_priority: &[] };
                prices::withdraw(tx, series, Moment(17 * DAY)).await
            })
        });
        assert!(gone.await);
        for priority in [&[][..], &["api"], &["desk", "api"]] {
            agree(&db, asset, priority, Moment::MAX).await;
            agree(&db, asset, priority, before).await;
        }
    }

    async fn of_many_points_a_day_the_last_is_read(backend) {
        let db = TestDb::open(backend).await;
        let (asset, source) = (add_assets(&db, &["BTC"]).await[0], add_source(&db, "feed").await);
        let ticks: Vec<(i64, String)> = (0..24 * 24).map(|hour| (hour * HOUR + 7, format!("{hour}.25"))).collect();
        record(&db, asset, source, "", ticks).await;
        let before: Moment = db.write(|tx| Box::pin(async { tx.recorded_at() })).await;
        record(&db, asset, source, "", vec![(7 * DAY - HOUR + 7, "9.99".to_owned())]).await;
        let found = agree(&db, asset, &[], Moment::MAX).await;
        assert_eq!(found.len(), 20);
        agree(&db, asset, &[], before).await;
    }
}
