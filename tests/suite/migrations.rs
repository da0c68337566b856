//! The schema: the same on both databases, built step by step, and never taken over from a newer version.

#![cfg(test)]

use crate::on_both;
use crate::storage::raw::Raw;
use crate::support::{Backend, Scratch, TestDb, fresh_location};
use artifact::clock::Clock;
use artifact::domain::moment::Moment;
use artifact::storage::database::{Database, Location};
use artifact::storage::error::StorageError;
use artifact::storage::migrate;
use sqlx::{PgPool, SqlitePool};
use std::collections::BTreeSet;

/// Tables, columns, nullability and primary keys; types by what SQLite calls them.
const SQLITE_COLUMNS: &str = "SELECT t.name || '.' || c.name || ' ' || c.type \
    || CASE WHEN c.\"notnull\" = 1 THEN ' NOT NULL' ELSE '' END \
    || CASE WHEN c.pk > 0 THEN ' KEY ' || c.pk ELSE '' END \
    FROM sqlite_schema t JOIN pragma_table_info(t.name) c \
    WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND t.name <> '_sqlx_migrations'";
const POSTGRES_COLUMNS: &str = "SELECT c.table_name || '.' || c.column_name || ' ' \
    || CASE c.data_type WHEN 'bigint' THEN 'INTEGER' WHEN 'boolean' THEN 'INTEGER' WHEN 'text' THEN 'TEXT' \
       WHEN 'uuid' THEN 'BLOB' WHEN 'bytea' THEN 'BLOB' ELSE c.data_type END \
    || CASE WHEN c.is_nullable = 'NO' THEN ' NOT NULL' ELSE '' END \
    || COALESCE(' KEY ' || (SELECT k.ordinal_position FROM information_schema.table_constraints p \
       JOIN information_schema.key_column_usage k USING (constraint_schema, constraint_name) \
       WHERE p.constraint_type = 'PRIMARY KEY' AND k.table_name = c.table_name AND k.column_name = c.column_name), '') \
    FROM information_schema.columns c WHERE c.table_schema = 'public' AND c.table_name <> '_sqlx_migrations'";

/// References to other tables, and what becomes of a row whose reference is deleted.
const SQLITE_REFERENCES: &str = "SELECT t.name || '.' || f.\"from\" || ' ' || f.\"table\" || '.' || f.\"to\" \
    || ' ' || f.on_delete FROM sqlite_schema t JOIN pragma_foreign_key_list(t.name) f WHERE t.type = 'table'";
const POSTGRES_REFERENCES: &str = "SELECT k.table_name || '.' || k.column_name || ' ' || u.table_name || '.' \
    || u.column_name || ' ' || r.delete_rule FROM information_schema.referential_constraints r \
    JOIN information_schema.key_column_usage k USING (constraint_schema, constraint_name) \
    JOIN information_schema.key_column_usage u ON u.constraint_name = r.unique_constraint_name \
       AND u.constraint_schema = r.unique_constraint_schema AND u.ordinal_position = k.position_in_unique_constraint \
    WHERE k.table_schema = 'public'";

/// Columns of every index and every unique constraint, in order.
const SQLITE_INDEXES: &str = "SELECT t.name || '(' || (SELECT group_concat(i.name, ' ') FROM \
       (SELECT name FROM pragma_index_info(l.name) ORDER BY seqno) i) || ')' \
    || CASE WHEN l.\"unique\" = 1 THEN ' UNIQUE' ELSE '' END \
    FROM sqlite_schema t JOIN pragma_index_list(t.name) l \
    WHERE t.type = 'table' AND l.origin <> 'pk' AND t.name <> '_sqlx_migrations'";
const POSTGRES_INDEXES: &str = "SELECT t.relname || '(' || string_agg(a.attname, ' ' ORDER BY p.place) || ')' \
    || CASE WHEN i.indisunique THEN ' UNIQUE' ELSE '' END \
    FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace n ON n.oid = t.relnamespace \
    CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS p (number, place) \
    JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = p.number \
    WHERE n.nspname = 'public' AND NOT i.indisprimary AND t.relname <> '_sqlx_migrations' \
    GROUP BY t.relname, i.indexrelid, i.indisunique";

async fn schema(raw: &mut Raw) -> BTreeSet<String> {
    let queries = match raw {
        Raw::Sqlite(_) => [SQLITE_COLUMNS, SQLITE_REFERENCES, SQLITE_INDEXES],
        Raw::Postgres(_) => [POSTGRES_COLUMNS, POSTGRES_REFERENCES, POSTGRES_INDEXES],
    };
    let mut found = BTreeSet::new();
    for query in queries {
        let rows = raw.texts(query).await;
        assert!(rows.len() > 10, "{query} finds only {rows:?}");
        found.extend(rows);
    }
    found
}

async fn schema_of(backend: Backend) -> BTreeSet<String> {
    let db = TestDb::open(backend).await;
    schema(&mut Raw::open(&db.location).await).await
}

/// The text of each migration, in order.
fn files(backend: Backend) -> Vec<String> {
    let folder = match backend {
        Backend::Sqlite => concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/sqlite"),
        Backend::Postgres => concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/postgres"),
    };
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect()
}

/// Migrates a place that is there already.
async fn migrated(location: &Location) -> Result<(), StorageError> {
    match location {
        Location::Directory(directory) => {
            let file = directory.join("artifact.db");
            let pool = SqlitePool::connect(&format!("sqlite:{}", file.display())).await.unwrap();
            let outcome = migrate::sqlite(&pool).await;
            pool.close().await;
            outcome
        }
        Location::Postgres { url, .. } => {
            let pool = PgPool::connect(url).await.unwrap();
            let outcome = migrate::postgres(&pool).await;
            pool.close().await;
            outcome
        }
    }
}

const APPLIED: &str = "SELECT CAST(version AS TEXT) || ' ' || CAST(installed_on AS TEXT) FROM _sqlx_migrations \
    ORDER BY version";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_databases_have_one_schema() {
    let (sqlite, postgres) = (schema_of(Backend::Sqlite).await, schema_of(Backend::Postgres).await);
    let apart: Vec<&String> = sqlite.symmetric_difference(&postgres).collect();
    assert!(apart.is_empty(), "only one of the two has {apart:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_orders_every_text_by_its_bytes() {
    let db = TestDb::open(Backend::Postgres).await;
    let query = "SELECT table_name || '.' || column_name FROM information_schema.columns \
        WHERE table_schema = 'public' AND table_name <> '_sqlx_migrations' AND data_type = 'text' \
        AND collation_name IS DISTINCT FROM 'C'";
    assert_eq!(Raw::open(&db.location).await.texts(query).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_true_or_false_in_postgres_is_nothing_else_in_sqlite() {
    let (sqlite, postgres) = (TestDb::open(Backend::Sqlite).await, TestDb::open(Backend::Postgres).await);
    let query = "SELECT table_name || ' ' || column_name FROM information_schema.columns \
        WHERE table_schema = 'public' AND table_name <> '_sqlx_migrations' AND data_type = 'boolean'";
    let booleans = Raw::open(&postgres.location).await.texts(query).await;
    assert!(booleans.len() > 5, "{booleans:?}");
    let mut raw = Raw::open(&sqlite.location).await;
    for boolean in booleans {
        let (table, column) = boolean.split_once(' ').unwrap();
        let made = raw.texts(&format!("SELECT sql FROM sqlite_schema WHERE name = '{table}'")).await;
        assert!(made[0].contains(&format!("CHECK ({column} IN (0, 1))")), "{boolean}");
    }
}

on_both! {
    async fn each_migration_builds_on_those_before_it(backend) {
        let scratch = Scratch::new();
        let mut raw = Raw::open(&fresh_location(backend, &scratch).await).await;
        let files = files(backend);
        // Numbers may be left out: they are given out before the migrations are written.
        assert!(i64::try_from(files.len()).unwrap() <= migrate::newest());
        for file in files {
            raw.run(&file).await;
        }
        assert_eq!(schema(&mut raw).await, schema_of(backend).await);
        assert_eq!(raw.number("SELECT last + seq FROM commit_stamp WHERE id = 1").await, 0);
    }

    async fn migrating_again_changes_nothing(backend) {
        let db = TestDb::open(backend).await;
        db.db.close().await;
        drop(db.db);
        let mut raw = Raw::open(&db.location).await;
        let (before, applied) = (schema(&mut raw).await, raw.texts(APPLIED).await);
        assert_eq!(applied.len(), files(backend).len());
        migrated(&db.location).await.unwrap();
        assert_eq!((schema(&mut raw).await, raw.texts(APPLIED).await), (before, applied));
        // And with the lock taken, as a start does it.
        Database::open(&db.location, db.clock.clone()).await.unwrap().close().await;
    }

    async fn a_database_of_a_newer_version_is_refused_and_left_alone(backend) {
        let db = TestDb::open(backend).await;
        db.db.close().await;
        drop(db.db);
        let mut raw = Raw::open(&db.location).await;
        raw.run(
            "INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum, execution_time) \
             SELECT 9999, 'from the future', installed_on, success, checksum, 0 FROM _sqlx_migrations \
             WHERE version = 1",
        )
        .await;
        let before = (schema(&mut raw).await, raw.texts(APPLIED).await);
        let refused = Database::open(&db.location, db.clock.clone()).await;
        let known = migrate::newest();
        let as_expected = matches!(&refused, Err(StorageError::NewerSchema { found: 9999, known: k }) if *k == known);
        assert!(as_expected, "{refused:?}");
        assert!(refused.unwrap_err().to_string().contains("9999"));
        assert_eq!((schema(&mut raw).await, raw.texts(APPLIED).await), before);
        // Refused, it has let go of the lock.
        raw.run("DELETE FROM _sqlx_migrations WHERE version = 9999").await;
        Database::open(&db.location, Clock::manual(Moment(0))).await.unwrap().close().await;
    }

    async fn a_migration_that_is_not_the_one_that_was_applied_is_refused(backend) {
        let db = TestDb::open(backend).await;
        db.db.close().await;
        drop(db.db);
        let mut raw = Raw::open(&db.location).await;
        let applied = raw.texts("SELECT CAST(version AS TEXT) FROM _sqlx_migrations").await;
        assert!(applied.contains(&"2".to_owned()), "{applied:?}");
        raw.run(
            "UPDATE _sqlx_migrations SET checksum = (SELECT checksum FROM _sqlx_migrations WHERE version = 1) \
             WHERE version = 2",
        )
        .await;
        let refused = Database::open(&db.location, db.clock.clone()).await;
        assert!(matches!(refused, Err(StorageError::Migration(_))), "{refused:?}");
    }
}
