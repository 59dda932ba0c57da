//! Elements as trees, for the few that are looked into.

use rxml::{Event, Parse, Parser};

use crate::Context;

/// An element with all that is in it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tree {
    /// The namespace name; empty if there is none.
    pub namespace: String,
    /// The local name.
    pub name: String,
    /// Namespace, local name and value of each attribute; declarations are not among them.
    pub attributes: Vec<(String, String, String)>,
    /// Elements and text, in order.
    pub children: Vec<Node>,
}

/// What an element may contain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Node {
    /// A child element.
    Element(Tree),
    /// Text, references resolved; never two in a row.
    Text(String),
}

impl Tree {
    /// Has it this expanded name?
    pub fn is(&self, namespace: &str, name: &str) -> bool {
        self.name == name && self.namespace == namespace
    }

    /// An attribute in no namespace.
    pub fn attr(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(namespace, found, _)| namespace.is_empty() && found == name)
            .map(|(_, _, value)| value.as_str())
    }

    /// All child elements.
    pub fn elements(&self) -> impl Iterator<Item = &Tree> {
        self.children.iter().filter_map(|node| match node {
            Node::Element(tree) => Some(tree),
            Node::Text(_) => None,
        })
    }

    /// The first child element with this expanded name.
    pub fn child(&self, namespace: &str, name: &str) -> Option<&Tree> {
        self.elements().find(|tree| tree.is(namespace, name))
    }

    /// The child elements with this expanded name.
    pub fn children_named(&self, namespace: &str, name: &str) -> impl Iterator<Item = &Tree> {
        self.elements().filter(move |tree| tree.is(namespace, name))
    }

    /// The text directly within.
    pub fn text(&self) -> String {
        self.children
            .iter()
            .filter_map(|node| match node {
                Node::Text(text) => Some(text.as_str()),
                Node::Element(_) => None,
            })
            .collect()
    }

    /// Reads one element that a framer has accepted.
    pub(crate) fn read(bytes: &[u8], context: &Context) -> Self {
        let mut stack = vec![Self::default()];
        let mut parser = Parser::new();
        let header = context.start_tag();
        for chunk in header.chunks(8192).chain(bytes.chunks(8192)) {
            let mut slice = chunk;
            while let Ok(Some(event)) = parser.parse(&mut slice, false) {
                build(&mut stack, event);
            }
        }
        // The stack holds a root for the roots, the stream, and what was left open: nothing.
        while stack.len() > 2 {
            close(&mut stack);
        }
        let stream = stack.pop().unwrap_or_default();
        stream
            .children
            .into_iter()
            .find_map(|node| match node {
                Node::Element(tree) => Some(tree),
                Node::Text(_) => None,
            })
            .unwrap_or_default()
    }
}

fn build(stack: &mut Vec<Tree>, event: Event) {
    match event {
        Event::XmlDeclaration(..) => {}
        Event::StartElement(_, (namespace, name), attributes) => stack.push(Tree {
            namespace: namespace.to_string(),
            name: name.to_string(),
            attributes: attributes
                .into_iter()
                .map(|((namespace, name), value)| (namespace.to_string(), name.to_string(), value))
                .collect(),
            children: Vec::new(),
        }),
        Event::EndElement(_) => close(stack),
        Event::Text(_, text) => {
            let Some(open) = stack.last_mut() else { return };
            match open.children.last_mut() {
                Some(Node::Text(before)) => before.push_str(&text),
                _ => open.children.push(Node::Text(text)),
            }
        }
    }
}

fn close(stack: &mut Vec<Tree>) {
    if let Some(done) = stack.pop()
        && let Some(parent) = stack.last_mut()
    {
        parent.children.push(Node::Element(done));
    }
}
