//! From a listener to served connections: who is let in, how long one may wait, and how all of them end.

pub mod activity;
mod places;
mod watched;

pub use places::Standing;
pub use watched::is_too_slow;

use crate::clock::Clock;
use crate::http::client_address::{Encrypted, TrustedProxies};
use crate::http::entrance::{Entrance, Link};
use crate::http::limits::Limits;
use crate::http::tls::Certificates;
use crate::telemetry::HTTP_CONNECTIONS_ENDED;
use activity::{Activity, Verdict};
use axum::Router;
use axum::extract::Request;
use axum::http::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use places::{Place, Places};
use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service as _;
use watched::{AnswerBody, PacedBody, Serving, Watched};

/// Largest piece of a body read or answer written at once.
const BUFFER: usize = 128 << 10;
/// Rest after the machine had nothing left for another connection.
const BREATH: Duration = Duration::from_millis(50);
/// Time between two complaints about that.
const COMPLAINT: Duration = Duration::from_secs(10);
/// Whole life of a connection that came when every place was busy.
const SPARE_LIFE: Duration = Duration::from_secs(5);
/// Longest and shortest time between two looks at a connection.
const LOOK: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// How a request came here; an extension of every request that came over a connection.
#[derive(Debug, Clone, Default)]
pub struct Arrival {
    /// The address of the client; none for the owner's socket.
    pub client: Option<IpAddr>,
    /// Whether the client's own connection is encrypted.
    pub encrypted: Encrypted,
    /// How its connection stands to the limits.
    pub standing: Standing,
    /// What its connection is doing.
    pub activity: Option<Arc<Activity>>,
}

/// What the connections of an entrance share.
#[derive(Debug, Clone)]
pub struct Connections {
    clock: Clock,
    limits: Arc<Limits>,
    proxies: Arc<TrustedProxies>,
    places: Arc<Places>,
    certificates: Option<Arc<Certificates>>,
    /// Time between two looks at a connection.
    look: Duration,
}

impl Connections {
    /// No connections yet.
    pub fn new(clock: Clock, limits: Limits, proxies: TrustedProxies) -> Self {
        let places =
            Arc::new(Places::new(limits.connections, limits.connections_per_address, proxies.clone()));
        let shortest = limits.head.min(limits.keep_alive).min(limits.pace_window);
        let look = (shortest / 4).clamp(LOOK.0, LOOK.1);
        let (limits, proxies) = (Arc::new(limits), Arc::new(proxies));
        Self { clock, limits, proxies, places, certificates: None, look }
    }

    /// The same, with TLS on what comes over the network.
    #[must_use]
    pub fn encrypted(self, certificates: Option<Arc<Certificates>>) -> Self {
        Self { certificates, ..self }
    }

    /// Lets connections in until `stop` is cancelled, then returns when each has answered what it was asked. Dropped
    /// before that, it ends them.
    pub async fn serve(&self, entrance: Entrance, router: Router, stop: CancellationToken) {
        let tracker = TaskTracker::new();
        let over = CancellationToken::new();
        let _ending = over.clone().drop_guard();
        let mut complained = None;
        loop {
            let accepted = tokio::select! {
                accepted = entrance.accept() => accepted,
                () = stop.cancelled() => break,
            };
            let (link, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.not_accepted(&error, &mut complained).await;
                    continue;
                }
            };
            let activity = Arc::new(Activity::new(self.clock.clone()));
            let place = match peer.map(|peer| self.places.take(peer, &activity)) {
                Some(None) => continue,
                Some(place) => place,
                None => None,
            };
            let visit = Visit { shared: self.clone(), peer, activity, place };
            let (router, stop, over) = (router.clone(), stop.clone(), over.clone());
            tracker.spawn(async move {
                tokio::select! {
                    () = visit.run(link, router, stop) => {}
                    () = over.cancelled() => {}
                }
            });
        }
        drop(entrance);
        tracker.close();
        tracker.wait().await;
    }

    /// What one client did wrong concerns nobody else; what the machine lacks is waited for.
    async fn not_accepted(&self, error: &io::Error, complained: &mut Option<Duration>) {
        if matches!(
            error.kind(),
            io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionRefused
        ) {
            return;
        }
        let now = self.clock.elapsed();
        if complained.is_none_or(|last| now.saturating_sub(last) >= COMPLAINT) {
            *complained = Some(now);
            tracing::error!(%error, "no connection can be accepted; idle ones are ended");
        }
        self.places.shrink();
        sleep(BREATH).await;
    }
}

/// Counts a connection that was ended for the sake of others.
fn ended(reason: &'static str) {
    metrics::counter!(HTTP_CONNECTIONS_ENDED, "reason" => reason).increment(1);
}

/// One connection, from its acceptance to its end.
struct Visit {
    shared: Connections,
    peer: Option<IpAddr>,
    activity: Arc<Activity>,
    place: Option<Place>,
}

impl Visit {
    fn standing(&self) -> Standing {
        self.place.as_ref().map_or(Standing::Guest, |place| place.standing)
    }

    async fn run(self, link: Link, router: Router, stop: CancellationToken) {
        if self.standing() == Standing::Spare {
            // Beyond that time it is no short question.
            if timeout(SPARE_LIFE, self.talk(link, router, stop)).await.is_err() {
                tracing::debug!("a connection beyond the limits took too long");
            }
            return;
        }
        self.talk(link, router, stop).await;
    }

    /// The connection once it has something to say, encrypted if it is to be.
    async fn greeted(&self, link: Link, stop: &CancellationToken) -> Option<Link> {
        // Until it says something, a connection costs next to nothing.
        let ready = tokio::select! {
            ready = timeout(self.shared.limits.first_byte, link.spoken()) => ready,
            () = self.activity.sent_away() => {
                ended("full");
                return None;
            }
            () = stop.cancelled() => return None,
        };
        if ready.is_err() {
            ended("idle");
        }
        ready.ok()?.ok()?;
        let (Some(certificates), Some(_)) = (&self.shared.certificates, self.peer) else { return Some(link) };
        let acceptor = certificates.acceptor();
        let Ok(shaken) = timeout(self.shared.limits.head, link.encrypted(&acceptor)).await else {
            ended("idle");
            return None;
        };
        match shaken {
            Ok(link) => Some(link),
            Err(error) => {
                tracing::debug!(%error, "no TLS connection came about");
                None
            }
        }
    }

    async fn talk(&self, link: Link, router: Router, stop: CancellationToken) {
        let Some(link) = self.greeted(link, &stop).await else { return };
        let over_tls = Encrypted(matches!(link, Link::Tls(_)));
        let io = TokioIo::new(Watched::new(link, Arc::clone(&self.activity)));
        let answering = service_fn(|request| self.answer(router.clone(), request, over_tls));
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            // The time of a head is measured here, together with all other times.
            .header_read_timeout(None)
            .max_header_size(self.shared.limits.head_bytes)
            .max_buf_size(BUFFER)
            .keep_alive(self.standing() == Standing::Guest);
        let mut connection = pin!(builder.serve_connection(io, answering).with_upgrades());
        let mut stopping = false;
        let mut refused = false;
        loop {
            tokio::select! {
                over = connection.as_mut() => {
                    if let Err(error) = over {
                        tracing::debug!(%error, "a connection broke off");
                    }
                    return;
                }
                () = stop.cancelled(), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = self.activity.sent_away() => {
                    if self.activity.idle_since().is_some() {
                        return ended("full");
                    }
                }
                () = sleep(self.shared.look) => match self.activity.verdict(&self.shared.limits) {
                    Verdict::Fine => refused = false,
                    Verdict::Idle => return ended("idle"),
                    Verdict::SlowAnswer => {
                        self.activity.cut_off();
                        return ended("slow_answer");
                    }
                    Verdict::SlowBody if refused => return,
                    Verdict::SlowBody => {
                        ended("slow_body");
                        refused = true;
                        self.activity.refuse_body();
                    }
                },
            }
        }
    }

    async fn answer(
        &self,
        mut router: Router,
        request: hyper::Request<Incoming>,
        over_tls: Encrypted,
    ) -> Result<Response<AnswerBody>, Infallible> {
        let serving = Serving::begin(&self.activity, self.shared.limits.body_rate);
        let mut request: Request = request.map(|body| PacedBody::of(body, &self.activity));
        let proxies = &self.shared.proxies;
        let client = self.peer.map(|peer| proxies.client(peer, request.headers()));
        let encrypted =
            over_tls.0 || self.peer.is_some_and(|peer| proxies.client_is_encrypted(peer, request.headers()));
        request.extensions_mut().insert(Arrival {
            client,
            encrypted: Encrypted(encrypted),
            standing: self.standing(),
            activity: Some(Arc::clone(&self.activity)),
        });
        let answer = router.call(request).await?;
        Ok(answer.map(|body| AnswerBody::new(body, serving)))
    }
}
