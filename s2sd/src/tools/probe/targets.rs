//! Where a domain is to be found: every look-up with its answer and its time.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::timeout};

use super::{
    Prober,
    findings::{Dnssec, Lookup, TargetReport},
};
use crate::config::TlsMode;
use crate::peer_text::PeerText;
use crate::protocol::plan::{ResolveError, Srv, SrvAnswer, Target, fallback, is_onion, plan};

/// For one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// So many addresses of one place are visited.
const MAX_ADDRESSES: usize = 8;

/// What the DNS says.
#[derive(Default)]
pub(super) struct Targets {
    pub(super) lookups: Vec<Lookup>,
    pub(super) unresolved: Option<ResolveError>,
    pub(super) places: Vec<(Target, TargetReport)>,
}

impl Prober {
    pub(super) async fn places(self: &Arc<Self>) -> Targets {
        let (lookups, targets) = self.targets().await;
        let (targets, unresolved) = match targets {
            Ok(targets) => (targets, None),
            Err(why) => (Vec::new(), Some(why)),
        };
        let mut asked = JoinSet::new();
        for (rank, target) in targets.into_iter().enumerate() {
            let prober = Arc::clone(self);
            asked.spawn(async move {
                let place = prober.place(&target).await;
                (rank, (target, place))
            });
        }
        let mut places = asked.join_all().await;
        places.sort_by_key(|(rank, _)| *rank);
        let places = places.into_iter().map(|(_, place)| place).collect();
        Targets {
            lookups,
            unresolved,
            places,
        }
    }

    /// The same answers and the same plan as the daemon's, but for the random order of equals.
    async fn targets(&self) -> (Vec<Lookup>, Result<Vec<Target>, ResolveError>) {
        let remote = &self.pair.remote;
        if !self.policy.connect.is_empty() {
            let targets = self.policy.connect.iter().map(Target::from);
            return (Vec::new(), Ok(targets.collect()));
        }
        if remote.is_ip() || is_onion(remote.ascii()) {
            return (Vec::new(), Ok(vec![fallback(remote)]));
        }
        let direct = async {
            match self.policy.tls {
                TlsMode::Disabled => None,
                TlsMode::Optional | TlsMode::Required => Some(self.srv("_xmpps-server").await),
            }
        };
        let (plain, direct) = tokio::join!(self.srv("_xmpp-server"), direct);
        let (mut lookups, xmpp) = (vec![plain.1], plain.0);
        let xmpps = match direct {
            Some((answer, lookup)) => {
                lookups.push(lookup);
                answer
            }
            None => SrvAnswer::NotAsked,
        };
        (lookups, plan(remote, xmpp, xmpps, &mut |_| 0))
    }

    async fn srv(&self, service: &str) -> (SrvAnswer, Lookup) {
        let began = Instant::now();
        let asked = timeout(
            ANSWER_TIMEOUT,
            self.shared.dns.srv(service, &self.pair.remote),
        );
        let answer = asked.await.unwrap_or_else(|_| SrvAnswer::Failed(late()));
        let (records, failed, dnssec) = match &answer {
            SrvAnswer::NotAsked => (Vec::new(), None, Dnssec::Unchecked),
            SrvAnswer::Absent(security) => (Vec::new(), None, (*security).into()),
            SrvAnswer::Records(records, security) => {
                let records = records.iter().map(record).collect();
                (records, None, (*security).into())
            }
            SrvAnswer::Failed(why) => (Vec::new(), Some(why.to_string().into()), why.into()),
        };
        let lookup = Lookup {
            name: format!("{service}._tcp.{}", self.pair.remote.ascii()),
            kind: "SRV",
            records,
            failed,
            dnssec,
            took: began.elapsed(),
        };
        (answer, lookup)
    }

    async fn place(&self, target: &Target) -> TargetReport {
        let began = Instant::now();
        let addresses = match self.policy.proxy {
            // It looks the name up itself.
            Some(_) => None,
            None => Some(
                timeout(ANSWER_TIMEOUT, self.shared.dns.addresses(target))
                    .await
                    .unwrap_or_else(|_| Err(late())),
            ),
        };
        let took = began.elapsed();
        let (addresses, dnssec, unresolved) = match addresses {
            None => (Vec::new(), Dnssec::Unchecked, None),
            Some(Ok(found)) => (found.all, found.security.into(), None),
            Some(Err(why)) => (Vec::new(), Dnssec::from(&why), Some(why)),
        };
        TargetReport {
            target: target.to_string(),
            host: target.host.to_string(),
            direct_tls: target.direct_tls,
            addresses: addresses
                .iter()
                .take(MAX_ADDRESSES)
                .map(ToString::to_string)
                .collect(),
            tlsa: match target.secure && dnssec == Dnssec::Secure {
                true => self.tlsa(target).await,
                false => None,
            },
            dnssec,
            unresolved,
            took,
            attempts: Vec::new(),
        }
    }

    async fn tlsa(&self, target: &Target) -> Option<Lookup> {
        let began = Instant::now();
        let asked = timeout(ANSWER_TIMEOUT, self.shared.dns.tlsa(target)).await;
        let (records, failed, dnssec) = match asked.unwrap_or_else(|_| Err(late())) {
            Ok(Some(set)) => {
                let records = set.records.iter().map(|it| it.to_string().into()).collect();
                (records, None, Dnssec::Secure)
            }
            Ok(None) => (Vec::new(), None, Dnssec::Secure),
            Err(why) => (Vec::new(), Some(why.to_string().into()), Dnssec::from(&why)),
        };
        Some(Lookup {
            name: format!("_{}._tcp.{}", target.port, target.host),
            kind: "TLSA",
            records,
            failed,
            dnssec,
            took: began.elapsed(),
        })
    }

    /// Where servers that look for us are led, as far as our own resolver knows.
    pub(super) async fn found_at(&self) -> (Vec<String>, Option<ResolveError>) {
        if !self.configured || self.pair.local.is_ip() || is_onion(self.pair.local.ascii()) {
            return (Vec::new(), None);
        }
        let asked = async {
            let dns = &self.shared.dns;
            let targets = dns.targets(&self.pair.local, TlsMode::Optional).await?;
            let (mut found, mut last) = (Vec::new(), None);
            for target in targets {
                match dns.addresses(&target).await {
                    Ok(_) => found.push(target.to_string()),
                    Err(why) => last = Some(why),
                }
            }
            match (found.is_empty(), last) {
                (true, Some(why)) => Err(why),
                _ => Ok(found),
            }
        };
        match timeout(ANSWER_TIMEOUT, asked).await {
            Ok(Ok(found)) => (found, None),
            Ok(Err(why)) => (Vec::new(), Some(why)),
            Err(_) => (Vec::new(), Some(late())),
        }
    }
}

fn late() -> ResolveError {
    ResolveError::Unanswered(format!("none in {} seconds", ANSWER_TIMEOUT.as_secs()).into())
}

/// As a zone file has it.
fn record(srv: &Srv) -> PeerText {
    let Srv {
        priority,
        weight,
        port,
        target,
    } = srv;
    format!("{priority} {weight} {port} {target}").into()
}
