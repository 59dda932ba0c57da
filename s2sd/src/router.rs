//! Where stanzas cross: from whoever proved what it may say, to a component, a built-in service, or a lane.
//!
//! Nothing waits here. What has no room comes back with whom to wait for, and who holds it decides.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use tracing::{debug, field::Empty, warn};
use xmpp_stream::{
    ContentNamespace, Context, Domain, Element, ErrorType, StanzaCondition, StanzaError,
    error_reply,
};

use crate::closed::{Cause, cause_element};
use crate::means::Means;
use crate::negotiate::DomainPair;
use crate::outbound::Lanes;
use crate::queue::{Rejected, Sender};
use crate::services;
use crate::stanza::{Origin, Stanza};

/// The router.
#[derive(Debug)]
pub(crate) struct Router {
    means: Arc<Means>,
    components: Mutex<HashMap<Domain, Link>>,
    lanes: Lanes,
}

/// An attached component.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    /// Its queue.
    pub(crate) sender: Sender,
    /// Cancelled when a newer connection takes the domain over.
    pub(crate) replaced: tokio_util::sync::CancellationToken,
}

/// A stanza that has no room yet.
#[derive(Debug)]
pub(crate) struct Undelivered {
    /// It comes back.
    pub(crate) stanza: Stanza,
    /// Who may have room later.
    pub(crate) wait_for: Sender,
}

impl Router {
    /// A router without components and lanes.
    pub(crate) fn new(means: Arc<Means>) -> Arc<Self> {
        Arc::new(Self {
            lanes: Lanes::default(),
            components: Mutex::default(),
            means,
        })
    }

    /// What streams need.
    pub(crate) fn means(&self) -> &Arc<Means> {
        &self.means
    }

    /// The lanes to remote domains.
    pub(crate) fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    /// Takes a stanza on its way. Only a full component queue gives it back; everything else ends here: queued,
    /// answered, or bounced.
    pub(crate) fn deliver(
        self: &Arc<Self>,
        stanza: Stanza,
        origin: &Origin,
    ) -> Result<(), Undelivered> {
        let house = self.means.house.load();
        let Some(served) = house.served(stanza.target()) else {
            self.to_lane(stanza, origin);
            return Ok(());
        };
        let link = self
            .components()
            .get(stanza.target())
            .map(|link| link.sender.clone());
        if let Some(sender) = link {
            return match sender.send(stanza) {
                Ok(()) => Ok(()),
                Err(Rejected::Full(stanza)) if matches!(origin, Origin::Peer(_)) => {
                    Err(Undelivered {
                        stanza,
                        wait_for: sender,
                    })
                }
                // Neither a component nor a bounce may wait for a component: that way lies a circle.
                Err(Rejected::Full(stanza)) => {
                    self.bounce(&stanza, &full("the component's queue is full"));
                    Ok(())
                }
                Err(Rejected::Gone(stanza)) => {
                    self.bounce(&stanza, &absent());
                    Ok(())
                }
            };
        }
        if served.component.is_some() {
            self.bounce(&stanza, &absent());
            return Ok(());
        }
        match services::answer(stanza.element(), &served.contact, SystemTime::now()) {
            services::Answer::Reply(bytes) => {
                self.send_own(bytes, stanza.element().context().content())
            }
            services::Answer::Drop => {}
        }
        Ok(())
    }

    fn to_lane(self: &Arc<Self>, stanza: Stanza, origin: &Origin) {
        // A peer's stanza is for us or it is refused: this server is no open relay (the session checked `to`).
        if matches!(origin, Origin::Peer(_)) {
            debug!(to = %stanza.target(), "a peer's stanza for a domain that is not served any more");
            self.bounce(&stanza, &absent());
            return;
        }
        // At once, and without a lane: nobody is looked up, nobody is connected to.
        if let Err(denied) = self.means.house.load().admits(stanza.target()) {
            let cause = Cause::denied(stanza.target(), &denied);
            self.bounce(&stanza, &cause.stanza_error());
            return;
        }
        let pair = DomainPair {
            local: stanza.sender().clone(),
            remote: stanza.target().clone(),
        };
        if let Err((stanza, what)) = self.lanes.send(self, pair, stanza) {
            self.bounce(&stanza, &full(what));
        }
    }

    /// Answers a stanza with an error, once: errors and results have no answer (RFC 6120 §8.3.1), and an answer that
    /// has no room is dropped, not bounced.
    pub(crate) fn bounce(self: &Arc<Self>, stanza: &Stanza, error: &StanzaError) {
        match error_reply(stanza.element(), error) {
            Some(bytes) => self.send_own(bytes, stanza.element().context().content()),
            None => {
                debug!(from = %stanza.sender(), to = %stanza.target(), "dropped: nobody is to be told")
            }
        }
    }

    /// Sends a stanza of our own, written as for a stream with that content namespace.
    fn send_own(self: &Arc<Self>, bytes: Bytes, content: ContentNamespace) {
        let stanza = Element::parse(bytes, &Context::new(content))
            .ok()
            .and_then(|element| Stanza::own(element).ok());
        match stanza {
            Some(stanza) => {
                if self.deliver(stanza, &Origin::Own).is_err() {
                    warn!(unproved = Empty, "an answer of our own found no room");
                }
            }
            None => warn!(unproved = Empty, "an answer could not be addressed"),
        }
    }

    /// The remote domain of a pair proved itself to us: whoever waits to try it again need not wait.
    pub(crate) fn peer_alive(&self, pair: &DomainPair) {
        self.lanes.peer_alive(pair);
    }

    /// Attaches a component; an earlier connection for the domain is told to go.
    pub(crate) fn attach(&self, domain: Domain, link: Link) {
        if let Some(old) = self.components().insert(domain, link) {
            old.replaced.cancel();
        }
    }

    /// Detaches a component, unless another took its place.
    pub(crate) fn detach(&self, domain: &Domain, sender: &Sender) {
        let mut components = self.components();
        if components
            .get(domain)
            .is_some_and(|link| link.sender.is_same(sender))
        {
            components.remove(domain);
        }
    }

    fn components(&self) -> std::sync::MutexGuard<'_, HashMap<Domain, Link>> {
        self.components
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn full(text: &str) -> StanzaError {
    StanzaError::new(ErrorType::Wait, StanzaCondition::ResourceConstraint)
        .with_text(text)
        .with_application(cause_element("queue-full"))
}

fn absent() -> StanzaError {
    StanzaError::new(ErrorType::Wait, StanzaCondition::ServiceUnavailable)
        .with_text("nothing answers for this domain at the moment")
        .with_application(cause_element("component-absent"))
}
