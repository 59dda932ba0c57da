//! What one sender writes, or the other server says of it, takes the way from nobody else: other stanzas between the same
//! domains arrive, in order.
#![allow(clippy::unwrap_used)]

use s2sd_tests::{
    component_client::ComponentClient,
    fake_peer::FakePeer,
    peer::Peer,
    wire::Event,
    world::{Daemon, RawServer, TIMEOUT, World},
};
use xmpp_stream::{Condition, DialbackFeature, Element, Features, StanzaKind, ns};

const SOON_AGAIN: &str = "[queue]\nbackoff = { first = '20ms', max = '100ms' }\ngive_up = '60s'\n";
/// For a stanza larger than the buffers of both sockets: what they took is gone, and would not be sent again.
const HUGE: &str =
    "[limits]\nmax_stanza = '64MiB'\n[queue]\nbytes = '128MiB'\nbackoff = { first = '20ms' }\n";
const VALID: &str = "<db:result from='b.test' to='here.test' type='valid'/>";

async fn here() -> (World, RawServer, ComponentClient) {
    here_with(SOON_AGAIN).await
}

async fn here_with(tables: &str) -> (World, RawServer, ComponentClient) {
    let mut world = World::new().unwrap();
    let daemon = Daemon::serving("here.test").without_tls();
    world.start(daemon.tables(tables)).await.unwrap();
    let server = world.listen("b.test").await.unwrap();
    let component = world.component("here.test").await.unwrap();
    (world, server, component)
}

fn message(id: &str) -> String {
    sized(id, 1)
}

fn sized(id: &str, bytes: usize) -> String {
    let body = "x".repeat(bytes);
    format!("<message from='u@here.test' to='v@b.test' id='{id}'><body>{body}</body></message>")
}

/// The other server's side of a stream, proved.
async fn stream(server: &RawServer) -> Peer {
    let mut peer = key(server).await;
    peer.send(VALID).await.unwrap();
    peer
}

/// A message opens a stream, by which it arrives.
async fn opened(server: &RawServer, component: &mut ComponentClient, id: &str) -> Peer {
    component.send(message(id)).await.unwrap();
    let mut peer = stream(server).await;
    arrives(&mut peer, id).await;
    peer
}

/// A stream of the other server up to our key.
async fn key(server: &RawServer) -> Peer {
    let mut peer = server.accept().await.unwrap().with_timeout(TIMEOUT);
    let features = Features::new().with_dialback(DialbackFeature::with_errors());
    peer.answer_open("there", &features).await.unwrap();
    peer.expect(ns::DIALBACK, "result").await.unwrap();
    peer
}

/// Says this at once, in answer to our header.
async fn answers(server: &RawServer, text: &str) -> Peer {
    let mut peer = server.accept().await.unwrap();
    peer.expect_header().await.unwrap();
    peer.send(text).await.unwrap();
    peer
}

const HOST_UNKNOWN: &str = "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' \
                            from='b.test' id='1' version='1.0'><stream:error>\
                            <host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>";
/// The last one only makes sense to itself.
const NONSENSE: [&str; 3] = [
    "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\n\r\n",
    "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' from='b.test' id='1' \
     version='1.0'>",
    "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' from='b.test' id='1' \
     version='1.0'><wait xmlns='urn:x'/>",
];

async fn arrives(peer: &mut Peer, id: &str) {
    let got = peer.expect_stanza(StanzaKind::Message).await.unwrap();
    assert_eq!(got.id().as_deref(), Some(id), "{got:?}");
}

async fn comes_back(component: &mut ComponentClient, id: &str) -> Element {
    let is_it = |stanza: &Element| stanza.id().as_deref() == Some(id);
    component.expect("a bounce", TIMEOUT, is_it).await.unwrap()
}

fn stream_error(condition: &str) -> String {
    format!(
        "<stream:error><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>"
    )
}

async fn send_three(component: &mut ComponentClient) {
    for id in ["1", "2", "3"] {
        component.send(message(id)).await.unwrap();
    }
}

/// By the next stream, and none comes back.
async fn three_arrive(server: &RawServer, component: &mut ComponentClient) {
    let mut peer = stream(server).await;
    for id in ["1", "2", "3"] {
        arrives(&mut peer, id).await;
    }
    nothing_came_back(component).await;
}

/// What comes first is a message to the component itself, so nothing came before it.
async fn nothing_came_back(component: &mut ComponentClient) {
    component
        .send("<message from='u@here.test' to='here.test' id='own'/>")
        .await
        .unwrap();
    let first = component
        .expect("anything", TIMEOUT, |_| true)
        .await
        .unwrap();
    assert_eq!(first.id().as_deref(), Some("own"), "{first:?}");
}

fn cause(bounce: &Element) -> String {
    let tree = bounce.tree();
    let error = tree.child("jabber:component:accept", "error").unwrap();
    let cause = error.child("urn:s2sd:cause:0", "cause").unwrap();
    cause.attr("name").unwrap().to_owned()
}

/// ejabberd answers what it cannot decode on the stream by which it came.
#[tokio::test]
async fn an_error_in_the_wrong_direction_is_told_in_our_words_and_the_stream_goes_on() {
    let (_world, server, mut component) = here().await;
    let mut peer = opened(&server, &mut component, "0").await;
    for id in 1..40 {
        component.send(message(&id.to_string())).await.unwrap();
        arrives(&mut peer, &id.to_string()).await;
        // Of what it carried, of what it did not, and no error at all.
        for (type_, id) in [
            ("error", id.to_string()),
            ("error", "x".to_owned()),
            ("chat", "y".to_owned()),
        ] {
            let stray = format!(
                "<message xmlns='jabber:server' type='{type_}' from='v@b.test' to='u@here.test' id='{id}'>\
                 <body>its own words</body></message>"
            );
            peer.send(stray).await.unwrap();
        }
        let bounce = comes_back(&mut component, &id.to_string()).await;
        assert_eq!(bounce.type_attr().as_deref(), Some("error"));
        assert_eq!(cause(&bounce), "stanza-refused");
        assert!(!String::from_utf8_lossy(bounce.bytes()).contains("its own words"));
    }
    component.send(message("last")).await.unwrap();
    arrives(&mut peer, "last").await;
    nothing_came_back(&mut component).await;
}

#[tokio::test]
async fn elements_that_mean_nothing_are_passed_over_and_a_flood_of_them_ends_the_stream_for_the_next()
 {
    let (_world, server, mut component) = here().await;
    let mut peer = opened(&server, &mut component, "0").await;
    for _ in 0..5 {
        peer.send("<r xmlns='urn:xmpp:sm:3'/>").await.unwrap();
    }
    component.send(message("1")).await.unwrap();
    arrives(&mut peer, "1").await;
    for _ in 0..20 {
        peer.send("<r xmlns='urn:xmpp:sm:3'/>").await.unwrap();
    }
    let error = peer.expect_stream_error().await.unwrap();
    assert_eq!(error.condition, Condition::PolicyViolation);
    let _peer = opened(&server, &mut component, "2").await;
}

/// However it ends: nothing of what waits comes back, and nothing arrives twice or out of order. (What was sent last comes
/// back where it was not read, which is another matter.)
#[tokio::test]
async fn whatever_ends_a_stream_bounces_nothing() {
    let (_world, server, mut component) = here().await;
    for (number, condition) in [
        "not-authorized",
        "host-unknown",
        "policy-violation",
        "resource-constraint",
        "undefined-condition",
    ]
    .into_iter()
    .enumerate()
    {
        let (first, second) = (format!("{number}a"), format!("{number}b"));
        let mut peer = opened(&server, &mut component, &first).await;
        peer.send(stream_error(condition)).await.unwrap();
        peer.expect_end().await.unwrap();
        let mut peer = opened(&server, &mut component, &second).await;
        peer.send("</stream:stream>").await.unwrap();
        peer.expect_end().await.unwrap();
    }
    nothing_came_back(&mut component).await;
}

/// It was there a moment ago, and its component is not yet.
#[tokio::test]
async fn a_server_that_comes_back_and_does_not_know_its_domain_yet_is_waited_for() {
    let (_world, server, mut component) = here().await;
    drop(opened(&server, &mut component, "0").await);
    send_three(&mut component).await;
    for _ in 0..3 {
        answers(&server, HOST_UNKNOWN).await;
    }
    let mut peer = key(&server).await;
    let error = "<db:result from='b.test' to='here.test' type='error'><error type='cancel'>\
                 <item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></db:result>";
    peer.send(error).await.unwrap();
    three_arrive(&server, &mut component).await;
}

/// It was there a moment ago, and what stands before it says so, or it says something that only makes sense to itself.
#[tokio::test]
async fn a_server_that_comes_back_and_talks_nonsense_for_a_moment_is_waited_for() {
    let (_world, server, mut component) = here().await;
    drop(opened(&server, &mut component, "0").await);
    send_three(&mut component).await;
    for nonsense in NONSENSE {
        answers(&server, nonsense)
            .await
            .expect_stream_error()
            .await
            .unwrap();
    }
    three_arrive(&server, &mut component).await;
}

/// A stanza that is larger than the other server takes, which does not say so.
#[tokio::test]
async fn a_stanza_over_which_the_stream_ends_each_time_is_not_sent_for_ever() {
    let (_world, server, mut component) = here_with(HUGE).await;
    let mut peer = opened(&server, &mut component, "0").await;
    component.send(sized("huge", 32 << 20)).await.unwrap();
    component.send(message("1")).await.unwrap();
    for _ in 0..2 {
        // It does not read to the end. Meanwhile the daemon has begun to write.
        for _ in 0..20 {
            nothing_came_back(&mut component).await;
        }
        peer.send(stream_error("policy-violation")).await.unwrap();
        let next = stream(&server).await;
        drop(std::mem::replace(&mut peer, next));
    }
    let bounce = comes_back(&mut component, "huge").await;
    assert_eq!(cause(&bounce), "stanza-refused");
    arrives(&mut peer, "1").await;
}

/// A peer reads in order: what went last before it could not read on was not read, whichever it was.
#[tokio::test]
async fn who_sent_what_the_other_server_could_not_read_hears_it_although_the_socket_took_it() {
    let (_world, server, mut component) = here().await;
    let mut peer = opened(&server, &mut component, "0").await;
    component.send(message("bad")).await.unwrap();
    arrives(&mut peer, "bad").await;
    peer.send(stream_error("not-well-formed")).await.unwrap();
    peer.expect_end().await.unwrap();
    let bounce = comes_back(&mut component, "bad").await;
    assert_eq!(cause(&bounce), "stanza-refused");
    assert_eq!(bounce.from().as_deref(), Some("v@b.test"));
    let mut peer = opened(&server, &mut component, "1").await;
    // It answered, and ends the stream all the same: that is told once.
    component.send(message("2")).await.unwrap();
    arrives(&mut peer, "2").await;
    let error =
        "<message xmlns='jabber:server' type='error' from='v@b.test' to='u@here.test' id='2'/>";
    let end = stream_error("not-well-formed");
    peer.send(format!("{error}{end}")).await.unwrap();
    peer.expect_end().await.unwrap();
    comes_back(&mut component, "2").await;
    nothing_came_back(&mut component).await;
}

#[tokio::test]
async fn who_sent_what_is_too_large_for_the_other_server_hears_it_although_the_socket_took_it() {
    let (_world, server, mut component) = here().await;
    let mut peer = opened(&server, &mut component, "0").await;
    component.send(sized("large", 20_000)).await.unwrap();
    component.send(message("1")).await.unwrap();
    arrives(&mut peer, "large").await;
    arrives(&mut peer, "1").await;
    peer.send(stream_error("policy-violation")).await.unwrap();
    peer.expect_end().await.unwrap();
    let bounce = comes_back(&mut component, "large").await;
    assert_eq!(cause(&bounce), "stanza-refused");
    nothing_came_back(&mut component).await;
}

/// A stanza in which the other server closes the connection, without a word.
#[tokio::test]
async fn a_stanza_over_which_the_connection_is_closed_each_time_is_not_sent_for_ever() {
    let (_world, server, mut component) = here_with(HUGE).await;
    let mut peer = opened(&server, &mut component, "0").await;
    component.send(sized("huge", 32 << 20)).await.unwrap();
    component.send(message("1")).await.unwrap();
    for _ in 0..3 {
        // It does not read to the end. Meanwhile the daemon has begun to write.
        for _ in 0..20 {
            nothing_came_back(&mut component).await;
        }
        drop(peer);
        peer = stream(&server).await;
    }
    let bounce = comes_back(&mut component, "huge").await;
    assert_eq!(cause(&bounce), "stanza-refused");
    arrives(&mut peer, "1").await;
}

/// What says nothing of the pair is waited for, also where it never worked.
#[tokio::test]
async fn a_server_that_was_never_there_and_talks_nonsense_at_first_is_waited_for() {
    let (_world, server, mut component) = here().await;
    component.send(message("1")).await.unwrap();
    for nonsense in &NONSENSE[..2] {
        answers(&server, nonsense)
            .await
            .expect_stream_error()
            .await
            .unwrap();
    }
    let mut peer = stream(&server).await;
    arrives(&mut peer, "1").await;
    nothing_came_back(&mut component).await;
}

/// A stream that ended because nothing was sent is one that worked.
#[tokio::test]
async fn a_server_whose_stream_ended_idly_and_that_then_starts_up_is_waited_for() {
    let tables = "[limits]\nidle = '1s'\n[queue]\nbackoff = { first = '20ms', max = '100ms' }\n";
    let (_world, server, mut component) = here_with(tables).await;
    let mut peer = opened(&server, &mut component, "0").await;
    peer.expect_end().await.unwrap();
    drop(peer);
    component.send(message("1")).await.unwrap();
    for _ in 0..2 {
        answers(&server, HOST_UNKNOWN).await;
    }
    let mut peer = stream(&server).await;
    arrives(&mut peer, "1").await;
    nothing_came_back(&mut component).await;
}

/// The other direction: what a proved peer sends that nobody knows costs none of its own stanzas.
#[tokio::test]
async fn what_is_unknown_on_an_incoming_stream_is_passed_over_and_a_flood_of_it_ends_the_stream() {
    let mut world = World::new().unwrap();
    let daemon = Daemon::serving("here.test").without_tls();
    world.start(daemon.tables(SOON_AGAIN)).await.unwrap();
    let mut fake_peer = FakePeer::at(&mut world, "b.test").await.unwrap();
    let mut component = world.component("here.test").await.unwrap();
    let mut peer = fake_peer
        .proved(&world, "here.test", "here.test")
        .await
        .unwrap();
    let good = |id: usize| {
        format!("<message xmlns='jabber:server' from='v@b.test' to='u@here.test' id='{id}'/>")
    };
    let foreign =
        "<iq xmlns='jabber:component:accept' type='get' from='v@b.test' to='u@here.test' id='f'/>";
    let unknown = "<r xmlns='urn:xmpp:sm:3'/>".to_owned();
    let too_deep = format!("<r>{}{}</r>", "<r>".repeat(200), "</r>".repeat(200));
    let no_namespace = "<message xmlns='' from='v@b.test' to='u@here.test'/>".to_owned();
    let passed_over = [unknown.clone(), too_deep, no_namespace, unknown];
    for (id, odd) in passed_over.iter().enumerate() {
        peer.send(format!("{odd}{foreign}{}", good(id)))
            .await
            .unwrap();
        arrives_at(&mut component, id).await;
        let bounce = fake_peer.next().await.unwrap().stanza;
        assert_eq!(bounce.id().as_deref(), Some("f"), "{bounce:?}");
        let text = String::from_utf8_lossy(bounce.bytes()).into_owned();
        assert!(text.contains("<bad-request"), "{text}");
    }
    peer.send(passed_over[0].repeat(20)).await.unwrap();
    let error = peer.expect_stream_error().await.unwrap();
    assert_eq!(error.condition, Condition::UnsupportedStanzaType);
    let mut again = fake_peer
        .proved(&world, "here.test", "here.test")
        .await
        .unwrap();
    again.send(good(9)).await.unwrap();
    arrives_at(&mut component, 9).await;
}

async fn arrives_at(component: &mut ComponentClient, id: usize) {
    let got = component
        .expect("a message", TIMEOUT, |_| true)
        .await
        .unwrap();
    assert_eq!(got.id(), Some(id.to_string().into()), "{got:?}");
}

/// What the socket took counts as sent. A socket that is closed over unread bytes is reset, and takes it back.
#[tokio::test]
async fn what_was_sent_before_the_other_server_said_nonsense_arrives_and_the_rest_after_it() {
    const COUNT: usize = 100;
    let (_world, server, mut component) = here().await;
    let mut peer = opened(&server, &mut component, "first").await;
    for id in 0..COUNT {
        let long = sized(&id.to_string(), 100_000);
        component.send(long).await.unwrap();
    }
    // All of them are on their way when this is there.
    nothing_came_back(&mut component).await;
    // More than is read at once.
    peer.send("</nonsense>".repeat(50_000)).await.unwrap();
    let mut next = 0;
    let mut peers = 0;
    while next < COUNT {
        match peer.next().await.unwrap() {
            Event::Element(got) if got.stanza_kind().is_some() => {
                assert_eq!(got.id(), Some(next.to_string().into()), "on stream {peers}");
                next += 1;
            }
            Event::Element(_) | Event::Footer => {}
            _ => {
                drop(peer);
                peer = stream(&server).await;
                peers += 1;
            }
        }
    }
}
