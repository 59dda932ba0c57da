//! Why a stream ended, and by whom: one value from which the log line, the metric and the bounce are derived.
//!
//! Conditions of bounces follow RFC 6120 §8.3.3 and §10.4: `remote-server-not-found` when the domain has no
//! server, `remote-server-timeout` for whatever fails after that, `policy-violation` for what we deny ourselves,
//! `resource-constraint` where it is this server that is full.

use std::fmt;

use xmpp_dialback::{DialbackError, ErrorCondition};
use xmpp_sasl::Failure;
use xmpp_stream::{
    Condition, Domain, ErrorType, StanzaCondition, StanzaError, StreamError, Writer,
};

use crate::config::Denied;
use crate::peer_text::PeerText;

/// The namespace of the application condition that names the cause for programs.
pub const CAUSE_NAMESPACE: &str = "urn:s2sd:cause:0";

/// A stream's end.
#[derive(Clone, Debug, PartialEq)]
pub struct Closed {
    /// Who ended it.
    pub by: By,
    /// Why.
    pub cause: Cause,
}

/// Who ended a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// This server.
    Us,
    /// The other server.
    Peer,
    /// Neither: the network, the clock, an absent server.
    World,
}

impl By {
    /// The word for the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Us => "us",
            Self::Peer => "peer",
            Self::World => "network",
        }
    }
}

/// Why a stream ended, or never came to be. Whatever a stranger may have a say in is a [`PeerText`].
#[derive(Clone, Debug, PartialEq)]
pub enum Cause {
    /// The domain has no address records at all.
    NoSuchHost(PeerText),
    /// SRV says "." (RFC 2782): the domain offers no server-to-server service.
    NoService,
    /// Whatever the DNS says, there is no way from here to there.
    NoWay(PeerText),
    /// The look-up itself failed.
    Dns(PeerText),
    /// The name server that this server asks gives no answer.
    NameServer(PeerText),
    /// The look-up had an answer that is not what DNSSEC vouches for.
    Dnssec(PeerText),
    /// Where the DNS leads is no public address, and others are left out here.
    NotPublic(PeerText),
    /// No TCP connection.
    Connect(PeerText),
    /// This server does not get out: no route, no address to connect from, a proxy that does not answer.
    Network(PeerText),
    /// This server has as many descriptors open as it may: no fault of the other side's.
    Descriptors,
    /// The TLS handshake failed.
    Tls(PeerText),
    /// The peer broke off TLS because of the certificate that we showed.
    CertificateRefused(PeerText),
    /// The connection broke.
    Lost(PeerText),
    /// TLS is required here and the peer does not offer it.
    TlsNotOffered,
    /// The peer's certificate is not one for the domain.
    Certificate(PeerText),
    /// Whoever could tell whether the peer's certificate is good does not answer.
    CertificateUntold(PeerText),
    /// Nothing the peer offers is something we may use.
    NoMechanism {
        /// What the peer offered.
        offered: Vec<PeerText>,
    },
    /// The peer refused our credentials, or our certificate.
    Refused {
        /// The SASL mechanism that was tried.
        mechanism: &'static str,
        /// The condition the peer named.
        failure: Failure,
    },
    /// The peer could not prove to us that it knows the secret, or broke the exchange.
    Mechanism {
        /// The SASL mechanism in use.
        mechanism: &'static str,
        /// What was wrong with it.
        what: PeerText,
    },
    /// There is no Kerberos ticket to show.
    Kerberos(PeerText),
    /// Server dialback ended with an error, or could not be tried.
    Dialback(PeerText),
    /// Server dialback ended with an error that will not pass by itself.
    DialbackRefused(PeerText),
    /// Server dialback ended with `invalid`: whoever speaks for the sender's domain does not know our key.
    DialbackInvalid,
    /// The peer failed too often to authenticate.
    TooManyFailures,
    /// Our policy refuses the stream.
    Policy(PeerText),
    /// The other side sent a stream error.
    StreamError(PeerError),
    /// The other side ended the stream over one stanza: with this, or by closing the connection, each time it was sent.
    StanzaRefused(Option<PeerError>),
    /// The other side broke the protocol, and was told so.
    Protocol(Condition, PeerText),
    /// Something took longer than it may.
    Timeout(&'static str),
    /// This server has no more memory for whoever it is.
    Memory,
    /// Nothing was said for a long time.
    Idle,
    /// This server is going down.
    Shutdown,
    /// The other side closed the stream without a complaint.
    Finished,
    /// A newer connection took over (XEP-0114 `conflict`).
    Replaced,
}

/// A stream error as the other side said it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerError {
    /// The condition.
    pub condition: Condition,
    /// What it said besides.
    pub said: Option<PeerText>,
}

/// How a stream error speaks of a stanza.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blame {
    /// Of what was read last: whatever came after it was not read.
    Content(PeerError),
    /// Of how much it is, or of something else.
    Size(PeerError),
}

impl From<Blame> for Cause {
    fn from(blame: Blame) -> Self {
        let (Blame::Content(error) | Blame::Size(error)) = blame;
        Self::StanzaRefused(Some(error))
    }
}

impl From<StreamError> for PeerError {
    fn from(error: StreamError) -> Self {
        Self {
            condition: error.condition,
            said: error.text.as_deref().map(PeerText::new),
        }
    }
}

impl Cause {
    /// The name for metrics and for the application condition of a bounce.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NoSuchHost(_) => "no-such-host",
            Self::NoService => "no-service",
            Self::NoWay(_) => "no-way",
            Self::Dns(_) => "dns",
            Self::NameServer(_) => "name-server",
            Self::Network(_) => "network",
            Self::CertificateUntold(_) => "certificate-untold",
            Self::Dnssec(_) => "dnssec",
            Self::NotPublic(_) => "not-public",
            Self::Connect(_) => "connect",
            Self::Descriptors => "descriptors",
            Self::Tls(_) => "tls",
            Self::CertificateRefused(_) => "certificate-refused",
            Self::Lost(_) => "lost",
            Self::TlsNotOffered => "tls-not-offered",
            Self::Certificate(_) => "certificate",
            Self::NoMechanism { .. } => "no-mechanism",
            Self::Refused { .. } => "refused",
            Self::Mechanism { .. } => "mechanism",
            Self::Kerberos(_) => "kerberos",
            Self::Dialback(_) | Self::DialbackRefused(_) | Self::DialbackInvalid => "dialback",
            Self::TooManyFailures => "too-many-failures",
            Self::Policy(_) => "policy",
            Self::StreamError(_) => "stream-error",
            Self::StanzaRefused(_) => "stanza-refused",
            Self::Protocol(..) => "protocol",
            Self::Timeout(_) => "timeout",
            Self::Memory => "memory",
            Self::Idle => "idle",
            Self::Shutdown => "shutdown",
            Self::Finished => "finished",
            Self::Replaced => "replaced",
        }
    }

    /// Whether trying again soon is pointless: someone has to change something first.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::NoSuchHost(_)
            | Self::NoService
            | Self::NoWay(_)
            | Self::CertificateRefused(_)
            | Self::NotPublic(_)
            | Self::TlsNotOffered
            | Self::Certificate(_)
            | Self::NoMechanism { .. }
            | Self::Mechanism { .. }
            | Self::DialbackRefused(_)
            | Self::DialbackInvalid
            | Self::TooManyFailures
            | Self::Policy(_)
            | Self::StanzaRefused(_)
            | Self::Protocol(..) => true,
            Self::Refused { failure, .. } => *failure != Failure::TemporaryAuthFailure,
            Self::StreamError(error) => matches!(
                error.condition,
                Condition::HostGone
                    | Condition::HostUnknown
                    | Condition::ImproperAddressing
                    | Condition::InvalidFrom
                    | Condition::InvalidNamespace
                    | Condition::NotAuthorized
                    | Condition::PolicyViolation
                    | Condition::UnsupportedVersion
            ),
            // The KDC may not have answered.
            Self::Kerberos(_)
            | Self::Dialback(_)
            | Self::Dns(_)
            | Self::NameServer(_)
            | Self::Dnssec(_)
            | Self::CertificateUntold(_)
            | Self::Network(_)
            | Self::Connect(_)
            | Self::Descriptors
            | Self::Tls(_)
            | Self::Lost(_)
            | Self::Timeout(_)
            | Self::Memory
            | Self::Idle
            | Self::Shutdown
            | Self::Finished
            | Self::Replaced => false,
        }
    }

    /// Whether this says that the pair cannot be, and not just that this attempt went wrong: no such domain, an identity
    /// that is refused, policy. What else is permanent may be anything: a server that breaks the protocol is as good as one
    /// that is not there.
    pub fn is_about_the_pair(&self) -> bool {
        let is_of_the_attempt = match self {
            Self::Protocol(..) | Self::Mechanism { .. } | Self::TooManyFailures => true,
            Self::StreamError(error) => matches!(
                error.condition,
                Condition::InvalidNamespace | Condition::UnsupportedVersion
            ),
            Self::Refused { failure, .. } => matches!(
                failure,
                Failure::Aborted | Failure::IncorrectEncoding | Failure::MalformedRequest
            ),
            _ => false,
        };
        self.is_permanent() && !is_of_the_attempt
    }

    /// Whether a server that has just started, and does not know all of its domains yet, says this too; or what stands in
    /// front of it meanwhile, which may not speak XMPP, or have another certificate.
    pub fn may_be_starting_up(&self) -> bool {
        matches!(
            self,
            Self::StreamError(_)
                | Self::Protocol(..)
                | Self::Mechanism { .. }
                | Self::TooManyFailures
                | Self::Certificate(_)
                | Self::CertificateRefused(_)
                | Self::Refused { .. }
                | Self::DialbackRefused(_)
                | Self::DialbackInvalid
                | Self::NoMechanism { .. }
                | Self::TlsNotOffered
        )
    }

    /// Whether a stream may have ended because of a stanza that was on its way.
    pub fn blames_a_stanza(&self) -> Option<Blame> {
        match self {
            Self::StreamError(error) => match error.condition {
                Condition::PolicyViolation | Condition::ResourceConstraint => {
                    Some(Blame::Size(error.clone()))
                }
                Condition::NotWellFormed
                | Condition::InvalidXml
                | Condition::UnsupportedStanzaType
                | Condition::BadFormat => Some(Blame::Content(error.clone())),
                _ => None,
            },
            _ => None,
        }
    }

    /// Of [`Cause::Tls`], where the fault is with the name and no server said anything.
    pub const NO_NAME_FOR_TLS: &'static str = "the domain is no name for TLS";

    /// How far an attempt to make a stream got before it failed: of several, the one that got furthest says most.
    pub fn reach(&self) -> u8 {
        match self {
            Self::NoSuchHost(_)
            | Self::NoService
            | Self::NoWay(_)
            | Self::Dns(_)
            | Self::NameServer(_)
            | Self::Dnssec(_)
            | Self::NotPublic(_) => 0,
            Self::Network(_) | Self::Connect(_) | Self::Descriptors => 1,
            Self::Lost(_)
            | Self::Timeout(_)
            | Self::Memory
            | Self::Idle
            | Self::Shutdown
            | Self::Finished
            | Self::Replaced => 2,
            Self::Tls(_) | Self::TlsNotOffered => 3,
            Self::Certificate(_) | Self::CertificateUntold(_) | Self::CertificateRefused(_) => 4,
            Self::Protocol(..)
            | Self::StreamError(_)
            | Self::StanzaRefused(_)
            | Self::Policy(_) => 5,
            Self::NoMechanism { .. }
            | Self::Refused { .. }
            | Self::Mechanism { .. }
            | Self::Kerberos(_)
            | Self::Dialback(_)
            | Self::DialbackRefused(_)
            | Self::DialbackInvalid
            | Self::TooManyFailures => 6,
        }
    }

    /// Whether of two failures at different places this one says more: the one that got further, and of those that got as far
    /// one that may pass, since the pair can be then.
    pub(crate) fn says_more_than(&self, other: &Self) -> bool {
        let rank = |cause: &Self| (cause.reach(), !cause.is_permanent());
        rank(self) >= rank(other)
    }

    /// Whether there was a connection, or a policy that speaks of one.
    pub(crate) fn is_of_a_connection(&self) -> bool {
        self.reach() > Self::Descriptors.reach()
    }

    /// Whether the DNS said that there is nothing.
    pub(crate) fn is_absence(&self) -> bool {
        matches!(self, Self::NoSuchHost(_) | Self::NoService)
    }

    /// Whether nobody answered at the place, or nobody that went on: another place may be better.
    pub(crate) fn is_of_the_place(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::Timeout(_) | Self::Lost(_))
    }

    /// Our own lists do not have the domain.
    pub fn denied(remote: &Domain, why: &Denied) -> Self {
        Self::Policy(format!("{remote} is not admitted: {why}").into())
    }

    /// The stanza error a sender gets for a stanza that could not be delivered for this cause.
    pub fn stanza_error(&self) -> StanzaError {
        let condition = match self {
            // Only where the DNS said so: that it said nothing says nothing of the domain.
            Self::NoSuchHost(_) | Self::NoService | Self::NoWay(_) => {
                StanzaCondition::RemoteServerNotFound
            }
            Self::Policy(_) | Self::NotPublic(_) => StanzaCondition::PolicyViolation,
            Self::StanzaRefused(None) => StanzaCondition::NotAcceptable,
            Self::StanzaRefused(Some(error)) => match error.condition {
                Condition::PolicyViolation | Condition::ResourceConstraint => {
                    StanzaCondition::PolicyViolation
                }
                _ => StanzaCondition::BadRequest,
            },
            Self::Memory | Self::Descriptors => StanzaCondition::ResourceConstraint,
            _ => StanzaCondition::RemoteServerTimeout,
        };
        let kind = if self.is_permanent() {
            ErrorType::Cancel
        } else {
            ErrorType::Wait
        };
        let cause = cause_element(self.name());
        StanzaError {
            kind,
            condition,
            text: Some(self.to_string()),
            application: Some(cause),
        }
    }
}

impl Cause {
    /// What a peer hears whose dialback key could not be asked about (XEP-0220 §2.5): the condition and one fixed
    /// sentence. The peer chose where we went, so what happened there, and in our DNS, is not for it to know.
    pub fn dialback_error(&self) -> DialbackError {
        let (condition, text) = match self {
            Self::NoSuchHost(_) | Self::NoService | Self::NoWay(_) | Self::Dnssec(_) => {
                (ErrorCondition::RemoteServerNotFound, NOT_FOUND)
            }
            Self::StreamError(error)
                if matches!(
                    error.condition,
                    Condition::HostUnknown | Condition::HostGone
                ) =>
            {
                (ErrorCondition::RemoteServerNotFound, NOT_FOUND)
            }
            Self::Descriptors => (ErrorCondition::ResourceConstraint, BUSY),
            Self::Connect(_)
            | Self::Tls(_)
            | Self::CertificateRefused(_)
            | Self::TlsNotOffered
            | Self::Certificate(_)
            | Self::Policy(_)
            | Self::NotPublic(_) => (ErrorCondition::RemoteConnectionFailed, NO_CONNECTION),
            // It refuses us, and would again.
            Self::StreamError(_) if self.is_permanent() => {
                (ErrorCondition::RemoteConnectionFailed, NO_CONNECTION)
            }
            // A look-up without an answer among them: of a domain of which nothing is known it is not said that it is
            // not there.
            _ => (
                ErrorCondition::RemoteServerTimeout,
                "the authoritative server did not answer",
            ),
        };
        DialbackError::new(condition).with_text(text)
    }
}

/// What a peer hears for whose key there is no room at this time.
pub(crate) const BUSY: &str = "this server is busy; try again later";
const NOT_FOUND: &str = "the authoritative server was not found";
const NO_CONNECTION: &str = "no connection to the authoritative server could be made";

/// The application condition of a bounce: its cause, for programs.
pub fn cause_element(name: &str) -> bytes::Bytes {
    Writer::new("cause")
        .xmlns(CAUSE_NAMESPACE)
        .attr("name", name)
        .finish()
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchHost(what) => write!(f, "the domain has no server in the DNS ({what})"),
            Self::NoService => {
                f.write_str("the domain's DNS says that it has no server-to-server service")
            }
            Self::Dns(what) => write!(f, "the DNS look-up failed ({what})"),
            Self::NameServer(what) => write!(
                f,
                "this server's own name server gives no answer, so nothing is known of the domain ({what})"
            ),
            Self::Network(what) => {
                write!(f, "this server does not get out to the other one ({what})")
            }
            Self::CertificateUntold(what) => write!(
                f,
                "whether the other server's certificate is good cannot be told at this time: {what}"
            ),
            Self::Dnssec(what) => write!(f, "DNSSEC refutes an answer of the DNS: {what}"),
            Self::NotPublic(what) | Self::Connect(what) => write!(f, "no connection ({what})"),
            Self::Descriptors => f.write_str(
                "this server has as many connections and files open as it may (LimitNOFILE, or `descriptors` in [limits])",
            ),
            Self::Tls(what) => write!(f, "the TLS handshake failed ({what})"),
            Self::CertificateRefused(what) => {
                write!(f, "the other server does not accept our certificate ({what})")
            }
            Self::Lost(what) => write!(f, "the connection was lost ({what})"),
            Self::TlsNotOffered => {
                f.write_str("encryption is required and the other server does not offer it")
            }
            Self::Certificate(what) => {
                write!(f, "the other server's certificate is not accepted: {what}")
            }
            Self::NoMechanism { offered } if offered.is_empty() => {
                f.write_str("the other server offers no way to authenticate that is allowed here")
            }
            Self::NoMechanism { offered } => {
                write!(
                    f,
                    "the other server offers only {}, which is not allowed or not configured here",
                    PeerText::quoting(&offered.join(", "))
                )
            }
            Self::Refused { mechanism, failure } => {
                write!(
                    f,
                    "the other server refused {mechanism} ({})",
                    failure.name()
                )
            }
            Self::Mechanism { mechanism, what } => write!(f, "{mechanism} failed: {what}"),
            Self::Kerberos(what) => write!(f, "no Kerberos ticket for the other server ({what})"),
            Self::Dialback(what) | Self::DialbackRefused(what) => {
                write!(f, "server dialback failed: {what}")
            }
            Self::DialbackInvalid => f.write_str(
                "server dialback failed: the key is not the sender's; does the sender's DNS lead to its own server?",
            ),
            Self::TooManyFailures => f.write_str("too many failed attempts to authenticate"),
            Self::Policy(what) | Self::NoWay(what) => f.write_str(what),
            Self::StreamError(error) => {
                write!(
                    f,
                    "the other server ended the stream with {}",
                    error.condition.name()
                )?;
                error
                    .said
                    .as_ref()
                    .map_or(Ok(()), |said| write!(f, " ({said})"))
            }
            Self::StanzaRefused(Some(error)) => write!(
                f,
                "the other server ended the stream with {} when it was sent this stanza",
                error.condition.name()
            ),
            Self::StanzaRefused(None) => f.write_str(
                "the other server closed the connection each time it was sent this stanza",
            ),
            Self::Protocol(condition, what) => write!(
                f,
                "the other server broke the protocol: {} ({what})",
                condition.name()
            ),
            Self::Timeout(what) => write!(f, "timed out: {what}"),
            Self::Memory => f.write_str(
                "this server has no more memory for the other one (`memory` in [limits])",
            ),
            Self::Idle => f.write_str("idle"),
            Self::Shutdown => f.write_str("this server is shutting down"),
            Self::Finished => f.write_str("the other server closed the stream"),
            Self::Replaced => f.write_str("replaced by a newer connection"),
        }
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}
