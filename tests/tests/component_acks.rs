//! Acknowledgements on a component's stream (XEP-0198): nothing is lost with a component that has them, and it is told what
//! became of what it sent.
#![allow(clippy::unwrap_used)]

use s2sd_tests::{
    component::attach,
    component_client::ComponentClient,
    fake_peer::FakePeer,
    wire::{Event, Wire},
    world::{Daemon, SECRET, TIMEOUT, World},
};
use xmpp_stream::stream_management::Nonza;
use xmpp_stream::{Condition, Element, StanzaCondition, StanzaKind, StreamError};

const ENABLE: &str = "<enable xmlns='urn:xmpp:sm:3'/>";
const ASK: &str = "<r xmlns='urn:xmpp:sm:3'/>";

/// A daemon that serves `kept.test` too, and the component of `here.test`.
async fn here(hold: &str, tables: &str) -> (World, ComponentClient) {
    let mut world = World::new().unwrap();
    let kept = format!(
        "[[domain]]\nname = 'kept.test'\ncomponent = {{ secret = '{SECRET}', hold = '{hold}' }}\n{tables}"
    );
    let plain = "tls = 'optional'\nauth = ['external', 'dialback']";
    let daemon = Daemon::serving("here.test").policy(plain).tables(&kept);
    world.start(daemon).await.unwrap();
    let component = world.component("here.test").await.unwrap();
    (world, component)
}

async fn attached(world: &World) -> Wire {
    let listener = world.daemon("here.test").unwrap().components[0];
    let wire = attach(listener, "kept.test", SECRET, TIMEOUT).await;
    wire.unwrap()
}

/// The component of `kept.test`, which acknowledges. Nothing comes before the daemon says so: that would not be counted.
async fn acknowledging(world: &World) -> Wire {
    let mut wire = attached(world).await;
    wire.send(ENABLE).await.unwrap();
    let first = next(&mut wire).await;
    let enabled = Nonza::from_element(&first).unwrap();
    assert!(
        matches!(enabled, Some(Nonza::Enabled(it)) if !it.resume),
        "{first:?}"
    );
    wire
}

async fn next(wire: &mut Wire) -> Element {
    match wire.next(TIMEOUT).await.unwrap() {
        Event::Element(element) => element,
        other => panic!("{other:?}"),
    }
}

async fn nonza(wire: &mut Wire) -> Nonza {
    loop {
        let element = next(wire).await;
        if element.stanza_kind().is_none() {
            return Nonza::from_element(&element).unwrap().unwrap();
        }
    }
}

/// The next stanza; what the daemon asks meanwhile is not answered.
async fn stanza(wire: &mut Wire) -> Element {
    loop {
        let element = next(wire).await;
        if element.stanza_kind().is_some() {
            return element;
        }
    }
}

/// What the daemon has settled of what was sent to it.
async fn settled(wire: &mut Wire) -> u32 {
    wire.send(ASK).await.unwrap();
    loop {
        if let Nonza::Ack { h } = nonza(wire).await {
            return h;
        }
    }
}

async fn settles(wire: &mut Wire, want: u32) {
    loop {
        let h = settled(wire).await;
        assert!(h <= want, "{h}");
        if h == want {
            return;
        }
    }
}

fn message(n: usize) -> String {
    format!("<message from='here.test' to='u@kept.test' id='{n}'><body>{n}</body></message>")
}

fn id(element: &Element) -> usize {
    element.id().unwrap().parse().unwrap()
}

fn is_delayed(element: &Element) -> bool {
    element.tree().child("urn:xmpp:delay", "delay").is_some()
}

fn ack(h: usize) -> String {
    format!("<a xmlns='urn:xmpp:sm:3' h='{h}'/>")
}

#[tokio::test]
async fn what_is_not_acknowledged_comes_again_in_order_with_a_delay_and_nothing_else_does() {
    let (world, mut component) = here("10m", "").await;
    let mut wire = acknowledging(&world).await;
    for n in 0..20 {
        component.send(message(n)).await.unwrap();
    }
    for n in 0..20 {
        assert_eq!(id(&stanza(&mut wire).await), n);
    }
    wire.send(ack(7)).await.unwrap();
    // It is read before the answer to this comes.
    settled(&mut wire).await;
    drop(wire);
    let mut wire = acknowledging(&world).await;
    component.send(message(20)).await.unwrap();
    for n in 7..=20 {
        let again = stanza(&mut wire).await;
        assert_eq!((id(&again), is_delayed(&again)), (n, n < 20));
    }
    let bounced = component
        .collect(std::time::Duration::from_millis(100))
        .await;
    assert!(bounced.is_empty(), "{bounced:?}");
}

#[tokio::test]
async fn a_component_that_is_killed_again_and_again_misses_nothing() {
    const ALL: usize = 3_000;
    let (world, mut component) = here("10m", "").await;
    // From then on nothing is written before it has asked for acknowledgements again.
    drop(acknowledging(&world).await);
    let sends = async {
        for n in 0..ALL {
            component.send(message(n)).await.unwrap();
            if n % 50 == 0 {
                tokio::task::yield_now().await;
            }
        }
    };
    let takes = async {
        let (mut expected, mut again) = (0, 0);
        for life in 1.. {
            let mut wire = acknowledging(&world).await;
            let mut first = None;
            // A life is longer or shorter, and ends in the middle of whatever there is.
            for taken in 0..20 * life {
                let n = id(&stanza(&mut wire).await);
                // Nothing is passed over, and what comes again comes at the beginning alone.
                let from = *first.get_or_insert(n);
                assert_eq!(n, from + taken);
                assert!(from <= expected, "from {from}, {expected} were next");
                again += usize::from(n < expected);
                expected = expected.max(n + 1);
                if taken % 9 == 8 {
                    wire.send(ack(taken + 1)).await.unwrap();
                }
                if expected == ALL {
                    return (life, again);
                }
            }
        }
        unreachable!()
    };
    let ((), (lives, again)) = tokio::join!(sends, takes);
    assert!(lives > 5, "{lives} lives");
    println!("{lives} lives, {again} messages came again");
}

#[tokio::test]
async fn what_is_settled_is_told_and_nothing_before() {
    let (mut world, _component) = here("0s", "[queue]\ngive_up = '2s'\n").await;
    let mut peer = FakePeer::at(&mut world, "known.test").await.unwrap();
    let silent = world.listen("silent.test").await.unwrap();
    let mut wire = acknowledging(&world).await;
    let to = |domain: &str| format!("<message from='kept.test' to='{domain}' id='1'/>");
    wire.send(to("known.test")).await.unwrap();
    peer.next().await.unwrap();
    settles(&mut wire, 1).await;
    // What waits for a server that says nothing is not settled, nor is what comes after it.
    wire.send(to("silent.test")).await.unwrap();
    wire.send(to("known.test")).await.unwrap();
    peer.next().await.unwrap();
    assert_eq!(settled(&mut wire).await, 1);
    let bounce = stanza(&mut wire).await;
    assert_eq!(bounce.type_attr().as_deref(), Some("error"));
    settles(&mut wire, 3).await;
    // Neither are stanzas that are refused forgotten.
    wire.send("<message from='other.test' to='known.test'/>")
        .await
        .unwrap();
    assert_eq!(
        stanza(&mut wire).await.stanza_kind(),
        Some(StanzaKind::Message)
    );
    settles(&mut wire, 4).await;
    drop(silent);
}

#[tokio::test]
async fn without_hold_nothing_that_may_have_arrived_is_bounced() {
    let (world, mut component) = here("0s", "").await;
    let mut wire = acknowledging(&world).await;
    for n in 0..5 {
        component.send(message(n)).await.unwrap();
    }
    for _ in 0..5 {
        stanza(&mut wire).await;
    }
    drop(wire);
    let mut wire = attached(&world).await;
    component.send(message(5)).await.unwrap();
    assert_eq!(id(&stanza(&mut wire).await), 5);
    let bounced = component
        .collect(std::time::Duration::from_millis(100))
        .await;
    assert!(bounced.is_empty(), "{bounced:?}");
}

#[tokio::test]
async fn counts_that_cannot_be_end_the_stream_and_requests_that_cannot_be_do_not() {
    let (world, _component) = here("10m", "").await;
    let mut wire = acknowledging(&world).await;
    for (request, condition) in [
        (ENABLE, StanzaCondition::UnexpectedRequest),
        (
            "<resume xmlns='urn:xmpp:sm:3' previd='x' h='0'/>",
            StanzaCondition::ItemNotFound,
        ),
        (
            "<resume xmlns='urn:xmpp:sm:3' h='0'/>",
            StanzaCondition::BadRequest,
        ),
    ] {
        wire.send(request).await.unwrap();
        let Nonza::Failed(failed) = nonza(&mut wire).await else {
            panic!("{request}");
        };
        assert_eq!(failed.condition, Some(condition));
    }
    wire.send(ack(1)).await.unwrap();
    let error = StreamError::from_element(&next(&mut wire).await).unwrap();
    assert_eq!(error.condition, Condition::UndefinedCondition);
    let application = String::from_utf8(error.to_bytes().to_vec()).unwrap();
    assert!(
        application.contains("handled-count-too-high"),
        "{application}"
    );
}
