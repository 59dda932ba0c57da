//! What an operator sees and does: the pages on the socket in `data_dir`, with streams that are real, and numbers that match
//! what happened.
#![allow(clippy::unwrap_used)]

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use s2sd::{
    app::{self, StartError},
    config::Config,
};
use s2sd_tests::{
    checks::{self, Other, Plan},
    component_client::ComponentClient,
    fake_peer::believing,
    world::{Daemon, TIMEOUT, World},
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};
use xmpp_stream::{DialbackFeature, Features, StanzaKind, ns};

/// The socket of the daemon that serves this domain.
fn socket(world: &World, domain: &str) -> PathBuf {
    world.path(domain).join("data/s2sd.sock")
}

/// A request on a socket, and everything that comes back.
async fn exchange(socket: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let text = format!("{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = timeout(TIMEOUT, stream.read_to_string(&mut answer)).await;
    read.expect("the answer ends").unwrap();
    answer
}

/// The JSON of an answer that is well.
async fn ask(world: &World, domain: &str, request: &str) -> Value {
    let answer = exchange(&socket(world, domain), request).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}

/// The same, until it is as wanted: what a task counts may come a moment after what it did.
async fn ask_until(
    world: &World,
    domain: &str,
    request: &str,
    wanted: impl Fn(&Value) -> bool,
) -> Value {
    let until = Instant::now() + TIMEOUT;
    loop {
        let said = ask(world, domain, request).await;
        if wanted(&said) {
            return said;
        }
        assert!(Instant::now() < until, "{said:#}");
        tokio::task::yield_now().await;
    }
}

/// A number of `/metrics`; 0 where it is not there.
async fn metric(world: &World, domain: &str, name: &str) -> u64 {
    let page = exchange(&socket(world, domain), "GET /metrics").await;
    let mut lines = page.lines();
    let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0, |number| number.parse().unwrap())
}

async fn metric_becomes(world: &World, domain: &str, name: &str, wanted: u64) {
    let until = Instant::now() + TIMEOUT;
    loop {
        let number = metric(world, domain, name).await;
        if number == wanted {
            return;
        }
        assert!(Instant::now() < until, "{name}: {number} and not {wanted}");
        tokio::task::yield_now().await;
    }
}

/// Those of one direction.
fn streams<'a>(said: &'a Value, direction: &str) -> Vec<&'a Value> {
    let all = said["streams"].as_array().unwrap().iter();
    all.filter(|stream| stream["direction"] == direction)
        .collect()
}

/// Two daemons with their components.
async fn pair() -> (World, ComponentClient, ComponentClient) {
    pair_with("").await
}

/// The same, with this in their policies.
async fn pair_with(policy: &str) -> (World, ComponentClient, ComponentClient) {
    let mut world = World::new().unwrap();
    for domain in ["a.test", "b.test"] {
        let policy = format!("auth = ['external']\n{policy}");
        world
            .start(Daemon::serving(domain).policy(&policy))
            .await
            .unwrap();
    }
    let a = world.component("a.test").await.unwrap();
    let b = world.component("b.test").await.unwrap();
    (world, a, b)
}

fn message(id: usize) -> String {
    format!("<message from='a.test' to='b.test' id='{id}'><body>{id}</body></message>")
}

async fn send(a: &mut ComponentClient, ids: std::ops::Range<usize>) {
    for id in ids {
        a.send(message(id)).await.unwrap();
    }
}

async fn arrive(b: &mut ComponentClient, ids: std::ops::Range<usize>) {
    for id in ids {
        let got = b.expect("a message", TIMEOUT, |_| true).await.unwrap();
        assert_eq!(got.id().unwrap(), id.to_string(), "{got:?}");
    }
}

#[tokio::test]
async fn each_stream_is_listed_with_its_proof_and_all_numbers_match_what_happened() {
    // A stream of each kind.
    let (world, mut a, mut b) = pair_with("bidi = false").await;
    checks::run(&mut a, Other::ComponentClient(&mut b), &Plan::default()).await;

    let said = ask(&world, "a.test", "GET /api/streams").await;
    let [out] = streams(&said, "outgoing")[..] else {
        panic!("{said:#}")
    };
    assert_eq!(out["state"], "open");
    assert_eq!(out["tls"]["version"], "TLS 1.3");
    assert!(out["tls"]["cipher"].as_str().unwrap().starts_with("TLS_"));
    let proof = &out["pairs"][0];
    for (key, value) in [
        ("local", "a.test"),
        ("remote", "b.test"),
        ("method", "EXTERNAL"),
        ("trust", "PKIX"),
    ] {
        assert_eq!(proof[key], value, "{out:#}");
    }
    assert!(proof["because"].as_str().unwrap().contains("b.test"));
    assert_eq!(out["lanes"][0]["remote"], "b.test");
    assert_eq!(streams(&said, "incoming").len(), 1, "{said:#}");
    let [component] = streams(&said, "component")[..] else {
        panic!("{said:#}")
    };
    assert_eq!(component["pairs"][0]["method"], "handshake");
    assert_eq!(component["tls"], Value::Null);

    // What one end wrote is what the other end read, on every stream and in sum.
    let received = |said: &Value| streams(said, "incoming")[0]["stanzas"]["received"].clone();
    let at_b = ask(&world, "b.test", "GET /api/streams").await;
    let came = received(&at_b).as_u64().unwrap();
    assert!(came > 0);
    let sent = |said: &Value| streams(said, "outgoing")[0]["stanzas"]["sent"] == came;
    ask_until(&world, "a.test", "GET /api/streams", sent).await;
    for (domain, direction, way) in [
        ("a.test", "outgoing", "sent"),
        ("b.test", "incoming", "received"),
    ] {
        let name = format!("s2sd_stanzas_total{{direction=\"{direction}\",way=\"{way}\"}}");
        assert_eq!(metric(&world, domain, &name).await, came);
        let labels = format!("{{direction=\"{direction}\",method=\"EXTERNAL\",tls=\"TLS 1.3\"}}");
        let name = format!("s2sd_streams_authenticated_total{labels}");
        assert_eq!(metric(&world, domain, &name).await, 1);
        let bytes = format!("s2sd_bytes_total{{direction=\"{direction}\",way=\"{way}\"}}");
        assert!(metric(&world, domain, &bytes).await > came);
    }
    let name =
        "s2sd_streams{direction=\"outgoing\",state=\"open\",method=\"EXTERNAL\",tls=\"TLS 1.3\"}";
    assert_eq!(metric(&world, "a.test", name).await, 1);

    let status = ask(&world, "a.test", "GET /api/status").await;
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    for kind in ["incoming", "outgoing", "component"] {
        assert_eq!(status["streams"][kind], 1, "{status:#}");
    }
    assert_eq!(status["lanes"]["all"], 1);
    let days = status["certificates"][0]["days_left"].as_i64().unwrap();
    assert!((80..100).contains(&days), "{days} days");
    let used = status["memory"]["used"].as_u64().unwrap();
    assert!(used > 0 && used < status["memory"]["limit"].as_u64().unwrap());
}

#[tokio::test]
async fn a_closed_stream_ends_in_good_order_on_both_sides_and_nothing_is_lost() {
    let (world, mut a, mut b) = pair().await;
    let mut next = 0;
    // Ours to the other server, and then theirs to us: what is sent meanwhile goes by the next.
    for (domain, direction) in [("a.test", "outgoing"), ("b.test", "incoming")] {
        send(&mut a, next..next + 100).await;
        let is_open = |said: &Value| {
            let streams = streams(said, direction);
            streams.iter().any(|stream| stream["state"] == "open")
        };
        let said = ask_until(&world, domain, "GET /api/streams", is_open).await;
        let id = streams(&said, direction)[0]["id"].as_u64().unwrap();
        let said = ask(&world, domain, &format!("POST /api/close?id={id}")).await;
        assert_eq!(said["closing"]["id"], id);
        send(&mut a, next + 100..next + 200).await;
        arrive(&mut b, next..next + 200).await;
        next += 200;
        let name = format!(
            "s2sd_streams_ended_total{{direction=\"{direction}\",by=\"us\",cause=\"operator\"}}"
        );
        metric_becomes(&world, domain, &name, 1).await;
        // The other side read the end tag: it is no connection that broke.
        let (other, its) = match direction {
            "outgoing" => ("b.test", "incoming"),
            _ => ("a.test", "outgoing"),
        };
        let name = format!(
            "s2sd_streams_ended_total{{direction=\"{its}\",by=\"peer\",cause=\"finished\"}}"
        );
        metric_becomes(&world, other, &name, 1).await;
        let gone = exchange(&socket(&world, domain), &format!("POST /api/close?id={id}")).await;
        assert!(gone.starts_with("HTTP/1.1 410 Gone\r\n"), "{gone}");
    }
    let name = "s2sd_unknown_fate_total";
    assert_eq!(metric(&world, "a.test", name).await, 0);
}

#[tokio::test]
async fn a_component_that_is_closed_has_what_was_for_it_and_attaches_again() {
    let (world, mut a, mut b) = pair().await;
    send(&mut a, 0..100).await;
    arrive(&mut b, 0..50).await;
    let said = ask(&world, "b.test", "GET /api/streams").await;
    let id = streams(&said, "component")[0]["id"].as_u64().unwrap();
    ask(&world, "b.test", &format!("POST /api/close?id={id}")).await;
    let mut last = 49;
    while let Ok(got) = b.expect("a message", TIMEOUT, |_| true).await {
        let id: usize = got.id().unwrap().parse().unwrap();
        assert_eq!(id, last + 1);
        last = id;
    }
    let why = timeout(TIMEOUT, b.ended()).await.unwrap().to_string();
    assert!(why.contains("the server closed the stream"), "{why}");
    // What it did not get came back to who sent it.
    for id in last + 1..100 {
        let back = a.expect("an error", TIMEOUT, |_| true).await.unwrap();
        assert_eq!(back.type_attr().as_deref(), Some("error"));
        assert_eq!(back.id().unwrap(), id.to_string());
    }
    let mut b = world.component("b.test").await.unwrap();
    send(&mut a, 100..110).await;
    arrive(&mut b, 100..110).await;
}

#[tokio::test]
async fn lanes_show_what_waits_and_why_and_a_retry_sends_it() {
    let mut world = World::new().unwrap();
    let patient = "[queue]\ngive_up = '1h'\nbackoff = { first = '1h', max = '1h' }";
    world
        .start(Daemon::serving("a.test").tables(patient))
        .await
        .unwrap();
    let mut a = world.component("a.test").await.unwrap();
    // There is nobody, but there will be.
    drop(world.listen("b.test").await.unwrap());
    send(&mut a, 0..3).await;
    let waits = |said: &Value| {
        let lane = &said["lanes"][0];
        lane["waiting"] == 3 && lane["state"] == "waiting"
    };
    let said = ask_until(&world, "a.test", "GET /api/lanes", waits).await;
    let lane = &said["lanes"][0];
    assert_eq!(
        (&lane["local"], &lane["remote"]),
        (&"a.test".into(), &"b.test".into())
    );
    assert_eq!(lane["failure"]["cause"], "connect");
    let text = lane["failure"]["text"].as_str().unwrap();
    assert!(text.contains("refused"), "{text}");
    let next = lane["next_try_seconds"].as_u64().unwrap();
    assert!((60..3600).contains(&next), "{next}");
    let ages = lane["ages"].as_array().unwrap();
    assert_eq!(ages.iter().filter_map(Value::as_u64).sum::<u64>(), 3);
    assert_eq!(
        ages.len(),
        said["ages_below_seconds"].as_array().unwrap().len() + 1
    );
    assert!(lane["oldest_seconds"].as_u64().is_some());
    for (name, wanted) in [
        ("s2sd_queue_stanzas{queue=\"lanes\"}", 3),
        ("s2sd_lanes_failing", 1),
        ("s2sd_bounces_total{cause=\"connect\"}", 0),
    ] {
        assert_eq!(metric(&world, "a.test", name).await, wanted, "{name}");
    }
    let failed = "s2sd_attempts_failed_total{cause=\"connect\"}";
    assert!(metric(&world, "a.test", failed).await >= 1);
    let status = ask(&world, "a.test", "GET /api/status").await;
    assert_eq!(status["queue"]["lanes"], 3, "{status:#}");
    assert_eq!(status["lanes"]["failing"], 1);

    world.start(Daemon::serving("b.test")).await.unwrap();
    let mut b = world.component("b.test").await.unwrap();
    let said = ask(&world, "a.test", "POST /api/retry?domain=b.test").await;
    assert_eq!(said["retried"], 1, "{said:#}");
    arrive(&mut b, 0..3).await;
    let is_up = |said: &Value| {
        let lane = &said["lanes"][0];
        lane["waiting"] == 0 && lane["state"] == "up" && lane["failure"] == Value::Null
    };
    ask_until(&world, "a.test", "GET /api/lanes", is_up).await;
}

#[tokio::test]
async fn bounces_are_counted_by_the_cause_that_their_senders_read() {
    let mut world = World::new().unwrap();
    world.start(Daemon::serving("a.test")).await.unwrap();
    let mut a = world.component("a.test").await.unwrap();
    for id in 0..2 {
        let to = format!("<message from='a.test' to='nowhere.test' id='{id}'/>");
        a.send(to).await.unwrap();
        let back = a.expect("an error", TIMEOUT, |_| true).await.unwrap();
        assert_eq!(back.type_attr().as_deref(), Some("error"));
    }
    let name = "s2sd_bounces_total{cause=\"no-such-host\"}";
    assert_eq!(metric(&world, "a.test", name).await, 2);
    let name = "s2sd_stanzas_total{direction=\"component\",way=\"received\"}";
    assert_eq!(metric(&world, "a.test", name).await, 2);
    metric_becomes(
        &world,
        "a.test",
        "s2sd_stanzas_total{direction=\"component\",way=\"sent\"}",
        2,
    )
    .await;
}

#[tokio::test]
async fn a_reload_says_what_became_of_it_or_that_nobody_takes_it() {
    let mut world = World::new().unwrap();
    world.start(Daemon::serving("a.test")).await.unwrap();
    let socket = socket(&world, "a.test");
    let answer = exchange(&socket, "POST /api/reload").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    let mut requests = world.daemon("a.test").unwrap().reload_requests();
    for (outcome, reloaded) in [
        (Ok(vec!["[queue] has changed".to_owned()]), true),
        (Err(vec!["s2sd.toml:1:1: no".to_owned()]), false),
    ] {
        let lines = outcome.clone().unwrap_or_else(|why| why);
        let (answer, ()) = tokio::join!(ask(&world, "a.test", "POST /api/reload"), async {
            let request = timeout(TIMEOUT, requests.next()).await.unwrap();
            request.unwrap().answer(outcome);
        });
        assert_eq!(answer["reloaded"], reloaded);
        assert_eq!(answer["said"], serde_json::json!(lines));
    }
}

#[tokio::test]
async fn the_socket_belongs_to_one_daemon_and_a_server_does_without_where_none_can_be() {
    let mut world = World::new().unwrap();
    let daemon = Daemon::serving("a.test");
    world.start(daemon.clone()).await.unwrap();
    let file = world.write_daemon(&daemon).unwrap();
    let config = || Config::load(&file).unwrap().config;
    let error = app::start(config()).await.unwrap_err();
    assert!(matches!(error, StartError::Taken(_)), "{error}");
    assert!(error.to_string().contains("another s2sd runs"), "{error}");
    // No name of a socket is that long.
    let mut elsewhere = config();
    elsewhere.data_dir = world.path("a.test").join("x".repeat(200));
    let running = app::start(elsewhere).await.unwrap();
    running.stop().await;
    world.stop("a.test").await.unwrap();
    assert!(!socket(&world, "a.test").exists());
    let running = app::start(config()).await.unwrap();
    running.stop().await;
}

#[tokio::test]
async fn no_page_gives_orders_and_no_method_is_taken_for_another() {
    let mut world = World::new().unwrap();
    world.start(Daemon::serving("a.test")).await.unwrap();
    let socket = socket(&world, "a.test");
    for (request, status) in [
        ("GET /api/retry?all", "405"),
        ("POST /api/status", "405"),
        ("POST /api/retry", "400"),
        ("POST /api/close?id=x", "400"),
        ("POST /api/close?id=99", "410"),
        ("GET /api", "404"),
    ] {
        let answer = exchange(&socket, request).await;
        let want = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&want), "{request}: {answer}");
    }
}

#[tokio::test]
async fn all_that_a_lane_shows_comes_back_when_the_server_stops() {
    const ALL: usize = 150;
    let mut world = World::new().unwrap();
    let daemon = Daemon::serving("a.test").without_tls();
    let tables = "[limits]\ndrain = '8s'\n[queue]\nbytes = '64MiB'\n";
    world.start(daemon.tables(tables)).await.unwrap();
    let server = world.listen("b.test").await.unwrap();
    let mut component = world.component("a.test").await.unwrap();
    let body = "x".repeat(100_000);
    for id in 0..ALL {
        let message =
            format!("<message from='a.test' to='b.test' id='{id}'><body>{body}</body></message>");
        component.send(message).await.unwrap();
    }
    let mut unread = server.accept().await.unwrap();
    let features = Features::new().with_dialback(DialbackFeature::with_errors());
    unread.answer_open("there", &features).await.unwrap();
    let key = unread.expect(ns::DIALBACK, "result").await.unwrap();
    let valid = believing(&key).unwrap();
    unread.send(valid.to_bytes()).await.unwrap();
    unread.expect_stanza(StanzaKind::Message).await.unwrap();
    // It reads no more, so that some stay in the buffer of the stream: until nothing moves any more.
    let (mut waiting, mut same) = (0, 0);
    while same < 50 {
        let said = ask(&world, "a.test", "GET /api/lanes").await;
        let now = said["lanes"][0]["waiting"].as_u64().unwrap();
        same = if now == waiting { same + 1 } else { 0 };
        waiting = now;
    }
    assert!(waiting > 10, "the sockets hold all of it");
    let back = async {
        let mut back = 0;
        while let Ok(bounce) = component.expect("a bounce", TIMEOUT, |_| true).await {
            assert_eq!(bounce.type_attr().as_deref(), Some("error"), "{bounce:?}");
            back += 1;
        }
        back
    };
    let (stopped, back) = tokio::join!(world.stop("a.test"), back);
    stopped.unwrap();
    assert_eq!(back, waiting);
}
