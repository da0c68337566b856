//! Prices: one point in, histories and latest points out.

use crate::domain::decimal::Decimal;
use crate::domain::ids::{AssetKey, PortfolioId, PositionId};
use crate::domain::interval::Interval;
use crate::domain::moment::Moment;
use crate::domain::price::{Bar, DEFAULT_SOURCE, FUTURE_MAX, InvalidQuote, Mark, Outcome, PricePoint, Quote};
use crate::http::AppState;
use crate::http::auth::{Caller, PricesRead, PricesWrite};
use crate::http::error::{ApiError, Code, FieldError, Problem};
use crate::http::fields::{Fields, Unknown};
use crate::http::posted::{Answer, Posted, deed};
use crate::http::query::Query;
use crate::http::reading;
use crate::http::wire::Time;
use crate::storage::assets;
use crate::storage::database::Tx;
use crate::storage::figures::OpenPosition;
use crate::storage::listings::Listing;
use crate::storage::prices;
use crate::workers::intake::{self, Meter, Refused, SeriesName, Tally};
use crate::workers::listings;
use crate::workers::quotes::{self, Continued, NotRecorded, Single};
use axum::Json;
use axum::extract::{Path, State};
use chrono_tz::Tz;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// Most symbols one read of latest prices takes.
const SYMBOLS_MAX: usize = 1_000;

/// A price point.
#[derive(Debug, Serialize, ToSchema)]
pub struct PriceView {
    #[schema(example = "GOLD")]
    symbol: String,
    price: Decimal,
    open: Option<Decimal>,
    high: Option<Decimal>,
    low: Option<Decimal>,
    volume: Option<Decimal>,
    /// The source's own stamp.
    observed_at: Time,
    #[schema(example = "api")]
    source: String,
    /// Candle length; empty for a tick.
    #[schema(example = "1d")]
    interval: String,
    /// When this version was learned.
    recorded_at: Time,
}

impl PriceView {
    /// A point of an asset.
    pub fn of(symbol: &str, point: PricePoint) -> Self {
        let (price, Bar { open, high, low, volume }) = point.quote.into_parts();
        Self {
            symbol: symbol.to_owned(),
            price,
            open,
            high,
            low,
            volume,
            observed_at: Time(point.observed_at),
            source: point.source,
            interval: point.interval,
            recorded_at: Time(point.recorded_at),
        }
    }

    /// Its fields as text, in the order of [`COLUMNS`].
    pub fn cells(self) -> [String; COLUMNS.len()] {
        let or_empty = |number: Option<Decimal>| number.map(|number| number.to_string()).unwrap_or_default();
        [
            self.symbol,
            self.price.to_string(),
            or_empty(self.open),
            or_empty(self.high),
            or_empty(self.low),
            or_empty(self.volume),
            self.observed_at.0.to_string(),
            self.source,
            self.interval,
            self.recorded_at.0.to_string(),
        ]
    }
}

/// Fields of a price point, as a table names them.
pub const COLUMNS: [&str; 10] =
    ["symbol", "price", "open", "high", "low", "volume", "observed_at", "source", "interval", "recorded_at"];

/// A price to record. `ticker` is another spelling of `symbol`, `close` of `price`.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the shape of the request; fields are read one by one to collect every fault")]
pub struct NewPrice {
    #[schema(example = "GOLD")]
    symbol: Option<String>,
    #[schema(example = "GOLD")]
    ticker: Option<String>,
    price: Option<Decimal>,
    close: Option<Decimal>,
    /// RFC 3339; without a zone it is UTC. Default now.
    #[schema(example = "2026-01-31T16:00:00Z")]
    timestamp: Option<String>,
    /// Default `api`.
    #[schema(example = "api")]
    source: Option<String>,
    /// Candle length; none for a tick.
    #[schema(example = "1d")]
    interval: Option<String>,
    open: Option<Decimal>,
    high: Option<Decimal>,
    low: Option<Decimal>,
    volume: Option<Decimal>,
}

/// An open position that the price touches.
#[derive(Debug, Serialize, ToSchema)]
pub struct UpdatedPosition {
    portfolio_id: PortfolioId,
    position_id: PositionId,
}

impl UpdatedPosition {
    /// The open positions of an asset that a caller may see: none for one that may not read portfolios.
    ///
    /// # Errors
    /// The database's.
    pub async fn of<S>(tx: &mut Tx, caller: &Caller<S>, asset: AssetKey) -> Result<Vec<Self>, ApiError> {
        Ok(Self::seen(&quotes::open_positions(tx, asset).await?, caller))
    }

    /// Those of some open positions that a caller may see.
    fn seen<S>(open: &[OpenPosition], caller: &Caller<S>) -> Vec<Self> {
        let seen = open.iter().filter(|open| caller.is_shown(&open.owner_id, open.portfolio_id));
        seen.map(|open| Self { portfolio_id: open.portfolio_id, position_id: open.position_id }).collect()
    }
}

/// What became of a price.
#[derive(Debug, Serialize, ToSchema)]
pub struct PriceRecorded {
    #[schema(example = true)]
    success: bool,
    /// Every open position of the asset that the caller may see, whatever the outcome.
    updated_positions: Vec<UpdatedPosition>,
    outcome: Outcome,
}

/// A price as it was sent.
#[derive(Debug)]
pub struct Sent {
    /// Whether the price was spelled `close`.
    pub as_close: bool,
    /// Symbol of its asset, upper-case.
    pub symbol: String,
    /// What it says.
    pub quote: Quote,
    /// When it was observed, if it says so.
    pub observed_at: Option<Moment>,
    /// Who says so.
    pub source: String,
    /// Candle length; none for a tick.
    pub interval: Option<Interval>,
}

fn either<T: PartialEq>(
    fields: &mut Fields<'_>,
    names: [&'static str; 2],
    values: [Option<T>; 2],
) -> Option<T> {
    let [first, second] = values;
    if first.is_some() && second.is_some() && first != second {
        fields.fault(
            names[1],
            "contradicts",
            format!("is another spelling of {} and must not differ from it", names[0]),
        );
    }
    first.or(second)
}

impl Sent {
    /// The fault at the spelling of the price that was sent.
    pub fn spelled(&self, mut fault: FieldError) -> FieldError {
        if self.as_close && fault.pointer.as_deref() == Some("/price") {
            fault.pointer = Some("/close".to_owned());
        }
        fault
    }

    /// The same without its spelling.
    fn single(&self) -> Single {
        let Self { symbol, source, interval, observed_at, quote, .. } = self;
        let (symbol, source, quote) = (symbol.clone(), source.clone(), quote.clone());
        Single { symbol, source, interval: *interval, observed_at: *observed_at, quote }
    }

    /// The series it continues.
    pub fn series(&self) -> SeriesName {
        SeriesName { symbol: self.symbol.clone(), source: self.source.clone(), interval: self.interval }
    }

    /// Name of its candle length; empty for a tick.
    pub fn candle(&self) -> &'static str {
        self.interval.map_or("", Interval::name)
    }

    /// Reads the fields of a price that says itself when it was observed.
    pub fn read_dated(fields: &mut Fields<'_>, now: Moment) -> Self {
        let sent = Self::read(fields, now);
        if sent.observed_at.is_none() && fields.raw("timestamp").is_none() {
            fields.fault("timestamp", "required", "is required where prices are many");
        }
        sent
    }

    /// Reads the fields of a price; `now` bounds how far ahead it may be dated.
    pub fn read(fields: &mut Fields<'_>, now: Moment) -> Self {
        let symbols = [fields.opt_name("symbol", 20), fields.opt_name("ticker", 20)];
        let symbol = either(fields, ["symbol", "ticker"], symbols);
        if symbol.is_none() && fields.raw("symbol").is_none() && fields.raw("ticker").is_none() {
            fields.fault("symbol", "required", "is required");
        }
        let prices = [fields.opt_decimal("price"), fields.opt_decimal("close")];
        let as_close = prices[0].is_none();
        let price = either(fields, ["price", "close"], prices);
        if price.is_none() && fields.raw("price").is_none() && fields.raw("close").is_none() {
            fields.fault("price", "required", "is required");
        }
        let observed_at = fields.opt_utc("timestamp");
        if observed_at.is_some_and(|at| at > now.plus(FUTURE_MAX)) {
            fields.fault("timestamp", "in_the_future", "lies more than 24 h ahead of the clock");
        }
        let interval = fields.opt_text("interval").filter(|text| !text.is_empty());
        let named = interval.as_deref().and_then(Interval::from_name);
        if interval.is_some() && named.is_none() {
            fields.fault(
                "interval",
                "unknown_value",
                format!("must be one of {}", Interval::NAMES.join(", ")),
            );
        }
        Self {
            as_close,
            symbol: symbol.unwrap_or_default().to_uppercase(),
            quote: Quote::new(
                price.unwrap_or_default(),
                Bar {
                    open: fields.opt_decimal("open"),
                    high: fields.opt_decimal("high"),
                    low: fields.opt_decimal("low"),
                    volume: fields.opt_decimal("volume"),
                },
            ),
            observed_at,
            source: fields.opt_name("source", 64).unwrap_or_else(|| DEFAULT_SOURCE.to_owned()),
            interval: named,
        }
    }
}

/// A quote that breaks a rule, as a fault of the request.
pub fn invalid_quote(error: &InvalidQuote) -> FieldError {
    let refused = Refused::from(error);
    FieldError::at(format!("/{}", refused.field), refused.code, refused.detail)
}

/// Record a price
#[utoipa::path(post, path = "/prices", operation_id = "record_price", tag = "prices", request_body = NewPrice,
    responses((status = 200, description = "Recorded", body = PriceRecorded),
        (status = 404, description = "No such asset", body = Problem, content_type = "application/problem+json")))]
pub async fn record_price(
    State(app): State<AppState>,
    caller: Caller<PricesWrite>,
    posted: Posted,
) -> Result<Answer, ApiError> {
    let unreadable = |_: &ApiError| intake::count_unreadable(1);
    let mut fields = Fields::of_body(&posted.bytes).inspect_err(unreadable)?;
    let now = app.clock.now();
    let sent = Sent::read(&mut fields, now);
    fields.finish(Unknown::Ignored).inspect_err(unreadable)?;
    let (actor, source, meter) = (Arc::clone(&caller.actor), sent.source.clone(), Meter::default());
    let single = sent.single();
    let (quick, asking, noted) = (single.clone(), caller.clone(), meter.clone());
    let at_once = move |tx: &mut Tx| {
        let Continued { outcome, open } = quick.continue_series(tx, now)?;
        noted.note(Tally::of(&quick.source, &[outcome]));
        let updated_positions = UpdatedPosition::seen(&open, &asking);
        Some(Answer::ok(&PriceRecorded { success: true, updated_positions, outcome }))
    };
    let noted = meter.clone();
    let work = deed(move |tx| {
        Box::pin(async move {
            let (asset, outcome) = single.record(tx, now).await.map_err(|error| match error {
                NotRecorded::UnknownAsset => reading::no_such_asset().named_at("/symbol"),
                NotRecorded::Invalid(error) => ApiError::invalid(vec![sent.spelled(invalid_quote(&error))]),
                NotRecorded::Storage(error) => error.into(),
            })?;
            noted.note(Tally::of(&sent.source, &[outcome]));
            let updated_positions = UpdatedPosition::of(tx, &caller, asset).await?;
            Answer::ok(&PriceRecorded { success: true, updated_positions, outcome })
        })
    });
    let answer = posted.once_at_once(&app, actor, at_once, work).await;
    match &answer {
        Ok(_) => meter.publish(),
        Err(error) if error.is_refusal() => Tally::refused(&source, 1).publish(),
        Err(_) => {}
    }
    answer
}

/// Read the latest price of several assets
///
/// In the order asked; an asset without a price has `null`.
#[utoipa::path(get, path = "/prices/latest", operation_id = "latest_prices", tag = "prices",
    params(("symbols" = String, Query, description = "Symbols separated by commas, at most 1000")),
    responses((status = 200, description = "Latest points", body = [LatestPrice])))]
pub async fn latest_prices(
    State(app): State<AppState>,
    _: Caller<PricesRead>,
    mut query: Query,
) -> Result<Json<Vec<LatestPrice>>, ApiError> {
    let symbols = query.required("symbols");
    let names: Vec<&str> = symbols.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    if names.len() > SYMBOLS_MAX {
        query.fault("symbols", "too_many", format!("names more than {SYMBOLS_MAX} symbols"));
    }
    query.finish()?;
    if let Some(held) = quotes::newest(&app.db, &names) {
        return Ok(Json(held.into_iter().map(|(listing, mark)| LatestPrice::of(&listing, mark)).collect()));
    }
    let mut tx = app.db.read().await?;
    let mut listings = Vec::with_capacity(names.len());
    for name in names {
        let listing = listings::find(&mut tx, name).await?.ok_or_else(|| {
            let fault =
                FieldError::parameter("symbols", "unknown_symbol", format!("`{name}` is not a known symbol"));
            ApiError { errors: vec![fault], ..reading::no_such_asset() }
        })?;
        listings.push(listing);
    }
    let keys: Vec<AssetKey> = listings.iter().map(|listing| listing.asset.key).collect();
    let marks = prices::latest(&mut tx, &keys).await?;
    let latest = |listing: Arc<Listing>| {
        let mark = marks.get(&listing.asset.key).cloned();
        LatestPrice::of(&listing, mark)
    };
    Ok(Json(listings.into_iter().map(latest).collect()))
}

/// The newest price of an asset, or nulls when it has none.
#[derive(Debug, Serialize, ToSchema)]
pub struct LatestPrice {
    #[schema(example = "GOLD")]
    symbol: String,
    currency: crate::domain::currency::Currency,
    price: Option<Decimal>,
    observed_at: Option<Time>,
    #[schema(example = "api")]
    source: Option<String>,
    #[schema(example = "1d")]
    interval: Option<String>,
    recorded_at: Option<Time>,
}

impl LatestPrice {
    fn of(listing: &Listing, mark: Option<Mark>) -> Self {
        let (mut price, mut source, mut interval) = (None, None, None);
        let (mut observed_at, mut recorded_at) = (None, None);
        if let Some(mark) = mark {
            (observed_at, recorded_at) = (Some(Time(mark.observed_at)), Some(Time(mark.recorded_at)));
            (price, source, interval) = (Some(mark.price), Some(mark.source), Some(mark.interval));
        }
        let (symbol, currency) = (listing.asset.symbol.clone(), listing.asset.currency);
        Self { symbol, currency, price, observed_at, source, interval, recorded_at }
    }
}

/// Read the price of an asset at a moment
///
/// The newest point observed at or before `as_of`, as known at `known_at`.
#[utoipa::path(get, path = "/assets/{asset}/price", operation_id = "price_of_asset", tag = "prices",
    params(("asset" = String, Path, description = "Symbol or id"),
        ("as_of" = Option<String>, Query, description = "At this moment, or at the end of this day in UTC"),
        ("known_at" = Option<String>, Query, description = "As known then")),
    responses((status = 200, description = "The price", body = PriceView),
        (status = 404, description = "No price yet", body = Problem, content_type = "application/problem+json")))]
pub async fn price_of_asset(
    State(app): State<AppState>,
    _: Caller<PricesRead>,
    Path(name): Path<String>,
    mut query: Query,
) -> Result<Json<PriceView>, ApiError> {
    let as_of = query.until("as_of", Tz::UTC).unwrap_or(Moment::MAX);
    let known_at = reading::known_at(&app, &mut query).await?.unwrap_or(Moment::MAX);
    query.finish()?;
    let mut tx = app.db.read().await?;
    let asset = reading::asset(&mut tx, &name).await?;
    let history = assets::terms(&mut tx, &[asset.key], known_at).await?;
    let priority =
        history.at(asset.key, as_of).map(|terms| terms.source_priority.clone()).unwrap_or_default();
    let point = prices::at(&mut tx, asset.key, &priority, as_of, known_at)
        .await?
        .ok_or_else(|| ApiError::new(Code::PriceNotFound, format!("{} has no price then", asset.symbol)))?;
    Ok(Json(PriceView::of(&asset.symbol, point)))
}
