//! Assets and their terms.

use super::paging::{SEARCHES, assert_pages, found_in};
use super::samples::{
    NAMES, add_asset, add_assets, add_market, asset, bare, c, d, m, market, portfolio, read, shown, uuid,
};
use crate::on_both;
use crate::support::TestDb;
use artifact::domain::asset::{Asset, AssetStatus, AssetType, Terms};
use artifact::domain::corporate_action::{ActionType, CorporateAction};
use artifact::domain::ids::{ActionId, AssetId, AssetKey, MarketKey};
use artifact::domain::moment::Moment;
use artifact::domain::price::Quote;
use artifact::domain::transaction::TransactionType;
use artifact::storage::actions::{self, RecordedAction};
use artifact::storage::assets::{self, AssetFilter, AssetSort};
use artifact::storage::error::StorageError;
use artifact::storage::page::{After, Page};
use artifact::storage::prices::{self, Series};
use artifact::storage::transactions::{self, Entry};
use artifact::storage::{markets, portfolios};
use std::collections::BTreeSet;

async fn add_all(db: &TestDb) -> Vec<Asset> {
    let comex = add_market(db, market("COMEX", "Comex")).await;
    let mut rows = Vec::new();
    for (i, name) in NAMES.iter().enumerate() {
        let symbol = format!("{}{i}", ["B", "a", "É", "A", "b"][i % 5]);
        rows.push(add_asset(db, asset(&comex, &symbol, name)).await);
    }
    rows
}

async fn symbols(db: &TestDb, filter: &AssetFilter) -> Vec<String> {
    let page = Page::first(AssetSort::CreatedAt, 100);
    let rows = assets::list(&mut read(db).await, filter, &page).await.unwrap();
    rows.into_iter().map(|row| row.symbol).collect()
}

fn cursor(row: &Asset, sort: AssetSort) -> After {
    let value = match sort {
        AssetSort::CreatedAt => row.key.0.to_string(),
        AssetSort::Symbol => row.symbol.clone(),
        AssetSort::Name => row.name.clone(),
    };
    After { value, key: row.key.0 }
}

async fn set_terms(db: &TestDb, asset: AssetKey, effective_at: Moment, terms: &Terms) -> Moment {
    let terms = terms.clone();
    db.write(move |tx| {
        Box::pin(async move {
            assets::insert_terms(tx, asset, effective_at, &terms).await?;
            tx.recorded_at()
        })
    })
    .await
}

on_both! {
    async fn active_assets_come_in_pages_by_key(backend) {
        let db = TestDb::open(backend).await;
        let rows = add_all(&db).await;
        let mut asset = rows[1].clone();
        asset.status = AssetStatus::Suspended;
        db.write(move |tx| Box::pin(async move { assets::update(tx, asset).await })).await;
        let expected: Vec<AssetKey> = rows.iter().map(|row| row.key).filter(|key| *key != rows[1].key).collect();
        let all = assets::active(&mut read(&db).await, AssetKey(i64::MIN)).await.unwrap();
        assert_eq!(all.iter().map(|(key, _)| *key).collect::<Vec<_>>(), expected);
        assert!(all.iter().all(|(_, kind)| *kind == rows[0].asset_type));
        let rest = assets::active(&mut read(&db).await, expected[0]).await.unwrap();
        assert_eq!(rest, all[1..]);
    }

    async fn an_asset_comes_back_with_what_it_takes_from_its_market(backend) {
        let db = TestDb::open(backend).await;
        let tokyo = market("TSE", "東京");
        let tokyo = artifact::domain::market::Market { time_zone: chrono_tz::Tz::Asia__Tokyo, ..tokyo };
        let tokyo = add_market(&db, tokyo).await;
        let mut toyota = asset(&tokyo, "7203.T", "トヨタ 'quoted'");
        toyota.asset_type = AssetType::Stock;
        toyota.status = AssetStatus::Suspended;
        toyota.currency = c("JPY");
        toyota.metadata = r#"{"b": 1.50}"#.to_owned();
        let put = add_asset(&db, toyota).await;
        let tx = &mut read(&db).await;
        let by_symbol = assets::find_by_symbol(tx, "7203.T").await.unwrap().unwrap();
        let by_id = assets::find_by_id(tx, put.id).await.unwrap().unwrap();
        assert_eq!((shown(&by_symbol), shown(&by_id)), (shown(&put), shown(&put)));
        assert!(assets::find_by_symbol(tx, "7203.t").await.unwrap().is_none());
        assert!(assets::find_by_id(tx, AssetId(uuid())).await.unwrap().is_none());
    }

    async fn an_asset_needs_a_market_and_a_symbol_of_its_own(backend) {
        let db = TestDb::open(backend).await;
        let comex = add_market(&db, market("COMEX", "Comex")).await;
        add_asset(&db, asset(&comex, "GOLD", "Gold")).await;
        let (again, homeless) =
            (asset(&comex, "GOLD", "-"), Asset { market_key: MarketKey(-1), ..asset(&comex, "SILVER", "-") });
        let refused = db.db.writer().housekeep(move |tx| Box::pin(assets::insert(tx, again))).await;
        assert!(matches!(refused, Err(StorageError::Conflict(_))), "{refused:?}");
        let refused = db.db.writer().housekeep(move |tx| Box::pin(assets::insert(tx, homeless))).await;
        assert!(matches!(refused, Err(StorageError::MissingReference(_))), "{refused:?}");
        assert_eq!(symbols(&db, &AssetFilter::default()).await, ["GOLD"]);
    }

    async fn an_update_changes_everything_but_symbol_and_identity(backend) {
        let db = TestDb::open(backend).await;
        let comex = add_market(&db, market("COMEX", "Comex")).await;
        let zurich = market("SIX", "Zürich");
        let zurich = artifact::domain::market::Market { time_zone: chrono_tz::Tz::Europe__Zurich, ..zurich };
        let zurich = add_market(&db, zurich).await;
        let put = add_asset(&db, asset(&comex, "GOLD", "Gold")).await;
        let other = add_asset(&db, asset(&comex, "SILVER", "Silver")).await;
        let change = Asset {
            name: "Renamed".to_owned(),
            asset_type: AssetType::Etf,
            status: AssetStatus::Delisted,
            market_key: zurich.key,
            currency: c("CHF"),
            metadata: "{\"x\":1}".to_owned(),
            ..put.clone()
        };
        let changed = db.write(move |tx| Box::pin(assets::update(tx, change))).await;
        let tx = &mut read(&db).await;
        let read = assets::find_by_id(tx, put.id).await.unwrap().unwrap();
        let wanted = Asset { market_id: zurich.id, market_zone: zurich.time_zone, ..changed };
        assert_eq!(shown(&read), shown(&wanted));
        assert_eq!((read.version, read.created_at), (2, put.created_at));
        assert!(read.updated_at > put.updated_at);
        let untouched = assets::find_by_id(tx, other.id).await.unwrap().unwrap();
        assert_eq!(shown(&untouched), shown(&other));
    }

    async fn pages_hold_each_asset_once_in_every_order(backend) {
        let db = TestDb::open(backend).await;
        add_all(&db).await;
        for sort in [AssetSort::CreatedAt, AssetSort::Symbol, AssetSort::Name] {
            let list = async |page: &Page<AssetSort>| {
                assets::list(&mut read(&db).await, &AssetFilter::default(), page).await.unwrap()
            };
            assert_pages(sort, cursor, sort == AssetSort::CreatedAt, list).await;
        }
    }

    async fn a_search_takes_its_text_literally_and_ascii_letters_in_any_case(backend) {
        let db = TestDb::open(backend).await;
        let rows = add_all(&db).await;
        for part in SEARCHES.into_iter().chain(["B1", "b1"]) {
            let filter = AssetFilter { text: Some(part.to_owned()), ..AssetFilter::default() };
            let wanted = rows.iter().filter(|row| found_in(&row.name, part) || found_in(&row.symbol, part));
            let wanted: Vec<String> = wanted.map(|row| row.symbol.clone()).collect();
            assert_eq!(symbols(&db, &filter).await, wanted, "searching for {part}");
        }
    }

    async fn filters_all_hold_at_once(backend) {
        let db = TestDb::open(backend).await;
        let (one, two) =
            (add_market(&db, market("ONE", "1")).await, add_market(&db, market("TWO", "2")).await);
        for (home, symbol, asset_type, status) in [
            (&one, "A", AssetType::Stock, AssetStatus::Active),
            (&one, "B", AssetType::Stock, AssetStatus::Delisted),
            (&two, "C", AssetType::Etf, AssetStatus::Delisted),
            (&two, "BC", AssetType::Stock, AssetStatus::Delisted),
        ] {
            add_asset(&db, Asset { asset_type, status, ..asset(home, symbol, "-") }).await;
        }
        let stocks = AssetFilter { asset_type: Some(AssetType::Stock), ..AssetFilter::default() };
        assert_eq!(symbols(&db, &stocks).await, ["A", "B", "BC"]);
        let delisted = AssetFilter { status: Some(AssetStatus::Delisted), ..stocks };
        assert_eq!(symbols(&db, &delisted).await, ["B", "BC"]);
        let there = AssetFilter { market: Some(two.key), ..delisted };
        assert_eq!(symbols(&db, &there).await, ["BC"]);
        let all_of_it = AssetFilter { text: Some("b".to_owned()), ..there };
        assert_eq!(symbols(&db, &all_of_it).await, ["BC"]);
        assert_eq!(symbols(&db, &AssetFilter { text: Some("a".to_owned()), ..all_of_it }).await, [""; 0]);
        // A market that left does not take its assets with it: it cannot leave.
        assert!(markets::find_by_code(&mut read(&db).await, "TWO").await.unwrap().is_some());
    }

    async fn any_number_of_assets_is_found_by_key(backend) {
        let db = TestDb::open(backend).await;
        let names: Vec<String> = (0..1001).map(|i| format!("S{i}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut keys = add_assets(&db, &names).await;
        let tx = &mut read(&db).await;
        keys.reverse();
        keys.push(AssetKey(-1));
        let found = assets::by_keys(tx, &keys).await.unwrap();
        let mut found: Vec<AssetKey> = found.iter().map(|asset| asset.key).collect();
        assert_eq!(found.len(), 1001);
        found.sort();
        found.dedup();
        assert_eq!(found.len(), 1001);
        assert!(assets::by_keys(tx, &[]).await.unwrap().is_empty());
        let few: Vec<String> =
            assets::by_keys(tx, &keys[..3]).await.unwrap().into_iter().map(|asset| asset.symbol).collect();
        assert_eq!(few, ["S998", "S999", "S1000"]);
    }

    async fn any_number_of_assets_is_found_by_symbol(backend) {
        let db = TestDb::open(backend).await;
        let names: Vec<String> = (0..1001).map(|i| format!("S{i}")).collect();
        let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
        add_assets(&db, &names).await;
        let tx = &mut read(&db).await;
        names.extend(["NOBODY", "s1", "nul\0"]);
        let found = assets::by_symbols(tx, &names).await.unwrap();
        let found: BTreeSet<String> = found.into_iter().map(|asset| asset.symbol).collect();
        assert_eq!(found, names[..1001].iter().map(|name| (*name).to_owned()).collect());
        assert!(assets::by_symbols(tx, &[]).await.unwrap().is_empty());
    }

    async fn an_asset_is_used_once_a_price_or_a_ledger_entry_names_it(backend) {
        let db = TestDb::open(backend).await;
        let keys = add_assets(&db, &["PRICED", "TRADED", "FRESH"]).await;
        let [priced, traded, fresh] = keys[..] else { panic!("three assets") };
        let used = async |key| assets::is_used(&mut read(&db).await, key).await.unwrap();
        for key in [priced, traded, fresh] {
            assert!(!used(key).await);
        }
        db.write(move |tx| {
            Box::pin(async move {
                let source = prices::source(tx, "api").await?;
                let series = Series { asset: priced, source, interval: "", source_priority: &[] };
                prices::record(tx, series, &[(Moment(0), Quote::tick(d("1")))]).await?;
                let book = portfolios::insert(tx, portfolio("book")).await?;
                let mut buy = bare(TransactionType::Buy, "2020-01-01T00:00:00Z");
                buy.asset = Some(traded);
                transactions::insert(tx, Entry::new(book.id, buy, "")).await.map(drop)
            })
        })
        .await;
        assert!(used(priced).await && used(traded).await && !used(fresh).await);
    }

    async fn terms_apply_from_their_date_and_are_known_from_their_record_on(backend) {
        let db = TestDb::open(backend).await;
        let keys = add_assets(&db, &["FUT", "OTHER"]).await;
        let (fut, other) = (keys[0], keys[1]);
        let special = Terms {
            multiplier: d("0.0010"),
            inverse: true,
            margined: true,
            settlement: c("BTC"),
            allows_negative_price: true,
            stale_after: Some(86_400_000_000),
            source_priority: vec!["b".to_owned(), "é\"".to_owned()],
        };
        let (june, july) = (m("2026-06-01T00:00:00Z"), m("2026-07-01T00:00:00Z"));
        let first = set_terms(&db, fut, Moment::MIN, &Terms::plain(c("USD"))).await;
        let second = set_terms(&db, fut, june, &special).await;
        let corrected = Terms { multiplier: d("5"), ..special.clone() };
        let third = set_terms(&db, fut, june, &corrected).await;
        // Learned last, and about a time before: it applies until the next date.
        let early = Terms { multiplier: d("7"), ..Terms::plain(c("USD")) };
        let fourth = set_terms(&db, fut, m("2026-05-01T00:00:00Z"), &early).await;
        set_terms(&db, other, Moment::MIN, &Terms::plain(c("EUR"))).await;
        let at = async |moment, known_at| {
            let history = assets::terms(&mut read(&db).await, &[fut], known_at).await.unwrap();
            assert!(history.at(other, Moment::MAX).is_none(), "only those asked for");
            history.at(fut, moment).cloned()
        };
        assert_eq!(at(july, first.plus(-1)).await, None);
        assert_eq!(at(july, first).await, Some(Terms::plain(c("USD"))));
        assert_eq!(at(june.plus(-1), second).await, Some(Terms::plain(c("USD"))));
        let read_back = at(june, second).await.unwrap();
        assert_eq!((&read_back, read_back.multiplier.to_string()), (&special, "0.0010".to_owned()));
        assert_eq!(at(july, third).await, Some(corrected.clone()));
        assert_eq!(at(june.plus(-1), fourth).await, Some(early));
        assert_eq!(at(june, Moment::MAX).await, Some(corrected));
        assert_eq!(at(m("1833-01-01T00:00:00Z"), Moment::MAX).await, Some(Terms::plain(c("USD"))));
    }

    async fn terms_of_any_number_of_assets_are_read_at_once(backend) {
        let db = TestDb::open(backend).await;
        let names: Vec<String> = (0..501).map(|i| format!("S{i}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let keys = add_assets(&db, &names).await;
        let all = keys.clone();
        db.write(move |tx| {
            Box::pin(async move {
                for key in all {
                    assets::insert_terms(tx, key, Moment::MIN, &Terms::plain(c("USD"))).await?;
                }
                Ok(())
            })
        })
        .await;
        let history = assets::terms(&mut read(&db).await, &keys, Moment::MAX).await.unwrap();
        assert!(keys.iter().all(|key| history.at(*key, Moment(0)) == Some(&Terms::plain(c("USD")))));
    }

    async fn a_renamed_asset_is_the_same_under_another_symbol(backend) {
        let db = TestDb::open(backend).await;
        let comex = add_market(&db, market("COMEX", "Comex")).await;
        let gold = add_asset(&db, asset(&comex, "GOLD", "Gold")).await;
        add_asset(&db, asset(&comex, "OIL", "Oil")).await;
        let row = gold.clone();
        let renamed_at = db.write(move |tx| Box::pin(async move {
            assets::rename(tx, &row, "AURUM").await?;
            tx.recorded_at()
        })).await;
        let tx = &mut read(&db).await;
        assert!(assets::find_by_symbol(tx, "GOLD").await.unwrap().is_none());
        let found = assets::find_by_symbol(tx, "AURUM").await.unwrap().unwrap();
        assert_eq!((found.id, found.version, found.updated_at, found.created_at), (gold.id, 2, renamed_at, gold.created_at));
        let row = gold.clone();
        let taken: Result<(), StorageError> =
            db.db.writer().housekeep(move |tx| Box::pin(async move { assets::rename(tx, &row, "OIL").await })).await;
        assert!(matches!(taken, Err(StorageError::Conflict(_))), "{taken:?}");
    }

    async fn a_dividend_uses_an_asset_and_a_split_does_not(backend) {
        let db = TestDb::open(backend).await;
        let keys = add_assets(&db, &["GOLD", "OIL"]).await;
        for (key, currency) in [(keys[0], Some(c("USD"))), (keys[1], None)] {
            let kind = if currency.is_some() { ActionType::Dividend } else { ActionType::Split };
            let action = CorporateAction {
                id: ActionId(uuid()), asset: key, place: 0, kind, executed_at: m("2026-03-01T12:00:00Z"), whole_day: false,
                ratio_num: None, ratio_den: None, amount: None, tax: d("0"), currency, new_symbol: None,
            };
            let row = RecordedAction::new(action, String::new(), "{}".to_owned());
            db.write(move |tx| Box::pin(actions::insert(tx, row))).await;
        }
        let tx = &mut read(&db).await;
        assert_eq!((assets::is_used(tx, keys[0]).await.unwrap(), assets::is_used(tx, keys[1]).await.unwrap()), (true, false));
    }
}
