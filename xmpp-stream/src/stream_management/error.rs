//! What can be wrong with stream management, and what the peer hears of it (XEP-0198 §6).

use super::nonza::Failed;
use crate::{Condition, StanzaCondition, StreamError, ns};

/// An element in the namespace of stream management that is not as XEP-0198 §13 has it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NonzaError {
    /// An attribute that must be there is missing, or has no characters.
    #[error("<{nonza}/> lacks the attribute '{attribute}'")]
    Missing {
        /// The element's name.
        nonza: &'static str,
        /// The attribute's name.
        attribute: &'static str,
    },
    /// An attribute has a value that its type does not have.
    #[error("the attribute '{attribute}' of <{nonza}/> is not {expected}")]
    Invalid {
        /// The element's name.
        nonza: &'static str,
        /// The attribute's name.
        attribute: &'static str,
        /// What would be right.
        expected: &'static str,
    },
    /// An attribute is longer than it may be.
    #[error("the attribute '{attribute}' of <{nonza}/> has more than {limit} bytes")]
    TooLong {
        /// The element's name.
        nonza: &'static str,
        /// The attribute's name.
        attribute: &'static str,
        /// How many bytes it may have.
        limit: usize,
    },
}

/// What to send to a peer whose element was wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ErrorReply {
    /// Refuse the request, and go on: §6 wants `<failed/>` for `<enable/>` and `<resume/>`.
    Failed(Failed),
    /// The counters of both sides do not agree any more: end the stream.
    Close(StreamError),
}

impl NonzaError {
    /// What to send to the peer.
    pub fn reply(&self) -> ErrorReply {
        let (Self::Missing { nonza, .. }
        | Self::Invalid { nonza, .. }
        | Self::TooLong { nonza, .. }) = self;
        match *nonza {
            "enable" | "resume" => ErrorReply::Failed(Failed::new(StanzaCondition::BadRequest)),
            _ => ErrorReply::Close(
                StreamError::new(Condition::InvalidXml).with_text(self.to_string()),
            ),
        }
    }
}

/// A count of handled stanzas that cannot be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AckError {
    /// More than were sent.
    #[error("{h} stanzas were acknowledged, but only {sent} were sent")]
    TooHigh {
        /// What the peer says that it has handled.
        h: u32,
        /// How many were sent, as it should be counted (modulo 2^32).
        sent: u32,
    },
    /// Fewer than the peer acknowledged before.
    #[error("{h} stanzas were acknowledged, and before that already {acknowledged}")]
    WentBack {
        /// What the peer says that it has handled.
        h: u32,
        /// What it said before.
        acknowledged: u32,
    },
}

impl AckError {
    /// The stream error that ends the stream.
    ///
    /// For [`TooHigh`](Self::TooHigh) it is the one of XEP-0198 §6, with `<handled-count-too-high/>`. The XEP has none for a
    /// count that goes back.
    pub fn stream_error(&self) -> StreamError {
        let error = StreamError::new(Condition::UndefinedCondition).with_text(self.to_string());
        match self {
            Self::TooHigh { h, sent } => error
                .with_application(ns::STREAM_MANAGEMENT, "handled-count-too-high")
                .with_application_attribute("h", h.to_string())
                .with_application_attribute("send-count", sent.to_string()),
            Self::WentBack { .. } => error,
        }
    }
}

/// The window has no room: send nothing before something was acknowledged. The item comes back.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("too much was sent that is not acknowledged")]
pub struct WindowFull<T>(pub T);

/// So many stanzas were received that are not settled: read nothing before some are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("more than {limit} stanzas were received and are not settled")]
#[non_exhaustive]
pub struct TooManyUnsettled {
    /// How many may be.
    pub limit: u32,
}

impl TooManyUnsettled {
    pub(crate) fn new(limit: u32) -> Self {
        Self { limit }
    }
}
