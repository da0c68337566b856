//! Markets.

use crate::domain::audit::Entry;
use crate::domain::currency::Currency;
use crate::domain::ids::{MarketId, MarketKey};
use crate::domain::market::{Market, MarketStatus, MarketType};
use crate::domain::moment::Moment;
use crate::http::AppState;
use crate::http::auth::{Caller, MarketsRead, MarketsWrite};
use crate::http::error::{ApiError, Code, Problem};
use crate::http::fields::{Fields, Unknown};
use crate::http::posted::{Answer, Posted, deed};
use crate::http::query::Query;
use crate::http::reading;
use crate::http::tagged::{Tagged, check_match};
use crate::http::wire::{Metadata, Time};
use crate::storage::markets::{self, MarketFilter, MarketSort};
use crate::storage::page::After;
use crate::storage::transactions;
use crate::workers::actions;
use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use chrono::NaiveTime;
use chrono_tz::Tz;
use serde::Serialize;
use utoipa::ToSchema;

/// A market.
#[derive(Debug, Serialize, ToSchema)]
pub struct MarketView {
    id: MarketId,
    created_at: Time,
    updated_at: Time,
    #[schema(example = "COMEX", pattern = "^.{1,10}$")]
    code: String,
    #[schema(example = "COMEX (Gold Futures)")]
    name: String,
    market_type: MarketType,
    status: MarketStatus,
    #[schema(example = "America/New_York")]
    timezone: String,
    currency: Currency,
    #[schema(example = "09:30:00", pattern = "^[0-9]{2}:[0-9]{2}:[0-9]{2}$")]
    opening_time: Option<String>,
    #[schema(example = "16:00:00", pattern = "^[0-9]{2}:[0-9]{2}:[0-9]{2}$")]
    closing_time: Option<String>,
    /// 0 = Monday to 6 = Sunday.
    #[schema(example = json!([0, 1, 2, 3, 4]))]
    trading_days: Vec<u8>,
    metadata: Metadata,
    /// Counts changes; `If-Match: "v<version>"` guards an update.
    #[schema(example = 1)]
    version: i64,
}

impl From<Market> for MarketView {
    fn from(market: Market) -> Self {
        let shown = |time: NaiveTime| time.format("%H:%M:%S").to_string();
        Self {
            id: market.id,
            created_at: Time(market.created_at),
            updated_at: Time(market.updated_at),
            code: market.code,
            name: market.name,
            market_type: market.market_type,
            status: market.status,
            timezone: market.time_zone.name().to_owned(),
            currency: market.currency,
            opening_time: market.opening_time.map(shown),
            closing_time: market.closing_time.map(shown),
            trading_days: market.trading_days,
            metadata: Metadata::of(&market.metadata),
            version: market.version,
        }
    }
}

/// A market just created.
#[derive(Debug, Serialize, ToSchema)]
pub struct MarketCreated {
    #[schema(example = true)]
    success: bool,
    #[serde(flatten)]
    market: MarketView,
}

/// A market to create.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the shape of the request; fields are read one by one to collect every fault")]
pub struct NewMarket {
    /// 1 to 10 characters, upper-cased, unique.
    #[schema(example = "COMEX")]
    code: String,
    #[schema(example = "COMEX (Gold Futures)")]
    name: String,
    market_type: MarketType,
    /// IANA name.
    #[schema(example = "America/New_York")]
    timezone: String,
    /// Default USD.
    currency: Option<Currency>,
    #[schema(example = "09:30")]
    opening_time: Option<String>,
    #[schema(example = "16:00")]
    closing_time: Option<String>,
    /// 0 = Monday to 6 = Sunday; default Monday to Friday.
    #[schema(example = json!([0, 1, 2, 3, 4]))]
    trading_days: Option<Vec<u8>>,
    metadata: Option<Metadata>,
}

/// Changes to a market (RFC 7396 merge patch).
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the shape of the request; fields are read one by one to collect every fault")]
pub struct MarketPatch {
    #[schema(example = "COMEX")]
    name: Option<String>,
    market_type: Option<MarketType>,
    status: Option<MarketStatus>,
    #[schema(example = "America/New_York")]
    timezone: Option<String>,
    currency: Option<Currency>,
    #[schema(example = "09:30")]
    opening_time: Option<String>,
    #[schema(example = "16:00")]
    closing_time: Option<String>,
    #[schema(example = json!([0, 1, 2, 3, 4]))]
    trading_days: Option<Vec<u8>>,
    metadata: Option<Metadata>,
}

fn zone(fields: &mut Fields<'_>, name: &str) -> Option<Tz> {
    let zone = name.parse().ok();
    if zone.is_none() && !name.is_empty() {
        fields.fault(
            "timezone",
            "unknown_zone",
            "must be the IANA name of a time zone, such as Europe/Zurich",
        );
    }
    zone
}

fn time_of_day(fields: &mut Fields<'_>, name: &'static str) -> Option<NaiveTime> {
    let text = fields.opt_text(name)?;
    let time =
        NaiveTime::parse_from_str(&text, "%H:%M:%S").or_else(|_| NaiveTime::parse_from_str(&text, "%H:%M"));
    if time.is_err() {
        fields.fault(name, "not_a_time", "must be a time of day such as 09:30");
    }
    time.ok()
}

fn trading_days(fields: &mut Fields<'_>) -> Option<Vec<u8>> {
    let mut days: Vec<u8> = fields.opt_value("trading_days", "a list of days from 0 to 6")?;
    days.sort_unstable();
    days.dedup();
    if days.iter().any(|day| *day > 6) {
        fields.fault("trading_days", "out_of_range", "must hold days from 0 (Monday) to 6 (Sunday)");
    }
    Some(days)
}

/// List markets
///
/// In order of entry unless `sort` says otherwise.
#[utoipa::path(get, path = "/markets", operation_id = "list_markets", tag = "markets",
    params(
        ("type" = Option<MarketType>, Query, description = "Only markets of this type"),
        ("status" = Option<MarketStatus>, Query, description = "Only markets in this status"),
        ("q" = Option<String>, Query, description = "Only markets with this text in code or name"),
        ("sort" = Option<String>, Query, description = "created_at, code or name; `-` before it sorts from the greatest"),
        ("limit" = Option<i64>, Query, description = "Rows wanted, at most 1000"),
        ("cursor" = Option<String>, Query, description = "From the `Link` header of the page before"),
    ),
    responses((status = 200, description = "Markets", body = [MarketView])))]
pub async fn list_markets(
    State(app): State<AppState>,
    _: Caller<MarketsRead>,
    mut query: Query,
) -> Result<Response, ApiError> {
    let filter = MarketFilter {
        market_type: query.one_of("type", MarketType::NAMES, MarketType::from_name),
        status: query.one_of("status", MarketStatus::NAMES, MarketStatus::from_name),
        text: query.text("q"),
    };
    let page = query.page(MarketSort::CreatedAt, MarketSort::NAMES, MarketSort::from_name);
    query.finish()?;
    let mut tx = app.db.read().await?;
    let rows = markets::list(&mut tx, &filter, &page).await?;
    let full = i64::try_from(rows.len()).is_ok_and(|count| count == page.limit);
    let last = rows.last().filter(|_| full).map(|market| match page.sort {
        MarketSort::CreatedAt => After { value: market.key.0.to_string(), key: market.key.0 },
        MarketSort::Code => After { value: market.code.clone(), key: market.key.0 },
        MarketSort::Name => After { value: market.name.clone(), key: market.key.0 },
    });
    let sort = query.sort_text();
    let link = last.map(|after| query.next_link(&sort, &after)).unwrap_or_default();
    let views: Vec<MarketView> = rows.into_iter().map(MarketView::from).collect();
    Ok((link, Json(views)).into_response())
}

/// Read a market by id or code
#[utoipa::path(get, path = "/markets/{market}", operation_id = "get_market", tag = "markets",
    params(("market" = String, Path, description = "Id or code")),
    responses((status = 200, description = "The market", body = MarketView)))]
pub async fn get_market(
    State(app): State<AppState>,
    _: Caller<MarketsRead>,
    Path(name): Path<String>,
    mut query: Query,
) -> Result<Tagged<MarketView>, ApiError> {
    query.finish()?;
    let mut tx = app.db.read().await?;
    let market = reading::market(&mut tx, &name).await?;
    Ok(Tagged { version: market.version, body: market.into() })
}

/// Create a market
#[utoipa::path(post, path = "/markets", operation_id = "create_market", tag = "markets", request_body = NewMarket,
    responses((status = 201, description = "Created", body = MarketCreated),
        (status = 409, description = "The code is taken", body = Problem, content_type = "application/problem+json")))]
pub async fn create_market(
    State(app): State<AppState>,
    caller: Caller<MarketsWrite>,
    posted: Posted,
) -> Result<Answer, ApiError> {
    let mut fields = Fields::of_body(&posted.bytes)?;
    let code = fields.text("code", 10).trim().to_uppercase();
    let name = fields.text("name", 255);
    let market_type = fields.text("market_type", 64);
    let zone_name = fields.text("timezone", 64);
    let time_zone = zone(&mut fields, &zone_name).unwrap_or(Tz::UTC);
    let currency = fields.opt_text("currency").unwrap_or_else(|| "USD".to_owned());
    let opening_time = time_of_day(&mut fields, "opening_time");
    let closing_time = time_of_day(&mut fields, "closing_time");
    let days = trading_days(&mut fields).unwrap_or_else(|| vec![0, 1, 2, 3, 4]);
    let metadata = fields.metadata().unwrap_or_else(|| "{}".to_owned());
    if fields.is_faulty() && MarketType::from_name(&market_type).is_none() {
        let detail = format!("must be one of {}", MarketType::NAMES.join(", "));
        fields.fault("market_type", "unknown_value", detail);
    }
    fields.finish(Unknown::Ignored)?;
    let market_type = MarketType::from_name(&market_type)
        .ok_or_else(|| ApiError::unknown_value("market_type", MarketType::NAMES))?;
    let id = MarketId(app.random.uuid_v7(app.clock.now())?);
    let work = deed(move |tx| {
        Box::pin(async move {
            let currency = reading::currency(tx, &currency, "/currency").await?;
            if markets::find_by_code(tx, &code).await?.is_some() {
                let detail = format!("Market with code '{code}' already exists");
                return Err(ApiError::field(Code::DuplicateMarket, "/code", "duplicate", detail));
            }
            let market = Market {
                key: MarketKey(0),
                id,
                code,
                name,
                market_type,
                status: MarketStatus::Closed,
                time_zone,
                currency,
                opening_time,
                closing_time,
                trading_days: days,
                metadata,
                version: 1,
                created_at: Moment(0),
                updated_at: Moment(0),
            };
            let market = markets::insert(tx, market).await?;
            let (id, view) = (market.id, MarketView::from(market));
            tx.audit(Entry::created("market.create", id, &view));
            Answer::created(format!("/markets/{id}"), &MarketCreated { success: true, market: view })
        })
    });
    posted.once(&app, caller.actor, work).await
}

/// Change a market
#[utoipa::path(patch, path = "/markets/{market}", operation_id = "update_market", tag = "markets",
    params(("market" = String, Path, description = "Id or code")),
    request_body(content = MarketPatch, content_type = "application/merge-patch+json"),
    responses((status = 200, description = "The market", body = MarketView)))]
pub async fn update_market(
    State(app): State<AppState>,
    caller: Caller<MarketsWrite>,
    Path(name): Path<String>,
    posted: Posted,
) -> Result<Tagged<MarketView>, ApiError> {
    let random = app.random;
    let market = app
        .db
        .writer()
        .write(caller.actor, move |tx| {
            Box::pin(async move {
                let mut market = reading::market(tx, &name).await?;
                let before = MarketView::from(market.clone());
                let zone = market.time_zone;
                check_match(&posted.headers, market.version)?;
                let mut fields = Fields::of_body(&posted.bytes)?;
                let currency = patch_fields(&mut fields, &mut market);
                fields.finish(Unknown::Refused)?;
                if let Some(code) = currency {
                    market.currency = reading::currency(tx, &code, "/currency").await?;
                }
                let market = markets::update(tx, market).await?;
                let after = MarketView::from(market.clone());
                tx.audit(Entry::changed("market.update", market.id, (&before, &after)));
                if market.time_zone != zone {
                    // The days of splits and dividends are days of the market.
                    let holders = transactions::holders_in_market(tx, market.key).await?;
                    actions::refold_all(tx, random, holders).await?;
                }
                Ok::<_, ApiError>(market)
            })
        })
        .await?;
    Ok(Tagged { version: market.version, body: market.into() })
}

/// Merges the given fields into a market; the currency is looked up by the caller.
fn patch_fields(fields: &mut Fields<'_>, market: &mut Market) -> Option<String> {
    fields.not_null(&["name", "market_type", "status", "timezone", "currency", "trading_days"]);
    if let Some(name) = fields.opt_name("name", 255) {
        market.name = name;
    }
    if let Some(kind) = fields.opt_one_of("market_type", MarketType::NAMES, MarketType::from_name) {
        market.market_type = kind;
    }
    if let Some(status) = fields.opt_one_of("status", MarketStatus::NAMES, MarketStatus::from_name) {
        market.status = status;
    }
    if let Some(name) = fields.opt_text("timezone")
        && let Some(zone) = zone(fields, &name)
    {
        market.time_zone = zone;
    }
    if fields.has("opening_time") {
        market.opening_time = time_of_day(fields, "opening_time");
    }
    if fields.has("closing_time") {
        market.closing_time = time_of_day(fields, "closing_time");
    }
    if let Some(days) = trading_days(fields) {
        market.trading_days = days;
    }
    if fields.has("metadata") {
        market.metadata = fields.metadata().unwrap_or_else(|| "{}".to_owned());
    }
    fields.opt_text("currency")
}

/// What [`act_on_market`] does, by name.
pub const ACTIONS: &[(&str, MarketStatus)] =
    &[("open", MarketStatus::Open), ("close", MarketStatus::Closed), ("halt", MarketStatus::Halted)];

/// Open, close or halt a market
#[utoipa::path(post, path = "/markets/{market}/{action}", operation_id = "act_on_market", tag = "markets",
    params(("market" = String, Path, description = "Id or code"),
        ("action" = String, Path, description = "open, close or halt")),
    responses((status = 200, description = "The market", body = MarketView)))]
pub async fn act_on_market(
    State(app): State<AppState>,
    caller: Caller<MarketsWrite>,
    Path((name, action)): Path<(String, String)>,
    mut query: Query,
) -> Result<Tagged<MarketView>, ApiError> {
    query.finish()?;
    let named = ACTIONS.iter().find(|(name, _)| *name == action);
    let (_, status) = *named.ok_or_else(|| ApiError::new(Code::NotFound, "Not Found"))?;
    let market = app
        .db
        .writer()
        .write(caller.actor, move |tx| {
            Box::pin(async move {
                let mut market = reading::market(tx, &name).await?;
                if market.status == status {
                    return Ok::<_, ApiError>(market);
                }
                let before = MarketView::from(market.clone());
                market.status = status;
                let market = markets::update(tx, market).await?;
                let after = MarketView::from(market.clone());
                tx.audit(Entry::changed(format!("market.{action}"), market.id, (&before, &after)));
                Ok(market)
            })
        })
        .await?;
    Ok(Tagged { version: market.version, body: market.into() })
}
