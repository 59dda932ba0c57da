//! Acknowledgements of one stream (XEP-0198), both directions: what was sent and is not acknowledged, what was received and
//! is not settled, and what to say about both.
//!
//! Pure. The driver writes what these say, and looks again at [`Acks::deadline`].

use std::time::{Duration, Instant};

use xmpp_stream::stream_management::{
    AckError, Nonza, ReceiveLimits, SendLimits, SendWindow, WindowFull,
};

use super::receipts::{Receipts, Unsettled};

/// How often it looks for something to say without a question.
const EVERY: Duration = Duration::from_millis(500);
/// Who acknowledges nothing for this long is gone.
const SILENT: Duration = Duration::from_secs(60);
/// Where what is sent has another bound, we ask the peer after so many stanzas.
const ASK_EVERY: u32 = 64;
/// So many stanzas may have come that are not settled.
const UNSETTLED: u32 = 65_536;

/// Both counters of a stream. A `T` is what was sent.
#[derive(Debug)]
pub(crate) struct Acks<T> {
    sent: SendWindow<T>,
    /// So much of it was asked about.
    asked: u64,
    /// When the peer last acknowledged something, or had nothing to acknowledge.
    heard: Instant,
    received: Receipts,
    /// When to look.
    look: Instant,
}

/// The peer acknowledges nothing any more.
#[derive(Debug)]
pub(crate) struct Silent;

impl<T> Acks<T> {
    /// Both count from now on. At most so much is sent without an acknowledgement.
    pub(crate) fn new(stanzas: usize, bytes: usize, now: Instant) -> Self {
        let stanzas = u32::try_from(stanzas).unwrap_or(u32::MAX);
        Self {
            sent: SendWindow::new(SendLimits::new(stanzas, bytes)),
            asked: 0,
            heard: now,
            received: Receipts::new(ReceiveLimits::new(UNSETTLED)),
            look: now + EVERY,
        }
    }

    /// The same where what is sent has another bound.
    pub(crate) fn without_bound(now: Instant) -> Self {
        let limits = SendLimits::new(u32::MAX, usize::MAX).with_request_every(ASK_EVERY);
        Self {
            sent: SendWindow::new(limits),
            ..Self::new(0, 0, now)
        }
    }

    /// What was sent and is not acknowledged, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.sent.unacknowledged()
    }

    /// The same, to be changed.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.sent.unacknowledged_mut()
    }

    /// Whether a stanza of this size may be sent.
    pub(crate) fn has_room(&self, size: usize) -> bool {
        self.sent.has_room(size)
    }

    /// A stanza is being sent. It comes back where there is no room for it.
    pub(crate) fn sent(&mut self, item: T, size: usize, now: Instant) -> Result<(), T> {
        if self.sent.is_empty() {
            self.heard = now;
        }
        self.sent.push(item, size).map_err(|WindowFull(item)| item)
    }

    /// Whether to ask what has arrived, after something was sent; then it counts as asked.
    pub(crate) fn asks(&mut self) -> bool {
        let asks = self.sent.wants_request();
        if asks {
            self.ask();
        }
        asks
    }

    fn ask(&mut self) {
        self.sent.requested();
        self.asked = self.sent.sent();
    }

    /// The peer acknowledges; what it has taken goes to `taken`, oldest first.
    pub(crate) fn acknowledged(
        &mut self,
        h: u32,
        now: Instant,
        taken: &mut Vec<T>,
    ) -> Result<(), AckError> {
        self.sent.acknowledge(h, taken)?;
        self.heard = now;
        Ok(())
    }

    /// What to tell a peer that asks.
    pub(crate) fn ack(&self) -> Nonza {
        Nonza::Ack {
            h: self.received.ack(),
        }
    }

    /// Whether more stanzas may come.
    pub(crate) fn may_read(&self) -> bool {
        !self.received.is_full()
    }

    /// A stanza came. `None` where it was not asked whether it may.
    pub(crate) fn receive(&self) -> Option<Unsettled> {
        self.received.receive().ok()
    }

    /// When there may be something to say.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let waits = !self.sent.is_empty() || self.received.unsettled() > 0;
        waits.then_some(self.look)
    }

    /// What there is to say without a question.
    pub(crate) fn look(&mut self, now: Instant) -> Result<Vec<Nonza>, Silent> {
        self.look = now + EVERY;
        if !self.sent.is_empty() && now.duration_since(self.heard) >= SILENT {
            return Err(Silent);
        }
        let mut says = Vec::new();
        if !self.sent.is_empty() && self.asked < self.sent.sent() {
            self.ask();
            says.push(Nonza::Request);
        }
        says.extend(self.received.news().map(|h| Nonza::Ack { h }));
        Ok(says)
    }

    /// The same where it is much, after something was read.
    pub(crate) fn much(&self) -> Option<Nonza> {
        self.received.much_news().map(|h| Nonza::Ack { h })
    }

    /// What was sent and is not acknowledged, oldest first.
    pub(crate) fn unacknowledged(self) -> impl ExactSizeIterator<Item = T> {
        self.sent.into_unacknowledged()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const H: fn(u32) -> Nonza = |h| Nonza::Ack { h };

    #[test]
    fn it_asks_in_the_middle_and_after_a_pause_and_takes_what_is_acknowledged() {
        let start = Instant::now();
        let mut acks = Acks::new(8, 1_000, start);
        assert_eq!(acks.deadline(), None);
        for n in 1..=3 {
            acks.sent(n, 10, start).unwrap();
        }
        assert!(acks.asks() && !acks.asks(), "once for a quarter");
        acks.sent(4, 10, start).unwrap();
        let later = acks.deadline().unwrap();
        assert_eq!(acks.look(later).unwrap(), [Nonza::Request]);
        assert_eq!(acks.look(later + EVERY).unwrap(), []);
        let mut taken = Vec::new();
        acks.acknowledged(3, later, &mut taken).unwrap();
        assert_eq!(taken, [1, 2, 3]);
        assert!(acks.acknowledged(5, later, &mut taken).is_err());
        assert!(acks.look(later + SILENT / 2).is_ok());
        assert!(acks.look(later + SILENT).is_err(), "the fourth never");
        assert_eq!(acks.unacknowledged().collect::<Vec<_>>(), [4]);
    }

    #[test]
    fn it_holds_back_where_too_much_is_on_the_way() {
        let now = Instant::now();
        let mut acks = Acks::new(2, 1_000, now);
        acks.sent('a', 600, now).unwrap();
        assert!(!acks.has_room(600) && acks.has_room(400));
        acks.sent('b', 400, now).unwrap();
        assert_eq!(acks.sent('c', 1, now), Err('c'));
    }

    #[test]
    fn it_tells_what_is_settled_when_asked_and_after_a_pause() {
        let now = Instant::now();
        let mut acks = Acks::<()>::new(8, 1_000, now);
        let (first, second) = (acks.receive(), acks.receive());
        assert_eq!(acks.ack(), H(0));
        drop(first);
        assert_eq!(acks.much(), None);
        let later = acks.deadline().unwrap();
        assert_eq!(acks.look(later).unwrap(), [H(1)]);
        assert_eq!(acks.look(later + EVERY).unwrap(), []);
        drop(second);
        assert_eq!(acks.ack(), H(2));
        assert_eq!(acks.deadline(), None);
    }
}
