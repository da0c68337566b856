//! Feeds with a mapping, over HTTP, over a WebSocket and out of a folder.

use super::replay::{Rest, Stage, Step, good, say};
use super::{assets, points, until};
use crate::on_both;
use crate::support::{Scratch, TestApp, feeds_of};
use serde_json::json;
use std::io::Write as _;

const RUN: &str = "/ingest/feeds/desk/run";

/// Moment and price of each point of a symbol.
async fn prices(app: &TestApp, symbol: &str) -> Vec<(String, String)> {
    let rows = points(app, symbol, "source=desk").await;
    rows.into_iter().map(|[at, price, ..]| (at, price)).collect()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(at, price)| (format!("2023-11-14T22:{at}.000000Z"), (*price).to_owned())).collect()
}

on_both! {
    async fn pages_of_json_are_asked_for_and_stored_with_their_digits(backend) {
        let rest = Rest::start(|path, _| {
            if path.contains("page=two") {
                good(r#"{"data":[{"t":1700000160,"c":"37001.50"}]}"#)
            } else {
                good(r#"{"data":[{"t":1700000040,"c":37000.10},{"t":1700000100,"c":null}],"next":"two"}"#)
            }
        }).await;
        let configuration = format!(
            "[[feeds]]\nname = \"desk\"\nkind = \"http_json\"\nenabled = false\nallow_private = true\n\
             url = \"{}/v1?s={{symbol}}&from={{since:unix}}&key=${{secret:TEST_KEY}}\"\nsince = \"2023-11-14T00:00:00Z\"\n\
             symbols = {{ \"BTC-USD\" = \"BTC/USD\" }}\npage = {{ next = \"/next\", param = \"page\" }}\n\
             headers = {{ Authorization = \"Bearer ${{secret:TEST_KEY}}\" }}\n\
             [feeds.rows]\nat = \"/data\"\n[feeds.map]\nts = {{ at = \"/t\", unit = \"s\" }}\nclose = \"/c\"\n", rest.url());
        let app = TestApp::start_configured(backend, &configuration).await;
        assets(&app, &["BTC-USD"]).await;
        let report = app.post(RUN, &json!({})).await.expect(200);
        assert_eq!((&report["stored"], &report["refused"]), (&json!(2), &json!(0)), "{report}");
        assert_eq!(prices(&app, "BTC-USD").await, pairs(&[("14:00", "37000.10"), ("16:00", "37001.50")]));
        assert_eq!(rest.asked(), [
            "/v1?s=BTC%2FUSD&from=1699920000&key=0123456789abcdef",
            "/v1?s=BTC%2FUSD&from=1699920000&key=0123456789abcdef&page=two",
        ]);
        // From where it stopped; and its secret is nowhere.
        app.post(RUN, &json!({})).await.expect(200);
        assert!(rest.asked()[2].contains("from=1700000160"), "{:?}", rest.asked());
        assert!(!app.get("/ingest/feeds").await.text().contains("0123456789abcdef"));
    }

    async fn a_provider_that_refuses_is_told_in_its_words_and_a_wrong_body_by_its_pointer(backend) {
        let rest = Rest::start(|path, _| {
            if path.contains("AAA") { good(r#"{"status":"error","message":"no such symbol"}"#) } else { good(r#"{"status":"ok","data":[[1,"x"]]}"#) }
        }).await;
        let configuration = format!(
            "[[feeds]]\nname = \"desk\"\nkind = \"http_json\"\nenabled = false\nallow_private = true\n\
             url = \"{}/{{symbol}}\"\nsymbols = [\"AAA\", \"BBB\"]\nok = {{ pointer = \"/status\", equals = \"ok\" }}\n\
             error = {{ message = \"/message\" }}\n\
             [feeds.rows]\nat = \"/data\"\n[feeds.map]\nts = {{ at = \"/0\", unit = \"s\" }}\nclose = \"/1\"\n", rest.url());
        let app = TestApp::start_configured(backend, &configuration).await;
        assets(&app, &["AAA", "BBB"]).await;
        let report = app.post(RUN, &json!({})).await.expect(200);
        assert!(report["error"].as_str().unwrap().contains("no such symbol"), "{report}");
        assert_eq!(rest.asked().len(), 2);
    }

    async fn frames_of_a_stream_are_told_apart_by_symbol(backend) {
        let frames = say([
            r#"{"channel":"status"}"#,
            r#"{"channel":"trade","data":[{"symbol":"BTC/USD","price":105944.20,"time":"2023-11-14T22:14:00Z"}]}"#,
            r#"{"channel":"trade","data":[{"symbol":"ETH/USD","price":"2000.5","time":"2023-11-14T22:15:00Z"},{"symbol":"X","price":1,"time":"2023-11-14T22:15:00Z"}]}"#,
        ]);
        let script = [vec![Step::Hear("subscribe")], frames, vec![Step::Hold]].concat();
        let stage = Stage::start(vec![script]).await;
        let configuration = format!(
            "[[feeds]]\nname = \"desk\"\nkind = \"ws_json\"\nenabled = false\nallow_private = true\nurl = \"{}/v2\"\n\
             symbols = {{ \"BTC-USD\" = \"BTC/USD\", \"ETH-USD\" = \"ETH/USD\" }}\n\
             subscribe = '{{\"op\":\"subscribe\",\"args\":\"{{symbols}}\"}}'\n\
             select = {{ pointer = \"/channel\", equals = \"trade\" }}\nrows = \"/data\"\n\
             [feeds.map]\nts = {{ at = \"/time\", unit = \"rfc3339\" }}\nclose = \"/price\"\nsymbol = \"/symbol\"\n", stage.url());
        let app = TestApp::start_configured(backend, &configuration).await;
        assets(&app, &["BTC-USD", "ETH-USD"]).await;
        app.post("/ingest/feeds/desk/start", &json!({})).await.expect(200);
        until(&app, "desk", |feed| feed["counts"]["stored"] == 2).await;
        assert_eq!(prices(&app, "BTC-USD").await, pairs(&[("14:00", "105944.20")]));
        assert_eq!(prices(&app, "ETH-USD").await, pairs(&[("15:00", "2000.5")]));
        assert_eq!(stage.heard()[..2], ["/v2", r#"{"op":"subscribe","args":"BTC/USD,ETH/USD"}"#]);
    }

    async fn a_folder_is_read_on_as_its_files_grow_turn_over_and_shrink(backend) {
        let folder = Scratch::new();
        let configuration = format!(
            "[[feeds]]\nname = \"desk\"\nkind = \"file\"\nenabled = false\nformat = \"csv\"\npath = \"{}\"\n\
             pattern = \"{{symbol}}*.csv\"\nsymbols = {{ \"BTC-USD\" = \"btc\", \"ETH-USD\" = \"eth\" }}\n\
             [feeds.map]\nts = {{ at = \"t\", unit = \"s\" }}\nclose = \"c\"\n", folder.0.display());
        let app = TestApp::start_configured(backend, &configuration).await;
        assets(&app, &["BTC-USD", "ETH-USD"]).await;
        let (btc, eth) = (folder.0.join("btc.csv"), folder.0.join("eth-2023.csv"));
        let append = |text: &str| {
            let mut file = std::fs::File::options().append(true).create(true).open(&btc).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        };
        // The machine's time is far from the test's: files count as at rest only when they are older.
        let run = async || app.post(RUN, &json!({})).await.expect(200)["stored"].as_u64().unwrap();
        append("t,c\n1700000040,1.10\n1700000100,2");
        std::fs::write(&eth, "t,c\n1700000040,9\nbroken\n1700000100,x\n1700000160,8\n").unwrap();
        std::fs::write(folder.0.join("other.txt"), "t,c\n1700000040,5\n").unwrap();
        app.clock.set(artifact::clock::Clock::system().now());
        assert_eq!(run().await, 3);
        assert_eq!(prices(&app, "BTC-USD").await, pairs(&[("14:00", "1.10")]));
        assert_eq!(prices(&app, "ETH-USD").await, pairs(&[("14:00", "9"), ("16:00", "8")]));
        let feed = app.get("/ingest/feeds/desk").await.expect(200);
        assert_eq!(feed["counts"]["malformed"], 2, "{feed}");
        assert!(feed["note"].as_str().unwrap().starts_with("eth-2023.csv: line 3"), "{feed}");
        // The line is whole now, and there is another.
        append(".50\n1700000160,3\n");
        assert_eq!(run().await, 2);
        assert_eq!(run().await, 0);
        // Turned over: the old one keeps its place under another name, the new one begins anew.
        std::fs::rename(&btc, folder.0.join("btc.1.csv")).unwrap();
        append("t,c\n1700000220,4\n");
        assert_eq!(run().await, 1);
        // Cut off and written again, by the same file.
        let file = std::fs::File::options().write(true).open(&btc).unwrap();
        file.set_len(0).unwrap();
        append("t,c\n1700000280,5\n");
        assert_eq!(run().await, 1);
        let wanted = pairs(&[("14:00", "1.10"), ("15:00", "2.50"), ("16:00", "3"), ("17:00", "4"), ("18:00", "5")]);
        assert_eq!(prices(&app, "BTC-USD").await, wanted);
        // What was read is known after a restart.
        let app = app.restart().await;
        let again = app.post(RUN, &json!({})).await.expect(200);
        assert_eq!((&again["stored"], &again["duplicate"]), (&json!(0), &json!(0)), "{again}");
    }
}

#[test]
fn a_wrong_feed_is_told_by_its_key_and_the_rule() {
    let said = |text: &str| {
        let text = format!("[[feeds]]\nname = \"x\"\n{text}");
        std::panic::catch_unwind(|| feeds_of(&text)).map_or_else(
            |error| error.downcast_ref::<String>().cloned().unwrap_or_default(),
            |feeds| panic!("{feeds:?}"),
        )
    };
    let map = "[feeds.map]\nts = { at = \"/t\", unit = \"s\" }\nclose = \"/c\"\n";
    for (text, wanted) in [
        ("kind = \"http_json\"\nurl = \"https://h/{symbol}\"\n".to_owned() + map, "feeds.x.symbols"),
        ("kind = \"http_json\"\nsymbols = [\"A\"]\n".to_owned() + map, "feeds.x.url"),
        ("kind = \"http_json\"\nsymbols = [\"A\"]\nurl = \"https://h/{sinc:unix}\"\n".to_owned() + map, "feeds.x.url"),
        ("kind = \"http_json\"\nsymbols = [\"A\"]\nurl = \"ws://h/\"\n".to_owned() + map, "feeds.x.url"),
        ("kind = \"ws_json\"\nsymbols = [\"A\"]\nurl = \"https://h/\"\n".to_owned() + map, "feeds.x.url"),
        ("kind = \"http_json\"\nsymbols = [\"A\"]\nurl = \"https://h/\"\n[feeds.map]\nts = { at = \"/t\", unit = \"sec\" }\nclose = \"/c\"\n".to_owned(), "feeds.x.map.ts.unit"),
        ("kind = \"http_json\"\nsymbols = [\"A\"]\nurl = \"https://h/\"\n".to_owned(), "feeds.x.map"),
        ("kind = \"file\"\nsymbols = [\"A\"]\nformat = \"csv\"\n".to_owned() + map, "feeds.x.path"),
        ("kind = \"file\"\nsymbols = [\"A\"]\npath = \"p\"\nformat = \"xml\"\n".to_owned() + map, "feeds.x.format"),
        ("kind = \"http_json\"\nsymbols = [\"A\"]\nurl = \"https://h/\"\npath = \"p\"\n".to_owned() + map, "feeds.x.path"),
        ("kind = \"http_json\"\nsymbols = [\"A\"]\nurl = \"https://h/\"\nheaders = { A = \"${secret:NONE}\" }\n".to_owned() + map, "feeds.x.headers.A"),
    ] {
        assert!(said(&text).contains(wanted), "{text}: {}", said(&text));
    }
}
