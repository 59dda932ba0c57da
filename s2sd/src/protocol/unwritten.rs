//! The stanzas in a connection's write buffer that the socket has not taken whole: their owner until then, and how many
//! may be lost after that. The same for streams to other servers and for components.
//!
//! Pure: the time and the counts are arguments.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::fate::Fate;
use super::lane::{pop_front_if, release};

/// Stanzas in the order of writing, each with the range of its bytes in the stream.
#[derive(Debug)]
pub(crate) struct Unwritten<T> {
    items: VecDeque<(Range<u64>, T)>,
    /// How many bytes they are.
    bytes: u64,
    /// What the kernel took, and may not have delivered.
    fate: Fate,
}

impl<T> Default for Unwritten<T> {
    fn default() -> Self {
        Self {
            items: VecDeque::new(),
            bytes: 0,
            fate: Fate::default(),
        }
    }
}

impl<T> Unwritten<T> {
    /// It is in the buffer, at these bytes of the stream.
    pub(crate) fn push(&mut self, bytes: Range<u64>, item: T) {
        self.bytes += bytes.end - bytes.start;
        self.items.push_back((bytes, item));
    }

    /// The socket took so many bytes in all: `settled` gets each that it took whole, and whether that is the last of these. How
    /// many. `patience` is how long something may go unacknowledged.
    pub(crate) fn settle(
        &mut self,
        now: Instant,
        written: u64,
        patience: Duration,
        mut settled: impl FnMut(T, bool),
    ) -> u64 {
        let is_taken = |(bytes, _): &(Range<u64>, T)| bytes.end <= written;
        let mut count = 0;
        while let Some((bytes, item)) = pop_front_if(&mut self.items, is_taken) {
            count += 1;
            self.bytes -= bytes.end - bytes.start;
            settled(item, !self.items.front().is_some_and(is_taken));
        }
        self.fate.took(now, count, patience);
        release(&mut self.items);
        count
    }

    /// Whether the socket took a part of the first.
    pub(crate) fn is_begun(&self, written: u64) -> bool {
        let first = self.items.front();
        first.is_some_and(|(bytes, _)| bytes.start < written)
    }

    /// How many settled stanzas may not have arrived if the connection breaks now.
    pub(crate) fn unknown(&mut self, now: Instant, patience: Duration) -> u64 {
        self.fate.unknown(now, patience)
    }

    /// How many bytes are left, those of which the socket took a part counted whole.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn first(&self) -> Option<&T> {
        self.items.front().map(|(_, item)| item)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter().map(|(_, item)| item)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.items.iter_mut().map(|(_, item)| item)
    }

    /// The stanzas that are left, oldest first.
    pub(crate) fn take(&mut self) -> impl ExactSizeIterator<Item = T> + use<T> {
        self.bytes = 0;
        std::mem::take(&mut self.items)
            .into_iter()
            .map(|(_, item)| item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALL_TIMEOUT: Duration = Duration::from_secs(320);

    #[test]
    fn what_the_socket_took_whole_is_settled_and_the_rest_is_left_in_order() {
        let now = Instant::now();
        let mut unwritten = Unwritten::default();
        for (bytes, item) in [(10..20, 'a'), (20..30, 'b'), (30..40, 'c')] {
            unwritten.push(bytes, item);
        }
        assert!(!unwritten.is_begun(10));
        assert!(unwritten.is_begun(11));
        let mut settled = Vec::new();
        let mut settle = |unwritten: &mut Unwritten<char>, written| {
            unwritten.settle(now, written, STALL_TIMEOUT, |item, last| {
                settled.push((item, last))
            })
        };
        assert_eq!(settle(&mut unwritten, 19), 0);
        assert_eq!(settle(&mut unwritten, 35), 2);
        assert_eq!(settle(&mut unwritten, 35), 0);
        assert_eq!(unwritten.bytes(), 10);
        assert_eq!(settled, [('a', false), ('b', true)]);
        assert!(unwritten.is_begun(35));
        assert_eq!(unwritten.unknown(now, STALL_TIMEOUT), 2);
        assert_eq!(unwritten.unknown(now + 3 * STALL_TIMEOUT, STALL_TIMEOUT), 0);
        assert_eq!(unwritten.take().collect::<String>(), "c");
        assert_eq!((unwritten.take().len(), unwritten.bytes()), (0, 0));
    }
}
