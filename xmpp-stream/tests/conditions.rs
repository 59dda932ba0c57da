//! Every kind of bad input and the condition that answers it (RFC 6120 §4.9.3, §11).
//!
//! The cases are the ones that XML parsers are known to get wrong. Each is fed whole, cut at every
//! position, and byte by byte.
#![allow(clippy::unwrap_used)]

mod common;

use common::{OPEN, decode, decode_with, error, frames};
use xmpp_stream::{Condition, DecodeError, Restricted, XmlLimits};

/// What follows a stream header is refused with this condition.
#[track_caller]
fn refused(condition: Condition, cases: &[&str]) {
    for case in cases {
        let error = error(case);
        assert_eq!(error.condition(), condition, "{case}: {error:?}");
        assert_eq!(error.stream_error().condition, condition);
    }
}

/// A whole input is refused with this condition.
#[track_caller]
fn refused_whole(condition: Condition, cases: &[&[u8]]) {
    for case in cases {
        let (frames, error) = decode_with(XmlLimits::before_authentication(), case);
        let text = String::from_utf8_lossy(case);
        let error = error.unwrap_or_else(|| panic!("{text}: {frames:?}"));
        assert_eq!(error.condition(), condition, "{text}: {error:?}");
    }
}

#[track_caller]
fn accepted(cases: &[&str]) {
    for case in cases {
        frames(&format!("{OPEN}{case}"));
    }
}

#[test]
fn well_formed_and_allowed() {
    accepted(&[
        r#"<message a="&lt;&gt;&amp;&apos;&quot;">&lt;&gt;&amp;&apos;&quot;</message>"#,
        "<message>&#65;&#x1F600;&#x9;&#xA;&#xD;</message>",
        "<message>\u{7f}\u{80}\u{9f}</message>",
        "<message><![CDATA[<not a=\"tag\">&amp;]]></message>",
        "<message><![CDATA[]]><![CDATA[]]]]><a/><![CDATA[>]]></message>",
        "<message a=\"1\n2\t3&#10;4\"/>",
        "<message a='1\r2\r' b='\r\n'\r\n/>",
        "<message a='&#0000000000000000009;'>&#x00000000000000000041;</message>",
        "<message>a\r\nb\rc</message>",
        r#"<message xml:lang="en"/>"#,
        "<message xmlns:xml='http://www.w3.org/XML/1998/namespace'/>",
        r#"<élément ф="1"/>"#,
        "<a xmlns=''/>",
        "<a xmlns:x='u' x:a='1' a='2'/>",
        "<a>></a>",
        "<a b='>'/>",
        "<a\n/>",
        "<a></a\n>",
        "<a>\u{fffd}\u{e000}\u{10000}\u{10fffd}</a>",
    ]);
}

#[test]
fn not_well_formed() {
    refused(
        Condition::NotWellFormed,
        &[
            "<message>&#x1F;</message>",
            "<message>&#xFFFF;</message>",
            "<message>&#xD800;</message>",
            "<message>&#x110000;</message>",
            "<message>&#x;</message>",
            "<message>&#X41;</message>",
            "<message>&#65 </message>",
            "<message>&#000000000000;</message>",
            "<message>&#x000000000000;</message>",
            "<message>&#00000;</message>",
            "<message>&#0000000001114112;</message>",
            "<message>&#00 65;</message>",
            "<message>&#x00x41;</message>",
            "<message>&#0000000x41;</message>",
            "<message a='1\r</message>",
            "<message>& </message>",
            "<message>&amp</message>",
            "<message>\u{0}</message>",
            "<message>\u{1b}</message>",
            "<message>\u{fffe}</message>",
            "<message>a]]>b</message>",
            "<message><![cdata[]]></message>",
            r#"<message xmlns:x="u" xmlns:y="u" x:a="1" y:a="2"/>"#,
            "<message a='1' a='2'/>",
            "<message xmlns:a='1' xmlns:a='2'/>",
            r#"<message a="<"/>"#,
            r#"<message a="1"b="2"/>"#,
            "<message a/>",
            "<message a=b/>",
            r#"<message x:a="1"/>"#,
            "<x:message/>",
            r#"<message xmlns:x=""/>"#,
            r#"<message xmlns:xml="urn:x"/>"#,
            r#"<message xmlns:xmlns="urn:x"/>"#,
            r#"<message xmlns:foo="http://www.w3.org/XML/1998/namespace"/>"#,
            r#"<a:b:c xmlns:a="u"/>"#,
            "<:a/>",
            "<a:/>",
            "<message></iq>",
            r#"<a:m xmlns:a="u" xmlns:b="u"></b:m>"#,
            "< message/>",
            "<message/ >",
            "<message>< message>>>>/>\n",
            "<1a/>",
            "<>",
            "</>",
            "<!>",
            "<a><b></a></b>",
            "</stream>",
            "</stream:stream x='1'>",
            "</stream:stream/>",
        ],
    );
}

#[test]
fn what_rxml_lets_pass_is_refused() {
    assert_eq!(
        error("<a xmlns='u1' xmlns='u2'/>"),
        DecodeError::DuplicateNamespace
    );
    assert_eq!(
        error("<a><b x='1' xmlns='u' y='2' xmlns='u'/></a>"),
        DecodeError::DuplicateNamespace
    );
    for declaration in [
        "xmlns='http://www.w3.org/2000/xmlns/'",
        "xmlns:x='http://www.w3.org/2000/xmlns/'",
        "xmlns:x='http://www.w3.org/2000/xmlns&#x2F;'",
        "xmlns='http://www.w3.org/XML/1998/namespace'",
        "xmlns='http://www.w3.org/XML/1998/namespac&#101;'",
    ] {
        assert_eq!(
            error(&format!("<a {declaration}/>")),
            DecodeError::ReservedNamespace
        );
        let header = OPEN.replace("version", &format!("{declaration} version"));
        let refused = decode(&header).1;
        if declaration.starts_with("xmlns=") {
            assert!(refused.is_some());
        } else {
            assert_eq!(refused, Some(DecodeError::ReservedNamespace));
        }
    }
    let twice = OPEN.replace("version", "xmlns='jabber:server' version");
    assert_eq!(decode(&twice).1, Some(DecodeError::DuplicateNamespace));
}

#[test]
fn restricted_xml() {
    refused(
        Condition::RestrictedXml,
        &[
            "<!-- hello world -->",
            "<message><!-- x --></message>",
            "<message>text<!--",
            "<?xml-stylesheet type='text/xsl' href='style.xsl'?>",
            "<?xml version='1.0'?>",
            "<message><?php ?></message>",
            "<message><?xml version='1.0'?></message>",
            "<message><?xml-stylesheet ?></message>",
            "<!DOCTYPE x>",
            "<message><!DOCTYPE x></message>",
            "<message><!ENTITY x 'y'></message>",
            "<message>&foo;</message>",
            "<message>&averyveryverylongname;</message>",
            "<message a='&foo;'/>",
            "<message>&lol1;</message>",
        ],
    );
    refused_whole(
        Condition::RestrictedXml,
        &[
            b"<?foo?>",
            b"<!-- x -->",
            b"<!DOCTYPE s [<!ENTITY lol 'lol'><!ENTITY lol1 '&lol;&lol;&lol;&lol;'>]>",
            b"<?xml version='1.0'?><?xml version='1.0'?>",
            b"<?xml version='1.0'?><!-- x -->",
            b"<?xml version='1.0'?>\n<!DOCTYPE stream>",
        ],
    );
    assert_eq!(
        error("<a>&b;</a>"),
        DecodeError::Restricted(Restricted::Entity)
    );
    assert_eq!(
        error("<a><!--"),
        DecodeError::Restricted(Restricted::Comment)
    );
    assert_eq!(
        error("<a><!D"),
        DecodeError::Restricted(Restricted::DocumentType)
    );
    assert_eq!(
        error("<a><?p"),
        DecodeError::Restricted(Restricted::ProcessingInstruction)
    );
}

#[test]
fn unsupported_encoding() {
    let utf16 = |text: &str, big: bool| -> Vec<u8> {
        let unit = |unit: u16| {
            if big {
                unit.to_be_bytes()
            } else {
                unit.to_le_bytes()
            }
        };
        text.encode_utf16().flat_map(unit).collect()
    };
    let marked = format!("\u{feff}{OPEN}");
    refused_whole(
        Condition::UnsupportedEncoding,
        &[
            b"<?xml version='1.0' encoding='ISO-8859-1'?>",
            b"<?xml version=\"1.0\" encoding = \"UTF-16\"?>",
            b"<?xml version='1.0' encoding='US-ASCII'?>",
            &utf16(OPEN, true),
            &utf16(OPEN, false),
            &utf16(&marked, true),
            &utf16(&marked, false),
        ],
    );
    for bytes in [
        &b"\xc0\x80"[..],
        b"\xc1\xbf",
        b"\xe0\x80\xaf",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xfe",
        b"\xe2\x82",
        b"\x80",
    ] {
        let mut input = format!("{OPEN}<message>").into_bytes();
        input.extend_from_slice(bytes);
        input.extend_from_slice(b"</message>");
        refused_whole(Condition::UnsupportedEncoding, &[&input]);
    }
}

#[test]
fn u_feff_is_a_character_and_may_not_begin_a_stream() {
    refused_whole(
        Condition::NotWellFormed,
        &[format!("\u{feff}{OPEN}").as_bytes()],
    );
    accepted(&["<message>\u{feff}</message>"]);
}

#[test]
fn what_is_no_stream_at_all() {
    refused_whole(
        Condition::NotWellFormed,
        &[
            b"GET / HTTP/1.1\r\n\r\n",
            b"\x16\x03\x01\x02",
            b"x",
            b"<stream:stream>",
            b"<>",
            b"</stream:stream>",
            b" <?xml version='1.0'?>",
            b"<?xml version='1.1'?>",
            b"<?xml encoding='UTF-8'?>",
            b"<?xml version='1.0'?>x",
        ],
    );
    refused_whole(
        Condition::InvalidNamespace,
        &[
            b"<html>",
            b"<stream:stream xmlns:stream='urn:x' xmlns='jabber:server'>",
            b"<stream xmlns='jabber:server'>",
            b"<stream:stream xmlns:stream='http://etherx.jabber.org/streams'>",
            b"<stream:stream xmlns:stream='http://etherx.jabber.org/streams' xmlns=''>",
            b"<stream:stream xmlns:stream='http://etherx.jabber.org/streams' xmlns='x'>",
            b"<stream:stream xmlns:stream='http://etherx.jabber.org/streams' \
              xmlns:s='jabber:server'>",
        ],
    );
    refused_whole(
        Condition::BadNamespacePrefix,
        &[
            b"<s:stream xmlns:s='http://etherx.jabber.org/streams' xmlns='jabber:server'>",
            b"<stream xmlns='http://etherx.jabber.org/streams'>",
        ],
    );
    refused_whole(
        Condition::BadFormat,
        &[
            b"<stream:error xmlns:stream='http://etherx.jabber.org/streams' xmlns='jabber:server'>",
            b"<stream:STREAM xmlns:stream='http://etherx.jabber.org/streams' xmlns='jabber:server'>",
        ],
    );
}

#[test]
fn errors_say_what_is_wrong_to_whoever_fixes_it() {
    let limit = DecodeError::ElementTooBig { limit: 16384 };
    assert_eq!(
        limit.stream_error().to_bytes(),
        "<stream:error><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
         <text xmlns='urn:ietf:params:xml:ns:xmpp-streams' xml:lang='en'>an element of more than \
         16384 bytes</text><stanza-too-big xmlns='urn:xmpp:errors'/></stream:error>"
    );
}

/// Every sequence of these bytes up to length 3, and many of length 4, is judged as the standard
/// library judges it, and characters as XML 1.0 §2.2 does.
#[test]
fn utf8_is_judged_exactly() {
    const EDGES: &[u8] = b"\x7f\x80\x8f\x90\x9f\xa0\xbd\xbe\xbf\xc0\xc1\xc2\xdf\xe0\xe1\xec\xed\
        \xee\xef\xf0\xf1\xf3\xf4\xf5\xf8\xff";
    let mut sequences: Vec<Vec<u8>> = vec![vec![]];
    let mut all = Vec::new();
    for _ in 0..3 {
        sequences = sequences
            .iter()
            .flat_map(|sequence| {
                EDGES
                    .iter()
                    .map(move |byte| [&sequence[..], &[*byte]].concat())
            })
            .collect();
        all.extend(sequences.iter().cloned());
    }
    for lead in [0xf0, 0xf1, 0xf3, 0xf4, 0xf5] {
        let tails = sequences
            .iter()
            .filter(|tail| tail.iter().all(|byte| (0x80..0xc0).contains(byte)));
        all.extend(tails.map(|tail| [&[lead], &tail[..]].concat()));
    }
    for sequence in all {
        let input = [OPEN.as_bytes(), b"<a>", &sequence, b"</a>"].concat();
        let (frames, error) = common::decode_in(XmlLimits::before_authentication(), &[&input]);
        match std::str::from_utf8(&sequence) {
            Ok(text) if text.contains(['\u{fffe}', '\u{ffff}']) => {
                assert_eq!(error, Some(DecodeError::NotWellFormed), "{sequence:x?}");
            }
            Ok(_) => assert_eq!((frames.len(), error), (2, None), "{sequence:x?}"),
            Err(_) => assert!(
                matches!(error, Some(DecodeError::NotUtf8)),
                "{sequence:x?}: {error:?}"
            ),
        }
    }
}
