//! What a backup says of itself. One manifest lies inside it, with everything; one beside it, with the archive's own hash
//! and, when the archive is encrypted, nothing about what is in it.

use crate::domain::audit::Head;
use crate::domain::hexadecimal::hex;
use crate::domain::moment::Moment;
use crate::named_enum;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// What the archive is: changes when a reader has to change.
pub const FORMAT: &str = "artifact.backup/1";

named_enum! {
    /// Why a backup was taken.
    Reason {
        /// Somebody asked for it.
        Manual = "manual",
        /// The schedule did.
        Scheduled = "scheduled",
        /// The schema was about to change.
        BeforeMigration = "before_migration",
    }
}

named_enum! {
    /// What wrote the copy of the database, and can read it.
    Engine {
        /// A SQLite file.
        Sqlite = "sqlite",
        /// An archive of `pg_dump`.
        Postgres = "postgres",
    }
}

/// One backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: String,
    /// Its id.
    pub id: Uuid,
    /// Which it is of those at its place: one more than the highest that was there, whatever the clock said. `None` in
    /// backups of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// When it was begun.
    #[serde(with = "text")]
    pub created_at: Moment,
    /// Why.
    pub reason: Reason,
    /// Version of the program that made it.
    pub app_version: String,
    /// Which database it is of.
    pub engine: Engine,
    /// Version of the schema.
    pub schema: i64,
    /// Stamp of the last commit in it.
    #[serde(with = "text")]
    pub last_commit: Moment,
    /// Whether it needs a passphrase.
    pub encrypted: bool,
    /// What is in it; beside an encrypted archive this stays away.
    pub contents: Option<Contents>,
    /// The archive; inside it this stays away.
    pub archive: Option<ArchiveFile>,
}

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// Rows of each table.
    pub rows: BTreeMap<String, i64>,
    /// Where the audit trail ends; `None` in backups of earlier versions, and when the schema had none.
    #[serde(default)]
    pub audit: Option<AuditEnd>,
    /// Check sums of figures; `None` when the schema was older than the program.
    pub pnl: Option<PnlSums>,
    /// The files, by name.
    pub files: BTreeMap<String, FileSum>,
}

/// Where an audit trail ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEnd {
    /// Its last row; 0 when it has none.
    pub seq: i64,
    /// The hash of that row, in hex.
    pub hash: String,
}

impl From<Head> for AuditEnd {
    fn from(head: Head) -> Self {
        Self { seq: head.seq, hash: hex(&head.hash) }
    }
}

/// Check sums of the figures of every portfolio as known at the last commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PnlSums {
    /// What was summed up, and how it was written.
    pub method: String,
    /// SHA-256 in hex, by portfolio.
    pub portfolios: BTreeMap<String, String>,
}

/// A file inside the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSum {
    /// Its length.
    pub bytes: u64,
    /// SHA-256 in hex.
    pub sha256: String,
}

/// The archive as a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveFile {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 in hex.
    pub sha256: String,
}

impl Manifest {
    /// What backups of one place are ordered by: the latest is the one that was taken last. Not by the time they tell: a
    /// clock that once ran ahead would have made one the latest for as long as it did. What the data tells orders only
    /// those that have no number; a restore takes it back, and what comes after it is later all the same.
    pub fn turn(&self) -> (Option<u64>, Moment, Moment, Uuid) {
        (self.number, self.last_commit, self.created_at, self.id)
    }

    /// The name of its archive and manifest, without ending: when, which schema, which bytes.
    pub fn stem(&self, sha256: &str) -> String {
        let digits: String =
            self.created_at.to_string().chars().take(19).filter(char::is_ascii_alphanumeric).collect();
        let short = sha256.get(..8).unwrap_or(sha256);
        format!("artifact-{digits}Z-{}-{short}", self.schema)
    }
}

/// Moments as text.
mod text {
    use crate::domain::moment::Moment;
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    pub(super) fn serialize<S: Serializer>(at: &Moment, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(at)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Moment, D::Error> {
        let text = String::deserialize(deserializer)?;
        Moment::parse(&text).map_err(|error| de::Error::custom(format!("`{text}` {error}")))
    }
}
