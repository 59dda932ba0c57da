//! Components, as they come and go: what is answered while one is away, what one may get wrong, what a newer connection
//! takes over.
#![allow(clippy::unwrap_used)]

use s2sd_tests::{
    neighbour::Neighbour,
    world::{Daemon, SECRET, World},
};
use xmpp_stream::{Element, ns};

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
    let mut neighbour = Neighbour::at(&mut world, "far.test").await.unwrap();
    let mut peer = neighbour
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
        let answer = neighbour.next().await.unwrap().stanza;
        assert_eq!(answer.kind().as_deref(), Some("result"), "{answer:?}");
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
        let answer = neighbour.next().await.unwrap().stanza;
        assert_eq!(id(&answer), id_);
        let tree = answer.tree();
        let error = tree.elements().find(|child| child.name == "error").unwrap();
        let unavailable = error.child(ns::STANZA_ERRORS, "service-unavailable");
        assert!(unavailable.is_some(), "{answer:?}");
    }
    // A component that is there answers for itself.
    let mut component = world
        .component_for("here.test", "away.test", s2sd_tests::party::Manner::Quiet)
        .await
        .unwrap();
    peer.send("<message from='far.test' to='away.test' id='5'/>")
        .await
        .unwrap();
    let got = component
        .expect("a message", s2sd_tests::world::SOON, |_| true)
        .await
        .unwrap();
    assert_eq!(id(&got), "5");
}
