//! `artifact backup`: through a running service where there is one, on the backups themselves where there is none.

use super::client::Client;
use super::{Context, Failure, show, tell, text};
use crate::app::{SOCKET, backup_settings, location};
use crate::clock::Clock;
use crate::config::Config;
use crate::random::Random;
use crate::storage::opening::Claim;
use crate::workers::backup::kept::{Kept, Listing};
use crate::workers::backup::sealed::Passphrase;
use crate::workers::backup::target::Target;
use crate::workers::backup::{Backups, Secret, restore};
use axum::http::Method;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::io::Read as _;
use std::path::PathBuf;
use tokio::net::UnixStream;

/// What can be done with backups.
#[derive(Debug, Subcommand)]
pub(super) enum BackupCommand {
    /// Take one, beside a running service
    #[command(after_help = "Example:\n  artifact backup create")]
    Create,
    /// List those that are kept, the oldest first
    #[command(after_help = "Example:\n  artifact backup list --json")]
    List(Place),
    /// Restore one into a scratch place and compare it with what was saved
    #[command(
        after_help = "Examples:\n  artifact backup verify\n  artifact backup verify 0198c1d2 --passphrase-file key.txt"
    )]
    Verify(Chosen),
    /// Put one in the place of the data, with the service stopped; what was there is kept aside
    #[command(
        after_help = "Examples:\n  artifact backup restore latest\n  artifact backup restore 0198c1d2 --folder /mnt/backups --passphrase-stdin < key.txt"
    )]
    Restore(Chosen),
}

/// Where backups are.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// Folder of the backups [default: as configured]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// Which one, and what opens it.
#[derive(Debug, Args)]
pub(super) struct Chosen {
    /// Its id, the beginning of it or of its file's name, or `latest`
    #[arg(default_value = "latest", value_name = "BACKUP")]
    name: String,
    #[command(flatten)]
    place: Place,
    /// File whose first line is the passphrase [default: as configured]
    #[arg(long, value_name = "FILE", conflicts_with = "passphrase_stdin")]
    passphrase_file: Option<PathBuf>,
    /// Read the passphrase from standard input
    #[arg(long)]
    passphrase_stdin: bool,
}

impl Place {
    /// The backups, without opening the data they are of.
    fn backups(&self, config: &Config) -> Result<Backups, Failure> {
        let mut settings = backup_settings(config)?;
        if let Some(folder) = &self.folder {
            settings.target = Target::Folder(folder.clone());
        }
        Ok(Backups::new(location(config), settings))
    }
}

impl Chosen {
    fn secret(&self, backups: &Backups) -> Result<Secret, Failure> {
        if self.passphrase_stdin {
            let mut text = Vec::new();
            std::io::stdin().lock().take(64 * 1024).read_to_end(&mut text)?;
            let passphrase = Passphrase::of(&text);
            return passphrase.map(Secret::Given).ok_or_else(|| {
                Failure::failed("standard input begins with an empty line, not a passphrase")
            });
        }
        Ok(self.passphrase_file.clone().map_or_else(|| backups.settings().secret.clone(), Secret::File))
    }

    /// Whether a running service can do it: it knows its own folder and passphrase only.
    const fn as_configured(&self) -> bool {
        self.place.folder.is_none() && self.passphrase_file.is_none() && !self.passphrase_stdin
    }
}

/// Runs one of the commands.
pub(super) async fn run(context: &Context, command: &BackupCommand) -> Result<(), Failure> {
    match command {
        BackupCommand::Create => create(context).await,
        BackupCommand::List(place) => list(context, place).await,
        BackupCommand::Verify(chosen) => verify(context, chosen).await,
        BackupCommand::Restore(chosen) => restore(context, chosen).await,
    }
}

async fn create(context: &Context) -> Result<(), Failure> {
    let client = Client::connect(&context.config).await?;
    let made = client.send(Method::POST, "/backups", None).await;
    client.close().await;
    let made = made?.success()?;
    let line = format!("{} {}", text(&made, "id"), text(&made, "archive"));
    show(context, &made, &[line])
}

/// The running service, if there is one.
async fn running(context: &Context) -> Option<Client> {
    let socket = context.config.data.value.join(SOCKET);
    UnixStream::connect(&socket).await.is_ok().then_some(Client::Running(socket))
}

/// Says what a list passed over.
fn tell_passed_over(listing: &Listing) {
    for line in &listing.passed_over {
        tell(&format!("warning: {line}"));
    }
}

async fn list(context: &Context, place: &Place) -> Result<(), Failure> {
    let here = place.backups(&context.config);
    let rows = if let Some(client) = running(context).await.filter(|_| place.folder.is_none()) {
        // A service says what it passed over in its log. A folder this command can look into as well.
        if let Ok(backups) = &here
            && matches!(backups.settings().target, Target::Folder(_))
            && let Ok(listing) = backups.listing().await
        {
            tell_passed_over(&listing);
        }
        client.get("/backups").await?
    } else {
        let listing = here?.listing().await?;
        tell_passed_over(&listing);
        listing.kept.iter().map(told).collect()
    };
    let lines: Vec<String> = rows
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
        .iter()
        .map(|row| {
            let sound = match row.get("sound").and_then(Value::as_bool) {
                Some(true) => "sound",
                Some(false) => "NOT SOUND",
                None => "not verified",
            };
            let bytes = row.get("bytes").and_then(Value::as_u64).unwrap_or_default();
            format!("{} {} {bytes:>12} bytes  {sound}", text(row, "id"), text(row, "archive"))
        })
        .collect();
    show(context, &rows, &lines)
}

fn told(kept: &Kept) -> Value {
    let manifest = &kept.manifest;
    json!({
        "id": manifest.id, "created_at": manifest.created_at.to_string(), "reason": manifest.reason,
        "app_version": manifest.app_version, "engine": manifest.engine, "schema": manifest.schema,
        "last_commit": manifest.last_commit.to_string(), "encrypted": manifest.encrypted,
        "archive": kept.archive.name, "bytes": kept.archive.bytes, "sha256": kept.archive.sha256,
        "verified_at": kept.verified_at.map(|at| at.to_string()), "sound": kept.sound,
    })
}

async fn verify(context: &Context, chosen: &Chosen) -> Result<(), Failure> {
    let found = if let Some(client) = running(context).await.filter(|_| chosen.as_configured()) {
        let path = format!("/backups/{}/verify", crate::http::query::encoded(&chosen.name));
        client.send(Method::POST, &path, None).await?.success()?
    } else {
        let backups = chosen.place.backups(&context.config)?;
        let secret = chosen.secret(&backups)?;
        let (_, drilled) = backups.verify(&chosen.name, &secret, (&Clock::system(), Random::System)).await?;
        json!({ "sound": true, "tables": drilled.tables, "portfolios": drilled.portfolios,
            "audit_rows": drilled.audit_rows, "faults": [] })
    };
    if found.get("sound").and_then(Value::as_bool) != Some(true) {
        let faults = found.get("faults").map(Value::to_string).unwrap_or_default();
        return Err(Failure::failed(format!("the backup is not sound: {faults}")));
    }
    let said = found.get("portfolios").and_then(Value::as_u64);
    let figures =
        said.map_or_else(String::new, |count| format!(", the figures of {count} portfolios are equal"));
    let rows = found.get("audit_rows").and_then(Value::as_u64).unwrap_or_default();
    show(context, &found, &[format!("sound{figures}, {rows} rows of the audit trail fit their chain")])
}

async fn restore(context: &Context, chosen: &Chosen) -> Result<(), Failure> {
    let claim = Claim::take(&location(&context.config)).await?;
    restore::go_on(claim.location().directory())?;
    let backups = chosen.place.backups(&context.config)?;
    tell_passed_over(&backups.listing().await?);
    let secret = chosen.secret(&backups)?;
    let done =
        restore::restore(&claim, &backups, &chosen.name, &secret, (&Clock::system(), Random::System)).await?;
    let before = &done.before;
    let portfolios = done.drilled.portfolios;
    let rows = done.drilled.audit_rows;
    let value = json!({ "restored": told(&done.kept), "portfolios": portfolios, "audit_rows": rows, "before": before });
    let mut lines = vec![format!("restored {}", done.kept.archive.name)];
    if let Some(count) = portfolios {
        lines.push(format!("the figures of {count} portfolios are those of the backup"));
    }
    lines.push(format!(
        "{rows} rows of the audit trail fit their chain; the restore is told in it at the next start"
    ));
    if let Some(before) = before {
        lines.push(format!("what was there before is in {before}"));
    }
    show(context, &value, &lines)
}
