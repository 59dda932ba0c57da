//! Acknowledgements of another server (XEP-0198): what it has not acknowledged when the connection breaks goes by the next
//! stream, in order, with a delay, and is not bounced as well.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use s2sd_tests::{
    component_client::ComponentClient,
    fake_peer::believing,
    peer::Peer,
    wire::Event,
    world::{Daemon, RawServer, TIMEOUT, World},
};
use xmpp_stream::stream_management::{Enabled, Failed, Nonza};
use xmpp_stream::{
    Condition, DialbackFeature, Element, Features, StanzaCondition, StreamError, ns,
};

async fn here(tables: &str) -> (World, RawServer, ComponentClient) {
    let mut world = World::new().unwrap();
    let plain = "tls = 'optional'\nauth = ['external', 'dialback']";
    let daemon = Daemon::serving("here.test").policy(plain).tables(tables);
    world.start(daemon).await.unwrap();
    let server = world.listen("known.test").await.unwrap();
    let component = world.component("here.test").await.unwrap();
    (world, server, component)
}

/// The server of `known.test` takes the daemon's stream and believes its key. It offers to acknowledge, and answers
/// `<enable/>` so.
async fn accepted(server: &RawServer, answer: Nonza) -> Peer {
    let mut peer = server.accept().await.unwrap().with_timeout(TIMEOUT);
    let features = Features::new()
        .with_dialback(DialbackFeature::with_errors())
        .with_other(ns::STREAM_MANAGEMENT, "sm");
    peer.answer_open("stream", &features).await.unwrap();
    let request = next(&mut peer).await;
    let valid = believing(&request).unwrap();
    peer.send(valid.to_bytes()).await.unwrap();
    let enable = next(&mut peer).await;
    let enable = Nonza::from_element(&enable).unwrap();
    assert!(matches!(enable, Some(Nonza::Enable(_))), "{enable:?}");
    peer.send(answer.to_bytes()).await.unwrap();
    peer
}

async fn acknowledging(server: &RawServer) -> Peer {
    accepted(server, Nonza::Enabled(Enabled::new())).await
}

async fn next(peer: &mut Peer) -> Element {
    match peer.next().await.unwrap() {
        Event::Element(element) => element,
        other => panic!("{other:?}"),
    }
}

/// The next stanza; what the daemon asks meanwhile is not answered.
async fn stanza(peer: &mut Peer) -> Element {
    loop {
        let element = next(peer).await;
        if element.stanza_kind().is_some() {
            return element;
        }
    }
}

async fn request(peer: &mut Peer) {
    while !matches!(
        Nonza::from_element(&next(peer).await),
        Ok(Some(Nonza::Request))
    ) {}
}

fn message(n: usize) -> String {
    format!("<message from='here.test' to='known.test' id='{n}'><body>{n}</body></message>")
}

fn id(element: &Element) -> usize {
    element.id().unwrap().parse().unwrap()
}

fn delay(element: &Element) -> Option<String> {
    let tree = element.tree();
    let delay = tree.child("urn:xmpp:delay", "delay")?;
    delay.attr("from").map(str::to_owned)
}

async fn ack(peer: &mut Peer, h: u32) {
    peer.send(Nonza::Ack { h }.to_bytes()).await.unwrap();
}

async fn nothing_came_back(component: &mut ComponentClient) {
    let bounced = component.collect(Duration::from_millis(100)).await;
    assert!(bounced.is_empty(), "{bounced:?}");
}

#[tokio::test]
async fn what_is_not_acknowledged_goes_again_in_order_with_a_delay_and_is_not_bounced() {
    let (_world, server, mut component) = here("").await;
    for n in 0..20 {
        component.send(message(n)).await.unwrap();
    }
    let mut peer = acknowledging(&server).await;
    for n in 0..20 {
        let first = stanza(&mut peer).await;
        assert_eq!((id(&first), delay(&first)), (n, None));
    }
    ack(&mut peer, 7).await;
    // It is asked again only once that is read.
    request(&mut peer).await;
    drop(peer);
    component.send(message(20)).await.unwrap();
    let mut peer = acknowledging(&server).await;
    for n in 7..=20 {
        let again = stanza(&mut peer).await;
        let delayed = (n < 20).then(|| "here.test".to_owned());
        assert_eq!((id(&again), delay(&again)), (n, delayed));
    }
    ack(&mut peer, 14).await;
    nothing_came_back(&mut component).await;
}

#[tokio::test]
async fn a_connection_that_breaks_again_and_again_loses_nothing() {
    const ALL: usize = 2_000;
    let (_world, server, mut component) =
        here("[queue]\nbackoff = { first = '10ms', max = '20ms' }\n").await;
    let sends = async {
        for n in 0..ALL {
            component.send(message(n)).await.unwrap();
            if n % 40 == 0 {
                tokio::task::yield_now().await;
            }
        }
    };
    let takes = async {
        let (mut expected, mut again) = (0, 0);
        for life in 1.. {
            let mut peer = acknowledging(&server).await;
            let mut first = None;
            for taken in 0..15 * life {
                let n = id(&stanza(&mut peer).await);
                let from = *first.get_or_insert(n);
                assert_eq!(n, from + taken);
                assert!(from <= expected, "from {from}, {expected} were next");
                again += usize::from(n < expected);
                expected = expected.max(n + 1);
                if taken % 7 == 6 {
                    ack(&mut peer, u32::try_from(taken + 1).unwrap()).await;
                }
                if expected == ALL {
                    return (life, again);
                }
            }
        }
        unreachable!()
    };
    let ((), (lives, again)) = tokio::join!(sends, takes);
    assert!(lives > 5, "{lives} streams");
    println!("{lives} streams, {again} messages went again");
    nothing_came_back(&mut component).await;
}

#[tokio::test]
async fn what_may_have_arrived_is_given_up_without_a_bounce() {
    let (_world, server, mut component) =
        here("[queue]\ngive_up = '1s'\nbackoff = { first = '10ms', max = '20ms' }\n").await;
    component.send(message(0)).await.unwrap();
    let mut peer = acknowledging(&server).await;
    stanza(&mut peer).await;
    drop((peer, server));
    component.send(message(1)).await.unwrap();
    let error = component
        .expect("a bounce", TIMEOUT, |_| true)
        .await
        .unwrap();
    assert_eq!(id(&error), 1);
    nothing_came_back(&mut component).await;
}

#[tokio::test]
async fn a_server_that_does_not_count_after_all_gets_stanzas_as_ever() {
    let (_world, server, mut component) = here("").await;
    component.send(message(0)).await.unwrap();
    let failed = Failed::new(StanzaCondition::FeatureNotImplemented);
    let mut peer = accepted(&server, Nonza::Failed(failed)).await;
    assert_eq!(id(&stanza(&mut peer).await), 0);
    component.send(message(1)).await.unwrap();
    assert_eq!(id(&stanza(&mut peer).await), 1);
}

#[tokio::test]
async fn a_count_that_cannot_be_ends_the_stream_and_nothing_is_lost() {
    let (_world, server, mut component) = here("").await;
    component.send(message(0)).await.unwrap();
    let mut peer = acknowledging(&server).await;
    stanza(&mut peer).await;
    ack(&mut peer, 2).await;
    let error = loop {
        if let Some(error) = StreamError::from_element(&next(&mut peer).await) {
            break error;
        }
    };
    assert_eq!(error.condition, Condition::UndefinedCondition);
    let mut peer = acknowledging(&server).await;
    assert_eq!(id(&stanza(&mut peer).await), 0);
    nothing_came_back(&mut component).await;
}

#[tokio::test]
async fn who_does_not_want_it_does_not_ask() {
    let (_world, server, mut component) =
        here("[[peer]]\ndomain = 'known.test'\nstream_management = false\n").await;
    component.send(message(0)).await.unwrap();
    let mut peer = server.accept().await.unwrap().with_timeout(TIMEOUT);
    let features = Features::new()
        .with_dialback(DialbackFeature::with_errors())
        .with_other(ns::STREAM_MANAGEMENT, "sm");
    peer.answer_open("stream", &features).await.unwrap();
    let valid = believing(&next(&mut peer).await).unwrap();
    peer.send(valid.to_bytes()).await.unwrap();
    assert_eq!(next(&mut peer).await.name(), "message");
}
