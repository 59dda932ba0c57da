//! Why a stream ended, and which side ended it: one value for the log line, the metric, the probe and the bounce.
//!
//! One table, [row](row.rs), has what follows from each cause: its name, how long it lasts, how far the attempt got,
//! the bounce for the sender of a stanza. [text](text.rs) has its words, for a server and for a component. Conditions
//! of bounces follow RFC 6120 §8.3.3 and §10.4: `remote-server-not-found` if the domain has no server,
//! `remote-server-timeout` for all failures after that, `policy-violation` for what we deny ourselves,
//! `resource-constraint` if this server is full.

mod returned;
mod row;
mod text;

use xmpp_dialback::{DialbackError, ErrorCondition};
use xmpp_sasl::Failure;
use xmpp_stream::{Condition, Domain, ErrorType, StanzaError, StreamError, Writer};

use crate::config::Denied;
use crate::peer_text::PeerText;
use row::{Lasts, Row};

pub use returned::Returned;
pub(crate) use row::BUSY;
pub use row::Reach;
pub use text::Told;

/// The namespace of the application condition that names the cause for programs.
pub const CAUSE_NAMESPACE: &str = "urn:s2sd:cause:0";

/// A stream's end.
#[derive(Clone, Debug, PartialEq)]
pub struct Closed {
    /// The side that ended it.
    pub by: By,
    /// Why.
    pub cause: Cause,
}

/// The side that ended a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// This server.
    Us,
    /// The other end.
    Peer,
    /// Neither: the network, the clock, an absent server.
    World,
}

/// The other end of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherEnd {
    /// Another server.
    Server,
    /// A component.
    Component,
}

/// Why a stream ended, or was never made. Text that a peer may have chosen is a [`PeerText`].
#[derive(Clone, Debug, PartialEq)]
pub enum Cause {
    /// The domain has no address records at all.
    NoSuchHost(PeerText),
    /// SRV says "." (RFC 2782): the domain offers no server-to-server service.
    NoService,
    /// There is no route from here, whatever the DNS says.
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
    /// There was no TLS handshake: the domain is not a name for it, and no server answered.
    NoNameForTls,
    /// The peer broke off TLS because of the certificate that we showed.
    CertificateRefused(PeerText),
    /// The connection broke.
    Lost(PeerText),
    /// TLS is required here and the peer does not offer it.
    TlsNotOffered,
    /// The peer's certificate is not one for the domain.
    Certificate(PeerText),
    /// The DNS or the web server that could say whether the peer's certificate is good does not answer.
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
        /// The fault.
        what: PeerText,
    },
    /// There is no Kerberos ticket to show.
    Kerberos(PeerText),
    /// Server dialback proved nothing, and the refusal before it.
    Dialback(Unproved, Option<Box<Cause>>),
    /// The peer failed too often to authenticate.
    TooManyFailures,
    /// Our policy refuses the stream.
    Policy(PeerText),
    /// The other side sent a stream error.
    StreamError(PeerError),
    /// The other side ended the stream over one stanza: with this, or by closing the connection, each time it was sent.
    StanzaRefused(Option<PeerError>),
    /// The other side broke the protocol, and got this stream error.
    Protocol(Condition, PeerText),
    /// Something took longer than it may.
    Timeout(&'static str),
    /// The account of the other end is at its memory limit.
    Memory,
    /// No byte came or went for a long time.
    Idle,
    /// This server is going down.
    Shutdown,
    /// The other side closed the stream without a complaint.
    Finished,
    /// A newer connection took over (XEP-0114 `conflict`).
    Replaced,
    /// An operator of this server closed it.
    Operator,
}

/// The outcome of server dialback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unproved {
    /// The authoritative server of the sender's domain does not know our key.
    Invalid,
    /// The other side answered with an error.
    Error {
        /// The condition.
        condition: ErrorCondition,
        /// Its text.
        said: Option<PeerText>,
    },
    /// It could not be tried, or not for the other side.
    Other(PeerText),
}

/// A stream error of the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerError {
    /// The condition.
    pub condition: Condition,
    /// Its text.
    pub said: Option<PeerText>,
}

/// How a stream error speaks of a stanza.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blame {
    /// About the last bytes read: those after them were not read.
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
    /// The name for metrics, for logs, and for the application condition of a bounce. Stable: others count by it.
    pub fn name(&self) -> &'static str {
        self.row().name
    }

    /// Whether trying again soon is pointless: an operator has to change something first.
    pub fn is_permanent(&self) -> bool {
        self.row().lasts > Lasts::Passes
    }

    /// Whether this says that the pair cannot be, and not just that this attempt went wrong: no such domain, an identity
    /// that is refused, policy. What else is permanent may be anything: a server that breaks the protocol is as good as one
    /// that is not there.
    pub fn is_about_the_pair(&self) -> bool {
        self.row().lasts > Lasts::Mended
    }

    /// Whether a server that has just started, and does not know all of its domains yet, says this too, of what
    /// [is about the pair](Self::is_about_the_pair).
    pub fn may_be_starting_up(&self) -> bool {
        self.row().lasts == Lasts::Started
    }

    /// How far the attempt got: of several, the one that got furthest says most.
    pub fn reach(&self) -> Reach {
        self.row().reach
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

    /// Whether the DNS said that there is none.
    pub(crate) fn is_absence(&self) -> bool {
        matches!(self, Self::NoSuchHost(_) | Self::NoService)
    }

    /// Whether no host answered at the target, or none that went on: another target may be better.
    pub(crate) fn is_of_the_place(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::Timeout(_) | Self::Lost(_))
    }

    /// Our own lists do not have the domain.
    pub fn denied(remote: &Domain, why: &Denied) -> Self {
        Self::Policy(format!("{remote} is not admitted: {why}").into())
    }

    /// The stanza error a sender gets for a stanza that could not be delivered for this cause.
    pub fn stanza_error(&self) -> StanzaError {
        let Row { name, bounce, .. } = self.row();
        let kind = if self.is_permanent() {
            ErrorType::Cancel
        } else {
            ErrorType::Wait
        };
        StanzaError::new(kind, bounce)
            .with_text(self.to_string())
            .with_application(cause_element(name))
    }

    /// The error for a peer whose dialback key we could not ask about (XEP-0220 §2.5).
    pub fn dialback_error(&self) -> DialbackError {
        self.row().answer.error()
    }
}

/// The application condition of a bounce: its cause, for programs.
fn cause_element(name: &str) -> bytes::Bytes {
    Writer::new("cause")
        .xmlns(CAUSE_NAMESPACE)
        .attr("name", name)
        .finish()
}

/// Each name that a bounce may have, with the element that says it.
pub(crate) fn cause_elements() -> impl Iterator<Item = (bytes::Bytes, &'static str)> {
    let names = Cause::NAMES.iter().chain(Returned::NAMES);
    names.map(|&name| (cause_element(name), name))
}

#[cfg(test)]
mod tests;
