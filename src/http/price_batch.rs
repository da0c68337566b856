//! Many prices in one request: all of them or none, unless the request asks for what is good of it.

use crate::domain::moment::Moment;
use crate::http::AppState;
use crate::http::auth::{Caller, PricesWrite};
use crate::http::error::{ApiError, Code, FieldError, Problem};
use crate::http::posted::{Answer, Posted, deed};
use crate::http::price_rows::{self, Row, Shape};
use crate::http::prices::NewPrice;
use crate::http::query::Query;
use crate::named_enum;
use crate::storage::database::Tx;
use crate::workers::intake::{self, LISTED, Meter, Rows};
use axum::extract::State;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

named_enum! {
    /// What is to become of the good rows of a batch when others are refused.
    Mode {
        /// Nothing of it is recorded.
        All = "all",
        /// They are recorded.
        Partial = "partial",
    }
}

/// What became of a row.
#[derive(Debug, Serialize, ToSchema)]
pub struct RowResult {
    /// Its line in a body of lines, its place in an array; from 1.
    #[schema(example = 1)]
    line: u64,
    /// `stored`, `duplicate`, `corrected` or `refused`.
    #[schema(example = "stored")]
    outcome: String,
    /// What is wrong with a refused row.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
}

/// What became of a batch.
#[derive(Debug, Serialize, ToSchema)]
pub struct BatchReport {
    #[schema(example = true)]
    success: bool,
    /// Rows that gave a point not seen before.
    #[schema(example = 2)]
    stored: u64,
    /// Rows equal to what was known.
    #[schema(example = 0)]
    duplicate: u64,
    /// Rows that gave a newer version of a point.
    #[schema(example = 0)]
    corrected: u64,
    /// Rows refused.
    #[schema(example = 0)]
    refused: u64,
    /// With `mode=partial`, what became of each row, in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    results: Option<Vec<RowResult>>,
}

/// Rows parted into what may be recorded and what is refused already.
struct Parted {
    rows: Rows,
    /// Of each line, where it is and what is wrong with it.
    results: Vec<(Row, Vec<FieldError>)>,
}

fn part(read: Vec<Row>) -> Parted {
    let mut parted = Parted { rows: Rows::default(), results: Vec::with_capacity(read.len()) };
    for row in read {
        let mut faults = Vec::new();
        match &row.read {
            Ok(sent) => {
                let name = parted.rows.name(sent.series());
                let observed_at = sent.observed_at.unwrap_or(Moment::MAX);
                parted.rows.push(name, row.line, observed_at, sent.quote.clone());
            }
            Err(errors) => faults.clone_from(errors),
        }
        parted.results.push((row, faults));
    }
    parted
}

/// Records a batch.
async fn work(
    tx: &mut Tx,
    rows: Vec<Row>,
    mode: Mode,
    (now, meter): (Moment, &Meter),
) -> Result<BatchReport, ApiError> {
    let Parted { rows, mut results } = part(rows);
    let unreadable = results.iter().filter(|(_, faults)| !faults.is_empty()).count();
    let mut judged = intake::judge(tx, rows, now).await?;
    for refused in std::mem::take(&mut judged.refused) {
        if let Ok(place) = results.binary_search_by_key(&refused.line, |(row, _)| row.line)
            && let Some((row, faults)) = results.get_mut(place)
        {
            faults.push(row.fault(refused));
        }
    }
    let refused = results.iter().filter(|(_, faults)| !faults.is_empty()).count();
    if refused > 0 && mode == Mode::All {
        meter.note(judged.refusals().with_unreadable(unreadable));
        let errors = results.into_iter().flat_map(|(_, faults)| faults).take(LISTED).collect();
        let detail = format!("{refused} rows are refused, so nothing of the batch was recorded");
        return Err(ApiError { detail, ..ApiError::invalid(errors) });
    }
    let mut taken = judged.record_each(tx).await?;
    let total = taken.tally.total();
    meter.note(taken.tally.with_unreadable(unreadable));
    let results = (mode == Mode::Partial).then(|| {
        taken.outcomes.sort_unstable_by_key(|(line, _)| *line);
        let outcome = |line: u64| {
            let place = taken.outcomes.binary_search_by_key(&line, |(line, _)| *line).ok()?;
            taken.outcomes.get(place).map(|(_, outcome)| outcome.name())
        };
        let result = |(row, errors): (Row, Vec<FieldError>)| RowResult {
            line: row.line,
            outcome: outcome(row.line).unwrap_or("refused").to_owned(),
            errors,
        };
        results.into_iter().map(result).collect()
    });
    Ok(BatchReport {
        success: true,
        stored: total.stored,
        duplicate: total.duplicate,
        corrected: total.corrected,
        refused: u64::try_from(refused).unwrap_or(u64::MAX),
        results,
    })
}

/// Record many prices
///
/// A JSON array of prices, NDJSON, or CSV whose header names their fields. Each row carries its timestamp. One refused row
/// refuses the batch, unless `mode=partial`; of two rows of one point the later wins.
#[utoipa::path(post, path = "/prices/batch", operation_id = "record_prices", tag = "prices",
    params(("mode" = Option<String>, Query, description = "all (default), or partial: record the good rows")),
    request_body(content((Vec<NewPrice> = "application/json"), (String = "text/csv"), (NewPrice = "application/x-ndjson"))),
    responses((status = 200, description = "Recorded", body = BatchReport),
        (status = 413, description = "Too large", body = Problem, content_type = "application/problem+json")))]
pub async fn record_prices(
    State(app): State<AppState>,
    caller: Caller<PricesWrite>,
    mut query: Query,
    posted: Posted,
) -> Result<Answer, ApiError> {
    let mode = query.one_of("mode", Mode::NAMES, Mode::from_name).unwrap_or(Mode::All);
    query.finish()?;
    let _room = app.streams.room(posted.bytes.len()).await;
    let now = app.clock.now();
    let (bytes, shape) = (posted.bytes.clone(), Shape::of(&posted.headers));
    let rows = tokio::task::spawn_blocking(move || price_rows::read(&bytes, shape, now))
        .await
        .map_err(|_| ApiError::new(Code::Internal, "the service failed; nothing was changed"))??;
    let meter = Meter::default();
    let noted = meter.clone();
    let work =
        deed(move |tx| Box::pin(async move { Answer::ok(&work(tx, rows, mode, (now, &noted)).await?) }));
    let answer = posted.once(&app, Arc::clone(&caller.actor), work).await;
    if answer.as_ref().err().is_none_or(ApiError::is_refusal) {
        meter.publish();
    }
    answer
}
