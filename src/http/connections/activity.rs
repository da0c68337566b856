//! What one connection is doing, and whether its other end is keeping up.
//!
//! The parts of a connection tell it here as they go; the task that owns the connection looks at it now and then. A
//! rate is measured over the time the service waited for the client, so a client is never blamed for a slow service.

use crate::clock::Clock;
use crate::http::limits::Limits;
use futures_util::task::AtomicWaker;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// Bytes that go one way, and how long they were waited for.
#[derive(Debug, Default)]
struct Pace {
    /// When the wait under way began, in milliseconds and one; 0 when there is none.
    since: AtomicU64,
    /// Milliseconds waited before that, since the measurement began.
    waited: AtomicU64,
    /// Bytes that moved since then.
    bytes: AtomicU64,
}

impl Pace {
    fn waits(&self, now: u64) {
        if self.since.load(Ordering::Relaxed) == 0 {
            if self.waited.load(Ordering::Relaxed) == 0 {
                // What went before the first wait filled buffers, and says nothing about the client.
                self.bytes.store(0, Ordering::Relaxed);
            }
            self.since.store(now + 1, Ordering::Relaxed);
        }
    }

    fn moved(&self, bytes: usize, now: impl FnOnce() -> u64) {
        self.bytes.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
        let since = self.since.load(Ordering::Relaxed);
        if since > 0 {
            self.since.store(0, Ordering::Relaxed);
            self.waited.fetch_add((now() + 1).saturating_sub(since), Ordering::Relaxed);
        }
    }

    fn begin(&self) {
        self.since.store(0, Ordering::Relaxed);
        self.waited.store(0, Ordering::Relaxed);
    }

    /// Whether fewer than `rate` bytes a second came over at least `window`; a good measurement begins a new one.
    fn too_slow(&self, now: u64, rate: u64, window: Duration) -> bool {
        let since = self.since.load(Ordering::Relaxed);
        let under_way = if since == 0 { 0 } else { (now + 1).saturating_sub(since) };
        let waited = self.waited.load(Ordering::Relaxed) + under_way;
        if since == 0 || waited < millis(window) {
            return false;
        }
        if self.bytes.load(Ordering::Relaxed).saturating_mul(1_000) < rate.saturating_mul(waited) {
            return true;
        }
        self.waited.store(0, Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
        self.since.store(now + 1, Ordering::Relaxed);
        false
    }
}

/// A span in milliseconds.
fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// What is to become of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes on.
    Fine,
    /// No request came, or its head did not come in time.
    Idle,
    /// The body comes too slowly: its reader is told, so that it can answer.
    SlowBody,
    /// The answer is taken too slowly.
    SlowAnswer,
}

/// What one connection is doing; an extension of its requests.
#[derive(Debug)]
pub struct Activity {
    clock: Clock,
    /// When the wait for a request began, in milliseconds and one; 0 while one is served.
    idle_since: AtomicU64,
    /// When the first byte of the head under way came, likewise.
    head_since: AtomicU64,
    body: Pace,
    body_rate: AtomicU64,
    body_is_slow: AtomicBool,
    /// Some of the body has not been read.
    body_unread: AtomicBool,
    body_reader: AtomicWaker,
    answer: Pace,
    /// An answer of the service is on its way out; what else is written is the HTTP library's own.
    owed: AtomicBool,
    unwanted: Notify,
    cut_off: AtomicBool,
}

impl Activity {
    pub(super) fn new(clock: Clock) -> Self {
        let now = millis(clock.elapsed());
        Self {
            clock,
            idle_since: AtomicU64::new(now + 1),
            head_since: AtomicU64::new(0),
            body: Pace::default(),
            body_rate: AtomicU64::new(0),
            body_is_slow: AtomicBool::new(false),
            body_unread: AtomicBool::new(false),
            body_reader: AtomicWaker::new(),
            answer: Pace::default(),
            owed: AtomicBool::new(false),
            unwanted: Notify::new(),
            cut_off: AtomicBool::new(false),
        }
    }

    fn now(&self) -> u64 {
        millis(self.clock.elapsed())
    }

    /// A request is served from here on; its body must come at `rate` bytes a second.
    pub(super) fn begin(&self, rate: u64) {
        self.owed.store(true, Ordering::Relaxed);
        self.head_since.store(0, Ordering::Relaxed);
        self.body.begin();
        self.body_rate.store(rate, Ordering::Relaxed);
        self.body_is_slow.store(false, Ordering::Relaxed);
        self.body_unread.store(false, Ordering::Relaxed);
        self.answer.begin();
        self.idle_since.store(0, Ordering::Release);
    }

    /// The answer is complete, or will never be.
    pub(super) fn end(&self) {
        self.idle_since.store(self.now() + 1, Ordering::Release);
    }

    /// Since when no request is served, in milliseconds; `None` while one is.
    pub(super) fn idle_since(&self) -> Option<u64> {
        self.idle_since.load(Ordering::Acquire).checked_sub(1)
    }

    /// Bytes came in.
    pub(super) fn arrived(&self) {
        let between = self.idle_since.load(Ordering::Relaxed) != 0;
        if between && self.head_since.load(Ordering::Relaxed) == 0 {
            self.head_since.store(self.now() + 1, Ordering::Relaxed);
        }
    }

    /// The service waits for more of the body.
    pub(super) fn waits_for_body(&self, reader: &std::task::Waker) {
        self.body_reader.register(reader);
        self.body.waits(self.now());
    }

    /// More of the body came.
    pub(super) fn body_came(&self, bytes: usize) {
        self.body.moved(bytes, || self.now());
    }

    /// The client does not take what is written.
    pub(super) fn waits_to_write(&self) {
        self.answer.waits(self.now());
    }

    /// The client took bytes.
    pub(super) fn written(&self, bytes: usize) {
        self.answer.moved(bytes, || self.now());
    }

    /// Whether what is being written is an answer of the service.
    pub(super) fn is_owed(&self) -> bool {
        self.owed.load(Ordering::Relaxed)
    }

    /// Everything handed over so far has been written.
    pub(super) fn flushed(&self) {
        if self.idle_since.load(Ordering::Relaxed) != 0 {
            self.owed.store(false, Ordering::Relaxed);
        }
    }

    /// Lets the body of this request come as slowly as `rate` bytes a second.
    pub fn allow_body_rate(&self, rate: u64) {
        self.body_rate.store(rate, Ordering::Relaxed);
    }

    /// Whether the body of this request came too slowly.
    pub fn body_is_slow(&self) -> bool {
        self.body_is_slow.load(Ordering::Relaxed)
    }

    /// Tells whether there is more of the body of this request.
    pub(super) fn body_goes_on(&self, more: bool) {
        self.body_unread.store(more, Ordering::Relaxed);
    }

    /// Whether nobody has read the body of the last request to its end.
    pub(super) fn body_is_unread(&self) -> bool {
        self.body_unread.load(Ordering::Relaxed)
    }

    pub(super) fn refuse_body(&self) {
        self.body_is_slow.store(true, Ordering::Relaxed);
        self.body_reader.wake();
    }

    /// What was written and not taken is of no use any more.
    pub(super) fn cut_off(&self) {
        self.cut_off.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_cut_off(&self) -> bool {
        self.cut_off.load(Ordering::Relaxed)
    }

    /// Asks the connection to end unless it serves a request.
    pub(super) fn send_away(&self) {
        self.unwanted.notify_one();
    }

    pub(super) async fn sent_away(&self) {
        self.unwanted.notified().await;
    }

    /// What is to become of the connection.
    pub(super) fn verdict(&self, limits: &Limits) -> Verdict {
        let now = self.now();
        let over =
            |since: u64, limit: Duration| since > 0 && (now + 1).saturating_sub(since) >= millis(limit);
        let idle = self.idle_since.load(Ordering::Acquire);
        if self.answer.too_slow(now, limits.answer_rate, limits.pace_window) {
            return Verdict::SlowAnswer;
        }
        if idle > 0 {
            let head = self.head_since.load(Ordering::Relaxed);
            let late = if head > 0 { over(head, limits.head) } else { over(idle, limits.keep_alive) };
            return if late { Verdict::Idle } else { Verdict::Fine };
        }
        let rate = self.body_rate.load(Ordering::Relaxed);
        if self.body.too_slow(now, rate, limits.pace_window) { Verdict::SlowBody } else { Verdict::Fine }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::moment::Moment;

    fn at(clock: &Clock, seconds: i64) {
        clock.set(Moment(seconds * 1_000_000));
    }

    fn activity() -> (Activity, Clock, Limits) {
        let clock = Clock::manual(Moment(0));
        let limits = Limits {
            head: Duration::from_secs(10),
            keep_alive: Duration::from_secs(25),
            pace_window: Duration::from_secs(20),
            answer_rate: 100,
            ..Limits::default()
        };
        (Activity::new(clock.clone()), clock, limits)
    }

    #[test]
    fn a_head_has_its_own_time_from_its_first_byte() {
        let (activity, clock, limits) = activity();
        at(&clock, 20);
        assert_eq!(activity.verdict(&limits), Verdict::Fine);
        activity.arrived();
        at(&clock, 29);
        activity.arrived();
        assert_eq!(activity.verdict(&limits), Verdict::Fine);
        at(&clock, 30);
        assert_eq!(activity.verdict(&limits), Verdict::Idle);
    }

    #[test]
    fn an_idle_connection_ends_and_a_served_one_may_take_its_time() {
        let (activity, clock, limits) = activity();
        activity.begin(100);
        at(&clock, 1_000);
        assert_eq!(activity.verdict(&limits), Verdict::Fine, "the service is slow, not the client");
        activity.end();
        at(&clock, 1_024);
        assert_eq!(activity.verdict(&limits), Verdict::Fine);
        at(&clock, 1_025);
        assert_eq!(activity.verdict(&limits), Verdict::Idle);
    }

    #[test]
    fn a_body_is_measured_while_it_is_waited_for() {
        let (activity, clock, limits) = activity();
        let waker = std::task::Waker::noop();
        activity.begin(100);
        activity.body_came(1 << 20);
        at(&clock, 500);
        for second in 500..519 {
            activity.waits_for_body(waker);
            at(&clock, second + 1);
            activity.body_came(99);
        }
        activity.waits_for_body(waker);
        assert_eq!(activity.verdict(&limits), Verdict::Fine, "not measured long enough");
        at(&clock, 520);
        assert_eq!(
            activity.verdict(&limits),
            Verdict::SlowBody,
            "what came before the first wait does not count"
        );
        activity.allow_body_rate(90);
        assert_eq!(activity.verdict(&limits), Verdict::Fine);
        at(&clock, 539);
        assert_eq!(activity.verdict(&limits), Verdict::Fine, "a good measurement begins a new one");
        at(&clock, 540);
        assert_eq!(activity.verdict(&limits), Verdict::SlowBody);
    }

    #[test]
    fn an_answer_that_is_taken_drop_by_drop_ends_even_when_it_is_all_handed_over() {
        let (activity, clock, limits) = activity();
        activity.begin(100);
        activity.written(4 << 20);
        activity.waits_to_write();
        activity.end();
        for second in 1..=20 {
            at(&clock, second);
            activity.written(90);
            activity.waits_to_write();
        }
        assert_eq!(activity.verdict(&limits), Verdict::SlowAnswer);
    }
}
