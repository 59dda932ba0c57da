//! The XML forms of XEP-0220: `db:result` and `db:verify`, their errors, and the stream errors that
//! RFC 3920 §8.3 used in their place. The only file of this crate that knows XML.
//!
//! Elements are known by their namespace, whatever the prefix. What we write has the prefix `db:`, which
//! our stream headers declare (`StreamHeader::with_dialback`): some servers take no other
//! (XEP-0220 §2.4.1).
//!
//! A pair turns round on the way: `db:result` asks `from` the sender `to` the target and is answered the
//! other way round; `db:verify` asks `from` the target `to` the sender. A [`Pair`] in a [`Nonza`] always
//! means the same; its domains are what stood in the attributes, so prepare them before comparing.

use std::borrow::Cow;

use bytes::Bytes;
use xmpp_stream::{BadAddress, Condition, Domain, Element, StreamError, Tree, Writer, ns};

use crate::{
    CloseStream, DialbackError, ErrorCondition, Key, Pair, Question, Request, Unsolicited, Verdict,
};

/// An element of dialback, in XEP-0220's order of steps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Nonza {
    /// Step 1, `db:result` with a key.
    Request(Request),
    /// Step 2, `db:verify` with a key.
    Question(Question),
    /// Step 3, `db:verify` with a type.
    Answer {
        /// The pair of the question.
        pair: Pair,
        /// The id of the question.
        stream_id: String,
        /// The type.
        verdict: Verdict,
    },
    /// Step 4, `db:result` with a type.
    Result {
        /// The pair of the request.
        pair: Pair,
        /// The type.
        verdict: Verdict,
    },
}

/// An element of dialback that XEP-0220 §6.1 does not allow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// No `to`, or an empty one.
    #[error("a dialback element without 'to'")]
    NoTo,
    /// No `from`, or an empty one.
    #[error("a dialback element without 'from'")]
    NoFrom,
    /// A `db:verify` without `id`.
    #[error("a db:verify without 'id'")]
    NoId,
    /// A `type` that is none of valid, invalid, error.
    #[error("a dialback element of an unknown type")]
    UnknownType,
}

impl Malformed {
    /// The condition for the peer.
    pub fn condition(self) -> Condition {
        match self {
            Self::NoTo | Self::NoFrom => Condition::ImproperAddressing,
            Self::NoId | Self::UnknownType => Condition::BadFormat,
        }
    }

    /// [`condition`](Self::condition) with a text.
    pub fn stream_error(self) -> StreamError {
        StreamError::new(self.condition()).with_text(self.to_string())
    }
}

impl Nonza {
    /// Reads an element; `None` if it is not one of dialback.
    pub fn from_element(element: &Element) -> Option<Result<Self, Malformed>> {
        if element.is(ns::DIALBACK, "result") {
            Some(result(element))
        } else if element.is(ns::DIALBACK, "verify") {
            Some(verify(element))
        } else {
            None
        }
    }

    /// For a stream whose header declares the prefix `db`.
    pub fn to_bytes(&self) -> Bytes {
        match self {
            Self::Request(Request { pair, key }) => {
                addressed("db:result", &pair.sender, &pair.target)
                    .text(key.as_str())
                    .finish()
            }
            Self::Question(Question {
                pair,
                stream_id,
                key,
            }) => addressed("db:verify", &pair.target, &pair.sender)
                .attr("id", stream_id)
                .text(key.as_str())
                .finish(),
            Self::Answer {
                pair,
                stream_id,
                verdict,
            } => judged(
                addressed("db:verify", &pair.sender, &pair.target).attr("id", stream_id),
                verdict,
            ),
            Self::Result { pair, verdict } => {
                judged(addressed("db:result", &pair.target, &pair.sender), verdict)
            }
        }
    }
}

fn result(element: &Element) -> Result<Nonza, Malformed> {
    let (from, to) = addresses(element)?;
    Ok(match verdict(element)? {
        None => Nonza::Request(Request {
            pair: Pair::new(from, to),
            key: key(element),
        }),
        Some(verdict) => Nonza::Result {
            pair: Pair::new(to, from),
            verdict,
        },
    })
}

fn verify(element: &Element) -> Result<Nonza, Malformed> {
    let (from, to) = addresses(element)?;
    let stream_id = filled(element.id()).ok_or(Malformed::NoId)?;
    Ok(match verdict(element)? {
        None => Nonza::Question(Question {
            pair: Pair::new(to, from),
            stream_id,
            key: key(element),
        }),
        Some(verdict) => Nonza::Answer {
            pair: Pair::new(from, to),
            stream_id,
            verdict,
        },
    })
}

fn addresses(element: &Element) -> Result<(String, String), Malformed> {
    let from = filled(element.from()).ok_or(Malformed::NoFrom)?;
    let to = filled(element.to()).ok_or(Malformed::NoTo)?;
    Ok((from, to))
}

fn filled(value: Option<Cow<'_, str>>) -> Option<String> {
    value.filter(|value| !value.is_empty()).map(Cow::into_owned)
}

fn key(element: &Element) -> Key {
    Key::from_text(&element.text())
}

fn verdict(element: &Element) -> Result<Option<Verdict>, Malformed> {
    match element.type_attr().as_deref() {
        None => Ok(None),
        Some("valid") => Ok(Some(Verdict::Valid)),
        Some("invalid") => Ok(Some(Verdict::Invalid)),
        Some("error") => Ok(Some(Verdict::Error(error(&element.tree())))),
        Some(_) => Err(Malformed::UnknownType),
    }
}

/// XEP-0220 §2.5: `<error/>` in the content namespace. Without one, or without a condition that we know,
/// it is still an error: the key was not judged.
fn error(tree: &Tree) -> DialbackError {
    let parts = || {
        tree.elements()
            .filter(|child| child.name == "error")
            .flat_map(Tree::elements)
            .filter(|part| part.namespace == ns::STANZA_ERRORS)
    };
    let text = parts().find(|part| part.name == "text").map(Tree::text);
    let Some(said) = parts().find(|part| part.name != "text") else {
        return DialbackError {
            condition: ErrorCondition::Undefined,
            text,
        };
    };
    let condition = ErrorCondition::from_name(&said.name);
    DialbackError {
        condition,
        text: text.or_else(|| (condition == ErrorCondition::Undefined).then(|| said.name.clone())),
    }
}

fn addressed(name: &str, from: &str, to: &str) -> Writer {
    Writer::new(name).attr("from", from).attr("to", to)
}

fn judged(element: Writer, verdict: &Verdict) -> Bytes {
    match verdict {
        Verdict::Valid => element.attr("type", "valid").finish(),
        Verdict::Invalid => element.attr("type", "invalid").finish(),
        Verdict::Error(DialbackError { condition, text }) => {
            let mut error = Writer::new("error")
                .attr("type", condition.kind())
                .child(Writer::new(condition.name()).xmlns(ns::STANZA_ERRORS));
            if let Some(text) = text {
                error = error.child(Writer::new("text").xmlns(ns::STANZA_ERRORS).text(text));
            }
            element.attr("type", "error").child(error).finish()
        }
    }
}

impl Verdict {
    /// What a stream error says about the requests or questions that waited on the stream: before
    /// XEP-0220 had errors of its own, servers ended the stream instead (RFC 3920 §8.3).
    ///
    /// For questions on a stream to an Authoritative Server follow with [`Verdict::relayed`].
    pub fn from_stream_error(condition: Condition) -> Self {
        let error = match condition {
            // RFC 3920 §4.7.3, §8.3 step 9: the id, and with it the key made for it, is not known.
            Condition::InvalidId => return Self::Invalid,
            Condition::HostUnknown | Condition::HostGone => ErrorCondition::ItemNotFound,
            Condition::RemoteConnectionFailed => ErrorCondition::RemoteConnectionFailed,
            Condition::InvalidFrom => ErrorCondition::NotAcceptable,
            Condition::NotAuthorized => ErrorCondition::NotAuthorized,
            Condition::PolicyViolation => ErrorCondition::PolicyViolation,
            Condition::ResourceConstraint => ErrorCondition::ResourceConstraint,
            Condition::BadFormat
            | Condition::BadNamespacePrefix
            | Condition::Conflict
            | Condition::ConnectionTimeout
            | Condition::ImproperAddressing
            | Condition::InternalServerError
            | Condition::InvalidNamespace
            | Condition::InvalidXml
            | Condition::NotWellFormed
            | Condition::Reset
            | Condition::RestrictedXml
            | Condition::SeeOtherHost
            | Condition::SystemShutdown
            | Condition::UndefinedCondition
            | Condition::UnsupportedEncoding
            | Condition::UnsupportedFeature
            | Condition::UnsupportedStanzaType
            | Condition::UnsupportedVersion => ErrorCondition::RemoteServerTimeout,
        };
        let text = format!("the stream ended with {}", condition.name());
        Self::Error(DialbackError::new(error).with_text(text))
    }
}

impl Pair {
    /// A pair of two domains, as they are put on the wire ([`Domain::as_str`]).
    pub fn of(sender: &Domain, target: &Domain) -> Self {
        Self::new(sender.as_str(), target.as_str())
    }

    /// The same pair prepared, for what came in a [`Nonza`]; an error if one of the two is no domain.
    pub fn prepared(&self) -> Result<Self, BadAddress> {
        let (sender, target) = (Domain::parse(&self.sender)?, Domain::parse(&self.target)?);
        Ok(Self::of(&sender, &target))
    }
}

impl CloseStream {
    /// The stream error to send before `</stream:stream>`, if any.
    pub fn stream_error(self) -> Option<StreamError> {
        match self {
            Self::Invalid => None,
            Self::PolicyViolation => Some(StreamError::new(Condition::PolicyViolation)),
        }
    }
}

impl Unsolicited {
    /// The error for the peer that sent it: `invalid-from`, because on this stream there was no question to
    /// the domain in the `from` of its answer (RFC 6120 §4.9.3.9).
    pub fn stream_error(&self) -> StreamError {
        StreamError::new(Condition::InvalidFrom).with_text(self.to_string())
    }
}
