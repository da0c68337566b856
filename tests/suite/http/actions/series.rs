//! Adjusted series on request, and sources that adjust their own.

use super::{act, book, dividend, enter, pnl, price, service, split, trade};
use crate::on_both;
use crate::support::{TestApp, shared};
use artifact::domain::decimal::Decimal;
use serde_json::{Value, json};

async fn series(app: &TestApp, query: &str) -> Vec<String> {
    let rows = app.get(&format!("/prices?symbol=ACME{query}")).await.expect(200);
    rows.as_array().unwrap().iter().map(|row| row["price"].as_str().unwrap().to_owned()).collect()
}

on_both! {
    async fn a_series_is_adjusted_on_request_and_stays_as_it_is(backend) {
        let app = service(backend, &["ACME"]).await;
        app.set_clock("2026-12-01T12:00:00Z");
        let candle = |day: &str, close: &str, open: &str, volume: &str| json!({ "symbol": "ACME", "timestamp": day,
            "interval": "1d", "close": close, "open": open, "volume": volume });
        for (day, close, open, volume) in [("2026-01-05", "100.00", "96", "10"), ("2026-01-06", "99", "99", "20"),
            ("2026-01-07", "50", "49", "30"), ("2026-01-08", "49", "48", "40")] {
            app.post("/prices", &candle(day, close, open, volume)).await.expect(200);
        }
        let before = "2026-12-01T12:30:00Z";
        app.set_clock("2026-12-01T13:00:00Z");
        // 2 of 100 are paid on the sixth, the share is split on the seventh, and 1 of 50 is paid on the eighth.
        let actions = json!([dividend("2", "0.3", "2026-01-06"), split("2", "2026-01-07"), dividend("1", "0", "2026-01-08")]);
        act(&app, "ACME", &actions).await.expect(201);
        assert_eq!(series(&app, "").await, ["100.00", "99", "50", "49"]);
        assert_eq!(series(&app, "&adjusted=none").await, ["100.00", "99", "50", "49"]);
        assert_eq!(series(&app, "&adjusted=splits").await, ["50", "49.5", "50", "49"]);
        // 100 x 98/100 x 1/2 x 49/50; 99 x 1/2 x 49/50; 50 x 49/50.
        assert_eq!(series(&app, "&adjusted=all").await, ["48.02", "48.51", "49", "49"]);
        let rows = app.get("/prices?symbol=ACME&adjusted=all").await.expect(200);
        // Volume knows of splits alone.
        assert_eq!((&rows[0]["open"], &rows[0]["volume"], &rows[2]["volume"]), (&json!("46.0992"), &json!("20"), &json!("30")));
        assert_eq!(series(&app, &format!("&adjusted=all&known_at={before}")).await, ["100", "99", "50", "49"]);
        // Every page is adjusted alike.
        assert_eq!(app.every("/prices?symbol=ACME&adjusted=all", 1).await, *rows.as_array().unwrap());
        assert_eq!(series(&app, "&adjusted=all&from=2026-01-07").await, ["49", "49"]);
        let refused = app.get("/prices?symbol=ACME&adjusted=yes").await;
        assert_eq!((refused.code(422), refused.json()["errors"][0]["parameter"].clone()), ("invalid_request".to_owned(), json!("adjusted")));
        app.stop().await;
    }

    async fn what_cannot_be_taken_out_is_said(backend) {
        let app = service(backend, &["ACME"]).await;
        price(&app, "ACME", "10", "2026-01-05", Some("1d")).await;
        let paid = act(&app, "ACME", &dividend("10", "0", "2026-01-06")).await.expect(201);
        let refused = app.get("/prices?symbol=ACME&adjusted=all").await;
        assert_eq!(refused.code(409), "not_adjustable");
        assert!(refused.json()["detail"].as_str().unwrap().contains(paid["id"].as_str().unwrap()));
        assert_eq!(series(&app, "&adjusted=splits").await, ["10"]);
        // After it nothing needs to be taken out.
        price(&app, "ACME", "3", "2026-01-06", Some("1d")).await;
        assert_eq!(series(&app, "&adjusted=all&from=2026-01-06").await, ["3"]);
        app.stop().await;
    }

    async fn a_tick_of_the_day_before_is_a_close_as_well(backend) {
        let app = service(backend, &["ACME"]).await;
        price(&app, "ACME", "90", "2026-01-05", Some("1d")).await;
        price(&app, "ACME", "100", "2026-01-06T20:59:00Z", None).await;
        price(&app, "ACME", "80", "2026-01-06", Some("1d")).await;
        price(&app, "ACME", "70", "2026-01-07T05:00:00Z", None).await;
        act(&app, "ACME", &dividend("2", "0", "2026-01-07")).await.expect(201);
        // In order of time: 90 and 80 by 98/100, 100 by the same, and 70 came after.
        assert_eq!(series(&app, "&adjusted=all").await, ["88.2", "78.4", "98", "70"]);
        // Of candles alone, 80 is the last.
        assert_eq!(series(&app, "&adjusted=all&interval=1d").await, ["87.75", "78"]);
        app.stop().await;
    }

    async fn a_source_that_adjusts_its_own_prices_is_left_alone_from_when_it_was_known(backend) {
        let app = service(backend, &["ACME"]).await;
        app.set_clock("2026-12-01T12:00:00Z");
        let id = book(&app, &json!({})).await;
        enter(&app, &id, trade("buy", "10", "100", "2026-01-05")).await;
        act(&app, "ACME", &split("2", "2026-03-02")).await.expect(201);
        let body = json!({ "symbol": "ACME", "price": "60", "timestamp": "2026-02-27", "interval": "1d", "source": "vendor" });
        app.post("/prices", &body).await.expect(200);
        let value = async |query: &str| pnl(&app, &id, query).await["items"][0]["market_value"].clone();
        assert_eq!(value("").await, json!("600"));
        app.set_clock("2026-12-01T13:00:00Z");
        let put = async |name: &str, body: Value| {
            let headers = [("content-type", "application/json")];
            app.send("PUT", &format!("/prices/sources/{name}"), &headers, body.to_string().as_bytes()).await
        };
        let done = put("vendor", json!({ "split_adjusted": true })).await.expect(200);
        assert_eq!(done, json!({ "success": true, "name": "vendor", "split_adjusted": true,
            "recorded_at": "2026-12-01T13:00:00.000000Z" }));
        // 20 x 60, now and at any moment, but not as it was known before.
        for query in ["", "?as_of=2026-03-02", "?as_of=9999-12-31T00:00:00Z"] {
            assert_eq!(value(query).await, json!("1200"), "{query}");
        }
        assert_eq!(value("?known_at=2026-12-01T12:59:59Z").await, json!("600"));
        assert_eq!(series(&app, "&adjusted=splits").await, ["60"]);
        assert_eq!(series(&app, "&adjusted=splits&known_at=2026-12-01T12:59:59Z").await, ["30"]);
        // Said again it is no news; taken back it is.
        app.set_clock("2026-12-01T14:00:00Z");
        assert_eq!(put("vendor", json!({ "split_adjusted": true })).await.expect(200), done);
        put("vendor", json!({ "split_adjusted": false })).await.expect(200);
        assert_eq!((value("").await, value("?known_at=2026-12-01T13:30:00Z").await), (json!("600"), json!("1200")));
        // A source may be described before it delivers.
        put("other%2Fone", json!({ "split_adjusted": true })).await.expect(200);
        let listed = app.get("/prices/sources").await.expect(200);
        let names: Vec<&Value> = listed.as_array().unwrap().iter().map(|one| &one["name"]).collect();
        assert_eq!(names, [&json!("other/one"), &json!("vendor")]);
        let one = app.get("/prices/sources/vendor?known_at=2026-12-01T13:30:00Z").await.expect(200);
        assert_eq!(one["split_adjusted"], json!(true));
        assert_eq!(app.get("/prices/sources/nobody").await.code(404), "source_not_found");
        for (body, pointer) in [(json!({}), "/split_adjusted"), (json!({ "split_adjusted": "yes" }), "/split_adjusted"),
            (json!({ "split_adjusted": true, "rank": 1 }), "/rank")] {
            let refused = put("vendor", body).await;
            assert_eq!((refused.code(422), refused.json()["errors"][0]["pointer"].clone()), ("invalid_request".to_owned(), json!(pointer)));
        }
        app.stop().await;
    }

    #[ignore = "needs ../shared"]
    async fn apple_is_adjusted_as_its_published_factors_say(backend) {
        let app = service(backend, &["ACME"]).await;
        let read = |name: &str| std::fs::read_to_string(shared().join("data").join(name)).unwrap();
        let headers = [("content-type", "text/csv")];
        let raw = read("aapl_us_1d_raw.csv");
        app.send("POST", "/prices/import?symbol=ACME&interval=1d", &headers, raw.as_bytes()).await.expect(200);
        // Dividends are given per share of today: before the split of 2020 a share of then was four of those.
        let mut actions = vec![split("2", "2000-06-21"), split("2", "2005-02-28"), split("7", "2014-06-09")];
        for line in read("equity_actions_yahoo_2018_2025.csv").lines().filter(|line| line.contains(",AAPL,")) {
            let [day, _, kind, value] = line.split(',').collect::<Vec<_>>().try_into().unwrap();
            let value: Decimal = value.parse().unwrap();
            if kind == "split" {
                actions.push(split(&value.to_string(), day));
            } else if day < "2021-03-31" {
                let per = if day < "2020-08-31" { value * Decimal::from(4) } else { value };
                actions.push(dividend(&per.to_string(), "0", day));
            }
        }
        act(&app, "ACME", &json!(actions)).await.expect(201);
        let rows = |query: &str| format!("/prices?symbol=ACME&limit=10000&from=2018-02-08&to=2021-03-31{query}");
        let (raw, splits, all) =
            (app.get(&rows("")).await.expect(200), app.get(&rows("&adjusted=splits")).await.expect(200), app.get(&rows("&adjusted=all")).await.expect(200));
        let factors: Vec<(String, Decimal, Decimal)> = read("aapl_us_factors.csv").lines().skip(1).map(|line| {
            let [last, dividends, splits, _] = line.split(',').collect::<Vec<_>>().try_into().unwrap();
            (last.to_owned(), dividends.parse().unwrap(), splits.parse().unwrap())
        }).collect();
        let number = |row: &Value| -> Decimal { row["price"].as_str().unwrap().parse().unwrap() };
        let mut compared = 0;
        for ((raw, by_splits), adjusted) in raw.as_array().unwrap().iter().zip(splits.as_array().unwrap()).zip(all.as_array().unwrap()) {
            let day = &raw["observed_at"].as_str().unwrap()[..10];
            let (_, dividends, splits) = factors.iter().find(|(last, _, _)| day <= last.as_str()).unwrap();
            let expected = number(raw) * splits;
            assert_eq!(number(by_splits), expected, "{day}");
            // The published factors have seven digits.
            let off = (number(adjusted) - &expected * dividends).abs();
            assert!(off * Decimal::from(10_000_000) <= expected, "{day}: {adjusted}");
            compared += 1;
        }
        assert_eq!(compared, 791);
        app.stop().await;
    }
}
