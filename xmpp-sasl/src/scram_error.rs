//! `server-error-value` (RFC 5802 §7): what a server may say of a refusal inside the exchange.

use std::fmt;

/// A reason in `e=` (RFC 5802 §7). XMPP says `<failure/>` instead, and most servers elsewhere something of the kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ScramError {
    /// Bad base64 or UTF-8.
    InvalidEncoding,
    /// An unknown `m=`.
    ExtensionsNotSupported,
    /// Wrong password. Our servers say this to unknown names, too.
    InvalidProof,
    /// `c=` is not what the server sees of the connection: an attacker sits between.
    ChannelBindingsDontMatch,
    /// The client thinks that there is no channel binding, but it was offered: an attacker removed it.
    ServerDoesSupportChannelBinding,
    /// Channel binding with a mechanism that has none.
    ChannelBindingNotSupported,
    /// A type of channel binding that the server has no data for.
    UnsupportedChannelBindingType,
    /// The name is unknown. Our servers never say so.
    UnknownUser,
    /// Bad UTF-8 in the name, a bad escape, or SASLprep does not allow it.
    InvalidUsernameEncoding,
    /// The server has no resources left.
    NoResources,
    /// Anything else.
    OtherError,
}

impl ScramError {
    /// All reasons, in the order of RFC 5802.
    pub const ALL: [Self; 11] = [
        Self::InvalidEncoding,
        Self::ExtensionsNotSupported,
        Self::InvalidProof,
        Self::ChannelBindingsDontMatch,
        Self::ServerDoesSupportChannelBinding,
        Self::ChannelBindingNotSupported,
        Self::UnsupportedChannelBindingType,
        Self::UnknownUser,
        Self::InvalidUsernameEncoding,
        Self::NoResources,
        Self::OtherError,
    ];

    /// Its name in `e=`.
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidEncoding => "invalid-encoding",
            Self::ExtensionsNotSupported => "extensions-not-supported",
            Self::InvalidProof => "invalid-proof",
            Self::ChannelBindingsDontMatch => "channel-bindings-dont-match",
            Self::ServerDoesSupportChannelBinding => "server-does-support-channel-binding",
            Self::ChannelBindingNotSupported => "channel-binding-not-supported",
            Self::UnsupportedChannelBindingType => "unsupported-channel-binding-type",
            Self::UnknownUser => "unknown-user",
            Self::InvalidUsernameEncoding => "invalid-username-encoding",
            Self::NoResources => "no-resources",
            Self::OtherError => "other-error",
        }
    }

    /// The one with this name. "Unrecognized errors should be treated as "other-error"."
    pub fn from_name(name: &str) -> Self {
        Self::ALL
            .into_iter()
            .find(|error| error.name() == name)
            .unwrap_or(Self::OtherError)
    }
}

impl fmt::Display for ScramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_back_to_its_reason() {
        for error in ScramError::ALL {
            assert_eq!(ScramError::from_name(error.name()), error);
        }
        assert_eq!(
            ScramError::from_name("bad-hair-day"),
            ScramError::OtherError
        );
    }
}
