//! The conditions of stream errors (RFC 6120 §4.9).

use std::fmt;

macro_rules! conditions {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// All of them, in the order of the specification.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The element's name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}
pub(crate) use conditions;

conditions! {
    /// Why a stream ends (RFC 6120 §4.9.3; with what RFC 3920 §4.7.3 had besides).
    Condition {
        /// The other side sent XML that it cannot process, such as text between stanzas. Correct what you send. §4.9.3.1.
        BadFormat = "bad-format",
        /// A prefix is missing or is not the one that the other side insists on. Use `stream:` for the stream namespace.
        /// §4.9.3.2.
        BadNamespacePrefix = "bad-namespace-prefix",
        /// The stream conflicts with another one of the same entity. Do not reconnect at once, or the two take turns.
        /// §4.9.3.3.
        Conflict = "conflict",
        /// This side was silent for too long. Send white space or answer pings, and connect again. §4.9.3.4.
        ConnectionTimeout = "connection-timeout",
        /// The domain in `to` is no longer served here. Look the domain up again. §4.9.3.5.
        HostGone = "host-gone",
        /// The domain in `to` is not served here. Correct the name, or the DNS records that lead here. §4.9.3.6.
        HostUnknown = "host-unknown",
        /// A stanza or header lacks `to` or `from`, or has one that is not an address. Fill it in. §4.9.3.7.
        ImproperAddressing = "improper-addressing",
        /// The server failed by its own fault. Its log says more; try again later. §4.9.3.8.
        InternalServerError = "internal-server-error",
        /// `from` is not an identity that was proved on this stream. Prove it first, or correct the address. §4.9.3.9.
        InvalidFrom = "invalid-from",
        /// A stream or dialback id is not valid, RFC 3920 §4.7.3. Old servers answer a wrong dialback key with it (§8.3
        /// there): check that both sides share the secret.
        InvalidId = "invalid-id",
        /// The stream or content namespace is not one that is served here. Check which kind of port was connected to.
        /// §4.9.3.10.
        InvalidNamespace = "invalid-namespace",
        /// The XML does not hold to a schema that the other side checks. Correct what you send. §4.9.3.11.
        InvalidXml = "invalid-xml",
        /// Something was sent before authentication, or authentication failed. Authenticate first; check secret and
        /// certificate. §4.9.3.12.
        NotAuthorized = "not-authorized",
        /// The bytes are not well-formed XML. Correct what writes them. §4.9.3.13; RFC 3920 spelt it `xml-not-well-formed`.
        NotWellFormed = "not-well-formed",
        /// A rule of the other side was broken, a limit as a rule. The text says which; stay below it. §4.9.3.14.
        PolicyViolation = "policy-violation",
        /// The server could not reach another one that it needs. Try again later. §4.9.3.15.
        RemoteConnectionFailed = "remote-connection-failed",
        /// The server wants a new stream, after a change of features or keys. Connect again and authenticate. §4.9.3.16.
        Reset = "reset",
        /// The server has no resources left for this stream. Wait before you connect again. §4.9.3.17.
        ResourceConstraint = "resource-constraint",
        /// Comments, processing instructions, DTDs or entities were sent, which XMPP forbids. Leave them out. §4.9.3.18.
        RestrictedXml = "restricted-xml",
        /// The server wants the stream at another host, which is not kept here. Connect to that one. §4.9.3.19.
        SeeOtherHost = "see-other-host",
        /// The server is being stopped. Connect again later. §4.9.3.20.
        SystemShutdown = "system-shutdown",
        /// None of the others fits. The application-specific condition or the text says more. §4.9.3.21.
        UndefinedCondition = "undefined-condition",
        /// The stream is not in UTF-8. Send UTF-8. §4.9.3.22.
        UnsupportedEncoding = "unsupported-encoding",
        /// One side requires a feature that the other does not have. Do without it, or enable it on both. §4.9.3.23.
        UnsupportedFeature = "unsupported-feature",
        /// A first-level element is not known to the other side. Send only what was negotiated. §4.9.3.24.
        UnsupportedStanzaType = "unsupported-stanza-type",
        /// The `version` of the header is not one that is served here. Send 1.0. §4.9.3.25.
        UnsupportedVersion = "unsupported-version",
    }
}

impl Condition {
    /// The condition with this name, in the spelling of RFC 6120 or RFC 3920.
    pub fn from_name(name: &str) -> Option<Self> {
        if name == "xml-not-well-formed" {
            return Some(Self::NotWellFormed);
        }
        Self::ALL
            .iter()
            .copied()
            .find(|condition| condition.name() == name)
    }
}
