//! The decoder, the features, and the elements of dialback.

use bytes::BytesMut;
use tokio_util::codec::Decoder as _;
use xmpp_dialback::wire::Nonza;
use xmpp_stream::{
    Codec, ContentNamespace, Context, DecodeError, Element, Excess, Features, Frame, StreamHeader,
    Writer, XmlLimits,
};

use super::{Bytes, Reached};

const OPEN: &str = "<stream:stream xmlns:stream='http://etherx.jabber.org/streams' \
     xmlns='jabber:server' xmlns:db='jabber:server:dialback' version='1.0'>";

fn limits() -> XmlLimits {
    XmlLimits::before_authentication().with_element_bytes(400)
}

/// All frames, and what ended them. The buffer never holds more than an element and a piece.
fn decoded<'p>(
    codec: Codec,
    pieces: impl Iterator<Item = &'p [u8]>,
) -> (Vec<Frame>, Option<DecodeError>) {
    let mut codec = codec.with_content_namespace(ContentNamespace::Server);
    let (mut buffer, mut frames) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match codec.decode(&mut buffer) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
        assert!(
            buffer.len() <= 400 + piece.len(),
            "{} bytes wait",
            buffer.len()
        );
    }
    (frames, None)
}

/// White space is told as it comes, and that depends on the pieces.
fn said(frames: &[Frame]) -> Vec<String> {
    let told = frames
        .iter()
        .filter(|frame| !matches!(frame, Frame::Whitespace));
    told.map(|frame| format!("{frame:?}")).collect()
}

/// Any bytes in any pieces have one verdict, in a bounded buffer; an element stands by itself, and means the same when
/// it was written for another stream.
pub(crate) fn decoder(data: &[u8]) -> Reached {
    let mut reached = Reached::new();
    let mut bytes = Bytes(data);
    let (open, cut) = (
        !bytes.byte().is_multiple_of(4),
        usize::from(bytes.byte() % 9) + 1,
    );
    let text = match open {
        true => [OPEN.as_bytes(), bytes.0].concat(),
        false => bytes.0.to_vec(),
    };
    let (frames, error) = decoded(Codec::new(limits()), std::iter::once(&text[..]));
    let (in_pieces, same) = decoded(Codec::new(limits()), text.chunks(cut));
    assert_eq!(said(&frames), said(&in_pieces));
    assert_eq!(error, same);
    // Under the limits of an open stream too, where an element is refused by itself.
    for limits in [
        limits(),
        limits().with_excess(Excess::RefusesElement).with_depth(3),
    ] {
        let both = decoded(Codec::new(limits), text.chunks(cut));
        let by_rxml = decoded(Codec::new(limits).without_scanner(), text.chunks(cut));
        assert_eq!(both, by_rxml);
    }
    if error.is_some() {
        reached.insert("refused");
    }
    for frame in &frames {
        match frame {
            Frame::Header(_) => reached.insert("header"),
            Frame::Footer => reached.insert("footer"),
            Frame::Whitespace => false,
            Frame::Refused(_) => reached.insert("passed over"),
            Frame::Element(element) => {
                stands(element);
                reached.insert("element");
                element.tree().elements().next().is_some() && reached.insert("child")
            }
            other => panic!("{other:?}"),
        };
    }
    reached
}

fn stands(element: &Element) {
    let context = Context::new(ContentNamespace::Component);
    let mut written = BytesMut::new();
    element.write_for(ContentNamespace::Component, &mut written);
    let again = Element::parse(written.freeze(), &context).expect("we write well-formed XML");
    assert_eq!(element.name(), again.name());
    assert_eq!(element.stanza_kind(), again.stanza_kind());
    assert_eq!(element.from(), again.from());
    assert_eq!(element.to(), again.to());
    assert_eq!(element.text(), again.text());
}

fn parsed(text: Vec<u8>) -> Option<Element> {
    let header = StreamHeader::new(ContentNamespace::Server).with_dialback();
    Element::parse(text, &Context::of(&header)).ok()
}

/// Features are read, and what was read is written the same, but for what is not ours.
pub(crate) fn features(data: &[u8]) -> Reached {
    let mut reached = Reached::new();
    let mut text = b"<stream:features>".to_vec();
    text.extend_from_slice(data);
    text.extend_from_slice(b"</stream:features>");
    let Some(features) = parsed(text).as_ref().and_then(Features::from_element) else {
        reached.insert("refused");
        return reached;
    };
    if features.starttls.is_some() {
        reached.insert("starttls");
    }
    if !features.mechanisms.is_empty() {
        reached.insert("mechanisms");
    }
    if features.limits.is_some() {
        reached.insert("limits");
    }
    if features.dialback.is_some() {
        reached.insert("dialback");
    }
    if features.bidi {
        reached.insert("bidi");
    }
    let written = parsed(features.to_bytes().to_vec()).expect("we write well-formed XML");
    let again = Features::from_element(&written).expect("we write features");
    let known = |mut features: Features| {
        features.other.clear();
        features
    };
    assert_eq!(known(features), known(again));
    reached
}

/// An element of dialback is read or refused, and what was read is written the same.
pub(crate) fn dialback(data: &[u8]) -> Reached {
    let mut reached = Reached::new();
    let mut read = |text: Vec<u8>| {
        let Some(element) = parsed(text) else { return };
        match Nonza::from_element(&element) {
            Some(Ok(nonza)) => {
                let written = parsed(nonza.to_bytes().to_vec()).expect("we write well-formed XML");
                reached.insert(match nonza {
                    Nonza::Request(_) => "request",
                    Nonza::Result { .. } => "result",
                    Nonza::Question(_) => "question",
                    Nonza::Answer { .. } => "answer",
                });
                assert_eq!(Nonza::from_element(&written), Some(Ok(nonza)));
            }
            Some(Err(_)) => {
                reached.insert("refused");
            }
            None => {}
        }
    };
    read(data.to_vec());
    // Deeper, for who does not know the names.
    let mut bytes = Bytes(data);
    let mut word = |or: &str| match String::from_utf8_lossy(bytes.some()) {
        text if text.is_empty() => or.to_owned(),
        text => text.into_owned(),
    };
    for name in ["db:result", "db:verify"] {
        let writer = Writer::new(name);
        let writer = writer
            .attr("from", word("a.test"))
            .attr("to", word("b.test"));
        let writer = writer.attr("id", word("1"));
        read(writer.text(&word("key")).finish().to_vec());
        let writer = Writer::new(name);
        let writer = writer
            .attr("from", word("a.test"))
            .attr("to", word("b.test"));
        let writer = writer.attr("id", "1").attr("type", word("valid"));
        read(writer.finish().to_vec());
    }
    reached
}
