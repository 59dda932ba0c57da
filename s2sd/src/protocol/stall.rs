//! A peer that keeps a connection open and reads nothing: the bytes queued for it stay.
//!
//! Pure: the clock and the counts are arguments.

use std::time::{Duration, Instant};

/// Since when no byte has moved, and how many had moved by then. None if there are no queued bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stall(Option<(Instant, u64)>);

impl Stall {
    /// When the stream is to be given up, as things stand: `written` bytes were taken, and `queued` says whether more
    /// are to be.
    pub(crate) fn deadline(
        &mut self,
        now: Instant,
        written: u64,
        queued: bool,
        limit: Duration,
    ) -> Option<Instant> {
        self.0 = match self.0 {
            _ if !queued => None,
            Some((since, then)) if then == written => Some((since, then)),
            _ => Some((now, written)),
        };
        self.0.map(|(since, _)| since + limit)
    }

    /// Whether that time has come, and still no byte moved.
    pub(crate) fn is_over(&self, now: Instant, written: u64, limit: Duration) -> bool {
        self.0
            .is_some_and(|(since, then)| then == written && now >= since + limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn whatever_moves_gives_time_and_nothing_queued_needs_none() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut stall = Stall::default();
        assert_eq!(stall.deadline(at(0), 5, false, LIMIT), None);
        assert!(!stall.is_over(at(100), 5, LIMIT));
        // Queued, and no byte of it taken.
        assert_eq!(stall.deadline(at(1), 5, true, LIMIT), Some(at(11)));
        assert_eq!(stall.deadline(at(3), 5, true, LIMIT), Some(at(11)));
        assert!(!stall.is_over(at(10), 5, LIMIT));
        assert!(stall.is_over(at(11), 5, LIMIT));
        // A single byte.
        assert!(!stall.is_over(at(11), 6, LIMIT));
        assert_eq!(stall.deadline(at(11), 6, true, LIMIT), Some(at(21)));
        assert!(!stall.is_over(at(20), 6, LIMIT));
        assert!(stall.is_over(at(21), 6, LIMIT));
        // All of it, and later more.
        assert_eq!(stall.deadline(at(22), 9, false, LIMIT), None);
        assert_eq!(stall.deadline(at(50), 9, true, LIMIT), Some(at(60)));
    }
}
