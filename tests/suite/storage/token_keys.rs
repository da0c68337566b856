//! Keys that sign, and tokens that are refused.

use super::samples::read;
use crate::on_both;
use crate::support::TestDb;
use artifact::domain::moment::{DAY, Moment};
use artifact::storage::token_keys::{self, Revocation};

on_both! {
    async fn one_key_signs_and_those_before_it_are_retired(backend) {
        let db = TestDb::open(backend).await;
        for kid in ["one", "two"] {
            db.write(move |tx| Box::pin(async move { token_keys::insert_signing_key(tx, kid, "abcd").await })).await;
        }
        let tx = &mut read(&db).await;
        let keys = token_keys::signing_keys(tx, Moment::MIN).await.unwrap();
        let shown: Vec<(&str, bool)> = keys.iter().map(|key| (key.kid.as_str(), key.retired_at.is_some())).collect();
        assert_eq!(shown, [("two", false), ("one", true)]);
        assert_eq!(keys[1].retired_at, Some(keys[0].created_at));
        let left = token_keys::signing_keys(tx, keys[0].created_at).await.unwrap();
        assert_eq!(left, keys[..1], "retired at that moment or before");
    }

    async fn refusals_are_renewed_and_forgotten_when_they_expire(backend) {
        let db = TestDb::open(backend).await;
        let start = db.clock.now();
        let revoke = async |claim: &str, value: &str, expires_at: Moment| {
            let revocation = Revocation { issuer: "https://idp/".to_owned(), claim: claim.to_owned(), value: value.to_owned(), revoked_at: Moment(0), expires_at };
            db.write(move |tx| Box::pin(async move { token_keys::revoke(tx, &revocation).await })).await;
        };
        revoke("sub", "carol", start.plus(DAY)).await;
        revoke("jti", "one", start.plus(3 * DAY)).await;
        let known = async |now| token_keys::revocations(&mut read(&db).await, now).await.unwrap();
        let first = known(start).await;
        assert_eq!(first.iter().map(|one| one.value.as_str()).collect::<Vec<_>>(), ["one", "carol"]);
        assert!(first.iter().all(|one| one.revoked_at >= start));
        revoke("sub", "carol", start.plus(2 * DAY)).await;
        let again = known(start.plus(DAY + 1)).await;
        assert_eq!(again.len(), 2);
        assert!(again[1].revoked_at > first[1].revoked_at && again[1].expires_at == start.plus(2 * DAY));
        db.clock.set(start.plus(2 * DAY + 1));
        revoke("jti", "two", start.plus(4 * DAY)).await;
        let left: Vec<String> = known(Moment::MIN).await.into_iter().map(|one| one.value).collect();
        assert_eq!(left, ["one", "two"], "the row is gone");
    }
}
