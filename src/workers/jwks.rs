//! Keys of other issuers: read from files at the start and when they change, and from addresses now and then.

use crate::workers::directory::Directory;
use crate::workers::tokens::issuers::{Issuer, KeySource, Keys, KeysError, read_jwks, read_secret};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often keys are looked for again.
const AGAIN: Duration = Duration::from_mins(1);
/// Least time between two looks that tokens with unknown keys ask for.
const WANTED: Duration = Duration::from_secs(10);

fn read_file(path: &Path) -> Result<Vec<u8>, KeysError> {
    std::fs::read(path).map_err(|error| KeysError::Unreadable(format!("{}: {error}", path.display())))
}

fn local(source: &KeySource) -> Result<Option<Keys>, KeysError> {
    let at = |path: &Path| {
        let place = path.display().to_string();
        move |error: KeysError| match error {
            KeysError::Unreadable(_) => error,
            other => KeysError::Unreadable(format!("{place} {other}")),
        }
    };
    match source {
        KeySource::Secret { file, kid } => read_secret(&read_file(file)?, kid).map(Some).map_err(at(file)),
        KeySource::File(file) => read_jwks(&read_file(file)?).map(Some).map_err(at(file)),
        KeySource::Url(_) => Ok(None),
    }
}

/// Reads the keys of an issuer that are in a file.
///
/// # Errors
/// [`KeysError`]; the keys it had stay.
pub fn read_local(issuer: &Issuer) -> Result<(), KeysError> {
    if let Some(keys) = local(&issuer.rules.keys)? {
        issuer.set_keys(keys);
    }
    Ok(())
}

/// Reads the keys of every issuer anew.
async fn read_all(directory: &Directory) {
    for issuer in directory.issuers() {
        let reading = Arc::clone(issuer);
        let read = tokio::task::spawn_blocking(move || read_local(&reading)).await;
        if let Ok(Err(error)) = read {
            tracing::warn!(issuer = issuer.rules.issuer, %error, "keys of an issuer were not read; those it had stay");
        }
    }
}

/// Keeps keys of issuers up to date until `stop` is cancelled.
pub async fn supervise(directory: Arc<Directory>, stop: CancellationToken) {
    if directory.issuers().is_empty() {
        return;
    }
    while !stop.is_cancelled() {
        read_all(&directory).await;
        tokio::select! {
            () = tokio::time::sleep(AGAIN) => {}
            () = wanted(&directory) => {}
            () = stop.cancelled() => {}
        }
    }
}

/// Waits until a token names a key that is not known, but not for long enough to be kept busy by such tokens.
async fn wanted(directory: &Directory) {
    tokio::time::sleep(WANTED).await;
    directory.wanted.notified().await;
}
