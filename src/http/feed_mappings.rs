//! Trying out the mapping of a generic feed on a pasted body: nobody is asked and nothing is stored.

use crate::domain::decimal::Decimal;
use crate::domain::price::Bar;
use crate::http::AppState;
use crate::http::auth::{Caller, PricesRead};
use crate::http::error::{ApiError, FieldError};
use crate::http::fields::{Fields, Unknown};
use crate::http::posted::Posted;
use crate::http::wire::Time;
use crate::workers::mapping::{BodyFault, MappedRow, Mapping, SpecFault, Written};
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// Rows that are shown; all of them are counted.
const SHOWN: usize = 1_000;
/// Longest body that may be pasted.
const BODY_MAX: usize = 1 << 20;

/// A mapping and what it is tried on.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the shape of the request; fields are read one by one to collect every fault")]
pub struct MappingTest {
    /// The configuration of a feed, as JSON.
    #[schema(value_type = Object, example = json!({"kind": "http_json", "rows": {"at": "/data"},
        "map": {"ts": {"at": "/0", "unit": "s"}, "close": {"at": "/1"}}}))]
    config: Value,
    /// What the provider answers.
    #[schema(example = "{\"data\":[[1700000000,\"37000.10\"]]}")]
    body: String,
}

/// A price that a mapping makes of a body.
#[derive(Debug, Serialize, ToSchema)]
pub struct MappedPrice {
    /// What the provider calls the asset, when its rows say so.
    #[schema(example = "BTC-USD")]
    symbol: Option<String>,
    timestamp: Time,
    price: Decimal,
    open: Option<Decimal>,
    high: Option<Decimal>,
    low: Option<Decimal>,
    volume: Option<Decimal>,
}

impl From<MappedRow> for MappedPrice {
    fn from(row: MappedRow) -> Self {
        let MappedRow { symbol, observed_at, quote } = row;
        let (price, Bar { open, high, low, volume }) = quote.into_parts();
        Self { symbol, timestamp: Time(observed_at), price, open, high, low, volume }
    }
}

/// What a mapping makes of a body.
#[derive(Debug, Serialize, ToSchema)]
pub struct MappingResult {
    #[schema(example = true)]
    success: bool,
    /// Prices the body has.
    #[schema(example = 1)]
    count: usize,
    /// Rows without a price, which are passed over.
    #[schema(example = 0)]
    missing: u64,
    /// Token of the next page.
    next_page: Option<String>,
    /// The first thousand prices, in order of time.
    rows: Vec<MappedPrice>,
}

fn wrong_mapping(SpecFault { key, rule }: SpecFault) -> ApiError {
    let pointer = format!("/config/{}", key.replace('.', "/"));
    ApiError::invalid(vec![FieldError::at(pointer, "invalid_mapping", format!("`{key}` {rule}"))])
}

fn wrong_body(fault: &BodyFault) -> ApiError {
    let (pointer, code) = match fault {
        BodyFault::Refused { pointer, .. } => (pointer, "refused_by_provider"),
        BodyFault::Unlike { pointer, .. } => (pointer, "unlike_mapping"),
    };
    let inside = if pointer.starts_with('/') { pointer.as_str() } else { "" };
    ApiError::invalid(vec![FieldError::at(format!("/body{inside}"), code, fault.to_string())])
}

/// Try a feed's mapping on a body
///
/// The prices it makes of what is pasted, or the key of the mapping, or the pointer into the body, that is at fault.
#[utoipa::path(post, path = "/ingest/mappings/test", operation_id = "test_mapping", tag = "prices",
    request_body = MappingTest, responses((status = 200, description = "The prices", body = MappingResult)))]
pub async fn test_mapping(
    State(_): State<AppState>,
    _: Caller<PricesRead>,
    posted: Posted,
) -> Result<Json<MappingResult>, ApiError> {
    let mut fields = Fields::of_body(&posted.bytes)?;
    let config: Option<Value> = fields.opt_value("config", "an object");
    if config.is_none() && !fields.is_faulty() {
        fields.fault("config", "required", "is required");
    }
    let body = fields.opt_text("body");
    if body.is_none() {
        fields.fault("body", "required", "is required");
    }
    fields.finish(Unknown::Refused)?;
    let (config, body) = (config.unwrap_or_default(), body.unwrap_or_default());
    if body.len() > BODY_MAX {
        let fault = FieldError::at("/body", "too_long", format!("has more than {BODY_MAX} bytes"));
        return Err(ApiError::invalid(vec![fault]));
    }
    let written = Written::of(&config).map_err(wrong_mapping)?;
    let mapping = Mapping::read(&config, written, Written::OTHERS).map_err(wrong_mapping)?;
    let mut reading = mapping.rows(body.as_bytes()).map_err(|fault| wrong_body(&fault))?;
    let count = reading.rows.len();
    reading.rows.truncate(SHOWN);
    let rows = reading.rows.into_iter().map(MappedPrice::from).collect();
    Ok(Json(MappingResult { success: true, count, missing: reading.missing, next_page: reading.next, rows }))
}
