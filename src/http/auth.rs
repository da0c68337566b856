//! Who calls, and what each handler demands of the caller.
//!
//! A handler takes `Caller<Scope>`; without that scope it is not entered. There is no way to a handler around it.

use crate::domain::access::{Reach, Scopes};
use crate::domain::audit::{Actor, ActorKind};
use crate::domain::ids::PortfolioId;
use crate::http::AppState;
use crate::http::credentials::identify;
use crate::http::error::{ApiError, Code};
use crate::http::guard::account::Account;
use crate::http::recheck::{self, Admitted};
use crate::http::visit::Visit;
use crate::telemetry::AUTH_FAILURES;
use crate::workers::directory::{Identity, Standing};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use std::marker::PhantomData;
use std::sync::Arc;

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
    )+
        /// Every scope that can be given.
        pub const SCOPES: &[&str] = &[$($text),+];
    };
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
    /// Start, stop and run feeds.
    FeedsWrite = "feeds:write";
    /// Read the metrics.
    MetricsRead = "metrics:read";
    /// Read the audit trail and verify it.
    AuditRead = "audit:read";
    /// Operate the service.
    Admin = "admin";
}

/// Whoever has a valid credential, whatever it allows.
#[derive(Debug, Clone, Copy)]
pub struct Anyone;

impl Scope for Anyone {
    const NAME: &'static str = "";
}

/// A caller that holds scope `S`.
#[derive(Debug, Clone)]
pub struct Caller<S> {
    /// Who it is, for idempotency keys and the audit trail.
    pub actor: Arc<Actor>,
    /// What it may do.
    pub scopes: Arc<Scopes>,
    /// Whose portfolios it sees and makes.
    pub reach: Arc<Reach>,
    /// What let it in, for work that goes on for long.
    pub standing: Standing,
    scope: PhantomData<S>,
}

impl<S> Caller<S> {
    /// The owner a request may name (decision 28): any for an admin, else only the caller's own.
    ///
    /// # Errors
    /// [`Code::Forbidden`].
    pub fn may_own(&self, owner_id: &str) -> Result<(), ApiError> {
        if self.reach.owns(owner_id) {
            return Ok(());
        }
        Err(ApiError::new(Code::Forbidden, "owner_id must be the caller's own"))
    }

    /// Whether it may add a portfolio: one that is bound to single ones could not see it.
    ///
    /// # Errors
    /// [`Code::Forbidden`].
    pub fn may_add(&self) -> Result<(), ApiError> {
        if self.reach.portfolios.is_none() {
            return Ok(());
        }
        Err(ApiError::new(Code::Forbidden, "a credential that is bound to single portfolios cannot add one"))
    }

    /// Whether it may see the audit trail, which tells of every owner: nobody may who acts for one of them.
    ///
    /// # Errors
    /// [`Code::Forbidden`].
    pub fn may_audit(&self) -> Result<(), ApiError> {
        if self.scopes.audits() && self.reach.portfolios.is_none() {
            return Ok(());
        }
        let detail = "the audit trail tells of every owner: a credential with a scope of portfolios, or bound to some, may not see it";
        Err(ApiError::new(Code::Forbidden, detail))
    }

    /// Whether a portfolio of this owner is visible to the caller.
    pub fn sees(&self, owner_id: &str, portfolio: PortfolioId) -> bool {
        self.reach.sees(owner_id, portfolio)
    }

    /// The same where portfolios are named in passing: only to those who may read them.
    pub fn is_shown(&self, owner_id: &str, portfolio: PortfolioId) -> bool {
        let reads =
            [PortfoliosRead::NAME, PortfoliosWrite::NAME].iter().any(|scope| self.scopes.allows(scope));
        reads && self.sees(owner_id, portfolio)
    }

    /// Refuses to go on once the caller may not come in any more.
    ///
    /// # Errors
    /// [`Code::Unauthorized`].
    pub fn check_standing(&self, app: &AppState) -> Result<(), ApiError> {
        recheck::check(app, &self.standing)
    }

    fn of(identity: Identity, parts: &Parts) -> Self {
        let kind = match (&identity.standing, &identity.key_prefix) {
            (_, Some(_)) => ActorKind::Key,
            (Standing::Always, None) if identity.actor == "loopback" => ActorKind::Loopback,
            (Standing::Always, None) => ActorKind::Owner,
            (_, None) => ActorKind::User,
        };
        let actor = Actor { key_prefix: identity.key_prefix, ..Actor::new(kind, identity.actor) };
        Self {
            actor: Visit::of(parts).by(actor),
            scopes: identity.scopes,
            reach: identity.reach,
            standing: identity.standing,
            scope: PhantomData,
        }
    }
}

impl<S: Scope> FromRequestParts<AppState> for Caller<S> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, ApiError> {
        let identity = identify(parts, app).await?;
        if let Some(admitted) = parts.extensions.get::<Admitted>() {
            admitted.by(&identity.standing);
        }
        let allowed = S::NAME.is_empty() || identity.scopes.allows(S::NAME);
        let caller = Self::of(identity, parts);
        if let Some(account) = parts.extensions.get::<Account>() {
            account.charge(&app.guard, &caller.standing)?;
        }
        if allowed {
            return Ok(caller);
        }
        metrics::counter!(AUTH_FAILURES, "kind" => "scope").increment(1);
        Err(ApiError::new(Code::Forbidden, format!("the credential lacks the scope {}", S::NAME)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::extract::Request;

    /// What the audit trail is told of a caller: its kind and the public part of its key.
    fn told(actor: &str, key: Option<&str>, standing: Standing) -> (ActorKind, Option<String>) {
        let identity = Identity {
            actor: actor.to_owned(),
            key_prefix: key.map(str::to_owned),
            scopes: Arc::default(),
            reach: Arc::new(Reach::everything("alice")),
            standing,
        };
        let (parts, ()) = Request::new(()).into_parts();
        let actor = Caller::<Admin>::of(identity, &parts).actor;
        (actor.kind, actor.key_prefix.clone())
    }

    #[test]
    fn the_trail_tells_the_owner_from_a_caller_of_the_open_door_and_names_the_key() {
        assert_eq!(told("owner", None, Standing::Always), (ActorKind::Owner, None));
        assert_eq!(told("loopback", None, Standing::Always), (ActorKind::Loopback, None));
        let key = Standing::Key { prefix: "abc".to_owned(), lineage: "abc".to_owned() };
        assert_eq!(told("key:abc", Some("abc"), key), (ActorKind::Key, Some("abc".to_owned())));
    }
}
