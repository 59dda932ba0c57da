//! The stanzas that an outgoing stream carried lately. If an error answers one on the same stream, the sender gets it
//! in our own words: by XEP-0220 §2.3 the other direction needs its own proof, so what comes on this one is never
//! delivered.
//!
//! Pure.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};

use bytes::Bytes;
use xmpp_stream::{Element, StanzaKind, Writer, is_answerable};

/// How many stanzas back an error may reach.
const REMEMBERED: usize = 1024;

/// The ids that this stream carried lately, with their addresses: as hashes, since hardly any is looked up again. A
/// stanza without an id is known by its addresses alone: of several between the same two, an error without an id
/// answers one, and their sender could not tell them apart either.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    hashes: VecDeque<u64>,
    keys: RandomState,
}

impl Carried {
    /// A stanza goes out.
    pub(crate) fn note(&mut self, stanza: &Element) {
        let hash = stanza
            .stanza_kind()
            .and_then(|kind| self.hash(kind, stanza.id(), (stanza.from(), stanza.to())));
        let Some(hash) = hash.filter(|_| is_answerable(stanza)) else {
            return;
        };
        if self.hashes.len() == REMEMBERED {
            self.hashes.pop_front();
        }
        self.hashes.push_back(hash);
    }

    /// Whether an error answers one of them, and this for the first time: then a stanza with its kind, addresses and id,
    /// to be bounced.
    pub(crate) fn answered(&mut self, error: &Element) -> Option<Bytes> {
        let kind = error.stanza_kind()?;
        let (from, to) = (error.to()?, error.from()?);
        if error.type_attr().as_deref() != Some("error") {
            return None;
        }
        let hash = self.hash(kind, error.id(), (error.to(), error.from()))?;
        let at = self.hashes.iter().position(|known| *known == hash)?;
        self.hashes.remove(at);
        let stanza = Writer::new(kind.name());
        let stanza = match kind {
            StanzaKind::Iq => stanza.attr("type", "get"),
            StanzaKind::Message | StanzaKind::Presence => stanza,
        };
        let stanza = stanza
            .attr("from", from)
            .attr("to", to)
            .attr_opt("id", error.id());
        Some(stanza.finish())
    }

    /// Whether a stanza that went lately was answered since.
    pub(crate) fn was_answered(&self, stanza: &Element) -> bool {
        let hash = stanza
            .stanza_kind()
            .and_then(|kind| self.hash(kind, stanza.id(), (stanza.from(), stanza.to())));
        hash.is_none_or(|hash| !self.hashes.contains(&hash))
    }

    fn hash(
        &self,
        kind: StanzaKind,
        id: Option<Cow<'_, str>>,
        (from, to): (Option<Cow<'_, str>>, Option<Cow<'_, str>>),
    ) -> Option<u64> {
        Some(self.keys.hash_one((kind.name(), id, from?, to?)))
    }
}

#[cfg(test)]
mod tests {
    use xmpp_stream::{ContentNamespace, Context};

    use super::*;

    fn element(text: &str) -> Element {
        let context = Context::new(ContentNamespace::Server);
        Element::parse(Bytes::from(text.to_owned()), &context).unwrap()
    }

    #[test]
    fn an_error_is_told_once_and_only_where_it_answers_what_was_carried() {
        let mut carried = Carried::default();
        carried.note(&element("<message from='u@a.test' to='v@b.test' id='1'/>"));
        for other in [
            "<message type='error' to='u@a.test' from='v@b.test' id='2'/>",
            "<message type='error' to='w@a.test' from='v@b.test' id='1'/>",
            "<message type='error' to='u@a.test' from='w@b.test' id='1'/>",
            "<message type='error' to='v@b.test' from='u@a.test' id='1'/>",
            "<message to='u@a.test' from='v@b.test' id='1'/>",
            "<message type='error' to='u@a.test' from='v@b.test'/>",
            "<other type='error' to='u@a.test' from='v@b.test' id='1'/>",
        ] {
            assert_eq!(carried.answered(&element(other)), None, "{other}");
        }
        let error = "<message type='error' to='u@a.test' from='v@b.test' id='1'><body>lies</body></message>";
        let told =
            element(std::str::from_utf8(&carried.answered(&element(error)).unwrap()).unwrap());
        assert_eq!(told.from().as_deref(), Some("u@a.test"));
        assert_eq!(told.to().as_deref(), Some("v@b.test"));
        assert_eq!(told.id().as_deref(), Some("1"));
        assert!(!told.bytes().windows(4).any(|word| word == b"lies"));
        assert_eq!(carried.answered(&element(error)), None, "only once");
    }

    #[test]
    fn without_an_id_the_addresses_say_which_one_is_meant() {
        let mut carried = Carried::default();
        let presence = element("<presence from='u@a.test' to='v@b.test'/>");
        carried.note(&element("<message from='u@a.test' to='v@b.test' id='1'/>"));
        assert!(carried.was_answered(&presence), "it is not there");
        carried.note(&presence);
        assert!(!carried.was_answered(&presence));
        for other in [
            "<presence type='error' to='u@a.test' from='v@b.test' id='2'/>",
            "<presence type='error' to='u@a.test' from='w@b.test'/>",
            "<message type='error' to='u@a.test' from='v@b.test'/>",
        ] {
            assert_eq!(carried.answered(&element(other)), None, "{other}");
        }
        let error = element("<presence type='error' to='u@a.test' from='v@b.test'/>");
        let told = carried.answered(&error).unwrap();
        let told = element(std::str::from_utf8(&told).unwrap());
        assert_eq!(told.stanza_kind(), Some(StanzaKind::Presence));
        assert_eq!((told.id(), told.type_attr()), (None, None));
        assert_eq!(carried.answered(&error), None, "only once");
        assert!(carried.was_answered(&presence));
    }

    #[test]
    fn no_more_is_remembered_than_that() {
        let mut carried = Carried::default();
        for number in 0..2 * REMEMBERED {
            let text = format!("<iq type='get' from='u@a.test' to='v@b.test' id='{number}'/>");
            carried.note(&element(&text));
        }
        assert_eq!(carried.hashes.len(), REMEMBERED);
    }
}
