//! What a stream header puts in scope for every element on the stream: content namespace,
//! language, prefixes. An element is read in its context, and forwarded into another one.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};

use crate::{ContentNamespace, StreamHeader, names, ns, writer};

/// What a stream's header puts in scope for every element on it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Context {
    content: ContentNamespace,
    lang: Option<Box<str>>,
    prefixes: Vec<(String, String)>,
    /// Whether every parser takes those namespaces.
    portable: bool,
    /// How many bytes the language takes where it has to be written.
    lang_size: usize,
}

impl Context {
    /// A stream without language and without prefixes besides `stream`.
    pub fn new(content: ContentNamespace) -> Arc<Self> {
        Arc::new(Self {
            content,
            lang: None,
            prefixes: Vec::new(),
            portable: true,
            lang_size: 0,
        })
    }

    /// The scope that this header opens.
    pub fn of(header: &StreamHeader) -> Arc<Self> {
        // xml:lang='' says "no language" (XML 1.0 §2.12), which is also what no attribute says.
        let lang = header.lang.as_deref().filter(|lang| !lang.is_empty());
        let written = |lang| " xml:lang=''".len() + writer::escaped_length(lang);
        Arc::new(Self {
            content: header.content,
            lang: lang.map(Into::into),
            lang_size: lang.map_or(0, written),
            prefixes: header.prefixes.clone(),
            portable: header
                .prefixes
                .iter()
                .all(|(_, uri)| names::is_portable_namespace(uri)),
        })
    }

    /// The default namespace.
    pub fn content(&self) -> ContentNamespace {
        self.content
    }

    /// The language of elements that name none themselves.
    pub fn lang(&self) -> Option<&str> {
        self.lang.as_deref()
    }

    /// Declared prefixes besides `stream`, with their namespaces.
    pub fn prefixes(&self) -> &[(String, String)] {
        &self.prefixes
    }

    pub(crate) fn lang_size(&self) -> usize {
        self.lang_size
    }

    pub(crate) fn is_portable(&self) -> bool {
        self.portable
    }

    pub(crate) fn declares(&self, prefix: &[u8]) -> bool {
        self.namespace_of(prefix).is_some()
    }

    pub(crate) fn namespace_of(&self, prefix: &[u8]) -> Option<&str> {
        let found = |(declared, _): &&(String, String)| declared.as_bytes() == prefix;
        self.prefixes
            .iter()
            .find(found)
            .map(|(_, uri)| uri.as_str())
    }

    /// A start tag that puts the same prefixes in scope, to prime a parser with.
    pub(crate) fn start_tag(&self) -> BytesMut {
        let mut out = BytesMut::new();
        out.put_slice(b"<stream:stream xmlns:stream='");
        out.put_slice(ns::STREAMS.as_bytes());
        out.put_slice(b"' xmlns='");
        out.put_slice(self.content.uri().as_bytes());
        for (prefix, uri) in &self.prefixes {
            out.put_slice(b"' xmlns:");
            out.put_slice(prefix.as_bytes());
            out.put_slice(b"='");
            writer::escape_attribute(uri, &mut out);
        }
        out.put_slice(b"'>");
        out
    }
}
