//! A key that is derived from a password costs a processor something before anybody has proved anything. Who has many of
//! them derived does not keep another waiting.
#![allow(clippy::unwrap_used)]

use std::{net::Ipv4Addr, time::Instant};

use s2sd_tests::{
    attack_setup,
    peer::Peer,
    wire::Event,
    world::{TIMEOUT, World},
};
use tokio::task::{JoinSet, yield_now};
use xmpp_sasl::{ClientCredentials, ClientInput, ClientStep, Random, wire::Nonza};

const CROWD: usize = 60;

const TABLES: &str = "\
    [limits]\nnegotiation = '5m'\ninbound_per_address = 1000\n\
    [[peer]]\ndomain = 'a.test'\ntls = 'disabled'\nauth = ['scram-sha-1']\n\
    accept = { username = 'user-a', password = 'pass-a' }\n\
    credentials = { username = 'x', password = 'x' }\n";

struct System;

impl Random for System {
    fn fill(&mut self, out: &mut [u8]) {
        getrandom::fill(out).unwrap();
    }
}

/// The first word of an exchange, after which the server derives a key.
fn begin() -> bytes::Bytes {
    let credentials = ClientCredentials::new("xmpp", "here.test").with_password("user-a", "pass-a");
    let client = xmpp_sasl::client("SCRAM-SHA-1", &credentials).unwrap();
    let ClientStep::Respond(initial, _) = client.step(ClientInput::Start, &mut System) else {
        panic!("the client does not begin");
    };
    let auth = Nonza::Auth {
        mechanism: "SCRAM-SHA-1".to_owned(),
        initial: Some(initial),
    };
    auth.to_bytes()
}

async fn open(world: &World, source: Ipv4Addr) -> Peer {
    let listener = world.daemon("here.test").unwrap().s2s[0];
    let mut peer = Peer::connect_from(source, listener).await.unwrap();
    peer.open("a.test", "here.test").await.unwrap();
    peer.with_timeout(TIMEOUT * 6)
}

async fn challenged(peer: &mut Peer) {
    let Event::Element(element) = peer.next().await.unwrap() else {
        panic!("no element");
    };
    let nonza = Nonza::from_element(&element);
    assert!(
        matches!(nonza, Some(Ok(Nonza::Challenge(_)))),
        "{element:?}"
    );
}

#[tokio::test]
async fn a_crowd_of_passwords_of_one_network_delays_no_other() {
    let daemon = attack_setup::daemon().tables(TABLES);
    let (world, _background_traffic, _component) = attack_setup::start(daemon).await.unwrap();
    let mut innocent = open(&world, Ipv4Addr::new(127, 8, 8, 8)).await;
    let mut crowd = Vec::new();
    for number in 0..CROWD {
        let host = u8::try_from(number % 4).unwrap();
        crowd.push(open(&world, Ipv4Addr::new(127, 7, 7, 1 + host)).await);
    }
    let mut answered = JoinSet::new();
    for mut peer in crowd {
        peer.send(begin()).await.unwrap();
        answered.spawn(async move {
            challenged(&mut peer).await;
            peer
        });
    }
    // They wait for each other by now.
    let mut peers = vec![answered.join_next().await.unwrap().unwrap()];
    let began = Instant::now();
    innocent.send(begin()).await.unwrap();
    challenged(&mut innocent).await;
    let took = began.elapsed();
    while let Some(peer) = answered.try_join_next() {
        peers.push(peer.unwrap());
    }
    let between = peers.len();
    println!("a challenge after {took:?}; meanwhile {between} of {CROWD} were answered");
    assert!(between < CROWD / 4, "{between} went first");
    // They all have their turn.
    while let Some(peer) = answered.join_next().await {
        peers.push(peer.unwrap());
        yield_now().await;
    }
    assert_eq!(peers.len(), CROWD);
    println!("all of them after {:?}", began.elapsed());
}
