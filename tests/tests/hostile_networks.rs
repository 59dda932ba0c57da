//! Many connections of one party: those of a network count together until they are authenticated, those of a domain
//! afterwards; the last places are kept for hosts that are known; the log has one line for all that were refused.
#![allow(clippy::unwrap_used)]

mod log;

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use s2sd_tests::{
    attack_setup,
    background_traffic::{BackgroundTraffic, HERE as CALM},
    fake_peer::FakePeer,
    peer::{Peer, dialback_request},
    wire::Event,
    world::{TIMEOUT, World},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::Instant,
};
use xmpp_dialback::{Verdict, wire::Nonza};
use xmpp_sasl::Failure;
use xmpp_stream::{Condition, Writer, ns};

const HERE: &str = "here.test";

async fn here(limits: &str) -> (World, BackgroundTraffic, SocketAddr) {
    let daemon = BackgroundTraffic::daemon(HERE)
        .policy("tls = 'optional'\nauth = ['external', 'dialback']")
        .tables(&format!("[limits]\n{limits}\n"));
    let (world, background_traffic) = attack_setup::beside(daemon).await.unwrap();
    let addr = world.daemon(HERE).unwrap().s2s[0];
    (world, background_traffic, addr)
}

/// A stream up to its features, from this address; `None`: the daemon closed the connection before a word.
async fn open(source: [u8; 4], addr: SocketAddr) -> Option<Peer> {
    let mut peer = Peer::connect_from(Ipv4Addr::from(source), addr)
        .await
        .unwrap();
    // Perhaps it is closed already.
    let _ = peer.send_header(Some("evil.test"), HERE).await;
    match peer.next().await {
        Ok(Event::Header(_)) => {
            peer.expect_features().await.unwrap();
            Some(peer)
        }
        Ok(Event::Closed) | Err(_) => None,
        other => panic!("{other:?}"),
    }
}

/// A place becomes free soon after its connection is gone.
async fn open_soon(source: [u8; 4], addr: SocketAddr) -> Peer {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        if let Some(peer) = open(source, addr).await {
            return peer;
        }
        assert!(Instant::now() < deadline, "no place becomes free");
    }
}

/// The verdict on a key for `evil.test`.
async fn prove(peer: &mut Peer) -> Verdict {
    peer.send(dialback_request("evil.test", HERE, "key"))
        .await
        .unwrap();
    let answer = peer.expect(ns::DIALBACK, "result").await.unwrap();
    match Nonza::from_element(&answer) {
        Some(Ok(Nonza::Result { verdict, .. })) => verdict,
        other => panic!("{other:?}"),
    }
}

fn condition(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Valid => "valid",
        Verdict::Invalid => "invalid",
        Verdict::Error(error) => error.condition.name(),
    }
}

async fn metrics(world: &World) -> String {
    let addr = world.daemon(HERE).unwrap().admin[0];
    let mut tcp = TcpStream::connect(addr).await.unwrap();
    tcp.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut text = String::new();
    tcp.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn a_network_has_so_many_from_all_its_addresses() {
    let (world, mut background_traffic, addr) = here("inbound_per_address = 4").await;
    let mut held = Vec::new();
    for host in 0..16 {
        held.push(open([127, 9, 9, 1 + host % 4], addr).await.unwrap());
    }
    // The addresses that have none yet, too.
    for host in 0..20 {
        assert!(open([127, 9, 9, 10 + host], addr).await.is_none());
    }
    background_traffic.is_well().await.unwrap();
    assert!(open([127, 9, 8, 1], addr).await.is_some());
    held.pop();
    held.push(open_soon([127, 9, 9, 77], addr).await);
    let text = metrics(&world).await;
    let line = |reason: &str| {
        let name = "s2sd_connections_refused_total";
        let line = format!("{name}{{listener=\"s2s\",reason=\"{reason}\"}} ");
        let value = text.lines().find_map(|it| it.strip_prefix(&line));
        value
            .unwrap_or_else(|| panic!("no {line} in {text}"))
            .parse::<u64>()
            .unwrap()
    };
    assert!(line("network-unauthenticated") >= 20, "{text}");
    assert_eq!(line("full"), 0);
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn a_network_has_so_many_in_all_whatever_they_prove() {
    let (mut world, background_traffic, addr) = here("inbound_per_network = 6").await;
    let fake_peer = FakePeer::at(&mut world, "evil.test").await.unwrap();
    let mut held = Vec::new();
    for host in 1..=6 {
        let mut peer = open([127, 9, 9, host], addr).await.unwrap();
        assert_eq!(prove(&mut peer).await, Verdict::Valid);
        held.push(peer);
    }
    assert!(open([127, 9, 9, 200], addr).await.is_none());
    assert!(open([127, 9, 8, 1], addr).await.is_some());
    drop(fake_peer);
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn a_domain_has_so_many_streams_and_one_more_is_told() {
    let (mut world, background_traffic, addr) = here("inbound_per_domain = 3").await;
    let fake_peer = FakePeer::at(&mut world, "evil.test").await.unwrap();
    let mut held = Vec::new();
    for network in 1..=3 {
        let mut peer = open([127, network, 0, 1], addr).await.unwrap();
        assert_eq!(prove(&mut peer).await, Verdict::Valid);
        // A further pair of the same stream is no further stream.
        let verdict = peer.dialback("evil.test", CALM, "key").await.unwrap();
        assert_eq!(verdict, "valid");
        held.push(peer);
    }
    let mut more = open([127, 4, 0, 1], addr).await.unwrap();
    let verdict = prove(&mut more).await;
    assert_eq!(condition(&verdict), "resource-constraint");
    // By its certificate it is the same.
    let identity = world.identity("evil.test");
    let mut other = open([127, 5, 0, 1], addr).await.unwrap();
    other.starttls(HERE, Some(&identity)).await.unwrap();
    let opened = other.open("evil.test", HERE).await.unwrap();
    assert!(opened.features.mechanisms.contains(&"EXTERNAL".to_owned()));
    let auth = Writer::new("auth")
        .xmlns(ns::SASL)
        .attr("mechanism", "EXTERNAL");
    other.send(auth.text("=").finish()).await.unwrap();
    let failure = other.expect(ns::SASL, "failure").await.unwrap();
    let failure = xmpp_sasl::wire::Nonza::from_element(&failure);
    assert!(
        matches!(
            failure,
            Some(Ok(xmpp_sasl::wire::Nonza::Failure {
                failure: Failure::TemporaryAuthFailure,
                ..
            }))
        ),
        "{failure:?}"
    );
    // The streams that there are go on, and who goes makes room.
    for peer in &mut held {
        peer.expect_nothing(Duration::ZERO).await.unwrap();
    }
    held.pop();
    let deadline = Instant::now() + TIMEOUT;
    let mut failed = 0;
    while prove(&mut more).await != Verdict::Valid {
        assert!(Instant::now() < deadline, "no place becomes free");
        failed += 1;
        // One stream has so many attempts.
        if failed % 5 == 0 {
            more = open_soon([127, 4, 0, 1], addr).await;
        }
    }
    drop(fake_peer);
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn a_stream_that_is_silent_gives_way_to_a_new_one_of_its_domain() {
    // Silent is who says nothing for half a second.
    let (mut world, background_traffic, addr) = here("inbound_per_domain = 3\nidle = '30s'").await;
    let fake_peer = FakePeer::at(&mut world, "evil.test").await.unwrap();
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut peer = open([127, 1, 0, 1], addr).await.unwrap();
        assert_eq!(prove(&mut peer).await, Verdict::Valid);
        held.push(peer);
    }
    let deadline = Instant::now() + TIMEOUT;
    loop {
        // The first says nothing, the others keep talking.
        for peer in &mut held[1..] {
            peer.send(" ").await.unwrap();
        }
        let mut new = open([127, 1, 0, 2], addr).await.unwrap();
        match prove(&mut new).await {
            Verdict::Valid => break,
            verdict => assert_eq!(condition(&verdict), "resource-constraint"),
        }
        assert!(Instant::now() < deadline, "the silent one stays");
    }
    let error = held[0].expect_stream_error().await.unwrap();
    assert_eq!(error.condition, Condition::ResourceConstraint);
    drop(fake_peer);
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn the_last_places_are_for_hosts_that_authenticated_lately() {
    // Two are kept. One is the background traffic's peer, which authenticated from 127.0.0.1.
    let (_world, background_traffic, addr) = here("inbound = 16").await;
    let mut held = Vec::new();
    for network in 1..=13 {
        held.push(open([127, network, 0, 1], addr).await.unwrap());
    }
    for network in 14..34 {
        assert!(open([127, network, 0, 1], addr).await.is_none());
    }
    assert!(open([127, 0, 0, 2], addr).await.is_none());
    held.push(open([127, 0, 0, 1], addr).await.unwrap());
    held.push(open([127, 0, 0, 1], addr).await.unwrap());
    assert!(open([127, 0, 0, 1], addr).await.is_none());
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn who_proves_something_in_clear_and_begins_tls_is_a_stranger_again() {
    let (mut world, background_traffic, addr) = here("inbound_per_address = 4").await;
    let fake_peer = FakePeer::at(&mut world, "evil.test").await.unwrap();
    let mut proved = Vec::new();
    for _ in 0..4 {
        let mut peer = open([127, 1, 0, 1], addr).await.unwrap();
        assert_eq!(prove(&mut peer).await, Verdict::Valid);
        proved.push(peer);
    }
    let mut strangers = Vec::new();
    for _ in 0..4 {
        strangers.push(open([127, 1, 0, 1], addr).await.unwrap());
    }
    // There are as many strangers as may be.
    let mut peer = proved.pop().unwrap();
    peer.send(Writer::new("starttls").xmlns(ns::TLS).finish())
        .await
        .unwrap();
    let error = peer.expect_stream_error().await.unwrap();
    assert_eq!(error.condition, Condition::ResourceConstraint);
    // With room for one more it is that one.
    strangers.pop();
    let stranger = open_soon([127, 1, 0, 1], addr).await;
    drop(stranger);
    let deadline = Instant::now() + TIMEOUT;
    let mut within = loop {
        let mut peer = proved.pop().unwrap();
        if peer.starttls(HERE, None).await.is_ok() {
            break peer;
        }
        assert!(Instant::now() < deadline && !proved.is_empty());
    };
    assert!(open([127, 1, 0, 1], addr).await.is_none());
    within.open("evil.test", HERE).await.unwrap();
    drop(fake_peer);
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn a_thousand_refused_connections_are_one_line() {
    let log = log::log();
    let (_world, background_traffic, addr) = here("inbound_per_address = 1").await;
    let _held = open([127, 3, 3, 1], addr).await.unwrap();
    for _ in 0..1000 {
        let source = Ipv4Addr::new(127, 3, 3, 1);
        drop(Peer::connect_from(source, addr).await.unwrap());
    }
    assert!(open([127, 3, 3, 1], addr).await.is_none());
    let line = log.line(&["WARN", "connections refused", "address-unauthenticated"]);
    assert!(line.contains("last=127.3.3.1"), "{line}");
    let lines = log.lines(&["WARN", "connections refused", "last=127.3.3.1"]);
    assert!(lines.len() <= 2, "{lines:?}");
    background_traffic.was_well().await.unwrap();
}
