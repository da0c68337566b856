//! From pieces of lines to groups of rows: what came while the group before was being stored is the next one, so that a
//! slow disk gets large groups and a quick one does not wait.

use super::admission::Room;
use super::lines::{Lines, Parsed};
use super::pieces::{Piece, over};
use crate::clock::Clock;
use crate::http::error::{ApiError, Code};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Bytes of lines that are worth a commit while more come.
const RIPE: usize = 1 << 20;
/// Bytes of lines that wait for their commit at most, about.
const FULL: usize = 4 << 20;

/// Rows that are stored together.
pub(super) struct Group {
    pub(super) parsed: Parsed,
    /// Lines of the stream up to the last of these.
    pub(super) lines: u64,
    /// SHA-256 of them all in hex, when the stream has a key.
    pub(super) digest: String,
    /// Kept as long as the rows are.
    pub(super) held: (Room, OwnedSemaphorePermit),
}

/// What was read and is not sent on yet.
#[derive(Default)]
struct Waiting {
    lines: Lines,
    bytes: usize,
    last: u64,
    digest: String,
    room: Room,
    urgent: bool,
}

impl Waiting {
    /// Reads a piece, beside the threads that serve.
    async fn read(mut self, piece: Piece, clock: &Clock) -> Result<Self, ApiError> {
        let Piece { bytes, first, lines, digest, room, urgent } = piece;
        (self.bytes, self.last, self.digest) = (self.bytes + bytes.len(), lines, digest);
        self.room.join(room);
        self.urgent = self.bytes > 0 && (self.urgent || urgent);
        if bytes.is_empty() {
            return Ok(self);
        }
        let now = clock.now();
        let read = tokio::task::spawn_blocking(move || {
            self.lines.parse(&bytes, first, now);
            self
        });
        read.await.map_err(|_| ApiError::new(Code::Internal, "the service failed"))
    }

    fn take(&mut self, turn: OwnedSemaphorePermit) -> Group {
        (self.bytes, self.urgent) = (0, false);
        let held = (std::mem::take(&mut self.room), turn);
        Group { parsed: self.lines.take(), lines: self.last, digest: std::mem::take(&mut self.digest), held }
    }
}

/// Makes groups of pieces until there are no more. Each is sent when the one before is stored.
///
/// # Errors
/// When groups are not wanted any more.
pub(super) async fn gather(
    clock: Clock,
    mut pieces: mpsc::Receiver<Piece>,
    groups: mpsc::Sender<Group>,
) -> Result<(), ApiError> {
    let turns = Arc::new(Semaphore::new(1));
    let (mut waiting, mut ended) = (Waiting::default(), false);
    while !ended || waiting.bytes > 0 {
        let ripe = waiting.bytes > 0 && (waiting.urgent || ended || waiting.bytes >= RIPE);
        tokio::select! {
            biased;
            turn = Arc::clone(&turns).acquire_owned(), if ripe => {
                let turn = turn.map_err(|_| over())?;
                groups.send(waiting.take(turn)).await.map_err(|_| over())?;
            }
            () = groups.closed() => return Err(over()),
            piece = pieces.recv(), if !ended && waiting.bytes < FULL => match piece {
                Some(piece) => waiting = waiting.read(piece, &clock).await?,
                None => ended = true,
            },
        }
    }
    Ok(())
}
