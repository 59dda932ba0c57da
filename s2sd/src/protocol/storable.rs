//! Which stanzas may wait on disk.
//!
//! Messages alone: IQ and presence are about now. Of messages not errors, and headlines only by choice (RFC 6121 §5.2.2,
//! XEP-0160 §3). What its sender does not want stored is not (XEP-0334 §4.1, §4.2): it waits in memory, and comes back where it
//! cannot.

use xmpp_stream::{Element, StanzaKind};

/// The namespace of the hints (XEP-0334 §9).
const HINTS: &str = "urn:xmpp:hints";

/// May this stanza be stored on disk? `headlines` says whether those may without being marked for it.
///
/// The hint `no-permanent-store` would allow to store it for as long as it is on its way (XEP-0334 §3.3). But a file may be
/// copied by a backup, so it is not stored either.
pub fn is_storable(stanza: &Element, headlines: bool) -> bool {
    if stanza.stanza_kind() != Some(StanzaKind::Message) {
        return false;
    }
    match stanza.type_attr().as_deref() {
        Some("error") => false,
        Some("headline") => {
            let hints = Hints::of(stanza);
            !hints.forbids && (headlines || hints.wants)
        }
        _ => !Hints::of(stanza).forbids,
    }
}

#[derive(Default)]
struct Hints {
    /// `no-store` or `no-permanent-store`.
    forbids: bool,
    /// `store`: worth it although its kind is not (XEP-0334 §4.4).
    wants: bool,
}

impl Hints {
    fn of(stanza: &Element) -> Self {
        // The name of an element cannot be written in another way, so most messages need no tree.
        const NAME: &[u8] = b"store";
        if !stanza.bytes().windows(NAME.len()).any(|it| it == NAME) {
            return Self::default();
        }
        let tree = stanza.tree();
        let has = |name| tree.child(HINTS, name).is_some();
        Self {
            forbids: has("no-store") || has("no-permanent-store"),
            wants: has("store"),
        }
    }
}

#[cfg(test)]
mod tests {
    use xmpp_stream::{ContentNamespace, Context};

    use super::*;

    #[track_caller]
    fn check(xml: &str, usual: bool, with_headlines: bool) {
        let context = Context::new(ContentNamespace::Server);
        let stanza = Element::parse(xml.to_owned(), &context).unwrap();
        assert_eq!(is_storable(&stanza, false), usual, "{xml}");
        assert_eq!(is_storable(&stanza, true), with_headlines, "{xml}");
    }

    #[test]
    fn messages_are_stored_and_requests_presence_and_errors_are_not() {
        check("<message><body>Hi</body></message>", true, true);
        check("<message type='chat'/>", true, true);
        check("<message type='groupchat'/>", true, true);
        check("<message type='unheard-of'/>", true, true);
        check("<message type='error'/>", false, false);
        check("<message type='headline'/>", false, true);
        check("<presence/>", false, false);
        check("<iq type='set'/>", false, false);
        check("<r xmlns='urn:xmpp:sm:3'/>", false, false);
        check("<message xmlns='jabber:client'/>", false, false);
    }

    #[test]
    fn the_hints_of_a_sender_are_followed() {
        let hinted = |kind: &str, hints: &[&str]| {
            let hints = hints
                .iter()
                .map(|hint| format!("<{hint} xmlns='urn:xmpp:hints'/>"));
            let hints: String = hints.collect();
            format!("<message type='{kind}'><body>store</body>{hints}</message>")
        };
        check(&hinted("chat", &["no-store"]), false, false);
        check(&hinted("chat", &["no-permanent-store"]), false, false);
        check(&hinted("chat", &["no-copy"]), true, true);
        check(&hinted("chat", &["store"]), true, true);
        check(&hinted("headline", &["store"]), true, true);
        check(&hinted("headline", &["store", "no-store"]), false, false);
        check(&hinted("headline", &[]), false, true);
        check(&hinted("error", &["store"]), false, false);
    }

    #[test]
    fn hints_are_children_of_the_message_and_in_their_namespace() {
        check(
            "<message><forwarded xmlns='urn:xmpp:forward:0'><no-store xmlns='urn:xmpp:hints'/></forwarded></message>",
            true,
            true,
        );
        check("<message><no-store/></message>", true, true);
        check(
            "<message><h:no-store xmlns:h='urn&#58;xmpp:hints'/></message>",
            false,
            false,
        );
    }
}
