//! Versions of a resource: `ETag` on what is read, `If-Match` on what is changed.

use crate::http::error::{ApiError, Code};
use axum::Json;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// A resource with its version. [`super::layers`] completes the `ETag` with a hash of the body.
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
