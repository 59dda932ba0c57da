//! Stanza errors (RFC 6120 §8.3): the conditions, and the error that answers a stanza.

use std::fmt;

use bytes::Bytes;

use crate::condition::conditions;
use crate::{Element, Node, StanzaKind, Tree, Writer, ns};

conditions! {
    /// Why a stanza comes back (RFC 6120 §8.3.3).
    StanzaCondition {
        /// The stanza lacks something or has something too much. Correct it before sending it again. §8.3.3.1.
        BadRequest = "bad-request",
        /// Something of this name exists already. Choose another name. §8.3.3.2.
        Conflict = "conflict",
        /// The recipient does not have this feature. Do without it. §8.3.3.3.
        FeatureNotImplemented = "feature-not-implemented",
        /// The sender lacks the permission. Ask the administrator of the recipient for it. §8.3.3.4.
        Forbidden = "forbidden",
        /// The recipient is no longer at this address. Use the new one if the error names it. §8.3.3.5.
        Gone = "gone",
        /// The server failed by its own fault. Its log says more; try again later. §8.3.3.6.
        InternalServerError = "internal-server-error",
        /// The address or item does not exist. Check how it is spelt. §8.3.3.7.
        ItemNotFound = "item-not-found",
        /// The address in `to` is not one. Correct it. §8.3.3.8.
        JidMalformed = "jid-malformed",
        /// The recipient wants the stanza in another form, such as with other words or data. Change the content.
        /// §8.3.3.9.
        NotAcceptable = "not-acceptable",
        /// No sender may do this here. Trying again does not help. §8.3.3.10.
        NotAllowed = "not-allowed",
        /// Credentials are missing or wrong. Authenticate, and send it again. §8.3.3.11.
        NotAuthorized = "not-authorized",
        /// A rule of the server was broken, such as a limit of size or rate. The text says which. §8.3.3.12.
        PolicyViolation = "policy-violation",
        /// The recipient is not online at the moment. Send it later. §8.3.3.13.
        RecipientUnavailable = "recipient-unavailable",
        /// The recipient is at another address for now. Use the one in the error, after checking it. §8.3.3.14.
        Redirect = "redirect",
        /// The sender must register first. Register, and send it again. §8.3.3.15.
        RegistrationRequired = "registration-required",
        /// The domain has no server that can be found. Check its name and its DNS records. §8.3.3.16.
        RemoteServerNotFound = "remote-server-not-found",
        /// The server of the domain was not reached in time or could not prove itself. Try again later; the text says
        /// what failed. §8.3.3.17.
        RemoteServerTimeout = "remote-server-timeout",
        /// The recipient is too busy. Wait, and send it again. §8.3.3.18.
        ResourceConstraint = "resource-constraint",
        /// Nothing at this address provides the service. Ask what does (XEP-0030), and send it there. §8.3.3.19.
        ServiceUnavailable = "service-unavailable",
        /// The sender must be subscribed. Ask for a subscription first. §8.3.3.20.
        SubscriptionRequired = "subscription-required",
        /// None of the others fits. The application-specific condition or the text says more. §8.3.3.21.
        UndefinedCondition = "undefined-condition",
        /// The request came at a time or in an order that does not fit. Look at the state before, and begin again.
        /// §8.3.3.22.
        UnexpectedRequest = "unexpected-request",
    }
}

conditions! {
    /// What the sender can do about it (RFC 6120 §8.3.2).
    ErrorType {
        /// Try again with credentials.
        Auth = "auth",
        /// Do not try again.
        Cancel = "cancel",
        /// Go on; it was only a warning.
        Continue = "continue",
        /// Try again with other data.
        Modify = "modify",
        /// Try again later.
        Wait = "wait",
    }
}

impl StanzaCondition {
    /// The condition with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|found| found.name() == name)
    }
}

impl ErrorType {
    /// The error type with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|found| found.name() == name)
    }
}

/// `<error/>` within a stanza.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct StanzaError {
    /// What the sender can do about it.
    pub kind: ErrorType,
    /// The condition.
    pub condition: StanzaCondition,
    /// A text for people.
    pub text: Option<String>,
    /// An application-specific condition: one element, self-contained.
    pub application: Option<Bytes>,
}

impl StanzaError {
    /// Only a condition.
    pub fn new(kind: ErrorType, condition: StanzaCondition) -> Self {
        Self {
            kind,
            condition,
            text: None,
            application: None,
        }
    }

    /// With a text for people.
    #[must_use]
    pub fn with_text(mut self, text: impl Into<String>) -> Self {
        self.text = Some(text.into());
        self
    }

    /// With an application-specific condition: one element, self-contained.
    #[must_use]
    pub fn with_application(mut self, element: impl Into<Bytes>) -> Self {
        self.application = Some(element.into());
        self
    }

    /// `<error/>`, to stand in a stanza. It has no namespace of its own: it inherits the stanza's.
    pub fn to_writer(&self) -> Writer {
        let mut error = Writer::new("error")
            .attr("type", self.kind.name())
            .child(Writer::new(self.condition.name()).xmlns(ns::STANZA_ERRORS));
        if let Some(text) = &self.text {
            error = error.child(
                Writer::new("text")
                    .xmlns(ns::STANZA_ERRORS)
                    .attr("xml:lang", "en")
                    .text(text),
            );
        }
        if let Some(application) = &self.application {
            error = error.raw(application);
        }
        error
    }

    /// Reads the error of a stanza with `type='error'`; `None` if it has none.
    ///
    /// An application-specific condition is given by name only, without content.
    pub fn from_element(stanza: &Element) -> Option<Self> {
        if stanza.type_attr().as_deref() != Some("error") {
            return None;
        }
        let tree = stanza.tree();
        let error = tree.child(&tree.namespace, "error")?;
        Some(Self::read(error))
    }

    fn read(tree: &Tree) -> Self {
        let kind = tree.attr("type").and_then(ErrorType::from_name);
        let mut error = Self::new(
            kind.unwrap_or(ErrorType::Cancel),
            StanzaCondition::UndefinedCondition,
        );
        for node in &tree.children {
            let Node::Element(child) = node else { continue };
            if child.namespace != ns::STANZA_ERRORS {
                let condition = Writer::new(child.name.as_str()).xmlns(&child.namespace);
                error.application = Some(condition.finish());
            } else if child.name == "text" {
                error.text = Some(child.text());
            } else if let Some(condition) = StanzaCondition::from_name(&child.name) {
                error.condition = condition;
            }
        }
        error
    }
}

/// Only the condition: the rest may be the other side's words, and hold line ends and whatever else.
impl fmt::Display for StanzaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.condition.fmt(f)
    }
}

impl std::error::Error for StanzaError {}

/// The stanza that answers another, still without content: `to` and `from` swapped, the same `id`. An IQ becomes a
/// result, a message keeps its type, and a presence has none.
///
/// `None` for what must not be answered, as with [`error_reply`]. The name is unprefixed and inherits the content
/// namespace of the stream that it is written to.
///
/// ```
/// use xmpp_stream::{ContentNamespace, Context, Element, Writer, reply};
///
/// let context = Context::new(ContentNamespace::Component);
/// let stanza = "<message type='chat' id='1' from='a@a.example/x' to='echo.example'><body>Hi</body></message>";
/// let stanza = Element::parse(stanza, &context)?;
/// let answer = reply(&stanza).expect("it is no error").child(Writer::new("body").text("Hi"));
/// let want = "<message type='chat' from='echo.example' to='a@a.example/x' id='1'><body>Hi</body></message>";
/// assert_eq!(answer.finish(), want);
/// # Ok::<(), xmpp_stream::DecodeError>(())
/// ```
pub fn reply(stanza: &Element) -> Option<Writer> {
    match stanza.stanza_kind()? {
        StanzaKind::Iq => answer(stanza, Some("result")),
        StanzaKind::Message => answer(stanza, stanza.type_attr().as_deref()),
        StanzaKind::Presence => answer(stanza, None),
    }
}

/// The error that answers a stanza: `to` and `from` swapped, the same `id` (RFC 6120 §8.3.1).
///
/// `None` for what must not be answered: errors, IQ results, elements that are no stanzas, and
/// stanzas without a sender. The name is unprefixed and inherits the content
/// namespace of the stream that it is written to.
pub fn error_reply(stanza: &Element, error: &StanzaError) -> Option<Writer> {
    Some(answer(stanza, Some("error"))?.child(error.to_writer()))
}

/// Whether anything may answer it: a stanza that is no error and no IQ result, and has a `from` (RFC 6120 §8.3.1). Cheaper
/// than to make the answer.
pub fn is_answerable(stanza: &Element) -> bool {
    let Some(kind) = stanza.stanza_kind() else {
        return false;
    };
    let is_answer = matches!(
        (kind, stanza.type_attr().as_deref()),
        (_, Some("error")) | (StanzaKind::Iq, Some("result"))
    );
    !is_answer && stanza.from().is_some()
}

/// What both kinds of answer have in common, if there may be one.
fn answer(stanza: &Element, type_attr: Option<&str>) -> Option<Writer> {
    if !is_answerable(stanza) {
        return None;
    }
    let (kind, sender) = (stanza.stanza_kind()?, stanza.from()?);
    let reply = Writer::new(kind.name())
        .attr_opt("type", type_attr)
        .attr_opt("from", stanza.to())
        .attr("to", sender)
        .attr_opt("id", stanza.id());
    Some(reply)
}
