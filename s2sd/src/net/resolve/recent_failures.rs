//! Targets that did not answer lately: they are tried after the others.
//!
//! What keys of unauthenticated peers made us find out has a part of its own, so that it cannot push out what our own streams did.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::host::Host;
use crate::net::resolve::cache::Asker;
use crate::protocol::plan::Target;

/// So long a target is tried last.
const LAST: Duration = Duration::from_secs(5 * 60);
/// So many are remembered for each asker. A name has at most 253 bytes, so that all take less than 1 MiB.
const MAX_REMEMBERED: usize = 1024;

/// The targets that were silent or refused.
#[derive(Debug, Default)]
pub(crate) struct RecentFailures(Mutex<[Table; 2]>);

/// Until when each is tried last.
type Table = HashMap<(Host, u16, bool), Instant>;

fn key(target: &Target) -> (Host, u16, bool) {
    (target.host.clone(), target.port, target.direct_tls)
}

impl RecentFailures {
    /// No host answered there.
    pub(crate) fn failed(&self, now: Instant, target: &Target, asker: Asker) {
        let mut tables = self.lock();
        let [ours, unauthenticated] = &mut *tables;
        let table = match asker {
            Asker::Us => ours,
            Asker::Unauthenticated => unauthenticated,
        };
        let key = key(target);
        if table.len() >= MAX_REMEMBERED && !table.contains_key(&key) {
            table.retain(|_, until| *until > now);
        }
        if table.len() >= MAX_REMEMBERED && !table.contains_key(&key) {
            let oldest = table.iter().min_by_key(|(_, until)| **until);
            let oldest = oldest.map(|(key, _)| key.clone());
            oldest.and_then(|oldest| table.remove(&oldest));
        }
        table.insert(key, now + LAST);
    }

    /// A host did.
    pub(crate) fn answered(&self, target: &Target) {
        let key = key(target);
        self.lock().iter_mut().for_each(|table| {
            table.remove(&key);
        });
    }

    /// Everything is tried as it comes again.
    pub(crate) fn forget(&self) {
        self.lock().iter_mut().for_each(HashMap::clear);
    }

    /// Keeps the order, but moves the targets that gave no answer to the end.
    pub(crate) fn sort(&self, now: Instant, targets: &mut [Target]) {
        let tables = self.lock();
        targets.sort_by_cached_key(|target| {
            let key = key(target);
            tables
                .iter()
                .any(|table| table.get(&key).is_some_and(|until| *until > now))
        });
    }

    fn lock(&self) -> MutexGuard<'_, [Table; 2]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(host: &str) -> Target {
        Target {
            host: Host::parse(host),
            port: 5269,
            direct_tls: false,
            secure: false,
            configured: false,
        }
    }

    fn order(recent_failures: &RecentFailures, now: Instant) -> String {
        let mut targets = ["a", "b", "c"].map(target);
        recent_failures.sort(now, &mut targets);
        targets.map(|target| target.host.to_string()).concat()
    }

    #[test]
    fn where_nobody_answered_is_tried_last_until_somebody_does_or_minutes_are_over() {
        let (recent_failures, now) = (RecentFailures::default(), Instant::now());
        assert_eq!(order(&recent_failures, now), "abc");
        recent_failures.failed(now, &target("a"), Asker::Us);
        assert_eq!(order(&recent_failures, now), "bca");
        recent_failures.failed(now, &target("b"), Asker::Unauthenticated);
        assert_eq!(order(&recent_failures, now), "cab");
        recent_failures.answered(&target("b"));
        assert_eq!(order(&recent_failures, now), "bca");
        assert_eq!(order(&recent_failures, now + LAST), "abc");
        recent_failures.forget();
        assert_eq!(order(&recent_failures, now), "abc");
    }

    #[test]
    fn few_are_remembered_and_strangers_push_out_none_of_ours() {
        let (recent_failures, now) = (RecentFailures::default(), Instant::now());
        recent_failures.failed(now, &target("a"), Asker::Us);
        for n in 0..2 * MAX_REMEMBERED {
            let later = now + Duration::from_millis(n as u64);
            recent_failures.failed(later, &target(&format!("x{n}")), Asker::Unauthenticated);
        }
        recent_failures.failed(now + LAST / 2, &target("b"), Asker::Unauthenticated);
        let [ours, unauthenticated] = &*recent_failures.lock();
        assert_eq!((ours.len(), unauthenticated.len()), (1, MAX_REMEMBERED));
        assert!(unauthenticated.contains_key(&key(&target("b"))));
        assert!(!unauthenticated.contains_key(&key(&target("x0"))));
    }
}
