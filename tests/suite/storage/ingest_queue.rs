//! Batches that wait, in the order they came, and the task that stores them.

use super::raw::Raw;
use super::samples::{add_assets, d, read, uuid};
use crate::on_both;
use crate::support::{START, TestDb};
use artifact::domain::batch::BatchState;
use artifact::domain::ids::BatchId;
use artifact::domain::moment::Moment;
use artifact::domain::price::Quote;
use artifact::storage::error::StorageError;
use artifact::storage::ingest_queue::{self, Batch, Level, NewBatch};
use artifact::storage::prices::{self, PriceRange};
use artifact::workers::ingest_queue::{KEPT, KEPT_MAX, Queue, Report, Step, Storer, TRIES};
use artifact::workers::intake::{Packed, SeriesName};
use std::sync::Arc;
use std::time::Duration;

fn new(body: &[u8]) -> NewBatch {
    NewBatch { id: BatchId(uuid()), actor: "alice".to_owned(), rows: 1, body: body.to_vec() }
}

/// A batch with the price of one asset at one moment.
fn priced(symbol: &str, price: &str) -> NewBatch {
    let mut packed = Packed::default();
    let name = SeriesName { symbol: symbol.to_owned(), source: "desk".to_owned(), interval: None };
    let place = packed.rows.name(name);
    packed.rows.push(place, 1, Moment::parse(START).unwrap(), Quote::tick(d(price)));
    new(&packed.pack().unwrap())
}

async fn push(db: &TestDb, batch: NewBatch) -> BatchId {
    let id = batch.id;
    db.write(move |tx| Box::pin(async move { ingest_queue::push(tx, &batch).await })).await;
    id
}

async fn find(db: &TestDb, id: BatchId) -> Option<Batch> {
    ingest_queue::find(&mut read(db).await, id).await.unwrap()
}

async fn level(db: &TestDb) -> [i64; 4] {
    let Level { waiting, waiting_bytes, stored, dead } =
        ingest_queue::level(&mut read(db).await).await.unwrap();
    [waiting, waiting_bytes, stored, dead]
}

async fn ids(db: &TestDb, state: BatchState, after: Option<i64>, limit: i64) -> Vec<BatchId> {
    let found = ingest_queue::in_state(&mut read(db).await, state, after, limit).await.unwrap();
    found.into_iter().map(|batch| batch.id).collect()
}

fn storer(db: &TestDb) -> Storer {
    Storer::new(db.db.clone(), db.clock.clone(), Arc::new(Queue::default()))
}

fn report(batch: &Batch) -> Report {
    serde_json::from_str(batch.report.as_deref().unwrap()).unwrap()
}

/// Every version of the one point, oldest first.
async fn price(db: &TestDb, asset: artifact::domain::ids::AssetKey) -> Option<String> {
    let range = PriceRange {
        asset,
        source: None,
        interval: None,
        from: Moment::MIN,
        until: Moment::MAX,
        known_at: Moment::MAX,
        after: None,
        limit: 10,
    };
    let found = prices::history(&mut read(db).await, &range).await.unwrap();
    found.first().map(|(_, point)| point.quote.price.to_string())
}

on_both! {
    async fn batches_wait_in_the_order_they_came_and_are_counted(backend) {
        let db = TestDb::open(backend).await;
        assert_eq!(level(&db).await, [0; 4]);
        let first = push(&db, new(b"one")).await;
        let second = push(&db, new(b"three")).await;
        let third = push(&db, new(b"")).await;
        assert_eq!(level(&db).await, [3, 8, 0, 0]);
        assert_eq!(ids(&db, BatchState::Queued, None, 10).await, [first, second, third]);
        assert_eq!(ids(&db, BatchState::Queued, None, 2).await, [first, second]);
        let batch = find(&db, second).await.unwrap();
        assert_eq!(ids(&db, BatchState::Queued, Some(batch.place), 2).await, [third]);
        assert_eq!((batch.state, batch.rows, batch.bytes, batch.tries, batch.actor.as_str()), (BatchState::Queued, 1, 5, 0, "alice"));
        assert_eq!((batch.queued_at, batch.settled_at, batch.failure.clone(), batch.report.clone()), (Moment::parse(START).unwrap().plus(1), None, None, None));
        let mut tx = read(&db).await;
        assert_eq!(ingest_queue::body(&mut tx, batch.place).await.unwrap(), Some(b"three".to_vec()));
        assert_eq!(ingest_queue::body(&mut tx, batch.place + 1_000).await.unwrap(), None);
        assert_eq!(find(&db, BatchId(uuid())).await, None);
    }

    async fn a_batch_is_stored_once_and_given_up_and_tried_again(backend) {
        let db = TestDb::open(backend).await;
        let first = push(&db, new(b"one")).await;
        let second = push(&db, new(b"three")).await;
        let batch = find(&db, first).await.unwrap();
        for (wanted, name) in [(true, "done"), (false, "done again")] {
            let batch = batch.clone();
            let done: Result<(), StorageError> = db.db.writer().housekeep(move |tx| Box::pin(async move { ingest_queue::store(tx, &batch, name).await })).await;
            assert_eq!(done.is_ok(), wanted, "{done:?}");
        }
        let stored = find(&db, first).await.unwrap();
        assert_eq!((stored.state, stored.report.as_deref()), (BatchState::Stored, Some("done")));
        assert!(stored.settled_at.is_some());
        assert_eq!(ingest_queue::body(&mut read(&db).await, batch.place).await.unwrap(), None);
        assert_eq!(level(&db).await, [1, 5, 1, 0]);

        let batch = find(&db, second).await.unwrap();
        for state in [BatchState::Queued, BatchState::Dead, BatchState::Dead] {
            let batch = batch.clone();
            db.write(move |tx| Box::pin(async move { ingest_queue::fail(tx, &batch, "torn", state).await })).await;
        }
        let dead = find(&db, second).await.unwrap();
        assert_eq!((dead.state, dead.tries, dead.failure.as_deref()), (BatchState::Dead, 2, Some("torn")));
        assert_eq!(level(&db).await, [0, 0, 1, 1]);
        for (id, wanted) in [(first, false), (second, true), (second, false)] {
            let again = db.write(move |tx| Box::pin(async move { ingest_queue::retry(tx, id).await })).await;
            assert_eq!(again, wanted);
        }
        let waits = find(&db, second).await.unwrap();
        assert_eq!((waits.state, waits.tries, waits.settled_at), (BatchState::Queued, 0, None));
        assert!(waits.place > dead.place);
        assert_eq!(level(&db).await, [1, 5, 1, 0]);
        db.write({ let waits = waits.clone(); move |tx| Box::pin(async move { ingest_queue::fail(tx, &waits, "torn", BatchState::Dead).await }) }).await;
        for (id, wanted) in [(first, false), (second, true), (second, false)] {
            let gone = db.write(move |tx| Box::pin(async move { ingest_queue::discard(tx, id).await })).await;
            assert_eq!(gone, wanted);
        }
        assert_eq!((find(&db, second).await, level(&db).await), (None, [0, 0, 1, 0]));
    }

    async fn what_was_stored_is_forgotten_by_age_and_by_number(backend) {
        let db = TestDb::open(backend).await;
        let mut all = Vec::new();
        for _ in 0..5 {
            all.push(push(&db, priced("NOBODY", "1")).await);
        }
        let waiting = push(&db, new(b"torn")).await;
        let mut storer = storer(&db);
        // Together they fail for the torn one; then the good ones go one by one, until it is its turn.
        for _ in 0..6 {
            assert_eq!(storer.step().await.unwrap(), Step::Done);
        }
        assert!(matches!(storer.step().await.unwrap(), Step::Failed(_)));
        assert_eq!(level(&db).await, [1, 4, 5, 0]);
        let forget = |oldest: Moment, most: i64, limit: i64| {
            db.write(move |tx| Box::pin(async move { ingest_queue::forget(tx, oldest, most, limit).await }))
        };
        assert_eq!(forget(Moment::MIN, 4, 10).await, 1);
        assert_eq!(ids(&db, BatchState::Stored, None, 10).await, all[1..]);
        let at = find(&db, all[2]).await.unwrap().settled_at.unwrap();
        assert_eq!(forget(at, 4, 1).await, 1);
        assert_eq!(forget(at, 4, 10).await, 1);
        assert_eq!(ids(&db, BatchState::Stored, None, 10).await, all[3..]);
        storer.forget().await.unwrap();
        assert_eq!(level(&db).await, [1, 4, 2, 0], "less than a day is kept, of less than {KEPT_MAX}");
        db.clock.set(at.plus(KEPT + 1_000_000));
        storer.forget().await.unwrap();
        assert_eq!((level(&db).await, find(&db, waiting).await.unwrap().state), ([1, 4, 0, 0], BatchState::Queued));
    }

    async fn batches_are_judged_in_their_order_and_one_that_cannot_be_stored_does_not_stop_the_others(backend) {
        let db = TestDb::open(backend).await;
        let [gold] = add_assets(&db, &["GOLD"]).await[..] else { panic!("one asset") };
        let first = push(&db, priced("GOLD", "1")).await;
        let torn = push(&db, new(b"torn")).await;
        let second = push(&db, priced("GOLD", "2")).await;
        let third = push(&db, priced("GOLD", "2.0")).await;
        let mut storer = storer(&db);
        assert_eq!(storer.step().await.unwrap(), Step::Done);
        assert_eq!(price(&db, gold).await, None, "together they are stored or none of them");
        assert_eq!(storer.step().await.unwrap(), Step::Done);
        assert_eq!(price(&db, gold).await.as_deref(), Some("1"));
        let mut pause = Duration::ZERO;
        for tries in 1..TRIES {
            let Step::Failed(next) = storer.step().await.unwrap() else { panic!("a torn batch was stored") };
            assert!(next > pause, "{next:?} after {pause:?}");
            pause = next;
            let batch = find(&db, torn).await.unwrap();
            assert_eq!((batch.state, batch.tries), (BatchState::Queued, tries));
            assert_eq!(price(&db, gold).await.as_deref(), Some("1"), "what came later went ahead");
        }
        assert!(pause < Duration::from_secs(2), "{pause:?}");
        assert_eq!(storer.step().await.unwrap(), Step::Done);
        assert_eq!(find(&db, torn).await.unwrap().state, BatchState::Dead);
        // Those behind it follow.
        assert_eq!(storer.step().await.unwrap(), Step::Done);
        assert_eq!(storer.step().await.unwrap(), Step::Done);
        assert_eq!(storer.step().await.unwrap(), Step::Idle);
        assert_eq!(price(&db, gold).await.as_deref(), Some("2"));
        let counts = |batch: &Batch| { let r = report(batch); [r.stored, r.corrected, r.duplicate, r.refused] };
        for (id, wanted) in [(first, [1, 0, 0, 0]), (second, [0, 1, 0, 0]), (third, [0, 0, 1, 0])] {
            assert_eq!(counts(&find(&db, id).await.unwrap()), wanted);
        }
        // A mended batch that is tried again is judged as if it had come now.
        let mended = priced("GOLD", "7").body.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        let mut raw = Raw::open(&db.location).await;
        let written = match &raw { Raw::Sqlite(_) => format!("x'{mended}'"), Raw::Postgres(_) => format!("'\\x{mended}'::bytea") };
        raw.run(&format!("UPDATE ingest_queue SET body = {written} WHERE state = 'dead'")).await;
        raw.close().await;
        db.write(move |tx| Box::pin(async move { ingest_queue::retry(tx, torn).await })).await;
        assert_eq!(storer.step().await.unwrap(), Step::Done);
        assert_eq!((price(&db, gold).await.as_deref(), counts(&find(&db, torn).await.unwrap())), (Some("7"), [0, 1, 0, 0]));
        assert_eq!(level(&db).await, [0, 0, 4, 0]);
    }

    async fn a_clock_that_was_set_back_refuses_nothing_that_was_taken_in(backend) {
        let db = TestDb::open(backend).await;
        add_assets(&db, &["GOLD"]).await;
        let id = push(&db, priced("GOLD", "1")).await;
        db.clock.set(Moment::parse("2026-11-20T00:00:00Z").unwrap());
        assert_eq!(storer(&db).step().await.unwrap(), Step::Done);
        assert_eq!(report(&find(&db, id).await.unwrap()).stored, 1);
    }
}
