//! Mappings that are wrong, and bodies that are not what a mapping expects. What the documented providers answer is
//! tested with the examples of docs/FEEDS.md (`tests/suite/http/mappings.rs`).

use super::*;
use serde_json::{Value, json};

fn mapping(spec: &Value) -> Mapping {
    Mapping::read(spec, Written::Json, &[]).unwrap()
}

fn candles() -> Value {
    json!({
        "rows": { "at": "/data", "order": "desc" },
        "map": {
            "ts": { "at": "/0", "unit": "s" },
            "close": { "at": "/1" },
            "volume": { "at": "/2", "optional": true },
            "null": ["."],
        },
    })
}

fn told(reading: &Reading) -> Vec<(i64, String)> {
    reading.rows.iter().map(|row| (row.observed_at.0 / 1_000_000, row.quote.price.to_string())).collect()
}

#[test]
fn rows_come_in_order_of_time_with_the_digits_of_their_tokens() {
    let body = br#"{"data":[[30,105944.20,"1"],[20,"0.000000000000000001"],[10,"."],[5,null]]}"#;
    let reading = mapping(&candles()).rows(body).unwrap();
    assert_eq!(told(&reading), [(20, "0.000000000000000001".to_owned()), (30, "105944.20".to_owned())]);
    assert_eq!(reading.missing, 2);
    assert_eq!(reading.rows[1].quote.bar().volume.as_ref().unwrap().to_string(), "1");
    assert_eq!(reading.rows[0].quote.bar().volume, None);
}

#[test]
fn of_two_rows_of_one_moment_the_later_one_of_the_provider_comes_last() {
    let asc = json!({ "rows": { "at": "" }, "map": { "ts": { "at": "/0", "unit": "s" }, "close": "/1" } });
    let body = b"[[10,1],[10,2]]";
    assert_eq!(told(&mapping(&asc).rows(body).unwrap()), [(10, "1".to_owned()), (10, "2".to_owned())]);
    let mut desc = asc;
    desc["rows"]["order"] = json!("desc");
    assert_eq!(told(&mapping(&desc).rows(body).unwrap()), [(10, "2".to_owned()), (10, "1".to_owned())]);
}

#[test]
fn a_scale_multiplies_exactly_and_an_inversion_swaps_high_and_low() {
    let spec = json!({
        "rows": "",
        "map": { "ts": { "at": "/t", "unit": "s" }, "close": "/c", "high": "/h", "low": "/l",
            "scale": { "close": "0.01", "high": "0.01", "low": "0.01" } },
    });
    let quote =
        mapping(&spec).rows(br#"{"t":1,"c":12345,"h":"20000","l":1e4}"#).unwrap().rows.remove(0).quote;
    assert_eq!(
        (quote.price.to_string(), quote.bar().high.as_ref().unwrap().to_string()),
        ("123.45".into(), "200.00".into())
    );
    let mut spec = spec;
    spec["map"]["invert"] = json!(true);
    let quote =
        mapping(&spec).rows(br#"{"t":1,"c":12500,"h":"20000","l":10000}"#).unwrap().rows.remove(0).quote;
    let shown = |value: &Option<Decimal>| value.as_ref().unwrap().to_string();
    assert_eq!(
        (quote.price.to_string(), shown(&quote.bar().high), shown(&quote.bar().low)),
        ("0.008".into(), "0.01".into(), "0.005".into())
    );
    let third = mapping(&spec).rows(br#"{"t":1,"c":300,"h":300,"l":300}"#).unwrap().rows.remove(0).quote;
    assert_eq!(third.price.to_string(), "0.333333333333333333");
    assert!(mapping(&spec).rows(br#"{"t":1,"c":0,"h":1,"l":1}"#).unwrap_err().to_string().contains("invert"));
}

#[test]
fn a_body_that_is_not_as_expected_is_told_by_its_pointer() {
    for (body, wanted) in [
        ("", " is not JSON"),
        ("[1", " is not JSON"),
        ("[]", "/data is not there: the body is an array of 0 without `data`"),
        (r#"{"data":5}"#, "/data is a number, not an array of rows"),
        (r#"{"data":[[1]]}"#, "/data/0/1 is not there: the row is an array of 1 without `1`"),
        (r#"{"data":[[1,2],[2,"x"]]}"#, "/data/1/1 `x` is not a decimal"),
        (r#"{"data":[[1,{"a":1}]]}"#, "/data/0/1 is an object, not a number or a text"),
        (r#"{"data":[["soon",2]]}"#, "/data/0/0 `soon` is not a plain number of units since 1970"),
        (r#"{"data":[[null,2]]}"#, "/data/0/0 is null, and a row needs its time"),
        (r#"{"data":[[1,true]]}"#, "/data/0/1 `true`"),
        (r#"{"data":[[1,"NaN"]]}"#, "/data/0/1 `NaN`"),
    ] {
        let said = mapping(&candles()).rows(body.as_bytes()).unwrap_err().to_string();
        assert!(said.starts_with(wanted), "{body}: {said}");
    }
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    assert!(mapping(&candles()).rows(deep.as_bytes()).unwrap_err().to_string().contains("deeper"));
    assert_eq!(mapping(&candles()).rows(br#"{"data":null}"#).unwrap(), Reading::default());
}

#[test]
fn a_refusal_is_told_in_the_providers_words() {
    let mut spec = candles();
    spec["ok"] = json!({ "pointer": "/status", "equals": "ok" });
    spec["error"] = json!({ "message": "/message", "retry_when": { "pointer": "/code", "in": [429, 503] } });
    let mapping = mapping(&spec);
    assert!(mapping.rows(br#"{"status":"ok","data":[],"message":"fine"}"#).is_ok());
    let refused = |body: &str| match mapping.rows(body.as_bytes()).unwrap_err() {
        BodyFault::Refused { pointer, said, passes } => (pointer, said, passes),
        unlike @ BodyFault::Unlike { .. } => panic!("{unlike}"),
    };
    assert_eq!(
        refused(r#"{"status":"error","code":429,"message":"out of credits"}"#),
        ("/message".to_owned(), "out of credits".to_owned(), true)
    );
    assert!(!refused(r#"{"status":"error","code":400,"message":"no such symbol"}"#).2);
    let said = mapping.rows(br#"{"status":"error"}"#).unwrap_err().to_string();
    assert_eq!(said, "/status has `error`, and an answer is good with `ok`");
}

#[test]
fn a_wrong_mapping_is_told_by_its_key_and_the_rule() {
    let change = |pointer: &str, value: Value| {
        let mut spec = candles();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        spec.pointer_mut(parent).unwrap()[name] = value;
        Mapping::read(&spec, Written::Json, &[]).unwrap_err().to_string()
    };
    for (pointer, value, wanted) in [
        ("/map/ts/unit", json!("seconds"), "map.ts.unit must be s, ms"),
        ("/map/ts/unit", json!("fmt:%Q"), "map.ts.unit must be s, ms"),
        ("/map/ts/tz", json!("Mars/Base"), "map.ts.tz `Mars/Base` is no IANA time zone"),
        ("/map/ts/tz", json!({ "from": "meta" }), "map.ts.tz.from must be a JSON Pointer"),
        ("/map/ts", json!({ "unit": "s" }), "map.ts.at is missing"),
        ("/map/ts", json!("/0"), "map.ts must be a table"),
        ("/map/close", json!({ "at": "$.price" }), "map.close.at must be a JSON Pointer"),
        ("/map/close", json!({ "at": "/a~2" }), "map.close.at must be a JSON Pointer"),
        ("/map/close", Value::Null, "map.close is missing"),
        ("/map/close", json!({ "at": "/1", "opt": true }), "map.close.opt is not known"),
        ("/map/price", json!("/1"), "map.price is not known; known are ts,"),
        ("/map/scale", json!({ "close": "a" }), "map.scale.close"),
        ("/map/scale", json!({ "close": "0" }), "map.scale.close must not be 0"),
        ("/map/scale", json!({ "clos": "1" }), "map.scale.clos is not known"),
        ("/map/invert", json!("yes"), "map.invert must be true or false"),
        ("/rows/at", json!("data"), "rows.at must be a JSON Pointer"),
        ("/rows/keys", json!("day"), "rows.keys must be time"),
        ("/rows/keys", json!("time"), "map.ts.at is told by rows.keys already"),
        ("/rows/order", json!("newest"), "rows.order must be asc or desc"),
        ("/rows/zip", json!({ "close": "/c" }), "rows.zip stands alone"),
        ("/ok", json!({ "equals": "ok" }), "ok.pointer is missing"),
        ("/error", json!({ "message": [] }), "error.message must be"),
        (
            "/error",
            json!({ "message": "/m", "retry_when": { "pointer": "/c" } }),
            "error.retry_when.in is missing",
        ),
        ("/page", json!({ "next": "/n" }), "page.param is missing"),
        ("/page", json!({ "next": "/n", "param": "p", "max": 0 }), "page.max must be"),
        ("/delimiter", json!("ab"), "delimiter must be one character"),
        ("/mapp", json!({}), "mapp is not known; known are rows, map"),
    ] {
        let said = change(pointer, value);
        assert!(said.starts_with(wanted), "{pointer}: {said}");
    }
    let zip = json!({ "rows": { "zip": { "ts": "/t", "close": "/c", "bid": "/b" } }, "map": { "ts": { "unit": "s" } } });
    let said = Mapping::read(&zip, Written::Json, &[]).unwrap_err().to_string();
    assert_eq!(said, "rows.zip.bid is not a field of map");
    assert!(Mapping::read(&json!([]), Written::Json, &[]).is_err());
    let csv = json!({ "rows": { "at": "/x" }, "map": { "ts": { "at": "t", "unit": "s" }, "close": "c" } });
    assert!(
        Mapping::read(&csv, Written::Csv, &[]).unwrap_err().to_string().starts_with("rows takes only order")
    );
}

#[test]
fn a_table_is_read_by_the_names_of_its_columns() {
    let spec = json!({
        "delimiter": ";",
        "text_errors": ["No data"],
        "map": { "ts": { "at": "Date", "unit": "date" }, "close": { "at": "Close" },
            "volume": { "at": "Volume", "optional": true }, "null": ["N/D"] },
    });
    let mapping = Mapping::read(&spec, Written::Csv, &[]).unwrap();
    let reading =
        mapping.rows("\u{feff}Date;Close;\n2024-01-02;2050.10;\n2024-01-03;N/D;\n".as_bytes()).unwrap();
    assert_eq!((told(&reading), reading.missing), (vec![(1_704_153_600, "2050.10".to_owned())], 1));
    for (body, wanted) in [
        ("", " is empty"),
        ("Date;Price\n", "column Close is not in the header `Date;Price`"),
        ("Date;Close\n2024-01-02;1;2;3\n", "line 2 has 4 cells, and the header 2"),
        ("Date;Close\n2024-01-02;abc\n", "line 2, column Close `abc`"),
        ("Date;Close\n02.01.2024;1\n", "line 2, column Date `02.01.2024` is not a day"),
        ("No data", "the provider says: No data"),
    ] {
        let said = mapping.rows(body.as_bytes()).unwrap_err().to_string().replace(',', ";");
        assert!(said.starts_with(&wanted.replace(',', ";")), "{body}: {said}");
    }
}

#[test]
fn a_body_is_read_or_refused_however_odd_it_is() {
    let spec = json!({ "delimiter": ",",
        "map": { "ts": { "at": "date", "unit": "date" }, "close": { "at": "value" }, "null": ["."] } });
    let table = Mapping::read(&spec, Written::Csv, &[]).unwrap();
    let json = mapping(&candles());
    let bodies = [
        "{\"data\":[[30,105944.20,\"1\"],[20,\"0.000000000000000001\"],[10,\".\"],[5,null]]}",
        "date,value\n2024-01-02,3.95\n2024-01-03,.\n2024-01-04,-0.10\n",
    ];
    crate::domain::hammer::hammer(&bodies, |body| {
        for mapping in [&table, &json] {
            let mut faults = Vec::new();
            let Ok(most) = mapping.rows_but(body, &mut faults) else { continue };
            assert!(most.rows.is_sorted_by_key(|row| row.observed_at));
            if let Ok(all) = mapping.rows(body) {
                assert!(faults.is_empty());
                assert_eq!(told(&all), told(&most));
            }
        }
    });
}

#[test]
fn a_mapping_is_taken_or_refused_however_odd_it_is() {
    let specs = [
        candles().to_string(),
        json!({ "rows": { "at": "/a/b", "order": "asc", "keys": true },
            "map": { "ts": { "at": "/t", "unit": "ms", "tz": "Europe/Berlin" }, "close": "/c", "scale": { "close": "0.01" }, "invert": true } })
        .to_string(),
    ];
    crate::domain::hammer::hammer(&specs, |spec| {
        let Ok(spec) = serde_json::from_slice::<Value>(spec) else { return };
        for written in [Written::Json, Written::Csv] {
            if let Ok(mapping) = Mapping::read(&spec, written, &[]) {
                drop(mapping.rows(br#"{"data":[[30,105944.20,"1"]],"t":1,"c":2}"#));
            }
        }
    });
}
