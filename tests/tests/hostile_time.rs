//! A peer that takes its time: whatever it does before it is proved, however slowly, it has `limits.negotiation` for all
//! of it and not a moment more, and nobody else waits for it.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use s2sd_tests::{
    attack_setup,
    authoritative::Says,
    background_traffic::BackgroundTraffic,
    component::attach,
    fake_peer::FakePeer,
    peer::{Peer, header_text, initial_header},
    wire::{Event, Wire},
    world::{SECRET, TIMEOUT, World},
};
use tokio::task::JoinSet;
use xmpp_stream::{
    Condition, DialbackFeature, Features, StanzaKind, StreamError, StreamLimits, ns,
};

/// The daemon's limit is one second; this is more than any machine needs on top.
const LATE: Duration = Duration::from_secs(5);

async fn here(negotiation: &str) -> (World, BackgroundTraffic) {
    let daemon = BackgroundTraffic::daemon("here.test")
        .direct_tls()
        .policy("tls = 'optional'\nauth = ['external', 'dialback']")
        .tables(&format!(
            "[limits]\nnegotiation = '{negotiation}'\ndialback = '60s'\n\
             [[peer]]\ndomain = 'password.test'\ntls = 'disabled'\nauth = ['digest-md5']\n\
             accept = {{ username = 'password.test', password = 'x' }}\n\
             credentials = {{ username = 'here.test', password = 'x' }}\n",
        ));
    attack_setup::beside(daemon).await.unwrap()
}

/// What the daemon said last, when it has closed the connection, and how long all that took. Meanwhile this is sent
/// again and again.
async fn until_the_end(mut peer: Peer, drip: &str) -> (Option<Condition>, Duration) {
    let began = Instant::now();
    let mut last = None;
    loop {
        match peer.next_within(Duration::from_millis(20)).await {
            Ok(Event::Nothing) if began.elapsed() > LATE => panic!("it waits and waits"),
            Ok(Event::Nothing) => drop(peer.send(drip).await),
            Ok(Event::Element(element)) => {
                last = StreamError::from_element(&element).map(|error| error.condition);
            }
            Ok(Event::Closed) | Err(_) => return (last, began.elapsed()),
            Ok(Event::Header(_) | Event::Footer) => {}
        }
    }
}

#[tokio::test]
async fn every_way_to_be_slow_has_an_end() {
    let (mut world, background_traffic) = here("1s").await;
    let _silent = world
        .authoritative("silent.test", Says::Silence, None)
        .await;
    let header = header_text(&initial_header(Some("evil.test"), "here.test"));
    let header = String::from_utf8(header.to_vec()).unwrap();
    let mut running = JoinSet::new();
    let mut go = |what: &'static str, peer: Peer, drip: &'static str, told: bool| {
        running.spawn(async move { (what, told, until_the_end(peer, drip).await) });
    };
    let connect = async || world.connect("here.test").await.unwrap();
    let open = async |from: &str| {
        let mut peer = connect().await;
        peer.open(from, "here.test").await.unwrap();
        peer
    };

    go("connects", connect().await, "", true);
    go("sends blanks", connect().await, " ", true);
    let mut peer = connect().await;
    peer.send("<stream:stream a='").await.unwrap();
    go("sends a header byte by byte", peer, "x", true);
    let mut peer = connect().await;
    peer.send("<?xml version='1.0'?>").await.unwrap();
    go("declares itself", peer, "\n", true);
    go("opens a stream", open("evil.test").await, "", true);
    go(
        "opens a stream and sends blanks",
        open("evil.test").await,
        " ",
        true,
    );
    let mut peer = open("evil.test").await;
    peer.send("<message").await.unwrap();
    go("sends a tag byte by byte", peer, " ", true);
    let mut peer = open("evil.test").await;
    peer.send("<message><body>").await.unwrap();
    go("sends a text byte by byte", peer, "x", true);
    let mut peer = open("silent.test").await;
    peer.send("<db:result from='silent.test' to='here.test'>k</db:result>")
        .await
        .unwrap();
    go("sends a key nobody answers for", peer, "", true);
    let mut peer = open("password.test").await;
    peer.send(format!(
        "<auth xmlns='{}' mechanism='DIGEST-MD5'/>",
        ns::SASL
    ))
    .await
    .unwrap();
    peer.expect(ns::SASL, "challenge").await.unwrap();
    go("leaves a challenge open", peer, "", true);
    let mut peer = open("evil.test").await;
    peer.send(format!("<starttls xmlns='{}'/>", ns::TLS))
        .await
        .unwrap();
    peer.expect(ns::TLS, "proceed").await.unwrap();
    go("begins no handshake", peer, "", false);
    let mut peer = open("evil.test").await;
    peer.send(format!("<starttls xmlns='{}'/>", ns::TLS))
        .await
        .unwrap();
    peer.expect(ns::TLS, "proceed").await.unwrap();
    // A record of 500 bytes begins.
    peer.send(b"\x16\x03\x01\x01\xf4").await.unwrap();
    go("sends a handshake byte by byte", peer, "\x01", false);
    let mut peer = open("evil.test").await;
    peer.starttls("here.test", None).await.unwrap();
    go("says nothing within TLS", peer, "", true);
    let mut peer = open("evil.test").await;
    peer.starttls("here.test", None).await.unwrap();
    peer.open("evil.test", "here.test").await.unwrap();
    go("opens a stream within TLS", peer, " ", true);
    let peer = world.connect_direct("here.test").await.unwrap();
    go("connects to the listener with TLS", peer, "", false);
    let mut peer = world.connect_direct("here.test").await.unwrap();
    peer.direct_tls("here.test", None).await.unwrap();
    peer.send(&header[..header.len() / 2]).await.unwrap();
    go("sends half a header within direct TLS", peer, "", true);
    let listener = world.daemon("here.test").unwrap().components[0];
    let listener = async || Peer::over(Wire::connect(listener, TIMEOUT).await.unwrap());
    go("connects as a component", listener().await, " ", true);
    let mut peer = listener().await;
    peer.send(
        "<stream:stream xmlns:stream='http://etherx.jabber.org/streams' \
         xmlns='jabber:component:accept' to='here.test'>",
    )
    .await
    .unwrap();
    go("leaves the component handshake open", peer, "", true);

    while let Some(ended) = running.join_next().await {
        let (what, told, (last, _)) = ended.unwrap();
        if told {
            assert_eq!(last, Some(Condition::ConnectionTimeout), "{what}");
        }
    }
    background_traffic.was_well().await.unwrap();
}

/// The time is one for all of it: no step starts it anew.
#[tokio::test]
async fn progress_buys_no_time() {
    let (world, background_traffic) = here("2s").await;
    let began = Instant::now();
    let mut peer = world.connect_direct("here.test").await.unwrap();
    let silence = peer.next_within(Duration::from_millis(1500)).await;
    assert!(matches!(silence, Ok(Event::Nothing)));
    peer.direct_tls("here.test", None).await.unwrap();
    peer.send_header(None, "here.test").await.unwrap();
    let (last, _) = until_the_end(peer, " ").await;
    assert_eq!(last, Some(Condition::ConnectionTimeout));
    let took = began.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
    background_traffic.was_well().await.unwrap();
}

/// As the one who connects: nobody answers, and the sender hears of it when the time is over.
#[tokio::test]
async fn a_server_that_is_slow_to_answer_is_given_up() {
    let daemon = BackgroundTraffic::daemon("here.test").tables(
        "[limits]\nnegotiation = '1s'\nconnect = '1s'\n\
         [queue]\ngive_up = '1s'\nbackoff = { first = '10ms', max = '10ms' }\n",
    );
    let (mut world, background_traffic, mut component) = attack_setup::start(daemon).await.unwrap();
    let mute = world.listen("mute.test").await.unwrap();
    let mute_tls = world.listen("mute-tls.test").await.unwrap();
    world.lead("_xmpps-server", "mute-tls.test", mute_tls.addr().unwrap());
    let began = Instant::now();
    for to in ["mute.test", "mute-tls.test"] {
        component
            .send(format!("<message from='here.test' to='{to}' id='{to}'/>"))
            .await
            .unwrap();
    }
    for _ in 0..2 {
        let error = component
            .expect("an error", TIMEOUT, |_| true)
            .await
            .unwrap();
        assert_eq!(error.type_attr().as_deref(), Some("error"));
        let text = String::from_utf8_lossy(error.bytes()).into_owned();
        assert!(text.contains("name='timeout'"), "{text}");
    }
    assert!(began.elapsed() < LATE, "{:?}", began.elapsed());
    drop(mute);
    background_traffic.was_well().await.unwrap();
}

/// Neither a handshake that does not end nor a stream that says nothing holds up the stop.
#[tokio::test]
async fn who_is_slow_does_not_hold_up_the_stop() {
    let mut world = World::new().unwrap();
    let daemon = BackgroundTraffic::daemon("here.test")
        .direct_tls()
        .policy("tls = 'optional'\nauth = ['external', 'dialback']")
        .tables("[limits]\nnegotiation = '60s'\ndialback = '60s'\n");
    world.start(daemon).await.unwrap();
    let _silent = world.authoritative("evil.test", Says::Silence, None).await;
    let mut held = vec![
        world.connect("here.test").await.unwrap(),
        world.connect_direct("here.test").await.unwrap(),
    ];
    let mut peer = world.connect("here.test").await.unwrap();
    peer.open("evil.test", "here.test").await.unwrap();
    peer.send("<db:result from='evil.test' to='here.test'>k</db:result>")
        .await
        .unwrap();
    held.push(peer);
    let mut peer = world.connect("here.test").await.unwrap();
    peer.open("evil.test", "here.test").await.unwrap();
    peer.send(format!("<starttls xmlns='{}'/>", ns::TLS))
        .await
        .unwrap();
    peer.expect(ns::TLS, "proceed").await.unwrap();
    held.push(peer);
    let listener = world.daemon("here.test").unwrap().components[0];
    held.push(Peer::over(Wire::connect(listener, TIMEOUT).await.unwrap()));
    let began = Instant::now();
    world.stop("here.test").await.unwrap();
    assert!(began.elapsed() < LATE, "{:?}", began.elapsed());
    for peer in held {
        let (last, _) = until_the_end(peer, "").await;
        assert!(matches!(last, None | Some(Condition::SystemShutdown)));
    }
}

/// Who is known may be silent for long, but not in the middle of an element.
#[tokio::test]
async fn an_element_has_so_much_time_whoever_sends_it() {
    let daemon = BackgroundTraffic::daemon("here.test")
        .policy("tls = 'optional'\nauth = ['external', 'dialback']")
        .tables("[limits]\nstanza_time = '1s'\n");
    let (mut world, mut background_traffic) = attack_setup::beside(daemon).await.unwrap();
    let fake_peer = FakePeer::at(&mut world, "known.test").await.unwrap();
    let listener = world.daemon("here.test").unwrap().components[0];
    let mut running = JoinSet::new();
    for rest in ["", "x"] {
        let proved = fake_peer.proved(&world, "here.test", "here.test").await;
        let mut peer = proved.unwrap();
        peer.send("<message from='known.test' to='here.test'><body>")
            .await
            .unwrap();
        running.spawn(until_the_end(peer, rest));
    }
    let component = attach(listener, "here.test", SECRET, TIMEOUT)
        .await
        .unwrap();
    let mut component = Peer::over(component);
    // As the one who connects.
    let server = world.listen("called.test").await.unwrap();
    let message = "<message from='here.test' to='called.test'/>";
    component.send(message).await.unwrap();
    let mut called = server.accept().await.unwrap();
    let features = Features::new().with_dialback(DialbackFeature::with_errors());
    called.answer_open("called", &features).await.unwrap();
    called.expect(ns::DIALBACK, "result").await.unwrap();
    called
        .send("<db:result from='called.test' to='here.test' type='valid'/><message><body>")
        .await
        .unwrap();
    called.expect_stanza(StanzaKind::Message).await.unwrap();
    running.spawn(until_the_end(called, "x"));
    component
        .send("<message from='here.test' to='called.test'>")
        .await
        .unwrap();
    running.spawn(until_the_end(component, "x"));
    while let Some(ended) = running.join_next().await {
        let (last, took) = ended.unwrap();
        assert_eq!(last, Some(Condition::ConnectionTimeout));
        assert!(took > Duration::from_millis(500), "{took:?}");
    }
    background_traffic.is_well().await.unwrap();
    // The time is each element's own: a peer that sends one after the other may go on.
    let proved = fake_peer.proved(&world, "here.test", "here.test").await;
    let mut peer = proved.unwrap();
    let began = Instant::now();
    peer.send("<message from='known.test' to='here.test' id='")
        .await
        .unwrap();
    while began.elapsed() < Duration::from_secs(2) {
        peer.send("x'/><message from='known.test' to='here.test' id='")
            .await
            .unwrap();
        background_traffic.is_well().await.unwrap();
    }
    // It hears that no component is there, and nothing worse.
    peer.expect_nothing(Duration::ZERO).await.unwrap();
    background_traffic.was_well().await.unwrap();
}

/// It had something on the way when it was told that it had been silent for too long.
#[tokio::test]
async fn what_comes_after_a_stream_was_ended_as_idle_arrives() {
    let mut world = World::new().unwrap();
    let daemon = BackgroundTraffic::daemon("here.test")
        .policy("tls = 'optional'\nauth = ['dialback']")
        .tables("[limits]\nidle = '2s'\n");
    world.start(daemon).await.unwrap();
    let fake_peer = FakePeer::at(&mut world, "far.test").await.unwrap();
    let mut component = world.component("here.test").await.unwrap();
    let mut peer = fake_peer
        .proved(&world, "here.test", "here.test")
        .await
        .unwrap();
    let end = peer.next().await.unwrap();
    assert!(matches!(end, Event::Footer), "{end:?}");
    for id in ["1", "2"] {
        let stanza = format!("<message from='far.test' to='here.test' id='{id}'/>");
        peer.send(stanza).await.unwrap();
    }
    peer.send("</stream:stream>").await.unwrap();
    for id in ["1", "2"] {
        let got = component
            .expect("a message", TIMEOUT, |_| true)
            .await
            .unwrap();
        assert_eq!(got.id().as_deref(), Some(id));
    }
    peer.expect_closed().await.unwrap();
}

/// What both streams below do, for longer than the daemon waits for a stanza.
const IDLE: Duration = Duration::from_secs(6);

#[tokio::test]
async fn spaces_keep_no_stream_open_and_stanzas_do() {
    let mut world = World::new().unwrap();
    let daemon = BackgroundTraffic::daemon("here.test")
        .policy("tls = 'optional'\nauth = ['dialback']")
        .tables("[limits]\nidle = '6s'\n");
    world.start(daemon).await.unwrap();
    let fake_peer = FakePeer::at(&mut world, "evil.test").await.unwrap();
    let mut spaces = fake_peer
        .proved(&world, "here.test", "here.test")
        .await
        .unwrap();
    let mut stanzas = fake_peer
        .proved(&world, "here.test", "here.test")
        .await
        .unwrap();
    let began = Instant::now();
    let stanza = "<message type='error' from='evil.test' to='here.test'/>";
    loop {
        // Of a space and of a stanza each.
        spaces.send(" ").await.ok();
        stanzas.send(stanza).await.unwrap();
        match spaces.next_within(Duration::from_millis(50)).await {
            Ok(Event::Nothing) => assert!(began.elapsed() < IDLE + TIMEOUT, "it waits and waits"),
            Ok(Event::Footer) => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(began.elapsed() >= IDLE - Duration::from_secs(1));
    let goes_on = stanzas.next_within(Duration::from_millis(50)).await;
    assert!(matches!(goes_on, Ok(Event::Nothing)), "{goes_on:?}");
}

#[tokio::test]
async fn when_a_stream_is_idle_is_announced_and_what_the_peer_announces_is_kept() {
    let mut world = World::new().unwrap();
    let daemon =
        BackgroundTraffic::daemon("here.test").policy("tls = 'optional'\nauth = ['dialback']");
    world.start(daemon).await.unwrap();
    let mut peer = world.connect("here.test").await.unwrap();
    let opened = peer.open("calm.test", "here.test").await.unwrap();
    let limits = opened.features.limits.unwrap();
    assert_eq!(limits.idle_seconds, Some(3600));
    // One that closes streams after two seconds hears a space before that, and one that does not say so hears none.
    let mut component = world.component("here.test").await.unwrap();
    let mut streams = Vec::new();
    for (domain, idle_seconds) in [("hasty.test", Some(2)), ("calm.test", None)] {
        let server = world.listen(domain).await.unwrap();
        let message = format!("<message from='here.test' to='{domain}' id='1'/>");
        component.send(message).await.unwrap();
        let mut there = server.accept().await.unwrap();
        let mut limits = StreamLimits::new();
        limits.idle_seconds = idle_seconds;
        let offer = Features::new()
            .with_dialback(DialbackFeature::with_errors())
            .with_limits(limits);
        there.answer_open("there", &offer).await.unwrap();
        there.expect(ns::DIALBACK, "result").await.unwrap();
        let valid = format!("<db:result from='{domain}' to='here.test' type='valid'/>");
        there.send(valid).await.unwrap();
        there.expect_stanza(StanzaKind::Message).await.unwrap();
        streams.push((there, server));
    }
    let began = Instant::now();
    while streams[0].0.spaces() == 0 {
        assert!(began.elapsed() < TIMEOUT, "no space comes");
        let next = streams[0].0.next_within(Duration::from_millis(50)).await;
        assert!(matches!(next, Ok(Event::Nothing)), "{next:?}");
    }
    let next = streams[1].0.next_within(Duration::from_millis(50)).await;
    assert!(matches!(next, Ok(Event::Nothing)), "{next:?}");
    assert_eq!(streams[1].0.spaces(), 0);
}
