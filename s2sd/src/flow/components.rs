//! The components that are attached, and what is kept for those that are away.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use xmpp_stream::Domain;

use crate::net::queue::Sender;
use crate::protocol::holding::{Bound, Held, Holding};
use crate::protocol::stanza::Stanza;
use crate::protocol::storable::is_storable;

/// An attached component.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    /// Its queue.
    sender: Sender,
    /// Cancelled when a newer connection takes the domain over.
    pub(crate) replaced: CancellationToken,
    successor: Arc<Mutex<Option<Successor>>>,
}

/// A newer connection, which waits for what the one before has left over, oldest first.
type Successor = oneshot::Sender<Vec<Stanza>>;

impl Link {
    /// A connection with this queue.
    pub(crate) fn new(sender: Sender) -> Self {
        Self {
            sender,
            replaced: CancellationToken::new(),
            successor: Arc::default(),
        }
    }
}

/// All components. No await happens under the lock.
#[derive(Debug, Default)]
pub(crate) struct Components(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    links: HashMap<Domain, Link>,
    /// For those that are not there.
    kept: HashMap<Domain, Kept>,
    /// Those that acknowledged on their last connection.
    acknowledging: HashSet<Domain>,
}

#[derive(Debug, Default)]
struct Kept {
    holding: Holding,
    /// Cancelled when the component is back.
    is_back: CancellationToken,
}

/// What became of a stanza for a component that was not there.
pub(crate) enum Keeping {
    /// It is kept. The first of them comes with what is cancelled when the component is back: who keeps it has to look when
    /// its time is over.
    Kept(Option<CancellationToken>),
    /// The component is back.
    Attached(Stanza),
    /// As much as may be is kept already.
    Full(Stanza),
}

/// What a connection begins with.
pub(crate) struct Beginning {
    /// What the connection before has left over, once it says so.
    pub(crate) left_over: Option<oneshot::Receiver<Vec<Stanza>>>,
    /// So many stanzas waited for the component; they are in its queue.
    pub(crate) kept: usize,
    /// The connection before acknowledged what it took.
    pub(crate) acknowledged: bool,
}

/// What happens to that which a connection leaves over.
pub(crate) struct Leaving {
    /// A newer connection has it.
    pub(crate) is_taken_over: bool,
    /// So much of it is kept until the component is back.
    pub(crate) kept: usize,
    /// As in [`Keeping::Kept`].
    pub(crate) first: Option<CancellationToken>,
    /// This goes back to its senders.
    pub(crate) back: Vec<Stanza>,
}

impl Components {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The queue of the component that is attached.
    pub(crate) fn queue_of(&self, domain: &Domain) -> Option<Sender> {
        let state = self.lock();
        state.links.get(domain).map(|link| link.sender.clone())
    }

    /// Attaches a component. The stanzas kept for it are in its queue before all others. An earlier connection for the
    /// domain has to go, and hands over its stanzas.
    pub(crate) fn attach(&self, domain: Domain, link: Link) -> Beginning {
        let mut state = self.lock();
        let mut beginning = Beginning {
            left_over: None,
            kept: 0,
            acknowledged: state.acknowledging.contains(&domain),
        };
        if let Some(mut kept) = state.kept.remove(&domain) {
            kept.is_back.cancel();
            let now = Instant::now();
            for held in kept.holding.take() {
                // Its receiver is there: it is the caller's.
                let _ = link.sender.force(held.delayed(now));
                beginning.kept += 1;
            }
        }
        if let Some(old) = state.links.insert(domain, link) {
            let (successor, left_over) = oneshot::channel();
            *old.successor.lock().unwrap_or_else(PoisonError::into_inner) = Some(successor);
            old.replaced.cancel();
            beginning.left_over = Some(left_over);
        }
        beginning
    }

    /// Whether a component that is attached acknowledges what it takes.
    pub(crate) fn acknowledges(&self, domain: &Domain, does: bool) {
        let mut state = self.lock();
        match does {
            true => state.acknowledging.insert(domain.clone()),
            false => state.acknowledging.remove(domain),
        };
    }

    /// Detaches a component, of which this is left over, oldest first: for the connection that took its place, or kept if
    /// it `keeps`.
    pub(crate) fn detach(
        &self,
        domain: &Domain,
        link: &Link,
        left: Vec<Stanza>,
        keeps: bool,
    ) -> Leaving {
        let mut leaving = Leaving {
            is_taken_over: false,
            kept: 0,
            first: None,
            back: left,
        };
        let mut state = self.lock();
        let is_ours = |now: &Link| now.sender.is_same(&link.sender);
        if state.links.get(domain).is_some_and(is_ours) {
            state.links.remove(domain);
        }
        // The new connection sets it before its own link is visible, so no connection takes the place of a link that is
        // gone.
        let successor = link.successor.lock();
        let successor = successor.unwrap_or_else(PoisonError::into_inner).take();
        if let Some(successor) = successor {
            match successor.send(std::mem::take(&mut leaving.back)) {
                Ok(()) => {
                    leaving.is_taken_over = true;
                    return leaving;
                }
                Err(back) => leaving.back = back,
            }
        }
        if keeps && !state.links.contains_key(domain) {
            let (now, clock) = (Instant::now(), SystemTime::now());
            let (kept, back) = leaving
                .back
                .into_iter()
                .partition::<Vec<_>, _>(|stanza| is_storable(stanza.element(), false));
            (leaving.back, leaving.kept) = (back, kept.len());
            if !kept.is_empty() {
                let (place, first) = state.place(domain.clone());
                let held = kept.into_iter();
                place.keep_first(held.map(|stanza| Held::new(stanza, now, clock)));
                leaving.first = first;
            }
        }
        leaving
    }

    /// Keeps a stanza for its component, if that is still away. It is paid for.
    pub(crate) fn keep(&self, stanza: Stanza, bound: Bound) -> Keeping {
        let mut state = self.lock();
        let domain = stanza.target().clone();
        if state.links.contains_key(&domain) {
            return Keeping::Attached(stanza);
        }
        let (holding, first) = state.place(domain);
        let held = Held::new(stanza, Instant::now(), SystemTime::now());
        match holding.keep(held, bound) {
            Ok(()) => Keeping::Kept(first),
            Err(stanza) => Keeping::Full(stanza),
        }
    }

    /// What was kept for so long now, and when the next has been. `None`: nothing is kept any more.
    pub(crate) fn expired(
        &self,
        domain: &Domain,
        hold: std::time::Duration,
    ) -> (Vec<Stanza>, Option<Instant>) {
        let mut state = self.lock();
        let Entry::Occupied(mut kept) = state.kept.entry(domain.clone()) else {
            return (Vec::new(), None);
        };
        let holding = &mut kept.get_mut().holding;
        let expired = holding.expired(Instant::now(), hold);
        let next = holding.deadline(hold);
        if next.is_none() {
            kept.remove();
        }
        (expired, next)
    }

    /// How many stanzas wait for components, or are being written, and their bytes.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let state = self.lock();
        let queues = state.links.values().map(|link| &link.sender);
        let queued = queues.map(|queue| (queue.waiting(), queue.bytes()));
        let kept = state.kept.values().map(|kept| kept.holding.load());
        queued.chain(kept).fold((0, 0), |(stanzas, bytes), more| {
            (stanzas + more.0, bytes + more.1)
        })
    }
}

impl State {
    /// Where it is kept, and what comes with the first of them.
    fn place(&mut self, domain: Domain) -> (&mut Holding, Option<CancellationToken>) {
        match self.kept.entry(domain) {
            Entry::Occupied(kept) => (&mut kept.into_mut().holding, None),
            Entry::Vacant(place) => {
                let kept = place.insert(Kept::default());
                (&mut kept.holding, Some(kept.is_back.clone()))
            }
        }
    }
}
