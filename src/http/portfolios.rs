//! Portfolios and their totals.

use crate::domain::audit;
use crate::domain::currency::Currency;
use crate::domain::decimal::Decimal;
use crate::domain::ids::{PortfolioId, TransactionId};
use crate::domain::moment::{Moment, Written, start_of_day};
use crate::domain::portfolio::{Conventions, Portfolio, PortfolioStatus};
use crate::domain::price::FUTURE_MAX;
use crate::domain::transaction::{Transaction, TransactionType};
use crate::http::AppState;
use crate::http::auth::{Caller, PortfoliosRead, PortfoliosWrite};
use crate::http::conventions::{ConventionsView, GivenConventions};
use crate::http::error::{ApiError, Code, Problem};
use crate::http::fields::{Fields, Unknown};
use crate::http::performance::Performance;
use crate::http::positions::{PositionView, open_views};
use crate::http::posted::{Answer, Posted, deed};
use crate::http::query::Query;
use crate::http::reading;
use crate::http::tagged::{Tagged, TaggedText, check_match};
use crate::http::wire::{Amount, Metadata, Time, amount};
use crate::storage::database::Tx;
use crate::storage::page::After;
use crate::storage::portfolios::{self, PortfolioFilter, PortfolioSort};
use crate::storage::transactions::{self, Entry};
use crate::workers::bookkeeping;
use crate::workers::pnl_engine::{self, Ask, Figures};
use crate::workers::present::{Detail, Totals};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono_tz::Tz;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// A portfolio.
#[derive(Debug, Serialize, ToSchema)]
pub struct PortfolioView {
    id: PortfolioId,
    created_at: Time,
    updated_at: Time,
    #[schema(example = "Test Portfolio")]
    name: String,
    #[schema(example = "")]
    description: String,
    status: PortfolioStatus,
    #[schema(example = "tester")]
    owner_id: String,
    base_currency: Currency,
    initial_capital: Decimal,
    /// Free cash: cash less what open shorts reserve. `null` when a rate is missing.
    current_capital: Option<Amount>,
    /// Open positions; left out where only the portfolio itself is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    positions: Option<Vec<PositionView>>,
    metadata: Metadata,
    /// Zone in which its days are counted.
    #[schema(example = "UTC")]
    time_zone: String,
    opened_at: Time,
    conventions: ConventionsView,
    /// Counts changes of what is not computed; `If-Match: "v<version>"` guards an update.
    #[schema(example = 1)]
    version: i64,
}

impl PortfolioView {
    fn of(
        portfolio: &Portfolio,
        conventions: &Conventions,
        current_capital: Option<&Decimal>,
        positions: Option<Vec<PositionView>>,
    ) -> Self {
        Self {
            id: portfolio.id,
            created_at: Time(portfolio.created_at),
            updated_at: Time(portfolio.updated_at),
            name: portfolio.name.clone(),
            description: portfolio.description.clone(),
            status: portfolio.status,
            owner_id: portfolio.owner_id.clone(),
            base_currency: portfolio.base_currency,
            initial_capital: portfolio.initial_capital.clone(),
            current_capital: amount(current_capital),
            positions,
            metadata: Metadata::of(&portfolio.metadata),
            time_zone: portfolio.time_zone.name().to_owned(),
            opened_at: Time(portfolio.opened_at),
            conventions: ConventionsView::from(conventions),
            version: portfolio.version,
        }
    }
}

/// A portfolio just created or changed.
#[derive(Debug, Serialize, ToSchema)]
pub struct PortfolioCreated {
    #[schema(example = true)]
    success: bool,
    #[serde(flatten)]
    portfolio: PortfolioView,
}

/// A portfolio with its totals.
#[derive(Debug, Serialize, ToSchema)]
pub struct PortfolioRead {
    #[schema(example = true)]
    success: bool,
    performance: Performance,
    portfolio: PortfolioView,
}

impl PortfolioRead {
    fn of(portfolio: &Portfolio, figures: &Figures, ask: &Ask) -> Self {
        let free = figures.report.sums.current_capital();
        Self {
            success: true,
            performance: Performance::of(portfolio, figures, ask),
            portfolio: PortfolioView::of(portfolio, &figures.conventions, free.as_ref(), None),
        }
    }
}

/// A portfolio to create.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the shape of the request; fields are read one by one to collect every fault")]
pub struct NewPortfolio {
    #[schema(example = "Test Portfolio")]
    name: String,
    #[schema(example = "tester")]
    owner_id: String,
    /// The opening deposit, in base currency; not below zero.
    initial_capital: Decimal,
    /// Default USD.
    base_currency: Option<Currency>,
    #[schema(example = "")]
    description: Option<String>,
    /// IANA name; default UTC. Fixed.
    #[schema(example = "Europe/Zurich")]
    time_zone: Option<String>,
    /// Date of the opening deposit; default now.
    #[schema(example = "2026-01-31")]
    opened_at: Option<String>,
    conventions: Option<ConventionsView>,
    metadata: Option<Metadata>,
}

/// Changes to a portfolio (RFC 7396 merge patch).
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the shape of the request; fields are read one by one to collect every fault")]
pub struct PortfolioPatch {
    #[schema(example = "Test Portfolio")]
    name: Option<String>,
    #[schema(example = "the desk's book")]
    description: Option<String>,
    /// Those that change; the book is computed anew under them.
    conventions: Option<ConventionsView>,
    metadata: Option<Metadata>,
}

/// List portfolios
///
/// In order of entry, each with its open positions.
#[utoipa::path(get, path = "/portfolios", operation_id = "list_portfolios", tag = "portfolios",
    params(
        ("status" = Option<PortfolioStatus>, Query, description = "Only portfolios in this status"),
        ("owner_id" = Option<String>, Query, description = "Only portfolios of this owner"),
        ("q" = Option<String>, Query, description = "Only portfolios with this text in name or description"),
        ("sort" = Option<String>, Query, description = "created_at or name; `-` before it sorts from the greatest"),
        ("limit" = Option<i64>, Query, description = "Rows wanted, at most 1000"),
        ("cursor" = Option<String>, Query, description = "From the `Link` header of the page before"),
    ),
    responses((status = 200, description = "Portfolios", body = [PortfolioView])))]
pub async fn list_portfolios(
    State(app): State<AppState>,
    caller: Caller<PortfoliosRead>,
    mut query: Query,
) -> Result<Response, ApiError> {
    let status = query.one_of("status", PortfolioStatus::NAMES, PortfolioStatus::from_name);
    let (owner_id, text) = (query.text("owner_id"), query.text("q"));
    let page = query.page(PortfolioSort::CreatedAt, PortfolioSort::NAMES, PortfolioSort::from_name);
    query.finish()?;
    if let Some(owner_id) = &owner_id {
        caller.may_own(owner_id)?;
    }
    let owner_id = owner_id.or_else(|| (!caller.reach.any_owner).then(|| caller.reach.owner_id.clone()));
    let only = caller.reach.portfolios.clone();
    let mut tx = app.db.read().await?;
    let rows = portfolios::list(&mut tx, &PortfolioFilter { status, owner_id, text, only }, &page).await?;
    let full = i64::try_from(rows.len()).is_ok_and(|count| count == page.limit);
    let last = rows.last().filter(|_| full).map(|portfolio| match page.sort {
        PortfolioSort::CreatedAt => After { value: portfolio.seq.to_string(), key: portfolio.seq },
        PortfolioSort::Name => After { value: portfolio.name.clone(), key: portfolio.seq },
    });
    let sort = query.sort_text();
    let link = last.map(|after| query.next_link(&sort, &after)).unwrap_or_default();
    let now = app.clock.now();
    let mut views = Vec::with_capacity(rows.len());
    for portfolio in rows {
        let figures =
            app.presents.figures(&mut tx, &portfolio, (&Ask::default(), Detail::Positions), now).await?;
        let positions = open_views(&mut tx, &portfolio, &figures, Moment::MAX).await?;
        let free = figures.report.sums.current_capital();
        views.push(PortfolioView::of(&portfolio, &figures.conventions, free.as_ref(), Some(positions)));
    }
    Ok((link, Json(views)).into_response())
}

/// Read a portfolio's totals
///
/// `as_of` and `known_at` ask for the past, as it was known in the past.
#[utoipa::path(get, path = "/portfolios/{portfolio}", operation_id = "get_portfolio", tag = "portfolios",
    params(("portfolio" = String, Path, description = "Id"),
        ("as_of" = Option<String>, Query, description = "At this moment, or at the end of this day in the portfolio's zone"),
        ("known_at" = Option<String>, Query, description = "As known then")),
    responses((status = 200, description = "The portfolio", body = PortfolioRead),
        (status = 404, description = "No such portfolio", body = Problem, content_type = "application/problem+json")))]
pub async fn get_portfolio(
    State(app): State<AppState>,
    caller: Caller<PortfoliosRead>,
    Path(id): Path<String>,
    mut query: Query,
) -> Result<Response, ApiError> {
    let now = app.clock.now();
    let past = query.text("as_of").is_some() || query.text("known_at").is_some();
    let named = PortfolioId::parse(&id).filter(|_| !past);
    let held = named.and_then(|id| app.presents.held_totals(app.db.ticks(), id, now));
    if let Some(totals) = held.filter(|totals| caller.sees(&totals.portfolio.owner_id, totals.portfolio.id)) {
        query.finish()?;
        return written(&totals);
    }
    let known_at = reading::known_at(&app, &mut query).await?;
    let mut tx = app.db.read().await?;
    let portfolio = reading::portfolio_known(&mut tx, &caller, &id, known_at).await?;
    let as_of = query.until("as_of", portfolio.time_zone);
    query.finish()?;
    let ask = Ask { as_of, known_at, ..Ask::default() };
    if ask.is_present()
        && let Some(totals) = app.presents.totals(&mut tx, &portfolio, now).await?
    {
        return written(&totals);
    }
    let figures = pnl_engine::figures(&mut tx, &portfolio, &ask, now).await?;
    let body = PortfolioRead::of(&portfolio, &figures, &ask);
    Ok(Tagged { version: portfolio.version, body }.into_response())
}

/// Present totals, written out once for all who ask.
fn written(totals: &Totals) -> Result<Response, ApiError> {
    let body = if let Some(body) = totals.written.get() {
        body
    } else {
        let read = PortfolioRead::of(&totals.portfolio, &totals.figures, &Ask::default());
        let json =
            serde_json::to_vec(&read).map_err(|_| ApiError::new(Code::Internal, "the service failed"))?;
        totals.written.get_or_init(|| json.into_boxed_slice())
    };
    Ok(TaggedText { version: totals.portfolio.version, json: body.to_vec() }.into_response())
}

/// Create a portfolio
///
/// Its initial capital becomes a deposit, the first entry of its ledger.
#[utoipa::path(post, path = "/portfolios", operation_id = "create_portfolio", tag = "portfolios",
    request_body = NewPortfolio,
    responses((status = 201, description = "Created", body = PortfolioCreated)))]
pub async fn create_portfolio(
    State(app): State<AppState>,
    caller: Caller<PortfoliosWrite>,
    posted: Posted,
) -> Result<Answer, ApiError> {
    let mut fields = Fields::of_body(&posted.bytes)?;
    let (name, owner_id) = (fields.text("name", 255), fields.text("owner_id", 255));
    let initial_capital = fields.decimal("initial_capital");
    if initial_capital.is_negative() {
        fields.fault("initial_capital", "negative", "must not be below zero");
    }
    let currency = fields.opt_text("base_currency").unwrap_or_else(|| "USD".to_owned());
    let description = fields.opt_text("description").unwrap_or_default();
    let time_zone = fields.opt_text("time_zone").map_or(Some(Tz::UTC), |name| name.parse().ok());
    if time_zone.is_none() {
        fields.fault("time_zone", "unknown_zone", "must be the IANA name of a time zone");
    }
    let time_zone = time_zone.unwrap_or(Tz::UTC);
    let opened_at = fields.opt_time("opened_at").map(|written| match written {
        Written::Moment(moment) => (moment, false),
        Written::Day(day) => (start_of_day(day, time_zone), true),
    });
    if opened_at.is_some_and(|(at, _)| at > app.clock.now().plus(FUTURE_MAX)) {
        fields.fault("opened_at", "in_the_future", "lies more than 24 h ahead of the clock");
    }
    let conventions = GivenConventions::read(&mut fields, "conventions").over(&Conventions::default());
    let metadata = fields.metadata().unwrap_or_else(|| "{}".to_owned());
    fields.finish(Unknown::Ignored)?;
    caller.may_own(&owner_id)?;
    caller.may_add()?;
    let random = app.random;
    let id = PortfolioId(random.uuid_v7(app.clock.now())?);
    let deposit_id = TransactionId(random.uuid_v7(app.clock.now())?);
    let work = deed(move |tx| {
        Box::pin(async move {
            let base_currency = reading::currency(tx, &currency, "/base_currency").await?;
            let (opened_at, whole_day) = opened_at.unwrap_or((tx.recorded_at()?, false));
            let portfolio = Portfolio {
                id,
                seq: 0,
                name,
                description,
                status: PortfolioStatus::Active,
                owner_id,
                base_currency,
                initial_capital: initial_capital.clone(),
                time_zone,
                opened_at,
                metadata,
                version: 1,
                created_at: Moment(0),
                updated_at: Moment(0),
            };
            let portfolio = portfolios::insert(tx, portfolio).await?;
            portfolios::insert_conventions(tx, portfolio.id, Moment::MIN, &conventions).await?;
            if !initial_capital.is_zero() {
                let mut deposit = Transaction::bare(deposit_id, TransactionType::Deposit, opened_at);
                deposit.whole_day = whole_day;
                deposit.amount = Some(initial_capital.clone());
                deposit.currency = Some(base_currency);
                let entry = Entry::new(portfolio.id, deposit, "initial capital");
                bookkeeping::record(tx, random, &portfolio, vec![entry]).await?;
            }
            let view = PortfolioView::of(&portfolio, &conventions, Some(&initial_capital), Some(Vec::new()));
            tx.audit(audit::Entry::created("portfolio.create", id, &view));
            Answer::created(format!("/portfolios/{id}"), &PortfolioCreated { success: true, portfolio: view })
        })
    });
    posted.once(&app, caller.actor, work).await
}

/// Change a portfolio
#[utoipa::path(patch, path = "/portfolios/{portfolio}", operation_id = "update_portfolio", tag = "portfolios",
    params(("portfolio" = String, Path, description = "Id")),
    request_body(content = PortfolioPatch, content_type = "application/merge-patch+json"),
    responses((status = 200, description = "The portfolio", body = PortfolioCreated)))]
pub async fn update_portfolio(
    State(app): State<AppState>,
    caller: Caller<PortfoliosWrite>,
    Path(id): Path<String>,
    posted: Posted,
) -> Result<Tagged<PortfolioCreated>, ApiError> {
    let (random, now) = (app.random, app.clock.now());
    app.db
        .writer()
        .write(Arc::clone(&caller.actor), move |tx| {
            Box::pin(async move {
                let mut portfolio = reading::portfolio(tx, &caller, &id).await?;
                check_match(&posted.headers, portfolio.version)?;
                let before = portfolio.clone();
                let mut fields = Fields::of_body(&posted.bytes)?;
                fields.not_null(&["name"]);
                if let Some(name) = fields.opt_name("name", 255) {
                    portfolio.name = name;
                }
                if fields.has("description") {
                    portfolio.description = fields.opt_text("description").unwrap_or_default();
                }
                if fields.has("metadata") {
                    portfolio.metadata = fields.metadata().unwrap_or_else(|| "{}".to_owned());
                }
                let given = GivenConventions::read(&mut fields, "conventions");
                fields.finish(Unknown::Refused)?;
                let old = portfolios::conventions(tx, portfolio.id, Moment::MAX, Moment::MAX).await?;
                let new = given.over(&old);
                let portfolio = portfolios::update(tx, portfolio).await?;
                let after = PortfolioView::of(&portfolio, &new, None, None);
                let before = PortfolioView::of(&before, &old, None, None);
                tx.audit(audit::Entry::changed("portfolio.update", portfolio.id, (&before, &after)));
                if new != old {
                    let from = tx.recorded_at()?;
                    portfolios::insert_conventions(tx, portfolio.id, from, &new).await?;
                    bookkeeping::refold(tx, random, &portfolio, &[]).await?;
                }
                changed(tx, &portfolio, now).await
            })
        })
        .await
}

async fn changed(
    tx: &mut Tx,
    portfolio: &Portfolio,
    now: Moment,
) -> Result<Tagged<PortfolioCreated>, ApiError> {
    let figures = pnl_engine::figures(tx, portfolio, &Ask::default(), now).await?;
    let free = figures.report.sums.current_capital();
    let view = PortfolioView::of(portfolio, &figures.conventions, free.as_ref(), None);
    Ok(Tagged { version: portfolio.version, body: PortfolioCreated { success: true, portfolio: view } })
}

/// What [`act_on_portfolio`] does, by name: from which statuses, and to which.
pub const ACTIONS: &[(&str, &[PortfolioStatus], PortfolioStatus)] = {
    use PortfolioStatus as P;
    &[
        ("freeze", &[P::Active, P::Frozen], P::Frozen),
        ("unfreeze", &[P::Frozen, P::Active], P::Active),
        ("deactivate", &[P::Active, P::Frozen, P::Inactive], P::Inactive),
        ("activate", &[P::Inactive, P::Active], P::Active),
    ]
};

/// A status as it is told to the audit trail.
fn status_of(status: PortfolioStatus) -> serde_json::Value {
    serde_json::json!({ "status": status.name() })
}

/// Freeze, unfreeze, deactivate or activate a portfolio
#[utoipa::path(post, path = "/portfolios/{portfolio}/{action}", operation_id = "act_on_portfolio", tag = "portfolios",
    params(("portfolio" = String, Path, description = "Id"),
        ("action" = String, Path, description = "freeze, unfreeze, deactivate or activate")),
    responses((status = 200, description = "The portfolio", body = PortfolioCreated),
        (status = 409, description = "Not from this status", body = Problem, content_type = "application/problem+json")))]
pub async fn act_on_portfolio(
    State(app): State<AppState>,
    caller: Caller<PortfoliosWrite>,
    Path((id, action)): Path<(String, String)>,
    mut query: Query,
) -> Result<Tagged<PortfolioCreated>, ApiError> {
    query.finish()?;
    let named = ACTIONS.iter().find(|(name, _, _)| *name == action);
    let (_, from, to) = *named.ok_or_else(|| ApiError::new(Code::NotFound, "Not Found"))?;
    let now = app.clock.now();
    app.db
        .writer()
        .write(Arc::clone(&caller.actor), move |tx| {
            Box::pin(async move {
                let mut portfolio = reading::portfolio(tx, &caller, &id).await?;
                if !from.contains(&portfolio.status) {
                    let detail =
                        format!("a portfolio that is {} cannot be set {to} by {action}", portfolio.status);
                    return Err(ApiError::new(Code::WrongStatus, detail));
                }
                if portfolio.status != to {
                    let before = portfolio.status;
                    portfolio.status = to;
                    portfolio = portfolios::update(tx, portfolio).await?;
                    let statuses = (&status_of(before), &status_of(to));
                    tx.audit(audit::Entry::changed(format!("portfolio.{action}"), portfolio.id, statuses));
                }
                changed(tx, &portfolio, now).await
            })
        })
        .await
}

/// Delete a portfolio
///
/// Only while there is nothing in it but its opening deposit.
#[utoipa::path(delete, path = "/portfolios/{portfolio}", operation_id = "delete_portfolio", tag = "portfolios",
    params(("portfolio" = String, Path, description = "Id")),
    responses((status = 204, description = "Deleted"),
        (status = 409, description = "It has entries", body = Problem, content_type = "application/problem+json")))]
pub async fn delete_portfolio(
    State(app): State<AppState>,
    caller: Caller<PortfoliosWrite>,
    Path(id): Path<String>,
    posted: Posted,
) -> Result<StatusCode, ApiError> {
    app.db
        .writer()
        .write(Arc::clone(&caller.actor), move |tx| {
            Box::pin(async move {
                let portfolio = reading::portfolio(tx, &caller, &id).await?;
                check_match(&posted.headers, portfolio.version)?;
                let opening = i64::from(!portfolio.initial_capital.is_zero());
                if transactions::count(tx, portfolio.id).await? > opening {
                    let detail =
                        "the portfolio has ledger entries beside its opening deposit; deactivate it instead";
                    return Err(ApiError::new(Code::PortfolioInUse, detail));
                }
                let conventions = portfolios::conventions(tx, portfolio.id, Moment::MAX, Moment::MAX).await?;
                let before = PortfolioView::of(&portfolio, &conventions, None, None);
                portfolios::delete(tx, portfolio.id).await?;
                tx.audit(audit::Entry::removed("portfolio.delete", portfolio.id, &before));
                Ok(StatusCode::NO_CONTENT)
            })
        })
        .await
}
