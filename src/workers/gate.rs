//! What guards the service: who may come in, what passwords and tokens are checked with, and how it is set up.

use crate::domain::moment::{DAY, Moment};
use crate::random::Random;
use crate::storage::database::Database;
use crate::storage::error::StorageError;
use crate::workers::arrivals::Arrivals;
use crate::workers::breached::Breached;
use crate::workers::directory::{Directory, Part};
use crate::workers::jwks;
use crate::workers::login_attempts::LoginAttempts;
use crate::workers::passwords::Passwords;
use crate::workers::server_secret::{SecretError, SecretPlace, ServerSecret};
use crate::workers::tokens::issuers::{Issuer, IssuerRules};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// One minute in microseconds.
const MINUTE: i64 = 60_000_000;
/// How often it is kept when keys were last used.
const KEEP_USES: Duration = Duration::from_mins(1);

/// How access is set up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// File with the server's secret; in the data directory when `None`.
    pub secret_file: Option<PathBuf>,
    /// `iss` of our own tokens.
    pub issuer: String,
    /// `aud` of our own tokens.
    pub audience: String,
    /// Life of an access token, in microseconds.
    pub access: i64,
    /// Life of a refresh token that is not used, in microseconds.
    pub refresh: i64,
    /// Longest life of a login, in microseconds.
    pub session: i64,
    /// Age at which a key that signs is replaced, in microseconds.
    pub signing_key: i64,
    /// Others whose tokens are believed.
    pub issuers: Vec<IssuerRules>,
    /// Whether every user needs a second factor to log in.
    pub second_factor_required: bool,
    /// File of passwords that have leaked, which nobody may have.
    pub breached_passwords_file: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            secret_file: None,
            issuer: "artifact".to_owned(),
            audience: "artifact".to_owned(),
            access: 10 * MINUTE,
            refresh: 7 * DAY,
            session: 30 * DAY,
            signing_key: 90 * DAY,
            issuers: Vec::new(),
            second_factor_required: false,
            breached_passwords_file: None,
        }
    }
}

/// Why there is no gate.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// The server's secret.
    #[error("the server's secret: {0}")]
    Secret(#[from] SecretError),
    /// Keys of an issuer.
    #[error("keys of the issuer {issuer}: {reason}")]
    Issuer {
        /// The issuer.
        issuer: String,
        /// Why they cannot be used.
        reason: String,
    },
    /// The list of passwords that have leaked.
    #[error("access.breached_passwords_file: {0}")]
    Breached(std::io::Error),
    /// The database.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What guards the service.
#[derive(Debug)]
pub struct Gate {
    /// Everybody who may come in.
    pub directory: Arc<Directory>,
    /// Hashes of passwords.
    pub passwords: Passwords,
    /// Passwords nobody may have.
    pub breached: Option<Breached>,
    /// Failed logins.
    pub attempts: LoginAttempts,
    /// Who came in of late.
    pub arrivals: Arrivals,
    /// How it is set up.
    pub settings: Settings,
}

impl Gate {
    /// Reads the secret, the keys of issuers, and who may come in.
    ///
    /// # Errors
    /// [`GateError`].
    pub async fn open(
        db: &Database,
        directory: &Path,
        settings: Settings,
        random: Random,
        now: Moment,
    ) -> Result<Self, GateError> {
        let place = match &settings.secret_file {
            Some(path) => SecretPlace::Given(path.clone()),
            None => SecretPlace::Directory(directory.to_path_buf()),
        };
        let secret = ServerSecret::load(&place, random)?;
        let issuers: Vec<Arc<Issuer>> =
            settings.issuers.iter().map(|rules| Arc::new(Issuer::new(rules.clone()))).collect();
        for issuer in &issuers {
            jwks::read_local(issuer).map_err(|error| GateError::Issuer {
                issuer: issuer.rules.issuer.clone(),
                reason: error.to_string(),
            })?;
        }
        let own = (settings.issuer.clone(), settings.audience.clone());
        let directory = Arc::new(Directory::new(secret, own, issuers));
        match directory.upgrade(db).await {
            Ok(0) => {}
            Ok(foreign) => tracing::warn!(
                keys = foreign,
                "{foreign} API keys were hashed with a server secret that is not here and are refused; put that secret back, or make new keys"
            ),
            // They are checked by their plain hash until the next start.
            Err(error) => tracing::warn!(%error, "hashes of API keys were not renewed"),
        }
        directory.settle(db, now).await?;
        let breached = settings.breached_passwords_file.as_deref().map(Breached::open).transpose();
        let breached = breached.map_err(GateError::Breached)?;
        let (attempts, arrivals) = (LoginAttempts::default(), Arrivals::default());
        Ok(Self { directory, passwords: Passwords::default(), breached, attempts, arrivals, settings })
    }
}

/// Keeps when keys were last used, and keys of issuers up to date, until `stop` is cancelled.
pub async fn supervise(gate: Arc<Gate>, db: Database, stop: CancellationToken) {
    let issuers = tokio::spawn(jwks::supervise(Arc::clone(&gate.directory), stop.clone()));
    while !stop.is_cancelled() {
        tokio::select! {
            () = tokio::time::sleep(KEEP_USES) => {}
            () = stop.cancelled() => {}
        }
        if let Err(error) = gate.directory.keep_uses(&db).await {
            tracing::warn!(%error, "the last use of keys was not kept");
        }
    }
    issuers.await.unwrap_or_default();
}

/// Every part of who may come in.
pub const EVERYTHING: &[Part] = &[Part::Keys, Part::Users, Part::Tokens];
