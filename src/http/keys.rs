//! API keys: making, listing, rotating and revoking them. A key is shown when it is made and never again.

use crate::domain::access::{Scopes, public_part};
use crate::domain::audit::Entry;
use crate::domain::hexadecimal::hex;
use crate::domain::ids::PortfolioId;
use crate::domain::moment::{DAY, Moment};
use crate::http::AppState;
use crate::http::access_change::change;
use crate::http::auth::{Admin, Caller};
use crate::http::error::{ApiError, Code, Problem};
use crate::http::fields::{Fields, Unknown};
use crate::http::posted::Posted;
use crate::http::query::{Query, ROWS};
use crate::http::rights::{self, Rights};
use crate::http::wire::Time;
use crate::random::{NoRandomness, Random};
use crate::storage::access::{self, ApiKey};
use crate::storage::page::After;
use crate::workers::directory::{Directory, Part};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// Longest overlap of a rotation, in seconds: 30 days.
const OVERLAP_MAX: u32 = 30 * 86_400;
/// Overlap of a rotation unless another is asked for: one day.
const OVERLAP: u32 = 86_400;

/// A key to make.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the shape of the request; fields are read one by one to collect every fault")]
pub struct NewKey {
    #[schema(example = "desk")]
    name: String,
    /// May do everything. Give either this or `scopes`.
    #[schema(example = false)]
    admin: Option<bool>,
    /// What it may do.
    #[schema(example = json!(["portfolios:read", "prices:write"]))]
    scopes: Option<Vec<String>>,
    /// Whose portfolios it reaches; required unless `admin` is true.
    #[schema(example = "tester")]
    owner_id: Option<String>,
    /// The only portfolios it reaches; all of its owner's when left out.
    portfolios: Option<Vec<PortfolioId>>,
    /// When it stops working; a day means its end in UTC. Never when left out.
    #[schema(example = "2027-01-31")]
    expires_at: Option<String>,
}

/// A rotation.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the shape of the request; fields are read one by one to collect every fault")]
pub struct KeyRotation {
    /// How long both keys are good, in seconds; default one day, at most 30.
    #[schema(example = 3600)]
    overlap_seconds: Option<u32>,
}

/// A key, without its secret.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct KeyView {
    /// Its public part.
    #[schema(example = "8f14e45fceea")]
    id: String,
    #[schema(example = "desk")]
    name: String,
    #[schema(example = "tester")]
    owner_id: String,
    #[schema(example = json!(["portfolios:read", "prices:write"]))]
    scopes: Vec<String>,
    portfolios: Option<Vec<PortfolioId>>,
    /// active, expired or revoked.
    #[schema(example = "active")]
    status: &'static str,
    /// The first of the keys that followed one another by rotation.
    #[schema(example = "8f14e45fceea")]
    lineage: String,
    created_at: Time,
    expires_at: Option<Time>,
    revoked_at: Option<Time>,
    /// Give or take a minute.
    last_used_at: Option<Time>,
}

/// A key just made.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyCreated {
    #[schema(example = true)]
    success: bool,
    #[serde(flatten)]
    made: KeyView,
    /// The key itself, shown once.
    #[schema(example = "art_8f14e45fceea_...", pattern = "^art_")]
    key: String,
    /// Of a rotation: when the key before it stops working.
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_expires_at: Option<Time>,
}

impl KeyView {
    fn of(key: &ApiKey, last_used_at: Option<Moment>, now: Moment) -> Self {
        let status = match (key.revoked_at, key.expires_at) {
            (Some(_), _) => "revoked",
            (None, Some(end)) if end <= now => "expired",
            (None, _) => "active",
        };
        Self {
            id: key.prefix.clone(),
            name: key.name.clone(),
            owner_id: key.owner_id.clone(),
            scopes: Scopes::parse(&key.scopes).names().to_vec(),
            portfolios: rights::shown(key.portfolios.as_deref()),
            status,
            lineage: key.lineage.clone(),
            created_at: Time(key.created_at),
            expires_at: key.expires_at.map(Time),
            revoked_at: key.revoked_at.map(Time),
            last_used_at: last_used_at.map(Time),
        }
    }
}

/// A new API key: what to show once, and what to keep.
///
/// # Errors
/// [`NoRandomness`].
pub fn new_key(
    directory: &Directory,
    random: Random,
    now: Moment,
    name: &str,
    rights: &Rights,
) -> Result<(String, ApiKey), NoRandomness> {
    let prefix = hex(&random.bytes::<6>()?);
    let secret = hex(&random.bytes::<32>()?);
    let key = ApiKey {
        id: random.uuid_v7(now)?,
        lineage: prefix.clone(),
        // The secret is 256 random bits, so a slow hash would add nothing.
        secret_hash: directory.key_hash(&prefix, &secret),
        name: name.to_owned(),
        owner_id: rights.owner_id.clone(),
        scopes: rights.scopes.to_string(),
        portfolios: rights.kept_portfolios(),
        created_at: now,
        expires_at: None,
        revoked_at: None,
        last_used_at: None,
        prefix: prefix.clone(),
    };
    Ok((format!("art_{prefix}_{secret}"), key))
}

/// What the audit trail is told of a new key.
pub fn told(key: &ApiKey) -> Entry {
    Entry::created("key.create", &key.prefix, &KeyView::of(key, None, Moment::MIN))
}

fn not_found(id: &str) -> ApiError {
    ApiError::new(Code::KeyNotFound, format!("Key not found: {id}"))
}

/// An answer that holds a secret.
fn once(body: &KeyCreated) -> Response {
    let headers = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    (StatusCode::CREATED, headers, Json(body)).into_response()
}

/// Make an API key
///
/// An answer with a secret is not kept: repeating an `Idempotency-Key` makes no second key and is answered 409 with the id of
/// the first.
#[utoipa::path(post, path = "/keys", operation_id = "create_key", tag = "access", request_body = NewKey,
    responses((status = 201, description = "Made; the key is shown once", body = KeyCreated),
        (status = 409, description = "Made before under this `Idempotency-Key`", body = Problem, content_type = "application/problem+json")))]
pub async fn create_key(
    State(app): State<AppState>,
    caller: Caller<Admin>,
    posted: Posted,
) -> Result<Response, ApiError> {
    let now = app.clock.now();
    let mut fields = Fields::of_body(&posted.bytes)?;
    let name = fields.text("name", 64);
    let rights = Rights::read(&mut fields, None);
    let expires_at = rights::read_expiry(&mut fields, now);
    fields.finish(Unknown::Refused)?;
    let (key, kept) = new_key(&app.gate.directory, app.random, now, &name, &rights)?;
    let mut kept = ApiKey { expires_at, ..kept };
    let once_only = posted.shown_once(&caller.actor).await?;
    let made = change(&app, caller.actor, Part::Keys, move |tx| {
        Box::pin(async move {
            once_only.begin(tx).await?;
            rights.check(tx).await?;
            kept.created_at = access::insert_key(tx, &kept).await?;
            tx.audit(told(&kept));
            once_only.done(tx, &kept.prefix).await?;
            Ok::<_, ApiError>(kept)
        })
    });
    let made = KeyView::of(&made.await?, None, now);
    Ok(once(&KeyCreated { success: true, made, key, previous_expires_at: None }))
}

/// List API keys
///
/// In order of making, without their secrets.
#[utoipa::path(get, path = "/keys", operation_id = "list_keys", tag = "access",
    params(("limit" = Option<i64>, Query, description = "Rows wanted, at most 1000"),
        ("cursor" = Option<String>, Query, description = "From the `Link` header of the page before")),
    responses((status = 200, description = "Keys", body = [KeyView])))]
pub async fn list_keys(
    State(app): State<AppState>,
    _: Caller<Admin>,
    mut query: Query,
) -> Result<Response, ApiError> {
    let (limit, after) = (query.limit(ROWS), query.cursor("keys"));
    query.finish()?;
    let after = after.map(|after| (Moment(after.key), after.value));
    let rows = access::list_keys(&mut app.db.read().await?, after, limit).await?;
    let full = i64::try_from(rows.len()).is_ok_and(|count| count == limit);
    let last = rows.last().filter(|_| full);
    let next = last.map(|key| After { value: key.prefix.clone(), key: key.created_at.0 });
    let link = next.map(|after| query.next_link("keys", &after)).unwrap_or_default();
    let views: Vec<KeyView> = rows.iter().map(|key| shown(&app, key)).collect();
    Ok((link, Json(views)).into_response())
}

fn shown(app: &AppState, key: &ApiKey) -> KeyView {
    let used = app.gate.directory.last_used(&key.prefix, key.last_used_at);
    KeyView::of(key, used, app.clock.now())
}

/// Read an API key
///
/// Without its secret.
#[utoipa::path(get, path = "/keys/{key}", operation_id = "get_key", tag = "access",
    params(("key" = String, Path, description = "Id: the part between `art_` and the secret; of the whole key that part counts")),
    responses((status = 200, description = "The key", body = KeyView),
        (status = 404, description = "No such key", body = Problem, content_type = "application/problem+json")))]
pub async fn get_key(
    State(app): State<AppState>,
    _: Caller<Admin>,
    Path(id): Path<String>,
    mut query: Query,
) -> Result<Json<KeyView>, ApiError> {
    query.finish()?;
    let key = find(&mut app.db.read().await?, &id).await?;
    Ok(Json(shown(&app, &key)))
}

async fn find(tx: &mut crate::storage::database::Tx, id: &str) -> Result<ApiKey, ApiError> {
    let id = public_part(id);
    let known = if id.contains('\0') { None } else { access::find_key(tx, id).await? };
    known.ok_or_else(|| not_found(id))
}

/// Revoke an API key
///
/// Felt at once, on open connections and streams too. Revoking it again changes nothing.
#[utoipa::path(delete, path = "/keys/{key}", operation_id = "revoke_key", tag = "access",
    params(("key" = String, Path, description = "Id: the part between `art_` and the secret; of the whole key that part counts")),
    responses((status = 204, description = "Revoked"),
        (status = 404, description = "No such key", body = Problem, content_type = "application/problem+json")))]
pub async fn revoke_key(
    State(app): State<AppState>,
    caller: Caller<Admin>,
    Path(id): Path<String>,
    mut query: Query,
) -> Result<StatusCode, ApiError> {
    query.finish()?;
    change(&app, caller.actor, Part::Keys, move |tx| {
        Box::pin(async move {
            let key = find(tx, &id).await?;
            if key.revoked_at.is_none() {
                access::revoke_key(tx, &key.prefix).await?;
                let before = KeyView::of(&key, None, Moment::MIN);
                let after = KeyView { status: "revoked", ..before.clone() };
                tx.audit(Entry::changed("key.revoke", &key.prefix, (&before, &after)));
            }
            Ok::<_, ApiError>(())
        })
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Rotate an API key
///
/// Makes another key with the same name, rights and length of life, and ends this one after an overlap in which both are
/// good. Idempotency keys of the one are those of the other.
#[utoipa::path(post, path = "/keys/{key}/rotate", operation_id = "rotate_key", tag = "access",
    params(("key" = String, Path, description = "Id: the part between `art_` and the secret; of the whole key that part counts")),
    request_body = KeyRotation,
    responses((status = 201, description = "Made; the new key is shown once", body = KeyCreated),
        (status = 409, description = "The key has ended, or was rotated before under this `Idempotency-Key`", body = Problem, content_type = "application/problem+json")))]
pub async fn rotate_key(
    State(app): State<AppState>,
    caller: Caller<Admin>,
    Path(id): Path<String>,
    posted: Posted,
) -> Result<Response, ApiError> {
    let overlap = overlap(&posted)?;
    let (now, random) = (app.clock.now(), app.random);
    let directory = std::sync::Arc::clone(&app.gate.directory);
    let once_only = posted.shown_once(&caller.actor).await?;
    let rotated = change(&app, caller.actor, Part::Keys, move |tx| {
        Box::pin(async move {
            once_only.begin(tx).await?;
            let old = find(tx, &id).await?;
            if old.revoked_at.is_some() || old.expires_at.is_some_and(|end| end <= now) {
                return Err(ApiError::new(Code::WrongStatus, "a key that has ended cannot be rotated"));
            }
            let rights = Rights {
                scopes: Scopes::parse(&old.scopes),
                owner_id: old.owner_id.clone(),
                portfolios: rights::shown(old.portfolios.as_deref()),
            };
            let (shown, kept) = new_key(&directory, random, now, &old.name, &rights)?;
            let life = old.expires_at.map(|end| end.0.saturating_sub(old.created_at.0));
            let recorded_at = tx.recorded_at()?;
            let expires_at = life.map(|life| recorded_at.plus(life));
            let mut kept = ApiKey { expires_at, lineage: old.lineage.clone(), ..kept };
            kept.created_at = access::insert_key(tx, &kept).await?;
            let end = recorded_at.plus(i64::from(overlap) * (DAY / 86_400));
            access::expire_key(tx, &old.prefix, end).await?;
            let end = old.expires_at.map_or(end, |before| before.min(end));
            tx.audit(told(&kept));
            let ending = KeyView::of(&ApiKey { expires_at: Some(end), ..old.clone() }, None, Moment::MIN);
            let before = KeyView::of(&old, None, Moment::MIN);
            tx.audit(Entry::changed("key.rotate", &old.prefix, (&before, &ending)));
            once_only.done(tx, &kept.prefix).await?;
            Ok((shown, kept, end))
        })
    });
    let (key, kept, end) = rotated.await?;
    let made = KeyView::of(&kept, None, now);
    Ok(once(&KeyCreated { success: true, made, key, previous_expires_at: Some(Time(end)) }))
}

fn overlap(posted: &Posted) -> Result<u32, ApiError> {
    if posted.bytes.is_empty() {
        return Ok(OVERLAP);
    }
    let mut fields = Fields::of_body(&posted.bytes)?;
    let overlap: Option<u32> = fields.opt_value("overlap_seconds", "a whole number of seconds");
    if overlap.is_some_and(|seconds| seconds > OVERLAP_MAX) {
        fields.fault("overlap_seconds", "out_of_range", format!("must be at most {OVERLAP_MAX}"));
    }
    fields.finish(Unknown::Refused)?;
    Ok(overlap.unwrap_or(OVERLAP))
}
