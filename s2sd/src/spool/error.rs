//! What can go wrong with the spool.

use std::io;
use std::path::PathBuf;

use rusqlite::ErrorCode;

use super::run::Run;

/// Why the spool cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "the spool {} is in use by the process {pid}: stop that one, or give this one another `data_dir`",
        path.display()
    )]
    InUse {
        /// The file of the lock.
        path: PathBuf,
        /// Its process, as that wrote it there.
        pid: String,
    },
    /// A later version wrote it.
    #[error(
        "the spool {} has the format {found}, and this version of s2sd knows {known}: use the version that wrote it, or move \
         the file away",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The latest that is known here.
        known: i64,
    },
    /// It is a database of something else.
    #[error("{} is a database, but not a spool of s2sd: move it away", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file system refuses it.
    #[error("the spool {}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// SQLite refuses it.
    #[error("the spool {}: {error}", path.display())]
    Store {
        /// The file.
        path: PathBuf,
        /// The reason.
        error: StoreError,
    },
}

/// Why the disk did not do what was wanted. What was stored before is still there.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No room is left on the file system.
    #[error("the disk is full")]
    DiskFull,
    /// The file or its file system may not be written.
    #[error("it cannot be written: it is read-only")]
    ReadOnly,
    /// Another program holds it, for longer than s2sd waits.
    #[error("another program has locked it")]
    Locked,
    /// The file is damaged. At the next start s2sd saves what can be read.
    #[error("the file is damaged: {0}")]
    Damaged(String),
    /// Reading or writing failed.
    #[error("{0}")]
    Failed(String),
    /// The thread that writes has ended.
    #[error("the spool is closed")]
    Closed,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let text = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::DiskFull,
            Some(ErrorCode::ReadOnly) => Self::ReadOnly,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged(text),
            _ => Self::Failed(text),
        }
    }
}

/// A run was not stored; it comes back.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not stored: {why}")]
pub struct NotStored {
    /// What was to be stored.
    pub run: Run,
    /// Why it is not.
    pub why: NotStoredReason,
}

/// Why a run was not stored.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotStoredReason {
    /// As much is stored as may be.
    #[error("the spool is full")]
    Full,
    /// The disk is so slow that what waits for it found no room in time.
    #[error("the disk is too slow")]
    Slow,
    /// The disk did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What was found at the opening, or when something was read, and is not as it was written.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Finding {
    /// A row is not what was written. It is in the table `aside`, and passed over.
    #[error("row {id} of the spool {} is damaged ({why}): it is in the table `aside`", path.display())]
    BadRow {
        /// The file.
        path: PathBuf,
        /// The row.
        id: i64,
        /// What is wrong.
        why: String,
    },
    /// The file was damaged. What could be read is in a new one.
    #[error(
        "the spool {} was damaged ({why}): {saved} rows were saved, and the damaged file is {}",
        path.display(),
        aside.display()
    )]
    Salvaged {
        /// The file.
        path: PathBuf,
        /// Where the damaged one is now.
        aside: PathBuf,
        /// How many rows were saved.
        saved: usize,
        /// What is wrong.
        why: String,
    },
}
