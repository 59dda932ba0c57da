//! The fast framer: one pass over the bytes of ordinary elements.
//!
//! It says that an element is whole, or that more is needed, or that it is none of its business. What it passes on is judged
//! by the reference from its first byte, so that whatever is refused is refused there, and at the same byte. It passes on
//! CDATA, carriage returns, names that are not ASCII, prefixes of the stream header, long names and values, and whatever is
//! over a limit or looks wrong.
//!
//! It never accepts what the reference refuses, and finds the same head: a property test and a fuzz target compare both.

use std::sync::Arc;

use memchr::{memchr_iter, memchr2, memmem};

use crate::head::{Head, StanzaKind};
use crate::tag::{self, Span};
use crate::{ContentNamespace, Context, XmlLimits, names, ns, writer};

/// Longer names are passed on.
const NAME: usize = 256;
/// Longer values of attributes are passed on, well before they are too long.
const VALUE: usize = 4096;
/// Elements with more attributes are passed on.
const ATTRIBUTES: usize = 16;
/// Elements with more prefixes in scope that they declare are passed on: each prefix is looked for among them.
const PREFIXES: usize = 8;
/// A tag that is still not whole after so many pieces is passed on: it is looked at anew with each.
const PIECES: u8 = 3;

/// What the bytes so far amount to.
#[derive(Debug)]
pub(crate) enum Scan {
    /// All that came is in order, and more has to come.
    Incomplete,
    /// One element, this long.
    Element { length: usize, head: Box<Head> },
    /// For the reference to judge.
    PassedOn,
}

/// Nothing that is scanned here.
struct NotOurs;

/// Where a scan stands within one element.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    /// What stands before this needs no second look.
    at: usize,
    /// So many bytes of the element had come when it was last looked at.
    seen: usize,
    /// The tag there came in so many pieces so far.
    pieces: u8,
    /// What stands before this is UTF-8.
    valid: usize,
    /// Bytes after that are not all ASCII.
    is_high: bool,
    open: Vec<Open>,
    /// Prefixes that are declared within the element.
    prefixes: Vec<Span>,
    /// How many namespaces it declares on the elements that are open.
    declared: usize,
    head: Option<Box<Head>>,
}

#[derive(Debug)]
struct Open {
    name: Span,
    /// What the element declares.
    declared: usize,
    prefixes: usize,
}

/// What a tag came to.
enum Tag {
    /// It ends there.
    Until(usize),
    /// It ends there and opened nothing.
    Empty(usize),
    Incomplete,
}

impl Scanner {
    /// How many bytes of the element were looked at.
    pub(crate) fn looked_at(&self) -> usize {
        self.seen
    }

    /// The next element begins at the first byte.
    pub(crate) fn begin(&mut self) {
        self.at = 0;
        self.seen = 0;
        self.pieces = 0;
        self.valid = 0;
        self.is_high = false;
        self.open.clear();
        self.prefixes.clear();
        self.declared = 0;
        self.head = None;
    }

    /// Gives memory back that the next element would use again.
    pub(crate) fn release(&mut self) {
        self.open.shrink_to_fit();
        self.prefixes.shrink_to_fit();
    }

    /// Looks at the bytes of a first-level element from its `<` on. `bytes` never shrinks until the element is complete.
    pub(crate) fn element(
        &mut self,
        bytes: &[u8],
        context: &Arc<Context>,
        limits: &XmlLimits,
    ) -> Scan {
        self.seen = bytes.len();
        let scanned = self.scan(bytes, context, limits);
        let scanned = scanned.and_then(|whole| self.is_utf8(bytes, whole).map(|()| whole));
        match scanned {
            Ok(None) => Scan::Incomplete,
            Ok(Some(length)) => match self.head.take() {
                Some(head) => {
                    self.begin();
                    Scan::Element { length, head }
                }
                None => Scan::PassedOn,
            },
            Err(NotOurs) => {
                self.begin();
                Scan::PassedOn
            }
        }
    }

    fn scan(
        &mut self,
        bytes: &[u8],
        context: &Context,
        limits: &XmlLimits,
    ) -> Result<Option<usize>, NotOurs> {
        loop {
            if !self.open.is_empty() && !self.text(bytes)? {
                return Ok(None);
            }
            let tag = match bytes.get(self.at + 1) {
                None => return Ok(None),
                Some(b'/') => self.end_tag(bytes)?,
                Some(_) => self.start_tag(bytes, context, limits)?,
            };
            match tag {
                Tag::Until(end) => self.at = end,
                Tag::Empty(end) => {
                    self.at = end;
                    self.close();
                }
                Tag::Incomplete => {
                    self.pieces += 1;
                    return match self.pieces > PIECES {
                        true => Err(NotOurs),
                        false => Ok(None),
                    };
                }
            }
            self.pieces = 0;
            if self.open.is_empty() {
                return Ok(Some(self.at));
            }
        }
    }

    /// Looks at what is not ASCII: to the end of the element, or to that of the bytes, where a character may lack a part.
    fn is_utf8(&mut self, bytes: &[u8], whole: Option<usize>) -> Result<(), NotOurs> {
        if !std::mem::take(&mut self.is_high) {
            self.valid = bytes.len();
            return Ok(());
        }
        let rest = bytes.get(self.valid..whole.unwrap_or(bytes.len()));
        let rest = rest.unwrap_or_default();
        let length = match std::str::from_utf8(rest) {
            Ok(_) => rest.len(),
            Err(error) if whole.is_none() && error.error_len().is_none() => {
                self.is_high = true;
                error.valid_up_to()
            }
            Err(_) => return Err(NotOurs),
        };
        self.valid += length;
        // U+FFFE and U+FFFF are not characters of XML, and the only ones here that are not.
        let mut suspects = memchr_iter(0xef, rest);
        let is_bad = |at: usize| matches!(rest.get(at + 1..at + 3), Some([0xbf, 0xbe | 0xbf]));
        match suspects.any(is_bad) {
            true => Err(NotOurs),
            false => Ok(()),
        }
    }

    fn close(&mut self) {
        if let Some(open) = self.open.pop() {
            self.declared -= open.declared;
            self.prefixes.truncate(self.prefixes.len() - open.prefixes);
        }
    }

    /// Goes over text to the next tag; `false`: that has not come yet.
    fn text(&mut self, bytes: &[u8]) -> Result<bool, NotOurs> {
        loop {
            let rest = bytes.get(self.at..).unwrap_or_default();
            let found = memchr2(b'<', b'&', rest);
            let (start, end) = (self.at, self.at + found.unwrap_or(rest.len()));
            let kinds = kinds(bytes.get(start..end).unwrap_or_default());
            if kinds.has_control || kinds.has_bracket && ends_cdata(bytes, start, end) {
                return Err(NotOurs);
            }
            self.is_high |= kinds.is_high;
            self.at = end;
            match bytes.get(end) {
                None => return Ok(false),
                Some(b'&') => self.at = reference(bytes, end)?,
                Some(_) => return Ok(true),
            }
        }
    }

    fn end_tag(&mut self, bytes: &[u8]) -> Result<Tag, NotOurs> {
        let name = self.open.last().ok_or(NotOurs)?.name.of(bytes);
        let rest = bytes.get(self.at + 2..).unwrap_or_default();
        let Some(after) = rest.strip_prefix(name) else {
            return match name.starts_with(rest) {
                true => Ok(Tag::Incomplete),
                false => Err(NotOurs),
            };
        };
        let spaces = after.iter().take_while(|byte| is(**byte, SPACE)).count();
        match after.get(spaces) {
            None => Ok(Tag::Incomplete),
            Some(b'>') => {
                self.close();
                Ok(Tag::Until(bytes.len() - after.len() + spaces + 1))
            }
            Some(_) => Err(NotOurs),
        }
    }

    fn start_tag(
        &mut self,
        bytes: &[u8],
        context: &Context,
        limits: &XmlLimits,
    ) -> Result<Tag, NotOurs> {
        let is_root = self.open.is_empty();
        let Some(name) = name(bytes, self.at + 1)? else {
            return Ok(Tag::Incomplete);
        };
        let mut head = None;
        let (mut at, mut seen, mut namespace) = (name.span.end, Seen::default(), None);
        let before = self.prefixes.len();
        let (mut declared, mut content) = (0, 0);
        if is_root {
            head = Some(empty_head(name.span));
        }
        let outcome = loop {
            let attribute = match attribute(bytes, at, &mut self.is_high)? {
                Next::Attribute(attribute) => attribute,
                Next::End(end) => break Tag::Until(end),
                Next::EmptyEnd(end) => break Tag::Empty(end),
                Next::Incomplete => {
                    self.prefixes.truncate(before);
                    return Ok(Tag::Incomplete);
                }
            };
            at = attribute.value.end + 1;
            seen.add(bytes, attribute.name.span)?;
            let local = attribute.name.span.of(bytes);
            match attribute.name.prefix(bytes) {
                None if local == b"xmlns" => {
                    let uri = uri(bytes, attribute.value)?;
                    content |= ContentNamespace::from_uri(uri).map_or(0, ContentNamespace::bit);
                    namespace = Some(uri);
                    declared += 1;
                }
                None => {
                    if let Some(head) = &mut head {
                        let value = Some(attribute.value);
                        match local {
                            b"to" => head.to = value,
                            b"from" => head.from = value,
                            b"id" => head.id = value,
                            b"type" => head.kind = value,
                            _ => {}
                        }
                    }
                }
                Some(b"xmlns") => {
                    let uri = uri(bytes, attribute.value)?;
                    content |= ContentNamespace::from_uri(uri).map_or(0, ContentNamespace::bit);
                    declared += 1;
                    if self.prefixes.len() == PREFIXES {
                        return Err(NotOurs);
                    }
                    self.prefixes.push(attribute.name.after_prefix());
                }
                Some(b"xml") => {
                    if let Some(head) = head.as_mut().filter(|_| local == b"xml:lang") {
                        head.lang = Some(attribute.value);
                    }
                }
                // Two of them may be the same in two spellings.
                Some(_) => return Err(NotOurs),
            }
        };
        if let Some(prefix) = name.prefix(bytes) {
            let is_ours = self.prefixes.iter().any(|known| known.of(bytes) == prefix);
            if is_root || !is_ours || context.declares(prefix) {
                return Err(NotOurs);
            }
        }
        let depth = self.open.len() + 1;
        let in_scope = 2 + context.prefixes().len() + self.declared + declared;
        if depth > limits.depth || seen.count > limits.attributes || in_scope > limits.namespaces {
            return Err(NotOurs);
        }
        if let Some(mut head) = head {
            let uri = namespace.unwrap_or(context.content().uri());
            head.namespace = match ns::known(uri) {
                Some(known) => known.into(),
                None => uri.to_owned().into(),
            };
            if uri == context.content().uri() {
                head.stanza = StanzaKind::from_name(name.span.of(bytes));
            }
            self.head = Some(head);
        }
        if let Some(head) = &mut self.head {
            head.declares |= content;
        }
        self.declared += declared;
        self.open.push(Open {
            name: name.span,
            declared,
            prefixes: self.prefixes.len() - before,
        });
        Ok(outcome)
    }
}

fn empty_head(name: Span) -> Box<Head> {
    Box::new(Head {
        namespace: "".into(),
        qualified: name,
        local: name,
        stanza: None,
        to: None,
        from: None,
        id: None,
        kind: None,
        lang: None,
        declares: 0,
        uses_context: false,
    })
}

/// A name of ASCII with at most one prefix.
struct Name {
    span: Span,
    colon: Option<usize>,
}

impl Name {
    fn prefix<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        bytes.get(self.span.start..self.colon?)
    }

    fn after_prefix(&self) -> Span {
        Span {
            start: self.colon.map_or(self.span.start, |colon| colon + 1),
            end: self.span.end,
        }
    }
}

/// `None`: it is not there as a whole yet.
fn name(bytes: &[u8], start: usize) -> Result<Option<Name>, NotOurs> {
    let Some(mut end) = part(bytes, start)? else {
        return Ok(None);
    };
    let mut colon = None;
    if bytes.get(end) == Some(&b':') {
        colon = Some(end);
        match part(bytes, end + 1)? {
            Some(at) => end = at,
            None => return Ok(None),
        }
        if bytes.get(end) == Some(&b':') {
            return Err(NotOurs);
        }
    }
    let span = Span { start, end };
    Ok(Some(Name { span, colon }))
}

/// Where a part of a name ends that begins there.
fn part(bytes: &[u8], start: usize) -> Result<Option<usize>, NotOurs> {
    let rest = bytes.get(start..).unwrap_or_default();
    match rest.first() {
        None => return Ok(None),
        Some(first) if is(*first, BEGINS_NAME) => {}
        Some(_) => return Err(NotOurs),
    }
    let length = rest.iter().take_while(|byte| is(**byte, IN_NAME)).count();
    if length > NAME {
        return Err(NotOurs);
    }
    Ok((length < rest.len()).then_some(start + length))
}

struct Attribute {
    name: Name,
    value: Span,
}

enum Next {
    Attribute(Attribute),
    End(usize),
    EmptyEnd(usize),
    Incomplete,
}

/// What comes next in a start tag.
fn attribute(bytes: &[u8], at: usize, is_high: &mut bool) -> Result<Next, NotOurs> {
    let rest = bytes.get(at..).unwrap_or_default();
    let spaces = rest.iter().take_while(|byte| is(**byte, SPACE)).count();
    let start = at + spaces;
    match rest.get(spaces) {
        None => return Ok(Next::Incomplete),
        Some(b'>') => return Ok(Next::End(start + 1)),
        Some(b'/') => {
            return match rest.get(spaces + 1) {
                None => Ok(Next::Incomplete),
                Some(b'>') => Ok(Next::EmptyEnd(start + 2)),
                Some(_) => Err(NotOurs),
            };
        }
        Some(_) if spaces == 0 => return Err(NotOurs),
        Some(_) => {}
    }
    let Some(name) = name(bytes, start)? else {
        return Ok(Next::Incomplete);
    };
    if matches!(name.span.of(bytes), b"xmlns:xml" | b"xmlns:xmlns") {
        return Err(NotOurs);
    }
    let quote = match (bytes.get(name.span.end), bytes.get(name.span.end + 1)) {
        (Some(b'='), Some(quote @ (b'\'' | b'"'))) => *quote,
        (Some(b'='), None) | (None, _) => return Ok(Next::Incomplete),
        _ => return Err(NotOurs),
    };
    let start = name.span.end + 2;
    Ok(match value(bytes, start, quote, is_high)? {
        Some(end) => {
            let value = Span { start, end };
            Next::Attribute(Attribute { name, value })
        }
        None => Next::Incomplete,
    })
}

/// Where the value ends that begins there. `None`: that has not come yet.
fn value(
    bytes: &[u8],
    start: usize,
    quote: u8,
    is_high: &mut bool,
) -> Result<Option<usize>, NotOurs> {
    let mut at = start;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        at += rest.iter().take_while(|byte| is(**byte, IN_VALUE)).count();
        if at - start > VALUE {
            return Err(NotOurs);
        }
        match bytes.get(at) {
            None => return Ok(None),
            Some(byte) if *byte == quote => return Ok(Some(at)),
            Some(b'\'' | b'"') => at += 1,
            Some(b'&') => at = reference(bytes, at)?,
            Some(0x80..) => {
                *is_high = true;
                at += 1;
            }
            Some(_) => return Err(NotOurs),
        }
    }
}

/// Where the reference ends that begins there.
fn reference(bytes: &[u8], at: usize) -> Result<usize, NotOurs> {
    /// `&#1114111;` and `&#x10FFFF;` are the longest that stand for a character.
    const LONGEST: usize = 10;
    let rest = bytes.get(at + 1..).unwrap_or_default();
    let predefined = [&b"amp;"[..], b"lt;", b"gt;", b"quot;", b"apos;"];
    if let Some(known) = predefined.iter().find(|known| rest.starts_with(known)) {
        return Ok(at + 1 + known.len());
    }
    let length = rest.iter().take(LONGEST).position(|byte| *byte == b';');
    let length = length.ok_or(NotOurs)?;
    let name = rest.get(..length).unwrap_or_default();
    let name = std::str::from_utf8(name).map_err(|_| NotOurs)?;
    // What Rust takes for a number besides digits.
    let is_plain = !name.contains('+');
    match tag::resolve(name).filter(|_| is_plain) {
        Some(character) if writer::is_xml(character) => Ok(at + length + 2),
        _ => Err(NotOurs),
    }
}

/// The names of the attributes of one tag.
#[derive(Default)]
struct Seen {
    names: [(usize, usize); ATTRIBUTES],
    count: usize,
}

impl Seen {
    fn add(&mut self, bytes: &[u8], name: Span) -> Result<(), NotOurs> {
        let known = self.names.get(..self.count).ok_or(NotOurs)?;
        let new = name.of(bytes);
        let is_known = known
            .iter()
            .any(|(start, end)| end - start == new.len() && bytes.get(*start..*end) == Some(new));
        let place = self.names.get_mut(self.count).filter(|_| !is_known);
        *place.ok_or(NotOurs)? = (name.start, name.end);
        self.count += 1;
        Ok(())
    }
}

/// A namespace name as it stands there.
fn uri(bytes: &[u8], value: Span) -> Result<&str, NotOurs> {
    let uri = value.text(bytes);
    // A reference stands for something else, and what is not portable is refused or not by the limits.
    let is_plain = !uri.is_empty() && !uri.contains('&') && names::is_portable_namespace(uri);
    match is_plain && uri != ns::XML && uri != ns::XMLNS {
        true => Ok(uri),
        false => Err(NotOurs),
    }
}

/// What is in a piece of text.
struct Kinds {
    /// Controls that XML does not have, and the carriage return.
    has_control: bool,
    /// `]`
    has_bracket: bool,
    /// Bytes of characters that are not ASCII.
    is_high: bool,
}

fn kinds(text: &[u8]) -> Kinds {
    let (mut has_control, mut has_bracket, mut high) = (false, false, 0);
    for byte in text {
        has_control |= (*byte < b' ') & (*byte != b'\t') & (*byte != b'\n');
        has_bracket |= *byte == b']';
        high |= byte;
    }
    Kinds {
        has_control,
        // A part of it may stand in the text before.
        has_bracket: has_bracket || text.first() == Some(&b'>'),
        is_high: high >= 0x80,
    }
}

/// `]]>` may not stand in text (XML 1.0 §2.4), however it is cut.
fn ends_cdata(bytes: &[u8], start: usize, end: usize) -> bool {
    let text = bytes.get(start.saturating_sub(2)..end).unwrap_or_default();
    memmem::find(text, b"]]>").is_some()
}

const BEGINS_NAME: u8 = 1;
const IN_NAME: u8 = 2;
const SPACE: u8 = 4;
/// Neither a quote, nor the beginning of something, nor a character with more than one byte.
const IN_VALUE: u8 = 8;

fn is(byte: u8, class: u8) -> bool {
    CLASSES[usize::from(byte)] & class != 0
}

const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0u8;
    while byte < 128 {
        let mut class = 0;
        if byte.is_ascii_alphabetic() || byte == b'_' {
            class |= BEGINS_NAME | IN_NAME;
        }
        if byte.is_ascii_digit() || byte == b'-' || byte == b'.' {
            class |= IN_NAME;
        }
        if byte == b' ' || byte == b'\t' || byte == b'\n' {
            class |= SPACE | IN_VALUE;
        }
        if byte > b' ' && byte != b'<' && byte != b'&' && byte != b'\'' && byte != b'"' {
            class |= IN_VALUE;
        }
        classes[byte as usize] = class;
        byte += 1;
    }
    classes
};
