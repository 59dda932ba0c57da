//! What goes wrong on the way to another server: in the DNS, on the network, on this machine. Whatever waits is held as
//! long as somebody may mend it, and goes as soon as there is a way.
#![allow(clippy::unwrap_used)]

#[path = "log/mod.rs"]
#[allow(dead_code)]
mod log;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use s2sd::tools::demo::zone::{Zone, ZoneServer};
use s2sd_tests::{
    authoritative::Says,
    component_client::Behaviour,
    fake_peer::FakePeer,
    peer::dialback_request,
    world::{Daemon, TIMEOUT, World, nameserver},
};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinHandle,
    time::timeout,
};

/// A daemon that tries again soon.
fn hasty(domain: &str) -> Daemon {
    Daemon::serving(domain)
        .policy("tls = 'optional'\nauth = ['external', 'dialback']")
        .tables("[queue]\nbackoff = { first = '1s', max = '1s' }")
}

fn message(from: &str, to: &str, id: &str) -> String {
    format!("<message from='u@{from}' to='x@{to}' id='{id}'/>")
}

#[tokio::test]
async fn what_waits_goes_as_soon_as_the_system_names_a_server_that_answers() {
    let mut world = World::new().unwrap();
    world.start(hasty("here.test").resolv_conf()).await.unwrap();
    world.start(hasty("there.test")).await.unwrap();
    // As when a laptop wakes up elsewhere.
    let lost = Zone::new().fails("*");
    let lost = ZoneServer::start("127.0.0.1:0".parse().unwrap(), lost).unwrap();
    let name = |server: &ZoneServer| {
        let text = nameserver(server.addr());
        world.write("here.test", "resolv.conf", &text).unwrap();
    };
    name(&lost);
    let daemon = hasty("here.test").resolv_conf();
    world.reload(&daemon).unwrap();
    let mut here = world.component("here.test").await.unwrap();
    let mut there = world.component("there.test").await.unwrap();
    let mut asked = lost.watch();
    here.send(message("here.test", "there.test", "1"))
        .await
        .unwrap();
    asked.recv().await.unwrap();
    name(world.dns());
    let is_it = |stanza: &xmpp_stream::Element| stanza.id().as_deref() == Some("1");
    there
        .expect("the message", TIMEOUT * 3, is_it)
        .await
        .unwrap();
}

/// A place at which nobody says anything.
struct Silent {
    addr: SocketAddr,
    /// How many connections it took.
    took: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Silent {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Silent {
    /// It takes connections.
    async fn listening() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let took = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&took);
        let task = tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                held.push(stream);
            }
        });
        Self { addr, took, task }
    }

    /// It does not even do that: as many wait to be taken as may.
    async fn full() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let addr = listener.local_addr().unwrap();
        let mut held = Vec::new();
        while let Ok(stream) = timeout(Duration::from_millis(300), TcpStream::connect(addr)).await {
            held.push(stream.unwrap());
        }
        let task = tokio::spawn(async move {
            let _both = (listener, held);
            std::future::pending().await
        });
        Self {
            addr,
            took: Arc::default(),
            task,
        }
    }

    /// The zone leads here first, and then to where it led.
    fn before(&self, world: &mut World, service: &str, domain: &str, addr: SocketAddr) {
        let host = world.host(domain).unwrap();
        world.change_zone(|zone| {
            let plain = format!("_xmpp-server._tcp.{domain}");
            zone.without(&plain)
                .srv(&plain, 1, 0, addr.port(), &host)
                .srv(
                    &format!("{service}._tcp.{domain}"),
                    0,
                    0,
                    self.addr.port(),
                    &host,
                )
        });
    }
}

/// Of 20 seconds a silent place gets a quarter.
const IMPATIENT: &str = "[queue]\ngive_up = '20s'\nbackoff = { first = '1s', max = '1s' }\n\
                         [limits]\nconnect = '15s'\nnegotiation = '60s'\ndialback = '20s'";

fn impatient(domain: &str) -> Daemon {
    Daemon::serving(domain)
        .policy("tls = 'optional'\nauth = ['external', 'dialback']")
        .tables(IMPATIENT)
}

#[tokio::test]
async fn a_second_place_is_reached_in_time_where_the_first_says_nothing_and_is_tried_first_then() {
    let one = |service: &'static str, silent: Silent| async move {
        let mut world = World::new().unwrap();
        let daemon = impatient("here.test").and("also.test");
        world.start(daemon).await.unwrap();
        let server = world.listen("there.test").await.unwrap();
        let addr = server.addr().unwrap();
        silent.before(&mut world, service, "there.test", addr);
        let mut there = FakePeer::over(server, "there.test");
        let mut here = world.component("here.test").await.unwrap();
        let began = Instant::now();
        here.send(message("here.test", "there.test", "1"))
            .await
            .unwrap();
        let first = timeout(TIMEOUT * 2, there.next()).await;
        println!("{service}: {:?}", began.elapsed());
        first.unwrap().unwrap();
        let took = silent.took.load(Ordering::Relaxed);
        // Another pair, so another stream.
        let also = world
            .component_for("here.test", "also.test", Behaviour::Quiet)
            .await;
        let mut also = also.unwrap();
        also.send(message("also.test", "there.test", "2"))
            .await
            .unwrap();
        there.next().await.unwrap();
        assert_eq!(silent.took.load(Ordering::Relaxed), took);
    };
    tokio::join!(
        one("_xmpp-server", Silent::listening().await),
        one("_xmpps-server", Silent::listening().await),
        one("_xmpp-server", Silent::full().await),
    );
}

#[tokio::test]
async fn a_key_is_asked_about_at_the_second_place_where_the_first_says_nothing() {
    let mut world = World::new().unwrap();
    world.start(impatient("here.test")).await.unwrap();
    let server = world.authoritative("there.test", Says::Valid, None).await;
    let server = server.unwrap();
    let silent = Silent::listening().await;
    silent.before(&mut world, "_xmpp-server", "there.test", server.addr());
    let mut peer = world.connect("here.test").await.unwrap();
    peer.open("there.test", "here.test").await.unwrap();
    let mut peer = peer.with_timeout(TIMEOUT * 3);
    peer.send(dialback_request("there.test", "here.test", "key"))
        .await
        .unwrap();
    let answer = peer.expect(xmpp_stream::ns::DIALBACK, "result").await;
    assert_eq!(answer.unwrap().type_attr().as_deref(), Some("valid"));
    assert_eq!(silent.took.load(Ordering::Relaxed), 1);
}

/// The look-up as a whole takes 15 seconds until it fails.
#[tokio::test]
async fn a_name_server_that_never_answers_one_kind_of_question_holds_up_nothing() {
    let one = |domain: &'static str, silent: fn(Zone, &str) -> Zone| async move {
        let mut world = World::new().unwrap();
        let daemon = Daemon::serving("here.test")
            .policy("tls = 'optional'\nauth = ['external', 'dialback']")
            .tables("[queue]\ngive_up = '12s'");
        world.start(daemon).await.unwrap();
        let mut there = FakePeer::at(&mut world, domain).await.unwrap();
        let host = world.host(domain).unwrap();
        world.change_zone(|zone| silent(zone, &host));
        let mut here = world.component("here.test").await.unwrap();
        let began = Instant::now();
        here.send(message("here.test", domain, "1")).await.unwrap();
        let came = timeout(TIMEOUT, there.next()).await;
        println!("{domain}: {:?}", began.elapsed());
        came.unwrap().unwrap();
    };
    tokio::join!(
        one("aaaa.test", |zone, host| zone.silent_about(host, "AAAA")),
        one("xmpps.test", |zone, _| zone
            .silent("_xmpps-server._tcp.xmpps.test")),
    );
}

/// Whether the kernel has a timer of keep-alive on the connection between these ports, as seen from the first
/// (`/proc/net/tcp`).
#[cfg(target_os = "linux")]
fn is_watched(own: u16, other: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    table.lines().skip(1).any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let port = |word: &str| u16::from_str_radix(word.rsplit(':').next().unwrap(), 16).unwrap();
        // `01` while something is not acknowledged.
        (port(words[1]), port(words[2])) == (own, other) && words[5].starts_with("02:")
    })
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_kernel_watches_over_every_connection_whoever_made_it() {
    let mut world = World::new().unwrap();
    world.start(hasty("here.test")).await.unwrap();
    let raw = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let raw_addr = raw.local_addr().unwrap();
    world.lead("_xmpp-server", "there.test", raw_addr);
    let running = world.daemon("here.test").unwrap();
    let connect = async |to: SocketAddr| TcpStream::connect(to).await.unwrap();
    let server = connect(running.s2s[0]).await;
    let component = connect(running.components[0]).await;
    let mut here = world.component("here.test").await.unwrap();
    here.send(message("here.test", "there.test", "1"))
        .await
        .unwrap();
    let (_ours, outgoing) = raw.accept().await.unwrap();
    let mut pairs = vec![(outgoing.port(), raw_addr.port())];
    for stream in [&server, &component] {
        let ports = (
            stream.peer_addr().unwrap().port(),
            stream.local_addr().unwrap().port(),
        );
        pairs.push(ports);
    }
    let until = Instant::now() + TIMEOUT;
    for (own, other) in pairs {
        while !is_watched(own, other) {
            assert!(Instant::now() < until, "{own} to {other}");
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn what_may_not_have_arrived_when_a_connection_broke_is_counted_and_the_rest_goes_on() {
    let log = log::log();
    let mut world = World::new().unwrap();
    world.start(hasty("broke.test")).await.unwrap();
    let mut there = FakePeer::at(&mut world, "there.test").await.unwrap();
    let mut here = world.component("broke.test").await.unwrap();
    for id in ["1", "2", "3"] {
        here.send(message("broke.test", "there.test", id))
            .await
            .unwrap();
        there.next().await.unwrap();
    }
    // Without a word.
    drop(there);
    let mut there = FakePeer::at(&mut world, "there.test").await.unwrap();
    let counted = async {
        let parts = ["unknown=3", "remote=there.test", "3 stanzas at most"];
        while log.lines(&parts).is_empty() {
            tokio::task::yield_now().await;
        }
    };
    timeout(TIMEOUT, counted).await.unwrap();
    here.send(message("broke.test", "there.test", "4"))
        .await
        .unwrap();
    let arrived = there.next().await.unwrap();
    assert_eq!(arrived.stanza.id().as_deref(), Some("4"));
}
