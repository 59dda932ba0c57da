//! The XML forms of XEP-0220, as the specification prints them and as others send them.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use proptest::prelude::*;
use xmpp_dialback::wire::{Malformed, Nonza};
use xmpp_dialback::{
    CloseStream, DialbackError, ErrorCondition, Key, Pair, Question, Receiving, Request, Secret,
    Verdict, Verifying, verify,
};
use xmpp_stream::{Condition, ContentNamespace, Context, Element, StreamHeader};

/// What a header of ours, or of a peer like us, puts in scope: `db:` is dialback.
fn ours() -> Arc<Context> {
    Context::of(&StreamHeader::new(ContentNamespace::Server).with_dialback())
}

fn read_in(context: &Arc<Context>, xml: &str) -> Option<Result<Nonza, Malformed>> {
    let element = Element::parse(xml.to_owned(), context).unwrap();
    Nonza::from_element(&element)
}

#[track_caller]
fn read(xml: &str) -> Nonza {
    read_in(&ours(), xml).unwrap().unwrap()
}

/// Reads as this, and this writes something that reads as this.
#[track_caller]
fn check(xml: &str, want: &Nonza) {
    assert_eq!(&read(xml), want);
    let bytes = want.to_bytes();
    let written = std::str::from_utf8(&bytes).unwrap();
    assert!(written.starts_with("<db:"), "{written}");
    assert_eq!(&read(written), want, "{written}");
}

fn capulet() -> Pair {
    Pair::new("capulet.example", "montague.example")
}

fn montague() -> Pair {
    Pair::new("montague.example", "capulet.example")
}

const KEY_1: &str = "b4835385f37fe2895af6c196b59097b16862406db80559900d96bf6fa7d23df3";
const KEY_2: &str = "225cc5aa6a071133249d25fef42ae516fc7a86c523aa1c6980a7f73e784c972d";

#[test]
fn step_1_is_read_as_xep_0220_prints_it() {
    let request = Request {
        pair: capulet(),
        key: Key::from_text(KEY_1),
    };
    let xml = format!(
        "<db:result
          from='capulet.example'
          to='montague.example'>
        {KEY_1}
      </db:result>"
    );
    check(&xml, &Nonza::Request(request));
}

#[test]
fn step_2_is_read_as_xep_0220_prints_it() {
    let question = Question {
        pair: montague(),
        stream_id: "417GAF25".to_owned(),
        key: Key::from_text(KEY_2),
    };
    let xml = format!(
        "<db:verify
          from='capulet.example'
          id='417GAF25'
          to='montague.example'>
       {KEY_2}
     </db:verify>"
    );
    check(&xml, &Nonza::Question(question.clone()));
    let secret = Secret::new("d14lb4ck43v3r");
    assert_eq!(verify(&secret, &question), Verdict::Valid);
}

#[test]
fn steps_3_and_4_are_read_as_xep_0220_prints_them() {
    let error = DialbackError::new(ErrorCondition::ItemNotFound);
    let printed = "<error type='cancel'>
          <item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>
        </error>";
    for (kind, inside, verdict) in [
        ("valid", "", Verdict::Valid),
        ("invalid", "", Verdict::Invalid),
        ("error", printed, Verdict::Error(error)),
    ] {
        let xml = format!(
            "<db:verify from='montague.example' id='417GAF25' to='capulet.example' type='{kind}'>
            {inside}</db:verify>"
        );
        let answer = Nonza::Answer {
            pair: montague(),
            stream_id: "417GAF25".to_owned(),
            verdict: verdict.clone(),
        };
        check(&xml, &answer);
        let xml = format!(
            "<db:result from='montague.example' to='capulet.example' type='{kind}'>{inside}</db:result>"
        );
        let result = Nonza::Result {
            pair: capulet(),
            verdict,
        };
        check(&xml, &result);
    }
}

#[test]
fn what_we_write_is_what_xep_0220_prints() {
    let request = Request {
        pair: capulet(),
        key: Key::from_text(KEY_1),
    };
    let question = Question {
        pair: montague(),
        stream_id: "417GAF25".to_owned(),
        key: Key::from_text(KEY_2),
    };
    let error = DialbackError::new(ErrorCondition::RemoteServerTimeout).with_text("a < b");
    for (nonza, want) in [
        (
            Nonza::Request(request),
            format!("<db:result from='capulet.example' to='montague.example'>{KEY_1}</db:result>"),
        ),
        (
            Nonza::Question(question),
            format!(
                "<db:verify from='capulet.example' to='montague.example' id='417GAF25'>{KEY_2}</db:verify>"
            ),
        ),
        (
            Nonza::Answer {
                pair: montague(),
                stream_id: "417GAF25".to_owned(),
                verdict: Verdict::Valid,
            },
            "<db:verify from='montague.example' to='capulet.example' id='417GAF25' type='valid'/>"
                .to_owned(),
        ),
        (
            Nonza::Result {
                pair: capulet(),
                verdict: Verdict::Invalid,
            },
            "<db:result from='montague.example' to='capulet.example' type='invalid'/>".to_owned(),
        ),
        (
            Nonza::Result {
                pair: capulet(),
                verdict: Verdict::Error(error),
            },
            "<db:result from='montague.example' to='capulet.example' type='error'>\
             <error type='wait'>\
             <remote-server-timeout xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
             <text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>a &lt; b</text>\
             </error></db:result>"
                .to_owned(),
        ),
    ] {
        assert_eq!(nonza.to_bytes(), want.as_bytes());
    }
}

#[test]
fn an_element_is_known_by_its_namespace_and_not_by_its_prefix() {
    let want = Nonza::Result {
        pair: capulet(),
        verdict: Verdict::Valid,
    };
    for xml in [
        "<x:result xmlns:x='jabber:server:dialback' from='montague.example' to='capulet.example' type='valid'/>",
        "<result xmlns='jabber:server:dialback' from='montague.example' to='capulet.example' type='valid'/>",
        "<db:result from='montague.example' to='capulet.example' type='valid'/>",
    ] {
        assert_eq!(read(xml), want, "{xml}");
    }
    for xml in [
        "<db:result xmlns:db='other' from='montague.example' to='capulet.example' type='valid'/>",
        "<result from='montague.example' to='capulet.example' type='valid'/>",
        "<db:results from='montague.example' to='capulet.example' type='valid'/>",
        "<message from='montague.example' to='capulet.example' type='valid'/>",
    ] {
        assert_eq!(read_in(&ours(), xml), None, "{xml}");
    }
}

#[test]
fn a_prefix_declared_on_the_header_counts_whatever_it_is() {
    let mut header = StreamHeader::new(ContentNamespace::Server);
    let prefixes = [("x", "jabber:server:dialback"), ("db", "other")];
    header.prefixes = prefixes.map(|(p, ns)| (p.to_owned(), ns.to_owned())).into();
    let context = Context::of(&header);
    let attributes = "from='montague.example' to='capulet.example' type='valid'";
    let read = |name: &str| read_in(&context, &format!("<{name} {attributes}/>"));
    assert!(read("x:result").is_some());
    assert!(read("db:result").is_none());
}

#[test]
fn references_in_attributes_and_keys_are_resolved() {
    let xml = "<db:verify from='montague&#46;example' to='capulet.example' id='a&amp;b'>k&lt;<![CDATA[&]]></db:verify>";
    let want = Question {
        pair: capulet(),
        stream_id: "a&b".to_owned(),
        key: Key::from_text("k<&"),
    };
    check(xml, &Nonza::Question(want));
}

#[track_caller]
fn malformed(xml: &str, want: Malformed, condition: Condition) {
    assert_eq!(read_in(&ours(), xml), Some(Err(want)), "{xml}");
    assert_eq!(want.stream_error().condition, condition);
}

#[test]
fn what_lacks_an_attribute_is_malformed() {
    use Condition::{BadFormat, ImproperAddressing};
    malformed(
        "<db:result from='a'>k</db:result>",
        Malformed::NoTo,
        ImproperAddressing,
    );
    malformed(
        "<db:result to='a'>k</db:result>",
        Malformed::NoFrom,
        ImproperAddressing,
    );
    malformed(
        "<db:result from='a' to=''>k</db:result>",
        Malformed::NoTo,
        ImproperAddressing,
    );
    malformed(
        "<db:verify from='' to='a' id='1'/>",
        Malformed::NoFrom,
        ImproperAddressing,
    );
    malformed(
        "<db:verify from='a' to='b' type='valid'/>",
        Malformed::NoId,
        BadFormat,
    );
    malformed(
        "<db:verify from='a' to='b' id=''>k</db:verify>",
        Malformed::NoId,
        BadFormat,
    );
}

#[test]
fn a_type_is_one_of_three_and_nothing_like_them() {
    for kind in ["", "Valid", "valid ", "VALID", "true", "result"] {
        let xml = format!("<db:result from='a' to='b' type='{kind}'/>");
        malformed(&xml, Malformed::UnknownType, Condition::BadFormat);
    }
    // Of another namespace, it is no type at all.
    let xml = "<db:result from='a' to='b' xmlns:x='x' x:type='valid'>k</db:result>";
    assert!(matches!(read(xml), Nonza::Request(_)));
}

#[track_caller]
fn error(inside: &str, condition: ErrorCondition, text: Option<&str>) {
    let xml = format!("<db:result from='a' to='b' type='error'>{inside}</db:result>");
    let mut want = DialbackError::new(condition);
    want.text = text.map(str::to_owned);
    let pair = Pair::new("b", "a");
    let verdict = Verdict::Error(want);
    assert_eq!(read(&xml), Nonza::Result { pair, verdict }, "{xml}");
}

#[test]
fn errors_are_read_leniently_and_never_as_something_better() {
    const STANZAS: &str = "xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'";
    let undefined = ErrorCondition::Undefined;
    error("", undefined, None);
    error("valid", undefined, None);
    error("<error/>", undefined, None);
    error("<error><forbidden/></error>", undefined, None);
    error(
        &format!("<error><gone {STANZAS}/></error>"),
        undefined,
        Some("gone"),
    );
    error(
        &format!("<error type='auth'><text {STANZAS}>no</text><forbidden {STANZAS}/></error>"),
        ErrorCondition::Forbidden,
        Some("no"),
    );
    error(
        &format!("<db:error><not-acceptable {STANZAS}/></db:error>"),
        ErrorCondition::NotAcceptable,
        None,
    );
}

#[test]
fn stream_errors_of_old_servers_say_what_dialback_errors_would() {
    let said = |condition| match Verdict::from_stream_error(condition) {
        Verdict::Error(error) => Some(error.condition),
        Verdict::Invalid => None,
        Verdict::Valid => panic!("{condition:?} proves nothing"),
    };
    use ErrorCondition as E;
    for (condition, want) in [
        (Condition::InvalidId, None),
        (Condition::HostUnknown, Some(E::ItemNotFound)),
        (Condition::HostGone, Some(E::ItemNotFound)),
        (
            Condition::RemoteConnectionFailed,
            Some(E::RemoteConnectionFailed),
        ),
        (Condition::InvalidFrom, Some(E::NotAcceptable)),
        (Condition::NotAuthorized, Some(E::NotAuthorized)),
        (Condition::PolicyViolation, Some(E::PolicyViolation)),
        (Condition::ResourceConstraint, Some(E::ResourceConstraint)),
        (Condition::SystemShutdown, Some(E::RemoteServerTimeout)),
        (Condition::UndefinedCondition, Some(E::RemoteServerTimeout)),
    ] {
        assert_eq!(said(condition), want, "{condition:?}");
    }
    // XEP-0220 §2.5: from the authoritative server, host-unknown is told as remote-server-not-found.
    let Verdict::Error(told) = Verdict::from_stream_error(Condition::HostUnknown).relayed() else {
        panic!("an error stays an error");
    };
    assert_eq!(told.condition, E::RemoteServerNotFound);
}

#[test]
fn a_closed_stream_says_so_by_its_condition() {
    assert_eq!(CloseStream::Invalid.stream_error(), None);
    let error = CloseStream::PolicyViolation.stream_error().unwrap();
    assert_eq!(error.condition, Condition::PolicyViolation);
    let mut nothing_asked = Receiving::new(xmpp_dialback::DialbackLimits::default());
    let unsolicited = nothing_asked
        .answered(&capulet(), Verdict::Valid)
        .unwrap_err();
    assert_eq!(unsolicited.stream_error().condition, Condition::InvalidFrom);
}

#[test]
fn an_answer_with_the_attributes_swapped_is_for_another_pair() {
    let asked = Question {
        pair: capulet(),
        stream_id: "D60000229F".to_owned(),
        key: Key::from_text(KEY_1),
    };
    let mut stream = Verifying::new(asked);
    let xml =
        "<db:verify from='montague.example' to='capulet.example' id='D60000229F' type='valid'/>";
    let Nonza::Answer {
        pair,
        stream_id,
        verdict,
    } = read(xml)
    else {
        panic!("an answer");
    };
    stream.answer(&pair, &stream_id, verdict).unwrap_err();
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        (sender, target) in ("[^\\x00-\\x1f\\x7f\u{fffe}\u{ffff}]{1,20}", "[^\\x00-\\x1f\\x7f\u{fffe}\u{ffff}]{1,20}"),
        stream_id in "[^\\x00-\\x1f\\x7f\u{fffe}\u{ffff}]{1,20}",
        text in proptest::option::of("[ -~é]{1,20}"),
        which in 0..5usize,
    ) {
        let pair = Pair::new(sender, target);
        let key = Secret::new("s").key(&pair, &stream_id);
        let mut error = DialbackError::new(ErrorCondition::NotAcceptable);
        error.text = text;
        let nonza = match which {
            0 => Nonza::Request(Request { pair, key }),
            1 => Nonza::Question(Question { pair, stream_id, key }),
            2 => Nonza::Answer { pair, stream_id, verdict: Verdict::Valid },
            3 => Nonza::Answer { pair, stream_id, verdict: Verdict::Error(error) },
            _ => Nonza::Result { pair, verdict: Verdict::Error(error) },
        };
        let element = Element::parse(nonza.to_bytes(), &ours()).unwrap();
        prop_assert_eq!(Nonza::from_element(&element), Some(Ok(nonza)));
    }
}

#[test]
fn a_pair_is_prepared_as_its_domains_are() {
    let domain = |text| xmpp_stream::Domain::parse(text).unwrap();
    let pair = Pair::of(&domain("Capulet.example."), &domain("b\u{fc}cher.example"));
    assert_eq!(pair, Pair::new("capulet.example", "b\u{fc}cher.example"));
    let same = Pair::new("CAPULET.example", "xn--bcher-kva.example").prepared();
    assert_eq!(same, Ok(pair));
    assert!(Pair::new("a b", "b.example").prepared().is_err());
    assert!(Pair::new("b.example", "").prepared().is_err());
}
