//! Asks the DNS for the targets of a domain: its SRV records, the addresses of a host, and the records about its
//! certificate, each as far as it is proved (RFC 7673 §3).

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use hickory_resolver::proto::rr::{Name, RecordType};
use tokio::time::{Instant, timeout};
use tracing::warn;
use xmpp_stream::Domain;

use super::ask::{self, Resolver};
use super::cache::{Asker, DnsReply};
use super::rdata::Rdata;
use super::system::{ResolvConf, Upstream};
use super::turns::{self, Turns};
use crate::config::{self, Dnssec, TlsMode};
use crate::host::Host;
use crate::net::descriptors::Account;
use crate::protocol::plan::{
    ResolveError, Security, Srv, SrvAnswer, Target, fallback, is_onion, plan,
};
use crate::trust::TlsaSet;

/// RFC 8305 §3, "Resolution Delay".
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);
/// One of two services has so much time more. It is not as little as for addresses: which of the two is preferred is for
/// the domain to say.
const SERVICE_DELAY: Duration = Duration::from_millis(250);
/// So long `_xmpps-server` is waited for where there is no `_xmpp-server`: without it the domain itself is tried.
const ABSENCE_DELAY: Duration = Duration::from_secs(2);

/// A question that is being asked.
type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The resolver with its cache.
#[derive(Clone)]
pub struct Dns {
    source: Arc<Source>,
    asker: Asker,
    /// The address of the unauthenticated peer that causes the questions.
    place: IpAddr,
    account: Account,
}

/// The resolver that is in force, and whence its name servers are known.
struct Source {
    config: config::Dns,
    /// Those of a resolver that was replaced, and has not ended yet, count too.
    turns: Arc<Turns>,
    resolver: ArcSwap<Resolver>,
    /// None: the configuration names them.
    system: Option<Mutex<ResolvConf>>,
    /// They have changed, and the waiting tasks do not know it yet.
    changed: AtomicBool,
}

impl std::fmt::Debug for Dns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dns").finish_non_exhaustive()
    }
}

/// The addresses of a place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Addresses {
    /// IPv6 first. Never empty.
    pub all: Vec<SocketAddr>,
    /// How far they are proved. The better proved family counts, since that is enough for TLSA records (RFC 7673 §3.2).
    /// A literal address is not an answer of the DNS.
    pub security: Security,
    /// Both families were answered.
    pub is_complete: bool,
}

/// What the DNS says about the two services of a domain; [`plan()`] makes an order of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Services {
    /// `_xmpp-server._tcp`.
    pub xmpp: SrvAnswer,
    /// `_xmpps-server._tcp`.
    pub xmpps: SrvAnswer,
}

impl Dns {
    /// A resolver that asks the given servers, or the system's if none are given.
    ///
    /// # Errors
    ///
    /// The system's configuration (`/etc/resolv.conf`) or the trust anchor cannot be read, with the reason.
    pub fn new(config: &config::Dns) -> Result<Self, String> {
        Self::with_look_ups(config, turns::MAX_LOOK_UPS)
    }

    /// The same, with at most `look_ups` at the same time.
    ///
    /// # Errors
    ///
    /// See [`Dns::new`].
    pub(crate) fn with_look_ups(config: &config::Dns, look_ups: usize) -> Result<Self, String> {
        let turns = Arc::new(Turns::new(look_ups));
        let system = match config.servers.is_empty() {
            true => Some(ResolvConf::load(&config.resolv_conf)?),
            false => None,
        };
        let resolver = match &system {
            Some(system) => Resolver::new(config, system.upstream(), Arc::clone(&turns)),
            None => Resolver::new(config, &Upstream::of(&config.servers), Arc::clone(&turns)),
        };
        Ok(Self {
            source: Arc::new(Source {
                config: config.clone(),
                turns,
                resolver: ArcSwap::from_pointee(resolver?),
                system: system.map(Mutex::new),
                changed: AtomicBool::new(false),
            }),
            asker: Asker::Us,
            place: Ipv4Addr::UNSPECIFIED.into(),
            account: Account::default(),
        })
    }

    /// Forgets failures, and looks whether the system has other name servers now; if so, s2sd asks all anew.
    /// Returns whether it has.
    pub fn look_again(&self) -> bool {
        self.source.resolver.load().forget_failures();
        self.source.look(true)
    }

    /// Whether the system has had other name servers since this was asked last; it looks, if it is time to.
    pub(crate) fn has_changed(&self) -> bool {
        self.source.look(false);
        self.source.changed.swap(false, Ordering::Relaxed)
    }

    /// The same resolver for another asker at this address, with the account that pays for its connections.
    #[must_use]
    pub(crate) fn asked_by(&self, asker: Asker, place: IpAddr, account: Account) -> Self {
        Self {
            asker,
            place,
            account,
            ..self.clone()
        }
    }

    /// From what descriptors are taken.
    pub(super) fn account(&self) -> &Account {
        &self.account
    }

    /// Whether the trust anchor can be used, if one is configured.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn check(config: &config::Dns) -> Result<(), String> {
        ask::anchors(config).map(|_| ())
    }

    /// The targets of `domain`, in the order to try them (RFC 6120 §3.2, XEP-0368). Without TLS, s2sd does not ask for
    /// `_xmpps-server`.
    ///
    /// # Errors
    ///
    /// See [`ResolveError`].
    pub async fn targets(
        &self,
        domain: &Domain,
        tls: TlsMode,
    ) -> Result<Vec<Target>, ResolveError> {
        if domain.is_ip() || is_onion(domain.ascii()) {
            return Ok(vec![fallback(domain)]);
        }
        let Services { xmpp, xmpps } = self.services(domain, tls).await;
        plan(domain, xmpp, xmpps, &mut random)
    }

    /// The same, but a late answer does not hold up the other one (RFC 8305 §3). If one of the two services leads
    /// somewhere, a moment later it is enough. If there is no `_xmpp-server` and no answer about `_xmpps-server`, the
    /// domain falls back as with every server without XEP-0368. Returns also why a service got no answer.
    ///
    /// # Errors
    ///
    /// See [`ResolveError`].
    pub(crate) async fn targets_soon(
        &self,
        domain: &Domain,
        tls: TlsMode,
    ) -> Result<(Vec<Target>, Option<ResolveError>), ResolveError> {
        if domain.is_ip() || is_onion(domain.ascii()) || tls == TlsMode::Disabled {
            return Ok((self.targets(domain, tls).await?, None));
        }
        let ask = |service| {
            let (dns, domain) = (self.clone(), domain.clone());
            Box::pin(async move { dns.srv(service, &domain).await })
        };
        let leads = |answer: &SrvAnswer| answer.leads_somewhere().then_some(SERVICE_DELAY);
        let is_enough = |answer: &SrvAnswer| match answer {
            // In a signed zone, an attacker who suppresses an answer would lead us elsewhere.
            SrvAnswer::Absent(Security::Secure) => None,
            SrvAnswer::Absent(_) => Some(ABSENCE_DELAY),
            answer => leads(answer),
        };
        let (xmpp, xmpps) = (ask("_xmpp-server"), ask("_xmpps-server"));
        let (xmpp, xmpps) = self.both(xmpp, xmpps, is_enough, leads).await;
        let late = || SrvAnswer::Failed(ResolveError::Unanswered("none yet".into()));
        let (xmpp, xmpps) = (xmpp.unwrap_or_else(late), xmpps.unwrap_or_else(late));
        let unanswered = [&xmpp, &xmpps].into_iter().find_map(|answer| match answer {
            SrvAnswer::Failed(why) => Some(why.clone()),
            SrvAnswer::NotAsked | SrvAnswer::Absent(_) | SrvAnswer::Records(..) => None,
        });
        Ok((plan(domain, xmpp, xmpps, &mut random)?, unanswered))
    }

    /// Two answers. Each says how long it waits for the other. A later one counts as none here; if we ask for
    /// ourselves, its look-up goes on for the next asker.
    async fn both<T: Send + 'static>(
        &self,
        mut first: BoxFuture<T>,
        mut second: BoxFuture<T>,
        first_waits: impl Fn(&T) -> Option<Duration>,
        second_waits: impl Fn(&T) -> Option<Duration>,
    ) -> (Option<T>, Option<T>) {
        tokio::select! {
            one = &mut first => {
                let other = self.late(second, first_waits(&one)).await;
                (Some(one), other)
            }
            one = &mut second => {
                let other = self.late(first, second_waits(&one)).await;
                (other, Some(one))
            }
        }
    }

    async fn late<T: Send + 'static>(
        &self,
        mut asking: BoxFuture<T>,
        within: Option<Duration>,
    ) -> Option<T> {
        let Some(within) = within else {
            return Some(asking.await);
        };
        match timeout(within, &mut asking).await {
            Ok(answer) => Some(answer),
            Err(_) => {
                if self.asker == Asker::Us {
                    tokio::spawn(asking);
                }
                None
            }
        }
    }

    /// The answers that [`Dns::targets`] makes its list from. An address and a `.onion` name have no services, so s2sd
    /// does not ask for any.
    pub async fn services(&self, domain: &Domain, tls: TlsMode) -> Services {
        if domain.is_ip() || is_onion(domain.ascii()) {
            return Services {
                xmpp: SrvAnswer::NotAsked,
                xmpps: SrvAnswer::NotAsked,
            };
        }
        let direct = async {
            match tls {
                TlsMode::Disabled => SrvAnswer::NotAsked,
                TlsMode::Optional | TlsMode::Required => self.srv("_xmpps-server", domain).await,
            }
        };
        let (xmpp, xmpps) = tokio::join!(self.srv("_xmpp-server", domain), direct);
        Services { xmpp, xmpps }
    }

    /// The addresses of a place.
    ///
    /// # Errors
    ///
    /// [`ResolveError::NotFound`] if the name does not exist or has no address, [`ResolveError::Onion`] if no DNS can
    /// have one. [`ResolveError::Bogus`] if DNSSEC refutes either family: the place must not be used (RFC 7673 §3.2).
    pub async fn addresses(&self, target: &Target) -> Result<Addresses, ResolveError> {
        let name = match &target.host {
            Host::Address(address) => {
                return Ok(Addresses {
                    all: vec![SocketAddr::new(*address, target.port)],
                    security: Security::Unvalidated,
                    is_complete: true,
                });
            }
            Host::Name(name) if is_onion(name) => return Err(ResolveError::Onion),
            Host::Name(name) => absolute(name).ok_or(ResolveError::NotFound)?,
        };
        let (v6, v4) = tokio::join!(
            self.ask(&name, RecordType::AAAA),
            self.ask(&name, RecordType::A)
        );
        gathered(target.port, [Some(v6), Some(v4)])
    }

    /// The same. Once one family is there, the other has 50 ms more (RFC 8305 §3); then the addresses are not complete.
    ///
    /// # Errors
    ///
    /// As of [`Dns::addresses`].
    pub(crate) async fn addresses_soon(&self, target: &Target) -> Result<Addresses, ResolveError> {
        let name = match &target.host {
            Host::Name(name) if !is_onion(name) => absolute(name).ok_or(ResolveError::NotFound)?,
            Host::Name(_) | Host::Address(_) => return self.addresses(target).await,
        };
        let ask = |kind| {
            let (dns, name) = (self.clone(), name.clone());
            Box::pin(async move { dns.ask(&name, kind).await })
        };
        let waits = |answer: &Result<DnsReply, ResolveError>| match answer {
            Ok(reply) if !reply.records.is_empty() => Some(RESOLUTION_DELAY),
            _ => None,
        };
        let (v6, v4) = (ask(RecordType::AAAA), ask(RecordType::A));
        let (v6, v4) = self.both(v6, v4, waits, waits).await;
        gathered(target.port, [v6, v4])
    }

    /// The TLSA records of a target (RFC 6698 §3, RFC 7673 §3.3). s2sd asks for them only if DNSSEC proves all that led
    /// to the target, its addresses too. `None` if it does not, or if there are no usable records.
    ///
    /// # Errors
    ///
    /// An answer is missing or not proved: s2sd must not use the target (RFC 7673 §3.2, §3.4).
    pub async fn tlsa(&self, target: &Target) -> Result<Option<TlsaSet>, ResolveError> {
        let Host::Name(host) = &target.host else {
            return Ok(None);
        };
        if !target.secure || self.addresses_soon(target).await?.security < Security::Secure {
            return Ok(None);
        }
        let name = format!("_{}._tcp.{host}", target.port);
        let Some(asked) = absolute(&name) else {
            return Ok(None);
        };
        let reply = self.ask(&asked, RecordType::TLSA).await?;
        if reply.security < Security::Secure {
            return Ok(None);
        }
        let usable = reply.records.iter().filter_map(|record| match record {
            Rdata::Tlsa(tlsa) => Some(tlsa.clone()),
            _ => None,
        });
        Ok(TlsaSet::new(&name, usable))
    }

    /// What the DNS says of one service of a domain: `_xmpp-server` or `_xmpps-server`.
    pub async fn srv(&self, service: &str, domain: &Domain) -> SrvAnswer {
        let Some(name) = absolute(&format!("{service}._tcp.{}", domain.ascii())) else {
            return SrvAnswer::Absent(Security::Unvalidated);
        };
        let DnsReply { records, security } = match self.ask(&name, RecordType::SRV).await {
            Ok(reply) => reply,
            Err(why) => return SrvAnswer::Failed(why),
        };
        let records: Vec<Srv> = records
            .iter()
            .filter_map(|record| match record {
                Rdata::Srv(srv) => Some(srv.clone()),
                _ => None,
            })
            .collect();
        match records.is_empty() {
            true => SrvAnswer::Absent(security),
            false => SrvAnswer::Records(records, security),
        }
    }

    async fn ask(&self, name: &Name, kind: RecordType) -> Result<DnsReply, ResolveError> {
        if let Some(known) = local(name, kind) {
            return Ok(known);
        }
        self.source.look(false);
        let resolver = self.source.resolver.load_full();
        let reply = resolver.ask(name, kind, self.asker, self.place).await?;
        match self.source.config.dnssec {
            Dnssec::Require if reply.security < Security::Secure => {
                let name = name.to_ascii();
                Err(ResolveError::Unsigned(name.trim_end_matches('.').into()))
            }
            _ => Ok(reply),
        }
    }
}

/// What the answers for the two families say together. One that is late is none.
fn gathered(
    port: u16,
    answers: [Option<Result<DnsReply, ResolveError>>; 2],
) -> Result<Addresses, ResolveError> {
    let is_complete = answers.iter().all(Option::is_some);
    let mut all = Vec::new();
    let mut security = None;
    let mut failure = None;
    for answer in answers.into_iter().flatten() {
        match answer {
            Ok(reply) => {
                let found = reply.records.iter().filter_map(|record| match record {
                    Rdata::Address(address) => Some(*address),
                    _ => None,
                });
                let before = all.len();
                all.extend(found.map(|address| SocketAddr::new(address, port)));
                if all.len() > before {
                    security = Some(match security {
                        Some(other) => reply.security.or(other),
                        None => reply.security,
                    });
                }
            }
            Err(
                why
                @ (ResolveError::Bogus(_) | ResolveError::Unsigned(_) | ResolveError::Exhausted),
            ) => return Err(why),
            Err(why) => failure = Some(why),
        }
    }
    match (security, failure) {
        (Some(security), _) => Ok(Addresses {
            all,
            security,
            is_complete,
        }),
        (None, Some(why)) => Err(why),
        (None, None) => Err(ResolveError::NotFound),
    }
}

impl Source {
    /// Asks the system's name servers of now, if they are due to be looked at or `anyway`. Whether they have changed.
    fn look(&self, anyway: bool) -> bool {
        let Some(system) = &self.system else {
            return false;
        };
        // Another task looks.
        let Ok(mut system) = system.try_lock() else {
            return false;
        };
        let now = Instant::now();
        if !anyway && !system.is_due(now) {
            return false;
        }
        let Some(upstream) = system.look(now) else {
            return false;
        };
        match Resolver::new(&self.config, upstream, Arc::clone(&self.turns)) {
            Ok(resolver) => {
                self.resolver.store(Arc::new(resolver));
                self.changed.store(true, Ordering::Relaxed);
                true
            }
            Err(why) => {
                warn!("{why}; continuing with the name servers of before");
                false
            }
        }
    }
}

/// RFC 6761 §6.3: `localhost` is this machine, and the DNS cannot change that.
fn local(name: &Name, kind: RecordType) -> Option<DnsReply> {
    if !name.is_localhost() {
        return None;
    }
    let address: Option<IpAddr> = match kind {
        RecordType::A => Some(Ipv4Addr::LOCALHOST.into()),
        RecordType::AAAA => Some(Ipv6Addr::LOCALHOST.into()),
        _ => None,
    };
    Some(DnsReply {
        records: address.into_iter().map(Rdata::Address).collect(),
        security: Security::Unvalidated,
    })
}

/// The name with its final dot, so that no search list applies; `None` for what no DNS name can hold.
fn absolute(name: &str) -> Option<Name> {
    let mut name = Name::from_ascii(name).ok()?;
    name.set_fqdn(true);
    Some(name)
}

/// A number from 0 to `most`. The tiny bias of the remainder is of no consequence for sharing load.
fn random(most: u32) -> u32 {
    match getrandom::u32() {
        Ok(random) => random % most.saturating_add(1).max(1),
        Err(_) => 0,
    }
}

#[cfg(test)]
mod tests;
