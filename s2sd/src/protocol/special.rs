//! Addresses that are not public: the special-purpose addresses of IANA's registries (RFC 6890), those with such an
//! IPv4 address in them, and those that were never allocated.
//!
//! Pure. The owner of a domain chooses what its DNS says: without this rule every owner could make us connect to
//! machines that only we reach. Left out: our own networks with public addresses, which no registry knows.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::host::Host;

/// Why an address is not public.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Special {
    /// `0.0.0.0/8`, `::`: for a machine that has no address yet; to connect there leads to this machine.
    Unspecified,
    /// This machine.
    Loopback,
    /// RFC 1918, and IPv6's deprecated site-local addresses.
    Private,
    /// The cable or the radio network that this machine is on.
    LinkLocal,
    /// `100.64.0.0/10`: behind a carrier's address translation.
    Shared,
    /// `fc00::/7`.
    UniqueLocal,
    /// `255.255.255.255`.
    Broadcast,
    /// A group of machines.
    Multicast,
    /// For examples.
    Documentation,
    /// For measurements between machines of a laboratory.
    Benchmarking,
    /// For another purpose, for a protocol's own use, or not given to anybody.
    Reserved,
    /// A name that ends in a number: no host has one, but some resolvers read it as an address.
    Number,
}

/// As one word before "address".
impl fmt::Display for Special {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "unspecified",
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::LinkLocal => "link-local",
            Self::Shared => "carrier-grade NAT",
            Self::UniqueLocal => "unique local",
            Self::Broadcast => "broadcast",
            Self::Multicast => "multicast",
            Self::Documentation => "documentation",
            Self::Benchmarking => "benchmarking",
            Self::Reserved => "reserved",
            Self::Number => "numeric",
        })
    }
}

impl Special {
    /// Why an address is not public; `None`: it is.
    pub fn of(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(address) => Self::of_ipv4(address),
            IpAddr::V6(address) => Self::of_ipv6(address),
        }
    }

    /// The same for a host. Of a name it knows only those that every resolver has to know (RFC 6761 §6.3), or might
    /// take for an address.
    pub fn of_host(host: &Host) -> Option<Self> {
        match host {
            Host::Address(address) => Self::of(*address),
            Host::Name(name) => Self::of_name(name),
        }
    }

    /// The same for a name.
    pub fn of_name(name: &str) -> Option<Self> {
        let name = name.strip_suffix('.').unwrap_or(name);
        let last = name.rsplit('.').next().unwrap_or(name);
        let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let hex = last
            .strip_prefix("0x")
            .or_else(|| last.strip_prefix("0X"))
            .is_some_and(is_hex);
        let decimal = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
        if last.eq_ignore_ascii_case("localhost") {
            Some(Self::Loopback)
        } else if hex || decimal || last.contains([':', '[', ']']) {
            Some(Self::Number)
        } else {
            None
        }
    }

    fn of_ipv4(address: Ipv4Addr) -> Option<Self> {
        Some(match address.octets() {
            [0, ..] => Self::Unspecified,
            [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Self::Private,
            [100, 64..=127, ..] => Self::Shared,
            [127, ..] => Self::Loopback,
            [169, 254, ..] => Self::LinkLocal,
            // Protocols' own; and the relays of 6to4, which are no more.
            [192, 0, 0, _] | [192, 88, 99, _] => Self::Reserved,
            [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Self::Documentation,
            [198, 18..=19, ..] => Self::Benchmarking,
            [224..=239, ..] => Self::Multicast,
            [255, 255, 255, 255] => Self::Broadcast,
            [240..=255, ..] => Self::Reserved,
            _ => return None,
        })
    }

    fn of_ipv6(address: Ipv6Addr) -> Option<Self> {
        let within = |high: u16, low: u16| {
            let [[a, b], [c, d]] = [high.to_be_bytes(), low.to_be_bytes()];
            Self::of_ipv4(Ipv4Addr::new(a, b, c, d))
        };
        Some(match address.segments() {
            [0, 0, 0, 0, 0, 0, 0, 0] => Self::Unspecified,
            [0, 0, 0, 0, 0, 0, 0, 1] => Self::Loopback,
            // IPv4-mapped, NAT64, 6to4: the packets go to the IPv4 address.
            [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                return within(high, low);
            }
            [0x2002, high, low, ..] => return within(high, low),
            // IPv4-compatible, which is no more.
            [0, 0, 0, 0, 0, 0, high, low] => within(high, low).unwrap_or(Self::Reserved),
            // Protocols' own, Teredo among them.
            [0x2001, 2, 0, ..] => Self::Benchmarking,
            [0x2001, 0..=0x1ff, ..] => Self::Reserved,
            [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Self::Documentation,
            [0x2000..=0x3fff, ..] => return None,
            [0xfc00..=0xfdff, ..] => Self::UniqueLocal,
            [0xfe80..=0xfebf, ..] => Self::LinkLocal,
            [0xfec0..=0xfeff, ..] => Self::Private,
            [0xff00..=0xffff, ..] => Self::Multicast,
            // NAT64 of a private network, the discard prefix, and all that was never allocated.
            _ => Self::Reserved,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of each range: the last address before it, its first, its last, and the first after it.
    #[track_caller]
    fn ranges(all: &[(&str, &str, &str, &str, Special)]) {
        let of = |text: &str| Special::of(text.parse().unwrap());
        for &(before, first, last, after, kind) in all {
            for within in [first, last] {
                assert_eq!(of(within), Some(kind), "{within}");
            }
            for beyond in [before, after] {
                assert_ne!(of(beyond), Some(kind), "{beyond}");
            }
        }
    }

    #[track_caller]
    fn public(texts: &str) {
        for text in texts.split(' ') {
            assert_eq!(Special::of(text.parse().unwrap()), None, "{text}");
        }
    }

    #[test]
    fn each_range_of_ipv4_ends_where_it_ends() {
        use Special::*;
        #[rustfmt::skip]
        ranges(&[
            ("255.255.255.255", "0.0.0.0", "0.255.255.255", "1.0.0.0", Unspecified),
            ("9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0", Private),
            ("100.63.255.255", "100.64.0.0", "100.127.255.255", "100.128.0.0", Shared),
            ("126.255.255.255", "127.0.0.0", "127.255.255.255", "128.0.0.0", Loopback),
            ("169.253.255.255", "169.254.0.0", "169.254.255.255", "169.255.0.0", LinkLocal),
            ("172.15.255.255", "172.16.0.0", "172.31.255.255", "172.32.0.0", Private),
            ("191.255.255.255", "192.0.0.0", "192.0.0.255", "192.0.1.0", Reserved),
            ("192.0.1.255", "192.0.2.0", "192.0.2.255", "192.0.3.0", Documentation),
            ("192.88.98.255", "192.88.99.0", "192.88.99.255", "192.88.100.0", Reserved),
            ("192.167.255.255", "192.168.0.0", "192.168.255.255", "192.169.0.0", Private),
            ("198.17.255.255", "198.18.0.0", "198.19.255.255", "198.20.0.0", Benchmarking),
            ("198.51.99.255", "198.51.100.0", "198.51.100.255", "198.51.101.0", Documentation),
            ("203.0.112.255", "203.0.113.0", "203.0.113.255", "203.0.114.0", Documentation),
            ("223.255.255.255", "224.0.0.0", "239.255.255.255", "240.0.0.0", Multicast),
            ("239.255.255.255", "240.0.0.0", "255.255.255.254", "255.255.255.255", Reserved),
            ("255.255.255.254", "255.255.255.255", "255.255.255.255", "0.0.0.0", Broadcast),
        ]);
        public(
            "1.0.0.0 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 169.253.255.255 \
             169.255.0.0 172.15.255.255 172.32.0.0 191.255.255.255 192.0.1.0 192.0.3.0 192.88.98.255 192.88.100.0 \
             192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 198.51.99.255 198.51.101.0 203.0.112.255 \
             203.0.114.0 223.255.255.255",
        );
    }

    #[test]
    fn each_range_of_ipv6_ends_where_it_ends() {
        use Special::*;
        #[rustfmt::skip]
        ranges(&[
            ("ffff::", "::", "::", "::1", Unspecified),
            ("::", "::1", "::1", "::2", Loopback),
            ("::ffff:9.255.255.255", "::ffff:10.0.0.0", "::ffff:10.255.255.255", "::ffff:11.0.0.0", Private),
            ("::9.255.255.255", "::10.0.0.0", "::10.255.255.255", "::11.0.0.0", Private),
            ("64:ff9b::126.255.255.255", "64:ff9b::127.0.0.0", "64:ff9b::127.255.255.255", "64:ff9b::128.0.0.0", Loopback),
            ("2002:a9fd:ffff::", "2002:a9fe::", "2002:a9fe:ffff:ffff::", "2002:a9ff::", LinkLocal),
            ("64:ff9b::ffff:ffff", "64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", "2000::", Reserved),
            ("2000:ffff::", "2001::", "2001:1:ffff::", "2001:200::", Reserved),
            ("2001:1::", "2001:2::", "2001:2:0:ffff:ffff::", "2001:2:1::", Benchmarking),
            ("2001:db7:ffff::", "2001:db8::", "2001:db8:ffff:ffff::", "2001:db9::", Documentation),
            ("3ffe:ffff::", "3fff::", "3fff:fff:ffff::", "3fff:1000::", Documentation),
            ("3fff:ffff::", "4000::", "fbff:ffff::", "fc00::", Reserved),
            ("fbff:ffff::", "fc00::", "fdff:ffff::", "fe00::", UniqueLocal),
            ("fe7f:ffff::", "fe80::", "febf:ffff::", "fec0::", LinkLocal),
            ("febf:ffff::", "fec0::", "feff:ffff::", "ff00::", Private),
            ("feff:ffff::", "ff00::", "ffff:ffff::", "::", Multicast),
            ("::", "100::", "1fff:ffff::", "2000::", Reserved),
        ]);
        public(
            "2000:: 2001:200:: 2001:db7:ffff:: 2001:db9:: 2a00:1450:4001::1 3ffe:ffff:: 3fff:1000:: 3fff:ffff:: \
             ::ffff:11.0.0.0 64:ff9b::11.0.0.0 2002:b00::",
        );
    }

    #[test]
    fn whatever_is_not_public_in_ipv4_is_not_public_within_ipv6() {
        for step in 0..=u16::MAX {
            let address = Ipv4Addr::from(u32::from(step) << 16 | 0x0201);
            let [a, b, c, d] = address.octets();
            let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            let alone = Special::of_ipv4(address);
            for within in [
                Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, high, low),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
            ] {
                assert_eq!(Special::of_ipv6(within), alone, "{within}");
            }
            let compatible = Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low);
            assert!(Special::of_ipv6(compatible).is_some(), "{compatible}");
        }
    }

    #[test]
    fn names_that_are_addresses_in_disguise_are_known() {
        for (name, want) in [
            ("localhost", Some(Special::Loopback)),
            ("LocalHost.", Some(Special::Loopback)),
            ("a.localhost", Some(Special::Loopback)),
            ("127.0.0.1", Some(Special::Number)),
            ("127.1", Some(Special::Number)),
            ("2130706433", Some(Special::Number)),
            ("0x7f000001", Some(Special::Number)),
            ("a.0X7f", Some(Special::Number)),
            ("[::1]", Some(Special::Number)),
            ("2001:db8::7", Some(Special::Number)),
            ("localhost.example", None),
            ("a.example.", None),
            ("xn--p1ai", None),
            ("1.0.0.127.in-addr.arpa", None),
            ("0xyz", None),
        ] {
            assert_eq!(Special::of_name(name), want, "{name}");
        }
        let host = Host::Address(Ipv4Addr::LOCALHOST.into());
        assert_eq!(Special::of_host(&host), Some(Special::Loopback));
    }
}
