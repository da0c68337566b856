//! Checking a statement: a document of events, prices and rates in, its figures out. No database takes part.

mod measures;
mod read;

use crate::domain::pnl::statement::values::Value;
use crate::domain::pnl::statement::{Answer, Refusal, Statement};
use crate::http::auth::{Caller, PortfoliosRead};
use crate::http::conventions::ConventionsView;
use crate::http::error::{ApiError, Code};
use crate::http::fields::Fields;
use crate::http::posted::Posted;
use crate::http::wire::{Amount, Time};
use axum::Json;
use serde::Serialize;
use serde_json::{Map, Value as Shown, json};
use utoipa::ToSchema;

/// Largest document, decompressed.
pub const DOCUMENT_MAX: usize = 32 << 20;

/// Kinds of document, as `kind` names them.
const KINDS: [&str; 9] =
    ["ledger", "window_pnl", "period", "twr_daily", "irr", "roi", "returns", "annualize", "value_flow"];

/// An entry the ledger refused; it was passed over.
#[derive(Debug, Serialize, ToSchema)]
pub struct RefusedEvent {
    /// Index in `events`.
    #[schema(example = 3)]
    event: u64,
    #[schema(example = "insufficient_quantity")]
    error: &'static str,
    #[schema(example = "16 leave the position, but only 15 are held")]
    detail: String,
}

impl From<&Refusal> for RefusedEvent {
    fn from(refusal: &Refusal) -> Self {
        Self {
            event: u64::try_from(read::index_of(refusal.transaction)).unwrap_or_default(),
            error: refusal.error.code(),
            detail: refusal.error.to_string(),
        }
    }
}

/// The figures of a document.
#[derive(Debug, Serialize, ToSchema)]
pub struct StatementView {
    /// One object per checkpoint, in their order: the values by name, and `missing`, `reasons` where a value is `null`.
    #[schema(value_type = Vec<Object>, example = json!([{"quantity": "3", "cost_basis": "366.66"}]))]
    results: Vec<Map<String, Shown>>,
    /// The conventions of the document, where it has a ledger.
    #[serde(skip_serializing_if = "Option::is_none")]
    conventions: Option<ConventionsView>,
    /// Entries the ledger refused.
    refused: Vec<RefusedEvent>,
}

/// Evaluates a document.
///
/// # Errors
/// Every fault of the document, with its pointer.
pub fn evaluate(document: &[u8]) -> Result<StatementView, ApiError> {
    let mut fields = Fields::of_body(document)?;
    read::skip_remarks(&mut fields);
    let kind = fields.opt_one_of("kind", &KINDS, |name| KINDS.into_iter().find(|kind| *kind == name));
    let kind = kind.unwrap_or("ledger");
    match kind {
        "ledger" | "window_pnl" => {
            let read = read::ledger(&mut fields, true);
            read::finish(fields)?;
            let document =
                read.ok_or_else(|| ApiError::new(Code::Internal, "a faultless document was not read"))?;
            Ok(answers(&document.statement))
        }
        _ => measures::evaluate(kind, fields),
    }
}

fn answers(statement: &Statement) -> StatementView {
    let answers = statement.evaluate();
    let refused = answers.iter().max_by_key(|answer| answer.refused.len());
    let refused = refused.into_iter().flat_map(|answer| &answer.refused);
    StatementView {
        conventions: Some(ConventionsView::from(&statement.conventions)),
        refused: refused.map(RefusedEvent::from).collect(),
        results: answers.iter().map(|answer| result(answer, statement)).collect(),
    }
}

/// The values of one checkpoint on the wire, with reasons and what was missing.
pub fn result(answer: &Answer, statement: &Statement) -> Map<String, Shown> {
    let mut out = Map::new();
    let mut reasons = Map::new();
    for (name, value) in &answer.values {
        let shown = match value {
            Value::Number(number) => json!(Amount(number.clone())),
            Value::Text(text) => json!(text),
            Value::Nothing(reason) => {
                reasons.insert(name.clone(), json!(reason));
                Shown::Null
            }
            Value::Lots(lots) => lots
                .iter()
                .map(|lot| {
                    json!({
                        "quantity": Amount(lot.quantity.clone()),
                        "unit_cost": Amount(lot.unit_cost.clone()),
                        "acquired": Time(lot.acquired),
                    })
                })
                .collect(),
        };
        out.insert(name.clone(), shown);
    }
    if !reasons.is_empty() {
        out.insert("reasons".to_owned(), Shown::Object(reasons));
    }
    let prices = answer.unpriced.iter().filter_map(|key| statement.assets.get(key));
    let prices = prices.map(|asset| json!({"price": asset.name}));
    let rates = answer.unrated.iter();
    let rates = rates.map(|rate| json!({"from": rate.from, "to": rate.to, "at": Time(rate.at)}));
    let missing: Vec<Shown> = prices.chain(rates).collect();
    if !missing.is_empty() {
        out.insert("missing".to_owned(), Shown::Array(missing));
    }
    if answer.conventions != statement.conventions {
        out.insert("conventions".to_owned(), json!(ConventionsView::from(&answer.conventions)));
    }
    out
}

/// Check a statement
///
/// Evaluates a document of events, prices, rates and conventions with the engine that serves stored portfolios; nothing
/// is kept. The document is told in `docs/PNL.md`.
#[utoipa::path(post, path = "/pnl", operation_id = "check_statement", tag = "pnl",
    request_body(content = Object, description = "events, prices, fx, conventions, and checkpoints with the values they want",
        example = json!({"base_currency": "USD", "events": [
            {"type": "buy", "ts": "2026-01-05", "asset": "ACME", "quantity": "10", "price": "100"},
            {"type": "sell", "ts": "2026-02-05", "asset": "ACME", "quantity": "4", "price": "120"}],
            "expect": [{"as_of": "2026-02-05", "asset": "ACME", "want": ["realized_pnl", "lots"]}]})),
    responses((status = 200, description = "The figures", body = StatementView)))]
pub async fn check_statement(
    _caller: Caller<PortfoliosRead>,
    posted: Posted,
) -> Result<Json<StatementView>, ApiError> {
    let evaluated = tokio::task::spawn_blocking(move || evaluate(&posted.bytes)).await;
    evaluated.map_err(|_| ApiError::new(Code::Internal, "the evaluation broke off"))?.map(Json)
}
