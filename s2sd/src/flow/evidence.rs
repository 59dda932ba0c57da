//! Answers the questions of an [inquiry](crate::trust::inquiry) about a peer's certificate, which decides their order.
//!
//! The questions about a peer that connects to us are bounded in number (its SRV records, and addresses and TLSA
//! records of at most 24 servers) and in time, and no other peer waits for them.

use std::net::SocketAddr;

use rustls::pki_types::UnixTime;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tracing::{Instrument, debug};
use xmpp_stream::Domain;

use crate::config::Policy;
use crate::flow::shared::Shared;
use crate::net::resolve::{Asker, Dns, Fetch, Found};
use crate::protocol::admission::Causer;
use crate::protocol::negotiate::{Judged, Snapshot};
use crate::protocol::plan::{ResolveError, Target};
use crate::trust::inquiry::{
    Answer, CertificateVerdict, PoshEvidence, Rules, Server, ShownBy, Step, is_asked_for_tlsa,
};
use crate::trust::{PeerChain, TargetEvidence, TlsaSet};

/// Which server it is that showed the certificate.
#[derive(Clone, Debug)]
pub(crate) enum Direction {
    /// The one that we connected to, for ourselves or not; none if the DNS proves nothing about it.
    Outgoing(Option<TargetEvidence>, Asker),
    /// One that connected to us: any of the domain's.
    Incoming,
}

impl Shared {
    /// Judges the certificate of a peer, for one domain or for the single domain that it names. The questions take no
    /// longer than `limits.dialback`; work for a processor waits for a turn. `source` is the address that the
    /// connection leads to: that of the proxy, if there is one.
    pub(crate) async fn judge(
        &self,
        chain: Option<PeerChain>,
        domain: Option<Domain>,
        direction: Direction,
        source: SocketAddr,
    ) -> Judged {
        let snapshot = self.snapshot();
        // A peer that connects to us chooses what we look up.
        let (shown_by, asker) = match direction {
            Direction::Outgoing(target, asker) => (ShownBy::Target(target), asker),
            Direction::Incoming => (ShownBy::Any, Asker::Unauthenticated),
        };
        let fetching = Fetching {
            shared: self,
            snapshot: &snapshot,
            dns: self.dns_for(asker, Some(source.ip())),
            asker,
            causer: Causer::Connection(source),
        };
        let begun = match &domain {
            Some(domain) => {
                let rules = fetching.rules(domain);
                Step::of_domain(chain, domain.clone(), rules, shown_by)
            }
            // The general rules find the domain that it names, and the rules for that domain judge it.
            None => Step::of_whoever(chain, self.tls.roots(&snapshot.config.policy)),
        };
        let verdict = fetching.answer_all(begun).await;
        if let Some(remote) = &verdict.domain {
            let judgement = &verdict.judgement;
            debug!(%remote, trust = judgement.trust().name(), because = judgement.because().to_string(),
                "certificate judged");
        }
        let (judgement, identity) = verdict.counts();
        Judged {
            domain,
            judgement,
            identity,
        }
    }
}

/// All that it takes to answer the questions of an inquiry.
struct Fetching<'a> {
    shared: &'a Shared,
    snapshot: &'a Snapshot,
    dns: Dns,
    asker: Asker,
    causer: Causer,
}

const LATE: &str = "the DNS did not answer in time";

impl Fetching<'_> {
    async fn answer_all(&self, mut step: Step) -> CertificateVerdict {
        let within = self.snapshot.config.limits.dialback;
        let mut until = Instant::now() + within;
        loop {
            step = match step {
                Step::NeedRules(domain, awaits) => awaits.told(self.rules(&domain)),
                Step::NeedServers(domain, awaits) => {
                    until = Instant::now() + within;
                    let policy = self.snapshot.policy(&domain);
                    let asked = self.dns.targets(&domain, policy.tls);
                    awaits.told(match timeout_at(until, asked).await {
                        Ok(found) => answer(found.map(|all| all.iter().map(server).collect())),
                        Err(_) => Answer::Untold(LATE.to_owned()),
                    })
                }
                Step::NeedTlsa(servers, awaits) => {
                    match timeout_at(until, all_tlsa(&self.dns, servers)).await {
                        Ok(answers) => awaits.told(answers),
                        Err(_) => awaits.untold(LATE),
                    }
                }
                Step::Look(look) => {
                    let look = move || look.at(UnixTime::now());
                    let from = self.causer.address();
                    self.shared.judging.compute(from, look).await
                }
                Step::NeedPosh(domain, awaits) => {
                    let found = self.posh(&domain).await;
                    let found = found.as_ref().map(|published| PoshEvidence {
                        fingerprints: &published.fingerprints,
                        url: &published.url,
                    });
                    awaits.told(found.map_err(String::as_str))
                }
                Step::Verdict(verdict) => return verdict,
            }
        }
    }

    fn rules(&self, domain: &Domain) -> Rules {
        let policy = self.snapshot.policy(domain);
        let roots = self.shared.tls.roots(&policy);
        Rules::new(&policy, self.snapshot.config.dns.dnssec, roots)
    }

    async fn posh(&self, domain: &Domain) -> Found {
        let (shared, limits) = (self.shared, &self.snapshot.config.limits);
        let policy = self.snapshot.policy(domain);
        let roots = shared.tls.roots(&policy);
        let is_stranger = self.asker == Asker::Unauthenticated;
        let fetch = Fetch {
            dns: &self.dns,
            tls: &shared.tls,
            policy: &policy,
            roots: &roots,
            within: limits.connect,
            judging: &shared.judging,
            causer: &self.causer,
            attempt_limit: is_stranger.then_some(&shared.attempt_limit),
        };
        let posh = &shared.posh;
        posh.published(domain, &roots, &fetch, limits.dialback)
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
    let server = server(target);
    if !is_asked_for_tlsa(policy, snapshot.config.dns.dnssec, &server) {
        return Ok(None);
    }
    let tlsa = match dns.tlsa(target).await {
        // The attempt to connect will show what that means; a proxy may know the name.
        Err(why) if why.is_absence() => None,
        answer => answer?,
    };
    Ok(Some(server.publishes(Ok(tlsa))))
}

fn server(target: &Target) -> Server {
    Server {
        host: target.host.clone(),
        port: target.port,
        secure: target.secure,
    }
}

fn answer<T>(answer: Result<T, ResolveError>) -> Answer<T> {
    match answer {
        Ok(found) => Answer::Found(found),
        Err(why) if why.is_absence() => Answer::Absent,
        Err(why) => Answer::Untold(told(&why)),
    }
}

/// For the peer, too: it may know the faults of its own zone, but not those on our way to our name server.
fn told(why: &ResolveError) -> String {
    match why {
        ResolveError::Failed(what) | ResolveError::Unanswered(what) => {
            debug!("no answer about the certificate of a peer: {what}");
            "the DNS gave no answer".to_owned()
        }
        why => why.to_string(),
    }
}

async fn all_tlsa(dns: &Dns, servers: Vec<Server>) -> Vec<(Server, Answer<TlsaSet>)> {
    let mut asked = JoinSet::new();
    for server in servers {
        let dns = dns.clone();
        let ask = async move {
            let target = Target {
                host: server.host.clone(),
                port: server.port,
                direct_tls: false,
                secure: server.secure,
                configured: false,
            };
            let found = match answer(dns.tlsa(&target).await) {
                Answer::Found(Some(set)) => Answer::Found(set),
                Answer::Found(None) | Answer::Absent => Answer::Absent,
                Answer::Untold(why) => Answer::Untold(why),
            };
            (server, found)
        };
        asked.spawn(ask.in_current_span());
    }
    asked.join_all().await
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    use xmpp_dialback::Secret;

    use tokio::time::timeout;

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
        let source = SocketAddr::from(([192, 0, 2, 1], 5269));
        let issued = Issued::self_signed(&Leaf::domain("b.test"));
        let chain = PeerChain::new(&issued.chain());
        let domain = Domain::parse("b.test").unwrap();
        let judge = |domain| shared.judge(chain.clone(), domain, Direction::Incoming, source);
        let mut turns = Vec::new();
        while let Ok(turn) = timeout(Duration::ZERO, shared.judging.take(source.ip())).await {
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
