//! Who calls, and what each handler demands of the caller.
//!
//! A handler takes `Caller<Scope>`; without that scope it is not entered. There is no way to a handler around it.

use crate::domain::moment::Moment;
use crate::http::AppState;
use crate::http::digest::{hex, sha256};
use crate::http::error::{ApiError, Code};
use crate::random::{NoRandomness, Random};
use crate::storage::access::{self, ApiKey};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use std::marker::PhantomData;
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

/// Scope that stands for every other.
pub const ADMIN: &str = "admin";
/// Owner of what the first key makes.
pub const FIRST_OWNER: &str = "admin";

/// Who may come in without a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nobody.
    Keys,
    /// Whoever reaches the loopback address (`--open-loopback`).
    OpenLoopback,
}

/// The door a request came through, set by the listener it arrived on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// The network.
    Network,
    /// The owner's own socket or process: the operating system has let nobody else near.
    Owner,
}

/// A permission a handler can demand.
pub trait Scope: Send {
    /// Its name, `resource:deed`.
    const NAME: &'static str;
}

macro_rules! scopes {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $name;
        impl Scope for $name {
            const NAME: &'static str = $text;
        }
    )+};
}

scopes! {
    /// Read markets.
    MarketsRead = "markets:read";
    /// Add and change markets.
    MarketsWrite = "markets:write";
    /// Read assets and currencies.
    AssetsRead = "assets:read";
    /// Add and change assets and currencies.
    AssetsWrite = "assets:write";
    /// Read prices and rates.
    PricesRead = "prices:read";
    /// Record prices and rates.
    PricesWrite = "prices:write";
    /// Read portfolios, positions, transactions and figures.
    PortfoliosRead = "portfolios:read";
    /// Add and change portfolios, positions and transactions.
    PortfoliosWrite = "portfolios:write";
    /// Take, list and verify backups.
    BackupsWrite = "backups:write";
    /// Read the metrics.
    MetricsRead = "metrics:read";
    /// Operate the service.
    Admin = "admin";
}

/// A caller that holds scope `S`.
#[derive(Debug, Clone)]
pub struct Caller<S> {
    /// Who it is, for idempotency keys and, later, the audit trail.
    pub actor: String,
    /// Whose portfolios it makes.
    pub owner_id: String,
    /// Whether it may act for any owner.
    pub any_owner: bool,
    scope: PhantomData<S>,
}

impl<S> Caller<S> {
    /// The owner a request may name (decision 28): any for an admin, else only the caller's own.
    ///
    /// # Errors
    /// [`Code::Forbidden`].
    pub fn may_own(&self, owner_id: &str) -> Result<(), ApiError> {
        if self.any_owner || self.owner_id == owner_id {
            return Ok(());
        }
        Err(ApiError::new(Code::Forbidden, "owner_id must be the caller's own"))
    }

    /// Whether a portfolio of this owner is visible to the caller.
    pub fn sees(&self, owner_id: &str) -> bool {
        self.any_owner || self.owner_id == owner_id
    }
}

impl<S: Scope> FromRequestParts<AppState> for Caller<S> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, ApiError> {
        let everything = |actor: &str| Self {
            actor: actor.to_owned(),
            owner_id: FIRST_OWNER.to_owned(),
            any_owner: true,
            scope: PhantomData,
        };
        if parts.extensions.get::<Door>() == Some(&Door::Owner) {
            return Ok(everything("owner"));
        }
        if let Some(presented) = presented_key(&parts.headers) {
            let key = valid_key(app, &presented).await?;
            let scopes: Vec<&str> = key.scopes.split(' ').collect();
            let any_owner = scopes.contains(&ADMIN);
            if !any_owner && !scopes.contains(&S::NAME) {
                return Err(ApiError::new(Code::Forbidden, format!("the key lacks the scope {}", S::NAME)));
            }
            return Ok(Self {
                actor: format!("key:{}", key.prefix),
                owner_id: key.owner_id,
                any_owner,
                scope: PhantomData,
            });
        }
        match app.access {
            Access::OpenLoopback => Ok(everything("loopback")),
            Access::Keys => Err(ApiError::new(
                Code::Unauthorized,
                "send an API key as `Authorization: Bearer art_...` or `X-API-Key: art_...`",
            )),
        }
    }
}

fn presented_key(headers: &HeaderMap) -> Option<String> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if let Some(value) = bearer {
        let (scheme, key) = value.split_once(' ').unwrap_or((value, ""));
        return scheme
            .eq_ignore_ascii_case("bearer")
            .then(|| key.trim().to_owned())
            .or_else(|| Some(String::new()));
    }
    let key = headers.get("x-api-key")?;
    Some(key.to_str().unwrap_or_default().to_owned())
}

async fn valid_key(app: &AppState, presented: &str) -> Result<ApiKey, ApiError> {
    let refused = || ApiError::new(Code::Unauthorized, "the API key is not valid");
    let (prefix, secret) = split_key(presented).ok_or_else(refused)?;
    let mut tx = app.db.read().await?;
    let key = access::find_key(&mut tx, prefix).await?;
    // The same work whether the prefix exists or not.
    let kept = key.as_ref().map_or_else(|| sha256(b""), |key| key.secret_hash.clone());
    let matches: bool = kept.as_bytes().ct_eq(sha256(secret.as_bytes()).as_bytes()).into();
    let now = app.clock.now();
    key.filter(|key| matches && key.revoked_at.is_none() && key.expires_at.is_none_or(|end| end > now))
        .ok_or_else(refused)
}

fn split_key(presented: &str) -> Option<(&str, &str)> {
    presented
        .strip_prefix("art_")?
        .split_once('_')
        .filter(|(prefix, secret)| !prefix.is_empty() && secret.len() == 64)
}

/// A new API key: what to show once, and what to keep.
///
/// # Errors
/// [`NoRandomness`].
pub fn new_key(
    random: Random,
    now: Moment,
    name: &str,
    scopes: &str,
) -> Result<(String, ApiKey), NoRandomness> {
    let prefix = hex(&random.bytes::<6>()?);
    let secret = hex(&random.bytes::<32>()?);
    let id: Uuid = random.uuid_v7(now)?;
    let key = ApiKey {
        id,
        prefix: prefix.clone(),
        // The secret is 256 random bits, so a slow hash would add nothing.
        secret_hash: sha256(secret.as_bytes()),
        name: name.to_owned(),
        owner_id: FIRST_OWNER.to_owned(),
        scopes: scopes.to_owned(),
        expires_at: None,
        revoked_at: None,
    };
    Ok((format!("art_{prefix}_{secret}"), key))
}
