//! The composition root: from a configuration to a running service, and its orderly end.

use crate::clock::Clock;
use crate::config::Config;
use crate::http::AppState;
use crate::http::auth::{ADMIN, Access, Door, new_key};
use crate::http::error::ApiError;
use crate::http::router;
use crate::random::Random;
use crate::storage::access;
use crate::storage::database::{Database, Location};
use crate::storage::error::StorageError;
use crate::storage::sealing::Effort;
use crate::telemetry::recorder;
use crate::workers::background::supervise;
use crate::workers::gauges;
use crate::workers::present::Presents;
use crate::workers::records::RecordFiles;
use crate::workers::{ingest_queue, sealing};
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
    /// Opens the data at `location`.
    ///
    /// # Errors
    /// What [`Database::open`] says.
    pub async fn open(location: &Location, clock: Clock, access: Access) -> Result<Self, StorageError> {
        recorder::start();
        let db = Database::open(location, clock.clone()).await?;
        let draining = Arc::new(AtomicBool::new(false));
        gauges::look_at_files(location.directory().to_path_buf()).await;
        let presents = Arc::new(Presents::default());
        let records = Arc::new(RecordFiles::under(location.directory()));
        let (streams, queue) = (Arc::default(), Arc::default());
        let random = Random::System;
        let state = AppState { db, presents, records, streams, queue, clock, random, access, draining };
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
        let background = self.background(&stop);
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
        self.end_background(background).await;
        self.state.db.close().await;
        if let Err(error) = std::fs::remove_file(self.directory.join(SOCKET)) {
            tracing::debug!(%error, "the owner's socket was gone");
        }
        outcome
    }
}

impl App {
    /// Starts what runs beside the requests until `stop` is cancelled.
    fn background(&self, stop: &CancellationToken) -> Vec<JoinHandle<()>> {
        let AppState { db, clock, queue, .. } = self.state.clone();
        let (sealed, ending) = (db.clone(), stop.clone());
        let seal = move || sealing::run(sealed.clone(), ending.clone());
        let ending = stop.clone();
        let store = move || ingest_queue::run(db.clone(), clock.clone(), Arc::clone(&queue), ending.clone());
        vec![
            tokio::spawn(supervise("sealing of prices", stop.clone(), seal)),
            tokio::spawn(supervise("storing of queued batches", stop.clone(), store)),
        ]
    }

    /// Waits for steps under way, and leaves few blocks of prices for the next start to read.
    async fn end_background(&self, tasks: Vec<JoinHandle<()>>) {
        let end = async {
            for task in tasks {
                task.await.unwrap_or_default();
            }
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
