//! `artifact import` and `artifact export`: ledgers in and out.

use super::client::Client;
use super::ingest::{read, with_parameters};
use super::{Context, Failure, show, tell, text};
use crate::domain::ids::PortfolioId;
use crate::http::query::encoded;
use axum::http::Method;
use clap::Args;
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Refused rows shown; the report has all.
const SHOWN: usize = 50;

/// What `import` takes.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// The file, or - for standard input
    file: PathBuf,
    /// Portfolio to import into: its id or its name
    #[arg(long)]
    portfolio: String,
    /// csv, ndjson (as exported) or ghostfolio [default: told from the file]
    #[arg(long)]
    format: Option<String>,
    /// Say what would become of each row, and store nothing
    #[arg(long)]
    dry_run: bool,
    /// JSON file that says how columns and values stand for ours
    #[arg(long, value_name = "FILE")]
    mapping: Option<PathBuf>,
    /// all: store nothing if a row is refused; partial: store the others [default: all]
    #[arg(long)]
    mode: Option<String>,
    /// Create assets that do not exist; needs --market
    #[arg(long)]
    create_assets: bool,
    /// Code of the market of created assets
    #[arg(long)]
    market: Option<String>,
    /// Type of created assets that the file tells none of [default: STOCK]
    #[arg(long)]
    asset_type: Option<String>,
}

/// What `export` takes.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// Portfolio to export: its id or its name
    #[arg(long)]
    portfolio: String,
    /// ledger, lots, pnl or prices [default: everything, as NDJSON]
    #[arg(long)]
    what: Option<String>,
    /// ndjson or csv [default: told from the ending of --output, else ndjson]
    #[arg(long)]
    format: Option<String>,
    /// Up to this moment or day
    #[arg(long)]
    as_of: Option<String>,
    /// As known then
    #[arg(long)]
    known_at: Option<String>,
    /// Another convention for this export, e.g. `cost_basis=average`
    #[arg(long, value_name = "NAME=VALUE")]
    convention: Vec<String>,
    /// File to write; standard output when absent
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// The id of a portfolio named by its id or its name.
async fn find(client: &Client, named: &str) -> Result<String, Failure> {
    if PortfolioId::parse(named).is_some() {
        return Ok(named.to_owned());
    }
    let found = client.get(&format!("/portfolios?q={}", encoded(named))).await?;
    let all = found.as_array().map(Vec::as_slice).unwrap_or_default();
    let same: Vec<&str> =
        all.iter().filter(|one| text(one, "name") == named).map(|one| text(one, "id")).collect();
    match same.as_slice() {
        [id] => Ok((*id).to_owned()),
        [] => Err(Failure::failed(format!("no portfolio has the id or name `{named}`"))),
        several => Err(Failure::failed(format!(
            "{} portfolios are named `{named}`; use one of the ids {}",
            several.len(),
            several.join(", ")
        ))),
    }
}

/// Imports a ledger and says what became of its rows.
pub(super) async fn import(context: &Context, args: &ImportArgs) -> Result<(), Failure> {
    let bytes = read(&args.file).await?;
    let mapping = match &args.mapping {
        Some(path) => Some(mapping_text(path).await?),
        None => None,
    };
    let client = Client::connect(&context.config).await?;
    let sent = send_ledger(&client, args, mapping.as_deref(), bytes).await;
    client.close().await;
    let report = sent?;
    let count = |name: &str| report.get(name).and_then(Value::as_u64).unwrap_or_default();
    let would = if args.dry_run { "would be " } else { "" };
    let mut lines = vec![format!(
        "{}: {would}stored {}, duplicate {}, conflict {}, refused {}",
        args.file.display(),
        count("stored"),
        count("duplicate"),
        count("conflict"),
        count("refused")
    )];
    let created: Vec<&str> = list(&report, "assets_created").iter().filter_map(Value::as_str).collect();
    if !created.is_empty() {
        lines.push(format!("assets {would}created: {}", created.join(", ")));
    }
    let unused: Vec<&str> = list(&report, "unused_columns").iter().filter_map(Value::as_str).collect();
    if !unused.is_empty() {
        lines.push(format!("columns not used: {}", unused.join(", ")));
    }
    if count("passed_over") > 0 {
        lines.push(format!("{} records were passed over", count("passed_over")));
    }
    let rows = list(&report, "rows").iter();
    let bad = rows.filter(|row| matches!(text(row, "outcome"), "refused" | "conflict"));
    for row in bad.clone().take(SHOWN) {
        tell(&row_line(row));
    }
    if bad.clone().count() > SHOWN {
        tell(&format!("and {} more rows; --json lists all", bad.count() - SHOWN));
    }
    show(context, &report, &lines)?;
    if report.get("success").and_then(Value::as_bool) == Some(true) {
        return Ok(());
    }
    Err(Failure::failed("nothing of the file would be stored; --mode partial stores the other rows"))
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn row_line(row: &Value) -> String {
    let said = list(row, "errors").iter().map(|error| {
        let place = Some(text(error, "column")).filter(|column| !column.is_empty());
        format!("{} {}", place.unwrap_or_else(|| text(error, "field")), text(error, "detail"))
    });
    let number = row.get("row").and_then(Value::as_u64).unwrap_or_default();
    format!("row {number}: {}", said.collect::<Vec<_>>().join("; "))
}

/// A mapping on one line, as a query parameter carries it.
async fn mapping_text(path: &Path) -> Result<String, Failure> {
    let name = path.display();
    let text =
        tokio::fs::read_to_string(path).await.map_err(|error| Failure::failed(format!("{name}: {error}")))?;
    let mapping: Value = serde_json::from_str(&text)
        .map_err(|error| Failure::usage(format!("{name} is not JSON: {error}")))?;
    Ok(mapping.to_string())
}

async fn send_ledger(
    client: &Client,
    args: &ImportArgs,
    mapping: Option<&str>,
    bytes: Vec<u8>,
) -> Result<Value, Failure> {
    let id = find(client, &args.portfolio).await?;
    let path = with_parameters(
        format!("/portfolios/{id}/transactions:import"),
        &[
            ("format", args.format.as_deref()),
            ("dry_run", args.dry_run.then_some("true")),
            ("mode", args.mode.as_deref()),
            ("mapping", mapping),
            ("create_assets", args.create_assets.then_some("true")),
            ("market", args.market.as_deref()),
            ("asset_type", args.asset_type.as_deref()),
            ("report", (!args.dry_run).then_some("problems")),
        ],
    );
    client.send(Method::POST, &path, Some(("application/octet-stream", bytes))).await?.success_in_flags()
}

/// Exports a portfolio into a file or to standard output.
pub(super) async fn export(context: &Context, args: &ExportArgs) -> Result<(), Failure> {
    let told = args.output.as_ref().and_then(|path| path.extension()).and_then(|ending| ending.to_str());
    let format = args.format.as_deref().or_else(|| told.filter(|ending| *ending == "csv"));
    let mut parameters = vec![
        ("what", args.what.as_deref()),
        ("format", format),
        ("as_of", args.as_of.as_deref()),
        ("known_at", args.known_at.as_deref()),
    ];
    for pair in &args.convention {
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| Failure::usage(format!("--convention {pair}: write NAME=VALUE")))?;
        parameters.push((name, Some(value)));
    }
    let client = Client::connect(&context.config).await?;
    let written = async {
        let id = find(&client, &args.portfolio).await?;
        let path = with_parameters(format!("/portfolios/{id}/export"), &parameters);
        let Some(output) = &args.output else {
            return client.download(&path, &mut std::io::stdout().lock()).await;
        };
        // Under another name until it is whole: a file of the wanted name is never half an export.
        let mut name = output.clone().into_os_string();
        name.push(".part");
        let part = PathBuf::from(name);
        let failed = |error: std::io::Error| Failure::failed(format!("{}: {error}", output.display()));
        let mut file = std::io::BufWriter::new(std::fs::File::create(&part).map_err(failed)?);
        let sent = client.download(&path, &mut file).await;
        let whole = match sent {
            Ok(bytes) => file.flush().map(|()| bytes).map_err(failed),
            Err(error) => Err(error),
        };
        if whole.is_err() {
            // What is left of it helps nobody; that it cannot be removed would hide the reason.
            drop(std::fs::remove_file(&part));
        }
        let bytes = whole?;
        std::fs::rename(&part, output).map_err(failed)?;
        tell(&format!("{}: {bytes} bytes", output.display()));
        Ok(bytes)
    }
    .await;
    client.close().await;
    written.map(drop)
}
