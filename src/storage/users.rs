//! Tables `users`, `sessions` and `refresh_tokens`: people with a password, and their logins.

use crate::domain::access::UserStatus;
use crate::domain::moment::Moment;
use crate::storage::database::{Tx, on};
use crate::storage::error::StorageError;
use uuid::Uuid;

/// A user as it is kept: the password itself is not.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct User {
    /// Its id, the `sub` of its tokens.
    pub id: Uuid,
    /// Its name, lower case.
    pub name: String,
    /// Argon2id hash of its password, with salt and parameters.
    pub password_hash: String,
    /// Whose portfolios it sees. Fixed.
    pub owner_id: String,
    /// What it may do, separated by blanks.
    pub scopes: String,
    /// Ids of the only portfolios it reaches, separated by blanks; all of its owner's when `None`.
    pub portfolios: Option<String>,
    /// Whether it may log in.
    pub status: UserStatus,
    /// Counts changes.
    pub version: i64,
    /// Tokens issued before are refused.
    pub valid_from: Moment,
    /// When it was made.
    pub created_at: Moment,
    /// When it was last changed.
    pub updated_at: Moment,
}

/// A login.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Session {
    /// Its id, the `sid` of its tokens.
    pub id: Uuid,
    /// Whose it is.
    pub user_id: Uuid,
    /// When it ends at the latest.
    pub expires_at: Moment,
    /// When it was ended.
    pub ended_at: Option<Moment>,
}

/// A login that goes on, as its user sees it.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct OpenSession {
    /// Its id.
    pub id: Uuid,
    /// When it began.
    pub created_at: Moment,
    /// When a refresh token of it was last used.
    pub refreshed_at: Option<Moment>,
    /// When its refresh token stops working.
    pub refresh_by: Moment,
    /// When it ends at the latest.
    pub expires_at: Moment,
}

/// A refresh token as it is kept: the secret itself is not.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct RefreshToken {
    /// Its id, by which it is looked up.
    pub id: Uuid,
    /// The login it goes on with.
    pub session_id: Uuid,
    /// Keyed hash of its secret.
    pub secret_hash: String,
    /// When it stops working.
    pub expires_at: Moment,
    /// When it was used; a second time ends its session.
    pub used_at: Option<Moment>,
}

/// The user with this id.
pub async fn find(tx: &mut Tx, id: Uuid) -> Result<Option<User>, StorageError> {
    const SQL: &str = "SELECT id, name, password_hash, owner_id, scopes, portfolios, status, version, valid_from, \
        created_at, updated_at FROM users WHERE id = $1";
    on!(tx, conn => sqlx::query_as(SQL).bind(id).fetch_optional(conn).await)
}

/// The user with this name.
pub async fn find_by_name(tx: &mut Tx, name: &str) -> Result<Option<User>, StorageError> {
    const SQL: &str = "SELECT id, name, password_hash, owner_id, scopes, portfolios, status, version, valid_from, \
        created_at, updated_at FROM users WHERE name = $1";
    on!(tx, conn => sqlx::query_as(SQL).bind(name).fetch_optional(conn).await)
}

/// Users by name, after the name `after`.
pub async fn list(tx: &mut Tx, after: &str, limit: i64) -> Result<Vec<User>, StorageError> {
    const SQL: &str = "SELECT id, name, password_hash, owner_id, scopes, portfolios, status, version, valid_from, \
        created_at, updated_at FROM users WHERE name > $1 ORDER BY name LIMIT $2";
    on!(tx, conn => sqlx::query_as(SQL).bind(after).bind(limit).fetch_all(conn).await)
}

/// Adds a user and returns it as it is kept.
///
/// # Errors
/// [`StorageError::Conflict`] when the name is taken.
pub async fn insert(tx: &mut Tx, mut user: User) -> Result<User, StorageError> {
    const SQL: &str = "INSERT INTO users (id, name, password_hash, owner_id, scopes, portfolios, status, version, \
        valid_from, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
    user.created_at = tx.recorded_at()?;
    user.updated_at = user.created_at;
    on!(tx, conn => sqlx::query(SQL).bind(user.id).bind(&user.name).bind(&user.password_hash).bind(&user.owner_id)
        .bind(&user.scopes).bind(&user.portfolios).bind(user.status).bind(user.version).bind(user.valid_from)
        .bind(user.created_at).bind(user.updated_at).execute(conn).await.map(drop))?;
    Ok(user)
}

/// Changes a user's password, scopes, portfolios, status or `valid_from`, and returns it as it is kept.
pub async fn update(tx: &mut Tx, mut user: User) -> Result<User, StorageError> {
    const SQL: &str = "UPDATE users SET password_hash = $2, scopes = $3, portfolios = $4, status = $5, \
        version = $6, valid_from = $7, updated_at = $8 WHERE id = $1";
    user.updated_at = tx.recorded_at()?;
    user.version += 1;
    on!(tx, conn => sqlx::query(SQL).bind(user.id).bind(&user.password_hash).bind(&user.scopes)
        .bind(&user.portfolios).bind(user.status).bind(user.version).bind(user.valid_from).bind(user.updated_at)
        .execute(conn).await.map(drop))?;
    Ok(user)
}

/// Begins a login that ends at `expires_at`, and forgets those that ended before `forget`.
pub async fn begin_session(tx: &mut Tx, session: &Session, forget: Moment) -> Result<(), StorageError> {
    const FORGET: &str = "DELETE FROM sessions WHERE expires_at < $1";
    const SQL: &str = "INSERT INTO sessions (id, user_id, created_at, expires_at) VALUES ($1, $2, $3, $4)";
    let recorded_at = tx.recorded_at()?;
    on!(tx, conn => sqlx::query(FORGET).bind(forget).execute(conn).await.map(drop))?;
    on!(tx, conn => sqlx::query(SQL).bind(session.id).bind(session.user_id).bind(recorded_at)
        .bind(session.expires_at).execute(conn).await.map(drop))
}

/// The login with this id.
pub async fn find_session(tx: &mut Tx, id: Uuid) -> Result<Option<Session>, StorageError> {
    const SQL: &str = "SELECT id, user_id, expires_at, ended_at FROM sessions WHERE id = $1";
    on!(tx, conn => sqlx::query_as(SQL).bind(id).fetch_optional(conn).await)
}

/// Logins of a user that can be gone on with at `now`, the newest first: at most a thousand.
pub async fn open_sessions(tx: &mut Tx, user: Uuid, now: Moment) -> Result<Vec<OpenSession>, StorageError> {
    const SQL: &str = "SELECT s.id, s.created_at, MAX(t.used_at) AS refreshed_at, \
            MAX(CASE WHEN t.used_at IS NULL THEN t.expires_at END) AS refresh_by, s.expires_at \
        FROM sessions s JOIN refresh_tokens t ON t.session_id = s.id \
        WHERE s.user_id = $1 AND s.ended_at IS NULL AND s.expires_at > $2 \
        GROUP BY s.id, s.created_at, s.expires_at \
        HAVING MAX(CASE WHEN t.used_at IS NULL THEN t.expires_at END) > $2 \
        ORDER BY s.created_at DESC, s.id LIMIT 1000";
    on!(tx, conn => sqlx::query_as(SQL).bind(user).bind(now).fetch_all(conn).await)
}

/// Ends a login, for a reason; one that was ended before stays so.
pub async fn end_session(tx: &mut Tx, id: Uuid, reason: &str) -> Result<(), StorageError> {
    const SQL: &str = "UPDATE sessions SET ended_at = $2, end_reason = $3 WHERE id = $1 AND ended_at IS NULL";
    let recorded_at = tx.recorded_at()?;
    on!(tx, conn => sqlx::query(SQL).bind(id).bind(recorded_at).bind(reason).execute(conn).await.map(drop))
}

/// Ends every login of a user.
pub async fn end_sessions(tx: &mut Tx, user: Uuid, reason: &str) -> Result<(), StorageError> {
    const SQL: &str =
        "UPDATE sessions SET ended_at = $2, end_reason = $3 WHERE user_id = $1 AND ended_at IS NULL";
    let recorded_at = tx.recorded_at()?;
    on!(tx, conn => sqlx::query(SQL).bind(user).bind(recorded_at).bind(reason).execute(conn).await.map(drop))
}

/// Logins that were ended after `since`, the newest first.
pub async fn ended_sessions(tx: &mut Tx, since: Moment) -> Result<Vec<Uuid>, StorageError> {
    const SQL: &str = "SELECT id FROM sessions WHERE ended_at > $1 ORDER BY ended_at DESC, id LIMIT 1000000";
    on!(tx, conn => sqlx::query_scalar(SQL).bind(since).fetch_all(conn).await)
}

/// The refresh token with this id.
pub async fn find_refresh(tx: &mut Tx, id: Uuid) -> Result<Option<RefreshToken>, StorageError> {
    const SQL: &str =
        "SELECT id, session_id, secret_hash, expires_at, used_at FROM refresh_tokens WHERE id = $1";
    on!(tx, conn => sqlx::query_as(SQL).bind(id).fetch_optional(conn).await)
}

/// Adds a refresh token.
pub async fn insert_refresh(tx: &mut Tx, token: &RefreshToken) -> Result<(), StorageError> {
    const SQL: &str = "INSERT INTO refresh_tokens (id, session_id, secret_hash, created_at, expires_at) \
        VALUES ($1, $2, $3, $4, $5)";
    let recorded_at = tx.recorded_at()?;
    on!(tx, conn => sqlx::query(SQL).bind(token.id).bind(token.session_id).bind(&token.secret_hash)
        .bind(recorded_at).bind(token.expires_at).execute(conn).await.map(drop))
}

/// Marks a refresh token as used.
pub async fn use_refresh(tx: &mut Tx, id: Uuid) -> Result<(), StorageError> {
    const SQL: &str = "UPDATE refresh_tokens SET used_at = $2 WHERE id = $1 AND used_at IS NULL";
    let recorded_at = tx.recorded_at()?;
    on!(tx, conn => sqlx::query(SQL).bind(id).bind(recorded_at).execute(conn).await.map(drop))
}
