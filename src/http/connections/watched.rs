//! The bytes of a connection on their way in and out, watched.

use super::activity::Activity;
use crate::http::entrance::Link;
use crate::http::error::{ApiError, Code};
use crate::http::security;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::StatusCode;
use hyper::body::{Frame, Incoming, SizeHint};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Longest time what a client still sends is taken after its last answer.
const REST: Duration = Duration::from_secs(5);
/// Bytes of it taken at once.
const PIECE: usize = 16 << 10;

/// A stream whose activity is known. What the HTTP library refuses by itself leaves as a problem document.
#[derive(Debug)]
pub(super) struct Watched {
    link: Link,
    activity: Arc<Activity>,
    /// A refusal on its way out.
    refusal: Option<Bytes>,
    /// How long the rest of a request is taken, once the last answer is written.
    rest: Option<Pin<Box<Sleep>>>,
}

impl Watched {
    pub(super) fn new(link: Link, activity: Arc<Activity>) -> Self {
        Self { link, activity, refusal: None, rest: None }
    }

    fn poll_refusal(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.refusal.as_mut().filter(|rest| !rest.is_empty()) {
            let written = ready!(Pin::new(&mut self.link).poll_write(cx, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            drop(rest.split_to(written));
        }
        Poll::Ready(Ok(()))
    }

    /// Takes what the client still sends of a request that was answered before it was read, and drops it: a socket that is
    /// closed over unread bytes is reset, and a client that is still sending then loses its answer (RFC 9112, 9.6).
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.refusal.is_none() && !self.activity.body_is_unread() {
            return Poll::Ready(());
        }
        let over = self.rest.get_or_insert_with(|| Box::pin(sleep(REST)));
        let mut piece = [0; PIECE];
        while over.as_mut().poll(cx).is_pending() {
            let mut taken = ReadBuf::new(&mut piece);
            let read = ready!(Pin::new(&mut self.link).poll_read(cx, &mut taken));
            if read.is_err() || taken.filled().is_empty() {
                break;
            }
        }
        Poll::Ready(())
    }

    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Pending => self.activity.waits_to_write(),
            Poll::Ready(Ok(bytes)) => self.activity.written(*bytes),
            Poll::Ready(Err(_)) => {}
        }
        written
    }

    /// Puts a problem document in the place of an answer without one that nobody here has made.
    fn replace(&mut self, bytes: &[u8]) -> bool {
        if self.activity.is_owed() || self.refusal.is_some() {
            return false;
        }
        self.refusal = refusal(bytes);
        self.refusal.is_some()
    }
}

/// The bytes of a problem document for an answer the HTTP library wrote.
fn refusal(written: &[u8]) -> Option<Bytes> {
    let line = written.split(|byte| *byte == b'\r').next()?;
    let status = StatusCode::from_bytes(line.strip_prefix(b"HTTP/1.1 ")?.get(..3)?).ok()?;
    let error = match status {
        StatusCode::BAD_REQUEST => ApiError::new(Code::MalformedRequest, "the request is not well-formed"),
        StatusCode::URI_TOO_LONG => ApiError::new(Code::UriTooLong, "the path and query are too long"),
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            ApiError::new(Code::HeadersTooLarge, "the headers are too many or too large")
        }
        _ => return None,
    };
    let body = serde_json::to_string(&error.problem()).unwrap_or_default();
    let reason = status.canonical_reason().unwrap_or_default();
    let head = format!(
        "HTTP/1.1 {} {reason}\r\ncontent-type: application/problem+json\r\nx-content-type-options: nosniff\r\n\
         referrer-policy: no-referrer\r\ncontent-security-policy: {}\r\ncache-control: no-store\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n",
        status.as_str(),
        security::NOTHING,
        body.len()
    );
    Some(Bytes::from(head + &body))
}

impl Drop for Watched {
    fn drop(&mut self) {
        if self.activity.is_cut_off() {
            self.link.abandon();
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.link).poll_read(cx, buf);
        if buf.filled().len() > before {
            this.activity.arrived();
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.replace(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        ready!(this.poll_refusal(cx))?;
        let written = Pin::new(&mut this.link).poll_write(cx, buf);
        this.note(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if bufs.first().is_some_and(|first| this.replace(first)) {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        ready!(this.poll_refusal(cx))?;
        let written = Pin::new(&mut this.link).poll_write_vectored(cx, bufs);
        this.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.link.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_refusal(cx))?;
        let flushed = Pin::new(&mut this.link).poll_flush(cx);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            this.activity.flushed();
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.rest.is_none() {
            ready!(this.poll_refusal(cx))?;
            ready!(Pin::new(&mut this.link).poll_shutdown(cx))?;
        }
        this.poll_rest(cx).map(Ok)
    }
}

/// The body of a request came too slowly.
#[derive(Debug, thiserror::Error)]
#[error("the body came too slowly")]
struct BodyTooSlow;

/// Whether an error comes from a body that came too slowly.
pub fn is_too_slow(error: &axum::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<BodyTooSlow>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The body of a request, whose pace is measured.
#[derive(Debug)]
pub(super) struct PacedBody {
    inner: Incoming,
    activity: Arc<Activity>,
}

impl PacedBody {
    /// A body as the routes take it.
    pub(super) fn of(inner: Incoming, activity: &Arc<Activity>) -> Body {
        if inner.is_end_stream() {
            return Body::empty();
        }
        activity.body_goes_on(true);
        Body::new(Self { inner, activity: Arc::clone(activity) })
    }
}

impl HttpBody for PacedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        if this.activity.body_is_slow() {
            return Poll::Ready(Some(Err(axum::Error::new(BodyTooSlow))));
        }
        let polled = Pin::new(&mut this.inner).poll_frame(cx);
        match &polled {
            Poll::Pending => this.activity.waits_for_body(cx.waker()),
            Poll::Ready(frame) => {
                let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
                this.activity.body_came(data.map_or(0, Bytes::len));
                this.activity.body_goes_on(frame.is_some() && !this.inner.is_end_stream());
            }
        }
        polled.map(|frame| frame.map(|frame| frame.map_err(axum::Error::new)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// While it lives a request is being served.
#[derive(Debug)]
pub(super) struct Serving(Arc<Activity>);

impl Serving {
    pub(super) fn begin(activity: &Arc<Activity>, body_rate: u64) -> Self {
        activity.begin(body_rate);
        Self(Arc::clone(activity))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The body of an answer: until it is dropped the request counts as being served.
#[derive(Debug)]
pub(super) struct AnswerBody {
    inner: Body,
    _serving: Serving,
}

impl AnswerBody {
    pub(super) fn new(inner: Body, serving: Serving) -> Self {
        Self { inner, _serving: serving }
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.get_mut().inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
