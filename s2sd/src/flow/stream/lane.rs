//! A lane with its queue, whoever's stream serves it, and what goes back to the senders.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use xmpp_stream::StanzaError;

use crate::closed::Cause;
use crate::flow::lanes::{NewLane, Signs};
use crate::flow::router::{Router, Wait};
use crate::net::queue::Receiver;
use crate::protocol::lane::{Backoff, Lane, LaneEffect, LaneEvent, release};
use crate::protocol::negotiate::DomainPair;
use crate::protocol::stanza::Stanza;

/// A lane of the task.
pub(super) struct QueuedLane {
    pub(super) pair: DomainPair,
    pub(super) queue: Receiver,
    pub(super) signs: Arc<Signs>,
    pub(super) lane: Lane,
    /// Since when the peer is asked whether this pair may use the open stream, too.
    pub(super) asked: Option<Instant>,
    /// Since when it waits for the stream that is made for another pair.
    pub(super) waits: Option<Instant>,
    /// So many are in the stream's buffer.
    pub(super) leaving: usize,
    /// What goes back to its senders, as fast as they have room for it: it keeps its place in the queue's bound.
    pub(super) returning: VecDeque<Returning>,
    /// There is no room for the first of these.
    pub(super) waits_for_room: bool,
}

/// A stanza that is given up, and what its sender is told.
pub(super) struct Returning {
    pub(super) stanza: Stanza,
    pub(super) error: Arc<StanzaError>,
}

impl QueuedLane {
    pub(super) fn new(NewLane { pair, queue, signs }: NewLane, backoff: Backoff) -> Self {
        Self {
            pair,
            queue,
            signs,
            lane: Lane::new(backoff),
            asked: None,
            waits: None,
            leaving: 0,
            returning: VecDeque::new(),
            waits_for_room: false,
        }
    }

    /// One event for the lane. What it gives up is returned; whether it wants a stream, it says itself.
    pub(super) fn handle(&mut self, event: LaneEvent) {
        let mut effects = Vec::new();
        self.lane.handle(Instant::now(), event, &mut effects);
        // As a rule many come back for one cause.
        let mut last: Option<(Cause, Arc<StanzaError>)> = None;
        for effect in effects {
            match effect {
                LaneEffect::Connect => {}
                LaneEffect::Bounce(stanza, cause) => {
                    let known = last.take().filter(|(known, _)| *known == cause);
                    let (cause, error) = known.unwrap_or_else(|| {
                        let error = Arc::new(cause.stanza_error());
                        (cause, error)
                    });
                    self.returning.push_back(Returning {
                        stanza,
                        error: Arc::clone(&error),
                    });
                    last = Some((cause, error));
                }
            }
        }
        if !self.lane.wants_stream() {
            self.asked = None;
            self.waits = None;
        }
    }

    /// Gives back what is given up, as far as there is room for it. The lane does not stop for that: whose component does
    /// not read keeps what is its own, here and in the bounds. What to wait for, where there is no room.
    pub(super) fn give_back(&mut self, router: &Arc<Router>) -> Option<Wait> {
        if self.waits_for_room {
            return None;
        }
        while let Some(Returning { stanza, error }) = self.returning.pop_front() {
            let size = stanza.size();
            match router.give_back(stanza, &error) {
                Ok(()) => self.queue.settled(size),
                Err(undelivered) => {
                    let stanza = undelivered.stanza;
                    self.returning.push_front(Returning { stanza, error });
                    self.waits_for_room = true;
                    return Some(undelivered.wait_for);
                }
            }
        }
        release(&mut self.returning);
        None
    }

    /// The socket took one of this size whole.
    pub(super) fn settled(&mut self, size: usize) {
        self.leaving = self.leaving.saturating_sub(1);
        self.queue.settled(size);
    }

    /// There is no time for it any more.
    pub(super) fn drop_the_rest(&mut self, router: &Arc<Router>) {
        for Returning { stanza, .. } in self.returning.drain(..) {
            self.queue.settled(stanza.size());
            router.not_returned(&stanza);
        }
    }

    /// Whether there is nothing to do for it.
    pub(super) fn is_over(&self) -> bool {
        self.lane.is_done() && self.returning.is_empty()
    }
}
