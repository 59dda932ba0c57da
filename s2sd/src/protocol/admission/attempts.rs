//! How many outgoing connections a peer may cause: a key of 65 bytes leads to sixteen addresses that its sender
//! chooses, and there may be a thousand connections with ten keys each.
//!
//! Each connection has sixteen, and more with time; so has each registered domain that we answer. A connection that
//! leads to a stream is given back, so that a peer with real servers goes on at once, for any number of them. All
//! connections of one site have a bound together.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use crate::network::Network;
use crate::protocol::budget::Owner;

/// The cause of a connection that is not for our own stanzas.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Causer {
    /// A connection, by the other end's address, that brought keys or certificates.
    Connection(SocketAddr),
    /// A registered domain that we answer.
    Answered(Owner),
}

impl Causer {
    /// Its address. Answered domains have none of their own: all of those wait together.
    pub(crate) fn address(&self) -> IpAddr {
        match self {
            Self::Connection(address) => address.ip(),
            Self::Answered(_) => Ipv4Addr::UNSPECIFIED.into(),
        }
    }
}

/// So many at once, and then one in this time.
#[derive(Clone, Copy, Debug)]
struct Rate {
    at_once: u32,
    each: Duration,
}

/// What one causer may have,
const OF_ONE: Rate = Rate {
    at_once: 16,
    each: Duration::from_secs(1),
};
/// and a site.
const OF_A_SITE: Rate = Rate {
    at_once: 64,
    each: Duration::from_millis(250),
};
/// The number of each kind that is counted apart.
const MAX_TOLD_APART: usize = 1024;

/// What each causer and each site has used.
#[derive(Debug, Default)]
pub(crate) struct AttemptLimit {
    causers: Used<Causer>,
    sites: Used<Network>,
}

impl AttemptLimit {
    /// One is about to be made because of it. When the next may be, if this may not.
    pub(crate) fn take_of_one(&mut self, causer: &Causer, now: Instant) -> Result<(), Instant> {
        self.causers.take(OF_ONE, causer, now)
    }

    /// One reached its target, or was not made: it does not count.
    pub(crate) fn give_back(&mut self, causer: &Causer) {
        if let Some(paid) = self.causers.0.get_mut(causer)
            && let Some(before) = paid.checked_sub(OF_ONE.each)
        {
            *paid = before;
        }
    }

    /// Whether its site may have it, too.
    pub(crate) fn take_of_site(&mut self, causer: &Causer, now: Instant) -> bool {
        let site = Network::site(causer.address());
        self.sites.take(OF_A_SITE, &site, now).is_ok()
    }
}

/// When what each has used is paid for by time.
#[derive(Debug)]
struct Used<K>(HashMap<K, Instant>);

impl<K> Default for Used<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Clone + Eq + Hash> Used<K> {
    fn take(&mut self, rate: Rate, key: &K, now: Instant) -> Result<(), Instant> {
        if self.0.len() >= MAX_TOLD_APART && !self.0.contains_key(key) {
            self.make_room(now);
        }
        let paid = self.0.entry(key.clone()).or_insert(now);
        let after = (*paid).max(now) + rate.each;
        let most = rate.each * rate.at_once;
        if after > now + most {
            return Err(after.checked_sub(most).unwrap_or(now));
        }
        *paid = after;
        Ok(())
    }

    /// Those that have paid are forgotten, or else the one that has used least.
    fn make_room(&mut self, now: Instant) {
        self.0.retain(|_, paid| *paid > now);
        if self.0.len() < MAX_TOLD_APART {
            return;
        }
        let least = self.0.iter().min_by_key(|(_, paid)| **paid);
        if let Some(least) = least.map(|(key, _)| key.clone()) {
            self.0.remove(&least);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(text: &str) -> Causer {
        Causer::Connection(text.parse().unwrap())
    }

    #[test]
    fn a_connection_has_sixteen_attempts_at_once_and_one_more_with_each_second() {
        let (mut limit, mut now) = (AttemptLimit::default(), Instant::now());
        let one = connection("192.0.2.1:1024");
        let granted = |limit: &mut AttemptLimit, now| {
            let mut count = 0;
            while limit.take_of_one(&one, now).is_ok() {
                count += 1;
            }
            count
        };
        assert_eq!(granted(&mut limit, now), 16);
        // Another of the same address has its own.
        assert!(
            limit
                .take_of_one(&connection("192.0.2.1:1025"), now)
                .is_ok()
        );
        now += 5 * OF_ONE.each;
        assert_eq!(granted(&mut limit, now), 5);
        let next = limit.take_of_one(&one, now).unwrap_err();
        assert_eq!(next, now + OF_ONE.each);
        assert_eq!(granted(&mut limit, next), 1);
        now += 1000 * OF_ONE.each;
        assert_eq!(granted(&mut limit, now), 16);
        limit.give_back(&one);
        limit.give_back(&one);
        assert_eq!(granted(&mut limit, now), 2);
    }

    #[test]
    fn a_site_has_so_many_attempts_at_once_and_one_more_with_time() {
        let (mut limit, mut now) = (AttemptLimit::default(), Instant::now());
        let granted = |limit: &mut AttemptLimit, now| {
            let hosts = (1..=250).map(|host| connection(&format!("192.0.2.{host}:1")));
            hosts.filter(|host| limit.take_of_site(host, now)).count()
        };
        assert_eq!(granted(&mut limit, now), 64);
        assert!(limit.take_of_site(&connection("198.51.100.1:1"), now));
        now += 10 * OF_A_SITE.each;
        assert_eq!(granted(&mut limit, now), 10);
        now += 1000 * OF_A_SITE.each;
        assert_eq!(granted(&mut limit, now), 64);
    }

    #[test]
    fn many_are_told_apart_and_those_that_used_most_longest() {
        let (mut limit, now) = (AttemptLimit::default(), Instant::now());
        let most = connection("192.0.2.1:1");
        while limit.take_of_site(&most, now) {}
        while limit.take_of_one(&most, now).is_ok() {}
        for site in 0..5000_u32 {
            let address = IpAddr::from((site << 8).to_be_bytes());
            let other = Causer::Connection((address, 1).into());
            limit.take_of_site(&other, now);
            let _ = limit.take_of_one(&other, now);
        }
        assert_eq!(limit.sites.0.len(), MAX_TOLD_APART);
        assert_eq!(limit.causers.0.len(), MAX_TOLD_APART);
        assert!(!limit.take_of_site(&most, now));
        assert!(limit.take_of_one(&most, now).is_err());
        let later = now + OF_ONE.each * OF_ONE.at_once;
        let other = connection("203.0.113.1:1");
        limit.take_of_site(&other, later);
        let _ = limit.take_of_one(&other, later);
        assert_eq!((limit.sites.0.len(), limit.causers.0.len()), (1, 1));
    }
}
