//! A text that must not be seen: it is not printed, and is wiped when dropped.

use std::{fmt, fs, io, ops::Range, path::Path};

use zeroize::Zeroizing;

use super::{findings::Finding, reader::Sink};

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
    let fault = |why: String| {
        sink.add(Finding::fault(
            Some(span.clone()),
            format!("{}: {why}", path.display()),
        ));
        None
    };
    let text = match fs::read_to_string(path) {
        Ok(text) => Zeroizing::new(text),
        Err(why) if why.kind() == io::ErrorKind::InvalidData => {
            return fault("not a text in UTF-8".to_owned());
        }
        Err(why) => return fault(format!("cannot be read: {}", reason(&why))),
    };
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.trim().is_empty() {
        return fault("is empty".to_owned());
    }
    if line.contains('\n') {
        return fault("has more than one line".to_owned());
    }
    warn_if_public(path, Some(span), sink);
    Some(Secret::new(line))
}

/// Says so if a file with something secret in it can be read by everybody.
pub(super) fn warn_if_public(path: &Path, span: Option<Range<usize>>, sink: &Sink<'_>) {
    if is_public(path) {
        let title = format!(
            "{} can be read by every user of this machine",
            path.display()
        );
        sink.add(Finding::warning(span, title).help(format!("chmod o-r {}", path.display())));
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

/// Can everybody read this file?
#[cfg(unix)]
pub(super) fn is_public(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|about| about.permissions().mode() & 0o004 != 0)
}

/// Can everybody read this file?
#[cfg(not(unix))]
pub(super) fn is_public(_: &Path) -> bool {
    false
}
