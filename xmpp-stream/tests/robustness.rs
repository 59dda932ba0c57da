//! Whatever arrives, in whatever pieces: no panic, one verdict, bounded buffers.
#![allow(clippy::unwrap_used)]

mod common;

use bytes::BytesMut;
use common::{OPEN, decode_in};
use proptest::prelude::*;
use tokio_util::codec::Decoder;
use xmpp_stream::{
    Codec, ContentNamespace, Context, DecodeError, Element, Excess, Frame, XmlLimits,
};

/// Pieces of XML that, put together at random, often go far.
const WORDS: &[&str] = &[
    "<message to='x&lt;'><b c='d'>text</b></message>",
    "<p:x xmlns:p='u' c='&#9;'/>",
    "<message><x xmlns='jabber:server'>",
    "</x></message>",
    "<a/>",
    "<a/>",
    "</a>",
    " ",
    "text",
    "é",
    "<a a='1' b='2' c='3' d='4' e='5' f='6'/>",
    "<a><a><a>",
    "</a></a></a>",
    "&#000000000065;",
    "&#x000",
    "&#000",
    "<\u{2c00}/>",
    "<a b='1\r2'>",
    "xmlns='a b' ",
    "<a>",
    "</a>",
    "<a/>",
    "<b c='d'>",
    "</b>",
    "<message ",
    "to='x' ",
    "xmlns='u' ",
    "xmlns:p='u' ",
    "p:q='1' ",
    "<p:x>",
    "</p:x>",
    ">",
    "/>",
    "'",
    "\"",
    "=",
    " ",
    "\n",
    "\r",
    "&amp;",
    "&#65;",
    "&x;",
    "&",
    "<![CDATA[",
    "]]>",
    "]",
    "<!--",
    "-->",
    "<?",
    "?>",
    "<!",
    "text",
    "é",
    "\u{1f600}",
    "\u{fffe}",
    "\0",
    "</stream:stream>",
    "<stream:stream",
    "xml:lang='de' ",
    "xmlns='jabber:server' ",
    "<?xml version='1.0'?>",
];

fn input() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        30 => proptest::sample::select(&WORDS[..8]).prop_map(|word| word.as_bytes().to_vec()),
        30 => proptest::sample::select(WORDS).prop_map(|word| word.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..4),
    ];
    (any::<bool>(), proptest::collection::vec(word, 0..40)).prop_map(|(opened, words)| {
        let mut input = if opened {
            OPEN.as_bytes().to_vec()
        } else {
            Vec::new()
        };
        input.extend(words.concat());
        input
    })
}

fn small() -> XmlLimits {
    XmlLimits::before_authentication()
        .with_header_bytes(160)
        .with_element_bytes(160)
        .with_depth(4)
        .with_attributes(5)
        .with_namespaces(6)
        .with_total_bytes(300)
        .with_total_elements(5)
        .with_excess(Excess::EndsStream)
}

/// As tight, but what is over a limit is skipped.
fn lenient() -> XmlLimits {
    small()
        .with_excess(Excess::RefusesElement)
        .with_element_bytes(4000)
        .with_depth(2)
        .with_attributes(5)
        .with_namespaces(3)
        .with_total_bytes(None::<usize>)
        .with_total_elements(None::<usize>)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_in_any_pieces_have_one_verdict(
        input in input(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
        tight in 0..4,
    ) {
        let limits = match tight {
            0 => small(),
            1 => lenient(),
            2 => lenient().with_element_bytes(70),
            _ => XmlLimits::before_authentication(),
        };
        let whole = decode_in(limits, &[&input]);
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
        cuts.extend([0, input.len()]);
        cuts.sort_unstable();
        let pieces: Vec<_> = cuts.windows(2).map(|cut| &input[cut[0]..cut[1]]).collect();
        prop_assert_eq!(&decode_in(limits, &pieces), &whole);
        let bytes: Vec<_> = input.chunks(1).collect();
        prop_assert_eq!(&decode_in(limits, &bytes), &whole);
    }

    /// What is refused ends where it would have ended, and the stream goes on behind it.
    #[test]
    fn what_is_refused_ends_where_it_would_have_ended(input in input()) {
        let loose = XmlLimits::after_authentication().with_excess(Excess::EndsStream);
        let (whole, error) = decode_in(loose, &[&input]);
        let (found, _) = decode_in(lenient().with_header_bytes(16000), &[&input]);
        let header = whole.first().is_some_and(|frame| matches!(frame, Frame::Header(_)));
        if !header || matches!(error, Some(DecodeError::Encoding)) {
            return Ok(());
        }
        // Namespaces are not looked at in what is thrown away.
        let aside = matches!(error, Some(
            DecodeError::UndeclaredPrefix | DecodeError::DuplicateNamespace
            | DecodeError::ReservedNamespace | DecodeError::NotWellFormed));
        prop_assert!(found.len() == whole.len() || aside && found.len() > whole.len());
        for (whole, found) in whole.iter().zip(&found).skip(1) {
            match found {
                Frame::Refused(refused) => {
                    let Frame::Element(element) = whole else { panic!() };
                    let stub = refused.stanza();
                    prop_assert_eq!(stub.map(|stub| stub.stanza_kind()), element.stanza_kind().map(Some));
                    if let Some(stub) = stub {
                        prop_assert_eq!(stub.to(), element.to());
                        prop_assert_eq!(stub.type_attr(), element.type_attr());
                    }
                }
                same => prop_assert_eq!(same, whole),
            }
        }
    }

    #[test]
    fn any_bytes_leave_the_buffer_bounded(input in input()) {
        let mut codec = Codec::new(small());
        let mut buffer = BytesMut::new();
        for piece in input.chunks(7) {
            buffer.extend_from_slice(piece);
            while let Ok(Some(_)) = codec.decode(&mut buffer) {}
            prop_assert!(buffer.len() < 160 + 7);
            let _ = codec.boundary(&BytesMut::from("x"));
        }
    }

    /// What is accepted can be looked at in every way, and is accepted by itself too.
    #[test]
    fn accepted_elements_stand_by_themselves(input in input()) {
        let (frames, _) = decode_in(XmlLimits::before_authentication(), &[&input]);
        for frame in frames {
            let Frame::Element(element) = frame else { continue };
            let again = Element::parse(element.bytes().clone(), element.context());
            prop_assert_eq!(again.as_ref(), Ok(&element));
            let tree = element.tree();
            prop_assert!(tree.is(element.namespace(), element.name()));
            prop_assert_eq!(tree.attr("to").map(str::to_owned), element.to().map(|to| to.into_owned()));
            prop_assert_eq!(tree.attr("c").map(str::to_owned), element.attr("c").map(|c| c.into_owned()));
            prop_assert_eq!(tree.text(), element.text());
            for content in [ContentNamespace::Server, ContentNamespace::Component] {
                let mut out = BytesMut::new();
                element.write_for(content, &mut out);
                prop_assert!(Element::parse(out.freeze(), &Context::new(content)).is_ok());
            }
        }
    }
}

/// Random words are worth something only if they get somewhere.
#[test]
fn the_words_that_are_tried_make_elements_and_all_kinds_of_errors() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut elements = 0;
    let mut errors = std::collections::HashSet::new();
    for _ in 0..3000 {
        let bytes = input().new_tree(&mut runner).unwrap().current();
        let (frames, error) = decode_in(XmlLimits::before_authentication(), &[&bytes]);
        elements += frames
            .iter()
            .filter(|frame| matches!(frame, Frame::Element(_)))
            .count();
        errors.extend(error.map(|error| std::mem::discriminant(&error)));
    }
    assert!(
        elements > 500 && errors.len() >= 8,
        "{elements} {}",
        errors.len()
    );
}
