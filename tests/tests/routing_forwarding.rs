//! A stanza arrives as what it was, whatever its sender's stream declared around it; served domains reach each other
//! without a socket; a domain without a component answers by itself.
#![allow(clippy::unwrap_used)]

use s2sd_tests::{
    attack_setup,
    background_traffic::BackgroundTraffic,
    component::attach,
    fake_peer::FakePeer,
    peer::{header_text, initial_header},
    wire::{Event, Wire},
    world::{SECRET, TIMEOUT, World},
};
use xmpp_stream::{Element, Node, Tree, ns};

const PLAIN: &str = "tls = 'optional'\nauth = ['external', 'dialback']";

async fn here(tables: &str) -> (World, BackgroundTraffic) {
    let daemon = BackgroundTraffic::daemon("here.test")
        .and("beside.here.test")
        .policy(PLAIN)
        .tables(tables);
    attack_setup::beside(daemon).await.unwrap()
}

async fn attached(world: &World, domain: &str) -> Wire {
    let listener = world.daemon("here.test").unwrap().components[0];
    attach(listener, domain, SECRET, TIMEOUT).await.unwrap()
}

async fn next(wire: &mut Wire) -> Element {
    match wire.next(TIMEOUT).await.unwrap() {
        Event::Element(element) => element,
        other => panic!("no stanza but {other:?}"),
    }
}

/// What it means: expanded names, the content namespace of whatever stream it is on called so, and the language.
fn meaning(stanza: &Element) -> (Tree, Option<String>) {
    let mut tree = stanza.tree();
    let lang = stanza.lang().map(|lang| lang.to_string());
    tree.attributes
        .retain(|(namespace, name, _)| !(namespace == ns::XML && name == "lang"));
    neutral(&mut tree);
    (tree, lang)
}

fn neutral(tree: &mut Tree) {
    if [ns::SERVER, ns::COMPONENT].contains(&tree.namespace.as_str()) {
        "the content namespace".clone_into(&mut tree.namespace);
    }
    tree.attributes.sort();
    for child in &mut tree.children {
        if let Node::Element(child) = child {
            neutral(child);
        }
    }
}

#[tokio::test]
async fn a_stanza_means_the_same_on_every_stream() {
    let (mut world, background_traffic) = here("").await;
    let mut fake_peer = FakePeer::at(&mut world, "far.test").await.unwrap();
    let mut component = attached(&world, "here.test").await;
    // Its stream declares a prefix and a language, and has a prefix for the content namespace too.
    let mut peer = world.connect("here.test").await.unwrap();
    let mut header = initial_header(Some("far.test"), "here.test");
    header.prefixes.extend([
        ("x".to_owned(), "urn:x".to_owned()),
        ("s".to_owned(), ns::SERVER.to_owned()),
    ]);
    header.lang = Some("de".to_owned());
    let context = xmpp_stream::Context::of(&header);
    peer.send(header_text(&header)).await.unwrap();
    peer.expect_header().await.unwrap();
    peer.expect_features().await.unwrap();
    let verdict = peer.dialback("far.test", "here.test", "key").await.unwrap();
    assert_eq!(verdict, "valid");
    let there = "from='a@far.test' to='b@here.test'";
    for text in [
        format!("<message {there}><body>hello</body></message>"),
        format!("<message {there}><x:y x:z='1'><x:w/>text</x:y></message>"),
        format!("<message {there} x:z='1'/>"),
        format!("<message xml:lang='fr' {there}><body xml:lang='en'>a</body></message>"),
        format!("<message xml:lang='' {there}/>"),
        format!("<message xmlns='jabber:server' {there}><body>a</body></message>"),
        format!("<s:message {there}><s:body>a</s:body><body xmlns=''>b</body></s:message>"),
        format!("<q:message xmlns:q='jabber:server' {there}><q:body/><body/></q:message>"),
        format!("<message {there}><x xmlns='jabber:client'><y xmlns='jabber:server'/></x></message>"),
        format!("<message {there}><x xmlns='urn:y'><s:z/><db:result>no</db:result></x></message>"),
        format!("<message {there}><x xmlns:x='urn:other'><x:y/></x><x:y/></message>"),
        format!("<message {there}><body>&lt;&amp;&#x20ac;&#10;]]&gt;<![CDATA[<b>]]></body></message>"),
        "<iq type='set' id='&apos;1&quot;' from='a&#x62;@far.test/&lt;&amp;' to='b@here.test/&#x20ac;'/>"
            .to_owned(),
        "<presence from=\"a@far.test/it's\" to='b@here.test'/>".to_owned(),
        "<iq\n type='get'\tid='&#9;1'   from = 'a@far.test'  to='b@here.test' ><a/></iq >".to_owned(),
    ] {
        let sent = Element::parse(text.clone(), &context).unwrap();
        peer.send(&text).await.unwrap();
        let arrived = next(&mut component).await;
        assert_eq!(meaning(&arrived), meaning(&sent), "{text}");
        // Back by the component, as it came, but for the addresses.
        let back = String::from_utf8(arrived.bytes().to_vec())
            .unwrap()
            .replacen("from", "HERE", 1)
            .replacen("to=", "from=", 1)
            .replacen("HERE", "to", 1);
        let sent = Element::parse(back.clone(), arrived.context()).unwrap();
        component.send(&back).await.unwrap();
        let arrived = fake_peer.next().await.unwrap().stanza;
        assert_eq!(meaning(&arrived), meaning(&sent), "{back}");
        assert_eq!(arrived.to(), sent.to());
    }
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn served_domains_reach_each_other_without_a_socket() {
    let (world, background_traffic) = here("[[domain]]\nname = 'built.in.test'\n").await;
    let lanes = world.daemon("here.test").unwrap().lanes();
    let mut one = attached(&world, "here.test").await;
    let mut other = attached(&world, "beside.here.test").await;
    for id in 0..100 {
        let text = format!("<message from='x@here.test' to='y@beside.here.test' id='{id}'/>");
        one.send(text).await.unwrap();
    }
    for id in 0..100 {
        let got = next(&mut other).await;
        assert_eq!(got.id().unwrap(), id.to_string());
    }
    other
        .send("<message from='beside.here.test' to='here.test' id='back'/>")
        .await
        .unwrap();
    assert_eq!(next(&mut one).await.id().as_deref(), Some("back"));
    // To itself, and to what answers by itself.
    one.send("<message from='a@here.test' to='b@here.test' id='self'/>")
        .await
        .unwrap();
    assert_eq!(next(&mut one).await.id().as_deref(), Some("self"));
    one.send("<iq type='get' from='here.test' to='built.in.test' id='ping'><ping xmlns='urn:xmpp:ping'/></iq>")
        .await
        .unwrap();
    assert_eq!(next(&mut one).await.type_attr().as_deref(), Some("result"));
    assert_eq!(world.daemon("here.test").unwrap().lanes(), lanes);
    let asked = world.dns().asked();
    assert!(!asked.is_empty());
    assert!(
        !asked.iter().any(|name| name.contains("here.test")),
        "{asked:?}"
    );
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn a_domain_without_a_component_answers_a_remote_server_by_itself() {
    let (mut world, background_traffic) =
        here("[[domain]]\nname = 'built.in.test'\ncontact = ['mailto:a@built.in.test']\n").await;
    let mut fake_peer = FakePeer::at(&mut world, "far.test").await.unwrap();
    let mut peer = fake_peer
        .proved(&world, "here.test", "built.in.test")
        .await
        .unwrap();
    let addresses = "from='x@far.test/1' to='built.in.test'";
    for (id, payload, answer) in [
        ("1", "<ping xmlns='urn:xmpp:ping'/>", None),
        (
            "2",
            "<query xmlns='http://jabber.org/protocol/disco#info'/>",
            Some((ns::DISCO_INFO, "query")),
        ),
        (
            "3",
            "<query xmlns='http://jabber.org/protocol/disco#items'/>",
            Some((ns::DISCO_ITEMS, "query")),
        ),
        (
            "4",
            "<query xmlns='jabber:iq:version'/>",
            Some((ns::VERSION, "query")),
        ),
        (
            "5",
            "<time xmlns='urn:xmpp:time'/>",
            Some((ns::TIME, "time")),
        ),
    ] {
        peer.send(format!(
            "<iq type='get' id='{id}' {addresses}>{payload}</iq>"
        ))
        .await
        .unwrap();
        let got = fake_peer.next().await.unwrap().stanza;
        assert_eq!(got.id().as_deref(), Some(id));
        assert_eq!(got.type_attr().as_deref(), Some("result"), "{got:?}");
        assert_eq!(got.to().as_deref(), Some("x@far.test/1"));
        assert_eq!(got.from().as_deref(), Some("built.in.test"));
        if let Some((namespace, name)) = answer {
            assert!(got.tree().child(namespace, name).is_some(), "{got:?}");
        }
    }
    for (id, stanza) in [
        ("6", format!("<message id='6' {addresses}><body>a</body></message>")),
        ("7", format!("<iq type='set' id='7' {addresses}><x xmlns='urn:x'/></iq>")),
        (
            "8",
            "<iq type='get' id='8' from='x@far.test/1' to='nobody@built.in.test'><ping xmlns='urn:xmpp:ping'/></iq>"
                .to_owned(),
        ),
    ] {
        // Neither of these has an answer.
        peer.send(format!(
            "<presence id='none' {addresses}/><iq type='result' id='none' {addresses}/>\
             <message type='error' id='none' {addresses}/>"
        ))
        .await
        .unwrap();
        peer.send(stanza).await.unwrap();
        let got = fake_peer.next().await.unwrap().stanza;
        assert_eq!(got.id().as_deref(), Some(id));
        assert_eq!(got.type_attr().as_deref(), Some("error"), "{got:?}");
        let tree = got.tree();
        let error = tree.elements().find(|child| child.name == "error").unwrap();
        assert!(error.child(ns::STANZA_ERRORS, "service-unavailable").is_some());
    }
    background_traffic.was_well().await.unwrap();
}
