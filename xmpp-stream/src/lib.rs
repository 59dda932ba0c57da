//! XMPP streams (RFC 6120 §4): bytes to stanzas and back, for programs that forward.
//!
//! [`Codec`] is a `tokio_util` codec. It turns bytes into [`Frame`]s: the stream header, the
//! first-level elements, whitespace keepalives and the footer. An [`Element`] is *the bytes as they
//! came* and a parsed head (name, namespace, `to`, `from`, `id`, `type`, `xml:lang`); a tree is
//! built only on demand, so a relay copies bytes and never prints XML ([`Element::write_for`]).
//!
//! Nothing here opens a socket, starts a task or reads a clock.
//!
//! ```
//! use bytes::BytesMut;
//! use tokio_util::codec::Decoder;
//! use xmpp_stream::{Codec, Frame, StanzaKind, XmlLimits};
//!
//! let mut codec = Codec::new(XmlLimits::after_authentication());
//! let mut buffer = BytesMut::from(
//!     "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' \
//!      version='1.0'><message from='a@a.example' to='b.example'><body>Hi</body></message>",
//! );
//! assert!(matches!(codec.decode(&mut buffer), Ok(Some(Frame::Header(_)))));
//! let Ok(Some(Frame::Element(message))) = codec.decode(&mut buffer) else { panic!() };
//! assert_eq!(message.stanza_kind(), Some(StanzaKind::Message));
//! assert_eq!(message.from().as_deref(), Some("a@a.example"));
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod address;
mod adopt;
mod codec;
pub mod component;
mod condition;
mod content;
mod context;
mod declaration;
#[cfg(feature = "minidom")]
mod dom;
mod element;
mod error;
mod features;
mod feed;
mod forward;
mod framer;
mod framing;
mod head;
mod header;
mod limits;
mod names;
pub mod ns;
mod precis;
mod refused;
mod scanner;
mod skip;
mod stanza;
mod start_tag;
mod stream_error;
pub mod stream_management;
mod tag;
mod tree;
mod verdict;
mod writer;
mod written;

/// The README's example is tested.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use address::{BadAddress, Domain, Jid, Spelling, split_jid};
pub use codec::{Boundary, Codec, Frame};
pub use condition::Condition;
pub use content::ContentNamespace;
pub use context::Context;
pub use element::Element;
pub use error::{DecodeError, Restricted};
pub use features::{Bidi, DialbackFeature, Features, StreamLimits};
pub use head::StanzaKind;
pub use header::{StreamHeader, Version};
pub use limits::{Excess, XmlLimits};
pub use refused::RefusedElement;
pub use stanza::{ErrorType, StanzaCondition, StanzaError, error_reply, is_answerable, reply};
pub use stream_error::StreamError;
pub use tree::{Node, Tree};
pub use writer::Writer;
