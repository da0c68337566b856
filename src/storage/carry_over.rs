//! Prices from the table of rows, where an older version kept them, into sealed blocks.
//!
//! Rows go over in batches, each in one transaction that also removes them: interrupted at any moment, it goes on with
//! the rows that are left.

use crate::domain::audit::AuditKey;
use crate::domain::decimal::Decimal;
use crate::domain::ids::{AssetKey, SourceKey};
use crate::domain::moment::Moment;
use crate::domain::price::{Bar, Quote};
use crate::domain::price_version::Version;
use crate::storage::database::{Link, Shared, Tx, on};
use crate::storage::error::StorageError;
use crate::storage::price_blocks::{self, Runs};
use crate::storage::sealing;
use crate::storage::writer::Stamp;

/// Rows of a batch; all versions of the last point go along.
const ROWS: i64 = 50_000;

#[derive(sqlx::FromRow)]
struct Row {
    asset_key: AssetKey,
    observed_at: Moment,
    source_key: SourceKey,
    candle: String,
    seq: i64,
    recorded_at: Moment,
    withdrawn: bool,
    price: Decimal,
    open: Option<Decimal>,
    high: Option<Decimal>,
    low: Option<Decimal>,
    volume: Option<Decimal>,
}

/// Carries one batch over; `false` when no row was left.
pub(super) async fn carry_over(link: Link) -> Result<bool, StorageError> {
    const TAKE: &str = "UPDATE commit_stamp SET seq = seq WHERE id = 1 RETURNING last, seq";
    const NOTE: &str = "UPDATE commit_stamp SET seq = $1 WHERE id = 1";
    const LAST: &str =
        "SELECT asset_key, observed_at FROM prices ORDER BY asset_key, observed_at LIMIT 1 OFFSET $1";
    // It tells the audit trail nothing, so its key is never used.
    let mut tx = Tx::new(link, 0, &Shared::new(AuditKey::new(&[0; 32]), None));
    let (recorded_at, seq): (Moment, i64) = on!(&mut tx, conn => sqlx::query_as(TAKE).fetch_one(conn).await)?;
    tx.stamp = Some(Stamp { recorded_at, seq });
    let last: Option<(AssetKey, Moment)> =
        on!(&mut tx, conn => sqlx::query_as(LAST).bind(ROWS).fetch_optional(conn).await)?;
    let last = last.unwrap_or((AssetKey(i64::MAX), Moment::MAX));
    let rows = rows(&mut tx, last).await?;
    if rows.is_empty() {
        return Ok(false);
    }
    let mut runs = Runs::new();
    for row in rows {
        let series = price_blocks::named(row.asset_key, row.source_key, &row.candle)?;
        let quote =
            Quote::new(row.price, Bar { open: row.open, high: row.high, low: row.low, volume: row.volume });
        runs.entry(series).or_default().push(Version {
            observed_at: row.observed_at,
            seq: row.seq,
            recorded_at: row.recorded_at,
            ended_at: Moment::MAX,
            withdrawn: row.withdrawn,
            quote,
        });
    }
    sealing::seal_now(&mut tx, runs).await?;
    forget(&mut tx, last).await?;
    let seq = tx.stamp.map_or(seq, |stamp| stamp.seq);
    on!(&mut tx, conn => sqlx::query(NOTE).bind(seq).execute(conn).await.map(drop))?;
    match tx.link {
        Link::Sqlite(open) => open.commit().await?,
        Link::Postgres(open) => open.commit().await?,
    }
    Ok(true)
}

/// The rows up to a point, with all its versions.
async fn rows(tx: &mut Tx, last: (AssetKey, Moment)) -> Result<Vec<Row>, StorageError> {
    const SQL: &str = "SELECT asset_key, observed_at, source_key, candle, seq, recorded_at, withdrawn, price, open, \
        high, low, volume FROM prices WHERE (asset_key, observed_at) <= ($1, $2) \
        ORDER BY asset_key, observed_at, source_key, candle, seq LIMIT 100000000";
    on!(tx, conn => sqlx::query_as(SQL).bind(last.0).bind(last.1).fetch_all(conn).await)
}

async fn forget(tx: &mut Tx, last: (AssetKey, Moment)) -> Result<(), StorageError> {
    const SQL: &str = "DELETE FROM prices WHERE (asset_key, observed_at) <= ($1, $2)";
    on!(tx, conn => sqlx::query(SQL).bind(last.0).bind(last.1).execute(conn).await.map(drop))
}
