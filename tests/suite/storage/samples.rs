//! The rows and values these tests are made of.

use crate::support::TestDb;
use artifact::domain::asset::{Asset, AssetStatus, AssetType};
use artifact::domain::currency::Currency;
use artifact::domain::decimal::Decimal;
use artifact::domain::ids::{
    AssetId, AssetKey, MarketId, MarketKey, PortfolioId, PositionId, SourceKey, TransactionId,
};
use artifact::domain::market::{Market, MarketStatus, MarketType};
use artifact::domain::moment::Moment;
use artifact::domain::portfolio::{Portfolio, PortfolioStatus};
use artifact::domain::transaction::{Transaction, TransactionType};
use artifact::storage::database::Tx;
use artifact::storage::{assets, markets, portfolios, prices};
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use uuid::Uuid;

/// Texts whose order and letters databases disagree about, unless told: case, accents, other scripts, characters
/// beyond 16 bits, the wildcards of `LIKE`, and one twice.
pub(super) const NAMES: [&str; 16] = [
    "zeta", "Alpha", "alpha", "Élan", "élan", "Zeta", "東京", "a_b", "a%b", "axb", "😀", "ﬀ", "alpha",
    "a\\b", "", "O'Brien",
];

pub(super) fn d(text: &str) -> Decimal {
    text.parse().unwrap()
}

pub(super) fn c(code: &str) -> Currency {
    Currency::from_code(code).unwrap()
}

pub(super) fn m(text: &str) -> Moment {
    Moment::parse(text).unwrap()
}

/// A UUID no other row has.
pub(super) fn uuid() -> Uuid {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    Uuid::from_u64_pair(0x0197_0000_0000_7000, COUNT.fetch_add(1, Ordering::SeqCst))
}

/// Every field of a value, to compare those that have no equality of their own; decimals by their digits.
pub(super) fn shown(value: &impl Debug) -> String {
    format!("{value:?}")
}

pub(super) fn market(code: &str, name: &str) -> Market {
    Market {
        key: MarketKey(0),
        id: MarketId(uuid()),
        code: code.to_owned(),
        name: name.to_owned(),
        market_type: MarketType::StockExchange,
        status: MarketStatus::Open,
        time_zone: chrono_tz::Tz::UTC,
        currency: c("USD"),
        opening_time: None,
        closing_time: None,
        trading_days: vec![0, 1, 2, 3, 4],
        metadata: "{}".to_owned(),
        version: 1,
        created_at: Moment(0),
        updated_at: Moment(0),
    }
}

pub(super) fn asset(market: &Market, symbol: &str, name: &str) -> Asset {
    Asset {
        key: AssetKey(0),
        id: AssetId(uuid()),
        symbol: symbol.to_owned(),
        name: name.to_owned(),
        asset_type: AssetType::Commodity,
        status: AssetStatus::Active,
        market_key: market.key,
        market_id: market.id,
        market_zone: market.time_zone,
        currency: c("USD"),
        metadata: "{}".to_owned(),
        version: 1,
        created_at: Moment(0),
        updated_at: Moment(0),
    }
}

pub(super) fn portfolio(name: &str) -> Portfolio {
    Portfolio {
        id: PortfolioId(uuid()),
        seq: 0,
        name: name.to_owned(),
        description: String::new(),
        status: PortfolioStatus::Active,
        owner_id: "tester".to_owned(),
        base_currency: c("USD"),
        initial_capital: d("1000.50"),
        time_zone: chrono_tz::Tz::UTC,
        opened_at: m("2020-01-01T00:00:00Z"),
        metadata: "{}".to_owned(),
        version: 1,
        created_at: Moment(0),
        updated_at: Moment(0),
    }
}

pub(super) fn bare(kind: TransactionType, executed_at: &str) -> Transaction {
    Transaction::bare(TransactionId(uuid()), kind, m(executed_at))
}

pub(super) fn position_id() -> PositionId {
    PositionId(uuid())
}

pub(super) async fn read(db: &TestDb) -> Tx {
    db.db.read().await.unwrap()
}

pub(super) async fn add_market(db: &TestDb, market: Market) -> Market {
    db.write(move |tx| Box::pin(markets::insert(tx, market))).await
}

pub(super) async fn add_asset(db: &TestDb, asset: Asset) -> Asset {
    db.write(move |tx| Box::pin(assets::insert(tx, asset))).await
}

pub(super) async fn add_portfolio(db: &TestDb, portfolio: Portfolio) -> Portfolio {
    db.write(move |tx| Box::pin(portfolios::insert(tx, portfolio))).await
}

/// The market COMEX and these assets on it.
pub(super) async fn add_assets(db: &TestDb, symbols: &[&str]) -> Vec<AssetKey> {
    let comex = add_market(db, market("COMEX", "Comex")).await;
    let rows: Vec<Asset> = symbols.iter().map(|symbol| asset(&comex, symbol, symbol)).collect();
    db.write(move |tx| {
        Box::pin(async move {
            let mut keys = Vec::new();
            for row in rows {
                keys.push(assets::insert(tx, row).await?.key);
            }
            Ok(keys)
        })
    })
    .await
}

pub(super) async fn add_source(db: &TestDb, name: &'static str) -> SourceKey {
    db.write(move |tx| Box::pin(prices::source(tx, name))).await
}

/// Numbers that look random and are the same in every run.
#[derive(Debug)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    /// A number below `sides` (splitmix64).
    pub(super) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % u64::try_from(sides).unwrap()).unwrap()
    }

    pub(super) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.roll(of.len())]
    }
}
