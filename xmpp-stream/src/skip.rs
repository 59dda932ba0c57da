//! Reading over an element that is refused whatever comes: where it ends, and whether it is well-formed.
//!
//! rxml is no help here: it looks for a namespace through all elements that are open, which takes long where they are
//! deep, and takes no long names and values. What is read over goes nowhere, so the namespaces within do not matter.

use std::collections::HashSet;

use crate::tag::{self, Span};
use crate::{DecodeError, Restricted, writer};

/// Looks at an element from its first byte on, as it grows.
#[derive(Debug)]
pub(crate) struct Skip {
    at: usize,
    state: State,
    /// The names of the elements that are open.
    open: Vec<Span>,
    /// Those of the attributes of the tag at hand.
    attributes: Vec<Span>,
    /// Where the name or reference at hand begins.
    start: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Text, after so many `]`, of which two and a `>` may not stand there.
    Content(u8),
    /// After `<`.
    Markup,
    /// After `<!`.
    Bang,
    /// After `<!-`.
    Dash,
    /// After so much of `<![CDATA[`.
    CDataStart(usize),
    /// In a CDATA section, after so many `]`.
    CData(u8),
    ElementName,
    /// Between attributes; another one may follow if there was space.
    Tag {
        spaced: bool,
    },
    AttributeName,
    BeforeEquals,
    BeforeValue,
    Value(char),
    /// After `/`.
    SelfClosing,
    CloseName,
    AfterCloseName,
    /// A reference in text, or in a value with these quotes.
    Reference(Option<char>),
}

const CDATA: &str = "<![CDATA[";

impl Skip {
    pub(crate) fn new() -> Self {
        Self {
            at: 0,
            state: State::Content(0),
            open: Vec::new(),
            attributes: Vec::new(),
            start: 0,
        }
    }

    /// How far it looked.
    pub(crate) fn looked_at(&self) -> usize {
        self.at
    }

    /// `Some`: the element is whole, and this long.
    pub(crate) fn element(&mut self, bytes: &[u8]) -> Result<Option<usize>, DecodeError> {
        let rest = bytes.get(self.at..).unwrap_or_default();
        let (text, broken) = match std::str::from_utf8(rest) {
            Ok(text) => (text, false),
            Err(error) => {
                let valid = rest.get(..error.valid_up_to()).unwrap_or_default();
                let text = std::str::from_utf8(valid).unwrap_or_default();
                (text, error.error_len().is_some())
            }
        };
        let base = self.at;
        for (offset, character) in text.char_indices() {
            let at = base + offset;
            if !writer::is_xml(character) {
                return Err(DecodeError::NotWellFormed);
            }
            self.state = self.next(bytes, at, character)?;
            self.at = at + character.len_utf8();
            if self.open.is_empty() && self.state == State::Content(0) {
                return Ok(Some(self.at));
            }
        }
        if broken {
            return Err(DecodeError::NotUtf8);
        }
        Ok(None)
    }

    fn next(&mut self, bytes: &[u8], at: usize, character: char) -> Result<State, DecodeError> {
        let ill = Err(DecodeError::NotWellFormed);
        let space = matches!(character, ' ' | '\t' | '\n' | '\r');
        Ok(match (self.state, character) {
            (State::Content(_), '<') => State::Markup,
            (State::Content(_), '&') => self.begin(at + 1, State::Reference(None)),
            (State::Content(brackets), ']') => State::Content(2.min(brackets + 1)),
            (State::Content(2), '>') => return ill,
            (State::Content(_), _) => State::Content(0),
            (State::Markup, '/') => self.begin(at + 1, State::CloseName),
            (State::Markup, '!') => State::Bang,
            (State::Markup, '?') => {
                return Err(DecodeError::Restricted(Restricted::ProcessingInstruction));
            }
            (State::Markup, _) if space || matches!(character, '>' | '<') => return ill,
            (State::Markup, _) => self.begin(at, State::ElementName),
            (State::Bang, '-') => State::Dash,
            (State::Bang, '[') => State::CDataStart(3),
            (State::Bang, 'A'..='Z') => {
                return Err(DecodeError::Restricted(Restricted::DocumentType));
            }
            (State::Dash, '-') => return Err(DecodeError::Restricted(Restricted::Comment)),
            (State::Bang | State::Dash, _) => return ill,
            (State::CDataStart(so_far), _) => {
                if !CDATA
                    .get(so_far..)
                    .is_some_and(|rest| rest.starts_with(character))
                {
                    return ill;
                }
                match so_far + 1 == CDATA.len() {
                    true => State::CData(0),
                    false => State::CDataStart(so_far + 1),
                }
            }
            (State::CData(brackets), ']') => State::CData(2.min(brackets + 1)),
            (State::CData(2), '>') => State::Content(0),
            (State::CData(_), _) => State::CData(0),
            (State::ElementName, '/' | '>') => {
                self.open_element(bytes, at)?;
                self.end_of_tag(bytes, character)?
            }
            (State::ElementName, _) if space => {
                self.open_element(bytes, at)?;
                State::Tag { spaced: true }
            }
            (State::Tag { .. }, '/' | '>') => self.end_of_tag(bytes, character)?,
            (State::Tag { .. }, _) if space => State::Tag { spaced: true },
            (State::Tag { spaced: true }, _) => self.begin(at, State::AttributeName),
            (State::Tag { spaced: false }, _) => return ill,
            (State::AttributeName, '=') => {
                self.attribute(bytes, at)?;
                State::BeforeValue
            }
            (State::AttributeName, _) if space => {
                self.attribute(bytes, at)?;
                State::BeforeEquals
            }
            (State::AttributeName, '<' | '>' | '/' | '\'' | '"') => return ill,
            (State::ElementName, '<' | '\'' | '"' | '=' | '&') => return ill,
            (same @ (State::ElementName | State::AttributeName), _) => same,
            (State::BeforeEquals, '=') => State::BeforeValue,
            (State::BeforeValue, '\'' | '"') => State::Value(character),
            (same @ (State::BeforeEquals | State::BeforeValue), _) if space => same,
            (State::BeforeEquals | State::BeforeValue, _) => return ill,
            (State::Value(quote), _) if character == quote => State::Tag { spaced: false },
            (State::Value(_), '<') => return ill,
            (State::Value(quote), '&') => self.begin(at + 1, State::Reference(Some(quote))),
            (State::Value(quote), _) => State::Value(quote),
            (State::SelfClosing, '>') => {
                self.open.pop();
                State::Content(0)
            }
            (State::SelfClosing, _) => return ill,
            (State::CloseName, _) if space || character == '>' => {
                let name = Span {
                    start: self.start,
                    end: at,
                };
                let opened = self.open.last().map(|opened| opened.of(bytes));
                if opened != Some(name.of(bytes)) {
                    return ill;
                }
                self.closed(character)
            }
            (State::CloseName, _) => State::CloseName,
            (State::AfterCloseName, _) if space || character == '>' => self.closed(character),
            (State::AfterCloseName, _) => return ill,
            (State::Reference(quote), ';') => {
                let name = Span {
                    start: self.start,
                    end: at,
                };
                reference(name.text(bytes))?;
                quote.map_or(State::Content(0), State::Value)
            }
            (State::Reference(_), _) if character.is_ascii() && !is_in_reference(character) => {
                return ill;
            }
            (same @ State::Reference(_), _) => same,
        })
    }

    fn begin(&mut self, at: usize, state: State) -> State {
        self.start = at;
        state
    }

    fn closed(&mut self, character: char) -> State {
        if character != '>' {
            return State::AfterCloseName;
        }
        self.open.pop();
        State::Content(0)
    }

    fn name(&self, bytes: &[u8], end: usize) -> Result<Span, DecodeError> {
        let start = self.start;
        let name = Span { start, end };
        match is_qualified(name.text(bytes)) {
            true => Ok(name),
            false => Err(DecodeError::NotWellFormed),
        }
    }

    fn open_element(&mut self, bytes: &[u8], end: usize) -> Result<(), DecodeError> {
        let name = self.name(bytes, end)?;
        self.open.push(name);
        Ok(())
    }

    fn attribute(&mut self, bytes: &[u8], end: usize) -> Result<(), DecodeError> {
        let name = self.name(bytes, end)?;
        self.attributes.push(name);
        Ok(())
    }

    fn end_of_tag(&mut self, bytes: &[u8], character: char) -> Result<State, DecodeError> {
        if self.attributes.len() > 1 {
            let mut names = HashSet::with_capacity(self.attributes.len());
            let unique = self
                .attributes
                .iter()
                .all(|attribute| names.insert(attribute.of(bytes)));
            if !unique {
                return Err(DecodeError::NotWellFormed);
            }
        }
        self.attributes.clear();
        Ok(match character {
            '/' => State::SelfClosing,
            _ => State::Content(0),
        })
    }
}

fn is_in_reference(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '#' | ':' | '_' | '-' | '.')
}

fn reference(name: &str) -> Result<(), DecodeError> {
    match (tag::resolve(name), name.strip_prefix('#')) {
        (Some(character), _) if writer::is_xml(character) => Ok(()),
        (_, Some(_)) => Err(DecodeError::NotWellFormed),
        _ if is_qualified(name) => Err(DecodeError::Restricted(Restricted::Entity)),
        _ => Err(DecodeError::NotWellFormed),
    }
}

/// Namespaces in XML 1.0 §4, production QName.
fn is_qualified(name: &str) -> bool {
    let mut parts = name.splitn(3, ':');
    let good = |part: &str| {
        let mut characters = part.chars();
        characters.next().is_some_and(may_begin) && characters.all(may_follow)
    };
    parts.next().is_some_and(good) && parts.next().is_none_or(good) && parts.next().is_none()
}

/// XML 1.0 (fifth edition) §2.3, production NameStartChar, without the colon.
fn may_begin(character: char) -> bool {
    matches!(character,
        'A'..='Z' | '_' | 'a'..='z'
        | '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{f6}' | '\u{f8}'..='\u{2ff}'
        | '\u{370}'..='\u{37d}' | '\u{37f}'..='\u{1fff}' | '\u{200c}'..='\u{200d}'
        | '\u{2070}'..='\u{218f}' | '\u{2c00}'..='\u{2fef}' | '\u{3001}'..='\u{d7ff}'
        | '\u{f900}'..='\u{fdcf}' | '\u{fdf0}'..='\u{fffd}' | '\u{10000}'..='\u{effff}')
}

/// The same, production NameChar.
fn may_follow(character: char) -> bool {
    may_begin(character)
        || matches!(character,
            '-' | '.' | '0'..='9' | '\u{b7}' | '\u{300}'..='\u{36f}' | '\u{203f}'..='\u{2040}')
}
