//! Changes of who may come in: felt before they are answered.

use crate::domain::audit::Actor;
use crate::http::AppState;
use crate::http::error::{ApiError, Code};
use crate::storage::database::Tx;
use crate::workers::directory::Part;
use futures_util::future::BoxFuture;
use std::sync::Arc;

/// Does `work` in one commit for `actor`, then reads anew what it has changed. It goes on to its end although the caller
/// goes away: a key that is revoked on disk is revoked in memory.
///
/// # Errors
/// That of `work`, or the database's.
pub async fn change<T, F>(
    app: &AppState,
    actor: impl Into<Arc<Actor>>,
    part: Part,
    work: F,
) -> Result<T, ApiError>
where
    T: Send + 'static,
    F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, ApiError>> + Send + 'static,
{
    let (app, actor) = (AppState::clone(app), actor.into());
    let done = tokio::spawn(async move {
        let outcome = app.db.writer().write(actor, work).await;
        // Also after a failure: the commit may have been made and only its answer lost.
        let read = app.gate.directory.read(&app.db, &[part], app.clock.now()).await;
        let done = outcome?;
        read?;
        Ok(done)
    });
    done.await.unwrap_or_else(|error| {
        tracing::error!(%error, "a change of access failed");
        Err(ApiError::new(Code::Internal, "the service failed"))
    })
}
