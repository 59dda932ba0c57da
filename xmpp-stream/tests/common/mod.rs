//! One place that knows how to drive the codec.
#![allow(dead_code, clippy::unwrap_used, unreachable_pub)]

use bytes::BytesMut;
use tokio_util::codec::Decoder;
use xmpp_stream::{Codec, DecodeError, Frame, XmlLimits};

/// A stream header.
pub const OPEN: &str = "<stream:stream xmlns:stream='http://etherx.jabber.org/streams' \
     xmlns='jabber:server' from='a.example' to='b.example' version='1.0'>";

/// What a stream comes to: its frames, and how it fails if it does.
pub type Decoded = (Vec<Frame>, Option<DecodeError>);

fn drain(codec: &mut Codec, buffer: &mut BytesMut, outcome: &mut Decoded) {
    while outcome.1.is_none() {
        match codec.decode(buffer) {
            Ok(Some(frame)) => outcome.0.push(frame),
            Ok(None) => return,
            Err(error) => outcome.1 = Some(error),
        }
    }
}

/// What both framers say, which is the same after each piece.
pub fn decode_in(limits: XmlLimits, pieces: &[&[u8]]) -> Decoded {
    let mut codecs = [Codec::new(limits), Codec::new(limits).without_scanner()];
    let mut buffers = [BytesMut::new(), BytesMut::new()];
    let mut outcomes = [(Vec::new(), None), (Vec::new(), None)];
    for piece in pieces {
        for nth in 0..2 {
            buffers[nth].extend_from_slice(piece);
            drain(&mut codecs[nth], &mut buffers[nth], &mut outcomes[nth]);
        }
        assert_eq!(outcomes[0], outcomes[1]);
    }
    let [outcome, _] = outcomes;
    outcome
}

/// Decodes the input whole, cut in two at every position, and byte by byte.
#[track_caller]
pub fn decode_with(limits: XmlLimits, input: &[u8]) -> Decoded {
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
pub fn decode(input: &str) -> Decoded {
    decode_with(XmlLimits::after_authentication(), input.as_bytes())
}

/// All frames of an input that is fine.
#[track_caller]
pub fn frames(input: &str) -> Vec<Frame> {
    let (frames, error) = decode(input);
    assert_eq!(error, None, "{input}");
    frames
}

/// The error of what follows a stream header.
#[track_caller]
pub fn error(after_header: &str) -> DecodeError {
    decode(&format!("{OPEN}{after_header}")).1.unwrap()
}
