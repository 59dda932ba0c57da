//! Serves one incoming stream: the driver of [`negotiate::Inbound`](crate::protocol::negotiate::Inbound).
//!
//! Waits only to the right: a component whose queue is full pauses the stream its stanzas come from, so that TCP slows
//! the sending server down; questions to authoritative servers are tasks of its own that end with it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout_at};
use tracing::{Instrument, debug, field::Empty, info, info_span, trace, warn};
use xmpp_sasl::Failure;
use xmpp_stream::Frame;

use crate::closed::{By, Cause, Closed, OtherEnd};
use crate::flow::evidence::Direction;
use crate::flow::questions::{self, NoRoom};
use crate::flow::receiving::{Freed, HEARING, Hearing, Receiving};
use crate::flow::router::Router;
use crate::flow::sending::{Carrying, Wanted};
use crate::flow::sessions::{Entry, StreamKind};
use crate::flow::shared::OsRandom;
use crate::net::admission::Admission;
use crate::net::conn::{Conn, Progress};
use crate::protocol::budget::Owner;
use crate::protocol::negotiate::{Inbound, InboundEffect, InboundEvent, Snapshot};

/// A connection that sends nothing of its own any more gets this long to take our last words.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

mod accepting;

use accepting::accept;

struct Driver {
    router: Arc<Router>,
    entry: Entry,
    snapshot: Arc<Snapshot>,
    conn: Conn,
    /// Questions to authoritative servers, and about certificates: at most one of each for a pair. They end with the
    /// stream, so that a peer that comes and goes does not leave more of them behind than it could have on its streams.
    questions: JoinSet<InboundEvent>,
    admission: Admission,
    receiving: Receiving,
    /// Our own stanzas on it, where it carries both directions.
    carrying: Option<Box<Carrying>>,
    effects: Vec<InboundEffect>,
    /// When it was accepted: the time for negotiation counts from here, handshakes included.
    began: Instant,
    /// When something came last, spaces not counted.
    heard: Instant,
    reloads: watch::Receiver<()>,
    /// Something was proved on it.
    proved: bool,
    /// We have ended the stream: we still read from the peer, and write nothing more.
    is_ending: bool,
    /// When we stop reading.
    heard_out: Option<Instant>,
}

/// What the driver is to keep to.
struct Asks {
    /// When it is to say that time is over.
    deadline: Option<Instant>,
    /// Whether anything is heard.
    listens: bool,
    /// After this silence of ours we send a space.
    keepalive: Duration,
}

/// What may happen to a stream.
enum Happened {
    /// Something for what decides.
    Came(InboundEvent),
    /// There may be bytes to decode.
    Read,
    /// The lanes that send by it want something.
    Lanes(Wanted),
    KeepAlive,
    /// The peer reads nothing of what we send.
    Stalled,
    /// Lanes wait no longer for the end of the stream.
    HandsBack,
}

/// Serves the stream until it ends.
pub(crate) async fn serve(
    router: Arc<Router>,
    tcp: TcpStream,
    direct_tls: bool,
    admission: Admission,
) {
    let Ok(peer) = tcp.peer_addr() else { return };
    let span = info_span!("in", %peer, tls = direct_tls);
    async move {
        let snapshot = router.shared().snapshot();
        let began = Instant::now();
        let entry = (router.shared().sessions).register(StreamKind::Incoming, peer);
        match accept(&router, &snapshot, tcp, peer, direct_tls, began).await {
            Ok((mut conn, transport)) => {
                entry.carried_by(&mut conn);
                let give_up = snapshot.config.queue.give_up;
                let receiving = Receiving::new(Arc::clone(&router), give_up);
                let driver = Driver {
                    reloads: router.shared().reloads.subscribe(),
                    questions: JoinSet::new(),
                    router,
                    entry,
                    conn,
                    admission: admission.clone(),
                    receiving,
                    carrying: None,
                    effects: Vec::new(),
                    began,
                    heard: began,
                    proved: false,
                    is_ending: false,
                    heard_out: None,
                    snapshot: Arc::clone(&snapshot),
                };
                let inbound = Inbound::new(snapshot, Box::new(OsRandom), transport, began)
                    .with_quota(Box::new(admission))
                    .with_bidi();
                driver.run(inbound).await;
            }
            Err(closed) => {
                entry.ended(&closed);
                report(&closed, false)
            }
        }
    }
    .instrument(span)
    .await;
}

impl Driver {
    async fn run(mut self, mut inbound: Box<Inbound>) {
        let (closed, hears) = loop {
            if let Some(carrying) = &mut self.carrying {
                carrying.write(&mut self.conn, inbound.peer_max_stanza());
            }
            let asks = Asks {
                deadline: inbound.deadline(),
                listens: inbound.listens(),
                keepalive: inbound.keepalive(),
            };
            let next = match self.next(asks).await {
                Happened::Came(event) => self.event(inbound, event).await,
                // Every whole frame, one after the other.
                Happened::Read => self.frames(inbound).await,
                Happened::Lanes(wanted) => {
                    if let Some(carrying) = &mut self.carrying {
                        carrying.attend(wanted, &self.entry);
                    }
                    continue;
                }
                Happened::KeepAlive => {
                    if let Some(carrying) = &mut self.carrying {
                        carrying.writing.keep_alive(&mut self.conn);
                    }
                    continue;
                }
                Happened::HandsBack => {
                    self.hand_back(&Closed {
                        by: By::Us,
                        cause: Cause::Shutdown,
                    });
                    continue;
                }
                Happened::Stalled => {
                    let cause = Cause::Timeout("the other server reads nothing");
                    break (Closed { by: By::Us, cause }, false);
                }
            };
            match next {
                Ok(next) => inbound = next,
                Err(closed) => break (closed, true),
            }
        };
        self.entry.ended(&closed);
        // No question has an asker any more: this frees what they hold.
        self.questions = JoinSet::new();
        // What the machine said last is still to be written. A stop waits for those that may have stanzas on the way.
        match self.proved {
            // Who reads nothing hears no last words either.
            true if !hears => {}
            true => self.conn.close(CLOSE_TIMEOUT).await,
            false => {
                let stop = &self.router.shared().stop;
                self.conn.close_unproved(CLOSE_TIMEOUT, stop).await;
            }
        }
        // Only now: what the socket took must not be overtaken by what goes on elsewhere.
        self.hand_back(&closed);
        report(&closed, self.proved);
        let payer = self.conn.payer().clone();
        self.receiving.finish(None, &payer).await;
    }

    /// No stanzas of ours are written any more: the lanes go on elsewhere.
    fn hand_back(&mut self, closed: &Closed) {
        if let Some(carrying) = self.carrying.take() {
            let stall = self.snapshot.config.limits.stall;
            carrying.ended(&self.conn, closed, stall);
        }
    }

    /// We have said our last word: lanes get no new stream here, and those that there are leave as soon as the peer has
    /// said its own.
    fn ends(&mut self) {
        self.is_ending = true;
        self.entry.closing();
        self.heard = Instant::now();
        self.heard_out = Some(self.heard + self.snapshot.config.limits.drain);
        if let Some(carrying) = &mut self.carrying {
            carrying.ends();
        }
    }

    async fn next(&mut self, asks: Asks) -> Happened {
        let Asks {
            deadline,
            listens,
            keepalive,
        } = asks;
        let limits = &self.snapshot.config.limits;
        // Who is not listened to is not idle.
        let idle = match self.is_ending {
            true => CLOSE_TIMEOUT,
            false => limits.idle,
        };
        // What we send on it counts, too.
        let used = self.carrying.as_ref().map(|carrying| carrying.writing.used);
        let used = used.filter(|_| !self.is_ending);
        let heard = used.into_iter().chain(self.receiving.held());
        let heard = heard.fold(self.heard, Instant::max);
        let idle = heard + idle;
        // A peer that does not read our answers is not heard until it does: the bound of the write buffer.
        let has_room = match &self.carrying {
            Some(carrying) => carrying.writing.may_read(&self.conn),
            None => self.conn.has_room(),
        };
        let reading = listens && self.receiving.reads() && has_room;
        let received = self.conn.received();
        let end = match (self.is_ending, self.heard_out) {
            _ if self.receiving.is_waiting() => None,
            (true, heard_out) => Some(heard_out.map_or(idle, |heard_out| heard_out.min(idle))),
            (false, _) => Some(deadline.map_or(idle, |deadline| deadline.min(idle))),
        };
        let late = self.conn.whole_until(limits.stanza_time);
        let is_late = late.is_some_and(|late| end.is_none_or(|end| late < end));
        let until = late.into_iter().chain(end).min();
        let (keepalive, stalled, hands_back) = match &mut self.carrying {
            Some(carrying) => {
                let writing = &mut carrying.writing;
                (
                    (!self.is_ending).then(|| writing.quiet_since + keepalive),
                    writing.stalled_at(&self.conn, limits.stall),
                    // While the server stops, lanes have little time for another stream, whatever the peer still sends.
                    self.heard_out
                        .filter(|_| {
                            self.router.shared().stop.is_cancelled() && self.conn.is_flushed()
                        })
                        .map(|heard_out| {
                            heard_out - (limits.drain - CLOSE_TIMEOUT.min(limits.drain / 8))
                        }),
                )
            }
            None => (None, None, None),
        };
        tokio::select! {
            progress = self.conn.progress(reading) => self.on_progress(progress, received),
            Some(Ok(answer)) = self.questions.join_next() => Happened::Came(answer),
            wanted = wanted(&mut self.carrying) => Happened::Lanes(wanted),
            // What was read already, then more.
            freed = self.receiving.freed(), if listens => { self.on_freed(freed); Happened::Read }
            () = over(until) => {
                Happened::Came(match deadline {
                    _ if is_late => InboundEvent::Late,
                    _ if self.is_ending => InboundEvent::Shutdown,
                    Some(_) => InboundEvent::Tick,
                    None => InboundEvent::Idle,
                })
            }
            () = over(keepalive) => Happened::KeepAlive,
            () = over(stalled) => Happened::Stalled,
            () = over(hands_back) => Happened::HandsBack,
            () = self.admission.replaced(), if !self.is_ending => Happened::Came(InboundEvent::Replaced),
            () = self.entry.close_wanted(), if !self.is_ending => Happened::Came(InboundEvent::CloseWanted),
            Ok(()) = self.reloads.changed() => Happened::Came(InboundEvent::Reloaded(self.router.shared().snapshot())),
            () = self.router.shared().stop.cancelled(), if !self.is_ending => {
                self.receiving.hurry();
                Happened::Came(InboundEvent::Shutdown)
            }
            () = self.router.shared().until_drained(HEARING), if self.is_ending => Happened::Came(InboundEvent::Shutdown),
        }
    }

    fn on_progress(&mut self, progress: std::io::Result<Progress>, before: u64) -> Happened {
        if let Some(carrying) = &mut self.carrying {
            carrying.settle(&self.conn, self.snapshot.config.limits.stall);
            carrying.writing.note(&progress);
        }
        let event = match progress {
            Ok(Progress::Read) => {
                self.receiving.read(self.conn.received() - before);
                return Happened::Read;
            }
            Ok(Progress::Written) => return Happened::Read,
            Ok(Progress::Overfull) => InboundEvent::Overfull,
            Ok(Progress::End) => InboundEvent::Lost("the peer closed the connection".to_owned()),
            Err(error) => InboundEvent::Lost(error.to_string()),
        };
        Happened::Came(event)
    }

    /// What held the stream up does so no more, or something else does.
    fn on_freed(&mut self, freed: Freed) {
        if !matches!(freed, Freed::Time) {
            self.on_heard();
        }
        self.receiving.free(freed, self.conn.payer());
        self.busy();
    }

    /// The stream is not read while a stanza of it waits for room.
    fn busy(&self) {
        if self.receiving.is_waiting() {
            self.admission.busy();
        }
    }

    /// Something came that is more than a space between stanzas, which any peer can send for ever.
    fn on_heard(&mut self) {
        self.heard = Instant::now();
        self.admission.heard(self.heard);
    }

    async fn frames(&mut self, mut inbound: Box<Inbound>) -> Result<Box<Inbound>, Closed> {
        let mut hearing = Hearing::new(self.router.shared(), self.conn.peer().ip());
        loop {
            if self.receiving.is_waiting() {
                return Ok(inbound);
            }
            hearing.next().await;
            // Until a judgement comes, nothing is heard; what was read goes on as soon as it is there.
            let judged = || (!inbound.listens()).then(Instant::now);
            if let Some(until) = self.receiving.pause().or_else(judged) {
                self.admission.heard(until);
                self.receiving.hold(until);
                return Ok(inbound);
            }
            // What was read before a reload is heard under the new rules, as far as they say who may federate.
            let event = if self.reloads.has_changed().unwrap_or(false) {
                self.reloads.mark_unchanged();
                InboundEvent::Reloaded(self.router.shared().snapshot())
            } else {
                match self.conn.frame() {
                    Ok(Some(frame)) => {
                        if !matches!(frame, Frame::Whitespace) {
                            self.on_heard();
                        }
                        InboundEvent::Frame(frame)
                    }
                    Ok(None) => {
                        // An element that has begun has a time of its own.
                        if self.conn.is_within() {
                            self.on_heard();
                        }
                        return Ok(inbound);
                    }
                    Err(error) => InboundEvent::Malformed(error),
                }
            };
            trace!(?event, "received");
            inbound = hearing.during(self.event(inbound, event)).await?;
        }
    }

    async fn event(
        &mut self,
        inbound: Box<Inbound>,
        event: InboundEvent,
    ) -> Result<Box<Inbound>, Closed> {
        let mut effects = std::mem::take(&mut self.effects);
        let mut result = inbound.handle(event, &mut effects);
        // An answer that is there at once is the next event.
        let mut answers = Vec::new();
        loop {
            let tls = result
                .as_ref()
                .map_or("none", |inbound| inbound.transport().version());
            for effect in effects.drain(..) {
                match self.perform(effect, tls).await {
                    Ok(answer) => answers.extend(answer),
                    Err(closed) => return Err(closed),
                }
            }
            if !self.is_ending && result.as_ref().is_ok_and(|inbound| inbound.is_ending()) {
                self.ends();
            }
            match (result, answers.is_empty()) {
                (Ok(next), false) => result = next.handle(answers.remove(0), &mut effects),
                (result, _) => {
                    self.effects = effects;
                    return result;
                }
            }
        }
    }

    async fn perform(
        &mut self,
        effect: InboundEffect,
        tls: &'static str,
    ) -> Result<Option<InboundEvent>, Closed> {
        match effect {
            // After our end tag we send nothing.
            InboundEffect::Send(_) if self.is_ending => Ok(None),
            InboundEffect::Send(bytes) => {
                self.conn.send(&bytes);
                Ok(None)
            }
            InboundEffect::StartTls {
                proceed,
                fallback,
                floor,
            } => self
                .start_tls(&proceed, (fallback.as_ref(), floor))
                .await
                .map(Some),
            InboundEffect::Judge(domain) => {
                let shared = Arc::clone(self.router.shared());
                let source = self.conn.peer();
                let chain = self.conn.shown();
                let judge = async move {
                    let judged = shared.judge(chain, domain, Direction::Incoming, source);
                    InboundEvent::Judged(judged.await)
                };
                self.questions.spawn(judge.in_current_span());
                Ok(None)
            }
            InboundEffect::Ask(pair, question) => {
                let router = Arc::clone(&self.router);
                let from = self.conn.peer();
                let asked = question.pair.clone();
                let ask = async move {
                    match questions::ask(router.questions(), from, pair, question).await {
                        Ok(verdict) => InboundEvent::Verdict(asked, verdict),
                        Err(NoRoom) => InboundEvent::NotAsked(asked),
                    }
                };
                self.questions.spawn(ask.in_current_span());
                Ok(None)
            }
            InboundEffect::RunSasl(sasl_step) => {
                let deadline = self.began + self.snapshot.config.limits.negotiation;
                let shared = self.router.shared();
                let source = self.conn.peer().ip();
                let done = shared.compute(false, source, || sasl_step.run());
                Ok(Some(match timeout_at(deadline.into(), done).await {
                    Ok(Some(done)) => InboundEvent::SaslStepDone(done),
                    Ok(None) => InboundEvent::Shutdown,
                    Err(_) => InboundEvent::Tick,
                }))
            }
            InboundEffect::Explain {
                mechanism,
                failure,
                why,
            } => {
                let failure_name = failure.name();
                // A fault of ours is not an attack.
                match failure {
                    Failure::TemporaryAuthFailure => {
                        warn!(
                            unproved = Empty,
                            mechanism,
                            failure = failure_name,
                            ?why,
                            "SASL failed"
                        )
                    }
                    _ => info!(
                        unproved = Empty,
                        mechanism,
                        failure = failure_name,
                        ?why,
                        "SASL failed"
                    ),
                }
                Ok(None)
            }
            InboundEffect::Restart(limits) => {
                self.questions = JoinSet::new();
                if let Some(carrying) = &mut self.carrying {
                    carrying.pause();
                }
                self.conn.restart(limits);
                Ok(None)
            }
            InboundEffect::SetLimits(limits) => {
                self.conn.set_limits(limits);
                Ok(None)
            }
            InboundEffect::Proved(authorized) => {
                self.proved = true;
                self.entry.proved(&authorized);
                info!(
                    proved = Empty,
                    local = %authorized.pair().local,
                    remote = %authorized.pair().remote,
                    method = authorized.method().name(),
                    trust = authorized.judgement().trust().name(),
                    because = authorized.judgement().because().to_string(),
                    tls,
                    "incoming stream authenticated"
                );
                let remote = &authorized.pair().remote;
                // The first that is proved pays, however many follow.
                if !matches!(self.conn.payer().owner(), Owner::Peer(_)) {
                    let payer = self.router.shared().payer(remote);
                    if !self.conn.pass_to(&payer) {
                        return Ok(Some(InboundEvent::Overfull));
                    }
                }
                self.receiving.proved(remote, &self.snapshot);
                self.router.peer_alive(authorized.pair());
                Ok(None)
            }
            InboundEffect::InverseProved(authorized) => {
                self.entry.carries_both();
                let router = &self.router;
                let carrying =
                    (self.carrying).get_or_insert_with(|| Box::new(Carrying::new(router)));
                carrying.carries(authorized.pair());
                debug!(
                    local = %authorized.pair().local,
                    remote = %authorized.pair().remote,
                    "the stream carries both directions"
                );
                Ok(None)
            }
            InboundEffect::Deliver(stanza, authorized) => {
                if let Some(carrying) = &mut self.carrying {
                    carrying.writing.came(&stanza);
                }
                self.receiving.deliver(stanza, authorized, &self.conn);
                self.busy();
                Ok(None)
            }
            InboundEffect::Bounce(stanza, error, authorized) => {
                self.receiving
                    .bounce(&stanza, &error, &authorized, &self.conn);
                Ok(None)
            }
            InboundEffect::Stray { what, is_stanza } => {
                let too_many = self.receiving.stray(&what, is_stanza);
                Ok(too_many.then_some(InboundEvent::TooManyStrays))
            }
        }
    }
}

/// What lanes want that send by the stream.
async fn wanted(carrying: &mut Option<Box<Carrying>>) -> Wanted {
    match carrying {
        Some(carrying) => carrying.sending.wanted().await,
        None => std::future::pending().await,
    }
}

async fn over(pause: Option<Instant>) {
    match pause {
        Some(until) => sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}

/// The end of a stream, on which something was proved or not.
fn report(closed: &Closed, proved: bool) {
    let (by, cause) = (closed.by.name(OtherEnd::Server), closed.cause.name());
    let told = closed.told_of(OtherEnd::Server);
    match &closed.cause {
        Cause::Finished | Cause::Idle | Cause::Shutdown | Cause::Replaced | Cause::Lost(_) => {
            debug!(by, cause, "incoming stream ended: {told}")
        }
        Cause::TooManyFailures | Cause::Certificate(_) => {
            warn!(
                unproved = Empty,
                by, cause, "incoming stream refused: {told}"
            )
        }
        _ if proved => info!(proved = Empty, by, cause, "incoming stream ended: {told}"),
        _ => info!(unproved = Empty, by, cause, "incoming stream ended: {told}"),
    }
}
