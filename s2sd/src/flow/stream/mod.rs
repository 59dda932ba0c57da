//! Drives one lane: its stream, its clock, its queue.
//!
//! The task ends when the lane has nothing to do; the next stanza makes a new one.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep_until;
use tracing::{Instrument, debug, field::Empty, info, info_span, trace, warn};
use xmpp_stream::{ContentNamespace, Element, StanzaError};

use crate::closed::{Cause, Returned};
use crate::flow::connector::{self, Connected, Ready};
use crate::flow::lanes::{NewLane, Signs};
use crate::flow::router::{Router, Wait};
use crate::flow::sessions::Entry;
use crate::flow::shared::OsRandom;
use crate::net::conn::{Conn, Progress};
use crate::net::descriptors::Permit;
use crate::net::queue::Receiver;
use crate::peer_text::PeerText;
use crate::protocol::admission::Causer;
use crate::protocol::budget::Owner;
use crate::protocol::carried::Carried;
use crate::protocol::fate::Fate;
use crate::protocol::lane::{Backoff, Lane, LaneEffect, LaneEvent, Waiting, pop_front_if, release};
use crate::protocol::negotiate::{
    DomainPair, Judged, Outbound, OutboundEffect, OutboundEvent, Purpose, Snapshot,
};
use crate::protocol::stall::Stall;
use crate::protocol::stanza::Stanza;
use crate::protocol::strays::{Stray, Strays};
use crate::protocol::suspects::{self, Suspects};
use crate::trust::TargetEvidence;

mod ending;
mod judging;

use ending::{Remains, own_stanza};

/// At most so many stanzas move from the queue to the lane at once.
const BATCH: usize = 256;
/// A stream by which only answers and bounces of ours went is closed after this part of `limits.idle`.
const ONLY_ANSWERS: u32 = 60;
/// And however many go by it, after this part.
const ONLY_ANSWERS_IN_ALL: u32 = 6;

pub(super) struct LaneTask {
    router: Arc<Router>,
    snapshot: Arc<Snapshot>,
    pair: DomainPair,
    queue: Receiver,
    signs: Arc<Signs>,
    lane: Lane,
    connecting: Option<JoinHandle<Result<Connected, Cause>>>,
    stream: Option<Box<Stream>>,
    /// What the kernel took of it, and may not have delivered.
    fate: Fate,
    /// What the DNS proved about the stream's server.
    target_evidence: Option<TargetEvidence>,
    /// The stream's certificate, which is judged again.
    judging: Option<JoinHandle<Judged>>,
    /// It has to be, as soon as there is a stream.
    stale: bool,
    /// What goes back to its senders, as fast as they have room for it: it keeps its place in the queue's bound.
    returning: VecDeque<Returning>,
    /// There is no room for the first of these.
    room: Option<Wait>,
    /// Nothing is sent any more: the server stops.
    is_last_call: bool,
    /// What came on the stream and has no place there, not yet looked at.
    strays: Vec<(PeerText, Option<Element>)>,
    reloads: watch::Receiver<()>,
}

/// A stanza that is given up, and what its sender is told.
struct Returning {
    stanza: Stanza,
    error: Arc<StanzaError>,
}

/// An open stream and what was given to it.
struct Stream {
    conn: Conn,
    entry: Entry,
    /// Ends when an operator wants the stream closed.
    closing: Pin<Box<dyn Future<Output = ()> + Send>>,
    outbound: Box<Outbound>,
    /// Stanzas whose last byte the socket has not taken yet.
    unwritten: VecDeque<Unwritten>,
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

/// A stanza in the stream's buffer: where in the stream it begins and ends.
struct Unwritten {
    bytes: Range<u64>,
    waiting: Waiting,
}

enum Happened {
    Queue,
    Connected(Result<Connected, Cause>),
    Stream(Result<Progress, std::io::Error>),
    KeepAlive,
    Idle,
    Stalled,
    Tick,
    Alive,
    Ordered,
    CloseWanted,
    Reloaded,
    Late,
    LetGo,
    Judged(Judged),
    Room,
    LastCall,
    Over,
}

/// Gives a new lane its task.
pub(crate) fn open_lane(router: &Arc<Router>, lane: NewLane) {
    tokio::spawn(LaneTask::new(Arc::clone(router), lane).run());
}

impl LaneTask {
    fn new(router: Arc<Router>, NewLane { pair, queue, signs }: NewLane) -> Self {
        let snapshot = router.shared().snapshot();
        let own = &snapshot.config.queue;
        let stall_limit = Backoff {
            give_up: own.give_up,
            first: own.backoff.first,
            max: own.backoff.max,
        };
        let reloads = router.shared().reloads.subscribe();
        Self {
            reloads,
            router,
            pair,
            queue,
            signs,
            lane: Lane::new(stall_limit),
            connecting: None,
            stream: None,
            fate: Fate::default(),
            target_evidence: None,
            judging: None,
            stale: false,
            returning: VecDeque::new(),
            room: None,
            is_last_call: false,
            strays: Vec::new(),
            snapshot,
        }
    }

    fn run(self) -> impl Future<Output = ()> + Send {
        let span = info_span!("out", local = %self.pair.local, remote = %self.pair.remote);
        Box::new(self).drive().instrument(span)
    }

    /// What waits here for long is small: whatever is more than a moment's work is boxed as long as it lasts.
    async fn drive(mut self: Box<Self>) {
        let mut batch = Vec::new();
        loop {
            match self.next(&mut batch).await {
                Happened::Queue => {
                    let came = std::mem::take(&mut batch);
                    for stanza in came {
                        self.tell(LaneEvent::Stanza(stanza));
                    }
                    if self.is_last_call {
                        self.give_up();
                    }
                }
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
                Happened::LetGo => {
                    Box::pin(self.let_go()).await;
                    break;
                }
                Happened::Stalled => self.on_stalled(),
                Happened::Tick => self.tell(LaneEvent::Tick),
                Happened::CloseWanted => Box::pin(self.say(OutboundEvent::CloseWanted)).await,
                Happened::Alive => self.tell(LaneEvent::PeerAlive),
                Happened::Ordered => self.on_order(),
                Happened::Reloaded => Box::pin(self.on_reload()).await,
                Happened::Judged(judged) => {
                    self.judging = None;
                    Box::pin(self.say(OutboundEvent::Judged(judged))).await;
                }
                Happened::Room => self.give_back(),
                Happened::LastCall => {
                    self.is_last_call = true;
                    self.give_up();
                    Box::pin(self.say(OutboundEvent::Shutdown)).await;
                    // What the stream had not written came back.
                    self.give_up();
                }
                Happened::Over => {
                    self.drop_the_rest();
                    break;
                }
            }
            self.write();
            self.signs.is_failing(self.lane.is_failing());
            self.signs.set_oldest(self.oldest());
            if self.is_over() {
                let lanes = self.router.lanes();
                if lanes.forget(&self.pair, &self.signs, &self.queue) {
                    break;
                }
            }
        }
        debug!("lane ends");
    }

    async fn next(&mut self, batch: &mut Vec<Stanza>) -> Happened {
        let limits = &self.snapshot.config.limits;
        let deadline = self.lane.deadline();
        let only_answers = self.signs.only_answers();
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
            // The queue is always emptied into the lane: its bound is the load, not the place.
            _ = self.queue.receive(batch, BATCH) => Happened::Queue,
            outcome = finished(&mut self.connecting) => Happened::Connected(outcome),
            judged = judging::done(&mut self.judging) => Happened::Judged(judged),
            happened = progress(&mut self.stream) => happened,
            happened = first(due) => happened,
            () = self.signs.alive.notified() => Happened::Alive,
            () = self.signs.order.notified() => Happened::Ordered,
            () = self.signs.let_go.cancelled() => Happened::LetGo,
            Ok(()) = self.reloads.changed() => Happened::Reloaded,
            () = room(self.room.as_ref()) => Happened::Room,
            () = self.router.shared().last_call.cancelled(), if !is_last_call => Happened::LastCall,
            () = self.router.shared().stop_components.cancelled(), if is_last_call => Happened::Over,
        }
    }

    /// An operator wants something.
    fn on_order(&mut self) {
        if self.signs.take_retry() {
            if let Some(attempt) = self.connecting.take() {
                attempt.abort();
            }
            self.tell(LaneEvent::Retry);
        }
        self.signs.report(|| {
            let stream = self.stream.iter();
            let unwritten = stream.flat_map(|stream| &stream.unwritten);
            let written = unwritten.map(|unwritten| &unwritten.waiting);
            self.lane.report(Instant::now(), written)
        });
    }

    /// Since when the oldest stanza has been waiting.
    fn oldest(&self) -> Option<Instant> {
        let stream = self.stream.as_ref();
        let first = stream.and_then(|stream| stream.unwritten.front());
        let written = first.map(|first| first.waiting.since());
        written.or_else(|| self.lane.oldest())
    }

    /// Another lane has the place of this one, in which nothing waits, or only what may be lost.
    async fn let_go(&mut self) {
        if let Some(attempt) = self.connecting.take() {
            attempt.abort();
        }
        self.say(OutboundEvent::Idle).await;
        while let Some(stanza) = self.queue.try_receive() {
            self.tell(LaneEvent::Stanza(stanza));
        }
        self.tell(LaneEvent::GiveUp(Cause::Idle));
        if let Some(attempt) = self.connecting.take() {
            attempt.abort();
        }
        self.drop_the_rest();
    }

    /// Nothing is sent any more: what waits goes back.
    fn give_up(&mut self) {
        self.tell(LaneEvent::GiveUp(Cause::Shutdown));
        if let Some(attempt) = self.connecting.take() {
            attempt.abort();
        }
    }

    /// Gives back what is given up, as far as there is room for it. The lane does not stop for that: whose component does
    /// not read keeps what is its own, here and in the bounds.
    fn give_back(&mut self) {
        self.room = None;
        while let Some(Returning { stanza, error }) = self.returning.pop_front() {
            let size = stanza.size();
            match self.router.give_back(stanza, &error) {
                Ok(()) => self.queue.settled(size),
                Err(returned) => {
                    let stanza = returned.stanza;
                    self.returning.push_front(Returning { stanza, error });
                    self.room = Some(returned.wait_for);
                    return;
                }
            }
        }
        release(&mut self.returning);
    }

    /// There is no time for it any more.
    fn drop_the_rest(&mut self) {
        self.room = None;
        for Returning { stanza, .. } in self.returning.drain(..) {
            self.queue.settled(stanza.size());
            self.router.not_returned(&stanza);
        }
    }

    /// A domain that is not admitted any more gets nothing more: neither what waits, nor a stream.
    async fn on_reload(&mut self) {
        let snapshot = self.router.shared().snapshot();
        let Err(denied) = snapshot.admits(&self.pair.remote) else {
            self.stale = self.connecting.is_some();
            self.judge_again();
            return;
        };
        self.tell(LaneEvent::GiveUp(Cause::denied(&self.pair.remote, &denied)));
        if let Some(connecting) = self.connecting.take() {
            connecting.abort();
        }
        self.say(OutboundEvent::Idle).await;
    }

    /// One event for the lane, and what follows from it.
    fn tell(&mut self, event: LaneEvent) {
        let mut effects = Vec::new();
        self.lane.handle(Instant::now(), event, &mut effects);
        // As a rule many come back for one cause.
        let mut last: Option<(Cause, Arc<StanzaError>)> = None;
        for effect in effects {
            match effect {
                LaneEffect::Connect => {
                    // A reload may have changed the rules since the last attempt.
                    self.snapshot = self.router.shared().snapshot();
                    let (shared, snapshot) =
                        (Arc::clone(self.router.shared()), Arc::clone(&self.snapshot));
                    let pair = self.pair.clone();
                    // Where nothing but our own answers goes, others choose whom we look up.
                    let causer = self.signs.only_answers().then(|| {
                        let owner = Owner::peer(&self.pair.remote);
                        Causer::Answered(owner)
                    });
                    let make = async move {
                        let purpose = Purpose::Deliver;
                        connector::connect(&shared, &snapshot, &pair, &purpose, causer.as_ref())
                            .await
                    };
                    self.connecting = Some(tokio::spawn(make.in_current_span()));
                }
                LaneEffect::Bounce(stanza, cause) => {
                    let known = last.take().filter(|(known, _)| *known == cause);
                    let (cause, error) = known.unwrap_or_else(|| {
                        let error = Arc::new(cause.stanza_error());
                        (cause, error)
                    });
                    self.returning.push_back(Returning {
                        stanza,
                        error: Arc::clone(&error),
                    });
                    last = Some((cause, error));
                }
            }
        }
        if self.room.is_none() {
            self.give_back();
        }
    }

    fn on_connected(&mut self, outcome: Result<Connected, Cause>) {
        self.connecting = None;
        match outcome {
            Ok(Connected::Ready(ready)) => {
                let Ready {
                    conn,
                    entry,
                    outbound,
                    authorized,
                    target_evidence,
                    permit,
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
                let now = Instant::now();
                self.signs.set_up(true);
                self.router.lanes().works(&self.pair);
                self.router.lanes().reached(&self.pair.remote);
                entry.serves(&self.pair);
                let closing = Box::pin(entry.clone().closed_by_an_operator());
                self.stream = Some(Box::new(Stream {
                    conn,
                    entry,
                    closing,
                    outbound,
                    unwritten: VecDeque::new(),
                    quiet_since: now,
                    used: now,
                    answered: now,
                    stall: Stall::default(),
                    carried: Carried::default(),
                    suspects: Suspects::default(),
                    strays: Strays::default(),
                    cut: false,
                    _permit: permit,
                }));
                self.tell(LaneEvent::Connected);
                if std::mem::take(&mut self.stale) {
                    self.judge_again();
                }
            }
            Ok(Connected::QuestionStream(_)) => {
                self.failed(Cause::Finished);
            }
            Err(cause) => {
                let (name, waiting) = (cause.name(), self.lane.waiting());
                self.router.tally().attempt_failed(name);
                match self.router.lanes().failed(&self.pair.remote, name) {
                    true => warn!(proved = Empty, cause = name, waiting, "no stream: {cause}"),
                    false => debug!(cause = name, waiting, "no stream: {cause}"),
                }
                self.failed(cause);
            }
        }
    }

    fn failed(&mut self, cause: Cause) {
        let worked = self.router.lanes().has_worked(&self.pair);
        self.tell(LaneEvent::Failed {
            cause,
            worked,
            random: OsRandom::next_u32(),
        });
    }

    /// Moves stanzas from the lane into the stream's buffer while it has room.
    fn write(&mut self) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        while stream.conn.has_room() {
            let Some(waiting) = self.lane.pop() else {
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
                self.returning.push_back(Returning { stanza, error });
                continue;
            }
            let is_own = stanza.is_own();
            let begin = stream.conn.queued();
            stanza
                .element()
                .write_for(ContentNamespace::Server, stream.conn.out());
            let bytes = begin..stream.conn.queued();
            stream.carried.note(stanza.element());
            stream.unwritten.push_back(Unwritten { bytes, waiting });
            stream.quiet_since = Instant::now();
            stream.answered = stream.quiet_since;
            if !is_own {
                stream.used = stream.quiet_since;
            }
        }
        if self.room.is_none() {
            self.give_back();
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
        let written = stream.conn.written();
        let is_written = |first: &Unwritten| first.bytes.end <= written;
        let (now, mut taken) = (Instant::now(), 0);
        while let Some(first) = pop_front_if(&mut stream.unwritten, is_written) {
            let stanza = first.waiting.stanza;
            self.queue.settled(stanza.size());
            taken += 1;
            let is_last = !stream.unwritten.front().is_some_and(is_written);
            if is_last || suspects::is_large(stanza.element()) {
                stream.suspects.took(now, stanza.element());
            }
        }
        let stall_limit = self.snapshot.config.limits.stall;
        self.fate.took(now, taken, stall_limit);
        stream.conn.counters().stanzas_out(taken);
        release(&mut stream.unwritten);
    }

    /// One event for the stream's machine, and what follows from it.
    async fn say(&mut self, event: OutboundEvent) {
        let Some(stream) = self.stream.take() else {
            return;
        };
        let mut stream = *stream;
        let mut effects = Vec::new();
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
                | OutboundEffect::Established(_)
                | OutboundEffect::PairRefused(..)
                | OutboundEffect::MayAsk
                | OutboundEffect::NotAsked(_)
                | OutboundEffect::Answered(..) => {}
                OutboundEffect::Stray { what, stanza } => self.strays.push((what, stanza)),
            }
        }
        match step {
            Ok(outbound) => self.stream = Some(Box::new(Stream { outbound, ..stream })),
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

    fn is_over(&self) -> bool {
        self.lane.is_done()
            && self.stream.is_none()
            && self.connecting.is_none()
            && self.returning.is_empty()
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
    connecting: &mut Option<JoinHandle<Result<Connected, Cause>>>,
) -> Result<Connected, Cause> {
    match connecting {
        Some(task) => task
            .await
            .unwrap_or_else(|_| Err(Cause::Lost("the attempt broke off".into()))),
        None => std::future::pending().await,
    }
}

async fn room(wait: Option<&Wait>) {
    match wait {
        Some(wait) => wait.room().await,
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
