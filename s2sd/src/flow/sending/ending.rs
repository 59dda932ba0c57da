//! The end of a stream that lanes sent by: what was written, what goes on by the next, and whose stanza is to blame.

use std::time::{Duration, Instant};

use tracing::{field::Empty, warn};

use super::writing::own_stanza;
use super::{Leaving, Sending, Writing};
use crate::closed::{By, Cause, Closed};
use crate::flow::shared::OsRandom;
use crate::net::conn::Conn;
use crate::protocol::acks::Acks;
use crate::protocol::lane::{Broke, LaneEvent, Waiting};
use crate::protocol::stanza::Stanza;

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
            acks,
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
        let mut acks = acks;
        let taken = unwritten.settle(now, written, patience, |leaving, _| {
            suspects.took(now, leaving.waiting.stanza.element());
            let size = leaving.waiting.stanza.size();
            let settled = match &mut acks {
                Some(acks) => acks.sent(leaving, size, now).err(),
                None => Some(leaving),
            };
            if let Some(leaving) = settled {
                lanes.settled(&leaving);
            }
        });
        conn.counters().stanzas_out(taken);
        let broke = matches!(closed.cause, Cause::Lost(_) | Cause::Timeout(_));
        let counts = acks.is_some();
        let unknown = match broke && !counts {
            true => unwritten.unknown(now, patience),
            false => 0,
        };
        // Where we ended the stream and nothing is wrong with it, what the socket took arrives.
        let is_well = matches!(
            closed.cause,
            Cause::Idle | Cause::Shutdown | Cause::Operator | Cause::Finished
        );
        let arrives = closed.by == By::Us && is_well;
        let (arrived, mut again): (Vec<Leaving>, Vec<Leaving>) = acks
            .into_iter()
            .flat_map(Acks::unacknowledged)
            .partition(|_| arrives);
        arrived.iter().for_each(|leaving| lanes.settled(leaving));
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
            // It is not sent again.
            let is_it = |leaving: &Leaving| is_same(&leaving.waiting.stanza, &stanza);
            let sent = again.iter().position(is_it);
            if let Some(nth) = sent {
                lanes.settled(&again.remove(nth));
            }
            // What is acknowledged is not what the stream ended over.
            if sent.is_some() || !counts {
                let error = Cause::from(blame).stanza_error();
                self.router.bounce(&stanza, &error, conn.payer());
            }
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
        self.back_to_lanes(&closed.cause, again, unwritten.take().collect(), begun);
    }

    /// `again`: what was sent before, and may have arrived.
    fn back_to_lanes(
        &mut self,
        cause: &Cause,
        again: Vec<Leaving>,
        unwritten: Vec<Leaving>,
        begun: Option<Broke>,
    ) {
        let first = unwritten.first().and_then(|first| first.place);
        // The first in its lane is blamed: that is another where something goes again.
        let begun = begun.filter(|_| again.iter().all(|leaving| leaving.place != first));
        let again = again.into_iter().map(|leaving| Leaving {
            waiting: leaving.waiting.may_have_arrived(),
            ..leaving
        });
        let mut left: Vec<Vec<Waiting>> = Vec::new();
        left.resize_with(self.lanes.places(), Vec::new);
        for one in again.chain(unwritten) {
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

/// Whether the stub stands for this stanza.
fn is_same(stanza: &Stanza, stub: &Stanza) -> bool {
    let [a, b] = [stanza, stub].map(Stanza::element);
    (stanza.stanza_kind(), a.id(), a.from(), a.to())
        == (stub.stanza_kind(), b.id(), b.from(), b.to())
}
