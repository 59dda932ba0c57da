//! Counts the fate of stanzas, and logs those that were dropped: at WARN, with domain and number.

use std::collections::{BTreeMap, HashMap};
use std::ops::Sub;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tracing::warn;
use xmpp_stream::{Domain, StanzaError};

use crate::closed::cause_elements;
use crate::flow::sessions::{Sessions, StreamKind};

/// The first dropped stanzas are logged so long after,
pub(crate) const FIRST_REPORT_AFTER: Duration = Duration::from_secs(1);
/// and later ones so long after the line before.
pub(crate) const REPORT_EVERY: Duration = Duration::from_secs(60);
/// The number of domains that are counted apart.
const MAX_DOMAINS: usize = 16;

/// The counts since the start.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    bounced: Bounced,
    attempts_failed: Mutex<BTreeMap<&'static str, u64>>,
    unknown_fate: AtomicU64,
    unanswerable: AtomicU64,
    dropped: AtomicU64,
    too_late: AtomicU64,
    lost: Mutex<Lost>,
}

/// The stanzas that were given up and answered, by cause.
#[derive(Debug)]
struct Bounced {
    /// The elements that name a cause in an error.
    names: HashMap<Bytes, &'static str>,
    counts: Mutex<BTreeMap<&'static str, u64>>,
}

impl Default for Bounced {
    fn default() -> Self {
        Self {
            names: cause_elements().collect(),
            counts: Mutex::default(),
        }
    }
}

/// The dropped stanzas that are not logged yet, by the domain that they were for.
#[derive(Debug, Default)]
struct Lost {
    domains: HashMap<Domain, u64>,
    others: u64,
    /// A task will log them in time.
    is_told: bool,
}

/// The counts at one moment, or between two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Taken by the sockets of streams to other servers.
    pub(crate) to_peers: u64,
    /// Taken by those of components.
    pub(crate) to_components: u64,
    /// Given up, and answered with an error.
    pub(crate) bounced: u64,
    /// Given up, and not answered: errors and results never are.
    pub(crate) unanswerable: u64,
    /// Answers and bounces of ours that had no room.
    pub(crate) dropped: u64,
    /// Sent by components after our end tag, while this server stopped.
    pub(crate) too_late: u64,
    /// That may not have arrived, because a connection broke.
    pub(crate) unknown_fate: u64,
}

impl Tally {
    /// One was given up, and its sender gets this error.
    pub(crate) fn bounced(&self, error: &StanzaError) {
        let application = error.application.as_ref();
        let known = application.and_then(|element| self.bounced.names.get(element));
        let cause = known.copied().unwrap_or(error.condition.name());
        *lock(&self.bounced.counts).entry(cause).or_default() += 1;
    }

    /// How many were given up and answered, by cause; where s2sd knows no cause, by condition.
    pub(crate) fn bounces(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.bounced.counts).clone()
    }

    /// An attempt to make a stream to another server failed.
    pub(crate) fn attempt_failed(&self, cause: &'static str) {
        *lock(&self.attempts_failed).entry(cause).or_default() += 1;
    }

    /// How many attempts failed, by cause.
    pub(crate) fn attempts_failed(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.attempts_failed).clone()
    }

    /// A connection broke, and so many stanzas at most may not have arrived.
    pub(crate) fn unknown_fate(&self, stanzas: u64) {
        self.unknown_fate.fetch_add(stanzas, Ordering::Relaxed);
    }

    /// One was given up, and its sender gets no error.
    pub(crate) fn unanswerable(&self) {
        self.unanswerable.fetch_add(1, Ordering::Relaxed);
    }

    /// One came from a component too late to go anywhere.
    pub(crate) fn too_late(&self) {
        self.too_late.fetch_add(1, Ordering::Relaxed);
    }

    /// A stanza for this domain is dropped. `true`: the caller has to call [`Tally::tell`], after
    /// [`FIRST_REPORT_AFTER`], and then every [`REPORT_EVERY`] until it returns `false`.
    pub(crate) fn dropped(&self, domain: &Domain) -> bool {
        self.dropped.fetch_add(1, Ordering::Relaxed);
        let mut lost = self.lost();
        let has_room = lost.domains.len() < MAX_DOMAINS;
        match lost.domains.get_mut(domain) {
            Some(count) => *count += 1,
            None if has_room => {
                lost.domains.insert(domain.clone(), 1);
            }
            None => lost.others += 1,
        }
        !std::mem::replace(&mut lost.is_told, true)
    }

    /// Logs what was dropped since the last time. `false`: there was nothing, and the next one begins anew.
    pub(crate) fn tell(&self) -> bool {
        let mut lost = self.lost();
        let domains = std::mem::take(&mut lost.domains);
        let others = std::mem::take(&mut lost.others);
        lost.is_told = !domains.is_empty();
        drop(lost);
        for (domain, stanzas) in &domains {
            warn!(%domain, stanzas, "dropped: answers of ours for which there was no room");
        }
        if others > 0 {
            warn!(
                stanzas = others,
                "dropped: answers of ours for other domains for which there was no room"
            );
        }
        !domains.is_empty()
    }

    /// As it stands, with what these streams carried.
    pub(crate) fn counts(&self, sessions: &Sessions) -> Counts {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            // By streams that they opened, too, where these carry both directions.
            to_peers: [StreamKind::Outgoing, StreamKind::Incoming]
                .map(|kind| sessions.traffic(kind).stanzas_out)
                .iter()
                .sum(),
            to_components: sessions.traffic(StreamKind::Component).stanzas_out,
            bounced: lock(&self.bounced.counts).values().sum(),
            unanswerable: count(&self.unanswerable),
            dropped: count(&self.dropped),
            too_late: count(&self.too_late),
            unknown_fate: count(&self.unknown_fate),
        }
    }

    fn lost(&self) -> MutexGuard<'_, Lost> {
        lock(&self.lost)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sub for Counts {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            to_peers: self.to_peers - earlier.to_peers,
            to_components: self.to_components - earlier.to_components,
            bounced: self.bounced - earlier.bounced,
            unanswerable: self.unanswerable - earlier.unanswerable,
            dropped: self.dropped - earlier.dropped,
            too_late: self.too_late - earlier.too_late,
            unknown_fate: self.unknown_fate - earlier.unknown_fate,
        }
    }
}

#[cfg(test)]
mod tests {
    use xmpp_stream::{ErrorType, StanzaCondition};

    use super::*;
    use crate::closed::Cause;

    #[test]
    fn bounces_are_counted_by_cause_and_where_there_is_none_by_condition() {
        let tally = Tally::default();
        tally.bounced(&Cause::Idle.stanza_error());
        tally.bounced(&Cause::Idle.stanza_error());
        let malformed = StanzaError::new(ErrorType::Modify, StanzaCondition::JidMalformed);
        tally.bounced(&malformed);
        let stranger = Bytes::from_static(b"<cause xmlns='urn:s2sd:cause:0' name='of-a-peer'/>");
        tally.bounced(&malformed.with_application(stranger));
        assert_eq!(tally.bounces(), [("idle", 2), ("jid-malformed", 2)].into());
        assert_eq!(tally.counts(&Sessions::default()).bounced, 4);
    }

    #[test]
    fn what_is_dropped_is_counted_by_domain_and_told_until_nothing_is() {
        let tally = Tally::default();
        let domain = |number: usize| Domain::parse(&format!("{number}.test")).unwrap();
        assert!(tally.dropped(&domain(0)));
        for number in 0..2 * MAX_DOMAINS {
            assert!(!tally.dropped(&domain(number)), "one tells of all");
        }
        let lost = tally.lost();
        assert_eq!(lost.domains.len(), MAX_DOMAINS);
        assert_eq!(lost.domains[&domain(0)], 2);
        assert_eq!(lost.others, MAX_DOMAINS as u64);
        drop(lost);
        assert!(tally.tell());
        assert!(!tally.dropped(&domain(1)));
        assert!(tally.tell());
        assert!(!tally.tell());
        assert!(tally.dropped(&domain(1)), "it begins anew");
        assert_eq!(
            tally.counts(&Sessions::default()).dropped,
            2 * MAX_DOMAINS as u64 + 3
        );
    }
}
