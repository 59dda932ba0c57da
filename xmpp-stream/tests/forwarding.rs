//! Moving stanzas between streams: what arrives means the same, and is where it should be.
#![allow(clippy::unwrap_used)]

mod common;

use bytes::{BufMut, BytesMut};
use common::frames;
use proptest::prelude::*;
use xmpp_stream::{
    ContentNamespace, Context, DecodeError, Element, Frame, Node, StreamHeader, Tree, ns,
};

use ContentNamespace::{Component, Server};

/// The only stanza on a stream with this header.
#[track_caller]
fn receive(header: &StreamHeader, stanza: &[u8]) -> Element {
    let mut stream = BytesMut::new();
    header.write(&mut stream);
    stream.extend_from_slice(stanza);
    stream.put_slice(b"<iq/>");
    let mut frames = frames(std::str::from_utf8(&stream).unwrap()).into_iter();
    assert!(matches!(frames.next(), Some(Frame::Header(_))));
    let Some(Frame::Element(element)) = frames.next() else {
        panic!()
    };
    // The boundaries are the same: the element is all of it, and what follows is untouched.
    assert_eq!(element.bytes(), stanza);
    let Some(Frame::Element(next)) = frames.next() else {
        panic!()
    };
    assert_eq!(next.bytes(), "<iq/>");
    element
}

fn written(element: &Element, target: ContentNamespace) -> BytesMut {
    let mut out = BytesMut::from("before");
    element.write_for(target, &mut out);
    out.split_off("before".len())
}

/// An element's meaning: expanded names, attributes, text; and each element's language.
#[derive(PartialEq, Eq, Debug)]
struct Meaning {
    tree: Tree,
    languages: Vec<Option<String>>,
}

impl Meaning {
    fn of(element: &Element) -> Self {
        let mut tree = element.tree();
        let mut languages = Vec::new();
        normalise(&mut tree, element.context().lang(), &mut languages);
        Self { tree, languages }
    }

    /// With two content namespaces exchanged.
    fn swapped(mut self, one: ContentNamespace, other: ContentNamespace) -> Self {
        exchange(&mut self.tree, one.uri(), other.uri());
        self
    }
}

/// Takes the languages out and sorts the attributes.
fn normalise(tree: &mut Tree, inherited: Option<&str>, languages: &mut Vec<Option<String>>) {
    let own =
        |(namespace, name, _): &(String, String, String)| namespace == ns::XML && name == "lang";
    let language = match tree.attributes.iter().position(own) {
        Some(at) => Some(tree.attributes.remove(at).2).filter(|lang| !lang.is_empty()),
        None => inherited.map(str::to_owned),
    };
    languages.push(language.clone());
    tree.attributes.sort();
    for node in &mut tree.children {
        if let Node::Element(child) = node {
            normalise(child, language.as_deref(), languages);
        }
    }
}

fn exchange(tree: &mut Tree, one: &str, other: &str) {
    let swap = |namespace: &mut String| {
        if namespace == one {
            *namespace = other.into();
        } else if namespace == other {
            *namespace = one.into();
        }
    };
    swap(&mut tree.namespace);
    for (namespace, ..) in &mut tree.attributes {
        swap(namespace);
    }
    tree.attributes.sort();
    for node in &mut tree.children {
        if let Node::Element(child) = node {
            exchange(child, one, other);
        }
    }
}

/// Server to component to server. Returns what stood on the component's stream.
#[track_caller]
fn there_and_back(header: &StreamHeader, stanza: &str) -> String {
    let received = receive(header, stanza.as_bytes());
    let there = written(&received, Component);
    let at_component = receive(&StreamHeader::new(Component), &there);
    assert_eq!(
        Meaning::of(&at_component),
        Meaning::of(&received).swapped(Server, Component)
    );
    assert_eq!(at_component.lang(), received.lang());
    assert_eq!(at_component.to(), received.to());
    assert_eq!(at_component.from(), received.from());
    assert_eq!(at_component.stanza_kind(), received.stanza_kind());
    let back = written(&at_component, Server);
    let again = receive(&StreamHeader::new(Server), &back);
    assert_eq!(Meaning::of(&again), Meaning::of(&received));
    String::from_utf8(there.to_vec()).unwrap()
}

fn server() -> StreamHeader {
    StreamHeader::new(Server)
}

fn with_prefix(prefix: &str, uri: &str) -> StreamHeader {
    let mut header = server();
    header.prefixes.push((prefix.into(), uri.into()));
    header
}

#[test]
fn forwarding_copies_bytes_where_nothing_must_change() {
    let stanza = "<message  to='b.example'\n><body xmlns:x=\"urn:x\">Hi &amp;<![CDATA[<]]></body ></message>";
    assert_eq!(there_and_back(&server().with_dialback(), stanza), stanza);
    let declared = "<message><x xmlns='jabber:client'/></message>";
    assert_eq!(there_and_back(&server(), declared), declared);
}

#[test]
fn forwarding_declares_prefixes_of_the_stream_header_on_the_stanza() {
    let header = with_prefix("x", "urn:&x'");
    assert_eq!(
        there_and_back(&header, "<message><x:y/></message>"),
        "<message xmlns:x='urn:&amp;x&apos;'><x:y/></message>"
    );
    there_and_back(&header, "<message x:a='1'/>");
    there_and_back(&header, "<message><a><b x:c='1'/></a></message>");
    there_and_back(
        &header,
        "<message><a xmlns:x='urn:other'><x:b/></a><x:c/></message>",
    );
    assert_eq!(
        there_and_back(&header, "<message xmlns:x='urn:other'><x:b/></message>"),
        "<message xmlns:x='urn:other'><x:b/></message>"
    );
    // Not used, not declared.
    let plain = "<message><![CDATA[<x:y>]]><y x='x:'>x:y</y></message>";
    assert_eq!(there_and_back(&header, plain), plain);
}

#[test]
fn forwarding_keeps_the_language_of_the_stream_header() {
    let header = StreamHeader {
        lang: Some("de-'AT".into()),
        ..server()
    };
    assert_eq!(
        there_and_back(&header, "<message><body>Grüß Gott</body></message>"),
        "<message xml:lang='de-&apos;AT'><body>Grüß Gott</body></message>"
    );
    for own in [
        "<message xml:lang='en'/>",
        "<message xml:lang=''/>",
        "<message a='1' xml:lang = \"en\"><body xml:lang='de'/></message>",
    ] {
        assert_eq!(there_and_back(&header, own), own);
    }
    there_and_back(&header, "<presence/>");
    there_and_back(&header, "<message\n/>");
}

#[test]
fn forwarding_to_the_same_kind_of_stream_is_self_contained_too() {
    let header = StreamHeader {
        lang: Some("de".into()),
        ..with_prefix("x", "jabber:server")
    };
    let stanza = receive(
        &header,
        b"<message><x:y/><z xmlns='jabber:server'/></message>",
    );
    let out = written(&stanza, Server);
    assert_eq!(
        out,
        "<message xml:lang='de' xmlns:x='jabber:server'><x:y/><z xmlns='jabber:server'/></message>"
    );
    assert_eq!(Meaning::of(&receive(&server(), &out)), Meaning::of(&stanza));
}

#[test]
fn forwarding_renames_the_content_namespace_where_a_stanza_declares_it() {
    assert_eq!(
        there_and_back(
            &server(),
            "<message xmlns='jabber:server' to='b'><body/></message>"
        ),
        "<message xmlns='jabber:component:accept' to='b'><body/></message>"
    );
    there_and_back(
        &server(),
        "<message><x xmlns='urn:x'><body xmlns=\"jabber&#x3a;server\">a</body><y/></x></message>",
    );
}

#[test]
fn forwarding_renames_prefixes_for_the_content_namespace() {
    assert_eq!(
        there_and_back(
            &server(),
            "<s:message xmlns:s='jabber:server' s:a='1'><s:body/><body/></s:message>"
        ),
        "<s:message xmlns:s='jabber:component:accept' s:a='1'><s:body/><body/></s:message>"
    );
    let header = with_prefix("s", "jabber:server");
    assert_eq!(
        there_and_back(&header, "<s:message><s:body/></s:message>"),
        "<s:message xmlns:s='jabber:component:accept'><s:body/></s:message>"
    );
}

#[test]
fn forwarding_keeps_references_in_to_and_from() {
    let stanza = "<message to='a&amp;b&#64;b.example' from=\"&#x61;@a.example\"/>";
    assert_eq!(there_and_back(&server(), stanza), stanza);
}

#[test]
fn forwarding_never_makes_two_attributes_one() {
    // If the one namespace became the other, this would not be well-formed any more.
    assert_eq!(
        there_and_back(
            &server(),
            "<iq xmlns:a='jabber:server' xmlns:b='jabber:component:accept' a:x='1' b:x='2'/>"
        ),
        "<iq xmlns:a='jabber:component:accept' xmlns:b='jabber:server' a:x='1' b:x='2'/>"
    );
    let header = with_prefix("b", "jabber:component:accept");
    there_and_back(&header, "<iq xmlns:a='jabber:server' a:x='1' b:x='2'/>");
}

#[test]
fn forwarding_a_payload_does_not_smuggle_the_other_content_namespace() {
    let stanza = "<message><iq xmlns='jabber:component:accept'/></message>";
    let there = there_and_back(&server(), stanza);
    assert_eq!(there, "<message><iq xmlns='jabber:server'/></message>");
}

#[test]
fn a_duplicate_xmlns_is_refused() {
    let context = Context::new(Server);
    for bad in [
        "<message xmlns='jabber:server' xmlns='jabber:server'/>",
        "<message><x xmlns='a' y='' xmlns=\"b\"/></message>",
    ] {
        assert_eq!(
            Element::parse(bad, &context),
            Err(DecodeError::DuplicateNamespace)
        );
    }
}

#[test]
fn exactly_one_element_is_parsed() {
    let context = Context::new(Server);
    for (text, error) in [
        ("", DecodeError::NotOneElement),
        (" <a/>", DecodeError::NotOneElement),
        ("<a/> ", DecodeError::NotOneElement),
        ("<a/><b/>", DecodeError::NotOneElement),
        ("</stream:stream>", DecodeError::NotOneElement),
        ("<a>", DecodeError::Truncated),
        ("<a b", DecodeError::Truncated),
        ("<![CDATA[]]><a/>", DecodeError::NotOneElement),
        ("<a></b>", DecodeError::NotWellFormed),
    ] {
        assert_eq!(Element::parse(text, &context), Err(error), "{text}");
    }
    assert!(Element::parse("<a>b</a>", &context).is_ok());
}

/// Stanzas in many spellings; those that are not well-formed are left out by whoever uses them.
fn stanza() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        Just(""),
        Just("a:"),
        Just("s:"),
        Just("c:"),
        Just("stream:"),
        Just("l:")
    ]
    .prop_flat_map(|prefix| {
        prop_oneof![Just("x"), Just("y"), Just("message")]
            .prop_map(move |local| format!("{prefix}{local}"))
    });
    let declared = prop_oneof![
        Just("jabber:server"),
        Just("jabber:component:accept"),
        Just("jabber:client"),
        Just("urn:a"),
        Just("jabber&#58;server"),
    ];
    let attribute = prop_oneof![
        3 => (name.clone(), prop_oneof![Just("1"), Just("&lt;&#10;'"), Just(">"), Just("jabber:server")])
            .prop_map(|(name, value)| format!(" {name}=\"{value}\"")),
        1 => declared.clone().prop_map(|uri| format!(" xmlns='{uri}'")),
        1 => Just(" xmlns=''".to_owned()),
        1 => (prop_oneof![Just("a"), Just("s"), Just("c"), Just("l")], declared)
            .prop_map(|(prefix, uri)| format!("\n xmlns:{prefix} = '{uri}'")),
        1 => prop_oneof![Just(" xml:lang='en'"), Just(" xml:lang=\"\"")].prop_map(str::to_owned),
    ];
    let tag = (name, proptest::collection::vec(attribute, 0..4));
    let text = prop_oneof![
        Just("text"),
        Just("&amp;>"),
        Just("<![CDATA[<a:x xmlns='jabber:server'>]]>"),
        Just("\r\n"),
        Just("é"),
    ]
    .prop_map(str::to_owned);
    let leaf = prop_oneof![
        text,
        tag.clone()
            .prop_map(|(name, attributes)| format!("<{name}{}/>", attributes.concat()))
    ];
    let element = |(name, attributes): (String, Vec<String>), children: Vec<String>| {
        format!(
            "<{name}{}>{}</{name} >",
            attributes.concat(),
            children.concat()
        )
    };
    let tags = tag.clone();
    let node = leaf.prop_recursive(3, 12, 3, move |inner| {
        (tags.clone(), proptest::collection::vec(inner, 0..3))
            .prop_map(move |(tag, children)| element(tag, children))
    });
    (tag, proptest::collection::vec(node, 0..3))
        .prop_map(move |(tag, children)| element(tag, children))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Whatever is accepted arrives with the same meaning, in all directions.
    #[test]
    fn forwarding_keeps_the_meaning(
        stanza in stanza(),
        lang in proptest::option::of(Just("de".to_owned())),
        source in prop_oneof![Just(Server), Just(Component)],
        target in prop_oneof![Just(Server), Just(Component), Just(ContentNamespace::Client)],
    ) {
        let header = StreamHeader {
            lang,
            prefixes: [("a", "urn:a"), ("s", "jabber:server"), ("c", "jabber:component:accept"), ("l", "jabber:client")]
                .map(|(prefix, uri)| (prefix.to_owned(), uri.to_owned()))
                .into(),
            ..StreamHeader::new(source)
        };
        let Ok(received) = Element::parse(stanza, &Context::of(&header)) else {
            return Ok(());
        };
        let out = written(&received, target);
        let arrived = Element::parse(out.freeze(), &Context::new(target)).unwrap();
        prop_assert_eq!(Meaning::of(&arrived), Meaning::of(&received).swapped(source, target));
        prop_assert_eq!(arrived.lang(), received.lang());
        prop_assert_eq!(arrived.stanza_kind(), received.stanza_kind());
        // It is self-contained now: forwarded once more, it is copied.
        prop_assert_eq!(written(&arrived, target), &arrived.bytes()[..]);
    }
}

/// The property above is worth something only if many of the stanzas are accepted and changed.
#[test]
fn the_stanzas_that_are_tried_do_reach_forwarding() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let header = with_prefix("s", "jabber:server");
    let mut context = header.clone();
    for (prefix, uri) in [
        ("a", "urn:a"),
        ("c", "jabber:component:accept"),
        ("l", "jabber:client"),
    ] {
        context.prefixes.push((prefix.into(), uri.into()));
    }
    let context = Context::of(&context);
    let (mut accepted, mut changed) = (0, 0);
    for _ in 0..500 {
        let text = stanza().new_tree(&mut runner).unwrap().current();
        if let Ok(element) = Element::parse(text, &context) {
            accepted += 1;
            changed += usize::from(written(&element, Component) != element.bytes()[..]);
        }
    }
    assert!(accepted > 250 && changed > 200, "{accepted} {changed}");
}
