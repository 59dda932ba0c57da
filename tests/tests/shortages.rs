//! What this machine lacks: it is said as our own, and holds stanzas until there is some again.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use s2sd_tests::{
    component,
    component_client::{Behaviour, ComponentClient},
    fake_peer::FakePeer,
    process::Process,
    world::{Daemon, SECRET, TIMEOUT, World},
};
use xmpp_stream::ns;

#[tokio::test]
async fn without_a_descriptor_stanzas_wait_come_back_with_our_own_cause_and_go_when_there_is_one() {
    let mut world = World::new().unwrap();
    let daemon = Daemon::serving("here.test")
        .without_tls()
        .tables("[queue]\ngive_up = '5s'\nbackoff = { first = '200ms', max = '400ms' }\n");
    let lab = env!("CARGO_BIN_EXE_lab");
    let process = Process::start(&mut world, lab, &daemon, 1024)
        .await
        .unwrap();
    let mut there = FakePeer::at(&mut world, "there.test").await.unwrap();
    let wire = component::attach(process.components, "here.test", SECRET, TIMEOUT).await;
    let mut here = ComponentClient::over(wire.unwrap(), "here.test".to_owned(), Behaviour::Quiet);
    let message = |id| format!("<message from='here.test' to='there.test' id='{id}'/>");
    // It keeps those that it has.
    process.limit(3).unwrap();
    let began = Instant::now();
    here.send(message(1)).await.unwrap();
    let within = Duration::from_secs(60);
    let back = here.expect("the error", within, |_| true).await.unwrap();
    assert!(
        began.elapsed() >= Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
    let tree = back.tree();
    let error = tree.elements().find(|child| child.name == "error").unwrap();
    assert_eq!(error.attr("type"), Some("wait"));
    let condition = error.child(ns::STANZA_ERRORS, "resource-constraint");
    assert!(condition.is_some(), "{back:?} {:#?}", process.log());
    let text = error.child(ns::STANZA_ERRORS, "text").unwrap().text();
    assert!(text.starts_with("this server has as many"), "{text}");
    let cause = error
        .elements()
        .find(|child| child.name == "cause")
        .unwrap();
    assert_eq!(cause.attr("name"), Some("descriptors"));
    let said = process.log();
    let told =
        |line: &&String| line.contains("no stream") && line.contains("cause=\"descriptors\"");
    assert_eq!(said.iter().filter(told).count(), 1, "{said:#?}");
    here.send(message(2)).await.unwrap();
    process.limit(1024).unwrap();
    let arrived = there.next().await.unwrap();
    assert_eq!(arrived.stanza.id().as_deref(), Some("2"));
}
