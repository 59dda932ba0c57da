//! Queues that are served in turn: one with many waiting gets as many turns as one with a single entry.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Something to wait in.
pub(crate) trait Queue: Default {
    /// What waits.
    type Item;
    /// Where in the queue it waits.
    type Position;

    /// Waits from now on.
    fn push(&mut self, position: Self::Position, item: Self::Item);
    /// The next.
    fn pop(&mut self) -> Option<Self::Item>;
    /// Whether it is empty.
    fn is_empty(&self) -> bool;
}

/// In the order of arrival.
#[derive(Debug)]
pub(crate) struct Line<T>(VecDeque<T>);

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Queue for Line<T> {
    type Item = T;
    type Position = ();

    fn push(&mut self, (): (), item: T) {
        self.0.push_back(item);
    }

    fn pop(&mut self) -> Option<T> {
        self.0.pop_front()
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Queues by key, one turn each. An empty queue is not kept.
#[derive(Debug)]
pub(crate) struct Rotation<K, Q> {
    order: VecDeque<K>,
    queues: HashMap<K, Q>,
}

impl<K, Q> Default for Rotation<K, Q> {
    fn default() -> Self {
        Self {
            order: VecDeque::new(),
            queues: HashMap::new(),
        }
    }
}

impl<K: Copy + Eq + Hash, Q: Queue> Queue for Rotation<K, Q> {
    type Item = Q::Item;
    type Position = (K, Q::Position);

    fn push(&mut self, (key, position): Self::Position, item: Self::Item) {
        let queue = self.queues.entry(key).or_insert_with(|| {
            self.order.push_back(key);
            Q::default()
        });
        queue.push(position, item);
    }

    fn pop(&mut self) -> Option<Self::Item> {
        let key = self.order.pop_front()?;
        let queue = self.queues.get_mut(&key)?;
        let item = queue.pop();
        if queue.is_empty() {
            self.queues.remove(&key);
        } else {
            self.order.push_back(key);
        }
        item
    }

    fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Nested = Rotation<char, Rotation<u8, Line<&'static str>>>;

    fn all(mut queue: Nested) -> Vec<&'static str> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn who_has_many_waiting_has_one_turn_in_the_rotation() {
        let mut queue = Nested::default();
        for item in ["a1", "a2", "a3", "a4"] {
            queue.push(('a', (1, ())), item);
        }
        queue.push(('b', (1, ())), "b1");
        queue.push(('a', (2, ())), "a5");
        queue.push(('c', (1, ())), "c1");
        assert_eq!(all(queue), ["a1", "b1", "c1", "a5", "a2", "a3", "a4"]);
    }

    #[test]
    fn nothing_is_kept_of_a_queue_that_is_empty() {
        let mut queue = Nested::default();
        for round in 0..3 {
            for key in 'a'..='z' {
                queue.push((key, (round, ())), "it");
            }
            for _ in 'a'..='z' {
                assert_eq!(queue.pop(), Some("it"));
            }
            assert!(queue.is_empty() && queue.queues.is_empty());
            assert_eq!(queue.pop(), None);
        }
    }
}
