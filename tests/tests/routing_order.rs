//! Order holds per pair, while connecting and over failed attempts, and what waits when the daemon stops is still
//! delivered while there is time.
#![allow(clippy::unwrap_used)]

use s2sd_tests::{
    attack_setup,
    background_traffic::BackgroundTraffic,
    component_client::ComponentClient,
    fake_peer::FakePeer,
    peer::Peer,
    wire::Event,
    world::{Daemon, SECRET, TIMEOUT, World},
};
use xmpp_stream::{Condition, DialbackFeature, Element, Features, StanzaKind, StreamError, ns};

const PLAIN: &str = "tls = 'optional'\nauth = ['external', 'dialback']";
const SOON_AGAIN: &str = "[queue]\nbackoff = { first = '10ms', max = '20ms' }\n";

fn message(from: &str, to: &str, id: usize) -> String {
    format!("<message from='{from}' to='{to}' id='{id}'><body>{id}</body></message>")
}

fn id_of(stanza: &Element) -> usize {
    stanza.id().unwrap().parse().unwrap()
}

async fn arrive_in_order(component: &mut ComponentClient, count: usize) {
    for id in 0..count {
        let got = component
            .expect("a message", TIMEOUT, |_| true)
            .await
            .unwrap();
        assert_eq!(id_of(&got), id, "{got:?}");
    }
}

#[tokio::test]
async fn what_was_sent_before_the_peer_is_up_arrives_in_order() {
    let (mut world, background_traffic, mut component) =
        attack_setup::start(BackgroundTraffic::daemon("here.test").tables(SOON_AGAIN))
            .await
            .unwrap();
    // There is nobody, but there will be.
    drop(world.listen("b.test").await.unwrap());
    for id in 0..1000 {
        let message = message("here.test", "b.test", id);
        component.send(message).await.unwrap();
    }
    // The other direction has its turn meanwhile.
    world
        .start(Daemon::serving("b.test").tables(SOON_AGAIN))
        .await
        .unwrap();
    let mut other = world.component("b.test").await.unwrap();
    for id in 0..1000 {
        let message = message("b.test", "here.test", id);
        other.send(message).await.unwrap();
    }
    arrive_in_order(&mut other, 1000).await;
    arrive_in_order(&mut component, 1000).await;
    background_traffic.was_well().await.unwrap();
}

fn features() -> Features {
    Features::new().with_dialback(DialbackFeature::with_errors())
}

/// The peer's side of a stream that the daemon makes, up to its key.
async fn answer(server: &s2sd_tests::world::RawServer) -> Peer {
    let mut peer = server.accept().await.unwrap();
    peer.answer_open("there", &features()).await.unwrap();
    peer.expect(ns::DIALBACK, "result").await.unwrap();
    peer
}

const VALID: &str = "<db:result from='b.test' to='here.test' type='valid'/>";

#[tokio::test]
async fn order_survives_attempts_that_fail_in_the_middle() {
    let daemon = BackgroundTraffic::daemon("here.test")
        .policy(PLAIN)
        .tables(SOON_AGAIN);
    let (mut world, background_traffic, mut component) = attack_setup::start(daemon).await.unwrap();
    let server = world.listen("b.test").await.unwrap();
    let mut sent = 0;
    let mut send = async |component: &mut ComponentClient| {
        for _ in 0..50 {
            let message = message("here.test", "b.test", sent);
            component.send(message).await.unwrap();
            sent += 1;
        }
    };
    send(&mut component).await;
    // It closes without a word,
    drop(server.accept().await.unwrap());
    send(&mut component).await;
    // after the header,
    let mut peer = server.accept().await.unwrap();
    peer.answer_open("there", &features()).await.unwrap();
    drop(peer);
    send(&mut component).await;
    // instead of an answer,
    let mut peer = answer(&server).await;
    peer.send("</stream:stream>").await.unwrap();
    peer.expect_end().await.unwrap();
    send(&mut component).await;
    // and before it read anything, so that nothing can have got lost on the way.
    let mut peer = answer(&server).await;
    let error = "<stream:error><reset xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>";
    peer.send(error).await.unwrap();
    peer.expect_end().await.unwrap();
    send(&mut component).await;
    let mut peer = answer(&server).await;
    peer.send(VALID).await.unwrap();
    for id in 0..250 {
        let got = peer.expect_stanza(StanzaKind::Message).await.unwrap();
        assert_eq!(id_of(&got), id);
    }
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn what_waits_for_a_peer_is_sent_before_the_daemon_stops() {
    let mut world = World::new().unwrap();
    let built_in = "[[domain]]\nname = 'built.in.test'\n";
    world
        .start(Daemon::serving("here.test").policy(PLAIN).tables(built_in))
        .await
        .unwrap();
    let mut component = world.component("here.test").await.unwrap();
    let server = world.listen("b.test").await.unwrap();
    for id in 0..500 {
        let message = message("here.test", "b.test", id);
        component.send(message).await.unwrap();
    }
    // Answered by the daemon itself, after it took all that was sent before.
    let ping = "<iq type='get' from='here.test' to='built.in.test' id='p'><ping xmlns='urn:xmpp:ping'/></iq>";
    component.send(ping).await.unwrap();
    let pong = component.expect("a pong", TIMEOUT, |_| true).await.unwrap();
    assert_eq!(pong.id().as_deref(), Some("p"));
    // Another server's stream, which ends as soon as the daemon is told to stop; components go last.
    let mut told = world.connect("here.test").await.unwrap();
    told.open("c.test", "here.test").await.unwrap();
    let peer = async {
        let mut peer = answer(&server).await;
        let error = told.expect(ns::STREAMS, "error").await.unwrap();
        let error = StreamError::from_element(&error).unwrap();
        assert_eq!(error.condition, Condition::SystemShutdown);
        peer.send(VALID).await.unwrap();
        for id in 0..500 {
            let got = peer.expect_stanza(StanzaKind::Message).await.unwrap();
            assert_eq!(id_of(&got), id);
        }
        peer.expect_end().await.unwrap();
        let ended = format!("{:#}", component.ended().await);
        assert!(ended.contains("SystemShutdown"), "{ended}");
    };
    tokio::join!(peer, world_stops(&mut world, "here.test"));
}

async fn world_stops(world: &mut World, domain: &str) {
    let began = std::time::Instant::now();
    world.stop(domain).await.unwrap();
    assert!(began.elapsed() < TIMEOUT, "it was stopped, not drained");
}

#[tokio::test]
async fn what_waits_for_a_component_is_written_before_the_daemon_stops() {
    let mut world = World::new().unwrap();
    world
        .start(Daemon::serving("here.test").policy(PLAIN))
        .await
        .unwrap();
    let fake_peer = FakePeer::at(&mut world, "b.test").await.unwrap();
    let mut peer = fake_peer
        .proved(&world, "here.test", "here.test")
        .await
        .unwrap();
    let addr = world.daemon("here.test").unwrap().components[0];
    let mut component = s2sd_tests::component::attach(addr, "here.test", SECRET, TIMEOUT)
        .await
        .unwrap();
    // More than the sockets and our write buffer hold, so that some waits in the queue.
    let body = "x".repeat(20_000);
    let mut all = String::new();
    for id in 0..500 {
        all += &format!(
            "<message from='b.test' to='here.test' id='{id}'><body>{body}</body></message>"
        );
    }
    peer.send(all).await.unwrap();
    // Answered by the daemon after it took all that stood before it.
    peer.send("<db:verify from='b.test' to='here.test' id='1'>k</db:verify>")
        .await
        .unwrap();
    peer.expect(ns::DIALBACK, "verify").await.unwrap();
    let read = async {
        let error = peer.expect_stream_error().await.unwrap();
        assert_eq!(error.condition, xmpp_stream::Condition::SystemShutdown);
        for id in 0..500 {
            match component.next(TIMEOUT).await.unwrap() {
                Event::Element(got) if got.stanza_kind().is_some() => assert_eq!(id_of(&got), id),
                other => panic!("{id}: {other:?}"),
            }
        }
        let Event::Element(error) = component.next(TIMEOUT).await.unwrap() else {
            panic!("no stream error")
        };
        let error = xmpp_stream::StreamError::from_element(&error).unwrap();
        assert_eq!(error.condition, xmpp_stream::Condition::SystemShutdown);
    };
    tokio::join!(read, world_stops(&mut world, "here.test"));
}

#[tokio::test]
async fn what_a_peer_does_not_read_goes_by_the_next_stream() {
    let mut world = World::new().unwrap();
    let impatient = format!("[limits]\nstall = '1s'\n{SOON_AGAIN}");
    let daemon = Daemon::serving("here.test")
        .policy(PLAIN)
        .tables(&impatient);
    world.start(daemon).await.unwrap();
    let mut component = world.component("here.test").await.unwrap();
    let server = world.listen("b.test").await.unwrap();
    // More than the sockets hold.
    let body = "x".repeat(100_000);
    let message = |id: usize| {
        format!("<message from='here.test' to='b.test' id='{id}'><body>{body}</body></message>")
    };
    let last = 149;
    for id in 0..=last {
        component.send(message(id)).await.unwrap();
    }
    let mut unread = answer(&server).await;
    unread.send(VALID).await.unwrap();
    let mut peer = answer(&server).await;
    peer.send(VALID).await.unwrap();
    let mut after = Vec::new();
    while after.last() != Some(&last) {
        let got = peer.expect_stanza(StanzaKind::Message).await.unwrap();
        after.push(id_of(&got));
    }
    // What the first socket took is on it, whole, up to where the second stream goes on.
    let mut before = Vec::new();
    while let Ok(Event::Element(got)) = unread.next().await {
        before.push(id_of(&got));
    }
    let all: Vec<usize> = before.iter().chain(&after).copied().collect();
    assert_eq!(all, (0..=last).collect::<Vec<_>>());
    assert!(!before.is_empty() && !after.is_empty(), "{before:?}");
}
