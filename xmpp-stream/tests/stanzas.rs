//! Errors, features and the component handshake, written and read.
#![allow(clippy::unwrap_used)]

use bytes::{Bytes, BytesMut};
use tokio_util::codec::Encoder;
use xmpp_stream::component::{Accepting, Connecting, digest};
use xmpp_stream::{
    Bidi, Codec, Condition, ContentNamespace, Context, DialbackFeature, Element, ErrorType,
    Features, StanzaCondition, StanzaError, StreamError, StreamHeader, StreamLimits, Writer,
    XmlLimits, error_reply, ns, reply,
};

fn element(text: impl Into<Bytes>) -> Element {
    Element::parse(text, &Context::new(ContentNamespace::Server)).unwrap()
}

#[test]
fn every_condition_has_its_name_and_is_found_by_it() {
    for condition in Condition::ALL {
        assert_eq!(Condition::from_name(condition.name()), Some(*condition));
        let error = StreamError::new(*condition);
        assert_eq!(
            StreamError::from_element(&element(error.to_bytes())),
            Some(error)
        );
    }
    for condition in StanzaCondition::ALL {
        assert_eq!(
            StanzaCondition::from_name(condition.name()),
            Some(*condition)
        );
    }
    for kind in ErrorType::ALL {
        assert_eq!(ErrorType::from_name(kind.name()), Some(*kind));
    }
    assert_eq!(
        Condition::from_name("xml-not-well-formed"),
        Some(Condition::NotWellFormed)
    );
    assert_eq!(Condition::from_name("text"), None);
}

#[test]
fn a_stream_error_reads_as_it_was_written() {
    let error = StreamError::new(Condition::PolicyViolation)
        .with_text("too <big>")
        .with_application(ns::APP_ERRORS, "stanza-too-big");
    assert_eq!(
        error.to_bytes(),
        "<stream:error><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
         <text xmlns='urn:ietf:params:xml:ns:xmpp-streams' xml:lang='en'>too &lt;big&gt;</text>\
         <stanza-too-big xmlns='urn:xmpp:errors'/></stream:error>"
    );
    assert_eq!(
        StreamError::from_element(&element(error.to_bytes())),
        Some(error.clone())
    );
    assert_eq!(error.to_string(), "policy-violation");
    assert_eq!(StreamError::from_element(&element("<error/>")), None);
    let odd = "<stream:error><what xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>";
    assert_eq!(
        StreamError::from_element(&element(odd)),
        Some(StreamError::new(Condition::UndefinedCondition))
    );
}

#[test]
fn see_other_host_keeps_its_meaning_without_the_host() {
    let error = "<stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>\
        h.example:9222</see-other-host></stream:error>";
    let error = StreamError::from_element(&element(error)).unwrap();
    assert_eq!(error.condition, Condition::SeeOtherHost);
}

fn refusal() -> StanzaError {
    StanzaError::new(ErrorType::Wait, StanzaCondition::RemoteServerTimeout)
}

#[test]
fn an_error_goes_back_to_the_sender_with_the_same_id() {
    let error = refusal()
        .with_text("no route & no hope")
        .with_application("<cause xmlns='urn:x' name='dns'/>");
    let stanza = element(
        "<iq type='get' id='it&apos;s' to='b@b.example/&lt;' from='a@a.example/r'><q xmlns='q'/></iq>",
    );
    let reply = error_reply(&stanza, &error).unwrap().finish();
    assert_eq!(
        reply,
        "<iq type='error' from='b@b.example/&lt;' to='a@a.example/r' id='it&apos;s'>\
         <error type='wait'><remote-server-timeout xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
         <text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>no route &amp; no hope</text>\
         <cause xmlns='urn:x' name='dns'/></error></iq>"
    );
    let read = StanzaError::from_element(&element(reply)).unwrap();
    assert_eq!(
        (read.kind, read.condition, read.text),
        (error.kind, error.condition, error.text)
    );
    assert_eq!(read.application.unwrap(), "<cause xmlns='urn:x'/>");
}

#[test]
fn a_child_is_added_at_the_end_and_the_head_stays() {
    for (before, after) in [
        (
            "<message from='a' id='/>'/>",
            "<message from='a' id='/>'><d xmlns='u'/></message>",
        ),
        (
            "<message to='b'><body>&lt;</body></message >",
            "<message to='b'><body>&lt;</body><d xmlns='u'/></message >",
        ),
        (
            "<iq type='get'><![CDATA[</iq>]]></iq>",
            "<iq type='get'><![CDATA[</iq>]]><d xmlns='u'/></iq>",
        ),
    ] {
        let element = element(before);
        let with = element.with_child(Writer::new("d").xmlns("u"));
        assert_eq!(with.bytes(), after);
        assert_eq!(with, self::element(after));
        assert_eq!(
            (with.from(), with.to(), with.id()),
            (element.from(), element.to(), element.id())
        );
        assert_eq!(with.stanza_kind(), element.stanza_kind());
    }
}

#[test]
fn an_error_is_never_answered_with_an_error() {
    let answered = |text: &'static str| error_reply(&element(text), &refusal()).is_some();
    for name in ["message", "presence"] {
        for kind in ["", "chat", "groupchat", "unavailable", "subscribe"] {
            let text = format!("<{name} from='a' to='b' type='{kind}'/>");
            assert!(error_reply(&element(text), &refusal()).is_some());
        }
        let text = format!("<{name} from='a' to='b' type='error'/>");
        assert!(error_reply(&element(text), &refusal()).is_none());
    }
    assert!(answered("<message from='a'/>"));
    assert!(answered("<iq from='a' type='get'/>"));
    assert!(answered("<iq from='a' type='set'/>"));
    assert!(!answered("<iq from='a' type='result'/>"));
    assert!(!answered("<iq from='a' type='error'/>"));
    assert!(!answered("<iq from='a' type='&#101;rror'/>"));
    assert!(!answered("<message to='b'/>"));
    assert!(!answered("<message xmlns='jabber:client' from='a'/>"));
    assert!(!answered(
        "<db:result xmlns:db='jabber:server:dialback' from='a'/>"
    ));
}

#[test]
fn features_read_as_they_were_written() {
    let all = Features::new()
        .with_starttls(true)
        .with_mechanisms(["EXTERNAL", "DIGEST-MD5"])
        .with_channel_bindings(["tls-exporter"])
        .with_dialback(DialbackFeature::with_errors())
        .with_limits(
            StreamLimits::new()
                .with_max_bytes(524_288)
                .with_idle_seconds(3600),
        )
        .with_bidi()
        .with_other(ns::STREAM_MANAGEMENT, "sm");
    assert_eq!(
        all.to_bytes(),
        "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>\
         <mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism>\
         <mechanism>DIGEST-MD5</mechanism></mechanisms>\
         <sasl-channel-binding xmlns='urn:xmpp:sasl-cb:0'><channel-binding type='tls-exporter'/>\
         </sasl-channel-binding>\
         <dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>\
         <limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>524288</max-bytes>\
         <idle-seconds>3600</idle-seconds></limits>\
         <bidi xmlns='urn:xmpp:features:bidi'/><sm xmlns='urn:xmpp:sm:3'/></stream:features>"
    );
    for features in [
        all,
        Features::default(),
        Features::new().with_starttls(false),
        Features::new().with_dialback(DialbackFeature::without_errors()),
        Features::new().with_channel_bindings([""; 0]),
        Features::new().with_limits(StreamLimits::default()),
    ] {
        let read = Features::from_element(&element(features.to_bytes()));
        assert_eq!(read, Some(features));
    }
    assert_eq!(Features::from_element(&element("<features/>")), None);
}

#[test]
fn what_asks_for_both_directions_says_how_much_is_read() {
    let limits = StreamLimits::new().with_idle_seconds(1800);
    for bidi in [Bidi::new(), Bidi::new().with_limits(limits)] {
        let read = Bidi::from_element(&element(bidi.to_bytes()));
        assert_eq!(read, Some(bidi));
    }
    let feature = element("<bidi xmlns='urn:xmpp:features:bidi'/>");
    assert_eq!(Bidi::from_element(&feature), None);
}

#[test]
fn features_are_read_by_namespace_and_with_white_space() {
    let text = "<stream:features>\n <x:mechanisms xmlns:x='urn:ietf:params:xml:ns:xmpp-sasl'>\n\
        <x:mechanism> EXTERNAL </x:mechanism></x:mechanisms>\
        <limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>lots</max-bytes></limits></stream:features>";
    let features = Features::from_element(&element(text)).unwrap();
    assert_eq!(features.mechanisms, ["EXTERNAL"]);
    assert_eq!(features.limits, Some(StreamLimits::default()));
}

#[test]
fn a_limit_is_a_number_that_is_not_negative_or_it_is_none() {
    for (written, read) in [
        ("10000", Some(10_000)),
        ("\n 10000 ", Some(10_000)),
        ("0", Some(0)),
        ("18446744073709551615", Some(u64::MAX)),
        ("18446744073709551616", None),
        ("-1", None),
        ("-10000", None),
        ("1e5", None),
        ("0x7fff", None),
        ("10 000", None),
        ("", None),
    ] {
        let text = format!(
            "<stream:features><limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>{written}</max-bytes>\
             <idle-seconds>{written}</idle-seconds></limits></stream:features>"
        );
        let features = Features::from_element(&element(text)).unwrap();
        let mut want = StreamLimits::default();
        want.max_bytes = read;
        want.idle_seconds = read;
        assert_eq!(features.limits, Some(want), "{written:?}");
    }
}

fn component_element(text: impl Into<Bytes>) -> Element {
    Element::parse(text, &Context::new(ContentNamespace::Component)).unwrap()
}

#[test]
fn the_handshake_is_the_hash_of_id_and_secret() {
    // FIPS 180: SHA-1 of "abc".
    assert_eq!(
        digest("a", "bc"),
        "a9993e364706816aba3e25717850c26c9cd0d89d"
    );
}

#[test]
fn a_component_with_the_secret_is_let_in() {
    let (connecting, header) = Connecting::new("chat.example", "s&cret");
    let (waiting, answer) = Accepting::new().header(&header, "3BF96D32").unwrap();
    assert_eq!(waiting.domain(), "chat.example");
    assert_eq!(answer.from.as_deref(), Some("chat.example"));
    assert_eq!(answer.id.as_deref(), Some("3BF96D32"));
    assert!(!answer.is_xmpp_1());
    let (acceptance, handshake) = connecting.header(&answer).unwrap();
    let accepted = waiting
        .element(&component_element(handshake), "s&cret")
        .unwrap();
    assert_eq!(accepted, "<handshake/>");
    assert_eq!(acceptance.element(&component_element(accepted)), Ok(()));
}

#[test]
fn a_component_without_the_secret_is_not() {
    let attempt = |text: String| {
        let (_, header) = Connecting::new("chat.example", "");
        let (waiting, _) = Accepting::new().header(&header, "id").unwrap();
        let result = waiting.element(&component_element(text), "secret");
        result.map_err(|error| error.condition)
    };
    let right = digest("id", "secret");
    assert!(attempt(format!("<handshake>{right}</handshake>")).is_ok());
    assert!(attempt(format!("<handshake> {} </handshake>", right.to_uppercase())).is_ok());
    for text in [
        format!("<handshake>{}</handshake>", digest("id", "wrong")),
        format!("<handshake>{}</handshake>", digest("other", "secret")),
        format!("<handshake>{}</handshake>", &right[1..]),
        format!("<handshake xmlns='jabber:server'>{right}</handshake>"),
        format!("<message>{right}</message>"),
        "<handshake/>".to_owned(),
    ] {
        assert_eq!(
            attempt(text.clone()),
            Err(Condition::NotAuthorized),
            "{text}"
        );
    }
}

#[test]
fn a_component_header_names_its_domain_in_the_component_namespace() {
    let header = StreamHeader::new(ContentNamespace::Component);
    let refused =
        |header: &StreamHeader| Accepting::new().header(header, "id").unwrap_err().condition;
    assert_eq!(refused(&header), Condition::ImproperAddressing);
    let server = StreamHeader::new(ContentNamespace::Server);
    assert_eq!(refused(&server), Condition::InvalidNamespace);
}

#[test]
fn a_refused_component_learns_why() {
    let (connecting, _) = Connecting::new("chat.example", "secret");
    let header = StreamHeader {
        id: Some("id".into()),
        ..StreamHeader::new(ContentNamespace::Component)
    };
    let (acceptance, _) = connecting.header(&header).unwrap();
    let error = StreamError::new(Condition::Conflict);
    let result = acceptance.element(&component_element(error.to_bytes()));
    assert_eq!(result, Err(error));
}

#[test]
fn what_proves_somebody_is_not_shown() {
    let context = Context::new(ContentNamespace::Server);
    let shown = |text: &str| format!("{:?}", Element::parse(text.to_owned(), &context).unwrap());
    for proof in [
        "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>secret</auth>",
        "<s:response xmlns:s='urn:ietf:params:xml:ns:xmpp-sasl'>secret</s:response>",
        "<db:result xmlns:db='jabber:server:dialback' from='a' to='b'>secret</db:result>",
        "<handshake>secret</handshake>",
        "<x xmlns='urn:x'>secret</x>",
    ] {
        let shown = shown(proof);
        assert!(!shown.contains("secret"), "{shown}");
        assert!(shown.contains("xmlns="), "{shown}");
    }
    let message = "<message from='a' to='b'><body>hello</body></message>";
    assert_eq!(shown(message), format!("Element({message})"));
}

#[test]
fn a_stanza_in_another_content_namespace_is_adopted_and_what_it_forwards_stays() {
    let adopted = |text: &str| {
        let element = component_element(text.to_owned()).adopted();
        let mut out = bytes::BytesMut::new();
        element.write_for(ContentNamespace::Server, &mut out);
        (element, String::from_utf8_lossy(&out).into_owned())
    };
    for (text, at_a_server) in [
        (
            "<message xmlns='jabber:client' to='a'><body>x</body></message>",
            "<message xmlns='jabber:server' to='a'><body>x</body></message>",
        ),
        (
            "<message xmlns='jabber:server' to='a'><body>x</body></message>",
            "<message xmlns='jabber:server' to='a'><body>x</body></message>",
        ),
        (
            "<c:iq to='a' xmlns:c=\"jabber:client\"><q xmlns='urn:q'><![CDATA[<c:z xmlns='jabber:client'>]]></q></c:iq>",
            "<c:iq to='a' xmlns:c=\"jabber:server\"><q xmlns='urn:q'><![CDATA[<c:z xmlns='jabber:client'>]]></q></c:iq>",
        ),
        (
            "<message xmlns='jabber:client'><body xmlns='jabber:client'/><f xmlns='urn:xmpp:forward:0'>\
             <message xmlns='jabber:client'><body/></message></f><body xmlns='jabber:client'/></message>",
            "<message xmlns='jabber:server'><body xmlns='jabber:server'/><f xmlns='urn:xmpp:forward:0'>\
             <message xmlns='jabber:client'><body/></message></f><body xmlns='jabber:server'/></message>",
        ),
    ] {
        let (element, written) = adopted(text);
        assert!(element.stanza_kind().is_some(), "{text}");
        assert_eq!(element.namespace(), ns::COMPONENT);
        assert_eq!(written, at_a_server);
    }
    // A prefix of the stream's header.
    let header = StreamHeader {
        prefixes: vec![("c".to_owned(), ns::CLIENT.to_owned())],
        ..StreamHeader::new(ContentNamespace::Component)
    };
    let element = Element::parse("<c:presence><c:show/></c:presence>", &Context::of(&header))
        .unwrap()
        .adopted();
    assert!(element.stanza_kind().is_some());
    let mut out = bytes::BytesMut::new();
    element.write_for(ContentNamespace::Server, &mut out);
    assert_eq!(
        out,
        "<c:presence xmlns:c='jabber:server'><c:show/></c:presence>"
    );
    // What is no stanza, one that is at home, and one that would have an attribute twice.
    for text in [
        "<x xmlns='jabber:client'/>",
        "<message xmlns='urn:x'/>",
        "<message><body xmlns='jabber:client'/></message>",
        "<message xmlns='jabber:client' xmlns:a='jabber:client' xmlns:b='jabber:component:accept' a:x='' b:x=''/>",
    ] {
        let element = component_element(text);
        assert_eq!(element.clone().adopted(), element, "{text}");
    }
}

#[test]
fn a_reply_goes_back_under_the_same_id_and_what_must_not_be_answered_is_not() {
    let replied = |text: &'static str| {
        let answer = reply(&element(text))?.finish();
        Some(String::from_utf8(answer.to_vec()).unwrap())
    };
    for (stanza, want) in [
        (
            "<iq type='get' id='it&apos;s' from='a.example' to='b.example'/>",
            Some("<iq type='result' from='b.example' to='a.example' id='it&apos;s'/>"),
        ),
        (
            "<message type='chat' from='a.example' to='b.example'><body>x</body></message>",
            Some("<message type='chat' from='b.example' to='a.example'/>"),
        ),
        (
            "<message from='a.example'/>",
            Some("<message to='a.example'/>"),
        ),
        (
            "<presence type='probe' id='1' from='a.example' to='b.example'/>",
            Some("<presence from='b.example' to='a.example' id='1'/>"),
        ),
        ("<message to='b.example'/>", None),
        ("<message type='error' from='a.example'/>", None),
        ("<iq type='result' id='1' from='a.example'/>", None),
        ("<x xmlns='urn:x' from='a.example'/>", None),
    ] {
        assert_eq!(replied(stanza).as_deref(), want, "{stanza}");
    }
}

#[test]
fn a_tree_that_is_written_reads_as_the_same_tree() {
    for text in [
        "<message from='a.example' xml:lang='de'><body>1 &lt; 2 &amp;&#13;</body><x xmlns='urn:x'><y/>t<z xmlns=''/></x></message>",
        "<a:b xmlns:a='urn:a' xmlns:c='urn:c' c:d='1' c:e='2' d='\"&apos;'><a:b/><f xmlns='urn:a'/></a:b>",
        "<e xmlns=''/>",
    ] {
        let tree = element(text).tree();
        let written = tree.to_writer().finish();
        assert_eq!(element(written.clone()).tree(), tree, "{written:?}");
        // It does not matter what it stands in.
        let within = Writer::new("w").xmlns("urn:w").child(tree.to_writer());
        let within = element(within.finish()).tree();
        assert_eq!(within.elements().next(), Some(&tree));
    }
}

#[test]
fn the_codec_writes_whatever_is_an_element() {
    let mut codec = Codec::new(XmlLimits::after_authentication());
    let mut out = BytesMut::new();
    let stanza = element("<message to='b.example'/>");
    codec.encode(&stanza, &mut out).unwrap();
    codec.encode(stanza, &mut out).unwrap();
    codec.encode(Writer::new("iq"), &mut out).unwrap();
    let error = StreamError::new(Condition::Reset).to_bytes();
    codec.encode(error.clone(), &mut out).unwrap();
    let stanza = "<message to='b.example'/>";
    let error = String::from_utf8(error.to_vec()).unwrap();
    assert_eq!(out, format!("{stanza}{stanza}<iq/>{error}"));
}

#[test]
fn errors_of_streams_and_stanzas_are_errors() {
    let of_stream: Box<dyn std::error::Error> = StreamError::new(Condition::Reset).into();
    assert_eq!(of_stream.to_string(), "reset");
    let of_stanza = StanzaError::new(ErrorType::Wait, StanzaCondition::RemoteServerTimeout);
    let of_stanza: Box<dyn std::error::Error> = of_stanza.with_text("not\nhere").into();
    assert_eq!(of_stanza.to_string(), "remote-server-timeout");
}
