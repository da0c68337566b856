//! Keys that sign our own tokens, and tokens of other issuers that are refused.

use crate::domain::audit::{Actor, Entry};
use crate::domain::moment::Moment;
use crate::http::AppState;
use crate::http::access_change::change;
use crate::http::auth::{Admin, Caller};
use crate::http::error::{ApiError, Code};
use crate::http::fields::{Fields, Unknown};
use crate::http::posted::Posted;
use crate::http::query::Query;
use crate::http::wire::Time;
use crate::storage::token_keys::{self, Revocation};
use crate::workers::directory::Part;
use crate::workers::tokens::signing::{self, Signer};
use crate::workers::tokens::{LEEWAY, LIFETIME_MAX};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// How long others may keep our public keys, in seconds.
const JWKS_AGE: &str = "public, max-age=300";

/// Our public keys (RFC 7517).
#[derive(Debug, Serialize, ToSchema)]
pub struct JwkSet {
    /// Each with kty, crv, kid, alg, use and x.
    #[schema(value_type = Vec<Object>, example = json!([{"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": "6f1c2a9b8e7d4c3f", "x": "..."}]))]
    keys: Vec<serde_json::Value>,
}

/// A key that signs from now on.
#[derive(Debug, Serialize, ToSchema)]
pub struct SigningKeyCreated {
    #[schema(example = true)]
    success: bool,
    #[schema(example = "6f1c2a9b8e7d4c3f")]
    kid: String,
    created_at: Time,
}

/// Tokens to refuse.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the shape of the request; fields are read one by one to collect every fault")]
pub struct NewRevocation {
    /// The `iss` of the tokens, one of the configured issuers.
    #[schema(example = "https://login.example.com/")]
    issuer: String,
    /// The `jti` of one token. Give either this or `sub`.
    #[schema(example = "6b2f")]
    jti: Option<String>,
    /// The `sub` of all tokens issued until now.
    #[schema(example = "alice")]
    sub: Option<String>,
}

/// Tokens that are refused from now on.
#[derive(Debug, Serialize, ToSchema)]
pub struct RevocationCreated {
    #[schema(example = true)]
    success: bool,
    revoked_at: Time,
    /// When there can be none of them left.
    expires_at: Time,
}

/// Read our public keys
///
/// Those that sign, and those whose tokens can still be alive.
#[utoipa::path(get, path = "/.well-known/jwks.json", operation_id = "jwks", tag = "access",
    responses((status = 200, description = "A JWK set", body = JwkSet)))]
pub async fn jwks(State(app): State<AppState>) -> Result<Response, ApiError> {
    let now = app.clock.now();
    app.gate.directory.settle(&app.db, now).await?;
    let keys = app.gate.directory.signing_keys(now).iter().filter_map(signing::jwk).collect();
    let headers = [(header::CACHE_CONTROL, HeaderValue::from_static(JWKS_AGE))];
    Ok((headers, Json(JwkSet { keys })).into_response())
}

/// The key to sign with; it is made when there is none, and replaced when it is old.
///
/// # Errors
/// The database's.
pub async fn signer(app: &AppState) -> Result<Arc<Signer>, ApiError> {
    let (directory, now) = (&app.gate.directory, app.clock.now());
    directory.settle(&app.db, now).await?;
    let old = |made: Moment| made.plus(app.gate.settings.signing_key) <= now;
    if let Some((signer, made)) = directory.signer()
        && !old(made)
    {
        return Ok(signer);
    }
    let seen = directory.signer().map(|(signer, _)| signer.kid.clone());
    renew(app, Actor::system("access"), Renewal::Of(seen)).await?;
    let failed = || ApiError::new(Code::Internal, "the service failed");
    directory.signer().map(|(signer, _)| signer).ok_or_else(failed)
}

/// When another key is made.
enum Renewal {
    /// Whatever signs now.
    Anyway,
    /// If this one, or none, still signs.
    Of(Option<String>),
}

/// Makes another key to sign with. In place of a certain one only if that is still the one that signs: of those who find it too old
/// at the same time one makes the next.
async fn renew(
    app: &AppState,
    actor: impl Into<Arc<Actor>>,
    renewal: Renewal,
) -> Result<(String, Moment), ApiError> {
    let (kid, public) = Signer::make(app.gate.directory.secret(), app.random)?;
    let directory = Arc::clone(&app.gate.directory);
    change(app, actor, Part::Tokens, move |tx| {
        Box::pin(async move {
            let recorded_at = tx.recorded_at()?;
            let known = token_keys::signing_keys(tx, recorded_at).await?;
            let signs = known.iter().find(|key| Signer::of(directory.secret(), key).is_some());
            if let Renewal::Of(seen) = renewal
                && let Some(key) = signs.filter(|key| Some(&key.kid) != seen.as_ref())
            {
                return Ok((key.kid.clone(), key.created_at));
            }
            token_keys::insert_signing_key(tx, &kid, &public).await?;
            let said = serde_json::json!({ "public_half": public });
            tx.audit(Entry::created("signing_key.create", &kid, &said));
            Ok::<_, ApiError>((kid, recorded_at))
        })
    })
    .await
}

/// Sign with another key
///
/// The one before goes on verifying until its last token has expired.
#[utoipa::path(post, path = "/signing-keys/rotate", operation_id = "rotate_signing_key", tag = "access",
    responses((status = 201, description = "Made", body = SigningKeyCreated)))]
pub async fn rotate_signing_key(
    State(app): State<AppState>,
    caller: Caller<Admin>,
    mut query: Query,
) -> Result<Response, ApiError> {
    query.finish()?;
    let (kid, created_at) = renew(&app, caller.actor, Renewal::Anyway).await?;
    let body = SigningKeyCreated { success: true, kid, created_at: Time(created_at) };
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// Refuse tokens of another issuer before they expire
///
/// One by its `jti`, or all of a `sub` that were issued until now, or that say they are from within 30 s after: the clock of
/// an issuer may be ahead by as much. Our own tokens end with their user or login.
#[utoipa::path(post, path = "/auth/revocations", operation_id = "revoke_tokens", tag = "access",
    request_body = NewRevocation,
    responses((status = 201, description = "Refused from now on", body = RevocationCreated)))]
pub async fn revoke_tokens(
    State(app): State<AppState>,
    caller: Caller<Admin>,
    posted: Posted,
) -> Result<Response, ApiError> {
    let mut fields = Fields::of_body(&posted.bytes)?;
    let issuer = fields.text("issuer", 255);
    let (jti, sub) = (fields.opt_name("jti", 255), fields.opt_name("sub", 255));
    let known = app.gate.directory.issuers().iter().any(|known| known.rules.issuer == issuer);
    if !known && !issuer.trim().is_empty() {
        fields.fault("issuer", "unknown_value", "is no issuer of the configuration");
    }
    let (claim, value) = match (jti, sub) {
        (Some(jti), None) => ("jti", jti),
        (None, Some(sub)) => ("sub", sub),
        _ => {
            fields.fault("jti", "required", "give either jti or sub");
            ("jti", String::new())
        }
    };
    fields.finish(Unknown::Refused)?;
    let now = app.clock.now();
    let (revoked_at, expires_at) = change(&app, caller.actor, Part::Tokens, move |tx| {
        Box::pin(async move {
            // Tokens are dated by a clock that stamps may be behind.
            let revoked_at = now.max(tx.recorded_at()?);
            let expires_at = revoked_at.plus(LIFETIME_MAX + 4 * LEEWAY);
            let said = serde_json::json!({ "issuer": issuer, "claim": claim, "value": value });
            let revocation = Revocation { issuer, claim: claim.to_owned(), value, revoked_at, expires_at };
            token_keys::revoke(tx, &revocation).await?;
            tx.audit(Entry::created("revocation.create", claim, &said));
            Ok::<_, ApiError>((revoked_at, expires_at))
        })
    })
    .await?;
    let body =
        RevocationCreated { success: true, revoked_at: Time(revoked_at), expires_at: Time(expires_at) };
    Ok((StatusCode::CREATED, Json(body)).into_response())
}
