//! Which part of the internet a connection comes from: what one party has at hand counts as one.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network, by its first address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct Network {
    first: IpAddr,
    length: u8,
}

impl Network {
    /// What one machine has: an IPv4 address, or an IPv6 /64.
    pub(crate) fn host(address: IpAddr) -> Self {
        Self::new(address, 32, 64)
    }

    /// What one party gets without asking twice: an IPv4 /24, or an IPv6 /48.
    pub(crate) fn site(address: IpAddr) -> Self {
        Self::new(address, 24, 48)
    }

    fn new(address: IpAddr, length_v4: u8, length_v6: u8) -> Self {
        // A listener for both families shows IPv4 addresses as mapped ones, which all are of one /64.
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let mask = u32::MAX << (32 - u32::from(length_v4));
                Self {
                    first: Ipv4Addr::from_bits(address.to_bits() & mask).into(),
                    length: length_v4,
                }
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX << (128 - u32::from(length_v6));
                Self {
                    first: Ipv6Addr::from_bits(address.to_bits() & mask).into(),
                    length: length_v6,
                }
            }
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.first, self.length) {
            (IpAddr::V4(address), 32) => address.fmt(f),
            (first, length) => write!(f, "{first}/{length}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv4_counts_by_address_and_24_and_ipv6_by_64_and_48() {
        for (address, host, site) in [
            ("192.0.2.7", "192.0.2.7", "192.0.2.0/24"),
            ("::ffff:192.0.2.7", "192.0.2.7", "192.0.2.0/24"),
            ("127.1.2.3", "127.1.2.3", "127.1.2.0/24"),
            (
                "2001:db8:1:2:3:4:5:6",
                "2001:db8:1:2::/64",
                "2001:db8:1::/48",
            ),
            ("2001:db8::1", "2001:db8::/64", "2001:db8::/48"),
            ("::1", "::/64", "::/48"),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(Network::host(address).to_string(), host);
            assert_eq!(Network::site(address).to_string(), site);
        }
    }
}
