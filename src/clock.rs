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
    /// A test, which moves it by hand; microseconds.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self::System(Instant::now())
    }

    /// A clock that stands at `at` until it is moved.
    pub fn manual(at: Moment) -> Self {
        Self::Manual(Arc::new(AtomicI64::new(at.0)))
    }

    /// Sets a manual clock; the machine's cannot be set.
    pub fn set(&self, at: Moment) {
        if let Self::Manual(value) = self {
            value.store(at.0, Ordering::SeqCst);
        }
    }

    /// What the wall clock says.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn now(&self) -> Moment {
        match self {
            Self::System(_) => Moment(chrono::Utc::now().timestamp_micros()),
            Self::Manual(value) => Moment(value.load(Ordering::SeqCst)),
        }
    }

    /// Time since the process started, which no one can set back.
    pub fn elapsed(&self) -> Duration {
        match self {
            Self::System(started) => started.elapsed(),
            Self::Manual(value) => {
                Duration::from_micros(u64::try_from(value.load(Ordering::SeqCst)).unwrap_or_default())
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
