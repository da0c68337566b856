//! Backups: taking one, listing those that are kept, and proving that one restores. Restoring needs the service stopped.

use crate::domain::audit::{Actor, ActorKind, Entry};
use crate::http::AppState;
use crate::http::auth::{BackupsWrite, Caller};
use crate::http::error::{ApiError, Code};
use crate::http::query::Query;
use crate::http::wire::Time;
use crate::workers::backup::archive::ArchiveError;
use crate::workers::backup::kept::Kept;
use crate::workers::backup::manifest::{Engine, Reason};
use crate::workers::backup::{BackupError, Occasion};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::io;
use std::sync::Arc;
use utoipa::ToSchema;
use uuid::Uuid;

/// A backup.
#[derive(Debug, Serialize, ToSchema)]
pub struct BackupView {
    #[schema(example = "0198c1d2-7c7a-7b1e-9a55-3f2b8d0c4e11")]
    id: String,
    created_at: Time,
    /// `manual`, `scheduled` or `before_migration`.
    #[schema(value_type = String, example = "scheduled")]
    reason: Reason,
    /// Version of the program that made it.
    #[schema(example = "0.1.0")]
    app_version: String,
    /// `sqlite` or `postgres`.
    #[schema(value_type = String, example = "sqlite")]
    engine: Engine,
    /// Version of the schema.
    #[schema(example = 10)]
    schema: i64,
    /// Stamp of the last commit in it.
    last_commit: Time,
    /// Whether it needs a passphrase.
    #[schema(example = false)]
    encrypted: bool,
    /// Portfolios whose figures it carries check sums of; `null` when it is encrypted or of an older schema.
    #[schema(example = 12)]
    portfolios: Option<usize>,
    /// Name of its archive.
    #[schema(example = "artifact-20261129T023000Z-10-1a2b3c4d.tar.zst")]
    archive: String,
    /// Length of the archive in bytes.
    #[schema(example = 1_048_576)]
    bytes: u64,
    /// SHA-256 of the archive, in hex.
    sha256: String,
    /// When it was last restored into a scratch place and compared.
    verified_at: Option<Time>,
    /// Whether it was sound then.
    #[schema(example = true)]
    sound: Option<bool>,
}

impl From<Kept> for BackupView {
    fn from(kept: Kept) -> Self {
        let Kept { manifest, archive, verified_at, sound, .. } = kept;
        let figures = manifest.contents.and_then(|contents| contents.pnl);
        Self {
            id: manifest.id.to_string(),
            created_at: Time(manifest.created_at),
            reason: manifest.reason,
            app_version: manifest.app_version,
            engine: manifest.engine,
            schema: manifest.schema,
            last_commit: Time(manifest.last_commit),
            encrypted: manifest.encrypted,
            portfolios: figures.map(|pnl| pnl.portfolios.len()),
            archive: archive.name,
            bytes: archive.bytes,
            sha256: archive.sha256,
            verified_at: verified_at.map(Time),
            sound,
        }
    }
}

/// A backup just taken.
#[derive(Debug, Serialize, ToSchema)]
pub struct BackupCreated {
    #[schema(example = true)]
    success: bool,
    #[serde(flatten)]
    backup: BackupView,
}

/// What a drill found.
#[derive(Debug, Serialize, ToSchema)]
pub struct BackupVerified {
    /// Whether it can be relied on.
    #[schema(example = true)]
    sound: bool,
    /// Tables whose rows were counted.
    #[schema(example = 24)]
    tables: usize,
    /// Portfolios whose figures are the same; `null` where the backup has none to compare.
    #[schema(example = 12)]
    portfolios: Option<usize>,
    /// Rows of the audit trail that were held to their hashes.
    #[schema(example = 5120)]
    audit_rows: u64,
    /// What is wrong with it.
    faults: Vec<String>,
}

/// What a caller is told of a failure. Paths, and what other programs said, are for the log and for the owner, whose
/// command has no other way to them.
fn failed(error: BackupError, actor: &Actor) -> ApiError {
    let detail = (actor.kind == ActorKind::Owner).then(|| error.to_string());
    let told = ApiError::from(error);
    match (told.code, detail) {
        (Code::BackupFailed | Code::StorageFull | Code::Internal, Some(detail)) => {
            ApiError { detail, ..told }
        }
        _ => told,
    }
}

impl From<BackupError> for ApiError {
    fn from(error: BackupError) -> Self {
        let full = |error: &io::Error| error.kind() == io::ErrorKind::StorageFull;
        let code = match error {
            BackupError::Storage(error) => return error.into(),
            BackupError::Busy => Code::BackupUnderWay,
            BackupError::NotFound(_) | BackupError::Ambiguous(_) => Code::BackupNotFound,
            BackupError::File { ref error, .. } | BackupError::Archive(ArchiveError::Io(ref error))
                if full(error) =>
            {
                Code::StorageFull
            }
            BackupError::File { .. }
            | BackupError::Archive(_)
            | BackupError::NewerSchema { .. }
            | BackupError::OtherEngine { .. }
            | BackupError::NoContents
            | BackupError::Untried(_)
            | BackupError::Unsound(_)
            | BackupError::Passphrase(_)
            | BackupError::InTheClear(_)
            | BackupError::Program { .. }
            | BackupError::Target { .. }
            | BackupError::Random(_) => Code::BackupFailed,
        };
        if !matches!(code, Code::BackupFailed | Code::StorageFull) {
            return Self::new(code, error.to_string());
        }
        tracing::error!(%error, "a backup failed");
        let without_room = code == Code::StorageFull;
        let why = if without_room { "there is no room for it" } else { "the log tells why" };
        Self::new(code, format!("the backup could not be taken or read: {why}"))
    }
}

/// Runs what must come to its end although the caller may go away.
async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, ApiError>> + Send + 'static,
) -> Result<T, ApiError> {
    let ended = tokio::spawn(work).await;
    ended.map_err(|_| ApiError::new(Code::Internal, "the service failed"))?
}

/// Tells the audit trail of a deed outside the database.
async fn tell(app: &AppState, actor: Arc<Actor>, action: &'static str, id: Uuid) -> Result<(), ApiError> {
    let told = app.db.writer().write(actor, move |tx| {
        Box::pin(async move {
            tx.audit(Entry::done(action, id));
            Ok::<_, ApiError>(())
        })
    });
    told.await
}

/// List backups
///
/// The oldest first; all of them, since retention bounds how many there are.
#[utoipa::path(get, path = "/backups", operation_id = "list_backups", tag = "operations",
    responses((status = 200, description = "The backups that are kept", body = [BackupView])))]
pub async fn list_backups(
    State(app): State<AppState>,
    caller: Caller<BackupsWrite>,
    mut query: Query,
) -> Result<Json<Vec<BackupView>>, ApiError> {
    query.finish()?;
    let kept = app.backups.list().await.map_err(|error| failed(error, &caller.actor))?;
    Ok(Json(kept.into_iter().map(BackupView::from).collect()))
}

/// Take a backup
///
/// Beside whoever reads and writes; the answer comes when it is on disk.
#[utoipa::path(post, path = "/backups", operation_id = "create_backup", tag = "operations",
    responses((status = 201, description = "Taken", body = BackupCreated)))]
pub async fn create_backup(
    State(app): State<AppState>,
    caller: Caller<BackupsWrite>,
    mut query: Query,
) -> Result<Response, ApiError> {
    query.finish()?;
    let taking = async move {
        let occasion = Occasion { reason: Reason::Manual, clock: &app.clock, random: app.random };
        let taken = app.backups.create(&app.db, occasion).await;
        let kept = taken.map_err(|error| failed(error, &caller.actor))?;
        tell(&app, caller.actor, "backup.create", kept.manifest.id).await?;
        Ok(kept)
    };
    let kept = to_its_end(taking).await?;
    let location = format!("/backups/{}", kept.manifest.id);
    let body = BackupCreated { success: true, backup: kept.into() };
    let mut response = (StatusCode::CREATED, Json(body)).into_response();
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// Read a backup
#[utoipa::path(get, path = "/backups/{backup}", operation_id = "get_backup", tag = "operations",
    params(("backup" = String, Path, description = "Id, the beginning of one, or `latest`")),
    responses((status = 200, description = "The backup", body = BackupView)))]
pub async fn get_backup(
    State(app): State<AppState>,
    caller: Caller<BackupsWrite>,
    Path(name): Path<String>,
    mut query: Query,
) -> Result<Json<BackupView>, ApiError> {
    query.finish()?;
    let found = app.backups.find(&name).await.map_err(|error| failed(error, &caller.actor))?;
    Ok(Json(found.into()))
}

/// Verify a backup
///
/// Restores it into a scratch place, looks through everything, holds the audit trail to its chain, and computes the
/// figures of every portfolio again.
#[utoipa::path(post, path = "/backups/{backup}/verify", operation_id = "verify_backup", tag = "operations",
    params(("backup" = String, Path, description = "Id, the beginning of one, or `latest`")),
    responses((status = 200, description = "What was found", body = BackupVerified)))]
pub async fn verify_backup(
    State(app): State<AppState>,
    caller: Caller<BackupsWrite>,
    Path(name): Path<String>,
    mut query: Query,
) -> Result<Json<BackupVerified>, ApiError> {
    query.finish()?;
    let found = app.backups.find(&name).await.map_err(|error| failed(error, &caller.actor))?;
    let id = found.manifest.id;
    let drill = async move {
        let (backups, secret) = (&app.backups, app.backups.settings().secret.clone());
        let found = match backups.verify(&id.to_string(), &secret, (&app.clock, app.random)).await {
            Ok((_, drilled)) => (drilled.tables, drilled.portfolios, drilled.audit_rows, Vec::new()),
            Err(BackupError::Unsound(faults)) => (0, None, 0, faults),
            Err(error) => return Err(failed(error, &caller.actor)),
        };
        tell(&app, caller.actor, "backup.verify", id).await?;
        Ok(found)
    };
    let outcome = to_its_end(drill).await?;
    let (tables, portfolios, audit_rows, faults) = outcome;
    Ok(Json(BackupVerified { sound: faults.is_empty(), tables, portfolios, audit_rows, faults }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn a_failure_is_told_in_its_words_to_the_owner_alone() {
        let failures = || {
            let full = io::Error::from(io::ErrorKind::StorageFull);
            let program = "/usr/lib/postgresql/15/bin/pg_dump".to_owned();
            [
                BackupError::Program { program, said: "SECRET of the server".to_owned() },
                BackupError::Target { place: "SECRET".to_owned(), said: "no such bucket".to_owned() },
                BackupError::Passphrase("/etc/SECRET: not found".to_owned()),
                BackupError::File { path: PathBuf::from("/srv/SECRET"), error: full },
            ]
        };
        for kind in [ActorKind::Key, ActorKind::User, ActorKind::Loopback] {
            let actor = Actor::new(kind, "somebody");
            for error in failures() {
                let told = failed(error, &actor).problem();
                assert!(!told.detail.contains("SECRET") && !told.detail.contains('/'), "{}", told.detail);
                assert!(matches!(told.code, "backup_failed" | "storage_full"), "{}", told.code);
            }
        }
        for error in failures() {
            let told = failed(error, &Actor::new(ActorKind::Owner, "owner")).problem();
            assert!(told.detail.contains("SECRET"), "{}", told.detail);
        }
        let absent = failed(BackupError::NotFound("0000".to_owned()), &Actor::new(ActorKind::Key, "k"));
        assert_eq!(absent.problem().detail, "no backup 0000");
    }
}
