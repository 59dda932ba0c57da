//! Where a lane goes: to the other server's own stream, where that takes our stanzas too (XEP-0288), or else to a task that makes
//! streams.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Busy, Joining, Lanes, NewTask, QueuedLane};
use crate::protocol::negotiate::{DomainPair, Snapshot};

impl Busy {
    /// Has a task serve the lane. If that is to be a new one, who asked for it starts it.
    pub(super) fn assign(
        &mut self,
        snapshot: &Snapshot,
        mut lane: Box<QueuedLane>,
    ) -> Option<NewTask> {
        if let Some(carrier) = self.carriers.get(&lane.pair) {
            carrier.give(lane);
            return None;
        }
        // A peer chooses where our own answers go, so their lanes do not share a stream with the lanes of others.
        let remote = &lane.pair.remote;
        let shares = !lane.signs.only_answers() && snapshot.policy(remote).multiplex;
        let most = snapshot.config.limits.pairs_per_stream;
        let task = self.tasks.get(remote);
        match task.filter(|task| shares && task.count.load(Ordering::Relaxed) < most) {
            Some(task) => {
                task.give(lane);
                None
            }
            None => {
                let joining = Joining::with(&mut lane);
                if shares {
                    let remote = lane.pair.remote.clone();
                    self.tasks.insert(remote, Arc::clone(&joining));
                }
                Some(NewTask { lane, joining })
            }
        }
    }
}

impl Lanes {
    /// From now on the lane of this pair goes to this task, which has a stream of the other server's. If there is one, its task
    /// sees to that.
    pub(crate) fn carry(&self, pair: &DomainPair, joining: &Arc<Joining>) {
        let mut busy = self.lock();
        busy.carriers.insert(pair.clone(), Arc::clone(joining));
        if let Some(handle) = busy.lanes.get(pair) {
            handle.signs.wake.wake();
        }
    }

    /// No more lanes go to this task.
    pub(crate) fn carry_no_more(&self, pairs: &[DomainPair], joining: &Arc<Joining>) {
        let mut busy = self.lock();
        for pair in pairs {
            let carrier = busy.carriers.get(pair);
            if carrier.is_some_and(|carrier| Arc::ptr_eq(carrier, joining)) {
                busy.carriers.remove(pair);
            }
        }
    }

    /// Whether a stream of the other server's takes stanzas of this pair.
    pub(crate) fn is_carried(&self, pair: &DomainPair) -> bool {
        self.lock().carriers.contains_key(pair)
    }

    /// A lane lost its stream, or can have another, and is to go on.
    pub(crate) fn goes_on(&self, snapshot: &Snapshot, lane: Box<QueuedLane>) -> Option<NewTask> {
        self.lock().assign(snapshot, lane)
    }
}
