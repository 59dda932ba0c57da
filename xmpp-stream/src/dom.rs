//! [`Element`] to `minidom::Element` and back, for programs that use `xmpp-parsers`.

use std::sync::Arc;

use minidom::rxml::{Namespace, NcName};

use crate::{Context, DecodeError, Element, Node, Tree, ns};

impl Element {
    /// The same element as a tree of the crate `minidom`, which `xmpp-parsers` reads.
    ///
    /// ```
    /// use xmpp_stream::{ContentNamespace, Context, Element};
    ///
    /// let context = Context::new(ContentNamespace::Server);
    /// let stanza = "<iq id='1' type='get' to='b.example'><ping xmlns='urn:xmpp:ping'/></iq>";
    /// let stanza = Element::parse(stanza, &context)?;
    /// let dom = stanza.to_minidom();
    /// assert!(dom.has_child("ping", "urn:xmpp:ping"));
    /// assert_eq!(Element::from_minidom(&dom, &context)?.tree(), stanza.tree());
    /// # Ok::<(), xmpp_stream::DecodeError>(())
    /// ```
    pub fn to_minidom(&self) -> minidom::Element {
        built(&self.tree())
    }

    /// An element as it would stand on a stream with this context. Prefixes are new, and each namespace is declared where
    /// it changes.
    ///
    /// An error if it has a name or a character that XML cannot carry: `minidom` checks neither.
    pub fn from_minidom(
        element: &minidom::Element,
        context: &Arc<Context>,
    ) -> Result<Self, DecodeError> {
        let tree = Tree::from(element);
        let written = Self::parse(tree.to_writer().finish(), context)?;
        // Names are not escaped: one with a blank in it could have become something else.
        if written.tree() == tree {
            Ok(written)
        } else {
            Err(DecodeError::NotWellFormed)
        }
    }
}

impl From<&Element> for minidom::Element {
    fn from(element: &Element) -> Self {
        element.to_minidom()
    }
}

/// For [`Tree::to_writer`].
impl From<&minidom::Element> for Tree {
    fn from(element: &minidom::Element) -> Self {
        let attributes = element.attrs().iter();
        let mut tree = Self {
            namespace: element.ns(),
            name: element.name().to_owned(),
            attributes: attributes
                .map(|((namespace, name), value)| {
                    (namespace.to_string(), name.to_string(), value.clone())
                })
                .collect(),
            children: Vec::new(),
        };
        for node in element.nodes() {
            match (node, tree.children.last_mut()) {
                (minidom::Node::Element(child), _) => {
                    tree.children.push(Node::Element(Self::from(child)));
                }
                (minidom::Node::Text(text), Some(Node::Text(before))) => before.push_str(text),
                (minidom::Node::Text(text), _) if text.is_empty() => {}
                (minidom::Node::Text(text), _) => tree.children.push(Node::Text(text.clone())),
            }
        }
        tree
    }
}

fn built(tree: &Tree) -> minidom::Element {
    let mut element = minidom::Element::bare(tree.name.as_str(), tree.namespace.as_str());
    for (namespace, name, value) in &tree.attributes {
        // The parser, which is the same, has accepted it as one.
        if let Ok(name) = NcName::try_from(name.as_str()) {
            let namespace = match namespace.as_str() {
                "" => Namespace::NONE,
                ns::XML => Namespace::XML,
                other => Namespace::from(other.to_owned()),
            };
            element.attrs_mut().insert(namespace, name, value.clone());
        }
    }
    for child in &tree.children {
        match child {
            Node::Element(child) => {
                element.append_child(built(child));
            }
            Node::Text(text) => element.append_text_node(text.as_str()),
        }
    }
    element
}
