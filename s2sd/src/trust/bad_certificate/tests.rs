//! What is wrong with a certificate, in words.

use std::time::Duration;

use super::*;

/// The operator of the other server is told of "your" certificate; everybody else is not.
#[test]
fn what_is_wrong_can_be_said_to_others() {
    let day = || Day::of(UnixTime::since_unix_epoch(Duration::from_secs(0)));
    for (bad, want) in [
        (
            BadCertificate::Expired {
                whose: Whose::Own,
                on: day(),
            },
            "its certificate expired on 1970-01-01",
        ),
        (
            BadCertificate::NotYetValid {
                whose: Whose::Issuer,
                from: day(),
            },
            "a certificate in the chain above its own is not valid before 1970-01-01",
        ),
        (
            BadCertificate::UnknownIssuer {
                issuer: "your CA".into(),
                sent: 1,
            },
            "no authority trusted here signed its certificate (its issuer is \"your CA\"): either that authority is \
             not trusted, or an intermediate certificate is missing from the 1 it sent",
        ),
        (
            BadCertificate::WrongName {
                domain: "a.example".into(),
                found: vec!["dNSName your.example".into()],
                more: 0,
            },
            "its certificate is not for a.example: it has dNSName your.example",
        ),
        (BadCertificate::SelfSigned, "its certificate is self-signed"),
        (
            BadCertificate::Revoked,
            "its certificate, or one in the chain above it, has been revoked by its issuer",
        ),
    ] {
        assert_eq!(bad.of_it().to_string(), want);
    }
}

/// Names are a stranger's words, and may be any: each text is made from them and from nothing that was said before.
#[test]
fn whatever_is_wrong_speaks_to_the_operator_or_of_the_server_and_never_both() {
    let day = || Day::of(UnixTime::since_unix_epoch(Duration::ZERO));
    let said = || PeerText::from("words");
    for bad in [
        BadCertificate::Expired {
            whose: Whose::Own,
            on: day(),
        },
        BadCertificate::NotYetValid {
            whose: Whose::Issuer,
            from: day(),
        },
        BadCertificate::UnknownIssuer {
            issuer: said(),
            sent: 2,
        },
        BadCertificate::SelfSigned,
        BadCertificate::WrongName {
            domain: said(),
            found: vec![said()],
            more: 1,
        },
        BadCertificate::WrongPurpose,
        BadCertificate::Revoked,
        BadCertificate::NotInTlsa { at: said() },
        BadCertificate::NoTlsa,
        BadCertificate::Untold(said()),
        BadCertificate::NorPosh {
            pkix: Box::new(BadCertificate::SelfSigned),
            posh: said(),
            read: true,
        },
        BadCertificate::TooMany { sent: 9 },
        BadCertificate::TooLarge { bytes: 1 << 20 },
        BadCertificate::Tangled,
        BadCertificate::Malformed,
        BadCertificate::Authority,
        BadCertificate::ListOfAnother,
        BadCertificate::Signature,
        BadCertificate::SignedByServer,
        BadCertificate::NameConstraints,
        BadCertificate::TooDeep,
        BadCertificate::Algorithm,
        BadCertificate::Version,
        BadCertificate::CriticalExtension,
        BadCertificate::Other(said()),
    ] {
        let (to, of) = (bad.to_it().to_string(), bad.of_it().to_string());
        assert!(
            to.contains("your") && !to.contains("its certificate"),
            "{to}"
        );
        assert!(!of.contains("you"), "{of}");
    }
    let untold = BadCertificate::Untold(said());
    assert!(!untold.to_it().to_string().contains("words"));
    assert!(untold.of_it().to_string().ends_with(": words"));
}
