//! What is forwarded is taken by expat, with which most XMPP software reads: Prosody, ejabberd, jabberd2, slixmpp.
//!
//! expat is Python's, in a child process. Without a `python3` there is nothing to hold it against, and the test says so.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use bytes::BytesMut;
use common::{OPEN, decode_in};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use xmpp_stream::{ContentNamespace, Frame, XmlLimits};

/// Reads documents, each after its length, and says of each whether expat takes it: with no namespaces, and with
/// namespaces joined to names by what Prosody, ejabberd, jabberd2 and Python join them by.
const PROGRAM: &str = r"
import sys
from xml.parsers import expat
def fault(document):
    for separator in (None, '\x01', '\n', '|', '}', ' '):
        parser = expat.ParserCreate(None, separator)
        try:
            parser.Parse(document, True)
        except expat.ExpatError as error:
            return '%r: %s' % (separator, error)
while True:
    length = sys.stdin.buffer.readline()
    if not length:
        break
    print(fault(sys.stdin.buffer.read(int(length))) or 'taken', flush=True)
";

struct Expat {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Expat {
    fn start() -> Option<Self> {
        let child = Command::new("python3")
            .args(["-c", PROGRAM])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut child) = child else {
            eprintln!("there is no python3: nothing was compared with expat");
            return None;
        };
        Some(Self {
            ask: child.stdin.take().unwrap(),
            answers: BufReader::new(child.stdout.take().unwrap()),
            child,
        })
    }

    /// Why expat does not take the document.
    fn fault(&mut self, document: &[u8]) -> Option<String> {
        writeln!(self.ask, "{}", document.len()).unwrap();
        self.ask.write_all(document).unwrap();
        self.ask.flush().unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        assert!(!answer.is_empty(), "python3 is gone");
        (answer.trim() != "taken").then(|| answer.trim().to_owned())
    }
}

impl Drop for Expat {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The document that a stream becomes which forwards this stanza alone.
fn document(stanza: &[u8]) -> Vec<u8> {
    let open = "<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' \
                xmlns:stream='http://etherx.jabber.org/streams'>";
    [open.as_bytes(), stanza, b"</stream:stream>"].concat()
}

/// A stream header that declares what no parser but rxml likes too.
fn open() -> String {
    let declared = "xmlns:n='urn:n' xmlns:o='urn:}' xmlns:\u{2c00}='urn:p' xml:lang='de' version";
    OPEN.replace("version", declared)
}

/// Stanzas that go to the edges of XML.
fn stanza() -> impl Strategy<Value = String> {
    let character = || {
        proptest::sample::select(
            &[
                'a',
                'b',
                '-',
                '.',
                '1',
                '_',
                ':',
                '\u{b7}',
                '\u{c0}',
                '\u{d7}',
                '\u{f7}',
                '\u{17f}',
                '\u{1c4}',
                '\u{300}',
                '\u{346}',
                '\u{370}',
                '\u{37e}',
                '\u{37f}',
                '\u{387}',
                '\u{559}',
                '\u{660}',
                '\u{e5d}',
                '\u{f3e}',
                '\u{1fff}',
                '\u{200c}',
                '\u{203f}',
                '\u{20dd}',
                '\u{2126}',
                '\u{2180}',
                '\u{2c00}',
                '\u{3005}',
                '\u{3007}',
                '\u{3021}',
                '\u{3031}',
                '\u{3041}',
                '\u{309d}',
                '\u{4e00}',
                '\u{9fa5}',
                '\u{9fa6}',
                '\u{ac00}',
                '\u{d7a3}',
                '\u{d7a4}',
                '\u{f900}',
                '\u{fdf0}',
                '\u{fffd}',
                '\u{10000}',
                '\u{1f600}',
            ][..],
        )
    };
    let any_name = proptest::collection::vec(character(), 1..4)
        .prop_map(|characters| characters.into_iter().collect::<String>());
    let name = proptest::prop_oneof![
        4 => proptest::sample::select(&["a", "x", "n:a", "o:a", "q:b", "stream:a", "xml:a", "\u{2c00}:a"][..])
            .prop_map(str::to_owned),
        3 => any_name,
    ];
    let piece = proptest::sample::select(
        &[
            "1",
            "\r",
            "\r\n",
            "\n",
            "\t",
            "&#13;",
            "&#0000000000009;",
            "&#x00000000020AC;",
            "&lt;",
            "&amp;amp;",
            ">",
            "]]&gt;",
            "\u{7f}",
            "\u{85}",
            "\u{2028}",
            "\u{feff}",
            "\u{e000}",
            "\u{fffd}",
            "\u{1fffe}",
            "\u{10ffff}",
            "é",
            "}",
            "|",
            " ",
            "\"",
            "urn:u",
            "jabber:server",
            "jabber:client",
            "http://www.w3.org/XML/1998/namespace",
        ][..],
    );
    let value = proptest::collection::vec(piece, 0..3).prop_map(|pieces| pieces.concat());
    let declared = proptest::sample::select(
        &[
            "xmlns",
            "xmlns:q",
            "xmlns:n",
            "xmlns:xml",
            "xml:lang",
            "xml:space",
        ][..],
    );
    let attribute = proptest::prop_oneof![
        (name.clone(), value.clone()).prop_map(|(name, value)| format!(" {name}='{value}'")),
        (declared, value.clone()).prop_map(|(name, value)| format!("\r\n{name} = '{value}'")),
    ];
    let text = proptest::prop_oneof![
        value,
        proptest::sample::select(&["<![CDATA[]]>", "<![CDATA[<&\r]]]]>", "text"][..])
            .prop_map(str::to_owned),
    ];
    let element = (name, proptest::collection::vec(attribute, 0..3), text);
    let element = element.prop_map(|(name, attributes, text)| {
        format!("<{name}{}>{text}</{name}\r>", attributes.concat())
    });
    (element, proptest::sample::select(&["message", "iq", "s:message"][..])).prop_map(|(within, kind)| {
        format!("<{kind} xmlns:s='jabber:server' from='a@a.example' to='b@b.example'>{within}</{kind}>")
    })
}

#[test]
fn what_is_forwarded_is_taken_by_expat() {
    let Some(mut expat) = Expat::start() else {
        return;
    };
    // It does refuse what the test is about, or it would prove nothing.
    for bad in ["<\u{2c00}/>", "<a xmlns='urn:}'/>", "<a>\u{fffe}</a>"] {
        assert!(expat.fault(&document(bad.as_bytes())).is_some(), "{bad}");
    }
    let mut runner = TestRunner::deterministic();
    let (mut forwarded, mut refused, mut ended) = (0, 0, 0);
    for _ in 0..4000 {
        let text = stanza().new_tree(&mut runner).unwrap().current();
        let input = format!("{}{text}", open());
        let (frames, _) = decode_in(XmlLimits::after_authentication(), &[input.as_bytes()]);
        match frames.get(1) {
            Some(Frame::Element(element)) => {
                let mut out = BytesMut::new();
                element.write_for(ContentNamespace::Component, &mut out);
                let fault = expat.fault(&document(&out));
                assert_eq!(fault, None, "{text:?} is forwarded as {out:?}");
                forwarded += 1;
            }
            Some(Frame::Refused(_)) => refused += 1,
            _ => ended += 1,
        }
    }
    assert!(
        forwarded > 500 && refused > 200 && ended > 200,
        "{forwarded} {refused} {ended}"
    );
}
