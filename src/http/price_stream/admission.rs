//! How many streams may be open, and how much of them, and of batches, may be in memory.

use crate::http::error::{ApiError, Code};
use crate::storage::idempotency::KeyedRequest;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

/// Streams that may be open at once.
const OPEN: usize = 256;
/// Kibibytes of lines that may be on their way to the disk, of all streams and batches together. Their rows take about
/// eight times as much.
const HELD_KIB: u32 = 24 << 10;

type Turns = Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>;

/// What all streams and batches share.
#[derive(Debug)]
pub struct Admission {
    open: Arc<Semaphore>,
    held: Arc<Semaphore>,
    turns: Arc<Turns>,
}

impl Default for Admission {
    fn default() -> Self {
        let held = usize::try_from(HELD_KIB).unwrap_or_default();
        Self {
            open: Arc::new(Semaphore::new(OPEN)),
            held: Arc::new(Semaphore::new(held)),
            turns: Arc::default(),
        }
    }
}

impl Admission {
    /// Lets a stream in; one with a key waits for those before it that have the same.
    ///
    /// # Errors
    /// [`Code::Busy`] when too many are open.
    pub(super) async fn enter(&self, request: Option<&KeyedRequest>) -> Result<Admitted, ApiError> {
        let open = Arc::clone(&self.open).try_acquire_owned().map_err(|_| {
            ApiError::new(Code::Busy, format!("{OPEN} streams are open already; nothing was taken"))
        })?;
        let turn = match request {
            Some(request) => Some(self.turn(format!("{}\0{}", request.actor, request.key)).await),
            None => None,
        };
        Ok(Admitted { held: Arc::clone(&self.held), _open: open, _turn: turn })
    }

    /// Waits until there is room for the rows of a body of so many bytes.
    pub async fn room(&self, bytes: usize) -> Room {
        let mut room = Room::default();
        hold(&self.held, &mut room, bytes).await;
        room
    }

    async fn turn(&self, name: String) -> Turn {
        let mine = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(turns.entry(name.clone()).or_default())
        };
        let guard = mine.lock_owned().await;
        Turn { guard: Some(guard), name, turns: Arc::clone(&self.turns) }
    }
}

/// The turn of one stream among those with its key.
struct Turn {
    guard: Option<OwnedMutexGuard<()>>,
    name: String,
    turns: Arc<Turns>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.guard = None;
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody waits when only the table has it.
        if turns.get(&self.name).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            turns.remove(&self.name);
        }
    }
}

/// A stream that was let in.
pub(super) struct Admitted {
    held: Arc<Semaphore>,
    _open: OwnedSemaphorePermit,
    _turn: Option<Turn>,
}

/// Room in memory for bytes on their way.
#[derive(Debug, Default)]
pub struct Room(Option<OwnedSemaphorePermit>);

impl Room {
    /// Takes up what another one holds.
    pub(super) fn join(&mut self, other: Self) {
        if let Some(more) = other.0 {
            self.add(more);
        }
    }

    fn add(&mut self, more: OwnedSemaphorePermit) {
        match &mut self.0 {
            Some(permit) => permit.merge(more),
            None => self.0 = Some(more),
        }
    }
}

fn size(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(HELD_KIB).min(HELD_KIB)
}

async fn hold(held: &Arc<Semaphore>, room: &mut Room, bytes: usize) {
    if let Ok(permit) = Arc::clone(held).acquire_many_owned(size(bytes)).await {
        room.add(permit);
    }
}

impl Admitted {
    /// Adds room for so many bytes, if there is any.
    pub(super) fn try_hold(&self, room: &mut Room, bytes: usize) -> bool {
        let permit = Arc::clone(&self.held).try_acquire_many_owned(size(bytes));
        permit.map(|permit| room.add(permit)).is_ok()
    }

    /// Waits until there is room for so many bytes.
    pub(super) async fn hold(&self, room: &mut Room, bytes: usize) {
        hold(&self.held, room, bytes).await;
    }
}
