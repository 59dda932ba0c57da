//! The end of an open outgoing stream: what was written, what goes on by the next, and whose stanza is to blame.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use tracing::{field::Empty, info, warn};
use xmpp_stream::{ContentNamespace, Context, Element};

use super::{LaneTask, Stream, Unwritten};
use crate::closed::{By, Cause, Closed, OtherEnd};
use crate::flow::connector::CLOSE_TIMEOUT;
use crate::flow::shared::OsRandom;
use crate::net::conn::Conn;
use crate::protocol::carried::Carried;
use crate::protocol::lane::{Broke, LaneEvent, pop_front_if};
use crate::protocol::stanza::Stanza;
use crate::protocol::suspects::Suspects;

/// What is left of a stream when it is over.
pub(super) struct Remains {
    pub(super) unwritten: VecDeque<Unwritten>,
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
        self.signs.set_up(false);
        self.router.lanes().works(&self.pair);
        if let Some(judging) = self.judging.take() {
            judging.abort();
        }
        let (now, stall_limit) = (Instant::now(), self.snapshot.config.limits.stall);
        let mut fate = std::mem::take(&mut self.fate);
        while let Some(first) = pop_front_if(&mut unwritten, |first: &Unwritten| {
            first.bytes.end <= written
        }) {
            let stanza = first.waiting.stanza;
            self.queue.settled(stanza.size());
            suspects.took(now, stanza.element());
            fate.took(now, 1, stall_limit);
            conn.counters().stanzas_out(1);
        }
        let broke = matches!(closed.cause, Cause::Lost(_) | Cause::Timeout(_));
        let unknown = if broke {
            fate.unknown(now, stall_limit)
        } else {
            0
        };
        let is_begun = unwritten
            .front()
            .is_some_and(|first| first.bytes.start < written);
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
        let unwritten = unwritten.into_iter().map(|left| left.waiting).collect();
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
        self.tell(LaneEvent::Ended {
            cause: closed.cause,
            unwritten,
            begun,
            random: OsRandom::next_u32(),
        });
    }
}

/// What stands for a stanza that is gone, so that it can be answered.
pub(super) fn own_stanza(stub: Bytes) -> Option<Stanza> {
    let element = Element::parse(stub, &Context::new(ContentNamespace::Server)).ok()?;
    Stanza::own(element).ok()
}
