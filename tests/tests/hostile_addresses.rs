//! Addresses: what is none goes back to its sender, and what is spelt in another way than it is prepared is written as it
//! is prepared (RFC 7622 §3), so that who compares text compares addresses.
#![allow(clippy::unwrap_used)]

use s2sd_tests::{
    attack_setup::{self, HERE},
    background_traffic::BackgroundTraffic,
    component::attach,
    component_client::ComponentClient,
    fake_peer::FakePeer,
    peer::Peer,
    wire::{Event, Wire},
    world::{SECRET, TIMEOUT, World},
};
use xmpp_stream::{Element, StanzaCondition, StanzaError};

const POLICY: &str = "tls = 'optional'\nauth = ['external', 'dialback']";

async fn start() -> (World, BackgroundTraffic, ComponentClient, FakePeer, Peer) {
    let daemon = attack_setup::daemon().policy(POLICY);
    let (mut world, background_traffic, component) = attack_setup::start(daemon).await.unwrap();
    let fake_peer = FakePeer::at(&mut world, "far.test").await.unwrap();
    let peer = fake_peer.proved(&world, HERE, HERE).await.unwrap();
    (world, background_traffic, component, fake_peer, peer)
}

fn is_malformed(stanza: &Element) {
    let error = StanzaError::from_element(stanza);
    let error = error.unwrap_or_else(|| panic!("no error but {stanza:?}"));
    assert_eq!(error.condition, StanzaCondition::JidMalformed);
}

fn long(length: usize) -> String {
    "a".repeat(length)
}

#[tokio::test]
async fn a_peers_address_that_is_none_does_not_reach_the_component() {
    let (_world, background_traffic, mut component, mut fake_peer, mut peer) = start().await;
    let (local, resource) = (long(1024), long(1024));
    let froms = [
        "@far.test",
        "u@far.test/",
        "/x@far.test",
        "u\u{ad}v@far.test",
        "u\u{202e}v@far.test",
        "u v@far.test",
        "u&amp;v@far.test",
        "u&quot;@far.test",
        "\u{2665}@far.test",
        "u@far.test/\u{202e}",
        "u@far.test/a&#9;b",
        &format!("{local}@far.test"),
        &format!("u@far.test/{resource}"),
        &format!("{}@far.test", "é".repeat(512)),
        &format!("u@far.test/{}", "\u{1f600}".repeat(256)),
    ];
    // The first slash ends the domain: that one has none, which is another thing.
    let malformed = froms.iter().filter(|from| !from.starts_with('/'));
    for (number, from) in malformed.clone().enumerate() {
        let text = format!("<message from='{from}' to='b@here.test' id='{number}'/>");
        peer.send(text).await.unwrap();
        let bounced = fake_peer.next().await.unwrap().stanza;
        is_malformed(&bounced);
        // Whoever it is, it is nobody but its server that can be told.
        let addresses = (bounced.from(), bounced.to(), bounced.id());
        let number = number.to_string();
        assert_eq!(
            addresses,
            (
                Some("b@here.test".into()),
                Some("far.test".into()),
                Some(number.into())
            ),
            "{from}"
        );
    }
    for (number, from) in malformed.enumerate() {
        let to = from.replace("far.test", "here.test");
        let text = format!("<iq type='get' from='a@far.test/r' to='{to}' id='{number}'><a/></iq>");
        peer.send(text).await.unwrap();
        let bounced = fake_peer.next().await.unwrap().stanza;
        is_malformed(&bounced);
        assert_eq!(bounced.from().as_deref(), Some("here.test"), "{to}");
        assert_eq!(bounced.to().as_deref(), Some("a@far.test/r"), "{to}");
    }
    // Errors are not answered, whatever is wrong with them.
    peer.send("<message type='error' from='@far.test' to='b@here.test'/>")
        .await
        .unwrap();
    peer.send(attack_setup::message("far.test", "good"))
        .await
        .unwrap();
    attack_setup::arrives(&mut component, "good").await.unwrap();
    assert_eq!(fake_peer.left(), Vec::<Element>::new());
    background_traffic.was_well().await.unwrap();
}

/// As they come, and as they are written.
const SPELT: &[(&str, &str)] = &[
    ("U@FAR.Test/Res", "u@far.test/Res"),
    ("u@far.test.", "u@far.test"),
    ("u@far.test./r", "u@far.test/r"),
    ("u@far\u{ff0e}test", "u@far.test"),
    ("\u{ff35}ser@far.test", "user@far.test"),
    ("u@far.test/a\u{a0}b", "u@far.test/a b"),
    ("E\u{301}@far.test", "é@far.test"),
    ("FAR.TEST", "far.test"),
    ("straße@far.test/\u{1f600}", "straße@far.test/\u{1f600}"),
    // Assigned after Unicode 6.3, on which the PRECIS tables stand.
    ("u@far.test/\u{1f923}", "u@far.test/\u{1f923}"),
];

#[tokio::test]
async fn a_peers_address_reaches_the_component_as_it_is_prepared() {
    let (_world, background_traffic, mut component, _fake_peer, mut peer) = start().await;
    for (number, (from, prepared)) in SPELT.iter().enumerate() {
        let to = from.replace("far", "here").replace("FAR", "HERE");
        let id = number.to_string();
        let text = format!(
            "<message  id='{id}' to=\"{to}\" from='{from}' type='chat'><to xmlns='urn:x' to='U@FAR.Test'/></message >"
        );
        peer.send(&text).await.unwrap();
        let arrived = attack_setup::arrives(&mut component, &id).await.unwrap();
        assert_eq!(arrived.from().as_deref(), Some(*prepared));
        assert_eq!(arrived.to(), Some(prepared.replace("far", "here").into()));
        // Nothing else changed, and nothing within.
        let want = text.replace(&to, &prepared.replace("far", "here"));
        let want = want.replace(&format!("from='{from}'"), &format!("from='{prepared}'"));
        assert_eq!(arrived.bytes(), &want);
    }
    background_traffic.was_well().await.unwrap();
}

async fn next(wire: &mut Wire) -> Element {
    match wire.next(TIMEOUT).await.unwrap() {
        Event::Element(element) => element,
        other => panic!("no stanza but {other:?}"),
    }
}

/// `to='b@peer.test.'` on a stream to peer.test: ejabberd ends that with host-unknown for everybody.
#[tokio::test]
async fn a_components_address_reaches_the_peer_as_it_is_prepared_or_comes_back() {
    let (mut world, background_traffic) =
        attack_setup::beside(attack_setup::daemon().policy(POLICY))
            .await
            .unwrap();
    let mut fake_peer = FakePeer::at(&mut world, "far.test").await.unwrap();
    let listener = world.daemon(HERE).unwrap().components[0];
    let mut component = attach(listener, HERE, SECRET, TIMEOUT).await.unwrap();
    for (to, prepared) in SPELT {
        let from = to.replace("far", "here").replace("FAR", "HERE");
        let text = format!("<message from='{from}' to='{to}'><body>U@FAR.Test</body></message>");
        component.send(text).await.unwrap();
        let arrived = fake_peer.next().await.unwrap().stanza;
        assert_eq!(arrived.to().as_deref(), Some(*prepared));
        assert_eq!(arrived.from(), Some(prepared.replace("far", "here").into()));
    }
    for to in [
        "@far.test",
        "u@far.test/",
        "a b@far.test",
        "u\u{ad}v@far.test",
        "u@far\u{ad}.test",
        "u@far..test",
        "u@",
        "u@far.test/\u{7f}",
        &format!("{}@far.test", long(1024)),
    ] {
        let text = format!("<message from='b@here.test' to='{to}' id='x'/>");
        component.send(text).await.unwrap();
        is_malformed(&next(&mut component).await);
        let from = to.replace("far", "here");
        if from.contains("@here.test") {
            let text = format!("<message from='{from}' to='b@far.test' id='x'/>");
            component.send(text).await.unwrap();
            is_malformed(&next(&mut component).await);
        }
    }
    component
        .send("<message from='b@here.test' to='b@far.test' id='last'/>")
        .await
        .unwrap();
    let arrived = fake_peer.next().await.unwrap().stanza;
    assert_eq!(arrived.id().as_deref(), Some("last"));
    background_traffic.was_well().await.unwrap();
}
