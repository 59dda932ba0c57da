//! What cannot be delivered comes back to its sender as exactly one error with the right condition, a text for people
//! and the cause for programs; errors and results come back never (RFC 6120 §8.3, §10.4).
#![allow(clippy::unwrap_used)]

use s2sd::closed::CAUSE_NAMESPACE;
use s2sd::tools::demo::ca::{Issued, Leaf};
use s2sd_tests::{
    attack_setup,
    authoritative::Says,
    background_traffic::BackgroundTraffic,
    component_client::ComponentClient,
    fake_peer::FakePeer,
    peer::Peer,
    world::{Daemon, RawServer, TIMEOUT, World},
};
use xmpp_stream::{DialbackFeature, Element, Features, StanzaKind, ns};

const GIVE_UP: &str = "[queue]\ngive_up = '1s'\nbackoff = { first = '10ms', max = '50ms' }\n";
const PLAIN: &str = "tls = 'optional'\nauth = ['external', 'dialback']";

async fn here(daemon: Daemon) -> (World, BackgroundTraffic, ComponentClient) {
    attack_setup::start(daemon).await.unwrap()
}

/// Sends one of each kind to `to`, and takes what comes back.
async fn bounces(component: &mut ComponentClient, to: &str, want: Want) {
    let addresses = format!("from='x@here.test/1' to='y@{to}/2'");
    // These are not answered,
    for silent in [
        format!("<message type='error' {addresses} id='silent'><error/></message>"),
        format!("<presence type='error' {addresses} id='silent'><error/></presence>"),
        format!("<iq type='error' {addresses} id='silent'><error/></iq>"),
        format!("<iq type='result' {addresses} id='silent'/>"),
    ] {
        component.send(silent).await.unwrap();
    }
    // and these are, each once and in order: whatever came twice would be seen in the place of the next.
    for (id, stanza) in [
        (
            "1",
            format!("<message {addresses} id='1'><body>a</body></message>"),
        ),
        ("2", format!("<message type='chat' {addresses} id='2'/>")),
        (
            "3",
            format!("<iq type='get' {addresses} id='3'><x xmlns='urn:x'/></iq>"),
        ),
        (
            "4",
            format!("<iq type='set' {addresses} id='4'><x xmlns='urn:x'/></iq>"),
        ),
        ("5", format!("<presence {addresses} id='5'/>")),
        ("6", format!("<message {addresses} id='6'/>")),
    ] {
        component.send(stanza).await.unwrap();
        let error = next_error(component, id, want).await;
        assert_eq!(error.from().unwrap(), format!("y@{to}/2"));
        assert_eq!(error.to().unwrap(), "x@here.test/1");
    }
}

async fn next_error(component: &mut ComponentClient, id: &str, want: Want) -> Element {
    let error = component.expect("an error", TIMEOUT, |_| true).await;
    let error = error.unwrap();
    assert_eq!(error.id().as_deref(), Some(id), "{error:?}");
    want.check(&error);
    error
}

#[derive(Clone, Copy)]
struct Want {
    condition: &'static str,
    kind: &'static str,
    cause: &'static str,
}

fn want(condition: &'static str, kind: &'static str, cause: &'static str) -> Want {
    Want {
        condition,
        kind,
        cause,
    }
}

impl Want {
    fn check(self, stanza: &Element) {
        assert_eq!(stanza.type_attr().as_deref(), Some("error"), "{stanza:?}");
        let tree = stanza.tree();
        let errors: Vec<_> = tree
            .elements()
            .filter(|child| child.name == "error")
            .collect();
        let [error] = errors[..] else {
            panic!("not one error: {stanza:?}");
        };
        assert_eq!(error.attr("type"), Some(self.kind), "{stanza:?}");
        let condition = error.child(ns::STANZA_ERRORS, self.condition);
        assert!(condition.is_some(), "{stanza:?}");
        let text = error.child(ns::STANZA_ERRORS, "text");
        assert!(!text.unwrap().text().is_empty(), "{stanza:?}");
        let cause = error.child(CAUSE_NAMESPACE, "cause").unwrap();
        assert_eq!(cause.attr("name"), Some(self.cause), "{stanza:?}");
    }
}

#[tokio::test]
async fn a_domain_without_a_server() {
    let (mut world, background_traffic, mut component) =
        here(BackgroundTraffic::daemon("here.test")).await;
    let not_found = |cause| want("remote-server-not-found", "cancel", cause);
    bounces(&mut component, "nowhere.test", not_found("no-such-host")).await;
    world.change_zone(|zone| {
        zone.service_absent("_xmpp-server._tcp.absent.test")
            .service_absent("_xmpps-server._tcp.absent.test")
            // It has an address, which is not to be tried.
            .a("absent.test", [127, 0, 0, 1].into())
    });
    bounces(&mut component, "absent.test", not_found("no-service")).await;
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn a_resolver_that_fails() {
    let daemon = BackgroundTraffic::daemon("here.test").tables(GIVE_UP);
    let (mut world, background_traffic, mut component) = here(daemon).await;
    world.change_zone(|zone| {
        zone.fails("_xmpp-server._tcp.fails.test")
            .fails("_xmpps-server._tcp.fails.test")
            .fails("fails.test")
    });
    bounces(
        &mut component,
        "fails.test",
        want("remote-server-timeout", "wait", "dns"),
    )
    .await;
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_not_there() {
    let daemon = BackgroundTraffic::daemon("here.test").tables(GIVE_UP);
    let (mut world, background_traffic, mut component) = here(daemon).await;
    drop(world.listen("down.test").await.unwrap());
    let addresses = "from='here.test' to='down.test'";
    // All at once: they wait together and come back together.
    for stanza in [
        format!("<iq type='result' {addresses} id='silent'/>"),
        format!("<message {addresses} id='1'/>"),
        format!("<message type='error' {addresses} id='silent'/>"),
        format!("<message {addresses} id='2'/>"),
        format!("<presence {addresses} id='3'/>"),
    ] {
        component.send(stanza).await.unwrap();
    }
    let want = want("remote-server-timeout", "wait", "connect");
    for id in ["1", "2", "3"] {
        next_error(&mut component, id, want).await;
    }
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn a_certificate_that_proves_nothing() {
    let (mut world, background_traffic, mut component) =
        here(BackgroundTraffic::daemon("here.test")).await;
    let issued = Issued::self_signed(&Leaf::domain("b.test"));
    world
        .start(Daemon::serving("b.test").certificate_from(issued))
        .await
        .unwrap();
    bounces(
        &mut component,
        "b.test",
        want("remote-server-timeout", "cancel", "certificate"),
    )
    .await;
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn a_key_that_is_called_invalid() {
    let daemon = BackgroundTraffic::daemon("here.test").policy(PLAIN);
    let (mut world, background_traffic, mut component) = here(daemon).await;
    world
        .start(Daemon::serving("b.test").without_tls())
        .await
        .unwrap();
    // Whoever speaks for here.test in the zone does not know the key.
    let _liar = world
        .authoritative("here.test", Says::Invalid, None)
        .await
        .unwrap();
    bounces(
        &mut component,
        "b.test",
        want("remote-server-timeout", "cancel", "dialback"),
    )
    .await;
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn a_domain_that_the_other_server_does_not_serve() {
    let (mut world, background_traffic, mut component) =
        here(BackgroundTraffic::daemon("here.test")).await;
    world.start(Daemon::serving("b.test")).await.unwrap();
    let b = world.daemon("b.test").unwrap().s2s[0];
    world.lead("_xmpp-server", "c.test", b);
    bounces(
        &mut component,
        "c.test",
        want("remote-server-timeout", "cancel", "stream-error"),
    )
    .await;
    background_traffic.was_well().await.unwrap();
}

/// A peer that accepts and is silent, so that everything waits.
async fn mute(server: &RawServer) -> Peer {
    let mut peer = server.accept().await.unwrap();
    let features = Features::new().with_dialback(DialbackFeature::with_errors());
    peer.answer_open("mute", &features).await.unwrap();
    peer.expect(ns::DIALBACK, "result").await.unwrap();
    peer
}

async fn arrives(peer: &mut Peer, id: &str) {
    let got = peer.expect_stanza(StanzaKind::Message).await.unwrap();
    assert_eq!(got.id().as_deref(), Some(id));
}

#[tokio::test]
async fn more_domains_than_there_may_be_lanes() {
    let daemon = BackgroundTraffic::daemon("here.test")
        .policy(PLAIN)
        .tables("[queue]\nlanes = 2\n");
    // One lane is the background traffic's.
    let (mut world, mut background_traffic, mut component) = here(daemon).await;
    let server = world.listen("b.test").await.unwrap();
    component
        .send("<message from='here.test' to='b.test' id='waits'/>")
        .await
        .unwrap();
    let mut peer = mute(&server).await;
    bounces(
        &mut component,
        "c.test",
        want("resource-constraint", "wait", "queue-full"),
    )
    .await;
    // Those that have one keep it.
    background_traffic.is_well().await.unwrap();
    let valid = "<db:result from='b.test' to='here.test' type='valid'/>";
    peer.send(valid).await.unwrap();
    arrives(&mut peer, "waits").await;
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn a_full_queue() {
    for (tables, fit) in [
        ("[queue]\nstanzas = 10\n", 10),
        // A stanza that begins within the bound fits.
        ("[queue]\nbytes = '20KiB'\n", 5),
    ] {
        let daemon = BackgroundTraffic::daemon("here.test")
            .policy(PLAIN)
            .tables(tables);
        let (mut world, background_traffic, mut component) = here(daemon).await;
        let body = "x".repeat(5000);
        let message = |id| {
            format!("<message from='here.test' to='b.test' id='{id}'><body>{body}</body></message>")
        };
        let server = world.listen("b.test").await.unwrap();
        component.send(message(0)).await.unwrap();
        let mut peer = mute(&server).await;
        let want = want("resource-constraint", "wait", "queue-full");
        for id in 1..fit {
            component.send(message(id)).await.unwrap();
        }
        for id in fit..fit + 5 {
            component.send(message(id)).await.unwrap();
            next_error(&mut component, &id.to_string(), want).await;
        }
        // Those with a place go out, in order, and then there is room again.
        let valid = "<db:result from='b.test' to='here.test' type='valid'/>";
        peer.send(valid).await.unwrap();
        for id in 0..fit {
            arrives(&mut peer, &id.to_string()).await;
        }
        component.send(message(100)).await.unwrap();
        arrives(&mut peer, "100").await;
        background_traffic.was_well().await.unwrap();
    }
}

#[tokio::test]
async fn a_component_that_is_not_attached() {
    let daemon = BackgroundTraffic::daemon("here.test")
        .policy(PLAIN)
        .and("absent.here.test");
    let (mut world, background_traffic, mut component) = here(daemon).await;
    let want = want("service-unavailable", "wait", "component-absent");
    // From beside it,
    bounces(&mut component, "absent.here.test", want).await;
    // and from far away.
    let mut fake_peer = FakePeer::at(&mut world, "far.test").await.unwrap();
    let mut peer = fake_peer
        .proved(&world, "here.test", "absent.here.test")
        .await
        .unwrap();
    let addresses = "from='far.test' to='absent.here.test'";
    peer.send(format!(
        "<iq type='result' {addresses} id='silent'/><message type='error' {addresses} id='silent'/>\
         <message {addresses} id='1'/><presence {addresses} id='2'/>"
    ))
    .await
    .unwrap();
    for id in ["1", "2"] {
        let error = fake_peer.next().await.unwrap().stanza;
        assert_eq!(error.id().as_deref(), Some(id), "{error:?}");
        want.check(&error);
    }
    background_traffic.was_well().await.unwrap();
}
