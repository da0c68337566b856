//! The key of the audit trail: made once, kept from others, and never made anew for a trail that has rows.

use super::audit::{alice, tell};
use crate::on_both;
use crate::support::{Scratch, TestDb};
use artifact::domain::audit::Entry;
use artifact::random::Random;
use artifact::storage::audit_key::{self, KEY_FILE};
use artifact::storage::database::Database;
use artifact::storage::error::StorageError;
use std::os::unix::fs::PermissionsExt as _;

on_both! {
    async fn a_trail_with_rows_is_not_opened_without_its_key(backend) {
        let mut db = TestDb::open(backend).await;
        let path = db.location.directory().join(KEY_FILE);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(&path).unwrap();
        // Nothing was told under it, so another may take its place.
        db.db.close().await;
        std::fs::remove_file(&path).unwrap();
        db.reopen().await;
        let second = std::fs::read_to_string(&path).unwrap();
        assert_ne!(second, text);
        tell(&db, alice(), Entry::done("market.open", 1)).await;
        db.db.close().await;
        db.reopen().await;
        assert_eq!(std::fs::read_to_string(&path).unwrap(), second);
        db.db.close().await;
        let (location, clock) = (db.location.clone(), db.clock.clone());
        std::fs::remove_file(&path).unwrap();
        drop(db.db);
        let refused = Database::open(&location, clock.clone()).await;
        assert!(matches!(refused, Err(StorageError::AuditKey(reason)) if reason.contains(KEY_FILE)));
        assert!(!path.exists());
        std::fs::write(&path, "no key").unwrap();
        assert!(matches!(Database::open(&location, clock.clone()).await, Err(StorageError::AuditKey(_))));
        std::fs::write(&path, format!("{second}\n")).unwrap();
        let open = Database::open(&location, clock.clone()).await;
        assert!(matches!(open, Err(StorageError::AuditKey(said)) if said.contains("others may read it")));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        Database::open(&location, clock).await.unwrap();
    }
}

#[test]
fn a_key_is_added_after_those_that_are_there() {
    let scratch = Scratch::new();
    let path = scratch.0.join(KEY_FILE);
    assert!(matches!(audit_key::add(&scratch.0, Random::System), Err(StorageError::AuditKey(_))));
    assert!(!path.exists(), "there is no first one to come after");
    audit_key::create(&scratch.0, Random::System).unwrap();
    let first = std::fs::read_to_string(&path).unwrap();
    for count in 2..=4 {
        audit_key::add(&scratch.0, Random::System).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let different: std::collections::BTreeSet<&str> = lines.iter().copied().collect();
        assert_eq!((lines[0], lines.len(), different.len()), (first.as_str(), count, count));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(audit_key::read(&path).unwrap().unwrap().count(), count);
    }
    assert_eq!(std::fs::read_dir(&scratch.0).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn a_key_that_is_there_is_never_replaced() {
    let scratch = Scratch::new();
    audit_key::create(&scratch.0, Random::System).unwrap();
    let path = scratch.0.join(KEY_FILE);
    let first = std::fs::read_to_string(&path).unwrap();
    assert!(matches!(audit_key::create(&scratch.0, Random::System), Err(StorageError::File { .. })));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), first);
    assert!(audit_key::read(&path).unwrap().is_some());
    let settings = audit_key::Settings::default();
    assert_eq!(settings.path(&scratch.0), path);
    assert!(settings.keys(&scratch.0).unwrap().is_some());
    // One that is named is in nobody's directory, and has to be there.
    let named = audit_key::Settings { file: Some(scratch.0.join("absent")), after: 0 };
    assert!(matches!(named.keys(&scratch.0), Err(StorageError::AuditKey(_))));
    assert!(audit_key::read(&scratch.0.join("absent")).unwrap().is_none());
}
