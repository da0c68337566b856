//! The ECB's table of rates, and rates between any two currencies made of it.

use crate::on_both;
use crate::support::{START, TestApp, shared};
use artifact::domain::decimal::Decimal;
use serde_json::{Value, json};

const TABLE: &str = "Date,USD,GBP,CHF,\n2026-10-30,1.1172,0.8338,0.9194,\n2026-10-29,1.113,0.83578,N/A,\n";

impl TestApp {
    async fn rate_file(&self, query: &str, text: &[u8]) -> crate::support::Reply {
        self.send("POST", &format!("/fx/import?{query}"), &[("content-type", "text/csv")], text).await
    }

    async fn rate_at(&self, base: &str, quote: &str, as_of: &str) -> crate::support::Reply {
        self.get(&format!("/fx?base={base}&quote={quote}&as_of={as_of}")).await
    }
}

fn counts(report: &Value) -> [u64; 5] {
    ["stored", "duplicate", "corrected", "absent", "refused"].map(|name| report[name].as_u64().unwrap())
}

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

on_both! {
    async fn a_table_is_recorded_once_and_a_changed_cell_corrects(backend) {
        let app = TestApp::start(backend).await;
        let report = app.rate_file("source=ecb", TABLE.as_bytes()).await.expect(200);
        assert_eq!(counts(&report), [5, 0, 0, 1, 0]);
        assert_eq!((&report["base"], &report["currencies"]), (&json!("EUR"), &json!(["USD", "GBP", "CHF"])));
        assert_eq!((&report["first"], &report["last"]), (&json!("2026-10-29T00:00:00.000000Z"), &json!("2026-10-30T00:00:00.000000Z")));
        app.set_clock("2026-11-23T13:00:00Z");
        let changed = TABLE.replace("1.1172", "1.1173").replace("0.9194", "0.91940");
        assert_eq!(counts(&app.rate_file("source=ecb", changed.as_bytes()).await.expect(200)), [0, 4, 1, 1, 0]);
        let now = app.rate_at("EUR", "USD", "now").await.expect(200);
        assert_eq!((&now["rate"], &now["legs"][0]["source"]), (&json!("1.1173"), &json!("ecb")));
        let before = app.get(&format!("/fx?base=EUR&quote=USD&as_of=now&known_at={START}")).await.expect(200);
        assert_eq!(before["rate"], "1.1172");
        // What one source says corrects nothing that another one said.
        assert_eq!(counts(&app.rate_file("source=desk&format=ecb", TABLE.as_bytes()).await.expect(200)), [5, 0, 0, 1, 0]);
        // The end of a day is the first moment of the next.
        let report = app.rate_file("source=late&stamp=end&tz=Europe/Berlin", TABLE.as_bytes()).await.expect(200);
        assert_eq!(report["last"], "2026-10-30T23:00:00.000000Z");
        app.stop().await;
    }

    async fn a_refused_cell_refuses_the_table_unless_told_to_go_on(backend) {
        let app = TestApp::start(backend).await;
        let bad = "date,USD,CHF\n2026-10-28,1.1,0.9\n2026-13-01,1,1\n2026-10-29,0,x\n2026-10-30,1.2\n2027-01-01,1,1\n";
        let refused = app.rate_file("source=ecb", bad.as_bytes()).await;
        assert_eq!(refused.code(422), "invalid_request");
        let lines = ["/lines/3/date", "/lines/4/USD", "/lines/4/CHF", "/lines/5", "/lines/6/USD", "/lines/6/CHF"];
        assert_eq!(refused.pointers(), lines);
        assert_eq!(app.get("/fx?base=EUR&quote=USD").await.expect(200), json!([]));
        let report = app.rate_file("source=ecb&keep_going=true", bad.as_bytes()).await.expect(200);
        assert_eq!(counts(&report), [2, 0, 0, 0, 6]);
        let unknown = "date,USD,QQQ\n2026-10-28,1.1,3\n";
        let refused = app.rate_file("source=ecb", unknown.as_bytes()).await;
        assert_eq!((refused.code(422).as_str(), refused.pointers()), ("invalid_request", vec!["/columns/QQQ".to_owned()]));
        let report = app.rate_file("source=ecb&keep_going=true", unknown.as_bytes()).await.expect(200);
        assert_eq!((counts(&report), &report["unknown_currencies"]), ([0, 1, 0, 0, 0], &json!(["QQQ"])));
        for (query, text, said) in [
            ("source=x", "date,close\n2026-10-28,1\n", "unknown_currency"),
            ("source=x", "close,date\n", "no time column"),
            ("source=x", "date,USD,USD\n", "more than one column"),
            ("source=x&base=USD", "date,USD\n", "which is the base"),
            ("source=x&base=ZZZ", "date,USD\n2026-10-28,1\n", "unknown_currency"),
            ("source=x&format=csv", TABLE, "format"),
            ("source=x&tz=Mars", TABLE, "tz"),
            ("source=x&zzz=1", TABLE, "zzz"),
            ("source=x", "", "empty"),
        ] {
            let reply = app.rate_file(query, text.as_bytes()).await;
            assert_eq!(reply.code(422), "invalid_request", "{query}");
            let body = reply.json().to_string();
            assert!(body.contains(said), "{said}: {body}");
        }
        app.stop().await;
    }

    async fn a_rate_that_leads_nowhere_is_not_found_and_one_is_not_a_history(backend) {
        let app = TestApp::start(backend).await;
        app.rate_file("source=ecb", TABLE.as_bytes()).await.expect(200);
        assert_eq!(app.rate_at("USD", "CHF", "2026-10-29").await.code(404), "rate_not_found");
        assert_eq!(app.rate_at("USD", "SEK", "2026-10-30").await.code(404), "rate_not_found");
        let known = "/fx?base=EUR&quote=USD&as_of=2026-10-30&known_at=2026-11-23T11:59:59Z";
        assert_eq!(app.get(known).await.code(404), "rate_not_found");
        for (query, parameter) in [
            ("&as_of=2026-10-30&limit=1", "limit"), ("&as_of=2026-10-30&from=2026-10-01", "from"), ("&as_of=yesterday", "as_of"),
        ] {
            let reply = app.get(&format!("/fx?base=EUR&quote=USD{query}")).await;
            assert_eq!((reply.code(422), reply.pointers()), ("invalid_request".to_owned(), vec![parameter.to_owned()]));
        }
        app.stop().await;
    }

    #[ignore = "needs ../shared"]
    async fn the_real_file_gives_every_rate_as_fractions_do(backend) {
        let app = TestApp::start(backend).await;
        let golden: Value = serde_json::from_str(include_str!("../../golden/ecb_rates.json")).unwrap();
        let file = std::fs::read(shared().join("data/ecb_eurofxref_1d.csv")).unwrap();
        let report = app.rate_file("source=ecb", &file).await.expect(200);
        let (cells, absent) = (golden["cells"].as_u64().unwrap(), golden["absent"].as_u64().unwrap());
        assert_eq!(counts(&report), [cells, 0, 0, absent, 0]);
        assert_eq!(counts(&app.rate_file("source=ecb", &file).await.expect(200)), [0, cells, 0, absent, 0]);
        for ask in golden["asks"].as_array().unwrap() {
            let text = |name: &str| ask[name].as_str().unwrap();
            let reply = app.rate_at(text("base"), text("quote"), text("as_of")).await;
            if ask["rate"].is_null() {
                assert_eq!(reply.code(404), "rate_not_found", "{ask}");
                continue;
            }
            let said = reply.expect(200);
            for name in ["rate", "observed_at", "age", "via"] {
                assert_eq!(said[name], ask[name], "{name}: {ask} {said}");
            }
            let (numerator, denominator) = text("fraction").split_once('/').unwrap();
            let part = |name: &str| decimal(said[name].as_str().unwrap());
            assert_eq!(part("numerator") * decimal(denominator), part("denominator") * decimal(numerator), "{ask} {said}");
            let oldest = said["legs"].as_array().unwrap().iter().map(|leg| leg["timestamp"].clone());
            assert_eq!(oldest.min_by_key(ToString::to_string).unwrap_or(Value::Null), ask["observed_at"], "{said}");
        }
        app.stop().await;
    }
}
