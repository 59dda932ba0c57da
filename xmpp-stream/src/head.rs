//! The head of an element: which stanza it is, and where things are in its start tag.

use std::borrow::Cow;

use crate::tag::{self, Attributes, Span};
use crate::{ContentNamespace, Context, ns};

/// The three kinds of stanza (RFC 6120 §8.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum StanzaKind {
    /// `<message/>`
    Message,
    /// `<presence/>`
    Presence,
    /// `<iq/>`
    Iq,
}

impl StanzaKind {
    /// The element's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Presence => "presence",
            Self::Iq => "iq",
        }
    }

    pub(crate) fn from_name(name: &[u8]) -> Option<Self> {
        match name {
            b"message" => Some(Self::Message),
            b"presence" => Some(Self::Presence),
            b"iq" => Some(Self::Iq),
            _ => None,
        }
    }
}

/// Where things are in an element's start tag, and what forwarding needs to know of the rest.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) namespace: Cow<'static, str>,
    /// With prefix.
    pub(crate) qualified: Span,
    pub(crate) local: Span,
    pub(crate) stanza: Option<StanzaKind>,
    pub(crate) to: Option<Span>,
    pub(crate) from: Option<Span>,
    pub(crate) id: Option<Span>,
    pub(crate) kind: Option<Span>,
    pub(crate) lang: Option<Span>,
    /// Content namespaces declared anywhere within, see [`ContentNamespace::bit`].
    pub(crate) declares: u8,
    /// Is a prefix used somewhere that the stream header declares too?
    pub(crate) uses_context: bool,
}

impl Head {
    /// Of the start tag that `bytes` begin with.
    pub(crate) fn new(bytes: &[u8], namespace: &str, context: &Context) -> Self {
        let attributes = Attributes::of(bytes, 0);
        let qualified = attributes.element();
        let prefix = tag::prefix(qualified.of(bytes));
        let local = Span {
            start: qualified.start
                + if prefix.is_empty() {
                    0
                } else {
                    prefix.len() + 1
                },
            end: qualified.end,
        };
        let stanza = if namespace == context.content().uri() {
            StanzaKind::from_name(local.of(bytes))
        } else {
            None
        };
        let mut head = Self {
            namespace: match ns::known(namespace) {
                Some(known) => Cow::Borrowed(known),
                None => Cow::Owned(namespace.to_owned()),
            },
            qualified,
            local,
            stanza,
            to: None,
            from: None,
            id: None,
            kind: None,
            lang: None,
            declares: 0,
            uses_context: false,
        };
        for attribute in attributes {
            let value = Some(attribute.value);
            match attribute.name.of(bytes) {
                b"to" => head.to = value,
                b"from" => head.from = value,
                b"id" => head.id = value,
                b"type" => head.kind = value,
                b"xml:lang" => head.lang = value,
                _ => {}
            }
        }
        head
    }

    /// Which stanza it would be on a stream with its namespace (RFC 6120 §4.8.2, XEP-0114 §3).
    pub(crate) fn stanza_anywhere(&self, bytes: &[u8]) -> Option<StanzaKind> {
        ContentNamespace::from_uri(&self.namespace)?;
        StanzaKind::from_name(self.local.of(bytes))
    }
}
