//! The file: a SQLite database with one append-only table. Only this file and `salvage` speak SQL.
//!
//! ```text
//! run    what is stored; ids only grow (AUTOINCREMENT) and are not used again; it has no index but the id
//! aside  rows that are damaged, the latest 1,000
//! ```
//! WAL with `synchronous=FULL`: a commit is on the disk when it returns.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior, params};
use xmpp_stream::Domain;

use super::error::{OpenError, StoreError};
use super::index::{Position, Row};
use super::run::Run;
use crate::protocol::proof::DomainPair;

/// The format that this version writes.
const FORMAT: i64 = 1;
/// `PRAGMA application_id`: "s2sd".
const APPLICATION: i64 = 0x7332_7364;
/// What SQLite reads and writes at once; a file that is not empty has one.
const PAGE: u64 = 4_096;
/// How long another program may hold the file.
const LOCKED: Duration = Duration::from_secs(5);
/// How many damaged rows are kept.
const MAX_ASIDE: u32 = 1_000;
/// How much is given back to the file system at once, in pages.
const VACUUM_PAGES: u32 = 4_096;

const SCHEMA: &str = "
    CREATE TABLE run (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        local TEXT NOT NULL, remote TEXT NOT NULL,
        count INTEGER NOT NULL, accepted INTEGER NOT NULL, crc INTEGER NOT NULL, body BLOB NOT NULL);
    CREATE TABLE aside (
        id INTEGER PRIMARY KEY, why TEXT NOT NULL, found INTEGER NOT NULL,
        local, remote, count, accepted, crc, body);
";

/// The open file.
#[derive(Debug)]
pub(super) struct Table {
    db: Connection,
}

/// Why a file is not opened.
#[derive(Debug)]
pub(super) enum NotOpened {
    /// It is damaged.
    Damaged(String),
    /// It is not to be used.
    Refused(OpenError),
}

/// Why a row is not read.
#[derive(Debug)]
pub(super) enum NotRead {
    /// It is not what was written.
    Bad(String),
    /// The file cannot be read now.
    Store(StoreError),
}

/// A row as the index wants it, or why it is not one.
pub(super) type Scanned = (i64, Result<(DomainPair, Row), String>);

impl Table {
    /// Opens the file, or makes it.
    pub(super) fn open(path: &Path) -> Result<Self, NotOpened> {
        let refused = |error: StoreError| match error {
            StoreError::Damaged(why) => NotOpened::Damaged(why),
            error => NotOpened::Refused(OpenError::Store {
                path: path.to_owned(),
                error,
            }),
        };
        let failed = |error: io::Error| {
            NotOpened::Refused(OpenError::Io {
                path: path.to_owned(),
                error,
            })
        };
        let length = make(path).map_err(failed)?;
        if length == 0 && fs::metadata(beside(path, "-wal")).is_ok_and(|wal| wal.len() > 0) {
            // SQLite would throw the log away.
            return Err(NotOpened::Damaged("it is empty, and its log is not".into()));
        }
        if (1..PAGE).contains(&length) {
            // SQLite would take it for an empty one.
            return Err(NotOpened::Damaged("it is cut off".into()));
        }
        let sqlite = |error: rusqlite::Error| refused(error.into());
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut db = Connection::open_with_flags(path, flags).map_err(sqlite)?;
        db.busy_timeout(LOCKED).map_err(sqlite)?;
        let (application, format) = identity(&db).map_err(sqlite)?;
        let tables: i64 = number(&db, "SELECT count(*) FROM sqlite_master").map_err(sqlite)?;
        if (application, format, tables) == (0, 0, 0) {
            create(&mut db).map_err(sqlite)?;
        } else if application != APPLICATION {
            let path = path.to_owned();
            return Err(NotOpened::Refused(OpenError::Foreign { path }));
        } else if format > FORMAT {
            return Err(NotOpened::Refused(OpenError::Newer {
                path: path.to_owned(),
                found: format,
                known: FORMAT,
            }));
        } else if format != FORMAT {
            return Err(NotOpened::Damaged(format!("its format is {format}")));
        }
        if db.is_readonly("main").map_err(sqlite)? {
            return Err(refused(StoreError::ReadOnly));
        }
        configure(&db).map_err(sqlite)?;
        let verdict = db.query_row("PRAGMA quick_check(1)", (), |row| row.get::<_, String>(0));
        match verdict.map_err(sqlite)?.as_str() {
            "ok" => Ok(Self { db }),
            why => Err(NotOpened::Damaged(why.replace('\n', " "))),
        }
    }

    /// All rows, oldest first, without what is in them; and the first id that was never used.
    pub(super) fn scan(&self) -> Result<(Vec<Scanned>, i64), StoreError> {
        let mut rows = Vec::new();
        let mut select = self.db.prepare(
            "SELECT id, local, remote, count, accepted, length(body) FROM run ORDER BY id",
        )?;
        let mut found = select.query(())?;
        let mut last: Option<(Names, DomainPair)> = None;
        while let Some(row) = found.next()? {
            let id = row.get(0)?;
            let names = (text(row.get_ref(1)?), text(row.get_ref(2)?));
            let pair = match &last {
                // Most rows are of the pair of the row before.
                Some((known, pair)) if *known == names => Ok(pair.clone()),
                _ => pair_of(&names),
            };
            let numbers = (
                u32::try_from(row.get_ref(3)?.as_i64().unwrap_or(-1)),
                u64::try_from(row.get_ref(4)?.as_i64().unwrap_or(-1)),
                u64::try_from(row.get_ref(5)?.as_i64().unwrap_or(-1)),
            );
            let scanned = pair.and_then(|pair| {
                let (Ok(count @ 1..), Ok(accepted), Ok(bytes)) = numbers else {
                    return Err("its numbers are not those of a run".to_owned());
                };
                last = Some((names, pair.clone()));
                let row = Row {
                    position: Position(id),
                    count,
                    bytes,
                    accepted,
                };
                Ok((pair, row))
            });
            rows.push((id, scanned));
        }
        let used: i64 = number(
            &self.db,
            "SELECT coalesce(max(seq), 0) FROM sqlite_sequence",
        )?;
        let used = rows.last().map_or(used, |(id, _)| used.max(*id));
        Ok((rows, used.saturating_add(1)))
    }

    /// Everything in one transaction: what goes first, then what comes. It is on the disk when this returns.
    pub(super) fn commit(
        &mut self,
        gone: impl Iterator<Item = Position>,
        new: &[(Row, Run)],
    ) -> Result<(), StoreError> {
        let change = self
            .db
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut delete = change.prepare("DELETE FROM run WHERE id = ?1")?;
            for Position(id) in gone {
                delete.execute([id])?;
            }
        }
        insert(&change, new)?;
        Ok(change.commit()?)
    }

    /// The run of this row.
    pub(super) fn read(&self, pair: &DomainPair, Position(id): Position) -> Result<Run, NotRead> {
        let store = |error: rusqlite::Error| NotRead::Store(error.into());
        let mut select = self
            .db
            .prepare("SELECT local, remote, count, accepted, crc, body FROM run WHERE id = ?1")
            .map_err(store)?;
        let mut found = select.query([id]).map_err(store)?;
        let row = match found.next() {
            Ok(Some(row)) => row,
            Ok(None) => return Err(NotRead::Bad("it is not there".into())),
            Err(error) => match StoreError::from(error) {
                StoreError::Damaged(why) => return Err(NotRead::Bad(why)),
                error => return Err(NotRead::Store(error)),
            },
        };
        let run = read_row(id, row, 0).map_err(NotRead::Bad)?;
        if run.pair() != pair {
            return Err(NotRead::Bad("it is of other domains".into()));
        }
        Ok(run)
    }

    /// Moves a damaged row to where it does no harm.
    pub(super) fn set_aside(&mut self, id: i64, why: &str) -> Result<(), StoreError> {
        let change = self
            .db
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        change.execute(
            "INSERT OR REPLACE INTO aside SELECT id, ?2, ?3, local, remote, count, accepted, crc, body FROM run WHERE id = ?1",
            params![id, why, now()],
        )?;
        change.execute("DELETE FROM run WHERE id = ?1", [id])?;
        change.execute(
            "DELETE FROM aside WHERE id NOT IN (SELECT id FROM aside ORDER BY id DESC LIMIT ?1)",
            [MAX_ASIDE],
        )?;
        Ok(change.commit()?)
    }

    /// Gives pages back to the file system that nothing is in.
    pub(super) fn shrink(&self) -> Result<(), StoreError> {
        let mut vacuum = self
            .db
            .prepare(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
        let mut pages = vacuum.query(())?;
        while pages.next()?.is_some() {}
        Ok(())
    }

    /// Writes the log into the file, and closes it.
    pub(super) fn close(self) -> Result<(), StoreError> {
        self.db.close().map_err(|(_, error)| error.into())
    }

    #[cfg(test)]
    pub(super) fn db(&self) -> &Connection {
        &self.db
    }
}

/// The local and the remote domain, as they are in a row.
type Names = (Option<String>, Option<String>);

/// A file beside this one.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Makes the file if there is none, for its user alone. Says how long it is.
fn make(path: &Path) -> io::Result<u64> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path);
    match file {
        Ok(file) => Ok(file.metadata()?.len()),
        // SQLite says better what it is.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Ok(fs::metadata(path)?.len())
        }
        Err(error) => Err(error),
    }
}

fn identity(db: &Connection) -> rusqlite::Result<(i64, i64)> {
    Ok((
        number(db, "PRAGMA application_id")?,
        number(db, "PRAGMA user_version")?,
    ))
}

fn number(db: &Connection, query: &str) -> rusqlite::Result<i64> {
    db.query_row(query, (), |row| row.get(0))
}

/// A file is a spool, or it is still empty: the tables, the format and whose it is come in one transaction.
fn create(db: &mut Connection) -> rusqlite::Result<()> {
    db.execute_batch(
        "PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;",
    )?;
    let change = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    change.execute_batch(SCHEMA)?;
    change.execute_batch(&format!(
        "PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {FORMAT};"
    ))?;
    change.commit()
}

fn configure(db: &Connection) -> rusqlite::Result<()> {
    // The log is cut to 4 MiB after it was larger. What is in the file is not believed: a damaged page is an error, not
    // an access beyond it.
    db.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA journal_size_limit = 4194304; \
         PRAGMA cell_size_check = ON; PRAGMA trusted_schema = OFF;",
    )
}

/// Adds these rows.
pub(super) fn insert(change: &Transaction<'_>, new: &[(Row, Run)]) -> Result<(), StoreError> {
    let mut insert = change.prepare(
        "INSERT INTO run (id, local, remote, count, accepted, crc, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    for (row, run) in new {
        let (local, remote) = (run.pair().local.ascii(), run.pair().remote.ascii());
        let Position(id) = row.position;
        let accepted = i64::try_from(row.accepted).unwrap_or(i64::MAX);
        let crc = checksum(id, local, remote, row.count.into(), accepted, run.body());
        insert.execute(params![
            id,
            local,
            remote,
            row.count,
            accepted,
            crc,
            run.body()
        ])?;
    }
    Ok(())
}

/// A run from the columns local, remote, count, accepted, crc, body, which begin at `first`.
pub(super) fn read_row(id: i64, row: &rusqlite::Row<'_>, first: usize) -> Result<Run, String> {
    let column = |at: usize| row.get_ref(first + at).map_err(|error| error.to_string());
    let names = (text(column(0)?), text(column(1)?));
    let number = |value: ValueRef<'_>| {
        value
            .as_i64()
            .map_err(|_| "its numbers are not those of a run".to_owned())
    };
    let (count, accepted, crc) = (
        number(column(2)?)?,
        number(column(3)?)?,
        number(column(4)?)?,
    );
    let body = column(5)?
        .as_blob()
        .map_err(|_| "its body is not a run".to_owned())?;
    let (Some(local), Some(remote)) = (&names.0, &names.1) else {
        return Err("its domains are not text".into());
    };
    if checksum(id, local, remote, count, accepted, body) != crc {
        return Err("its checksum is wrong".into());
    }
    let pair = pair_of(&names)?;
    let count = usize::try_from(count).map_err(|_| "its count is wrong".to_owned())?;
    Run::read(pair, count, body).ok_or_else(|| "its body is not a run".into())
}

fn text(value: ValueRef<'_>) -> Option<String> {
    value.as_str().ok().map(str::to_owned)
}

fn pair_of((local, remote): &Names) -> Result<DomainPair, String> {
    let parse = |name: &Option<String>| name.as_deref().and_then(|name| Domain::parse(name).ok());
    match (parse(local), parse(remote)) {
        (Some(local), Some(remote)) => Ok(DomainPair { local, remote }),
        _ => Err("its domains are not names".into()),
    }
}

fn checksum(id: i64, local: &str, remote: &str, count: i64, accepted: i64, body: &[u8]) -> i64 {
    let mut crc = crc32fast::Hasher::new();
    for number in [id, count, accepted] {
        crc.update(&number.to_le_bytes());
    }
    for text in [local, remote] {
        crc.update(text.as_bytes());
        crc.update(&[0]);
    }
    crc.update(body);
    crc.finalize().into()
}

/// Milliseconds since 1970.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}
