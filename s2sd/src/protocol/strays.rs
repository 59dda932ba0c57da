//! Elements that have no place on a stream: stanzas in a direction without a proof, and elements that this server does
//! not know. A peer's extension costs no other sender's stanza; too many of them end the stream.
//!
//! Pure: the clock is an argument.

use std::time::{Duration, Instant};

/// The time over which strays are counted.
const MINUTE: Duration = Duration::from_secs(60);
/// How many unknown elements s2sd tolerates in a minute.
const MAX_PER_MINUTE: u32 = 10;

/// How many strays came.
#[derive(Debug, Default)]
pub(crate) struct Strays {
    since: Option<Instant>,
    count: u32,
    meaningless: u32,
}

/// What to do about one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stray {
    /// Log that it came, and how many before it were not logged.
    Say(u32),
    /// Ignore it.
    PassOver,
    /// End the stream.
    TooMany,
}

impl Strays {
    /// One came: a stanza, or an unknown element.
    pub(crate) fn note(&mut self, now: Instant, is_stanza: bool) -> Stray {
        let is_new = |since| now.duration_since(since) >= MINUTE;
        if self.since.is_none_or(is_new) {
            let passed_over = self.count.saturating_sub(1);
            *self = Self {
                since: Some(now),
                count: 1,
                meaningless: u32::from(!is_stanza),
            };
            return Stray::Say(passed_over);
        }
        self.count = self.count.saturating_add(1);
        self.meaningless += u32::from(!is_stanza);
        match self.meaningless > MAX_PER_MINUTE {
            true => Stray::TooMany,
            false => Stray::PassOver,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strays_are_said_once_a_minute_and_too_many_that_mean_nothing_end_it() {
        let (mut strays, start) = (Strays::default(), Instant::now());
        assert_eq!(strays.note(start, true), Stray::Say(0));
        for _ in 0..1000 {
            assert_eq!(strays.note(start, true), Stray::PassOver);
        }
        assert_eq!(strays.note(start + MINUTE, false), Stray::Say(1000));
        for _ in 1..MAX_PER_MINUTE {
            assert_eq!(strays.note(start + MINUTE, false), Stray::PassOver);
        }
        assert_eq!(strays.note(start + MINUTE, false), Stray::TooMany);
        assert_eq!(strays.note(start + MINUTE * 3, false), Stray::Say(10));
    }
}
