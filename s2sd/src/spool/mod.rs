//! The spool: what must survive this process, in a SQLite file under `data_dir`.
//!
//! ```text
//! store, settle, read, index  ->  queue (bounded in runs and bytes)  ->  one thread  ->  one transaction for all that waits
//!                             <-  an answer to each, after the commit
//! ```
//!
//! These four calls are all that the rest of s2sd knows of it, so that another store can stand in its place. What is
//! stored is a [`Run`]: up to 64 consecutive stanzas of one pair of domains. Runs of a pair keep their order, and
//! [`settle`](Spool::settle) takes away all up to one of them.
//!
//! - A call that stores returns when the run is on the disk: it survives the end of the process in any way, and a power cut as
//!   far as the disk says the truth.
//! - What is not stored comes back ([`NotStored`]).
//! - One process has the file ([`OpenError::InUse`]). The format of a later version is refused ([`OpenError::Newer`]).
//! - A damaged row is set aside, a damaged file saved as far as it can be read ([`Finding`]); the log says both.
//!
//! Which stanzas may be stored at all is a rule of its own: [`is_storable`](crate::protocol::storable::is_storable).
//! Nothing in s2sd stores yet.

mod error;
mod index;
mod limits;
mod lock;
mod run;
mod salvage;
mod table;
#[cfg(test)]
mod tests;
mod writer;

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

pub use error::{Finding, NotStored, NotStoredReason, OpenError, StoreError};
pub use index::{Depth, Position};
pub use limits::{ROW_OVERHEAD, SpoolLimits};
pub use run::{MAX_BYTES, MAX_STANZAS, OriginKind, Run, StoredStanza};
pub use writer::Reading;

use crate::protocol::proof::DomainPair;
use table::{NotOpened, Table};
use writer::{Request, Room, Writer};

/// The file below `data_dir`.
pub const FILE: &str = "spool.sqlite";
/// The file that says who has it.
const LOCK: &str = "spool.lock";
/// So many calls other than [`Spool::store`] wait at the same time: more wait for their turn.
const MAX_ASKS: usize = 64;

/// The spool. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Spool(Arc<Queue>);

/// The way to the thread. It is bounded by what holds room in it.
#[derive(Debug)]
struct Queue {
    /// Taken when the spool is closed.
    requests: Mutex<Option<mpsc::Sender<Request>>>,
    /// The end of the thread.
    ended: Mutex<Option<oneshot::Receiver<Result<(), StoreError>>>>,
    limits: SpoolLimits,
    runs: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    asks: Arc<Semaphore>,
}

impl Spool {
    /// Opens the spool below `data_dir`, or makes it; reads which runs there are; and begins the thread that has it.
    ///
    /// What is found damaged is in the log, and here.
    pub fn open(data_dir: &Path, limits: SpoolLimits) -> Result<(Self, Vec<Finding>), OpenError> {
        Self::open_with(data_dir, limits, |_| {})
    }

    fn open_with(
        data_dir: &Path,
        limits: SpoolLimits,
        prepare: impl FnOnce(&Table),
    ) -> Result<(Self, Vec<Finding>), OpenError> {
        let path = data_dir.join(FILE);
        let failed = |error| OpenError::Io {
            path: path.clone(),
            error,
        };
        fs::create_dir_all(data_dir).map_err(failed)?;
        let lock = lock::Lock::take(&data_dir.join(LOCK))?;
        salvage::resume(&path).map_err(failed)?;
        let (table, mut findings) = match Table::open(&path) {
            Ok(table) => (table, Vec::new()),
            Err(NotOpened::Damaged(why)) => salvage::salvage(&path, &why)?,
            Err(NotOpened::Refused(error)) => return Err(error),
        };
        prepare(&table);
        for finding in &findings {
            tracing::error!("{finding}");
        }
        let writer = Writer::new(table, path.clone(), limits, &mut findings).map_err(|error| {
            OpenError::Store {
                path: path.clone(),
                error,
            }
        })?;
        Ok((Self::serve(writer, lock, limits).map_err(failed)?, findings))
    }

    fn serve(writer: Writer, lock: lock::Lock, limits: SpoolLimits) -> std::io::Result<Self> {
        let (requests, received) = mpsc::channel();
        let (end, ended) = oneshot::channel();
        let thread = std::thread::Builder::new().name("spool".into());
        thread.spawn(move || {
            let closed = writer.run(&received);
            drop(lock);
            // The caller may have gone.
            let _ = end.send(closed);
        })?;
        let semaphore = |most| Arc::new(Semaphore::new(room(most) as usize));
        Ok(Self(Arc::new(Queue {
            requests: Mutex::new(Some(requests)),
            ended: Mutex::new(Some(ended)),
            runs: semaphore(limits.waiting_runs),
            bytes: semaphore(limits.waiting_bytes),
            asks: semaphore(MAX_ASKS),
            limits,
        })))
    }

    /// Stores a run, after all of its pair that were stored before. Returns when it is on the disk: only then may its
    /// senders hear that it is.
    ///
    /// If the caller does not wait for the answer, the run may be stored nevertheless.
    pub async fn store(&self, run: Run) -> Result<Position, NotStored> {
        let Ok(Some(room)) = timeout(self.0.limits.wait, self.0.room(&run)).await else {
            let why = NotStoredReason::Slow;
            return Err(NotStored { run, why });
        };
        let (answer, answered) = oneshot::channel();
        let kept = run.clone();
        let sent = self.0.send(Request::Store { run, answer, room });
        let answer = match sent {
            Ok(()) => answered.await,
            Err(_) => return Err(closed(kept)),
        };
        answer.unwrap_or_else(|_| Err(closed(kept)))
    }

    /// The runs of a pair after this position, oldest first: at most so many, at least one if there is one, and about 1 MiB.
    pub async fn read(
        &self,
        pair: &DomainPair,
        after: Option<Position>,
        most: usize,
    ) -> Result<Reading, StoreError> {
        let pair = pair.clone();
        self.ask(|answer, room| Request::Read {
            pair,
            after,
            most,
            answer,
            room,
        })
        .await?
    }

    /// All runs of the pair up to this one were delivered, answered, or given up. Late or repeated, it is harmless.
    pub async fn settle(&self, pair: &DomainPair, upto: Position) -> Result<(), StoreError> {
        let pair = pair.clone();
        self.ask(|answer, room| Request::Settle {
            pair,
            upto,
            answer,
            room,
        })
        .await?
    }

    /// What is stored, by pair.
    pub async fn index(&self) -> Result<Vec<(DomainPair, Depth)>, StoreError> {
        self.ask(|answer, room| Request::Index { answer, room })
            .await
    }

    /// Ends the spool when all calls before this one are answered. Without it, that happens when the last clone is gone.
    pub async fn close(self) -> Result<(), StoreError> {
        drop(taken(&self.0.requests));
        let ended = taken(&self.0.ended).ok_or(StoreError::Closed)?;
        ended.await.map_err(|_| StoreError::Closed)?
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>, Room) -> Request,
    ) -> Result<T, StoreError> {
        let turn = self.0.asks.clone().acquire_owned().await;
        let room = (turn.map_err(|_| StoreError::Closed)?, None);
        let (answer, answered) = oneshot::channel();
        self.0.send(request(answer, room))?;
        answered.await.map_err(|_| StoreError::Closed)
    }
}

impl Queue {
    fn send(&self, request: Request) -> Result<(), StoreError> {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let requests = requests.as_ref().ok_or(StoreError::Closed)?;
        requests.send(request).map_err(|_| StoreError::Closed)
    }

    /// Room for a run on its way to the disk. A large one has it when all others are done.
    async fn room(&self, run: &Run) -> Option<Room> {
        let bytes = u32::try_from(run.body().len()).unwrap_or(u32::MAX);
        let bytes = bytes.min(room(self.limits.waiting_bytes));
        let place = self.runs.clone().acquire_owned().await.ok()?;
        let bytes = self.bytes.clone().acquire_many_owned(bytes).await.ok()?;
        Some((place, Some(bytes)))
    }
}

/// How many permits that are: no more than a semaphore has.
fn room(most: usize) -> u32 {
    u32::try_from(most)
        .unwrap_or(u32::MAX)
        .clamp(1, u32::MAX >> 3)
}

fn closed(run: Run) -> NotStored {
    let why = StoreError::Closed.into();
    NotStored { run, why }
}

fn taken<T>(place: &Mutex<Option<T>>) -> Option<T> {
    place.lock().unwrap_or_else(PoisonError::into_inner).take()
}
