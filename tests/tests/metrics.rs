//! What a program that watches the daemon is told.
#![allow(clippy::unwrap_used)]

use std::{
    net::SocketAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use s2sd_tests::{
    checks::{self, Other, Plan},
    world::{Daemon, TIMEOUT, World},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// A question and everything that comes back.
async fn ask(addr: SocketAddr, question: &str) -> String {
    ask_host(addr, question, &format!("Host: {addr}\r\n")).await
}

/// The same with other words about who is meant.
async fn ask_host(addr: SocketAddr, question: &str, host: &str) -> String {
    let mut tcp = TcpStream::connect(addr).await.unwrap();
    let request = format!("{question} HTTP/1.1\r\n{host}\r\n");
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    let read = timeout(TIMEOUT, tcp.read_to_string(&mut text)).await;
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
    checks::run(&mut a, Other::ComponentClient(&mut b), &Plan::default()).await;
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

/// A page in a browser on this machine, whose name was made to lead here, is not answered.
#[tokio::test]
async fn who_asks_for_another_host_is_not_answered() {
    let mut world = World::new().unwrap();
    world.start(Daemon::serving("a.test")).await.unwrap();
    let addr = world.daemon("a.test").unwrap().admin[0];
    let port = addr.port();
    for (host, well) in [
        ("Host: localhost\r\n".to_owned(), true),
        (format!("Host: localhost:{port}\r\n"), true),
        (format!("Host: 127.0.0.1:{port}\r\n"), true),
        ("Host: [::1]\r\n".to_owned(), true),
        (format!("Host: evil.test:{port}\r\n"), false),
        ("Host: localhost.evil.test\r\n".to_owned(), false),
        ("Host: 192.0.2.1\r\n".to_owned(), false),
        ("Host: localhost\r\nHost: evil.test\r\n".to_owned(), false),
        ("Host: \r\n".to_owned(), false),
    ] {
        let answer = ask_host(addr, "GET /metrics", &host).await;
        let want = if well {
            "HTTP/1.1 200 "
        } else {
            "HTTP/1.1 421 "
        };
        assert!(answer.starts_with(want), "{host}: {answer}");
        assert_eq!(answer.contains("s2sd_lanes"), well, "{host}: {answer}");
    }
    let absolute = ask_host(addr, "GET http://evil.test/metrics", "Host: localhost\r\n").await;
    assert!(absolute.starts_with("HTTP/1.1 421 "), "{absolute}");
}
