//! The one thread that knows the file. What waits goes into one transaction, what is settled first; it is answered after the
//! commit.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::mpsc::Receiver;

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tracing::{error, warn};

use super::error::{Finding, NotStored, NotStoredReason, StoreError};
use super::index::{Depth, Index, Position, Row};
use super::limits::SpoolLimits;
use super::run::Run;
use super::table::{NotRead, Table};
use crate::protocol::proof::DomainPair;

/// A transaction has at most this many requests,
const GROUP: usize = 1_024;
/// and is closed at this many bytes.
const GROUP_BYTES: usize = 4 << 20;
/// One reading gives at most this many bytes, or one run.
const READ_BYTES: u64 = 1 << 20;

/// Room in the queue, for as long as it is held.
pub(super) type Room = (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>);

/// Where an answer goes.
pub(super) type AnswerTo<T> = oneshot::Sender<T>;

/// Where a run is, or the run.
pub(super) type Stored = Result<Position, NotStored>;

/// What was read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Reading {
    /// The runs, oldest first.
    pub runs: Vec<(Position, Run)>,
    /// Rows that were damaged. They are set aside, and the log says so.
    pub bad: Vec<Finding>,
}

/// A call, and where its answer goes.
pub(super) enum Request {
    Store {
        run: Run,
        answer: AnswerTo<Stored>,
        room: Room,
    },
    Settle {
        pair: DomainPair,
        upto: Position,
        answer: AnswerTo<Result<(), StoreError>>,
        room: Room,
    },
    Read {
        pair: DomainPair,
        after: Option<Position>,
        most: usize,
        answer: AnswerTo<Result<Reading, StoreError>>,
        room: Room,
    },
    Index {
        answer: AnswerTo<Vec<(DomainPair, Depth)>>,
        room: Room,
    },
}

pub(super) struct Writer {
    table: Table,
    index: Index,
    next: i64,
    limits: SpoolLimits,
    path: PathBuf,
}

impl Writer {
    /// Reads which rows there are.
    pub(super) fn new(
        table: Table,
        path: PathBuf,
        limits: SpoolLimits,
        findings: &mut Vec<Finding>,
    ) -> Result<Self, StoreError> {
        let (rows, next) = table.scan()?;
        let mut writer = Self {
            table,
            index: Index::default(),
            next,
            limits,
            path,
        };
        for (id, scanned) in rows {
            match scanned {
                Ok((pair, row)) => writer.index.add(pair, row),
                Err(why) => findings.push(writer.set_aside(id, why)),
            }
        }
        Ok(writer)
    }

    /// Until all is answered and nothing more can come.
    pub(super) fn run(mut self, requests: &Receiver<Request>) -> Result<(), StoreError> {
        while let Ok(first) = requests.recv() {
            self.perform(gather(first, requests));
        }
        let closed = self.table.close();
        if let Err(error) = &closed {
            warn!(path = %self.path.display(), %error, "the spool was not closed");
        }
        closed
    }

    fn perform(&mut self, group: Vec<Request>) {
        let (mut stores, mut settled, mut settles, mut asks) =
            (Vec::new(), HashMap::new(), Vec::new(), Vec::new());
        for request in group {
            match request {
                Request::Store { run, answer, room } => stores.push((run, answer, room)),
                Request::Settle {
                    pair,
                    upto,
                    answer,
                    room,
                } => {
                    let last = settled.entry(pair).or_insert(upto);
                    *last = upto.max(*last);
                    settles.push((answer, room));
                }
                ask => asks.push(ask),
            }
        }
        if !stores.is_empty() || !settles.is_empty() {
            self.change(stores, &settled, settles);
        }
        for ask in asks {
            match ask {
                Request::Read {
                    pair,
                    after,
                    most,
                    answer,
                    room: _room,
                } => {
                    let _ = answer.send(self.read(&pair, after, most));
                }
                Request::Index {
                    answer,
                    room: _room,
                } => {
                    let _ = answer.send(self.index.depths());
                }
                Request::Store { .. } | Request::Settle { .. } => {}
            }
        }
    }

    fn change(
        &mut self,
        stores: Vec<(Run, AnswerTo<Stored>, Room)>,
        settled: &HashMap<DomainPair, Position>,
        settles: Vec<(AnswerTo<Result<(), StoreError>>, Room)>,
    ) {
        let mut total = self.index.total();
        for (pair, last) in settled {
            self.index
                .up_to(pair, *last)
                .for_each(|row| total.subtract(row));
        }
        let (mut new, mut answers) = (Vec::new(), Vec::new());
        for (run, answer, room) in stores {
            let position = Position(self.next.saturating_add(new.len() as i64));
            let row = Row {
                position,
                count: u32::try_from(run.count()).unwrap_or(u32::MAX),
                bytes: run.body().len() as u64,
                accepted: run.accepted_millis(),
            };
            let mut with = total;
            with.add(&row);
            if with.bytes > self.limits.bytes || with.stanzas > self.limits.stanzas {
                let why = NotStoredReason::Full;
                let _ = answer.send(Err(NotStored { run, why }));
            } else {
                total = with;
                new.push((row, run));
                answers.push((answer, room));
            }
        }
        let stored = self.commit(settled, &new);
        let gone = match &stored {
            // What makes room is not to wait for what needs some.
            Err(_) if !new.is_empty() && !settled.is_empty() => self.commit(settled, &[]),
            other => other.clone(),
        };
        if gone.is_ok() {
            for (pair, last) in settled {
                self.index.remove_up_to(pair, *last);
            }
        }
        for ((row, run), (answer, _room)) in new.into_iter().zip(answers) {
            let answered = match &stored {
                Ok(()) => {
                    self.next = row.position.0.saturating_add(1);
                    self.index.add(run.pair().clone(), row);
                    answer.send(Ok(row.position))
                }
                Err(error) => answer.send(Err(NotStored {
                    run,
                    why: error.clone().into(),
                })),
            };
            // The caller has gone. What it stored is found by the next reading.
            drop(answered);
        }
        for (answer, _room) in settles {
            let _ = answer.send(gone.clone());
        }
        if self.index.is_empty()
            && let Err(error) = self.table.shrink()
        {
            warn!(path = %self.path.display(), %error, "the spool was not made smaller");
        }
    }

    fn commit(
        &mut self,
        settled: &HashMap<DomainPair, Position>,
        new: &[(Row, Run)],
    ) -> Result<(), StoreError> {
        let gone = settled
            .iter()
            .flat_map(|(pair, last)| self.index.up_to(pair, *last));
        self.table.commit(gone.map(|row| row.position), new)
    }

    fn read(
        &mut self,
        pair: &DomainPair,
        after: Option<Position>,
        most: usize,
    ) -> Result<Reading, StoreError> {
        let mut reading = Reading::default();
        let (mut bytes, mut wanted) = (0, Vec::new());
        for row in self.index.after(pair, after).take(most) {
            bytes += row.bytes;
            if !wanted.is_empty() && bytes > READ_BYTES {
                break;
            }
            wanted.push(row.position);
        }
        for position in wanted {
            match self.table.read(pair, position) {
                Ok(run) => reading.runs.push((position, run)),
                Err(NotRead::Bad(why)) => {
                    let finding = self.set_aside(position.0, why);
                    self.index.remove(pair, position);
                    reading.bad.push(finding);
                }
                Err(NotRead::Store(error)) => return Err(error),
            }
        }
        Ok(reading)
    }

    fn set_aside(&mut self, id: i64, why: String) -> Finding {
        let finding = Finding::BadRow {
            path: self.path.clone(),
            id,
            why: why.clone(),
        };
        match self.table.set_aside(id, &why) {
            Ok(()) => error!("{finding}"),
            // It is passed over all the same.
            Err(error) => error!(%error, "{finding}, and cannot be moved there"),
        }
        finding
    }
}

/// All that waits, up to the bounds of a transaction.
fn gather(first: Request, requests: &Receiver<Request>) -> Vec<Request> {
    let (mut group, mut bytes, mut next) = (Vec::new(), 0, Some(first));
    while let Some(request) = next {
        if let Request::Store { run, .. } = &request {
            bytes += run.body().len();
        }
        group.push(request);
        let fits = group.len() < GROUP && bytes < GROUP_BYTES;
        next = fits.then(|| requests.try_recv().ok()).flatten();
    }
    group
}
