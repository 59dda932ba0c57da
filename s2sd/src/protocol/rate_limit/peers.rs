//! The buckets of each domain, for all its streams: more streams are not more speed, and a new stream inherits the
//! debt.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use xmpp_stream::Domain;

use super::PeerBuckets;
use crate::config::Policy;

/// From this number on, buckets that are full and on no stream are removed.
const SWEEP_FROM: usize = 256;

/// The buckets of all peers that have a limit.
#[derive(Debug, Default)]
pub(crate) struct RateLimiter(Mutex<HashMap<Domain, Arc<SharedBuckets>>>);

#[derive(Debug)]
struct SharedBuckets(Mutex<PeerBuckets>);

impl SharedBuckets {
    fn with<T>(&self, work: impl FnOnce(&mut PeerBuckets) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl RateLimiter {
    fn of(&self, domain: &Domain, policy: &Policy, now: Instant) -> Option<Arc<SharedBuckets>> {
        let wanted = PeerBuckets::of(policy, now)?;
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Bounded by the domains that have a stream, and those that still owe something.
        if all.len() >= SWEEP_FROM && !all.contains_key(domain) {
            all.retain(|_, buckets| {
                Arc::strong_count(buckets) > 1 || !buckets.with(|buckets| buckets.is_full(now))
            });
        }
        let buckets = all
            .entry(domain.clone())
            .or_insert_with(|| Arc::new(SharedBuckets(Mutex::new(wanted.clone()))));
        buckets.with(|buckets| buckets.adjust(&wanted));
        Some(Arc::clone(buckets))
    }
}

/// The buckets that one stream takes from: those of the domains proved on it.
#[derive(Debug, Default)]
pub(crate) struct StreamBuckets(Vec<(Domain, Arc<SharedBuckets>)>);

impl StreamBuckets {
    /// A domain was proved.
    pub(crate) fn add(
        &mut self,
        rate_limiter: &RateLimiter,
        domain: &Domain,
        policy: &Policy,
        now: Instant,
    ) {
        if self.0.iter().all(|(known, _)| known != domain)
            && let Some(buckets) = rate_limiter.of(domain, policy, now)
        {
            self.0.push((domain.clone(), buckets));
        }
    }

    /// Whether any limit is to be kept.
    pub(crate) fn is_any(&self) -> bool {
        !self.0.is_empty()
    }

    /// Bytes came. We do not know for which domain, so they count for every domain of the stream.
    pub(crate) fn bytes(&self, count: u64, now: Instant) {
        for (_, buckets) in &self.0 {
            buckets.with(|buckets| buckets.bytes(count, now));
        }
    }

    /// A stanza of this domain came.
    pub(crate) fn stanza(&self, domain: &Domain, now: Instant) {
        if let Some((_, buckets)) = self.0.iter().find(|(known, _)| known == domain) {
            buckets.with(|buckets| buckets.stanza(now));
        }
    }

    /// When more may be read; none: at once.
    pub(crate) fn pause(&self, now: Instant) -> Option<Instant> {
        let pauses = self.0.iter();
        pauses
            .filter_map(|(_, buckets)| buckets.with(|buckets| buckets.pause(now)))
            .max()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn domain(name: &str) -> Domain {
        Domain::parse(name).unwrap()
    }

    fn one_a_second() -> Policy {
        Policy {
            stanzas_per_second: 1,
            ..Policy::default()
        }
    }

    fn stream(rate_limiter: &RateLimiter, name: &str, now: Instant) -> StreamBuckets {
        let mut buckets = StreamBuckets::default();
        buckets.add(rate_limiter, &domain(name), &one_a_second(), now);
        buckets
    }

    #[test]
    fn two_streams_of_a_domain_take_from_the_same_buckets() {
        let (rate_limiter, now) = (RateLimiter::default(), Instant::now());
        let (one, two) = (
            stream(&rate_limiter, "a.test", now),
            stream(&rate_limiter, "a.test", now),
        );
        let other = stream(&rate_limiter, "b.test", now);
        one.stanza(&domain("a.test"), now);
        assert_eq!(two.pause(now), None);
        two.stanza(&domain("a.test"), now);
        assert_eq!(one.pause(now), Some(now + Duration::from_secs(1)));
        assert_eq!(other.pause(now), None);
    }

    #[test]
    fn a_new_stream_takes_over_what_is_owed() {
        let (rate_limiter, now) = (RateLimiter::default(), Instant::now());
        let first = stream(&rate_limiter, "a.test", now);
        for _ in 0..3 {
            first.stanza(&domain("a.test"), now);
        }
        drop(first);
        let second = stream(&rate_limiter, "a.test", now);
        assert_eq!(second.pause(now), Some(now + Duration::from_secs(2)));
    }

    #[test]
    fn who_owes_nothing_is_forgotten_where_there_are_many() {
        let (rate_limiter, now) = (RateLimiter::default(), Instant::now());
        let open = stream(&rate_limiter, "open.test", now);
        let owing = stream(&rate_limiter, "owing.test", now);
        owing.stanza(&domain("owing.test"), now);
        drop(owing);
        for number in 0..2 * SWEEP_FROM {
            drop(stream(&rate_limiter, &format!("{number}.test"), now));
        }
        let known = rate_limiter.0.lock().unwrap();
        assert!(known.len() <= SWEEP_FROM);
        assert!(known.contains_key(&domain("owing.test")));
        assert!(known.contains_key(&domain("open.test")));
        drop(open);
    }

    #[test]
    fn a_stanza_counts_for_its_domain_and_a_byte_for_all_of_the_stream() {
        let (rate_limiter, now) = (RateLimiter::default(), Instant::now());
        let mut buckets = stream(&rate_limiter, "a.test", now);
        let policy = Policy {
            bytes_per_second: 100,
            ..one_a_second()
        };
        buckets.add(&rate_limiter, &domain("b.test"), &policy, now);
        buckets.add(&rate_limiter, &domain("c.test"), &Policy::default(), now);
        assert_eq!(buckets.0.len(), 2);
        buckets.stanza(&domain("c.test"), now);
        buckets.stanza(&domain("a.test"), now);
        buckets.stanza(&domain("b.test"), now);
        assert_eq!(buckets.pause(now), None);
        buckets.bytes(400, now);
        assert_eq!(buckets.pause(now), Some(now + Duration::from_secs(3)));
    }
}
