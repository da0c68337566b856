//! Sources of prices: whether what they deliver is adjusted for splits already.

use crate::domain::audit::Entry;
use crate::domain::moment::Moment;
use crate::http::AppState;
use crate::http::auth::{Caller, PricesRead, PricesWrite};
use crate::http::error::{ApiError, Code, FieldError};
use crate::http::fields::{Fields, Unknown};
use crate::http::posted::{Answer, Posted, deed};
use crate::http::query::Query;
use crate::http::reading;
use crate::http::wire::Time;
use crate::storage::price_sources::{self, PriceSource};
use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

/// A source of prices or rates.
#[derive(Debug, Serialize, ToSchema)]
pub struct SourceView {
    #[schema(example = "vendor")]
    name: String,
    /// Whether its prices come divided by every split since: valuations then leave them alone.
    #[schema(example = true)]
    split_adjusted: bool,
    /// When that was learned.
    recorded_at: Time,
}

impl From<PriceSource> for SourceView {
    fn from(source: PriceSource) -> Self {
        Self {
            name: source.name,
            split_adjusted: source.split_adjusted,
            recorded_at: Time(source.recorded_at),
        }
    }
}

/// What is said about a source.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the shape of the request; fields are read one by one to collect every fault")]
pub struct SourceFacts {
    #[schema(example = true)]
    split_adjusted: bool,
}

/// A source just described.
#[derive(Debug, Serialize, ToSchema)]
pub struct SourceRecorded {
    #[schema(example = true)]
    success: bool,
    #[serde(flatten)]
    source: SourceView,
}

/// List the sources of prices
///
/// By name; sources of rates are among them.
#[utoipa::path(get, path = "/prices/sources", operation_id = "list_price_sources", tag = "prices",
    params(("known_at" = Option<String>, Query, description = "As known then")),
    responses((status = 200, description = "Sources", body = [SourceView])))]
pub async fn list_price_sources(
    State(app): State<AppState>,
    _: Caller<PricesRead>,
    mut query: Query,
) -> Result<Json<Vec<SourceView>>, ApiError> {
    let known_at = reading::known_at(&app, &mut query).await?.unwrap_or(Moment::MAX);
    query.finish()?;
    let mut tx = app.db.read().await?;
    let sources = price_sources::list(&mut tx, known_at).await?;
    Ok(Json(sources.into_iter().map(SourceView::from).collect()))
}

/// Read a source of prices
#[utoipa::path(get, path = "/prices/sources/{source}", operation_id = "get_price_source", tag = "prices",
    params(("source" = String, Path, description = "Name"),
        ("known_at" = Option<String>, Query, description = "As known then")),
    responses((status = 200, description = "The source", body = SourceView)))]
pub async fn get_price_source(
    State(app): State<AppState>,
    _: Caller<PricesRead>,
    Path(name): Path<String>,
    mut query: Query,
) -> Result<Json<SourceView>, ApiError> {
    let known_at = reading::known_at(&app, &mut query).await?.unwrap_or(Moment::MAX);
    query.finish()?;
    check_name(&name)?;
    let mut tx = app.db.read().await?;
    let found = price_sources::find(&mut tx, &name, known_at).await?;
    found.map(|source| Json(source.into())).ok_or_else(|| not_found(&name))
}

fn not_found(name: &str) -> ApiError {
    ApiError::new(Code::SourceNotFound, format!("Source not found: {name}"))
}

/// Holds a name to the rules of a price's `source`.
fn check_name(name: &str) -> Result<(), ApiError> {
    if !name.trim().is_empty() && name.chars().count() <= 64 && !name.chars().any(char::is_control) {
        return Ok(());
    }
    let detail = "must have 1 to 64 characters and no control characters";
    Err(ApiError::invalid(vec![FieldError::parameter("source", "malformed", detail)]))
}

/// Describe a source of prices
///
/// Kept as a fact of its own: a read with an earlier `known_at` values as before. A source that is new is added.
#[utoipa::path(put, path = "/prices/sources/{source}", operation_id = "describe_price_source", tag = "prices",
    params(("source" = String, Path, description = "Name")), request_body = SourceFacts,
    responses((status = 200, description = "The source", body = SourceRecorded)))]
pub async fn describe_price_source(
    State(app): State<AppState>,
    caller: Caller<PricesWrite>,
    Path(name): Path<String>,
    posted: Posted,
) -> Result<Answer, ApiError> {
    check_name(&name)?;
    let mut fields = Fields::of_body(&posted.bytes)?;
    let split_adjusted = fields.opt_bool("split_adjusted");
    if fields.raw("split_adjusted").is_none() {
        fields.fault("split_adjusted", "required", "is required");
    }
    fields.finish(Unknown::Refused)?;
    let split_adjusted = split_adjusted.unwrap_or_default();
    let work = deed(move |tx| {
        Box::pin(async move {
            let before = price_sources::find(tx, &name, Moment::MAX).await?.map(SourceView::from);
            price_sources::mark(tx, &name, split_adjusted).await?;
            let source =
                price_sources::find(tx, &name, Moment::MAX).await?.ok_or_else(|| not_found(&name))?;
            let source = SourceView::from(source);
            tx.audit(Entry::changed("price_source.describe", &name, (&before, &source)));
            Answer::ok(&SourceRecorded { success: true, source })
        })
    });
    posted.once(&app, caller.actor, work).await
}
