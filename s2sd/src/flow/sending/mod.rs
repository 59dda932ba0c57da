//! The sending half of a stream: the lanes that a task serves, and what of them is in the buffer of its connection.
//!
//! Who has a connection and knows what the peer takes can send with it: the task that makes streams for its lanes
//! ([`flow::stream`](crate::flow::stream)), and the task of a stream that the other server opened and that carries both
//! directions ([`Carrying`]).

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tracing::debug;

use crate::closed::{Cause, Returned};
use crate::flow::lanes::{Joining, NewTask, QueuedLane, Returning};
use crate::flow::router::Router;
use crate::flow::sessions::Entry;
use crate::net::conn::Conn;
use crate::protocol::lane::LaneEvent;
use crate::protocol::suspects;

mod acks;
mod carrying;
mod ending;
mod giving_back;
mod lanes;
mod writing;

pub(crate) use acks::Miscounted;
pub(crate) use carrying::Carrying;
pub(crate) use lanes::{TaskLanes, WAITS_FOR_ANOTHER};
use writing::Leaving;
pub(crate) use writing::Writing;

/// At most so many stanzas move from the queue to the lane at once.
const BATCH: usize = 256;

/// The lanes of a task.
pub(crate) struct Sending {
    router: Arc<Router>,
    pub(crate) lanes: TaskLanes,
    /// Where further lanes come from.
    pub(crate) joining: Arc<Joining>,
    /// What the lanes wait for that have something to give back, by their places.
    rooms: JoinSet<usize>,
}

/// What the lanes want.
pub(crate) enum Wanted {
    /// Something is in a queue, or a lane was told something, or there is a new one.
    Attention,
    /// There is room for what the lane in this place gives back.
    Room(usize),
}

impl Sending {
    /// For the lanes that come this way.
    pub(crate) fn new(router: Arc<Router>, joining: Arc<Joining>) -> Self {
        Self {
            router,
            lanes: TaskLanes::default(),
            joining,
            rooms: JoinSet::new(),
        }
    }

    /// Waits until the lanes want something. Safe to drop.
    pub(crate) async fn wanted(&mut self) -> Wanted {
        tokio::select! {
            () = self.joining.notify.notified() => Wanted::Attention,
            Some(Ok(place)) = self.rooms.join_next() => Wanted::Room(place),
        }
    }

    /// What came in the queues goes to the lanes: the bound of a queue is the load, not the place. The places of those lanes that
    /// are let go of, and of which nothing is done. `retried` hears of each that tries again.
    pub(crate) fn attend(
        &mut self,
        writing: Option<&Writing>,
        mut retried: impl FnMut(usize),
    ) -> Vec<usize> {
        let (mut let_go, mut batch) = (Vec::new(), Vec::new());
        for place in 0..self.lanes.places() {
            let Some(lane) = self.lanes.get_mut(place) else {
                continue;
            };
            if lane.signs.is_let_go() {
                let_go.push(place);
                continue;
            }
            if lane.signs.is_alive() {
                lane.handle(LaneEvent::PeerAlive);
            }
            if lane.signs.is_to_retry() {
                retried(place);
                lane.handle(LaneEvent::Retry);
            }
            while lane.queue.take(&mut batch, BATCH) > 0 {
                for stanza in batch.drain(..) {
                    lane.handle(LaneEvent::Stanza(stanza));
                }
            }
            lane.signs.report(|| {
                let leaving = writing.into_iter().flat_map(|writing| writing.of(place));
                lane.lane.report(Instant::now(), leaving)
            });
            self.give_back(place);
        }
        let_go
    }

    /// There is room for what a lane gives back.
    pub(crate) fn room(&mut self, place: usize) {
        if let Some(lane) = self.lanes.get_mut(place) {
            lane.waits_for_room = false;
        }
        self.give_back(place);
    }

    pub(crate) fn give_back(&mut self, place: usize) {
        let Some(lane) = self.lanes.get_mut(place) else {
            return;
        };
        if let Some(wait) = lane.give_back(&self.router) {
            self.rooms.spawn(async move {
                wait.room().await;
                place
            });
        }
    }

    /// One event for a lane, and what follows from it.
    pub(crate) fn tell(&mut self, place: usize, event: LaneEvent) {
        if let Some(lane) = self.lanes.get_mut(place) {
            lane.handle(event);
            self.give_back(place);
        }
    }

    /// One for each lane.
    pub(crate) fn tell_all(&mut self, event: impl Fn() -> LaneEvent) {
        for place in 0..self.lanes.places() {
            self.tell(place, event());
        }
    }

    /// The pair of this lane is proved on the stream with this entry.
    pub(crate) fn is_up(&mut self, place: usize, entry: &Entry) {
        let Some(lane) = self.lanes.get_mut(place) else {
            return;
        };
        lane.asked = None;
        lane.signs.set_up(true);
        entry.serves(&lane.pair);
        self.router.lanes().works(&lane.pair);
        self.router.lanes().reached(&lane.pair.remote);
        self.tell(place, LaneEvent::Connected);
    }

    /// Moves stanzas from the lanes into the connection's buffer while it has room. `most` is the largest that the peer takes.
    pub(crate) fn write(&mut self, writing: &mut Writing, conn: &mut Conn, most: Option<u64>) {
        let mut too_big_for_peer = Vec::new();
        while conn.has_room() {
            let Some((place, waiting)) = self.lanes.pop() else {
                break;
            };
            let size = waiting.stanza.size();
            let lane = self.lanes.get_mut(place);
            if let Some(most) = most.filter(|most| size as u64 > *most) {
                let error = Arc::new(Returned::PeerLimit { size, most }.stanza_error());
                let is_again = waiting.is_again();
                let stanza = waiting.stanza;
                if let Some(lane) = lane {
                    match is_again {
                        // An earlier stream took it: it may have arrived.
                        true => lane.is_unknown(&stanza),
                        false => lane.returning.push_back(Returning { stanza, error }),
                    }
                    too_big_for_peer.push(place);
                }
                continue;
            }
            if let Some(lane) = lane {
                lane.leaving += 1;
            }
            writing.write(conn, place, waiting);
        }
        for place in too_big_for_peer {
            self.give_back(place);
        }
    }

    /// Stanzas that the socket took have left this server: without XEP-0198, best effort ends here.
    pub(crate) fn settle(&mut self, writing: &mut Writing, conn: &Conn, patience: Duration) {
        let now = Instant::now();
        let (lanes, suspects) = (&mut self.lanes, &mut writing.suspects);
        let (unwritten, acks) = (&mut writing.unwritten, &mut writing.acks);
        let taken = unwritten.settle(now, conn.written(), patience, |leaving, is_last| {
            let stanza = &leaving.waiting.stanza;
            if is_last || suspects::is_large(stanza.element()) {
                suspects.took(now, stanza.element());
            }
            let size = stanza.size();
            let settled = match acks {
                Some(acks) => acks.sent(leaving, size, now).err(),
                None => Some(leaving),
            };
            if let Some(leaving) = settled {
                lanes.settled(&leaving);
            }
        });
        conn.counters().stanzas_out(taken);
    }

    /// Since when something of a lane has been waiting: in it, or before its bytes in the stream.
    fn oldest(writing: Option<&Writing>, lane: &QueuedLane) -> Option<Instant> {
        let writing = writing.filter(|_| lane.leaving > 0);
        let first = writing.and_then(|writing| writing.unwritten.first());
        let written = first.map(|first| first.waiting.since());
        written.or_else(|| lane.lane.oldest())
    }

    /// Another lane has the place of this one, in which nothing waits, or only what may be lost. The stream is the others', and
    /// what it has begun to write stays whole.
    pub(crate) fn let_go(&mut self, place: usize, writing: Option<&mut Writing>) {
        if let Some(writing) = writing {
            writing.forget(place);
        }
        if let Some(mut lane) = self.remove(place) {
            while let Some(stanza) = lane.queue.try_receive() {
                lane.handle(LaneEvent::Stanza(stanza));
            }
            lane.handle(LaneEvent::GiveUp(Cause::Idle));
            lane.give_back(&self.router);
            lane.drop_the_rest(&self.router);
        }
    }

    /// Takes a lane out of the task.
    pub(crate) fn remove(&mut self, place: usize) -> Option<Box<QueuedLane>> {
        let lane = self.lanes.take(place)?;
        self.joining.left();
        Some(lane)
    }

    /// The lane gets a stream of its own, by a task of its own.
    pub(crate) fn goes_alone(&mut self, place: usize) {
        let Some(mut lane) = self.remove(place) else {
            return;
        };
        debug!(local = %lane.pair.local, "this pair has a stream of its own");
        let joining = Joining::with(&mut lane);
        self.router.open_lane(NewTask { lane, joining });
    }

    /// The lane goes where it can go on: to a stream of the other server's, or to a task that makes one.
    pub(crate) fn goes_on(&mut self, place: usize) {
        let Some(lane) = self.remove(place) else {
            return;
        };
        let snapshot = self.router.shared().snapshot();
        if let Some(task) = self.router.lanes().goes_on(&snapshot, lane) {
            self.router.open_lane(task);
        }
    }

    /// Lets go of the lanes for which there is nothing to do, and says whether none is left.
    pub(crate) fn is_over(&mut self, writing: Option<&Writing>) -> bool {
        for place in 0..self.lanes.places() {
            let Some(lane) = self.lanes.get(place) else {
                continue;
            };
            lane.signs.is_failing(lane.lane.is_failing());
            lane.signs.set_oldest(Self::oldest(writing, lane));
            if !lane.is_over() {
                continue;
            }
            let lanes = self.router.lanes();
            if lanes.forget(&lane.pair, &lane.signs, &lane.queue) {
                self.remove(place);
            }
        }
        self.lanes.len() == 0
    }

    /// There is no time any more for what is still to be given back.
    pub(crate) fn drop_the_rest(&mut self) {
        for place in 0..self.lanes.places() {
            if let Some(lane) = self.lanes.get_mut(place) {
                lane.drop_the_rest(&self.router);
            }
        }
    }
}
