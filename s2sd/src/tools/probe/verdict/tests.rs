//! Whatever ends a stream, somebody is told what to do about it.

use std::time::Duration;

use xmpp_dialback::ErrorCondition;
use xmpp_sasl::Failure;
use xmpp_stream::{Condition, StreamError};

use super::*;
use crate::closed::Unproved;
use crate::peer_text::PeerText;
use crate::protocol::plan::ResolveError;
use crate::tools::probe::findings::{
    AppliedPolicy, ConnectFailure, Dnssec, NoTls, Own, Proof, Unconnected, Unsecured,
};

mod nearby;

const EVIL: &str = "\x1b[2J\u{202e}\n";

fn findings(attempts: Vec<AttemptReport>) -> Findings {
    Findings {
        domain: "b.example".to_owned(),
        from: Some("a.example".to_owned()),
        own: Own {
            configured: true,
            certificate: true,
            ..Own::default()
        },
        rule: AppliedPolicy {
            name: "[policy]".to_owned(),
            tls: "required",
            min_tls: "1.2",
            require_ems: true,
            auth: vec!["external", "dialback"],
            verify: "strict",
            max_stanza: 512 << 10,
            ..AppliedPolicy::default()
        },
        dnssec: "off",
        lookups: Vec::new(),
        unresolved: None,
        places: vec![TargetReport {
            target: "x.b.example:5269".to_owned(),
            host: "x.b.example".to_owned(),
            direct_tls: false,
            addresses: vec!["192.0.2.1:5269".to_owned()],
            dnssec: Dnssec::Unchecked,
            unresolved: None,
            took: Duration::ZERO,
            tlsa: None,
            attempts,
        }],
        cut_short: false,
        took: Duration::ZERO,
    }
}

fn ended(cause: Cause) -> AttemptReport {
    AttemptReport {
        address: "192.0.2.1:5269".to_owned(),
        connected: Some(Duration::ZERO),
        ended: Some(cause),
        ..AttemptReport::default()
    }
}

/// Says something to somebody, and nothing that a terminal obeys.
#[track_caller]
fn check(findings: &Findings) -> ProbeVerdict {
    let verdict = verdict(findings);
    let Reason {
        because,
        rule,
        change,
        ..
    } = &verdict.reason;
    for said in [because, rule, change] {
        assert!(!said.is_empty(), "{verdict:#?}");
        assert!(!said.contains(char::is_control), "{said:?}");
        assert!(!said.contains('\u{202e}'), "{said:?}");
        // Each name in a text stood for something.
        let rest = said.replace("\\u{", "");
        assert!(!rest.contains('{'), "{said:?}");
    }
    assert_eq!(verdict.works, Works::No, "{verdict:#?}");
    verdict
}

fn causes() -> Vec<Cause> {
    let what = PeerText::from(EVIL);
    let mechanism = "SCRAM-SHA-256";
    let mut causes = vec![
        Cause::NoSuchHost(what.clone()),
        Cause::NoService,
        Cause::NoWay(what.clone()),
        Cause::Dns(what.clone()),
        Cause::Dnssec(what.clone()),
        Cause::NotPublic(what.clone()),
        Cause::Connect(what.clone()),
        Cause::Descriptors,
        Cause::Tls(what.clone()),
        Cause::Lost(what.clone()),
        Cause::TlsNotOffered,
        Cause::NoMechanism {
            offered: Vec::new(),
        },
        Cause::NoMechanism {
            offered: vec![what.clone()],
        },
        Cause::Mechanism {
            mechanism,
            what: what.clone(),
        },
        Cause::Kerberos(what.clone()),
        Cause::NoNameForTls,
        Cause::Dialback(Unproved::Other(what.clone()), None),
        Cause::Dialback(Unproved::Invalid, None),
        Cause::TooManyFailures,
        Cause::Timeout("SASL"),
        Cause::Memory,
        Cause::Idle,
        Cause::Shutdown,
        Cause::Finished,
        Cause::Replaced,
        Cause::Operator,
    ];
    for condition in Condition::ALL.iter().copied() {
        let error = StreamError::new(condition).with_text(EVIL);
        causes.push(Cause::StreamError(error.into()));
        causes.push(Cause::Protocol(condition, what.clone()));
    }
    for failure in Failure::ALL {
        for mechanism in ["EXTERNAL", mechanism] {
            causes.push(Cause::Refused { mechanism, failure });
        }
    }
    causes
}

#[test]
fn every_cause_has_words_for_somebody() {
    for cause in causes() {
        for own in [true, false] {
            let mut findings = findings(vec![ended(cause.clone())]);
            findings.own.certificate = own;
            let verdict = check(&findings);
            assert_eq!(verdict.reason.places, ["192.0.2.1:5269"], "{cause:?}");
        }
    }
}

#[test]
fn every_answer_of_dialback_has_words_for_somebody() {
    let conditions = [
        (ErrorCondition::ItemNotFound, Code::HostUnknown, Side::Peer),
        (
            ErrorCondition::RemoteConnectionFailed,
            Code::DialbackNoWayBack,
            Side::Us,
        ),
        (
            ErrorCondition::RemoteServerNotFound,
            Code::DialbackNotFound,
            Side::Us,
        ),
        (
            ErrorCondition::RemoteServerTimeout,
            Code::DialbackNoWayBack,
            Side::Us,
        ),
        (
            ErrorCondition::PolicyViolation,
            Code::DialbackUnwanted,
            Side::Peer,
        ),
        (
            ErrorCondition::NotAuthorized,
            Code::DialbackUnwanted,
            Side::Peer,
        ),
        (ErrorCondition::Forbidden, Code::DialbackInvalid, Side::Us),
        (
            ErrorCondition::NotAcceptable,
            Code::DialbackInvalid,
            Side::Us,
        ),
        (
            ErrorCondition::ResourceConstraint,
            Code::Dialback,
            Side::Peer,
        ),
        (ErrorCondition::Undefined, Code::Dialback, Side::Peer),
    ];
    for (condition, code, side) in conditions {
        let mut attempt = ended(Cause::Dialback(Unproved::Other(PeerText::default()), None));
        attempt.proofs.push(Proof {
            method: "dialback",
            outcome: ProofOutcome::Error(condition, None),
            took: Duration::ZERO,
        });
        let reason = check(&findings(vec![attempt])).reason;
        assert_eq!((reason.code, reason.side), (code, side));
    }
}

#[test]
fn every_failure_of_tcp_and_tls_has_words_for_somebody() {
    let said = || PeerText::from("it failed");
    for (why, side) in [
        (ConnectFailure::NotPublic, Side::Between),
        (ConnectFailure::Refused, Side::Peer),
        (ConnectFailure::Silent, Side::Between),
        (ConnectFailure::NoRoute, Side::Us),
        (ConnectFailure::Proxy, Side::Us),
        (ConnectFailure::Source, Side::Us),
        (ConnectFailure::Descriptors, Side::Us),
        (ConnectFailure::Other, Side::Between),
    ] {
        let mut attempt = ended(Cause::Connect(said()));
        attempt.unconnected = Some(Unconnected { why, said: said() });
        assert_eq!(check(&findings(vec![attempt])).reason.side, side, "{why:?}");
    }
    for (why, side) in [
        (Unsecured::NotTls, Side::Peer),
        (Unsecured::Version, Side::Peer),
        (Unsecured::NoEms, Side::Peer),
        (Unsecured::NothingInCommon, Side::Peer),
        (Unsecured::Name, Side::Peer),
        (Unsecured::OurCertificate, Side::Us),
        (Unsecured::Closed, Side::Peer),
        (Unsecured::Other, Side::Peer),
    ] {
        let mut attempt = ended(Cause::Tls(said()));
        attempt.no_tls = Some(NoTls { why, said: said() });
        assert_eq!(check(&findings(vec![attempt])).reason.side, side, "{why:?}");
    }
}

#[test]
fn every_failure_to_find_a_place_has_words_for_somebody() {
    let all = [
        ResolveError::NoService,
        ResolveError::NotFound,
        ResolveError::NoHost("127.0.0.1".into()),
        ResolveError::Onion,
        ResolveError::Failed("it failed".into()),
        ResolveError::Bogus("it is bogus".into()),
        ResolveError::Unsigned("b.example".into()),
        ResolveError::Exhausted,
    ];
    for why in all {
        let mut nowhere = findings(Vec::new());
        nowhere.places.clear();
        nowhere.unresolved = Some(why.clone());
        check(&nowhere);
        for connect in [false, true] {
            let mut lost = findings(Vec::new());
            lost.rule.connect = connect;
            lost.places[0].unresolved = Some(why.clone());
            assert_eq!(check(&lost).reason.places, ["x.b.example:5269"]);
        }
    }
}

#[test]
fn the_attempt_that_got_furthest_counts_and_one_that_works_is_enough() {
    let refused = ended(Cause::StreamError(
        StreamError::new(Condition::HostUnknown).into(),
    ));
    let mut silent = ended(Cause::Timeout("no answer to the stream header"));
    silent.address = "192.0.2.2:5269".to_owned();
    let mut all = findings(vec![refused.clone(), silent.clone()]);
    let verdict = check(&all);
    assert_eq!(verdict.reason.code, Code::HostUnknown);
    assert_eq!(verdict.warnings[0].code, Code::NoStream);
    let mut good = ended(Cause::Finished);
    good.ended = None;
    good.proofs.push(Proof {
        method: "EXTERNAL",
        outcome: ProofOutcome::Proved,
        took: Duration::ZERO,
    });
    all.places[0].attempts.push(good.clone());
    let found = super::verdict(&all);
    assert_eq!((found.works, found.reason.code), (Works::Yes, Code::Works));
    // Whoever takes a proof and no stanza is of no use.
    good.ping = Some(crate::tools::probe::findings::Ping {
        error: Some("internal-server-error".into()),
        ..Default::default()
    });
    let verdict = check(&findings(vec![good, refused]));
    assert_eq!(verdict.reason.code, Code::PingRefused);
}

#[test]
fn nothing_seen_in_time_is_nobodys_fault() {
    let mut nothing = findings(Vec::new());
    nothing.cut_short = true;
    let verdict = check(&nothing);
    assert_eq!(
        (verdict.reason.code, verdict.reason.side),
        (Code::OutOfTime, Side::Nobody)
    );
}
