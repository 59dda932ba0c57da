//! The handshake of components (XEP-0114 §3), both sides, as values: frames in, bytes out.
//!
//! ```text
//! component                                server
//!   <stream:stream to='chat.example'>   ->           Accepting::header
//!                                       <-  <stream:stream from='chat.example' id='…'>
//!   <handshake>sha1(id + secret)</…>    ->           AwaitHandshake::element
//!                                       <-  <handshake/>
//! ```

use bytes::Bytes;
use sha1::{Digest, Sha1};
use subtle::ConstantTimeEq as _;

use crate::{Condition, ContentNamespace, Element, StreamError, StreamHeader, Writer, ns};

/// What a component says to prove that it knows the secret: `sha1(id + secret)` in lower-case
/// hexadecimal digits (XEP-0114 §3).
pub fn digest(stream_id: &str, secret: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(stream_id.as_bytes());
    hash.update(secret.as_bytes());
    hash.finalize()
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

/// The server, which waits for a component's stream header.
#[derive(Debug, Default)]
pub struct Accepting(());

/// The server, which has answered the header and waits for the handshake.
#[derive(Debug)]
pub struct AwaitHandshake {
    domain: String,
    stream_id: String,
}

impl Accepting {
    /// A connection was accepted.
    pub fn new() -> Self {
        Self(())
    }

    /// The component's header came. `stream_id` is fresh and unpredictable.
    ///
    /// The header to answer with has the component's domain in `from`. Whether that domain may
    /// attach is the caller's business: `host-unknown` if not.
    pub fn header(
        self,
        header: &StreamHeader,
        stream_id: impl Into<String>,
    ) -> Result<(AwaitHandshake, StreamHeader), StreamError> {
        if header.content != ContentNamespace::Component {
            return Err(StreamError::new(Condition::InvalidNamespace));
        }
        let domain = header
            .to
            .clone()
            .ok_or_else(|| StreamError::new(Condition::ImproperAddressing))?;
        let stream_id = stream_id.into();
        let answer = StreamHeader {
            from: Some(domain.clone()),
            id: Some(stream_id.clone()),
            // The protocol is older than versions and features.
            version: None,
            ..StreamHeader::new(ContentNamespace::Component)
        };
        Ok((AwaitHandshake { domain, stream_id }, answer))
    }
}

impl AwaitHandshake {
    /// The domain that the component asked for, as found in its header.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// An element came: `Ok` with the answer to send if the component knows the secret.
    pub fn element(self, element: &Element, secret: &str) -> Result<Bytes, StreamError> {
        if !element.is(ns::COMPONENT, "handshake") {
            return Err(StreamError::new(Condition::NotAuthorized)
                .with_text("the handshake must come first"));
        }
        let wanted = digest(&self.stream_id, secret);
        let found = element.text();
        // Some components say it in capitals; XEP-0114 §3 asks for lower case.
        let found = found.trim().to_ascii_lowercase();
        if wanted.as_bytes().ct_eq(found.as_bytes()).into() {
            Ok(Writer::new("handshake").finish())
        } else {
            Err(StreamError::new(Condition::NotAuthorized).with_text("the handshake is wrong"))
        }
    }
}

/// The component, which has sent its header and waits for the server's.
#[derive(Debug)]
pub struct Connecting {
    secret: String,
}

/// The component, which has sent its handshake and waits for `<handshake/>`.
#[derive(Debug)]
pub struct AwaitAcceptance(());

impl Connecting {
    /// The header to send first.
    pub fn new(domain: impl Into<String>, secret: impl Into<String>) -> (Self, StreamHeader) {
        let header = StreamHeader {
            to: Some(domain.into()),
            version: None,
            ..StreamHeader::new(ContentNamespace::Component)
        };
        let secret = secret.into();
        (Self { secret }, header)
    }

    /// The server's header came: the handshake to send.
    pub fn header(self, header: &StreamHeader) -> Result<(AwaitAcceptance, Bytes), StreamError> {
        if header.content != ContentNamespace::Component {
            return Err(StreamError::new(Condition::InvalidNamespace));
        }
        let id = header.id.as_deref().unwrap_or_default();
        let handshake = Writer::new("handshake").text(&digest(id, &self.secret));
        Ok((AwaitAcceptance(()), handshake.finish()))
    }
}

impl AwaitAcceptance {
    /// An element came: `Ok` if the server lets us in, else what it says.
    pub fn element(self, element: &Element) -> Result<(), StreamError> {
        if element.is(ns::COMPONENT, "handshake") {
            return Ok(());
        }
        Err(StreamError::from_element(element)
            .unwrap_or_else(|| StreamError::new(Condition::UnsupportedStanzaType)))
    }
}
