//! Many connections at once: each address has so many that are not authenticated, the daemon so many in all, and who is
//! known keeps what he has.
#![allow(clippy::unwrap_used)]

use std::{net::SocketAddr, time::Duration};

use s2sd_tests::{
    attack_setup,
    background_traffic::BackgroundTraffic,
    fake_peer::FakePeer,
    peer::Peer,
    wire::{Event, Wire},
    world::{TIMEOUT, World},
};
use tokio::time::Instant;

async fn here(limits: &str) -> (World, BackgroundTraffic, SocketAddr) {
    let daemon = BackgroundTraffic::daemon("here.test")
        .policy("tls = 'optional'\nauth = ['external', 'dialback']")
        .tables(&format!("[limits]\n{limits}\n"));
    let (world, background_traffic) = attack_setup::beside(daemon).await.unwrap();
    let addr = world.daemon("here.test").unwrap().s2s[0];
    (world, background_traffic, addr)
}

/// A stream up to its features; `None`: the daemon closed the connection before a word.
async fn open(addr: SocketAddr) -> Option<Peer> {
    let mut peer = Peer::connect(addr).await.unwrap();
    // Perhaps it is closed already.
    let _ = peer.send_header(Some("evil.test"), "here.test").await;
    match peer.next().await {
        Ok(Event::Header(_)) => {
            peer.expect_features().await.unwrap();
            Some(peer)
        }
        Ok(Event::Closed) | Err(_) => None,
        other => panic!("{other:?}"),
    }
}

/// A place becomes free soon after its connection is gone.
async fn open_soon(addr: SocketAddr) -> Peer {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        if let Some(peer) = open(addr).await {
            return peer;
        }
        assert!(Instant::now() < deadline, "no place becomes free");
    }
}

/// The connection of a component up to the daemon's header; `None`: closed before a word.
async fn component(world: &World) -> Option<Wire> {
    let listener = world.daemon("here.test").unwrap().components[0];
    let mut wire = Wire::connect(listener, TIMEOUT).await.unwrap();
    let header = "<stream:stream xmlns:stream='http://etherx.jabber.org/streams' \
         xmlns='jabber:component:accept' to='here.test'>";
    let _ = wire.send(header).await;
    match wire.next(TIMEOUT).await {
        Ok(Event::Header(_)) => Some(wire),
        Ok(Event::Closed) | Err(_) => None,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_address_has_so_many_connections_that_are_not_authenticated() {
    let (mut world, mut background_traffic, addr) = here("inbound_per_address = 8").await;
    let fake_peer = FakePeer::at(&mut world, "evil.test").await.unwrap();
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(open_soon(addr).await);
    }
    for _ in 0..20 {
        assert!(open(addr).await.is_none());
    }
    background_traffic.is_well().await.unwrap();
    // Our own components are counted apart.
    assert!(component(&world).await.is_some());
    // Who leaves makes room,
    held.pop();
    held.push(open_soon(addr).await);
    assert!(open(addr).await.is_none());
    // and so does who proves himself, as often as he likes.
    let mut known = Vec::new();
    for _ in 0..10 {
        let mut peer = held.remove(0);
        let verdict = peer
            .dialback("evil.test", "here.test", "key")
            .await
            .unwrap();
        assert_eq!(verdict, "valid");
        known.push(peer);
        held.push(open_soon(addr).await);
        assert!(open(addr).await.is_none());
    }
    for peer in &mut known {
        peer.expect_nothing(Duration::ZERO).await.unwrap();
    }
    drop(fake_peer);
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn the_daemon_has_so_many_connections_in_all() {
    // One of them is the background traffic's peer.
    let (mut world, mut background_traffic, addr) = here("inbound = 5").await;
    let fake_peer = FakePeer::at(&mut world, "evil.test").await.unwrap();
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut peer = open_soon(addr).await;
        let verdict = peer
            .dialback("evil.test", "here.test", "key")
            .await
            .unwrap();
        assert_eq!(verdict, "valid");
        held.push(peer);
    }
    for _ in 0..20 {
        assert!(open(addr).await.is_none());
    }
    assert!(component(&world).await.is_some());
    background_traffic.is_well().await.unwrap();
    held.pop();
    held.push(open_soon(addr).await);
    assert!(open(addr).await.is_none());
    for peer in &mut held {
        peer.expect_nothing(Duration::ZERO).await.unwrap();
    }
    drop(fake_peer);
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn the_daemon_has_so_many_connections_of_components() {
    // Two of them are the background traffic's: its own, and its component's.
    let (world, background_traffic, addr) = here("components = 4").await;
    let mut held = Vec::new();
    while let Some(wire) = component(&world).await {
        held.push(wire);
        assert!(held.len() < 4);
    }
    assert!(!held.is_empty());
    // Servers are counted apart.
    let _peer = open_soon(addr).await;
    background_traffic.was_well().await.unwrap();
}

/// Connections that come and go at once, in any number, leave nothing behind: neither a place nor a task.
#[tokio::test]
async fn connections_that_come_and_go_use_no_places_up() {
    let (_world, background_traffic, addr) = here("inbound_per_address = 8").await;
    for round in 0..500 {
        let wire = Wire::connect(addr, TIMEOUT).await.unwrap();
        if round % 2 == 0 {
            let mut peer = Peer::over(wire);
            let _ = peer.send_header(Some("evil.test"), "here.test").await;
        }
    }
    let mut all = Vec::new();
    for _ in 0..8 {
        all.push(open_soon(addr).await);
    }
    background_traffic.was_well().await.unwrap();
}
