//! The composition root: from a configuration to a running service, and its orderly end.

use crate::clock::Clock;
use crate::config::backup::S3Config;
use crate::config::health::Health;
use crate::config::{Config, process_environment};
use crate::domain::access::{ADMIN, Scopes};
use crate::domain::audit::{Actor, ActorKind};
use crate::domain::moment::Moment;
use crate::http::access_change::change;
use crate::http::auth::{Access, FIRST_OWNER};
use crate::http::client_address::TrustedProxies;
use crate::http::connections::Connections;
use crate::http::entrance::Entrance;
use crate::http::error::ApiError;
use crate::http::feeds as http_feeds;
use crate::http::guard::Guard;
use crate::http::health::Limits;
use crate::http::keys::{new_key, told};
use crate::http::rights::Rights;
use crate::http::router;
use crate::http::tls::Certificates;
use crate::http::{AppState, Service};
use crate::random::Random;
use crate::storage::access;
use crate::storage::database::{Database, Location};
use crate::storage::error::StorageError;
use crate::storage::migrate;
use crate::storage::opening::Claim;
use crate::storage::sealing::Effort;
use crate::telemetry::recorder;
use crate::workers::audit_trail::{self, AuditTrail};
use crate::workers::background::supervise;
use crate::workers::backup::postgres::Programs;
use crate::workers::backup::schedule::Keep;
use crate::workers::backup::sealed::Passphrase;
use crate::workers::backup::target::{Bucket, BucketAddress, Target};
use crate::workers::backup::{self, BackupError, Backups, restore, watch};
use crate::workers::directory::Part;
use crate::workers::feeds::definition::{Definition, Secret};
use crate::workers::feeds::{self, Feeds};
use crate::workers::gate::{self, Gate, GateError, Settings};
use crate::workers::gauges;
use crate::workers::outbox::{self, Remote};
use crate::workers::present::Presents;
use crate::workers::records::RecordFiles;
use crate::workers::refusals;
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
/// Longest time feeds may take to store what they heard.
const FEEDS: Duration = Duration::from_secs(5);
/// Longest time prices may be tidied at the end.
const TIDY: Duration = Duration::from_secs(2);

/// How a configuration says backups are taken.
///
/// # Errors
/// [`BackupError`] for storage that cannot be reached as it says.
pub fn backup_settings(config: &Config) -> Result<backup::Settings, BackupError> {
    let asked = &config.backup;
    let usual = backup::Settings::usual(&config.data.value);
    let secret = match (&asked.passphrase.value, &asked.passphrase_file.value) {
        // One that is none is a mistake, and no wish to go without.
        (Some(text), _) => backup::Secret::Given(Passphrase::of(text.as_bytes()).ok_or_else(|| {
            BackupError::Passphrase("the first line of ARTIFACT_BACKUP_PASSPHRASE is empty".to_owned())
        })?),
        (None, Some(path)) => backup::Secret::File(path.clone()),
        (None, None) => backup::Secret::None,
    };
    let target = if asked.s3.bucket.value.is_empty() {
        asked.folder.value.clone().map_or(usual.target, Target::Folder)
    } else {
        Target::Bucket(Bucket::at(bucket_address(&asked.s3)?)?)
    };
    Ok(backup::Settings {
        audit: config.audit.settings(),
        programs: programs(),
        target,
        secret,
        encrypt: asked.encrypt.value,
        before_migration: asked.before_migration.value,
        schedule: asked.schedule.value.clone(),
        verify_schedule: asked.verify_schedule.value.clone(),
        keep: Keep {
            daily: asked.keep_daily.value,
            weekly: asked.keep_weekly.value,
            monthly: asked.keep_monthly.value,
        },
    })
}

/// What of this process's environment programs of PostgreSQL are given.
fn programs() -> Programs {
    let known = |name: &&'static str| process_environment(name).map(|value| (*name, value));
    Programs {
        variables: Programs::KNOWN.iter().filter_map(known).collect(),
        password: process_environment("PGPASSWORD").map(Secret::new),
    }
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
    let (region, authorities) = (s3.region.value.clone(), s3.authorities.value.1.clone());
    Ok(BucketAddress { bucket, prefix, endpoint, region, key, authorities })
}

/// Why the data could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The database, or what guards it, says.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// A restore could not be ended, or no backup taken before the schema changes.
    #[error("{0}; nothing was changed")]
    Backup(#[from] BackupError),
}

impl From<StorageError> for OpenError {
    fn from(error: StorageError) -> Self {
        Self::Gate(error.into())
    }
}

/// Opens the database at `location`, after a restore that was begun there and a backup if its schema is about to change.
async fn open_saved(
    location: &Location,
    clock: &Clock,
    backup: backup::Settings,
) -> Result<(Database, Arc<Backups>), OpenError> {
    let mut claim = Claim::take(location).await?;
    restore::go_on(location.directory())?;
    let backups = Arc::new(Backups::new(location.clone(), backup));
    if backups.settings().before_migration
        && claim.schema().await?.is_some_and(|schema| schema < migrate::newest())
    {
        backups.create_before_migration(clock, Random::System).await?;
    }
    let db = Database::open_claimed(claim, clock.clone(), &backups.settings().audit).await?;
    Ok((db, backups))
}

/// The audit trail of an open database, which has an anchor before it has a row. A restore that was made meanwhile, or a
/// new key, is told in it before anything else is.
///
/// # Errors
/// When that first anchor cannot be written.
async fn audit_trail(
    db: &Database,
    directory: &Path,
    (after, now): (i64, Moment),
) -> Result<Arc<AuditTrail>, StorageError> {
    let trail = AuditTrail::under(directory, db.audit_keys().clone(), after);
    trail.begin(db, now).await?;
    match trail.end_restore(db, now).await {
        Ok(true) => tracing::info!("the restore of a backup was recorded in the audit trail"),
        Ok(false) => {}
        // It stands among the anchors, and every verification tells it from there.
        Err(error) => tracing::error!(%error, "the restore of a backup was not recorded in the audit trail"),
    }
    match trail.take_up_newest_key(db, now).await {
        Ok(true) => tracing::info!("the audit trail goes on with another key"),
        Ok(false) => {}
        // The next row is made with it all the same.
        Err(error) => tracing::error!(%error, "the audit trail's new key was not recorded"),
    }
    Ok(Arc::new(trail))
}

/// An open database with everything around it.
#[derive(Debug, Clone)]
pub struct App {
    /// What handlers reach.
    pub state: AppState,
    directory: PathBuf,
    certificates: Option<Arc<Certificates>>,
    /// Where prices are posted on to.
    remote: Option<Arc<Remote>>,
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
        let (settings, backup) = (config.access.settings(), backup_settings(config)?);
        Self::open_backed(&location(config), Clock::system(), access, (settings, backup)).await
    }

    /// Opens the data at `location`, with access as it is set up unless told otherwise.
    ///
    /// # Errors
    /// As [`App::open_backed`].
    pub async fn open(location: &Location, clock: Clock, access: Access) -> Result<Self, OpenError> {
        Self::open_with(location, clock, access, Settings::default()).await
    }

    /// The same with access set up in another way, and the usual backups.
    ///
    /// # Errors
    /// As [`App::open_backed`].
    pub async fn open_with(
        location: &Location,
        clock: Clock,
        access: Access,
        settings: Settings,
    ) -> Result<Self, OpenError> {
        let backup = backup::Settings::usual(location.directory());
        Self::open_backed(location, clock, access, (settings, backup)).await
    }

    /// The same with backups taken as `backup` says. One is taken before the schema of existing data changes.
    ///
    /// # Errors
    /// What [`Database::open`], [`Gate::open`] and that backup say.
    pub async fn open_backed(
        location: &Location,
        clock: Clock,
        access: Access,
        (settings, backup): (Settings, backup::Settings),
    ) -> Result<Self, OpenError> {
        recorder::start();
        gauges::begin(clock.now());
        let random = Random::System;
        let directory = location.directory().to_path_buf();
        let (db, backups) = open_saved(location, &clock, backup).await?;
        let after = backups.settings().audit.after;
        let opened = async {
            let trail = audit_trail(&db, &directory, (after, clock.now())).await?;
            let gate = Gate::open(&db, &directory, settings, random, clock.now()).await?;
            Ok::<_, OpenError>((trail, Arc::new(gate)))
        };
        let (trail, gate) = match opened.await {
            Ok(opened) => opened,
            Err(error) => {
                db.close().await;
                return Err(error);
            }
        };
        let draining = Arc::new(AtomicBool::new(false));
        gauges::look_at_files(location.directory().to_path_buf()).await;
        let presents = Arc::new(Presents::default());
        let records = Arc::new(RecordFiles::under(location.directory()));
        let (streams, queue, seats) = (Arc::default(), Arc::default(), Arc::default());
        let limits = Arc::new(Limits::usual(location.directory()));
        let (refusals, feeds, guard, vitals) =
            (Arc::default(), Arc::default(), Arc::default(), Arc::default());
        let state = Arc::new(Service {
            db,
            presents,
            records,
            trail,
            refusals,
            streams,
            seats,
            queue,
            feeds,
            backups,
            clock,
            random,
            access,
            gate,
            draining,
            guard,
            limits,
            described: true,
            vitals,
        });
        Ok(Self { state, directory, certificates: None, remote: None })
    }

    /// The same service with TLS on the network.
    #[must_use]
    pub fn encrypted(self, certificates: Option<Arc<Certificates>>) -> Self {
        Self { certificates, ..self }
    }

    /// The same service with another guard.
    #[must_use]
    pub fn guarded(mut self, guard: Guard) -> Self {
        Arc::make_mut(&mut self.state).guard = Arc::new(guard);
        self
    }

    /// The same, with the pages and the document that describe it or without.
    #[must_use]
    pub fn described(mut self, described: bool) -> Self {
        Arc::make_mut(&mut self.state).described = described;
        self
    }

    /// The same with these feeds.
    #[must_use]
    pub fn with_feeds(mut self, definitions: Vec<Definition>) -> Self {
        Arc::make_mut(&mut self.state).feeds = Arc::new(Feeds::of(definitions));
        self
    }

    /// The same, counted as unwell from when on the configuration says.
    #[must_use]
    pub fn with_limits(mut self, health: &Health) -> Self {
        Arc::make_mut(&mut self.state).limits = Arc::new(Limits {
            directory: self.directory.clone(),
            disk_free_min_bytes: health.disk_free_min_bytes.value,
            backup_age_max: Duration::from_secs(health.backup_age_max_hours.value.saturating_mul(3600)),
        });
        self
    }

    /// Posts prices on to another instance from now on, once [`App::posting`] or the service runs.
    pub fn post_on(&mut self, remote: Remote) {
        self.state.db.outlet().open(&remote.place());
        self.remote = Some(Arc::new(remote));
    }

    /// The task that posts prices on until `stop` is cancelled; none when they are posted nowhere.
    pub fn posting(&self, stop: &CancellationToken) -> Option<JoinHandle<()>> {
        let (db, clock) = (self.state.db.clone(), self.state.clock.clone());
        let (remote, ending) = (Arc::clone(self.remote.as_ref()?), stop.clone());
        let post = move || outbox::run(db.clone(), clock.clone(), Arc::clone(&remote), ending.clone());
        Some(tokio::spawn(supervise("posting on", stop.clone(), post)))
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
        let scopes: Scopes = std::iter::once(ADMIN.to_owned()).collect();
        let rights = Rights { scopes, owner_id: FIRST_OWNER.to_owned(), portfolios: None };
        let (random, now) = (self.state.random, self.state.clock.now());
        let (shown, kept) = new_key(&self.state.gate.directory, random, now, name, &rights)?;
        let owner = Actor::new(ActorKind::Owner, "owner");
        let keep = change(&self.state, owner, Part::Keys, move |tx| {
            Box::pin(async move {
                access::insert_key(tx, &kept).await?;
                tx.audit(told(&kept));
                Ok::<_, ApiError>(())
            })
        });
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
    pub async fn serve_watch(&self, listener: TcpListener) {
        let connections = Connections::new(
            self.state.clock.clone(),
            self.state.guard.limits.clone(),
            TrustedProxies::default(),
        );
        let router = router::watch(&self.state);
        connections.serve(Entrance::Network(listener), router, CancellationToken::new()).await;
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
        let guard = &self.state.guard;
        let connections =
            Connections::new(self.state.clock.clone(), guard.limits.clone(), guard.proxies.clone())
                .encrypted(self.certificates.clone());
        if let Some(certificates) = &self.certificates {
            tokio::spawn(Arc::clone(certificates).supervise(stop.clone()));
        }
        let serve = |entrance: Entrance| {
            let router = router::service(&self.state, entrance.door());
            let (connections, stop) = (connections.clone(), stop.clone());
            async move { connections.serve(entrance, router, stop).await }
        };
        let over_socket = async {
            match socket {
                Ok(socket) => serve(Entrance::Owner(socket)).await,
                Err(error) => {
                    tracing::warn!(%error, "no owner's socket; commands need the service stopped");
                    stop.cancelled().await;
                }
            }
        };
        let context = http_feeds::context(&self.state);
        let feeding = tokio::spawn(feeds::supervise(Arc::clone(&self.state.feeds), context, stop.clone()));
        let background = self.background(&stop);
        let backing_up = tokio::spawn(self.clone().back_up(stop.clone()));
        let guarding = gate::supervise(Arc::clone(&self.state.gate), self.state.db.clone(), stop.clone());
        let guarding = tokio::spawn(guarding);
        gauges::note_ages(&self.state.db, &self.state.trail).await;
        self.tend_audit_trail(&stop);
        let posting = self.posting(&stop);
        let Service { db, feeds, clock, .. } = Service::clone(&self.state);
        tokio::spawn(gauges::supervise((db, feeds), self.directory.clone(), clock, stop.clone()));
        let over_network = serve(Entrance::Network(listener));
        let both = async { tokio::join!(over_socket, over_network) };
        let drained = async {
            stop.cancelled().await;
            self.state.draining.store(true, Ordering::SeqCst);
            tokio::time::sleep(DRAIN).await;
        };
        tokio::select! {
            ((), ()) = both => {}
            () = drained => tracing::warn!("some requests did not finish in time"),
        }
        stop.cancel();
        // A backup under way would hold the end up; it leaves nothing but a draft that the next one sweeps away.
        backing_up.abort();
        end_feeds(feeding).await;
        if let Some(posting) = posting {
            posting.await.unwrap_or_default();
        }
        self.end_background(background).await;
        // Its last deed is to keep when keys were used; it waits for nothing else.
        drop(tokio::time::timeout(TIDY, guarding).await);
        self.end_audit_trail().await;
        self.state.db.close().await;
        if let Err(error) = std::fs::remove_file(self.directory.join(SOCKET)) {
            tracing::debug!(%error, "the owner's socket was gone");
        }
        Ok(())
    }
}

impl App {
    /// Starts what runs beside the requests until `stop` is cancelled.
    fn background(&self, stop: &CancellationToken) -> Vec<JoinHandle<()>> {
        let Service { db, clock, queue, .. } = Service::clone(&self.state);
        let (sealed, ending) = (db.clone(), stop.clone());
        let seal = move || sealing::run(sealed.clone(), ending.clone());
        let ending = stop.clone();
        let store = move || ingest_queue::run(db.clone(), clock.clone(), Arc::clone(&queue), ending.clone());
        vec![
            tokio::spawn(supervise("sealing of prices", stop.clone(), seal)),
            tokio::spawn(supervise("storing of queued batches", stop.clone(), store)),
        ]
    }

    /// Keeps the schedule of backups.
    async fn back_up(self, stop: CancellationToken) {
        let Service { backups, db, clock, random, .. } = &*self.state;
        watch::run(backups, db, (clock.clone(), *random), stop).await;
    }

    /// Anchors the audit trail and tells it of refused callers, until `stop` is cancelled.
    fn tend_audit_trail(&self, stop: &CancellationToken) {
        let Service { db, clock, trail, refusals, .. } = Service::clone(&self.state);
        tokio::spawn(refusals::supervise(refusals, db.clone(), clock.clone(), stop.clone()));
        tokio::spawn(audit_trail::supervise(trail, db, clock, stop.clone()));
    }

    /// Tells what is still counted, and anchors where the trail ends.
    async fn end_audit_trail(&self) {
        let Service { db, clock, trail, refusals, .. } = &*self.state;
        refusals.flush(db).await;
        if let Err(error) = trail.anchor(db, clock.now()).await {
            tracing::warn!(%error, "the audit trail was not anchored at the end");
        }
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

/// Waits until feeds have stored what they heard. What is cut off is asked for again at the next start.
async fn end_feeds(feeding: JoinHandle<()>) {
    if tokio::time::timeout(FEEDS, feeding).await.is_err() {
        tracing::warn!("feeds did not stop in time");
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
