//! Files that are refused as a whole: the answer names what of the request is at fault, and no flag of a command line.

use crate::on_both;
use crate::support::{Reply, TestApp};
use serde_json::json;

/// Where a refused file is at fault, and the code of the rule; what is said of it names no flag.
fn fault(reply: &Reply) -> (String, String) {
    assert_eq!(reply.code(422), "invalid_request");
    let problem = reply.json();
    assert!(!problem.to_string().contains("--"), "{problem}");
    let [fault] = problem["errors"].as_array().unwrap().as_slice() else { panic!("{problem}") };
    assert!(!fault["detail"].as_str().unwrap().is_empty(), "{problem}");
    let place = if fault["parameter"].is_null() { &fault["pointer"] } else { &fault["parameter"] };
    (place.as_str().unwrap().to_owned(), fault["code"].as_str().unwrap().to_owned())
}

async fn sent(app: &TestApp, path: &str, file: &[u8]) -> Reply {
    app.send("POST", path, &[("content-type", "text/csv")], file).await
}

on_both! {
    async fn a_file_of_prices_that_cannot_be_read_is_refused_with_the_parameter_or_line_at_fault(backend) {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("0").await;
        let quotes = "time,bid_close,ask_close\n2026-01-05,1,2\n";
        let cases: [(&str, &str, &str, &str); 13] = [
            ("", "", "", "empty"),
            ("", "a,b\n1,2\n", "map", "missing_column"),
            ("", "time,price,close\n2026-01-05,1,2\n", "map", "ambiguous_column"),
            ("&map=price=last", "time,price\n2026-01-05,1\n", "map", "unknown_column"),
            ("", quotes, "bid_ask", "required"),
            ("&bid_ask=ask", "time,price\n2026-01-05,1\n", "bid_ask", "missing_column"),
            ("&bid_ask=bid", "time,bid,bid_close\n2026-01-05,1,2\n", "bid_ask", "ambiguous_column"),
            ("&bid_ask=mid&map=price=bid_close", quotes, "map", "not_used"),
            ("&bid_ask=mid", "{\"time\":\"2026-01-05\",\"price\":1}\n", "bid_ask", "not_used"),
            ("&stamp=end", "time,price\n2026-01-05,1\n", "interval", "required"),
            ("", "symbol,time,price\nSILVER,2026-01-05,1\n", "symbol", "not_found"),
            ("", "\"time,price\n", "/lines/1", "malformed_quotes"),
            ("&tz=Nowhere", "time,price\n2026-01-05,1\n", "tz", "unknown_zone"),
        ];
        for (query, file, place, rule) in cases {
            let reply = sent(&app, &format!("/prices/import?symbol=GOLD{query}"), file.as_bytes()).await;
            assert_eq!(fault(&reply), (place.to_owned(), rule.to_owned()), "{query} {file}: {}", reply.text());
        }
        let reply = sent(&app, "/prices/import?symbol=GOLD", b"time,price\n2026-01-05,\xff\n").await;
        assert_eq!(fault(&reply), ("/lines/2".to_owned(), "not_utf8".to_owned()));
        // A row says which parameter it lacks.
        let reply = sent(&app, "/prices/import?symbol=GOLD", b"time,price\n2026-01-05 10:00:00,1\n").await;
        assert_eq!(fault(&reply), ("/lines/2/time".to_owned(), "refused_row".to_owned()));
        assert!(reply.text().contains("the parameter `tz`"), "{}", reply.text());
        assert_eq!(app.get("/prices?symbol=GOLD").await.expect(200), json!([]));
        app.stop().await;
    }

    async fn tables_of_rates_and_ledgers_that_cannot_be_read_are_refused_likewise(backend) {
        let app = TestApp::start(backend).await;
        let id = app.gold_and_bitcoin("0").await;
        let rates: [(&str, &str, &str, &str); 5] = [
            ("", "", "", "empty"),
            ("", "Date\n2026-01-05\n", "", "missing_column"),
            ("", "Date,USD,USD\n2026-01-05,1,2\n", "/columns/USD", "repeated_column"),
            ("&base=USD", "Date,USD\n2026-01-05,1\n", "base", "base_is_a_column"),
            ("", "Date,XQZ\n2026-01-05,1\n", "/columns/XQZ", "unknown_currency"),
        ];
        for (query, file, place, rule) in rates {
            let reply = sent(&app, &format!("/fx/import?source=desk{query}"), file.as_bytes()).await;
            assert_eq!(fault(&reply), (place.to_owned(), rule.to_owned()), "{query} {file}: {}", reply.text());
        }
        let mapping = "%7B%22columns%22%3A%7B%22note%22%3A%22Remark%22%7D%7D";
        let ledgers: [(String, &str, &str, &str); 4] = [
            (String::new(), "", "", "empty"),
            (String::new(), "a,b\n1,2\n", "mapping", "missing_column"),
            (format!("?mapping={mapping}"), "type,executed_at\nDEPOSIT,2026-01-05\n", "mapping", "unknown_column"),
            ("?format=ghostfolio".to_owned(), "{}", "", "malformed"),
        ];
        for (query, file, place, rule) in ledgers {
            let reply = sent(&app, &format!("/portfolios/{id}/transactions:import{query}"), file.as_bytes()).await;
            assert_eq!(fault(&reply), (place.to_owned(), rule.to_owned()), "{query} {file}: {}", reply.text());
        }
        let entries = app.get(&format!("/portfolios/{id}/transactions")).await.expect(200);
        assert_eq!(entries.as_array().map(Vec::len), Some(0), "{entries}");
        app.stop().await;
    }
}
