//! Room in memory for bodies: large ones take turns.
//!
//! A small body costs little, however many there are. A larger one, or one that does not say how large it is, waits for one
//! of a few seats; a file or a document, which takes several times its size until it is recorded, for the only one of
//! its own. Who finds none within a while is asked to come again. A stream is not held here: it is stored as it comes.

use crate::http::AppState;
use crate::http::error::{ApiError, Code};
use crate::telemetry::HTTP_TURNED_AWAY;
use axum::body::HttpBody as _;
use axum::extract::{MatchedPath, Request};
use axum::http::header;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Largest body that needs no seat, in bytes.
const SMALL: u64 = 256 << 10;
/// Seats for larger bodies.
const SEATS: usize = 16;
/// Seats for files and documents.
const FILES: usize = 1;
/// Longest wait for a seat.
const WAIT: Duration = Duration::from_secs(10);
/// Routes that take a file or a document.
const OF_FILES: [&str; 4] =
    ["/prices/import", "/fx/import", "/portfolios/{portfolio}/transactions:import", "/pnl"];
/// Routes that take a body from whoever has no credential: it has a few KiB at most.
const WITHOUT: &str = "/auth/";
/// The route whose body is not held.
const STREAM: &str = "/prices/stream";

/// The seats there are.
#[derive(Debug)]
pub struct Seats {
    bodies: Semaphore,
    files: Semaphore,
}

impl Default for Seats {
    fn default() -> Self {
        Self { bodies: Semaphore::new(SEATS), files: Semaphore::new(FILES) }
    }
}

/// Whether a body takes little room. What a packed one unpacks to is not known.
fn is_small(request: &Request) -> bool {
    let most = request.body().size_hint().upper();
    most == Some(0)
        || (most.is_some_and(|most| most <= SMALL)
            && !request.headers().contains_key(header::CONTENT_ENCODING))
}

impl Seats {
    /// Where a request has to wait for a seat.
    fn of(&self, request: &Request) -> Option<&Semaphore> {
        let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str).unwrap_or_default();
        if is_small(request) || route == STREAM || route.starts_with(WITHOUT) {
            return None;
        }
        Some(if OF_FILES.contains(&route) { &self.files } else { &self.bodies })
    }
}

/// A request's seat, to be kept until it is answered; none for one that needs none.
///
/// # Errors
/// [`Code::Busy`] when none became free.
pub fn take<'a>(
    app: &'a AppState,
    request: &Request,
) -> impl Future<Output = Result<Option<SemaphorePermit<'a>>, ApiError>> + Send + use<'a> {
    let seats = app.seats.of(request);
    async move {
        let Some(seats) = seats else { return Ok(None) };
        if let Ok(Ok(seat)) = tokio::time::timeout(WAIT, seats.acquire()).await {
            return Ok(Some(seat));
        }
        metrics::counter!(HTTP_TURNED_AWAY, "reason" => "memory").increment(1);
        let detail = "too many large bodies are being read; nothing was done, try again";
        Err(ApiError::new(Code::Busy, detail))
    }
}
