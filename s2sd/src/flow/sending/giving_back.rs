//! What a lane gives up goes back to its senders, as fast as they have room for it.

use std::sync::Arc;

use tracing::{field::Empty, warn};

use crate::flow::lanes::{QueuedLane, Returning};
use crate::flow::router::{Router, Wait};
use crate::protocol::lane::release;

impl QueuedLane {
    /// Gives back what is given up, as far as there is room for it. The lane does not stop for that: whose component does
    /// not read keeps what is its own, here and in the bounds. What to wait for, where there is no room.
    pub(super) fn give_back(&mut self, router: &Arc<Router>) -> Option<Wait> {
        let unknown = std::mem::take(&mut self.unknown);
        if unknown > 0 {
            router.tally().unknown_fate(unknown);
            warn!(proved = Empty, unknown, remote = %self.pair.remote, "given up: {unknown} stanzas that may have arrived");
        }
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

    /// There is no time for it any more.
    pub(super) fn drop_the_rest(&mut self, router: &Arc<Router>) {
        for Returning { stanza, .. } in self.returning.drain(..) {
            self.queue.settled(stanza.size());
            router.not_returned(&stanza);
        }
    }
}
