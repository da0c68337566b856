//! A user's own logins: which there are, and ending them.

use crate::domain::audit::Entry;
use crate::http::AppState;
use crate::http::access_change::change;
use crate::http::auth::{Anyone, Caller};
use crate::http::error::{ApiError, Code, Problem};
use crate::http::fields::{Fields, Unknown};
use crate::http::login::{Factor, Shown, as_user, proven};
use crate::http::posted::Posted;
use crate::http::query::Query;
use crate::http::visit::Visit;
use crate::http::wire::Time;
use crate::storage::database::Tx;
use crate::storage::users::{self, OpenSession};
use crate::workers::directory::{Part, Standing};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// A login that goes on.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionView {
    #[schema(value_type = String, example = "0197b7b8-6d1c-7c6e-9a43-0c8a5f1e2d3c")]
    id: Uuid,
    began_at: Time,
    /// When a refresh token of it was last used; `null` when none was yet.
    refreshed_at: Option<Time>,
    /// When it ends if it is not refreshed before.
    refresh_by: Time,
    /// When it ends, however often it is refreshed.
    expires_at: Time,
    /// Whether it is the one this request was made with.
    #[schema(example = true)]
    current: bool,
}

/// A user's logins, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct Sessions {
    sessions: Vec<SessionView>,
}

/// An end of one's own logins.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the shape of the request; fields are read one by one to collect every fault")]
pub struct SessionsEnd {
    #[schema(example = "alice")]
    name: String,
    #[schema(example = "correct horse battery staple", format = Password)]
    password: String,
    /// Where the user has a second factor.
    #[schema(example = "492039")]
    otp: Option<String>,
    /// The login to end; all of them when left out.
    #[schema(example = "0197b7b8-6d1c-7c6e-9a43-0c8a5f1e2d3c")]
    session_id: Option<String>,
}

/// User and login of a token of our own.
fn own(standing: &Standing) -> Option<(Uuid, Option<Uuid>)> {
    let Standing::Token { token, version: Some(_), .. } = standing else { return None };
    let session = token.sid.as_deref().and_then(|sid| Uuid::try_parse(sid).ok());
    Some((Uuid::try_parse(&token.sub).ok()?, session))
}

/// List one's own logins
///
/// Those that go on, the newest first. Only a user has any: with another credential the list is empty.
#[utoipa::path(get, path = "/auth/sessions", operation_id = "list_own_sessions", tag = "access",
    responses((status = 200, description = "The caller's logins", body = Sessions)))]
pub async fn list_own_sessions(
    State(app): State<AppState>,
    caller: Caller<Anyone>,
    mut query: Query,
) -> Result<Json<Sessions>, ApiError> {
    query.finish()?;
    let Some((user, current)) = own(&caller.standing) else {
        return Ok(Json(Sessions { sessions: Vec::new() }));
    };
    let open = users::open_sessions(&mut app.db.read().await?, user, app.clock.now()).await?;
    let view = |session: OpenSession| SessionView {
        id: session.id,
        began_at: Time(session.created_at),
        refreshed_at: session.refreshed_at.map(Time),
        refresh_by: Time(session.refresh_by),
        expires_at: Time(session.expires_at),
        current: current == Some(session.id),
    };
    Ok(Json(Sessions { sessions: open.into_iter().map(view).collect() }))
}

/// End one's own logins
///
/// One of them, or all. It takes the password: who has found a token of somebody must not lock them out with it.
#[utoipa::path(post, path = "/auth/sessions/end", operation_id = "end_own_sessions", tag = "access",
    request_body = SessionsEnd,
    responses((status = 204, description = "Ended"),
        (status = 401, description = "Name or password is wrong", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "The user has no such login", body = Problem, content_type = "application/problem+json")))]
pub async fn end_own_sessions(
    State(app): State<AppState>,
    visit: Option<Extension<Visit>>,
    posted: Posted,
) -> Result<Response, ApiError> {
    let visit = visit.as_deref();
    let mut fields = Fields::of_body(&posted.bytes)?;
    let shown = Shown::read(&mut fields);
    let asked = fields.opt_text("session_id");
    let one = asked.as_deref().map(Uuid::try_parse);
    if matches!(one, Some(Err(_))) {
        fields.fault("session_id", "uuid", "must be the id of a login, from GET /auth/sessions");
    }
    fields.finish(Unknown::Refused)?;
    let one = one.and_then(Result::ok);
    let user = match proven(&app, visit, shown, Factor::Demanded).await? {
        Ok(user) => user,
        Err(refusal) => return Ok(refusal),
    };
    let (actor, now) = (as_user(visit, &user), app.clock.now());
    change(&app, actor, Part::Users, move |tx| {
        Box::pin(async move {
            let open = users::open_sessions(tx, user.id, now).await?;
            let asked = |session: &&OpenSession| one.is_none_or(|id| id == session.id);
            let ended: Vec<Uuid> = open.iter().filter(asked).map(|session| session.id).collect();
            if one.is_some() && ended.is_empty() {
                return Err(ApiError::new(Code::NotFound, "there is no such login"));
            }
            for session in ended {
                end(tx, session, user.id).await?;
            }
            Ok(())
        })
    })
    .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn end(tx: &mut Tx, session: Uuid, user: Uuid) -> Result<(), ApiError> {
    users::end_session(tx, session, "ended by its user").await?;
    let said = serde_json::json!({ "user_id": user, "reason": "ended by its user" });
    tx.audit(Entry::created("session.end", session, &said));
    Ok(())
}
