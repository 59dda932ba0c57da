//! Rate limiting per peer (GCRA), as a value: every stanza and byte takes from a bucket, and time fills it again.
//!
//! The stanzas of one second may come at once; a peer that sent more waits until the bucket has refilled. Nothing is
//! refused: the driver stops reading, and TCP slows the peer down.

mod peers;

use std::time::{Duration, Instant};

use crate::config::Policy;

pub(crate) use peers::{RateLimiter, StreamBuckets};

/// What may be saved up, and so come at once.
const BURST: Duration = Duration::from_secs(1);

/// The buckets of one domain, for all of its streams.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PeerBuckets {
    stanzas: Bucket,
    bytes: Bucket,
}

impl PeerBuckets {
    /// What a policy allows; none if it sets no limit.
    pub(crate) fn of(policy: &Policy, now: Instant) -> Option<Self> {
        let (stanzas, bytes) = (policy.stanzas_per_second, policy.bytes_per_second);
        (stanzas > 0 || bytes > 0).then(|| Self {
            stanzas: Bucket::new(stanzas, now),
            bytes: Bucket::new(bytes, now),
        })
    }

    /// Takes the limits of a newer policy. Debts under the old ones stay.
    pub(crate) fn adjust(&mut self, newer: &Self) {
        self.stanzas.per_second = newer.stanzas.per_second;
        self.bytes.per_second = newer.bytes.per_second;
    }

    /// A stanza came.
    pub(crate) fn stanza(&mut self, now: Instant) {
        self.stanzas.take(1, now);
    }

    /// So many bytes came.
    pub(crate) fn bytes(&mut self, count: u64, now: Instant) {
        self.bytes.take(count, now);
    }

    /// When more may be read; none: at once.
    pub(crate) fn pause(&self, now: Instant) -> Option<Instant> {
        self.stanzas.pause(now).max(self.bytes.pause(now))
    }

    /// There is no debt: both buckets are full, as if new.
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        self.stanzas.saved_up <= now && self.bytes.saved_up <= now
    }
}

/// One limit.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Bucket {
    /// 0: none.
    per_second: u64,
    /// When everything that came is paid for and [`BURST`] is saved up again.
    saved_up: Instant,
}

impl Bucket {
    fn new(per_second: usize, now: Instant) -> Self {
        Self {
            per_second: u64::try_from(per_second).unwrap_or(u64::MAX),
            saved_up: now,
        }
    }

    fn take(&mut self, amount: u64, now: Instant) {
        let nanos = (u128::from(amount) * 1_000_000_000).checked_div(self.per_second.into());
        let cost = nanos.map_or(Duration::ZERO, |nanos| {
            Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
        });
        let from = self.saved_up.max(now);
        // A debt of centuries, which the clock cannot count, is dropped; the limits of a stanza keep it from getting
        // there.
        self.saved_up = from.checked_add(cost).unwrap_or(from);
    }

    fn pause(&self, now: Instant) -> Option<Instant> {
        let owed = self.saved_up.checked_duration_since(now + BURST)?;
        (owed > Duration::ZERO && self.per_second > 0).then(|| now + owed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(stanzas: usize, bytes: usize, now: Instant) -> PeerBuckets {
        let policy = Policy {
            stanzas_per_second: stanzas,
            bytes_per_second: bytes,
            ..Policy::default()
        };
        PeerBuckets::of(&policy, now).unwrap()
    }

    /// How many milliseconds it says to wait.
    fn wait(buckets: &PeerBuckets, now: Instant) -> u128 {
        buckets
            .pause(now)
            .map_or(0, |until| (until - now).as_millis())
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn no_limit_is_no_bucket() {
        assert_eq!(PeerBuckets::of(&Policy::default(), Instant::now()), None);
    }

    #[test]
    fn a_seconds_worth_comes_at_once_and_the_rest_is_paid_for() {
        let now = Instant::now();
        let mut buckets = buckets(10, 0, now);
        for _ in 0..10 {
            buckets.stanza(now);
            assert_eq!(wait(&buckets, now), 0);
        }
        buckets.stanza(now);
        assert_eq!(wait(&buckets, now), 100);
        assert_eq!(wait(&buckets, now + ms(60)), 40);
        assert_eq!(wait(&buckets, now + ms(100)), 0);
    }

    #[test]
    fn in_the_long_run_no_more_comes_than_is_allowed() {
        let begin = Instant::now();
        let mut buckets = buckets(7, 0, begin);
        let (mut now, mut came) = (begin, 0_u64);
        while now < begin + Duration::from_secs(100) {
            buckets.stanza(now);
            came += 1;
            now = buckets.pause(now).unwrap_or(now);
        }
        assert!((700..=708).contains(&came), "{came}");
    }

    #[test]
    fn no_more_than_a_second_is_saved_up() {
        let begin = Instant::now();
        let mut buckets = buckets(0, 1000, begin);
        let later = begin + Duration::from_secs(3600);
        buckets.bytes(1000, later);
        assert_eq!(wait(&buckets, later), 0);
        buckets.bytes(500, later);
        assert_eq!(wait(&buckets, later), 500);
    }

    #[test]
    fn the_stricter_of_both_limits_counts() {
        let now = Instant::now();
        let mut buckets = buckets(1, 1000, now);
        buckets.bytes(3000, now);
        assert_eq!(wait(&buckets, now), 2000);
        buckets.stanza(now);
        assert_eq!(wait(&buckets, now), 2000);
        for _ in 0..4 {
            buckets.stanza(now);
        }
        assert_eq!(wait(&buckets, now), 4000);
    }

    #[test]
    fn what_is_owed_stays_owed_when_the_limits_change() {
        let now = Instant::now();
        let mut older = buckets(1, 0, now);
        for _ in 0..6 {
            older.stanza(now);
        }
        older.adjust(&buckets(100, 0, now));
        assert_eq!(wait(&older, now), 5000);
        older.stanza(now);
        assert_eq!(wait(&older, now), 5010);
        older.adjust(&buckets(0, 100, now));
        assert_eq!(wait(&older, now), 0);
    }

    #[test]
    fn rest_ends_when_everything_is_saved_up_again() {
        let now = Instant::now();
        let mut buckets = buckets(2, 0, now);
        assert!(buckets.is_full(now));
        buckets.stanza(now);
        assert!(!buckets.is_full(now + ms(499)));
        assert!(buckets.is_full(now + ms(500)));
    }

    #[test]
    fn absurd_amounts_do_not_overflow() {
        let now = Instant::now();
        let mut buckets = buckets(1, 1, now);
        for _ in 0..3 {
            buckets.bytes(u64::MAX, now);
        }
        assert!(buckets.pause(now).is_some());
    }
}
