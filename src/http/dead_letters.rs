//! Batches of the queue that could not be stored: read, tried again, thrown away.

use crate::domain::audit::Entry;
use crate::domain::batch::BatchState;
use crate::http::AppState;
use crate::http::auth::{Caller, PricesRead, PricesWrite};
use crate::http::error::{ApiError, Code, Problem};
use crate::http::ingest_queue::BatchView;
use crate::http::query::{Query, ROWS};
use crate::storage::ingest_queue;
use crate::storage::page::After;
use crate::workers::ingest_queue::show;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

/// List the batches that could not be stored
///
/// In the order they were taken in. Their rows are kept until they are stored after all or thrown away.
#[utoipa::path(get, path = "/ingest/dead-letters", operation_id = "list_dead_letters", tag = "ingest",
    params(("limit" = Option<i64>, Query, description = "Rows wanted, at most 1000"),
        ("cursor" = Option<String>, Query, description = "From the `Link` header of the page before")),
    responses((status = 200, description = "Batches", body = [BatchView])))]
pub async fn list_dead_letters(
    State(app): State<AppState>,
    _: Caller<PricesRead>,
    mut query: Query,
) -> Result<Response, ApiError> {
    let (limit, after) = (query.limit(ROWS), query.cursor("dead"));
    query.finish()?;
    let mut tx = app.db.read().await?;
    let after = after.map(|after| after.key);
    let batches = ingest_queue::in_state(&mut tx, BatchState::Dead, after, limit).await?;
    let full = i64::try_from(batches.len()).is_ok_and(|count| count == limit);
    let next = batches.last().filter(|_| full).map(|last| After { value: String::new(), key: last.place });
    let link = next.map(|after| query.next_link("dead", &after)).unwrap_or_default();
    let views: Vec<BatchView> = batches.into_iter().map(BatchView::from).collect();
    Ok((link, Json(views)).into_response())
}

/// The failure of a batch that is not dead.
fn alive(batch: &BatchView) -> ApiError {
    let detail =
        format!("batch {} is {}; only one that was given up can be dealt with", batch.id(), batch.state());
    ApiError::new(Code::WrongStatus, detail)
}

/// Try to store a batch once more
///
/// It is put behind all others with new tries, and judged as if it had come now: what it says about a point takes the
/// place of what was stored meanwhile.
#[utoipa::path(post, path = "/ingest/dead-letters/{batch}/retry", operation_id = "retry_dead_letter", tag = "ingest",
    params(("batch" = String, Path, description = "Its id")),
    responses((status = 200, description = "Queued", body = BatchView),
        (status = 409, description = "It was not given up", body = Problem, content_type = "application/problem+json")))]
pub async fn retry_dead_letter(
    State(app): State<AppState>,
    caller: Caller<PricesWrite>,
    Path(id): Path<String>,
    mut query: Query,
) -> Result<Json<BatchView>, ApiError> {
    query.finish()?;
    let queue = std::sync::Arc::clone(&app.queue);
    let work = app.db.writer().write(caller.actor, move |tx| {
        Box::pin(async move {
            let batch = BatchView::find(tx, &id).await?;
            if !ingest_queue::retry(tx, batch.id()).await? {
                return Err(alive(&batch));
            }
            tx.audit(Entry::done("ingest.batch.retry", batch.id()));
            show(ingest_queue::level(tx).await?);
            BatchView::find(tx, &id).await
        })
    });
    let batch = work.await?;
    queue.wake();
    Ok(Json(batch))
}

/// Throw away a batch that could not be stored
#[utoipa::path(delete, path = "/ingest/dead-letters/{batch}", operation_id = "discard_dead_letter", tag = "ingest",
    params(("batch" = String, Path, description = "Its id")),
    responses((status = 204, description = "Gone"),
        (status = 409, description = "It was not given up", body = Problem, content_type = "application/problem+json")))]
pub async fn discard_dead_letter(
    State(app): State<AppState>,
    caller: Caller<PricesWrite>,
    Path(id): Path<String>,
    mut query: Query,
) -> Result<StatusCode, ApiError> {
    query.finish()?;
    let work = app.db.writer().write(caller.actor, move |tx| {
        Box::pin(async move {
            let batch = BatchView::find(tx, &id).await?;
            if !ingest_queue::discard(tx, batch.id()).await? {
                return Err(alive(&batch));
            }
            tx.audit(Entry::removed("ingest.batch.discard", batch.id(), &batch));
            show(ingest_queue::level(tx).await?);
            Ok(StatusCode::NO_CONTENT)
        })
    });
    work.await
}
