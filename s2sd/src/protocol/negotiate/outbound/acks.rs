//! Acknowledgements on an open stream of ours (XEP-0198): whether to ask the peer for them. The driver handles their
//! counts.

use xmpp_stream::stream_management::{Enable, Nonza};
use xmpp_stream::{Element, Features, StreamError, ns};

use super::{Out, Outbound, OutboundEffect, Purpose, Step};

/// Whether both sides count.
#[derive(Default)]
pub(super) struct Counting {
    /// Whether the driver keeps what is not acknowledged.
    can_count: bool,
    /// The peer offered it with its last features, which after SASL are others than before.
    is_offered: bool,
    /// We said `<enable/>`.
    is_asked: bool,
}

impl Counting {
    /// The peer sent its features.
    pub(super) fn offered(&mut self, features: &Features) {
        let mut others = features.other.iter();
        self.is_offered = others.any(|(namespace, _)| namespace == ns::STREAM_MANAGEMENT);
    }
}

impl Outbound {
    /// With a driver that takes [`OutboundEffect::Counts`].
    #[must_use]
    pub fn with_acks(mut self: Box<Self>) -> Box<Self> {
        self.counting.can_count = true;
        self
    }

    /// XEP-0198 §3: as soon as the stream is ready for stanzas, and before the first.
    pub(super) fn ask_to_count(&mut self, out: &mut Out) {
        let wanted = self.counting.can_count
            && !self.counting.is_asked
            && self.policy.stream_management
            && matches!(self.purpose, Purpose::Deliver)
            && self.counting.is_offered;
        if wanted {
            self.counting.is_asked = true;
            let enable = Nonza::Enable(Enable::new());
            out.push(OutboundEffect::Send(enable.to_bytes()));
            out.push(OutboundEffect::Counts);
        }
    }

    /// An element of stream management, if there may be one.
    pub(super) fn is_counted(&self, element: &Element) -> bool {
        self.counting.is_asked && element.namespace() == ns::STREAM_MANAGEMENT
    }

    /// What the peer says of the counts cannot be.
    pub(super) fn miscounted(
        self: Box<Self>,
        error: StreamError,
        what: String,
        out: &mut Out,
    ) -> Step {
        let mut this = self;
        Err(this.refuse(error, what, out))
    }
}
