//! What was learned between two moments: the facts that can make a figure another one than it was.

use crate::domain::corporate_action::ActionType;
use crate::domain::currency::Currency;
use crate::domain::decimal::Decimal;
use crate::domain::ids::{ActionId, AssetKey, PortfolioId, TransactionId};
use crate::domain::moment::Moment;
use crate::domain::price_version::{SeriesKey, Version};
use crate::domain::transaction::TransactionType;
use crate::storage::database::{Tx, on};
use crate::storage::error::StorageError;
use crate::storage::price_blocks::{self, FreshRange};
use crate::storage::recall;
use sqlx::QueryBuilder;

/// Versions held before the later ones are dropped.
const KEPT: usize = 10_000;

/// Facts about moments up to `as_of`, learned after one moment and up to another.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// Facts about moments up to this one.
    pub as_of: Moment,
    /// Learned after this moment,
    pub after: Moment,
    /// and up to this one.
    pub until: Moment,
    /// Most rows of each kind.
    pub limit: i64,
}

/// A fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// A ledger entry.
    Entry {
        /// The entry.
        transaction: TransactionId,
        /// Its kind.
        kind: TransactionType,
        /// The moment it is about.
        executed_at: Moment,
        /// Its asset.
        asset: Option<AssetKey>,
        /// The entry it was recorded in place of.
        replaces: Option<TransactionId>,
    },
    /// A void of a ledger entry.
    Void {
        /// The entry.
        transaction: TransactionId,
        /// Its kind.
        kind: TransactionType,
        /// The moment it was about.
        executed_at: Moment,
        /// Its asset.
        asset: Option<AssetKey>,
        /// Why.
        reason: String,
    },
    /// A corporate action, or its void.
    Action {
        /// The action.
        action: ActionId,
        /// Its kind.
        kind: ActionType,
        /// The moment it is about.
        executed_at: Moment,
        /// Its asset.
        asset: AssetKey,
        /// Whether it was voided, not recorded.
        voided: bool,
    },
    /// A version of a price point.
    Price {
        /// Its asset.
        asset: AssetKey,
        /// The moment it is about.
        observed_at: Moment,
        /// Who said so.
        source: String,
        /// Candle length; empty for a tick.
        interval: String,
        /// What it says; `None` when the point was withdrawn.
        price: Option<Decimal>,
    },
    /// A version of a rate.
    Rate {
        /// One unit of this currency
        base: Currency,
        /// is `rate` of this one.
        quote: Currency,
        /// The moment it is about.
        observed_at: Moment,
        /// Who said so.
        source: String,
        /// What it says; `None` when it was withdrawn.
        rate: Option<Decimal>,
    },
    /// Terms of an asset.
    Terms {
        /// The asset.
        asset: AssetKey,
        /// When they begin to apply.
        effective_at: Moment,
    },
    /// Conventions of the portfolio.
    Conventions {
        /// When they begin to apply.
        effective_at: Moment,
    },
    /// Whether a source delivers split-adjusted prices.
    Source {
        /// Its name.
        name: String,
        /// What is known of it.
        split_adjusted: bool,
    },
}

/// A fact with the moment it was learned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Learned {
    /// When.
    pub recorded_at: Moment,
    /// What.
    pub fact: Fact,
}

/// Entries and voids of a portfolio, in the order they were learned.
pub async fn entries(
    tx: &mut Tx,
    portfolio: PortfolioId,
    window: Window,
) -> Result<Vec<Learned>, StorageError> {
    const ENTERED: &str = "SELECT t.recorded_at, t.id, t.kind, t.executed_at, t.asset_key, t.replaces \
        FROM transactions t WHERE t.portfolio_id = $1 AND t.executed_at <= $2 AND t.recorded_at > $3 \
        AND t.recorded_at <= $4 ORDER BY t.seq LIMIT $5";
    const VOIDED: &str = "SELECT v.recorded_at, t.id, t.kind, t.executed_at, t.asset_key, v.reason \
        FROM transaction_voids v JOIN transactions t ON t.id = v.transaction_id WHERE t.portfolio_id = $1 \
        AND t.executed_at <= $2 AND v.recorded_at > $3 AND v.recorded_at <= $4 ORDER BY v.seq LIMIT $5";
    type Row<T> = (Moment, TransactionId, TransactionType, Moment, Option<AssetKey>, T);
    let Window { as_of, after, until, limit } = window;
    let entered: Vec<Row<Option<TransactionId>>> = on!(tx, conn => sqlx::query_as(ENTERED)
        .bind(portfolio).bind(as_of).bind(after).bind(until).bind(limit).fetch_all(conn).await)?;
    let voided: Vec<Row<String>> = on!(tx, conn => sqlx::query_as(VOIDED)
        .bind(portfolio).bind(as_of).bind(after).bind(until).bind(limit).fetch_all(conn).await)?;
    let voids = voided.into_iter().map(|(recorded_at, transaction, kind, executed_at, asset, reason)| {
        Learned { recorded_at, fact: Fact::Void { transaction, kind, executed_at, asset, reason } }
    });
    let entries =
        entered.into_iter().map(|(recorded_at, transaction, kind, executed_at, asset, replaces)| Learned {
            recorded_at,
            fact: Fact::Entry { transaction, kind, executed_at, asset, replaces },
        });
    let mut learned: Vec<Learned> = voids.chain(entries).collect();
    learned.sort_by_key(|one| one.recorded_at);
    Ok(learned)
}

/// Corporate actions of some assets, and their voids, in the order they were learned.
pub async fn actions(tx: &mut Tx, assets: &[AssetKey], window: Window) -> Result<Vec<Learned>, StorageError> {
    type Row = (Moment, ActionId, ActionType, Moment, AssetKey);
    let Window { as_of, after, until, limit } = window;
    let mut learned = Vec::new();
    for (select, voided) in [
        (
            "SELECT c.recorded_at, c.id, c.kind, c.executed_at, c.asset_key FROM corporate_actions c WHERE c.recorded_at > ",
            false,
        ),
        (
            "SELECT r.recorded_at, c.id, c.kind, c.executed_at, c.asset_key FROM corporate_action_voids r \
          JOIN corporate_actions c ON c.id = r.action_id WHERE r.recorded_at > ",
            true,
        ),
    ] {
        let rows: Vec<Row> = on!(tx, conn => {
            let mut query = QueryBuilder::new(select);
            query.push_bind(after);
            query.push(if voided { " AND r.recorded_at <= " } else { " AND c.recorded_at <= " }).push_bind(until);
            query.push(" AND c.executed_at <= ").push_bind(as_of).push(" AND c.asset_key IN (-1");
            for key in assets {
                query.push(", ").push_bind(*key);
            }
            query.push(") ORDER BY c.seq LIMIT ").push_bind(limit);
            query.build_query_as().fetch_all(conn).await
        })?;
        learned.extend(rows.into_iter().map(|(recorded_at, action, kind, executed_at, asset)| Learned {
            recorded_at,
            fact: Fact::Action { action, kind, executed_at, asset, voided },
        }));
    }
    learned.sort_by_key(|one| one.recorded_at);
    Ok(learned)
}

/// Versions of the price points of an asset that are about `since` or later, in the order they were learned.
pub async fn prices(
    tx: &mut Tx,
    asset: AssetKey,
    since: Moment,
    window: Window,
) -> Result<Vec<Learned>, StorageError> {
    let Window { as_of, after, until, limit } = window;
    let limit = usize::try_from(limit).unwrap_or_default();
    let sources = recall::sources(tx, Moment::MAX).await?;
    let mut versions: Vec<(SeriesKey, Version)> = Vec::new();
    let mut take = |series: SeriesKey, these: Vec<Version>| {
        let new =
            these.into_iter().filter(|version| after < version.recorded_at && version.recorded_at <= until);
        versions.extend(new.map(|version| (series, version)));
        if versions.len() > limit.saturating_mul(2).max(KEPT) {
            versions.sort_unstable_by_key(|(_, version)| version.seq);
            versions.truncate(limit);
        }
    };
    let range = FreshRange { from: since, to: as_of, known_at: until, ..FreshRange::of(asset) };
    for (series, these) in price_blocks::fresh(tx, range).await? {
        take(series, these);
    }
    for (series, block) in price_blocks::learned(tx, asset, (since, as_of), (after, until)).await? {
        take(series, block.versions(since, as_of)?);
    }
    versions.sort_unstable_by_key(|(_, version)| version.seq);
    versions.truncate(limit);
    let learned = versions.into_iter().map(|(series, version)| {
        let source = sources.get(&series.source).map(|source| source.name.as_ref().to_owned());
        let price = Some(version.quote.price).filter(|_| !version.withdrawn);
        let (source, interval) = (source.unwrap_or_default(), series.candle.to_owned());
        let fact = Fact::Price { asset, observed_at: version.observed_at, source, interval, price };
        Learned { recorded_at: version.recorded_at, fact }
    });
    Ok(learned.collect())
}

/// Versions of rates, in the order they were learned.
pub async fn rates(tx: &mut Tx, window: Window) -> Result<Vec<Learned>, StorageError> {
    const SQL: &str = "SELECT r.recorded_at, r.base, r.quote, r.observed_at, s.name, r.rate, r.withdrawn FROM rates r \
        JOIN price_sources s ON s.source_key = r.source_key WHERE r.observed_at <= $1 AND r.recorded_at > $2 \
        AND r.recorded_at <= $3 ORDER BY r.seq LIMIT $4";
    let Window { as_of, after, until, limit } = window;
    let rows: Vec<(Moment, Currency, Currency, Moment, String, Decimal, bool)> = on!(tx, conn => sqlx::query_as(SQL)
        .bind(as_of).bind(after).bind(until).bind(limit).fetch_all(conn).await)?;
    let learned = rows.into_iter().map(|(recorded_at, base, quote, observed_at, source, rate, withdrawn)| {
        let rate = Some(rate).filter(|_| !withdrawn);
        Learned { recorded_at, fact: Fact::Rate { base, quote, observed_at, source, rate } }
    });
    Ok(learned.collect())
}

/// Terms of some assets, in the order they were learned. Terms of any date count: before the first, the first apply.
pub async fn terms(tx: &mut Tx, assets: &[AssetKey], window: Window) -> Result<Vec<Learned>, StorageError> {
    let rows: Vec<(Moment, AssetKey, Moment)> = on!(tx, conn => {
        let mut query = QueryBuilder::new("SELECT recorded_at, asset_key, effective_at FROM asset_terms WHERE recorded_at > ");
        query.push_bind(window.after).push(" AND recorded_at <= ").push_bind(window.until);
        query.push(" AND asset_key IN (-1");
        for key in assets {
            query.push(", ").push_bind(*key);
        }
        query.push(") ORDER BY seq LIMIT ").push_bind(window.limit);
        query.build_query_as().fetch_all(conn).await
    })?;
    let learned = rows.into_iter().map(|(recorded_at, asset, effective_at)| Learned {
        recorded_at,
        fact: Fact::Terms { asset, effective_at },
    });
    Ok(learned.collect())
}

/// Conventions of a portfolio, in the order they were learned.
pub async fn conventions(
    tx: &mut Tx,
    portfolio: PortfolioId,
    window: Window,
) -> Result<Vec<Learned>, StorageError> {
    const SQL: &str = "SELECT recorded_at, effective_at FROM portfolio_conventions WHERE portfolio_id = $1 \
        AND recorded_at > $2 AND recorded_at <= $3 ORDER BY seq LIMIT $4";
    let rows: Vec<(Moment, Moment)> = on!(tx, conn => sqlx::query_as(SQL)
        .bind(portfolio).bind(window.after).bind(window.until).bind(window.limit).fetch_all(conn).await)?;
    let learned = rows
        .into_iter()
        .map(|(recorded_at, effective_at)| Learned { recorded_at, fact: Fact::Conventions { effective_at } });
    Ok(learned.collect())
}

/// What was learned about sources of prices.
pub async fn sources(tx: &mut Tx, window: Window) -> Result<Vec<Learned>, StorageError> {
    const SQL: &str = "SELECT v.recorded_at, s.name, v.split_adjusted FROM price_source_versions v \
        JOIN price_sources s ON s.source_key = v.source_key WHERE v.recorded_at > $1 AND v.recorded_at <= $2 \
        ORDER BY v.seq LIMIT $3";
    let rows: Vec<(Moment, String, bool)> = on!(tx, conn => sqlx::query_as(SQL)
        .bind(window.after).bind(window.until).bind(window.limit).fetch_all(conn).await)?;
    let learned = rows.into_iter().map(|(recorded_at, name, split_adjusted)| Learned {
        recorded_at,
        fact: Fact::Source { name, split_adjusted },
    });
    Ok(learned.collect())
}
