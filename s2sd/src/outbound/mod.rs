//! Streams we make: one lane per domain pair that has stanzas, and one stream per question to an authoritative server.

pub(crate) mod connector;
mod drive;
pub(crate) mod onlooker;
mod stall;
mod strays;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::timeout;
use tracing::{debug, field::Empty, info};
use xmpp_dialback::{DialbackError, ErrorCondition, Question, Verdict};

use crate::closed::Cause;
use crate::means::Means;
use crate::negotiate::{DomainPair, Purpose};
use crate::queue::{self, Bound, Rejected, Sender};
use crate::router::Router;
use crate::stanza::Stanza;

/// The lanes that have a task: those with stanzas, a stream, or a failure to remember.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    busy: Mutex<HashMap<DomainPair, Handle>>,
}

#[derive(Clone, Debug)]
struct Handle {
    sender: Sender,
    alive: Arc<Notify>,
}

const FULL: &str = "the queue for this domain is full";
const TOO_MANY: &str = "this server is busy with as many other domains as it may be";

impl Lanes {
    /// Queues a stanza for a pair, waking or making its lane. What has no room comes back, with what is full.
    pub(crate) fn send(
        &self,
        router: &Arc<Router>,
        pair: DomainPair,
        stanza: Stanza,
    ) -> Result<(), (Stanza, &'static str)> {
        let mut busy = self.lock();
        let stanza = match busy.get(&pair) {
            None => stanza,
            Some(handle) => match handle.sender.send(stanza) {
                Ok(()) => return Ok(()),
                Err(Rejected::Full(stanza)) => return Err((stanza, FULL)),
                Err(Rejected::Gone(stanza)) => stanza,
            },
        };
        let own = &router.means().house.load().config.queue;
        if busy.len() >= own.lanes && !busy.contains_key(&pair) {
            return Err((stanza, TOO_MANY));
        }
        let (sender, receiver) = queue::bounded(Bound {
            stanzas: own.stanzas,
            bytes: own.bytes,
        });
        let handle = Handle {
            sender: sender.clone(),
            alive: Arc::default(),
        };
        let task = drive::LaneTask::new(
            Arc::clone(router),
            pair.clone(),
            receiver,
            Arc::clone(&handle.alive),
        );
        busy.insert(pair, handle);
        tokio::spawn(task.run());
        sender.send(stanza).map_err(|rejected| match rejected {
            Rejected::Full(stanza) | Rejected::Gone(stanza) => (stanza, FULL),
        })
    }

    /// The remote domain connected to us.
    pub(crate) fn peer_alive(&self, pair: &DomainPair) {
        if let Some(handle) = self.lock().get(pair) {
            handle.alive.notify_one();
        }
    }

    /// Forgets a lane whose task wants to end, unless something came in meanwhile.
    fn forget(&self, pair: &DomainPair, receiver: &queue::Receiver) -> bool {
        let mut busy = self.lock();
        if receiver.is_empty() {
            busy.remove(pair);
            true
        } else {
            false
        }
    }

    /// How many lanes have a task.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<DomainPair, Handle>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks the authoritative server of the pair's remote domain whether a dialback key is its own (XEP-0220 §2.2.1).
pub(crate) async fn ask(means: &Means, pair: DomainPair, question: Question) -> Verdict {
    let house = means.house();
    let within = house.config.limits.dialback;
    let remote = pair.remote.clone();
    let answer = timeout(
        within,
        connector::connect(means, &house, &pair, &Purpose::Verify(question)),
    )
    .await;
    match answer {
        Ok(Ok(connector::Outcome::Answered(verdict))) => {
            debug!(%remote, ?verdict, "the authoritative server answered");
            verdict
        }
        Ok(Ok(connector::Outcome::Ready(_))) => {
            no(ErrorCondition::RemoteServerTimeout, "no answer")
        }
        Ok(Err(cause)) => {
            info!(unproved = Empty, %remote, cause = cause.name(), "the authoritative server could not be asked: {cause}");
            let condition = match &cause {
                Cause::NoSuchHost(_) | Cause::NoService | Cause::NoWay(_) | Cause::Dnssec(_) => {
                    ErrorCondition::RemoteServerNotFound
                }
                Cause::Connect(_)
                | Cause::Tls(_)
                | Cause::TlsNotOffered
                | Cause::Certificate(_)
                | Cause::Policy(_)
                | Cause::NotPublic(_) => ErrorCondition::RemoteConnectionFailed,
                // It refuses us, and would again.
                Cause::StreamError(_) if cause.is_permanent() => {
                    ErrorCondition::RemoteConnectionFailed
                }
                // A look-up without an answer among them: of a domain of which nothing is known it is not said that it
                // is not there.
                _ => ErrorCondition::RemoteServerTimeout,
            };
            no(condition, &cause.to_string())
        }
        Err(_) => {
            info!(unproved = Empty, %remote, "the authoritative server did not answer in time");
            no(
                ErrorCondition::RemoteServerTimeout,
                "the authoritative server did not answer in time",
            )
        }
    }
}

fn no(condition: ErrorCondition, text: &str) -> Verdict {
    Verdict::Error(DialbackError::new(condition).with_text(text))
}
