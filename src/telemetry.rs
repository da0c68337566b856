//! The log: lines on standard error, for people or as JSON.

use tracing_subscriber::EnvFilter;

/// Credentials and logins that were refused, by `kind`.
pub const AUTH_FAILURES: &str = "auth_failures_total";
/// Logins with a password.
pub const LOGINS: &str = "auth_logins_total";

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts the log with a filter such as `info` or `artifact=debug`. Called once, before anything is logged.
pub fn start(filter: &str, format: LogFormat) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Json => builder.json().try_init(),
        LogFormat::Text => builder.try_init(),
    };
    if let Err(error) = started {
        tracing::warn!(%error, "the log was started before");
    }
}
