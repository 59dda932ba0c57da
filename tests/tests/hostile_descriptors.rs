//! A daemon for which the system has few file descriptors: who comes when they have run out waits in the kernel, and none is
//! lost by an accept that fails.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use s2sd_tests::{
    attack_setup,
    component_client::{Behaviour, ComponentClient},
    endpoint::End,
    fake_peer::FakePeer,
    peer::Peer,
    process::Process,
    wire::{Event, Wire},
    world::{SECRET, TIMEOUT, World},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

const HERE: &str = "here.test";
/// As few as a daemon may be left with. A quarter is kept back, servers may have 60, and from 84 on none is accepted.
const DESCRIPTORS: usize = 128;
/// Connections of components, which leave 44 to servers.
const COMPONENTS: usize = 40;
/// Whoever comes after so many waits.
const SERVERS: usize = 35;
const WAITING: usize = 10;

async fn connect(source: [u8; 4], addr: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind((Ipv4Addr::from(source), 0).into()).unwrap();
    socket.connect(addr).await.unwrap()
}

/// A stream that has begun, from a network of its own.
async fn knock(network: usize, addr: SocketAddr) -> Peer {
    let network = u8::try_from(network).unwrap();
    let mut peer = Peer::over(Wire::over(connect([127, 20, network, 1], addr).await));
    peer.send_header(Some("evil.test"), HERE).await.unwrap();
    peer
}

async fn metric(addr: SocketAddr, name: &str) -> usize {
    let mut tcp = TcpStream::connect(addr).await.unwrap();
    tcp.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut text = String::new();
    let read = timeout(TIMEOUT, tcp.read_to_string(&mut text)).await;
    read.unwrap().unwrap();
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap().parse().unwrap()
}

/// Where it is asked; it says that last.
async fn admin(process: &Process) -> SocketAddr {
    let until = Instant::now() + TIMEOUT;
    loop {
        let log = process.log();
        let admin = log.iter().find_map(|line| {
            let (_, rest) = line.split_once("listening address=")?;
            rest.strip_suffix(" listener=\"admin\"")?.parse().ok()
        });
        if let Some(admin) = admin {
            return admin;
        }
        assert!(Instant::now() < until, "{log:#?}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_when_descriptors_have_run_out_waits_and_is_served_when_there_are_some() {
    let mut world = World::new().unwrap();
    let daemon = attack_setup::daemon()
        .without_certificate()
        .policy("tls = 'disabled'\nauth = ['dialback']");
    let lab = env!("CARGO_BIN_EXE_lab");
    let process = Process::start(&mut world, lab, &daemon, DESCRIPTORS)
        .await
        .unwrap();
    let admin = admin(&process).await;
    let mut good = FakePeer::at(&mut world, "good.test").await.unwrap();
    // One host may not have more than three that are not authenticated, where there are so few.
    let mut one = Vec::new();
    for _ in 0..4 {
        one.push(connect([127, 21, 0, 1], process.s2s).await);
    }
    let mut last = one.pop().unwrap();
    let closed = timeout(TIMEOUT, last.read(&mut [0])).await.unwrap();
    assert_eq!(closed.unwrap_or(0), 0);
    drop(one);

    let mut held = Vec::new();
    for number in 0..COMPONENTS {
        let host = u8::try_from(number + 1).unwrap();
        held.push(connect([127, 22, 0, host], process.components).await);
    }
    let taken =
        async |share: &str| metric(admin, &format!("s2sd_descriptors{{share=\"{share}\"}}")).await;
    let until = Instant::now() + TIMEOUT;
    while taken("components").await < COMPONENTS || taken("servers").await > 1 {
        assert!(Instant::now() < until, "{:?}", process.log());
    }
    let mut served = Vec::new();
    for network in 0..SERVERS {
        let mut peer = knock(network, process.s2s).await;
        peer.expect_header().await.unwrap();
        served.push(peer);
    }
    let mut waiting = Vec::new();
    for network in 0..WAITING + 10 {
        waiting.push(knock(SERVERS + network, process.s2s).await);
    }
    // Some of them find a place; the others wait.
    let mut late = Vec::new();
    for mut peer in waiting {
        match peer.next_within(Duration::from_millis(500)).await.unwrap() {
            Event::Header(_) => served.push(peer),
            Event::Nothing => late.push(peer),
            other => panic!("{other:?}"),
        }
    }
    assert!(late.len() >= WAITING, "{} wait", late.len());
    // Our own goes on: a component attaches, what it sends is looked up and leaves.
    let here = End::Component {
        addr: process.components,
        domain: HERE.to_owned(),
        secret: SECRET.to_owned(),
        node: None,
    };
    let mut component = ComponentClient::attach(&here, Behaviour::Quiet, TIMEOUT)
        .await
        .unwrap();
    component
        .send("<message from='here.test' to='good.test' id='out'/>")
        .await
        .unwrap();
    let out = good.next().await.unwrap().stanza;
    assert_eq!(out.id().as_deref(), Some("out"));
    assert!(process.usage().unwrap().descriptors < DESCRIPTORS);

    served.truncate(SERVERS - WAITING);
    for peer in &mut late {
        peer.expect_header().await.unwrap();
    }
    let log = process.log();
    let count = |words: &str| log.iter().filter(|line| line.contains(words)).count();
    assert_eq!(count("could not be accepted"), 0, "{log:#?}");
    assert_eq!(
        count("no connection is accepted until one ends"),
        1,
        "{log:#?}"
    );
    assert_eq!(count("connections refused"), 1, "{log:#?}");
    assert_eq!(count("reasons=address-unauthenticated: 1"), 1, "{log:#?}");
}
