//! What changed a report: corrections, voids, late entries, rates, terms, conventions and corporate actions.

use crate::on_both;
use crate::support::TestApp;
use serde_json::{Value, json};

/// Thousandths of an amount that has at most three decimals.
fn thousandths(amount: &Value) -> i64 {
    let text = amount.as_str().unwrap_or_else(|| panic!("{amount} is no amount"));
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    assert!(part.len() <= 3, "{text}");
    let digits: i64 = format!("{}{part:0<3}", whole.trim_start_matches('-')).parse().unwrap();
    if text.starts_with('-') { -digits } else { digits }
}

/// The parts add up to the whole, figure by figure.
#[track_caller]
fn adds_up(diff: &Value) {
    for (name, whole) in diff["change"].as_object().unwrap() {
        let parts = diff["parts"].as_array().unwrap().iter().map(|part| thousandths(&part["change"][name]));
        assert_eq!(parts.sum::<i64>(), thousandths(whole), "{name}");
        let (before, after) = (thousandths(&diff["before"][name]), thousandths(&diff["after"][name]));
        assert_eq!(after - before, thousandths(whole), "{name}");
    }
}

/// Up to a moment in between; under another convention; and the whole is what two reports differ by.
async fn more_is_learned(app: &TestApp, id: &str, before: &Value) {
    let diff = |query: &str| {
        format!("/portfolios/{id}/pnl/diff?as_of=2026-03-31&known_at=2026-11-23T12:59:00Z{query}")
    };
    app.set_clock("2026-11-23T14:00:00Z");
    app.post(
        &format!("/portfolios/{id}/transactions"),
        &json!({ "type": "fee", "amount": 5, "executed_at": "2026-03-01" }),
    )
    .await
    .expect(201);
    app.post("/assets/SAP/actions", &json!({ "type": "split", "ratio": 2, "executed_at": "2026-03-10" }))
        .await
        .expect(201);
    app.patch(&format!("/portfolios/{id}"), &json!({ "conventions": { "cost_basis": "lifo" } }))
        .await
        .expect(200);
    let to = app.get(&diff("&known_at_to=2026-11-23T13:30:00Z")).await.expect(200);
    assert_eq!((&to["change"], to["parts"].as_array().unwrap().len()), (&before["change"], 4));
    let all = app.get(&diff("")).await.expect(200);
    adds_up(&all);
    let named: Vec<&str> = all["parts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| part["facts"][0]["kind"].as_str().unwrap())
        .collect();
    assert!(named.contains(&"action") && named.contains(&"entry"), "{named:?}");
    let lifo = app.get(&diff("&cost_basis=lifo")).await.expect(200);
    adds_up(&lifo);
    for (diff, basis) in [(&all, ""), (&lifo, "&cost_basis=lifo")] {
        for (known, side) in [("&known_at=2026-11-23T12:59:00Z", "before"), ("", "after")] {
            let pnl =
                app.get(&format!("/portfolios/{id}/pnl?as_of=2026-03-31{known}{basis}")).await.expect(200);
            for (name, value) in diff[side].as_object().unwrap() {
                assert_eq!(&pnl[name], value, "{side} {name} {basis}");
            }
        }
    }
}

async fn bad_questions_are_refused(app: &TestApp, id: &str) {
    for (query, parameter) in [
        ("as_of=2026-03-31", "known_at"),
        ("known_at=2026-11-23T13:00:00Z&known_at_to=2026-11-23T12:00:00Z", "known_at_to"),
        ("known_at=2026-11-23T13:00:00Z&known_at_to=2030-01-01", "known_at_to"),
        ("known_at=2030-01-01", "known_at"),
    ] {
        let refused = app.get(&format!("/portfolios/{id}/pnl/diff?{query}")).await;
        assert_eq!(refused.code(422), "invalid_request", "{query}");
        assert_eq!(refused.json()["errors"][0]["parameter"], parameter, "{query}");
    }
}

on_both! {
    async fn each_commit_that_changed_a_report_is_named_with_what_it_changed(backend) {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("0").await;
        let euro = json!({ "symbol": "SAP", "name": "SAP", "asset_type": "STOCK", "market_code": "COMEX", "currency": "EUR" });
        app.post("/assets", &euro).await.expect(201);
        let id = app.portfolio(&json!({ "initial_capital": 100_000, "opened_at": "2026-01-01" })).await;
        let rate = |rate: &str| json!({ "base": "EUR", "quote": "USD", "rate": rate, "timestamp": "2026-01-01" });
        let price = |symbol: &str, price: &str, day: u32| json!({ "symbol": symbol, "price": price, "timestamp": format!("2026-03-{day:02}T16:00:00Z") });
        app.post("/fx", &rate("1.1")).await.expect(200);
        app.post("/prices", &price("GOLD", "2100", 30)).await.expect(200);
        app.post("/prices", &price("SAP", "150", 30)).await.expect(200);
        let entries = json!([
            { "type": "buy", "symbol": "GOLD", "quantity": 7, "price": 2000, "executed_at": "2026-02-01" },
            { "type": "sell", "symbol": "GOLD", "quantity": 4, "price": 2050, "executed_at": "2026-02-03" },
            { "type": "buy", "symbol": "SAP", "quantity": 10, "price": 140, "executed_at": "2026-02-05" }
        ]);
        let path = format!("/portfolios/{id}/transactions");
        let recorded = app.post(&path, &entries).await.expect(201);
        app.set_clock("2026-11-23T13:00:00Z");
        let diff = |query: &str| format!("/portfolios/{id}/pnl/diff?as_of=2026-03-31&known_at=2026-11-23T12:59:00Z{query}");
        let nothing = app.get(&diff("")).await.expect(200);
        assert_eq!((&nothing["parts"], &nothing["change"]["total_gain"]), (&json!([]), &json!("0")));

        // A late entry; a void with its replacement; a corrected price; one of a day the report does not see; one that
        // is older than the price in force; a corrected rate.
        app.post(&path, &json!({ "type": "buy", "symbol": "GOLD", "quantity": 1, "price": 1000, "executed_at": "2026-01-15" })).await.expect(201);
        let sale = recorded["transactions"][1]["id"].as_str().unwrap();
        let replacement = json!({ "type": "sell", "symbol": "GOLD", "quantity": 3, "price": 2050, "executed_at": "2026-02-03" });
        app.post(&format!("{path}/{sale}/void"), &json!({ "reason": "wrong quantity", "replacement": replacement })).await.expect(200);
        app.post("/prices", &price("GOLD", "2000", 30)).await.expect(200);
        app.post("/prices", &json!({ "symbol": "GOLD", "price": 1, "timestamp": "2026-04-01T16:00:00Z" })).await.expect(200);
        app.post("/prices", &price("GOLD", "3", 29)).await.expect(200);
        app.post("/fx", &rate("1.2")).await.expect(200);
        let all = app.get(&diff("")).await.expect(200);
        adds_up(&all);
        let parts = all["parts"].as_array().unwrap();
        assert_eq!(parts.len(), 4, "{all:#}");
        // The late ounce at 1000 is the first one sold: (2050 - 1000) + 3 x 50 instead of 4 x 50; five remain at 2000
        // of market value 2100 less what stays: realised 1200 - 200, unrealised 4 x 100 - 3 x 100.
        let fact = &parts[0]["facts"][0];
        assert_eq!((&fact["kind"], &fact["symbol"], &fact["about"]), (&json!("entry"), &json!("GOLD"), &json!("2026-01-15T00:00:00.000000Z")));
        assert_eq!((&parts[0]["change"]["realized_pnl"], &parts[0]["change"]["unrealized_pnl"]), (&json!("1000"), &json!("100")));
        // One ounce fewer is sold: its 50 of realised profit are gone, 100 unrealised come.
        let kinds: Vec<&Value> = parts[1]["facts"].as_array().unwrap().iter().map(|fact| &fact["kind"]).collect();
        assert_eq!(kinds, [&json!("void"), &json!("entry")]);
        assert_eq!((&parts[1]["facts"][0]["reason"], &parts[1]["facts"][1]["replaces"]), (&json!("wrong quantity"), &json!(sale)));
        assert_eq!((&parts[1]["change"]["realized_pnl"], &parts[1]["change"]["unrealized_pnl"]), (&json!("-50"), &json!("100")));
        // Five ounces at 100 less.
        assert_eq!((&parts[2]["facts"][0]["kind"], &parts[2]["facts"][0]["value"]), (&json!("price"), &json!("2000")));
        assert_eq!(parts[2]["change"]["unrealized_pnl"], "-500");
        // 100 euros of gain at 1.2 instead of 1.1; the cost moves with the rate of its day.
        assert_eq!((&parts[3]["facts"][0]["kind"], &parts[3]["change"]["unrealized_pnl"]), (&json!("rate"), &json!("10")));

        more_is_learned(&app, &id, &all).await;
        bad_questions_are_refused(&app, &id).await;
        app.stop().await;
    }
}
