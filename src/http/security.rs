//! The headers by which a browser, or a cache on the way, is told to keep out of what it must not touch.

use crate::http::client_address::Encrypted;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use std::time::Duration;
use tower_http::cors::{AllowOrigin, CorsLayer};

/// What a page of ours may load: its own files. Styles may stand in elements, scripts may not.
const PAGE: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     font-src 'self'; connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; \
     frame-ancestors 'none'",
);
/// What data may load, should a browser ever take it for a page: nothing, in nobody's frame.
pub(super) const NOTHING: &str = "default-src 'none'; base-uri 'none'; frame-ancestors 'none'";
const DATA: HeaderValue = HeaderValue::from_static(NOTHING);
/// A year of nothing but TLS, for the hosts below this one too.
const ALWAYS_TLS: HeaderValue = HeaderValue::from_static("max-age=31536000; includeSubDomains");
/// How long a browser may rely on what a preflight told it.
const PREFLIGHT: Duration = Duration::from_mins(10);

/// Adds what every answer says.
pub fn headers(headers: &mut HeaderMap, client: Encrypted) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if client == Encrypted(true) {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, ALWAYS_TLS);
    }
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let policy = if kind.starts_with(b"text/html") { PAGE } else { DATA };
    // With a tag as well: whoever asks by it, a program, keeps the answer by itself.
    if !headers.contains_key(header::CACHE_CONTROL) && is_data(kind) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
}

/// Whether an answer of this type holds data; an answer without a type tells of one.
fn is_data(kind: &[u8]) -> bool {
    const KINDS: [&[u8]; 5] =
        [b"", b"application/json", b"application/problem+json", b"application/x-ndjson", b"text/csv"];
    let bare = kind.split(|byte| *byte == b';').next().unwrap_or_default();
    KINDS.contains(&bare)
}

/// Lets pages of these origins use the service; without any, browsers keep all others out. Cookies never count.
pub fn cross_origin(origins: &[HeaderValue]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let given = [
        header::ACCEPT,
        header::AUTHORIZATION,
        header::CONTENT_TYPE,
        header::CONTENT_ENCODING,
        header::IF_MATCH,
        header::IF_NONE_MATCH,
        HeaderName::from_static("idempotency-key"),
        HeaderName::from_static("last-event-id"),
        HeaderName::from_static("x-api-key"),
        HeaderName::from_static("x-request-id"),
    ];
    let told = [
        header::ETAG,
        header::LINK,
        header::LOCATION,
        header::RETRY_AFTER,
        HeaderName::from_static("idempotency-replayed"),
        HeaderName::from_static("ratelimit"),
        HeaderName::from_static("ratelimit-policy"),
        HeaderName::from_static("x-ratelimit-limit"),
        HeaderName::from_static("x-ratelimit-remaining"),
        HeaderName::from_static("x-ratelimit-reset"),
        HeaderName::from_static("x-request-id"),
    ];
    let methods = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    Some(
        CorsLayer::new()
            .allow_origin(AllowOrigin::list(origins.iter().cloned()))
            .allow_methods(methods)
            .allow_headers(given)
            .expose_headers(told)
            .max_age(PREFLIGHT),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(pairs: &[(&'static str, &'static str)], client: Encrypted) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.insert(*name, HeaderValue::from_static(value));
        }
        headers(&mut map, client);
        map
    }

    #[test]
    fn data_is_not_kept_and_pages_run_no_foreign_scripts() {
        let json = told(&[("content-type", "application/json")], Encrypted(false));
        assert_eq!(json["cache-control"], "no-store");
        assert_eq!(json["x-content-type-options"], "nosniff");
        assert_eq!(
            json["content-security-policy"],
            "default-src 'none'; base-uri 'none'; frame-ancestors 'none'"
        );
        assert!(!json.contains_key("strict-transport-security"));
        let tagged = told(&[("content-type", "application/json"), ("etag", "\"1\"")], Encrypted(true));
        assert_eq!(tagged["cache-control"], "no-store");
        assert_eq!(tagged["strict-transport-security"], "max-age=31536000; includeSubDomains");
        let own = told(
            &[("content-type", "text/csv; charset=utf-8"), ("cache-control", "public")],
            Encrypted(false),
        );
        assert_eq!(own["cache-control"], "public");
        let page = told(&[("content-type", "text/html; charset=utf-8")], Encrypted(false));
        let policy = page["content-security-policy"].to_str().unwrap();
        let scripts = policy.split(';').find(|part| part.trim().starts_with("script-src")).unwrap();
        assert_eq!(scripts.trim(), "script-src 'self'");
        for part in ["object-src 'none'", "base-uri 'none'", "frame-ancestors 'none'"] {
            assert!(policy.contains(part), "{part}");
        }
        assert!(!told(&[("content-type", "text/css")], Encrypted(false)).contains_key("cache-control"));
    }
}
