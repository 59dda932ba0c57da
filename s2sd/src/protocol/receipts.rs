//! Who wants to know what became of the stanzas that it sent (XEP-0198): each carries a receipt until it is delivered,
//! bounced, dropped or stored.
//!
//! Pure.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use xmpp_stream::stream_management::{
    Receipt, ReceiveLimits, ReceiveWindow, Received, TooManyUnsettled,
};

/// What one stream received, and how much of it is settled.
#[derive(Clone, Debug)]
pub(crate) struct Receipts(Arc<Mutex<ReceiveWindow>>);

/// One stanza is not settled yet. It is when this is dropped, with the stanza.
#[derive(Debug)]
pub(crate) struct Unsettled {
    receipts: Receipts,
    receipt: Option<Receipt>,
}

impl Receipts {
    /// Nothing was received.
    pub(crate) fn new(limits: ReceiveLimits) -> Self {
        Self(Arc::new(Mutex::new(ReceiveWindow::new(limits))))
    }

    fn lock(&self) -> MutexGuard<'_, ReceiveWindow> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stanza came.
    pub(crate) fn receive(&self) -> Result<Unsettled, TooManyUnsettled> {
        let receipt = match self.lock().receive()? {
            Received::New(receipt) => Some(receipt),
            // The stream was never resumed.
            Received::Repeated => None,
        };
        Ok(Unsettled {
            receipts: self.clone(),
            receipt,
        })
    }

    /// Whether no more may come before some are settled.
    pub(crate) fn is_full(&self) -> bool {
        self.lock().is_full()
    }

    /// How many are not settled.
    pub(crate) fn unsettled(&self) -> usize {
        self.lock().unsettled()
    }

    /// What to tell the peer now, if it knows less.
    pub(crate) fn news(&self) -> Option<u32> {
        let mut window = self.lock();
        window.is_behind().then(|| window.ack())
    }

    /// The same if it is much.
    pub(crate) fn much_news(&self) -> Option<u32> {
        let mut window = self.lock();
        window.wants_ack().then(|| window.ack())
    }

    /// What to tell the peer that asks.
    pub(crate) fn ack(&self) -> u32 {
        self.lock().ack()
    }
}

impl Drop for Unsettled {
    fn drop(&mut self) {
        if let Some(receipt) = self.receipt.take() {
            self.receipts.lock().settle(receipt);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_is_settled_and_told_without_gaps() {
        let receipts = Receipts::new(ReceiveLimits::new(3).with_ack_every(2));
        let mut all: Vec<_> = (0..3).map(|_| receipts.receive().ok()).collect();
        assert!(receipts.is_full() && receipts.receive().is_err());
        assert_eq!((receipts.news(), receipts.ack()), (None, 0));
        all[1] = None;
        assert_eq!((receipts.news(), receipts.unsettled()), (None, 3));
        all[0] = None;
        assert!(!receipts.is_full());
        assert_eq!(receipts.much_news(), Some(2));
        assert_eq!((receipts.news(), receipts.ack()), (None, 2));
        drop(all);
        assert_eq!(receipts.much_news(), None);
        assert_eq!((receipts.news(), receipts.unsettled()), (Some(3), 0));
    }
}
