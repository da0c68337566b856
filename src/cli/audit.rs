//! `artifact audit`: reading the audit trail, and holding it to its key and its anchors.

use super::client::Client;
use super::{Context, Failure, show, tell, text};
use crate::http::query::encoded;
use crate::random::Random;
use crate::storage::audit_key;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::PathBuf;

/// What can be done with the trail.
#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Show rows, the newest first
    #[command(
        after_help = "Examples:\n  artifact audit list --limit 20\n  artifact audit list --actor key:8f14e45fceea --action portfolio. --from 2026-11-01"
    )]
    List {
        #[command(flatten)]
        wanted: Wanted,
        /// Rows to show, at most 1000
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Hold every row to its hash, and the trail to its anchors; fails when something is wrong
    #[command(
        after_help = "Examples:\n  artifact audit verify\n  artifact audit verify --anchor 1042:5f70bf18...   an anchor out of the log of another machine"
    )]
    Verify {
        /// An anchor from elsewhere; may be given several times
        #[arg(long, value_name = "SEQ:HASH")]
        anchor: Vec<String>,
        /// Take rows up to this one as they are
        #[arg(long, value_name = "SEQ")]
        after: Option<u32>,
    },
    /// Write rows out, the oldest first
    #[command(after_help = "Example:\n  artifact audit export --from 2026-01-01 --output audit.csv")]
    Export {
        #[command(flatten)]
        wanted: Wanted,
        /// ndjson or csv [default: told from the ending of --output, else ndjson]
        #[arg(long)]
        format: Option<String>,
        /// File to write; standard output when absent
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Make a new key: from the next start on rows are made with it, and those before stay proven by theirs
    #[command(after_help = "Example:\n  artifact audit rotate-key")]
    RotateKey,
    /// Answer for a restore: an older copy of the database was put back on purpose
    #[command(
        after_help = "Example:\n  artifact audit accept-restore --note \"backup of 28 November, disk failed\""
    )]
    AcceptRestore {
        /// Which copy, and why
        #[arg(long)]
        note: String,
    },
}

/// Which rows are wanted.
#[derive(Debug, Args)]
pub(super) struct Wanted {
    /// From this moment or day (UTC)
    #[arg(long)]
    from: Option<String>,
    /// Before this moment, or through this day
    #[arg(long)]
    to: Option<String>,
    /// Who did it, e.g. key:8f14e45fceea, owner, system:queue
    #[arg(long)]
    actor: Option<String>,
    /// What was done; with a dot at its end, all below it
    #[arg(long)]
    action: Option<String>,
    /// To which type of object
    #[arg(long)]
    object_type: Option<String>,
    /// To which object
    #[arg(long)]
    object_id: Option<String>,
    /// done, denied or failed
    #[arg(long)]
    outcome: Option<String>,
    /// In which request
    #[arg(long)]
    request_id: Option<String>,
}

impl Wanted {
    fn parameters(&self) -> Vec<String> {
        let given = [
            ("from", &self.from),
            ("to", &self.to),
            ("actor", &self.actor),
            ("action", &self.action),
            ("object_type", &self.object_type),
            ("object_id", &self.object_id),
            ("outcome", &self.outcome),
            ("request_id", &self.request_id),
        ];
        let parameter = |(name, value): (&str, &Option<String>)| {
            value.as_ref().map(|value| format!("{name}={}", encoded(value)))
        };
        given.into_iter().filter_map(parameter).collect()
    }
}

/// Does it.
pub(super) async fn run(context: &Context, command: &AuditCommand) -> Result<(), Failure> {
    let client = Client::connect(&context.config).await?;
    let done = match command {
        AuditCommand::List { wanted, limit } => list(context, &client, wanted, *limit).await,
        AuditCommand::Verify { anchor, after } => verify(context, &client, anchor, *after).await,
        AuditCommand::Export { wanted, format, output } => {
            export(&client, wanted, format.as_deref(), output.as_ref()).await
        }
        AuditCommand::RotateKey => rotate_key(context),
        AuditCommand::AcceptRestore { note } => accept(context, &client, note).await,
    };
    client.close().await;
    done
}

async fn list(context: &Context, client: &Client, wanted: &Wanted, limit: u32) -> Result<(), Failure> {
    let mut parameters = wanted.parameters();
    parameters.extend(["sort=-seq".to_owned(), format!("limit={limit}")]);
    let rows = client.get(&format!("/audit?{}", parameters.join("&"))).await?;
    let all = rows.as_array().map(Vec::as_slice).unwrap_or_default();
    let line = |row: &Value| {
        let seq = row.get("seq").and_then(Value::as_i64).unwrap_or_default();
        let object = match text(row, "object_id") {
            "" => text(row, "object_type").to_owned(),
            id => format!("{} {id}", text(row, "object_type")),
        };
        format!(
            "{seq:>8}  {}  {:<7} {:<32} {:<24} {object}",
            text(row, "recorded_at"),
            text(row, "outcome"),
            text(row, "action"),
            text(row, "actor")
        )
    };
    let lines: Vec<String> = all.iter().map(line).collect();
    show(context, &rows, &lines)
}

async fn verify(
    context: &Context,
    client: &Client,
    anchors: &[String],
    after: Option<u32>,
) -> Result<(), Failure> {
    let mut parameters: Vec<String> =
        anchors.iter().map(|anchor| format!("anchor={}", encoded(anchor))).collect();
    parameters.extend(after.map(|seq| format!("after={seq}")));
    let verdict = client.get(&format!("/audit/verify?{}", parameters.join("&"))).await?;
    let number = |name: &str| verdict.get(name).and_then(Value::as_u64).unwrap_or_default();
    let list = |name: &str| verdict.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let head = verdict.get("head").cloned().unwrap_or_default();
    let seq = head.get("seq").and_then(Value::as_i64).unwrap_or_default();
    let mut lines = vec![format!(
        "{} rows and {} anchors verified in {} ms; the trail ends at {seq}:{}",
        number("rows"),
        number("anchors"),
        number("duration_ms"),
        text(&head, "hash")
    )];
    for key in list("keys").iter().skip(1) {
        let part = |name: &str| key.get(name).and_then(Value::as_u64).unwrap_or_default();
        lines.push(format!("key {} from row {} on", part("number"), part("first")));
    }
    for restore in list("restores") {
        let seq = restore.get("seq").and_then(Value::as_i64).unwrap_or_default();
        lines.push(format!("restored to row {seq} at {}: {}", text(&restore, "at"), text(&restore, "note")));
    }
    lines.extend(
        list("faults").iter().map(|fault| format!("{:<7} {}", text(fault, "kind"), text(fault, "detail"))),
    );
    show(context, &verdict, &lines)?;
    if verdict.get("whole").and_then(Value::as_bool) == Some(true) {
        return Ok(());
    }
    Err(Failure::failed(format!("the audit trail is not whole: {} faults", number("faults_total"))))
}

async fn export(
    client: &Client,
    wanted: &Wanted,
    format: Option<&str>,
    output: Option<&PathBuf>,
) -> Result<(), Failure> {
    let table =
        output.is_some_and(|path| path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("csv")));
    let format = format.unwrap_or(if table { "csv" } else { "ndjson" });
    let mut parameters = wanted.parameters();
    parameters.push(format!("format={}", encoded(format)));
    let path = format!("/audit/export?{}", parameters.join("&"));
    let Some(file) = output else {
        client.download(&path, &mut std::io::stdout().lock()).await?;
        return Ok(());
    };
    let mut out = std::io::BufWriter::new(std::fs::File::create(file)?);
    let length = client.download(&path, &mut out).await?;
    tell(&format!("{}: {length} bytes", file.display()));
    Ok(())
}

/// The service or this command has opened the trail with the keys that are there: another one may follow them.
fn rotate_key(context: &Context) -> Result<(), Failure> {
    if let Some(file) = &context.config.audit.key_file.value {
        let file = file.display();
        return Err(Failure::failed(format!(
            "the keys are in {file}, which is yours: add a line (`(echo; openssl rand -hex 32) >> {file}`) and restart the service"
        )));
    }
    let number = audit_key::add(&context.config.data.value, Random::System)?.count();
    let said =
        format!("key {number} is added; the trail goes on with it from the next start of the service on");
    show(context, &json!({ "key": number }), &[said])
}

async fn accept(context: &Context, client: &Client, note: &str) -> Result<(), Failure> {
    let recorded = client.post("/audit/restores", &json!({ "note": note })).await?.success()?;
    let head = recorded.get("head").cloned().unwrap_or_default();
    let seq = head.get("seq").and_then(Value::as_i64).unwrap_or_default();
    show(context, &recorded, &[format!("recorded; the trail ends at {seq}:{}", text(&head, "hash"))])
}
