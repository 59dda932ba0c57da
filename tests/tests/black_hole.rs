//! A peer or a component that is gone without a word: its machine has lost its power, or the way there is a black hole. Nothing
//! ends the connection, and nothing comes back.
#![allow(clippy::unwrap_used)]

#[path = "log/mod.rs"]
#[allow(dead_code)]
mod log;

use std::time::{Duration, Instant};

use s2sd_tests::{
    component,
    component_client::{Behaviour, ComponentClient},
    fake_peer::FakePeer,
    networks::{Loss, NEAR, Networks},
    peer::Peer,
    wire::Wire,
    world::{Daemon, RawServer, SECRET, TIMEOUT, World},
};
use tokio::time::{interval, timeout};

use self::log::Log;

/// The kernel gives up after two seconds; this is how long a busy machine may take to notice.
const NOTICED: Duration = Duration::from_secs(60);
/// As many as fill what the kernel takes, twice.
const MESSAGES: usize = 1000;

fn daemon(domain: &str) -> Daemon {
    Daemon::serving(domain)
        .at(NEAR)
        .without_tls()
        .tables("[limits]\nstall = '2s'\nkeepalive = '2s'\nconnect = '2s'\nnegotiation = '5s'\ninbound_per_address = 64\n")
        .tables("[queue]\nbackoff = { first = '1s', max = '1s' }\n")
}

/// A message of four thousand bytes.
fn message(from: &str, to: &str, id: usize) -> String {
    let body = "x".repeat(4000);
    format!("<message from='u@{from}' to='x@{to}' id='{id}'><body>{body}</body></message>")
}

/// Two networks, and a daemon in the near one. `None`: we may not make them here.
async fn start(daemon: Daemon) -> Option<(Networks, World)> {
    let networks = Networks::new().unwrap()?;
    networks.enter().unwrap();
    let mut world = World::new().unwrap();
    world.start(daemon).await.unwrap();
    Some((networks, world))
}

/// A component in the near network, on the daemon that serves `daemon`.
async fn near_component(world: &World, daemon: &str, domain: &str) -> ComponentClient {
    let listener = world.daemon(daemon).unwrap().components[0];
    let wire = component::attach(listener, domain, SECRET, TIMEOUT).await;
    ComponentClient::over(wire.unwrap(), domain.to_owned(), Behaviour::Quiet)
}

/// A neighbour in the far network.
fn far_peer(networks: &Networks, world: &mut World, domain: &str) -> FakePeer {
    let listener = networks.listen().unwrap();
    world.lead("_xmpp-server", domain, listener.local_addr().unwrap());
    FakePeer::over(RawServer::over(listener), domain)
}

/// A component in the far network.
async fn far_component(networks: &Networks, world: &World, domain: &str) -> ComponentClient {
    let listener = world.daemon(domain).unwrap().components[0];
    let wire = Wire::over(networks.connect(listener.port()).unwrap());
    let wire = component::attach_over(wire, domain, SECRET, TIMEOUT).await;
    ComponentClient::over(wire.unwrap(), domain.to_owned(), Behaviour::Quiet)
}

/// Waits for a line of the log with all of these.
async fn line(log: &Log, parts: &[&str]) -> String {
    let said = async {
        let mut looks = interval(Duration::from_millis(20));
        while log.lines(parts).is_empty() {
            looks.tick().await;
        }
    };
    let said = timeout(NOTICED, said).await;
    said.unwrap_or_else(|_| panic!("no line with {parts:?}"));
    log.line(parts)
}

/// Sends all but the first three messages to the vanished end: how many the log says may not have arrived.
async fn unknown(
    log: &Log,
    here: &mut ComponentClient,
    (from, to): (&str, &str),
    about: &str,
) -> usize {
    let lost = Instant::now();
    for id in 4..=MESSAGES {
        here.send(message(from, to, id)).await.unwrap();
    }
    let line = line(log, &["WARN", about, "the connection broke", "unknown="]).await;
    let took = lost.elapsed();
    println!("noticed after {took:?}: {line}");
    assert!(took >= Duration::from_secs(1), "{took:?}");
    let (_, rest) = line.split_once("unknown=").unwrap();
    let number = rest.split(' ').next().unwrap();
    number.parse().unwrap()
}

fn id(stanza: &xmpp_stream::Element) -> usize {
    stanza.id().unwrap().parse().unwrap()
}

#[tokio::test]
async fn what_a_vanished_peer_did_not_take_arrives_by_the_next_stream_and_the_rest_is_counted() {
    let log = log::log();
    for (loss, domain) in [
        (Loss::OnTheWay, "way.test"),
        (Loss::OfTheMachine, "off.test"),
    ] {
        let Some((networks, mut world)) = start(daemon(domain)).await else {
            return;
        };
        let far = format!("far-{domain}");
        let mut there = far_peer(&networks, &mut world, &far);
        let mut here = near_component(&world, domain, domain).await;
        for id in 1..=3 {
            here.send(message(domain, &far, id)).await.unwrap();
            there.next().await.unwrap();
        }
        networks.lose(loss).unwrap();
        let unknown = unknown(&log, &mut here, (domain, &far), &far).await;
        networks.join().unwrap();
        // What the kernel had taken is lost, and counted, but for what is still on the way when that is there again. What it had
        // not taken comes, all of it and in order.
        let (mut late, mut next) = (Vec::new(), Vec::new());
        while next.last() != Some(&MESSAGES) {
            let arrived = there.next().await.unwrap();
            let to = if arrived.connection == 0 {
                &mut late
            } else {
                &mut next
            };
            to.push(id(&arrived.stanza));
        }
        let first = next[0];
        assert_eq!(next, (first..=MESSAGES).collect::<Vec<_>>());
        assert!(
            late.iter().all(|late| *late < first),
            "{late:?}, then {first}"
        );
        let gone = first - 4;
        println!(
            "{loss:?}: {gone} are lost, {} went on",
            MESSAGES + 1 - first
        );
        // The three from before may count too.
        assert!((gone..=gone + 3).contains(&unknown), "{gone} of {unknown}");
        assert!(gone > 0 && first < MESSAGES, "{first}");
    }
}

#[tokio::test]
async fn what_a_vanished_component_did_not_take_goes_back_and_the_rest_is_counted() {
    let log = log::log();
    for (loss, domain) in [
        (Loss::OnTheWay, "part.test"),
        (Loss::OfTheMachine, "cord.test"),
    ] {
        let near = format!("near-{domain}");
        let Some((networks, world)) = start(daemon(domain).and(&near)).await else {
            return;
        };
        let mut far = far_component(&networks, &world, domain).await;
        let mut here = near_component(&world, domain, &near).await;
        let any = |_: &xmpp_stream::Element| true;
        for number in 1..=3 {
            here.send(message(&near, domain, number)).await.unwrap();
            far.expect("what was sent", TIMEOUT, any).await.unwrap();
        }
        networks.lose(loss).unwrap();
        let domain_is = format!("domain={domain}");
        let unknown = unknown(&log, &mut here, (&near, domain), &domain_is).await;
        let first = id(&here.expect("what comes back", NOTICED, any).await.unwrap());
        for expected in first + 1..=MESSAGES {
            let back = here.expect("what comes back", TIMEOUT, any).await.unwrap();
            assert_eq!(
                (id(&back), back.type_attr().as_deref()),
                (expected, Some("error"))
            );
        }
        let gone = first - 4;
        println!(
            "{loss:?}: {gone} are lost, {} came back",
            MESSAGES + 1 - first
        );
        assert!((gone..=gone + 3).contains(&unknown), "{gone} of {unknown}");
        assert!(gone > 0 && first < MESSAGES, "{first}");
        networks.join().unwrap();
        let mut far = far_component(&networks, &world, domain).await;
        here.send(message(&near, domain, MESSAGES + 1))
            .await
            .unwrap();
        let arrived = far.expect("what is sent now", TIMEOUT, any).await.unwrap();
        assert_eq!(id(&arrived), MESSAGES + 1);
    }
}

#[tokio::test]
async fn who_vanishes_while_nothing_is_said_is_noticed_on_every_kind_of_connection() {
    let log = log::log();
    let Some((networks, mut world)) = start(daemon("quiet.test")).await else {
        return;
    };
    let mut there = far_peer(&networks, &mut world, "silent.test");
    let mut here = far_component(&networks, &world, "quiet.test").await;
    // An outgoing stream, and an incoming one.
    here.send(message("quiet.test", "silent.test", 1))
        .await
        .unwrap();
    there.next().await.unwrap();
    let listener = world.daemon("quiet.test").unwrap().s2s[0];
    let mut peer = Peer::over(Wire::over(networks.connect(listener.port()).unwrap()));
    peer.open("silent.test", "quiet.test").await.unwrap();
    let verdict = peer.dialback("silent.test", "quiet.test", "a key").await;
    assert_eq!(verdict.unwrap(), "valid");
    networks.lose(Loss::OnTheWay).unwrap();
    let lost = Instant::now();
    for parts in [
        ["outgoing stream ended", "was lost", "remote=silent.test"],
        ["incoming stream ended", "was lost", "in{peer=10.77.0.2"],
        ["component left", "was lost", "domain=quiet.test"],
    ] {
        println!("after {:?}: {}", lost.elapsed(), line(&log, &parts).await);
    }
    // Nothing was on the way that has a line of its own.
    assert_eq!(log.lines(&["unknown=", "domain=quiet.test"]), [""; 0]);
}

#[tokio::test]
async fn no_route_is_this_machines_affair_and_an_unreachable_host_may_be_anybodys() {
    let log = log::log();
    let daemon = Daemon::serving("route.test").at(NEAR).without_tls();
    let Some((_networks, mut world)) = start(daemon).await else {
        return;
    };
    let mut here = world.component("route.test").await.unwrap();
    for (domain, address, cause, text) in [
        // The networks have no way out: RFC 5737 is elsewhere.
        (
            "elsewhere.test",
            [192, 0, 2, 1],
            "network",
            "network unreachable",
        ),
        // Nobody of our own network has this address.
        (
            "nobody.test",
            [10, 77, 0, 77],
            "connect",
            "no way to that machine, from here or further on",
        ),
    ] {
        world.lead("_xmpp-server", domain, (address, 5269).into());
        here.send(message("route.test", domain, 1)).await.unwrap();
        let remote = format!("remote={domain}");
        let cause = format!("cause={cause:?}");
        let said = line(&log, &["WARN", "no stream", &remote, &cause]).await;
        assert!(said.contains(text), "{said}");
    }
}
