//! When a feed may ask, how long it waits after a failure, and when it rests. Pure: time comes in as an argument.

use crate::random::Random;
use crate::workers::feeds::definition::{Budget, Pace};
use std::time::Duration;

/// Millionths of a request.
const UNIT: u64 = 1_000_000;

/// A bucket that fills with time: each request takes one out.
#[derive(Debug)]
pub(super) struct Bucket {
    budget: Budget,
    /// What is in it, in millionths of a request.
    level: u64,
    filled_at: Duration,
    /// Nothing may be asked before this.
    closed_until: Duration,
}

impl Bucket {
    /// A full one.
    pub(super) fn full(budget: Budget, now: Duration) -> Self {
        Self { budget, level: u64::from(budget.burst) * UNIT, filled_at: now, closed_until: Duration::ZERO }
    }

    /// Takes one request out and says how long it has to wait before it may be made. One that would wait longer than
    /// `most` is not taken out.
    ///
    /// # Errors
    /// How long it would have to wait.
    pub(super) fn take(&mut self, now: Duration, most: Duration) -> Result<Duration, Duration> {
        let per_minute = u64::from(self.budget.per_minute.max(1));
        let micros = u64::try_from(now.saturating_sub(self.filled_at).as_micros()).unwrap_or(u64::MAX);
        let full = u64::from(self.budget.burst.max(1)) * UNIT;
        self.level = self.level.saturating_add(micros.saturating_mul(per_minute) / 60).min(full);
        self.filled_at = self.filled_at.max(now);
        // What is missing comes with time: the bucket is empty, as of then.
        let missing = UNIT.saturating_sub(self.level).saturating_mul(60).div_ceil(per_minute);
        let filled_at = self.filled_at + Duration::from_micros(missing);
        let wait = filled_at.max(self.closed_until).saturating_sub(now);
        if wait > most {
            return Err(wait);
        }
        self.filled_at = filled_at;
        self.level = self.level.saturating_sub(UNIT);
        Ok(wait)
    }

    /// Lets nothing out before `until`, because the venue said so.
    pub(super) fn close(&mut self, until: Duration) {
        self.closed_until = self.closed_until.max(until);
    }
}

/// What a feed does after failures.
#[derive(Debug, Default)]
pub(super) struct Retries {
    failures: u32,
}

/// How long a feed waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pause {
    /// Before it tries again.
    Retry(Duration),
    /// Because too many attempts failed: the circuit is open.
    Rest(Duration),
}

impl Retries {
    /// It works again.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// How many attempts failed in a row.
    pub(super) const fn failures(&self) -> u32 {
        self.failures
    }

    /// Another attempt failed: how long to wait. `asked` is what the venue wants at least; `hopeless` failures, such as
    /// a key it refuses, open the circuit at once.
    pub(super) fn failed(
        &mut self,
        pace: &Pace,
        asked: Option<Duration>,
        hopeless: bool,
        random: Random,
    ) -> Pause {
        self.failures = self.failures.saturating_add(1);
        if hopeless || self.failures >= pace.failures_max {
            return Pause::Rest(pace.rest.max(asked.unwrap_or_default()));
        }
        let doubled = pace.retry_min.saturating_mul(1_u32.checked_shl(self.failures - 1).unwrap_or(u32::MAX));
        let capped = doubled.min(pace.retry_max);
        // Between half of it and all of it, so that what failed together does not come back together.
        let wait = capped / 2 + up_to(capped / 2, random);
        Pause::Retry(wait.max(asked.unwrap_or_default()))
    }
}

/// A time between nothing and `most`, by chance.
pub(super) fn up_to(most: Duration, random: Random) -> Duration {
    let share = u128::from(u32::from_le_bytes(random.bytes::<4>().unwrap_or_default()));
    let micros = most.as_micros().saturating_mul(share) >> u32::BITS;
    Duration::from_micros(micros.try_into().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace {
        every: Duration::from_mins(1),
        jitter: Duration::ZERO,
        timeout: Duration::from_secs(1),
        silence: Duration::from_secs(1),
        retry_min: Duration::from_secs(1),
        retry_max: Duration::from_mins(1),
        failures_max: 8,
        rest: Duration::from_mins(10),
    };

    #[test]
    fn a_burst_goes_at_once_and_the_rest_in_step() {
        let mut bucket = Bucket::full(Budget { per_minute: 60, burst: 3 }, Duration::ZERO);
        let at = Duration::from_secs(5);
        let waits: Vec<u64> = (0..5).map(|_| bucket.take(at, Duration::MAX).unwrap().as_secs()).collect();
        assert_eq!(waits, [0, 0, 0, 1, 2]);
        // What nobody waits for is not taken out.
        for _ in 0..3 {
            assert_eq!(bucket.take(at, Duration::from_secs(1)), Err(Duration::from_secs(3)));
        }
        assert_eq!(bucket.take(Duration::from_mins(1), Duration::ZERO), Ok(Duration::ZERO));
    }

    #[test]
    fn a_closed_bucket_lets_nothing_out() {
        let mut bucket = Bucket::full(Budget { per_minute: 60, burst: 3 }, Duration::ZERO);
        bucket.close(Duration::from_secs(30));
        assert_eq!(bucket.take(Duration::from_secs(10), Duration::MAX), Ok(Duration::from_secs(20)));
        assert_eq!(bucket.take(Duration::from_secs(31), Duration::MAX), Ok(Duration::ZERO));
    }

    #[test]
    fn waits_double_up_to_the_cap_and_then_the_circuit_opens() {
        let mut retries = Retries::default();
        for most in [1, 2, 4, 8, 16, 32, 60] {
            let most = Duration::from_secs(most);
            let Pause::Retry(wait) = retries.failed(&PACE, None, false, Random::System) else {
                panic!("the circuit opened after {}", retries.failures());
            };
            assert!(most / 2 <= wait && wait <= most, "{wait:?} of {most:?}");
        }
        assert_eq!(retries.failed(&PACE, None, false, Random::System), Pause::Rest(PACE.rest));
        retries.succeeded();
        assert!(matches!(retries.failed(&PACE, None, false, Random::System), Pause::Retry(_)));
    }

    #[test]
    fn what_the_venue_asks_for_is_never_undercut() {
        let hour = Duration::from_hours(1);
        let mut retries = Retries::default();
        assert_eq!(retries.failed(&PACE, Some(hour), false, Random::System), Pause::Retry(hour));
        assert_eq!(retries.failed(&PACE, Some(hour), true, Random::System), Pause::Rest(hour));
        assert_eq!(retries.failed(&PACE, None, true, Random::System), Pause::Rest(PACE.rest));
    }
}
