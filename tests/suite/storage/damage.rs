//! Damage of a SQLite file that is met while it is in use. (PostgreSQL looks after its own files, and tells.)

use super::audit::{alice, tell};
use super::raw::Raw;
use super::samples::read;
use crate::support::{Backend, TestDb};
use artifact::domain::audit::Entry;
use artifact::storage::database::DATABASE_FILE;
use artifact::storage::error::StorageError;
use artifact::storage::users;
use std::fs::File;
use std::os::unix::fs::FileExt as _;

#[tokio::test]
async fn a_damaged_page_that_somebody_reads_stops_writes_and_the_reason_names_what_to_do() {
    let db = TestDb::open(Backend::Sqlite).await;
    tell(&db, alice(), Entry::created("market.create", 1, &1)).await;
    let pages = {
        let mut raw = Raw::open(&db.location).await;
        raw.run("PRAGMA wal_checkpoint(PASSIVE)").await;
        raw.texts(
            "SELECT CAST(rootpage AS TEXT) FROM sqlite_master WHERE tbl_name = 'users' AND rootpage > 0",
        )
        .await
    };
    assert_eq!(users::find_by_name(&mut read(&db).await, "alice").await.unwrap(), None);
    db.db.close().await;
    let mut db = db;
    db.reopen().await;
    let file = File::options().write(true).open(db.location.directory().join(DATABASE_FILE)).unwrap();
    for page in pages {
        file.write_all_at(&[0xff; 8192], (page.parse::<u64>().unwrap() - 1) * 8192).unwrap();
    }
    assert_eq!(db.db.halted(), None);
    let met = users::find_by_name(&mut read(&db).await, "alice").await.unwrap_err();
    assert!(matches!(met, StorageError::Damaged(_)), "{met}");
    let reason = db.db.halted().unwrap();
    assert!(reason.contains("artifact backup restore latest"), "{reason}");
    let refused = db.db.writer().write::<(), StorageError, _>(alice(), |_| Box::pin(async { Ok(()) })).await;
    assert!(matches!(refused, Err(StorageError::Stopped(_))), "{refused:?}");
}
