//! Drives the lanes to one remote domain that share a stream: the stream, their clocks, their queues.
//!
//! A lane is one pair of domains. Where the peer takes several pairs on a stream (XEP-0220 §2.6), those of all our domains are
//! here; where it does not, or refuses one, that lane goes to a task of its own. The task ends when no lane has anything to do;
//! the next stanza makes a new one.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep_until;
use tracing::{Instrument, debug, field::Empty, info, info_span, trace};
use xmpp_stream::{Domain, Element};

use crate::closed::{Cause, Returned};
use crate::flow::connector::Connected;
use crate::flow::lanes::{NewTask, QueuedLane};
use crate::flow::router::Router;
use crate::flow::sending::{Sending, Wanted, Writing};
use crate::flow::sessions::Entry;
use crate::net::conn::{Conn, Progress};
use crate::net::descriptors::Permit;
use crate::peer_text::PeerText;
use crate::protocol::lane::LaneEvent;
use crate::protocol::negotiate::{Judged, Outbound, OutboundEffect, OutboundEvent, Snapshot};
use crate::protocol::strays::{Stray, Strays};
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
    strays: Strays,
    /// For its descriptor.
    _permit: Permit,
}

enum Happened {
    Wanted(Wanted),
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
                Happened::Idle => Box::pin(self.say(OutboundEvent::Idle)).await,
                Happened::Late => Box::pin(self.say(OutboundEvent::Late)).await,
                Happened::Stalled => self.on_stalled(),
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
        let ends = self.sending.lanes.iter().flat_map(|lane| {
            let asked = lane.asked.map(|asked| asked + ask_within);
            let waits = lane.waits.map(|waits| waits + providing::WAITS_FOR_ANOTHER);
            lane.lane.deadline().into_iter().chain(asked).chain(waits)
        });
        let deadline = ends.min();
        let only_answers = |lane: &QueuedLane| lane.signs.only_answers();
        let only_answers = self.sending.lanes.iter().all(only_answers);
        let (keepalive, idle, stall, late) = match &mut self.stream {
            Some(stream) => {
                let Open { writing, conn, .. } = &mut *stream.open;
                (
                    Some(writing.quiet_since + stream.outbound.keepalive()),
                    Some(match only_answers {
                        true => (writing.answered + limits.idle / ONLY_ANSWERS)
                            .min(writing.used + limits.idle / ONLY_ANSWERS_IN_ALL),
                        false => writing.used + limits.idle,
                    }),
                    writing.stalled_at(conn, limits.stall),
                    conn.whole_until(limits.stanza_time),
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
    }

    /// Moves stanzas from the lanes into the stream's buffer while it has room.
    fn write(&mut self) {
        if let Some(stream) = &mut self.stream {
            let most = stream.outbound.peer_max_stanza();
            let Open { writing, conn, .. } = &mut *stream.open;
            self.sending.write(writing, conn, most);
        }
    }

    async fn on_progress(&mut self, progress: Result<Progress, std::io::Error>) {
        if let Some(stream) = &mut self.stream {
            let Open { writing, conn, .. } = &mut *stream.open;
            self.sending
                .settle(writing, conn, self.snapshot.config.limits.stall);
            writing.note(&progress);
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
            let event = match stream.open.conn.frame() {
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
        let Some(Stream { open, .. }) = &mut self.stream else {
            return Stray::PassOver;
        };
        let verdict = open.strays.note(Instant::now(), stanza.is_some());
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
        let step = outbound.handle(event, &mut effects);
        for effect in effects {
            match effect {
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
                // Not on a stream without bidi.
                OutboundEffect::InverseProved(_)
                | OutboundEffect::Deliver(..)
                | OutboundEffect::Bounce(..) => {}
                OutboundEffect::Stray { what, stanza } => self.strays.push((what, stanza)),
                OutboundEffect::Established(authorized) => pairs.push(Ok(authorized)),
                OutboundEffect::PairRefused(pair, cause) => pairs.push(Err((pair, cause))),
            }
        }
        match step {
            Ok(outbound) => {
                self.stream = Some(Stream { outbound, open });
                for asked in pairs {
                    self.on_pair(asked);
                }
            }
            Err(closed) => self.on_closed(open, closed).await,
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
            let Open { conn, closing, .. } = &mut *stream.open;
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
