//! The end of an open outgoing stream.

use std::time::Duration;

use tracing::{field::Empty, info};

use super::{LaneTask, Open, Stream};
use crate::closed::{By, Cause, Closed, OtherEnd};

impl LaneTask {
    pub(super) async fn on_closed(&mut self, mut open: Box<Open>, closed: Closed) {
        open.entry.ended(&closed);
        // Until the peer has read its way to the end: what the socket took counts as sent, and the next stream must not
        // overtake it. While the server stops, the wait is short enough for the other stanzas to go back.
        let within = match self.is_last_call {
            // It had its time already.
            true if open.heard_out.is_some() => self.silence() / 2,
            true | false => self.silence(),
        };
        open.conn.close(within).await;
        let payer = open.conn.payer().clone();
        open.receiving.finish(Some(within), &payer).await;
        self.over(*open, &closed);
    }

    /// A peer that reads nothing gets no stream error either. The stanzas that it has not taken go on by another
    /// stream, or bounce in their time.
    pub(super) async fn on_stalled(&mut self) {
        let limit = self.snapshot.config.limits.stall;
        let stalled =
            |stream: &mut Stream| stream.open.writing.is_stalled(&stream.open.conn, limit);
        if let Some(mut stream) = self.stream.take_if(stalled) {
            let closed = Closed {
                by: By::Us,
                cause: Cause::Timeout("the other server reads nothing"),
            };
            stream.open.entry.ended(&closed);
            let payer = stream.open.conn.payer().clone();
            let at_once = Some(Duration::ZERO);
            stream.open.receiving.finish(at_once, &payer).await;
            self.over(*stream.open, &closed);
        }
    }

    /// The stream is gone. The lanes whose pair the peer was still asked for try by a stream of their own, unless we ended this
    /// one: it may have been for the question.
    fn over(&mut self, open: Open, closed: &Closed) {
        if let Some(judging) = self.judging.take() {
            judging.abort();
        }
        info!(
            proved = Empty,
            by = closed.by.name(OtherEnd::Server),
            cause = closed.cause.name(),
            "outgoing stream ended: {}",
            closed.told_of(OtherEnd::Server)
        );
        let Open { conn, writing, .. } = open;
        let stall = self.snapshot.config.limits.stall;
        self.sending.ended(writing, &conn, closed, stall);
        for place in 0..self.sending.lanes.places() {
            let lane = self.sending.lanes.get_mut(place);
            if lane.is_some_and(|lane| lane.asked.take().is_some()) && closed.by != By::Us {
                self.sending.goes_alone(place);
            }
        }
        if self.is_last_call {
            // What the stream had not written came back.
            self.give_up();
        }
    }
}
