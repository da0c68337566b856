//! Hashes in hexadecimal.

use crate::domain::hexadecimal::hex;
use sha2::{Digest as _, Sha256};

/// SHA-256 in hex.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}
