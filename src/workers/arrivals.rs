//! Who came in with which credential and from where, told to the log once an hour each: reads that go well leave no other
//! line, and whoever looks into a stolen key has to know where it was used from.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// After this long the same arrival is told again.
const AGAIN: Duration = Duration::from_hours(1);
/// Arrivals that are remembered; beyond, all are forgotten and told again.
const ENTRIES_MAX: usize = 20_000;

/// Arrivals of the last hour, by a hash of what tells them apart.
#[derive(Debug, Default)]
pub struct Arrivals {
    hashes: RandomState,
    told: Mutex<HashMap<u64, Duration>>,
}

impl Arrivals {
    /// Whether an arrival has not been told within the hour before `now`, by a clock that only goes forward. Then it
    /// counts as told.
    pub fn is_new(&self, actor: &str, key: Option<&str>, address: Option<IpAddr>, now: Duration) -> bool {
        let hash = self.hashes.hash_one((actor, key, address));
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.get(&hash).is_some_and(|at| now.saturating_sub(*at) < AGAIN) {
            return false;
        }
        if told.len() >= ENTRIES_MAX && !told.contains_key(&hash) {
            told.retain(|_, at| now.saturating_sub(*at) < AGAIN);
            if told.len() >= ENTRIES_MAX {
                told.clear();
            }
        }
        told.insert(hash, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrival_is_new_once_an_hour_for_each_credential_and_place() {
        let arrivals = Arrivals::default();
        let (here, there) = ("192.0.2.1".parse().ok(), "192.0.2.2".parse().ok());
        let seconds = Duration::from_secs;
        assert!(arrivals.is_new("key:desk", Some("a"), here, seconds(0)));
        assert!(!arrivals.is_new("key:desk", Some("a"), here, seconds(3_599)));
        assert!(arrivals.is_new("key:desk", Some("a"), there, seconds(1)), "from elsewhere");
        assert!(arrivals.is_new("key:desk", Some("b"), here, seconds(1)), "its successor after a rotation");
        assert!(arrivals.is_new("user:alice", None, here, seconds(1)), "somebody else");
        assert!(arrivals.is_new("key:desk", Some("a"), here, seconds(3_600)), "an hour later");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let arrivals = Arrivals::default();
        for number in 0..(2 * ENTRIES_MAX + 7) {
            assert!(arrivals.is_new(&number.to_string(), None, None, Duration::ZERO));
        }
        assert!(arrivals.told.lock().unwrap().len() <= ENTRIES_MAX);
        assert!(!arrivals.is_new(&(2 * ENTRIES_MAX).to_string(), None, None, Duration::ZERO));
    }
}
