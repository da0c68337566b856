//! Batches of prices that are taken in first and stored a little later.

use crate::named_enum;

named_enum! {
    /// What a batch has come to.
    BatchState {
        /// It is on disk and waits to be stored.
        Queued = "queued",
        /// Its rows are stored.
        Stored = "stored",
        /// It could not be stored, and is tried no more unless somebody asks for it.
        Dead = "dead",
    }
}
