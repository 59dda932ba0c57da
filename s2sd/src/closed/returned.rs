//! Why a stanza comes back although no stream ended.

use xmpp_stream::{ErrorType, StanzaCondition, StanzaError};

use super::cause_element;

/// Why a stanza comes back although no stream ended: name, condition and text are derived here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returned {
    /// There is no room for it: why.
    QueueFull(&'static str),
    /// No component is attached for the domain.
    ComponentAbsent,
    /// The peer would end the whole stream for it (XEP-0478 §4).
    PeerLimit {
        /// How many bytes it has.
        size: usize,
        /// How many the peer takes.
        most: u64,
    },
    /// The peer answered it with an error on a stream without a proof: its text is not repeated.
    Refused,
}

impl Returned {
    /// Each name that [`Returned::name`] gives.
    pub const NAMES: &[&str] = &[
        "queue-full",
        "component-absent",
        "peer-limit",
        "stanza-refused",
    ];

    /// The name for metrics and for the application condition of a bounce.
    pub fn name(self) -> &'static str {
        match self {
            Self::QueueFull(_) => "queue-full",
            Self::ComponentAbsent => "component-absent",
            Self::PeerLimit { .. } => "peer-limit",
            Self::Refused => "stanza-refused",
        }
    }

    /// The stanza error that its sender gets.
    pub fn stanza_error(self) -> StanzaError {
        let (kind, condition) = match self {
            Self::QueueFull(_) => (ErrorType::Wait, StanzaCondition::ResourceConstraint),
            Self::ComponentAbsent => (ErrorType::Wait, StanzaCondition::ServiceUnavailable),
            Self::PeerLimit { .. } => (ErrorType::Modify, StanzaCondition::PolicyViolation),
            Self::Refused => (ErrorType::Cancel, StanzaCondition::NotAcceptable),
        };
        let text = match self {
            Self::QueueFull(why) => why.to_owned(),
            Self::ComponentAbsent => "nothing answers for this domain at the moment".to_owned(),
            Self::PeerLimit { size, most } => {
                format!("the stanza has {size} bytes and the other server takes at most {most}")
            }
            Self::Refused => "the other server did not accept this stanza".to_owned(),
        };
        StanzaError::new(kind, condition)
            .with_text(text)
            .with_application(cause_element(self.name()))
    }
}
