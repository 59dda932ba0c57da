//! Counters of a connection: atomics of its own, so that counting never waits.
//!
//! Pure: the time is an argument.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The counters of one stream.
#[derive(Debug)]
pub(crate) struct Counters {
    began: Instant,
    stanzas_in: AtomicU64,
    stanzas_out: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    /// Milliseconds from the beginning.
    active: AtomicU64,
}

/// The counters at one moment, or the sum of those of several streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    /// Stanzas that came.
    pub(crate) stanzas_in: u64,
    /// Stanzas whose last byte the socket took.
    pub(crate) stanzas_out: u64,
    /// Bytes that came, without those of TLS itself.
    pub(crate) bytes_in: u64,
    /// Bytes that the socket took, without those of TLS itself.
    pub(crate) bytes_out: u64,
}

impl Counters {
    /// Counts from this time on.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            began: now,
            stanzas_in: AtomicU64::new(0),
            stanzas_out: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            active: AtomicU64::new(0),
        }
    }

    /// A stanza came.
    pub(crate) fn stanza_in(&self) {
        self.stanzas_in.fetch_add(1, Ordering::Relaxed);
    }

    /// The socket took so many stanzas.
    pub(crate) fn stanzas_out(&self, count: u64) {
        if count > 0 {
            self.stanzas_out.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// So many bytes came.
    pub(crate) fn bytes_in(&self, count: u64, now: Instant) {
        self.bytes_in.fetch_add(count, Ordering::Relaxed);
        self.note(now);
    }

    /// The socket took so many bytes.
    pub(crate) fn bytes_out(&self, count: u64, now: Instant) {
        self.bytes_out.fetch_add(count, Ordering::Relaxed);
        self.note(now);
    }

    fn note(&self, now: Instant) {
        let since = now.saturating_duration_since(self.began).as_millis();
        let millis = u64::try_from(since).unwrap_or(u64::MAX);
        self.active.store(millis, Ordering::Relaxed);
    }

    /// Since when they count.
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// When bytes last came or went.
    pub(crate) fn active(&self) -> Instant {
        self.began + Duration::from_millis(self.active.load(Ordering::Relaxed))
    }

    /// As they stand.
    pub(crate) fn traffic(&self) -> Traffic {
        Traffic {
            stanzas_in: self.stanzas_in.load(Ordering::Relaxed),
            stanzas_out: self.stanzas_out.load(Ordering::Relaxed),
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
        }
    }
}

impl Traffic {
    /// Both together.
    pub(crate) fn add(&mut self, other: Self) {
        self.stanzas_in += other.stanzas_in;
        self.stanzas_out += other.stanzas_out;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
    }
}
