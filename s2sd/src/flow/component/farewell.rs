//! The end of a component's stream: last words, what is heard after them, and what is left over.

use std::time::{Duration, Instant, SystemTime};

use tokio::time::timeout_at;
use tracing::{info, warn};
use xmpp_stream::{Condition, Element, Frame, StreamError};

use super::{BATCH, CLOSE_TIMEOUT, Serving, faults};
use crate::closed::{By, Cause, Closed, OtherEnd};
use crate::flow::components::{Leaving, Link};
use crate::net::conn::{MAX_DISCARD, Progress};
use crate::protocol::acks::Acks;
use crate::protocol::stanza::Stanza;
use crate::protocol::storable::is_storable;

impl Serving<'_> {
    pub(super) fn goodbye(&mut self, condition: Condition, cause: Cause) -> Closed {
        self.last_words(&StreamError::new(condition));
        Closed { by: By::Us, cause }
    }

    /// Ends the stream without a fault.
    pub(super) fn footer(&mut self, cause: Cause) -> Closed {
        self.conn.send(b"</stream:stream>");
        self.is_ending = true;
        Closed { by: By::Us, cause }
    }

    pub(super) fn last_words(&mut self, error: &StreamError) {
        self.conn.send(&error.to_bytes());
        self.conn.send(b"</stream:stream>");
        self.is_ending = true;
    }

    /// Whether the socket has taken whole elements alone, so that something may be said between them.
    fn is_between(&self) -> bool {
        self.conn.is_flushed() || !self.unwritten.is_begun(self.conn.written())
    }

    /// What was not written goes to the connection that took over, or back to its sender.
    ///
    /// The link stays until then: what comes meanwhile waits behind, and has the same way.
    pub(super) async fn end(mut self, link: &Link, closed: &Closed) {
        let is_replaced = closed.cause == Cause::Replaced;
        if !is_replaced {
            let farewell = async {
                match closed.cause {
                    // It may go on writing until it has read what came back to it.
                    Cause::Shutdown => {
                        let within = CLOSE_TIMEOUT.min(self.snapshot.config.limits.drain / 8);
                        self.hear_out(within, Self::too_late).await;
                    }
                    // What it has on the way still goes where it is to go.
                    Cause::Operator => {
                        let heard = |this: &mut Self, element| {
                            let _ = this.element(element);
                        };
                        self.hear_out(CLOSE_TIMEOUT, heard).await;
                    }
                    _ => self.conn.close(CLOSE_TIMEOUT).await,
                }
            };
            tokio::select! {
                () = farewell => {}
                () = link.replaced.cancelled() => {}
            }
        }
        self.settle();
        let may_speak = is_replaced && self.is_between();
        let unknown = self.unknown(closed);
        // Before those that are acknowledged there may be some from before.
        let unwritten: Vec<_> = self.unwritten.take().collect();
        let not_taken = unwritten.iter().filter(|it| it.is_none()).count();
        let mut left: Vec<Stanza> = unwritten.into_iter().flatten().collect();
        let unknown = match self.acks.take() {
            None => unknown,
            Some(acks) => self.unacknowledged(acks, not_taken, is_replaced, &mut left),
        };
        left.extend(self.next.drain(..));
        self.queue.close();
        // Until the last of those who were sending has sent.
        while self.queue.receive(&mut left, BATCH).await > 0 {}
        let domain = self.attached.domain().clone();
        let stanzas = left.len();
        let leaving = self.router.detach(&domain, link, left);
        self.tell(closed, stanzas, &leaving, unknown);
        for stanza in leaving.back {
            self.router.component_left(stanza);
        }
        if is_replaced {
            // Its successor has what this connection was still to be written.
            self.conn.discard();
            if may_speak {
                self.last_words(&StreamError::new(Condition::Conflict));
            }
            // And what this one had on the way goes where it would have gone (RFC 6120 §4.4).
            self.is_ending = true;
            self.hear_out(CLOSE_TIMEOUT, |this, element| {
                // Its stream ends in any case.
                let _ = this.element(element);
            })
            .await;
        }
    }

    /// Ends our direction, and takes what the component still sends until it ends its own.
    async fn hear_out(&mut self, within: Duration, heard: impl Fn(&mut Self, Element)) {
        let until = Instant::now() + within;
        let most = self.conn.received() + MAX_DISCARD as u64;
        let mut is_shut = false;
        loop {
            match self.conn.frame() {
                Ok(Some(Frame::Element(element))) => heard(self, element),
                Ok(Some(Frame::Footer)) | Err(_) => break,
                Ok(Some(_)) => {}
                Ok(None) => {
                    if self.conn.is_flushed() && !std::mem::replace(&mut is_shut, true) {
                        let _ = self.conn.shut().await;
                    }
                    let progress = timeout_at(until.into(), self.conn.progress(true)).await;
                    match progress {
                        Ok(Ok(Progress::Read)) if self.conn.received() < most => {}
                        Ok(Ok(Progress::Written)) => {}
                        Ok(_) | Err(_) => break,
                    }
                }
            }
        }
        let left = until.saturating_duration_since(Instant::now());
        self.conn.close(left).await;
    }

    /// Lanes are gone, and no answer would reach the component: what it still sends is counted.
    fn too_late(&mut self, element: Element) {
        if element.stanza_kind().is_some() {
            self.router.tally().too_late();
        }
    }

    /// What was sent and not acknowledged, of which the socket had `not_taken` whole as many of the last. Where it can be sent
    /// again it is, with a word that it may have come before; nothing that may have arrived is bounced. How many may not
    /// have arrived and are not sent again.
    fn unacknowledged(
        &self,
        acks: Acks<Stanza>,
        not_taken: usize,
        is_replaced: bool,
        left: &mut Vec<Stanza>,
    ) -> u64 {
        let domain = self.attached.domain();
        let keeps = self.router.keeps(domain);
        let unacknowledged = acks.unacknowledged();
        let taken = unacknowledged.len().saturating_sub(not_taken);
        let (now, mut unknown) = (SystemTime::now(), 0);
        for (nth, stanza) in unacknowledged.enumerate() {
            let is_again = is_replaced || keeps && is_storable(stanza.element(), false);
            match nth < taken {
                true if is_again => left.push(stanza.delayed(domain, now)),
                true => unknown += 1,
                false => left.push(stanza),
            }
        }
        unknown
    }

    /// How many stanzas the component may not have: none where it closed the connection itself, since the kernel ends one
    /// that has unread data with a reset.
    fn unknown(&mut self, closed: &Closed) -> u64 {
        let patience = self.snapshot.config.limits.stall;
        match (closed.by, &closed.cause) {
            (By::World, Cause::Lost(_)) | (By::Us, Cause::Timeout(_)) => {
                self.unwritten.unknown(Instant::now(), patience)
            }
            _ => 0,
        }
    }

    fn tell(&mut self, closed: &Closed, left: usize, leaving: &Leaving, unknown: u64) {
        let kept = leaving.kept;
        let domain = self.attached.domain();
        let (by, cause) = (closed.by.name(OtherEnd::Component), closed.cause.name());
        let (refused, ignored) = (self.refused.unsaid(), self.ignored.unsaid());
        if refused > 0 || ignored > 0 {
            info!(%domain, refused, ignored, "more of the component's stanzas and elements were refused and ignored");
        }
        let stanza = self.broken.as_ref().map(tracing::field::display);
        let told = closed.told_of(OtherEnd::Component);
        if faults::is_fault(closed) {
            warn!(%domain, by, cause, stanza, left, "component left: {told}");
        } else if !leaving.back.is_empty() {
            warn!(%domain, by, cause, left, kept, "component left, with stanzas on the way to it: {told}");
        } else if kept > 0 {
            info!(%domain, by, cause, kept, "component left; what was on the way to it waits: {told}");
        } else {
            info!(%domain, by, cause, left, "component left: {told}");
        }
        if unknown > 0 {
            self.router.tally().unknown_fate(unknown);
            let seconds = self.snapshot.config.limits.stall.as_secs();
            warn!(
                %domain,
                unknown,
                seconds,
                "the connection broke: what was sent last may not have arrived, {unknown} stanzas at most"
            );
        }
    }
}
