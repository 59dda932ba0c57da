//! A queue of stanzas with a bound in stanzas and in bytes, between the router and a lane or a component link.
//!
//! The account of the sender that caused a stanza pays for it, too. At either bound the sender decides: a lane bounces
//! the stanza, a component link pauses the stream that it came from.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use crate::protocol::budget::Account;
use crate::protocol::lane::release;
use crate::protocol::stanza::Stanza;

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
pub(crate) struct Sender(Arc<Channel>);

/// The end of the lane or the link. A queue that it is gone from takes no more.
#[derive(Debug)]
pub(crate) struct Receiver(Arc<Channel>);

/// Why a stanza was not taken; it comes back.
#[derive(Debug)]
pub(crate) enum Rejected {
    /// The bound is reached.
    Full(Stanza),
    /// The paying account is at its memory limit now.
    Unpaid(Stanza),
    /// The receiver is gone.
    Gone(Stanza),
}

/// The task to wake when a stanza came. One task may wait for many queues, and a queue may pass to another task.
#[derive(Debug, Default)]
pub(crate) struct Wake(ArcSwap<Notify>);

impl Wake {
    /// Wakes what waits, or what waits next.
    pub(crate) fn wake(&self) {
        self.0.load().notify_one();
    }

    /// From now on this is woken; it is at once, since something may be there already.
    pub(crate) fn goes_to(&self, notify: Arc<Notify>) {
        notify.notify_one();
        self.0.store(notify);
        self.wake();
    }
}

/// Not a channel of tokio's: that has room for 32 stanzas before one is there, and most lanes hold one.
#[derive(Debug)]
struct Channel {
    waiting: Mutex<Waiting>,
    came: Arc<Wake>,
    load: Load,
}

#[derive(Debug, Default)]
struct Waiting {
    stanzas: VecDeque<Stanza>,
    is_closed: bool,
}

#[derive(Debug)]
struct Load {
    stanzas: AtomicUsize,
    bytes: AtomicUsize,
    bound: Bound,
    room: Notify,
}

/// A queue. What bounds it is the load, until the stanza has *left* its receiver.
pub(crate) fn bounded(bound: Bound) -> (Sender, Receiver) {
    bounded_waking(bound, Arc::default())
}

/// The same, for a task that waits for more than this.
pub(crate) fn bounded_waking(bound: Bound, came: Arc<Wake>) -> (Sender, Receiver) {
    let shared = Arc::new(Channel {
        waiting: Mutex::default(),
        came,
        load: Load {
            stanzas: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            bound,
            room: Notify::new(),
        },
    });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

impl Channel {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It comes back where the receiver is gone.
    fn push(&self, stanza: Stanza) -> Result<(), Stanza> {
        let mut waiting = self.waiting();
        if waiting.is_closed {
            return Err(stanza);
        }
        self.load.take(stanza.size());
        waiting.stanzas.push_back(stanza);
        drop(waiting);
        self.came.wake();
        Ok(())
    }

    fn is_closed(&self) -> bool {
        self.waiting().is_closed
    }
}

impl Sender {
    /// Gives a stanza that this account pays for, or has it back. One that is paid for already stays so.
    pub(crate) fn send(&self, stanza: Stanza, payer: &Account) -> Result<(), Rejected> {
        if !self.0.load.has_room() {
            return Err(Rejected::Full(stanza));
        }
        let stanza = stanza.kept_by(payer).map_err(Rejected::Unpaid)?;
        self.0.push(stanza).map_err(Rejected::Gone)
    }

    /// Gives a stanza that is paid for, even above the bound: the caller has asked for room. The stanza comes back if
    /// the receiver is gone.
    pub(crate) fn force(&self, stanza: Stanza) -> Result<(), Stanza> {
        self.0.push(stanza)
    }

    /// Whether there is room at this time.
    pub(crate) fn has_room(&self) -> bool {
        self.0.load.has_room() || self.0.is_closed()
    }

    /// How many stanzas wait in it and beyond.
    pub(crate) fn waiting(&self) -> usize {
        self.0.load.stanzas.load(Ordering::Acquire)
    }

    /// How many bytes they are.
    pub(crate) fn bytes(&self) -> usize {
        self.0.load.bytes.load(Ordering::Acquire)
    }

    /// Waits until something left the queue. Another sender may take the room first: try, and wait again.
    pub(crate) async fn room(&self) {
        let room = self.0.load.room.notified();
        if !self.has_room() {
            room.await;
        }
    }

    /// Whether it is empty and all its stanzas have left the receiver, too.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting() == 0
    }

    /// Whether both ends belong to the same queue.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Receiver {
    /// Waits for stanzas, takes at most `most`; 0 once the queue is closed and empty. Safe to drop.
    pub(crate) async fn receive(&mut self, into: &mut Vec<Stanza>, most: usize) -> usize {
        loop {
            let count = self.take(into, most);
            if count > 0 || self.0.is_closed() {
                return count;
            }
            // One that comes meanwhile is noted.
            let came = self.0.came.0.load_full();
            came.notified().await;
        }
    }

    /// Takes the stanzas that are there, at most `most`.
    pub(crate) fn take(&mut self, into: &mut Vec<Stanza>, most: usize) -> usize {
        let mut waiting = self.0.waiting();
        let count = waiting.stanzas.len().min(most);
        into.extend(waiting.stanzas.drain(..count));
        release(&mut waiting.stanzas);
        count
    }

    /// A stanza, if one is there.
    pub(crate) fn try_receive(&mut self) -> Option<Stanza> {
        self.0.waiting().stanzas.pop_front()
    }

    /// A stanza of this size came another way; it counts in the load even above the bound.
    pub(crate) fn adopt(&self, size: usize) {
        self.0.load.take(size);
    }

    /// A stanza of this size has left for good.
    pub(crate) fn settled(&self, size: usize) {
        self.0.load.give(size);
    }

    /// Whether it is empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.waiting().stanzas.is_empty()
    }

    /// Takes no more; the stanzas in it can still be received.
    pub(crate) fn close(&mut self) {
        self.0.waiting().is_closed = true;
        // Tasks that wait for room have to look for another queue.
        self.0.load.room.notify_waiters();
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.close();
        // The account pays no longer for the stanzas that are left.
        let left = std::mem::take(&mut self.0.waiting().stanzas);
        drop(left);
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
