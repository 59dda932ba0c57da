//! First-level elements: the bytes as they came, and a head that says where things are in them.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::framer::Step;
use crate::framing::Framer;
use crate::head::{Head, StanzaKind};
use crate::tag::{self, Attributes, Span};
use crate::{
    ContentNamespace, Context, DecodeError, Tree, Writer, XmlLimits, adopt, forward, ns, writer,
};

/// A first-level element of a stream: a stanza or a nonza.
///
/// Cloning is cheap; the bytes are shared. Names are always compared as expanded names, never by
/// prefix. Attribute values have their references resolved.
#[derive(Clone)]
pub struct Element {
    bytes: Bytes,
    context: Arc<Context>,
    head: Box<Head>,
}

impl Element {
    pub(crate) fn new(bytes: Bytes, context: Arc<Context>, head: Box<Head>) -> Self {
        Self {
            bytes,
            context,
            head,
        }
    }

    #[cfg(test)]
    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    /// Reads exactly one element, as it would stand on a stream with this context.
    pub fn parse(bytes: impl Into<Bytes>, context: &Arc<Context>) -> Result<Self, DecodeError> {
        let bytes = bytes.into();
        // The framer expects the beginning of an element, as the codec does (not that of CDATA, which
        // is text).
        if !matches!(&bytes[..], [b'<', second, ..] if !b"/!?".contains(second)) {
            return Err(DecodeError::NotOneElement);
        }
        match Framer::whole(&bytes, context, &XmlLimits::none())? {
            Step::Element { length, head, .. } if length == bytes.len() => {
                Ok(Self::new(bytes, context.clone(), head))
            }
            Step::Element { .. } | Step::Footer { .. } => Err(DecodeError::NotOneElement),
            Step::Incomplete => Err(DecodeError::Truncated),
        }
    }

    /// The bytes as they came.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The scope they came in.
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// The local name.
    pub fn name(&self) -> &str {
        self.head.local.text(&self.bytes)
    }

    /// The namespace name; empty if there is none.
    pub fn namespace(&self) -> &str {
        &self.head.namespace
    }

    /// Has it this expanded name?
    pub fn is(&self, namespace: &str, name: &str) -> bool {
        self.name() == name && self.namespace() == namespace
    }

    /// Which stanza it is: in the content namespace of its own stream, and no other.
    pub fn stanza_kind(&self) -> Option<StanzaKind> {
        self.head.stanza
    }

    /// The attribute `to`.
    pub fn to(&self) -> Option<Cow<'_, str>> {
        self.value(self.head.to)
    }

    /// The attribute `from`.
    pub fn from(&self) -> Option<Cow<'_, str>> {
        self.value(self.head.from)
    }

    /// The attribute `id`.
    pub fn id(&self) -> Option<Cow<'_, str>> {
        self.value(self.head.id)
    }

    /// The attribute `type`.
    pub fn type_attr(&self) -> Option<Cow<'_, str>> {
        self.value(self.head.kind)
    }

    /// The language: its own `xml:lang`, or else that of the stream. An empty one is none.
    pub fn lang(&self) -> Option<Cow<'_, str>> {
        match self.head.lang {
            Some(span) => self.value(Some(span)),
            None => self.context.lang().map(Cow::Borrowed),
        }
        .filter(|lang| !lang.is_empty())
    }

    /// An attribute in no namespace.
    pub fn attr(&self, name: &str) -> Option<Cow<'_, str>> {
        if name == "xmlns" || name.contains(':') {
            return None;
        }
        let found = Attributes::of(&self.bytes, 0)
            .find(|attribute| attribute.name.of(&self.bytes) == name.as_bytes())?;
        self.value(Some(found.value))
    }

    /// The text directly within, references resolved.
    pub fn text(&self) -> String {
        self.tree().text()
    }

    /// All of it, parsed again.
    pub fn tree(&self) -> Tree {
        Tree::read(&self.bytes, &self.context)
    }

    /// Writes the element for a stream with another content namespace, self-contained.
    ///
    /// The expanded names are the same, except that the content namespace of its own stream
    /// becomes that of the target, wherever it stands (and the target's, should it stand there,
    /// becomes the source's: the way back restores it, and no two attributes can become one). The
    /// language is the same, and no prefix of the old stream's header is needed. The target's
    /// header must declare `stream` and nothing else that matters, and no `xml:lang`.
    ///
    /// Where nothing has to change, this is a copy of the bytes.
    pub fn write_for(&self, target: ContentNamespace, out: &mut BytesMut) {
        forward::write(&self.bytes, &self.context, &self.head, target, out);
    }

    /// How many bytes [`write_for`](Self::write_for) may write, whatever the target.
    pub fn forwarded_size(&self) -> usize {
        forward::size(&self.bytes, &self.context, &self.head)
    }

    /// The same element with other addresses. `None` leaves one as it is; one that is not there is not added.
    ///
    /// A copy: for addresses that are not spelt as they should be.
    #[must_use]
    pub fn readdressed(&self, from: Option<&str>, to: Option<&str>) -> Self {
        let mut changes = [(self.head.from, from), (self.head.to, to)];
        changes.sort_by_key(|(span, _)| span.map(|span| span.start));
        let mut out = BytesMut::with_capacity(self.bytes.len() + 64);
        let mut copied = 0;
        for (span, value) in changes {
            if let (Some(span), Some(value)) = (span, value) {
                out.extend_from_slice(self.bytes.get(copied..span.start).unwrap_or_default());
                writer::escape_attribute(value, &mut out);
                copied = span.end;
            }
        }
        out.extend_from_slice(self.bytes.get(copied..).unwrap_or_default());
        let bytes = out.freeze();
        let head = Head {
            declares: self.head.declares,
            uses_context: self.head.uses_context,
            ..Head::new(&bytes, &self.head.namespace, &self.context)
        };
        Self::new(bytes, self.context.clone(), Box::new(head))
    }

    /// The same element with one more child at its end: something that it is given on its way, such as a delay (XEP-0203).
    ///
    /// A copy.
    #[must_use]
    pub fn with_child(&self, child: Writer) -> Self {
        let mut out = BytesMut::with_capacity(self.bytes.len() + 128);
        let child = child.finish();
        match self.bytes.strip_suffix(b"/>") {
            Some(open) => {
                out.extend_from_slice(open);
                out.extend_from_slice(b">");
                out.extend_from_slice(&child);
                out.extend_from_slice(b"</");
                out.extend_from_slice(self.head.qualified.of(&self.bytes));
                out.extend_from_slice(b">");
            }
            None => {
                let end = memchr::memrchr(b'<', &self.bytes).unwrap_or(self.bytes.len());
                out.extend_from_slice(self.bytes.get(..end).unwrap_or_default());
                out.extend_from_slice(&child);
                out.extend_from_slice(self.bytes.get(end..).unwrap_or_default());
            }
        }
        Self {
            bytes: out.freeze(),
            ..self.clone()
        }
    }

    /// The same stanza in the content namespace of its own stream, where it came in that of another kind of stream.
    ///
    /// The root and what stands directly within it move; a forwarded stanza (XEP-0297) keeps the namespace that it says.
    /// What is no stanza in any content namespace stays as it is.
    #[must_use]
    pub fn adopted(self) -> Self {
        let adopted = adopt::adopt(&self.bytes, &self.context, &self.head);
        let parsed = adopted.and_then(|bytes| Self::parse(bytes, &self.context).ok());
        parsed
            .filter(|it| it.stanza_kind().is_some())
            .unwrap_or(self)
    }

    /// Which stanza it would be on a stream with its namespace (RFC 6120 §4.8.2, XEP-0114 §3).
    pub fn kind_anywhere(&self) -> Option<StanzaKind> {
        self.head.stanza_anywhere(&self.bytes)
    }

    /// The same element in memory of its own.
    ///
    /// The bytes are a share of the buffer that they were read into, which stays as long as any of
    /// its elements. What is kept for long had better not hold on to it.
    #[must_use]
    pub fn compact(self) -> Self {
        Self {
            bytes: Bytes::copy_from_slice(&self.bytes),
            ..self
        }
    }

    fn value(&self, span: Option<Span>) -> Option<Cow<'_, str>> {
        span.map(|span| tag::attribute_value(span.text(&self.bytes)))
    }
}

impl PartialEq for Element {
    /// The same bytes in the same scope.
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes && self.context == other.context
    }
}

impl Eq for Element {}

/// Stanzas, features, stream errors and STARTTLS as they are. Of everything else only name and addresses: SASL, server
/// dialback and the component handshake hold proofs, and a log must not.
impl fmt::Debug for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.stanza_kind().is_some() || [ns::STREAMS, ns::TLS].contains(&self.namespace()) {
            return write!(f, "Element({})", String::from_utf8_lossy(&self.bytes));
        }
        write!(f, "Element(<{} xmlns='{}'", self.name(), self.namespace())?;
        for name in ["from", "to", "id", "type", "mechanism"] {
            if let Some(value) = self.attr(name) {
                write!(f, " {name}={value:?}")?;
            }
        }
        f.write_str(">…)")
    }
}
