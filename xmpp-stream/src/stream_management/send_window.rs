//! The sender's half: what was sent and is not acknowledged (XEP-0198 §4, §5).

use std::collections::VecDeque;

use super::error::{AckError, WindowFull};
use super::limits::SendLimits;

/// How much room an empty window keeps.
const KEPT_CAPACITY: usize = 32;

/// What was sent and is not acknowledged, oldest first.
///
/// It holds the items themselves, so an item has one owner until the peer has taken responsibility for it. They come
/// back in order: those that are acknowledged by [`acknowledge`](Self::acknowledge), all others, where the stream cannot be
/// resumed, by [`into_unacknowledged`](Self::into_unacknowledged).
///
/// ```
/// use xmpp_stream::stream_management::{AckError, SendLimits, SendWindow};
///
/// let mut window = SendWindow::new(SendLimits::new(3, 1_000));
/// for item in ["one", "two", "three"] {
///     window.push(item, item.len())?;
/// }
/// assert!(!window.has_room(1) && window.wants_request());
///
/// let mut acknowledged = Vec::new();
/// window.acknowledge(2, &mut acknowledged)?;
/// assert_eq!(acknowledged, ["one", "two"]);
/// assert_eq!(window.acknowledge(4, &mut acknowledged), Err(AckError::TooHigh { h: 4, sent: 3 }));
/// assert_eq!(window.into_unacknowledged().collect::<Vec<_>>(), ["three"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "what is in it was not acknowledged"]
pub struct SendWindow<T> {
    limits: SendLimits,
    /// Each with its bytes.
    items: VecDeque<(T, usize)>,
    bytes: usize,
    /// How many stanzas the peer has handled. What is sent in all is this and `items`. It does not wrap as `h` does.
    acknowledged: u64,
    /// Up to which stanza an `<r/>` was sent.
    requested: u64,
}

impl<T> SendWindow<T> {
    /// Nothing was sent. It begins when `<enable/>` or `<enabled/>` has been sent (§4).
    pub fn new(limits: SendLimits) -> Self {
        Self::starting_at(limits, 0)
    }

    /// Nothing is in it, and so many stanzas were sent and acknowledged before: where the count was kept elsewhere.
    pub fn starting_at(limits: SendLimits, count: u64) -> Self {
        Self {
            limits,
            items: VecDeque::new(),
            bytes: 0,
            acknowledged: count,
            requested: count,
        }
    }

    /// Is there room for a stanza of so many bytes? In an empty window there always is.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.items.is_empty()
            || (self.items.len() < self.limits.stanzas() as usize
                && self.bytes.saturating_add(bytes) <= self.limits.bytes())
    }

    /// A stanza is about to be written. Where there is no room, it comes back: write nothing more until the peer has
    /// acknowledged something.
    pub fn push(&mut self, item: T, bytes: usize) -> Result<(), WindowFull<T>> {
        if !self.has_room(bytes) {
            return Err(WindowFull(item));
        }
        self.items.push_back((item, bytes));
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(())
    }

    /// `<a h='…'/>` came, or `h` of `<failed/>`. What it acknowledges goes to `out`, in order; says how many.
    ///
    /// After an error all is as before. A count that went back tells nothing new: on an open stream you may pass over it.
    pub fn acknowledge(&mut self, h: u32, out: &mut impl Extend<T>) -> Result<usize, AckError> {
        let count = self.newly_handled(h)?;
        let gone: usize = self.items.iter().take(count).map(|(_, bytes)| bytes).sum();
        out.extend(self.items.drain(..count).map(|(item, _)| item));
        self.bytes = self.bytes.saturating_sub(gone);
        self.acknowledged += count as u64;
        self.requested = self.requested.max(self.acknowledged);
        if self.items.is_empty() {
            self.items.shrink_to(KEPT_CAPACITY);
        }
        Ok(count)
    }

    /// The stream was resumed: `h` of `<resume/>` or `<resumed/>` (§5). Write all that is
    /// [`unacknowledged`](Self::unacknowledged) again, in order and before anything new.
    ///
    /// After an error the two sides do not agree on what was handled, and the stream cannot go on.
    pub fn resume(&mut self, h: u32, out: &mut impl Extend<T>) -> Result<usize, AckError> {
        let count = self.acknowledge(h, out)?;
        // An <r/> of the connection before will not be answered.
        self.requested = self.acknowledged;
        Ok(count)
    }

    /// How many more stanzas `h` acknowledges.
    fn newly_handled(&self, h: u32) -> Result<usize, AckError> {
        let acknowledged = self.acknowledged as u32;
        let ahead = h.wrapping_sub(acknowledged) as usize;
        if ahead <= self.items.len() {
            return Ok(ahead);
        }
        let sent = self.sent() as u32;
        // A count modulo 2^32 is either too high or went back: it is what it is nearer to.
        let back = acknowledged.wrapping_sub(h);
        if u64::from(back) <= self.acknowledged && back < h.wrapping_sub(sent) {
            return Err(AckError::WentBack { h, acknowledged });
        }
        Err(AckError::TooHigh { h, sent })
    }

    /// Is it time for `<r/>`? After each [`request_every`](SendLimits::request_every) stanzas, after each quarter of the bytes,
    /// and once when the window is full.
    ///
    /// A peer need not acknowledge unless it was asked (§4). So ask also where something was in the window for some time.
    pub fn wants_request(&self) -> bool {
        let sent = self.sent();
        let since = usize::try_from(sent - self.requested).unwrap_or(usize::MAX);
        if since == 0 {
            return false;
        }
        let bytes: usize = self
            .items
            .iter()
            .rev()
            .take(since)
            .map(|(_, bytes)| bytes)
            .sum();
        since >= self.limits.request_every() as usize
            || bytes >= self.limits.bytes() / 4
            || !self.has_room(1)
    }

    /// `<r/>` is being sent.
    pub fn requested(&mut self) {
        self.requested = self.sent();
    }

    /// What was sent and is not acknowledged, oldest first.
    pub fn unacknowledged(&self) -> impl ExactSizeIterator<Item = &T> + DoubleEndedIterator {
        self.items.iter().map(|(item, _)| item)
    }

    /// The same, to be changed. How many bytes each has stays as it was said.
    pub fn unacknowledged_mut(&mut self) -> impl ExactSizeIterator<Item = &mut T> {
        self.items.iter_mut().map(|(item, _)| item)
    }

    /// The same, taken out: the stream is gone, and will not be resumed.
    pub fn into_unacknowledged(self) -> impl ExactSizeIterator<Item = T> + DoubleEndedIterator {
        self.items.into_iter().map(|(item, _)| item)
    }

    /// How many are not acknowledged.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Is all acknowledged?
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many bytes are not acknowledged.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many stanzas were sent in all.
    pub fn sent(&self) -> u64 {
        self.acknowledged + self.items.len() as u64
    }

    /// How many stanzas the peer has handled in all.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }
}
