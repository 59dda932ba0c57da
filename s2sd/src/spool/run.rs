//! A run: consecutive stanzas of one pair of domains, as bytes. It is what is stored, and what comes back.
//!
//! ```text
//! version (1 byte, 1), and for each stanza:
//! accepted (8 bytes, ms since 1970) | origin (1 byte) | length (4 bytes) | XML, in the namespace jabber:server
//! ```
//! Numbers are little-endian.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use xmpp_stream::{ContentNamespace, Context, DecodeError, Element};

use crate::protocol::proof::DomainPair;

/// A run has at most this many stanzas,
pub const MAX_STANZAS: usize = 64;
/// and is closed at this many bytes; a single stanza may have more.
pub const MAX_BYTES: usize = 64 * 1024;

const VERSION: u8 = 1;
/// What a stanza takes besides its XML.
const HEAD: usize = 8 + 1 + 4;

/// Consecutive stanzas of one pair, oldest first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    pair: DomainPair,
    count: usize,
    body: Bytes,
}

/// A stanza of a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredStanza {
    /// When it was accepted, to the millisecond: for its age, and for its delay stamp (XEP-0203).
    pub accepted: SystemTime,
    /// By whose authority it was sent.
    pub origin: OriginKind,
    /// The element, self-contained, in the namespace `jabber:server`.
    pub xml: Bytes,
}

/// By whose authority a stanza was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OriginKind {
    /// A remote server.
    Peer,
    /// A component.
    Component,
    /// This server.
    Own,
}

impl OriginKind {
    fn byte(self) -> u8 {
        match self {
            Self::Peer => b'p',
            Self::Component => b'c',
            Self::Own => b'o',
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Peer, Self::Component, Self::Own]
            .into_iter()
            .find(|kind| kind.byte() == byte)
    }
}

impl StoredStanza {
    /// An element as it is stored.
    pub fn new(element: &Element, origin: OriginKind, accepted: SystemTime) -> Self {
        let mut xml = BytesMut::with_capacity(element.forwarded_size());
        element.write_for(ContentNamespace::Server, &mut xml);
        Self {
            accepted,
            origin,
            xml: xml.freeze(),
        }
    }

    /// The element again.
    pub fn element(&self) -> Result<Element, DecodeError> {
        Element::parse(self.xml.clone(), &Context::new(ContentNamespace::Server))
    }

    /// Is it older than that? A clock that was set back makes nothing old.
    pub fn is_older_than(&self, age: Duration, now: SystemTime) -> bool {
        now.duration_since(self.accepted)
            .is_ok_and(|passed| passed > age)
    }
}

impl Run {
    /// Of one stanza.
    pub fn new(pair: DomainPair, first: &StoredStanza) -> Self {
        let mut body = BytesMut::with_capacity(1 + HEAD + first.xml.len());
        body.put_u8(VERSION);
        append(&mut body, first);
        Self {
            pair,
            count: 1,
            body: body.freeze(),
        }
    }

    /// Adds a stanza, if there is room for it: `false` says that it belongs into the next run.
    #[must_use]
    pub fn push(&mut self, stanza: &StoredStanza) -> bool {
        let fits =
            self.count < MAX_STANZAS && self.body.len() + HEAD + stanza.xml.len() <= MAX_BYTES;
        if fits {
            // No copy, unless the run was cloned.
            let mut body = BytesMut::from(std::mem::take(&mut self.body));
            append(&mut body, stanza);
            self.body = body.freeze();
            self.count += 1;
        }
        fits
    }

    /// The pair.
    pub fn pair(&self) -> &DomainPair {
        &self.pair
    }

    /// How many stanzas.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The stanzas, oldest first.
    pub fn stanzas(&self) -> impl Iterator<Item = StoredStanza> + use<> {
        let mut rest = self.body.clone();
        let _version = rest.try_get_u8();
        std::iter::from_fn(move || take(&mut rest))
    }

    /// When the first was accepted.
    pub fn accepted(&self) -> SystemTime {
        from_millis(self.accepted_millis())
    }

    pub(super) fn accepted_millis(&self) -> u64 {
        let first = self.body.get(1..9).and_then(|it| it.try_into().ok());
        first.map_or(0, u64::from_le_bytes)
    }

    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    /// The run again, if these bytes are one.
    pub(super) fn read(pair: DomainPair, count: usize, body: &[u8]) -> Option<Self> {
        let body = Bytes::copy_from_slice(body);
        let mut rest = body.clone();
        if rest.try_get_u8() != Ok(VERSION) || !(1..=MAX_STANZAS).contains(&count) {
            return None;
        }
        for _ in 0..count {
            take(&mut rest)?;
        }
        rest.is_empty().then_some(Self { pair, count, body })
    }
}

fn append(body: &mut BytesMut, stanza: &StoredStanza) {
    body.reserve(HEAD + stanza.xml.len());
    body.put_u64_le(to_millis(stanza.accepted));
    body.put_u8(stanza.origin.byte());
    // A stanza has far less than 4 GiB: what comes in is limited while it arrives.
    body.put_u32_le(u32::try_from(stanza.xml.len()).unwrap_or(u32::MAX));
    body.put_slice(&stanza.xml);
}

fn take(rest: &mut Bytes) -> Option<StoredStanza> {
    let accepted = from_millis(rest.try_get_u64_le().ok()?);
    let origin = OriginKind::from_byte(rest.try_get_u8().ok()?)?;
    let length = usize::try_from(rest.try_get_u32_le().ok()?).ok()?;
    (length <= rest.len()).then(|| StoredStanza {
        accepted,
        origin,
        xml: rest.split_to(length),
    })
}

fn to_millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// What no clock can show (of a row that was not written by us) counts as 1970.
pub(super) fn from_millis(millis: u64) -> SystemTime {
    UNIX_EPOCH
        .checked_add(Duration::from_millis(millis))
        .unwrap_or(UNIX_EPOCH)
}
