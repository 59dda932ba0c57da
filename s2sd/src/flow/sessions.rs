//! The registry of streams: the facts about each stream of this server, and how to reach its driver.
//!
//! A driver registers its stream and holds the [`Entry`]; dropping that takes the stream off the list. Counters are
//! atomics of the stream. Its facts change a few times in its life and have a lock of their own. Readers get copies, so
//! that no stream waits for them. The counts of ended streams stay in the totals.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio_util::sync::CancellationToken;
use xmpp_stream::Domain;

use crate::closed::{By, Cause, Closed, OtherEnd};
use crate::net::conn::Conn;
use crate::protocol::counters::{Counters, Traffic};
use crate::protocol::negotiate::{Authorized, DomainPair};
use crate::trust;
use crate::trust::facts::TlsFacts;

/// The streams of this server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sessions(Arc<Registry>);

#[derive(Debug, Default)]
struct Registry {
    next: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    streams: BTreeMap<u64, Arc<Stream>>,
    totals: Totals,
}

/// What all streams together were since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// What those of each kind carried.
    pub(crate) traffic: BTreeMap<StreamKind, Traffic>,
    /// On how many a first pair was proved, by kind, method and version of TLS.
    pub(crate) authenticated: BTreeMap<(StreamKind, &'static str, &'static str), u64>,
    /// How many ended before that, by kind and cause.
    pub(crate) failed: BTreeMap<(StreamKind, &'static str), u64>,
    /// How many ended after that, by kind, by side, and by cause.
    pub(crate) ended: BTreeMap<(StreamKind, &'static str, &'static str), u64>,
}

/// The two ends of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StreamKind {
    /// Another server opened it.
    Incoming,
    /// This server opened it to another one.
    Outgoing,
    /// A component of ours opened it.
    Component,
}

impl StreamKind {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Incoming, Self::Outgoing, Self::Component];

    /// The kind of the other end.
    pub(crate) fn other_end(self) -> OtherEnd {
        match self {
            Self::Incoming | Self::Outgoing => OtherEnd::Server,
            Self::Component => OtherEnd::Component,
        }
    }

    /// The name for programs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Incoming => "incoming",
            Self::Outgoing => "outgoing",
            Self::Component => "component",
        }
    }
}

/// How far a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StreamState {
    /// No pair is proved.
    Negotiating,
    /// A pair is proved.
    Open,
    /// It ends.
    Closing,
}

impl StreamState {
    /// The name for programs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Negotiating => "negotiating",
            Self::Open => "open",
            Self::Closing => "closing",
        }
    }
}

/// A pair that is proved on a stream, and why it is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proof {
    /// Ours.
    pub(crate) local: Domain,
    /// Theirs; a component has none.
    pub(crate) remote: Option<Domain>,
    /// By what the initiating side proved itself.
    pub(crate) method: &'static str,
    /// How well the other server is known.
    pub(crate) trust: &'static str,
    /// By what.
    pub(crate) because: String,
}

/// A stream at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// Its number in this registry.
    pub(crate) id: u64,
    /// Its kind.
    pub(crate) kind: StreamKind,
    /// How far it is.
    pub(crate) state: StreamState,
    /// The address of the other end.
    pub(crate) peer: SocketAddr,
    /// When it was accepted, or its connection made.
    pub(crate) since: Instant,
    /// When bytes last came or went.
    pub(crate) active: Instant,
    /// The pair that this server opened it for.
    pub(crate) wanted: Option<DomainPair>,
    /// The pairs that are proved on it.
    pub(crate) proofs: Vec<Proof>,
    /// The lanes that send by it.
    pub(crate) lanes: Vec<DomainPair>,
    /// How it is encrypted.
    pub(crate) tls: Option<TlsFacts>,
    /// Whether it carries stanzas in both directions.
    pub(crate) bidi: bool,
    /// Its counters.
    pub(crate) traffic: Traffic,
}

impl Facts {
    /// `TLS 1.3`, `TLS 1.2` or `none`.
    pub(crate) fn tls_version(&self) -> &'static str {
        version(self.tls.as_ref())
    }
}

#[derive(Debug)]
struct Stream {
    id: u64,
    kind: StreamKind,
    peer: SocketAddr,
    counters: Arc<Counters>,
    changing: Mutex<Changing>,
    close: CancellationToken,
}

/// What changes a few times in a stream's life.
#[derive(Debug)]
struct Changing {
    state: StreamState,
    wanted: Option<DomainPair>,
    proofs: Vec<Proof>,
    lanes: Vec<DomainPair>,
    tls: Option<TlsFacts>,
    bidi: bool,
    /// Whether the totals have its end.
    is_counted: bool,
}

/// A stream's place in the registry, held by its driver. All clones are the same place.
#[derive(Clone, Debug)]
pub(crate) struct Entry(Arc<Registered>);

#[derive(Debug)]
struct Registered {
    registry: Sessions,
    stream: Arc<Stream>,
}

/// In the totals, where the driver went away without a cause: it was not wanted any more.
pub(crate) const ABANDONED: &str = "abandoned";

impl Sessions {
    /// A stream begins, with this address at the other end.
    pub(crate) fn register(&self, kind: StreamKind, peer: SocketAddr) -> Entry {
        let stream = Arc::new(Stream {
            id: self.0.next.fetch_add(1, Ordering::Relaxed) + 1,
            kind,
            peer,
            counters: Arc::new(Counters::new(Instant::now())),
            changing: Mutex::new(Changing {
                state: StreamState::Negotiating,
                wanted: None,
                proofs: Vec::new(),
                lanes: Vec::new(),
                tls: None,
                bidi: false,
                is_counted: false,
            }),
            close: CancellationToken::new(),
        });
        let registered = Registered {
            registry: self.clone(),
            stream: Arc::clone(&stream),
        };
        self.lock().streams.insert(stream.id, stream);
        Entry(Arc::new(registered))
    }

    /// All streams, in the order in which they began.
    pub(crate) fn streams(&self) -> Vec<Facts> {
        let streams: Vec<Arc<Stream>> = self.lock().streams.values().cloned().collect();
        streams.iter().map(|stream| stream.facts()).collect()
    }

    /// What all streams were since the start, those that there are included.
    pub(crate) fn totals(&self) -> Totals {
        let state = self.lock();
        let mut totals = state.totals.clone();
        for stream in state.streams.values() {
            let carried = totals.traffic.entry(stream.kind).or_default();
            carried.add(stream.counters.traffic());
        }
        totals
    }

    /// What the streams of one kind carried since the start.
    pub(crate) fn traffic(&self, kind: StreamKind) -> Traffic {
        let totals = self.totals();
        totals.traffic.get(&kind).copied().unwrap_or_default()
    }

    /// Has the driver of this stream end it. `None`: there is no such stream.
    pub(crate) fn close(&self, id: u64) -> Option<Facts> {
        let stream = self.lock().streams.get(&id).cloned()?;
        let facts = stream.facts();
        stream.close.cancel();
        Some(facts)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// For this pair the stream is opened.
    pub(crate) fn wants(&self, pair: &DomainPair) {
        self.0.stream.changing().wanted = Some(pair.clone());
    }

    /// This is its connection now. Proofs on another one, before TLS, are forgotten.
    pub(crate) fn carried_by(&self, conn: &mut Conn) {
        conn.count_with(Arc::clone(&self.0.stream.counters));
        let tls = conn.tls().map(|tls| trust::describe(tls.get_ref().1));
        let mut changing = self.0.stream.changing();
        changing.tls = tls;
        changing.proofs.clear();
        changing.state = StreamState::Negotiating;
    }

    /// A pair is proved.
    pub(crate) fn proved(&self, authorized: &Authorized) {
        let (pair, judgement) = (authorized.pair(), authorized.judgement());
        self.add(Proof {
            local: pair.local.clone(),
            remote: Some(pair.remote.clone()),
            method: authorized.method().name(),
            trust: judgement.trust().name(),
            because: judgement.because().to_string(),
        });
    }

    /// A component is attached for this domain.
    pub(crate) fn attached(&self, domain: &Domain) {
        self.add(Proof {
            local: domain.clone(),
            remote: None,
            method: "handshake",
            trust: "agreed",
            because: "the secret of the component".to_owned(),
        });
    }

    fn add(&self, proof: Proof) {
        let mut changing = self.0.stream.changing();
        let method = proof.method;
        let is_first = changing.state == StreamState::Negotiating;
        changing.proofs.push(proof);
        if is_first {
            changing.state = StreamState::Open;
            let tls = version(changing.tls.as_ref());
            drop(changing);
            let key = (self.0.stream.kind, method, tls);
            let mut state = self.0.registry.lock();
            *state.totals.authenticated.entry(key).or_default() += 1;
        }
    }

    /// A lane sends by it.
    pub(crate) fn serves(&self, pair: &DomainPair) {
        self.0.stream.changing().lanes.push(pair.clone());
    }

    /// It carries stanzas in both directions (XEP-0288).
    pub(crate) fn carries_both(&self) {
        self.0.stream.changing().bidi = true;
    }

    /// It takes questions about dialback keys, and nothing else.
    pub(crate) fn asks(&self) {
        self.0.stream.changing().state = StreamState::Open;
    }

    /// We have sent our end tag, and the other end has not.
    pub(crate) fn closing(&self) {
        self.0.stream.changing().state = StreamState::Closing;
    }

    /// It ends, or was never made.
    pub(crate) fn ended(&self, closed: &Closed) {
        self.0.count_end(closed.by, closed.cause.name());
    }

    /// It was not made, for this cause.
    pub(crate) fn failed(&self, cause: &Cause) {
        self.0.count_end(By::World, cause.name());
    }

    /// Completes when an operator wants this stream closed; keeps nothing else of it.
    pub(crate) fn closed_by_an_operator(self) -> impl Future<Output = ()> + Send {
        self.0.stream.close.clone().cancelled_owned()
    }

    /// The same. Safe to drop.
    pub(crate) async fn close_wanted(&self) {
        self.0.stream.close.cancelled().await;
    }
}

impl Registered {
    fn count_end(&self, by: By, cause: &'static str) {
        let mut changing = self.stream.changing();
        if std::mem::replace(&mut changing.is_counted, true) {
            return;
        }
        let before = std::mem::replace(&mut changing.state, StreamState::Closing);
        drop(changing);
        let kind = self.stream.kind;
        let totals = &mut self.registry.lock().totals;
        let count = match before {
            StreamState::Negotiating => totals.failed.entry((kind, cause)).or_default(),
            StreamState::Open | StreamState::Closing => {
                let ended = totals.ended.entry((kind, by.name(kind.other_end()), cause));
                ended.or_default()
            }
        };
        *count += 1;
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.count_end(By::Us, ABANDONED);
        let mut state = self.registry.lock();
        state.streams.remove(&self.stream.id);
        let carried = state.totals.traffic.entry(self.stream.kind).or_default();
        carried.add(self.stream.counters.traffic());
    }
}

impl Stream {
    fn changing(&self) -> MutexGuard<'_, Changing> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn facts(&self) -> Facts {
        let changing = self.changing();
        Facts {
            id: self.id,
            kind: self.kind,
            state: changing.state,
            peer: self.peer,
            since: self.counters.began(),
            active: self.counters.active(),
            wanted: changing.wanted.clone(),
            proofs: changing.proofs.clone(),
            lanes: changing.lanes.clone(),
            tls: changing.tls.clone(),
            bidi: changing.bidi,
            traffic: self.counters.traffic(),
        }
    }
}

fn version(tls: Option<&TlsFacts>) -> &'static str {
    tls.map_or("none", |tls| tls.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> SocketAddr {
        "192.0.2.1:5269".parse().unwrap()
    }

    fn domain() -> Domain {
        Domain::parse("a.example").unwrap()
    }

    fn finished() -> Closed {
        Closed {
            by: By::Peer,
            cause: Cause::Finished,
        }
    }

    #[test]
    fn a_stream_is_listed_from_its_beginning_to_its_end() {
        let sessions = Sessions::default();
        let first = sessions.register(StreamKind::Incoming, peer());
        let second = sessions.register(StreamKind::Component, peer());
        second.attached(&domain());
        let [one, two] = &sessions.streams()[..] else {
            panic!("not two streams");
        };
        assert_eq!(
            (one.kind, one.state),
            (StreamKind::Incoming, StreamState::Negotiating)
        );
        assert_eq!(
            (two.kind, two.state),
            (StreamKind::Component, StreamState::Open)
        );
        assert_eq!(two.proofs[0].local, domain());
        assert!(one.id < two.id, "in the order in which they began");
        second.ended(&finished());
        assert_eq!(sessions.streams()[1].state, StreamState::Closing);
        let clone = first.clone();
        drop((first, second));
        assert_eq!(sessions.streams().len(), 1, "a clone is the same place");
        drop(clone);
        assert!(sessions.streams().is_empty());
    }

    #[test]
    fn what_has_ended_stays_in_the_totals() {
        let sessions = Sessions::default();
        let [open, over] = [(); 2].map(|()| sessions.register(StreamKind::Component, peer()));
        for entry in [&open, &over] {
            let counters = &entry.0.stream.counters;
            counters.stanza_in();
            counters.stanzas_out(2);
            counters.bytes_in(10, Instant::now());
            counters.bytes_out(20, Instant::now());
        }
        drop(over);
        let traffic = Traffic {
            stanzas_in: 2,
            stanzas_out: 4,
            bytes_in: 20,
            bytes_out: 40,
        };
        assert_eq!(sessions.traffic(StreamKind::Component), traffic);
        assert_eq!(sessions.traffic(StreamKind::Outgoing), Traffic::default());
        drop(open);
        assert_eq!(sessions.traffic(StreamKind::Component), traffic);
    }

    #[test]
    fn an_end_counts_once_and_before_a_proof_as_a_failure() {
        let sessions = Sessions::default();
        let kind = StreamKind::Component;
        let [never, attached, left] = [(); 3].map(|()| sessions.register(kind, peer()));
        attached.attached(&domain());
        never.ended(&finished());
        attached.ended(&finished());
        attached.failed(&Cause::Idle);
        drop((never, attached, left));
        let totals = sessions.totals();
        assert_eq!(
            totals.failed,
            [((kind, "finished"), 1), ((kind, ABANDONED), 1)].into()
        );
        assert_eq!(totals.ended, [((kind, "component", "finished"), 1)].into());
        assert_eq!(
            totals.authenticated,
            [((kind, "handshake", "none"), 1)].into()
        );
    }

    #[tokio::test]
    async fn the_driver_of_a_stream_hears_that_it_is_to_be_closed_and_no_other() {
        let sessions = Sessions::default();
        let [one, other] = [(); 2].map(|()| sessions.register(StreamKind::Incoming, peer()));
        let id = sessions.streams()[0].id;
        assert_eq!(sessions.close(id).map(|facts| facts.id), Some(id));
        one.close_wanted().await;
        assert!(!other.0.stream.close.is_cancelled());
        drop(one);
        assert!(sessions.close(id).is_none());
    }
}
