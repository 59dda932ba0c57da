//! Authentication: what was believed, and why what was not.

use xmpp_dialback::ErrorCondition;
use xmpp_sasl::Failure;

use super::{Case, Code, Reason, Side, refusals};
use crate::peer_text::PeerText;
use crate::probe::findings::Outcome;

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

/// Nothing that is offered may be used.
pub(super) fn no_mechanism(case: Case<'_>, offered: &[PeerText]) -> Reason {
    let (peer, us) = (case.peer(), case.us());
    let findings = case.findings;
    let rule = findings.key("auth", &quoted(&findings.rule.auth));
    let dialback = match findings.rule.auth.contains(&"dialback") {
        true => "",
        false => "; or allow \"dialback\" in `auth`",
    };
    let external = offered.iter().any(|name| *name == "EXTERNAL");
    if offered.is_empty() && findings.own.certificate {
        return Reason::new(
            Code::NothingOffered,
            Side::Us,
            format!("{peer} offers no SASL mechanism at all, not even EXTERNAL: it does not believe the certificate of {us}"),
        )
        .rule(format!("{rule}; XEP-0178 §3"))
        .change(format!(
            "show a certificate that {peer} believes: for {us}, valid, with its full chain, from an authority that is \
             trusted there{dialback}"
        ));
    }
    if external && !findings.own.certificate {
        return Reason::new(
            Code::NoCertificate,
            Side::Us,
            format!("{peer} offers EXTERNAL, and {us} has no certificate to show"),
        )
        .rule(rule)
        .change(format!("get a certificate for {us}{dialback}"));
    }
    let what = match offered.is_empty() {
        true => "no SASL mechanism at all".to_owned(),
        false => offered.join(", "),
    };
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

/// SASL `<failure/>`.
pub(super) fn refused(case: Case<'_>, mechanism: &str, failure: Failure) -> Reason {
    let (peer, us) = (case.peer(), case.us());
    let said = case
        .attempt
        .proofs
        .iter()
        .rev()
        .find_map(|proof| match &proof.outcome {
            Outcome::Refused(_, Some(text)) if proof.method == mechanism => Some(text.as_str()),
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
            .change(format!(
                "compare `credentials` in {} with what the operator of {peer} expects: the username, the realm, the \
                 password",
                case.findings.rule.name
            ));
    }
    let fault = match &case.findings.own.certificate_fault {
        Some(fault) => format!("mend it: {fault}"),
        None => format!(
            "ask the operator of {peer} why: the certificate of {us} looks well from here. Is its full chain in the \
             file, and is its authority trusted there?"
        ),
    };
    let dialback = match case.findings.rule.auth.contains(&"dialback") {
        true => "",
        false => "; or allow \"dialback\" in `auth`",
    };
    Reason::new(Code::ExternalRefused, Side::Us, because)
        .rule(format!("{rule}; XEP-0178 §3"))
        .change(format!("{fault}{dialback}"))
}

/// The peer broke an exchange, or does not know the secret.
pub(super) fn mistrusted(case: Case<'_>, mechanism: &str, what: &str) -> Reason {
    let peer = case.peer();
    Reason::new(
        Code::Mechanism,
        Side::Between,
        format!("{peer} does not prove to us that it knows the password for {mechanism}: {what}"),
    )
    .rule(format!("`credentials` in {}", case.findings.rule.name))
    .change(format!(
        "compare the password with that of the operator of {peer}; if they are the same, somebody stands between you"
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
pub(super) fn dialback(case: Case<'_>, text: &str) -> Reason {
    let error = case
        .attempt
        .proofs
        .iter()
        .rev()
        .find_map(|proof| match &proof.outcome {
            Outcome::Error(condition, said) => Some((*condition, said.as_ref())),
            _ => None,
        });
    match error {
        Some((condition, said)) => dialback_error(case, condition, said),
        None => Reason::new(
            Code::Dialback,
            Side::Peer,
            format!("dialback with {} failed: {text}", case.peer()),
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
        .change(format!(
            "show {peer} a certificate for {us} that it believes, or ask its operator to take dialback"
        )),
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
        Outcome::Refused(failure, _) => {
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
