//! The files in which records of sources are kept, for readers of files and of HTTP.

use crate::http::AppState;
use crate::http::auth::{Caller, PricesRead};
use crate::http::error::{ApiError, Code};
use crate::workers::records::{Manifest, RecordsError};
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use futures_util::stream::{self, Stream};
use serde::Serialize;
use std::io;
use tokio::io::AsyncReadExt as _;
use utoipa::ToSchema;

/// Bytes of a file in memory at a time; a file that is not larger is answered whole.
const PIECE: u64 = 1 << 20;

/// What the file of a source's records holds.
#[derive(Debug, Serialize, ToSchema)]
pub struct ManifestView {
    /// Stamp of the last record.
    last_ingest_timestamp: Option<String>,
    #[schema(example = "coinbase")]
    source: String,
    /// Records in the file.
    count: u64,
    /// Stamp of the first record.
    first: Option<String>,
    /// Stamp of the last record.
    last: Option<String>,
    /// SHA-256 of the file, in hex.
    sha256: String,
    #[schema(example = "artifact.records/1")]
    schema: String,
    /// Version of the program that wrote it.
    #[schema(example = "0.1.0")]
    writer_version: String,
    /// Of two writes, the one with the greater id is later; `null` when another program wrote the file.
    write_id: Option<String>,
}

impl From<Manifest> for ManifestView {
    fn from(manifest: Manifest) -> Self {
        let Manifest {
            last_ingest_timestamp,
            source,
            count,
            first,
            last,
            sha256,
            schema,
            writer_version,
            write_id,
        } = manifest;
        let write_id = (!write_id.is_nil()).then(|| write_id.to_string());
        Self { last_ingest_timestamp, source, count, first, last, sha256, schema, writer_version, write_id }
    }
}

fn refused(error: &RecordsError) -> ApiError {
    match error {
        RecordsError::Name | RecordsError::None => ApiError::new(Code::SourceNotFound, error.to_string()),
        RecordsError::Unreadable { .. } | RecordsError::Damaged { .. } => {
            tracing::error!(%error, path = ?error.path(), "records are damaged");
            ApiError::new(Code::RecordsDamaged, error.to_string())
        }
        RecordsError::Io { .. } => {
            tracing::error!(%error, path = ?error.path(), "records could not be read");
            ApiError::new(Code::Internal, "the files of this source cannot be read; the log tells why")
        }
    }
}

/// List the sources that have records in files
#[utoipa::path(get, path = "/ingest/sources", operation_id = "list_record_sources", tag = "ingest",
    responses((status = 200, description = "Their names, in order", body = [String])))]
pub async fn list_record_sources(
    State(app): State<AppState>,
    _: Caller<PricesRead>,
) -> Result<Json<Vec<String>>, ApiError> {
    app.records.sources().await.map(Json).map_err(|error| refused(&error))
}

/// Read the records of a source as they are in its file
///
/// A file that is not what its manifest describes is damaged and not given out.
#[utoipa::path(get, path = "/ingest/sources/{source}/records", operation_id = "get_records", tag = "ingest",
    params(("source" = String, Path, description = "Its name")),
    responses((status = 200, description = "An array of records in order of time", body = [Object])))]
pub async fn get_records(
    State(app): State<AppState>,
    _: Caller<PricesRead>,
    Path(source): Path<String>,
) -> Result<Response, ApiError> {
    let file = app.records.open(source.clone()).await.map_err(|error| refused(&error))?;
    // A name that was opened is letters, digits, `.`, `_` and `-`.
    let name = HeaderValue::try_from(format!("attachment; filename=\"{source}.json\""));
    let name = name.unwrap_or(HeaderValue::from_static("attachment"));
    let kind = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CONTENT_DISPOSITION, name),
    ];
    let broken = |error: io::Error| {
        tracing::error!(%error, "records could not be read");
        ApiError::new(Code::Internal, "the files of this source cannot be read; the log tells why")
    };
    let size = file.metadata().map_err(broken)?.len();
    let mut file = tokio::fs::File::from_std(file);
    if size > PIECE {
        // Who packs an answer asks once more after its end.
        return Ok((kind, Body::from_stream(pieces(file).fuse())).into_response());
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).await.map_err(broken)?;
    Ok((kind, bytes).into_response())
}

/// A file piece by piece, as fast as the client reads.
fn pieces(file: tokio::fs::File) -> impl Stream<Item = io::Result<Bytes>> {
    stream::try_unfold(file, async |mut file| {
        let mut piece = Vec::new();
        (&mut file).take(PIECE).read_to_end(&mut piece).await?;
        Ok((!piece.is_empty()).then(|| (piece.into(), file)))
    })
}

/// Read what the file of a source's records holds
#[utoipa::path(get, path = "/ingest/sources/{source}/manifest", operation_id = "get_manifest", tag = "ingest",
    params(("source" = String, Path, description = "Its name")),
    responses((status = 200, description = "The manifest", body = ManifestView)))]
pub async fn get_manifest(
    State(app): State<AppState>,
    _: Caller<PricesRead>,
    Path(source): Path<String>,
) -> Result<Json<ManifestView>, ApiError> {
    let manifest = app.records.manifest(source).await.map_err(|error| refused(&error))?;
    Ok(Json(manifest.into()))
}
