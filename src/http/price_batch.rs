//! Many prices in one request: all of them or none, unless the request asks for what is good of it.

use crate::domain::moment::Moment;
use crate::http::AppState;
use crate::http::auth::{Caller, PricesWrite};
use crate::http::error::{ApiError, Code, FieldError, Problem};
use crate::http::fields::{Fields, Unknown, elements};
use crate::http::posted::{Answer, Posted, deed, is_csv};
use crate::http::prices::{NewPrice, Sent};
use crate::http::query::Query;
use crate::named_enum;
use crate::storage::database::Tx;
use crate::workers::csv_records::Records;
use crate::workers::intake::{self, LISTED, Meter, Refused, Rows};
use axum::extract::State;
use csv::StringRecord;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Largest body, decompressed.
pub const BODY_MAX: usize = 8 << 20;
/// Most rows.
pub const ROWS_MAX: usize = 10_000;
/// Columns a CSV body may have: the fields of a row in JSON.
const COLUMNS: [&str; 11] = [
    "symbol",
    "ticker",
    "price",
    "close",
    "timestamp",
    "source",
    "interval",
    "open",
    "high",
    "low",
    "volume",
];

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
    /// Its line in a CSV body, its place in an array; from 1.
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

/// A row, as far as it can be told without the database.
struct Row {
    line: u64,
    pointer: String,
    read: Result<Sent, Vec<FieldError>>,
}

/// The rows of a JSON body.
fn json_rows(body: &[u8], now: Moment) -> Result<Vec<Row>, ApiError> {
    let (list, _) = elements(body)?;
    refuse_more(list.len())?;
    Ok((1..).zip(list).map(|(line, raw)| row(line, format!("/{}", line - 1), raw, now)).collect())
}

fn refuse_more(rows: usize) -> Result<(), ApiError> {
    if rows <= ROWS_MAX {
        return Ok(());
    }
    let fault = FieldError::at("", "too_many", format!("has {rows} rows; at most {ROWS_MAX} are taken"));
    Err(ApiError::invalid(vec![fault]))
}

fn row(line: u64, pointer: String, raw: &RawValue, now: Moment) -> Row {
    let read = Fields::of(raw, pointer.clone()).map_err(|error| error.errors).and_then(|mut fields| {
        let sent = Sent::read_dated(&mut fields, now);
        let faults = fields.faults(Unknown::Refused);
        if faults.is_empty() { Ok(sent) } else { Err(faults) }
    });
    Row { line, pointer, read }
}

/// The rows of a CSV body: each becomes the object its cells make, an empty cell being an absent field.
fn csv_rows(body: &[u8], now: Moment) -> Result<Vec<Row>, ApiError> {
    let malformed = |detail: String| ApiError::new(Code::InvalidRequest, detail);
    let text = std::str::from_utf8(body).map_err(|_| malformed("the body is not UTF-8 text".to_owned()))?;
    let mut records = Records::new(text.strip_prefix('\u{feff}').unwrap_or(text), None);
    let mut record = StringRecord::new();
    let mut next = |record: &mut StringRecord| {
        records.next(record).map_err(|error| malformed(format!("the body is not CSV: {error}")))
    };
    if next(&mut record)?.is_none() {
        return Err(malformed("the body is empty: a header line is expected".to_owned()));
    }
    let header: Vec<String> = record.iter().map(|name| name.trim().to_ascii_lowercase()).collect();
    for (place, name) in header.iter().enumerate() {
        let known = COLUMNS.contains(&name.as_str()) && !header.iter().take(place).any(|other| other == name);
        if !known {
            let detail = format!("column `{name}` is not one of {}, each once", COLUMNS.join(", "));
            return Err(ApiError::invalid(vec![FieldError::at("/lines/1", "unknown_column", detail)]));
        }
    }
    let mut rows = Vec::new();
    while let Some(start) = next(&mut record)? {
        refuse_more(rows.len() + 1)?;
        let pointer = format!("/lines/{}", start.line);
        if record.len() != header.len() || !start.well_quoted {
            let detail = format!("must have {} cells, quoted as RFC 4180 has it", header.len());
            let read = Err(vec![FieldError::at(pointer.clone(), "malformed_line", detail)]);
            rows.push(Row { line: start.line, pointer, read });
            continue;
        }
        let cells = header.iter().zip(record.iter().map(str::trim)).filter(|(_, cell)| !cell.is_empty());
        let cells: BTreeMap<&str, &str> = cells.map(|(name, cell)| (name.as_str(), cell)).collect();
        let raw = to_raw_value(&cells).map_err(|error| malformed(error.to_string()))?;
        rows.push(row(start.line, pointer, &raw, now));
    }
    Ok(rows)
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

impl Row {
    /// A refusal at the field as it was spelled.
    fn fault(&self, refused: Refused) -> FieldError {
        let fault = FieldError::at(format!("/{}", refused.field), refused.code, refused.detail);
        let fault = self.read.as_ref().map_or(fault.clone(), |sent| sent.spelled(fault));
        let pointer = format!("{}{}", self.pointer, fault.pointer.as_deref().unwrap_or_default());
        FieldError { pointer: Some(pointer), ..fault }
    }
}

/// Records a batch.
async fn work(
    tx: &mut Tx,
    rows: Vec<Row>,
    mode: Mode,
    (now, meter): (Moment, &Meter),
) -> Result<BatchReport, ApiError> {
    let Parted { rows, mut results } = part(rows);
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
        meter.note(judged.refusals());
        let errors = results.into_iter().flat_map(|(_, faults)| faults).take(LISTED).collect();
        let detail = format!("{refused} rows are refused, so nothing of the batch was recorded");
        return Err(ApiError { detail, ..ApiError::invalid(errors) });
    }
    let mut taken = judged.record(tx).await?;
    let total = taken.tally.total();
    meter.note(taken.tally);
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
/// A JSON array of prices, or CSV whose header names their fields. Each row carries its timestamp. One refused row
/// refuses the batch, unless `mode=partial`; of two rows of one point the later wins.
#[utoipa::path(post, path = "/prices/batch", operation_id = "record_prices", tag = "prices",
    params(("mode" = Option<String>, Query, description = "all (default), or partial: record the good rows")),
    request_body(content((Vec<NewPrice> = "application/json"), (String = "text/csv"))),
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
    let now = app.clock.now();
    let (bytes, csv) = (posted.bytes.clone(), is_csv(&posted.headers));
    let read = move || if csv { csv_rows(&bytes, now) } else { json_rows(&bytes, now) };
    let rows = tokio::task::spawn_blocking(read)
        .await
        .map_err(|_| ApiError::new(Code::Internal, "the service failed; nothing was changed"))??;
    let meter = Meter::default();
    let noted = meter.clone();
    let work =
        deed(move |tx| Box::pin(async move { Answer::ok(&work(tx, rows, mode, (now, &noted)).await?) }));
    let answer = posted.once(&app, caller.actor.clone(), work).await;
    if answer.as_ref().err().is_none_or(|error| error.code == Code::InvalidRequest) {
        meter.publish();
    }
    answer
}
