//! What happens to every request: its id, its size, its compression, its `ETag`, and an answer when nothing fits.

use crate::domain::audit::{Actor, ActorKind};
use crate::http::AppState;
use crate::http::auth::Door;
use crate::http::connections::{Arrival, Standing};
use crate::http::error::{ApiError, Code, Failed, Problem, problem_response};
use crate::http::guard::{self, asks_how_it_is};
use crate::http::masked::masked;
use crate::http::metrics::Counted;
use crate::http::recheck::{self, Admitted};
use crate::http::seats::{self, Place};
use crate::http::visit::Visit;
use crate::http::{assets, loopback, markets, packing, portfolios, security, tagged};
use crate::workers::refusals::Refusal;
use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use std::convert::Infallible;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tower::{Layer, Service, ServiceBuilder, service_fn};
use tower_http::cors::CorsLayer;

/// Largest body of an ordinary route, decompressed.
pub const BODY_MAX: usize = 1 << 20;

/// Where single prices are posted.
const PRICES: &str = "/prices";
/// From when on the log tells of what went well and is frequent.
const SLOW: Duration = Duration::from_secs(1);

/// The header of a request's id.
static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Most headers of an ordinary answer.
const HEADERS: usize = 16;

/// Headers that tell of one body and not of another in its place.
const OF_THE_BODY: [HeaderName; 3] = [header::CONTENT_TYPE, header::CONTENT_LENGTH, header::CONTENT_ENCODING];

/// Puts all that happens to every request around the routes, for one door. It is one layer: each would copy all that is
/// within it for every request.
pub fn around(routes: Router, app: &AppState, door: Door) -> Router {
    let around =
        Around { app: AppState::clone(app), door, cross_origin: security::cross_origin(&app.guard.origins) };
    let layers = ServiceBuilder::new().layer(around).layer(DefaultBodyLimit::max(BODY_MAX));
    routes.fallback(not_found).method_not_allowed_fallback(method_not_allowed).layer(layers)
}

/// The layer.
#[derive(Debug, Clone)]
struct Around {
    app: AppState,
    door: Door,
    cross_origin: Option<CorsLayer>,
}

impl<R> Layer<R> for Around {
    type Service = Surrounded<R>;

    fn layer(&self, route: R) -> Surrounded<R> {
        Surrounded { around: self.clone(), route }
    }
}

/// A route with the layer around it.
#[derive(Debug, Clone)]
struct Surrounded<R> {
    around: Around,
    route: R,
}

/// What a request is answered by in the end.
trait Route: Service<Request, Response = Response, Error = Infallible, Future: Send> + Send + Sync {}

impl<R> Route for R where
    R: Service<Request, Response = Response, Error = Infallible, Future: Send> + Send + Sync
{
}

impl<R: Route + Clone + 'static> Service<Request> for Surrounded<R> {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.route.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let Self { around, route } = self.clone();
        Box::pin(async move {
            request.extensions_mut().insert(around.door);
            let mut counted = Counted::begin(&around.app, &request);
            let response = identified(&around, request, route).await;
            counted.ends(response.status());
            Ok(response)
        })
    }
}

async fn asked(mut route: impl Route, request: Request) -> Response {
    let Ok(()) = std::future::poll_fn(|context| route.poll_ready(context)).await;
    let Ok(response) = route.call(request).await;
    response
}

/// Id of the request, made here unless the caller sent one; it is in the answer, the log and problem documents.
async fn identified(around: &Around, mut request: Request, route: impl Route + Clone) -> Response {
    let app = &around.app;
    let given = request.headers().get(&REQUEST_ID).and_then(|value| value.to_str().ok());
    let given =
        given.filter(|id| !id.is_empty() && id.len() <= 128 && id.bytes().all(|b| b.is_ascii_graphic()));
    let id: Arc<str> = if let Some(id) = given {
        id.into()
    } else {
        let id = app.random.uuid_v7(app.clock.now()).unwrap_or_default();
        Arc::from(&*id.as_hyphenated().encode_lower(&mut [0; 36]))
    };
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let arrival = request.extensions().get::<Arrival>().cloned().unwrap_or_default();
    let client = arrival.client;
    let visit = Visit::new(Arc::clone(&id), client);
    request.extensions_mut().insert(visit.clone());
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let started = app.clock.elapsed();
    let mut response = in_standing(around, &arrival, request, route).await;
    if let Some(error) = stray(&response) {
        response = error.into_response();
    }
    if let (401 | 403, Some(Failed(problem))) = (response.status().as_u16(), response.extensions().get()) {
        let unknown = || visit.by(Actor::new(ActorKind::Anonymous, "anonymous"));
        let actor = visit.who().cloned().unwrap_or_else(|| Actor::clone(&unknown()));
        let route = matched.as_ref().map_or("none", MatchedPath::as_str);
        // A caller may invent methods of any length.
        let known = if method.as_str().len() <= 7 { method.as_str() } else { "other" };
        let route = format!("{known} {route}");
        let user = visit.sought();
        let refusal = Refusal { actor, route, user, status: problem.status, code: problem.code };
        app.refusals.note(&app.db, refusal, app.clock.now()).await;
    }
    if let Some(Failed(problem)) = response.extensions_mut().remove::<Failed>() {
        let problem = Problem { request_id: Some((*id).to_owned()), ..problem }.masked();
        let status = response.status();
        let mut written = problem_response(status, &problem);
        for (name, value) in response.headers() {
            if !OF_THE_BODY.contains(name) {
                written.headers_mut().append(name.clone(), value.clone());
            }
        }
        response = written;
    }
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(&REQUEST_ID, value);
    }
    security::headers(headers, arrival.encrypted);
    let took = app.clock.elapsed().saturating_sub(started);
    Answered {
        id: &id,
        client,
        actor: visit.who().map(|actor| actor.name.as_str()),
        method: &method,
        path: &masked(uri.path()),
        status: response.status(),
        took,
    }
    .log();
    response
}

/// An answer, as the log tells of it.
struct Answered<'a> {
    id: &'a str,
    client: Option<IpAddr>,
    /// Who it turned out to be.
    actor: Option<&'a str>,
    method: &'a Method,
    path: &'a str,
    status: StatusCode,
    took: Duration,
}

impl Answered<'_> {
    /// Reads that went well, and prices that were recorded, are counted and timed by the metrics and come by the thousand:
    /// the usual log has whatever else there is, and those that took long.
    fn log(&self) {
        let Self { id, client, actor, method, path, status, took } = self;
        let frequent =
            matches!(**method, Method::GET | Method::HEAD) || (*method == Method::POST && *path == PRICES);
        let plain = frequent && (status.is_success() || status.is_redirection()) && *took < SLOW;
        let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let (address, status) = (client.map(tracing::field::display), status.as_u16());
        macro_rules! answered {
            ($level:ident) => {
                tracing::$level!(request.id = %id, client.address = address, actor, %method, path, status, duration_ms, "answered")
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

/// A connection beyond the limits may ask how the service is, and nothing else; and a body must keep pace, whatever its
/// reader makes of that.
async fn in_standing(
    around: &Around,
    arrival: &Arrival,
    request: Request,
    route: impl Route + Clone,
) -> Response {
    if arrival.standing == Standing::Spare && !asks_how_it_is(request.uri().path()) {
        return ApiError::new(Code::Busy, "too many connections are open; nothing was done").into_response();
    }
    let answered = async {
        match &around.cross_origin {
            None => let_in(&around.app, request, route).await,
            Some(cross_origin) => {
                let let_in = |request| async { Ok(let_in(&around.app, request, route.clone()).await) };
                asked(cross_origin.layer(service_fn(let_in)), request).await
            }
        }
    };
    let response = AssertUnwindSafe(answered).catch_unwind().await.unwrap_or_else(|_| panicked());
    let slow = arrival.activity.as_ref().is_some_and(|activity| activity.body_is_slow());
    if slow && response.status() != StatusCode::REQUEST_TIMEOUT {
        return ApiError::new(Code::TooSlow, "the body came too slowly").into_response();
    }
    response
}

/// Lets a request in that may come, and gives it room.
async fn let_in(app: &AppState, mut request: Request, route: impl Route) -> Response {
    if let Err(error) = loopback::check(app, &request) {
        return error.into_response();
    }
    let admission = match guard::admit(app, &request) {
        Ok(admission) => admission,
        Err(refused) => return *refused,
    };
    let admitted = Admitted::default();
    request.extensions_mut().insert(admitted.clone());
    if let Some(account) = admission.account() {
        request.extensions_mut().insert(account);
    }
    let place = Arc::<Place>::default();
    let mut response = served(app, request, route, (&admitted, &place)).await;
    admission.ends(&admitted, &mut response);
    response
}

/// The answer of a route, watched, tagged and packed.
async fn served(
    app: &AppState,
    request: Request,
    route: impl Route,
    (admitted, place): (&Admitted, &Arc<Place>),
) -> Response {
    let get = request.method() == Method::GET || request.method() == Method::HEAD;
    let wanted = request.headers().get(header::IF_NONE_MATCH).cloned();
    let accepted = request.headers().get(header::ACCEPT_ENCODING).cloned();
    let response = match packing::unpacked(request) {
        Ok(request) => place.told(asked(route, seats::seated(app, request, admitted, place)).await),
        Err(error) => error.into_response(),
    };
    let mut response = recheck::watch(app, admitted, response);
    // They are put in one by one, and each time they outgrow their table it is made anew.
    response.headers_mut().reserve(HEADERS);
    if get {
        response = tagged::tag(response, wanted.as_ref()).await;
    }
    packing::packed(response, accepted).await
}

fn panicked() -> Response {
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
