//! A text that must not be seen: it is not printed, and is wiped when dropped.

use std::{fmt, fs, io, ops::Range, path::Path};

use zeroize::Zeroizing;

use super::{diagnostics::Diagnostic, reader::Sink};

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

/// Reads a file with one secret: its first line, which must be its only one. `span` is where the file is named.
pub(super) fn read_secret_file(path: &Path, span: Range<usize>, sink: &Sink<'_>) -> Option<Secret> {
    let text = read_text(path, &span, sink)?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.contains('\n') {
        let title = format!("{}: has more than one line", path.display());
        sink.add(Diagnostic::fault(Some(span), title));
        return None;
    }
    warn_if_public(path, Some(span), sink);
    Some(Secret::new(line))
}

/// Reads a file with a secret on each line; blank lines do not count. Each comes with the number of its line.
pub(super) fn read_secret_lines(
    path: &Path,
    span: Range<usize>,
    sink: &Sink<'_>,
) -> Option<Vec<(usize, Secret)>> {
    let text = read_text(path, &span, sink)?;
    warn_if_public(path, Some(span), sink);
    let lines = text.lines().enumerate();
    Some(
        lines
            .filter(|(_, line)| !line.trim().is_empty())
            .map(|(at, line)| (at + 1, Secret::new(line.trim())))
            .collect(),
    )
}

/// A text file with something in it, which is wiped when it was used.
pub(super) fn read_text(
    path: &Path,
    span: &Range<usize>,
    sink: &Sink<'_>,
) -> Option<Zeroizing<String>> {
    let why = match fs::read_to_string(path).map(Zeroizing::new) {
        Ok(text) if !text.trim().is_empty() => return Some(text),
        Ok(_) => "is empty".to_owned(),
        Err(why) if why.kind() == io::ErrorKind::InvalidData => "not a text in UTF-8".to_owned(),
        Err(why) => format!("cannot be read: {}", reason(&why)),
    };
    let title = format!("{}: {why}", path.display());
    sink.add(Diagnostic::fault(Some(span.clone()), title));
    None
}

/// Says so if a file with something secret in it can be read or changed by everybody.
pub(super) fn warn_if_public(path: &Path, span: Option<Range<usize>>, sink: &Sink<'_>) {
    if let Some(exposure) = exposure(path) {
        let title = format!("{} can be {exposure}", path.display());
        let help = format!("chmod {} {}", exposure.remedy(), path.display());
        sink.add(Diagnostic::warning(span, title).help(help));
    }
}

/// The system's words for an error, without the number that Rust adds.
pub(super) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
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
