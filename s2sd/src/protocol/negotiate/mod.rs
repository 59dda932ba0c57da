//! Negotiation of a server-to-server stream, as values: events in, effects out.
//!
//! [`Inbound`] is the receiving entity's side, [`Outbound`] the initiating entity's. Neither has a socket, a task, a
//! clock or random numbers: time, randomness and the rules come in as arguments, and a question (is this certificate good? what
//! does the authoritative server say?) is an effect whose answer is an event.

mod accepts;
mod attach;
mod authoritative;
mod bidi;
mod inbound;
mod offer;
mod outbound;
mod pairs;
mod peer_limits;
mod quota;
mod seeded;
mod snapshot;

pub use super::proof::{Attached, Authorized, DomainPair};
pub use crate::config::Method;
pub use attach::{Attach, Attaching};
pub use inbound::{Inbound, InboundEffect, InboundEvent, InboundSaslStep, InboundSaslStepDone};
pub use outbound::{
    Awaits, Call, Outbound, OutboundEffect, OutboundEvent, OutboundSaslStep, OutboundSaslStepDone,
    Purpose, exclude,
};
pub use quota::{Quota, Unlimited};
pub use snapshot::Snapshot;

use crate::config::{MinTls, Policy};
use crate::peer_text::PeerText;
use crate::trust::facts::{TLS_1_3, TlsFacts};
use crate::trust::judgement::Judgement;
use data_encoding::HEXLOWER;
use xmpp_sasl::ChannelBindings;

/// What carries the stream.
#[derive(Clone, Debug)]
pub enum Transport {
    /// Nothing but TCP.
    Plain,
    /// TLS, by STARTTLS or from the first byte.
    Tls(Secured),
}

/// What is known of a finished TLS handshake.
#[derive(Clone, Debug)]
pub struct Secured {
    /// Version, cipher, group.
    pub facts: TlsFacts,
    /// No other session has the same master secret: it is TLS 1.3, or has the extended master secret (RFC 7627).
    pub ems: bool,
    /// Whether the peer showed a certificate. It is judged for each domain.
    pub certificate_shown: bool,
    /// What a SASL exchange can be bound to (RFC 5056).
    pub channel_bindings: ChannelBindings,
}

impl Transport {
    /// Whether the bytes are encrypted.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// What a SASL exchange can be bound to: nothing without TLS.
    pub fn channel_bindings(&self) -> ChannelBindings {
        match self {
            Self::Plain => ChannelBindings::none(),
            Self::Tls(secured) => secured.channel_bindings.clone(),
        }
    }

    /// Whether the peer showed a certificate.
    pub fn certificate_shown(&self) -> bool {
        matches!(self, Self::Tls(secured) if secured.certificate_shown)
    }

    /// What the handshake lacks for this peer. The rules that hold are known for certain only after it.
    pub fn lacks(&self, policy: &Policy) -> Option<&'static str> {
        match self {
            Self::Tls(secured) if secured.facts.version != TLS_1_3 => {
                if policy.min_tls > MinTls::V1_2 {
                    Some("TLS 1.3 is required here")
                } else if policy.require_ems && !secured.ems {
                    Some("TLS 1.2 needs the extended master secret (RFC 7627) here")
                } else {
                    None
                }
            }
            Self::Tls(_) | Self::Plain => None,
        }
    }

    /// For the log: `plain`, or the TLS version.
    pub fn version(&self) -> &'static str {
        match self {
            Self::Plain => "none",
            Self::Tls(secured) => secured.facts.version,
        }
    }
}

/// The verdict on the peer's certificate for one domain.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The domain in question; `None`: the single domain that the certificate names.
    pub domain: Option<xmpp_stream::Domain>,
    /// The verdict for that domain, or for the identity below.
    pub judgement: Judgement,
    /// For a question without a domain: the certificate's single identity.
    pub identity: Option<xmpp_stream::Domain>,
}

/// A stream id: 128 bits that cannot be guessed (RFC 6120 §4.7.3).
fn fresh_id(random: &mut dyn xmpp_sasl::Random) -> String {
    let mut bytes = [0; 16];
    random.fill(&mut bytes);
    HEXLOWER.encode(&bytes)
}

/// For logs and bounces: what a dialback verdict says.
fn describe(verdict: &xmpp_dialback::Verdict) -> String {
    match verdict {
        xmpp_dialback::Verdict::Valid => "valid".to_owned(),
        xmpp_dialback::Verdict::Invalid => "the key was found not to be the sender's".to_owned(),
        xmpp_dialback::Verdict::Error(error) => match error.text.as_deref().map(PeerText::new) {
            Some(said) => format!("{}: {said}", error.condition),
            None => error.condition.to_string(),
        },
    }
}

#[cfg(test)]
mod tests;
