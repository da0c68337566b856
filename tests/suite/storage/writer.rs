//! The one writer: the order of its stamps, and who is spared when a neighbour in a commit is refused.

use super::raw::Raw;
use super::samples::{add_market, asset, market, read, uuid};
use crate::on_both;
use crate::support::{Backend, START, TestDb};
use artifact::domain::ids::{MarketKey, PortfolioId};
use artifact::domain::moment::{HOUR, Moment};
use artifact::storage::database::Database;
use artifact::storage::error::StorageError;
use artifact::storage::markets::{self, MarketFilter, MarketSort};
use artifact::storage::page::Page;
use artifact::storage::{assets, figures, portfolios};
use futures_util::future::join_all;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The writer, kept busy: what is sent meanwhile shares the next commit.
pub(super) struct Held {
    /// Stamp of the commit that is under way.
    pub(super) recorded_at: Moment,
    release: oneshot::Sender<()>,
    job: JoinHandle<Result<(), StorageError>>,
}

impl Held {
    pub(super) async fn start(db: &Database) -> Self {
        let (begun, stamp) = oneshot::channel();
        let (release, released) = oneshot::channel::<()>();
        let db = db.clone();
        let job = tokio::spawn(async move {
            db.writer()
                .housekeep(move |tx| {
                    Box::pin(async move {
                        markets::insert(tx, market("HELD", "held")).await?;
                        begun.send(tx.recorded_at()?).unwrap();
                        drop(released.await);
                        Ok(())
                    })
                })
                .await
        });
        Self { recorded_at: stamp.await.unwrap(), release, job }
    }

    pub(super) async fn end(self) -> Result<(), StorageError> {
        self.release.send(()).unwrap();
        self.job.await.unwrap()
    }
}

/// Sends writes in the order given without waiting for any.
pub(super) async fn send<F: Future>(writes: impl IntoIterator<Item = F>) -> Vec<Pin<Box<F>>> {
    let mut sent: Vec<_> = writes.into_iter().map(Box::pin).collect();
    for write in &mut sent {
        poll_fn(|context| {
            assert!(write.as_mut().poll(context).is_pending(), "answered before its commit");
            Poll::Ready(())
        })
        .await;
    }
    sent
}

/// What a write does before it is kept or refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    Fine,
    /// Its own rules refuse it, after it has written.
    Refused,
    /// The code it writes is taken.
    SameCode,
    /// The market it names is not there.
    NoMarket,
    /// It is not even SQL's fault.
    Panics,
}

/// Adds a market, and goes on as it is told. Answers with stamp and sequence.
async fn attempt(db: &Database, code: String, what: Attempt) -> Result<(Moment, i64), StorageError> {
    db.writer()
        .housekeep(move |tx| {
            Box::pin(async move {
                let row = markets::insert(tx, market(&code, "")).await?;
                match what {
                    Attempt::Fine => {}
                    Attempt::Refused => return Err(StorageError::Corrupt("refused".to_owned())),
                    Attempt::SameCode => drop(markets::insert(tx, market("TAKEN", "")).await?),
                    Attempt::NoMarket => {
                        let homeless = asset(&market("", ""), &code, "");
                        assert_eq!(homeless.market_key, MarketKey(0));
                        drop(assets::insert(tx, homeless).await?);
                    }
                    Attempt::Panics => panic!("a write that panics"),
                }
                Ok((tx.recorded_at()?, row.key.0))
            })
        })
        .await
}

async fn fine(db: &TestDb, code: &str) -> (Moment, i64) {
    attempt(&db.db, code.to_owned(), Attempt::Fine).await.unwrap()
}

async fn codes(db: &TestDb) -> Vec<String> {
    let page = Page::first(MarketSort::CreatedAt, 10_000);
    let rows = markets::list(&mut read(db).await, &MarketFilter::default(), &page).await.unwrap();
    rows.into_iter().map(|row| row.code).collect()
}

on_both! {
    async fn stamps_increase_whatever_the_clock_does(backend) {
        let db = TestDb::open(backend).await;
        let start = Moment::parse(START).unwrap();
        let mut last = (Moment::MIN, 0);
        let mut written = 0;
        for (clock, expected) in [
            (start, start),
            // Stands still.
            (start, start.plus(1)),
            (start.plus(10), start.plus(10)),
            // Set back, even before 1970; then it comes near, and overtakes.
            (start.plus(-HOUR), start.plus(11)),
            (Moment(-1), start.plus(12)),
            (start.plus(12), start.plus(13)),
            (start.plus(24 * HOUR), start.plus(24 * HOUR)),
        ] {
            db.clock.set(clock);
            let stamp = fine(&db, &format!("M{written}")).await;
            assert_eq!(stamp.0, expected, "by a clock of {clock}");
            assert!(stamp.1 > last.1, "the sequence goes on");
            (last, written) = (stamp, written + 1);
            assert_eq!(db.db.read().await.unwrap().last_commit().await.unwrap(), expected);
            let behind = db.db.stamps().clock_health().behind;
            assert_eq!(behind, expected > clock);
        }
    }

    async fn what_is_sent_together_shares_a_stamp_and_is_ordered_by_its_sequence(backend) {
        let db = TestDb::open(backend).await;
        let held = Held::start(&db.db).await;
        let sent = send((0..50).map(|i| attempt(&db.db, format!("M{i}"), Attempt::Fine))).await;
        let first = held.recorded_at;
        held.end().await.unwrap();
        let done: Vec<(Moment, i64)> = join_all(sent).await.into_iter().map(Result::unwrap).collect();
        assert!(done.iter().all(|(stamp, _)| *stamp == first.plus(1)), "{done:?}");
        assert!(done.is_sorted_by(|a, b| a.1 < b.1), "{done:?}");
        let wanted: Vec<String> = std::iter::once("HELD".to_owned()).chain((0..50).map(|i| format!("M{i}"))).collect();
        assert_eq!(codes(&db).await, wanted);
        assert_eq!(fine(&db, "NEXT").await.0, first.plus(2));
    }

    async fn a_refused_write_leaves_nothing_and_its_neighbours_stand(backend) {
        use Attempt::{Fine, NoMarket, Panics, Refused, SameCode};
        let db = TestDb::open(backend).await;
        add_market(&db, market("TAKEN", "")).await;
        let whats = [Refused, Fine, SameCode, SameCode, Fine, NoMarket, Fine, Refused, Fine, NoMarket];
        let held = Held::start(&db.db).await;
        let writes = whats.iter().zip(0..).map(|(what, i)| attempt(&db.db, format!("M{i}"), *what));
        let sent = send(writes).await;
        held.end().await.unwrap();
        let done = join_all(sent).await;
        for (what, outcome) in whats.iter().zip(&done) {
            let as_expected = match what {
                Fine => outcome.is_ok(),
                Refused => matches!(outcome, Err(StorageError::Corrupt(_))),
                SameCode => matches!(outcome, Err(StorageError::Conflict(_))),
                NoMarket => matches!(outcome, Err(StorageError::MissingReference(_))),
                Panics => false,
            };
            assert!(as_expected, "{what:?} came to {outcome:?}");
        }
        let stamps: Vec<Moment> = done.iter().flatten().map(|(stamp, _)| *stamp).collect();
        assert!(stamps.len() == 4 && stamps.iter().all(|stamp| *stamp == stamps[0]), "one commit: {stamps:?}");
        assert_eq!(codes(&db).await, ["TAKEN", "HELD", "M1", "M4", "M6", "M8"]);
    }

    async fn a_write_that_panics_is_refused_alone_and_the_writer_goes_on(backend) {
        let db = TestDb::open(backend).await;
        let held = Held::start(&db.db).await;
        let whats = [Attempt::Fine, Attempt::Panics, Attempt::Fine];
        let sent = send(whats.iter().zip(0..).map(|(what, i)| attempt(&db.db, format!("M{i}"), *what))).await;
        held.end().await.unwrap();
        let done = join_all(sent).await;
        assert!(done[0].is_ok() && done[2].is_ok(), "{done:?}");
        assert!(matches!(&done[1], Err(StorageError::Panicked)), "{done:?}");
        fine(&db, "NEXT").await;
        assert_eq!(codes(&db).await, ["HELD", "M0", "M2", "NEXT"]);
    }

    async fn any_number_of_writes_at_once_is_committed_each_once(backend) {
        let db = TestDb::open(backend).await;
        add_market(&db, market("TAKEN", "")).await;
        let tasks: Vec<_> = (0..1500)
            .map(|i| {
                let (db, what) = (db.db.clone(), [Attempt::Fine, Attempt::SameCode, Attempt::Refused][i % 3]);
                tokio::spawn(async move { (what, attempt(&db, format!("M{i}"), what).await) })
            })
            .collect();
        let mut stamps = Vec::new();
        for task in tasks {
            let (what, outcome) = task.await.unwrap();
            assert_eq!(outcome.is_ok(), what == Attempt::Fine, "{what:?} came to {outcome:?}");
            stamps.extend(outcome.ok());
        }
        // Stamp and sequence put the rows in one and the same order.
        stamps.sort_by_key(|(_, seq)| *seq);
        assert!(stamps.is_sorted_by(|a, b| a.0 <= b.0 && a.1 < b.1), "{stamps:?}");
        let mut seen = codes(&db).await;
        let mut wanted: Vec<String> = (0..1500).step_by(3).map(|i| format!("M{i}")).collect();
        wanted.push("TAKEN".to_owned());
        seen.sort();
        wanted.sort();
        assert_eq!(seen, wanted);
    }

    async fn a_write_stands_although_its_caller_went_away(backend) {
        let db = TestDb::open(backend).await;
        let held = Held::start(&db.db).await;
        drop(send([attempt(&db.db, "GONE".to_owned(), Attempt::Fine)]).await);
        held.end().await.unwrap();
        fine(&db, "NEXT").await;
        assert_eq!(codes(&db).await, ["HELD", "GONE", "NEXT"]);
    }

    async fn a_commit_that_fails_refuses_its_writes_and_the_next_one_stands(backend) {
        let db = TestDb::open(backend).await;
        let before = fine(&db, "BEFORE").await;
        let mut raw = Raw::open(&db.location).await;
        raw.run("ALTER TABLE commit_stamp RENAME TO broken").await;
        let refused = attempt(&db.db, "LOST".to_owned(), Attempt::Fine).await;
        assert!(matches!(refused, Err(StorageError::NotCommitted(_))), "{refused:?}");
        raw.run("ALTER TABLE broken RENAME TO commit_stamp").await;
        let after = fine(&db, "AFTER").await;
        assert!(after.0 > before.0 && after.1 > before.1);
        assert_eq!(codes(&db).await, ["BEFORE", "AFTER"]);
    }

    async fn a_sequence_that_somebody_else_moved_on_stops_writes_until_a_start(backend) {
        let mut db = TestDb::open(backend).await;
        let (_, first) = fine(&db, "ONE").await;
        // As after another process has had the database: what is held in memory is not what is there.
        Raw::open(&db.location).await.run(&format!("UPDATE commit_stamp SET seq = {}", first + 1000)).await;
        for code in ["TWO", "THREE"] {
            let refused = attempt(&db.db, code.to_owned(), Attempt::Fine).await;
            assert!(matches!(refused, Err(StorageError::Stopped(_))), "{refused:?}");
        }
        assert_eq!(codes(&db).await, ["ONE"]);
        db.db.close().await;
        db.reopen().await;
        assert_eq!(fine(&db, "TWO").await.1, first + 1001);
    }

    async fn a_read_cannot_write(backend) {
        let db = TestDb::open(backend).await;
        fine(&db, "ONE").await;
        let tx = &mut read(&db).await;
        let refused = markets::insert(tx, market("TWO", "")).await;
        assert!(matches!(refused, Err(StorageError::NotCommitted(_))), "{refused:?}");
        assert!(tx.recorded_at().is_err() && tx.next_seq().is_err());
        // Statements that need no stamp are refused by the database itself.
        let refused = figures::mark_stale(tx, Moment(0)).await;
        assert!(matches!(refused, Err(StorageError::Unwritable(_))), "{refused:?}");
        let tx = &mut read(&db).await;
        let refused = portfolios::delete(tx, PortfolioId(uuid())).await;
        assert!(matches!(refused, Err(StorageError::Unwritable(_))), "{refused:?}");
        assert_eq!(codes(&db).await, ["ONE"]);
    }

    async fn a_read_sees_what_was_committed_at_its_first_look_and_nothing_later(backend) {
        let db = TestDb::open(backend).await;
        fine(&db, "ONE").await;
        let mut early = read(&db).await;
        let find = async |tx: &mut _, code| markets::find_by_code(tx, code).await.unwrap().is_some();
        // A write under way is seen by nobody, a committed one by those who begin afterwards.
        let held = Held::start(&db.db).await;
        assert!(!find(&mut early, "HELD").await && !find(&mut read(&db).await, "HELD").await);
        held.end().await.unwrap();
        fine(&db, "TWO").await;
        assert!(find(&mut early, "ONE").await && !find(&mut early, "HELD").await && !find(&mut early, "TWO").await);
        let mut late = read(&db).await;
        assert!(find(&mut late, "HELD").await && find(&mut late, "TWO").await);
    }

    async fn closing_commits_what_was_sent_and_refuses_what_comes_after(backend) {
        let db = TestDb::open(backend).await;
        let held = Held::start(&db.db).await;
        let sent = send((0..3).map(|i| attempt(&db.db, format!("M{i}"), Attempt::Fine))).await;
        let closing = send([db.db.close()]).await;
        held.end().await.unwrap();
        assert!(join_all(sent).await.iter().all(Result::is_ok));
        join_all(closing).await;
        let refused = attempt(&db.db, "LATE".to_owned(), Attempt::Fine).await;
        assert!(matches!(refused, Err(StorageError::NotCommitted(_))), "{refused:?}");
        assert!(db.db.read().await.is_err());
        db.db.close().await;
        let mut raw = Raw::open(&db.location).await;
        let codes = raw.texts("SELECT code FROM markets ORDER BY market_key").await;
        assert_eq!(codes, ["HELD", "M0", "M1", "M2"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_refuses_what_it_carried_and_the_writer_goes_on() {
    let db = TestDb::open(Backend::Postgres).await;
    let before = fine(&db, "BEFORE").await;
    let held = Held::start(&db.db).await;
    let mut raw = Raw::open(&db.location).await;
    // Of the sessions of this database only the writer's is in a transaction.
    let ended = "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity \
        WHERE datname = current_database() AND state = 'idle in transaction'";
    assert_eq!(raw.number(ended).await, 1);
    let refused = held.end().await;
    assert!(matches!(refused, Err(StorageError::NotCommitted(_))), "{refused:?}");
    let after = fine(&db, "AFTER").await;
    assert!(after.0 > before.0 && after.1 > before.1);
    assert_eq!(codes(&db).await, ["BEFORE", "AFTER"]);
}
