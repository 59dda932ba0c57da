//! The receiver's half: what was received, and how much of it is handled (XEP-0198 §4, §5).

use std::collections::VecDeque;

use super::error::TooManyUnsettled;
use super::limits::ReceiveLimits;

/// How much room an empty window keeps.
const KEPT_CAPACITY: usize = 64;

/// What was received. Stanzas are settled in any order; acknowledged is only the longest part without gaps.
///
/// *Settled* is what §4 calls handled: delivered, answered by an error, or stored, so that losing this program does not
/// lose the stanza.
///
/// ```
/// use xmpp_stream::stream_management::{ReceiveLimits, ReceiveWindow, Received};
///
/// let mut window = ReceiveWindow::new(ReceiveLimits::new(100));
/// let Received::New(first) = window.receive()? else { panic!() };
/// let Received::New(second) = window.receive()? else { panic!() };
/// window.settle(second);
/// assert_eq!(window.ack(), 0, "the first may still be lost");
///
/// // The connection breaks, and the peer resumes the stream. It sends both again; both are here already.
/// assert_eq!(window.resume(), 0);
/// assert_eq!(window.receive()?, Received::Repeated);
/// assert_eq!(window.receive()?, Received::Repeated);
/// window.settle(first);
/// assert_eq!(window.ack(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ReceiveWindow {
    limits: ReceiveLimits,
    /// All stanzas up to this one are settled. These numbers do not wrap as `h` does.
    settled: u64,
    /// Those after it that were received: is it settled? The first is not.
    after: VecDeque<bool>,
    /// The last stanza that came on this connection. After a resumption it is one that was received before.
    arrived: u64,
    /// What the peer was told last.
    told: u64,
}

/// What came.
#[derive(PartialEq, Eq, Debug)]
#[must_use = "a receipt that is not settled holds back all acknowledgements after it"]
pub enum Received {
    /// A new stanza.
    New(Receipt),
    /// A stanza that came on the connection before, and that is still on its way here. Drop this one.
    Repeated,
}

/// Goes with a stanza until it is settled. It belongs to the window that made it, and to no other.
///
/// If it is dropped, its stanza is never acknowledged.
#[derive(PartialEq, Eq, Debug)]
#[must_use = "a receipt that is not settled holds back all acknowledgements after it"]
pub struct Receipt {
    number: u64,
}

impl ReceiveWindow {
    /// Nothing was received. It begins when `<enable/>` or `<enabled/>` has been received (§4).
    pub fn new(limits: ReceiveLimits) -> Self {
        Self::starting_at(limits, 0)
    }

    /// So many stanzas were received and settled before: where the count was kept elsewhere.
    pub fn starting_at(limits: ReceiveLimits, count: u64) -> Self {
        Self {
            limits,
            settled: count,
            after: VecDeque::new(),
            arrived: count,
            told: count,
        }
    }

    /// A stanza came: of any kind, and nothing but a stanza (§1).
    pub fn receive(&mut self) -> Result<Received, TooManyUnsettled> {
        if self.arrived < self.received() {
            self.arrived += 1;
            return Ok(Received::Repeated);
        }
        if self.is_full() {
            return Err(TooManyUnsettled::new(self.limits.unsettled()));
        }
        self.after.push_back(false);
        self.arrived += 1;
        Ok(Received::New(Receipt {
            number: self.arrived,
        }))
    }

    /// The stanza of this receipt was delivered, answered by an error, or stored.
    pub fn settle(&mut self, receipt: Receipt) {
        let place = receipt
            .number
            .checked_sub(self.settled + 1)
            .and_then(|place| usize::try_from(place).ok());
        if let Some(settled) = place.and_then(|place| self.after.get_mut(place)) {
            *settled = true;
        }
        while self.after.front() == Some(&true) {
            self.after.pop_front();
            self.settled += 1;
        }
        if self.after.is_empty() {
            self.after.shrink_to(KEPT_CAPACITY);
        }
    }

    /// The count for an `<a/>` that is sent now: as the answer to `<r/>`, which must be sent whatever the count (§4), where
    /// [`wants_ack`](Self::wants_ack), or before the stream is closed.
    #[must_use]
    pub fn ack(&mut self) -> u32 {
        self.told = self.handled();
        self.told as u32
    }

    /// The stream is resumed: the count for `<resume/>` or `<resumed/>`. The peer will send all after it again, in
    /// order (§5), and of those that are not settled we know already: they are [`Received::Repeated`].
    #[must_use]
    pub fn resume(&mut self) -> u32 {
        self.arrived = self.settled;
        self.ack()
    }

    /// Is it time for an `<a/>` that was not asked for? After [`ack_every`](ReceiveLimits::ack_every) stanzas.
    pub fn wants_ack(&self) -> bool {
        self.handled() - self.told >= u64::from(self.limits.ack_every())
    }

    /// Does the peer not know yet of all that is settled?
    pub fn is_behind(&self) -> bool {
        self.handled() > self.told
    }

    /// How many stanzas are handled in all, without gaps.
    ///
    /// After a resumption not those that the peer has still to repeat: it could leave them out, and its count would no
    /// longer be ours.
    pub fn handled(&self) -> u64 {
        self.settled.min(self.arrived)
    }

    /// How many stanzas were received in all.
    pub fn received(&self) -> u64 {
        self.settled + self.after.len() as u64
    }

    /// How many stanzas there are from the first that is not settled. Each takes a byte.
    pub fn unsettled(&self) -> usize {
        self.after.len()
    }

    /// Read nothing more before something is settled.
    pub fn is_full(&self) -> bool {
        self.after.len() >= self.limits.unsettled() as usize
    }
}
