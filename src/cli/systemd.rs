//! What a service manager hands over and is told, if one started the process: sockets it opened, readiness, signs of
//! life. Without one nothing here does anything.

use super::Failure;
use crate::storage::database::Database;
use crate::telemetry::journal::{self, Priority};
use listenfd::ListenFd;
use sd_notify::NotifyState;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Name of the socket that shows metrics and health; every other one is the service's.
const METRICS: &str = "metrics";
/// Longest a commit may take before the writer counts as stuck: a large import is one commit.
const COMMIT_MAX: Duration = Duration::from_mins(5);

/// Sockets opened by whoever started this process.
#[derive(Debug, Default)]
pub(super) struct Handed {
    /// The service's own.
    pub(super) service: Option<TcpListener>,
    /// The one of metrics and health.
    pub(super) watch: Option<TcpListener>,
}

/// Takes the sockets that were handed over; `names` is `LISTEN_FDNAMES`, their names between colons.
pub(super) fn handed(names: Option<&str>) -> Result<Handed, Failure> {
    let (mut sockets, mut handed) = (ListenFd::from_env(), Handed::default());
    let names: Vec<&str> = names.map(|names| names.split(':').collect()).unwrap_or_default();
    for index in 0..sockets.len() {
        let wrong = |error| Failure::usage(format!("socket {index} that was handed over: {error}"));
        let Some(socket) = sockets.take_tcp_listener(index).map_err(wrong)? else { continue };
        socket.set_nonblocking(true)?;
        let socket = TcpListener::from_std(socket)?;
        let is_watch = names.get(index).is_some_and(|name| *name == METRICS);
        let place = if is_watch { &mut handed.watch } else { &mut handed.service };
        if place.replace(socket).is_some() {
            return Err(Failure::usage(format!(
                "socket {index} that was handed over is one too many: one for the service, one named {METRICS}"
            )));
        }
    }
    Ok(handed)
}

/// Says that the service answers from now on.
pub(super) fn ready(status: &str) {
    say(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Says that it ends, once `stop` is cancelled.
pub(super) async fn say_stopping(stop: CancellationToken) {
    stop.cancelled().await;
    say(&[NotifyState::Stopping, NotifyState::Status("finishing what is under way")]);
}

/// Gives signs of life as often as was asked for, and only while the writer lives: a service that takes no writes any
/// more, and does not know it, is better begun again. A commit that fails is no such case.
pub(super) async fn give_signs(db: Database) {
    let Some(patience) = sd_notify::watchdog_enabled() else { return };
    let pause = patience / 3;
    loop {
        if db.writer_lives(COMMIT_MAX) {
            say(&[NotifyState::Watchdog]);
        } else {
            tracing::error!("the writer is stuck; no sign of life is given");
        }
        tokio::time::sleep(pause).await;
    }
}

fn say(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        journal::tell(Priority::Warning, &format!("artifact: the service manager was not told: {error}"));
    }
}
