//! The commands of `lab`, run as programs.
#![allow(clippy::unwrap_used)]

use std::{net::SocketAddr, process::Stdio, time::Duration};

use s2sd_tests::{
    checks::{self, Check, Other, Plan},
    world::{Daemon, SECRET, TIMEOUT, World},
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

fn lab(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    command
}

struct Serving {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    said: Vec<String>,
}

/// Starts a command that serves, and waits until it says that it is ready.
async fn serve(arguments: &[&str]) -> Serving {
    let mut child = lab(arguments).arg("--until-stdin-ends").spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut serving = Serving {
        child,
        lines,
        said: Vec::new(),
    };
    while serving.said.last().is_none_or(|line| line != "ready") {
        serving.line().await;
    }
    serving
}

impl Serving {
    async fn line(&mut self) -> String {
        let line = timeout(TIMEOUT, self.lines.next_line()).await.unwrap();
        let line = line.unwrap().expect("it has ended");
        self.said.push(line.clone());
        line
    }

    fn listening(&self) -> SocketAddr {
        let line = self.said[0].strip_prefix("listening ").unwrap();
        line.parse().unwrap()
    }

    async fn ends_with_stdin(mut self) {
        drop(self.child.stdin.take());
        let status = timeout(TIMEOUT, self.child.wait()).await.unwrap().unwrap();
        assert!(status.success());
    }
}

/// Runs a command to its end: its exit code, and the JSON it printed.
async fn verdict(arguments: &[&str]) -> (i32, Value) {
    let output = timeout(TIMEOUT * 2, lab(arguments).output())
        .await
        .unwrap()
        .unwrap();
    let json = serde_json::from_slice(&output.stdout);
    (output.status.code().unwrap(), json.unwrap())
}

async fn two_daemons() -> World {
    let mut world = World::new().unwrap();
    for domain in ["a.test", "b.test"] {
        world.start(Daemon::serving(domain)).await.unwrap();
    }
    world
}

fn end(world: &World, domain: &str) -> String {
    let addr = world.daemon(domain).unwrap().components[0];
    format!("component,addr={addr},domain={domain},secret={SECRET}")
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_that_stanzas_pass_and_that_they_are_refused() {
    let world = two_daemons().await;
    let (a, b) = (end(&world, "a.test"), end(&world, "b.test"));
    let (code, json) = verdict(&["check", "--a", &a, "--b", &b, "--count", "50"]).await;
    assert_eq!((code, &json["ok"]), (0, &Value::Bool(true)), "{json}");
    assert_eq!(json["checks"].as_array().unwrap().len(), 8);

    let nobody = "host,domain=nobody.test";
    let refused = [
        "check",
        "--a",
        &a,
        "--b",
        nobody,
        "--refused",
        "--condition",
    ];
    let (code, json) = verdict(&[&refused[..], &["remote-server-not-found"]].concat()).await;
    assert_eq!((code, &json["ok"]), (0, &Value::Bool(true)), "{json}");
    let (code, json) = verdict(&[&refused[..], &["forbidden"]].concat()).await;
    assert_eq!((code, &json["ok"]), (1, &Value::Bool(false)), "{json}");

    let stranger = a.replace(SECRET, "wrong");
    let (code, json) = verdict(&["check", "--a", &stranger, "--b", &b]).await;
    assert_eq!((code, &json["ok"]), (1, &Value::Bool(false)), "{json}");
}

#[tokio::test(flavor = "multi_thread")]
async fn component_answers() {
    let world = two_daemons().await;
    let addr = world.daemon("b.test").unwrap().components[0].to_string();
    let arguments = [
        "--domain", "b.test", "--secret", SECRET, "--addr", &addr, "--log",
    ];
    let mut component = serve(&[&["component"], &arguments[..]].concat()).await;
    let mut a = world.component("a.test").await.unwrap();
    let plan = Plan {
        checks: vec![Check::Ping],
        within: TIMEOUT,
        ..Plan::default()
    };
    let findings = checks::run(&mut a, Other::Host("b.test"), &plan).await;
    assert_eq!(findings[0].outcome, Ok(()));
    assert!(component.line().await.starts_with("got <iq "));
    component.ends_with_stdin().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forge_plays_against_a_daemon_and_authority_is_asked() {
    let mut world = World::new().unwrap();
    world
        .start(Daemon::serving("b.test").without_tls())
        .await
        .unwrap();
    let mut authority = serve(&["authority", "--listen", "127.0.0.1:0"]).await;
    world.lead("_xmpp-server", "a.test", authority.listening());
    let addr = world.daemon("b.test").unwrap().s2s[0].to_string();
    let victim = end(&world, "b.test");
    let arguments = [
        "--addr", &addr, "--from", "a.test", "--to", "b.test", "--victim", &victim,
    ];
    let (code, json) = verdict(&[&["forge", "forged-key"], &arguments[..]].concat()).await;
    assert_eq!((code, &json["ok"]), (0, &Value::Bool(true)), "{json}");
    assert_eq!(json["answer"]["type"], "invalid");
    assert_eq!(json["arrived"], Value::Array(Vec::new()));
    assert_eq!(authority.line().await, "verify a.test b.test invalid plain");
    authority.ends_with_stdin().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dns_serves_a_file_and_reads_it_again() {
    let file = std::env::temp_dir().join(format!("s2sd-lab-zone-{}", std::process::id()));
    std::fs::write(&file, "a one.test 127.0.0.1\n").unwrap();
    let path = file.to_str().unwrap();
    let mut dns = serve(&["dns", "--listen", "127.0.0.1:0", "--log", "--zone", path]).await;
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(dns.listening()).await.unwrap();
    // RFC 1035 §4.1: header, one question; two.test A IN.
    let question = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x03two\x04test\0\0\x01\0\x01";
    let ask = async || {
        socket.send(question).await.unwrap();
        let mut answer = [0; 512];
        timeout(TIMEOUT, socket.recv(&mut answer))
            .await
            .unwrap()
            .unwrap();
        // The response code, and the number of answers.
        (answer[3] & 15, answer[7])
    };
    assert_eq!(ask().await, (3, 0));
    assert_eq!(dns.line().await, "asked two.test A");
    std::fs::write(&file, "a two.test 127.0.0.1\n").unwrap();
    let pid = dns.child.id().unwrap().to_string();
    let hangup = Command::new("kill").args(["-HUP", &pid]).status().await;
    assert!(hangup.unwrap().success());
    assert_eq!(
        timeout(Duration::from_secs(10), dns.line()).await.unwrap(),
        "reloaded"
    );
    assert_eq!(ask().await, (0, 1));
    std::fs::remove_file(&file).unwrap();
    dns.ends_with_stdin().await;
}
