//! `s2sd probe`: makes streams to a domain as the daemon would, to every place it has and every address of it, and
//! says what was met and why federation works or does not.
//!
//! Nothing here negotiates: the streams are the connector's, and a `scribe` looks on. What it wrote down is
//! [`findings`], from which [`verdict`] draws its conclusion.
//!
//! Left out on purpose: XEP-0288. On a stream that goes both ways the peer would hand us what is meant for the server
//! that really serves our domain, and it would be lost. So the answer to our ping goes there too.

pub mod findings;
mod ping;
mod places;
mod report;
mod scribe;
mod shown;
#[cfg(test)]
mod tests;
mod trouble;
pub mod verdict;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::UnixTime;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout_at;
use xmpp_dialback::Secret;
use xmpp_stream::Domain;

use self::findings::{Aim, Findings, Own, Place, Rule};
use self::places::Places;
use self::scribe::Scribe;
use crate::app;
use crate::closed::Cause;
use crate::config::{Config, Dnssec, Policy};
use crate::descriptors::Account;
use crate::means::{Dice, Means};
use crate::negotiate::{DomainPair, House, Method, Purpose};
use crate::outbound::clock::Clock;
use crate::outbound::connector::{self, Attempt, Outcome};
use crate::resolve::{self, AddressRule, Attempts, Dns, Target, Unreached};
use crate::tls::Tls;
use crate::witness;

pub use self::report::Report;

/// So many connections at one time.
const AT_ONCE: usize = 4;

/// Who is nobody needs a name for our own books all the same (RFC 2606 §2); it is never said.
const NOBODY: &str = "nobody.invalid";

/// What is asked.
#[derive(Debug)]
pub struct Question {
    /// The domain.
    pub domain: Domain,
    /// Who asks: a domain that the configuration serves; without one, any name to be said, or none.
    pub from: Option<Domain>,
    /// Whose rules, certificates and secrets count. One that serves no domain has nothing to show.
    pub config: Config,
    /// For everything together.
    pub within: Duration,
}

/// Why nothing can be asked.
#[derive(Debug, thiserror::Error)]
pub enum Unasked {
    /// The question makes no sense.
    #[error("{0}")]
    Senseless(String),
    /// The configuration cannot be used.
    #[error("{0}")]
    Unusable(String),
}

/// Asks. What is being done is told in `progress`.
///
/// # Errors
///
/// See [`Unasked`]. Whatever happens on the way is no error, but the answer.
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
    let Places {
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
    means: Means,
    house: Arc<House>,
    pair: DomainPair,
    policy: Arc<Policy>,
    /// With whom we can be believed, or only look.
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
        let house = House::new(Arc::new(config), secret, |served| {
            tls.has_certificate(served)
        });
        let policy = house.policy(&domain);
        let able = |method: &Method| match method {
            Method::Dialback => no_dialback.is_none(),
            Method::External => house.has_certificate(&local),
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
        let house = Arc::new(house);
        Ok(Self {
            means: Means::new(Arc::clone(&house), tls, dns),
            house,
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

    /// What is known before anything is asked.
    fn blank(&self) -> Findings {
        let own = self.means.tls.own_certificates(UnixTime::now());
        let own = own.iter().find(|own| own.domain == self.pair.local);
        let policy = &self.policy;
        let denied = self.house.admits(&self.pair.remote).err();
        Findings {
            domain: self.pair.remote.to_string(),
            from: self.named().then(|| self.pair.local.to_string()),
            own: Own {
                configured: self.configured,
                certificate: self.house.has_certificate(&self.pair.local),
                certificate_fault: own
                    .and_then(|own| own.fault.as_ref())
                    .map(ToString::to_string),
                no_dialback: self.no_dialback.clone(),
                found_at: Vec::new(),
                not_found: None,
            },
            rule: Rule {
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
            dnssec: match self.house.config.dns.dnssec {
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

    fn visits(&self, target: &Target, place: &Place) -> Vec<Arc<Visit>> {
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
        visits: &'a [(Target, Place, Vec<Arc<Visit>>)],
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
            "without a configuration (-c) there is nobody who would know our key".to_owned()
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
    pages: std::sync::Mutex<Vec<Arc<Scribe>>>,
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

    fn pages(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Scribe>>> {
        self.pages
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn attempts(&self) -> Vec<findings::Attempt> {
        self.pages().iter().map(|page| page.attempt()).collect()
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

    fn page(&self, aim: Aim) -> Arc<Scribe> {
        let page = Arc::new(Scribe::new(self.name.clone(), aim));
        self.pages().push(Arc::clone(&page));
        page
    }

    /// As the connector does at one place: once more where the peer closed after it refused a method.
    async fn make(&self, prober: &Prober, target: &Target, purpose: Purpose) {
        let mut tried = prober.without.clone();
        loop {
            let before = tried.len();
            let page = self.page(prober.aim());
            let made = self.connection(prober, target, &purpose, tried, &page);
            match made.await {
                Some((cause, now))
                    if connector::is_worth_another(&cause, before, now.len(), &prober.policy) =>
                {
                    tried = now;
                }
                _ => return,
            }
        }
    }

    /// Without a certificate: who sees one that it believes need not ask our server (XEP-0344), and whether it can is
    /// what is to be seen.
    async fn dialback_too(&self, prober: &Prober, target: &Target) {
        let others = prober.policy.auth.iter().copied();
        let others = others
            .filter(|method| *method != Method::Dialback)
            .collect();
        let page = self.page(Aim::Dialback);
        self.connection(prober, target, &Purpose::Deliver, others, &page)
            .await;
    }

    /// One connection. What failed, and what was tried, if it failed.
    async fn connection(
        &self,
        prober: &Prober,
        target: &Target,
        purpose: &Purpose,
        tried: Vec<Method>,
        page: &Scribe,
    ) -> Option<(Cause, Vec<Method>)> {
        let (means, policy) = (&prober.means, &prober.policy);
        let within = prober.house.config.limits.connect;
        let place = match witness::place(&means.dns, &prober.house, target, policy).await {
            Ok(place) => place,
            Err(why) => {
                page.ended(connector::unresolved(why));
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
                        .map_err(Unreached::Connect)
                }
            },
            None => resolve::connect(&means.dns, target, policy, &mut attempts, within).await,
        };
        let dialed = match dialed {
            Ok(dialed) => dialed,
            Err(Unreached::Connect(error)) => {
                page.unconnected(trouble::unconnected(&error, policy.proxy.is_some()));
                return None;
            }
            Err(Unreached::LeftOut(what)) => {
                page.unconnected(findings::Unconnected {
                    why: findings::Unreached::NotPublic,
                    said: what.to_string().into(),
                });
                return None;
            }
            Err(Unreached::Resolve(why)) => {
                page.ended(connector::unresolved(why));
                return None;
            }
        };
        page.connected();
        let attempt = Attempt {
            means,
            house: &prober.house,
            pair: &prober.pair,
            policy,
            target,
            share: Clock::new(&prober.house.config.limits, Duration::MAX, Instant::now())
                .share(Instant::now(), false),
            source: None,
            onlooker: page,
        };
        match attempt.over(dialed.tcp, place, purpose, tried).await {
            Ok(Outcome::Ready(ready)) => {
                page.pinged(ping::ping(*ready, &prober.pair, prober.until).await);
                None
            }
            Ok(Outcome::Asking(_)) => None,
            Err(failed) => {
                page.ended(failed.cause.clone());
                Some((failed.cause, failed.tried))
            }
        }
    }
}

/// An id that nobody guesses.
fn fresh_id() -> String {
    format!("s2sd-probe-{:08x}", Dice::throw())
}
