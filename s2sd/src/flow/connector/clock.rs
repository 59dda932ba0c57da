//! One clock for a whole attempt to make a stream: how long one place may take while there are others.
//!
//! Pure: the time is an argument. An attempt at several places takes no longer than one at a single place may, and a place
//! that says nothing takes a quarter of what is left of that.

use std::time::{Duration, Instant};

use crate::config::Limits;

/// However little is left, something is tried with it.
const LEAST: Duration = Duration::from_millis(500);

/// The time of an attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// One step with one place: a connection, a TLS handshake.
    step: Duration,
    /// What is shared among places.
    shared_until: Instant,
    end: Instant,
}

/// The time of one place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Share {
    step: Duration,
    /// Until the first word of the other server; none: as long as it takes.
    word: Option<Duration>,
    end: Instant,
}

impl Clock {
    /// An attempt that begins now, with a result due `within` this time.
    pub(crate) fn new(limits: &Limits, within: Duration, now: Instant) -> Self {
        let whole = limits.connect.saturating_add(limits.negotiation);
        Self {
            step: limits.connect,
            shared_until: now + whole.min(within),
            end: now + whole,
        }
    }

    /// Whether nothing more is to be tried.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        now >= self.end
    }

    /// For a place that begins now; `others` may be tried after it.
    pub(crate) fn share(&self, now: Instant, others: bool) -> Share {
        if !others {
            return Share {
                step: self.step,
                word: None,
                end: self.end.max(now + LEAST),
            };
        }
        let left = self.shared_until.saturating_duration_since(now);
        let step = (left / 4).max(LEAST);
        Share {
            step: step.min(self.step),
            word: Some(step.min(self.step)),
            end: now + (left / 2).max(2 * LEAST),
        }
    }
}

impl Share {
    /// Until when a step may take that begins now.
    pub(crate) fn step(&self, now: Instant) -> Instant {
        (now + self.step).min(self.end)
    }

    /// Until when the other server has to say its first word.
    pub(crate) fn word(&self, now: Instant) -> Instant {
        self.word
            .map_or(self.end, |word| (now + word).min(self.end))
    }

    /// Until when there has to be a stream.
    pub(crate) fn end(&self) -> Instant {
        self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn limits() -> Limits {
        Limits {
            connect: 20 * SECOND,
            negotiation: 60 * SECOND,
            ..Limits::default()
        }
    }

    #[test]
    fn places_that_say_nothing_leave_most_of_the_time_to_those_after_them() {
        let start = Instant::now();
        for (within, first) in [(120 * SECOND, 20.0), (30 * SECOND, 7.5), (20 * SECOND, 5.0)] {
            let clock = Clock::new(&limits(), within, start);
            let mut now = start;
            let mut took = Vec::new();
            for _ in 0..5 {
                let share = clock.share(now, true);
                assert_eq!(share.step(now), share.word(now));
                took.push(share.step(now).duration_since(now).as_secs_f64());
                now = share.step(now);
            }
            assert_eq!(took[0], first, "{took:?}");
            assert!(took.is_sorted_by(|a, b| a >= b), "{took:?}");
            // The sixth still is within the time.
            assert!(now < start + within.min(80 * SECOND), "{took:?}");
        }
    }

    #[test]
    fn the_only_place_has_all_the_time_and_the_last_one_all_that_is_left() {
        let start = Instant::now();
        let clock = Clock::new(&limits(), 20 * SECOND, start);
        let end = start + 80 * SECOND;
        let share = clock.share(start, false);
        assert_eq!((share.end(), share.word(start)), (end, end));
        assert_eq!(share.step(start), start + 20 * SECOND);
        let later = start + 70 * SECOND;
        assert_eq!(clock.share(later, false).step(later), end);
        assert!(!clock.is_over(later) && clock.is_over(end));
        // With others after it there is always something.
        assert!(clock.share(later, true).step(later) > later);
    }
}
