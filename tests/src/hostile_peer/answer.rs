//! What a server says to a peer that does what it must not do.

use serde_json::{Value, json};
use xmpp_stream::{Element, StreamError, Tree, ns};

use crate::wire::Event;

/// What the server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerAnswer {
    /// `db:result` with a type, and the error's condition and text if there is one.
    Dialback(String, Option<String>, Option<String>),
    /// A stream error: condition, text.
    StreamError(String, Option<String>),
    /// A SASL failure: condition, text.
    SaslFailure(String, Option<String>),
    /// EXTERNAL is not offered.
    NotOffered,
    /// The connection ended without a word.
    Closed,
    /// The TLS handshake failed.
    TlsFailed(String),
    /// Nothing in time.
    Nothing,
    /// It took what it got.
    Accepted,
}

impl ServerAnswer {
    pub(super) fn refuses(&self) -> bool {
        match self {
            Self::Dialback(kind, ..) => kind == "invalid" || kind == "error",
            Self::Nothing | Self::Accepted => false,
            _ => true,
        }
    }

    /// As in the help of `lab forge`.
    pub fn to_json(&self) -> Value {
        let (kind, of_type, condition, text) = match self {
            Self::Dialback(kind, condition, text) => {
                ("dialback", Some(kind), condition.as_ref(), text.as_ref())
            }
            Self::StreamError(condition, text) => {
                ("stream-error", None, Some(condition), text.as_ref())
            }
            Self::SaslFailure(condition, text) => {
                ("sasl-failure", None, Some(condition), text.as_ref())
            }
            Self::NotOffered => ("not-offered", None, None, None),
            Self::Closed => ("closed", None, None, None),
            Self::TlsFailed(error) => ("tls-failed", None, None, Some(error)),
            Self::Nothing => ("nothing", None, None, None),
            Self::Accepted => ("accepted", None, None, None),
        };
        json!({ "kind": kind, "type": of_type, "condition": condition, "text": text })
    }
}

pub(super) fn judge(event: Event) -> ServerAnswer {
    match event {
        Event::Element(element) => judge_element(&element),
        Event::Header(_) => ServerAnswer::Accepted,
        Event::Footer | Event::Closed => ServerAnswer::Closed,
        Event::Nothing => ServerAnswer::Nothing,
    }
}

fn judge_element(element: &Element) -> ServerAnswer {
    if let Some(error) = StreamError::from_element(element) {
        return ServerAnswer::StreamError(error.condition.name().to_owned(), error.text);
    }
    let tree = element.tree();
    if element.is(ns::SASL, "failure") {
        let text = tree.child(ns::SASL, "text").map(Tree::text);
        let condition = tree.elements().find(|child| child.name != "text");
        return ServerAnswer::SaslFailure(
            condition.map(|c| c.name.clone()).unwrap_or_default(),
            text,
        );
    }
    if element.is(ns::DIALBACK, "result") {
        let error = tree.elements().find(|child| child.name == "error");
        let of_error = |is_text: bool| {
            let mut children = error?.elements();
            children.find(|child| (child.name == "text") == is_text)
        };
        return ServerAnswer::Dialback(
            element.type_attr().unwrap_or_default().into_owned(),
            of_error(false).map(|condition| condition.name.clone()),
            of_error(true).map(Tree::text),
        );
    }
    ServerAnswer::Accepted
}
