//! How many stanzas that the kernel took may not have arrived when a connection breaks.
//!
//! Pure: the time is an argument. The kernel does not say which bytes the other side acknowledged. It gives a
//! connection up if bytes were not acknowledged for `limits.stall`; it checks that when it retransmits, which it does
//! after twice the time of before. So all that it took twice as long ago has arrived at the other machine. (Without
//! XEP-0198 there is no way to know whether it arrived at the other server.)

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The time is counted in so many parts.
const PARTS: u32 = 32;

/// Until we hear of it.
const MARGIN: Duration = Duration::from_secs(1);

/// What the kernel took lately.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fate(VecDeque<(Instant, u64)>);

impl Fate {
    /// It took so many stanzas. `patience` is how long something may go unacknowledged.
    pub(crate) fn took(&mut self, now: Instant, stanzas: u64, patience: Duration) {
        if stanzas == 0 {
            return;
        }
        self.forget(now, patience);
        match self.0.back_mut() {
            Some((last, count)) if now.duration_since(*last) < patience / PARTS => {
                *count += stanzas
            }
            _ => self.0.push_back((now, stanzas)),
        }
    }

    /// How many may not have arrived.
    pub(crate) fn unknown(&mut self, now: Instant, patience: Duration) -> u64 {
        self.forget(now, patience);
        self.0.iter().map(|(_, count)| count).sum()
    }

    /// A part is over when the last of it is.
    fn forget(&mut self, now: Instant, patience: Duration) {
        let whole = 2 * patience + MARGIN;
        while let Some((first, _)) = self.0.front()
            && now.duration_since(*first) > whole
        {
            self.0.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_twice_as_long_ago_as_the_kernel_waits_has_arrived() {
        let (start, patience) = (Instant::now(), Duration::from_secs(320));
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut fate = Fate::default();
        assert_eq!(fate.unknown(start, patience), 0);
        fate.took(at(0), 5, patience);
        // The same part.
        fate.took(at(9), 1, patience);
        fate.took(at(100), 7, patience);
        assert_eq!(fate.unknown(at(640), patience), 13);
        // All of the first part, and not less.
        assert_eq!(fate.unknown(at(641), patience), 13);
        assert_eq!(fate.unknown(at(642), patience), 7);
        assert_eq!(fate.unknown(at(742), patience), 0);
        assert_eq!(fate.0.len(), 0);
    }

    #[test]
    fn however_much_is_sent_little_is_kept() {
        let (start, patience) = (Instant::now(), Duration::from_secs(300));
        let mut fate = Fate::default();
        for n in 0..100_000 {
            fate.took(start + Duration::from_millis(10 * n), 1, patience);
        }
        assert!(fate.0.len() <= 2 * PARTS as usize + 4, "{}", fate.0.len());
        let unknown = fate.unknown(start + Duration::from_secs(1000), patience);
        assert!((59_000..=61_200).contains(&unknown), "{unknown}");
    }
}
