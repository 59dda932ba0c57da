//! Why the asking side said no: the conditions of RFC 6120 §6.5.

use std::fmt;

/// A SASL failure condition (RFC 6120 §6.5). RFC 3920 §6.4 has seven of them, spelled the same.
///
/// Also what a mechanism itself answers where there is no XMPP: map it to the words of your protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The initiating entity gave up (§6.5.1). Mechanisms never say it; the driver does, to an `<abort/>`.
    Aborted,
    /// The account is disabled (§6.5.2).
    AccountDisabled,
    /// The credentials have expired (§6.5.3).
    CredentialsExpired,
    /// The mechanism needs TLS first (§6.5.4).
    EncryptionRequired,
    /// Bad base64 (§6.5.5).
    IncorrectEncoding,
    /// The authorization identity is malformed or not the peer's to assume (§6.5.6).
    InvalidAuthzid,
    /// No mechanism named, or one that was not offered (§6.5.7).
    InvalidMechanism,
    /// The data break the syntax of the mechanism (§6.5.8).
    MalformedRequest,
    /// The mechanism is weaker than policy permits (§6.5.9).
    MechanismTooWeak,
    /// Wrong credentials, unknown name, or anything else that is not the peer's to know (§6.5.10).
    NotAuthorized,
    /// Our own trouble; trying later may help (§6.5.11).
    TemporaryAuthFailure,
}

impl Failure {
    /// All conditions, in the order of RFC 6120.
    pub const ALL: [Self; 11] = [
        Self::Aborted,
        Self::AccountDisabled,
        Self::CredentialsExpired,
        Self::EncryptionRequired,
        Self::IncorrectEncoding,
        Self::InvalidAuthzid,
        Self::InvalidMechanism,
        Self::MalformedRequest,
        Self::MechanismTooWeak,
        Self::NotAuthorized,
        Self::TemporaryAuthFailure,
    ];

    /// The name of its element.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aborted => "aborted",
            Self::AccountDisabled => "account-disabled",
            Self::CredentialsExpired => "credentials-expired",
            Self::EncryptionRequired => "encryption-required",
            Self::IncorrectEncoding => "incorrect-encoding",
            Self::InvalidAuthzid => "invalid-authzid",
            Self::InvalidMechanism => "invalid-mechanism",
            Self::MalformedRequest => "malformed-request",
            Self::MechanismTooWeak => "mechanism-too-weak",
            Self::NotAuthorized => "not-authorized",
            Self::TemporaryAuthFailure => "temporary-auth-failure",
        }
    }

    /// The condition with this element name. RFC 6120 §6.5: treat an unknown one as [`Failure::NotAuthorized`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|failure| failure.name() == name)
    }

    /// Whether the asking side ends the stream after this, as RFC 3920 §6.6 prints it.
    ///
    /// The others leave it open, for another try (RFC 6120 §6.4.5) or for another way to prove the same.
    pub fn closes_stream(self) -> bool {
        match self {
            // A peer that breaks the syntax, wants another identity or gives up will not do better the next time.
            Self::Aborted
            | Self::IncorrectEncoding
            | Self::InvalidAuthzid
            | Self::MalformedRequest => true,
            Self::AccountDisabled
            | Self::CredentialsExpired
            | Self::EncryptionRequired
            | Self::InvalidMechanism
            | Self::MechanismTooWeak
            | Self::NotAuthorized
            | Self::TemporaryAuthFailure => false,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_back_to_its_condition() {
        for failure in Failure::ALL {
            assert_eq!(Failure::from_name(failure.name()), Some(failure));
        }
        assert_eq!(Failure::from_name("bad-hair-day"), None);
        assert_eq!(Failure::from_name("Aborted"), None);
    }

    #[test]
    fn the_names_of_rfc_3920_are_understood() {
        for name in [
            "aborted",
            "incorrect-encoding",
            "invalid-authzid",
            "invalid-mechanism",
            "mechanism-too-weak",
            "not-authorized",
            "temporary-auth-failure",
        ] {
            assert!(Failure::from_name(name).is_some(), "{name}");
        }
    }

    #[test]
    fn four_conditions_close_the_stream() {
        let closing: Vec<_> = Failure::ALL
            .into_iter()
            .filter(|failure| failure.closes_stream())
            .collect();
        use Failure::*;
        assert_eq!(
            closing,
            [Aborted, IncorrectEncoding, InvalidAuthzid, MalformedRequest]
        );
    }
}
