//! Records of sources in files, over the API.

use crate::on_both;
use crate::support::TestApp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

async fn import(app: &TestApp, query: &str, table: &str) -> crate::support::Reply {
    app.send(
        "POST",
        &format!("/prices/import?symbol=GOLD&{query}"),
        &[("content-type", "text/csv")],
        table.as_bytes(),
    )
    .await
}

/// An error about damaged records names the source and the file, and no place on the machine.
fn tells_no_path(app: &TestApp, said: &str) {
    assert!(said.contains("`records.json` of the source `desk`"), "{said}");
    assert!(!said.contains(app.location.directory().to_str().unwrap()), "{said}");
}

on_both! {
    async fn what_an_import_saves_is_merged_and_described(backend) {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("0").await;
        assert_eq!(app.get("/ingest/sources").await.expect(200), json!([]));
        let first = "time,price\n2026-01-06,2011.50\n2026-01-05,2010.10\n";
        let report = import(&app, "source=desk&interval=1d&save_records=true", first).await.expect(200);
        assert_eq!(report["records"], json!({ "count": 2, "error": null }));
        // Without the wish nothing is kept in files.
        assert_eq!(import(&app, "source=other", first).await.expect(200)["records"], Value::Null);
        let second = "time,price\n2026-01-06,2012\n2026-01-07,2013\n";
        assert_eq!(import(&app, "source=desk&interval=1d&save_records=true", second).await.expect(200)["records"]["count"], 3);
        assert_eq!(app.get("/ingest/sources").await.expect(200), json!(["desk"]));
        let reply = app.get("/ingest/sources/desk/records").await;
        assert_eq!(reply.headers["content-disposition"], "attachment; filename=\"desk.json\"");
        assert_eq!(reply.text(), "[\n\
            {\"timestamp\":\"2026-01-05T00:00:00.000000Z\",\"ticker\":\"GOLD\",\"interval\":\"1d\",\"close\":2010.10},\n\
            {\"timestamp\":\"2026-01-06T00:00:00.000000Z\",\"ticker\":\"GOLD\",\"interval\":\"1d\",\"close\":2012},\n\
            {\"timestamp\":\"2026-01-07T00:00:00.000000Z\",\"ticker\":\"GOLD\",\"interval\":\"1d\",\"close\":2013}\n]\n");
        let manifest = app.get("/ingest/sources/desk/manifest").await.expect(200);
        let hash = Sha256::digest(&reply.body).iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        });
        assert_eq!((&manifest["sha256"], &manifest["count"]), (&json!(hash), &json!(3)));
        assert_eq!(manifest["last_ingest_timestamp"], "2026-01-07T00:00:00.000000Z");
        app.stop().await;
    }

    async fn damaged_records_are_told_by_source_and_file_and_given_out_to_nobody(backend) {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("0").await;
        let table = "time,price\n2026-01-06,2011.50\n2026-01-05,2010.10\n";
        import(&app, "source=desk&save_records=true", table).await.expect(200);
        let file = app.location.directory().join("ingest/desk/records.json");
        let good = std::fs::read(&file).unwrap();
        let edited = String::from_utf8(good.clone()).unwrap().replace("2010.10", "9010.10").into_bytes();
        for bad in [good[..good.len() / 2].to_vec(), edited, b"not JSON".to_vec(), Vec::new()] {
            std::fs::write(&file, &bad).unwrap();
            for path in ["records", "manifest"] {
                let reply = app.get(&format!("/ingest/sources/desk/{path}")).await;
                assert_eq!(reply.code(500), "records_damaged", "{path}");
                tells_no_path(&app, reply.json()["detail"].as_str().unwrap());
            }
            // The rows are in the database all the same, and the file is left alone.
            let report = import(&app, "source=desk&save_records=true", table).await.expect(200);
            assert_eq!((&report["duplicate"], &report["records"]["count"]), (&json!(2), &Value::Null));
            tells_no_path(&app, report["records"]["error"].as_str().unwrap());
            assert_eq!(std::fs::read(&file).unwrap(), bad);
        }
        // Moved away, it is written anew.
        std::fs::remove_file(&file).unwrap();
        import(&app, "source=desk&save_records=true", table).await.expect(200);
        assert_eq!(app.get("/ingest/sources/desk/records").await.body, good);
        // What the file system refuses is told without a path, too.
        std::fs::remove_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file.parent().unwrap(), "").unwrap();
        let report = import(&app, "source=desk&save_records=true", table).await.expect(200);
        let said = report["records"]["error"].as_str().unwrap();
        assert!(said.contains("`desk`") && !said.contains(app.location.directory().to_str().unwrap()), "{said}");
        app.stop().await;
    }

    async fn a_name_that_is_a_path_is_refused_before_anything_is_stored(backend) {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("0").await;
        let table = "time,price\n2026-01-06,2011.50\n";
        for name in ["..", "..%2Fx", "a%2Fb", ".x", "a%20b"] {
            let refused = import(&app, &format!("source={name}&save_records=true"), table).await;
            assert_eq!((refused.code(422).as_str(), refused.pointers()), ("invalid_request", vec!["source".to_owned()]), "{name}");
            assert_eq!(app.get(&format!("/ingest/sources/{name}/records")).await.status.as_u16(), 404, "{name}");
        }
        assert_eq!(app.get("/prices?symbol=GOLD").await.expect(200), json!([]));
        app.stop().await;
    }
}
