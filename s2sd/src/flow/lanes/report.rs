//! The lanes as an operator sees them. A page asks each lane's task, which answers when it has time; only the page
//! waits for it. For the metrics, each task leaves its numbers here.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::timeout_at;

use super::{Lanes, Signs};
use crate::protocol::lane::LaneReport;
use crate::protocol::negotiate::DomainPair;

/// So long all lanes together have for their answers: one that is closing its stream has none.
const WITHIN: Duration = Duration::from_secs(2);

/// All lanes together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LanesLoad {
    /// How many there are.
    pub(crate) lanes: usize,
    /// How many do not get through at this time.
    pub(crate) failing: usize,
    /// How many stanzas wait, or are being written,
    pub(crate) stanzas: usize,
    /// and their bytes.
    pub(crate) bytes: usize,
    /// How long the oldest has been waiting.
    pub(crate) oldest: Option<Duration>,
}

/// A lane at one moment.
#[derive(Clone, Debug)]
pub(crate) struct LaneFacts {
    /// Its pair.
    pub(crate) pair: DomainPair,
    /// How many stanzas wait, or are being written,
    pub(crate) stanzas: usize,
    /// and their bytes.
    pub(crate) bytes: usize,
    /// The report of its task; none if that is busy.
    pub(crate) report: Option<LaneReport>,
}

/// Requests for a report of a lane, and the numbers that its task leaves without a request.
#[derive(Debug)]
pub(super) struct Asked {
    began: Instant,
    /// Milliseconds from the beginning; [`NOTHING`] if no stanza waits.
    oldest: AtomicU64,
    askers: Mutex<Vec<oneshot::Sender<LaneReport>>>,
}

const NOTHING: u64 = u64::MAX;

impl Asked {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            began: now,
            oldest: AtomicU64::new(NOTHING),
            askers: Mutex::default(),
        }
    }

    fn oldest(&self) -> Option<Instant> {
        match self.oldest.load(Ordering::Relaxed) {
            NOTHING => None,
            millis => Some(self.began + Duration::from_millis(millis)),
        }
    }
}

impl Signs {
    /// Asks its task for a report.
    fn ask(&self) -> oneshot::Receiver<LaneReport> {
        let (asker, answer) = oneshot::channel();
        let askers = &self.asked.askers;
        let mut askers = askers.lock().unwrap_or_else(PoisonError::into_inner);
        askers.push(asker);
        drop(askers);
        self.wake.wake();
        answer
    }

    /// Since when the oldest stanza of the lane has been waiting.
    pub(crate) fn set_oldest(&self, oldest: Option<Instant>) {
        let millis = oldest.map_or(NOTHING, |oldest| {
            let since = oldest.saturating_duration_since(self.asked.began);
            u64::try_from(since.as_millis()).unwrap_or(NOTHING - 1)
        });
        self.asked.oldest.store(millis, Ordering::Relaxed);
    }

    /// Makes the report for all who asked. Without a request it makes none.
    pub(crate) fn report(&self, report: impl FnOnce() -> LaneReport) {
        let askers = &self.asked.askers;
        let askers = std::mem::take(&mut *askers.lock().unwrap_or_else(PoisonError::into_inner));
        if askers.is_empty() {
            return;
        }
        let report = report();
        for asker in askers {
            // The page may be gone.
            let _ = asker.send(report.clone());
        }
    }
}

impl Lanes {
    /// All lanes together.
    pub(crate) fn load(&self, now: Instant) -> LanesLoad {
        let busy = self.lock();
        let mut load = LanesLoad {
            lanes: busy.lanes.len(),
            ..LanesLoad::default()
        };
        let mut oldest: Option<Instant> = None;
        for handle in busy.lanes.values() {
            load.failing += usize::from(handle.signs.failing.load(Ordering::Relaxed));
            load.stanzas += handle.sender.waiting();
            load.bytes += handle.sender.bytes();
            let its = handle.signs.asked.oldest();
            oldest = oldest.into_iter().chain(its).min();
        }
        load.oldest = oldest.map(|oldest| now.saturating_duration_since(oldest));
        load
    }

    /// Each lane.
    pub(crate) async fn facts(&self) -> Vec<LaneFacts> {
        let until = Instant::now() + WITHIN;
        let asked: Vec<_> = {
            let busy = self.lock();
            let lanes = busy.lanes.iter();
            let ask = lanes.map(|(pair, handle)| {
                let facts = LaneFacts {
                    pair: pair.clone(),
                    stanzas: handle.sender.waiting(),
                    bytes: handle.sender.bytes(),
                    report: None,
                };
                (facts, handle.signs.ask())
            });
            ask.collect()
        };
        let mut all = Vec::with_capacity(asked.len());
        for (facts, answer) in asked {
            let answer = timeout_at(until.into(), answer).await;
            let report = answer.ok().and_then(Result::ok);
            all.push(LaneFacts { report, ..facts });
        }
        let name = |facts: &LaneFacts| (facts.pair.remote.clone(), facts.pair.local.clone());
        all.sort_by_cached_key(|facts| {
            let (remote, local) = name(facts);
            (remote.as_str().to_owned(), local.as_str().to_owned())
        });
        all
    }
}
