//! The audit trail: rows are written with the deed they tell of, linked, and stay as they are.

use super::raw::Raw;
use super::samples::{add_assets, add_market, add_source, d, market, read};
use super::writer::{Held, send};
use crate::on_both;
use crate::support::{Backend, TestDb};
use artifact::domain::audit::{Actor, ActorKind, Entry, Head};
use artifact::domain::hexadecimal::hex;
use artifact::domain::moment::Moment;
use artifact::domain::price::Quote;
use artifact::storage::error::StorageError;
use artifact::storage::prices::Series;
use artifact::storage::{audit, markets, prices};
use artifact::workers::refusals::{self, Refusal, Refusals};
use futures_util::future::join_all;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

pub(super) fn alice() -> Actor {
    Actor {
        key_prefix: Some("abc".to_owned()),
        address: Some("192.0.2.7".to_owned()),
        request_id: Some("r-1".to_owned()),
        ..Actor::new(ActorKind::Key, "key:abc")
    }
}

/// Tells one thing and changes nothing else.
pub(super) async fn tell(db: &TestDb, actor: Actor, entry: Entry) {
    let told = db.db.writer().write::<_, StorageError, _>(actor, move |tx| {
        Box::pin(async move {
            tx.audit(entry);
            Ok(())
        })
    });
    told.await.unwrap();
}

/// The rows as one text each, without time and hash.
async fn rows(db: &TestDb) -> Vec<String> {
    const SQL: &str = "SELECT seq || ' ' || actor || ' ' || actor_kind || ' ' || COALESCE(key_prefix, '-') || ' ' \
        || COALESCE(address, '-') || ' ' || action || ' ' || object_type || ' ' || COALESCE(object_id, '-') || ' ' \
        || outcome || ' ' || COALESCE(request_id, '-') || ' ' || COALESCE(before_json, '-') || ' ' \
        || COALESCE(after_json, '-') FROM audit_rows ORDER BY seq";
    Raw::open(&db.location).await.texts(SQL).await
}

async fn head(db: &TestDb) -> Head {
    audit::head(&mut read(db).await).await.unwrap()
}

on_both! {
    /// Of 305 refusals in a minute three hundred have rows at once; the rest is one row, written once the minute has ended, or
    /// when the service stops.
    async fn refusals_that_were_only_counted_are_told_at_the_end_of_their_minute_and_at_a_stop(backend) {
        let (db, refusals) = (TestDb::open(backend).await, Arc::new(Refusals::default()));
        let refuse = async |now: Moment| {
            for _ in 0..305 {
                let route = "GET /markets".to_owned();
                refusals.note(&db.db, Refusal { actor: alice(), route, user: None, status: 401, code: "unauthorized" }, now).await;
            }
        };
        refuse(db.clock.now()).await;
        assert_eq!(rows(&db).await.len(), 300);
        refusals.flush(&db.db).await;
        assert_eq!(rows(&db).await.len(), 301);
        refuse(db.clock.now()).await;
        db.clock.set(db.clock.now().plus(60_000_000));
        let stop = CancellationToken::new();
        let watch = tokio::spawn(refusals::supervise(Arc::clone(&refusals), db.db.clone(), db.clock.clone(), stop.clone()));
        for _ in 0..100 {
            if rows(&db).await.len() == 602 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(rows(&db).await.len(), 602);
        stop.cancel();
        tokio::time::timeout(Duration::from_secs(2), watch).await.unwrap().unwrap();
    }

    async fn a_row_tells_who_did_what_and_a_job_that_is_undone_leaves_none(backend) {
        let db = TestDb::open(backend).await;
        assert_eq!(head(&db).await, Head::EMPTY);
        tell(&db, alice(), Entry::created("market.create", 7, &serde_json::json!({"code": "X"}))).await;
        let undone: Result<(), StorageError> = db.db.writer().write(alice(), |tx| {
            Box::pin(async move {
                tx.audit(Entry::done("market.open", 7));
                Err(StorageError::Unaudited)
            })
        }).await;
        assert!(matches!(undone, Err(StorageError::Unaudited)));
        tell(&db, Actor::system("queue"), Entry::done("market.open", 7)).await;
        assert_eq!(rows(&db).await, [
            "1 key:abc key abc 192.0.2.7 market.create market 7 done r-1 - {\"code\":\"X\"}",
            "2 system:queue system - - market.open market 7 done - - -",
        ]);
        assert_eq!(head(&db).await.seq, 2);
    }

    async fn rows_of_the_trail_can_be_neither_changed_nor_removed_nor_put_between(backend) {
        let db = TestDb::open(backend).await;
        for deed in ["market.open", "market.close"] {
            tell(&db, alice(), Entry::done(deed, 1)).await;
        }
        let before = rows(&db).await;
        let mut raw = Raw::open(&db.location).await;
        let copy = "actor, actor_kind, action, object_type, outcome, hash FROM audit_rows WHERE seq = 1";
        let into = "INTO audit_rows (seq, recorded_at, actor, actor_kind, action, object_type, outcome, hash)";
        for sql in [
            "UPDATE audit_rows SET actor = 'bob' WHERE seq = 1".to_owned(),
            "DELETE FROM audit_rows WHERE seq = 2".to_owned(),
            "DELETE FROM audit_rows".to_owned(),
            format!("INSERT {into} SELECT 0, 0, {copy}"),
            format!("INSERT {into} SELECT 4, 0, {copy}"),
        ] {
            assert!(raw.try_run(&sql).await.is_err(), "{sql}");
        }
        match backend {
            Backend::Sqlite => assert!(raw.try_run(&format!("INSERT OR REPLACE {into} SELECT 1, 0, {copy}")).await.is_err()),
            Backend::Postgres => assert!(raw.try_run("TRUNCATE audit_rows").await.is_err()),
        }
        assert_eq!(rows(&db).await, before);
        // What does fit is taken: the triggers judge the place, the chain judges the values.
        raw.run(&format!("INSERT {into} SELECT 3, 0, {copy}")).await;
    }

    async fn prices_are_one_row_for_each_commit_and_caller(backend) {
        let db = TestDb::open(backend).await;
        let (asset, source) = (add_assets(&db, &["GOLD"]).await[0], add_source(&db, "desk").await);
        let record = |actor: Actor, at: &'static [i64], fails: bool| {
            db.db.writer().write(actor, move |tx| Box::pin(async move {
                let series = Series { asset, source, interval: "", source_priority: &[] };
                let points: Vec<_> = at.iter().map(|at| (Moment(*at), Quote::tick(d("1.50")))).collect();
                // As a whole where they go on from the end, one by one where they do not.
                prices::record_run(tx, series, points).await?;
                if fails { Err(StorageError::Unaudited) } else { Ok(()) }
            }))
        };
        let bob = Actor { request_id: Some("r-2".to_owned()), ..Actor::new(ActorKind::Key, "key:bob") };
        let again = Actor { request_id: Some("r-3".to_owned()), ..alice() };
        // What waits while the writer is busy shares the next commit.
        let held = Held::start(&db.db).await;
        let jobs = send([
            record(alice(), &[10, 20], false),
            record(bob.clone(), &[30], false),
            record(bob, &[35], true),
            record(again, &[40, 10], false),
        ]).await;
        held.end().await.unwrap();
        let outcomes: Vec<bool> = join_all(jobs).await.into_iter().map(|job| job.is_ok()).collect();
        assert_eq!(outcomes, [true, true, false, true]);
        let line = |at: &i64| format!("{} {} tick {at} 1.50 - - - -\n", asset.0, source.0);
        let hash = |ats: &[i64]| hex(&Sha256::digest(ats.iter().map(line).collect::<String>()));
        // 10 is sent twice: the second time it is a duplicate, which is no change.
        let told = |rows: usize, hash: &str| format!("\"rows\":{rows},\"sha256\":\"{hash}\"");
        assert_eq!(rows(&db).await, [
            format!("1 key:abc key abc 192.0.2.7 price.record price - done - - {{{},\"request_ids\":[\"r-1\",\"r-3\"]}}", told(3, &hash(&[10, 20, 40]))),
            format!("2 key:bob key - - price.record price - done r-2 - {{{}}}", told(1, &hash(&[30]))),
        ]);
    }

    async fn a_withdrawn_price_is_told_as_such(backend) {
        let db = TestDb::open(backend).await;
        let (asset, source) = (add_assets(&db, &["GOLD"]).await[0], add_source(&db, "desk").await);
        let work = db.db.writer().write::<_, StorageError, _>(alice(), move |tx| Box::pin(async move {
            let series = Series { asset, source, interval: "", source_priority: &[] };
            let points = [1, 2].map(|at| (Moment(at), Quote::tick(d("1"))));
            prices::record(tx, series, &points).await?;
            prices::withdraw(tx, series, Moment(1)).await?;
            prices::record(tx, series, &[(Moment(3), Quote::tick(d("1")))]).await?;
            Ok(())
        }));
        work.await.unwrap();
        let told: Vec<String> = rows(&db).await.into_iter().map(|row| row.split(",\"sha256").next().unwrap().to_owned()).collect();
        assert_eq!(told, [
            "1 key:abc key abc 192.0.2.7 price.record price - done r-1 - {\"rows\":3",
            "2 key:abc key abc 192.0.2.7 price.withdraw price - done r-1 - {\"rows\":1",
        ]);
    }

    async fn a_commit_that_fails_leaves_the_chain_whole(backend) {
        let db = TestDb::open(backend).await;
        tell(&db, alice(), Entry::done("market.open", 1)).await;
        let before = head(&db).await;
        // An entry that the table refuses takes the commit with it.
        let failed = db.db.writer().write::<_, StorageError, _>(alice(), |tx| Box::pin(async move {
            let mut entry = Entry::done("market.open", 1);
            if let Some(id) = &mut entry.object_id { id.push('\0') }
            entry.after = Some("\0".to_owned());
            tx.audit(entry);
            tx.audit(Entry::done("market.close", 1));
            Ok(())
        })).await;
        // PostgreSQL takes no zero bytes in text; SQLite does.
        assert_eq!(failed.is_err(), backend == Backend::Postgres);
        let grown = if backend == Backend::Postgres { 0 } else { 2 };
        assert_eq!(head(&db).await.seq, before.seq + grown);
        tell(&db, alice(), Entry::done("market.halt", 1)).await;
        assert_eq!(head(&db).await.seq, before.seq + grown + 1);
    }

    async fn the_same_deeds_have_the_same_hashes_after_a_restart(backend) {
        let mut db = TestDb::open(backend).await;
        tell(&db, alice(), Entry::done("market.open", 1)).await;
        let before = head(&db).await;
        db.db.close().await;
        db.reopen().await;
        assert_eq!(head(&db).await, before);
        tell(&db, alice(), Entry::done("market.close", 1)).await;
        let after = head(&db).await;
        assert_eq!(after.seq, before.seq + 1);
        assert_ne!(after.hash, before.hash);
    }
}

/// A write that changed a row and told nothing is a mistake of the program, which debug builds refuse.
#[tokio::test]
async fn a_write_that_changes_something_and_tells_nothing_is_refused() {
    let db = TestDb::open(Backend::Sqlite).await;
    let silent: Result<_, StorageError> =
        db.db.writer().write(alice(), |tx| Box::pin(markets::insert(tx, market("SILENT", "s")))).await;
    assert!(matches!(silent, Err(StorageError::Unaudited)));
    let idle: Result<(), StorageError> = db.db.writer().write(alice(), |_| Box::pin(async { Ok(()) })).await;
    idle.unwrap();
    let told: Result<_, StorageError> = db
        .db
        .writer()
        .write(alice(), |tx| {
            Box::pin(async move {
                let market = markets::insert(tx, market("TOLD", "t")).await?;
                tx.audit(Entry::done("market.create", market.id));
                Ok(market)
            })
        })
        .await;
    told.unwrap();
    assert_eq!(Raw::open(&db.location).await.texts("SELECT code FROM markets").await, ["TOLD"]);
    // Sorting prices and the like is nobody's deed.
    add_market(&db, market("KEPT", "k")).await;
}
