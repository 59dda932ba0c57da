//! What a daemon does with a peer that does what it must not do: the stream error that the RFC names, the footer, a
//! closed connection, and no stanza delivered.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use s2sd::tools::demo::ca::{Issued, Leaf, Validity};
use s2sd_tests::{
    authoritative::Says,
    component_client::ComponentClient,
    hostile_peer::{Encryption, HostilePeer, Report, Scenario, ServerAnswer},
    peer::{Peer, header_text, initial_header},
    tls::TlsIdentity,
    wire::Event,
    world::{Daemon, TIMEOUT, World},
};
use xmpp_stream::{Condition, StanzaKind, StreamError, StreamHeader, ns};

/// How long to wait for what must not come.
const GRACE: Duration = Duration::from_millis(100);

/// A daemon for `b.test`, and its component, which must not get anything.
async fn world(daemon: Daemon) -> (World, ComponentClient) {
    let mut world = World::new().unwrap();
    world.start(daemon).await.unwrap();
    let victim = world.component("b.test").await.unwrap();
    (world, victim)
}

fn plain() -> Daemon {
    Daemon::serving("b.test").without_tls()
}

async fn hostile_peer(
    world: &World,
    scenario: Scenario,
    encryption: Encryption,
    identity: Option<TlsIdentity>,
) -> Report {
    let daemon = world.daemon("b.test").unwrap();
    let addr = match encryption {
        Encryption::Direct => daemon.s2s_tls[0],
        _ => daemon.s2s[0],
    };
    let hostile_peer = HostilePeer {
        scenario,
        addr,
        from: "a.test".to_owned(),
        to: "b.test".to_owned(),
        encryption,
        identity,
        stanza_to: "b.test".to_owned(),
        within: TIMEOUT,
    };
    hostile_peer.run().await
}

async fn nothing_arrived(victim: &mut ComponentClient) {
    let arrived = victim.collect(GRACE).await;
    assert!(arrived.is_empty(), "{arrived:?}");
}

/// A raw peer that has proved `a.test` to `b.test` by dialback.
async fn proved(world: &mut World) -> Peer {
    let _authority = world
        .authoritative("a.test", Says::Valid, None)
        .await
        .unwrap();
    let mut peer = world.connect("b.test").await.unwrap();
    peer.open("a.test", "b.test").await.unwrap();
    assert_eq!(
        peer.dialback("a.test", "b.test", "a key").await.unwrap(),
        "valid"
    );
    peer
}

#[tokio::test]
async fn a_forged_key_is_called_invalid_and_opens_nothing() {
    let (mut world, mut victim) = world(plain()).await;
    let authority = world
        .authoritative("a.test", Says::Invalid, None)
        .await
        .unwrap();
    let report = hostile_peer(&world, Scenario::ForgedKey, Encryption::None, None).await;
    assert!(report.ok, "{report:#?}");
    assert_eq!(
        report.answer,
        ServerAnswer::Dialback("invalid".to_owned(), None, None)
    );
    assert_eq!(authority.asked().len(), 1);
    nothing_arrived(&mut victim).await;
}

#[tokio::test]
async fn a_key_that_nobody_answers_for_is_an_error() {
    let daemon = plain().tables("[limits]\ndialback = '1s'");
    let (mut world, mut victim) = world(daemon).await;
    let _authority = world
        .authoritative("a.test", Says::Silence, None)
        .await
        .unwrap();
    let report = hostile_peer(&world, Scenario::ForgedKey, Encryption::None, None).await;
    assert!(report.ok, "{report:#?}");
    let ServerAnswer::Dialback(kind, condition, _) = report.answer else {
        panic!("{:?}", report.answer);
    };
    assert_eq!(
        (kind.as_str(), condition.as_deref()),
        ("error", Some("remote-server-timeout"))
    );
    nothing_arrived(&mut victim).await;
}

#[tokio::test]
async fn a_key_of_a_domain_that_the_dns_does_not_know_is_an_error() {
    let (world, mut victim) = world(plain()).await;
    let report = hostile_peer(&world, Scenario::ForgedKey, Encryption::None, None).await;
    assert!(report.ok, "{report:#?}");
    let ServerAnswer::Dialback(kind, condition, _) = report.answer else {
        panic!("{:?}", report.answer);
    };
    assert_eq!(
        (kind.as_str(), condition.as_deref()),
        ("error", Some("remote-server-not-found"))
    );
    nothing_arrived(&mut victim).await;
}

#[tokio::test]
async fn a_stanza_without_proof_is_not_authorized() {
    let (world, mut victim) = world(plain()).await;
    let report = hostile_peer(&world, Scenario::Unauthenticated, Encryption::None, None).await;
    let ServerAnswer::StreamError(condition, _) = report.answer else {
        panic!("{:?}", report.answer);
    };
    assert_eq!(condition, "not-authorized");
    nothing_arrived(&mut victim).await;
}

#[tokio::test]
async fn a_stanza_before_required_tls_is_not_authorized() {
    let (world, mut victim) = world(Daemon::serving("b.test")).await;
    let report = hostile_peer(&world, Scenario::Unauthenticated, Encryption::None, None).await;
    let ServerAnswer::StreamError(condition, _) = report.answer else {
        panic!("{:?}", report.answer);
    };
    assert_eq!(condition, "not-authorized");
    assert_eq!(report.features, ["starttls"]);
    nothing_arrived(&mut victim).await;
}

#[tokio::test]
async fn a_dialback_key_before_required_tls_is_a_policy_violation() {
    let (world, mut victim) = world(Daemon::serving("b.test")).await;
    let report = hostile_peer(&world, Scenario::ForgedKey, Encryption::None, None).await;
    let ServerAnswer::Dialback(kind, condition, _) = report.answer else {
        panic!("{:?}", report.answer);
    };
    assert_eq!(
        (kind.as_str(), condition.as_deref()),
        ("error", Some("policy-violation"))
    );
    nothing_arrived(&mut victim).await;
}

#[tokio::test]
async fn an_unknown_host_is_refused_in_the_header() {
    let (world, _) = world(plain()).await;
    let mut peer = world.connect("b.test").await.unwrap();
    peer.send_header(Some("a.test"), "c.test").await.unwrap();
    peer.expect_header().await.unwrap();
    let error = peer.expect_stream_error().await.unwrap();
    assert_eq!(error.condition, Condition::HostUnknown);
}

#[tokio::test]
async fn a_wrong_certificate_is_not_authorized_on_either_listener() {
    let daemon = Daemon::serving("b.test").direct_tls();
    let (world, mut victim) = world(daemon).await;
    let wrong = [
        TlsIdentity::from(&world.issue(&Leaf::domain("c.test"))),
        TlsIdentity::from(&world.issue(&Leaf::domain("a.test").validity(Validity::Expired))),
        TlsIdentity::from(&Issued::self_signed(&Leaf::domain("a.test"))),
    ];
    for identity in wrong {
        for encryption in [Encryption::StartTls, Encryption::Direct] {
            let identity = Some(identity.clone());
            let report =
                hostile_peer(&world, Scenario::WrongCertificate, encryption, identity).await;
            let ServerAnswer::StreamError(condition, text) = report.answer else {
                panic!("{report:#?}");
            };
            assert_eq!(condition, "not-authorized");
            assert!(text.is_some_and(|text| text.contains("certificate")));
        }
    }
    nothing_arrived(&mut victim).await;
}

#[tokio::test]
async fn a_missing_certificate_leaves_dialback() {
    let daemon = Daemon::serving("b.test");
    let (mut world, mut victim) = world(daemon).await;
    let identity = world.identity("a.test");
    let _authority = world
        .authoritative("a.test", Says::Invalid, Some(identity))
        .await
        .unwrap();
    let report = hostile_peer(&world, Scenario::ForgedKey, Encryption::StartTls, None).await;
    assert!(report.ok, "{report:#?}");
    assert_eq!(report.features, ["dialback"]);
    assert_eq!(
        report.answer,
        ServerAnswer::Dialback("invalid".to_owned(), None, None)
    );
    nothing_arrived(&mut victim).await;
}

#[tokio::test]
async fn a_header_without_version_gets_no_version_and_no_features() {
    let (world, _) = world(plain()).await;
    let report = hostile_peer(&world, Scenario::NoVersion, Encryption::None, None).await;
    assert!(report.ok, "{report:#?}");
}

#[tokio::test]
async fn a_header_without_version_is_a_policy_violation_where_tls_is_required() {
    let (world, _) = world(Daemon::serving("b.test")).await;
    let mut peer = world.connect("b.test").await.unwrap();
    let header = StreamHeader {
        version: None,
        ..initial_header(Some("a.test"), "b.test")
    };
    peer.send(header_text(&header)).await.unwrap();
    peer.expect_header().await.unwrap();
    let error = peer.expect_stream_error().await.unwrap();
    assert_eq!(error.condition, Condition::PolicyViolation);
}

/// RFC 6120 §5.3.3: what came in plain text after `<starttls/>` is never taken for something said over TLS.
#[tokio::test]
async fn plain_text_after_starttls_ends_the_connection() {
    let (world, mut victim) = world(Daemon::serving("b.test")).await;
    for injected in [" ", "<message/>", "<stream:stream>"] {
        let mut peer = world.connect("b.test").await.unwrap();
        peer.open("a.test", "b.test").await.unwrap();
        peer.send(format!("<starttls xmlns='{}'/>{injected}", ns::TLS))
            .await
            .unwrap();
        let mut error = None;
        loop {
            match peer.next().await.unwrap() {
                Event::Closed => break,
                Event::Nothing => panic!("still open after {injected:?}"),
                Event::Element(element) => error = StreamError::from_element(&element),
                Event::Header(_) | Event::Footer => {}
            }
        }
        let condition = error.map(|error| error.condition);
        assert_eq!(condition, Some(Condition::PolicyViolation), "{injected:?}");
    }
    nothing_arrived(&mut victim).await;
}

#[tokio::test]
async fn a_proved_peer_delivers_and_nobody_else_does_on_its_stream() {
    let (mut world, mut victim) = world(plain()).await;
    let table = [
        (
            "<message from='x@c.test' to='b.test'/>",
            Condition::InvalidFrom,
        ),
        (
            "<message from='b.test' to='b.test'/>",
            Condition::InvalidFrom,
        ),
        ("<message from='x@a.test'/>", Condition::ImproperAddressing),
        ("<message to='b.test'/>", Condition::ImproperAddressing),
        (
            "<message from='x@a.test' to='c.test'/>",
            Condition::HostUnknown,
        ),
        (
            "<message from='x@a.test' to='b.test'><a></b></message>",
            Condition::NotWellFormed,
        ),
        (
            "<message from='x@a.test' to='b.test'><!-- --></message>",
            Condition::RestrictedXml,
        ),
    ];
    for (sent, condition) in table {
        let mut peer = proved(&mut world).await;
        peer.send("<message from='x@a.test' to='b.test' id='good'/>")
            .await
            .unwrap();
        peer.send(sent).await.unwrap();
        let error = peer.expect_stream_error().await;
        assert_eq!(
            error.map(|error| error.condition).ok(),
            Some(condition),
            "{sent}"
        );
        let good = victim
            .expect("the good one", TIMEOUT, |stanza| {
                stanza.stanza_kind() == Some(StanzaKind::Message)
            })
            .await
            .unwrap();
        assert_eq!(good.id().as_deref(), Some("good"));
    }
    nothing_arrived(&mut victim).await;
}

#[tokio::test]
async fn a_stanza_larger_than_the_limit_ends_the_stream_while_it_comes() {
    let (mut world, mut victim) = world(plain().policy("max_stanza = '10KiB'")).await;
    let mut peer = proved(&mut world).await;
    let start = "<message from='x@a.test' to='b.test'><body>";
    peer.send(format!("{start}{}", "x".repeat(20_000)))
        .await
        .unwrap();
    let error = peer.expect_stream_error().await.unwrap();
    assert_eq!(error.condition, Condition::PolicyViolation);
    nothing_arrived(&mut victim).await;
}

#[tokio::test]
async fn a_proof_for_one_pair_is_none_for_another() {
    let (mut world, mut victim) = world(plain().and("c.test")).await;
    let mut other = world
        .component_for(
            "b.test",
            "c.test",
            s2sd_tests::component_client::Behaviour::Quiet,
        )
        .await
        .unwrap();
    let mut peer = proved(&mut world).await;
    peer.send("<message from='x@a.test' to='c.test'/>")
        .await
        .unwrap();
    peer.expect_stream_error().await.unwrap();
    nothing_arrived(&mut other).await;
    nothing_arrived(&mut victim).await;
}

/// An answer to a question that was not asked (XEP-0220 §6.1, attack of a peer on its own stream).
#[tokio::test]
async fn an_unsolicited_answer_proves_nothing() {
    let (world, mut victim) = world(plain()).await;
    for answer in [
        "<db:result from='a.test' to='b.test' type='valid'/>",
        "<db:verify from='a.test' to='b.test' id='1' type='valid'/>",
    ] {
        let mut peer = world.connect("b.test").await.unwrap();
        peer.open("a.test", "b.test").await.unwrap();
        peer.send(answer).await.unwrap();
        peer.send("<message from='x@a.test' to='b.test'/>")
            .await
            .unwrap();
        peer.expect_stream_error().await.unwrap();
    }
    nothing_arrived(&mut victim).await;
}
