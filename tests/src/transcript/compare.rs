//! Is what s2sd said what is written? Parsed XML is compared: expanded names, attributes in any order, children and
//! text in order.

use anyhow::{Context as _, bail, ensure};
use bytes::BytesMut;
use tokio_util::codec::Decoder;
use xmpp_stream::{
    Codec, ContentNamespace, Context, Element, Frame, Node, StreamHeader, Tree, XmlLimits,
};

use super::{
    names::{Enclosing, Names},
    print,
};
use crate::wire::Event;

/// Any stream header; `{id}` is its id from now on. Only preludes say this.
pub(super) const ANY_HEADER: &str = "{any-header}";
/// Any features.
pub(super) const ANY_FEATURES: &str = "{any-features}";

/// Compares what s2sd said on a stream with a line.
pub(super) fn said(names: &mut Names, written: &str, event: &Event) -> anyhow::Result<()> {
    let done = match (written, event) {
        (ANY_HEADER, Event::Header(header)) => {
            if let Some(id) = &header.id {
                names.set("id", id);
            }
            Ok(())
        }
        (ANY_FEATURES, Event::Element(element)) if element.name() == "features" => Ok(()),
        ("</stream:stream>", Event::Footer) => Ok(()),
        (written, Event::Header(said)) => {
            header_of(written).and_then(|written| header(names, &written, said))
        }
        (written, Event::Element(said)) => {
            element_of(written).and_then(|written| element(names, &written, said))
        }
        _ => Err(anyhow::anyhow!("something else")),
    };
    done.with_context(|| {
        format!(
            "written: {written}\nsaid:    {}",
            print::event(event).trim_end()
        )
    })
}

/// Compares a stanza with a line.
pub(super) fn element(names: &mut Names, written: &Element, said: &Element) -> anyhow::Result<()> {
    let attribute =
        |value: Option<std::borrow::Cow<'_, str>>| value.unwrap_or_default().into_owned();
    let enclosing = Enclosing {
        element: said.name().to_owned(),
        from: attribute(said.from()),
        to: attribute(said.to()),
        id: said
            .id()
            .map_or_else(|| names.stream_id.clone(), std::borrow::Cow::into_owned),
    };
    tree(names, &written.tree(), &said.tree(), &enclosing)
}

fn tree(
    names: &mut Names,
    written: &Tree,
    said: &Tree,
    enclosing: &Enclosing,
) -> anyhow::Result<()> {
    ensure!(
        written.name == said.name && written.namespace == said.namespace,
        "<{}/> of '{}' where <{}/> of '{}' is written",
        said.name,
        said.namespace,
        written.name,
        written.namespace
    );
    for (namespace, name, value) in &said.attributes {
        ensure!(
            find(written, namespace, name).is_some(),
            "<{}/> has {name}='{value}', of which nothing is written",
            said.name
        );
    }
    for (namespace, name, value) in &written.attributes {
        let found = find(said, namespace, name);
        let found = found.with_context(|| format!("<{}/> has no '{name}'", said.name))?;
        names
            .fits(value, found, enclosing)
            .with_context(|| format!("'{name}' of <{}/>", said.name))?;
    }
    let (written, children) = (worth(written), worth(said));
    for (written, said) in written.iter().zip(&children) {
        match (written, said) {
            (Node::Element(written), Node::Element(said)) => tree(names, written, said, enclosing)?,
            (Node::Text(written), Node::Text(said)) => names.fits(written, said, enclosing)?,
            (Node::Element(written), Node::Text(said)) => {
                bail!("'{said}' where <{}/> is written", written.name)
            }
            (Node::Text(written), Node::Element(said)) => {
                bail!("<{}/> where '{written}' is written", said.name)
            }
        }
    }
    ensure!(
        written.len() == children.len(),
        "<{}/> has {} children and {} are written",
        said.name,
        children.len(),
        written.len()
    );
    Ok(())
}

/// Children without the blanks between elements.
fn worth(tree: &Tree) -> Vec<&Node> {
    let blank = |node: &&Node| !matches!(node, Node::Text(text) if text.trim().is_empty());
    match tree.elements().next() {
        Some(_) => tree.children.iter().filter(blank).collect(),
        None => tree.children.iter().collect(),
    }
}

fn find<'a>(tree: &'a Tree, namespace: &str, name: &str) -> Option<&'a str> {
    let found = tree
        .attributes
        .iter()
        .find(|(other, local, _)| other == namespace && local == name);
    found.map(|(_, _, value)| value.as_str())
}

fn header(names: &mut Names, written: &StreamHeader, said: &StreamHeader) -> anyhow::Result<()> {
    let enclosing = Enclosing::default();
    let values = |header: &StreamHeader| {
        let version = header
            .version
            .map(|version| format!("{}.{}", version.major, version.minor));
        [
            ("xmlns", Some(header.content.uri().to_owned())),
            ("from", header.from.clone()),
            ("to", header.to.clone()),
            ("id", header.id.clone()),
            ("version", version),
            ("xml:lang", header.lang.clone()),
        ]
    };
    for ((name, written), (_, said)) in values(written).into_iter().zip(values(said)) {
        match (written, said) {
            (Some(written), Some(said)) => names
                .fits(&written, &said, &enclosing)
                .with_context(|| format!("'{name}' of the stream header"))?,
            (None, None) => {}
            (Some(_), None) => bail!("the stream header has no '{name}'"),
            (None, Some(said)) => {
                bail!("the stream header has {name}='{said}', of which nothing is written")
            }
        }
    }
    let prefixes = |header: &StreamHeader| {
        let mut prefixes = header.prefixes.clone();
        prefixes.sort();
        prefixes
    };
    ensure!(
        prefixes(written) == prefixes(said),
        "the stream header declares {:?}",
        said.prefixes
    );
    Ok(())
}

/// Reads a header as written.
pub(super) fn header_of(text: &str) -> anyhow::Result<StreamHeader> {
    let mut bytes = BytesMut::from(text);
    match Codec::new(XmlLimits::after_authentication()).decode(&mut bytes)? {
        Some(Frame::Header(header)) => Ok(header),
        _ => bail!("no stream header is written"),
    }
}

/// Reads an element as written, in the scope of a header such as s2sd's.
pub(super) fn element_of(text: &str) -> anyhow::Result<Element> {
    let header = StreamHeader::new(ContentNamespace::Server).with_dialback();
    let element = Element::parse(text.to_owned(), &Context::of(&header));
    element.with_context(|| format!("not one element: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(written: &str, actual: &str, want: bool) {
        let event = match actual {
            "</stream:stream>" => Event::Footer,
            header if header.starts_with("<stream:stream") => {
                Event::Header(header_of(header).unwrap())
            }
            element => Event::Element(element_of(element).unwrap()),
        };
        let done = said(&mut Names::default(), written, &event);
        assert_eq!(done.is_ok(), want, "{written} {actual} {done:?}");
    }

    #[test]
    fn order_of_attributes_prefixes_and_blanks_between_elements_do_not_matter() {
        check("<a x='1' y='2'/>", "<a y='2' x='1'></a>", true);
        check("<db:a/>", "<a xmlns='jabber:server:dialback'/>", true);
        check("<a><b/> <c/></a>", "<a><b/><c/></a>", true);
        check("<a>{any}</a>", "<a>b</a>", true);
    }

    #[test]
    fn everything_else_does() {
        check("<a x='1'/>", "<a/>", false);
        check("<a/>", "<a x='1'/>", false);
        check("<a x='1'/>", "<a x='2'/>", false);
        check("<a/>", "<a xmlns='b'/>", false);
        check("<a><b/><c/></a>", "<a><c/><b/></a>", false);
        check("<a><b/></a>", "<a><b/><b/></a>", false);
        check("<a>b</a>", "<a> b</a>", false);
        check("<a>b</a>", "<a/>", false);
        check("<a/>", "</stream:stream>", false);
    }

    #[test]
    fn headers_are_compared_by_what_they_say() {
        let header = |rest: &str| {
            format!(
                "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams'{rest}>"
            )
        };
        check(
            &header(" id='{id}' to='a'"),
            &header(" to='a' id='1'"),
            true,
        );
        check(&header(" version='1.0'"), &header(" version='1.00'"), true);
        for rest in [
            " to='a'",
            " version='1.0'",
            " xml:lang='en'",
            " xmlns:x='y'",
            " id='1'",
        ] {
            check(&header(""), &header(rest), false);
            check(&header(rest), &header(""), false);
        }
        check("<stream:features/>", &header(""), false);
    }
}
