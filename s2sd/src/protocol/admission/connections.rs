//! Limits on connections, as a value: they count by origin until they are authenticated, then by domain too. RFC 6120
//! §13.12 and XEP-0205 ask for such limits.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use xmpp_stream::Domain;

use super::known::Known;
use super::refusals::Refusal;
use crate::config::Limits;
use crate::network::Network;

/// This part of the servers' places is kept for networks whose domains authenticated lately.
const RESERVED: usize = 8;
/// A site may have this many times what a host may have.
const HOSTS_PER_SITE: usize = 4;
/// Where places are scarce, so many sites have to work together to take all of them.
const SITES: usize = 4;
/// A stream is silent when it was so for this part of `limits.idle`.
const SILENT: u32 = 60;

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// In all.
    pub(crate) total: usize,
    /// Of these, for hosts that authenticated lately and have few.
    pub(crate) reserved: usize,
    /// Of one host, not authenticated.
    pub(crate) host_unauthenticated: usize,
    /// Of one site, not authenticated.
    pub(crate) site_unauthenticated: usize,
    /// Of one site, whether authenticated or not.
    pub(crate) site: usize,
    /// Authenticated, of one domain.
    pub(crate) domain: usize,
    /// A stream that was silent for so long gives way to a new one of its domain.
    pub(crate) silence: Duration,
}

impl Bounds {
    /// For servers. A peer may have a stream to each of the domains served here. `places`: for so many there are
    /// descriptors; where those are fewer than are configured, one site has no more than a part of them.
    pub(crate) fn servers(limits: &Limits, served: usize, places: usize) -> Self {
        let total = limits.inbound.min(places);
        let part = |most: usize, of: usize| match total < limits.inbound {
            true => most.min((total / of).max(1)),
            false => most,
        };
        let site = limits.inbound_per_address.saturating_mul(HOSTS_PER_SITE);
        Self {
            total,
            reserved: total / RESERVED,
            host_unauthenticated: part(limits.inbound_per_address, SITES * HOSTS_PER_SITE),
            site_unauthenticated: part(site, SITES),
            site: part(limits.inbound_per_network, SITES),
            domain: limits.inbound_per_domain.max(served),
            silence: limits.idle / SILENT,
        }
    }

    /// For our own components.
    pub(crate) fn components(limits: &Limits) -> Self {
        Self {
            total: limits.components,
            reserved: 0,
            host_unauthenticated: limits.inbound_per_address,
            site_unauthenticated: limits.inbound_per_address.saturating_mul(HOSTS_PER_SITE),
            site: usize::MAX,
            domain: usize::MAX,
            silence: limits.idle,
        }
    }
}

/// A connection's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Id(u64);

/// The connections of one kind that there are.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    next: u64,
    open: HashMap<Id, Open>,
    hosts: Counts,
    sites: Counts,
    domains: HashMap<Domain, Vec<Id>>,
    known: Known,
}

#[derive(Debug)]
struct Open {
    address: IpAddr,
    authenticated: bool,
    domains: Vec<Domain>,
}

impl Connections {
    /// A connection from this address was accepted: may it stay?
    pub(crate) fn admit(
        &mut self,
        address: IpAddr,
        bounds: &Bounds,
        now: Instant,
    ) -> Result<Id, Refusal> {
        let host = self.hosts.of(Network::host(address));
        let site = self.sites.of(Network::site(address));
        unauthenticated(host, site, bounds)?;
        if site.all >= bounds.site {
            return Err(Refusal::Site);
        }
        if self.open.len() >= bounds.total {
            return Err(Refusal::Full);
        }
        // In the last places only those are let in that authenticated lately and have few.
        if self.open.len() >= bounds.total.saturating_sub(bounds.reserved)
            && !(self.known.has(Network::host(address), now) && host.all < bounds.domain)
        {
            return Err(Refusal::Reserved);
        }
        let id = Id(self.next);
        self.next += 1;
        self.open.insert(
            id,
            Open {
                address,
                authenticated: false,
                domains: Vec::new(),
            },
        );
        self.count(address, |count| {
            count.all += 1;
            count.unauthenticated += 1;
        });
        Ok(id)
    }

    /// A domain is about to be proved on it: is there a place for one more stream of the domain? It may take the place
    /// of another stream; the caller gets its name and has to close it.
    pub(crate) fn authenticate(
        &mut self,
        id: Id,
        domain: &Domain,
        bounds: &Bounds,
        now: Instant,
        heard: impl Fn(Id) -> Instant,
    ) -> Result<Option<Id>, Refusal> {
        let Some(open) = self.open.get(&id) else {
            return Ok(None);
        };
        let address = open.address;
        let mut replaced = None;
        if !open.domains.contains(domain) {
            let streams = self.domains.get(domain).map_or(&[][..], Vec::as_slice);
            if streams.len() >= bounds.domain {
                // A peer that lost its connections without a word is not locked out by them.
                let quietest = streams.iter().map(|id| (heard(*id), *id)).min();
                let silent = |heard| now.saturating_duration_since(heard) >= bounds.silence;
                match quietest.filter(|(heard, other)| silent(*heard) && *other != id) {
                    Some((_, quietest)) => {
                        self.leave(quietest);
                        replaced = Some(quietest);
                    }
                    None => return Err(Refusal::Domain),
                }
            }
            self.domains.entry(domain.clone()).or_default().push(id);
        }
        let Some(open) = self.open.get_mut(&id) else {
            return Ok(replaced);
        };
        if !open.domains.contains(domain) {
            open.domains.push(domain.clone());
        }
        if !std::mem::replace(&mut open.authenticated, true) {
            self.count(address, |count| count.unauthenticated -= 1);
        }
        self.known.observe(Network::host(address), now);
        Ok(replaced)
    }

    /// A connection without domains, of a component, is authenticated.
    pub(crate) fn attach(&mut self, id: Id) {
        if let Some(open) = self.open.get_mut(&id)
            && !std::mem::replace(&mut open.authenticated, true)
        {
            let address = open.address;
            self.count(address, |count| count.unauthenticated -= 1);
        }
    }

    /// Forgets the proofs on it: it counts as in the beginning, if there is room for that.
    pub(crate) fn forget(&mut self, id: Id, bounds: &Bounds) -> Result<(), Refusal> {
        let Some(open) = self.open.get(&id).filter(|open| open.authenticated) else {
            return Ok(());
        };
        let address = open.address;
        let host = self.hosts.of(Network::host(address));
        let site = self.sites.of(Network::site(address));
        unauthenticated(host, site, bounds)?;
        self.leave(id);
        if let Some(open) = self.open.get_mut(&id) {
            open.authenticated = false;
        }
        self.count(address, |count| count.unauthenticated += 1);
        Ok(())
    }

    /// It is over.
    pub(crate) fn close(&mut self, id: Id, now: Instant) {
        self.leave(id);
        let Some(open) = self.open.remove(&id) else {
            return;
        };
        self.count(open.address, |count| {
            count.all -= 1;
            if !open.authenticated {
                count.unauthenticated -= 1;
            }
        });
        if open.authenticated {
            self.known.observe(Network::host(open.address), now);
        }
        give_back(&mut self.open);
    }

    /// Those that are authenticated, and those that are not.
    pub(crate) fn numbers(&self) -> (usize, usize) {
        let unauthenticated = self.sites.0.values().map(|it| it.unauthenticated).sum();
        (self.open.len() - unauthenticated, unauthenticated)
    }

    /// It is no domain's stream any more.
    fn leave(&mut self, id: Id) {
        let domains = match self.open.get_mut(&id) {
            Some(open) => std::mem::take(&mut open.domains),
            None => return,
        };
        for domain in domains {
            if let Some(streams) = self.domains.get_mut(&domain) {
                streams.retain(|other| *other != id);
                if streams.is_empty() {
                    self.domains.remove(&domain);
                }
            }
        }
        give_back(&mut self.domains);
    }

    fn count(&mut self, address: IpAddr, change: impl Fn(&mut Count)) {
        self.hosts.change(Network::host(address), &change);
        self.sites.change(Network::site(address), &change);
    }
}

fn unauthenticated(host: Count, site: Count, bounds: &Bounds) -> Result<(), Refusal> {
    if host.unauthenticated >= bounds.host_unauthenticated {
        return Err(Refusal::HostUnauthenticated);
    }
    if site.unauthenticated >= bounds.site_unauthenticated {
        return Err(Refusal::SiteUnauthenticated);
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    all: usize,
    unauthenticated: usize,
}

/// By network. Those without connections are not in it, so it is bounded by the connections.
#[derive(Debug, Default)]
struct Counts(HashMap<Network, Count>);

impl Counts {
    fn of(&self, network: Network) -> Count {
        self.0.get(&network).copied().unwrap_or_default()
    }

    fn change(&mut self, network: Network, change: impl Fn(&mut Count)) {
        let count = self.0.entry(network).or_default();
        change(count);
        if *count == Count::default() {
            self.0.remove(&network);
            give_back(&mut self.0);
        }
    }
}

/// The memory of a map that once was large.
fn give_back<K: Eq + Hash, V>(map: &mut HashMap<K, V>) {
    if map.capacity() > 1024 && map.len() < map.capacity() / 8 {
        map.shrink_to(map.len() * 2);
    }
}

#[cfg(test)]
mod tests;
