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
    /// Whether any drill has found it sound, this one or one before.
    #[serde(default)]
    pub(super) once_sound: bool,
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
    /// Whether any drill has found it sound, or may have, since its mark cannot be read. A later mark, which a mistake
    /// may have made, is then no reason to let it go.
    pub once_sound: bool,
}

/// What lies at the place of the backups.
#[derive(Debug, Clone)]
pub struct Listing {
    /// Every backup that is whole, the oldest first.
    pub kept: Vec<Kept>,
    /// What looks like the manifest of one and cannot be read as such, and why.
    pub passed_over: Vec<String>,
}

impl Backups {
    /// Removes those of `kept` (the oldest first) that are not to be kept.
    pub(super) async fn prune(&self, kept: &[Kept]) -> Result<(), BackupError> {
        let superfluous = self.settings.keep.superfluous(kept);
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
        Ok(self.listing().await?.kept)
    }

    /// Every backup that is whole, and what was passed over: one file that cannot be read hides no backup but its own.
    ///
    /// # Errors
    /// What the place of the backups says.
    pub async fn listing(&self) -> Result<Listing, BackupError> {
        let names = self.settings.target.names().await?;
        let lengths: BTreeMap<&str, u64> =
            names.iter().map(|(name, length)| (name.as_str(), *length)).collect();
        let marks: BTreeSet<&str> =
            lengths.keys().filter_map(|name| name.strip_suffix(".verified")).collect();
        let (mut kept, mut passed_over) = (Vec::new(), Vec::new());
        for stem in lengths.keys().filter_map(|name| name.strip_suffix(".json")) {
            let name = format!("{stem}.json");
            let read = self.settings.target.try_get(name.clone()).await?;
            let manifest = match read.and_then(|bytes| {
                serde_json::from_slice::<Manifest>(&bytes).map_err(|error| error.to_string())
            }) {
                Ok(manifest) => manifest,
                Err(why) => {
                    let told = format!("{name} is no manifest of a backup that can be read: {why}");
                    tracing::warn!("{told}");
                    passed_over.push(told);
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
            let marked = marks.contains(stem.as_str());
            let mark = if marked { self.mark(&stem).await } else { None };
            let found = mark.as_ref().map(|mark| mark.faults.is_empty());
            kept.push(Kept {
                manifest,
                archive,
                verified_at: mark.as_ref().map(|mark| mark.verified_at),
                sound: if whole { found } else { Some(false) },
                once_sound: mark.map_or(marked, |mark| mark.once_sound) || found == Some(true),
            });
        }
        kept.sort_by_key(|kept| kept.manifest.turn());
        Ok(Listing { kept, passed_over })
    }

    async fn mark(&self, stem: &str) -> Option<Mark> {
        let read =
            self.settings.target.get(format!("{stem}.verified")).await.map_err(|error| error.to_string());
        let mark = read.and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| error.to_string()));
        mark.inspect_err(|error| tracing::warn!("{stem}.verified tells nothing: {error}")).ok()
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
