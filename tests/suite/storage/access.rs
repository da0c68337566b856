//! API keys.

use super::samples::{m, read, uuid};
use crate::on_both;
use crate::support::{Scratch, TestDb};
use artifact::domain::moment::Moment;
use artifact::random::Random;
use artifact::storage::access::{self, ApiKey};
use artifact::storage::error::StorageError;
use artifact::workers::directory::Directory;
use artifact::workers::server_secret::{SecretPlace, ServerSecret};
use std::sync::Arc;

fn key(prefix: &str) -> ApiKey {
    ApiKey {
        id: uuid(),
        prefix: prefix.to_owned(),
        lineage: "first".to_owned(),
        secret_hash: "ab".repeat(32),
        name: "clé".to_owned(),
        owner_id: "alice".to_owned(),
        scopes: "read write".to_owned(),
        portfolios: None,
        created_at: Moment(0),
        expires_at: None,
        revoked_at: None,
        last_used_at: None,
    }
}

async fn insert(db: &TestDb, key: &ApiKey) -> ApiKey {
    let kept = key.clone();
    let created_at = db.write(move |tx| Box::pin(async move { access::insert_key(tx, &kept).await })).await;
    ApiKey { created_at, ..key.clone() }
}

async fn find(db: &TestDb, prefix: &str) -> ApiKey {
    access::find_key(&mut read(db).await, prefix).await.unwrap().unwrap()
}

on_both! {
    async fn a_key_is_found_by_exactly_its_prefix(backend) {
        let db = TestDb::open(backend).await;
        let ending = ApiKey { expires_at: Some(m("2027-01-01T00:00:00Z")), portfolios: Some("a b".to_owned()), ..key("ABCD") };
        for key in [key("abcd"), ending] {
            let kept = insert(&db, &key).await;
            assert!(kept.created_at > Moment(0));
            assert_eq!(find(&db, &key.prefix).await, kept);
        }
        for prefix in ["abc", "abcde", "abc_", "%", ""] {
            assert!(access::find_key(&mut read(&db).await, prefix).await.unwrap().is_none(), "{prefix}");
        }
    }

    /// At a start, keys from before there was a secret are hashed anew, and those of another secret are counted: they
    /// open nothing any more.
    async fn plain_hashes_are_keyed_at_a_start_and_foreign_ones_are_counted(backend) {
        let (db, scratch) = (TestDb::open(backend).await, Scratch::new());
        let secret = ServerSecret::load(&SecretPlace::Directory(scratch.0.clone()), Random::System).unwrap();
        let directory = Arc::new(Directory::new(secret, (String::new(), String::new()), Vec::new()));
        assert_eq!(directory.upgrade(&db.db).await.unwrap(), 0);
        let foreign = |prefix: &str| ApiKey { secret_hash: format!("hmac:00000000:{}", "ab".repeat(32)), ..key(prefix) };
        let ours = ApiKey { secret_hash: directory.key_hash("ours", "secret"), ..key("ours") };
        for key in [key("plain"), foreign("b"), foreign("c"), foreign("d"), ours.clone()] {
            insert(&db, &key).await;
        }
        let revoke = db.db.writer().housekeep::<_, StorageError, _>(|tx| Box::pin(async move { access::revoke_key(tx, "d").await.map(drop) }));
        revoke.await.unwrap();
        assert_eq!(directory.upgrade(&db.db).await.unwrap(), 2);
        let hash = async |prefix: &str| find(&db, prefix).await.secret_hash;
        assert!(directory.secret().knows(&hash("plain").await));
        assert_eq!((hash("b").await, hash("ours").await), (foreign("b").secret_hash, ours.secret_hash));
    }

    async fn keys_are_counted_and_no_prefix_is_given_out_twice(backend) {
        let db = TestDb::open(backend).await;
        assert_eq!(access::count_keys(&mut read(&db).await).await.unwrap(), 0);
        for (prefix, is_new) in [("abcd", true), ("efgh", true), ("abcd", false)] {
            let key = key(prefix);
            let added: Result<Moment, StorageError> =
                db.db.writer().housekeep(move |tx| Box::pin(async move { access::insert_key(tx, &key).await })).await;
            assert_eq!(added.is_ok(), is_new, "{added:?}");
            assert!(is_new || matches!(added, Err(StorageError::Conflict(_))));
        }
        assert_eq!(access::count_keys(&mut read(&db).await).await.unwrap(), 2);
    }

    async fn keys_are_listed_in_order_of_making_with_ties_by_prefix(backend) {
        let db = TestDb::open(backend).await;
        let (one, two) = (key("b"), key("a"));
        let at = db.write(move |tx| Box::pin(async move {
            access::insert_key(tx, &one).await?;
            access::insert_key(tx, &two).await
        })).await;
        insert(&db, &key("0")).await;
        let tx = &mut read(&db).await;
        let prefixes = |keys: Vec<ApiKey>| keys.into_iter().map(|key| key.prefix).collect::<Vec<_>>();
        assert_eq!(prefixes(access::list_keys(tx, None, 10).await.unwrap()), ["a", "b", "0"]);
        assert_eq!(prefixes(access::list_keys(tx, None, 2).await.unwrap()), ["a", "b"]);
        assert_eq!(prefixes(access::list_keys(tx, Some((at, "a".to_owned())), 2).await.unwrap()), ["b", "0"]);
        assert_eq!(prefixes(access::list_keys(tx, Some((at, "b".to_owned())), 2).await.unwrap()), ["0"]);
    }

    async fn a_key_ends_once_and_never_later_than_before(backend) {
        let db = TestDb::open(backend).await;
        let (soon, late) = (m("2027-01-01T00:00:00Z"), m("2028-01-01T00:00:00Z"));
        for prefix in ["a", "b"] {
            insert(&db, &key(prefix)).await;
        }
        let expire = async |at| db.write(move |tx| Box::pin(async move { access::expire_key(tx, "a", at).await })).await;
        for (at, end) in [(late, late), (soon, soon), (late, soon)] {
            expire(at).await;
            assert_eq!(find(&db, "a").await.expires_at, Some(end));
        }
        let revoke = async || db.write(|tx| Box::pin(async move { access::revoke_key(tx, "a").await })).await;
        revoke().await;
        let first = find(&db, "a").await.revoked_at;
        revoke().await;
        assert!(first.is_some() && find(&db, "a").await.revoked_at == first);
        let other = find(&db, "b").await;
        assert_eq!((other.expires_at, other.revoked_at), (None, None));
    }

    async fn a_key_gets_another_hash_and_its_last_use_only_grows(backend) {
        let db = TestDb::open(backend).await;
        for prefix in ["a", "b"] {
            insert(&db, &key(prefix)).await;
        }
        db.write(|tx| Box::pin(async move { access::rehash_key(tx, "a", "hmac:x:y").await })).await;
        let (early, late) = (m("2026-11-23T12:00:00Z"), m("2026-11-23T12:01:00Z"));
        for at in [late, early] {
            db.write(move |tx| Box::pin(async move { access::note_use(tx, "a", at).await })).await;
        }
        let (a, b) = (find(&db, "a").await, find(&db, "b").await);
        assert_eq!((a.secret_hash.as_str(), a.last_used_at), ("hmac:x:y", Some(late)));
        assert_eq!((b.secret_hash, b.last_used_at), ("ab".repeat(32), None));
    }
}
