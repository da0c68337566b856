//! The one place that asks what time it is.

use crate::domain::moment::Moment;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

/// Where the time comes from.
#[derive(Debug, Clone)]
pub enum Clock {
    /// The machine.
    System(
        /// When this process started, for time that never runs backwards.
        Instant,
    ),
    /// A test, which moves it by hand.
    Manual(Arc<Hands>),
}

/// The hands of a clock that is moved by hand; microseconds.
#[derive(Debug)]
pub struct Hands {
    now: AtomicI64,
    /// The latest it ever showed: a wall clock may be set back, elapsed time may not.
    latest: AtomicI64,
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self::System(Instant::now())
    }

    /// A clock that stands at `at` until it is moved.
    pub fn manual(at: Moment) -> Self {
        Self::Manual(Arc::new(Hands { now: AtomicI64::new(at.0), latest: AtomicI64::new(at.0) }))
    }

    /// Sets a manual clock; the machine's cannot be set.
    pub fn set(&self, at: Moment) {
        if let Self::Manual(hands) = self {
            hands.now.store(at.0, Ordering::SeqCst);
            hands.latest.fetch_max(at.0, Ordering::SeqCst);
        }
    }

    /// What the wall clock says.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn now(&self) -> Moment {
        match self {
            Self::System(_) => Moment(chrono::Utc::now().timestamp_micros()),
            Self::Manual(hands) => Moment(hands.now.load(Ordering::SeqCst)),
        }
    }

    /// Time since the process started, which no one can set back.
    pub fn elapsed(&self) -> Duration {
        match self {
            Self::System(started) => started.elapsed(),
            Self::Manual(hands) => {
                Duration::from_micros(u64::try_from(hands.latest.load(Ordering::SeqCst)).unwrap_or_default())
            }
        }
    }
}

/// Time that is measured rather than told: it passes also while a test's clock stands still.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Begins to measure.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// What has passed since.
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elapsed_time_stands_while_a_clock_is_set_back() {
        let clock = Clock::manual(Moment(5_000_000));
        clock.set(Moment(9_000_000));
        clock.set(Moment(2_000_000));
        assert_eq!((clock.now(), clock.elapsed()), (Moment(2_000_000), Duration::from_secs(9)));
        clock.set(Moment(9_000_001));
        assert_eq!(clock.elapsed(), Duration::from_micros(9_000_001));
    }
}
