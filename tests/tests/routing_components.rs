//! Components (XEP-0114): who may attach, what they may say, and that one of them is no trouble to the others.
#![allow(clippy::unwrap_used)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use s2sd_tests::{
    attack_setup,
    background_traffic::BackgroundTraffic,
    component::attach,
    fake_peer::FakePeer,
    wire::{Event, Wire},
    world::{SECRET, TIMEOUT, World},
};
use tokio::{sync::watch, time::timeout};
use xmpp_stream::{Condition, StreamError, ns};

const PLAIN: &str = "tls = 'optional'\nauth = ['external', 'dialback']";

async fn here(tables: &str) -> (World, BackgroundTraffic) {
    let daemon = BackgroundTraffic::daemon("here.test")
        .policy(PLAIN)
        .tables(tables);
    attack_setup::beside(daemon).await.unwrap()
}

fn listener(world: &World) -> std::net::SocketAddr {
    world.daemon("here.test").unwrap().components[0]
}

async fn attached(world: &World) -> Wire {
    attach(listener(world), "here.test", SECRET, TIMEOUT)
        .await
        .unwrap()
}

/// A stream error, the end of the stream, the end of the connection; perhaps after a header.
async fn is_refused(wire: &mut Wire) -> Condition {
    let mut next = wire.next(TIMEOUT).await.unwrap();
    if matches!(next, Event::Header(_)) {
        next = wire.next(TIMEOUT).await.unwrap();
    }
    let Event::Element(error) = next else {
        panic!("no stream error but {next:?}");
    };
    let error = StreamError::from_element(&error).unwrap();
    assert!(matches!(wire.next(TIMEOUT).await.unwrap(), Event::Footer));
    let _ = wire.send("</stream:stream>").await;
    assert!(matches!(wire.next(TIMEOUT).await.unwrap(), Event::Closed));
    error.condition
}

fn header(namespace: &str, to: &str) -> String {
    format!(
        "<stream:stream xmlns:stream='http://etherx.jabber.org/streams' xmlns='{namespace}' {to}>"
    )
}

#[tokio::test]
async fn who_does_not_know_the_secret_does_not_attach() {
    let (world, mut background_traffic) = here("[[domain]]\nname = 'built.in.test'\n").await;
    let refused = async |domain: &str, secret: &str| {
        let error = attach(listener(&world), domain, secret, TIMEOUT)
            .await
            .err()
            .unwrap();
        format!("{error:#}")
    };
    for (domain, secret, condition) in [
        ("here.test", "wrong", "NotAuthorized"),
        ("here.test", "", "NotAuthorized"),
        ("elsewhere.test", SECRET, "HostUnknown"),
        ("x.here.test", SECRET, "HostUnknown"),
        // Served, but nobody may attach.
        ("built.in.test", SECRET, "HostUnknown"),
        ("built.in.test", "", "HostUnknown"),
    ] {
        let error = refused(domain, secret).await;
        assert!(error.contains(condition), "{domain}: {error}");
        background_traffic.is_well().await.unwrap();
    }
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn what_is_no_handshake_is_refused() {
    let (world, mut background_traffic) = here("").await;
    let component = header(ns::COMPONENT, "to='here.test'");
    let forged = "<message from='here.test' to='x@calm.test' id='forged'/>";
    for (text, condition) in [
        ("<handshake/>".to_owned(), Condition::InvalidNamespace),
        ("hello".to_owned(), Condition::NotWellFormed),
        (
            header(ns::SERVER, "to='here.test'"),
            Condition::InvalidNamespace,
        ),
        (
            header(ns::CLIENT, "to='here.test'"),
            Condition::InvalidNamespace,
        ),
        (header(ns::COMPONENT, ""), Condition::ImproperAddressing),
        (component.clone() + forged, Condition::NotAuthorized),
        (
            component.clone() + "<handshake/>" + forged,
            Condition::NotAuthorized,
        ),
        (
            component.clone() + "<handshake>0</handshake>" + forged,
            Condition::NotAuthorized,
        ),
        (
            component.clone() + "<handshake xmlns='urn:x'/>",
            Condition::NotAuthorized,
        ),
        (
            component.clone() + "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
            Condition::NotAuthorized,
        ),
        (component.clone() + "<!DOCTYPE x>", Condition::RestrictedXml),
        (component.clone() + "<a></b>", Condition::NotWellFormed),
        (
            component + "<handshake>" + &"0".repeat(100_000),
            Condition::PolicyViolation,
        ),
    ] {
        let mut wire = Wire::connect(listener(&world), TIMEOUT).await.unwrap();
        let _ = wire.send(&text).await;
        assert_eq!(is_refused(&mut wire).await, condition, "{text:.300}");
        background_traffic.is_well().await.unwrap();
    }
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn a_component_speaks_for_its_domain_only() {
    let (world, mut background_traffic) = here("").await;
    // A wrong `from` is refused alone; what cannot be read ends the stream.
    for (text, condition) in [
        ("<message></presence>", Condition::NotWellFormed),
        ("hello", Condition::BadFormat),
        ("<message>&lol;</message>", Condition::RestrictedXml),
    ] {
        let mut wire = attached(&world).await;
        for from in [
            "calm.here.test",
            "x.here.test",
            "calm.test",
            "here.test@calm.test/here.test",
        ] {
            wire.send(format!("<message from='{from}' to='x@calm.test'/>"))
                .await
                .unwrap();
            let Event::Element(error) = wire.next(TIMEOUT).await.unwrap() else {
                panic!("{from}: no error");
            };
            assert_eq!(error.type_attr().as_deref(), Some("error"), "{error:?}");
            let tree = error.tree();
            let error = tree.elements().find(|child| child.name == "error").unwrap();
            assert!(error.child(ns::STANZA_ERRORS, "forbidden").is_some());
        }
        wire.send(text).await.unwrap();
        assert_eq!(is_refused(&mut wire).await, condition, "{text}");
        background_traffic.is_well().await.unwrap();
    }
    // An address that is none is the stanza's own fault.
    let mut wire = attached(&world).await;
    for to in ["", "to=''", "to='@'", "to='a b@c d'"] {
        let text = format!("<message from='here.test' {to} id='1'/>");
        wire.send(text).await.unwrap();
        let Event::Element(error) = wire.next(TIMEOUT).await.unwrap() else {
            panic!("{to}: no error");
        };
        assert_eq!(
            error.type_attr().as_deref(),
            Some("error"),
            "{to}: {error:?}"
        );
        let tree = error.tree();
        let error = tree.elements().find(|child| child.name == "error").unwrap();
        assert!(error.child(ns::STANZA_ERRORS, "jid-malformed").is_some());
    }
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn a_second_connection_takes_the_place_of_the_first() {
    let (mut world, background_traffic) = here("").await;
    let fake_peer = FakePeer::at(&mut world, "far.test").await.unwrap();
    let mut peer = fake_peer
        .proved(&world, "here.test", "here.test")
        .await
        .unwrap();
    let mut first = attached(&world).await;
    peer.send("<message from='far.test' to='here.test' id='1'/>")
        .await
        .unwrap();
    let Event::Element(got) = first.next(TIMEOUT).await.unwrap() else {
        panic!("nothing came");
    };
    assert_eq!(got.id().as_deref(), Some("1"));
    let mut second = attached(&world).await;
    assert_eq!(is_refused(&mut first).await, Condition::Conflict);
    for id in ["2", "3"] {
        peer.send(format!(
            "<message from='far.test' to='here.test' id='{id}'/>"
        ))
        .await
        .unwrap();
        let Event::Element(got) = second.next(TIMEOUT).await.unwrap() else {
            panic!("nothing came");
        };
        assert_eq!(got.id().as_deref(), Some(id));
    }
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn what_a_connection_had_on_the_way_when_another_took_its_place_arrives() {
    const ALL: usize = 100;
    let (mut world, background_traffic) = here("").await;
    let mut fake_peer = FakePeer::at(&mut world, "far.test").await.unwrap();
    let mut first = attached(&world).await;
    let _second = attached(&world).await;
    let Event::Element(error) = first.next(TIMEOUT).await.unwrap() else {
        panic!("no stream error");
    };
    assert!(error.is(ns::STREAMS, "error"), "{error:?}");
    assert!(matches!(first.next(TIMEOUT).await.unwrap(), Event::Footer));
    for id in 0..ALL {
        // What is wrong with these is not answered any more.
        let text = format!(
            "<message from='else.test' to='far.test'/><message from='here.test' to='far.test' id='{id}'/>"
        );
        first.send(text).await.unwrap();
    }
    first.send("</stream:stream>").await.unwrap();
    for id in 0..ALL {
        let got = fake_peer.next().await.unwrap().stanza;
        assert_eq!(got.id().unwrap(), id.to_string());
    }
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn a_component_that_does_not_read_pauses_who_writes_to_it_and_nobody_else() {
    // The background traffic's component has the same bounds.
    let (mut world, mut background_traffic) = here("[queue]\nstanzas = 10\n").await;
    let mut fake_peer = FakePeer::at(&mut world, "far.test").await.unwrap();
    let mut to_stuck = fake_peer
        .proved(&world, "here.test", "here.test")
        .await
        .unwrap();
    let mut stuck = attached(&world).await;
    let (wrote, written) = watch::channel(0);
    let enough = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&enough);
    let writer = tokio::spawn(async move {
        let body = "x".repeat(100_000);
        while !stop.load(Ordering::Acquire) {
            let id = *wrote.borrow();
            let message = format!(
                "<message from='far.test' to='here.test' id='{id}'><body>{body}</body></message>"
            );
            to_stuck.send(message).await.unwrap();
            wrote.send_modify(|count| *count += 1);
            assert!(id < 2000, "the daemon swallows everything");
        }
        // The stream is kept, and so is how much was written.
        (to_stuck, wrote)
    });
    // What fits into sockets, buffers and the queue goes; then the peer waits.
    let mut changes = written.clone();
    while let Ok(Ok(())) = timeout(Duration::from_millis(250), changes.changed()).await {}
    assert!(!writer.is_finished());
    // Nobody else does.
    background_traffic.is_well().await.unwrap();
    // When the component reads again everything is there, in order.
    enough.store(true, Ordering::Release);
    let last = *written.borrow();
    for id in 0..=last {
        match stuck.next(TIMEOUT).await.unwrap() {
            Event::Element(got) => assert_eq!(got.id().unwrap(), id.to_string()),
            other => panic!("{id}: {other:?}"),
        }
    }
    writer.await.unwrap();
    assert!(fake_peer.left().is_empty(), "something came back");
    background_traffic.was_well().await.unwrap();
}
