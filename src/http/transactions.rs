//! The ledger: recording, reading and voiding transactions.

use crate::domain::asset::Asset;
use crate::domain::audit;
use crate::domain::currency::Currency;
use crate::domain::decimal::Decimal;
use crate::domain::ids::{AssetKey, TransactionId};
use crate::domain::moment::Moment;
use crate::domain::portfolio::{Portfolio, PortfolioStatus};
use crate::domain::transaction::{LotPick, TransactionType};
use crate::http::AppState;
use crate::http::auth::{Caller, PortfoliosRead, PortfoliosWrite};
use crate::http::drafts::Draft;
use crate::http::error::{ApiError, Code, Problem};
use crate::http::fields::{Fields, Unknown, elements};
use crate::http::posted::{Answer, Posted, deed};
use crate::http::query::Query;
use crate::http::reading;
use crate::http::recording::{Recorded, record_drafts};
use crate::http::wire::{Metadata, Time};
use crate::storage::assets;
use crate::storage::database::Tx;
use crate::storage::page::After;
use crate::storage::transactions::{self, Entry, EntryFilter};
use crate::workers::bookkeeping;
use crate::workers::file_place::Place;
use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::ToSchema;

/// Most transactions one request records.
const ENTRIES_MAX: usize = 10_000;

/// A lot a disposal names.
#[derive(Debug, Serialize, ToSchema)]
pub struct LotPickView {
    transaction: TransactionId,
    quantity: Decimal,
}

/// One ledger entry. Fields its type does not use are `null`.
#[derive(Debug, Serialize, ToSchema)]
pub struct TransactionView {
    id: TransactionId,
    #[serde(rename = "type")]
    kind: TransactionType,
    executed_at: Time,
    /// Whether `executed_at` was given as a day.
    #[schema(example = false)]
    whole_day: bool,
    #[schema(example = "main")]
    account: String,
    #[schema(example = "savings")]
    to_account: Option<String>,
    #[schema(example = "GOLD")]
    symbol: Option<String>,
    quantity: Option<Decimal>,
    price: Option<Decimal>,
    gross_total: Option<Decimal>,
    fee: Decimal,
    tax: Decimal,
    fee_asset_quantity: Decimal,
    currency: Option<Currency>,
    fx_rate: Option<Decimal>,
    amount: Option<Decimal>,
    to_amount: Option<Decimal>,
    to_currency: Option<Currency>,
    ratio_num: Option<Decimal>,
    ratio_den: Option<Decimal>,
    lots: Vec<LotPickView>,
    #[schema(example = "broker-2026-000123")]
    external_id: Option<String>,
    #[schema(example = "")]
    note: String,
    metadata: Metadata,
    /// The entry it was recorded in place of.
    replaces: Option<TransactionId>,
    recorded_at: Time,
    /// When it was voided; `null` while it is in force.
    voided_at: Option<Time>,
    /// Why it was voided.
    #[schema(example = "wrong quantity")]
    void_reason: Option<String>,
    /// The entry recorded in its place.
    replaced_by: Option<TransactionId>,
}

impl TransactionView {
    /// An entry with the symbol of its asset.
    pub fn of(entry: Entry, symbol: Option<String>) -> Self {
        let t = entry.transaction;
        let pick = |pick: LotPick| LotPickView { transaction: pick.transaction, quantity: pick.quantity };
        Self {
            id: t.id,
            kind: t.kind,
            executed_at: Time(t.executed_at),
            whole_day: t.whole_day,
            account: t.account,
            to_account: t.to_account,
            symbol,
            quantity: t.quantity,
            price: t.price,
            gross_total: t.gross_total,
            fee: t.fee,
            tax: t.tax,
            fee_asset_quantity: t.fee_asset_quantity,
            currency: t.currency,
            fx_rate: t.fx_rate,
            amount: t.amount,
            to_amount: t.to_amount,
            to_currency: t.to_currency,
            ratio_num: t.ratio_num,
            ratio_den: t.ratio_den,
            lots: t.lots.into_iter().map(pick).collect(),
            external_id: entry.external_id,
            note: entry.note,
            metadata: Metadata::of(&entry.metadata),
            replaces: entry.replaces,
            recorded_at: Time(entry.recorded_at),
            voided_at: entry.void.as_ref().map(|void| Time(void.recorded_at)),
            void_reason: entry.void.as_ref().map(|void| void.reason.clone()),
            replaced_by: entry.void.and_then(|void| void.replaced_by),
        }
    }
}

/// Views of entries, with the symbols of their assets.
///
/// # Errors
/// The database's.
pub async fn views(tx: &mut Tx, entries: Vec<Entry>) -> Result<Vec<TransactionView>, ApiError> {
    let mut keys: Vec<AssetKey> = entries.iter().filter_map(|entry| entry.transaction.asset).collect();
    keys.sort_unstable();
    keys.dedup();
    let assets: BTreeMap<AssetKey, Asset> =
        assets::by_keys(tx, &keys).await?.into_iter().map(|asset| (asset.key, asset)).collect();
    let view = |entry: Entry| {
        let symbol =
            entry.transaction.asset.and_then(|key| assets.get(&key)).map(|asset| asset.symbol.clone());
        TransactionView::of(entry, symbol)
    };
    Ok(entries.into_iter().map(view).collect())
}

/// A transaction to record.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the shape of the request; fields are read one by one to collect every fault")]
pub struct NewTransaction {
    #[schema(rename = "type")]
    kind: TransactionType,
    /// RFC 3339 with a zone, or a day: that day at 00:00 in the portfolio's zone, of a split in the market's. Default
    /// now.
    #[schema(example = "2026-01-31T09:30:00Z")]
    executed_at: Option<String>,
    /// Default `main`.
    #[schema(example = "main")]
    account: Option<String>,
    #[schema(example = "savings")]
    to_account: Option<String>,
    #[schema(example = "GOLD")]
    symbol: Option<String>,
    quantity: Option<Decimal>,
    price: Option<Decimal>,
    gross_total: Option<Decimal>,
    fee: Option<Decimal>,
    tax: Option<Decimal>,
    fee_asset_quantity: Option<Decimal>,
    /// Default the asset's, else the portfolio's.
    currency: Option<Currency>,
    fx_rate: Option<Decimal>,
    amount: Option<Decimal>,
    to_amount: Option<Decimal>,
    to_currency: Option<Currency>,
    /// New units for one old.
    ratio: Option<Decimal>,
    ratio_num: Option<Decimal>,
    ratio_den: Option<Decimal>,
    #[schema(inline)]
    lots: Option<Vec<LotPickView>>,
    /// Unique in the portfolio; the same id with the same values is skipped.
    #[schema(example = "broker-2026-000123")]
    external_id: Option<String>,
    #[schema(example = "")]
    note: Option<String>,
    metadata: Option<Metadata>,
}

/// What became of one transaction.
#[derive(Debug, Serialize, ToSchema)]
pub struct TransactionRecorded {
    #[schema(example = true)]
    success: bool,
    /// `stored`, or `duplicate` when its `external_id` was known with the same values.
    #[schema(example = "stored", pattern = "^(stored|duplicate)$")]
    outcome: &'static str,
    #[serde(flatten)]
    transaction: TransactionView,
}

/// What became of several transactions.
#[derive(Debug, Serialize, ToSchema)]
pub struct TransactionsRecorded {
    #[schema(example = true)]
    success: bool,
    #[schema(example = 2)]
    stored: usize,
    /// Skipped, because their `external_id` was known with the same values.
    #[schema(example = 0)]
    duplicate: usize,
    /// One by one, in the order sent.
    transactions: Vec<TransactionRecorded>,
}

/// What became of what was sent: of one object, or of an array.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum OneOrManyTransactions {
    /// One object was sent.
    One(Box<TransactionRecorded>),
    /// An array was sent.
    Many(TransactionsRecorded),
}

/// Refuses entries to a portfolio that takes none.
///
/// # Errors
/// [`Code::PortfolioInactive`].
pub fn check_active(portfolio: &Portfolio) -> Result<(), ApiError> {
    if portfolio.status == PortfolioStatus::Active {
        return Ok(());
    }
    let detail = format!("the portfolio is {}; only an ACTIVE one takes entries", portfolio.status);
    Err(ApiError::new(Code::PortfolioInactive, detail))
}

/// Record transactions
///
/// One object, or an array that is recorded whole or not at all.
#[utoipa::path(post, path = "/portfolios/{portfolio}/transactions", operation_id = "record_transactions",
    tag = "transactions", params(("portfolio" = String, Path, description = "Id")),
    request_body(content = NewTransaction, description = "One transaction, or an array of them"),
    responses((status = 201, description = "Recorded; `TransactionsRecorded` for an array", body = OneOrManyTransactions),
        (status = 200, description = "Nothing new: every `external_id` was known", body = OneOrManyTransactions),
        (status = 409, description = "Conflict with what is recorded", body = Problem, content_type = "application/problem+json")))]
pub async fn record_transactions(
    State(app): State<AppState>,
    caller: Caller<PortfoliosWrite>,
    Path(id): Path<String>,
    posted: Posted,
) -> Result<Answer, ApiError> {
    let (random, now) = (app.random, app.clock.now());
    let body = posted.bytes.clone();
    let actor = Arc::clone(&caller.actor);
    let work = deed(move |tx| {
        Box::pin(async move {
            let portfolio = reading::portfolio(tx, &caller, &id).await?;
            let (parts, many) = elements(&body)?;
            let mut drafts = Vec::with_capacity(parts.len());
            let mut faults = Vec::new();
            if parts.len() > ENTRIES_MAX {
                let detail = format!("one request records at most {ENTRIES_MAX} transactions");
                return Err(ApiError::of_file((Place::File, "too_many"), detail));
            }
            for (index, part) in parts.into_iter().enumerate() {
                let pointer = if many { format!("/{index}") } else { String::new() };
                match Fields::of(part, pointer.clone()) {
                    Ok(mut fields) => {
                        drafts.push(Draft::read(&mut fields, pointer, now));
                        faults.extend(fields.faults(Unknown::Refused));
                    }
                    Err(fault) => faults.push(fault),
                }
            }
            if !faults.is_empty() {
                return Err(ApiError::invalid(faults));
            }
            check_active(&portfolio)?;
            let recorded = record_drafts(tx, random, &portfolio, drafts).await?;
            answer(tx, &portfolio, recorded, many).await
        })
    });
    posted.once(&app, actor, work).await
}

async fn answer(
    tx: &mut Tx,
    portfolio: &Portfolio,
    recorded: Vec<Recorded>,
    many: bool,
) -> Result<Answer, ApiError> {
    let stored = recorded.iter().filter(|one| one.new).count();
    let duplicate = recorded.len() - stored;
    let outcomes: Vec<bool> = recorded.iter().map(|one| one.new).collect();
    let views = views(tx, recorded.into_iter().map(|one| one.entry).collect()).await?;
    let mut transactions: Vec<TransactionRecorded> = views
        .into_iter()
        .zip(outcomes)
        .map(|(transaction, new)| {
            let outcome = if new { "stored" } else { "duplicate" };
            TransactionRecorded { success: true, outcome, transaction }
        })
        .collect();
    let list = format!("/portfolios/{}/transactions", portfolio.id);
    let new: Vec<&TransactionView> =
        transactions.iter().filter(|one| one.outcome == "stored").map(|one| &one.transaction).collect();
    match new.as_slice() {
        [] => {}
        [one] => tx.audit(audit::Entry::created("portfolio.transaction.create", one.id, one)),
        many => {
            let told = audit::Entry::created("portfolio.transaction.create", portfolio.id, &many);
            tx.audit(told.on("portfolio", portfolio.id));
        }
    }
    if many {
        let body = TransactionsRecorded { success: true, stored, duplicate, transactions };
        let body = OneOrManyTransactions::Many(body);
        return if stored == 0 { Answer::ok(&body) } else { Answer::created(list, &body) };
    }
    let Some(one) = transactions.pop() else {
        return Err(ApiError::new(Code::Internal, "the service failed; nothing was changed"));
    };
    let location = format!("{list}/{}", one.transaction.id);
    let body = OneOrManyTransactions::One(Box::new(one));
    if stored == 0 { Answer::ok(&body) } else { Answer::created(location, &body) }
}

/// List transactions
///
/// In order of `executed_at`; voided ones only when asked for.
#[utoipa::path(get, path = "/portfolios/{portfolio}/transactions", operation_id = "list_transactions",
    tag = "transactions",
    params(("portfolio" = String, Path, description = "Id"),
        ("type" = Option<TransactionType>, Query, description = "Only this type"),
        ("account" = Option<String>, Query, description = "Only this account"),
        ("symbol" = Option<String>, Query, description = "Only this asset"),
        ("external_id" = Option<String>, Query, description = "Only the one with this id"),
        ("from" = Option<String>, Query, description = "From this moment or day"),
        ("as_of" = Option<String>, Query, description = "Up to this moment, or through this day in the portfolio's zone"),
        ("known_at" = Option<String>, Query, description = "As known then"),
        ("voided" = Option<bool>, Query, description = "Voided ones too"),
        ("limit" = Option<i64>, Query, description = "Rows wanted, at most 1000"),
        ("cursor" = Option<String>, Query, description = "From the `Link` header of the page before")),
    responses((status = 200, description = "Transactions", body = [TransactionView])))]
pub async fn list_transactions(
    State(app): State<AppState>,
    caller: Caller<PortfoliosRead>,
    Path(id): Path<String>,
    mut query: Query,
) -> Result<Response, ApiError> {
    let known_at = reading::known_at(&app, &mut query).await?;
    let mut tx = app.db.read().await?;
    let portfolio = reading::portfolio_known(&mut tx, &caller, &id, known_at).await?;
    let symbol = query.text("symbol");
    let mut filter = EntryFilter {
        kind: query.one_of("type", TransactionType::NAMES, TransactionType::from_name),
        account: query.text("account"),
        asset: None,
        external_id: query.text("external_id"),
        from: query.from("from", portfolio.time_zone).unwrap_or(Moment::MIN),
        as_of: query.until("as_of", portfolio.time_zone).unwrap_or(Moment::MAX),
        known_at: known_at.unwrap_or(Moment::MAX),
        voided: query.flag("voided"),
        after: query.cursor("transactions"),
        limit: query.limit(crate::http::query::ROWS),
    };
    query.finish()?;
    if let Some(symbol) = symbol {
        filter.asset = Some(reading::asset(&mut tx, &symbol).await?.key);
    }
    let entries = transactions::list(&mut tx, portfolio.id, &filter).await?;
    let full = i64::try_from(entries.len()).is_ok_and(|count| count == filter.limit);
    let next = entries
        .last()
        .filter(|_| full)
        .map(|entry| After { value: entry.transaction.executed_at.0.to_string(), key: entry.seq });
    let link = next.map(|after| query.next_link("transactions", &after)).unwrap_or_default();
    Ok((link, Json(views(&mut tx, entries).await?)).into_response())
}

/// Read a transaction
#[utoipa::path(get, path = "/portfolios/{portfolio}/transactions/{transaction}", operation_id = "get_transaction",
    tag = "transactions",
    params(("portfolio" = String, Path, description = "Id"), ("transaction" = String, Path, description = "Id")),
    responses((status = 200, description = "The transaction", body = TransactionView)))]
pub async fn get_transaction(
    State(app): State<AppState>,
    caller: Caller<PortfoliosRead>,
    Path((id, transaction)): Path<(String, String)>,
    mut query: Query,
) -> Result<Json<TransactionView>, ApiError> {
    query.finish()?;
    let mut tx = app.db.read().await?;
    let portfolio = reading::portfolio(&mut tx, &caller, &id).await?;
    let entry = find(&mut tx, &portfolio, &transaction).await?;
    let view = views(&mut tx, vec![entry]).await?.pop();
    view.map(Json).ok_or_else(|| ApiError::new(Code::TransactionNotFound, "Transaction not found"))
}

async fn find(tx: &mut Tx, portfolio: &Portfolio, name: &str) -> Result<Entry, ApiError> {
    let found = match TransactionId::parse(name) {
        Some(id) => transactions::find(tx, portfolio.id, id).await?,
        None => None,
    };
    found.ok_or_else(|| ApiError::new(Code::TransactionNotFound, format!("Transaction not found: {name}")))
}

/// Why a transaction is voided, and what is recorded in its place.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the shape of the request; fields are read one by one to collect every fault")]
pub struct VoidRequest {
    #[schema(example = "wrong quantity")]
    reason: Option<String>,
    replacement: Option<NewTransaction>,
}

/// A void, with what was recorded in place.
#[derive(Debug, Serialize, ToSchema)]
pub struct VoidAnswer {
    #[schema(example = true)]
    success: bool,
    id: TransactionId,
    voided: TransactionView,
    replacement: Option<TransactionView>,
}

/// Void a transaction
///
/// It stays readable; with `replacement` the right entry takes its place in the same commit.
#[utoipa::path(post, path = "/portfolios/{portfolio}/transactions/{transaction}/void", operation_id = "void_transaction",
    tag = "transactions",
    params(("portfolio" = String, Path, description = "Id"), ("transaction" = String, Path, description = "Id")),
    request_body = VoidRequest,
    responses((status = 200, description = "Voided", body = VoidAnswer),
        (status = 409, description = "A later entry could not stand without it", body = Problem, content_type = "application/problem+json")))]
pub async fn void_transaction(
    State(app): State<AppState>,
    caller: Caller<PortfoliosWrite>,
    Path((id, transaction)): Path<(String, String)>,
    posted: Posted,
) -> Result<Answer, ApiError> {
    let (random, now) = (app.random, app.clock.now());
    let body = posted.bytes.clone();
    let actor = Arc::clone(&caller.actor);
    let work = deed(move |tx| {
        Box::pin(async move {
            let portfolio = reading::portfolio(tx, &caller, &id).await?;
            let entry = find(tx, &portfolio, &transaction).await?;
            let empty: &[u8] = b"{}";
            let mut fields = Fields::of_body(if body.is_empty() { empty } else { &body })?;
            let reason = fields.opt_text("reason").unwrap_or_default();
            let draft = match fields.raw("replacement") {
                Some(raw) => {
                    let pointer = fields.pointer("replacement");
                    match Fields::of(raw, pointer.clone()) {
                        Ok(mut inner) => {
                            let draft = Draft::read(&mut inner, pointer, now);
                            fields.adopt(inner.faults(Unknown::Refused));
                            Some(draft)
                        }
                        Err(fault) => {
                            fields.adopt(vec![fault]);
                            None
                        }
                    }
                }
                None => None,
            };
            fields.finish(Unknown::Refused)?;
            check_active(&portfolio)?;
            if entry.void.is_some() {
                return Err(ApiError::new(Code::AlreadyVoided, "the transaction is voided already"));
            }
            let replacement = match draft {
                Some(draft) => Some(draft.into_replacement(tx, random, &portfolio, &entry).await?),
                None => None,
            };
            let replacement = bookkeeping::void(tx, random, &portfolio, &entry, (&reason, replacement))
                .await
                .map_err(|error| ApiError::from(error).inside("/replacement"))?;
            let voided = find(tx, &portfolio, &entry.transaction.id.to_string()).await?;
            let id = voided.transaction.id;
            let mut shown = views(tx, vec![voided]).await?;
            let replacement = match replacement {
                Some(entry) => views(tx, vec![entry]).await?.pop(),
                None => None,
            };
            let voided = shown.pop().ok_or_else(|| ApiError::new(Code::Internal, "the service failed"))?;
            let told = audit::Entry::created("portfolio.transaction.void", id, &voided);
            tx.audit(told.with("replacement", replacement.as_ref()));
            Answer::ok(&VoidAnswer { success: true, id, voided, replacement })
        })
    });
    posted.once(&app, actor, work).await
}
