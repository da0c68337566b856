//! The restore drill: a backup is taken apart into a scratch place, looked through, and its figures computed again.

use super::manifest::{Contents, Engine, Manifest};
use super::{BackupError, figures};
use crate::storage::migrate;
use crate::storage::snapshot::{self, Snapshot};
use std::path::Path;

/// What a drill looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drilled {
    /// Tables whose rows were counted.
    pub tables: usize,
    /// Portfolios whose figures were computed and are the same; `None` where the backup has no figures to compare.
    pub portfolios: Option<usize>,
    /// What is wrong with it; nothing when it can be relied on.
    pub faults: Vec<String>,
}

/// Refuses a backup of a schema that this version does not know.
///
/// # Errors
/// [`BackupError::NewerSchema`].
pub fn refuse_newer(manifest: &Manifest) -> Result<(), BackupError> {
    let known = migrate::newest();
    if manifest.schema > known {
        return Err(BackupError::NewerSchema { found: manifest.schema, known });
    }
    Ok(())
}

/// Goes through the SQLite copy that lies unpacked at `file`; it is brought up to this version's schema.
///
/// # Errors
/// The database's. What is wrong with the data is no error but a fault.
pub async fn sqlite(file: &Path, manifest: &Manifest) -> Result<Drilled, BackupError> {
    refuse_newer(manifest)?;
    let contents = manifest.contents.as_ref().ok_or(BackupError::NoContents)?;
    let copy = Snapshot::open_sqlite(file).await?;
    let mut faults = copy.faults().await?;
    faults.extend(counted(&copy, manifest, contents).await?);
    copy.close().await;
    if manifest.schema < migrate::newest() {
        snapshot::migrate_sqlite(file).await?;
    }
    let copy = Snapshot::open_sqlite(file).await?;
    let outcome = compare(&copy, manifest, contents, faults).await;
    copy.close().await;
    outcome
}

/// What the counts of a copy say against its manifest.
pub(super) async fn counted(
    copy: &Snapshot,
    manifest: &Manifest,
    contents: &Contents,
) -> Result<Vec<String>, BackupError> {
    let found = snapshot::facts(&mut copy.begin().await?).await?;
    let mut faults = Vec::new();
    if found.schema != manifest.schema {
        faults.push(format!("schema {} instead of {}", found.schema, manifest.schema));
    }
    if found.last_commit != manifest.last_commit {
        faults.push(format!("the last commit is {} instead of {}", found.last_commit, manifest.last_commit));
    }
    for (table, wanted) in &contents.rows {
        let rows = found.rows.get(table).copied().unwrap_or_default();
        if rows != *wanted {
            faults.push(format!("{table} has {rows} rows instead of {wanted}"));
        }
    }
    Ok(faults)
}

/// What the figures of a copy say against its manifest.
pub(super) async fn compare(
    copy: &Snapshot,
    manifest: &Manifest,
    contents: &Contents,
    mut faults: Vec<String>,
) -> Result<Drilled, BackupError> {
    let mut tx = copy.read().await?;
    let comparable = contents.pnl.as_ref().filter(|pnl| pnl.method == figures::METHOD);
    // Also where there is nothing to compare with: figures that cannot be computed show damage.
    let found = figures::check_sums(&mut tx, manifest.last_commit).await?;
    if let Some(wanted) = comparable {
        for (portfolio, sum) in &wanted.portfolios {
            match found.portfolios.get(portfolio) {
                Some(same) if same == sum => {}
                Some(_) => faults.push(format!("portfolio {portfolio} has other figures")),
                None => faults.push(format!("portfolio {portfolio} is missing")),
            }
        }
    }
    let portfolios = comparable.map(|pnl| pnl.portfolios.len());
    Ok(Drilled { tables: contents.rows.len(), portfolios, faults })
}

/// Name of the copy of the database inside an archive.
pub const fn member(engine: Engine) -> &'static str {
    match engine {
        Engine::Sqlite => "database.db",
        Engine::Postgres => "database.dump",
    }
}
