//! Both framers behind one: the scanner first, and the reference for what that passes on.

use std::sync::Arc;

use crate::framer::{HeaderStep, Reference, Step};
use crate::scanner::{Scan, Scanner};
use crate::{ContentNamespace, Context, DecodeError, XmlLimits};

/// Finds the header and the first-level elements of a stream. Its verdicts are those of the [`Reference`].
#[derive(Debug)]
pub(crate) struct Framer {
    context: Arc<Context>,
    scanner: Scanner,
    /// Made where it is needed, since it takes some 10 KiB, and kept where that costs much.
    reference: Option<Box<Reference>>,
    passed_on: Passed,
}

/// With more prefixes in the stream header than these the reference is kept: each costs half a microsecond to tell it of, and
/// a peer that sends its elements one by one would have it made anew for each.
const PREFIXES: usize = 8;

/// Which elements are the reference's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Passed {
    No,
    /// The one at hand.
    This,
    All,
}

impl Framer {
    pub(crate) fn new() -> Self {
        Self {
            context: Context::new(ContentNamespace::Server),
            scanner: Scanner::default(),
            reference: None,
            passed_on: Passed::No,
        }
    }

    /// The same without the scanner.
    pub(crate) fn reference() -> Self {
        Self {
            passed_on: Passed::All,
            ..Self::new()
        }
    }

    /// A new stream begins.
    pub(crate) fn restart(&mut self) {
        let passed_on = match self.passed_on {
            Passed::All => Passed::All,
            Passed::No | Passed::This => Passed::No,
        };
        *self = Self {
            passed_on,
            ..Self::new()
        };
    }

    /// Reads one element that is there as a whole.
    pub(crate) fn whole(
        bytes: &[u8],
        context: &Arc<Context>,
        limits: &XmlLimits,
    ) -> Result<Step, DecodeError> {
        let mut framer = Self {
            context: Arc::clone(context),
            ..Self::new()
        };
        framer.element(bytes, limits)
    }

    pub(crate) fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Is there an element that has begun and not ended?
    pub(crate) fn is_inside(&self) -> bool {
        self.looked_at() > 0
    }

    /// Gives memory back that the next element would use again.
    pub(crate) fn release(&mut self) {
        self.scanner.release();
        let costs_much = self.context.prefixes().len() > PREFIXES;
        match &mut self.reference {
            Some(reference) if costs_much || reference.looked_at() > 0 => reference.release(),
            _ => self.reference = None,
        }
    }

    /// How many bytes of the element at hand were looked at.
    pub(crate) fn looked_at(&self) -> usize {
        let by_reference = self.reference.as_ref();
        let by_reference = by_reference.map_or(0, |reference| reference.looked_at());
        self.scanner.looked_at().max(by_reference)
    }

    /// Looks at the bytes of a stream header, from its `<` on (or that of the XML declaration).
    pub(crate) fn header(
        &mut self,
        bytes: &[u8],
        limits: &XmlLimits,
    ) -> Result<HeaderStep, DecodeError> {
        let new = || Box::new(Reference::new());
        let reference = self.reference.get_or_insert_with(new);
        let step = reference.header(bytes, limits)?;
        if matches!(step, HeaderStep::Header { .. }) {
            self.context = Arc::clone(reference.context());
        }
        Ok(step)
    }

    /// Looks at the bytes of a first-level element (or the stream's end tag) from its `<` on.
    ///
    /// `bytes` never shrinks until the element is complete.
    pub(crate) fn element(
        &mut self,
        bytes: &[u8],
        limits: &XmlLimits,
    ) -> Result<Step, DecodeError> {
        if self.passed_on == Passed::No {
            match self.scanner.element(bytes, &self.context, limits) {
                Scan::Incomplete => return Ok(Step::Incomplete),
                Scan::Element { length, head } => {
                    return Ok(Step::Element {
                        length,
                        head,
                        refused: None,
                    });
                }
                Scan::PassedOn => self.passed_on = Passed::This,
            }
        }
        let within = || Box::new(Reference::within(&self.context));
        let reference = self.reference.get_or_insert_with(within);
        let step = reference.element(bytes, limits)?;
        if self.passed_on == Passed::This && !matches!(step, Step::Incomplete) {
            self.passed_on = Passed::No;
        }
        Ok(step)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::StreamHeader;

    /// What elements are made of, well-formed one after the other or not.
    const PIECES: &[&str] = &[
        "<message from='a@a.test/r' to='b.test' id='1' type='chat'>",
        "<iq to=\"b\" from='a'>",
        "<presence/>",
        "<message xml:lang='de' id='&lt;&#x1F600;'>",
        "<message xmlns='jabber:client'>",
        "<iq xmlns='urn:x' id='é'>",
        "</message>",
        "</iq>",
        "</iq \n>",
        "<body>",
        "</body>",
        "<x xmlns='jabber:x:oob' a='1' b=\"it's\" c='&quot;'/>",
        "<x xmlns:p='urn:p'><p:y p:z='1'/></x>",
        "<x xmlns:p='urn:p' xmlns:q='jabber:server'><p:y><q:y/></p:y></x>",
        "<db:result/>",
        "<x xmlns:db='urn:db'><db:y/></x>",
        "<a b='1' b='2'/>",
        "<a b='1'c='2'/>",
        "<a xmlns:xml='http://www.w3.org/XML/1998/namespace'/>",
        "<a xmlns:p='http://www.w3.org/2000/xmlns/' q='1'/>",
        "<a xmlns:xmlns='u' q='1'/>",
        "<a xml:lang='e' xml:id='1'/>",
        "<xml:a/>",
        "<a xmlns='' b='\t\n'/>",
        "<a xmlns='a b'/>",
        "<p:a/>",
        "<a:b:c/>",
        "<:a/>",
        "<1/>",
        "<é/>",
        "hello ",
        "größer €😀",
        "&amp;&#65;&#x41;&apos;",
        "&#0;",
        "&#xFFFF;",
        "&nbsp;",
        "&#+65;",
        "]]>",
        "]]",
        ">",
        "<![CDATA[<a>]]>",
        "<!-- c -->",
        "<?pi?>",
        "\r\n",
        "\u{1}",
        "\u{7f}\u{85}",
        "\u{fffe}",
        "\u{feff}",
        " ",
        "</stream:stream>",
    ];

    fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop::sample::select(PIECES).prop_map(|piece| piece.as_bytes().to_vec());
        let pieces = prop::collection::vec(piece, 1..8).prop_map(|pieces| pieces.concat());
        let root = prop::sample::select(vec!["message", "iq", "x"]);
        // As often as not one element with something in it, so that a change of it is not one of many.
        let inside = (root, pieces.clone()).prop_map(|(root, inner)| {
            [
                format!("<{root}>").as_bytes(),
                &inner,
                format!("</{root}>").as_bytes(),
            ]
            .concat()
        });
        let whole = prop_oneof![pieces, inside.clone(), inside];
        let change = (
            any::<prop::sample::Index>(),
            prop::option::of(prop_oneof![
                any::<u8>(),
                prop::sample::select(b"<>/'\"=&;]: \r\n\xc3\xef".to_vec())
            ]),
            any::<bool>(),
        );
        (whole, prop::collection::vec(change, 0..3)).prop_map(|(mut bytes, changes)| {
            for (at, new, instead) in changes {
                let at = at.index(bytes.len() + 1);
                match new {
                    Some(new) if instead && at < bytes.len() => bytes[at] = new,
                    Some(new) => bytes.insert(at, new),
                    None if at < bytes.len() => drop(bytes.remove(at)),
                    None => {}
                }
            }
            bytes
        })
    }

    fn any_limits() -> impl Strategy<Value = XmlLimits> {
        prop_oneof![
            Just(XmlLimits::before_authentication()),
            Just(XmlLimits::after_authentication()),
            Just(
                XmlLimits::after_authentication()
                    .with_depth(2)
                    .with_attributes(2)
                    .with_namespaces(4)
            ),
            Just(
                XmlLimits::before_authentication()
                    .with_depth(2)
                    .with_attributes(2)
                    .with_namespaces(4)
            ),
        ]
    }

    /// All that the framer says of these bytes as they come.
    ///
    /// Between pieces memory is given back, as a stream does that is idle.
    fn said(mut framer: Framer, bytes: &[u8], ends: &[usize], limits: &XmlLimits) -> Vec<String> {
        let (mut said, mut start) = (Vec::new(), 0);
        for end in ends {
            framer.release();
            while start < *end && bytes[start] == b'<' {
                let step = framer.element(&bytes[start..*end], limits);
                said.push(format!("{end}: {step:?}"));
                match step {
                    Ok(Step::Element { length, .. }) => start += length,
                    Ok(Step::Incomplete) => break,
                    Ok(Step::Footer { .. }) | Err(_) => return said,
                }
            }
        }
        said
    }

    fn after_a_header(framer: Framer) -> Framer {
        let mut framer = framer;
        let header = StreamHeader::new(ContentNamespace::Server).with_dialback();
        let header = Context::of(&header).start_tag();
        let read = framer.header(&header, &XmlLimits::none());
        assert!(matches!(read, Ok(HeaderStep::Header { .. })), "{read:?}");
        framer
    }

    #[test]
    fn a_parser_is_made_anew_only_where_that_costs_little() {
        for (prefixes, is_kept) in [(0, false), (PREFIXES, false), (PREFIXES + 1, true)] {
            let mut header = StreamHeader::new(ContentNamespace::Server);
            let declared = (0..prefixes).map(|n| (format!("p{n}"), format!("urn:{n}")));
            header.prefixes.extend(declared);
            let header = Context::of(&header).start_tag();
            let mut framer = Framer::new();
            let read = framer.header(&header, &XmlLimits::none());
            assert!(matches!(read, Ok(HeaderStep::Header { .. })), "{read:?}");
            framer.release();
            assert_eq!(framer.reference.is_some(), is_kept, "{prefixes} prefixes");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn both_framers_have_the_same_verdict_at_the_same_byte(
            bytes in any_bytes(),
            limits in any_limits(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            ends.push(bytes.len());
            ends.sort_unstable();
            let with = said(after_a_header(Framer::new()), &bytes, &ends, &limits);
            let without = said(after_a_header(Framer::reference()), &bytes, &ends, &limits);
            prop_assert_eq!(with, without, "{}", String::from_utf8_lossy(&bytes));
            let each: Vec<usize> = (1..=bytes.len()).collect();
            let with = said(after_a_header(Framer::new()), &bytes, &each, &limits);
            let without = said(after_a_header(Framer::reference()), &bytes, &each, &limits);
            prop_assert_eq!(with, without, "byte by byte: {}", String::from_utf8_lossy(&bytes));
        }
    }
}
