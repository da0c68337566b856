//! Versions of a resource: `ETag` on what is read, `If-Match` on what is changed.

use crate::domain::hexadecimal::hex;
use crate::http::error::{ApiError, Code};
use axum::Json;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// Largest answer that gets an `ETag`; a larger one is streamed as it is.
const TAGGED_MAX: usize = 1 << 20;

/// A resource with its version. [`tag`] completes the `ETag` with a hash of the body.
#[derive(Debug)]
pub struct Tagged<T> {
    /// Counts changes of the resource.
    pub version: i64,
    /// The resource.
    pub body: T,
}

/// The same, its body written already.
#[derive(Debug)]
pub struct TaggedText {
    /// Counts changes of the resource.
    pub version: i64,
    /// The resource as JSON.
    pub json: Vec<u8>,
}

impl<T: Serialize> IntoResponse for Tagged<T> {
    fn into_response(self) -> Response {
        with_version(Json(self.body).into_response(), self.version)
    }
}

impl IntoResponse for TaggedText {
    fn into_response(self) -> Response {
        let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        with_version((kind, self.json).into_response(), self.version)
    }
}

fn with_version(mut response: Response, version: i64) -> Response {
    if let Ok(tag) = HeaderValue::from_str(&format!("\"v{version}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// Refuses a change when `If-Match` names another version than the current one.
///
/// # Errors
/// [`Code::PreconditionFailed`].
pub fn check_match(headers: &HeaderMap, version: i64) -> Result<(), ApiError> {
    let Some(wanted) = headers.get(header::IF_MATCH) else { return Ok(()) };
    let wanted = wanted.to_str().unwrap_or_default();
    let current = |tag: &str| {
        let tag = tag.trim().trim_matches('"');
        tag == "*" || tag.split('-').next() == Some(&format!("v{version}"))
    };
    if wanted.split(',').any(current) {
        return Ok(());
    }
    Err(ApiError::new(Code::PreconditionFailed, format!("the current version is v{version}")))
}

/// Gives a JSON answer to a reading request its `ETag`, and answers 304 when the caller has it already.
pub async fn tag(response: Response, wanted: Option<&HeaderValue>) -> Response {
    let kind = response.headers().get(header::CONTENT_TYPE);
    let json = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if response.status() != StatusCode::OK || !json {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let size = axum::body::HttpBody::size_hint(&body).upper();
    if size.and_then(|size| usize::try_from(size).ok()).is_none_or(|size| size > TAGGED_MAX) {
        return Response::from_parts(parts, body);
    }
    let Ok(bytes) = to_bytes(body, TAGGED_MAX).await else {
        return ApiError::new(Code::Internal, "the service failed").into_response();
    };
    let hash = Sha256::digest(&bytes);
    let hash = hex(hash.get(..8).unwrap_or_default());
    let version = parts.headers.get(header::ETAG).and_then(|tag| tag.to_str().ok()).unwrap_or("\"\"");
    let version = version.trim_matches('"');
    let tag = if version.is_empty() { format!("\"{hash}\"") } else { format!("\"{version}-{hash}\"") };
    if let Ok(value) = HeaderValue::from_str(&tag) {
        parts.headers.insert(header::ETAG, value);
    }
    if has_tag(wanted, &tag) {
        parts.status = StatusCode::NOT_MODIFIED;
        parts.headers.remove(header::CONTENT_TYPE);
        parts.headers.remove(header::CONTENT_LENGTH);
        return Response::from_parts(parts, Body::empty());
    }
    Response::from_parts(parts, Body::from(bytes))
}

fn has_tag(wanted: Option<&HeaderValue>, tag: &str) -> bool {
    let wanted = wanted.and_then(|value| value.to_str().ok()).unwrap_or_default();
    wanted.split(',').any(|one| {
        let one = one.trim();
        one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag
    })
}
