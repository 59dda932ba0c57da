//! Who guesses the secrets of components is slowed down and named in the log, and nobody else waits; and what a component
//! that goes on writing hears at the end.
#![allow(clippy::unwrap_used)]

mod log;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use s2sd_tests::{
    component::attach,
    wire::{Event, Wire},
    world::{Daemon, SECRET, TIMEOUT, World},
};
use tokio::{net::TcpSocket, task::JoinSet};
use xmpp_stream::{Condition, StreamError, component::Connecting, ns};

async fn here(limits: &str) -> (World, SocketAddr) {
    let mut world = World::new().unwrap();
    let daemon = Daemon::serving("here.test")
        .and("other.test")
        .tables(&format!("[limits]\n{limits}\n"));
    world.start(daemon).await.unwrap();
    let addr = world.daemon("here.test").unwrap().components[0];
    (world, addr)
}

/// A guess, the condition it ends with, and how long that took.
async fn guess(addr: SocketAddr, domain: &str) -> (Condition, Duration) {
    let mut wire = Wire::connect(addr, TIMEOUT).await.unwrap();
    let (connecting, header) = Connecting::new(domain, "a guess");
    let mut text = BytesMut::new();
    header.write(&mut text);
    wire.send(text).await.unwrap();
    let Event::Header(header) = wire.next(TIMEOUT).await.unwrap() else {
        panic!("no header");
    };
    let (_, handshake) = connecting.header(&header).unwrap();
    let began = Instant::now();
    wire.send(handshake).await.unwrap();
    match wire.next(TIMEOUT * 6).await.unwrap() {
        Event::Element(element) => {
            let error = StreamError::from_element(&element).unwrap();
            (error.condition, began.elapsed())
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_wrong_secret_makes_the_next_one_wait_and_is_in_the_log() {
    let log = log::log();
    let (_world, addr) = here("").await;
    guess(addr, "here.test").await;
    for least in [400, 900, 1900] {
        let (condition, took) = guess(addr, "here.test").await;
        assert_eq!(condition, Condition::NotAuthorized);
        assert!(took >= Duration::from_millis(least), "after {took:?}");
    }
    let line = log.line(&[
        "WARN",
        "component handshake failed",
        "domain=here.test",
        "failures=3",
    ]);
    assert!(line.contains("peer=127.0.0.1:"), "{line}");
    // A component of another domain on the same machine does not wait, and is not slowed down by others.
    let began = Instant::now();
    attach(addr, "other.test", SECRET, TIMEOUT).await.unwrap();
    let (condition, _) = guess(addr, "other.test").await;
    assert_eq!(condition, Condition::NotAuthorized);
    assert!(began.elapsed() < Duration::from_secs(3));
    // Who knows the secret gets in, if not at once.
    attach(addr, "here.test", SECRET, TIMEOUT).await.unwrap();
    // And begins anew.
    attach(addr, "here.test", SECRET, TIMEOUT).await.unwrap();
}

#[tokio::test]
async fn guesses_at_one_time_are_not_looked_at_one_time() {
    let (_world, addr) = here("negotiation = '5s'").await;
    for _ in 0..2 {
        guess(addr, "here.test").await;
    }
    let mut guesses = JoinSet::new();
    for _ in 0..50 {
        guesses.spawn(guess(addr, "here.test"));
    }
    let answers = guesses.join_all().await;
    let looked_at = answers
        .iter()
        .filter(|(condition, _)| *condition == Condition::NotAuthorized);
    let refused = answers
        .iter()
        .filter(|(condition, _)| *condition == Condition::PolicyViolation);
    // One a second, at most.
    assert!(looked_at.count() <= 6, "{answers:?}");
    assert!(refused.count() >= 40, "{answers:?}");
}

/// A socket that is closed over what was not read is reset, and what the other side has not fetched is lost.
#[tokio::test]
async fn a_component_that_goes_on_writing_hears_all_that_comes_back_to_it() {
    const ALL: usize = 400;
    let mut world = World::new().unwrap();
    world
        .start(
            Daemon::serving("here.test")
                .without_certificate()
                .policy("tls = 'disabled'\nauth = ['dialback']")
                .tables("[limits]\ndrain = '8s'\n"),
        )
        .await
        .unwrap();
    drop(world.listen("down.test").await.unwrap());
    // Its kernel takes little, so that most waits in ours.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let listener = world.daemon("here.test").unwrap().components[0];
    let mut component = Wire::over(socket.connect(listener).await.unwrap());
    let (connecting, header) = Connecting::new("here.test", SECRET);
    let mut text = BytesMut::new();
    header.write(&mut text);
    component.send(text).await.unwrap();
    let Event::Header(header) = component.next(TIMEOUT).await.unwrap() else {
        panic!("no header");
    };
    let (_, handshake) = connecting.header(&header).unwrap();
    component.send(handshake).await.unwrap();
    component.next(TIMEOUT).await.unwrap();
    let name = "x".repeat(1000);
    for number in 0..ALL {
        component
            .send(format!(
                "<message from='{name}@here.test' to='down.test' id='{number}'/>"
            ))
            .await
            .unwrap();
    }
    // Nobody answers these.
    let more = "<iq from='else.test' to='down.test' type='result'/>".repeat(10);
    let hears = async {
        let mut back = 0;
        loop {
            component.send(&more).await.ok();
            match component.next(TIMEOUT).await {
                Ok(Event::Element(element)) if element.stanza_kind().is_some() => back += 1,
                Ok(Event::Element(element)) => assert!(element.is(ns::STREAMS, "error")),
                Ok(Event::Footer) => return back,
                other => panic!("after {back}: {other:?}"),
            }
        }
    };
    let (stopped, back) = tokio::join!(world.stop("here.test"), hears);
    stopped.unwrap();
    assert_eq!(back, ALL);
}
