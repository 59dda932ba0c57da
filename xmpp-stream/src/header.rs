//! The stream header (RFC 6120 §4.7), with and without `version`, `from`, `id`.

use bytes::{BufMut, BytesMut};

use crate::{ContentNamespace, ns, writer};

/// The version of XMPP that a header announces (RFC 6120 §4.7.5).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Version {
    /// The number before the dot.
    pub major: u32,
    /// The number after the dot.
    pub minor: u32,
}

impl Version {
    /// XMPP 1.0, the only version there is.
    pub const XMPP_1: Self = Self { major: 1, minor: 0 };

    /// Reads `major.minor`; leading zeros count for nothing (RFC 6120 §4.7.5).
    pub fn parse(text: &str) -> Option<Self> {
        fn number(text: &str) -> Option<u32> {
            if text.bytes().all(|byte| byte.is_ascii_digit()) {
                text.parse().ok()
            } else {
                None
            }
        }
        let (major, minor) = text.split_once('.')?;
        Some(Self {
            major: number(major)?,
            minor: number(minor)?,
        })
    }
}

/// `<stream:stream …>`: what both sides say first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamHeader {
    /// The default namespace.
    pub content: ContentNamespace,
    /// The domain that the sender wants to reach, as found.
    pub to: Option<String>,
    /// The domain that speaks, as found. May be missing on RFC 3920 streams.
    pub from: Option<String>,
    /// The stream's identifier; only the receiving side gives one.
    pub id: Option<String>,
    /// `None` is a peer from before XMPP 1.0: it neither gets nor sends features.
    pub version: Option<Version>,
    /// The language of all that follows and says nothing else.
    pub lang: Option<String>,
    /// Declared prefixes besides `stream`, with their namespaces.
    pub prefixes: Vec<(String, String)>,
}

impl StreamHeader {
    /// An empty XMPP 1.0 header.
    ///
    /// Leave `lang` empty on streams that carry other people's stanzas: a stanza that names no
    /// language would get ours.
    pub fn new(content: ContentNamespace) -> Self {
        Self {
            content,
            to: None,
            from: None,
            id: None,
            version: Some(Version::XMPP_1),
            lang: None,
            prefixes: Vec::new(),
        }
    }

    /// Declares the prefix `db`, which tells the peer that we speak dialback (XEP-0220 §2.4.1).
    #[must_use]
    pub fn with_dialback(mut self) -> Self {
        if !self.declares_dialback() {
            self.prefixes.push(("db".into(), ns::DIALBACK.into()));
        }
        self
    }

    /// Does the header declare the dialback namespace, with whatever prefix?
    pub fn declares_dialback(&self) -> bool {
        self.prefixes.iter().any(|(_, uri)| uri == ns::DIALBACK)
    }

    /// Does the peer announce XMPP 1.0 or later, so that features are sent?
    pub fn is_xmpp_1(&self) -> bool {
        self.version.is_some_and(|version| version.major >= 1)
    }

    /// Writes the header, after an XML declaration.
    pub fn write(&self, out: &mut BytesMut) {
        out.put_slice(b"<?xml version='1.0'?><stream:stream xmlns='");
        out.put_slice(self.content.uri().as_bytes());
        out.put_slice(b"' xmlns:stream='");
        out.put_slice(ns::STREAMS.as_bytes());
        out.put_u8(b'\'');
        for (prefix, uri) in &self.prefixes {
            out.put_slice(b" xmlns:");
            out.put_slice(prefix.as_bytes());
            out.put_slice(b"='");
            writer::escape_attribute(uri, out);
            out.put_u8(b'\'');
        }
        let mut attribute = |name: &str, value: Option<&str>| {
            if let Some(value) = value {
                writer::write_attribute(name, value, out);
            }
        };
        attribute("from", self.from.as_deref());
        attribute("to", self.to.as_deref());
        attribute("id", self.id.as_deref());
        let version = self
            .version
            .map(|version| format!("{}.{}", version.major, version.minor));
        attribute("version", version.as_deref());
        attribute("xml:lang", self.lang.as_deref());
        out.put_u8(b'>');
    }
}
