//! Corporate actions of an asset: recording, reading and voiding them.

use crate::domain::asset::Asset;
use crate::domain::audit;
use crate::domain::corporate_action::{ActionType, CorporateAction};
use crate::domain::currency::Currency;
use crate::domain::decimal::Decimal;
use crate::domain::ids::{ActionId, PortfolioId};
use crate::domain::moment::{Moment, Written, start_of_day};
use crate::domain::portfolio::Portfolio;
use crate::domain::price::FUTURE_MAX;
use crate::http::AppState;
use crate::http::auth::{AssetsRead, AssetsWrite, Caller};
use crate::http::error::{ApiError, Code, FieldError, Problem};
use crate::http::fields::{Fields, Unknown, elements};
use crate::http::posted::{Answer, Posted, deed};
use crate::http::query::{Query, ROWS};
use crate::http::reading;
use crate::http::wire::{Metadata, Time};
use crate::random::Random;
use crate::storage::actions::{self as recorded_actions, ActionFilter, RecordedAction};
use crate::storage::assets;
use crate::storage::database::Tx;
use crate::storage::page::After;
use crate::workers::actions::{self, ActionError};
use crate::workers::file_place;
use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// Most actions one request records.
const ACTIONS_MAX: usize = 1_000;

/// One corporate action. Fields its type does not use are `null`.
#[derive(Debug, Serialize, ToSchema)]
pub struct ActionView {
    id: ActionId,
    #[serde(rename = "type")]
    kind: ActionType,
    /// When it takes effect; of a dividend, the moment before which the units must be held.
    executed_at: Time,
    /// Whether `executed_at` was given as a day of the market.
    #[schema(example = true)]
    whole_day: bool,
    /// New units of a split, for `ratio_den` old ones.
    ratio_num: Option<Decimal>,
    ratio_den: Option<Decimal>,
    /// Cash of a dividend for one unit, before tax.
    amount: Option<Decimal>,
    /// Tax kept back of it for one unit.
    tax: Option<Decimal>,
    currency: Option<Currency>,
    #[schema(example = "META")]
    new_symbol: Option<String>,
    #[schema(example = "")]
    note: String,
    metadata: Metadata,
    /// The action it was recorded in place of.
    replaces: Option<ActionId>,
    recorded_at: Time,
    /// When it was voided; `null` while it is in force.
    voided_at: Option<Time>,
    /// Why it was voided.
    #[schema(example = "wrong ratio")]
    void_reason: Option<String>,
    /// The action recorded in its place.
    replaced_by: Option<ActionId>,
}

impl From<RecordedAction> for ActionView {
    fn from(row: RecordedAction) -> Self {
        let a = row.action;
        Self {
            id: a.id,
            kind: a.kind,
            executed_at: Time(a.executed_at),
            whole_day: a.whole_day,
            ratio_num: a.ratio_num,
            ratio_den: a.ratio_den,
            amount: a.amount,
            tax: Some(a.tax).filter(|_| a.kind == ActionType::Dividend),
            currency: a.currency,
            new_symbol: a.new_symbol,
            note: row.note,
            metadata: Metadata::of(&row.metadata),
            replaces: row.replaces,
            recorded_at: Time(row.recorded_at),
            voided_at: row.void.as_ref().map(|void| Time(void.recorded_at)),
            void_reason: row.void.as_ref().map(|void| void.reason.clone()),
            replaced_by: row.void.and_then(|void| void.replaced_by),
        }
    }
}

/// A corporate action to record.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the shape of the request; fields are read one by one to collect every fault")]
pub struct NewAction {
    #[schema(rename = "type")]
    kind: ActionType,
    /// RFC 3339 with a zone, or a day: that day at 00:00 in the zone of the asset's market.
    #[schema(example = "2026-06-10")]
    executed_at: String,
    /// New units for one old.
    ratio: Option<Decimal>,
    ratio_num: Option<Decimal>,
    ratio_den: Option<Decimal>,
    /// Cash of a dividend for one unit held, above zero.
    amount: Option<Decimal>,
    /// Tax kept back of it for one unit; default 0.
    tax: Option<Decimal>,
    /// Default the asset's settlement currency.
    currency: Option<Currency>,
    /// The symbol from then on.
    #[schema(example = "META")]
    new_symbol: Option<String>,
    #[schema(example = "")]
    note: Option<String>,
    metadata: Option<Metadata>,
}

/// A corporate action just recorded.
#[derive(Debug, Serialize, ToSchema)]
pub struct ActionRecorded {
    #[schema(example = true)]
    success: bool,
    #[serde(flatten)]
    action: ActionView,
    /// Portfolios whose ledger it enters, of those the caller may see; none for a change of symbol.
    updated_portfolios: Vec<PortfolioId>,
}

/// Several corporate actions just recorded.
#[derive(Debug, Serialize, ToSchema)]
pub struct ActionsRecorded {
    #[schema(example = true)]
    success: bool,
    #[schema(example = 2)]
    stored: usize,
    /// One by one, in the order sent.
    actions: Vec<ActionView>,
    /// Portfolios whose ledger it enters, of those the caller may see; none for a change of symbol.
    updated_portfolios: Vec<PortfolioId>,
}

/// What became of what was sent: of one object, or of an array.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum OneOrManyActions {
    /// One object was sent.
    One(Box<ActionRecorded>),
    /// An array was sent.
    Many(ActionsRecorded),
}

/// Why an action is voided, and what is recorded in its place.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the shape of the request; fields are read one by one to collect every fault")]
pub struct ActionVoidRequest {
    #[schema(example = "wrong ratio")]
    reason: Option<String>,
    replacement: Option<NewAction>,
}

/// A void, with what was recorded in place.
#[derive(Debug, Serialize, ToSchema)]
pub struct ActionVoidAnswer {
    #[schema(example = true)]
    success: bool,
    id: ActionId,
    voided: ActionView,
    replacement: Option<ActionView>,
    /// Portfolios whose ledger it enters, of those the caller may see; none for a change of symbol.
    updated_portfolios: Vec<PortfolioId>,
}

/// An action as it was sent, with the pointer of its object for messages.
struct Draft {
    pointer: String,
    kind: Option<ActionType>,
    executed_at: Option<Written>,
    as_ratio: bool,
    ratio_num: Option<Decimal>,
    ratio_den: Option<Decimal>,
    amount: Option<Decimal>,
    tax: Decimal,
    currency: Option<String>,
    new_symbol: Option<String>,
    note: String,
    metadata: String,
}

impl Draft {
    fn read(fields: &mut Fields<'_>, pointer: String) -> Self {
        let kind = fields.opt_one_of("type", ActionType::NAMES, ActionType::from_name);
        let executed_at = fields.opt_time("executed_at");
        for name in ["type", "executed_at"] {
            if fields.raw(name).is_none() {
                fields.fault(name, "required", "is required");
            }
        }
        let ratio = fields.opt_decimal("ratio");
        let (ratio_num, ratio_den) = (fields.opt_decimal("ratio_num"), fields.opt_decimal("ratio_den"));
        if ratio.is_some() && (ratio_num.is_some() || ratio_den.is_some()) {
            let detail = "is given in place of ratio_num and ratio_den, not beside them";
            fields.fault("ratio", "contradicts", detail);
        }
        Self {
            pointer,
            kind,
            executed_at,
            as_ratio: ratio.is_some(),
            ratio_den: if ratio.is_some() { Some(Decimal::ONE) } else { ratio_den },
            ratio_num: ratio.or(ratio_num),
            amount: fields.opt_decimal("amount"),
            tax: fields.opt_decimal("tax").unwrap_or_default(),
            currency: fields.opt_text("currency"),
            new_symbol: fields.opt_name("new_symbol", 20).map(|text| text.trim().to_uppercase()),
            note: fields.opt_text("note").unwrap_or_default(),
            metadata: fields.metadata().unwrap_or_else(|| "{}".to_owned()),
        }
    }

    fn at(&self, field: &str) -> String {
        format!("{}/{field}", self.pointer)
    }

    /// The field a rule is about, as it was sent.
    fn on_the_wire(&self, field: &'static str) -> &'static str {
        if self.as_ratio && field.starts_with("ratio_") { "ratio" } else { field }
    }

    /// The action this draft stands for, with every rule it breaks by itself.
    async fn judge(self, tx: &mut Tx, random: Random, asset: &Asset) -> Result<RecordedAction, ApiError> {
        let now = tx.recorded_at()?;
        let mut faults = Vec::new();
        let (executed_at, whole_day) = match self.executed_at {
            Some(Written::Moment(moment)) => (moment, false),
            Some(Written::Day(day)) => (start_of_day(day, asset.market_zone), true),
            None => (now, false),
        };
        let kind = self.kind.unwrap_or(ActionType::Split);
        if kind == ActionType::SymbolChange && executed_at > now {
            let detail = "lies ahead of the clock; a change of symbol is recorded once it has happened";
            faults.push(FieldError::at(self.at("executed_at"), "in_the_future", detail));
        } else if executed_at > now.plus(FUTURE_MAX) {
            let detail = "lies more than 24 h ahead of the clock";
            faults.push(FieldError::at(self.at("executed_at"), "in_the_future", detail));
        }
        let mut action = CorporateAction {
            id: ActionId(random.uuid_v7(now)?),
            asset: asset.key,
            place: 0,
            kind,
            executed_at,
            whole_day,
            ratio_num: self.ratio_num.clone(),
            ratio_den: self.ratio_den.clone(),
            amount: self.amount.clone(),
            tax: self.tax.clone(),
            currency: None,
            new_symbol: self.new_symbol.clone(),
        };
        if let Some(code) = &self.currency {
            match reading::currency(tx, code, &self.at("currency")).await {
                Ok(unit) => action.currency = Some(unit),
                Err(error) if error.errors.is_empty() => return Err(error),
                Err(error) => faults.extend(error.errors),
            }
        }
        for broken in action.check() {
            let at = self.at(self.on_the_wire(broken.field));
            if faults.iter().all(|fault| fault.pointer.as_ref() != Some(&at)) {
                faults.push(FieldError::at(at, broken.code, broken.detail));
            }
        }
        if !faults.is_empty() {
            return Err(ApiError::invalid(faults));
        }
        if kind == ActionType::Dividend && action.currency.is_none() {
            let history = assets::terms(tx, &[asset.key], Moment::MAX).await?;
            let terms = history.at(asset.key, executed_at);
            action.currency = Some(terms.map_or(asset.currency, |terms| terms.settlement));
        }
        Ok(RecordedAction::new(action, self.note, self.metadata))
    }
}

/// Where an action that was sent stands in the body.
struct Place {
    action: ActionId,
    kind: ActionType,
    pointer: String,
}

/// A refusal, at the field of the action it is about.
fn refused(error: ActionError, places: &[Place]) -> ApiError {
    let detail = error.to_string();
    let at = |action: ActionId, field: &str| {
        let place = places.iter().find(|place| place.action == action).map(|place| place.pointer.as_str());
        format!("{}/{field}", place.unwrap_or_default())
    };
    match error {
        ActionError::Duplicate { action, .. } => {
            ApiError::field(Code::DuplicateAction, &at(action, "executed_at"), "duplicate", detail)
        }
        ActionError::SameSymbol { action } => {
            ApiError::invalid(vec![FieldError::at(at(action, "new_symbol"), "same_symbol", detail)])
        }
        ActionError::SymbolTaken { .. } => {
            let renaming = places.iter().rev().find(|place| place.kind == ActionType::SymbolChange);
            match renaming.map(|place| at(place.action, "new_symbol")) {
                Some(pointer) => ApiError::field(Code::DuplicateAsset, &pointer, "duplicate", detail),
                None => ApiError::new(Code::DuplicateAsset, detail),
            }
        }
        ActionError::MissingRate { action, .. } => {
            ApiError::field(Code::MissingRate, &at(action, "currency"), "missing_rate", detail)
        }
        ActionError::Book(error) => error.into(),
        ActionError::Storage(error) => error.into(),
    }
}

fn visible<S>(caller: &Caller<S>, touched: &[Portfolio]) -> Vec<PortfolioId> {
    touched.iter().filter(|one| caller.is_shown(&one.owner_id, one.id)).map(|one| one.id).collect()
}

/// Reads the drafts of a body, one or many.
fn read_drafts(body: &[u8]) -> Result<(Vec<Draft>, bool), ApiError> {
    let (parts, many) = elements(body)?;
    if parts.len() > ACTIONS_MAX {
        let detail = format!("one request records at most {ACTIONS_MAX} actions");
        return Err(ApiError::of_file((file_place::Place::File, "too_many"), detail));
    }
    let (mut drafts, mut faults) = (Vec::with_capacity(parts.len()), Vec::new());
    for (index, part) in parts.into_iter().enumerate() {
        let pointer = if many { format!("/{index}") } else { String::new() };
        match Fields::of(part, pointer.clone()) {
            Ok(mut fields) => {
                drafts.push(Draft::read(&mut fields, pointer));
                faults.extend(fields.faults(Unknown::Refused));
            }
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() { Ok((drafts, many)) } else { Err(ApiError::invalid(faults)) }
}

/// Record corporate actions of an asset
///
/// One object, or an array that is recorded whole or not at all. They apply to every holder from their moment on.
#[utoipa::path(post, path = "/assets/{asset}/actions", operation_id = "record_actions", tag = "actions",
    params(("asset" = String, Path, description = "Id or symbol")),
    request_body(content = NewAction, description = "One action, or an array of them"),
    responses((status = 201, description = "Recorded; `ActionsRecorded` for an array", body = OneOrManyActions),
        (status = 200, description = "Nothing to record: the array is empty", body = OneOrManyActions),
        (status = 409, description = "The same is recorded already, or the symbol is taken", body = Problem, content_type = "application/problem+json")))]
pub async fn record_actions(
    State(app): State<AppState>,
    caller: Caller<AssetsWrite>,
    Path(name): Path<String>,
    posted: Posted,
) -> Result<Answer, ApiError> {
    let random = app.random;
    let body = posted.bytes.clone();
    let actor = Arc::clone(&caller.actor);
    let work = deed(move |tx| {
        Box::pin(async move {
            let asset = reading::asset(tx, &name).await?;
            let (drafts, many) = read_drafts(&body)?;
            let (mut judged, mut places, mut faults) = (Vec::new(), Vec::new(), Vec::new());
            for draft in drafts {
                let pointer = draft.pointer.clone();
                match draft.judge(tx, random, &asset).await {
                    Ok(one) => {
                        places.push(Place { action: one.action.id, kind: one.action.kind, pointer });
                        judged.push(one);
                    }
                    Err(error) if error.code == Code::InvalidRequest => faults.extend(error.errors),
                    Err(error) => return Err(error),
                }
            }
            if !faults.is_empty() {
                return Err(ApiError::invalid(faults));
            }
            let outcome = actions::record(tx, random, &asset, judged).await;
            let (recorded, touched) = outcome.map_err(|error| refused(error, &places))?;
            let updated_portfolios = visible(&caller, &touched);
            let mut views: Vec<ActionView> = recorded.into_iter().map(ActionView::from).collect();
            let list = format!("/assets/{}/actions", asset.id);
            match views.as_slice() {
                [] => {}
                [one] => tx.audit(audit::Entry::created("asset.action.create", one.id, one)),
                many => {
                    let told = audit::Entry::created("asset.action.create", asset.id, &many);
                    tx.audit(told.on("asset", asset.id));
                }
            }
            if many {
                let stored = views.len();
                let body = ActionsRecorded { success: true, stored, actions: views, updated_portfolios };
                let body = OneOrManyActions::Many(body);
                return if stored == 0 { Answer::ok(&body) } else { Answer::created(list, &body) };
            }
            let action = views
                .pop()
                .ok_or_else(|| ApiError::new(Code::Internal, "the service failed; nothing was changed"))?;
            let location = format!("{list}/{}", action.id);
            let body = ActionRecorded { success: true, action, updated_portfolios };
            Answer::created(location, &OneOrManyActions::One(Box::new(body)))
        })
    });
    posted.once(&app, actor, work).await
}

/// List the corporate actions of an asset
///
/// In order of `executed_at`; voided ones only when asked for.
#[utoipa::path(get, path = "/assets/{asset}/actions", operation_id = "list_actions", tag = "actions",
    params(("asset" = String, Path, description = "Id or symbol"),
        ("type" = Option<ActionType>, Query, description = "Only this type"),
        ("as_of" = Option<String>, Query, description = "Up to this moment, or through this day in the market's zone"),
        ("known_at" = Option<String>, Query, description = "As known then"),
        ("voided" = Option<bool>, Query, description = "Voided ones too"),
        ("limit" = Option<i64>, Query, description = "Rows wanted, at most 1000"),
        ("cursor" = Option<String>, Query, description = "From the `Link` header of the page before")),
    responses((status = 200, description = "Actions", body = [ActionView])))]
pub async fn list_actions(
    State(app): State<AppState>,
    _: Caller<AssetsRead>,
    Path(name): Path<String>,
    mut query: Query,
) -> Result<Response, ApiError> {
    let known_at = reading::known_at(&app, &mut query).await?;
    let mut tx = app.db.read().await?;
    let asset = reading::asset(&mut tx, &name).await?;
    let filter = ActionFilter {
        kind: query.one_of("type", ActionType::NAMES, ActionType::from_name),
        as_of: query.until("as_of", asset.market_zone).unwrap_or(Moment::MAX),
        known_at: known_at.unwrap_or(Moment::MAX),
        voided: query.flag("voided"),
        after: query.cursor("actions"),
        limit: query.limit(ROWS),
    };
    query.finish()?;
    let rows = recorded_actions::list(&mut tx, asset.key, &filter).await?;
    let full = i64::try_from(rows.len()).is_ok_and(|count| count == filter.limit);
    let next = rows
        .last()
        .filter(|_| full)
        .map(|row| After { value: row.action.executed_at.0.to_string(), key: row.seq });
    let link = next.map(|after| query.next_link("actions", &after)).unwrap_or_default();
    let views: Vec<ActionView> = rows.into_iter().map(ActionView::from).collect();
    Ok((link, Json(views)).into_response())
}

/// Read a corporate action
#[utoipa::path(get, path = "/assets/{asset}/actions/{action}", operation_id = "get_action", tag = "actions",
    params(("asset" = String, Path, description = "Id or symbol"), ("action" = String, Path, description = "Id")),
    responses((status = 200, description = "The action", body = ActionView)))]
pub async fn get_action(
    State(app): State<AppState>,
    _: Caller<AssetsRead>,
    Path((name, action)): Path<(String, String)>,
    mut query: Query,
) -> Result<Json<ActionView>, ApiError> {
    query.finish()?;
    let mut tx = app.db.read().await?;
    let asset = reading::asset(&mut tx, &name).await?;
    Ok(Json(find(&mut tx, &asset, &action).await?.into()))
}

async fn find(tx: &mut Tx, asset: &Asset, name: &str) -> Result<RecordedAction, ApiError> {
    let found = match ActionId::parse(name) {
        Some(id) => recorded_actions::find(tx, asset.key, id).await?,
        None => None,
    };
    found.ok_or_else(|| ApiError::new(Code::ActionNotFound, format!("Action not found: {name}")))
}

/// Void a corporate action
///
/// It stays readable; with `replacement` the right action takes its place in the same commit.
#[utoipa::path(post, path = "/assets/{asset}/actions/{action}/void", operation_id = "void_action", tag = "actions",
    params(("asset" = String, Path, description = "Id or symbol"), ("action" = String, Path, description = "Id")),
    request_body = ActionVoidRequest,
    responses((status = 200, description = "Voided", body = ActionVoidAnswer),
        (status = 409, description = "Voided already", body = Problem, content_type = "application/problem+json")))]
pub async fn void_action(
    State(app): State<AppState>,
    caller: Caller<AssetsWrite>,
    Path((name, action)): Path<(String, String)>,
    posted: Posted,
) -> Result<Answer, ApiError> {
    let random = app.random;
    let body = posted.bytes.clone();
    let actor = Arc::clone(&caller.actor);
    let work = deed(move |tx| {
        Box::pin(async move {
            let asset = reading::asset(tx, &name).await?;
            let original = find(tx, &asset, &action).await?;
            let empty: &[u8] = b"{}";
            let mut fields = Fields::of_body(if body.is_empty() { empty } else { &body })?;
            let reason = fields.opt_text("reason").unwrap_or_default();
            let mut draft = None;
            if let Some(raw) = fields.raw("replacement") {
                let pointer = fields.pointer("replacement");
                match Fields::of(raw, pointer.clone()) {
                    Ok(mut inner) => {
                        draft = Some(Draft::read(&mut inner, pointer));
                        fields.adopt(inner.faults(Unknown::Refused));
                    }
                    Err(fault) => fields.adopt(vec![fault]),
                }
            }
            fields.finish(Unknown::Refused)?;
            if original.void.is_some() {
                return Err(ApiError::new(Code::AlreadyVoided, "the action is voided already"));
            }
            let replacement = match draft {
                Some(draft) => Some(draft.judge(tx, random, &asset).await?),
                None => None,
            };
            let place = |new: &RecordedAction| Place {
                action: new.action.id,
                kind: new.action.kind,
                pointer: "/replacement".to_owned(),
            };
            let places: Vec<Place> = replacement.iter().map(place).collect();
            let outcome = actions::void(tx, random, &asset, &original, (&reason, replacement)).await;
            let (replacement, touched) = outcome.map_err(|error| refused(error, &places))?;
            let id = original.action.id;
            let voided = find(tx, &asset, &id.to_string()).await?;
            let (voided, replacement) = (ActionView::from(voided), replacement.map(ActionView::from));
            let told = audit::Entry::created("asset.action.void", id, &voided);
            tx.audit(told.with("replacement", replacement.as_ref()));
            Answer::ok(&ActionVoidAnswer {
                success: true,
                id,
                voided,
                replacement,
                updated_portfolios: visible(&caller, &touched),
            })
        })
    });
    posted.once(&app, actor, work).await
}
