//! Where a server of one row lives.

use anyhow::{Context, Result};
use std::{
    ffi::OsString,
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// The file of a row with the root's key, where the DNS is signed.
pub(super) const ANCHOR: &str = "root.key";

/// The secret of components.
pub(super) const SECRET: &str = "labsecret";

/// Where it lives: its directory, and the certificates.
pub(super) struct ServerDir<'a> {
    pub(super) directory: &'a Path,
    pub(super) certificates: &'a Path,
    /// The program s2sd, and what to set in its environment.
    pub(super) s2sd: &'a Path,
    pub(super) environment: &'a [(&'static str, OsString)],
}

impl ServerDir<'_> {
    /// A file or directory in it, as text for a configuration.
    pub(super) fn path(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    /// A file of the row, which both servers see.
    pub(super) fn shared(&self, name: &str) -> String {
        self.directory.with_file_name(name).display().to_string()
    }

    pub(super) fn make_directory(&self, name: &str) -> Result<()> {
        let path = self.directory.join(name);
        fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))
    }

    /// Writes a file that only we may read: most hold a secret.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.directory.join(name);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path);
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(|| format!("writing {}", path.display()))
    }

    pub(super) fn certificate(&self, name: &str) -> String {
        self.certificates.join(name).display().to_string()
    }
}
