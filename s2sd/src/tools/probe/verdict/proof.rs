//! Authentication: what was believed, and why what was not.

use xmpp_dialback::ErrorCondition;
use xmpp_sasl::Failure;

use super::{Case, Code, Reason, Side, refusals};
use crate::closed::Unproved;
use crate::peer_text::PeerText;
use crate::tools::probe::findings::ProofOutcome;

/// It works.
pub(super) fn proved(case: Case<'_>) -> Reason {
    let method = case.attempt.proved().unwrap_or_default();
    let auth = quoted(&case.findings.rule.auth);
    let over = match &case.attempt.tls {
        Some(tls) => format!(" over {}", tls.version),
        None => " without encryption".to_owned(),
    };
    let because = format!("{} believes {} by {method}{over}", case.peer(), case.us());
    Reason::new(Code::Works, Side::Nobody, because)
        .rule(case.findings.key("auth", &auth))
        .at(&case.attempt.address)
}

/// It looks well, and no more can be said.
pub(super) fn seen(case: Case<'_>) -> Reason {
    let over = match &case.attempt.tls {
        Some(tls) => format!(" over {}", tls.version),
        None => " without encryption".to_owned(),
    };
    let peer = case.peer();
    let identity = case
        .attempt
        .tls
        .as_ref()
        .and_then(|tls| tls.identity.as_ref());
    let believed = match identity {
        Some(identity) if identity.good => " with a certificate that is accepted here",
        Some(_) => " with a certificate that is not accepted here",
        None => "",
    };
    Reason::new(
        Code::WorksAsFarAsSeen,
        Side::Nobody,
        format!("{peer} speaks XMPP{over}{believed}; nobody was there to authenticate"),
    )
    .rule(case.findings.key("auth", &quoted(&case.findings.rule.auth)))
    .change(match case.findings.own.configured {
        true => "give the domain a certificate, or start the daemon once, and probe again",
        false => "to see whether your domain is believed, probe again with its configuration (-c)",
    })
    .at(&case.attempt.address)
}

fn quoted(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    format!("[{}]", words.join(", "))
}

/// What there is to do where nothing may be used or believed but dialback.
fn or_dialback(case: Case<'_>) -> String {
    match (
        case.findings.may("dialback"),
        &case.findings.own.no_dialback,
    ) {
        (false, _) => "; or allow \"dialback\" in `auth`".to_owned(),
        (true, Some(why)) => format!("; dialback could not be tried: {why}"),
        (true, None) => String::new(),
    }
}

/// Nothing that is offered may be used.
pub(super) fn no_mechanism(case: Case<'_>, offered: &[PeerText]) -> Reason {
    let (peer, us) = (case.peer(), case.us());
    let findings = case.findings;
    let rule = findings.key("auth", &quoted(&findings.rule.auth));
    let dialback = or_dialback(case);
    let external = offered.iter().any(|name| *name == "EXTERNAL");
    let what = match offered.is_empty() {
        true => "no SASL mechanism at all".to_owned(),
        false => offered.join(", "),
    };
    // What follows is about a certificate of ours, which is shown where `auth` has it.
    let certificate = findings.own.certificate && findings.may("external");
    match &case.attempt.tls {
        None if certificate && !external => {
            return Reason::new(
                Code::NoStarttls,
                Side::Peer,
                format!(
                    "{peer} offers no encryption, without which there is no certificate to believe"
                ),
            )
            .rule(format!("{rule}; XEP-0178 §3"))
            .change(format!(
                "the operator of {peer} has to switch TLS on between servers{dialback}"
            ));
        }
        Some(tls) if certificate && !external && !tls.shown => return not_asked(case, &what),
        Some(_) if certificate && offered.is_empty() => {
            return Reason::new(
                Code::NothingOffered,
                Side::Us,
                format!(
                    "{peer} offers {what}, not even EXTERNAL: it was shown the certificate of {us} and does not believe \
                     it, or it has EXTERNAL switched off"
                ),
            )
            .rule(format!("{rule}; XEP-0178 §3"))
            .change(format!(
                "show a certificate that {peer} believes: for {us}, valid, with its full chain, from an authority that \
                 is trusted there{dialback}"
            ));
        }
        _ => {}
    }
    if external && !findings.own.certificate && findings.may("external") {
        return Reason::new(
            Code::NoCertificate,
            Side::Us,
            format!("{peer} offers EXTERNAL, and {us} has no certificate to show"),
        )
        .rule(rule)
        .change(format!("get a certificate for {us}{dialback}"));
    }
    Reason::new(
        Code::NothingInCommon,
        Side::Us,
        format!("{peer} offers {what}, and nothing of that may be used here"),
    )
    .rule(rule)
    .change(format!(
        "agree with the operator of {peer} on a method, and name it in `auth`{dialback}"
    ))
}

/// We have a certificate, and nobody there saw it.
fn not_asked(case: Case<'_>, what: &str) -> Reason {
    let (peer, us) = (case.peer(), case.us());
    let asked = match case.was_not_asked() {
        true => "did not ask for a certificate in the TLS handshake",
        false => "asked for a certificate with a key of another kind in the TLS handshake",
    };
    Reason::new(
        Code::NotAsked,
        Side::Peer,
        format!("{peer} {asked}, so it has not seen that of {us}, and offers {what}"),
    )
    .rule("XEP-0178 §3; RFC 6120 §13.7.2.2")
    .change(format!(
        "the operator of {peer} has to have the certificates of others asked for, also by a proxy that makes TLS in front \
         of the server{}",
        or_dialback(case)
    ))
}

/// What there is to do where a certificate is not believed.
pub(super) fn certified(case: Case<'_>) -> String {
    let (peer, us, own) = (case.peer(), case.us(), &case.findings.own);
    match (&own.certificate_fault, own.certificate) {
        (Some(fault), _) => format!("mend it: {fault}"),
        (None, false) => format!("get a certificate for {us}"),
        (None, true) if case.was_not_asked() => format!(
            "it did not ask for a certificate, so that of {us} was not seen: the operator of {peer} has to have it asked \
             for, or to take dialback{}",
            or_dialback(case)
        ),
        (None, true) => format!(
            "show a certificate for {us} that {peer} believes, with its full chain; the operator of {peer} can say what \
             is wrong with this one"
        ),
    }
}

/// What there is to do where something agreed on is not believed.
pub(super) fn credentials(case: Case<'_>) -> String {
    format!(
        "compare `credentials` in {} with what the operator of {} expects",
        case.findings.rule.name,
        case.peer()
    )
}

/// SASL `<failure/>`.
pub(super) fn refused(case: Case<'_>, mechanism: &str, failure: Failure) -> Reason {
    let (peer, us) = (case.peer(), case.us());
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
    let because = format!("{peer} refuses {mechanism}: {}{said}", failure.name());
    let rule = format!("RFC 6120 §6.5, {}", failure.name());
    if failure == Failure::TemporaryAuthFailure {
        return Reason::new(Code::Temporary, Side::Peer, because)
            .rule("RFC 6120 §6.5.11")
            .change("try again later; if it stays so, tell the operator of the other side");
    }
    if mechanism != "EXTERNAL" {
        return Reason::new(Code::PasswordRefused, Side::Us, because)
            .rule(rule)
            .change(after_refusal(case, mechanism, failure));
    }
    if case.attempt.tls.as_ref().is_some_and(|tls| !tls.shown) {
        let mut reason = not_asked(case, "EXTERNAL all the same");
        reason.because = format!("{because}: {}", reason.because);
        return reason;
    }
    let fault = match &case.findings.own.certificate_fault {
        Some(fault) => format!("mend it: {fault}"),
        None => format!(
            "ask the operator of {peer} why: the certificate of {us} looks well from here. Is its full chain in the \
             file, and is its authority trusted there?"
        ),
    };
    Reason::new(Code::ExternalRefused, Side::Us, because)
        .rule(format!("{rule}; XEP-0178 §3"))
        .change(format!("{fault}{}", or_dialback(case)))
}

/// What there is to do after this failure of a method that was agreed on.
fn after_refusal(case: Case<'_>, mechanism: &str, failure: Failure) -> String {
    let (peer, name) = (case.peer(), &case.findings.rule.name);
    let compare = |what: &str| {
        format!("compare `credentials` in {name} with what the operator of {peer} expects: {what}")
    };
    match failure {
        Failure::AccountDisabled => {
            format!("ask the operator of {peer} to enable the account again")
        }
        Failure::CredentialsExpired => {
            format!(
                "agree on new credentials with the operator of {peer}, and put them into {name}"
            )
        }
        Failure::InvalidAuthzid => compare("the domain in `authzid`"),
        Failure::EncryptionRequired | Failure::InvalidMechanism | Failure::MechanismTooWeak => {
            format!("agree with the operator of {peer} on another method, and name it in `auth`")
        }
        Failure::Aborted | Failure::IncorrectEncoding | Failure::MalformedRequest => format!(
            "ask the operator of {peer}; the log there may say why {mechanism} was not understood"
        ),
        Failure::NotAuthorized | Failure::TemporaryAuthFailure => compare(match mechanism {
            "GSSAPI" => "the principal, and `service`",
            "KERBEROS_V4" => "the key",
            _ => "the username, the realm, the password",
        }),
    }
}

/// The peer broke an exchange, or does not know the secret.
pub(super) fn mistrusted(case: Case<'_>, mechanism: &str, what: &str) -> Reason {
    let peer = case.peer();
    let secret = match mechanism {
        "GSSAPI" | "KERBEROS_V4" => "key",
        _ => "password",
    };
    Reason::new(
        Code::Mechanism,
        Side::Between,
        format!("{peer} does not prove to us that it knows the {secret} for {mechanism}: {what}"),
    )
    .rule(format!("`credentials` in {}", case.findings.rule.name))
    .change(format!(
        "compare the {secret} with that of the operator of {peer}; if they are the same, somebody stands between you"
    ))
}

/// Kerberos: nothing to show.
pub(super) fn no_ticket(case: Case<'_>, what: &str) -> Reason {
    Reason::new(
        Code::Kerberos,
        Side::Us,
        format!(
            "there is no Kerberos ticket for the server of {}: {what}",
            case.peer()
        ),
    )
    .rule(format!("`credentials` in {}", case.findings.rule.name))
    .change("see whether the KDC answers, and knows both our principal and the other server's")
}

/// Whoever answers for us does not know our key.
pub(super) fn invalid(case: Case<'_>) -> Reason {
    let (peer, us) = (case.peer(), case.us());
    let found = match case.findings.own.found_at.as_slice() {
        [] => String::new(),
        places => format!(" ({})", places.join(", ")),
    };
    Reason::new(
        Code::DialbackInvalid,
        Side::Us,
        format!("{peer} asked the server where the DNS leads for {us}{found}, and that one does not know our key"),
    )
    .rule("XEP-0220 §2.2.2")
    .change(format!(
        "have the daemon with this configuration and its `secret` in [dialback] run where the DNS leads for {us}, \
         and no other server"
    ))
}

/// Dialback came to no verdict.
pub(super) fn dialback(case: Case<'_>, unproved: &Unproved) -> Reason {
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
        None => Reason::new(
            Code::Dialback,
            Side::Peer,
            format!("dialback with {} failed: {unproved}", case.peer()),
        )
        .rule("XEP-0220 §2.5")
        .change(format!("ask the operator of {}", case.peer())),
    }
}

fn dialback_error(case: Case<'_>, condition: ErrorCondition, said: Option<&PeerText>) -> Reason {
    let (peer, us) = (case.peer(), case.us());
    let said = said.map_or_else(String::new, |said| format!(" ({said})"));
    let said = format!("{}{said}", condition.name());
    let asked = |code: Code, because: String, change: String| {
        Reason::new(code, Side::Us, because)
            .rule("XEP-0220 §2.5")
            .change(change)
    };
    match condition {
        ErrorCondition::RemoteServerNotFound => asked(
            Code::DialbackNotFound,
            format!("{peer} does not find {us} in the DNS: {said}"),
            format!("publish _xmpp-server._tcp.{us} (SRV), and see that the name has an address everywhere"),
        ),
        ErrorCondition::RemoteConnectionFailed => asked(
            Code::DialbackNoWayBack,
            format!("{peer} cannot connect to the server of {us}: {said}"),
            way_back(us),
        ),
        ErrorCondition::RemoteServerTimeout => asked(
            Code::DialbackNoWayBack,
            format!("{peer} got no answer from the server of {us}: {said}"),
            way_back(us),
        ),
        ErrorCondition::ItemNotFound => Reason::new(
            Code::HostUnknown,
            Side::Peer,
            format!("the server there does not serve {peer}: {said}"),
        )
        .rule("XEP-0220 §2.5")
        .change(format!(
            "the operator of {peer} has to serve the domain there, or to correct the SRV records"
        )),
        ErrorCondition::PolicyViolation | ErrorCondition::NotAuthorized => Reason::new(
            Code::DialbackUnwanted,
            Side::Peer,
            format!("{peer} does not take dialback from {us}: {said}"),
        )
        .rule("XEP-0220 §2.5")
        .change(match (condition, &case.attempt.tls) {
            // XEP-0220 §2.5: it wants TLS first.
            (ErrorCondition::PolicyViolation, None) => format!(
                "use TLS with {peer}: the operator there has to offer it, and `tls` here to be \"optional\" or \"required\""
            ),
            _ => format!(
                "show {peer} a certificate for {us} that it believes, or ask its operator to take dialback"
            ),
        }),
        ErrorCondition::Forbidden | ErrorCondition::NotAcceptable => {
            let mut reason = invalid(case);
            reason.because = format!("{} ({said})", reason.because);
            reason
        }
        ErrorCondition::ResourceConstraint | ErrorCondition::Undefined => Reason::new(
            Code::Dialback,
            Side::Peer,
            format!("dialback with {peer} failed: {said}"),
        )
        .rule("XEP-0220 §2.5")
        .change(format!("try again later; if it stays so, ask the operator of {peer}")),
    }
}

/// What has to be so that others can connect to us.
pub(super) fn way_back(us: &str) -> String {
    format!(
        "see that the daemon for {us} runs, that the SRV records lead to it, and that its firewall lets others in \
         (5269, 5270)"
    )
}

/// Dialback failed where something else was believed: what we say arrives, and the answers may not. That the peer wants
/// a certificate instead is its right.
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
            let mut reason = refused(case, method, *failure);
            reason.because += &format!(
                "; {} did instead",
                case.attempt.proved().unwrap_or("nothing")
            );
            Some(reason.at(&case.attempt.address))
        }
        _ => None,
    })
}
