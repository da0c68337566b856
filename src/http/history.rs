//! The equity curve: what a portfolio was worth at the end of each day, and how it got there.

use crate::domain::currency::Currency;
use crate::domain::ids::PortfolioId;
use crate::http::AppState;
use crate::http::auth::{Caller, PortfoliosRead};
use crate::http::conventions::{ConventionsView, OtherConventions};
use crate::http::error::ApiError;
use crate::http::query::Query;
use crate::http::reading;
use crate::http::returns::{DayMissing, SpanAsked};
use crate::http::wire::{Amount, Time, amount};
use crate::named_enum;
use crate::workers::history::DayPoint;
use axum::Json;
use axum::extract::{Path, State};
use chrono::{Datelike as _, NaiveDate, Weekday};
use serde::Serialize;
use utoipa::ToSchema;

named_enum! {
    /// Which days of a span are shown.
    Every {
        /// Every day.
        Day = "1d",
        /// The last day of every week, which is Sunday.
        Week = "1w",
        /// The last day of every month.
        Month = "1M",
    }
}

impl Every {
    /// Whether `day` is the last of its interval.
    fn ends_on(self, day: NaiveDate) -> bool {
        match self {
            Self::Day => true,
            Self::Week => day.weekday() == Weekday::Sun,
            Self::Month => day.succ_opt().is_none_or(|next| next.month() != day.month()),
        }
    }
}

/// A portfolio at the end of a day, in base currency.
#[derive(Debug, Serialize, ToSchema)]
pub struct PointView {
    #[schema(example = "2026-01-31")]
    date: String,
    /// What it is worth; `null` when a price or rate is missing.
    value: Option<Amount>,
    /// Deposits less withdrawals since the beginning, assets at the cost they brought or took.
    net_contributions: Option<Amount>,
    /// `value - net_contributions`.
    total_gain: Option<Amount>,
    /// Time-weighted return since the first day shown; `null` when a day before had none.
    time_weighted_return: Option<Amount>,
    /// How far wealth that grows by it lies below its peak since the first day, as a fraction of the peak.
    drawdown: Option<Amount>,
}

impl From<&DayPoint> for PointView {
    fn from(point: &DayPoint) -> Self {
        Self {
            date: point.day.to_string(),
            value: amount(point.stop.whole.value.as_ref()),
            net_contributions: amount(point.stop.contributions.as_ref()),
            total_gain: amount(point.gain.as_ref()),
            time_weighted_return: amount(point.time_weighted_return.as_ref().ok()),
            drawdown: amount(point.drawdown.as_ref().ok()),
        }
    }
}

/// A portfolio day by day.
#[derive(Debug, Serialize, ToSchema)]
pub struct HistoryView {
    #[schema(example = true)]
    success: bool,
    portfolio_id: PortfolioId,
    base_currency: Currency,
    #[schema(example = "2025-12-31")]
    from: String,
    #[schema(example = "2026-06-30")]
    to: String,
    interval: Every,
    /// Zone in which the days are counted.
    #[schema(example = "UTC")]
    time_zone: String,
    known_at: Option<Time>,
    conventions: ConventionsView,
    /// The days shown: the first, those that end an interval, and the last.
    points: Vec<PointView>,
    /// Prices and rates that were missing, day by day.
    missing: Vec<DayMissing>,
}

/// Read a portfolio's history
///
/// Value, net contributions, gain, time-weighted return and drawdown at the end of each day. Days are counted in the
/// portfolio's zone. Returns and drawdown are computed from every day, whichever are shown.
#[utoipa::path(get, path = "/portfolios/{portfolio}/history", operation_id = "portfolio_history", tag = "pnl",
    params(("portfolio" = String, Path, description = "Id"),
        ("from" = Option<String>, Query, description = "First day; the eve of the first entry when left out"),
        ("to" = Option<String>, Query, description = "Last day; today when left out"),
        ("interval" = Option<String>, Query, description = "1d (default), 1w or 1M"),
        ("known_at" = Option<String>, Query, description = "As known then"),
        OtherConventions),
    responses((status = 200, description = "History", body = HistoryView)))]
pub async fn portfolio_history(
    State(app): State<AppState>,
    caller: Caller<PortfoliosRead>,
    Path(id): Path<String>,
    mut query: Query,
) -> Result<Json<HistoryView>, ApiError> {
    let known_at = reading::known_at(&app, &mut query).await?;
    let mut tx = app.db.read().await?;
    let portfolio = reading::portfolio_known(&mut tx, &caller, &id, known_at).await?;
    let asked = SpanAsked::of_query(&mut query, portfolio.time_zone, known_at, app.clock.now());
    let interval = query.one_of("interval", Every::NAMES, Every::from_name).unwrap_or(Every::Day);
    query.finish()?;
    let loaded = asked.load(&mut tx, &portfolio, &[]).await?;
    let days = loaded.history()?;
    let (first, last) = (loaded.days.first().copied(), loaded.days.last().copied());
    let shown = |point: &&DayPoint| {
        let day = Some(point.day);
        day == first || day == last || interval.ends_on(point.day)
    };
    let missing = days
        .iter()
        .flat_map(|point| point.stop.gaps.iter().map(|gap| DayMissing::of(point.day, *gap, &loaded)));
    Ok(Json(HistoryView {
        success: true,
        portfolio_id: portfolio.id,
        base_currency: portfolio.base_currency,
        from: first.unwrap_or_default().to_string(),
        to: last.unwrap_or_default().to_string(),
        interval,
        time_zone: loaded.zone.to_string(),
        known_at: known_at.map(Time),
        conventions: ConventionsView::from(&loaded.conventions),
        points: days.iter().filter(shown).map(PointView::from).collect(),
        missing: missing.collect(),
    }))
}
