//! The content namespaces.

use crate::ns;

/// The default namespace of a stream, which is that of its stanzas (RFC 6120 §4.8.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum ContentNamespace {
    /// `jabber:server`
    Server,
    /// `jabber:component:accept` (XEP-0114)
    Component,
    /// `jabber:client`
    Client,
}

impl ContentNamespace {
    pub(crate) const ALL: [Self; 3] = [Self::Server, Self::Component, Self::Client];

    /// The namespace name.
    pub fn uri(self) -> &'static str {
        match self {
            Self::Server => ns::SERVER,
            Self::Component => ns::COMPONENT,
            Self::Client => ns::CLIENT,
        }
    }

    /// The content namespace with this name.
    pub fn from_uri(uri: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|content| content.uri() == uri)
    }

    /// One bit each, for sets of content namespaces.
    pub(crate) fn bit(self) -> u8 {
        match self {
            Self::Server => 1,
            Self::Component => 2,
            Self::Client => 4,
        }
    }
}
