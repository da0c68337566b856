//! The credential of a request, and who it turns out to be.
//!
//! A request shows one credential: an API key in `X-API-Key` or after `Bearer`, or a token after `Bearer`. Two of them
//! are none: nobody should have to guess which one counted.

use crate::domain::access::Reach;
use crate::domain::audit::{Actor, ActorKind};
use crate::http::AppState;
use crate::http::auth::{Access, Door, FIRST_OWNER};
use crate::http::error::{ApiError, Code};
use crate::http::visit::Visit;
use crate::telemetry::AUTH_FAILURES;
use crate::workers::directory::{Identity, Refused, Standing};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, header};
use std::sync::Arc;

/// What somebody without a credential is told.
pub const NO_CREDENTIAL: &str = "send an API key as `Authorization: Bearer art_...` or `X-API-Key: art_...`, or an access token as `Authorization: Bearer ...`";
/// What everybody is told whose API key is not let in.
const INVALID_KEY: &str = "the API key is not valid";
/// What everybody is told whose token is not let in.
const INVALID_TOKEN: &str = "the token is not valid";

/// What a request shows, without what may be written around it in more than one way.
#[derive(Debug, PartialEq, Eq, Hash)]
pub enum Presented<'a> {
    /// Nothing.
    Nothing,
    /// An API key, perhaps.
    Key(&'a str),
    /// A token, perhaps.
    Token(&'a str),
    /// Something that can be neither.
    Neither,
}

/// The header of an API key. Names that are made once are not looked through for each request.
static API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// What headers show.
pub fn presented(headers: &HeaderMap) -> Presented<'_> {
    let mut shown = headers.get_all(header::AUTHORIZATION).iter().chain(headers.get_all(&API_KEY));
    let Some(value) = shown.next() else { return Presented::Nothing };
    let (Ok(value), None) = (value.to_str(), shown.next()) else { return Presented::Neither };
    if headers.contains_key(&API_KEY) {
        return Presented::Key(value);
    }
    match value.split_once(' ') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer") => {
            let rest = rest.trim();
            if rest.contains('.') { Presented::Token(rest) } else { Presented::Key(rest) }
        }
        _ => Presented::Neither,
    }
}

/// Whether a request shows nothing where something has to be shown.
pub fn is_stranger(parts: &Parts, access: Access) -> bool {
    access == Access::Keys
        && parts.extensions.get::<Door>() != Some(&Door::Owner)
        && presented(&parts.headers) == Presented::Nothing
}

/// Who sends a request.
///
/// # Errors
/// [`Code::Unauthorized`], with the same words for every key and for every token that is not let in.
pub async fn identify(parts: &Parts, app: &AppState) -> Result<Identity, ApiError> {
    let everything = |actor: &str| Identity {
        actor: actor.to_owned(),
        key_prefix: None,
        scopes: Arc::new(std::iter::once(crate::domain::access::ADMIN.to_owned()).collect()),
        reach: Arc::new(Reach::everything(FIRST_OWNER)),
        standing: Standing::Always,
    };
    if parts.extensions.get::<Door>() == Some(&Door::Owner) {
        return Ok(everything("owner"));
    }
    let now = app.clock.now();
    let directory = &app.gate.directory;
    let shown = presented(&parts.headers);
    if shown != Presented::Nothing {
        directory.settle(&app.db, now).await?;
    }
    let found = match shown {
        Presented::Nothing if app.access == Access::OpenLoopback => return Ok(everything("loopback")),
        Presented::Nothing => {
            metrics::counter!(AUTH_FAILURES, "kind" => "none").increment(1);
            return Err(ApiError::new(Code::Unauthorized, NO_CREDENTIAL));
        }
        Presented::Key(key) => directory.by_key(key, now),
        Presented::Token(token) => directory.by_token(token, now),
        Presented::Neither => Err(Refused::Key),
    };
    let found = found.inspect(|identity| tell(parts, app, identity));
    found.map_err(|refused| {
        if let Presented::Key(key) = presented(&parts.headers) {
            remember(parts, key);
        }
        metrics::counter!(AUTH_FAILURES, "kind" => refused.kind()).increment(1);
        let detail = match refused {
            Refused::Key => INVALID_KEY,
            Refused::Token(fault) => {
                tracing::debug!(%fault, "a token was refused");
                INVALID_TOKEN
            }
        };
        ApiError::new(Code::Unauthorized, detail)
    })
}

/// Tells the log who came in, with which credential and from where, once an hour each.
fn tell(parts: &Parts, app: &AppState, identity: &Identity) {
    let address = Visit::of(parts).address;
    let (actor, key) = (identity.actor.as_str(), identity.key_prefix.as_deref());
    if !app.gate.arrivals.is_new(actor, key, address, app.clock.elapsed()) {
        return;
    }
    let by = match &identity.standing {
        Standing::Always => "door",
        Standing::Key { .. } => "api_key",
        Standing::Token { version: Some(_), .. } => "access_token",
        Standing::Token { version: None, .. } => "token_of_issuer",
    };
    let address = address.map(|address| address.to_string());
    let (key, address) = (key.unwrap_or_default(), address.as_deref().unwrap_or_default());
    tracing::info!(actor, by, key, address, "a credential was let in; not told again for an hour");
}

/// Remembers which key somebody claimed to have, for the audit trail.
fn remember(parts: &Parts, shown: &str) {
    let claimed = shown.strip_prefix("art_").and_then(|rest| rest.split_once('_')).map(|(prefix, _)| prefix);
    let plain = |prefix: &&str| prefix.len() <= 32 && prefix.bytes().all(|b| b.is_ascii_alphanumeric());
    let claimed = claimed.filter(plain).map(str::to_owned);
    let nobody = Actor::new(ActorKind::Anonymous, "anonymous");
    Visit::of(parts).by(Actor { key_prefix: claimed, ..nobody });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[(&'static str, &str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        format!("{:?}", presented(&headers))
    }

    #[test]
    fn one_credential_is_read_and_two_are_none() {
        assert_eq!(read(&[]), "Nothing");
        assert_eq!(read(&[("x-api-key", "art_a_b")]), "Key(\"art_a_b\")");
        assert_eq!(read(&[("authorization", "bEARER  art_a_b ")]), "Key(\"art_a_b\")");
        assert_eq!(read(&[("authorization", "Bearer a.b.c")]), "Token(\"a.b.c\")");
        for neither in ["Basic a.b.c", "Bearer", "", "a.b.c"] {
            assert_eq!(read(&[("authorization", neither)]), "Neither", "{neither}");
        }
        assert_eq!(read(&[("authorization", "Bearer a.b.c"), ("x-api-key", "art_a_b")]), "Neither");
        assert_eq!(read(&[("x-api-key", "art_a_b"), ("x-api-key", "art_a_b")]), "Neither");
    }

    fn parts(lines: &[(&'static str, &str)]) -> Parts {
        let mut request = axum::extract::Request::new(());
        for (name, value) in lines {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        request.into_parts().0
    }

    #[test]
    fn a_stranger_shows_nothing_where_something_has_to_be_shown() {
        assert!(is_stranger(&parts(&[]), Access::Keys));
        assert!(!is_stranger(&parts(&[]), Access::OpenLoopback));
        assert!(!is_stranger(&parts(&[("x-api-key", "art_a_b")]), Access::Keys));
        let mut of_owner = parts(&[]);
        of_owner.extensions.insert(Door::Owner);
        assert!(!is_stranger(&of_owner, Access::Keys));
    }

    #[test]
    fn the_trail_is_told_which_key_somebody_claimed_to_have_and_nothing_that_is_none() {
        let claimed = |shown: &str| {
            let mut parts = parts(&[]);
            let visit = Visit::new(Arc::from("request"), None);
            parts.extensions.insert(visit.clone());
            remember(&parts, shown);
            let who = visit.who().unwrap();
            assert_eq!((who.kind, who.name.as_str()), (ActorKind::Anonymous, "anonymous"));
            who.key_prefix.clone()
        };
        assert_eq!(claimed("art_abc_secret").as_deref(), Some("abc"));
        let longest = "p".repeat(32);
        assert_eq!(claimed(&format!("art_{longest}_secret")), Some(longest.clone()));
        for none in
            [format!("art_{longest}p_secret"), "art_a b_secret".into(), "abc_secret".into(), "art_abc".into()]
        {
            assert_eq!(claimed(&none), None, "{none}");
        }
    }
}
