//! Components, as they come and go: what is answered while one is away, what one may get wrong, what a newer connection
//! takes over.
#![allow(clippy::unwrap_used)]

mod log;

use std::time::{Duration, Instant};

use s2sd_tests::{
    component::attach,
    component_client::Behaviour,
    fake_peer::FakePeer,
    wire::{Event, Wire},
    world::{Daemon, SECRET, TIMEOUT, World},
};
use xmpp_stream::{ContentNamespace, Element, StanzaError, StanzaKind, ns};

const PLAIN: &str = "tls = 'disabled'\nauth = ['dialback']";

fn daemon() -> Daemon {
    Daemon::serving("here.test")
        .without_certificate()
        .policy(PLAIN)
}

fn id(element: &Element) -> String {
    element.id().unwrap_or_default().into_owned()
}

#[tokio::test]
async fn a_domain_whose_component_is_away_answers_what_s2sd_knows_of_it() {
    let mut world = World::new().unwrap();
    let away = format!(
        "[[domain]]\nname = 'away.test'\ncomponent = {{ secret = '{SECRET}' }}\ncontact = ['mailto:abuse@away.test']\n"
    );
    world.start(daemon().tables(&away)).await.unwrap();
    let mut fake_peer = FakePeer::at(&mut world, "far.test").await.unwrap();
    let mut peer = fake_peer
        .proved(&world, "here.test", "away.test")
        .await
        .unwrap();
    for (payload, wanted) in [
        ("<ping xmlns='urn:xmpp:ping'/>", "/>"),
        ("<query xmlns='jabber:iq:version'/>", "<name>s2sd</name>"),
        ("<time xmlns='urn:xmpp:time'/>", "<tzo>+00:00</tzo>"),
        (
            "<query xmlns='http://jabber.org/protocol/disco#info'/>",
            "<value>mailto:abuse@away.test</value>",
        ),
        (
            "<query xmlns='http://jabber.org/protocol/disco#items'/>",
            "disco#items",
        ),
    ] {
        let iq = format!("<iq type='get' from='far.test' to='away.test' id='1'>{payload}</iq>");
        peer.send(iq).await.unwrap();
        let answer = fake_peer.next().await.unwrap().stanza;
        assert_eq!(answer.type_attr().as_deref(), Some("result"), "{answer:?}");
        let text = String::from_utf8_lossy(answer.bytes()).into_owned();
        assert!(text.contains(wanted), "{text}");
    }
    // Everything else is for the component alone.
    for (id_, stanza) in [
        (
            "2",
            "<iq type='get' from='far.test' to='away.test' id='2'><query xmlns='jabber:iq:roster'/></iq>",
        ),
        (
            "3",
            "<iq type='get' from='far.test' to='u@away.test' id='3'><ping xmlns='urn:xmpp:ping'/></iq>",
        ),
        ("4", "<message from='far.test' to='away.test' id='4'/>"),
    ] {
        peer.send(stanza).await.unwrap();
        let answer = fake_peer.next().await.unwrap().stanza;
        assert_eq!(id(&answer), id_);
        let tree = answer.tree();
        let error = tree.elements().find(|child| child.name == "error").unwrap();
        let unavailable = error.child(ns::STANZA_ERRORS, "service-unavailable");
        assert!(unavailable.is_some(), "{answer:?}");
    }
    // A component that is there answers for itself.
    let mut component = world
        .component_for("here.test", "away.test", Behaviour::Quiet)
        .await
        .unwrap();
    peer.send("<message from='far.test' to='away.test' id='5'/>")
        .await
        .unwrap();
    let got = component
        .expect("a message", TIMEOUT, |_| true)
        .await
        .unwrap();
    assert_eq!(id(&got), "5");
}

async fn attached(world: &World) -> Wire {
    let addr = world.daemon("here.test").unwrap().components[0];
    attach(addr, "here.test", SECRET, TIMEOUT).await.unwrap()
}

async fn element(wire: &mut Wire) -> Element {
    match wire.next(TIMEOUT).await.unwrap() {
        Event::Element(element) => element,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_component_may_write_in_the_namespace_of_clients_or_servers() {
    let mut world = World::new().unwrap();
    world.start(daemon()).await.unwrap();
    let mut fake_peer = FakePeer::at(&mut world, "far.test").await.unwrap();
    let mut component = attached(&world).await;
    for namespace in ["jabber:client", "jabber:server", "jabber:component:accept"] {
        component
            .send(format!(
                "<message xmlns='{namespace}' from='here.test' to='far.test' id='1'><body>x</body>\
                 <forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'><body/></message></forwarded></message>"
            ))
            .await
            .unwrap();
        let got = fake_peer.next().await.unwrap().stanza;
        assert_eq!(got.stanza_kind(), Some(StanzaKind::Message), "{got:?}");
        let tree = got.tree();
        assert!(tree.child(ns::SERVER, "body").is_some(), "{got:?}");
        let forwarded = tree.child("urn:xmpp:forward:0", "forwarded").unwrap();
        assert!(forwarded.child(ns::CLIENT, "message").is_some(), "{got:?}");
    }
    // What is refused of it is answered in the component's own.
    component
        .send("<message xmlns='jabber:client' from='here.test' to='a b@far.test' id='2'/>")
        .await
        .unwrap();
    let error = element(&mut component).await;
    assert_eq!(error.namespace(), ContentNamespace::Component.uri());
    assert_eq!(id(&error), "2");
    let deep = "<x>".repeat(200) + &"</x>".repeat(200);
    component
        .send(format!(
            "<message xmlns='jabber:client' from='here.test' to='far.test' id='3'>{deep}</message>"
        ))
        .await
        .unwrap();
    assert_eq!(id(&element(&mut component).await), "3");
}

#[tokio::test]
async fn what_a_component_gets_wrong_is_refused_alone_and_its_operator_reads_which() {
    let log = log::log();
    let mut world = World::new().unwrap();
    world.start(daemon()).await.unwrap();
    let mut fake_peer = FakePeer::at(&mut world, "far.test").await.unwrap();
    let mut component = attached(&world).await;
    let names = "<message from='here.test' to='far.test' id='n'><egg\u{17f}/></message>".to_owned();
    for (number, (bad, condition)) in [
        (
            "<message from='else.test' to='far.test' id='1'/>",
            Some("forbidden"),
        ),
        (
            "<message from='a b@here.test' to='far.test' id='2'/>",
            Some("jid-malformed"),
        ),
        (
            "<message from='here.test' to='@' id='3'/>",
            Some("jid-malformed"),
        ),
        ("<message from='here.test' id='4'/>", Some("jid-malformed")),
        ("<message to='far.test' id='5'/>", Some("jid-malformed")),
        ("<message/>", Some("jid-malformed")),
        (
            "<presence from='else.test' to='far.test' type='error'/>",
            None,
        ),
        ("<iq from='else.test' to='far.test' type='result'/>", None),
        ("<x xmlns='urn:x' from='here.test'/>", None),
        ("<r xmlns='urn:xmpp:sm:3'/>", None),
        ("<stream:features/>", None),
        (names.as_str(), Some("not-acceptable")),
    ]
    .into_iter()
    .enumerate()
    {
        component.send(bad).await.unwrap();
        if let Some(condition) = condition {
            let answer = element(&mut component).await;
            let error = StanzaError::from_element(&answer).unwrap();
            assert_eq!(error.condition.name(), condition, "{bad}");
        }
        // Whatever it was, what comes after it arrives.
        let good = format!("<message from='here.test' to='far.test' id='good {number}'/>");
        component.send(good).await.unwrap();
        let got = fake_peer.next().await.unwrap().stanza;
        assert_eq!(id(&got), format!("good {number}"), "{bad}");
    }
    log.line(&[
        "WARN",
        "a stanza of the component is refused",
        "domain=here.test",
        "stanza=<message from='else.test' to='far.test' id='1'>",
        "condition=\"forbidden\"",
    ]);
    log.line(&["INFO", "ignored: the component sent", "urn:x"]);
    // What makes the stream unreadable ends it, and is named.
    component
        .send("<message from='here.test' to='far.test' id='broken'><body>hush</b></message>")
        .await
        .unwrap();
    let error = element(&mut component).await;
    assert!(error.is(ns::STREAMS, "error"), "{error:?}");
    assert!(matches!(
        component.next(TIMEOUT).await.unwrap(),
        Event::Footer
    ));
    drop(component);
    let left = ["WARN", "component left", "the component broke the protocol"];
    let mut next = attached(&world).await;
    // It is written while the next one is served already.
    for _ in 0..10_000 {
        if !log.lines(&left).is_empty() {
            break;
        }
        next.send("<message from='here.test' to='here.test'/>")
            .await
            .unwrap();
        element(&mut next).await;
    }
    let line = log.line(&left);
    for part in ["domain=here.test", "not-well-formed", "id='broken'"] {
        assert!(line.contains(part), "{line}");
    }
    assert!(
        !line.contains("other server") && !line.contains("hush"),
        "{line}"
    );
}

/// The stanzas that come, until the connection ends.
async fn rest(mut wire: Wire) -> Vec<String> {
    let mut ids = Vec::new();
    // The last element may be cut off.
    while let Ok(Event::Element(element)) = wire.next(TIMEOUT).await {
        if element.stanza_kind().is_some() {
            ids.push(id(&element));
        }
    }
    ids
}

#[tokio::test]
async fn a_newer_connection_begins_with_what_the_one_before_left_over() {
    const ALL: usize = 300;
    let mut world = World::new().unwrap();
    let tables = "[queue]\nstanzas = 60\n";
    world.start(daemon().tables(tables)).await.unwrap();
    let fake_peer = FakePeer::at(&mut world, "far.test").await.unwrap();
    let mut peer = fake_peer
        .proved(&world, "here.test", "here.test")
        .await
        .unwrap();
    let first = attached(&world).await;
    let writer = tokio::spawn(async move {
        let body = "x".repeat(100_000);
        for number in 0..ALL {
            let message = format!(
                "<message from='far.test' to='here.test' id='{number}'><body>{body}</body></message>"
            );
            peer.send(message).await.unwrap();
        }
        peer
    });
    // The first one reads nothing; sooner or later everything is full. When exactly does not matter.
    for _ in 0..50 {
        tokio::time::timeout(Duration::from_millis(20), std::future::pending::<()>())
            .await
            .unwrap_err();
    }
    let began = Instant::now();
    let mut second = attached(&world).await;
    let begins = id(&element(&mut second).await).parse::<usize>().unwrap();
    assert!(began.elapsed() < Duration::from_secs(4), "late");
    for number in begins + 1..ALL {
        assert_eq!(id(&element(&mut second).await), number.to_string());
    }
    // What came to the first one is all that came before, each once.
    let came = rest(first).await;
    let wanted: Vec<_> = (0..begins).map(|number| number.to_string()).collect();
    assert_eq!(came, wanted);
    writer.await.unwrap();
}
