//! Dialback proves exactly the pair whose key was asked about, by the answer of the server that was asked, on the stream
//! where it was asked (XEP-0220, XEP-0185).
#![allow(clippy::unwrap_used)]

use s2sd_tests::{
    attack_setup::{self, arrives, is_refused, message, nothing_arrived},
    authoritative::Says,
    peer::{header_text, initial_header},
    wire::Event,
    world::Daemon,
};
use xmpp_dialback::{Pair, Secret};
use xmpp_stream::{Condition, DialbackFeature, Features, StreamHeader, ns};

const POLICY: &str = "tls = 'optional'\nauth = ['external', 'dialback']";

#[tokio::test]
async fn the_key_proves_its_sender_whatever_the_header_says() {
    let daemon = attack_setup::daemon().policy(POLICY);
    let (mut world, background_traffic, mut component) = attack_setup::start(daemon).await.unwrap();
    let _evil = world.authoritative("evil.test", Says::Valid, None).await;
    let victim = world.authoritative("victim.test", Says::Valid, None).await;
    let mut peer = world.connect("here.test").await.unwrap();
    peer.open("victim.test", "here.test").await.unwrap();
    let verdict = peer.dialback("evil.test", "here.test", "key").await;
    assert_eq!(verdict.unwrap(), "valid");
    peer.send(message("evil.test", "mine")).await.unwrap();
    arrives(&mut component, "mine").await.unwrap();
    peer.send(message("victim.test", "forged")).await.unwrap();
    is_refused(&mut peer, Condition::InvalidFrom).await.unwrap();
    assert_eq!(victim.unwrap().asked(), []);
    nothing_arrived(&mut world, &mut component).await.unwrap();
    background_traffic.was_well().await.unwrap();
}

fn dialback() -> Features {
    Features::new().with_dialback(DialbackFeature::with_errors())
}

#[tokio::test]
async fn a_key_is_good_for_its_pair_and_its_stream_only() {
    let daemon = attack_setup::daemon()
        .and("other.here.test")
        .policy(POLICY)
        .tables("[dialback]\nsecret = 's3cr3tf0rd14lb4ck'\n");
    let (world, background_traffic, _component) = attack_setup::start(daemon).await.unwrap();
    let secret = Secret::new("s3cr3tf0rd14lb4ck");
    let key = |sender: &str, target: &str, id: &str| {
        let pair = Pair::new(sender, target);
        secret.key(&pair, id).as_str().to_owned()
    };
    let good = key("here.test", "evil.test", "id");
    let mut peer = attack_setup::open(&world).await.unwrap();
    for (sender, target, id, key, kind) in [
        ("here.test", "evil.test", "id", good.clone(), "valid"),
        ("here.test", "evil.test", "ID", good.clone(), "invalid"),
        ("here.test", "victim.test", "id", good.clone(), "invalid"),
        (
            "other.here.test",
            "evil.test",
            "id",
            good.clone(),
            "invalid",
        ),
        (
            "here.test",
            "evil.test",
            "id",
            good.to_uppercase(),
            "invalid",
        ),
        ("here.test", "evil.test", "id", String::new(), "invalid"),
        (
            "here.test",
            "evil.test",
            "id",
            good[..63].to_owned(),
            "invalid",
        ),
        ("elsewhere.test", "evil.test", "id", good, "error"),
        // The wrong number attack: the same bytes, split elsewhere.
        (
            "here.test",
            "evil.test",
            "i",
            key("here.test", "devil.test", ""),
            "invalid",
        ),
    ] {
        peer.send(format!(
            "<db:verify from='{target}' to='{sender}' id='{id}'>{key}</db:verify>"
        ))
        .await
        .unwrap();
        let answer = match peer.next().await.unwrap() {
            Event::Element(answer) => answer,
            other => panic!("{sender} {target} {id:?}: {other:?}"),
        };
        assert_eq!(
            answer.type_attr().as_deref(),
            Some(kind),
            "{sender} {target} {id:?}"
        );
    }
    background_traffic.was_well().await.unwrap();
}

/// The evil server lets the victim's server make a key for the stream that it opened itself elsewhere: it chooses the
/// stream id, but it cannot choose the pair.
#[tokio::test]
async fn a_key_that_was_lured_out_of_a_server_proves_nothing_elsewhere() {
    let daemon = attack_setup::daemon().policy(POLICY);
    let (mut world, background_traffic, mut component) = attack_setup::start(daemon).await.unwrap();
    world
        .start(Daemon::serving("victim.test").policy(POLICY))
        .await
        .unwrap();
    let mut victim = world.component("victim.test").await.unwrap();
    let lure = world.listen("evil.test").await.unwrap();
    let mut peer = world.connect("here.test").await.unwrap();
    let opened = peer.open("victim.test", "here.test").await.unwrap();
    let id = opened.header.id.unwrap();
    victim
        .send("<message from='victim.test' to='evil.test'/>")
        .await
        .unwrap();
    let mut lured = lure.accept().await.unwrap();
    lured.answer_open(&id, &dialback()).await.unwrap();
    let key = lured.expect(ns::DIALBACK, "result").await.unwrap().text();
    let verdict = peer.dialback("victim.test", "here.test", &key).await;
    assert_eq!(verdict.unwrap(), "invalid");
    peer.expect_end().await.unwrap();
    nothing_arrived(&mut world, &mut component).await.unwrap();
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn an_element_is_of_dialback_by_its_namespace_and_not_by_its_prefix() {
    let daemon = attack_setup::daemon().policy(POLICY);
    let (mut world, background_traffic, mut component) = attack_setup::start(daemon).await.unwrap();
    let _evil = world.authoritative("evil.test", Says::Valid, None).await;
    for (number, request) in [
        "<x:result xmlns:x='jabber:server:dialback' from='evil.test' to='here.test'>k</x:result>",
        "<result xmlns='jabber:server:dialback' from='evil.test' to='here.test'>k</result>",
    ]
    .into_iter()
    .enumerate()
    {
        let mut peer = attack_setup::open(&world).await.unwrap();
        peer.send(request).await.unwrap();
        let answer = peer.expect(ns::DIALBACK, "result").await.unwrap();
        assert_eq!(answer.type_attr().as_deref(), Some("valid"));
        let id = number.to_string();
        peer.send(message("evil.test", &id)).await.unwrap();
        arrives(&mut component, &id).await.unwrap();
    }
    // The prefix is declared, for something else.
    let mut peer = world.connect("here.test").await.unwrap();
    let mut header = initial_header(Some("evil.test"), "here.test");
    header.prefixes = vec![("db".to_owned(), "urn:x".to_owned())];
    peer.send(header_text(&header)).await.unwrap();
    peer.expect_header().await.unwrap();
    peer.expect_features().await.unwrap();
    peer.send("<db:result from='evil.test' to='here.test'>k</db:result>")
        .await
        .unwrap();
    is_refused(&mut peer, Condition::UnsupportedStanzaType)
        .await
        .unwrap();
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn failures_and_pairs_of_a_stream_are_counted() {
    let daemon = attack_setup::daemon()
        .policy(POLICY)
        .tables("[limits]\ndialback_failures = 3\npairs_per_stream = 2\n");
    let (mut world, background_traffic, _component) = attack_setup::start(daemon).await.unwrap();
    let failing = world.authoritative("fails.test", Says::Error, None).await;
    let mut good = Vec::new();
    for domain in ["a.test", "b.test", "c.test"] {
        good.push(
            world
                .authoritative(domain, Says::Valid, None)
                .await
                .unwrap(),
        );
    }
    let mut peer = attack_setup::open(&world).await.unwrap();
    for _ in 0..3 {
        let verdict = peer.dialback("fails.test", "here.test", "k").await;
        assert_eq!(verdict.unwrap(), "error");
    }
    let verdict = peer.dialback("fails.test", "here.test", "k").await;
    assert_eq!(verdict.unwrap(), "error");
    is_refused(&mut peer, Condition::PolicyViolation)
        .await
        .unwrap();
    assert_eq!(failing.unwrap().asked().len(), 3);

    let mut peer = attack_setup::open(&world).await.unwrap();
    for (domain, kind) in [
        ("a.test", "valid"),
        ("b.test", "valid"),
        ("c.test", "error"),
    ] {
        let verdict = peer.dialback(domain, "here.test", "k").await;
        assert_eq!(verdict.unwrap(), kind, "{domain}");
    }
    assert_eq!(good[2].asked(), []);
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn a_second_key_while_the_first_is_looked_at_ends_the_stream() {
    let daemon = attack_setup::daemon().policy(POLICY);
    let (mut world, background_traffic, mut component) = attack_setup::start(daemon).await.unwrap();
    let _evil = world.authoritative("evil.test", Says::Silence, None).await;
    let mut peer = attack_setup::open(&world).await.unwrap();
    let request = |key| format!("<db:result from='evil.test' to='here.test'>{key}</db:result>");
    peer.send(request("good") + &request("bad")).await.unwrap();
    let answer = peer.expect(ns::DIALBACK, "result").await.unwrap();
    assert_eq!(answer.type_attr().as_deref(), Some("error"));
    is_refused(&mut peer, Condition::PolicyViolation)
        .await
        .unwrap();
    nothing_arrived(&mut world, &mut component).await.unwrap();
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn an_invalid_key_ends_a_stream_on_which_nothing_is_proved_and_no_other() {
    let daemon = attack_setup::daemon().policy(POLICY);
    let (mut world, background_traffic, mut component) = attack_setup::start(daemon).await.unwrap();
    let _good = world.authoritative("evil.test", Says::Valid, None).await;
    let _bad = world
        .authoritative("victim.test", Says::Invalid, None)
        .await;
    let mut peer = attack_setup::open(&world).await.unwrap();
    let verdict = peer.dialback("victim.test", "here.test", "k").await;
    assert_eq!(verdict.unwrap(), "invalid");
    peer.expect_end().await.unwrap();

    let mut peer = attack_setup::open(&world).await.unwrap();
    let verdict = peer.dialback("evil.test", "here.test", "k").await;
    assert_eq!(verdict.unwrap(), "valid");
    let verdict = peer.dialback("victim.test", "here.test", "k").await;
    assert_eq!(verdict.unwrap(), "error");
    peer.send(message("evil.test", "still")).await.unwrap();
    arrives(&mut component, "still").await.unwrap();
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn dialback_that_is_switched_off_is_neither_offered_nor_taken_nor_tried() {
    let daemon = attack_setup::daemon().policy("tls = 'optional'\nauth = ['external']");
    let (mut world, background_traffic, mut component) = attack_setup::start(daemon).await.unwrap();
    let evil = world.authoritative("evil.test", Says::Valid, None).await;
    let mut peer = world.connect("here.test").await.unwrap();
    let opened = peer.open("evil.test", "here.test").await.unwrap();
    assert_eq!(opened.features.dialback, None);
    let verdict = peer.dialback("evil.test", "here.test", "k").await;
    assert_eq!(verdict.unwrap(), "error");
    peer.send(message("evil.test", "forged")).await.unwrap();
    is_refused(&mut peer, Condition::NotAuthorized)
        .await
        .unwrap();
    // Nor without a version.
    let mut peer = world.connect("here.test").await.unwrap();
    let header = StreamHeader {
        version: None,
        ..initial_header(Some("evil.test"), "here.test")
    };
    peer.send(header_text(&header)).await.unwrap();
    peer.expect_header().await.unwrap();
    let verdict = peer.dialback("evil.test", "here.test", "k").await;
    assert_eq!(verdict.unwrap(), "error");
    assert_eq!(evil.unwrap().asked(), []);
    // Nor by us.
    for (domain, version) in [("new.test", true), ("old.test", false)] {
        let server = world.listen(domain).await.unwrap();
        component
            .send(format!(
                "<message from='here.test' to='{domain}' id='{domain}'/>"
            ))
            .await
            .unwrap();
        let mut there = server.accept().await.unwrap();
        if version {
            there.answer_open("there", &dialback()).await.unwrap();
        } else {
            there.expect_header().await.unwrap();
            let header = StreamHeader {
                id: Some("there".to_owned()),
                version: None,
                ..initial_header(Some(domain), "here.test")
            };
            there.send(header_text(&header)).await.unwrap();
        }
        there.expect_end().await.unwrap();
        arrives(&mut component, domain).await.unwrap();
    }
    background_traffic.was_well().await.unwrap();
}
