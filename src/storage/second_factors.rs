//! Table `second_factors`: what makes and checks a user's one-time passwords, beside the secret outside the database.

use crate::storage::database::{Tx, on};
use crate::storage::error::StorageError;
use uuid::Uuid;

/// A second factor as it is kept. Its secret follows from the server's secret and a salt.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct SecondFactor {
    /// The salt of the factor that logins need; `None` until one was proven.
    pub salt: Option<String>,
    /// The salt of one that was set up and is not proven yet.
    pub pending: Option<String>,
    /// The step of time whose password was used last: that one and those before are not good any more.
    pub last_step: i64,
}

/// The second factor of a user.
pub async fn find(tx: &mut Tx, user: Uuid) -> Result<Option<SecondFactor>, StorageError> {
    const SQL: &str = "SELECT salt, pending, last_step FROM second_factors WHERE user_id = $1";
    on!(tx, conn => sqlx::query_as(SQL).bind(user).fetch_optional(conn).await)
}

/// Sets up a factor that is not proven yet; what the user had stays until then.
pub async fn begin(tx: &mut Tx, user: Uuid, pending: &str) -> Result<(), StorageError> {
    const SQL: &str = "INSERT INTO second_factors (user_id, pending, last_step) VALUES ($1, $2, 0) \
        ON CONFLICT (user_id) DO UPDATE SET pending = excluded.pending";
    on!(tx, conn => sqlx::query(SQL).bind(user).bind(pending).execute(conn).await.map(drop))
}

/// Uses up the password of a step; `false` when that or a later one had been used, or the factor is another one now.
pub async fn use_step(tx: &mut Tx, (user, salt): (Uuid, &str), step: i64) -> Result<bool, StorageError> {
    const SQL: &str =
        "UPDATE second_factors SET last_step = $3 WHERE user_id = $1 AND salt = $2 AND last_step < $3";
    let done = on!(tx, conn => sqlx::query(SQL).bind(user).bind(salt).bind(step).execute(conn).await
        .map(|done| done.rows_affected()))?;
    Ok(done == 1)
}

/// Puts a factor that was set up into force, proven by the password of a step; `false` when it is another one now.
pub async fn confirm(tx: &mut Tx, (user, pending): (Uuid, &str), step: i64) -> Result<bool, StorageError> {
    const SQL: &str = "UPDATE second_factors SET salt = pending, pending = NULL, confirmed_at = $3, last_step = $4 \
        WHERE user_id = $1 AND pending = $2";
    let recorded_at = tx.recorded_at()?;
    let done = on!(tx, conn => sqlx::query(SQL).bind(user).bind(pending).bind(recorded_at).bind(step)
        .execute(conn).await.map(|done| done.rows_affected()))?;
    Ok(done == 1)
}

/// Takes a user's second factor away; `false` when there was none.
pub async fn remove(tx: &mut Tx, user: Uuid) -> Result<bool, StorageError> {
    const SQL: &str = "DELETE FROM second_factors WHERE user_id = $1";
    let removed = on!(tx, conn => sqlx::query(SQL).bind(user).execute(conn).await
        .map(|done| done.rows_affected()))?;
    Ok(removed == 1)
}
