//! Whether the service lives, and whether it can do its work.

use crate::domain::audit::Entry;
use crate::domain::moment::Moment;
use crate::http::AppState;
use crate::http::auth::{Admin, Anyone, Caller};
use crate::http::credentials;
use crate::http::error::{ApiError, Code};
use crate::http::query::Query;
use crate::http::wire::Time;
use crate::workers::backlog::{self, Backlog, seconds_since};
use crate::workers::vitals::{Found, within};
use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;
use utoipa::ToSchema;

/// Longest a batch may wait in the queue before somebody should look, in seconds: it is stored within one while all is
/// well.
const QUEUE_AGE_MAX: u64 = 60;
/// Longest a price may wait to be posted on before somebody should look, in seconds.
const OUTBOX_AGE_MAX: u64 = 900;
/// Farthest the anchors of the audit trail may be behind: they are looked after every 30 s.
const ANCHOR_BEHIND_MAX: Duration = Duration::from_mins(1);

/// From when on the service counts as unwell.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The data directory.
    pub directory: PathBuf,
    /// Least room on its file system.
    pub disk_free_min_bytes: u64,
    /// Greatest age of the last good backup, and of data without any.
    pub backup_age_max: Duration,
}

impl Limits {
    /// What holds unless somebody says otherwise.
    pub fn usual(directory: &Path) -> Self {
        Self {
            directory: directory.to_path_buf(),
            disk_free_min_bytes: 64 << 20,
            backup_age_max: Duration::from_hours(26),
        }
    }
}

/// State of the service.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `healthy` or `unhealthy`.
    #[schema(example = "healthy", pattern = "^(healthy|unhealthy)$")]
    status: &'static str,
    timestamp: Time,
    /// This and what follows is told to callers with a credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "0.1.0", nullable = false)]
    version: Option<&'static str>,
    /// What was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    checks: Option<Checks>,
    /// What somebody should look at, although the service does its work.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = json!(["clock_behind"]), nullable = false)]
    warnings: Option<Vec<&'static str>>,
}

/// Whether who asks is told what was found: a stranger learns whether all is well, and nothing of what is inside.
#[derive(Debug, Clone, Copy)]
pub struct InDetail(bool);

impl FromRequestParts<AppState> for InDetail {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, ApiError> {
        if credentials::is_stranger(parts, app.access) {
            return Ok(Self(false));
        }
        match Caller::<Anyone>::from_request_parts(parts, app).await {
            Ok(_) => Ok(Self(true)),
            Err(error) if error.code == Code::Unauthorized => Err(error),
            // Nobody can say who asks while the database cannot be read, and that is the answer to the question.
            Err(_) => Ok(Self(false)),
        }
    }
}

/// What was looked at.
#[derive(Debug, Serialize, ToSchema)]
#[expect(clippy::struct_excessive_bools, reason = "each is the answer to one question")]
pub struct Checks {
    /// The database took a write.
    #[schema(example = true)]
    database_write: bool,
    /// The database answered a read; its engine and version.
    #[schema(example = "SQLite 3.51.3")]
    database: Option<String>,
    /// Schema of the database.
    #[schema(example = 5)]
    schema: i64,
    /// The database has that schema.
    #[schema(example = true)]
    migrations: bool,
    /// There is room on the file system of the data.
    disk: DiskCheck,
    /// Nothing is written any more: a flush failed, or the database is damaged or gone. The log tells what to do.
    #[schema(example = false)]
    writes_stopped: bool,
    /// The queue of batches.
    queue: QueueCheck,
    /// The feeds that are configured; `GET /ingest/feeds` tells which is which.
    feeds: FeedsCheck,
    /// Prices that are posted on to another instance; `null` when none are.
    outbox: Option<WaitingCheck>,
    /// The anchors of the audit trail.
    audit: AuditCheck,
    /// The backups.
    backup: BackupCheck,
    /// The stamps are ahead of the clock, which was set back.
    #[schema(example = false)]
    clock_behind: bool,
    /// The clock ran more than an hour ahead and is not followed until it is accepted.
    #[schema(example = false)]
    clock_ahead: bool,
    /// The service is stopping.
    #[schema(example = false)]
    draining: bool,
}

/// Room on the file system of the data.
#[derive(Debug, Serialize, ToSchema)]
pub struct DiskCheck {
    /// There is at least the least.
    #[schema(example = true)]
    ok: bool,
    /// What is free; nothing when the file system did not answer.
    #[schema(example = 53_687_091_200_u64)]
    free_bytes: Option<u64>,
    /// The least.
    #[schema(example = 67_108_864)]
    free_min_bytes: u64,
}

/// What is known of the backups.
#[derive(Debug, Serialize, ToSchema)]
pub struct BackupCheck {
    /// The last attempt and the last drill did not fail, and the newest backup is neither too old nor of a time to come;
    /// before the first one, the data is not too old to have none.
    #[schema(example = true)]
    ok: bool,
    /// When the newest was taken; `null` before the first. What is of a time to come does not count.
    last_success_at: Option<Time>,
    /// When one was last restored into a scratch place and found sound; `null` before the first.
    last_verified_at: Option<Time>,
}

/// What waits to be done; nothing is known of it while the database does not answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct WaitingCheck {
    /// More can be taken in, nothing was given up, and nothing waits for too long: a batch for a minute, a price that is
    /// posted on for a quarter of an hour.
    #[schema(example = true)]
    ok: bool,
    /// How much waits.
    #[schema(example = 0)]
    depth: Option<i64>,
    /// How long what is next has waited; 0 when nothing does.
    #[schema(example = 0)]
    oldest_seconds: Option<u64>,
    /// What was given up or refused, and waits for somebody.
    #[schema(example = 0)]
    dead_letters: Option<i64>,
}

/// What waits in the queue of batches.
#[derive(Debug, Serialize, ToSchema)]
pub struct QueueCheck {
    #[serde(flatten)]
    waiting: WaitingCheck,
    /// So much waits that no more is taken in: `POST /ingest/queue` answers 503.
    #[schema(example = false)]
    full: bool,
}

/// How the feeds are doing.
#[derive(Debug, Serialize, ToSchema)]
pub struct FeedsCheck {
    /// None is stale.
    #[schema(example = true)]
    ok: bool,
    /// Feeds that somebody wants to run.
    #[schema(example = 2)]
    wanted: usize,
    /// Of these, those that are connected, or whose last fetch succeeded.
    #[schema(example = 2)]
    connected: usize,
    /// Of these, those that have given nothing good for twice as long as it may take.
    #[schema(example = 0)]
    stale: usize,
}

/// How far the anchors of the audit trail are.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditCheck {
    /// The anchors are at most a minute behind, and the last verification found nothing wrong.
    #[schema(example = true)]
    ok: bool,
    /// When the trail was last seen to be anchored to its end; `null` before that.
    anchored_at: Option<Time>,
    /// How long ago that was, or the service was started.
    #[schema(example = 12)]
    behind_seconds: Option<u64>,
    /// Whether the last verification found nothing wrong; `null` before the first.
    #[schema(example = true)]
    whole: Option<bool>,
}

impl WaitingCheck {
    /// Of what was found: how much waits, how much was given up, and since when what is next has waited.
    fn new(found: Option<(i64, i64, Option<Moment>)>, now: Moment, longest: u64) -> Self {
        let oldest = found.map(|(_, _, oldest)| oldest.map_or(0, |at| seconds_since(at, now)));
        let is_slow = oldest.is_none_or(|seconds| seconds > longest);
        Self {
            ok: !is_slow && found.is_some_and(|(_, dead, _)| dead == 0),
            depth: found.map(|(waiting, _, _)| waiting),
            oldest_seconds: oldest,
            dead_letters: found.map(|(_, dead, _)| dead),
        }
    }
}

fn queue(app: &AppState, backlog: Option<&Backlog>) -> QueueCheck {
    let found = backlog.map(|backlog| (backlog.queue.waiting, backlog.queue.dead, backlog.queue_oldest));
    let full = backlog.is_some_and(|backlog| app.queue.limits.are_reached(backlog.queue));
    let waiting = WaitingCheck::new(found, app.clock.now(), QUEUE_AGE_MAX);
    QueueCheck { waiting: WaitingCheck { ok: waiting.ok && !full, ..waiting }, full }
}

fn feeds(app: &AppState) -> FeedsCheck {
    let now = app.clock.now();
    let wanted: Vec<_> = app.feeds.all().filter(|feed| feed.is_wanted()).collect();
    let stale = wanted.iter().filter(|feed| feed.is_stale(now)).count();
    let connected = wanted.iter().filter(|feed| feed.status().connected).count();
    FeedsCheck { ok: stale == 0, wanted: wanted.len(), connected, stale }
}

fn outbox(app: &AppState, backlog: Option<&Backlog>) -> Option<WaitingCheck> {
    app.db.outlet().destination()?;
    let found = backlog.map(|backlog| (backlog.outbox.waiting, backlog.outbox.dead, backlog.outbox_oldest));
    Some(WaitingCheck::new(found, app.clock.now(), OUTBOX_AGE_MAX))
}

fn audit(app: &AppState) -> AuditCheck {
    let status = app.trail.status();
    let behind = status.behind(app.clock.now());
    AuditCheck {
        ok: behind.is_none_or(|behind| behind <= ANCHOR_BEHIND_MAX) && status.whole != Some(false),
        anchored_at: status.anchored_at.map(Time),
        behind_seconds: behind.map(|behind| behind.as_secs()),
        whole: status.whole,
    }
}

fn backup(app: &AppState) -> BackupCheck {
    let status = app.backups.status();
    let longest = i64::try_from(app.limits.backup_age_max.as_micros()).unwrap_or(i64::MAX);
    let is_recent = status.is_recent(app.clock.now(), longest);
    BackupCheck {
        ok: status.failure.is_none() && status.verify_failure.is_none() && is_recent,
        last_success_at: status.last_success_at.map(Time),
        last_verified_at: status.last_verified_at.map(Time),
    }
}

fn disk(limits: &Limits, free_bytes: Option<u64>) -> DiskCheck {
    let free_min_bytes = limits.disk_free_min_bytes;
    DiskCheck { ok: free_bytes.is_some_and(|free| free >= free_min_bytes), free_bytes, free_min_bytes }
}

/// Looks at the service. The look at the database is shared among all who ask; what waits is told in detail alone, so
/// that a stranger's question does not read the database.
async fn look(app: &AppState, in_detail: InDetail) -> Checks {
    let vitals = app.vitals.look(&app.db, app.limits.directory.clone());
    let waiting = async { if in_detail.0 { within(backlog::look(&app.db)).await } else { None } };
    let (Found { write, engine, migrated, free_bytes }, backlog) = tokio::join!(vitals, waiting);
    let clock = app.db.stamps().clock_health();
    let writes_stopped = app.db.halted().is_some();
    Checks {
        // What stopped writes since the look is known at once.
        database_write: write && !writes_stopped,
        database: engine,
        schema: crate::storage::migrate::newest(),
        migrations: migrated,
        disk: disk(&app.limits, free_bytes),
        writes_stopped,
        queue: queue(app, backlog.as_ref()),
        feeds: feeds(app),
        outbox: outbox(app, backlog.as_ref()),
        audit: audit(app),
        backup: backup(app),
        clock_behind: clock.behind,
        clock_ahead: clock.ahead,
        draining: app.draining.load(Ordering::SeqCst),
    }
}

impl Checks {
    /// Whether requests can be served.
    const fn is_ready(&self) -> bool {
        self.database_write && self.database.is_some() && self.migrations && !self.draining
    }

    /// Whether the start is over: the database answers, and has its schema.
    const fn is_started(&self) -> bool {
        self.database.is_some() && self.migrations
    }

    /// Whether the service can go on doing its work.
    const fn is_healthy(&self) -> bool {
        self.is_ready() && self.disk.ok
    }

    fn warnings(&self) -> Vec<&'static str> {
        let found = [
            ("disk", !self.disk.ok),
            ("queue", !self.queue.waiting.ok),
            ("feeds", !self.feeds.ok),
            ("outbox", self.outbox.as_ref().is_some_and(|outbox| !outbox.ok)),
            ("audit", !self.audit.ok),
            ("backup", !self.backup.ok),
            ("clock_behind", self.clock_behind),
            ("clock_ahead", self.clock_ahead),
        ];
        found.into_iter().filter_map(|(what, is_so)| is_so.then_some(what)).collect()
    }

    /// What is said of them, when `well` is what is asked.
    fn told(self, app: &AppState, well: bool, in_detail: InDetail) -> Health {
        Health {
            status: if well { "healthy" } else { "unhealthy" },
            timestamp: Time(app.clock.now()),
            version: in_detail.0.then_some(env!("CARGO_PKG_VERSION")),
            warnings: in_detail.0.then(|| self.warnings()),
            checks: in_detail.0.then_some(self),
        }
    }
}

fn answer(health: Health) -> Response {
    let status = if health.status == "healthy" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(health)).into_response()
}

/// Whether the service can do its work
///
/// It cannot when the database takes no write or answers no read, the schema is another one, there is no room left, or
/// the service is stopping. What only needs somebody's attention is in `warnings`. Without a credential only `status` and
/// `timestamp` are told. The database is looked at once a second at most, whoever asks: what was found holds that long.
#[utoipa::path(get, path = "/health", operation_id = "health", tag = "operations",
    responses((status = 200, description = "It can", body = Health), (status = 503, description = "It cannot", body = Health)))]
pub async fn health(State(app): State<AppState>, in_detail: InDetail) -> Response {
    let checks = look(&app, in_detail).await;
    let well = checks.is_healthy();
    answer(checks.told(&app, well, in_detail))
}

/// Whether requests may be sent to it
///
/// As `/health`, but not for want of room: until a write fails it does its work.
#[utoipa::path(get, path = "/health/ready", operation_id = "health_ready", tag = "operations",
    responses((status = 200, description = "They may", body = Health), (status = 503, description = "They may not", body = Health)))]
pub async fn ready(State(app): State<AppState>, in_detail: InDetail) -> Response {
    let checks = look(&app, in_detail).await;
    let well = checks.is_ready();
    answer(checks.told(&app, well, in_detail))
}

/// Whether the start is over
///
/// The database answers and the migrations are through. Until then there is no answer at all: the service listens after
/// them. Prices of an old version are carried over meanwhile, which may take minutes, so whoever waits for a start asks here
/// and has patience, and asks `/health/live` from then on.
#[utoipa::path(get, path = "/health/startup", operation_id = "health_startup", tag = "operations",
    responses((status = 200, description = "It is", body = Health), (status = 503, description = "It is not", body = Health)))]
pub async fn startup(State(app): State<AppState>, in_detail: InDetail) -> Response {
    let checks = look(&app, in_detail).await;
    let well = checks.is_started();
    answer(checks.told(&app, well, in_detail))
}

/// That the process answers.
#[derive(Debug, Serialize, ToSchema)]
pub struct Alive {
    #[schema(example = "alive")]
    status: &'static str,
}

/// Whether the process answers; the database is not asked
#[utoipa::path(get, path = "/health/live", operation_id = "health_live", tag = "operations",
    responses((status = 200, description = "It does", body = Alive)))]
pub async fn live() -> Json<Alive> {
    Json(Alive { status: "alive" })
}

/// Follow the machine's clock again
///
/// After the wall clock ran more than an hour ahead of elapsed time, stamps do not follow it until somebody says
/// that it is right.
#[utoipa::path(post, path = "/clock/accept", operation_id = "accept_clock", tag = "operations",
    responses((status = 200, description = "State of the service", body = Health)))]
pub async fn accept_clock(
    State(app): State<AppState>,
    caller: Caller<Admin>,
    mut query: Query,
) -> Result<Json<Health>, ApiError> {
    query.finish()?;
    let tell = app.db.writer().write(caller.actor, |tx| {
        Box::pin(async move {
            tx.audit(Entry::done("clock.accept", "clock"));
            Ok::<_, ApiError>(())
        })
    });
    tell.await?;
    app.db.stamps().accept_clock();
    let checks = look(&app, InDetail(true)).await;
    let well = checks.is_healthy();
    Ok(Json(checks.told(&app, well, InDetail(true))))
}
