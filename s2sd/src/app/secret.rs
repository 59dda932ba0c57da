//! The dialback secret: the configuration's, or the one that was made at the first start.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use xmpp_dialback::Secret;
use xmpp_sasl::Random as _;

use super::StartError;
use crate::config::{Config, DIALBACK_SECRET};
use crate::flow::shared::OsRandom;

/// The secret that dialback keys are made from, if there is one already: the configuration's, or the one made at an
/// earlier start.
pub(crate) fn dialback_secret(config: &Config) -> Result<Option<Secret>, StartError> {
    if let Some(secret) = &config.dialback.secret {
        return Ok(Some(Secret::new(secret.as_str())));
    }
    let path = secret_path(&config.data_dir);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(no_secret(&path, error)),
    };
    // A secret that we wrote is whole or not there; a short one was cut off by a full disk or by hand.
    if text.trim().len() < LEAST_SECRET {
        let found = match text.trim().len() {
            0 => "it is empty".to_owned(),
            length => format!("it has only {length} characters"),
        };
        let what = format!(
            "{found}, so it is not the one that was made: put back a copy of it, or remove it and a new one is made \
             (what was not verified by then is tried again by the peers)"
        );
        let error = io::Error::new(io::ErrorKind::InvalidData, what);
        return Err(no_secret(&path, error));
    }
    Ok(Some(Secret::new(text.trim())))
}

/// A secret that is shorter was not written by us.
const LEAST_SECRET: usize = 16;

fn secret_path(data_dir: &Path) -> PathBuf {
    data_dir.join(DIALBACK_SECRET)
}

fn no_secret(path: &Path, error: io::Error) -> StartError {
    StartError::Secret {
        path: path.display().to_string(),
        error,
    }
}

/// XEP-0185 wants a secret that survives: keys given out before a restart are verified after it.
pub(super) fn own_secret(data_dir: &Path) -> Result<Secret, StartError> {
    let path = secret_path(data_dir);
    let mut bytes = [0; 32];
    OsRandom.fill(&mut bytes);
    let text = HEXLOWER.encode(&bytes);
    let written = fs::create_dir_all(data_dir)
        .and_then(|()| write_private(&path, |file| writeln!(file, "{text}")));
    written.map_err(|error| no_secret(&path, error))?;
    Ok(Secret::new(text))
}

/// The file is there with all of its text or not at all, also after a crash or on a full disk.
fn write_private(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let unfinished = path.with_extension(format!("secret.{}", std::process::id()));
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&unfinished)?;
        fill(&mut file)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        // The name is in the directory.
        let directory = path.parent().unwrap_or(Path::new("."));
        File::open(directory)?.sync_all()
    };
    // Of a process that had our number and did not come to the end.
    let _ = fs::remove_file(&unfinished);
    write().inspect_err(|_| {
        let _ = fs::remove_file(&unfinished);
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let name = format!("s2sd-secret-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).unwrap();
            let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name();
            entries
                .map(|entry| name(entry).into_string().unwrap())
                .collect()
        }

        fn config(&self) -> Config {
            Config {
                data_dir: self.0.clone(),
                ..Config::default()
            }
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            // Nothing is lost if it stays.
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_secret_is_made_once_and_only_we_can_read_it() {
        let directory = Directory::new("once");
        assert!(dialback_secret(&directory.config()).unwrap().is_none());
        own_secret(&directory.0).unwrap();
        assert_eq!(directory.names(), ["dialback.secret"]);
        let path = secret_path(&directory.0);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&path).unwrap().trim().len(), 64);
        assert!(dialback_secret(&directory.config()).unwrap().is_some());
    }

    /// A full disk, or the end of the process, in the middle.
    #[test]
    fn what_was_not_written_to_its_end_is_not_there() {
        let directory = Directory::new("half");
        let path = secret_path(&directory.0);
        let full = |file: &mut File| {
            file.write_all(b"0123")?;
            Err(io::ErrorKind::StorageFull.into())
        };
        assert!(write_private(&path, full).is_err());
        assert_eq!(directory.names(), Vec::<String>::new());
        // What a process left that had our number is no obstacle.
        let left = path.with_extension(format!("secret.{}", std::process::id()));
        fs::write(&left, "0123").unwrap();
        own_secret(&directory.0).unwrap();
        assert_eq!(directory.names(), ["dialback.secret"]);
    }

    #[test]
    fn a_secret_that_is_cut_off_is_a_fault_that_says_what_to_do() {
        let directory = Directory::new("cut");
        let path = secret_path(&directory.0);
        for (text, found) in [
            ("", "it is empty"),
            (" \n", "it is empty"),
            ("0123456789\n", "it has only 10 characters"),
        ] {
            fs::write(&path, text).unwrap();
            let error = dialback_secret(&directory.config())
                .unwrap_err()
                .to_string();
            assert!(error.contains("dialback.secret"), "{error}");
            assert!(error.contains(found), "{error}");
            assert!(
                error.contains("or remove it and a new one is made"),
                "{error}"
            );
        }
    }
}
