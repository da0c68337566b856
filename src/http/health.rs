//! Whether the service lives, and whether it can do its work.

use crate::domain::audit::Entry;
use crate::http::AppState;
use crate::http::auth::{Admin, Caller};
use crate::http::error::ApiError;
use crate::http::query::Query;
use crate::http::wire::Time;
use crate::storage::error::StorageError;
use crate::storage::usage;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;
use utoipa::ToSchema;

/// Longest a check may take before it counts as failed: all are made at once, and an answer comes within a second.
const CHECK: Duration = Duration::from_millis(600);

/// From when on the service counts as unwell.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The data directory.
    pub directory: PathBuf,
    /// Least room on its file system.
    pub disk_free_min_bytes: u64,
    /// Greatest age of the last good backup.
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
    #[schema(example = "0.1.0")]
    version: &'static str,
    timestamp: Time,
    /// What was looked at.
    checks: Checks,
    /// What somebody should look at, although the service does its work.
    #[schema(example = json!(["clock_behind"]))]
    warnings: Vec<&'static str>,
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

/// What a check found, unless it failed or took too long.
async fn within<T, E>(check: impl Future<Output = Result<T, E>>) -> Option<T> {
    tokio::time::timeout(CHECK, check).await.ok().and_then(Result::ok)
}

async fn disk(limits: &Limits) -> DiskCheck {
    let directory = limits.directory.clone();
    let looked = within(tokio::task::spawn_blocking(move || usage::of_directory(&directory))).await;
    let free_bytes = looked.and_then(|usage| usage.disk).map(|disk| disk.free_bytes);
    let free_min_bytes = limits.disk_free_min_bytes;
    DiskCheck { ok: free_bytes.is_some_and(|free| free >= free_min_bytes), free_bytes, free_min_bytes }
}

async fn look(app: &AppState) -> Checks {
    let write = app.db.writer().housekeep(|_| Box::pin(async { Ok::<_, StorageError>(()) }));
    let (write, database, migrations, disk) =
        tokio::join!(within(write), within(app.db.engine()), within(app.db.is_migrated()), disk(&app.limits));
    let clock = app.db.stamps().clock_health();
    Checks {
        database_write: write.is_some(),
        database,
        schema: crate::storage::migrate::newest(),
        migrations: migrations == Some(true),
        disk,
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

    /// Whether the service can go on doing its work.
    const fn is_healthy(&self) -> bool {
        self.is_ready() && self.disk.ok
    }

    fn warnings(&self) -> Vec<&'static str> {
        let found =
            [("disk", !self.disk.ok), ("clock_behind", self.clock_behind), ("clock_ahead", self.clock_ahead)];
        found.into_iter().filter_map(|(what, is_so)| is_so.then_some(what)).collect()
    }

    /// What is said of them, when `well` is what is asked.
    fn told(self, app: &AppState, well: bool) -> Health {
        Health {
            status: if well { "healthy" } else { "unhealthy" },
            version: env!("CARGO_PKG_VERSION"),
            timestamp: Time(app.clock.now()),
            warnings: self.warnings(),
            checks: self,
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
/// the service is stopping. What only needs somebody's attention is in `warnings`.
#[utoipa::path(get, path = "/health", operation_id = "health", tag = "operations",
    responses((status = 200, description = "It can", body = Health), (status = 503, description = "It cannot", body = Health)))]
pub async fn health(State(app): State<AppState>) -> Response {
    let checks = look(&app).await;
    let well = checks.is_healthy();
    answer(checks.told(&app, well))
}

/// Whether requests may be sent to it
///
/// As `/health`, but not for want of room: until a write fails it does its work.
#[utoipa::path(get, path = "/health/ready", operation_id = "health_ready", tag = "operations",
    responses((status = 200, description = "They may", body = Health), (status = 503, description = "They may not", body = Health)))]
pub async fn ready(State(app): State<AppState>) -> Response {
    let checks = look(&app).await;
    let well = checks.is_ready();
    answer(checks.told(&app, well))
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
    let checks = look(&app).await;
    let well = checks.is_healthy();
    Ok(Json(checks.told(&app, well)))
}
