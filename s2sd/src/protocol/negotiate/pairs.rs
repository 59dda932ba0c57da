//! The pairs that the peer may send stanzas of on a stream, and the fate of such a stanza. The rule stands here once,
//! for streams that a peer opened and for those of ours that carry both directions (XEP-0288).

use xmpp_stream::{Condition, Domain, Element, StanzaError};

use super::{Authorized, Snapshot};
use crate::protocol::stanza::{Refused, Stanza, jid_malformed, wrong_namespace};

/// The fate of a stanza.
pub(super) enum Received {
    /// It is for the router.
    Deliver(Stanza, Authorized),
    /// It goes no further, and its sender gets this error.
    Bounce(Stanza, StanzaError, Authorized),
    /// Neither it nor an answer has an address to go to.
    Dropped,
}

/// A stanza came. `refused`: it goes nowhere, and its sender gets this error. The error of the function ends the
/// stream.
pub(super) fn receive(
    proved: &[Authorized],
    element: Element,
    refused: Option<StanzaError>,
    snapshot: &Snapshot,
) -> Result<Received, (Condition, &'static str)> {
    let mut element = element;
    let mut worst = None;
    for authorized in proved {
        match Stanza::from_peer(element, authorized) {
            Ok(stanza) => {
                let authorized = authorized.clone();
                return Ok(match refused {
                    None => Received::Deliver(stanza, authorized),
                    Some(error) => Received::Bounce(stanza, error, authorized),
                });
            }
            Err((back, Refused::Malformed)) => {
                return Ok(match Stanza::answerable(&back, authorized) {
                    Some(stanza) => Received::Bounce(stanza, jid_malformed(), authorized.clone()),
                    None => Received::Dropped,
                });
            }
            Err((back, refused)) => {
                element = back;
                // `from` fits a proved pair and only `to` does not: this is the answer, whatever the other pairs say.
                worst = if worst == Some(Refused::WrongTo) {
                    worst
                } else {
                    Some(refused)
                };
            }
        }
    }
    Err(match worst {
        None => (
            Condition::NotAuthorized,
            "a stanza before any domain was proved",
        ),
        Some(Refused::WrongTo) => {
            let served = element
                .to()
                .and_then(|to| Domain::parse(xmpp_stream::split_jid(&to).1).ok())
                .is_some_and(|domain| snapshot.serves(&domain));
            if served {
                (
                    Condition::NotAuthorized,
                    "this pair of domains was not proved on this stream",
                )
            } else {
                (Condition::HostUnknown, "`to` is not served here")
            }
        }
        Some(Refused::InvalidFrom) => (Condition::InvalidFrom, "`from` is not of a proved domain"),
        Some(Refused::ImproperAddressing | Refused::Malformed) => (
            Condition::ImproperAddressing,
            "`to` or `from` is missing or malformed",
        ),
        Some(Refused::NotAStanza) => (Condition::UnsupportedStanzaType, "not a stanza"),
    })
}

/// An element that would be a stanza of one of the pairs but for its namespace. It was meant to arrive, so its sender
/// gets an error.
pub(super) fn foreign(
    proved: &[Authorized],
    element: &Element,
) -> Option<(Stanza, StanzaError, Authorized)> {
    proved.iter().find_map(|authorized| {
        let stanza = Stanza::foreign(element, authorized)?;
        Some((stanza, wrong_namespace(), authorized.clone()))
    })
}
