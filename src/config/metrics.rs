//! `[metrics]`: where Prometheus reads, beside the service's own address.

use super::{ConfigError, Environment, Setting, choose, parsed};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::Path;

/// The section of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    listen: Option<String>,
}

/// Its settings.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// An address that serves metrics and health without a key; none unless it is set.
    pub listen: Setting<Option<SocketAddr>>,
}

impl Metrics {
    pub(super) fn load(section: Section, path: &Path, env: Environment<'_>) -> Result<Self, ConfigError> {
        let var = env("ARTIFACT_METRICS__LISTEN").map(|value| ("ARTIFACT_METRICS__LISTEN", value));
        let listen = choose(None, var, section.listen.map(|value| (path, value)), String::new());
        let read = |text: &str| if text.is_empty() { Some(None) } else { text.parse().ok().map(Some) };
        let rule = "is not an address such as 127.0.0.1:7009";
        Ok(Self { listen: parsed("metrics.listen", listen, read, rule)? })
    }

    pub(super) fn shown(&self) -> Vec<(&'static str, String, String)> {
        let listen = self.listen.value.map_or_else(|| "(none)".to_owned(), |address| address.to_string());
        vec![("metrics.listen", listen, self.listen.origin.to_string())]
    }
}
