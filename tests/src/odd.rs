//! What a sender writes that thinks of nobody: stanzas and other elements that are well-formed XML and odd in one way or
//! another, and bytes that are no XML. Each seed gives the same ones again.

use std::fmt::Write as _;

/// Elements from one domain to another.
#[derive(Clone, Debug)]
pub struct Odd {
    state: u64,
    from: String,
    to: String,
    unknown: usize,
}

/// So many elements that mean nothing are made at all: more of them a minute end a stream, as is said in docs/flow.md.
const MOST_UNKNOWN: usize = 8;

impl Odd {
    /// From users of `from` to users of `to`.
    pub fn new(seed: u64, from: &str, to: &str) -> Self {
        Self {
            state: seed,
            from: from.to_owned(),
            to: to.to_owned(),
            unknown: 0,
        }
    }

    /// Whether it happens this time: once in `of`.
    pub fn one_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    /// An element that is well-formed, of a sender that may send, within the size that is announced. It may end no stream.
    pub fn element(&mut self) -> String {
        if self.unknown < MOST_UNKNOWN && self.one_in(12) {
            self.unknown += 1;
            return self.unknown_element();
        }
        let name = self.pick(&["message", "presence", "iq"]);
        let mut text = format!("<{name}");
        let namespace = self.pick(&["", "", "", "", " xmlns='jabber:client'"]);
        text.push_str(namespace);
        let (from, to) = (self.a_sender(), self.an_addressee());
        let id = self.value();
        let _ = write!(text, " from='{from}' to='{to}'");
        if !self.one_in(4) {
            let _ = write!(text, " id='odd {id}'");
        }
        if self.one_in(2) {
            let kind = self.pick(&[
                "error",
                "get",
                "set",
                "result",
                "chat",
                "headline",
                "nonsense",
                "",
                "subscribe",
            ]);
            let _ = write!(text, " type='{kind}'");
        }
        if self.one_in(4) {
            text.push_str(self.pick(&[
                " xml:lang='tlh'",
                " xml:space='preserve'",
                " xmlns:p='urn:p' p:a='1'",
                " xmlns:stream='urn:not-streams'",
                " a='1&#13;2'",
                " a='1\r2\n3\t4'",
            ]));
        }
        match self.one_in(8) {
            true => text.push_str("/>"),
            false => {
                text.push('>');
                let content = self.content();
                let _ = write!(text, "{content}</{name}>");
            }
        }
        text
    }

    /// Bytes after which nothing more can be read, or nothing is to be: the other side may end the stream.
    pub fn broken(&mut self) -> Vec<u8> {
        let junk = [
            &b"<message><body></message>"[..],
            b"<!-- a comment -->",
            b"<?php echo ?>",
            b"<!DOCTYPE message [<!ENTITY a 'b'>]>",
            b"<message from='a' from='b'/>",
            b"<message a='<'/>",
            b"<message>&nothing;</message>",
            b"<message>&#0;</message>",
            b"<p:message/>",
            b"<message a=1/>",
            b"</message>",
            b"text between stanzas",
            b"<message>\xFF\xFE</message>",
            b"<message>\xED\xA0\x80</message>",
            b"\0\0\0\0",
            b"]]>",
            b"<message xmlns:xmlns='urn:x'/>",
            b"<stream:stream><stream:error/>",
            b"<message><body>]]></body></message>",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03",
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        ];
        let mut bytes = junk[self.below(junk.len())].to_vec();
        if self.one_in(4) {
            // Any one byte of something good is another.
            bytes = self.element().into_bytes();
            let (at, byte) = (self.below(bytes.len()), self.next().to_le_bytes()[0]);
            if let Some(it) = bytes.get_mut(at) {
                *it = byte;
            }
        }
        bytes
    }

    fn unknown_element(&mut self) -> String {
        self.pick(&[
            "<r xmlns='urn:xmpp:sm:3'/>",
            "<pubsub xmlns='urn:x'><publish/></pubsub>",
            "<message xmlns=''/>",
            "<handshake xmlns='urn:x'>abc</handshake>",
            "<stream:features/>",
        ])
        .to_owned()
    }

    fn content(&mut self) -> String {
        match self.below(14) {
            0 => "<x>".repeat(150) + &"</x>".repeat(150),
            1 => {
                let attributes = (0..100).map(|number| format!(" a{number}='{number}'"));
                format!("<x xmlns='urn:x'{}/>", attributes.collect::<String>())
            }
            2 => format!("<x xmlns='urn:x' a='{}'/>", "v".repeat(9_000)),
            3 => {
                let names =
                    (0..200).map(|number| format!("<p{number}:x xmlns:p{number}='urn:{number}'>"));
                let ends = (0..200).rev().map(|number| format!("</p{number}:x>"));
                names.chain(ends).collect()
            }
            4 => "<egg\u{17f} xmlns='urn:t'/>".to_owned(),
            5 => "<x xmlns='urn|x'/>".to_owned(),
            6 => "<body>&#0000000000000000009;&#x1F600;&lt;&amp;&gt;</body>".to_owned(),
            7 => "<body><![CDATA[<message>]]&gt;]]></body>".to_owned(),
            8 => format!("<body>{}</body>", "long ".repeat(4_000)),
            9 => "<body>\u{1F600}\u{202E}\u{FEFF}\u{85}\u{2028}\r\n\r</body>".to_owned(),
            10 => {
                "<error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
                    .to_owned()
            }
            11 => "<query xmlns='http://jabber.org/protocol/disco#info'/>".to_owned(),
            12 => "<a:b xmlns:a='urn:a'><c xmlns='' a:a='1' a='2'/>text</a:b>".to_owned(),
            _ => {
                let value = self.value();
                format!("<body>{value}</body>")
            }
        }
    }

    fn a_sender(&mut self) -> String {
        let domain = self.from.clone();
        match self.below(8) {
            0 => domain,
            1 => format!("u@{}", domain.to_uppercase()),
            2 => format!("u@{domain}./r"),
            3 => format!("\u{ff35}@{domain}/r r"),
            _ => format!("odd@{domain}/{}", self.below(100)),
        }
    }

    fn an_addressee(&mut self) -> String {
        let domain = self.to.clone();
        match self.below(14) {
            0 => domain,
            1 => format!("u@{}", domain.to_uppercase()),
            2 => format!("u@{domain}."),
            3 => format!("a b@{domain}"),
            4 => format!("@{domain}"),
            5 => format!("u@{domain}/"),
            6 => format!("{}@{domain}", "l".repeat(1_100)),
            7 => format!("u@{domain}/{}", "r".repeat(1_100)),
            8 => format!("u&#x202E;&#xAD;@{domain}"),
            9 => format!("&quot;@{domain}/&#9;"),
            _ => format!("odd@{domain}/{}", self.below(100)),
        }
    }

    fn value(&mut self) -> String {
        const PARTS: [&str; 10] = [
            "a",
            " ",
            "&amp;",
            "&#x41;",
            "\u{e9}",
            "\u{10FFFD}",
            "&quot;",
            "\n",
            "&#13;",
            "\u{200d}",
        ];
        let length = self.below(12);
        (0..length).map(|_| self.pick(&PARTS)).collect()
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound.max(1)).unwrap_or(1);
        usize::try_from(self.next() % bound).unwrap_or(0)
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bytes::BytesMut;
    use tokio_util::codec::Decoder as _;
    use xmpp_stream::{Codec, XmlLimits};

    use super::*;

    const HEADER: &str = "<stream:stream xmlns='jabber:component:accept' \
         xmlns:stream='http://etherx.jabber.org/streams' from='b.test'>";

    /// It would end the stream of a component for a reason of XML, and prove nothing of what it is for.
    #[test]
    fn what_is_odd_is_well_formed() {
        for seed in 0..200 {
            let mut odd = Odd::new(seed, "a.test", "b.test");
            for _ in 0..50 {
                let element = odd.element();
                let mut text = BytesMut::from(HEADER);
                text.extend_from_slice(element.as_bytes());
                let mut codec = Codec::new(XmlLimits::after_authentication());
                codec.decode(&mut text).unwrap();
                let frame = codec.decode(&mut text);
                assert!(matches!(frame, Ok(Some(_))), "{frame:?}: {element}");
            }
        }
    }

    #[test]
    fn a_seed_says_the_same_again() {
        let all = |seed| {
            let mut odd = Odd::new(seed, "a.test", "b.test");
            (0..100)
                .map(|_| (odd.element(), odd.broken()))
                .collect::<Vec<_>>()
        };
        assert_eq!(all(7), all(7));
        assert_ne!(all(7), all(8));
    }
}
