//! `artifact ingest`: a file of prices, or a table of exchange rates, into the store. Without a file: a feed.

use super::client::Client;
use super::posting::{self, PostedOn};
use super::{Context, Failure, ingest_feed, show, tell, text};
use crate::http::query::encoded;
use crate::workers::file_place::in_flags;
use crate::workers::ingest_parse::rate_table;
use axum::http::Method;
use clap::Args;
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bytes read between two steps of the progress bar.
const STEP: u64 = 1 << 20;
/// Width of the progress bar.
const BAR: usize = 30;

/// What `ingest` takes.
#[derive(Debug, Args)]
pub(super) struct IngestArgs {
    /// The file, or - for standard input; without one, the feed that --source names asks once
    file: Option<PathBuf>,
    /// Asset the prices are of; a table of exchange rates has none
    #[arg(long)]
    symbol: Option<String>,
    /// Who says so; without a file, the name of a feed
    #[arg(long)]
    pub(super) source: String,
    /// Of a feed: from when on, RFC 3339 or a date [default: from where it stopped]
    #[arg(long, value_name = "TIME")]
    pub(super) since: Option<String>,
    /// Of a feed: ask once and end, which is what happens anyway
    #[arg(long)]
    once: bool,
    /// Candle length, e.g. 1d
    #[arg(long)]
    interval: Option<String>,
    /// csv, ndjson, or ecb: a table of exchange rates with a day per row and a column per currency
    /// [default: told from the file]
    #[arg(long)]
    format: Option<String>,
    /// Of a table of exchange rates: the currency one unit of which is worth what a cell says [default: EUR]
    #[arg(long)]
    base: Option<String>,
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
    /// Keep prices in records.json and manifest.json of the source as well, under `ingest` in the data directory
    #[arg(long)]
    save_records: bool,
    /// Where prices are posted on: wait so many seconds for it before telling what is still pending
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(super) post_wait: u64,
}

impl IngestArgs {
    /// Whether the file is a table of exchange rates: said so, or told from its header where no asset is named.
    fn is_rate_table(&self, bytes: &[u8]) -> bool {
        match &self.format {
            Some(format) => format == "ecb",
            None => self.symbol.is_none() && rate_table::is_one(bytes),
        }
    }

    /// The file; none when a feed is meant, which takes none of the flags of files.
    fn file(&self) -> Result<Option<&Path>, Failure> {
        let of_files = [
            ("--symbol", self.symbol.is_some()),
            ("--interval", self.interval.is_some()),
            ("--format", self.format.is_some()),
            ("--base", self.base.is_some()),
            ("--map", !self.map.is_empty()),
            ("--bid-ask", self.bid_ask.is_some()),
            ("--tz", self.tz.is_some()),
            ("--stamp", self.stamp.is_some()),
            ("--keep-going", self.keep_going),
            ("--save-records", self.save_records),
        ];
        let of_feeds = [("--since", self.since.is_some()), ("--once", self.once)];
        let (flags, what) = match self.file {
            Some(_) => (of_feeds.as_slice(), "is for feeds, and this is a file"),
            None => (of_files.as_slice(), "is for files, and no file is named"),
        };
        match flags.iter().find(|(_, given)| *given) {
            Some((flag, _)) => Err(Failure::usage(format!("{flag} {what}"))),
            None => Ok(self.file.as_deref()),
        }
    }

    /// Where a table of rates is sent.
    fn rate_path(&self) -> Result<String, Failure> {
        let not_for_rates = [
            ("--symbol", self.symbol.is_some()),
            ("--interval", self.interval.is_some()),
            ("--map", !self.map.is_empty()),
            ("--bid-ask", self.bid_ask.is_some()),
            ("--save-records", self.save_records),
        ];
        if let Some((flag, _)) = not_for_rates.iter().find(|(_, given)| *given) {
            return Err(Failure::usage(format!(
                "{flag} is for prices, and this is a table of exchange rates"
            )));
        }
        let optional = [
            ("base", self.base.as_deref()),
            ("tz", self.tz.as_deref()),
            ("stamp", self.stamp.as_deref()),
            ("keep_going", self.keep_going.then_some("true")),
        ];
        Ok(with_parameters(format!("/fx/import?source={}", encoded(&self.source)), &optional))
    }

    /// Where a file of prices is sent.
    fn price_path(&self) -> Result<String, Failure> {
        let Some(symbol) = &self.symbol else {
            return Err(Failure::usage(
                "a file of prices needs --symbol; a table of exchange rates --format ecb",
            ));
        };
        if self.base.is_some() {
            return Err(Failure::usage("--base is for tables of exchange rates (--format ecb)"));
        }
        let map = self.map.join(",");
        let optional = [
            ("interval", self.interval.as_deref()),
            ("format", self.format.as_deref()),
            ("map", Some(map.as_str())),
            ("bid_ask", self.bid_ask.as_deref()),
            ("tz", self.tz.as_deref()),
            ("stamp", self.stamp.as_deref()),
            ("keep_going", self.keep_going.then_some("true")),
            ("save_records", self.save_records.then_some("true")),
        ];
        let path = format!("/prices/import?symbol={}&source={}", encoded(symbol), encoded(&self.source));
        Ok(with_parameters(path, &optional))
    }
}

/// A path with those parameters that are given.
pub(super) fn with_parameters(mut path: String, parameters: &[(&str, Option<&str>)]) -> String {
    for (name, value) in parameters {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            let mark = if path.contains('?') { '&' } else { '?' };
            write!(path, "{mark}{name}={}", encoded(value)).unwrap_or_default();
        }
    }
    path
}

/// Reads a whole file, or standard input for `-`, with a progress bar on a terminal.
pub(super) async fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let file = file.to_owned();
    tokio::task::spawn_blocking(move || read_all(&file)).await.map_err(Failure::other)?
}

fn read_all(file: &Path) -> Result<Vec<u8>, Failure> {
    let name = file.display().to_string();
    let failed = |error: std::io::Error| Failure::failed(format!("{name}: {error}"));
    let mut bytes = Vec::new();
    if name == "-" {
        std::io::stdin().lock().read_to_end(&mut bytes).map_err(failed)?;
        return Ok(bytes);
    }
    let mut file = std::fs::File::open(file).map_err(failed)?;
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
pub(super) async fn run(context: &Context, args: &IngestArgs) -> Result<(), Failure> {
    let Some(file) = args.file()? else { return ingest_feed::run(context, args).await };
    let bytes = read(file).await?;
    let path = if args.is_rate_table(&bytes) { args.rate_path()? } else { args.price_path()? };
    let client = Client::connect(&context.config).await?;
    let ingested = ingest(context, &client, (&path, bytes), Duration::from_secs(args.post_wait)).await;
    client.close().await;
    let (mut report, posted_on) = ingested?;
    let count = |name: &str| report.get(name).and_then(Value::as_u64).unwrap_or_default();
    let mut lines = vec![format!(
        "{}: stored {}, duplicate {}, corrected {}, refused {}",
        file.display(),
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
    if count("absent") > 0 {
        lines.push(format!("{} cells without a rate were passed over", count("absent")));
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
            in_flags(text(error, "detail"))
        ));
    }
    if let Some(posted_on) = &posted_on {
        lines.push(posted_on.line());
        if let Some(report) = report.as_object_mut() {
            report.insert("posted_on".to_owned(), posted_on.report());
        }
    }
    show(context, &report, &lines)?;
    posted_on.map_or(Ok(()), |posted_on| posted_on.verdict())
}

/// Sends a file, and waits for its latest prices to be posted on.
async fn ingest(
    context: &Context,
    client: &Client,
    (path, bytes): (&str, Vec<u8>),
    longest: Duration,
) -> Result<(Value, Option<PostedOn>), Failure> {
    let outbox = posting::begin(context, client).await?;
    let report = client.send(Method::POST, path, Some(("text/csv", bytes))).await?.success_in_flags()?;
    let posted_on = match outbox {
        Some(outbox) => Some(outbox.finish(client, longest).await?),
        None => None,
    };
    Ok((report, posted_on))
}
