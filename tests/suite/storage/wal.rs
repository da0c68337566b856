//! The write-ahead log of SQLite, taken up beside the commits.

use super::samples::uuid;
use crate::on_both;
use crate::support::{Backend, TestDb};
use artifact::domain::ids::BatchId;
use artifact::storage::database::DATABASE_FILE;
use artifact::storage::ingest_queue::{self, NewBatch};

const MIB: usize = 1 << 20;

/// Writes so many megabytes.
async fn write(db: &TestDb, count: usize) {
    for _ in 0..count {
        let new = NewBatch { id: BatchId(uuid()), actor: "a".to_owned(), rows: 1, body: vec![7; MIB] };
        db.write(move |tx| Box::pin(async move { ingest_queue::push(tx, &new).await })).await;
    }
}

on_both! {
    async fn the_log_is_taken_up_once_enough_of_it_waits_and_is_never_cut(backend) {
        let db = TestDb::open(backend).await;
        assert!(!db.db.take_up_log().await.unwrap(), "there is nothing to take up");
        write(&db, 20).await;
        if backend == Backend::Postgres {
            assert!(!db.db.take_up_log().await.unwrap());
            return;
        }
        let size = |name: String| std::fs::metadata(db.location.directory().join(name)).unwrap().len();
        let (log, before) = (size(format!("{DATABASE_FILE}-wal")), size(DATABASE_FILE.to_owned()));
        assert!(log > 20 << 20 && before < 5 << 20, "{log} {before}");
        assert!(db.db.take_up_log().await.unwrap());
        assert!(size(DATABASE_FILE.to_owned()) > 20 << 20, "it is in the database now");
        assert_eq!(size(format!("{DATABASE_FILE}-wal")), log);
        assert!(!db.db.take_up_log().await.unwrap(), "all of it was taken up");
        // Beside a reader that still needs what was before.
        write(&db, 2).await;
        let mut reader = db.db.read().await.unwrap();
        let level = ingest_queue::level(&mut reader).await.unwrap();
        write(&db, 20).await;
        assert!(db.db.take_up_log().await.unwrap());
        assert_eq!(ingest_queue::level(&mut reader).await.unwrap(), level);
        drop(reader);
        assert_eq!(ingest_queue::level(&mut db.db.read().await.unwrap()).await.unwrap().waiting, 42);
        assert!(db.db.take_up_log().await.unwrap(), "what was left behind");
    }
}
