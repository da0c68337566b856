//! What happens to every request: its id, its size, its compression, its `ETag`, and an answer when nothing fits.

use crate::domain::audit::{Actor, ActorKind};
use crate::domain::hexadecimal::hex;
use crate::http::AppState;
use crate::http::auth::Access;
use crate::http::client_address::{ClientAddress, Encrypted, claims_to_be_forwarded};
use crate::http::connections::Standing;
use crate::http::connections::activity::Activity;
use crate::http::error::{ApiError, Code, Failed, Problem, problem_response};
use crate::http::guard::{asks_how_it_is, guarded};
use crate::http::metrics::Counted;
use crate::http::recheck::recheck;
use crate::http::visit::Visit;
use crate::http::{assets, markets, portfolios, security};
use crate::workers::refusals::Refusal;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Redirect, Response};
use sha2::{Digest as _, Sha256};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::decompression::RequestDecompressionLayer;

/// Largest body of an ordinary route, decompressed.
pub const BODY_MAX: usize = 1 << 20;
/// Largest answer that gets an `ETag`; a larger one is streamed as it is.
const TAGGED_MAX: usize = 1 << 20;

/// From when on the log tells of a read that went well.
const SLOW: Duration = Duration::from_secs(1);

/// Headers that tell of one body and not of another in its place.
const OF_THE_BODY: [HeaderName; 3] = [header::CONTENT_TYPE, header::CONTENT_LENGTH, header::CONTENT_ENCODING];

/// Puts every layer around the routes, outermost first. Each of them copies all that are within for each request, so what
/// can be done in one is.
pub fn around(routes: Router, app: &AppState) -> Router {
    routes.fallback(not_found).method_not_allowed_fallback(method_not_allowed).layer(
        ServiceBuilder::new()
            .layer(from_fn_with_state(AppState::clone(app), answered))
            .layer(CatchPanicLayer::custom(panicked))
            .option_layer(security::cross_origin(&app.guard.origins))
            .layer(from_fn_with_state(AppState::clone(app), let_in))
            .layer(CompressionLayer::new())
            .layer(from_fn_with_state(AppState::clone(app), entity_tag))
            .layer(RequestDecompressionLayer::new())
            .layer(DefaultBodyLimit::max(BODY_MAX)),
    )
}

/// Counts a request, gives it its id, and tells of its answer.
async fn answered(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let mut counted = Counted::begin(&app, &request);
    let response = identified(&app, request, next).await;
    counted.ends(response.status());
    response
}

/// Id of the request, made here unless the caller sent one; it is in the answer, the log and problem documents.
async fn identified(app: &AppState, mut request: Request, next: Next) -> Response {
    let given = request.headers().get("x-request-id").and_then(|value| value.to_str().ok());
    let given =
        given.filter(|id| !id.is_empty() && id.len() <= 128 && id.bytes().all(|b| b.is_ascii_graphic()));
    let id = match given {
        Some(id) => id.to_owned(),
        None => app.random.uuid_v7(app.clock.now()).map(|id| id.to_string()).unwrap_or_default(),
    };
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let client = request.extensions().get::<ClientAddress>().and_then(|client| client.0);
    let encrypted = request.extensions().get::<Encrypted>().copied().unwrap_or(Encrypted(false));
    let visit = Visit::new(id.clone(), client.map(|address| address.to_string()));
    request.extensions_mut().insert(visit.clone());
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let started = app.clock.elapsed();
    let mut response = in_standing(request, next).await;
    if let Some(error) = stray(&response) {
        response = error.into_response();
    }
    if let (401 | 403, Some(Failed(problem))) = (response.status().as_u16(), response.extensions().get()) {
        let unknown = || visit.by(Actor::new(ActorKind::Anonymous, "anonymous"));
        let actor = visit.who().cloned().unwrap_or_else(unknown);
        let route = matched.as_ref().map_or("none", MatchedPath::as_str);
        // A caller may invent methods of any length.
        let known = if method.as_str().len() <= 7 { method.as_str() } else { "other" };
        let route = format!("{known} {route}");
        let refusal = Refusal { actor, route, status: problem.status, code: problem.code };
        app.refusals.note(&app.db, refusal, app.clock.now()).await;
    }
    if let Some(Failed(problem)) = response.extensions_mut().remove::<Failed>() {
        let problem = Problem { request_id: Some(id.clone()), ..problem };
        let status = response.status();
        let mut written = problem_response(status, &problem);
        for (name, value) in response.headers() {
            if !OF_THE_BODY.contains(name) {
                written.headers_mut().append(name.clone(), value.clone());
            }
        }
        response = written;
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("x-request-id", value);
    }
    security::headers(response.headers_mut(), encrypted);
    let took = app.clock.elapsed().saturating_sub(started);
    Answered { id: &id, client, method: &method, path: uri.path(), status: response.status(), took }.log();
    response
}

/// An answer, as the log tells of it.
struct Answered<'a> {
    id: &'a str,
    client: Option<IpAddr>,
    method: &'a Method,
    path: &'a str,
    status: StatusCode,
    took: Duration,
}

impl Answered<'_> {
    /// Reads that went well are counted and timed by the metrics and come by the thousand: the usual log has whatever
    /// else there is, and those that took long.
    fn log(&self) {
        let Self { id, client, method, path, status, took } = self;
        let reads = *method == Method::GET || *method == Method::HEAD;
        let plain = reads && (status.is_success() || status.is_redirection()) && *took < SLOW;
        let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let (address, status) = (client.map(tracing::field::display), status.as_u16());
        macro_rules! answered {
            ($level:ident) => {
                tracing::$level!(request.id = %id, client.address = address, %method, path, status, duration_ms, "answered")
            };
        }
        if plain { answered!(debug) } else { answered!(info) }
    }
}

/// A failure that some library answered in words of its own, as a problem of ours.
fn stray(response: &Response) -> Option<ApiError> {
    if response.extensions().get::<Failed>().is_some() {
        return None;
    }
    let (code, detail) = match response.status() {
        // Only a path that cannot be decoded is refused in this way.
        StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND => (Code::NotFound, "Not Found"),
        StatusCode::METHOD_NOT_ALLOWED => (Code::MethodNotAllowed, "Method Not Allowed"),
        StatusCode::PAYLOAD_TOO_LARGE => (Code::BodyTooLarge, "the body is larger than this route takes"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            (Code::UnsupportedMediaType, "the body may be sent as it is, or in gzip or zstd")
        }
        StatusCode::INTERNAL_SERVER_ERROR => (Code::Internal, "the service failed"),
        _ => return None,
    };
    Some(ApiError::new(code, detail))
}

/// Says so when the body came too slowly, whatever its reader made of that.
async fn kept_pace(request: Request, next: Next) -> Response {
    let activity = request.extensions().get::<Arc<Activity>>().cloned();
    let response = next.run(request).await;
    let slow = activity.is_some_and(|activity| activity.body_is_slow());
    if slow && response.status() != StatusCode::REQUEST_TIMEOUT {
        return ApiError::new(Code::TooSlow, "the body came too slowly").into_response();
    }
    response
}

/// A connection beyond the limits may ask how the service is, and nothing else.
async fn in_standing(request: Request, next: Next) -> Response {
    let spare = request.extensions().get::<Standing>() == Some(&Standing::Spare);
    if spare && !asks_how_it_is(request.uri().path()) {
        return ApiError::new(Code::Busy, "too many connections are open; nothing was done").into_response();
    }
    kept_pace(request, next).await
}

/// Lets a request in that may come.
async fn let_in(State(app): State<AppState>, request: Request, next: Next) -> Response {
    if let Err(error) = known_host(&app, &request) {
        return error.into_response();
    }
    guarded(&app, request, next).await
}

/// In open-loopback mode a request must name the loopback host: a page from elsewhere that reaches this port
/// through its own name is refused, and so is whoever comes through a proxy on this machine.
fn known_host(app: &AppState, request: &Request) -> Result<(), ApiError> {
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
    Ok(())
}

fn comes_from_elsewhere(request: &Request) -> bool {
    let client = request.extensions().get::<ClientAddress>().and_then(|client| client.0);
    client.is_some_and(|address| !address.is_loopback()) || claims_to_be_forwarded(request.headers())
}

fn names_loopback(request: &Request) -> bool {
    if request.extensions().get::<crate::http::auth::Door>() == Some(&crate::http::auth::Door::Owner) {
        return true;
    }
    let host = request.headers().get(header::HOST).and_then(|value| value.to_str().ok());
    let Some(host) = host.or_else(|| request.uri().authority().map(axum::http::uri::Authority::as_str))
    else {
        return false;
    };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Gives every JSON answer to a GET an `ETag`, and answers 304 when the caller has it already.
async fn entity_tag(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let get = request.method() == Method::GET || request.method() == Method::HEAD;
    let wanted = request.headers().get(header::IF_NONE_MATCH).cloned();
    let response = recheck(app, request, next).await;
    let json = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if !get || response.status() != StatusCode::OK || !json {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let size = axum::body::HttpBody::size_hint(&body).upper();
    if size.and_then(|size| usize::try_from(size).ok()).is_none_or(|size| size > TAGGED_MAX) {
        return Response::from_parts(parts, body);
    }
    let Ok(bytes) = to_bytes(body, TAGGED_MAX).await else {
        return ApiError::new(Code::Internal, "the service failed").into_response();
    };
    let hash = Sha256::digest(&bytes);
    let hash = hex(hash.get(..8).unwrap_or_default());
    let version = parts.headers.get(header::ETAG).and_then(|tag| tag.to_str().ok()).unwrap_or("\"\"");
    let version = version.trim_matches('"');
    let tag = if version.is_empty() { format!("\"{hash}\"") } else { format!("\"{version}-{hash}\"") };
    if let Ok(value) = HeaderValue::from_str(&tag) {
        parts.headers.insert(header::ETAG, value);
    }
    if has_tag(wanted.as_ref(), &tag) {
        parts.status = StatusCode::NOT_MODIFIED;
        parts.headers.remove(header::CONTENT_TYPE);
        parts.headers.remove(header::CONTENT_LENGTH);
        return Response::from_parts(parts, Body::empty());
    }
    Response::from_parts(parts, Body::from(bytes))
}

fn has_tag(wanted: Option<&HeaderValue>, tag: &str) -> bool {
    let wanted = wanted.and_then(|value| value.to_str().ok()).unwrap_or_default();
    wanted.split(',').any(|one| {
        let one = one.trim();
        one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag
    })
}

fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    tracing::error!("a handler panicked");
    ApiError::new(Code::Internal, "the service failed").into_response()
}

/// Nothing here: a path with a trailing slash is sent to the one without, as the earlier service did.
async fn not_found(uri: Uri) -> Response {
    let path = uri.path();
    if path.len() > 1 && path.ends_with('/') && !path.starts_with("//") {
        let plain = path.trim_end_matches('/');
        let target = uri.query().map_or_else(|| plain.to_owned(), |query| format!("{plain}?{query}"));
        return Redirect::temporary(&target).into_response();
    }
    ApiError::new(Code::NotFound, "Not Found").into_response()
}

async fn method_not_allowed(request: Request) -> Response {
    let matched = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str).unwrap_or_default();
    let last = request.uri().path().rsplit('/').next().unwrap_or_default();
    // `/assets/GOLD/prices` fits the route of the actions on an asset, but there is no such action.
    let known = match matched {
        "/markets/{market}/{action}" => markets::ACTIONS.iter().any(|(name, _)| *name == last),
        "/assets/{asset}/{action}" => assets::ACTIONS.iter().any(|(name, _)| *name == last),
        "/portfolios/{portfolio}/{action}" => portfolios::ACTIONS.iter().any(|(name, _, _)| *name == last),
        _ => true,
    };
    if known {
        ApiError::new(Code::MethodNotAllowed, "Method Not Allowed").into_response()
    } else {
        ApiError::new(Code::NotFound, "Not Found").into_response()
    }
}
