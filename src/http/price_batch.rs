//! Many prices in one request: all of them or none, unless the request asks for what is good of it.

use crate::domain::asset::{Asset, TermsHistory};
use crate::domain::moment::Moment;
use crate::domain::price::{Outcome, Quote};
use crate::http::AppState;
use crate::http::auth::{Caller, PricesWrite};
use crate::http::error::{ApiError, Code, FieldError, Problem};
use crate::http::fields::{Fields, Unknown, elements};
use crate::http::posted::{Answer, Posted, deed, is_csv};
use crate::http::prices::{NewPrice, Sent, invalid_quote};
use crate::http::query::Query;
use crate::http::reading;
use crate::named_enum;
use crate::storage::assets;
use crate::storage::database::Tx;
use crate::storage::prices::{self, Series};
use crate::workers::csv_records::Records;
use axum::extract::State;
use csv::StringRecord;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use std::collections::{BTreeMap, HashMap};
use utoipa::ToSchema;

/// Largest body, decompressed.
pub const BODY_MAX: usize = 8 << 20;
/// Most rows.
pub const ROWS_MAX: usize = 10_000;
/// Faults a refusal lists; all of them are counted.
const LISTED: usize = 100;
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
    stored: usize,
    /// Rows equal to what was known.
    #[schema(example = 0)]
    duplicate: usize,
    /// Rows that gave a newer version of a point.
    #[schema(example = 0)]
    corrected: usize,
    /// Rows refused.
    #[schema(example = 0)]
    refused: usize,
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
        let sent = Sent::read(&mut fields, now);
        if sent.observed_at.is_none() && fields.raw("timestamp").is_none() {
            fields.fault("timestamp", "required", "is required in a batch");
        }
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

/// Assets by the symbols of a batch, with their terms.
#[derive(Default)]
struct Known(HashMap<String, Option<(Asset, TermsHistory)>>);

impl Known {
    async fn find(&mut self, tx: &mut Tx, symbol: &str) -> Result<Option<&(Asset, TermsHistory)>, ApiError> {
        if !self.0.contains_key(symbol) {
            let found = match reading::asset(tx, symbol).await {
                Ok(asset) => {
                    let terms = assets::terms(tx, &[asset.key], Moment::MAX).await?;
                    Some((asset, terms))
                }
                Err(error) if error.code == Code::AssetNotFound => None,
                Err(error) => return Err(error),
            };
            self.0.insert(symbol.to_owned(), found);
        }
        Ok(self.0.get(symbol).and_then(Option::as_ref))
    }
}

/// What is wrong with a row, as the assets stand; `None` when it can be recorded.
async fn judge(tx: &mut Tx, known: &mut Known, row: &Row) -> Result<Option<Vec<FieldError>>, ApiError> {
    let sent = match &row.read {
        Ok(sent) => sent,
        Err(faults) => return Ok(Some(faults.clone())),
    };
    let Some((asset, terms)) = known.find(tx, &sent.symbol).await? else {
        let detail = format!("`{}` is not a known symbol", sent.symbol);
        return Ok(Some(vec![FieldError::at(format!("{}/symbol", row.pointer), "unknown_symbol", detail)]));
    };
    let at = sent.observed_at.unwrap_or(Moment::MAX);
    let negative = terms.at(asset.key, at).is_some_and(|terms| terms.allows_negative_price);
    Ok(sent.quote.check(negative).err().map(|error| {
        let fault = sent.spelled(invalid_quote(&error));
        let pointer = format!("{}{}", row.pointer, fault.pointer.as_deref().unwrap_or_default());
        vec![FieldError { pointer: Some(pointer), ..fault }]
    }))
}

/// The rows of one series, and where in the batch each stands.
type Run = (Vec<usize>, Vec<(Moment, Quote)>);

/// Records the rows without a fault; what became of each.
async fn record(
    tx: &mut Tx,
    known: &mut Known,
    rows: Vec<(usize, Sent)>,
) -> Result<Vec<(usize, Outcome)>, ApiError> {
    let mut runs: BTreeMap<(String, String, String), Run> = BTreeMap::new();
    for (place, sent) in rows {
        let Some(at) = sent.observed_at else { continue };
        let run = runs.entry((sent.symbol, sent.source, sent.interval)).or_default();
        run.0.push(place);
        run.1.push((at, sent.quote));
    }
    let mut outcomes = Vec::new();
    for ((symbol, source, interval), (places, points)) in runs {
        let source = prices::source(tx, &source).await?;
        let Some((asset, terms)) = known.find(tx, &symbol).await? else { continue };
        let terms = terms.at(asset.key, Moment::MAX);
        let priority = terms.map(|terms| terms.source_priority.as_slice()).unwrap_or_default();
        let series = Series { asset: asset.key, source, interval: &interval, source_priority: priority };
        outcomes.extend(places.into_iter().zip(prices::record(tx, series, &points).await?));
    }
    outcomes.sort_unstable_by_key(|(place, _)| *place);
    Ok(outcomes)
}

async fn work(tx: &mut Tx, rows: Vec<Row>, mode: Mode) -> Result<BatchReport, ApiError> {
    let mut known = Known::default();
    let mut results: Vec<RowResult> = Vec::with_capacity(rows.len());
    let mut good = Vec::new();
    for (place, row) in rows.into_iter().enumerate() {
        let errors = judge(tx, &mut known, &row).await?.unwrap_or_default();
        results.push(RowResult { line: row.line, outcome: "refused".to_owned(), errors });
        if let (Ok(sent), Some(true)) = (row.read, results.last().map(|result| result.errors.is_empty())) {
            good.push((place, sent));
        }
    }
    let refused = results.len() - good.len();
    if refused > 0 && mode == Mode::All {
        let errors = results.into_iter().flat_map(|result| result.errors).take(LISTED).collect();
        let detail = format!("{refused} rows are refused, so nothing of the batch was recorded");
        return Err(ApiError { detail, ..ApiError::invalid(errors) });
    }
    let outcomes = record(tx, &mut known, good).await?;
    let count = |wanted: Outcome| outcomes.iter().filter(|(_, outcome)| *outcome == wanted).count();
    let (stored, duplicate, corrected) =
        (count(Outcome::Stored), count(Outcome::Duplicate), count(Outcome::Corrected));
    for (place, outcome) in outcomes {
        if let Some(result) = results.get_mut(place) {
            outcome.name().clone_into(&mut result.outcome);
        }
    }
    let results = (mode == Mode::Partial).then_some(results);
    Ok(BatchReport { success: true, stored, duplicate, corrected, refused, results })
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
    let work = deed(move |tx| Box::pin(async move { Answer::ok(&work(tx, rows, mode).await?) }));
    posted.once(&app, caller.actor.clone(), work).await
}
