//! The codec: a stream's bytes to frames and back (RFC 6120 §4).

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use crate::framer::{HeaderStep, Step};
use crate::framing::Framer;
use crate::tag::is_space;
use crate::{
    ContentNamespace, DecodeError, Element, Excess, RefusedElement, Restricted, StreamHeader,
    Writer, XmlLimits,
};

/// What a stream is made of.
///
/// A later version may know more kinds of frames, but a codec gives one only if you switch it on, as
/// [`XmlLimits::excess`] does for [`Refused`](Self::Refused). Pass over what you do not know.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Frame {
    /// `<stream:stream …>`
    Header(StreamHeader),
    /// A first-level element, whole.
    Element(Element),
    /// A first-level element that is whole and well-formed, over a limit
    /// ([`XmlLimits::excess`]). The stream goes on.
    Refused(RefusedElement),
    /// White space between elements; once for each run of it, however long and however split.
    Whitespace,
    /// `</stream:stream>`
    Footer,
}

/// Proof that nothing was left unread when the stream changed hands, made by
/// [`Codec::boundary`] alone.
#[derive(Debug)]
pub struct Boundary(());

/// Decodes and encodes one direction each of an XMPP stream.
///
/// Any split of the input gives the same frames and the same error. After an error the decoder
/// only repeats it.
#[derive(Debug)]
pub struct Codec {
    limits: XmlLimits,
    expected: Option<ContentNamespace>,
    state: State,
    framer: Framer,
    /// Bytes and elements since the limits were set.
    bytes: usize,
    elements: usize,
    /// Was white space seen since the last element?
    in_whitespace: bool,
    /// See [`Codec::broken`].
    broken: Box<[u8]>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum State {
    /// Nothing or white space so far.
    Beginning,
    /// After the XML declaration.
    Declared,
    Elements,
    /// The header was `<stream:stream/>`: its end is still to be told.
    Ending,
    Ended,
    Failed(DecodeError),
}

/// So much of the start tag of an element is kept in which reading failed.
const MOST_OF_A_TAG: usize = 4096;

impl Codec {
    /// A codec that waits for a stream header in any content namespace.
    pub fn new(limits: XmlLimits) -> Self {
        Self {
            limits,
            expected: None,
            state: State::Beginning,
            framer: Framer::new(),
            bytes: 0,
            elements: 0,
            in_whitespace: false,
            broken: Box::default(),
        }
    }

    /// The same, with every byte judged by rxml: what the other is compared with. Nothing is different but the time.
    #[doc(hidden)]
    #[must_use]
    pub fn without_scanner(mut self) -> Self {
        self.framer = Framer::reference();
        self
    }

    /// Accepts headers in this content namespace only; others are `invalid-namespace`.
    #[must_use]
    pub fn with_content_namespace(mut self, content: ContentNamespace) -> Self {
        self.expected = Some(content);
        self
    }

    /// The limits in force.
    pub fn limits(&self) -> &XmlLimits {
        &self.limits
    }

    /// Changes the limits; the totals are counted anew.
    pub fn set_limits(&mut self, limits: XmlLimits) {
        self.limits = limits;
        self.bytes = 0;
        self.elements = 0;
    }

    /// A new stream begins on the same connection (RFC 6120 §4.3.3). The totals go on.
    pub fn restart(&mut self) {
        if !matches!(self.state, State::Failed(_)) {
            self.state = State::Beginning;
            self.framer.restart();
            self.in_whitespace = false;
        }
    }

    /// Gives memory back that is of use only while elements arrive (some 8 KiB). For idle streams;
    /// it may be called at any time.
    pub fn release(&mut self) {
        self.framer.release();
    }

    /// The start tag of the element in which reading failed, as far as it came and up to 4 KiB of it. Not necessarily
    /// well-formed: it may be what failed.
    pub fn broken(&self) -> &[u8] {
        &self.broken
    }

    /// Proof that nothing followed the last element: neither in the buffer nor already decoded.
    ///
    /// To be asked for before TLS or SASL take the stream over. Not even white space may follow
    /// (RFC 6120 §5.3.3 and §6.3.5), and anything that did was not protected.
    pub fn boundary(&mut self, unread: &BytesMut) -> Result<Boundary, DecodeError> {
        if let State::Failed(error) = &self.state {
            return Err(error.clone());
        }
        if unread.is_empty() && !self.in_whitespace && !self.framer.is_inside() {
            Ok(Boundary(()))
        } else {
            self.state = State::Failed(DecodeError::NotSilent);
            Err(DecodeError::NotSilent)
        }
    }

    fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, DecodeError> {
        match &self.state {
            State::Beginning | State::Declared => self.header(buffer),
            State::Elements => self.element(buffer),
            State::Ending => {
                self.state = State::Ended;
                Ok(Some(Frame::Footer))
            }
            State::Ended => {
                self.skip_whitespace(buffer);
                self.used_up(buffer)?;
                if buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(DecodeError::AfterFooter)
                }
            }
            State::Failed(error) => Err(error.clone()),
        }
    }

    fn header(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, DecodeError> {
        loop {
            if !self.framer.is_inside() {
                self.in_whitespace |= self.skip_whitespace(buffer);
                self.used_up(buffer)?;
                if !self.may_begin(buffer)? {
                    return Ok(None);
                }
            }
            let window = self.window(buffer)?;
            match self.framer.header(&buffer[..window], &self.limits)? {
                HeaderStep::Incomplete => return self.incomplete(buffer, window),
                HeaderStep::Declaration { length } => {
                    self.take(length);
                    buffer.advance(length);
                    self.state = State::Declared;
                    self.in_whitespace = false;
                }
                HeaderStep::Header {
                    length,
                    header,
                    closed,
                } => {
                    if self
                        .expected
                        .is_some_and(|expected| expected != header.content)
                    {
                        return Err(DecodeError::ContentNamespace);
                    }
                    self.take(length);
                    buffer.advance(length);
                    self.in_whitespace = false;
                    self.state = if closed {
                        State::Ending
                    } else {
                        State::Elements
                    };
                    return Ok(Some(Frame::Header(header)));
                }
            }
        }
    }

    /// Looks at how a header begins; `false` when it is too early to tell.
    fn may_begin(&self, bytes: &[u8]) -> Result<bool, DecodeError> {
        match bytes {
            [] | [b'<'] | [b'<', b'?' | b'!'] => Ok(false),
            // UTF-16, with and without a mark; U+FEFF in UTF-8 is just a character that may not
            // stand here (RFC 6120 §11.6).
            [0xfe | 0xff | 0, ..] | [b'<', 0, ..] => Err(DecodeError::Encoding),
            [b'<', b'?', rest @ ..] => self.may_declare(rest),
            [b'<', b'!', rest @ ..] => Err(bang(rest)),
            [b'<', ..] => Ok(true),
            _ => Err(DecodeError::NotWellFormed),
        }
    }

    fn may_declare(&self, after: &[u8]) -> Result<bool, DecodeError> {
        match after {
            [] | [b'x'] | [b'x', b'm'] | [b'x', b'm', b'l'] => Ok(false),
            [b'x', b'm', b'l', space, ..] if is_space(*space) && self.state == State::Beginning => {
                // The XML declaration may stand at the very beginning only (XML 1.0 §2.8).
                if self.in_whitespace {
                    Err(DecodeError::NotWellFormed)
                } else {
                    Ok(true)
                }
            }
            _ => Err(DecodeError::Restricted(Restricted::ProcessingInstruction)),
        }
    }

    fn element(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, DecodeError> {
        if !self.framer.is_inside() {
            let before = self.in_whitespace;
            self.in_whitespace |= self.skip_whitespace(buffer);
            if self.in_whitespace && !before {
                return Ok(Some(Frame::Whitespace));
            }
            self.used_up(buffer)?;
            match &buffer[..] {
                [] | [b'<'] | [b'<', b'!'] => return Ok(None),
                [b'<', b'?', ..] => {
                    return Err(DecodeError::Restricted(Restricted::ProcessingInstruction));
                }
                [b'<', b'!', rest @ ..] => return Err(bang(rest)),
                [b'<', b'/', ..] => {}
                [b'<', ..] => {
                    if let Some(limit) = self.limits.total_elements
                        && self.elements >= limit
                    {
                        return Err(DecodeError::TooManyElements { limit });
                    }
                }
                _ => return Err(DecodeError::TextBetweenElements),
            }
        }
        let window = self.window(buffer)?;
        match self.framer.element(&buffer[..window], &self.limits)? {
            Step::Incomplete => self.incomplete(buffer, window),
            Step::Element {
                length,
                head,
                refused,
            } => {
                self.take(length);
                self.elements += 1;
                self.in_whitespace = false;
                let bytes = buffer.split_to(length).freeze();
                let element = Element::new(bytes, self.framer.context().clone(), head);
                Ok(Some(match refused.or_else(|| self.too_big(&element)) {
                    None => Frame::Element(element),
                    Some(why) => Frame::Refused(RefusedElement::new(&element, why)),
                }))
            }
            Step::Footer { length } => {
                self.take(length);
                buffer.advance(length);
                self.state = State::Ended;
                Ok(Some(Frame::Footer))
            }
        }
    }

    /// What has to be written for another stream may be more than what came.
    fn too_big(&self, element: &Element) -> Option<DecodeError> {
        let limit = self.limits.element_bytes;
        let refuses = self.limits.excess == Excess::RefusesElement;
        (refuses && element.forwarded_size() > limit)
            .then_some(DecodeError::ForwardedTooBig { limit })
    }

    /// How many bytes the header or element at hand may have.
    fn most(&self) -> usize {
        match self.state {
            State::Beginning | State::Declared => self.limits.header_bytes,
            State::Elements | State::Ending | State::Ended | State::Failed(_) => {
                self.limits.element_bytes
            }
        }
    }

    /// How much of the buffer it may have.
    fn window(&self, buffer: &BytesMut) -> Result<usize, DecodeError> {
        let window = buffer
            .len()
            .min(self.most())
            .min(self.left().unwrap_or(usize::MAX));
        // The limits may have been set lower in the middle of an element.
        if window < self.framer.looked_at() {
            self.incomplete(buffer, window)?;
            return Err(DecodeError::Truncated);
        }
        Ok(window)
    }

    /// The element is not complete within the window. If the window cannot grow, it never will be.
    fn incomplete(&self, buffer: &BytesMut, window: usize) -> Result<Option<Frame>, DecodeError> {
        let limit = self.most();
        if window >= limit {
            return Err(DecodeError::ElementTooBig { limit });
        }
        if let Some(limit) = self.limits.total_bytes
            && !buffer.is_empty()
            && self.left() == Some(window)
        {
            return Err(DecodeError::TooManyBytes { limit });
        }
        Ok(None)
    }

    fn left(&self) -> Option<usize> {
        Some(self.limits.total_bytes?.saturating_sub(self.bytes))
    }

    fn take(&mut self, length: usize) {
        self.bytes = self.bytes.saturating_add(length);
    }

    /// Drops white space between elements, which the framer never sees.
    fn skip_whitespace(&mut self, buffer: &mut BytesMut) -> bool {
        let run = buffer
            .iter()
            .position(|byte| !is_space(*byte))
            .unwrap_or(buffer.len())
            .min(self.left().unwrap_or(usize::MAX));
        self.take(run);
        buffer.advance(run);
        run > 0
    }

    /// Is there something, and may there be?
    fn used_up(&self, buffer: &BytesMut) -> Result<(), DecodeError> {
        match self.limits.total_bytes {
            Some(limit) if self.bytes >= limit && !buffer.is_empty() => {
                Err(DecodeError::TooManyBytes { limit })
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// What `<!` begins where only elements may stand.
fn bang(rest: &[u8]) -> DecodeError {
    match rest.first() {
        Some(b'-') => DecodeError::Restricted(Restricted::Comment),
        // A CDATA section is text.
        Some(b'[') => DecodeError::TextBetweenElements,
        Some(b'A'..=b'Z') => DecodeError::Restricted(Restricted::DocumentType),
        _ => DecodeError::NotWellFormed,
    }
}

impl Decoder for Codec {
    type Item = Frame;
    type Error = DecodeError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, DecodeError> {
        let result = self.next(buffer);
        if let Err(error) = &result {
            if matches!(self.state, State::Elements) {
                let begun = buffer.get(..MOST_OF_A_TAG).unwrap_or(buffer);
                let end = memchr::memchr(b'>', begun).map_or(begun.len(), |end| end + 1);
                self.broken = begun[..end].into();
            }
            self.state = State::Failed(error.clone());
            // Nothing will be read from here any more.
            buffer.clear();
        }
        result
    }

    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, DecodeError> {
        match self.decode(buffer)? {
            Some(frame) => Ok(Some(frame)),
            None if buffer.is_empty() => Ok(None),
            None => {
                buffer.clear();
                self.state = State::Failed(DecodeError::Truncated);
                Err(DecodeError::Truncated)
            }
        }
    }
}

impl Encoder<&Frame> for Codec {
    type Error = DecodeError;

    /// Writes a frame as it is. An element made for another stream needs
    /// [`Element::write_for`] instead.
    fn encode(&mut self, frame: &Frame, out: &mut BytesMut) -> Result<(), DecodeError> {
        match frame {
            Frame::Header(header) => header.write(out),
            Frame::Element(element) => out.extend_from_slice(element.bytes()),
            // It must not reach anybody.
            Frame::Refused(_) => {}
            Frame::Whitespace => out.put_u8(b' '),
            Frame::Footer => out.put_slice(b"</stream:stream>"),
        }
        Ok(())
    }
}

impl Encoder<Frame> for Codec {
    type Error = DecodeError;

    fn encode(&mut self, frame: Frame, out: &mut BytesMut) -> Result<(), DecodeError> {
        self.encode(&frame, out)
    }
}

/// An element as it came, for a stream with the same content namespace; for another, [`Element::write_for`].
impl Encoder<&Element> for Codec {
    type Error = DecodeError;

    fn encode(&mut self, element: &Element, out: &mut BytesMut) -> Result<(), DecodeError> {
        out.extend_from_slice(element.bytes());
        Ok(())
    }
}

/// An element as it came, for a stream with the same content namespace; for another, [`Element::write_for`].
impl Encoder<Element> for Codec {
    type Error = DecodeError;

    fn encode(&mut self, element: Element, out: &mut BytesMut) -> Result<(), DecodeError> {
        self.encode(&element, out)
    }
}

/// An element of our own.
impl Encoder<Writer> for Codec {
    type Error = DecodeError;

    fn encode(&mut self, element: Writer, out: &mut BytesMut) -> Result<(), DecodeError> {
        self.encode(element.finish(), out)
    }
}

/// Elements that are written already, as `to_bytes` and [`error_reply`](crate::error_reply) give them: they go out as
/// they are.
impl Encoder<Bytes> for Codec {
    type Error = DecodeError;

    fn encode(&mut self, elements: Bytes, out: &mut BytesMut) -> Result<(), DecodeError> {
        out.extend_from_slice(&elements);
        Ok(())
    }
}
