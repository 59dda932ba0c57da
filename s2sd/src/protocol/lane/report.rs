//! What a lane says of itself to an operator: how much waits, for how long, and why.

use std::time::{Duration, Instant};

use super::{Lane, State, Waiting};

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

/// The bounds of the age classes: each counts stanzas that are younger than this, and older than the one before.
pub const AGES: [Duration; 7] = [
    Duration::from_secs(10),
    minutes(1),
    minutes(5),
    minutes(15),
    minutes(60),
    minutes(4 * 60),
    minutes(24 * 60),
];

/// A lane at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneReport {
    /// `up`: it has a stream. `connecting`. `waiting`: for the next attempt. `refused`: the pair cannot be, and what comes
    /// bounces. `idle`.
    pub state: &'static str,
    /// How long the oldest stanza has been waiting.
    pub oldest: Option<Duration>,
    /// How many stanzas there are of each of the [`AGES`], and older.
    pub ages: [u64; AGES.len() + 1],
    /// Why the last attempt failed, or the last stream ended: the name of the cause, and the words that senders get.
    pub failure: Option<(&'static str, String)>,
    /// When the next attempt is.
    pub next_try: Option<Duration>,
}

impl Lane {
    /// Reports the stanzas in it, and in the stream that writes these.
    pub fn report<'a>(
        &'a self,
        now: Instant,
        written: impl Iterator<Item = &'a Waiting>,
    ) -> LaneReport {
        let mut ages = [0; AGES.len() + 1];
        let mut oldest = None;
        for waiting in self.waiting.iter().chain(written) {
            let age = now.saturating_duration_since(waiting.since);
            oldest = oldest.max(Some(age));
            let place = AGES.iter().position(|bound| age < *bound);
            if let Some(count) = ages.get_mut(place.unwrap_or(AGES.len())) {
                *count += 1;
            }
        }
        let (state, failure, next_try) = match &self.state {
            State::Idle { .. } => ("idle", None, None),
            State::Connecting(cause) => ("connecting", cause.as_ref(), None),
            State::Up { .. } => ("up", None, None),
            State::Resting {
                until,
                cause,
                lasting,
            } => {
                let state = if *lasting { "refused" } else { "waiting" };
                (
                    state,
                    Some(cause),
                    Some(until.saturating_duration_since(now)),
                )
            }
        };
        // As its senders read it.
        let failure = failure.map(|cause| (cause.name(), cause.to_string()));
        LaneReport {
            state,
            oldest,
            ages,
            failure,
            next_try,
        }
    }

    /// Since when the oldest that is in it has been waiting.
    pub fn oldest(&self) -> Option<Instant> {
        self.waiting.front().map(Waiting::since)
    }
}

impl Waiting {
    /// When it was accepted.
    pub fn since(&self) -> Instant {
        self.since
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use xmpp_stream::{ContentNamespace, Context, Element};

    use super::*;
    use crate::closed::Cause;
    use crate::protocol::lane::{Backoff, LaneEvent};
    use crate::protocol::stanza::Stanza;

    const SECOND: Duration = Duration::from_secs(1);

    fn stanza() -> LaneEvent {
        let text = Bytes::from_static(b"<message from='a@a.test' to='b@b.test'/>");
        let element = Element::parse(text, &Context::new(ContentNamespace::Server)).unwrap();
        LaneEvent::Stanza(Stanza::own(element).unwrap())
    }

    #[test]
    fn a_lane_says_what_waits_for_how_long_why_and_until_when() {
        let mut lane = Lane::new(Backoff {
            give_up: 3600 * SECOND,
            first: 40 * SECOND,
            max: 300 * SECOND,
        });
        let (start, mut out) = (Instant::now(), Vec::new());
        let report = |lane: &Lane, now| lane.report(now, std::iter::empty());
        assert_eq!(report(&lane, start).state, "idle");
        lane.handle(start, stanza(), &mut out);
        assert_eq!(report(&lane, start).state, "connecting");
        lane.handle(start + 20 * SECOND, stanza(), &mut out);
        let cause = Cause::Connect("refused".into());
        let failed = LaneEvent::Failed {
            cause: cause.clone(),
            worked: false,
            random: 0,
        };
        lane.handle(start + 21 * SECOND, failed, &mut out);
        let now = report(&lane, start + 25 * SECOND);
        assert_eq!(now.state, "waiting");
        assert_eq!(now.oldest, Some(25 * SECOND));
        assert_eq!(now.ages, [1, 1, 0, 0, 0, 0, 0, 0]);
        let Some(("connect", words)) = now.failure else {
            panic!("{now:?}")
        };
        assert_eq!(Some(words), cause.stanza_error().text);
        // A quarter of the first pause, of which four seconds are over.
        assert_eq!(now.next_try, Some(6 * SECOND));
        lane.handle(start + 31 * SECOND, LaneEvent::Connected, &mut out);
        let first = lane.pop().unwrap();
        let now = lane.report(start + 60 * SECOND, std::iter::once(&first));
        assert_eq!((now.state, now.failure), ("up", None));
        assert_eq!(now.oldest, Some(60 * SECOND), "it is still being written");
        assert_eq!(now.ages.iter().sum::<u64>(), 2);
    }
}
