//! How many connections to elsewhere one site has us try: a key of 65 bytes leads to sixteen addresses that its sender
//! chooses, and there may be a thousand connections with ten keys each.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::network::Network;

/// So many at once,
const AT_ONCE: u32 = 64;
/// and then one in this time.
const EACH: Duration = Duration::from_millis(250);
/// So many sites are told apart.
const MAX_SITES: usize = 1024;

/// When what each site has used is paid for by time.
#[derive(Debug, Default)]
pub(crate) struct AttemptLimit(HashMap<Network, Instant>);

impl AttemptLimit {
    /// One is about to be made because of somebody at this address. `false`: it has used up what it may.
    pub(crate) fn take(&mut self, address: IpAddr, now: Instant) -> bool {
        let site = Network::site(address);
        if self.0.len() >= MAX_SITES && !self.0.contains_key(&site) {
            self.make_room(now);
        }
        let paid = self.0.entry(site).or_insert(now);
        let after = (*paid).max(now) + EACH;
        let is_allowed = after <= now + EACH * AT_ONCE;
        if is_allowed {
            *paid = after;
        }
        is_allowed
    }

    /// Those that have paid are forgotten, or else the one that has used least.
    fn make_room(&mut self, now: Instant) {
        self.0.retain(|_, paid| *paid > now);
        if self.0.len() < MAX_SITES {
            return;
        }
        let least = self.0.iter().min_by_key(|(_, paid)| **paid);
        if let Some(least) = least.map(|(site, _)| *site) {
            self.0.remove(&least);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_site_has_so_many_attempts_at_once_and_one_more_with_time() {
        let (mut limit, mut now) = (AttemptLimit::default(), Instant::now());
        let granted = |limit: &mut AttemptLimit, now| {
            let hosts = (1..=250).map(|host| address(&format!("192.0.2.{host}")));
            hosts.filter(|host| limit.take(*host, now)).count()
        };
        assert_eq!(granted(&mut limit, now), 64);
        assert!(limit.take(address("198.51.100.1"), now));
        now += 10 * EACH;
        assert_eq!(granted(&mut limit, now), 10);
        now += 1000 * EACH;
        assert_eq!(granted(&mut limit, now), 64);
    }

    #[test]
    fn many_sites_are_told_apart_and_those_that_used_most_longest() {
        let (mut limit, now) = (AttemptLimit::default(), Instant::now());
        while limit.take(address("192.0.2.1"), now) {}
        for site in 0..5000_u32 {
            limit.take(IpAddr::from((site << 8).to_be_bytes()), now);
        }
        assert_eq!(limit.0.len(), MAX_SITES);
        assert!(!limit.take(address("192.0.2.1"), now));
        let later = now + EACH * AT_ONCE;
        limit.take(address("203.0.113.1"), later);
        assert_eq!(limit.0.len(), 1);
    }
}
