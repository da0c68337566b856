//! The log: lines on standard error, for people or as JSON.

use crate::config::{Config, LogFormat};
use tracing_subscriber::EnvFilter;

/// Starts the log. Called once, before anything is logged.
pub fn start(config: &Config) {
    let filter = EnvFilter::try_new(&config.log.value).unwrap_or_else(|_| EnvFilter::new(crate::config::LOG));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match config.log_format.value {
        LogFormat::Json => builder.json().try_init(),
        LogFormat::Text => builder.try_init(),
    };
    if let Err(error) = started {
        tracing::warn!(%error, "the log was started before");
    }
}
