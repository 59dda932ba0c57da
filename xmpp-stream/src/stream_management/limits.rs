//! How much the windows hold.

/// Half of what the counters of XEP-0198 can tell apart.
const MAX_STANZAS: u32 = i32::MAX as u32;

/// How much may be sent that is not acknowledged, and how often to ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SendLimits {
    stanzas: u32,
    bytes: usize,
    request_every: u32,
}

impl SendLimits {
    /// So many stanzas and bytes; from one stanza to 2^31 - 1. `<r/>` is wanted four times in a window.
    pub fn new(stanzas: u32, bytes: usize) -> Self {
        let stanzas = stanzas.clamp(1, MAX_STANZAS);
        Self {
            stanzas,
            bytes,
            request_every: (stanzas / 4).max(1),
        }
    }

    /// `<r/>` is wanted after so many stanzas (XEP-0198 §8.2), at least one.
    #[must_use]
    pub fn with_request_every(mut self, stanzas: u32) -> Self {
        self.request_every = stanzas.clamp(1, self.stanzas);
        self
    }

    /// How many stanzas.
    pub fn stanzas(&self) -> u32 {
        self.stanzas
    }

    /// How many bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// After how many stanzas `<r/>` is wanted.
    pub fn request_every(&self) -> u32 {
        self.request_every
    }
}

/// How much may be received that is not settled, and how often to acknowledge without being asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReceiveLimits {
    unsettled: u32,
    ack_every: u32,
}

impl ReceiveLimits {
    /// So many stanzas; from one to 2^31 - 1. `<a/>` is wanted after 64 that were settled.
    pub fn new(unsettled: u32) -> Self {
        Self {
            unsettled: unsettled.clamp(1, MAX_STANZAS),
            ack_every: 64,
        }
    }

    /// `<a/>` is wanted after so many stanzas that were settled, at least one.
    #[must_use]
    pub fn with_ack_every(mut self, stanzas: u32) -> Self {
        self.ack_every = stanzas.max(1);
        self
    }

    /// How many may be unsettled.
    pub fn unsettled(&self) -> u32 {
        self.unsettled
    }

    /// After how many settled stanzas `<a/>` is wanted.
    pub fn ack_every(&self) -> u32 {
        self.ack_every
    }
}
