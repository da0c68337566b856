#![cfg(test)]

use super::mapping::{LedgerField as F, Mapping};
use super::{LedgerFormat, ParsedLedger, parse};
use serde_json::{Value, json};

fn parsed(text: &str, mapping: &Mapping) -> ParsedLedger {
    parse(text.as_bytes(), None, mapping).unwrap()
}

fn error(text: &str, mapping: &Mapping) -> String {
    parse(text.as_bytes(), None, mapping).unwrap_err().to_string()
}

/// Each row as JSON, or the fields at fault with their codes.
fn rows(parsed: &ParsedLedger) -> Vec<Value> {
    let shown = |row: &super::LedgerRow| match &row.fields {
        Ok(text) => serde_json::from_str(text).unwrap(),
        Err(faults) => {
            let said = faults.iter().map(|f| format!("{} {}", f.field.as_deref().unwrap_or("row"), f.code));
            json!([row.row, said.collect::<Vec<_>>().join(", ")])
        }
    };
    parsed.rows.iter().map(shown).collect()
}

fn columns(pairs: &[(F, &[&str])]) -> Mapping {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Mapping {
        columns: pairs.iter().map(|(field, names)| (*field, owned(names))).collect(),
        ..Mapping::default()
    }
}

fn values(field: F, pairs: &[(&str, Option<&str>)]) -> Mapping {
    let owned = pairs.iter().map(|(from, to)| ((*from).to_owned(), to.map(str::to_owned)));
    Mapping { values: [(field, owned.collect())].into(), ..Mapping::default() }
}

#[test]
fn our_own_names_need_no_mapping_and_neither_do_common_others() {
    let file = parsed(
        "type,executed_at,symbol,quantity,price,fee,note,external_id\nbuy,2026-01-02,GOLD,10,100.50,,\"a, b\",t-1\n",
        &Mapping::default(),
    );
    let buy = json!({"type":"buy","executed_at":"2026-01-02","symbol":"GOLD","quantity":"10","price":"100.50",
        "note":"a, b","external_id":"t-1"});
    assert_eq!((file.format, rows(&file)), (LedgerFormat::Csv, vec![buy]));
    let file = parsed(
        "Trade Date;Action;Ticker;Shares;Unit Price;Commission;Comment;Broker\n2026-01-02T10:00:00+01:00;Bought;GOLD;10;100;1;;x\n",
        &Mapping::default(),
    );
    let buy = json!({"type":"buy","executed_at":"2026-01-02T09:00:00.000000Z","symbol":"GOLD","quantity":"10",
        "price":"100","fee":"1"});
    assert_eq!((rows(&file), &file.unused_columns), (vec![buy], &vec!["Broker".to_owned()]));
    assert_eq!(file.columns[&F::Quantity], ["Shares"]);
}

#[test]
fn columns_constants_and_values_are_mapped() {
    let mapping = Mapping {
        constants: [(F::Account, "ibkr".to_owned())].into(),
        values: values(F::Type, &[("KAUF", Some("buy")), ("Saldo", None)]).values,
        leave_out: [(artifact_type("buy"), vec![F::Amount])].into(),
        date_format: Some("%d.%m.%Y %H:%M".to_owned()),
        time_zone: Some(chrono_tz::Tz::Europe__Zurich),
        decimal_comma: true,
        thousands: Some('.'),
        ..columns(&[
            (F::ExecutedAt, &["Datum", "Zeit"]),
            (F::Type, &["Art"]),
            (F::Quantity, &["Stk"]),
            (F::Note, &[]),
        ])
    };
    let text = "Datum;Zeit;Art;Symbol;Stk;Price;Amount;Note\n02.07.2026;09:30;KAUF;GOLD;1.000;1.234,50;-1.234.500;n\n\
        03.07.2026;10:00;Saldo;;;;5;\n";
    let file = parsed(text, &mapping);
    let buy = json!({"type":"buy","executed_at":"2026-07-02T07:30:00.000000Z","account":"ibkr","symbol":"GOLD",
        "quantity":"1000","price":"1234.50"});
    assert_eq!((rows(&file), file.passed_over), (vec![buy], 1));
    assert_eq!(file.unused_columns, ["Note"]);
}

fn artifact_type(name: &str) -> crate::domain::transaction::TransactionType {
    crate::domain::transaction::TransactionType::from_name(name).unwrap()
}

#[test]
fn the_sign_of_a_quantity_or_an_amount_tells_the_way_when_the_mapping_says_so() {
    let mapping = Mapping { signed: true, ..Mapping::default() };
    let text = "date,type,symbol,quantity,price,amount,fee\n2026-01-02,,GOLD,5,1,,-1\n2026-01-03,,GOLD,-5,1,,0\n\
        2026-01-04,buy,GOLD,-5,1,,\n2026-01-05,deposit,,,,-7,\n2026-01-06,interest,,,,-2,\n2026-01-07,fee,,,,-3,\n\
        2026-01-08,withdrawal,,,,+4,\n";
    let said: Vec<String> = rows(&parsed(text, &mapping))
        .iter()
        .map(|row| {
            let part = |name: &str| row[name].as_str().unwrap_or("-").to_owned();
            [part("type"), part("quantity"), part("amount"), part("fee")].join(" ")
        })
        .collect();
    let wanted = [
        "buy 5 - 1",
        "sell 5 - 0",
        "sell 5 - -",
        "withdrawal - 7 -",
        "interest - -2 -",
        "fee - 3 -",
        "withdrawal - 4 -",
    ];
    assert_eq!(said, wanted);
    assert!(error("date,quantity\n2026-01-02,1\n", &Mapping::default()).starts_with("no column for type"));
}

#[test]
fn what_other_programs_write_elsewhere_is_put_in_its_place() {
    let text = "date,action,code,quantity,price,fee,currency\n2026-01-02,dividend,GOLD,5,0.62,0,USD\n\
        2026-01-03,fee,,0,0,49,USD\n2026-01-04,deposit,,0,0,0,USD\n2026-01-05,split,GOLD,0,0,0,USD\n";
    let file = parsed(text, &Mapping::default());
    assert_eq!(
        rows(&file),
        [
            json!({"type":"dividend","executed_at":"2026-01-02","symbol":"GOLD","amount":"3.1","currency":"USD","fee":"0"}),
            json!({"type":"fee","executed_at":"2026-01-03","amount":"49","currency":"USD"}),
            json!({"type":"deposit","executed_at":"2026-01-04","currency":"USD","fee":"0"}),
            json!({"type":"split","executed_at":"2026-01-05","symbol":"GOLD"}),
        ]
    );
    let long = "date,type,symbol,quantity,price\n2026-01-02,dividend,GOLD,0.123456789012345678,0.1\n";
    assert_eq!(rows(&parsed(long, &Mapping::default())), [json!([2, "amount too_many_digits"])]);
}

#[test]
fn wrong_cells_are_refused_by_line_and_field() {
    let text = "date,type,quantity,price,lots,opens_short\n2026-01-02,buy,\"1,5\",+2,x,yes\n,buy,1,1,,\n\
        02.01.2026,buy,1,1,,\n2026-01-02 10:00:00,buy,1,1,,\n2026-01-02,buy,1\n2026-01-02,\"b\"uy,1,1,,\n";
    let said = rows(&parsed(text, &Mapping::default()));
    assert_eq!(
        said,
        [
            json!([2, "quantity not_a_number, price not_a_number"]),
            json!([3, "executed_at required"]),
            json!([4, "executed_at not_a_time"]),
            json!([5, "executed_at time_without_zone"]),
            json!([6, "row wrong_cell_count"]),
            json!([7, "row malformed_quotes"]),
        ]
    );
    let text = "date,type,lots,opens_short\n2026-01-02,sell,x,yes\n";
    let said = rows(&parsed(text, &Mapping::default()));
    assert_eq!(said, [json!([2, "lots malformed_json, opens_short wrong_type"])]);
    let grouped = Mapping { thousands: Some(','), ..Mapping::default() };
    let said = rows(&parsed("date,type,quantity\n2026-01-02,buy,\"1,00\"\n", &grouped));
    assert_eq!(said, [json!([2, "quantity not_a_number"])]);
}

#[test]
fn a_file_in_doubt_is_refused_whole() {
    let none = Mapping::default();
    assert_eq!(error("", &none), "the file is empty");
    assert!(error("date,time,type\n", &none).contains("`date`, `time` could each be executed_at"));
    assert!(error("when,type\n", &none).starts_with("no column for executed_at among `when`"));
    assert!(
        error("date,type\n", &columns(&[(F::Price, &["cost"])]))
            .contains("names the column `cost` for price")
    );
    assert!(
        error("{\"type\":\"buy\"}\n", &columns(&[(F::Price, &["cost"])])).starts_with("a mapping of columns")
    );
    let wrong = parse(b"{}", Some(LedgerFormat::Ghostfolio), &none).unwrap_err().to_string();
    assert!(wrong.starts_with("the file is no Ghostfolio export"), "{wrong}");
    assert!(parse(b"a,b\n\xff\n", None, &none).unwrap_err().to_string().starts_with("line 2 is not UTF-8"));
}

#[test]
fn an_apostrophe_before_a_formula_is_taken_away_and_other_text_is_kept_to_the_letter() {
    let text = "date,type,amount,external_id,note\n2026-01-02,deposit,1,'-7,'=1+1\n2026-01-03,deposit,1,''s,'tis\n\
        2026-01-04,deposit,1,a,\" two  blanks \"\n";
    let said: Vec<Value> = rows(&parsed(text, &Mapping::default()))
        .iter()
        .map(|row| json!([row["external_id"], row["note"]]))
        .collect();
    assert_eq!(said, [json!(["-7", "=1+1"]), json!(["'s", "'tis"]), json!(["a", " two  blanks "])]);
}

#[test]
fn an_export_of_everything_gives_its_entries() {
    let text = "{\"kind\":\"portfolio\",\"id\":\"x\"}\n\
        {\"kind\":\"transaction\",\"id\":\"a\",\"type\":\"deposit\",\"amount\":\"1.50\",\"recorded_at\":\"z\"}\n\n\
        {\"kind\":\"asset\",\"symbol\":\"GOLD\",\"name\":\"Gold\",\"asset_type\":\"COMMODITY\",\"currency\":\"USD\"}\n\
        {\"type\":\"deposit\",\"amount\":2}\n{\"kind\":\"lot\"}\n{\"kind\":\"pnl\"}\n{\"kind\":\"thing\"}\n{broken\n[1]\n";
    let file = parsed(text, &Mapping::default());
    assert_eq!(
        rows(&file),
        [
            json!({"type":"deposit","amount":"1.50"}),
            json!({"type":"deposit","amount":2}),
            json!([8, "kind unknown_value"]),
            json!([9, "row malformed_json"]),
            json!([10, "row malformed_json"]),
        ]
    );
    assert_eq!((file.format, file.passed_over), (LedgerFormat::Ndjson, 4));
    assert_eq!(file.rows[0].id.as_deref(), Some("a"));
    assert_eq!(file.profiles[0].name.as_deref(), Some("Gold"));
}

/// In the form of `test/import/ok/sample.json`, `test/import/ok.json` and `test/import/ok/derived-currency.json` of
/// ghostfolio/ghostfolio.
const GHOSTFOLIO: &str = r#"{
  "meta": {"date": "2026-02-05T00:00:00.000Z", "version": "2.200.0"},
  "accounts": [{"balance": 2000, "currency": "USD", "id": "b2d3fe1d", "isExcluded": false, "name": "Trading", "platformId": null}],
  "assetProfiles": [
    {"assetClass": null, "currency": "USD", "dataSource": "MANUAL", "name": "Account Opening Fee", "symbol": "14a69cb9-1e31-43fa-b320-83703d8ed74b"},
    {"assetClass": "ALTERNATIVE_INVESTMENT", "currency": "USD", "dataSource": "MANUAL", "name": "Penthouse Apartment", "symbol": "7e91b7d4-1430-4212-8380-289a06c9bbc1"}
  ],
  "activities": [
    {"accountId": "b2d3fe1d", "comment": null, "fee": 49, "quantity": 0, "type": "FEE", "unitPrice": 0, "currency": "USD", "dataSource": "MANUAL", "date": "2021-09-01T00:00:00.000Z", "symbol": "14a69cb9-1e31-43fa-b320-83703d8ed74b", "tags": []},
    {"id": "g-1", "accountId": "b2d3fe1d", "comment": "first 🤓", "fee": 19, "quantity": 5, "type": "BUY", "unitPrice": 298.58, "currency": "USD", "dataSource": "YAHOO", "date": "2021-09-16T09:30:00.123Z", "symbol": "msft"},
    {"accountId": null, "fee": 0, "quantity": 5, "type": "DIVIDEND", "unitPrice": 0.62, "dataSource": "YAHOO", "date": "2021-11-17T00:00:00.000Z", "SymbolProfile": {"symbol": "MSFT", "currency": "USD", "assetSubClass": "STOCK"}},
    {"fee": 0, "quantity": 1, "type": "ITEM", "unitPrice": 5e5, "currency": "USD", "dataSource": "MANUAL", "date": "2022-01-01T00:00:00.000Z", "symbol": "7e91b7d4-1430-4212-8380-289a06c9bbc1"},
    {"fee": 0.5, "quantity": 1, "type": "INTEREST", "unitPrice": 12.25, "currency": "CHF", "dataSource": "MANUAL", "date": "2022-02-01T00:00:00.000Z", "symbol": "Savings"},
    {"fee": 0, "quantity": 1, "type": "LIABILITY", "unitPrice": 1000, "currency": "USD", "dataSource": "MANUAL", "date": "2022-02-02", "symbol": "Loan"},
    {"fee": "x", "quantity": 5, "type": "SELL", "unitPrice": 10875.00, "currency": "ZAc", "dataSource": "YAHOO", "symbol": "JSE.JO"},
    7
  ]}"#;

#[test]
fn a_ghostfolio_export_is_read_through_its_versions() {
    let file = parsed(GHOSTFOLIO, &Mapping::default());
    assert_eq!(file.format, LedgerFormat::Ghostfolio);
    assert_eq!(
        rows(&file),
        [
            json!({"type":"fee","executed_at":"2021-09-01","account":"Trading","amount":"49","currency":"USD",
                "note":"Account Opening Fee"}),
            json!({"type":"buy","executed_at":"2021-09-16T09:30:00.123Z","account":"Trading","symbol":"MSFT","quantity":"5",
                "price":"298.58","fee":"19","currency":"USD","note":"first 🤓"}),
            json!({"type":"dividend","executed_at":"2021-11-17","symbol":"MSFT","amount":"3.1","fee":"0","currency":"USD"}),
            json!({"type":"buy","executed_at":"2022-01-01","symbol":"PENTHOUSE-APARTMENT","quantity":"1","price":"500000",
                "fee":"0","currency":"USD"}),
            json!({"type":"interest","executed_at":"2022-02-01","amount":"12.25","fee":"0.5","currency":"CHF","note":"Savings"}),
            json!([6, "type no_counterpart"]),
            json!([7, "fee not_a_number, date required"]),
            json!([8, "row wrong_type"]),
        ]
    );
    assert_eq!(file.rows[1].id.as_deref(), Some("g-1"));
    let msft = file.profiles.iter().find(|profile| profile.symbol == "MSFT").unwrap();
    assert_eq!((msft.asset_type.as_deref(), msft.currency.as_deref()), (Some("STOCK"), Some("USD")));
    // The first versions called the activities orders.
    let old = GHOSTFOLIO.replace("\"activities\"", "\"orders\"");
    assert_eq!(rows(&parsed(&old, &Mapping::default())), rows(&file));
    let mapping = Mapping {
        values: [
            (F::Symbol, [("msft".to_owned(), Some("MSFT.US".to_owned()))].into()),
            (F::Type, [("LIABILITY".to_owned(), None)].into()),
            (F::Account, [("Trading".to_owned(), Some("ibkr".to_owned()))].into()),
        ]
        .into(),
        ..Mapping::default()
    };
    let file = parsed(GHOSTFOLIO, &mapping);
    assert_eq!((&rows(&file)[1]["symbol"], &rows(&file)[1]["account"]), (&json!("MSFT.US"), &json!("ibkr")));
    assert_eq!((file.passed_over, file.rows.len()), (1, 7));
}

#[test]
fn a_file_is_read_or_refused_however_odd_it_is() {
    let files = [
        "date,type,symbol,quantity,price,fee,currency,note\n2024-01-02,BUY,GOLD,10,2050.10,1.5,USD,\"a, b\"\n2024-01-03,dividend,GOLD,,,,USD,\n",
        "Datum;Typ;Wert\n02.01.2024;Kauf;-1.234,56\n",
        "{\"type\":\"DEPOSIT\",\"amount\":\"1000\",\"executed_at\":\"2024-01-02T00:00:00Z\"}\n{\"id\":\"x\",\"type\":\"BUY\"}\n",
        "{\"activities\":[{\"accountId\":null,\"comment\":null,\"fee\":0,\"quantity\":5,\"type\":\"BUY\",\"unitPrice\":1.5,\"currency\":\"USD\",\"dataSource\":\"YAHOO\",\"date\":\"2024-01-02T00:00:00.000Z\",\"symbol\":\"AAPL\"}]}",
    ];
    let mappings = [Mapping::default(), columns(&[(F::Amount, &["Wert"]), (F::Type, &["Typ"])])];
    crate::domain::hammer::hammer(&files, |file| {
        for mapping in &mappings {
            let Ok(parsed) = parse(file, None, mapping) else { continue };
            assert!(parsed.rows.is_sorted_by(|one, next| one.row < next.row));
            for row in &parsed.rows {
                match &row.fields {
                    Ok(text) => {
                        let raw = serde_json::from_str::<&serde_json::value::RawValue>(text).unwrap();
                        assert!(raw.get().starts_with('{'), "{text}");
                    }
                    Err(faults) => assert!(!faults.is_empty()),
                }
            }
        }
    });
}
