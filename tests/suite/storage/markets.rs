//! Markets.

use super::paging::{SEARCHES, assert_pages, found_in};
use super::samples::{NAMES, add_market, c, market, read, shown, uuid};
use crate::on_both;
use crate::support::TestDb;
use artifact::domain::ids::MarketId;
use artifact::domain::market::{Market, MarketStatus, MarketType};
use artifact::storage::error::StorageError;
use artifact::storage::markets::{self, MarketFilter, MarketSort};
use artifact::storage::page::{After, Page};
use chrono::NaiveTime;

async fn add_all(db: &TestDb) -> Vec<Market> {
    let mut rows = Vec::new();
    for (i, name) in NAMES.iter().enumerate() {
        let code = format!("{}{i}", ["B", "a", "É", "A", "b"][i % 5]);
        rows.push(add_market(db, market(&code, name)).await);
    }
    rows
}

async fn codes(db: &TestDb, filter: &MarketFilter) -> Vec<String> {
    let page = Page::first(MarketSort::CreatedAt, 100);
    let rows = markets::list(&mut read(db).await, filter, &page).await.unwrap();
    rows.into_iter().map(|row| row.code).collect()
}

fn cursor(row: &Market, sort: MarketSort) -> After {
    let value = match sort {
        MarketSort::CreatedAt => row.key.0.to_string(),
        MarketSort::Code => row.code.clone(),
        MarketSort::Name => row.name.clone(),
    };
    After { value, key: row.key.0 }
}

on_both! {
    async fn a_market_comes_back_as_it_was_put_in(backend) {
        let db = TestDb::open(backend).await;
        let mut nyse = market("NYSE", "Börse ☃ 東京 'quoted'");
        nyse.market_type = MarketType::DerivativesExchange;
        nyse.status = MarketStatus::PreMarket;
        nyse.time_zone = chrono_tz::Tz::America__New_York;
        nyse.currency = c("GBp");
        nyse.opening_time = NaiveTime::from_hms_opt(9, 30, 0);
        nyse.closing_time = NaiveTime::from_hms_opt(23, 59, 59);
        nyse.trading_days = vec![0, 6];
        nyse.metadata = r#"{"b": 1.50, "a": "é"}"#.to_owned();
        let put = add_market(&db, nyse).await;
        assert_eq!((put.created_at, put.updated_at), (db.clock.now(), db.clock.now()));
        let tx = &mut read(&db).await;
        let by_code = markets::find_by_code(tx, "NYSE").await.unwrap().unwrap();
        let by_id = markets::find_by_id(tx, put.id).await.unwrap().unwrap();
        assert_eq!((shown(&by_code), shown(&by_id)), (shown(&put), shown(&put)));
        assert!(markets::find_by_code(tx, "nyse").await.unwrap().is_none());
        assert!(markets::find_by_id(tx, MarketId(uuid())).await.unwrap().is_none());
    }

    async fn an_update_changes_everything_but_code_and_identity(backend) {
        let db = TestDb::open(backend).await;
        let put = add_market(&db, market("NYSE", "New York")).await;
        let other = add_market(&db, market("LSE", "London")).await;
        let mut change = put.clone();
        change.name = "Renamed".to_owned();
        change.market_type = MarketType::Otc;
        change.status = MarketStatus::Halted;
        change.time_zone = chrono_tz::Tz::Europe__London;
        change.currency = c("EUR");
        change.opening_time = NaiveTime::from_hms_opt(8, 0, 0);
        change.closing_time = NaiveTime::from_hms_opt(16, 30, 0);
        change.trading_days = Vec::new();
        change.metadata = "{\"x\":1}".to_owned();
        let changed = db.write(move |tx| Box::pin(markets::update(tx, change))).await;
        assert_eq!((changed.version, changed.created_at), (2, put.created_at));
        assert!(changed.updated_at > put.updated_at);
        let tx = &mut read(&db).await;
        let read = markets::find_by_id(tx, put.id).await.unwrap().unwrap();
        assert_eq!(shown(&read), shown(&changed));
        let untouched = markets::find_by_id(tx, other.id).await.unwrap().unwrap();
        assert_eq!(shown(&untouched), shown(&other));
    }

    async fn a_second_market_with_a_code_is_refused_and_case_makes_another_code(backend) {
        let db = TestDb::open(backend).await;
        add_market(&db, market("NYSE", "first")).await;
        add_market(&db, market("nyse", "another")).await;
        let again = market("NYSE", "second");
        let refused = db.db.writer().housekeep(move |tx| Box::pin(markets::insert(tx, again))).await;
        assert!(matches!(refused, Err(StorageError::Conflict(_))), "{refused:?}");
        assert_eq!(codes(&db, &MarketFilter::default()).await, ["NYSE", "nyse"]);
    }

    async fn pages_hold_each_market_once_in_every_order(backend) {
        let db = TestDb::open(backend).await;
        add_all(&db).await;
        for sort in [MarketSort::CreatedAt, MarketSort::Code, MarketSort::Name] {
            let list = async |page: &Page<MarketSort>| {
                markets::list(&mut read(&db).await, &MarketFilter::default(), page).await.unwrap()
            };
            assert_pages(sort, cursor, sort == MarketSort::CreatedAt, list).await;
        }
    }

    async fn a_search_takes_its_text_literally_and_ascii_letters_in_any_case(backend) {
        let db = TestDb::open(backend).await;
        let rows = add_all(&db).await;
        for part in SEARCHES.into_iter().chain(["B1", "b1"]) {
            let filter = MarketFilter { text: Some(part.to_owned()), ..MarketFilter::default() };
            let wanted = rows.iter().filter(|row| found_in(&row.name, part) || found_in(&row.code, part));
            let wanted: Vec<String> = wanted.map(|row| row.code.clone()).collect();
            assert_eq!(codes(&db, &filter).await, wanted, "searching for {part}");
        }
    }

    async fn filters_all_hold_at_once(backend) {
        let db = TestDb::open(backend).await;
        for (code, market_type, status) in [
            ("A", MarketType::Otc, MarketStatus::Open),
            ("B", MarketType::Otc, MarketStatus::Closed),
            ("C", MarketType::CryptoExchange, MarketStatus::Closed),
            ("BC", MarketType::Otc, MarketStatus::Closed),
        ] {
            add_market(&db, Market { market_type, status, ..market(code, "-") }).await;
        }
        let filter = |market_type, status, text: Option<&str>| MarketFilter {
            market_type,
            status,
            text: text.map(str::to_owned),
        };
        assert_eq!(codes(&db, &filter(Some(MarketType::Otc), None, None)).await, ["A", "B", "BC"]);
        assert_eq!(codes(&db, &filter(None, Some(MarketStatus::Closed), None)).await, ["B", "C", "BC"]);
        // The search is one condition among others, not an alternative to them.
        let all = filter(Some(MarketType::Otc), Some(MarketStatus::Closed), Some("c"));
        assert_eq!(codes(&db, &all).await, ["BC"]);
        assert!(codes(&db, &filter(Some(MarketType::ForexMarket), None, None)).await.is_empty());
    }
}
