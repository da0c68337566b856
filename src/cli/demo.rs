//! `artifact demo`: a throw-away service with the gold-bitcoin book, a simulated price history and live ticks.

use super::client::{Client, Here};
use super::{Context, Failure, say, seed};
use crate::app::{App, stop_on_signals};
use crate::clock::Clock;
use crate::domain::decimal::Decimal;
use crate::domain::moment::{DAY, Moment};
use crate::http::auth::Access;
use crate::random::Random;
use crate::storage::database::Location;
use axum::http::Method;
use clap::Args;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Source of every made-up price, so that nobody takes one for real.
const SIMULATED: &str = "simulated";
/// Days of made-up history.
const DAYS: i64 = 365;
/// Time between two live ticks.
const TICK: Duration = Duration::from_secs(2);

/// What `demo` takes.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Address to listen on [default: 127.0.0.1:7000]
    #[arg(long, value_name = "ADDR")]
    pub(super) listen: Option<String>,
}

/// A random walk in whole cents, the same at every start.
struct Walk {
    cents: i64,
    state: u64,
    /// Largest step, in ten-thousandths of the price.
    swing: i64,
}

impl Walk {
    fn step(&mut self) -> Decimal {
        // Numerical Recipes' linear congruential generator: plenty for a drawing, and no dependency.
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let spread = i64::try_from(self.state >> 33).unwrap_or_default() % (2 * self.swing + 1) - self.swing;
        self.cents = (self.cents + self.cents * spread / 10_000).max(1);
        Decimal::new(i128::from(self.cents), 2)
    }
}

/// Prices still to come, by symbol.
type Walks = [(&'static str, Walk); 2];

fn walks() -> Walks {
    [
        ("GOLD", Walk { cents: 190_000, state: 1, swing: 110 }),
        ("BTC-USD", Walk { cents: 3_600_000, state: 2, swing: 320 }),
    ]
}

/// A folder that is gone when the demo ends.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap_or_default();
    }
}

/// Runs the demo until a signal ends it.
pub(super) async fn run(context: &Context) -> Result<(), Failure> {
    // Before anything is made: from here on a signal ends the demo in order, and nothing stays behind.
    let stop = CancellationToken::new();
    stop_on_signals(stop.clone())?;
    let address = context.config.listen.value;
    let listener = TcpListener::bind(address).await.map_err(|error| {
        Failure::failed(format!(
            "cannot listen on {address}: {error}; try `artifact demo --listen 127.0.0.1:7001`"
        ))
    })?;
    let address = listener.local_addr()?.to_string();
    let clock = Clock::system();
    let id = Random::System.uuid_v7(clock.now()).map_err(Failure::other)?;
    let scratch = Scratch(std::env::temp_dir().join(format!("artifact-demo-{id}")));
    let app = App::open(&Location::Directory(scratch.0.clone()), clock, Access::Keys).await?;
    let prepared = tokio::select! {
        prepared = prepare(&app, &address, &scratch.0) => prepared.map(Some),
        () = stop.cancelled() => Ok(None),
    };
    let Ok(Some((client, walks))) = prepared else {
        app.state.db.close().await;
        return prepared.map(drop);
    };
    let ticking = tokio::spawn(ticks(client, walks, stop.clone()));
    app.serve(listener, stop).await?;
    ticking.await.map_err(Failure::other)
}

/// Makes the key, the book and its history, and prints the tour.
async fn prepare(app: &App, address: &str, folder: &Path) -> Result<(Client, Walks), Failure> {
    let key = app.admin_key("demo").await?;
    let client = Client::Here(Box::new(Here::new(app.clone())));
    let seeded = seed::plant(&client, "gold-bitcoin").await?;
    let mut walks = walks();
    for (symbol, walk) in &mut walks {
        history(&client, symbol, walk, app.state.clock.now()).await?;
    }
    let portfolio = seeded.ids.get("portfolio").cloned().unwrap_or_default();
    tour(address, &key, &portfolio, folder)?;
    Ok((client, walks))
}

/// A year of made-up daily candles that ends yesterday.
async fn history(client: &Client, symbol: &str, walk: &mut Walk, now: Moment) -> Result<(), Failure> {
    let today = now.0.div_euclid(DAY);
    let mut lines = String::new();
    for day in today - DAYS..today {
        let (open, middle, close) = (walk.step(), walk.step(), walk.step());
        let (low, high) =
            (open.smaller(&middle).smaller(&close), -(-&open).smaller(&-&middle).smaller(&-&close));
        let row = json!({ "ts": Moment(day * DAY).to_string(), "open": open, "high": high, "low": low, "close": close });
        lines.push_str(&row.to_string());
        lines.push('\n');
    }
    let path = format!("/prices/import?symbol={symbol}&source={SIMULATED}&interval=1d&format=ndjson");
    client.send(Method::POST, &path, Some(("application/x-ndjson", lines.into_bytes()))).await?.success()?;
    Ok(())
}

/// Live made-up ticks until the demo ends.
async fn ticks(client: Client, mut walks: Walks, stop: CancellationToken) {
    let mut clock = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            _ = clock.tick() => {}
            () = stop.cancelled() => return,
        }
        for (symbol, walk) in &mut walks {
            let body = json!({ "symbol": symbol, "price": walk.step(), "source": SIMULATED });
            if let Err(failure) = client.post("/prices", &body).await {
                tracing::warn!(?failure, "a tick was not recorded");
            }
        }
    }
}

fn tour(address: &str, key: &str, portfolio: &str, folder: &Path) -> Result<(), Failure> {
    let url = format!("http://{address}");
    let curl = format!("curl -s -H 'X-API-Key: {key}'");
    say(&format!(
        "artifact demo: GOLD and BTC-USD with SIMULATED prices (source `{SIMULATED}`), in {}\n\n  \
         URL  {url}\n  key  {key}\n\nA tour, line by line:\n\n  \
         {curl} {url}/portfolios/{portfolio}\n  \
         {curl} '{url}/portfolios/{portfolio}/pnl?by=lot'\n  \
         {curl} '{url}/prices?symbol=GOLD&limit=3'\n  \
         {curl} '{url}/prices/latest?symbols=GOLD,BTC-USD'\n  \
         {curl} -H 'Content-Type: application/json' -d '{{\"symbol\":\"GOLD\",\"price\":\"2100.50\"}}' {url}/prices\n  \
         {curl} -H 'Content-Type: application/json' -d '{{\"type\":\"sell\",\"symbol\":\"GOLD\",\"quantity\":\"4\",\"price\":\"2100.50\",\"fee\":\"2.50\"}}' {url}/portfolios/{portfolio}/transactions\n  \
         {curl} '{url}/portfolios/{portfolio}/pnl'\n  \
         {curl} {url}/portfolios/{portfolio}/positions\n  \
         curl -s {url}/health\n\n\
         The API is described at {url}/docs. Ctrl-C ends the demo and removes its data.",
        folder.display()
    ))
}
