//! What a stream header declares for all that follows costs no more than a stranger's header may, also after
//! authentication; and a stanza that no parser or limit of ours takes costs its sender a stanza, not everybody the stream.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use s2sd_tests::{
    attack_setup::{self, HERE, is_refused, message},
    background_traffic::BackgroundTraffic,
    component::attach,
    component_client::ComponentClient,
    fake_peer::FakePeer,
    peer::{Peer, header_text, initial_header},
    wire::{Event, Wire},
    world::{SECRET, TIMEOUT, World},
};
use xmpp_stream::{Condition, Element, StanzaCondition, StanzaError, Writer, ns};

const POLICY: &str = "tls = 'optional'\nauth = ['external', 'dialback']\nmax_stanza = '20000B'";

async fn start() -> (World, BackgroundTraffic, ComponentClient, FakePeer) {
    let daemon = attack_setup::daemon().policy(POLICY);
    let (mut world, background_traffic, component) = attack_setup::start(daemon).await.unwrap();
    let fake_peer = FakePeer::at(&mut world, "far.test").await.unwrap();
    (world, background_traffic, component, fake_peer)
}

/// A header of far.test that declares so much, and the key that proves it where the header is taken.
async fn declares(world: &World, prefixes: &[(String, String)], lang: Option<String>) -> Peer {
    let mut peer = world.connect(HERE).await.unwrap().with_timeout(TIMEOUT);
    let mut header = initial_header(Some("far.test"), HERE);
    header.prefixes.extend_from_slice(prefixes);
    header.lang = lang;
    peer.send(header_text(&header)).await.unwrap();
    peer
}

async fn proved(mut peer: Peer) -> Peer {
    peer.expect_header().await.unwrap();
    peer.expect_features().await.unwrap();
    let verdict = peer.dialback("far.test", HERE, "key").await.unwrap();
    assert_eq!(verdict, "valid");
    peer
}

fn error_of(stanza: &Element) -> StanzaError {
    StanzaError::from_element(stanza).unwrap_or_else(|| panic!("no error but {stanza:?}"))
}

fn long_prefixes(count: usize, length: usize) -> Vec<(String, String)> {
    (0..count)
        .map(|number| (format!("p{number}"), "u".repeat(length)))
        .collect()
}

/// 58 prefixes of 8 KB, and every message of 515 bytes becomes 465,597 bytes for the component.
#[tokio::test]
async fn a_header_after_authentication_is_no_larger_than_before() {
    let (mut world, background_traffic, mut component, _fake_peer) = start().await;
    let mut peer = world.connect(HERE).await.unwrap().with_timeout(TIMEOUT);
    let identity = world.identity("good.test");
    peer.open("good.test", HERE).await.unwrap();
    peer.starttls(HERE, Some(&identity)).await.unwrap();
    peer.open("good.test", HERE).await.unwrap();
    let auth = Writer::new("auth")
        .xmlns(ns::SASL)
        .attr("mechanism", "EXTERNAL");
    peer.send(auth.text("=").finish()).await.unwrap();
    peer.expect(ns::SASL, "success").await.unwrap();
    peer.restart();
    let mut header = initial_header(Some("good.test"), HERE);
    header.prefixes = long_prefixes(58, 8000);
    let _ = peer.send(header_text(&header)).await;
    peer.expect_header().await.unwrap();
    // For its size, before it was read to its end, and not for what it declares.
    let error = peer.expect_stream_error().await.unwrap();
    assert_eq!(error.condition, Condition::PolicyViolation);
    assert_eq!(
        error.text.as_deref(),
        Some("an element of more than 16384 bytes")
    );
    attack_setup::nothing_arrived(&mut world, &mut component)
        .await
        .unwrap();
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn a_header_declares_four_kibibytes_at_most() {
    let (world, background_traffic, _component, _fake_peer) = start().await;
    for (prefixes, lang) in [
        (long_prefixes(5, 1000), None),
        (Vec::new(), Some("x".repeat(5000))),
        (long_prefixes(2, 1500), Some("x".repeat(2000))),
    ] {
        let mut peer = declares(&world, &prefixes, lang).await;
        peer.expect_header().await.unwrap();
        is_refused(&mut peer, Condition::PolicyViolation)
            .await
            .unwrap();
    }
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn a_stanza_counts_as_it_is_written_for_the_component() {
    let (world, background_traffic, mut component, mut fake_peer) = start().await;
    let prefixes = long_prefixes(2, 1000);
    let lang = Some("x".repeat(1500));
    let mut peer = proved(declares(&world, &prefixes, lang).await).await;
    let body = |length: usize| {
        format!(
            "<message from='a@far.test' to='b@here.test' id='{length}'><p0:a/><p1:b/><body>{}</body></message>",
            "x".repeat(length)
        )
    };
    // Within 20,000 bytes as it came, but not with what it takes from the header.
    peer.send(body(17_500)).await.unwrap();
    peer.send(body(15_000)).await.unwrap();
    let arrived = attack_setup::arrives(&mut component, "15000")
        .await
        .unwrap();
    assert!(arrived.bytes().len() > 18_500);
    let bounced = fake_peer.next().await.unwrap().stanza;
    assert_eq!(bounced.id().as_deref(), Some("17500"));
    let error = error_of(&bounced);
    assert_eq!(error.condition, StanzaCondition::PolicyViolation);
    assert!(error.application.unwrap().starts_with(b"<stanza-too-big"));
    background_traffic.was_well().await.unwrap();
}

/// Pieces of a stanza that is refused whatever comes behind, and the condition.
fn refused() -> Vec<(String, StanzaCondition)> {
    use StanzaCondition::{NotAcceptable, PolicyViolation};
    let attributes: String = (0..100).map(|number| format!(" a{number}='1'")).collect();
    let namespaces: String = (0..60)
        .map(|number| format!(" xmlns:n{number}='urn:n'"))
        .collect();
    vec![
        (
            format!("{}{}", "<a>".repeat(2000), "</a>".repeat(2000)),
            PolicyViolation,
        ),
        (format!("<x xmlns='urn:x'{attributes}/>"), PolicyViolation),
        (
            format!("<x xmlns='urn:x'{namespaces}><x{namespaces}><x{namespaces}/></x></x>"),
            PolicyViolation,
        ),
        (
            format!("<x xmlns='urn:x' a='{}'/>", "x".repeat(9000)),
            PolicyViolation,
        ),
        (
            format!("<{} xmlns='urn:x'/>", "x".repeat(9000)),
            PolicyViolation,
        ),
        ("<egg\u{17f} xmlns='urn:t'/>".to_owned(), NotAcceptable),
        ("<x xmlns='urn:t' \u{2c00}='1'/>".to_owned(), NotAcceptable),
        ("<x xmlns='urn:}'/>".to_owned(), NotAcceptable),
        ("<x xmlns='a&#10;b'/>".to_owned(), NotAcceptable),
    ]
}

#[tokio::test]
async fn a_peers_stanza_that_does_not_cross_comes_back_and_the_others_arrive() {
    let (world, background_traffic, mut component, mut fake_peer) = start().await;
    let mut peer = fake_peer.proved(&world, HERE, HERE).await.unwrap();
    for (number, (within, condition)) in refused().into_iter().enumerate() {
        let bad = format!(
            "<message from='a@far.test' to='b@here.test' id='bad {number}'>{within}</message>"
        );
        peer.send(bad).await.unwrap();
        let good = format!("good {number}");
        peer.send(message("far.test", &good)).await.unwrap();
        attack_setup::arrives(&mut component, &good).await.unwrap();
        let bounced = fake_peer.next().await.unwrap().stanza;
        assert_eq!(bounced.id(), Some(format!("bad {number}").into()));
        assert_eq!(bounced.to().as_deref(), Some("a@far.test"));
        assert_eq!(error_of(&bounced).condition, condition, "{within:.40}");
    }
    background_traffic.was_well().await.unwrap();
}

async fn next(wire: &mut Wire) -> Element {
    match wire.next(TIMEOUT).await.unwrap() {
        Event::Element(element) => element,
        other => panic!("no stanza but {other:?}"),
    }
}

#[tokio::test]
async fn a_components_stanza_that_does_not_cross_comes_back_and_the_others_arrive() {
    let daemon = attack_setup::daemon().policy(POLICY);
    let (mut world, background_traffic) = attack_setup::beside(daemon).await.unwrap();
    let mut fake_peer = FakePeer::at(&mut world, "far.test").await.unwrap();
    let listener = world.daemon(HERE).unwrap().components[0];
    let mut component = attach(listener, HERE, SECRET, TIMEOUT).await.unwrap();
    for (number, (within, condition)) in refused().into_iter().enumerate() {
        let stanza = |id: &str, within: &str| {
            format!("<message from='b@here.test' to='a@far.test' id='{id}'>{within}</message>")
        };
        let bad = stanza(&format!("bad {number}"), &within);
        component.send(bad).await.unwrap();
        let good = format!("good {number}");
        component.send(stanza(&good, "")).await.unwrap();
        let arrived = fake_peer.next().await.unwrap().stanza;
        assert_eq!(arrived.id().as_deref(), Some(&*good), "{within:.40}");
        let bounced = next(&mut component).await;
        assert_eq!(bounced.id(), Some(format!("bad {number}").into()));
        assert_eq!(error_of(&bounced).condition, condition, "{within:.40}");
    }
    background_traffic.was_well().await.unwrap();
}

/// Prosody writes a carriage return in an attribute as it is; others begin a stream with `standalone`.
#[tokio::test]
async fn xml_that_well_formed_peers_write_arrives() {
    let (world, background_traffic, mut component, mut fake_peer) = start().await;
    let mut peer = world.connect(HERE).await.unwrap().with_timeout(TIMEOUT);
    let header = header_text(&initial_header(Some("far.test"), HERE));
    let header = String::from_utf8(header.to_vec()).unwrap();
    let header = header.replace("version='1.0'?>", "version='1.0' standalone='no'?>");
    peer.send(header).await.unwrap();
    let mut peer = proved(peer).await;
    for (id, written, read) in [
        ("1", "1\r2", "1 2"),
        ("2", "1\r\n2\r", "1 2 "),
        ("3", "&#0000000000000000032;", " "),
        ("4", "&#x0000000000000000020;\r", "  "),
    ] {
        let text = format!(
            "<message from='a@far.test' to='b@here.test' id='{id}'><x xmlns='urn:t' b='{written}'/></message>"
        );
        peer.send(text).await.unwrap();
        let arrived = attack_setup::arrives(&mut component, id).await.unwrap();
        let tree = arrived.tree();
        let found = tree.child("urn:t", "x").unwrap().attr("b").unwrap();
        assert_eq!(found, read);
    }
    let back = "<message from='b@here.test' to='a@far.test' id='back'><x xmlns='urn:t' b='1&#13;2\r3'/></message>";
    component.send(back).await.unwrap();
    let arrived = fake_peer.next().await.unwrap().stanza;
    let tree = arrived.tree();
    let found = tree.child("urn:t", "x").unwrap().attr("b").unwrap();
    assert_eq!(found, "1\r2 3");
    background_traffic.was_well().await.unwrap();
}

/// rxml alone would take half a minute for each of these, on a thread that serves others.
#[tokio::test]
async fn a_deep_stanza_costs_little_time() {
    let daemon = attack_setup::daemon().policy("tls = 'optional'\nauth = ['external', 'dialback']");
    let (mut world, background_traffic, mut component) = attack_setup::start(daemon).await.unwrap();
    let mut fake_peer = FakePeer::at(&mut world, "far.test").await.unwrap();
    let mut peer = fake_peer.proved(&world, HERE, HERE).await.unwrap();
    let deep = format!("{}{}", "<a>".repeat(70_000), "</a>".repeat(70_000));
    let began = Instant::now();
    peer.send(format!(
        "<message from='a@far.test' to='b@here.test'>{deep}</message>"
    ))
    .await
    .unwrap();
    peer.send(message("far.test", "behind it")).await.unwrap();
    attack_setup::arrives(&mut component, "behind it")
        .await
        .unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    let bounced = fake_peer.next().await.unwrap().stanza;
    assert_eq!(
        error_of(&bounced).condition,
        StanzaCondition::PolicyViolation
    );
    background_traffic.was_well().await.unwrap();
}
