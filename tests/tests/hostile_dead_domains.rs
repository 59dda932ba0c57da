//! Servers that are not there, and domains that only answer: neither costs many lines, nor a stream for long.
#![allow(clippy::unwrap_used)]

mod log;

use std::time::{Duration, Instant};

use s2sd_tests::{
    fake_peer::FakePeer,
    world::{Daemon, World},
};

fn daemon(tables: &str) -> Daemon {
    Daemon::serving("here.test")
        .without_certificate()
        .policy("tls = 'disabled'\nauth = ['dialback']")
        .tables(tables)
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_has_one_line_however_often_it_is_tried() {
    let log = log::log();
    let mut world = World::new().unwrap();
    let tables = "[queue]\nbackoff = { first = '20ms', max = '50ms' }\n";
    world.start(daemon(tables)).await.unwrap();
    let server = world.listen("down.test").await.unwrap();
    let mut component = world.component("here.test").await.unwrap();
    component
        .send("<message from='here.test' to='down.test'/>")
        .await
        .unwrap();
    for _ in 0..8 {
        drop(server.accept_at_leisure().await.unwrap());
    }
    let said = log.lines(&["no stream", "remote=down.test"]);
    let warned = log.lines(&["WARN", "no stream", "remote=down.test"]);
    assert!(said.len() >= 5, "{said:?}");
    assert_eq!(warned.len(), 1, "{warned:?}");
    // Another reason is news, also within the minute.
    drop(server);
    let connect = ["WARN", "no stream", "remote=down.test", "cause=\"connect\""];
    let told = async {
        while log.lines(&connect).is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), told)
        .await
        .unwrap();
}

#[tokio::test]
async fn who_only_asks_keeps_no_stream_of_ours_open() {
    let mut world = World::new().unwrap();
    // A stream with answers alone is closed after half a second of silence, and after five seconds in all.
    let tables = "[limits]\nidle = '30s'\n[[domain]]\nname = 'built.in.test'\n";
    world.start(daemon(tables)).await.unwrap();
    let mut fake_peer = FakePeer::at(&mut world, "far.test").await.unwrap();
    let mut peer = fake_peer
        .proved(&world, "here.test", "built.in.test")
        .await
        .unwrap();
    let (began, mut connections) = (Instant::now(), std::collections::BTreeSet::new());
    while connections.len() < 2 {
        assert!(began.elapsed() < Duration::from_secs(60), "it stays open");
        peer.send(
            "<iq type='get' from='far.test' to='built.in.test' id='1'><ping xmlns='urn:xmpp:ping'/></iq>",
        )
        .await
        .unwrap();
        connections.insert(fake_peer.next().await.unwrap().connection);
    }
}
