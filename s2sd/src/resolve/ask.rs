//! One question to the name servers, one answer, kept for its time and, where that is configured, proved by DNSSEC
//! (RFC 4035 §5): aliases are followed, and count as far as all of them are proved. Of questions that are the same one is
//! asked, and few at one time.
//!
//! Every name is asked for as it is (no search list, no local hosts file). Validation is the library's; what a message
//! of validated records says is read in `reply.rs`.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hickory_resolver::{
    ConnectionProvider, NameServerPool, PoolContext, TlsConfig,
    config::{ConnectionConfig, NameServerConfig, ProtocolConfig, ResolverOpts},
    net::{
        DnsError, NetError,
        dnssec::DnssecDnsHandle,
        runtime::TokioRuntimeProvider,
        udp::UdpClientStream,
        xfer::{DnsHandle, FirstAnswer as _, RetryDnsHandle},
    },
    proto::{
        dnssec::Proof,
        op::{DnsRequest, DnsRequestOptions, Message, Query, ResponseCode},
        rr::{Name, RecordType},
    },
    system_conf::read_system_conf,
};
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use super::{
    anchor::Anchors,
    kept::{Asker, Found, Kept, Reply},
    plan::{ResolveError, Security},
    reply::{self, Bogus, Denial, Flaw, MAX_ALIASES, What},
    turns::{Running, Turns},
};
use crate::config::{self, Dnssec};
use crate::descriptors::is_exhausted;
use crate::peer_text::PeerText;

/// A name server that took the signatures away is asked again after this time whether it still does.
const SECOND_LOOK: Duration = Duration::from_secs(5 * 60);

/// A look-up for a stranger ends after this time: it holds a turn that another stranger's waits for.
const STRANGERS_PATIENCE: Duration = Duration::from_secs(5);
/// So many sockets are opened for one question to one name server, one after the other while there is no answer.
const SOCKETS: u8 = 2;

type Servers = RetryDnsHandle<NameServerPool<Sockets>>;

/// The library's sockets, fewer of them for UDP.
#[derive(Clone, Default)]
struct Sockets(TokioRuntimeProvider);

impl ConnectionProvider for Sockets {
    type Conn = <TokioRuntimeProvider as ConnectionProvider>::Conn;
    type FutureConn = <TokioRuntimeProvider as ConnectionProvider>::FutureConn;
    type RuntimeProvider = TokioRuntimeProvider;

    fn new_connection(
        &self,
        ip: IpAddr,
        config: &ConnectionConfig,
        context: &PoolContext,
    ) -> Result<Self::FutureConn, NetError> {
        if !matches!(config.protocol, ProtocolConfig::Udp) {
            return self.0.new_connection(ip, config, context);
        }
        let stream = UdpClientStream::builder(SocketAddr::new(ip, config.port), self.0.clone())
            .with_timeout(Some(context.options.timeout))
            .with_bind_addr(config.bind_addr)
            .with_max_retries(SOCKETS);
        // It begins a task.
        Ok(Box::pin(async move { Ok(stream.exchange()) }))
    }

    fn runtime_provider(&self) -> &TokioRuntimeProvider {
        &self.0
    }
}

/// The name servers, and what they have said.
pub(super) struct Resolver {
    servers: Servers,
    options: DnsRequestOptions,
    validation: Option<Validation>,
    kept: Mutex<Kept>,
    running: Running,
    turns: Turns,
}

/// What is needed to prove an answer.
struct Validation {
    mode: Dnssec,
    servers: DnssecDnsHandle<Servers>,
    /// The same, and the name servers do not look themselves.
    unchecked: DnssecDnsHandle<Unchecked>,
    zones: Vec<Name>,
    passing: Mutex<Passing>,
}

/// Do the name servers hand on what DNSSEC needs?
#[derive(Clone, Copy)]
enum Passing {
    Unknown,
    /// They do. Once they did, an answer without it is not one.
    Yes,
    /// They did not, and are asked again then.
    No(Instant),
}

/// RFC 4035 §3.2.2: the CD bit. A name server that validates keeps a bogus answer to itself and says SERVFAIL; with
/// it, it gives the answer, and we can tell what is wrong with it.
#[derive(Clone)]
struct Unchecked(Servers);

impl DnsHandle for Unchecked {
    type Response = <Servers as DnsHandle>::Response;
    type Runtime = <Servers as DnsHandle>::Runtime;

    fn send(&self, mut request: DnsRequest) -> Self::Response {
        request.metadata.checking_disabled = true;
        self.0.send(request)
    }
}

/// What came of a question.
enum Heard {
    /// An answer.
    Message(Box<Message>, Denial),
    /// None.
    Failed(String),
    /// A word that there was none: SERVFAIL, REFUSED.
    Refused(ResponseCode),
    /// There was no descriptor to ask with.
    Exhausted,
}

impl Resolver {
    /// Asks the given servers, or the system's if none are given.
    pub(super) fn new(config: &config::Dns) -> Result<Self, String> {
        let (servers, mut options) = match config.servers.is_empty() {
            true => {
                let (system, options) = read_system_conf()
                    .map_err(|error| format!("the system's DNS configuration: {error}"))?;
                (system.name_servers().to_vec(), options)
            }
            false => {
                let servers = config.servers.iter().map(|server| name_server(*server));
                (servers.collect(), ResolverOpts::default())
            }
        };
        options.try_tcp_on_error = true;
        let mut asking = DnsRequestOptions::default();
        asking.use_edns = true;
        asking.edns_payload_len = options.edns_payload_len;
        asking.recursion_desired = true;
        let attempts = options.attempts;
        let unused = TlsConfig::new().map_err(|error| error.to_string())?;
        let context = Arc::new(PoolContext::new(options, unused));
        let pool = NameServerPool::from_config(servers, context, Sockets::default());
        let servers = RetryDnsHandle::new(pool, attempts);
        let validation = match config.dnssec {
            Dnssec::Off => None,
            mode @ (Dnssec::Use | Dnssec::Require) => {
                Some(Validation::new(mode, &servers, anchors(config)?))
            }
        };
        Ok(Self {
            servers,
            options: asking,
            validation,
            kept: Mutex::default(),
            running: Running::default(),
            turns: Turns::default(),
        })
    }

    /// All records of a kind that a name has, or the name that it is an alias of; none if there are none.
    ///
    /// # Errors
    ///
    /// [`ResolveError::Failed`], [`ResolveError::Bogus`].
    pub(super) async fn ask(&self, name: &Name, kind: RecordType, asker: Asker) -> Found {
        let validation = self.validating().await;
        let validated = validation.is_some();
        let known = self
            .kept()
            .get(name, kind, validated, asker, Instant::now());
        if let Some(found) = known {
            return found;
        }
        // If who looks up goes away, the next of those who wait begins anew.
        let (running, asker) = self.running.join(name, kind, asker);
        let look_up = || async {
            let _turn = self.turns.take(name, asker).await;
            let look_up = self.look_up(name, kind, validation);
            let answer = match asker {
                Asker::Us => look_up.await,
                Asker::Stranger => match timeout(STRANGERS_PATIENCE, look_up).await {
                    Ok(answer) => answer,
                    Err(_) => {
                        let seconds = STRANGERS_PATIENCE.as_secs();
                        let why = format!("none in {seconds} seconds");
                        Err(ResolveError::Failed(why.into()))
                    }
                },
            };
            let (found, ttl) = match answer {
                Ok((reply, ttl)) => (Ok(reply), ttl),
                Err(why) => (Err(why), Duration::MAX),
            };
            // That we could not ask says nothing of the name.
            if found != Err(ResolveError::Exhausted) {
                let now = Instant::now();
                self.kept().keep(name, kind, &found, ttl, asker, now);
            }
            found
        };
        running.get_or_init(look_up).await.clone()
    }

    async fn look_up(
        &self,
        name: &Name,
        kind: RecordType,
        validation: Option<&Validation>,
    ) -> Result<(Reply, Duration), ResolveError> {
        let mut security = Security::Secure;
        let mut ttl = Duration::MAX;
        let mut current = name.clone();
        let mut records = None;
        for _ in 0..=MAX_ALIASES {
            let said = match validation {
                Some(validation) => self.hear(validation, &current, kind).await?,
                None => self.hear_plain(&current, kind).await?,
            };
            security = security.min(said.security);
            ttl = ttl.min(said.ttl);
            match said.what {
                What::Records(found) => records = Some(found),
                What::Nothing => records = Some(Vec::new()),
                What::Alias(target) => {
                    current = target;
                    continue;
                }
            }
            break;
        }
        let Some(records) = records else {
            let why = format!("the aliases of {name} do not end");
            return Err(ResolveError::Failed(why.into()));
        };
        let records = records.into();
        Ok((Reply { records, security }, ttl))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn hear_plain(&self, name: &Name, kind: RecordType) -> Result<reply::Said, ResolveError> {
        match heard(&self.servers, name, kind, self.options).await {
            Heard::Message(message, _) => reply::read(&message, name, kind, Denial::Unvalidated)
                .map_err(|bogus| ResolveError::Bogus(bogus.about)),
            Heard::Refused(code) => Err(ResolveError::Failed(refused(name, code).into())),
            Heard::Failed(why) => Err(ResolveError::Failed(why.into())),
            Heard::Exhausted => Err(ResolveError::Exhausted),
        }
    }

    async fn hear(
        &self,
        validation: &Validation,
        name: &Name,
        kind: RecordType,
    ) -> Result<reply::Said, ResolveError> {
        let options = self.validating_options();
        let failed = |why: String| Err(ResolveError::Failed(why.into()));
        let (message, denial) = match heard(&validation.servers, name, kind, options).await {
            Heard::Message(message, denial) => (message, denial),
            Heard::Failed(why) => return failed(why),
            Heard::Exhausted => return Err(ResolveError::Exhausted),
            // Perhaps the name server found out what we would find out.
            Heard::Refused(ResponseCode::ServFail) => {
                let said = heard(&validation.unchecked, name, kind, options).await;
                let bogus = match &said {
                    Heard::Message(message, denial) => {
                        reply::read(message, name, kind, *denial).err()
                    }
                    Heard::Failed(_) | Heard::Refused(_) | Heard::Exhausted => None,
                };
                return match bogus {
                    Some(bogus) => Err(validation.refuted(bogus, options).await),
                    None => failed(refused(name, ResponseCode::ServFail)),
                };
            }
            Heard::Refused(code) => return failed(refused(name, code)),
        };
        match reply::read(&message, name, kind, denial) {
            Ok(said) => Ok(said),
            Err(bogus) => Err(validation.refuted(bogus, options).await),
        }
    }

    fn validating_options(&self) -> DnsRequestOptions {
        let mut options = self.options;
        options.edns_set_dnssec_ok = true;
        options
    }

    /// Whether answers are to be proved, and with what.
    async fn validating(&self) -> Option<&Validation> {
        let validation = self.validation.as_ref()?;
        let passing = *validation
            .passing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match (validation.mode, passing) {
            (Dnssec::Off, _) => None,
            (Dnssec::Require, _) | (Dnssec::Use, Passing::Yes) => Some(validation),
            (Dnssec::Use, Passing::No(until)) if Instant::now() < until => None,
            (Dnssec::Use, Passing::Unknown | Passing::No(_)) => {
                let options = self.validating_options();
                validation
                    .look(passing, options)
                    .await
                    .then_some(validation)
            }
        }
    }
}

impl Validation {
    fn new(mode: Dnssec, servers: &Servers, anchors: Anchors) -> Self {
        let keys = Arc::new(anchors.keys);
        let unchecked = Unchecked(servers.clone());
        Self {
            mode,
            servers: DnssecDnsHandle::with_trust_anchor(servers.clone(), Arc::clone(&keys)),
            unchecked: DnssecDnsHandle::with_trust_anchor(unchecked, keys),
            zones: anchors.zones,
            passing: Mutex::new(Passing::Unknown),
        }
    }

    /// Can the keys be validated with which everything begins? If not, nothing can.
    async fn look(&self, before: Passing, options: DnsRequestOptions) -> bool {
        let mut silent = false;
        for zone in &self.zones {
            match heard(&self.servers, zone, RecordType::DNSKEY, options).await {
                Heard::Message(message, _) => {
                    let is_proved = |proof| proof == Proof::Secure;
                    if message.answers.iter().any(|record| is_proved(record.proof)) {
                        self.pass(Passing::Yes);
                        if matches!(before, Passing::No(_)) {
                            info!("the name server passes DNSSEC on again: answers are validated");
                        }
                        return true;
                    }
                }
                // It said nothing, so nothing is known of it; the question itself will tell.
                Heard::Failed(_) | Heard::Exhausted => silent = true,
                Heard::Refused(_) => {}
            }
        }
        if silent {
            return true;
        }
        self.pass(Passing::No(Instant::now() + SECOND_LOOK));
        if matches!(before, Passing::Unknown) {
            warn!(
                "the name server takes the signatures of DNSSEC out of its answers, or the trust anchor is not that \
                 of the zone: no answer can be validated, and DANE is without effect; `dns.dnssec = \"require\"` \
                 would refuse such answers"
            );
        }
        false
    }

    fn pass(&self, passing: Passing) {
        *self.passing.lock().unwrap_or_else(PoisonError::into_inner) = passing;
    }

    /// What to say of an answer that is not proved. If a signature is wrong it may be the key's fault.
    async fn refuted(&self, bogus: Bogus, options: DnsRequestOptions) -> ResolveError {
        let Bogus { about, why } = bogus;
        let why = match why {
            Flaw::Unsigned => {
                "it is not signed, though its zone is; either a name server on the way takes signatures away, or \
                 somebody forges answers"
                    .to_owned()
            }
            Flaw::NoProof => {
                "there is no proof that there is no such record, though its zone is signed; either a name server on \
                 the way takes proofs away, or somebody forges answers"
                    .to_owned()
            }
            Flaw::Expired(on) => {
                format!("its signature expired on {on}; the zone has to be signed anew")
            }
            Flaw::NotYet(from) => {
                format!("its signature is not valid before {from}; a clock is wrong, there or here")
            }
            Flaw::Wrong(zone) => {
                let keys = heard(&self.servers, &zone, RecordType::DNSKEY, options).await;
                let is_anchor = self.zones.contains(&zone);
                let zone = zone.to_ascii();
                let zone = match zone.trim_end_matches('.') {
                    "" => "the root".to_owned(),
                    zone => PeerText::new(zone).to_string(),
                };
                match keys {
                    Heard::Message(keys, _)
                        if keys.answers.iter().any(|key| key.proof == Proof::Secure) =>
                    {
                        format!("its signature is not that of the keys of {zone}; the zone has to be signed anew")
                    }
                    Heard::Message(..) if is_anchor => format!(
                        "the keys of {zone} are not those of the trust anchor; it has to be renewed, unless somebody \
                         forges answers"
                    ),
                    Heard::Message(..) => format!(
                        "the keys of {zone} are not those that the zone above vouches for; its DS records there have \
                         to be renewed"
                    ),
                    Heard::Failed(why) => format!("the keys of {zone} cannot be had: {why}"),
                    Heard::Refused(code) => format!("the keys of {zone} cannot be had: {code}"),
                    Heard::Exhausted => return ResolveError::Exhausted,
                }
            }
        };
        ResolveError::Bogus(format!("{about}: {why}").into())
    }
}

async fn heard(
    servers: &impl DnsHandle,
    name: &Name,
    kind: RecordType,
    options: DnsRequestOptions,
) -> Heard {
    let query = Query::query(name.clone(), kind);
    match servers.lookup(query, options).first_answer().await {
        Ok(response) => {
            let message = response.into_message();
            match reply::is_answer(message.metadata.response_code) {
                true => Heard::Message(Box::new(message), Denial::Proved),
                false => Heard::Refused(message.metadata.response_code),
            }
        }
        Err(NetError::Dns(DnsError::Nsec {
            response, proof, ..
        })) => {
            let denial = match proof {
                Proof::Secure => Denial::Proved,
                Proof::Insecure => Denial::Costly,
                Proof::Bogus | Proof::Indeterminate => Denial::Refuted,
            };
            Heard::Message(Box::new(response.into_message()), denial)
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) => {
            if !reply::is_answer(none.response_code) {
                return Heard::Refused(none.response_code);
            }
            let mut message = Message::query();
            message.metadata.response_code = none.response_code;
            if let Some(soa) = none.soa {
                message.add_authority(soa.into_record_of_rdata());
            }
            Heard::Message(Box::new(message), Denial::Proved)
        }
        Err(NetError::Dns(DnsError::ResponseCode(code))) => Heard::Refused(code),
        Err(NetError::Io(error)) if is_exhausted(&error) => Heard::Exhausted,
        Err(error) => Heard::Failed(error.to_string()),
    }
}

fn refused(name: &Name, code: ResponseCode) -> String {
    format!("{name}: {code}")
}

/// The keys to begin with.
pub(super) fn anchors(config: &config::Dns) -> Result<Anchors, String> {
    match &config.trust_anchor {
        Some(file) => {
            Anchors::load(file).map_err(|why| format!("the trust anchor {}: {why}", file.display()))
        }
        None => Ok(Anchors::default()),
    }
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut server.connections {
        connection.port = address.port();
    }
    server
}
