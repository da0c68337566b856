//! Who is counted, under what, and which requests are no requests.

use super::*;
use crate::http::client_address::Encrypted;
use crate::http::connections::Standing;
use axum::body::Body;
use axum::http::Uri;

const KEY: (&str, &str) = ("authorization", "Bearer art_a_b");

fn request(path: &'static str, headers: &[(&'static str, &str)]) -> Request {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = Uri::from_static(path);
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    let (client, encrypted, standing) =
        (Some("192.0.2.1".parse().unwrap()), Encrypted::default(), Standing::Guest);
    request.extensions_mut().insert(Arrival { client, encrypted, standing, activity: None });
    request
}

/// A guard that lets so many in of each kind.
fn guard(requests: u64) -> Guard {
    let mut limits = Limits::default();
    let rates = &mut limits.rates;
    for rate in
        [&mut rates.key, &mut rates.address, &mut rates.heavy, &mut rates.anonymous, &mut rates.refused]
    {
        *rate = requests;
    }
    Guard::new(limits, TrustedProxies::default(), Vec::new())
}

fn asked(guard: &Guard, access: Access, route: &str, request: &Request) -> Asked {
    Asked::of(guard, access, (Duration::from_secs(5), Moment(1_800_000_000_500_000)), route, request)
}

fn name_and_left(charged: Result<Option<(&Policy, Reading)>, (&Policy, Reading)>) -> (&'static str, u64) {
    let (policy, reading) = charged.ok().flatten().unwrap();
    (policy.name, reading.remaining)
}

#[test]
fn the_owner_and_who_watches_without_a_key_are_not_counted() {
    for path in ["/health", "/health/live", "/health/ready", "/health/startup", "/metrics"] {
        assert!(asks_how_it_is(path) && goes_uncounted(&request(path, &[])), "{path}");
        assert!(!goes_uncounted(&request(path, &[KEY])), "{path}: a guess is counted");
    }
    assert!(!goes_uncounted(&request("/markets", &[])));
    let mut of_owner = request("/markets", &[KEY]);
    of_owner.extensions_mut().insert(Door::Owner);
    assert!(goes_uncounted(&of_owner));
}

#[test]
fn each_request_counts_for_its_address_and_for_what_it_shows_or_shows_not() {
    let guard = guard(10);
    let charge = |access, route: &str, headers: &[_]| {
        name_and_left(asked(&guard, access, route, &request("/markets", headers)).charge(&guard))
    };
    // Quotas are counted apart: the last of those a request counts to is told. A credential nobody has looked at yet has
    // none, and where nobody looks it gets around nothing.
    assert_eq!(charge(Access::Keys, "/markets", &[]), ("anonymous", 9));
    assert_eq!(charge(Access::Keys, "/markets", &[KEY]), ("address", 8));
    assert_eq!(charge(Access::Keys, "/pnl", &[KEY]), ("address", 7));
    assert_eq!(charge(Access::Keys, "/docs/index.html", &[KEY]), ("heavy", 9));
    assert_eq!(charge(Access::Keys, "/openapi.json", &[("x-api-key", "another")]), ("heavy", 8));
    assert_eq!(charge(Access::OpenLoopback, "/markets", &[]), ("address", 4));
    assert_eq!(charge(Access::OpenLoopback, "/pnl", &[]), ("heavy", 7));
}

#[test]
fn a_credential_is_one_however_it_is_written() {
    let guard = guard(10);
    let shown = |name: &'static str, value: &str| {
        asked(&guard, Access::Keys, "/markets", &request("/markets", &[(name, value)])).shown.unwrap()
    };
    let plain = shown("x-api-key", "art_a_b");
    for written in ["Bearer art_a_b", "bEARER art_a_b", "Bearer     art_a_b", "Bearer \tart_a_b "] {
        assert_eq!(shown("authorization", written), plain, "{written}");
    }
    // Who has only the first part of a key has not shown that key.
    assert_ne!(shown("x-api-key", "art_a_c"), plain);
    assert_ne!(shown("authorization", "Bearer a.b.c"), plain);
}

/// Keys that followed one another, and whatever is shown of one holder, share a quota; each request is counted once.
#[test]
fn a_holder_has_one_quota_and_whoever_shows_nothing_has_none() {
    use crate::workers::directory::Standing;
    let guard = guard(3);
    let account = |route: &str| {
        let request = request("/markets", &[KEY]);
        Account::of(&asked(&guard, Access::Keys, route, &request))
    };
    let key = |prefix: &str, lineage: &str| Standing::Key { prefix: prefix.into(), lineage: lineage.into() };
    let left =
        |account: &Account| account.told(&guard).map(|(policy, reading)| (policy.name, reading.remaining));
    let first = account("/markets");
    for _ in 0..2 {
        first.charge(&guard, &key("old", "old")).unwrap();
        assert_eq!(left(&first), Some(("key", 2)), "counted once");
    }
    let next = account("/pnl");
    next.charge(&guard, &key("new", "old")).unwrap();
    assert_eq!(left(&next), Some(("heavy", 2)));
    account("/markets").charge(&guard, &key("new", "old")).unwrap();
    // What the one quota refuses takes nothing off the other.
    let over = account("/pnl");
    for _ in 0..2 {
        assert_eq!(over.charge(&guard, &key("old", "old")).unwrap_err().code, Code::TooManyRequests);
        assert_eq!(left(&over), Some(("key", 0)));
    }
    account("/markets").charge(&guard, &key("other", "other")).unwrap();
    let owner = account("/pnl");
    owner.charge(&guard, &Standing::Always).unwrap();
    assert_eq!(left(&owner), None);
}

#[test]
fn asking_whether_one_may_ask_is_cheap() {
    let guard = guard(10);
    let mut preflight = request("/pnl", &[KEY]);
    assert!(asked(&guard, Access::Keys, "/pnl", &preflight).heavy);
    *preflight.method_mut() = Method::OPTIONS;
    let asked = asked(&guard, Access::Keys, "/pnl", &preflight);
    assert!(!asked.heavy && !asked.keyless && asked.shown.is_some());
    assert_eq!(asked.wall, 1_800_000_000);
}

/// While the guesses of an address are used up, a key that was good before is let in, and nobody else with one.
#[tokio::test]
async fn who_guesses_waits_and_a_known_key_does_not() {
    let guard = guard(1);
    let guess =
        |value: &str| asked(&guard, Access::Keys, "/markets", &request("/markets", &[("x-api-key", value)]));
    let admitted = Admitted::default();
    admitted.by(&crate::workers::directory::Standing::Always);
    guess("good").learn(&guard, StatusCode::OK, &admitted);
    assert!(guess("wrong").guess(&guard).is_ok());
    guess("wrong").learn(&guard, StatusCode::UNAUTHORIZED, &Admitted::default());
    assert!(guess("good").is_known(&guard) && guess("good").guess(&guard).is_ok());
    let (policy, reading) = guess("other").guess(&guard).err().unwrap();
    let response = guess("other").too_many(policy, reading);
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
    assert!(std::str::from_utf8(&body).unwrap().contains("too many keys from this address were not valid"));
    // What was answered without looking at the key teaches nothing.
    guess("unseen").learn(&guard, StatusCode::OK, &Admitted::default());
    assert!(!guess("unseen").is_known(&guard));
}

#[test]
fn a_wait_is_told_in_whole_seconds_and_not_too_short() {
    assert_eq!(seconds(Duration::from_secs(3)), 3);
    assert_eq!(seconds(Duration::new(3, 1)), 4);
}

#[test]
fn what_two_could_read_differently_is_refused() {
    let code = |request: &Request, uri_bytes| well_formed(request, uri_bytes).err().map(|error| error.code);
    let malformed = Some(Code::MalformedRequest);
    let host = ("host", "a.example");
    assert_eq!(code(&request("/markets", &[host]), 8), None);
    assert_eq!(code(&request("/markets", &[host]), 7), Some(Code::UriTooLong));
    assert_eq!(code(&request("/", &[host, host]), 99), malformed);
    assert_eq!(code(&request("/", &[]), 99), malformed);
    let mut old = request("/", &[]);
    *old.version_mut() = Version::HTTP_10;
    assert_eq!(code(&old, 99), None);
    assert_eq!(code(&request("http://a.example/", &[]), 99), None);
    assert_eq!(code(&request("http://A.example/", &[host]), 99), None);
    assert_eq!(code(&request("http://b.example/", &[host]), 99), malformed);
    assert_eq!(code(&request("/", &[host, ("transfer-encoding", "Chunked")]), 99), None);
    assert_eq!(code(&request("/", &[host, ("transfer-encoding", "gzip, chunked")]), 99), malformed);
}
