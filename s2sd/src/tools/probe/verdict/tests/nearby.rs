//! Each code, where it is said, and beside it what is nearly the same and must not get it: who repairs the one does not
//! repair the other.

mod cases;

use rustls::pki_types::UnixTime;

use self::cases::*;
use super::*;
use crate::tools::probe::findings::{MeantFor, Offer, Ping};
use crate::tools::probe::report::Report;
use crate::trust::{BadCertificate, Day, Whose};

/// A code, findings in which it is said, and findings in which it is not.
type Row = (Code, Findings, Findings);

fn reaching() -> Vec<Row> {
    let failed = || ResolveError::Failed("it failed".into());
    let bogus = || ResolveError::Bogus("it is bogus".into());
    let policy = || end(Cause::Policy("a reason".into()));
    let unsigned = with(policy(), |it| it.dnssec = "require");
    let off = with(policy(), |it| {
        it.rule.tls = "disabled";
        it.dnssec = "require";
    });
    let found = |why| with(one(believed()), |it| it.own.not_found = Some(why));
    let denied = with(findings(Vec::new()), |it| {
        it.rule.denied = Some("`deny`".to_owned())
    });
    let in_time = stream_error(Condition::HostUnknown);
    let late = with(findings(Vec::new()), |it| it.cut_short = true);
    vec![
        (Code::Denied, denied, nowhere(ResolveError::NotFound)),
        (
            Code::NoSuchDomain,
            nowhere(ResolveError::NotFound),
            nowhere(failed()),
        ),
        (Code::NoSuchDomain, no_address(false), no_address(true)),
        (
            Code::NoService,
            nowhere(ResolveError::NoService),
            nowhere(ResolveError::NotFound),
        ),
        (
            Code::TargetWithoutAddress,
            no_address(true),
            no_address(false),
        ),
        (Code::Dns, nowhere(failed()), nowhere(bogus())),
        (
            Code::Onion,
            nowhere(ResolveError::Onion),
            nowhere(ResolveError::NotFound),
        ),
        (Code::DnssecBogus, nowhere(bogus()), nowhere(failed())),
        (
            Code::DnssecUnsigned,
            nowhere(ResolveError::Unsigned("b.example".into())),
            nowhere(bogus()),
        ),
        (Code::DnssecUnsigned, unsigned, off.clone()),
        (Code::Policy, off, policy()),
        (
            Code::NotPublic,
            unconnected(ConnectFailure::NotPublic),
            unconnected(ConnectFailure::Refused),
        ),
        (
            Code::Refused,
            unconnected(ConnectFailure::Refused),
            unconnected(ConnectFailure::Silent),
        ),
        (
            Code::NoAnswer,
            unconnected(ConnectFailure::Silent),
            unconnected(ConnectFailure::Refused),
        ),
        (
            Code::NoRoute,
            unconnected(ConnectFailure::NoRoute),
            unconnected(ConnectFailure::Source),
        ),
        (
            Code::Proxy,
            unconnected(ConnectFailure::Proxy),
            unconnected(ConnectFailure::Refused),
        ),
        (
            Code::Source,
            unconnected(ConnectFailure::Source),
            unconnected(ConnectFailure::NoRoute),
        ),
        (
            Code::Connect,
            unconnected(ConnectFailure::Other),
            unconnected(ConnectFailure::Silent),
        ),
        (Code::OutOfTime, late, in_time),
        (
            Code::WeAreNotFound,
            found(ResolveError::NotFound),
            found(ResolveError::Exhausted),
        ),
        (
            Code::WeAreNotFound,
            found(ResolveError::NotFound),
            found(failed()),
        ),
        (Code::Dns, found(failed()), found(ResolveError::NotFound)),
    ]
}

fn streams() -> Vec<Row> {
    let lost = || Cause::Lost("it broke".into());
    let slow = || Cause::Timeout("SASL");
    let broken = |condition| Cause::Protocol(condition, "a reason".into());
    let optional = with(end(offering(&[])), |it| it.rule.tls = "optional");
    let again = with(no_tls(Unsecured::WantsCertificate), |it| {
        let mut refusing = no_tls(Unsecured::OurCertificate);
        let refused = refusing.places[0].attempts.remove(0);
        it.places[0].attempts.insert(0, refused);
    });
    let look = with(looked(None), |it| it.places[0].attempts[0].tls = None);
    vec![
        (Code::NoStream, end(slow()), after_header(slow())),
        (Code::Timeout, after_header(slow()), end(slow())),
        (Code::ClosedAtOnce, end(lost()), after_header(lost())),
        (Code::Lost, after_header(lost()), end(lost())),
        (
            Code::NotXmpp,
            garbage("HTTP/1.1 400"),
            meant_for(MeantFor::Clients),
        ),
        (
            Code::NotXmpp,
            garbage("hello"),
            end(broken(Condition::NotWellFormed)),
        ),
        (
            Code::NotForServers,
            meant_for(MeantFor::Clients),
            garbage("HTTP/1.1 400"),
        ),
        (
            Code::NotForServers,
            meant_for(MeantFor::Components),
            end(broken(Condition::InvalidNamespace)),
        ),
        (
            Code::TlsAtOnce,
            tls_at_once("a TLS alert"),
            garbage("SSH-2.0"),
        ),
        (
            Code::NoStarttls,
            end(Cause::TlsNotOffered),
            end(Cause::Tls("refused".into())),
        ),
        (
            Code::NoStarttls,
            optional,
            over_tls(offering(&[]), true, true),
        ),
        (
            Code::StarttlsRefused,
            end(Cause::Tls("refused".into())),
            end(Cause::NoNameForTls),
        ),
        (
            Code::NotTls,
            no_tls(Unsecured::NotTls),
            no_tls(Unsecured::Closed),
        ),
        (
            Code::TlsVersion,
            no_tls(Unsecured::Version),
            no_tls(Unsecured::NoEms),
        ),
        (
            Code::TlsNoEms,
            no_tls(Unsecured::NoEms),
            no_tls(Unsecured::NothingInCommon),
        ),
        (
            Code::TlsNothingInCommon,
            no_tls(Unsecured::NothingInCommon),
            no_tls(Unsecured::WantsCertificate),
        ),
        (
            Code::TlsName,
            no_tls(Unsecured::Name),
            no_tls(Unsecured::Other),
        ),
        (
            Code::TlsClosed,
            no_tls(Unsecured::Closed),
            no_tls(Unsecured::Other),
        ),
        (
            Code::Tls,
            no_tls(Unsecured::Other),
            no_tls(Unsecured::Closed),
        ),
        (
            Code::Tls,
            end(Cause::NoNameForTls),
            end(Cause::Tls("refused".into())),
        ),
        (
            Code::OurCertificateRefused,
            no_tls(Unsecured::OurCertificate),
            no_tls(Unsecured::WantsCertificate),
        ),
        // It was shown one and refused it: that it then wants one is no news.
        (
            Code::OurCertificateRefused,
            again.clone(),
            no_tls(Unsecured::NothingInCommon),
        ),
        (
            Code::CertificateWanted,
            no_tls(Unsecured::WantsCertificate),
            again,
        ),
        (
            Code::HostUnknown,
            stream_error(Condition::HostUnknown),
            stream_error(Condition::NotAuthorized),
        ),
        (
            Code::HostUnknown,
            dialback(ErrorCondition::ItemNotFound),
            dialback(ErrorCondition::RemoteServerNotFound),
        ),
        (
            Code::NotBelieved,
            stream_error(Condition::InvalidFrom),
            nobody(stream_error(Condition::InvalidFrom)),
        ),
        (
            Code::PeerPolicy,
            stream_error(Condition::PolicyViolation),
            stream_error(Condition::ResourceConstraint),
        ),
        (
            Code::WantsAName,
            nobody(stream_error(Condition::ImproperAddressing)),
            stream_error(Condition::ImproperAddressing),
        ),
        (
            Code::PeerInTrouble,
            stream_error(Condition::SystemShutdown),
            stream_error(Condition::PolicyViolation),
        ),
        (
            Code::PeerInTrouble,
            stream_error(Condition::ConnectionTimeout),
            tried(
                "dialback",
                ProofOutcome::Unknown,
                error(Condition::ConnectionTimeout),
            ),
        ),
        (
            Code::PeerOutdated,
            stream_error(Condition::UnsupportedVersion),
            stream_error(Condition::BadFormat),
        ),
        (
            Code::StreamError,
            stream_error(Condition::BadFormat),
            stream_error(Condition::HostUnknown),
        ),
        (
            Code::StreamError,
            stream_error(Condition::InvalidId),
            tried(
                "dialback",
                ProofOutcome::Unknown,
                error(Condition::InvalidId),
            ),
        ),
        (
            Code::Protocol,
            end(broken(Condition::BadFormat)),
            stream_error(Condition::BadFormat),
        ),
        (Code::Closed, end(Cause::Finished), look),
        (Code::Other, end(Cause::Memory), end(lost())),
        (
            Code::Other,
            unconnected(ConnectFailure::Descriptors),
            unconnected(ConnectFailure::Other),
        ),
    ]
}

fn certificates() -> Vec<Row> {
    let day = Day::of(UnixTime::now());
    let expired = || {
        judged(BadCertificate::Expired {
            whose: Whose::Own,
            on: day,
        })
    };
    let early = || {
        judged(BadCertificate::NotYetValid {
            whose: Whose::Own,
            from: day,
        })
    };
    let stranger = || {
        judged(BadCertificate::UnknownIssuer {
            issuer: "x".into(),
            sent: 1,
        })
    };
    let elsewhere = || BadCertificate::NotInTlsa {
        at: "_5269._tcp".into(),
    };
    let named = || BadCertificate::WrongName {
        domain: "b.example".into(),
        found: Vec::new(),
        more: 0,
    };
    let none = || end(Cause::Certificate("no certificate was shown".into()));
    vec![
        (Code::CertificateExpired, expired(), early()),
        (Code::CertificateNotYetValid, early(), expired()),
        (
            Code::CertificateUnknownIssuer,
            stranger(),
            judged(BadCertificate::SelfSigned),
        ),
        (
            Code::CertificateSelfSigned,
            judged(BadCertificate::SelfSigned),
            stranger(),
        ),
        (
            Code::CertificateWrongName,
            judged(named()),
            judged(BadCertificate::WrongPurpose),
        ),
        (
            Code::CertificateWrongPurpose,
            judged(BadCertificate::WrongPurpose),
            judged(named()),
        ),
        (
            Code::CertificateRevoked,
            judged(BadCertificate::Revoked),
            expired(),
        ),
        (
            Code::CertificateNotInTlsa,
            judged(elsewhere()),
            judged(BadCertificate::NoTlsa),
        ),
        (
            Code::CertificateNoTlsa,
            judged(BadCertificate::NoTlsa),
            judged(BadCertificate::Untold("x".into())),
        ),
        (
            Code::CertificateUntold,
            judged(BadCertificate::Untold("x".into())),
            judged(elsewhere()),
        ),
        (
            Code::Certificate,
            none(),
            judged(BadCertificate::SelfSigned),
        ),
        (
            Code::Certificate,
            judged(BadCertificate::TooMany { sent: 9 }),
            stranger(),
        ),
        (
            Code::CertificateSelfSigned,
            looked(Some(BadCertificate::SelfSigned)),
            looked(None),
        ),
        (
            Code::CertificateRunsOut,
            good_for(13, None),
            good_for(14, None),
        ),
        (
            Code::CertificateRunsOut,
            good_for(13, None),
            good_for(13, Some(BadCertificate::SelfSigned)),
        ),
        (
            Code::OurCertificate,
            with(one(believed()), |it| {
                it.own.certificate_fault = Some("it expired".to_owned())
            }),
            one(believed()),
        ),
    ]
}

fn proofs() -> Vec<Row> {
    let external = |failure| over_tls(refused("EXTERNAL", failure), true, true);
    let scram = |failure| end(refused("SCRAM-SHA-256", failure));
    let distrust = |mechanism| {
        end(Cause::Mechanism {
            mechanism,
            what: "a reason".into(),
        })
    };
    let slow = || Cause::Timeout("dialback");
    let pinged = |error: Option<&str>| {
        let error = error.map(PeerText::new);
        let ping = Ping {
            error,
            ..Ping::default()
        };
        one(with(believed(), |it| it.ping = Some(ping)))
    };
    let ends = one(with(believed(), |it| {
        it.ended = Some(error(Condition::NotAuthorized))
    }));
    let offers_external = || over_tls(offering(&["EXTERNAL"]), true, false);
    vec![
        (Code::Works, one(believed()), ends),
        (
            Code::WorksAsFarAsSeen,
            looked(None),
            looked(Some(BadCertificate::SelfSigned)),
        ),
        (
            Code::PingRefused,
            pinged(Some("internal-server-error")),
            pinged(None),
        ),
        (
            Code::NothingOffered,
            over_tls(offering(&[]), true, true),
            over_tls(offering(&[]), false, false),
        ),
        // Where `auth` has no "external", nobody sees our certificate.
        (
            Code::NothingOffered,
            over_tls(offering(&[]), true, true),
            auth(over_tls(offering(&[]), true, false), &["scram"]),
        ),
        (
            Code::NotAsked,
            over_tls(offering(&[]), false, false),
            over_tls(offering(&[]), true, true),
        ),
        (
            Code::NotAsked,
            over_tls(offering(&[]), false, false),
            ours(over_tls(offering(&[]), false, false), bare()),
        ),
        (
            Code::NotAsked,
            over_tls(refused("EXTERNAL", Failure::NotAuthorized), false, false),
            external(Failure::NotAuthorized),
        ),
        (
            Code::NoCertificate,
            ours(offers_external(), bare()),
            auth(ours(offers_external(), bare()), &["scram"]),
        ),
        (
            Code::NothingInCommon,
            over_tls(offering(&["SCRAM-SHA-1"]), true, true),
            ours(offers_external(), bare()),
        ),
        (
            Code::ExternalRefused,
            external(Failure::NotAuthorized),
            scram(Failure::NotAuthorized),
        ),
        (
            Code::ExternalRefused,
            external(Failure::NotAuthorized),
            external(Failure::TemporaryAuthFailure),
        ),
        (
            Code::PasswordRefused,
            scram(Failure::NotAuthorized),
            external(Failure::NotAuthorized),
        ),
        (
            Code::Mechanism,
            distrust("SCRAM-SHA-256"),
            scram(Failure::NotAuthorized),
        ),
        (
            Code::Kerberos,
            end(Cause::Kerberos("no KDC".into())),
            distrust("GSSAPI"),
        ),
        (
            Code::Temporary,
            scram(Failure::TemporaryAuthFailure),
            scram(Failure::AccountDisabled),
        ),
        (
            Code::DialbackInvalid,
            end(Cause::Dialback(Unproved::Invalid, None)),
            dialback(ErrorCondition::RemoteServerNotFound),
        ),
        (
            Code::DialbackInvalid,
            tried(
                "dialback",
                ProofOutcome::Unknown,
                error(Condition::InvalidId),
            ),
            stream_error(Condition::InvalidId),
        ),
        (
            Code::DialbackNotFound,
            dialback(ErrorCondition::RemoteServerNotFound),
            dialback(ErrorCondition::RemoteServerTimeout),
        ),
        (
            Code::DialbackNoWayBack,
            dialback(ErrorCondition::RemoteServerTimeout),
            dialback(ErrorCondition::RemoteServerNotFound),
        ),
        (
            Code::DialbackNoWayBack,
            tried("dialback", ProofOutcome::Unknown, slow()),
            tried("EXTERNAL", ProofOutcome::Unknown, slow()),
        ),
        (
            Code::DialbackNoWayBack,
            tried(
                "dialback",
                ProofOutcome::Unknown,
                error(Condition::RemoteConnectionFailed),
            ),
            stream_error(Condition::RemoteConnectionFailed),
        ),
        (
            Code::DialbackUnwanted,
            dialback(ErrorCondition::NotAuthorized),
            dialback(ErrorCondition::Forbidden),
        ),
        (
            Code::Dialback,
            dialback(ErrorCondition::ResourceConstraint),
            dialback(ErrorCondition::PolicyViolation),
        ),
        (Code::StanzaLimit, takes((512 << 10) - 1), takes(512 << 10)),
    ]
}

fn rows() -> Vec<Row> {
    [reaching(), streams(), certificates(), proofs()].concat()
}

/// Everything that is said.
fn codes(findings: &Findings) -> Vec<Code> {
    let verdict = verdict(findings);
    let warnings = verdict.warnings.iter().map(|warning| warning.code);
    std::iter::once(verdict.reason.code)
        .chain(warnings)
        .collect()
}

#[test]
fn every_code_is_said_of_its_cause_and_not_of_what_is_nearly_the_same() {
    for (at, (code, said, near)) in rows().into_iter().enumerate() {
        let name = code.name();
        assert!(
            codes(&said).contains(&code),
            "row {at}, {name}: {:?}",
            codes(&said)
        );
        assert!(
            !codes(&near).contains(&code),
            "row {at}, {name} is said of what is near it"
        );
    }
}

#[test]
fn no_code_is_without_a_cause_that_is_nearly_the_same() {
    let rows = rows();
    let missing: Vec<&str> = Code::ALL
        .iter()
        .copied()
        .filter(|code| rows.iter().all(|(row, ..)| row != code))
        .map(Code::name)
        .collect();
    assert_eq!(missing, [""; 0]);
}

/// What there is to change, in a case and in one in which that is so already, or does not help.
#[track_caller]
fn advised(advice: &str, where_it_helps: &Findings, where_not: &Findings) {
    let changes = |findings: &Findings| {
        let verdict = verdict(findings);
        let warnings = verdict.warnings.into_iter().map(|warning| warning.change);
        let all: Vec<String> = std::iter::once(verdict.reason.change)
            .chain(warnings)
            .collect();
        all.join("\n")
    };
    assert!(
        changes(where_it_helps).contains(advice),
        "{}",
        changes(where_it_helps)
    );
    assert!(
        !changes(where_not).contains(advice),
        "{}",
        changes(where_not)
    );
}

#[test]
fn nobody_is_advised_to_do_what_is_done_or_does_not_help() {
    let self_signed = || judged(BadCertificate::SelfSigned);
    let lenient = with(self_signed(), |it| it.rule.verify = "dialback");
    advised("`verify = \"dialback\"`", &self_signed(), &lenient);
    let closed = auth(self_signed(), &["external"]);
    advised("\"dialback\" in `auth`", &closed, &self_signed());
    // TLSA records make TLS necessary, whatever `tls` says.
    let forced = with(end(Cause::TlsNotOffered), |it| it.rule.tls = "optional");
    advised("tls = \"optional\"", &end(Cause::TlsNotOffered), &forced);
    advised("dane = \"off\"", &forced, &end(Cause::TlsNotOffered));
    // A certificate that nobody asks for is not believed by being better.
    let asked = over_tls(error(Condition::NotAuthorized), true, true);
    let unasked = over_tls(error(Condition::NotAuthorized), false, false);
    advised("show a certificate", &asked, &unasked);
    let none = || over_tls(offering(&[]), false, false);
    let strict = auth(none(), &["external"]);
    advised("allow \"dialback\" in `auth`", &strict, &none());
    // Not every failure is a wrong password, and not every method has one.
    let scram = |failure| end(refused("SCRAM-SHA-256", failure));
    let wrong = scram(Failure::NotAuthorized);
    advised("the username", &wrong, &scram(Failure::AccountDisabled));
    advised(
        "the username",
        &wrong,
        &end(refused("GSSAPI", Failure::NotAuthorized)),
    );
    // Who is not believed by dialback needs no better certificate for it.
    let by_dialback = tried(
        "dialback",
        ProofOutcome::Unknown,
        error(Condition::NotAuthorized),
    );
    advised("show a certificate", &asked, &by_dialback);
    advised(
        "use TLS",
        &dialback(ErrorCondition::PolicyViolation),
        &dialback(ErrorCondition::NotAuthorized),
    );
}

#[test]
fn what_this_machine_lacks_is_nobody_elses_to_repair() {
    let side = |findings: &Findings| verdict(findings).reason.side;
    for ours in [
        end(Cause::Memory),
        end(Cause::Descriptors),
        end(Cause::Network("no route".into())),
        nowhere(ResolveError::Exhausted),
        unconnected(ConnectFailure::Descriptors),
    ] {
        assert_eq!(side(&ours), Side::Us);
        let change = verdict(&ours).reason.change;
        assert!(!change.contains("b.example"), "{change}");
    }
    assert_eq!(side(&end(Cause::TooManyFailures)), Side::Between);
}

#[test]
fn the_step_that_decides_is_not_ticked() {
    let page = |findings: Findings| Report::of(findings).for_people(false);
    let broken = Cause::Protocol(Condition::InvalidFrom, "it is not".into());
    let decides = page(after_header(broken));
    assert!(
        decides.contains("✗ stream") && !decides.contains("✓ stream"),
        "{decides}"
    );
    let later = page(after_header(error(Condition::HostUnknown)));
    assert!(
        later.contains("✓ stream") && !later.contains("✗ stream"),
        "{later}"
    );
    // The header was good, and what was offered on it was read.
    let broken = Cause::Protocol(Condition::BadFormat, "it is not".into());
    let offered = with(after_header(broken), |it| {
        it.places[0].attempts[0].features.push(Offer::default());
    });
    assert!(page(offered).contains("✓ stream"));
    let left_out = page(unconnected(ConnectFailure::NotPublic));
    assert!(left_out.contains("✗ addresses"), "{left_out}");
    assert!(page(unconnected(ConnectFailure::Refused)).contains("✓ addresses"));
    let with_srv = |findings: Findings| {
        let lookups = no_address(true).lookups;
        page(with(findings, |it| it.lookups = lookups))
    };
    let nothing = with_srv(nowhere(ResolveError::NoService));
    assert!(
        nothing.contains("✗ SRV") && !nothing.contains("✓ SRV"),
        "{nothing}"
    );
    assert!(with_srv(stream_error(Condition::HostUnknown)).contains("✓ SRV"));
}
