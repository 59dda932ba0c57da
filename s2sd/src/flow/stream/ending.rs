//! The end of an open outgoing stream: what was written, what goes on by the next, and whose stanza is to blame.

use std::time::Instant;

use bytes::Bytes;
use tracing::{field::Empty, info, warn};
use xmpp_stream::{ContentNamespace, Context, Element};

use super::{LaneTask, Leaving, Stream};
use crate::closed::{By, Cause, Closed, OtherEnd};
use crate::flow::connector::CLOSE_TIMEOUT;
use crate::flow::shared::OsRandom;
use crate::net::conn::Conn;
use crate::protocol::carried::Carried;
use crate::protocol::lane::{Broke, LaneEvent, Waiting};
use crate::protocol::stanza::Stanza;
use crate::protocol::suspects::Suspects;
use crate::protocol::unwritten::Unwritten;

/// What is left of a stream when it is over.
pub(super) struct Remains {
    pub(super) unwritten: Unwritten<Leaving>,
    pub(super) carried: Carried,
    pub(super) suspects: Suspects,
    pub(super) cut: bool,
}

impl LaneTask {
    pub(super) async fn on_closed(&mut self, mut conn: Conn, remains: Remains, closed: Closed) {
        // Until the peer has read its way to the end: what the socket took counts as sent, and the next stream must not
        // overtake it. While the server stops, nobody is waited for longer than there is time.
        let within = match self.is_last_call {
            true => CLOSE_TIMEOUT.min(self.snapshot.config.limits.drain / 8),
            false => CLOSE_TIMEOUT,
        };
        conn.close(within).await;
        self.over(&conn, remains, closed);
    }

    /// Whoever reads nothing hears no last words either. What it has not taken goes on by another stream, or bounces in
    /// its time.
    pub(super) fn on_stalled(&mut self) {
        let limit = self.snapshot.config.limits.stall;
        let stalled = |stream: &mut Box<Stream>| {
            let written = stream.conn.written();
            stream.stall.is_over(Instant::now(), written, limit)
        };
        if let Some(stream) = self.stream.take_if(stalled) {
            let closed = Closed {
                by: By::Us,
                cause: Cause::Timeout("the other server reads nothing"),
            };
            stream.entry.ended(&closed);
            let remains = Remains {
                unwritten: stream.unwritten,
                carried: stream.carried,
                suspects: stream.suspects,
                cut: false,
            };
            self.over(&stream.conn, remains, closed);
        }
    }

    /// The stream is gone.
    fn over(&mut self, conn: &Conn, remains: Remains, closed: Closed) {
        let Remains {
            mut unwritten,
            carried,
            mut suspects,
            cut,
        } = remains;
        let written = conn.written();
        for lane in self.lanes.iter().filter(|lane| lane.lane.is_up()) {
            lane.signs.set_up(false);
            self.router.lanes().works(&lane.pair);
        }
        if let Some(judging) = self.judging.take() {
            judging.abort();
        }
        let (now, stall_limit) = (Instant::now(), self.snapshot.config.limits.stall);
        let lanes = &mut self.lanes;
        let taken = unwritten.settle(now, written, stall_limit, |leaving, _| {
            let stanza = leaving.waiting.stanza;
            if let Some(lane) = leaving.place.and_then(|place| lanes.get_mut(place)) {
                lane.settled(stanza.size());
            }
            suspects.took(now, stanza.element());
        });
        conn.counters().stanzas_out(taken);
        let broke = matches!(closed.cause, Cause::Lost(_) | Cause::Timeout(_));
        let unknown = match broke {
            true => unwritten.unknown(now, stall_limit),
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
        info!(
            proved = Empty,
            by = closed.by.name(OtherEnd::Server),
            cause = closed.cause.name(),
            "outgoing stream ended: {}",
            closed.told_of(OtherEnd::Server)
        );
        if unknown > 0 {
            self.router.tally().unknown_fate(unknown);
            warn!(
                proved = Empty,
                unknown,
                seconds = stall_limit.as_secs(),
                "the connection broke: what was sent last may not have arrived, {unknown} stanzas at most"
            );
        }
        self.back_to_lanes(closed, unwritten.take().collect(), begun);
    }

    /// What the stream had not written goes back to its lanes. Those whose pair the peer was still asked for try by a stream
    /// of their own, unless we ended this one: it may have been for the question.
    fn back_to_lanes(&mut self, closed: Closed, unwritten: Vec<Leaving>, begun: Option<Broke>) {
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
            if lane.lane.is_up() {
                let event = LaneEvent::Ended {
                    cause: closed.cause.clone(),
                    unwritten,
                    begun: begun.filter(|_| first == Some(place)),
                    random: OsRandom::next_u32(),
                };
                self.tell(place, event);
            } else if lane.asked.take().is_some() && closed.by != By::Us {
                self.goes_alone(place);
            }
        }
    }
}

/// What stands for a stanza that is gone, so that it can be answered.
pub(super) fn own_stanza(stub: Bytes) -> Option<Stanza> {
    let element = Element::parse(stub, &Context::new(ContentNamespace::Server)).ok()?;
    Stanza::own(element).ok()
}
