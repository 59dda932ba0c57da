//! Why a stream ended: what stands between TCP and a proof.

use xmpp_stream::Condition;

use super::{Case, Code, Reason, Side, certificate, names, proof};
use crate::closed::{Cause, PeerError, Unproved};
use crate::config::size_text;
use crate::tools::probe::findings::{AttemptReport, MeantFor, NoTls, ProofOutcome, Unsecured};

pub(super) fn ended(case: Case<'_>, cause: &Cause) -> Reason {
    if let Some(garbage) = &case.attempt.garbage {
        return no_stream(case, garbage);
    }
    if let Some(whom) = case.attempt.meant_for {
        return not_for_servers(case, whom);
    }
    // Over TLS 1.3 that is told after the handshake.
    match &case.attempt.no_tls {
        Some(no) if no.why == Unsecured::OurCertificate => return our_certificate(case, no),
        Some(no) if no.why == Unsecured::WantsCertificate => return wants_certificate(case, no),
        _ => {}
    }
    match cause {
        Cause::Tls(what) => tls(case, what),
        Cause::NoNameForTls => no_name_for_tls(case),
        Cause::TlsNotOffered => no_starttls(case),
        Cause::Certificate(text) | Cause::CertificateUntold(text) => certificate::bad(case, text),
        Cause::NoMechanism { offered } => proof::no_mechanism(case, offered),
        Cause::Refused { mechanism, failure } => proof::refused(case, mechanism, *failure),
        Cause::Mechanism { mechanism, what } => proof::mistrusted(case, mechanism, what),
        Cause::Kerberos(what) => proof::no_ticket(case, what),
        Cause::Dialback(Unproved::Invalid, _) => proof::invalid(case),
        Cause::Dialback(unproved, _) => proof::dialback(case, unproved),
        Cause::StreamError(error) => stream_error(case, error),
        Cause::Protocol(condition, what) => protocol(case, *condition, what),
        Cause::Policy(what) => policy(case, cause, what),
        Cause::Timeout(what) => timeout(case, what),
        Cause::Lost(what) => lost(case, what),
        Cause::Finished => Reason::new(
            Code::Closed,
            Side::Peer,
            format!("{} closes the stream without saying why", case.peer()),
        )
        .rule("RFC 6120 §4.4")
        .change(format!(
            "ask the operator of {}; the log there may say more",
            case.peer()
        )),
        Cause::Dns(what) | Cause::NameServer(what) => names::failed(case.findings, what),
        Cause::Dnssec(what) => names::bogus(case.findings, what),
        Cause::Memory | Cause::Descriptors | Cause::Network(_) => ours(cause),
        Cause::TooManyFailures
        | Cause::Idle
        | Cause::Shutdown
        | Cause::Replaced
        | Cause::Operator => other(case, cause),
        Cause::NotPublic(_)
        | Cause::CertificateRefused(_)
        | Cause::StanzaRefused(_)
        | Cause::Connect(_)
        | Cause::NoSuchHost(_)
        | Cause::NoService
        | Cause::NoWay(_) => other(case, cause),
    }
}

fn quoted(word: &str) -> String {
    format!("\"{word}\"")
}

/// This machine has too little of something.
fn ours(cause: &Cause) -> Reason {
    let (rule, change) = match cause {
        Cause::Memory => (
            "`memory` in [limits]",
            "raise it, or see what else runs here",
        ),
        Cause::Network(_) => (
            "RFC 6120 §3.2",
            "see to the routes of this machine, and to `source` and `proxy`",
        ),
        _ => (
            "the system's limit of open files",
            "raise LimitNOFILE (ulimit -n), or see what else runs here",
        ),
    };
    Reason::new(Code::Other, Side::Us, cause.to_string())
        .rule(rule)
        .change(change)
}

fn other(case: Case<'_>, cause: &Cause) -> Reason {
    Reason::new(Code::Other, Side::Between, cause.to_string())
        .rule("RFC 6120 §4.4")
        .change(format!(
            "try again; if it stays so, ask the operator of {}",
            case.peer()
        ))
}

fn no_stream(case: Case<'_>, garbage: &str) -> Reason {
    let (peer, target) = (case.peer(), &case.attempt.address);
    if garbage.starts_with("a TLS ") {
        return Reason::new(
            Code::TlsAtOnce,
            Side::Peer,
            format!("what listens at {target} wants TLS from the first byte, where a stream in clear is to begin"),
        )
        .rule("XEP-0368 §3")
        .change(format!(
            "the operator of {peer} has to announce this port by _xmpps-server._tcp.{peer}, and another by \
             _xmpp-server._tcp.{peer}"
        ));
    }
    let what = match garbage {
        "" => String::new(),
        text => format!("; it says \"{text}\""),
    };
    Reason::new(
        Code::NotXmpp,
        Side::Peer,
        format!("what listens at {target} does not speak XMPP{what}"),
    )
    .rule("RFC 6120 §4.2")
    .change(format!(
        "the operator of {peer} has to correct the SRV records, or what listens there"
    ))
}

fn not_for_servers(case: Case<'_>, whom: MeantFor) -> Reason {
    let (peer, target) = (case.peer(), &case.attempt.address);
    let whom = match whom {
        MeantFor::Clients => "clients (jabber:client)",
        MeantFor::Components => "components (jabber:component:accept)",
        MeantFor::Others => "others than servers",
    };
    let port = match case.target.direct_tls {
        true => "5270 (with TLS from the first byte)",
        false => "5269",
    };
    let reason = Reason::new(
        Code::NotForServers,
        Side::Peer,
        format!("what listens at {target} speaks XMPP with {whom}, and not with servers"),
    );
    let usual = format!("servers usually listen for others on port {port}");
    match case.findings.rule.connect {
        true => Reason { side: Side::Us, ..reason }
            .rule(format!("`connect` in {}", case.findings.rule.name))
            .change(format!("correct the port there; {usual}")),
        false => reason.rule("RFC 6120 §4.8.2").change(format!(
            "the operator of {peer} has to correct the port in _xmpp{}-server._tcp.{peer} (SRV); {usual}",
            if case.target.direct_tls { "s" } else { "" }
        )),
    }
}

fn policy(case: Case<'_>, cause: &Cause, what: &str) -> Reason {
    let findings = case.findings;
    if findings.rule.tls == "disabled" {
        return Reason::new(Code::Policy, Side::Us, what)
            .rule(findings.key("tls", &quoted(findings.rule.tls)))
            .change(format!(
                "allow encryption with {}: tls = \"optional\" or \"required\"",
                case.peer()
            ));
    }
    match findings.dnssec {
        "require" => names::not_signed(findings, what.to_owned()),
        _ => other(case, cause),
    }
}

fn no_name_for_tls(case: Case<'_>) -> Reason {
    let peer = case.peer();
    let because = format!("{peer} is no name that TLS can ask a certificate for");
    Reason::new(Code::Tls, Side::Peer, because)
        .rule("RFC 6066 §3")
        .change(format!(
            "the operator of {peer} has to use a domain of letters, digits and hyphens"
        ))
}

fn tls(case: Case<'_>, what: &str) -> Reason {
    let (peer, target) = (case.peer(), &case.attempt.address);
    let operator = format!("the operator of {peer}");
    let Some(no) = &case.attempt.no_tls else {
        return Reason::new(
            Code::StarttlsRefused,
            Side::Peer,
            format!("no TLS with {peer}: {}", what),
        )
        .rule("RFC 6120 §5.4.2.2")
        .change(format!(
            "{operator} has to see why; most often a certificate for {peer} is missing there"
        ));
    };
    let text = &no.said;
    let reason = |code: Code, because: String| {
        Reason::new(code, Side::Peer, because).rule("RFC 6120 §5.4.3.2")
    };
    match no.why {
        Unsecured::NotTls => reason(
            Code::NotTls,
            format!("what listens at {target} does not speak TLS where TLS is to begin: {text}"),
        )
        .change(match case.target.direct_tls {
            true => format!(
                "{operator} has to serve TLS from the first byte there, or to take the record out of \
                 _xmpps-server._tcp.{peer}"
            ),
            false => format!("{operator} has to mend STARTTLS"),
        }),
        Unsecured::Version => {
            let floor = case.findings.rule.min_tls;
            let lower = match floor {
                "1.3" => format!(
                    "; or have {}",
                    case.findings.exception("min_tls = \"1.2\"")
                ),
                _ => String::new(),
            };
            Reason::new(
                Code::TlsVersion,
                Side::Peer,
                format!("{peer} speaks no version of TLS that is allowed here: {text}"),
            )
            .rule(case.findings.key("min_tls", &quoted(floor)))
            .change(format!("{operator} has to allow TLS {floor} or newer{lower}"))
        }
        Unsecured::NoEms => Reason::new(
            Code::TlsNoEms,
            Side::Peer,
            format!("{peer} speaks TLS 1.2 without the extended master secret (RFC 7627)"),
        )
        .rule(case.findings.key("require_ems", "true"))
        .change(format!(
            "{operator} has to update its TLS library, or to allow TLS 1.3; or have {}",
            case.findings.exception("require_ems = false")
        )),
        Unsecured::NothingInCommon => reason(
            Code::TlsNothingInCommon,
            format!("{peer} has no cipher, group or signature in common with us: {text}"),
        )
        .change(format!(
            "{operator} has to allow what RFC 9325 §4.2 recommends; a certificate that is missing there looks the same"
        )),
        Unsecured::Name => reason(
            Code::TlsName,
            format!("the server there has no certificate for {peer}: {text}"),
        )
        .change(format!("{operator} has to give it one, or to correct the SRV records")),
        Unsecured::OurCertificate => our_certificate(case, no),
        Unsecured::WantsCertificate => wants_certificate(case, no),
        Unsecured::Closed => reason(Code::TlsClosed, format!("{target} goes away in the TLS handshake: {text}"))
            .change(format!(
                "{operator} has to see why: no certificate for {peer}, or versions and ciphers that do not fit"
            )),
        Unsecured::Other => reason(Code::Tls, format!("the TLS handshake with {target} failed: {text}"))
            .change(format!("{operator} has to see why; the log there may say more")),
    }
}

fn our_certificate(case: Case<'_>, no: &NoTls) -> Reason {
    let (peer, us) = (case.peer(), case.us());
    let change = match &case.findings.own.certificate_fault {
        Some(fault) => format!("mend it: {fault}"),
        None => format!("show a certificate for {us} that {peer} believes, with its full chain"),
    };
    Reason::new(
        Code::OurCertificateRefused,
        Side::Us,
        format!(
            "{peer} does not take our certificate in the TLS handshake: {}",
            no.said
        ),
    )
    .rule("RFC 6120 §13.7.2.2")
    .change(change)
}

/// None was shown: it cannot be ours that is wrong.
fn wants_certificate(case: Case<'_>, no: &NoTls) -> Reason {
    let (peer, us, findings) = (case.peer(), case.us(), case.findings);
    let here = |other: &&AttemptReport| other.address == case.attempt.address;
    let refused = |other: &'_ AttemptReport| {
        let no = other.no_tls.clone();
        no.filter(|no| no.why == Unsecured::OurCertificate)
    };
    let mut others = case.target.attempts.iter().filter(here);
    if let Some(refused) = others.find_map(refused) {
        // This was one more attempt without it.
        return our_certificate(case, &refused);
    }
    let change = match (findings.own.configured, findings.own.certificate) {
        (false, _) => "probe again with the configuration of your domain (-c), whose certificate is then shown".to_owned(),
        (true, false) => format!("get a certificate for {us}"),
        (true, true) if !findings.may("external") => {
            format!(
                "have {}, so that the certificate of {us} is shown",
                findings.exception("\"external\" in `auth`")
            )
        }
        (true, true) => format!(
            "give {us} a certificate with a key of another kind (ECDSA, RSA): {peer} takes none with the present one"
        ),
    };
    Reason::new(
        Code::CertificateWanted,
        Side::Us,
        format!(
            "{peer} wants a certificate in the TLS handshake, and was shown none: {}",
            no.said
        ),
    )
    .rule("RFC 6120 §13.7.2.2")
    .change(change)
}

fn no_starttls(case: Case<'_>) -> Reason {
    let peer = case.peer();
    if case.findings.rule.tls != "required" {
        return Reason::new(
            Code::NoStarttls,
            Side::Peer,
            format!("{peer} does not offer STARTTLS, and its zone says by TLSA records which certificate it has"),
        )
        .rule(format!(
            "{}; RFC 7673 §4",
            case.findings.key("dane", &quoted(case.findings.rule.dane))
        ))
        .change(format!(
            "the operator of {peer} has to switch TLS on between servers, or to take the TLSA records away; or have {}",
            case.findings.exception("dane = \"off\"")
        ));
    }
    Reason::new(
        Code::NoStarttls,
        Side::Peer,
        format!("{peer} does not offer STARTTLS"),
    )
    .rule(case.findings.key("tls", &quoted("required")))
    .change(format!(
        "the operator of {peer} has to switch TLS on between servers, with a certificate; or, if everybody on the way \
         may read what is said, have {}",
        case.findings.exception("tls = \"optional\"")
    ))
}

fn timeout(case: Case<'_>, what: &str) -> Reason {
    let (peer, us, target) = (case.peer(), case.us(), &case.attempt.address);
    if case.attempt.headers.is_empty() && case.attempt.tls.is_none() {
        let tls = match case.target.direct_tls {
            true => "TLS",
            false => "a stream",
        };
        return Reason::new(
            Code::NoStream,
            Side::Peer,
            format!("{target} takes the connection and says nothing where {tls} is to begin"),
        )
        .rule("`negotiation` in [limits]")
        .change(format!(
            "the operator of {peer} has to see what listens there, and whether it is overloaded"
        ));
    }
    let waits_for_dialback =
        case.attempt.proofs.last().is_some_and(|proof| {
            proof.method == "dialback" && proof.outcome == ProofOutcome::Unknown
        });
    if waits_for_dialback {
        return Reason::new(
            Code::DialbackNoWayBack,
            Side::Us,
            format!("{peer} does not answer to dialback in time: it has probably no way to the server of {us}"),
        )
        .rule("`negotiation` in [limits]; XEP-0220 §2.1.1")
        .change(proof::way_back(us));
    }
    Reason::new(
        Code::Timeout,
        Side::Peer,
        format!("{peer} is too slow: {what}"),
    )
    .rule("`negotiation` in [limits]")
    .change(format!(
        "ask the operator of {peer} whether the server is overloaded"
    ))
}

pub(super) fn unfinished(case: Case<'_>) -> Reason {
    let mut reason = match case.attempt.connected {
        Some(_) => timeout(case, "it was still going on when time was over"),
        None => Reason::new(
            Code::NoAnswer,
            Side::Between,
            format!("{} does not answer", case.attempt.address),
        )
        .change(format!(
            "the operator of {} has to see whether the machine runs and its firewall lets the port in; or give it more \
             time: --timeout 120s",
            case.peer()
        )),
    };
    reason.rule = "--timeout".to_owned();
    reason
}

fn lost(case: Case<'_>, what: &str) -> Reason {
    let (peer, target) = (case.peer(), &case.attempt.address);
    if case.attempt.headers.is_empty() {
        return Reason::new(
            Code::ClosedAtOnce,
            Side::Peer,
            format!(
                "{target} closes the connection {}without a word: {what}",
                match case.attempt.tls {
                    Some(_) => "after the TLS handshake ",
                    None => "",
                }
            ),
        )
        .rule("RFC 6120 §4.2")
        .change(format!(
            "the operator of {peer} has to see what listens there, and whether it has blocked your address"
        ));
    }
    Reason::new(
        Code::Lost,
        Side::Between,
        format!("the connection to {target} broke: {what}"),
    )
    .rule("RFC 6120 §4.4")
    .change(format!(
        "try again; if it stays so, the log of {peer}'s server says why it closed"
    ))
}

fn protocol(case: Case<'_>, condition: Condition, what: &str) -> Reason {
    let peer = case.peer();
    let because = format!(
        "{peer} breaks the protocol: {} ({})",
        condition.name(),
        what
    );
    Reason::new(Code::Protocol, Side::Peer, because)
        .rule(format!("RFC 6120 §4.9.3, {}", condition.name()))
        .change(format!(
            "the operator of {peer} has to mend or update the server"
        ))
}

/// The words of the peer decide whose fault it is.
fn stream_error(case: Case<'_>, error: &PeerError) -> Reason {
    let (peer, us) = (case.peer(), case.us());
    let operator = format!("the operator of {peer}");
    let said = error
        .said
        .as_ref()
        .map_or_else(String::new, |said| format!(" ({said})"));
    let said = format!("{}{said}", error.condition.name());
    let rule = format!("RFC 6120 §4.9.3, {}", error.condition.name());
    let ends = format!("{peer} ends the stream: {said}");
    let (code, side, because, change) = match error.condition {
        Condition::HostUnknown | Condition::HostGone => (
            Code::HostUnknown,
            Side::Peer,
            format!("the server there does not serve {peer}: {said}"),
            format!("{operator} has to serve the domain there, or to correct the SRV records"),
        ),
        Condition::NotAuthorized | Condition::InvalidFrom | Condition::ImproperAddressing
            if case.findings.from.is_none() =>
        {
            (
                Code::WantsAName,
                Side::Us,
                format!("{peer} says nothing to who does not say who it is: {said}"),
                "name a domain: --from, or a configuration (-c)".to_owned(),
            )
        }
        Condition::NotAuthorized | Condition::InvalidFrom => (
            Code::NotBelieved,
            Side::Us,
            format!("{peer} does not believe that we are {us}: {said}"),
            match case.tried() {
                Some("dialback") => proof::way_back(us),
                Some("EXTERNAL") | None => proof::certified(case),
                Some(_) => proof::credentials(case),
            },
        ),
        Condition::PolicyViolation => (
            Code::PeerPolicy,
            Side::Peer,
            format!("a rule of {peer} is against it: {said}"),
            format!(
                "ask {operator} whether {us} is blocked, or what else is wanted: encryption, a certificate"
            ),
        ),
        // Without dialback it is something else that it cannot reach.
        Condition::RemoteConnectionFailed | Condition::ConnectionTimeout
            if case.tried() == Some("dialback") =>
        {
            (
                Code::DialbackNoWayBack,
                Side::Us,
                format!("{peer} cannot connect to the server of {us}: {said}"),
                proof::way_back(us),
            )
        }
        Condition::InvalidId if case.tried() == Some("dialback") => (
            Code::DialbackInvalid,
            Side::Us,
            format!("{peer} found that our dialback key is wrong: {said}"),
            proof::way_back(us),
        ),
        Condition::ConnectionTimeout
        | Condition::RemoteConnectionFailed
        | Condition::ResourceConstraint
        | Condition::SystemShutdown
        | Condition::Reset
        | Condition::InternalServerError => (
            Code::PeerInTrouble,
            Side::Peer,
            ends,
            format!("try again later; if it stays so, tell {operator}"),
        ),
        Condition::UnsupportedVersion | Condition::UnsupportedFeature => (
            Code::PeerOutdated,
            Side::Peer,
            ends,
            format!("{operator} has to update the server"),
        ),
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
        | Condition::UnsupportedStanzaType => (
            Code::StreamError,
            Side::Peer,
            ends,
            format!("ask {operator}; the log there may say more"),
        ),
    };
    Reason::new(code, side, because).rule(rule).change(change)
}

/// The proof was taken, and the first stanza was not.
pub(super) fn ping_refused(case: Case<'_>, error: &str) -> Reason {
    let peer = case.peer();
    Reason::new(
        Code::PingRefused,
        Side::Peer,
        format!("{peer} takes the proof and ends the stream at the first stanza: {error}"),
    )
    .rule("XEP-0199 §4.3; RFC 6120 §4.9.3")
    .change(format!(
        "ask the operator of {peer}; the log there may say more"
    ))
}

/// The peer takes less than we do.
pub(super) fn limit(case: Case<'_>) -> Option<Reason> {
    let announced = case.attempt.offer()?.max_bytes?;
    let ours = case.findings.rule.max_stanza;
    let peer = case.peer();
    (announced < ours as u64).then(|| {
        let size = usize::try_from(announced).map_or_else(|_| announced.to_string(), size_text);
        Reason::new(
            Code::StanzaLimit,
            Side::Peer,
            format!(
                "{peer} takes no stanza larger than {size} ({} here): larger ones bounce",
                size_text(ours)
            ),
        )
        .rule("XEP-0478 §3.1")
        .change(format!(
            "send smaller ones; if that is too little, ask the operator of {peer} for more"
        ))
    })
}
