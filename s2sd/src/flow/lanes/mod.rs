//! The lanes, and which of them go when there are as many as there may be.
//!
//! A lane is opened for a stanza to a domain that has none. The lanes of our components may take most of the places,
//! those of one component not all. Any peer can cause our own answers and bounces, so these take part of the other
//! half: a lane is opened for one as long as half of the places are free, and its cause has a share of that half,
//! sixteen at most. When there is no place, a lane with nothing but our own answers goes, or else the one that has been
//! at rest for longest.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::{debug, warn};
use xmpp_stream::Domain;

mod carriers;
mod queued;
mod report;
mod unreachable;
mod worked;

pub(crate) use self::queued::{QueuedLane, Returning};
use self::report::Asked;
pub(crate) use self::report::LaneFacts;
use self::unreachable::{Failed, Sum, Unreachable};
use self::worked::Worked;
use crate::net::queue::{self, Bound, Receiver, Rejected, Sender, Wake};
use crate::protocol::budget::{Account, Budget, Charge, Share};
use crate::protocol::lane::Backoff;
use crate::protocol::negotiate::{DomainPair, Snapshot};
use crate::protocol::stanza::Stanza;

/// The lanes that have a task: those with stanzas, a stream, or a failure to remember.
#[derive(Debug)]
pub(crate) struct Lanes {
    busy: Mutex<Busy>,
    unreachable: Mutex<Unreachable>,
    worked: Mutex<Worked>,
}

#[derive(Debug)]
struct Busy {
    lanes: HashMap<DomainPair, Handle>,
    /// For each remote domain, the task that takes further lanes to it, so that they share its stream.
    tasks: HashMap<Domain, Arc<Joining>>,
    /// Streams that the other server opened and that take our stanzas, too: where the lanes of these pairs go.
    carriers: HashMap<DomainPair, Arc<Joining>>,
    /// All places.
    places: Budget,
    /// Those that our own answers may open.
    answers: Budget,
    /// No lane could be let go of, for an answer or for another: until then none is looked for.
    none_idle: [Option<Instant>; 2],
}

/// Where a task takes further lanes.
#[derive(Debug, Default)]
pub(crate) struct Joining {
    /// Wakes the task.
    pub(crate) notify: Arc<Notify>,
    /// There are some that it has not taken yet.
    any: AtomicBool,
    lanes: Mutex<VecDeque<Box<QueuedLane>>>,
    /// How many it has.
    count: AtomicUsize,
}

impl Joining {
    /// For a task, and this is the first of its lanes.
    pub(crate) fn with(lane: &mut QueuedLane) -> Arc<Self> {
        let this = Arc::new(Self::default());
        this.count.store(1, Ordering::Relaxed);
        lane.goes_to(Arc::clone(&this.notify));
        this
    }

    fn give(&self, mut lane: Box<QueuedLane>) {
        lane.goes_to(Arc::clone(&self.notify));
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.push_back(lane);
        self.count.fetch_add(1, Ordering::Relaxed);
        self.any.store(true, Ordering::Release);
        self.notify.notify_one();
    }

    /// Those that came since this was asked last.
    pub(crate) fn take(&self) -> VecDeque<Box<QueuedLane>> {
        if !self.any.load(Ordering::Acquire) {
            return VecDeque::new();
        }
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        self.any.store(false, Ordering::Relaxed);
        std::mem::take(&mut lanes)
    }

    /// The task has one less.
    pub(crate) fn left(&self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Handle {
    sender: Sender,
    signs: Arc<Signs>,
    used: Instant,
    place: Charge,
    _answer: Option<Charge>,
    _memory: Charge,
}

/// The first lane of a task. The caller that wanted it starts the task.
#[derive(Debug)]
pub(crate) struct NewTask {
    pub(crate) lane: Box<QueuedLane>,
    pub(crate) joining: Arc<Joining>,
}

/// Signals from outside to a lane's task.
#[derive(Debug)]
pub(crate) struct Signs {
    alive: AtomicBool,
    retry: AtomicBool,
    let_go: AtomicBool,
    wake: Arc<Wake>,
    failing: AtomicBool,
    only_answers: AtomicBool,
    /// It has a stream.
    up: AtomicBool,
    /// For operators.
    asked: Asked,
}

impl Signs {
    fn new(wake: Arc<Wake>, only_answers: bool, now: Instant) -> Self {
        Self {
            alive: AtomicBool::new(false),
            retry: AtomicBool::new(false),
            let_go: AtomicBool::new(false),
            wake,
            failing: AtomicBool::new(false),
            only_answers: AtomicBool::new(only_answers),
            up: AtomicBool::new(false),
            asked: Asked::new(now),
        }
    }

    fn tell(&self, sign: &AtomicBool) {
        sign.store(true, Ordering::Release);
        self.wake.wake();
    }

    /// The remote domain connected to us, since this was asked last.
    pub(crate) fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Relaxed) && self.alive.swap(false, Ordering::Acquire)
    }

    /// What failed counts no more, since this was asked last.
    pub(crate) fn is_to_retry(&self) -> bool {
        self.retry.load(Ordering::Relaxed) && self.retry.swap(false, Ordering::Acquire)
    }

    /// Another lane has its place now.
    pub(crate) fn is_let_go(&self) -> bool {
        self.let_go.load(Ordering::Acquire)
    }

    /// Whether it does not get through at this time.
    pub(crate) fn is_failing(&self, failing: bool) {
        self.failing.store(failing, Ordering::Relaxed);
    }

    /// Whether only our own answers and bounces ever went this way.
    pub(crate) fn only_answers(&self) -> bool {
        self.only_answers.load(Ordering::Relaxed)
    }

    /// It has a stream, or has none any more.
    pub(crate) fn set_up(&self, up: bool) {
        self.up.store(up, Ordering::Relaxed);
    }
}

/// The cause of our own answers may have so much of the places for them,
const CAUSING: Share = Share(1, 2);
/// and no more than so many, since each is a connection to where they say.
const EACH: usize = 16;
/// A component may have so much of all places: four fifths, if it is the only one,
const COMPONENTS: Share = Share(16, 1);
/// and never more than this part, also where others are at rest.
const MAX_SHARE: Share = Share(4, 5);
/// A lane without a new stanza for so long is at rest, if none waits in it.
const REST: Duration = Duration::from_secs(1);
/// A lane costs its task, besides what waits and the connection.
const MEMORY: usize = 4 * 1024;
/// So long no lane is looked for that can go, when there was none.
const RECHECK: Duration = Duration::from_millis(100);

const FULL: &str = "the queue for this domain is full";
/// What a sender hears that has as much of the memory already as it may.
pub(crate) const NO_MEMORY: &str = "this server has no more memory for what waits because of you";
const TOO_MANY: &str = "this server is busy with as many other domains as it may be";

impl Lanes {
    /// So many at most.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            busy: Mutex::new(Busy {
                lanes: HashMap::new(),
                tasks: HashMap::new(),
                carriers: HashMap::new(),
                places: Budget::new(most, CAUSING, COMPONENTS),
                answers: Budget::new(most.div_ceil(2), CAUSING, CAUSING),
                none_idle: [None; 2],
            }),
            unreachable: Mutex::default(),
            worked: Mutex::default(),
        }
    }

    /// Queues a stanza for a pair, and wakes or makes its lane. `own`: it is an answer of ours that `payer` caused. A
    /// stanza without room comes back, with what is full.
    pub(crate) fn send(
        &self,
        snapshot: &Snapshot,
        pair: DomainPair,
        stanza: Stanza,
        own: bool,
        payer: &Account,
    ) -> Result<Option<NewTask>, (Stanza, &'static str)> {
        let mut busy = self.lock();
        let now = Instant::now();
        let stanza = match busy.lanes.get_mut(&pair) {
            None => stanza,
            Some(handle) => {
                if !own {
                    handle.used = now;
                    handle.signs.only_answers.store(false, Ordering::Relaxed);
                }
                match handle.sender.send(stanza, payer) {
                    Ok(()) => return Ok(None),
                    Err(Rejected::Full(stanza)) => return Err((stanza, FULL)),
                    Err(Rejected::Unpaid(stanza)) => return Err((stanza, NO_MEMORY)),
                    Err(Rejected::Gone(stanza)) => {
                        busy.lanes.remove(&pair);
                        stanza
                    }
                }
            }
        };
        let limits = &snapshot.config.queue;
        busy.places.set_total(limits.lanes);
        busy.answers.set_total(limits.lanes.div_ceil(2));
        let Some(memory) = payer.take(MEMORY) else {
            return Err((stanza, NO_MEMORY));
        };
        let Some((place, answer)) = busy.place(payer, own, now) else {
            return Err((stanza, TOO_MANY));
        };
        let wake = Arc::new(Wake::default());
        let bound = Bound {
            stanzas: limits.stanzas,
            bytes: limits.bytes,
        };
        let (sender, receiver) = queue::bounded_waking(bound, Arc::clone(&wake));
        match sender.send(stanza, payer) {
            Ok(()) => {}
            Err(Rejected::Unpaid(stanza)) => return Err((stanza, NO_MEMORY)),
            Err(Rejected::Full(stanza) | Rejected::Gone(stanza)) => return Err((stanza, FULL)),
        }
        let signs = Arc::new(Signs::new(Arc::clone(&wake), own, now));
        let backoff = Backoff {
            give_up: limits.give_up,
            first: limits.backoff.first,
            max: limits.backoff.max,
        };
        let lane = QueuedLane::new(pair.clone(), receiver, Arc::clone(&signs), backoff);
        let new = busy.assign(snapshot, Box::new(lane));
        let handle = Handle {
            sender,
            signs,
            used: now,
            place,
            _answer: answer,
            _memory: memory,
        };
        busy.lanes.insert(pair, handle);
        Ok(new)
    }

    /// Whether an answer of ours, which costs so much while it waits, has room in the lane of the pair, or in a new
    /// one, as far as we can know without making either.
    pub(crate) fn has_room(&self, pair: &DomainPair, cost: usize, payer: &Account) -> bool {
        let busy = self.lock();
        match busy.lanes.get(pair) {
            Some(handle) => handle.sender.has_room() && payer.has_room(cost),
            None => payer.has_room(MEMORY + cost),
        }
    }

    /// Has the lanes to these domains forget why they failed, and try again at once what waits. Those that failed.
    pub(crate) fn retry(&self, is_meant: impl Fn(&Domain) -> bool) -> Vec<DomainPair> {
        let busy = self.lock();
        let lanes = busy.lanes.iter();
        let lanes = lanes.filter(|(pair, _)| is_meant(&pair.remote));
        lanes
            .filter_map(|(pair, handle)| {
                handle.signs.tell(&handle.signs.retry);
                let failing = handle.signs.failing.load(Ordering::Relaxed);
                failing.then(|| pair.clone())
            })
            .collect()
    }

    /// The remote domain connected to us.
    pub(crate) fn peer_alive(&self, pair: &DomainPair) {
        if let Some(handle) = self.lock().lanes.get(pair) {
            handle.signs.tell(&handle.signs.alive);
        }
    }

    /// A task wants to end: it takes no more lanes, unless there are some that it has not taken yet.
    pub(crate) fn takes_no_more(&self, remote: &Domain, joining: &Arc<Joining>) -> bool {
        let busy = &mut *self.lock();
        if !busy
            .tasks
            .get(remote)
            .is_some_and(|task| Arc::ptr_eq(task, joining))
        {
            return !joining.any.load(Ordering::Acquire);
        }
        let ends = !joining.any.load(Ordering::Acquire);
        if ends {
            busy.tasks.remove(remote);
        }
        ends
    }

    /// Forgets a lane whose task wants to end, unless a stanza came meanwhile.
    pub(crate) fn forget(
        &self,
        pair: &DomainPair,
        signs: &Arc<Signs>,
        receiver: &Receiver,
    ) -> bool {
        let lanes = &mut self.lock().lanes;
        let is_ours = |handle: &Handle| Arc::ptr_eq(&handle.signs, signs);
        if !lanes.get(pair).is_some_and(is_ours) {
            return true;
        }
        let ends = receiver.is_empty();
        if ends {
            lanes.remove(pair);
        }
        ends
    }

    /// An attempt to reach a domain failed. Whether there is a line about this one; the others are summed up.
    pub(crate) fn failed(self: &Arc<Self>, remote: &Domain, cause: &'static str) -> bool {
        let mut unreachable = self.unreachable();
        let Failed { says, begins } = unreachable.failed(Instant::now(), remote, cause);
        drop(unreachable);
        if begins {
            tokio::spawn(sum_up(Arc::downgrade(self)));
        }
        says
    }

    /// There is a stream to it.
    pub(crate) fn reached(&self, remote: &Domain) {
        self.unreachable().reached(remote);
    }

    /// The pair has a stream, or had one until now.
    pub(crate) fn works(&self, pair: &DomainPair) {
        self.worked().note(Instant::now(), pair);
    }

    /// Whether it had one within hours.
    pub(crate) fn has_worked(&self, pair: &DomainPair) -> bool {
        self.worked().knows(Instant::now(), pair)
    }

    fn worked(&self) -> MutexGuard<'_, Worked> {
        self.worked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unreachable(&self) -> MutexGuard<'_, Unreachable> {
        self.unreachable
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// How many stanzas wait in all of them, or are being written.
    pub(crate) fn waiting(&self) -> usize {
        let busy = self.lock();
        busy.lanes
            .values()
            .map(|handle| handle.sender.waiting())
            .sum()
    }

    /// How many lanes have a task.
    pub(crate) fn len(&self) -> usize {
        self.lock().lanes.len()
    }

    fn lock(&self) -> MutexGuard<'_, Busy> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn sum_up(lanes: Weak<Lanes>) {
    loop {
        sleep(unreachable::SUMMARY).await;
        let Some(lanes) = lanes.upgrade() else {
            return;
        };
        let sum = lanes.unreachable().sum(Instant::now());
        let Some(Sum { domains, attempts }) = sum else {
            return;
        };
        if attempts > 0 {
            let waiting = lanes.waiting();
            warn!(
                domains,
                attempts, waiting, "servers that cannot be reached: more attempts failed"
            );
        }
        if domains == 0 {
            return;
        }
    }
}

impl Busy {
    /// A place for a lane: a free one, or else that of a lane that can be done without.
    fn place(
        &mut self,
        payer: &Account,
        own: bool,
        now: Instant,
    ) -> Option<(Charge, Option<Charge>)> {
        let payer = payer.owner().clone();
        let place = self.places.account(payer.clone());
        if !own {
            if let Some(taken) = place.take(1) {
                return Some((taken, None));
            }
            // In the place of another one: of anybody's, or of its own if it has most of them.
            let has_most = place.used() >= MAX_SHARE.of_all(self.places.total());
            self.let_go(own, now, |handle| {
                !has_most || handle.place.account().is_same(&place)
            })?;
            return Some((place.force(1), None));
        }
        let answer = self.answers.account(payer);
        let may = |busy: &Self| {
            busy.places.used() < busy.answers.total() && answer.used() < EACH && answer.has_room(1)
        };
        if !may(self) {
            // Only in the place of another answer of the same cause.
            self.let_go(own, now, |handle| {
                handle.signs.only_answers()
                    && handle.sender.is_idle()
                    && handle.place.account().is_same(&place)
            })?;
        }
        if !may(self) {
            return None;
        }
        Some((place.force(1), Some(answer.force(1))))
    }

    /// Ends the lane that can best be done without, of those that may go. Its task closes the stream.
    fn let_go(&mut self, own: bool, now: Instant, may_go: impl Fn(&Handle) -> bool) -> Option<()> {
        let none_idle = &mut self.none_idle[usize::from(own)];
        if none_idle.is_some_and(|until| now < until) {
            return None;
        }
        let rank = |handle: &Handle| {
            let rests = handle.sender.is_idle() && handle.used + REST <= now;
            let only_answers = handle.signs.only_answers();
            let can = (rests || only_answers) && may_go(handle);
            // A lane without a stream costs least.
            let up = handle.signs.up.load(Ordering::Relaxed);
            can.then_some((!only_answers, !rests, up, handle.used))
        };
        let lanes = self.lanes.iter();
        let ranked = lanes.filter_map(|(pair, handle)| Some((rank(handle)?, pair)));
        let Some((_, pair)) = ranked.min_by_key(|(rank, _)| *rank) else {
            *none_idle = Some(now + RECHECK);
            return None;
        };
        let pair = pair.clone();
        let handle = self.lanes.remove(&pair)?;
        debug!(local = %pair.local, remote = %pair.remote, "a lane is let go of: another needs its place");
        handle.signs.tell(&handle.signs.let_go);
        Some(())
    }
}
