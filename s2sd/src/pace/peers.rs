//! Whose pace is which: a domain has one for all its streams, so more streams are not more speed, and a new stream does
//! not begin with nothing owed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use xmpp_stream::Domain;

use super::Pace;
use crate::config::Policy;

/// From here on paces that nobody needs any more are looked for.
const MANY: usize = 256;

/// The paces of all peers that have a limit.
#[derive(Debug, Default)]
pub(crate) struct Paces(Mutex<HashMap<Domain, Arc<Shared>>>);

#[derive(Debug)]
struct Shared(Mutex<Pace>);

impl Shared {
    fn with<T>(&self, work: impl FnOnce(&mut Pace) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Paces {
    fn of(&self, domain: &Domain, policy: &Policy, now: Instant) -> Option<Arc<Shared>> {
        let wanted = Pace::of(policy, now)?;
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Bounded by the domains that have a stream, and those that still owe something.
        if all.len() >= MANY && !all.contains_key(domain) {
            all.retain(|_, pace| {
                Arc::strong_count(pace) > 1 || !pace.with(|pace| pace.is_rested(now))
            });
        }
        let pace = all
            .entry(domain.clone())
            .or_insert_with(|| Arc::new(Shared(Mutex::new(wanted.clone()))));
        pace.with(|pace| pace.adjust(&wanted));
        Some(Arc::clone(pace))
    }
}

/// The paces that one stream keeps: those of the domains proved on it.
#[derive(Debug, Default)]
pub(crate) struct Kept(Vec<(Domain, Arc<Shared>)>);

impl Kept {
    /// A domain was proved.
    pub(crate) fn add(&mut self, paces: &Paces, domain: &Domain, policy: &Policy, now: Instant) {
        if self.0.iter().all(|(known, _)| known != domain)
            && let Some(pace) = paces.of(domain, policy, now)
        {
            self.0.push((domain.clone(), pace));
        }
    }

    /// Whether any limit is to be kept.
    pub(crate) fn is_any(&self) -> bool {
        !self.0.is_empty()
    }

    /// Bytes came. Nobody knows for whom, so they count for every domain of the stream.
    pub(crate) fn bytes(&self, count: u64, now: Instant) {
        for (_, pace) in &self.0 {
            pace.with(|pace| pace.bytes(count, now));
        }
    }

    /// A stanza of this domain came.
    pub(crate) fn stanza(&self, domain: &Domain, now: Instant) {
        if let Some((_, pace)) = self.0.iter().find(|(known, _)| known == domain) {
            pace.with(|pace| pace.stanza(now));
        }
    }

    /// When more may be read; none: at once.
    pub(crate) fn pause(&self, now: Instant) -> Option<Instant> {
        let pauses = self.0.iter();
        pauses
            .filter_map(|(_, pace)| pace.with(|pace| pace.pause(now)))
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

    fn stream(paces: &Paces, name: &str, now: Instant) -> Kept {
        let mut kept = Kept::default();
        kept.add(paces, &domain(name), &one_a_second(), now);
        kept
    }

    #[test]
    fn two_streams_of_a_domain_have_one_pace() {
        let (paces, now) = (Paces::default(), Instant::now());
        let (one, two) = (stream(&paces, "a.test", now), stream(&paces, "a.test", now));
        let other = stream(&paces, "b.test", now);
        one.stanza(&domain("a.test"), now);
        assert_eq!(two.pause(now), None);
        two.stanza(&domain("a.test"), now);
        assert_eq!(one.pause(now), Some(now + Duration::from_secs(1)));
        assert_eq!(other.pause(now), None);
    }

    #[test]
    fn a_new_stream_takes_over_what_is_owed() {
        let (paces, now) = (Paces::default(), Instant::now());
        let first = stream(&paces, "a.test", now);
        for _ in 0..3 {
            first.stanza(&domain("a.test"), now);
        }
        drop(first);
        let second = stream(&paces, "a.test", now);
        assert_eq!(second.pause(now), Some(now + Duration::from_secs(2)));
    }

    #[test]
    fn who_owes_nothing_is_forgotten_where_there_are_many() {
        let (paces, now) = (Paces::default(), Instant::now());
        let open = stream(&paces, "open.test", now);
        let owing = stream(&paces, "owing.test", now);
        owing.stanza(&domain("owing.test"), now);
        drop(owing);
        for number in 0..2 * MANY {
            drop(stream(&paces, &format!("{number}.test"), now));
        }
        let known = paces.0.lock().unwrap();
        assert!(known.len() <= MANY);
        assert!(known.contains_key(&domain("owing.test")));
        assert!(known.contains_key(&domain("open.test")));
        drop(open);
    }

    #[test]
    fn a_stanza_counts_for_its_domain_and_a_byte_for_all_of_the_stream() {
        let (paces, now) = (Paces::default(), Instant::now());
        let mut kept = stream(&paces, "a.test", now);
        let policy = Policy {
            bytes_per_second: 100,
            ..one_a_second()
        };
        kept.add(&paces, &domain("b.test"), &policy, now);
        kept.add(&paces, &domain("c.test"), &Policy::default(), now);
        assert_eq!(kept.0.len(), 2);
        kept.stanza(&domain("c.test"), now);
        kept.stanza(&domain("a.test"), now);
        kept.stanza(&domain("b.test"), now);
        assert_eq!(kept.pause(now), None);
        kept.bytes(400, now);
        assert_eq!(kept.pause(now), Some(now + Duration::from_secs(3)));
    }
}
