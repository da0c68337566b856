//! The OpenAPI document: what the router serves, with the failures every route shares and an example on every schema.

use crate::domain::adjustment::Adjusted;
use crate::http::error::Problem;
use crate::http::router;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use utoipa::OpenApi;

/// The frame of the document.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Artifact",
        description = "Markets, assets, prices and portfolios, with exact and reproducible profit and loss.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    components(schemas(Problem, Adjusted)),
    tags(
        (name = "markets", description = "Where assets trade"),
        (name = "assets", description = "What is held"),
        (name = "actions", description = "What happens to an asset, for every holder"),
        (name = "currencies", description = "Units of money beside the built-in ones"),
        (name = "prices", description = "What assets are worth, and when that was learned"),
        (name = "ingest", description = "Prices on their way in, and the files of sources"),
        (name = "fx", description = "Exchange rates"),
        (name = "portfolios", description = "Books and their totals"),
        (name = "positions", description = "Runs from flat to flat"),
        (name = "transactions", description = "The append-only ledger"),
        (name = "pnl", description = "Profit and loss"),
        (name = "access", description = "Keys, users, tokens: who may do what"),
        (name = "audit", description = "Who did what, and proof that the record is whole"),
        (name = "operations", description = "Running the service"),
    )
)]
pub struct Frame;

/// The document as JSON.
pub fn document() -> Value {
    let api = router::routes().into_openapi();
    let mut document = serde_json::to_value(api).unwrap_or_default();
    add_security(&mut document);
    add_arrays(&mut document);
    add_absent_bodies(&mut document);
    add_failures(&mut document);
    add_examples(&mut document);
    document
}

fn add_security(document: &mut Value) {
    if let Some(root) = document.as_object_mut() {
        root.insert("security".to_owned(), json!([{ "api_key": [] }, { "bearer": [] }]));
    }
    if let Some(components) = document.pointer_mut("/components").and_then(Value::as_object_mut) {
        let schemes = json!({
            "api_key": { "type": "apiKey", "in": "header", "name": "X-API-Key" },
            "bearer": { "type": "http", "scheme": "bearer", "bearerFormat": "art_<prefix>_<secret>, or a JWT" },
        });
        components.insert("securitySchemes".to_owned(), schemes);
    }
}

/// Paths that need no credential: those that make one carry what they need in their body.
pub const OPEN: [&str; 8] = [
    "/health",
    "/auth/login",
    "/auth/refresh",
    "/auth/logout",
    "/auth/password",
    "/auth/sessions/end",
    "/auth/second-factor",
    "/.well-known/",
];
/// Paths whose requests or answers hold secrets, which are not kept; that change nothing; or that are harmless to repeat: an
/// idempotency key does nothing there.
const UNKEPT: [&str; 8] = [
    "/users",
    "/auth/",
    "/signing-keys",
    "/fx/import",
    "/pnl",
    "/performance",
    "/ingest/mappings/test",
    "/ingest/feeds/",
];

/// Routes that take one object or an array of them.
const ONE_OR_MANY: [&str; 2] = ["/portfolios/{portfolio}/transactions", "/assets/{asset}/actions"];

/// Says of a body that may be one object or an array of them that it may be either: the types of the program know one.
fn add_arrays(document: &mut Value) {
    for path in ONE_OR_MANY {
        let place =
            format!("/paths/{}/post/requestBody/content/application~1json/schema", path.replace('/', "~1"));
        if let Some(schema) = document.pointer_mut(&place) {
            let one = schema.take();
            *schema = json!({ "oneOf": [one, { "type": "array", "items": one }] });
        }
    }
}

/// Says of a body that may be left out that it is not required, and not that it may be `null`.
fn add_absent_bodies(document: &mut Value) {
    let paths = document.pointer_mut("/paths").and_then(Value::as_object_mut).into_iter().flatten();
    for operation in paths.filter_map(|(_, methods)| methods.as_object_mut()).flatten().map(|(_, one)| one) {
        let Some(schema) = operation.pointer_mut("/requestBody/content/application~1json/schema") else {
            continue;
        };
        let either = schema.get("oneOf").and_then(Value::as_array).map(Vec::as_slice);
        if let Some([one, null]) = either
            && null.get("type").and_then(Value::as_str) == Some("null")
        {
            *schema = one.clone();
        }
    }
}

/// Every operation may fail with a problem document; writes also take an idempotency key.
fn add_failures(document: &mut Value) {
    let Some(paths) = document.pointer_mut("/paths").and_then(Value::as_object_mut) else { return };
    for (path, methods) in paths {
        let Some(methods) = methods.as_object_mut() else { continue };
        for (method, operation) in methods {
            let Some(operation) = operation.as_object_mut() else { continue };
            if OPEN.iter().any(|open| path.starts_with(open)) {
                // Of health, more is told to who shows a credential.
                let watched = matches!(path.as_str(), "/health" | "/health/ready" | "/health/startup");
                let any = json!([{}, { "api_key": [] }, { "bearer": [] }]);
                operation.insert("security".to_owned(), if watched { any } else { json!([]) });
            }
            if let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) {
                let problem = json!({
                    "description": "A problem document (RFC 9457); clients match on its `code`",
                    "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
                });
                responses.insert("default".to_owned(), problem);
            }
            let unkept = UNKEPT.iter().any(|unkept| path.starts_with(unkept))
                || path.ends_with("/transactions:import");
            let creates = method == "post" && operation.get("requestBody").is_some() && !unkept;
            if creates || (method == "delete" && path == "/prices") {
                let parameters = operation.entry("parameters").or_insert_with(|| json!([]));
                if let Some(list) = parameters.as_array_mut() {
                    list.push(json!({
                        "name": "Idempotency-Key", "in": "header", "required": false,
                        "description": "Repeating it within 24 hours gives the first answer again and does nothing",
                        "schema": { "type": "string", "minLength": 1, "maxLength": 255 },
                    }));
                }
            }
        }
    }
}

/// Gives each object schema an example put together from those of its properties.
fn add_examples(document: &mut Value) {
    let Some(done) = document.pointer_mut("/components/schemas").and_then(Value::as_object_mut) else {
        return;
    };
    let schemas = done.clone();
    for (name, schema) in &schemas {
        if schema.get("examples").is_none() && schema.get("example").is_none() {
            let example = example_of(schema, &schemas, 0);
            if let Some(target) = done.get_mut(name).and_then(Value::as_object_mut) {
                target.insert("examples".to_owned(), json!([example]));
            }
        }
    }
}

fn example_of(schema: &Value, all: &Map<String, Value>, depth: usize) -> Value {
    if depth > 8 {
        return Value::Null;
    }
    if let Some(example) =
        schema.get("example").or_else(|| schema.get("examples").and_then(|list| list.get(0)))
    {
        return example.clone();
    }
    if let Some(name) = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next()) {
        return all.get(name).map_or(Value::Null, |target| example_of(target, all, depth + 1));
    }
    for key in ["oneOf", "anyOf"] {
        if let Some(list) = schema.get(key).and_then(Value::as_array) {
            let real = list.iter().find(|one| one.get("type").and_then(Value::as_str) != Some("null"));
            return real.map_or(Value::Null, |one| example_of(one, all, depth + 1));
        }
    }
    if let Some(parts) = schema.get("allOf").and_then(Value::as_array) {
        let mut merged = Map::new();
        for part in parts {
            if let Value::Object(fields) = example_of(part, all, depth + 1) {
                merged.extend(fields);
            }
        }
        return Value::Object(merged);
    }
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        let fields =
            properties.iter().map(|(name, property)| (name.clone(), example_of(property, all, depth + 1)));
        return Value::Object(fields.collect());
    }
    if let Some(items) = schema.get("items") {
        return json!([example_of(items, all, depth + 1)]);
    }
    Value::Null
}

/// The document, written once.
#[derive(Debug, Clone)]
pub struct Written(pub Arc<str>);

/// Serves the document.
pub async fn serve(State(written): State<Written>) -> Response {
    let kind = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, kind)], written.0.to_string()).into_response()
}
