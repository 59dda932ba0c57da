//! A stanza, checked once at the edge. Only this crosses the router.
//!
//! RFC 6120 §8.1.1.2, §8.1.2.2: between servers both addresses are required, and `from` must be of a domain that
//! the stream proved (§4.9.3.9 `invalid-from`).

use xmpp_stream::{Condition, Domain, Element, StanzaKind, split_jid};

use crate::negotiate::{Attached, Authorized};

/// By whose authority a stanza is sent.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A remote server that proved its domain on the stream.
    Peer(Authorized),
    /// A component that attached with its secret.
    Component(Attached),
    /// This server: answers and bounces.
    Own,
}

/// An element that is a stanza with addresses its sender may use.
#[derive(Clone, Debug)]
pub struct Stanza {
    element: Element,
    kind: StanzaKind,
    sender: Domain,
    target: Domain,
}

/// Why an element may not cross the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Not a stanza at all.
    NotAStanza,
    /// `to` or `from` is missing or is no address.
    ImproperAddressing,
    /// `from` is not of a domain this origin may speak for.
    InvalidFrom,
    /// `to` is not of a domain this origin may speak to.
    WrongTo,
}

impl Refused {
    /// The stream error condition for the sender.
    pub fn condition(self) -> Condition {
        match self {
            Self::NotAStanza => Condition::UnsupportedStanzaType,
            Self::ImproperAddressing => Condition::ImproperAddressing,
            Self::InvalidFrom => Condition::InvalidFrom,
            Self::WrongTo => Condition::HostUnknown,
        }
    }
}

impl Stanza {
    /// Checks a stanza from a remote server against one pair the stream proved.
    pub fn from_peer(
        element: Element,
        authorized: &Authorized,
    ) -> Result<Self, (Element, Refused)> {
        let pair = authorized.pair();
        match stanza_kind(&element)
            .and_then(|kind| named(&element, &pair.remote, &pair.local).map(|()| kind))
        {
            Ok(kind) => Ok(Self {
                element,
                kind,
                sender: pair.remote.clone(),
                target: pair.local.clone(),
            }),
            Err(refused) => Err((element, refused)),
        }
    }

    /// Checks a stanza from a component. `last` is where its previous stanza went: most go there again.
    pub fn from_component(
        element: Element,
        attached: &Attached,
        last: &mut Option<Domain>,
    ) -> Result<Self, (Element, Refused)> {
        match component_target(&element, attached, last) {
            Ok((kind, target)) => Ok(Self {
                element,
                kind,
                sender: attached.domain().clone(),
                target,
            }),
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
            element,
            kind,
            sender,
            target,
        })
    }

    /// The element.
    pub fn element(&self) -> &Element {
        &self.element
    }

    /// Message, presence or iq.
    pub fn kind(&self) -> StanzaKind {
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

    /// Its size in bytes.
    pub fn size(&self) -> usize {
        self.element.bytes().len()
    }
}

fn stanza_kind(element: &Element) -> Result<StanzaKind, Refused> {
    element.stanza().ok_or(Refused::NotAStanza)
}

fn component_target(
    element: &Element,
    attached: &Attached,
    last: &mut Option<Domain>,
) -> Result<(StanzaKind, Domain), Refused> {
    let kind = stanza_kind(element)?;
    let from = element.from().ok_or(Refused::ImproperAddressing)?;
    if !attached.domain().is_named_by(split_jid(&from).1) {
        return Err(Refused::InvalidFrom);
    }
    let to = element.to().ok_or(Refused::ImproperAddressing)?;
    let to = split_jid(&to).1;
    if let Some(known) = last.as_ref().filter(|known| known.is_named_by(to)) {
        return Ok((kind, known.clone()));
    }
    let target = Domain::parse(to).map_err(|_| Refused::ImproperAddressing)?;
    *last = Some(target.clone());
    Ok((kind, target))
}

fn named(element: &Element, from: &Domain, to: &Domain) -> Result<(), Refused> {
    let sender = element.from().ok_or(Refused::ImproperAddressing)?;
    let target = element.to().ok_or(Refused::ImproperAddressing)?;
    let (sender, target) = (split_jid(&sender).1, split_jid(&target).1);
    if sender.is_empty() || target.is_empty() {
        return Err(Refused::ImproperAddressing);
    }
    if !from.is_named_by(sender) {
        return Err(Refused::InvalidFrom);
    }
    if to.is_named_by(target) {
        Ok(())
    } else {
        Err(Refused::WrongTo)
    }
}
