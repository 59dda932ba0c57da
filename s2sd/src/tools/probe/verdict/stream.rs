//! Why a stream ended: what stands between TCP and a proof.

use xmpp_stream::Condition;

use super::{Case, Code, Reason, Side, certificate, fill::Draft, names, no_descriptors, proof};
use crate::closed::{Cause, PeerError, Unproved};
use crate::config::size_text;
use crate::tools::probe::findings::{
    AttemptReport, Garbage, MeantFor, NoTls, ProofOutcome, Unsecured,
};

pub(super) fn ended(case: Case<'_>, cause: &Cause) -> Reason {
    if let Some(garbage) = &case.attempt.garbage {
        return no_stream(case, garbage).done();
    }
    if let Some(users) = case.attempt.meant_for {
        return not_for_servers(case, users).done();
    }
    // TLS 1.3 reports that after the handshake.
    match &case.attempt.no_tls {
        Some(no) if no.why == Unsecured::OurCertificate => return our_certificate(case, no).done(),
        Some(no) if no.why == Unsecured::WantsCertificate => {
            return wants_certificate(case, no).done();
        }
        _ => {}
    }
    match cause {
        Cause::Certificate(text) | Cause::CertificateUntold(text) => certificate::bad(case, text),
        Cause::Dns(what) | Cause::NameServer(what) => names::failed(case.findings, what),
        Cause::Dnssec(what) => names::bogus(case.findings, what),
        other => draft(case, other).done(),
    }
}

fn draft<'a>(case: Case<'a>, cause: &Cause) -> Draft<'a> {
    let ours = || case.draft(Code::Other).side(Side::Us).said(cause);
    match cause {
        Cause::Tls(what) => tls(case, what),
        Cause::NoNameForTls => case
            .draft(Code::Tls)
            .because("{peer} is no name that TLS can ask a certificate for")
            .rule("RFC 6066 §3")
            .change("{operator} has to use a domain of letters, digits and hyphens"),
        Cause::TlsNotOffered => no_starttls(case),
        Cause::NoMechanism { offered } => proof::no_mechanism(case, offered),
        Cause::Refused { mechanism, failure } => proof::refused(case, mechanism, *failure),
        Cause::Mechanism { mechanism, what } => proof::mistrusted(case, mechanism, what),
        Cause::Kerberos(what) => case.draft(Code::Kerberos).said(what),
        Cause::Dialback(Unproved::Invalid, _) => proof::invalid(case),
        Cause::Dialback(unproved, _) => proof::dialback(case, unproved),
        Cause::StreamError(error) => stream_error(case, error),
        Cause::Protocol(condition, what) => case
            .draft(Code::Protocol)
            .said(format!("{} ({what})", condition.name()))
            .with("condition", rule(*condition)),
        Cause::Policy(what) => policy(case, cause, what),
        Cause::Timeout(what) => timeout(case, what),
        Cause::Lost(what) => lost(case, what),
        Cause::Finished => case.draft(Code::Closed),
        // This machine has too little of something.
        Cause::Memory => {
            ours().rule("`memory` in [limits]").change("raise it, or see what else runs here")
        }
        Cause::Network(_) => ours()
            .rule("RFC 6120 §3.2")
            .change("see to the routes of this machine, and to `source` and `proxy`"),
        Cause::Descriptors => no_descriptors(case.findings, "{said}").said(cause),
        Cause::TooManyFailures
        | Cause::Idle
        | Cause::Shutdown
        | Cause::Replaced
        | Cause::NotPublic(_)
        | Cause::CertificateRefused(_)
        | Cause::StanzaRefused(_)
        | Cause::Connect(_)
        | Cause::NoSuchHost(_)
        | Cause::NoService
        | Cause::NoWay(_)
        | Cause::Operator
        // These were looked at before.
        | Cause::Certificate(_)
        | Cause::CertificateUntold(_)
        | Cause::Dns(_)
        | Cause::NameServer(_)
        | Cause::Dnssec(_) => case.draft(Code::Other).said(cause),
    }
}

fn rule(condition: Condition) -> String {
    format!("RFC 6120 §4.9.3, {}", condition.name())
}

fn no_stream<'a>(case: Case<'a>, garbage: &Garbage) -> Draft<'a> {
    match garbage {
        Garbage::Tls(_) => case.draft(Code::TlsAtOnce),
        Garbage::Other(text) if text.is_empty() => case.draft(Code::NotXmpp),
        Garbage::Other(text) => case
            .draft(Code::NotXmpp)
            .said(format!("; it says \"{text}\"")),
    }
}

fn not_for_servers(case: Case<'_>, users: MeantFor) -> Draft<'_> {
    let users = match users {
        MeantFor::Clients => "clients (jabber:client)",
        MeantFor::Components => "components (jabber:component:accept)",
        MeantFor::Others => "others than servers",
    };
    let (service, port) = match case.target.direct_tls {
        true => ("_xmpps-server._tcp", "5270 (with TLS from the first byte)"),
        false => ("_xmpp-server._tcp", "5269"),
    };
    let draft = case.draft(Code::NotForServers);
    let draft = draft
        .with("users", users)
        .with("service", service)
        .with("port", port);
    match case.findings.rule.connect {
        true => draft
            .side(Side::Us)
            .rule("{way}")
            .change("correct the port there; servers usually listen for others on port {port}"),
        false => draft,
    }
}

fn policy<'a>(case: Case<'a>, cause: &Cause, what: &str) -> Draft<'a> {
    match (case.findings.rule.tls, case.findings.dnssec) {
        ("disabled", _) => case.draft(Code::Policy).said(what),
        (_, "require") => case.draft(Code::DnssecUnsigned).said(what),
        _ => case.draft(Code::Other).said(cause),
    }
}

fn tls<'a>(case: Case<'a>, what: &str) -> Draft<'a> {
    let Some(no) = &case.attempt.no_tls else {
        return case.draft(Code::StarttlsRefused).said(what);
    };
    match no.why {
        Unsecured::NotTls if case.target.direct_tls => case.draft(Code::NotTls).change(
            "{operator} has to serve TLS from the first byte there, or to take the record out of \
             _xmpps-server._tcp.{peer}",
        ),
        Unsecured::NotTls => case.draft(Code::NotTls),
        Unsecured::Version => {
            let draft = case
                .draft(Code::TlsVersion)
                .with("floor", case.findings.rule.min_tls);
            match case.findings.rule.min_tls {
                "1.3" => draft.also("; or have {exception} min_tls = \"1.2\""),
                _ => draft,
            }
        }
        Unsecured::NoEms => case.draft(Code::TlsNoEms),
        Unsecured::NothingInCommon => case.draft(Code::TlsNothingInCommon),
        Unsecured::Name => case.draft(Code::TlsName),
        Unsecured::OurCertificate => our_certificate(case, no),
        Unsecured::WantsCertificate => wants_certificate(case, no),
        Unsecured::Closed => case.draft(Code::TlsClosed),
        Unsecured::Other => case.draft(Code::Tls),
    }
    .said(&no.said)
}

fn our_certificate<'a>(case: Case<'a>, no: &NoTls) -> Draft<'a> {
    let draft = case.draft(Code::OurCertificateRefused).said(&no.said);
    match &case.findings.own.certificate_fault {
        Some(fault) => draft.change("mend it: {fault}").with("fault", fault),
        None => draft,
    }
}

/// None was shown: it cannot be ours that is wrong.
fn wants_certificate<'a>(case: Case<'a>, no: &NoTls) -> Draft<'a> {
    let findings = case.findings;
    let here = |other: &&AttemptReport| other.address == case.attempt.address;
    let refused = |other: &AttemptReport| {
        let no = other.no_tls.clone();
        no.filter(|no| no.why == Unsecured::OurCertificate)
    };
    let mut others = case.target.attempts.iter().filter(here);
    if let Some(refused) = others.find_map(refused) {
        // This was one more attempt without it.
        return our_certificate(case, &refused);
    }
    let draft = case.draft(Code::CertificateWanted).said(&no.said);
    match (findings.own.configured, findings.own.certificate) {
        (false, _) => draft.change(
            "probe again with the configuration of your domain (-c), whose certificate is then shown",
        ),
        (true, false) => draft,
        (true, true) if !findings.may("external") => draft.change(
            "have {exception} \"external\" in `auth`, so that the certificate of {us} is shown",
        ),
        (true, true) => draft.change(
            "give {us} a certificate with a key of another kind (ECDSA, RSA): {peer} takes none with the present one",
        ),
    }
}

fn no_starttls(case: Case<'_>) -> Draft<'_> {
    let draft = case.draft(Code::NoStarttls);
    match case.findings.rule.tls {
        "required" => draft,
        _ => draft
            .because(
                "{peer} does not offer STARTTLS, and its zone says by TLSA records which certificate it has",
            )
            .rule("{key dane}; RFC 7673 §4")
            .change(
                "{operator} has to switch TLS on between servers, or to take the TLSA records away; or have \
                 {exception} dane = \"off\"",
            ),
    }
}

fn timeout<'a>(case: Case<'a>, what: &str) -> Draft<'a> {
    if case.attempt.headers.is_empty() && case.attempt.tls.is_none() {
        let what = if case.target.direct_tls {
            "TLS"
        } else {
            "a stream"
        };
        return case.draft(Code::NoStream).with("what", what);
    }
    let last = case.attempt.proofs.last();
    let waits_for_dialback = last
        .is_some_and(|proof| proof.method == "dialback" && proof.outcome == ProofOutcome::Unknown);
    match waits_for_dialback {
        true => case
            .draft(Code::DialbackNoWayBack)
            .because("{peer} does not answer to dialback in time: it has probably no way to the server of {us}")
            .rule("`negotiation` in [limits]; XEP-0220 §2.1.1"),
        false => case.draft(Code::Timeout).said(what),
    }
}

pub(super) fn unfinished(case: Case<'_>) -> Reason {
    match case.attempt.connected {
        Some(_) => timeout(case, "it was still going on when time was over"),
        None => case
            .draft(Code::NoAnswer)
            .with("more", "; or give it more time: --timeout 120s"),
    }
    .rule("--timeout")
    .done()
}

fn lost<'a>(case: Case<'a>, what: &str) -> Draft<'a> {
    let draft = match case.attempt.headers.is_empty() {
        true => case.draft(Code::ClosedAtOnce),
        false => case.draft(Code::Lost),
    };
    let draft = draft.said(what);
    match case.attempt.tls {
        Some(_) => draft.with("after", "after the TLS handshake "),
        None => draft,
    }
}

/// The peer's text decides which side is at fault.
fn stream_error<'a>(case: Case<'a>, error: &PeerError) -> Draft<'a> {
    let tried = case.tried();
    let draft = match error.condition {
        Condition::HostUnknown | Condition::HostGone => case.draft(Code::HostUnknown),
        Condition::NotAuthorized | Condition::InvalidFrom | Condition::ImproperAddressing
            if case.findings.from.is_none() =>
        {
            case.draft(Code::WantsAName)
        }
        Condition::NotAuthorized | Condition::InvalidFrom => {
            let draft = case.draft(Code::NotBelieved);
            match tried {
                Some("dialback") => draft.change(Code::DialbackNoWayBack.entry().change),
                Some("EXTERNAL") | None => proof::certified(case, draft),
                Some(_) => draft.change(Code::PasswordRefused.entry().change),
            }
        }
        Condition::PolicyViolation => case.draft(Code::PeerPolicy),
        // Without dialback it is something else that it cannot reach.
        Condition::RemoteConnectionFailed | Condition::ConnectionTimeout
            if tried == Some("dialback") =>
        {
            case.draft(Code::DialbackNoWayBack)
        }
        Condition::InvalidId if tried == Some("dialback") => case
            .draft(Code::DialbackInvalid)
            .because("{peer} found that our dialback key is wrong: {said}")
            .rule("{condition}")
            .change(Code::DialbackNoWayBack.entry().change),
        Condition::ConnectionTimeout
        | Condition::RemoteConnectionFailed
        | Condition::ResourceConstraint
        | Condition::SystemShutdown
        | Condition::Reset
        | Condition::InternalServerError => case.draft(Code::PeerInTrouble),
        Condition::UnsupportedVersion | Condition::UnsupportedFeature => {
            case.draft(Code::PeerOutdated)
        }
        Condition::BadFormat
        | Condition::BadNamespacePrefix
        | Condition::Conflict
        | Condition::ImproperAddressing
        | Condition::InvalidId
        | Condition::InvalidNamespace
        | Condition::InvalidXml
        | Condition::NotWellFormed
        | Condition::RestrictedXml
        | Condition::SeeOtherHost
        | Condition::UndefinedCondition
        | Condition::UnsupportedEncoding
        | Condition::UnsupportedStanzaType => case.draft(Code::StreamError),
    };
    let said = error.said.as_ref();
    let said = said.map_or_else(String::new, |said| format!(" ({said})"));
    draft
        .said(format!("{}{said}", error.condition.name()))
        .with("condition", rule(error.condition))
}

/// The proof was taken, and the first stanza was not.
pub(super) fn ping_refused(case: Case<'_>, error: &str) -> Reason {
    case.draft(Code::PingRefused).said(error).done()
}

/// The peer takes less than we do.
pub(super) fn limit(case: Case<'_>) -> Option<Reason> {
    let announced = case.attempt.offer()?.max_bytes?;
    let ours = case.findings.rule.max_stanza;
    (announced < ours as u64).then(|| {
        let size = usize::try_from(announced).map_or_else(|_| announced.to_string(), size_text);
        let draft = case.draft(Code::StanzaLimit);
        draft
            .with("size", size)
            .with("ours", size_text(ours))
            .done()
    })
}
