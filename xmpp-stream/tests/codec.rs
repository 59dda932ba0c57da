//! The codec: frames, headers, the boundary, the end.
#![allow(clippy::unwrap_used)]

mod common;

use bytes::BytesMut;
use common::{OPEN, decode, decode_in, error, frames};
use tokio_util::codec::{Decoder, Encoder};
use xmpp_stream::{
    Codec, Condition, ContentNamespace, DecodeError, Frame, StanzaKind, StreamHeader, Version,
    XmlLimits, ns,
};

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
    assert_eq!(message.stanza_kind(), Some(StanzaKind::Message));
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
fn a_written_header_reads_as_itself() {
    let Frame::Header(header) = frames(OPEN).remove(0) else {
        panic!()
    };
    let mut header = header.with_dialback();
    header.id = Some("it's <\"&\n".into());
    let mut out = BytesMut::new();
    Codec::new(XmlLimits::before_authentication())
        .encode(Frame::Header(header.clone()), &mut out)
        .unwrap();
    let text = String::from_utf8(out.to_vec()).unwrap();
    assert_eq!(frames(&text), [Frame::Header(header)]);
}

/// The header that a start tag is read as.
#[track_caller]
fn header(input: &str) -> StreamHeader {
    match frames(input).remove(0) {
        Frame::Header(header) => header,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_header_without_version_from_or_id_is_one_of_an_old_peer() {
    let header = header(
        "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams'>",
    );
    assert_eq!(
        header,
        StreamHeader {
            version: None,
            ..StreamHeader::new(ContentNamespace::Server)
        }
    );
    assert!(!header.is_xmpp_1());
}

#[test]
fn a_header_may_follow_an_xml_declaration() {
    for declaration in [
        "<?xml version='1.0'?>",
        "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\" ?>\r\n",
        "<?xml version='1.0' encoding='utf-8'?>  ",
        "<?xml version='1.0' standalone='yes'?>",
        "<?xml version='1.0'\n standalone = 'no' ?>",
        "<?xml version='1.0' encoding='UTF-8' standalone='no'?>",
    ] {
        assert_eq!(header(&format!("{declaration}{OPEN}")), header(OPEN));
    }
}

#[test]
fn dialback_is_declared_with_any_prefix() {
    let db = OPEN.replace('>', " xmlns:db='jabber:server:dialback'>");
    assert!(header(&db).declares_dialback());
    assert_eq!(header(&db), header(OPEN).with_dialback());
    let other = OPEN.replace('>', " xmlns:dialback='jabber:server:dialback'>");
    assert!(header(&other).declares_dialback());
    assert!(!header(OPEN).declares_dialback());
}

#[test]
fn references_in_header_attributes_are_resolved() {
    let input = OPEN.replace("a.example", "a&#46;example").replace(
        "'jabber:server'",
        "'jabber&#x3a;server' xml:lang='de' xmlns:x='urn&#58;x'",
    );
    let header = header(&input);
    assert_eq!(header.from.as_deref(), Some("a.example"));
    assert_eq!(header.lang.as_deref(), Some("de"));
    assert_eq!(header.prefixes, [("x".to_owned(), "urn:x".to_owned())]);
}

#[test]
fn versions_are_numbers() {
    assert_eq!(Version::parse("01.00"), Some(Version::XMPP_1));
    for bad in [
        "",
        "1",
        "1.",
        ".0",
        "1.0.0",
        "+1.0",
        "-1.0",
        "1,0",
        "99999999999.0",
        " 1.0",
    ] {
        assert_eq!(Version::parse(bad), None, "{bad}");
    }
    let error = decode(&OPEN.replace("1.0", "one")).1.unwrap();
    assert_eq!(error.condition(), Condition::UnsupportedVersion);
}

#[test]
fn only_the_expected_content_namespace_is_accepted() {
    let open = |content: &str| OPEN.replace("jabber:server", content);
    for content in [
        ContentNamespace::Server,
        ContentNamespace::Client,
        ContentNamespace::Component,
    ] {
        assert_eq!(header(&open(content.uri())).content, content);
        let mut codec = Codec::new(XmlLimits::before_authentication())
            .with_content_namespace(ContentNamespace::Server);
        let result = codec.decode(&mut BytesMut::from(&*open(content.uri())));
        if content == ContentNamespace::Server {
            assert!(matches!(result, Ok(Some(Frame::Header(_)))));
        } else {
            assert_eq!(result, Err(DecodeError::ContentNamespace));
        }
    }
    let error = decode(&open("jabber:nobody")).1.unwrap();
    assert_eq!(error, DecodeError::ContentNamespace);
}

#[test]
fn elements_are_known_by_expanded_name_whatever_their_prefix() {
    let open = OPEN.replace('>', " xmlns:db='jabber:server:dialback'>");
    let input = format!(
        "{open}<db:result/><result xmlns='jabber:server:dialback'/>\
         <x:result xmlns:x='jabber:server:dialback'/><result/><db:result xmlns:db='urn:x'/>\
         <message xmlns='jabber:client'/><s:message xmlns:s='jabber:server'/><stream:error/>"
    );
    let frames = frames(&input);
    let elements: Vec<_> = frames
        .iter()
        .filter_map(|frame| match frame {
            Frame::Element(element) => Some(element),
            _ => None,
        })
        .collect();
    let dialback: Vec<_> = elements
        .iter()
        .map(|element| element.is(ns::DIALBACK, "result"))
        .collect();
    assert_eq!(
        dialback,
        [true, true, true, false, false, false, false, false]
    );
    let stanzas: Vec<_> = elements
        .iter()
        .map(|element| element.stanza_kind())
        .collect();
    assert_eq!(
        stanzas,
        [
            None,
            None,
            None,
            None,
            None,
            None,
            Some(StanzaKind::Message),
            None
        ]
    );
    assert!(elements[7].is(ns::STREAMS, "error"));
    assert_eq!(elements[4].namespace(), "urn:x");
}

#[test]
fn the_head_has_the_attributes_with_references_resolved() {
    let input = format!(
        "{OPEN}<iq x:to='no' xmlns:x='urn:x' id='a&amp;b' type = \"get\" xml:lang='de'\n \
         from='a&#64;a.example/&#x1F600;' to='b.example' other='&lt;'/>"
    );
    let Some(Frame::Element(iq)) = frames(&input).pop() else {
        panic!()
    };
    assert_eq!(iq.stanza_kind(), Some(StanzaKind::Iq));
    assert_eq!(iq.to().as_deref(), Some("b.example"));
    assert_eq!(iq.from().as_deref(), Some("a@a.example/\u{1f600}"));
    assert_eq!(iq.id().as_deref(), Some("a&b"));
    assert_eq!(iq.type_attr().as_deref(), Some("get"));
    assert_eq!(iq.lang().as_deref(), Some("de"));
    assert_eq!(iq.attr("other").as_deref(), Some("<"));
    assert_eq!(iq.attr("absent"), None);
    assert_eq!(iq.attr("xmlns:x"), None);
}

#[test]
fn text_and_tree_resolve_references_and_cdata() {
    let input = format!(
        "{OPEN}<message>a&amp;<b x='1' xml:lang='de'>c</b><![CDATA[<d>&amp;]]>\r\n<e xmlns='urn:e'/></message>"
    );
    let Some(Frame::Element(message)) = frames(&input).pop() else {
        panic!()
    };
    assert_eq!(message.text(), "a&<d>&amp;\n");
    let input =
        format!("{OPEN}<message>1\r\n2\r3<b x='1\r\n2\r3&#0000013;'/>&#x000000000041;</message>");
    let Some(Frame::Element(lines)) = frames(&input).pop() else {
        panic!()
    };
    assert_eq!(lines.text(), "1\n2\n3A");
    let tree = lines.tree();
    assert_eq!(
        tree.child(ns::SERVER, "b").unwrap().attr("x"),
        Some("1 2 3\r")
    );
    let tree = message.tree();
    assert!(tree.is(ns::SERVER, "message"));
    let b = tree.child(ns::SERVER, "b").unwrap();
    assert_eq!(b.attr("x"), Some("1"));
    assert_eq!(b.text(), "c");
    assert!(
        b.attributes
            .contains(&(ns::XML.into(), "lang".into(), "de".into()))
    );
    assert_eq!(tree.children_named("urn:e", "e").count(), 1);
    assert_eq!(tree.children.len(), 4);
}

#[test]
fn long_texts_and_many_elements_are_whole() {
    let text = "0123456789abcdef".repeat(4000);
    let input = format!("{OPEN}<message><body>{text}</body></message>");
    let (frames, error) = decode_in(XmlLimits::after_authentication(), &[input.as_bytes()]);
    assert_eq!(error, None);
    let Some(Frame::Element(message)) = frames.last() else {
        panic!()
    };
    assert_eq!(
        message.tree().child(ns::SERVER, "body").unwrap().text(),
        text
    );
}

#[test]
fn white_space_is_one_frame_for_each_run() {
    let input = format!("\n {OPEN} \t\r\n <a/>\n<b/><c/> ");
    let kinds: String = frames(&input)
        .iter()
        .map(|frame| match frame {
            Frame::Header(_) => 'h',
            Frame::Element(_) => 'e',
            Frame::Whitespace => 'w',
            Frame::Footer => 'f',
            _ => 'r',
        })
        .collect();
    assert_eq!(kinds, "hweweew");
}

#[test]
fn white_space_may_follow_the_end_but_nothing_else() {
    let closed = format!("{OPEN}</stream:stream >");
    assert_eq!(frames(&closed).last(), Some(&Frame::Footer));
    assert_eq!(frames(&format!("{closed}\n ")).last(), Some(&Frame::Footer));
    let (frames, error) = decode(&format!("{closed}<a/>"));
    assert_eq!(frames.last(), Some(&Frame::Footer));
    assert_eq!(error, Some(DecodeError::AfterFooter));
}

#[test]
fn an_error_is_repeated_for_ever() {
    let mut codec = Codec::new(XmlLimits::before_authentication());
    let mut buffer = BytesMut::from("<<");
    assert_eq!(codec.decode(&mut buffer), Err(DecodeError::NotWellFormed));
    buffer.extend_from_slice(OPEN.as_bytes());
    assert_eq!(codec.decode(&mut buffer), Err(DecodeError::NotWellFormed));
    codec.restart();
    codec.set_limits(XmlLimits::after_authentication());
    assert_eq!(codec.decode(&mut buffer), Err(DecodeError::NotWellFormed));
    assert_eq!(
        codec.decode_eof(&mut buffer),
        Err(DecodeError::NotWellFormed)
    );
    assert_eq!(
        codec.boundary(&buffer).map(drop),
        Err(DecodeError::NotWellFormed)
    );
}

#[test]
fn the_end_of_input_inside_an_element_is_an_error_and_elsewhere_the_end() {
    let eof = |input: &str| {
        let mut codec = Codec::new(XmlLimits::after_authentication());
        let mut buffer = BytesMut::from(input);
        loop {
            match codec.decode_eof(&mut buffer) {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    };
    assert_eq!(eof(&format!("{OPEN}<a/> ")), Ok(()));
    assert_eq!(eof(&format!("{OPEN}<a/></stream:stream>")), Ok(()));
    for cut in ["<a", "<", "<a><b/>", "</stream:stream"] {
        assert_eq!(
            eof(&format!("{OPEN}{cut}")),
            Err(DecodeError::Truncated),
            "{cut}"
        );
    }
}

/// Decodes all of the input, then asks for the boundary.
fn boundary_after(input: &str, unread: &str) -> Result<(), DecodeError> {
    let mut codec = Codec::new(XmlLimits::before_authentication());
    let mut buffer = BytesMut::from(input);
    while codec.decode(&mut buffer)?.is_some() {}
    buffer.extend_from_slice(unread.as_bytes());
    codec.boundary(&buffer).map(drop)
}

#[test]
fn nothing_may_follow_starttls_not_even_white_space() {
    let starttls = format!("{OPEN}<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    assert_eq!(boundary_after(&starttls, ""), Ok(()));
    for unread in [" ", "<", "<message/>", "\u{16}"] {
        assert_eq!(
            boundary_after(&starttls, unread),
            Err(DecodeError::NotSilent),
            "{unread}"
        );
        // Also if the decoder has looked at it already.
        if unread != "\u{16}" {
            let result = boundary_after(&format!("{starttls}{unread}"), "");
            let seen = unread.starts_with("<m");
            assert_eq!(
                result,
                if seen {
                    Ok(())
                } else {
                    Err(DecodeError::NotSilent)
                }
            );
        }
    }
}

#[test]
fn after_the_boundary_was_refused_nothing_is_decoded() {
    let mut codec = Codec::new(XmlLimits::before_authentication());
    let mut buffer = BytesMut::from(&*format!("{OPEN}<a/><b/>"));
    codec.decode(&mut buffer).unwrap();
    codec.decode(&mut buffer).unwrap();
    let refused = codec.boundary(&buffer).map(drop);
    assert_eq!(refused, Err(DecodeError::NotSilent));
    assert_eq!(codec.decode(&mut buffer), Err(DecodeError::NotSilent));
}

#[test]
fn a_restarted_stream_has_its_own_header_and_scope() {
    let mut codec = Codec::new(XmlLimits::before_authentication());
    let first = OPEN.replace('>', " xmlns:x='urn:x'>");
    let mut buffer = BytesMut::from(&*format!("{first}<x:a/>"));
    codec.decode(&mut buffer).unwrap();
    codec.decode(&mut buffer).unwrap();
    codec.boundary(&buffer).unwrap();
    codec.restart();
    buffer.extend_from_slice(format!("<?xml version='1.0'?>{OPEN}<x:a/>").as_bytes());
    assert!(matches!(
        codec.decode(&mut buffer),
        Ok(Some(Frame::Header(_)))
    ));
    assert_eq!(
        codec.decode(&mut buffer),
        Err(DecodeError::UndeclaredPrefix)
    );
}

#[test]
fn frames_are_written_as_they_were_read() {
    let input = format!("{OPEN}<message to='b' ><body>&lt;</body></message> </stream:stream>");
    let mut codec = Codec::new(XmlLimits::before_authentication());
    let mut out = BytesMut::new();
    for frame in frames(&input) {
        codec.encode(&frame, &mut out).unwrap();
    }
    let text = String::from_utf8(out.to_vec()).unwrap();
    assert_eq!(frames(&text)[1..], frames(&input)[1..]);
    assert!(text.ends_with("<message to='b' ><body>&lt;</body></message> </stream:stream>"));
}

#[test]
fn an_element_is_a_share_of_the_buffer_it_was_read_into() {
    let mut codec = Codec::new(XmlLimits::after_authentication());
    let mut buffer = BytesMut::from(&*format!("{OPEN}<message/><iq/>"));
    codec.decode(&mut buffer).unwrap();
    let address = buffer.as_ptr();
    let Ok(Some(Frame::Element(message))) = codec.decode(&mut buffer) else {
        panic!()
    };
    assert_eq!(message.bytes().as_ptr(), address);
    let compact = message.clone().compact();
    assert_eq!(compact, message);
    assert_ne!(compact.bytes().as_ptr(), address);
}

#[test]
fn text_between_elements_is_bad_format() {
    for text in [
        "hello",
        "\u{0}",
        "]]>",
        "&amp;",
        "<![CDATA[ ]]>",
        "<![CDATA[]]>",
        "é",
    ] {
        assert_eq!(error(text), DecodeError::TextBetweenElements, "{text}");
        assert_eq!(
            error(&format!("<a/> {text}")),
            DecodeError::TextBetweenElements
        );
    }
    assert_eq!(
        DecodeError::TextBetweenElements.condition(),
        Condition::BadFormat
    );
}

/// A declaration that is none is refused as it arrives.
#[test]
fn a_declaration_is_one_of_xml_1_0() {
    for (declaration, condition) in [
        ("<?xml version='1.1'?>", Condition::NotWellFormed),
        ("<?xml version='1.0'>", Condition::NotWellFormed),
        (
            "<?xml version='1.0'encoding='utf-8'?>",
            Condition::NotWellFormed,
        ),
        ("<?xml encoding='utf-8'?>", Condition::NotWellFormed),
        (
            "<?xml version='1.0' standalone='maybe'?>",
            Condition::NotWellFormed,
        ),
        (
            "<?xml version='1.0' standalone='yes' encoding='utf-8'?>",
            Condition::NotWellFormed,
        ),
        ("<?xml ?>", Condition::NotWellFormed),
        ("<?xml version='1.0' x='y'?>", Condition::NotWellFormed),
        ("<?xml version='1.0<a b='", Condition::NotWellFormed),
        (
            "<?xml version='1.0' encoding='latin-1'",
            Condition::UnsupportedEncoding,
        ),
    ] {
        let error = decode(declaration).1.unwrap();
        assert_eq!(error.condition(), condition, "{declaration}");
    }
}

#[test]
fn memory_may_be_given_back_at_any_time() {
    let input = format!("{OPEN}<message a='&lt;'><body>Hi &amp; &#65;</body></message> <iq/>");
    let mut codec = Codec::new(XmlLimits::before_authentication());
    let mut buffer = BytesMut::new();
    let mut found = Vec::new();
    for byte in input.as_bytes() {
        buffer.extend_from_slice(&[*byte]);
        codec.release();
        found.extend(codec.decode(&mut buffer).unwrap());
    }
    assert_eq!(found, frames(&input));
}
