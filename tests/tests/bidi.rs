//! Both directions on one stream (XEP-0288).
#![allow(clippy::unwrap_used)]

use std::{ops::Range, time::Instant};

use s2sd::tools::demo::ca::{Issued, Leaf};
use s2sd_tests::{
    captured_log::{CapturedLog, Line},
    component::attach,
    component_client::ComponentClient,
    fake_peer::believing,
    peer::Peer,
    tls::TlsIdentity,
    wire::Event,
    world::{Daemon, RawServer, SECRET, TIMEOUT, World},
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    time::timeout,
};
use xmpp_sasl::wire as sasl;
use xmpp_stream::{Condition, DialbackFeature, Element, Features, StanzaKind, ns};

const BIDI: &str = "<bidi xmlns='urn:xmpp:bidi'/>";
const RESET: &str =
    "<stream:error><reset xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>";
const EXTERNAL: &str = "auth = ['external']";
const BACKOFF: &str = "[queue]\nbackoff = { first = '10ms', max = '20ms' }\n";

fn messages(from: &str, to: &str, ids: Range<usize>, body: &str) -> Vec<String> {
    let message =
        |id| format!("<message from='{from}' to='{to}' id='{id}'><body>{body}</body></message>");
    ids.map(message).collect()
}

async fn send(component: &mut ComponentClient, to: &str, ids: Range<usize>, body: &str) {
    let from = component.address().to_owned();
    for message in messages(&from, to, ids, body) {
        component.send(message).await.unwrap();
    }
}

/// Messages with these ids come, in this order.
async fn arrive(component: &mut ComponentClient, ids: Range<usize>) {
    for id in ids {
        let next = component.expect("a message", TIMEOUT, |_| true).await;
        let next = next.unwrap();
        assert_eq!(next.type_attr(), None, "{next:?}");
        assert_eq!(next.id().unwrap().parse(), Ok(id));
    }
}

/// How many streams were made to this server for stanzas.
fn made_to(lines: &[Line], remote: &str) -> usize {
    let is_one = |line: &&Line| {
        line.message == "outgoing stream authenticated" && line.field("remote") == Some(remote)
    };
    lines.iter().filter(is_one).count()
}

/// The component of `a` sends first; everything goes by the one stream that is made then.
async fn one_stream(a: Daemon, b: Daemon, names: [&str; 2]) {
    let log = CapturedLog::of_this_process();
    let mut world = World::new().unwrap();
    world.start(a).await.unwrap();
    world.start(b).await.unwrap();
    let [mut a, mut b] = [
        world.component(names[0]).await.unwrap(),
        world.component(names[1]).await.unwrap(),
    ];
    for round in 0..5 {
        let ids = round * 20..(round + 1) * 20;
        send(&mut a, names[1], ids.clone(), "there").await;
        arrive(&mut b, ids.clone()).await;
        send(&mut b, names[0], ids.clone(), "and back").await;
        arrive(&mut a, ids).await;
    }
    let lines = log.all();
    assert_eq!(made_to(&lines, names[1]), 1);
    assert_eq!(made_to(&lines, names[0]), 0, "it has the other one's");
}

#[tokio::test]
async fn one_connection_carries_both_directions_by_external() {
    let names = ["a.external.test", "b.external.test"];
    let [a, b] = names.map(|name| Daemon::serving(name).policy(EXTERNAL));
    one_stream(a, b, names).await;
}

#[tokio::test]
async fn one_connection_carries_both_directions_by_dialback() {
    let names = ["a.dialback.test", "b.dialback.test"];
    let [a, b] = names.map(|name| {
        Daemon::serving(name)
            .certificate_from(Issued::self_signed(&Leaf::domain(name)))
            .policy("verify = 'dialback'\nauth = ['dialback']")
    });
    one_stream(a, b, names).await;
}

#[tokio::test]
async fn where_it_is_switched_off_on_either_side_each_direction_has_its_own() {
    for (number, off) in [(0, "bidi = false"), (1, "bidi = true")] {
        let log = CapturedLog::of_this_process();
        let names = ["a", "b"].map(|name| format!("{name}.off{number}.test"));
        let mut world = World::new().unwrap();
        let a = Daemon::serving(&names[0]).policy(off);
        let other = if number == 0 {
            "bidi = true"
        } else {
            "bidi = false"
        };
        let b = Daemon::serving(&names[1]).policy(other);
        world.start(a).await.unwrap();
        world.start(b).await.unwrap();
        let mut a = world.component(&names[0]).await.unwrap();
        let mut b = world.component(&names[1]).await.unwrap();
        send(&mut a, &names[1], 0..3, "there").await;
        arrive(&mut b, 0..3).await;
        send(&mut b, &names[0], 0..3, "and back").await;
        arrive(&mut a, 0..3).await;
        let lines = log.all();
        assert_eq!(made_to(&lines, &names[1]), 1);
        assert_eq!(made_to(&lines, &names[0]), 1);
    }
}

/// More than all sockets and buffers hold, in both directions at the same time: if each server read no further before the
/// other one did, neither ever would.
#[tokio::test]
async fn however_much_goes_both_ways_at_once_neither_server_waits_for_the_other() {
    const COUNT: usize = 300;
    let names = ["a.much.test", "b.much.test"];
    let mut world = World::new().unwrap();
    for name in names {
        let tables = "[queue]\nbytes = '64MiB'\n[limits]\nmemory = '512MiB'\n";
        let daemon = Daemon::serving(name).policy(EXTERNAL).tables(tables);
        world.start(daemon).await.unwrap();
    }
    let mut a = world.component(names[0]).await.unwrap();
    let mut b = world.component(names[1]).await.unwrap();
    send(&mut a, names[1], 0..1, "first").await;
    arrive(&mut b, 0..1).await;
    let body = "x".repeat(60_000);
    let both = async |component: &mut ComponentClient, to: &str| {
        send(component, to, 1..COUNT, &body).await;
    };
    tokio::join!(both(&mut a, names[1]), both(&mut b, names[0]));
    tokio::join!(arrive(&mut a, 1..COUNT), arrive(&mut b, 1..COUNT));
}

fn success(element: &Element) -> bool {
    element.is(ns::SASL, "success")
}

/// A stream of `b.test` to the daemon for `a.test`, proved by EXTERNAL. It carries both directions where `bidi` is said.
async fn proved(world: &World, bidi: Option<&str>) -> Peer {
    let identity = world.identity("b.test");
    let mut peer = world.connect("a.test").await.unwrap();
    peer.open("b.test", "a.test").await.unwrap();
    peer.starttls("a.test", Some(&identity)).await.unwrap();
    let opened = peer.open("b.test", "a.test").await.unwrap();
    assert!(opened.features.bidi, "it is offered within TLS");
    if let Some(bidi) = bidi {
        peer.send(bidi).await.unwrap();
    }
    let auth = sasl::Nonza::Auth {
        mechanism: "EXTERNAL".to_owned(),
        initial: Some(b"b.test".to_vec()),
    };
    peer.send(auth.to_bytes()).await.unwrap();
    let Event::Element(answer) = peer.next().await.unwrap() else {
        panic!("no answer");
    };
    assert!(success(&answer), "{answer:?}");
    peer.restart();
    peer.open("b.test", "a.test").await.unwrap();
    peer
}

/// The next stream that comes to this server, within TLS, with dialback and with both directions where `bidi` says so.
async fn answer(world: &World, server: &RawServer, bidi: bool) -> Peer {
    answer_as(&world.identity("b.test"), server, bidi).await
}

async fn answer_as(identity: &TlsIdentity, server: &RawServer, bidi: bool) -> Peer {
    let mut peer = server.accept().await.unwrap();
    let tls = Features::new().with_starttls(true);
    peer.answer_open("here", &tls).await.unwrap();
    peer.accept_starttls(identity).await.unwrap();
    let mut features = Features::new().with_dialback(DialbackFeature::with_errors());
    features.bidi = bidi;
    peer.answer_open("there", &features).await.unwrap();
    peer
}

/// Believes each key that comes, and gives the stanzas.
async fn next_of(peer: &mut Peer) -> Option<Element> {
    loop {
        let Ok(Event::Element(element)) = peer.next().await else {
            return None;
        };
        match believing(&element) {
            Some(answer) => peer.send(answer.to_bytes()).await.unwrap(),
            None if element.stanza_kind().is_some() => return Some(element),
            None => {}
        }
    }
}

/// A daemon for `a.test` that dials with dialback and takes EXTERNAL.
async fn world(policy: &str, tables: &str) -> (World, RawServer) {
    let mut world = World::new().unwrap();
    let daemon = Daemon::serving("a.test").policy(policy);
    world
        .start(daemon.tables(&format!("{BACKOFF}{tables}")))
        .await
        .unwrap();
    let server = world.listen("b.test").await.unwrap();
    (world, server)
}

fn id(stanza: &Element) -> usize {
    stanza.id().unwrap().parse().unwrap()
}

#[tokio::test]
async fn what_a_stream_of_the_peers_did_not_get_rid_of_goes_by_another_in_order() {
    const COUNT: usize = 60;
    let (world, server) = world("", "").await;
    let mut component = world.component("a.test").await.unwrap();
    let mut peer = proved(&world, Some(BIDI)).await;
    let body = "x".repeat(100_000);
    send(&mut component, "b.test", 0..1, &body).await;
    let mut all = vec![id(&peer.expect_stanza(StanzaKind::Message).await.unwrap())];
    // From here on it reads nothing, and more comes than the sockets hold.
    send(&mut component, "b.test", 1..COUNT, &body).await;
    peer.send(RESET).await.unwrap();
    while let Some(stanza) = next_of(&mut peer).await {
        all.push(id(&stanza));
    }
    let by_the_first = all.len();
    assert!(by_the_first < COUNT, "all of it fits in the buffers");
    let mut other = answer(&world, &server, false).await;
    while all.last() != Some(&(COUNT - 1)) {
        all.push(id(&next_of(&mut other).await.unwrap()));
    }
    assert_eq!(all, (0..COUNT).collect::<Vec<_>>());
    // And what comes now has the stream that there is.
    send(&mut component, "b.test", COUNT..COUNT + 1, "").await;
    assert_eq!(id(&next_of(&mut other).await.unwrap()), COUNT);
}

#[tokio::test]
async fn a_lane_that_does_not_get_through_uses_the_stream_of_a_peer_that_comes() {
    let mut world = World::new().unwrap();
    let tables = "[queue]\nbackoff = { first = '1h', max = '1h' }\n";
    let daemon = Daemon::serving("a.test").tables(tables);
    world.start(daemon).await.unwrap();
    // Nobody listens there.
    drop(world.listen("b.test").await.unwrap());
    let mut component = world.component("a.test").await.unwrap();
    send(&mut component, "b.test", 0..3, "").await;
    let mut peer = proved(&world, Some(BIDI)).await;
    for number in 0..3 {
        let stanza = peer.expect_stanza(StanzaKind::Message).await.unwrap();
        assert_eq!(id(&stanza), number);
    }
}

#[tokio::test]
async fn what_did_not_ask_in_time_carries_one_direction() {
    for late in [false, true] {
        let (world, server) = world("", "").await;
        let mut component = world.component("a.test").await.unwrap();
        let mut peer = proved(&world, None).await;
        if late {
            // Ignored, as what is not understood is.
            peer.send(BIDI).await.unwrap();
        }
        peer.send("<message from='b.test' to='a.test' id='0'/>")
            .await
            .unwrap();
        arrive(&mut component, 0..1).await;
        send(&mut component, "b.test", 0..1, "").await;
        let mut other = answer(&world, &server, false).await;
        assert_eq!(id(&next_of(&mut other).await.unwrap()), 0);
    }
}

#[tokio::test]
async fn it_is_neither_offered_nor_taken_in_clear() {
    let (world, _server) = world("tls = 'optional'", "").await;
    let mut peer = world.connect("a.test").await.unwrap();
    let opened = peer.open("b.test", "a.test").await.unwrap();
    assert!(!opened.features.bidi);
    peer.send(BIDI).await.unwrap();
    let error = peer.expect_stream_error().await.unwrap();
    assert_eq!(error.condition, Condition::UnsupportedStanzaType);
}

/// The daemon for `a.test` has made a stream to `b.test` that carries both directions, over which one message came.
async fn both(world: &World, server: &RawServer, component: &mut ComponentClient) -> Peer {
    send(component, "b.test", 0..1, "").await;
    let mut peer = answer(world, server, true).await;
    peer.expect("urn:xmpp:bidi", "bidi").await.unwrap();
    assert_eq!(id(&next_of(&mut peer).await.unwrap()), 0);
    peer
}

#[tokio::test]
async fn a_peer_sends_on_our_stream_for_the_pair_that_is_proved_and_no_other() {
    for (from, to, condition) in [
        ("b.test", "a.test", None),
        ("c.test", "a.test", Some(Condition::InvalidFrom)),
        ("b.test", "d.test", Some(Condition::HostUnknown)),
        ("b.test", "sub.a.test", Some(Condition::NotAuthorized)),
    ] {
        let mut world = World::new().unwrap();
        let daemon = Daemon::serving("a.test").and("sub.a.test");
        world.start(daemon.tables(BACKOFF)).await.unwrap();
        let server = world.listen("b.test").await.unwrap();
        let mut component = world.component("a.test").await.unwrap();
        let mut peer = both(&world, &server, &mut component).await;
        for message in messages(from, to, 0..1, "") {
            peer.send(message).await.unwrap();
        }
        match condition {
            None => arrive(&mut component, 0..1).await,
            Some(condition) => {
                let error = peer.expect_stream_error().await.unwrap();
                assert_eq!(error.condition, condition, "from {from} to {to}");
            }
        }
    }
}

#[tokio::test]
async fn a_peer_that_does_not_offer_it_is_not_asked_and_sends_nothing() {
    let (world, server) = world("", "").await;
    let mut component = world.component("a.test").await.unwrap();
    send(&mut component, "b.test", 0..1, "").await;
    let mut peer = answer(&world, &server, false).await;
    let first = peer.expect(ns::DIALBACK, "result").await.unwrap();
    let valid = believing(&first).unwrap();
    peer.send(valid.to_bytes()).await.unwrap();
    assert_eq!(id(&next_of(&mut peer).await.unwrap()), 0);
    peer.send("<message from='b.test' to='a.test' id='0'/>")
        .await
        .unwrap();
    // It goes nowhere, and the stream goes on.
    send(&mut component, "b.test", 1..2, "").await;
    assert_eq!(id(&next_of(&mut peer).await.unwrap()), 1);
    component
        .send("<message from='a.test' to='a.test' id='7'/>")
        .await
        .unwrap();
    arrive(&mut component, 7..8).await;
}

#[tokio::test]
async fn a_peer_keeps_to_the_bounds_on_our_stream_too() {
    // How large a stanza may be.
    let (world, server) = world("max_stanza = '20KiB'", "").await;
    let mut component = world.component("a.test").await.unwrap();
    let mut peer = both(&world, &server, &mut component).await;
    let large = messages("b.test", "a.test", 0..1, &"x".repeat(40_000));
    peer.send(&large[0]).await.unwrap();
    let error = peer.expect_stream_error().await.unwrap();
    assert_eq!(error.condition, Condition::PolicyViolation);
}

#[tokio::test]
async fn what_a_component_sends_while_the_server_stops_goes_by_a_stream_of_our_own() {
    let (mut world, server) = world("", "[limits]\ndrain = '16s'\n").await;
    let mut component = world.component("a.test").await.unwrap();
    let mut peer = proved(&world, Some(BIDI)).await;
    send(&mut component, "b.test", 0..1, "").await;
    assert_eq!(id(&next_of(&mut peer).await.unwrap()), 0);
    let identity = world.identity("b.test");
    let goes_on = async {
        let error = peer.expect_stream_error().await.unwrap();
        assert_eq!(error.condition, Condition::SystemShutdown);
        // The peer does not end the stream.
        send(&mut component, "b.test", 1..3, "").await;
        let mut other = answer_as(&identity, &server, false).await;
        for number in 1..3 {
            assert_eq!(id(&next_of(&mut other).await.unwrap()), number);
        }
    };
    let (stopped, ()) = tokio::join!(world.stop("a.test"), goes_on);
    stopped.unwrap();
}

/// The JSON of an answer on the daemon's socket.
async fn ask(world: &World, daemon: &str, request: &str) -> Value {
    let socket = world.path(daemon).join("data/s2sd.sock");
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let request = format!("{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = timeout(TIMEOUT, stream.read_to_string(&mut answer)).await;
    read.expect("the answer ends").unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}

/// The same, until it is as wanted.
async fn ask_until(world: &World, daemon: &str, request: &str, wanted: impl Fn(&Value) -> bool) {
    let until = Instant::now() + TIMEOUT;
    loop {
        let said = ask(world, daemon, request).await;
        if wanted(&said) {
            return;
        }
        assert!(Instant::now() < until, "{said:#}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_operator_sees_that_a_stream_carries_both_directions_and_what_it_carried() {
    let names = ["a.seen.test", "b.seen.test"];
    let mut world = World::new().unwrap();
    for name in names {
        let daemon = Daemon::serving(name).policy(EXTERNAL);
        world.start(daemon).await.unwrap();
    }
    let mut a = world.component(names[0]).await.unwrap();
    let mut b = world.component(names[1]).await.unwrap();
    send(&mut a, names[1], 0..3, "").await;
    arrive(&mut b, 0..3).await;
    send(&mut b, names[0], 0..2, "").await;
    arrive(&mut a, 0..2).await;
    for (name, direction, received, sent) in
        [(names[0], "outgoing", 2, 3), (names[1], "incoming", 3, 2)]
    {
        ask_until(&world, name, "GET /api/streams", |said| {
            let streams = said["streams"].as_array().unwrap();
            let between: Vec<_> = streams
                .iter()
                .filter(|stream| stream["direction"] != "component")
                .collect();
            let [stream] = between[..] else {
                panic!("{said:#}");
            };
            stream["direction"] == direction
                && stream["bidi"] == true
                && stream["stanzas"]["received"] == received
                && stream["stanzas"]["sent"] == sent
        })
        .await;
        let status = ask(&world, name, "GET /api/status").await;
        assert_eq!(status["stanzas"]["to_servers"], sent, "by either stream");
    }
}

#[tokio::test]
async fn what_a_peer_sends_before_it_has_read_our_end_tag_arrives() {
    for theirs in [false, true] {
        let (world, server) = world("", "").await;
        let mut component = world.component("a.test").await.unwrap();
        let mut peer = match theirs {
            true => proved(&world, Some(BIDI)).await,
            false => both(&world, &server, &mut component).await,
        };
        let said = ask(&world, "a.test", "GET /api/streams").await;
        let streams = said["streams"].as_array().unwrap();
        let is_it = |stream: &&Value| stream["bidi"] == true;
        let id = streams.iter().find(is_it).unwrap()["id"].as_u64().unwrap();
        ask(&world, "a.test", &format!("POST /api/close?id={id}")).await;
        assert!(matches!(peer.next().await.unwrap(), Event::Footer));
        for message in messages("b.test", "a.test", 0..3, "") {
            peer.send(message).await.unwrap();
        }
        arrive(&mut component, 0..3).await;
        // What goes meanwhile waits for the next.
        send(&mut component, "b.test", 1..2, "").await;
        peer.send("</stream:stream>").await.unwrap();
        peer.expect_closed().await.unwrap();
        let mut other = answer(&world, &server, false).await;
        assert_eq!(self::id(&next_of(&mut other).await.unwrap()), 1);
    }
}

#[tokio::test]
async fn a_component_that_does_not_read_holds_up_what_comes_and_not_what_goes() {
    const COUNT: usize = 300;
    let mut world = World::new().unwrap();
    let a = Daemon::serving("a.slow.test").and("stuck.a.slow.test");
    let certificate = Leaf::domain("a.slow.test").dns("stuck.a.slow.test");
    let policy = "auth = ['external', 'dialback']";
    let a = a.certificate(certificate).policy(policy);
    world
        .start(a.tables("[queue]\nstanzas = 4\n"))
        .await
        .unwrap();
    let b = Daemon::serving("b.slow.test").policy(policy);
    let tables = "[queue]\nbytes = '64MiB'\n[limits]\nmemory = '256MiB'\n";
    world.start(b.tables(tables)).await.unwrap();
    let mut component = world.component("a.slow.test").await.unwrap();
    let mut other = world.component("b.slow.test").await.unwrap();
    let listener = world.daemon("a.slow.test").unwrap().components[0];
    let stuck = attach(listener, "stuck.a.slow.test", SECRET, TIMEOUT).await;
    let mut stuck = stuck.unwrap();
    // One stream for both pairs, which it carries in both directions.
    send(&mut component, "b.slow.test", 0..1, "").await;
    arrive(&mut other, 0..1).await;
    let message = "<message from='stuck.a.slow.test' to='b.slow.test' id='1'/>";
    stuck.send(message).await.unwrap();
    arrive(&mut other, 1..2).await;
    // More than all sockets and buffers hold.
    send(
        &mut other,
        "stuck.a.slow.test",
        0..COUNT,
        &"x".repeat(100_000),
    )
    .await;
    ask_until(&world, "a.slow.test", "GET /api/status", |said| {
        said["queue"]["components"].as_u64().unwrap() >= 4
    })
    .await;
    for id in 2..50 {
        send(&mut component, "b.slow.test", id..id + 1, "").await;
        arrive(&mut other, id..id + 1).await;
    }
    for id in 0..COUNT {
        let Event::Element(message) = stuck.next(TIMEOUT).await.unwrap() else {
            panic!("the stream ends");
        };
        assert_eq!(message.id().unwrap().parse(), Ok(id));
    }
}

#[tokio::test]
async fn a_reload_that_denies_the_peer_ends_the_stream_in_both_directions() {
    for theirs in [false, true] {
        let (world, server) = world("", "").await;
        let mut component = world.component("a.test").await.unwrap();
        let mut peer = match theirs {
            true => proved(&world, Some(BIDI)).await,
            false => both(&world, &server, &mut component).await,
        };
        let denied = Daemon::serving("a.test").policy("deny = ['b.test']");
        world.reload(&denied.tables(BACKOFF)).unwrap();
        peer.send("<message from='b.test' to='a.test' id='1'/>")
            .await
            .unwrap();
        while let Ok(Event::Element(_)) = peer.next().await {}
        // What is for it comes back, and nothing came of it.
        send(&mut component, "b.test", 5..6, "").await;
        let bounce = component.expect("a bounce", TIMEOUT, |_| true).await;
        let bounce = bounce.unwrap();
        assert_eq!(bounce.type_attr().as_deref(), Some("error"), "{bounce:?}");
    }
}
