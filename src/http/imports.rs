//! A whole price file in one request: all of it is recorded, or nothing.

use crate::domain::interval::Interval;
use crate::domain::moment::Moment;
use crate::domain::price::{FUTURE_MAX, Outcome, Quote};
use crate::http::AppState;
use crate::http::auth::{Caller, PricesWrite};
use crate::http::error::{ApiError, Code, FieldError};
use crate::http::posted::{Answer, Posted, deed};
use crate::http::query::{HISTORY_ROWS, Query};
use crate::http::reading;
use crate::http::wire::Time;
use crate::storage::assets;
use crate::storage::database::Tx;
use crate::storage::prices::{self, PriceRange, Series};
use crate::workers::ingest_parse::{self, BidAsk, Field, Format, Options, Parsed, Stamp};
use crate::workers::intake::{Counts, Meter, Tally};
use crate::workers::records::{Record, checked_name};
use axum::extract::State;
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use utoipa::ToSchema;

/// Largest file, decompressed.
pub const FILE_MAX: usize = 64 << 20;
/// Refused rows a report lists; all of them are counted.
pub const LISTED: usize = 100;

/// A row that was refused.
#[derive(Debug, Serialize, ToSchema)]
pub struct RefusedRow {
    /// Line in the file, from 1.
    #[schema(example = 17)]
    line: u64,
    #[schema(example = "price")]
    field: Option<String>,
    #[schema(example = "not_a_decimal")]
    code: String,
    #[schema(example = "price `abc` is not a decimal number in plain notation")]
    detail: String,
}

impl RefusedRow {
    /// A row, or a cell of it, that was refused.
    pub fn of(line: u64, field: Option<String>, code: &str, detail: String) -> Self {
        Self { line, field, code: code.to_owned(), detail }
    }

    /// Its line.
    pub const fn line(&self) -> u64 {
        self.line
    }
}

/// What became of a file.
#[derive(Debug, Serialize, ToSchema)]
pub struct ImportReport {
    #[schema(example = true)]
    success: bool,
    #[schema(example = "BTC-USD")]
    symbol: String,
    #[schema(example = "coinbase")]
    source: String,
    #[schema(example = "1d")]
    interval: String,
    /// Rows that gave a point not seen before.
    #[schema(example = 1318)]
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
    /// Rows of other symbols, passed over.
    #[schema(example = 0)]
    other_symbols: u64,
    /// Local times that occur twice where the clocks go back; the earlier was taken.
    #[schema(example = 0)]
    ambiguous_times: u64,
    /// Which column gave which field.
    #[schema(example = json!({"time": ["ts"], "price": ["close"]}))]
    columns: BTreeMap<String, Vec<String>>,
    /// Earliest moment recorded.
    first: Option<Time>,
    /// Latest moment recorded.
    last: Option<Time>,
    /// The first hundred refused rows.
    errors: Vec<RefusedRow>,
    /// With `save_records`: what became of the files.
    records: Option<SavedRecords>,
}

/// What became of the files of a source.
#[derive(Debug, Serialize, ToSchema)]
pub struct SavedRecords {
    /// Records they hold now.
    count: Option<u64>,
    /// Why they could not be written; the rows are in the database all the same.
    error: Option<String>,
}

fn read_options(query: &mut Query) -> Options {
    let mut map = BTreeMap::new();
    for pair in query.text("map").unwrap_or_default().split(',').filter(|pair| !pair.is_empty()) {
        let named = pair.split_once('=').and_then(|(field, column)| Some((Field::from_name(field)?, column)));
        if let Some((field, column)) = named {
            map.insert(field, column.to_owned());
        } else {
            let detail = format!("`{pair}` is not FIELD=COLUMN with a field of {}", Field::NAMES.join(", "));
            query.fault("map", "malformed", detail);
        }
    }
    let time_zone = query.text("tz").and_then(|name| {
        let zone = name.parse().ok();
        if zone.is_none() {
            query.fault("tz", "unknown_zone", "must be the IANA name of a time zone");
        }
        zone
    });
    Options {
        format: query.one_of("format", Format::NAMES, Format::from_name),
        map,
        bid_ask: query.one_of("bid_ask", BidAsk::NAMES, BidAsk::from_name),
        time_zone,
        stamp: query.one_of("stamp", Stamp::NAMES, Stamp::from_name),
        interval: query.one_of("interval", Interval::NAMES, Interval::from_name),
        symbol: None,
    }
}

/// Import a price file
///
/// CSV with a header, or NDJSON. One refused row refuses the file, unless `keep_going=true`.
#[utoipa::path(post, path = "/prices/import", operation_id = "import_prices", tag = "prices",
    params(
        ("symbol" = String, Query, description = "Asset the prices are of"),
        ("source" = Option<String>, Query, description = "Who says so; default `api`"),
        ("interval" = Option<String>, Query, description = "Candle length, e.g. 1d"),
        ("format" = Option<String>, Query, description = "csv or ndjson; told from the first byte when absent"),
        ("map" = Option<String>, Query, description = "Columns by field: price=COLUMN,time=COLUMN"),
        ("bid_ask" = Option<String>, Query, description = "mid, bid or ask, for bid_* and ask_* columns"),
        ("tz" = Option<String>, Query, description = "Zone of times without one"),
        ("stamp" = Option<String>, Query, description = "end: shift candles to their end"),
        ("keep_going" = Option<bool>, Query, description = "Record the good rows although others are refused"),
        ("save_records" = Option<bool>, Query, description = "Keep the rows in the files of the source as well"),
    ),
    request_body(content = String, content_type = "text/csv", description = "The file"),
    responses((status = 200, description = "Recorded", body = ImportReport)))]
pub async fn import_prices(
    State(app): State<AppState>,
    caller: Caller<PricesWrite>,
    mut query: Query,
    posted: Posted,
) -> Result<Answer, ApiError> {
    let symbol = query.required("symbol").to_uppercase();
    let source = reading::source(&mut query);
    let keep_going = query.flag("keep_going");
    let save_records = query.flag("save_records");
    if save_records && let Err(error) = checked_name(&source) {
        query.fault("source", "malformed", error.to_string());
    }
    let options = Options { symbol: Some(symbol.clone()), ..read_options(&mut query) };
    query.finish()?;
    let interval = options.interval.map(|interval| interval.name().to_owned()).unwrap_or_default();
    let bytes = posted.bytes.clone();
    let parsed = tokio::task::spawn_blocking(move || ingest_parse::parse(&bytes, &options))
        .await
        .map_err(|_| ApiError::new(Code::Internal, "the service failed; nothing was changed"))?
        .map_err(|error| ApiError::of_file(error.place(), error.to_string()))?;
    let (file, now) = (Arc::new(File { symbol, source, interval, parsed }), app.clock.now());
    let (meter, read) = (Meter::default(), Arc::clone(&file));
    let noted = meter.clone();
    let work =
        deed(move |tx| Box::pin(async move { Answer::ok(&read.record(tx, keep_going, now, &noted).await?) }));
    let answer = posted.once(&app, caller.actor, work).await;
    if answer.as_ref().err().is_none_or(ApiError::is_refusal) {
        meter.publish();
    }
    let answer = answer?;
    if save_records { answer.with("records", &file.save(&app).await?) } else { Ok(answer) }
}

/// A file that was read.
struct File {
    symbol: String,
    source: String,
    interval: String,
    parsed: Parsed,
}

impl File {
    /// Records its rows.
    async fn record(
        &self,
        tx: &mut Tx,
        keep_going: bool,
        now: Moment,
        meter: &Meter,
    ) -> Result<ImportReport, ApiError> {
        let Self { symbol, source, interval, parsed } = self;
        let asset = reading::asset(tx, symbol).await?;
        let terms = assets::terms(tx, &[asset.key], Moment::MAX).await?;
        let terms = terms.at(asset.key, Moment::MAX);
        let allows_negative = terms.is_some_and(|terms| terms.allows_negative_price);
        let priority = terms.map(|terms| terms.source_priority.clone()).unwrap_or_default();
        let (points, refused) = judge(parsed, allows_negative, now);
        let mut tally = Tally::refused(source, refused.len());
        if !refused.is_empty() && !keep_going {
            meter.note(tally);
            return Err(refuse_file(&refused));
        }
        // A file without a row leaves no source behind.
        let outcomes = if points.is_empty() {
            Vec::new()
        } else {
            let key = prices::source(tx, source).await?;
            let series = Series { asset: asset.key, source: key, interval, source_priority: &priority };
            prices::record(tx, series, &points).await?
        };
        tally.add(source, Counts::of(&outcomes));
        meter.note(tally);
        let count = |wanted: Outcome| outcomes.iter().filter(|outcome| **outcome == wanted).count();
        Ok(ImportReport {
            success: true,
            symbol: asset.symbol,
            stored: count(Outcome::Stored),
            duplicate: count(Outcome::Duplicate),
            corrected: count(Outcome::Corrected),
            refused: refused.len(),
            other_symbols: parsed.other_symbols,
            ambiguous_times: parsed.ambiguous_times,
            columns: columns_of(parsed),
            first: points.iter().map(|(at, _)| *at).min().map(Time),
            last: points.iter().map(|(at, _)| *at).max().map(Time),
            errors: refused.into_iter().take(LISTED).collect(),
            records: None,
            source: source.clone(),
            interval: interval.clone(),
        })
    }

    /// Its points as they are in force now: what is in the files is what the database says, whichever of two imports
    /// comes to them first, and also when the same file is sent again after a crash.
    async fn in_force(&self, app: &AppState) -> Result<Vec<Record>, ApiError> {
        let moments: HashSet<Moment> = self.parsed.rows.iter().map(|row| row.observed_at).collect();
        let (Some(from), Some(last)) = (moments.iter().min(), moments.iter().max()) else {
            return Ok(Vec::new());
        };
        let asset = reading::asset(&mut app.db.read().await?, &self.symbol).await?;
        let mut range = PriceRange {
            asset: asset.key,
            source: Some(self.source.clone()),
            interval: Some(self.interval.clone()),
            from: *from,
            until: last.plus(1),
            known_at: Moment::MAX,
            after: None,
            limit: HISTORY_ROWS,
        };
        let mut records = Vec::with_capacity(moments.len());
        loop {
            let page = prices::history(&mut app.db.read().await?, &range).await?;
            let Some((seq, point)) = page.last() else { return Ok(records) };
            range.after = Some((point.observed_at, *seq));
            let own = page.into_iter().filter(|(_, point)| moments.contains(&point.observed_at));
            records.extend(own.map(|(_, point)| Record {
                observed_at: point.observed_at,
                symbol: asset.symbol.clone(),
                interval: point.interval,
                quote: point.quote,
            }));
        }
    }

    /// Keeps its points in the files of their source. They are in the database already: that a file cannot be written
    /// is told, and refuses nothing.
    async fn save(&self, app: &AppState) -> Result<SavedRecords, ApiError> {
        let records = self.in_force(app).await?;
        let write_id = app.random.uuid_v7(app.clock.now())?;
        match app.records.write(self.source.clone(), records, write_id).await {
            Ok(manifest) => Ok(SavedRecords { count: Some(manifest.count), error: None }),
            Err(error) => {
                tracing::error!(source = self.source, %error, path = ?error.path(), "records could not be kept");
                Ok(SavedRecords { count: None, error: Some(error.to_string()) })
            }
        }
    }
}

/// Which columns gave which field.
fn columns_of(parsed: &Parsed) -> BTreeMap<String, Vec<String>> {
    let mut columns: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (field, column) in &parsed.columns {
        columns.entry(field.name().to_owned()).or_default().push(column.clone());
    }
    columns
}

/// Parts the rows of a file into points and refusals, in order of lines.
fn judge(parsed: &Parsed, allows_negative: bool, now: Moment) -> (Vec<(Moment, Quote)>, Vec<RefusedRow>) {
    let mut refused: Vec<RefusedRow> = parsed
        .refused
        .iter()
        .map(|refusal| RefusedRow {
            line: refusal.line,
            field: refusal.field.map(|field| field.name().to_owned()),
            code: refusal.code.name().to_owned(),
            detail: refusal.detail.clone(),
        })
        .collect();
    let mut points = Vec::with_capacity(parsed.rows.len());
    for row in &parsed.rows {
        let fault = match row.quote.check(allows_negative) {
            Err(error) => {
                let fault = crate::http::prices::invalid_quote(&error);
                Some((fault.pointer.unwrap_or_default().replace('/', ""), fault.code, fault.detail))
            }
            Ok(()) if row.observed_at > now.plus(FUTURE_MAX) => Some((
                "time".to_owned(),
                "in_the_future",
                "lies more than 24 h ahead of the clock".to_owned(),
            )),
            Ok(()) => None,
        };
        match fault {
            Some((field, code, detail)) => {
                refused.push(RefusedRow {
                    line: row.line,
                    field: Some(field),
                    code: code.to_owned(),
                    detail,
                });
            }
            None => points.push((row.observed_at, row.quote.clone())),
        }
    }
    refused.sort_by_key(|row| row.line);
    (points, refused)
}

/// The failure of a file with these rows.
pub fn refuse_file(refused: &[RefusedRow]) -> ApiError {
    let errors = refused.iter().take(LISTED).map(|row| {
        let pointer = format!("/lines/{}/{}", row.line, row.field.as_deref().unwrap_or_default());
        FieldError::at(pointer.trim_end_matches('/'), "refused_row", format!("{}: {}", row.code, row.detail))
    });
    let detail = format!("{} rows are refused, so nothing of the file was recorded", refused.len());
    ApiError { detail, ..ApiError::invalid(errors.collect()) }
}
