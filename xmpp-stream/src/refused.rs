//! Elements that are refused while the stream goes on.

use bytes::BytesMut;

use crate::head::Head;
use crate::limits::TOKEN;
use crate::{DecodeError, Element, ErrorType, StanzaCondition, StanzaError, Writer, ns, writer};

/// A first-level element that was whole, and why it is refused. Of a stanza there is as much as an answer needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefusedElement {
    stub: Option<Element>,
    why: DecodeError,
}

impl RefusedElement {
    pub(crate) fn new(element: &Element, why: DecodeError) -> Self {
        Self {
            stub: stub(element),
            why,
        }
    }

    /// If it was a stanza, or one but for its namespace: one with the same kind, addresses, id and type, without anything in it.
    pub fn stanza(&self) -> Option<&Element> {
        self.stub.as_ref()
    }

    /// Why it is refused.
    pub fn why(&self) -> &DecodeError {
        &self.why
    }

    /// The error for its sender (RFC 6120 §8.3.3).
    pub fn stanza_error(&self) -> StanzaError {
        let condition = match self.why {
            DecodeError::UnportableName | DecodeError::UnportableNamespace => {
                StanzaCondition::NotAcceptable
            }
            _ => StanzaCondition::PolicyViolation,
        };
        let text = self.why.to_string();
        let error = StanzaError::new(ErrorType::Modify, condition).with_text(text);
        match self.why {
            DecodeError::ForwardedTooBig { .. } => {
                error.with_application(Writer::new("stanza-too-big").xmlns(ns::APP_ERRORS).finish())
            }
            _ => error,
        }
    }
}

/// What is left of a stanza, in whatever content namespace it is. An id or type that is longer than any attribute may be
/// is none.
fn stub(element: &Element) -> Option<Element> {
    let kind = element.kind_anywhere()?;
    let mut bytes = BytesMut::from("<");
    bytes.extend_from_slice(kind.name().as_bytes());
    let attributes = [
        ("from", element.from()),
        ("to", element.to()),
        ("id", element.id().filter(|id| id.len() <= TOKEN)),
        (
            "type",
            element.type_attr().filter(|kind| kind.len() <= TOKEN),
        ),
    ];
    for (name, value) in attributes {
        if let Some(value) = value {
            writer::write_attribute(name, &value, &mut bytes);
        }
    }
    bytes.extend_from_slice(b"/>");
    let (bytes, context) = (bytes.freeze(), element.context());
    let head = Head::new(&bytes, context.content().uri(), context);
    Some(Element::new(bytes, context.clone(), Box::new(head)))
}
