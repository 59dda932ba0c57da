//! The elements of XEP-0198: as its examples print them, and what is wrong with others.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use xmpp_stream::stream_management::{
    AckError, Enable, Enabled, ErrorReply, Failed, Location, Nonza, NonzaError, Resume, Resumed,
    SmId,
};
use xmpp_stream::{
    Condition, ContentNamespace, Context, Domain, Element, StanzaCondition, StreamError,
};

fn element(xml: &str) -> Element {
    let context = Context::new(ContentNamespace::Server);
    Element::parse(xml.to_owned(), &context).unwrap()
}

#[track_caller]
fn read(xml: &str) -> Result<Option<Nonza>, NonzaError> {
    Nonza::from_element(&element(xml))
}

/// Read as this, written as this, and read again.
#[track_caller]
fn check(xml: &str, nonza: Nonza) {
    assert_eq!(read(xml), Ok(Some(nonza.clone())));
    assert_eq!(nonza.to_bytes(), xml);
}

fn id(text: &str) -> SmId {
    SmId::new(text).unwrap()
}

const NS: &str = "xmlns='urn:xmpp:sm:3'";

#[test]
fn the_examples_of_the_xep_are_read_and_written() {
    let location = Location::new(Domain::parse("[2001:41d0:1:a49b::1]").unwrap(), Some(9222));
    let item_not_found = "<item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>".to_owned();
    for (xml, nonza) in [
        (format!("<enable {NS}/>"), Nonza::Enable(Enable::new())),
        (
            format!("<enable {NS} resume='true'/>"),
            Nonza::Enable(Enable::new().with_resume()),
        ),
        (
            format!("<enable {NS} resume='true' max='600'/>"),
            Nonza::Enable(Enable::new().with_resume().with_max(600)),
        ),
        (format!("<enabled {NS}/>"), Nonza::Enabled(Enabled::new())),
        (
            format!("<enabled {NS} id='some-long-sm-id' resume='true'/>"),
            Nonza::Enabled(Enabled::new().with_resume(id("some-long-sm-id"))),
        ),
        (
            format!("<enabled {NS} id='x' resume='true' max='60' location='{location}'/>"),
            Nonza::Enabled(
                Enabled::new()
                    .with_resume(id("x"))
                    .with_max(60)
                    .with_location(location.clone()),
            ),
        ),
        (format!("<r {NS}/>"), Nonza::Request),
        (format!("<a {NS} h='1'/>"), Nonza::Ack { h: 1 }),
        (
            format!("<a {NS} h='4294967295'/>"),
            Nonza::Ack { h: u32::MAX },
        ),
        (
            format!("<resume {NS} previd='some-long-sm-id' h='7'/>"),
            Nonza::Resume(Resume::new(id("some-long-sm-id"), 7)),
        ),
        (
            format!("<resumed {NS} previd='it&apos;s &lt;&amp;&gt;' h='0'/>"),
            Nonza::Resumed(Resumed::new(id("it's <&>"), 0)),
        ),
        (
            format!("<failed {NS} h='5'>{item_not_found}</failed>"),
            Nonza::Failed(Failed::new(StanzaCondition::ItemNotFound).with_h(5)),
        ),
        (format!("<failed {NS}/>"), Nonza::Failed(Failed::default())),
    ] {
        check(&xml, nonza);
    }
}

#[test]
fn other_spellings_of_the_same_are_read() {
    for (xml, want) in [
        (format!("<a {NS} h=' 007&#10;'/>"), Nonza::Ack { h: 7 }),
        (
            "<sm:a xmlns:sm='urn:xmpp:sm:3' later='1' h='2'><x xmlns='y'/></sm:a>".to_owned(),
            Nonza::Ack { h: 2 },
        ),
        (
            format!("<enable {NS} resume='1' max='99999999999999999999999'/>"),
            Nonza::Enable(Enable::new().with_resume().with_max(u32::MAX)),
        ),
        (
            format!("<enable {NS} resume='0' max='0'/>"),
            Nonza::Enable(Enable::new().with_max(0)),
        ),
        (
            format!("<enable {NS} resume='false'/>"),
            Nonza::Enable(Enable::new()),
        ),
        (
            // An id without resumption ("alternative response", XEP-0198 §5).
            format!("<enabled {NS} id=''/>"),
            Nonza::Enabled(Enabled::new()),
        ),
        (
            format!(
                "<failed {NS}><what xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
                 <service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>"
            ),
            Nonza::Failed(Failed::new(StanzaCondition::ServiceUnavailable)),
        ),
    ] {
        assert_eq!(read(&xml), Ok(Some(want)), "{xml}");
    }
    let unresumable = read(&format!("<enabled {NS} id='some-long-sm-id'/>"));
    let Ok(Some(Nonza::Enabled(enabled))) = unresumable else {
        panic!("{unresumable:?}");
    };
    assert_eq!(
        (enabled.id, enabled.resume),
        (Some(id("some-long-sm-id")), false)
    );
}

#[test]
fn what_is_not_of_stream_management_is_not_read() {
    for xml in [
        "<r xmlns='urn:xmpp:sm:2'/>",
        "<a xmlns='urn:xmpp:bidi' h='1'/>",
        "<later xmlns='urn:xmpp:sm:3' h='x'/>",
        "<message from='a.example' to='b.example'/>",
    ] {
        assert_eq!(read(xml), Ok(None), "{xml}");
    }
}

#[test]
fn an_ack_that_is_wrong_ends_the_stream_and_a_request_that_is_wrong_is_refused() {
    let count = "a number from 0 to 4294967295";
    for (attributes, text) in [
        (String::new(), "<a/> lacks the attribute 'h'".to_owned()),
        (
            "h=''".into(),
            format!("the attribute 'h' of <a/> is not {count}"),
        ),
        (
            "h='-1'".into(),
            format!("the attribute 'h' of <a/> is not {count}"),
        ),
        (
            "h='+1'".into(),
            format!("the attribute 'h' of <a/> is not {count}"),
        ),
        (
            "h='0x1'".into(),
            format!("the attribute 'h' of <a/> is not {count}"),
        ),
        (
            "h='1 2'".into(),
            format!("the attribute 'h' of <a/> is not {count}"),
        ),
        (
            "h='٣'".into(),
            format!("the attribute 'h' of <a/> is not {count}"),
        ),
        (
            "h='4294967296'".into(),
            format!("the attribute 'h' of <a/> is not {count}"),
        ),
        (
            format!("h='{}'", "9".repeat(3_000)),
            format!("the attribute 'h' of <a/> is not {count}"),
        ),
    ] {
        let error = read(&format!("<a {NS} {attributes}/>")).unwrap_err();
        let want = StreamError::new(Condition::InvalidXml).with_text(text);
        assert_eq!(error.reply(), ErrorReply::Close(want), "{attributes}");
    }
    let long = "x".repeat(SmId::MAX_BYTES + 1);
    let refused = ErrorReply::Failed(Failed::new(StanzaCondition::BadRequest));
    for (xml, text) in [
        (
            format!("<enable {NS} resume='yes'/>"),
            "the attribute 'resume' of <enable/> is not true, false, 1 or 0".to_owned(),
        ),
        (
            format!("<enable {NS} max='1.5'/>"),
            "the attribute 'max' of <enable/> is not a number of seconds".to_owned(),
        ),
        (
            format!("<resume {NS} h='1'/>"),
            "<resume/> lacks the attribute 'previd'".to_owned(),
        ),
        (
            format!("<resume {NS} h='1' previd=''/>"),
            "<resume/> lacks the attribute 'previd'".to_owned(),
        ),
        (
            format!("<resume {NS} previd='x'/>"),
            "<resume/> lacks the attribute 'h'".to_owned(),
        ),
        (
            format!("<resume {NS} h='1' previd='{long}'/>"),
            "the attribute 'previd' of <resume/> has more than 4000 bytes".to_owned(),
        ),
    ] {
        let error = read(&xml).unwrap_err();
        assert_eq!(error.to_string(), text);
        assert_eq!(error.reply(), refused, "{xml}");
    }
    for (xml, text) in [
        (
            format!("<enabled {NS} resume='true'/>"),
            "<enabled/> lacks the attribute 'id'",
        ),
        (
            format!("<enabled {NS} id='{long}'/>"),
            "the attribute 'id' of <enabled/> has more than 4000 bytes",
        ),
        (
            format!("<enabled {NS} location='{long}'/>"),
            "the attribute 'location' of <enabled/> has more than 1029 bytes",
        ),
        (
            format!("<failed {NS} h='many'/>"),
            "the attribute 'h' of <failed/> is not a number from 0 to 4294967295",
        ),
    ] {
        let error = read(&xml).unwrap_err();
        assert_eq!(error.to_string(), text);
        assert!(matches!(error.reply(), ErrorReply::Close(_)), "{xml}");
    }
}

#[test]
fn a_location_is_a_host_and_perhaps_a_port() {
    for (text, host, port) in [
        ("xmpp.example:5269", "xmpp.example", Some(5269)),
        ("xmpp.example", "xmpp.example", None),
        ("192.0.2.1:5269", "192.0.2.1", Some(5269)),
        ("[2001:db8::1]:1", "[2001:db8::1]", Some(1)),
        ("[2001:db8::1]", "[2001:db8::1]", None),
    ] {
        let location = Location::parse(text).unwrap();
        assert_eq!((location.host.as_str(), location.port), (host, port));
        assert_eq!(location.to_string(), text);
    }
    for text in [
        "",
        ":5269",
        "a.example:",
        "a.example:0",
        "a.example:65536",
        "a.example:5269x",
        "2001:db8::1",
        "[2001:db8::1",
        "a@a.example:1",
        "a.example/x",
    ] {
        assert_eq!(Location::parse(text), None, "{text}");
    }
}

#[test]
fn a_count_that_is_too_high_is_the_stream_error_of_the_xep() {
    let error = AckError::TooHigh { h: 10, sent: 8 }.stream_error();
    let bytes = error.to_bytes();
    assert_eq!(
        bytes,
        "<stream:error><undefined-condition xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
         <text xmlns='urn:ietf:params:xml:ns:xmpp-streams' xml:lang='en'>10 stanzas were acknowledged, but only 8 were \
         sent</text><handled-count-too-high xmlns='urn:xmpp:sm:3' h='10' send-count='8'/></stream:error>"
    );
    let read = StreamError::from_element(&element(std::str::from_utf8(&bytes).unwrap()));
    assert_eq!(read, Some(error));
    let back = AckError::WentBack {
        h: 3,
        acknowledged: 5,
    };
    assert_eq!(back.stream_error().condition, Condition::UndefinedCondition);
    assert_eq!(back.stream_error().application, None);
}

fn any_id() -> impl Strategy<Value = SmId> {
    "[ -~é]{1,40}".prop_map(|text| SmId::new(&text).unwrap())
}

fn any_nonza() -> impl Strategy<Value = Nonza> {
    let location = ("[a-z]{1,9}\\.example", proptest::option::of(1..=u16::MAX))
        .prop_map(|(host, port)| Location::new(Domain::parse(&host).unwrap(), port));
    let max = proptest::option::of(any::<u32>());
    let failed = (
        proptest::option::of(proptest::sample::select(StanzaCondition::ALL)),
        proptest::option::of(any::<u32>()),
    );
    prop_oneof![
        (any::<bool>(), max.clone()).prop_map(|(resume, max)| {
            let mut enable = Enable::new();
            (enable.resume, enable.max) = (resume, max);
            Nonza::Enable(enable)
        }),
        (
            proptest::option::of(any_id()),
            any::<bool>(),
            max,
            proptest::option::of(location)
        )
            .prop_map(|(id, resume, max, location)| {
                let mut enabled = Enabled::new();
                enabled.resume = resume && id.is_some();
                (enabled.id, enabled.max, enabled.location) = (id, max, location);
                Nonza::Enabled(enabled)
            }),
        Just(Nonza::Request),
        any::<u32>().prop_map(|h| Nonza::Ack { h }),
        (any_id(), any::<u32>()).prop_map(|(id, h)| Nonza::Resume(Resume::new(id, h))),
        (any_id(), any::<u32>()).prop_map(|(id, h)| Nonza::Resumed(Resumed::new(id, h))),
        failed.prop_map(|(condition, h)| {
            let mut failed = Failed::default();
            (failed.condition, failed.h) = (condition, h);
            Nonza::Failed(failed)
        }),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_the_same(nonza in any_nonza()) {
        let xml = nonza.to_bytes();
        prop_assert_eq!(read(std::str::from_utf8(&xml).unwrap()), Ok(Some(nonza)));
    }

    #[test]
    fn any_attributes_are_read_or_refused(
        name in proptest::sample::select(vec!["enable", "enabled", "r", "a", "resume", "resumed", "failed"]),
        h in "[ -%(-;=?-~]{0,12}",
        resume in "[01truefalse]{0,5}",
        id in "[a-z]{0,3}",
        location in "[a-z0-9.:\\[\\]]{0,12}",
    ) {
        let h = h.replace('&', "");
        let xml = format!("<{name} {NS} h='{h}' max='{h}' resume='{resume}' id='{id}' previd='{id}' location='{location}'/>");
        match read(&xml) {
            Ok(nonza) => prop_assert!(nonza.is_some()),
            Err(error) => {
                let is_request = matches!(name, "enable" | "resume");
                prop_assert_eq!(matches!(error.reply(), ErrorReply::Failed(_)), is_request);
            }
        }
    }
}
