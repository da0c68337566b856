//! Portfolios and their conventions.

use super::paging::{SEARCHES, assert_pages, found_in};
use super::raw::Raw;
use super::samples::{
    NAMES, add_assets, add_portfolio, bare, c, d, m, portfolio, position_id, read, shown, uuid,
};
use crate::on_both;
use crate::support::TestDb;
use artifact::domain::ids::PortfolioId;
use artifact::domain::moment::Moment;
use artifact::domain::pnl::book::{Book, HoldingKey};
use artifact::domain::pnl::holding::Holding;
use artifact::domain::portfolio::{
    Conventions, CostBasis, FeeMode, LotScope, Portfolio, PortfolioStatus, ShortMode, TaxMode,
};
use artifact::domain::transaction::TransactionType;
use artifact::storage::figures::{self, Kept, KeptBook};
use artifact::storage::page::{After, Page};
use artifact::storage::portfolios::{self, PortfolioFilter, PortfolioSort};
use artifact::storage::positions::{self, IssuedPosition, OPEN};
use artifact::storage::transactions::{self, Entry};
use std::collections::BTreeMap;

async fn add_all(db: &TestDb) -> Vec<Portfolio> {
    let mut rows = Vec::new();
    for (i, name) in NAMES.iter().enumerate() {
        let description = format!("{}{i}", ["B", "a", "É", "A", "b"][i % 5]);
        rows.push(add_portfolio(db, Portfolio { description, ..portfolio(name) }).await);
    }
    rows
}

async fn names(db: &TestDb, filter: &PortfolioFilter) -> Vec<String> {
    let page = Page::first(PortfolioSort::CreatedAt, 100);
    let rows = portfolios::list(&mut read(db).await, filter, &page).await.unwrap();
    rows.into_iter().map(|row| row.name).collect()
}

fn cursor(row: &Portfolio, sort: PortfolioSort) -> After {
    let value = match sort {
        PortfolioSort::CreatedAt => row.seq.to_string(),
        PortfolioSort::Name => row.name.clone(),
    };
    After { value, key: row.seq }
}

async fn set(db: &TestDb, id: PortfolioId, effective_at: Moment, conventions: &Conventions) -> Moment {
    let conventions = conventions.clone();
    db.write(move |tx| {
        Box::pin(async move {
            portfolios::insert_conventions(tx, id, effective_at, &conventions).await?;
            tx.recorded_at()
        })
    })
    .await
}

/// A portfolio with a row in every table that belongs to one.
async fn add_full(db: &TestDb, name: &str, symbols: &[&str]) -> Portfolio {
    let asset = add_assets(db, symbols).await[0];
    let (row, id) = (portfolio(name), position_id());
    db.write(move |tx| {
        Box::pin(async move {
            let book = portfolios::insert(tx, row).await?;
            portfolios::insert_conventions(tx, book.id, Moment::MIN, &Conventions::default()).await?;
            let buy = bare(TransactionType::Buy, "2020-01-01T00:00:00Z");
            let entry = transactions::insert(tx, Entry::new(book.id, buy, "")).await?;
            transactions::void(tx, entry.transaction.id, "", None).await?;
            let holding = HoldingKey { account: "main".to_owned(), asset };
            let position = IssuedPosition {
                id,
                portfolio: book.id,
                issued_seq: 0,
                holding: holding.clone(),
                ordinal: Some(1),
                status: OPEN.to_owned(),
                successor: None,
                closed: None,
                created_at: Moment(0),
                updated_at: Moment(0),
            };
            positions::save(tx, position).await?;
            positions::add_member(tx, book.id, entry.transaction.id, id).await?;
            let kept = Kept { last_at: Moment(0), entries: 1, foreign_money: false, stale: false };
            let mut figures = KeptBook { kept, book: Book::default(), open: BTreeMap::new() };
            figures.book.holdings.insert(holding, Holding::new(c("USD")));
            figures::save(tx, book.id, None, &figures).await?;
            Ok(book)
        })
    })
    .await
}

on_both! {
    async fn a_portfolio_comes_back_as_it_was_put_in(backend) {
        let db = TestDb::open(backend).await;
        let mut row = portfolio("Depot ☃ 'quoted'");
        row.description = "Größe\n\"zwei\"".to_owned();
        row.status = PortfolioStatus::Frozen;
        row.owner_id = "élise".to_owned();
        row.base_currency = c("GBp");
        row.initial_capital = d("1234567890123456789012345.670");
        row.time_zone = chrono_tz::Tz::Pacific__Auckland;
        row.opened_at = m("1833-06-01T00:00:00Z");
        row.metadata = r#"{"b": 1.50}"#.to_owned();
        let put = add_portfolio(&db, row).await;
        let tx = &mut read(&db).await;
        let found = portfolios::find(tx, put.id).await.unwrap().unwrap();
        assert_eq!(shown(&found), shown(&put));
        assert_eq!(found.initial_capital.to_string(), "1234567890123456789012345.670");
        assert!(portfolios::find(tx, PortfolioId(uuid())).await.unwrap().is_none());
    }

    async fn an_update_changes_what_may_change_and_a_touch_only_the_time(backend) {
        let db = TestDb::open(backend).await;
        let (put, other) = (add_portfolio(&db, portfolio("one")).await, add_portfolio(&db, portfolio("two")).await);
        let change = Portfolio {
            name: "Renamed".to_owned(),
            description: "new".to_owned(),
            status: PortfolioStatus::Inactive,
            metadata: "{\"x\":1}".to_owned(),
            ..put.clone()
        };
        // What is fixed stays what it was, whatever the caller holds.
        let sent = Portfolio { base_currency: c("EUR"), initial_capital: d("9"), ..change.clone() };
        let changed = db.write(move |tx| Box::pin(portfolios::update(tx, sent))).await;
        let find = async |id| portfolios::find(&mut read(&db).await, id).await.unwrap().unwrap();
        let found = find(put.id).await;
        assert_eq!(shown(&found), shown(&Portfolio { version: 2, updated_at: changed.updated_at, ..change }));
        assert!(found.updated_at > put.updated_at);
        db.write(move |tx| Box::pin(portfolios::touch(tx, put.id))).await;
        let touched = find(put.id).await;
        assert!(touched.updated_at > found.updated_at);
        assert_eq!(shown(&touched), shown(&Portfolio { updated_at: touched.updated_at, ..found }));
        assert_eq!(shown(&find(other.id).await), shown(&other));
    }

    async fn a_portfolio_is_known_as_it_was_then(backend) {
        let db = TestDb::open(backend).await;
        let put = add_portfolio(&db, portfolio("first")).await;
        add_portfolio(&db, portfolio("another")).await;
        let update = async |change: Portfolio| db.write(move |tx| Box::pin(portfolios::update(tx, change))).await;
        let second = update(Portfolio {
            name: "second".to_owned(),
            description: "é".to_owned(),
            status: PortfolioStatus::Frozen,
            metadata: "{\"x\":1}".to_owned(),
            ..put.clone()
        })
        .await;
        let third = update(Portfolio { name: "third".to_owned(), ..second.clone() }).await;
        // The book changed, and changed again: that shows in the time alone.
        let entry = Entry::new(put.id, bare(TransactionType::Deposit, "2020-01-01T00:00:00Z"), "");
        let entered = db
            .write(move |tx| {
                Box::pin(async move {
                    let entry = transactions::insert(tx, entry).await?;
                    portfolios::touch(tx, put.id).await?;
                    Ok(entry)
                })
            })
            .await;
        let id = entered.transaction.id;
        let voided_at = db
            .write(move |tx| {
                Box::pin(async move {
                    transactions::void(tx, id, "", None).await?;
                    portfolios::touch(tx, put.id).await?;
                    tx.recorded_at()
                })
            })
            .await;
        let known = async |known_at| {
            let found = portfolios::find_known(&mut read(&db).await, put.id, known_at).await.unwrap();
            found.map(|found| shown(&found))
        };
        let at = |updated_at, row: &Portfolio| Some(shown(&Portfolio { updated_at, ..row.clone() }));
        assert_eq!(known(put.created_at.plus(-1)).await, None);
        assert_eq!(known(put.created_at).await, at(put.updated_at, &put));
        assert_eq!(known(second.updated_at.plus(-1)).await, at(put.updated_at, &put));
        assert_eq!(known(second.updated_at).await, at(second.updated_at, &second));
        assert_eq!(known(third.updated_at).await, at(third.updated_at, &third));
        assert_eq!(known(entered.recorded_at).await, at(entered.recorded_at, &third));
        assert_eq!(known(voided_at).await, at(voided_at, &third));
        let now = portfolios::find(&mut read(&db).await, put.id).await.unwrap().unwrap();
        assert_eq!(known(Moment::MAX).await, Some(shown(&now)));
        let nobody = PortfolioId(uuid());
        assert!(portfolios::find_known(&mut read(&db).await, nobody, Moment::MAX).await.unwrap().is_none());
    }

    async fn pages_hold_each_portfolio_once_in_every_order(backend) {
        let db = TestDb::open(backend).await;
        add_all(&db).await;
        for sort in [PortfolioSort::CreatedAt, PortfolioSort::Name] {
            let list = async |page: &Page<PortfolioSort>| {
                portfolios::list(&mut read(&db).await, &PortfolioFilter::default(), page).await.unwrap()
            };
            assert_pages(sort, cursor, sort == PortfolioSort::CreatedAt, list).await;
        }
    }

    async fn a_search_takes_its_text_literally_and_ascii_letters_in_any_case(backend) {
        let db = TestDb::open(backend).await;
        let rows = add_all(&db).await;
        for part in SEARCHES.into_iter().chain(["B1", "b1"]) {
            let filter = PortfolioFilter { text: Some(part.to_owned()), ..PortfolioFilter::default() };
            let wanted =
                rows.iter().filter(|row| found_in(&row.name, part) || found_in(&row.description, part));
            let wanted: Vec<String> = wanted.map(|row| row.name.clone()).collect();
            assert_eq!(names(&db, &filter).await, wanted, "searching for {part}");
        }
    }

    async fn filters_all_hold_at_once(backend) {
        let db = TestDb::open(backend).await;
        for (name, owner, status) in [
            ("a", "alice", PortfolioStatus::Active),
            ("b", "alice", PortfolioStatus::Frozen),
            ("c", "Alice", PortfolioStatus::Frozen),
            ("bc", "alice", PortfolioStatus::Frozen),
        ] {
            add_portfolio(&db, Portfolio { owner_id: owner.to_owned(), status, ..portfolio(name) }).await;
        }
        let alice = PortfolioFilter { owner_id: Some("alice".to_owned()), ..PortfolioFilter::default() };
        assert_eq!(names(&db, &alice).await, ["a", "b", "bc"]);
        let frozen = PortfolioFilter { status: Some(PortfolioStatus::Frozen), ..alice };
        assert_eq!(names(&db, &frozen).await, ["b", "bc"]);
        assert_eq!(names(&db, &PortfolioFilter { text: Some("C".to_owned()), ..frozen }).await, ["bc"]);
    }

    async fn conventions_apply_from_their_date_and_are_known_from_their_record_on(backend) {
        let db = TestDb::open(backend).await;
        let book = add_portfolio(&db, portfolio("book")).await;
        let read_at = async |as_of, known_at| {
            portfolios::conventions(&mut read(&db).await, book.id, as_of, known_at).await.unwrap()
        };
        assert_eq!(read_at(Moment::MAX, Moment::MAX).await, Conventions::default());
        let all_set = Conventions {
            cost_basis: CostBasis::Average,
            lot_scope: LotScope::Global,
            fees: FeeMode::Expensed,
            taxes: TaxMode::InCost,
            short: ShortMode::MissingBasisIsZeroCost,
            allow_short: false,
            dust: d("0.000000010"),
            holding_period: 0,
        };
        let lifo = Conventions { cost_basis: CostBasis::Lifo, ..Conventions::default() };
        let hifo = Conventions { cost_basis: CostBasis::Hifo, ..Conventions::default() };
        let (march, june) = (m("2026-03-01T00:00:00Z"), m("2026-06-01T00:00:00Z"));
        let first = set(&db, book.id, march, &all_set).await;
        let second = set(&db, book.id, june, &lifo).await;
        let third = set(&db, book.id, june, &hifo).await;
        assert_eq!(read_at(march, first).await, all_set);
        assert_eq!(read_at(march, first).await.dust.to_string(), "0.000000010");
        assert_eq!(read_at(june.plus(-1), Moment::MAX).await, all_set);
        assert_eq!(read_at(june, first).await, all_set);
        assert_eq!(read_at(june, second).await, lifo);
        assert_eq!(read_at(Moment::MAX, third).await, hifo);
        assert_eq!(read_at(june, first.plus(-1)).await, Conventions::default());
        // Before the first date, the first conventions; once corrected, as corrected.
        assert_eq!(read_at(march.plus(-1), Moment::MAX).await, all_set);
        set(&db, book.id, march, &lifo).await;
        assert_eq!(read_at(march.plus(-1), Moment::MAX).await, lifo);
        assert_eq!(read_at(march.plus(-1), third).await, all_set);
    }

    async fn deleting_a_portfolio_takes_all_that_is_in_it_and_nothing_else(backend) {
        const TABLES: [&str; 10] = [
            "portfolios", "portfolio_versions", "portfolio_conventions", "transactions", "transaction_voids", "positions",
            "position_members", "ledger_states", "holdings", "assets",
        ];
        let db = TestDb::open(backend).await;
        let gone = add_full(&db, "gone", &["GOLD"]).await;
        let mut raw = Raw::open(&db.location).await;
        for table in TABLES {
            assert_eq!(raw.number(&format!("SELECT COUNT(*) FROM {table}")).await, 1, "{table}");
        }
        let stays = add_portfolio(&db, portfolio("stays")).await;
        set(&db, stays.id, Moment::MIN, &Conventions::default()).await;
        db.write(move |tx| Box::pin(portfolios::delete(tx, gone.id))).await;
        for table in TABLES {
            let left = i64::from(["portfolios", "portfolio_versions", "portfolio_conventions", "assets"].contains(&table));
            assert_eq!(raw.number(&format!("SELECT COUNT(*) FROM {table}")).await, left, "{table}");
        }
        assert_eq!(names(&db, &PortfolioFilter::default()).await, ["stays"]);
    }
}
