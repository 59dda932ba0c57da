//! Where a machine is found: by name, or by address.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

/// A machine, by name or by address.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub enum Host {
    /// A DNS name in ASCII without the final dot; its addresses are still to be looked up.
    Name(String),
    /// An address.
    Address(IpAddr),
}

impl Host {
    /// Reads a host as it stands in a configuration or a domain: `host.example`, `host.example.`, `192.0.2.7`,
    /// `2001:db8::7` or `[2001:db8::7]`. Not as it stands in an SRV record, where an address is none.
    pub fn parse(text: &str) -> Self {
        let text = text.strip_suffix('.').unwrap_or(text);
        let bare = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        if let Some(address) = bare.and_then(|text| text.parse::<Ipv6Addr>().ok()) {
            return Self::Address(address.into());
        }
        match text.parse() {
            Ok(address) => Self::Address(address),
            Err(_) => Self::Name(text.to_ascii_lowercase()),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
}
