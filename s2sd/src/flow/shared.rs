//! What every stream needs and none owns: the rules, the certificates, the resolver, the word that it is time to stop.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::time::sleep_until;
use tokio_rustls::TlsStream;
use tokio_util::sync::CancellationToken;
use tracing::debug;
use xmpp_sasl::{ChannelBindings, Random};
use xmpp_stream::Domain;

use crate::config::{Config, TlsFloor};
use crate::flow::sessions::Sessions;
use crate::net::admission::ConnectionLimit;
use crate::net::conn::Conn;
use crate::net::descriptors::{self, Descriptors};
use crate::net::machine;
use crate::net::metered::Metered;
use crate::net::resolve::{Asker, Dns, Posh, RecentFailures};
use crate::net::tls::{ByName, Tls, binding};
use crate::net::turns::Turns;
use crate::protocol::admission::{AttemptLimit, Throttle};
use crate::protocol::budget::{Account, Budget, Owner, Share};
use crate::protocol::negotiate::{Secured, Snapshot};
use crate::protocol::rate_limit::RateLimiter;
use crate::trust;
use crate::trust::facts::TLS_1_3;

/// Shared by all tasks.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The rules; replaced whole at a reload. A stream keeps those it began with.
    pub(crate) snapshot: ArcSwap<Snapshot>,
    /// Certificates and trust anchors.
    pub(crate) tls: Tls,
    /// The resolver, without an account.
    pub(crate) dns: Dns,
    /// Targets that gave no answer lately.
    pub(crate) recent_failures: RecentFailures,
    /// The file descriptors, and how many each kind of use may have.
    pub(crate) descriptors: Arc<Descriptors>,
    /// How many connections unauthenticated peers may cause.
    pub(crate) attempt_limit: Arc<Mutex<AttemptLimit>>,
    /// The documents that domains publish about certificates on the web.
    pub(crate) posh: Posh,
    /// How fast peers may send.
    pub(crate) rate_limiter: RateLimiter,
    /// The memory for all that waits and all that is half read.
    pub(crate) memory: Budget,
    /// Turns for work that takes a processor long. Work that waits for one holds nothing that other work needs.
    pub(crate) computing: Turns,
    /// Turns for waiting for a KDC, which takes no processor: a KDC that does not answer delays no password.
    pub(crate) waiting: Turns,
    /// Turns for the elements read from incoming streams, a few in each.
    pub(crate) hearing: Turns,
    /// Turns for the handshakes of peers that connect to us.
    pub(crate) handshakes: Turns,
    /// The streams that there are.
    pub(crate) sessions: Sessions,
    /// Incoming connections of servers.
    pub(crate) servers: Arc<ConnectionLimit>,
    /// Connections of components: however many servers come, our own components still get in.
    pub(crate) components: Arc<ConnectionLimit>,
    /// Components that showed a wrong secret.
    pub(crate) throttle: Mutex<Throttle>,
    /// Turns for judging certificates, which takes as long as a peer makes it take.
    pub(crate) judging: Turns,
    /// Signals new rules, or new certificates to judge by: a domain that is no longer admitted loses its streams, and a
    /// certificate that a stream rests on is judged again.
    pub(crate) reloads: watch::Sender<()>,
    /// Cancelled when the server begins to drain.
    pub(crate) stop: CancellationToken,
    /// Since when it drains.
    pub(crate) stopped_at: OnceLock<Instant>,
    /// Cancelled when the time to send is over: the lanes give the rest back to the components.
    pub(crate) last_call: CancellationToken,
    /// Cancelled when components are to go, the last of all.
    pub(crate) stop_components: CancellationToken,
}

/// The system's random numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OsRandom;

impl Random for OsRandom {
    fn fill(&mut self, out: &mut [u8]) {
        getrandom::fill(out).expect(
            "the operating system's random numbers are always there on the systems we run on",
        );
    }
}

impl OsRandom {
    /// A number.
    pub(crate) fn next_u32() -> u32 {
        let mut bytes = [0; 4];
        Self.fill(&mut bytes);
        u32::from_ne_bytes(bytes)
    }
}

impl Shared {
    /// At the start.
    pub(crate) fn new(snapshot: Arc<Snapshot>, tls: Tls, dns: Dns) -> Self {
        Self {
            computing: Turns::of_all_processors(),
            waiting: Turns::new(WAITING),
            hearing: Turns::of_this_machine(),
            handshakes: Turns::of_this_machine(),
            sessions: Sessions::default(),
            servers: Arc::default(),
            components: Arc::default(),
            throttle: Mutex::default(),
            descriptors: Descriptors::new(snapshot.config.limits.descriptors),
            tls,
            dns,
            posh: Posh::default(),
            attempt_limit: Arc::default(),
            recent_failures: RecentFailures::default(),
            rate_limiter: RateLimiter::default(),
            memory: Budget::new(memory(&snapshot.config), PEERS, COMPONENTS),
            judging: Turns::half_of_this_machine(),
            reloads: watch::Sender::default(),
            stop: CancellationToken::new(),
            stopped_at: OnceLock::new(),
            last_call: CancellationToken::new(),
            stop_components: CancellationToken::new(),
            snapshot: ArcSwap::from(snapshot),
        }
    }

    /// The facts about a connection's TLS session. `floor` is what its handshake was made with; `own` is how we chose
    /// our certificate, if we are the server.
    pub(crate) fn secured(conn: &Conn, floor: TlsFloor, own: Option<&ByName>) -> Option<Secured> {
        conn.tls().map(|tls| {
            let (_, session) = tls.get_ref();
            let facts = trust::describe(session);
            let certificate_shown = session
                .peer_certificates()
                .is_some_and(|chain| !chain.is_empty());
            debug!(version = facts.version, cipher = %facts.cipher, group = facts.group, certificate_shown,
                "TLS handshake finished");
            let ems = floor.ems || facts.version == TLS_1_3;
            Secured {
                facts,
                ems,
                certificate_shown,
                channel_bindings: channel_bindings(tls, ems, own),
            }
        })
    }

    /// Computes what takes long on a thread of its own, but never more at once than there are processors; of what `waits`
    /// for others, [`WAITING`]. Networks take turns: `address` is where the other server is. `None`: this server is going
    /// down.
    pub(crate) async fn compute<T: Send + 'static>(
        &self,
        waits: bool,
        address: IpAddr,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let turns = if waits {
            &self.waiting
        } else {
            &self.computing
        };
        let turn = self.stop.run_until_cancelled(turns.take(address)).await?;
        Some(turn.compute(work).await)
    }

    /// The account that pays for the memory of this domain's streams, and for all that waits for or because of it.
    pub(crate) fn payer(&self, remote: &Domain) -> Account {
        self.memory.account(Owner::peer(remote))
    }

    /// When so many eighths of `limits.drain` are over, once the server drains.
    pub(crate) fn drained(&self, eighths: u32) -> Instant {
        let drain = self.snapshot().config.limits.drain;
        let began = self.stopped_at.get().copied();
        began.unwrap_or_else(Instant::now) + drain * eighths / 8
    }

    /// Waits until the server drains and so many eighths of the time for it are over.
    pub(crate) async fn until_drained(&self, eighths: u32) {
        self.stop.cancelled().await;
        sleep_until(self.drained(eighths).into()).await;
    }

    /// There are new rules.
    pub(crate) fn replace_snapshot(&self, snapshot: Snapshot) {
        self.memory.set_total(memory(&snapshot.config));
        self.snapshot.store(Arc::new(snapshot));
        self.reloads.send_replace(());
    }

    /// The resolver for an asker. Connections that unauthenticated peers cause are refused before our own, and those
    /// peers take turns by their networks.
    pub(crate) fn dns_for(&self, asker: Asker, source: Option<IpAddr>) -> Dns {
        let share = match asker {
            Asker::Us => descriptors::Share::Lanes,
            Asker::Unauthenticated => descriptors::Share::Questions,
        };
        let account = descriptors::Account::new(&self.descriptors, share);
        let source = source.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        self.dns.asked_by(asker, source, account)
    }

    /// The rules as they are now.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }
}

/// What SASL can be bound to on this connection.
fn channel_bindings(tls: &TlsStream<Metered>, ems: bool, own: Option<&ByName>) -> ChannelBindings {
    let label = binding::EXPORTER_LABEL;
    let (exported, shown) = match tls {
        TlsStream::Client(tls) => {
            let (_, session) = tls.get_ref();
            let shown = session.peer_certificates().and_then(<[_]>::first);
            let exported = session.export_keying_material([0; 32], label, Some(b""));
            (exported, shown)
        }
        TlsStream::Server(tls) => {
            let (_, session) = tls.get_ref();
            let shown = own.and_then(|own| own.leaf(session.server_name()));
            let exported = session.export_keying_material([0; 32], label, Some(b""));
            (exported, shown)
        }
    };
    binding::channel_bindings(exported.ok().filter(|_| ems), shown)
}

/// The part of the free memory that one registered domain may have, or one network of unauthenticated peers.
const PEERS: Share = Share(1, 2);
/// The same for one of our own components.
const COMPONENTS: Share = Share(1, 1);

/// All that may wait, and be half read.
fn memory(config: &Config) -> usize {
    let quarter = || machine::memory() / 4;
    config.limits.memory.unwrap_or_else(quarter)
}

/// How many threads may wait for a KDC at the same time.
const WAITING: usize = 64;
