//! From which stream each lane of the task sends: the one that is made, the one that is open and takes its pair too, or one of its
//! own.

use std::sync::Arc;
use std::time::Instant;

use tracing::{Instrument, debug, field::Empty, info, warn};

use super::{LaneTask, Open, Stream};
use crate::closed::Cause;
use crate::flow::connector::{self, Connected, Ready};
use crate::flow::lanes::QueuedLane;
use crate::flow::receiving::Receiving;
use crate::flow::sending::Writing;
use crate::flow::shared::OsRandom;
use crate::peer_text::PeerText;
use crate::protocol::admission::Causer;
use crate::protocol::budget::Owner;
use crate::protocol::lane::LaneEvent;
use crate::protocol::negotiate::{Authorized, DomainPair, OutboundEvent, Purpose};

/// How many further pairs s2sd asks for at the same time: for each, the peer may have to ask an authoritative server,
/// and it has a bound for that.
const ASKED_AT_ONCE: usize = 8;

impl LaneTask {
    /// Each lane that wants a stream gets one: the stream that there is, if the peer takes its pair too, or else one of its
    /// own; or the stream that is being made.
    pub(super) async fn provide(&mut self) {
        let wants = |lane: &QueuedLane| lane.lane.wants_stream();
        self.use_carriers();
        if self.is_ending() {
            return;
        }
        if let Some((first, _)) = &self.connecting
            && !self.sending.lanes.get(*first).is_some_and(wants)
            && let Some((_, attempt)) = self.connecting.take()
        {
            attempt.abort();
        }
        if self.stream.is_none() {
            if self.connecting.is_none()
                && let Some(place) = self.sending.lanes.find(wants)
            {
                self.connect(place);
            }
            self.wait_for_another();
            return;
        }
        while let Some(place) = self
            .sending
            .lanes
            .find(|lane| wants(lane) && lane.asked.is_none())
        {
            let asked = self
                .sending
                .lanes
                .iter()
                .filter(|lane| lane.asked.is_some());
            if asked.count() >= ASKED_AT_ONCE {
                break;
            }
            match self.may_share(place) {
                Some(pair) => {
                    if let Some(lane) = self.sending.lanes.get_mut(place) {
                        (lane.asked, lane.waits) = (Some(Instant::now()), None);
                    }
                    Box::pin(self.say(OutboundEvent::AddPair(pair))).await;
                }
                None => self.sending.goes_alone(place),
            }
        }
        let (now, within) = (Instant::now(), self.snapshot.config.limits.negotiation);
        for place in self.sending.lanes.unanswered(within, now) {
            self.sending.goes_alone(place);
        }
    }

    /// Lanes whose stanzas a stream of the other server's takes, too, go there.
    fn use_carriers(&mut self) {
        let made = self.connecting.as_ref().map(|(first, _)| *first);
        for place in 0..self.sending.lanes.places() {
            let wants = |lane: &&QueuedLane| lane.lane.wants_stream() && lane.asked.is_none();
            let Some(lane) = self.sending.lanes.get(place).filter(wants) else {
                continue;
            };
            let DomainPair { local, remote } = &lane.pair;
            // If both servers make a stream at the same time, one of them gives way, and not both.
            let stays = made == Some(place) && local.as_str() > remote.as_str();
            if !stays && self.router.lanes().is_carried(&lane.pair) {
                debug!(%local, "this pair goes by a stream of the other server's");
                self.sending.goes_on(place);
            }
        }
    }

    /// Lanes that wait for the stream that is made for another one do so for a while.
    fn wait_for_another(&mut self) {
        let Some((first, _)) = self.connecting else {
            return;
        };
        for place in self.sending.lanes.waited(first, Instant::now()) {
            self.sending.goes_alone(place);
        }
    }

    /// Whether the pair of this lane may be asked for on the open stream. A peer that holds certificates to be needed would
    /// end the whole stream for one that is another domain's.
    fn may_share(&self, place: usize) -> Option<DomainPair> {
        let stream = self.stream.as_ref()?;
        let pair = &self.sending.lanes.get(place)?.pair;
        let certified = self
            .router
            .shared()
            .tls
            .names(&stream.open.local, &pair.local);
        (stream.outbound.takes_pairs(certified)).then(|| pair.clone())
    }

    fn connect(&mut self, place: usize) {
        let Some(lane) = self.sending.lanes.get(place) else {
            return;
        };
        // A reload may have changed the rules since the last attempt.
        self.snapshot = self.router.shared().snapshot();
        let (shared, snapshot) = (Arc::clone(self.router.shared()), Arc::clone(&self.snapshot));
        let pair = lane.pair.clone();
        // In a lane with only our own answers, a peer chooses the domain that we look up.
        let causer = lane.signs.only_answers().then(|| {
            let owner = Owner::peer(&pair.remote);
            Causer::Answered(owner)
        });
        let make = async move {
            let purpose = Purpose::Deliver;
            connector::connect(&shared, &snapshot, &pair, &purpose, causer.as_ref()).await
        };
        self.connecting = Some((place, tokio::spawn(make.in_current_span())));
    }

    pub(super) fn on_connected(&mut self, outcome: Result<Connected, Cause>) {
        let Some((place, _)) = self.connecting.take() else {
            return;
        };
        match outcome {
            Ok(Connected::Ready(ready)) => {
                let Ready {
                    conn,
                    entry,
                    outbound,
                    authorized,
                    target_evidence,
                    permit,
                    inverse,
                    counts,
                } = *ready;
                self.target_evidence = target_evidence;
                info!(
                    proved = Empty,
                    method = authorized.method().name(),
                    trust = authorized.judgement().trust().name(),
                    because = authorized.judgement().because().to_string(),
                    tls = outbound.transport().version(),
                    peer = %conn.peer(),
                    id = %PeerText::new(outbound.stream_id()),
                    "outgoing stream authenticated"
                );
                let closing = Box::pin(entry.clone().closed_by_an_operator());
                let give_up = self.snapshot.config.queue.give_up;
                let mut open = Box::new(Open {
                    local: authorized.pair().local.clone(),
                    received: conn.received(),
                    conn,
                    entry,
                    closing,
                    writing: Writing::new(Instant::now()),
                    receiving: Receiving::new(Arc::clone(&self.router), give_up),
                    is_bidi: false,
                    heard: Instant::now(),
                    heard_out: None,
                    _permit: permit,
                });
                if counts {
                    open.writing.counts(Instant::now());
                }
                if let Some(inverse) = inverse {
                    open.carries_both(&inverse, &self.snapshot);
                }
                self.stream = Some(Stream { outbound, open });
                self.is_up(place);
                if std::mem::take(&mut self.stale) {
                    self.judge_again();
                }
            }
            Ok(Connected::QuestionStream(_)) => self.failed(place, Cause::Finished),
            Err(cause) => {
                let waiting: usize = self
                    .sending
                    .lanes
                    .iter()
                    .map(|lane| lane.lane.waiting())
                    .sum();
                let name = cause.name();
                self.router.tally().attempt_failed(name);
                match self.router.lanes().failed(&self.remote, name) {
                    true => warn!(proved = Empty, cause = name, waiting, "no stream: {cause}"),
                    false => debug!(cause = name, waiting, "no stream: {cause}"),
                }
                self.use_carriers();
                self.failed(place, cause);
            }
        }
    }

    /// The pair of this lane is proved on the stream.
    fn is_up(&mut self, place: usize) {
        if let Some(stream) = &self.stream {
            self.sending.is_up(place, &stream.open.entry);
        }
    }

    /// No stream could be made. What says nothing of the pair for which it was tried holds for the others that wait for it.
    fn failed(&mut self, first: usize, cause: Cause) {
        let is_of_the_pair = cause.is_about_the_pair();
        for place in 0..self.sending.lanes.places() {
            let Some(lane) = self.sending.lanes.get(place) else {
                continue;
            };
            if place != first && (is_of_the_pair || !lane.lane.wants_stream()) {
                continue;
            }
            let worked = self.router.lanes().has_worked(&lane.pair);
            let event = LaneEvent::Failed {
                cause: cause.clone(),
                worked,
                random: OsRandom::next_u32(),
            };
            self.sending.tell(place, event);
        }
    }

    /// What the peer said of a further pair.
    pub(super) fn on_pair(&mut self, asked: Result<Authorized, (DomainPair, Cause)>) {
        let pair = match &asked {
            Ok(authorized) => authorized.pair(),
            Err((pair, _)) => pair,
        };
        let is_it = |lane: &QueuedLane| lane.asked.is_some() && lane.pair == *pair;
        let Some(place) = self.sending.lanes.find(is_it) else {
            return;
        };
        match asked {
            Ok(authorized) => {
                if let Some(stream) = &self.stream {
                    stream.open.entry.proved(&authorized);
                }
                info!(
                    proved = Empty,
                    further = %authorized.pair().local,
                    method = authorized.method().name(),
                    trust = authorized.judgement().trust().name(),
                    because = authorized.judgement().because().to_string(),
                    "outgoing stream authenticated for a further domain"
                );
                self.is_up(place);
            }
            Err((pair, cause)) => {
                debug!(local = %pair.local, cause = cause.name(), "a further domain is refused: {cause}");
                self.sending.goes_alone(place);
            }
        }
    }
}
