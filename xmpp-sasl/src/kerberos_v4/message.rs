//! Ticket, authenticator, application request: the formats of MIT's libkrb (`cr_tkt.c`, `mk_req.c`, `rd_req.c`).
//!
//! Numbers are in the sender's byte order, which a bit tells. Ours are in network byte order, as RFC 2222 §7.1 has it
//! for the checksum.

use zeroize::Zeroizing;

use super::des::{BLOCK, Block};
use super::{Key, Principal};

/// `KRB_PROT_VERSION`.
const PROTOCOL: u8 = 4;

/// `AUTH_MSG_APPL_REQUEST`, without the bit for the byte order.
const REQUEST: u8 = 3 << 1;

/// The order of the octets in a number: the lowest bit of a ticket's flags and of a message type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Network,
    Little,
}

impl Order {
    fn of(octet: u8) -> Self {
        if octet & 1 == 0 {
            Self::Network
        } else {
            Self::Little
        }
    }

    fn number(self, octets: [u8; 4]) -> u32 {
        match self {
            Self::Network => u32::from_be_bytes(octets),
            Self::Little => u32::from_le_bytes(octets),
        }
    }
}

/// What only the issuer and the service can read: who the client is, and a key for the session.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) client: Principal,
    pub(super) session: Key,
    /// In units of five minutes.
    pub(super) life: u8,
    pub(super) issued: u32,
    pub(super) service: String,
    pub(super) instance: String,
}

impl Ticket {
    pub(super) fn seal(&self, key: &Key) -> Vec<u8> {
        let mut out = Writer::new();
        out.octets(&[0]); // flags: network byte order
        out.principal(&self.client);
        out.octets(&[0; 4]); // from any address
        out.octets(self.session.octets());
        out.octets(&[self.life]);
        out.octets(&self.issued.to_be_bytes());
        out.text(&self.service);
        out.text(&self.instance);
        out.seal(key)
    }

    /// `None` if it is not a ticket, which is what another key makes of it.
    pub(super) fn open(sealed: &[u8], key: &Key) -> Option<Self> {
        let plain = open(sealed, key)?;
        let mut rest = Reader(&plain);
        let order = Order::of(rest.octet()?);
        let client = rest.principal()?;
        let _address = rest.octets::<4>()?;
        let session = Key::new(*Zeroizing::new(rest.octets()?))?;
        let ticket = Self {
            client,
            session,
            life: rest.octet()?,
            issued: order.number(rest.octets()?),
            service: rest.text()?.to_owned(),
            instance: rest.text()?.to_owned(),
        };
        rest.is_padding().then_some(ticket)
    }

    /// The second after which it is worth nothing.
    pub(super) fn expires(&self) -> u64 {
        u64::from(self.issued) + u64::from(self.life) * 300
    }
}

/// What shows that the sender of a ticket knows its session key, here and now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Authenticator {
    pub(super) client: Principal,
    /// RFC 2222 §7.1: "contains the server provided challenge".
    pub(super) checksum: u32,
    pub(super) seconds: u32,
}

impl Authenticator {
    pub(super) fn seal(&self, session: &Key) -> Vec<u8> {
        let mut out = Writer::new();
        out.principal(&self.client);
        out.octets(&self.checksum.to_be_bytes());
        out.octets(&[0]); // parts of a second
        out.octets(&self.seconds.to_be_bytes());
        out.seal(session)
    }

    pub(super) fn open(sealed: &[u8], session: &Key, order: Order) -> Option<Self> {
        let plain = open(sealed, session)?;
        let mut rest = Reader(&plain);
        let client = rest.principal()?;
        let checksum = order.number(rest.octets()?);
        let _parts = rest.octet()?;
        let seconds = order.number(rest.octets()?);
        // MIT's krb_mk_req leaves in the padding what was in memory. It is out of use, and asking for zeros
        // makes a change of the last block noticeable.
        rest.is_padding().then_some(Self {
            client,
            checksum,
            seconds,
        })
    }
}

/// Ticket and authenticator as they are sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request<'a> {
    pub(super) order: Order,
    /// Which key of the service the ticket is sealed with.
    pub(super) version: u8,
    /// The service's realm.
    pub(super) realm: &'a str,
    pub(super) ticket: &'a [u8],
    pub(super) authenticator: &'a [u8],
}

impl<'a> Request<'a> {
    /// Ticket and authenticator are our own, so their lengths fit.
    pub(super) fn write(&self) -> Vec<u8> {
        let length = |part: &[u8]| u8::try_from(part.len()).expect("principals are bounded");
        let mut out = vec![PROTOCOL, REQUEST, self.version];
        out.extend_from_slice(self.realm.as_bytes());
        out.extend_from_slice(&[0, length(self.ticket), length(self.authenticator)]);
        out.extend_from_slice(self.ticket);
        out.extend_from_slice(self.authenticator);
        out
    }

    pub(super) fn parse(message: &'a [u8]) -> Option<Self> {
        let mut rest = Reader(message);
        let protocol = rest.octet()?;
        let kind = rest.octet()?;
        let version = rest.octet()?;
        let realm = rest.text()?;
        let ticket_length = usize::from(rest.octet()?);
        let authenticator_length = usize::from(rest.octet()?);
        let (ticket, authenticator) = rest.0.split_at_checked(ticket_length)?;
        let whole = |part: &[u8]| !part.is_empty() && part.len().is_multiple_of(BLOCK);
        let good = protocol == PROTOCOL
            && kind & !1 == REQUEST
            && !realm.is_empty()
            && authenticator.len() == authenticator_length
            && whole(ticket)
            && whole(authenticator);
        good.then_some(Self {
            order: Order::of(kind),
            version,
            realm,
            ticket,
            authenticator,
        })
    }
}

/// §7.1, the second challenge: "the incremented checksum", layers, the size for them. One block, ECB.
pub(super) struct Proof {
    pub(super) number: u32,
    pub(super) layers: u8,
}

impl Proof {
    pub(super) fn seal(&self, session: &Key) -> Block {
        let [a, b, c, d] = self.number.to_be_bytes();
        let mut block = [a, b, c, d, self.layers, 0, 0, 0];
        session.encrypt_block(&mut block);
        block
    }

    pub(super) fn open(mut block: Block, session: &Key) -> Self {
        session.decrypt_block(&mut block);
        let [a, b, c, d, layers, ..] = block;
        Self {
            number: u32::from_be_bytes([a, b, c, d]),
            layers,
        }
    }
}

/// §7.1, the last response: "the original server-issued checksum", the layer, the size for it, the authorization
/// identity, and one to eight zeros.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Last {
    pub(super) number: u32,
    pub(super) layer: u8,
    pub(super) authzid: String,
}

impl Last {
    pub(super) fn seal(&self, session: &Key) -> Vec<u8> {
        let mut out = Writer::new();
        out.octets(&self.number.to_be_bytes());
        out.octets(&[self.layer, 0, 0, 0]);
        out.text(&self.authzid); // with the first zero
        out.seal(session)
    }

    pub(super) fn open(sealed: &[u8], session: &Key) -> Option<Self> {
        let plain = open(sealed, session)?;
        let mut rest = Reader(&plain);
        let number = u32::from_be_bytes(rest.octets()?);
        let layer = rest.octet()?;
        let _size = rest.octets::<3>()?;
        let last = Self {
            number,
            layer,
            authzid: rest.text()?.to_owned(),
        };
        rest.is_padding().then_some(last)
    }
}

fn open(sealed: &[u8], key: &Key) -> Option<Zeroizing<Vec<u8>>> {
    if sealed.is_empty() || !sealed.len().is_multiple_of(BLOCK) {
        return None;
    }
    let mut plain = Zeroizing::new(sealed.to_vec());
    key.decrypt(&mut plain);
    Some(plain)
}

/// Plain text that is wiped when it is sealed.
struct Writer(Zeroizing<Vec<u8>>);

impl Writer {
    fn new() -> Self {
        // More than any ticket, so that nothing is left behind where it had to grow.
        Self(Zeroizing::new(Vec::with_capacity(512)))
    }

    fn octets(&mut self, octets: &[u8]) {
        self.0.extend_from_slice(octets);
    }

    fn text(&mut self, text: &str) {
        self.octets(text.as_bytes());
        self.octets(&[0]);
    }

    fn principal(&mut self, principal: &Principal) {
        self.text(&principal.name);
        self.text(&principal.instance);
        self.text(&principal.realm);
    }

    /// Fills up with zeros to whole blocks.
    fn seal(mut self, key: &Key) -> Vec<u8> {
        let length = self.0.len().next_multiple_of(BLOCK);
        self.0.resize(length, 0);
        key.encrypt(&mut self.0);
        self.0.to_vec()
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn octets<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    fn octet(&mut self) -> Option<u8> {
        self.octets().map(|[octet]| octet)
    }

    fn text(&mut self) -> Option<&'a str> {
        let end = self.0.iter().position(|&octet| octet == 0)?;
        let (text, rest) = self.0.split_at_checked(end)?;
        self.0 = rest.get(1..)?;
        std::str::from_utf8(text).ok()
    }

    fn principal(&mut self) -> Option<Principal> {
        let [name, instance, realm] = [self.text()?, self.text()?, self.text()?];
        Principal::new(name, instance, realm).ok()
    }

    /// Less than a block of zeros, and nothing else, is left.
    fn is_padding(&self) -> bool {
        self.0.len() < BLOCK && self.0.iter().all(|&octet| octet == 0)
    }
}
