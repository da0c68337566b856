//! How often a password may be guessed: waits that grow with each failure, of one user from one place, and of one place
//! over all users.
//!
//! Nobody is locked out for good. A wait is at most a minute, it belongs to a place, and somebody who comes from another
//! place does not wait for it. While a user is under attack from many places, each place has one guess a minute.
//! Everything is in memory and of bounded size; a restart forgets it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Guesses of one user from one place before it must wait.
const FREE: u32 = 5;
/// Guesses from one place over all users before it must wait.
const FREE_OF_PLACE: u32 = 20;
/// Failures of one user over all places from which on each place has one guess.
const UNDER_ATTACK: u32 = 50;
/// Longest wait.
const WAIT_MAX: Duration = Duration::from_mins(1);
/// After this long without a failure, it is forgotten.
const FORGET: Duration = Duration::from_mins(15);
/// Entries of one kind that are remembered.
const ENTRIES_MAX: usize = 20_000;

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Duration,
}

type Table = HashMap<String, Failures>;

#[derive(Debug, Default)]
struct State {
    pairs: Table,
    places: Table,
    users: Table,
}

/// Failed logins of the last minutes.
#[derive(Debug, Default)]
pub struct LoginAttempts(Mutex<State>);

/// Where somebody comes from: an address, or the network that one household of IPv6 has.
fn place(address: Option<IpAddr>) -> String {
    match address {
        None => "unknown".to_owned(),
        Some(IpAddr::V4(address)) => address.to_string(),
        Some(IpAddr::V6(address)) => match address.to_ipv4_mapped() {
            Some(inner) => inner.to_string(),
            None => format!("{:x}/64", address.to_bits() >> 64),
        },
    }
}

fn known(table: &Table, name: &str, now: Duration) -> Option<Failures> {
    table.get(name).copied().filter(|failures| now.saturating_sub(failures.last) < FORGET)
}

/// What is left to wait after `count` failures, `free` of which cost nothing: 1 s, then twice as long each time.
fn wait(failures: Option<Failures>, free: u32, now: Duration) -> Duration {
    let Some(Failures { count, last }) = failures else { return Duration::ZERO };
    let Some(over) = count.checked_sub(free) else { return Duration::ZERO };
    let whole = Duration::from_secs(1_u64.checked_shl(over.min(16)).unwrap_or(u64::MAX)).min(WAIT_MAX);
    (last + whole).saturating_sub(now)
}

fn add(table: &mut Table, name: &str, now: Duration) {
    if table.len() >= ENTRIES_MAX && !table.contains_key(name) {
        table.retain(|_, failures| now.saturating_sub(failures.last) < FORGET);
        if table.len() >= ENTRIES_MAX {
            let oldest = table.iter().min_by_key(|(_, failures)| failures.last).map(|(name, _)| name.clone());
            oldest.map(|oldest| table.remove(&oldest));
        }
    }
    let before = known(table, name, now).map_or(0, |failures| failures.count);
    table.insert(name.to_owned(), Failures { count: before.saturating_add(1), last: now });
}

impl LoginAttempts {
    /// Begins a guess. It counts as a failure until [`LoginAttempts::succeeded`] says otherwise, so that guesses made at
    /// the same time are counted too.
    ///
    /// # Errors
    /// How long to wait.
    pub fn begin(&self, user: &str, address: Option<IpAddr>, now: Duration) -> Result<(), Duration> {
        let place = place(address);
        let pair = format!("{user} {place}");
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let under_attack =
            known(&state.users, user, now).is_some_and(|failures| failures.count >= UNDER_ATTACK);
        let of_pair = known(&state.pairs, &pair, now);
        let mut left =
            wait(of_pair, FREE, now).max(wait(known(&state.places, &place, now), FREE_OF_PLACE, now));
        if under_attack && let Some(failures) = of_pair {
            left = left.max((failures.last + WAIT_MAX).saturating_sub(now));
        }
        if !left.is_zero() {
            return Err(left);
        }
        add(&mut state.pairs, &pair, now);
        add(&mut state.places, &place, now);
        add(&mut state.users, user, now);
        Ok(())
    }

    /// The guess was right: the user's failures from there are forgotten, and this one does not count.
    pub fn succeeded(&self, user: &str, address: Option<IpAddr>) {
        let place = place(address);
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.pairs.remove(&format!("{user} {place}"));
        let State { places, users, .. } = &mut *state;
        for failures in [places.get_mut(&place), users.get_mut(user)].into_iter().flatten() {
            failures.count = failures.count.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "as callers have it")]
    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn waits_double_up_to_a_minute_and_are_forgotten() {
        let attempts = LoginAttempts::default();
        let (mut now, mut waits) = (at(0), Vec::new());
        for _ in 0..14 {
            while let Err(wait) = attempts.begin("alice", ip("192.0.2.1"), now) {
                waits.push(wait.as_secs());
                now += wait;
            }
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(attempts.begin("alice", ip("192.0.2.1"), now + FORGET), Ok(()));
        assert_eq!(attempts.begin("alice", ip("192.0.2.1"), now + FORGET), Ok(()));
    }

    #[test]
    fn the_right_user_elsewhere_does_not_wait_for_an_attacker() {
        let attempts = LoginAttempts::default();
        for number in 0..200_u64 {
            // From many places, more than enough to be noticed.
            let place = format!("198.51.100.{}", number % 100);
            let _waits = attempts.begin("alice", ip(&place), at(number)).is_err();
        }
        assert!(attempts.begin("alice", ip("198.51.100.99"), at(200)).is_err(), "one guess a minute each");
        assert_eq!(attempts.begin("alice", ip("192.0.2.7"), at(200)), Ok(()));
        attempts.succeeded("alice", ip("192.0.2.7"));
        assert_eq!(attempts.begin("alice", ip("192.0.2.7"), at(200)), Ok(()), "and may come again");
        assert!(attempts.begin("alice", ip("198.51.100.99"), at(262)).is_ok(), "and nobody waits for ever");
    }

    #[test]
    fn guesses_at_once_count_and_one_place_cannot_spray() {
        let attempts = LoginAttempts::default();
        let tried = (0..100).filter(|_| attempts.begin("alice", ip("192.0.2.1"), at(1)).is_ok()).count();
        assert_eq!(tried, 5);
        let spray = |n: u32| attempts.begin(&format!("user{n}"), ip("192.0.2.9"), at(1)).is_ok();
        assert_eq!((0..100).filter(|n| spray(*n)).count(), 20);
        // A network of IPv6 is one place; a mapped address is its IPv4 address.
        let six = (0..100)
            .filter(|n| attempts.begin("bob", ip(&format!("2001:db8::{n:x}")), at(1)).is_ok())
            .count();
        assert_eq!(six, 5);
        assert!(attempts.begin("alice", ip("::ffff:192.0.2.1"), at(1)).is_err());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let attempts = LoginAttempts::default();
        for number in 0..ENTRIES_MAX + 50 {
            let place = format!("10.{}.{}.1", number / 256, number % 256);
            attempts.begin(&format!("user{number}"), ip(&place), at(1)).unwrap();
        }
        let state = attempts.0.lock().unwrap();
        for table in [&state.pairs, &state.places, &state.users] {
            assert_eq!(table.len(), ENTRIES_MAX);
        }
    }
}
