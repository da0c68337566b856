//! Prices in blocks beside a row per price: commits of 100,000 points, bytes a point, a history read, and the last price
//! of each minute.

#![expect(clippy::expect_used, reason = "a measurement that cannot go on says where it stopped")]

use crate::limits::Limits;
use crate::{ROUNDS, Row, median, shown, times};
use artifact::clock::Clock;
use artifact::domain::asset::{Terms, TermsHistory};
use artifact::domain::currency::Currency;
use artifact::domain::decimal::Decimal;
use artifact::domain::ids::{AssetKey, SourceKey};
use artifact::domain::moment::{DAY, Moment};
use artifact::domain::price::Quote;
use artifact::storage::closes;
use artifact::storage::database::{DATABASE_FILE, Database, Location};
use artifact::storage::error::StorageError;
use artifact::storage::prices::{self, PriceRange, Series};
use artifact::storage::sealing::Effort;
use artifact::workers::sealing;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Points of a commit.
const POINTS: i64 = 100_000;
/// Assets they are of.
const ASSETS: i64 = 1_000;
/// Commits of the one asset with a long history.
const HISTORY: i64 = 10;
/// The moment the ticks begin.
const BEGIN: i64 = 1_700_000_000_000_000;

fn tick(second: i64, n: i64) -> (Moment, Quote) {
    let price = Decimal::new(i128::from(4_000_000 + n * n % 977), 2);
    (Moment(BEGIN + second * 1_000_000), Quote::tick(price))
}

/// Assets without anything around them, and a source.
async fn references(db: &Database) -> (Vec<AssetKey>, SourceKey) {
    use artifact::domain::asset::{Asset, AssetStatus, AssetType};
    use artifact::domain::ids::{AssetId, MarketId, MarketKey};
    use artifact::domain::market::{Market, MarketStatus, MarketType};
    use artifact::storage::{assets, markets};
    let usd = Currency::from_code("USD").expect("a currency");
    db.writer()
        .housekeep(move |tx| {
            Box::pin(async move {
                let market = Market {
                    key: MarketKey(0),
                    id: MarketId(uuid::Uuid::from_u128(1)),
                    code: "X".to_owned(),
                    name: "X".to_owned(),
                    market_type: MarketType::StockExchange,
                    status: MarketStatus::Open,
                    time_zone: chrono_tz::Tz::UTC,
                    currency: usd,
                    opening_time: None,
                    closing_time: None,
                    trading_days: Vec::new(),
                    metadata: "{}".to_owned(),
                    version: 1,
                    created_at: Moment(0),
                    updated_at: Moment(0),
                };
                let market = markets::insert(tx, market).await?;
                let mut keys = Vec::new();
                for number in 0..=ASSETS {
                    let asset = Asset {
                        key: AssetKey(0),
                        id: AssetId(uuid::Uuid::from_u128(u128::from(number.unsigned_abs()) + 2)),
                        symbol: format!("S{number}"),
                        name: String::new(),
                        asset_type: AssetType::Stock,
                        status: AssetStatus::Active,
                        market_key: market.key,
                        market_id: market.id,
                        market_zone: chrono_tz::Tz::UTC,
                        currency: usd,
                        metadata: "{}".to_owned(),
                        version: 1,
                        created_at: Moment(0),
                        updated_at: Moment(0),
                    };
                    keys.push(assets::insert(tx, asset).await?.key);
                }
                Ok::<_, StorageError>((keys, prices::source(tx, "bench").await?))
            })
        })
        .await
        .expect("references")
}

/// Records points of some assets in one commit; how long it took.
async fn commit(db: &Database, source: SourceKey, points: Vec<(AssetKey, Vec<(Moment, Quote)>)>) -> Duration {
    let began = Instant::now();
    db.writer()
        .housekeep(move |tx| {
            Box::pin(async move {
                for (asset, points) in points {
                    let series = Series { asset, source, interval: "", source_priority: &[] };
                    prices::record(tx, series, &points).await?;
                }
                Ok::<_, StorageError>(())
            })
        })
        .await
        .expect("commit");
    began.elapsed()
}

/// Bytes of the database and its log.
fn bytes(folder: &Path) -> u64 {
    let size = |name: &str| std::fs::metadata(folder.join(name)).map_or(0, |file| file.len());
    size(DATABASE_FILE)
}

struct Bench {
    db: Database,
    folder: PathBuf,
    assets: Vec<AssetKey>,
    source: SourceKey,
    rows: Limits,
}

impl Bench {
    async fn commits(&mut self) {
        let (mut ours, mut peers, mut sealed) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let first = i64::try_from(round).unwrap_or(0) * (POINTS / ASSETS);
            let of = |(number, asset): (i64, &AssetKey)| {
                let points = (0..POINTS / ASSETS).map(|n| tick(first + n, number * 100 + n));
                (*asset, points.collect())
            };
            let points = (0..).zip(&self.assets).take(1_000).map(of).collect();
            ours.push(commit(&self.db, self.source, points).await);
            peers.push(self.rows.time(&format!("insert {first}")));
        }
        let began = Instant::now();
        sealing::finish(&self.db, Effort::Everything).await.expect("seal");
        sealed.push(began.elapsed());
        let (ours, peer) = (median(ours), median(peers));
        Row {
            work: "commit of 100,000 ticks of 1,000 assets, duplicates checked",
            figure: shown(ours),
            beside: format!("SQLite rows, prepared, no check {}", shown(peer)),
            ratio: times(peer, ours),
            goal: "at least 2.5",
        }
        .print();
        Row {
            work: "sealing those 500,000",
            figure: shown(median(sealed)),
            beside: String::new(),
            ratio: String::new(),
            goal: "",
        }
        .print();
    }

    async fn long_history(&mut self, asset: AssetKey) {
        for part in 0..HISTORY {
            let points = (part * POINTS..(part + 1) * POINTS).map(|n| tick(n, n)).collect();
            commit(&self.db, self.source, vec![(asset, points)]).await;
            self.rows.ask(&format!("history {}", part * POINTS));
        }
        sealing::finish(&self.db, Effort::Everything).await.expect("seal");
        let (mut scans, mut peer_scans, mut folds, mut peer_folds) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let usd = Currency::from_code("USD").expect("a currency");
        let mut terms = TermsHistory::default();
        terms.add(asset, Moment::MIN, Terms::plain(usd));
        let minutes = HISTORY * POINTS / 60;
        let ends: Vec<Moment> = (1..=minutes).map(|n| Moment(BEGIN + n * 60_000_000 - 1)).collect();
        for _ in 0..ROUNDS {
            let mut tx = self.db.read().await.expect("read");
            let range = PriceRange {
                asset,
                source: None,
                interval: None,
                from: Moment::MIN,
                until: Moment(BEGIN + DAY * 365),
                known_at: Moment::MAX,
                after: None,
                limit: POINTS,
            };
            let began = Instant::now();
            let found = prices::history(&mut tx, &range).await.expect("history");
            scans.push(began.elapsed());
            assert!(found.len() == 100_000, "{} points", found.len());
            let began = Instant::now();
            let found = closes::closes(&mut tx, &[asset], &terms, &ends, Moment::MAX).await.expect("closes");
            folds.push(began.elapsed());
            let found = found.get(&asset).map_or(0, Vec::len);
            assert!(found == ends.len(), "{found} of {} minutes", ends.len());
            peer_scans.push(self.rows.time("scan 100000"));
            peer_folds.push(self.rows.time("fold"));
        }
        for (work, ours, peer, goal) in [
            ("history of 100,000 points, from the store", scans, peer_scans, "at least 1"),
            ("last price of each minute of 1,000,000 ticks", folds, peer_folds, ""),
        ] {
            let (ours, peer) = (median(ours), median(peer));
            let beside = format!("rows of SQLite {}", shown(peer));
            Row { work, figure: shown(ours), beside, ratio: times(peer, ours), goal }.print();
        }
    }

    async fn run(mut self) {
        let empty = bytes(&self.folder);
        self.commits().await;
        let one = self.assets.last().copied().expect("an asset");
        self.long_history(one).await;
        self.db.close().await;
        let points = 1_500_000;
        let (ours, peer) = (bytes(&self.folder) - empty, self.rows.ask("size"));
        let each = |all: u64| format!("{}.{}", all / points, all * 10 / points % 10);
        Row {
            work: "bytes a point on disk, sealed, free pages included",
            figure: each(ours),
            beside: format!("a row of SQLite {}", each(peer)),
            ratio: each(peer * points / ours.max(1)),
            goal: "at most 10 bytes",
        }
        .print();
        self.rows.stop();
        std::fs::remove_dir_all(self.folder).unwrap_or_default();
    }
}

/// Measures the store itself, without HTTP.
pub(crate) async fn run() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("blocks-{}", std::process::id()));
    let db = Database::open(&Location::Directory(folder.clone()), Clock::system()).await.expect("open");
    let (assets, source) = references(&db).await;
    let rows = Limits::start(&folder);
    Bench { db, folder, assets, source, rows }.run().await;
}
