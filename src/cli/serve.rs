//! `artifact serve`.

use super::{Context, Failure, say};
use crate::app::{App, stop_on_signals};
use crate::http::auth::Access;
use clap::Args;
use std::net::SocketAddr;
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
    let app = App::configured(config, access).await?;
    let address = config.listen.value;
    let bound = async {
        let watch = match config.metrics.listen.value {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        Ok::<_, Failure>((bind(address).await?, watch))
    };
    let (listener, watch) = match bound.await {
        Ok(bound) => bound,
        Err(failure) => {
            app.state.db.close().await;
            return Err(failure);
        }
    };
    let stop = CancellationToken::new();
    stop_on_signals(stop.clone())?;
    if access == Access::Keys
        && let Some(key) = app.first_key().await?
    {
        say(&format!("First start: this admin key is shown once, keep it safe.\n\n  {key}\n"))?;
    }
    let engine = app.state.db.engine().await?;
    // Before the line that says so: whoever has read it may run a command.
    let socket = app.owner_socket();
    if let Some(watch) = watch {
        say(&format!("metrics and health on http://{}", watch.local_addr()?))?;
        let app = app.clone();
        tokio::spawn(async move { app.serve_watch(watch).await });
    }
    say(&format!(
        "artifact {} listening on http://{} ({engine})",
        env!("CARGO_PKG_VERSION"),
        listener.local_addr()?
    ))?;
    app.serve_both(listener, socket, stop).await?;
    say("stopped")
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|error| Failure::failed(format!("cannot listen on {address}: {error}")))
}
