//! Authentication: the method that proved us, and why others did not.

use xmpp_dialback::ErrorCondition;
use xmpp_sasl::Failure;

use super::{Case, Code, Reason, Side, fill::Draft, refusals};
use crate::closed::Unproved;
use crate::peer_text::PeerText;
use crate::tools::probe::findings::ProofOutcome;

fn over(case: Case<'_>) -> String {
    match &case.attempt.tls {
        Some(tls) => format!(" over {}", tls.version),
        None => " without encryption".to_owned(),
    }
}

/// It works.
pub(super) fn proved(case: Case<'_>) -> Reason {
    let method = case.attempt.proved().unwrap_or_default();
    let draft = case.draft(Code::Works).with("method", method);
    draft
        .with("over", over(case))
        .done()
        .at(&case.attempt.address)
}

/// It looks well, and no more can be said.
pub(super) fn seen(case: Case<'_>) -> Reason {
    let tls = case.attempt.tls.as_ref();
    let certificate = match tls.and_then(|tls| tls.identity.as_ref()) {
        Some(identity) if identity.good => " with a certificate that is accepted here",
        Some(_) => " with a certificate that is not accepted here",
        None => "",
    };
    let draft = case.draft(Code::WorksAsFarAsSeen).with("over", over(case));
    let draft = draft.with("certificate", certificate);
    match case.findings.own.configured {
        true => draft,
        false => draft.change(
            "to see whether your domain is believed, probe again with its configuration (-c)",
        ),
    }
    .done()
    .at(&case.attempt.address)
}

/// No method in the offer may be used.
pub(super) fn no_mechanism<'a>(case: Case<'a>, offered: &[PeerText]) -> Draft<'a> {
    let findings = case.findings;
    let external = offered.iter().any(|name| *name == "EXTERNAL");
    let what = match offered.is_empty() {
        true => "no SASL mechanism at all".to_owned(),
        false => offered.join(", "),
    };
    // What follows is about a certificate of ours, which is shown where `auth` has it.
    let certificate = findings.own.certificate && findings.may("external");
    let no_certificate = external && !findings.own.certificate && findings.may("external");
    match &case.attempt.tls {
        None if certificate && !external => case
            .draft(Code::NoStarttls)
            .because(
                "{peer} offers no encryption, without which there is no certificate to believe",
            )
            .rule("{key auth}; XEP-0178 §3")
            .change("{operator} has to switch TLS on between servers{or dialback}"),
        Some(tls) if certificate && !external && !tls.shown => not_asked(case, &what),
        Some(_) if certificate && offered.is_empty() => case.draft(Code::NothingOffered),
        _ if no_certificate => case.draft(Code::NoCertificate),
        _ => case.draft(Code::NothingInCommon),
    }
    .with("offered", what)
}

/// We have a certificate, and the peer did not see it.
fn not_asked<'a>(case: Case<'a>, offered: &str) -> Draft<'a> {
    let asked = match case.was_not_asked() {
        true => "did not ask for a certificate in the TLS handshake",
        false => "asked for a certificate with a key of another kind in the TLS handshake",
    };
    case.draft(Code::NotAsked)
        .with("asked", asked)
        .with("offered", offered)
}

/// What there is to do where a certificate is not believed.
pub(super) fn certified<'a>(case: Case<'a>, draft: Draft<'a>) -> Draft<'a> {
    let own = &case.findings.own;
    match (&own.certificate_fault, own.certificate) {
        (Some(fault), _) => draft.change("mend it: {fault}").with("fault", fault),
        (None, false) => draft.change("get a certificate for {us}"),
        (None, true) if case.was_not_asked() => draft.change(
            "it did not ask for a certificate, so that of {us} was not seen: {operator} has to have it asked for, or \
             to take dialback{or dialback}",
        ),
        (None, true) => draft,
    }
}

/// SASL `<failure/>`.
pub(super) fn refused<'a>(case: Case<'a>, mechanism: &str, failure: Failure) -> Draft<'a> {
    let said = case
        .attempt
        .proofs
        .iter()
        .rev()
        .find_map(|proof| match &proof.outcome {
            ProofOutcome::Refused(_, Some(text)) if proof.method == mechanism => {
                Some(text.as_str())
            }
            _ => None,
        });
    let said = said.map_or_else(String::new, |text| format!(" ({text})"));
    let not_shown = case.attempt.tls.as_ref().is_some_and(|tls| !tls.shown);
    let draft = match mechanism {
        _ if failure == Failure::TemporaryAuthFailure => case.draft(Code::Temporary),
        "EXTERNAL" if not_shown => not_asked(case, "EXTERNAL all the same")
            .because("{peer} refuses {said}: {peer} {asked}, so it has not seen that of {us}, and offers {offered}"),
        "EXTERNAL" => {
            let draft = case.draft(Code::ExternalRefused);
            match &case.findings.own.certificate_fault {
                Some(fault) => draft.change("mend it: {fault}{or dialback}").with("fault", fault),
                None => draft,
            }
        }
        _ => after_refusal(case.draft(Code::PasswordRefused), mechanism, failure),
    };
    draft
        .said(format!("{mechanism}: {}{said}", failure.name()))
        .with("condition", format!("RFC 6120 §6.5, {}", failure.name()))
}

/// What there is to do after this failure of a method that was agreed on.
fn after_refusal<'a>(draft: Draft<'a>, mechanism: &str, failure: Failure) -> Draft<'a> {
    match failure {
        Failure::AccountDisabled => draft.change("ask {operator} to enable the account again"),
        Failure::CredentialsExpired => {
            draft.change("agree on new credentials with {operator}, and put them into {policy}")
        }
        Failure::InvalidAuthzid => draft.with("what", ": the domain in `authzid`"),
        Failure::EncryptionRequired | Failure::InvalidMechanism | Failure::MechanismTooWeak => {
            draft.change("agree with {operator} on another method, and name it in `auth`")
        }
        Failure::Aborted | Failure::IncorrectEncoding | Failure::MalformedRequest => draft
            .change("ask {operator}; the log there may say why {mechanism} was not understood")
            .with("mechanism", mechanism),
        Failure::NotAuthorized | Failure::TemporaryAuthFailure => {
            let what = match mechanism {
                "GSSAPI" => ": the principal, and `service`",
                "KERBEROS_V4" => ": the key",
                _ => ": the username, the realm, the password",
            };
            draft.with("what", what)
        }
    }
}

/// The peer broke an exchange, or does not know the secret.
pub(super) fn mistrusted<'a>(case: Case<'a>, mechanism: &str, what: &str) -> Draft<'a> {
    let secret = match mechanism {
        "GSSAPI" | "KERBEROS_V4" => "key",
        _ => "password",
    };
    let draft = case.draft(Code::Mechanism).with("secret", secret);
    draft.said(format!("{mechanism}: {what}"))
}

/// Our authoritative server does not know our key.
pub(super) fn invalid(case: Case<'_>) -> Draft<'_> {
    let draft = case.draft(Code::DialbackInvalid);
    match case.findings.own.found_at.as_slice() {
        [] => draft,
        places => draft.with("found", format!(" ({})", places.join(", "))),
    }
}

/// Dialback came to no verdict.
pub(super) fn dialback<'a>(case: Case<'a>, unproved: &Unproved) -> Draft<'a> {
    let error = case
        .attempt
        .proofs
        .iter()
        .rev()
        .find_map(|proof| match &proof.outcome {
            ProofOutcome::Error(condition, said) => Some((*condition, said.as_ref())),
            _ => None,
        });
    match error {
        Some((condition, said)) => dialback_error(case, condition, said),
        None => case
            .draft(Code::Dialback)
            .said(unproved)
            .change("ask {operator}"),
    }
}

fn dialback_error<'a>(
    case: Case<'a>,
    condition: ErrorCondition,
    said: Option<&PeerText>,
) -> Draft<'a> {
    let said = said.map_or_else(String::new, |said| format!(" ({said})"));
    let said = format!("{}{said}", condition.name());
    match condition {
        ErrorCondition::RemoteServerNotFound => case.draft(Code::DialbackNotFound),
        ErrorCondition::RemoteConnectionFailed => case.draft(Code::DialbackNoWayBack),
        ErrorCondition::RemoteServerTimeout => case
            .draft(Code::DialbackNoWayBack)
            .because("{peer} got no answer from the server of {us}: {said}"),
        ErrorCondition::ItemNotFound => case.draft(Code::HostUnknown),
        // XEP-0220 §2.5: it wants TLS first.
        ErrorCondition::PolicyViolation if case.attempt.tls.is_none() => {
            case.draft(Code::DialbackUnwanted).change(
                "use TLS with {peer}: the operator there has to offer it, and `tls` here to be \"optional\" or \
                 \"required\"",
            )
        }
        ErrorCondition::PolicyViolation | ErrorCondition::NotAuthorized => {
            case.draft(Code::DialbackUnwanted)
        }
        ErrorCondition::Forbidden | ErrorCondition::NotAcceptable => {
            return invalid(case).said(format!(" ({said})"));
        }
        ErrorCondition::ResourceConstraint | ErrorCondition::Undefined => {
            case.draft(Code::Dialback)
        }
    }
    .said(said)
    .with("condition", "XEP-0220 §2.5")
}

/// Dialback failed, and another method proved us: our stanzas arrive, and the answers may not. The peer may want a
/// certificate instead.
pub(super) fn not_found_by(case: Case<'_>) -> Option<Reason> {
    let tried = case.attempt.proofs.last()?;
    let mut reason = super::fault(case)?;
    if tried.method != "dialback" || reason.side != Side::Us {
        return None;
    }
    let attempts = &mut case.findings.attempts();
    let method = attempts.find_map(|(_, attempt)| attempt.proved());
    reason.because = format!(
        "{} is enough, but dialback fails, so answers may not come back: {}",
        method.unwrap_or("the certificate"),
        reason.because
    );
    Some(reason)
}

/// Something stronger was refused before something else was believed.
pub(super) fn refused_before(case: Case<'_>) -> Option<Reason> {
    refusals(case.attempt).find_map(|(method, outcome)| match outcome {
        ProofOutcome::Refused(failure, _) => {
            let mut reason = refused(case, method, *failure).done();
            let instead = case.attempt.proved().unwrap_or("nothing");
            reason.because += &format!("; {instead} did instead");
            Some(reason.at(&case.attempt.address))
        }
        _ => None,
    })
}
