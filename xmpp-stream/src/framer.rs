//! Finding the first-level elements of a stream, and judging them: the reference framer.
//!
//! rxml has the word on what is well-formed. What it lets pass is refused here: two `xmlns` on one
//! element, declarations of reserved namespaces, depth, numbers of attributes and namespaces.
//!
//! A framer is given the bytes from the beginning of an element, again and again as they grow, and
//! remembers how far it looked. A faster one can stand in front of the reference: it answers with
//! the same [`Step`], or passes an element on untouched.

use std::sync::Arc;

use memchr::memrchr;
use rxml::error::{EndOrError, Error};
use rxml::{Event, Options, Parse, Parser, WithOptions};

use crate::element::Head;
use crate::tag::{self, Attributes, Span};
use crate::{
    ContentNamespace, Context, DecodeError, Limits, Restricted, StreamHeader, Version, ns,
};

/// rxml buffers names and attribute values, and reserves this much for each stream.
const TOKEN: usize = 8192;
/// rxml reads no longer references.
const REFERENCE: usize = 8;
/// rxml looks for the end of a text in all that it is given, each time anew.
const SLICE: usize = 8192;

/// What the bytes so far amount to.
#[derive(Debug)]
pub(crate) enum Step {
    Incomplete,
    /// One element, this long.
    Element {
        length: usize,
        head: Box<Head>,
    },
    /// The end tag of the stream, this long.
    Footer {
        length: usize,
    },
}

/// The framer that asks rxml.
pub(crate) struct Reference {
    parser: Parser,
    context: Arc<Context>,
    /// Bytes of the element (or header) at hand that the parser has eaten.
    fed: usize,
    /// Elements open within the stream.
    depth: usize,
    /// Declarations on each open element, and their sum with those of the header.
    declared: Vec<usize>,
    in_scope: usize,
    head: Option<Box<Head>>,
}

impl std::fmt::Debug for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reference")
            .field("fed", &self.fed)
            .field("depth", &self.depth)
            .finish_non_exhaustive()
    }
}

/// What reading a header came to.
#[derive(Debug)]
pub(crate) enum HeaderStep {
    Incomplete,
    /// The XML declaration, this long. White space may follow.
    Declaration {
        length: usize,
    },
    /// The header, this long. `closed`: it was `<stream:stream …/>`.
    Header {
        length: usize,
        header: StreamHeader,
        closed: bool,
    },
}

impl Reference {
    pub(crate) fn new() -> Self {
        let options = Options {
            max_token_length: TOKEN,
            ..Options::default()
        };
        Self {
            parser: Parser::with_options(options),
            context: Context::new(ContentNamespace::Server),
            fed: 0,
            depth: 0,
            declared: Vec::new(),
            in_scope: 0,
            head: None,
        }
    }

    /// A framer as it would be after a header with this scope.
    pub(crate) fn within(context: &Arc<Context>) -> Self {
        let mut framer = Self::new();
        let tag = context.start_tag();
        let mut rest = &tag[..];
        while !rest.is_empty() {
            let at = rest.len().min(SLICE);
            let (mut slice, after) = rest.split_at(at);
            // A header that was accepted is accepted again; if it is not, the parser is poisoned
            // and every element after it is refused.
            while framer.parser.parse(&mut slice, false).is_ok() && !slice.is_empty() {}
            rest = after;
        }
        framer.enter(context.clone());
        framer
    }

    /// All that follows is within this scope.
    fn enter(&mut self, context: Arc<Context>) {
        self.in_scope = 2 + context.prefixes().len();
        self.context = context;
        self.fed = 0;
    }

    pub(crate) fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Is there an element that has begun and not ended?
    pub(crate) fn is_inside(&self) -> bool {
        self.fed > 0
    }

    /// Gives memory back that the next element would use again.
    pub(crate) fn release(&mut self) {
        self.parser.release_temporaries();
        self.declared.shrink_to_fit();
    }

    /// How many bytes of it were looked at.
    pub(crate) fn looked_at(&self) -> usize {
        self.fed
    }

    /// Looks at the bytes of a stream header, from its `<` on (or that of the XML declaration).
    pub(crate) fn header(
        &mut self,
        bytes: &[u8],
        limits: &Limits,
    ) -> Result<HeaderStep, DecodeError> {
        match self.event(bytes)? {
            None => Ok(HeaderStep::Incomplete),
            Some(Event::XmlDeclaration(..)) => Ok(HeaderStep::Declaration {
                length: std::mem::take(&mut self.fed),
            }),
            Some(Event::StartElement(_, (namespace, name), attributes)) => {
                let length = self.fed;
                let header = self.open(bytes, &namespace, &name, &attributes, limits)?;
                self.enter(Context::of(&header));
                Ok(HeaderStep::Header {
                    length,
                    header,
                    closed: bytes[..length].ends_with(b"/>"),
                })
            }
            // rxml lets no text come before the root.
            Some(Event::EndElement(_) | Event::Text(..)) => Err(DecodeError::NotWellFormed),
        }
    }

    fn open(
        &self,
        bytes: &[u8],
        namespace: &str,
        name: &str,
        attributes: &rxml::AttrMap,
        limits: &Limits,
    ) -> Result<StreamHeader, DecodeError> {
        let start = memrchr(b'<', &bytes[..self.fed]).unwrap_or_default();
        let tag = check_tag(&bytes[..self.fed], start, limits)?;
        if tag.declarations > limits.namespaces {
            return Err(DecodeError::TooManyNamespaces {
                limit: limits.namespaces,
            });
        }
        if namespace != ns::STREAMS {
            return Err(DecodeError::StreamNamespace);
        }
        if name != "stream" {
            return Err(DecodeError::NotAStream);
        }
        let walk = Attributes::of(bytes, start);
        if tag::prefix(walk.element().of(bytes)) != b"stream" {
            return Err(DecodeError::StreamPrefix);
        }
        let mut content = None;
        let mut prefixes = Vec::new();
        for attribute in walk {
            let value = tag::attribute_value(attribute.value.text(bytes));
            match attribute.declares(bytes) {
                Some(b"") => content = ContentNamespace::from_uri(&value),
                Some(b"stream" | b"xml") | None => {}
                Some(prefix) => prefixes.push((
                    String::from_utf8_lossy(prefix).into_owned(),
                    value.into_owned(),
                )),
            }
        }
        let get = |name: &str| attributes.get(rxml::Namespace::none(), name).cloned();
        let version = match get("version") {
            None => None,
            Some(version) => Some(Version::parse(&version).ok_or(DecodeError::Version)?),
        };
        Ok(StreamHeader {
            content: content.ok_or(DecodeError::ContentNamespace)?,
            to: get("to"),
            from: get("from"),
            id: get("id"),
            version,
            lang: attributes.get(rxml::Namespace::xml(), "lang").cloned(),
            prefixes,
        })
    }

    /// Looks at the bytes of a first-level element (or the stream's end tag) from its `<` on.
    ///
    /// `bytes` never shrinks until the element is complete.
    pub(crate) fn element(&mut self, bytes: &[u8], limits: &Limits) -> Result<Step, DecodeError> {
        loop {
            let Some(event) = self.event(bytes)? else {
                return Ok(Step::Incomplete);
            };
            match event {
                Event::StartElement(_, (namespace, _), _) => {
                    self.start_tag(bytes, &namespace, limits)?;
                }
                Event::EndElement(_) => {
                    self.in_scope -= self.declared.pop().unwrap_or_default();
                    let length = self.fed;
                    match self.depth {
                        0 => {
                            self.fed = 0;
                            return Ok(Step::Footer { length });
                        }
                        1 => {
                            self.depth = 0;
                            self.fed = 0;
                            let head = self.head.take().ok_or(DecodeError::NotWellFormed)?;
                            return Ok(Step::Element { length, head });
                        }
                        _ => self.depth -= 1,
                    }
                }
                Event::Text(..) if self.depth > 0 => {}
                Event::Text(..) => return Err(DecodeError::TextBetweenElements),
                Event::XmlDeclaration(..) => return Err(DecodeError::NotWellFormed),
            }
        }
    }

    fn start_tag(
        &mut self,
        bytes: &[u8],
        namespace: &str,
        limits: &Limits,
    ) -> Result<(), DecodeError> {
        let seen = &bytes[..self.fed];
        // No `<` may stand in an attribute value: the last one begins the tag.
        let start = memrchr(b'<', seen).unwrap_or_default();
        let tag = check_tag(seen, start, limits)?;
        self.depth += 1;
        if self.depth > limits.depth {
            return Err(DecodeError::TooDeep {
                limit: limits.depth,
            });
        }
        self.declared.push(tag.declarations);
        self.in_scope += tag.declarations;
        if self.in_scope > limits.namespaces {
            return Err(DecodeError::TooManyNamespaces {
                limit: limits.namespaces,
            });
        }
        if self.depth == 1 {
            self.head = Some(Box::new(Head::new(seen, namespace, &self.context)));
        }
        if let Some(head) = &mut self.head {
            head.declares |= tag.content;
            head.uses_context |=
                !self.context.prefixes().is_empty() && uses_prefix_of(&self.context, seen, start);
        }
        Ok(())
    }

    /// Feeds the parser until it has an event; `None` when the bytes are used up.
    fn event(&mut self, bytes: &[u8]) -> Result<Option<Event>, DecodeError> {
        loop {
            let end = bytes.len().min(self.fed.saturating_add(SLICE));
            let mut slice = bytes.get(self.fed..end).unwrap_or_default();
            // Also with an empty slice: the end of `<a/>` is an event that costs no bytes.
            let event = self.parser.parse(&mut slice, false);
            self.fed = end - slice.len();
            match event {
                Ok(Some(event)) => return Ok(Some(event)),
                Ok(None) => return Ok(None),
                Err(EndOrError::NeedMoreData) if self.fed >= bytes.len() => return Ok(None),
                Err(EndOrError::NeedMoreData) => {}
                Err(EndOrError::Error(error)) => {
                    return Err(translate(error, bytes.get(..self.fed).unwrap_or(bytes)));
                }
            }
        }
    }
}

/// What a start tag has besides what rxml reports.
struct Tag {
    declarations: usize,
    /// Which content namespaces it declares, see [`ContentNamespace::bit`].
    content: u8,
}

/// Checks what rxml does not.
fn check_tag(bytes: &[u8], start: usize, limits: &Limits) -> Result<Tag, DecodeError> {
    let mut tag = Tag {
        declarations: 0,
        content: 0,
    };
    let mut default = false;
    for (number, attribute) in Attributes::of(bytes, start).enumerate() {
        if number >= limits.attributes {
            return Err(DecodeError::TooManyAttributes {
                limit: limits.attributes,
            });
        }
        let Some(prefix) = attribute.declares(bytes) else {
            continue;
        };
        tag.declarations += 1;
        if prefix.is_empty() && std::mem::replace(&mut default, true) {
            return Err(DecodeError::DuplicateNamespace);
        }
        let uri = tag::attribute_value(attribute.value.text(bytes));
        // Namespaces in XML 1.0 §3: nothing may be bound to either, except `xml` to its own.
        if uri == ns::XMLNS || (uri == ns::XML && prefix != b"xml") {
            return Err(DecodeError::ReservedNamespace);
        }
        if let Some(content) = ContentNamespace::from_uri(&uri) {
            tag.content |= content.bit();
        }
    }
    Ok(tag)
}

fn uses_prefix_of(context: &Context, bytes: &[u8], start: usize) -> bool {
    let attributes = Attributes::of(bytes, start);
    let declared = |name: Span| {
        let prefix = tag::prefix(name.of(bytes));
        !prefix.is_empty() && context.declares(prefix)
    };
    declared(attributes.element()) || attributes.into_iter().any(|found| declared(found.name))
}

/// What rxml's verdict is in the words of RFC 6120; `seen` ends where it was reached.
fn translate(error: Error, seen: &[u8]) -> DecodeError {
    match error {
        Error::InvalidUtf8Byte(_) => DecodeError::NotUtf8,
        Error::UndeclaredEntity => {
            let reference = memrchr(b'&', seen).and_then(|at| seen.get(at + 1..));
            match reference {
                // Well-formed perhaps (`&#0000000065;`), but longer than rxml cares to read.
                Some([b'#', ..]) => DecodeError::TokenTooLong { limit: REFERENCE },
                _ => DecodeError::Restricted(Restricted::Entity),
            }
        }
        Error::UndeclaredNamespacePrefix(_) => DecodeError::UndeclaredPrefix,
        Error::ReservedNamespacePrefix | Error::ReservedNamespaceName => {
            DecodeError::ReservedNamespace
        }
        Error::RestrictedXml(_)
        | Error::InvalidSyntax(_)
        | Error::UnexpectedByte(..)
        | Error::UnexpectedChar(..)
        | Error::UnexpectedToken(..) => {
            let start = memrchr(b'<', seen).unwrap_or_default();
            match seen.get(start..).unwrap_or_default() {
                [b'<', b'?', rest @ ..] if start == 0 => declaration(rest),
                [b'<', b'?', ..] => DecodeError::Restricted(Restricted::ProcessingInstruction),
                [b'<', b'!', b'-', b'-', ..] => DecodeError::Restricted(Restricted::Comment),
                [b'<', b'!', b'A'..=b'Z', ..] => DecodeError::Restricted(Restricted::DocumentType),
                _ if matches!(error, Error::RestrictedXml(_)) => {
                    DecodeError::TokenTooLong { limit: TOKEN }
                }
                _ => DecodeError::NotWellFormed,
            }
        }
        Error::InvalidEof(_)
        | Error::InvalidChar(..)
        | Error::DuplicateAttribute
        | Error::ElementMismatch
        | Error::MultiColonName(_)
        | Error::EmptyNamePart(_)
        | Error::InvalidLocalName(_)
        | Error::EmptyNamespaceUri => DecodeError::NotWellFormed,
    }
}

/// What is wrong with an XML declaration; `seen` ends where it went wrong.
fn declaration(seen: &[u8]) -> DecodeError {
    let text = String::from_utf8_lossy(seen);
    let encoding = text.split_once("encoding").and_then(|(_, rest)| {
        let rest = rest.trim_start().strip_prefix('=')?.trim_start();
        let quote = rest
            .chars()
            .next()
            .filter(|quote| matches!(quote, '\'' | '"'))?;
        rest.get(1..)?
            .split_once(quote)
            .map(|(encoding, _)| encoding)
    });
    match encoding {
        Some(encoding) if !encoding.eq_ignore_ascii_case("utf-8") => DecodeError::Encoding,
        _ => DecodeError::NotWellFormed,
    }
}
