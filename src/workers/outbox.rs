//! Posting on: sends what waits in the outbox to another instance, each price once in effect.
//!
//! A post is claimed in one commit before it is sent, and what came of it is noted in one after: a crash between the two
//! leaves it without an answer, and it is sent again under the same key. An answer of any status ends a sending; without
//! one it may still be carried out, so nothing newer of the same asset is sent before it is answered.

use crate::clock::Clock;
use crate::domain::moment::{HOUR, Moment};
use crate::random::Random;
use crate::storage::database::Database;
use crate::storage::error::StorageError;
use crate::storage::outbox::{self, Level, Outcome, Post};
use crate::telemetry;
use crate::workers::outbound::target::Target;
use crate::workers::outbound::{Incoming, Outbound, OutboundError, Outgoing};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Most bytes of an answer.
const ANSWER_MAX: usize = 1 << 20;
/// Longest wait an answer can ask for, in microseconds.
const RETRY_AFTER_MAX: i64 = HOUR;
/// Characters kept of why a post was refused.
const FAILURE_MAX: usize = 300;
/// Longest time between two looks while something waits.
const LOOK: Duration = Duration::from_secs(5);
/// Time before the next attempt after the database failed.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// How posts are sent.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Posts under way together.
    pub at_once: usize,
    /// Longest time for one.
    pub time_max: Duration,
    /// Pause after the first failure; after each further one it is twice as long, less a random part of up to half.
    pub first_pause: Duration,
    /// Longest pause.
    pub longest_pause: Duration,
    /// Longest time to go on once the service stops.
    pub drain: Duration,
}

impl Pace {
    /// As it is unless a test says otherwise.
    pub const USUAL: Self = Self {
        at_once: 16,
        time_max: Duration::from_secs(5),
        first_pause: Duration::from_millis(250),
        longest_pause: Duration::from_mins(5),
        drain: Duration::from_millis(1_500),
    };
}

/// Where to, how, and with which key.
#[derive(Debug)]
pub struct Remote {
    outbound: Outbound,
    target: Target,
    key: Option<HeaderValue>,
    pace: Pace,
    random: Random,
}

/// What is sent by whom.
type Sending = FuturesUnordered<BoxFuture<'static, (Post, Outcome)>>;

impl Remote {
    /// The instance at `base`, the URL of its root. `key` is a whole `Authorization` header.
    pub fn new(outbound: Outbound, base: &Target, key: Option<HeaderValue>, pace: Pace) -> Self {
        Self { outbound, target: base.below("prices"), key, pace, random: Random::System }
    }

    /// Where posts go, without secrets.
    pub fn place(&self) -> String {
        self.target.to_string()
    }

    fn request(&self, post: &Post) -> Outgoing {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(key) = &self.key {
            headers.insert(AUTHORIZATION, key.clone());
        }
        if let Ok(id) = HeaderValue::from_str(&post.id.to_string()) {
            headers.insert("idempotency-key", id);
        }
        Outgoing {
            method: Method::POST,
            headers,
            body: post.body.clone().into_bytes(),
            ..Outgoing::get(self.target.clone(), self.pace.time_max, ANSWER_MAX)
        }
    }

    /// Sends a post once and says what came of it.
    async fn send(&self, post: &Post, clock: &Clock) -> Outcome {
        let answer = self.outbound.send(&self.request(post)).await;
        let now = clock.now();
        let pause = self.pause(post.tries + 1);
        match answer {
            Ok(answer) => judge(&answer, now, pause),
            Err(
                error @ (OutboundError::Forbidden { .. }
                | OutboundError::Unreachable { .. }
                | OutboundError::WrongScheme { .. }),
            ) => Outcome::Unsent { failure: brief(&error.to_string()), due_at: now.plus(pause) },
            Err(
                error @ (OutboundError::Late { .. }
                | OutboundError::Broken { .. }
                | OutboundError::TooLong { .. }
                | OutboundError::Redirected { .. }
                | OutboundError::NoSocket { .. }),
            ) => Outcome::Unanswered { failure: brief(&error.to_string()), due_at: now.plus(pause) },
        }
    }

    /// The pause after so many tries, in microseconds: half of it fixed, half of it random, so that posts that failed
    /// together are not sent again together.
    fn pause(&self, tries: i64) -> i64 {
        let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        let doublings = u32::try_from(tries.saturating_sub(1)).unwrap_or_default().min(40);
        let most = micros(self.pace.longest_pause);
        let whole = micros(self.pace.first_pause).saturating_mul(1 << doublings).min(most);
        // Without randomness the pause is a fixed one.
        let part = self.random.bytes::<4>().map_or(1 << 31, u32::from_le_bytes);
        let half = whole / 2;
        half + i64::try_from((i128::from(half) * i128::from(part)) >> 32).unwrap_or_default()
    }
}

/// What an answer means. A redirect is not followed: the address is to be put right.
fn judge(answer: &Incoming, now: Moment, pause: i64) -> Outcome {
    let (status, body) = (answer.status.as_u16(), serde_json::from_slice::<Value>(&answer.body).ok());
    let said = |name: &str| body.as_ref().and_then(|body| body.get(name));
    let detail = said("detail").and_then(Value::as_str).unwrap_or_default();
    let failure = brief(format!("answered {} {detail}", answer.status).trim());
    let untrue = said("success").is_some_and(|success| *success == Value::Bool(false));
    let status_code = i64::from(status);
    if answer.status.is_success() && !untrue {
        return Outcome::Delivered;
    }
    if matches!(status, 408 | 425 | 429) || status >= 500 {
        let asked = answer.retry_after(now.0.div_euclid(1_000_000)).unwrap_or_default();
        let asked = i64::try_from(asked.as_micros()).unwrap_or(i64::MAX).min(RETRY_AFTER_MAX);
        return Outcome::Postponed { status: status_code, failure, due_at: now.plus(pause.max(asked)) };
    }
    Outcome::Refused { status: status_code, failure }
}

/// A text as it is kept: one line, of bounded length.
fn brief(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(FAILURE_MAX).collect()
}

/// Tells the metrics how full the outbox is.
pub fn show(level: Level, oldest: Option<Moment>, now: Moment) {
    let age = oldest.map_or(0, |at| (now.0 - at.0).max(0).div_euclid(1_000_000));
    let gauge = |value: i64| u32::try_from(value).unwrap_or(u32::MAX);
    metrics::gauge!(telemetry::OUTBOX_DEPTH).set(gauge(level.waiting));
    metrics::gauge!(telemetry::OUTBOX_DEAD_LETTERS).set(gauge(level.dead));
    metrics::gauge!(telemetry::OUTBOX_OLDEST).set(gauge(age));
    let total = |outcome: &'static str, value: i64| {
        let value = u64::try_from(value).unwrap_or_default();
        metrics::counter!(telemetry::OUTBOX_POSTS, "outcome" => outcome).absolute(value);
    };
    total("delivered", level.delivered);
    total("superseded", level.superseded);
    total("refused", level.refused);
}

/// What a task that sends has at hand.
struct Task {
    db: Database,
    clock: Clock,
    remote: Arc<Remote>,
    sending: Sending,
    /// What came of posts and is not noted yet.
    settled: Vec<(Post, Outcome)>,
}

/// Sends what waits until `stop` is cancelled, and for a moment longer.
pub async fn run(db: Database, clock: Clock, remote: Arc<Remote>, stop: CancellationToken) {
    let mut task = Task { db, clock, remote, sending: Sending::new(), settled: Vec::new() };
    let mut released = false;
    while !stop.is_cancelled() {
        if !released {
            released = task.release().await;
        }
        let next = if released { task.round().await } else { Ok(Some(AFTER_FAILURE)) };
        let wait = match next {
            Ok(wait) => wait,
            Err(error) => {
                tracing::warn!(%error, "the outbox could not be read or written");
                Some(AFTER_FAILURE)
            }
        };
        tokio::select! {
            () = task.next(wait) => {}
            () = stop.cancelled() => {}
        }
    }
    let drain = task.remote.pace.drain;
    if tokio::time::timeout(drain, task.drain()).await.is_err() {
        tracing::debug!("what is left in the outbox is posted after the next start");
    }
}

impl Task {
    async fn release(&mut self) -> bool {
        let released =
            self.db.writer().housekeep(|tx| Box::pin(async move { outbox::release(tx).await })).await;
        released.inspect_err(|error| tracing::warn!(%error, "the outbox could not be read")).is_ok()
    }

    /// Notes what came of posts and claims others. How long to wait when nothing happens.
    async fn round(&mut self) -> Result<Option<Duration>, StorageError> {
        let now = self.clock.now();
        let free = self.remote.pace.at_once.saturating_sub(self.sending.len());
        let (due, oldest, level) = self.look().await?;
        let is_due = due.is_some_and(|at| at <= now || at > farthest(now));
        if !self.settled.is_empty() || (is_due && free > 0) {
            let (settled, destination) = (self.settled.clone(), self.remote.place());
            let limit = i64::try_from(free).unwrap_or(i64::MAX);
            let claimed: Vec<Post> = self
                .db
                .writer()
                .housekeep(move |tx| {
                    Box::pin(async move {
                        for (post, outcome) in settled {
                            outbox::settle(tx, &post, outcome, &destination).await?;
                        }
                        outbox::claim(tx, now, farthest(now), limit).await
                    })
                })
                .await?;
            for (post, outcome) in self.settled.drain(..) {
                tell(&post, &outcome);
            }
            for post in claimed {
                self.begin(post);
            }
            return Ok(Some(if self.sending.len() < self.remote.pace.at_once {
                Duration::ZERO
            } else {
                LOOK
            }));
        }
        show(level, oldest, now);
        let until = |at: Moment| Duration::from_micros(u64::try_from(at.0 - now.0).unwrap_or_default());
        Ok(match due {
            Some(at) if free > 0 => Some(until(at).min(LOOK)),
            Some(_) => Some(LOOK),
            None if level.waiting > 0 => Some(LOOK),
            None => None,
        })
    }

    async fn look(&mut self) -> Result<(Option<Moment>, Option<Moment>, Level), StorageError> {
        let mut tx = self.db.read().await?;
        let due = outbox::next_due(&mut tx).await?;
        let oldest = outbox::waiting(&mut tx, i64::MAX, 1).await?.first().map(|post| post.queued_at);
        Ok((due, oldest, outbox::level(&mut tx).await?))
    }

    fn begin(&self, post: Post) {
        let (remote, clock) = (Arc::clone(&self.remote), self.clock.clone());
        self.sending.push(Box::pin(async move {
            let outcome = remote.send(&post, &clock).await;
            (post, outcome)
        }));
    }

    /// Waits until something came of a post, something was put into the outbox, or so much time has passed.
    async fn next(&mut self, wait: Option<Duration>) {
        let timer = async {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        let outlet = self.db.outlet();
        tokio::select! {
            Some(done) = self.sending.next(), if !self.sending.is_empty() => self.settled.push(done),
            () = outlet.changed() => {}
            () = timer => {}
        }
        while let Some(Some(done)) = futures_util::FutureExt::now_or_never(self.sending.next()) {
            self.settled.push(done);
        }
    }

    /// Sends what is due, once each, and waits for what is under way.
    async fn drain(&mut self) {
        while matches!(self.round().await, Ok(Some(Duration::ZERO))) || !self.sending.is_empty() {
            self.next(Some(if self.sending.is_empty() { Duration::ZERO } else { LOOK })).await;
        }
        if let Err(error) = self.round().await {
            tracing::warn!(%error, "what came of the last posts was not noted; they are sent again");
        }
    }
}

/// The latest moment a post can be due: later ones come of a clock that was set back.
const fn farthest(now: Moment) -> Moment {
    now.plus(2 * RETRY_AFTER_MAX)
}

fn tell(post: &Post, outcome: &Outcome) {
    match outcome {
        Outcome::Delivered => tracing::debug!(post.id = %post.id, "posted a price on"),
        Outcome::Refused { failure, .. } => {
            tracing::warn!(post.id = %post.id, post.symbol = post.symbol, failure, "a price was refused by the other instance");
        }
        Outcome::Postponed { failure, .. }
        | Outcome::Unsent { failure, .. }
        | Outcome::Unanswered { failure, .. } => {
            tracing::info!(post.id = %post.id, post.tries = post.tries + 1, failure, "a price is posted on later");
        }
    }
}
