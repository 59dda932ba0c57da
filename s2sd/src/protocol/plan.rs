//! The targets to try for a domain, and their order: RFC 6120 §3.2, RFC 2782, XEP-0368.
//!
//! Pure: the answers of the DNS and the random numbers are arguments.

use std::{
    fmt,
    net::{Ipv6Addr, SocketAddr},
};

use xmpp_stream::Domain;

use super::special::Special;
use crate::config::Connect;
use crate::host::Host;
use crate::peer_text::PeerText;

/// The port registered as `xmpp-server` (RFC 6120 §14.7), for domains without SRV records.
pub const DEFAULT_PORT: u16 = 5269;

/// How many targets s2sd tries for one domain. A DNS message has room for more than a thousand SRV records, and the
/// owner of a domain could otherwise send us to as many addresses.
pub const MAX_TARGETS: usize = 24;

/// Is it a name of Tor's onion services? The DNS is never asked for one (RFC 7686 §2).
pub fn is_onion(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let last = name.rsplit('.').next().unwrap_or(name);
    last.eq_ignore_ascii_case("onion")
}

/// One place to connect to.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub struct Target {
    /// The machine.
    pub host: Host,
    /// Its TCP port.
    pub port: u16,
    /// TLS from the first byte (XEP-0368) instead of STARTTLS.
    pub direct_tls: bool,
    /// DNSSEC proves the answer that led here: the SRV records, or that there are none. For a target from the
    /// configuration there is no such proof.
    pub secure: bool,
    /// The configuration says so (`connect`), and not the DNS or a peer: any address will do.
    pub configured: bool,
}

impl Target {
    /// The address, when no look-up is needed to know it.
    pub fn address(&self) -> Option<SocketAddr> {
        match self.host {
            Host::Name(_) => None,
            Host::Address(address) => Some(SocketAddr::new(address, self.port)),
        }
    }
}

/// The host that a server redirects to (RFC 6120 §4.9.3.19): `host.example`, `host.example:5269`, `192.0.2.7:5269`,
/// `[2001:db8::7]:5269`. `None`: it has no such form, or is not the name of a host.
pub fn other_host(text: &str) -> Option<(Host, Option<u16>)> {
    let text = text.trim();
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            let port = (!port.is_empty()).then(|| port.strip_prefix(':'));
            (
                Host::Address(address.parse::<Ipv6Addr>().ok()?.into()),
                port,
            )
        }
        None => {
            let (name, port) = match text.split_once(':') {
                Some((name, port)) => (name, Some(Some(port))),
                None => (text, None),
            };
            let host = Host::parse(Domain::parse(name).ok()?.ascii());
            (host, port)
        }
    };
    let is_machine = match &host {
        Host::Name(name) => Special::of_name(name).is_none(),
        Host::Address(_) => true,
    };
    let port = match port {
        Some(port) => Some(port?.parse().ok().filter(|port| *port > 0)?),
        None => None,
    };
    is_machine.then_some((host, port))
}

/// What the configuration says instead of the DNS.
impl From<&Connect> for Target {
    fn from(connect: &Connect) -> Self {
        Self {
            host: Host::parse(&connect.host),
            port: connect.port,
            direct_tls: connect.direct_tls,
            secure: false,
            configured: true,
        }
    }
}

/// As the configuration writes it: `host:port`, `tls://host:port` for direct TLS.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.direct_tls { "tls://" } else { "" };
        write!(f, "{scheme}{}:{}", self.host, self.port)
    }
}

/// Why there is no place to connect to.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ResolveError {
    /// The domain's SRV record says `.`: the service is decidedly not available (RFC 2782).
    #[error("its DNS says that it offers no XMPP service to servers")]
    NoService,
    /// The name does not exist or has no address.
    #[error("its name does not exist in the DNS or has no address")]
    NotFound,
    /// Its SRV records lead to a target that is not a host name, such as an address (RFC 2782) or `localhost`: the
    /// first.
    #[error("its SRV records lead to {0}, which is no name of a machine")]
    NoHost(PeerText),
    /// It is an onion service, which is not in the DNS (RFC 7686).
    #[error("a .onion name is reached through Tor only, and no `proxy` is configured for it")]
    Onion,
    /// The DNS gave no answer; another time it may.
    #[error("the DNS gave no answer: {0}")]
    Failed(PeerText),
    /// The name server that we ask did not even say that, or does not answer us. It may be anybody's fault, as a rule ours.
    #[error("our name server gives no answer: {0}")]
    Unanswered(PeerText),
    /// An answer does not match its zone's signatures (RFC 4033 §5, "Bogus"): it was changed on the way, or the zone is
    /// not signed as it says. The name, and the fault.
    #[error("its DNS answers are not what its DNSSEC signatures vouch for: {0}")]
    Bogus(PeerText),
    /// An answer is not signed, and `dns.dnssec` requires that. The name.
    #[error("its DNS answers are not signed by DNSSEC ({0}), and `dns.dnssec` requires that here")]
    Unsigned(PeerText),
    /// There was no question: this server has no descriptors left for it.
    #[error("this server has no file descriptors left for a look-up")]
    Exhausted,
}

impl ResolveError {
    /// Does the DNS say that there is no such thing?
    pub fn is_absence(&self) -> bool {
        match self {
            Self::NoService | Self::NotFound | Self::NoHost(_) | Self::Onion => true,
            Self::Failed(_)
            | Self::Unanswered(_)
            | Self::Bogus(_)
            | Self::Unsigned(_)
            | Self::Exhausted => false,
        }
    }

    /// Is this an answer of the DNS, as opposed to no answer?
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::NoService
            | Self::NotFound
            | Self::NoHost(_)
            | Self::Onion
            | Self::Unsigned(_) => true,
            Self::Failed(_) | Self::Unanswered(_) | Self::Bogus(_) | Self::Exhausted => false,
        }
    }
}

/// One SRV record (RFC 2782).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Srv {
    /// Lower is tried first.
    pub priority: u16,
    /// Share among records of one priority.
    pub weight: u16,
    /// TCP port.
    pub port: u16,
    /// The machine's name; `.` says that there is none.
    pub target: String,
}

impl Srv {
    fn is_absence(&self) -> bool {
        self.target.is_empty() || self.target == "."
    }

    /// RFC 2782: the target is a domain name with address records. An address there is a name that does not exist, with
    /// its octets as labels; a resolver that takes it for an address would connect wherever the domain's owner likes.
    fn is_host(&self) -> bool {
        Special::of_name(&self.target).is_none()
    }

    fn host(&self) -> Host {
        let name = self.target.strip_suffix('.').unwrap_or(&self.target);
        Host::Name(name.to_ascii_lowercase())
    }
}

/// How far an answer of the DNS can be relied on (RFC 4033 §5). "Bogus" and "Indeterminate" ones count as no answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Security {
    /// This server did not validate it: `dns.dnssec` is off, or the name server removes the signatures.
    Unvalidated,
    /// Its zone is proved to be without signatures.
    Insecure,
    /// It is what its zone has signed, from the root down.
    Secure,
}

impl Security {
    /// For the answers about the two families of addresses: by RFC 7673 §3.2 s2sd asks for TLSA records if one of them
    /// is secure, and not if none is. Trust then rests on the TLSA records, not on the addresses.
    pub fn or(self, other: Self) -> Self {
        self.max(other)
    }
}

/// `secure`, `insecure`, `not validated`.
impl fmt::Display for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unvalidated => "not validated",
            Self::Insecure => "insecure",
            Self::Secure => "secure",
        })
    }
}

/// The answer of the DNS to one SRV question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SrvAnswer {
    /// s2sd did not ask: it would not use the answer.
    NotAsked,
    /// There is no such record.
    Absent(Security),
    /// These are the records, in any order.
    Records(Vec<Srv>, Security),
    /// No answer, or none that can be relied on.
    Failed(ResolveError),
}

impl SrvAnswer {
    /// Whether there is a place in it that can be tried.
    pub(crate) fn leads_somewhere(&self) -> bool {
        match self {
            Self::Records(records, _) => records
                .iter()
                .any(|record| !record.is_absence() && record.is_host()),
            Self::NotAsked | Self::Absent(_) | Self::Failed(_) => false,
        }
    }
}

/// An answer with RFC 2782's `.`, apart from usable records.
enum Service {
    Absent {
        secure: bool,
    },
    /// There are records, and for this reason none can be used.
    Denied(ResolveError),
    At(Vec<Srv>, bool),
    Unknown(ResolveError),
}

impl From<SrvAnswer> for Service {
    fn from(answer: SrvAnswer) -> Self {
        match answer {
            SrvAnswer::NotAsked => Self::Absent { secure: true },
            SrvAnswer::Absent(security) => Self::Absent {
                secure: security == Security::Secure,
            },
            SrvAnswer::Failed(why) => Self::Unknown(why),
            SrvAnswer::Records(records, security) if records.is_empty() => {
                SrvAnswer::Absent(security).into()
            }
            SrvAnswer::Records(mut records, security) => {
                records.retain(|record| !record.is_absence());
                let first = records
                    .first()
                    .map(|record| record.host().to_string().into());
                records.retain(Srv::is_host);
                match (records.is_empty(), first) {
                    (false, _) => Self::At(records, security == Security::Secure),
                    (true, None) => Self::Denied(ResolveError::NoService),
                    (true, Some(first)) => Self::Denied(ResolveError::NoHost(first)),
                }
            }
        }
    }
}

/// Orders the targets of `domain`.
///
/// `xmpp` and `xmpps` are the answers for `_xmpp-server._tcp` and `_xmpps-server._tcp`; their records are ordered as if
/// they were one set (XEP-0368 §3 rule 1). Only if there is neither does s2sd try the domain itself on port 5269 (RFC
/// 6120 §3.2.2); a `.` forbids that too (XEP-0368 §5). A question without an answer counts as "unknown": where it
/// decides, it is never taken for "there is none". There is one exception: a domain with no `_xmpp-server` falls back
/// although `_xmpps-server` is unknown, as every server without XEP-0368 would. A signed domain does not: there, an
/// attacker who suppresses an answer would lead us elsewhere.
///
/// An answer that DNSSEC refutes ends it, and the other one does not matter (RFC 7673 §3.1); so does a question that we
/// could not ask.
///
/// `random(n)` returns a number from 0 to `n`, both included.
///
/// # Errors
///
/// See [`ResolveError`].
pub fn plan(
    domain: &Domain,
    xmpp: SrvAnswer,
    xmpps: SrvAnswer,
    random: &mut dyn FnMut(u32) -> u32,
) -> Result<Vec<Target>, ResolveError> {
    use Service::{Absent, At, Denied, Unknown};
    for answer in [&xmpp, &xmpps] {
        match answer {
            SrvAnswer::Failed(
                why
                @ (ResolveError::Bogus(_) | ResolveError::Unsigned(_) | ResolveError::Exhausted),
            ) => return Err(why.clone()),
            SrvAnswer::Failed(_)
            | SrvAnswer::NotAsked
            | SrvAnswer::Absent(_)
            | SrvAnswer::Records(..) => {}
        }
    }
    let nowhere = || (Vec::new(), false);
    let ((plain, plain_is_secure), (direct, direct_is_secure)) = match (xmpp.into(), xmpps.into()) {
        (At(plain, secure), At(direct, also)) => ((plain, secure), (direct, also)),
        (At(plain, secure), Absent { .. } | Denied(_) | Unknown(_)) => ((plain, secure), nowhere()),
        (Absent { .. } | Denied(_) | Unknown(_), At(direct, secure)) => {
            (nowhere(), (direct, secure))
        }
        (Absent { secure }, Absent { secure: also }) => {
            let secure = secure && also;
            let domain = fallback(domain);
            return Ok(vec![Target { secure, ..domain }]);
        }
        (Absent { secure: false }, Unknown(_)) => return Ok(vec![fallback(domain)]),
        (Absent { secure: true } | Denied(_), Unknown(why))
        | (Unknown(why), Absent { .. } | Denied(_) | Unknown(_)) => return Err(why),
        (Denied(why), Absent { .. } | Denied(ResolveError::NoService))
        | (Absent { .. } | Denied(_), Denied(why)) => return Err(why),
    };
    let mut records: Vec<(Srv, bool)> = Vec::with_capacity(plain.len() + direct.len());
    records.extend(plain.into_iter().map(|record| (record, false)));
    records.extend(direct.into_iter().map(|record| (record, true)));
    Ok(in_order(records, random)
        .into_iter()
        .take(MAX_TARGETS)
        .map(|(record, direct_tls)| Target {
            host: record.host(),
            port: record.port,
            direct_tls,
            configured: false,
            secure: match direct_tls {
                true => direct_is_secure,
                false => plain_is_secure,
            },
        })
        .collect())
}

/// The domain itself on the default port: without SRV records, and for a domain that is an address.
pub fn fallback(domain: &Domain) -> Target {
    Target {
        host: Host::parse(domain.ascii()),
        port: DEFAULT_PORT,
        direct_tls: false,
        secure: false,
        configured: false,
    }
}

/// RFC 2782, "The format of the SRV RR", *Weight*: by priority; among equals repeatedly draw one, with a
/// chance in proportion to its weight. Records of weight 0 stand first in a draw, so they
/// win only if the random number is 0.
fn in_order(mut records: Vec<(Srv, bool)>, random: &mut dyn FnMut(u32) -> u32) -> Vec<(Srv, bool)> {
    records.sort_by_key(|(record, _)| (record.priority, record.weight != 0));
    let mut ordered = Vec::with_capacity(records.len());
    while let Some((first, _)) = records.first() {
        let priority = first.priority;
        let equals = records
            .iter()
            .take_while(|(record, _)| record.priority == priority);
        let total = equals.clone().fold(0_u32, |sum, (record, _)| {
            sum.saturating_add(record.weight.into())
        });
        let drawn = random(total);
        let mut sum = 0_u32;
        let chosen = equals
            .map(|(record, _)| {
                sum = sum.saturating_add(record.weight.into());
                sum
            })
            .position(|sum| sum >= drawn)
            .unwrap_or(0);
        ordered.push(records.remove(chosen));
    }
    ordered
}

#[cfg(test)]
mod tests;
