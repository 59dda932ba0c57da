//! Where stanzas cross: from a proved sender to a component, a built-in service, or a lane.
//!
//! No stanza waits here. One without room comes back with what to wait for, and its holder decides.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use xmpp_stream::{Domain, StanzaError, StanzaKind, Writer, error_reply, is_answerable};

use crate::closed::{Cause, Returned};
use crate::flow::components::{Components, Keeping, Leaving, Link};
use crate::flow::lanes::{Lanes, NO_MEMORY, NewTask};
use crate::flow::questions::Questions;
use crate::flow::shared::Shared;
use crate::flow::tally::{self, Tally};
use crate::net::queue::{Rejected, Sender};
use crate::net::until::until;
use crate::protocol::budget::Account;
use crate::protocol::holding::Bound;
use crate::protocol::negotiate::DomainPair;
use crate::protocol::services;
use crate::protocol::stanza::{Origin, Stanza};
use crate::protocol::storable::is_storable;

/// Too much is kept for a component that is away.
const AWAY: &str = "too many messages wait for the component, which is away";

/// A stanza that is not kept for its component.
enum Unkept {
    /// That is back.
    Attached(Stanza),
    /// Such a stanza is not.
    Never(Stanza),
}

/// The router.
#[derive(Debug)]
pub(crate) struct Router {
    shared: Arc<Shared>,
    components: Components,
    lanes: Arc<Lanes>,
    tally: Tally,
    questions: Arc<Questions>,
    open_lane: OpenLane,
}

/// Starts the task of a lane. It is a parameter, since what drives a lane needs the router.
pub(crate) type OpenLane = fn(&Arc<Router>, NewTask);

/// A stanza that has no room yet.
#[derive(Debug)]
pub(crate) struct Undelivered {
    /// It comes back.
    pub(crate) stanza: Stanza,
    /// What may be there later.
    pub(crate) wait_for: Wait,
}

/// What a stanza waits for, outside of any queue.
#[derive(Debug)]
pub(crate) enum Wait {
    /// Room in this queue.
    Queue(Sender),
    /// Memory: its sender is at its limit.
    Memory,
}

/// Memory comes back when anybody at all is done with some, so it is looked for again and again.
const AGAIN: Duration = Duration::from_millis(50);

impl Wait {
    /// Waits until there may be room.
    pub(crate) async fn room(&self) {
        match self {
            Self::Queue(sender) => sender.room().await,
            Self::Memory => sleep(AGAIN).await,
        }
    }
}

impl Router {
    /// A router without components and lanes.
    pub(crate) fn new(shared: Arc<Shared>, open_lane: OpenLane) -> Arc<Self> {
        Arc::new(Self {
            lanes: Arc::new(Lanes::new(shared.snapshot.load().config.queue.lanes)),
            questions: Arc::new(Questions::new(Arc::clone(&shared))),
            open_lane,
            components: Components::default(),
            tally: Tally::default(),
            shared,
        })
    }

    /// What streams need.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The questions to authoritative servers.
    pub(crate) fn questions(&self) -> &Arc<Questions> {
        &self.questions
    }

    /// The lanes to remote domains.
    pub(crate) fn lanes(&self) -> &Arc<Lanes> {
        &self.lanes
    }

    /// What became of stanzas.
    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Takes a stanza on its way. It comes back only if it has to wait for a component; in all other cases it ends
    /// here: queued, answered, or bounced. The account of its cause pays for what then waits, the stanza or its answer.
    pub(crate) fn deliver(
        self: &Arc<Self>,
        stanza: Stanza,
        origin: &Origin,
        payer: &Account,
    ) -> Result<(), Undelivered> {
        let snapshot = self.shared.snapshot.load();
        let Some(served) = snapshot.served(stanza.target()) else {
            self.to_lane(stanza, origin, payer);
            return Ok(());
        };
        let mut stanza = stanza;
        loop {
            let Some(sender) = self.components.queue_of(stanza.target()) else {
                match self.keep(stanza, payer) {
                    None => return Ok(()),
                    Some(Unkept::Attached(back)) => {
                        stanza = back;
                        continue;
                    }
                    Some(Unkept::Never(back)) => {
                        stanza = back;
                        break;
                    }
                }
            };
            let (back, wait_for, text) = match sender.send(stanza, payer) {
                Ok(()) => return Ok(()),
                Err(Rejected::Full(stanza)) => {
                    (stanza, Wait::Queue(sender), "the component's queue is full")
                }
                Err(Rejected::Unpaid(stanza)) => (stanza, Wait::Memory, NO_MEMORY),
                Err(Rejected::Gone(back)) => {
                    let now = self.components.queue_of(back.target());
                    if now.is_none_or(|now| now.is_same(&sender)) {
                        self.answer_for_absent(&back, &served.contact, payer);
                        return Ok(());
                    }
                    // A newer connection took over at this moment.
                    stanza = back;
                    continue;
                }
            };
            if matches!(origin, Origin::Peer(_)) {
                let stanza = back;
                return Err(Undelivered { stanza, wait_for });
            }
            // Neither a component nor an answer may wait for a component: that way lies a circle.
            match origin {
                Origin::Own => self.dropped(&back),
                Origin::Peer(_) | Origin::Component(_) => {
                    self.bounce(&back, &Returned::QueueFull(text).stanza_error(), payer)
                }
            }
            return Ok(());
        }
        if served.component.is_some() {
            self.answer_for_absent(&stanza, &served.contact, payer);
            return Ok(());
        }
        // Presence has no answer here, nor have answers (RFC 6120 §8.3.1, §10.5.3.1).
        let is_question =
            stanza.stanza_kind() != StanzaKind::Presence && is_answerable(stanza.element());
        if is_question && self.has_room_for_answer(&stanza, payer) {
            let now = SystemTime::now();
            if let Some(reply) = services::answer(stanza.element(), &served.contact, now) {
                self.answer(&stanza, reply, payer);
            }
        }
        Ok(())
    }

    /// The component that should have this stanza is away.
    fn answer_for_absent(self: &Arc<Self>, stanza: &Stanza, contacts: &[String], payer: &Account) {
        if !self.has_room_for_answer(stanza, payer) {
            return;
        }
        match services::answer_for_absent(stanza.element(), contacts, SystemTime::now()) {
            Some(reply) => self.answer(stanza, reply, payer),
            None => self.bounce(stanza, &Returned::ComponentAbsent.stanza_error(), payer),
        }
    }

    fn to_lane(self: &Arc<Self>, stanza: Stanza, origin: &Origin, payer: &Account) {
        // A peer's stanza is for us or it is refused: this server is no open relay (the session checked `to`).
        if matches!(origin, Origin::Peer(_)) {
            debug!(to = %stanza.target(), "a peer's stanza for a domain that is not served any more");
            self.bounce(&stanza, &Returned::ComponentAbsent.stanza_error(), payer);
            return;
        }
        // At once, and without a lane: no look-up, no connection.
        if let Err(denied) = self.shared.snapshot.load().admits(stanza.target()) {
            let cause = Cause::denied(stanza.target(), &denied);
            self.bounce(&stanza, &cause.stanza_error(), payer);
            return;
        }
        let pair = DomainPair {
            local: stanza.sender().clone(),
            remote: stanza.target().clone(),
        };
        let own = matches!(origin, Origin::Own);
        let (stanza, error) = if self.shared.last_call.is_cancelled() {
            (stanza, Cause::Shutdown.stanza_error())
        } else {
            let snapshot = self.shared.snapshot.load();
            match self.lanes.send(&snapshot, pair, stanza, own, payer) {
                Ok(None) => return,
                Ok(Some(new)) => return self.open_lane(new),
                Err((stanza, what)) => (stanza, Returned::QueueFull(what).stanza_error()),
            }
        };
        match own {
            true => self.dropped(&stanza),
            false => self.bounce(&stanza, &error, payer),
        }
    }

    /// Has a task of its own serve a lane.
    pub(crate) fn open_lane(self: &Arc<Self>, task: NewTask) {
        (self.open_lane)(self, task);
    }

    /// Answers a stanza with an error, once: errors and results have no answer (RFC 6120 §8.3.1), and an answer without
    /// room is dropped, not bounced. The cause of the stanza pays for the answer, too.
    pub(crate) fn bounce(self: &Arc<Self>, stanza: &Stanza, error: &StanzaError, payer: &Account) {
        if !self.has_room_for_answer(stanza, payer) {
            return;
        }
        if let Some(reply) = error_reply(stanza.element(), error) {
            self.tally.bounced(error);
            self.answer(stanza, reply, payer);
        }
    }

    /// Whether an answer to this stanza may be made now. A peer that causes answers and takes none does not make us
    /// write what we would drop: that is counted here, as are stanzas that have no answer.
    fn has_room_for_answer(self: &Arc<Self>, stanza: &Stanza, payer: &Account) -> bool {
        if !is_answerable(stanza.element()) {
            self.unanswered(stanza);
            return false;
        }
        // What a component hears of its own stanzas has room as long as its queue has.
        let has_room = self.shared.snapshot.load().serves(stanza.sender()) || {
            let pair = DomainPair {
                local: stanza.target().clone(),
                remote: stanza.sender().clone(),
            };
            self.lanes.has_room(&pair, stanza.least_answer(), payer)
        };
        if !has_room {
            self.dropped_for(stanza, stanza.sender());
        }
        has_room
    }

    /// Sends back a stanza that waited. Its charge pays for the answer, so there always is one. If the component that
    /// sent it has no room for more, it comes back with what to wait for.
    pub(crate) fn give_back(
        self: &Arc<Self>,
        mut stanza: Stanza,
        error: &StanzaError,
    ) -> Result<(), Undelivered> {
        let Some(reply) = error_reply(stanza.element(), error) else {
            self.unanswered(&stanza);
            return Ok(());
        };
        let queue = self.components.queue_of(stanza.sender());
        if let Some(sender) = queue.as_ref().filter(|queue| !queue.has_room()) {
            let wait_for = Wait::Queue(sender.clone());
            return Err(Undelivered { stanza, wait_for });
        }
        if let Some(charge) = stanza.take_charge() {
            self.tally.bounced(error);
            let payer = charge.account().clone();
            let Some(reply) = stanza.answer(reply) else {
                return Ok(());
            };
            drop(stanza);
            let reply = reply.paid_by(charge);
            let left = match queue {
                Some(queue) => queue.force(reply).err(),
                None => Some(reply),
            };
            if let Some(reply) = left {
                // Our own stanzas never come back.
                let _ = self.deliver(reply, &Origin::Own, &payer);
            }
        }
        Ok(())
    }

    /// An answer or a bounce of ours has no room anywhere.
    fn dropped(self: &Arc<Self>, stanza: &Stanza) {
        self.dropped_for(stanza, stanza.target());
    }

    fn dropped_for(self: &Arc<Self>, stanza: &Stanza, domain: &Domain) {
        debug!(from = %stanza.sender(), to = %stanza.target(), "dropped: there is no room for it, or for its answer");
        if !self.tally.dropped(domain) {
            return;
        }
        let router = Arc::downgrade(self);
        tokio::spawn(async move {
            sleep(tally::FIRST_REPORT_AFTER).await;
            while let Some(router) = router.upgrade() {
                if !router.tally.tell() {
                    break;
                }
                drop(router);
                sleep(tally::REPORT_EVERY).await;
            }
        });
    }

    /// The same for the answer to a stanza that was given up.
    pub(crate) fn not_returned(self: &Arc<Self>, stanza: &Stanza) {
        match is_answerable(stanza.element()) {
            true => self.dropped_for(stanza, stanza.sender()),
            false => self.unanswered(stanza),
        }
    }

    fn unanswered(&self, stanza: &Stanza) {
        debug!(from = %stanza.sender(), to = %stanza.target(), "dropped: errors and results are never answered");
        self.tally.unanswerable();
    }

    /// Sends what answers a stanza.
    fn answer(self: &Arc<Self>, stanza: &Stanza, reply: Writer, payer: &Account) {
        let Some(reply) = stanza.answer(reply) else {
            return;
        };
        // What a component hears of its own stanzas has room as long as its queue has.
        let reply = match self.shared.snapshot.load().serves(reply.target()) {
            true => reply.paid_by(payer.force(0)),
            false => reply,
        };
        // Our own stanzas never come back.
        let _ = self.deliver(reply, &Origin::Own, payer);
    }

    /// The configuration or the network changed, or an operator mended a fault: former failures on the way to a domain,
    /// or to all, no longer count, and waiting stanzas are tried at once. Returns the pairs that had failed.
    pub(crate) fn retry(&self, remote: Option<&Domain>) -> Vec<DomainPair> {
        self.retry_where(|domain| remote.is_none_or(|remote| domain == remote))
    }

    /// The same for all of these domains.
    pub(crate) fn retry_where(&self, is_meant: impl Fn(&Domain) -> bool) -> Vec<DomainPair> {
        let shared = self.shared();
        shared.dns.look_again();
        shared.recent_failures.forget();
        self.questions.forget_failures(&is_meant);
        self.lanes.retry(is_meant)
    }

    /// The remote domain of a pair proved itself to us: a lane that waits to try it again need not wait.
    pub(crate) fn peer_alive(&self, pair: &DomainPair) {
        self.lanes.peer_alive(pair);
    }

    /// Gives back a stanza that was on its way to a component that is gone.
    pub(crate) fn component_left(self: &Arc<Self>, stanza: Stanza) {
        if let Err(undelivered) = self.give_back(stanza, &Returned::ComponentAbsent.stanza_error())
        {
            // Another component sent it, and has to get the answer now or never.
            self.not_returned(&undelivered.stanza);
        }
    }

    /// The components that are attached, and what is kept for the others.
    pub(crate) fn components(&self) -> &Components {
        &self.components
    }

    /// Whether messages for this domain's component are kept now while it is away.
    pub(crate) fn keeps(&self, domain: &Domain) -> bool {
        !self.hold(domain).is_zero()
    }

    /// For how long messages for this domain's component are kept now while it is away.
    fn hold(&self, domain: &Domain) -> Duration {
        if self.shared.stop.is_cancelled() {
            return Duration::ZERO;
        }
        let snapshot = self.shared.snapshot.load();
        let component = snapshot.served(domain).and_then(|it| it.component.as_ref());
        component.map_or(Duration::ZERO, |component| component.hold)
    }

    /// Keeps a message for a component that is away. `None`: it is kept, or its sender was told that it is not.
    fn keep(self: &Arc<Self>, stanza: Stanza, payer: &Account) -> Option<Unkept> {
        if !self.keeps(stanza.target()) || !is_storable(stanza.element(), false) {
            return Some(Unkept::Never(stanza));
        }
        let queue = &self.shared.snapshot.load().config.queue;
        let bound = Bound {
            stanzas: queue.stanzas,
            bytes: queue.bytes,
        };
        let domain = stanza.target().clone();
        let kept = match stanza.kept_by(payer) {
            Ok(stanza) => self.components.keep(stanza, bound),
            Err(stanza) => Keeping::Full(stanza),
        };
        match kept {
            Keeping::Kept(first) => self.watch(domain, first),
            Keeping::Attached(stanza) => return Some(Unkept::Attached(stanza)),
            Keeping::Full(stanza) => {
                let error = Returned::QueueFull(AWAY).stanza_error();
                self.bounce(&stanza, &error, payer);
            }
        }
        None
    }

    /// A component leaves, and this is left over, oldest first.
    pub(crate) fn detach(
        self: &Arc<Self>,
        domain: &Domain,
        link: &Link,
        left: Vec<Stanza>,
    ) -> Leaving {
        let keeps = self.keeps(domain);
        let mut leaving = self.components.detach(domain, link, left, keeps);
        self.watch(domain.clone(), leaving.first.take());
        leaving
    }

    /// The first stanza is kept for a component: it and those after it go back when their time is over, or when the
    /// server stops.
    fn watch(self: &Arc<Self>, domain: Domain, first: Option<CancellationToken>) {
        let Some(is_back) = first else { return };
        let (router, stop) = (Arc::downgrade(self), self.shared.stop.clone());
        let watch = async move {
            while let Some(router) = router.upgrade() {
                let hold = router.hold(&domain);
                let (expired, next) = router.components.expired(&domain, hold);
                if !expired.is_empty() {
                    let stanzas = expired.len();
                    warn!(%domain, stanzas, "messages go back that waited for the component");
                }
                for stanza in expired {
                    router.component_left(stanza);
                }
                drop(router);
                let Some(next) = next else { break };
                tokio::select! {
                    () = until(next) => {}
                    () = stop.cancelled() => {}
                }
            }
        };
        tokio::spawn(async move { is_back.run_until_cancelled(watch).await });
    }
}
