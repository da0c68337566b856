//! The open door, where callers on this machine need no key: that they are on this machine, and no page from elsewhere in
//! a browser on it.

use crate::http::AppState;
use crate::http::auth::{Access, Door};
use crate::http::client_address::claims_to_be_forwarded;
use crate::http::connections::Arrival;
use crate::http::error::{ApiError, Code};
use axum::extract::Request;
use axum::http::{HeaderValue, Method, header};
use std::net::IpAddr;

/// In open-loopback mode a request must name the loopback host: a page from elsewhere that reaches this port
/// through its own name is refused, and so are a change that such a page sends, and whoever comes through a proxy on this
/// machine.
///
/// # Errors
/// [`Code::HostNotAllowed`].
pub fn check(app: &AppState, request: &Request) -> Result<(), ApiError> {
    if app.access != Access::OpenLoopback {
        return Ok(());
    }
    if comes_from_elsewhere(request) {
        let detail = "with --open-loopback a request must come from this machine and through no proxy";
        return Err(ApiError::new(Code::HostNotAllowed, detail));
    }
    if !names_loopback(request) {
        let detail = "with --open-loopback the Host header must name the loopback address";
        return Err(ApiError::new(Code::HostNotAllowed, detail));
    }
    if is_sent_by_page(request, &app.guard.origins) {
        let detail = "with --open-loopback a page from elsewhere may change nothing: Origin must name the loopback \
                      address, or stand among the origins of [cors]";
        return Err(ApiError::new(Code::HostNotAllowed, detail));
    }
    Ok(())
}

fn comes_from_elsewhere(request: &Request) -> bool {
    let client = request.extensions().get::<Arrival>().and_then(|arrival| arrival.client);
    client.is_some_and(|address| !address.is_loopback()) || claims_to_be_forwarded(request.headers())
}

fn names_loopback(request: &Request) -> bool {
    if request.extensions().get::<Door>() == Some(&Door::Owner) {
        return true;
    }
    let host = request.headers().get(header::HOST).and_then(|value| value.to_str().ok());
    let Some(host) = host.or_else(|| request.uri().authority().map(axum::http::uri::Authority::as_str))
    else {
        return false;
    };
    is_loopback(host)
}

/// Whether a host, with or without a port, is this machine by a name that no other can have.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Whether a request that changes something was made by a page from elsewhere. A browser sends it without asking first when
/// it has no body or is plain text, and tells where the page is from.
fn is_sent_by_page(request: &Request, allowed: &[HeaderValue]) -> bool {
    let (method, headers) = (request.method(), request.headers());
    if matches!(method, &(Method::GET | Method::HEAD | Method::OPTIONS)) {
        return false;
    }
    match headers.get(header::ORIGIN) {
        Some(origin) if allowed.contains(origin) => false,
        Some(origin) => {
            let host = origin.to_str().ok().and_then(|origin| Some(origin.split_once("://")?.1));
            !host.is_some_and(is_loopback)
        }
        None => headers.get("sec-fetch-site").is_some_and(|site| site.as_bytes() == b"cross-site"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::client_address::Encrypted;
    use crate::http::connections::Standing;
    use axum::body::Body;

    fn request(client: Option<&str>, headers: &[(&'static str, &str)]) -> Request {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = Method::POST;
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        let client = client.map(|address| address.parse().unwrap());
        let (encrypted, standing) = (Encrypted::default(), Standing::Guest);
        request.extensions_mut().insert(Arrival { client, encrypted, standing, activity: None });
        request
    }

    #[test]
    fn whoever_is_elsewhere_or_comes_through_a_proxy_is_not_on_this_machine() {
        let elsewhere = |client, headers: &[_]| comes_from_elsewhere(&request(client, headers));
        assert!(!elsewhere(Some("127.0.0.1"), &[]) && !elsewhere(Some("::1"), &[]) && !elsewhere(None, &[]));
        assert!(elsewhere(Some("192.0.2.1"), &[]) && elsewhere(Some("2001:db8::1"), &[]));
        assert!(elsewhere(Some("127.0.0.1"), &[("x-forwarded-for", "127.0.0.1")]));
        assert!(elsewhere(Some("127.0.0.1"), &[("forwarded", "for=127.0.0.1")]));
    }

    #[test]
    fn a_page_changes_nothing_unless_it_is_of_this_machine_or_allowed() {
        let allowed = [HeaderValue::from_static("https://desk.example")];
        let sent = |origin| is_sent_by_page(&request(None, &[("origin", origin)]), &allowed);
        assert!(!sent("https://desk.example") && !sent("http://localhost:8080"));
        assert!(sent("https://other.example") && sent("http://desk.example") && sent("null"));
    }
}
