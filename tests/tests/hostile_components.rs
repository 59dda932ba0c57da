//! Who guesses the secrets of components is slowed down and named in the log, and nobody else waits.
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
    world::{Daemon, SECRET, SOON, World},
};
use tokio::task::JoinSet;
use xmpp_stream::{Condition, StreamError, component::Connecting};

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
    let mut wire = Wire::connect(addr, SOON).await.unwrap();
    let (connecting, header) = Connecting::new(domain, "a guess");
    let mut text = BytesMut::new();
    header.write(&mut text);
    wire.send(text).await.unwrap();
    let Event::Header(header) = wire.next(SOON).await.unwrap() else {
        panic!("no header");
    };
    let (_, handshake) = connecting.header(&header).unwrap();
    let began = Instant::now();
    wire.send(handshake).await.unwrap();
    match wire.next(SOON * 6).await.unwrap() {
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
    attach(addr, "other.test", SECRET, SOON).await.unwrap();
    let (condition, _) = guess(addr, "other.test").await;
    assert_eq!(condition, Condition::NotAuthorized);
    assert!(began.elapsed() < Duration::from_secs(3));
    // Who knows the secret gets in, if not at once.
    attach(addr, "here.test", SECRET, SOON).await.unwrap();
    // And begins anew.
    attach(addr, "here.test", SECRET, SOON).await.unwrap();
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
