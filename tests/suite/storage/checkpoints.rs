//! Checkpoints of books, and the rows and ids a fold from one of them asks for.

use super::samples::{add_assets, add_portfolio, bare, c, d, m, portfolio, position_id, read};
use crate::on_both;
use crate::support::TestDb;
use artifact::domain::asset::{Terms, TermsHistory};
use artifact::domain::fx::Rates;
use artifact::domain::ids::{AssetKey, PortfolioId};
use artifact::domain::moment::Moment;
use artifact::domain::pnl::book::{Book, Context, HoldingKey};
use artifact::domain::portfolio::Conventions;
use artifact::domain::transaction::{Transaction, TransactionType};
use artifact::storage::checkpoints::{self, Checkpoint};
use artifact::storage::positions::{self, IssuedPosition, OPEN};
use artifact::storage::transactions::{self, Entry};

fn buy(asset: AssetKey, at: &str, place: i64) -> Transaction {
    let mut t = bare(TransactionType::Buy, at);
    (t.asset, t.quantity, t.price, t.place) = (Some(asset), Some(d("1.10")), Some(d("3.30")), place);
    t
}

/// A book of two assets after these entries.
fn book(entries: &[Transaction]) -> Book {
    let mut terms = TermsHistory::default();
    for t in entries {
        terms.add(t.asset.unwrap(), Moment::MIN, Terms::plain(c("USD")));
    }
    let (conventions, rates) = (Conventions::default(), Rates::default());
    let mut book = Book::default();
    for t in entries {
        book.apply(t, Context { base: c("USD"), conventions: &conventions, terms: &terms, rates: &rates })
            .unwrap();
    }
    book
}

async fn save(db: &TestDb, portfolio: PortfolioId, checkpoint: &Checkpoint) {
    let checkpoint = checkpoint.clone();
    db.write(move |tx| Box::pin(async move { checkpoints::save(tx, portfolio, &checkpoint).await })).await;
}

async fn newest(db: &TestDb, portfolio: PortfolioId, asset: AssetKey, before: Moment) -> Option<Checkpoint> {
    checkpoints::newest_before(&mut read(db).await, portfolio, asset, before).await.unwrap()
}

on_both! {
    async fn a_checkpoint_comes_back_as_it_was_until_it_is_forgotten(backend) {
        let db = TestDb::open(backend).await;
        let keys = add_assets(&db, &["GOLD", "BTC"]).await;
        let (gold, btc) = (keys[0], keys[1]);
        let (one, two) = (add_portfolio(&db, portfolio("one")).await.id, add_portfolio(&db, portfolio("two")).await.id);
        let days = ["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z"];
        let entries = [buy(gold, days[0], 1), buy(btc, days[0], 2), buy(gold, days[1], 3)];
        let early = Checkpoint::of(&book(&entries[..2]), gold, m(days[0]));
        let late = Checkpoint::of(&book(&entries), gold, m(days[1]));
        assert!(early.book.holdings.keys().all(|key| key.asset == gold) && early.book.accounts.is_empty());
        for (portfolio, checkpoint) in [(one, &early), (one, &late), (two, &early)] {
            save(&db, portfolio, checkpoint).await;
        }
        assert_eq!(newest(&db, one, gold, Moment::MAX).await.as_ref(), Some(&late));
        // Before a moment, not at it: a row of that very moment is in it already.
        assert_eq!(newest(&db, one, gold, m(days[1])).await.as_ref(), Some(&early));
        assert_eq!(newest(&db, one, gold, m(days[0])).await, None);
        assert_eq!(newest(&db, one, btc, Moment::MAX).await, None);
        db.write(move |tx| Box::pin(async move { checkpoints::forget_from(tx, one, gold, m(days[1])).await })).await;
        assert_eq!(newest(&db, one, gold, Moment::MAX).await.as_ref(), Some(&early));
        db.write(move |tx| Box::pin(async move { checkpoints::forget_all(tx, one).await })).await;
        assert_eq!(newest(&db, one, gold, Moment::MAX).await, None);
        assert_eq!(newest(&db, two, gold, Moment::MAX).await.as_ref(), Some(&early));
    }

    async fn rows_after_a_moment_bring_those_that_stand_for_actions(backend) {
        let db = TestDb::open(backend).await;
        let keys = add_assets(&db, &["GOLD", "BTC"]).await;
        let (gold, btc) = (keys[0], keys[1]);
        let book = add_portfolio(&db, portfolio("book")).await.id;
        let add = |t: Transaction| db.write(move |tx| Box::pin(transactions::insert(tx, Entry::new(book, t, ""))));
        let split = |asset, at: &str| {
            let mut t = bare(TransactionType::Split, at);
            (t.asset, t.ratio_num, t.ratio_den) = (Some(asset), Some(d("2")), Some(d("1")));
            t
        };
        let (monday, tuesday, wednesday) = ("2026-01-05T00:00:00Z", "2026-01-06T00:00:00Z", "2026-01-07T00:00:00Z");
        let early = add(split(gold, monday)).await.transaction.id;
        add(buy(gold, monday, 0)).await;
        add(buy(gold, tuesday, 0)).await;
        let last = add(buy(gold, wednesday, 0)).await.transaction.id;
        let gone = add(buy(gold, wednesday, 0)).await.transaction.id;
        add(buy(btc, wednesday, 0)).await;
        db.write(move |tx| Box::pin(async move { transactions::void(tx, gone, "", None).await })).await;
        let rows = transactions::in_force_after(&mut read(&db).await, book, gold, m(tuesday)).await.unwrap();
        assert_eq!(rows.iter().map(|t| t.id).collect::<Vec<_>>(), [early, last]);
        let rows = transactions::in_force_after(&mut read(&db).await, book, gold, Moment::MIN).await.unwrap();
        assert_eq!(rows.len(), 4);
    }

    async fn ids_are_found_by_asset_and_memberships_by_transaction(backend) {
        let db = TestDb::open(backend).await;
        let keys = add_assets(&db, &["GOLD", "BTC"]).await;
        let book = add_portfolio(&db, portfolio("book")).await.id;
        let mut ids = Vec::new();
        for asset in &keys {
            let position = IssuedPosition {
                id: position_id(), portfolio: book, issued_seq: 0, holding: HoldingKey { account: "main".to_owned(), asset: *asset },
                ordinal: Some(1), status: OPEN.to_owned(), successor: None, closed: None, created_at: Moment(0), updated_at: Moment(0),
            };
            ids.push(db.write(move |tx| Box::pin(positions::save(tx, position))).await.id);
        }
        let mut rows = Vec::new();
        for asset in &keys {
            let t = buy(*asset, "2026-01-05T00:00:00Z", 0);
            rows.push(db.write(move |tx| Box::pin(transactions::insert(tx, Entry::new(book, t, "")))).await.transaction.id);
        }
        let (gold, btc) = (rows[0], rows[1]);
        let (first, second) = (ids[0], ids[1]);
        db.write(move |tx| Box::pin(async move {
            positions::add_member(tx, book, gold, second).await?;
            positions::end_member(tx, gold, second).await?;
            positions::add_member(tx, book, gold, first).await?;
            positions::add_member(tx, book, btc, second).await
        })).await;
        let mut tx = read(&db).await;
        let issued = positions::issued_for(&mut tx, book, &keys[..1]).await.unwrap();
        assert_eq!(issued.iter().map(|position| position.id).collect::<Vec<_>>(), [first]);
        // By age of the id, ended ones too.
        let members = positions::every_member_among(&mut tx, book, &[gold]).await.unwrap();
        assert_eq!(members, [(gold, first, true), (gold, second, false)]);
        assert_eq!(positions::every_member_among(&mut tx, book, &[]).await.unwrap(), []);
    }
}
