//! Takes and verifies backups on schedule while the service runs.

use super::manifest::Reason;
use super::{BackupError, Backups, Occasion};
use crate::clock::Clock;
use crate::domain::moment::Moment;
use crate::random::Random;
use crate::storage::database::Database;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Longest time between two looks at the clock: it may be set meanwhile.
const LOOK: Duration = Duration::from_secs(20);
/// Time before the next attempt after a failure.
const AFTER_FAILURE: Duration = Duration::from_mins(5);

/// What was done last: a time of the schedule counts from there.
#[derive(Debug, Clone, Copy)]
pub struct Watch {
    /// A backup was taken, or the service started without one.
    pub taken_at: Moment,
    /// One was verified, or the service started without that.
    pub verified_at: Moment,
}

impl Watch {
    /// Goes on where earlier processes stopped: what they missed is due. Without any, the next time counts.
    pub fn begin(backups: &Backups, now: Moment) -> Self {
        let status = backups.status();
        // A stamp in the future is of a clock that was set back; it must not silence the schedule.
        let since = |at: Option<Moment>| at.unwrap_or(now).min(now);
        Self { taken_at: since(status.last_success_at), verified_at: since(status.last_verified_at) }
    }

    /// Does what is due at this moment.
    ///
    /// # Errors
    /// Of the backup or the drill; the other one is then still to be done.
    pub async fn turn(
        &mut self,
        backups: &Backups,
        db: &Database,
        (clock, random): (&Clock, Random),
    ) -> Result<(), BackupError> {
        let settings = backups.settings();
        let now = clock.now();
        if let Err(error) = backups.look(db, now).await {
            tracing::warn!(%error, "the backups that are kept were not looked at");
        }
        // What was done while the clock ran ahead was done before now, and silences nothing until then.
        (self.taken_at, self.verified_at) = (self.taken_at.min(now), self.verified_at.min(now));
        if settings.schedule.as_ref().is_some_and(|schedule| schedule.is_due(self.taken_at, now)) {
            backups.create(db, Occasion { reason: Reason::Scheduled, clock, random }).await?;
            self.taken_at = now;
        }
        let due =
            settings.verify_schedule.as_ref().is_some_and(|schedule| schedule.is_due(self.verified_at, now));
        if due && backups.status().last_success_at.is_some() {
            let outcome = backups.verify("latest", &settings.secret, (clock, random)).await;
            // One that is not sound is no reason to look at it again before the next time.
            if !matches!(outcome, Err(BackupError::Busy | BackupError::Storage(_) | BackupError::File { .. }))
            {
                self.verified_at = now;
            }
            outcome?;
        }
        Ok(())
    }
}

/// Keeps the schedule until `stop` is cancelled.
pub async fn run(
    backups: &Backups,
    db: &Database,
    (clock, random): (Clock, Random),
    stop: CancellationToken,
) {
    backups.sweep().await;
    if let Err(error) = backups.recall(clock.now()).await {
        tracing::warn!(%error, "the backups that are kept could not be listed");
    }
    // Also where nothing is done by a schedule: what is known of the backups has to stay true.
    let mut watch = Watch::begin(backups, clock.now());
    while !stop.is_cancelled() {
        let pause = match watch.turn(backups, db, (&clock, random)).await {
            Ok(()) | Err(BackupError::Busy) => LOOK,
            Err(error) => {
                tracing::error!(%error, "the scheduled backup or its drill failed; it is tried again");
                AFTER_FAILURE
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => {}
        }
    }
}
