//! Sorts freshly recorded prices into sealed blocks while the service runs.

use crate::storage::database::Database;
use crate::storage::error::StorageError;
use crate::storage::sealing::{self, Effort, Sizes};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Time between two looks when there was nothing to do.
const IDLE: Duration = Duration::from_millis(500);
/// Time before the next attempt after a failure.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// Seals what is worth it until `stop` is cancelled; should it panic, it is begun again.
pub async fn supervise(db: Database, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let run = tokio::spawn(run(db.clone(), stop.clone()));
        if let Err(error) = run.await {
            tracing::error!(%error, "sealing of prices failed and is begun again");
            pause(AFTER_FAILURE, &stop).await;
        }
    }
}

async fn pause(time: Duration, stop: &CancellationToken) {
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        () = stop.cancelled() => {}
    }
}

async fn run(db: Database, stop: CancellationToken) {
    while !stop.is_cancelled() {
        match step(&db, Effort::Routine).await {
            Ok(true) => {}
            Ok(false) => pause(IDLE, &stop).await,
            Err(error) => {
                tracing::warn!(%error, "prices could not be sealed");
                pause(AFTER_FAILURE, &stop).await;
            }
        }
    }
}

/// Does one step; whether there was one to do.
///
/// # Errors
/// The database's.
pub async fn step(db: &Database, effort: Effort) -> Result<bool, StorageError> {
    let plan = sealing::plan(&mut db.read().await?, effort, Sizes::USUAL).await?;
    let Some(plan) = plan else { return Ok(false) };
    db.writer().housekeep(move |tx| Box::pin(async move { sealing::apply(tx, plan).await })).await?;
    Ok(true)
}

/// Does every step that is left.
///
/// # Errors
/// The database's.
pub async fn finish(db: &Database, effort: Effort) -> Result<(), StorageError> {
    while step(db, effort).await? {}
    Ok(())
}
