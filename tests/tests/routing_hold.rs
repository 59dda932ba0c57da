//! `hold`: what is for a component that is away waits for it, for so long.
#![allow(clippy::unwrap_used)]

use s2sd_tests::{
    component::attach,
    component_client::ComponentClient,
    fake_peer::FakePeer,
    wire::{Event, Wire},
    world::{Daemon, SECRET, TIMEOUT, World},
};
use xmpp_stream::{Element, StanzaError};

const PLAIN: &str = "tls = 'optional'\nauth = ['external', 'dialback']";

/// A daemon that serves `kept.test` too, whose component is not there, and the component of `here.test`.
async fn here(hold: &str, tables: &str) -> (World, ComponentClient) {
    let mut world = World::new().unwrap();
    let kept = format!(
        "[[domain]]\nname = 'kept.test'\ncomponent = {{ secret = '{SECRET}', hold = '{hold}' }}\n{tables}"
    );
    let daemon = Daemon::serving("here.test").policy(PLAIN).tables(&kept);
    world.start(daemon).await.unwrap();
    let component = world.component("here.test").await.unwrap();
    (world, component)
}

fn message(n: usize, within: &str) -> String {
    format!("<message from='here.test' to='u@kept.test' id='{n}'>{within}</message>")
}

async fn back(world: &World) -> Wire {
    let listener = world.daemon("here.test").unwrap().components[0];
    attach(listener, "kept.test", SECRET, TIMEOUT)
        .await
        .unwrap()
}

async fn next(wire: &mut Wire) -> Element {
    match wire.next(TIMEOUT).await.unwrap() {
        Event::Element(element) => element,
        other => panic!("{other:?}"),
    }
}

fn id(element: &Element) -> usize {
    element.id().unwrap().parse().unwrap()
}

async fn bounce(component: &mut ComponentClient) -> (usize, StanzaError) {
    let error = component
        .expect("a bounce", TIMEOUT, |_| true)
        .await
        .unwrap();
    (id(&error), StanzaError::from_element(&error).unwrap())
}

#[tokio::test]
async fn messages_wait_in_order_and_come_first_and_nothing_else_waits() {
    let (mut world, mut component) = here("10m", "").await;
    let mut peer = FakePeer::at(&mut world, "known.test").await.unwrap();
    let mut stream = peer.proved(&world, "here.test", "kept.test").await.unwrap();
    let request =
        "<iq type='get' from='here.test' to='u@kept.test' id='900'><x xmlns='urn:x'/></iq>";
    let no_store = "<no-store xmlns='urn:xmpp:hints'/>";
    for n in 0..20 {
        component.send(message(n, "<body>1</body>")).await.unwrap();
    }
    for (n, not_kept) in [
        (900, request.to_owned()),
        (901, message(901, no_store)),
        (
            902,
            message(902, "").replacen("<message", "<message type='headline'", 1),
        ),
        (
            903,
            "<presence from='here.test' to='u@kept.test' id='903'/>".to_owned(),
        ),
    ] {
        component.send(not_kept).await.unwrap();
        let (id, error) = bounce(&mut component).await;
        assert_eq!(
            (id, error.condition.name(), error.kind.name()),
            (n, "service-unavailable", "wait")
        );
    }
    // From another server as well, and that stream goes on meanwhile.
    for n in 20..40 {
        let message = message(n, "").replacen("here.test", "known.test", 1);
        stream.send(message).await.unwrap();
    }
    let ping =
        "<iq type='get' from='known.test' to='kept.test' id='1'><ping xmlns='urn:xmpp:ping'/></iq>";
    stream.send(ping).await.unwrap();
    let answer = peer.next().await.unwrap().stanza;
    assert_eq!(answer.type_attr().as_deref(), Some("result"));
    let mut wire = back(&world).await;
    for n in 40..50 {
        component.send(message(n, "")).await.unwrap();
    }
    for n in 0..50 {
        assert_eq!(id(&next(&mut wire).await), n);
    }
}

#[tokio::test]
async fn what_a_component_has_not_taken_when_it_leaves_waits_before_what_comes_then() {
    const EACH: usize = 20_000;
    let (world, mut component) = here("10m", "").await;
    let wire = back(&world).await;
    let body = format!("<body>{}</body>", "x".repeat(EACH));
    // More than the kernel takes of a component that does not read.
    for n in 0..400 {
        component.send(message(n, &body)).await.unwrap();
    }
    drop(wire);
    component.send(message(400, "")).await.unwrap();
    let mut wire = back(&world).await;
    let mut last = id(&next(&mut wire).await);
    assert!(last < 400, "all was lost with the connection");
    while last < 400 {
        let id = id(&next(&mut wire).await);
        assert_eq!(id, last + 1);
        last = id;
    }
    let bounced = component
        .collect(std::time::Duration::from_millis(100))
        .await;
    assert!(bounced.is_empty(), "{} bounces", bounced.len());
}

#[tokio::test]
async fn what_waited_too_long_goes_back() {
    let (_world, mut component) = here("1s", "").await;
    for n in 0..3 {
        component.send(message(n, "")).await.unwrap();
    }
    for n in 0..3 {
        let (id, error) = bounce(&mut component).await;
        assert_eq!((id, error.condition.name()), (n, "service-unavailable"));
    }
}

#[tokio::test]
async fn no_more_waits_than_the_queue_may_have() {
    let (world, mut component) = here("10m", "[queue]\nstanzas = 5\n").await;
    for n in 0..6 {
        component.send(message(n, "")).await.unwrap();
    }
    let (id, error) = bounce(&mut component).await;
    assert_eq!((id, error.condition.name()), (5, "resource-constraint"));
    let mut wire = back(&world).await;
    for n in 0..5 {
        assert_eq!(self::id(&next(&mut wire).await), n);
    }
}

#[tokio::test]
async fn what_waits_goes_back_when_the_server_stops() {
    let (mut world, mut component) = here("10m", "").await;
    component.send(message(1, "")).await.unwrap();
    component
        .send(message(2, "<no-store xmlns='urn:xmpp:hints'/>"))
        .await
        .unwrap();
    assert_eq!(
        bounce(&mut component).await.0,
        2,
        "the first is there before"
    );
    let hears = async { bounce(&mut component).await.0 };
    let (stopped, back) = tokio::join!(world.stop("here.test"), hears);
    stopped.unwrap();
    assert_eq!(back, 1);
}
