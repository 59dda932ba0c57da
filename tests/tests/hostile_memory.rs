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
    authoritative::Says,
    bystander::Bystander,
    component::attach,
    neighbour::Neighbour,
    peer::Peer,
    tls::Identity,
    wire::Event,
    world::{SECRET, SOON, World},
};
use tokio::{
    sync::{Mutex, MutexGuard, watch},
    task::JoinSet,
    time::timeout,
};
use xmpp_stream::ns;

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
    identity: Identity,
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
async fn here() -> (World, Bystander, MutexGuard<'static, ()>) {
    static ALONE: Mutex<()> = Mutex::const_new(());
    let alone = ALONE.lock().await;
    let mut world = World::new().unwrap();
    let daemon = Bystander::daemon("here.test")
        .and("stuck.here.test")
        .policy("tls = 'optional'\nauth = ['external', 'dialback']")
        .tables(
            "[limits]\ninbound_per_address = 2000\ndialback = '60s'\n\
             [queue]\nbytes = '2MiB'\n\
             [[peer]]\ndomain = 'password.test'\ntls = 'disabled'\nauth = ['digest-md5']\n\
             accept = { username = 'password.test', password = 'x' }\n\
             credentials = { username = 'here.test', password = 'x' }\n",
        );
    world.start(daemon).await.unwrap();
    let bystander = Bystander::beside(&mut world, "here.test").await.unwrap();
    (world, bystander, alone)
}

#[tokio::test]
async fn strangers_leave_nothing_behind_and_cost_little_while_they_stay() {
    let (mut world, mut bystander, _alone) = here().await;
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
    bystander.is_well().await.unwrap();
    for leaves in ALL {
        let what = format!("1,000 come and go: {leaves:?}");
        grows_by(&what, 8 * MIB, strangers.come_and_go(leaves, 1000)).await;
        bystander.is_well().await.unwrap();
    }
    for leaves in ALL {
        // Both ends of the connection are in this process.
        let what = format!("200 stay: {leaves:?}");
        let held = grows_by(&what, 200 * 250, strangers.stay(leaves, 200)).await;
        bystander.is_well().await.unwrap();
        drop(held);
    }
    bystander.was_well().await.unwrap();
}

#[tokio::test]
async fn what_a_known_peer_or_a_component_does_not_take_is_bounded() {
    let (mut world, mut bystander, _alone) = here().await;
    // A known peer that asks and does not read the answers.
    let neighbour = Neighbour::at(&mut world, "known.test").await.unwrap();
    let peer = neighbour.proved(&world, "here.test", "here.test").await;
    // The id comes back in the answer, so answers are as long as questions.
    let question = format!(
        "<db:verify from='known.test' to='x.test' id='{}'>k</db:verify>",
        "x".repeat(8000)
    );
    let asks = until_it_waits(peer.unwrap(), question.repeat(8));
    let (bytes, asking) = grows_by("questions, answers unread", 16 * MIB, asks).await;
    println!("{bytes} bytes of questions were taken");
    bystander.is_well().await.unwrap();
    asking.abort();

    // A component that does not read what a peer writes: 2 MiB wait for it.
    let door = world.daemon("here.test").unwrap().components[0];
    let stuck = attach(door, "stuck.here.test", SECRET, SOON).await.unwrap();
    let peer = neighbour
        .proved(&world, "here.test", "stuck.here.test")
        .await;
    let message = format!(
        "<message from='known.test' to='stuck.here.test'><body>{}</body></message>",
        "x".repeat(1000)
    );
    let writes = until_it_waits(peer.unwrap(), message.repeat(100));
    let (_, writing) = grows_by("messages, unread", 16 * MIB, writes).await;
    bystander.is_well().await.unwrap();
    writing.abort();
    drop(stuck);

    // A component that writes to a peer who does not answer: 2 MiB wait, the rest comes back.
    let silent = world.listen("silent.test").await.unwrap();
    let mut component = attach(door, "here.test", SECRET, SOON).await.unwrap();
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
    bystander.was_well().await.unwrap();
    drop(silent);
}
