//! Stopping has an order: what peers have on the way is still taken, what cannot be sent goes back, components go last.
#![allow(clippy::unwrap_used)]

mod log;

use std::{collections::BTreeSet, net::SocketAddr};

use s2sd_tests::{
    component::attach,
    fake_peer::FakePeer,
    peer::Peer,
    wire::{Event, Wire},
    world::{Daemon, SECRET, TIMEOUT, World},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use xmpp_stream::{Element, ns};

fn daemon(tables: &str) -> Daemon {
    Daemon::serving("here.test")
        .without_certificate()
        .policy("tls = 'disabled'\nauth = ['dialback']")
        .tables(tables)
}

fn id(element: &Element) -> String {
    element.id().unwrap_or_default().into_owned()
}

#[tokio::test]
async fn what_waits_for_unreachable_domains_comes_back_before_the_component_is_let_go() {
    const ALL: usize = 1000;
    let log = log::log();
    let mut world = World::new().unwrap();
    // Its queue holds only so many at one time.
    let tables = "[limits]\ndrain = '8s'\n[queue]\nstanzas = 300\n";
    world.start(daemon(tables)).await.unwrap();
    for number in 0..10 {
        drop(world.listen(&format!("down{number}.test")).await.unwrap());
    }
    let mut component = world.component("here.test").await.unwrap();
    for number in 0..ALL {
        let to = format!("down{}.test", number % 10);
        component
            .send(format!(
                "<message from='here.test' to='{to}' id='{number}'/>"
            ))
            .await
            .unwrap();
    }
    component
        .send("<message from='here.test' to='here.test' id='last'/>")
        .await
        .unwrap();
    let first = component
        .expect("anything", TIMEOUT, |_| true)
        .await
        .unwrap();
    assert_eq!(id(&first), "last", "nothing came back yet");
    world.stop("here.test").await.unwrap();
    let mut back = BTreeSet::new();
    for _ in 0..ALL {
        let bounce = component
            .expect("a bounce", TIMEOUT, |_| true)
            .await
            .unwrap();
        assert_eq!(bounce.type_attr().as_deref(), Some("error"), "{bounce:?}");
        assert!(back.insert(id(&bounce)), "twice: {bounce:?}");
    }
    let end = format!("{:#}", component.ended().await);
    assert!(end.contains("SystemShutdown"), "{end}");
    assert!(component.passed_over().is_empty());
    log.line(&[
        "what became of stanzas while stopping",
        "bounced=1000",
        "dropped=0",
    ]);
}

#[tokio::test]
async fn what_a_peer_has_on_the_way_when_we_stop_arrives() {
    const ALL: usize = 206;
    let mut world = World::new().unwrap();
    world.start(daemon("")).await.unwrap();
    let fake_peer = FakePeer::at(&mut world, "far.test").await.unwrap();
    let mut peer = fake_peer
        .proved(&world, "here.test", "here.test")
        .await
        .unwrap();
    let mut component = world.component("here.test").await.unwrap();
    let peer_goes_on = async {
        let error = peer.expect(ns::STREAMS, "error").await.unwrap();
        assert!(
            error
                .tree()
                .elements()
                .any(|it| it.name == "system-shutdown")
        );
        assert!(matches!(peer.next().await.unwrap(), Event::Footer));
        for number in 0..ALL {
            // What is no stanza cannot be answered any more, and is passed over.
            peer.send(format!(
                "<message from='far.test' to='here.test' id='{number}'/><r xmlns='urn:xmpp:sm:3'/>\
                 <db:result from='other.test' to='here.test'>key</db:result>"
            ))
            .await
            .unwrap();
        }
        peer.send("</stream:stream>").await.unwrap();
        peer.expect_closed().await.unwrap();
    };
    let (stopped, ()) = tokio::join!(world.stop("here.test"), peer_goes_on);
    stopped.unwrap();
    for number in 0..ALL {
        let got = component
            .expect("a message", TIMEOUT, |_| true)
            .await
            .unwrap();
        assert_eq!(id(&got), number.to_string());
    }
    let end = format!("{:#}", component.ended().await);
    assert!(end.contains("SystemShutdown"), "{end}");
}

#[tokio::test]
async fn a_peer_that_never_ends_its_stream_holds_up_nothing() {
    let mut world = World::new().unwrap();
    world
        .start(daemon("[limits]\ndrain = '2s'\n"))
        .await
        .unwrap();
    let fake_peer = FakePeer::at(&mut world, "far.test").await.unwrap();
    let mut peer = fake_peer
        .proved(&world, "here.test", "here.test")
        .await
        .unwrap();
    let mut component = world.component("here.test").await.unwrap();
    let chatter = async {
        let mut number = 0;
        let message = |number| format!("<message from='far.test' to='here.test' id='{number}'/>");
        while peer.send(message(number)).await.is_ok() {
            number += 1;
            tokio::task::yield_now().await;
        }
    };
    let both = async { tokio::join!(world.stop("here.test"), chatter).0.unwrap() };
    tokio::time::timeout(TIMEOUT, both)
        .await
        .expect("stopping takes too long");
    let end = format!("{:#}", component.ended().await);
    assert!(end.contains("SystemShutdown"), "{end}");
}

/// After our end tag nothing can be answered, and there is no lane any more.
#[tokio::test]
async fn what_a_component_sends_when_nothing_can_become_of_it_is_counted() {
    const ALL: usize = 23;
    let log = log::log();
    let mut world = World::new().unwrap();
    world.start(daemon("")).await.unwrap();
    let listener = world.daemon("here.test").unwrap().components[0];
    let mut component = attach(listener, "here.test", SECRET, TIMEOUT)
        .await
        .unwrap();
    let goes_on = async {
        let Event::Element(error) = component.next(TIMEOUT).await.unwrap() else {
            panic!("no stream error");
        };
        assert!(error.is(ns::STREAMS, "error"), "{error:?}");
        let late = "<message from='here.test' to='far.test'/>".repeat(ALL);
        component.send(late + "</stream:stream>").await.unwrap();
        assert!(matches!(
            component.next(TIMEOUT).await.unwrap(),
            Event::Footer
        ));
        component.next(TIMEOUT).await.unwrap();
    };
    let (stopped, ()) = tokio::join!(world.stop("here.test"), goes_on);
    stopped.unwrap();
    log.line(&[
        "WARN",
        "what became of stanzas while stopping",
        "dropped=0",
        "too_late=23",
    ]);
}

/// It was let say more in clear than it takes, and then begins TLS.
#[tokio::test]
async fn a_peer_that_takes_nothing_before_its_handshake_holds_up_no_stop() {
    let mut world = World::new().unwrap();
    let daemon = Daemon::serving("here.test")
        .policy("tls = 'optional'\nauth = ['dialback']\nverify = 'dialback'")
        .tables("[limits]\ndrain = '120s'\n");
    world.start(daemon).await.unwrap();
    let _fake_peer = FakePeer::at(&mut world, "far.test").await.unwrap();
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let running = world.daemon("here.test").unwrap();
    let (listener, admin) = (running.s2s[0], running.admin[0]);
    let tcp = socket.connect(listener).await.unwrap();
    let mut peer = Peer::over(Wire::over(tcp));
    peer.open("far.test", "here.test").await.unwrap();
    let verdict = peer.dialback("far.test", "here.test", "key").await.unwrap();
    assert_eq!(verdict, "valid");
    // Less than 256 KiB of answers, so that it is still heard, and more than the kernels take.
    let question = "<db:verify from='far.test' to='here.test' id='1234567890123456789012345678901234567890'>x</db:verify>";
    let starttls = format!("<starttls xmlns='{}'/>", ns::TLS);
    peer.send(question.repeat(1100) + &starttls).await.unwrap();
    // It counts as it did in the beginning from then on.
    let begins = async {
        while !metrics(admin)
            .await
            .contains("s2sd_connections{listener=\"s2s\",state=\"unauthenticated\"} 1")
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(TIMEOUT, begins).await.unwrap();
    tokio::time::timeout(TIMEOUT * 3, world.stop("here.test"))
        .await
        .expect("stopping takes too long")
        .unwrap();
}

/// It proved nothing, so that nothing of it can be lost.
#[tokio::test]
async fn a_stranger_that_stays_connected_holds_up_no_stop() {
    let mut world = World::new().unwrap();
    world.start(daemon("")).await.unwrap();
    let listener = world.daemon("here.test").unwrap().s2s[0];
    let mut peer = Peer::connect(listener).await.unwrap();
    peer.open("far.test", "here.test").await.unwrap();
    let began = std::time::Instant::now();
    world.stop("here.test").await.unwrap();
    let took = began.elapsed();
    assert!(took.as_secs() < 3, "{took:?}");
    drop(peer);
}

async fn metrics(admin: SocketAddr) -> String {
    let mut tcp = TcpStream::connect(admin).await.unwrap();
    tcp.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut text = String::new();
    tcp.read_to_string(&mut text).await.unwrap();
    text
}
