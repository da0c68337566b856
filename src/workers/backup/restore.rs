//! Putting a backup in the place of the data. Nobody may have the data open; its owner holds the lock.
//!
//! Everything is prepared and proven beside the data first. Then a note of the renames is written, and they are done: a
//! machine that stops between any two goes on with them at the next start, so the data is the old or the new, never
//! neither. What was there is kept in a folder of its own.

use super::kept::Kept;
use super::target::{private_folder, sync_folder};
use super::work::Work;
use super::{BackupError, Backups, Engine, Secret, archive, drill, postgres};
use crate::clock::Clock;
use crate::domain::audit::anchor::{Anchor, AnchorKind};
use crate::domain::moment::Moment;
use crate::random::Random;
use crate::storage::anchor_file::AnchorFile;
use crate::storage::database::{DATABASE_FILE, Location};
use crate::storage::opening::Claim;
use crate::workers::records;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Name of the note of a restore under way, in the data directory.
pub const NOTE: &str = "artifact.restore";
/// The note while it is written.
const NOTE_PART: &str = "artifact.restore.partial";
/// How the folders begin that keep what was there.
const BEFORE: &str = "before-restore-";
/// How the folder begins that holds what takes its place.
const STAGED: &str = ".restore-";

/// What a restore has still to do.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    /// Folder of what is to come, in the data directory.
    staged: String,
    /// Folder of what was there, in the data directory.
    before: String,
    /// The line that tells of it among the anchors of the audit trail.
    #[serde(default)]
    anchor: Option<String>,
}

/// What a restore came to.
#[derive(Debug)]
pub struct Restored {
    /// The backup.
    pub kept: Kept,
    /// What the drill before it looked at.
    pub drilled: drill::Drilled,
    /// Where the former data is, if there was any.
    pub before: Option<String>,
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> BackupError {
    let path = path.to_owned();
    move |error| BackupError::File { path, error }
}

/// Restores the backup that `name` names. Until it is proven nothing is touched.
///
/// # Errors
/// [`BackupError`]; then the data is as it was.
pub async fn restore(
    claim: &Claim,
    backups: &Backups,
    name: &str,
    with: &Secret,
    (clock, random): (&Clock, Random),
) -> Result<Restored, BackupError> {
    let directory = claim.location().directory();
    let now = clock.now();
    backups.sweep().await;
    let kept = backups.find(name).await?;
    if kept.manifest.engine != backups.engine() {
        let (backup, data) = (kept.manifest.engine, backups.engine());
        return Err(BackupError::OtherEngine { backup, data });
    }
    let work = Work::begin(directory, random.uuid_v7(now)?)?;
    let drilled = {
        let manifest = backups.unpack(&kept, &work.0, with).await?;
        backups.drill_unpacked(&manifest, &work.0).await?
    };
    if !drilled.faults.is_empty() {
        return Err(BackupError::Unsound(drilled.faults));
    }
    let anchor = anchor(backups, (&kept, &drilled), (&work.0, now))?;
    place_secrets(directory, &work.0)?;
    let before = match claim.location() {
        Location::Directory(_) => {
            exchange(directory, &work.0, (now, anchor))?.map(|path| path.display().to_string())
        }
        Location::Postgres { url, .. } => {
            let former = format!("{}{}", BEFORE.replace('-', "_"), stamp(now).to_lowercase());
            let dump = work.0.join(drill::member(Engine::Postgres));
            let programs = &backups.settings().programs;
            postgres::play((url, programs), dump, Some(former.clone())).await?;
            if let Some(line) = anchor {
                AnchorFile::under(directory).add_line(&line)?;
            }
            exchange_records(directory, &work.0, now)?;
            Some(format!("schema {former}"))
        }
    };
    Ok(Restored { kept, drilled, before })
}

/// The line that gives up the anchors beyond the end of a restored audit trail. The row that tells of the restore is
/// written when the data is next opened. Without a key there is no trail that could be given up.
fn anchor(
    backups: &Backups,
    (kept, drilled): (&Kept, &drill::Drilled),
    (work, now): (&Path, Moment),
) -> Result<Option<String>, BackupError> {
    let Some(keys) = backups.audit_keys(work)? else { return Ok(None) };
    let note = format!("backup {} of {}: {}", kept.manifest.id, kept.manifest.created_at, kept.archive.name);
    let anchor = Anchor { kind: AnchorKind::Restore, head: drilled.audit, at: now, note };
    Ok(Some(AnchorFile::under(backups.location.directory()).next_line(&keys, &anchor)?))
}

/// Puts the secrets of a sealed backup beside the data where there are none: on another machine. Those that are there stay.
fn place_secrets(directory: &Path, work: &Path) -> Result<(), BackupError> {
    for name in archive::SECRET_FILES {
        let (from, to) = (work.join(archive::SECRETS).join(name), directory.join(name));
        if from.is_file() && !to.exists() {
            place(&from, &to)?;
        }
    }
    sync_folder(directory)
}

/// A moment as part of a file's name.
fn stamp(at: Moment) -> String {
    at.to_string().chars().filter(char::is_ascii_alphanumeric).collect()
}

/// Puts the unpacked files of `work` beside the data, and writes down what is then to be done.
fn stage(directory: &Path, work: &Path, note: &Note) -> Result<(), BackupError> {
    let staged = directory.join(&note.staged);
    private_folder(&staged)?;
    place(&work.join(drill::member(Engine::Sqlite)), &staged.join(DATABASE_FILE))?;
    // Also when the backup has none: those that are there now are then of another time.
    let records = work.join(records::FOLDER);
    private_folder(&records)?;
    place(&records, &staged.join(records::FOLDER))?;
    sync_folder(&staged)?;
    let (part, path) = (directory.join(NOTE_PART), directory.join(NOTE));
    let write = || {
        let mut file = archive::private_file(&part)?;
        file.write_all(&serde_json::to_vec(note)?)?;
        file.sync_all()?;
        fs::rename(&part, &path)
    };
    write().map_err(failed(&path))?;
    sync_folder(directory)
}

/// Removes what a restore left that was stopped before its note: a whole copy of the database, which nobody comes back to.
/// Restores hold the lock of the directory, and whoever calls this does.
fn sweep(directory: &Path) {
    let swept = || {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(STAGED) && entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else if name == NOTE_PART {
                fs::remove_file(entry.path())?;
            }
        }
        Ok::<_, std::io::Error>(())
    };
    if let Err(error) = swept() {
        tracing::warn!(%error, "what a restore left in {} was not removed", directory.display());
    }
}

/// Puts the unpacked files of `work` in the place of the data.
fn exchange(
    directory: &Path,
    work: &Path,
    (now, anchor): (Moment, Option<String>),
) -> Result<Option<PathBuf>, BackupError> {
    let (staged, before) = (format!("{STAGED}{}", stamp(now)), format!("{BEFORE}{}", stamp(now)));
    let note = Note { staged, before, anchor };
    if let Err(error) = stage(directory, work, &note) {
        // With the note it is the next start's to end.
        if !directory.join(NOTE).exists() {
            sweep(directory);
        }
        return Err(error);
    }
    go_on(directory)?;
    let before = directory.join(note.before);
    Ok(before.is_dir().then_some(before))
}

/// Puts unpacked record files in the place of those that are there: all that lies in files beside PostgreSQL.
fn exchange_records(directory: &Path, work: &Path, now: Moment) -> Result<(), BackupError> {
    let (new, there) = (work.join(records::FOLDER), directory.join(records::FOLDER));
    private_folder(&new)?;
    if there.exists() {
        let before = directory.join(format!("{BEFORE}{}", stamp(now)));
        private_folder(&before)?;
        place(&there, &before.join(records::FOLDER))?;
    }
    place(&new, &there)?;
    sync_folder(directory)
}

fn place(from: &Path, to: &Path) -> Result<(), BackupError> {
    fs::rename(from, to).map_err(failed(to))
}

/// Does what a restore has still to do, if there is one, and removes what one left that was stopped before. Called with the
/// lock held and before the data is opened.
///
/// # Errors
/// [`BackupError::File`]; it is tried again at the next start.
pub fn go_on(directory: &Path) -> Result<(), BackupError> {
    end(directory)?;
    sweep(directory);
    Ok(())
}

fn end(directory: &Path) -> Result<(), BackupError> {
    let path = directory.join(NOTE);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(&path)(error)),
    };
    let note: Note = serde_json::from_slice(&bytes).map_err(|error| failed(&path)(error.into()))?;
    let (staged, before) = (directory.join(&note.staged), directory.join(&note.before));
    // The new database moves last: while it is still staged, whatever stands in the data directory is old.
    if staged.join(DATABASE_FILE).exists() {
        for ending in ["-wal", "-shm", ""] {
            let name = format!("{DATABASE_FILE}{ending}");
            let from = directory.join(&name);
            if from.exists() {
                private_folder(&before)?;
                place(&from, &before.join(name))?;
            }
        }
        // Records are new once they are no longer staged.
        let records = staged.join(records::FOLDER);
        if records.exists() {
            let there = directory.join(records::FOLDER);
            if there.exists() {
                private_folder(&before)?;
                place(&there, &before.join(records::FOLDER))?;
            }
            place(&records, &there)?;
        }
        if before.exists() {
            sync_folder(&before)?;
        }
        sync_folder(directory)?;
        place(&staged.join(DATABASE_FILE), &directory.join(DATABASE_FILE))?;
        sync_folder(directory)?;
    }
    if let Some(line) = &note.anchor {
        AnchorFile::under(directory).add_line(line)?;
    }
    fs::remove_dir_all(&staged).or_else(gone).map_err(failed(&staged))?;
    fs::remove_file(&path).map_err(failed(&path))?;
    sync_folder(directory)
}

fn gone(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}
