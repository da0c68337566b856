//! Table `idempotency_keys`: answers kept with the effect they answer for.

use crate::domain::moment::Moment;
use crate::storage::database::{Tx, on};
use crate::storage::error::StorageError;

/// How long a key is kept, in microseconds: 24 hours.
pub const KEPT: i64 = 24 * crate::domain::moment::HOUR;

/// Who sent what where under which key.
#[derive(Debug, Clone)]
pub struct KeyedRequest {
    /// The caller.
    pub actor: String,
    /// Method and path.
    pub route: String,
    /// The key.
    pub key: String,
    /// SHA-256 of the body, in hex.
    pub request_hash: String,
}

/// A kept answer.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct KeptAnswer {
    /// SHA-256 of the body it answered, in hex.
    pub request_hash: String,
    /// Its status.
    pub status: i64,
    /// Its `Location`.
    pub location: Option<String>,
    /// Its body.
    pub body: String,
}

/// The answer kept for a key, if it is not older than [`KEPT`].
pub async fn find(tx: &mut Tx, request: &KeyedRequest) -> Result<Option<KeptAnswer>, StorageError> {
    const SQL: &str = "SELECT request_hash, status, location, body FROM idempotency_keys \
        WHERE actor = $1 AND route = $2 AND idempotency_key = $3 AND recorded_at > $4";
    let oldest = tx.recorded_at()?.plus(-KEPT);
    on!(tx, conn => sqlx::query_as(SQL).bind(&request.actor).bind(&request.route).bind(&request.key).bind(oldest)
        .fetch_optional(conn).await)
}

/// Keeps an answer, and forgets those that are too old.
pub async fn keep(tx: &mut Tx, request: &KeyedRequest, answer: &KeptAnswer) -> Result<(), StorageError> {
    const FORGET: &str = "DELETE FROM idempotency_keys WHERE recorded_at <= $1";
    const SQL: &str = "INSERT INTO idempotency_keys (actor, route, idempotency_key, request_hash, status, location, \
        body, recorded_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let recorded_at: Moment = tx.recorded_at()?;
    let forgotten = on!(tx, conn => sqlx::query(FORGET).bind(recorded_at.plus(-KEPT)).execute(conn).await
        .map(|done| done.rows_affected()))?;
    tx.trail.excuse(forgotten + 1);
    on!(tx, conn => sqlx::query(SQL).bind(&request.actor).bind(&request.route).bind(&request.key)
        .bind(&request.request_hash).bind(answer.status).bind(&answer.location).bind(&answer.body).bind(recorded_at)
        .execute(conn).await.map(drop))
}

/// Keeps an answer in place of the one kept before, if there is one: of a request that is done step by step.
pub async fn advance(tx: &mut Tx, request: &KeyedRequest, answer: &KeptAnswer) -> Result<(), StorageError> {
    const FORGET: &str =
        "DELETE FROM idempotency_keys WHERE actor = $1 AND route = $2 AND idempotency_key = $3";
    let forgotten = on!(tx, conn => sqlx::query(FORGET).bind(&request.actor).bind(&request.route).bind(&request.key)
        .execute(conn).await.map(|done| done.rows_affected()))?;
    tx.trail.excuse(forgotten);
    keep(tx, request, answer).await
}
