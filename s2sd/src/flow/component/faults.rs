//! What a component gets wrong, in words for its operator: a line for the first of a kind, then one a minute with a count.
//!
//! Pure: the clock is an argument.

use std::time::{Duration, Instant};

use xmpp_stream::{
    ContentNamespace, Context, Domain, Element, ErrorType, StanzaCondition, StanzaError, Writer,
};

use crate::closed::{By, Cause, Closed};
use crate::peer_text::PeerText;
use crate::protocol::stanza::{Refused, jid_malformed};

/// The time over which faults are counted.
const MINUTE: Duration = Duration::from_secs(60);

/// Faults of one kind.
#[derive(Debug, Default)]
pub(super) struct Faults {
    since: Option<Instant>,
    unsaid: u64,
}

impl Faults {
    /// There was one. If it is to be said: how many before it were not.
    pub(super) fn note(&mut self, now: Instant) -> Option<u64> {
        if self
            .since
            .is_some_and(|since| now.duration_since(since) < MINUTE)
        {
            self.unsaid += 1;
            return None;
        }
        self.since = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }

    /// How many were not said.
    pub(super) fn unsaid(&self) -> u64 {
        self.unsaid
    }
}

/// The error for a component whose stanza it may not send.
pub(super) fn stanza_error(element: &Element, refused: Refused, domain: &Domain) -> StanzaError {
    match refused {
        Refused::InvalidFrom => StanzaError::new(ErrorType::Auth, StanzaCondition::Forbidden)
            .with_text(format!("`from` must be an address of {domain}")),
        Refused::ImproperAddressing if element.from().is_none() => {
            jid_malformed().with_text("`from` is missing")
        }
        Refused::ImproperAddressing => jid_malformed().with_text("`to` is missing"),
        Refused::NotAStanza | Refused::WrongTo | Refused::Malformed => jid_malformed(),
    }
}

/// The answer to a stanza. Without `from` it goes to the component itself.
pub(super) fn reply(element: &Element, error: &StanzaError, domain: &Domain) -> Option<Writer> {
    if element.from().is_some() {
        return xmpp_stream::error_reply(element, error);
    }
    let stub = Writer::new(element.stanza_kind()?.name())
        .attr("from", domain.as_str())
        .attr_opt("to", element.to())
        .attr_opt("id", element.id())
        .attr_opt("type", element.type_attr())
        .element(&Context::new(ContentNamespace::Component))?;
    xmpp_stream::error_reply(&stub, error)
}

/// Which stanza it is: its start tag, as far as it has names, and nothing of what is in it.
pub(super) fn named(element: &Element) -> PeerText {
    let mut text = format!("<{}", element.name());
    if element.stanza_kind().is_none() {
        text = format!("{text} xmlns='{}'", element.namespace());
    }
    for name in ["from", "to", "id", "type"] {
        if let Some(value) = element.attr(name) {
            text = format!("{text} {name}='{value}'");
        }
    }
    PeerText::new(&(text + ">"))
}

/// The stanza that broke the stream, if this is its start tag.
pub(super) fn begun(tag: &[u8]) -> Option<PeerText> {
    let tag = tag.strip_suffix(b">")?;
    let tag = tag.strip_suffix(b"/").unwrap_or(tag);
    let whole = [tag, b"/>"].concat();
    let element = Element::parse(whole, &Context::new(ContentNamespace::Component)).ok()?;
    Some(named(&element))
}

/// Whether an operator has to change something.
pub(super) fn is_fault(closed: &Closed) -> bool {
    match closed.cause {
        Cause::Protocol(..) | Cause::StreamError(_) | Cause::Memory => true,
        Cause::Timeout(_) => closed.by == By::Us,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_kind_is_said_and_then_one_a_minute_with_a_count() {
        let (mut faults, start) = (Faults::default(), Instant::now());
        assert_eq!(faults.note(start), Some(0));
        for _ in 0..100 {
            assert_eq!(faults.note(start), None);
        }
        assert_eq!(faults.unsaid(), 100);
        assert_eq!(faults.note(start + MINUTE), Some(100));
        assert_eq!(faults.unsaid(), 0);
    }

    #[test]
    fn the_stanza_that_broke_the_stream_is_named_by_its_start_tag() {
        let named = |text: &str| begun(text.as_bytes()).map(|text| text.to_string());
        assert_eq!(
            named("<message to='a@b' id='1' x=''>").as_deref(),
            Some("<message to='a@b' id='1'>")
        );
        assert_eq!(named("<iq id='2'/>").as_deref(), Some("<iq id='2'>"));
        for none in [
            "",
            "hello",
            "<message id='1'",
            "<a:b/>",
            "<!-- x -->",
            "</x>",
        ] {
            assert_eq!(named(none), None, "{none}");
        }
    }

    #[test]
    fn a_stanza_without_from_is_answered_to_the_component() {
        let context = Context::new(ContentNamespace::Component);
        let element = Element::parse("<message to='a@b.test' id='1'/>", &context).unwrap();
        let domain = Domain::parse("here.test").unwrap();
        let error = stanza_error(&element, Refused::ImproperAddressing, &domain);
        let answer = reply(&element, &error, &domain).unwrap().finish();
        let answer = Element::parse(answer, &context).unwrap();
        assert_eq!(answer.to().as_deref(), Some("here.test"));
        assert_eq!(answer.id().as_deref(), Some("1"));
        let text = StanzaError::from_element(&answer).unwrap().text.unwrap();
        assert_eq!(text, "`from` is missing");
    }
}
