//! What Prometheus reads, and the three figures of every request: how many, with which outcome, how long.

use crate::clock::Clock;
use crate::http::AppState;
use crate::http::auth::{Caller, MetricsRead};
use crate::telemetry::{self, recorder};
use crate::workers::gauges;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use metrics::{Counter, Gauge, Histogram};
use std::cell::RefCell;
use std::collections::HashMap;
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

/// What is counted of one route: looked up once, for finding a metric by its labels costs more than counting.
struct Meters {
    seconds: Histogram,
    /// By status.
    requests: HashMap<u16, Counter>,
}

impl Meters {
    fn of(method: &'static str, route: &str) -> Self {
        let seconds = telemetry::HTTP_REQUEST_SECONDS;
        let seconds = ::metrics::histogram!(seconds, "method" => method, "route" => route.to_owned());
        Self { seconds, requests: HashMap::new() }
    }

    fn count(&mut self, method: &'static str, route: &str, status: u16, took: Duration) {
        let requests = telemetry::HTTP_REQUESTS;
        self.seconds.record(took);
        let counter = self.requests.entry(status).or_insert_with(|| {
            let (route, status) = (route.to_owned(), status.to_string());
            ::metrics::counter!(requests, "method" => method, "route" => route, "status" => status)
        });
        counter.increment(1);
    }
}

thread_local! {
    /// By method and route, of which there are few.
    static METERS: RefCell<HashMap<&'static str, HashMap<Box<str>, Meters>>> = RefCell::default();
    static IN_FLIGHT: Gauge = ::metrics::gauge!(telemetry::HTTP_IN_FLIGHT);
}

/// A request on its way; counted when it ends, however it ends, by the template of its route: a path would make a series
/// of each id.
pub struct Counted {
    method: &'static str,
    route: Option<MatchedPath>,
    status: u16,
    clock: Clock,
    began: Duration,
}

impl Counted {
    /// A request that comes in.
    pub fn begin(app: &AppState, request: &Request) -> Self {
        let route = request.extensions().get::<MatchedPath>().cloned();
        let (method, clock) = (name(request.method()), app.clock.clone());
        let began = clock.elapsed();
        IN_FLIGHT.with(|gauge| gauge.increment(1));
        Self { method, route, status: GONE, clock, began }
    }

    /// It was answered.
    pub fn ends(&mut self, status: StatusCode) {
        self.status = status.as_u16();
    }

    fn route(&self) -> &str {
        self.route.as_ref().map_or("none", MatchedPath::as_str)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let took = self.clock.elapsed().saturating_sub(self.began);
        let count = |meters: &RefCell<HashMap<_, HashMap<Box<str>, Meters>>>| {
            let (mut meters, route) = (meters.borrow_mut(), self.route());
            let meters = meters.entry(self.method).or_default();
            if let Some(known) = meters.get_mut(route) {
                known.count(self.method, route, self.status, took);
            } else {
                let new = meters.entry(route.into()).or_insert_with(|| Meters::of(self.method, route));
                new.count(self.method, route, self.status, took);
            }
            IN_FLIGHT.with(|gauge| gauge.decrement(1));
        };
        // A thread that ends counts nothing more.
        METERS.try_with(count).unwrap_or_default();
    }
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
