//! Requests and answers that take long: they end once their caller may not come in any more.
//!
//! A request on an open connection is judged when it comes, again with every piece of its body and twice a second between
//! pieces (`seats`), and when its body has come. What goes on after that, a stream or a long export, is looked at in the
//! same way, so that a revoked key is felt there too.

use crate::http::AppState;
use crate::http::error::{ApiError, Code};
use crate::workers::directory::Standing;
use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use futures_util::StreamExt as _;
use http_body_util::BodyExt as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Time between two looks while nothing is sent.
pub const LOOK: Duration = Duration::from_millis(500);

/// What let a request's caller in, as far as that is known yet. An extension of every request.
#[derive(Debug, Clone, Default)]
pub struct Admitted(Arc<OnceLock<Standing>>);

impl Admitted {
    /// Notes what let the caller in.
    pub fn by(&self, standing: &Standing) {
        self.0.get_or_init(|| standing.clone());
    }

    /// What let the caller in, once that is known.
    pub fn standing(&self) -> Option<&Standing> {
        self.0.get()
    }

    /// Whether the caller was let in by something.
    pub fn is_known(&self) -> bool {
        self.0.get().is_some()
    }

    /// Refuses to go on once what let the caller in does not any more.
    ///
    /// # Errors
    /// [`Code::Unauthorized`].
    pub fn check(&self, app: &AppState) -> Result<(), ApiError> {
        match self.0.get() {
            Some(standing) => check(app, standing),
            None => Ok(()),
        }
    }
}

/// Refuses to go on for whom a credential does not let in any more.
///
/// # Errors
/// [`Code::Unauthorized`].
pub fn check(app: &AppState, standing: &Standing) -> Result<(), ApiError> {
    if app.gate.directory.stands(standing, app.clock.now()) {
        return Ok(());
    }
    Err(ApiError::new(Code::Unauthorized, "the credential is no longer valid"))
}

/// An answer was broken off, because its caller may not have the rest.
#[derive(Debug, thiserror::Error)]
#[error("the caller's credential is no longer valid")]
struct Ended;

/// Watches over an answer that is not whole yet when it begins.
pub fn watch(app: &AppState, admitted: &Admitted, response: Response) -> Response {
    let whole = response.body().size_hint().exact().is_some();
    match admitted.0.get() {
        Some(standing) if !whole && !matches!(standing, Standing::Always) => {
            let (app, standing) = (AppState::clone(app), standing.clone());
            response.map(|body| watched(body, app, standing))
        }
        _ => response,
    }
}

fn watched(body: Body, app: AppState, standing: Standing) -> Body {
    let pieces = futures_util::stream::unfold(Some((body, app, standing)), async |state| {
        let (mut body, app, standing) = state?;
        loop {
            if !app.gate.directory.stands(&standing, app.clock.now()) {
                return Some((Err(axum::Error::new(Ended)), None));
            }
            let Ok(frame) = tokio::time::timeout(LOOK, body.frame()).await else { continue };
            return match frame? {
                Ok(frame) => {
                    let bytes: Bytes = frame.into_data().unwrap_or_default();
                    Some((Ok(bytes), Some((body, app, standing))))
                }
                Err(error) => Some((Err(error), None)),
            };
        }
    });
    // Who packs an answer asks once more after its end.
    Body::from_stream(pieces.fuse())
}
