//! Feeds: prices and rates that this service goes and gets.
//!
//! Each feed has a task of its own (`supervisor`) that works while somebody wants it to: it asks (`fetch`) or listens
//! (`listen`), waits longer after each failure, and rests after too many. A venue's format is a file of its own, from bytes
//! to candles and trades; what they come to is gathered and stored by `session`, which all of them share. A newcomer's
//! mistake is to store from a decoder: only the session knows what was seen before and how far the feed got.

mod binance;
mod coinbase;
pub mod definition;
mod ecb;
pub mod failure;
mod fetch;
mod folder;
mod fred;
pub mod generic;
pub mod kinds;
mod kraken;
mod kraken_v1;
mod listen;
#[cfg(test)]
mod odd_answers;
mod pace;
mod session;
pub mod status;
mod supervisor;
mod tape;
mod tokens;
mod wire;
mod yahoo;

pub use session::Outcomes;
pub use supervisor::supervise;

use crate::clock::Clock;
use crate::domain::moment::Moment;
use crate::random::Random;
use crate::storage::database::Database;
use crate::workers::feeds::definition::Definition;
use crate::workers::feeds::failure::FeedError;
use crate::workers::feeds::pace::{Bucket, Pause, Retries};
use crate::workers::feeds::session::Session;
use crate::workers::feeds::status::Status;
use crate::workers::outbound::{NoClient, Outbound};
use crate::workers::records::RecordFiles;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OnceCell, watch};
use tokio_util::sync::CancellationToken;

/// Longest time somebody who has a feed run once waits until it may ask.
const PATIENCE: Duration = Duration::from_secs(30);

/// What feeds work with.
#[derive(Debug, Clone)]
pub struct Context {
    /// The store.
    pub db: Database,
    /// Files of sources.
    pub records: Arc<RecordFiles>,
    /// The time, of what is heard.
    pub clock: Clock,
    /// Chance.
    pub random: Random,
}

/// What somebody wants of a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wish {
    running: bool,
    /// Counts the times it was said, so that saying it again ends a rest.
    said: u64,
}

/// A feed: what it is, what is wanted of it, and how it is doing.
#[derive(Debug)]
pub struct Feed {
    /// What it is.
    pub definition: Definition,
    status: Mutex<Status>,
    bucket: Mutex<Bucket>,
    retries: Mutex<Retries>,
    wish: watch::Sender<Wish>,
    outbound: OnceCell<Outbound>,
    /// Waiting is done in real time, whatever the clock of the service is.
    stopwatch: Clock,
    /// Held by whoever has it run once.
    turn: tokio::sync::Mutex<()>,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Feed {
    /// One that does nothing yet.
    pub fn of(definition: Definition) -> Self {
        let stopwatch = Clock::system();
        let bucket = Bucket::full(definition.budget, stopwatch.elapsed());
        let wish = watch::Sender::new(Wish { running: definition.enabled, said: 0 });
        Self {
            definition,
            status: Mutex::default(),
            bucket: Mutex::new(bucket),
            retries: Mutex::default(),
            wish,
            outbound: OnceCell::new(),
            stopwatch,
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// How it is doing.
    pub fn status(&self) -> Status {
        held(&self.status).clone()
    }

    /// Whether somebody wants it to run.
    pub fn is_wanted(&self) -> bool {
        self.wish.borrow().running
    }

    /// Whether it is wanted and has given nothing good for twice as long as that may take.
    pub fn is_stale(&self, now: Moment) -> bool {
        held(&self.status).is_stale(self.definition.expected_within().saturating_mul(2), now)
    }

    /// Says whether it is to run. Saying so again ends a rest.
    pub fn want(&self, running: bool) {
        self.wish.send_modify(|wish| *wish = Wish { running, said: wish.said.wrapping_add(1) });
    }

    fn change(&self, change: impl FnOnce(&mut Status)) {
        change(&mut held(&self.status));
    }

    /// How long the next request has to wait, when that is no longer than `most`.
    fn turn(&self, most: Duration) -> Result<Duration, FeedError> {
        held(&self.bucket).take(self.stopwatch.elapsed(), most).map_err(FeedError::NotYet)
    }

    /// Notes that the venue is there, or is not any more.
    fn connected(&self, connected: bool) {
        self.change(|status| status.connected = connected);
        let source = self.definition.source.clone();
        metrics::gauge!(crate::telemetry::FEED_CONNECTED, "source" => source).set(u8::from(connected));
    }

    /// Notes that the venue gives what it was asked for.
    fn works(&self) {
        held(&self.retries).succeeded();
        self.change(|status| status.failures = 0);
        self.connected(true);
    }

    /// Asks nothing before the venue may be asked again; how long that is.
    fn heed(&self, error: &FeedError, now: Moment) -> Option<Duration> {
        let asked = error.retry_after(now.0.div_euclid(1_000_000))?;
        held(&self.bucket).close(self.stopwatch.elapsed() + asked);
        Some(asked)
    }

    /// Notes a failure, and says how long to wait.
    fn failed(&self, error: &FeedError, now: Moment, random: Random) -> Pause {
        let asked = self.heed(error, now);
        let pause = held(&self.retries).failed(&self.definition.pace, asked, error.is_hopeless(), random);
        let failures = held(&self.retries).failures();
        self.change(|status| {
            status.last_error = Some((now, error.to_string()));
            status.failures = failures;
        });
        self.connected(false);
        pause
    }

    async fn outbound(&self) -> Result<&Outbound, NoClient> {
        self.outbound.get_or_try_init(|| async { Outbound::new(self.definition.place.reach) }).await
    }
}

/// Every feed that is configured, by name.
#[derive(Debug, Default)]
pub struct Feeds(BTreeMap<String, Arc<Feed>>);

impl Feeds {
    /// Those of a configuration.
    pub fn of(definitions: Vec<Definition>) -> Self {
        let feed = |definition: Definition| (definition.name.clone(), Arc::new(Feed::of(definition)));
        Self(definitions.into_iter().map(feed).collect())
    }

    /// The one with this name.
    pub fn find(&self, name: &str) -> Option<&Arc<Feed>> {
        self.0.get(name)
    }

    /// All, in order of name.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Feed>> {
        self.0.values()
    }
}

/// Has a feed ask once for everything since `asked`, or since it was last heard of, whether it runs or not. `None` when
/// somebody else is having it do so.
///
/// # Errors
/// [`FeedError`], beside what was stored before it.
pub async fn run_once(
    feed: &Feed,
    context: &Context,
    asked: Option<Moment>,
) -> Option<(Outcomes, Result<(), FeedError>)> {
    let _turn = feed.turn.try_lock().ok()?;
    let stop = CancellationToken::new();
    let mut session = match Session::begin(feed, context, &stop, PATIENCE, asked).await {
        Ok(session) => session,
        Err(error) => return Some((Outcomes::default(), Err(error))),
    };
    let outcome = fetch::fetch_all(&mut session).await;
    let now = context.clock.now();
    if let Err(error) = &outcome {
        feed.change(|status| status.last_error = Some((now, error.to_string())));
    }
    Some((session.outcomes(), outcome))
}
