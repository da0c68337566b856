//! What is known of the last backup and of the last drill, for the health route and the metrics.

use super::{BackupError, Backups};
use crate::domain::moment::{HOUR, Moment};
use crate::storage::audit_rows;
use crate::storage::database::Database;
use crate::telemetry::{self as names, recorder};
use std::time::Duration;

/// How far a time that was written down may lie ahead of the clock, in microseconds: a clock is set by a little. One that
/// is farther ahead was told by a clock that was wrong.
const AHEAD_MAX: i64 = HOUR;

/// What is known of them.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// When the newest one was taken.
    pub last_success_at: Option<Moment>,
    /// When one was last found sound.
    pub last_verified_at: Option<Moment>,
    /// When the data began, while there is no backup.
    pub data_since: Option<Moment>,
    /// Length of the newest archive.
    pub size_bytes: Option<u64>,
    /// Why the last attempt failed, until one succeeds.
    pub failure: Option<String>,
    /// Why the last drill failed, until one finds a backup sound: it found a fault, or could not be gone through with.
    pub verify_failure: Option<String>,
}

/// Whether a time is of a clock that ran ahead.
fn is_to_come(at: Moment, now: Moment) -> bool {
    at > now.plus(AHEAD_MAX)
}

impl Status {
    /// Whether what was written since the newest backup is of the last `longest` microseconds; before the first one, whether
    /// all data is. A backup of a time to come may be of any time.
    pub fn is_recent(&self, now: Moment, longest: i64) -> bool {
        let young = |at: Moment| now.0.saturating_sub(at.0) <= longest;
        match (self.last_success_at, self.data_since) {
            (Some(at), _) => young(at) && !is_to_come(at, now),
            (None, since) => since.is_none_or(young),
        }
    }

    /// Shows it to Prometheus; what is not known is not shown.
    pub(super) fn measure(&self) {
        let moments = [
            (names::BACKUP_LAST_SUCCESS, self.last_success_at),
            (names::BACKUP_LAST_VERIFIED, self.last_verified_at),
        ];
        for (name, at) in moments {
            if let Some(micros) = at.and_then(|at| u64::try_from(at.0).ok()) {
                metrics::gauge!(name).set(Duration::from_micros(micros));
            }
        }
        if let Some(bytes) = self.size_bytes {
            metrics::gauge!(names::BACKUP_SIZE).set(recorder::value(bytes));
        }
    }
}

impl Backups {
    /// Reads what was kept into the status. What tells a time to come does not count: nobody knows when it was done.
    ///
    /// # Errors
    /// What the place of the backups says.
    pub async fn recall(&self, now: Moment) -> Result<(), BackupError> {
        let kept = self.list().await?;
        let mut status = self.locked();
        let known = |at: Moment| (!is_to_come(at, now)).then(|| at.min(now));
        let newest = kept.iter().rev().find_map(|kept| known(kept.manifest.created_at));
        let sound = kept.iter().filter(|kept| kept.sound == Some(true));
        let verified = sound.filter_map(|kept| kept.verified_at.and_then(known)).max();
        for (name, before, after) in [
            (names::BACKUP_LAST_SUCCESS, status.last_success_at, newest),
            (names::BACKUP_LAST_VERIFIED, status.last_verified_at, verified),
        ] {
            // A time that was shown and does not count any more: as long ago as can be.
            if before.is_some() && after.is_none() {
                metrics::gauge!(name).set(0.0);
            }
        }
        (status.last_success_at, status.last_verified_at) = (newest, verified);
        status.size_bytes = kept.last().map(|kept| kept.archive.bytes);
        status.measure();
        Ok(())
    }

    /// Looks whether what is known still holds: the clock may have been set back, and data may have come without a backup.
    ///
    /// # Errors
    /// What the place of the backups and the database say.
    pub async fn look(&self, db: &Database, now: Moment) -> Result<(), BackupError> {
        let known = self.status();
        if [known.last_success_at, known.last_verified_at].into_iter().flatten().any(|at| is_to_come(at, now))
        {
            tracing::warn!("the last backup or drill is of a time to come: the clock was set back");
            self.recall(now).await?;
        }
        let known = self.status();
        if known.last_success_at.is_none() && known.data_since.is_none() {
            let since = audit_rows::first_at(&mut db.read().await?).await?;
            self.locked().data_since = since.map(|at| at.min(now));
        }
        Ok(())
    }
}
