//! What is kept for a component while it is away: its messages, oldest first, each for so long.
//!
//! Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use crate::protocol::lane::{pop_front_if, release};
use crate::protocol::stanza::Stanza;

/// At most so much is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    pub(crate) stanzas: usize,
    pub(crate) bytes: usize,
}

/// What waits for one component.
#[derive(Debug, Default)]
pub(crate) struct Holding {
    waiting: VecDeque<Held>,
    bytes: usize,
}

/// A stanza that waits for its component.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) stanza: Stanza,
    since: Instant,
    /// The same by the clock on the wall, for its delay.
    accepted: SystemTime,
}

impl Held {
    /// Accepted now.
    pub(crate) fn new(stanza: Stanza, now: Instant, clock: SystemTime) -> Self {
        Self {
            stanza,
            since: now,
            accepted: clock,
        }
    }

    /// As it is delivered, with the time when it was accepted (XEP-0203), where that is worth a word.
    pub(crate) fn delayed(self, now: Instant) -> Stanza {
        match now.duration_since(self.since) >= WORTH_A_WORD {
            true => {
                let by = self.stanza.target().clone();
                self.stanza.delayed(&by, self.accepted)
            }
            false => self.stanza,
        }
    }
}

/// What comes later than this says so.
const WORTH_A_WORD: Duration = Duration::from_secs(1);

impl Holding {
    /// Keeps one more. It comes back where there is no room.
    pub(crate) fn keep(&mut self, held: Held, bound: Bound) -> Result<(), Stanza> {
        let bytes = self.bytes + held.stanza.size();
        if self.waiting.len() >= bound.stanzas || bytes > bound.bytes {
            return Err(held.stanza);
        }
        self.bytes = bytes;
        self.waiting.push_back(held);
        Ok(())
    }

    /// Keeps what was accepted before all others, whatever the bound: it had its room already. Oldest first.
    pub(crate) fn keep_first(&mut self, held: impl DoubleEndedIterator<Item = Held>) {
        for held in held.rev() {
            self.bytes += held.stanza.size();
            self.waiting.push_front(held);
        }
    }

    /// All of it, oldest first.
    pub(crate) fn take(&mut self) -> VecDeque<Held> {
        self.bytes = 0;
        std::mem::take(&mut self.waiting)
    }

    /// What has waited for so long now.
    pub(crate) fn expired(&mut self, now: Instant, hold: Duration) -> Vec<Stanza> {
        let mut expired = Vec::new();
        let is_old = |first: &Held| now.duration_since(first.since) >= hold;
        while let Some(old) = pop_front_if(&mut self.waiting, is_old) {
            self.bytes -= old.stanza.size();
            expired.push(old.stanza);
        }
        release(&mut self.waiting);
        expired
    }

    /// When the oldest has waited for so long. `None`: nothing waits.
    pub(crate) fn deadline(&self, hold: Duration) -> Option<Instant> {
        self.waiting.front().map(|first| first.since + hold)
    }

    /// How many wait, and their bytes.
    pub(crate) fn load(&self) -> (usize, usize) {
        (self.waiting.len(), self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use xmpp_stream::{ContentNamespace, Context, Element};

    use super::*;

    const BOUND: Bound = Bound {
        stanzas: 3,
        bytes: 10_000,
    };

    fn message(id: u8) -> Stanza {
        let text = format!("<message from='a.test' to='b.test' id='{id}'/>");
        let element = Element::parse(text, &Context::new(ContentNamespace::Server)).unwrap();
        Stanza::own(element).unwrap()
    }

    fn held(id: u8, now: Instant) -> Held {
        Held::new(message(id), now, SystemTime::UNIX_EPOCH)
    }

    fn ids(stanzas: impl IntoIterator<Item = Stanza>) -> Vec<String> {
        let id = |stanza: Stanza| stanza.element().id().unwrap().into_owned();
        stanzas.into_iter().map(id).collect()
    }

    #[test]
    fn it_keeps_in_order_until_a_bound_is_reached() {
        let (mut holding, now) = (Holding::default(), Instant::now());
        for id in 1..=3 {
            holding.keep(held(id, now), BOUND).unwrap();
        }
        assert_eq!(ids(holding.keep(held(4, now), BOUND).err()), ["4"]);
        let few = Bound {
            stanzas: 10,
            bytes: holding.load().1,
        };
        assert_eq!(ids(holding.keep(held(5, now), few).err()), ["5"]);
        holding.keep_first([held(6, now), held(7, now)].into_iter());
        let all = holding.take().into_iter();
        assert_eq!(ids(all.map(|held| held.stanza)), ["6", "7", "1", "2", "3"]);
        assert_eq!(holding.load(), (0, 0));
    }

    #[test]
    fn each_has_its_own_time() {
        let (mut holding, hold) = (Holding::default(), Duration::from_secs(10));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(holding.deadline(hold), None);
        holding.keep(held(1, at(0)), BOUND).unwrap();
        holding.keep(held(2, at(4)), BOUND).unwrap();
        assert_eq!(holding.deadline(hold), Some(at(10)));
        assert!(holding.expired(at(9), hold).is_empty());
        assert_eq!(ids(holding.expired(at(10), hold)), ["1"]);
        assert_eq!(holding.deadline(hold), Some(at(14)));
        assert_eq!(ids(holding.expired(at(20), hold)), ["2"]);
        assert_eq!(holding.load(), (0, 0));
    }

    #[test]
    fn what_comes_late_says_when_it_was_accepted() {
        let start = Instant::now();
        let after = |millis| {
            let held = held(1, start).delayed(start + Duration::from_millis(millis));
            String::from_utf8(held.element().bytes().to_vec()).unwrap()
        };
        assert_eq!(after(999), "<message from='a.test' to='b.test' id='1'/>");
        assert_eq!(
            after(1000),
            "<message from='a.test' to='b.test' id='1'>\
             <delay xmlns='urn:xmpp:delay' from='b.test' stamp='1970-01-01T00:00:00Z'/></message>"
        );
    }
}
