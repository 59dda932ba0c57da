//! Serves one component (XEP-0114): attaches it, takes its stanzas to the router, writes what is for it.
//!
//! A component that does not read fills its queue; that pauses the streams of the peers who write to it, and in the end
//! it is disconnected, so that what waits goes back to its senders.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, field::Empty, info, info_span, trace, warn};
use xmpp_stream::stream_management::Nonza;
use xmpp_stream::{
    Codec, Condition, ContentNamespace, Domain, Element, Frame, StanzaError, StreamError, XmlLimits,
};

use self::faults::Faults;
use crate::closed::{By, Cause, Closed, OtherEnd};
use crate::flow::components::Link;
use crate::flow::router::Router;
use crate::flow::sessions::{Entry, StreamKind};
use crate::flow::shared::{OsRandom, Shared};
use crate::net::admission::Admission;
use crate::net::conn::{self, Conn, Io, Progress};
use crate::net::queue::{self, Bound, Receiver};
use crate::peer_text::PeerText;
use crate::protocol::acks::Acks;
use crate::protocol::admission::Throttle;
use crate::protocol::budget::{Account, Owner};
use crate::protocol::lane::{pop_front_if, release};
use crate::protocol::negotiate::{Attach, Attached, Attaching, Snapshot};
use crate::protocol::stanza::{Origin, Stanza};
use crate::protocol::unwritten::Unwritten;

/// A component that takes nothing for this long is gone.
const STALLED: Duration = Duration::from_secs(60);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// A newer connection waits so long for what is left over of the one before.
const HANDOVER: Duration = Duration::from_secs(5);
const BATCH: usize = 256;
/// A component that acknowledged on its last connection gets nothing before it has asked for that again, for so long.
const ENABLES: Duration = Duration::from_secs(5);

mod acks;
mod farewell;
mod faults;

/// Serves the component until it leaves.
pub(crate) async fn serve(router: Arc<Router>, tcp: TcpStream, admission: Admission) {
    let Ok(peer) = tcp.peer_addr() else { return };
    let _ = tcp.set_nodelay(true);
    let span = info_span!("component", %peer);
    async move {
        let snapshot = router.shared().snapshot();
        let codec = Codec::new(snapshot.limits_before_authentication())
            .with_content_namespace(ContentNamespace::Component);
        let memory = &router.shared().memory;
        let Some(charge) = conn::admit(&memory.account(Owner::at(peer.ip()))) else {
            info!(
                unproved = Empty,
                "component refused: {}",
                Cause::Memory.told_of(OtherEnd::Component)
            );
            return;
        };
        let entry = (router.shared().sessions).register(StreamKind::Component, peer);
        let mut conn = Conn::new(Io::Plain(tcp), peer, codec, charge);
        entry.carried_by(&mut conn);
        match attach(&mut conn, &snapshot, router.shared(), peer.ip()).await {
            Ok((attached, limits)) => {
                admission.attached();
                entry.attached(attached.domain());
                conn.set_limits(limits);
                let payer = memory.account(Owner::Component(attached.domain().clone()));
                // Its own connection is not what it is refused for.
                conn.belongs_to(&payer);
                run(&router, &snapshot, (conn, entry), attached, payer).await;
            }
            Err((last, closed)) => {
                entry.ended(&closed);
                conn.send(&last);
                let stop = &router.shared().stop;
                conn.close_unproved(CLOSE_TIMEOUT, stop).await;
                not_attached(&closed);
            }
        }
    }
    .instrument(span)
    .await;
}

/// Why a connection came to nothing. Who only knocks is no reason to warn, and of a wrong secret there is a line already.
fn not_attached(closed: &Closed) {
    let (by, cause) = (closed.by.name(OtherEnd::Component), closed.cause.name());
    let told = closed.told_of(OtherEnd::Component);
    match closed.cause {
        Cause::TooManyFailures | Cause::Protocol(Condition::NotAuthorized, _) => {
            debug!(by, cause, "component not attached: {told}");
        }
        Cause::Lost(_) | Cause::Finished | Cause::Timeout(_) | Cause::Shutdown => info!(
            unproved = Empty,
            by, cause, "component not attached: {told}"
        ),
        _ => warn!(
            unproved = Empty,
            by, cause, "component not attached: {told}"
        ),
    }
}

async fn attach(
    conn: &mut Conn,
    snapshot: &Arc<Snapshot>,
    shared: &Shared,
    address: IpAddr,
) -> Result<(Attached, XmlLimits), (bytes::Bytes, Closed)> {
    let stop = &shared.stop;
    let mut attach = Attach::new(Arc::clone(snapshot));
    let deadline = Instant::now() + snapshot.config.limits.negotiation;
    loop {
        match conn.frame() {
            Ok(Some(frame)) => {
                let domain = attach.domain();
                let proof = domain.filter(|_| matches!(frame, Frame::Element(_)));
                if let Some(domain) = &proof
                    && let Err((condition, cause)) = turn(shared, address, domain, deadline).await
                {
                    return Err(attach.give_up(condition, cause));
                }
                let attaching = attach.frame(frame, &mut OsRandom);
                if let Some(domain) = &proof {
                    note(shared, address, domain, attaching.is_ok());
                }
                match attaching? {
                    Attaching::Next(next, bytes) => {
                        attach = next;
                        conn.send(&bytes);
                    }
                    Attaching::Done(attached, bytes, limits) => {
                        conn.send(&bytes);
                        return Ok((attached, limits));
                    }
                }
            }
            Ok(None) => {
                let lost = |what: String| {
                    (
                        bytes::Bytes::new(),
                        Closed {
                            by: By::World,
                            cause: Cause::Lost(what.into()),
                        },
                    )
                };
                let progress = tokio::select! {
                    progress = conn.progress(true) => progress,
                    () = sleep_until(deadline.into()) => {
                        let cause = Cause::Timeout("the component did not attach");
                        return Err(attach.give_up(Condition::ConnectionTimeout, cause));
                    }
                    () = stop.cancelled() => {
                        return Err(attach.give_up(Condition::SystemShutdown, Cause::Shutdown));
                    }
                };
                match progress {
                    Ok(Progress::Read | Progress::Written) => {}
                    Ok(Progress::Overfull) => {
                        return Err(attach.give_up(Condition::ResourceConstraint, Cause::Memory));
                    }
                    Ok(Progress::End) => return Err(lost("it closed the connection".to_owned())),
                    Err(error) => return Err(lost(error.to_string())),
                }
            }
            Err(error) => return Err(attach.malformed(&error)),
        }
    }
}

/// Waits as long as earlier failures want it, before a proof is looked at.
async fn turn(
    shared: &Shared,
    address: IpAddr,
    domain: &Domain,
    deadline: Instant,
) -> Result<(), (Condition, Cause)> {
    let now = Instant::now();
    let turn = throttle(shared).attempt(address, domain, now, deadline);
    match turn {
        None => Err((Condition::PolicyViolation, Cause::TooManyFailures)),
        Some(at) if at <= now => Ok(()),
        Some(at) => tokio::select! {
            () = sleep_until(at.into()) => Ok(()),
            () = shared.stop.cancelled() => Err((Condition::SystemShutdown, Cause::Shutdown)),
        },
    }
}

/// What came of a proof.
fn note(shared: &Shared, address: IpAddr, domain: &Domain, is_good: bool) {
    if is_good {
        throttle(shared).succeeded(address, domain);
        return;
    }
    let (failures, pause) = throttle(shared).failed(address, domain, Instant::now());
    warn!(unproved = Empty, %domain, failures, next_after = ?pause, "component handshake failed");
}

fn throttle(shared: &Shared) -> MutexGuard<'_, Throttle> {
    shared
        .throttle
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

struct Serving<'a> {
    router: &'a Arc<Router>,
    snapshot: &'a Snapshot,
    conn: Conn,
    origin: Origin,
    attached: Attached,
    payer: Account,
    queue: Receiver,
    /// Written into the connection's buffer, not yet taken by the socket.
    /// Where the component acknowledges what it takes, the stanzas are with its acknowledgements.
    unwritten: Unwritten<Option<Stanza>>,
    /// Taken from the queue, not yet in the buffer.
    next: VecDeque<Stanza>,
    last_target: Option<Domain>,
    moved: Instant,
    /// The component asked for acknowledgements.
    acks: Option<Acks<Stanza>>,
    /// Until it has, nothing is written before this time: that would not be acknowledged.
    quiet_until: Option<Instant>,
    refused: Faults,
    ignored: Faults,
    /// The stanza for which the stream ended.
    broken: Option<PeerText>,
    /// Our end tag is written: nothing follows it.
    is_ending: bool,
}

async fn run(
    router: &Arc<Router>,
    snapshot: &Snapshot,
    (conn, entry): (Conn, Entry),
    attached: Attached,
    payer: Account,
) {
    let domain = attached.domain().clone();
    let own = &snapshot.config.queue;
    let (sender, queue) = queue::bounded(Bound {
        stanzas: own.stanzas,
        bytes: own.bytes,
    });
    let link = Link::new(sender);
    let beginning = router.components().attach(domain.clone(), link.clone());
    match beginning.kept {
        0 => info!(%domain, "component attached"),
        waited => info!(%domain, waited, "component attached, and has what waited for it"),
    }
    // What was on its way to the connection before goes first; what comes meanwhile is in the queue.
    let next: VecDeque<Stanza> = match beginning.left_over {
        None => VecDeque::new(),
        Some(left_over) => match timeout(HANDOVER, left_over).await {
            Ok(Ok(stanzas)) => stanzas.into(),
            Ok(Err(_)) | Err(_) => VecDeque::new(),
        },
    };
    for stanza in &next {
        queue.adopt(stanza.size());
    }
    let mut serving = Serving {
        router,
        snapshot,
        conn,
        origin: Origin::Component(attached.clone()),
        attached,
        payer,
        queue,
        unwritten: Unwritten::default(),
        next,
        last_target: None,
        moved: Instant::now(),
        acks: None,
        quiet_until: beginning.acknowledged.then(|| Instant::now() + ENABLES),
        refused: Faults::default(),
        ignored: Faults::default(),
        broken: None,
        is_ending: false,
    };
    let closed = serving.serve(&link.replaced, &entry).await;
    entry.ended(&closed);
    serving.end(&link, &closed).await;
}

impl Serving<'_> {
    async fn serve(&mut self, replaced: &CancellationToken, entry: &Entry) -> Closed {
        let mut batch = Vec::new();
        // What came in one piece with the handshake was read already.
        if let Err(closed) = self.read() {
            return closed;
        }
        // While the server stops, or an operator closes the stream: what is in the queue is written first, as long as there
        // is time.
        let (mut until, mut stops) = (None, false);
        loop {
            self.write();
            if until.is_some_and(|until| self.is_drained() || until <= Instant::now()) {
                if stops {
                    return self.goodbye(Condition::SystemShutdown, Cause::Shutdown);
                }
                return self.footer(Cause::Operator);
            }
            let stalled = if self.conn.is_flushed() {
                None
            } else {
                Some(self.moved + STALLED)
            };
            let keepalive = self.moved + self.snapshot.config.limits.keepalive;
            let late = self
                .conn
                .whole_until(self.snapshot.config.limits.stanza_time);
            let look = self.acks.as_ref().and_then(Acks::deadline);
            let (may_read, quiet) = (self.may_read(), self.quiet_until);
            let progress = tokio::select! {
                progress = self.conn.progress(may_read) => progress,
                () = sleep_until(quiet.unwrap_or_else(Instant::now).into()), if quiet.is_some() => {
                    self.speak();
                    self.router.components().acknowledges(self.attached.domain(), false);
                    continue;
                }
                () = sleep_until(look.unwrap_or_else(Instant::now).into()), if look.is_some() => {
                    if let Err(closed) = self.look(Instant::now()) {
                        return closed;
                    }
                    continue;
                }
                () = sleep_until(late.unwrap_or_else(Instant::now).into()), if late.is_some() => {
                    let cause = Cause::Timeout("an element did not arrive in time");
                    return self.goodbye(Condition::ConnectionTimeout, cause);
                }
                _ = self.queue.receive(&mut batch, BATCH), if self.conn.has_room() && self.next.is_empty() => {
                    self.next.extend(std::mem::take(&mut batch));
                    continue;
                }
                () = sleep_until(stalled.unwrap_or(keepalive).into()) => {
                    if stalled.is_some() {
                        return Closed { by: By::Us, cause: Cause::Timeout("the component does not read") };
                    }
                    self.conn.send(b" ");
                    self.moved = Instant::now();
                    continue;
                }
                () = replaced.cancelled() => return Closed { by: By::Us, cause: Cause::Replaced },
                () = self.router.shared().stop_components.cancelled(), if !stops => {
                    stops = true;
                    self.speak();
                    until = Some(self.router.shared().drained(8));
                    continue;
                }
                () = entry.close_wanted(), if until.is_none() => {
                    self.speak();
                    until = Some(Instant::now() + CLOSE_TIMEOUT);
                    continue;
                }
                () = sleep_until(until.unwrap_or_else(Instant::now).into()), if until.is_some() => continue,
            };
            self.settle();
            match progress {
                Ok(Progress::Written) => {}
                Ok(Progress::Read) => {
                    if let Err(closed) = self.read() {
                        return closed;
                    }
                    if let Some(ack) = self.acks.as_ref().and_then(Acks::much) {
                        self.say(&ack);
                    }
                }
                Ok(Progress::Overfull) => {
                    return self.goodbye(Condition::ResourceConstraint, Cause::Memory);
                }
                Ok(Progress::End) => {
                    return Closed {
                        by: By::Peer,
                        cause: Cause::Lost("it closed the connection".into()),
                    };
                }
                Err(error) => {
                    return Closed {
                        by: By::World,
                        cause: Cause::Lost(error.to_string().into()),
                    };
                }
            }
        }
    }

    /// What waits for the component is written.
    fn speak(&mut self) {
        self.quiet_until = None;
    }

    fn is_drained(&self) -> bool {
        self.queue.is_empty() && self.next.is_empty() && self.conn.is_flushed()
    }

    /// Everything whole that was read.
    fn read(&mut self) -> Result<(), Closed> {
        while self.may_read() {
            match self.conn.frame() {
                Ok(None) => return Ok(()),
                Ok(Some(Frame::Element(element))) => {
                    trace!(?element, "received");
                    self.element(element)?;
                }
                Ok(Some(Frame::Refused(refused))) => match refused.stanza() {
                    Some(stub) => self.stanza(stub.clone(), Some(refused.stanza_error())),
                    None => self.ignore(&refused.why().to_string()),
                },
                Ok(Some(Frame::Footer)) => {
                    self.conn.send(b"</stream:stream>");
                    return Err(Closed {
                        by: By::Peer,
                        cause: Cause::Finished,
                    });
                }
                // White space, another header, a frame that we did not ask the codec for.
                Ok(Some(_)) => {}
                Err(error) => {
                    let stream_error = error.stream_error();
                    self.broken = faults::begun(self.conn.broken());
                    self.last_words(&stream_error);
                    return Err(Closed {
                        by: By::Us,
                        cause: Cause::Protocol(stream_error.condition, error.to_string().into()),
                    });
                }
            }
        }
        Ok(())
    }

    // COMPAT(ejabberd 23.01): its components may write stanzas in `jabber:client`
    // (`a_component_may_write_in_the_namespace_of_clients_or_servers`).
    fn element(&mut self, element: Element) -> Result<(), Closed> {
        let element = element.adopted();
        if element.stanza_kind().is_some() {
            self.stanza(element, None);
            return Ok(());
        }
        if let Some(read) = Nonza::from_element(&element).transpose() {
            return self.managed(read);
        }
        if let Some(error) = StreamError::from_element(&element) {
            self.conn.send(b"</stream:stream>");
            return Err(Closed {
                by: By::Peer,
                cause: Cause::StreamError(error.into()),
            });
        }
        self.ignore(&faults::named(&element));
        Ok(())
    }

    /// `refused`: it goes nowhere, and the component gets this error.
    fn stanza(&mut self, element: Element, refused: Option<StanzaError>) {
        self.conn.counters().stanza_in();
        let domain = self.attached.domain();
        // A stanza that goes no further is settled as soon as this is gone.
        let receipt = self.acks.as_ref().and_then(Acks::receive);
        match Stanza::from_component(element, &self.attached, &mut self.last_target) {
            Ok(stanza) => match refused {
                Some(error) => self.refuse(stanza.element(), &error),
                None => {
                    let stanza = match receipt {
                        Some(receipt) => stanza.with_receipt(receipt),
                        None => stanza,
                    };
                    // Only a peer's stanza comes back; a component's is bounced where it has no room.
                    let _ = self.router.deliver(stanza, &self.origin, &self.payer);
                }
            },
            // The stanza's own fault, and no reason to end the stream.
            Err((element, why)) => {
                let error = refused.unwrap_or_else(|| faults::stanza_error(&element, why, domain));
                self.refuse(&element, &error);
            }
        }
    }

    /// A component that does not read its errors gets no more of them.
    fn refuse(&mut self, element: &Element, error: &StanzaError) {
        let domain = self.attached.domain();
        let may_answer = !self.is_ending && self.conn.has_room();
        let reply = may_answer.then(|| faults::reply(element, error, domain));
        let reply = reply.flatten();
        let answered = reply.is_some();
        if let Some(reply) = reply {
            self.conn.send(&reply.finish());
        }
        if let Some(unsaid) = self.refused.note(Instant::now()) {
            let stanza = faults::named(element);
            let condition = error.condition.name();
            let text = error.text.as_deref().map(PeerText::new).unwrap_or_default();
            warn!(%domain, %stanza, condition, answered, unsaid, "a stanza of the component is refused: {text}");
        }
    }

    fn ignore(&mut self, what: &str) {
        if let Some(unsaid) = self.ignored.note(Instant::now()) {
            let domain = self.attached.domain();
            info!(%domain, element = %PeerText::new(what), unsaid, "ignored: the component sent what is no stanza");
        }
    }

    fn write(&mut self) {
        if self.quiet_until.is_some() {
            return;
        }
        while self.conn.has_room() {
            let may_go = |stanza: &Stanza| {
                let acks = self.acks.as_ref();
                acks.is_none_or(|acks| acks.has_room(stanza.size()))
            };
            let Some(stanza) = pop_front_if(&mut self.next, may_go) else {
                break;
            };
            if self.conn.is_flushed() {
                self.moved = Instant::now();
            }
            let begin = self.conn.queued();
            stanza
                .element()
                .write_for(ContentNamespace::Component, self.conn.out());
            let bytes = begin..self.conn.queued();
            match &mut self.acks {
                None => self.unwritten.push(bytes, Some(stanza)),
                Some(acks) => {
                    let size = stanza.size();
                    let _ = acks.sent(stanza, size, Instant::now());
                    self.unwritten.push(bytes, None);
                    if acks.asks() {
                        self.say(&Nonza::Request);
                    }
                }
            }
        }
    }

    fn settle(&mut self) {
        let (now, written) = (Instant::now(), self.conn.written());
        let patience = self.snapshot.config.limits.stall;
        let queue = &self.queue;
        let count = self.unwritten.settle(now, written, patience, |stanza, _| {
            if let Some(stanza) = stanza {
                queue.settled(stanza.size());
            }
        });
        if count > 0 {
            self.moved = now;
        }
        self.conn.counters().stanzas_out(count);
        release(&mut self.next);
    }
}
