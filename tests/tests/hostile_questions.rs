//! Questions to authoritative servers (XEP-0220 §2.1.2) are made by whoever sends a dialback key, so they are few, they are
//! shared, they end with their stream, and what came of them is told in one sentence.
#![allow(clippy::unwrap_used)]

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use s2sd_tests::{
    attack_setup::{self, message},
    authoritative::Says,
    background_traffic::BackgroundTraffic,
    component_client::ComponentClient,
    fake_peer::FakePeer,
    peer::{Peer, dialback_request},
    wire::{Event, Wire},
    world::{Daemon, RawServer, TIMEOUT, World},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};
use xmpp_dialback::{DialbackError, ErrorCondition, Question, Verdict, wire::Nonza};
use xmpp_stream::{Condition, DialbackFeature, Element, Features, ns};

const POLICY: &str = "tls = 'optional'\nauth = ['external', 'dialback']";
/// Far longer than a test may take.
const PATIENT: &str = "[limits]\ndialback = '300s'\nnegotiation = '300s'\n";

fn dialback() -> Features {
    Features::new().with_dialback(DialbackFeature::with_errors())
}

/// What was said of a key: the type, and of an error its condition and text.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Told {
    kind: String,
    condition: String,
    text: String,
}

fn told(answer: &Element) -> Told {
    let kind = answer.type_attr().unwrap_or_default().into_owned();
    let (mut condition, mut text) = (String::new(), String::new());
    let tree = answer.tree();
    for child in tree.elements().flat_map(|error| error.elements()) {
        match child.name.as_str() {
            "text" => text = child.text(),
            name => condition = name.to_owned(),
        }
    }
    Told {
        kind,
        condition,
        text,
    }
}

async fn result(peer: &mut Peer) -> Told {
    let answer = peer.expect(ns::DIALBACK, "result").await;
    told(&answer.unwrap_or_else(|why| panic!("{why:#}: {:#?}", peer.transcript())))
}

/// A stream from an address, after the features, of a peer that says it is this domain.
async fn open_from(world: &World, address: [u8; 4], from: &str) -> Peer {
    let listener = world.daemon("here.test").unwrap().s2s[0];
    let mut peer = Peer::over(Wire::over(connect(listener, address).await));
    peer.open(from, "here.test").await.unwrap();
    peer
}

async fn connect(listener: SocketAddr, from: [u8; 4]) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::from(from), 0).into()).unwrap();
    socket.connect(listener).await.unwrap()
}

/// The next question.
async fn question(there: &mut Peer) -> Question {
    let element = there.expect(ns::DIALBACK, "verify").await.unwrap();
    match Nonza::from_element(&element) {
        Some(Ok(Nonza::Question(question))) => question,
        other => panic!("no question: {other:?}"),
    }
}

async fn answer(there: &mut Peer, question: Question, verdict: Verdict) {
    let answer = Nonza::Answer {
        pair: question.pair,
        stream_id: question.stream_id,
        verdict,
    };
    there.send(answer.to_bytes()).await.unwrap();
}

/// Everybody who connects, and how many have.
fn everybody(server: RawServer) -> (mpsc::UnboundedReceiver<Peer>, Arc<AtomicUsize>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok(peer) = server.accept_at_leisure().await {
            counted.fetch_add(1, Ordering::AcqRel);
            if sender.send(peer).is_err() {
                return;
            }
        }
    });
    (receiver, count)
}

async fn next(connections: &mut mpsc::UnboundedReceiver<Peer>) -> Peer {
    timeout(TIMEOUT, connections.recv()).await.unwrap().unwrap()
}

/// The same, after its answer to our header.
async fn next_stream(connections: &mut mpsc::UnboundedReceiver<Peer>) -> Peer {
    let mut there = next(connections).await;
    there.answer_open("there", &dialback()).await.unwrap();
    there
}

/// A daemon that waits for long, attacked.
async fn patient() -> (World, BackgroundTraffic, ComponentClient) {
    let daemon = attack_setup::daemon().policy(POLICY).tables(PATIENT);
    attack_setup::start(daemon).await.unwrap()
}

async fn show_key(peer: &mut Peer, from: &str, to: &str, key: &str) {
    let key = dialback_request(from, to, key);
    peer.send(key).await.unwrap();
}

/// A number of the daemon's `/metrics`.
async fn metric(world: &World, name: &str) -> usize {
    let listener = world.daemon("here.test").unwrap().admin[0];
    let mut tcp = TcpStream::connect(listener).await.unwrap();
    tcp.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut text = String::new();
    let read = timeout(TIMEOUT, tcp.read_to_string(&mut text)).await;
    read.unwrap().unwrap();
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value
        .unwrap_or_else(|| panic!("{name}: {text}"))
        .parse()
        .unwrap()
}

/// Sooner or later.
async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !is().await {
        assert!(began.elapsed() < TIMEOUT, "{what}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn thirty_keys_for_one_domain_make_one_connection() {
    let daemon = attack_setup::daemon()
        .policy(POLICY)
        .tables(&format!("{PATIENT}inbound_per_domain = 40\n"));
    let (mut world, background_traffic, _component) = attack_setup::start(daemon).await.unwrap();
    let (mut connections, count) = everybody(world.listen("evil.test").await.unwrap());
    let mut peers = Vec::new();
    for _ in 0..30 {
        let mut peer = attack_setup::open(&world).await.unwrap();
        show_key(&mut peer, "evil.test", "here.test", "key").await;
        peers.push(peer);
    }
    let mut there = next_stream(&mut connections).await;
    let mut questions = Vec::new();
    for _ in 0..30 {
        questions.push(question(&mut there).await);
    }
    for question in questions {
        answer(&mut there, question, Verdict::Valid).await;
    }
    for peer in &mut peers {
        assert_eq!(result(peer).await.kind, "valid");
    }
    // Nothing is left to ask.
    there.expect_end().await.unwrap();
    assert_eq!(count.load(Ordering::Acquire), 1);
    assert_eq!(metric(&world, "s2sd_questions").await, 0);
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn each_answer_on_a_shared_stream_is_for_its_own_key_in_any_order() {
    let daemon = attack_setup::daemon()
        .and("two.test")
        .policy(POLICY)
        .tables(PATIENT);
    let (mut world, background_traffic, _component) = attack_setup::start(daemon).await.unwrap();
    let (mut connections, count) = everybody(world.listen("evil.test").await.unwrap());
    let item_not_found = DialbackError::new(ErrorCondition::ItemNotFound);
    let mut peers = HashMap::new();
    for (key, to) in [
        ("good", "here.test"),
        ("bad", "here.test"),
        ("unknown", "here.test"),
        ("other", "two.test"),
    ] {
        let mut peer = attack_setup::open(&world).await.unwrap();
        show_key(&mut peer, "evil.test", to, key).await;
        peers.insert(key, peer);
    }
    let mut there = next_stream(&mut connections).await;
    let mut questions = Vec::new();
    for _ in 0..peers.len() {
        questions.push(question(&mut there).await);
    }
    for question in questions.into_iter().rev() {
        let verdict = match question.key.as_str() {
            "good" | "other" => Verdict::Valid,
            "bad" => Verdict::Invalid,
            _ => Verdict::Error(item_not_found.clone()),
        };
        answer(&mut there, question, verdict).await;
    }
    for (key, mut peer) in peers {
        let want = match key {
            "good" | "other" => "valid",
            "bad" => "invalid",
            _ => "error",
        };
        assert_eq!(result(&mut peer).await.kind, want, "{key}");
    }
    assert_eq!(count.load(Ordering::Acquire), 1);
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn a_stream_that_ends_fails_every_key_that_waits_on_it_at_once() {
    let (mut world, background_traffic, _component) = patient().await;
    let (mut connections, _) = everybody(world.listen("evil.test").await.unwrap());
    let invalid_id = "<stream:error><invalid-id xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
                      </stream:error></stream:stream>";
    // Of several keys none is invalid because an old server says that one is, without saying which.
    for last_words in ["", "</stream:stream>", invalid_id, "no XML"] {
        let mut peers = Vec::new();
        for _ in 0..5 {
            let mut peer = attack_setup::open(&world).await.unwrap();
            show_key(&mut peer, "evil.test", "here.test", "key").await;
            peers.push(peer);
        }
        let mut there = next_stream(&mut connections).await;
        for _ in 0..5 {
            question(&mut there).await;
        }
        there.send(last_words).await.unwrap();
        drop(there);
        for peer in &mut peers {
            let told = result(peer).await;
            assert_eq!(told.condition, "remote-server-timeout", "{last_words}");
            peer.send(message("evil.test", "forged")).await.unwrap();
            attack_setup::is_refused(peer, Condition::NotAuthorized)
                .await
                .unwrap();
        }
    }
    background_traffic.was_well().await.unwrap();
}

/// XEP-0220 §2.1.2: the answer to a key whose stream is gone is dropped silently.
#[tokio::test]
async fn who_leaves_does_not_disturb_who_waits_on_the_same_stream() {
    let (mut world, background_traffic, _component) = patient().await;
    let (mut connections, count) = everybody(world.listen("evil.test").await.unwrap());
    let mut peers = Vec::new();
    for key in ["gone", "stays"] {
        let mut peer = attack_setup::open(&world).await.unwrap();
        show_key(&mut peer, "evil.test", "here.test", key).await;
        peers.push(peer);
    }
    let mut there = next_stream(&mut connections).await;
    let questions = [question(&mut there).await, question(&mut there).await];
    drop(peers.remove(0));
    until("the question of a stream that is gone stays", async || {
        metric(&world, "s2sd_questions").await == 1
    })
    .await;
    for question in questions {
        answer(&mut there, question, Verdict::Valid).await;
    }
    assert_eq!(result(&mut peers[0]).await.kind, "valid");
    there.expect_end().await.unwrap();
    assert_eq!(count.load(Ordering::Acquire), 1);
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn a_question_ends_while_its_stream_says_its_last_words() {
    let (mut world, background_traffic, _component) = patient().await;
    let (mut connections, _) = everybody(world.listen("evil.test").await.unwrap());
    let mut peer = attack_setup::open(&world).await.unwrap();
    show_key(&mut peer, "evil.test", "here.test", "key").await;
    let mut there = next_stream(&mut connections).await;
    question(&mut there).await;
    let began = Instant::now();
    peer.send(message("evil.test", "forged")).await.unwrap();
    // The peer does not close its side, and the daemon hears it out for five seconds.
    loop {
        match there.next().await.unwrap() {
            Event::Closed => break,
            Event::Footer => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(began.elapsed() < Duration::from_secs(4), "{began:?}");
    drop(peer);
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn a_stream_that_proved_nothing_has_four_keys_under_way_and_goes_on() {
    let (mut world, background_traffic, mut component) = patient().await;
    let mut silent = Vec::new();
    for number in 0..10 {
        let server = world.listen(&format!("d{number}.test")).await.unwrap();
        silent.push(everybody(server));
    }
    let mut peer = attack_setup::open(&world).await.unwrap();
    let key = |number| dialback_request(&format!("d{number}.test"), "here.test", "key");
    for number in 0..10 {
        peer.send(key(number)).await.unwrap();
    }
    for _ in 4..10 {
        let told = result(&mut peer).await;
        assert_eq!(told.condition, "resource-constraint");
        assert_eq!(told.text, "this server is busy; try again later");
    }
    // It was no failure: one more than are forgiven would have ended the stream. One of the four proves itself,
    let mut there = next_stream(&mut silent[2].0).await;
    let asked = question(&mut there).await;
    answer(&mut there, asked, Verdict::Valid).await;
    assert_eq!(result(&mut peer).await.kind, "valid");
    peer.send(message("d2.test", "proved")).await.unwrap();
    attack_setup::arrives(&mut component, "proved")
        .await
        .unwrap();
    // and then there is room for more.
    for number in 4..10 {
        peer.send(key(number)).await.unwrap();
    }
    let mut asked = Vec::new();
    for (connections, _) in &mut silent[4..10] {
        let mut there = next_stream(connections).await;
        question(&mut there).await;
        asked.push(there);
    }
    assert_eq!(metric(&world, "s2sd_questions").await, 9);
    drop(peer);
    until("questions outlive their stream", async || {
        metric(&world, "s2sd_questions").await == 0
    })
    .await;
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn a_network_has_so_many_keys_under_way_and_others_have_theirs() {
    let daemon = attack_setup::daemon().policy(POLICY).tables(&format!(
        "{PATIENT}questions = 40\nquestions_per_network = 6\n"
    ));
    let (mut world, background_traffic, _component) = attack_setup::start(daemon).await.unwrap();
    let mute = world.listen("mute.test").await.unwrap();
    let addr = mute.addr().unwrap();
    for number in 0..30 {
        world.lead("_xmpp-server", &format!("d{number}.test"), addr);
    }
    let good = FakePeer::at(&mut world, "good.test").await.unwrap();
    let mut domains = 0..;
    let mut attack = async |address: [u8; 4], keys: usize| {
        let mut peer = open_from(&world, address, "evil.test").await;
        for number in domains.by_ref().take(keys) {
            let key = dialback_request(&format!("d{number}.test"), "here.test", "key");
            peer.send(key).await.unwrap();
        }
        peer
    };
    let waiting = async |count| {
        until("not as many wait as should", async || {
            metric(&world, "s2sd_questions").await == count
        })
        .await;
    };
    let _first = attack([127, 1, 0, 1], 4).await;
    waiting(4).await;
    let mut second = attack([127, 1, 0, 1], 4).await;
    for _ in 0..2 {
        assert_eq!(result(&mut second).await.condition, "resource-constraint");
    }
    waiting(6).await;
    // From another address of the same /24 there is room for a few more, a quarter of all,
    let _third = attack([127, 1, 0, 2], 4).await;
    waiting(10).await;
    let mut fourth = attack([127, 1, 0, 3], 1).await;
    assert_eq!(result(&mut fourth).await.condition, "resource-constraint");
    // and whoever comes from elsewhere does not notice.
    let mut innocent = open_from(&world, [127, 2, 0, 1], "good.test").await;
    let verdict = innocent.dialback("good.test", "here.test", "key").await;
    assert_eq!(verdict.unwrap(), "valid");
    drop(good);
    background_traffic.was_well().await.unwrap();
}

/// The server accepts, and closes before it says a word.
#[tokio::test]
async fn a_server_that_is_not_reached_is_not_tried_again_for_each_key() {
    let daemon = attack_setup::daemon()
        .and("two.test")
        .policy(POLICY)
        .tables(PATIENT);
    let (mut world, background_traffic, _component) = attack_setup::start(daemon).await.unwrap();
    let server = world.listen("evil.test").await.unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let _closing = Task(tokio::spawn(async move {
        while let Ok(peer) = server.accept_at_leisure().await {
            counted.fetch_add(1, Ordering::AcqRel);
            drop(peer);
        }
    }));
    for _ in 0..20 {
        let mut peer = attack_setup::open(&world).await.unwrap();
        show_key(&mut peer, "evil.test", "here.test", "key").await;
        assert_eq!(result(&mut peer).await.condition, "remote-server-timeout");
    }
    // One, and one more for each five seconds that this took.
    assert!(count.load(Ordering::Acquire) <= 5, "{count:?}");
    // It might be that it does not like this domain of ours, so for another it is asked.
    let before = count.load(Ordering::Acquire);
    let mut peer = attack_setup::open(&world).await.unwrap();
    show_key(&mut peer, "evil.test", "two.test", "key").await;
    assert_eq!(result(&mut peer).await.condition, "remote-server-timeout");
    assert_eq!(count.load(Ordering::Acquire), before + 1);
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn a_key_that_is_longer_than_any_is_not_sent_to_anybody() {
    let (mut world, background_traffic, _component) = patient().await;
    let evil = world
        .authoritative("evil.test", Says::Valid, None)
        .await
        .unwrap();
    let mut peer = attack_setup::open(&world).await.unwrap();
    for (length, kind, condition) in [(1025, "error", "not-acceptable"), (1024, "valid", "")] {
        let key = "k".repeat(length);
        show_key(&mut peer, "evil.test", "here.test", &key).await;
        let told = result(&mut peer).await;
        assert_eq!(
            (told.kind.as_str(), told.condition.as_str()),
            (kind, condition)
        );
    }
    assert_eq!(evil.asked().len(), 1);
    background_traffic.was_well().await.unwrap();
}

/// A task that ends with the test.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A daemon with few descriptors.
fn poor(descriptors: usize) -> Daemon {
    attack_setup::daemon()
        .policy(POLICY)
        .tables(&format!("{PATIENT}descriptors = {descriptors}\n"))
}

/// So many connections from one network, each with as many keys as it may send, all for other domains.
async fn crowd(world: &World, connections: usize) -> Vec<Peer> {
    let mut peers = Vec::new();
    for connection in 0..connections {
        // One address has not so many places where there are few descriptors.
        let host = u8::try_from(connection % 4).unwrap();
        let mut peer = open_from(world, [127, 1, 0, 1 + host], "evil.test").await;
        let keys = (0..31).map(|key| {
            let from = format!("d{key}.c{connection}.evil.test");
            dialback_request(&from, "here.test", "key")
        });
        peer.send(keys.collect::<Vec<_>>().concat()).await.unwrap();
        peers.push(peer);
    }
    peers
}

/// A peer from elsewhere gets in, its dialback is verified, and what our component sends arrives.
async fn others_do_not_notice(world: &World, mut good: FakePeer, component: &mut ComponentClient) {
    let mut innocent = open_from(world, [127, 2, 0, 1], "good.test").await;
    let verdict = innocent.dialback("good.test", "here.test", "key").await;
    assert_eq!(verdict.unwrap(), "valid");
    innocent.send(message("good.test", "in")).await.unwrap();
    attack_setup::arrives(component, "in").await.unwrap();
    component
        .send("<message from='here.test' to='good.test' id='out'/>")
        .await
        .unwrap();
    let out = good.next().await.unwrap();
    assert_eq!(out.stanza.id().as_deref(), Some("out"));
}

#[tokio::test]
async fn keys_for_a_silent_port_leave_descriptors_to_everybody_else() {
    let (mut world, background_traffic, mut component) =
        attack_setup::start(poor(512)).await.unwrap();
    let good = FakePeer::at(&mut world, "good.test").await.unwrap();
    // It takes every connection, holds it, and says nothing.
    let mute = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = mute.local_addr().unwrap().port();
    let (held, count) = everybody_at(mute);
    world.change_zone(|zone| {
        let names = (0..40).flat_map(|c| (0..31).map(move |d| format!("d{d}.c{c}.evil.test")));
        names.fold(zone.a("mute.test", Ipv4Addr::LOCALHOST), |zone, name| {
            zone.srv(
                &format!("_xmpp-server._tcp.{name}"),
                0,
                0,
                port,
                "mute.test",
            )
        })
    });
    let mut peers = crowd(&world, 40).await;
    // The first has its four keys under way, and hears of the rest.
    for _ in 4..31 {
        assert_eq!(result(&mut peers[0]).await.condition, "resource-constraint");
    }
    others_do_not_notice(&world, good, &mut component).await;
    let questions = metric(&world, "s2sd_descriptors{share=\"questions\"}").await;
    assert!(questions <= 64, "{questions} descriptors");
    let count = count.load(Ordering::Acquire);
    assert!(
        (4..=64).contains(&count),
        "{count} connections to the silent port"
    );
    drop((peers, held));
    background_traffic.was_well().await.unwrap();
}

fn everybody_at(listener: TcpListener) -> (mpsc::UnboundedReceiver<TcpStream>, Arc<AtomicUsize>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::AcqRel);
            if sender.send(tcp).is_err() {
                return;
            }
        }
    });
    (receiver, count)
}

#[tokio::test]
async fn keys_of_domains_whose_dns_is_silent_leave_look_ups_to_everybody_else() {
    let (mut world, background_traffic, mut component) =
        attack_setup::start(poor(512)).await.unwrap();
    let good = FakePeer::at(&mut world, "good.test").await.unwrap();
    world.change_zone(|zone| {
        let names = (0..40).flat_map(|c| (0..31).map(move |d| format!("d{d}.c{c}.evil.test")));
        names.fold(zone, |zone, name| {
            ["_xmpp-server", "_xmpps-server"]
                .into_iter()
                .fold(zone, |zone, service| {
                    zone.silent(&format!("{service}._tcp.{name}"))
                })
        })
    });
    let mut peers = crowd(&world, 40).await;
    for _ in 4..31 {
        assert_eq!(result(&mut peers[0]).await.condition, "resource-constraint");
    }
    others_do_not_notice(&world, good, &mut component).await;
    let questions = metric(&world, "s2sd_descriptors{share=\"questions\"}").await;
    assert!(questions <= 64, "{questions} descriptors");
    drop(peers);
    background_traffic.was_well().await.unwrap();
}

/// Five eighths of what is not kept back are for servers that connect: 20 of 64, of which one is refused with, and two are
/// for hosts that are known.
#[tokio::test]
async fn when_descriptors_run_out_our_own_goes_on_and_who_leaves_makes_room() {
    let (mut world, mut background_traffic, mut component) =
        attack_setup::start(poor(64)).await.unwrap();
    let mut good = FakePeer::at(&mut world, "good.test").await.unwrap();
    let mut all = Vec::new();
    for site in 0..30 {
        all.extend(enter(&world, [127, 10 + site, 0, 1]).await);
    }
    // One is the background traffic's.
    assert_eq!(all.len(), 16);
    let taken = metric(&world, "s2sd_descriptors{share=\"servers\"}").await;
    assert!(taken <= 20, "{taken}");
    // Our own goes on: what is looked up, what is sent, who attaches.
    component
        .send("<message from='here.test' to='good.test' id='out'/>")
        .await
        .unwrap();
    assert_eq!(
        good.next().await.unwrap().stanza.id().as_deref(),
        Some("out")
    );
    background_traffic.is_well().await.unwrap();
    drop(world.component(s2sd_tests::background_traffic::HERE).await);
    all.truncate(8);
    until("there is room", async || {
        enter(&world, [127, 100, 0, 1]).await.is_some()
    })
    .await;
}

/// A stream from there, unless it was closed without a word.
async fn enter(world: &World, address: [u8; 4]) -> Option<Peer> {
    let listener = world.daemon("here.test").unwrap().s2s[0];
    let mut peer = Peer::over(Wire::over(connect(listener, address).await));
    // It may be closed by now.
    let _ = peer.send_header(Some("evil.test"), "here.test").await;
    peer.expect_header().await.is_ok().then_some(peer)
}

#[tokio::test]
async fn a_stranger_hears_a_condition_and_one_sentence_of_what_its_key_made_us_do() {
    let daemon = attack_setup::daemon()
        .policy("tls = 'required'\nauth = ['external', 'dialback']\nverify = 'dialback'")
        .tables("[limits]\ndialback = '1s'\n");
    let (mut world, background_traffic, _component) = attack_setup::start(daemon).await.unwrap();
    drop(world.listen("closed.test").await.unwrap());
    world.change_zone(|zone| {
        zone.service_absent("_xmpp-server._tcp.absent.test")
            .fails("_xmpp-server._tcp.failing.test")
            .fails("_xmpps-server._tcp.failing.test")
    });
    let _mute = world.listen("mute.test").await.unwrap();
    let _plain = world.authoritative("plain.test", Says::Valid, None).await;
    let banner = world.listen("ssh.test").await.unwrap();
    let _ssh = Task(tokio::spawn(async move {
        let mut peer = banner.accept_at_leisure().await.unwrap();
        peer.send("SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")
            .await
            .unwrap();
        while let Ok(Event::Header(_) | Event::Element(_)) = peer.next().await {}
    }));
    let not_found = "the authoritative server was not found";
    let no_connection = "no connection to the authoritative server could be made";
    let no_answer = "the authoritative server did not answer";
    for (domain, condition, text) in [
        ("unknown.test", "remote-server-not-found", not_found),
        ("absent.test", "remote-server-not-found", not_found),
        ("failing.test", "remote-server-timeout", no_answer),
        ("closed.test", "remote-connection-failed", no_connection),
        ("plain.test", "remote-connection-failed", no_connection),
        ("mute.test", "remote-server-timeout", no_answer),
        ("ssh.test", "remote-server-timeout", no_answer),
    ] {
        // The second time it is remembered, and sounds the same.
        for _ in 0..2 {
            let mut peer = world.connect("here.test").await.unwrap();
            peer.open(domain, "here.test").await.unwrap();
            peer.starttls("here.test", None).await.unwrap();
            peer.open(domain, "here.test").await.unwrap();
            show_key(&mut peer, domain, "here.test", "key").await;
            let told = result(&mut peer).await;
            let said = (told.condition.as_str(), told.text.as_str());
            assert_eq!(said, (condition, text), "{domain}");
        }
    }
    background_traffic.was_well().await.unwrap();
}
