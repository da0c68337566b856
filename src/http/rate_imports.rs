//! A whole table of exchange rates in one request: all of it is recorded, or nothing.

use crate::domain::currency::Currency;
use crate::domain::decimal::Decimal;
use crate::domain::interval::Interval;
use crate::domain::moment::Moment;
use crate::domain::price::FUTURE_MAX;
use crate::http::AppState;
use crate::http::auth::{Caller, PricesWrite};
use crate::http::error::{ApiError, Code, FieldError};
use crate::http::imports::{LISTED, RefusedRow, refuse_file};
use crate::http::posted::body_bytes;
use crate::http::query::Query;
use crate::http::reading;
use crate::http::wire::Time;
use crate::named_enum;
use crate::storage::currencies;
use crate::storage::database::Tx;
use crate::workers::ingest_parse::rate_table::{self, RateTable};
use crate::workers::ingest_parse::{Options, Stamp};
use crate::workers::rate_intake::{self, PairRates};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use serde::Serialize;
use utoipa::ToSchema;

named_enum! {
    /// How a file of rates is written.
    RateFormat {
        /// A day per row, a column per currency.
        Ecb = "ecb",
    }
}

/// What became of a table of rates.
#[derive(Debug, Serialize, ToSchema)]
pub struct RateImportReport {
    #[schema(example = true)]
    success: bool,
    #[schema(example = "ecb")]
    source: String,
    /// One unit of this is worth what each cell says.
    base: Currency,
    /// Currencies recorded, in the order of the file.
    #[schema(example = json!(["USD", "JPY"]))]
    currencies: Vec<String>,
    /// Currencies nobody knows; passed over with `keep_going`.
    #[schema(example = json!([]))]
    unknown_currencies: Vec<String>,
    /// Cells that gave a rate not seen before.
    #[schema(example = 89234)]
    stored: u64,
    /// Cells equal to what was known.
    #[schema(example = 0)]
    duplicate: u64,
    /// Cells that gave a newer version of a rate.
    #[schema(example = 0)]
    corrected: u64,
    /// Cells without a rate: empty or `N/A`.
    #[schema(example = 17656)]
    absent: u64,
    /// Rows and cells refused.
    #[schema(example = 0)]
    refused: usize,
    /// Earliest moment recorded.
    first: Option<Time>,
    /// Latest moment recorded.
    last: Option<Time>,
    /// The first hundred refused rows and cells.
    errors: Vec<RefusedRow>,
}

/// What the query asks for.
struct Asked {
    source: String,
    base: String,
    keep_going: bool,
    options: Options,
}

fn read_asked(query: &mut Query) -> Asked {
    query.one_of("format", RateFormat::NAMES, RateFormat::from_name);
    let time_zone = query.text("tz").and_then(|name| {
        let zone = name.parse().ok();
        if zone.is_none() {
            query.fault("tz", "unknown_zone", "must be the IANA name of a time zone");
        }
        zone
    });
    let stamp = query.one_of("stamp", Stamp::NAMES, Stamp::from_name);
    Asked {
        source: reading::source(query),
        base: query.text("base").unwrap_or_else(|| "EUR".to_owned()),
        keep_going: query.flag("keep_going"),
        options: Options { time_zone, stamp, interval: Interval::from_name("1d"), ..Options::default() },
    }
}

/// Import a table of exchange rates
///
/// CSV as the European Central Bank publishes it: a day per row, a column per currency. One refused cell refuses the
/// file, unless `keep_going=true`; `N/A` and empty cells are days without a rate.
#[utoipa::path(post, path = "/fx/import", operation_id = "import_rates", tag = "fx",
    params(
        ("source" = Option<String>, Query, description = "Who says so; default `api`"),
        ("base" = Option<String>, Query, description = "One unit of this is worth what a cell says; default EUR"),
        ("format" = Option<String>, Query, description = "ecb, the only one"),
        ("tz" = Option<String>, Query, description = "Zone of times without one, and of days; default UTC"),
        ("stamp" = Option<String>, Query, description = "end: a day's rate is observed at the end of that day"),
        ("keep_going" = Option<bool>, Query, description = "Record the good cells although others are refused"),
    ),
    request_body(content = String, content_type = "text/csv", description = "The file"),
    responses((status = 200, description = "Recorded", body = RateImportReport)))]
pub async fn import_rates(
    State(app): State<AppState>,
    caller: Caller<PricesWrite>,
    mut query: Query,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<RateImportReport>, ApiError> {
    let asked = read_asked(&mut query);
    query.finish()?;
    let bytes = body_bytes(body)?;
    caller.check_standing(&app)?;
    let (base, options) = (asked.base.clone(), asked.options.clone());
    let table = tokio::task::spawn_blocking(move || rate_table::parse(&bytes, &base, &options))
        .await
        .map_err(|_| ApiError::new(Code::Internal, "the service failed; nothing was changed"))?
        .map_err(|error| ApiError::of_file(error.place(), error.to_string()))?;
    let now = app.clock.now();
    app.db
        .writer()
        .write(caller.actor, move |tx| Box::pin(async move { record(tx, asked, table, now).await.map(Json) }))
        .await
}

/// The rates of one currency: line, moment and rate.
type Points = Vec<(u64, Moment, Decimal)>;

async fn record(
    tx: &mut Tx,
    asked: Asked,
    table: RateTable,
    now: Moment,
) -> Result<RateImportReport, ApiError> {
    let base = reading::currency(tx, &asked.base, "base").await.map_err(ApiError::of_parameters)?;
    let refused = table.refused.into_iter();
    let mut refused: Vec<RefusedRow> =
        refused.map(|cell| RefusedRow::of(cell.line, cell.column, cell.code.name(), cell.detail)).collect();
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for column in table.columns {
        match currencies::find(tx, &column.code).await? {
            Some(quote) => known.push((quote, column.points)),
            None => unknown.push(column.code),
        }
    }
    if !unknown.is_empty() && !asked.keep_going {
        let fault = |code: &String| {
            let detail = "is not a known currency; add it with POST /currencies, or pass over it with the parameter `keep_going`";
            FieldError::at(format!("/columns/{code}"), "unknown_currency", detail)
        };
        return Err(ApiError::invalid(unknown.iter().map(fault).collect()));
    }
    refuse_the_future(&mut known, &mut refused, now);
    if !refused.is_empty() && !asked.keep_going {
        return Err(refuse_file(&refused));
    }
    let known: Vec<(Currency, PairRates)> = known
        .into_iter()
        .map(|(quote, points)| (quote, points.into_iter().map(|(_, at, rate)| (at, rate)).collect()))
        .collect();
    let taken = rate_intake::record(tx, &asked.source, base, &known).await?;
    Ok(RateImportReport {
        success: true,
        source: asked.source,
        base,
        currencies: known.iter().map(|(quote, _)| quote.code().to_owned()).collect(),
        unknown_currencies: unknown,
        stored: taken.counts.stored,
        duplicate: taken.counts.duplicate,
        corrected: taken.counts.corrected,
        absent: table.absent,
        refused: refused.len(),
        first: taken.span.map(|(first, _)| Time(first)),
        last: taken.span.map(|(_, last)| Time(last)),
        errors: refused.into_iter().take(LISTED).collect(),
    })
}

fn refuse_the_future(known: &mut [(Currency, Points)], refused: &mut Vec<RefusedRow>, now: Moment) {
    for (quote, points) in known {
        points.retain(|(line, at, _)| {
            let near = *at <= now.plus(FUTURE_MAX);
            if !near {
                let detail = "lies more than 24 h ahead of the clock".to_owned();
                refused.push(RefusedRow::of(*line, Some(quote.code().to_owned()), "in_the_future", detail));
            }
            near
        });
    }
    refused.sort_by_key(RefusedRow::line);
}
