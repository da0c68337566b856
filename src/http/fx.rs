//! Exchange rates.

use crate::domain::audit::Entry;
use crate::domain::currency::Currency;
use crate::domain::decimal::Decimal;
use crate::domain::fx::Leg;
use crate::domain::moment::{Moment, Written, start_of_day};
use crate::domain::price::{DEFAULT_SOURCE, FUTURE_MAX, Outcome};
use crate::http::AppState;
use crate::http::auth::{Caller, PricesRead, PricesWrite};
use crate::http::error::{ApiError, Code};
use crate::http::fields::{Fields, Unknown};
use crate::http::posted::{Answer, Posted, deed};
use crate::http::query::{HISTORY_ROWS, Query};
use crate::http::reading;
use crate::http::wire::{Amount, Time};
use crate::storage::database::Tx;
use crate::storage::error::StorageError;
use crate::storage::page::After;
use crate::storage::rates::{self, RatePoint, RateRange};
use crate::storage::{figures, prices};
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use chrono_tz::Tz;
use serde::Serialize;
use utoipa::ToSchema;

/// A rate: one `base` is `rate` `quote`.
#[derive(Debug, Serialize, ToSchema)]
pub struct RateView {
    base: Currency,
    quote: Currency,
    rate: Decimal,
    timestamp: Time,
    #[schema(example = "api")]
    source: String,
    recorded_at: Time,
}

/// A rate to record.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the shape of the request; fields are read one by one to collect every fault")]
pub struct NewRate {
    /// One unit of
    base: Currency,
    /// is worth in this
    quote: Currency,
    /// this much, above zero.
    rate: Decimal,
    /// RFC 3339 with a zone, or a day: that day at 00:00 UTC. Default now.
    #[schema(example = "2026-01-31T16:00:00Z")]
    timestamp: Option<String>,
    /// Default `api`.
    #[schema(example = "ecb")]
    source: Option<String>,
}

/// What `GET /fx` answers: one rate with `as_of`, else a history.
#[derive(Debug, ToSchema)]
#[serde(untagged)]
pub enum FxAnswer {
    /// With `as_of`.
    One(RateAt),
    /// Without it.
    History(Vec<RateView>),
}

/// What became of a rate.
#[derive(Debug, Serialize, ToSchema)]
pub struct RateRecorded {
    #[schema(example = true)]
    success: bool,
    outcome: Outcome,
    #[serde(flatten)]
    rate: RateView,
}

/// Record an exchange rate
#[utoipa::path(post, path = "/fx", operation_id = "record_rate", tag = "fx", request_body = NewRate,
    responses((status = 200, description = "Recorded", body = RateRecorded)))]
pub async fn record_rate(
    State(app): State<AppState>,
    caller: Caller<PricesWrite>,
    posted: Posted,
) -> Result<Answer, ApiError> {
    let mut fields = Fields::of_body(&posted.bytes)?;
    let (base, quote) = (fields.text("base", 10), fields.text("quote", 10));
    let rate = fields.decimal("rate");
    let observed_at = fields.opt_time("timestamp").map(|written| match written {
        Written::Moment(moment) => moment,
        Written::Day(day) => start_of_day(day, Tz::UTC),
    });
    let source = fields.opt_name("source", 64).unwrap_or_else(|| DEFAULT_SOURCE.to_owned());
    if !rate.is_positive() {
        fields.fault("rate", "not_positive", "must be greater than zero");
    }
    if base == quote {
        fields.fault("quote", "same_currency", "must differ from base");
    }
    let now = app.clock.now();
    if observed_at.is_some_and(|at| at > now.plus(FUTURE_MAX)) {
        fields.fault("timestamp", "in_the_future", "lies more than 24 h ahead of the clock");
    }
    fields.finish(Unknown::Refused)?;
    let work = deed(move |tx| {
        Box::pin(async move {
            let (base, quote) = pair(tx, (&base, "/base"), (&quote, "/quote")).await?;
            let key = prices::source(tx, &source).await?;
            let observed_at = match observed_at {
                Some(stated) => stated,
                None => free_moment(tx, (base, quote), &source, now).await?,
            };
            let point = RatePoint { base, quote, observed_at, source, recorded_at: tx.recorded_at()?, rate };
            let outcome = rates::record(tx, key, &point).await?;
            let rate = view(point);
            if outcome != Outcome::Duplicate {
                figures::mark_stale(tx, observed_at).await?;
                tx.audit(Entry::created("rate.record", format!("{base}/{quote}"), &rate));
            }
            Answer::ok(&RateRecorded { success: true, outcome, rate })
        })
    });
    posted.once(&app, caller.actor, work).await
}

/// Two units of money; both are looked up, so that both faults are told.
async fn pair(
    tx: &mut Tx,
    (base, base_at): (&str, &str),
    (quote, quote_at): (&str, &str),
) -> Result<(Currency, Currency), ApiError> {
    match (reading::currency(tx, base, base_at).await, reading::currency(tx, quote, quote_at).await) {
        (Ok(base), Ok(quote)) => Ok((base, quote)),
        (Err(mut first), Err(second)) => {
            first.errors.extend(second.errors);
            Err(ApiError::invalid(first.errors))
        }
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

/// The first moment from `now` on that this source has no rate of the pair for: rates that arrive together
/// without a timestamp are different rates.
async fn free_moment(
    tx: &mut Tx,
    (base, quote): (Currency, Currency),
    source: &str,
    now: Moment,
) -> Result<Moment, ApiError> {
    let mut moment = now;
    loop {
        let range = RateRange {
            base,
            quote,
            from: moment,
            until: moment.plus(1),
            known_at: Moment::MAX,
            limit: HISTORY_ROWS,
        };
        if rates::history(tx, range).await?.iter().all(|point| point.source != source) {
            return Ok(moment);
        }
        moment = moment.plus(1);
    }
}

fn view(point: RatePoint) -> RateView {
    RateView {
        base: point.base,
        quote: point.quote,
        rate: point.rate,
        timestamp: Time(point.observed_at),
        source: point.source,
        recorded_at: Time(point.recorded_at),
    }
}

/// An observation that a rate is made of.
#[derive(Debug, Serialize, ToSchema)]
pub struct RateLeg {
    #[serde(flatten)]
    observation: RateView,
    /// Seconds from the observation to the moment asked about.
    #[schema(example = 86400)]
    age: i64,
}

/// The rate of a pair at a moment: one `base` is `numerator / denominator` `quote`.
#[derive(Debug, Serialize, ToSchema)]
pub struct RateAt {
    #[schema(example = true)]
    success: bool,
    base: Currency,
    quote: Currency,
    /// The fraction, divided once, half-even, to 34 significant digits.
    rate: Amount,
    /// The exact rate is this
    numerator: Amount,
    /// divided by this.
    denominator: Amount,
    /// The moment asked about.
    as_of: Time,
    /// Knowledge asked for; `null` for everything.
    known_at: Option<Time>,
    /// The older of the observations used; `null` between units of one currency, which need none.
    observed_at: Option<Time>,
    /// Seconds from then to `as_of`.
    #[schema(example = 86400)]
    age: Option<i64>,
    /// The third currency it goes through, if it does.
    via: Option<Currency>,
    /// The observations it is made of.
    legs: Vec<RateLeg>,
}

/// The recorded points behind the legs of a rate: of several sources of one moment the later recorded, which is the one
/// that counts.
///
/// # Errors
/// The database's.
pub async fn points_of(
    tx: &mut Tx,
    legs: &[Leg<'_>],
    known_at: Moment,
) -> Result<Vec<RatePoint>, StorageError> {
    let mut points = Vec::with_capacity(legs.len());
    for leg in legs {
        let until = leg.observed_at.plus(1);
        let (base, quote, from) = (leg.base, leg.quote, leg.observed_at);
        let range = RateRange { base, quote, from, until, known_at, limit: HISTORY_ROWS };
        points.extend(rates::history(tx, range).await?.pop());
    }
    Ok(points)
}

/// The rate of a pair at a moment, as a conversion at that moment uses it.
async fn rate_at(
    tx: &mut Tx,
    (base, quote): (Currency, Currency),
    as_of: Moment,
    known_at: Option<Moment>,
) -> Result<RateAt, ApiError> {
    let known = rates::newest(tx, as_of, known_at.unwrap_or(Moment::MAX)).await?;
    let (Some(rate), Some(legs)) = (known.rate(base, quote, as_of), known.legs(base, quote, as_of)) else {
        let detail = format!("no rate leads from {base} to {quote} at or before {as_of}");
        return Err(ApiError::new(Code::RateNotFound, detail));
    };
    let age = |observed_at: Moment| as_of.0.saturating_sub(observed_at.0).div_euclid(1_000_000);
    let via = match legs.as_slice() {
        [first, _] if first.inverted => Some(first.base),
        [first, _] => Some(first.quote),
        _ => None,
    };
    let points = points_of(tx, &legs, known_at.unwrap_or(Moment::MAX)).await?.into_iter();
    let observations = points.map(|point| RateLeg { age: age(point.observed_at), observation: view(point) });
    Ok(RateAt {
        success: true,
        base,
        quote,
        rate: Amount(rate.convert(&Decimal::ONE)),
        numerator: Amount(rate.numerator),
        denominator: Amount(rate.denominator),
        as_of: Time(as_of),
        known_at: known_at.map(Time),
        observed_at: rate.observed_at.map(Time),
        age: rate.observed_at.map(age),
        via,
        legs: observations.collect(),
    })
}

/// Read the rates of a pair
///
/// With `as_of` the answer is the one rate that a conversion at that moment uses: the newest observation at or before
/// it, as quoted, inverted, or through a third currency. Without it, the history of the pair as it was quoted.
#[utoipa::path(get, path = "/fx", operation_id = "list_rates", tag = "fx",
    params(
        ("base" = String, Query, description = "Currency one unit is of"),
        ("quote" = String, Query, description = "Currency its worth is told in"),
        ("as_of" = Option<String>, Query, description = "The rate at this moment, at the end of this day (UTC), or `now`; not beside from, to, limit or cursor"),
        ("from" = Option<String>, Query, description = "From this moment or day"),
        ("to" = Option<String>, Query, description = "Up to this moment, not included, or through this day"),
        ("known_at" = Option<String>, Query, description = "As known then"),
        ("limit" = Option<i64>, Query, description = "Rows wanted, at most 10000"),
        ("cursor" = Option<String>, Query, description = "From the `Link` header of the page before"),
    ),
    responses((status = 200, description = "Rates in order of time; with `as_of` one `RateAt`", body = FxAnswer)))]
pub async fn list_rates(
    State(app): State<AppState>,
    _: Caller<PricesRead>,
    mut query: Query,
) -> Result<Response, ApiError> {
    let (base, quote) = (query.required("base"), query.required("quote"));
    let as_of = match query.text("as_of").as_deref() {
        Some("now") => Some(app.clock.now()),
        _ => query.until("as_of", Tz::UTC),
    };
    let from = query.from("from", Tz::UTC).unwrap_or(Moment::MIN);
    let until = query.before("to", Tz::UTC).unwrap_or(Moment::MAX);
    let limit = query.limit(HISTORY_ROWS);
    // The page before ended at a moment, of which it held so many rates.
    let after = query.cursor("rates").and_then(|after| Some((Moment(after.value.parse().ok()?), after.key)));
    let known_at = reading::known_at(&app, &mut query).await?;
    if as_of.is_some() {
        for name in ["from", "to", "limit", "cursor"] {
            if query.text(name).is_some() {
                query.fault(name, "contradicts", "belongs to a history; as_of asks for one rate");
            }
        }
    }
    query.finish()?;
    let mut tx = app.db.read().await?;
    let units = pair(&mut tx, (&base, "base"), (&quote, "quote")).await;
    let (base, quote) = units.map_err(ApiError::of_parameters)?;
    if let Some(as_of) = as_of {
        return Ok(Json(rate_at(&mut tx, (base, quote), as_of, known_at).await?).into_response());
    }
    let known_at = known_at.unwrap_or(Moment::MAX);
    let (from, passed) = after.map_or((from, 0), |(moment, passed)| (moment.max(from), passed.max(0)));
    let range = RateRange { base, quote, from, until, known_at, limit: limit.saturating_add(passed) };
    let mut points = rates::history(&mut tx, range).await?;
    let full = points.len() == usize::try_from(range.limit).unwrap_or(usize::MAX);
    let next = points.last().filter(|_| full).map(|last| {
        let held = points.iter().rev().take_while(|point| point.observed_at == last.observed_at).count();
        After { value: last.observed_at.0.to_string(), key: i64::try_from(held).unwrap_or(i64::MAX) }
    });
    points.drain(..points.len().min(usize::try_from(passed).unwrap_or_default()));
    let link = next.map(|after| query.next_link("rates", &after)).unwrap_or_default();
    Ok((link, Json(points.into_iter().map(view).collect::<Vec<RateView>>())).into_response())
}
