//! What is asked of every request before its route: that it is well-formed, that its sender may ask again, and that
//! there is room for it.

use crate::domain::moment::Moment;
use crate::http::AppState;
use crate::http::auth::{Access, Door};
use crate::http::client_address::TrustedProxies;
use crate::http::connections::Arrival;
use crate::http::credentials::{Presented, presented};
use crate::http::error::{ApiError, Code};
use crate::http::guard::account::{Account, too_many};
use crate::http::limits::Limits;
use crate::http::meters::{Meters, Opened, Quota, Reading};
use crate::http::recheck::Admitted;
use crate::http::strangers::{Stranger, Strangers};
use crate::telemetry::HTTP_TURNED_AWAY;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use std::net::IpAddr;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Time over which requests are counted.
const WINDOW: Duration = Duration::from_mins(1);
/// How a client stands, by the draft of the IETF
static RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
static RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// and as clients have known it for long.
static LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
static REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
static RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
/// Routes that compute or pack much for little asked.
const HEAVY: [&str; 14] = [
    "/pnl",
    "/performance",
    "/portfolios/{portfolio}/history",
    "/portfolios/{portfolio}/performance",
    "/portfolios/{portfolio}/attribution",
    "/portfolios/{portfolio}/gains",
    "/portfolios/{portfolio}/pnl/diff",
    "/portfolios/{portfolio}/pnl/values",
    "/portfolios/{portfolio}/export",
    "/portfolios/{portfolio}/transactions:import",
    "/prices/import",
    "/fx/import",
    "/backups",
    "/audit/verify",
];

/// The same, and they look at no credential: they are counted by address, whatever a request shows.
const OF_NOBODY: [&str; 2] = ["/openapi.json", "/docs"];

/// A quota with its name in the `RateLimit` headers.
#[derive(Debug)]
struct Policy {
    quota: Quota,
    name: &'static str,
    /// The value of `RateLimit-Policy`, which never changes.
    described: HeaderValue,
    most: HeaderValue,
}

impl Policy {
    /// A policy; none when the limit is 0.
    fn new(name: &'static str, requests: u64) -> Option<Self> {
        let quota = Quota { requests, window: WINDOW };
        let described = format!("\"{name}\";q={requests};w={}", WINDOW.as_secs());
        let described = HeaderValue::from_str(&described).ok()?;
        (requests > 0).then(|| Self { quota, name, described, most: HeaderValue::from(requests) })
    }
}

/// How requests are counted.
#[derive(Debug)]
struct Policies {
    key: Option<Policy>,
    address: Option<Policy>,
    heavy: Option<Policy>,
    anonymous: Option<Policy>,
    refused: Option<Policy>,
}

/// What guards the service.
#[derive(Debug)]
pub struct Guard {
    /// Limits of connections and requests.
    pub limits: Limits,
    /// Proxies that are believed.
    pub proxies: TrustedProxies,
    /// Origins of pages elsewhere that may use the service.
    pub origins: Vec<HeaderValue>,
    policies: Policies,
    meters: Meters,
    strangers: Strangers,
    room: Semaphore,
}

impl Default for Guard {
    fn default() -> Self {
        Self::new(Limits::default(), TrustedProxies::default(), Vec::new())
    }
}

impl Guard {
    /// A guard by these rules.
    pub fn new(limits: Limits, proxies: TrustedProxies, origins: Vec<HeaderValue>) -> Self {
        let rates = &limits.rates;
        let policies = Policies {
            key: Policy::new("key", rates.key),
            address: Policy::new("address", rates.address),
            heavy: Policy::new("heavy", rates.heavy),
            anonymous: Policy::new("anonymous", rates.anonymous),
            refused: Policy::new("refused", rates.refused),
        };
        let (room, strangers) = (Semaphore::new(limits.requests), Strangers::new(limits.requests));
        Self { limits, proxies, origins, policies, meters: Meters::default(), strangers, room }
    }
}

/// Whether a path is for those who watch the service: they are never held back, unless they guess.
pub fn asks_how_it_is(path: &str) -> bool {
    matches!(path, "/health" | "/health/live" | "/health/ready" | "/health/startup" | "/metrics")
}

/// Whether a request is held back by nothing: the owner's, and those that show nothing and ask how the service is.
fn goes_uncounted(request: &Request) -> bool {
    let owner = request.extensions().get::<Door>() == Some(&Door::Owner);
    owner || (asks_how_it_is(request.uri().path()) && presented(request.headers()) == Presented::Nothing)
}

/// A request that was let in.
pub struct Admission<'a> {
    guard: &'a Guard,
    /// Who asks, unless nobody counts that.
    asked: Option<Asked>,
    /// What is counted once a credential was looked at,
    account: Option<Account>,
    /// and what was counted before.
    charged: Option<(&'a Policy, Reading)>,
    /// Its place among those that are served,
    _room: Option<SemaphorePermit<'a>>,
    /// and among those of its address whose credential is not known.
    _stranger: Option<Stranger<'a>>,
}

/// Lets a request in that is well-formed and within its limits.
///
/// # Errors
/// The answer to one that is not.
pub fn admit<'a>(app: &'a AppState, request: &Request) -> Result<Admission<'a>, Box<Response>> {
    let guard = &*app.guard;
    if let Err(error) = well_formed(request, guard.limits.uri_bytes) {
        let mut response = error.into_response();
        // Whoever frames a request oddly once may do so again.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        return Err(Box::new(response));
    }
    let watches = asks_how_it_is(request.uri().path());
    if goes_uncounted(request) {
        return Ok(Admission {
            guard,
            asked: None,
            account: None,
            charged: None,
            _room: None,
            _stranger: None,
        });
    }
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str).unwrap_or_default();
    let asked = Asked::of(guard, app.access, (app.clock.elapsed(), app.clock.now()), route, request);
    let charged = match asked.guess(guard).and_then(|()| if watches { Ok(None) } else { asked.charge(guard) })
    {
        Ok(charged) => charged,
        Err((policy, reading)) => return Err(Box::new(asked.too_many(policy, reading))),
    };
    if watches {
        let asked = Some(asked);
        return Ok(Admission { guard, asked, account: None, charged, _room: None, _stranger: None });
    }
    let busy = |reason, detail: &str| {
        metrics::counter!(HTTP_TURNED_AWAY, "reason" => reason).increment(1);
        Box::new(ApiError::new(Code::Busy, detail).into_response())
    };
    let stranger = if app.access == Access::Keys && !asked.is_known(guard) {
        let place = guard.strangers.enter(asked.address);
        let detail = "too many requests of this address whose credential is not known are being served; nothing was done, try again";
        Some(place.ok_or_else(|| busy("strangers", detail))?)
    } else {
        None
    };
    let Ok(room) = guard.room.try_acquire() else {
        return Err(busy("concurrency", "too many requests are being served; nothing was done, try again"));
    };
    let account = Some(Account::of(&asked));
    Ok(Admission { guard, asked: Some(asked), account, charged, _room: Some(room), _stranger: stranger })
}

impl Admission<'_> {
    /// What is to be counted for whoever turns out to send the request.
    pub fn account(&self) -> Option<Account> {
        self.account.clone()
    }

    /// Learns from the answer, and tells in it how the client stands.
    pub fn ends(self, admitted: &Admitted, response: &mut Response) {
        let Some(asked) = self.asked else { return };
        asked.learn(self.guard, response.status(), admitted);
        let told = self.account.and_then(|account| account.told(self.guard));
        if let Some((policy, reading)) = told.or(self.charged) {
            asked.describe(policy, reading, response.headers_mut());
        }
    }
}

/// Who asks, and for what.
struct Asked {
    now: Duration,
    /// Seconds since 1970.
    wall: u64,
    address: u64,
    refused: u64,
    /// The credential it shows.
    shown: Option<u64>,
    heavy: bool,
    /// Its route looks at no credential.
    of_nobody: bool,
    keyless: bool,
}

impl Asked {
    fn of(
        guard: &Guard,
        access: Access,
        (elapsed, now): (Duration, Moment),
        route: &str,
        request: &Request,
    ) -> Self {
        let meters = &guard.meters;
        let address = request.extensions().get::<Arrival>().and_then(|arrival| arrival.client).map(network);
        let shown = presented(request.headers());
        let shown = (shown != Presented::Nothing).then(|| meters.subject(("shown", shown)));
        let of_nobody = OF_NOBODY.contains(&route) || route.starts_with("/docs/");
        let heavy = HEAVY.contains(&route) || of_nobody;
        let preflight = request.method() == Method::OPTIONS;
        Self {
            now: elapsed,
            wall: u64::try_from(now.0 / 1_000_000).unwrap_or_default(),
            address: meters.subject(("address", address)),
            refused: meters.subject(("refused", address)),
            shown,
            heavy: heavy && !preflight,
            of_nobody,
            keyless: shown.is_none() && access == Access::Keys,
        }
    }

    /// Whether what it shows was good before.
    fn is_known(&self, guard: &Guard) -> bool {
        self.shown.is_some_and(|shown| guard.meters.knows(shown))
    }

    /// A guess must not be told from a key by trying: while the guesses of an address are used up, only a key that was
    /// good before is looked at. This holds for who watches the service, too.
    fn guess<'a>(&self, guard: &'a Guard) -> Result<(), (&'a Policy, Reading)> {
        if let Some(policy) = &guard.policies.refused
            && self.shown.is_some()
            && !self.is_known(guard)
        {
            let reading = guard.meters.look(policy.quota, self.refused, self.now);
            if !reading.fits {
                return Err((policy, reading));
            }
        }
        Ok(())
    }

    /// Takes the request off every quota of its address; what it says last is what the client is told, unless a
    /// credential turns out to be good ([`Account`]).
    fn charge<'a>(&self, guard: &'a Guard) -> Result<Option<(&'a Policy, Reading)>, (&'a Policy, Reading)> {
        let (policies, meters) = (&guard.policies, &guard.meters);
        let heavy = self.heavy && (self.of_nobody || self.shown.is_none());
        let counted = [
            policies.address.as_ref().map(|policy| (policy, self.address)),
            policies.anonymous.as_ref().filter(|_| self.keyless).map(|policy| (policy, !self.address)),
            policies.heavy.as_ref().filter(|_| heavy).map(|policy| (policy, self.address.rotate_left(32))),
        ];
        let mut last = None;
        for (policy, subject) in counted.into_iter().flatten() {
            let reading = meters.charge(policy.quota, subject, self.now);
            if !reading.fits {
                return Err((policy, reading));
            }
            last = Some((policy, reading));
        }
        Ok(last)
    }

    /// Learns from the answer whether what was shown was good. Where nobody looked at it nothing is learned.
    fn learn(&self, guard: &Guard, status: StatusCode, admitted: &Admitted) {
        let Some(shown) = self.shown else { return };
        if status == StatusCode::UNAUTHORIZED {
            guard.meters.remember(shown, Opened::No);
            if let Some(policy) = &guard.policies.refused {
                guard.meters.charge(policy.quota, self.refused, self.now);
            }
        } else if status.is_success() && admitted.is_known() {
            guard.meters.remember(shown, Opened::Yes);
        }
    }

    fn too_many(&self, policy: &Policy, reading: Reading) -> Response {
        let mut response = too_many(policy, reading).into_response();
        self.describe(policy, reading, response.headers_mut());
        response
    }

    /// Tells the client how it stands: by the draft of the IETF, and as clients have known it for long.
    fn describe(&self, policy: &Policy, reading: Reading, headers: &mut HeaderMap) {
        let reset = seconds(reading.reset);
        let state = format!("\"{}\";r={};t={reset}", policy.name, reading.remaining);
        if let Ok(state) = HeaderValue::from_maybe_shared(axum::body::Bytes::from(state)) {
            headers.insert(&RATE_LIMIT, state);
        }
        headers.insert(&RATE_LIMIT_POLICY, policy.described.clone());
        headers.insert(&LIMIT, policy.most.clone());
        let remaining = HeaderValue::from(reading.remaining);
        headers.insert(&REMAINING, remaining);
        let reset = HeaderValue::from(self.wall.saturating_add(reset));
        headers.insert(&RESET, reset);
        if !reading.fits {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait(reading)));
        }
    }
}

/// Seconds until one more request fits in.
fn wait(reading: Reading) -> u64 {
    seconds(reading.wait).max(1)
}

/// Whole seconds, rounded up.
fn seconds(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}

/// The part of an address that one client has to itself: of IPv6 everybody gets a /64.
fn network(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => u64::try_from(address.to_bits() >> 64).unwrap_or_default(),
    }
}

/// What HTTP leaves to the service to refuse.
fn well_formed(request: &Request, uri_bytes: usize) -> Result<(), ApiError> {
    let refused = |detail: &str| Err(ApiError::new(Code::MalformedRequest, detail));
    let (uri, headers) = (request.uri(), request.headers());
    if uri.path_and_query().is_some_and(|path| path.as_str().len() > uri_bytes) {
        let detail = format!("the path with its query is longer than {uri_bytes} bytes");
        return Err(ApiError::new(Code::UriTooLong, detail));
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return refused("there is more than one Host header");
    }
    if host.is_none() && request.version() == Version::HTTP_11 && uri.authority().is_none() {
        return refused("there is no Host header");
    }
    // Of two names for one host nobody can tell which was meant.
    if let (Some(authority), Some(host)) = (uri.authority(), host)
        && !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes())
    {
        return refused("the Host header is not the host of the request line");
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    if codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked")) {
        return refused("the only transfer coding is chunked");
    }
    Ok(())
}

pub mod account;
#[cfg(test)]
mod tests;
