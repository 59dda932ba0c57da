//! What others find when they look for a domain that is served here: the places, and what the DNS says of the
//! certificate that is shown there.

use std::sync::Arc;

use rustls::pki_types::UnixTime;
use xmpp_stream::Domain;

use crate::config::{Policy, TlsMode};
use crate::net::resolve::{AddressRule, Dns};
use crate::protocol::plan::{ResolveError, Target};
use crate::trust::{Matching, PeerChain, Roots, Selector, Tlsa, Usage, dane};

/// A domain of ours, with what others would see of it.
pub(super) struct Own {
    pub(super) dns: Dns,
    pub(super) domain: Domain,
    pub(super) chain: Option<PeerChain>,
    pub(super) roots: Arc<Roots>,
    /// The rules for all peers: in a network of its own the others have the same.
    pub(super) policy: Arc<Policy>,
}

impl Own {
    /// Where others look for it, and what is wrong with single places.
    pub(super) async fn look_up(&self) -> (Result<Vec<String>, ResolveError>, Vec<String>) {
        let targets = match self.dns.targets(&self.domain, TlsMode::Optional).await {
            Ok(targets) => targets,
            Err(why) => return (Err(why), Vec::new()),
        };
        let (mut places, mut faults, mut last) = (Vec::new(), Vec::new(), ResolveError::NotFound);
        for target in targets {
            match self.dns.addresses(&target).await {
                Ok(found) => {
                    places.push(target.to_string());
                    let (left, out) = AddressRule::of(&target, &self.policy).sort_out(found.all);
                    faults.extend(out.filter(|_| left.is_empty()).map(|out| {
                        format!(
                            "{target}, where servers with `addresses = \"public\"` do not connect: {}; in a network of \
                             your own, set `addresses = \"any\"` in {}",
                            out.what(),
                            self.policy.rule
                        )
                    }));
                    faults.extend(self.contradicted(&target).await);
                }
                // A server that comes through Tor asks no DNS.
                Err(ResolveError::Onion) => {
                    places.push(target.to_string());
                    faults.extend(self.contradicted(&target).await);
                }
                Err(why) => {
                    // No record names the domain itself as a machine: the fault is the domain's, below.
                    if target.host.to_string() != self.domain.ascii() {
                        let place = &target.host;
                        faults.push(match &why {
                            ResolveError::NotFound => format!("{place}, which has no address"),
                            why => format!("{place}: {why}"),
                        });
                    }
                    last = why;
                }
            }
        }
        match places.is_empty() {
            true => (Err(last), faults),
            false => (Ok(places), faults),
        }
    }

    /// A server that validates does not connect to a place, or does not believe the certificate there (RFC 7673 §3.4, §4.2).
    async fn contradicted(&self, target: &Target) -> Option<String> {
        let set = match self.dns.tlsa(target).await {
            Ok(set) => set?,
            Err(ResolveError::Onion) => return None,
            Err(why) => return Some(format!("{target}, but those who know DANE do not: {why}")),
        };
        let Some(chain) = &self.chain else {
            let name = set.name;
            return Some(format!(
                "{target}, but those who know DANE do not: there are TLSA records at {name}, and no certificate here"
            ));
        };
        let mut names = vec![self.domain.clone()];
        names.extend(Domain::parse(&target.host.to_string()));
        if dane::matches(&set, chain, &self.roots, &names, UnixTime::now()).is_some() {
            return None;
        }
        let (usage, selector, matching) = (Usage::DaneEe, Selector::Spki, Matching::Sha256);
        let right = Tlsa::of(usage, selector, matching, chain.leaf())?;
        Some(format!(
            "{target}, but those who know DANE do not believe the certificate: no TLSA record at {} is for it; \"3 1 1 {}\" \
             would be",
            set.name,
            right.hex()
        ))
    }
}
