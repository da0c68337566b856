//! Requests of those nobody knows yet: one address may not fill the service with them.
//!
//! Whoever has shown a good credential before is none of them, however many requests it makes at a time.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// The part of all places that strangers of one address may have.
const PART: usize = 8;

/// How many are being served, by address.
#[derive(Debug)]
pub struct Strangers {
    most: usize,
    of: Mutex<HashMap<u64, usize>>,
}

/// A place, given back when dropped.
#[derive(Debug)]
pub struct Stranger<'a> {
    all: &'a Strangers,
    address: u64,
}

impl Strangers {
    /// None yet, of a service with so many places.
    pub fn new(places: usize) -> Self {
        Self { most: (places / PART).max(1), of: Mutex::default() }
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, HashMap<u64, usize>> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more of this address, if it has any left.
    pub fn enter(&self, address: u64) -> Option<Stranger<'_>> {
        let mut of = self.locked();
        let count = of.entry(address).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        drop(of);
        Some(Stranger { all: self, address })
    }
}

impl Drop for Stranger<'_> {
    fn drop(&mut self) {
        let mut of = self.all.locked();
        if let Some(count) = of.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                of.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_part_and_gets_it_back() {
        let strangers = Strangers::new(16);
        let held: Vec<Stranger<'_>> = (0..2).map(|_| strangers.enter(7).unwrap()).collect();
        assert!(strangers.enter(7).is_none());
        assert!(strangers.enter(8).is_some(), "another address");
        drop(held);
        assert!(strangers.locked().is_empty());
        assert!(strangers.enter(7).is_some());
    }
}
