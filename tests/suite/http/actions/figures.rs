//! What actions do to figures, by hand.

use super::{act, asset, book, dividend, enter, fields, market, pnl, price, service, split, trade};
use crate::on_both;
use crate::support::TestApp;
use serde_json::{Value, json};

const SHOWN: [&str; 4] = ["quantity", "cost_basis", "market_value", "unrealized_pnl"];

async fn item(app: &TestApp, book: &str, query: &str) -> Value {
    pnl(app, book, query).await["items"][0].clone()
}

/// The kept book says what a fold of the whole ledger says.
async fn check_kept(app: &TestApp, book: &str) {
    let (kept, whole) = (pnl(app, book, "").await, pnl(app, book, "?as_of=9999-12-31T00:00:00Z").await);
    for name in ["cash_by_currency", "total_value", "income", "taxes", "flags", "realized_pnl", "cost_basis"]
    {
        assert_eq!(kept[name], whole[name], "{name}");
    }
    assert_eq!(kept["items"][0]["quantity"], whole["items"][0]["quantity"]);
}

/// A moment between what came before and what comes after.
fn now(app: &TestApp) -> String {
    let between = app.clock.now().plus(1_000_000);
    app.clock.set(between.plus(1_000_000));
    between.to_string()
}

on_both! {
    async fn a_split_learned_late_reaches_every_holder_and_leaves_what_was_known(backend) {
        let app = service(backend, &["ACME"]).await;
        let (first, second, none) =
            (book(&app, &json!({})).await, book(&app, &json!({})).await, book(&app, &json!({})).await);
        enter(&app, &first, trade("buy", "10", "100", "2026-01-05")).await;
        enter(&app, &second, trade("buy", "3", "90", "2026-01-06")).await;
        price(&app, "ACME", "120", "2026-02-27", Some("1d")).await;
        price(&app, "ACME", "61", "2026-03-02", Some("1d")).await;
        let before = now(&app);
        assert_eq!(fields(&item(&app, &first, "").await, SHOWN), ["10", "1000", "610", "-390"]);
        let reply = act(&app, "ACME", &split("2", "2026-03-02")).await;
        let done = reply.expect(201);
        assert_eq!(done["updated_portfolios"], json!([first, second]));
        // 00:00 in New York.
        assert_eq!(fields(&done, ["executed_at", "ratio_num", "ratio_den"]), ["2026-03-02T05:00:00.000000Z", "2", "1"]);
        assert_eq!(fields(&item(&app, &first, "").await, SHOWN), ["20", "1000", "1220", "220"]);
        assert_eq!(fields(&item(&app, &second, "").await, SHOWN), ["6", "270", "366", "96"]);
        assert_eq!(pnl(&app, &none, "").await["items"], json!([]));
        // On the Friday before nobody had new units, and on the weekend the old price is still one of old units.
        assert_eq!(fields(&item(&app, &first, "?as_of=2026-03-01").await, SHOWN), ["10", "1000", "1200", "200"]);
        assert_eq!(fields(&item(&app, &first, "?as_of=2026-03-02").await, SHOWN), ["20", "1000", "1220", "220"]);
        let known = format!("?as_of=2026-03-02&known_at={before}");
        assert_eq!(fields(&item(&app, &first, &known).await, SHOWN), ["10", "1000", "610", "-390"]);
        for id in [&first, &second] {
            check_kept(&app, id).await;
        }
        app.stop().await;
    }

    async fn who_buys_after_a_split_has_new_units_and_the_old_price_is_divided(backend) {
        let app = service(backend, &["ACME"]).await;
        price(&app, "ACME", "120", "2026-02-27", Some("1d")).await;
        act(&app, "ACME", &split("2", "2026-03-02")).await.expect(201);
        let late = book(&app, &json!({})).await;
        enter(&app, &late, trade("buy", "1", "58", "2026-03-03")).await;
        assert_eq!(fields(&item(&app, &late, "").await, SHOWN), ["1", "58", "60", "2"]);
        check_kept(&app, &late).await;
        // An entry recorded late before the split is one of old units.
        enter(&app, &late, trade("buy", "4", "110", "2026-02-26")).await;
        assert_eq!(fields(&item(&app, &late, "").await, SHOWN), ["9", "498", "540", "42"]);
        check_kept(&app, &late).await;
        // An entry that comes last once more.
        enter(&app, &late, trade("sell", "9", "61", "2026-03-04")).await;
        assert_eq!(pnl(&app, &late, "").await["realized_pnl"], json!("51"));
        check_kept(&app, &late).await;
        app.stop().await;
    }

    async fn a_dividend_is_paid_to_each_account_for_what_it_held_just_before(backend) {
        let app = service(backend, &["ACME"]).await;
        let long = book(&app, &json!({})).await;
        let mut other = trade("buy", "4", "100", "2026-01-06");
        other["account"] = json!("second");
        // Who buys on the day of the dividend does not get it.
        enter(&app, &long, json!([trade("buy", "10", "100", "2026-01-05"), other, trade("buy", "100", "10", "2026-02-10")])).await;
        let short = book(&app, &json!({ "conventions": { "short": "allowed" } })).await;
        enter(&app, &short, trade("sell", "5", "100", "2026-01-05")).await;
        let before = now(&app);
        act(&app, "ACME", &dividend("0.50", "0.10", "2026-02-10")).await.expect(201);
        let shown = pnl(&app, &long, "").await;
        // 14 x 0.50 in, 14 x 0.10 kept back: 10,000 - 2,400 + 7 - 1.40.
        assert_eq!(fields(&shown, ["income", "dividends", "taxes", "costs_apart", "cash"]), ["7", "7", "1.4", "1.4", "7605.6"]);
        let accounts = pnl(&app, &long, "?by=account").await;
        let cash: Vec<&Value> = accounts["items"].as_array().unwrap().iter().map(|one| &one["cash_base"]).collect();
        assert_eq!(cash, [&json!("8004"), &json!("-398.4")]);
        // The short position pays 5 x 0.50, and no tax is kept back of that: 10,000 + 500 - 2.50.
        let shown = pnl(&app, &short, "").await;
        assert_eq!(fields(&shown, ["income", "taxes", "cash"]), ["-2.5", "0", "10497.5"]);
        for query in [format!("?known_at={before}"), "?as_of=2026-02-09".to_owned()] {
            assert_eq!(pnl(&app, &long, &query).await["income"], json!("0"), "{query}");
        }
        assert_eq!(pnl(&app, &long, "?as_of=2026-02-10").await["income"], json!("7"));
        // Learned still later: five of the units were sold in time.
        enter(&app, &long, trade("sell", "5", "100", "2026-02-09")).await;
        assert_eq!(pnl(&app, &long, "").await["income"], json!("4.5"));
        for id in [&long, &short] {
            check_kept(&app, id).await;
        }
        app.stop().await;
    }

    async fn under_global_lots_each_account_is_paid_for_its_own_units(backend) {
        let app = service(backend, &["ACME"]).await;
        let id = book(&app, &json!({ "conventions": { "lot_scope": "global" } })).await;
        let of = |account: &str, mut entry: Value| {
            entry["account"] = json!(account);
            entry
        };
        let moved = json!({ "type": "transfer", "symbol": "ACME", "quantity": "3", "account": "main",
            "to_account": "second", "executed_at": "2026-01-07" });
        let entries = json!([of("main", trade("buy", "10", "100", "2026-01-05")),
            of("second", trade("buy", "4", "100", "2026-01-06")), moved,
            of("second", trade("sell", "2", "100", "2026-01-08"))]);
        enter(&app, &id, entries).await;
        act(&app, "ACME", &dividend("0.50", "0", "2026-02-10")).await.expect(201);
        let accounts = pnl(&app, &id, "?by=account").await;
        let cash = |name: &str| {
            let items = accounts["items"].as_array().unwrap();
            items.iter().find(|one| one["account"] == name).unwrap()["cash_base"].clone()
        };
        // main has 10 - 3 = 7 units, second 4 + 3 - 2 = 5: 9,000 + 3.50, and -400 + 200 + 2.50.
        assert_eq!((cash("main"), cash("second")), (json!("9003.5"), json!("-197.5")));
        check_kept(&app, &id).await;
        // Entries that come last go on from there.
        enter(&app, &id, of("second", trade("sell", "5", "100", "2026-02-11"))).await;
        act(&app, "ACME", &dividend("1", "0", "2026-02-12")).await.expect(201);
        assert_eq!(pnl(&app, &id, "").await["income"], json!("13"));
        check_kept(&app, &id).await;
        app.stop().await;
    }

    async fn a_dividend_in_pence_and_one_in_another_currency_are_paid_in_it(backend) {
        let app = service(backend, &[]).await;
        market(&app, "LSE", "Europe/London").await;
        asset(&app, "ACME", "LSE", &json!({ "currency": "GBp" })).await;
        let rate = |base: &str, rate: &str| json!({ "base": base, "quote": "USD", "rate": rate, "timestamp": "2026-01-02" });
        app.post("/fx", &rate("GBP", "1.25")).await.expect(200);
        let id = book(&app, &json!({})).await;
        enter(&app, &id, trade("buy", "100", "500", "2026-01-05")).await;
        act(&app, "ACME", &json!({ "type": "dividend", "amount": "0.08", "currency": "GBP", "executed_at": "2026-02-10" })).await.expect(201);
        let shown = pnl(&app, &id, "").await;
        // 100 x 0.08 GBP are 800 pence and 10 dollars.
        assert_eq!((&shown["cash_by_currency"]["GBP"], &shown["income"], &shown["items"][0]["income"]), (&json!("8"), &json!("10"), &json!("800")));
        let euros = json!({ "type": "dividend", "amount": "0.50", "currency": "EUR", "executed_at": "2026-02-11" });
        let refused = act(&app, "ACME", &euros).await;
        assert_eq!(refused.code(409), "missing_rate");
        assert_eq!(refused.json()["errors"][0]["pointer"], json!("/currency"));
        app.post("/fx", &rate("EUR", "1.10")).await.expect(200);
        act(&app, "ACME", &euros).await.expect(201);
        let shown = pnl(&app, &id, "").await;
        // 50 EUR are 55 dollars, 44 pounds, 4,400 pence.
        assert_eq!((&shown["cash_by_currency"]["EUR"], &shown["income"], &shown["items"][0]["income"]), (&json!("50"), &json!("65"), &json!("5200")));
        check_kept(&app, &id).await;
        app.stop().await;
    }

    async fn a_ledger_keeps_its_own_split_until_it_is_voided(backend) {
        let app = service(backend, &["ACME"]).await;
        let (own, other) = (book(&app, &json!({})).await, book(&app, &json!({})).await);
        for id in [&own, &other] {
            enter(&app, id, trade("buy", "10", "100", "2026-01-05")).await;
        }
        let entry = json!({ "type": "split", "symbol": "ACME", "ratio": "3", "executed_at": "2026-03-02" });
        let kept = enter(&app, &own, entry.clone()).await;
        // The day of a split is one of the market, also in a ledger whose days are others.
        assert_eq!(kept["executed_at"], json!("2026-03-02T05:00:00.000000Z"));
        let recorded = act(&app, "ACME", &split("2", "2026-03-02")).await.expect(201);
        let action = recorded["id"].as_str().unwrap();
        let quantity = async |id: &str| item(&app, id, "").await["quantity"].clone();
        assert_eq!((quantity(&own).await, quantity(&other).await), (json!("30"), json!("20")));
        // The other ledger cannot say it again, whatever the moment of that day.
        let path = format!("/portfolios/{other}/transactions");
        for executed_at in ["2026-03-02", "2026-03-02T14:00:00Z", "2026-03-03T04:59:59Z"] {
            let mut again = entry.clone();
            again["executed_at"] = json!(executed_at);
            let reply = app.post(&path, &json!([trade("buy", "1", "1", "2026-03-05"), again])).await;
            assert_eq!(reply.code(409), "repeats_action", "{executed_at}");
            assert_eq!(reply.json()["errors"][0]["pointer"], json!("/1/type"));
            assert!(reply.json()["detail"].as_str().unwrap().contains(action));
            assert!(reply.headers["location"].to_str().unwrap().ends_with(&format!("/actions/{action}")));
        }
        assert_eq!(quantity(&other).await, json!("20"));
        // Its own entry may be put right, and a void of it lets the asset's count.
        let void = |id: &Value| format!("/portfolios/{own}/transactions/{}/void", id.as_str().unwrap());
        let mut right = entry.clone();
        right["ratio"] = json!("4");
        let replaced = app.post(&void(&kept["id"]), &json!({ "replacement": right })).await.expect(200);
        assert_eq!(quantity(&own).await, json!("40"));
        app.post(&void(&replaced["replacement"]["id"]), &json!({})).await.expect(200);
        assert_eq!(quantity(&own).await, json!("20"));
        let reply = app.post(&format!("/portfolios/{own}/transactions"), &entry).await;
        assert_eq!(reply.code(409), "repeats_action");
        // Of the next day, or of another type, it is another fact.
        let mut next = entry.clone();
        next["executed_at"] = json!("2026-03-03T05:00:00Z");
        enter(&app, &other, next).await;
        let paid = json!({ "type": "dividend", "symbol": "ACME", "amount": "5", "executed_at": "2026-03-02" });
        enter(&app, &other, paid).await;
        for id in [&own, &other] {
            check_kept(&app, id).await;
        }
        app.stop().await;
    }

    async fn a_row_that_an_action_puts_at_odds_with_a_rule_is_flagged(backend) {
        let app = service(backend, &["ACME"]).await;
        let id = book(&app, &json!({})).await;
        enter(&app, &id, trade("buy", "100", "10", "2026-01-05")).await;
        let first = act(&app, "ACME", &split("2", "2026-03-02")).await.expect(201);
        let sold = enter(&app, &id, trade("sell", "150", "6", "2026-03-03")).await;
        let before = now(&app);
        // The split never was: 150 of 100 were sold, and 50 are owed.
        let void = |action: &Value| format!("/assets/ACME/actions/{}/void", action["id"].as_str().unwrap());
        app.post(&void(&first), &json!({ "reason": "rumour" })).await.expect(200);
        let shown = pnl(&app, &id, "").await;
        assert_eq!(shown["items"][0]["quantity"], json!("-50"));
        let flag = json!({ "transaction": sold["id"], "action": null, "symbol": "ACME", "code": "insufficient_quantity",
            "detail": "150 leave the position, but only 100 are held", "left_out": false });
        assert_eq!(shown["flags"], json!([flag]));
        // 100 x (6 - 10): of the other 50 nothing is realised yet.
        assert_eq!(fields(&shown, ["realized_pnl", "cash"]), ["-400", "9900"]);
        let read = app.get(&format!("/portfolios/{id}")).await.expect(200);
        assert_eq!(read["performance"]["flags"], json!([flag]));
        check_kept(&app, &id).await;
        let known = pnl(&app, &id, &format!("?known_at={before}")).await;
        assert_eq!((&known["flags"], &known["items"][0]["quantity"]), (&json!([]), &json!("50")));
        // A new entry is held to the rules as ever, and does not disturb the flag.
        let more = app.post(&format!("/portfolios/{id}/transactions"), &trade("sell", "1", "6", "2026-03-04")).await;
        assert_eq!(more.code(422), "insufficient_quantity");
        let late = app.post(&format!("/portfolios/{id}/transactions"), &trade("sell", "101", "6", "2026-01-06")).await;
        assert_eq!(late.code(422), "insufficient_quantity");
        enter(&app, &id, trade("buy", "10", "7", "2026-03-04")).await;
        assert_eq!(pnl(&app, &id, "").await["items"][0]["quantity"], json!("-40"));
        assert_eq!(pnl(&app, &id, "").await["flags"], json!([flag]));
        check_kept(&app, &id).await;
        // A change of conventions that would flag more is refused; so is nothing here, for it is known.
        app.patch(&format!("/portfolios/{id}"), &json!({ "conventions": { "cost_basis": "average" } })).await.expect(200);
        // The split comes back, and with it what was sold.
        act(&app, "ACME", &split("2", "2026-03-02")).await.expect(201);
        let shown = pnl(&app, &id, "").await;
        assert_eq!((&shown["flags"], &shown["items"][0]["quantity"]), (&json!([]), &json!("60")));
        check_kept(&app, &id).await;
        app.stop().await;
    }

    async fn a_replaced_action_takes_effect_in_the_same_commit(backend) {
        let app = service(backend, &["ACME"]).await;
        let id = book(&app, &json!({})).await;
        enter(&app, &id, trade("buy", "10", "100", "2026-01-05")).await;
        let wrong = act(&app, "ACME", &split("2", "2026-03-02")).await.expect(201);
        let before = now(&app);
        let path = format!("/assets/ACME/actions/{}/void", wrong["id"].as_str().unwrap());
        let body = json!({ "reason": "3 for 2", "replacement": { "type": "split", "ratio_num": "3", "ratio_den": "2",
            "executed_at": "2026-03-02", "note": "as announced", "metadata": { "source": "desk" } } });
        let done = app.post(&path, &body).await.expect(200);
        assert_eq!((&done["voided"]["replaced_by"], &done["replacement"]["replaces"]), (&done["replacement"]["id"], &wrong["id"]));
        assert_eq!((&done["voided"]["void_reason"], &done["replacement"]["metadata"]), (&json!("3 for 2"), &json!({ "source": "desk" })));
        assert_eq!(done["updated_portfolios"], json!([id]));
        assert_eq!(item(&app, &id, "").await["quantity"], json!("15"));
        let known = item(&app, &id, &format!("?known_at={before}")).await;
        assert_eq!(known["quantity"], json!("20"));
        assert_eq!(app.post(&path, &json!({})).await.code(409), "already_voided");
        check_kept(&app, &id).await;
        app.stop().await;
    }

    async fn days_are_those_of_the_market_wherever_the_portfolio_counts_its_own(backend) {
        let app = service(backend, &["ACME"]).await;
        let tokyo = book(&app, &json!({ "time_zone": "Asia/Tokyo" })).await;
        // 00:00 of the tenth in Tokyo is 11:00 of the ninth in New York: by date it is of the day of the split.
        let entries = json!([trade("buy", "1", "100", "2026-03-09"), trade("buy", "1", "50", "2026-03-10"),
            trade("buy", "1", "100", "2026-03-09T18:00:00Z")]);
        enter(&app, &tokyo, entries).await;
        act(&app, "ACME", &split("2", "2026-03-10")).await.expect(201);
        act(&app, "ACME", &dividend("1", "0", "2026-03-11")).await.expect(201);
        price(&app, "ACME", "102", "2026-03-09", Some("1d")).await;
        // 2 + 2 + 1 units, and the dividend of the day after for all of them.
        let shown = pnl(&app, &tokyo, "").await;
        assert_eq!(fields(&shown["items"][0], SHOWN), ["5", "250", "255", "5"]);
        assert_eq!(shown["income"], json!("5"));
        // In Tokyo the tenth ends ten hours after the split began.
        assert_eq!(item(&app, &tokyo, "?as_of=2026-03-10").await["quantity"], json!("5"));
        assert_eq!(item(&app, &tokyo, "?as_of=2026-03-09").await["quantity"], json!("1"));
        check_kept(&app, &tokyo).await;
        // A candle of the tenth is stamped four hours before the split began, and is of new units.
        price(&app, "ACME", "52", "2026-03-10", Some("1d")).await;
        assert_eq!(item(&app, &tokyo, "").await["market_value"], json!("260"));
        // And the other way round: in Auckland the tenth begins while it is the ninth in New York.
        market(&app, "NZX", "Pacific/Auckland").await;
        asset(&app, "KIWI", "NZX", &json!({})).await;
        let new_york = book(&app, &json!({ "time_zone": "America/New_York" })).await;
        let kiwi = |quantity: &str, executed_at: &str| json!({ "type": "buy", "symbol": "KIWI", "quantity": quantity,
            "price": "10", "executed_at": executed_at });
        let entries = json!([kiwi("1", "2026-03-09"), kiwi("10", "2026-03-10"), kiwi("100", "2026-03-09T10:59:59Z"),
            kiwi("1000", "2026-03-09T11:00:00Z")]);
        enter(&app, &new_york, entries).await;
        act(&app, "KIWI", &split("2", "2026-03-10")).await.expect(201);
        // 1 and 100 came before.
        assert_eq!(item(&app, &new_york, "").await["quantity"], json!("1212"));
        price(&app, "KIWI", "14", "2026-03-09", Some("1d")).await;
        assert_eq!(item(&app, &new_york, "").await["market_value"], json!("8484"));
        check_kept(&app, &new_york).await;
        app.stop().await;
    }

    async fn many_actions_are_recorded_whole_or_not_at_all(backend) {
        let app = service(backend, &["ACME"]).await;
        let id = book(&app, &json!({})).await;
        enter(&app, &id, trade("buy", "10", "100", "2026-01-05")).await;
        let list = json!([split("2", "2026-02-02"), dividend("1", "0", "2026-03-02"), dividend("0.25", "0", "2026-03-02")]);
        let done = act(&app, "ACME", &list).await.expect(201);
        assert_eq!((&done["stored"], done["actions"].as_array().unwrap().len()), (&json!(3), 3));
        // 20 x 1.25.
        assert_eq!(pnl(&app, &id, "").await["income"], json!("25"));
        let again = json!([dividend("2", "0", "2026-04-02"), split("5", "2026-02-02")]);
        let refused = act(&app, "ACME", &again).await;
        assert_eq!(refused.code(409), "duplicate_action");
        assert_eq!(refused.json()["errors"][0]["pointer"], json!("/1/executed_at"));
        assert_eq!(pnl(&app, &id, "").await["income"], json!("25"));
        assert_eq!(app.every("/assets/ACME/actions", 2).await.len(), 3);
        app.stop().await;
    }
}
