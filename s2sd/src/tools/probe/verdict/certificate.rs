//! What a certificate is not good for, and which side has to mend it.

use super::{Case, Code, EXPIRY_WARNING_DAYS, Reason, fill::Draft};
use crate::tools::probe::findings::Findings;
use crate::trust::bad_certificate::{BadCertificate, Whose};

pub(super) fn bad(case: Case<'_>, text: &str) -> Reason {
    let tls = case.attempt.tls.as_ref();
    let identity = tls.and_then(|tls| tls.identity.as_ref());
    let draft = match identity.and_then(|identity| identity.bad.as_ref()) {
        Some(bad) => of(case, bad),
        None => case
            .draft(Code::Certificate)
            .change("{operator} has to have the server show a certificate for {peer}"),
    };
    draft.said(text).done()
}

fn of<'a>(case: Case<'a>, bad: &BadCertificate) -> Draft<'a> {
    let code = match bad {
        BadCertificate::Expired { .. } => Code::CertificateExpired,
        BadCertificate::NotYetValid { .. } => Code::CertificateNotYetValid,
        BadCertificate::UnknownIssuer { .. } => Code::CertificateUnknownIssuer,
        BadCertificate::SelfSigned => Code::CertificateSelfSigned,
        BadCertificate::WrongName { .. } => Code::CertificateWrongName,
        BadCertificate::NorPosh { pkix, .. } => {
            return of(case, pkix).also("; or to publish its fingerprint by POSH (RFC 7711)");
        }
        BadCertificate::NotInTlsa { .. } => Code::CertificateNotInTlsa,
        BadCertificate::NoTlsa => Code::CertificateNoTlsa,
        BadCertificate::Untold(_) => Code::CertificateUntold,
        BadCertificate::WrongPurpose => Code::CertificateWrongPurpose,
        BadCertificate::Revoked => Code::CertificateRevoked,
        BadCertificate::TooMany { .. }
        | BadCertificate::TooLarge { .. }
        | BadCertificate::Tangled
        | BadCertificate::Malformed
        | BadCertificate::Authority
        | BadCertificate::ListOfAnother
        | BadCertificate::Signature
        | BadCertificate::SignedByServer
        | BadCertificate::NameConstraints
        | BadCertificate::TooDeep
        | BadCertificate::Algorithm
        | BadCertificate::Version
        | BadCertificate::CriticalExtension
        | BadCertificate::Other(_) => Code::Certificate,
    };
    let draft = case.draft(code);
    match bad {
        BadCertificate::Expired { whose: Whose::Issuer, .. } => draft.change(
            "{operator} has to install the present certificates of the authority beside its own",
        ),
        BadCertificate::UnknownIssuer { sent: 1, .. } => draft.change(
            "only one certificate was shown, so most likely the intermediate one is missing: {operator} has to \
             install the full chain; or, if you have reason to believe it, have {exception} `trust` with the \
             authority's certificate",
        ),
        BadCertificate::NotInTlsa { at } => draft.with("records", format!(" at {at}")),
        BadCertificate::TooMany { .. }
        | BadCertificate::TooLarge { .. }
        | BadCertificate::Tangled => draft.change(
            "{operator} has to install its certificate and those that lead from it to its root, each once and \
             nothing else",
        ),
        _ => draft,
    }
}

/// Another method proved the peer, or none was to: the certificate is bad all the same.
pub(super) fn unbelieved(case: Case<'_>) -> Option<Reason> {
    let identity = case.attempt.tls.as_ref()?.identity.as_ref()?;
    (!identity.good).then(|| bad(case, &identity.because).at(&case.attempt.address))
}

/// The certificate is good, but not for long.
pub(super) fn soon(case: Case<'_>) -> Option<Reason> {
    let tls = case.attempt.tls.as_ref()?;
    let left = tls.chain.first()?.days_left;
    let good = tls.identity.as_ref().is_some_and(|identity| identity.good);
    let soon = good && left < EXPIRY_WARNING_DAYS;
    soon.then(|| {
        case.draft(Code::CertificateRunsOut)
            .with("days", left)
            .done()
    })
}

/// What others will hold against ours.
pub(super) fn own(findings: &Findings, fault: &str) -> Reason {
    findings.draft(Code::OurCertificate).said(fault).done()
}
