//! `s2sd probe`: makes streams to a domain as the daemon would, to every place it has and every address of it, and
//! says what was met and why federation works or does not.
//!
//! Nothing here negotiates: the streams are the connector's, and a `recorder` observes them. What it wrote down is
//! [`findings`], from which [`verdict`] draws its conclusion.
//!
//! Left out on purpose: XEP-0288. On a stream that goes both ways the peer would hand us what is meant for the server
//! that really serves our domain, and it would be lost. So the answer to our ping goes there too.

mod classify;
pub mod findings;
mod ping;
mod recorder;
mod report;
mod shown;
mod targets;
#[cfg(test)]
mod tests;
pub mod verdict;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::UnixTime;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout_at;
use xmpp_dialback::Secret;
use xmpp_stream::Domain;

use self::findings::{Aim, AppliedPolicy, Findings, Own, TargetReport};
use self::recorder::Recorder;
use self::targets::Targets;
use crate::app;
use crate::closed::Cause;
use crate::config::{Config, Dnssec, Policy};
use crate::flow::connector::clock::Clock;
use crate::flow::connector::{self, Attempt, Connected};
use crate::flow::evidence;
use crate::flow::shared::{OsRandom, Shared};
use crate::net::descriptors::Account;
use crate::net::resolve::{self, AddressRule, Attempts, ConnectError, Dns};
use crate::net::tls::Tls;
use crate::protocol::negotiate::{DomainPair, Method, Purpose, Snapshot};
use crate::protocol::plan::Target;

pub use self::report::Report;

/// How many connections at the same time.
const AT_ONCE: usize = 4;

/// The domain in our own books if we have none (RFC 2606 §2); it is never sent.
const NOBODY: &str = "unnamed.invalid";

/// A question.
#[derive(Debug)]
pub struct Question {
    /// The domain.
    pub domain: Domain,
    /// The domain that asks: one of the configuration; without one, any name to send, or none.
    pub from: Option<Domain>,
    /// The rules, certificates and secrets. A configuration that serves no domain has nothing to prove itself with.
    pub config: Config,
    /// For everything together.
    pub within: Duration,
}

/// Why the probe cannot ask.
#[derive(Debug, thiserror::Error)]
pub enum Unasked {
    /// The question makes no sense.
    #[error("{0}")]
    Senseless(String),
    /// The configuration cannot be used.
    #[error("{0}")]
    Unusable(String),
}

/// Asks. `progress` says what it does.
///
/// # Errors
///
/// See [`Unasked`]. What happens on the way is the answer, not an error.
pub async fn probe(
    question: Question,
    progress: &watch::Sender<String>,
) -> Result<Report, Unasked> {
    let began = Instant::now();
    let until = began + question.within;
    let prober = Arc::new(Prober::new(question, until)?);
    let mut findings = prober.blank();
    let say = |what: &str| drop(progress.send_replace(what.to_owned()));

    say(&format!("asking the DNS for {}", prober.pair.remote));
    let dns = async { tokio::join!(prober.places(), prober.found_at()) };
    let dns = timeout_at(until.into(), dns).await;
    let mut in_time = dns.is_ok();
    let (places, own) = dns.unwrap_or_default();
    let Targets {
        lookups,
        unresolved,
        places,
    } = places;
    findings.lookups = lookups;
    findings.unresolved = unresolved;
    (findings.own.found_at, findings.own.not_found) = own;

    let mut visits = Vec::new();
    for (target, place) in places {
        let visited = match findings.rule.denied.is_none() {
            true => prober.visits(&target, &place),
            false => Vec::new(),
        };
        visits.push((target, place, visited));
    }
    let count: usize = visits.iter().map(|(.., visited)| visited.len()).sum();
    if count > 0 {
        say(&format!("connecting to {count} addresses"));
    }
    let mut running = JoinSet::new();
    let room = Arc::new(Semaphore::new(AT_ONCE));
    for (target, _, visited) in &visits {
        for visit in visited {
            let (prober, target) = (Arc::clone(&prober), target.clone());
            let (visit, room) = (Arc::clone(visit), Arc::clone(&room));
            running.spawn(async move {
                if let Ok(_turn) = room.acquire().await {
                    visit.make(&prober, &target, prober.purpose.clone()).await;
                }
            });
        }
    }
    let all = async { while running.join_next().await.is_some() {} };
    in_time &= timeout_at(until.into(), all).await.is_ok();
    drop(running);

    if let Some((target, visit)) = prober.worth_dialback(&visits) {
        say("trying dialback too");
        let again = visit.dialback_too(&prober, target);
        in_time &= timeout_at(until.into(), again).await.is_ok();
    }
    for (_, mut place, visited) in visits {
        place.attempts = visited.iter().flat_map(|visit| visit.attempts()).collect();
        findings.places.push(place);
    }
    findings.cut_short = !in_time;
    findings.took = began.elapsed();
    Ok(Report::of(findings))
}

struct Prober {
    shared: Shared,
    snapshot: Arc<Snapshot>,
    pair: DomainPair,
    policy: Arc<Policy>,
    /// Whether we can prove ourselves to the peer, or only look.
    purpose: Purpose,
    /// Methods that cannot be tried from here.
    without: Vec<Method>,
    configured: bool,
    no_dialback: Option<String>,
    until: Instant,
}

impl Prober {
    fn new(question: Question, until: Instant) -> Result<Self, Unasked> {
        let Question {
            domain,
            from,
            config,
            within: _,
        } = question;
        let configured = !config.domains.is_empty();
        if configured && config.served(&domain).is_some() {
            return Err(Unasked::Senseless(format!(
                "{domain} is served by this configuration itself; to see it as others do, probe it without one"
            )));
        }
        let local = match (from, configured) {
            (Some(from), true) if config.served(&from).is_none() => {
                return Err(Unasked::Senseless(format!(
                    "{from} is not served by this configuration"
                )));
            }
            (Some(from), _) => Some(from),
            (None, _) => config.domains.first().map(|served| served.name.clone()),
        };
        if local.as_ref() == Some(&domain) {
            let text = format!("{domain} cannot be asked in its own name");
            return Err(Unasked::Senseless(text));
        }
        let unusable = |what: Vec<String>| Unasked::Unusable(what.join("\n"));
        let tls = Tls::load(&config).map_err(unusable)?;
        let dns = Dns::new(&config.dns)
            .map_err(|why| Unasked::Unusable(format!("the DNS cannot be asked: {why}")))?;
        let named = local.is_some();
        let local = match local {
            Some(local) => local,
            None => Domain::parse(NOBODY).map_err(|_| Unasked::Unusable(String::new()))?,
        };
        let (secret, no_dialback) = dialback_secret(&config, configured);
        let snapshot = Snapshot::new(Arc::new(config), secret, |served| {
            tls.has_certificate(served)
        });
        let policy = snapshot.policy(&domain);
        let able = |method: &Method| match method {
            Method::Dialback => no_dialback.is_none(),
            Method::External => snapshot.has_certificate(&local),
            _ => policy
                .credentials
                .as_ref()
                .is_some_and(|own| own.do_for(*method)),
        };
        let (can, without): (Vec<Method>, Vec<Method>) =
            policy.auth.iter().copied().partition(able);
        let purpose = match configured && !can.is_empty() {
            true => Purpose::Deliver,
            false => Purpose::Look { named },
        };
        let snapshot = Arc::new(snapshot);
        Ok(Self {
            shared: Shared::new(Arc::clone(&snapshot), tls, dns),
            snapshot,
            pair: DomainPair {
                local,
                remote: domain,
            },
            policy,
            purpose,
            without,
            configured,
            no_dialback,
            until,
        })
    }

    fn named(&self) -> bool {
        !matches!(self.purpose, Purpose::Look { named: false })
    }

    /// What we know before the first question.
    fn blank(&self) -> Findings {
        let own = self.shared.tls.own_certificates(UnixTime::now());
        let own = own.iter().find(|own| own.domain == self.pair.local);
        let policy = &self.policy;
        let denied = self.snapshot.admits(&self.pair.remote).err();
        Findings {
            domain: self.pair.remote.to_string(),
            from: self.named().then(|| self.pair.local.to_string()),
            own: Own {
                configured: self.configured,
                certificate: self.snapshot.has_certificate(&self.pair.local),
                certificate_fault: own
                    .and_then(|own| own.fault.as_ref())
                    .map(|fault| fault.to_it().to_string()),
                no_dialback: self.no_dialback.clone(),
                found_at: Vec::new(),
                not_found: None,
            },
            rule: AppliedPolicy {
                name: policy.rule.clone(),
                tls: policy.tls.name(),
                min_tls: policy.min_tls.name(),
                require_ems: policy.require_ems,
                auth: policy.auth.iter().map(|method| method.word()).collect(),
                verify: policy.verify.name(),
                dane: policy.dane.name(),
                posh: policy.posh,
                connect: !policy.connect.is_empty(),
                proxy: policy.proxy.as_ref().map(ToString::to_string),
                max_stanza: policy.max_stanza,
                denied: denied.map(|denied| denied.to_string()),
            },
            dnssec: match self.snapshot.config.dns.dnssec {
                Dnssec::Off => "off",
                Dnssec::Use => "use",
                Dnssec::Require => "require",
            },
            lookups: Vec::new(),
            unresolved: None,
            places: Vec::new(),
            cut_short: false,
            took: Duration::ZERO,
        }
    }

    fn aim(&self) -> Aim {
        match self.purpose {
            Purpose::Look { .. } => Aim::Look,
            Purpose::Deliver | Purpose::Verify => Aim::Federate,
        }
    }

    fn visits(&self, target: &Target, place: &TargetReport) -> Vec<Arc<Visit>> {
        let visit = |address| Arc::new(Visit::new(address, target, self));
        match (&self.policy.proxy, &place.unresolved) {
            (Some(_), _) => vec![visit(None)],
            (None, Some(_)) => Vec::new(),
            (None, None) => place
                .addresses
                .iter()
                .filter_map(|address| address.parse().ok())
                .map(|address| visit(Some(address)))
                .collect(),
        }
    }

    /// Where something else than dialback was proved first, if dialback may count too and was not tried: whether the
    /// peer finds its way back to us shows in it.
    fn worth_dialback<'a>(
        &self,
        visits: &'a [(Target, TargetReport, Vec<Arc<Visit>>)],
    ) -> Option<(&'a Target, &'a Arc<Visit>)> {
        let all = || {
            let visits = visits.iter();
            visits.flat_map(|(target, _, visited)| visited.iter().map(move |it| (target, it)))
        };
        let tried = all().any(|(_, visit)| visit.tried(Method::Dialback));
        let may = self.policy.auth.contains(&Method::Dialback) && self.no_dialback.is_none();
        (may && !tried)
            .then(|| all().find(|(_, visit)| visit.proved()))
            .flatten()
    }
}

/// The secret of the daemon, so that it knows our keys (XEP-0185); else any, and why none is known.
fn dialback_secret(config: &Config, configured: bool) -> (Secret, Option<String>) {
    let known = match configured {
        true => app::dialback_secret(config),
        false => Ok(None),
    };
    let why = match known {
        Ok(Some(secret)) => return (secret, None),
        Ok(None) if !configured => {
            "without a configuration (-c) no server knows our key".to_owned()
        }
        Ok(None) => format!(
            "there is no secret yet under {}: the daemon makes it when it starts",
            config.data_dir.display()
        ),
        Err(why) => why.to_string(),
    };
    (Secret::new("never used"), Some(why))
}

/// One address of one place, and every connection that is made to it.
struct Visit {
    address: Option<std::net::SocketAddr>,
    name: String,
    pages: std::sync::Mutex<Vec<Arc<Recorder>>>,
}

impl Visit {
    fn new(address: Option<std::net::SocketAddr>, target: &Target, prober: &Prober) -> Self {
        let name = match (address, &prober.policy.proxy) {
            (Some(address), _) => address.to_string(),
            (None, Some(proxy)) => format!("{target} through {proxy}"),
            (None, None) => target.to_string(),
        };
        Self {
            address,
            name,
            pages: std::sync::Mutex::default(),
        }
    }

    fn pages(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Recorder>>> {
        self.pages
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn attempts(&self) -> Vec<findings::AttemptReport> {
        self.pages()
            .iter()
            .map(|recording| recording.attempt())
            .collect()
    }

    fn proved(&self) -> bool {
        let attempts = self.attempts();
        attempts.iter().any(|attempt| attempt.proved().is_some())
    }

    fn tried(&self, method: Method) -> bool {
        let attempts = self.attempts();
        let mut proofs = attempts.iter().flat_map(|attempt| &attempt.proofs);
        proofs.any(|proof| proof.method == method.name())
    }

    fn recording(&self, aim: Aim) -> Arc<Recorder> {
        let recording = Arc::new(Recorder::new(self.name.clone(), aim));
        self.pages().push(Arc::clone(&recording));
        recording
    }

    /// As the connector does at one place: once more where the peer closed after it refused a method.
    async fn make(&self, prober: &Prober, target: &Target, purpose: Purpose) {
        let mut excluded = prober.without.clone();
        loop {
            let before = excluded.len();
            let recording = self.recording(prober.aim());
            let made = self.connection(prober, target, &purpose, excluded, &recording);
            match made.await {
                Some((cause, now))
                    if connector::is_worth_another(&cause, before, now.len(), &prober.policy) =>
                {
                    excluded = now;
                }
                _ => return,
            }
        }
    }

    /// Without a certificate: a peer that accepts ours need not ask our server (XEP-0344), and this attempt is to show
    /// whether it can.
    async fn dialback_too(&self, prober: &Prober, target: &Target) {
        let others = prober.policy.auth.iter().copied();
        let others = others
            .filter(|method| *method != Method::Dialback)
            .collect();
        let recording = self.recording(Aim::Dialback);
        self.connection(prober, target, &Purpose::Deliver, others, &recording)
            .await;
    }

    /// One connection. Returns its failure, and the methods tried, if it failed.
    async fn connection(
        &self,
        prober: &Prober,
        target: &Target,
        purpose: &Purpose,
        excluded: Vec<Method>,
        recording: &Recorder,
    ) -> Option<(Cause, Vec<Method>)> {
        let (shared, policy) = (&prober.shared, &prober.policy);
        let within = prober.snapshot.config.limits.connect;
        let place =
            match evidence::target_evidence(&shared.dns, &prober.snapshot, target, policy).await {
                Ok(place) => place,
                Err(why) => {
                    recording.ended(connector::unresolved(why));
                    return None;
                }
            };
        let mut attempts = Attempts::default();
        let dialed = match self.address {
            Some(address) => match AddressRule::of(target, policy).sort_out(vec![address]) {
                (_, Some(left_out)) => Err(left_out.into()),
                (left, None) => {
                    let account = Account::default();
                    resolve::dial(&left, &policy.source, &account, &mut attempts, within)
                        .await
                        .map_err(ConnectError::Connect)
                }
            },
            None => resolve::connect(&shared.dns, target, policy, &mut attempts, within).await,
        };
        let dialed = match dialed {
            Ok(dialed) => dialed,
            Err(ConnectError::Connect(error)) => {
                recording.unconnected(classify::unconnected(&error, policy.proxy.is_some()));
                return None;
            }
            Err(ConnectError::LeftOut(what)) => {
                recording.unconnected(findings::Unconnected {
                    why: findings::ConnectFailure::NotPublic,
                    said: what.to_string().into(),
                });
                return None;
            }
            Err(ConnectError::Resolve(why)) => {
                recording.ended(connector::unresolved(why));
                return None;
            }
        };
        recording.connected();
        let attempt = Attempt {
            shared,
            snapshot: &prober.snapshot,
            pair: &prober.pair,
            policy,
            target,
            share: Clock::new(
                &prober.snapshot.config.limits,
                Duration::MAX,
                Instant::now(),
            )
            .share(Instant::now(), false),
            causer: None,
            observer: recording,
        };
        match attempt.over(dialed.tcp, place, purpose, excluded).await {
            Ok(Connected::Ready(ready)) => {
                recording.pinged(ping::ping(*ready, &prober.pair, prober.until).await);
                None
            }
            Ok(Connected::QuestionStream(_)) => None,
            Err(failed) => {
                recording.ended(failed.cause.clone());
                Some((failed.cause, failed.excluded))
            }
        }
    }
}

/// An id that cannot be guessed.
fn fresh_id() -> String {
    format!("s2sd-probe-{:08x}", OsRandom::next_u32())
}
