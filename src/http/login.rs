//! Logging in with a password, going on with a refresh token, logging out.
//!
//! An unknown user, a wrong password and a user who may not log in get the same answer after the same work. Whoever has the right password is told
//! that a second factor is needed, and nothing before.

use crate::domain::access::{UserStatus, user_name};
use crate::domain::audit::{Actor, ActorKind, Entry};
use crate::domain::moment::Moment;
use crate::http::AppState;
use crate::http::access_change::change;
use crate::http::auth::{Anyone, Caller};
use crate::http::error::{ApiError, Code, Problem};
use crate::http::fields::{Fields, Unknown};
use crate::http::posted::Posted;
use crate::http::query::Query;
use crate::http::signing_keys;
use crate::http::users::{judge, salted};
use crate::http::visit::Visit;
use crate::http::wire::Time;
use crate::storage::second_factors;
use crate::storage::users::{self, Session, User};
use crate::telemetry::{AUTH_FAILURES, LOGINS};
use crate::workers::directory::{Part, actor_of};
use crate::workers::passwords::{NotHashed, Password};
use crate::workers::second_factor;
use crate::workers::sessions::{self, NewRefresh, Refreshed};
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use utoipa::ToSchema;
use uuid::Uuid;

/// Longest body of a login, in bytes: it is taken from whoever comes.
pub const BODY_MAX: usize = 16 << 10;
/// What everybody is told who does not get in.
const WRONG: &str = "name or password is wrong";
/// What everybody is told whose refresh token is not good.
const NO_SESSION: &str = "the refresh token is not valid; log in again";

/// What somebody shows who says to be a user.
pub(super) struct Shown {
    name: String,
    password: Password,
    /// A one-time password.
    pub(super) otp: Option<String>,
}

impl Shown {
    /// Reads it from a body.
    pub(super) fn read(fields: &mut Fields<'_>) -> Self {
        let name = fields.text("name", 255);
        let password = read_password(fields, "password");
        let otp = fields.opt_text("otp");
        Self { name, password, otp }
    }
}

/// Which second factor somebody has to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Factor {
    /// The one in force; where the service demands one, there must be one.
    Demanded,
    /// The one in force, if there is one: to set up the first.
    IfThereIsOne,
    /// One that was set up and is not in force yet.
    Pending,
}

/// A login.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the shape of the request; fields are read one by one to collect every fault")]
pub struct Login {
    #[schema(example = "alice")]
    name: String,
    #[schema(example = "correct horse battery staple", format = Password)]
    password: String,
    /// Where the user has a second factor.
    #[schema(example = "492039")]
    otp: Option<String>,
}

/// Going on with a login, or ending it.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the shape of the request; fields are read one by one to collect every fault")]
pub struct Refresh {
    #[schema(example = "art-refresh_...")]
    refresh_token: String,
}

/// A change of one's own password.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the shape of the request; fields are read one by one to collect every fault")]
pub struct PasswordChange {
    #[schema(example = "alice")]
    name: String,
    #[schema(example = "correct horse battery staple", format = Password)]
    password: String,
    #[schema(example = "staple battery horse correct", format = Password)]
    new_password: String,
    /// Where the user has a second factor.
    #[schema(example = "492039")]
    otp: Option<String>,
}

/// Tokens of a login.
#[derive(Debug, Serialize, ToSchema)]
pub struct Tokens {
    #[schema(example = true)]
    success: bool,
    /// For `Authorization: Bearer ...`.
    #[schema(example = "eyJhbGciOiJFZERTQSJ9...")]
    access_token: String,
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// Seconds until the access token expires.
    #[schema(example = 600)]
    expires_in: i64,
    /// Good once, for `POST /auth/refresh`; the answer has the next one.
    #[schema(example = "art-refresh_...")]
    refresh_token: String,
    /// When the login ends, however often it is refreshed.
    session_expires_at: Time,
    /// Scopes, separated by blanks.
    #[schema(example = "markets:read portfolios:read")]
    scope: String,
}

/// Who one is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Myself {
    #[schema(example = "user:alice@alice")]
    actor: String,
    #[schema(example = "alice")]
    owner_id: String,
    /// Whether every owner's portfolios are in reach.
    #[schema(example = false)]
    any_owner: bool,
    #[schema(example = json!(["markets:read", "portfolios:read"]))]
    scopes: Vec<String>,
    /// The only portfolios in reach; all of the owner's when `null`.
    portfolios: Option<Vec<crate::domain::ids::PortfolioId>>,
}

/// Where a request comes from, for counting guesses.
fn address(visit: Option<&Visit>) -> Option<std::net::IpAddr> {
    visit.and_then(|visit| visit.address)
}

/// Guesses came too fast.
fn too_fast(wait: Duration) -> Response {
    let seconds = wait.as_millis().div_ceil(1_000).max(1);
    let detail = format!("too many failed logins; try again in {seconds} s");
    let mut response = ApiError::new(Code::TooManyRequests, detail).into_response();
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from(u64::try_from(seconds).unwrap_or(60)));
    response
}

impl From<NotHashed> for ApiError {
    fn from(error: NotHashed) -> Self {
        match error {
            NotHashed::Busy => Self::new(Code::Busy, "too many logins at once; try again"),
            NotHashed::Failed => {
                tracing::error!(%error, "a password");
                Self::new(Code::Internal, "the service failed")
            }
        }
    }
}

/// An actor without a credential of its own.
fn nameless(visit: Option<&Visit>) -> Arc<Actor> {
    let actor = Actor::new(ActorKind::Anonymous, "anonymous");
    visit.map_or_else(|| Arc::new(actor.clone()), |visit| visit.by(actor.clone()))
}

pub(super) fn as_user(visit: Option<&Visit>, user: &User) -> Arc<Actor> {
    let actor = Actor::new(ActorKind::User, actor_of(user));
    visit.map_or_else(|| Arc::new(actor.clone()), |visit| visit.by(actor.clone()))
}

/// What everybody is told who does not get in.
pub(super) fn wrong() -> ApiError {
    ApiError::new(Code::Unauthorized, WRONG)
}

/// What somebody is told whose password is right and whose one-time password is not.
pub(super) fn wrong_otp() -> ApiError {
    ApiError::new(Code::Unauthorized, "the one-time password is wrong or was used; wait for the next one")
}

/// The user that a body of nothing but [`Shown`] proves; `Err` holds the answer to whoever has to wait.
pub(super) async fn proven_by(
    app: &AppState,
    visit: Option<&Visit>,
    posted: &Posted,
    factor: Factor,
) -> Result<Result<User, Response>, ApiError> {
    let mut fields = Fields::of_body(&posted.bytes)?;
    let shown = Shown::read(&mut fields);
    fields.finish(Unknown::Refused)?;
    proven(app, visit, shown, factor).await
}

/// The user with this name, password and second factor; `Err` holds the answer to whoever has to wait.
pub(super) async fn proven(
    app: &AppState,
    visit: Option<&Visit>,
    Shown { name, password, otp }: Shown,
    factor: Factor,
) -> Result<Result<User, Response>, ApiError> {
    let spelled = user_name(&name);
    let counted = spelled.clone().unwrap_or_else(|| "\u{0}".to_owned());
    if let Err(wait) = app.gate.attempts.begin(&counted, address(visit), app.clock.elapsed()) {
        metrics::counter!(AUTH_FAILURES, "kind" => "login_throttled").increment(1);
        return Ok(Err(too_fast(wait)));
    }
    let known = match &spelled {
        Some(name) => users::find_by_name(&mut app.db.read().await?, name).await?,
        None => None,
    };
    if let (Some(visit), Some(user)) = (visit, &known) {
        visit.seeks(user.id);
    }
    let kept = known.as_ref().map(|user| user.password_hash.clone());
    let matches = app.gate.passwords.matches(password, kept).await?;
    let Some(user) = known.filter(|user| matches && user.status == UserStatus::Active) else {
        metrics::counter!(AUTH_FAILURES, "kind" => "login").increment(1);
        return Err(wrong());
    };
    if let Err(refused) = second_proof(app, &user, otp.as_deref(), factor).await {
        metrics::counter!(AUTH_FAILURES, "kind" => "second_factor").increment(1);
        return Err(refused);
    }
    app.gate.attempts.succeeded(&counted, address(visit));
    Ok(Ok(user))
}

/// Holds a user to a second factor. A one-time password is used up by that.
async fn second_proof(app: &AppState, user: &User, otp: Option<&str>, asked: Factor) -> Result<(), ApiError> {
    let needed = |detail| ApiError::new(Code::SecondFactorRequired, detail);
    let kept = second_factors::find(&mut app.db.read().await?, user.id).await?;
    let (salt, pending) = kept.map_or((None, None), |factor| (factor.salt, factor.pending));
    let salt = if asked == Factor::Pending { pending } else { salt };
    let Some(salt) = salt else {
        return match asked {
            Factor::Pending => Err(wrong_otp()),
            Factor::Demanded if app.gate.settings.second_factor_required => {
                Err(needed("set up a second factor by POST /auth/second-factor"))
            }
            Factor::Demanded | Factor::IfThereIsOne => Ok(()),
        };
    };
    let otp = otp.ok_or_else(|| needed("send a one-time password as `otp`"))?;
    let secret = app.gate.directory.secret();
    let step = second_factor::step(secret, (user.id, &salt), otp, app.clock.now()).ok_or_else(wrong_otp)?;
    if asked == Factor::Pending {
        return Ok(());
    }
    let id = user.id;
    let using = app
        .db
        .writer()
        .housekeep(move |tx| Box::pin(async move { second_factors::use_step(tx, (id, &salt), step).await }));
    if using.await? { Ok(()) } else { Err(wrong_otp()) }
}

/// Tokens of a session, with a refresh token just made.
async fn tokens(
    app: &AppState,
    (user, session): (&User, &Session),
    refresh: NewRefresh,
) -> Result<Response, ApiError> {
    let now = app.clock.now();
    let signer = signing_keys::signer(app).await?;
    let jti = app.random.uuid_v7(now)?;
    let token = sessions::access_token(&signer, &app.gate.settings, (user, session), jti, now);
    let (access_token, expires_in) =
        token.ok_or_else(|| ApiError::new(Code::Internal, "the service failed"))?;
    let body = Tokens {
        success: true,
        access_token,
        token_type: "Bearer",
        expires_in,
        refresh_token: refresh.shown,
        session_expires_at: Time(session.expires_at),
        scope: user.scopes.clone(),
    };
    Ok(([(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(body)).into_response())
}

/// Log in
///
/// Answers with an access token and a refresh token. After five failed logins of a user from one place it must wait, one
/// second at first and a minute at most.
#[utoipa::path(post, path = "/auth/login", operation_id = "login", tag = "access", request_body = Login,
    responses((status = 200, description = "Logged in", body = Tokens),
        (status = 401, description = "Name or password is wrong", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many failed logins", body = Problem, content_type = "application/problem+json")))]
pub async fn login(
    State(app): State<AppState>,
    visit: Option<Extension<Visit>>,
    posted: Posted,
) -> Result<Response, ApiError> {
    let visit = visit.as_deref();
    let user = match proven_by(&app, visit, &posted, Factor::Demanded).await? {
        Ok(user) => user,
        Err(refusal) => return Ok(refusal),
    };
    let now = app.clock.now();
    let refresh = NewRefresh::make(app.gate.directory.secret(), app.random, now)?;
    let id: Uuid = app.random.uuid_v7(now)?;
    let gate = Arc::clone(&app.gate);
    let write = app.db.writer().write(as_user(visit, &user), move |tx| {
        Box::pin(async move {
            // The user may have been changed since its password was checked.
            let current = users::find(tx, user.id).await?;
            if current.as_ref() != Some(&user) {
                return Err(wrong());
            }
            let session = sessions::begin(tx, (id, user.id), &refresh, &gate.settings).await?;
            tx.audit(Entry::done("session.begin", session.id));
            Ok((user, session, refresh))
        })
    });
    let (user, session, refresh) = write.await?;
    metrics::counter!(LOGINS).increment(1);
    tokens(&app, (&user, &session), refresh).await
}

/// A password in a body. Its rules are not told to whoever guesses.
pub(super) fn read_password(fields: &mut Fields<'_>, name: &'static str) -> Password {
    let text = fields.opt_text(name);
    if text.is_none() {
        // One that is no text has its fault already.
        fields.fault(name, "required", "is required");
    }
    Password::new(text.unwrap_or_default())
}

/// Go on with a login
///
/// A refresh token is good once: one that comes a second time was copied, and ends the login for whoever has it.
#[utoipa::path(post, path = "/auth/refresh", operation_id = "refresh", tag = "access", request_body = Refresh,
    responses((status = 200, description = "New tokens", body = Tokens),
        (status = 401, description = "The refresh token is not valid", body = Problem, content_type = "application/problem+json")))]
pub async fn refresh(
    State(app): State<AppState>,
    visit: Option<Extension<Visit>>,
    posted: Posted,
) -> Result<Response, ApiError> {
    let presented = presented(&posted)?;
    if !sessions::knows(&mut app.db.read().await?, app.gate.directory.secret(), &presented).await? {
        return refused("refresh");
    }
    let next = NewRefresh::make(app.gate.directory.secret(), app.random, app.clock.now())?;
    let gate = Arc::clone(&app.gate);
    let done = change(&app, nameless(visit.as_deref()), Part::Users, move |tx| {
        Box::pin(async move {
            let secret = gate.directory.secret();
            let outcome = sessions::go_on(tx, secret, &presented, &next, &gate.settings).await?;
            match &outcome {
                Refreshed::Goes(both) => tx.audit(Entry::done("session.refresh", both.1.id)),
                Refreshed::Reused { session, user } => {
                    let said = serde_json::json!({ "user_id": user, "reason": "refresh token used twice" });
                    tx.audit(Entry::created("session.end", session, &said));
                }
                Refreshed::Refused => {}
            }
            Ok::<_, ApiError>((outcome, next))
        })
    });
    match done.await? {
        (Refreshed::Goes(both), next) => tokens(&app, (&both.0, &both.1), next).await,
        (Refreshed::Reused { session, .. }, _) => {
            tracing::warn!(%session, "a refresh token was used twice; its login was ended");
            refused("refresh_reused")
        }
        (Refreshed::Refused, _) => refused("refresh"),
    }
}

fn refused<T>(kind: &'static str) -> Result<T, ApiError> {
    metrics::counter!(AUTH_FAILURES, "kind" => kind).increment(1);
    Err(ApiError::new(Code::Unauthorized, NO_SESSION))
}

fn presented(posted: &Posted) -> Result<String, ApiError> {
    let mut fields = Fields::of_body(&posted.bytes)?;
    let token = fields.text("refresh_token", 255);
    fields.finish(Unknown::Refused)?;
    Ok(token)
}

/// Log out
///
/// Ends the login of a refresh token; its access tokens are refused from then on. A token that is none is answered in the
/// same way.
#[utoipa::path(post, path = "/auth/logout", operation_id = "logout", tag = "access", request_body = Refresh,
    responses((status = 204, description = "Logged out")))]
pub async fn logout(
    State(app): State<AppState>,
    visit: Option<Extension<Visit>>,
    posted: Posted,
) -> Result<StatusCode, ApiError> {
    let presented = presented(&posted)?;
    if !sessions::knows(&mut app.db.read().await?, app.gate.directory.secret(), &presented).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    let gate = Arc::clone(&app.gate);
    change(&app, nameless(visit.as_deref()), Part::Users, move |tx| {
        Box::pin(async move {
            let ended = sessions::end(tx, gate.directory.secret(), &presented).await?;
            if let Some(session) = ended.filter(|session| session.ended_at.is_none()) {
                let said = serde_json::json!({ "user_id": session.user_id, "reason": "logged out" });
                tx.audit(Entry::created("session.end", session.id, &said));
            }
            Ok::<_, ApiError>(())
        })
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Change one's own password
///
/// Ends every login of the user.
#[utoipa::path(post, path = "/auth/password", operation_id = "change_own_password", tag = "access",
    request_body = PasswordChange,
    responses((status = 204, description = "Changed"),
        (status = 401, description = "Name or password is wrong", body = Problem, content_type = "application/problem+json")))]
pub async fn change_own_password(
    State(app): State<AppState>,
    visit: Option<Extension<Visit>>,
    posted: Posted,
) -> Result<Response, ApiError> {
    let visit = visit.as_deref();
    let mut fields = Fields::of_body(&posted.bytes)?;
    let shown = Shown::read(&mut fields);
    let new = read_password(&mut fields, "new_password");
    judge(&app, &mut fields, ("new_password", &shown.name), &new).await?;
    fields.finish(Unknown::Refused)?;
    let user = match proven(&app, visit, shown, Factor::Demanded).await? {
        Ok(user) => user,
        Err(refusal) => return Ok(refusal),
    };
    let hash = salted(&app, new).await?;
    let (actor, now) = (as_user(visit, &user), app.clock.now());
    change(&app, actor, Part::Users, move |tx| {
        Box::pin(async move {
            if users::find(tx, user.id).await?.as_ref() != Some(&user) {
                return Err(wrong());
            }
            set_password(tx, user, hash, now).await
        })
    })
    .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Gives a user another password, and ends its logins: those before `valid_from`, by the clock that tokens are dated by.
pub(super) async fn set_password(
    tx: &mut crate::storage::database::Tx,
    user: User,
    hash: String,
    valid_from: Moment,
) -> Result<User, ApiError> {
    let changed = users::update(tx, User { password_hash: hash, valid_from, ..user }).await?;
    users::end_sessions(tx, changed.id, "password changed").await?;
    tx.audit(Entry::done("user.password", changed.id));
    Ok(changed)
}

/// Read who one is
///
/// What the credential of this request may do.
#[utoipa::path(get, path = "/auth/me", operation_id = "me", tag = "access",
    responses((status = 200, description = "Who the caller is", body = Myself)))]
pub async fn me(caller: Caller<Anyone>, mut query: Query) -> Result<Json<Myself>, ApiError> {
    query.finish()?;
    Ok(Json(Myself {
        actor: caller.actor.name.clone(),
        owner_id: caller.reach.owner_id.clone(),
        any_owner: caller.reach.any_owner,
        scopes: caller.scopes.names().to_vec(),
        portfolios: caller.reach.portfolios.clone(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_are_counted_by_where_they_come_from() {
        let from = Some("192.0.2.1".parse().unwrap());
        assert_eq!(address(Some(&Visit::new(Arc::from("request"), from))), from);
        assert_eq!(address(None), None);
    }

    #[test]
    fn a_password_that_is_no_text_has_one_fault_and_so_has_one_that_is_not_there() {
        for body in [r#"{"password": 7}"#, "{}"] {
            let mut fields = Fields::of_body(body.as_bytes()).unwrap();
            read_password(&mut fields, "password");
            assert_eq!(fields.finish(Unknown::Refused).unwrap_err().errors.len(), 1, "{body}");
        }
    }
}
