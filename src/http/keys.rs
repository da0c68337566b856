//! API keys: making one. It is shown in this answer and never again.

use crate::http::AppState;
use crate::http::auth::{ADMIN, Admin, Caller, new_key};
use crate::http::error::ApiError;
use crate::http::fields::{Fields, Unknown};
use crate::http::posted::Posted;
use crate::http::wire::Time;
use crate::storage::access;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// A key to make.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the shape of the request; fields are read one by one to collect every fault")]
pub struct NewKey {
    #[schema(example = "desk")]
    name: String,
    /// Must be true: keys of less power come with their scopes.
    #[schema(example = true)]
    admin: bool,
}

/// A key just made.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyCreated {
    #[schema(example = true)]
    success: bool,
    /// Its public part.
    #[schema(example = "8f14e45fceea")]
    id: String,
    #[schema(example = "desk")]
    name: String,
    /// The key itself, shown once.
    #[schema(example = "art_8f14e45fceea_...", pattern = "^art_")]
    key: String,
    created_at: Time,
}

/// Make an API key
#[utoipa::path(post, path = "/keys", operation_id = "create_key", tag = "operations", request_body = NewKey,
    responses((status = 201, description = "Made; the key is shown once", body = KeyCreated)))]
pub async fn create_key(
    State(app): State<AppState>,
    caller: Caller<Admin>,
    posted: Posted,
) -> Result<Response, ApiError> {
    let mut fields = Fields::of_body(&posted.bytes)?;
    let name = fields.text("name", 64);
    if fields.opt_bool("admin") != Some(true) {
        fields.fault("admin", "required", "must be true");
    }
    fields.finish(Unknown::Refused)?;
    let now = app.clock.now();
    let (key, kept) = new_key(app.random, now, &name, ADMIN)?;
    let id = kept.prefix.clone();
    let keep = app.db.writer().write(caller.actor, move |tx| {
        Box::pin(async move {
            access::insert_key(tx, &kept).await?;
            tx.audit(access::told(&kept));
            Ok::<_, ApiError>(())
        })
    });
    keep.await?;
    let body = KeyCreated { success: true, id, name, key, created_at: Time(now) };
    let headers = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((StatusCode::CREATED, headers, Json(body)).into_response())
}
