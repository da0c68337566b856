//! What one client may take of the service. `docs/LIMITS.md` says why each is as it is.

use std::time::Duration;

/// The limits of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections from the network.
    pub connections: usize,
    /// Of these, from one address that is no trusted proxy.
    pub connections_per_address: usize,
    /// Longest time to the first byte of a connection.
    pub first_byte: Duration,
    /// Longest time from the first byte of a head to its last.
    pub head: Duration,
    /// Longest time between two requests of a connection.
    pub keep_alive: Duration,
    /// Requests that are served at once.
    pub requests: usize,
    /// Bytes of the head of a request.
    pub head_bytes: usize,
    /// Bytes of a path with its query.
    pub uri_bytes: usize,
    /// Lowest rate at which a body must come, in bytes a second.
    pub body_rate: u64,
    /// Lowest rate at which an answer must be taken.
    pub answer_rate: u64,
    /// Time over which both rates are measured; only waiting for the client counts.
    pub pace_window: Duration,
    /// How often one may ask.
    pub rates: Rates,
}

/// Requests a minute; 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// Of one key with those it was rotated from and to, or of one user or subject with all its tokens.
    pub key: u64,
    /// Of one address.
    pub address: u64,
    /// The same, or of one address where nobody looks at a key, for what is costly.
    pub heavy: u64,
    /// Of one address, without a key.
    pub anonymous: u64,
    /// Of one address, with a key that is refused.
    pub refused: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_per_address: 4_096,
            first_byte: Duration::from_secs(10),
            head: Duration::from_secs(10),
            keep_alive: Duration::from_secs(25),
            requests: 2_048,
            head_bytes: 32 << 10,
            uri_bytes: 8 << 10,
            body_rate: 1_024,
            answer_rate: 1_024,
            pace_window: Duration::from_secs(20),
            // 10,000 a second go on and on, a fifth of what a machine reads and half of what it writes: whoever
            // has more to say sends batches or a stream, which count once.
            rates: Rates { key: 600_000, address: 12_000_000, heavy: 6_000, anonymous: 6_000, refused: 300 },
        }
    }
}
