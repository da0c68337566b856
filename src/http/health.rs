//! Whether the service lives, and whether it can do its work.

use crate::domain::audit::Entry;
use crate::http::AppState;
use crate::http::auth::{Admin, Caller};
use crate::http::error::ApiError;
use crate::http::query::Query;
use crate::http::wire::Time;
use crate::storage::error::StorageError;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use utoipa::ToSchema;

/// Longest a check may take before it counts as failed.
const CHECK: Duration = Duration::from_secs(2);

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

async fn look(app: &AppState) -> Health {
    let database = tokio::time::timeout(CHECK, app.db.engine()).await.ok().and_then(Result::ok);
    let write = app.db.writer().housekeep(|_| Box::pin(async { Ok::<_, StorageError>(()) }));
    let database_write = tokio::time::timeout(CHECK, write).await.is_ok_and(|done| done.is_ok());
    let clock = app.db.stamps().clock_health();
    let draining = app.draining.load(Ordering::SeqCst);
    let healthy = database.is_some() && database_write && !draining;
    Health {
        status: if healthy { "healthy" } else { "unhealthy" },
        version: env!("CARGO_PKG_VERSION"),
        timestamp: Time(app.clock.now()),
        checks: Checks {
            database_write,
            database,
            schema: crate::storage::migrate::newest(),
            clock_behind: clock.behind,
            clock_ahead: clock.ahead,
            draining,
        },
    }
}

fn answer(health: Health) -> Response {
    let status = if health.status == "healthy" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(health)).into_response()
}

/// Whether the service can do its work
#[utoipa::path(get, path = "/health", operation_id = "health", tag = "operations",
    responses((status = 200, description = "It can", body = Health), (status = 503, description = "It cannot", body = Health)))]
pub async fn health(State(app): State<AppState>) -> Response {
    answer(look(&app).await)
}

/// Whether the service can do its work
#[utoipa::path(get, path = "/health/ready", operation_id = "health_ready", tag = "operations",
    responses((status = 200, description = "It can", body = Health), (status = 503, description = "It cannot", body = Health)))]
pub async fn ready(State(app): State<AppState>) -> Response {
    answer(look(&app).await)
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
    Ok(Json(look(&app).await))
}
