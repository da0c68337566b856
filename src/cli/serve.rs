//! `artifact serve`.

use super::{Context, Failure, say, systemd};
use crate::app::stop_on_signals;
use crate::config::{Config, process_environment};
use crate::http::auth::Access;
use crate::http::tls::Certificates;
use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What `serve` takes.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Address to listen on [default: 127.0.0.1:7000]
    #[arg(long, value_name = "ADDR")]
    pub(super) listen: Option<String>,
    /// Let callers from this machine in without a key; only with a loopback address
    #[arg(long)]
    pub(super) open_loopback: bool,
}

/// Serves until a signal ends it.
pub(super) async fn run(context: &Context) -> Result<(), Failure> {
    let config = &context.config;
    let access = if config.open_loopback.value { Access::OpenLoopback } else { Access::Keys };
    allow_descriptors(config.limits.connections.value);
    let certificates = config.tls.files().map(Certificates::load).transpose();
    let certificates = certificates.map_err(Failure::other)?.map(Arc::new);
    let app = super::open(config, access).await?.guarded(config.guard()).encrypted(certificates);
    let app = app.with_limits(&config.health).described(config.docs.value);
    let (listener, watch) = match listeners(config).await {
        Ok(bound) => bound,
        Err(failure) => {
            app.state.db.close().await;
            return Err(failure);
        }
    };
    let stop = CancellationToken::new();
    stop_on_signals(stop.clone())?;
    tokio::spawn(systemd::say_stopping(stop.clone()));
    if access == Access::Keys
        && let Some(key) = app.first_key().await?
    {
        say(&format!("First start: this admin key is shown once, keep it safe.\n\n  {key}\n"))?;
    }
    let scheme = if config.tls.files().is_some() { "https" } else { "http" };
    let engine = app.state.db.engine().await?;
    // Before the line that says so: whoever has read it may run a command.
    let socket = app.owner_socket();
    if let Some(watch) = watch {
        say(&format!("metrics and health on http://{}", watch.local_addr()?))?;
        let app = app.clone();
        tokio::spawn(async move { app.serve_watch(watch).await });
    }
    let line = format!(
        "artifact {} listening on {scheme}://{} ({engine})",
        env!("CARGO_PKG_VERSION"),
        listener.local_addr()?
    );
    say(&line)?;
    systemd::ready(&line);
    tokio::spawn(systemd::give_signs(app.state.db.clone()));
    app.serve_both(listener, socket, stop).await?;
    say("stopped")
}

/// The service's listener and that of its metrics: handed over, or bound here.
async fn listeners(config: &Config) -> Result<(TcpListener, Option<TcpListener>), Failure> {
    let names = process_environment("LISTEN_FDNAMES");
    let handed = systemd::handed(names.as_deref())?;
    let service = match handed.service {
        Some(listener) => listener,
        None => bind(config.listen.value).await?,
    };
    let address = service.local_addr()?;
    config.check_address(address)?;
    let watch = match (handed.watch, config.metrics.listen.value) {
        (Some(listener), _) => Some(listener),
        (None, Some(address)) => Some(bind(address).await?),
        (None, None) => None,
    };
    Ok((service, watch))
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|error| Failure::failed(format!("cannot listen on {address}: {error}")))
}

/// Files the service itself has open, with room to spare.
const OWN_DESCRIPTORS: u64 = 512;

/// Lets this process have as many descriptors as its connections may need, if whoever started it permits.
fn allow_descriptors(connections: u64) {
    let wanted = connections.saturating_add(OWN_DESCRIPTORS);
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    let possible = limit.maximum.map_or(wanted, |most| most.min(wanted));
    if let Err(error) =
        setrlimit(Resource::Nofile, Rlimit { current: Some(possible), maximum: limit.maximum })
    {
        tracing::warn!(%error, "the limit of descriptors stays as it is");
    }
    if possible < wanted {
        tracing::warn!(
            possible,
            wanted,
            "there may be fewer connections than limits.connections: raise LimitNOFILE"
        );
    }
}
