//! Drives the lanes to one remote domain that share a stream: the stream, their clocks, their queues.
//!
//! A lane is one pair of domains. Where the peer takes several pairs on a stream (XEP-0220 §2.6), those of all our domains are
//! here; where it does not, or refuses one, that lane goes to a task of its own. The task ends when no lane has anything to do;
//! the next stanza makes a new one.

use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep_until;
use tracing::{Instrument, debug, field::Empty, info, info_span, trace};
use xmpp_stream::{ContentNamespace, Domain, Element};

use crate::closed::{Cause, Returned};
use crate::flow::connector::Connected;
use crate::flow::lanes::{Joining, NewTask};
use crate::flow::router::Router;
use crate::flow::sessions::Entry;
use crate::net::conn::{Conn, Progress};
use crate::net::descriptors::Permit;
use crate::peer_text::PeerText;
use crate::protocol::carried::Carried;
use crate::protocol::lane::{Backoff, LaneEvent, Waiting};
use crate::protocol::negotiate::{Judged, Outbound, OutboundEffect, OutboundEvent, Snapshot};
use crate::protocol::stall::Stall;
use crate::protocol::stanza::Stanza;
use crate::protocol::strays::{Stray, Strays};
use crate::protocol::suspects::{self, Suspects};
use crate::protocol::unwritten::Unwritten;
use crate::trust::TargetEvidence;

mod ending;
mod judging;
mod lane;
mod lanes;
mod providing;

use ending::{Remains, own_stanza};
use lane::{QueuedLane, Returning};
use lanes::TaskLanes;

/// At most so many stanzas move from the queue to the lane at once.
const BATCH: usize = 256;
/// A stream by which only answers and bounces of ours went is closed after this part of `limits.idle`.
const ONLY_ANSWERS: u32 = 60;
/// And however many go by it, after this part.
const ONLY_ANSWERS_IN_ALL: u32 = 6;

struct LaneTask {
    router: Arc<Router>,
    snapshot: Arc<Snapshot>,
    remote: Domain,
    lanes: TaskLanes,
    /// Where further lanes come from.
    joining: Arc<Joining>,
    /// The stream that is being made, and the place of the lane whose pair is proved on it first.
    connecting: Option<(usize, JoinHandle<Result<Connected, Cause>>)>,
    stream: Option<Box<Stream>>,
    /// What the DNS proved about the stream's server.
    target_evidence: Option<TargetEvidence>,
    /// The stream's certificate, which is judged again.
    judging: Option<JoinHandle<Judged>>,
    /// It has to be, as soon as there is a stream.
    stale: bool,
    /// What the lanes wait for that have something to give back, by their places.
    rooms: JoinSet<usize>,
    /// Nothing is sent any more: the server stops.
    is_last_call: bool,
    /// What came on the stream and has no place there, not yet looked at.
    strays: Vec<(PeerText, Option<Element>)>,
    reloads: watch::Receiver<()>,
}

/// An open stream and what was given to it.
struct Stream {
    /// Our domain of the pair that was proved first, whose certificate was shown.
    local: Domain,
    conn: Conn,
    entry: Entry,
    /// Ends when an operator wants the stream closed.
    closing: Pin<Box<dyn Future<Output = ()> + Send>>,
    outbound: Box<Outbound>,
    /// Stanzas whose last byte the socket has not taken yet.
    unwritten: Unwritten<Leaving>,
    quiet_since: Instant,
    /// When it last carried what is not our own answer.
    used: Instant,
    /// When it last carried anything.
    answered: Instant,
    stall: Stall,
    carried: Carried,
    suspects: Suspects,
    strays: Strays,
    /// The other server closed the connection.
    cut: bool,
    /// For its descriptor.
    _permit: Permit,
}

/// A stanza in the stream's buffer, and the place of its lane, as long as that is here.
struct Leaving {
    place: Option<usize>,
    waiting: Waiting,
}

enum Happened {
    /// Something is in a queue, or a lane was told something, or there is a new one.
    Woken,
    Connected(Result<Connected, Cause>),
    Stream(Result<Progress, std::io::Error>),
    KeepAlive,
    Idle,
    Stalled,
    Tick,
    CloseWanted,
    Reloaded,
    Late,
    Judged(Judged),
    Room(usize),
    LastCall,
    Over,
}

/// Starts the task of a lane.
pub(crate) fn open_lane(router: &Arc<Router>, task: NewTask) {
    let NewTask { lane, joining } = task;
    let lane = Box::new(QueuedLane::new(lane, backoff(router)));
    tokio::spawn(LaneTask::new(Arc::clone(router), lane, joining).run());
}

fn backoff(router: &Router) -> Backoff {
    let own = &router.shared().snapshot.load().config.queue;
    Backoff {
        give_up: own.give_up,
        first: own.backoff.first,
        max: own.backoff.max,
    }
}

impl LaneTask {
    fn new(router: Arc<Router>, lane: Box<QueuedLane>, joining: Arc<Joining>) -> Self {
        let reloads = router.shared().reloads.subscribe();
        let remote = lane.pair.remote.clone();
        let mut lanes = TaskLanes::default();
        lanes.add(lane);
        Self {
            reloads,
            snapshot: router.shared().snapshot(),
            router,
            remote,
            lanes,
            joining,
            connecting: None,
            stream: None,
            target_evidence: None,
            judging: None,
            stale: false,
            rooms: JoinSet::new(),
            is_last_call: false,
            strays: Vec::new(),
        }
    }

    fn run(self) -> impl Future<Output = ()> + Send {
        let local = self.lanes.iter().next().map(|lane| lane.pair.local.clone());
        let local = local.as_ref().map(tracing::field::display);
        let span = info_span!("out", local, remote = %self.remote);
        Box::new(self).drive().instrument(span)
    }

    /// What waits here for long is small: whatever is more than a moment's work is boxed as long as it lasts.
    async fn drive(mut self: Box<Self>) {
        let mut batch = Vec::new();
        loop {
            match self.next().await {
                Happened::Woken => self.attend(&mut batch).await,
                Happened::Connected(outcome) => {
                    self.on_connected(outcome);
                    // What came in one piece with the end of the negotiation was read already.
                    Box::pin(self.frames()).await;
                }
                Happened::Stream(progress) => Box::pin(self.on_progress(progress)).await,
                Happened::KeepAlive => {
                    if let Some(stream) = &mut self.stream {
                        stream.conn.send(b" ");
                        stream.quiet_since = Instant::now();
                    }
                }
                Happened::Idle => Box::pin(self.say(OutboundEvent::Idle)).await,
                Happened::Late => Box::pin(self.say(OutboundEvent::Late)).await,
                Happened::Stalled => self.on_stalled(),
                Happened::Tick => self.tell_all(|_| Some(LaneEvent::Tick)),
                Happened::CloseWanted => Box::pin(self.say(OutboundEvent::CloseWanted)).await,
                Happened::Reloaded => Box::pin(self.on_reload()).await,
                Happened::Judged(judged) => {
                    self.judging = None;
                    Box::pin(self.say(OutboundEvent::Judged(judged))).await;
                }
                Happened::Room(place) => {
                    if let Some(lane) = self.lanes.get_mut(place) {
                        lane.waits_for_room = false;
                    }
                    self.give_back(place);
                }
                Happened::LastCall => {
                    self.is_last_call = true;
                    self.give_up();
                    Box::pin(self.say(OutboundEvent::Shutdown)).await;
                    // What the stream had not written came back.
                    self.give_up();
                }
                Happened::Over => {
                    for place in 0..self.lanes.places() {
                        if let Some(lane) = self.lanes.get_mut(place) {
                            lane.drop_the_rest(&self.router);
                        }
                    }
                    break;
                }
            }
            self.provide().await;
            self.write();
            if self.is_over() {
                break;
            }
        }
        debug!("lane ends");
    }

    async fn next(&mut self) -> Happened {
        let limits = &self.snapshot.config.limits;
        let ask_within = limits.negotiation;
        let ends = self.lanes.iter().flat_map(|lane| {
            let asked = lane.asked.map(|asked| asked + ask_within);
            let waits = lane.waits.map(|waits| waits + providing::WAITS_FOR_ANOTHER);
            lane.lane.deadline().into_iter().chain(asked).chain(waits)
        });
        let deadline = ends.min();
        let only_answers = self.lanes.iter().all(|lane| lane.signs.only_answers());
        let (keepalive, idle, stall, late) = match &mut self.stream {
            Some(stream) => {
                let (written, queued) = (stream.conn.written(), !stream.conn.is_flushed());
                let stall = &mut stream.stall;
                (
                    Some(stream.quiet_since + stream.outbound.keepalive()),
                    Some(match only_answers {
                        true => (stream.answered + limits.idle / ONLY_ANSWERS)
                            .min(stream.used + limits.idle / ONLY_ANSWERS_IN_ALL),
                        false => stream.used + limits.idle,
                    }),
                    stall.deadline(Instant::now(), written, queued, limits.stall),
                    stream.conn.whole_until(limits.stanza_time),
                )
            }
            None => (None, None, None, None),
        };
        let due = [
            (keepalive, Happened::KeepAlive),
            (idle, Happened::Idle),
            (stall, Happened::Stalled),
            (late, Happened::Late),
            (deadline, Happened::Tick),
        ];
        let is_last_call = self.is_last_call;
        tokio::select! {
            () = self.joining.notify.notified() => Happened::Woken,
            outcome = finished(&mut self.connecting) => Happened::Connected(outcome),
            judged = judging::done(&mut self.judging) => Happened::Judged(judged),
            happened = progress(&mut self.stream) => happened,
            happened = first(due) => happened,
            Ok(()) = self.reloads.changed() => Happened::Reloaded,
            Some(Ok(place)) = self.rooms.join_next() => Happened::Room(place),
            () = self.router.shared().last_call.cancelled(), if !is_last_call => Happened::LastCall,
            () = self.router.shared().stop_components.cancelled(), if is_last_call => Happened::Over,
        }
    }

    /// What came in the queues goes to the lanes: the bound of a queue is the load, not the place. New lanes are taken.
    async fn attend(&mut self, batch: &mut Vec<Stanza>) {
        for lane in self.joining.take() {
            let lane = QueuedLane::new(lane, backoff(&self.router));
            self.lanes.add(Box::new(lane));
        }
        for place in 0..self.lanes.places() {
            let Some(lane) = self.lanes.get_mut(place) else {
                continue;
            };
            if lane.signs.is_let_go() {
                Box::pin(self.let_go(place)).await;
                continue;
            }
            if lane.signs.is_alive() {
                lane.handle(LaneEvent::PeerAlive);
            }
            if lane.signs.is_to_retry() {
                if let Some((_, attempt)) = self.connecting.take_if(|(first, _)| *first == place) {
                    attempt.abort();
                }
                lane.handle(LaneEvent::Retry);
            }
            while lane.queue.take(batch, BATCH) > 0 {
                for stanza in std::mem::take(batch) {
                    lane.handle(LaneEvent::Stanza(stanza));
                }
            }
            let stream = self.stream.as_ref();
            lane.signs.report(|| {
                let leaving = stream.iter().flat_map(|stream| stream.unwritten.iter());
                let its = leaving.filter(|leaving| leaving.place == Some(place));
                let its = its.map(|leaving| &leaving.waiting);
                lane.lane.report(Instant::now(), its)
            });
            self.give_back(place);
        }
        if self.is_last_call {
            self.give_up();
        }
    }

    /// Since when something of a lane has been waiting: in it, or before its bytes in the stream.
    fn oldest(&self, lane: &QueuedLane) -> Option<Instant> {
        let stream = self.stream.as_ref().filter(|_| lane.leaving > 0);
        let first = stream.and_then(|stream| stream.unwritten.first());
        let written = first.map(|first| first.waiting.since());
        written.or_else(|| lane.lane.oldest())
    }

    /// Another lane has the place of this one, in which nothing waits, or only what may be lost.
    async fn let_go(&mut self, place: usize) {
        if self.lanes.len() == 1 {
            self.say(OutboundEvent::Idle).await;
        } else if let Some(stream) = &mut self.stream {
            // The stream is the others', and what it has begun to write stays whole.
            for leaving in stream.unwritten.iter_mut() {
                leaving.place = leaving.place.filter(|its| *its != place);
            }
        }
        if let Some(mut lane) = self.remove(place) {
            while let Some(stanza) = lane.queue.try_receive() {
                lane.handle(LaneEvent::Stanza(stanza));
            }
            lane.handle(LaneEvent::GiveUp(Cause::Idle));
            lane.give_back(&self.router);
            lane.drop_the_rest(&self.router);
        }
    }

    /// Takes a lane out of the task.
    fn remove(&mut self, place: usize) -> Option<Box<QueuedLane>> {
        if let Some((_, attempt)) = self.connecting.take_if(|(first, _)| *first == place) {
            attempt.abort();
        }
        let lane = self.lanes.take(place)?;
        self.joining.left();
        Some(lane)
    }

    /// Nothing is sent any more: what waits goes back.
    fn give_up(&mut self) {
        self.tell_all(|_| Some(LaneEvent::GiveUp(Cause::Shutdown)));
        if let Some((_, attempt)) = self.connecting.take() {
            attempt.abort();
        }
    }

    fn give_back(&mut self, place: usize) {
        let Some(lane) = self.lanes.get_mut(place) else {
            return;
        };
        if let Some(wait) = lane.give_back(&self.router) {
            self.rooms.spawn(async move {
                wait.room().await;
                place
            });
        }
    }

    /// A domain that is not admitted any more gets nothing more: neither what waits, nor a stream.
    async fn on_reload(&mut self) {
        let snapshot = self.router.shared().snapshot();
        let Err(denied) = snapshot.admits(&self.remote) else {
            self.stale = self.connecting.is_some();
            self.judge_again();
            return;
        };
        let cause = Cause::denied(&self.remote, &denied);
        self.tell_all(|_| Some(LaneEvent::GiveUp(cause.clone())));
        if let Some((_, connecting)) = self.connecting.take() {
            connecting.abort();
        }
        self.say(OutboundEvent::Idle).await;
    }

    /// One event for a lane, and what follows from it.
    fn tell(&mut self, place: usize, event: LaneEvent) {
        if let Some(lane) = self.lanes.get_mut(place) {
            lane.handle(event);
            self.give_back(place);
        }
    }

    /// One for each lane.
    fn tell_all(&mut self, event: impl Fn(&QueuedLane) -> Option<LaneEvent>) {
        for place in 0..self.lanes.places() {
            if let Some(event) = self.lanes.get(place).and_then(&event) {
                self.tell(place, event);
            }
        }
    }

    /// Moves stanzas from the lanes into the stream's buffer while it has room.
    fn write(&mut self) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        let mut too_big_for_peer = Vec::new();
        while stream.conn.has_room() {
            let Some((place, waiting)) = self.lanes.pop() else {
                break;
            };
            let stanza = &waiting.stanza;
            let most = stream.outbound.peer_max_stanza();
            if let Some(most) = most.filter(|most| stanza.size() as u64 > *most) {
                let over = Returned::PeerLimit {
                    size: stanza.size(),
                    most,
                };
                let error = Arc::new(over.stanza_error());
                let stanza = waiting.stanza;
                if let Some(lane) = self.lanes.get_mut(place) {
                    lane.returning.push_back(Returning { stanza, error });
                    too_big_for_peer.push(place);
                }
                continue;
            }
            let is_own = stanza.is_own();
            let begin = stream.conn.queued();
            stanza
                .element()
                .write_for(ContentNamespace::Server, stream.conn.out());
            let bytes = begin..stream.conn.queued();
            stream.carried.note(stanza.element());
            if let Some(lane) = self.lanes.get_mut(place) {
                lane.leaving += 1;
            }
            let place = Some(place);
            stream.unwritten.push(bytes, Leaving { place, waiting });
            stream.quiet_since = Instant::now();
            stream.answered = stream.quiet_since;
            if !is_own {
                stream.used = stream.quiet_since;
            }
        }
        for place in too_big_for_peer {
            self.give_back(place);
        }
    }

    async fn on_progress(&mut self, progress: Result<Progress, std::io::Error>) {
        self.settle();
        if let Some(stream) = &mut self.stream {
            stream.cut = match &progress {
                Ok(progress) => *progress == Progress::End,
                Err(error) => matches!(
                    error.kind(),
                    ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof
                ),
            };
        }
        match progress {
            Ok(Progress::Written) => {}
            Ok(Progress::Read) => self.frames().await,
            Ok(Progress::Overfull) => self.say(OutboundEvent::Overfull).await,
            Ok(Progress::End) => {
                self.say(OutboundEvent::Lost(
                    "the other server closed the connection".to_owned(),
                ))
                .await;
            }
            Err(error) => self.say(OutboundEvent::Lost(error.to_string())).await,
        }
    }

    /// Everything whole that was read.
    async fn frames(&mut self) {
        while let Some(stream) = &mut self.stream {
            let event = match stream.conn.frame() {
                Ok(Some(frame)) => OutboundEvent::Frame(frame),
                Ok(None) => return,
                Err(error) => OutboundEvent::Malformed(error),
            };
            trace!(?event, "received");
            self.say(event).await;
            while let Some((what, stanza)) = self.strays.pop() {
                if self.on_stray(&what, stanza.as_ref()) == Stray::TooMany {
                    self.say(OutboundEvent::TooManyStrays).await;
                }
            }
        }
    }

    /// Something came where nothing comes. It goes nowhere; at most its sender's stanza bounces.
    fn on_stray(&mut self, what: &PeerText, stanza: Option<&Element>) -> Stray {
        let Some(stream) = &mut self.stream else {
            return Stray::PassOver;
        };
        let verdict = stream.strays.note(Instant::now(), stanza.is_some());
        if let Stray::Say(passed_over) = verdict {
            let error = stanza.is_some_and(|it| it.type_attr().as_deref() == Some("error"));
            info!(
                unproved = Empty,
                ?what,
                error,
                passed_over,
                "ignored: nothing comes by an outgoing stream"
            );
        }
        let answered = stanza.and_then(|stanza| own_stanza(stream.carried.answered(stanza)?));
        if let Some(stanza) = answered {
            let payer = stream.conn.payer().clone();
            self.router
                .bounce(&stanza, &Returned::Refused.stanza_error(), &payer);
        }
        verdict
    }

    /// What the socket took has left this server: best effort ends here (without XEP-0198 nobody can say more).
    fn settle(&mut self) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        let (now, written) = (Instant::now(), stream.conn.written());
        let patience = self.snapshot.config.limits.stall;
        let (lanes, suspects) = (&mut self.lanes, &mut stream.suspects);
        let taken = stream
            .unwritten
            .settle(now, written, patience, |leaving, is_last| {
                let stanza = leaving.waiting.stanza;
                if let Some(lane) = leaving.place.and_then(|place| lanes.get(place)) {
                    lane.queue.settled(stanza.size());
                }
                if is_last || suspects::is_large(stanza.element()) {
                    suspects.took(now, stanza.element());
                }
            });
        stream.conn.counters().stanzas_out(taken);
    }

    /// One event for the stream's machine, and what follows from it.
    async fn say(&mut self, event: OutboundEvent) {
        let Some(stream) = self.stream.take() else {
            return;
        };
        let mut stream = *stream;
        let mut effects = Vec::new();
        let mut pairs = Vec::new();
        let step = stream.outbound.handle(event, &mut effects);
        for effect in effects {
            match effect {
                OutboundEffect::Send(bytes) => stream.conn.send(&bytes),
                OutboundEffect::SetLimits(limits) | OutboundEffect::Restart(limits) => {
                    stream.conn.set_limits(limits)
                }
                OutboundEffect::StartTls
                | OutboundEffect::Judge(_)
                | OutboundEffect::RunSasl(_)
                | OutboundEffect::MayAsk
                | OutboundEffect::NotAsked(_)
                | OutboundEffect::Answered(..) => {}
                OutboundEffect::Stray { what, stanza } => self.strays.push((what, stanza)),
                OutboundEffect::Established(authorized) => pairs.push(Ok(authorized)),
                OutboundEffect::PairRefused(pair, cause) => pairs.push(Err((pair, cause))),
            }
        }
        match step {
            Ok(outbound) => {
                self.stream = Some(Box::new(Stream { outbound, ..stream }));
                for asked in pairs {
                    self.on_pair(asked);
                }
            }
            Err(closed) => {
                stream.entry.ended(&closed);
                let Stream {
                    conn,
                    unwritten,
                    carried,
                    suspects,
                    cut,
                    ..
                } = stream;
                let remains = Remains {
                    unwritten,
                    carried,
                    suspects,
                    cut,
                };
                self.on_closed(conn, remains, closed).await;
            }
        }
    }

    /// Lets go of the lanes for which there is nothing to do, and says whether none is left.
    fn is_over(&mut self) -> bool {
        for place in 0..self.lanes.places() {
            let Some(lane) = self.lanes.get(place) else {
                continue;
            };
            lane.signs.is_failing(lane.lane.is_failing());
            lane.signs.set_oldest(self.oldest(lane));
            if !lane.is_over() {
                continue;
            }
            let lanes = self.router.lanes();
            if lanes.forget(&lane.pair, &lane.signs, &lane.queue) {
                self.remove(place);
            }
        }
        self.lanes.len() == 0
            && self.stream.is_none()
            && self
                .router
                .lanes()
                .takes_no_more(&self.remote, &self.joining)
    }
}

/// What is due first, at its time: one timer for all, since each is a lock of the clock's.
async fn first<const N: usize>(due: [(Option<Instant>, Happened); N]) -> Happened {
    let due = due.into_iter();
    let due = due.filter_map(|(when, what)| Some((when?, what)));
    match due.min_by_key(|(when, _)| *when) {
        Some((when, what)) => {
            sleep_until(when.into()).await;
            what
        }
        None => std::future::pending().await,
    }
}

async fn finished(
    connecting: &mut Option<(usize, JoinHandle<Result<Connected, Cause>>)>,
) -> Result<Connected, Cause> {
    match connecting {
        Some((_, task)) => task
            .await
            .unwrap_or_else(|_| Err(Cause::Lost("the attempt broke off".into()))),
        None => std::future::pending().await,
    }
}

async fn progress(stream: &mut Option<Box<Stream>>) -> Happened {
    match stream {
        Some(stream) => {
            let Stream { conn, closing, .. } = &mut **stream;
            tokio::select! {
                progress = conn.progress(true) => Happened::Stream(progress),
                () = closing => Happened::CloseWanted,
            }
        }
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<F: Future>(_: impl FnOnce(LaneTask) -> F) -> usize {
        size_of::<F>() + size_of::<LaneTask>()
    }

    /// Besides these: its span, its place in the table, and what waits.
    #[test]
    fn a_waiting_lane_is_small() {
        let size = size_of_future(LaneTask::run);
        assert!(
            size <= 3072,
            "{size} bytes, of them {} its state",
            size_of::<LaneTask>()
        );
    }
}
