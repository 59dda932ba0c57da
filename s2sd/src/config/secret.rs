//! A text that must not be seen: it is not printed, and is wiped when dropped.

use std::{fmt, fs, path::Path};

use zeroize::Zeroizing;

/// The file below `data_dir` with the dialback secret that the daemon makes.
pub(crate) const DIALBACK_SECRET: &str = "dialback.secret";

/// A password or a shared secret.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes it over.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself. Look where it goes.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What others may do with a file that is ours alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exposure {
    read: bool,
    write: bool,
}

impl Exposure {
    fn of(mode: u32) -> Option<Self> {
        let (read, write) = (mode & 0o004 != 0, mode & 0o002 != 0);
        (read || write).then_some(Self { read, write })
    }

    /// For `chmod`.
    pub(super) fn remedy(self) -> &'static str {
        match self {
            Self { write: false, .. } => "o-r",
            Self { read: false, .. } => "o-w",
            Self { .. } => "o-rw",
        }
    }
}

impl fmt::Display for Exposure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self { write: false, .. } => "read by every user of this machine",
            Self { read: false, .. } => "changed by every user of this machine",
            Self { .. } => "read and changed by every user of this machine",
        })
    }
}

/// Can others read or change this file?
#[cfg(unix)]
pub(super) fn exposure(path: &Path) -> Option<Exposure> {
    use std::os::unix::fs::PermissionsExt;
    Exposure::of(fs::metadata(path).ok()?.permissions().mode())
}

/// Can others read or change this file?
#[cfg(not(unix))]
pub(super) fn exposure(_: &Path) -> Option<Exposure> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_others_can_read_or_change_is_exposed() {
        for (mode, want) in [
            (0o600, None),
            (0o660, None),
            (0o604, Some(("read", "o-r"))),
            (0o602, Some(("changed", "o-w"))),
            (0o666, Some(("read and changed", "o-rw"))),
        ] {
            let found = Exposure::of(0o100_000 | mode);
            let found = found.map(|found| (found.to_string(), found.remedy()));
            let want = want
                .map(|(what, remedy)| (format!("{what} by every user of this machine"), remedy));
            assert_eq!(found, want, "{mode:o}");
        }
    }
}
