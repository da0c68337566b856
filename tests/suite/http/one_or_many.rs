//! Routes that take one object or an array of them: their answers are what the document of the API says.

use crate::on_both;
use crate::support::{Reply, TestApp};
use artifact::http::openapi;
use serde_json::{Value, json};

/// Why a value is not what a schema describes; nothing when it is. What stands beside the named properties is passed over.
fn misfit(value: &Value, schema: &Value, document: &Value) -> Option<String> {
    if let Some(name) = schema["$ref"].as_str() {
        return misfit(value, document.pointer(name.trim_start_matches('#')).unwrap(), document);
    }
    if let Some(either) = schema["oneOf"].as_array() {
        let fits: Vec<_> = either.iter().map(|one| misfit(value, one, document)).collect();
        let fitting = fits.iter().filter(|misfit| misfit.is_none()).count();
        return (fitting != 1).then(|| format!("{fitting} of {} fit {value}: {fits:?}", fits.len()));
    }
    let parts = schema["allOf"].as_array().map(Vec::as_slice).unwrap_or_default();
    if let Some(misfit) = parts.iter().find_map(|part| misfit(value, part, document)) {
        return Some(misfit);
    }
    let named = &schema["type"];
    let alone = Vec::from_iter((!named.is_null()).then(|| named.clone()));
    let kinds = named.as_array().unwrap_or(&alone);
    let is = |kind: &Value| match kind.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => panic!("{other}"),
    };
    if !kinds.is_empty() && !kinds.iter().any(is) {
        return Some(format!("{value} is none of {kinds:?}"));
    }
    if let Some(fields) = value.as_object() {
        let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
        if let Some(absent) = required.iter().find(|name| !fields.contains_key(name.as_str().unwrap())) {
            return Some(format!("{absent} is missing"));
        }
        let described = |(name, value)| misfit(value, schema["properties"].get(name)?, document);
        return fields.iter().find_map(described);
    }
    value.as_array()?.iter().find_map(|one| misfit(one, &schema["items"], document))
}

#[track_caller]
fn fits(reply: &Reply, path: &str, status: u16) -> Value {
    let (body, document) = (reply.expect(status), openapi::document());
    let described = &document["paths"][path]["post"]["responses"][status.to_string()];
    let schema = &described["content"]["application/json"]["schema"];
    assert!(schema.is_object(), "{status} is not described");
    assert_eq!(misfit(&body, schema, &document), None, "{body}");
    body
}

on_both! {
    async fn transactions_and_actions_are_answered_as_described_one_by_one_and_as_an_array(backend) {
        let app = TestApp::start(backend).await;
        let id = app.gold_and_bitcoin("0").await;
        let (path, described) = (format!("/portfolios/{id}/transactions"), "/portfolios/{portfolio}/transactions");
        let entry = |id: &str| json!({ "type": "deposit", "amount": "5", "external_id": id });
        let one = fits(&app.post(&path, &entry("a")).await, described, 201);
        assert_eq!(one["outcome"], "stored");
        let many = fits(&app.post(&path, &json!([entry("a"), entry("b")])).await, described, 201);
        assert_eq!((&many["stored"], &many["duplicate"]), (&json!(1), &json!(1)));
        fits(&app.post(&path, &json!([entry("c")])).await, described, 201);
        fits(&app.post(&path, &entry("a")).await, described, 200);
        fits(&app.post(&path, &json!([entry("a"), entry("b")])).await, described, 200);
        fits(&app.post(&path, &json!([])).await, described, 200);

        let (path, described) = ("/assets/GOLD/actions", "/assets/{asset}/actions");
        let action = |day: &str| json!({ "type": "dividend", "amount": "1", "executed_at": day });
        fits(&app.post(path, &action("2026-02-01")).await, described, 201);
        let many = fits(&app.post(path, &json!([action("2026-02-02"), action("2026-02-03")])).await, described, 201);
        assert_eq!(many["stored"], 2);
        fits(&app.post(path, &json!([])).await, described, 200);
        app.stop().await;
    }

    async fn too_many_in_one_request_are_refused_as_a_fault_of_the_body(backend) {
        let app = TestApp::start(backend).await;
        let id = app.gold_and_bitcoin("0").await;
        for (path, most) in [(format!("/portfolios/{id}/transactions"), 10_000), ("/assets/GOLD/actions".to_owned(), 1_000)] {
            let refused = app.post(&path, &Value::Array(vec![json!({}); most + 1])).await;
            assert_eq!((refused.code(422).as_str(), refused.pointers()), ("invalid_request", vec![String::new()]));
            assert_eq!(refused.json()["errors"][0]["code"], "too_many");
        }
        app.stop().await;
    }
}

#[test]
fn a_body_may_be_one_or_an_array_where_the_route_takes_both() {
    let document = openapi::document();
    for path in ["/portfolios/{portfolio}/transactions", "/assets/{asset}/actions"] {
        let schema = &document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"];
        let [one, many] = schema["oneOf"].as_array().unwrap().as_slice() else { panic!("{schema}") };
        assert_eq!((&one["$ref"], &many["type"]), (&many["items"]["$ref"], &json!("array")), "{path}");
    }
}

#[test]
fn a_body_that_may_be_left_out_is_not_required() {
    let body = &openapi::document()["paths"]["/ingest/feeds/{name}/run"]["post"]["requestBody"];
    assert!(body["required"] != json!(true), "{body}");
    let schema = &body["content"]["application/json"]["schema"];
    assert_eq!(schema["$ref"], "#/components/schemas/NewRun", "{schema}");
}
