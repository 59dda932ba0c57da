//! The assembly: which part stands where, started in order, stopped in order.
//!
//! ```text
//! listeners -> inbound streams -> router -> component links
//!              components      ->        -> lanes -> outgoing streams
//!                                        -> built-in services
//! ```

mod changes;
mod secret;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::UnixTime;
use tokio::net::TcpListener;
use tokio::time::timeout_at;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info, warn};

pub(crate) use self::changes::changes;
pub(crate) use self::secret::dialback_secret;
use self::secret::own_secret;
use crate::admin::{self, Admin, Listener, NoSocket, SocketFile};
pub use crate::admin::{ReloadOutcome, ReloadRequest, ReloadRequests};
use crate::config::{Config, Limits};
use crate::flow::listen::{self, ListenerKind};
use crate::flow::router::Router;
use crate::flow::shared::Shared;
use crate::flow::stream;
use crate::flow::tally::Counts;
use crate::net::admission::ConnectionLimit;
use crate::net::descriptors;
use crate::net::resolve::Dns;
use crate::net::tls::{Reloaded, Tls, TlsWarning};
use crate::protocol::negotiate::Snapshot;

/// Why the server does not start, or a reload is not taken.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Certificates, keys, trust anchors.
    #[error("{}", .0.join("\n"))]
    Tls(Vec<String>),
    /// The resolver.
    #[error("the DNS resolver cannot be used: {0}")]
    Dns(String),
    /// The dialback secret.
    #[error("the dialback secret {path}: {error}")]
    Secret {
        /// Its file.
        path: String,
        /// What went wrong.
        error: io::Error,
    },
    /// Another daemon has the directory.
    #[error(
        "another s2sd runs with this data_dir and answers at {0}: stop it, or give this one another `data_dir`"
    )]
    Taken(String),
    /// A listener.
    #[error("cannot listen on {address} (`{what}` in [listen]): {}", listen::why_not(*.address, .error))]
    Listen {
        /// Where.
        address: SocketAddr,
        /// The key in `[listen]`.
        what: &'static str,
        /// What went wrong.
        error: io::Error,
    },
}

/// A server that runs.
#[derive(Debug)]
pub struct Running {
    router: Arc<Router>,
    operators: Arc<Admin>,
    socket: Option<SocketFile>,
    tasks: TaskTracker,
    /// Components are let go last.
    component_tasks: TaskTracker,
    /// Where server-to-server connections are accepted.
    pub s2s: Vec<SocketAddr>,
    /// The same with TLS from the first byte.
    pub s2s_tls: Vec<SocketAddr>,
    /// Where components attach.
    pub components: Vec<SocketAddr>,
    /// Where programs ask about this server.
    pub admin: Vec<SocketAddr>,
}

/// Binds, loads, and serves in the background until [`Running::stop`].
pub async fn start(config: Config) -> Result<Running, StartError> {
    let tls = Tls::load(&config).map_err(StartError::Tls)?;
    let look_ups = descriptors::look_ups(&config.limits);
    let dns = Dns::with_look_ups(&config.dns, look_ups).map_err(StartError::Dns)?;
    let snapshot = snapshot(config, &tls)?;
    let shared = Shared::new(Arc::new(snapshot), tls, dns);
    let router = Router::new(Arc::new(shared), stream::open_lane);
    let mut running = Running {
        operators: Admin::new(Arc::clone(&router)),
        socket: None,
        router,
        tasks: TaskTracker::new(),
        component_tasks: TaskTracker::new(),
        s2s: Vec::new(),
        s2s_tls: Vec::new(),
        components: Vec::new(),
        admin: Vec::new(),
    };
    let addresses = running.router.shared().snapshot().config.listen.clone();
    let shared = Arc::clone(running.router.shared());
    for (listener, connection_limit) in
        [("s2s", &shared.servers), ("components", &shared.components)]
    {
        let (connection_limit, stop) = (Arc::clone(connection_limit), shared.stop.clone());
        let telling = async move { connection_limit.tell(listener, stop).await };
        running.tasks.spawn(telling);
    }
    running.s2s = running.open(&addresses.s2s, ListenerKind::S2s, "s2s", &shared.servers)?;
    running.s2s_tls = running.open(
        &addresses.s2s_tls,
        ListenerKind::S2sTls,
        "s2s_tls",
        &shared.servers,
    )?;
    running.components = running.open(
        &addresses.components,
        ListenerKind::Components,
        "components",
        &shared.components,
    )?;
    running.admin = running.bind(&addresses.admin, "admin", |running, listener| {
        let admin = Arc::clone(&running.operators);
        running.tasks.spawn(admin.serve(Listener::Tcp(listener)));
    })?;
    running.open_socket()?;
    running.warn_of_certificates();
    Ok(running)
}

fn snapshot(config: Config, tls: &Tls) -> Result<Snapshot, StartError> {
    let secret = match dialback_secret(&config)? {
        Some(secret) => secret,
        None => own_secret(&config.data_dir)?,
    };
    Ok(Snapshot::new(Arc::new(config), secret, |domain| {
        tls.has_certificate(domain)
    }))
}

/// Makes room for the connections we may have to hold: one descriptor a connection.
pub fn raise_file_limit(limits: &Limits) {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let wanted = u64::try_from(descriptors::wanted(limits)).unwrap_or(u64::MAX);
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    limit.current = Some(limit.maximum.map_or(wanted, |maximum| maximum.min(wanted)));
    let raised = setrlimit(Resource::Nofile, limit).is_ok();
    let now = limit.current.unwrap_or(wanted);
    if raised && now >= wanted {
        return;
    }
    // The default is for large servers, and few are. Where it matters, the listener says so.
    let text = "the system allows fewer open files than [limits] may need: fewer servers will get in; raise LimitNOFILE \
                or lower `inbound`";
    match limits.inbound == Limits::default().inbound {
        true => debug!(wanted, allowed = now, "{text}"),
        false => warn!(wanted, allowed = now, "{text}"),
    }
}

/// What was not taken needs the operator.
pub(crate) fn tell(reloaded: &Reloaded) {
    match reloaded {
        Reloaded::Changed(_) | Reloaded::TrustStore(_) => info!("{reloaded}"),
        Reloaded::Kept(_) => warn!("{reloaded}"),
    }
}

/// A part of the configuration that is read at the start only.
pub(crate) fn needs_restart(what: &str) -> Reloaded {
    Reloaded::Kept(format!("{what} has changed, which needs a restart"))
}

impl Running {
    /// Commands reach the server by this. It does without, where it cannot be made.
    fn open_socket(&mut self) -> Result<(), StartError> {
        let data_dir = self.router.shared().snapshot().config.data_dir.clone();
        let path = data_dir.join(admin::SOCKET).display().to_string();
        match admin::bind(&data_dir) {
            Ok((listener, file)) => {
                let admin = Arc::clone(&self.operators);
                self.tasks.spawn(admin.serve(Listener::Socket(listener)));
                self.socket = Some(file);
                Ok(())
            }
            Err(NoSocket::Taken) => Err(StartError::Taken(path)),
            Err(NoSocket::Failed(error)) => {
                warn!(
                    path,
                    %error,
                    "no socket for commands: s2sd status, retry and the others need `admin` in [listen]"
                );
                Ok(())
            }
        }
    }

    /// The configuration in force.
    pub(crate) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.router.shared().snapshot().config)
    }

    /// Orders to load the configuration again, which operators give by `s2sd reload`, come by this. Without anybody who takes
    /// them they are refused. Only the first who asks gets them.
    pub fn reload_requests(&self) -> ReloadRequests {
        self.operators.reload_requests()
    }

    fn open(
        &self,
        addresses: &[SocketAddr],
        kind: ListenerKind,
        what: &'static str,
        connection_limit: &Arc<ConnectionLimit>,
    ) -> Result<Vec<SocketAddr>, StartError> {
        self.bind(addresses, what, |running, listener| {
            let (router, connection_limit) =
                (Arc::clone(&running.router), Arc::clone(connection_limit));
            let tasks = match kind {
                ListenerKind::S2s | ListenerKind::S2sTls => running.tasks.clone(),
                ListenerKind::Components => running.component_tasks.clone(),
            };
            running.tasks.spawn(listen::serve(
                router,
                listener,
                kind,
                connection_limit,
                tasks,
            ));
        })
    }

    /// Opens listeners, and tells where they are.
    fn bind(
        &self,
        addresses: &[SocketAddr],
        what: &'static str,
        serve: impl Fn(&Self, TcpListener),
    ) -> Result<Vec<SocketAddr>, StartError> {
        let unsaid = self
            .router
            .shared()
            .snapshot()
            .config
            .listen
            .unsaid
            .contains(&what);
        let mut bound = Vec::new();
        for &address in addresses {
            let fail = |error| StartError::Listen {
                address,
                what,
                error,
            };
            let (listener, instead) =
                listen::bind_or_default(address, unsaid, listen::bind).map_err(fail)?;
            if instead {
                warn!(
                    listener = what,
                    "this machine has no IPv6: listening for IPv4 alone"
                );
            }
            let local = listener.local_addr().map_err(fail)?;
            info!(address = %local, listener = what, "listening");
            bound.push(local);
            serve(self, listener);
        }
        Ok(bound)
    }

    /// Takes a new configuration: rules, domains, certificates. Listeners, limits of the resolver and open streams stay
    /// as they are, but for the streams of domains that are not admitted any more, and those whose certificate is not good
    /// any more. What changed and what could not be taken becomes a line each.
    pub fn reload(&self, config: Config) -> Result<Vec<Reloaded>, StartError> {
        let shared = self.router.shared();
        let old = shared.snapshot();
        let mut said = Vec::new();
        if config.listen != old.config.listen {
            said.push(needs_restart("[listen]"));
        }
        if config.dns != old.config.dns {
            said.push(needs_restart("[dns]"));
        }
        if config.limits.descriptors != old.config.limits.descriptors {
            said.push(needs_restart("`descriptors` in [limits]"));
        }
        said.extend(shared.tls.reconfigure(&config).map_err(StartError::Tls)?);
        let snapshot = snapshot(config, &shared.tls)?;
        shared.replace_snapshot(snapshot);
        let new = shared.snapshot();
        // What failed by the old rules may go by the new ones, where these are others; and where they are not, a server
        // that cannot be reached is left alone.
        let is_new = |one: &Reloaded| !matches!(one, Reloaded::Kept(_));
        let are_all = said.iter().any(is_new)
            || shared.dns.has_changed()
            || new.config.limits != old.config.limits
            || new.config.queue != old.config.queue
            || !new.has_secret_of(&old);
        self.router
            .retry_where(|remote| are_all || !new.config.treats_alike(&old.config, remote));
        self.warn_of_certificates();
        Ok(said)
    }

    /// Says what the operator should look at: certificates that run out. To be called every day; a start and a reload
    /// say it too.
    pub fn warn_of_certificates(&self) {
        for warning in self.router.shared().tls.warnings(UnixTime::now()) {
            match warning {
                TlsWarning::Now(text) => error!("{text}"),
                TlsWarning::Soon(text) => warn!("{text}"),
            }
        }
    }

    /// Reloads certificates whose files have changed, and tries again what failed if they have, or if the system has other
    /// name servers now.
    pub fn look_at_files(&self) {
        self.look_at_certificates();
        if self.router.shared().dns.has_changed() {
            self.router.retry(None);
        }
    }

    /// Reloads certificates whose files have changed.
    pub fn look_at_certificates(&self) {
        let tls = &self.router.shared().tls;
        if !tls.has_changed() {
            return;
        }
        let reloaded = tls.reload();
        reloaded.iter().for_each(tell);
        if reloaded
            .iter()
            .any(|one| matches!(one, Reloaded::TrustStore(_)))
        {
            self.judge_again();
        }
        if reloaded.iter().any(|one| !matches!(one, Reloaded::Kept(_))) {
            self.router.retry(None);
        }
        self.warn_of_certificates();
    }

    /// How much memory what waits and what is half read takes, as far as it is counted, and how much it may.
    pub fn memory(&self) -> (usize, usize) {
        let memory = &self.router.shared().memory;
        (memory.used(), memory.total())
    }

    /// Has the certificates judged again on which open streams rest, since they may have expired or been taken back
    /// (RFC 6120 §13.7.2.3). To be called every day; a reload, and a changed list or set of authorities, do it too.
    pub fn judge_again(&self) {
        self.router.shared().reloads.send_replace(());
    }

    /// How many lanes are busy: for tests and the status.
    pub fn lanes(&self) -> usize {
        self.router.lanes().len()
    }

    /// Drains, in order and within `limits.drain`. Nothing more is accepted, and incoming streams end, but what the peers
    /// have on the way is still taken. Lanes send what waits. What is left goes back to components, which are let go last.
    pub async fn stop(self) {
        let shared = self.router.shared();
        let before = self.router.tally().counts(&shared.sessions);
        let _ = shared.stopped_at.set(Instant::now());
        shared.stop.cancel();
        self.tasks.close();
        self.component_tasks.close();
        let at = |eighths| tokio::time::Instant::from_std(shared.drained(eighths));
        let lanes = self.router.lanes();
        let flushed = async {
            self.tasks.wait().await;
            until(|| lanes.waiting() == 0).await;
        };
        let _ = timeout_at(at(FLUSHED), flushed).await;
        shared.last_call.cancel();
        let gone = async {
            self.tasks.wait().await;
            until(|| lanes.len() == 0).await;
        };
        let _ = timeout_at(at(RETURNED), gone).await;
        shared.stop_components.cancel();
        let over = async {
            self.component_tasks.wait().await;
            self.tasks.wait().await;
            until(|| lanes.len() == 0).await;
        };
        let closed = timeout_at(at(8) + GRACE, over).await.is_ok();
        self.router.tally().tell();
        let Counts {
            to_peers,
            to_components,
            bounced,
            unanswerable,
            dropped,
            too_late,
            unknown_fate: _,
        } = self.router.tally().counts(&shared.sessions) - before;
        let left = lanes.waiting();
        let left = u64::try_from(left).unwrap_or(u64::MAX);
        if dropped.max(too_late).max(left) > 0 || !closed {
            warn!(
                to_peers,
                to_components,
                bounced,
                unanswerable,
                dropped,
                too_late,
                left,
                closed,
                "what became of stanzas while stopping"
            );
        } else {
            info!(
                to_peers,
                to_components,
                bounced,
                unanswerable,
                dropped,
                "what became of stanzas while stopping"
            );
        }
    }
}

/// So many eighths of the time for draining are for sending,
const FLUSHED: u32 = 6;
/// so many are over when what was left has gone back to components.
const RETURNED: u32 = 7;
/// Sockets are closed within this time afterwards.
const GRACE: Duration = Duration::from_secs(1);

async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
