//! TLS handshakes cost a processor something before anybody has proved anything. Who begins hundreds of them does not
//! keep another waiting.
#![allow(clippy::unwrap_used)]

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Instant,
};

use rustls::{ClientConnection, pki_types::ServerName};
use s2sd::{app, config::Limits};
use s2sd_tests::{
    background_traffic::BackgroundTraffic,
    peer::Peer,
    tls,
    world::{TIMEOUT, World},
};
use tokio::{net::TcpSocket, task::yield_now};

const CROWD: usize = 800;

/// What begins a handshake.
fn hello() -> Vec<u8> {
    let config = tls::client(None, true).unwrap();
    let name = ServerName::try_from("here.test").unwrap();
    let mut client = ClientConnection::new(config, name).unwrap();
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    bytes
}

async fn connect(source: Ipv4Addr, addr: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((source, 0).into()).unwrap();
    let tcp = socket.connect(addr).await.unwrap();
    tcp.into_std().unwrap()
}

/// How many of them were answered so far.
fn answered(crowd: &[TcpStream]) -> usize {
    let mut byte = [0];
    let is_answered = |tcp: &&TcpStream| matches!(tcp.peek(&mut byte), Ok(1));
    crowd.iter().filter(is_answered).count()
}

/// With one thread the daemon has no processor to itself.
#[tokio::test]
async fn hundreds_of_handshakes_of_one_network_delay_no_other() {
    hundreds_delay_no_other().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_handshakes_of_one_network_delay_no_other_on_two_threads() {
    hundreds_delay_no_other().await;
}

async fn hundreds_delay_no_other() {
    app::raise_file_limit(&Limits {
        inbound: CROWD * 2,
        ..Limits::default()
    });
    let mut world = World::new().unwrap();
    let daemon = BackgroundTraffic::daemon("here.test").direct_tls();
    world.start(daemon).await.unwrap();
    let addr = world.daemon("here.test").unwrap().s2s_tls[0];
    let hello = hello();
    let mut crowd = Vec::new();
    for number in 0..CROWD {
        let host = u8::try_from(number % 4).unwrap();
        crowd.push(connect(Ipv4Addr::new(127, 7, 7, 1 + host), addr).await);
    }
    for tcp in &mut crowd {
        tcp.write_all(&hello).unwrap();
    }
    let began = Instant::now();
    let before = answered(&crowd);
    let mut innocent = Peer::connect_from(Ipv4Addr::new(127, 8, 8, 8), addr)
        .await
        .unwrap();
    innocent.direct_tls("here.test", None).await.unwrap();
    innocent
        .send_header(Some("good.test"), "here.test")
        .await
        .unwrap();
    innocent.expect_header().await.unwrap();
    let (took, between) = (began.elapsed(), answered(&crowd) - before);
    println!("a header after {took:?}; meanwhile {between} of {CROWD} were answered");
    assert!(between < CROWD / 4, "{between} went first");
    // They all have their turn.
    while answered(&crowd) < CROWD {
        assert!(
            began.elapsed() < TIMEOUT * 6,
            "{} answered",
            answered(&crowd)
        );
        yield_now().await;
    }
    println!("all of them after {:?}", began.elapsed());
}

/// Who takes a connection and says nothing, or half of it, holds nothing that others wait for.
#[tokio::test]
async fn handshakes_that_stop_in_the_middle_hold_nobody_up() {
    let mut world = World::new().unwrap();
    let daemon = BackgroundTraffic::daemon("here.test").direct_tls();
    world.start(daemon).await.unwrap();
    let addr = world.daemon("here.test").unwrap().s2s_tls[0];
    let hello = hello();
    let mut held = Vec::new();
    for (number, part) in [0, 1, hello.len() / 2, hello.len()]
        .iter()
        .cycle()
        .take(200)
        .enumerate()
    {
        let network = u8::try_from(number).unwrap();
        let mut tcp = connect(Ipv4Addr::new(127, network, 7, 1), addr).await;
        tcp.write_all(&hello[..*part]).unwrap();
        held.push(tcp);
    }
    for _ in 0..3 {
        let mut peer = Peer::connect_from(Ipv4Addr::new(127, 7, 7, 7), addr)
            .await
            .unwrap();
        peer.direct_tls("here.test", None).await.unwrap();
        peer.send_header(Some("good.test"), "here.test")
            .await
            .unwrap();
        peer.expect_header().await.unwrap();
    }
    for tcp in &mut held {
        tcp.set_nonblocking(true).unwrap();
        let mut bytes = [0; 1];
        // Open still: it has been answered, or waits.
        match tcp.read(&mut bytes) {
            Ok(1) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            other => panic!("{other:?}"),
        }
    }
}
