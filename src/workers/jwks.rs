//! Keys of other issuers: read from files at the start and when they change, and from addresses now and then.

use crate::workers::directory::Directory;
use crate::workers::outbound::address::Reach;
use crate::workers::outbound::target::Target;
use crate::workers::outbound::{Outbound, Outgoing};
use crate::workers::tokens::issuers::{
    Issuer, IssuerRules, JWKS_MAX, KeySource, Keys, KeysError, read_jwks, read_secret,
};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often keys are looked for again.
const AGAIN: Duration = Duration::from_mins(1);
/// Least time between two looks that tokens with unknown keys ask for.
const WANTED: Duration = Duration::from_secs(10);
/// Longest time an issuer may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

fn read_file(path: &Path) -> Result<Vec<u8>, KeysError> {
    std::fs::read(path).map_err(|error| KeysError::Unreadable(format!("{}: {error}", path.display())))
}

fn local(rules: &IssuerRules) -> Result<Option<Keys>, KeysError> {
    let at = |path: &Path| {
        let place = path.display().to_string();
        move |error: KeysError| {
            if matches!(error, KeysError::Unreadable(_)) {
                return error;
            }
            KeysError::Unreadable(format!("{place} {error}"))
        }
    };
    match &rules.keys {
        KeySource::Secret { file, kid } => read_secret(&read_file(file)?, kid).map(Some).map_err(at(file)),
        KeySource::File(file) => read_jwks(&read_file(file)?, rules.strength).map(Some).map_err(at(file)),
        KeySource::Url { .. } => Ok(None),
    }
}

/// Reads the keys of an issuer that are in a file.
///
/// # Errors
/// [`KeysError`]; the keys it had stay.
pub fn read_local(issuer: &Issuer) -> Result<(), KeysError> {
    if let Some(keys) = local(&issuer.rules)? {
        issuer.set_keys(keys);
    }
    Ok(())
}

/// Fetches the keys of an issuer from its address.
async fn fetch(issuer: &Issuer, url: &str, client: &Outbound) -> Result<(), KeysError> {
    let unreadable = |reason: String| KeysError::Unreadable(reason);
    let target = Target::parse(url).map_err(|error| unreadable(error.to_string()))?;
    let asked = Outgoing::get(target, ANSWER, JWKS_MAX);
    let answer = client.send(&asked).await.map_err(|error| unreadable(error.to_string()))?;
    if !answer.status.is_success() {
        return Err(unreadable(format!("the answer is {}", answer.status)));
    }
    issuer.set_keys(read_jwks(&answer.body, issuer.rules.strength)?);
    Ok(())
}

/// The clients that fetch keys, by issuer: each trusts the authorities of its own.
pub type Clients = HashMap<String, Outbound>;

/// Reads the keys of every issuer anew; those whose keys cannot be read keep the ones they have.
pub async fn read_all(directory: &Directory, clients: &Clients) {
    for issuer in directory.issuers() {
        let name = &issuer.rules.issuer;
        let read = match (&issuer.rules.keys, clients.get(name)) {
            (KeySource::Url { url, .. }, Some(client)) => fetch(issuer, url, client).await,
            (KeySource::Url { .. }, None) => Err(KeysError::Unreadable("no requests can be sent".to_owned())),
            (KeySource::File(_) | KeySource::Secret { .. }, _) => {
                let reading = Arc::clone(issuer);
                let read = tokio::task::spawn_blocking(move || read_local(&reading)).await;
                read.unwrap_or_else(|error| Err(KeysError::Unreadable(error.to_string())))
            }
        };
        if let Err(error) = read {
            tracing::warn!(issuer = name, %error, "keys of an issuer were not read; those it had stay");
        }
    }
}

/// The clients of those that are fetched; the operator named their places, so private addresses are in reach.
fn clients_for(directory: &Directory) -> Clients {
    let mut clients = Clients::new();
    for issuer in directory.issuers() {
        let KeySource::Url { authorities, .. } = &issuer.rules.keys else { continue };
        let name = &issuer.rules.issuer;
        match Outbound::trusting(Reach::Anywhere, authorities) {
            Ok(client) => drop(clients.insert(name.clone(), client)),
            Err(error) => tracing::error!(issuer = name, %error, "keys of an issuer cannot be fetched"),
        }
    }
    clients
}

/// Keeps keys of issuers up to date until `stop` is cancelled.
pub async fn supervise(directory: Arc<Directory>, stop: CancellationToken) {
    if directory.issuers().is_empty() {
        return;
    }
    let clients = clients_for(&directory);
    while !stop.is_cancelled() {
        tokio::select! {
            () = read_all(&directory, &clients) => {}
            () = stop.cancelled() => return,
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::access::Scopes;
    use crate::random::Random;
    use crate::workers::outbound::authorities::Authorities;
    use crate::workers::server_secret::{SecretPlace, ServerSecret};
    use crate::workers::tokens::issuers::Strength;
    use std::path::PathBuf;

    const FETCHED: &str = "https://fetched.example";

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("artifact-jwks-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// A directory with one issuer whose keys are in a file, and one whose keys are fetched.
    fn directory(folder: &Path) -> Arc<Directory> {
        let secret =
            ServerSecret::load(&SecretPlace::Directory(folder.to_path_buf()), Random::System).unwrap();
        let issuer = |issuer: &str, keys| {
            let rules = IssuerRules {
                issuer: issuer.to_owned(),
                audience: "artifact".to_owned(),
                typ: None,
                keys,
                strength: Strength::Usual,
                ceiling: Scopes::default(),
                owner_claim: "sub".to_owned(),
                owner_prefix: String::new(),
            };
            Arc::new(Issuer::new(rules))
        };
        let url = KeySource::Url { url: FETCHED.to_owned(), authorities: Authorities::OfMachine };
        let file = KeySource::Secret { file: folder.join("shared"), kid: "one".to_owned() };
        let issuers = vec![issuer("https://file.example", file), issuer(FETCHED, url)];
        Arc::new(Directory::new(secret, (String::new(), String::new()), issuers))
    }

    #[tokio::test]
    async fn keys_are_read_at_once_and_until_the_service_stops() {
        let folder = folder("read");
        std::fs::write(folder.join("shared"), "x".repeat(32)).unwrap();
        let (directory, stop) = (directory(&folder), CancellationToken::new());
        let watch = tokio::spawn(supervise(Arc::clone(&directory), stop.clone()));
        let known = || directory.issuers()[0].key("one").is_some();
        for _ in 0..200 {
            if known() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(known());
        stop.cancel();
        tokio::time::timeout(Duration::from_secs(2), watch).await.unwrap().unwrap();
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn only_what_has_an_address_is_fetched_and_nobody_keeps_that_busy() {
        let folder = folder("fetched");
        let directory = directory(&folder);
        let clients = clients_for(&directory);
        assert_eq!(clients.keys().collect::<Vec<_>>(), [FETCHED]);
        // A token with an unknown key is there already, and no look follows at once.
        directory.wanted.notify_one();
        let asked = tokio::time::timeout(Duration::from_millis(100), wanted(&directory)).await;
        assert!(asked.is_err());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
