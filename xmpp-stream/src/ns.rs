//! Namespace names, as constants.

/// Stream elements (RFC 6120 §4.8.1).
pub const STREAMS: &str = "http://etherx.jabber.org/streams";
/// Content of server-to-server streams (RFC 6120 §4.8.2).
pub const SERVER: &str = "jabber:server";
/// Content of client-to-server streams (RFC 6120 §4.8.2).
pub const CLIENT: &str = "jabber:client";
/// Content of component streams (XEP-0114 §3).
pub const COMPONENT: &str = "jabber:component:accept";
/// Dialback elements (XEP-0220 §2).
pub const DIALBACK: &str = "jabber:server:dialback";
/// The dialback stream feature (XEP-0220 §2.4.2).
pub const DIALBACK_FEATURE: &str = "urn:xmpp:features:dialback";
/// STARTTLS (RFC 6120 §5).
pub const TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";
/// SASL (RFC 6120 §6).
pub const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
/// SASL channel-binding types (XEP-0440).
pub const SASL_CHANNEL_BINDING: &str = "urn:xmpp:sasl-cb:0";
/// Resource binding (RFC 6120 §7).
pub const BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";
/// Stream error conditions (RFC 6120 §4.9.2).
pub const STREAM_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-streams";
/// Stanza error conditions (RFC 6120 §8.3.2).
pub const STANZA_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
/// Application-specific error conditions, among them `stanza-too-big` (XEP-0205 §4.5).
pub const APP_ERRORS: &str = "urn:xmpp:errors";
/// Stream limits advertisement (XEP-0478 §3.1).
pub const LIMITS: &str = "urn:xmpp:stream-limits:0";
/// Bidirectional server-to-server streams, the feature (XEP-0288).
pub const BIDI_FEATURE: &str = "urn:xmpp:features:bidi";
/// Bidirectional server-to-server streams (XEP-0288).
pub const BIDI: &str = "urn:xmpp:bidi";
/// Stream management (XEP-0198).
pub const STREAM_MANAGEMENT: &str = "urn:xmpp:sm:3";
/// Ping (XEP-0199).
pub const PING: &str = "urn:xmpp:ping";
/// Service discovery, information (XEP-0030).
pub const DISCO_INFO: &str = "http://jabber.org/protocol/disco#info";
/// Service discovery, items (XEP-0030).
pub const DISCO_ITEMS: &str = "http://jabber.org/protocol/disco#items";
/// Software version (XEP-0092).
pub const VERSION: &str = "jabber:iq:version";
/// Entity time (XEP-0202).
pub const TIME: &str = "urn:xmpp:time";
/// Delayed delivery (XEP-0203).
pub const DELAY: &str = "urn:xmpp:delay";
/// Data forms (XEP-0004).
pub const DATA_FORMS: &str = "jabber:x:data";
/// The namespace of the prefix `xml`.
pub const XML: &str = "http://www.w3.org/XML/1998/namespace";
/// The namespace of the prefix `xmlns`; it may never be declared.
pub const XMLNS: &str = "http://www.w3.org/2000/xmlns/";

const KNOWN: &[&str] = &[
    SERVER,
    COMPONENT,
    STREAMS,
    DIALBACK,
    TLS,
    SASL,
    STREAM_MANAGEMENT,
    CLIENT,
    BIDI,
    STREAM_ERRORS,
    STANZA_ERRORS,
];

/// The constant for a namespace that first-level elements usually have, so that it needs no copy.
pub(crate) fn known(uri: &str) -> Option<&'static str> {
    KNOWN.iter().copied().find(|known| *known == uri)
}
