//! The document of the API: what is served is what is committed, and it says what generators need.

#![cfg(test)]

use crate::support::{Backend, TestApp};
use serde_json::Value;
use std::collections::BTreeSet;

fn committed() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[tokio::test]
async fn the_served_document_is_the_committed_one() {
    let app = TestApp::start(Backend::Sqlite).await;
    let served = app.get("/openapi.json").await.expect(200);
    app.stop().await;
    assert!(served == committed(), "docs/openapi.json is old: cargo run -- openapi > docs/openapi.json");
}

#[test]
fn every_operation_has_an_id_of_its_own_and_describes_its_parameters() {
    let document = committed();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut ids = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{id} stands twice");
            let no_parameters = Vec::new();
            let parameters = operation["parameters"].as_array().unwrap_or(&no_parameters);
            for name in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
                let described = parameters.iter().any(|p| p["name"] == name && p["in"] == "path");
                assert!(described, "{method} {path} does not describe {name}");
            }
            assert!(operation["responses"]["default"].is_object(), "{method} {path} hides its failures");
        }
    }
}

#[test]
fn every_schema_has_an_example_and_every_decimal_a_pattern() {
    let document = committed();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        let example = schema.get("example").or_else(|| schema["examples"].get(0));
        assert!(example.is_some_and(|example| !example.is_null()), "{name} has no example");
    }
    for name in ["Decimal", "Amount", "Time", "Currency", "PortfolioId"] {
        assert!(document["components"]["schemas"][name]["pattern"].is_string(), "{name}");
    }
}
