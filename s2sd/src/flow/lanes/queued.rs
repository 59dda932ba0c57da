//! A lane with its queue, as it goes from the task that serves it to another.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Notify;
use xmpp_stream::StanzaError;

use super::Signs;
use crate::closed::Cause;
use crate::net::queue::Receiver;
use crate::protocol::lane::{Backoff, Lane, LaneEffect, LaneEvent};
use crate::protocol::negotiate::DomainPair;
use crate::protocol::stanza::Stanza;

/// A lane, with its queue and what goes back to its senders.
#[derive(Debug)]
pub(crate) struct QueuedLane {
    pub(crate) pair: DomainPair,
    pub(crate) queue: Receiver,
    pub(crate) signs: Arc<Signs>,
    pub(crate) lane: Lane,
    /// Since when the peer has been asked to let this pair use the open stream, too.
    pub(crate) asked: Option<Instant>,
    /// Since when it waits for the stream that is made for another pair.
    pub(crate) waits: Option<Instant>,
    /// So many are in the stream's buffer.
    pub(crate) leaving: usize,
    /// What goes back to its senders, as fast as they have room for it: it keeps its place in the queue's bound.
    pub(crate) returning: VecDeque<Returning>,
    /// So many were given up that may have arrived, and are still to be counted.
    pub(crate) unknown: u64,
    /// There is no room for the first of these.
    pub(crate) waits_for_room: bool,
}

/// A stanza that is given up, and the error for its sender.
#[derive(Debug)]
pub(crate) struct Returning {
    pub(crate) stanza: Stanza,
    pub(crate) error: Arc<StanzaError>,
}

impl QueuedLane {
    /// A lane that was just made.
    pub(crate) fn new(
        pair: DomainPair,
        queue: Receiver,
        signs: Arc<Signs>,
        backoff: Backoff,
    ) -> Self {
        Self {
            pair,
            queue,
            signs,
            lane: Lane::new(backoff),
            asked: None,
            waits: None,
            leaving: 0,
            returning: VecDeque::new(),
            unknown: 0,
            waits_for_room: false,
        }
    }

    /// One event for the lane. Returns the stanzas that it gives up; the lane itself says whether it wants a stream.
    pub(crate) fn handle(&mut self, event: LaneEvent) {
        let mut effects = Vec::new();
        self.lane.handle(Instant::now(), event, &mut effects);
        // As a rule many come back for one cause.
        let mut last: Option<(Cause, Arc<StanzaError>)> = None;
        for effect in effects {
            match effect {
                LaneEffect::Connect => {}
                LaneEffect::Unknown(stanza) => self.is_unknown(&stanza),
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

    /// It goes to another task, which begins anew.
    pub(super) fn goes_to(&mut self, notify: Arc<Notify>) {
        (self.asked, self.waits) = (None, None);
        self.waits_for_room = false;
        self.signs.wake.goes_to(notify);
    }

    /// One is given up that may have arrived.
    pub(crate) fn is_unknown(&mut self, stanza: &Stanza) {
        self.unknown += 1;
        self.queue.settled(stanza.size());
    }

    /// The socket took one of this size whole.
    pub(crate) fn settled(&mut self, size: usize) {
        self.leaving = self.leaving.saturating_sub(1);
        self.queue.settled(size);
    }

    /// Whether there is no more work for it.
    pub(crate) fn is_over(&self) -> bool {
        self.lane.is_done() && self.returning.is_empty()
    }
}

#[cfg(test)]
impl QueuedLane {
    /// One into whose queue nothing comes.
    pub(crate) fn unqueued(pair: DomainPair) -> Self {
        use crate::net::queue::{Bound, Wake, bounded_waking};
        use std::time::Duration;
        let wake = Arc::new(Wake::default());
        let bound = Bound {
            stanzas: 1,
            bytes: 1,
        };
        let (_, queue) = bounded_waking(bound, Arc::clone(&wake));
        let signs = Arc::new(Signs::new(wake, false, Instant::now()));
        let backoff = Backoff {
            give_up: Duration::from_secs(60),
            first: Duration::from_secs(1),
            max: Duration::from_secs(1),
        };
        Self::new(pair, queue, signs, backoff)
    }
}
