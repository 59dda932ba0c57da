//! A total, and how much of it each owner may have: bytes of memory, places for lanes.
//!
//! An owner may have a share of what is free, and the less is free, the smaller the share: `share * free * free /
//! total`. So one owner alone gets much and many get less each. However many owners fill their shares, one after the
//! other, about a fixed part of the total stays free for the next. (Compare dynamic thresholds, Choudhury and Hahne
//! 1998, with a constant share: there each owner leaves a fixed part of what the one before it left, which is soon
//! nothing.)
//!
//! An attacker cannot have many owners: the domains of one registration are one owner, and so are the addresses of one
//! network.
//!
//! Pure: counts that are shared, no clock and no waiting.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use xmpp_stream::Domain;

use crate::network::Network;

/// A part of the free amount.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share(pub(crate) usize, pub(crate) usize);

impl Share {
    /// This part of something.
    pub(crate) fn of_all(self, total: usize) -> usize {
        total.saturating_mul(self.0).div_ceil(self.1)
    }

    /// At most so much for one owner, of so much that is free of the total. At least one, where there is one.
    fn of(self, free: usize, total: usize) -> usize {
        let [part, whole, free, total] = [self.0, self.1, free, total].map(|n| n as u128);
        let most = (free * free * part).div_ceil((total * whole).max(1));
        usize::try_from(most).unwrap_or(usize::MAX)
    }
}

/// An owner of a share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Owner {
    /// Remote domains, by their registered name.
    Peer(Box<str>),
    /// The component of a served domain.
    Component(Domain),
    /// Unauthenticated peers, by the network they come from.
    Network(Network),
}

impl Owner {
    /// A remote domain, and all others of the same registration.
    pub(crate) fn peer(domain: &Domain) -> Self {
        Self::Peer(registration(domain).into())
    }

    /// A peer at this address.
    pub(crate) fn at(address: IpAddr) -> Self {
        Self::Network(Network::site(address))
    }
}

/// The budget.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<Whole>);

#[derive(Debug)]
struct Whole {
    total: AtomicUsize,
    used: AtomicUsize,
    peers: Share,
    components: Share,
    nodes: Mutex<Nodes>,
}

#[derive(Debug, Default)]
struct Nodes {
    known: HashMap<Owner, Weak<Node>>,
    /// Those without an account are looked for when there are so many.
    look: usize,
}

#[derive(Debug)]
struct Node {
    owner: Owner,
    used: AtomicUsize,
    share: Share,
}

/// What one owner has.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    whole: Arc<Whole>,
    node: Arc<Node>,
}

/// Something that was taken from an account. It is given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    account: Account,
    amount: usize,
}

/// Accounts are looked through for unused ones from here on.
const SWEEP_FROM: usize = 256;

impl Budget {
    /// So much in all. Peers and networks have the share `peers`, components `components`.
    pub(crate) fn new(total: usize, peers: Share, components: Share) -> Self {
        Self(Arc::new(Whole {
            total: AtomicUsize::new(total),
            used: AtomicUsize::new(0),
            peers,
            components,
            nodes: Mutex::default(),
        }))
    }

    /// Changes the total. Charges stay.
    pub(crate) fn set_total(&self, total: usize) {
        self.0.total.store(total, Ordering::Relaxed);
    }

    /// How much there is in all.
    pub(crate) fn total(&self) -> usize {
        self.0.total.load(Ordering::Relaxed)
    }

    /// How much is taken.
    pub(crate) fn used(&self) -> usize {
        self.0.used.load(Ordering::Acquire)
    }

    /// The account of an owner; all open accounts of one owner are the same.
    pub(crate) fn account(&self, owner: Owner) -> Account {
        let mut nodes = self.0.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let share = match &owner {
            Owner::Peer(_) | Owner::Network(_) => self.0.peers,
            Owner::Component(_) => self.0.components,
        };
        Account {
            whole: Arc::clone(&self.0),
            node: nodes.node(owner, share),
        }
    }
}

impl Nodes {
    fn node(&mut self, owner: Owner, share: Share) -> Arc<Node> {
        if let Some(node) = self.known.get(&owner).and_then(Weak::upgrade) {
            return node;
        }
        if self.known.len() >= self.look.max(SWEEP_FROM) {
            self.known.retain(|_, node| node.strong_count() > 0);
            self.known.shrink_to(self.known.len() * 2);
            self.look = self.known.len() * 2;
        }
        let node = Arc::new(Node {
            owner: owner.clone(),
            used: AtomicUsize::new(0),
            share,
        });
        self.known.insert(owner, Arc::downgrade(&node));
        node
    }
}

impl Account {
    /// Its owner.
    pub(crate) fn owner(&self) -> &Owner {
        &self.node.owner
    }

    /// How much its owner has.
    pub(crate) fn used(&self) -> usize {
        self.node.used.load(Ordering::Acquire)
    }

    /// Whether this owner may have so much more now.
    pub(crate) fn has_room(&self, more: usize) -> bool {
        let total = self.whole.total.load(Ordering::Relaxed);
        let taken = self.whole.used.load(Ordering::Acquire);
        let Some(left) = total.saturating_sub(taken).checked_sub(more) else {
            return false;
        };
        // As it would be then, without the last one, which any owner may have.
        let most = self.node.share.of(left + 1, total);
        self.used().saturating_add(more) <= most
    }

    /// Takes an amount, if the owner may have it. Two tasks that take at the same time may both succeed where one
    /// should.
    pub(crate) fn take(&self, amount: usize) -> Option<Charge> {
        self.has_room(amount).then(|| self.force(amount))
    }

    /// Takes something that is there whether the owner may have it or not.
    pub(crate) fn force(&self, amount: usize) -> Charge {
        self.add(amount);
        Charge {
            account: self.clone(),
            amount,
        }
    }

    /// Whether both have the same owner.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.node, &other.node)
    }

    fn add(&self, amount: usize) {
        self.whole.used.fetch_add(amount, Ordering::AcqRel);
        self.node.used.fetch_add(amount, Ordering::AcqRel);
    }

    fn sub(&self, amount: usize) {
        self.whole.used.fetch_sub(amount, Ordering::AcqRel);
        self.node.used.fetch_sub(amount, Ordering::AcqRel);
    }
}

impl Charge {
    /// The account that it is charged to.
    pub(crate) fn account(&self) -> &Account {
        &self.account
    }

    /// Whether [`Charge::resize`] would do it.
    pub(crate) fn may_be(&self, amount: usize) -> bool {
        amount <= self.amount || self.account.has_room(amount - self.amount)
    }

    /// Makes it more or less. `false`: the owner may not have so much more, and it stays as it was.
    pub(crate) fn resize(&mut self, amount: usize) -> bool {
        let may = self.may_be(amount);
        if may {
            self.force(amount);
        }
        may
    }

    /// Sets it to what is there already, without a check.
    pub(crate) fn force(&mut self, amount: usize) {
        if amount > self.amount {
            self.account.add(amount - self.amount);
        } else if amount < self.amount {
            self.account.sub(self.amount - amount);
        }
        self.amount = amount;
    }

    /// Another owner pays for it, if it may have so much.
    pub(crate) fn pass_to(&mut self, account: &Account) -> bool {
        let Some(charge) = account.take(self.amount) else {
            return false;
        };
        *self = charge;
        true
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.account.sub(self.amount);
    }
}

/// Names that registries of countries sell names below. Where one is missing, the domains below it have one share
/// together; where one is too many, its owner has as many shares as it makes names.
const BELOW: [&str; 11] = [
    "ac", "co", "com", "edu", "gob", "gov", "ne", "net", "nom", "or", "org",
];

/// The name that was registered for this domain, as far as the name tells: the last two labels, or three as in
/// `example.co.uk`. An address is its own registration.
pub(crate) fn registration(domain: &Domain) -> &str {
    let name = domain.ascii();
    if domain.is_ip() {
        return name;
    }
    let mut labels = name.rsplit('.');
    let (top, second) = (labels.next().unwrap_or(""), labels.next().unwrap_or(""));
    let count = if top.len() == 2 && BELOW.contains(&second) {
        3
    } else {
        2
    };
    let starts = name.rmatch_indices('.').map(|(dot, _)| dot + 1);
    let start = starts.take(count).nth(count - 1).unwrap_or(0);
    name.get(start..).unwrap_or(name)
}

#[cfg(test)]
mod tests;
