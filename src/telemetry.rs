//! The log: lines on standard error, for people or as JSON.

use tracing_subscriber::EnvFilter;

/// Prices that wait to be posted on.
pub const OUTBOX_DEPTH: &str = "outbox_depth";
/// Age of the oldest of them.
pub const OUTBOX_OLDEST: &str = "outbox_oldest_seconds";
/// Prices the other instance refused.
pub const OUTBOX_DEAD_LETTERS: &str = "outbox_dead_letters";
/// Prices posted on, by `outcome`: delivered, superseded or refused.
pub const OUTBOX_POSTS: &str = "outbox_posts_total";

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
