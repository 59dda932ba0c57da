//! What a program that watches the daemon is told.
#![allow(clippy::unwrap_used)]

use std::{
    net::SocketAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use s2sd_tests::{
    checks::{self, Other, Plan},
    world::{Daemon, SOON, World},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// A question and everything that comes back.
async fn ask(addr: SocketAddr, question: &str) -> String {
    let mut tcp = TcpStream::connect(addr).await.unwrap();
    let request = format!("{question} HTTP/1.1\r\nHost: here\r\n\r\n");
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    let read = timeout(SOON, tcp.read_to_string(&mut text)).await;
    read.expect("the answer ends").unwrap();
    text
}

/// The number after this name.
fn value(answer: &str, name: &str) -> i64 {
    let mut lines = answer.lines();
    let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is not in {answer}"))
        .parse()
        .unwrap()
}

#[tokio::test]
async fn certificates_say_when_they_run_out_and_lanes_are_counted() {
    let mut world = World::new().unwrap();
    world.start(Daemon::serving("a.test")).await.unwrap();
    world.start(Daemon::serving("b.test")).await.unwrap();
    let addr = world.daemon("a.test").unwrap().admin[0];

    let before = ask(addr, "GET /metrics").await;
    assert!(before.starts_with("HTTP/1.1 200 OK\r\n"), "{before}");
    assert!(before.contains("application/openmetrics-text"), "{before}");
    assert!(before.ends_with("# EOF\n"), "{before}");
    assert_eq!(value(&before, "s2sd_lanes"), 0);
    let name = "s2sd_certificate_expiry_timestamp_seconds{domain=\"a.test\"}";
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let days = (value(&before, name) - i64::try_from(now.as_secs()).unwrap()) / (24 * 60 * 60);
    assert!((80..100).contains(&days), "{days} days");

    let mut a = world.component("a.test").await.unwrap();
    let mut b = world.component("b.test").await.unwrap();
    checks::run(&mut a, Other::Party(&mut b), &Plan::default()).await;
    let after = ask(addr, "GET /metrics").await;
    assert_eq!(value(&after, "s2sd_lanes"), 1);
}

#[tokio::test]
async fn there_is_nothing_else_and_who_is_silent_holds_nobody_up() {
    let mut world = World::new().unwrap();
    world.start(Daemon::serving("a.test")).await.unwrap();
    let addr = world.daemon("a.test").unwrap().admin[0];
    let _silent = TcpStream::connect(addr).await.unwrap();
    for (question, status) in [
        ("GET /", "404"),
        ("GET /metrics/", "404"),
        ("POST /metrics", "405"),
        ("GET", "400"),
    ] {
        let answer = ask(addr, question).await;
        let want = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&want), "{question}: {answer}");
    }
}
