//! The codec: what it accepts, what it refuses and with which condition, at every split.
#![allow(clippy::unwrap_used)]

use bytes::BytesMut;
use tokio_util::codec::{Decoder, Encoder};
use xmpp_stream::{
    Codec, Condition, ContentNamespace, DecodeError, Frame, Limits, Restricted, StanzaKind, ns,
};

const OPEN: &str = "<stream:stream xmlns:stream='http://etherx.jabber.org/streams' \
     xmlns='jabber:server' from='a.example' to='b.example' version='1.0'>";

/// What a stream comes to: its frames, and how it fails if it does.
type Outcome = (Vec<Frame>, Option<DecodeError>);

fn drain(codec: &mut Codec, buffer: &mut BytesMut, outcome: &mut Outcome) {
    while outcome.1.is_none() {
        match codec.decode(buffer) {
            Ok(Some(frame)) => outcome.0.push(frame),
            Ok(None) => return,
            Err(error) => outcome.1 = Some(error),
        }
    }
}

fn decode_in(limits: Limits, pieces: &[&[u8]]) -> Outcome {
    let mut codec = Codec::new(limits);
    let mut buffer = BytesMut::new();
    let mut outcome = (Vec::new(), None);
    for piece in pieces {
        buffer.extend_from_slice(piece);
        drain(&mut codec, &mut buffer, &mut outcome);
    }
    outcome
}

/// Decodes the input whole, cut in two at every position, and byte by byte.
#[track_caller]
fn decode_with(limits: Limits, input: &[u8]) -> Outcome {
    let whole = decode_in(limits, &[input]);
    for cut in 1..input.len() {
        let (left, right) = input.split_at(cut);
        assert_eq!(decode_in(limits, &[left, right]), whole, "cut at {cut}");
    }
    let bytes: Vec<_> = input.chunks(1).collect();
    assert_eq!(decode_in(limits, &bytes), whole, "byte by byte");
    whole
}

#[track_caller]
fn decode(input: &str) -> Outcome {
    decode_with(Limits::after_authentication(), input.as_bytes())
}

/// All frames of an input that is fine.
#[track_caller]
fn frames(input: &str) -> Vec<Frame> {
    let (frames, error) = decode(input);
    assert_eq!(error, None, "{input}");
    frames
}

/// The error of what follows a stream header.
#[track_caller]
fn error(after_header: &str) -> DecodeError {
    decode(&format!("{OPEN}{after_header}")).1.unwrap()
}

#[test]
fn a_stream_is_header_elements_and_footer() {
    let input =
        format!("{OPEN}<message to='b.example'><body>Hi</body></message> \n<iq/></stream:stream>");
    let frames = frames(&input);
    let [
        Frame::Header(header),
        Frame::Element(message),
        Frame::Whitespace,
        Frame::Element(iq),
        Frame::Footer,
    ] = &frames[..]
    else {
        panic!("{frames:?}");
    };
    assert_eq!(header.content, ContentNamespace::Server);
    assert_eq!(header.from.as_deref(), Some("a.example"));
    assert_eq!(header.to.as_deref(), Some("b.example"));
    assert!(header.is_xmpp_1());
    assert_eq!(message.stanza(), Some(StanzaKind::Message));
    assert_eq!(message.namespace(), ns::SERVER);
    assert_eq!(
        message.bytes(),
        "<message to='b.example'><body>Hi</body></message>"
    );
    assert_eq!(iq.bytes(), "<iq/>");
}

#[test]
fn input_may_end_on_a_self_closing_element() {
    let frames = frames(&format!("{OPEN}<presence/>"));
    assert!(matches!(&frames[..], [Frame::Header(_), Frame::Element(_)]));
}

#[test]
fn a_self_closing_header_is_a_header_and_a_footer() {
    let closed = OPEN.replace('>', "/>");
    assert!(matches!(
        &frames(&closed)[..],
        [Frame::Header(_), Frame::Footer]
    ));
}

#[test]
fn an_undefined_entity_is_restricted_xml() {
    let error = error("<message>&foo;</message>");
    assert_eq!(error, DecodeError::Restricted(Restricted::Entity));
    assert_eq!(error.condition(), Condition::RestrictedXml);
}

#[test]
fn a_written_header_reads_as_itself() {
    let Frame::Header(header) = frames(OPEN).remove(0) else {
        panic!()
    };
    let mut header = header.with_dialback();
    header.id = Some("it's <\"&\n".into());
    let mut out = BytesMut::new();
    Codec::new(Limits::before_authentication())
        .encode(Frame::Header(header.clone()), &mut out)
        .unwrap();
    let text = String::from_utf8(out.to_vec()).unwrap();
    assert_eq!(frames(&text), [Frame::Header(header)]);
}
