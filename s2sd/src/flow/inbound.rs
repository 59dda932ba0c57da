//! Serves one incoming stream: the driver of [`negotiate::Inbound`](crate::protocol::negotiate::Inbound).
//!
//! Waits only to the right: a component whose queue is full pauses the stream its stanzas come from, so that TCP slows
//! the sending server down; questions to authoritative servers are tasks of its own that end with it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout_at};
use tokio_rustls::TlsAcceptor;
use tracing::{Instrument, debug, field::Empty, info, info_span, trace, warn};
use xmpp_sasl::Failure;
use xmpp_stream::{Codec, ContentNamespace, Domain, Frame};

use crate::closed::{By, Cause, Closed, OtherEnd};
use crate::config::TlsFloor;
use crate::flow::evidence::Direction;
use crate::flow::questions::{self, NoRoom};
use crate::flow::receiving::{Freed, HEARING, Hearing, Receiving};
use crate::flow::router::Router;
use crate::flow::sessions::{Entry, StreamKind};
use crate::flow::shared::{OsRandom, Shared};
use crate::net::admission::Admission;
use crate::net::conn::{self, Conn, Io, Progress};
use crate::net::metered::Metered;
use crate::protocol::budget::{Charge, Owner};
use crate::protocol::negotiate::{
    Inbound, InboundEffect, InboundEvent, Secured, Snapshot, Transport,
};
use crate::trust;

/// A connection that sends nothing of its own any more gets this long to take our last words.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

struct Driver {
    router: Arc<Router>,
    entry: Entry,
    snapshot: Arc<Snapshot>,
    conn: Conn,
    /// Questions to authoritative servers, and about certificates: at most one of each for a pair. They end with the
    /// stream, lest a peer that comes and goes leave more of them behind than it could have on its streams.
    questions: JoinSet<InboundEvent>,
    admission: Admission,
    receiving: Receiving,
    effects: Vec<InboundEffect>,
    /// When it was accepted: the time for negotiation counts from here, handshakes included.
    began: Instant,
    /// When something came last, spaces not counted.
    heard: Instant,
    reloads: watch::Receiver<()>,
    /// Something was proved on it.
    proved: bool,
    /// Our last word is said: the peer is still heard, and nothing more is written.
    is_ending: bool,
    /// Then not any longer.
    heard_out: Option<Instant>,
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
                    effects: Vec::new(),
                    began,
                    heard: began,
                    proved: false,
                    is_ending: false,
                    heard_out: None,
                    snapshot: Arc::clone(&snapshot),
                };
                let inbound = Inbound::new(snapshot, Box::new(OsRandom), transport, began)
                    .with_quota(Box::new(admission));
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

async fn accept(
    router: &Router,
    snapshot: &Snapshot,
    tcp: TcpStream,
    peer: SocketAddr,
    direct_tls: bool,
    began: Instant,
) -> Result<(Conn, Transport), Closed> {
    let _ = tcp.set_nodelay(true);
    let charge = admit(router.shared(), peer)?;
    let codec = Codec::new(snapshot.limits_before_authentication())
        .with_content_namespace(ContentNamespace::Server);
    if !direct_tls {
        let conn = Conn::new(Io::Plain(tcp), peer, codec, charge);
        return Ok((conn, Transport::Plain));
    }
    let deadline = began + snapshot.config.limits.negotiation;
    let (conn, secured) = handshake(
        router.shared(),
        (tcp, peer),
        codec,
        charge,
        // Who it is, is not said yet.
        (None, snapshot.config.policy.tls_floor()),
        deadline,
    )
    .await?;
    Ok((conn, secured.map_or(Transport::Plain, Transport::Tls)))
}

/// Until it is known who it is, a connection is on the account of the network that it comes from.
fn admit(shared: &Shared, peer: SocketAddr) -> Result<Charge, Closed> {
    let network = shared.memory.account(Owner::at(peer.ip()));
    conn::admit(&network).ok_or(Closed {
        by: By::Us,
        cause: Cause::Memory,
    })
}

async fn handshake(
    shared: &Shared,
    (tcp, peer): (TcpStream, SocketAddr),
    codec: Codec,
    charge: Charge,
    (fallback, floor): (Option<&Domain>, TlsFloor),
    deadline: Instant,
) -> Result<(Conn, Option<Secured>), Closed> {
    let (config, own) = shared.tls.accepting(fallback, floor);
    let accepting = async {
        // Who says nothing waits for no turn.
        tcp.readable().await?;
        let accepting = TlsAcceptor::from(config).accept(Metered::new(tcp));
        shared.handshakes.drive(peer.ip(), accepting).await
    };
    let in_time = timeout_at(deadline.into(), accepting);
    let Some(tls) = shared.stop.run_until_cancelled(in_time).await else {
        return Err(Closed {
            by: By::Us,
            cause: Cause::Shutdown,
        });
    };
    match tls {
        Ok(Ok(tls)) => {
            let conn = Conn::new(Io::Tls(Box::new(tls.into())), peer, codec, charge);
            let secured = Shared::secured(&conn, floor, Some(&own));
            Ok((conn, secured))
        }
        Ok(Err(error)) => Err(Closed {
            by: By::World,
            cause: Cause::Tls(trust::in_words(&error).into()),
        }),
        Err(_) => Err(Closed {
            by: By::Us,
            cause: Cause::Timeout("TLS handshake"),
        }),
    }
}

impl Driver {
    async fn run(mut self, mut inbound: Box<Inbound>) {
        let closed = loop {
            let listens = inbound.listens();
            let event = match self.next_event(inbound.deadline(), listens).await {
                Some(event) => event,
                None => {
                    // Bytes were read: every whole frame in them, one after the other.
                    match self.frames(inbound).await {
                        Ok(next) => inbound = next,
                        Err(closed) => break closed,
                    }
                    continue;
                }
            };
            match self.event(inbound, event).await {
                Ok(next) => inbound = next,
                Err(closed) => break closed,
            }
        };
        self.entry.ended(&closed);
        // Nobody waits for an answer any more, and what questions hold is given back.
        self.questions = JoinSet::new();
        let payer = self.conn.payer().clone();
        self.receiving.finish(None, &payer).await;
        // What the machine said last is still to be written. A stop waits for those that may have stanzas on the way.
        match self.proved {
            true => self.conn.close(CLOSE_TIMEOUT).await,
            false => {
                let stop = &self.router.shared().stop;
                self.conn.close_unproved(CLOSE_TIMEOUT, stop).await;
            }
        }
        report(&closed, self.proved);
    }

    /// `None`: there are bytes to decode.
    async fn next_event(
        &mut self,
        deadline: Option<Instant>,
        listens: bool,
    ) -> Option<InboundEvent> {
        let limits = &self.snapshot.config.limits;
        // Who is not listened to is not idle.
        let idle = match self.is_ending {
            true => CLOSE_TIMEOUT,
            false => limits.idle,
        };
        let heard = self
            .receiving
            .held()
            .map_or(self.heard, |held| held.max(self.heard));
        let idle = heard + idle;
        let reading = listens && self.receiving.reads() && self.conn.has_room();
        let received = self.conn.received();
        let end = match (self.is_ending, self.heard_out) {
            _ if self.receiving.is_waiting() => None,
            (true, heard_out) => Some(heard_out.map_or(idle, |heard_out| heard_out.min(idle))),
            (false, _) => Some(deadline.map_or(idle, |deadline| deadline.min(idle))),
        };
        let late = self.conn.whole_until(limits.stanza_time);
        let is_late = late.is_some_and(|late| end.is_none_or(|end| late < end));
        let until = late.into_iter().chain(end).min();
        tokio::select! {
            // A peer that does not read our answers is not heard until it does: the bound of the write buffer.
            progress = self.conn.progress(reading) => match progress {
                Ok(Progress::Read) => { self.receiving.read(self.conn.received() - received); None }
                Ok(Progress::Written) => None,
                Ok(Progress::Overfull) => Some(InboundEvent::Overfull),
                Ok(Progress::End) => Some(InboundEvent::Lost("the peer closed the connection".to_owned())),
                Err(error) => Some(InboundEvent::Lost(error.to_string())),
            },
            Some(Ok(answer)) = self.questions.join_next() => Some(answer),
            // What was read already, then more.
            freed = self.receiving.freed(), if listens => { self.on_freed(freed); None }
            () = over(until) => {
                Some(match deadline {
                    _ if is_late => InboundEvent::Late,
                    _ if self.is_ending => InboundEvent::Shutdown,
                    Some(_) => InboundEvent::Tick,
                    None => InboundEvent::Idle,
                })
            }
            () = self.admission.replaced(), if !self.is_ending => Some(InboundEvent::Replaced),
            () = self.entry.close_wanted(), if !self.is_ending => Some(InboundEvent::CloseWanted),
            Ok(()) = self.reloads.changed() => Some(InboundEvent::Reloaded(self.router.shared().snapshot())),
            () = self.router.shared().stop.cancelled(), if !self.is_ending => {
                self.receiving.hurry();
                Some(InboundEvent::Shutdown)
            }
            () = self.router.shared().until_drained(HEARING), if self.is_ending => Some(InboundEvent::Shutdown),
        }
    }

    /// What held the stream up does so no more, or something else does.
    fn on_freed(&mut self, freed: Freed) {
        if !matches!(freed, Freed::Time) {
            self.on_heard();
        }
        self.receiving.free(freed, self.conn.payer());
        self.busy();
    }

    /// Nobody listens to a stream of which a stanza waits for room.
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
                self.is_ending = true;
                self.entry.closing();
                self.heard = Instant::now();
                self.heard_out = Some(self.heard + self.snapshot.config.limits.drain);
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
            // After our end tag nothing is said.
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
                // What is ours to repair is nobody's attack.
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
            InboundEffect::Deliver(stanza, authorized) => {
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
            // Not on a stream without bidi.
            InboundEffect::InverseProved(_) => Ok(None),
        }
    }

    async fn start_tls(
        &mut self,
        proceed: &[u8],
        chosen: (Option<&Domain>, TlsFloor),
    ) -> Result<InboundEvent, Closed> {
        let broken = |error: std::io::Error| Closed {
            by: By::World,
            cause: Cause::Lost(error.to_string().into()),
        };
        let clean = match self.conn.boundary() {
            Ok(clean) => clean,
            Err(error) => return Ok(InboundEvent::Malformed(error)),
        };
        self.receiving.forget();
        // What was asked in clear is forgotten with it; its answer must not be taken for one to a later question.
        self.questions = JoinSet::new();
        self.conn.send(proceed);
        let deadline = self.began + self.snapshot.config.limits.negotiation;
        // Whoever takes none of it may have let us say more than a little before, once something was proved in clear.
        let flushed = timeout_at(deadline.into(), self.conn.flush());
        let shared = self.router.shared();
        let Some(flushed) = shared.stop.run_until_cancelled(flushed).await else {
            return Ok(InboundEvent::Shutdown);
        };
        flushed
            .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
            .map_err(broken)?;
        let Some(tcp) = self.conn.take_tcp(clean) else {
            return Ok(InboundEvent::TlsFailed("TLS within TLS".to_owned()));
        };
        let charge = admit(self.router.shared(), tcp.1)?;
        let codec = Codec::new(self.snapshot.limits_before_authentication())
            .with_content_namespace(ContentNamespace::Server);
        let (conn, secured) =
            handshake(self.router.shared(), tcp, codec, charge, chosen, deadline).await?;
        self.conn = conn;
        self.entry.carried_by(&mut self.conn);
        Ok(match secured {
            Some(secured) => InboundEvent::TlsReady(secured),
            None => InboundEvent::TlsFailed("no session".to_owned()),
        })
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
