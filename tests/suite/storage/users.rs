//! Users, their sessions and refresh tokens.

use super::samples::{m, read, uuid};
use crate::on_both;
use crate::support::TestDb;
use artifact::domain::access::UserStatus;
use artifact::domain::moment::{DAY, Moment};
use artifact::storage::error::StorageError;
use artifact::storage::second_factors::{self, SecondFactor};
use artifact::storage::users::{self, RefreshToken, Session, User};
use uuid::Uuid;

fn user(name: &str) -> User {
    User {
        id: uuid(),
        name: name.to_owned(),
        password_hash: "$argon2id$".to_owned(),
        owner_id: "alice".to_owned(),
        scopes: "markets:read".to_owned(),
        portfolios: Some("a b".to_owned()),
        status: UserStatus::Active,
        version: 1,
        valid_from: Moment(7),
        created_at: Moment(0),
        updated_at: Moment(0),
    }
}

async fn insert(db: &TestDb, user: User) -> User {
    db.write(move |tx| Box::pin(async move { users::insert(tx, user).await })).await
}

async fn begin(db: &TestDb, user: Uuid, expires_at: Moment) -> Session {
    let session = Session { id: uuid(), user_id: user, expires_at, ended_at: None };
    let kept = session.clone();
    db.write(move |tx| {
        Box::pin(async move {
            let forget = tx.recorded_at()?.plus(-DAY);
            users::begin_session(tx, &kept, forget).await
        })
    })
    .await;
    session
}

async fn session(db: &TestDb, id: Uuid) -> Option<Session> {
    users::find_session(&mut read(db).await, id).await.unwrap()
}

on_both! {
    async fn a_user_is_kept_as_it_is_and_its_name_is_its_own(backend) {
        let db = TestDb::open(backend).await;
        let alice = insert(&db, user("alice")).await;
        assert!(alice.created_at > Moment(0) && alice.updated_at == alice.created_at);
        let tx = &mut read(&db).await;
        assert_eq!(users::find(tx, alice.id).await.unwrap().as_ref(), Some(&alice));
        assert_eq!(users::find_by_name(tx, "alice").await.unwrap().as_ref(), Some(&alice));
        assert!(users::find_by_name(tx, "Alice").await.unwrap().is_none());
        assert!(users::find(tx, uuid()).await.unwrap().is_none());
        let again: Result<User, StorageError> =
            db.db.writer().housekeep(|tx| Box::pin(async move { users::insert(tx, user("alice")).await })).await;
        assert!(matches!(again, Err(StorageError::Conflict(_))), "{again:?}");
        let changed = User { scopes: "admin".to_owned(), portfolios: None, status: UserStatus::Disabled, valid_from: Moment(9),
            password_hash: "$argon2id$2".to_owned(), owner_id: "mallory".to_owned(), ..alice.clone() };
        let changed = db.write(move |tx| Box::pin(async move { users::update(tx, changed).await })).await;
        assert_eq!(changed.version, 2);
        let kept = users::find(&mut read(&db).await, alice.id).await.unwrap().unwrap();
        assert_eq!(kept, User { owner_id: "alice".to_owned(), ..changed }, "the owner is fixed");
    }

    async fn users_are_listed_by_name(backend) {
        let db = TestDb::open(backend).await;
        for name in ["carol", "alice", "bob"] {
            insert(&db, user(name)).await;
        }
        let tx = &mut read(&db).await;
        let names = |users: Vec<User>| users.into_iter().map(|user| user.name).collect::<Vec<_>>();
        assert_eq!(names(users::list(tx, "", 10).await.unwrap()), ["alice", "bob", "carol"]);
        assert_eq!(names(users::list(tx, "alice", 1).await.unwrap()), ["bob"]);
    }

    async fn sessions_end_once_and_are_forgotten_a_day_after_they_expired(backend) {
        let db = TestDb::open(backend).await;
        let (alice, bob) = (insert(&db, user("alice")).await, insert(&db, user("bob")).await);
        let later = m("2026-12-01T00:00:00Z");
        let (one, two, other) = (begin(&db, alice.id, later).await, begin(&db, alice.id, later).await, begin(&db, bob.id, later).await);
        let before = db.write(|tx| Box::pin(async move { tx.recorded_at() })).await;
        db.write(move |tx| Box::pin(async move { users::end_session(tx, one.id, "logged out").await })).await;
        let ended = session(&db, one.id).await.unwrap().ended_at;
        assert!(ended > Some(before));
        db.write(move |tx| Box::pin(async move { users::end_sessions(tx, alice.id, "disabled").await })).await;
        assert_eq!(session(&db, one.id).await.unwrap().ended_at, ended, "it had ended before");
        assert!(session(&db, two.id).await.unwrap().ended_at > ended);
        assert_eq!(session(&db, other.id).await.unwrap().ended_at, None);
        let tx = &mut read(&db).await;
        assert_eq!(users::ended_sessions(tx, before).await.unwrap(), [two.id, one.id]);
        assert_eq!(users::ended_sessions(tx, ended.unwrap()).await.unwrap(), [two.id]);
        db.clock.set(later.plus(DAY));
        let late = begin(&db, bob.id, later.plus(2 * DAY)).await;
        assert!(session(&db, other.id).await.is_some(), "a day is not over yet");
        db.clock.set(later.plus(DAY + 1_000_000));
        begin(&db, bob.id, later.plus(2 * DAY)).await;
        assert!(session(&db, other.id).await.is_none() && session(&db, late.id).await.is_some());
    }

    async fn logins_are_open_until_they_are_ended_or_cannot_be_gone_on_with(backend) {
        let db = TestDb::open(backend).await;
        let (alice, bob) = (insert(&db, user("alice")).await, insert(&db, user("bob")).await);
        let (soon, later) = (m("2026-12-01T00:00:00Z"), m("2026-12-20T00:00:00Z"));
        let refresh = async |session: &Session, expires_at: Moment| {
            let token = RefreshToken { id: uuid(), session_id: session.id, secret_hash: "hmac:a:b".to_owned(), expires_at, used_at: None };
            let kept = token.clone();
            db.write(move |tx| Box::pin(async move { users::insert_refresh(tx, &kept).await })).await;
            token.id
        };
        let (first, second) = (begin(&db, alice.id, later).await, begin(&db, alice.id, later).await);
        let foreign = begin(&db, bob.id, later).await;
        let used = refresh(&first, soon).await;
        db.write(move |tx| Box::pin(async move { users::use_refresh(tx, used).await })).await;
        refresh(&first, later).await;
        refresh(&second, soon).await;
        refresh(&foreign, later).await;
        let open = async |at: Moment| users::open_sessions(&mut read(&db).await, alice.id, at).await.unwrap();
        let found = open(soon.plus(-1)).await;
        assert_eq!(found.iter().map(|session| session.id).collect::<Vec<_>>(), [second.id, first.id], "the newest first");
        assert_eq!((found[0].refreshed_at, found[0].refresh_by, found[0].expires_at), (None, soon, later));
        assert!(found[1].refreshed_at > Some(found[1].created_at), "{found:?}");
        assert_eq!(found[1].refresh_by, later, "that of the token which is still good");
        assert_eq!(open(soon).await.iter().map(|session| session.id).collect::<Vec<_>>(), [first.id], "the other was not refreshed in time");
        assert_eq!(open(later).await, []);
        db.write(move |tx| Box::pin(async move { users::end_session(tx, first.id, "logged out").await })).await;
        assert_eq!(open(soon).await, []);
    }

    async fn a_refresh_token_is_used_once_and_goes_with_its_session(backend) {
        let db = TestDb::open(backend).await;
        let alice = insert(&db, user("alice")).await;
        let later = m("2026-12-01T00:00:00Z");
        let session = begin(&db, alice.id, later).await;
        let token = RefreshToken { id: uuid(), session_id: session.id, secret_hash: "hmac:a:b".to_owned(), expires_at: later, used_at: None };
        let kept = token.clone();
        db.write(move |tx| Box::pin(async move { users::insert_refresh(tx, &kept).await })).await;
        let find = async || users::find_refresh(&mut read(&db).await, token.id).await.unwrap();
        assert_eq!(find().await.as_ref(), Some(&token));
        for _ in 0..2 {
            db.write(move |tx| Box::pin(async move { users::use_refresh(tx, token.id).await })).await;
        }
        let used = find().await.unwrap().used_at;
        db.write(move |tx| Box::pin(async move { users::use_refresh(tx, token.id).await })).await;
        assert!(used.is_some() && find().await.unwrap().used_at == used);
        db.clock.set(later.plus(2 * DAY));
        begin(&db, alice.id, later.plus(9 * DAY)).await;
        assert!(find().await.is_none());
    }

    async fn a_second_factor_is_in_force_once_proven_and_each_step_is_used_once(backend) {
        let db = TestDb::open(backend).await;
        let alice = insert(&db, user("alice")).await.id;
        let find = async || second_factors::find(&mut read(&db).await, alice).await.unwrap();
        let begin = async |salt: &'static str| db.write(move |tx| Box::pin(async move { second_factors::begin(tx, alice, salt).await })).await;
        let confirm = async |salt: &'static str, step| db.write(move |tx| Box::pin(async move { second_factors::confirm(tx, (alice, salt), step).await })).await;
        let using = async |salt: &'static str, step| db.write(move |tx| Box::pin(async move { second_factors::use_step(tx, (alice, salt), step).await })).await;
        let remove = async || db.write(move |tx| Box::pin(async move { second_factors::remove(tx, alice).await })).await;
        assert_eq!(find().await, None);
        begin("a").await;
        assert!(!using("a", 7).await, "it is not in force");
        assert!(!confirm("b", 7).await && confirm("a", 7).await);
        assert!(!using("a", 7).await && !using("a", 6).await && using("a", 8).await && !using("a", 8).await);
        begin("b").await;
        begin("c").await;
        assert_eq!(find().await, Some(SecondFactor { salt: Some("a".to_owned()), pending: Some("c".to_owned()), last_step: 8 }));
        assert!(using("a", 9).await && !confirm("b", 1).await && confirm("c", 1).await);
        assert!(!using("a", 10).await && using("c", 2).await, "steps are those of the factor");
        assert!(remove().await && !remove().await);
        assert_eq!(find().await, None);
    }
}
