//! Portfolios in the service: reading one with many positions, recording one more trade, five years of days.

#![expect(clippy::expect_used, reason = "a measurement that cannot go on says where it stopped")]

use crate::limits::Limits;
use crate::portfolios::{Service, id_of};
use crate::processes::Folder;
use crate::{ROUNDS, Row, median, shown, times};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::get;
use http_body_util::BodyExt as _;
use hyper::Method;
use std::fmt::Write as _;
use std::time::{Duration, Instant};
use tower::ServiceExt as _;

/// Assets, and so open positions, of the large portfolios.
const ASSETS: usize = 1_000;
/// Entries posted at once.
const BATCH: usize = 5_000;
/// Reads of one measurement.
const READS: usize = 20;
/// The first moment of the ledgers, in seconds since 1970: 2019-01-01.
const START: i64 = 1_546_300_800;
/// Their length in seconds: about seven years.
const SPAN: i64 = 220_000_000;

/// RFC 3339 of a second since 1970.
fn stamp(seconds: i64) -> String {
    let moment = chrono::DateTime::from_timestamp(seconds, 0).expect("a moment");
    moment.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Moment of entry `index` of `count`.
fn moment(index: usize, count: usize) -> i64 {
    let share = |part: usize| i64::try_from(part).unwrap_or_default();
    START + SPAN / share(count).max(1) * share(index)
}

fn symbol(asset: usize) -> String {
    format!("A{asset}")
}

/// Entry `index` of `count`: each asset is bought twice, then sold and bought in turn, so that it stays open with a
/// lot or two however long the ledger is.
fn entry(index: usize, count: usize, assets: usize) -> String {
    let turn = index / assets;
    let kind = if turn < 2 || turn % 2 == 1 { "buy" } else { "sell" };
    let price = 10_000 + (index * 7_919) % 2_000;
    format!(
        r#"{{"type":"{kind}","symbol":"{}","quantity":"1.5","price":"{}.{:02}","executed_at":"{}"}}"#,
        symbol(index % assets),
        price / 100,
        price % 100,
        stamp(moment(index, count))
    )
}

/// A portfolio with so many entries over so many assets; its path.
async fn portfolio(service: &Service, count: usize, assets: usize) -> String {
    let body = format!(
        r#"{{"name":"{count} over {assets}","owner_id":"bench","initial_capital":"100000000","opened_at":"2018-12-31"}}"#
    );
    let path = format!("/portfolios/{}", id_of(&service.post("/portfolios", body).await));
    for from in (0..count).step_by(BATCH) {
        let entries: Vec<String> =
            (from..count.min(from + BATCH)).map(|index| entry(index, count, assets)).collect();
        service.post(&format!("{path}/transactions"), format!("[{}]", entries.join(","))).await;
    }
    path
}

async fn reads(service: &Service, path: &str) -> Duration {
    let started = Instant::now();
    for _ in 0..READS {
        service.get(path).await;
    }
    started.elapsed() / u32::try_from(READS).unwrap_or(1)
}

/// A handler that answers the same bytes and does nothing else.
async fn bare_reads(answer: &Bytes) -> Duration {
    let answer = answer.clone();
    let router: Router = Router::new().route("/", get(move || async move { answer.clone() }));
    let started = Instant::now();
    for _ in 0..READS {
        let request = hyper::Request::builder().uri("/").body(Body::empty()).expect("request");
        let answer = router.clone().oneshot(request).await.expect("answer");
        answer.into_body().collect().await.expect("body");
    }
    started.elapsed() / u32::try_from(READS).unwrap_or(1)
}

/// Reads of a portfolio with 100,000 entries beside the same with 10,000 of them.
async fn read_portfolios(service: &Service, long: &str, short: &str) {
    for (what, below) in [
        ("GET /portfolios/{id}, 1,000 positions", ""),
        ("GET /portfolios/{id}/pnl, 1,000 positions", "/pnl"),
        ("GET /portfolios/{id}/positions, 1,000 positions", "/positions?limit=1000"),
    ] {
        let (long, short) = (format!("{long}{below}"), format!("{short}{below}"));
        let answer = service.get(&long).await;
        let (mut longs, mut shorts, mut bare) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            bare.push(bare_reads(&answer).await);
            longs.push(reads(service, &long).await);
            shorts.push(reads(service, &short).await);
        }
        let (long, short, bare) = (median(longs), median(shorts), median(bare));
        Row {
            work: &format!("{what}, 100,000 entries"),
            figure: shown(long),
            beside: format!("10,000 entries {}; bare {}", shown(short), shown(bare)),
            ratio: times(long, short),
            goal: "2 ms, about 1",
        }
        .print();
    }
}

/// A read of a portfolio of 1,000 positions right after something it depends on has changed.
async fn read_after(service: &Service, path: &str) {
    for what in ["a price", "an entry"] {
        let (mut first, mut later) = (Vec::new(), Vec::new());
        for turn in (0..).take(ROUNDS) {
            if what == "a price" {
                let body = format!(r#"{{"symbol":"A7","price":"113.{turn:02}"}}"#);
                service.post("/prices", body).await;
            } else {
                record_one(service, path, 100, turn * 10).await;
            }
            let started = Instant::now();
            service.get(path).await;
            first.push(started.elapsed());
            later.push(reads(service, path).await);
        }
        let (first, later) = (median(first), median(later));
        Row {
            work: &format!("GET /portfolios/{{id}}, 1,000 positions, first after {what}"),
            figure: shown(first),
            beside: format!("nothing changed {}", shown(later)),
            ratio: times(first, later),
            goal: "2 ms",
        }
        .print();
    }
}

/// The figures of a portfolio folded from every entry of its ledger, as conventions that are not its own make it do,
/// beside reading those rows through SQLite's C interface.
async fn refold(service: &Service, path: &str) {
    let path = format!("{path}/pnl?cost_basis=lifo");
    let folder = Folder::new("refold");
    let mut limits = Limits::start(&folder.0);
    let read = format!("ledger {}", service.database().display());
    let (mut ours, mut rows) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        rows.push(limits.time(&read));
        let started = Instant::now();
        service.get(&path).await;
        ours.push(started.elapsed());
    }
    limits.stop();
    let (ours, rows) = (median(ours), median(rows));
    Row {
        work: "P&L of 100,000 entries from the store, all folded",
        figure: shown(ours),
        beside: format!("reading the rows through SQLite's C interface {}", shown(rows)),
        ratio: times(ours, rows),
        goal: "at most 6",
    }
    .print();
}

/// One entry more into a ledger, at so many percent of its span; at 100 it comes last.
async fn record_one(service: &Service, path: &str, percent: i64, turn: i64) -> Duration {
    let seconds = START + SPAN / 100 * percent + turn + if percent == 100 { SPAN } else { 0 };
    let body = format!(
        r#"{{"type":"buy","symbol":"A0","quantity":"0.5","price":"101.25","executed_at":"{}"}}"#,
        stamp(seconds.min(START + SPAN + 10_000 + turn))
    );
    let started = Instant::now();
    service.post(&format!("{path}/transactions"), body).await;
    started.elapsed()
}

async fn record(service: &Service, long: &str, deep: &str, short: &str) {
    for (what, path) in [("1,000 assets", long), ("one asset", deep)] {
        for percent in [100, 99, 50, 10] {
            let (mut late, mut small) = (Vec::new(), Vec::new());
            for turn in (0..).take(ROUNDS) {
                small.push(record_one(service, short, 100, turn * 10 + percent * 100).await);
                late.push(record_one(service, path, percent, turn * 10 + 3).await);
            }
            let (late, small) = (median(late), median(small));
            let place =
                if percent == 100 { "last".to_owned() } else { format!("late, at {percent} % of the time") };
            Row {
                work: &format!("one trade into 100,000 of {what}, {place}"),
                figure: shown(late),
                beside: format!("last into 100 {}", shown(small)),
                ratio: times(late, small),
                goal: if percent == 100 { "about 1" } else { "from its date on" },
            }
            .print();
        }
    }
}

/// Assets of the equity curve.
const CURVE_ASSETS: usize = 100;

/// Daily prices of an asset over five years, as a file.
fn daily(asset: usize) -> String {
    let mut file = "time,price\n".to_owned();
    for day in 0..1_826_i64 {
        let cents = 10_000 + (day * 37 + i64::try_from(asset).unwrap_or_default() * 101) % 3_000;
        let at = stamp(START + day * 86_400);
        writeln!(file, "{at},{}.{:02}", cents / 100, cents % 100).expect("a line");
    }
    file
}

/// Five years of daily history for 100 assets.
async fn history(service: &Service) {
    for asset in 0..CURVE_ASSETS {
        let path = format!("/prices/import?symbol={}&source=daily&interval=1d", symbol(asset));
        service.post(&path, daily(asset)).await;
    }
    let path = portfolio(service, 2_000, CURVE_ASSETS).await;
    let path = format!("{path}/history?from=2019-01-01&to=2023-12-31&interval=1d");
    let work = "GET /portfolios/{id}/history, 100 assets, 1,826 days";
    let (status, answer) = service.ask(Method::GET, &path, String::new()).await;
    if !status.is_success() {
        let beside = format!("answers {status}");
        Row { work, figure: "-".to_owned(), beside, ratio: "-".to_owned(), goal: "under 100 ms" }.print();
        return;
    }
    let (mut curve, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.push(bare_reads(&answer).await);
        let started = Instant::now();
        service.get(&path).await;
        curve.push(started.elapsed());
    }
    let (curve, bare) = (median(curve), median(bare));
    Row {
        work,
        figure: shown(curve),
        beside: format!("a bare handler with that answer {}", shown(bare)),
        ratio: times(curve, bare),
        goal: "under 100 ms",
    }
    .print();
}

/// A service with assets that have one price of today.
async fn priced_assets(name: &str, count: usize) -> Service {
    let service = Service::start(name).await;
    let market = r#"{"code":"X","name":"X","market_type":"OTC","timezone":"UTC"}"#;
    service.post("/markets", market.to_owned()).await;
    let named = |asset| {
        format!(r#"{{"symbol":"{}","name":"A","asset_type":"STOCK","market_code":"X"}}"#, symbol(asset))
    };
    service.post_all("/assets", (0..count).map(named).collect()).await;
    let priced = |asset| format!(r#"{{"symbol":"{}","price":"112.50"}}"#, symbol(asset));
    service.post_all("/prices", (0..count).map(priced).collect()).await;
    service
}

/// Builds the ledgers, then measures.
pub(crate) async fn run() {
    let service = priced_assets("ledgers", ASSETS).await;
    let long = portfolio(&service, 100_000, ASSETS).await;
    refold(&service, &long).await;
    let short = portfolio(&service, 10_000, ASSETS).await;
    read_portfolios(&service, &long, &short).await;
    let deep = portfolio(&service, 100_000, 1).await;
    let small = portfolio(&service, 100, 10).await;
    record(&service, &long, &deep, &small).await;
    read_after(&service, &short).await;
    service.stop();
}

/// Builds a portfolio over time, then measures.
pub(crate) async fn run_history() {
    let service = priced_assets("history", CURVE_ASSETS).await;
    history(&service).await;
    service.stop();
}
