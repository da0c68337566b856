//! Proving that a backup restores: it is taken apart in a scratch place, gone through, and told to be sound or not.

use super::archive::{self, ArchiveError};
use super::drill::{self, Drilled, Proof};
use super::kept::{Kept, Mark};
use super::manifest::{ArchiveFile, Engine, Manifest};
use super::target::aside;
use super::work::Work;
use super::{BackupError, Backups, Secret, postgres};
use crate::clock::Clock;
use crate::domain::audit::key_ring::KeyRing;
use crate::random::Random;
use crate::storage::audit_key;
use crate::storage::error::StorageError;
use crate::telemetry as names;
use std::path::Path;

impl Backups {
    /// Restores a backup into a scratch place and looks whether it is what was saved.
    ///
    /// # Errors
    /// [`BackupError::Unsound`] when it is not. Any other error says nothing about the backup, and is kept nowhere but in
    /// the status: it could not be tried.
    pub async fn verify(
        &self,
        name: &str,
        with: &Secret,
        at: (&Clock, Random),
    ) -> Result<(Kept, Drilled), BackupError> {
        let _turn = self.turn.try_lock().map_err(|_| BackupError::Busy)?;
        let outcome = self.try_out(name, with, at).await;
        let failure = match &outcome {
            Ok((kept, _)) => {
                let mut status = self.locked();
                status.last_verified_at = kept.verified_at;
                status.verify_failure = None;
                status.measure();
                return outcome;
            }
            // Nothing was to be tried.
            Err(BackupError::NotFound(_) | BackupError::Ambiguous(_)) => return outcome,
            Err(error) => error.to_string(),
        };
        tracing::error!("the drill of backup {name} failed: {failure}");
        self.locked().verify_failure = Some(failure);
        metrics::counter!(names::BACKUP_VERIFY_FAILURES).increment(1);
        outcome
    }

    /// Goes through a backup, and marks it with what was found.
    async fn try_out(
        &self,
        name: &str,
        with: &Secret,
        (clock, random): (&Clock, Random),
    ) -> Result<(Kept, Drilled), BackupError> {
        let mut kept = self.find(name).await?;
        let work = Work::begin(self.location.directory(), random.uuid_v7(clock.now())?)?;
        let outcome = self.drill(&kept, &work.0, with).await;
        let faults = match &outcome {
            Ok(drilled) => drilled.faults.clone(),
            Err(
                BackupError::Archive(ArchiveError::Damaged(why))
                | BackupError::Storage(StorageError::Damaged(why) | StorageError::Corrupt(why)),
            ) => vec![why.clone()],
            // It could not be tried; that says nothing about the backup, and takes no mark from it.
            Err(_) => return outcome.map(|drilled| (kept, drilled)),
        };
        let verified_at = clock.now();
        let once_sound = kept.once_sound || faults.is_empty();
        let mark = Mark { verified_at, faults: faults.clone(), once_sound };
        let stem = kept.manifest.stem(&kept.archive.sha256);
        let text = serde_json::to_vec(&mark).map_err(|error| ArchiveError::Io(error.into()))?;
        self.settings.target.put(format!("{stem}.verified"), text).await?;
        (kept.verified_at, kept.sound, kept.once_sound) =
            (Some(verified_at), Some(faults.is_empty()), once_sound);
        if !faults.is_empty() {
            tracing::error!(backup.id = %kept.manifest.id, "backup {} is not sound", kept.archive.name);
            return Err(BackupError::Unsound(faults));
        }
        tracing::info!(backup.id = %kept.manifest.id, "verified backup {}", kept.archive.name);
        outcome.map(|drilled| (kept, drilled))
    }

    async fn drill(&self, kept: &Kept, work: &Path, with: &Secret) -> Result<Drilled, BackupError> {
        let manifest = self.unpack(kept, work, with).await?;
        self.drill_unpacked(&manifest, work).await
    }

    pub(super) async fn drill_unpacked(
        &self,
        manifest: &Manifest,
        work: &Path,
    ) -> Result<Drilled, BackupError> {
        let file = work.join(drill::member(manifest.engine));
        let audit = &self.settings.audit;
        let place = audit.path(self.location.directory());
        let proof = Proof { keys: self.audit_keys(work)?, place, after: audit.after };
        match manifest.engine {
            Engine::Sqlite => drill::sqlite(&file, manifest, &proof).await,
            Engine::Postgres => {
                postgres::drill((&self.location, &self.settings.programs), file, manifest, &proof).await
            }
        }
    }

    /// The audit trail's keys: those of the data, else those that a sealed archive brought into `work`.
    pub(super) fn audit_keys(&self, work: &Path) -> Result<Option<KeyRing>, StorageError> {
        match self.settings.audit.keys(self.location.directory())? {
            Some(keys) => Ok(Some(keys)),
            None => audit_key::read(&work.join(archive::SECRETS).join(audit_key::KEY_FILE)),
        }
    }

    /// Takes the archive of a backup apart into `work`.
    pub(super) async fn unpack(
        &self,
        kept: &Kept,
        work: &Path,
        with: &Secret,
    ) -> Result<Manifest, BackupError> {
        drill::refuse_newer(&kept.manifest)?;
        let passphrase = with.passphrase()?;
        let path = self.settings.target.fetch(&kept.archive.name, work).await?;
        let (outer, into) = (kept.clone(), work.to_owned());
        aside(move || {
            let sum =
                archive::file_sum(&path).map_err(|error| BackupError::File { path: path.clone(), error })?;
            let ArchiveFile { bytes, sha256, .. } = &outer.archive;
            if sum.bytes != *bytes || sum.sha256 != *sha256 {
                return Err(ArchiveError::Damaged(
                    "the archive is not the one its manifest names".to_owned(),
                )
                .into());
            }
            let manifest = archive::read(&path, &into, passphrase.as_ref())?;
            let same = manifest.id == outer.manifest.id && manifest.schema == outer.manifest.schema;
            if !same {
                return Err(
                    ArchiveError::Damaged("the manifests inside and beside it differ".to_owned()).into()
                );
            }
            Ok(manifest)
        })
        .await
    }
}
