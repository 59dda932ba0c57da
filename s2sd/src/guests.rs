//! How many connections there may be: in all, and of one address as long as nobody has proved anything on them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A permit that counts the connection until it ends, and another until it is authenticated.
pub(crate) struct Admission {
    _total: Ticket,
    unauthenticated: Option<Ticket>,
}

impl Admission {
    /// From now on it counts among the known.
    pub(crate) fn authenticated(&mut self) {
        self.unauthenticated = None;
    }
}

/// The connections of one kind that there are.
#[derive(Debug, Default)]
pub(crate) struct Guests {
    total: Arc<AtomicUsize>,
    unauthenticated: Mutex<HashMap<IpAddr, Arc<AtomicUsize>>>,
}

/// Counts one connection until it is dropped.
#[derive(Debug)]
struct Ticket(Arc<AtomicUsize>);

impl Ticket {
    fn take(count: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        count
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| {
                (now < most).then_some(now + 1)
            })
            .ok()?;
        Some(Self(Arc::clone(count)))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Guests {
    /// Admits a connection, or says which bound it is over.
    pub(crate) fn admit(
        &self,
        address: IpAddr,
        most: usize,
        most_per_address: usize,
    ) -> Result<Admission, &'static str> {
        let total = Ticket::take(&self.total, most).ok_or("too many connections")?;
        let mut strangers = self
            .unauthenticated
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Addresses that nobody holds a ticket of are forgotten, so the map is bounded by the connections.
        if strangers.len() > 1024 {
            strangers.retain(|_, count| count.load(Ordering::Acquire) > 0);
        }
        let count = Arc::clone(strangers.entry(address).or_default());
        drop(strangers);
        let unauthenticated = Ticket::take(&count, most_per_address)
            .ok_or("too many unauthenticated connections from this address")?;
        Ok(Admission {
            _total: total,
            unauthenticated: Some(unauthenticated),
        })
    }
}
