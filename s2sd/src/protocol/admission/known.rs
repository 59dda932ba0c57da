//! The networks whose domains authenticated lately: when slots run out, they still get in.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::network::Network;

/// How long a network is remembered. Streams end when they are idle, and peers that write once a week come back.
const LATELY: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How many networks are remembered.
const MAX_NETWORKS: usize = 4096;

/// The networks, and when one of their domains authenticated last.
#[derive(Debug, Default)]
pub(crate) struct Known(HashMap<Network, Instant>);

impl Known {
    /// A domain authenticated from there, or did so until now.
    pub(crate) fn observe(&mut self, network: Network, now: Instant) {
        self.0.insert(network, now);
        if self.0.len() > MAX_NETWORKS {
            self.0.retain(|_, seen| is_late(*seen, now));
        }
        if self.0.len() > MAX_NETWORKS
            && let Some((oldest, _)) = self.0.iter().min_by_key(|(_, seen)| **seen)
        {
            let oldest = *oldest;
            self.0.remove(&oldest);
        }
    }

    /// Whether one did lately.
    pub(crate) fn has(&self, network: Network, now: Instant) -> bool {
        self.0.get(&network).is_some_and(|seen| is_late(*seen, now))
    }
}

fn is_late(seen: Instant, now: Instant) -> bool {
    now.saturating_duration_since(seen) < LATELY
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn host(number: usize) -> Network {
        Network::host(Ipv4Addr::from_bits(u32::try_from(number).unwrap()).into())
    }

    #[test]
    fn a_network_is_remembered_for_a_week_after_its_last_proof() {
        let (mut known, start) = (Known::default(), Instant::now());
        let second = Duration::from_secs(1);
        assert!(!known.has(host(1), start));
        known.observe(host(1), start);
        assert!(known.has(host(1), start + LATELY - second));
        assert!(!known.has(host(1), start + LATELY));
        known.observe(host(1), start + LATELY);
        assert!(known.has(host(1), start + LATELY + LATELY - second));
    }

    #[test]
    fn where_there_are_too_many_the_one_not_seen_for_longest_is_forgotten() {
        let (mut known, start) = (Known::default(), Instant::now());
        let at = |number| start + Duration::from_millis(u64::try_from(number).unwrap());
        for number in 0..MAX_NETWORKS {
            known.observe(host(number), at(number));
        }
        known.observe(host(0), at(MAX_NETWORKS));
        known.observe(host(MAX_NETWORKS), at(MAX_NETWORKS + 1));
        assert_eq!(known.0.len(), MAX_NETWORKS);
        assert!(known.has(host(0), at(MAX_NETWORKS + 1)));
        assert!(!known.has(host(1), at(MAX_NETWORKS + 1)));
    }
}
