//! The one place that asks the machine for randomness.

use crate::domain::moment::Moment;
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

    /// A UUID of version 7 for something made at `at`.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub fn uuid_v7(self, at: Moment) -> Result<Uuid, NoRandomness> {
        let millis = u64::try_from(at.0.div_euclid(1_000)).unwrap_or_default();
        Ok(uuid::Builder::from_unix_timestamp_millis(millis, &self.bytes()?).into_uuid())
    }
}
