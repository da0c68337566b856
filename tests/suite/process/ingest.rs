//! `artifact ingest`: price files as they come, whole or not at all.

use super::{OPEN, Place};
use crate::on_both;
use crate::support::Backend;
use serde_json::{Value, json};

const CANDLES: &str = "date,open,high,low,close,volume\n\
    2026-01-02,10,12,9.5,11.25,100\n\
    2026-01-05,11.25,13,11,12.5,80.5\n\
    2026-01-06,12.5,12.75,12,12.10,\n";
const TO_GOLD: [&str; 4] = ["--symbol", "GOLD", "--source", "desk"];

/// A place with GOLD and BTC-USD.
async fn seeded(backend: Backend) -> Place {
    let place = Place::new(backend).await;
    place.run(&["seed", "gold-bitcoin"]).ok();
    place
}

fn line<'a>(file: &'a str, flags: &[&'a str]) -> Vec<&'a str> {
    [&["ingest", file], TO_GOLD.as_slice(), flags].concat()
}

/// What GOLD has of this source and interval: moment and price, in order.
async fn points(place: &Place, filter: &str) -> Vec<(String, String)> {
    let service = place.serve(&OPEN);
    let rows = service.api.every(&format!("/prices?symbol=GOLD&{filter}")).await;
    service.stop();
    let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    rows.iter().map(|row| (text(row, "observed_at"), text(row, "price"))).collect()
}

fn pairs(wanted: &[(&str, &str)]) -> Vec<(String, String)> {
    wanted.iter().map(|(at, price)| ((*at).to_owned(), (*price).to_owned())).collect()
}

on_both! {
    async fn a_csv_file_is_stored_once_and_a_changed_row_corrects(backend) {
        let place = seeded(backend).await;
        let file = place.file("candles.csv", CANDLES);
        let said = place.run(&line(&file, &["--interval", "1d"])).ok();
        let counts = format!("{file}: stored 3, duplicate 0, corrected 0, refused 0");
        assert_eq!(said.lines().next(), Some(counts.as_str()));
        assert!(said.contains("from 2026-01-02T00:00:00.000000Z to 2026-01-06T00:00:00.000000Z"), "{said}");
        let again = place.run(&line(&file, &["--interval", "1d", "--json"])).json();
        let count = |report: &Value| ["stored", "duplicate", "corrected", "refused"].map(|name| report[name].as_u64().unwrap());
        assert_eq!(count(&again), [0, 3, 0, 0], "{again}");
        assert_eq!(again["columns"]["price"], json!(["close"]));
        let file = place.file("candles.csv", &CANDLES.replace("12.10", "12.2"));
        let changed = place.run(&line(&file, &["--interval", "1d", "--json"])).json();
        assert_eq!(count(&changed), [0, 2, 1, 0], "{changed}");
        let wanted = pairs(&[("2026-01-02T00:00:00.000000Z", "11.25"), ("2026-01-05T00:00:00.000000Z", "12.5"),
            ("2026-01-06T00:00:00.000000Z", "12.2")]);
        assert_eq!(points(&place, "source=desk&interval=1d").await, wanted);
    }

    async fn one_refused_row_refuses_the_file_unless_told_to_go_on(backend) {
        let place = seeded(backend).await;
        let text = "ts,price\n2026-02-02T00:00:00Z,1\n2026-02-30T00:00:00Z,2\n2026-02-04T00:00:00Z,three\n\
            2026-02-05T00:00:00Z,-4\n2099-01-01T00:00:00Z,5\n2026-02-06T00:00:00Z,6\n";
        let file = place.file("bad.csv", text);
        let said = place.run(&line(&file, &[])).failed(1);
        for wanted in ["4 rows are refused", "/lines/3/time", "/lines/4/price", "/lines/5/price", "/lines/6/time"] {
            assert!(said.contains(wanted), "{wanted}: {said}");
        }
        assert_eq!(points(&place, "source=desk").await, []);
        let kept = place.run(&line(&file, &["--keep-going"]));
        for wanted in ["line 3: ", "line 4: ", "line 5: ", "line 6: "] {
            assert!(kept.err.contains(wanted), "{wanted}: {}", kept.err);
        }
        assert!(kept.ok().contains("stored 2, duplicate 0, corrected 0, refused 4"));
        let wanted = pairs(&[("2026-02-02T00:00:00.000000Z", "1"), ("2026-02-06T00:00:00.000000Z", "6")]);
        assert_eq!(points(&place, "source=desk&interval=tick").await, wanted);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_comes_through_standard_input_too_as_csv_or_ndjson() {
    let place = seeded(Backend::Sqlite).await;
    let said = place.run_with(&line("-", &["--interval", "1d"]), CANDLES.as_bytes()).ok();
    assert!(said.starts_with("-: stored 3,"), "{said}");
    let ticks = "{\"ts\": \"2026-03-01T00:00:00.000001Z\", \"price\": 1.10}\n\n\
        {\"ts\": \"2026-03-01T00:00:00.000002+01:00\", \"price\": \"2.20\", \"ticker\": \"gold\"}\n\
        {\"ts\": \"2026-03-01T00:00:03Z\", \"price\": \"9\", \"ticker\": \"SILVER\"}\n";
    let report = place.run_with(&line("-", &["--json"]), ticks.as_bytes()).json();
    assert_eq!((&report["stored"], &report["other_symbols"]), (&json!(2), &json!(1)), "{report}");
    let file = place.file("ticks.ndjson", ticks);
    let said = place.run(&line(&file, &[])).ok();
    assert!(said.contains("stored 0, duplicate 2,") && said.contains("1 rows of other symbols"), "{said}");
    let wanted = pairs(&[("2026-02-28T23:00:00.000002Z", "2.20"), ("2026-03-01T00:00:00.000001Z", "1.10")]);
    assert_eq!(points(&place, "source=desk&interval=tick").await, wanted);
    let empty = place.run_with(&line("-", &[]), b"").failed(1);
    assert!(empty.contains("empty"), "{empty}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn columns_are_mapped_zones_applied_and_candles_shifted_to_their_end() {
    let place = seeded(Backend::Sqlite).await;
    let text = "when,last,settle\n2026-03-06 00:00:00,1.5,9\n2026-03-08 00:00:00,2.5,9\n";
    let file = place.file("own.csv", text);
    let unmapped = place.run(&line(&file, &[])).failed(1);
    assert!(unmapped.contains("when") && unmapped.contains("last"), "{unmapped}");
    assert!(
        unmapped.contains("name it with --map time=COLUMN") && !unmapped.contains("parameter"),
        "{unmapped}"
    );
    let unzoned = place.run(&line(&file, &["--map", "time=when", "--map", "price=last"])).failed(1);
    assert!(unzoned.contains("--tz"), "{unzoned}");
    let flags = ["--map", "time=when", "--map", "price=last", "--tz", "America/New_York", "--interval", "1d"];
    place.run(&line(&file, &flags)).ok();
    let started = pairs(&[("2026-03-06T05:00:00.000000Z", "1.5"), ("2026-03-08T05:00:00.000000Z", "2.5")]);
    assert_eq!(points(&place, "source=desk").await, started);
    // The day of 8 March 2026 has 23 hours in New York.
    let report = place.run(&line(&file, &[flags.as_slice(), &["--stamp", "end", "--json"]].concat())).json();
    assert_eq!(
        (&report["first"], &report["last"]),
        (&json!("2026-03-07T05:00:00.000000Z"), &json!("2026-03-09T04:00:00.000000Z"))
    );
    let lengthless = place.run(&line(&file, &["--stamp", "end"])).failed(1);
    assert!(
        lengthless.contains("--stamp end needs") && lengthless.contains("add --interval"),
        "{lengthless}"
    );
    for (flag, value) in [
        ("--tz", "New York"),
        ("--stamp", "middle"),
        ("--interval", "3m"),
        ("--bid-ask", "last"),
        ("--map", "price"),
        ("--map", "cost=last"),
        ("--format", "xml"),
    ] {
        let said = place.run(&line(&file, &[flag, value])).failed(1);
        assert!(said.contains(flag) && !said.contains("bid_ask"), "{flag} {value}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bid_and_ask_become_the_price_that_is_asked_for() {
    let place = seeded(Backend::Sqlite).await;
    let text = "ts,bid_open,bid_high,bid_low,bid_close,ask_open,ask_high,ask_low,ask_close\n\
        2026-04-01T00:00:00Z,1,4,1,2.5,1.1,4.2,1.05,2.75\n";
    let file = place.file("quotes.csv", text);
    let said = place.run(&line(&file, &[])).failed(1);
    assert!(said.contains("--bid-ask"), "{said}");
    for (side, price) in [("mid", "2.625"), ("bid", "2.5"), ("ask", "2.75")] {
        let flags = ["ingest", file.as_str(), "--symbol", "gold", "--source", side, "--bid-ask", side];
        place.run(&flags).ok();
        let found = points(&place, &format!("source={side}")).await;
        assert_eq!(found, pairs(&[("2026-04-01T00:00:00.000000Z", price)]), "{side}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_ingested_is_said_in_words() {
    let place = seeded(Backend::Sqlite).await;
    let file = place.file("candles.csv", CANDLES);
    let said = place.run(&["ingest", &file, "--symbol", "SILVER", "--source", "desk"]).failed(1);
    assert!(said.contains("Asset not found"), "{said}");
    let absent = place.run(&line("absent.csv", &[])).failed(1);
    assert!(absent.contains("absent.csv"), "{absent}");
    let folder = place.folder().display().to_string();
    assert!(place.run(&line(&folder, &[])).failed(1).contains(&folder));
    // A source with blanks and signs arrives as it was typed.
    let source = "desk & co = 100%+";
    place.run(&["ingest", &file, "--symbol", "GOLD", "--source", source]).ok();
    let found = points(&place, "source=desk%20%26%20co%20%3D%20100%25%2B").await;
    assert_eq!(found.len(), 3);
}

/// The count of one series of a scrape.
fn counted(scrape: &str, source: &str, outcome: &str) -> u64 {
    let begin = format!("ingest_messages_total{{source=\"{source}\",outcome=\"{outcome}\"}} ");
    let line = scrape.lines().find_map(|line| line.strip_prefix(&begin));
    line.map_or(0, |count| count.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_in_is_counted_by_source_and_outcome() {
    let place = Place::new(Backend::Sqlite).await;
    place.run(&["seed", "gold-bitcoin"]).ok();
    let service = place.serve(&OPEN);
    let api = &service.api;
    let good = |source: &str, price: &str| {
        format!(
            "{{\"symbol\":\"GOLD\",\"price\":{price},\"timestamp\":\"2026-01-05\",\"source\":\"{source}\"}}"
        )
    };
    let send = async |method: &str, path: &str, kind: &str, body: &str| {
        let key = format!("{path}{}", body.escape_default());
        let headers = [("content-type", kind), ("idempotency-key", key.as_str())];
        // Sent again with its key nothing is done, and nothing counted.
        for _ in 0..2 {
            let reply = api.attempt(method, path, &headers, body.as_bytes()).await.unwrap();
            assert!(reply.status.is_success() || reply.status == 422 || reply.status == 404, "{path}");
        }
    };
    let (json, lines) = ("application/json", "application/x-ndjson");
    for (source, path, kind) in [
        ("single", "/prices", json),
        ("batch", "/prices/batch", lines),
        ("stream", "/prices/stream", lines),
        ("queue", "/ingest/queue", lines),
    ] {
        for price in ["1", "2.0", "2"] {
            // A key of its own for each, or the last two would be one request.
            send("POST", path, kind, &format!("{}{}", good(source, price), " ".repeat(price.len()))).await;
            while api.get("/ingest/queue").await.expect(200)["depth"] != 0 {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        }
        send("POST", path, kind, &good(source, "-1")).await;
        send("POST", path, kind, "{}").await;
    }
    let table = "time,price\n2026-01-05,1\n2026-01-06,1\n2026-01-07,-1\n";
    send("POST", "/prices/import?symbol=GOLD&source=file&keep_going=true", "text/csv", table).await;
    send("DELETE", "/prices?symbol=GOLD&source=file&timestamp=2026-01-06", json, "").await;
    send("POST", "/prices", json, &good("junk", "-1")).await;
    let scrape = api.get("/metrics").await.text();
    for source in ["single", "batch", "stream", "queue"] {
        let outcomes = ["stored", "corrected", "duplicate"].map(|outcome| counted(&scrape, source, outcome));
        assert_eq!(outcomes, [1, 1, 1], "{source}");
        assert!(counted(&scrape, source, "refused") >= 1, "{source}: {scrape}");
    }
    let file =
        ["stored", "refused", "withdrawn", "duplicate"].map(|outcome| counted(&scrape, "file", outcome));
    assert_eq!(file, [2, 1, 1, 0]);
    assert!(!scrape.contains("junk"), "what never delivered has a label");
    // Twice a body that is no price, by four ways; the stream passes over what it took.
    assert!(counted(&scrape, "unknown", "refused") >= 7);
    service.stop();
}
