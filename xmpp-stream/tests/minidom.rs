//! `minidom` and back: nothing changes its meaning.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use proptest::prelude::*;
use xmpp_stream::{ContentNamespace, Context, DecodeError, Element, Node, StreamHeader, Tree, ns};

/// A stream with a language and a prefix, as a peer may open one.
fn context() -> Arc<Context> {
    let mut header = StreamHeader::new(ContentNamespace::Server).with_dialback();
    header.lang = Some("de".to_owned());
    Context::of(&header)
}

fn attributes() -> impl Strategy<Value = Vec<(String, String, String)>> {
    let namespace = prop_oneof![Just(""), Just(ns::XML), Just("urn:x"), Just("urn:y")];
    let name = prop_oneof![Just("to"), Just("lang"), Just("ä-1")];
    let one = (namespace, name, "[a<&'\"\\t\\n\\r é🔑]{0,6}");
    prop::collection::vec(one, 0..4).prop_map(|all| {
        let mut found: Vec<_> = all
            .into_iter()
            .map(|(namespace, name, value)| (namespace.to_owned(), name.to_owned(), value))
            .collect();
        found.sort();
        found.dedup_by(|a, b| (&a.0, &a.1) == (&b.0, &b.1));
        found
    })
}

fn tree() -> impl Strategy<Value = Tree> {
    let names = || {
        let namespace = prop_oneof![
            Just(""),
            Just("jabber:server"),
            Just("jabber:client"),
            Just(ns::DIALBACK),
            Just("urn:x"),
        ];
        (
            namespace,
            prop_oneof![Just("message"), Just("body"), Just("ä")],
        )
    };
    let leaf = (names(), attributes()).prop_map(|((namespace, name), attributes)| Tree {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        attributes,
        children: Vec::new(),
    });
    leaf.prop_recursive(3, 12, 4, move |inner| {
        let child = prop_oneof![
            inner.prop_map(Node::Element),
            "[a<&>\\]\\r\\n é🔑]{1,6}".prop_map(Node::Text),
        ];
        let children = prop::collection::vec(child, 0..4);
        (names(), attributes(), children).prop_map(|((namespace, name), attributes, children)| {
            let mut tree = Tree {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                attributes,
                children: Vec::new(),
            };
            for child in children {
                match (child, tree.children.last_mut()) {
                    (Node::Text(more), Some(Node::Text(text))) => text.push_str(&more),
                    (child, _) => tree.children.push(child),
                }
            }
            tree
        })
    })
}

proptest! {
    #[test]
    fn an_element_comes_back_from_minidom_as_it_was(tree in tree()) {
        let context = context();
        let element = Element::parse(tree.to_writer().finish(), &context).unwrap();
        prop_assert_eq!(&element.tree(), &tree);
        let dom = element.to_minidom();
        prop_assert_eq!(&Tree::from(&dom), &tree);
        let back = Element::from_minidom(&dom, &context).unwrap();
        prop_assert_eq!(&back.tree(), &tree);
        prop_assert_eq!(back.to(), element.to());
        prop_assert_eq!(back.lang(), element.lang());
        prop_assert_eq!(back.stanza_kind(), element.stanza_kind());
        // And what minidom itself writes is the same to us; without a namespace it takes it that none is in scope.
        if !tree.namespace.is_empty() {
            let theirs = Element::parse(String::from(&dom), &context).unwrap();
            prop_assert_eq!(&theirs.tree(), &tree);
        }
    }
}

#[test]
fn a_prefix_of_the_header_is_a_namespace_in_minidom() {
    let xml = "<db:result from='a.example' to='b.example'>key</db:result>";
    let element = Element::parse(xml, &context()).unwrap();
    let dom = minidom::Element::from(&element);
    assert!(dom.is("result", ns::DIALBACK));
    assert_eq!(
        (dom.attr("to"), dom.text().as_str()),
        (Some("b.example"), "key")
    );
}

#[test]
fn what_xml_cannot_carry_does_not_come_back() {
    let context = context();
    for name in ["a b='c'", "a/><b", "", "1", "a:b", "xmlns"] {
        let dom = minidom::Element::bare(name, "jabber:server");
        let found = Element::from_minidom(&dom, &context);
        assert_eq!(found.is_ok(), name == "xmlns", "{name:?}: {found:?}");
    }
    let mut dom = minidom::Element::bare("message", "jabber:server");
    dom.append_text_node("\u{1}");
    let found = Element::from_minidom(&dom, &context);
    assert_eq!(found.unwrap_err(), DecodeError::NotWellFormed);
}

#[test]
fn texts_in_a_row_are_one_and_empty_ones_are_none() {
    let mut dom = minidom::Element::bare("body", "jabber:server");
    for text in ["", "a", "", "b"] {
        dom.append_text_node(text);
    }
    let element = Element::from_minidom(&dom, &context()).unwrap();
    assert_eq!(element.tree().children, [Node::Text("ab".to_owned())]);
}
