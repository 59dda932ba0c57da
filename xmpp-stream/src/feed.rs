//! What rxml is given in place of a stream's bytes: the same XML, spelt so that rxml takes it.
//!
//! Each is legal, and well-formed peers write it:
//! - a carriage return in an attribute value (XML 1.0 §2.11, §3.3.3), of which rxml 0.14 takes the next character for the
//!   end of the value: a line feed stands for it;
//! - a reference with more zeros in front than rxml reads (XML 1.0 §4.1): they are left out.
//!
//! `rxml_needs_what_it_is_helped_with` fails when it does not need that any more.

use memchr::memchr2;

/// How much rxml gets at once. It looks for the end of a text in all that it is given, each time anew; and what follows
/// the element at hand is looked at again for the next one.
const AHEAD: usize = 1024;

/// Walks over bytes that grow at their end.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    /// Up to here nothing needs another spelling.
    plain: usize,
    /// Where the zeros begin that a reference begins with.
    zeros: Option<usize>,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// Bytes as they are; none at the end of what is there.
    Bytes(&'a [u8]),
    /// A line feed in place of the next byte.
    LineFeed,
    /// Nothing in place of so many.
    Skip(usize),
}

impl Feed {
    /// What comes at `fed`; there is no more until `bytes` are more.
    pub(crate) fn next<'a>(&mut self, bytes: &'a [u8], fed: usize) -> Piece<'a> {
        let rest = bytes.get(fed..).unwrap_or_default();
        if self.zeros.is_some_and(|start| start <= fed) {
            let zeros = rest.iter().take_while(|byte| **byte == b'0').count();
            let ends = rest.get(zeros).map(u8::is_ascii_hexdigit);
            match (ends, zeros) {
                (Some(true), _) => {
                    self.zeros = None;
                    return Piece::Skip(zeros);
                }
                // The last one may be all there is to the number.
                (_, 2..) => return Piece::Skip(zeros - 1),
                (None, _) => return Piece::Bytes(&[]),
                (Some(false), _) => self.zeros = None,
            }
        }
        if fed >= self.plain {
            match (rest, reference(rest)) {
                ([b'\r', ..], _) => return Piece::LineFeed,
                // Too early to tell.
                ([b'&', ..], None) => return Piece::Bytes(&[]),
                ([b'&', ..], Some(length @ 1..)) => {
                    self.plain = fed + length;
                    self.zeros = Some(self.plain);
                    return Piece::Bytes(rest.get(..length).unwrap_or_default());
                }
                _ => self.plain = plain(bytes, fed),
            }
        }
        Piece::Bytes(rest.get(..self.plain - fed).unwrap_or_default())
    }
}

/// Where something stands at or after `at` that may need another spelling, or where to look again.
fn plain(bytes: &[u8], mut at: usize) -> usize {
    let end = bytes.len().min(at + AHEAD);
    while let Some(found) = memchr2(b'\r', b'&', bytes.get(at..end).unwrap_or_default()) {
        at += found;
        let rest = bytes.get(at..).unwrap_or_default();
        if rest.first() == Some(&b'\r') || reference(rest) != Some(0) {
            return at;
        }
        at += 1;
    }
    end
}

/// How long the beginning of a reference is that zeros follow; 0 if none do, `None` if more bytes are needed to tell.
fn reference(rest: &[u8]) -> Option<usize> {
    match rest {
        [b'&'] | [b'&', b'#'] | [b'&', b'#', b'x'] => None,
        [b'&', b'#', b'0', ..] => Some(2),
        [b'&', b'#', b'x', b'0', ..] => Some(3),
        _ => Some(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What rxml gets.
    fn fed(text: &str) -> String {
        let (mut feed, mut at, mut out) = (Feed::default(), 0, Vec::new());
        loop {
            match feed.next(text.as_bytes(), at) {
                Piece::Bytes([]) => return String::from_utf8(out).unwrap(),
                Piece::Bytes(bytes) => {
                    out.extend_from_slice(bytes);
                    at += bytes.len();
                }
                Piece::LineFeed => {
                    out.push(b'\n');
                    at += 1;
                }
                Piece::Skip(length) => at += length,
            }
        }
    }

    #[test]
    fn only_what_needs_it_is_spelt_in_another_way() {
        for (text, want) in [
            ("<a b='c'>d&amp;e&#65;</a>", "<a b='c'>d&amp;e&#65;</a>"),
            ("<a b='1\r2'>\r\n</a>", "<a b='1\n2'>\n\n</a>"),
            ("&#00000000000065;", "&#65;"),
            ("&#x00000000000041;", "&#x41;"),
            ("&#0;&#x000;&#10;", "&#0;&#x0;&#10;"),
            ("&#000x;&#00a", "&#0x;&#a"),
            ("\r\r&&#", "\n\n&"),
        ] {
            assert_eq!(fed(text), want, "{text}");
        }
    }
}
