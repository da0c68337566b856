//! Actions that begin or cease to count because an entry came or went, in ledgers long enough to be folded in parts.

use super::{act, book, dividend, enter, market, pnl, price, service, split, trade};
use crate::on_both;
use crate::support::TestApp;
use serde_json::{Value, json};

/// Sixty buys of one unit at 10, one a minute from this hour of the second of March.
fn buys(hour: u32) -> Value {
    (0..60).map(|minute| trade("buy", "1", "10", &format!("2026-03-02T{hour:02}:{minute:02}:00Z"))).collect()
}

/// What the kept book and a fold of the whole ledger say alike.
async fn shown(app: &TestApp, book: &str) -> [Value; 4] {
    let mut both = Vec::new();
    for query in ["", "?as_of=9999-12-31T00:00:00Z"] {
        let pnl = pnl(app, book, query).await;
        let item = &pnl["items"][0];
        both.push([&item["quantity"], &item["market_value"], &pnl["income"], &pnl["cash"]].map(Clone::clone));
    }
    assert_eq!(both[0], both[1]);
    both.remove(0)
}

fn texts(texts: [&str; 4]) -> [Value; 4] {
    texts.map(|text| json!(text))
}

on_both! {
    async fn a_void_of_an_own_entry_lets_the_action_count_from_the_start_of_its_day(backend) {
        let app = service(backend, &["ACME"]).await;
        let id = book(&app, &json!({})).await;
        let own = |kind: &str, more: Value| {
            let mut entry = json!({ "type": kind, "symbol": "ACME", "executed_at": "2026-03-02T14:00:00Z" });
            entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            entry
        };
        enter(&app, &id, trade("buy", "40", "10", "2026-03-01")).await;
        let splits = enter(&app, &id, own("split", json!({ "ratio": "3" }))).await;
        let paid = enter(&app, &id, own("dividend", json!({ "amount": "7" }))).await;
        price(&app, "ACME", "12", "2026-03-02T20:00:00Z", None).await;
        act(&app, "ACME", &json!([split("2", "2026-03-02"), dividend("0.5", "0", "2026-03-02")])).await.expect(201);
        // From 06:00Z on, an hour after the day began in New York, and up to 09:00Z.
        for hour in 6..9 {
            enter(&app, &id, buys(hour)).await;
        }
        // (40 + 180) x 3, and 10,000 - 400 - 1,800 + 7.
        assert_eq!(shown(&app, &id).await, texts(["660", "7920", "7", "7807"]));
        let void = |entry: &Value| format!("/portfolios/{id}/transactions/{}/void", entry["id"].as_str().unwrap());
        app.post(&void(&splits), &json!({})).await.expect(200);
        // The split of the asset counts before the 180 were bought: 40 x 2 + 180.
        assert_eq!(shown(&app, &id).await, texts(["260", "3120", "7", "7807"]));
        app.post(&void(&paid), &json!({})).await.expect(200);
        // And the dividend is paid for what was held before that: 40 x 0.5 in place of the 7.
        assert_eq!(shown(&app, &id).await, texts(["260", "3120", "20", "7820"]));
        // A late entry of the day before is paid and split as well.
        enter(&app, &id, trade("buy", "10", "10", "2026-03-01T12:00:00Z")).await;
        assert_eq!(shown(&app, &id).await, texts(["280", "3360", "25", "7725"]));
        app.stop().await;
    }

    async fn a_ledger_that_left_an_asset_meets_every_split_when_it_comes_back(backend) {
        let app = service(backend, &["ACME", "OTHER"]).await;
        let id = book(&app, &json!({})).await;
        price(&app, "ACME", "120", "2026-02-27", Some("1d")).await;
        act(&app, "ACME", &split("2", "2026-03-02")).await.expect(201);
        let paid: Value = (1..=20).map(|cents| dividend(&format!("0.{cents:02}"), "0", "2026-03-03")).collect();
        act(&app, "ACME", &paid).await.expect(201);
        let bought = enter(&app, &id, trade("buy", "1", "50", "2026-03-04")).await;
        assert_eq!(shown(&app, &id).await, texts(["1", "60", "0", "9950"]));
        let path = format!("/portfolios/{id}/transactions/{}/void", bought["id"].as_str().unwrap());
        let other = json!({ "type": "buy", "symbol": "OTHER", "quantity": "1", "price": "50", "executed_at": "2026-03-04" });
        app.post(&path, &json!({ "replacement": other })).await.expect(200);
        // Nobody holds it when it is split once more.
        let done = act(&app, "ACME", &split("3", "2026-03-05")).await.expect(201);
        assert_eq!(done["updated_portfolios"], json!([]));
        enter(&app, &id, trade("buy", "1", "20", "2026-03-06")).await;
        assert_eq!(shown(&app, &id).await, texts(["1", "20", "0", "9930"]));
        app.stop().await;
    }

    async fn a_market_that_moves_to_another_zone_takes_its_days_along(backend) {
        let app = service(backend, &["ACME"]).await;
        let id = book(&app, &json!({})).await;
        // 02:00Z of the second is still the first in New York: another day than that of the split.
        let own = json!({ "type": "split", "symbol": "ACME", "ratio": "3", "executed_at": "2026-03-02T02:00:00Z" });
        enter(&app, &id, json!([trade("buy", "10", "10", "2026-02-27"), own])).await;
        price(&app, "ACME", "10", "2026-03-03T12:00:00Z", None).await;
        act(&app, "ACME", &split("2", "2026-03-02")).await.expect(201);
        assert_eq!(shown(&app, &id).await, texts(["60", "600", "0", "9900"]));
        // In London it is the second, and the ledger keeps its own.
        app.patch("/markets/NYSE", &json!({ "timezone": "Europe/London" })).await.expect(200);
        assert_eq!(shown(&app, &id).await, texts(["30", "300", "0", "9900"]));
        market(&app, "OTHER", "America/New_York").await;
        app.patch("/assets/ACME", &json!({ "market_code": "OTHER" })).await.expect(200);
        assert_eq!(shown(&app, &id).await, texts(["60", "600", "0", "9900"]));
        app.stop().await;
    }
}
