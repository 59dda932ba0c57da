//! What a cause is in words: for the log, for bounces, for the probe.

use std::fmt;

use super::{By, Cause, Closed, OtherEnd, Unproved};
use crate::peer_text::PeerText;

/// A cause in words.
#[derive(Clone, Copy, Debug)]
pub struct Told<'c> {
    cause: &'c Cause,
    other: OtherEnd,
}

impl fmt::Display for OtherEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server => "the other server",
            Self::Component => "the component",
        })
    }
}

impl By {
    /// The word for the log.
    pub fn name(self, other: OtherEnd) -> &'static str {
        match (self, other) {
            (Self::Us, _) => "us",
            (Self::Peer, OtherEnd::Server) => "peer",
            (Self::Peer, OtherEnd::Component) => "component",
            (Self::World, _) => "network",
        }
    }
}

impl Closed {
    /// Why, in words.
    pub fn told_of(&self, other: OtherEnd) -> Told<'_> {
        self.cause.told_of(other)
    }
}

impl Cause {
    /// What happened, in words, where that was at the other end.
    pub fn told_of(&self, other: OtherEnd) -> Told<'_> {
        Told { cause: self, other }
    }
}

/// The words if the other end is a server.
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.told_of(OtherEnd::Server).fmt(f)
    }
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let other = self.other;
        match self.cause {
            Cause::NoSuchHost(what) => write!(f, "the domain has no server in the DNS ({what})"),
            Cause::NoService => {
                f.write_str("the domain's DNS says that it has no server-to-server service")
            }
            Cause::Dns(what) => write!(f, "the DNS look-up failed ({what})"),
            Cause::NameServer(what) => write!(
                f,
                "this server's own name server gives no answer, so nothing is known of the domain ({what})"
            ),
            Cause::Network(what) => write!(f, "this server does not get out to {other} ({what})"),
            Cause::CertificateUntold(what) => write!(
                f,
                "whether {other}'s certificate is good cannot be told at this time: {what}"
            ),
            Cause::Dnssec(what) => write!(f, "DNSSEC refutes an answer of the DNS: {what}"),
            Cause::NotPublic(what) | Cause::Connect(what) => write!(f, "no connection ({what})"),
            Cause::Descriptors => f.write_str(
                "this server has as many connections and files open as it may (LimitNOFILE, or `descriptors` in [limits])",
            ),
            Cause::Tls(what) => write!(f, "the TLS handshake failed ({what})"),
            Cause::NoNameForTls => {
                f.write_str("the TLS handshake failed (the domain is no name for TLS)")
            }
            Cause::CertificateRefused(what) => {
                write!(f, "{other} does not accept our certificate ({what})")
            }
            Cause::Lost(what) => write!(f, "the connection was lost ({what})"),
            Cause::TlsNotOffered => {
                write!(f, "encryption is required and {other} does not offer it")
            }
            Cause::Certificate(what) => {
                write!(f, "{other}'s certificate is not accepted: {what}")
            }
            Cause::NoMechanism { offered } if offered.is_empty() => {
                write!(f, "{other} offers no way to authenticate that is allowed here")
            }
            Cause::NoMechanism { offered } => write!(
                f,
                "{other} offers only {}, which is not allowed or not configured here",
                PeerText::quoting(&offered.join(", "))
            ),
            Cause::Refused { mechanism, failure } => {
                write!(f, "{other} refused {mechanism} ({})", failure.name())
            }
            Cause::Mechanism { mechanism, what } => write!(f, "{mechanism} failed: {what}"),
            Cause::Kerberos(what) => write!(f, "no Kerberos ticket for {other} ({what})"),
            Cause::Dialback(unproved, before) => {
                write!(f, "server dialback failed: {unproved}")?;
                match before {
                    Some(before) => write!(f, "; before that, {}", before.told_of(other)),
                    None => Ok(()),
                }
            }
            Cause::TooManyFailures => f.write_str("too many failed attempts to authenticate"),
            Cause::Policy(what) | Cause::NoWay(what) => f.write_str(what),
            Cause::StreamError(error) => {
                write!(f, "{other} ended the stream with {}", error.condition.name())?;
                match &error.said {
                    Some(said) => write!(f, " ({said})"),
                    None => Ok(()),
                }
            }
            Cause::StanzaRefused(Some(error)) => write!(
                f,
                "{other} ended the stream with {} when it was sent this stanza",
                error.condition.name()
            ),
            Cause::StanzaRefused(None) => write!(
                f,
                "{other} closed the connection each time it was sent this stanza"
            ),
            Cause::Protocol(condition, what) => {
                write!(f, "{other} broke the protocol: {} ({what})", condition.name())
            }
            Cause::Timeout(what) => write!(f, "timed out: {what}"),
            Cause::Memory => write!(
                f,
                "this server has no more memory for {other} (`memory` in [limits])"
            ),
            Cause::Idle => f.write_str("idle"),
            Cause::Shutdown => f.write_str("this server is shutting down"),
            Cause::Finished => write!(f, "{other} closed the stream"),
            Cause::Replaced => f.write_str("replaced by a newer connection"),
            Cause::Operator => f.write_str("closed by the operator of this server"),
        }
    }
}

impl fmt::Display for Unproved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid => f.write_str(
                "the key is not the sender's; does the sender's DNS lead to its own server?",
            ),
            Self::Error { condition, said } => match said {
                Some(said) => write!(f, "{condition}: {said}"),
                None => condition.fmt(f),
            },
            Self::Other(what) => what.fmt(f),
        }
    }
}
