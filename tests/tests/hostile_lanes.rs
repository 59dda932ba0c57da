//! Lanes: how many there are is bounded, and nobody fills them for the others, neither a peer that has us answer many
//! names of its own nor a component that writes to many.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use s2sd_tests::{
    attack_setup,
    authoritative::{Authoritative, Says},
    background_traffic::BackgroundTraffic,
    component::attach,
    fake_peer::FakePeer,
    peer::Peer,
    wire::{Event, Wire},
    world::{RawServer, SECRET, TIMEOUT, World},
};
use xmpp_stream::{DialbackFeature, Element, Features, StanzaCondition, StanzaError, StanzaKind};

/// A daemon with so many lanes, of which the background traffic has one; and components for two of its domains.
async fn here(tables: &str) -> (World, BackgroundTraffic, [Wire; 2]) {
    let daemon = BackgroundTraffic::daemon("here.test")
        .and("other.test")
        .policy("tls = 'optional'\nauth = ['external', 'dialback']")
        .tables(tables);
    let (world, background_traffic) = attack_setup::beside(daemon).await.unwrap();
    let listener = world.daemon("here.test").unwrap().components[0];
    let here = attach(listener, "here.test", SECRET, TIMEOUT)
        .await
        .unwrap();
    let other = attach(listener, "other.test", SECRET, TIMEOUT)
        .await
        .unwrap();
    (world, background_traffic, [here, other])
}

fn lanes(world: &World) -> usize {
    world.daemon("here.test").unwrap().lanes()
}

/// Waits until there are so many lanes.
async fn soon_lanes(world: &World, background_traffic: &mut BackgroundTraffic, want: usize) {
    let deadline = Instant::now() + TIMEOUT;
    while lanes(world) != want {
        assert!(Instant::now() < deadline, "{} lanes", lanes(world));
        background_traffic.is_well().await.unwrap();
    }
}

async fn next(wire: &mut Wire) -> Element {
    match wire.next(TIMEOUT).await.unwrap() {
        Event::Element(element) => element,
        other => panic!("{other:?}"),
    }
}

/// A message goes to the friend, if not at once, then soon. Gives the connection that it comes by.
async fn insists(
    component: &mut Wire,
    friend: &mut FakePeer,
    name: &str,
    background_traffic: &mut BackgroundTraffic,
) -> usize {
    let message = format!("<message from='here.test' to='{name}'/>");
    let deadline = Instant::now() + TIMEOUT;
    loop {
        component.send(&message).await.unwrap();
        tokio::select! {
            came = friend.next() => return came.unwrap().connection,
            back = next(component) => assert_eq!(condition(&back), StanzaCondition::ResourceConstraint),
        }
        assert!(Instant::now() < deadline, "no place for {name}");
        background_traffic.is_well().await.unwrap();
    }
}

fn condition(element: &Element) -> StanzaCondition {
    StanzaError::from_element(element).unwrap().condition
}

/// Servers that hold a stream up for ever: they are there, and say nothing.
async fn silent(world: &mut World, names: impl Iterator<Item = String>) -> Vec<RawServer> {
    let mut all = Vec::new();
    for name in names {
        all.push(world.listen(&name).await.unwrap());
    }
    all
}

/// An attacker with a name for everything: its server says that every key is good, and nothing else.
async fn wildcard(world: &mut World, names: &[String]) -> (Authoritative, Peer) {
    let server = world
        .authoritative("evil.test", Says::Valid, None)
        .await
        .unwrap();
    for name in names {
        world.lead("_xmpp-server", name, server.addr());
    }
    let mut peer = world.connect("here.test").await.unwrap();
    peer.open("evil.test", "here.test").await.unwrap();
    for name in names {
        for to in ["here.test", "pings.test"] {
            let verdict = peer.dialback(name, to, "key").await.unwrap();
            assert_eq!(verdict, "valid");
        }
    }
    (server, peer)
}

fn subdomains(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("n{n}.evil.test")).collect()
}
#[tokio::test]
async fn what_a_peer_has_us_answer_takes_no_place_from_our_components() {
    let tables = "[queue]\nlanes = 20\n[[domain]]\nname = 'pings.test'\n";
    let (mut world, mut background_traffic, [mut here, _other]) = here(tables).await;
    let names = subdomains(30);
    let (_server, mut peer) = wildcard(&mut world, &names).await;
    for name in &names {
        let ping = format!(
            "<iq from='a@{name}' to='pings.test' type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>"
        );
        peer.send(ping).await.unwrap();
    }
    // They are all answered when this arrives.
    let message = "<message from='n0.evil.test' to='here.test' id='last'/>";
    peer.send(message).await.unwrap();
    assert_eq!(next(&mut here).await.id().as_deref(), Some("last"));
    let answers = lanes(&world) - 1;
    // Some part of ten.
    assert!((1..=5).contains(&answers), "{answers} lanes for answers");

    // A component writes to as many others as there is room for, and more: its own are used, then those.
    let dead = subdomains(30)
        .into_iter()
        .map(|name| name.replace("evil", "dead"));
    let _dead = silent(&mut world, dead.clone().take(10)).await;
    for (count, name) in dead.take(10).enumerate() {
        let message = format!("<message from='here.test' to='{name}' id='{count}'/>");
        here.send(message).await.unwrap();
    }
    soon_lanes(&world, &mut background_traffic, 1 + answers + 10).await;
    // More than half are taken, so no further lane is opened for an answer; those that have a stream are answered.
    let (_server, mut second) = {
        let names = ["more.test".to_owned()];
        let server = world
            .authoritative("more.test", Says::Valid, None)
            .await
            .unwrap();
        let mut peer = world.connect("here.test").await.unwrap();
        peer.open("more.test", "here.test").await.unwrap();
        for name in &names {
            for to in ["pings.test", "here.test"] {
                assert_eq!(peer.dialback(name, to, "key").await.unwrap(), "valid");
            }
        }
        (server, peer)
    };
    second
        .send("<iq from='more.test' to='pings.test' type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>")
        .await
        .unwrap();
    second
        .send("<message from='more.test' to='here.test' id='last'/>")
        .await
        .unwrap();
    assert_eq!(next(&mut here).await.id().as_deref(), Some("last"));
    assert_eq!(lanes(&world), 1 + answers + 10);
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn lanes_with_our_own_answers_only_go_first() {
    let tables = "[queue]\nlanes = 6\n[[domain]]\nname = 'pings.test'\n";
    let (mut world, mut background_traffic, [mut here, _other]) = here(tables).await;
    let (_server, mut peer) = wildcard(&mut world, &subdomains(1)).await;
    peer.send("<iq from='n0.evil.test' to='pings.test' type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>")
        .await
        .unwrap();
    soon_lanes(&world, &mut background_traffic, 2).await;
    // Three more that wait, and a fourth: it gets the place of the answer that nobody takes. One place stays free.
    let dead: Vec<String> = (0..6).map(|n| format!("dead{n}.test")).collect();
    let _dead = silent(&mut world, dead.iter().cloned()).await;
    for (id, name) in dead.iter().enumerate() {
        let message = format!("<message from='here.test' to='{name}' id='{id}'/>");
        here.send(message).await.unwrap();
    }
    for id in ["4", "5"] {
        let back = next(&mut here).await;
        assert_eq!(condition(&back), StanzaCondition::ResourceConstraint);
        assert_eq!(back.id().as_deref(), Some(id));
    }
    assert_eq!(lanes(&world), 5);
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn a_lane_that_has_nothing_to_say_goes_when_another_needs_its_place() {
    let (mut world, mut background_traffic, [mut here, _other]) =
        here("[queue]\nlanes = 4\n").await;
    // Each is written to, and then there is silence. All get their message, in the place of one before, when that has
    // been at rest for a moment.
    let mut all = Vec::new();
    for n in 0..7 {
        let name = format!("friend{n}.test");
        let mut friend = FakePeer::at(&mut world, &name).await.unwrap();
        assert_eq!(
            insists(&mut here, &mut friend, &name, &mut background_traffic).await,
            0
        );
        assert!(lanes(&world) <= 4);
        all.push(friend);
    }
    // One that was let go of is written to again, on a new stream.
    let friend = &mut all[0];
    assert_eq!(
        insists(&mut here, friend, "friend0.test", &mut background_traffic).await,
        1
    );
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn one_component_does_not_take_all_places() {
    let (mut world, background_traffic, [mut here, mut other]) =
        here("[queue]\nlanes = 20\n").await;
    let dead: Vec<String> = (0..30).map(|n| format!("dead{n}.test")).collect();
    let _dead = silent(&mut world, dead.iter().cloned()).await;
    for name in &dead {
        let message = format!("<message from='here.test' to='{name}' id='{name}'/>");
        here.send(message).await.unwrap();
    }
    let taken = 30 - {
        let mut back = 0;
        while let Ok(Event::Element(error)) = here.next(Duration::from_millis(500)).await {
            assert_eq!(condition(&error), StanzaCondition::ResourceConstraint);
            back += 1;
        }
        back
    };
    assert!((8..=17).contains(&taken), "{taken}");
    let mut friend = FakePeer::at(&mut world, "friend.test").await.unwrap();
    other
        .send("<message from='other.test' to='friend.test' id='1'/>")
        .await
        .unwrap();
    assert_eq!(
        friend.next().await.unwrap().stanza.id().as_deref(),
        Some("1")
    );
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn a_stream_for_our_own_answers_alone_is_closed_sooner() {
    let tables = "[limits]\nidle = '60s'\n[[domain]]\nname = 'pings.test'\n";
    let (mut world, background_traffic, [mut here, _other]) = here(tables).await;
    let asks = world.listen("asks.test").await.unwrap();
    let mut hears = FakePeer::at(&mut world, "hears.test").await.unwrap();
    here.send("<message from='here.test' to='hears.test' id='1'/>")
        .await
        .unwrap();
    hears.next().await.unwrap();
    let mut peer = world.connect("here.test").await.unwrap();
    peer.open("asks.test", "pings.test").await.unwrap();
    let features = Features::new().with_dialback(DialbackFeature::with_errors());
    let answer = async || {
        let mut server = asks.accept().await.unwrap();
        server.answer_open("1", &features).await.unwrap();
        let question = server.next().await.unwrap();
        let Event::Element(question) = question else {
            panic!("{question:?}");
        };
        let answer = format!(
            "<db:{} from='asks.test' to='pings.test' id='{}' type='valid'/>",
            question.name(),
            question.id().unwrap_or_default()
        );
        server.send(answer).await.unwrap();
        server
    };
    let (verdict, _server) =
        tokio::join!(peer.dialback("asks.test", "pings.test", "key"), answer());
    assert_eq!(verdict.unwrap(), "valid");
    peer.send(
        "<iq from='asks.test' to='pings.test' type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>",
    )
    .await
    .unwrap();
    let mut server = answer().await;
    let result = server.expect_stanza(StanzaKind::Iq).await.unwrap();
    assert_eq!(result.id().as_deref(), Some("1"));
    // In a second, not in a minute.
    server.expect_end().await.unwrap();
    here.send("<message from='here.test' to='hears.test' id='2'/>")
        .await
        .unwrap();
    assert_eq!(hears.next().await.unwrap().connection, 0);
    background_traffic.was_well().await.unwrap();
}
