//! `artifact ingest`: a price file into the store.

use super::client::Client;
use super::{Context, Failure, show, tell, text};
use crate::http::query::encoded;
use axum::http::Method;
use clap::Args;
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::PathBuf;

/// Bytes read between two steps of the progress bar.
const STEP: u64 = 1 << 20;
/// Width of the progress bar.
const BAR: usize = 30;

/// What `ingest` takes.
#[derive(Debug, Args)]
pub(super) struct IngestArgs {
    /// The file, or - for standard input
    file: PathBuf,
    /// Asset the prices are of
    #[arg(long)]
    symbol: String,
    /// Who says so
    #[arg(long)]
    source: String,
    /// Candle length, e.g. 1d
    #[arg(long)]
    interval: Option<String>,
    /// csv or ndjson [default: told from the first byte]
    #[arg(long)]
    format: Option<String>,
    /// Column of a field, e.g. --map price=last
    #[arg(long, value_name = "FIELD=COLUMN")]
    map: Vec<String>,
    /// mid, bid or ask, for files with `bid_*` and `ask_*` columns
    #[arg(long)]
    bid_ask: Option<String>,
    /// Zone of times without one, e.g. `America/New_York`
    #[arg(long)]
    tz: Option<String>,
    /// end: shift candles from their start to their end
    #[arg(long)]
    stamp: Option<String>,
    /// Record the good rows although others are refused
    #[arg(long)]
    keep_going: bool,
}

impl IngestArgs {
    fn path(&self) -> String {
        let map = self.map.join(",");
        let optional = [
            ("interval", self.interval.as_deref()),
            ("format", self.format.as_deref()),
            ("map", Some(map.as_str())),
            ("bid_ask", self.bid_ask.as_deref()),
            ("tz", self.tz.as_deref()),
            ("stamp", self.stamp.as_deref()),
            ("keep_going", self.keep_going.then_some("true")),
        ];
        let mut path =
            format!("/prices/import?symbol={}&source={}", encoded(&self.symbol), encoded(&self.source));
        for (name, value) in optional {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                write!(path, "&{name}={}", encoded(value)).unwrap_or_default();
            }
        }
        path
    }
}

/// Reads the whole file, with a progress bar on a terminal.
fn read(args: &IngestArgs) -> Result<Vec<u8>, Failure> {
    let name = args.file.display().to_string();
    let failed = |error: std::io::Error| Failure::failed(format!("{name}: {error}"));
    let mut bytes = Vec::new();
    if name == "-" {
        std::io::stdin().lock().read_to_end(&mut bytes).map_err(failed)?;
        return Ok(bytes);
    }
    let mut file = std::fs::File::open(&args.file).map_err(failed)?;
    let size = usize::try_from(file.metadata().map_err(failed)?.len()).unwrap_or(usize::MAX);
    let shown = std::io::stderr().is_terminal();
    loop {
        let took = std::io::Read::by_ref(&mut file).take(STEP).read_to_end(&mut bytes).map_err(failed)?;
        if shown {
            draw(bytes.len(), size);
        }
        if took == 0 {
            return Ok(bytes);
        }
    }
}

fn draw(done: usize, size: usize) {
    let filled = done.saturating_mul(BAR).checked_div(size).unwrap_or(BAR).min(BAR);
    let bar = format!("{}{}", "#".repeat(filled), ".".repeat(BAR - filled));
    let mut out = std::io::stderr().lock();
    let end = if done >= size { "\n" } else { "" };
    write!(out, "\rreading [{bar}] {done} of {size} bytes{end}")
        .and_then(|()| out.flush())
        .unwrap_or_default();
}

/// Imports a file and says what became of its rows.
pub(super) async fn run(context: &Context, args: IngestArgs) -> Result<(), Failure> {
    let path = args.path();
    let (args, bytes) = tokio::task::spawn_blocking(move || read(&args).map(|bytes| (args, bytes)))
        .await
        .map_err(Failure::other)??;
    let client = Client::connect(&context.config).await?;
    let reply = client.send(Method::POST, &path, Some(("text/csv", bytes))).await;
    client.close().await;
    let report = reply?.success()?;
    let count = |name: &str| report.get(name).and_then(Value::as_u64).unwrap_or_default();
    let mut lines = vec![format!(
        "{}: stored {}, duplicate {}, corrected {}, refused {}",
        args.file.display(),
        count("stored"),
        count("duplicate"),
        count("corrected"),
        count("refused")
    )];
    if let (Some(first), Some(last)) =
        (report.get("first").and_then(Value::as_str), report.get("last").and_then(Value::as_str))
    {
        lines.push(format!("from {first} to {last}"));
    }
    if count("other_symbols") > 0 {
        lines.push(format!("{} rows of other symbols were passed over", count("other_symbols")));
    }
    if count("ambiguous_times") > 0 {
        lines.push(format!("{} local times occur twice; the earlier was taken", count("ambiguous_times")));
    }
    for error in report.get("errors").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default() {
        tell(&format!(
            "line {}: {}",
            error.get("line").and_then(Value::as_u64).unwrap_or_default(),
            text(error, "detail")
        ));
    }
    show(context, &report, &lines)
}
