//! Limits hold while bytes arrive, at every split, and no buffer grows past them.
#![allow(clippy::unwrap_used)]

mod common;

use bytes::BytesMut;
use common::{OPEN, decode_in, decode_with};
use tokio_util::codec::Decoder;
use xmpp_stream::{Codec, Condition, DecodeError, Excess, Frame, XmlLimits};

fn roomy() -> XmlLimits {
    XmlLimits::after_authentication()
        .with_header_bytes(200)
        .with_element_bytes(200)
        .with_depth(4)
        .with_attributes(6)
        .with_namespaces(6)
        .with_excess(Excess::EndsStream)
}

/// What follows a header, under these limits.
#[track_caller]
fn check(limits: XmlLimits, after_header: &str) -> Result<usize, DecodeError> {
    let (frames, error) = decode_with(limits, format!("{OPEN}{after_header}").as_bytes());
    match error {
        None => Ok(frames.len() - 1),
        Some(error) => Err(error),
    }
}

#[test]
fn an_element_may_have_just_as_many_bytes_as_allowed() {
    let element = |length: usize| format!("<a>{}</a>", "x".repeat(length - 7));
    assert_eq!(check(roomy(), &element(200)), Ok(1));
    assert_eq!(check(roomy(), &element(200).repeat(3)), Ok(3));
    let error = Err(DecodeError::ElementTooBig { limit: 200 });
    assert_eq!(check(roomy(), &element(201)), error);
    assert_eq!(check(roomy(), &element(204).replace("</a>", "")), error);
    // Also in a name, an attribute, a CDATA section, an end tag.
    for cut in [
        format!("<{}", "x".repeat(300)),
        format!("<a b='{}", "x".repeat(300)),
        format!("<a><![CDATA[{}", "x".repeat(300)),
        format!("<a></a{}", " ".repeat(300)),
        format!("</stream:stream{}", " ".repeat(300)),
    ] {
        assert_eq!(check(roomy(), &cut), error, "{cut}");
    }
}

#[test]
fn what_is_wrong_before_the_limit_is_wrong_first() {
    let bad = format!("<a></b>{}", "x".repeat(300));
    assert_eq!(check(roomy(), &bad), Err(DecodeError::NotWellFormed));
}

#[test]
fn a_header_has_a_limit_of_its_own() {
    let roomy = || roomy().with_element_bytes(1000);
    let long = OPEN.replace("a.example", &"a".repeat(200));
    let (frames, error) = decode_with(roomy(), long.as_bytes());
    assert_eq!(
        (frames.len(), error),
        (0, Some(DecodeError::ElementTooBig { limit: 200 }))
    );
    let endless = format!("<?xml version='1.0'{}", " ".repeat(300));
    let (_, error) = decode_with(roomy(), endless.as_bytes());
    assert_eq!(error, Some(DecodeError::ElementTooBig { limit: 200 }));
}

#[test]
fn depth_is_bounded_as_the_start_tag_arrives() {
    assert_eq!(check(roomy(), "<a><a><a><a/></a></a></a>"), Ok(1));
    assert_eq!(check(roomy(), "<a><a><a><a>"), Ok(0));
    assert_eq!(
        check(roomy(), "<a><a><a><a><a>"),
        Err(DecodeError::TooDeep { limit: 4 })
    );
    assert_eq!(
        check(roomy(), "<a><a><a><a><a/>"),
        Err(DecodeError::TooDeep { limit: 4 })
    );
    assert_eq!(
        check(roomy(), &"<a><b/><b/><b/><b/><b/></a>".repeat(3)),
        Ok(3)
    );
}

#[test]
fn attributes_are_bounded() {
    let element = |count: usize| {
        let attributes: String = (0..count).map(|number| format!(" a{number}='1'")).collect();
        format!("<a><b{attributes}/></a>")
    };
    assert_eq!(check(roomy(), &element(6)), Ok(1));
    assert_eq!(
        check(roomy(), &element(7)),
        Err(DecodeError::TooManyAttributes { limit: 6 })
    );
}

#[test]
fn namespaces_in_scope_are_bounded() {
    // Two are the header's.
    let nested =
        "<a xmlns='1'><a xmlns='2'><a xmlns:p='3'><a xmlns='4'/><a xmlns='5'/></a></a></a>";
    assert_eq!(check(roomy(), nested), Ok(1));
    assert_eq!(check(roomy(), &nested.repeat(3)), Ok(3));
    let more = nested.replace("'4'", "'4' xmlns:q='6'");
    assert_eq!(
        check(roomy(), &more),
        Err(DecodeError::TooManyNamespaces { limit: 6 })
    );
    let header = OPEN.replace(
        "version",
        "xmlns:a='1' xmlns:b='1' xmlns:c='1' xmlns:d='1' xmlns:e='1' version",
    );
    let limits = roomy().with_attributes(20).with_header_bytes(1000);
    let (_, error) = decode_with(limits, header.as_bytes());
    assert_eq!(error, Some(DecodeError::TooManyNamespaces { limit: 6 }));
}

#[test]
fn all_bytes_count_before_authentication_white_space_too() {
    let limits = |total| roomy().with_total_bytes(OPEN.len() + total);
    assert_eq!(check(limits(12), "<a/> <b/>\n\n\n"), Ok(4));
    let error = |total| {
        Err(DecodeError::TooManyBytes {
            limit: OPEN.len() + total,
        })
    };
    assert_eq!(check(limits(11), "<a/> <b/>\n\n\n"), error(11));
    assert_eq!(check(limits(8), "<a/> <b/>"), error(8));
    assert_eq!(check(limits(4), "<a/><b/>"), error(4));
    assert_eq!(check(limits(3), "<a/>"), error(3));
    let (frames, error) = decode_with(limits(0), OPEN.as_bytes());
    assert_eq!((frames.len(), error), (1, None));
}

#[test]
fn all_elements_count_before_authentication_but_not_the_footer() {
    let limits = roomy().with_total_elements(2);
    assert_eq!(check(limits, "<a/><b/></stream:stream>"), Ok(3));
    assert_eq!(
        check(limits, "<a/><b/><c"),
        Err(DecodeError::TooManyElements { limit: 2 })
    );
}

#[test]
fn totals_go_on_over_a_restart_and_begin_anew_with_new_limits() {
    let limits = roomy().with_total_elements(1);
    let mut codec = Codec::new(limits);
    let next = |codec: &mut Codec, text: &str| {
        let mut buffer = BytesMut::from(text);
        codec.decode(&mut buffer)
    };
    next(&mut codec, OPEN).unwrap();
    next(&mut codec, "<a/>").unwrap();
    codec.set_limits(limits);
    next(&mut codec, "<a/>").unwrap();
    codec.restart();
    next(&mut codec, OPEN).unwrap();
    assert_eq!(
        next(&mut codec, "<a/>"),
        Err(DecodeError::TooManyElements { limit: 1 })
    );
}

#[test]
fn limits_may_become_lower_in_the_middle_of_an_element() {
    let mut codec = Codec::new(XmlLimits::after_authentication());
    let mut buffer = BytesMut::from(&*format!("{OPEN}<a>{}<b/><b>", "x".repeat(300)));
    codec.decode(&mut buffer).unwrap();
    assert_eq!(codec.decode(&mut buffer), Ok(None));
    codec.set_limits(roomy());
    assert_eq!(
        codec.decode(&mut buffer),
        Err(DecodeError::ElementTooBig { limit: 200 })
    );
}

#[test]
fn names_and_attributes_have_a_bound_of_their_own() {
    let long = "x".repeat(9000);
    for element in [
        format!("<{long}/>"),
        format!("<a {long}='1'/>"),
        format!("<a b='{long}'/>"),
    ] {
        let (_, error) = decode_in(
            XmlLimits::before_authentication(),
            &[OPEN.as_bytes(), element.as_bytes()],
        );
        let error = error.unwrap();
        assert!(
            matches!(error, DecodeError::TokenTooLong { .. }),
            "{error:?}"
        );
        assert_eq!(error.condition(), Condition::PolicyViolation);
    }
}

#[test]
fn a_header_is_no_larger_on_a_stream_that_is_authenticated() {
    let after = XmlLimits::after_authentication();
    assert_eq!(
        after.header_bytes,
        XmlLimits::before_authentication().element_bytes
    );
    let half = "a".repeat(after.header_bytes / 2 - 200);
    let addresses = format!("from='{half}' to='{half}'");
    let mut long = OPEN.replace("from='a.example' to='b.example'", &addresses);
    let (frames, error) = decode_in(after, &[long.as_bytes()]);
    assert_eq!((frames.len(), error), (1, None));
    long = long.replace("version", &format!("id='{}' version", "a".repeat(400)));
    let (_, error) = decode_in(after, &[long.as_bytes()]);
    assert_eq!(
        error,
        Some(DecodeError::ElementTooBig {
            limit: after.header_bytes
        })
    );
}

/// What a header declares may have to be written on every stanza that is forwarded.
#[test]
fn what_a_header_puts_in_scope_is_bounded() {
    let scope = |declared: &str| {
        let header = OPEN.replace("version", &format!("{declared} version"));
        decode_in(XmlLimits::after_authentication(), &[header.as_bytes()]).1
    };
    let too_big = DecodeError::ScopeTooBig { limit: 4096 };
    assert_eq!(too_big.condition(), Condition::PolicyViolation);
    let error = Some(too_big);
    let prefix = |count: usize, length: usize| -> String {
        let uri = |number: usize| format!("xmlns:p{number}='{}' ", "u".repeat(length - 2));
        (0..count).map(uri).collect()
    };
    assert_eq!(scope(&prefix(4, 1024)), None);
    assert_eq!(scope(&prefix(5, 1024)), error);
    assert_eq!(scope(&format!("xml:lang='{}'", "x".repeat(4096))), None);
    assert_eq!(scope(&format!("xml:lang='{}'", "x".repeat(4097))), error);
    // As they would be written: escaped.
    assert_eq!(scope(&format!("xmlns:x=\"{}\"", "'".repeat(1000))), error);
}

#[test]
fn the_buffer_never_holds_more_than_one_element_and_one_read() {
    let mut codec = Codec::new(XmlLimits::before_authentication().with_element_bytes(10_000));
    let mut buffer = BytesMut::from(OPEN);
    codec.decode(&mut buffer).unwrap();
    let mut read = 0;
    let error = loop {
        buffer.extend_from_slice(if read == 0 { b"<a>" } else { &[b'x'; 1000] });
        read += 1;
        assert!(buffer.len() <= 11_000);
        if let Err(error) = codec.decode(&mut buffer) {
            break error;
        }
    };
    assert_eq!(error, DecodeError::ElementTooBig { limit: 10_000 });
    assert!(buffer.is_empty());
}

#[test]
fn white_space_is_not_kept() {
    let mut codec = Codec::new(XmlLimits::after_authentication());
    let mut buffer = BytesMut::from(OPEN);
    codec.decode(&mut buffer).unwrap();
    let mut seen = 0;
    for _ in 0..1000 {
        buffer.extend_from_slice(&[b'\n'; 100]);
        while let Some(frame) = codec.decode(&mut buffer).unwrap() {
            assert_eq!(frame, Frame::Whitespace);
            seen += 1;
        }
        assert!(buffer.is_empty());
    }
    assert_eq!(seen, 1);
}

#[test]
fn strangers_get_less_than_peers() {
    let before = XmlLimits::before_authentication();
    let after = XmlLimits::after_authentication();
    // RFC 6120 §13.12: no less than 10,000 bytes.
    assert!(before.element_bytes >= 10_000);
    assert!(before.element_bytes < after.element_bytes);
    assert!(before.depth < after.depth);
    assert_eq!(
        (before.total_bytes, before.total_elements),
        (Some(65536), Some(32))
    );
    assert_eq!((after.total_bytes, after.total_elements), (None, None));
}
