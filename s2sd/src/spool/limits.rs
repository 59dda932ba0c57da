//! How much the spool holds, on disk and on the way to it.

use std::time::Duration;

/// How much the spool holds.
///
/// How old something may get is not the spool's business: [`Depth::oldest`](super::Depth::oldest) and
/// [`StoredStanza::is_older_than`](super::StoredStanza::is_older_than) say it, and what is too old is read, answered and settled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SpoolLimits {
    /// Bytes on disk: of the runs, and [`ROW_OVERHEAD`] for each.
    pub bytes: u64,
    /// Stanzas on disk.
    pub stanzas: u64,
    /// Runs that wait for the disk: more wait for room.
    pub waiting_runs: usize,
    /// Bytes of those.
    pub waiting_bytes: usize,
    /// How long a run waits for that room.
    pub wait: Duration,
}

/// What a row takes besides its run: the page's share, the names of the domains.
pub const ROW_OVERHEAD: u64 = 64;

impl Default for SpoolLimits {
    fn default() -> Self {
        Self {
            bytes: 1 << 30,
            stanzas: 1_000_000,
            waiting_runs: 1_024,
            waiting_bytes: 4 << 20,
            wait: Duration::from_secs(5),
        }
    }
}
