//! `[proxy]`: whose word is taken for where a request comes from.

use super::{ConfigError, Environment, Setting, choose, parsed};
use crate::http::client_address::{ForwardingHeader, TrustedProxies};
use ipnet::IpNet;
use serde::Deserialize;
use std::net::IpAddr;
use std::path::Path;

/// The section of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    trusted: Option<Vec<String>>,
    header: Option<String>,
}

/// Its settings.
#[derive(Debug, Clone)]
pub struct Proxy {
    /// Networks of the proxies that are believed; none unless named.
    pub trusted: Setting<Vec<IpNet>>,
    /// The header they write.
    pub header: Setting<ForwardingHeader>,
}

impl Proxy {
    pub(super) fn load(section: Section, path: &Path, env: Environment<'_>) -> Result<Self, ConfigError> {
        let var = |name: &'static str| env(name).map(|value| (name, value));
        let filed = section.trusted.map(|networks| (path, networks.join(",")));
        let trusted = choose(None, var("ARTIFACT_PROXY__TRUSTED"), filed, String::new());
        let filed = section.header.map(|name| (path, name));
        let header = choose(None, var("ARTIFACT_PROXY__HEADER"), filed, "x-forwarded-for".to_owned());
        Ok(Self {
            trusted: parsed(
                "proxy.trusted",
                trusted,
                networks,
                "is no list of networks such as 127.0.0.1/32 or ::1",
            )?,
            header: parsed("proxy.header", header, forwarding, "must be x-forwarded-for or forwarded")?,
        })
    }

    pub(super) fn shown(&self) -> Vec<(&'static str, String, String)> {
        let networks: Vec<String> = self.trusted.value.iter().map(ToString::to_string).collect();
        let header = match self.header.value {
            ForwardingHeader::XForwardedFor => "x-forwarded-for",
            ForwardingHeader::Forwarded => "forwarded",
        };
        vec![
            ("proxy.trusted", networks.join(","), self.trusted.origin.to_string()),
            ("proxy.header", header.to_owned(), self.header.origin.to_string()),
        ]
    }

    /// The proxies that are believed.
    pub fn proxies(&self) -> TrustedProxies {
        TrustedProxies { networks: self.trusted.value.clone(), header: self.header.value }
    }
}

/// Networks, separated by commas; an address alone is a network of one.
fn networks(text: &str) -> Option<Vec<IpNet>> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| part.parse().ok().or_else(|| part.parse::<IpAddr>().ok().map(IpNet::from))).collect()
}

fn forwarding(text: &str) -> Option<ForwardingHeader> {
    if text.eq_ignore_ascii_case("x-forwarded-for") {
        return Some(ForwardingHeader::XForwardedFor);
    }
    text.eq_ignore_ascii_case("forwarded").then_some(ForwardingHeader::Forwarded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_networks_takes_single_addresses_and_nothing_else() {
        let read = networks("127.0.0.1/32, ::1,10.0.0.0/8").unwrap();
        let shown: Vec<String> = read.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["127.0.0.1/32", "::1/128", "10.0.0.0/8"]);
        for wrong in ["localhost", "10.0.0.0/33", "*", "10.0.0.0/8 192.168.0.0/16"] {
            assert!(networks(wrong).is_none(), "{wrong}");
        }
    }
}
