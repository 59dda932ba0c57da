//! A small builder for elements that we write ourselves. It escapes; it does not check names.

use bytes::{BufMut, Bytes, BytesMut};

use crate::ContentNamespace;

/// Builds one element.
///
/// ```
/// use xmpp_stream::Writer;
///
/// let ping = Writer::new("iq")
///     .attr("type", "get")
///     .attr("id", "it's")
///     .child(Writer::new("ping").xmlns("urn:xmpp:ping"))
///     .finish();
/// assert_eq!(ping, "<iq type='get' id='it&apos;s'><ping xmlns='urn:xmpp:ping'/></iq>");
/// ```
#[derive(Clone, Debug)]
pub struct Writer {
    name: String,
    out: BytesMut,
    open: bool,
    /// The default namespace that it declares.
    pub(crate) namespace: Option<String>,
    /// Content namespaces declared anywhere within, see [`ContentNamespace::bit`].
    pub(crate) declares: u8,
    /// Nothing in it has a prefix, and all of it was escaped here.
    pub(crate) plain: bool,
}

impl Writer {
    /// An element with this name, prefix included.
    ///
    /// Names of elements and attributes are the program's own words: they are not escaped.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        let mut out = BytesMut::with_capacity(128);
        out.put_u8(b'<');
        out.put_slice(name.as_bytes());
        Self {
            plain: !name.contains(':'),
            name,
            out,
            open: true,
            namespace: None,
            declares: 0,
        }
    }

    /// Adds an attribute. Attributes come before children; a later one is left out.
    #[must_use]
    pub fn attr(mut self, name: &str, value: impl AsRef<str>) -> Self {
        debug_assert!(self.open, "an attribute after a child");
        if self.open {
            let value = value.as_ref();
            write_attribute(name, value, &mut self.out);
            if name == "xmlns" {
                self.declares |= ContentNamespace::from_uri(value).map_or(0, ContentNamespace::bit);
                self.namespace = Some(value.to_owned());
            } else if name.contains(':') {
                self.plain &= name == "xml:lang";
            }
        }
        self
    }

    /// Adds an attribute if there is a value for it.
    #[must_use]
    pub fn attr_opt(self, name: &str, value: Option<impl AsRef<str>>) -> Self {
        match value {
            Some(value) => self.attr(name, value),
            None => self,
        }
    }

    /// Declares the default namespace.
    #[must_use]
    pub fn xmlns(self, uri: &str) -> Self {
        self.attr("xmlns", uri)
    }

    /// Appends a child element.
    #[must_use]
    pub fn child(mut self, child: Writer) -> Self {
        self.close_tag();
        self.declares |= child.declares;
        self.plain &= child.plain;
        child.finish_into(&mut self.out);
        self
    }

    /// Appends text, escaped. Characters that XML cannot carry become U+FFFD.
    #[must_use]
    pub fn text(mut self, text: &str) -> Self {
        self.close_tag();
        escape_text(text, &mut self.out);
        self
    }

    /// Appends bytes as they are: a self-contained piece of XML.
    #[must_use]
    pub fn raw(mut self, xml: impl AsRef<[u8]>) -> Self {
        self.close_tag();
        self.plain = false;
        self.out.put_slice(xml.as_ref());
        self
    }

    /// The element.
    pub fn finish(self) -> Bytes {
        self.end().freeze()
    }

    fn finish_into(self, out: &mut BytesMut) {
        out.extend_from_slice(&self.end());
    }

    fn end(mut self) -> BytesMut {
        if self.open {
            self.out.put_slice(b"/>");
        } else {
            self.out.put_slice(b"</");
            self.out.put_slice(self.name.as_bytes());
            self.out.put_u8(b'>');
        }
        self.out
    }

    fn close_tag(&mut self) {
        if self.open {
            self.out.put_u8(b'>');
            self.open = false;
        }
    }
}

/// ` name='value'`
pub(crate) fn write_attribute(name: &str, value: &str, out: &mut BytesMut) {
    out.put_u8(b' ');
    out.put_slice(name.as_bytes());
    out.put_slice(b"='");
    escape_attribute(value, out);
    out.put_u8(b'\'');
}

/// Escapes for an attribute value in single or double quotes.
pub(crate) fn escape_attribute(value: &str, out: &mut BytesMut) {
    escape(value, out, |character| match character {
        '\t' => Some("&#9;"),
        '\n' => Some("&#10;"),
        '\r' => Some("&#13;"),
        '\'' => Some("&apos;"),
        '"' => Some("&quot;"),
        _ => None,
    });
}

/// How long a value is with its escapes.
pub(crate) fn escaped_length(value: &str) -> usize {
    let mut out = BytesMut::new();
    escape_attribute(value, &mut out);
    out.len()
}

fn escape_text(text: &str, out: &mut BytesMut) {
    escape(text, out, |character| match character {
        '\r' => Some("&#13;"),
        _ => None,
    });
}

fn escape(text: &str, out: &mut BytesMut, more: impl Fn(char) -> Option<&'static str>) {
    let (bytes, mut copied, mut at) = (text.as_bytes(), 0, 0);
    // Most of it is as it should be: only where a byte may begin something else is a character looked at.
    while let Some(found) = bytes[at..]
        .iter()
        .position(|byte| SUSPECT[usize::from(*byte)])
    {
        at += found;
        let Some(character) = text[at..].chars().next() else {
            break;
        };
        let end = at + character.len_utf8();
        let begin = std::mem::replace(&mut at, end);
        let replacement = match character {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            _ => match more(character) {
                Some(replacement) => replacement,
                None if is_xml(character) => continue,
                None => "\u{fffd}",
            },
        };
        out.put_slice(&bytes[copied..begin]);
        out.put_slice(replacement.as_bytes());
        copied = end;
    }
    out.put_slice(&bytes[copied..]);
}

/// Bytes with which a character begins that may have to be replaced: controls, the five of XML, and U+FFFE and U+FFFF.
const SUSPECT: [bool; 256] = {
    let mut suspect = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        suspect[byte] = true;
        byte += 1;
    }
    suspect[b'&' as usize] = true;
    suspect[b'<' as usize] = true;
    suspect[b'>' as usize] = true;
    suspect[b'\'' as usize] = true;
    suspect[b'"' as usize] = true;
    suspect[0xef] = true;
    suspect
};

/// XML 1.0 §2.2, production Char.
pub(crate) fn is_xml(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_xml_cannot_carry_is_replaced_and_what_it_would_change_is_escaped() {
        let element = Writer::new("a")
            .attr("b", "1\t2\n3\r'\"<&>")
            .text("\u{0}\u{fffe}\r]]>é")
            .finish();
        assert_eq!(
            element,
            "<a b='1&#9;2&#10;3&#13;&apos;&quot;&lt;&amp;&gt;'>\u{fffd}\u{fffd}&#13;]]&gt;é</a>"
        );
    }
}
