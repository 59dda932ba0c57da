//! A stanza, checked once at the edge. Only this crosses the router.
//!
//! RFC 6120 §8.1.1.2, §8.1.2.2: between servers both addresses are required, and `from` must be of a domain that
//! the stream proved (§4.9.3.9 `invalid-from`).
//!
//! RFC 7622 §3: an address that is spelt in another way than its prepared form is written so, and one that is none goes
//! back to its sender: lists of addresses are lists of text at the other end.

use std::time::SystemTime;

use xmpp_stream::{
    Condition, Context, Domain, Element, ErrorType, Spelling, StanzaCondition, StanzaError,
    StanzaKind, Writer, ns, split_jid,
};

use crate::protocol::budget::{Account, Charge};
use crate::protocol::proof::{Attached, Authorized};
use crate::protocol::receipts::Unsettled;
use crate::protocol::time::date_time;

/// The authority that a stanza is sent by.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A remote server that proved its domain on the stream.
    Peer(Authorized),
    /// A component that attached with its secret.
    Component(Attached),
    /// This server: answers and bounces.
    Own,
}

/// An element that is a stanza with addresses its sender may use, spelt as RFC 7622 prepares them.
///
/// While it waits, it holds its cost on the account of its cause.
#[derive(Debug)]
pub struct Stanza {
    element: Element,
    kind: StanzaKind,
    sender: Domain,
    target: Domain,
    size: usize,
    charge: Option<Charge>,
    is_own: bool,
    /// It says already when it was accepted.
    is_delayed: bool,
    /// For who wants to know when it is delivered, bounced, dropped or stored.
    _receipt: Option<Box<Unsettled>>,
}

/// What a stanza costs besides its own bytes: the head of its element, its names, its place in a queue that grows by
/// doubling, and what the allocator needs for each of them. `what_is_counted_is_what_it_costs` measures it.
const OVERHEAD: usize = 512;

/// Why an element may not cross the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Not a stanza at all.
    NotAStanza,
    /// `to` or `from` is missing.
    ImproperAddressing,
    /// `from` is not of a domain this origin may speak for.
    InvalidFrom,
    /// `to` is not of a domain this origin may speak to.
    WrongTo,
    /// The sender may speak, but `to` or `from` is no address.
    Malformed,
}

impl Refused {
    /// The stream error condition for the sender.
    pub fn condition(self) -> Condition {
        match self {
            Self::NotAStanza => Condition::UnsupportedStanzaType,
            Self::ImproperAddressing | Self::Malformed => Condition::ImproperAddressing,
            Self::InvalidFrom => Condition::InvalidFrom,
            Self::WrongTo => Condition::HostUnknown,
        }
    }
}

/// The error for the sender of a stanza with a malformed address (RFC 6120 §8.3.3.8).
pub(crate) fn jid_malformed() -> StanzaError {
    StanzaError::new(ErrorType::Modify, StanzaCondition::JidMalformed)
        .with_text("`to` or `from` is no address")
}

/// The error for the sender of a stanza in the content namespace of another kind of stream (RFC 6120 §4.8.3).
pub(crate) fn wrong_namespace() -> StanzaError {
    StanzaError::new(ErrorType::Modify, StanzaCondition::BadRequest)
        .with_text("the stanza is not in the namespace jabber:server")
}

impl Stanza {
    /// Checks a stanza from a remote server against one pair the stream proved.
    pub fn from_peer(
        element: Element,
        authorized: &Authorized,
    ) -> Result<Self, (Element, Refused)> {
        let pair = authorized.pair();
        let kind = stanza_kind(&element)
            .and_then(|kind| named(&element, &pair.remote, &pair.local).map(|named| (kind, named)));
        match kind {
            Ok((kind, spelt)) => Ok(Self::new(
                spelt.on(element),
                kind,
                pair.remote.clone(),
                pair.local.clone(),
            )),
            Err(refused) => Err((element, refused)),
        }
    }

    /// Stands for a stanza of the pair with a malformed address, so that it can be answered: without content, and with
    /// the domain alone for an address that is malformed.
    pub(crate) fn answerable(element: &Element, authorized: &Authorized) -> Option<Self> {
        Self::standing_for(element, element.stanza_kind()?, authorized)
    }

    /// Stands for an element that would be a stanza of the pair in the namespace of this stream, but is in that of
    /// another kind of stream (RFC 6120 §4.8.2, XEP-0114 §3), if an error may answer it.
    pub(crate) fn foreign(element: &Element, authorized: &Authorized) -> Option<Self> {
        let kind = element.kind_anywhere()?;
        let pair = authorized.pair();
        let is_ours = matches!(
            named(element, &pair.remote, &pair.local),
            Ok(_) | Err(Refused::Malformed)
        );
        let is_answer = matches!(element.type_attr().as_deref(), Some("error" | "result"));
        (is_ours && !is_answer).then(|| Self::standing_for(element, kind, authorized))?
    }

    fn standing_for(element: &Element, kind: StanzaKind, authorized: &Authorized) -> Option<Self> {
        let pair = authorized.pair();
        let spelt = |domain: &Domain, address: Option<_>| {
            let address = address.and_then(|address: std::borrow::Cow<'_, str>| {
                match domain.spelling(&address) {
                    Spelling::Prepared => Some(address.into_owned()),
                    Spelling::Other(jid) => Some(jid.as_str().to_owned()),
                    Spelling::Elsewhere | Spelling::Malformed => None,
                }
            });
            address.unwrap_or_else(|| domain.as_str().to_owned())
        };
        let stub = Writer::new(kind.name())
            .attr("from", spelt(&pair.remote, element.from()))
            .attr("to", spelt(&pair.local, element.to()))
            .attr_opt("id", element.id())
            .attr_opt("type", element.type_attr())
            .element(&Context::new(element.context().content()))?;
        let (remote, local) = (pair.remote.clone(), pair.local.clone());
        Some(Self::new(stub, kind, remote, local))
    }

    /// Checks a stanza from a component. `last` is where its previous stanza went: most go there again.
    pub fn from_component(
        element: Element,
        attached: &Attached,
        last: &mut Option<Domain>,
    ) -> Result<Self, (Element, Refused)> {
        match component_target(&element, attached, last) {
            Ok((kind, target, spelt)) => Ok(Self::new(
                spelt.on(element),
                kind,
                attached.domain().clone(),
                target,
            )),
            Err(refused) => Err((element, refused)),
        }
    }

    /// A stanza of this server's own making.
    pub(crate) fn own(element: Element) -> Result<Self, Refused> {
        let kind = stanza_kind(&element)?;
        let from = element.from().ok_or(Refused::ImproperAddressing)?;
        let to = element.to().ok_or(Refused::ImproperAddressing)?;
        let sender = Domain::parse(split_jid(&from).1).map_err(|_| Refused::ImproperAddressing)?;
        let target = Domain::parse(split_jid(&to).1).map_err(|_| Refused::ImproperAddressing)?;
        Ok(Self {
            is_own: true,
            ..Self::new(element, kind, sender, target)
        })
    }

    /// The stanza of this server that answers this one: `reply` has its addresses changed over.
    pub(crate) fn answer(&self, reply: Writer) -> Option<Self> {
        let context = Context::new(self.element.context().content());
        let element = reply.element(&context)?;
        let kind = stanza_kind(&element).ok()?;
        let (sender, target) = (self.target.clone(), self.sender.clone());
        Some(Self {
            is_own: true,
            ..Self::new(element, kind, sender, target)
        })
    }

    /// The same. Its sender gets a receipt when it is settled: when this stanza is dropped.
    pub(crate) fn with_receipt(self, receipt: Unsettled) -> Self {
        let _receipt = Some(Box::new(receipt));
        Self { _receipt, ..self }
    }

    /// The same, with the time when this domain of ours accepted it (XEP-0203 §2). An IQ has no place for it.
    pub(crate) fn delayed(self, by: &Domain, accepted: SystemTime) -> Self {
        if self.is_delayed || self.kind == StanzaKind::Iq {
            return self;
        }
        let delay = Writer::new("delay")
            .xmlns(ns::DELAY)
            .attr("from", by.as_str())
            .attr("stamp", date_time(accepted));
        let element = self.element.with_child(delay);
        Self {
            size: element.forwarded_size(),
            element,
            is_delayed: true,
            ..self
        }
    }

    /// The least memory that an answer to it takes while it waits: it has the same addresses and the same id.
    pub(crate) fn least_answer(&self) -> usize {
        let element = &self.element;
        let values = [element.from(), element.to(), element.id()];
        let values = values.iter().flatten().map(|value| value.len());
        OVERHEAD + values.sum::<usize>()
    }

    fn new(element: Element, kind: StanzaKind, sender: Domain, target: Domain) -> Self {
        Self {
            size: element.forwarded_size(),
            element,
            kind,
            sender,
            target,
            charge: None,
            is_own: false,
            is_delayed: false,
            _receipt: None,
        }
    }

    /// The element.
    pub fn element(&self) -> &Element {
        &self.element
    }

    /// Whether this server made it.
    pub(crate) fn is_own(&self) -> bool {
        self.is_own
    }

    /// Message, presence or iq.
    pub fn stanza_kind(&self) -> StanzaKind {
        self.kind
    }

    /// The domain it comes from.
    pub fn sender(&self) -> &Domain {
        &self.sender
    }

    /// The domain it goes to.
    pub fn target(&self) -> &Domain {
        &self.target
    }

    /// The same in memory of its own.
    pub fn compact(self) -> Self {
        Self {
            element: self.element.compact(),
            ..self
        }
    }

    /// Its size in bytes, as it is written for another stream.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The memory that it takes while it waits.
    pub(crate) fn cost(&self) -> usize {
        self.element.bytes().len() + OVERHEAD
    }

    /// The same as it waits: this account pays for it, unless another does. It comes back if there is no memory for it.
    pub(crate) fn kept_by(self, payer: &Account) -> Result<Self, Self> {
        if self.charge.is_some() {
            return Ok(self);
        }
        match payer.take(self.cost()) {
            // A stanza is a piece of the buffer that it was read into and keeps all of that alive. Copied out, it costs as
            // much as it is charged for.
            Some(charge) => Ok(self.compact().paid_by(charge)),
            None => Err(self),
        }
    }

    /// The same, charged to this account as long as the stanza lives, in place of any charge before.
    pub(crate) fn paid_by(self, mut charge: Charge) -> Self {
        charge.force(self.cost());
        let charge = Some(charge);
        Self { charge, ..self }
    }

    /// Its charge, for the answer that takes its place.
    pub(crate) fn take_charge(&mut self) -> Option<Charge> {
        self.charge.take()
    }
}

fn stanza_kind(element: &Element) -> Result<StanzaKind, Refused> {
    element.stanza_kind().ok_or(Refused::NotAStanza)
}

fn component_target(
    element: &Element,
    attached: &Attached,
    last: &mut Option<Domain>,
) -> Result<(StanzaKind, Domain, Spelt), Refused> {
    let kind = stanza_kind(element)?;
    let from = element.from().ok_or(Refused::ImproperAddressing)?;
    let from = spelt(attached.domain(), &from, Refused::InvalidFrom)?;
    let to = element.to().ok_or(Refused::ImproperAddressing)?;
    if let Some(known) = last.as_ref() {
        match spelt(known, &to, Refused::WrongTo) {
            Ok(to) => return Ok((kind, known.clone(), Spelt { from, to })),
            Err(Refused::WrongTo) => {}
            Err(refused) => return Err(refused),
        }
    }
    let target = Domain::parse(split_jid(&to).1).map_err(|_| Refused::Malformed)?;
    let to = spelt(&target, &to, Refused::WrongTo)?;
    *last = Some(target.clone());
    Ok((kind, target, Spelt { from, to }))
}

fn named(element: &Element, remote: &Domain, local: &Domain) -> Result<Spelt, Refused> {
    let sender = element.from().ok_or(Refused::ImproperAddressing)?;
    let target = element.to().ok_or(Refused::ImproperAddressing)?;
    // An address without a value is none that is malformed (RFC 6120 §4.9.3.7).
    if split_jid(&sender).1.is_empty() || target.is_empty() {
        return Err(Refused::ImproperAddressing);
    }
    let from = spelt(remote, &sender, Refused::InvalidFrom);
    if from == Err(Refused::InvalidFrom) {
        return Err(Refused::InvalidFrom);
    }
    match spelt(local, &target, Refused::WrongTo) {
        Ok(to) => Ok(Spelt { from: from?, to }),
        // It may have been meant for another server, but it came here, and it has no addressee.
        Err(Refused::WrongTo) if Domain::parse(split_jid(&target).1).is_err() => {
            Err(Refused::Malformed)
        }
        Err(refused) => Err(refused),
    }
}

/// How the addresses of a stanza have to be spelt, where that is not how they are.
#[derive(Default, PartialEq, Eq, Debug)]
struct Spelt {
    from: Option<String>,
    to: Option<String>,
}

impl Spelt {
    fn on(&self, element: Element) -> Element {
        match (self.from.as_deref(), self.to.as_deref()) {
            (None, None) => element,
            (from, to) => element.readdressed(from, to),
        }
    }
}

/// `None`: as it is. An address of another domain is refused with `elsewhere`.
fn spelt(domain: &Domain, address: &str, elsewhere: Refused) -> Result<Option<String>, Refused> {
    match domain.spelling(address) {
        Spelling::Prepared => Ok(None),
        Spelling::Other(jid) => Ok(Some(jid.as_str().to_owned())),
        Spelling::Elsewhere => Err(elsewhere),
        Spelling::Malformed => Err(Refused::Malformed),
    }
}
