//! The receiving half of a stream: what a peer sends that has proved its domain goes to the router, as fast as its rate limit
//! allows and there is room for it.
//!
//! It waits only to the right: where a component's queue is full, nothing more is read, so that TCP slows the sending server
//! down. Everything else on the stream goes on meanwhile.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::yield_now;
use tracing::{debug, field::Empty, info};
use xmpp_stream::{Domain, StanzaError};

use crate::closed::Cause;
use crate::flow::router::{Router, Undelivered, Wait};
use crate::flow::shared::Shared;
use crate::net::conn::Conn;
use crate::net::turns::{Turn, during};
use crate::net::until::until;
use crate::peer_text::PeerText;
use crate::protocol::budget::Account;
use crate::protocol::negotiate::{Authorized, Snapshot};
use crate::protocol::rate_limit::StreamBuckets;
use crate::protocol::stanza::{Origin, Stanza};
use crate::protocol::strays::{Stray, Strays};

/// After so many frames others have their turn: one read has room for hundreds, a network for two thousand streams, and
/// a new one would wait for all of them. Fewer streams than there are processors have a turn at the same time, so that
/// a new one waits for these few, and networks have their turns in rotation.
const FRAMES_IN_A_ROW: usize = 8;

/// So many eighths of `limits.drain` peers are still heard.
pub(crate) const HEARING: u32 = 5;

/// What is received on a stream.
pub(crate) struct Receiving {
    router: Arc<Router>,
    /// The domains that are proved.
    remotes: Vec<Domain>,
    /// How fast they may send.
    buckets: StreamBuckets,
    pub(crate) strays: Strays,
    /// Until then nothing more is read, and what was read already is not decoded.
    held: Option<Instant>,
    /// There is no room for this stanza: until there is, nothing more is read or decoded.
    waiting: Option<Waiting>,
    /// So long it waits.
    give_up: Duration,
}

struct Waiting {
    stanza: Stanza,
    origin: Origin,
    /// Of its domain.
    remote: Domain,
    wait_for: Wait,
    until: Instant,
}

/// What ended a pause.
pub(crate) enum Freed {
    /// Its time.
    Time,
    /// There may be room for the stanza that waits.
    Room,
    /// The stanza that waits goes no further, for this cause.
    Never(Cause),
}

impl Receiving {
    /// Nothing is proved. What has no room waits so long.
    pub(crate) fn new(router: Arc<Router>, give_up: Duration) -> Self {
        Self {
            router,
            remotes: Vec::new(),
            buckets: StreamBuckets::default(),
            strays: Strays::default(),
            held: None,
            waiting: None,
            give_up,
        }
    }

    /// This domain may send.
    pub(crate) fn proved(&mut self, remote: &Domain, snapshot: &Snapshot) {
        let policy = snapshot.policy(remote);
        let rate_limiter = &self.router.shared().rate_limiter;
        self.buckets
            .add(rate_limiter, remote, &policy, Instant::now());
        if !self.remotes.contains(remote) {
            self.remotes.push(remote.clone());
        }
    }

    /// What was proved is forgotten.
    pub(crate) fn forget(&mut self) {
        self.remotes.clear();
        self.buckets = StreamBuckets::default();
    }

    /// The server stops: what the peer has on the way is taken as fast as it comes, since there is no later.
    pub(crate) fn hurry(&mut self) {
        self.buckets = StreamBuckets::default();
        self.held = None;
    }

    /// So many bytes were read.
    pub(crate) fn read(&mut self, bytes: u64) {
        if self.buckets.is_any() {
            self.buckets.bytes(bytes, Instant::now());
        }
    }

    /// Who sent more than its rate limit allows is not listened to until then.
    pub(crate) fn pause(&self) -> Option<Instant> {
        match self.buckets.is_any() {
            true => self.buckets.pause(Instant::now()),
            false => None,
        }
    }

    /// Nothing more is read or decoded until then.
    pub(crate) fn hold(&mut self, until: Instant) {
        self.held = Some(until);
    }

    /// Until when nothing is read or decoded, if that has a time.
    pub(crate) fn held(&self) -> Option<Instant> {
        self.held
    }

    /// Whether a stanza waits for room.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Whether more is read.
    pub(crate) fn reads(&self) -> bool {
        self.held.is_none() && self.waiting.is_none()
    }

    /// A stanza for the router, from the peer that this connection leads to.
    pub(crate) fn deliver(&mut self, stanza: Stanza, authorized: Authorized, conn: &Conn) {
        self.note(&authorized, conn);
        let waiting = Waiting {
            stanza,
            remote: authorized.pair().remote.clone(),
            origin: Origin::Peer(authorized),
            wait_for: Wait::Memory,
            until: Instant::now() + self.give_up,
        };
        self.pass_on(waiting, conn.payer());
    }

    fn pass_on(&mut self, waiting: Waiting, payer: &Account) {
        let Waiting { stanza, origin, .. } = waiting;
        if let Err(Undelivered { stanza, wait_for }) = self.router.deliver(stanza, &origin, payer) {
            self.waiting = Some(Waiting {
                stanza,
                origin,
                wait_for,
                ..waiting
            });
        }
    }

    /// A stanza goes no further, and its sender gets the reason.
    pub(crate) fn bounce(
        &mut self,
        stanza: &Stanza,
        error: &StanzaError,
        authorized: &Authorized,
        conn: &Conn,
    ) {
        self.note(authorized, conn);
        debug!(from = %stanza.sender(), to = %stanza.target(),
            condition = error.condition.name(), "a stanza is refused, the stream goes on");
        self.router.bounce(stanza, error, conn.payer());
    }

    fn note(&self, authorized: &Authorized, conn: &Conn) {
        conn.counters().stanza_in();
        if self.buckets.is_any() {
            let remote = &authorized.pair().remote;
            self.buckets.stanza(remote, Instant::now());
        }
    }

    /// What this server knows nothing of goes nowhere. Whether there was too much of it.
    pub(crate) fn stray(&mut self, what: &PeerText, is_stanza: bool) -> bool {
        match self.strays.note(Instant::now(), is_stanza) {
            Stray::Say(passed_over) => {
                info!(
                    proved = Empty,
                    ?what,
                    passed_over,
                    "ignored: an element of which this server knows nothing"
                );
                false
            }
            Stray::PassOver => false,
            Stray::TooMany => true,
        }
    }

    /// Waits until something is to be done about what holds the stream up, if something does. Safe to drop.
    pub(crate) async fn freed(&self) -> Freed {
        match (&self.waiting, self.held) {
            // It is large, and as a rule nothing waits.
            (Some(waiting), _) => Box::pin(self.room(waiting)).await,
            (None, Some(held)) => {
                until(held).await;
                Freed::Time
            }
            (None, None) => std::future::pending().await,
        }
    }

    async fn room(&self, waiting: &Waiting) -> Freed {
        let shared = self.router.shared();
        tokio::select! {
            biased;
            cause = denied(shared, &waiting.remote, &self.remotes) => Freed::Never(cause),
            () = shared.until_drained(HEARING) => Freed::Never(Cause::Shutdown),
            () = until(waiting.until) => {
                Freed::Never(Cause::Timeout("the component does not read"))
            }
            () = waiting.wait_for.room() => Freed::Room,
        }
    }

    /// Does it.
    pub(crate) fn free(&mut self, freed: Freed, payer: &Account) {
        match (freed, self.waiting.take()) {
            (Freed::Room, Some(waiting)) => self.pass_on(waiting, payer),
            (Freed::Never(cause), Some(waiting)) => {
                let error = cause.stanza_error();
                self.router.bounce(&waiting.stanza, &error, payer);
            }
            (Freed::Time, waiting) => {
                self.held = None;
                self.waiting = waiting;
            }
            (_, None) => {}
        }
    }

    /// The stream is over: the stanza that waits still goes where it is to go, within this time.
    pub(crate) async fn finish(&mut self, within: Option<Duration>, payer: &Account) {
        let end = within.map(|within| Instant::now() + within);
        while let Some(waiting) = &mut self.waiting {
            if let Some(end) = end {
                waiting.until = waiting.until.min(end);
            }
            let freed = self.freed().await;
            self.free(freed, payer);
        }
    }
}

/// Ends when a reload denies a domain of the stream, which then ends: why a stanza of `remote` goes no further.
async fn denied(shared: &Shared, remote: &Domain, remotes: &[Domain]) -> Cause {
    let mut reloads = shared.reloads.subscribe();
    loop {
        let snapshot = shared.snapshot();
        if let Err(denied) = snapshot.admits(remote) {
            return Cause::denied(remote, &denied);
        }
        if remotes
            .iter()
            .any(|remote| snapshot.admits(remote).is_err())
        {
            return Cause::Lost("another domain of its stream is denied".into());
        }
        if reloads.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The turns in which what was read of a stream is looked at, element by element.
pub(crate) struct Hearing {
    shared: Arc<Shared>,
    from: IpAddr,
    turn: Option<Turn>,
    in_a_row: usize,
}

impl Hearing {
    /// Of a stream from this address.
    pub(crate) fn new(shared: &Arc<Shared>, from: IpAddr) -> Self {
        Self {
            shared: Arc::clone(shared),
            from,
            turn: None,
            in_a_row: 0,
        }
    }

    /// Waits until it is this stream's turn for one more element.
    pub(crate) async fn next(&mut self) {
        if self.in_a_row == FRAMES_IN_A_ROW {
            self.turn = None;
            yield_now().await;
        }
        // Where an element had to wait for something, the turn is another's already.
        if self.turn.is_none() {
            self.turn = Some(self.shared.hearing.take(self.from).await);
            self.in_a_row = 0;
        }
        self.in_a_row += 1;
    }

    /// What an element leads to. Where that has to wait, others have the turn.
    pub(crate) async fn during<F: Future>(&mut self, what: F) -> F::Output {
        during(&mut self.turn, what).await
    }
}
