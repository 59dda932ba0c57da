//! The lanes of one task: those to one remote domain that share a stream, each in a place of its own as long as it is there.

use super::Leaving;
use crate::flow::lanes::QueuedLane;
use crate::protocol::lane::Waiting;

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
