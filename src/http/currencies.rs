//! Units of money an operator adds to the built-in ones.

use crate::domain::audit::Entry;
use crate::domain::currency::Currency;
use crate::http::AppState;
use crate::http::auth::{AssetsRead, AssetsWrite, Caller};
use crate::http::error::{ApiError, Code, FieldError, Problem};
use crate::http::fields::{Fields, Unknown};
use crate::http::posted::{Answer, Posted, deed};
use crate::http::query::Query;
use crate::storage::currencies::{self, AddedCurrency};
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

/// A unit of money beside the built-in ones.
#[derive(Debug, Serialize, ToSchema)]
pub struct CurrencyView {
    code: Currency,
    #[schema(example = "Loyalty points")]
    name: String,
    /// Decimals of its smallest ordinary amount.
    #[schema(example = 2)]
    minor_units: i64,
}

/// A unit just added.
#[derive(Debug, Serialize, ToSchema)]
pub struct CurrencyCreated {
    #[schema(example = true)]
    success: bool,
    /// Its code.
    id: Currency,
    #[serde(flatten)]
    currency: CurrencyView,
}

/// A unit to add.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the shape of the request; fields are read one by one to collect every fault")]
pub struct NewCurrency {
    /// 2 to 10 ASCII letters or digits; case counts.
    code: Currency,
    #[schema(example = "Loyalty points")]
    name: String,
    /// Default 2.
    #[schema(example = 2)]
    minor_units: Option<i64>,
}

impl From<AddedCurrency> for CurrencyView {
    fn from(unit: AddedCurrency) -> Self {
        Self { code: unit.code, name: unit.name, minor_units: unit.minor_units }
    }
}

/// List added currencies
///
/// ISO 4217, metals and the usual crypto units are built in and not listed.
#[utoipa::path(get, path = "/currencies", operation_id = "list_currencies", tag = "currencies",
    responses((status = 200, description = "Added units", body = [CurrencyView])))]
pub async fn list_currencies(
    State(app): State<AppState>,
    _: Caller<AssetsRead>,
    mut query: Query,
) -> Result<Json<Vec<CurrencyView>>, ApiError> {
    query.finish()?;
    let mut tx = app.db.read().await?;
    Ok(Json(currencies::added(&mut tx).await?.into_iter().map(CurrencyView::from).collect()))
}

/// Add a currency
#[utoipa::path(post, path = "/currencies", operation_id = "create_currency", tag = "currencies",
    request_body = NewCurrency,
    responses((status = 201, description = "Added", body = CurrencyCreated),
        (status = 409, description = "The code is taken", body = Problem, content_type = "application/problem+json")))]
pub async fn create_currency(
    State(app): State<AppState>,
    caller: Caller<AssetsWrite>,
    posted: Posted,
) -> Result<Answer, ApiError> {
    let mut fields = Fields::of_body(&posted.bytes)?;
    let (code, name) = (fields.text("code", 10), fields.text("name", 255));
    let minor_units: i64 = fields.opt_value("minor_units", "a whole number").unwrap_or(2);
    if !(0..=18).contains(&minor_units) {
        fields.fault("minor_units", "out_of_range", "must be from 0 to 18");
    }
    fields.finish(Unknown::Refused)?;
    let Some(unit) = Currency::from_code(&code) else {
        let detail = "must be 2 to 10 ASCII letters or digits";
        return Err(ApiError::invalid(vec![FieldError::at("/code", "malformed", detail)]));
    };
    let work = deed(move |tx| {
        Box::pin(async move {
            if currencies::find(tx, &code).await?.is_some() {
                let detail = format!("currency `{code}` is known already");
                return Err(ApiError::field(Code::DuplicateCurrency, "/code", "duplicate", detail));
            }
            let added = AddedCurrency { code: unit, name, minor_units };
            currencies::insert(tx, &added).await?;
            let created = CurrencyCreated { success: true, id: unit, currency: added.into() };
            tx.audit(Entry::created("currency.create", unit, &created.currency));
            Answer::created("/currencies".to_owned(), &created)
        })
    });
    posted.once(&app, caller.actor, work).await
}
