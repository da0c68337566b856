//! Table `api_keys`.

use crate::domain::moment::Moment;
use crate::storage::database::{Tx, on};
use crate::storage::error::StorageError;
use uuid::Uuid;

/// An API key as it is kept: the secret itself is not.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct ApiKey {
    /// Its id.
    pub id: Uuid,
    /// Its public part, by which it is looked up.
    pub prefix: String,
    /// Prefix of the first of the keys that followed one another by rotation.
    pub lineage: String,
    /// Keyed hash of its secret part; of a key from before there was one, its SHA-256 in hex.
    pub secret_hash: String,
    /// Name for people.
    pub name: String,
    /// Whose it is.
    pub owner_id: String,
    /// What it may do, separated by blanks.
    pub scopes: String,
    /// Ids of the only portfolios it reaches, separated by blanks; all of its owner's when `None`.
    pub portfolios: Option<String>,
    /// When it was made.
    pub created_at: Moment,
    /// When it stops working.
    pub expires_at: Option<Moment>,
    /// When it was revoked.
    pub revoked_at: Option<Moment>,
    /// When it was last used, give or take a minute.
    pub last_used_at: Option<Moment>,
}

/// Where a page of keys starts.
pub type AfterKey = (Moment, String);

/// The key with this prefix.
pub async fn find_key(tx: &mut Tx, prefix: &str) -> Result<Option<ApiKey>, StorageError> {
    const SQL: &str = "SELECT id, prefix, lineage, secret_hash, name, owner_id, scopes, portfolios, created_at, \
        expires_at, revoked_at, last_used_at FROM api_keys WHERE prefix = $1";
    on!(tx, conn => sqlx::query_as(SQL).bind(prefix).fetch_optional(conn).await)
}

/// Keys in order of making, after `after`.
pub async fn list_keys(
    tx: &mut Tx,
    after: Option<AfterKey>,
    limit: i64,
) -> Result<Vec<ApiKey>, StorageError> {
    const SQL: &str = "SELECT id, prefix, lineage, secret_hash, name, owner_id, scopes, portfolios, created_at, \
        expires_at, revoked_at, last_used_at FROM api_keys WHERE (created_at, prefix) > ($1, $2) \
        ORDER BY created_at, prefix LIMIT $3";
    let (at, prefix) = after.unwrap_or((Moment::MIN, String::new()));
    on!(tx, conn => sqlx::query_as(SQL).bind(at).bind(&prefix).bind(limit).fetch_all(conn).await)
}

/// How many keys were ever made.
pub async fn count_keys(tx: &mut Tx) -> Result<i64, StorageError> {
    const SQL: &str = "SELECT COUNT(*) FROM api_keys";
    on!(tx, conn => sqlx::query_scalar(SQL).fetch_one(conn).await)
}

/// Adds a key; when it was made is the stamp of this commit, which is returned.
pub async fn insert_key(tx: &mut Tx, key: &ApiKey) -> Result<Moment, StorageError> {
    const SQL: &str = "INSERT INTO api_keys (id, prefix, lineage, secret_hash, name, owner_id, scopes, portfolios, \
        created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    let recorded_at = tx.recorded_at()?;
    on!(tx, conn => sqlx::query(SQL).bind(key.id).bind(&key.prefix).bind(&key.lineage).bind(&key.secret_hash)
        .bind(&key.name).bind(&key.owner_id).bind(&key.scopes).bind(&key.portfolios).bind(recorded_at)
        .bind(key.expires_at).execute(conn).await.map(drop))?;
    Ok(recorded_at)
}

/// Revokes a key from this commit on; one that was revoked before stays so from then on.
pub async fn revoke_key(tx: &mut Tx, prefix: &str) -> Result<(), StorageError> {
    const SQL: &str = "UPDATE api_keys SET revoked_at = $2 WHERE prefix = $1 AND revoked_at IS NULL";
    let recorded_at = tx.recorded_at()?;
    on!(tx, conn => sqlx::query(SQL).bind(prefix).bind(recorded_at).execute(conn).await.map(drop))
}

/// Ends a key at a moment, if it does not end before.
pub async fn expire_key(tx: &mut Tx, prefix: &str, at: Moment) -> Result<(), StorageError> {
    const SQL: &str =
        "UPDATE api_keys SET expires_at = $2 WHERE prefix = $1 AND (expires_at IS NULL OR expires_at > $2)";
    on!(tx, conn => sqlx::query(SQL).bind(prefix).bind(at).execute(conn).await.map(drop))
}

/// Keeps another hash of a key's secret.
pub async fn rehash_key(tx: &mut Tx, prefix: &str, secret_hash: &str) -> Result<(), StorageError> {
    const SQL: &str = "UPDATE api_keys SET secret_hash = $2 WHERE prefix = $1";
    on!(tx, conn => sqlx::query(SQL).bind(prefix).bind(secret_hash).execute(conn).await.map(drop))
}

/// Notes when a key was last used.
pub async fn note_use(tx: &mut Tx, prefix: &str, at: Moment) -> Result<(), StorageError> {
    const SQL: &str = "UPDATE api_keys SET last_used_at = $2 \
        WHERE prefix = $1 AND (last_used_at IS NULL OR last_used_at < $2)";
    on!(tx, conn => sqlx::query(SQL).bind(prefix).bind(at).execute(conn).await.map(drop))
}
