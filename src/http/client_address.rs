//! Where a request comes from: the peer of its connection, or what a trusted proxy says of it.
//!
//! A forwarding header is a claim of whoever wrote it. It is believed only from proxies the configuration names, and
//! read from its right end, where they wrote: the first hop from there that is no trusted proxy is the client.

use axum::http::{HeaderMap, HeaderName, header};
use ipnet::IpNet;
use std::net::IpAddr;

/// Whether the client's own connection is encrypted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Encrypted(pub bool);

/// The header in which proxies say whom they speak for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ForwardingHeader {
    /// `X-Forwarded-For`, which nearly all proxies write.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// Every header by which proxies tell of clients.
const FORWARDING: [HeaderName; 3] =
    [header::FORWARDED, HeaderName::from_static("x-forwarded-for"), HeaderName::from_static("x-real-ip")];

/// Whether a request says that it was forwarded.
pub fn claims_to_be_forwarded(headers: &HeaderMap) -> bool {
    FORWARDING.iter().any(|name| headers.contains_key(name))
}

/// The proxies that are believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    /// Their addresses.
    pub networks: Vec<IpNet>,
    /// The header they write. The other one passes through them as the client sent it, so it is never read.
    pub header: ForwardingHeader,
}

impl TrustedProxies {
    /// Whether an address is one of theirs.
    pub fn include(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// The client behind a connection from `peer`.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        if !self.include(client) {
            return client;
        }
        for hop in self.hops(headers).iter().rev() {
            // Beyond a hop that cannot be read nothing is known: it counts as the proxy that named it.
            let Some(address) = hop_address(hop) else { break };
            client = address;
            if !self.include(client) {
                break;
            }
        }
        client
    }

    /// Whether a trusted proxy says that the client came to it over TLS.
    pub fn client_is_encrypted(&self, peer: IpAddr, headers: &HeaderMap) -> bool {
        if !self.include(peer.to_canonical()) {
            return false;
        }
        match self.header {
            ForwardingHeader::XForwardedFor => {
                let mut values = headers.get_all("x-forwarded-proto").iter();
                values.next_back().is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"https"))
            }
            ForwardingHeader::Forwarded => {
                let lines = headers.get_all(header::FORWARDED).iter();
                let last = lines.filter_map(|line| line.to_str().ok()).next_back().unwrap_or_default();
                let last = last.rsplit(',').next().unwrap_or_default();
                parameter(last, "proto").is_some_and(|proto| proto.eq_ignore_ascii_case("https"))
            }
        }
    }

    fn hops(&self, headers: &HeaderMap) -> Vec<String> {
        let name = match self.header {
            ForwardingHeader::XForwardedFor => HeaderName::from_static("x-forwarded-for"),
            ForwardingHeader::Forwarded => header::FORWARDED,
        };
        let lines = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or_default());
        let hops = lines.flat_map(|line| line.split(','));
        match self.header {
            ForwardingHeader::XForwardedFor => hops.map(|hop| hop.trim().to_owned()).collect(),
            ForwardingHeader::Forwarded => {
                hops.map(|hop| parameter(hop, "for").unwrap_or_default().to_owned()).collect()
            }
        }
    }
}

/// A parameter of one element of `Forwarded`.
fn parameter<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    let pairs = element.split(';').filter_map(|pair| pair.trim().split_once('='));
    let mut values = pairs.filter(|(key, _)| key.trim().eq_ignore_ascii_case(name));
    values.next().map(|(_, value)| value.trim().trim_matches('"'))
}

/// An address with or without a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`.
fn hop_address(hop: &str) -> Option<IpAddr> {
    let bare = match hop.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None if hop.matches(':').count() == 1 => hop.split_once(':')?.0,
        None => hop,
    };
    bare.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(
        header: ForwardingHeader,
        trusted: &[&str],
        peer: &str,
        lines: &[(&'static str, &str)],
    ) -> String {
        let networks = trusted.iter().map(|text| text.parse().unwrap()).collect();
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        TrustedProxies { networks, header }.client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn the_first_hop_from_the_right_that_is_not_trusted_is_the_client() {
        let x = |trusted: &[&str], peer: &str, value: &str| {
            client(ForwardingHeader::XForwardedFor, trusted, peer, &[("x-forwarded-for", value)])
        };
        let near: &[&str] = &["127.0.0.1/32", "10.0.0.0/8"];
        assert_eq!(x(&[], "127.0.0.1", "192.0.2.9"), "127.0.0.1", "nobody is trusted unless named");
        assert_eq!(x(near, "198.51.100.1", "192.0.2.9"), "198.51.100.1", "a stranger is not believed");
        assert_eq!(x(near, "127.0.0.1", "192.0.2.9"), "192.0.2.9");
        assert_eq!(x(near, "::ffff:127.0.0.1", "192.0.2.9"), "192.0.2.9");
        assert_eq!(x(near, "127.0.0.1", "203.0.113.7, 192.0.2.9, 10.1.2.3"), "192.0.2.9");
        assert_eq!(x(near, "127.0.0.1", "10.1.1.1,10.2.2.2"), "10.1.1.1");
        assert_eq!(x(near, "127.0.0.1", ""), "127.0.0.1");
        for garbage in ["192.0.2.9, nonsense", "192.0.2.9, unknown", "192.0.2.9,", "192.0.2.9, 1.2.3"] {
            assert_eq!(x(near, "127.0.0.1", garbage), "127.0.0.1", "{garbage}");
        }
        assert_eq!(x(near, "127.0.0.1", "[2001:db8::1]:443"), "2001:db8::1");
        assert_eq!(x(near, "127.0.0.1", "2001:db8::1"), "2001:db8::1");
        assert_eq!(x(near, "127.0.0.1", "192.0.2.9:4711"), "192.0.2.9");
    }

    #[test]
    fn several_lines_are_one_list_and_the_other_header_is_never_read() {
        let lines = [
            ("x-forwarded-for", "203.0.113.7"),
            ("x-forwarded-for", "192.0.2.9"),
            ("forwarded", "for=203.0.113.8"),
        ];
        assert_eq!(
            client(ForwardingHeader::XForwardedFor, &["127.0.0.1/32"], "127.0.0.1", &lines),
            "192.0.2.9"
        );
        assert_eq!(
            client(ForwardingHeader::Forwarded, &["127.0.0.1/32"], "127.0.0.1", &lines),
            "203.0.113.8"
        );
        let quoted = [("forwarded", "for=203.0.113.7, For=\"[2001:db8::1]:443\";proto=https;by=10.0.0.1")];
        assert_eq!(
            client(ForwardingHeader::Forwarded, &["127.0.0.1/32"], "127.0.0.1", &quoted),
            "2001:db8::1"
        );
        let hidden = [("forwarded", "for=203.0.113.7, for=_hidden")];
        assert_eq!(client(ForwardingHeader::Forwarded, &["127.0.0.1/32"], "127.0.0.1", &hidden), "127.0.0.1");
    }

    #[test]
    fn only_a_trusted_proxy_says_that_its_client_came_over_tls() {
        use ForwardingHeader::{Forwarded, XForwardedFor};
        let encrypted = |header, peer: &str, lines: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(*name, value.parse().unwrap());
            }
            let proxies = TrustedProxies { networks: vec!["10.0.0.0/8".parse().unwrap()], header };
            proxies.client_is_encrypted(peer.parse().unwrap(), &headers)
        };
        let said = [("x-forwarded-proto", "https"), ("forwarded", "for=192.0.2.9;proto=https")];
        for header in [XForwardedFor, Forwarded] {
            assert!(encrypted(header, "10.1.2.3", &said) && encrypted(header, "::ffff:10.1.2.3", &said));
            assert!(!encrypted(header, "192.0.2.1", &said), "a stranger is not believed");
            assert!(!encrypted(header, "10.1.2.3", &[]));
        }
        // Each reads its own header, and of several words the last.
        assert!(
            !encrypted(Forwarded, "10.1.2.3", &said[..1])
                && !encrypted(XForwardedFor, "10.1.2.3", &said[1..])
        );
        for (last, is) in [("HTTPS", true), ("http", false)] {
            let lines = [("x-forwarded-proto", "https"), ("x-forwarded-proto", last)];
            assert_eq!(encrypted(XForwardedFor, "10.1.2.3", &lines), is);
            let hops = format!("for=192.0.2.9;proto=https, for=192.0.2.8;proto={last}");
            assert_eq!(encrypted(Forwarded, "10.1.2.3", &[("forwarded", &hops)]), is);
        }
    }

    #[test]
    fn every_header_of_proxies_claims_that_a_request_was_forwarded() {
        for (name, claims) in
            [("forwarded", true), ("x-forwarded-for", true), ("x-real-ip", true), ("x-forwarded-host", false)]
        {
            let mut headers = HeaderMap::new();
            headers.append(name, "192.0.2.9".parse().unwrap());
            assert_eq!(claims_to_be_forwarded(&headers), claims, "{name}");
        }
    }
}
