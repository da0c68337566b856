//! API keys.

use super::samples::{m, read, shown, uuid};
use crate::on_both;
use crate::support::TestDb;
use artifact::storage::access::{self, ApiKey};
use artifact::storage::error::StorageError;

fn key(prefix: &str) -> ApiKey {
    ApiKey {
        id: uuid(),
        prefix: prefix.to_owned(),
        secret_hash: "ab".repeat(32),
        name: "clé".to_owned(),
        owner_id: "alice".to_owned(),
        scopes: "read write".to_owned(),
        expires_at: None,
        revoked_at: None,
    }
}

on_both! {
    async fn a_key_is_found_by_exactly_its_prefix(backend) {
        let db = TestDb::open(backend).await;
        let (open_ended, ending) =
            (key("abcd"), ApiKey { expires_at: Some(m("2027-01-01T00:00:00Z")), ..key("ABCD") });
        for key in [open_ended.clone(), ending.clone()] {
            db.write(move |tx| Box::pin(async move { access::insert_key(tx, &key).await })).await;
        }
        let tx = &mut read(&db).await;
        for key in [open_ended, ending] {
            let found = access::find_key(tx, &key.prefix).await.unwrap();
            assert_eq!(shown(&found), shown(&Some(key)));
        }
        for prefix in ["abc", "abcde", "abc_", "%", ""] {
            assert!(access::find_key(tx, prefix).await.unwrap().is_none(), "{prefix}");
        }
    }

    async fn keys_are_counted_and_no_prefix_is_given_out_twice(backend) {
        let db = TestDb::open(backend).await;
        assert_eq!(access::count_keys(&mut read(&db).await).await.unwrap(), 0);
        for (prefix, is_new) in [("abcd", true), ("efgh", true), ("abcd", false)] {
            let key = key(prefix);
            let added: Result<(), StorageError> =
                db.db.writer().housekeep(move |tx| Box::pin(async move { access::insert_key(tx, &key).await })).await;
            assert_eq!(added.is_ok(), is_new, "{added:?}");
            assert!(is_new || matches!(added, Err(StorageError::Conflict(_))));
        }
        assert_eq!(access::count_keys(&mut read(&db).await).await.unwrap(), 2);
    }
}
