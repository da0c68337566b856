//! Feeds: seeing them, starting and stopping them, and having one ask once.

use crate::domain::audit::{Actor, Entry};
use crate::domain::moment::Moment;
use crate::http::AppState;
use crate::http::auth::{Caller, Door, FeedsWrite, PricesRead};
use crate::http::error::{ApiError, Code};
use crate::http::fields::{Fields, Unknown};
use crate::http::posted::Posted;
use crate::http::query::Query;
use crate::http::wire::Time;
use crate::storage::feeds as kept;
use crate::workers::feeds::definition::{Kind, Pair, Secret};
use crate::workers::feeds::status::Status;
use crate::workers::feeds::{self, Context, Feed, Outcomes, kinds};
use axum::extract::{Path, State};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::ToSchema;

/// What became of the rows of a feed.
#[derive(Debug, Serialize, ToSchema)]
pub struct FeedCounts {
    /// Points not seen before.
    #[schema(example = 1440)]
    stored: u64,
    /// Equal to what was known.
    #[schema(example = 2)]
    duplicate: u64,
    /// Newer versions of points.
    #[schema(example = 0)]
    corrected: u64,
    /// Refused by a rule.
    #[schema(example = 0)]
    refused: u64,
    /// Candles that were told of before they were finished, and were not stored.
    #[schema(example = 29)]
    unfinished: u64,
    /// Trades that came again.
    #[schema(example = 0)]
    repeated: u64,
    /// Values that are missing by the rule of the source.
    #[schema(example = 0)]
    missing: u64,
    /// Frames that were not understood.
    #[schema(example = 0)]
    malformed: u64,
}

/// Why rows of a symbol are refused.
#[derive(Debug, Serialize, ToSchema)]
pub struct FeedRefusal {
    #[schema(example = "BTC-USD")]
    symbol: String,
    #[schema(example = "symbol: `BTC-USD` is not a known symbol")]
    detail: String,
}

/// A failure.
#[derive(Debug, Serialize, ToSchema)]
pub struct FeedFailure {
    at: Time,
    #[schema(example = "no frame for 60s, not even a sign of life")]
    detail: String,
}

/// A feed, and how it is doing since the service started.
#[derive(Debug, Serialize, ToSchema)]
pub struct FeedView {
    #[schema(example = "binance")]
    name: String,
    #[schema(example = "binance")]
    kind: String,
    /// Source of what it delivers.
    #[schema(example = "binance")]
    source: String,
    /// rest or websocket
    #[schema(example = "websocket")]
    transport: String,
    /// `trades`, `agg_trades`, `ticker`, `candles`, `observations` or `rates`
    #[schema(example = "candles")]
    channel: String,
    /// Length of its candles.
    #[schema(example = "1m")]
    interval: Option<String>,
    /// Symbols here and there.
    #[schema(example = json!({ "BTC-USD": "BTCUSDT" }))]
    symbols: BTreeMap<String, String>,
    /// What the configuration says.
    enabled: bool,
    /// What is wanted now: the configuration, unless somebody started or stopped it.
    wanted: bool,
    /// `stopped`, `starting`, `running`, `waiting`, `retrying` or `resting`
    #[schema(example = "running")]
    state: String,
    /// Since when it does that.
    since: Option<Time>,
    connected: bool,
    /// Connections or fetches begun.
    #[schema(example = 1)]
    attempts: u64,
    #[schema(example = 0)]
    reconnects: u64,
    /// Failures in a row.
    #[schema(example = 0)]
    failures: u32,
    /// When it asks or tries next.
    next_at: Option<Time>,
    last_error: Option<FeedFailure>,
    /// When anything came last.
    last_message_at: Option<Time>,
    /// The newest moment it was told of.
    last_event_at: Option<Time>,
    /// Frames and answers.
    #[schema(example = 812)]
    messages: u64,
    /// Times that something was missed and asked for.
    #[schema(example = 0)]
    gaps: u64,
    counts: FeedCounts,
    /// The last refusals.
    refused: Vec<FeedRefusal>,
    note: Option<String>,
    /// What to know about the licence of its data.
    licence: String,
}

impl From<&Feed> for FeedView {
    fn from(feed: &Feed) -> Self {
        let (definition, status) = (&feed.definition, feed.status());
        let counts = FeedCounts::from(&status);
        let pair = |pair: &Pair| (pair.symbol.clone(), pair.venue.clone());
        let refusal = |(symbol, detail)| FeedRefusal { symbol, detail };
        Self {
            name: definition.name.clone(),
            kind: definition.kind.name().to_owned(),
            source: definition.source.clone(),
            transport: definition.transport.name().to_owned(),
            channel: definition.channel.name().to_owned(),
            interval: definition.interval.map(|interval| interval.name().to_owned()),
            symbols: definition.symbols.iter().map(pair).collect(),
            enabled: definition.enabled,
            wanted: feed.is_wanted(),
            state: status.state.name().to_owned(),
            since: status.since.map(Time),
            connected: status.connected,
            attempts: status.attempts,
            reconnects: status.reconnects,
            failures: status.failures,
            next_at: status.next_at.map(Time),
            last_error: status.last_error.map(|(at, detail)| FeedFailure { at: Time(at), detail }),
            last_message_at: status.last_message_at.map(Time),
            last_event_at: status.last_event_at.map(Time),
            messages: status.messages,
            gaps: status.gaps,
            counts,
            refused: status.refused.into_iter().map(refusal).collect(),
            note: status.note,
            licence: definition.licence().to_owned(),
        }
    }
}

impl From<&Status> for FeedCounts {
    fn from(status: &Status) -> Self {
        Self {
            stored: status.counts.stored,
            duplicate: status.counts.duplicate,
            corrected: status.counts.corrected,
            refused: status.counts.refused,
            unfinished: status.unfinished,
            repeated: status.repeated,
            missing: status.missing,
            malformed: status.malformed,
        }
    }
}

/// What feeds of this service work with.
pub fn context(app: &AppState) -> Context {
    let (db, records) = (app.db.clone(), Arc::clone(&app.records));
    Context { db, records, clock: app.clock.clone(), random: app.random }
}

fn found<'a>(app: &'a AppState, name: &str) -> Result<&'a Arc<Feed>, ApiError> {
    let absent = || ApiError::new(Code::FeedNotFound, format!("no feed `{name}` is configured"));
    app.feeds.find(name).ok_or_else(absent)
}

/// List feeds
#[utoipa::path(get, path = "/ingest/feeds", operation_id = "list_feeds", tag = "prices",
    responses((status = 200, description = "Every feed that is configured, by name", body = [FeedView])))]
pub async fn list_feeds(State(app): State<AppState>, _: Caller<PricesRead>) -> Json<Vec<FeedView>> {
    Json(app.feeds.all().map(|feed| FeedView::from(&**feed)).collect())
}

/// Look at a feed
#[utoipa::path(get, path = "/ingest/feeds/{name}", operation_id = "get_feed", tag = "prices",
    params(("name" = String, Path, description = "Its name")),
    responses((status = 200, description = "The feed", body = FeedView)))]
pub async fn get_feed(
    State(app): State<AppState>,
    _: Caller<PricesRead>,
    Path(name): Path<String>,
) -> Result<Json<FeedView>, ApiError> {
    Ok(Json(FeedView::from(&**found(&app, &name)?)))
}

/// Start a feed
///
/// It runs from now on, also after a restart and whatever the configuration says, until it is stopped. A feed that rests
/// after failures tries at once.
#[utoipa::path(post, path = "/ingest/feeds/{name}/start", operation_id = "start_feed", tag = "prices",
    params(("name" = String, Path, description = "Its name")),
    responses((status = 200, description = "The feed", body = FeedView)))]
pub async fn start_feed(
    State(app): State<AppState>,
    caller: Caller<FeedsWrite>,
    mut query: Query,
    Path(name): Path<String>,
) -> Result<Json<FeedView>, ApiError> {
    query.finish()?;
    steer(&app, name, true, caller.actor).await
}

/// Stop a feed
///
/// What it has heard is stored. It stays stopped, also after a restart and whatever the configuration says, until it is
/// started.
#[utoipa::path(post, path = "/ingest/feeds/{name}/stop", operation_id = "stop_feed", tag = "prices",
    params(("name" = String, Path, description = "Its name")),
    responses((status = 200, description = "The feed", body = FeedView)))]
pub async fn stop_feed(
    State(app): State<AppState>,
    caller: Caller<FeedsWrite>,
    mut query: Query,
    Path(name): Path<String>,
) -> Result<Json<FeedView>, ApiError> {
    query.finish()?;
    steer(&app, name, false, caller.actor).await
}

async fn steer(
    app: &AppState,
    name: String,
    running: bool,
    by: Arc<Actor>,
) -> Result<Json<FeedView>, ApiError> {
    let feed = Arc::clone(found(app, &name)?);
    let wanted_by = by.name.clone();
    let noted: Result<(), ApiError> = app
        .db
        .writer()
        .write(by, move |tx| {
            Box::pin(async move {
                kept::want(tx, &name, running, &wanted_by).await?;
                tx.audit(Entry::done(if running { "feed.start" } else { "feed.stop" }, &name));
                Ok(())
            })
        })
        .await;
    noted?;
    feed.want(running);
    Ok(Json(FeedView::from(&*feed)))
}

/// What a run is asked to do.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the shape of the request; fields are read one by one to collect every fault")]
pub struct NewRun {
    /// From when on; omitted: from where the feed stopped.
    #[schema(example = "2026-11-01T00:00:00Z")]
    since: Option<String>,
    /// A feed for this run only. Taken through the owner's socket alone.
    #[schema(value_type = Option<Object>)]
    feed: Option<OneFeed>,
}

/// A feed for one run.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OneFeed {
    kind: Kind,
    symbols: Vec<String>,
    api_key: Option<String>,
}

/// What a run came to.
#[derive(Debug, Serialize, ToSchema)]
pub struct FeedRun {
    #[schema(example = true)]
    success: bool,
    #[schema(example = "fred")]
    feed: String,
    /// Source of what it delivered.
    #[schema(example = "fred")]
    source: String,
    /// Points not seen before.
    #[schema(example = 250)]
    stored: u64,
    /// Equal to what was known.
    #[schema(example = 0)]
    duplicate: u64,
    /// Newer versions of points.
    #[schema(example = 0)]
    corrected: u64,
    /// Refused by a rule.
    #[schema(example = 0)]
    refused: u64,
    /// The first moment it was told of.
    first: Option<Time>,
    /// The last.
    last: Option<Time>,
    /// Why rows were refused.
    refusals: Vec<FeedRefusal>,
    /// Why it ended early; what is counted is stored all the same.
    error: Option<String>,
}

/// Have a feed ask once
///
/// For everything since `since`, or since it was last heard of, whether it runs or not. What is stored of a run that ends
/// early stays, and `success` is false. Without a body it is a plain run.
#[utoipa::path(post, path = "/ingest/feeds/{name}/run", operation_id = "run_feed", tag = "prices",
    params(("name" = String, Path, description = "Its name")), request_body = Option<NewRun>,
    responses((status = 200, description = "What it came to", body = FeedRun)))]
pub async fn run_feed(
    State(app): State<AppState>,
    caller: Caller<FeedsWrite>,
    Extension(door): Extension<Door>,
    Path(name): Path<String>,
    posted: Posted,
) -> Result<Json<FeedRun>, ApiError> {
    // No body asks for nothing in particular.
    let body: &[u8] = if posted.bytes.is_empty() { b"{}" } else { &posted.bytes };
    let mut fields = Fields::of_body(body)?;
    let since = fields.opt_utc("since");
    let one: Option<OneFeed> = fields.opt_value("feed", "an object with `kind`, `symbols` and `api_key`");
    if one.is_some() && door != Door::Owner {
        fields.fault("feed", "not_here", "is taken through the owner's socket alone");
    }
    fields.finish(Unknown::Refused)?;
    let feed = match one {
        Some(one) => Arc::new(one.named(&name)),
        None => Arc::clone(found(&app, &name)?),
    };
    let said = serde_json::json!({ "since": since.map(Time) });
    let told = app.db.writer().write(caller.actor, move |tx| {
        Box::pin(async move {
            tx.audit(Entry::created("feed.run", &name, &said));
            Ok::<_, ApiError>(())
        })
    });
    told.await?;
    run(&app, &feed, since).await
}

impl OneFeed {
    fn named(self, name: &str) -> Feed {
        let pair = |name: String| Pair { symbol: name.to_uppercase(), venue: name };
        let symbols = self.symbols.into_iter().map(pair).collect();
        Feed::of(kinds::usual(name, self.kind, symbols, self.api_key.map(Secret::new)))
    }
}

async fn run(app: &AppState, feed: &Feed, since: Option<Moment>) -> Result<Json<FeedRun>, ApiError> {
    let busy = || ApiError::new(Code::Busy, "the feed is being run by somebody else");
    let (Outcomes { counts, span }, outcome) =
        feeds::run_once(feed, &context(app), since).await.ok_or_else(busy)?;
    let error = outcome.err().map(|error| error.to_string());
    let refused = feed.status().refused.into_iter().filter(|_| counts.refused > 0);
    Ok(Json(FeedRun {
        success: error.is_none(),
        feed: feed.definition.name.clone(),
        source: feed.definition.source.clone(),
        stored: counts.stored,
        duplicate: counts.duplicate,
        corrected: counts.corrected,
        refused: counts.refused,
        first: span.map(|(first, _)| Time(first)),
        last: span.map(|(_, last)| Time(last)),
        refusals: refused.map(|(symbol, detail)| FeedRefusal { symbol, detail }).collect(),
        error,
    }))
}
