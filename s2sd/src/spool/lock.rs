//! One process for each spool: a locked file with the number of its process in it.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::error::OpenError;

/// Held as long as this is. The system lets go of it when the process ends, in whatever way.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "it is held, not read")] File);

impl Lock {
    pub(super) fn take(path: &Path) -> Result<Self, OpenError> {
        let failed = |error| OpenError::Io {
            path: path.to_owned(),
            error,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                // It may be empty yet, or something else: it is only shown.
                let read = (&mut file).take(20).read_to_string(&mut text);
                let pid = text.trim();
                let is_number = !pid.is_empty() && pid.bytes().all(|it| it.is_ascii_digit());
                return Err(OpenError::InUse {
                    path: path.to_owned(),
                    pid: match read {
                        Ok(_) if is_number => pid.to_owned(),
                        _ => "(unknown)".to_owned(),
                    },
                });
            }
            Err(errno) => return Err(failed(errno.into())),
        }
        let mut write = || {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        // On a full disk it is locked all the same.
        if let Err(error) = write() {
            tracing::warn!(path = %path.display(), %error, "the lock of the spool cannot name this process");
        }
        Ok(Self(file))
    }
}
