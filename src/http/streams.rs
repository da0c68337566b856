//! Answers of any length, written piece by piece, as NDJSON or CSV.

use crate::named_enum;
use crate::storage::error::StorageError;
use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use std::future::Future;

named_enum! {
    /// How records are written one after another.
    StreamFormat {
        /// One JSON object a line.
        Ndjson = "ndjson",
        /// A table with a header.
        Csv = "csv",
    }
}

/// What an answer is made from.
pub trait Chunks: Sized + Send + 'static {
    /// The next piece; `None` at the end.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, StorageError>> + Send;
}

/// An answer that is written as fast as the client reads; `name` is what a browser calls the file.
pub fn respond(chunks: impl Chunks, format: StreamFormat, name: &str) -> Response {
    let kind = match format {
        StreamFormat::Ndjson => "application/x-ndjson",
        StreamFormat::Csv => "text/csv; charset=utf-8; header=present",
    };
    let name = format!("attachment; filename=\"{name}.{format}\"");
    let pieces = futures_util::stream::unfold(Some(chunks), async |chunks| {
        let mut chunks = chunks?;
        match chunks.next().await {
            Ok(Some(bytes)) => Some((Ok(bytes), Some(chunks))),
            Ok(None) => None,
            Err(error) => {
                // The answer has begun: all that is left is to break it off.
                tracing::error!(error = ?error, "an answer broke off");
                Some((Err(error), None))
            }
        }
    });
    // Who packs an answer asks once more after its end.
    let pieces = pieces.fuse();
    let headers = [(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, name)];
    (headers, Body::from_stream(pieces)).into_response()
}
