//! Why bytes are not XMPP, and which condition answers them (RFC 6120 §4.9.3).

use std::io;

use crate::{Condition, ns};

/// A feature of XML that XMPP forbids (RFC 6120 §11.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Restricted {
    /// `<!-- … -->`
    Comment,
    /// `<?…?>`
    ProcessingInstruction,
    /// `<!DOCTYPE …>` and what belongs to it
    DocumentType,
    /// A reference to an entity that is not one of the five predefined ones.
    Entity,
}

/// Why the bytes of a stream were refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(io::ErrorKind),
    /// The stream ended inside an element.
    #[error("the stream ended inside an element")]
    Truncated,
    /// Not XML.
    #[error("not well-formed XML")]
    NotWellFormed,
    /// A prefix that nothing declares.
    #[error("an undeclared namespace prefix")]
    UndeclaredPrefix,
    /// Two `xmlns` attributes on one element.
    #[error("a default namespace declared twice on one element")]
    DuplicateNamespace,
    /// A declaration for one of the namespaces that are always bound (Namespaces in XML §3).
    #[error("a declaration of a reserved namespace")]
    ReservedNamespace,
    /// Bytes after `</stream:stream>`.
    #[error("data after the end of the stream")]
    AfterFooter,
    /// XML that XMPP forbids.
    #[error("XML that XMPP forbids: {}", match .0 {
        Restricted::Comment => "a comment",
        Restricted::ProcessingInstruction => "a processing instruction",
        Restricted::DocumentType => "a document type declaration",
        Restricted::Entity => "an undefined entity",
    })]
    Restricted(Restricted),
    /// The XML declaration names an encoding that is not UTF-8, or the bytes are UTF-16.
    #[error("an encoding other than UTF-8")]
    Encoding,
    /// Bytes that are not UTF-8.
    #[error("bytes that are not UTF-8")]
    NotUtf8,
    /// The root element is not in the stream namespace.
    #[error("the stream namespace is not {}", ns::STREAMS)]
    StreamNamespace,
    /// The default namespace of the stream is not one that is expected here.
    #[error("an unsupported content namespace")]
    ContentNamespace,
    /// The stream namespace has another prefix than `stream`.
    #[error("a prefix other than 'stream' for the stream namespace")]
    StreamPrefix,
    /// The root element is not `stream`.
    #[error("the root element is not a stream")]
    NotAStream,
    /// The version of the stream is not a version.
    #[error("a malformed stream version")]
    Version,
    /// Text between first-level elements.
    #[error("text between stanzas")]
    TextBetweenElements,
    /// For [`Element::parse`](crate::Element::parse): not exactly one element.
    #[error("not exactly one element")]
    NotOneElement,
    /// An element or the header is larger than allowed.
    #[error("an element of more than {limit} bytes")]
    ElementTooBig {
        /// [`XmlLimits::element_bytes`](crate::XmlLimits::element_bytes)
        limit: usize,
    },
    /// A name, an attribute value or a reference is longer than allowed.
    #[error("a name or an attribute of more than {limit} bytes")]
    TokenTooLong {
        /// The bound, which is the framer's own.
        limit: usize,
    },
    /// A header puts more in scope for all that follows than allowed: prefixes, namespaces, the language.
    #[error("a stream header that declares more than {limit} bytes")]
    ScopeTooBig {
        /// The bound, which is the framer's own.
        limit: usize,
    },
    /// An element is larger than allowed as it would have to be forwarded.
    #[error("an element of more than {limit} bytes, with what it takes from the stream header")]
    ForwardedTooBig {
        /// [`XmlLimits::element_bytes`](crate::XmlLimits::element_bytes)
        limit: usize,
    },
    /// A name that is one in the fifth edition of XML 1.0, but in none before, by which most parsers go.
    #[error("a name that many XML parsers do not accept")]
    UnportableName,
    /// A namespace name that is no URI, and has a character of which parsers make something else.
    #[error("a namespace that many XML parsers do not accept")]
    UnportableNamespace,
    /// Elements nest deeper than allowed.
    #[error("elements nested more than {limit} deep")]
    TooDeep {
        /// [`XmlLimits::depth`](crate::XmlLimits::depth)
        limit: usize,
    },
    /// An element has more attributes than allowed.
    #[error("an element with more than {limit} attributes")]
    TooManyAttributes {
        /// [`XmlLimits::attributes`](crate::XmlLimits::attributes)
        limit: usize,
    },
    /// More namespaces are in scope than allowed.
    #[error("more than {limit} namespaces in scope")]
    TooManyNamespaces {
        /// [`XmlLimits::namespaces`](crate::XmlLimits::namespaces)
        limit: usize,
    },
    /// More bytes than allowed at this stage.
    #[error("more than {limit} bytes before authentication")]
    TooManyBytes {
        /// [`XmlLimits::total_bytes`](crate::XmlLimits::total_bytes)
        limit: usize,
    },
    /// More first-level elements than allowed at this stage.
    #[error("more than {limit} elements before authentication")]
    TooManyElements {
        /// [`XmlLimits::total_elements`](crate::XmlLimits::total_elements)
        limit: usize,
    },
    /// Something followed where nothing may (RFC 6120 §5.3.3): see
    /// [`Codec::boundary`](crate::Codec::boundary).
    #[error("data where the stream has to be silent")]
    NotSilent,
}

impl DecodeError {
    /// The stream error condition that answers this.
    pub fn condition(&self) -> Condition {
        match self {
            // It reaches no reader; the connection is gone.
            Self::Io(_) => Condition::UndefinedCondition,
            Self::Truncated
            | Self::NotWellFormed
            | Self::UndeclaredPrefix
            | Self::DuplicateNamespace
            | Self::ReservedNamespace
            | Self::AfterFooter => Condition::NotWellFormed,
            Self::Restricted(
                Restricted::Comment
                | Restricted::ProcessingInstruction
                | Restricted::DocumentType
                | Restricted::Entity,
            ) => Condition::RestrictedXml,
            Self::Encoding | Self::NotUtf8 => Condition::UnsupportedEncoding,
            Self::StreamNamespace | Self::ContentNamespace => Condition::InvalidNamespace,
            Self::StreamPrefix => Condition::BadNamespacePrefix,
            Self::Version => Condition::UnsupportedVersion,
            Self::NotAStream | Self::TextBetweenElements | Self::NotOneElement => {
                Condition::BadFormat
            }
            Self::ElementTooBig { .. }
            | Self::TokenTooLong { .. }
            | Self::ScopeTooBig { .. }
            | Self::ForwardedTooBig { .. }
            | Self::UnportableName
            | Self::UnportableNamespace
            | Self::TooDeep { .. }
            | Self::TooManyAttributes { .. }
            | Self::TooManyNamespaces { .. }
            | Self::TooManyBytes { .. }
            | Self::TooManyElements { .. }
            | Self::NotSilent => Condition::PolicyViolation,
        }
    }
}

impl From<io::Error> for DecodeError {
    fn from(error: io::Error) -> Self {
        Self::Io(error.kind())
    }
}
