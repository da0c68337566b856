//! Prices in a stream of any length: lines are stored in groups as they flow, and a summary ends it.
//!
//! Lines are read in pieces, pieces parsed while the next are read, and what has come while a group was stored is the
//! next group. A client that sends faster than the disk takes is held back by its connection. A stream that breaks off leaves whole groups only. With an
//! idempotency key each group keeps, in its own commit, how many lines were taken and the hash of them, so that sending
//! all of it again goes on where it stopped (decision 16).

mod admission;
mod groups;
mod lines;
mod names;
mod pattern;
mod pieces;

pub use admission::{Admission, Room};

use crate::domain::audit::Actor;
use crate::http::AppState;
use crate::http::auth::{Caller, PricesWrite};
use crate::http::connections::Arrival;
use crate::http::error::{ApiError, Code, Problem};
use crate::http::posted;
use crate::http::prices::NewPrice;
use crate::http::query::Query;
use crate::storage::idempotency::{self, KeptAnswer, KeyedRequest};
use crate::workers::intake::{self, LISTED, Tally};
use axum::extract::{Request, State};
use axum::http::HeaderName;
use axum::response::{IntoResponse, Response};
use groups::Group;
use lines::Parsed;
use pieces::Reader;
use serde::{Deserialize, Serialize};
use std::sync::atomic::Ordering;
use tokio::sync::mpsc;
use utoipa::ToSchema;

/// Route of the keys.
const ROUTE: &str = "POST /prices/stream";
/// Lowest rate of a stream, in bytes a second: a feed may say little, but not nothing.
const RATE: u64 = 16;

/// What became of a stream, or of what was taken of it so far.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct StreamReport {
    #[schema(example = true)]
    success: bool,
    /// Lines taken, empty ones included.
    #[schema(example = 100_000)]
    lines: u64,
    /// Points not seen before.
    #[schema(example = 99_990)]
    stored: u64,
    /// Lines equal to what was known.
    #[schema(example = 9)]
    duplicate: u64,
    /// Newer versions of points.
    #[schema(example = 0)]
    corrected: u64,
    /// Lines refused.
    #[schema(example = 1)]
    refused: u64,
    /// The first refused lines: `line`, and `errors` as in problem documents.
    #[schema(value_type = Vec<Object>)]
    errors: Vec<serde_json::Value>,
}

/// Where a stream stands: what is stored, and under which key that is kept.
struct Progress {
    report: StreamReport,
    request: Option<KeyedRequest>,
}

impl Progress {
    /// Takes up where the same stream stopped before.
    async fn find(app: &AppState, request: Option<KeyedRequest>) -> Result<Self, ApiError> {
        let Some(mut request) = request else { return Ok(Self { report: StreamReport::default(), request }) };
        let asked = request.clone();
        let kept: Result<Option<KeptAnswer>, ApiError> = app
            .db
            .writer()
            .housekeep(move |tx| Box::pin(async move { Ok(idempotency::find(tx, &asked).await?) }))
            .await;
        let kept = kept?;
        let report = kept.as_ref().and_then(|kept| serde_json::from_str(&kept.body).ok());
        request.request_hash = kept.map(|kept| kept.request_hash).unwrap_or_default();
        Ok(Self { report: report.unwrap_or_default(), request: Some(request) })
    }
}

/// Stores one group in a commit.
async fn store(
    app: &AppState,
    actor: &Actor,
    progress: &Progress,
    group: Group,
) -> Result<StreamReport, ApiError> {
    let Group { parsed: Parsed { rows, faults, refused, spelled }, lines, digest, held } = group;
    let (mut report, request) = (progress.report.clone(), progress.request.clone());
    let now = app.clock.now();
    let (report, tally) = app
        .db
        .writer()
        .write(actor.clone(), move |tx| {
            Box::pin(async move {
                if let Some(request) = &request {
                    let kept = idempotency::find(tx, request).await?;
                    let known = kept.map(|kept| kept.request_hash).unwrap_or_default();
                    if known != request.request_hash {
                        let detail = "another request with this Idempotency-Key went on meanwhile";
                        return Err(ApiError::new(Code::Busy, detail));
                    }
                }
                let mut judged = intake::judge(tx, rows, now).await?;
                let mut faults = faults;
                faults.extend(judged.refused.iter().map(|refused| spelled.fault(refused)));
                faults.sort_by_key(|fault| fault.line);
                judged.refused.clear();
                let tally = judged.record(tx).await?;
                let total = tally.total();
                report.success = true;
                report.lines = lines;
                report.stored += total.stored;
                report.duplicate += total.duplicate;
                report.corrected += total.corrected;
                report.refused += total.refused + refused;
                let room = LISTED.saturating_sub(report.errors.len());
                report
                    .errors
                    .extend(faults.into_iter().take(room).filter_map(|f| serde_json::to_value(f).ok()));
                if let Some(request) = &request {
                    let body = serde_json::to_string(&report).unwrap_or_default();
                    let request = KeyedRequest { request_hash: digest.clone(), ..request.clone() };
                    let kept = KeptAnswer { request_hash: digest, status: 200, location: None, body };
                    idempotency::advance(tx, &request, &kept).await?;
                }
                Ok::<(StreamReport, Tally), ApiError>((report, tally))
            })
        })
        .await?;
    drop(held);
    tally.publish();
    intake::count_unreadable(refused);
    Ok(report)
}

/// Stores groups as they come; what is stored at the end, and why it ended early if it did.
async fn store_all(
    app: &AppState,
    actor: &Actor,
    mut progress: Progress,
    mut groups: mpsc::Receiver<Group>,
) -> (StreamReport, Option<ApiError>) {
    while let Some(group) = groups.recv().await {
        let (lines, digest) = (group.lines, group.digest.clone());
        match store(app, actor, &progress, group).await {
            Ok(report) => progress.report = StreamReport { lines, ..report },
            Err(error) => return (progress.report, Some(error)),
        }
        if let Some(request) = &mut progress.request {
            request.request_hash = digest;
        }
    }
    (progress.report, None)
}

/// Record a stream of prices
///
/// NDJSON, one price a line, each with its timestamp. Lines are stored in groups as they arrive; refused ones are
/// counted and the first 100 listed. When the stream breaks off, what was stored stays. With an `Idempotency-Key` the
/// whole stream may be sent again: what was taken is passed over.
#[utoipa::path(post, path = "/prices/stream", operation_id = "stream_prices", tag = "prices",
    request_body(content = NewPrice, content_type = "application/x-ndjson", description = "A price a line"),
    responses((status = 200, description = "Recorded", body = StreamReport),
        (status = 408, description = "Too slow; what was taken is recorded", body = Problem,
            content_type = "application/problem+json")))]
pub async fn stream_prices(
    State(app): State<AppState>,
    caller: Caller<PricesWrite>,
    mut query: Query,
    request: Request,
) -> Result<Response, ApiError> {
    query.finish()?;
    let (parts, body) = request.into_parts();
    if let Some(activity) = parts.extensions.get::<Arrival>().and_then(|arrival| arrival.activity.as_ref()) {
        activity.allow_body_rate(RATE);
    }
    if !posted::is_ndjson(&parts.headers) {
        let detail = "this route takes lines of JSON; send `Content-Type: application/x-ndjson`";
        return Err(ApiError::new(Code::UnsupportedMediaType, detail));
    }
    let request = posted::keyed(&parts.headers, &caller.actor.name, ROUTE)?;
    let admission = app.streams.enter(request.as_ref()).await?;
    let progress = Progress::find(&app, request).await?;
    let keyed = progress.request.as_ref().map(|request| request.request_hash.clone());
    let taken_before = progress.report.lines;
    let reader = Reader::new((&app, &caller), &admission, taken_before, keyed);
    let ((to_parse, pieces), (to_store, groups)) = (mpsc::channel(1), mpsc::channel(1));
    let (read, gathered, (report, failed)) = tokio::join!(
        reader.read_all(body, to_parse),
        groups::gather(app.clock.clone(), pieces, to_store),
        store_all(&app, &caller.actor, progress, groups)
    );
    let Some(error) = failed.or(gathered.err()).or(read.err()) else {
        let mut response = axum::Json(&StreamReport { success: true, ..report.clone() }).into_response();
        if taken_before > 0 && taken_before == report.lines {
            let name = HeaderName::from_static("idempotency-replayed");
            response.headers_mut().insert(name, axum::http::HeaderValue::from_static("true"));
        }
        return Ok(response);
    };
    if error.code == Code::IdempotencyMismatch {
        return Err(error);
    }
    let detail = format!("{}; {} lines were taken and are kept", error.detail, report.lines);
    Err(ApiError { detail, ..error })
}

/// Whether the service is about to stop.
fn is_stopping(app: &AppState) -> bool {
    app.draining.load(Ordering::SeqCst)
}
