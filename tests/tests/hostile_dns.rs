//! A stranger who owns a domain and its DNS: what its answers cost, where they lead, and what it hears of that. One test
//! at a time, because memory is that of the whole process.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

#[path = "log/mod.rs"]
mod log;

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use s2sd::tools::demo::ca::Leaf;
use s2sd_tests::{
    authoritative::Says,
    component_client::ComponentClient,
    peer::{Peer, dialback_request},
    tls::TlsIdentity,
    wire::Event,
    world::{Daemon, RawServer, TIMEOUT, World},
};
use tokio::{
    net::TcpListener,
    sync::{Mutex, MutexGuard, broadcast::Receiver},
    time::timeout,
};
use xmpp_stream::{Condition, ns};

/// What this process has in memory, in KiB.
fn resident() -> i64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}

/// How many descriptors this process has open.
fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

async fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::const_new(());
    ALONE.lock().await
}

async fn here(policy: &str) -> World {
    let mut world = World::new().unwrap();
    let daemon = Daemon::serving("here.test")
        .policy("tls = 'optional'\nauth = ['external', 'dialback']")
        .policy(policy);
    world.start(daemon).await.unwrap();
    world
}

/// A stream of nobody's, on which keys may be shown.
async fn nobody(world: &World) -> Peer {
    nobody_from(world, Ipv4Addr::LOCALHOST).await
}

async fn nobody_from(world: &World, source: Ipv4Addr) -> Peer {
    let listener = world.daemon("here.test").unwrap().s2s[0];
    let mut peer = Peer::connect_from(source, listener).await.unwrap();
    peer.send_header(None, "here.test").await.unwrap();
    peer.expect_header().await.unwrap();
    peer.expect_features().await.unwrap();
    peer.with_timeout(TIMEOUT * 6)
}

async fn shows_key(peer: &mut Peer, domain: &str) {
    let request = dialback_request(domain, "here.test", "key");
    peer.send(request).await.unwrap();
}

/// Shows keys for these domains, one stream for each 8, and waits for all answers: their texts.
async fn shows_keys(world: &World, domains: &[String]) -> Vec<String> {
    let mut heard = Vec::new();
    for domains in domains.chunks(8) {
        let mut peer = nobody(world).await;
        for domain in domains {
            shows_key(&mut peer, domain).await;
        }
        for _ in domains {
            match peer.next().await.unwrap() {
                Event::Element(answer) => {
                    heard.push(String::from_utf8_lossy(answer.bytes()).into_owned())
                }
                other => panic!("{other:?}"),
            }
        }
    }
    heard
}

const DAY: u32 = 24 * 60 * 60;

fn many(from: usize, count: usize) -> Vec<String> {
    let domain = |n| format!("d{n}.evil.test");
    (from..from + count).map(domain).collect()
}

#[tokio::test]
async fn large_answers_of_the_dns_leave_little_in_memory() {
    let _alone = alone().await;
    let mut world = here("").await;
    world.change_zone(|mut zone| {
        for n in 0..800 {
            zone = zone.srv("*.evil.test", n, 0, 5269, &format!("n{n}.x.test"));
        }
        zone.ttl(DAY)
    });
    shows_keys(&world, &many(0, 16)).await;
    let before = resident();
    shows_keys(&world, &many(100, 160)).await;
    let by = resident() - before;
    println!("160 domains, two answers of 800 records each: {by} KiB");
    // 48,888 when all was kept.
    assert!(by < 10 << 10, "{by} KiB");
}

/// A listener on every address of loopback that takes connections and closes them, and counts.
async fn listeners() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicUsize::new(0));
    let knocks = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            knocks.fetch_add(1, Ordering::Relaxed);
            drop(stream);
        }
    });
    (port, count)
}

#[tokio::test]
async fn one_key_makes_sixteen_connections_at_most() {
    let _alone = alone().await;
    let mut world = here("").await;
    let (port, knocks) = listeners().await;
    world.change_zone(|mut zone| {
        for host in 0..24u8 {
            let name = format!("host{host}.evil.test");
            let [service, address] = ["_xmpp-server._tcp.evil.test", &name];
            zone = zone
                .srv(service, 0, 0, port, &name)
                .a(address, [127, 9, 9, host].into());
        }
        zone
    });
    shows_keys(&world, &["evil.test".to_owned()]).await;
    // As many as there are places: 24.
    assert_eq!(knocks.load(Ordering::Relaxed), 16);
}

#[tokio::test]
async fn the_keys_of_one_connection_make_sixteen_connections_and_one_with_each_second() {
    let _alone = alone().await;
    let mut world = here("").await;
    let (port, knocks) = listeners().await;
    world.change_zone(|mut zone| {
        for host in 0..24u8 {
            let name = format!("host{host}.many.test");
            zone = zone
                .srv("*.many.test", 0, 0, port, &name)
                .a(&name, [127, 9, 9, host].into());
        }
        zone
    });
    let began = Instant::now();
    let domain = |n| format!("d{n}.many.test");
    shows_keys(&world, &(0..16).map(domain).collect::<Vec<_>>()).await;
    let count = knocks.load(Ordering::Relaxed);
    println!("16 keys: {count} connections");
    // Two streams, each with 16 and one more with each second; 72 when only their site had a bound.
    let with_time = usize::try_from(began.elapsed().as_secs()).unwrap();
    assert!(count <= 2 * (16 + with_time + 1), "{count}");
    let mut peer = nobody_from(&world, Ipv4Addr::new(127, 3, 0, 1)).await;
    shows_key(&mut peer, "d99.many.test").await;
    peer.expect(ns::DIALBACK, "result").await.unwrap();
    assert_eq!(knocks.load(Ordering::Relaxed) - count, 16);
}

/// Each of the hosts is the first of two hundred aliases, of which a message shows eight.
#[tokio::test]
async fn aliases_without_end_are_asked_for_a_few_times_and_not_for_ever() {
    let _alone = alone().await;
    let mut world = here("").await;
    world.change_zone(|mut zone| {
        for host in 0..24u8 {
            let name = |n| format!("n{n}.host{host}.evil.test");
            zone = zone.srv("_xmpp-server._tcp.evil.test", 0, 0, 5269, &name(0));
            for n in 0..200 {
                zone = zone.cname(&name(n), &name(n + 1));
            }
        }
        zone
    });
    shows_keys(&world, &["evil.test".to_owned()]).await;
    let asked = world.dns().asked();
    let count = asked.iter().filter(|line| line.contains(".host")).count();
    println!("{count} questions");
    // Four for each host and family; 432 when nine were.
    assert!((1..=24 * 2 * 4).contains(&count), "{count}");
}

#[tokio::test]
async fn a_flood_of_addresses_that_refuse_makes_few_connections_and_one_short_line() {
    let _alone = alone().await;
    let log = log::log();
    let mut world = here("").await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    world.change_zone(|mut zone| {
        for host in 0..24u8 {
            let name = format!("host{host}.flood.test");
            zone = zone.srv("_xmpp-server._tcp.flood.test", 0, 0, port, &name);
            for n in 0..1000u16 {
                let [high, low] = n.to_be_bytes();
                zone = zone.a(&name, [127, 1 + host, high, low].into());
            }
        }
        zone
    });
    let heard = shows_keys(&world, &["flood.test".to_owned()]).await;
    assert!(heard[0].len() < 512, "{}", heard[0]);
    // Two places with eight addresses each are sixteen connections; 23,425 when all were tried.
    let line = log.line(&["failed: no connection", "remote=flood.test"]);
    assert!(line.contains("; and 5 more)"), "{line}");
    assert!(line.len() < 512, "{line}");
}

const GRACE: Duration = Duration::from_millis(200);

async fn send(here: &mut ComponentClient, to: &str) {
    let message = format!("<message from='{}' to='x@{to}' id='1'/>", here.address());
    here.send(message).await.unwrap();
}

/// A message to this domain makes a stream to its server.
async fn reaches(server: &RawServer, here: &mut ComponentClient, domain: &str) -> Peer {
    send(here, domain).await;
    server.accept().await.unwrap()
}

/// The most descriptors that are open until three seconds after `began`.
async fn most_descriptors(watch: &mut Receiver<String>, began: Instant) -> usize {
    let mut most = 0;
    while began.elapsed() < Duration::from_secs(3) {
        most = most.max(descriptors());
        let _ = timeout(GRACE, watch.recv()).await;
    }
    most
}

/// What comes back to a component for a message to this domain: the condition and the text.
async fn comes_back(world: &World, to: &str) -> (String, String) {
    let mut here = world.component("here.test").await.unwrap();
    send(&mut here, to).await;
    let error = here.expect("the error", TIMEOUT, |_| true).await.unwrap();
    let tree = error.tree();
    let error = tree.elements().find(|child| child.name == "error").unwrap();
    let condition = error.elements().next().unwrap().name.clone();
    let text = error.child(ns::STANZA_ERRORS, "text").unwrap().text();
    (condition, text)
}

/// Neither a stranger's key nor our own message leads there; we are told why, with the key, and the stranger is not.
#[tokio::test]
async fn nobodys_dns_leads_to_our_inside() {
    let _alone = alone().await;
    let mut world = here("addresses = 'public'").await;
    let (port, knocks) = listeners().await;
    for (domain, host, address, kind) in [
        ("a.evil.test", "x.a.evil.test", "127.0.0.1", "loopback"),
        (
            "b.evil.test",
            "x.b.evil.test",
            "::ffff:127.0.0.1",
            "loopback",
        ),
        ("c.evil.test", "x.c.evil.test", "0.0.0.0", "unspecified"),
        (
            "d.evil.test",
            "x.d.evil.test",
            "169.254.169.254",
            "link-local",
        ),
        ("e.evil.test", "x.e.evil.test", "10.0.0.1", "private"),
    ] {
        let ip: IpAddr = address.parse().unwrap();
        world.change_zone(|zone| {
            zone.srv(&format!("_xmpp-server._tcp.{domain}"), 0, 0, port, host)
                .address(host, ip)
        });
        let heard = shows_keys(&world, &[domain.to_owned()]).await;
        assert!(heard[0].contains("type='error'"), "{}", heard[0]);
        let (condition, text) = comes_back(&world, domain).await;
        assert_eq!(condition, "policy-violation", "{text}");
        let reason = format!("({kind}) left out by `addresses = \"public\"` in [policy]");
        assert!(text.contains(&reason), "{text}");
    }
    // The domain itself, where it has no SRV records.
    world.change_zone(|zone| zone.a("f.evil.test", [127, 0, 0, 1].into()));
    let (condition, text) = comes_back(&world, "f.evil.test").await;
    assert_eq!(condition, "policy-violation", "{text}");
    let (condition, text) = comes_back(&world, "localhost").await;
    assert_eq!(condition, "policy-violation", "{text}");
    assert_eq!(knocks.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn an_address_or_localhost_in_an_srv_record_is_no_place_even_where_all_addresses_are_allowed()
{
    let _alone = alone().await;
    let mut world = here("addresses = 'any'").await;
    let (port, knocks) = listeners().await;
    for (n, target) in ["127.0.0.1", "localhost", "x.localhost"]
        .into_iter()
        .enumerate()
    {
        let domain = format!("d{n}.evil.test");
        let service = format!("_xmpp-server._tcp.{domain}");
        world.change_zone(|zone| zone.srv(&service, 0, 0, port, target));
        shows_keys(&world, std::slice::from_ref(&domain)).await;
        let (condition, text) = comes_back(&world, &domain).await;
        assert_eq!(condition, "remote-server-not-found", "{text}");
        let reason = format!("lead to {target}, which is no name of a machine");
        assert!(text.contains(&reason), "{text}");
    }
    assert_eq!(knocks.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn an_ip_address_is_no_domain_unless_a_peer_entry_is_for_it() {
    let _alone = alone().await;
    let mut world = World::new().unwrap();
    let daemon = Daemon::serving("here.test")
        .policy("tls = 'optional'")
        .tables("[[peer]]\ndomain = '127.0.0.3'\n");
    world.start(daemon).await.unwrap();
    for address in ["127.0.0.1", "[::1]", "192.0.2.1"] {
        let mut peer = world.connect("here.test").await.unwrap();
        peer.send_header(Some(address), "here.test").await.unwrap();
        peer.expect_header().await.unwrap();
        let error = peer.expect_stream_error().await.unwrap();
        assert_eq!(error.condition, Condition::PolicyViolation, "{address}");
        let heard = shows_keys(&world, &[address.to_owned()]).await;
        assert!(heard[0].contains("policy-violation"), "{}", heard[0]);
        let (condition, text) = comes_back(&world, address).await;
        assert_eq!(condition, "policy-violation", "{text}");
        assert!(text.contains("no [[peer]] is for it"), "{text}");
    }
    let mut peer = world.connect("here.test").await.unwrap();
    peer.open("127.0.0.3", "here.test").await.unwrap();
    assert!(peer.expect_nothing(GRACE).await.is_ok());
}

/// What one owner's silent name servers cost: few sockets, and nobody else's time.
#[tokio::test]
async fn name_servers_that_say_nothing_hold_few_sockets_and_delay_nobody_else() {
    let _alone = alone().await;
    let mut world = here("").await;
    world.change_zone(|zone| zone.silent("*.evil.test"));
    let own = world.listen("own.test").await.unwrap();
    let mut streams = Vec::new();
    let mut watch = world.dns().watch();
    for n in 0..20 {
        let mut peer = nobody_from(&world, Ipv4Addr::new(127, 7, 7, 7)).await;
        for domain in many(n * 20, 20) {
            shows_key(&mut peer, &domain).await;
        }
        streams.push(peer);
    }
    let before = descriptors();
    // The first look-ups are under way.
    while !watch.recv().await.unwrap().contains("evil.test") {}
    let began = Instant::now();
    // The fake peer's own domain is found, for a stranger and for us.
    let other = world.authoritative("other.test", Says::Valid, None).await;
    let heard = shows_keys(&world, &["other.test".to_owned()]).await;
    assert!(heard[0].contains("type='valid'"), "{}", heard[0]);
    assert_eq!(other.unwrap().asked().len(), 1);
    let mut here = world.component("here.test").await.unwrap();
    let _own = reaches(&own, &mut here, "own.test").await;
    println!("found in {:?}", began.elapsed());
    let most = most_descriptors(&mut watch, began).await;
    println!("400 keys, silent name servers: {before} descriptors, then {most}");
    // 64 keys are looked at, with two look-ups for each, each with two sockets: 256.
    assert!(most < before + 60, "{before}, {most}");
}

/// A key for `other.test` on a stream of its own.
async fn is_verified_soon(world: &World) {
    let began = Instant::now();
    let heard = shows_keys(world, &["other.test".to_owned()]).await;
    let took = began.elapsed();
    println!("verified in {took:?}: {heard:?}");
    assert!(heard[0].contains("type='valid'"), "{}", heard[0]);
    assert!(took < Duration::from_secs(4), "{took:?}");
}

/// 128 keys of as many owners from one network: 256 look-ups without an answer, 12 at one time, each of five seconds.
#[tokio::test]
async fn look_ups_for_one_network_delay_none_for_another() {
    let _alone = alone().await;
    let mut world = here("").await;
    world
        .change_zone(|zone| (0..128).fold(zone, |zone, n| zone.silent(&format!("*.evil{n}.test"))));
    let other = world.authoritative("other.test", Says::Valid, None).await;
    let mut watch = world.dns().watch();
    let mut streams = Vec::new();
    for n in 0..32 {
        let mut peer = nobody_from(&world, Ipv4Addr::new(127, 7, 7, 1 + n % 2)).await;
        for key in 0..4 {
            let from = format!("d.evil{}.test", u32::from(n) * 4 + key);
            shows_key(&mut peer, &from).await;
        }
        streams.push(peer);
    }
    for _ in 0..12 {
        while !watch.recv().await.unwrap().contains("evil") {}
    }
    is_verified_soon(&world).await;
    assert_eq!(other.unwrap().asked().len(), 1);
}

/// 60 keys of as many owners from one address, and then four of a domain that is another's: what these make us look up
/// waits behind the rest, and whoever has the domain does not.
#[tokio::test]
async fn who_waits_for_its_own_look_ups_takes_nobody_elses_keys_along() {
    let _alone = alone().await;
    let mut world = here("").await;
    world.change_zone(|zone| (0..60).fold(zone, |zone, n| zone.silent(&format!("*.evil{n}.test"))));
    let other = world.authoritative("other.test", Says::Valid, None).await;
    let mut watch = world.dns().watch();
    let mut evil = (0..60).map(|n| format!("d.evil{n}.test"));
    let mut streams = Vec::new();
    for n in 0..16 {
        let mut peer = nobody_from(&world, Ipv4Addr::new(127, 7, 7, 7)).await;
        let keys: Vec<String> = match n {
            15 => ["", "x.", "y.", "z."]
                .map(|sub| format!("{sub}other.test"))
                .into(),
            _ => evil.by_ref().take(4).collect(),
        };
        for from in keys {
            shows_key(&mut peer, &from).await;
        }
        // What is answered at once comes after what was said before.
        let question = "<db:verify from='x.test' to='here.test' id='1'>key</db:verify>";
        peer.send(question).await.unwrap();
        let answer = peer.next().await.unwrap();
        assert!(matches!(answer, Event::Element(_)), "{answer:?}");
        streams.push(peer);
    }
    while !watch.recv().await.unwrap().contains("evil") {}
    is_verified_soon(&world).await;
    assert!(other.is_ok());
}

/// Of 256 descriptors 64 are kept back, two thirds of them for look-ups: 5 at one time, of which one is ours.
#[tokio::test]
async fn where_there_are_few_descriptors_there_are_few_look_ups_at_one_time() {
    let _alone = alone().await;
    let mut world = World::new().unwrap();
    let daemon = Daemon::serving("here.test")
        .policy("tls = 'optional'\nauth = ['external', 'dialback']")
        .tables("[limits]\ndescriptors = 256\n");
    world.start(daemon).await.unwrap();
    world.change_zone(|zone| (0..12).fold(zone, |zone, n| zone.silent(&format!("*.evil{n}.test"))));
    let own = world.listen("own.test").await.unwrap();
    let mut here = world.component("here.test").await.unwrap();
    let mut watch = world.dns().watch();
    let mut streams = Vec::new();
    let listener = world.daemon("here.test").unwrap().s2s[0];
    for n in 0..12 {
        let source = Ipv4Addr::new(127, n, 7, 1);
        let mut peer = Peer::connect_from(source, listener).await.unwrap();
        let from = format!("d.evil{n}.test");
        peer.open(&from, "here.test").await.unwrap();
        streams.push((peer, from));
    }
    let before = descriptors();
    for (peer, from) in &mut streams {
        shows_key(peer, from).await;
    }
    while !watch.recv().await.unwrap().contains("evil") {}
    let _own = reaches(&own, &mut here, "own.test").await;
    let most = most_descriptors(&mut watch, Instant::now()).await;
    println!("24 look-ups without an answer: {before} descriptors, then {most}");
    // Two look-ups for each key, with four sockets each for one name server: 96.
    assert!(most < before + 40, "{before}, {most}");
}

#[tokio::test]
async fn that_a_name_server_did_not_answer_is_remembered_for_the_next_stranger() {
    let _alone = alone().await;
    let mut world = here("").await;
    world.change_zone(|zone| {
        zone.fails("_xmpp-server._tcp.evil.test")
            .fails("_xmpps-server._tcp.evil.test")
    });
    let keys = ["evil.test".to_owned()];
    let first = shows_keys(&world, &keys).await;
    let asked = world.dns().asked().len();
    assert!(asked > 0);
    assert_eq!(shows_keys(&world, &keys).await, first);
    assert_eq!(world.dns().asked().len(), asked);
    // For ourselves we look again: the zone is in order now.
    let raw = world.listen("evil.test").await.unwrap();
    let mut here = world.component("here.test").await.unwrap();
    reaches(&raw, &mut here, "evil.test").await;
}

/// Two registered domains with a certificate for all of their names, whose name servers say nothing: we answer sixteen
/// names of each.
#[tokio::test]
async fn answers_to_names_that_no_name_server_knows_delay_no_stanza_of_ours() {
    let _alone = alone().await;
    let mut world = World::new().unwrap();
    let daemon = Daemon::serving("here.test").and("away.test");
    world
        .start(daemon.policy("tls = 'optional'"))
        .await
        .unwrap();
    let own = world.listen("own.test").await.unwrap();
    let mut component = world.component("here.test").await.unwrap();
    let mut watch = world.dns().watch();
    let mut streams = Vec::new();
    for domain in ["evil.test", "evil2.test"] {
        world.change_zone(|zone| zone.silent(&format!("*.{domain}")));
        let leaf = Leaf::domain(domain).dns(&format!("*.{domain}"));
        let identity = TlsIdentity::from(&world.issue(&leaf));
        let mut peer = world.connect("here.test").await.unwrap();
        peer.open(domain, "away.test").await.unwrap();
        peer.starttls("away.test", Some(&identity)).await.unwrap();
        peer.open(domain, "away.test").await.unwrap();
        for n in 0..16 {
            let from = format!("s{n}.{domain}");
            let verdict = peer.dialback(&from, "away.test", "key").await.unwrap();
            assert_eq!(verdict, "valid");
            let ping = format!(
                "<iq type='get' id='1' from='{from}' to='away.test'><ping xmlns='urn:xmpp:ping'/></iq>"
            );
            peer.send(ping).await.unwrap();
        }
        streams.push(peer);
    }
    while !watch.recv().await.unwrap().contains("evil2") {}
    let began = Instant::now();
    reaches(&own, &mut component, "own.test").await;
    let took = began.elapsed();
    println!("connected after {took:?}");
    assert!(took < Duration::from_secs(4), "{took:?}");
}

/// The same by stanzas of our component, which may be answers too: a domain whose names have no answer delays no other.
#[tokio::test]
async fn stanzas_to_many_names_of_silent_owners_delay_no_stanza_to_another() {
    let _alone = alone().await;
    let mut world = here("").await;
    let own = world.listen("own.test").await.unwrap();
    let mut component = world.component("here.test").await.unwrap();
    let mut watch = world.dns().watch();
    for domain in ["evil.test", "evil2.test"] {
        world.change_zone(|zone| zone.silent(&format!("*.{domain}")));
        for n in 0..16 {
            let message = format!("<message from='u@here.test' to='v@s{n}.{domain}'/>");
            component.send(message).await.unwrap();
        }
    }
    while !watch.recv().await.unwrap().contains("evil2") {}
    let began = Instant::now();
    reaches(&own, &mut component, "own.test").await;
    let took = began.elapsed();
    println!("connected after {took:?}");
    assert!(took < Duration::from_secs(4), "{took:?}");
}
