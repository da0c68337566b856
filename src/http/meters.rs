//! How often one client may ask: the generic cell rate algorithm, in a table that never grows.
//!
//! A client is a slot of the table, found by a hash nobody outside can foresee. For each the table holds one number:
//! the moment at which all that was asked will have been paid for. Two clients that meet in a slot share its quota.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Slots of the table.
const SLOTS: usize = 1 << 17;

/// So many requests in a span of time; all of them may come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Requests.
    pub requests: u64,
    /// The span.
    pub window: Duration,
}

impl Quota {
    fn window_ns(self) -> u64 {
        nanos(self.window)
    }

    /// Nanoseconds that one request is worth.
    fn price_ns(self) -> u64 {
        (self.window_ns() / self.requests.max(1)).max(1)
    }
}

/// How a client stands with a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Whether this request fits in.
    pub fits: bool,
    /// Requests that would fit in after it.
    pub remaining: u64,
    /// Time until the whole quota is there again.
    pub reset: Duration,
    /// Time until one more fits in; zero when one does.
    pub wait: Duration,
}

/// The table.
#[derive(Debug)]
pub struct Meters {
    hasher: RandomState,
    slots: Box<[AtomicU64]>,
    good: Box<[AtomicU64]>,
}

impl Default for Meters {
    fn default() -> Self {
        let zeros = || (0..SLOTS).map(|_| AtomicU64::new(0)).collect();
        Self { hasher: RandomState::new(), slots: zeros(), good: zeros() }
    }
}

/// A span in nanoseconds.
fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// How things stand when all is paid for at `paid`.
fn reading(quota: Quota, paid: u64, now: u64, fits: bool) -> Reading {
    let owed = paid.saturating_sub(now);
    let room = quota.window_ns().saturating_sub(owed);
    let wait = if room >= quota.price_ns() { 0 } else { quota.price_ns() - room };
    Reading {
        fits,
        remaining: room / quota.price_ns(),
        reset: Duration::from_nanos(owed),
        wait: Duration::from_nanos(wait),
    }
}

fn slot(table: &[AtomicU64], hash: u64) -> Option<&AtomicU64> {
    // The table is as long as a power of two.
    let mask = u64::try_from(table.len()).unwrap_or_default().saturating_sub(1);
    usize::try_from(hash & mask).ok().and_then(|index| table.get(index))
}

impl Meters {
    /// A number that stands for a client, or for what it has shown.
    pub fn subject(&self, client: impl Hash) -> u64 {
        self.hasher.hash_one(client)
    }

    /// Takes one request off a quota, if it fits in.
    pub fn charge(&self, quota: Quota, subject: u64, now: Duration) -> Reading {
        let now = nanos(now);
        let Some(slot) = slot(&self.slots, subject) else { return reading(quota, now, now, true) };
        let mut paid = slot.load(Ordering::Relaxed);
        loop {
            let after = paid.max(now).saturating_add(quota.price_ns());
            if after - now > quota.window_ns() {
                return reading(quota, paid, now, false);
            }
            match slot.compare_exchange_weak(paid, after, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return reading(quota, after, now, true),
                Err(other) => paid = other,
            }
        }
    }

    /// How a client stands, without taking anything.
    pub fn look(&self, quota: Quota, subject: u64, now: Duration) -> Reading {
        let now = nanos(now);
        let paid = slot(&self.slots, subject).map_or(0, |slot| slot.load(Ordering::Relaxed));
        let found = reading(quota, paid, now, true);
        Reading { fits: found.wait.is_zero(), ..found }
    }

    /// Remembers that what was shown opened the door, or that it did not.
    pub fn remember(&self, shown: u64, good: Opened) {
        let Some(slot) = slot(&self.good, shown) else { return };
        let known = slot.load(Ordering::Relaxed) == shown;
        match good {
            Opened::Yes if !known => slot.store(shown, Ordering::Relaxed),
            Opened::No if known => slot.store(0, Ordering::Relaxed),
            Opened::Yes | Opened::No => {}
        }
    }

    /// Whether what is shown opened the door before.
    pub fn knows(&self, shown: u64) -> bool {
        slot(&self.good, shown).is_some_and(|slot| slot.load(Ordering::Relaxed) == shown)
    }
}

/// What became of a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// It was good.
    Yes,
    /// It was refused.
    No,
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Quota = Quota { requests: 10, window: Duration::from_mins(1) };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(1_000 + seconds)
    }

    #[test]
    fn a_quota_may_come_at_once_and_then_drop_by_drop() {
        let meters = Meters::default();
        for left in (0..10).rev() {
            let reading = meters.charge(TEN, 7, at(0));
            assert_eq!((reading.fits, reading.remaining), (true, left));
        }
        let over = meters.charge(TEN, 7, at(0));
        assert_eq!((over.fits, over.remaining), (false, 0));
        assert_eq!((over.wait, over.reset), (Duration::from_secs(6), Duration::from_mins(1)));
        assert!(!meters.charge(TEN, 7, at(5)).fits, "what was refused costs nothing");
        assert!(meters.charge(TEN, 7, at(6)).fits);
        assert!(!meters.charge(TEN, 7, at(6)).fits);
        assert!(meters.charge(TEN, 8, at(6)).fits, "another client has its own");
        let full = meters.look(TEN, 7, at(126));
        assert_eq!((full.fits, full.remaining, full.reset), (true, 10, Duration::ZERO));
    }

    #[test]
    fn over_any_span_no_more_fits_in_than_the_quota_twice() {
        let meters = Meters::default();
        let passed = (0..6_000_u64).filter(|n| meters.charge(TEN, 1, at(n / 100)).fits).count();
        assert_eq!(passed, 19, "ten at once and one each six seconds of sixty, but the last");
    }

    #[test]
    fn a_credential_is_known_while_it_is_good() {
        let meters = Meters::default();
        let shown = meters.subject(b"art_x");
        assert!(!meters.knows(shown));
        meters.remember(shown, Opened::Yes);
        assert!(meters.knows(shown) && !meters.knows(shown.wrapping_add(1 << 32)));
        meters.remember(shown, Opened::No);
        assert!(!meters.knows(shown));
    }

    #[test]
    fn many_threads_never_pass_more_than_fits() {
        let meters = Meters::default();
        let passed: usize = std::thread::scope(|scope| {
            let run = || (0..1_000).filter(|_| meters.charge(TEN, 3, at(0)).fits).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(passed, 10);
    }
}
