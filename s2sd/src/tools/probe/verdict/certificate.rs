//! What a certificate is not good for, and whose it is to mend that.

use super::{Case, Code, EXPIRY_WARNING_DAYS, Reason, Side};
use crate::tools::probe::findings::Findings;
use crate::trust::bad_certificate::{BadCertificate, Whose};

pub(super) fn bad(case: Case<'_>, text: &str) -> Reason {
    let peer = case.peer();
    let identity = case
        .attempt
        .tls
        .as_ref()
        .and_then(|tls| tls.identity.as_ref());
    let bad = identity.and_then(|identity| identity.bad.as_ref());
    let (code, change) = match bad {
        Some(bad) => of(case, bad),
        None => (
            Code::Certificate,
            format!("the operator of {peer} has to have the server show a certificate for {peer}"),
        ),
    };
    Reason::new(
        code,
        Side::Peer,
        format!("the certificate of {peer}'s server does not prove {peer}: {text}"),
    )
    .rule(format!(
        "{}; {}",
        case.findings
            .key("verify", &format!("\"{}\"", case.findings.rule.verify)),
        match bad {
            Some(
                BadCertificate::NotInTlsa { .. }
                | BadCertificate::NoTlsa
                | BadCertificate::Untold(_),
            ) =>
                case.findings
                    .key("dane", &format!("\"{}\"", case.findings.rule.dane))
                    + "; RFC 7673 §4.2",
            _ => "RFC 6120 §13.7.2".to_owned(),
        }
    ))
    .change(change)
}

fn of(case: Case<'_>, bad: &BadCertificate) -> (Code, String) {
    let peer = case.peer();
    let operator = format!("the operator of {peer}");
    let believe = |line: &str| {
        format!(
            "or, if you have reason to believe it, have {}",
            case.findings.exception(line)
        )
    };
    match bad {
        BadCertificate::Expired {
            whose: Whose::Own, ..
        } => (
            Code::CertificateExpired,
            format!("{operator} has to renew the certificate, and to have the server take it"),
        ),
        BadCertificate::Expired {
            whose: Whose::Issuer,
            ..
        } => (
            Code::CertificateExpired,
            format!(
                "{operator} has to install the present certificates of the authority beside its own"
            ),
        ),
        BadCertificate::NotYetValid { .. } => (
            Code::CertificateNotYetValid,
            format!(
                "{operator} has to use a certificate that is valid already; is the clock of this machine right?"
            ),
        ),
        BadCertificate::UnknownIssuer { sent: 1, .. } => (
            Code::CertificateUnknownIssuer,
            format!(
                "only one certificate was shown, so most likely the intermediate one is missing: {operator} has to \
                 install the full chain; {}",
                believe("`trust` with the authority's certificate")
            ),
        ),
        BadCertificate::UnknownIssuer { .. } => (
            Code::CertificateUnknownIssuer,
            format!(
                "{operator} has to use an authority that others know; {}",
                believe("`trust` with the authority's certificate")
            ),
        ),
        BadCertificate::SelfSigned => (
            Code::CertificateSelfSigned,
            format!(
                "{operator} has to get a certificate from an authority; {}",
                believe(&format!(
                    "`trust` with this certificate{}",
                    by_dialback(case)
                ))
            ),
        ),
        BadCertificate::WrongName { .. } => (
            Code::CertificateWrongName,
            format!(
                "{operator} has to use a certificate with the name {peer}; that of the machine does not count, nor \
                 does the common name{}",
                many(case)
            ),
        ),
        BadCertificate::NorPosh { pkix, .. } => {
            let (name, change) = of(case, pkix);
            let posh = "; or to publish its fingerprint by POSH (RFC 7711)";
            (name, change + posh)
        }
        BadCertificate::NotInTlsa { at } => (
            Code::CertificateNotInTlsa,
            format!(
                "{operator} has to publish this certificate at {at} (TLSA), or to show the one that is published; a new \
                 certificate needs its record before it is used (RFC 7671 §8.4)"
            ),
        ),
        BadCertificate::NoTlsa => (
            Code::CertificateNoTlsa,
            format!(
                "{operator} has to sign the zone and to publish TLSA records; or be content with an authority: have {}",
                case.findings.exception("dane = \"use\"")
            ),
        ),
        BadCertificate::Untold(_) => (
            Code::CertificateUntold,
            format!(
                "{operator} has to see that the name servers answer for TLSA records, and that the zone is signed well"
            ),
        ),
        BadCertificate::WrongPurpose => (
            Code::CertificateWrongPurpose,
            format!("{operator} has to get a certificate for servers"),
        ),
        BadCertificate::Revoked => (
            Code::CertificateRevoked,
            format!("{operator} has to get a new certificate, with a new key"),
        ),
        BadCertificate::TooMany { .. }
        | BadCertificate::TooLarge { .. }
        | BadCertificate::Tangled => (
            Code::Certificate,
            format!(
                "{operator} has to install its certificate and those that lead from it to its root, each once and \
                 nothing else"
            ),
        ),
        BadCertificate::Malformed
        | BadCertificate::Authority
        | BadCertificate::ListOfAnother
        | BadCertificate::Signature
        | BadCertificate::SignedByServer
        | BadCertificate::NameConstraints
        | BadCertificate::TooDeep
        | BadCertificate::Algorithm
        | BadCertificate::Version
        | BadCertificate::CriticalExtension
        | BadCertificate::Other(_) => (
            Code::Certificate,
            format!("{operator} has to get another certificate"),
        ),
    }
}

/// Where a certificate that is not good does not have to end it.
fn by_dialback(case: Case<'_>) -> &'static str {
    match (case.findings.rule.verify, case.findings.may("dialback")) {
        ("dialback", _) => "",
        (_, true) => ", or `verify = \"dialback\"`",
        (_, false) => ", or `verify = \"dialback\"` and \"dialback\" in `auth`",
    }
}

/// A server for many domains shows the one of another where it does not know the name.
fn many(case: Case<'_>) -> String {
    format!(
        "; if the server has one, it shows it only where it knows {} by the name in the handshake (SNI)",
        case.peer()
    )
}

/// Something else was believed, or nothing was to be: it is bad all the same.
pub(super) fn unbelieved(case: Case<'_>) -> Option<Reason> {
    let identity = case.attempt.tls.as_ref()?.identity.as_ref()?;
    (!identity.good).then(|| bad(case, &identity.because).at(&case.attempt.address))
}

/// The certificate is good, but not for long.
pub(super) fn soon(case: Case<'_>) -> Option<Reason> {
    let tls = case.attempt.tls.as_ref()?;
    let left = tls.chain.first()?.days_left;
    let good = tls.identity.as_ref().is_some_and(|identity| identity.good);
    let peer = case.peer();
    (good && left < EXPIRY_WARNING_DAYS).then(|| {
        Reason::new(
            Code::CertificateRunsOut,
            Side::Peer,
            format!("the certificate of {peer}'s server is good for {left} more days"),
        )
        .rule("RFC 6120 §13.7.2")
        .change(format!("the operator of {peer} has to renew it in time"))
    })
}

/// What others will hold against ours.
pub(super) fn own(findings: &Findings, fault: &str) -> Reason {
    Reason::new(Code::OurCertificate, Side::Us, fault)
        .rule("RFC 6120 §13.7.2")
        .change(format!("get a certificate for {}", findings.us()))
}
