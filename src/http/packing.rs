//! Bodies that are packed on their way: of requests, and of answers.

use crate::http::error::{ApiError, Code};
use async_compression::tokio::bufread::{GzipDecoder, ZstdDecoder};
use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use futures_util::TryStreamExt as _;
use std::convert::Infallible;
use std::io;
use tokio::io::AsyncBufRead;
use tokio_util::io::{ReaderStream, StreamReader};
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_http::compression::CompressionLayer;

/// Smallest answer that is packed, in bytes.
const PACKED_MIN: u64 = 1_200;
/// Bytes unpacked at once.
const PIECE: usize = 64 << 10;

/// How a body is packed.
#[derive(Debug, Clone, Copy)]
enum Coding {
    Gzip,
    Zstd,
}

/// The coding of a body; none for one that comes as it is.
fn coding(headers: &HeaderMap) -> Result<Option<Coding>, ApiError> {
    let mut named = headers.get_all(header::CONTENT_ENCODING).iter();
    let Some(first) = named.next() else { return Ok(None) };
    match (first.as_bytes().to_ascii_lowercase().as_slice(), named.next()) {
        (b"gzip" | b"x-gzip", None) => Ok(Some(Coding::Gzip)),
        (b"zstd", None) => Ok(Some(Coding::Zstd)),
        (b"identity", None) => Ok(None),
        _ => {
            let detail = "the body may be sent as it is, or in gzip or zstd";
            Err(ApiError::new(Code::UnsupportedMediaType, detail))
        }
    }
}

/// A request with its body unpacked as it is read: every member of it, for files are packed one after the other, too.
/// What follows the last one and is none is an error where it is read.
///
/// # Errors
/// [`Code::UnsupportedMediaType`] for a body that is packed in another way, or twice.
pub fn unpacked(request: Request) -> Result<Request, ApiError> {
    let Some(coding) = coding(request.headers())? else { return Ok(request) };
    let (mut parts, body) = request.into_parts();
    parts.headers.remove(header::CONTENT_ENCODING);
    parts.headers.remove(header::CONTENT_LENGTH);
    let bytes = StreamReader::new(body.into_data_stream().map_err(io::Error::other));
    Ok(Request::from_parts(parts, of_members(coding, bytes)))
}

fn of_members(coding: Coding, bytes: impl AsyncBufRead + Send + 'static) -> Body {
    match coding {
        Coding::Gzip => {
            let mut members = GzipDecoder::new(bytes);
            members.multiple_members(true);
            Body::from_stream(ReaderStream::with_capacity(members, PIECE))
        }
        Coding::Zstd => {
            let mut members = ZstdDecoder::new(bytes);
            members.multiple_members(true);
            Body::from_stream(ReaderStream::with_capacity(members, PIECE))
        }
    }
}

/// Packs an answer of some size as the caller takes it.
pub async fn packed(response: Response, accepted: Option<HeaderValue>) -> Response {
    if response.body().size_hint().exact().is_some_and(|size| size < PACKED_MIN) {
        return response;
    }
    let mut request = Request::new(Body::empty());
    request.headers_mut().extend(accepted.map(|accepted| (header::ACCEPT_ENCODING, accepted)));
    let mut response = Some(response);
    let given =
        service_fn(|_: Request| std::future::ready(Ok::<_, Infallible>(response.take().unwrap_or_default())));
    let Ok(packed) = CompressionLayer::new().layer(given).oneshot(request).await;
    packed.map(Body::new)
}
