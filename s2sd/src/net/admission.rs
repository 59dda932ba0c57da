//! Limits on connections: in all, from one network, of one domain; and on processor time before a peer has proved
//! anything. The rules are values, [`protocol::admission`](crate::protocol::admission); here tasks share them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use xmpp_stream::Domain;

use crate::network::Network;
use crate::protocol::admission::{Bounds, Connections, Id, Refusal, Refusals, Refused};
use crate::protocol::negotiate::Quota;

/// How often the log reports refusals.
const MINUTE: Duration = Duration::from_secs(60);

/// The connections of one kind that there are.
#[derive(Debug)]
pub(crate) struct ConnectionLimit {
    began: Instant,
    state: Mutex<State>,
    refused: Notify,
}

#[derive(Debug, Default)]
struct State {
    connections: Connections,
    streams: HashMap<Id, Arc<Stream>>,
    refusals: Refusals,
}

/// A stream while it is open.
#[derive(Debug)]
struct Stream {
    /// When something came last, in milliseconds since [`ConnectionLimit::began`].
    heard: AtomicU64,
    leave: CancellationToken,
}

/// A stream that is not listened to is not silent.
const BUSY: u64 = u64::MAX;

/// A place among the connections, until all copies are dropped.
#[derive(Clone, Debug)]
pub(crate) struct Admission(Arc<Slot>);

#[derive(Debug)]
struct Slot {
    connection_limit: Arc<ConnectionLimit>,
    address: IpAddr,
    bounds: Bounds,
    id: Id,
    stream: Arc<Stream>,
}

impl Default for ConnectionLimit {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            state: Mutex::default(),
            refused: Notify::new(),
        }
    }
}

impl ConnectionLimit {
    /// Admits a connection, or says which bound it is over.
    pub(crate) fn admit(
        self: &Arc<Self>,
        address: IpAddr,
        bounds: Bounds,
    ) -> Result<Admission, Refusal> {
        let now = Instant::now();
        let mut state = self.state();
        let id = match state.connections.admit(address, &bounds, now) {
            Ok(id) => id,
            Err(refusal) => {
                drop(state);
                return Err(self.refuse(refusal, address));
            }
        };
        let stream = Arc::new(Stream {
            heard: AtomicU64::new(self.millis(now)),
            leave: CancellationToken::new(),
        });
        state.streams.insert(id, Arc::clone(&stream));
        drop(state);
        Ok(Admission(Arc::new(Slot {
            connection_limit: Arc::clone(self),
            address,
            bounds,
            id,
            stream,
        })))
    }

    /// Those that are authenticated, and those that are not.
    pub(crate) fn numbers(&self) -> (usize, usize) {
        self.state().connections.numbers()
    }

    /// How many were refused, and why.
    pub(crate) fn refused(&self) -> Refused {
        self.state().refusals.total()
    }

    /// Reports refusals to the log: the first at once, the others once a minute.
    pub(crate) async fn tell(&self, listener: &'static str, stop: CancellationToken) {
        let telling = async {
            loop {
                self.refused.notified().await;
                let new = self.state().refusals.take();
                if let Some((refused, last)) = new {
                    warn!(
                        listener,
                        count = refused.sum(),
                        reasons = %refused,
                        %last,
                        "connections refused"
                    );
                }
                sleep(MINUTE).await;
            }
        };
        stop.run_until_cancelled(telling).await;
    }

    fn refuse(&self, refusal: Refusal, address: IpAddr) -> Refusal {
        self.state().refusals.note(refusal, Network::host(address));
        self.refused.notify_one();
        debug!(%address, reason = refusal.name(), "refused");
        refusal
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn millis(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.began);
        u64::try_from(since.as_millis()).unwrap_or(BUSY - 1)
    }
}

impl Admission {
    /// A component is authenticated.
    pub(crate) fn attached(&self) {
        self.0
            .connection_limit
            .state()
            .connections
            .attach(self.0.id);
    }

    /// Something came, or will be listened to at this time.
    pub(crate) fn heard(&self, when: Instant) {
        let millis = self.0.connection_limit.millis(when);
        self.0.stream.heard.store(millis, Ordering::Release);
    }

    /// The stream counts as busy until [`Admission::heard`].
    pub(crate) fn busy(&self) {
        self.0.stream.heard.store(BUSY, Ordering::Release);
    }

    /// Ends when another stream of the same domain takes the place of this one.
    pub(crate) async fn replaced(&self) {
        self.0.stream.leave.cancelled().await;
    }
}

impl Quota for Admission {
    fn take(&mut self, remote: &Domain) -> bool {
        let slot = &self.0;
        let connection_limit = &slot.connection_limit;
        let now = Instant::now();
        let mut state = connection_limit.state();
        let State {
            connections,
            streams,
            ..
        } = &mut *state;
        let heard = |id: Id| match streams.get(&id) {
            Some(stream) => match stream.heard.load(Ordering::Acquire) {
                BUSY => now,
                millis => connection_limit.began + Duration::from_millis(millis),
            },
            None => now,
        };
        match connections.authenticate(slot.id, remote, &slot.bounds, now, heard) {
            Ok(replaced) => {
                if let Some(stream) = replaced.and_then(|id| streams.get(&id)) {
                    stream.leave.cancel();
                }
                true
            }
            Err(refusal) => {
                drop(state);
                connection_limit.refuse(refusal, slot.address);
                false
            }
        }
    }

    fn forget(&mut self) -> bool {
        let slot = &self.0;
        let forgotten = slot
            .connection_limit
            .state()
            .connections
            .forget(slot.id, &slot.bounds);
        forgotten
            .map_err(|refusal| slot.connection_limit.refuse(refusal, slot.address))
            .is_ok()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.connection_limit.state();
        state.streams.remove(&self.id);
        state.connections.close(self.id, Instant::now());
    }
}
