//! A queue of stanzas with a bound in stanzas and in bytes, between the router and a lane or a component link.
//!
//! What waits is paid for from the account of who caused it, too. What happens at either bound is the sender's choice: a
//! lane's is a bounce, a component's is a pause of the stream the stanza came from.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, mpsc};

use crate::budget::Account;
use crate::stanza::Stanza;

/// The bound.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    /// At most this many stanzas,
    pub(crate) stanzas: usize,
    /// and this many bytes.
    pub(crate) bytes: usize,
}

/// The router's end.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    stanzas: mpsc::UnboundedSender<Stanza>,
    load: Arc<Load>,
}

/// The end of the lane or the link.
#[derive(Debug)]
pub(crate) struct Receiver {
    stanzas: mpsc::UnboundedReceiver<Stanza>,
    load: Arc<Load>,
}

/// Why a stanza was not taken; it comes back.
#[derive(Debug)]
pub(crate) enum Rejected {
    /// The bound is reached.
    Full(Stanza),
    /// Who pays may have no more memory at this time.
    Unpaid(Stanza),
    /// The receiver is gone.
    Gone(Stanza),
}

#[derive(Debug)]
struct Load {
    stanzas: AtomicUsize,
    bytes: AtomicUsize,
    bound: Bound,
    room: Notify,
}

/// A queue. The channel itself is unbounded; the load is what bounds it, until the stanza has *left* its receiver.
pub(crate) fn bounded(bound: Bound) -> (Sender, Receiver) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let load = Load {
        stanzas: AtomicUsize::new(0),
        bytes: AtomicUsize::new(0),
        bound,
        room: Notify::new(),
    };
    let load = Arc::new(load);
    (
        Sender {
            stanzas: sender,
            load: Arc::clone(&load),
        },
        Receiver {
            stanzas: receiver,
            load,
        },
    )
}

impl Sender {
    /// Gives a stanza that this account pays for, or has it back. One that is paid for already stays so.
    pub(crate) fn send(&self, stanza: Stanza, payer: &Account) -> Result<(), Rejected> {
        let size = stanza.size();
        if !self.load.has_room() {
            return Err(Rejected::Full(stanza));
        }
        let stanza = match stanza.payer() {
            Some(_) => stanza,
            None => match payer.take(stanza.cost()) {
                // A stanza is a piece of the buffer it was read into and keeps all of that alive: copied out, it costs
                // what is paid for it.
                Some(charge) => stanza.compact().paid_by(charge),
                None => return Err(Rejected::Unpaid(stanza)),
            },
        };
        self.load.take(size);
        self.stanzas.send(stanza).map_err(|back| {
            self.load.give(size);
            Rejected::Gone(back.0)
        })
    }

    /// Gives a stanza that is paid for, whatever the bound: who calls this has asked for room. It comes back where the
    /// receiver is gone.
    pub(crate) fn force(&self, stanza: Stanza) -> Result<(), Stanza> {
        let size = stanza.size();
        self.load.take(size);
        self.stanzas.send(stanza).map_err(|back| {
            self.load.give(size);
            back.0
        })
    }

    /// Whether there is room at this time.
    pub(crate) fn has_room(&self) -> bool {
        self.load.has_room() || self.stanzas.is_closed()
    }

    /// How many stanzas wait in it and beyond.
    pub(crate) fn waiting(&self) -> usize {
        self.load.stanzas.load(Ordering::Acquire)
    }

    /// Waits until something left the queue. Another sender may take the room first: try, and wait again.
    pub(crate) async fn room(&self) {
        let room = self.load.room.notified();
        if self.has_room() {
            return;
        }
        tokio::select! {
            () = room => {}
            () = self.stanzas.closed() => {}
        }
    }

    /// Whether nothing waits in it or beyond it: all that was sent has left its receiver.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting() == 0
    }

    /// Whether both ends belong to the same queue.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.load, &other.load)
    }
}

impl Receiver {
    /// Waits for stanzas, takes at most `most`; 0 when all senders are gone.
    pub(crate) async fn receive(&mut self, into: &mut Vec<Stanza>, most: usize) -> usize {
        self.stanzas.recv_many(into, most).await
    }

    /// A stanza, if one is there.
    pub(crate) fn try_receive(&mut self) -> Option<Stanza> {
        self.stanzas.try_recv().ok()
    }

    /// A stanza of this size came another way, and is in the load whatever the bound.
    pub(crate) fn adopt(&self, size: usize) {
        self.load.take(size);
    }

    /// A stanza of this size has left for good.
    pub(crate) fn settled(&self, size: usize) {
        self.load.give(size);
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.stanzas.is_empty()
    }

    /// Takes no more; what is there can still be received.
    pub(crate) fn close(&mut self) {
        self.stanzas.close();
    }
}

impl Load {
    /// A single stanza larger than the bound still fits an empty queue: its own limit was checked where it came in.
    fn has_room(&self) -> bool {
        self.stanzas.load(Ordering::Acquire) < self.bound.stanzas
            && self.bytes.load(Ordering::Acquire) < self.bound.bytes
    }

    fn take(&self, size: usize) {
        self.bytes.fetch_add(size, Ordering::AcqRel);
        self.stanzas.fetch_add(1, Ordering::AcqRel);
    }

    fn give(&self, size: usize) {
        self.bytes.fetch_sub(size, Ordering::AcqRel);
        self.stanzas.fetch_sub(1, Ordering::AcqRel);
        self.room.notify_waiters();
    }
}
