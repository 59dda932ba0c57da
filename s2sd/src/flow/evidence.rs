//! Asks whoever may know something about a peer's certificate, and has it judged.
//!
//! Nothing is asked unless the configuration wants it. What is asked about a peer that connects to us is bounded in
//! number (its SRV records, and addresses and TLSA records of at most 24 servers) and in time, and nobody else waits
//! for it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::UnixTime;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{Instrument, debug};
use xmpp_stream::Domain;

use crate::config::{Dane, Dnssec, Policy, TlsMode};
use crate::flow::shared::Shared;
use crate::net::conn::Conn;
use crate::net::resolve::{Asker, Dns, Fetch, Found, Host};

use crate::protocol::negotiate::{Judged, Snapshot};
use crate::protocol::plan::{ResolveError, Target};
use crate::trust;
use crate::trust::judgement::PoshEvidence;
use crate::trust::{Because, Evidence, Judgement, PeerChain, Roots, TargetEvidence};

/// Which server it is that showed the certificate.
#[derive(Clone, Debug)]
pub(crate) enum Direction {
    /// The one we connected to, for ourselves or not; none if the DNS proves nothing about it.
    Outgoing(Option<TargetEvidence>, Asker),
    /// One that connected to us: any of the domain's.
    Incoming,
}

/// What a peer showed in the handshake.
pub(crate) fn shown(conn: &Conn) -> Option<PeerChain> {
    let (_, session) = conn.tls()?.get_ref();
    session.peer_certificates().and_then(PeerChain::new)
}

/// A certificate to be judged, and what is known of it: everything that a turn needs.
struct Case {
    chain: PeerChain,
    roots: Arc<Roots>,
    domain: Domain,
    dane: Dane,
    posh: bool,
    targets: Result<Vec<TargetEvidence>, String>,
}

impl Case {
    fn evidence(&self) -> Evidence<'_> {
        let (chain, now) = (Some(&self.chain), UnixTime::now());
        Evidence {
            dane: self.dane,
            targets: self.targets.as_deref().map_err(String::as_str),
            ..Evidence::new(chain, &self.roots, &self.domain, now)
        }
    }

    /// And whether it may help to ask what the domain publishes by HTTPS.
    fn judged(&self) -> (Judgement, bool) {
        let evidence = self.evidence();
        let judgement = trust::judge(&evidence);
        let asks = self.posh && trust::judgement::may_be_posh(&evidence, &judgement);
        (judgement, asks)
    }

    fn judged_with(&self, found: &Found) -> Judgement {
        let posh = found.as_ref().map(|published| PoshEvidence {
            fingerprints: &published.fingerprints,
            url: &published.url,
        });
        trust::judge(&Evidence {
            posh: Some(posh.map_err(String::as_str)),
            ..self.evidence()
        })
    }
}

impl Shared {
    /// Judges the certificate a peer showed, for one domain or for whatever single domain it names. What has to be asked
    /// takes no longer than `limits.dialback`; what has to be computed waits for a turn. `source` is where the connection leads: a proxy, where one stands in between.
    pub(crate) async fn judge(
        &self,
        chain: Option<PeerChain>,
        domain: Option<Domain>,
        direction: Direction,
        source: IpAddr,
    ) -> Judged {
        let snapshot = self.snapshot();
        // Whom it names is looked up by the general rules, and judged by its own.
        let identity = match (&domain, &chain) {
            (None, Some(chain)) => {
                let (chain, roots) = (chain.clone(), self.tls.roots(&snapshot.config.policy));
                let sole = move || trust::sole_identity(Some(&chain), &roots, UnixTime::now());
                self.judging.compute(source, sole).await
            }
            _ => None,
        };
        let judgement = match (chain, domain.as_ref().or(identity.as_ref())) {
            (Some(chain), Some(domain)) => {
                let judgement = self
                    .judged(&snapshot, chain, domain, direction, source)
                    .await;
                debug!(remote = %domain, trust = judgement.trust().name(), because = judgement.because().to_string(),
                    "certificate judged");
                judgement
            }
            _ => Because::NoCertificate.into(),
        };
        match (&domain, judgement.is_certified()) {
            // A name that its own rules do not believe is none.
            (None, false) => Judged {
                domain,
                judgement: Because::NoCertificate.into(),
                identity: None,
            },
            _ => Judged {
                domain,
                judgement,
                identity,
            },
        }
    }

    async fn judged(
        &self,
        snapshot: &Snapshot,
        chain: PeerChain,
        domain: &Domain,
        direction: Direction,
        source: IpAddr,
    ) -> Judgement {
        let policy = snapshot.policy(domain);
        let within = snapshot.config.limits.dialback;
        // Whoever calls chooses what is looked up.
        let asker = match direction {
            Direction::Outgoing(_, asker) => asker,
            Direction::Incoming => Asker::Unauthenticated,
        };
        let dns = self.dns_for(asker, Some(source));
        let targets = match direction {
            Direction::Outgoing(target_evidence, _) => Ok(target_evidence.into_iter().collect()),
            Direction::Incoming if has_a_say(snapshot, &policy) => {
                targets(&dns, domain, policy.tls, within).await
            }
            Direction::Incoming => Ok(Vec::new()),
        };
        let roots = self.tls.roots(&policy);
        let case = Arc::new(Case {
            chain,
            roots: Arc::clone(&roots),
            domain: domain.clone(),
            dane: policy.dane,
            posh: policy.posh,
            targets,
        });
        let first = Arc::clone(&case);
        let (judgement, asks) = self.judging.compute(source, move || first.judged()).await;
        if !asks {
            return judgement;
        }
        let fetch = Fetch {
            dns: &dns,
            tls: &self.tls,
            policy: &policy,
            roots: &roots,
            within: snapshot.config.limits.connect,
            judging: &self.judging,
            source,
            attempt_limit: (asker == Asker::Unauthenticated).then_some(&self.attempt_limit),
        };
        let found = self.posh.published(domain, &roots, &fetch, within).await;
        self.judging
            .compute(source, move || case.judged_with(&found))
            .await
    }
}

/// What the DNS proves about a server before we connect to it (RFC 7673 §3.3).
///
/// # Errors
///
/// The server must not be connected to.
pub(crate) async fn target_evidence(
    dns: &Dns,
    snapshot: &Snapshot,
    target: &Target,
    policy: &Policy,
) -> Result<Option<TargetEvidence>, ResolveError> {
    if !has_a_say(snapshot, policy) || policy.tls == TlsMode::Disabled || !target.secure {
        return Ok(None);
    }
    let tlsa = match dns.tlsa(target).await {
        // Whoever connects will see what that means; a proxy may know the name.
        Err(ResolveError::NotFound | ResolveError::Onion) => None,
        answer => answer?,
    };
    Ok(Some(TargetEvidence {
        host: host(target),
        tlsa: Ok(tlsa),
    }))
}

/// Whether the DNS is asked about certificates. Where `connect` stands instead of it, it is not asked for servers.
fn has_a_say(snapshot: &Snapshot, policy: &Policy) -> bool {
    snapshot.config.dns.dnssec != Dnssec::Off
        && policy.dane != Dane::Off
        && policy.connect.is_empty()
}

/// All servers of a domain, and what they publish; or why that cannot be told.
async fn targets(
    dns: &Dns,
    domain: &Domain,
    tls: TlsMode,
    within: Duration,
) -> Result<Vec<TargetEvidence>, String> {
    match timeout(within, all_targets(dns, domain, tls)).await {
        Ok(Ok(targets)) => Ok(targets),
        // Nobody can be reached there, and so nobody publishes anything.
        Ok(Err(
            ResolveError::NoService
            | ResolveError::NotFound
            | ResolveError::NoHost(_)
            | ResolveError::Onion,
        )) => Ok(Vec::new()),
        Ok(Err(why)) => Err(told(&why)),
        Err(_) => Err("the DNS did not answer in time".to_owned()),
    }
}

/// For the peer, too: what is wrong with its zone is its own, and what happened on our way to our name server is not.
fn told(why: &ResolveError) -> String {
    match why {
        ResolveError::Failed(what) | ResolveError::Unanswered(what) => {
            debug!("no answer about the certificate of a peer: {what}");
            "the DNS gave no answer".to_owned()
        }
        why => why.to_string(),
    }
}

async fn all_targets(
    dns: &Dns,
    domain: &Domain,
    tls: TlsMode,
) -> Result<Vec<TargetEvidence>, ResolveError> {
    let mut asked = JoinSet::new();
    for target in dns.targets(domain, tls).await? {
        let dns = dns.clone();
        let ask = async move {
            let tlsa = match dns.tlsa(&target).await {
                Err(ResolveError::NotFound | ResolveError::Onion) => Ok(None),
                answer => answer.map_err(|why| format!("{target}: {}", told(&why))),
            };
            let host = host(&target);
            TargetEvidence { host, tlsa }
        };
        asked.spawn(ask.in_current_span());
    }
    Ok(asked.join_all().await)
}

/// The name of a server, where DNSSEC proves that it is one of the domain's.
fn host(target: &Target) -> Option<Domain> {
    match &target.host {
        Host::Name(name) if target.secure => Domain::parse(name).ok(),
        Host::Name(_) | Host::Address(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use xmpp_dialback::Secret;

    use super::*;
    use crate::config::{Config, TrustStore};
    use crate::net::tls::Tls;
    use crate::tools::demo::ca::{Issued, Leaf};

    fn shared() -> Shared {
        let toml = "data_dir = 'data'\n[dns]\nservers = ['127.0.0.1:1']\n[policy]\ntls = 'optional'\ndane = 'off'\n\
                    [[domain]]\nname = 'a.test'\n";
        let loaded = Config::from_toml(toml, "s2sd.toml", Path::new("."));
        let mut config = loaded.unwrap().config;
        config.policy = Arc::new(Policy {
            trust: TrustStore::Files(Vec::new()),
            ..(*config.policy).clone()
        });
        let (tls, dns) = (Tls::load(&config).unwrap(), Dns::new(&config.dns).unwrap());
        let snapshot = Snapshot::new(Arc::new(config), Secret::new("of this test"), |_| false);
        Shared::new(Arc::new(snapshot), tls, dns)
    }

    /// Nothing of it is done on the threads that serve streams.
    #[tokio::test]
    async fn a_judgement_waits_for_a_turn() {
        let shared = shared();
        let source = IpAddr::from([192, 0, 2, 1]);
        let issued = Issued::self_signed(&Leaf::domain("b.test"));
        let chain = PeerChain::new(&issued.chain());
        let domain = Domain::parse("b.test").unwrap();
        let judge = |domain| shared.judge(chain.clone(), domain, Direction::Incoming, source);
        let mut turns = Vec::new();
        while let Ok(turn) = timeout(Duration::ZERO, shared.judging.take(source)).await {
            turns.push(turn);
        }
        for domain in [Some(domain), None] {
            let waits = timeout(Duration::from_millis(1), judge(domain));
            assert!(waits.await.is_err(), "judged without a turn");
        }
        drop(turns);
        assert!(!judge(None).await.judgement.is_certified());
    }
}
