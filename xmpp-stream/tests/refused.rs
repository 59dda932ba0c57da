//! What ends no stream: elements over a limit that nobody can know of, and such as other parsers do not take.
#![allow(clippy::unwrap_used)]

mod common;

use common::{OPEN, decode_in, decode_with};
use xmpp_stream::{DecodeError, Frame, RefusedElement, StanzaCondition, XmlLimits, error_reply};

fn limits() -> XmlLimits {
    XmlLimits::after_authentication()
        .with_depth(4)
        .with_attributes(6)
        .with_namespaces(6)
        .with_element_bytes(20_000)
}

/// The only element between two that are good.
#[track_caller]
fn between(decode: impl Fn(&[u8]) -> common::Decoded, element: &str) -> Frame {
    let input = format!("{OPEN}<iq id='1'/>{element}<iq id='2'/></stream:stream>");
    let (mut frames, error) = decode(input.as_bytes());
    assert_eq!(error, None, "{element}");
    assert_eq!(frames.len(), 5, "{frames:?}");
    assert_eq!(frames.pop(), Some(Frame::Footer));
    let last = frames.pop();
    assert!(matches!(last, Some(Frame::Element(iq)) if iq.id().as_deref() == Some("2")));
    frames.pop().unwrap()
}

#[track_caller]
fn refused(element: &str) -> RefusedElement {
    // Cut everywhere where it is short.
    let frame = match element.len() {
        ..1000 => between(|input| decode_with(limits(), input), element),
        _ => between(
            |input| {
                let whole = decode_in(limits(), &[input]);
                let pieces: Vec<_> = input.chunks(7).collect();
                assert_eq!(decode_in(limits(), &pieces), whole);
                whole
            },
            element,
        ),
    };
    match frame {
        Frame::Refused(refused) => refused,
        other => panic!("{other:?}"),
    }
}

const HEAD: &str = "from='a@a.example' to='b@b.example' id='x&amp;y' type='chat'";

fn message(within: &str) -> String {
    format!("<message {HEAD}>{within}</message>")
}

#[test]
fn a_stanza_over_a_limit_is_refused_and_the_stream_goes_on() {
    let long = "x".repeat(9000);
    let attributes: String = (0..7).map(|number| format!(" a{number}='1'")).collect();
    let deep = format!("{}{}", "<a>".repeat(40), "</a>".repeat(40));
    for (within, why) in [
        (deep, DecodeError::TooDeep { limit: 4 }),
        (
            "<a><b><c><d x='>'>&lt;<![CDATA[</d>]]>]]&gt;<e/ ></d></c></b></a>"
                .replace("/ >", "/>"),
            DecodeError::TooDeep { limit: 4 },
        ),
        (
            format!("<a{attributes}/>"),
            DecodeError::TooManyAttributes { limit: 6 },
        ),
        (
            "<a xmlns='1'><b xmlns='2' xmlns:c='3' xmlns:d='4' xmlns:e='5'/></a>".to_owned(),
            DecodeError::TooManyNamespaces { limit: 6 },
        ),
        (
            format!("<a b='{long}'/>"),
            DecodeError::TokenTooLong { limit: 8192 },
        ),
        (
            format!("<{long}/>"),
            DecodeError::TokenTooLong { limit: 8192 },
        ),
        (
            format!("<a {long}='&#x0041;é'></a >"),
            DecodeError::TokenTooLong { limit: 8192 },
        ),
    ] {
        let refused = refused(&message(&within));
        assert_eq!(refused.why(), &why);
        let stanza = refused.stanza().unwrap();
        assert_eq!(stanza.from().as_deref(), Some("a@a.example"));
        assert_eq!(stanza.to().as_deref(), Some("b@b.example"));
        assert_eq!(stanza.type_attr().as_deref(), Some("chat"));
        let error = refused.stanza_error();
        assert_eq!(error.condition, StanzaCondition::PolicyViolation);
        let reply = error_reply(stanza, &error).unwrap().finish();
        let reply = String::from_utf8(reply.to_vec()).unwrap();
        assert!(
            reply.contains("id='x&amp;y'") && reply.contains(&why.to_string()),
            "{reply}"
        );
    }
}

#[test]
fn its_own_start_tag_may_be_what_is_over_a_limit() {
    let long = "x".repeat(9000);
    for element in [
        format!("<message {HEAD} a='{long}'/>"),
        format!("<s:message xmlns:s='jabber&#x3a;server' {HEAD} a='{long}'><a></a></s:message>"),
        format!("<message a='1' b='2' c='3' {HEAD}/>"),
    ] {
        let refused = refused(&element);
        assert_eq!(refused.stanza().unwrap().id().as_deref(), Some("x&y"));
    }
    // An id that is too long is none; an answer must not be over the limit itself.
    let refused_id = refused(&format!(
        "<iq id='{long}' type='get' from='a.example' to='b.example'/>"
    ));
    assert_eq!(refused_id.stanza().unwrap().id(), None);
    assert_eq!(
        refused_id.stanza().unwrap().type_attr().as_deref(),
        Some("get")
    );
    // What is no stanza cannot be answered.
    for element in [
        format!("<x xmlns='urn:x' a='{long}'/>"),
        format!("<{long}/>"),
        format!("<message xmlns='urn:x' a='{long}'/>"),
    ] {
        assert_eq!(refused(&element).stanza(), None);
    }
}

#[test]
fn what_other_parsers_do_not_take_is_refused() {
    for within in [
        "<egg\u{17f} xmlns='urn:t'/>",
        "<\u{10000}/>",
        "<a \u{2c00}='1'/>",
        "<a xmlns:\u{2c00}='urn:t'/>",
    ] {
        let refused = refused(&message(within));
        assert_eq!(refused.why(), &DecodeError::UnportableName, "{within}");
        assert_eq!(
            refused.stanza_error().condition,
            StanzaCondition::NotAcceptable
        );
    }
    for within in [
        "<a xmlns='urn:}'/>",
        "<a xmlns:b='a&#10;b'/>",
        "<a xmlns='a|b'/>",
    ] {
        let refused = refused(&message(within));
        assert_eq!(refused.why(), &DecodeError::UnportableNamespace, "{within}");
    }
    // A namespace of the header's that is used would have to be written too.
    let open = OPEN.replace("version", "xmlns:odd='urn:}' version");
    for (within, taken) in [("<odd:a/>", false), ("<a/>", true)] {
        let (frames, error) =
            decode_with(limits(), format!("{open}{}", message(within)).as_bytes());
        assert_eq!(error, None);
        assert_eq!(
            matches!(frames.last(), Some(Frame::Element(_))),
            taken,
            "{within}"
        );
    }
}

#[test]
fn a_stanza_counts_as_it_would_be_forwarded() {
    let lang = "x".repeat(2000);
    let open = OPEN.replace(
        "version",
        &format!("xmlns:p='{lang}' xml:lang='{lang}' version"),
    );
    let decode = |bytes: usize, stanza: &str| {
        let limits = limits().with_element_bytes(bytes).with_attributes(16);
        let input = format!("{open}{stanza}<iq xml:lang='en'/>");
        let (frames, error) = decode_in(limits, &[input.as_bytes()]);
        assert_eq!(error, None);
        assert_eq!(frames.len(), 3);
        frames.into_iter().nth(1).unwrap()
    };
    let plain = message("");
    let size = plain.len() + lang.len() + " xml:lang=''".len();
    assert!(
        matches!(decode(size, &plain), Frame::Element(element) if element.forwarded_size() == size)
    );
    let Frame::Refused(refused) = decode(size - 1, &plain) else {
        panic!()
    };
    assert_eq!(
        refused.why(),
        &DecodeError::ForwardedTooBig { limit: size - 1 }
    );
    let used = message("<p:x/>");
    let size = used.len() + 2 * lang.len() + " xml:lang='' xmlns:p=''".len();
    assert!(matches!(decode(size, &used), Frame::Element(_)));
    assert!(matches!(decode(size - 1, &used), Frame::Refused(_)));
}

#[test]
fn what_cannot_be_skipped_safely_ends_the_stream() {
    let deep = "<a>".repeat(10);
    let long = format!("<a b='{}", "x".repeat(9000));
    for (within, error) in [
        (format!("{deep}</b>"), DecodeError::NotWellFormed),
        (
            format!("{deep}&lol;"),
            DecodeError::Restricted(xmpp_stream::Restricted::Entity),
        ),
        (
            format!("{deep}<!-- -->"),
            DecodeError::Restricted(xmpp_stream::Restricted::Comment),
        ),
        (
            format!("{deep}<!DOCTYPE"),
            DecodeError::Restricted(xmpp_stream::Restricted::DocumentType),
        ),
        (
            format!("{deep}<?php"),
            DecodeError::Restricted(xmpp_stream::Restricted::ProcessingInstruction),
        ),
        (format!("{deep}]]>"), DecodeError::NotWellFormed),
        (
            format!("{deep}<b c='1' c='2'/>"),
            DecodeError::NotWellFormed,
        ),
        (format!("{deep}<b c='1'd='2'/>"), DecodeError::NotWellFormed),
        (format!("{deep}<b:c:d/>"), DecodeError::NotWellFormed),
        (format!("{deep}\u{fffe}"), DecodeError::NotWellFormed),
        (format!("{deep}&#0;"), DecodeError::NotWellFormed),
        (format!("{long}<"), DecodeError::NotWellFormed),
        (
            format!("{deep}{}", "x".repeat(20_000)),
            DecodeError::ElementTooBig { limit: 20_000 },
        ),
    ] {
        let input = format!("{OPEN}<message>{within}");
        let whole = decode_in(limits(), &[input.as_bytes()]);
        assert_eq!(whole.1.as_ref(), Some(&error), "{within}");
        let pieces: Vec<_> = input.as_bytes().chunks(5).collect();
        assert_eq!(decode_in(limits(), &pieces), whole);
    }
    let mut input = format!("{OPEN}<message>{deep}").into_bytes();
    input.push(0xff);
    assert_eq!(decode_in(limits(), &[&input]).1, Some(DecodeError::NotUtf8));
}

/// rxml looks for a namespace through all open elements: 100,000 of them must not be given to it.
#[test]
fn an_element_of_any_depth_is_skipped_in_no_time() {
    let deep = format!("{}{}", "<a>".repeat(60_000), "</a>".repeat(60_000));
    let began = std::time::Instant::now();
    let limits = XmlLimits::after_authentication();
    let input = format!("{OPEN}{}", message(&deep));
    let (frames, error) = decode_in(limits, &[input.as_bytes()]);
    assert!(
        matches!(&frames[..], [Frame::Header(_), Frame::Refused(_)]),
        "{error:?}"
    );
    assert!(began.elapsed() < std::time::Duration::from_secs(2));
}

/// Each concession ([`feed`], [`declaration`]) is one to rxml. If this fails, rxml has learnt it, and ours can go.
#[test]
fn rxml_needs_what_it_is_helped_with() {
    use rxml::{Parse, Parser};
    let takes = |text: &str| {
        let (mut parser, mut bytes) = (Parser::new(), text.as_bytes());
        loop {
            match parser.parse(&mut bytes, true) {
                Ok(Some(_)) => {}
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    };
    assert!(takes("<a b='1\n2'>&#65;</a>"));
    for text in [
        "<a b='1\r2'/>",
        "<a>&#0000000000000000009;</a>",
        "<?xml version='1.0' standalone='yes'?><a/>",
        "<?xml version='1.0' encoding='utf-8' standalone='no'?><a/>",
    ] {
        assert!(!takes(text), "{text}");
    }
}
