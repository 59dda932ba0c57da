//! A peer that sends faster than it may is listened to more slowly; nothing is refused, nothing is lost, and nobody else
//! notices.
#![allow(clippy::unwrap_used)]

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use s2sd_tests::{
    authoritative::Says,
    component_client::ComponentClient,
    peer::Peer,
    world::{Daemon, TIMEOUT, World},
};
use xmpp_stream::Condition;

/// A daemon for `b.test` with these lines in `[policy]`, its component, and servers that prove whoever asks.
async fn world(policy: &str) -> (World, ComponentClient) {
    let mut world = World::new().unwrap();
    let daemon = Daemon::serving("b.test").without_tls().policy(policy);
    world.start(daemon).await.unwrap();
    let component = world.component("b.test").await.unwrap();
    (world, component)
}

/// A raw peer that has proved a domain to `b.test`.
async fn proved(world: &mut World, domain: &str) -> Peer {
    let authority = world.authoritative(domain, Says::Valid, None).await;
    let _authority = authority.unwrap();
    let mut peer = world.connect("b.test").await.unwrap();
    peer.open(domain, "b.test").await.unwrap();
    let answer = peer.dialback(domain, "b.test", "a key").await.unwrap();
    assert_eq!(answer, "valid");
    peer
}

fn messages(from: &str, ids: std::ops::Range<usize>, body: &str) -> String {
    ids.fold(String::new(), |mut all, id| {
        let _ = write!(
            all,
            "<message from='{from}' to='b.test' id='{id}'><body>{body}</body></message>"
        );
        all
    })
}

/// All of them arrive, in order; how long that took.
async fn arrive(
    component: &mut ComponentClient,
    from: &str,
    ids: std::ops::Range<usize>,
) -> Duration {
    let begin = Instant::now();
    for id in ids {
        let next = component
            .expect("the next message", TIMEOUT, |found| {
                found.from().as_deref() == Some(from)
            })
            .await
            .unwrap();
        assert_eq!(next.id().unwrap(), id.to_string());
    }
    begin.elapsed()
}

#[tokio::test]
async fn stanzas_over_the_rate_limit_come_later_and_in_order() {
    let (mut world, mut component) = world("stanzas_per_second = 20").await;
    let mut peer = proved(&mut world, "a.test").await;
    peer.send(messages("a.test", 0..30, "")).await.unwrap();
    // Twenty at once, and one that has to be paid for before the next: nine pauses of 50 ms.
    let took = arrive(&mut component, "a.test", 0..30).await;
    assert!(took >= Duration::from_millis(9 * 50 - 25), "{took:?}");
}

#[tokio::test]
async fn bytes_over_the_rate_limit_come_later_and_in_order() {
    let (mut world, mut component) = world("bytes_per_second = '200KiB'").await;
    let mut peer = proved(&mut world, "a.test").await;
    // 400 KiB, of which 200 may come at once, and one read more.
    let text = messages("a.test", 0..40, &"x".repeat(10 << 10));
    let sending = peer.send(text);
    let (sent, took) = tokio::join!(sending, arrive(&mut component, "a.test", 0..40));
    sent.unwrap();
    assert!(took >= Duration::from_millis(500), "{took:?}");
}

#[tokio::test]
async fn two_streams_of_one_domain_share_its_rate_limit() {
    let (mut world, mut component) = world("stanzas_per_second = 20").await;
    let begin = Instant::now();
    for ids in [0..15, 15..30] {
        let mut peer = proved(&mut world, "a.test").await;
        peer.send(messages("a.test", ids.clone(), ""))
            .await
            .unwrap();
        arrive(&mut component, "a.test", ids).await;
    }
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(9 * 50 - 25), "{took:?}");
}

#[tokio::test]
async fn a_peer_with_a_rate_limit_of_its_own_slows_nobody_else() {
    let slow = "[[peer]]\ndomain = 'a.test'\nstanzas_per_second = 1";
    let mut world = World::new().unwrap();
    let daemon = Daemon::serving("b.test").without_tls().tables(slow);
    world.start(daemon).await.unwrap();
    let mut component = world.component("b.test").await.unwrap();
    let mut slow = proved(&mut world, "a.test").await;
    let mut fast = proved(&mut world, "c.test").await;
    slow.send(messages("a.test", 0..100, "")).await.unwrap();
    arrive(&mut component, "a.test", 0..2).await;
    fast.send(messages("c.test", 0..1000, "")).await.unwrap();
    arrive(&mut component, "c.test", 0..1000).await;
}

#[tokio::test]
async fn a_stream_that_pauses_hears_that_the_server_stops() {
    let (mut world, mut component) = world("stanzas_per_second = 1").await;
    let mut peer = proved(&mut world, "a.test").await;
    peer.send(messages("a.test", 0..100, "")).await.unwrap();
    arrive(&mut component, "a.test", 0..2).await;
    let begin = Instant::now();
    let (stopped, said) = tokio::join!(world.stop("b.test"), peer.expect_stream_error());
    stopped.unwrap();
    assert_eq!(said.unwrap().condition, Condition::SystemShutdown);
    assert!(begin.elapsed() < TIMEOUT);
}

/// More than all socket buffers hold: the rest stays with the peer, not in our memory.
#[tokio::test]
async fn a_peer_that_is_too_fast_is_held_back() {
    let (mut world, mut component) = world("stanzas_per_second = 1").await;
    let mut peer = proved(&mut world, "a.test").await;
    let much = messages("a.test", 0..400, &"x".repeat(100 << 10));
    let sending = tokio::time::timeout(Duration::from_secs(1), peer.send(much));
    assert!(sending.await.is_err(), "40 MiB were read");
    arrive(&mut component, "a.test", 0..2).await;
}
