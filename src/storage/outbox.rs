//! Tables `outbox_posts`, `outbox_delivered` and `outbox_level`: prices to be posted on to another instance.
//!
//! Every commit that tells a price ends with `offer`: the newest price of each asset it told of is put here, in that
//! commit. So what is here follows from what is in force, not from the order of calls: a post that has not been sent
//! gives way to a newer one, one that was sent without an answer stays before it, and a price older than one that may
//! have been sent is not posted at all. `outbox_level` counts the posts; every function that changes one changes it too.

use crate::domain::ids::{AssetKey, PostId};
use crate::domain::moment::Moment;
use crate::domain::outbox::PostState;
use crate::domain::price::{Bar, PricePoint};
use crate::storage::assets;
use crate::storage::columns::to_json;
use crate::storage::database::{Tx, on};
use crate::storage::error::StorageError;
use crate::storage::prices;
use serde::Serialize;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use sqlx::QueryBuilder;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use tokio::sync::Notify;

/// Assets read at a time.
const ASSETS: usize = 500;
/// When a post is due that has no pause to wait for: no stamp, for those may run ahead of the clock.
const AT_ONCE: Moment = Moment(0);
/// How long an asset rests after one of its prices was refused, in microseconds.
const REST: i64 = 10_000_000;

/// Where prices are posted on to: nowhere, until it is opened.
#[derive(Debug, Default)]
pub struct Outlet {
    destination: OnceLock<Arc<str>>,
    changed: Notify,
}

impl Outlet {
    /// From now on prices are posted on to `destination`, a place without secrets. It stays the same for the life of
    /// the process.
    pub fn open(&self, destination: &str) {
        self.destination.get_or_init(|| Arc::from(destination));
    }

    /// Where prices are posted on to.
    pub fn destination(&self) -> Option<&str> {
        self.destination.get().map(AsRef::as_ref)
    }

    /// Waits until a commit may have put something here.
    pub fn changed(&self) -> impl Future<Output = ()> + '_ {
        self.changed.notified()
    }

    /// Wakes who waits for something to be put here.
    pub fn wake(&self) {
        if self.destination.get().is_some() {
            self.changed.notify_one();
        }
    }
}

/// A price that is to be posted on, or was refused.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Post {
    /// Where it stands among all that were put here.
    pub place: i64,
    /// Its id, and its idempotency key.
    pub id: PostId,
    /// The asset.
    pub asset_key: AssetKey,
    /// Its symbol then.
    pub symbol: String,
    /// When the price was observed.
    pub observed_at: Moment,
    /// What is sent.
    pub body: String,
    /// What has become of it.
    pub state: PostState,
    /// Whether a sending of it may be under way still.
    pub unanswered: bool,
    /// How often it was sent.
    pub tries: i64,
    /// When it is to be sent.
    pub due_at: Moment,
    /// What the last sending was answered with.
    pub status: Option<i64>,
    /// Why the last sending failed.
    pub failure: Option<String>,
    /// When it was put here.
    pub queued_at: Moment,
    /// When it was refused.
    pub settled_at: Option<Moment>,
}

/// How many posts there are, and how many had which end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct Level {
    /// Those that wait or are being sent.
    pub waiting: i64,
    /// Those that were refused and are still here.
    pub dead: i64,
    /// Those that were accepted.
    pub delivered: i64,
    /// Those that gave way to a newer price.
    pub superseded: i64,
    /// Those that were refused.
    pub refused: i64,
}

/// What came of sending a post.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was accepted.
    Delivered,
    /// It was refused for good.
    Refused {
        /// The status.
        status: i64,
        /// What the answer said.
        failure: String,
    },
    /// It was answered for, and is to be sent again.
    Postponed {
        /// The status.
        status: i64,
        /// What the answer said.
        failure: String,
        /// When to send it again.
        due_at: Moment,
    },
    /// It did not leave this machine.
    Unsent {
        /// Why.
        failure: String,
        /// When to send it again.
        due_at: Moment,
    },
    /// Nobody knows what has become of it, or will.
    Unanswered {
        /// Why.
        failure: String,
        /// When to send it again.
        due_at: Moment,
    },
}

/// How many posts there are, and how many had which end.
pub async fn level(tx: &mut Tx) -> Result<Level, StorageError> {
    const SQL: &str = "SELECT waiting, dead, delivered, superseded, refused FROM outbox_level WHERE id = 1";
    on!(tx, conn => sqlx::query_as(SQL).fetch_one(conn).await)
}

/// Changes what is counted by so much.
async fn shift(tx: &mut Tx, by: Level) -> Result<(), StorageError> {
    const SQL: &str = "UPDATE outbox_level SET waiting = waiting + $1, dead = dead + $2, delivered = delivered + $3, \
        superseded = superseded + $4, refused = refused + $5 WHERE id = 1";
    on!(tx, conn => sqlx::query(SQL).bind(by.waiting).bind(by.dead).bind(by.delivered).bind(by.superseded)
        .bind(by.refused).execute(conn).await.map(drop))
}

/// What is sent: the fields of `POST /prices`, of which the earlier service reads the first three. Numbers are the
/// digits they are.
#[derive(Serialize)]
struct Body {
    symbol: String,
    price: Box<RawValue>,
    timestamp: String,
    source: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    interval: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    open: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    high: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    low: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    volume: Option<Box<RawValue>>,
}

fn body(symbol: &str, point: PricePoint) -> Result<String, StorageError> {
    let number = |value: crate::domain::decimal::Decimal| {
        RawValue::from_string(value.to_string()).map_err(|error| StorageError::Corrupt(error.to_string()))
    };
    let (price, Bar { open, high, low, volume }) = point.quote.into_parts();
    to_json(&Body {
        symbol: symbol.to_owned(),
        price: number(price)?,
        timestamp: point.observed_at.to_string(),
        source: point.source,
        interval: point.interval,
        open: open.map(number).transpose()?,
        high: high.map(number).transpose()?,
        low: low.map(number).transpose()?,
        volume: volume.map(number).transpose()?,
    })
}

/// An id that no other post has: also not one of a database that went on from a copy of this one.
fn id_of(place: i64, recorded_at: Moment, body: &str) -> PostId {
    let digest = Sha256::digest(format!("{place} {} {body}", recorded_at.0).as_bytes());
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(digest).for_each(|(byte, of)| *byte = of);
    PostId(uuid::Builder::from_custom_bytes(bytes).into_uuid())
}

/// What the other instance was told last of an asset.
#[derive(Debug, Clone, sqlx::FromRow)]
struct Told {
    asset_key: AssetKey,
    observed_at: Moment,
    body: String,
}

/// What is known of the posts of some assets.
#[derive(Default)]
struct Known {
    told: HashMap<AssetKey, Told>,
    posts: HashMap<AssetKey, Vec<Post>>,
}

async fn known(tx: &mut Tx, keys: &[AssetKey], destination: &str) -> Result<Known, StorageError> {
    let told: Vec<Told> = on!(tx, conn => {
        let mut query = QueryBuilder::new("SELECT asset_key, observed_at, body FROM outbox_delivered WHERE destination = ");
        query.push_bind(destination).push(" AND asset_key IN (");
        let mut list = query.separated(", ");
        for key in keys {
            list.push_bind(*key);
        }
        query.push(") ORDER BY asset_key LIMIT 500");
        query.build_query_as().fetch_all(conn).await
    })?;
    let posts: Vec<Post> = on!(tx, conn => {
        let mut query = QueryBuilder::new("SELECT place, id, asset_key, symbol, observed_at, body, state, unanswered, \
            tries, due_at, status, failure, queued_at, settled_at FROM outbox_posts WHERE asset_key IN (");
        let mut list = query.separated(", ");
        for key in keys {
            list.push_bind(*key);
        }
        // Of an asset at most one is dead, one without an answer and one behind it.
        query.push(") ORDER BY place LIMIT 1500");
        query.build_query_as().fetch_all(conn).await
    })?;
    let mut known = Known::default();
    known.told.extend(told.into_iter().map(|told| (told.asset_key, told)));
    for post in posts {
        known.posts.entry(post.asset_key).or_default().push(post);
    }
    Ok(known)
}

/// Puts the newest price of every asset the commit told of here, unless it was told already. At the end of a
/// commit. Whether anything changed.
pub(super) async fn offer(tx: &mut Tx, outlet: &Outlet) -> Result<bool, StorageError> {
    let quoted: Vec<AssetKey> = std::mem::take(&mut tx.quoted).into_iter().collect();
    let Some(destination) = outlet.destination() else { return Ok(false) };
    let mut change = Level::default();
    for some in quoted.chunks(ASSETS) {
        let mut known = known(tx, some, destination).await?;
        for asset in assets::by_keys(tx, some).await? {
            let Some(point) = prices::own_point(tx, asset.key) else { continue };
            let (told, posts) = (known.told.remove(&asset.key), known.posts.remove(&asset.key));
            offer_one(tx, (&asset.symbol, point), told, posts.unwrap_or_default(), &mut change).await?;
        }
    }
    if change == Level::default() {
        return Ok(false);
    }
    shift(tx, change).await?;
    Ok(true)
}

async fn offer_one(
    tx: &mut Tx,
    (symbol, point): (&str, PricePoint),
    told: Option<Told>,
    posts: Vec<Post>,
    change: &mut Level,
) -> Result<(), StorageError> {
    const INSERT: &str = "INSERT INTO outbox_posts (place, id, asset_key, symbol, observed_at, body, state, unanswered, \
        tries, due_at, queued_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
    let (asset, observed_at) = (point.asset, point.observed_at);
    let body = body(symbol, point)?;
    let (dead, alive): (Vec<Post>, Vec<Post>) =
        posts.into_iter().partition(|post| post.state == PostState::Dead);
    let alive = alive.into_iter();
    let (sent, waiting): (Vec<Post>, Vec<Post>) = alive.partition(|post| post.unanswered);
    // What may have been told last: a post without an answer comes after whatever was accepted before it.
    let last = sent.last().map(|post| (post.observed_at, &post.body));
    let last = last.or_else(|| told.as_ref().map(|told| (told.observed_at, &told.body)));
    let newer = last.is_none_or(|(at, said)| at <= observed_at && *said != body);
    if newer && waiting.iter().any(|post| post.body == body) {
        return Ok(());
    }
    for post in &waiting {
        remove(tx, post.place).await?;
        change.waiting -= 1;
        change.superseded += 1;
    }
    if !newer {
        return Ok(());
    }
    let (place, recorded_at) = (tx.next_seq()?, tx.recorded_at()?);
    let id = id_of(place, recorded_at, &body);
    // Another price does not cut short the pause after a failure.
    let (tries, due_at) = waiting.last().map_or((0, AT_ONCE), |post| (post.tries, post.due_at));
    let rested = dead.iter().filter_map(|post| post.settled_at).map(|at| at.plus(REST)).max();
    let due_at = rested.map_or(due_at, |rested| rested.max(due_at));
    on!(tx, conn => sqlx::query(INSERT).bind(place).bind(id).bind(asset).bind(symbol).bind(observed_at).bind(&body)
        .bind(PostState::Waiting).bind(false).bind(tries).bind(due_at).bind(recorded_at).execute(conn).await
        .map(drop))?;
    change.waiting += 1;
    Ok(())
}

async fn remove(tx: &mut Tx, place: i64) -> Result<(), StorageError> {
    const SQL: &str = "DELETE FROM outbox_posts WHERE place = $1";
    on!(tx, conn => sqlx::query(SQL).bind(place).execute(conn).await.map(drop))
}

/// Takes posts to be sent: those that are due, one of an asset, and none of an asset with an older one that may be on its
/// way still. A crash from here on leaves them without an answer. A post due after `farthest`, because the clock was set
/// back, is due.
pub async fn claim(
    tx: &mut Tx,
    now: Moment,
    farthest: Moment,
    limit: i64,
) -> Result<Vec<Post>, StorageError> {
    const DUE: &str = "SELECT place, id, asset_key, symbol, observed_at, body, state, unanswered, tries, due_at, status, \
        failure, queued_at, settled_at FROM outbox_posts AS post WHERE state = $1 AND (due_at <= $2 OR due_at > $3) \
        AND (unanswered OR NOT EXISTS (SELECT 1 FROM outbox_posts AS other WHERE other.asset_key = post.asset_key \
            AND other.place <> post.place AND other.unanswered)) \
        ORDER BY due_at, place LIMIT $4";
    const TAKE: &str =
        "UPDATE outbox_posts SET state = $1, unanswered = $2, tries = tries + 1 WHERE place = $3";
    let due: Vec<Post> = on!(tx, conn => sqlx::query_as(DUE).bind(PostState::Waiting).bind(now).bind(farthest)
        .bind(limit).fetch_all(conn).await)?;
    for post in &due {
        on!(tx, conn => sqlx::query(TAKE).bind(PostState::Sending).bind(true).bind(post.place).execute(conn).await
            .map(drop))?;
    }
    Ok(due)
}

/// When the next post that may be claimed is due; `None` when there is none.
pub async fn next_due(tx: &mut Tx) -> Result<Option<Moment>, StorageError> {
    const SQL: &str = "SELECT due_at FROM outbox_posts AS post WHERE state = $1 AND (unanswered OR NOT EXISTS \
        (SELECT 1 FROM outbox_posts AS other WHERE other.asset_key = post.asset_key AND other.place <> post.place \
            AND other.unanswered)) ORDER BY due_at, place LIMIT 1";
    on!(tx, conn => sqlx::query_scalar(SQL).bind(PostState::Waiting).fetch_optional(conn).await)
}

/// Puts back what a process that ended was sending: nobody knows what has become of it.
pub async fn release(tx: &mut Tx) -> Result<(), StorageError> {
    const SQL: &str = "UPDATE outbox_posts SET state = $1 WHERE state = $2";
    on!(tx, conn => sqlx::query(SQL).bind(PostState::Waiting).bind(PostState::Sending).execute(conn).await.map(drop))
}

/// Has the newer post that waits behind one take its place, if there is one: it waits as long as that would have.
async fn give_way(tx: &mut Tx, post: &Post, due_at: Moment) -> Result<bool, StorageError> {
    const NEWER: &str = "UPDATE outbox_posts SET due_at = $1, tries = $2 \
        WHERE asset_key = $3 AND state = $4 AND place > $5";
    let newer = on!(tx, conn => sqlx::query(NEWER).bind(due_at).bind(post.tries + 1).bind(post.asset_key)
        .bind(PostState::Waiting).bind(post.place).execute(conn).await.map(|done| done.rows_affected()))?;
    if newer == 0 {
        return Ok(false);
    }
    remove(tx, post.place).await?;
    shift(tx, Level { waiting: -1, superseded: 1, ..Level::default() }).await?;
    Ok(true)
}

/// Removes the refused posts of an asset, which a later one has made pointless. How many those are.
async fn unbury(tx: &mut Tx, post: &Post) -> Result<i64, StorageError> {
    const SQL: &str = "DELETE FROM outbox_posts WHERE asset_key = $1 AND state = $2";
    let former = on!(tx, conn => sqlx::query(SQL).bind(post.asset_key).bind(PostState::Dead).execute(conn).await
        .map(|done| done.rows_affected()))?;
    Ok(i64::try_from(former).unwrap_or_default())
}

/// Keeps a refused post, the last of its asset alone.
async fn bury(tx: &mut Tx, post: &Post, status: i64, failure: &str) -> Result<(), StorageError> {
    const DEAD: &str = "UPDATE outbox_posts SET state = $1, unanswered = $2, status = $3, failure = $4, \
        settled_at = $5 WHERE place = $6";
    let now = tx.recorded_at()?;
    let former = unbury(tx, post).await?;
    on!(tx, conn => sqlx::query(DEAD).bind(PostState::Dead).bind(false).bind(status).bind(failure).bind(now)
        .bind(post.place).execute(conn).await.map(drop))?;
    let by = Level { waiting: -1, dead: 1 - former, superseded: former, refused: 1, ..Level::default() };
    shift(tx, by).await
}

/// Notes what came of sending a post that was claimed.
pub async fn settle(
    tx: &mut Tx,
    post: &Post,
    outcome: Outcome,
    destination: &str,
) -> Result<(), StorageError> {
    const AGAIN: &str = "UPDATE outbox_posts SET state = $1, unanswered = $2, status = $3, failure = $4, due_at = $5 \
        WHERE place = $6";
    let (status, failure, due_at, unanswered) = match outcome {
        Outcome::Delivered => {
            remove(tx, post.place).await?;
            note_told(tx, post, destination).await?;
            let former = unbury(tx, post).await?;
            let by = Level { waiting: -1, dead: -former, delivered: 1, superseded: former, refused: 0 };
            return shift(tx, by).await;
        }
        Outcome::Refused { status, failure } => return bury(tx, post, status, &failure).await,
        Outcome::Postponed { status, failure, due_at } => (Some(status), failure, due_at, false),
        Outcome::Unsent { failure, due_at } => (None, failure, due_at, post.unanswered),
        Outcome::Unanswered { failure, due_at } => (None, failure, due_at, true),
    };
    if !unanswered && give_way(tx, post, due_at).await? {
        return Ok(());
    }
    on!(tx, conn => sqlx::query(AGAIN).bind(PostState::Waiting).bind(unanswered).bind(status).bind(&failure)
        .bind(due_at).bind(post.place).execute(conn).await.map(drop))
}

async fn note_told(tx: &mut Tx, post: &Post, destination: &str) -> Result<(), StorageError> {
    const SQL: &str = "INSERT INTO outbox_delivered (asset_key, destination, observed_at, body, delivered_at) \
        VALUES ($1, $2, $3, $4, $5) ON CONFLICT (asset_key) DO UPDATE SET destination = excluded.destination, \
        observed_at = excluded.observed_at, body = excluded.body, delivered_at = excluded.delivered_at";
    let now = tx.recorded_at()?;
    on!(tx, conn => sqlx::query(SQL).bind(post.asset_key).bind(destination).bind(post.observed_at).bind(&post.body)
        .bind(now).execute(conn).await.map(drop))
}

/// Posts that are not dead, in order of place, up to `until`.
pub async fn waiting(tx: &mut Tx, until: i64, limit: i64) -> Result<Vec<Post>, StorageError> {
    const SQL: &str = "SELECT place, id, asset_key, symbol, observed_at, body, state, unanswered, tries, due_at, status, \
        failure, queued_at, settled_at FROM outbox_posts WHERE state <> $1 AND place <= $2 ORDER BY place LIMIT $3";
    on!(tx, conn => sqlx::query_as(SQL).bind(PostState::Dead).bind(until).bind(limit).fetch_all(conn).await)
}

/// How many posts up to `until` are not dead, and the place of the newest of all.
pub async fn depth(tx: &mut Tx, until: i64) -> Result<(i64, Option<i64>), StorageError> {
    const COUNT: &str = "SELECT COUNT(place) FROM outbox_posts WHERE state <> $1 AND place <= $2";
    const LAST: &str = "SELECT place FROM outbox_posts WHERE state <> $1 ORDER BY place DESC LIMIT 1";
    let count =
        on!(tx, conn => sqlx::query_scalar(COUNT).bind(PostState::Dead).bind(until).fetch_one(conn).await)?;
    let last = on!(tx, conn => sqlx::query_scalar(LAST).bind(PostState::Dead).fetch_optional(conn).await)?;
    Ok((count, last))
}

/// Posts that were refused, in order of place, those behind `after` if it is given.
pub async fn dead(tx: &mut Tx, after: Option<i64>, limit: i64) -> Result<Vec<Post>, StorageError> {
    const SQL: &str = "SELECT place, id, asset_key, symbol, observed_at, body, state, unanswered, tries, due_at, status, \
        failure, queued_at, settled_at FROM outbox_posts WHERE state = $1 AND place > $2 ORDER BY place LIMIT $3";
    let after = after.unwrap_or(i64::MIN);
    on!(tx, conn => sqlx::query_as(SQL).bind(PostState::Dead).bind(after).bind(limit).fetch_all(conn).await)
}

/// A post that waits, is being sent or was refused.
pub async fn find(tx: &mut Tx, id: PostId) -> Result<Option<Post>, StorageError> {
    const SQL: &str = "SELECT place, id, asset_key, symbol, observed_at, body, state, unanswered, tries, due_at, status, \
        failure, queued_at, settled_at FROM outbox_posts WHERE id = $1";
    on!(tx, conn => sqlx::query_as(SQL).bind(id).fetch_optional(conn).await)
}

/// Whether a later price of the asset of a post was delivered or waits.
pub async fn is_outdated(tx: &mut Tx, post: &Post) -> Result<bool, StorageError> {
    const TOLD: &str = "SELECT observed_at FROM outbox_delivered WHERE asset_key = $1";
    const OTHER: &str =
        "SELECT place FROM outbox_posts WHERE asset_key = $1 AND state <> $2 AND place <> $3 LIMIT 1";
    let told: Option<Moment> =
        on!(tx, conn => sqlx::query_scalar(TOLD).bind(post.asset_key).fetch_optional(conn).await)?;
    let other: Option<i64> = on!(tx, conn => sqlx::query_scalar(OTHER).bind(post.asset_key).bind(PostState::Dead)
        .bind(post.place).fetch_optional(conn).await)?;
    Ok(other.is_some() || told.is_some_and(|at| at > post.observed_at))
}

/// Has a post that was refused sent again. `false` when it was not refused.
pub async fn retry(tx: &mut Tx, id: PostId) -> Result<bool, StorageError> {
    const SQL: &str = "UPDATE outbox_posts SET state = $1, tries = 0, due_at = $2, settled_at = NULL \
        WHERE id = $3 AND state = $4";
    let done = on!(tx, conn => sqlx::query(SQL).bind(PostState::Waiting).bind(AT_ONCE).bind(id).bind(PostState::Dead)
        .execute(conn).await.map(|done| done.rows_affected()))?;
    if done == 0 {
        return Ok(false);
    }
    shift(tx, Level { waiting: 1, dead: -1, ..Level::default() }).await?;
    Ok(true)
}

/// Removes a post that was refused. `false` when there is no such post.
pub async fn discard(tx: &mut Tx, id: PostId) -> Result<bool, StorageError> {
    const SQL: &str = "DELETE FROM outbox_posts WHERE id = $1 AND state = $2";
    let gone = on!(tx, conn => sqlx::query(SQL).bind(id).bind(PostState::Dead).execute(conn).await
        .map(|done| done.rows_affected()))?;
    if gone == 0 {
        return Ok(false);
    }
    shift(tx, Level { dead: -1, ..Level::default() }).await?;
    Ok(true)
}

/// Has every refused post sent again that no later price of its asset has made pointless. How many those are.
pub async fn retry_all(tx: &mut Tx) -> Result<i64, StorageError> {
    let mut retried = 0;
    let mut after = None;
    loop {
        let some = dead(tx, after, 500).await?;
        let Some(last) = some.last() else { return Ok(retried) };
        after = Some(last.place);
        for post in &some {
            if !is_outdated(tx, post).await? && retry(tx, post.id).await? {
                retried += 1;
            }
        }
    }
}
