//! How a feed is doing: counted from the start of the process on, for whoever asks.

use crate::domain::moment::Moment;
use crate::named_enum;
use crate::workers::intake::{Counts, Refused};
use std::collections::VecDeque;
use std::time::Duration;

/// Refusals that are listed.
const LISTED: usize = 20;

named_enum! {
    /// What a feed does.
    State {
        /// Nothing, because nobody wants it to.
        Stopped = "stopped",
        /// It connects, or asks.
        Starting = "starting",
        /// It listens, or reads what it has asked for.
        Running = "running",
        /// It waits for the next fetch.
        Waiting = "waiting",
        /// It waits for the next attempt after a failure.
        Retrying = "retrying",
        /// Too many attempts failed: the circuit is open for a while.
        Resting = "resting",
    }
}

/// How a feed is doing.
#[derive(Debug, Clone)]
pub struct Status {
    /// What it does.
    pub state: State,
    /// Since when.
    pub since: Option<Moment>,
    /// Whether it is connected, or its last fetch succeeded.
    pub connected: bool,
    /// Connections, or fetches, that were begun.
    pub attempts: u64,
    /// Connections after the first.
    pub reconnects: u64,
    /// Failures in a row.
    pub failures: u32,
    /// When the next attempt or fetch is due.
    pub next_at: Option<Moment>,
    /// What went wrong last, and when.
    pub last_error: Option<(Moment, String)>,
    /// Since when somebody wants it to run; none while nobody does.
    pub wanted_at: Option<Moment>,
    /// When anything came last.
    pub last_message_at: Option<Moment>,
    /// When something good came last: an answer that says yes, or a frame that was understood.
    pub good_at: Option<Moment>,
    /// The newest moment that was told of.
    pub last_event_at: Option<Moment>,
    /// Frames and answers.
    pub messages: u64,
    /// What became of rows.
    pub counts: Counts,
    /// Candles that were not finished, and so were not stored.
    pub unfinished: u64,
    /// Trades that came again.
    pub repeated: u64,
    /// Values that are missing by the rule of the source.
    pub missing: u64,
    /// Frames that were not understood.
    pub malformed: u64,
    /// Times that something was missed and asked for.
    pub gaps: u64,
    /// The last refusals: of what, and why.
    pub refused: VecDeque<(String, String)>,
    /// The last thing worth knowing that is no failure.
    pub note: Option<String>,
}

impl Default for Status {
    fn default() -> Self {
        Self {
            state: State::Stopped,
            since: None,
            connected: false,
            attempts: 0,
            reconnects: 0,
            failures: 0,
            next_at: None,
            last_error: None,
            wanted_at: None,
            last_message_at: None,
            good_at: None,
            last_event_at: None,
            messages: 0,
            counts: Counts::default(),
            unfinished: 0,
            repeated: 0,
            missing: 0,
            malformed: 0,
            gaps: 0,
            refused: VecDeque::new(),
            note: None,
        }
    }
}

impl Status {
    /// Whether nothing good has come for longer than `longest`, although somebody wants the feed to run.
    pub fn is_stale(&self, longest: Duration, now: Moment) -> bool {
        let longest = i64::try_from(longest.as_micros()).unwrap_or(i64::MAX);
        let since = self.wanted_at.map(|wanted| self.good_at.map_or(wanted, |good| good.max(wanted)));
        since.is_some_and(|since| now.0.saturating_sub(since.0) > longest)
    }

    /// Notes why a row of `symbol` was refused; the same again moves to the front.
    pub(super) fn refuse(&mut self, symbol: String, refused: &Refused) {
        let entry = (symbol, format!("{}: {}", refused.field, refused.detail));
        self.refused.retain(|known| *known != entry);
        self.refused.push_front(entry);
        self.refused.truncate(LISTED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_is_stale_when_it_is_wanted_and_nothing_good_has_come_for_too_long() {
        const LONGEST: Duration = Duration::from_secs(10);
        let at = |seconds: i64| Moment(seconds * 1_000_000);
        let mut status = Status { good_at: Some(at(0)), ..Status::default() };
        assert!(!status.is_stale(LONGEST, at(1_000)), "nobody wants it to run");
        status.wanted_at = Some(at(995));
        assert!(!status.is_stale(LONGEST, at(1_005)), "what came before it was wanted does not count");
        assert!(status.is_stale(LONGEST, at(1_006)));
        status.good_at = Some(at(1_004));
        assert!(!status.is_stale(LONGEST, at(1_014)));
        status.last_message_at = Some(at(1_015));
        assert!(status.is_stale(LONGEST, at(1_015)), "a refusal is a message, and nothing good");
    }
}
