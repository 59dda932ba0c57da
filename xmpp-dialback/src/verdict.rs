//! Verdicts about keys, and the errors of XEP-0220 §2.5.

use std::fmt;

use crate::Pair;

/// The answer to a [`Request`](crate::Request) or a [`Question`](crate::Question).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The key is good: the pair is proved.
    Valid,
    /// The key is not good.
    Invalid,
    /// Nothing could be said about the key (`type='error'`).
    Error(DialbackError),
}

impl Verdict {
    /// The verdict for the Initiating Server (step 4) after a failure on the way to the Authoritative Server
    /// (step 3), XEP-0220 §2.5.
    ///
    /// A connection that failed or broke is named as such; every error that the Authoritative Server
    /// itself gave becomes `remote-server-not-found`, and its name stands in the text.
    #[must_use]
    pub fn relayed(self) -> Self {
        use ErrorCondition::{RemoteConnectionFailed, RemoteServerNotFound, RemoteServerTimeout};
        match self {
            Self::Error(error) => Self::Error(match error.condition {
                RemoteConnectionFailed | RemoteServerNotFound | RemoteServerTimeout => error,
                other => DialbackError::not_found_because(other),
            }),
            said => said,
        }
    }
}

/// A dialback error: the key was not judged, the stream goes on (XEP-0220 §2.5).
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct DialbackError {
    /// What is wrong.
    pub condition: ErrorCondition,
    /// For the person who will fix it.
    pub text: Option<String>,
}

impl DialbackError {
    /// An error without a text.
    pub fn new(condition: ErrorCondition) -> Self {
        Self {
            condition,
            text: None,
        }
    }

    /// The same with a text.
    #[must_use]
    pub fn with_text(self, text: impl Into<String>) -> Self {
        Self {
            text: Some(text.into()),
            ..self
        }
    }

    // XEP-0220 §2.5: "If an error is encountered in Step 3 of the dialback negotiation, the Receiving
    // Server MUST send a <remote-server-not-found/> dialback error to the Initiating Server."
    pub(crate) fn not_found_because(said: ErrorCondition) -> Self {
        Self::new(ErrorCondition::RemoteServerNotFound)
            .with_text(format!("the authoritative server answered {said}"))
    }
}

/// Only the condition: the text may be the other side's words, and hold line ends and whatever else.
impl fmt::Display for DialbackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.condition.fmt(f)
    }
}

impl std::error::Error for DialbackError {}

/// The conditions that XEP-0220 §2.5 lists, in its order, and a place for all others.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ErrorCondition {
    /// The domain in `to` is not hosted here.
    ItemNotFound,
    /// No connection to the Authoritative Server could be made.
    RemoteConnectionFailed,
    /// The Authoritative Server says that it is not, or was not found.
    RemoteServerNotFound,
    /// The connection to the Authoritative Server broke, or it did not answer in time.
    RemoteServerTimeout,
    /// TLS is wanted before dialback.
    PolicyViolation,
    /// A certificate or another proof is wanted.
    NotAuthorized,
    /// The Authoritative Server said that the key is invalid.
    Forbidden,
    /// The asserted identity could not be established.
    NotAcceptable,
    /// No room for a further pair on this stream.
    ResourceConstraint,
    /// Any other condition, or none.
    Undefined,
}

impl ErrorCondition {
    const ALL: [Self; 10] = [
        Self::ItemNotFound,
        Self::RemoteConnectionFailed,
        Self::RemoteServerNotFound,
        Self::RemoteServerTimeout,
        Self::PolicyViolation,
        Self::NotAuthorized,
        Self::Forbidden,
        Self::NotAcceptable,
        Self::ResourceConstraint,
        Self::Undefined,
    ];

    /// The name of the element on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::ItemNotFound => "item-not-found",
            Self::RemoteConnectionFailed => "remote-connection-failed",
            Self::RemoteServerNotFound => "remote-server-not-found",
            Self::RemoteServerTimeout => "remote-server-timeout",
            Self::PolicyViolation => "policy-violation",
            Self::NotAuthorized => "not-authorized",
            Self::Forbidden => "forbidden",
            Self::NotAcceptable => "not-acceptable",
            Self::ResourceConstraint => "resource-constraint",
            Self::Undefined => "undefined-condition",
        }
    }

    /// From the name of an element; what XEP-0220 does not list is [`Undefined`](Self::Undefined).
    pub fn from_name(name: &str) -> Self {
        Self::ALL
            .into_iter()
            .find(|condition| condition.name() == name)
            .unwrap_or(Self::Undefined)
    }

    /// The error type, as in `<error type='…'/>`, that RFC 6120 §8.3.3 gives the condition.
    pub fn kind(self) -> &'static str {
        match self {
            Self::ItemNotFound
            | Self::RemoteConnectionFailed
            | Self::RemoteServerNotFound
            | Self::Undefined => "cancel",
            Self::RemoteServerTimeout | Self::ResourceConstraint => "wait",
            Self::PolicyViolation | Self::NotAcceptable => "modify",
            Self::NotAuthorized | Self::Forbidden => "auth",
        }
    }
}

impl fmt::Display for ErrorCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An answer to a question that is not waiting on this stream: never asked, asked on another stream,
/// for another pair or id, or answered before (XEP-0220 §3.1). It has changed nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("unsolicited dialback answer for {pair}")]
pub struct Unsolicited {
    /// The pair that the answer names.
    pub pair: Pair,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_shown_by_its_condition_and_not_by_its_text() {
        let error = DialbackError::new(ErrorCondition::Forbidden).with_text("two\nlines");
        assert_eq!(error.to_string(), "forbidden");
    }

    #[test]
    fn condition_names_are_read_back() {
        for condition in ErrorCondition::ALL {
            assert_eq!(ErrorCondition::from_name(condition.name()), condition);
        }
        assert_eq!(ErrorCondition::from_name("gone"), ErrorCondition::Undefined);
    }

    #[test]
    fn an_error_of_the_authoritative_server_is_relayed_as_not_found() {
        for condition in ErrorCondition::ALL {
            use ErrorCondition::{
                RemoteConnectionFailed, RemoteServerNotFound, RemoteServerTimeout,
            };
            let Verdict::Error(told) = Verdict::Error(DialbackError::new(condition)).relayed()
            else {
                panic!("an error stays an error");
            };
            let want = match condition {
                RemoteConnectionFailed | RemoteServerTimeout => condition,
                _ => RemoteServerNotFound,
            };
            assert_eq!(told.condition, want);
        }
        assert_eq!(Verdict::Valid.relayed(), Verdict::Valid);
        assert_eq!(Verdict::Invalid.relayed(), Verdict::Invalid);
    }
}
