//! What mappings make of bodies: the examples of docs/FEEDS.md, which are the shapes providers document.

use crate::support::{Backend, TestApp};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The fenced blocks of the page: of each example its mapping, its body and its rows.
fn examples() -> BTreeMap<String, BTreeMap<String, String>> {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/FEEDS.md")).unwrap();
    let mut examples: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for block in page.split("\n```").filter(|block| !block.starts_with('\n')) {
        let (head, text) = block.split_once('\n').unwrap();
        if let Some((part, name)) = head.split_once(' ').and_then(|(_, said)| said.split_once('=')) {
            examples.entry(name.to_owned()).or_default().insert(part.to_owned(), text.to_owned());
        }
    }
    examples
}

fn config(example: &BTreeMap<String, String>) -> Value {
    let table: toml::Table = toml::from_str(&example["mapping"]).unwrap();
    serde_json::to_value(table).unwrap()
}

async fn try_out(app: &TestApp, config: &Value, body: &str) -> crate::support::Reply {
    app.post("/ingest/mappings/test", &json!({ "config": config, "body": body })).await
}

#[tokio::test]
async fn the_documented_providers_need_no_code() {
    let app = TestApp::start(Backend::Sqlite).await;
    let examples = examples();
    let names: Vec<&str> = examples.keys().map(String::as_str).collect();
    assert_eq!(names, ["alpha_vantage", "coinbase", "fred", "stooq", "twelve_data", "yahoo"]);
    for (name, example) in &examples {
        let made = try_out(&app, &config(example), &example["body"]).await.expect(200);
        let rows: Value = made["rows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| json!([row["timestamp"], row["price"]]))
            .collect::<Vec<_>>()
            .into();
        let wanted: Value = serde_json::from_str(&example["rows"]).unwrap();
        assert_eq!(rows, wanted, "{name}");
        assert_eq!(made["count"], wanted.as_array().unwrap().len(), "{name}");
    }
    assert_eq!(
        try_out(&app, &config(&examples["yahoo"]), &examples["yahoo"]["body"]).await.expect(200)["missing"],
        1
    );
    // Nothing of it was stored.
    assert_eq!(app.get("/assets").await.expect(200), json!([]));
}

#[tokio::test]
async fn refusals_of_the_documented_providers_are_told_in_their_words() {
    let app = TestApp::start(Backend::Sqlite).await;
    let examples = examples();
    for (name, body, wanted) in [
        (
            "alpha_vantage",
            r#"{"Information":"Our standard API rate limit is 25 requests per day."}"#,
            "25 requests per day",
        ),
        ("alpha_vantage", r#"{"Error Message":"Invalid API call."}"#, "Invalid API call."),
        (
            "twelve_data",
            r#"{"code":429,"message":"You have run out of API credits","status":"error"}"#,
            "out of API credits",
        ),
        (
            "fred",
            r#"{"error_code":400,"error_message":"Bad Request. The series does not exist."}"#,
            "does not exist",
        ),
        ("stooq", "No data", "No data"),
        ("coinbase", r#"{"message":"NotFound"}"#, "NotFound"),
        (
            "yahoo",
            r#"{"chart":{"result":null,"error":{"code":"Not Found","description":"No data found"}}}"#,
            "No data found",
        ),
    ] {
        let refused = try_out(&app, &config(&examples[name]), body).await.expect(422);
        let fault = &refused["errors"][0];
        assert_eq!(fault["code"], "refused_by_provider", "{name}: {refused}");
        assert!(fault["detail"].as_str().unwrap().contains(wanted), "{name}: {refused}");
    }
}

#[tokio::test]
async fn what_is_wrong_is_told_by_key_or_by_pointer() {
    let app = TestApp::start(Backend::Sqlite).await;
    let good = json!({ "kind": "http_json", "rows": { "at": "/data" },
        "map": { "ts": { "at": "/0", "unit": "s" }, "close": { "at": "/1" } } });
    let fault = |reply: crate::support::Reply| {
        let body = reply.expect(422);
        let error = &body["errors"][0];
        let text = |name: &str| error[name].as_str().unwrap().to_owned();
        (text("pointer"), text("code"), text("detail"))
    };
    let (pointer, code, detail) = fault(try_out(&app, &good, r#"{"data":[[1,"2"],[2,"x"]]}"#).await);
    assert_eq!((pointer.as_str(), code.as_str()), ("/body/data/1/1", "unlike_mapping"));
    assert!(detail.starts_with("/data/1/1 `x` is not"), "{detail}");
    let mut wrong = good.clone();
    wrong["map"]["ts"]["unit"] = json!("seconds");
    let (pointer, code, detail) = fault(try_out(&app, &wrong, "{}").await);
    assert_eq!((pointer.as_str(), code.as_str()), ("/config/map/ts/unit", "invalid_mapping"));
    assert!(detail.starts_with("`map.ts.unit` must be s, ms"), "{detail}");
    wrong["kind"] = json!("binance");
    assert_eq!(fault(try_out(&app, &wrong, "{}").await).0, "/config/kind");
    let body = app.post("/ingest/mappings/test", &json!({ "config": good, "bdy": "" })).await;
    assert_eq!(body.pointers(), ["/body", "/bdy"]);
    assert_eq!(app.post("/ingest/mappings/test", &json!({ "body": "" })).await.pointers(), ["/config"]);
}
