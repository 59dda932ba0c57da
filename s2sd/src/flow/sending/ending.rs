//! The end of a stream that lanes sent by: what was written, what goes on by the next, and whose stanza is to blame.

use std::time::{Duration, Instant};

use tracing::{field::Empty, warn};

use super::writing::own_stanza;
use super::{Leaving, Sending, Writing};
use crate::closed::{Cause, Closed};
use crate::flow::shared::OsRandom;
use crate::net::conn::Conn;
use crate::protocol::lane::{Broke, LaneEvent, Waiting};

impl Sending {
    /// The stream is gone. What it had not written goes back to the head of its lanes, oldest first.
    pub(crate) fn ended(
        &mut self,
        writing: Writing,
        conn: &Conn,
        closed: &Closed,
        patience: Duration,
    ) {
        let Writing {
            mut unwritten,
            carried,
            mut suspects,
            cut,
            ..
        } = writing;
        let written = conn.written();
        for lane in self.lanes.iter().filter(|lane| lane.lane.is_up()) {
            lane.signs.set_up(false);
            self.router.lanes().works(&lane.pair);
        }
        let now = Instant::now();
        let lanes = &mut self.lanes;
        let taken = unwritten.settle(now, written, patience, |leaving, _| {
            let stanza = leaving.waiting.stanza;
            if let Some(lane) = leaving.place.and_then(|place| lanes.get_mut(place)) {
                lane.settled(stanza.size());
            }
            suspects.took(now, stanza.element());
        });
        conn.counters().stanzas_out(taken);
        let broke = matches!(closed.cause, Cause::Lost(_) | Cause::Timeout(_));
        let unknown = match broke {
            true => unwritten.unknown(now, patience),
            false => 0,
        };
        let is_begun = unwritten.is_begun(written);
        let begun = is_begun.then_some(match closed.cause {
            Cause::Finished => Broke::Closed,
            Cause::Lost(_) if cut => Broke::Closed,
            _ => Broke::Off,
        });
        if let Some(blame) = closed.cause.blames_a_stanza()
            && let Some(stub) = suspects.blamed(now, &blame, is_begun)
            && let Some(stanza) = own_stanza(stub)
            && !carried.was_answered(stanza.element())
        {
            let error = Cause::from(blame).stanza_error();
            self.router.bounce(&stanza, &error, conn.payer());
        }
        if unknown > 0 {
            self.router.tally().unknown_fate(unknown);
            warn!(
                proved = Empty,
                unknown,
                seconds = patience.as_secs(),
                "the connection broke: what was sent last may not have arrived, {unknown} stanzas at most"
            );
        }
        self.back_to_lanes(&closed.cause, unwritten.take().collect(), begun);
    }

    fn back_to_lanes(&mut self, cause: &Cause, unwritten: Vec<Leaving>, begun: Option<Broke>) {
        let first = unwritten.first().and_then(|first| first.place);
        let mut left: Vec<Vec<Waiting>> = Vec::new();
        left.resize_with(self.lanes.places(), Vec::new);
        for one in unwritten {
            let its = one.place.and_then(|place| left.get_mut(place));
            if let Some(its) = its {
                its.push(one.waiting);
            }
        }
        for (place, unwritten) in left.into_iter().enumerate() {
            let Some(lane) = self.lanes.get_mut(place) else {
                continue;
            };
            lane.leaving = 0;
            // What was given up while some of it was being written has that come back, too.
            if lane.lane.is_up() || !unwritten.is_empty() {
                let event = LaneEvent::Ended {
                    cause: cause.clone(),
                    unwritten,
                    begun: begun.filter(|_| first == Some(place)),
                    random: OsRandom::next_u32(),
                };
                self.tell(place, event);
            }
        }
    }
}
