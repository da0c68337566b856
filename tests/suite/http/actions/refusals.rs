//! What is refused, where, and that it leaves nothing behind; and what a client sees of an action.

use super::{act, book, dividend, enter, pnl, service, split, trade};
use crate::on_both;
use serde_json::{Value, json};

/// Actions on ACME, each with the fields at fault.
fn bad_actions() -> Vec<(Value, Vec<(&'static str, &'static str)>)> {
    vec![
        (json!({}), vec![("/executed_at", "required"), ("/type", "required")]),
        (json!({ "type": "merger", "executed_at": "2026-05-01" }), vec![("/type", "unknown_value")]),
        (split("0", "2026-05-01"), vec![("/ratio", "not_positive")]),
        (
            json!({ "type": "split", "ratio_num": "2", "ratio_den": "0", "executed_at": "2026-05-01" }),
            vec![("/ratio_den", "not_positive")],
        ),
        (
            json!({ "type": "split", "ratio_num": "2", "executed_at": "2026-05-01" }),
            vec![("/ratio_den", "required")],
        ),
        (
            json!({ "type": "split", "ratio": "2", "ratio_num": "2", "executed_at": "2026-05-01" }),
            vec![("/ratio", "contradicts")],
        ),
        (
            json!({ "type": "split", "ratio": "2", "amount": "1", "executed_at": "2026-05-01" }),
            vec![("/amount", "not_used")],
        ),
        (split("two", "2026-05-01"), vec![("/ratio", "not_a_number")]),
        (split("2", "2026-05-01T10:00:00"), vec![("/executed_at", "time_without_zone")]),
        (split("2", "2026-02-30"), vec![("/executed_at", "not_a_time")]),
        (split("2", "2026-12-02T12:00:01Z"), vec![("/executed_at", "in_the_future")]),
        (split("2", "2026-12-03"), vec![("/executed_at", "in_the_future")]),
        (dividend("-1", "0", "2026-05-01"), vec![("/amount", "not_positive")]),
        (dividend("0", "0", "2026-05-01"), vec![("/amount", "not_positive")]),
        (dividend("1", "-1", "2026-05-01"), vec![("/tax", "negative")]),
        (dividend("1", "1.01", "2026-05-01"), vec![("/tax", "too_large")]),
        (dividend("0.1234567890123456789", "0", "2026-05-01"), vec![("/amount", "too_many_digits")]),
        (
            json!({ "type": "dividend", "amount": "1", "currency": "XXX", "executed_at": "2026-05-01" }),
            vec![("/currency", "unknown_currency")],
        ),
        (
            json!({ "type": "dividend", "amount": "1", "symbol": "ACME", "executed_at": "2026-05-01" }),
            vec![("/symbol", "unknown_field")],
        ),
        (json!({ "type": "symbol_change", "executed_at": "2026-05-01" }), vec![("/new_symbol", "required")]),
        (
            json!({ "type": "symbol_change", "new_symbol": " ", "executed_at": "2026-05-01" }),
            vec![("/new_symbol", "blank")],
        ),
        (
            json!({ "type": "symbol_change", "new_symbol": "A".repeat(21), "executed_at": "2026-05-01" }),
            vec![("/new_symbol", "too_long")],
        ),
        (
            json!({ "type": "symbol_change", "new_symbol": "acme", "executed_at": "2026-05-01" }),
            vec![("/new_symbol", "same_symbol")],
        ),
        (
            json!({ "type": "symbol_change", "new_symbol": "NEXT", "executed_at": "2026-12-02" }),
            vec![("/executed_at", "in_the_future")],
        ),
    ]
}

on_both! {
    async fn a_bad_action_is_refused_at_its_field(backend) {
        let app = service(backend, &["ACME", "OTHER"]).await;
        app.set_clock("2026-12-01T12:00:00Z");
        for (body, faults) in bad_actions() {
            for (sent, at) in [(body.clone(), ""), (json!([split("2", "2026-01-05"), body.clone()]), "/1")] {
                let reply = act(&app, "ACME", &sent).await;
                assert_eq!(reply.code(422), "invalid_request", "{sent}");
                let problem = reply.json();
                let mut found: Vec<(String, &str)> = problem["errors"].as_array().unwrap().iter()
                    .map(|error| (error["pointer"].as_str().unwrap().to_owned(), error["code"].as_str().unwrap()))
                    .collect();
                found.sort();
                let wanted: Vec<(String, &str)> = faults.iter().map(|(place, code)| (format!("{at}{place}"), *code)).collect();
                assert_eq!(found, wanted, "{sent}");
            }
        }
        let taken = act(&app, "ACME", &json!({ "type": "symbol_change", "new_symbol": "other", "executed_at": "2026-05-01" })).await;
        assert_eq!(taken.code(409), "duplicate_asset");
        assert_eq!(taken.json()["errors"][0]["pointer"], json!("/new_symbol"));
        assert_eq!(act(&app, "NOBODY", &split("2", "2026-05-01")).await.code(404), "asset_not_found");
        assert_eq!(app.get("/assets/ACME/actions?voided=true").await.expect(200), json!([]));
        // Up to 24 h ahead is taken.
        act(&app, "ACME", &split("2", "2026-12-02T12:00:00Z")).await.expect(201);
        app.stop().await;
    }

    async fn the_same_action_is_recorded_once(backend) {
        let app = service(backend, &["ACME", "OTHER"]).await;
        let first = act(&app, "ACME", &split("2", "2026-03-02")).await.expect(201);
        for again in [split("2", "2026-03-02"), split("3", "2026-03-02"), split("2", "2026-03-03T04:59:59Z")] {
            let reply = act(&app, "ACME", &again).await;
            assert_eq!(reply.code(409), "duplicate_action", "{again}");
            assert!(reply.json()["detail"].as_str().unwrap().contains(first["id"].as_str().unwrap()));
            assert_eq!(reply.json()["errors"][0]["pointer"], json!("/executed_at"));
        }
        act(&app, "ACME", &split("2", "2026-03-03T05:00:00Z")).await.expect(201);
        act(&app, "OTHER", &split("2", "2026-03-02")).await.expect(201);
        act(&app, "ACME", &dividend("1", "0", "2026-03-02")).await.expect(201);
        assert_eq!(act(&app, "ACME", &dividend("1.00", "0", "2026-03-02")).await.code(409), "duplicate_action");
        // A special dividend beside the regular one.
        act(&app, "ACME", &dividend("7", "0", "2026-03-02")).await.expect(201);
        // What was voided may come again.
        let path = format!("/assets/ACME/actions/{}", first["id"].as_str().unwrap());
        app.post(&format!("{path}/void"), &json!({})).await.expect(200);
        act(&app, "ACME", &split("3", "2026-03-02")).await.expect(201);
        // A replacement may be of the day of its original, but not repeat a third one.
        let replacement = |body: Value| json!({ "replacement": body });
        let listed = app.get("/assets/ACME/actions?type=split").await.expect(200);
        let last = format!("/assets/ACME/actions/{}/void", listed[0]["id"].as_str().unwrap());
        let third = app.post(&last, &replacement(split("3", "2026-03-03"))).await;
        assert_eq!(third.code(409), "duplicate_action");
        assert_eq!(third.json()["errors"][0]["pointer"], json!("/replacement/executed_at"));
        app.post(&last, &replacement(split("4", "2026-03-02"))).await.expect(200);
        app.stop().await;
    }

    async fn a_repeated_request_is_answered_from_the_first(backend) {
        let app = service(backend, &["ACME"]).await;
        let id = book(&app, &json!({})).await;
        enter(&app, &id, trade("buy", "10", "100", "2026-01-05")).await;
        let send = async |body: Value| {
            let headers = [("content-type", "application/json"), ("idempotency-key", "k1")];
            app.send("POST", "/assets/ACME/actions", &headers, body.to_string().as_bytes()).await
        };
        let (first, again) = (send(split("2", "2026-03-02")).await, send(split("2", "2026-03-02")).await);
        assert_eq!((first.expect(201), &again.headers["idempotency-replayed"]), (again.expect(201), &"true".parse().unwrap()));
        assert_eq!(send(split("3", "2026-03-02")).await.code(422), "idempotency_key_reused");
        assert_eq!(pnl(&app, &id, "").await["items"][0]["quantity"], json!("20"));
        app.stop().await;
    }

    async fn actions_are_read_as_of_and_as_known_at_any_moment(backend) {
        let app = service(backend, &["ACME", "OTHER"]).await;
        app.set_clock("2026-12-01T12:00:00Z");
        let later = act(&app, "ACME", &split("2", "2026-03-02")).await.expect(201);
        app.set_clock("2026-12-01T13:00:00Z");
        let earlier = act(&app, "ACME", &dividend("1", "0.15", "2026-02-02")).await.expect(201);
        app.set_clock("2026-12-01T14:00:00Z");
        let path = |id: &Value| format!("/assets/acme/actions/{}", id.as_str().unwrap());
        app.post(&format!("{}/void", path(&later["id"])), &json!({ "reason": "rumour" })).await.expect(200);
        app.set_clock("2026-12-01T15:00:00Z");
        let ids = async |query: &str| -> Vec<Value> {
            let rows = app.get(&format!("/assets/ACME/actions{query}")).await.expect(200);
            rows.as_array().unwrap().iter().map(|row| row["id"].clone()).collect()
        };
        let (later_id, earlier_id) = (later["id"].clone(), earlier["id"].clone());
        assert_eq!(ids("").await, std::slice::from_ref(&earlier_id));
        assert_eq!(ids("?voided=true").await, [earlier_id.clone(), later_id.clone()]);
        assert_eq!(ids("?known_at=2026-12-01T13:30:00Z").await, [earlier_id.clone(), later_id.clone()]);
        assert_eq!(ids("?known_at=2026-12-01T12:30:00Z").await, std::slice::from_ref(&later_id));
        assert_eq!(ids("?voided=true&type=split").await, std::slice::from_ref(&later_id));
        // A day ends in the zone of the market: the second of March begins at 05:00Z there.
        assert_eq!(ids("?voided=true&as_of=2026-03-01").await, std::slice::from_ref(&earlier_id));
        assert_eq!(ids("?voided=true&as_of=2026-03-02").await.len(), 2);
        assert_eq!(ids("?voided=true&as_of=2026-03-02T04:59:59Z").await.len(), 1);
        let then = app.get("/assets/ACME/actions?known_at=2026-12-01T13:30:00Z").await.expect(200);
        assert_eq!(then[1]["voided_at"], json!(null));
        let one = app.get(&path(&later_id)).await.expect(200);
        assert_eq!((&one["voided_at"], &one["void_reason"]), (&json!("2026-12-01T14:00:00.000000Z"), &json!("rumour")));
        let one = app.get(&path(&earlier_id)).await.expect(200);
        assert_eq!((&one["tax"], &one["currency"], &one["ratio_num"]), (&json!("0.15"), &json!("USD"), &json!(null)));
        for name in [later_id.as_str().unwrap(), "nonsense"] {
            assert_eq!(app.get(&format!("/assets/OTHER/actions/{name}")).await.code(404), "action_not_found");
        }
        assert_eq!(app.get("/assets/ACME/actions?known_at=2026-12-02T00:00:00Z").await.code(422), "invalid_request");
        app.stop().await;
    }
}
