//! Drives the lanes to one remote domain that share a stream: the stream, their clocks, their queues.
//!
//! A lane is one pair of domains. Where the peer takes several pairs on a stream (XEP-0220 §2.6), those of all our domains are
//! here; where it does not, or refuses one, that lane goes to a task of its own. The task ends when no lane has anything to do;
//! the next stanza makes a new one.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep_until;
use tracing::{Instrument, debug, field::Empty, info, info_span, trace};
use xmpp_stream::{Domain, Element};

use crate::closed::{Cause, Returned};
use crate::flow::connector::{CLOSE_TIMEOUT, Connected};
use crate::flow::lanes::{NewTask, QueuedLane};
use crate::flow::receiving::{Freed, Hearing, Receiving};
use crate::flow::router::Router;
use crate::flow::sending::{Miscounted, Sending, WAITS_FOR_ANOTHER, Wanted, Writing};
use crate::flow::sessions::Entry;
use crate::net::conn::{Conn, Progress};
use crate::net::descriptors::Permit;
use crate::peer_text::PeerText;
use crate::protocol::acks::Silent;
use crate::protocol::lane::LaneEvent;
use crate::protocol::negotiate::{
    Authorized, Judged, Outbound, OutboundEffect, OutboundEvent, Snapshot,
};
use crate::protocol::strays::Stray;
use crate::trust::TargetEvidence;

mod ending;
mod judging;
mod providing;

/// A stream by which only answers and bounces of ours went is closed after this part of `limits.idle`.
const ONLY_ANSWERS: u32 = 60;
/// And however many go by it, after this part.
const ONLY_ANSWERS_IN_ALL: u32 = 6;

struct LaneTask {
    router: Arc<Router>,
    snapshot: Arc<Snapshot>,
    remote: Domain,
    sending: Sending,
    /// The stream that is being made, and the place of the lane whose pair is proved on it first.
    connecting: Option<(usize, JoinHandle<Result<Connected, Cause>>)>,
    stream: Option<Stream>,
    /// What the DNS proved about the stream's server.
    target_evidence: Option<TargetEvidence>,
    /// The stream's certificate, which is judged again.
    judging: Option<JoinHandle<Judged>>,
    /// It has to be, as soon as there is a stream.
    stale: bool,
    /// Nothing is sent any more: the server stops.
    is_last_call: bool,
    /// What came on the stream and has no place there, not yet looked at.
    strays: Vec<(PeerText, Option<Element>)>,
    reloads: watch::Receiver<()>,
}

/// An open stream.
struct Stream {
    outbound: Box<Outbound>,
    open: Box<Open>,
}

/// What belongs to it besides what decides.
struct Open {
    /// Our domain of the pair that was proved first, whose certificate was shown.
    local: Domain,
    conn: Conn,
    entry: Entry,
    /// Ends when an operator wants the stream closed.
    closing: Pin<Box<dyn Future<Output = ()> + Send>>,
    writing: Writing,
    /// What comes on it, where it carries both directions.
    receiving: Receiving,
    is_bidi: bool,
    /// How many bytes were taken note of.
    received: u64,
    /// When a stanza came last.
    heard: Instant,
    /// We have said our last word: how long the peer is heard at most.
    heard_out: Option<Instant>,
    /// For its descriptor.
    _permit: Permit,
}

enum Happened {
    Wanted(Wanted),
    Connected(Result<Connected, Cause>),
    Stream(Result<Progress, std::io::Error>),
    /// What held up what comes on the stream does so no more.
    Freed(Freed),
    KeepAlive,
    Idle,
    Stalled,
    /// There may be something to say about what was acknowledged.
    Counted,
    Tick,
    CloseWanted,
    Reloaded,
    Late,
    Judged(Judged),
    LastCall,
    Over,
}

/// Starts the task of a lane.
pub(crate) fn open_lane(router: &Arc<Router>, task: NewTask) {
    tokio::spawn(LaneTask::new(Arc::clone(router), task).run());
}

impl LaneTask {
    fn new(router: Arc<Router>, task: NewTask) -> Self {
        let NewTask { lane, joining } = task;
        let reloads = router.shared().reloads.subscribe();
        let remote = lane.pair.remote.clone();
        let mut sending = Sending::new(Arc::clone(&router), joining);
        sending.lanes.add(lane);
        Self {
            reloads,
            snapshot: router.shared().snapshot(),
            router,
            remote,
            sending,
            connecting: None,
            stream: None,
            target_evidence: None,
            judging: None,
            stale: false,
            is_last_call: false,
            strays: Vec::new(),
        }
    }

    fn run(self) -> impl Future<Output = ()> + Send {
        let local = self
            .sending
            .lanes
            .iter()
            .next()
            .map(|lane| lane.pair.local.clone());
        let local = local.as_ref().map(tracing::field::display);
        let span = info_span!("out", local, remote = %self.remote);
        Box::new(self).drive().instrument(span)
    }

    /// What waits here for long is small: whatever is more than a moment's work is boxed as long as it lasts.
    async fn drive(mut self: Box<Self>) {
        loop {
            match self.next().await {
                Happened::Wanted(Wanted::Attention) => self.attend().await,
                Happened::Wanted(Wanted::Room(place)) => self.sending.room(place),
                Happened::Connected(outcome) => {
                    self.on_connected(outcome);
                    // What came in one piece with the end of the negotiation was read already.
                    Box::pin(self.frames()).await;
                }
                Happened::Stream(progress) => Box::pin(self.on_progress(progress)).await,
                Happened::KeepAlive => {
                    if let Some(stream) = &mut self.stream {
                        stream.open.writing.keep_alive(&mut stream.open.conn);
                    }
                }
                Happened::Freed(freed) => {
                    if let Some(Stream { open, .. }) = &mut self.stream {
                        open.heard = Instant::now();
                        let Open {
                            receiving, conn, ..
                        } = &mut **open;
                        receiving.free(freed, conn.payer());
                    }
                    // What was read already, then more.
                    Box::pin(self.frames()).await;
                }
                Happened::Idle => {
                    let is_ending = self.is_ending();
                    Box::pin(self.say(match is_ending {
                        true => OutboundEvent::Shutdown,
                        false => OutboundEvent::Idle,
                    }))
                    .await;
                }
                Happened::Late => Box::pin(self.say(OutboundEvent::Late)).await,
                Happened::Stalled => Box::pin(self.on_stalled()).await,
                Happened::Counted => Box::pin(self.on_counted()).await,
                Happened::Tick => self.sending.tell_all(|| LaneEvent::Tick),
                Happened::CloseWanted => Box::pin(self.say(OutboundEvent::CloseWanted)).await,
                Happened::Reloaded => Box::pin(self.on_reload()).await,
                Happened::Judged(judged) => {
                    self.judging = None;
                    Box::pin(self.say(OutboundEvent::Judged(judged))).await;
                }
                Happened::LastCall => {
                    self.is_last_call = true;
                    self.give_up();
                    Box::pin(self.say(OutboundEvent::Shutdown)).await;
                    // What the stream had not written came back.
                    self.give_up();
                }
                Happened::Over => {
                    self.sending.drop_the_rest();
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
        let silence = self.silence();
        // A stream that ends asks for no more pairs; and if there is one, no stanza waits for it to be made.
        let (asks, waits) = (!self.is_ending(), self.connecting.is_some());
        let ends = self.sending.lanes.iter().flat_map(|lane| {
            let asked = lane.asked.filter(|_| asks).map(|asked| asked + ask_within);
            let waits = lane.waits.filter(|_| waits);
            let waits = waits.map(|waits| waits + WAITS_FOR_ANOTHER);
            lane.lane.deadline().into_iter().chain(asked).chain(waits)
        });
        let deadline = ends.min();
        let only_answers = |lane: &QueuedLane| lane.signs.only_answers();
        let only_answers = self.sending.lanes.iter().all(only_answers);
        let (keepalive, idle, stall, late, counted) = match &mut self.stream {
            Some(stream) => {
                let is_ending = stream.outbound.is_ending();
                let keepalive = stream.outbound.keepalive();
                let Open {
                    writing,
                    conn,
                    receiving,
                    heard,
                    heard_out,
                    ..
                } = &mut *stream.open;
                let silent = || (*heard + silence).min(heard_out.unwrap_or(*heard + silence));
                let idle = || match only_answers {
                    true => (writing.answered.max(writing.used) + limits.idle / ONLY_ANSWERS)
                        .min(writing.used + limits.idle / ONLY_ANSWERS_IN_ALL),
                    false => writing.used + limits.idle,
                };
                // Who is not listened to is neither silent nor idle.
                let end = match receiving.is_waiting() {
                    true => None,
                    false if is_ending => Some(silent()),
                    false => Some(idle()),
                };
                (
                    (!is_ending).then(|| writing.quiet_since + keepalive),
                    end,
                    writing.stalled_at(conn, limits.stall),
                    conn.whole_until(limits.stanza_time),
                    writing.look_at(),
                )
            }
            None => (None, None, None, None, None),
        };
        let due = [
            (keepalive, Happened::KeepAlive),
            (idle, Happened::Idle),
            (stall, Happened::Stalled),
            (late, Happened::Late),
            (counted, Happened::Counted),
            (deadline, Happened::Tick),
        ];
        let is_last_call = self.is_last_call;
        tokio::select! {
            wanted = self.sending.wanted() => Happened::Wanted(wanted),
            outcome = finished(&mut self.connecting) => Happened::Connected(outcome),
            judged = judging::done(&mut self.judging) => Happened::Judged(judged),
            happened = progress(&mut self.stream) => happened,
            happened = first(due) => happened,
            Ok(()) = self.reloads.changed() => Happened::Reloaded,
            () = self.router.shared().last_call.cancelled(), if !is_last_call => Happened::LastCall,
            () = self.router.shared().stop_components.cancelled(), if is_last_call => Happened::Over,
        }
    }

    /// New lanes are taken, and what all of them were told is done.
    async fn attend(&mut self) {
        for lane in self.sending.joining.take() {
            self.sending.lanes.add(lane);
        }
        let writing = self.stream.as_ref().map(|stream| &stream.open.writing);
        let connecting = &mut self.connecting;
        let let_go = self.sending.attend(writing, |place| {
            if let Some((_, attempt)) = connecting.take_if(|(first, _)| *first == place) {
                attempt.abort();
            }
        });
        for place in let_go {
            if let Some((_, attempt)) = self.connecting.take_if(|(first, _)| *first == place) {
                attempt.abort();
            }
            if self.sending.lanes.len() == 1 {
                Box::pin(self.say(OutboundEvent::Idle)).await;
            }
            let writing = self.stream.as_mut();
            let writing = writing.map(|stream| &mut stream.open.writing);
            self.sending.let_go(place, writing);
        }
        if self.is_last_call {
            self.give_up();
        }
    }

    /// Nothing is sent any more: what waits goes back.
    fn give_up(&mut self) {
        let cause = Cause::Shutdown;
        self.sending.tell_all(|| LaneEvent::GiveUp(cause.clone()));
        if let Some((_, attempt)) = self.connecting.take() {
            attempt.abort();
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
        self.sending.tell_all(|| LaneEvent::GiveUp(cause.clone()));
        if let Some((_, connecting)) = self.connecting.take() {
            connecting.abort();
        }
        self.say(OutboundEvent::Idle).await;
        if self.is_ending() {
            // Nor is it heard any more.
            self.say(OutboundEvent::Shutdown).await;
        }
    }

    /// Whether we have said our last word on the stream, and only hear what the peer still sends.
    fn is_ending(&self) -> bool {
        let stream = self.stream.as_ref();
        stream.is_some_and(|stream| stream.outbound.is_ending())
    }

    /// After this time without a stanza of the peer's, a stream is over on which we have said our last word.
    fn silence(&self) -> Duration {
        match self.is_last_call {
            true => CLOSE_TIMEOUT.min(self.snapshot.config.limits.drain / 16),
            false => CLOSE_TIMEOUT,
        }
    }

    /// Moves stanzas from the lanes into the stream's buffer while it has room.
    fn write(&mut self) {
        let stream = self.stream.as_mut();
        if let Some(stream) = stream.filter(|stream| !stream.outbound.is_ending()) {
            let most = stream.outbound.peer_max_stanza();
            let Open { writing, conn, .. } = &mut *stream.open;
            self.sending.write(writing, conn, most);
        }
    }

    async fn on_progress(&mut self, progress: Result<Progress, std::io::Error>) {
        if let Some(stream) = &mut self.stream {
            let Open {
                writing,
                conn,
                receiving,
                received,
                ..
            } = &mut *stream.open;
            self.sending
                .settle(writing, conn, self.snapshot.config.limits.stall);
            writing.ask(conn);
            writing.note(&progress);
            receiving.read(conn.received() - *received);
            *received = conn.received();
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

    /// Everything whole that was read. What carries both directions has its turns, as a stream has that the peer opened.
    async fn frames(&mut self) {
        let mut hearing: Option<Hearing> = None;
        while let Some(Stream { open, .. }) = &mut self.stream {
            if open.receiving.is_waiting() || !open.writing.may_count() {
                return;
            }
            if open.is_bidi {
                let (shared, from) = (self.router.shared(), open.conn.peer().ip());
                let hearing = hearing.get_or_insert_with(|| Hearing::new(shared, from));
                hearing.next().await;
                if let Some(until) = open.receiving.pause() {
                    return open.receiving.hold(until);
                }
                // What was read before a reload is heard under the new rules.
                if self.reloads.has_changed().unwrap_or(false) {
                    self.reloads.mark_unchanged();
                    Box::pin(self.on_reload()).await;
                    continue;
                }
            }
            let event = match open.conn.frame() {
                Ok(Some(frame)) => OutboundEvent::Frame(frame),
                Ok(None) => return,
                Err(error) => OutboundEvent::Malformed(error),
            };
            trace!(?event, "received");
            match &mut hearing {
                Some(hearing) => hearing.during(self.say(event)).await,
                None => self.say(event).await,
            }
            while let Some((what, stanza)) = self.strays.pop() {
                if self.on_stray(&what, stanza.as_ref()) == Stray::TooMany {
                    self.say(OutboundEvent::TooManyStrays).await;
                }
            }
        }
    }

    /// Something came where nothing comes. It goes nowhere; at most its sender's stanza bounces.
    fn on_stray(&mut self, what: &PeerText, stanza: Option<&Element>) -> Stray {
        let Some(Stream { open, .. }) = &mut self.stream else {
            return Stray::PassOver;
        };
        let verdict = open.receiving.strays.note(Instant::now(), stanza.is_some());
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
        let answered = stanza.and_then(|stanza| open.writing.answered_by(stanza));
        if let Some(stanza) = answered {
            let payer = open.conn.payer().clone();
            self.router
                .bounce(&stanza, &Returned::Refused.stanza_error(), &payer);
        }
        verdict
    }

    /// One event for the stream's machine, and what follows from it.
    async fn say(&mut self, event: OutboundEvent) {
        let Some(Stream { outbound, mut open }) = self.stream.take() else {
            return;
        };
        let mut effects = Vec::new();
        let mut pairs = Vec::new();
        let mut miscounted = None;
        let was_ending = outbound.is_ending();
        let step = outbound.handle(event, &mut effects);
        for effect in effects {
            match effect {
                // After our end tag we send nothing.
                OutboundEffect::Send(_) if was_ending => {}
                OutboundEffect::Send(bytes) => open.conn.send(&bytes),
                OutboundEffect::SetLimits(limits) | OutboundEffect::Restart(limits) => {
                    open.conn.set_limits(limits)
                }
                OutboundEffect::StartTls
                | OutboundEffect::Judge(_)
                | OutboundEffect::RunSasl(_)
                | OutboundEffect::MayAsk
                | OutboundEffect::NotAsked(_)
                | OutboundEffect::Answered(..) => {}
                OutboundEffect::Stray { what, stanza } => self.strays.push((what, stanza)),
                OutboundEffect::Established(authorized) => pairs.push(Ok(authorized)),
                OutboundEffect::InverseProved(authorized) => {
                    open.carries_both(&authorized, &self.snapshot);
                }
                OutboundEffect::Counts => open.writing.counts(Instant::now()),
                OutboundEffect::Managed(read) => {
                    let Open { writing, conn, .. } = &mut *open;
                    miscounted = self.sending.managed(writing, conn, read).err();
                }
                OutboundEffect::Deliver(stanza, authorized) => {
                    open.writing.came(&stanza);
                    let stanza = match open.writing.receive() {
                        Some(receipt) => stanza.with_receipt(receipt),
                        None => stanza,
                    };
                    open.heard = open.writing.used;
                    open.receiving.deliver(stanza, authorized, &open.conn);
                }
                OutboundEffect::Bounce(stanza, error, authorized) => {
                    // Its sender gets an error: that settles it.
                    drop(open.writing.receive());
                    open.receiving
                        .bounce(&stanza, &error, &authorized, &open.conn);
                }
                OutboundEffect::PairRefused(pair, cause) => pairs.push(Err((pair, cause))),
            }
        }
        match step {
            Ok(outbound) => {
                if outbound.is_ending() && !was_ending {
                    open.entry.closing();
                    open.writing.is_over = true;
                    open.heard = Instant::now();
                    open.heard_out = Some(open.heard + self.snapshot.config.limits.drain);
                }
                self.stream = Some(Stream { outbound, open });
                for asked in pairs {
                    self.on_pair(asked);
                }
                if let Some(Miscounted(error, what)) = miscounted {
                    Box::pin(self.say(OutboundEvent::Miscounted(error, what))).await;
                }
            }
            Err(closed) => self.on_closed(open, closed).await,
        }
    }

    /// What there is to say about what was acknowledged, and to hear again.
    async fn on_counted(&mut self) {
        let Some(Stream { open, .. }) = &mut self.stream else {
            return;
        };
        let Open { writing, conn, .. } = &mut **open;
        match writing.look(conn) {
            Ok(()) => self.frames().await,
            Err(Silent) => {
                let what = "the other server acknowledges nothing".to_owned();
                self.say(OutboundEvent::Lost(what)).await;
            }
        }
    }

    fn is_over(&mut self) -> bool {
        let writing = self.stream.as_ref().map(|stream| &stream.open.writing);
        self.sending.is_over(writing)
            && self.stream.is_none()
            && self
                .router
                .lanes()
                .takes_no_more(&self.remote, &self.sending.joining)
    }
}

impl Open {
    /// The peer may send stanzas of this pair.
    fn carries_both(&mut self, authorized: &Authorized, snapshot: &Snapshot) {
        let pair = authorized.pair();
        debug!(local = %pair.local, remote = %pair.remote, "the stream carries both directions");
        self.is_bidi = true;
        self.entry.carries_both();
        self.receiving.proved(&pair.remote, snapshot);
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

async fn progress(stream: &mut Option<Stream>) -> Happened {
    match stream {
        Some(stream) => {
            let Open {
                conn,
                closing,
                receiving,
                writing,
                is_bidi,
                heard_out,
                ..
            } = &mut *stream.open;
            let reading = receiving.reads() && (!*is_bidi || writing.may_read(conn));
            tokio::select! {
                progress = conn.progress(reading) => Happened::Stream(progress),
                freed = receiving.freed() => Happened::Freed(freed),
                () = closing, if heard_out.is_none() => Happened::CloseWanted,
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
