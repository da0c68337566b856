//! Requests made from the document of the API, each of them wrong in one place: none fails the service, hangs, or is
//! answered with anything but a problem document that says nothing of what is inside.

use super::{World, check_problem};
use crate::on_both;
use crate::support::request;
use artifact::http::openapi;
use futures_util::StreamExt as _;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Fewest requests that must be refused.
const REFUSED_MIN: usize = 2_500;
/// Longest an answer may take.
const SOON: Duration = Duration::from_secs(10);
/// Requests on their way together.
const TOGETHER: usize = 8;

/// What no answer may let out.
const INSIDE: [&str; 16] = [
    "panicked",
    ".rs:",
    "src/",
    "sqlx",
    "sqlite",
    "postgres",
    "rusqlite",
    "tokio",
    "serde",
    "stack backtrace",
    "/tmp/",
    "artifact-test-",
    "syntax error",
    "constraint failed",
    "violates",
    "0x7f",
];

/// What is put in the place of a field, as it stands in the body.
const WRONG: [&str; 16] = [
    "null",
    "true",
    "0",
    "-1",
    "1e400",
    "1.5",
    "[]",
    "{}",
    "[[{}]]",
    "\"\"",
    "\" \"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"2026-02-30\"",
    "\"'; DROP TABLE prices; --\"",
    "\"@long@\"",
];

/// What is put in the place of a part of a path or of a parameter, as it stands in the line.
const HOSTILE: [&str; 12] = [
    "%00",
    "%FF",
    "%0D%0Ax:%20y",
    "..%2F..%2Fetc%2Fpasswd",
    "%2e%2e",
    "%27%20OR%20%271%27=%271",
    "%27;--",
    "NaN",
    "-1",
    "99999999999999999999",
    "%F0%9F%92%A9",
    "@long@",
];

/// One request, wrong in one place.
struct Wrong {
    line: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// It is one that must be refused whatever the rest of it says.
    refused: bool,
}

fn wrong(line: String, kind: &str, body: impl Into<Vec<u8>>, refused: bool) -> Wrong {
    let headers = if kind.is_empty() { Vec::new() } else { vec![("content-type", kind.to_owned())] };
    Wrong { line, headers, body: body.into(), refused }
}

/// An operation of the document.
struct Operation<'d> {
    method: String,
    path: String,
    about: &'d Value,
    document: &'d Value,
}

impl<'d> Operation<'d> {
    fn all(document: &'d Value) -> Vec<Self> {
        let mut all = Vec::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, about) in methods.as_object().unwrap() {
                all.push(Self { method: method.to_uppercase(), path: path.clone(), about, document });
            }
        }
        all
    }

    /// Its path with what is there in the place of each name, but `instead` in the place of one.
    fn line(&self, instead: Option<(&str, &str)>) -> String {
        let there = |name: &str| match name {
            "asset" => "GOLD",
            "market" => "COMEX",
            "portfolio" => "PF",
            "position" => "POS",
            "transaction" => "TX",
            "source" => "api",
            _ => "none",
        };
        let part = |part: &str| match part.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            Some((name, rest)) => {
                let value =
                    instead.filter(|(of, _)| *of == name).map_or_else(|| there(name), |(_, value)| value);
                format!("{value}{rest}")
            }
            None => part.to_owned(),
        };
        format!("{} {}", self.method, self.path.split('/').map(part).collect::<Vec<_>>().join("/"))
    }

    fn parameters(&self, place: &str) -> Vec<&'d str> {
        let all = self.about["parameters"].as_array().into_iter().flatten();
        all.filter(|one| one["in"] == place).map(|one| one["name"].as_str().unwrap()).collect()
    }

    /// The media type of its body and the schema of an object in it, where it takes JSON.
    fn body(&self) -> Option<(&'d str, &'d Value, bool)> {
        let (kind, content) = self.about["requestBody"]["content"].as_object()?.iter().next()?;
        // Where an array may stand in the place of one object, the object is taken.
        let either = &content["schema"]["oneOf"][0];
        let whole = if either.is_null() { &content["schema"] } else { either };
        let list = whole["type"] == "array";
        let schema = if list { &whole["items"] } else { whole };
        let name = schema["$ref"].as_str()?.rsplit('/').next()?;
        Some((kind, &self.document["components"]["schemas"][name], list))
    }

    fn add_lines(&self, all: &mut Vec<Wrong>) {
        for name in self.parameters("path") {
            for value in HOSTILE {
                // What is done to a thing is named by the last part; what is not there has none of it.
                all.push(wrong(self.line(Some((name, value))), "", "", true));
            }
        }
        let line = self.line(None);
        for name in self.parameters("query") {
            for value in HOSTILE.iter().chain(&["", "[]", "2026-02-30", "true", "0"]) {
                all.push(wrong(format!("{line}?{name}={value}"), "", "", false));
            }
            all.push(wrong(format!("{line}?{name}=1&{name}=2"), "", "", false));
        }
        if self.method == "GET" && self.path != "/health" && !self.parameters("query").is_empty() {
            all.push(wrong(format!("{line}?zzz=1"), "", "", false));
        }
    }

    fn add_headers(&self, all: &mut Vec<Wrong>) {
        let line = self.line(None);
        for (name, value) in [
            ("authorization", "Bearer e30.e30.e30".to_owned()),
            ("x-api-key", "art_' OR 1=1".to_owned()),
            ("idempotency-key", "k".repeat(300)),
            ("if-match", "\u{22}".to_owned()),
            ("content-encoding", "gzip, gzip".to_owned()),
            ("content-type", "application/json; charset=utf-16".to_owned()),
        ] {
            // What has no body is not to be done by the way.
            let body = if self.body().is_some() { "{" } else { "" };
            if self.method == "GET" || self.body().is_some() {
                all.push(Wrong {
                    line: line.clone(),
                    headers: vec![(name, value)],
                    body: body.into(),
                    refused: false,
                });
            }
        }
    }

    fn add_bodies(&self, all: &mut Vec<Wrong>) {
        let Some((kind, schema, list)) = self.body() else { return };
        let (line, good) = (self.line(None), example(schema));
        let framed = |text: String| if list { format!("[{text}]") } else { text };
        let mut add =
            |text: String, refused: bool| all.push(wrong(line.clone(), kind, framed(text), refused));
        for name in schema["properties"].as_object().into_iter().flat_map(Map::keys) {
            let mut fields = good.clone();
            fields.insert(name.clone(), json!("WRONG"));
            let text = Value::Object(fields).to_string();
            for value in WRONG {
                add(text.replace("\"WRONG\"", value), false);
            }
            add(text.replace("\"WRONG\"", &format!("{}1{}", "[".repeat(70), "]".repeat(70))), true);
            let twice = format!("{{\"{name}\":1,{}", &text[1..]);
            add(twice, true);
            let mut without = good.clone();
            without.remove(name);
            add(Value::Object(without).to_string(), false);
        }
        let text = Value::Object(good).to_string();
        for cut in [1, text.len() / 2, text.len() - 1] {
            add(text.chars().take(cut).collect(), true);
        }
        for text in
            ["7", "null", "true", "\"text\"", "{\"a\":1,}", "{'a':1}", "\u{feff}{}", "{}{}", "{\"\\u12\":1}"]
        {
            add(text.to_owned(), true);
        }
        all.push(wrong(line.clone(), "text/plain", text.clone(), true));
        all.push(wrong(line.clone(), "application/x-www-form-urlencoded", text, true));
        all.push(wrong(line, kind, b"{\"a\":\"\xc3\x28\"}", true));
    }
}

/// An object as the document gives it for an example.
fn example(schema: &Value) -> Map<String, Value> {
    let example = schema.get("example").or_else(|| schema["examples"].get(0));
    example.and_then(Value::as_object).cloned().unwrap_or_default()
}

async fn send(world: &World, wrong: &Wrong) -> (bool, u16) {
    let long = "x".repeat(3_000);
    let (method, path) = wrong.line.split_once(' ').unwrap();
    let path = world.path(path).replace("@long@", &long);
    let text = String::from_utf8(wrong.body.clone())
        .map(|text| world.path(&text).replace("@long@", &long).into_bytes());
    let body = text.unwrap_or_else(|_| wrong.body.clone());
    let headers: Vec<(&str, &str)> =
        wrong.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let about = format!("{} {:?} {}", wrong.line, wrong.headers, String::from_utf8_lossy(&wrong.body));
    let asked = Instant::now();
    let answered = async {
        loop {
            let reply = request(world.app.address, method, &path, &headers, &body).await;
            // What is done one at a time may be under way for another request: then one is to come again.
            if reply.status != 503 || !reply.headers.contains_key("retry-after") {
                return reply;
            }
        }
    };
    let reply = tokio::time::timeout(SOON, answered).await;
    let reply = reply.unwrap_or_else(|_| panic!("{about}: it hangs"));
    let status = reply.status.as_u16();
    let said = String::from_utf8_lossy(&reply.body);
    assert!(status < 500, "{about}: {status} {said}");
    assert!(asked.elapsed() < SOON, "{about}: {:?}", asked.elapsed());
    let refused = (400..500).contains(&status);
    // A stream is answered with a report of its lines.
    let told = refused || (wrong.line.ends_with("/prices/stream") && reply.json()["refused"] == 1);
    assert!(told || !wrong.refused, "{about}: {status} {said}");
    if refused {
        let code = reply.json()["code"].as_str().unwrap_or_default().to_owned();
        check_problem(&reply, status, &code, &about);
        let lower = said.to_lowercase();
        for inside in INSIDE {
            assert!(!lower.contains(inside), "{about} lets `{inside}` out: {said}");
        }
    }
    (told, status)
}

on_both! {
    async fn what_the_document_does_not_allow_is_refused_and_nothing_is_let_out(backend) {
        let world = World::new(backend).await;
        let document = openapi::document();
        let mut all = Vec::new();
        for operation in Operation::all(&document) {
            operation.add_lines(&mut all);
            operation.add_headers(&mut all);
            operation.add_bodies(&mut all);
        }
        let answers = futures_util::stream::iter(&all).map(|wrong| send(&world, wrong)).buffer_unordered(TOGETHER);
        let answers: Vec<(bool, u16)> = answers.collect().await;
        let refused = answers.iter().filter(|(refused, _)| *refused).count();
        let mut statuses = BTreeMap::<u16, usize>::new();
        for (_, status) in &answers {
            *statuses.entry(*status).or_default() += 1;
        }
        eprintln!("{} requests, {refused} of them refused: {statuses:?}", all.len());
        assert!(refused >= REFUSED_MIN, "too little was tried: {refused} of {}", all.len());
        // What was there is there.
        for path in ["/markets/COMEX", "/assets/GOLD", "/portfolios/PF", "/prices/latest?symbols=GOLD"] {
            world.app.get(&world.path(path)).await.expect(200);
        }
        world.app.stop().await;
    }
}
