//! Tables `feeds` and `feed_cursors`: what was wanted of feeds, and how far they got.

use crate::domain::moment::Moment;
use crate::storage::database::{Tx, on};
use crate::storage::error::StorageError;

/// How far a feed got with one symbol: everything before was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The newest moment it was told of.
    pub observed_at: Moment,
    /// The venue's number of the first trade of that moment: trades of one moment are one point, and are wanted together.
    pub number: Option<u64>,
}

#[derive(sqlx::FromRow)]
struct CursorRow {
    symbol: String,
    observed_at: Moment,
    number: Option<i64>,
}

/// Whether somebody wanted a feed to run: `None` when nobody ever said.
pub async fn wanted(tx: &mut Tx, name: &str) -> Result<Option<bool>, StorageError> {
    const SQL: &str = "SELECT running FROM feeds WHERE name = $1";
    on!(tx, conn => sqlx::query_scalar(SQL).bind(name).fetch_optional(conn).await)
}

/// Notes that somebody wants a feed to run, or not to.
pub async fn want(tx: &mut Tx, name: &str, running: bool, by: &str) -> Result<(), StorageError> {
    const SQL: &str = "INSERT INTO feeds (name, running, wanted_at, wanted_by) VALUES ($1, $2, $3, $4) \
        ON CONFLICT (name) DO UPDATE SET running = excluded.running, wanted_at = excluded.wanted_at, \
        wanted_by = excluded.wanted_by";
    let at = tx.recorded_at()?;
    on!(tx, conn => sqlx::query(SQL).bind(name).bind(running).bind(at).bind(by).execute(conn).await.map(drop))
}

/// How far a feed got with what it delivers now, by symbol.
pub async fn cursors(tx: &mut Tx, name: &str, series: &str) -> Result<Vec<(String, Cursor)>, StorageError> {
    const SQL: &str = "SELECT symbol, observed_at, number FROM feed_cursors WHERE feed = $1 AND series = $2 \
        ORDER BY symbol LIMIT 100000";
    let rows: Vec<CursorRow> =
        on!(tx, conn => sqlx::query_as(SQL).bind(name).bind(series).fetch_all(conn).await)?;
    let cursor = |row: CursorRow| {
        let number = row.number.and_then(|number| u64::try_from(number).ok());
        (row.symbol, Cursor { observed_at: row.observed_at, number })
    };
    Ok(rows.into_iter().map(cursor).collect())
}

/// Moves a cursor on; it never goes back.
pub async fn advance(
    tx: &mut Tx,
    name: &str,
    series: &str,
    symbol: &str,
    cursor: Cursor,
) -> Result<(), StorageError> {
    const SQL: &str = "INSERT INTO feed_cursors (feed, series, symbol, observed_at, number) \
        VALUES ($1, $2, $3, $4, $5) ON CONFLICT (feed, series, symbol) DO UPDATE \
        SET observed_at = excluded.observed_at, number = excluded.number \
        WHERE excluded.observed_at >= feed_cursors.observed_at";
    let number = cursor.number.and_then(|number| i64::try_from(number).ok());
    on!(tx, conn => sqlx::query(SQL).bind(name).bind(series).bind(symbol).bind(cursor.observed_at).bind(number)
        .execute(conn).await.map(drop))
}
