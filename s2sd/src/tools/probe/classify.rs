//! What an error of the system or of TLS means for who has to repair it.

use std::io;

use rustix::io::Errno;
use rustls::{AlertDescription, Error, PeerIncompatible};

use crate::peer_text::PeerText;

use super::findings::{ConnectFailure, Garbage, MeantFor, NoTls, Unconnected, Unsecured};
use crate::trust::alert::refuses_certificate;
use crate::trust::facts::ClientAuth;

pub(super) fn unconnected(error: &io::Error, proxy: bool) -> Unconnected {
    use io::ErrorKind as Kind;
    let said = PeerText::from(error.to_string());
    let errno = Errno::from_io_error(error);
    let why = match error.kind() {
        _ if matches!(errno, Some(Errno::MFILE | Errno::NFILE)) => ConnectFailure::Descriptors,
        _ if proxy => ConnectFailure::Proxy,
        Kind::ConnectionRefused | Kind::ConnectionReset => ConnectFailure::Refused,
        Kind::TimedOut => ConnectFailure::Silent,
        Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::NetworkDown => {
            ConnectFailure::NoRoute
        }
        Kind::AddrNotAvailable => ConnectFailure::Source,
        // `source` says so itself.
        Kind::Other if said.contains("`source`") || said.contains("from ") => {
            ConnectFailure::Source
        }
        _ => ConnectFailure::Other,
    };
    Unconnected { why, said }
}

pub(super) fn no_tls(error: &io::Error, own: ClientAuth) -> NoTls {
    let why = match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(error) => of_tls(error, own),
        None if error.kind() == io::ErrorKind::UnexpectedEof => Unsecured::Closed,
        None if error.kind() == io::ErrorKind::ConnectionReset => Unsecured::Closed,
        None => Unsecured::Other,
    };
    let said = error.to_string().into();
    NoTls { why, said }
}

fn of_tls(error: &Error, own: ClientAuth) -> Unsecured {
    use AlertDescription as Alert;
    match error {
        Error::AlertReceived(alert) => match *alert {
            Alert::ProtocolVersion => Unsecured::Version,
            Alert::CertificateRequired => Unsecured::WantsCertificate,
            // TLS 1.2 has no alert of its own for it (RFC 5246 §7.4.6).
            Alert::HandshakeFailure if own.asked && !own.shown => Unsecured::WantsCertificate,
            other if refuses_certificate(other) && own.shown => Unsecured::OurCertificate,
            other if refuses_certificate(other) && own.asked => Unsecured::WantsCertificate,
            Alert::HandshakeFailure | Alert::InsufficientSecurity => Unsecured::NothingInCommon,
            Alert::UnrecognisedName => Unsecured::Name,
            _ => Unsecured::Other,
        },
        Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled,
        ) => Unsecured::Version,
        Error::PeerIncompatible(PeerIncompatible::ExtendedMasterSecretExtensionRequired) => {
            Unsecured::NoEms
        }
        Error::PeerIncompatible(_) => Unsecured::NothingInCommon,
        Error::InvalidMessage(_) => Unsecured::NotTls,
        _ => Unsecured::Other,
    }
}

/// Whether what came is a stream header all the same.
pub(super) fn is_stream(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    text.contains("<stream:stream") && text.contains("http://etherx.jabber.org/streams")
}

/// What a stream is for, by its first bytes, if its content namespace is not that of servers.
pub(super) fn meant_for(bytes: &[u8]) -> MeantFor {
    let text = String::from_utf8_lossy(bytes);
    match () {
        () if text.contains("jabber:client") => MeantFor::Clients,
        () if text.contains("jabber:component:") => MeantFor::Components,
        () => MeantFor::Others,
    }
}

/// What the first bytes of something that is no stream of XMPP look like.
pub(super) fn garbage(bytes: &[u8]) -> Garbage {
    match bytes {
        [0x15, 3, ..] => return Garbage::Tls("a TLS alert"),
        [0x16, 3, ..] => return Garbage::Tls("a TLS handshake"),
        _ => {}
    }
    let known: [(&[u8], &str); 5] = [
        (b"HTTP/", "HTTP"),
        (b"SSH-", "SSH"),
        (b"220 ", "SMTP or FTP"),
        (b"* OK", "IMAP"),
        (b"+OK", "POP3"),
    ];
    let begins = PeerText::new(&String::from_utf8_lossy(&bytes[..bytes.len().min(40)]));
    let known = known.iter().find(|(begin, _)| bytes.starts_with(begin));
    Garbage::Other(match known {
        Some((_, name)) => format!("{name}: {begins}").into(),
        None => begins,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_protocols_are_known_by_their_first_bytes() {
        let alert = garbage(b"\x15\x03\x01\0\x02\x02F");
        assert_eq!(alert, Garbage::Tls("a TLS alert"));
        assert_eq!(
            garbage(b"SSH-2.0-OpenSSH_9.2\r\n").words(),
            "SSH: SSH-2.0-OpenSSH_9.2\\u{d}\\u{a}"
        );
        assert_eq!(garbage(b"hello").words(), "hello");
        assert_eq!(garbage(b"").words(), "");
        // Who says so is not asked for TLS.
        assert_eq!(
            garbage(b"a TLS alert"),
            Garbage::Other("a TLS alert".into())
        );
    }

    #[test]
    fn what_this_machine_lacks_is_told_from_what_the_peer_or_the_proxy_does() {
        let why = |errno: Errno, proxy| unconnected(&errno.into(), proxy).why;
        assert_eq!(why(Errno::MFILE, true), ConnectFailure::Descriptors);
        assert_eq!(why(Errno::CONNREFUSED, true), ConnectFailure::Proxy);
        assert_eq!(why(Errno::CONNREFUSED, false), ConnectFailure::Refused);
        assert_eq!(why(Errno::ADDRNOTAVAIL, false), ConnectFailure::Source);
    }

    #[test]
    fn a_handshake_fails_for_the_reason_of_its_alert() {
        let (asked, shown) = (true, true);
        let told = |alert, own| no_tls(&io::Error::other(Error::AlertReceived(alert)), own).why;
        let alert = |alert| told(alert, ClientAuth { asked, shown });
        assert_eq!(alert(AlertDescription::ProtocolVersion), Unsecured::Version);
        assert_eq!(
            alert(AlertDescription::UnknownCA),
            Unsecured::OurCertificate
        );
        assert_eq!(alert(AlertDescription::UnrecognisedName), Unsecured::Name);
        assert_eq!(alert(AlertDescription::DecodeError), Unsecured::Other);
        // Without ours it cannot be ours that is refused, and where none was asked for none is wanted.
        for (error, asked, wanted) in [
            (
                AlertDescription::UnknownCA,
                true,
                Unsecured::WantsCertificate,
            ),
            (AlertDescription::UnknownCA, false, Unsecured::Other),
            (
                AlertDescription::HandshakeFailure,
                true,
                Unsecured::WantsCertificate,
            ),
            (
                AlertDescription::HandshakeFailure,
                false,
                Unsecured::NothingInCommon,
            ),
            (
                AlertDescription::CertificateRequired,
                true,
                Unsecured::WantsCertificate,
            ),
        ] {
            let shown = false;
            assert_eq!(
                told(error, ClientAuth { asked, shown }),
                wanted,
                "{error:?}"
            );
        }
        let common = alert(AlertDescription::HandshakeFailure);
        assert_eq!(common, Unsecured::NothingInCommon);
        let own = ClientAuth::default();
        let incompatible = |why| no_tls(&io::Error::other(Error::PeerIncompatible(why)), own).why;
        let ems = PeerIncompatible::ExtendedMasterSecretExtensionRequired;
        assert_eq!(incompatible(ems), Unsecured::NoEms);
        let closed = io::Error::from(io::ErrorKind::UnexpectedEof);
        assert_eq!(no_tls(&closed, own).why, Unsecured::Closed);
    }
}
