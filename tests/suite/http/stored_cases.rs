//! The truth cases of other systems, as stored portfolios: each is recorded over the API, and every value it asks for is
//! the one that its document gives without a database.

use crate::on_both;
use crate::support::{TestApp, shared};
use artifact::domain::moment::{Moment, Written, end_of_day, parse_written};
use artifact::http::statement;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

/// Kinds of cases that a stored portfolio can be.
const KINDS: [&str; 3] = ["ledger", "window_pnl", "period"];

/// Cases of these kinds that no stored portfolio can be asked like, and why.
const EXCEPTIONS: [(&str, &str); 3] = [
    ("pp-gains-fx-eur", "a stored portfolio is never valued at a later rate (`lookup: first_known`)"),
    ("pp-period-gains-buy", "trades of a stored portfolio always move cash (`cash: ignored`)"),
    ("su-unrealised-mixed", "a stored portfolio is never valued at a later price (`lookup: first_known`)"),
];

fn list<'a>(case: &'a Value, name: &str) -> &'a [Value] {
    case[name].as_array().map_or(&[], Vec::as_slice)
}

/// The currency an asset settles in: as stated, else that of its first event or price, else the base.
fn settlement<'a>(case: &'a Value, asset: &str) -> &'a str {
    let of_it = |entry: &&Value| entry["asset"] == asset;
    let stated = list(case, "assets").iter().find(of_it).and_then(|entry| entry["settlement"].as_str());
    let mut entries = list(case, "events").iter().chain(list(case, "prices")).filter(of_it);
    let first = || entries.find_map(|entry| entry["currency"].as_str());
    stated.or_else(first).unwrap_or(case["base_currency"].as_str().unwrap())
}

async fn reference(app: &TestApp, case: &Value) {
    let parts = ["assets", "events", "prices"].into_iter().flat_map(|part| list(case, part));
    let mut names: Vec<&str> = parts.filter_map(|entry| entry["asset"].as_str()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let stated =
            list(case, "assets").iter().find(|entry| entry["asset"] == name).cloned().unwrap_or_default();
        let inverse = stated["inverse"] == true;
        let settles = settlement(case, name);
        let mut asset = json!({ "symbol": name, "name": name, "asset_type": "STOCK", "market_code": "XTST",
            "currency": if inverse { "USD" } else { settles }, "settlement": settles, "inverse": inverse });
        if let Some(multiplier) = stated["multiplier"].as_str() {
            asset["multiplier"] = json!(multiplier);
        }
        app.post("/assets", &asset).await.expect(201);
    }
    for fx in list(case, "fx") {
        let rate =
            json!({ "base": fx["base"], "quote": fx["quote"], "rate": fx["rate"], "timestamp": fx["ts"] });
        app.post("/fx", &rate).await.expect(200);
    }
    for price in list(case, "prices") {
        let day = price["ts"].as_str().unwrap().len() == 10;
        let at = if day {
            format!("{}T00:00:00Z", price["ts"].as_str().unwrap())
        } else {
            price["ts"].as_str().unwrap().to_owned()
        };
        let body = json!({ "symbol": price["asset"], "price": price["price"], "timestamp": at, "interval": if day { "1d" } else { "" } });
        app.post("/prices", &body).await.expect(200);
    }
}

fn conventions(case: &Value) -> Value {
    let mut own = Map::new();
    own.insert("cost_basis".to_owned(), case["cost_basis"].clone());
    let options = [
        ("fees", &["in_cost", "separate", "expensed", "none"][..]),
        ("taxes", &["in_cost", "separate"]),
        ("lot_scope", &["account", "global"]),
        ("short", &["allowed", "rejected", "missing_basis_is_zero_cost"]),
    ];
    for (name, known) in options {
        if let Some(value) = case["conventions"][name].as_str().filter(|value| known.contains(value)) {
            own.insert(name.to_owned(), json!(value));
        }
    }
    if let Some(dust) = case["conventions"]["dust"].as_str() {
        own.insert("dust".to_owned(), json!(dust));
    }
    own.retain(|_, value| !value.is_null());
    Value::Object(own)
}

/// An event as a ledger entry.
fn entry(event: &Value) -> Value {
    let mut out = event.as_object().unwrap().clone();
    for (from, to) in [("ts", "executed_at"), ("asset", "symbol")] {
        if let Some(value) = out.remove(from) {
            out.insert(to.to_owned(), value);
        }
    }
    out.remove("recorded");
    if out["type"] == "dividend" {
        out.remove("quantity");
        out.remove("price");
        if !out.contains_key("symbol") {
            // Income of the account.
            out.insert("type".to_owned(), json!("interest"));
        }
    }
    Value::Object(out)
}

/// The query a checkpoint stands for.
fn query(case: &Value, checkpoint: &Value, names: &[&String]) -> String {
    let zone = checkpoint["timezone"].as_str().unwrap_or("UTC").parse().unwrap();
    let moment = |text: &str| -> Moment {
        match parse_written(text).unwrap() {
            Written::Moment(moment) => moment,
            Written::Day(day) => end_of_day(day, zone),
        }
    };
    let asked: Vec<&str> = names.iter().map(|name| name.as_str()).filter(|name| *name != "error").collect();
    let mut query =
        format!("want={}&as_of={}", asked.join(","), moment(checkpoint["as_of"].as_str().unwrap()));
    for (name, parameter) in [("asset", "symbol"), ("account", "account"), ("cost_basis", "cost_basis")] {
        if let Some(value) = checkpoint[name].as_str() {
            write!(query, "&{parameter}={value}").unwrap();
        }
    }
    if let Some(from) = checkpoint["from"].as_str() {
        write!(query, "&from={}", moment(from)).unwrap();
    }
    let basis = checkpoint["cost_basis"].as_str().or(case["cost_basis"].as_str());
    if let Some(scope) =
        case["conventions"]["lot_scope_average"].as_str().filter(|_| basis == Some("average"))
    {
        write!(query, "&lot_scope={scope}").unwrap();
    }
    query
}

/// The values of a checkpoint, from the stored portfolio.
async fn answer(app: &TestApp, portfolio: &str, case: &Value, checkpoint: &Value) -> Value {
    if case["kind"] == "period" {
        let day = |end: &str| case["period"][end].as_str().unwrap();
        let path = format!("/portfolios/{portfolio}/attribution?from={}&to={}", day("start"), day("end"));
        return app.get(&path).await.expect(200);
    }
    let names: Vec<&String> = checkpoint["values"].as_object().unwrap().keys().collect();
    let path = format!("/portfolios/{portfolio}/pnl/values?{}", query(case, checkpoint, &names));
    app.get(&path).await.expect(200)["values"].take()
}

/// Records a case and asks what it asks; returns how many values were the same.
async fn run(app: &TestApp, case: &Value, wrong: &mut Vec<String>) -> usize {
    let id = case["id"].as_str().unwrap();
    reference(app, case).await;
    let portfolio = app
        .portfolio(&json!({ "initial_capital": 0, "opened_at": "1990-01-01", "base_currency": case["base_currency"], "conventions": conventions(case) }))
        .await;
    let document = serde_json::to_vec(case).unwrap();
    let view = serde_json::to_value(statement::evaluate(&document).unwrap()).unwrap();
    // In the order of their moments: what the ledger refuses is refused when it is entered.
    let mut order: Vec<(usize, &Value)> = list(case, "events").iter().enumerate().collect();
    order.sort_by_key(|(_, event)| event["ts"].as_str().unwrap().to_owned());
    let mut refused = BTreeMap::new();
    let (mut same, mut asked) = (0, Vec::new());
    for (place, (_, event)) in order.iter().enumerate() {
        let reply = app.post(&format!("/portfolios/{portfolio}/transactions"), &entry(event)).await;
        if reply.status != 201 {
            refused.insert(place, reply.json()["code"].clone());
        }
        let due = |checkpoint: &Value| {
            let after = checkpoint["after_event"].as_u64().map(|after| usize::try_from(after).unwrap());
            after == Some(place) || (after.is_none() && place + 1 == order.len())
        };
        let now = list(case, "expect").iter().enumerate().filter(|(_, checkpoint)| due(checkpoint));
        asked.extend(now.map(|(index, checkpoint)| (index, checkpoint.clone())));
        for (index, checkpoint) in asked.drain(..) {
            let names: Vec<&String> = checkpoint["values"].as_object().unwrap().keys().collect();
            let stored = answer(app, &portfolio, case, &checkpoint).await;
            for name in names {
                let wanted = &view["results"][index][name];
                let error = refused.values().next_back().cloned().unwrap_or_default();
                let got = if name == "error" { &error } else { &stored[name] };
                if got == wanted {
                    same += 1;
                } else {
                    wrong.push(format!("{id} checkpoint {index} {name}: stored {got}, stateless {wanted}"));
                }
            }
        }
    }
    same
}

on_both! {
    #[ignore = "needs ../shared"]
    async fn a_stored_portfolio_gives_what_its_document_gives(backend) {
        let mut paths: Vec<_> = fs::read_dir(shared().join("cases/open")).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        let (mut wrong, mut same, mut cases, mut excepted) = (Vec::new(), 0, 0, 0);
        let app = TestApp::start(backend).await;
        app.post("/markets", &json!({ "code": "XTST", "name": "Test", "market_type": "STOCK_EXCHANGE", "timezone": "UTC" })).await.expect(201);
        for path in paths.iter().filter(|path| path.extension().is_some_and(|ending| ending == "json")) {
            let text = fs::read_to_string(path).unwrap();
            let mut case: Value = serde_json::from_str(&text).unwrap();
            if !KINDS.iter().any(|kind| case["kind"] == *kind) {
                continue;
            }
            let id = case["id"].as_str().unwrap();
            if EXCEPTIONS.iter().any(|(excepted, _)| *excepted == id) {
                excepted += 1;
                continue;
            }
            cases += 1;
            // Assets of one service have names of their own.
            for part in ["assets", "events", "prices", "expect"] {
                for one in case[part].as_array_mut().into_iter().flatten() {
                    if let Some(name) = one["asset"].as_str() {
                        one["asset"] = json!(format!("{}{cases}", name.chars().take(14).collect::<String>()).to_uppercase());
                    }
                }
            }
            same += run(&app, &case, &mut wrong).await;
        }
        println!("{cases} cases, {same} values alike; not asked: {EXCEPTIONS:?}");
        assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
        // Every exception is one that exists.
        assert_eq!(excepted, EXCEPTIONS.len());
        assert!(cases >= 80 && same >= 350, "{cases} cases, {same} values");
        app.stop().await;
    }
}
