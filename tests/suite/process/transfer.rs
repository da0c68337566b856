//! `artifact ingest` of rates, `artifact import` and `artifact export`, with and without a running service.

use super::{OPEN, Place};
use crate::on_both;
use crate::support::Backend;
use serde_json::{Value, json};

const RATES: &str = "Date,USD,CHF,\n2026-10-30,1.1172,0.9194,\n2026-10-29,1.113,N/A,\n";
const TRADES: &str = "Day;Kind;Ticker;Qty;Px\n02.01.2026;Kauf;GOLD;10;100,5\n03.01.2026;Verkauf;GOLD;4;110\n";
const MAPPING: &str = r#"{
    "columns": { "executed_at": "Day", "type": "Kind", "quantity": "Qty", "price": "Px" },
    "values": { "type": { "Kauf": "buy", "Verkauf": "sell" } },
    "date_format": "%d.%m.%Y", "decimal_comma": true
}"#;

/// A place with GOLD and an empty portfolio `Book`.
async fn with_book(backend: Backend) -> Place {
    let place = Place::new(backend).await;
    place.run(&["seed", "gold-bitcoin"]).ok();
    add_book(&place, "Book").await;
    place
}

async fn add_book(place: &Place, name: &str) {
    let service = place.serve(&OPEN);
    let body = json!({ "name": name, "owner_id": "o", "initial_capital": "0" });
    service.api.post("/portfolios", &body).await.expect(201);
    service.stop();
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

on_both! {
    async fn a_table_of_rates_is_told_from_its_header(backend) {
        let place = Place::new(backend).await;
        let file = place.file("eurofxref.csv", RATES);
        let said = place.run(&["ingest", &file, "--source", "ecb"]).ok();
        assert_eq!(said, format!("{file}: stored 3, duplicate 0, corrected 0, refused 0\n\
            from 2026-10-29T00:00:00.000000Z to 2026-10-30T00:00:00.000000Z\n1 cells without a rate were passed over\n"));
        let again = place.run(&["ingest", &file, "--source", "ecb", "--format", "ecb", "--json"]).json();
        assert_eq!((&again["duplicate"], &again["base"]), (&json!(3), &json!("EUR")));
        let service = place.serve(&OPEN);
        let rate = service.api.get("/fx?base=USD&quote=CHF&as_of=2026-11-01").await.expect(200);
        // 0.9194 / 1.1172 by Python's decimal.
        assert_eq!((&rate["rate"], &rate["via"]), (&json!("0.8229502327246688148943788041532402"), &json!("EUR")));
        service.stop();
        for flags in [["--symbol", "GOLD", "--format", "ecb"], ["--interval", "1d", "--format", "ecb"]] {
            let said = place.run(&[&["ingest", &file, "--source", "ecb"], flags.as_slice()].concat()).failed(2);
            assert!(said.contains("table of exchange rates"), "{said}");
        }
        let prices = place.file("prices.csv", "date,close\n2026-01-01,1\n");
        assert!(place.run(&["ingest", &prices, "--source", "x"]).failed(2).contains("--symbol"));
    }

    async fn a_ledger_goes_in_and_out_through_the_command_line(backend) {
        let place = with_book(backend).await;
        let (file, mapping) = (place.file("trades.csv", TRADES), place.file("broker.json", MAPPING));
        let unmapped = place.run(&["import", &file, "--portfolio", "Book"]).failed(1);
        assert!(unmapped.contains("no column for executed_at"), "{unmapped}");
        let import = ["import", file.as_str(), "--portfolio", "Book", "--mapping", mapping.as_str()];
        let tried = place.run(&[import.as_slice(), &["--dry-run"]].concat()).ok();
        assert_eq!(tried, format!("{file}: would be stored 2, duplicate 0, conflict 0, refused 0\n"));
        assert_eq!(place.run(&import).ok(), format!("{file}: stored 2, duplicate 0, conflict 0, refused 0\n"));
        let again = place.run(&[import.as_slice(), &["--json"]].concat()).json();
        assert_eq!((&again["stored"], &again["duplicate"]), (&json!(0), &json!(2)));
        // What a running service gives is what the closed data gives, but for the moment of the question.
        let out = place.run(&["export", "--portfolio", "Book"]).ok();
        let service = place.serve(&OPEN);
        let served = place.run(&["export", "--portfolio", "Book"]).ok();
        service.stop();
        let kinds = |text: &str| lines(text).iter().map(|line| line["kind"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
        assert_eq!((kinds(&out), kinds(&out)), (kinds(&served), ["portfolio", "transaction", "transaction", "asset", "lot", "pnl", "pnl_item", "price", "end"].map(str::to_owned).to_vec()));
        let csv = place.folder().join("ledger.csv").display().to_string();
        let said = place.run(&["export", "--portfolio", "Book", "--what", "ledger", "--output", &csv]);
        assert!(said.err.contains("ledger.csv: "), "{}", said.err);
        assert!(std::fs::read_to_string(&csv).unwrap().starts_with("id,type,executed_at,"));
        add_book(&place, "Copy").await;
        assert!(place.run(&["import", &csv, "--portfolio", "Copy"]).ok().contains("stored 2"));
        let figures = |name: &str| {
            let text = place.run(&["export", "--portfolio", name, "--what", "pnl", "--as-of", "2026-02-01T00:00:00Z", "--convention", "cost_basis=average"]).ok();
            lines(&text).into_iter().map(|mut line| { for id in ["portfolio_id", "known_at"] { line.as_object_mut().unwrap().remove(id); } line }).collect::<Vec<_>>()
        };
        let (book, copy) = (figures("Book"), figures("Copy"));
        // 4 x 110 - 4 x 100.5
        assert_eq!((&book, &book[0]["realized_pnl"], &book[0]["conventions"]["cost_basis"]), (&copy, &json!("38"), &json!("average")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_imported_or_exported_is_said_in_words() {
    let place = with_book(Backend::Sqlite).await;
    let file = place.file(
        "bad.csv",
        "type,date,symbol,quantity,price\nbuy,2026-01-02,SILVER,1,1\nsell,2026-01-03,GOLD,x,1\nbuy,2026-01-04,GOLD,1,1\n",
    );
    let said = place.run(&["import", &file, "--portfolio", "Book"]).failed(1);
    for wanted in
        ["2 rows are refused", "/lines/2/symbol: Asset not found", "/lines/3/quantity: is not a decimal"]
    {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    let said = place.run(&["import", &file, "--portfolio", "Book", "--dry-run"]);
    for wanted in ["row 2: symbol Asset not found", "row 3: quantity is not a decimal", "--mode partial"] {
        assert!(said.err.contains(wanted), "{wanted}: {}", said.err);
    }
    assert_eq!(said.code, 1);
    let create = ["--mode", "partial", "--create-assets", "--market", "COMEX", "--asset-type", "COMMODITY"];
    let said =
        place.run(&[&["import", file.as_str(), "--portfolio", "Book"], create.as_slice()].concat()).ok();
    assert!(said.contains("stored 2") && said.contains("assets created: SILVER"), "{said}");
    assert!(
        place.run(&["import", &file, "--portfolio", "Nobody"]).failed(1).contains("no portfolio has the id")
    );
    add_book(&place, "Book").await;
    assert!(
        place.run(&["export", "--portfolio", "Book"]).failed(1).contains("2 portfolios are named `Book`")
    );
    let mapping = place.file("m.json", "{");
    let flags = ["import", file.as_str(), "--portfolio", "Book", "--mapping", mapping.as_str()];
    assert!(place.run(&flags).failed(2).contains("is not JSON"));
    add_book(&place, "Other").await;
    let output = place.folder().join("out.ndjson");
    let path = output.display().to_string();
    let said = place.run(&["export", "--portfolio", "Other", "--what", "all", "--output", &path]).failed(1);
    assert!(said.contains("what"), "{said}");
    assert!(!output.exists() && !place.folder().join("out.ndjson.part").exists());
    assert!(
        place
            .run(&["export", "--portfolio", "Other", "--convention", "fees"])
            .failed(2)
            .contains("NAME=VALUE")
    );
}
