//! Batches of prices that are answered for once they are on disk, and stored a little later.

use crate::domain::audit::Entry;
use crate::domain::batch::BatchState;
use crate::domain::ids::BatchId;
use crate::http::AppState;
use crate::http::auth::{Caller, PricesRead, PricesWrite};
use crate::http::error::{ApiError, Code, Problem};
use crate::http::posted::{Answer, Posted, deed};
use crate::http::price_rows::{self, Shape};
use crate::http::prices::{NewPrice, invalid_quote};
use crate::http::query::Query;
use crate::http::wire::Time;
use crate::storage::database::Tx;
use crate::storage::ingest_queue::{self, Batch, Level, NewBatch};
use crate::workers::ingest_queue::{Report, show};
use crate::workers::intake::{self, LISTED, Packed};
use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

/// What became of the rows of a batch.
#[derive(Debug, Serialize, ToSchema)]
pub struct BatchResult {
    /// Points not seen before.
    #[schema(example = 998)]
    stored: u64,
    /// Rows equal to what was known.
    #[schema(example = 1)]
    duplicate: u64,
    /// Newer versions of points.
    #[schema(example = 0)]
    corrected: u64,
    /// Rows refused by a rule.
    #[schema(example = 1)]
    refused: u64,
    /// The first hundred refused rows: `line`, and `errors` as in problem documents.
    #[schema(value_type = Vec<Object>)]
    errors: Vec<Value>,
}

impl From<Report> for BatchResult {
    fn from(report: Report) -> Self {
        let Report { stored, duplicate, corrected, refused, refusals } = report;
        let error = |one: crate::workers::ingest_queue::Refusal| {
            let fault =
                json!({ "pointer": format!("/{}", one.field), "code": one.code, "detail": one.detail });
            json!({ "line": one.line, "errors": [fault] })
        };
        Self { stored, duplicate, corrected, refused, errors: refusals.into_iter().map(error).collect() }
    }
}

/// A batch in the queue, or one that was.
#[derive(Debug, Serialize, ToSchema)]
pub struct BatchView {
    id: BatchId,
    state: BatchState,
    /// Rows it has.
    #[schema(example = 1000)]
    rows: i64,
    /// Size of its rows as they are kept until they are stored.
    #[schema(example = 9120)]
    bytes: i64,
    /// When it was taken in.
    queued_at: Time,
    /// When it was stored or given up.
    settled_at: Option<Time>,
    /// How often storing it has failed.
    #[schema(example = 0)]
    tries: i64,
    /// Why, the last time.
    failure: Option<String>,
    /// What became of its rows, once it is stored.
    result: Option<BatchResult>,
}

impl From<Batch> for BatchView {
    fn from(batch: Batch) -> Self {
        let Batch { id, state, rows, bytes, tries, failure, queued_at, settled_at, report, .. } = batch;
        let report: Option<Report> = report.and_then(|text| serde_json::from_str(&text).ok());
        Self {
            id,
            state,
            rows,
            bytes,
            queued_at: Time(queued_at),
            settled_at: settled_at.map(Time),
            tries,
            failure,
            result: report.map(BatchResult::from),
        }
    }
}

impl BatchView {
    /// The batch that a path names.
    ///
    /// # Errors
    /// [`Code::BatchNotFound`].
    pub async fn find(tx: &mut Tx, id: &str) -> Result<Self, ApiError> {
        let batch = match BatchId::parse(id) {
            Some(id) => ingest_queue::find(tx, id).await?,
            None => None,
        };
        let unknown =
            || ApiError::new(Code::BatchNotFound, format!("there is no batch `{id}`, or no longer"));
        batch.map(Self::from).ok_or_else(unknown)
    }

    /// Its id.
    pub const fn id(&self) -> BatchId {
        self.id
    }

    /// What it has come to.
    pub const fn state(&self) -> BatchState {
        self.state
    }
}

/// A batch that was taken in.
#[derive(Debug, Serialize, ToSchema)]
pub struct BatchQueued {
    #[schema(example = true)]
    success: bool,
    id: BatchId,
    state: BatchState,
    /// Rows it has.
    #[schema(example = 1000)]
    rows: i64,
}

/// Reads the rows of a body and packs them; one that is no price refuses them all.
fn pack(body: &[u8], shape: Shape, now: crate::domain::moment::Moment) -> Result<(i64, Vec<u8>), ApiError> {
    let (mut packed, mut faults, mut refused) = (Packed::default(), Vec::new(), 0);
    for row in price_rows::read(body, shape, now)? {
        // A price below zero is for the asset to judge.
        let read = row.read.and_then(|sent| match sent.quote.check(true) {
            Ok(()) => Ok(sent),
            Err(error) => {
                let mut fault = sent.spelled(invalid_quote(&error));
                fault.pointer = fault.pointer.map(|field| format!("{}{field}", row.pointer));
                Err(vec![fault])
            }
        });
        match read {
            Ok(sent) => {
                let place = packed.rows.name(sent.series());
                packed.closes.extend(sent.as_close.then_some(row.line));
                packed.rows.push(place, row.line, sent.observed_at.unwrap_or(now), sent.quote);
            }
            Err(errors) => {
                refused += 1;
                faults.extend(errors);
            }
        }
    }
    if refused > 0 {
        intake::count_unreadable(refused);
        faults.truncate(LISTED);
        let detail = format!("{refused} rows are refused, so nothing was queued");
        return Err(ApiError { detail, ..ApiError::invalid(faults) });
    }
    let rows = i64::try_from(packed.rows.len()).unwrap_or(i64::MAX);
    let body = packed.pack().map_err(|error| {
        tracing::error!(%error, "rows could not be packed");
        ApiError::new(Code::Internal, "the service failed; nothing was changed")
    })?;
    Ok((rows, body))
}

/// Queue many prices
///
/// A JSON array of prices, NDJSON, or CSV whose header names their fields, as for `/prices/batch`. It is answered once
/// the batch is on disk, and stored in the order it came within a moment; `Location` tells what has become of it. A row
/// that is no price refuses the batch; one that a rule refuses when it is stored is told in the result and refuses no
/// other.
#[utoipa::path(post, path = "/ingest/queue", operation_id = "queue_prices", tag = "ingest",
    request_body(content((Vec<NewPrice> = "application/json"), (String = "text/csv"), (NewPrice = "application/x-ndjson"))),
    responses((status = 202, description = "On disk, and stored soon", body = BatchQueued),
        (status = 413, description = "Too large", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The queue is full", body = Problem, content_type = "application/problem+json")))]
pub async fn queue_prices(
    State(app): State<AppState>,
    caller: Caller<PricesWrite>,
    mut query: Query,
    posted: Posted,
) -> Result<Answer, ApiError> {
    query.finish()?;
    let _room = app.streams.room(posted.bytes.len()).await;
    let now = app.clock.now();
    let (bytes, shape) = (posted.bytes.clone(), Shape::of(&posted.headers));
    let (rows, body) = tokio::task::spawn_blocking(move || pack(&bytes, shape, now))
        .await
        .map_err(|_| ApiError::new(Code::Internal, "the service failed; nothing was changed"))??;
    let id = BatchId(app.random.uuid_v7(now)?);
    let (actor, limits) = (caller.actor.name.clone(), app.queue.limits);
    let work = deed(move |tx| {
        Box::pin(async move {
            let level = ingest_queue::level(tx).await?;
            if limits.are_reached(level) {
                let Level { waiting, waiting_bytes, .. } = level;
                let detail = format!(
                    "{waiting} batches of {waiting_bytes} bytes wait to be stored; nothing was queued"
                );
                return Err(ApiError::new(Code::QueueFull, detail));
            }
            ingest_queue::push(tx, &NewBatch { id, actor, rows, body }).await?;
            show(ingest_queue::level(tx).await?);
            let queued = BatchQueued { success: true, id, state: BatchState::Queued, rows };
            tx.audit(Entry::created("ingest.batch.queue", id, &queued));
            Answer::accepted(format!("/ingest/queue/{id}"), &queued)
        })
    });
    let answer = posted.once(&app, caller.actor, work).await?;
    app.queue.wake();
    Ok(answer)
}

/// How full the queue is.
#[derive(Debug, Serialize, ToSchema)]
pub struct QueueView {
    /// Batches that wait.
    #[schema(example = 3)]
    depth: i64,
    /// Size of their rows as they are kept.
    #[schema(example = 27360)]
    bytes: i64,
    /// Batches from which on no more are taken.
    #[schema(example = 10_000)]
    depth_max: i64,
    /// Bytes from which on no more batches are taken.
    #[schema(example = 268_435_456)]
    bytes_max: i64,
    /// When the one was taken in that has waited longest.
    oldest_queued_at: Option<Time>,
    /// How long it has waited, in seconds.
    #[schema(example = 0)]
    oldest_age: Option<i64>,
    /// What was stored within the last minute.
    last_minute: QueueRate,
    /// Batches that could not be stored.
    #[schema(example = 0)]
    dead_letters: i64,
}

/// What was stored within the last minute by this process.
#[derive(Debug, Serialize, ToSchema)]
pub struct QueueRate {
    #[schema(example = 1200)]
    batches: u64,
    #[schema(example = 120_000)]
    rows: u64,
}

/// Read how full the queue is
#[utoipa::path(get, path = "/ingest/queue", operation_id = "get_queue", tag = "ingest",
    responses((status = 200, description = "Depth, age and rate", body = QueueView)))]
pub async fn get_queue(
    State(app): State<AppState>,
    _: Caller<PricesRead>,
    mut query: Query,
) -> Result<Json<QueueView>, ApiError> {
    query.finish()?;
    let mut tx = app.db.read().await?;
    let level = ingest_queue::level(&mut tx).await?;
    let oldest = ingest_queue::in_state(&mut tx, BatchState::Queued, None, 1).await?;
    let oldest = oldest.first().map(|batch| batch.queued_at);
    let rate = app.queue.rate(app.clock.elapsed());
    let now = app.clock.now();
    Ok(Json(QueueView {
        depth: level.waiting,
        bytes: level.waiting_bytes,
        depth_max: app.queue.limits.batches,
        bytes_max: app.queue.limits.bytes,
        oldest_queued_at: oldest.map(Time),
        oldest_age: oldest.map(|at| (now.0 - at.0).max(0).div_euclid(1_000_000)),
        last_minute: QueueRate { batches: rate.batches, rows: rate.rows },
        dead_letters: level.dead,
    }))
}

/// Read what has become of a queued batch
///
/// A stored batch can be asked for within 24 hours, as long as it is among the last 100,000.
#[utoipa::path(get, path = "/ingest/queue/{batch}", operation_id = "get_batch", tag = "ingest",
    params(("batch" = String, Path, description = "Its id")),
    responses((status = 200, description = "The batch", body = BatchView)))]
pub async fn get_batch(
    State(app): State<AppState>,
    _: Caller<PricesRead>,
    Path(id): Path<String>,
    mut query: Query,
) -> Result<Json<BatchView>, ApiError> {
    query.finish()?;
    BatchView::find(&mut app.db.read().await?, &id).await.map(Json)
}
