//! Memory: strangers that come and go leave nothing behind, strangers that stay cost little, and what a peer does not
//! read or cannot be sent is bounded. One test at a time, because what is measured is the whole process.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    future::Future,
    time::{Duration, Instant},
};

use s2sd_tests::{
    attack_setup,
    authoritative::Says,
    background_traffic::BackgroundTraffic,
    component::attach,
    fake_peer::FakePeer,
    peer::Peer,
    tls::TlsIdentity,
    wire::Event,
    world::{RawServer, SECRET, TIMEOUT, World},
};
use tokio::{
    sync::{Mutex, MutexGuard, watch},
    task::JoinSet,
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

const MIB: i64 = 1024;

/// How far a stranger gets before it leaves.
#[derive(Clone, Copy, Debug)]
enum Leaves {
    Connected,
    WithHalfAHeader,
    WithFeatures,
    WithHalfAnElement,
    WithDeepElements,
    WithAKeyThatIsLookedAt,
    AfterProceed,
    WithTls,
    WithFeaturesWithinTls,
    WithAChallenge,
    WithAnError,
}

const ALL: [Leaves; 11] = [
    Leaves::Connected,
    Leaves::WithHalfAHeader,
    Leaves::WithFeatures,
    Leaves::WithHalfAnElement,
    Leaves::WithDeepElements,
    Leaves::WithAKeyThatIsLookedAt,
    Leaves::AfterProceed,
    Leaves::WithTls,
    Leaves::WithFeaturesWithinTls,
    Leaves::WithAChallenge,
    Leaves::WithAnError,
];

#[derive(Clone)]
struct Strangers {
    addr: std::net::SocketAddr,
    identity: TlsIdentity,
}

impl Strangers {
    async fn one(self, leaves: Leaves) -> anyhow::Result<Peer> {
        let mut peer = Peer::connect(self.addr).await?;
        let from = match leaves {
            Leaves::Connected => return Ok(peer),
            Leaves::WithHalfAHeader => {
                peer.send(format!("<stream:stream a='{}", "x".repeat(4000)))
                    .await?;
                return Ok(peer);
            }
            Leaves::WithAChallenge => "password.test",
            _ => "evil.test",
        };
        peer.open(from, "here.test").await?;
        match leaves {
            Leaves::Connected | Leaves::WithHalfAHeader | Leaves::WithFeatures => {}
            Leaves::WithHalfAnElement => {
                peer.send(format!("<message><body>{}", "x".repeat(15_000)))
                    .await?;
            }
            Leaves::WithDeepElements => {
                let deep: String = (0..20)
                    .map(|n| format!("<a xmlns:n{n}='urn:{n}'>"))
                    .collect();
                peer.send(deep + &"x".repeat(10_000)).await?;
            }
            Leaves::WithAKeyThatIsLookedAt => {
                let request = "<db:result from='evil.test' to='here.test'>key</db:result>";
                peer.send(request).await?;
            }
            Leaves::AfterProceed => {
                peer.send(format!("<starttls xmlns='{}'/>", ns::TLS))
                    .await?;
                peer.expect(ns::TLS, "proceed").await?;
            }
            Leaves::WithTls => peer.starttls("here.test", Some(&self.identity)).await?,
            Leaves::WithFeaturesWithinTls => {
                peer.starttls("here.test", Some(&self.identity)).await?;
                peer.open(from, "here.test").await?;
            }
            Leaves::WithAChallenge => {
                peer.send(format!(
                    "<auth xmlns='{}' mechanism='DIGEST-MD5'/>",
                    ns::SASL
                ))
                .await?;
                peer.expect(ns::SASL, "challenge").await?;
            }
            Leaves::WithAnError => {
                peer.send("<message/>").await?;
                peer.expect_stream_error().await?;
            }
        }
        Ok(peer)
    }

    /// So many come, a few at a time, and leave.
    async fn come_and_go(&self, leaves: Leaves, count: usize) {
        const AT_ONCE: usize = 50;
        for _ in 0..count / AT_ONCE {
            drop(self.stay(leaves, AT_ONCE).await);
        }
    }

    async fn stay(&self, leaves: Leaves, count: usize) -> Vec<Peer> {
        let mut coming = JoinSet::new();
        for _ in 0..count {
            coming.spawn(self.clone().one(leaves));
        }
        let all = coming.join_all().await;
        all.into_iter()
            .map(|peer| peer.unwrap_or_else(|error| panic!("{leaves:?}: {error:#}")))
            .collect()
    }
}

/// Does the work and looks before what is left of it is dropped.
async fn grows_by<T>(what: &str, at_most: i64, work: impl Future<Output = T>) -> T {
    let before = resident();
    let began = Instant::now();
    let left = work.await;
    let by = resident() - before;
    println!(
        "{what}: {by} KiB of at most {at_most}, {:?}",
        began.elapsed()
    );
    assert!(by <= at_most, "{what}: {by} KiB, at most {at_most}");
    left
}

/// Sends this until the daemon takes no more, and counts the bytes; the connection is kept.
async fn until_it_waits(mut peer: Peer, text: String) -> (usize, tokio::task::JoinHandle<()>) {
    let (wrote, mut written) = watch::channel(0);
    let writer = tokio::spawn(async move {
        while *wrote.borrow() < 64 << 20 {
            if peer.send(&text).await.is_err() {
                break;
            }
            wrote.send_modify(|bytes| *bytes += text.len());
        }
    });
    while let Ok(Ok(())) = timeout(Duration::from_secs(1), written.changed()).await {}
    assert!(!writer.is_finished(), "the daemon never waits");
    let bytes = *written.borrow();
    assert!(bytes > 1 << 20, "it never got going");
    (bytes, writer)
}

/// A daemon, and nobody else in this process meanwhile.
async fn here() -> (World, BackgroundTraffic, MutexGuard<'static, ()>) {
    here_with(
        "[limits]\ninbound_per_address = 2000\ndialback = '60s'\n\
         [queue]\nbytes = '2MiB'\n\
         [[peer]]\ndomain = 'password.test'\ntls = 'disabled'\nauth = ['digest-md5']\n\
         accept = { username = 'password.test', password = 'x' }\n\
         credentials = { username = 'here.test', password = 'x' }\n",
    )
    .await
}

/// The same with other tables.
async fn here_with(tables: &str) -> (World, BackgroundTraffic, MutexGuard<'static, ()>) {
    static ALONE: Mutex<()> = Mutex::const_new(());
    let alone = ALONE.lock().await;
    let daemon = BackgroundTraffic::daemon("here.test")
        .and("stuck.here.test")
        .policy("tls = 'optional'\nauth = ['external', 'dialback']")
        .tables(tables);
    let (world, background_traffic) = attack_setup::beside(daemon).await.unwrap();
    (world, background_traffic, alone)
}

#[tokio::test]
async fn strangers_leave_nothing_behind_and_cost_little_while_they_stay() {
    let (mut world, mut background_traffic, _alone) = here().await;
    let _silent = world
        .authoritative("evil.test", Says::Silence, None)
        .await
        .unwrap();
    let strangers = Strangers {
        addr: world.daemon("here.test").unwrap().s2s[0],
        identity: world.identity("evil.test"),
    };
    // What is kept for good is made once.
    for leaves in ALL {
        strangers.come_and_go(leaves, 100).await;
    }
    background_traffic.is_well().await.unwrap();
    for leaves in ALL {
        let what = format!("1,000 come and go: {leaves:?}");
        grows_by(&what, 8 * MIB, strangers.come_and_go(leaves, 1000)).await;
        background_traffic.is_well().await.unwrap();
    }
    for leaves in ALL {
        // Both ends of the connection are in this process.
        let what = format!("200 stay: {leaves:?}");
        let held = grows_by(&what, 200 * 250, strangers.stay(leaves, 200)).await;
        background_traffic.is_well().await.unwrap();
        drop(held);
    }
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn what_a_known_peer_or_a_component_does_not_take_is_bounded() {
    let (mut world, mut background_traffic, _alone) = here().await;
    // A known peer that asks and does not read the answers.
    let fake_peer = FakePeer::at(&mut world, "known.test").await.unwrap();
    let peer = fake_peer.proved(&world, "here.test", "here.test").await;
    // The id comes back in the answer, so answers are as long as questions.
    let question = format!(
        "<db:verify from='known.test' to='x.test' id='{}'>k</db:verify>",
        "x".repeat(8000)
    );
    let asks = until_it_waits(peer.unwrap(), question.repeat(8));
    let (bytes, asking) = grows_by("questions, answers unread", 16 * MIB, asks).await;
    println!("{bytes} bytes of questions were taken");
    background_traffic.is_well().await.unwrap();
    asking.abort();

    // A component that does not read what a peer writes: 2 MiB wait for it.
    let listener = world.daemon("here.test").unwrap().components[0];
    let stuck = attach(listener, "stuck.here.test", SECRET, TIMEOUT)
        .await
        .unwrap();
    let peer = fake_peer
        .proved(&world, "here.test", "stuck.here.test")
        .await;
    let message = format!(
        "<message from='known.test' to='stuck.here.test'><body>{}</body></message>",
        "x".repeat(1000)
    );
    let writes = until_it_waits(peer.unwrap(), message.repeat(100));
    let (_, writing) = grows_by("messages, unread", 16 * MIB, writes).await;
    background_traffic.is_well().await.unwrap();
    writing.abort();
    drop(stuck);

    // A component that writes to a peer who does not answer: 2 MiB wait, the rest comes back.
    let silent = world.listen("silent.test").await.unwrap();
    let mut component = attach(listener, "here.test", SECRET, TIMEOUT)
        .await
        .unwrap();
    let writes = async {
        let message = format!(
            "<message from='here.test' to='silent.test'><body>{}</body></message>",
            "x".repeat(10_000)
        );
        let mut back = 0;
        for _ in 0..600 {
            component.send(&message).await.unwrap();
            while let Ok(Event::Element(_)) = component.next(Duration::ZERO).await {
                back += 1;
            }
        }
        assert!(back > 300, "{back} came back");
    };
    grows_by("messages, unsent", 16 * MIB, writes).await;
    background_traffic.was_well().await.unwrap();
    drop(silent);
}

/// What the daemon counts, in KiB.
fn counted(world: &World) -> i64 {
    let (bytes, _) = world.daemon("here.test").unwrap().memory();
    i64::try_from(bytes / 1024).unwrap()
}

/// A stream of each of these names, on which it is proved. From then on its server takes connections and says nothing.
async fn crowd(
    world: &mut World,
    names: impl Iterator<Item = String>,
) -> (RawServer, Vec<(String, Peer)>) {
    let server = world.authoritative("evil.test", Says::Valid, None).await;
    let server = server.unwrap();
    let silent = world.listen("silent.test").await.unwrap();
    let mut all = Vec::new();
    for name in names {
        world.lead("_xmpp-server", &name, server.addr());
        let mut peer = world.connect("here.test").await.unwrap();
        peer.open(&name, "here.test").await.unwrap();
        for to in ["here.test", "stuck.here.test"] {
            let verdict = peer.dialback(&name, to, "key").await.unwrap();
            assert_eq!(verdict, "valid");
        }
        world.lead("_xmpp-server", &name, silent.addr().unwrap());
        all.push((name, peer));
    }
    (silent, all)
}

#[tokio::test]
async fn bounces_that_the_domains_of_one_registration_do_not_read_have_one_share() {
    let (mut world, mut background_traffic, _alone) =
        here_with("[limits]\nmemory = '32MiB'\n").await;
    let names = (0..24).map(|n| format!("n{n}.evil.test"));
    let (_server, crowd) = crowd(&mut world, names).await;
    // The id comes back in the bounce, since no component is there: 16 MB of them are asked for.
    let id = "x".repeat(8000);
    let mut going = JoinSet::new();
    for (name, mut peer) in crowd {
        let message = format!("<message from='{name}' to='stuck.here.test' id='{id}'/>");
        going.spawn(async move {
            // When its share is used up, it is not read from any more.
            let _ = timeout(TIMEOUT, peer.send(message.repeat(80))).await;
            peer
        });
    }
    let full = async {
        let deadline = Instant::now() + TIMEOUT * 3;
        let (mut has, mut more) = (0, 100);
        while more > 0 {
            has = counted(&world);
            assert!(has < 32 * MIB / 3, "{has} KiB");
            background_traffic.is_well().await.unwrap();
            more -= i32::from(has > 32 * MIB / 6);
            assert!(Instant::now() < deadline, "{has} KiB");
        }
        has
    };
    let has = grows_by("bounces, unread", 28 * MIB, full).await;
    println!("{has} KiB are counted");
    background_traffic.was_well().await.unwrap();
    drop(going);
}

#[tokio::test]
async fn half_elements_have_one_share_and_only_so_much_time() {
    let tables = "[limits]\nmemory = '16MiB'\nstanza_time = '5s'\n";
    let (mut world, mut background_traffic, _alone) = here_with(tables).await;
    let names = (0..60).map(|n| format!("n{n}.evil.test"));
    let (_server, crowd) = crowd(&mut world, names).await;
    let before = counted(&world);
    let half = "x".repeat(400_000);
    let mut going = JoinSet::new();
    for (name, mut peer) in crowd {
        let message = format!("<message from='{name}' to='here.test'><body>{half}");
        going.spawn(async move {
            peer.send(message).await?;
            peer.expect_stream_error().await
        });
    }
    let (mut full, mut late) = (0, 0);
    let watched = async {
        loop {
            let has = counted(&world);
            assert!(has <= 6 * MIB, "{has} KiB");
            tokio::select! {
                biased;
                error = going.join_next() => match error {
                    Some(error) => match error.unwrap().unwrap().condition {
                        Condition::ResourceConstraint => full += 1,
                        Condition::ConnectionTimeout => late += 1,
                        other => panic!("{other:?}"),
                    },
                    None => break,
                },
                well = background_traffic.is_well() => well.unwrap(),
            }
        }
    };
    grows_by("half elements", 24 * MIB, watched).await;
    println!("{full} had no room, {late} no time");
    assert!(full >= 40 && late >= 2, "{full}, {late}");
    let deadline = Instant::now() + TIMEOUT;
    while counted(&world) > before {
        assert!(Instant::now() < deadline, "{} KiB", counted(&world));
        background_traffic.is_well().await.unwrap();
    }
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn what_a_component_sends_to_dead_domains_has_its_share_and_all_of_it_comes_back() {
    let tables = "[limits]\nmemory = '16MiB'\n[queue]\ngive_up = '3s'\n";
    let (mut world, background_traffic, _alone) = here_with(tables).await;
    let dead: Vec<String> = (0..40).map(|n| format!("dead{n}.test")).collect();
    let silent = world.listen("silent.test").await.unwrap();
    for name in &dead {
        world.lead("_xmpp-server", name, silent.addr().unwrap());
    }
    let listener = world.daemon("here.test").unwrap().components[0];
    let mut component = attach(listener, "here.test", SECRET, TIMEOUT)
        .await
        .unwrap();
    let body = "x".repeat(10_000);
    let (mut sent, mut back) = (0, 0);
    let writes = async {
        for _ in 0..40 {
            for name in &dead {
                let message =
                    format!("<message from='here.test' to='{name}'><body>{body}</body></message>");
                component.send(message).await.unwrap();
                sent += 1;
                while let Ok(Event::Element(_)) = component.next(Duration::ZERO).await {
                    back += 1;
                }
                let has = counted(&world);
                assert!(has <= 8 * MIB, "{has} KiB");
            }
        }
    };
    grows_by("messages to dead domains", 16 * MIB, writes).await;
    while back < sent {
        match component.next(TIMEOUT).await.unwrap() {
            Event::Element(error) => assert_eq!(error.type_attr().as_deref(), Some("error")),
            other => panic!("{back} of {sent}: {other:?}"),
        }
        back += 1;
    }
    background_traffic.was_well().await.unwrap();
}

/// Both ends are in this process, so what the sockets and the tests themselves take is in it too.
#[tokio::test]
async fn what_is_counted_is_what_it_costs() {
    let tables = "[limits]\nmemory = '512MiB'\n[queue]\nstanzas = 100000\nbytes = '256MiB'\n";
    let (mut world, background_traffic, _alone) = here_with(tables).await;
    let _silent = world.listen("silent.test").await.unwrap();
    let listener = world.daemon("here.test").unwrap().components[0];
    let mut component = attach(listener, "here.test", SECRET, TIMEOUT)
        .await
        .unwrap();
    for (what, count, size) in [
        ("small stanzas", 60_000_i64, 100_i64),
        ("stanzas", 10_000, 3_000),
        ("large stanzas", 200, 200_000),
    ] {
        let body = "x".repeat(usize::try_from(size).unwrap());
        let message =
            format!("<message from='here.test' to='silent.test'><body>{body}</body></message>");
        let (cost, before) = (counted(&world), resident());
        for _ in 0..count {
            component.send(&message).await.unwrap();
        }
        // It is through when this comes back.
        component
            .send("<iq from='here.test' to='here.test' type='get'/>")
            .await
            .unwrap();
        component.next(TIMEOUT * 3).await.unwrap();
        let (cost, by) = (counted(&world) - cost, resident() - before);
        println!("{count} {what}: {cost} KiB are counted, {by} KiB are there");
        // What earlier tests left behind may be used again, so that less is added than is there.
        assert!(by <= cost * 3 / 2, "{what}: {cost} KiB, and {by}");
        let most = count * (size + 800) / 1024;
        assert!(cost <= most, "{what}: {cost} KiB of {most}");
    }
    background_traffic.was_well().await.unwrap();
}
