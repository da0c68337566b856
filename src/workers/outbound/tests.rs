//! What the one way out lets through, held against listeners on this machine that count their callers.

use super::canary::{Canary, ok, redirect};
use super::*;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use tokio::net::TcpListener;

const TIME: Duration = Duration::from_secs(5);
const ROOM: usize = 1_000;

/// Names that resolve to a list of addresses, one after the other at each question; the last one stays.
#[derive(Debug)]
struct Names(Mutex<Vec<Vec<IpAddr>>>);

impl Resolve for Names {
    fn resolve(&self, _: Name) -> Resolving {
        let mut left = self.0.lock().unwrap();
        let now = if left.len() > 1 { left.remove(0) } else { left[0].clone() };
        Box::pin(async move {
            let found: Addrs = Box::new(now.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(found)
        })
    }
}

/// Ways to write an address of this machine, its network or a metadata service.
const FORMS: [&str; 45] = [
    "http://127.0.0.1:PORT/",
    "http://127.0.0.1.:PORT/",
    "http://127.1:PORT/",
    "http://127.0.1:PORT/",
    "http://2130706433:PORT/",
    "http://0x7f000001:PORT/",
    "http://0X7F.0.0.1:PORT/",
    "http://017700000001:PORT/",
    "http://0177.0.0.1:PORT/",
    "http://0177.0x0.0.0x1:PORT/",
    "http://127.0.0.0x1:PORT/",
    "http://127.255.255.254:PORT/",
    "http://%31%32%37.0.0.1:PORT/",
    "http://１２７.０.０.１:PORT/",
    "http://127。0。0。1:PORT/",
    "http://①②⑦.0.0.1:PORT/",
    "http://0:PORT/",
    "http://0.0.0.0:PORT/",
    "http://[::]:PORT/",
    "http://[::1]:PORT/",
    "http://[0:0:0:0:0:0:0:1]:PORT/",
    "http://[::ffff:127.0.0.1]:PORT/",
    "http://[::ffff:7f00:1]:PORT/",
    "http://[0:0:0:0:0:ffff:127.0.0.1]:PORT/",
    "http://[::127.0.0.1]:PORT/",
    "http://[64:ff9b::127.0.0.1]:PORT/",
    "http://[2002:7f00:1::]:PORT/",
    "http://[fe80::1]:PORT/",
    "http://[fd00::1]:PORT/",
    "http://localhost:PORT/",
    "http://LOCALHOST:PORT/",
    "http://localhost.:PORT/",
    "http://ｌｏｃａｌｈｏｓｔ:PORT/",
    "http://loc%61lhost:PORT/",
    "http://user:word@127.0.0.1:PORT/",
    "http://prices.example@127.0.0.1:PORT/",
    "http://127.0.0.1:PORT\\@prices.example/",
    "http://127.0.0.1:PORT#@prices.example/",
    "http:127.0.0.1:PORT/",
    "http:\\\\127.0.0.1:PORT/",
    " \thttp://127.0.0.1:PORT/",
    "ht\ntp://127.\t0.0.1:PORT/",
    "http://169.254.169.254:PORT/latest/meta-data/",
    "http://0xa9fea9fe:PORT/",
    "http://100.100.100.200:PORT/",
];

#[tokio::test]
async fn no_spelling_of_an_address_out_of_reach_connects() {
    let canary = Canary::answering(ok("no")).await;
    let outbound = Outbound::new(Reach::Public).unwrap();
    for form in FORMS {
        for scheme in ["http", "ws"] {
            let text =
                form.replace("PORT", &canary.port.to_string()).replacen("http:", &format!("{scheme}:"), 1);
            let Ok(target) = Target::parse(&text) else {
                assert!(scheme == "ws" || form.contains('①'), "{text:?} is refused for another reason");
                continue;
            };
            let outgoing = Outgoing::get(target.clone(), TIME, ROOM);
            let error = if target.is_web_socket() {
                outbound.web_socket(&outgoing).await.map(drop).unwrap_err()
            } else {
                outbound.send(&outgoing).await.map(drop).unwrap_err()
            };
            // Not every machine resolves the name with a dot at its end.
            let unresolved =
                form.contains("localhost.") && matches!(error, OutboundError::Unreachable { .. });
            assert!(unresolved || matches!(error, OutboundError::Forbidden { .. }), "{text:?}: {error}");
        }
    }
    assert_eq!(canary.callers(), 0);
    let anywhere = Outbound::new(Reach::Anywhere).unwrap();
    let answer = anywhere.send(&Outgoing::get(canary.target(), TIME, ROOM)).await.unwrap();
    assert_eq!((answer.body.as_slice(), canary.callers()), (b"no".as_slice(), 1));
}

#[tokio::test]
async fn a_name_is_judged_each_time_it_is_resolved() {
    let canary = Canary::answering(ok("no")).await;
    let public: IpAddr = "93.184.215.14".parse().unwrap();
    let names = || Names(Mutex::new(vec![vec![public], vec![public, Ipv4Addr::LOCALHOST.into()]]));
    let guard = Guard { names: Arc::new(names()), reach: Reach::Public };
    let first: Vec<SocketAddr> = guard.resolve("prices.example".parse().unwrap()).await.unwrap().collect();
    assert_eq!(first, [SocketAddr::new(public, 0)]);
    let error = guard.resolve("prices.example".parse().unwrap()).await.map(drop).unwrap_err();
    assert_eq!(forbidden(error.as_ref()).unwrap().kind, "loopback");
    // The same through both clients: nothing is sent although the name was harmless when it was first asked for.
    let local = Names(Mutex::new(vec![vec![Ipv4Addr::LOCALHOST.into()]]));
    let outbound = Outbound::with_names(Reach::Public, Arc::new(local), &Authorities::OfMachine).unwrap();
    for scheme in ["http", "ws"] {
        let target =
            Target::parse(&format!("{scheme}://prices.example:{}/?key=hunter2", canary.port)).unwrap();
        let outgoing = Outgoing::get(target, TIME, ROOM);
        let error = match scheme {
            "http" => outbound.send(&outgoing).await.map(drop).unwrap_err(),
            _ => outbound.web_socket(&outgoing).await.map(drop).unwrap_err(),
        };
        assert!(matches!(error, OutboundError::Forbidden { .. }), "{error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
    assert_eq!(canary.callers(), 0);
}

#[tokio::test]
async fn a_redirect_leads_to_no_other_place() {
    let canary = Canary::answering(ok("no")).await;
    let elsewhere = format!("http://127.0.0.1:{}/", canary.port);
    let outbound = Outbound::new(Reach::Anywhere).unwrap();
    for to in [elsewhere.as_str(), "http://localhost/", "file:///etc/passwd", "/again"] {
        let server = Canary::answering(redirect(302, to)).await;
        let error = outbound.send(&Outgoing::get(server.target(), TIME, ROOM)).await.map(drop).unwrap_err();
        assert!(matches!(error, OutboundError::Redirected { .. }), "{to}: {error}");
        assert_eq!(server.callers(), if to == "/again" { REDIRECTS_MAX + 1 } else { 1 });
    }
    assert_eq!(canary.callers(), 0);
}

#[tokio::test]
async fn a_post_follows_no_redirect_and_tells_its_status() {
    let server = Canary::answering(redirect(303, "/elsewhere")).await;
    let outgoing = Outgoing { method: Method::POST, ..Outgoing::get(server.target(), TIME, ROOM) };
    let answer = Outbound::new(Reach::Anywhere).unwrap().send(&outgoing).await.unwrap();
    assert_eq!((answer.status.as_u16(), server.callers()), (303, 1));
}

#[tokio::test]
async fn an_answer_is_bounded_in_time_and_in_size_after_decompression() {
    let outbound = Outbound::new(Reach::Anywhere).unwrap();
    let silent = Canary::answering("").await;
    let outgoing = Outgoing::get(silent.target(), Duration::from_millis(50), ROOM);
    let error = outbound.send(&outgoing).await.map(drop).unwrap_err();
    assert!(matches!(error, OutboundError::Late { .. }), "{error}");
    let bomb = zstd::bulk::compress(&vec![0; 10_000_000], 19).unwrap();
    assert!(bomb.len() < ROOM * 2, "{}", bomb.len());
    let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: zstd\r\ncontent-length: {}\r\n\r\n", bomb.len());
    let server = Canary::answering([head.into_bytes(), bomb].concat()).await;
    let error = outbound.send(&Outgoing::get(server.target(), TIME, 100_000)).await.map(drop).unwrap_err();
    assert!(matches!(error, OutboundError::TooLong { .. }), "{error}");
}

#[tokio::test]
async fn a_web_socket_opens_and_a_refusal_tells_its_status() {
    use futures_util::{SinkExt as _, StreamExt as _};
    use tungstenite::Message;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        let message = socket.next().await.unwrap().unwrap();
        socket.send(message).await.unwrap();
    });
    let outbound = Outbound::new(Reach::Anywhere).unwrap();
    let target = Target::parse(&format!("ws://localhost:{port}/feed")).unwrap();
    let mut socket = outbound.web_socket(&Outgoing::get(target, TIME, ROOM)).await.unwrap();
    socket.send(Message::text("1.10")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("1.10"));
    serving.await.unwrap();
    let busy = Canary::answering("HTTP/1.1 429 No\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n").await;
    let target = Target::parse(&format!("ws://127.0.0.1:{}/", busy.port)).unwrap();
    match outbound.web_socket(&Outgoing::get(target, TIME, ROOM)).await {
        Err(OutboundError::NoSocket { status, headers, .. }) => {
            assert_eq!((status.as_u16(), retry_after(&headers, 0)), (429, Some(Duration::from_secs(7))));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    let asked = |text: &'static str| {
        retry_after(&HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))]), 1_445_412_480)
    };
    assert_eq!(asked("120"), Some(Duration::from_mins(2)));
    assert_eq!(asked("Wed, 21 Oct 2015 07:28:30 GMT"), Some(Duration::from_secs(30)));
    assert_eq!(asked("Wed, 21 Oct 2015 07:27:00 GMT"), Some(Duration::ZERO));
    assert_eq!(asked("soon"), None);
    assert_eq!(retry_after(&HeaderMap::new(), 0), None);
}

#[test]
fn a_secret_header_is_never_shown() {
    let mut outgoing = Outgoing::get(Target::parse("http://h/?k=hunter2").unwrap(), TIME, ROOM);
    outgoing.headers.insert(reqwest::header::AUTHORIZATION, secret("Bearer hunter2").unwrap());
    assert!(!format!("{outgoing:?}").contains("hunter2"));
    assert!(secret("a\r\nb: c").is_err());
}
