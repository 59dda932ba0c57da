//! Why a handshake failed: what a peer says of our certificate by an alert (RFC 8446 §6.2), and what our key is against.
//!
//! Over TLS 1.2 it ends the handshake; over TLS 1.3 the initiating side has finished by then, and the alert stands where
//! the stream should begin.

use std::io;

use rustls::{AlertDescription as Alert, Error, PeerIncompatible};

/// Whether the peer broke off because it does not accept our certificate.
pub(crate) fn refuses_certificate(alert: Alert) -> bool {
    matches!(
        alert,
        Alert::NoCertificate
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
    )
}

/// The same for an error of the connection.
pub(crate) fn is_about_certificate(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    matches!(inner, Some(Error::AlertReceived(alert)) if refuses_certificate(*alert))
}

/// An error of a handshake, with our rule where the library's own words do not lead to it.
pub(crate) fn in_words(error: &io::Error) -> String {
    const NO_EMS: Error =
        Error::PeerIncompatible(PeerIncompatible::ExtendedMasterSecretExtensionRequired);
    let inner: Option<&Error> = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(error) if *error == NO_EMS => {
            "its TLS 1.2 has no extended master secret (RFC 7627), and `require_ems` is true"
                .to_owned()
        }
        _ => error.to_string(),
    }
}
