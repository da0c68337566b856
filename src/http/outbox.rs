//! What waits to be posted on to another instance, and what that refused.

use crate::domain::audit::Entry;
use crate::domain::ids::PostId;
use crate::domain::outbox::PostState;
use crate::http::AppState;
use crate::http::auth::{Caller, PricesRead, PricesWrite};
use crate::http::error::{ApiError, Code, Problem};
use crate::http::query::{Query, ROWS};
use crate::http::wire::Time;
use crate::storage::database::Tx;
use crate::storage::outbox::{self, Post};
use crate::storage::page::After;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// Posts that wait which [`OutboxView`] lists; all of them are counted.
const LISTED: i64 = 100;

/// A price that waits to be posted on, or was refused.
#[derive(Debug, Serialize, ToSchema)]
pub struct PostView {
    id: PostId,
    state: PostState,
    #[schema(example = "BTC-USD")]
    symbol: String,
    /// When the price was observed.
    observed_at: Time,
    /// What is sent.
    #[schema(value_type = Object)]
    body: Box<RawValue>,
    /// How often sending it, or those whose place it took, has failed.
    #[schema(example = 2)]
    tries: i64,
    /// Whether it was sent without an answer: until there is one, nothing newer of the asset is sent.
    #[schema(example = false)]
    unanswered: bool,
    /// The status it was last answered with.
    #[schema(example = 404)]
    status: Option<i64>,
    /// Why sending it failed last.
    #[schema(example = "answered 404 Not Found no asset has the symbol `BTC-USD`")]
    failure: Option<String>,
    /// When its price was recorded.
    queued_at: Time,
    /// When it is sent next; none for one that was refused.
    due_at: Option<Time>,
    /// When it was refused.
    refused_at: Option<Time>,
}

impl From<Post> for PostView {
    fn from(post: Post) -> Self {
        let Post { id, state, symbol, observed_at, body, unanswered, .. } = post;
        Self {
            id,
            state,
            symbol,
            observed_at: Time(observed_at),
            body: RawValue::from_string(body).unwrap_or_default(),
            tries: post.tries,
            unanswered,
            status: post.status,
            failure: post.failure,
            queued_at: Time(post.queued_at),
            due_at: (state != PostState::Dead).then_some(Time(post.due_at.max(post.queued_at))),
            refused_at: post.settled_at.map(Time),
        }
    }
}

/// What waits to be posted on.
#[derive(Debug, Serialize, ToSchema)]
pub struct OutboxView {
    /// Where prices are posted on to; none unless it is configured.
    #[schema(example = "http://127.0.0.1:7000/prices")]
    destination: Option<String>,
    /// Prices that wait, up to `until` if that was given.
    #[schema(example = 0)]
    depth: i64,
    /// The greatest `until` there is now: what waits now has waited its turn once nothing up to here is left.
    #[schema(example = 4711)]
    last: Option<i64>,
    /// When the price that has waited longest was recorded.
    oldest_queued_at: Option<Time>,
    /// How long ago that was, in seconds.
    #[schema(example = 0)]
    oldest_age: Option<i64>,
    /// Prices the other instance refused, and that are still here.
    #[schema(example = 0)]
    dead_letters: i64,
    /// Prices it accepted, since the beginning.
    #[schema(example = 1200)]
    delivered: i64,
    /// Prices that were not sent because a newer one took their place, since the beginning.
    #[schema(example = 34)]
    superseded: i64,
    /// Prices it refused, since the beginning.
    #[schema(example = 0)]
    refused: i64,
    /// The first hundred that wait.
    posts: Vec<PostView>,
}

/// Read what waits to be posted on to another instance
#[utoipa::path(get, path = "/ingest/outbox", operation_id = "get_outbox", tag = "prices",
    params(("until" = Option<u32>, Query, description = "Count and list only what was put there up to this `last`")),
    responses((status = 200, description = "The outbox", body = OutboxView)))]
pub async fn get_outbox(
    State(app): State<AppState>,
    _: Caller<PricesRead>,
    mut query: Query,
) -> Result<Json<OutboxView>, ApiError> {
    let until = query.text("until").map(|text| text.parse::<i64>());
    if let Some(Err(_)) = until {
        query.fault("until", "malformed", "must be a `last` of this route");
    }
    query.finish()?;
    let until = until.and_then(Result::ok).unwrap_or(i64::MAX);
    let mut tx = app.db.read().await?;
    let level = outbox::level(&mut tx).await?;
    let (depth, last) = outbox::depth(&mut tx, until).await?;
    let posts = outbox::waiting(&mut tx, until, LISTED).await?;
    let oldest = posts.first().map(|post| post.queued_at);
    let now = app.clock.now();
    Ok(Json(OutboxView {
        destination: app.db.outlet().destination().map(str::to_owned),
        depth,
        last,
        oldest_queued_at: oldest.map(Time),
        oldest_age: oldest.map(|at| (now.0 - at.0).max(0).div_euclid(1_000_000)),
        dead_letters: level.dead,
        delivered: level.delivered,
        superseded: level.superseded,
        refused: level.refused,
        posts: posts.into_iter().map(PostView::from).collect(),
    }))
}

/// List the prices the other instance refused
///
/// In the order they were recorded; of an asset only the last is kept.
#[utoipa::path(get, path = "/ingest/outbox/dead-letters", operation_id = "list_refused_posts", tag = "prices",
    params(("limit" = Option<i64>, Query, description = "Rows wanted, at most 1000"),
        ("cursor" = Option<String>, Query, description = "From the `Link` header of the page before")),
    responses((status = 200, description = "Posts", body = [PostView])))]
pub async fn list_refused_posts(
    State(app): State<AppState>,
    _: Caller<PricesRead>,
    mut query: Query,
) -> Result<Response, ApiError> {
    let (limit, after) = (query.limit(ROWS), query.cursor("refused"));
    query.finish()?;
    let mut tx = app.db.read().await?;
    let posts = outbox::dead(&mut tx, after.map(|after| after.key), limit).await?;
    let full = i64::try_from(posts.len()).is_ok_and(|count| count == limit);
    let next = posts.last().filter(|_| full).map(|last| After { value: String::new(), key: last.place });
    let link = next.map(|after| query.next_link("refused", &after)).unwrap_or_default();
    let views: Vec<PostView> = posts.into_iter().map(PostView::from).collect();
    Ok((link, Json(views)).into_response())
}

/// The post that a path names.
async fn named(tx: &mut Tx, id: &str) -> Result<Post, ApiError> {
    let post = match PostId::parse(id) {
        Some(id) => outbox::find(tx, id).await?,
        None => None,
    };
    let unknown =
        || ApiError::new(Code::PostNotFound, format!("there is no price `{id}` in the outbox, or no longer"));
    post.ok_or_else(unknown)
}

fn not_refused(post: &Post) -> ApiError {
    let detail = format!("price {} is {}; only one that was refused can be dealt with", post.id, post.state);
    ApiError::new(Code::WrongStatus, detail)
}

/// Send a price once more that the other instance refused
///
/// Not one whose asset has had a later price since: an older price never follows a newer one.
#[utoipa::path(post, path = "/ingest/outbox/dead-letters/{post}/retry", operation_id = "retry_refused_post",
    tag = "prices", params(("post" = String, Path, description = "Its id")),
    responses((status = 200, description = "It waits again", body = PostView),
        (status = 409, description = "It was not refused, or is outdated", body = Problem,
            content_type = "application/problem+json")))]
pub async fn retry_refused_post(
    State(app): State<AppState>,
    caller: Caller<PricesWrite>,
    Path(id): Path<String>,
    mut query: Query,
) -> Result<Json<PostView>, ApiError> {
    query.finish()?;
    let work = app.db.writer().write(caller.actor, move |tx| {
        Box::pin(async move {
            let post = named(tx, &id).await?;
            if post.state == PostState::Dead && outbox::is_outdated(tx, &post).await? {
                let detail = format!("{} has a later price since; discard this one", post.symbol);
                return Err(ApiError::new(Code::Outdated, detail));
            }
            if !outbox::retry(tx, post.id).await? {
                return Err(not_refused(&post));
            }
            tx.audit(Entry::done("outbox.retry", &id));
            named(tx, &id).await.map(PostView::from)
        })
    });
    let post = work.await?;
    app.db.outlet().wake();
    Ok(Json(post))
}

/// What was done about refused prices.
#[derive(Debug, Serialize, ToSchema)]
pub struct PostsRetried {
    #[schema(example = true)]
    success: bool,
    /// Prices that wait again; the others have later ones.
    #[schema(example = 3)]
    retried: i64,
}

/// Send every price once more that the other instance refused
///
/// Such as after a wrong key was put right. Those whose asset has had a later price since stay where they are.
#[utoipa::path(post, path = "/ingest/outbox/dead-letters/retry", operation_id = "retry_refused_posts", tag = "prices",
    responses((status = 200, description = "They wait again", body = PostsRetried)))]
pub async fn retry_refused_posts(
    State(app): State<AppState>,
    caller: Caller<PricesWrite>,
    mut query: Query,
) -> Result<Json<PostsRetried>, ApiError> {
    query.finish()?;
    let work = app.db.writer().write(caller.actor, |tx| {
        Box::pin(async move {
            let retried = outbox::retry_all(tx).await?;
            tx.audit(Entry::done("outbox.retry", "all"));
            Ok::<_, ApiError>(retried)
        })
    });
    let retried = work.await?;
    app.db.outlet().wake();
    Ok(Json(PostsRetried { success: true, retried }))
}

/// Throw away a price that the other instance refused
#[utoipa::path(delete, path = "/ingest/outbox/dead-letters/{post}", operation_id = "discard_refused_post", tag = "prices",
    params(("post" = String, Path, description = "Its id")),
    responses((status = 204, description = "Gone"),
        (status = 409, description = "It was not refused", body = Problem, content_type = "application/problem+json")))]
pub async fn discard_refused_post(
    State(app): State<AppState>,
    caller: Caller<PricesWrite>,
    Path(id): Path<String>,
    mut query: Query,
) -> Result<StatusCode, ApiError> {
    query.finish()?;
    let work = app.db.writer().write(caller.actor, move |tx| {
        Box::pin(async move {
            let post = named(tx, &id).await?;
            if !outbox::discard(tx, post.id).await? {
                return Err(not_refused(&post));
            }
            tx.audit(Entry::done("outbox.discard", &id));
            Ok(StatusCode::NO_CONTENT)
        })
    });
    work.await
}
