//! How much a peer may send (RFC 6120 §13.12). Enforced by the codec while bytes arrive.

/// Bounds on what a stream may hold. See [`Codec::set_limits`](crate::Codec::set_limits).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes of one first-level element, and of the stream header.
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
}

impl Limits {
    /// For strangers: 16 KiB an element, 64 KiB and 32 elements in all.
    ///
    /// RFC 6120 §13.12 forbids a limit below 10,000 bytes.
    pub fn before_authentication() -> Self {
        Self {
            element_bytes: 16 * 1024,
            depth: 16,
            attributes: 32,
            namespaces: 32,
            total_bytes: Some(64 * 1024),
            total_elements: Some(32),
        }
    }

    /// For authenticated peers: 512 KiB an element, no limit in all.
    pub fn after_authentication() -> Self {
        Self {
            element_bytes: 512 * 1024,
            depth: 128,
            attributes: 128,
            namespaces: 128,
            total_bytes: None,
            total_elements: None,
        }
    }

    /// For elements that we made ourselves or have already checked.
    pub(crate) fn none() -> Self {
        Self {
            element_bytes: usize::MAX,
            depth: usize::MAX,
            attributes: usize::MAX,
            namespaces: usize::MAX,
            total_bytes: None,
            total_elements: None,
        }
    }
}
