//! Patterns of domains, and targets to connect to.

use std::fmt;

use xmpp_stream::Domain;

use super::kind::show;

show! {
    Connect: |place| place.to_string();
    Pattern: |pattern| pattern.to_string();
}

/// An address to connect to instead of what the DNS says.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub struct Connect {
    /// A host name or an IP address (without brackets).
    pub host: String,
    /// The port.
    pub port: u16,
    /// TLS from the first byte (`tls://host:port`).
    pub direct_tls: bool,
}

impl fmt::Display for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.direct_tls { "tls://" } else { "" };
        if self.host.contains(':') {
            write!(f, "{scheme}[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}{}:{}", self.host, self.port)
        }
    }
}

/// The domains that a `[[peer]]` entry, or a word of `allow` or `deny`, matches.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub enum Pattern {
    /// `*`: all there are. Not in a `[[peer]]`.
    Everyone,
    /// Exactly this domain.
    Exactly(Domain),
    /// `*.example.net`: every domain below this one, at any depth, not the domain itself.
    Below(Domain),
}

impl Pattern {
    /// Is this domain among them?
    pub fn matches(&self, domain: &Domain) -> bool {
        match self {
            Self::Everyone => true,
            Self::Exactly(own) => own == domain,
            // On a label boundary: `badexample.net` is not below `example.net`.
            Self::Below(parent) => domain
                .ascii()
                .strip_suffix(parent.ascii())
                .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
        }
    }

    /// Does it match all that `other` matches?
    pub(crate) fn covers(&self, other: &Self) -> bool {
        match other {
            Self::Everyone => self == other,
            Self::Exactly(domain) => self.matches(domain),
            Self::Below(parent) => {
                self == other || (!matches!(self, Self::Exactly(_)) && self.matches(parent))
            }
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everyone => f.write_str("*"),
            Self::Exactly(domain) => write!(f, "{domain}"),
            Self::Below(parent) => write!(f, "*.{parent}"),
        }
    }
}
