//! Bounces overrun nobody: they come as fast as their receiver has room, and what must be dropped is counted and said.
#![allow(clippy::unwrap_used)]

mod log;

use std::collections::BTreeSet;

use s2sd_tests::{
    component::attach,
    wire::Event,
    world::{Daemon, SECRET, TIMEOUT, World},
};

fn daemon(tables: &str) -> Daemon {
    Daemon::serving("here.test")
        .without_certificate()
        .policy("tls = 'disabled'\nauth = ['dialback']")
        .tables(tables)
}

#[tokio::test]
async fn what_expires_at_one_time_comes_back_as_fast_as_there_is_room() {
    const DOMAINS: usize = 20;
    const EACH: usize = 100;
    let mut world = World::new().unwrap();
    let tables =
        "[queue]\nstanzas = 110\ngive_up = '2s'\nbackoff = { first = '20ms', max = '100ms' }\n";
    world.start(daemon(tables)).await.unwrap();
    for number in 0..DOMAINS {
        drop(world.listen(&format!("down{number}.test")).await.unwrap());
    }
    let mut component = world.component("here.test").await.unwrap();
    for number in 0..DOMAINS * EACH {
        let to = format!("down{}.test", number % DOMAINS);
        component
            .send(format!(
                "<message from='here.test' to='{to}' id='{number}'/>"
            ))
            .await
            .unwrap();
    }
    let mut back = BTreeSet::new();
    for _ in 0..DOMAINS * EACH {
        let bounce = component
            .expect("a bounce", TIMEOUT, |_| true)
            .await
            .unwrap();
        let id = bounce.id().unwrap().parse::<usize>().unwrap();
        assert!(back.insert(id), "twice: {bounce:?}");
    }
}

#[tokio::test]
async fn what_has_no_room_in_the_end_is_counted_and_said() {
    let log = log::log();
    let mut world = World::new().unwrap();
    let tables = "[queue]\nstanzas = 10\n[limits]\nmemory = '64MiB'\n";
    world.start(daemon(tables)).await.unwrap();
    drop(world.listen("down.test").await.unwrap());
    let addr = world.daemon("here.test").unwrap().components[0];
    // It writes and reads nothing.
    let mut component = attach(addr, "here.test", SECRET, TIMEOUT).await.unwrap();
    let id = "x".repeat(4000);
    for _ in 0..4000 {
        component
            .send(format!(
                "<message from='here.test' to='down.test' id='{id}'/>"
            ))
            .await
            .unwrap();
    }
    let said = [
        "WARN",
        "dropped: answers of ours",
        "domain=here.test",
        "stanzas=",
    ];
    for _ in 0..6000 {
        if !log.lines(&said).is_empty() {
            break;
        }
        let Event::Element(bounce) = component.next(TIMEOUT).await.unwrap() else {
            panic!("nothing is said");
        };
        assert_eq!(bounce.type_attr().as_deref(), Some("error"));
        // One more in, one more out: the stream goes on.
        component
            .send(format!(
                "<message from='here.test' to='down.test' id='{id}'/>"
            ))
            .await
            .unwrap();
    }
    log.line(&said);
}
