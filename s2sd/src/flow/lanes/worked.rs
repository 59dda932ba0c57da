//! The pairs of domains that had a stream within hours: a peer that refuses one of these may just be starting up.
//!
//! Pure: the clock is an argument. Hashes in two generations, and it forgets the older: it remembers a pair for three
//! hours at least and six at most, unless thousands of others come after it.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use crate::protocol::negotiate::DomainPair;

/// So long is a generation,
const GENERATION: Duration = Duration::from_secs(3 * 60 * 60);
/// and so many pairs are in it.
const MAX_PAIRS: usize = 16_384;

/// Those pairs.
#[derive(Debug, Default)]
pub(super) struct Worked {
    young: HashSet<u64>,
    old: HashSet<u64>,
    since: Option<Instant>,
    keys: RandomState,
}

impl Worked {
    /// The pair has a stream, or had one until now.
    pub(super) fn note(&mut self, now: Instant, pair: &DomainPair) {
        self.age(now);
        if self.young.len() >= MAX_PAIRS {
            self.turn(now);
        }
        self.young.insert(self.keys.hash_one(pair));
    }

    /// Whether it had one within hours.
    pub(super) fn knows(&mut self, now: Instant, pair: &DomainPair) -> bool {
        self.age(now);
        let hash = self.keys.hash_one(pair);
        self.young.contains(&hash) || self.old.contains(&hash)
    }

    fn age(&mut self, now: Instant) {
        let since = *self.since.get_or_insert(now);
        let age = now.duration_since(since);
        if age >= GENERATION {
            self.turn(now);
            if age >= 2 * GENERATION {
                self.old = HashSet::new();
            }
        }
    }

    fn turn(&mut self, now: Instant) {
        self.old = std::mem::take(&mut self.young);
        self.since = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use xmpp_stream::Domain;

    use super::*;

    fn pair(number: usize) -> DomainPair {
        DomainPair {
            local: Domain::parse("a.test").unwrap(),
            remote: Domain::parse(&format!("{number}.test")).unwrap(),
        }
    }

    #[test]
    fn a_pair_that_worked_is_known_for_hours_and_not_for_a_day() {
        let mut worked = Worked::default();
        let start = Instant::now();
        let at = |hours: u64| start + Duration::from_secs(hours * 3600);
        worked.note(start, &pair(1));
        worked.note(at(2), &pair(2));
        assert!(worked.knows(at(3), &pair(1)) && worked.knows(at(5), &pair(2)));
        assert!(!worked.knows(at(5), &pair(3)));
        assert!(!worked.knows(at(6), &pair(1)));
        worked.note(at(6), &pair(4));
        assert!(!worked.knows(at(30), &pair(4)));
    }

    #[test]
    fn however_many_worked_there_is_an_end() {
        let mut worked = Worked::default();
        let start = Instant::now();
        for number in 0..5 * MAX_PAIRS {
            worked.note(start, &pair(number));
        }
        assert!(worked.young.len() <= MAX_PAIRS && worked.old.len() <= MAX_PAIRS);
        assert!(worked.knows(start, &pair(5 * MAX_PAIRS - 1)));
        assert!(
            worked.knows(start, &pair(4 * MAX_PAIRS)),
            "the last thousands"
        );
        assert!(!worked.knows(start, &pair(0)));
    }
}
