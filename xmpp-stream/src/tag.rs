//! Reading start tags whose well-formedness is already known: where names and values are, and what
//! the values mean. On bytes that are not well-formed the answers are wrong but bounded.

use std::borrow::Cow;

use memchr::{memchr, memchr2};

/// A range within an element's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Span {
    pub(crate) fn of<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.start..self.end).unwrap_or_default()
    }

    pub(crate) fn text<'a>(&self, bytes: &'a [u8]) -> &'a str {
        std::str::from_utf8(self.of(bytes)).unwrap_or_default()
    }
}

/// One attribute: its name with prefix, and its value between the quotes, as written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attribute {
    pub(crate) name: Span,
    pub(crate) value: Span,
}

impl Attribute {
    /// Is this a namespace declaration? `Some("")` for the default namespace.
    pub(crate) fn declares<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        match self.name.of(bytes).strip_prefix(b"xmlns")? {
            [] => Some(&[]),
            [b':', prefix @ ..] => Some(prefix),
            _ => None,
        }
    }
}

/// Walks over the attributes of the start tag that begins at `start` with `<`.
#[derive(Clone, Debug)]
pub(crate) struct Attributes<'a> {
    bytes: &'a [u8],
    at: usize,
    name: Span,
}

impl<'a> Attributes<'a> {
    pub(crate) fn of(bytes: &'a [u8], start: usize) -> Self {
        let name_start = start + 1;
        let name_end = name_start + name_length(bytes.get(name_start..).unwrap_or_default());
        Self {
            bytes,
            at: name_end,
            name: Span {
                start: name_start,
                end: name_end,
            },
        }
    }

    /// The element's name, with prefix.
    pub(crate) fn element(&self) -> Span {
        self.name
    }

    /// Where the tag ends, after its `>`; known when all attributes were seen.
    pub(crate) fn end(mut self) -> usize {
        while self.next().is_some() {}
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        memchr(b'>', rest).map_or(self.bytes.len(), |found| self.at + found + 1)
    }

    fn skip_space(&mut self) {
        while self.bytes.get(self.at).is_some_and(|byte| is_space(*byte)) {
            self.at += 1;
        }
    }
}

impl Iterator for Attributes<'_> {
    type Item = Attribute;

    fn next(&mut self) -> Option<Attribute> {
        self.skip_space();
        let start = self.at;
        let end = start + name_length(self.bytes.get(start..)?);
        if end == start {
            return None;
        }
        self.at = end;
        self.skip_space();
        if self.bytes.get(self.at) != Some(&b'=') {
            return None;
        }
        self.at += 1;
        self.skip_space();
        let quote = *self.bytes.get(self.at)?;
        let value_start = self.at + 1;
        let value_end = value_start + memchr(quote, self.bytes.get(value_start..)?)?;
        self.at = value_end + 1;
        Some(Attribute {
            name: Span { start, end },
            value: Span {
                start: value_start,
                end: value_end,
            },
        })
    }
}

fn name_length(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .position(|byte| is_space(*byte) || matches!(byte, b'=' | b'/' | b'>'))
        .unwrap_or(bytes.len())
}

/// XML 1.0 §2.3, production S.
pub(crate) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// The prefix of a qualified name; empty if there is none.
pub(crate) fn prefix(name: &[u8]) -> &[u8] {
    memchr(b':', name).map_or(&[], |colon| &name[..colon])
}

/// An attribute's value: references resolved, whitespace normalised (XML 1.0 §3.3.3).
pub(crate) fn attribute_value(raw: &str) -> Cow<'_, str> {
    let bytes = raw.as_bytes();
    if memchr2(b'&', b'\t', bytes).is_none() && memchr2(b'\n', b'\r', bytes).is_none() {
        return Cow::Borrowed(raw);
    }
    let mut value = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find(['&', '\t', '\n', '\r']) {
        value.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(reference) = rest.strip_prefix('&') {
            let (name, after) = reference.split_once(';').unwrap_or((reference, ""));
            value.push(resolve(name).unwrap_or('\u{fffd}'));
            rest = after;
        } else {
            // A CR LF is one line end (XML 1.0 §2.11), and each line end becomes one space.
            rest = rest.strip_prefix("\r\n").unwrap_or(&rest[1..]);
            value.push(' ');
        }
    }
    value.push_str(rest);
    Cow::Owned(value)
}

/// The character that a reference stands for, without `&` and `;`.
pub(crate) fn resolve(reference: &str) -> Option<char> {
    match reference {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "apos" => Some('\''),
        "quot" => Some('"'),
        _ => {
            let number = reference.strip_prefix('#')?;
            let code = match number.strip_prefix('x') {
                Some(hexadecimal) => u32::from_str_radix(hexadecimal, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?)
        }
    }
}

/// Where the next start tag begins at or after `at`; skips text, CDATA and end tags.
pub(crate) fn next_start_tag(bytes: &[u8], mut at: usize) -> Option<usize> {
    const CDATA: &[u8] = b"<![CDATA[";
    loop {
        at += memchr(b'<', bytes.get(at..)?)?;
        let markup = bytes.get(at..)?;
        if markup.starts_with(CDATA) {
            at += memchr::memmem::find(markup, b"]]>")? + 3;
        } else if markup.get(1) == Some(&b'/') {
            at += memchr(b'>', markup)? + 1;
        } else {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attribute_values_are_resolved_and_normalised() {
        assert_eq!(attribute_value("1\n2\t3&#10;4"), "1 2 3\n4");
        assert_eq!(
            attribute_value("a\r\nb&amp;amp;&#x1F600;"),
            "a b&amp;\u{1f600}"
        );
        assert!(matches!(attribute_value("plain"), Cow::Borrowed("plain")));
    }

    #[test]
    fn attributes_are_found_with_any_quotes_and_spaces() {
        let tag = b"<a:b  c = \"'>\"\n xmlns:d='e'/>rest";
        let mut attributes = Attributes::of(tag, 0);
        assert_eq!(attributes.element().of(tag), b"a:b");
        assert_eq!(attributes.clone().end(), tag.len() - 4);
        let first = attributes.next().unwrap();
        assert_eq!(
            (first.name.of(tag), first.value.of(tag)),
            (&b"c"[..], &b"'>"[..])
        );
        let second = attributes.next().unwrap();
        assert_eq!(second.declares(tag), Some(&b"d"[..]));
        assert!(attributes.next().is_none());
    }
}
