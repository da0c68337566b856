//! The backups that are kept: what lies at their place, which one a name means, and which of them go.

use super::manifest::{ArchiveFile, Manifest};
use super::{BackupError, Backups};
use crate::domain::moment::Moment;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What a drill came to, kept beside the backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// Microseconds since 1970.
    pub(super) verified_at: Moment,
    /// Nothing when it is sound.
    pub(super) faults: Vec<String>,
}

/// A backup that is kept.
#[derive(Debug, Clone)]
pub struct Kept {
    /// What it says of itself.
    pub manifest: Manifest,
    /// Its archive.
    pub archive: ArchiveFile,
    /// When it was last verified.
    pub verified_at: Option<Moment>,
    /// Whether it was found sound then; `None` before.
    pub sound: Option<bool>,
}

impl Backups {
    /// Removes what a stopped backup left, and the backups that are not to be kept.
    pub(super) async fn prune(&self) -> Result<(), BackupError> {
        self.settings.target.sweep().await?;
        let kept = self.list().await?;
        let superfluous = self.settings.keep.superfluous(&kept);
        for one in kept.iter().filter(|one| superfluous.contains(&one.manifest.id)) {
            let stem = one.manifest.stem(&one.archive.sha256);
            // The archive goes first: what is left without it is no backup.
            for name in [one.archive.name.clone(), format!("{stem}.json"), format!("{stem}.verified")] {
                self.settings.target.remove(name).await?;
            }
            tracing::info!(backup.id = %one.manifest.id, "removed backup {}", one.archive.name);
        }
        Ok(())
    }

    /// Every backup that is whole, the oldest first.
    ///
    /// # Errors
    /// What the place of the backups says.
    pub async fn list(&self) -> Result<Vec<Kept>, BackupError> {
        let names = self.settings.target.names().await?;
        let lengths: BTreeMap<&str, u64> =
            names.iter().map(|(name, length)| (name.as_str(), *length)).collect();
        let marks: BTreeSet<&str> =
            lengths.keys().filter_map(|name| name.strip_suffix(".verified")).collect();
        let mut kept = Vec::new();
        for stem in lengths.keys().filter_map(|name| name.strip_suffix(".json")) {
            let bytes = self.settings.target.get(format!("{stem}.json")).await?;
            let manifest = match serde_json::from_slice::<Manifest>(&bytes) {
                Ok(manifest) => manifest,
                Err(error) => {
                    tracing::warn!(%error, "{stem}.json is no manifest of a backup");
                    continue;
                }
            };
            let Some(archive) = manifest.archive.clone() else { continue };
            // The archive comes last: without it this is no backup. One of another length is a backup that was damaged.
            let Some(length) = lengths.get(archive.name.as_str()) else { continue };
            let whole = *length == archive.bytes;
            if !whole {
                tracing::error!(backup.id = %manifest.id, "{} has {length} bytes and not {}", archive.name, archive.bytes);
            }
            // Of this archive, and of none that had its name before.
            let stem = manifest.stem(&archive.sha256);
            let mark = if marks.contains(stem.as_str()) { self.mark(&stem).await } else { None };
            kept.push(Kept {
                manifest,
                archive,
                verified_at: mark.as_ref().map(|mark| mark.verified_at),
                sound: if whole { mark.map(|mark| mark.faults.is_empty()) } else { Some(false) },
            });
        }
        kept.sort_by_key(|kept| (kept.manifest.created_at, kept.manifest.id));
        Ok(kept)
    }

    async fn mark(&self, stem: &str) -> Option<Mark> {
        let bytes = self.settings.target.get(format!("{stem}.verified")).await.ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// The backup that a text names: its id, the beginning of it or of its archive's name, or `latest`.
    ///
    /// # Errors
    /// [`BackupError::NotFound`], [`BackupError::Ambiguous`].
    pub async fn find(&self, name: &str) -> Result<Kept, BackupError> {
        let mut kept = self.list().await?;
        let missing = || BackupError::NotFound(name.to_owned());
        if name == "latest" {
            return kept.pop().ok_or_else(missing);
        }
        kept.retain(|kept| {
            !name.is_empty()
                && (kept.manifest.id.to_string().starts_with(name) || kept.archive.name.starts_with(name))
        });
        let found = kept.pop().ok_or_else(missing)?;
        if kept.is_empty() { Ok(found) } else { Err(BackupError::Ambiguous(name.to_owned())) }
    }
}
