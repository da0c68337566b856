//! `known_at`: once it has been answered for, what was known then never changes.

use super::raw::Raw;
use super::samples::{Dice, add_market, market};
use super::writer::Held;
use crate::on_both;
use crate::support::{START, TestDb};
use artifact::domain::moment::{HOUR, Moment};
use artifact::storage::database::Database;
use artifact::storage::markets::{self, MarketFilter, MarketSort};
use artifact::storage::page::Page;
use std::time::Duration;

/// The codes of the markets recorded by then.
async fn known(db: &Database, known_at: Moment) -> Vec<String> {
    let mut tx = db.read().await.unwrap();
    let page = Page::first(MarketSort::CreatedAt, 10_000);
    let rows = markets::list(&mut tx, &MarketFilter::default(), &page).await.unwrap();
    rows.into_iter().filter(|row| row.created_at <= known_at).map(|row| row.code).collect()
}

on_both! {
    async fn what_lies_in_the_future_cannot_be_known_yet(backend) {
        let db = TestDb::open(backend).await;
        let stamps = db.db.stamps();
        let start = Moment::parse(START).unwrap();
        assert!(stamps.settle(start).await && stamps.settle(Moment::MIN).await && stamps.settle(Moment(0)).await);
        assert!(!stamps.settle(start.plus(1)).await && !stamps.settle(Moment::MAX).await);
        // The stamps themselves are not the future, even when the clock has not come there yet.
        let ahead = add_market(&db, market("ONE", "")).await.created_at;
        assert_eq!((ahead, stamps.latest()), (start.plus(1), start.plus(1)));
        assert!(stamps.settle(ahead).await && !stamps.settle(ahead.plus(1)).await);
        db.clock.set(start.plus(HOUR));
        assert_eq!(stamps.latest(), start.plus(HOUR));
        assert!(stamps.settle(start.plus(HOUR)).await && !stamps.settle(start.plus(HOUR + 1)).await);
        // The clock goes back, what was possible stays possible.
        db.clock.set(start);
        assert_eq!(stamps.latest(), start.plus(HOUR));
        assert!(stamps.settle(start.plus(HOUR)).await && !stamps.settle(start.plus(HOUR + 1)).await);
    }

    async fn nothing_is_stamped_at_or_before_a_moment_that_was_answered_for(backend) {
        let db = TestDb::open(backend).await;
        let start = Moment::parse(START).unwrap();
        assert!(db.db.stamps().settle(start).await);
        assert_eq!(add_market(&db, market("ONE", "")).await.created_at, start.plus(1));
        db.clock.set(start.plus(HOUR));
        assert!(db.db.stamps().settle(start.plus(HOUR)).await);
        db.clock.set(start.plus(-HOUR));
        assert_eq!(add_market(&db, market("TWO", "")).await.created_at, start.plus(HOUR + 1));
        // To ask about the past changes nothing.
        assert!(db.db.stamps().settle(start).await);
        assert_eq!(add_market(&db, market("THREE", "")).await.created_at, start.plus(HOUR + 2));
    }

    async fn an_answer_waits_for_the_commit_it_would_miss_and_for_no_other(backend) {
        let db = TestDb::open(backend).await;
        let before = add_market(&db, market("ONE", "")).await.created_at;
        let held = Held::start(&db.db).await;
        let stamp = held.recorded_at;
        // Earlier than the commit under way: nothing to wait for.
        assert!(db.db.stamps().settle(before).await);
        assert_eq!(known(&db.db, before).await, ["ONE"]);
        let waiting = tokio::spawn({
            let db = db.db.clone();
            async move {
                assert!(db.stamps().settle(stamp).await);
                known(&db, stamp).await
            }
        });
        // A moment ahead of the clock is refused, whatever is under way.
        assert!(!db.db.stamps().settle(stamp.plus(1)).await);
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!waiting.is_finished(), "answered before the commit");
        held.end().await.unwrap();
        assert_eq!(waiting.await.unwrap(), ["ONE", "HELD"]);
    }

    async fn an_answer_does_not_wait_for_a_commit_that_failed(backend) {
        let db = TestDb::open(backend).await;
        Raw::open(&db.location).await.run("ALTER TABLE commit_stamp RENAME TO broken").await;
        let lost = market("LOST", "");
        assert!(db.db.writer().housekeep(move |tx| Box::pin(markets::insert(tx, lost))).await.is_err());
        let settled = tokio::time::timeout(Duration::from_secs(8), db.db.stamps().settle(db.clock.now())).await;
        assert_eq!(settled, Ok(true));
        assert_eq!(known(&db.db, Moment::MAX).await, [""; 0]);
    }

    async fn no_answer_ever_changes_however_the_clock_is_turned(backend) {
        let db = TestDb::open(backend).await;
        let start = Moment::parse(START).unwrap();
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let db = db.db.clone();
                tokio::spawn(async move {
                    for i in 0..40 {
                        let row = market(&format!("{writer}-{i}"), "");
                        db.writer().housekeep(move |tx| Box::pin(markets::insert(tx, row))).await.unwrap();
                    }
                })
            })
            .collect();
        let readers: Vec<_> = (0..2)
            .map(|reader| {
                let (db, clock) = (db.db.clone(), db.clock.clone());
                tokio::spawn(async move {
                    let (mut dice, mut answers) = (Dice(reader), Vec::new());
                    for _ in 0..60 {
                        clock.set(start.plus(i64::try_from(dice.roll(2_000)).unwrap() - 1_000));
                        let known_at = db.stamps().latest();
                        assert!(db.stamps().settle(known_at).await);
                        answers.push((known_at, known(&db, known_at).await));
                        tokio::task::yield_now().await;
                    }
                    answers
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
        assert_eq!(known(&db.db, Moment::MAX).await.len(), 160);
        for reader in readers {
            for (known_at, answer) in reader.await.unwrap() {
                assert_eq!(known(&db.db, known_at).await, answer, "known at {known_at}");
            }
        }
    }

    async fn an_answer_outlives_a_restart_with_the_clock_set_back(backend) {
        let db = TestDb::open(backend).await;
        let start = Moment::parse(START).unwrap();
        add_market(&db, market("ONE", "")).await;
        db.clock.set(start.plus(HOUR));
        assert!(db.db.stamps().settle(start.plus(HOUR)).await);
        db.db.close().await;
        drop(db.db);
        db.clock.set(start.plus(-HOUR));
        let again = Database::open(&db.location, db.clock.clone()).await.unwrap();
        assert_eq!(again.stamps().latest(), start.plus(HOUR));
        let row = market("TWO", "");
        let row = again.writer().housekeep(move |tx| Box::pin(markets::insert(tx, row))).await;
        assert_eq!(row.unwrap().created_at, start.plus(HOUR + 1));
    }
}
