//! Table `api_keys`.

use crate::domain::audit::Entry;
use crate::domain::moment::Moment;
use crate::storage::database::{Tx, on};
use crate::storage::error::StorageError;
use uuid::Uuid;

/// An API key as it is kept: the secret itself is not.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct ApiKey {
    /// Its id.
    pub id: Uuid,
    /// Its public part, by which it is looked up.
    pub prefix: String,
    /// SHA-256 of its secret part, in hex.
    pub secret_hash: String,
    /// Name for people.
    pub name: String,
    /// Whose it is.
    pub owner_id: String,
    /// What it may do, separated by blanks.
    pub scopes: String,
    /// When it stops working.
    pub expires_at: Option<Moment>,
    /// When it was revoked.
    pub revoked_at: Option<Moment>,
}

/// A new key, as the audit trail is told of it.
pub fn told(key: &ApiKey) -> Entry {
    let shown = serde_json::json!({ "prefix": key.prefix, "name": key.name, "owner_id": key.owner_id,
        "scopes": key.scopes, "expires_at": key.expires_at.map(|at| at.to_string()) });
    Entry::created("key.create", &key.prefix, &shown)
}

/// The key with this prefix.
pub async fn find_key(tx: &mut Tx, prefix: &str) -> Result<Option<ApiKey>, StorageError> {
    const SQL: &str = "SELECT id, prefix, secret_hash, name, owner_id, scopes, expires_at, revoked_at FROM api_keys \
        WHERE prefix = $1";
    on!(tx, conn => sqlx::query_as(SQL).bind(prefix).fetch_optional(conn).await)
}

/// How many keys were ever made.
pub async fn count_keys(tx: &mut Tx) -> Result<i64, StorageError> {
    const SQL: &str = "SELECT COUNT(*) FROM api_keys";
    on!(tx, conn => sqlx::query_scalar(SQL).fetch_one(conn).await)
}

/// Adds a key.
pub async fn insert_key(tx: &mut Tx, key: &ApiKey) -> Result<(), StorageError> {
    const SQL: &str = "INSERT INTO api_keys (id, prefix, secret_hash, name, owner_id, scopes, created_at, expires_at) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let recorded_at = tx.recorded_at()?;
    on!(tx, conn => sqlx::query(SQL).bind(key.id).bind(&key.prefix).bind(&key.secret_hash).bind(&key.name)
        .bind(&key.owner_id).bind(&key.scopes).bind(recorded_at).bind(key.expires_at).execute(conn).await.map(drop))
}
