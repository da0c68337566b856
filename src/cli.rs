//! The command line: what may be said, and which deed it stands for. Data goes to standard output, words about it
//! to standard error; exit codes are 0 done, 1 failed, 2 said wrongly, 75 done here and not yet posted on.

mod audit;
mod backup;
pub mod checklist;
pub mod client;
mod demo;
mod doctor;
mod earlier;
mod ingest;
mod ingest_feed;
mod keys;
mod posting;
mod seed;
mod serve;
mod statement;
mod systemd;
mod transfer;
mod users;

use crate::app::{App, OpenError};
use crate::config::{Config, ConfigError, Flags, Origin, process_environment};
use crate::http::auth::Access;
use crate::http::error::ApiError;
use crate::http::openapi;
use crate::storage::error::{StorageError, with_causes};
use crate::storage::migrate;
use crate::telemetry::journal::{self, Priority};
use crate::telemetry::{self, recorder};
use crate::workers::backup::BackupError;
use crate::workers::gate::GateError;
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use rustix::fs::Mode;
use rustix::process::umask;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// Exit code of what is to be tried again: `EX_TEMPFAIL` of sysexits.
const PENDING: u8 = 75;

/// Why a command failed, in words for whoever typed it.
#[derive(Debug)]
pub struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    /// It could not be done.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 1 }
    }

    /// It was said wrongly.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 2 }
    }

    /// It was done here, and is not done elsewhere yet.
    pub fn pending(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: PENDING }
    }

    /// It could not be done, because of another error.
    pub fn other(error: impl std::error::Error) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        Self::failed(with_causes(&error))
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Gate(error) => error.into(),
            OpenError::Backup(_) => Self::failed(error.to_string()),
        }
    }
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        Self::other(error)
    }
}

impl From<GateError> for Failure {
    fn from(error: GateError) -> Self {
        Self::failed(with_causes(&error))
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::failed(error.detail)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::other(error)
    }
}

/// Markets, assets, prices and portfolios with exact profit and loss, in one program.
#[derive(Debug, Parser)]
#[command(
    name = "artifact",
    version,
    max_term_width = 100,
    propagate_version = true,
    after_help = "\
Examples:
  artifact demo                                   a service with sample data, and a tour
  artifact serve --data /var/lib/artifact         the service; prints an API key on its first start
  artifact seed gold-bitcoin                      two markets, two assets, a portfolio
  artifact ingest btc.csv --symbol BTC-USD --source coinbase --interval 1d
Exit codes: 0 done, 1 failed, 2 wrong usage, 75 done, but not yet posted on to the other instance."
)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Common {
    /// Data directory [default: artifact-data]
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Use PostgreSQL: `postgres://user@host/database`; with a password in `ARTIFACT_DATABASE_URL` alone
    #[arg(long, global = true, value_name = "URL")]
    database_url: Option<String>,
    /// Configuration file [default: `artifact.toml` in the data directory]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print data as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service
    #[command(
        after_help = "Examples:\n  artifact serve\n  artifact serve --listen 127.0.0.1:7010 --data /var/lib/artifact\n  artifact serve --open-loopback        no key needed from this machine"
    )]
    Serve(serve::ServeArgs),
    /// Run a throw-away service with sample data and print a tour
    #[command(after_help = "Example:\n  artifact demo --listen 127.0.0.1:7001")]
    Demo(demo::DemoArgs),
    /// Add sample markets, assets and a portfolio; a second time changes nothing
    #[command(after_help = "Example:\n  artifact seed gold-bitcoin")]
    Seed(seed::SeedArgs),
    /// Import a file of prices (CSV or NDJSON), or a table of exchange rates (CSV); or have a feed ask once
    #[command(
        after_help = "Examples:\n  artifact ingest btc.csv --symbol BTC-USD --source coinbase --interval 1d\n  artifact ingest xau.csv --symbol GOLD --source oanda --interval 1d --bid-ask mid --tz America/New_York\n  cat ticks.ndjson | artifact ingest - --symbol GOLD --source desk\n  artifact ingest --source binance --since 2026-11-01\n  artifact ingest eurofxref-hist.csv --source ecb"
    )]
    Ingest(Box<ingest::IngestArgs>),
    /// Import a ledger into a portfolio: mapped CSV, an export, or Ghostfolio's JSON
    #[command(
        after_help = "Examples:\n  artifact import trades.csv --portfolio Retirement --dry-run\n  artifact import trades.csv --portfolio Retirement --mapping broker.json\n  artifact import ghostfolio.json --portfolio Retirement --format ghostfolio --create-assets --market XNAS"
    )]
    Import(Box<transfer::ImportArgs>),
    /// Take a portfolio out: its ledger, lots, figures and the prices they used
    #[command(
        after_help = "Examples:\n  artifact export --portfolio Retirement --output retirement.ndjson\n  artifact export --portfolio Retirement --what ledger --output ledger.csv\n  artifact export --portfolio Retirement --what pnl --as-of 2026-12-31 --convention cost_basis=average"
    )]
    Export(Box<transfer::ExportArgs>),
    /// Check a statement: figures of a document of events, prices and rates, without a database
    #[command(after_help = "Examples:\n  artifact pnl statement.json\n  artifact pnl - < statement.json")]
    Pnl(statement::StatementArgs),
    /// Take over markets and assets from the earlier service's SQLite file
    #[command(after_help = "Example:\n  artifact import-earlier ~/.automata_infra/infra.db")]
    ImportEarlier(earlier::EarlierArgs),
    /// Bring the database schema up to date, without serving
    #[command(after_help = "Example:\n  artifact migrate --data /var/lib/artifact")]
    Migrate,
    /// Check the configuration, or show each value and where it came from
    #[command(subcommand, after_help = "Examples:\n  artifact config check\n  artifact config show --json")]
    Config(ConfigCommand),
    /// Look for what could keep the service from working
    #[command(
        after_help = "Examples:\n  artifact doctor\n  artifact doctor --accept-clock    follow the clock again after it jumped ahead"
    )]
    Doctor(doctor::DoctorArgs),
    /// Take, list, verify and restore backups
    #[command(
        subcommand,
        after_help = "Examples:\n  artifact backup create\n  artifact backup verify latest\n  artifact backup restore latest"
    )]
    Backup(backup::BackupCommand),
    /// Make, list, rotate and revoke API keys
    #[command(subcommand, after_help = "Example:\n  artifact keys create --admin")]
    Keys(keys::KeysCommand),
    /// Make and change users, who log in with a password
    #[command(
        subcommand,
        after_help = "Example:\n  artifact users create alice --scopes portfolios:read < password.txt"
    )]
    Users(users::UsersCommand),
    /// List and replace the keys that sign access tokens
    #[command(subcommand, after_help = "Example:\n  artifact signing-keys rotate")]
    SigningKeys(keys::SigningKeysCommand),
    /// Read the audit trail, and hold it to its key and its anchors
    #[command(
        subcommand,
        after_help = "Examples:\n  artifact audit list --limit 20\n  artifact audit verify"
    )]
    Audit(Box<audit::AuditCommand>),
    /// Print the OpenAPI document
    #[command(after_help = "Example:\n  artifact openapi > openapi.json")]
    Openapi,
    /// Check CHECKLIST.md and print the progress of each department
    #[command(after_help = "Example:\n  artifact checklist --json")]
    Checklist,
    /// Ask the running service how it is
    #[command(
        after_help = "Examples:\n  artifact health || systemctl restart artifact\n  artifact health --wait 60    after a start"
    )]
    Health(doctor::HealthArgs),
    /// Print the version
    #[command(after_help = "Example:\n  artifact version --json")]
    Version,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check it
    #[command(after_help = "Example:\n  artifact config check --config /etc/artifact.toml")]
    Check,
    /// Show it; secrets are masked
    #[command(after_help = "Example:\n  artifact config show --json")]
    Show,
}

/// What a command line needs beside its own arguments.
struct Context {
    config: Config,
    json: bool,
}

/// A text of an answer; empty when it is not there.
fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Writes one line of data.
fn say(line: &str) -> Result<(), Failure> {
    writeln!(std::io::stdout().lock(), "{line}").map_err(Failure::other)
}

/// Writes one line about the data.
fn tell(line: &str) {
    journal::tell(Priority::Info, line);
}

/// Prints a value as JSON, or as the given lines.
fn show(context: &Context, value: &Value, lines: &[String]) -> Result<(), Failure> {
    if context.json {
        return say(&serde_json::to_string_pretty(value).map_err(Failure::other)?);
    }
    lines.iter().try_for_each(|line| say(line))
}

/// Runs one command line and says how it went.
///
/// It is a plain function: a future, or a parameter of any type, would have the whole program compiled once more where it
/// is called.
pub fn run(arguments: Vec<OsString>) -> ExitCode {
    // Before there are threads. What is made is its owner's alone: the data, and what is taken out of it.
    umask(Mode::RWXG | Mode::RWXO);
    journal::look(process_environment("JOURNAL_STREAM").as_deref());
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            return said_wrongly(&error);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done = runtime
        .map_err(|error| Failure::failed(format!("threads could not be started: {error}")))
        .and_then(|runtime| runtime.block_on(dispatch(cli)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            journal::tell(Priority::Error, &format!("artifact: {}", failure.message));
            ExitCode::from(failure.code)
        }
    }
}

/// Prints help that was asked for, or what is wrong with a command line; in colours where somebody looks.
fn said_wrongly(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        error.print().unwrap_or_default();
        return ExitCode::SUCCESS;
    }
    if journal::is_connected() {
        journal::tell(Priority::Error, error.to_string().trim_end());
    } else {
        error.print().unwrap_or_default();
    }
    ExitCode::from(2)
}

async fn dispatch(cli: Cli) -> Result<(), Failure> {
    let mut flags = Flags {
        data: cli.common.data,
        database_url: cli.common.database_url,
        config: cli.common.config,
        ..Flags::default()
    };
    if let Command::Serve(args) = &cli.command {
        flags.listen.clone_from(&args.listen);
        flags.open_loopback = args.open_loopback;
    }
    if let Command::Demo(args) = &cli.command {
        flags.listen.clone_from(&args.listen);
    }
    let context = Context { config: Config::load(flags, &process_environment)?, json: cli.common.json };
    start_log(&cli.command, &context.config);
    match cli.command {
        Command::Serve(_) => serve::run(&context).await,
        Command::Demo(_) => demo::run(&context).await,
        Command::Seed(args) => seed::run(&context, &args).await,
        Command::Ingest(args) => ingest::run(&context, &args).await,
        Command::Import(args) => transfer::import(&context, &args).await,
        Command::Export(args) => transfer::export(&context, &args).await,
        Command::ImportEarlier(args) => earlier::run(&context, &args).await,
        Command::Migrate => run_migrate(&context).await,
        Command::Config(command) => run_config(&context, &command),
        Command::Doctor(args) => doctor::run(&context, &args).await,
        Command::Backup(command) => backup::run(&context, &command).await,
        Command::Keys(command) => keys::run(&context, command).await,
        Command::Users(command) => users::run(&context, command).await,
        Command::SigningKeys(command) => keys::run_signing(&context, &command).await,
        Command::Audit(command) => audit::run(&context, &command).await,
        Command::Pnl(args) => statement::run(&args),
        Command::Openapi => say(&serde_json::to_string_pretty(&openapi::document()).map_err(Failure::other)?),
        Command::Checklist => run_checklist(&context),
        Command::Health(args) => doctor::health(&context, &args).await,
        Command::Version => run_version(&context).await,
    }
}

/// Starts the log of a command that serves. The demo's live ticks would push its tour off the screen, so it tells of
/// trouble only, unless somebody asked for more.
fn start_log(command: &Command, config: &Config) {
    let quiet = config.log.origin == Origin::Default;
    let is_demo = matches!(command, Command::Demo(_));
    if is_demo || matches!(command, Command::Serve(_)) {
        let level = if is_demo && quiet { "warn" } else { &config.log.value };
        telemetry::start(level, config.log_format.value);
    }
}

/// Opens the data as the configuration says.
async fn open(config: &Config, access: Access) -> Result<App, Failure> {
    let remote = config.outbox.remote().map_err(Failure::other)?;
    let mut app = App::configured(config, access).await?.with_feeds(config.feeds.value.clone());
    if let Some(remote) = remote {
        app.post_on(remote);
    }
    Ok(app)
}

async fn run_migrate(context: &Context) -> Result<(), Failure> {
    let app = open(&context.config, Access::Keys).await?;
    let engine = app.state.db.engine().await?;
    app.state.db.close().await;
    let schema = migrate::newest();
    show(context, &json!({ "schema": schema, "engine": engine }), &[format!("schema {schema}, {engine}")])
}

fn run_config(context: &Context, command: &ConfigCommand) -> Result<(), Failure> {
    let shown = context.config.shown();
    match command {
        ConfigCommand::Check => {
            show(context, &json!({ "valid": true }), &["the configuration is valid".to_owned()])
        }
        ConfigCommand::Show => {
            let value: Value = shown
                .iter()
                .map(|(name, value, origin)| {
                    ((*name).to_owned(), json!({ "value": value, "origin": origin }))
                })
                .collect::<serde_json::Map<_, _>>()
                .into();
            let lines: Vec<String> = shown
                .iter()
                .map(|(name, value, origin)| format!("{name:<14} {value:<40} ({origin})"))
                .collect();
            show(context, &value, &lines)
        }
    }
}

fn run_checklist(context: &Context) -> Result<(), Failure> {
    let here = std::env::current_dir()?;
    let in_tree = here.join("CHECKLIST.md").is_file() && here.join("Cargo.toml").is_file();
    let text = if in_tree {
        std::fs::read_to_string(here.join("CHECKLIST.md"))?
    } else {
        include_str!("../CHECKLIST.md").to_owned()
    };
    let root = in_tree.then_some(here.as_path());
    let tests = root.map(checklist::test_names).transpose()?.unwrap_or_default();
    let command = Cli::command();
    let commands: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
    let report = checklist::check(&text, &checklist::Evidence { root, commands: &commands, tests: &tests });
    let departments: Vec<Value> = report
        .departments
        .iter()
        .map(|d| json!({ "department": d.department, "ticked": d.count.ticked, "total": d.count.total }))
        .collect();
    let problems: Vec<Value> =
        report.problems.iter().map(|p| json!({ "line": p.line, "code": p.code, "text": p.text })).collect();
    let value = json!({ "departments": departments, "problems": problems, "unchecked": report.unchecked });
    show(context, &value, &[report.to_string().trim_end().to_owned()])?;
    if report.problems.is_empty() {
        return Ok(());
    }
    Err(Failure::failed(format!("the checklist has {} problems", report.problems.len())))
}

async fn run_version(context: &Context) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    let sqlite = crate::storage::database::sqlite_version().await?;
    let schema = migrate::newest();
    let (commit, rustc) = (recorder::COMMIT, recorder::RUSTC);
    let value = json!({
        "version": version, "commit": commit, "rustc": rustc, "sqlite": sqlite, "schema": schema,
    });
    let line =
        format!("artifact {version} (SQLite {sqlite}, schema {schema}, commit {commit}, rustc {rustc})");
    show(context, &value, &[line])
}
