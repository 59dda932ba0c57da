//! `<stream:error/>` written and read (RFC 6120 §4.9).

use std::fmt;

use bytes::Bytes;

use crate::{Condition, DecodeError, Element, Writer, ns};

/// `<stream:error/>`: why a stream ends.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct StreamError {
    /// The condition.
    pub condition: Condition,
    /// A text for the operator of the other side.
    pub text: Option<String>,
    /// Namespace and name of an application-specific condition (RFC 6120 §4.9.4).
    pub application: Option<(String, String)>,
    /// Its attributes, name and value.
    pub application_attributes: Vec<(String, String)>,
}

impl StreamError {
    /// Only a condition.
    pub fn new(condition: Condition) -> Self {
        Self {
            condition,
            text: None,
            application: None,
            application_attributes: Vec::new(),
        }
    }

    /// With a text for the operator of the other side.
    #[must_use]
    pub fn with_text(mut self, text: impl Into<String>) -> Self {
        self.text = Some(text.into());
        self
    }

    /// With an application-specific condition.
    #[must_use]
    pub fn with_application(
        mut self,
        namespace: impl Into<String>,
        name: impl Into<String>,
    ) -> Self {
        self.application = Some((namespace.into(), name.into()));
        self
    }

    /// With an attribute of the application-specific condition, as `h` of `<handled-count-too-high/>` (XEP-0198 §6).
    #[must_use]
    pub fn with_application_attribute(
        mut self,
        name: impl Into<String>,
        value: impl Into<String>,
    ) -> Self {
        self.application_attributes
            .push((name.into(), value.into()));
        self
    }

    /// `<stream:error>…</stream:error>`, for a stream that declares the prefix `stream`.
    pub fn to_bytes(&self) -> Bytes {
        let mut error = Writer::new("stream:error")
            .child(Writer::new(self.condition.name()).xmlns(ns::STREAM_ERRORS));
        if let Some(text) = &self.text {
            error = error.child(
                Writer::new("text")
                    .xmlns(ns::STREAM_ERRORS)
                    .attr("xml:lang", "en")
                    .text(text),
            );
        }
        if let Some((namespace, name)) = &self.application {
            let mut condition = Writer::new(name.as_str()).xmlns(namespace);
            for (name, value) in &self.application_attributes {
                condition = condition.attr(name, value);
            }
            error = error.child(condition);
        }
        error.finish()
    }

    /// Reads `<stream:error/>`; `None` for other elements. An unknown or missing condition is
    /// `undefined-condition`.
    pub fn from_element(element: &Element) -> Option<Self> {
        if !element.is(ns::STREAMS, "error") {
            return None;
        }
        let tree = element.tree();
        let mut error = Self::new(Condition::UndefinedCondition);
        for child in tree.elements() {
            if child.namespace != ns::STREAM_ERRORS {
                error.application = Some((child.namespace.clone(), child.name.clone()));
                let plain = |(namespace, name, value): &(String, String, String)| {
                    let is_plain = namespace.is_empty();
                    is_plain.then(|| (name.clone(), value.clone()))
                };
                error.application_attributes = child.attributes.iter().filter_map(plain).collect();
            } else if child.name == "text" {
                error.text = Some(child.text());
            } else if let Some(condition) = Condition::from_name(&child.name) {
                error.condition = condition;
            }
        }
        Some(error)
    }
}

/// Only the condition: the rest may be the other side's words, and hold line ends and whatever else.
impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.condition.fmt(f)
    }
}

impl std::error::Error for StreamError {}

impl DecodeError {
    /// The whole stream error: condition, a text for the peer's operator, and for sizes
    /// `<stanza-too-big xmlns='urn:xmpp:errors'/>`.
    pub fn stream_error(&self) -> StreamError {
        let error = StreamError::new(self.condition()).with_text(self.to_string());
        match self {
            Self::ElementTooBig { .. }
            | Self::ForwardedTooBig { .. }
            | Self::ScopeTooBig { .. }
            | Self::TokenTooLong { .. }
            | Self::TooManyBytes { .. } => error.with_application(ns::APP_ERRORS, "stanza-too-big"),
            Self::Io(_)
            | Self::Truncated
            | Self::NotWellFormed
            | Self::UndeclaredPrefix
            | Self::DuplicateNamespace
            | Self::ReservedNamespace
            | Self::AfterFooter
            | Self::Restricted(_)
            | Self::Encoding
            | Self::NotUtf8
            | Self::StreamNamespace
            | Self::ContentNamespace
            | Self::StreamPrefix
            | Self::NotAStream
            | Self::Version
            | Self::TextBetweenElements
            | Self::NotOneElement
            | Self::UnportableName
            | Self::UnportableNamespace
            | Self::TooDeep { .. }
            | Self::TooManyAttributes { .. }
            | Self::TooManyNamespaces { .. }
            | Self::TooManyElements { .. }
            | Self::NotSilent => error,
        }
    }
}
