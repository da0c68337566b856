//! `[limits]`: what one client may take of the service.

use super::{ConfigError, Environment, Setting, choose, parsed};
use crate::http::limits::{Limits as Values, Rates};
use serde::Deserialize;
use std::path::Path;
use std::time::Duration;

/// Declares each setting once: its key, its variable, its default, and where it goes.
macro_rules! settings {
    ($($(#[$doc:meta])* $key:ident = $variable:literal, $name:literal, $least:literal, $default:expr;)+) => {
        /// The section of the file.
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(super) struct Section { $($key: Option<u64>,)+ }

        /// Its settings.
        #[derive(Debug, Clone)]
        pub struct Limits { $($(#[$doc])* pub $key: Setting<u64>,)+ }

        impl Limits {
            pub(super) fn load(section: &Section, path: &Path, env: Environment<'_>) -> Result<Self, ConfigError> {
                let defaults = Values::default();
                Ok(Self { $($key: {
                    let var = env($variable).map(|value| ($variable, value));
                    let filed = section.$key.map(|value| (path, value.to_string()));
                    let setting = choose(None, var, filed, $default(&defaults).to_string());
                    let read = |text: &str| text.parse().ok().filter(|value: &u64| ($least..).contains(value));
                    parsed($name, setting, read, concat!("must be a whole number of at least ", $least))?
                },)+ })
            }

            pub(super) fn shown(&self) -> Vec<(&'static str, String, String)> {
                vec![$(($name, self.$key.value.to_string(), self.$key.origin.to_string()),)+]
            }
        }
    };
}

/// A number of things as a setting.
fn count(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

settings! {
    /// Connections from the network.
    connections = "ARTIFACT_LIMITS__CONNECTIONS", "limits.connections", 1, |v: &Values| count(v.connections);
    /// Connections from one address.
    connections_per_address = "ARTIFACT_LIMITS__CONNECTIONS_PER_ADDRESS", "limits.connections_per_address", 1,
        |v: &Values| count(v.connections_per_address);
    /// Requests that are served at once.
    concurrent_requests = "ARTIFACT_LIMITS__CONCURRENT_REQUESTS", "limits.concurrent_requests", 1,
        |v: &Values| count(v.requests);
    /// Seconds to the first byte of a connection, and then of a head to its last.
    head_seconds = "ARTIFACT_LIMITS__HEAD_SECONDS", "limits.head_seconds", 1, |v: &Values| v.head.as_secs();
    /// Seconds between two requests of a connection.
    keep_alive_seconds = "ARTIFACT_LIMITS__KEEP_ALIVE_SECONDS", "limits.keep_alive_seconds", 1,
        |v: &Values| v.keep_alive.as_secs();
    /// Bytes of the head of a request.
    head_bytes = "ARTIFACT_LIMITS__HEAD_BYTES", "limits.head_bytes", 8192, |v: &Values| count(v.head_bytes);
    /// Bytes of a path with its query.
    uri_bytes = "ARTIFACT_LIMITS__URI_BYTES", "limits.uri_bytes", 256, |v: &Values| count(v.uri_bytes);
    /// Lowest rate of a body, in bytes a second.
    body_bytes_per_second = "ARTIFACT_LIMITS__BODY_BYTES_PER_SECOND", "limits.body_bytes_per_second", 0,
        |v: &Values| v.body_rate;
    /// Lowest rate at which an answer is taken, in bytes a second.
    answer_bytes_per_second = "ARTIFACT_LIMITS__ANSWER_BYTES_PER_SECOND", "limits.answer_bytes_per_second", 0,
        |v: &Values| v.answer_rate;
    /// Seconds of waiting over which both rates are measured.
    pace_seconds = "ARTIFACT_LIMITS__PACE_SECONDS", "limits.pace_seconds", 1, |v: &Values| v.pace_window.as_secs();
    /// Requests of one key a minute; 0 is no limit, here and below.
    key_per_minute = "ARTIFACT_LIMITS__KEY_PER_MINUTE", "limits.key_per_minute", 0, |v: &Values| v.rates.key;
    /// Requests of one address a minute.
    address_per_minute = "ARTIFACT_LIMITS__ADDRESS_PER_MINUTE", "limits.address_per_minute", 0,
        |v: &Values| v.rates.address;
    /// Requests a minute, of one key or address, for what is costly.
    heavy_per_minute = "ARTIFACT_LIMITS__HEAVY_PER_MINUTE", "limits.heavy_per_minute", 0,
        |v: &Values| v.rates.heavy;
    /// Requests of one address a minute that show no key.
    anonymous_per_minute = "ARTIFACT_LIMITS__ANONYMOUS_PER_MINUTE", "limits.anonymous_per_minute", 0,
        |v: &Values| v.rates.anonymous;
    /// Keys of one address a minute that are refused.
    refused_per_minute = "ARTIFACT_LIMITS__REFUSED_PER_MINUTE", "limits.refused_per_minute", 0,
        |v: &Values| v.rates.refused;
}

impl Limits {
    /// The limits of the service.
    pub fn values(&self) -> Values {
        let count = |setting: &Setting<u64>| usize::try_from(setting.value).unwrap_or(usize::MAX);
        let seconds = |setting: &Setting<u64>| Duration::from_secs(setting.value);
        Values {
            connections: count(&self.connections),
            connections_per_address: count(&self.connections_per_address),
            requests: count(&self.concurrent_requests),
            first_byte: seconds(&self.head_seconds),
            head: seconds(&self.head_seconds),
            keep_alive: seconds(&self.keep_alive_seconds),
            head_bytes: count(&self.head_bytes),
            uri_bytes: count(&self.uri_bytes),
            body_rate: self.body_bytes_per_second.value,
            answer_rate: self.answer_bytes_per_second.value,
            pace_window: seconds(&self.pace_seconds),
            rates: Rates {
                key: self.key_per_minute.value,
                address: self.address_per_minute.value,
                heavy: self.heavy_per_minute.value,
                anonymous: self.anonymous_per_minute.value,
                refused: self.refused_per_minute.value,
            },
        }
    }
}
