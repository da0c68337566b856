//! Points read window by window, with blocks sealed in between.

use super::samples::{add_assets, add_source, read};
use crate::on_both;
use crate::support::TestDb;
use artifact::domain::candle::{self, Grid, Rollup};
use artifact::domain::decimal::Decimal;
use artifact::domain::ids::{AssetKey, SourceKey};
use artifact::domain::interval::Interval;
use artifact::domain::moment::Moment;
use artifact::domain::price::Quote;
use artifact::storage::price_windows::{Bars, Points};
use artifact::storage::prices::{self, PriceRange, Series};
use artifact::storage::sealing::{self, Effort, Sizes};
use chrono_tz::Tz;
use std::cmp::Reverse;

/// Blocks and steps of a few points, so that few points make many.
const SMALL: Sizes = Sizes { block: 4, round: 12, step: 3, gathered: 2 };
/// Points, four a second.
const COUNT: i64 = 96;

async fn record(db: &TestDb, (asset, source): (AssetKey, SourceKey), points: Vec<(i64, i64)>) {
    db.write(move |tx| {
        Box::pin(async move {
            let series = Series { asset, source, interval: "", source_priority: &[] };
            let points: Vec<(Moment, Quote)> =
                points.iter().map(|(n, price)| (Moment(n * 250_000), Quote::tick((*price).into()))).collect();
            prices::record(tx, series, &points).await
        })
    })
    .await;
}

/// One step of sealing; whether there was one to do.
async fn seal(db: &TestDb) -> bool {
    let plan = sealing::plan(&mut read(db).await, Effort::Everything, SMALL).await.unwrap();
    let Some(plan) = plan else { return false };
    assert!(db.write(|tx| Box::pin(sealing::apply(tx, plan))).await);
    true
}

/// Every second point in blocks, the others and some corrections not sealed yet, one point withdrawn. What is in force.
async fn points(db: &TestDb, (asset, source): (AssetKey, SourceKey)) -> Vec<(i64, i64)> {
    record(db, (asset, source), (0..COUNT / 2).map(|n| (2 * n, n)).collect()).await;
    while seal(db).await {}
    for some in 0..8 {
        let odd = (0..COUNT / 16).map(|n| (16 * n + 2 * some + 1, n + 1_000));
        record(db, (asset, source), odd.chain([(some * 10, 77)]).collect()).await;
    }
    let gone = 42;
    db.write(move |tx| {
        Box::pin(async move {
            let series = Series { asset, source, interval: "", source_priority: &[] };
            prices::withdraw(tx, series, Moment(gone * 250_000)).await
        })
    })
    .await;
    let price = |n: i64| match n {
        n if n % 2 == 1 => n / 16 + 1_000,
        n if n % 10 == 0 && n < 80 => 77,
        n => n / 2,
    };
    (0..COUNT).filter(|n| *n != gone).map(|n| (n, price(n))).collect()
}

on_both! {
    async fn sealing_between_two_windows_loses_nothing_and_doubles_nothing(backend) {
        let db = TestDb::open(backend).await;
        let (assets, source) = (add_assets(&db, &["A", "B"]).await, add_source(&db, "api").await);
        let range = |asset| PriceRange {
            asset, source: None, interval: None, from: Moment::MIN, until: Moment(COUNT * 250_000), known_at: Moment::MAX,
            after: None, limit: 0,
        };
        let expected = points(&db, (assets[0], source)).await;
        let (mut reader, mut told, mut steps) = (Points::new(range(assets[0])), Vec::new(), 0);
        while !reader.are_read() {
            reader.read(&mut read(&db).await).await.unwrap();
            while let Some((teller, version)) = reader.take().unwrap() {
                assert_eq!((&*teller.source, teller.candle), ("api", ""));
                told.push((version.observed_at.0 / 250_000, version.quote.price));
            }
            steps += u32::from(seal(&db).await);
        }
        assert_eq!(told, expected.iter().map(|(n, price)| (*n, Decimal::from(*price))).collect::<Vec<_>>());
        assert!(steps > 2, "sealed {steps} times");

        let expected = points(&db, (assets[1], source)).await;
        let (mut rollup, mut made) = (Rollup::new(Grid { interval: Interval::Second, zone: Tz::UTC }), Vec::new());
        let (mut bars, mut steps) = (Bars::new(range(assets[1])), 0);
        while !bars.are_read() {
            let runs = bars.read(&mut read(&db).await).await.unwrap();
            let series = |source| candle::Series { rank: 0, source, made_of: Reverse(None) };
            let mut runs: Vec<_> = runs.into_iter().map(|(teller, run)| (series(teller.source), run)).collect();
            made.extend(std::iter::from_fn(|| rollup.next(&mut runs)));
            steps += u32::from(seal(&db).await);
        }
        made.extend(rollup.finish());
        let seconds = expected.chunk_by(|a, b| a.0 / 4 == b.0 / 4).map(|own| {
            let mut prices = own.iter().map(|(_, price)| *price);
            let (high, low) = (prices.clone().max(), prices.clone().min());
            let ends = (prices.clone().next(), high, low, prices.next_back());
            (own[0].0 / 4, own.len(), ends)
        });
        let seconds: Vec<_> = seconds.map(|(second, count, ends)| format!("{second} {count} {ends:?}")).collect();
        let made: Vec<_> = made.into_iter().map(|c| {
            let ends = (Some(c.open), Some(c.high), Some(c.low), Some(c.close));
            format!("{} {} {ends:?}", c.start.0 / 1_000_000, c.points)
        }).collect();
        assert_eq!(made, seconds);
        assert!(steps > 2, "sealed {steps} times");
    }
}
