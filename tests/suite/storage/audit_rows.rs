//! Rows of the audit trail, filtered, paged, and handed to a verification; and every kind of tampering, done to the real
//! tables.

use super::audit::{alice, tell};
use super::raw::Raw;
use super::samples::read;
use crate::on_both;
use crate::support::{Backend, TestDb};
use artifact::domain::audit::anchor::{Anchor, AnchorKind};
use artifact::domain::audit::key_ring::KeyRing;
use artifact::domain::audit::verification::{FaultKind, KeyUse, Verdict};
use artifact::domain::audit::{Actor, AuditKey, Entry, Outcome};
use artifact::domain::moment::Moment;
use artifact::random::Random;
use artifact::storage::anchor_file::{ANCHORS_FILE, AnchorFile};
use artifact::storage::audit_key::{self, KEY_FILE};
use artifact::storage::audit_rows::{self, AuditFilter, AuditSort};
use artifact::storage::page::{After, Page};
use artifact::workers::audit_trail::{AuditTrail, Given};

async fn seqs(db: &TestDb, filter: AuditFilter) -> Vec<i64> {
    let page = Page::first(AuditSort::Seq, 100);
    let rows = audit_rows::list(&mut read(db).await, &filter, &page).await.unwrap();
    rows.into_iter().map(|row| row.seq).collect()
}

/// Rows about markets 1 to `count`, anchored after each tenth.
async fn told(db: &TestDb, trail: &AuditTrail, count: u32) {
    trail.begin(&db.db, Moment(0)).await.unwrap();
    for number in 1..=count {
        tell(db, alice(), Entry::created("market.create", number, &number)).await;
        if number % 10 == 0 {
            assert!(trail.anchor(&db.db, Moment(0)).await.unwrap());
        }
    }
}

fn trail_of(db: &TestDb) -> AuditTrail {
    AuditTrail::under(db.location.directory(), db.db.audit_keys().clone(), 0)
}

async fn verdict(db: &TestDb) -> Verdict {
    let verdict = trail_of(db).verify(&db.db, Given::default(), &db.clock).await.unwrap();
    let head = audit_rows::head_at(&mut read(db).await, verdict.head.seq).await.unwrap();
    assert_eq!(head, Some(verdict.head));
    verdict
}

fn kinds(verdict: &Verdict) -> Vec<(FaultKind, i64)> {
    verdict.faults.iter().map(|fault| (fault.kind, fault.at)).collect()
}

/// Takes the triggers away, as whoever owns the database can, and runs statements.
async fn tamper(db: &TestDb, backend: Backend, sql: &str) {
    let mut raw = Raw::open(&db.location).await;
    match backend {
        Backend::Sqlite => {
            for trigger in [
                "audit_rows_are_not_changed",
                "audit_rows_are_not_removed",
                "audit_rows_are_added_at_the_end",
            ] {
                raw.run(&format!("DROP TRIGGER IF EXISTS {trigger}")).await;
            }
        }
        Backend::Postgres => raw.run("ALTER TABLE audit_rows DISABLE TRIGGER USER").await,
    }
    raw.run(sql).await;
    raw.close().await;
}

on_both! {
    async fn rows_are_found_by_each_filter_and_paged_both_ways(backend) {
        let db = TestDb::open(backend).await;
        tell(&db, alice(), Entry::created("portfolio.create", "p", &1)).await;
        db.clock.set(Moment(db.clock.now().0 + 1_000_000));
        let later = db.clock.now();
        tell(&db, Actor::system("queue"), Entry::done("portfolio.transaction.create", "t").on("portfolio", "p")).await;
        let denied = Entry { outcome: Outcome::Denied, code: Some("forbidden".to_owned()), ..Entry::done("portfolios.read", "x") };
        tell(&db, Actor { request_id: Some("r-9".to_owned()), ..alice() }, denied).await;
        let all = AuditFilter::default;
        assert_eq!(seqs(&db, all()).await, [1, 2, 3]);
        assert_eq!(seqs(&db, AuditFilter { from: Some(later), ..all() }).await, [2, 3]);
        assert_eq!(seqs(&db, AuditFilter { to: Some(later), ..all() }).await, [1]);
        assert_eq!(seqs(&db, AuditFilter { actor: Some("key:abc".to_owned()), ..all() }).await, [1, 3]);
        assert_eq!(seqs(&db, AuditFilter { action: Some("portfolio.create".to_owned()), ..all() }).await, [1]);
        // A prefix ends at its dot.
        assert_eq!(seqs(&db, AuditFilter { action: Some("portfolio.".to_owned()), ..all() }).await, [1, 2]);
        assert_eq!(seqs(&db, AuditFilter { action: Some("portfolio.tr%".to_owned()), ..all() }).await, [0; 0]);
        assert_eq!(seqs(&db, AuditFilter { object_type: Some("portfolio".to_owned()), ..all() }).await, [1, 2]);
        assert_eq!(seqs(&db, AuditFilter { object_id: Some("x".to_owned()), ..all() }).await, [3]);
        assert_eq!(seqs(&db, AuditFilter { outcome: Some(Outcome::Denied), ..all() }).await, [3]);
        assert_eq!(seqs(&db, AuditFilter { request_id: Some("r-9".to_owned()), ..all() }).await, [3]);
        let page = Page { sort: AuditSort::Seq, descending: true, limit: 1, after: Some(After { value: "3".to_owned(), key: 3 }) };
        let rows = audit_rows::list(&mut read(&db).await, &all(), &page).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.seq).collect::<Vec<_>>(), [2]);
        assert_eq!(rows[0].actor_kind, "system");
    }

    async fn an_untouched_trail_verifies_and_every_tampering_is_found(backend) {
        for (name, sql, expected) in [
            ("nothing", "SELECT 1", vec![]),
            ("edit", "UPDATE audit_rows SET actor = 'bob' WHERE seq = 5", vec![(FaultKind::Hash, 5)]),
            ("edit of what was told", "UPDATE audit_rows SET after_json = '99' WHERE seq = 24", vec![(FaultKind::Hash, 24)]),
            ("delete", "DELETE FROM audit_rows WHERE seq = 13", vec![(FaultKind::Gap, 14), (FaultKind::Hash, 14)]),
            ("swap", "UPDATE audit_rows SET seq = -1 WHERE seq = 3; UPDATE audit_rows SET seq = 3 WHERE seq = 4; \
              UPDATE audit_rows SET seq = 4 WHERE seq = -1",
             vec![(FaultKind::Hash, 3), (FaultKind::Hash, 4), (FaultKind::Hash, 5)]),
            ("renumber", "DELETE FROM audit_rows WHERE seq = 23; UPDATE audit_rows SET seq = 23 WHERE seq = 24; \
              UPDATE audit_rows SET seq = 24 WHERE seq = 25",
             vec![(FaultKind::Hash, 23), (FaultKind::Hash, 24)]),
            ("cut", "DELETE FROM audit_rows WHERE seq > 15", vec![(FaultKind::Cut, 20)]),
            ("all gone", "DELETE FROM audit_rows", vec![(FaultKind::Cut, 20)]),
        ] {
            let db = TestDb::open(backend).await;
            told(&db, &trail_of(&db), 25).await;
            tamper(&db, backend, sql).await;
            let found = verdict(&db).await;
            assert_eq!(kinds(&found), expected, "{name}: {found:?}");
            assert_eq!(found.is_good(), expected.is_empty());
        }
    }

    async fn a_rollback_and_another_key_are_found_and_a_restore_is_answered_for(backend) {
        let mut db = TestDb::open(backend).await;
        let trail = trail_of(&db);
        assert_eq!(audit_rows::first_at(&mut read(&db).await).await.unwrap(), None);
        let began = db.clock.now();
        told(&db, &trail, 20).await;
        assert_eq!(audit_rows::first_at(&mut read(&db).await).await.unwrap(), Some(began));
        assert!(trail.reaches_its_anchor(&db.db).await.unwrap());
        assert!(verdict(&db).await.is_good());
        // An old copy that went on with the right key.
        tamper(&db, backend, "DELETE FROM audit_rows WHERE seq > 14").await;
        db.db.close().await;
        db.reopen().await;
        let trail = trail_of(&db);
        assert!(!trail.reaches_its_anchor(&db.db).await.unwrap());
        assert!(!trail.anchor(&db.db, Moment(0)).await.unwrap(), "that the trail is short is not covered up");
        assert_eq!(kinds(&verdict(&db).await), [(FaultKind::Cut, 20)]);
        for number in 0..8 {
            tell(&db, alice(), Entry::done("market.open", number)).await;
        }
        assert!(trail.anchor(&db.db, Moment(0)).await.unwrap());
        assert_eq!(kinds(&verdict(&db).await), [(FaultKind::Anchor, 20)]);
        // Somebody answers for it: the anchor it contradicts stays in the file, and is given up from there on.
        tamper(&db, backend, "DELETE FROM audit_rows WHERE seq > 14").await;
        db.db.close().await;
        db.reopen().await;
        let trail = trail_of(&db);
        let head = trail.accept_restore(&db.db, alice(), ("backup of Monday", Moment(0))).await.unwrap();
        assert_eq!(head.seq, 15);
        let found = verdict(&db).await;
        assert!(found.is_good(), "{found:?}");
        assert_eq!(found.restores.iter().map(|r| (r.head.seq, r.note.as_str())).collect::<Vec<_>>(), [(14, "backup of Monday")]);
        let filter = AuditFilter { action: Some("database.restore".to_owned()), ..AuditFilter::default() };
        assert_eq!(seqs(&db, filter).await, [15]);
        // Another key fits no row and no anchor.
        let other = AuditTrail::under(db.location.directory(), AuditKey::new(&[9; 32]), 0);
        let found = other.verify(&db.db, Given::default(), &db.clock).await.unwrap();
        assert_eq!(found.faults.iter().filter(|fault| fault.kind == FaultKind::Hash).count(), 15);
        assert!(found.faults.iter().any(|fault| fault.kind == FaultKind::Seal));
        assert!(std::fs::metadata(db.location.directory().join(KEY_FILE)).is_ok());
    }

    async fn anchors_that_were_removed_emptied_or_cut_are_not_made_anew_until_somebody_answers(backend) {
        let db = TestDb::open(backend).await;
        let trail = trail_of(&db);
        told(&db, &trail, 20).await;
        let path = db.location.directory().join(ANCHORS_FILE);
        for cut in [None, Some(0), Some(1)] {
            let kept = std::fs::read_to_string(&path).unwrap();
            let left: Option<String> = cut.map(|lines| kept.split_inclusive('\n').take(lines).collect());
            let leave = || match &left {
                Some(left) => std::fs::write(&path, left).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            };
            leave();
            // The service that wrote them notices, whether the trail has grown since or not.
            trail.anchor(&db.db, Moment(0)).await.unwrap_err();
            tell(&db, alice(), Entry::done("market.open", 1)).await;
            trail.anchor(&db.db, Moment(0)).await.unwrap_err();
            assert_eq!(std::fs::read_to_string(&path).ok(), left);
            // One that is started now sees rows without an anchor. (That lines are missing at the end of the file, the log of
            // another machine tells.)
            if cut != Some(1) {
                let next = trail_of(&db);
                assert!(!next.reaches_its_anchor(&db.db).await.unwrap());
                assert!(!next.begin(&db.db, Moment(0)).await.unwrap());
                assert!(!next.anchor(&db.db, Moment(0)).await.unwrap());
                assert_eq!(std::fs::read_to_string(&path).ok(), left, "no anchor covers up that there are none");
                assert_eq!(kinds(&verdict(&db).await), [(FaultKind::NoAnchors, 0)]);
            }
            std::fs::write(&path, kept).unwrap();
            assert!(trail.anchor(&db.db, Moment(0)).await.unwrap(), "it is there again");
            assert!(verdict(&db).await.is_good());
        }
        std::fs::remove_file(&path).unwrap();
        trail.accept_restore(&db.db, alice(), ("the folder was lost", Moment(0))).await.unwrap();
        let found = verdict(&db).await;
        assert!(found.is_good(), "{found:?}");
        assert_eq!(found.restores.iter().map(|restore| restore.note.as_str()).collect::<Vec<_>>(), ["the folder was lost"]);
        assert!(!trail.anchor(&db.db, Moment(0)).await.unwrap(), "it is anchored to its end");
    }

    async fn a_restore_among_the_anchors_is_told_in_the_trail_once(backend) {
        let mut db = TestDb::open(backend).await;
        let trail = trail_of(&db);
        told(&db, &trail, 20).await;
        assert!(!trail.end_restore(&db.db, Moment(0)).await.unwrap(), "there was none");
        tamper(&db, backend, "DELETE FROM audit_rows WHERE seq > 14").await;
        db.db.close().await;
        db.reopen().await;
        // A restore writes its line; one that is done again because it was stopped writes no second.
        let head = audit_rows::head_at(&mut read(&db).await, 14).await.unwrap().unwrap();
        let (file, key) = (AnchorFile::under(db.location.directory()), db.db.audit_keys().clone());
        let restore = Anchor { kind: AnchorKind::Restore, head, at: Moment(5), note: "backup 7".to_owned() };
        let line = file.next_line(&key, &restore).unwrap();
        let before = file.read(&key).unwrap().unwrap().lines();
        for _ in 0..2 {
            file.add_line(&line).unwrap();
        }
        let anchors = file.read(&key).unwrap().unwrap();
        assert_eq!((anchors.lines(), anchors.broken.len()), (before + 1, 0));
        let trail = trail_of(&db);
        assert!(trail.reaches_its_anchor(&db.db).await.unwrap());
        assert!(trail.end_restore(&db.db, Moment(6)).await.unwrap());
        assert!(!trail.end_restore(&db.db, Moment(7)).await.unwrap(), "once");
        assert!(!trail_of(&db).end_restore(&db.db, Moment(8)).await.unwrap(), "by nobody else either");
        let found = verdict(&db).await;
        assert_eq!((found.is_good(), found.rows, found.restores.len()), (true, 15, 1), "{found:?}");
        let rows = audit_rows::list(&mut read(&db).await, &AuditFilter { action: Some("database.restore".to_owned()), ..AuditFilter::default() },
            &Page::first(AuditSort::Seq, 9)).await.unwrap();
        assert_eq!((rows.len(), rows[0].object_id.as_deref()), (1, Some("backup 7")));
        assert!(rows[0].before_json.as_deref().unwrap().contains("\"seq\":20"), "{rows:?}");
        assert!(rows[0].after_json.as_deref().unwrap().contains("\"seq\":14"), "{rows:?}");
    }

    async fn a_key_the_trail_was_not_made_with_is_refused_and_one_row_that_was_touched_is_no_reason_to(backend) {
        let db = TestDb::open(backend).await;
        let (own, other) = (db.db.audit_keys().clone(), KeyRing::from(AuditKey::new(&[9; 32])));
        let judged = async |keys: &KeyRing, after: i64| {
            audit_rows::refuse_other_key(&mut read(&db).await, keys, after).await
        };
        judged(&other, 0).await.expect("a trail without rows is anybody's");
        told(&db, &trail_of(&db), 40).await;
        judged(&own, 0).await.unwrap();
        let refused = judged(&other, 0).await.unwrap_err().to_string();
        assert!(refused.contains("rows 9 to 40 do not fit"), "{refused}");
        judged(&other, 39).await.unwrap_err();
        judged(&other, 40).await.expect("those rows are taken as they are");
        tamper(&db, backend, "UPDATE audit_rows SET actor = 'bob' WHERE seq = 40").await;
        judged(&own, 0).await.expect("a verification finds that");
        assert_eq!(kinds(&verdict(&db).await), [(FaultKind::Hash, 40)]);
        // Rows that are taken as they are are not looked at.
        let lenient = AuditTrail::under(db.location.directory(), own, 40);
        let found = lenient.verify(&db.db, Given::default(), &db.clock).await.unwrap();
        assert_eq!((found.is_good(), found.rows), (true, 0), "{found:?}");
    }

    async fn a_new_key_goes_on_and_what_was_made_with_the_one_before_stays_proven(backend) {
        let mut db = TestDb::open(backend).await;
        let directory = db.location.directory().to_path_buf();
        let first = db.db.audit_keys().clone();
        audit_key::add(&directory, Random::System).unwrap();
        db.reopen().await;
        assert!(!trail_of(&db).take_up_newest_key(&db.db, Moment(0)).await.unwrap(), "a trail without rows has no key yet");
        std::fs::write(directory.join(KEY_FILE), std::fs::read_to_string(directory.join(KEY_FILE)).unwrap().lines().next().unwrap()).unwrap();
        db.reopen().await;
        told(&db, &trail_of(&db), 20).await;
        assert!(!trail_of(&db).take_up_newest_key(&db.db, Moment(0)).await.unwrap(), "there is one key");

        audit_key::add(&directory, Random::System).unwrap();
        db.reopen().await;
        let trail = trail_of(&db);
        let is_earlier = async || audit_rows::ends_with_earlier_key(&mut read(&db).await, db.db.audit_keys()).await.unwrap();
        assert!(is_earlier().await);
        assert!(trail.take_up_newest_key(&db.db, Moment(0)).await.unwrap());
        assert!(!is_earlier().await);
        assert!(!trail.take_up_newest_key(&db.db, Moment(0)).await.unwrap(), "once");
        told(&db, &trail, 4).await;
        let found = verdict(&db).await;
        assert!(found.is_good(), "{found:?}");
        assert_eq!(found.keys, [KeyUse { number: 1, first: 1 }, KeyUse { number: 2, first: 21 }]);
        let filter = AuditFilter { action: Some("audit.key".to_owned()), ..AuditFilter::default() };
        let rows = audit_rows::list(&mut read(&db).await, &filter, &Page::first(AuditSort::Seq, 9)).await.unwrap();
        assert_eq!((rows.len(), rows[0].seq, rows[0].after_json.as_deref()), (1, 21, Some(r#"{"number":2}"#)));

        // Who has learnt the first key proves the rows up to there with it, and no other.
        let thief = AuditTrail::under(&directory, first.clone(), 0);
        let found = thief.verify(&db.db, Given::default(), &db.clock).await.unwrap();
        let unfit = |fault: &&artifact::domain::audit::verification::Fault| fault.kind == FaultKind::Hash;
        assert_eq!(found.faults.iter().filter(unfit).map(|fault| fault.at).collect::<Vec<_>>(), [21, 22, 23, 24, 25]);
        // Nor is the data opened with it alone, once none of the newest rows is of it.
        told(&db, &trail, 40).await;
        let refused = audit_rows::refuse_other_key(&mut read(&db).await, &first, 0).await.unwrap_err();
        assert!(refused.to_string().contains("was not made with the key"), "{refused}");
        // A row that fits no key is found by a verification; no key is taken up for it.
        tamper(&db, backend, "UPDATE audit_rows SET actor = 'bob' WHERE seq = 65").await;
        assert!(!trail.take_up_newest_key(&db.db, Moment(0)).await.unwrap());
        assert_eq!(kinds(&verdict(&db).await), [(FaultKind::Hash, 65)]);
    }

    async fn many_rows_are_verified_part_by_part(backend) {
        let db = TestDb::open(backend).await;
        assert!(trail_of(&db).begin(&db.db, Moment(0)).await.unwrap());
        let work = db.db.writer().write::<_, artifact::storage::error::StorageError, _>(alice(), |tx| Box::pin(async move {
            for number in 0..9_000 {
                tx.audit(Entry::created("market.create", number, &number));
            }
            Ok(())
        }));
        work.await.unwrap();
        trail_of(&db).anchor(&db.db, Moment(0)).await.unwrap();
        let found = verdict(&db).await;
        assert_eq!((found.rows, found.anchors, found.is_good()), (9_000, 1, true));
        let (mut verifier, mut parts) = (artifact::domain::audit::verification::Verifier::new(
            db.db.audit_keys().clone(), None, Vec::new(), found.head), 0);
        while audit_rows::scan(&mut read(&db).await, &mut verifier).await.unwrap() > 0 { parts += 1; }
        assert_eq!(parts, 0, "nothing comes after the end");
    }
}
