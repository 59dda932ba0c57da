//! SASL in XMPP (RFC 6120 §6.4, §6.5): the only file here that knows XML.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use xmpp_stream::{Element, Node, Tree, Writer, ns};

use crate::Failure;

/// One of the elements of a SASL negotiation, its data decoded.
///
/// `Debug` shows lengths in place of data, which may be a password.
#[derive(Clone, PartialEq, Eq)]
pub enum Nonza {
    /// `<auth/>` (§6.4.2). A new one discards a negotiation that is going on.
    Auth {
        /// The mechanism asked for, by a name of the right form.
        mechanism: String,
        /// The initial response; `Some` and empty is a response without data (`=`), `None` is none.
        initial: Option<Vec<u8>>,
    },
    /// `<challenge/>` (§6.4.3).
    Challenge(Vec<u8>),
    /// `<response/>` (§6.4.3).
    Response(Vec<u8>),
    /// `<abort/>` (§6.4.4). The answer is [`Failure::Aborted`].
    Abort,
    /// `<success/>` (§6.4.6), with additional data if the mechanism has any.
    Success(Option<Vec<u8>>),
    /// `<failure/>` (§6.4.5).
    Failure {
        /// Why. An unknown condition is read as [`Failure::NotAuthorized`], as §6.5 says.
        failure: Failure,
        /// A text for people.
        text: Option<String>,
    },
}

impl Nonza {
    /// Reads an element. `None` if it is not one of these.
    ///
    /// An error is what the asking side answers with; the initiating side aborts. Base64 is read strictly
    /// (RFC 6120 §13.9.1): nothing outside the alphabet, so no white space either, and no padding or bits that the
    /// encoder would not have written.
    pub fn from_element(element: &Element) -> Option<Result<Self, Failure>> {
        if element.namespace() != ns::SASL {
            return None;
        }
        let read: fn(&Tree) -> Result<Self, Failure> = match element.name() {
            "auth" => read_auth,
            "challenge" => |tree| Ok(Self::Challenge(data(tree)?.unwrap_or_default())),
            "response" => |tree| Ok(Self::Response(data(tree)?.unwrap_or_default())),
            "abort" => |_| Ok(Self::Abort),
            "success" => |tree| Ok(Self::Success(data(tree)?)),
            "failure" => |tree| Ok(read_failure(tree)),
            _ => return None,
        };
        Some(read(&element.tree()))
    }

    /// Writes it, with its namespace declared.
    pub fn to_bytes(&self) -> Bytes {
        let element = |name: &str| Writer::new(name).xmlns(ns::SASL);
        match self {
            Self::Auth { mechanism, initial } => optional_data(
                element("auth").attr("mechanism", mechanism),
                initial.as_deref(),
            ),
            Self::Challenge(data) => required_data(element("challenge"), data),
            Self::Response(data) => required_data(element("response"), data),
            Self::Abort => element("abort"),
            Self::Success(data) => optional_data(element("success"), data.as_deref()),
            Self::Failure { failure, text } => {
                let condition = element("failure").child(Writer::new(failure.name()));
                match text {
                    // §6.5: in a language that is named.
                    Some(text) => {
                        condition.child(Writer::new("text").attr("xml:lang", "en").text(text))
                    }
                    None => condition,
                }
            }
        }
        .finish()
    }
}

impl From<Failure> for Nonza {
    fn from(failure: Failure) -> Self {
        Self::Failure {
            failure,
            text: None,
        }
    }
}

fn read_auth(tree: &Tree) -> Result<Nonza, Failure> {
    // §6.5.7: "did not specify a mechanism" is invalid-mechanism as well. RFC 4422 §3.1 has the form of names.
    let mechanism = tree.attr("mechanism").filter(|name| {
        (1..=20).contains(&name.len())
            && name.bytes().all(|byte| {
                byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"-_".contains(&byte)
            })
    });
    let mechanism = mechanism.ok_or(Failure::InvalidMechanism)?.to_owned();
    Ok(Nonza::Auth {
        mechanism,
        initial: data(tree)?,
    })
}

fn read_failure(tree: &Tree) -> Nonza {
    let words = || tree.elements().filter(|child| child.namespace == ns::SASL);
    let condition = words().find(|child| child.name != "text");
    let failure = condition
        .and_then(|child| Failure::from_name(&child.name))
        .unwrap_or(Failure::NotAuthorized);
    let text = words()
        .find(|child| child.name == "text")
        .map(Tree::text)
        .filter(|text| !text.is_empty());
    Nonza::Failure { failure, text }
}

/// The data in an element: `None` if it is empty, nothing for a single `=` (§6.4.2, §6.4.6).
///
/// §6.4.3 has no `=` for challenges and responses, where an empty element says the same; it is understood there too.
fn data(tree: &Tree) -> Result<Option<Vec<u8>>, Failure> {
    let mut text = String::new();
    for child in &tree.children {
        match child {
            Node::Text(part) => text.push_str(part),
            Node::Element(_) => return Err(Failure::MalformedRequest),
        }
    }
    match text.as_str() {
        "" => Ok(None),
        "=" => Ok(Some(Vec::new())),
        text => STANDARD
            .decode(text)
            .map(Some)
            .map_err(|_| Failure::IncorrectEncoding),
    }
}

fn optional_data(element: Writer, data: Option<&[u8]>) -> Writer {
    match data {
        None => element,
        Some([]) => element.text("="),
        Some(data) => element.text(&STANDARD.encode(data)),
    }
}

fn required_data(element: Writer, data: &[u8]) -> Writer {
    if data.is_empty() {
        element
    } else {
        element.text(&STANDARD.encode(data))
    }
}

impl fmt::Debug for Nonza {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = |data: &Option<Vec<u8>>| data.as_ref().map(Vec::len);
        match self {
            Self::Auth { mechanism, initial } => {
                write!(f, "Auth({mechanism}, {:?} bytes)", length(initial))
            }
            Self::Challenge(data) => write!(f, "Challenge({} bytes)", data.len()),
            Self::Response(data) => write!(f, "Response({} bytes)", data.len()),
            Self::Abort => f.write_str("Abort"),
            Self::Success(data) => write!(f, "Success({:?} bytes)", length(data)),
            Self::Failure { failure, text } => write!(f, "Failure({failure}, {text:?})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use xmpp_stream::{ContentNamespace, Context};

    use super::*;

    fn read(xml: &str) -> Option<Result<Nonza, Failure>> {
        let element =
            Element::parse(xml.to_owned(), &Context::new(ContentNamespace::Server)).unwrap();
        Nonza::from_element(&element)
    }

    #[track_caller]
    fn check(xml: &str, want: Result<Nonza, Failure>) {
        let xml = xml.replacen('>', " xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>", 1);
        let xml = xml.replacen(
            "/ xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>",
            " xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
            1,
        );
        assert_eq!(read(&xml), Some(want), "{xml}");
    }

    fn auth(initial: Option<&[u8]>) -> Nonza {
        Nonza::Auth {
            mechanism: "EXTERNAL".to_owned(),
            initial: initial.map(<[u8]>::to_vec),
        }
    }

    #[test]
    fn an_initial_response_is_none_or_empty_or_something() {
        check("<auth mechanism='EXTERNAL'/>", Ok(auth(None)));
        check("<auth mechanism='EXTERNAL'></auth>", Ok(auth(None)));
        check("<auth mechanism='EXTERNAL'>=</auth>", Ok(auth(Some(b""))));
        check(
            "<auth mechanism='EXTERNAL'>ZXhhbXBsZS5vcmc=</auth>",
            Ok(auth(Some(b"example.org"))),
        );
        check(
            "<auth mechanism='EXTERNAL'>&#x5a;Xhhb<![CDATA[XBsZS5v]]>cmc&#61;</auth>",
            Ok(auth(Some(b"example.org"))),
        );
    }

    #[test]
    fn no_mechanism_or_one_without_a_proper_name_is_invalid() {
        for start in [
            "auth",
            "auth mechanism=''",
            "auth mechanism='external'",
            "auth mechanism='A B'",
            "auth mechanism='ABCDEFGHIJKLMNOPQRSTU'",
        ] {
            check(
                &format!("<{start}>=</auth>"),
                Err(Failure::InvalidMechanism),
            );
        }
        check(
            "<auth x:mechanism='EXTERNAL' xmlns:x='x:y'>=</auth>",
            Err(Failure::InvalidMechanism),
        );
    }

    #[test]
    fn additional_data_with_success_are_none_or_empty_or_something() {
        check("<success/>", Ok(Nonza::Success(None)));
        check("<success>=</success>", Ok(Nonza::Success(Some(vec![]))));
        check(
            "<success>Zg==</success>",
            Ok(Nonza::Success(Some(b"f".to_vec()))),
        );
    }

    #[test]
    fn challenges_and_responses_may_be_empty() {
        check("<challenge/>", Ok(Nonza::Challenge(vec![])));
        check("<challenge>=</challenge>", Ok(Nonza::Challenge(vec![])));
        check(
            "<challenge>Zm9v</challenge>",
            Ok(Nonza::Challenge(b"foo".to_vec())),
        );
        check("<response/>", Ok(Nonza::Response(vec![])));
        check("<response>=</response>", Ok(Nonza::Response(vec![])));
        check(
            "<response>Zm9v</response>",
            Ok(Nonza::Response(b"foo".to_vec())),
        );
        check("<abort/>", Ok(Nonza::Abort));
    }

    #[test]
    fn base64_is_read_strictly() {
        for (text, octets) in [
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9vYg==", "foob"),
            ("Zm9vYmE=", "fooba"),
            ("Zm9vYmFy", "foobar"),
        ] {
            check(
                &format!("<response>{text}</response>"),
                Ok(Nonza::Response(octets.into())),
            );
        }
        check(
            "<response>////</response>",
            Ok(Nonza::Response(vec![0xff; 3])),
        );
        for text in [
            "Zg=",
            "Zg",
            "Z",
            "Zm9v=",
            "Zm9vYg==Zg==",
            "Zh==",
            "Zm9-",
            "=AAA",
            "BBBB=CCC",
            "==",
            "Zm9vé",
            // Folded as RFCs print it, or with white space around it.
            "Zm9\n",
            "Zm 9v",
            "ZXhh bXBsZS5v\ncmc=",
            "\n  Zm9v\n",
            " =",
            "= ",
            " ",
            "\n",
        ] {
            for name in [
                "auth mechanism='EXTERNAL'",
                "challenge",
                "response",
                "success",
            ] {
                let end = name.split(' ').next().unwrap();
                check(
                    &format!("<{name}>{text}</{end}>"),
                    Err(Failure::IncorrectEncoding),
                );
            }
        }
    }

    #[test]
    fn elements_where_data_belong_are_malformed() {
        check(
            "<response>Zm9v<x/></response>",
            Err(Failure::MalformedRequest),
        );
        check(
            "<auth mechanism='EXTERNAL'><x/></auth>",
            Err(Failure::MalformedRequest),
        );
    }

    #[test]
    fn failures_have_a_condition_and_perhaps_a_text() {
        for failure in Failure::ALL {
            check(
                &format!("<failure><{failure}/></failure>"),
                Ok(failure.into()),
            );
        }
        let with_text = Nonza::Failure {
            failure: Failure::AccountDisabled,
            text: Some("Call & ask.".to_owned()),
        };
        check(
            "<failure><account-disabled/><text xml:lang='en'>Call &amp; ask.</text></failure>",
            Ok(with_text.clone()),
        );
        check(
            "<failure>\n  <text>Call &amp; ask.</text>\n  <account-disabled/>\n</failure>",
            Ok(with_text),
        );
    }

    #[test]
    fn a_failure_without_a_known_condition_is_not_authorized() {
        for inside in [
            "",
            "<bad-hair-day/>",
            "<aborted xmlns='jabber:server'/>",
            "<text/>",
            "aborted",
        ] {
            check(
                &format!("<failure>{inside}</failure>"),
                Ok(Failure::NotAuthorized.into()),
            );
        }
    }

    #[test]
    fn other_elements_are_none_of_these() {
        assert_eq!(read("<auth mechanism='EXTERNAL'>=</auth>"), None);
        assert_eq!(
            read("<success xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"),
            None
        );
        assert_eq!(
            read("<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"),
            None
        );
    }

    #[test]
    fn they_are_written_as_the_rfcs_print_them() {
        let is = |nonza: Nonza, xml: &str| assert_eq!(nonza.to_bytes(), xml);
        is(
            auth(Some(b"")),
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>",
        );
        is(
            auth(None),
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'/>",
        );
        is(
            Nonza::Response(vec![]),
            "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
        );
        is(
            Nonza::Challenge(b"foo".to_vec()),
            "<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>Zm9v</challenge>",
        );
        is(
            Nonza::Abort,
            "<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
        );
        is(
            Nonza::Success(None),
            "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
        );
        is(
            Failure::Aborted.into(),
            "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><aborted/></failure>",
        );
        is(
            Nonza::Failure {
                failure: Failure::NotAuthorized,
                text: Some("no <you>".to_owned()),
            },
            "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/><text xml:lang='en'>no &lt;you&gt;</text></failure>",
        );
    }

    #[test]
    fn debug_shows_no_data() {
        let shown = format!(
            "{:?} {:?}",
            auth(Some(b"secret")),
            Nonza::Response(b"secret".to_vec())
        );
        assert_eq!(shown, "Auth(EXTERNAL, Some(6) bytes) Response(6 bytes)");
    }

    fn any_nonza() -> impl Strategy<Value = Nonza> {
        let octets = || proptest::collection::vec(any::<u8>(), 0..100);
        prop_oneof![
            ("[A-Z0-9_-]{1,20}", proptest::option::of(octets()))
                .prop_map(|(mechanism, initial)| Nonza::Auth { mechanism, initial }),
            octets().prop_map(Nonza::Challenge),
            octets().prop_map(Nonza::Response),
            Just(Nonza::Abort),
            proptest::option::of(octets()).prop_map(Nonza::Success),
            (
                proptest::sample::select(&Failure::ALL[..]),
                proptest::option::of("[ -~é]{1,30}")
            )
                .prop_map(|(failure, text)| Nonza::Failure { failure, text }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(nonza in any_nonza()) {
            let xml = String::from_utf8(nonza.to_bytes().to_vec()).unwrap();
            prop_assert_eq!(read(&xml), Some(Ok(nonza)));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[ -%'-;=?-~\\n]{0,60}") {
            let _ = read(&format!("<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{text}</response>"));
        }
    }
}
