//! How often the secret of a component may be tried: after a failure the next attempt from that address for that domain
//! waits, longer each time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use xmpp_stream::Domain;

use crate::network::Network;

/// After the first failure; twice that after the next.
const FIRST: Duration = Duration::from_millis(500);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(15);
/// Failures are forgotten after this time without another.
const FORGOTTEN: Duration = Duration::from_secs(10 * 60);
/// How many addresses and domains are remembered.
const MAX_REMEMBERED: usize = 1024;

/// What failed lately.
#[derive(Debug, Default)]
pub(crate) struct Throttle(HashMap<(Network, Domain), Failed>);

#[derive(Debug)]
struct Failed {
    times: u32,
    last: Instant,
    /// When the next attempt may be looked at.
    next: Instant,
}

impl Failed {
    fn pause(&self) -> Duration {
        let doubled = FIRST.saturating_mul(1 << self.times.saturating_sub(1).min(16));
        doubled.min(LONGEST)
    }
}

impl Throttle {
    /// When an attempt may be checked. Attempts at the same time wait one after the other. `None`: not before `until`.
    pub(crate) fn attempt(
        &mut self,
        from: IpAddr,
        domain: &Domain,
        now: Instant,
        until: Instant,
    ) -> Option<Instant> {
        let key = (Network::host(from), domain.clone());
        let Some(failed) = self.0.get_mut(&key) else {
            return Some(now);
        };
        if is_forgotten(failed, now) {
            self.0.remove(&key);
            return Some(now);
        }
        let at = failed.next.max(now);
        if at > until {
            return None;
        }
        failed.next = at + failed.pause();
        Some(at)
    }

    /// An attempt failed: how many did, and how long the next one waits.
    pub(crate) fn failed(
        &mut self,
        from: IpAddr,
        domain: &Domain,
        now: Instant,
    ) -> (u32, Duration) {
        let key = (Network::host(from), domain.clone());
        if self.0.len() >= MAX_REMEMBERED && !self.0.contains_key(&key) {
            self.0.retain(|_, failed| !is_forgotten(failed, now));
        }
        if self.0.len() >= MAX_REMEMBERED && !self.0.contains_key(&key) {
            let oldest = self.0.iter().min_by_key(|(_, failed)| failed.last);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.0.remove(&oldest);
            }
        }
        let failed = self.0.entry(key).or_insert(Failed {
            times: 0,
            last: now,
            next: now,
        });
        failed.times = failed.times.saturating_add(1);
        failed.last = now;
        let pause = failed.pause();
        failed.next = failed.next.max(now + pause);
        (failed.times, pause)
    }

    /// An attempt succeeded.
    pub(crate) fn succeeded(&mut self, from: IpAddr, domain: &Domain) {
        self.0.remove(&(Network::host(from), domain.clone()));
    }
}

fn is_forgotten(failed: &Failed, now: Instant) -> bool {
    now.saturating_duration_since(failed.last) >= FORGOTTEN
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> IpAddr {
        "192.0.2.1".parse().unwrap()
    }

    fn domain(name: &str) -> Domain {
        Domain::parse(name).unwrap()
    }

    #[test]
    fn each_failure_makes_the_next_attempt_wait_longer() {
        let (mut throttle, mut now) = (Throttle::default(), Instant::now());
        let (a, far) = (domain("a.test"), Duration::from_secs(3600));
        assert_eq!(throttle.attempt(here(), &a, now, now), Some(now));
        for (times, millis) in (1..).zip([500, 1000, 2000, 4000, 8000, 15_000, 15_000]) {
            let pause = Duration::from_millis(millis);
            assert_eq!(throttle.failed(here(), &a, now), (times, pause));
            let next = throttle.attempt(here(), &a, now, now + far).unwrap();
            assert!(next >= now + pause, "after {times} failures");
            now = next;
        }
        // Another domain, and another address, have nothing to do with it.
        let (b, other) = (domain("b.test"), "192.0.2.2".parse().unwrap());
        assert_eq!(throttle.attempt(here(), &b, now, now), Some(now));
        assert_eq!(throttle.attempt(other, &a, now, now), Some(now));
        throttle.succeeded(here(), &a);
        assert_eq!(throttle.attempt(here(), &a, now, now), Some(now));
    }

    #[test]
    fn many_attempts_at_once_wait_one_after_the_other_and_the_rest_is_refused() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        let (a, minute) = (domain("a.test"), Duration::from_secs(60));
        for _ in 0..6 {
            throttle.failed(here(), &a, now);
        }
        let mut attempts =
            std::iter::repeat_with(|| throttle.attempt(here(), &a, now, now + minute));
        let first = attempts.next().unwrap().unwrap();
        for number in 1..4 {
            let next = attempts.next().unwrap();
            assert_eq!(next, Some(first + LONGEST * number));
        }
        assert!(attempts.take(1000).all(|it| it.is_none()));
    }

    #[test]
    fn failures_are_forgotten_and_of_many_the_oldest() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        let a = domain("a.test");
        throttle.failed(here(), &a, now);
        let later = now + FORGOTTEN;
        assert_eq!(throttle.attempt(here(), &a, later, later), Some(later));
        throttle.failed(here(), &a, now);
        for number in 0..MAX_REMEMBERED {
            let other = domain(&format!("{number}.test"));
            throttle.failed(here(), &other, now + FIRST);
        }
        assert_eq!(throttle.0.len(), MAX_REMEMBERED);
        assert_eq!(throttle.attempt(here(), &a, now, now), Some(now));
    }
}
