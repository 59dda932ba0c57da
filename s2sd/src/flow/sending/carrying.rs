//! Lanes on a stream that the other server opened (XEP-0288). They come here as long as the stream may carry them. When it may not
//! any more, they go on elsewhere, with what was not written first.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Sending, Wanted, Writing};
use crate::closed::Closed;
use crate::flow::lanes::Joining;
use crate::flow::router::Router;
use crate::flow::sessions::Entry;
use crate::net::conn::Conn;
use crate::protocol::negotiate::DomainPair;

/// Those lanes, and what is being written of them.
pub(crate) struct Carrying {
    pub(crate) sending: Sending,
    pub(crate) writing: Writing,
    /// The pairs of which stanzas may be written.
    pairs: Vec<DomainPair>,
    /// A new stream is being begun on the connection, or the stream ends: nothing is written.
    is_paused: bool,
}

impl Carrying {
    /// Nothing may be written yet.
    pub(crate) fn new(router: &Arc<Router>) -> Self {
        Self {
            sending: Sending::new(Arc::clone(router), Arc::new(Joining::default())),
            writing: Writing::new(Instant::now()),
            pairs: Vec::new(),
            is_paused: false,
        }
    }

    /// Stanzas of this pair may be written.
    pub(crate) fn carries(&mut self, pair: &DomainPair) {
        self.is_paused = false;
        if !self.pairs.contains(pair) {
            self.pairs.push(pair.clone());
        }
        let lanes = self.sending.router.lanes();
        lanes.carry(pair, &self.sending.joining);
    }

    /// Nothing is written until [`Self::carries`].
    pub(crate) fn pause(&mut self) {
        self.is_paused = true;
    }

    /// The stream ends: no more lanes come here, and those that there are go on elsewhere when it is over.
    pub(crate) fn ends(&mut self) {
        self.is_paused = true;
        let lanes = self.sending.router.lanes();
        lanes.carry_no_more(&self.pairs, &self.sending.joining);
    }

    /// Does what the lanes want.
    pub(crate) fn attend(&mut self, wanted: Wanted, entry: &Entry) {
        if let Wanted::Room(place) = wanted {
            return self.sending.room(place);
        }
        for lane in self.sending.joining.take() {
            let place = self.sending.lanes.add(lane);
            self.sending.is_up(place, entry);
        }
        for place in self.sending.attend(Some(&self.writing), |_| {}) {
            self.sending.let_go(place, Some(&mut self.writing));
        }
    }

    /// Moves stanzas into the connection's buffer while it has room. `most` is the largest that the peer takes.
    pub(crate) fn write(&mut self, conn: &mut Conn, most: Option<u64>) {
        if !self.is_paused {
            self.sending.write(&mut self.writing, conn, most);
        }
        self.sending.is_over(Some(&self.writing));
    }

    /// Counts what the socket took.
    pub(crate) fn settle(&mut self, conn: &Conn, patience: Duration) {
        self.sending.settle(&mut self.writing, conn, patience);
    }

    /// The stream is over: the lanes go on elsewhere, and with them what was not written.
    pub(crate) fn ended(mut self, conn: &Conn, closed: &Closed, patience: Duration) {
        self.ends();
        for lane in self.sending.joining.take() {
            self.sending.lanes.add(lane);
        }
        self.sending.ended(self.writing, conn, closed, patience);
        self.sending.is_over(None);
        for place in 0..self.sending.lanes.places() {
            self.sending.goes_on(place);
        }
    }
}
