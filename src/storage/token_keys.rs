//! Tables `signing_keys` and `token_revocations`: what signs our own tokens, and tokens of others that are refused.

use crate::domain::moment::Moment;
use crate::storage::database::{Tx, on};
use crate::storage::error::StorageError;

/// A key that signs our own tokens: its public half.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct SigningKey {
    /// Its id.
    pub kid: String,
    /// The Ed25519 public key, in hex.
    pub public_key: String,
    /// When it was made.
    pub created_at: Moment,
    /// When it signed for the last time.
    pub retired_at: Option<Moment>,
}

/// Tokens of an issuer that are refused.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Revocation {
    /// The issuer.
    pub issuer: String,
    /// `jti` or `sub`.
    pub claim: String,
    /// Its value.
    pub value: String,
    /// Tokens of a `sub` issued later are good.
    pub revoked_at: Moment,
    /// When there can be none of them left.
    pub expires_at: Moment,
}

/// Keys that sign, or were retired after `since`, the newest first.
pub async fn signing_keys(tx: &mut Tx, since: Moment) -> Result<Vec<SigningKey>, StorageError> {
    const SQL: &str = "SELECT kid, public_key, created_at, retired_at FROM signing_keys \
        WHERE retired_at IS NULL OR retired_at > $1 ORDER BY created_at DESC, kid LIMIT 1000";
    on!(tx, conn => sqlx::query_as(SQL).bind(since).fetch_all(conn).await)
}

/// Adds a key that signs from now on, and retires those before it.
pub async fn insert_signing_key(tx: &mut Tx, kid: &str, public_key: &str) -> Result<(), StorageError> {
    const RETIRE: &str = "UPDATE signing_keys SET retired_at = $1 WHERE retired_at IS NULL";
    const SQL: &str = "INSERT INTO signing_keys (kid, public_key, created_at) VALUES ($1, $2, $3)";
    let recorded_at = tx.recorded_at()?;
    on!(tx, conn => sqlx::query(RETIRE).bind(recorded_at).execute(conn).await.map(drop))?;
    on!(tx, conn => sqlx::query(SQL).bind(kid).bind(public_key).bind(recorded_at).execute(conn).await.map(drop))
}

/// Refuses tokens from this commit on, and forgets refusals that no token is left for.
pub async fn revoke(tx: &mut Tx, revocation: &Revocation) -> Result<(), StorageError> {
    const FORGET: &str = "DELETE FROM token_revocations WHERE expires_at < $1";
    const SQL: &str = "INSERT INTO token_revocations (issuer, claim, value, revoked_at, expires_at) \
        VALUES ($1, $2, $3, $4, $5) ON CONFLICT (issuer, claim, value) DO UPDATE \
        SET revoked_at = excluded.revoked_at, expires_at = excluded.expires_at";
    let recorded_at = tx.recorded_at()?;
    on!(tx, conn => sqlx::query(FORGET).bind(recorded_at).execute(conn).await.map(drop))?;
    on!(tx, conn => sqlx::query(SQL).bind(&revocation.issuer).bind(&revocation.claim).bind(&revocation.value)
        .bind(recorded_at).bind(revocation.expires_at).execute(conn).await.map(drop))
}

/// Refusals that have not expired at `now`.
pub async fn revocations(tx: &mut Tx, now: Moment) -> Result<Vec<Revocation>, StorageError> {
    const SQL: &str = "SELECT issuer, claim, value, revoked_at, expires_at FROM token_revocations \
        WHERE expires_at >= $1 ORDER BY issuer, claim, value LIMIT 1000000";
    on!(tx, conn => sqlx::query_as(SQL).bind(now).fetch_all(conn).await)
}
