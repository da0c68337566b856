//! Positions: opened, added to, reduced and closed; ids that last.

use crate::on_both;
use crate::support::{Reply, TestApp};
use serde_json::{Value, json};

/// A book under test.
struct Desk {
    app: TestApp,
    path: String,
}

impl Desk {
    async fn new(backend: crate::support::Backend, fields: &Value) -> Self {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("0").await;
        let id = app.portfolio(fields).await;
        Self { app, path: format!("/portfolios/{id}") }
    }

    async fn open(&self, side: &str, quantity: &str, price: &str) -> Reply {
        let body =
            json!({ "asset_symbol": "GOLD", "position_type": side, "quantity": quantity, "price": price });
        self.app.post(&format!("{}/positions", self.path), &body).await
    }

    async fn act(&self, id: &Value, action: &str, body: &Value) -> Reply {
        self.app.post(&format!("{}/positions/{}/{action}", self.path, id.as_str().unwrap()), body).await
    }

    async fn read(&self, id: &Value) -> Reply {
        self.app.get(&format!("{}/positions/{}", self.path, id.as_str().unwrap())).await
    }

    async fn list(&self, query: &str) -> Vec<Value> {
        let list = self.app.get(&format!("{}/positions{query}", self.path)).await.expect(200);
        list.as_array().unwrap().clone()
    }

    async fn trade(&self, kind: &str, quantity: &str, price: &str, day: &str) -> Value {
        let body = json!({ "type": kind, "symbol": "GOLD", "quantity": quantity, "price": price, "executed_at": day });
        self.app.post(&format!("{}/transactions", self.path), &body).await.expect(201)["id"].clone()
    }

    async fn void(&self, id: &Value) -> Reply {
        let path = format!("{}/transactions/{}/void", self.path, id.as_str().unwrap());
        self.app.post(&path, &json!({ "reason": "wrong" })).await
    }

    async fn performance(&self) -> Value {
        self.app.get(&self.path).await.expect(200)["performance"].clone()
    }
}

#[track_caller]
fn check(value: &Value, wanted: &Value) {
    for (name, wanted) in wanted.as_object().unwrap() {
        assert_eq!(&value[name], wanted, "{name} of {value}");
    }
}

on_both! {
    async fn adding_averages_the_cost_and_closing_realises_it(backend) {
        let desk = Desk::new(backend, &json!({ "initial_capital": 100_000 })).await;
        let reply = desk.open("LONG", "10", "2000").await;
        let opened = reply.expect(201);
        let id = opened["id"].clone();
        assert_eq!(reply.headers["location"], format!("{}/positions/{}", desk.path, id.as_str().unwrap()));
        check(&opened["transaction"], &json!({ "type": "buy", "quantity": "10", "price": "2000", "symbol": "GOLD" }));
        let added = desk.open("LONG", "10", "2100").await.expect(201);
        check(&added, &json!({ "id": id, "quantity": "20", "average_cost": "2050", "cost_basis": "41000",
            "current_price": "2100", "market_value": "42000", "unrealized_pnl": "1000", "realized_pnl": "0" }));
        assert_eq!(added["price"]["price_basis"], "trade");
        check(&desk.performance().await, &json!({ "current_capital": "59000", "open_positions": 1, "closed_positions": 0 }));
        desk.app.post("/prices", &json!({ "symbol": "GOLD", "price": 2200 })).await.expect(200);
        let body = json!({ "quantity": 5, "price": 2200, "fee": "1.5" });
        let reduced = desk.act(&id, "reduce", &body).await.expect(200);
        check(&reduced, &json!({ "id": id, "status": "OPEN", "quantity": "15", "realized_pnl": "998.5", "fees": "1.5" }));
        let read = desk.read(&id).await.expect(200);
        let lots: Vec<_> = read["lots"].as_array().unwrap().iter().map(|lot| &lot["quantity"]).collect();
        assert_eq!(lots, ["5", "10"]);
        assert_eq!(read["price"]["price_basis"], "quote");
        check(&desk.act(&id, "close", &json!({ "quantity": 5, "price": 2200 })).await.expect(200),
            &json!({ "status": "OPEN", "quantity": "10", "average_cost": "2100", "realized_pnl": "1998.5" }));
        desk.app.set_clock("2026-11-24T08:00:00Z");
        let closed = desk.act(&id, "close", &json!({ "price": 2000 })).await.expect(200);
        let wanted = json!({ "id": id, "status": "CLOSED", "quantity": "0", "average_cost": "2050", "current_price": null,
            "realized_pnl": "998.5", "cost_basis": "0", "closed_at": "2026-11-24T08:00:00.000000Z" });
        check(&closed, &wanted);
        check(&desk.read(&id).await.expect(200), &wanted);
        check(&desk.performance().await, &json!({ "cash": "100998.5", "total_pnl": "998.5", "realized_pnl": "998.5",
            "open_positions": 0, "closed_positions": 1, "fees": "1.5" }));
        assert_eq!(desk.act(&id, "close", &json!({ "price": 1 })).await.code(409), "position_closed");
        assert_eq!(desk.act(&id, "reduce", &json!({ "price": 1, "quantity": 1 })).await.code(409), "position_closed");
        let again = desk.open("LONG", "1", "2000").await.expect(201);
        assert_ne!(again["id"], id);
        let ids = |rows: Vec<Value>| rows.into_iter().map(|row| row["id"].clone()).collect::<Vec<_>>();
        assert_eq!(ids(desk.list("").await), [id.clone(), again["id"].clone()]);
        assert_eq!(ids(desk.list("?status=CLOSED").await), [id]);
        assert_eq!(ids(desk.list("?status=OPEN").await), [again["id"].clone()]);
        desk.app.stop().await;
    }

    async fn a_short_gains_when_the_price_falls(backend) {
        let desk = Desk::new(backend, &json!({ "initial_capital": 2000 })).await;
        let opened = desk.open("SHORT", "10", "100").await.expect(201);
        check(&opened, &json!({ "position_type": "SHORT", "quantity": "10", "average_cost": "100", "market_value": "-1000" }));
        check(&desk.performance().await, &json!({ "cash": "3000", "reserved": "2000", "current_capital": "1000",
            "total_market_value": "1000", "total_value": "2000", "total_pnl": "0", "total_cost_basis": "1000" }));
        desk.app.post("/prices", &json!({ "symbol": "GOLD", "price": 90 })).await.expect(200);
        check(&desk.performance().await, &json!({ "unrealized_pnl": "100", "total_pnl": "100", "total_value": "2100",
            "current_capital": "1000", "total_market_value": "1100", "net_exposure": "-900", "gross_exposure": "900" }));
        check(&desk.act(&opened["id"], "reduce", &json!({ "quantity": 4, "price": 90 })).await.expect(200),
            &json!({ "quantity": "6", "realized_pnl": "40", "unrealized_pnl": "60" }));
        check(&desk.act(&opened["id"], "close", &json!({ "price": 80 })).await.expect(200),
            &json!({ "status": "CLOSED", "realized_pnl": "160" }));
        check(&desk.performance().await, &json!({ "cash": "2160", "total_pnl": "160", "reserved": "0", "current_capital": "2160" }));
        let patch = json!({ "conventions": { "allow_short": false } });
        desk.app.patch(&desk.path, &patch).await.expect(200);
        assert_eq!(desk.open("SHORT", "1", "1").await.code(400), "short_not_allowed");
        desk.app.stop().await;
    }

    async fn the_other_side_is_refused_with_a_way_out(backend) {
        let desk = Desk::new(backend, &json!({ "initial_capital": 100_000 })).await;
        for (side, other) in [("LONG", "SHORT"), ("SHORT", "LONG")] {
            let opened = desk.open(side, "1", "2000").await.expect(201);
            let place = format!("{}/positions/{}", desk.path, opened["id"].as_str().unwrap());
            let refused = desk.open(other, "1", "2000").await;
            assert_eq!(refused.code(409), "other_side_open");
            assert_eq!(refused.headers["location"], place);
            let detail = refused.json()["detail"].as_str().unwrap().to_owned();
            assert!(detail.contains(&format!("POST {place}/close")) && detail.contains("reduce"), "{detail}");
            desk.act(&opened["id"], "close", &json!({ "price": 2000 })).await.expect(200);
        }
        // Another account is another position.
        desk.open("LONG", "1", "2000").await.expect(201);
        let body = json!({ "asset_symbol": "GOLD", "position_type": "SHORT", "quantity": 1, "price": 2000, "account": "b" });
        let other = desk.app.post(&format!("{}/positions", desk.path), &body).await.expect(201);
        check(&other, &json!({ "account": "b", "position_type": "SHORT" }));
        desk.app.stop().await;
    }

    async fn ids_outlast_a_restart(backend) {
        let desk = Desk::new(backend, &json!({ "initial_capital": 100_000 })).await;
        let first = desk.open("LONG", "1", "2000").await.expect(201);
        desk.act(&first["id"], "close", &json!({ "price": 2000 })).await.expect(200);
        let second = desk.open("LONG", "2", "2000").await.expect(201);
        let before = desk.list("").await;
        let desk = Desk { app: desk.app.restart().await, path: desk.path };
        assert_eq!(desk.list("").await, before);
        let added = desk.open("LONG", "2", "2100").await.expect(201);
        assert_eq!(added["id"], second["id"]);
        assert_eq!(desk.read(&first["id"]).await.expect(200)["status"], "CLOSED");
        desk.app.stop().await;
    }

    async fn positions_merged_by_a_void_keep_the_older_id(backend) {
        let fields = json!({ "initial_capital": 100_000, "opened_at": "2026-01-01" });
        let desk = Desk::new(backend, &fields).await;
        desk.trade("buy", "10", "100", "2026-02-01").await;
        let sale = desk.trade("sell", "10", "110", "2026-02-02").await;
        desk.trade("buy", "5", "120", "2026-02-03").await;
        desk.app.set_clock("2026-11-23T13:00:00Z");
        let before = desk.list("?known_at=2026-11-23T12:30:00Z").await;
        let [older, newer] = [before[0]["id"].clone(), before[1]["id"].clone()];
        assert_eq!((&before[0]["status"], &before[1]["status"]), (&json!("CLOSED"), &json!("OPEN")));
        desk.void(&sale).await.expect(200);
        let after = desk.list("").await;
        assert_eq!(after.len(), 1);
        check(&after[0], &json!({ "id": older, "status": "OPEN", "quantity": "15", "cost_basis": "1600" }));
        let successor = format!("{}/positions/{}", desk.path, older.as_str().unwrap());
        for reply in [desk.read(&newer).await, desk.act(&newer, "close", &json!({ "price": 1 })).await] {
            assert_eq!(reply.code(410), "position_gone");
            assert_eq!(reply.headers["location"], successor);
        }
        // As it was known before, both are there.
        assert_eq!(desk.list("?known_at=2026-11-23T12:30:00Z").await, before);
        let path = format!("{}/positions/{}?known_at=2026-11-23T12:30:00Z", desk.path, newer.as_str().unwrap());
        check(&desk.app.get(&path).await.expect(200), &json!({ "status": "OPEN", "quantity": "5" }));
        desk.app.stop().await;
    }

    async fn a_late_entry_joins_or_makes_a_position(backend) {
        let fields = json!({ "initial_capital": 100_000, "opened_at": "2026-01-01" });
        let desk = Desk::new(backend, &fields).await;
        desk.trade("buy", "10", "100", "2026-03-01").await;
        let id = desk.list("").await[0]["id"].clone();
        desk.trade("buy", "10", "90", "2026-02-01").await;
        let joined = desk.list("").await;
        check(&joined[0], &json!({ "id": id, "quantity": "20", "average_cost": "95", "opened_at": "2026-02-01T00:00:00.000000Z" }));
        let round = json!([
            { "type": "buy", "symbol": "GOLD", "quantity": 1, "price": 50, "executed_at": "2026-01-05" },
            { "type": "sell", "symbol": "GOLD", "quantity": 1, "price": 60, "executed_at": "2026-01-06" },
        ]);
        desk.app.post(&format!("{}/transactions", desk.path), &round).await.expect(201);
        let both = desk.list("").await;
        check(&both[0], &json!({ "id": id, "quantity": "20", "status": "OPEN" }));
        check(&both[1], &json!({ "status": "CLOSED", "realized_pnl": "10", "opened_at": "2026-01-05T00:00:00.000000Z" }));
        for limit in [1, 2] {
            assert_eq!(desk.app.every(&format!("{}/positions", desk.path), limit).await, both);
        }
        check(&desk.list("?as_of=2026-01-05").await[0], &json!({ "id": both[1]["id"], "status": "OPEN", "quantity": "1" }));
        check(&desk.list("?as_of=2026-02-15").await[1], &json!({ "id": both[1]["id"], "status": "CLOSED" }));
        check(&desk.list("?as_of=2026-02-15").await[0], &json!({ "id": id, "quantity": "10" }));
        desk.app.stop().await;
    }

    async fn an_open_in_the_past_books_on_its_day(backend) {
        let fields = json!({ "initial_capital": 100_000, "opened_at": "2026-01-01", "time_zone": "America/New_York" });
        let desk = Desk::new(backend, &fields).await;
        let body = json!({ "asset_symbol": "GOLD", "position_type": "LONG", "quantity": 1, "price": 5, "executed_at": "2026-03-09" });
        let opened = desk.app.post(&format!("{}/positions", desk.path), &body).await.expect(201);
        check(&opened["transaction"], &json!({ "executed_at": "2026-03-09T04:00:00.000000Z", "whole_day": true }));
        assert_eq!(desk.list("?as_of=2026-03-08").await.len(), 0);
        assert_eq!(desk.list("?as_of=2026-03-09").await.len(), 1);
        assert_eq!(desk.list("?as_of=2026-03-09T03:59:59Z").await.len(), 0);
        desk.app.stop().await;
    }
}
