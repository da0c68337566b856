//! Portfolios: opening deposit, lists, status actions, deletion.

use crate::on_both;
use crate::support::TestApp;
use serde_json::{Value, json};

fn names(rows: &Value) -> String {
    let rows = rows.as_array().unwrap();
    rows.iter().map(|row| row["name"].as_str().unwrap()).collect::<Vec<_>>().join(" ")
}

on_both! {
    async fn the_initial_capital_is_a_deposit_on_the_day_it_was_opened(backend) {
        let app = TestApp::start(backend).await;
        let body = json!({ "name": "Test", "owner_id": "me", "initial_capital": 1000.50, "base_currency": "CHF",
            "description": "d", "time_zone": "Europe/Zurich", "opened_at": "2026-01-31", "metadata": { "a": 1 },
            "conventions": { "cost_basis": "lifo", "dust": "0.001" } });
        let reply = app.post("/portfolios", &body).await;
        let created = reply.expect(201);
        let path = format!("/portfolios/{}", created["id"].as_str().unwrap());
        assert_eq!(reply.headers["location"], path);
        for (name, value) in [
            ("success", json!(true)), ("status", json!("ACTIVE")), ("base_currency", json!("CHF")),
            ("initial_capital", json!("1000.5")), ("current_capital", json!("1000.5")), ("positions", json!([])),
            ("time_zone", json!("Europe/Zurich")), ("opened_at", json!("2026-01-30T23:00:00.000000Z")),
            ("description", json!("d")), ("metadata", json!({ "a": 1 })), ("version", json!(1)),
        ] {
            assert_eq!(created[name], value, "{name}");
        }
        let conventions = json!({ "cost_basis": "lifo", "lot_scope": "account", "fees": "in_cost",
            "taxes": "separate", "short": "rejected", "allow_short": true, "dust": "0.001", "holding_period": 365 });
        assert_eq!(created["conventions"], conventions);
        let ledger = app.get(&format!("{path}/transactions")).await.expect(200);
        assert_eq!(ledger.as_array().unwrap().len(), 1);
        for (name, value) in [
            ("type", json!("deposit")), ("amount", json!("1000.5")), ("currency", json!("CHF")),
            ("executed_at", json!("2026-01-30T23:00:00.000000Z")), ("whole_day", json!(true)), ("account", json!("main")),
        ] {
            assert_eq!(ledger[0][name], value, "{name}");
        }
        let read = |as_of: &str| format!("{path}?as_of={as_of}");
        let day = app.get(&read("2026-01-31")).await.expect(200)["performance"].clone();
        assert_eq!((&day["cash"], &day["total_pnl"], &day["total_pnl_percent"]), (&json!("1000.5"), &json!("0"), &json!("0")));
        let before = app.get(&read("2026-01-30")).await.expect(200)["performance"].clone();
        assert_eq!((&before["cash"], &before["net_contributions"]), (&json!("0"), &json!("0")));
        app.stop().await;
    }

    async fn a_portfolio_without_capital_has_no_deposit_and_no_percent(backend) {
        let app = TestApp::start(backend).await;
        let id = app.portfolio(&json!({})).await;
        assert_eq!(app.get(&format!("/portfolios/{id}/transactions")).await.expect(200), json!([]));
        let performance = &app.get(&format!("/portfolios/{id}")).await.expect(200)["performance"];
        assert_eq!(performance["total_pnl_percent"], Value::Null);
        assert!(performance["reasons"]["total_pnl_percent"].is_string());
        app.stop().await;
    }

    async fn portfolios_are_filtered_sorted_and_paged(backend) {
        let app = TestApp::start(backend).await;
        let mut first = String::new();
        for (name, owner) in [("b", "x"), ("a", "y"), ("B", "x"), ("a", "x"), ("é", "y")] {
            let id = app.portfolio(&json!({ "name": name, "owner_id": owner, "description": "Desk_1" })).await;
            first = if first.is_empty() { id } else { first };
        }
        app.post(&format!("/portfolios/{first}/freeze"), &Value::Null).await.expect(200);
        for (query, wanted) in [
            ("", "b a B a é"), ("?owner_id=x", "b B a"), ("?status=FROZEN", "b"), ("?q=desk_", "b a B a é"),
            ("?q=%25", ""), ("?sort=name", "B a a b é"), ("?sort=-name", "é b a a B"), ("?sort=-created_at", "é a B a b"),
        ] {
            let path = format!("/portfolios{query}");
            let all = app.get(&path).await.expect(200);
            assert_eq!(names(&all), wanted, "{query}");
            for limit in [1, 2, 5] {
                assert_eq!(Value::Array(app.every(&path, limit).await), all, "{query} by {limit}");
            }
        }
        app.stop().await;
    }

    async fn a_frozen_or_inactive_portfolio_takes_no_entries(backend) {
        let app = TestApp::start(backend).await;
        let id = app.gold_and_bitcoin("100000").await;
        let path = format!("/portfolios/{id}");
        let open = json!({ "asset_symbol": "GOLD", "position_type": "LONG", "quantity": 1, "price": 2000 });
        let position = app.post(&format!("{path}/positions"), &open).await.expect(201);
        let deposit = json!({ "type": "deposit", "amount": 1 });
        let entry = app.post(&format!("{path}/transactions"), &deposit).await.expect(201);
        let id = |value: &Value| value["id"].as_str().unwrap().to_owned();
        let writes = [
            (format!("{path}/positions"), open),
            (format!("{path}/positions/{}/close", id(&position)), json!({ "price": 1 })),
            (format!("{path}/positions/{}/reduce", id(&position)), json!({ "price": 1, "quantity": "0.5" })),
            (format!("{path}/transactions"), deposit),
            (format!("{path}/transactions/{}/void", id(&entry)), json!({})),
        ];
        let act = |action: &str| format!("{path}/{action}");
        for (action, status) in [("freeze", "FROZEN"), ("freeze", "FROZEN"), ("deactivate", "INACTIVE")] {
            let changed = app.post(&act(action), &Value::Null).await.expect(200);
            assert_eq!((&changed["status"], &changed["success"]), (&json!(status), &json!(true)));
            let before = app.get(&path).await.expect(200);
            for (path, body) in &writes {
                assert_eq!(app.post(path, body).await.code(400), "portfolio_inactive", "{path}");
            }
            assert_eq!(app.get(&path).await.expect(200), before);
            assert_eq!(before["performance"]["status"], status);
        }
        for action in ["freeze", "unfreeze"] {
            assert_eq!(app.post(&act(action), &Value::Null).await.code(409), "wrong_status", "{action}");
        }
        app.post(&act("activate"), &Value::Null).await.expect(200);
        assert_eq!(app.post(&act("activate"), &Value::Null).await.expect(200)["version"], 4);
        app.post(&act("freeze"), &Value::Null).await.expect(200);
        app.post(&act("unfreeze"), &Value::Null).await.expect(200);
        app.post(&writes[3].0, &writes[3].1).await.expect(201);
        app.stop().await;
    }

    async fn only_a_portfolio_with_nothing_but_its_deposit_is_deleted(backend) {
        let app = TestApp::start(backend).await;
        for capital in ["0", "100"] {
            let id = app.portfolio(&json!({ "initial_capital": capital })).await;
            let path = format!("/portfolios/{id}");
            assert_eq!(app.delete(&path).await.status, 204);
            assert_eq!(app.get(&path).await.code(404), "portfolio_not_found");
            assert_eq!(app.delete(&path).await.code(404), "portfolio_not_found");
            let id = app.portfolio(&json!({ "initial_capital": capital })).await;
            let path = format!("/portfolios/{id}");
            let deposit = json!({ "type": "deposit", "amount": 1 });
            let entry = app.post(&format!("{path}/transactions"), &deposit).await.expect(201);
            assert_eq!(app.delete(&path).await.code(409), "portfolio_in_use");
            // What was ever recorded stays readable, so it keeps the portfolio.
            let void = format!("{path}/transactions/{}/void", entry["id"].as_str().unwrap());
            app.post(&void, &json!({})).await.expect(200);
            assert_eq!(app.delete(&path).await.code(409), "portfolio_in_use");
        }
        assert_eq!(app.get("/portfolios").await.expect(200).as_array().unwrap().len(), 2);
        app.stop().await;
    }

    async fn a_merge_patch_changes_what_it_names_and_null_clears(backend) {
        let app = TestApp::start(backend).await;
        let id = app.gold_and_bitcoin("1000").await;
        let path = format!("/portfolios/{id}");
        let body = json!({ "name": "n", "description": "d", "metadata": { "x": null }, "conventions": { "fees": "expensed" } });
        let patched = app.patch(&path, &body).await.expect(200);
        assert_eq!((&patched["name"], &patched["description"], &patched["version"]), (&json!("n"), &json!("d"), &json!(2)));
        assert_eq!(patched["metadata"], json!({ "x": null }));
        assert_eq!((&patched["conventions"]["fees"], &patched["conventions"]["taxes"]), (&json!("expensed"), &json!("separate")));
        let cleared = app.patch(&path, &json!({ "description": null, "metadata": null })).await.expect(200);
        assert_eq!((&cleared["description"], &cleared["metadata"], &cleared["name"]), (&json!(""), &json!({}), &json!("n")));
        assert_eq!(cleared["conventions"], patched["conventions"]);
        let read = app.get(&path).await.expect(200);
        assert_eq!(read["portfolio"]["conventions"], patched["conventions"]);
        app.stop().await;
    }

    async fn conventions_that_a_row_cannot_bear_are_refused(backend) {
        let app = TestApp::start(backend).await;
        let id = app.gold_and_bitcoin("1000").await;
        let path = format!("/portfolios/{id}");
        app.patch(&path, &json!({ "conventions": { "short": "allowed" } })).await.expect(200);
        let sell = json!({ "type": "sell", "symbol": "GOLD", "quantity": 1, "price": 10 });
        let sold = app.post(&format!("{path}/transactions"), &sell).await.expect(201);
        let before = app.get(&path).await.expect(200);
        let refused = app.patch(&path, &json!({ "conventions": { "short": "rejected" } })).await;
        assert_eq!(refused.code(409), "later_entry_breaks");
        assert!(refused.json()["detail"].as_str().unwrap().contains(sold["id"].as_str().unwrap()));
        assert_eq!(app.get(&path).await.expect(200), before);
        assert_eq!(app.get(&format!("{path}/pnl?short=rejected")).await.code(409), "later_entry_breaks");
        app.stop().await;
    }
}
