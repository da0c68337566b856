//! How a feed is doing: counted from the start of the process on, for whoever asks.

use crate::domain::moment::Moment;
use crate::named_enum;
use crate::workers::intake::{Counts, Refused};
use std::collections::VecDeque;

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
    /// When anything came last.
    pub last_message_at: Option<Moment>,
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
            last_message_at: None,
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
    /// Notes why a row of `symbol` was refused; the same again moves to the front.
    pub(super) fn refuse(&mut self, symbol: String, refused: &Refused) {
        let entry = (symbol, format!("{}: {}", refused.field, refused.detail));
        self.refused.retain(|known| *known != entry);
        self.refused.push_front(entry);
        self.refused.truncate(LISTED);
    }
}
