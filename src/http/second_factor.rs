//! A user's second factor: setting one up, proving it, taking it away.

use crate::domain::audit::Entry;
use crate::http::AppState;
use crate::http::access_change::change;
use crate::http::auth::{Admin, Caller};
use crate::http::error::{ApiError, Code, Problem};
use crate::http::fields::{Fields, Unknown};
use crate::http::login::{Factor, Shown, as_user, proven, proven_by, wrong_otp};
use crate::http::posted::Posted;
use crate::http::query::Query;
use crate::http::users::find;
use crate::http::visit::Visit;
use crate::storage::second_factors;
use crate::storage::users;
use crate::workers::directory::Part;
use crate::workers::second_factor;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// Who sets a second factor up or takes it away.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the shape of the request; fields are read one by one to collect every fault")]
pub struct SecondFactorRequest {
    #[schema(example = "alice")]
    name: String,
    #[schema(example = "correct horse battery staple", format = Password)]
    password: String,
    /// The one-time password of the factor there is, if there is one.
    #[schema(example = "492039")]
    otp: Option<String>,
}

/// A proof that the app makes the right one-time passwords.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the shape of the request; fields are read one by one to collect every fault")]
pub struct SecondFactorProof {
    #[schema(example = "alice")]
    name: String,
    #[schema(example = "correct horse battery staple", format = Password)]
    password: String,
    /// A one-time password of the new factor.
    #[schema(example = "492039")]
    otp: String,
}

/// What to put into an app; it is shown once.
#[derive(Debug, Serialize, ToSchema)]
pub struct SecondFactorSecret {
    #[schema(example = true)]
    success: bool,
    /// In base 32, for typing.
    #[schema(example = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP")]
    secret: String,
    /// The same as a URI, for a picture that is scanned.
    #[schema(
        example = "otpauth://totp/Artifact:alice?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=Artifact"
    )]
    uri: String,
}

/// Set up a second factor
///
/// Answers with a secret for an app that makes one-time passwords (RFC 6238: SHA-1, six digits, thirty seconds). It counts
/// once `POST /auth/second-factor/confirm` has proven it; until then the login is what it was. A user who has a second
/// factor shows it to set up another, and the one before stays in force until that is proven.
#[utoipa::path(post, path = "/auth/second-factor", operation_id = "set_up_second_factor", tag = "access",
    request_body = SecondFactorRequest,
    responses((status = 200, description = "The secret", body = SecondFactorSecret),
        (status = 401, description = "Name, password or one-time password is wrong", body = Problem, content_type = "application/problem+json")))]
pub async fn set_up(
    State(app): State<AppState>,
    visit: Option<Extension<Visit>>,
    posted: Posted,
) -> Result<Response, ApiError> {
    let visit = visit.as_deref();
    let user = match proven_by(&app, visit, &posted, Factor::IfThereIsOne).await? {
        Ok(user) => user,
        Err(refusal) => return Ok(refusal),
    };
    let salt = second_factor::salt(app.random)?;
    let enrolment = second_factor::enrolment(app.gate.directory.secret(), (user.id, &salt), &user.name);
    let enrolment = enrolment.ok_or_else(|| ApiError::new(Code::Internal, "the service failed"))?;
    let write = app.db.writer().write(as_user(visit, &user), move |tx| {
        Box::pin(async move {
            second_factors::begin(tx, user.id, &salt).await?;
            tx.audit(Entry::done("user.second_factor.begin", user.id));
            Ok::<_, ApiError>(())
        })
    });
    write.await?;
    let body = SecondFactorSecret { success: true, secret: enrolment.secret, uri: enrolment.uri };
    Ok(([(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(body)).into_response())
}

/// Prove a second factor
///
/// From then on each login of the user, and each change of its password, needs a one-time password as well.
#[utoipa::path(post, path = "/auth/second-factor/confirm", operation_id = "confirm_second_factor", tag = "access",
    request_body = SecondFactorProof,
    responses((status = 204, description = "Proven"),
        (status = 401, description = "Name, password or one-time password is wrong", body = Problem, content_type = "application/problem+json")))]
pub async fn confirm(
    State(app): State<AppState>,
    visit: Option<Extension<Visit>>,
    posted: Posted,
) -> Result<Response, ApiError> {
    let visit = visit.as_deref();
    let mut fields = Fields::of_body(&posted.bytes)?;
    let shown = Shown::read(&mut fields);
    if shown.otp.is_none() && fields.raw("otp").is_none() {
        fields.fault("otp", "required", "is required");
    }
    fields.finish(Unknown::Refused)?;
    let password = shown.otp.clone().unwrap_or_default();
    let user = match proven(&app, visit, shown, Factor::Pending).await? {
        Ok(user) => user,
        Err(refusal) => return Ok(refusal),
    };
    let (gate, now) = (Arc::clone(&app.gate), app.clock.now());
    let write = app.db.writer().write(as_user(visit, &user), move |tx| {
        Box::pin(async move {
            // Another one may have been set up since.
            let pending = second_factors::find(tx, user.id).await?.and_then(|factor| factor.pending);
            let pending = pending.ok_or_else(wrong_otp)?;
            let step = second_factor::step(gate.directory.secret(), (user.id, &pending), &password, now);
            if !second_factors::confirm(tx, (user.id, &pending), step.ok_or_else(wrong_otp)?).await? {
                return Err(wrong_otp());
            }
            tx.audit(Entry::done("user.second_factor.confirm", user.id));
            Ok(())
        })
    });
    write.await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Take one's own second factor away
///
/// Where `access.second_factor` is `required`, the next login needs another one.
#[utoipa::path(post, path = "/auth/second-factor/remove", operation_id = "remove_own_second_factor", tag = "access",
    request_body = SecondFactorRequest,
    responses((status = 204, description = "Taken away, or there was none"),
        (status = 401, description = "Name, password or one-time password is wrong", body = Problem, content_type = "application/problem+json")))]
pub async fn remove_own(
    State(app): State<AppState>,
    visit: Option<Extension<Visit>>,
    posted: Posted,
) -> Result<Response, ApiError> {
    let visit = visit.as_deref();
    let user = match proven_by(&app, visit, &posted, Factor::IfThereIsOne).await? {
        Ok(user) => user,
        Err(refusal) => return Ok(refusal),
    };
    let write = app.db.writer().write(as_user(visit, &user), move |tx| {
        Box::pin(async move {
            if second_factors::remove(tx, user.id).await? {
                tx.audit(Entry::done("user.second_factor.remove", user.id));
            }
            Ok::<_, ApiError>(())
        })
    });
    write.await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Take a user's second factor away
///
/// For one who has lost it. Ends every login of the user.
#[utoipa::path(delete, path = "/users/{user}/second-factor", operation_id = "remove_second_factor", tag = "access",
    params(("user" = String, Path, description = "Id or name")),
    responses((status = 204, description = "Taken away, or there was none")))]
pub async fn remove(
    State(app): State<AppState>,
    caller: Caller<Admin>,
    Path(name): Path<String>,
    mut query: Query,
) -> Result<StatusCode, ApiError> {
    query.finish()?;
    change(&app, caller.actor, Part::Users, move |tx| {
        Box::pin(async move {
            let user = find(tx, &name).await?;
            if second_factors::remove(tx, user.id).await? {
                users::end_sessions(tx, user.id, "second factor removed").await?;
                tx.audit(Entry::done("user.second_factor.remove", user.id));
            }
            Ok::<_, ApiError>(())
        })
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}
