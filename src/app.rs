//! The composition root: from a configuration to a running service, and its orderly end.

use crate::clock::Clock;
use crate::config::Config;
use crate::config::backup::S3Config;
use crate::http::AppState;
use crate::http::auth::{ADMIN, Access, Door, new_key};
use crate::http::error::ApiError;
use crate::http::router;
use crate::random::Random;
use crate::storage::access;
use crate::storage::database::{Claim, Database, Location};
use crate::storage::error::StorageError;
use crate::storage::migrate;
use crate::storage::sealing::Effort;
use crate::telemetry::recorder;
use crate::workers::backup::schedule::Keep;
use crate::workers::backup::sealed::Passphrase;
use crate::workers::backup::target::{Bucket, BucketAddress, Target};
use crate::workers::backup::{BackupError, Backups, Secret, Settings, restore, watch};
use crate::workers::gauges;
use crate::workers::present::Presents;
use crate::workers::records::RecordFiles;
use crate::workers::sealing;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Name of the owner's socket in a data directory.
pub const SOCKET: &str = "artifact.sock";
/// Longest time requests under way may take once the service is stopping.
const DRAIN: Duration = Duration::from_secs(10);
/// Longest time prices may be tidied at the end.
const TIDY: Duration = Duration::from_secs(2);

/// How a configuration says backups are taken.
///
/// # Errors
/// [`BackupError`] for storage that cannot be reached as it says.
pub fn backup_settings(config: &Config) -> Result<Settings, BackupError> {
    let backup = &config.backup;
    let usual = Settings::usual(&config.data.value);
    let secret = match (&backup.passphrase.value, &backup.passphrase_file.value) {
        (Some(text), _) => Passphrase::of(text.as_bytes()).map_or(Secret::None, Secret::Given),
        (None, Some(path)) => Secret::File(path.clone()),
        (None, None) => Secret::None,
    };
    let target = if backup.s3.bucket.value.is_empty() {
        backup.folder.value.clone().map_or(usual.target, Target::Folder)
    } else {
        Target::Bucket(Bucket::at(bucket_address(&backup.s3)?)?)
    };
    Ok(Settings {
        target,
        secret,
        before_migration: backup.before_migration.value,
        schedule: backup.schedule.value.clone(),
        verify_schedule: backup.verify_schedule.value.clone(),
        keep: Keep {
            daily: backup.keep_daily.value,
            weekly: backup.keep_weekly.value,
            monthly: backup.keep_monthly.value,
        },
    })
}

fn bucket_address(s3: &S3Config) -> Result<BucketAddress, BackupError> {
    let key = match &s3.credentials_file.value {
        Some(path) => {
            let failed = |error| BackupError::File { path: path.clone(), error };
            let text = std::fs::read_to_string(path).map_err(failed)?;
            let mut lines = text.lines().map(|line| line.trim().to_owned());
            lines.next().zip(lines.next())
        }
        None => s3.credentials.clone(),
    };
    let endpoint = Some(s3.endpoint.value.clone()).filter(|endpoint| !endpoint.is_empty());
    let (bucket, prefix) = (s3.bucket.value.clone(), s3.prefix.value.clone());
    Ok(BucketAddress { bucket, prefix, endpoint, region: s3.region.value.clone(), key })
}

/// Why the data could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The database says.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A restore could not be ended, or no backup taken before the schema changes.
    #[error("{0}; nothing was changed")]
    Backup(#[from] BackupError),
}

/// An open database with everything around it.
#[derive(Debug, Clone)]
pub struct App {
    /// What handlers reach.
    pub state: AppState,
    directory: PathBuf,
}

/// Where a configuration says the data is.
pub fn location(config: &Config) -> Location {
    let directory = config.data.value.clone();
    match &config.database_url.value {
        Some(url) => Location::Postgres { url: url.clone(), directory },
        None => Location::Directory(directory),
    }
}

impl App {
    /// Opens the data that a configuration names.
    ///
    /// # Errors
    /// As [`App::open_backed`].
    pub async fn configured(config: &Config, access: Access) -> Result<Self, OpenError> {
        Self::open_backed(&location(config), Clock::system(), access, backup_settings(config)?).await
    }

    /// Opens the data at `location`, with the usual backups.
    ///
    /// # Errors
    /// As [`App::open_backed`].
    pub async fn open(location: &Location, clock: Clock, access: Access) -> Result<Self, OpenError> {
        Self::open_backed(location, clock, access, Settings::usual(location.directory())).await
    }

    /// The same with backups taken as `backup` says. One is taken before the schema of existing data changes.
    ///
    /// # Errors
    /// What [`Database::open`] and that backup say.
    pub async fn open_backed(
        location: &Location,
        clock: Clock,
        access: Access,
        backup: Settings,
    ) -> Result<Self, OpenError> {
        recorder::start();
        let mut claim = Claim::take(location).await?;
        restore::go_on(location.directory())?;
        let backups = Arc::new(Backups::new(location.clone(), backup));
        if backups.settings().before_migration
            && claim.schema().await?.is_some_and(|schema| schema < migrate::newest())
        {
            backups.create_before_migration(&clock, Random::System).await?;
        }
        let db = Database::open_claimed(claim, clock.clone()).await?;
        let draining = Arc::new(AtomicBool::new(false));
        gauges::look_at_files(location.directory().to_path_buf()).await;
        let presents = Arc::new(Presents::default());
        let records = Arc::new(RecordFiles::under(location.directory()));
        let streams = Arc::default();
        let random = Random::System;
        let state = AppState { db, presents, records, streams, backups, clock, random, access, draining };
        Ok(Self { state, directory: location.directory().to_path_buf() })
    }

    /// Makes the first key when there is none yet; it is shown by the caller, once.
    ///
    /// # Errors
    /// The database's.
    pub async fn first_key(&self) -> Result<Option<String>, ApiError> {
        let mut tx = self.state.db.read().await?;
        if access::count_keys(&mut tx).await? > 0 {
            return Ok(None);
        }
        drop(tx);
        self.admin_key("first").await.map(Some)
    }

    /// Makes an admin key and returns it; only its hash is kept.
    ///
    /// # Errors
    /// The database's.
    pub async fn admin_key(&self, name: &str) -> Result<String, ApiError> {
        let (shown, kept) = new_key(self.state.random, self.state.clock.now(), name, ADMIN)?;
        let keep = self
            .state
            .db
            .writer()
            .write(move |tx| Box::pin(async move { access::insert_key(tx, &kept).await }));
        keep.await?;
        Ok(shown)
    }

    /// Opens the owner's socket. From then on commands find this service; connections wait until it is served.
    ///
    /// # Errors
    /// When it cannot be made; a service does without it.
    pub fn owner_socket(&self) -> std::io::Result<UnixListener> {
        owner_socket(&self.directory)
    }

    /// Serves metrics and health to whoever reaches `listener`, as long as the process lives: also while it drains.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve_watch(&self, listener: TcpListener) -> std::io::Result<()> {
        axum::serve(listener, router::watch(&self.state)).await
    }

    /// Serves until `stop` is cancelled, then lets requests under way finish and closes the database.
    ///
    /// # Errors
    /// When a listener fails.
    pub async fn serve(&self, listener: TcpListener, stop: CancellationToken) -> std::io::Result<()> {
        self.serve_both(listener, self.owner_socket(), stop).await
    }

    /// The same with an owner's socket opened before.
    ///
    /// # Errors
    /// When a listener fails.
    pub async fn serve_both(
        &self,
        listener: TcpListener,
        socket: std::io::Result<UnixListener>,
        stop: CancellationToken,
    ) -> std::io::Result<()> {
        let network = router::service(&self.state, Door::Network);
        let owner = router::service(&self.state, Door::Owner);
        let ending = |stop: CancellationToken| async move { stop.cancelled().await };
        let over_socket = async {
            match socket {
                Ok(socket) => axum::serve(socket, owner).with_graceful_shutdown(ending(stop.clone())).await,
                Err(error) => {
                    tracing::warn!(%error, "no owner's socket; commands need the service stopped");
                    stop.cancelled().await;
                    Ok(())
                }
            }
        };
        let sealing = tokio::spawn(sealing::supervise(self.state.db.clone(), stop.clone()));
        let backing_up = tokio::spawn(self.clone().back_up(stop.clone()));
        let (db, clock) = (self.state.db.clone(), self.state.clock.clone());
        tokio::spawn(gauges::supervise(db, self.directory.clone(), clock, stop.clone()));
        let over_network = axum::serve(listener, network).with_graceful_shutdown(ending(stop.clone()));
        let both = async { tokio::try_join!(over_socket, over_network) };
        let drained = async {
            stop.cancelled().await;
            self.state.draining.store(true, Ordering::SeqCst);
            tokio::time::sleep(DRAIN).await;
        };
        let outcome = tokio::select! {
            served = both => served.map(|_| ()),
            () = drained => {
                tracing::warn!("some requests did not finish in time");
                Ok(())
            }
        };
        stop.cancel();
        // A backup under way would hold the end up; it leaves nothing but a draft that the next one sweeps away.
        backing_up.abort();
        self.end_sealing(sealing).await;
        self.state.db.close().await;
        if let Err(error) = std::fs::remove_file(self.directory.join(SOCKET)) {
            tracing::debug!(%error, "the owner's socket was gone");
        }
        outcome
    }
}

impl App {
    /// Keeps the schedule of backups.
    async fn back_up(self, stop: CancellationToken) {
        let AppState { backups, db, clock, random, .. } = self.state;
        watch::run(&backups, &db, (clock, random), stop).await;
    }

    /// Waits for a step under way, and leaves few blocks of prices for the next start to read.
    async fn end_sealing(&self, sealing: JoinHandle<()>) {
        let end = async {
            sealing.await.unwrap_or_default();
            sealing::finish(&self.state.db, Effort::Tidy).await
        };
        match tokio::time::timeout(TIDY, end).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "prices were not tidied"),
            Err(_) => tracing::debug!("prices are tidied at the next start"),
        }
    }
}

/// Listens on the owner's socket. It gets its name only once nobody else may use it.
fn owner_socket(directory: &Path) -> std::io::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt as _;
    let path = directory.join(SOCKET);
    let early = directory.join(format!(".{SOCKET}"));
    if early.exists() {
        std::fs::remove_file(&early)?;
    }
    let listener = UnixListener::bind(&early)?;
    std::fs::set_permissions(&early, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&early, &path)?;
    Ok(listener)
}

/// Cancels `stop` at SIGTERM or SIGINT.
///
/// # Errors
/// When the signals cannot be watched.
pub fn stop_on_signals(stop: CancellationToken) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        stop.cancel();
    });
    Ok(())
}
