//! The one place that asks the machine for randomness.

use crate::domain::moment::Moment;
use std::cell::RefCell;
use uuid::Uuid;

/// Where random bytes come from.
#[derive(Debug, Clone, Copy)]
pub enum Random {
    /// The operating system.
    System,
}

/// The machine has no randomness to give.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the operating system gives no random bytes")]
pub struct NoRandomness;

/// Random bytes of a thread that were asked for and not used yet.
struct Spare {
    bytes: [u8; 1_024],
    used: usize,
}

thread_local! {
    static SPARE: RefCell<Spare> = const { RefCell::new(Spare { bytes: [0; 1_024], used: 1_024 }) };
}

impl Spare {
    /// The next of them. Each is given once.
    fn next<const N: usize>(&mut self) -> Result<[u8; N], NoRandomness> {
        if self.bytes.len() - self.used < N {
            getrandom::fill(&mut self.bytes).map_err(|_| NoRandomness)?;
            self.used = 0;
        }
        let next = self.bytes.get_mut(self.used..).and_then(|rest| rest.first_chunk_mut::<N>());
        self.used += N;
        next.map(|next| std::mem::replace(next, [0; N])).ok_or(NoRandomness)
    }
}

impl Random {
    /// Fills an array with random bytes.
    ///
    /// # Errors
    /// [`NoRandomness`] when the operating system refuses.
    pub fn bytes<const N: usize>(self) -> Result<[u8; N], NoRandomness> {
        let mut bytes = [0; N];
        getrandom::fill(&mut bytes).map_err(|_| NoRandomness)?;
        Ok(bytes)
    }

    /// A UUID of version 7 for something made at `at`. It is a name and no secret: every request gets one, so the machine
    /// is asked for the bytes of a hundred at a time.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub fn uuid_v7(self, at: Moment) -> Result<Uuid, NoRandomness> {
        let millis = u64::try_from(at.0.div_euclid(1_000)).unwrap_or_default();
        let random = SPARE.with_borrow_mut(Spare::next)?;
        Ok(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_bytes_are_given_twice() {
        let mut spare = Spare { bytes: [0; 1_024], used: 1_024 };
        let given: HashSet<[u8; 10]> = (0..1_000).map(|_| spare.next().unwrap()).collect();
        assert_eq!(given.len(), 1_000);
        let ids: HashSet<Uuid> = (0..1_000).map(|_| Random::System.uuid_v7(Moment(0)).unwrap()).collect();
        assert!(ids.len() == 1_000 && ids.iter().all(|id| id.get_version_num() == 7));
    }
}
