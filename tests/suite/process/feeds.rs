//! Feeds of the real program: the whole way from a venue to a second instance and the profit of a portfolio, and `artifact ingest --source`.

use super::{OPEN, Place, Service};
use crate::feeds::replay::{Rest, Stage, Step, good, say};
use crate::feeds::{Trade, expected};
use crate::on_both;
use crate::support::{Backend, shared};
use artifact::domain::moment::Moment;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

/// What `tests/golden/feeds.py` wrote.
const OUTSIDE: &str = include_str!("../../golden/feeds.json");
/// Longest time until everything has arrived.
const PATIENCE: Duration = Duration::from_mins(1);

/// The texts of the frames that a recorded conversation received.
fn frames(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let received = |line: &&str| line.contains(": {") && !line.contains("<-");
    text.lines().filter(received).map(|line| line.split_once(": ").unwrap().1.to_owned()).collect()
}

/// The trades in them, by product; each once.
fn trades(frames: &[String]) -> BTreeMap<String, Vec<Trade>> {
    let mut found: BTreeMap<String, BTreeMap<u64, Trade>> = BTreeMap::new();
    for frame in frames {
        let frame: Value = serde_json::from_str(frame).unwrap();
        if !matches!(frame["type"].as_str().unwrap(), "match" | "last_match") {
            continue;
        }
        let text = |name: &str| frame[name].as_str().unwrap().to_owned();
        let number = frame["trade_id"].as_u64().unwrap();
        let micros = Moment::parse(&text("time")).unwrap().0;
        let trade = Trade { number, micros, price: text("price"), size: text("size") };
        found.entry(text("product_id")).or_default().insert(number, trade);
    }
    found.into_iter().map(|(product, trades)| (product, trades.into_values().collect())).collect()
}

/// What Coinbase answers about trades it has, newest first.
fn history(trades: BTreeMap<String, Vec<Trade>>) -> impl Fn(&str, usize) -> crate::feeds::replay::Answered {
    move |path, _| {
        let product = path.split('/').nth(2).unwrap_or_default();
        let Some(trades) = trades.get(product) else {
            return (404, Vec::new(), "{\"message\":\"NotFound\"}".to_owned());
        };
        let row = |trade: &Trade| {
            let at = Moment(trade.micros).to_string();
            json!({ "trade_id": trade.number, "price": trade.price, "size": trade.size, "time": at, "side": "buy" })
        };
        good(json!(trades.iter().rev().map(row).collect::<Vec<_>>()).to_string())
    }
}

/// A number without zeros at its end.
fn plain(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

/// Waits until something is so.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "{what}");
}

async fn add_assets(service: &Service, products: &BTreeSet<String>) {
    for product in products {
        let (_, currency) = product.split_once('-').unwrap();
        let body = json!({ "symbol": product, "name": product, "asset_type": "CRYPTOCURRENCY", "market_code": "BINANCE",
            "currency": currency });
        service.api.post("/assets", &body).await.expect(201);
    }
}

/// Whether the service has exactly these points of every product.
async fn has(service: &Service, trades: &BTreeMap<String, Vec<Trade>>) -> bool {
    for (product, trades) in trades {
        let rows = service.api.every(&format!("/prices?symbol={product}&source=coinbase")).await;
        let point = |row: &Value| {
            ["observed_at", "price", "open", "high", "low", "volume"]
                .map(|name| row[name].as_str().unwrap_or_default().to_owned())
        };
        if rows.iter().map(point).collect::<Vec<_>>() != expected(trades) {
            return false;
        }
    }
    true
}

/// Starts the service, which posts on to another one.
fn serve(place: &Place, flags: &[&str], other: &Service) -> Service {
    let mut command = place.command(&[&["serve"], flags].concat());
    command.env("INFRA_API_URL", format!("http://{}", other.api.address));
    Service::start(command)
}

/// Whether the newest point of every product is the price another instance has of it.
async fn was_posted_on(other: &Service, trades: &BTreeMap<String, Vec<Trade>>) -> bool {
    for (product, trades) in trades {
        let latest = other.api.get(&format!("/prices/latest?symbols={product}")).await.expect(200);
        let found =
            ["observed_at", "price"].map(|name| latest[0][name].as_str().unwrap_or_default().to_owned());
        if expected(trades).last().map(|point| &point[..2]) != Some(&found[..]) {
            return false;
        }
    }
    true
}

/// Opens the positions of `feeds.py`; returns the portfolio.
async fn invest(service: &Service) -> String {
    let body =
        json!({ "name": "book", "owner_id": "tester", "initial_capital": "100000", "base_currency": "GBP" });
    let id = service.api.post("/portfolios", &body).await.expect(201)["id"].as_str().unwrap().to_owned();
    for (product, side, quantity, price, closed) in [
        ("BAND-GBP", "LONG", "1000", "14.5", Some(("400", "14.9", "1.5"))),
        ("SKL-GBP", "SHORT", "2500", "0.58", Some(("500", "0.57", "0.25"))),
        ("NU-GBP", "LONG", "3000.5", "0.4501", None),
    ] {
        let path = format!("/portfolios/{id}/positions");
        let body =
            json!({ "asset_symbol": product, "position_type": side, "quantity": quantity, "price": price });
        let position = service.api.post(&path, &body).await.expect(201)["id"].as_str().unwrap().to_owned();
        if let Some((quantity, price, fee)) = closed {
            let body = json!({ "quantity": quantity, "price": price, "fee": fee });
            service.api.post(&format!("{path}/{position}/reduce"), &body).await.expect(200);
        }
    }
    id
}

/// Checks the figures of the portfolio against those from outside.
async fn check_figures(service: &Service, portfolio: &str, outside: &Value) {
    let pnl = service.api.get(&format!("/portfolios/{portfolio}/pnl")).await.expect(200);
    for name in ["realized_pnl", "unrealized_pnl", "total_value"] {
        assert_eq!(plain(pnl[name].as_str().unwrap()), outside[name], "{name}: {pnl}");
    }
    let positions = service.api.get(&format!("/portfolios/{portfolio}/positions")).await.expect(200);
    for position in positions.as_array().unwrap() {
        let wanted = &outside["positions"][position["asset_symbol"].as_str().unwrap()];
        for name in ["quantity", "current_price", "unrealized_pnl"] {
            assert_eq!(plain(position[name].as_str().unwrap()), wanted[name], "{name}: {position}");
        }
    }
    assert_eq!(positions.as_array().unwrap().len(), outside["positions"].as_object().unwrap().len());
}

/// Checks the files of the source against what `feeds.py` hashed.
fn check_files(place: &Place, outside: &Value) {
    let folder = place.data().join("ingest/coinbase");
    let records = std::fs::read(folder.join("records.json")).unwrap();
    let rows: Vec<BTreeMap<String, &serde_json::value::RawValue>> = serde_json::from_slice(&records).unwrap();
    let mut lines: Vec<String> = rows
        .iter()
        .map(|row| {
            let text = |name: &str| row[name].get().trim_matches('"');
            format!(
                "{} {} {} {}\n",
                text("ticker"),
                text("timestamp"),
                plain(text("close")),
                plain(text("volume"))
            )
        })
        .collect();
    lines.sort();
    let hex = |bytes: &[u8]| artifact::domain::hexadecimal::hex(&Sha256::digest(bytes));
    assert_eq!(
        (json!(lines.len()), json!(hex(lines.concat().as_bytes()))),
        (outside["points"].clone(), outside["sha256"].clone())
    );
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    assert_eq!((&manifest["sha256"], &manifest["count"]), (&json!(hex(&records)), &outside["points"]));
}

/// Seed, feed, files, a second instance, profit; the connection breaks in the middle, the service is killed, and everything comes again.
async fn go_the_whole_way(backend: Backend, path: &Path) {
    let frames = frames(path);
    let trades = trades(&frames);
    let products: BTreeSet<String> = trades.keys().cloned().collect();
    let half = frames.len() / 2;
    let first = [vec![Step::Hear("subscribe")], say(frames[..half].to_vec()), vec![Step::Drop]].concat();
    let second =
        [vec![Step::Hear("subscribe")], say(frames[half - 3..].to_vec()), vec![Step::Ping, Step::Hold]]
            .concat();
    let again = [vec![Step::Hear("subscribe")], say(frames.clone()), vec![Step::Ping, Step::Hold]].concat();
    let (stage, rest) =
        (Stage::start(vec![first, second, again]).await, Rest::start(history(trades.clone())).await);
    let place = Place::new(backend).await;
    let symbols: Vec<String> = products.iter().map(|product| format!("\"{product}\"")).collect();
    let configuration = place.file(
        "feeds.toml",
        &format!(
            "[[feeds]]\nname = \"coinbase\"\nkind = \"coinbase\"\nenabled = false\nws_url = \"{}\"\nbase_url = \"{}\"\n\
             allow_private = true\nsave_records = true\nretry_min = \"10ms\"\nper_minute = 60000\nburst = 1000\nsymbols = [{}]\n",
            stage.url(),
            rest.url(),
            symbols.join(", ")
        ),
    );
    let flags = [OPEN.as_slice(), &["--config", &configuration]].concat();
    place.run(&["seed", "gold-bitcoin"]).ok();
    let elsewhere = Place::new(backend).await;
    elsewhere.run(&["seed", "gold-bitcoin"]).ok();
    let other = elsewhere.serve(&OPEN);
    add_assets(&other, &products).await;
    let service = serve(&place, &flags, &other);
    add_assets(&service, &products).await;
    let portfolio = invest(&service).await;
    service.api.post("/ingest/feeds/coinbase/start", &json!({})).await.expect(200);
    until("the feed arrives", async || has(&service, &trades).await).await;
    service.kill();
    let service = serve(&place, &flags, &other);
    let feed = async || service.api.get("/ingest/feeds/coinbase").await.expect(200);
    let enough = u64::try_from(frames.len()).unwrap();
    until("the feed is heard again", async || feed().await["messages"].as_u64() >= Some(enough)).await;
    service.api.post("/ingest/feeds/coinbase/stop", &json!({})).await.expect(200);
    until("the feed stops", async || feed().await["state"] == "stopped").await;
    assert!(has(&service, &trades).await, "{}", feed().await);
    let outside: Value = serde_json::from_str(OUTSIDE).unwrap();
    let outside = &outside[path.file_name().unwrap().to_str().unwrap()];
    assert_eq!(outside["trades"], trades.values().map(Vec::len).sum::<usize>());
    check_files(&place, outside);
    check_figures(&service, &portfolio, outside).await;
    until("the newest prices are elsewhere too", async || was_posted_on(&other, &trades).await).await;
    let outbox = async || service.api.get("/ingest/outbox").await.expect(200);
    until("nothing is left to be posted", async || outbox().await["depth"] == 0).await;
    assert_eq!(outbox().await["dead_letters"], 0, "{}", outbox().await);
    service.stop();
    other.stop();
}

on_both! {
    async fn frames_become_points_files_and_the_profit_of_a_portfolio(backend) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/feed_frames.txt");
        go_the_whole_way(backend, &path).await;
    }

    #[ignore = "needs ../shared"]
    async fn recorded_frames_become_points_files_and_the_profit_of_a_portfolio(backend) {
        go_the_whole_way(backend, &shared().join("data/frames/cryptofeed_coinbase_ws.txt")).await;
    }
}

const OHLC: &str = r#"{"error":[],"result":{"XXBTZUSD":[
    [1700000040,"37000.10","37500.0","36800.0","37200.0","37100.0","150.5",320],
    [1700000100,"37200.0","37210.5","37190.0","37200.5","37200.0","1",1],
    [1700000160,"1","1","1","1","1","1",1]],"last":1700000100}}"#;

/// A place with a feed named `kraken`.
async fn kraken(rest: &Rest, more: &str) -> (Place, String) {
    let place = Place::new(Backend::Sqlite).await;
    place.run(&["seed", "gold-bitcoin"]).ok();
    let text = format!(
        "[[feeds]]\nname = \"kraken\"\nkind = \"kraken\"\ntransport = \"rest\"\nenabled = false\nbase_url = \"{}\"\n\
         allow_private = true\n{more}\n",
        rest.url()
    );
    let file = place.file("feeds.toml", &text);
    (place, file)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_is_run_from_the_command_line_with_and_without_a_service() {
    let rest = Rest::start(|_, _| good(OHLC)).await;
    let (place, file) = kraken(&rest, "symbols = { \"BTC-USD\" = \"BTC/USD\" }").await;
    let line = ["ingest", "--source", "kraken", "--since", "2023-11-14", "--once", "--config", &file];
    let said = place.run(&line).ok();
    assert_eq!(
        said,
        "kraken: stored 2, duplicate 0, corrected 0, refused 0\nfrom 2023-11-14T22:14:00.000000Z to 2023-11-14T22:15:00.000000Z\n"
    );
    let service = place.serve(&[OPEN.as_slice(), &["--config", &file]].concat());
    let said = place.run(&line).ok();
    assert!(said.starts_with("kraken: stored 0, duplicate 2, corrected 0, refused 0"), "{said}");
    let absent = place.run(&["ingest", "--source", "none", "--config", &file]).failed(1);
    assert!(absent.contains("no feed `none` is configured"), "{absent}");
    let other = place.file(
        "other.toml",
        &std::fs::read_to_string(&file).unwrap().replace("\"kraken\"\nkind", "\"other\"\nkind"),
    );
    let foreign = place.run(&["ingest", "--source", "other", "--config", &other]).failed(1);
    assert!(foreign.contains("was started with another configuration"), "{foreign}");
    service.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_ends_early_or_has_rows_refused_fails() {
    let unknown = r#"{"error":["EQuery:Unknown asset pair"]}"#;
    let rest = Rest::start(move |path, _| {
        good(if path.contains("BTC") || path.contains("XBT") { OHLC } else { unknown })
    })
    .await;
    let (place, file) =
        kraken(&rest, "symbols = { \"BTC-USD\" = \"BTC/USD\", \"GOLD\" = \"NONE/USD\" }").await;
    let ran = place.run(&["ingest", "--source", "kraken", "--config", &file]);
    assert!(ran.out.contains("stored 2"), "{}", ran.out);
    let said = ran.failed(1);
    assert!(said.contains("feed kraken ended early: refused: EQuery:Unknown asset pair"), "{said}");
    let (place, file) = kraken(&rest, "symbols = { \"NONE\" = \"BTC/USD\" }").await;
    let ran = place.run(&["ingest", "--source", "kraken", "--config", &file]);
    let said = ran.failed(1);
    assert!(
        said.contains("NONE: symbol: `NONE` is not a known symbol") && said.contains("2 rows were refused"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_feed_is_told_by_its_key_and_rule_and_nothing_starts() {
    let place = Place::new(Backend::Sqlite).await;
    let head = "[[feeds]]\nname = \"b\"\nkind = \"binance\"\n";
    for (more, wanted) in [
        ("symbols = [\"BTCUSDT\"]\nevery = \"soon\"", "feeds.b.every: `soon` must be a time"),
        ("symbols = [\"BTCUSDT\"]\nevry = \"1s\"", "feeds.b.evry: is not a key"),
        ("", "feeds.b.symbols: is missing"),
    ] {
        let file = place.file("feeds.toml", &format!("{head}{more}\n"));
        for command in [["serve"].as_slice(), &["config", "check"], &["ingest", "--source", "b"]] {
            let said = place.run(&[command, &["--config", &file]].concat()).failed(2);
            assert!(said.contains("feeds.toml") && said.contains(wanted), "{said}");
        }
    }
    for (line, wanted) in [
        (["ingest", "--source", "b", "--symbol", "GOLD"], "--symbol is for files"),
        (["ingest", "x.csv", "--source", "b", "--once"], "--once is for feeds"),
    ] {
        let said = place.run(&line).failed(2);
        assert!(said.contains(wanted), "{said}");
    }
}
