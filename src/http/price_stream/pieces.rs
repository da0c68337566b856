//! From the bytes of a stream to pieces of whole lines.

use super::admission::{Admitted, Room};
use super::is_stopping;
use crate::domain::hexadecimal::hex;
use crate::http::AppState;
use crate::http::auth::{Caller, PricesWrite};
use crate::http::connections::is_too_slow;
use crate::http::error::{ApiError, Code};
use axum::body::{Body, Bytes};
use http_body_util::BodyExt as _;
use memchr::{memchr_iter, memrchr};
use sha2::{Digest as _, Sha256};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Bytes of a piece, about.
const PIECE: usize = 256 << 10;
/// Longest time a line waits for its group to fill.
const LINGER: Duration = Duration::from_millis(200);
/// Longest line.
const LINE_MAX: usize = 64 << 10;
/// Longest time without a whole line.
const IDLE: Duration = Duration::from_secs(30);

/// Whole lines of a stream.
pub(super) struct Piece {
    pub(super) bytes: Vec<u8>,
    /// Lines of the stream before these.
    pub(super) first: u64,
    /// Lines of the stream up to the last of these.
    pub(super) lines: u64,
    /// SHA-256 of them all in hex, when the stream has a key.
    pub(super) digest: String,
    /// Kept as long as its rows are.
    pub(super) room: Room,
    /// It is to be stored at once, and what came before it too: nothing more may come for a while.
    pub(super) urgent: bool,
}

/// Counts the lines that go through it, and hashes them.
struct Taken {
    lines: u64,
    hash: Option<Sha256>,
}

impl Taken {
    fn digest(&self) -> String {
        self.hash.as_ref().map(|hash| hex(&hash.clone().finalize())).unwrap_or_default()
    }

    /// Takes up whole lines.
    fn take(&mut self, bytes: &[u8]) {
        let ends = memchr_iter(b'\n', bytes).count();
        let open = !bytes.is_empty() && !bytes.ends_with(b"\n");
        self.lines += u64::try_from(ends + usize::from(open)).unwrap_or(u64::MAX);
        if let Some(hash) = &mut self.hash {
            hash.update(bytes);
            if open {
                // A last line is the same line whether it is ended or not.
                hash.update(b"\n");
            }
        }
    }
}

/// Reads one stream.
pub(super) struct Reader<'a> {
    app: &'a AppState,
    caller: &'a Caller<PricesWrite>,
    admitted: &'a Admitted,
    buffer: Vec<u8>,
    room: Room,
    taken: Taken,
    /// Pieces were sent on that were not urgent.
    waits: bool,
    /// Lines to pass over, and the hash they must have.
    skip: u64,
    expected: String,
}

impl<'a> Reader<'a> {
    /// A reader that passes over the first `skip` lines; `keyed` is what they must hash to.
    pub(super) fn new(
        (app, caller): (&'a AppState, &'a Caller<PricesWrite>),
        admitted: &'a Admitted,
        skip: u64,
        keyed: Option<String>,
    ) -> Self {
        let hash = keyed.is_some().then(Sha256::new);
        Self {
            app,
            caller,
            admitted,
            buffer: Vec::new(),
            room: Room::default(),
            taken: Taken { lines: 0, hash },
            waits: false,
            skip,
            expected: keyed.unwrap_or_default(),
        }
    }

    /// Reads to the end, and sends pieces on as they come.
    ///
    /// # Errors
    /// Why the stream ended early.
    pub(super) async fn read_all(
        mut self,
        mut body: Body,
        pieces: mpsc::Sender<Piece>,
    ) -> Result<(), ApiError> {
        let clock = self.app.clock.clone();
        let (mut due, mut idle) = (None, clock.elapsed() + IDLE);
        loop {
            let frame = timeout(LINGER, body.frame()).await;
            let (ended, pause) = (matches!(frame, Ok(None)), frame.is_err());
            match frame {
                Ok(Some(Ok(frame))) => {
                    if let Ok(bytes) = frame.into_data() {
                        self.add(bytes, &pieces).await?;
                    }
                }
                Ok(Some(Err(error))) => {
                    self.cut(&pieces, true).await?;
                    return Err(broken(&error));
                }
                Ok(None) | Err(_) => {}
            }
            let now = clock.elapsed();
            if self.buffer.contains(&b'\n') {
                idle = now + IDLE;
                due = due.or(Some(now + LINGER));
            }
            let waited = ended || pause || due.is_some_and(|due| due <= now);
            if waited {
                due = None;
            }
            if waited || self.buffer.len() >= PIECE {
                self.cut(&pieces, waited).await?;
            }
            if ended {
                return self.end(&pieces).await;
            }
            self.may_go_on(&pieces)?;
            if idle <= now {
                let detail = format!("no line came for {} seconds", IDLE.as_secs());
                return Err(ApiError::new(Code::TooSlow, detail));
            }
        }
    }

    /// Whether more is wanted.
    fn may_go_on(&self, pieces: &mpsc::Sender<Piece>) -> Result<(), ApiError> {
        if pieces.is_closed() {
            return Err(over());
        }
        // A key that is revoked, or has expired, is felt by a stream that was begun before.
        self.caller.check_standing(self.app)?;
        if is_stopping(self.app) {
            return Err(ApiError::new(Code::Busy, "the service is stopping; send the rest again"));
        }
        let endless = self.buffer.len() > LINE_MAX && !self.buffer.contains(&b'\n');
        if endless { Err(self.too_long()) } else { Ok(()) }
    }

    /// The failure of the line after those taken.
    fn too_long(&self) -> ApiError {
        let detail = format!("line {} is longer than {LINE_MAX} bytes", self.taken.lines + 1);
        ApiError::new(Code::BodyTooLarge, detail)
    }

    /// Takes bytes up, once there is room for them.
    async fn add(&mut self, bytes: Bytes, pieces: &mpsc::Sender<Piece>) -> Result<(), ApiError> {
        if !self.admitted.try_hold(&mut self.room, bytes.len()) {
            // What is held already must not wait for room that others wait for too.
            self.cut(pieces, true).await?;
            self.admitted.hold(&mut self.room, bytes.len()).await;
        }
        self.buffer.extend_from_slice(&bytes);
        Ok(())
    }

    /// Sends on the whole lines that have come.
    async fn cut(&mut self, pieces: &mpsc::Sender<Piece>, urgent: bool) -> Result<(), ApiError> {
        let end = memrchr(b'\n', &self.buffer).map_or(0, |end| end + 1);
        let mut rest = Vec::with_capacity(PIECE + PIECE / 2);
        rest.extend_from_slice(self.buffer.get(end..).unwrap_or_default());
        self.buffer.truncate(end);
        let bytes = std::mem::replace(&mut self.buffer, rest);
        self.send(bytes, pieces, urgent).await
    }

    /// Sends on a last line without an end, and checks that all that was passed over came.
    async fn end(&mut self, pieces: &mpsc::Sender<Piece>) -> Result<(), ApiError> {
        let bytes = std::mem::take(&mut self.buffer);
        self.send(bytes, pieces, true).await?;
        if self.skip > 0 { Err(mismatch()) } else { Ok(()) }
    }

    /// Sends lines on up to the first that is too long.
    async fn send(
        &mut self,
        mut bytes: Vec<u8>,
        pieces: &mpsc::Sender<Piece>,
        urgent: bool,
    ) -> Result<(), ApiError> {
        let long = first_too_long(&bytes);
        bytes.truncate(long.unwrap_or(bytes.len()));
        self.pass_over(&mut bytes)?;
        self.send_lines(bytes, pieces, urgent || long.is_some()).await?;
        if long.is_some() { Err(self.too_long()) } else { Ok(()) }
    }

    async fn send_lines(
        &mut self,
        bytes: Vec<u8>,
        pieces: &mpsc::Sender<Piece>,
        urgent: bool,
    ) -> Result<(), ApiError> {
        if bytes.is_empty() && !(urgent && self.waits) {
            return Ok(());
        }
        self.waits = !urgent;
        let first = self.taken.lines;
        self.taken.take(&bytes);
        let (lines, digest) = (self.taken.lines, self.taken.digest());
        let piece = Piece { bytes, first, lines, digest, room: std::mem::take(&mut self.room), urgent };
        // When nobody stores any more, that has a reason of its own.
        pieces.send(piece).await.map_err(|_| over())
    }

    /// Drops lines that were taken before.
    fn pass_over(&mut self, bytes: &mut Vec<u8>) -> Result<(), ApiError> {
        if self.skip == 0 {
            return Ok(());
        }
        let skip = usize::try_from(self.skip).unwrap_or(usize::MAX);
        let mut ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
        let end = ends.nth(skip - 1).unwrap_or(bytes.len());
        let rest = bytes.split_off(end);
        let before = self.taken.lines;
        self.taken.take(bytes);
        *bytes = rest;
        self.skip = self.skip.saturating_sub(self.taken.lines - before);
        if self.skip == 0 && self.taken.digest() != self.expected {
            return Err(mismatch());
        }
        Ok(())
    }
}

/// Where the first line that is too long begins.
fn first_too_long(bytes: &[u8]) -> Option<usize> {
    let mut begin = 0;
    for next in memchr_iter(b'\n', bytes).map(|end| end + 1).chain([bytes.len()]) {
        if next - begin > LINE_MAX {
            return Some(begin);
        }
        begin = next;
    }
    None
}

/// Nobody takes what comes any more.
pub(super) fn over() -> ApiError {
    ApiError::new(Code::Busy, "the stream ended")
}

fn mismatch() -> ApiError {
    ApiError::new(
        Code::IdempotencyMismatch,
        "this Idempotency-Key was used for a stream that began with other lines within the last 24 hours",
    )
}

fn broken(error: &axum::Error) -> ApiError {
    tracing::debug!(%error, "a stream broke off");
    if is_too_slow(error) {
        return ApiError::new(Code::TooSlow, "the lines came too slowly");
    }
    ApiError::new(Code::MalformedJson, "the body broke off or could not be decompressed")
}
