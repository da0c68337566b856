//! Keeps feeds at work: starts them when they are wanted, and again after failures, ever more slowly; nothing a feed does
//! ends the service or another feed.

use crate::domain::moment::Moment;
use crate::storage::feeds as kept_feeds;
use crate::telemetry;
use crate::workers::feeds::definition::Transport;
use crate::workers::feeds::failure::FeedError;
use crate::workers::feeds::pace::{self, Pause};
use crate::workers::feeds::session::Session;
use crate::workers::feeds::status::State;
use crate::workers::feeds::{Context, Feed, Feeds, Wish, fetch, listen};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Longest wait before a question while frames wait to be read.
const WAIT: Duration = Duration::from_secs(5);
/// Time before a feed whose task panicked is begun again.
const AFTER_PANIC: Duration = Duration::from_secs(5);

/// Keeps every feed at work until `stop` is cancelled.
pub async fn supervise(feeds: Arc<Feeds>, context: Context, stop: CancellationToken) {
    let mut tasks = JoinSet::new();
    for feed in feeds.all() {
        match kept_wish(&context, &feed.definition.name).await {
            Ok(Some(running)) if running != feed.is_wanted() => feed.want(running),
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "what was wanted of feed {} is not known", feed.definition.name);
            }
        }
        tasks.spawn(keep(Arc::clone(feed), context.clone(), stop.clone()));
    }
    while tasks.join_next().await.is_some() {}
}

async fn kept_wish(
    context: &Context,
    name: &str,
) -> Result<Option<bool>, crate::storage::error::StorageError> {
    kept_feeds::wanted(&mut context.db.read().await?, name).await
}

/// Keeps one feed at work; should its task panic, it is begun again.
async fn keep(feed: Arc<Feed>, context: Context, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let task = tokio::spawn(tend(Arc::clone(&feed), context.clone(), stop.clone()));
        if let Err(error) = task.await {
            tracing::error!(%error, feed.name = feed.definition.name, "a feed failed and is begun again");
            tokio::select! {
                () = tokio::time::sleep(AFTER_PANIC) => {}
                () = stop.cancelled() => {}
            }
        }
    }
}

async fn tend(feed: Arc<Feed>, context: Context, stop: CancellationToken) {
    let mut wish = feed.wish.subscribe();
    while !stop.is_cancelled() {
        let wanted = *wish.borrow_and_update();
        if !wanted.running {
            enter(&feed, &context, State::Stopped, None);
            feed.change(|status| status.wanted_at = None);
            feed.connected(false);
            tokio::select! {
                changed = wish.changed() => if changed.is_err() { return },
                () = stop.cancelled() => return,
            }
            continue;
        }
        let now = context.clock.now();
        feed.change(|status| status.wanted_at = status.wanted_at.or(Some(now)));
        // A stop is awaited, so that what was heard is stored and noted.
        let ending = stop.child_token();
        let work = work(&feed, &context, &ending);
        tokio::pin!(work);
        let outcome = tokio::select! {
            outcome = &mut work => outcome,
            () = until(&mut wish, |now| !now.running) => {
                ending.cancel();
                work.await
            }
        };
        if stop.is_cancelled() || !feed.is_wanted() {
            continue;
        }
        let pause = settle(&feed, &context, outcome);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = until(&mut wish, |now| *now != wanted) => {}
            () = stop.cancelled() => {}
        }
    }
}

/// Waits until something is wanted. A feed outlives its task, so there is always somebody who may want it.
async fn until(wish: &mut watch::Receiver<Wish>, is_so: impl FnMut(&Wish) -> bool) {
    drop(wish.wait_for(is_so).await);
}

fn enter(feed: &Feed, context: &Context, state: State, wait: Option<Duration>) {
    let now = context.clock.now();
    let micros = |wait: Duration| i64::try_from(wait.as_micros()).unwrap_or(i64::MAX);
    feed.change(|status| {
        if status.state != state {
            status.since = Some(now);
        }
        status.state = state;
        status.next_at = wait.map(|wait| now.plus(micros(wait)));
    });
}

/// Notes how a stretch of work ended, and says how long to wait before the next.
fn settle(feed: &Feed, context: &Context, outcome: Result<(), FeedError>) -> Duration {
    let (definition, now): (_, Moment) = (&feed.definition, context.clock.now());
    let Err(error) = outcome else {
        let pace = &definition.pace;
        let wait = pace.every + pace::up_to(pace.jitter, context.random);
        enter(feed, context, State::Waiting, Some(wait));
        return wait;
    };
    let (state, wait) = match feed.failed(&error, now, context.random) {
        Pause::Retry(wait) => (State::Retrying, wait),
        Pause::Rest(wait) => (State::Resting, wait),
    };
    tracing::warn!(
        feed.name = definition.name,
        feed.kind = %definition.kind,
        wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
        "feed {} is {state}: {error}",
        definition.name
    );
    enter(feed, context, state, Some(wait));
    wait
}

/// One stretch of work: a fetch, or a connection.
async fn work(feed: &Feed, context: &Context, ending: &CancellationToken) -> Result<(), FeedError> {
    enter(feed, context, State::Starting, None);
    let again = feed.status().attempts > 0;
    feed.change(|status| status.attempts += 1);
    let transport = feed.definition.transport;
    let patience = if transport == Transport::Rest { Duration::MAX } else { WAIT };
    let mut session = Session::begin(feed, context, ending, patience, None).await?;
    match transport {
        Transport::Rest => {
            fetch::fetch_all(&mut session).await?;
            session.works();
            Ok(())
        }
        Transport::Websocket => {
            if again {
                feed.change(|status| status.reconnects += 1);
                let source = feed.definition.source.clone();
                metrics::counter!(telemetry::FEED_RECONNECTS, "source" => source).increment(1);
            }
            let ended = listen::listen(&mut session, ending).await;
            if ending.is_cancelled() { Ok(()) } else { ended }
        }
    }
}
