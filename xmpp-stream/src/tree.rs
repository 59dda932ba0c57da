//! Elements as trees, for the few that are looked into.

use std::borrow::Cow;

use memchr::memchr;
use rxml::{Event, Parse, Parser};

use crate::feed::{Feed, Piece};
use crate::{Context, Writer, ns};

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

    /// The element again, self-contained, for [`Writer::child`] or to be sent.
    ///
    /// Each namespace is declared where it changes, so an element in a content namespace says it. What is written
    /// reads as the same tree; prefixes are new.
    pub fn to_writer(&self) -> Writer {
        self.write_within(None)
    }

    fn write_within(&self, outer: Option<&str>) -> Writer {
        let mut writer = Writer::new(self.name.as_str());
        if outer != Some(&self.namespace) {
            writer = writer.xmlns(&self.namespace);
        }
        for (at, (namespace, name, value)) in self.attributes.iter().enumerate() {
            writer = match namespace.as_str() {
                "" => writer.attr(name, value),
                ns::XML => writer.attr(&format!("xml:{name}"), value),
                namespace => writer
                    .attr(&format!("xmlns:a{at}"), namespace)
                    .attr(&format!("a{at}:{name}"), value),
            };
        }
        for child in &self.children {
            writer = match child {
                Node::Element(child) => writer.child(child.write_within(Some(&self.namespace))),
                Node::Text(text) => writer.text(text),
            };
        }
        writer
    }

    /// Reads one element that a framer has accepted.
    pub(crate) fn read(bytes: &[u8], context: &Context) -> Self {
        let mut stack = vec![Self::default()];
        let mut parser = Parser::new();
        let header = context.start_tag();
        let bytes = lines(bytes);
        for bytes in [&header[..], &bytes[..]] {
            let (mut feed, mut fed) = (Feed::default(), 0);
            loop {
                let piece = match feed.next(bytes, fed) {
                    Piece::Bytes([]) => break,
                    Piece::Bytes(piece) => piece,
                    Piece::LineFeed => b"\n",
                    Piece::Skip(length) => {
                        fed += length;
                        continue;
                    }
                };
                let mut slice = piece;
                while let Ok(Some(event)) = parser.parse(&mut slice, false) {
                    build(&mut stack, event);
                }
                fed += piece.len();
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

/// With one line feed for each end of a line (XML 1.0 §2.11).
fn lines(bytes: &[u8]) -> Cow<'_, [u8]> {
    if memchr(b'\r', bytes).is_none() {
        return Cow::Borrowed(bytes);
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut after_return = false;
    for byte in bytes {
        match byte {
            b'\r' => out.push(b'\n'),
            b'\n' if after_return => {}
            _ => out.push(*byte),
        }
        after_return = *byte == b'\r';
    }
    Cow::Owned(out)
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
