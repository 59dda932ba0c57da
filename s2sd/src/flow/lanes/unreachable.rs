//! Servers that cannot be reached: a line for each and for each change of reason, and one a minute for all attempts between.
//!
//! Pure: the clock is an argument.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use xmpp_stream::Domain;

/// How often the log sums up all attempts without a line of their own. Within it, a domain has no two lines with one
/// reason.
pub(super) const SUMMARY: Duration = Duration::from_secs(60);
/// A domain without an attempt for so long is forgotten: more than the longest pause by default.
const FORGET: Duration = Duration::from_secs(10 * 60);
/// The number of domains that are counted apart.
const MAX_DOMAINS: usize = 4096;

/// Those that there were attempts to reach.
#[derive(Debug, Default)]
pub(super) struct Unreachable {
    known: HashMap<Domain, Known>,
    /// Attempts without a line since the last sum.
    unsaid: u64,
    is_told: bool,
}

#[derive(Debug)]
struct Known {
    /// Why not, the last time that there was a line.
    cause: &'static str,
    /// Which reasons had a line within [`SUMMARY`], and when: there are as many as there are causes.
    said: Vec<(&'static str, Instant)>,
    last: Instant,
}

impl Known {
    /// Whether this is a new reason, without a line of its own lately.
    fn says(&mut self, now: Instant, cause: &'static str) -> bool {
        self.last = now;
        self.said
            .retain(|(_, when)| now.duration_since(*when) < SUMMARY);
        if self.cause == cause || self.said.iter().any(|(said, _)| *said == cause) {
            return false;
        }
        self.said.push((cause, now));
        self.cause = cause;
        true
    }
}

/// What the log has to say about a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failed {
    /// It is the first, or has another reason than the one before.
    pub(super) says: bool,
    /// The caller has to call [`Unreachable::sum`] every [`SUMMARY`], until there is nothing to sum up.
    pub(super) begins: bool,
}

/// What there was in a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sum {
    /// Domains that are not reached at this time.
    pub(super) domains: usize,
    /// Attempts without a line of their own.
    pub(super) attempts: u64,
}

impl Unreachable {
    /// An attempt failed.
    pub(super) fn failed(&mut self, now: Instant, domain: &Domain, cause: &'static str) -> Failed {
        let has_room = self.known.len() < MAX_DOMAINS;
        let says = match self.known.get_mut(domain) {
            Some(known) => known.says(now, cause),
            None if has_room => {
                let known = Known {
                    cause,
                    said: vec![(cause, now)],
                    last: now,
                };
                self.known.insert(domain.clone(), known);
                true
            }
            None => false,
        };
        self.unsaid += u64::from(!says);
        let begins = !std::mem::replace(&mut self.is_told, true);
        Failed { says, begins }
    }

    /// There is a stream.
    pub(super) fn reached(&mut self, domain: &Domain) {
        self.known.remove(domain);
    }

    /// The attempts since the last time. `None`: it remembers none, and the next failure begins anew.
    pub(super) fn sum(&mut self, now: Instant) -> Option<Sum> {
        self.known
            .retain(|_, known| now.duration_since(known.last) < FORGET);
        self.known.shrink_to(self.known.len() * 2);
        let sum = Sum {
            domains: self.known.len(),
            attempts: std::mem::take(&mut self.unsaid),
        };
        self.is_told = sum.domains > 0;
        (sum.domains > 0 || sum.attempts > 0).then_some(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_has_a_line_for_each_reason_and_the_rest_is_summed_up() {
        let mut unreachable = Unreachable::default();
        let (start, domain) = (Instant::now(), Domain::parse("a.test").unwrap());
        let first = unreachable.failed(start, &domain, "connect");
        assert!(first.says && first.begins);
        for _ in 0..10 {
            let again = unreachable.failed(start, &domain, "connect");
            assert!(!again.says && !again.begins);
        }
        // Another reason has its line at once; one that comes and goes has no line each time.
        assert!(unreachable.failed(start, &domain, "dns").says);
        assert!(!unreachable.failed(start, &domain, "connect").says);
        assert!(!unreachable.failed(start, &domain, "dns").says);
        assert!(unreachable.failed(start + SUMMARY, &domain, "connect").says);
        let sum = unreachable.sum(start + SUMMARY);
        assert_eq!(
            sum,
            Some(Sum {
                domains: 1,
                attempts: 12
            })
        );
        unreachable.reached(&domain);
        assert_eq!(unreachable.sum(start + SUMMARY), None);
        assert!(unreachable.failed(start + SUMMARY, &domain, "dns").begins);
        assert!(unreachable.sum(start + SUMMARY + FORGET).is_none());
    }

    #[test]
    fn there_is_an_end_to_what_is_remembered() {
        let mut unreachable = Unreachable::default();
        let start = Instant::now();
        for number in 0..2 * MAX_DOMAINS {
            let domain = Domain::parse(&format!("{number}.test")).unwrap();
            unreachable.failed(start, &domain, "connect");
        }
        let sum = unreachable.sum(start).unwrap();
        assert_eq!(
            (sum.domains, sum.attempts),
            (MAX_DOMAINS, MAX_DOMAINS as u64)
        );
    }
}
