//! The stanza that is to blame for a stream error, of those that the socket took whole, if we can tell.
//!
//! Pure: the clock is an argument. A peer reads in order. If it ends the stream because of what it read, it does not
//! read what comes after that: the last stanza is the one, or was lost with it, and its sender can learn so. If the
//! peer says that something is too large, it means the one stanza that is larger than all servers accept (RFC 6120
//! §13.12), if there was one. Of any other stanza, without XEP-0198 there is no way to know whether it arrived.

use std::time::{Duration, Instant};

use bytes::Bytes;
use xmpp_stream::{Element, Writer};

use crate::closed::Blame;

/// A peer says so within this time after the socket took it.
const BLAMED_WITHIN: Duration = Duration::from_secs(30);
/// "MUST NOT be smaller than 10000 bytes" (RFC 6120 §13.12): no peer refuses less for its size.
const EVERYBODY_TAKES: usize = 10_000;

/// The last stanza that a stream carried, and the last large one.
#[derive(Debug, Default)]
pub(crate) struct Suspects {
    last: Option<Suspect>,
    large: Option<Suspect>,
    /// There was another large one shortly before.
    are_many: bool,
}

#[derive(Debug)]
struct Suspect {
    taken: Instant,
    /// `None`: it has no sender to inform.
    stub: Option<Bytes>,
}

impl Suspect {
    fn is_fresh(&self, now: Instant) -> bool {
        now.duration_since(self.taken) < BLAMED_WITHIN
    }
}

impl Suspects {
    /// The socket took this stanza whole, and perhaps others after it. To be called for each large one, and for the
    /// last of those that it took at once.
    pub(crate) fn took(&mut self, now: Instant, stanza: &Element) {
        let suspect = || Suspect {
            taken: now,
            stub: stub(stanza),
        };
        self.last = Some(suspect());
        if is_large(stanza) {
            let before = self.large.replace(suspect());
            self.are_many = before.is_some_and(|before| before.is_fresh(now));
        }
    }

    /// Which one is to blame for the end of the stream. `begun`: the next was being written, and is sent again.
    pub(crate) fn blamed(&mut self, now: Instant, blame: &Blame, begun: bool) -> Option<Bytes> {
        let suspect = match blame {
            Blame::Content(_) if !begun => self.last.take(),
            Blame::Size(_) if !begun && !self.are_many => self.large.take(),
            Blame::Content(_) | Blame::Size(_) => None,
        };
        suspect.filter(|suspect| suspect.is_fresh(now))?.stub
    }
}

/// Whether a peer may refuse it for its size.
pub(crate) fn is_large(stanza: &Element) -> bool {
    stanza.bytes().len() >= EVERYBODY_TAKES
}

/// A stanza with the same kind, addresses and id, to be bounced.
pub(crate) fn stub(stanza: &Element) -> Option<Bytes> {
    let (kind, name) = (stanza.type_attr(), stanza.stanza_kind()?.name());
    if matches!(kind.as_deref(), Some("error" | "result")) {
        return None;
    }
    let stub = Writer::new(name)
        .attr_opt("type", kind)
        .attr_opt("from", stanza.from())
        .attr_opt("to", stanza.to())
        .attr_opt("id", stanza.id());
    Some(stub.finish())
}

#[cfg(test)]
mod tests {
    use xmpp_stream::{Condition, ContentNamespace, Context, StreamError};

    use super::*;

    fn element(id: &str, size: usize) -> Element {
        let body = "x".repeat(size);
        let text = format!("<message from='u@a.test' to='v@b.test' id='{id}'>{body}</message>");
        Element::parse(text, &Context::new(ContentNamespace::Server)).unwrap()
    }

    fn id(stub: Option<Bytes>) -> Option<String> {
        let stub = Element::parse(stub?, &Context::new(ContentNamespace::Server)).unwrap();
        assert_eq!(stub.from().as_deref(), Some("u@a.test"));
        Some(stub.id().unwrap().into_owned())
    }

    fn content() -> Blame {
        Blame::Content(StreamError::new(Condition::NotWellFormed).into())
    }

    fn size() -> Blame {
        Blame::Size(StreamError::new(Condition::PolicyViolation).into())
    }

    #[test]
    fn the_last_that_was_taken_was_not_read_whichever_was_not_understood() {
        let (now, mut suspects) = (Instant::now(), Suspects::default());
        assert_eq!(suspects.blamed(now, &content(), false), None);
        for id in ["1", "2"] {
            suspects.took(now, &element(id, 0));
        }
        assert_eq!(id(suspects.blamed(now, &content(), false)).unwrap(), "2");
        assert_eq!(suspects.blamed(now, &content(), false), None, "once");
    }

    #[test]
    fn too_much_is_said_of_the_one_that_is_large() {
        let (now, mut suspects) = (Instant::now(), Suspects::default());
        suspects.took(now, &element("small", 100));
        assert_eq!(suspects.blamed(now, &size(), false), None);
        suspects.took(now, &element("large", EVERYBODY_TAKES));
        suspects.took(now, &element("after", 100));
        assert_eq!(id(suspects.blamed(now, &size(), false)).unwrap(), "large");
        // Of two nobody knows which.
        suspects.took(now, &element("one", EVERYBODY_TAKES));
        suspects.took(now, &element("two", EVERYBODY_TAKES));
        assert_eq!(suspects.blamed(now, &size(), false), None);
    }

    #[test]
    fn what_was_taken_long_ago_or_is_sent_again_is_to_blame_for_nothing() {
        let now = Instant::now();
        for blame in [content(), size()] {
            let mut suspects = Suspects::default();
            suspects.took(now, &element("1", EVERYBODY_TAKES));
            assert_eq!(suspects.blamed(now, &blame, true), None);
            assert_eq!(suspects.blamed(now + BLAMED_WITHIN, &blame, false), None);
        }
    }

    #[test]
    fn nobody_is_told_of_an_answer() {
        let context = Context::new(ContentNamespace::Server);
        for kind in ["error", "result"] {
            let text = format!("<iq from='u@a.test' to='v@b.test' id='1' type='{kind}'/>");
            assert_eq!(stub(&Element::parse(text, &context).unwrap()), None);
        }
    }
}
