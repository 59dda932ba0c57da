//! What is held of every cause.

use xmpp_stream::StanzaCondition;

use super::*;

/// One of each, and of those that others have a say in, one of each kind.
fn every_cause() -> Vec<Cause> {
    let what = || PeerText::from("what was said");
    let dialback = |unproved| Cause::Dialback(unproved, None);
    let mut causes = vec![
        Cause::NoSuchHost(what()),
        Cause::NoService,
        Cause::NoWay(what()),
        Cause::Dns(what()),
        Cause::NameServer(what()),
        Cause::Dnssec(what()),
        Cause::NotPublic(what()),
        Cause::Connect(what()),
        Cause::Network(what()),
        Cause::Descriptors,
        Cause::Tls(what()),
        Cause::NoNameForTls,
        Cause::CertificateRefused(what()),
        Cause::Lost(what()),
        Cause::TlsNotOffered,
        Cause::Certificate(what()),
        Cause::CertificateUntold(what()),
        Cause::NoMechanism { offered: vec![] },
        Cause::NoMechanism {
            offered: vec![what()],
        },
        Cause::Mechanism {
            mechanism: "PLAIN",
            what: what(),
        },
        Cause::Kerberos(what()),
        dialback(Unproved::Invalid),
        dialback(Unproved::Other(what())),
        Cause::Dialback(Unproved::Other(what()), Some(Box::new(Cause::Finished))),
        Cause::TooManyFailures,
        Cause::Policy(what()),
        Cause::StanzaRefused(None),
        Cause::Timeout("something"),
        Cause::Memory,
        Cause::Idle,
        Cause::Shutdown,
        Cause::Finished,
        Cause::Replaced,
        Cause::Operator,
    ];
    for condition in [
        ErrorCondition::ItemNotFound,
        ErrorCondition::RemoteConnectionFailed,
        ErrorCondition::RemoteServerNotFound,
        ErrorCondition::RemoteServerTimeout,
        ErrorCondition::PolicyViolation,
        ErrorCondition::NotAuthorized,
        ErrorCondition::Forbidden,
        ErrorCondition::NotAcceptable,
        ErrorCondition::ResourceConstraint,
        ErrorCondition::Undefined,
    ] {
        let said = Some(what());
        causes.push(dialback(Unproved::Error { condition, said }));
    }
    for &condition in Condition::ALL {
        let error = PeerError {
            condition,
            said: None,
        };
        causes.push(Cause::StreamError(error.clone()));
        causes.push(Cause::StanzaRefused(Some(error)));
        causes.push(Cause::Protocol(condition, what()));
    }
    for failure in Failure::ALL {
        let mechanism = "EXTERNAL";
        causes.push(Cause::Refused { mechanism, failure });
    }
    causes
}

/// Whoever counts by them, or reads them in a bounce, finds the same ones after an update.
#[test]
fn the_names_of_causes_are_these() {
    let names = [
        "no-such-host",
        "no-service",
        "no-way",
        "dns",
        "name-server",
        "dnssec",
        "not-public",
        "network",
        "connect",
        "descriptors",
        "lost",
        "timeout",
        "memory",
        "idle",
        "shutdown",
        "finished",
        "replaced",
        "operator",
        "tls",
        "tls-not-offered",
        "certificate",
        "certificate-untold",
        "certificate-refused",
        "protocol",
        "stream-error",
        "stanza-refused",
        "policy",
        "no-mechanism",
        "refused",
        "mechanism",
        "kerberos",
        "dialback",
        "too-many-failures",
    ];
    assert_eq!(Cause::NAMES, names);
    let mut said: Vec<&str> = every_cause().iter().map(Cause::name).collect();
    let mut all = names.to_vec();
    said.sort_unstable();
    said.dedup();
    all.sort_unstable();
    assert_eq!(said, all);
    let returned = ["queue-full", "component-absent", "peer-limit"];
    assert!(returned.iter().all(|name| !all.contains(name)));
    all.extend(returned);
    for name in Returned::NAMES {
        assert!(all.contains(name), "{name}");
    }
    for name in all {
        let kebab = |part: &str| !part.is_empty() && part.bytes().all(|it| it.is_ascii_lowercase());
        assert!(name.split('-').all(kebab) && name.len() <= 24, "{name}");
    }
}

#[test]
fn what_is_told_of_a_component_speaks_of_no_server_and_the_other_way_round() {
    for cause in every_cause() {
        let told = |other| cause.told_of(other).to_string();
        let (server, component) = (told(OtherEnd::Server), told(OtherEnd::Component));
        assert!(!server.contains("component"), "{server}");
        for word in ["the other server", "the other one", "peer"] {
            assert!(!component.contains(word), "{component}");
        }
        assert_eq!(server, cause.to_string());
        assert_eq!(server.contains("the other server"), server != component);
    }
    let by = |by: By| by.name(OtherEnd::Component);
    assert_eq!(
        [by(By::Us), by(By::Peer), by(By::World)],
        ["us", "component", "network"]
    );
}

#[test]
fn a_bounce_has_the_text_and_the_name_of_its_cause() {
    for cause in every_cause() {
        let error = cause.stanza_error();
        assert_eq!(error.text, Some(cause.to_string()));
        assert_eq!(error.application, Some(cause_element(cause.name())));
        let kind = match cause.is_permanent() {
            true => ErrorType::Cancel,
            false => ErrorType::Wait,
        };
        assert_eq!(error.kind, kind, "{cause}");
    }
}

#[test]
fn a_refusal_before_dialback_is_told_with_it() {
    let refused = Cause::Refused {
        mechanism: "EXTERNAL",
        failure: Failure::NotAuthorized,
    };
    let unproved = Unproved::Error {
        condition: ErrorCondition::PolicyViolation,
        said: Some("no".into()),
    };
    let cause = Cause::Dialback(unproved, Some(Box::new(refused)));
    assert_eq!(
        cause.to_string(),
        "server dialback failed: policy-violation: no; before that, the other server refused EXTERNAL (not-authorized)"
    );
}

/// What lasts is told apart from what passes, and what is of the pair from what is of the attempt.
#[test]
fn what_follows_from_a_cause_agrees() {
    for cause in every_cause() {
        assert!(
            cause.is_permanent() || !cause.is_about_the_pair(),
            "{cause}"
        );
        assert!(
            cause.is_about_the_pair() || !cause.may_be_starting_up(),
            "{cause}"
        );
        let not_found = StanzaCondition::RemoteServerNotFound;
        if cause.stanza_error().condition == not_found {
            assert!(cause.is_about_the_pair() && cause.reach() == Reach::LookedUp);
        }
        assert!(cause.says_more_than(&cause), "{cause}");
    }
}
