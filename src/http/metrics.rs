//! What Prometheus reads, and the three figures of every request: how many, with which outcome, how long.

use crate::clock::Clock;
use crate::http::AppState;
use crate::http::auth::{Caller, MetricsRead};
use crate::telemetry::{self, recorder};
use crate::workers::gauges;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::time::Duration;

/// Status of a request whose caller went away before the answer.
const GONE: u16 = 499;

/// Metrics of the service, as text for Prometheus
#[utoipa::path(get, path = "/metrics", operation_id = "metrics", tag = "operations",
    responses((status = 200, description = "Every metric", body = String, content_type = "text/plain")))]
pub async fn metrics(State(app): State<AppState>, _: Caller<MetricsRead>) -> Response {
    gauges::look_at_process(&app.db);
    ([(header::CONTENT_TYPE, recorder::TEXT)], recorder::render()).into_response()
}

/// A request on its way; counted when it ends, however it ends.
struct Counted {
    method: &'static str,
    route: String,
    status: u16,
    clock: Clock,
    began: Duration,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let took = self.clock.elapsed().saturating_sub(self.began);
        let route = || self.route.clone();
        let (seconds, requests) = (telemetry::HTTP_REQUEST_SECONDS, telemetry::HTTP_REQUESTS);
        ::metrics::gauge!(telemetry::HTTP_IN_FLIGHT).decrement(1);
        ::metrics::histogram!(seconds, "method" => self.method, "route" => route()).record(took);
        let status = self.status.to_string();
        ::metrics::counter!(requests, "method" => self.method, "route" => route(), "status" => status)
            .increment(1);
    }
}

/// Counts a request by the template of its route: a path would make a series of each id.
pub async fn counted(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let (method, began) = (name(request.method()), app.clock.elapsed());
    ::metrics::gauge!(telemetry::HTTP_IN_FLIGHT).increment(1);
    let mut counted = Counted { method, route, status: GONE, clock: app.clock, began };
    let response = next.run(request).await;
    counted.status = response.status().as_u16();
    response
}

/// A caller may invent methods; there are few labels.
fn name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
