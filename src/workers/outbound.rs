//! The one way out: every request and WebSocket to another machine goes through [`Outbound`].
//!
//! An address is judged when a connection is made to it, not when its URL is read: names are resolved by `Guard`, and
//! a connection goes to no other address than one it let through. So neither an odd spelling nor a name that resolves
//! differently the second time, nor a redirect, reaches what is out of reach. No proxy is used, which would resolve
//! names itself. Nothing of a URL but scheme, host, port and path is ever shown.

pub mod address;
pub mod authorities;
#[cfg(test)]
pub(crate) mod canary;
pub mod target;

use address::{Forbidden, Reach};
use authorities::Authorities;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Client, ClientBuilder, Method, Response, StatusCode};
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use target::Target;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async_tls_with_config};

/// Redirects followed on one host.
const REDIRECTS_MAX: usize = 5;
/// Longest time to make a connection.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// What requests call themselves.
const USER_AGENT: &str = concat!("artifact/", env!("CARGO_PKG_VERSION"));

/// An open WebSocket.
pub type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A request to be sent.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// How.
    pub method: Method,
    /// Where to.
    pub target: Target,
    /// Headers; secrets in them should be marked sensitive ([`secret`]).
    pub headers: HeaderMap,
    /// Its body; empty is none.
    pub body: Vec<u8>,
    /// Longest time from the connection to the last byte of the answer.
    pub time_max: Duration,
    /// Most bytes of the answer's body, decompressed; for a WebSocket, of one message.
    pub body_max: usize,
}

impl Outgoing {
    /// A GET without headers.
    pub fn get(target: Target, time_max: Duration, body_max: usize) -> Self {
        let (headers, body) = (HeaderMap::new(), Vec::new());
        Self { method: Method::GET, target, headers, body, time_max, body_max }
    }
}

/// A header value that is never shown.
///
/// # Errors
/// When it has characters no header may have.
pub fn secret(value: &str) -> Result<HeaderValue, reqwest::header::InvalidHeaderValue> {
    let mut value = HeaderValue::from_str(value)?;
    value.set_sensitive(true);
    Ok(value)
}

/// An answer, of any status.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, decompressed.
    pub body: Vec<u8>,
}

impl Incoming {
    /// How long it asks to wait, at the moment `now` of Unix time: `Retry-After` in seconds or as a date.
    pub fn retry_after(&self, now: i64) -> Option<Duration> {
        retry_after(&self.headers, now)
    }
}

/// How long headers ask to wait at `now`, in seconds of Unix time.
pub fn retry_after(headers: &HeaderMap, now: i64) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = chrono::DateTime::parse_from_rfc2822(text).ok()?.timestamp();
    Some(Duration::from_secs(u64::try_from(at.saturating_sub(now)).unwrap_or_default()))
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// The place is out of reach; nothing was sent.
    #[error("{place}: {forbidden}")]
    Forbidden {
        /// Where to.
        place: Target,
        /// The address at fault.
        forbidden: Forbidden,
    },
    /// The answer leads elsewhere.
    #[error("{place} redirects to another place, or too often; redirects stay on one host")]
    Redirected {
        /// Where from.
        place: Target,
    },
    /// No whole answer in time.
    #[error("{place} did not answer within {time_max:?}")]
    Late {
        /// Where to.
        place: Target,
        /// The limit.
        time_max: Duration,
    },
    /// More than was asked for.
    #[error("{place} answered with more than {body_max} bytes")]
    TooLong {
        /// Where to.
        place: Target,
        /// The limit.
        body_max: usize,
    },
    /// A WebSocket was refused by an answer of HTTP.
    #[error("{place} answered {status} instead of opening a WebSocket")]
    NoSocket {
        /// Where to.
        place: Target,
        /// The status.
        status: StatusCode,
        /// How long it asks to wait: the headers of its answer.
        headers: Box<HeaderMap>,
    },
    /// Not connected; nothing was sent.
    #[error("{place}: {reason}")]
    Unreachable {
        /// Where to.
        place: Target,
        /// What happened.
        reason: String,
    },
    /// Broken off.
    #[error("{place}: {reason}")]
    Broken {
        /// Where to.
        place: Target,
        /// What happened.
        reason: String,
    },
    /// A WebSocket was asked of an address of HTTP, or the other way round.
    #[error("{place} has the wrong scheme")]
    WrongScheme {
        /// Where to.
        place: Target,
    },
}

/// An error with everything that caused it. What `reqwest` says of the URL is taken out before.
fn reason(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// The address at fault, when an error came from there.
fn forbidden(error: &(dyn Error + 'static)) -> Option<Forbidden> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(found) = cause.downcast_ref::<Forbidden>() {
            return Some(*found);
        }
        next = cause.source();
    }
    None
}

/// Resolves names, and lets through those that lie within reach with all their addresses.
#[derive(Clone)]
struct Guard {
    names: Arc<dyn Resolve>,
    reach: Reach,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let (resolving, reach) = (self.names.resolve(name), self.reach);
        Box::pin(async move {
            let found: Vec<SocketAddr> = resolving.await?.collect();
            for address in &found {
                reach.judge(address.ip())?;
            }
            let found: Addrs = Box::new(found.into_iter());
            Ok(found)
        })
    }
}

/// The names as the machine resolves them.
#[derive(Debug)]
struct SystemNames;

impl Resolve for SystemNames {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host, 0)).await?.collect();
            let found: Addrs = Box::new(found.into_iter());
            Ok(found)
        })
    }
}

/// The client: it sends requests and opens sockets within its reach.
#[derive(Clone)]
pub struct Outbound {
    client: Client,
    guard: Guard,
}

impl std::fmt::Debug for Outbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbound").field("reach", &self.guard.reach).finish_non_exhaustive()
    }
}

/// The client cannot be made, because the machine's certificates cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("no requests can be sent: {0}")]
pub struct NoClient(String);

/// A client to be built that follows no redirect and tells nobody where it comes from.
pub fn careful(authorities: &Authorities) -> ClientBuilder {
    authorities
        .given_to(Client::builder())
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .user_agent(USER_AGENT)
        .connect_timeout(CONNECT_MAX)
}

impl Outbound {
    /// A client with this reach that trusts whom the machine trusts.
    ///
    /// # Errors
    /// [`NoClient`] when the machine has no certificates to trust.
    pub fn new(reach: Reach) -> Result<Self, NoClient> {
        Self::trusting(reach, &Authorities::OfMachine)
    }

    /// A client with this reach that trusts these authorities. Its sockets are of feeds, whose services are known to
    /// everybody: they go by the machine's.
    ///
    /// # Errors
    /// The same.
    pub fn trusting(reach: Reach, authorities: &Authorities) -> Result<Self, NoClient> {
        Self::with_names(reach, Arc::new(SystemNames), authorities)
    }

    fn with_names(
        reach: Reach,
        names: Arc<dyn Resolve>,
        authorities: &Authorities,
    ) -> Result<Self, NoClient> {
        let guard = Guard { names, reach };
        let client = careful(authorities)
            .dns_resolver(Arc::new(guard.clone()))
            .no_proxy()
            .pool_idle_timeout(Duration::from_secs(30))
            .build()
            .map_err(|error| NoClient(reason(&error.without_url())))?;
        Ok(Self { client, guard })
    }

    /// Sends a request and reads its answer, of whatever status. A GET follows redirects on its host; any other answer
    /// of 3xx is handed back as it is.
    ///
    /// # Errors
    /// [`OutboundError`]. After any but those that say so the request may have been carried out.
    pub async fn send(&self, outgoing: &Outgoing) -> Result<Incoming, OutboundError> {
        let (place, time_max) = (&outgoing.target, outgoing.time_max);
        let late = |_| OutboundError::Late { place: place.clone(), time_max };
        tokio::time::timeout(time_max, self.exchange(outgoing)).await.map_err(late)?
    }

    async fn exchange(&self, outgoing: &Outgoing) -> Result<Incoming, OutboundError> {
        let mut target = outgoing.target.clone();
        for _ in 0..=REDIRECTS_MAX {
            let response = self.once(outgoing, &target).await?;
            let follows = outgoing.method == Method::GET
                && matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
            let location = response.headers().get(LOCATION).filter(|_| follows);
            let Some(location) = location else { return read(response, outgoing, target).await };
            let next = location.to_str().ok().and_then(|to| target.redirected(to));
            target = next.ok_or(OutboundError::Redirected { place: target })?;
        }
        Err(OutboundError::Redirected { place: target })
    }

    async fn once(&self, outgoing: &Outgoing, target: &Target) -> Result<Response, OutboundError> {
        let place = || target.clone();
        if target.is_web_socket() {
            return Err(OutboundError::WrongScheme { place: place() });
        }
        let reach = self.guard.reach;
        target.within(reach).map_err(|forbidden| OutboundError::Forbidden { place: place(), forbidden })?;
        let mut request = self
            .client
            .request(outgoing.method.clone(), target.url().clone())
            .headers(outgoing.headers.clone());
        if !outgoing.body.is_empty() {
            request = request.body(outgoing.body.clone());
        }
        request.send().await.map_err(|error| failed(error, place()))
    }

    /// Opens a WebSocket. The body of the request is not used.
    ///
    /// # Errors
    /// [`OutboundError`].
    pub async fn web_socket(&self, outgoing: &Outgoing) -> Result<Socket, OutboundError> {
        let (place, time_max) = (&outgoing.target, outgoing.time_max);
        let late = |_| OutboundError::Late { place: place.clone(), time_max };
        tokio::time::timeout(time_max, self.open(outgoing)).await.map_err(late)?
    }

    async fn open(&self, outgoing: &Outgoing) -> Result<Socket, OutboundError> {
        let target = &outgoing.target;
        let broken = |reason: String| OutboundError::Broken { place: target.clone(), reason };
        if !target.is_web_socket() {
            return Err(OutboundError::WrongScheme { place: target.clone() });
        }
        let stream = self.connect(target).await?;
        let mut request =
            target.revealed().into_client_request().map_err(|error| broken(error.to_string()))?;
        for (name, value) in &outgoing.headers {
            request.headers_mut().insert(name, value.clone());
        }
        let config = WebSocketConfig::default()
            .max_message_size(Some(outgoing.body_max))
            .max_frame_size(Some(outgoing.body_max));
        match client_async_tls_with_config(request, stream, Some(config), None).await {
            Ok((socket, _)) => Ok(socket),
            Err(tungstenite::Error::Http(answer)) => Err(OutboundError::NoSocket {
                place: target.clone(),
                status: answer.status(),
                headers: Box::new(answer.headers().clone()),
            }),
            Err(error) => Err(broken(reason(&error))),
        }
    }

    /// Connects to the first address that answers, of those a target stands for.
    async fn connect(&self, target: &Target) -> Result<TcpStream, OutboundError> {
        let place = || target.clone();
        let broken = |reason: String| OutboundError::Unreachable { place: place(), reason };
        let refused = |forbidden| OutboundError::Forbidden { place: place(), forbidden };
        let url = target.url();
        let port = url.port_or_known_default().unwrap_or_default();
        let found: Vec<SocketAddr> = if let Some(address) = target.address() {
            self.guard.reach.judge(address).map_err(refused)?;
            vec![SocketAddr::new(address, port)]
        } else {
            let name: Name = url
                .host_str()
                .unwrap_or_default()
                .parse()
                .map_err(|_| broken("is no name of a host".to_owned()))?;
            let found = self.guard.resolve(name).await.map_err(|error| {
                forbidden(error.as_ref()).map_or_else(|| broken(reason(error.as_ref())), refused)
            })?;
            found.map(|address| SocketAddr::new(address.ip(), port)).collect()
        };
        let mut last = "has no address".to_owned();
        for address in found {
            match tokio::time::timeout(CONNECT_MAX, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    stream.set_nodelay(true).map_err(|error| broken(error.to_string()))?;
                    return Ok(stream);
                }
                Ok(Err(error)) => last = error.to_string(),
                Err(_) => last = format!("no connection within {CONNECT_MAX:?}"),
            }
        }
        Err(broken(last))
    }
}

fn failed(error: reqwest::Error, place: Target) -> OutboundError {
    match forbidden(&error) {
        Some(forbidden) => OutboundError::Forbidden { place, forbidden },
        None if error.is_connect() => {
            OutboundError::Unreachable { place, reason: reason(&error.without_url()) }
        }
        None => OutboundError::Broken { place, reason: reason(&error.without_url()) },
    }
}

/// Reads the body of an answer, up to its limit.
async fn read(mut response: Response, outgoing: &Outgoing, place: Target) -> Result<Incoming, OutboundError> {
    let (status, headers) = (response.status(), response.headers().clone());
    let body_max = outgoing.body_max;
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > body_max => {
                return Err(OutboundError::TooLong { place, body_max });
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(Incoming { status, headers, body }),
            Err(error) => return Err(failed(error, place)),
        }
    }
}

#[cfg(test)]
mod tests;
