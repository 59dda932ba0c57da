//! How much a peer may send (RFC 6120 §13.12). Enforced by the codec while bytes arrive.

/// Bytes of a name or an attribute's value. rxml buffers them, and reserves this much for each stream.
pub(crate) const TOKEN: usize = 8192;

/// Bounds on what a stream may hold. See [`Codec::set_limits`](crate::Codec::set_limits).
///
/// ```
/// use xmpp_stream::XmlLimits;
///
/// let limits = XmlLimits::after_authentication().with_element_bytes(64 * 1024).with_depth(32);
/// assert_eq!((limits.element_bytes, limits.attributes), (64 * 1024, 128));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct XmlLimits {
    /// Bytes of the stream header. What it declares for all that follows is at most 4 KiB.
    pub header_bytes: usize,
    /// Bytes of one first-level element. After authentication, also as it would be forwarded: with the declarations and
    /// the language of the stream header that it needs ([`Element::forwarded_size`](crate::Element::forwarded_size)).
    pub element_bytes: usize,
    /// How deep elements may nest within the stream; a first-level element has depth 1.
    pub depth: usize,
    /// Attributes of one element, namespace declarations included.
    pub attributes: usize,
    /// Namespace declarations in scope at once, those of the stream header included.
    pub namespaces: usize,
    /// All bytes until the limits are next set; `None` for no limit.
    pub total_bytes: Option<usize>,
    /// First-level elements until the limits are next set; `None` for no limit.
    pub total_elements: Option<usize>,
    /// What becomes of an element that is whole and well-formed, but for one of the limits above other than
    /// [`element_bytes`](Self::element_bytes) itself.
    pub excess: Excess,
}

/// What is over a limit that the peer cannot know of: depth, attributes, namespaces, the length of a name or an
/// attribute's value (8,192 bytes), the size as it would be forwarded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Excess {
    /// It ends the stream, while it arrives.
    EndsStream,
    /// Only that element is refused ([`Frame::Refused`](crate::Frame::Refused)), and so is one whose names or namespaces
    /// not every XML parser takes.
    RefusesElement,
}

impl XmlLimits {
    /// For strangers: 16 KiB an element, 64 KiB and 32 elements in all.
    ///
    /// RFC 6120 §13.12 forbids a limit below 10,000 bytes.
    pub fn before_authentication() -> Self {
        Self {
            header_bytes: 16 * 1024,
            element_bytes: 16 * 1024,
            depth: 16,
            attributes: 32,
            namespaces: 32,
            total_bytes: Some(64 * 1024),
            total_elements: Some(32),
            excess: Excess::EndsStream,
        }
    }

    /// For authenticated peers: 512 KiB an element, no limit in all. A header is no larger than a stranger's.
    pub fn after_authentication() -> Self {
        Self {
            header_bytes: 16 * 1024,
            element_bytes: 512 * 1024,
            depth: 128,
            attributes: 128,
            namespaces: 128,
            total_bytes: None,
            total_elements: None,
            excess: Excess::RefusesElement,
        }
    }

    /// With another [`header_bytes`](Self::header_bytes).
    #[must_use]
    pub fn with_header_bytes(mut self, bytes: usize) -> Self {
        self.header_bytes = bytes;
        self
    }

    /// With another [`element_bytes`](Self::element_bytes).
    #[must_use]
    pub fn with_element_bytes(mut self, bytes: usize) -> Self {
        self.element_bytes = bytes;
        self
    }

    /// With another [`depth`](Self::depth).
    #[must_use]
    pub fn with_depth(mut self, depth: usize) -> Self {
        self.depth = depth;
        self
    }

    /// With another [`attributes`](Self::attributes).
    #[must_use]
    pub fn with_attributes(mut self, number: usize) -> Self {
        self.attributes = number;
        self
    }

    /// With another [`namespaces`](Self::namespaces).
    #[must_use]
    pub fn with_namespaces(mut self, number: usize) -> Self {
        self.namespaces = number;
        self
    }

    /// With another [`total_bytes`](Self::total_bytes).
    #[must_use]
    pub fn with_total_bytes(mut self, bytes: impl Into<Option<usize>>) -> Self {
        self.total_bytes = bytes.into();
        self
    }

    /// With another [`total_elements`](Self::total_elements).
    #[must_use]
    pub fn with_total_elements(mut self, number: impl Into<Option<usize>>) -> Self {
        self.total_elements = number.into();
        self
    }

    /// With another [`excess`](Self::excess).
    #[must_use]
    pub fn with_excess(mut self, excess: Excess) -> Self {
        self.excess = excess;
        self
    }

    /// For elements that we made ourselves or have already checked.
    pub(crate) fn none() -> Self {
        Self {
            header_bytes: usize::MAX,
            element_bytes: usize::MAX,
            depth: usize::MAX,
            attributes: usize::MAX,
            namespaces: usize::MAX,
            total_bytes: None,
            total_elements: None,
            excess: Excess::EndsStream,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_can_be_another() {
        let limits = XmlLimits::before_authentication()
            .with_header_bytes(1)
            .with_element_bytes(2)
            .with_depth(3)
            .with_attributes(4)
            .with_namespaces(5)
            .with_total_bytes(6)
            .with_total_elements(7)
            .with_excess(Excess::RefusesElement);
        let want = XmlLimits {
            header_bytes: 1,
            element_bytes: 2,
            depth: 3,
            attributes: 4,
            namespaces: 5,
            total_bytes: Some(6),
            total_elements: Some(7),
            excess: Excess::RefusesElement,
        };
        assert_eq!(limits, want);
    }
}
