//! Where a request goes to: a URL that may hold secrets and never shows them.

use crate::workers::outbound::address::{Forbidden, Reach};
use reqwest::Url;
use std::fmt;
use std::net::IpAddr;

/// An absolute URL of HTTP or WebSocket, in the one spelling connections are made from.
///
/// Its texts for people and for the log leave out user, password, query and fragment.
#[derive(Clone, PartialEq, Eq)]
pub struct Target(Url);

/// Why a text is no target. The text itself is not quoted: it may hold a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTarget {
    /// Not a URL.
    #[error("is not an absolute URL")]
    Malformed,
    /// Another scheme.
    #[error("must begin with http://, https://, ws:// or wss://")]
    Scheme,
}

impl Target {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`InvalidTarget`] tells the rule it breaks.
    pub fn parse(text: &str) -> Result<Self, InvalidTarget> {
        Url::parse(text).map_err(|_| InvalidTarget::Malformed).and_then(Self::of)
    }

    fn of(mut url: Url) -> Result<Self, InvalidTarget> {
        if !matches!(url.scheme(), "http" | "https" | "ws" | "wss") {
            return Err(InvalidTarget::Scheme);
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(InvalidTarget::Malformed);
        }
        url.set_fragment(None);
        Ok(Self(url))
    }

    /// The same with one more step at the end of its path.
    #[must_use]
    pub fn below(&self, step: &str) -> Self {
        let mut url = self.0.clone();
        if let Ok(mut steps) = url.path_segments_mut() {
            steps.pop_if_empty().push(step);
        }
        Self(url)
    }

    /// The same with one more parameter in its query.
    #[must_use]
    pub fn with_parameter(&self, name: &str, value: &str) -> Self {
        let mut url = self.0.clone();
        url.query_pairs_mut().append_pair(name, value);
        Self(url)
    }

    /// Where a redirect leads to, if that is on the same host and as well protected.
    pub(super) fn redirected(&self, location: &str) -> Option<Self> {
        let next = Self::of(self.0.join(location).ok()?).ok()?;
        let port = |url: &Url| url.port_or_known_default();
        let same = self.0.scheme() == next.0.scheme() && port(&self.0) == port(&next.0);
        let safer = (self.0.scheme(), next.0.scheme()) == ("http", "https")
            && (port(&self.0), port(&next.0)) == (Some(80), Some(443));
        (self.0.host_str() == next.0.host_str() && (same || safer)).then_some(next)
    }

    /// Whether it is one of a WebSocket.
    pub fn is_web_socket(&self) -> bool {
        matches!(self.0.scheme(), "ws" | "wss")
    }

    /// Whether what is sent there is encrypted on the way, and the other side shows a certificate.
    pub fn is_encrypted(&self) -> bool {
        matches!(self.0.scheme(), "https" | "wss")
    }

    /// The host it names: a name or an address, an IPv6 one in brackets.
    pub fn host(&self) -> Option<&str> {
        self.0.host_str()
    }

    /// The address it names, when it names one and not a host.
    pub(super) fn address(&self) -> Option<IpAddr> {
        let host = self.0.host_str()?;
        host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host).parse().ok()
    }

    /// Refuses an address that is out of reach; a host is judged once it is resolved.
    pub(super) fn within(&self, reach: Reach) -> Result<(), Forbidden> {
        self.address().map_or(Ok(()), |address| reach.judge(address))
    }

    pub(super) fn url(&self) -> &Url {
        &self.0
    }

    /// The whole URL, secrets included.
    pub fn revealed(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.0.scheme(), self.0.host_str().unwrap_or_default())?;
        if let Some(port) = self.0.port() {
            write!(f, ":{port}")?;
        }
        f.write_str(self.0.path())
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_never_shows_its_secrets() {
        let target =
            Target::parse("https://me:hunter2@prices.example:8443/v1/x?apikey=hunter3#hunter4").unwrap();
        assert_eq!(target.to_string(), "https://prices.example:8443/v1/x");
        assert_eq!(format!("{target:?}"), "Target(https://prices.example:8443/v1/x)");
        assert!(target.revealed().contains("hunter2") && !target.revealed().contains("hunter4"));
    }

    #[test]
    fn only_http_and_web_sockets_are_targets() {
        for text in ["file:///etc/passwd", "ftp://h/x", "gopher://h/", "dict://h/", "data:,x", "javascript:x"]
        {
            assert_eq!(Target::parse(text), Err(InvalidTarget::Scheme), "{text}");
        }
        for text in
            ["", "prices.example/x", "/x", "http://", "http://a b/", "http://[::1", "http://1.2.3.4.5/"]
        {
            assert_eq!(Target::parse(text), Err(InvalidTarget::Malformed), "{text}");
        }
    }

    #[test]
    fn a_step_goes_below_any_base() {
        for base in ["http://h:7000", "http://h:7000/", "http://h:7000/prices?x=1"] {
            let below = Target::parse(base).unwrap().below("prices");
            let path = if base.contains('?') { "/prices/prices" } else { "/prices" };
            assert_eq!(below.to_string(), format!("http://h:7000{path}"));
        }
    }

    #[test]
    fn a_redirect_stays_on_its_host_and_never_loses_protection() {
        let follow = |from: &str, to: &str| {
            Target::parse(from).unwrap().redirected(to).map(|target| target.revealed().to_owned())
        };
        assert_eq!(follow("http://a/x", "/y?z=1"), Some("http://a/y?z=1".to_owned()));
        assert_eq!(follow("http://a/x", "https://a/x"), Some("https://a/x".to_owned()));
        assert_eq!(follow("http://A:80/x", "http://a/y"), Some("http://a/y".to_owned()));
        for to in [
            "http://b/x",
            "//b/x",
            "http://a:81/x",
            "https://a:8443/x",
            "ws://a/x",
            "ftp://a/x",
            "http://a@b/x",
            "http://a.b/x",
            "http://127.0.0.1/x",
        ] {
            assert_eq!(follow("http://a/x", to), None, "{to}");
        }
        assert_eq!(follow("https://a/x", "http://a/x"), None);
    }
}
