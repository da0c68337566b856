//! `artifact pnl`: the figures of a statement, without a database.

use super::{Failure, say};
use crate::http::statement;
use clap::Args;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::PathBuf;

/// What `pnl` takes.
#[derive(Debug, Args)]
pub(super) struct StatementArgs {
    /// The document, or - for standard input
    file: PathBuf,
}

fn read(args: &StatementArgs) -> Result<Vec<u8>, Failure> {
    let name = args.file.display().to_string();
    let mut bytes = Vec::new();
    let read = if name == "-" {
        std::io::stdin().lock().read_to_end(&mut bytes).map(drop)
    } else {
        std::fs::read(&args.file).map(|read| bytes = read)
    };
    read.map_err(|error| Failure::failed(format!("{name}: {error}")))?;
    Ok(bytes)
}

/// Evaluates the document and prints its figures as JSON.
pub(super) fn run(args: &StatementArgs) -> Result<(), Failure> {
    let evaluated = statement::evaluate(&read(args)?).map_err(|error| {
        let mut message = error.detail.clone();
        for fault in &error.errors {
            let at = fault.pointer.as_deref().unwrap_or_default();
            write!(message, "\n  {at}: {} ({})", fault.detail, fault.code).unwrap_or_default();
        }
        Failure::failed(message)
    })?;
    say(&serde_json::to_string_pretty(&evaluated).map_err(Failure::other)?)
}
