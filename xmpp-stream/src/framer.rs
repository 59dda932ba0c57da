//! Finding the first-level elements of a stream, and judging them: the reference framer.
//!
//! rxml has the word on what is well-formed. What it lets pass is refused here: two `xmlns` on one
//! element, declarations of reserved namespaces, depth, numbers of attributes and namespaces.
//!
//! A framer is given the bytes from the beginning of an element, again and again as they grow, and
//! remembers how far it looked. A faster one can stand in front of the reference: it answers with
//! the same [`Step`], or passes an element on untouched.
//!
//! What rxml does not take though it is XML comes to it in another spelling ([`Feed`]); what is over
//! a limit and to be skipped does not come to it at all any more ([`Skip`]).

use std::sync::Arc;

use memchr::memrchr;
use rxml::error::EndOrError;
use rxml::{Event, Options, Parse, Parser, WithOptions};

use crate::declaration::Declaration;
use crate::feed::{Feed, Piece};
use crate::head::Head;
use crate::limits::TOKEN;
use crate::skip::Skip;
use crate::start_tag::{check_tag, root_namespace, uses_prefix_of};
use crate::tag::{self, Attributes};
use crate::verdict::translate;
use crate::{
    ContentNamespace, Context, DecodeError, Excess, StreamHeader, Version, XmlLimits, ns, writer,
};

/// What a header may declare for all that follows: prefixes with their namespaces, and the language,
/// as they would be written on each stanza that is forwarded.
const SCOPE: usize = 4096;

/// What the bytes so far amount to.
#[derive(Debug)]
pub(crate) enum Step {
    Incomplete,
    /// One element, this long, and why it is refused if it is.
    Element {
        length: usize,
        head: Box<Head>,
        refused: Option<DecodeError>,
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
    feed: Feed,
    declaration: Declaration,
    /// Why the element at hand is refused once it is whole.
    refused: Option<DecodeError>,
    /// Where rxml cannot be used for it any more.
    skip: Option<Box<Skip>>,
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
            feed: Feed::default(),
            declaration: Declaration::default(),
            refused: None,
            skip: None,
        }
    }

    /// A framer as it would be after a header with this scope.
    pub(crate) fn within(context: &Arc<Context>) -> Self {
        let mut framer = Self::new();
        let tag = context.start_tag();
        let mut rest = &tag[..];
        while !rest.is_empty() {
            let at = rest.len().min(TOKEN);
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
        self.begin();
    }

    /// The next element begins at the first byte.
    fn begin(&mut self) {
        self.fed = 0;
        self.feed = Feed::default();
    }

    pub(crate) fn context(&self) -> &Arc<Context> {
        &self.context
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
        limits: &XmlLimits,
    ) -> Result<HeaderStep, DecodeError> {
        if bytes.starts_with(b"<?") {
            let whole = self.declaration.read(bytes)?;
            self.fed = self.declaration.looked_at();
            return Ok(match whole {
                None => HeaderStep::Incomplete,
                Some(length) => {
                    self.begin();
                    self.declaration = Declaration::default();
                    HeaderStep::Declaration { length }
                }
            });
        }
        match self.event(bytes)? {
            None => Ok(HeaderStep::Incomplete),
            Some(Event::StartElement(_, (namespace, name), _)) => {
                let length = self.fed;
                let header = self.open(bytes, &namespace, &name, limits)?;
                self.enter(Context::of(&header));
                Ok(HeaderStep::Header {
                    length,
                    header,
                    closed: bytes[..length].ends_with(b"/>"),
                })
            }
            // rxml lets no text come before the root, and sees no declaration.
            Some(Event::EndElement(_) | Event::Text(..) | Event::XmlDeclaration(..)) => {
                Err(DecodeError::NotWellFormed)
            }
        }
    }

    fn open(
        &self,
        bytes: &[u8],
        namespace: &str,
        name: &str,
        limits: &XmlLimits,
    ) -> Result<StreamHeader, DecodeError> {
        let start = memrchr(b'<', &bytes[..self.fed]).unwrap_or_default();
        let tag = check_tag(&bytes[..self.fed], start)?;
        if tag.attributes > limits.attributes {
            return Err(DecodeError::TooManyAttributes {
                limit: limits.attributes,
            });
        }
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
        let mut header = StreamHeader {
            version: None,
            ..StreamHeader::new(ContentNamespace::Server)
        };
        let mut scope = 0;
        for attribute in walk {
            let value = tag::attribute_value(attribute.value.text(bytes));
            match (attribute.declares(bytes), attribute.name.of(bytes)) {
                (Some(b""), _) => content = ContentNamespace::from_uri(&value),
                (Some(b"stream" | b"xml"), _) => {}
                (Some(prefix), _) => {
                    scope += prefix.len() + writer::escaped_length(&value);
                    let prefix = String::from_utf8_lossy(prefix).into_owned();
                    header.prefixes.push((prefix, value.into_owned()));
                }
                (None, b"to") => header.to = Some(value.into_owned()),
                (None, b"from") => header.from = Some(value.into_owned()),
                (None, b"id") => header.id = Some(value.into_owned()),
                (None, b"version") => {
                    header.version = Some(Version::parse(&value).ok_or(DecodeError::Version)?);
                }
                (None, b"xml:lang") => {
                    scope += writer::escaped_length(&value);
                    header.lang = Some(value.into_owned());
                }
                (None, _) => {}
            }
        }
        if scope > SCOPE {
            return Err(DecodeError::ScopeTooBig { limit: SCOPE });
        }
        header.content = content.ok_or(DecodeError::ContentNamespace)?;
        Ok(header)
    }

    /// Looks at the bytes of a first-level element (or the stream's end tag) from its `<` on.
    ///
    /// `bytes` never shrinks until the element is complete.
    pub(crate) fn element(
        &mut self,
        bytes: &[u8],
        limits: &XmlLimits,
    ) -> Result<Step, DecodeError> {
        if self.skip.is_none() {
            match self.judged(bytes, limits) {
                Err(error @ (DecodeError::TooDeep { .. } | DecodeError::TokenTooLong { .. }))
                    if limits.excess == Excess::RefusesElement && !bytes.starts_with(b"</") =>
                {
                    self.refused.get_or_insert(error);
                    self.skip = Some(Box::new(Skip::new()));
                }
                step => return step,
            }
        }
        self.skipped(bytes)
    }

    /// What is left of an element that rxml does not read to its end.
    fn skipped(&mut self, bytes: &[u8]) -> Result<Step, DecodeError> {
        let Some(skip) = &mut self.skip else {
            return Ok(Step::Incomplete);
        };
        let whole = skip.element(bytes)?;
        self.fed = skip.looked_at();
        let Some(length) = whole else {
            return Ok(Step::Incomplete);
        };
        let head = match self.head.take() {
            Some(head) => head,
            // Its own start tag is what is too long.
            None => {
                let namespace = root_namespace(bytes, &self.context)?;
                Box::new(Head::new(bytes, &namespace, &self.context))
            }
        };
        let refused = self.refused.take();
        // rxml is in the middle of that element for ever.
        *self = Self::within(&self.context);
        Ok(Step::Element {
            length,
            head,
            refused,
        })
    }

    fn judged(&mut self, bytes: &[u8], limits: &XmlLimits) -> Result<Step, DecodeError> {
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
                            self.begin();
                            return Ok(Step::Footer { length });
                        }
                        1 => {
                            self.depth = 0;
                            self.begin();
                            let head = self.head.take().ok_or(DecodeError::NotWellFormed)?;
                            return Ok(Step::Element {
                                length,
                                head,
                                refused: self.refused.take(),
                            });
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
        limits: &XmlLimits,
    ) -> Result<(), DecodeError> {
        let seen = &bytes[..self.fed];
        // No `<` may stand in an attribute value: the last one begins the tag.
        let start = memrchr(b'<', seen).unwrap_or_default();
        let tag = check_tag(seen, start)?;
        if self.depth == 0 {
            self.head = Some(Box::new(Head::new(seen, namespace, &self.context)));
        }
        self.depth += 1;
        if self.depth > limits.depth {
            return Err(DecodeError::TooDeep {
                limit: limits.depth,
            });
        }
        if tag.attributes > limits.attributes {
            let limit = limits.attributes;
            self.over(DecodeError::TooManyAttributes { limit }, limits)?;
        }
        self.declared.push(tag.declarations);
        self.in_scope += tag.declarations;
        if self.in_scope > limits.namespaces {
            let limit = limits.namespaces;
            self.over(DecodeError::TooManyNamespaces { limit }, limits)?;
        }
        let uses_context =
            !self.context.prefixes().is_empty() && uses_prefix_of(&self.context, seen, start);
        // Before authentication nothing is forwarded, so it does not matter.
        if limits.excess == Excess::RefusesElement {
            if !tag.portable_names {
                self.over(DecodeError::UnportableName, limits)?;
            }
            if !tag.portable_namespaces || uses_context && !self.context.is_portable() {
                self.over(DecodeError::UnportableNamespace, limits)?;
            }
        }
        if let Some(head) = &mut self.head {
            head.declares |= tag.content;
            head.uses_context |= uses_context;
        }
        Ok(())
    }

    /// The element is over a limit: that ends the stream, or the element is refused when it is whole.
    fn over(&mut self, why: DecodeError, limits: &XmlLimits) -> Result<(), DecodeError> {
        match limits.excess {
            Excess::EndsStream => Err(why),
            Excess::RefusesElement => {
                self.refused.get_or_insert(why);
                Ok(())
            }
        }
    }

    /// Feeds the parser until it has an event; `None` when the bytes are used up.
    fn event(&mut self, bytes: &[u8]) -> Result<Option<Event>, DecodeError> {
        loop {
            let (mut slice, given) = match self.feed.next(bytes, self.fed) {
                Piece::Bytes(piece) => (piece, piece.len()),
                Piece::LineFeed => (&b"\n"[..], 1),
                Piece::Skip(length) => {
                    self.fed += length;
                    continue;
                }
            };
            // Also with an empty slice: the end of `<a/>` is an event that costs no bytes.
            let event = self.parser.parse(&mut slice, false);
            self.fed += given - slice.len();
            match event {
                Ok(Some(event)) => return Ok(Some(event)),
                Ok(None) => return Ok(None),
                Err(EndOrError::NeedMoreData) if given == 0 => return Ok(None),
                Err(EndOrError::NeedMoreData) => {}
                Err(EndOrError::Error(error)) => {
                    return Err(translate(error, bytes.get(..self.fed).unwrap_or(bytes)));
                }
            }
        }
    }
}
