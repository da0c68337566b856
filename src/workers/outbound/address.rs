//! Which addresses a request may be sent to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How far requests may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// To public addresses only.
    Public,
    /// To any address: the operator named the place, or allowed private ones.
    Anywhere,
}

/// An address that is not public.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{address} is {kind}; it is reached only where the configuration allows private addresses")]
pub struct Forbidden {
    /// The address.
    pub address: IpAddr,
    /// What kind of address it is.
    pub kind: &'static str,
}

impl Reach {
    /// Refuses an address that lies outside.
    ///
    /// # Errors
    /// [`Forbidden`] with the kind of address it is.
    pub fn judge(self, address: IpAddr) -> Result<(), Forbidden> {
        if self == Self::Anywhere {
            return Ok(());
        }
        let kind = match address {
            IpAddr::V4(v4) => special_v4(v4),
            IpAddr::V6(v6) => special_v6(v6),
        };
        kind.map_or(Ok(()), |kind| Err(Forbidden { address, kind }))
    }
}

/// The blocks of the registry of special-purpose IPv4 addresses, and the public address at which one cloud answers
/// its machines with their secrets.
fn special_v4(address: Ipv4Addr) -> Option<&'static str> {
    let kind = match address.octets() {
        [169, 254, 169, 254] | [100, 100, 100, 200] | [192, 0, 0, 192] | [168, 63, 129, 16] => {
            "a metadata service"
        }
        [0, ..] => "unspecified",
        [127, ..] => "loopback",
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => "private",
        [100, 64..=127, ..] => "shared by a carrier",
        [169, 254, ..] => "link-local",
        [192, 0, 0, _] | [192, 88, 99, _] => "reserved for protocols",
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => "for documentation",
        [198, 18..=19, ..] => "for benchmarks",
        [224..=239, ..] => "multicast",
        [240..=255, ..] => "reserved",
        _ => return None,
    };
    Some(kind)
}

/// Public is what is assigned out of `2000::/3`, less the parts that stand for something else. Addresses that carry
/// an IPv4 address are refused whatever they carry: nobody has to write one.
fn special_v6(address: Ipv6Addr) -> Option<&'static str> {
    let kind = match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => "unspecified",
        [0, 0, 0, 0, 0, 0, 0, 1] => "loopback",
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => "an IPv4 address in IPv6",
        [0x64, 0xff9b, ..] => "an IPv4 address behind NAT64",
        [0x2002, ..] | [0x2001, 0, ..] => "an IPv4 address behind a tunnel",
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] | [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254] => "a metadata service",
        [0xfc00..=0xfdff, ..] => "private",
        [0xfe80..=0xfebf, ..] => "link-local",
        [0xfec0..=0xfeff, ..] => "site-local",
        [0xff00..=0xffff, ..] => "multicast",
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => "for documentation",
        [0x2001, 0..=0x1ff, ..] => "reserved for protocols",
        [0x2000..=0x3fff, ..] => return None,
        _ => "reserved",
    };
    Some(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first and the last address of each refused block.
    const REFUSED: [&str; 66] = [
        "0.0.0.0",
        "0.255.255.255",
        "10.0.0.0",
        "10.255.255.255",
        "100.64.0.0",
        "100.127.255.255",
        "100.100.100.200",
        "127.0.0.0",
        "127.255.255.255",
        "168.63.129.16",
        "169.254.0.0",
        "169.254.169.254",
        "169.254.255.255",
        "172.16.0.0",
        "172.31.255.255",
        "192.0.0.0",
        "192.0.0.255",
        "192.0.2.0",
        "192.0.2.255",
        "192.88.99.0",
        "192.88.99.255",
        "192.168.0.0",
        "192.168.255.255",
        "198.18.0.0",
        "198.19.255.255",
        "198.51.100.0",
        "198.51.100.255",
        "203.0.113.0",
        "203.0.113.255",
        "224.0.0.0",
        "239.255.255.255",
        "240.0.0.0",
        "255.255.255.255",
        "::",
        "::1",
        "::2",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "::ffff:0:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::808:808",
        "64:ff9b:1::1",
        "100::1",
        "1fff:ffff::",
        "2001::1",
        "2001:0:ffff::",
        "2001:1::",
        "2001:1ff:ffff::",
        "2001:db8::",
        "2001:db8:ffff::",
        "2002::",
        "2002:7f00:1::",
        "2002:ffff::",
        "3fff::",
        "3fff:fff:ffff::",
        "4000::",
        "fc00::",
        "fd00:ec2::254",
        "fd20:ce::254",
        "fdff:ffff::",
        "fe80::1",
        "febf:ffff::",
        "fec0::",
        "ff02::1",
        "ffff:ffff::",
    ];

    /// The neighbours of those blocks.
    const PUBLIC: [&str; 40] = [
        "1.0.0.0",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "168.63.129.15",
        "168.63.129.17",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "191.255.255.255",
        "192.0.1.0",
        "192.0.3.0",
        "192.88.98.255",
        "192.88.100.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "198.51.99.255",
        "198.51.101.0",
        "203.0.112.255",
        "203.0.114.0",
        "223.255.255.255",
        "8.8.8.8",
        "2000::",
        "2001:200::",
        "2001:4860:4860::8888",
        "2001:db7:ffff::",
        "2001:db9::",
        "2003::",
        "2400:cb00::1",
        "2600::",
        "2a00:1450::1",
        "2c0f:ffff::",
        "3ffe:ffff::",
        "3fff:1000::",
    ];

    #[test]
    fn only_public_addresses_are_within_public_reach() {
        for text in REFUSED {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(Reach::Public.judge(address).unwrap_err().address, address, "{text}");
            assert_eq!(Reach::Anywhere.judge(address), Ok(()), "{text}");
        }
        for text in PUBLIC {
            assert_eq!(Reach::Public.judge(text.parse().unwrap()), Ok(()), "{text}");
        }
    }
}
