//! Taking a price back: a version that hides the point; what was known before stays readable.

use crate::domain::interval::Interval;
use crate::domain::moment::{Moment, Written, parse_written, start_of_day};
use crate::http::AppState;
use crate::http::auth::{Caller, PricesWrite};
use crate::http::error::{ApiError, Code, Problem};
use crate::http::posted::{Answer, Posted, deed};
use crate::http::prices::UpdatedPosition;
use crate::http::query::Query;
use crate::http::reading;
use crate::storage::assets;
use crate::storage::prices::{self, Series};
use crate::workers::intake;
use axum::extract::State;
use chrono_tz::Tz;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// What became of a withdrawal.
#[derive(Debug, Serialize, ToSchema)]
pub struct PriceWithdrawn {
    #[schema(example = true)]
    success: bool,
    /// Every open position of the asset.
    updated_positions: Vec<UpdatedPosition>,
    #[schema(example = "withdrawn")]
    outcome: &'static str,
}

/// Withdraw a price
///
/// The point is hidden from now on by a recorded void; reads with an earlier `known_at` still see it. The same point
/// sent again is a correction.
#[utoipa::path(delete, path = "/prices", operation_id = "withdraw_price", tag = "prices",
    params(
        ("symbol" = String, Query, description = "Symbol or id of the asset"),
        ("timestamp" = String, Query, description = "The point's own moment, RFC 3339; without a zone it is UTC"),
        ("source" = Option<String>, Query, description = "Whose point; default `api`"),
        ("interval" = Option<String>, Query, description = "Its candle length; none or `tick` for a tick"),
    ),
    responses((status = 200, description = "Withdrawn", body = PriceWithdrawn),
        (status = 404, description = "No such point", body = Problem, content_type = "application/problem+json")))]
pub async fn withdraw_price(
    State(app): State<AppState>,
    caller: Caller<PricesWrite>,
    mut query: Query,
    posted: Posted,
) -> Result<Answer, ApiError> {
    let symbol = query.required("symbol");
    let timestamp = query.required("timestamp");
    let at = parse_written(&timestamp).map(|written| match written {
        Written::Moment(at) => at,
        Written::Day(day) => start_of_day(day, Tz::UTC),
    });
    if let (Err(error), false) = (at, timestamp.is_empty()) {
        query.fault("timestamp", "not_a_time", error.to_string());
    }
    let source = reading::source(&mut query);
    let interval =
        query.text("interval").filter(|name| !name.is_empty() && name != "tick").unwrap_or_default();
    if !interval.is_empty() && Interval::from_name(&interval).is_none() {
        let detail = format!("must be tick or one of {}", Interval::NAMES.join(", "));
        query.fault("interval", "unknown_value", detail);
    }
    query.finish()?;
    let at = at.unwrap_or(Moment::MAX);
    let (actor, from) = (Arc::clone(&caller.actor), source.clone());
    let work = deed(move |tx| {
        Box::pin(async move {
            let asset = reading::asset(tx, &symbol).await?;
            let terms = assets::terms(tx, &[asset.key], Moment::MAX).await?;
            let terms = terms.at(asset.key, Moment::MAX);
            let priority = terms.map(|terms| terms.source_priority.clone()).unwrap_or_default();
            let key = prices::source(tx, &source).await?;
            let series =
                Series { asset: asset.key, source: key, interval: &interval, source_priority: &priority };
            if !prices::withdraw(tx, series, at).await? {
                let of = if interval.is_empty() { "tick" } else { &interval };
                let detail = format!("{} has no {of} of {source} at {at}", asset.symbol);
                return Err(ApiError::new(Code::PriceNotFound, detail));
            }
            let updated_positions = UpdatedPosition::of(tx, &caller, asset.key).await?;
            Answer::ok(&PriceWithdrawn { success: true, updated_positions, outcome: "withdrawn" })
        })
    });
    let answer = posted.once(&app, actor, work).await?;
    if !answer.is_replayed() {
        intake::count_withdrawn(&from);
    }
    Ok(answer)
}
