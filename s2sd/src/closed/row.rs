//! What follows from each cause, in one table: its name, how long it lasts, how far the attempt got, what the sender of a
//! stanza hears, and what a peer hears that had us ask about its dialback key.

use xmpp_dialback::{DialbackError, ErrorCondition};
use xmpp_sasl::Failure;
use xmpp_stream::{Condition, StanzaCondition};

use super::{Cause, PeerError, Unproved};

/// What follows from a cause.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) lasts: Lasts,
    pub(super) reach: Reach,
    pub(super) bounce: StanzaCondition,
    pub(super) answer: KeyAnswer,
}

/// How long a cause lasts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Lasts {
    /// The next attempt may go well.
    Passes,
    /// An operator has to change something first. It says nothing about the pair: a server that breaks the protocol is
    /// the same as none.
    Mended,
    /// The same, and it says that the pair cannot work. A server that has just started, and does not know all of its
    /// domains yet, says this too. So does a proxy in front of it, which may not speak XMPP, or have another
    /// certificate.
    Started,
    /// The pair cannot be: no such domain, or policy.
    Stays,
}

/// How far an attempt to make a stream got before it failed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Reach {
    /// The domain was looked up.
    LookedUp,
    /// A server was dialled.
    Dialled,
    /// There was a connection.
    Connected,
    /// TLS had begun.
    Tls,
    /// A certificate was shown.
    Certificate,
    /// There was a stream.
    Stream,
    /// A proof was tried.
    Proof,
}

/// The error for a peer whose dialback key we could not ask about (XEP-0220 §2.5): the condition and one fixed
/// sentence. The peer chose the target, so it must not learn what happened there, and in our DNS.
pub(super) enum KeyAnswer {
    NotFound,
    NoConnection,
    /// Also for a look-up without an answer: we do not say that an unknown domain does not exist.
    NoAnswer,
    Busy,
}

/// For a peer whose key has no room now.
pub(crate) const BUSY: &str = "this server is busy; try again later";

impl KeyAnswer {
    pub(super) fn error(self) -> DialbackError {
        let (condition, text) = match self {
            Self::NotFound => (
                ErrorCondition::RemoteServerNotFound,
                "the authoritative server was not found",
            ),
            Self::NoConnection => (
                ErrorCondition::RemoteConnectionFailed,
                "no connection to the authoritative server could be made",
            ),
            Self::NoAnswer => (
                ErrorCondition::RemoteServerTimeout,
                "the authoritative server did not answer",
            ),
            Self::Busy => (ErrorCondition::ResourceConstraint, BUSY),
        };
        DialbackError::new(condition).with_text(text)
    }
}

macro_rules! table {
    ($($cause:pat => $name:literal, $lasts:expr, $reach:ident, $bounce:expr, $answer:expr;)+) => {
        impl Cause {
            /// Each name that [`Cause::name`] gives.
            pub const NAMES: &[&str] = &[$($name),+];

            pub(super) fn row(&self) -> Row {
                match self {
                    $($cause => Row {
                        name: $name,
                        lasts: $lasts,
                        reach: Reach::$reach,
                        bounce: $bounce,
                        answer: $answer,
                    },)+
                }
            }
        }
    };
}

use KeyAnswer::{Busy, NoAnswer, NoConnection, NotFound};
use Lasts::{Mended, Passes, Started, Stays};
use StanzaCondition::{
    PolicyViolation, RemoteServerNotFound, RemoteServerTimeout, ResourceConstraint,
};

// Conditions of bounces: RFC 6120 §8.3.3 and §10.4. `remote-server-not-found` only if the DNS said so: no answer says
// nothing about the domain.
table! {
    // cause                         name                   how long it lasts    how far    the sender hears      the peer hears
    Self::NoSuchHost(_)           => "no-such-host",        Stays,               LookedUp,  RemoteServerNotFound, NotFound;
    Self::NoService               => "no-service",          Stays,               LookedUp,  RemoteServerNotFound, NotFound;
    Self::NoWay(_)                => "no-way",              Stays,               LookedUp,  RemoteServerNotFound, NotFound;
    Self::Dns(_)                  => "dns",                 Passes,              LookedUp,  RemoteServerTimeout,  NoAnswer;
    Self::NameServer(_)           => "name-server",         Passes,              LookedUp,  RemoteServerTimeout,  NoAnswer;
    Self::Dnssec(_)               => "dnssec",              Passes,              LookedUp,  RemoteServerTimeout,  NotFound;
    Self::NotPublic(_)            => "not-public",          Stays,               LookedUp,  PolicyViolation,      NoConnection;
    Self::Network(_)              => "network",             Passes,              Dialled,   RemoteServerTimeout,  NoAnswer;
    Self::Connect(_)              => "connect",             Passes,              Dialled,   RemoteServerTimeout,  NoConnection;
    Self::Descriptors             => "descriptors",         Passes,              Dialled,   ResourceConstraint,   Busy;
    Self::Lost(_)                 => "lost",                Passes,              Connected, RemoteServerTimeout,  NoAnswer;
    Self::Timeout(_)              => "timeout",             Passes,              Connected, RemoteServerTimeout,  NoAnswer;
    Self::Memory                  => "memory",              Passes,              Connected, ResourceConstraint,   NoAnswer;
    Self::Idle                    => "idle",                Passes,              Connected, RemoteServerTimeout,  NoAnswer;
    Self::Shutdown                => "shutdown",            Passes,              Connected, RemoteServerTimeout,  NoAnswer;
    Self::Finished                => "finished",            Passes,              Connected, RemoteServerTimeout,  NoAnswer;
    Self::Replaced                => "replaced",            Passes,              Connected, RemoteServerTimeout,  NoAnswer;
    Self::Operator                => "operator",            Passes,              Connected, RemoteServerTimeout,  NoAnswer;
    Self::Tls(_)
    | Self::NoNameForTls          => "tls",                 Passes,              Tls,       RemoteServerTimeout,  NoConnection;
    Self::TlsNotOffered           => "tls-not-offered",     Started,             Tls,       RemoteServerTimeout,  NoConnection;
    Self::Certificate(_)          => "certificate",         Started,             Certificate, RemoteServerTimeout, NoConnection;
    Self::CertificateUntold(_)    => "certificate-untold",  Passes,              Certificate, RemoteServerTimeout, NoAnswer;
    Self::CertificateRefused(_)   => "certificate-refused", Started,             Certificate, RemoteServerTimeout, NoConnection;
    Self::Protocol(..)            => "protocol",            Mended,              Stream,    RemoteServerTimeout,  NoAnswer;
    Self::StreamError(error)      => "stream-error",        ended_by(error),     Stream,    RemoteServerTimeout,  asking_ended_by(error);
    Self::StanzaRefused(error)    => "stanza-refused",      Stays,               Stream,    of_a_stanza(error.as_ref()), NoAnswer;
    Self::Policy(_)               => "policy",              Stays,               Stream,    PolicyViolation,      NoConnection;
    Self::NoMechanism { .. }      => "no-mechanism",        Started,             Proof,     RemoteServerTimeout,  NoAnswer;
    Self::Refused { failure, .. } => "refused",             sasl(*failure),      Proof,     RemoteServerTimeout,  NoAnswer;
    Self::Mechanism { .. }        => "mechanism",           Mended,              Proof,     RemoteServerTimeout,  NoAnswer;
    // The KDC may not have answered.
    Self::Kerberos(_)             => "kerberos",            Passes,              Proof,     RemoteServerTimeout,  NoAnswer;
    Self::Dialback(unproved, _)   => "dialback",            answered(unproved),  Proof,     RemoteServerTimeout,  NoAnswer;
    Self::TooManyFailures         => "too-many-failures",   Mended,              Proof,     RemoteServerTimeout,  NoAnswer;
}

/// By a stream error of the other side's.
fn ended_by(error: &PeerError) -> Lasts {
    match error.condition {
        Condition::HostGone
        | Condition::HostUnknown
        | Condition::ImproperAddressing
        | Condition::InvalidFrom
        | Condition::NotAuthorized
        | Condition::PolicyViolation => Started,
        Condition::InvalidNamespace | Condition::UnsupportedVersion => Mended,
        _ => Passes,
    }
}

fn asking_ended_by(error: &PeerError) -> KeyAnswer {
    match error.condition {
        Condition::HostUnknown | Condition::HostGone => NotFound,
        // It refuses us, and would again.
        _ if ended_by(error) > Passes => NoConnection,
        _ => NoAnswer,
    }
}

fn sasl(failure: Failure) -> Lasts {
    match failure {
        Failure::TemporaryAuthFailure => Passes,
        Failure::Aborted | Failure::IncorrectEncoding | Failure::MalformedRequest => Mended,
        _ => Started,
    }
}

/// XEP-0220 §2.5: waiting stanzas go back to their senders. s2sd tries again only after an error that is temporary by
/// its own words.
fn answered(unproved: &Unproved) -> Lasts {
    match unproved {
        Unproved::Invalid => Started,
        Unproved::Error { condition, .. } if condition.kind() != "wait" => Started,
        Unproved::Error { .. } | Unproved::Other(_) => Passes,
    }
}

fn of_a_stanza(error: Option<&PeerError>) -> StanzaCondition {
    match error.map(|error| error.condition) {
        None => StanzaCondition::NotAcceptable,
        Some(Condition::PolicyViolation | Condition::ResourceConstraint) => PolicyViolation,
        Some(_) => StanzaCondition::BadRequest,
    }
}
