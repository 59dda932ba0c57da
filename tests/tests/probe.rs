//! `s2sd probe`, asked from a.test why federation with b.test works or does not: places, connections, streams, TLS,
//! certificates. Authentication is in `probe_proofs.rs`.
#![allow(clippy::unwrap_used)]

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use s2sd::config::{Addresses, Config, TrustStore};
use s2sd::tools::demo::ca::{Authority, Issued, Leaf, Validity};
use s2sd::tools::probe::verdict::{Side, Works};
use s2sd::tools::probe::{Question, Report, probe};
use s2sd_tests::{
    peer::Peer,
    tls::TlsIdentity,
    verdict::faulty,
    world::{Daemon, RawServer, TIMEOUT, World},
};
use tokio::sync::watch;
use xmpp_stream::{Condition, Features, StreamError, Writer, ns};

fn a_test() -> Daemon {
    Daemon::serving("a.test")
}

/// A world with a daemon for a.test in it.
async fn world(a: &Daemon) -> World {
    let mut world = World::new().unwrap();
    world.start(a.clone()).await.unwrap();
    world
}

/// What a probe says of b.test, whose server is played by `server`.
async fn played(a: Daemon, mut server: impl AsyncFnMut(RawServer, &World)) -> Report {
    let mut world = world(&a).await;
    let listener = world.listen("b.test").await.unwrap();
    tokio::select! {
        report = world.probe(&a, "b.test") => report.unwrap(),
        () = server(listener, &world) => panic!("the server has left the stage"),
    }
}

fn starttls() -> Features {
    Features::new().with_starttls(true)
}

/// Up to TLS, where this certificate is shown.
async fn shows(listener: &RawServer, issued: &Issued) -> Peer {
    let mut peer = listener.accept_at_leisure().await.unwrap();
    peer.answer_open("1", &starttls()).await.unwrap();
    let identity = TlsIdentity::from(issued);
    peer.accept_starttls(&identity).await.unwrap();
    peer
}

async fn for_ever() {
    std::future::pending().await
}

#[tokio::test]
async fn a_name_that_does_not_exist() {
    let a = a_test();
    let report = world(&a).await.probe(&a, "b.test").await.unwrap();
    let words = ["_xmpp-server._tcp.b.test", "RFC 6120 §3.2.2", "spelt right"];
    faulty(&report, "no-such-domain", Side::Peer, &words);
    assert_eq!(report.findings.lookups.len(), 2);
}

#[tokio::test]
async fn a_domain_that_says_it_has_no_service() {
    let a = a_test();
    let mut world = world(&a).await;
    world.change_zone(|zone| zone.service_absent("_xmpp-server._tcp.b.test"));
    let report = world.probe(&a, "b.test").await.unwrap();
    faulty(
        &report,
        "no-service",
        Side::Peer,
        &["SRV \".\"", "RFC 2782"],
    );
}

#[tokio::test]
async fn name_servers_that_fail_are_the_peers_where_others_are_found() {
    let a = a_test();
    let mut world = world(&a).await;
    world.change_zone(|zone| zone.fails("_xmpp-server._tcp.b.test"));
    let report = world.probe(&a, "b.test").await.unwrap();
    let words = [
        "operator of b.test",
        "name servers",
        "other names are found",
    ];
    faulty(&report, "dns", Side::Peer, &words);
    // Where nothing is found at all, it is rather the resolver here.
    world.change_zone(|zone| {
        zone.fails("_xmpp-server._tcp.a.test")
            .fails("_xmpps-server._tcp.a.test")
    });
    let report = world.probe(&a, "b.test").await.unwrap();
    faulty(&report, "dns", Side::Between, &["`servers` in [dns]"]);
}

#[tokio::test]
async fn an_srv_record_to_a_name_without_address() {
    let a = a_test();
    let mut world = world(&a).await;
    world.change_zone(|zone| zone.srv("_xmpp-server._tcp.b.test", 0, 0, 5269, "gone.b.test"));
    let report = world.probe(&a, "b.test").await.unwrap();
    let words = ["gone.b.test", "give gone.b.test an address"];
    faulty(&report, "target-without-address", Side::Peer, &words);
    assert_eq!(report.verdict.reason.places, ["gone.b.test:5269"]);
}

#[tokio::test]
async fn nothing_listens() {
    let a = a_test();
    let mut world = world(&a).await;
    // The listener is gone at once.
    world.listen("b.test").await.unwrap();
    let report = world.probe(&a, "b.test").await.unwrap();
    let words = ["nothing listens at 127.0.0.1:", "start the server"];
    faulty(&report, "refused", Side::Peer, &words);
}

#[tokio::test]
async fn addresses_that_are_not_public() {
    let a = a_test().policy("addresses = 'public'");
    let mut world = world(&a).await;
    let listener = world.listen("b.test").await.unwrap();
    let report = world.probe(&a, "b.test").await.unwrap();
    let words = [
        "127.0.0.1 (loopback) left out",
        "`addresses = \"public\"` in [policy]",
        "with domain = \"b.test\" and addresses = \"any\"",
    ];
    faulty(&report, "not-public", Side::Between, &words);
    drop(listener);
}

#[tokio::test]
async fn every_place_and_address_is_tried_and_one_is_enough() {
    let a = a_test();
    let mut world = world(&a).await;
    world.start(Daemon::serving("b.test")).await.unwrap();
    let port = world.daemon("b.test").unwrap().s2s[0].port();
    world.change_zone(|zone| {
        zone.without("_xmpp-server._tcp.b.test")
            .srv("_xmpp-server._tcp.b.test", 1, 0, 9, "first.b.test")
            .srv("_xmpp-server._tcp.b.test", 2, 0, 9, "nowhere.b.test")
            .srv("_xmpp-server._tcp.b.test", 3, 0, port, "both.b.test")
            .a("first.b.test", Ipv4Addr::LOCALHOST)
            .a("both.b.test", Ipv4Addr::LOCALHOST)
            .a("both.b.test", Ipv4Addr::new(127, 0, 0, 9))
    });
    let report = world.probe(&a, "b.test").await.unwrap();
    let text = report.for_people(false);
    assert_eq!(report.verdict.works, Works::Yes, "{text}");
    let count = report
        .findings
        .places
        .iter()
        .map(|place| place.attempts.len());
    // The last is for dialback, which nobody asked for where EXTERNAL did.
    assert_eq!(count.collect::<Vec<_>>(), [1, 0, 3], "{text}");
    let warnings = report.verdict.warnings.iter();
    let warnings: Vec<_> = warnings
        .map(|it| (it.code.name(), it.places[0].as_str()))
        .collect();
    let refused = format!("127.0.0.9:{port}");
    assert_eq!(
        warnings,
        [
            ("target-without-address", "nowhere.b.test:9"),
            ("refused", "127.0.0.1:9"),
            ("refused", refused.as_str()),
        ],
        "{text}"
    );
}

#[tokio::test]
async fn a_server_that_takes_connections_and_says_nothing() {
    let a = a_test().tables("[limits]\nnegotiation = '1s'");
    let report = played(a, async |listener, _| {
        let _silent = listener.accept_at_leisure().await.unwrap();
        for_ever().await
    });
    let words = ["says nothing", "`negotiation` in [limits]"];
    faulty(&report.await, "no-stream", Side::Peer, &words);
}

#[tokio::test]
async fn what_was_not_over_when_time_was() {
    let a = a_test();
    let mut world = world(&a).await;
    let listener = world.listen("b.test").await.unwrap();
    let half = Duration::from_millis(500);
    let report = tokio::select! {
        report = world.probe_within(&a, "b.test", half) => report.unwrap(),
        () = async {
            let mut peer = listener.accept_at_leisure().await.unwrap();
            peer.answer_open("1", &starttls()).await.unwrap();
            for_ever().await
        } => panic!("for ever is over"),
    };
    faulty(&report, "timeout", Side::Peer, &["--timeout"]);
    assert!(report.findings.cut_short);
    // What was seen until then is told all the same.
    let attempt = &report.findings.places[0].attempts[0];
    assert!(attempt.unfinished && attempt.features[0].starttls == Some(true));
}

#[tokio::test]
async fn a_server_that_closes_at_once() {
    let report = played(a_test(), async |listener, _| {
        loop {
            drop(listener.accept_at_leisure().await.unwrap());
        }
    });
    let words = ["closes the connection without a word", "blocked"];
    faulty(&report.await, "closed-at-once", Side::Peer, &words);
}

#[tokio::test]
async fn something_else_than_xmpp() {
    let report = played(a_test(), async |listener, _| {
        let mut peer = listener.accept_at_leisure().await.unwrap();
        peer.send("HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        for_ever().await
    });
    let words = ["does not speak XMPP", "HTTP/1.1 400 Bad Request"];
    faulty(&report.await, "not-xmpp", Side::Peer, &words);
    let report = played(a_test(), async |listener, _| {
        let mut peer = listener.accept_at_leisure().await.unwrap();
        peer.send(b"\x15\x03\x01\0\x02\x02\x0a").await.unwrap();
        for_ever().await
    });
    let words = ["wants TLS from the first byte", "_xmpps-server._tcp.b.test"];
    faulty(&report.await, "tls-at-once", Side::Peer, &words);
}

#[tokio::test]
async fn the_port_for_clients_is_not_taken_for_something_else_than_xmpp() {
    let report = played(a_test(), async |listener, _| {
        let mut peer = listener.accept_at_leisure().await.unwrap();
        let header = "<?xml version='1.0'?><stream:stream id='1' from='b.test' version='1.0' \
                      xmlns:stream='http://etherx.jabber.org/streams' xmlns='jabber:client'>";
        peer.send(header).await.unwrap();
        for_ever().await
    });
    let report = report.await;
    let words = ["with clients (jabber:client)", "port 5269"];
    faulty(&report, "not-for-servers", Side::Peer, &words);
    assert!(report.for_people(false).contains("✗ stream"));
}

#[tokio::test]
async fn no_starttls_where_it_is_required() {
    let report = played(a_test(), async |listener, _| {
        let mut peer = listener.accept_at_leisure().await.unwrap();
        peer.answer_open("1", &Features::default()).await.unwrap();
        for_ever().await
    });
    let words = [
        "`tls = \"required\"` in [policy]",
        "[[peer]] with domain = \"b.test\" and tls = \"optional\"",
    ];
    faulty(&report.await, "no-starttls", Side::Peer, &words);
}

#[tokio::test]
async fn a_handshake_without_a_version_in_common() {
    let a = a_test().tables("[[peer]]\ndomain = 'b.test'\nmin_tls = '1.3'");
    let report = played(a, async |listener, _| {
        let mut peer = listener.accept_at_leisure().await.unwrap();
        peer.answer_open("1", &starttls()).await.unwrap();
        peer.expect(ns::TLS, "starttls").await.unwrap();
        let proceed = Writer::new("proceed").xmlns(ns::TLS);
        peer.send(proceed.finish()).await.unwrap();
        // The ClientHello, which is no XML, and protocol_version (RFC 8446 §6).
        let _ = peer.next().await;
        peer.send(b"\x15\x03\x01\0\x02\x02\x46").await.unwrap();
        for_ever().await
    });
    let words = [
        "`min_tls = \"1.3\"` in [[peer]] b.test",
        "allow TLS 1.3",
        "min_tls = \"1.2\"",
    ];
    faulty(&report.await, "tls-version", Side::Peer, &words);
}

/// What is said of b.test with a certificate.
async fn with_certificate(make: impl Fn(&World) -> Issued) -> Report {
    played(a_test(), async |listener, world| {
        let issued = make(world);
        let _peer = shows(&listener, &issued).await;
        for_ever().await
    })
    .await
}

fn b_test() -> Leaf {
    Leaf::domain("b.test")
}

#[tokio::test]
async fn a_certificate_that_has_expired() {
    let report = with_certificate(|world| world.issue(&b_test().validity(Validity::Expired)));
    let words = ["expired on", "renew", "`verify = \"strict\"` in [policy]"];
    let report = report.await;
    faulty(&report, "certificate-expired", Side::Peer, &words);
    // What was shown, and what TLS was made of.
    let attempt = &report.findings.places[0].attempts[0];
    let tls = attempt.tls.as_ref().unwrap();
    assert_eq!(tls.version, "TLS 1.3");
    assert!(tls.chain[0].days_left < 0);
    assert_eq!(tls.chain[0].names, ["dNSName b.test"]);
}

#[tokio::test]
async fn a_certificate_of_another_name() {
    let report = with_certificate(|world| world.issue(&Leaf::domain("host.b.test")));
    let words = ["dNSName host.b.test", "with the name b.test", "SNI"];
    faulty(&report.await, "certificate-wrong-name", Side::Peer, &words);
}

#[tokio::test]
async fn a_certificate_that_nobody_signed() {
    let report = with_certificate(|_| Issued::self_signed(&b_test()));
    let words = [
        "self-signed",
        "[[peer]] with domain = \"b.test\"",
        "`trust`",
    ];
    faulty(&report.await, "certificate-self-signed", Side::Peer, &words);
}

#[tokio::test]
async fn a_certificate_of_an_authority_that_nobody_knows() {
    let report = with_certificate(|_| {
        let strange = Authority::new("strange").intermediate("stranger");
        strange.issue(&b_test())
    });
    let words = ["no authority trusted here", "an authority that others know"];
    faulty(
        &report.await,
        "certificate-unknown-issuer",
        Side::Peer,
        &words,
    );
}

#[tokio::test]
async fn a_certificate_without_the_one_above_it() {
    let report = with_certificate(|_| {
        let mut issued = Authority::new("root")
            .intermediate("between")
            .issue(&b_test());
        let end = "-----END CERTIFICATE-----";
        let leaf = issued.chain_pem.find(end).unwrap() + end.len();
        issued.chain_pem.truncate(leaf);
        issued
    });
    let words = ["only one certificate was shown", "install the full chain"];
    faulty(
        &report.await,
        "certificate-unknown-issuer",
        Side::Peer,
        &words,
    );
}

#[tokio::test]
async fn a_server_that_does_not_know_the_domain() {
    let report = played(a_test(), async |listener, world| {
        let mut peer = shows(&listener, &world.issue(&b_test())).await;
        peer.answer_open("2", &Features::default()).await.unwrap();
        let error = StreamError::new(Condition::HostUnknown).with_text("who?\x1b[2J");
        peer.send(error.to_bytes()).await.unwrap();
        for_ever().await
    });
    let words = ["does not serve b.test", "host-unknown (who?"];
    faulty(&report.await, "host-unknown", Side::Peer, &words);
}

/// Nobody's question, whose name servers and trust are the world's.
fn nobodys(world: &World, from: Option<&str>) -> Question {
    world.write("nobody", "ca.pem", world.authority()).unwrap();
    let mut config = Config::default();
    config.dns.servers = vec![world.dns().addr()];
    let policy = Arc::make_mut(&mut config.policy);
    policy.trust = TrustStore::Files(vec![world.path("nobody").join("ca.pem")]);
    policy.addresses = Addresses::Any;
    Question {
        domain: "b.test".parse().unwrap(),
        from: from.map(|from| from.parse().unwrap()),
        config,
        within: TIMEOUT,
    }
}

#[tokio::test]
async fn without_a_configuration_it_is_said_what_could_not_be_tried() {
    let mut world = World::new().unwrap();
    world.start(Daemon::serving("b.test")).await.unwrap();
    for from in [None, Some("c.test")] {
        let question = nobodys(&world, from);
        let report = probe(question, &watch::Sender::default()).await.unwrap();
        let text = report.for_people(false);
        assert_eq!(report.verdict.works, Works::AsFarAsSeen, "{text}");
        assert!(report.is_well());
        assert_eq!(report.findings.from.as_deref(), from);
        let attempt = &report.findings.places[0].attempts[0];
        assert!(
            attempt
                .tls
                .as_ref()
                .unwrap()
                .identity
                .as_ref()
                .unwrap()
                .good
        );
        assert_eq!((attempt.features.len(), attempt.proofs.len()), (2, 0));
        for untried in [
            "external: without a configuration (-c) there is no certificate to show",
            "dialback: without a configuration (-c) no server knows our key",
        ] {
            let said = report.verdict.untried.iter();
            assert!(said.clone().any(|it| it == untried), "{text}");
        }
    }
}

#[tokio::test]
async fn who_only_looks_sees_too_what_a_server_offers_that_is_not_believed() {
    let mut world = World::new().unwrap();
    let issued = Issued::self_signed(&b_test());
    let b = Daemon::serving("b.test").certificate_from(issued);
    world.start(b).await.unwrap();
    let question = nobodys(&world, Some("c.test"));
    let report = probe(question, &watch::Sender::default()).await.unwrap();
    let words = ["self-signed", "`verify = \"strict\"`, the default"];
    faulty(&report, "certificate-self-signed", Side::Peer, &words);
    let offered = report.findings.places[0].attempts[0].offer().unwrap();
    assert!(offered.encrypted && offered.dialback == Some(true));
}

#[tokio::test]
async fn who_only_looks_says_a_name_only_if_one_is_given() {
    for from in [None, Some("c.test")] {
        let mut world = World::new().unwrap();
        let listener = world.listen("b.test").await.unwrap();
        let seen = async {
            let mut peer = listener.accept_at_leisure().await.unwrap();
            let header = peer.answer_open("1", &Features::default()).await.unwrap();
            // The stream goes no further, and is closed in good order.
            peer.expect_end().await.unwrap();
            header.from
        };
        let question = nobodys(&world, from);
        let progress = watch::Sender::default();
        let (report, seen) = tokio::join!(probe(question, &progress), seen);
        assert_eq!(seen.as_deref(), from);
        faulty(&report.unwrap(), "no-starttls", Side::Peer, &["b.test"]);
    }
}

#[tokio::test]
async fn questions_without_sense() {
    let a = a_test();
    let error = world(&a).await.probe(&a, "a.test").await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("is served by this configuration"),
        "{error}"
    );
}
