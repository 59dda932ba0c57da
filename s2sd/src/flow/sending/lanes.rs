//! The lanes of one task: those to one remote domain that share a stream, each in a place of its own as long as it is there.

use std::time::{Duration, Instant};

use super::Leaving;
use crate::flow::lanes::QueuedLane;
use crate::protocol::lane::Waiting;

/// So long a lane waits for a stream that is made for another pair, whose own fault it may be that it takes so long.
pub(crate) const WAITS_FOR_ANOTHER: Duration = Duration::from_secs(10);

/// They keep their places: what is being written says by its place whose it is.
#[derive(Default)]
pub(crate) struct TaskLanes {
    places: Vec<Option<Box<QueuedLane>>>,
    /// Whose turn it is to write.
    turn: usize,
}

impl TaskLanes {
    /// Its place.
    pub(crate) fn add(&mut self, lane: Box<QueuedLane>) -> usize {
        let free = self.places.iter().position(Option::is_none);
        let place = free.unwrap_or(self.places.len());
        match self.places.get_mut(place) {
            Some(free) => *free = Some(lane),
            None => self.places.push(Some(lane)),
        }
        place
    }

    pub(crate) fn take(&mut self, place: usize) -> Option<Box<QueuedLane>> {
        self.places.get_mut(place)?.take()
    }

    /// A stanza has left.
    pub(super) fn settled(&mut self, leaving: &Leaving) {
        let size = leaving.waiting.stanza.size();
        if let Some(lane) = leaving.place.and_then(|place| self.get_mut(place)) {
            lane.settled(size);
        }
    }

    pub(crate) fn get(&self, place: usize) -> Option<&QueuedLane> {
        self.places.get(place)?.as_deref()
    }

    pub(crate) fn get_mut(&mut self, place: usize) -> Option<&mut QueuedLane> {
        self.places.get_mut(place)?.as_deref_mut()
    }

    /// So many places there are, with or without a lane.
    pub(crate) fn places(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &QueuedLane> {
        self.places.iter().flatten().map(|lane| &**lane)
    }

    pub(crate) fn len(&self) -> usize {
        self.iter().count()
    }

    /// The place of the first lane of which this is true.
    pub(crate) fn find(&self, is_it: impl Fn(&QueuedLane) -> bool) -> Option<usize> {
        let is_it = |place: &Option<Box<QueuedLane>>| place.as_deref().is_some_and(&is_it);
        self.places.iter().position(is_it)
    }

    /// A stream is being made for the lane in the place `first`. The places of the others that want one, and have waited for it
    /// long enough.
    pub(crate) fn waited(&mut self, first: usize, now: Instant) -> Vec<usize> {
        let mut enough = Vec::new();
        for (place, lane) in self.places.iter_mut().enumerate() {
            let Some(lane) = lane.as_mut().filter(|lane| lane.lane.wants_stream()) else {
                continue;
            };
            if place == first {
                lane.waits = None;
            } else if *lane.waits.get_or_insert(now) + WAITS_FOR_ANOTHER <= now {
                enough.push(place);
            }
        }
        enough
    }

    /// The places of the lanes for whose pair the peer was asked so long ago, and has not answered.
    pub(crate) fn unanswered(&self, within: Duration, now: Instant) -> Vec<usize> {
        let is_late = |lane: &QueuedLane| lane.asked.is_some_and(|asked| asked + within <= now);
        let is_late = |place: &usize| self.get(*place).is_some_and(is_late);
        (0..self.places()).filter(is_late).collect()
    }

    /// The next stanza to write, and whose it is: one of each lane in turn.
    pub(crate) fn pop(&mut self) -> Option<(usize, Waiting)> {
        for _ in 0..self.places.len() {
            let place = self.turn % self.places.len();
            self.turn = place + 1;
            let lane = self.get_mut(place);
            if let Some(waiting) = lane.and_then(|lane| lane.lane.pop()) {
                return Some((place, waiting));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use xmpp_stream::{ContentNamespace, Context, Domain, Element};

    use super::*;
    use crate::protocol::lane::LaneEvent;
    use crate::protocol::negotiate::DomainPair;
    use crate::protocol::stanza::Stanza;

    /// So many lanes, in each so many stanzas.
    fn lanes(count: usize, each: usize) -> TaskLanes {
        let mut lanes = TaskLanes::default();
        for number in 0..count {
            let local = format!("d{number}.test");
            let mut lane = QueuedLane::unqueued(DomainPair {
                local: Domain::parse(&local).unwrap(),
                remote: Domain::parse("b.test").unwrap(),
            });
            for id in 0..each {
                let text = format!("<message from='{local}' to='b.test' id='{id}'/>");
                let context = Context::new(ContentNamespace::Server);
                let stanza = Stanza::own(Element::parse(text, &context).unwrap()).unwrap();
                lane.handle(LaneEvent::Stanza(stanza));
            }
            lanes.add(Box::new(lane));
        }
        lanes
    }

    fn connected(lanes: &mut TaskLanes, places: impl IntoIterator<Item = usize>) {
        for place in places {
            lanes.get_mut(place).unwrap().handle(LaneEvent::Connected);
        }
    }

    /// What is written, as `place id`.
    fn written(lanes: &mut TaskLanes, most: usize) -> Vec<String> {
        let next = || {
            let (place, waiting) = lanes.pop()?;
            let id = waiting.stanza.element().id()?.into_owned();
            Some(format!("{place} {id}"))
        };
        std::iter::from_fn(next).take(most).collect()
    }

    #[test]
    fn each_lane_writes_one_stanza_in_its_turn() {
        let mut lanes = lanes(3, 3);
        connected(&mut lanes, [0, 1, 2]);
        assert_eq!(written(&mut lanes, 4), ["0 0", "1 0", "2 0", "0 1"]);
        // One that leaves takes no turn, and one that has no stream yet has none.
        lanes.take(1);
        assert_eq!(written(&mut lanes, 9), ["2 1", "0 2", "2 2"]);
        assert!(lanes.pop().is_none());
    }

    #[test]
    fn a_lane_with_much_to_say_leaves_the_others_their_turns() {
        let mut lanes = lanes(2, 100);
        connected(&mut lanes, [0]);
        assert_eq!(written(&mut lanes, 50).len(), 50);
        connected(&mut lanes, [1]);
        assert_eq!(written(&mut lanes, 4), ["1 0", "0 50", "1 1", "0 51"]);
    }

    #[test]
    fn a_lane_waits_ten_seconds_for_a_stream_that_is_made_for_another() {
        let mut lanes = lanes(3, 1);
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(lanes.waited(0, start), [0; 0]);
        // The third wants none any more.
        connected(&mut lanes, [2]);
        assert_eq!(lanes.waited(0, after(9)), [0; 0]);
        assert_eq!(lanes.waited(0, after(10)), [1]);
        // The one for which it is made has as long as that takes, also if it waited for another before.
        assert_eq!(lanes.waited(1, after(11)), [0; 0]);
        assert_eq!(lanes.waited(1, after(21)), [0]);
        assert_eq!(lanes.waited(0, after(21)), [0; 0]);
        assert_eq!(lanes.waited(0, after(31)), [1]);
    }

    #[test]
    fn a_peer_has_so_long_to_answer_to_each_key() {
        let mut lanes = lanes(3, 1);
        let (start, within) = (Instant::now(), Duration::from_secs(4));
        let after = |seconds| start + Duration::from_secs(seconds);
        for (place, asked) in [(0, 0), (2, 2)] {
            lanes.get_mut(place).unwrap().asked = Some(after(asked));
        }
        assert_eq!(lanes.unanswered(within, after(3)), [0; 0]);
        assert_eq!(lanes.unanswered(within, after(4)), [0]);
        assert_eq!(lanes.unanswered(within, after(6)), [0, 2]);
        // The answer has come.
        connected(&mut lanes, [0]);
        assert_eq!(lanes.unanswered(within, after(6)), [2]);
    }
}
