//! What leaves this machine or comes to it is encrypted, and the other side has shown its certificate, unless the
//! operator says `unencrypted`: then something else sees to it, or nobody else gets there.

use super::{Config, ConfigError, masked};
use crate::storage::opening::postgres_peer;
use crate::workers::feeds::definition::{Definition, Transport};
use crate::workers::outbound::target::Target;
use std::net::{IpAddr, SocketAddr};

/// What a URL of HTTP should have been.
const HTTPS: &str = "begin with https://";
/// What a URL of a WebSocket should have been.
const WSS: &str = "begin with wss://";
/// What a URL of PostgreSQL should have been.
const VERIFIED: &str = "end with ?sslmode=verify-full&sslrootcert=FILE";

/// Whether a host is this machine.
fn is_here(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    host == "localhost" || address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Whether what is sent to a URL can be read on the way. What is no URL is told of elsewhere.
pub(super) fn can_be_read(url: &str) -> bool {
    Target::parse(url).is_ok_and(|target| !target.is_encrypted() && !target.host().is_some_and(is_here))
}

fn url(name: impl Into<String>, url: &str, should: &'static str) -> Result<(), ConfigError> {
    if !can_be_read(url) {
        return Ok(());
    }
    Err(ConfigError::Unencrypted { name: name.into(), place: masked(url), should })
}

/// Whether PostgreSQL is asked over a connection that others can read, or that nobody has shown a certificate for. A
/// mode that encrypts only when the server likes is no better than none.
fn database(url: &str) -> Result<(), ConfigError> {
    let Some(peer) = postgres_peer(url) else { return Ok(()) };
    if peer.verified || peer.host.as_deref().is_none_or(is_here) {
        return Ok(());
    }
    Err(ConfigError::Unencrypted { name: "database_url".to_owned(), place: masked(url), should: VERIFIED })
}

fn feed(feed: &Definition) -> Result<(), ConfigError> {
    let name = |key: &str| format!("feeds.{}.{key}", feed.name);
    if let Some(generic) = &feed.generic {
        // What is filled in is not part of a host, or the host is not this machine.
        let tried = generic.url.expose().replace(['{', '}'], "");
        let should = if feed.transport == Transport::Rest { HTTPS } else { WSS };
        return url(name("url"), &tried, should);
    }
    url(name("base_url"), &feed.place.base_url, HTTPS)?;
    url(name("ws_url"), &feed.place.ws_url, WSS)
}

impl Config {
    /// Whether every connection that the configuration asks for is encrypted where others could read it.
    ///
    /// # Errors
    /// [`ConfigError::Unencrypted`] names the setting, and [`ConfigError::PlainBeyondLoopback`] the address.
    pub(super) fn check_connections(&self) -> Result<(), ConfigError> {
        self.check_address(self.listen.value)?;
        if self.unencrypted.value {
            return Ok(());
        }
        if let Some(address) = self.metrics.listen.value.filter(|address| !address.ip().is_loopback()) {
            return Err(ConfigError::PlainBeyondLoopback { name: "metrics.listen", address });
        }
        self.database_url.value.as_deref().map_or(Ok(()), database)?;
        if let Some(target) = &self.outbox.url.value {
            url("outbox.url", target.revealed(), HTTPS)?;
        }
        if !self.backup.s3.bucket.value.is_empty() {
            url("backup.s3_endpoint", &self.backup.s3.endpoint.value, HTTPS)?;
        }
        self.feeds.value.iter().try_for_each(feed)
    }

    /// Whether an address may be listened on: who comes without a key comes from this machine, and what others send and
    /// get is encrypted. A proxy on this machine is no reason to listen beyond it, and what one elsewhere sends can be
    /// read on the way.
    ///
    /// # Errors
    /// [`ConfigError::OpenBeyondLoopback`], [`ConfigError::PlainBeyondLoopback`].
    pub fn check_address(&self, address: SocketAddr) -> Result<(), ConfigError> {
        if address.ip().is_loopback() {
            return Ok(());
        }
        if self.open_loopback.value {
            return Err(ConfigError::OpenBeyondLoopback(address));
        }
        if self.tls.files().is_some() || self.unencrypted.value {
            return Ok(());
        }
        Err(ConfigError::PlainBeyondLoopback { name: "listen", address })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Flags;

    fn load(env: &[(&str, &str)]) -> Result<Config, String> {
        let look =
            |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Config::load(Flags::default(), &look).map_err(|error| error.to_string())
    }

    #[test]
    fn what_goes_to_another_machine_is_encrypted_or_somebody_said_so() {
        let cases = [
            ("INFRA_API_URL", "http://artifact.example:7000", "outbox.url", "https://artifact.example:7000"),
            (
                "ARTIFACT_DATABASE_URL",
                "postgres://u:hush@db.example/b",
                "database_url",
                "postgres://u:hush@localhost/b",
            ),
            (
                "ARTIFACT_DATABASE_URL",
                "postgres://u:hush@db.example/b?sslmode=require",
                "database_url",
                "postgres://u:hush@db.example/b?sslmode=verify-full",
            ),
            ("ARTIFACT_METRICS__LISTEN", "0.0.0.0:7009", "metrics.listen", "127.0.0.1:7009"),
            ("ARTIFACT_LISTEN", "192.0.2.1:7000", "listen", "[::1]:7000"),
        ];
        for (variable, refused, named, taken) in cases {
            let said = load(&[(variable, refused)]).unwrap_err();
            assert!(said.starts_with(named) && said.contains("unencrypted = true"), "{said}");
            assert!(!said.contains("hush"), "{said}");
            load(&[(variable, taken)]).unwrap();
            load(&[(variable, refused), ("ARTIFACT_UNENCRYPTED", "true")]).unwrap();
        }
    }

    #[test]
    fn storage_is_spoken_to_over_tls() {
        let at = |endpoint| {
            load(&[("ARTIFACT_BACKUP__S3_BUCKET", "b"), ("ARTIFACT_BACKUP__S3_ENDPOINT", endpoint)])
        };
        assert!(at("http://minio:9000").unwrap_err().starts_with("backup.s3_endpoint"));
        at("http://127.0.0.1:9000").unwrap();
        at("https://minio:9000").unwrap();
    }

    #[test]
    fn this_machine_is_known_by_any_of_its_names_and_by_nothing_like_them() {
        for here in ["http://localhost:1/", "http://127.9.9.9/", "ws://[::1]:8/", "http://127.1/"] {
            assert!(!can_be_read(here), "{here}");
        }
        for elsewhere in [
            "http://localhost.example/",
            "http://127.0.0.1.example/",
            "ws://[::2]/",
            "http://0.0.0.0/",
            "http://10.0.0.1/",
        ] {
            assert!(can_be_read(elsewhere), "{elsewhere}");
            assert!(!can_be_read(&elsewhere.replace("http", "https").replace("ws", "wss")), "{elsewhere}");
        }
    }

    #[test]
    fn others_are_served_with_tls_or_because_somebody_said_so() {
        for others in ["0.0.0.0:7000", "[::]:7000", "192.0.2.7:80", "10.0.0.1:7000"] {
            let with = |more: &[(&str, &str)]| load(&[&[("ARTIFACT_LISTEN", others)], more].concat());
            let said = with(&[]).unwrap_err();
            assert!(said.contains(others) && said.contains("[tls]"), "{said}");
            // A proxy that is believed is no encryption of the way from it to here.
            assert!(with(&[("ARTIFACT_PROXY__TRUSTED", "10.0.0.2/32")]).is_err());
            with(&[("ARTIFACT_UNENCRYPTED", "true")]).unwrap();
            with(&[("ARTIFACT_TLS__CERTIFICATE", "/c"), ("ARTIFACT_TLS__KEY", "/k")]).unwrap();
        }
        for own in ["127.0.0.1:7000", "127.8.0.1:0", "[::1]:7000"] {
            load(&[("ARTIFACT_LISTEN", own)]).unwrap();
        }
    }
}
