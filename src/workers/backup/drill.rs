//! The restore drill: a backup is taken apart into a scratch place, looked through, its audit trail held to its chain,
//! and its figures computed again.

use super::manifest::{AuditEnd, Contents, Engine, Manifest};
use super::{BackupError, figures};
use crate::domain::audit::Head;
use crate::domain::audit::anchor::Anchors;
use crate::domain::audit::key_ring::KeyRing;
use crate::domain::audit::verification::Verifier;
use crate::storage::database::Tx;
use crate::storage::error::StorageError;
use crate::storage::snapshot::{self, Snapshot};
use crate::storage::{audit, audit_rows, migrate};
use std::path::{Path, PathBuf};

/// Faults of an audit trail that are told one by one.
const TOLD: usize = 5;

/// What the audit trail of a copy is held to.
#[derive(Debug, Clone)]
pub struct Proof {
    /// Its keys, if there are any.
    pub keys: Option<KeyRing>,
    /// The file they are looked for in.
    pub place: PathBuf,
    /// Rows up to this one are taken as they are.
    pub after: i64,
}

/// What a drill looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drilled {
    /// Tables whose rows were counted.
    pub tables: usize,
    /// Portfolios whose figures were computed and are the same; `None` where the backup has no figures to compare.
    pub portfolios: Option<usize>,
    /// Rows of the audit trail that were held to their hashes.
    pub audit_rows: u64,
    /// Where the audit trail ends.
    pub audit: Head,
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
pub async fn sqlite(file: &Path, manifest: &Manifest, proof: &Proof) -> Result<Drilled, BackupError> {
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
    let outcome = compare(&copy, (manifest, contents), proof, faults).await;
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
    if let Some(wanted) = &contents.audit {
        let end = AuditEnd::from(found.audit.unwrap_or(Head::EMPTY));
        if end != *wanted {
            let (AuditEnd { seq, hash }, wanted) = (end, (wanted.seq, &wanted.hash));
            faults.push(format!(
                "the audit trail ends at row {seq} with hash {hash} instead of row {} with hash {}",
                wanted.0, wanted.1
            ));
        }
    }
    for (table, wanted) in &contents.rows {
        let rows = found.rows.get(table).copied().unwrap_or_default();
        if rows != *wanted {
            faults.push(format!("{table} has {rows} rows instead of {wanted}"));
        }
    }
    Ok(faults)
}

/// How a key is given, for those who did not.
const GIVE: &str = "name its file by ARTIFACT_AUDIT__KEY_FILE or audit.key_file; where systemd lends it to the units, \
    `systemctl start artifact-restore-drill` tries the newest backup, and docs/RESTORE.md tells how a command is lent it";

/// What an audit trail came to.
struct Trail {
    rows: u64,
    end: Head,
    /// Why it could not be held to its key.
    untried: Option<String>,
}

/// Holds every row of a copy's audit trail to its hash. A key that is not here is no fault of the copy.
async fn trail(tx: &mut Tx, proof: &Proof, faults: &mut Vec<String>) -> Result<Trail, StorageError> {
    let end = audit::head(tx).await?;
    let place = proof.place.display();
    let mut found = Trail { rows: 0, end, untried: None };
    if end.seq <= proof.after {
        return Ok(found);
    }
    let Some(keys) = proof.keys.clone() else {
        found.untried = Some(format!(
            "its audit trail has rows, and their key is not here ({place} is not there): {GIVE}"
        ));
        return Ok(found);
    };
    let Some(start) = audit_rows::head_at(tx, proof.after).await? else {
        faults.push(format!("row {} of the audit trail is missing", proof.after));
        return Ok(found);
    };
    // Anchors may be of another time: the manifest has told where it ends.
    let mut verifier = Verifier::new(keys, Some(Anchors::default()), Vec::new(), start);
    while audit_rows::scan(tx, &mut verifier).await? > 0 {}
    let verdict = verifier.end();
    found.rows = verdict.rows;
    if verdict.lacks_key {
        let (count, first) = (verdict.faults_total, verdict.faults.first().map_or(0, |fault| fault.at));
        found.untried = Some(format!(
            "{count} rows of its audit trail, from row {first} on, fit none of the keys in {place} (is its key another \
             one?): {GIVE}. If none fits, the rows were changed"
        ));
        return Ok(found);
    }
    faults.extend(verdict.faults.iter().take(TOLD).map(|fault| format!("audit trail: {}", fault.detail)));
    if verdict.faults_total > u64::try_from(TOLD).unwrap_or_default() {
        faults.push(format!("audit trail: {} faults in all", verdict.faults_total));
    }
    Ok(found)
}

/// What audit trail and figures of a copy say against its manifest.
pub(super) async fn compare(
    copy: &Snapshot,
    (manifest, contents): (&Manifest, &Contents),
    proof: &Proof,
    mut faults: Vec<String>,
) -> Result<Drilled, BackupError> {
    let mut tx = copy.read().await?;
    let Trail { rows: audit_rows, end: audit, untried } = trail(&mut tx, proof, &mut faults).await?;
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
    match untried {
        // A copy that is wrong in another way is so whatever a key would tell.
        Some(why) if faults.is_empty() => return Err(BackupError::Untried(why)),
        Some(why) => faults.push(why),
        None => {}
    }
    let portfolios = comparable.map(|pnl| pnl.portfolios.len());
    Ok(Drilled { tables: contents.rows.len(), portfolios, audit_rows, audit, faults })
}

/// Name of the copy of the database inside an archive.
pub const fn member(engine: Engine) -> &'static str {
    match engine {
        Engine::Sqlite => "database.db",
        Engine::Postgres => "database.dump",
    }
}
