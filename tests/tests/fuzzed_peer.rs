//! Whatever one sender, one component or one server says: the numbered messages of others arrive, all of them, in order,
//! none twice, and none of them comes back. What is said is made from a seed, which a failure names.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, SystemTime};

use s2sd_tests::{
    checks::{self, Check, Other, Plan},
    component_client::ComponentClient,
    fake_peer::{FakePeer, believing},
    odd::Odd,
    peer::Peer,
    wire::Event,
    world::{Daemon, RawServer, TIMEOUT, World},
};
use tokio::sync::mpsc;
use xmpp_stream::{DialbackFeature, Element, Features};

const COUNT: usize = 200;
const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(500);
const PATIENT: &str = "[queue]\nbackoff = { first = '10ms', max = '50ms' }\ngive_up = '60s'\n\
     [limits]\ninbound_per_address = 500\ninbound_per_network = 500\n";

/// The same ones each time, and one that was never there.
fn seeds() -> Vec<u64> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    vec![1, 2, 3, u64::from(now.unwrap().subsec_nanos())]
}

async fn two_daemons() -> (World, ComponentClient, ComponentClient) {
    let mut world = World::new().unwrap();
    for domain in ["a.test", "b.test"] {
        let daemon = Daemon::serving(domain).without_tls();
        world.start(daemon.tables(PATIENT)).await.unwrap();
    }
    let a = world.component("a.test").await.unwrap();
    let b = world.component("b.test").await.unwrap();
    (world, a, b)
}

async fn all_arrive(a: &mut ComponentClient, b: &mut ComponentClient, check: Check, seed: u64) {
    let plan = Plan {
        checks: vec![check],
        count: COUNT,
        within: LONG,
        seed: Some(seed),
        ..Plan::default()
    };
    let findings = checks::run(a, Other::ComponentClient(b), &plan).await;
    let failed: Vec<_> = findings.iter().filter(|f| f.outcome.is_err()).collect();
    assert!(failed.is_empty(), "seed {seed}: {failed:#?}");
}

/// Other users of the same component: their stanzas go the same way.
#[tokio::test]
async fn an_odd_user_takes_the_way_from_no_other_of_its_component() {
    for seed in seeds() {
        let (_world, mut a, mut b) = two_daemons().await;
        all_arrive(&mut a, &mut b, Check::Odd, seed).await;
    }
}

/// A third server that is proved, and one that is not, say what is broken and come again, all the time.
#[tokio::test]
async fn a_third_server_that_says_anything_is_felt_by_nobody() {
    for seed in seeds() {
        let (mut world, mut a, mut b) = two_daemons().await;
        let fake_peer = FakePeer::at(&mut world, "c.test").await.unwrap();
        let mut odd = Odd::new(seed, "c.test", "a.test");
        let attack = async {
            loop {
                let peer = match odd.one_in(2) {
                    true => fake_peer.proved(&world, "a.test", "a.test").await,
                    false => world.connect("a.test").await,
                };
                let Ok(mut peer) = peer else { continue };
                while !odd.one_in(10) && peer.send(odd.element()).await.is_ok() {}
                let _ = peer.send(odd.broken()).await;
                while let Ok(Event::Element(_) | Event::Footer) = peer.next_within(SHORT).await {}
            }
        };
        tokio::select! {
            () = all_arrive(&mut a, &mut b, Check::Order, seed) => {}
            () = attack => unreachable!("it never ends"),
        }
    }
}

/// A server whose domain it is says anything itself, on the streams to it and on its own, between good stanzas.
#[tokio::test]
async fn a_server_that_says_anything_itself_hears_and_is_heard() {
    for seed in seeds() {
        let mut world = World::new().unwrap();
        let daemon = Daemon::serving("a.test").without_tls();
        world.start(daemon.tables(PATIENT)).await.unwrap();
        let mut a = world.component("a.test").await.unwrap();
        let server = world.listen("c.test").await.unwrap();
        let (arrived, mut inbox) = mpsc::unbounded_channel();
        let listening = tokio::spawn(listen(server, Odd::new(seed, "c.test", "a.test"), arrived));
        let speaking = speak(&world, Odd::new(!seed, "c.test", "a.test"));
        let sending = async {
            for number in 0..COUNT {
                let text = format!("<message from='u@a.test' to='v@c.test' id='good-{number}'/>");
                a.send(text).await.unwrap();
            }
            for number in 0..COUNT {
                let got = a.expect("the next", LONG, is_good).await;
                let got = got.unwrap_or_else(|error| panic!("seed {seed}, {number}: {error:#}"));
                assert_eq!(got.id().unwrap(), format!("good-{number}"), "seed {seed}");
                assert_eq!(got.type_attr(), None, "seed {seed}: it came back: {got:?}");
            }
        };
        let hearing = async {
            for number in 0..COUNT {
                let got = tokio::time::timeout(LONG, inbox.recv()).await;
                let got = got.unwrap_or_else(|_| panic!("seed {seed}: no message {number}"));
                assert_eq!(got.unwrap(), format!("good-{number}"), "seed {seed}");
            }
        };
        tokio::join!(speaking, sending, hearing);
        listening.abort();
        assert!(!a.passed_over().iter().any(is_good), "seed {seed}");
    }
}

fn is_good(stanza: &Element) -> bool {
    stanza.id().is_some_and(|id| id.starts_with("good-"))
}

/// What comes to the server, whose answers are odd.
async fn listen(server: RawServer, mut odd: Odd, arrived: mpsc::UnboundedSender<String>) {
    let mut broken = 0;
    loop {
        let mut peer = server.accept_at_leisure().await.unwrap();
        let features = Features::new().with_dialback(DialbackFeature::with_errors());
        if peer.answer_open("c", &features).await.is_err() {
            continue;
        }
        let says_broken = broken < 10;
        let (arrived, mut odd_here) = (arrived.clone(), odd.clone());
        // Each gives another.
        odd.element();
        tokio::spawn(async move {
            while let Ok(Event::Element(element)) = peer.next_within(LONG).await {
                let Some(answer) = believing(&element) else {
                    if is_good(&element) {
                        let _ = arrived.send(element.id().unwrap().into_owned());
                    }
                    let said = match odd_here.one_in(20) && says_broken {
                        true => odd_here.broken(),
                        false => odd_here.element().into_bytes(),
                    };
                    let _ = peer.send(said).await;
                    continue;
                };
                let _ = peer.send(answer.to_bytes()).await;
            }
        });
        broken += 1;
    }
}

/// Sends numbered messages with odd stanzas between them. After what is broken it waits for the end, and comes again.
async fn speak(world: &World, mut odd: Odd) {
    let mut peer = proved(world).await;
    for number in 0..COUNT {
        let text = format!(
            "<message xmlns='jabber:server' from='v@c.test' to='u@a.test' id='good-{number}'/>"
        );
        peer.send(text).await.unwrap();
        if odd.one_in(2) {
            peer.send(odd.element()).await.unwrap();
        }
        if odd.one_in(20) {
            peer.send(odd.broken()).await.unwrap();
            peer.send("</stream:stream>").await.unwrap();
            // It may be no more than half of something, and then nobody ends anything.
            while let Ok(Event::Element(_) | Event::Footer) = peer.next_within(SHORT).await {}
            peer = proved(world).await;
        }
    }
}

async fn proved(world: &World) -> Peer {
    let mut peer = world.connect("a.test").await.unwrap().with_timeout(TIMEOUT);
    peer.open("c.test", "a.test").await.unwrap();
    let verdict = peer.dialback("c.test", "a.test", "a key").await.unwrap();
    assert_eq!(verdict, "valid");
    peer
}
