//! Tables `price_sources` and `price_source_versions`: who delivers prices, and whether they come split-adjusted.

use crate::domain::moment::Moment;
use crate::storage::database::{Tx, on};
use crate::storage::error::StorageError;
use crate::storage::newest::Source;
use crate::storage::prices;
use sqlx::QueryBuilder;
use std::sync::Arc;

/// A source of prices or rates.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct PriceSource {
    /// Its name.
    pub name: String,
    /// Whether its prices are adjusted for splits by the source itself.
    pub split_adjusted: bool,
    /// When that was learned; of a source nothing was said about, when it first delivered.
    pub recorded_at: Moment,
}

#[derive(sqlx::FromRow)]
struct Row {
    name: String,
    created_at: Moment,
    split_adjusted: Option<bool>,
    recorded_at: Option<Moment>,
}

impl From<Row> for PriceSource {
    fn from(row: Row) -> Self {
        Self {
            name: row.name,
            split_adjusted: row.split_adjusted.unwrap_or_default(),
            recorded_at: row.recorded_at.unwrap_or(row.created_at),
        }
    }
}

async fn read(tx: &mut Tx, name: Option<&str>, known_at: Moment) -> Result<Vec<PriceSource>, StorageError> {
    let rows: Vec<Row> = on!(tx, conn => {
        let mut query = QueryBuilder::new(
            "SELECT s.name, s.recorded_at AS created_at, v.split_adjusted, v.recorded_at FROM price_sources s \
             LEFT JOIN price_source_versions v ON v.seq = (SELECT MAX(n.seq) FROM price_source_versions n \
                WHERE n.source_key = s.source_key AND n.recorded_at <= ");
        query.push_bind(known_at).push(") WHERE s.recorded_at <= ").push_bind(known_at);
        if let Some(name) = name {
            query.push(" AND s.name = ").push_bind(name.to_owned());
        }
        query.push(" ORDER BY s.name LIMIT 100000");
        query.build_query_as().fetch_all(conn).await
    })?;
    Ok(rows.into_iter().map(PriceSource::from).collect())
}

/// Every source as known at `known_at`, by name.
pub async fn list(tx: &mut Tx, known_at: Moment) -> Result<Vec<PriceSource>, StorageError> {
    read(tx, None, known_at).await
}

/// The source with this name, as known at `known_at`.
pub async fn find(tx: &mut Tx, name: &str, known_at: Moment) -> Result<Option<PriceSource>, StorageError> {
    Ok(read(tx, Some(name), known_at).await?.pop())
}

/// Says whether a source delivers split-adjusted prices. A source that is new is added; saying the same again changes
/// nothing.
pub async fn mark(tx: &mut Tx, name: &str, split_adjusted: bool) -> Result<(), StorageError> {
    const ADD: &str = "INSERT INTO price_source_versions (seq, source_key, recorded_at, split_adjusted) \
        VALUES ($1, $2, $3, $4)";
    const KEEP: &str = "UPDATE price_sources SET split_adjusted = $2 WHERE source_key = $1";
    tx.touched.everything = true;
    let key = prices::source(tx, name).await?;
    let known = find(tx, name, Moment::MAX).await?;
    if known.is_some_and(|known| known.split_adjusted == split_adjusted) {
        return Ok(());
    }
    let (seq, recorded_at) = (tx.next_seq()?, tx.recorded_at()?);
    on!(tx, conn => sqlx::query(ADD).bind(seq).bind(key).bind(recorded_at).bind(split_adjusted)
        .execute(conn).await.map(drop))?;
    on!(tx, conn => sqlx::query(KEEP).bind(key).bind(split_adjusted).execute(conn).await.map(drop))?;
    tx.pending.set_source(key, Source { name: Arc::from(name), split_adjusted });
    Ok(())
}
