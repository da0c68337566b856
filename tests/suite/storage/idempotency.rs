//! Kept answers.

use super::samples::shown;
use crate::on_both;
use crate::support::{START, TestDb};
use artifact::domain::moment::Moment;
use artifact::storage::error::StorageError;
use artifact::storage::idempotency::{self, KEPT, KeptAnswer, KeyedRequest};

fn request(actor: &str, route: &str, key: &str) -> KeyedRequest {
    let [actor, route, key] = [actor, route, key].map(str::to_owned);
    KeyedRequest { actor, route, key, request_hash: "cd".repeat(32) }
}

fn answer(body: &str) -> KeptAnswer {
    KeptAnswer {
        request_hash: "cd".repeat(32),
        status: 201,
        location: Some("/markets/é".to_owned()),
        body: body.to_owned(),
    }
}

async fn keep(db: &TestDb, request: &KeyedRequest, answer: &KeptAnswer) -> Result<(), StorageError> {
    let (request, answer) = (request.clone(), answer.clone());
    db.db
        .writer()
        .housekeep(move |tx| Box::pin(async move { idempotency::keep(tx, &request, &answer).await }))
        .await
}

async fn find(db: &TestDb, request: &KeyedRequest) -> Option<KeptAnswer> {
    let request = request.clone();
    db.write(move |tx| Box::pin(async move { idempotency::find(tx, &request).await })).await
}

on_both! {
    async fn an_answer_is_found_by_who_asked_what_where_under_which_key(backend) {
        let db = TestDb::open(backend).await;
        let asked = request("alice", "POST /markets", "k");
        let kept = answer("{\"a\": 1.50}");
        keep(&db, &asked, &kept).await.unwrap();
        assert_eq!(shown(&find(&db, &asked).await), shown(&Some(kept)));
        for other in [
            request("bob", "POST /markets", "k"),
            request("alice", "POST /assets", "k"),
            request("alice", "POST /markets", "K"),
            request("alice", "POST /markets", "k "),
        ] {
            assert!(find(&db, &other).await.is_none(), "{other:?}");
            keep(&db, &other, &KeptAnswer { location: None, ..answer("") }).await.unwrap();
        }
        assert!(matches!(keep(&db, &asked, &answer("other")).await, Err(StorageError::Conflict(_))));
    }

    async fn an_answer_is_kept_for_a_day_by_the_stamps_and_then_its_key_is_free(backend) {
        let db = TestDb::open(backend).await;
        let (first, later) = (request("alice", "POST /markets", "1"), request("alice", "POST /markets", "2"));
        let start = Moment::parse(START).unwrap();
        keep(&db, &first, &answer("first")).await.unwrap();
        db.clock.set(start.plus(KEPT / 2));
        keep(&db, &later, &answer("later")).await.unwrap();
        db.clock.set(start.plus(KEPT - 1));
        assert_eq!(find(&db, &first).await.unwrap().body, "first");
        // The read above took the stamp of the last microsecond of the day.
        db.clock.set(start.plus(KEPT));
        assert!(find(&db, &first).await.is_none());
        keep(&db, &first, &answer("again")).await.unwrap();
        assert_eq!(find(&db, &first).await.unwrap().body, "again");
        assert_eq!(find(&db, &later).await.unwrap().body, "later");
    }

    async fn an_answer_that_advances_takes_the_place_of_the_one_before(backend) {
        let db = TestDb::open(backend).await;
        let asked = request("alice", "POST /prices/stream", "k");
        for step in ["one", "two"] {
            let sent = KeyedRequest { request_hash: format!("hash of {step}"), ..asked.clone() };
            db.write(move |tx| Box::pin(async move { idempotency::advance(tx, &sent, &answer(step)).await })).await;
            let kept = find(&db, &asked).await.unwrap();
            assert_eq!((kept.body.as_str(), kept.request_hash), (step, format!("hash of {step}")));
        }
    }

    async fn an_answer_is_not_kept_when_the_effect_it_answers_for_is_refused(backend) {
        let db = TestDb::open(backend).await;
        let asked = request("alice", "POST /markets", "k");
        let sent = asked.clone();
        let refused: Result<(), StorageError> = db
            .db
            .writer()
            .housekeep(move |tx| {
                Box::pin(async move {
                    idempotency::keep(tx, &sent, &answer("never sent")).await?;
                    Err(StorageError::Corrupt("refused".to_owned()))
                })
            })
            .await;
        assert!(refused.is_err());
        assert!(find(&db, &asked).await.is_none());
    }
}
