//! Users: people who log in with a password. Only administrators make and change them.

use crate::domain::access::{Scopes, UserStatus, WeakPassword, check_password, user_name};
use crate::domain::audit::Entry;
use crate::domain::ids::PortfolioId;
use crate::domain::moment::Moment;
use crate::http::AppState;
use crate::http::access_change::change;
use crate::http::auth::{Admin, Caller};
use crate::http::error::{ApiError, Code, Problem};
use crate::http::fields::{Fields, Unknown};
use crate::http::login::{read_password, set_password};
use crate::http::posted::Posted;
use crate::http::query::{Query, ROWS};
use crate::http::rights::{self, Rights};
use crate::http::tagged::{Tagged, check_match};
use crate::http::wire::Time;
use crate::storage::database::Tx;
use crate::storage::page::After;
use crate::storage::users::{self, User};
use crate::workers::directory::Part;
use crate::workers::passwords::Password;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// A user to make.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the shape of the request; fields are read one by one to collect every fault")]
pub struct NewUser {
    /// Letters, digits and `._@+-`; kept in lower case.
    #[schema(example = "alice")]
    name: String,
    /// At least 12 characters.
    #[schema(example = "correct horse battery staple", format = Password)]
    password: String,
    /// May do everything. Give either this or `scopes`.
    #[schema(example = false)]
    admin: Option<bool>,
    #[schema(example = json!(["markets:read", "portfolios:read"]))]
    scopes: Option<Vec<String>>,
    /// Whose portfolios it sees; default its name. Fixed.
    #[schema(example = "alice")]
    owner_id: Option<String>,
    /// The only portfolios it reaches; all of its owner's when left out.
    portfolios: Option<Vec<PortfolioId>>,
}

/// Changes to a user (RFC 7396 merge patch).
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the shape of the request; fields are read one by one to collect every fault")]
pub struct UserPatch {
    #[schema(example = false)]
    admin: Option<bool>,
    #[schema(example = json!(["markets:read"]))]
    scopes: Option<Vec<String>>,
    /// `null` takes the bounds away.
    portfolios: Option<Vec<PortfolioId>>,
}

/// Another password.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the shape of the request; fields are read one by one to collect every fault")]
pub struct NewPassword {
    #[schema(example = "correct horse battery staple", format = Password)]
    password: String,
}

/// A user, without its password.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct UserView {
    #[schema(example = "0198c1d2-7c7a-7b1e-9a55-3f2b8d0c4e11")]
    id: String,
    #[schema(example = "alice")]
    name: String,
    #[schema(example = "alice")]
    owner_id: String,
    #[schema(example = json!(["markets:read", "portfolios:read"]))]
    scopes: Vec<String>,
    portfolios: Option<Vec<PortfolioId>>,
    status: UserStatus,
    created_at: Time,
    updated_at: Time,
    /// Counts changes; `If-Match: "v<version>"` guards an update.
    #[schema(example = 1)]
    version: i64,
}

/// A user just made.
#[derive(Debug, Serialize, ToSchema)]
pub struct UserCreated {
    #[schema(example = true)]
    success: bool,
    #[serde(flatten)]
    user: UserView,
}

impl From<&User> for UserView {
    fn from(user: &User) -> Self {
        Self {
            id: user.id.to_string(),
            name: user.name.clone(),
            owner_id: user.owner_id.clone(),
            scopes: Scopes::parse(&user.scopes).names().to_vec(),
            portfolios: rights::shown(user.portfolios.as_deref()),
            status: user.status,
            created_at: Time(user.created_at),
            updated_at: Time(user.updated_at),
            version: user.version,
        }
    }
}

/// Holds a user's new password to the rules; one it breaks is a fault of its field.
///
/// # Errors
/// When the list of passwords that have leaked cannot be read: then none is taken.
pub(super) async fn judge(
    app: &AppState,
    fields: &mut Fields<'_>,
    (field, user): (&'static str, &str),
    password: &Password,
) -> Result<(), ApiError> {
    let mut judged = check_password(password.text(), user);
    if let (Ok(()), Some(breached)) = (judged, &app.gate.breached) {
        let leaked = breached.holds(password.text()).await.map_err(|error| {
            tracing::error!(%error, "the list of passwords that have leaked");
            ApiError::new(Code::Internal, "the service failed")
        })?;
        judged = if leaked { Err(WeakPassword::Leaked) } else { Ok(()) };
    }
    if let Err(rule) = judged {
        fields.fault(field, "weak_password", rule.to_string());
    }
    Ok(())
}

/// The hash of a new password, with a salt of its own.
pub(super) async fn salted(app: &AppState, password: Password) -> Result<String, ApiError> {
    let salt = app.random.bytes::<16>()?;
    Ok(app.gate.passwords.hash(password, salt).await?)
}

/// The user an id or a name names.
pub(super) async fn find(tx: &mut Tx, name: &str) -> Result<User, ApiError> {
    let found = match Uuid::try_parse(name) {
        Ok(id) => users::find(tx, id).await?,
        Err(_) => match user_name(name) {
            Some(name) => users::find_by_name(tx, &name).await?,
            None => None,
        },
    };
    found.ok_or_else(|| ApiError::new(Code::UserNotFound, format!("User not found: {name}")))
}

/// Make a user
///
/// An `Idempotency-Key` is not honoured: nothing is kept of a password but its hash.
#[utoipa::path(post, path = "/users", operation_id = "create_user", tag = "access", request_body = NewUser,
    responses((status = 201, description = "Made", body = UserCreated),
        (status = 409, description = "The name is taken", body = Problem, content_type = "application/problem+json")))]
pub async fn create_user(
    State(app): State<AppState>,
    caller: Caller<Admin>,
    posted: Posted,
) -> Result<Response, ApiError> {
    let mut fields = Fields::of_body(&posted.bytes)?;
    let given = fields.text("name", 255);
    let name = user_name(&given).unwrap_or_default();
    if name.is_empty() && !given.trim().is_empty() {
        fields.fault("name", "malformed", "must have 1 to 64 letters, digits or ._@+-");
    }
    let password = read_password(&mut fields, "password");
    judge(&app, &mut fields, ("password", &name), &password).await?;
    let rights = Rights::read(&mut fields, Some(&name));
    fields.finish(Unknown::Refused)?;
    let password_hash = salted(&app, password).await?;
    let now = app.clock.now();
    let user = User {
        id: app.random.uuid_v7(now)?,
        name,
        password_hash,
        owner_id: rights.owner_id.clone(),
        scopes: rights.scopes.to_string(),
        portfolios: rights.kept_portfolios(),
        status: UserStatus::Active,
        version: 1,
        valid_from: Moment(0),
        created_at: now,
        updated_at: now,
    };
    let made = change(&app, caller.actor, Part::Users, move |tx| {
        Box::pin(async move {
            rights.check(tx).await?;
            if users::find_by_name(tx, &user.name).await?.is_some() {
                let detail = format!("there is a user {} already", user.name);
                return Err(ApiError::field(Code::DuplicateUser, "/name", "duplicate", detail));
            }
            let user = users::insert(tx, user).await?;
            tx.audit(Entry::created("user.create", user.id, &UserView::from(&user)));
            Ok(user)
        })
    });
    let view = UserView::from(&made.await?);
    let location = [(header::LOCATION, format!("/users/{}", view.id))];
    Ok((StatusCode::CREATED, location, Json(UserCreated { success: true, user: view })).into_response())
}

/// List users
///
/// By name.
#[utoipa::path(get, path = "/users", operation_id = "list_users", tag = "access",
    params(("limit" = Option<i64>, Query, description = "Rows wanted, at most 1000"),
        ("cursor" = Option<String>, Query, description = "From the `Link` header of the page before")),
    responses((status = 200, description = "Users", body = [UserView])))]
pub async fn list_users(
    State(app): State<AppState>,
    _: Caller<Admin>,
    mut query: Query,
) -> Result<Response, ApiError> {
    let (limit, after) = (query.limit(ROWS), query.cursor("users"));
    query.finish()?;
    let after = after.map(|after| after.value).unwrap_or_default();
    let rows = users::list(&mut app.db.read().await?, &after, limit).await?;
    let full = i64::try_from(rows.len()).is_ok_and(|count| count == limit);
    let next = rows.last().filter(|_| full).map(|user| After { value: user.name.clone(), key: 0 });
    let link = next.map(|after| query.next_link("users", &after)).unwrap_or_default();
    Ok((link, Json(rows.iter().map(UserView::from).collect::<Vec<_>>())).into_response())
}

/// Read a user
#[utoipa::path(get, path = "/users/{user}", operation_id = "get_user", tag = "access",
    params(("user" = String, Path, description = "Id or name")),
    responses((status = 200, description = "The user", body = UserView),
        (status = 404, description = "No such user", body = Problem, content_type = "application/problem+json")))]
pub async fn get_user(
    State(app): State<AppState>,
    _: Caller<Admin>,
    Path(name): Path<String>,
    mut query: Query,
) -> Result<Tagged<UserView>, ApiError> {
    query.finish()?;
    let user = find(&mut app.db.read().await?, &name).await?;
    Ok(Tagged { version: user.version, body: UserView::from(&user) })
}

/// Change a user's rights
///
/// Felt at once, by tokens that are out too.
#[utoipa::path(patch, path = "/users/{user}", operation_id = "update_user", tag = "access",
    params(("user" = String, Path, description = "Id or name")),
    request_body(content = UserPatch, content_type = "application/merge-patch+json"),
    responses((status = 200, description = "The user", body = UserView)))]
pub async fn update_user(
    State(app): State<AppState>,
    caller: Caller<Admin>,
    Path(name): Path<String>,
    posted: Posted,
) -> Result<Tagged<UserView>, ApiError> {
    let user = change(&app, caller.actor, Part::Users, move |tx| {
        Box::pin(async move {
            let user = find(tx, &name).await?;
            check_match(&posted.headers, user.version)?;
            let (old, owner_id) = (user.clone(), user.owner_id.clone());
            let mut fields = Fields::of_body(&posted.bytes)?;
            fields.not_null(&["scopes", "admin"]);
            let scopes = if fields.has("scopes") || fields.has("admin") {
                rights::read_scopes(&mut fields)
            } else {
                None
            };
            let scopes = scopes.unwrap_or_else(|| Scopes::parse(&user.scopes));
            let portfolios = if fields.has("portfolios") {
                rights::read_portfolios(&mut fields)
            } else {
                rights::shown(user.portfolios.as_deref())
            };
            let rights = Rights { scopes, owner_id, portfolios };
            rights.check_bounds(&mut fields);
            fields.finish(Unknown::Refused)?;
            rights.check(tx).await?;
            let (scopes, portfolios) = (rights.scopes.to_string(), rights.kept_portfolios());
            let user = users::update(tx, User { scopes, portfolios, ..user }).await?;
            let (before, after) = (UserView::from(&old), UserView::from(&user));
            tx.audit(Entry::changed("user.update", user.id, (&before, &after)));
            Ok::<_, ApiError>(user)
        })
    });
    let user = user.await?;
    Ok(Tagged { version: user.version, body: UserView::from(&user) })
}

/// Give a user another password
///
/// Ends every login of the user.
#[utoipa::path(post, path = "/users/{user}/password", operation_id = "set_user_password", tag = "access",
    params(("user" = String, Path, description = "Id or name")), request_body = NewPassword,
    responses((status = 200, description = "The user", body = UserView)))]
pub async fn set_user_password(
    State(app): State<AppState>,
    caller: Caller<Admin>,
    Path(name): Path<String>,
    posted: Posted,
) -> Result<Tagged<UserView>, ApiError> {
    let user = find(&mut app.db.read().await?, &name).await?;
    let mut fields = Fields::of_body(&posted.bytes)?;
    let password = read_password(&mut fields, "password");
    judge(&app, &mut fields, ("password", &user.name), &password).await?;
    fields.finish(Unknown::Refused)?;
    let hash = salted(&app, password).await?;
    let now = app.clock.now();
    let user = change(&app, caller.actor, Part::Users, move |tx| {
        Box::pin(async move {
            let user = find(tx, &user.id.to_string()).await?;
            set_password(tx, user, hash, now).await
        })
    });
    let user = user.await?;
    Ok(Tagged { version: user.version, body: UserView::from(&user) })
}

/// What [`act_on_user`] does, by name.
pub const ACTIONS: &[(&str, UserStatus)] =
    &[("disable", UserStatus::Disabled), ("enable", UserStatus::Active)];

/// Disable or enable a user
///
/// Disabling ends every login of the user, at once.
#[utoipa::path(post, path = "/users/{user}/{action}", operation_id = "act_on_user", tag = "access",
    params(("user" = String, Path, description = "Id or name"),
        ("action" = String, Path, description = "disable or enable")),
    responses((status = 200, description = "The user", body = UserView)))]
pub async fn act_on_user(
    State(app): State<AppState>,
    caller: Caller<Admin>,
    Path((name, action)): Path<(String, String)>,
    mut query: Query,
) -> Result<Tagged<UserView>, ApiError> {
    query.finish()?;
    let named = ACTIONS.iter().find(|(known, _)| *known == action);
    let (_, status) = *named.ok_or_else(|| ApiError::new(Code::NotFound, "Not Found"))?;
    let now = app.clock.now();
    let user = change(&app, caller.actor, Part::Users, move |tx| {
        Box::pin(async move {
            let user = find(tx, &name).await?;
            if user.status == status {
                return Ok(user);
            }
            let before = UserView::from(&user);
            let valid_from = if status == UserStatus::Disabled { now } else { user.valid_from };
            let user = users::update(tx, User { status, valid_from, ..user }).await?;
            if status == UserStatus::Disabled {
                users::end_sessions(tx, user.id, "user disabled").await?;
            }
            tx.audit(Entry::changed(format!("user.{action}"), user.id, (&before, &UserView::from(&user))));
            Ok::<_, ApiError>(user)
        })
    });
    let user = user.await?;
    Ok(Tagged { version: user.version, body: UserView::from(&user) })
}
