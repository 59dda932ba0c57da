//! What can be saved of a file that is damaged: its rows are read one by one, over what cannot be read.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use super::error::{Finding, OpenError, StoreError};
use super::index::{Position, Row};
use super::run::Run;
use super::table::{NotOpened, Table, beside, now, read_row};

/// So many rows are copied in one transaction.
const GROUP: usize = 1_000;
/// So many ids are tried by themselves where the rows do not lead on,
const PROBES: i64 = 1_024;
/// and in all at most so many, which takes seconds.
const MAX_PROBES: usize = 2_000_000;
const ROW: &str = "SELECT local, remote, count, accepted, crc, body FROM run WHERE id = ?1";
/// What each spool begins with: the format's name, pages of 4,096 bytes, a log (WAL), and four constants.
const HEAD: &[u8] = b"SQLite format 3\0\x10\x00\x02\x02\x00\x40\x20\x20";

/// A file that was saved from a damaged one, and is not yet in its place.
pub(super) fn unfinished(path: &Path) -> PathBuf {
    beside(path, ".saved")
}

/// Where a salvage was interrupted, it begins again, or it is finished.
pub(super) fn resume(path: &Path) -> io::Result<()> {
    let saved = unfinished(path);
    if saved.exists() {
        if path.exists() {
            // The damaged file is still in its place, so the other may be a part.
            remove(&saved)?;
        } else {
            fs::rename(&saved, path)?;
        }
    }
    Ok(())
}

/// Makes a new file with what can be read of the damaged one, which is moved aside.
pub(super) fn salvage(path: &Path, why: &str) -> Result<(Table, Vec<Finding>), OpenError> {
    let failed = |error: io::Error| OpenError::Io {
        path: path.to_owned(),
        error,
    };
    let store = |error: StoreError| OpenError::Store {
        path: path.to_owned(),
        error,
    };
    let new = unfinished(path);
    remove(&new).map_err(failed)?;
    let mut findings = Vec::new();
    let mut table = open(&new)?;
    let mut saved = 0;
    let reader = Reader::open(path);
    let copy = match reader {
        None => with_its_head(path).map_err(failed)?,
        Some(_) => None,
    };
    let reader = reader.or_else(|| Reader::open(copy.as_deref()?));
    if let Some(reader) = reader {
        saved = reader
            .copy(&mut table, path, &mut findings)
            .map_err(store)?;
    }
    if let Some(copy) = copy {
        remove(&copy).map_err(failed)?;
    }
    table.close().map_err(store)?;

    let aside = beside(path, &format!(".damaged-{}", now()));
    for suffix in ["-wal", "-shm"] {
        let from = beside(path, suffix);
        if from.exists() {
            fs::rename(from, beside(&aside, suffix)).map_err(failed)?;
        }
    }
    fs::rename(path, &aside).map_err(failed)?;
    fs::rename(&new, path).map_err(failed)?;
    findings.insert(
        0,
        Finding::Salvaged {
            path: path.to_owned(),
            aside,
            saved,
            why: why.to_owned(),
        },
    );
    Ok((open(path)?, findings))
}

fn open(path: &Path) -> Result<Table, OpenError> {
    Table::open(path).map_err(|error| match error {
        NotOpened::Refused(error) => error,
        NotOpened::Damaged(why) => OpenError::Store {
            path: path.to_owned(),
            error: StoreError::Damaged(why),
        },
    })
}

fn remove(path: &Path) -> io::Result<()> {
    for suffix in ["-wal", "-shm", ""] {
        match fs::remove_file(beside(path, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Reads a damaged file.
struct Reader {
    old: Connection,
    saved: usize,
    group: Vec<(Row, Run)>,
}

impl Reader {
    fn open(path: &Path) -> Option<Self> {
        let old = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).ok()?;
        // So that SQLite reads a file that is shorter than it should be.
        old.execute_batch("PRAGMA writable_schema = ON").ok()?;
        // Is anything found in it?
        old.prepare(ROW).ok()?;
        Some(Self {
            old,
            saved: 0,
            group: Vec::new(),
        })
    }

    /// Row after row, and the ids between them one by one.
    fn copy(
        mut self,
        table: &mut Table,
        path: &Path,
        findings: &mut Vec<Finding>,
    ) -> Result<usize, StoreError> {
        let (mut after, mut probes) = (0_i64, MAX_PROBES);
        let last = self.last();
        loop {
            let next = match self.next(after) {
                Ok(Some(id)) if id > after => self.read(id).ok().flatten().map(|run| (id, run)),
                Ok(None) if after >= last => break,
                _ => None,
            };
            // A damaged page may hide rows before the next one.
            let end = next.as_ref().map_or(last, |(id, _)| id - 1);
            let end = end.min(after.saturating_add(PROBES));
            while after < end && probes > 0 {
                (after, probes) = (after + 1, probes - 1);
                match self.read(after) {
                    Ok(Some(run)) => self.save(table, after, run)?,
                    Ok(None) => {}
                    Err(why) => findings.push(Finding::BadRow {
                        path: path.to_owned(),
                        id: after,
                        why,
                    }),
                }
            }
            match next {
                Some((id, run)) => {
                    self.save(table, id, run)?;
                    after = id;
                }
                None if probes == 0 || after >= last => break,
                None => {}
            }
        }
        table.commit(std::iter::empty(), &self.group)?;
        Ok(self.saved)
    }

    fn save(&mut self, table: &mut Table, id: i64, run: Run) -> Result<(), StoreError> {
        let row = Row {
            position: Position(id),
            count: u32::try_from(run.count()).unwrap_or(u32::MAX),
            bytes: run.body().len() as u64,
            accepted: run.accepted_millis(),
        };
        self.group.push((row, run));
        self.saved += 1;
        if self.group.len() >= GROUP {
            table.commit(std::iter::empty(), &self.group)?;
            self.group.clear();
        }
        Ok(())
    }

    /// The last id that there may be.
    fn last(&self) -> i64 {
        let number = |query| self.old.query_row(query, (), |row| row.get(0)).unwrap_or(0);
        let used: i64 = number("SELECT seq FROM sqlite_sequence WHERE name = 'run'");
        used.max(number("SELECT max(id) FROM run"))
    }

    /// The first row after this one. In a damaged file it may be another, or none.
    fn next(&self, after: i64) -> rusqlite::Result<Option<i64>> {
        let query = "SELECT id FROM run WHERE id > ?1 ORDER BY id LIMIT 1";
        let found = self.old.query_row(query, [after], |row| row.get(0));
        found.optional()
    }

    /// The run of this row; `None` if there is no such row, or its page cannot be read.
    fn read(&self, id: i64) -> Result<Option<Run>, String> {
        let run = self
            .old
            .query_row(ROW, [id], |row| Ok(read_row(id, row, 0)));
        run.ok().transpose()
    }
}

/// A copy of the file with the first bytes that it was made with, where it has others. It is removed again.
fn with_its_head(path: &Path) -> io::Result<Option<PathBuf>> {
    let mut bytes = fs::read(path)?;
    match bytes.get_mut(..HEAD.len()) {
        Some(head) if head != HEAD => head.copy_from_slice(HEAD),
        _ => return Ok(None),
    }
    let copy = beside(path, ".read");
    fs::write(&copy, bytes)?;
    Ok(Some(copy))
}
