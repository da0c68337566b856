//! Assets, and those of their attributes that enter a figure.

use crate::domain::asset::{Asset, AssetStatus, AssetType, Terms};
use crate::domain::audit;
use crate::domain::currency::Currency;
use crate::domain::decimal::Decimal;
use crate::domain::ids::{AssetId, AssetKey, MarketId};
use crate::domain::moment::{Moment, Written};
use crate::http::AppState;
use crate::http::auth::{AssetsRead, AssetsWrite, Caller};
use crate::http::error::{ApiError, Code, FieldError, Problem};
use crate::http::fields::{Fields, Unknown};
use crate::http::posted::{Answer, Posted, deed};
use crate::http::query::Query;
use crate::http::reading;
use crate::http::tagged::{Tagged, check_match};
use crate::http::wire::{Metadata, Time};
use crate::random::Random;
use crate::storage::assets::{self, AssetFilter, AssetSort};
use crate::storage::database::Tx;
use crate::storage::error::StorageError;
use crate::storage::page::After;
use crate::storage::{figures, markets, portfolios, prices, transactions};
use crate::workers::{actions, bookkeeping};
use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// Microseconds of one second.
const SECOND: i64 = 1_000_000;

/// An asset.
#[derive(Debug, Serialize, ToSchema)]
pub struct AssetView {
    id: AssetId,
    created_at: Time,
    updated_at: Time,
    #[schema(example = "GOLD", pattern = "^.{1,20}$")]
    symbol: String,
    #[schema(example = "Gold Spot")]
    name: String,
    asset_type: AssetType,
    status: AssetStatus,
    market_id: MarketId,
    currency: Currency,
    metadata: Metadata,
    /// Units of the underlying in one contract.
    multiplier: Decimal,
    /// Quantity counts units of the quote currency; profit is paid in `settlement`.
    #[schema(example = false)]
    inverse: bool,
    /// A trade moves no cash but fees.
    #[schema(example = false)]
    margined: bool,
    settlement: Currency,
    #[schema(example = false)]
    allows_negative_price: bool,
    /// Age in seconds after which a price is called stale.
    #[schema(example = 86400)]
    stale_after: Option<i64>,
    /// Sources in order of preference where two have a price of one moment.
    #[schema(example = json!(["coinbase", "api"]))]
    source_priority: Vec<String>,
    /// Counts changes; `If-Match: "v<version>"` guards an update.
    #[schema(example = 1)]
    version: i64,
}

/// An asset just created.
#[derive(Debug, Serialize, ToSchema)]
pub struct AssetCreated {
    #[schema(example = true)]
    success: bool,
    #[serde(flatten)]
    asset: AssetView,
}

/// An asset to create.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the shape of the request; fields are read one by one to collect every fault")]
pub struct NewAsset {
    /// 1 to 20 characters, upper-cased, unique.
    #[schema(example = "GOLD")]
    symbol: String,
    #[schema(example = "Gold Spot")]
    name: String,
    asset_type: AssetType,
    #[schema(example = "COMEX")]
    market_code: String,
    /// Default USD.
    currency: Option<Currency>,
    /// Default 1.
    multiplier: Option<Decimal>,
    #[schema(example = false)]
    inverse: Option<bool>,
    #[schema(example = false)]
    margined: Option<bool>,
    /// Default the asset's currency.
    settlement: Option<Currency>,
    #[schema(example = false)]
    allows_negative_price: Option<bool>,
    /// Seconds.
    #[schema(example = 86400)]
    stale_after: Option<i64>,
    #[schema(example = json!(["coinbase", "api"]))]
    source_priority: Option<Vec<String>>,
    metadata: Option<Metadata>,
}

/// Changes to an asset (RFC 7396 merge patch).
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the shape of the request; fields are read one by one to collect every fault")]
pub struct AssetPatch {
    #[schema(example = "Gold Spot")]
    name: Option<String>,
    asset_type: Option<AssetType>,
    status: Option<AssetStatus>,
    #[schema(example = "COMEX")]
    market_code: Option<String>,
    /// Only while no price and no transaction uses the asset.
    currency: Option<Currency>,
    multiplier: Option<Decimal>,
    #[schema(example = false)]
    inverse: Option<bool>,
    #[schema(example = false)]
    margined: Option<bool>,
    settlement: Option<Currency>,
    #[schema(example = false)]
    allows_negative_price: Option<bool>,
    #[schema(example = 86400)]
    stale_after: Option<i64>,
    #[schema(example = json!(["coinbase", "api"]))]
    source_priority: Option<Vec<String>>,
    /// Moment from which the changed attributes apply; default now, `beginning` for always.
    #[schema(example = "2026-01-31T00:00:00Z")]
    effective_at: Option<String>,
    metadata: Option<Metadata>,
}

async fn view(tx: &mut Tx, asset: Asset) -> Result<AssetView, StorageError> {
    let history = assets::terms(tx, &[asset.key], Moment::MAX).await?;
    let terms = history.at(asset.key, Moment::MAX).cloned().unwrap_or_else(|| Terms::plain(asset.currency));
    Ok(AssetView {
        id: asset.id,
        created_at: Time(asset.created_at),
        updated_at: Time(asset.updated_at),
        symbol: asset.symbol,
        name: asset.name,
        asset_type: asset.asset_type,
        status: asset.status,
        market_id: asset.market_id,
        currency: asset.currency,
        metadata: Metadata::of(&asset.metadata),
        multiplier: terms.multiplier,
        inverse: terms.inverse,
        margined: terms.margined,
        settlement: terms.settlement,
        allows_negative_price: terms.allows_negative_price,
        stale_after: terms.stale_after.map(|micros| micros / SECOND),
        source_priority: terms.source_priority,
        version: asset.version,
    })
}

/// List assets
///
/// In order of entry unless `sort` says otherwise.
#[utoipa::path(get, path = "/assets", operation_id = "list_assets", tag = "assets",
    params(
        ("type" = Option<AssetType>, Query, description = "Only assets of this type"),
        ("status" = Option<AssetStatus>, Query, description = "Only assets in this status"),
        ("market" = Option<String>, Query, description = "Only assets of this market: its id or code"),
        ("q" = Option<String>, Query, description = "Only assets with this text in symbol or name"),
        ("sort" = Option<String>, Query, description = "created_at, symbol or name; `-` before it sorts from the greatest"),
        ("limit" = Option<i64>, Query, description = "Rows wanted, at most 1000"),
        ("cursor" = Option<String>, Query, description = "From the `Link` header of the page before"),
    ),
    responses((status = 200, description = "Assets", body = [AssetView])))]
pub async fn list_assets(
    State(app): State<AppState>,
    _: Caller<AssetsRead>,
    mut query: Query,
) -> Result<Response, ApiError> {
    let asset_type = query.one_of("type", AssetType::NAMES, AssetType::from_name);
    let status = query.one_of("status", AssetStatus::NAMES, AssetStatus::from_name);
    let (market, text) = (query.text("market"), query.text("q"));
    let page = query.page(AssetSort::CreatedAt, AssetSort::NAMES, AssetSort::from_name);
    query.finish()?;
    let mut tx = app.db.read().await?;
    let market = match market {
        Some(name) => Some(reading::market(&mut tx, &name).await?.key),
        None => None,
    };
    let rows = assets::list(&mut tx, &AssetFilter { asset_type, status, market, text }, &page).await?;
    let full = i64::try_from(rows.len()).is_ok_and(|count| count == page.limit);
    let last = rows.last().filter(|_| full).map(|asset| match page.sort {
        AssetSort::CreatedAt => After { value: asset.key.0.to_string(), key: asset.key.0 },
        AssetSort::Symbol => After { value: asset.symbol.clone(), key: asset.key.0 },
        AssetSort::Name => After { value: asset.name.clone(), key: asset.key.0 },
    });
    let sort = query.sort_text();
    let link = last.map(|after| query.next_link(&sort, &after)).unwrap_or_default();
    let mut views = Vec::with_capacity(rows.len());
    for asset in rows {
        views.push(view(&mut tx, asset).await?);
    }
    Ok((link, Json(views)).into_response())
}

/// Read an asset by id or symbol
#[utoipa::path(get, path = "/assets/{asset}", operation_id = "get_asset", tag = "assets",
    params(("asset" = String, Path, description = "Id or symbol")),
    responses((status = 200, description = "The asset", body = AssetView)))]
pub async fn get_asset(
    State(app): State<AppState>,
    _: Caller<AssetsRead>,
    Path(name): Path<String>,
    mut query: Query,
) -> Result<Tagged<AssetView>, ApiError> {
    query.finish()?;
    let mut tx = app.db.read().await?;
    let asset = reading::asset(&mut tx, &name).await?;
    let version = asset.version;
    Ok(Tagged { version, body: view(&mut tx, asset).await? })
}

/// A value that may be absent, taken away or given.
#[derive(Debug, Default)]
enum Given<T> {
    /// Absent: what was there stays.
    #[default]
    Absent,
    /// Given, or taken away by null.
    Now(Option<T>),
}

/// Attributes given in a request; those not given keep what they were.
#[derive(Debug, Default)]
struct GivenTerms {
    multiplier: Option<Decimal>,
    inverse: Option<bool>,
    margined: Option<bool>,
    settlement: Option<String>,
    allows_negative_price: Option<bool>,
    /// Given at all, and what; null takes it away.
    stale_after: Given<i64>,
    source_priority: Option<Vec<String>>,
}

impl GivenTerms {
    fn read(fields: &mut Fields<'_>) -> Self {
        let multiplier = fields.opt_decimal("multiplier");
        if multiplier.as_ref().is_some_and(|m| !m.is_positive()) {
            fields.fault("multiplier", "not_positive", "must be greater than zero");
        }
        let stale_after = if fields.has("stale_after") {
            let seconds: Option<i64> = fields.opt_value("stale_after", "a whole number of seconds");
            if seconds.is_some_and(|s| !(1..=1_000_000_000).contains(&s)) {
                fields.fault("stale_after", "out_of_range", "must be from 1 to 1000000000 seconds");
            }
            Given::Now(seconds.map(|s| s.saturating_mul(SECOND)))
        } else {
            Given::Absent
        };
        Self {
            multiplier,
            inverse: fields.opt_bool("inverse"),
            margined: fields.opt_bool("margined"),
            settlement: fields.opt_text("settlement"),
            allows_negative_price: fields.opt_bool("allows_negative_price"),
            stale_after,
            source_priority: source_priority(fields),
        }
    }

    /// The terms with what is given laid over them.
    async fn over(self, tx: &mut Tx, old: &Terms) -> Result<Terms, ApiError> {
        let settlement = match self.settlement {
            Some(code) => reading::currency(tx, &code, "/settlement").await?,
            None => old.settlement,
        };
        let inverse = self.inverse.unwrap_or(old.inverse);
        let margined = self.margined.unwrap_or(if self.inverse == Some(true) { true } else { old.margined });
        if inverse && !margined {
            let detail = "an inverse contract is margined; leave margined out or set it true";
            return Err(ApiError::invalid(vec![FieldError::at("/margined", "inverse_is_margined", detail)]));
        }
        Ok(Terms {
            multiplier: self.multiplier.unwrap_or_else(|| old.multiplier.clone()),
            inverse,
            margined,
            settlement,
            allows_negative_price: self.allows_negative_price.unwrap_or(old.allows_negative_price),
            stale_after: match self.stale_after {
                Given::Now(value) => value,
                Given::Absent => old.stale_after,
            },
            source_priority: self.source_priority.unwrap_or_else(|| old.source_priority.clone()),
        })
    }
}

/// Sources in order of preference; null clears them.
fn source_priority(fields: &mut Fields<'_>) -> Option<Vec<String>> {
    let given = fields.has("source_priority");
    let sources: Option<Vec<String>> = fields.opt_value("source_priority", "a list of source names");
    sources.or_else(|| given.then(Vec::new))
}

/// Cash and results of an asset are in its own currency unless the contract settles in another one.
fn check_settlement(terms: &Terms, currency: Currency) -> Result<(), ApiError> {
    if terms.inverse || terms.settlement == currency {
        return Ok(());
    }
    let detail = "only an inverse contract settles in another currency than the one it is priced in";
    Err(ApiError::invalid(vec![FieldError::at("/settlement", "settles_elsewhere", detail)]))
}

/// Create an asset
#[utoipa::path(post, path = "/assets", operation_id = "create_asset", tag = "assets", request_body = NewAsset,
    responses((status = 201, description = "Created", body = AssetCreated),
        (status = 404, description = "No such market", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The symbol is taken", body = Problem, content_type = "application/problem+json")))]
pub async fn create_asset(
    State(app): State<AppState>,
    caller: Caller<AssetsWrite>,
    posted: Posted,
) -> Result<Answer, ApiError> {
    let draft = AssetDraft::read(&posted.bytes)?;
    let id = AssetId(app.random.uuid_v7(app.clock.now())?);
    let work = deed(move |tx| {
        Box::pin(async move {
            let asset = draft.create(tx, id).await?;
            let asset = view(tx, asset).await?;
            tx.audit(audit::Entry::created("asset.create", id, &asset));
            Answer::created(format!("/assets/{id}"), &AssetCreated { success: true, asset })
        })
    });
    posted.once(&app, caller.actor, work).await
}

/// An asset as it was sent in.
pub struct AssetDraft {
    symbol: String,
    name: String,
    asset_type: String,
    market_code: String,
    currency: String,
    terms: GivenTerms,
    metadata: String,
}

impl AssetDraft {
    /// Reads a JSON object.
    ///
    /// # Errors
    /// What is wrong with its fields.
    pub fn read(json: &[u8]) -> Result<Self, ApiError> {
        let mut fields = Fields::of_body(json)?;
        let draft = Self {
            symbol: fields.text("symbol", 20).trim().to_uppercase(),
            name: fields.text("name", 255),
            asset_type: fields.text("asset_type", 64),
            market_code: fields.text("market_code", 64),
            currency: fields.opt_text("currency").unwrap_or_else(|| "USD".to_owned()),
            terms: GivenTerms::read(&mut fields),
            metadata: fields.metadata().unwrap_or_else(|| "{}".to_owned()),
        };
        if fields.is_faulty() && AssetType::from_name(&draft.asset_type).is_none() {
            let detail = format!("must be one of {}", AssetType::NAMES.join(", "));
            fields.fault("asset_type", "unknown_value", detail);
        }
        fields.finish(Unknown::Ignored)?;
        Ok(draft)
    }

    /// Records it.
    ///
    /// # Errors
    /// An unknown market, type or unit of money, a symbol that is taken.
    pub async fn create(self, tx: &mut Tx, id: AssetId) -> Result<Asset, ApiError> {
        let market = markets::find_by_code(tx, &self.market_code.to_uppercase()).await?.ok_or_else(|| {
            ApiError::new(Code::MarketNotFound, "Market not found").named_at("/market_code")
        })?;
        let asset_type = AssetType::from_name(&self.asset_type)
            .ok_or_else(|| ApiError::unknown_value("asset_type", AssetType::NAMES))?;
        let currency = reading::currency(tx, &self.currency, "/currency").await?;
        let terms = self.terms.over(tx, &Terms::plain(currency)).await?;
        check_settlement(&terms, currency)?;
        if assets::find_by_symbol(tx, &self.symbol).await?.is_some() {
            let detail = format!("Asset with symbol '{}' already exists", self.symbol);
            return Err(ApiError::field(Code::DuplicateAsset, "/symbol", "duplicate", detail));
        }
        let asset = Asset {
            key: AssetKey(0),
            id,
            symbol: self.symbol,
            name: self.name,
            asset_type,
            status: AssetStatus::Active,
            market_key: market.key,
            market_id: market.id,
            market_zone: market.time_zone,
            currency,
            metadata: self.metadata,
            version: 1,
            created_at: Moment(0),
            updated_at: Moment(0),
        };
        let asset = assets::insert(tx, asset).await?;
        assets::insert_terms(tx, asset.key, Moment::MIN, &terms).await?;
        Ok(asset)
    }
}

/// Change an asset
///
/// Attributes that enter a figure are recorded as facts of their own, with the moment they apply from.
#[utoipa::path(patch, path = "/assets/{asset}", operation_id = "update_asset", tag = "assets",
    params(("asset" = String, Path, description = "Id or symbol")),
    request_body(content = AssetPatch, content_type = "application/merge-patch+json"),
    responses((status = 200, description = "The asset", body = AssetView)))]
pub async fn update_asset(
    State(app): State<AppState>,
    caller: Caller<AssetsWrite>,
    Path(name): Path<String>,
    posted: Posted,
) -> Result<Tagged<AssetView>, ApiError> {
    let random = app.random;
    let change = app.db.writer().write(caller.actor, move |tx| {
        Box::pin(async move { change_asset(tx, random, &name, &posted).await })
    });
    change.await
}

/// What a change may set, but not clear.
const FIXED_SHAPE: &[&str] = &[
    "name",
    "asset_type",
    "status",
    "market_code",
    "currency",
    "multiplier",
    "inverse",
    "margined",
    "settlement",
    "allows_negative_price",
];

async fn change_asset(
    tx: &mut Tx,
    random: Random,
    name: &str,
    posted: &Posted,
) -> Result<Tagged<AssetView>, ApiError> {
    let mut asset = reading::asset(tx, name).await?;
    check_match(&posted.headers, asset.version)?;
    let before = view(tx, asset.clone()).await?;
    let mut fields = Fields::of_body(&posted.bytes)?;
    fields.not_null(FIXED_SHAPE);
    if let Some(name) = fields.opt_name("name", 255) {
        asset.name = name;
    }
    if let Some(kind) = fields.opt_one_of("asset_type", AssetType::NAMES, AssetType::from_name) {
        asset.asset_type = kind;
    }
    if let Some(status) = fields.opt_one_of("status", AssetStatus::NAMES, AssetStatus::from_name) {
        asset.status = status;
    }
    if fields.has("metadata") {
        asset.metadata = fields.metadata().unwrap_or_else(|| "{}".to_owned());
    }
    let (market_code, currency) = (fields.opt_text("market_code"), fields.opt_text("currency"));
    let given = GivenTerms::read(&mut fields);
    let effective_at = effective_at(&mut fields, tx.recorded_at()?);
    fields.finish(Unknown::Refused)?;
    let mut zone_moved = false;
    if let Some(code) = market_code {
        let market = reading::market(tx, &code).await.map_err(|error| error.named_at("/market_code"))?;
        zone_moved = market.time_zone != asset.market_zone;
        (asset.market_key, asset.market_id, asset.market_zone) = (market.key, market.id, market.time_zone);
    }
    let history = assets::terms(tx, &[asset.key], Moment::MAX).await?;
    let mut old =
        history.at(asset.key, effective_at).cloned().unwrap_or_else(|| Terms::plain(asset.currency));
    if let Some(code) = currency {
        let new = reading::currency(tx, &code, "/currency").await?;
        if new != asset.currency {
            if assets::is_used(tx, asset.key).await? {
                let detail =
                    "the currency of an asset is fixed once a price, a transaction or a dividend uses it";
                return Err(ApiError::field(Code::Fixed, "/currency", "fixed_by_use", detail));
            }
            if old.settlement == asset.currency {
                old.settlement = new;
            }
            asset.currency = new;
        }
    }
    let terms = given.over(tx, &old).await?;
    check_settlement(&terms, asset.currency)?;
    check_contract(tx, &asset, (&old, &terms), effective_at).await?;
    let asset = assets::update(tx, asset).await?;
    if zone_moved {
        let holders = transactions::holders(tx, asset.key).await?;
        actions::refold_all(tx, random, holders).await?;
    }
    if history.at(asset.key, effective_at) != Some(&terms) {
        assets::insert_terms(tx, asset.key, effective_at, &terms).await?;
        apply_terms(tx, random, &asset, &terms).await?;
    }
    let (id, version, after) = (asset.id, asset.version, view(tx, asset).await?);
    tx.audit(audit::Entry::changed("asset.update", id, (&before, &after)));
    Ok(Tagged { version, body: after })
}

/// How a contract moves cash is fixed while a position in it is open, and for the past once it was traded: a
/// position opened under one rule cannot be closed under another.
async fn check_contract(
    tx: &mut Tx,
    asset: &Asset,
    (old, new): (&Terms, &Terms),
    effective_at: Moment,
) -> Result<(), ApiError> {
    let same = old.margined == new.margined && old.inverse == new.inverse && old.settlement == new.settlement;
    if same || transactions::holders(tx, asset.key).await?.is_empty() {
        return Ok(());
    }
    let open = !figures::open_positions(tx, asset.key).await?.is_empty();
    if open || effective_at < tx.recorded_at()? {
        let detail = "margined, inverse and settlement are fixed while a position is open, and for dates already traded";
        return Err(ApiError::new(Code::Fixed, detail));
    }
    Ok(())
}

fn effective_at(fields: &mut Fields<'_>, now: Moment) -> Moment {
    let Some(text) = fields.opt_text("effective_at") else { return now };
    if text == "beginning" {
        return Moment::MIN;
    }
    if let Ok(Written::Moment(moment)) = crate::domain::moment::parse_written(&text) {
        return moment;
    }
    fields.fault("effective_at", "not_a_time", "must be an RFC 3339 time with a zone, or `beginning`");
    now
}

/// Brings everything computed from an asset's terms up to date.
async fn apply_terms(tx: &mut Tx, random: Random, asset: &Asset, terms: &Terms) -> Result<(), ApiError> {
    prices::refresh_latest(tx, asset.key, &terms.source_priority);
    for id in transactions::holders(tx, asset.key).await? {
        if let Some(portfolio) = portfolios::find(tx, id).await? {
            bookkeeping::refold(tx, random, &portfolio, &[]).await?;
        }
    }
    Ok(())
}

/// What [`act_on_asset`] does, by name.
pub const ACTIONS: &[(&str, AssetStatus)] = &[
    ("activate", AssetStatus::Active),
    ("deactivate", AssetStatus::Inactive),
    ("suspend", AssetStatus::Suspended),
    ("delist", AssetStatus::Delisted),
];

/// Activate, deactivate, suspend or delist an asset
#[utoipa::path(post, path = "/assets/{asset}/{action}", operation_id = "act_on_asset", tag = "assets",
    params(("asset" = String, Path, description = "Id or symbol"),
        ("action" = String, Path, description = "activate, deactivate, suspend or delist")),
    responses((status = 200, description = "The asset", body = AssetView)))]
pub async fn act_on_asset(
    State(app): State<AppState>,
    caller: Caller<AssetsWrite>,
    Path((name, action)): Path<(String, String)>,
    mut query: Query,
) -> Result<Tagged<AssetView>, ApiError> {
    query.finish()?;
    let named = ACTIONS.iter().find(|(name, _)| *name == action);
    let (_, status) = *named.ok_or_else(|| ApiError::new(Code::NotFound, "Not Found"))?;
    let act = app.db.writer().write(caller.actor, move |tx| {
        Box::pin(async move {
            let mut asset = reading::asset(tx, &name).await?;
            let before = view(tx, asset.clone()).await?;
            if asset.status == status {
                return Ok::<_, ApiError>(Tagged { version: asset.version, body: before });
            }
            asset.status = status;
            let asset = assets::update(tx, asset).await?;
            let (id, version, after) = (asset.id, asset.version, view(tx, asset).await?);
            tx.audit(audit::Entry::changed(format!("asset.{action}"), id, (&before, &after)));
            Ok(Tagged { version, body: after })
        })
    });
    act.await
}
