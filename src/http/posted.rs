//! A request with a body, and creating something from it at most once.

use crate::domain::audit::Actor;
use crate::domain::hexadecimal::hex;
use crate::http::AppState;
use crate::http::digest::sha256;
use crate::http::error::{ApiError, Code};
use crate::http::query::Query;
use crate::http::recheck::Admitted;
use crate::storage::database::Tx;
use crate::storage::error::StorageError;
use crate::storage::idempotency::{self, KeptAnswer, KeyedRequest};
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// The header of an idempotency key.
static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Longest idempotency key.
const KEY_MAX: usize = 255;
/// Largest body that is hashed on a thread that answers.
const HASHED_HERE: usize = 1 << 20;

/// A JSON body with what idempotency needs to know of its request.
#[derive(Debug)]
pub struct Posted {
    /// The body.
    pub bytes: Bytes,
    /// Its headers.
    pub headers: HeaderMap,
    /// Method and path, if a key came with it.
    route: String,
    query: Option<String>,
    key: Option<String>,
}

impl FromRequest<AppState> for Posted {
    type Rejection = ApiError;

    async fn from_request(mut request: Request, app: &AppState) -> Result<Self, ApiError> {
        let headers = std::mem::take(request.headers_mut());
        let key = idempotency_key(&headers)?;
        let route = match key {
            Some(_) => format!("{} {}", request.method(), request.uri().path()),
            None => String::new(),
        };
        let query = request.uri().query().filter(|query| !query.is_empty()).map(str::to_owned);
        let path = matched(&request).unwrap_or_default();
        let (rows, file) = (ROWS.contains(&path), FILES.contains(&path));
        if !OLD_ROUTES.contains(&path) && !rows && !file {
            Query::of_uri(request.uri()).finish()?;
        }
        let admitted = request.extensions().get::<Admitted>().cloned().unwrap_or_default();
        let bytes = body_bytes(Bytes::from_request(request, app).await)?;
        // A body may come for as long as its limits let it.
        admitted.check(app)?;
        let known = is_json(&headers) || file || (rows && (is_csv(&headers) || is_ndjson(&headers)));
        if !bytes.is_empty() && !known {
            return Err(ApiError::new(
                Code::UnsupportedMediaType,
                "this route takes JSON; send `Content-Type: application/json`",
            ));
        }
        let bytes = if file { bytes } else { quote_non_numbers(bytes) };
        Ok(Self { bytes, headers, route, query, key })
    }
}

/// The earlier service passed over query parameters on its routes; here nothing else does.
const OLD_ROUTES: [&str; 5] =
    ["/markets", "/assets", "/prices", "/portfolios", "/portfolios/{portfolio}/positions"];

/// Routes that read their parameters themselves, and take a table or lines as well.
const ROWS: [&str; 2] = ["/prices/batch", "/ingest/queue"];

/// Routes that read their parameters themselves, and take a file of whatever type it is called.
const FILES: [&str; 1] = ["/prices/import"];

/// Media types of lines of JSON.
const LINES: [&str; 4] =
    ["application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"];

fn matched(request: &Request) -> Option<&str> {
    request.extensions().get::<MatchedPath>().map(MatchedPath::as_str)
}

/// Puts bare `NaN` and `Infinity` into quotes. They are not JSON, but clients write them all the same; as strings
/// they are refused at the field they stand in.
fn quote_non_numbers(bytes: Bytes) -> Bytes {
    const NAMES: [&[u8]; 3] = [b"NaN", b"Infinity", b"-Infinity"];
    if !bytes.windows(3).any(|part| part == b"NaN" || part == b"Inf") {
        return bytes;
    }
    let (mut out, mut rest, mut quoted) = (Vec::with_capacity(bytes.len() + 16), &bytes[..], false);
    while let Some((first, after)) = rest.split_first() {
        if let Some(name) = NAMES.iter().find(|name| !quoted && rest.starts_with(name)) {
            out.push(b'"');
            out.extend_from_slice(name);
            out.push(b'"');
            rest = rest.get(name.len()..).unwrap_or_default();
            continue;
        }
        out.push(*first);
        rest = after;
        match (*first, after.split_first()) {
            (b'\\', Some((escaped, beyond))) if quoted => {
                out.push(*escaped);
                rest = beyond;
            }
            (b'"', _) => quoted = !quoted,
            _ => {}
        }
    }
    Bytes::from(out)
}

/// The body, or why it could not be taken.
///
/// # Errors
/// [`Code::BodyTooLarge`], or [`Code::MalformedJson`] for a body that broke off.
pub fn body_bytes(body: Result<Bytes, BytesRejection>) -> Result<Bytes, ApiError> {
    body.map_err(|rejection| {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            ApiError::new(Code::BodyTooLarge, "the body is larger than this route takes")
        } else {
            ApiError::new(Code::MalformedJson, "the body could not be read")
        }
    })
}

/// The type of a body, without its parameters, in lower case.
pub fn media_type(headers: &HeaderMap) -> String {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Whether a body is a table.
pub fn is_csv(headers: &HeaderMap) -> bool {
    media_type(headers) == "text/csv"
}

/// Whether a body is lines of JSON.
pub fn is_ndjson(headers: &HeaderMap) -> bool {
    LINES.contains(&media_type(headers).as_str())
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = media_type(headers);
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get(&IDEMPOTENCY_KEY) else { return Ok(None) };
    let key = value.to_str().unwrap_or_default().trim();
    let key = key.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).unwrap_or(key);
    if key.is_empty() || key.len() > KEY_MAX {
        let detail = format!("Idempotency-Key must have 1 to {KEY_MAX} visible characters");
        return Err(ApiError::new(Code::InvalidRequest, detail));
    }
    Ok(Some(key.to_owned()))
}

/// What keeps a request with an `Idempotency-Key` from being done twice; its hash is left empty.
///
/// # Errors
/// [`Code::InvalidRequest`] for a key that is none.
pub fn keyed(headers: &HeaderMap, actor: &str, route: &str) -> Result<Option<KeyedRequest>, ApiError> {
    let key = idempotency_key(headers)?;
    Ok(key.map(|key| KeyedRequest {
        actor: actor.to_owned(),
        route: route.to_owned(),
        key: sha256(key.as_bytes()),
        request_hash: String::new(),
    }))
}

/// An answer that can be kept and given again.
#[derive(Debug, Clone)]
pub struct Answer {
    status: StatusCode,
    location: Option<String>,
    body: String,
    replayed: bool,
}

impl Answer {
    /// 200 with a body.
    ///
    /// # Errors
    /// [`Code::Internal`] for a body that is no JSON.
    pub fn ok<T: Serialize>(body: &T) -> Result<Self, ApiError> {
        Self::new(StatusCode::OK, None, body)
    }

    /// 201 with a body and where the new thing is.
    ///
    /// # Errors
    /// [`Code::Internal`] for a body that is no JSON.
    pub fn created<T: Serialize>(location: String, body: &T) -> Result<Self, ApiError> {
        Self::new(StatusCode::CREATED, Some(location), body)
    }

    /// 202 with a body and where to ask what has become of it.
    ///
    /// # Errors
    /// [`Code::Internal`] for a body that is no JSON.
    pub fn accepted<T: Serialize>(location: String, body: &T) -> Result<Self, ApiError> {
        Self::new(StatusCode::ACCEPTED, Some(location), body)
    }

    fn new<T: Serialize>(status: StatusCode, location: Option<String>, body: &T) -> Result<Self, ApiError> {
        let body = serde_json::to_string(body).map_err(|error| {
            tracing::error!(%error, "an answer could not be written");
            ApiError::new(Code::Internal, "the service failed")
        })?;
        Ok(Self { status, location, body, replayed: false })
    }
}

impl Answer {
    /// Whether it was kept, and nothing was done this time.
    pub const fn is_replayed(&self) -> bool {
        self.replayed
    }

    /// The same with one field of its body set to what is known since.
    ///
    /// # Errors
    /// [`Code::Internal`] for a value that is no JSON.
    pub fn with<T: Serialize>(self, name: &str, value: &T) -> Result<Self, ApiError> {
        let mut body: Map<String, Value> = serde_json::from_str(&self.body).unwrap_or_default();
        let value = serde_json::to_value(value);
        body.insert(name.to_owned(), value.map_err(|_| ApiError::new(Code::Internal, "the service failed"))?);
        Ok(Self { body: Value::Object(body).to_string(), ..self })
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(location) = self.location.and_then(|path| HeaderValue::from_str(&path).ok()) {
            headers.insert(header::LOCATION, location);
        }
        if self.replayed {
            headers.insert("idempotency-replayed", HeaderValue::from_static("true"));
        }
        (self.status, headers, self.body).into_response()
    }
}

/// Marks a closure as what [`Posted::once`] takes, so that it may be written ahead of the call.
pub fn deed<F>(work: F) -> F
where
    F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<Answer, ApiError>> + Send + 'static,
{
    work
}

impl Posted {
    /// What is asked for under an idempotency key, if there is one.
    async fn keyed(self, actor: &Actor) -> Result<Option<KeyedRequest>, ApiError> {
        let Some(key) = self.key else { return Ok(None) };
        let request_hash = hash_of(self.query, self.bytes).await?;
        let (actor, key) = (actor.name.clone(), sha256(key.as_bytes()));
        Ok(Some(KeyedRequest { actor, route: self.route, key, request_hash }))
    }

    /// The same of a deed whose answer holds a secret.
    ///
    /// # Errors
    /// [`Code::Internal`] when its hash could not be made.
    pub async fn shown_once(self, actor: &Actor) -> Result<ShownOnce, ApiError> {
        self.keyed(actor).await.map(ShownOnce)
    }

    /// Does `work` in one commit. With an idempotency key its answer is kept in that commit; a request that repeats
    /// the key gets the kept answer and does nothing. A refusal keeps nothing.
    ///
    /// # Errors
    /// The refusal of `work`, or [`Code::IdempotencyMismatch`] when the key came with another body.
    pub async fn once<F>(
        self,
        app: &AppState,
        actor: impl Into<Arc<Actor>>,
        work: F,
    ) -> Result<Answer, ApiError>
    where
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<Answer, ApiError>> + Send + 'static,
    {
        self.once_at_once(app, actor, |_: &mut Tx| None, work).await
    }

    /// The same, but a request without an idempotency key first tries `at_once` in place of `work`: see
    /// [`WriterHandle::write_at_once`](crate::storage::writer::WriterHandle::write_at_once).
    ///
    /// # Errors
    /// Those of [`Self::once`].
    pub async fn once_at_once<Q, F>(
        self,
        app: &AppState,
        actor: impl Into<Arc<Actor>>,
        at_once: Q,
        work: F,
    ) -> Result<Answer, ApiError>
    where
        Q: FnOnce(&mut Tx) -> Option<Result<Answer, ApiError>> + Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<Answer, ApiError>> + Send + 'static,
    {
        let actor = actor.into();
        let Some(request) = self.keyed(&actor).await? else {
            return app.db.writer().write_at_once(actor, at_once, work).await;
        };
        app.db
            .writer()
            .write(actor, move |tx| {
                Box::pin(async move {
                    if let Some(kept) = idempotency::find(tx, &request).await? {
                        return replay(kept, &request);
                    }
                    let answer = work(tx).await?;
                    let kept = KeptAnswer {
                        request_hash: request.request_hash.clone(),
                        status: i64::from(answer.status.as_u16()),
                        location: answer.location.clone(),
                        body: answer.body.clone(),
                    };
                    idempotency::keep(tx, &request, &kept).await?;
                    Ok(answer)
                })
            })
            .await
    }
}

/// What makes a deed whose answer holds a secret happen once: its idempotency key is kept with what was made, and no answer.
#[derive(Debug)]
pub struct ShownOnce(Option<KeyedRequest>);

impl ShownOnce {
    /// To be asked in the commit of the deed, before it.
    ///
    /// # Errors
    /// [`Code::ShownOnce`] when it was done, [`Code::IdempotencyMismatch`] when the key came with another body.
    pub async fn begin(&self, tx: &mut Tx) -> Result<(), ApiError> {
        let Some(request) = &self.0 else { return Ok(()) };
        let Some(kept) = idempotency::find(tx, request).await? else { return Ok(()) };
        let made = replay(kept, request)?.body;
        let detail = format!("this Idempotency-Key has made {made}, whose secret was shown once");
        Err(ApiError::new(Code::ShownOnce, detail))
    }

    /// Keeps what was made, in the same commit.
    ///
    /// # Errors
    /// The database's.
    pub async fn done(self, tx: &mut Tx, made: &str) -> Result<(), StorageError> {
        let Some(request) = self.0 else { return Ok(()) };
        let kept = KeptAnswer {
            request_hash: request.request_hash.clone(),
            status: i64::from(StatusCode::CREATED.as_u16()),
            location: None,
            body: made.to_owned(),
        };
        idempotency::keep(tx, &request, &kept).await
    }
}

/// Hash of what is asked for: the parameters, if there are any, and the body.
async fn hash_of(query: Option<String>, body: Bytes) -> Result<String, ApiError> {
    let small = body.len() <= HASHED_HERE;
    let hash = move || {
        let mut hash = Sha256::new();
        if let Some(query) = query {
            hash.update(query);
            hash.update([0]);
        }
        hash.update(&body);
        hex(&hash.finalize())
    };
    if small {
        return Ok(hash());
    }
    tokio::task::spawn_blocking(hash).await.map_err(|_| ApiError::new(Code::Internal, "the service failed"))
}

fn replay(kept: KeptAnswer, request: &KeyedRequest) -> Result<Answer, ApiError> {
    if kept.request_hash != request.request_hash {
        return Err(ApiError::new(
            Code::IdempotencyMismatch,
            "this Idempotency-Key was used for another request within the last 24 hours",
        ));
    }
    let status = u16::try_from(kept.status).ok().and_then(|status| StatusCode::from_u16(status).ok());
    Ok(Answer {
        status: status.unwrap_or(StatusCode::OK),
        location: kept.location,
        body: kept.body,
        replayed: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_none_are_quoted_and_json_is_left_as_it_is() {
        let quoted = |body: &'static [u8]| quote_non_numbers(Bytes::from_static(body));
        assert_eq!(
            &quoted(b"{\"a\":NaN,\"b\":[-Infinity,Infinity]}")[..],
            b"{\"a\":\"NaN\",\"b\":[\"-Infinity\",\"Infinity\"]}"
        );
        let bodies =
            [r#"{"note":"NaN is \"Infinity\" \\","price":1.5,"list":["-Infinity"]}"#, r#"{"price":NaN}"#];
        crate::domain::hammer::hammer(&bodies, |body| {
            let after = quote_non_numbers(Bytes::copy_from_slice(body));
            if serde_json::from_slice::<Value>(body).is_ok() {
                assert_eq!(after, body);
            }
        });
    }
}
