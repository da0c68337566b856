//! How a command reaches the data: through the socket of a running service, or by opening the data itself. Both
//! ways lead to the same router.

use crate::app::{App, SOCKET};
use crate::cli::Failure;
use crate::config::Config;
use crate::http::auth::{Access, Door};
use crate::http::router;
use crate::storage::sealing::Effort;
use crate::workers::file_place::{flag, in_flags};
use crate::workers::sealing;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// A way to the router.
pub enum Client {
    /// A service is running; this is its socket.
    Running(std::path::PathBuf),
    /// None is; the data is opened here.
    Here(Box<Here>),
}

/// Data that was opened here.
pub struct Here {
    app: App,
    router: Router,
    /// What posts prices on meanwhile.
    posting: Option<(CancellationToken, JoinHandle<()>)>,
}

impl Here {
    /// The data as it is opened; what posts prices on is begun, if they are.
    pub fn new(app: App) -> Self {
        let stop = CancellationToken::new();
        let posting = app.posting(&stop).map(|task| (stop, task));
        let router = router::service(&app.state, Door::Owner);
        Self { app, router, posting }
    }
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its body as JSON; `null` when it has none.
    pub body: Value,
    /// Path and query of the next page of a list.
    pub next: Option<String>,
}

impl Reply {
    /// The body of a success; a failure becomes its problem document's sentence.
    ///
    /// # Errors
    /// [`Failure`] with that sentence.
    pub fn success(self) -> Result<Value, Failure> {
        if self.status.is_success() {
            return Ok(self.body);
        }
        Err(Failure::failed(self.sentence()))
    }

    /// As [`Reply::success`], for a command whose flags are the parameters of the request.
    pub fn success_in_flags(self) -> Result<Value, Failure> {
        if self.status.is_success() {
            return Ok(self.body);
        }
        Err(Failure::failed(self.sentence_in_flags()))
    }

    /// What a problem document says, in the words of the command line: no parameter, but the flag that stands for it.
    fn sentence_in_flags(&self) -> String {
        let said = |of: &Value, name: &str| of.get(name).and_then(Value::as_str).map(str::to_owned);
        let faults = self.body.get("errors").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let detail = said(&self.body, "detail").unwrap_or_else(|| "the request failed".to_owned());
        let (mut lines, mut repeated) = (Vec::new(), Vec::new());
        for fault in faults {
            let what = said(fault, "detail").unwrap_or_default();
            let parameter = said(fault, "parameter");
            let place = said(fault, "pointer").or_else(|| parameter.clone()).unwrap_or_default();
            repeated.push(format!("{place} {what}"));
            // The fault of a whole file is told once.
            if what != detail {
                let place = parameter.map_or(place, |name| flag(&name));
                lines.push(format!("{place}: {what}"));
            }
        }
        // Faults of fields are told once, too: the sentence is made of them.
        if detail != repeated.join("; ") {
            lines.insert(0, detail);
        }
        in_flags(&lines.join("\n  "))
    }

    /// What a problem document says, with the fields at fault.
    pub fn sentence(&self) -> String {
        let detail =
            self.body.get("detail").and_then(Value::as_str).unwrap_or("the request failed").to_owned();
        let lines = self.body.get("errors").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        lines.iter().fold(detail, |text, line| {
            let said = |name: &str| line.get(name).and_then(Value::as_str);
            let place = said("pointer").or_else(|| said("parameter")).unwrap_or_default();
            format!("{text}\n  {place}: {}", said("detail").unwrap_or_default())
        })
    }
}

/// The next page a `Link` header leads to.
fn next_page(headers: &HeaderMap) -> Option<String> {
    let link = headers.get(header::LINK)?.to_str().ok()?;
    Some(link.strip_prefix('<')?.strip_suffix(">; rel=\"next\"")?.to_owned())
}

impl Client {
    /// Finds the running service of a data directory, or opens the data.
    ///
    /// # Errors
    /// When the data can be reached in neither way.
    pub async fn connect(config: &Config) -> Result<Self, Failure> {
        let socket = config.data.value.join(SOCKET);
        if UnixStream::connect(&socket).await.is_ok() {
            return Ok(Self::Running(socket));
        }
        let app = crate::cli::open(config, Access::Keys).await?;
        Ok(Self::Here(Box::new(Here::new(app))))
    }

    /// Sends a request with a body of the given type.
    ///
    /// # Errors
    /// When no answer comes back.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, Vec<u8>)>,
    ) -> Result<Reply, Failure> {
        let (status, next, body) = self.request(method, path, body).await?;
        let bytes = body.collect().await.map_err(Failure::other)?.to_bytes();
        let body = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes).map_err(Failure::other)?
        };
        Ok(Reply { status, body, next })
    }

    /// Sends a request; the body of the answer is still to be read.
    async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, Vec<u8>)>,
    ) -> Result<(StatusCode, Option<String>, Body), Failure> {
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
        let bytes = match body {
            Some((kind, bytes)) => {
                request = request.header(header::CONTENT_TYPE, kind);
                bytes
            }
            None => Vec::new(),
        };
        let request = request.body(Body::from(bytes)).map_err(|error| Failure::failed(error.to_string()))?;
        match self {
            Self::Here(here) => {
                let response =
                    here.router.clone().oneshot(request).await.unwrap_or_else(|never| match never {});
                Ok((response.status(), next_page(response.headers()), response.into_body()))
            }
            Self::Running(socket) => {
                let stream = UnixStream::connect(socket).await.map_err(Failure::other)?;
                let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
                    .await
                    .map_err(Failure::other)?;
                tokio::spawn(connection);
                let response = sender.send_request(request).await.map_err(Failure::other)?;
                Ok((response.status(), next_page(response.headers()), Body::new(response.into_body())))
            }
        }
    }

    /// Writes the answer to a GET as it comes, and returns its length in bytes.
    ///
    /// # Errors
    /// A failure's sentence, an answer that breaks off, a place that cannot be written to.
    pub async fn download(&self, path: &str, out: &mut impl std::io::Write) -> Result<u64, Failure> {
        let (status, next, mut body) = self.request(Method::GET, path, None).await?;
        if !status.is_success() {
            let bytes = body.collect().await.map_err(Failure::other)?.to_bytes();
            let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
            return Err(Failure::failed(Reply { status, body, next }.sentence()));
        }
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            let broken = |error| Failure::failed(format!("the answer broke off: {error}"));
            if let Ok(bytes) = frame.map_err(broken)?.into_data() {
                out.write_all(&bytes)?;
                length += u64::try_from(bytes.len()).unwrap_or_default();
            }
        }
        out.flush()?;
        Ok(length)
    }

    /// Reads a path.
    ///
    /// # Errors
    /// A failure's sentence.
    pub async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.send(Method::GET, path, None).await?.success()
    }

    /// Posts a JSON body.
    ///
    /// # Errors
    /// When no answer comes back.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Reply, Failure> {
        let bytes = serde_json::to_vec(body).map_err(Failure::other)?;
        self.send(Method::POST, path, Some(("application/json", bytes))).await
    }

    /// Closes the data, if it was opened here.
    pub async fn close(self) {
        if let Self::Here(here) = self {
            let Here { app, posting, .. } = *here;
            if let Some((stop, task)) = posting {
                stop.cancel();
                task.await.unwrap_or_default();
            }
            // No service is there to do it later.
            if let Err(error) = sealing::finish(&app.state.db, Effort::Routine).await {
                tracing::warn!(%error, "prices were not sealed");
            }
            if let Err(error) = app.state.trail.anchor(&app.state.db, app.state.clock.now()).await {
                tracing::warn!(%error, "the audit trail was not anchored");
            }
            app.state.db.close().await;
        }
    }
}
