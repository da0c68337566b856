//! History, returns and attribution of stored portfolios, by hand: deposits, two assets, a foreign currency, a split.

#![expect(clippy::float_arithmetic, reason = "ratios without a unit are compared within their last digits")]

use crate::on_both;
use crate::support::TestApp;
use serde_json::{Value, json};

#[track_caller]
fn check(value: &Value, wanted: &Value) {
    for (name, wanted) in wanted.as_object().unwrap() {
        assert_eq!(&value[name], wanted, "{name} of {value}");
    }
}

/// A ratio within its last digits.
#[track_caller]
fn near(value: &Value, wanted: f64) {
    let number: f64 = value.as_str().unwrap_or_else(|| panic!("{value} for {wanted}")).parse().unwrap();
    assert!((number - wanted).abs() < 1e-12 * (1.0 + wanted.abs()), "{value} for {wanted}");
}

/// ACME in euro and WIDGET in dollars. 1,000 EUR come in on the 5th and 100 on the 9th, 50 go out on the 12th. On the
/// 6th 4 ACME @ 100 (fee 2) and 200 USD for 180 EUR are bought, on the 7th 10 WIDGET @ 15 USD. ACME splits 2 for 1 on
/// the 8th, a day without a price. On the 10th 3 ACME are sold @ 60 (fee 1); on the 11th WIDGET pays 5 USD, 1 of it tax.
async fn fund(app: &TestApp) -> String {
    let market = json!({ "code": "XETR", "name": "X", "market_type": "STOCK_EXCHANGE", "timezone": "UTC" });
    app.post("/markets", &market).await.expect(201);
    for (symbol, currency) in [("ACME", "EUR"), ("WIDGET", "USD"), ("BENCH", "EUR")] {
        let asset = json!({ "symbol": symbol, "name": symbol, "asset_type": "STOCK", "market_code": "XETR", "currency": currency });
        app.post("/assets", &asset).await.expect(201);
    }
    for (day, rate) in [("02", "0.9"), ("08", "0.8")] {
        let rate =
            json!({ "base": "USD", "quote": "EUR", "rate": rate, "timestamp": format!("2026-01-{day}") });
        app.post("/fx", &rate).await.expect(200);
    }
    for (symbol, day, price) in [
        ("ACME", "06", "105"),
        ("ACME", "07", "110"),
        ("ACME", "09", "56"),
        ("ACME", "10", "61"),
        ("WIDGET", "07", "15"),
        ("WIDGET", "09", "16"),
        ("WIDGET", "12", "14"),
        ("BENCH", "02", "200"),
        ("BENCH", "07", "210"),
        ("BENCH", "09", "100"),
    ] {
        let price = json!({ "symbol": symbol, "price": price, "interval": "1d", "timestamp": format!("2026-01-{day}T00:00:00Z") });
        app.post("/prices", &price).await.expect(200);
    }
    let split = json!({ "type": "split", "ratio_num": 2, "ratio_den": 1, "executed_at": "2026-01-09" });
    app.post("/assets/BENCH/actions", &split).await.expect(201);
    let id = app
        .portfolio(&json!({ "initial_capital": 1000, "base_currency": "EUR", "opened_at": "2026-01-05" }))
        .await;
    let entries = json!([
        { "type": "buy", "symbol": "ACME", "quantity": 4, "price": 100, "fee": 2, "executed_at": "2026-01-06" },
        { "type": "fx", "currency": "EUR", "amount": 180, "to_currency": "USD", "to_amount": 200, "executed_at": "2026-01-06" },
        { "type": "buy", "symbol": "WIDGET", "quantity": 10, "price": 15, "executed_at": "2026-01-07" },
        { "type": "split", "symbol": "ACME", "ratio_num": 2, "ratio_den": 1, "executed_at": "2026-01-08" },
        { "type": "deposit", "amount": 100, "executed_at": "2026-01-09" },
        { "type": "sell", "symbol": "ACME", "quantity": 3, "price": 60, "fee": 1, "executed_at": "2026-01-10" },
        { "type": "dividend", "symbol": "WIDGET", "amount": 5, "tax": 1, "executed_at": "2026-01-11" },
        { "type": "withdrawal", "amount": 50, "executed_at": "2026-01-12" }
    ]);
    app.post(&format!("/portfolios/{id}/transactions"), &entries).await.expect(201);
    id
}

on_both! {
    async fn the_equity_curve_is_the_report_of_every_day(backend) {
        let app = TestApp::start(backend).await;
        let id = fund(&app).await;
        let history = app.get(&format!("/portfolios/{id}/history?to=2026-01-12")).await.expect(200);
        check(&history, &json!({ "from": "2026-01-04", "to": "2026-01-12", "interval": "1d", "base_currency": "EUR", "missing": [] }));
        let points = history["points"].as_array().unwrap();
        let column = |name: &str| points.iter().map(|point| point[name].as_str().unwrap().to_owned()).collect::<Vec<_>>();
        assert_eq!(column("value"), ["0", "1000", "1018", "1038", "1018", "1134", "1170", "1173.2", "1107.2"]);
        assert_eq!(column("net_contributions"), ["0", "1000", "1000", "1000", "1000", "1100", "1100", "1100", "1050"]);
        assert_eq!(column("total_gain"), ["0", "0", "18", "38", "18", "34", "70", "73.2", "57.2"]);
        near(&points[8]["time_weighted_return"], 0.053_693_738_819_32);
        near(&points[4]["drawdown"], 0.019_267_822_736_030_8);
        near(&points[8]["drawdown"], 0.013_637_913_399_249_9);
        for point in points {
            let day = point["date"].as_str().unwrap();
            let pnl = app.get(&format!("/portfolios/{id}/pnl?as_of={day}")).await.expect(200);
            check(point, &json!({ "value": pnl["total_value"], "total_gain": pnl["total_gain"], "net_contributions": pnl["net_contributions"] }));
        }
        // Weeks end on Sunday, the 11th; returns still come from every day.
        let weekly = app.get(&format!("/portfolios/{id}/history?from=2026-01-06&to=2026-01-12&interval=1w")).await.expect(200);
        let days: Vec<&Value> = weekly["points"].as_array().unwrap().iter().map(|point| &point["date"]).collect();
        assert_eq!(days, ["2026-01-06", "2026-01-11", "2026-01-12"]);
        near(&weekly["points"][2]["time_weighted_return"], 1.053_693_738_819_320_2 / 1.018 - 1.0);
        app.stop().await;
    }

    async fn returns_stand_side_by_side(backend) {
        let app = TestApp::start(backend).await;
        let id = fund(&app).await;
        let all = app.get(&format!("/portfolios/{id}/performance?to=2026-01-12&benchmark=BENCH")).await.expect(200);
        check(&all, &json!({
            "from": "2026-01-04", "to": "2026-01-12", "days": 8, "periods_per_year": 365, "start_value": "0",
            "end_value": "1107.2", "net_flow": "1050", "gain": "57.2", "simple_return": null, "ambiguous": false,
        }));
        assert_eq!(all["reasons"]["simple_return"], "the start value is zero");
        assert!(all["reasons"]["time_weighted_return_annual"].as_str().unwrap().contains("annualize=true"));
        near(&all["time_weighted_return"], 0.053_693_738_819_32);
        near(&all["money_weighted_return"], 0.054_883_701_337_418_156);
        near(&all["roots"][0], 15.216_354_014_466_51);
        near(&all["volatility"], 0.333_192_858_964_892_15);
        near(&all["sharpe"], 7.330_415_007_917_055);
        near(&all["sortino"], 15.317_962_941_524_355);
        let fall = &all["max_drawdown"];
        near(&fall["fraction"], 0.019_267_822_736_030_8);
        check(fall, &json!({ "peak": "2026-01-07", "trough": "2026-01-08", "recovered": "2026-01-10" }));
        // 200, then 210, then 2 for 1 and 100: nothing gained in all.
        let bench = &all["benchmark"];
        check(bench, &json!({ "symbol": "BENCH", "return": "0" }));
        near(&bench["excess_return"], 0.053_693_738_819_32);
        near(&bench["beta"], 0.059_766_068_493_244_1);
        near(&bench["correlation"], 0.089_427_861_469_172_56);
        near(&bench["tracking_error"], 0.574_338_559_922_596_4);
        assert_eq!(bench["tracking_difference"], Value::Null);
        // From the end of the 7th: 1,038, then 1,018 / 1,038 x 1,134 / 1,118 x 1,170 / 1,134 x 1,173.2 / 1,170 x 1,157.2 / 1,173.2.
        let later = app.get(&format!("/portfolios/{id}/performance?from=2026-01-07&to=2026-01-12&annualize=true")).await.expect(200);
        check(&later, &json!({ "start_value": "1038", "net_flow": "50", "gain": "19.2" }));
        near(&later["simple_return"], 19.2 / 1038.0);
        near(&later["time_weighted_return"], 0.015_119_208_881_811_286);
        near(&later["time_weighted_return_annual"], 1.015_119_208_881_811_3_f64.powf(73.0) - 1.0);
        app.stop().await;
    }

    async fn returns_of_assets_accounts_and_lots(backend) {
        let app = TestApp::start(backend).await;
        let id = fund(&app).await;
        let span = "from=2026-01-07&to=2026-01-12";
        let assets = app.get(&format!("/portfolios/{id}/performance?{span}&by=asset")).await.expect(200);
        // ACME: 440; 3 of 8 for 179 net; 305 left. WIDGET: 135; 3.2 net paid; 112 left.
        check(&assets["items"][0], &json!({ "symbol": "ACME", "start_value": "440", "net_flow": "-179", "end_value": "305", "gain": "44", "simple_return": "0.1" }));
        near(&assets["items"][0]["time_weighted_return"], 0.1);
        check(&assets["items"][1], &json!({ "symbol": "WIDGET", "start_value": "135", "net_flow": "-3.2", "end_value": "112", "gain": "-19.8" }));
        near(&assets["items"][1]["time_weighted_return"], -0.149_629_629_629_629_6);
        // The whole is one account, and all of its gains.
        let accounts = app.get(&format!("/portfolios/{id}/performance?{span}&by=account")).await.expect(200);
        check(&accounts["items"][0], &json!({ "account": "main", "gain": "19.2", "time_weighted_return": accounts["time_weighted_return"] }));
        // The lot of ACME cost 402; 3 / 8 of it brought 179; 305 are left: 420 / 402 x 448 / 420 x 484 / 448.
        let lots = app.get(&format!("/portfolios/{id}/performance?to=2026-01-12&by=lot")).await.expect(200);
        let lot = &lots["items"][0];
        check(lot, &json!({ "symbol": "ACME", "start_value": "0", "net_flow": "223", "end_value": "305", "gain": "82" }));
        near(&lot["time_weighted_return"], 484.0 / 402.0 - 1.0);
        assert!(lot["lot"].is_string());
        let global = app.get(&format!("/portfolios/{id}/performance?{span}&by=account&lot_scope=global")).await;
        assert_eq!((global.code(422).as_str(), global.pointers()), ("invalid_request", vec!["by".to_owned()]));
        app.stop().await;
    }

    async fn the_parts_of_a_change_add_up(backend) {
        let app = TestApp::start(backend).await;
        let id = fund(&app).await;
        let parts = app.get(&format!("/portfolios/{id}/attribution?from=2026-01-07&to=2026-01-12")).await.expect(200);
        // ACME restarts at 110, 55 after the split: 5 x 6 open, 3 x 5 sold. WIDGET: 112 - 135. Cash: 54 USD moved at
        // 48.2 EUR are 43.2.
        check(&parts, &json!({
            "initial_value": "1038", "final_value": "1107.2", "capital_gains": "7", "realized_gains": "15",
            "earnings": "4", "fees": "1", "taxes": "0.8", "transfers": "50", "currency_gains": "-5", "missing": [],
        }));
        check(&parts["assets"][0], &json!({ "symbol": "ACME", "capital_gains": "30", "realized_gains": "15", "fees": "1" }));
        check(&parts["assets"][1], &json!({ "symbol": "WIDGET", "capital_gains": "-23", "earnings": "4", "taxes": "0.8" }));
        let all = app.get(&format!("/portfolios/{id}/attribution?to=2026-01-12")).await.expect(200);
        check(&all, &json!({ "from": "2026-01-04", "initial_value": "0", "transfers": "1050", "final_value": "1107.2" }));
        app.stop().await;
    }

    async fn what_was_known_then_is_told_again(backend) {
        let app = TestApp::start(backend).await;
        let id = fund(&app).await;
        let read = |known: String| format!("/portfolios/{id}/history?from=2026-01-10&to=2026-01-12{known}");
        let before = app.get(&read(String::new())).await.expect(200);
        let noon = "2026-11-23T12:01:00Z";
        app.set_clock("2026-11-23T12:05:00Z");
        let correction = json!({ "symbol": "ACME", "price": "62", "interval": "1d", "timestamp": "2026-01-10T00:00:00Z" });
        app.post("/prices", &correction).await.expect(200);
        let late = json!([{ "type": "interest", "amount": 3, "executed_at": "2026-01-11" }]);
        app.post(&format!("/portfolios/{id}/transactions"), &late).await.expect(201);
        let after = app.get(&read(String::new())).await.expect(200);
        let then = app.get(&read(format!("&known_at={noon}"))).await.expect(200);
        assert_eq!(then["points"], before["points"]);
        assert_eq!((&after["points"][0]["value"], &after["points"][1]["value"]), (&json!("1175"), &json!("1181.2")));
        app.stop().await;
    }

    async fn a_day_without_a_rate_is_null_and_named(backend) {
        let app = TestApp::start(backend).await;
        let id = app.portfolio(&json!({ "initial_capital": 100, "base_currency": "EUR", "opened_at": "2026-01-05" })).await;
        let entries = json!([{ "type": "deposit", "currency": "JPY", "amount": 1000, "executed_at": "2026-01-07" }]);
        app.post(&format!("/portfolios/{id}/transactions"), &entries).await.expect(201);
        let history = app.get(&format!("/portfolios/{id}/history?from=2026-01-05&to=2026-01-08")).await.expect(200);
        let values: Vec<&Value> = history["points"].as_array().unwrap().iter().map(|point| &point["value"]).collect();
        assert_eq!(values, [&json!("100"), &json!("100"), &Value::Null, &Value::Null]);
        assert_eq!(history["missing"][0], json!({ "date": "2026-01-07", "kind": "rate", "from": "JPY", "to": "EUR" }));
        let returns = app.get(&format!("/portfolios/{id}/performance?from=2026-01-05&to=2026-01-08")).await.expect(200);
        for name in ["time_weighted_return", "money_weighted_return", "volatility", "max_drawdown"] {
            assert_eq!((&returns[name], returns["reasons"][name].is_string()), (&Value::Null, true), "{name}");
        }
        app.stop().await;
    }

    async fn several_portfolios_together_in_one_currency(backend) {
        let app = TestApp::start(backend).await;
        let id = fund(&app).await;
        let dollars = app.portfolio(&json!({ "name": "dollars", "initial_capital": 100, "base_currency": "USD", "opened_at": "2026-01-05" })).await;
        let both = format!("portfolio={id},{dollars}&currency=EUR");
        // 1,000 + 90 become 1,107.2 + 80, with 50 paid in between.
        let returns = app.get(&format!("/performance?{both}&from=2026-01-05&to=2026-01-12")).await.expect(200);
        check(&returns, &json!({ "currency": "EUR", "start_value": "1090", "end_value": "1187.2", "net_flow": "50", "gain": "47.2" }));
        near(&returns["simple_return"], 47.2 / 1090.0);
        near(&returns["time_weighted_return"], 0.040_300_807_155_656_98);
        check(&returns["portfolios"][1], &json!({ "portfolio_id": dollars, "base_currency": "USD", "start_value": "90", "end_value": "80" }));
        let from_the_start = app.get(&format!("/performance?portfolio={id}&portfolio={dollars}&currency=EUR&to=2026-01-12")).await.expect(200);
        check(&from_the_start, &json!({ "from": "2026-01-04", "start_value": "0", "net_flow": "1140", "end_value": "1187.2" }));
        let pnl = app.get(&format!("/pnl?{both}&as_of=2026-01-12")).await.expect(200);
        check(&pnl, &json!({ "total_value": "1187.2", "total_gain": "57.2", "net_contributions": "1130", "fees": "3", "missing": [] }));
        // Without names, all there are; their currencies differ, so one must be named.
        assert_eq!(app.get("/pnl?currency=EUR&as_of=2026-01-12").await.expect(200)["total_value"], "1187.2");
        let unnamed = app.get("/pnl").await;
        assert_eq!((unnamed.code(422).as_str(), unnamed.pointers()), ("invalid_request", vec!["currency".to_owned()]));
        let gone = app.get(&format!("/performance?portfolio={id},0197b4f0-0000-7000-8000-000000000000")).await;
        assert_eq!(gone.code(404), "portfolio_not_found");
        // Before there was a rate the sum is unknown, and says why.
        let early = app.get(&format!("/performance?{both}&from=2025-12-30&to=2026-01-06")).await.expect(200);
        assert_eq!(early["end_value"], "1108");
        app.stop().await;
    }

    async fn bad_questions_name_the_parameter(backend) {
        let app = TestApp::start(backend).await;
        let id = app.portfolio(&json!({})).await;
        let cases = [
            ("history", "from=2026-13-01", "from"),
            ("history", "from=2026-01-01T00:00:00Z", "from"),
            ("history", "from=2026-01-02&to=2026-01-01", "from"),
            ("history", "from=1800-01-01", "from"),
            ("history", "to=2999-01-01", "to"),
            ("history", "interval=1h", "interval"),
            ("history", "by=asset", "by"),
            ("performance", "by=position", "by"),
            ("performance", "annualize=yes", "annualize"),
            ("performance", "cost_basis=best", "cost_basis"),
            ("attribution", "interval=1d", "interval"),
            ("attribution", "known_at=2999-01-01", "known_at"),
        ];
        for (route, query, parameter) in cases {
            let reply = app.get(&format!("/portfolios/{id}/{route}?{query}")).await;
            assert_eq!(reply.code(422), "invalid_request", "{route}?{query}");
            assert_eq!(reply.pointers(), [parameter], "{route}?{query}");
        }
        for query in ["currency=XYZ", "portfolio=", "currency=EUR&as_of=yesterday", "to=2026-01-01"] {
            let reply = app.get(&format!("/pnl?{query}")).await;
            if query != "portfolio=" {
                assert_eq!(reply.code(422), "invalid_request", "{query}");
            }
        }
        assert_eq!(app.get(&format!("/portfolios/{id}/performance?benchmark=NOPE")).await.code(404), "asset_not_found");
        assert_eq!(app.get("/portfolios/nobody/history").await.code(404), "portfolio_not_found");
        // An empty portfolio is worth nothing and has no returns.
        let empty = app.get(&format!("/portfolios/{id}/performance?from=2026-01-01&to=2026-01-05")).await.expect(200);
        check(&empty, &json!({ "start_value": "0", "end_value": "0", "gain": "0", "time_weighted_return": null, "roots": [] }));
        app.stop().await;
    }
}
